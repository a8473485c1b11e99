//! A new advisory database while `palisade watch` runs: scanned images that became vulnerable are
//! alerts, whatever is killed in between.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::watch::IDLE;
use crate::support::{Running, wait_for};

const RULE: &str = "Palisade advisories: image became vulnerable";

/// Puts a database into its place of which `advisories`, each an identifier with the version that
/// mends the one package, are all.
fn replace_database(bed: &Bed, advisories: &[(&str, &str)]) {
    let records: Vec<Value> = advisories
        .iter()
        .map(|(id, fixed)| {
            serde_json::json!({
                "id": id,
                "database_specific": {"severity": "HIGH"},
                "affected": [{
                    "package": {"ecosystem": "Debian:12", "name": "palisadetest"},
                    "ranges": [{
                        "type": "ECOSYSTEM",
                        "events": [{"introduced": "0"}, {"fixed": fixed}],
                    }],
                }],
            })
        })
        .collect();
    let mut build = vec!["db".to_string(), "build".into()];
    for (n, record) in records.iter().enumerate() {
        let name = format!("{n}.json");
        std::fs::write(bed.path().join(&name), record.to_string()).unwrap();
        build.extend(["--osv".into(), name]);
    }
    bed.run(&build.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
}

/// The alerts of the watch about images that became vulnerable.
fn alerts(watch: &Running) -> Vec<Value> {
    let shown = watch.stdout();
    let whole = &shown[..shown.rfind('\n').map_or(0, |end| end + 1)];
    let alerts = whole.lines().map(|line| serde_json::from_str(line).unwrap());
    alerts.filter(|alert: &Value| alert["rule"] == RULE).collect()
}

fn ids(alert: &Value) -> Vec<&str> {
    let found = alert["output_fields"]["vulnerability.found"].as_array().unwrap();
    found.iter().map(|one| one["id"].as_str().unwrap()).collect()
}

/// What `palisade status` says of the inventories.
fn looks(bed: &Bed) -> Value {
    let ended = bed.run(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    status["inventories"].clone()
}

fn wait_for_looks(bed: &Bed, n: u64) -> Value {
    wait_for("end of a look", SOON, || {
        let looks = looks(bed);
        let is_over = looks["n_looks"].as_u64() >= Some(n) && looks["is_looking"] == false;
        is_over.then_some(looks)
    })
}

#[test]
fn a_scanned_image_that_becomes_vulnerable_is_an_alert_and_is_told_after_a_kill() {
    let Some(bed) = Bed::new() else { return };
    replace_database(&bed, &[("CVE-2026-20001", "0.1")]);
    bed.run(&["scan", "oci:box"]).expect(0);
    let container = bed.detach("victim", &[], IDLE);
    let sink = bed.path().join("alerts.jsonl");
    let to = format!("file:{}", sink.display());
    let flags = ["--format", "json", "--respond", "on", "--sink", to.as_str()];
    let watch = bed.watch(&flags);
    let first = wait_for_looks(&bed, 1);
    assert_eq!(first["last"]["n_inventories"], 1, "{first}");
    assert_eq!((&first["last"]["n_alerts"], &first["last"]["is_noted"]), (&0.into(), &true.into()));
    assert_eq!(alerts(&watch), Vec::<Value>::new());

    replace_database(&bed, &[("CVE-2026-20001", "0.1"), ("CVE-2026-20002", "9.9")]);
    let alert = wait_for("alert", SOON, || alerts(&watch).pop());
    assert_eq!(ids(&alert), ["CVE-2026-20002"]);
    let fields = &alert["output_fields"];
    let found = &fields["vulnerability.found"][0];
    assert_eq!((&found["package"], &found["fixed"]), (&"libpalisadetest1".into(), &"9.9".into()));
    assert_eq!((&found["severity"], &alert["priority"]), (&"high".into(), &"Error".into()));
    assert_eq!(
        (&fields["image.name"], &alert["source"]),
        (&"oci:box".into(), &"advisories".into())
    );
    assert_eq!(fields["containers.found"][0]["id"], container, "{alert}");
    let sent = wait_for("delivered alert", SOON, || {
        let text = std::fs::read_to_string(&sink).unwrap_or_default();
        text.contains("CVE-2026-20002").then_some(text)
    });
    assert!(sent.contains(alert["id"].as_str().unwrap()), "{sent}");
    assert!(bed.alerts().iter().any(|row| row.join(" ").contains("CVE-2026-20002")));
    let second = wait_for_looks(&bed, 2);
    assert_eq!(second["last"]["is_noted"], true, "{second}");
    let shown = bed.run(&["status"]).stdout;
    assert!(shown.contains("1 looked at"), "{shown}");
    // Nothing is done about the container that runs it.
    assert_eq!(bed.status("victim"), "running");
    let incidents = bed.incidents();
    assert!(incidents.iter().all(|one| one["container"]["id"] != *container), "{incidents:?}");
    let told = bed.run(&["scan", "--stored", "--format", "json"]).expect(0).stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["images"][0]["new"], serde_json::json!([]), "told by the watch");

    // The lock of the store is held: the look waits for it, and who waits behind the look has it
    // before the look can be acknowledged.
    let lock = Lock::of(&bed.data().join("inventories/lock"));
    let held = lock.take();
    replace_database(&bed, &[("CVE-2026-20003", "9.9"), ("CVE-2026-20002", "9.9")]);
    lock.wait_for_waiting(1);
    let next = std::thread::scope(|scope| {
        let next = scope.spawn(|| lock.take());
        lock.wait_for_waiting(2);
        drop(held);
        next.join().unwrap()
    });
    let untold = wait_for("alert", SOON, || alerts(&watch).into_iter().nth(1));
    assert_eq!(ids(&untold), ["CVE-2026-20003"]);
    lock.wait_for_waiting(1);
    watch.signal(Signal::KILL);
    assert_eq!(watch.wait(SOON).code, -9);
    drop(next);

    // It may have been told to nobody: it is told again, once.
    let watch = bed.watch(&flags);
    let again = wait_for("alert", SOON, || alerts(&watch).pop());
    assert_eq!(ids(&again), ["CVE-2026-20003"]);
    assert_ne!(again["id"], untold["id"]);
    wait_for_looks(&bed, 1);
    watch.signal(Signal::TERM);
    watch.wait(SOON);
    let watch = bed.watch(&flags);
    let last = wait_for_looks(&bed, 1);
    assert_eq!((&last["last"]["n_alerts"], alerts(&watch).len()), (&0.into(), 0), "{last}");

    // A database that is damaged is said once, in the status as well, and until it is replaced.
    std::fs::write(bed.data().join("advisories.new"), "no database").unwrap();
    std::fs::rename(bed.data().join("advisories.new"), bed.data().join("advisories.db")).unwrap();
    let words = "what became vulnerable is not known";
    wait_for("warning", SOON, || watch.stderr().contains(words).then_some(()));
    let degraded = bed.run(&["status"]).expect(1).stdout;
    assert!(degraded.contains(words), "{degraded}");
    replace_database(&bed, &[("CVE-2026-20003", "9.9")]);
    wait_for("look that goes well", SOON, || {
        let looks = looks(&bed);
        (looks["n_looks"] == 2 && looks["problem"].is_null()).then_some(())
    });
    assert_eq!(watch.stderr().matches(words).count(), 1, "{}", watch.stderr());
}

#[test]
fn nobody_looks_who_was_told_not_to() {
    let Some(bed) = Bed::new() else { return };
    replace_database(&bed, &[("CVE-2026-20001", "9.9")]);
    bed.run(&["scan", "oci:box"]).expect(0);
    let _watch = bed.watch(&["--no-vulnerability-alerts"]);
    assert_eq!(looks(&bed), Value::Null);
}

/// The file by which looks at the store exclude each other.
struct Lock {
    path: std::path::PathBuf,
    inode: u64,
}

impl Lock {
    fn of(path: &Path) -> Self {
        Self { path: path.to_path_buf(), inode: std::fs::metadata(path).unwrap().ino() }
    }

    /// Waits until it is free. Whoever waits longest is next.
    fn take(&self) -> std::fs::File {
        let file = std::fs::File::open(&self.path).unwrap();
        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
        file
    }

    /// Waits until `n` wait for it (`proc_locks(5)`).
    #[track_caller]
    fn wait_for_waiting(&self, n: usize) {
        let inode = format!(":{} ", self.inode);
        wait_for("waiters for the lock", SOON, || {
            let locks = std::fs::read_to_string("/proc/locks").unwrap();
            let waiting = locks.lines().filter(|line| line.contains("->") && line.contains(&inode));
            (waiting.count() == n).then_some(())
        });
    }
}

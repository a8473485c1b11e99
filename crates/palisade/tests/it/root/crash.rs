//! `palisade watch` is killed in the middle of an attack, at every step of its answer, and
//! started again: no alert that was raised is lost, and the answer is completed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON, expect_dead};
use super::watch::{ANSWER, IDLE, actions};

const FLAGS: [&str; 5] = ["--policy", "answer.yaml", "--respond", "on", "--stats"];

/// A step of the answer, and how it is recognised from outside.
type Moment = (&'static str, fn(&Bed, &str) -> bool);

const MOMENTS: [Moment; 7] = [
    ("first-alert", |bed, id| journal(bed, "alerts.jsonl", id).contains("\"raised\"")),
    ("critical-alert", |bed, id| journal(bed, "alerts.jsonl", id).contains("Crypto miner")),
    ("freeze", |_, id| is_frozen(id)),
    ("plan", |bed, id| journal(bed, "actions.jsonl", id).contains("\"plan\"")),
    ("evidence-begun", |bed, id| {
        let journal = journal(bed, "actions.jsonl", id);
        journal.contains("\"kind\":\"begin\"") && journal.contains("\"action\":\"evidence\"")
    }),
    ("evidence-file", |bed, _| n_evidence(bed) > 0),
    ("kill-begun", |bed, id| {
        journal(bed, "actions.jsonl", id)
            .lines()
            .any(|line| line.contains("\"kind\":\"begin\"") && line.contains("\"action\":\"kill\""))
    }),
];

/// The journal's text from the first line that names the container on.
fn journal(bed: &Bed, name: &str, id: &str) -> String {
    let text = std::fs::read_to_string(bed.data().join(name)).unwrap_or_default();
    let from = text.lines().position(|line| line.contains(id));
    from.map_or_else(String::new, |n| text.lines().skip(n).collect::<Vec<_>>().join("\n"))
}

fn is_frozen(id: &str) -> bool {
    let v1 = format!("/sys/fs/cgroup/freezer/palisade/{id}/freezer.state");
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    read(&v1).starts_with("FR")
        || ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .iter()
            .any(|root| read(&format!("{root}/palisade/{id}/cgroup.events")).contains("frozen 1"))
}

fn n_evidence(bed: &Bed) -> usize {
    std::fs::read_dir(bed.data().join("evidence")).map_or(0, Iterator::count)
}

/// Alerts of the container called `name`.
fn alerts_of(bed: &Bed, name: &str) -> BTreeSet<String> {
    bed.alerts().into_iter().filter(|row| row[10] == name).map(|row| row[0].clone()).collect()
}

#[test]
fn whenever_watch_is_killed_no_alert_is_lost_and_the_answer_is_completed() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("answer.yaml"), ANSWER).unwrap();
    let mut watch = bed.watch(&FLAGS);
    let mut n_resumed = 0;
    for (name, has_come) in MOMENTS {
        let id = bed.detach(name, &["--policy", "answer.yaml"], IDLE);
        // A warning first, then the critical one. The shell's own arguments are none yet.
        let script = "/bin/cat /etc/shadow; /bin/busybox true strat$(echo um)+tcp://pool; sleep 60";
        let attack = bed.start(&["exec", name, "--", "/bin/sh", "-c", script]);
        let end = Instant::now() + SOON;
        while !has_come(&bed, &id) {
            if Instant::now() >= end {
                let attack = format!("{}{}", attack.stdout(), attack.stderr());
                let later = bed.run(&["exec", name, "--", "/bin/cat", "/etc/shadow"]);
                std::thread::sleep(Duration::from_secs(1));
                let n_alerts = bed.alerts().len();
                watch.signal(Signal::TERM);
                let ended = watch.wait(SOON);
                panic!(
                    "{name} did not come; attack: {attack}; {n_alerts} alert(s) after {later:?}; {ended:?}"
                );
            }
        }
        watch.signal(Signal::KILL);
        assert_eq!(watch.wait(SOON).code, -9);

        let raised = alerts_of(&bed, name);
        assert!(!raised.is_empty(), "{name}");
        let saw_critical = bed.alerts().iter().any(|row| row[10] == name && row[2] == "Critical");

        watch = bed.watch(&FLAGS);
        n_resumed += usize::from(watch.stderr().contains("resuming: "));
        eprintln!("killed at {name}, {} alert(s): {}", raised.len(), watch.stderr());
        if !saw_critical {
            // It was killed before the critical alert; the attacker goes on.
            let again = ["exec", name, "--", "/bin/busybox", "true", "stratum+tcp://pool"];
            bed.start(&again).wait(SOON);
        }
        let incident = bed.incident(&id, "contained");
        let n_incidents = bed.incidents().iter().filter(|i| i["container"]["id"] == id).count();
        assert_eq!(n_incidents, 1, "{name}");
        let _ = attack.wait(SOON);
        expect_dead(&id);
        expect_answered(&bed, name, &incident, &raised);
        bed.run(&["stop", name]).expect(0);
        bed.expect_nothing_left(&id);
    }
    // On a busy machine the answer may be over before the test has seen that it began.
    assert!(n_resumed >= 2, "only {n_resumed} of {} kills interrupted anything", MOMENTS.len());

    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    // There is nothing left to be done.
    let idle = bed.watch(&FLAGS);
    idle.signal(Signal::TERM);
    let ended = idle.wait(SOON).expect(0);
    assert!(!ended.stderr.contains("resuming"), "{}", ended.stderr);
}

/// The incident holds every alert that had been raised, and every action of the policy is
/// done once.
fn expect_answered(bed: &Bed, name: &str, incident: &Value, raised: &BTreeSet<String>) {
    assert!(alerts_of(bed, name).is_superset(raised), "{name}: an alert was lost");
    let text = incident.to_string();
    for alert in raised {
        assert!(text.contains(alert), "{name}: alert {alert} is in no incident: {text}");
    }
    for action in ["freeze", "isolate", "evidence", "kill"] {
        let results: Vec<String> = actions(incident)
            .into_iter()
            .filter_map(|(done, result)| (done == action).then_some(result))
            .collect();
        // The restarted program freezes at once, before it reads that this was done.
        let n_max = if action == "freeze" { 2 } else { 1 };
        assert!(
            (1..=n_max).contains(&results.len())
                && results.iter().all(|result| result == "done" || result == "unchanged"),
            "{name}: {action}: {results:?} in {incident:#}"
        );
    }
    verify_evidence(bed, name);
}

/// The one whole bundle verifies; what the killed run left unfinished is no bundle.
fn verify_evidence(bed: &Bed, name: &str) {
    let folder = bed.data().join("evidence");
    let is_bundle = |path: &Path| path.extension().is_some_and(|kind| kind == "tar");
    let paths = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let (bundles, rest): (Vec<_>, Vec<_>) = paths.partition(|path| is_bundle(path));
    assert_eq!(bundles.len(), 1, "{name}: {bundles:?}");
    assert_eq!(rest, Vec::<std::path::PathBuf>::new(), "{name}: half a bundle is left");
    bed.run(&["evidence", "verify", bundles[0].to_str().unwrap()]).expect(0);
    // It would hide the next container's.
    std::fs::remove_file(&bundles[0]).unwrap();
}

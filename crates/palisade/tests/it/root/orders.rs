//! What a person orders, and drills.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON, processes_of};
use crate::support::wait_for;

const IDLE: &str = "while :; do sleep 0.1; done";

fn is_frozen(id: &str) -> bool {
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    read(format!("/sys/fs/cgroup/freezer/palisade/{id}/freezer.state")).starts_with("FR")
        || ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
            .iter()
            .any(|root| read(format!("{root}/palisade/{id}/cgroup.events")).contains("frozen 1"))
}

#[test]
fn nothing_stays_frozen_by_accident() {
    let Some(bed) = Bed::new() else { return };
    let id = bed.detach("shop", &[], IDLE);
    let dry = bed.run(&["respond", "freeze", "shop", "--dry-run"]).expect(0);
    assert!(dry.stdout.contains("undone after 1h"), "{}", dry.stdout);
    assert!(!is_frozen(&id));
    let args = ["respond", "freeze", "shop", "--for", "8s", "--reason", "odd"];
    assert!(bed.run(&args).expect(0).stdout.starts_with("freeze: Done"));
    assert!(is_frozen(&id));
    wait_for("the end of the hold", SOON, || (!is_frozen(&id)).then_some(()));
    let audit = bed.run(&["respond", "audit", "--format", "tsv"]).expect(0).stdout;
    assert!(audit.contains("by uid 0: odd"), "{audit}");
    wait_for("the record of the end", SOON, || {
        let audit = bed.run(&["respond", "audit", "--format", "tsv"]).expect(0).stdout;
        audit.lines().any(|line| line.contains("undone") && line.contains("freeze")).then_some(())
    });
    // A changed line is found.
    let log = bed.data().join("by-hand/audit.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replacen("odd", "ode", 1)).unwrap();
    let changed = bed.run(&["respond", "audit"]);
    assert_eq!(changed.code, 1, "{}", changed.stderr);
    bed.run(&["stop", "shop"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn an_image_in_quarantine_does_not_start_and_a_protected_container_is_not_stopped() {
    let Some(bed) = Bed::new() else { return };
    let id = bed.detach("shop", &[], IDLE);
    let other = bed.detach("other", &[], IDLE);
    bed.run(&["respond", "act", "quarantine-image:", "--container", "shop"]).expect(0);
    let refused = bed.shell(&[], "true");
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("is in quarantine"), "{}", refused.stderr);
    bed.run(&["respond", "act", "protect:", "--container", "shop"]).expect(0);
    let refused = bed.run(&["stop", "shop"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert_eq!(bed.status("shop"), "running");
    // It keeps none of the others from being stopped, whichever comes first.
    let some = bed.run(&["stop", "--grace", "0", "shop", "nosuch", "other"]);
    assert_eq!((some.code, some.stdout.as_str()), (4, "other\n"), "{}", some.stderr);
    assert!(some.stderr.contains("is protected") && some.stderr.contains("nosuch"));
    bed.expect_nothing_left(&other);
    let refused = bed.run(&["stop", "--all", "--grace", "0"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert_eq!(bed.status("shop"), "running");
    let orders = bed.run(&["respond", "orders", "--format", "tsv"]).expect(0).stdout;
    for order in orders.lines().map(|line| line.split('\t').next().unwrap()) {
        bed.run(&["respond", "undo", order]).expect(0);
    }
    bed.shell(&[], "true").expect(0);
    let script = "sleep 300 & (sleep 301 & wait) & wait";
    bed.run(&["exec", "shop", "--", "/bin/sh", "-c", ":"]).expect(0);
    let n_before = processes_of(&id).len();
    let mut exec = bed.start(&["exec", "shop", "--", "/bin/sh", "-c", script]);
    wait_for("the tree", SOON, || (processes_of(&id).len() >= n_before + 4).then_some(()));
    let is_tree = |pid: &&u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("sleep 300 &")
    };
    let pids = processes_of(&id);
    let tree = pids.iter().find(is_tree).unwrap();
    let step = format!("kill-tree: {tree}");
    bed.run(&["respond", "act", &step, "--container", "shop"]).expect(0);
    wait_for("the end of the tree", SOON, || exec.has_ended().then_some(()));
    assert_eq!(bed.status("shop"), "running");
    bed.run(&["stop", "shop"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn a_playbook_is_checked_rehearsed_run_and_approved() {
    let Some(bed) = Bed::new() else { return };
    let text = "\
playbook: contain
on: {priority: warning, containers: [shop]}
steps:
  - freeze:
    for: 10m
  - evidence:
  - approve: Kill it?
    within: 5m
    on_failure: undo
  - kill:
";
    std::fs::write(bed.path().join("contain.yaml"), text).unwrap();
    std::fs::write(bed.path().join("bad.yaml"), text.replace("freeze", "frieze")).unwrap();
    bed.run(&["playbook", "check", "contain.yaml"]).expect(0);
    let bad = bed.run(&["playbook", "check", "bad.yaml"]);
    assert_eq!(bad.code, 2);
    assert!(
        bad.stderr.contains("bad.yaml:4:5") && bad.stderr.contains("`freeze`"),
        "{}",
        bad.stderr
    );

    let id = bed.detach("shop", &[], IDLE);
    let watch = bed.watch(&["--policy", "audit"]);
    bed.run(&["exec", "shop", "--", "/bin/sh", "-c", "cat /etc/shadow >/dev/null"]).expect(0);
    wait_for("the alert", SOON, || {
        bed.alerts()
            .iter()
            .any(|row| row[10] == "shop" && row[3] == "Sensitive file read")
            .then_some(())
    });
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    bed.run(&["respond", "export", "latest", "--output", "incident.json"]).expect(0);
    let test = ["playbook", "test", "contain.yaml", "--incident", "incident.json"];
    let rehearsed = bed.run(&test).expect(0).stdout;
    assert!(rehearsed.contains("4-kill: Done\n  done"), "{rehearsed}");
    let refused = bed.run(&[&test[..], &["--fail", "approve"]].concat()).expect(0).stdout;
    assert!(refused.contains("1-freeze undone: Done\n  undone"), "{refused}");
    assert!(!is_frozen(&id) && bed.status("shop") == "running", "nothing was done");

    let ran = bed.run(&["playbook", "run", "contain.yaml"]).expect(0);
    assert!(ran.stderr.contains("asks until"), "{}", ran.stderr);
    assert!(is_frozen(&id));
    let orders = bed.run(&["respond", "orders", "--format", "json"]).expect(0).stdout;
    let orders: Value = serde_json::from_str(&orders).unwrap();
    let order = orders["orders"][0]["order"]["id"].as_str().unwrap();
    let approved = bed.run(&["playbook", "approve", order]).expect(0);
    assert!(approved.stdout.contains("4-kill: Done"), "{}", approved.stdout);
    assert!(bed.data().join("evidence").join(format!("{order}.tar")).is_file());
    assert!(processes_of(&id).is_empty());
    // No playbook runs twice for one container of an incident.
    assert_eq!(bed.run(&["playbook", "run", "contain.yaml"]).expect(0).stdout, "");
    bed.run(&["stop", "shop"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn a_drill_sees_everything_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    let folders = || -> BTreeSet<String> {
        let names = std::fs::read_dir("/run").unwrap().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("palisade-drill-")).collect()
    };
    // Others may have drills on this machine.
    let before = folders();
    let args = ["drill", "run", "--image", "oci:box", "--format", "json", "--output", "drill.json"];
    let ended = bed.run(&[&args[..], &["--patience", "10000"]].concat());
    let text = std::fs::read_to_string(bed.path().join("drill.json")).unwrap_or_default();
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr));
    let rows = report["rows"].as_array().unwrap();
    let n = |verdict: &str| rows.iter().filter(|row| row["verdict"] == verdict).count();
    assert!(n("seen") + n("stopped") >= 25, "{rows:#?}");
    assert_eq!(n("missed") + n("unstopped"), 0, "{rows:#?}");
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let left = bed.run(&["ps", "--format", "tsv"]).expect(0).stdout;
    assert!(!left.contains("drill-"), "{left}");
    wait_for("end of the drill's folder", SOON, || folders().is_subset(&before).then_some(()));
    let text = bed.run(&["drill", "list"]).expect(0).stdout;
    assert!(text.lines().count() > 25);
    assert_eq!(bed.run(&["drill", "run", "crypto-minr", "--image", "oci:box"]).code, 2);
}

#[test]
fn restricted_stops_what_it_must_and_the_rest_is_seen() {
    let Some(bed) = Bed::new() else { return };
    // What the policy asks of an image: a signature, and a database with what is exploited.
    crate::scan_sbom::build_database(bed.path()).expect(0);
    let kev = std::fs::read_to_string(bed.path().join("kev.json")).unwrap();
    std::fs::write(bed.path().join("kev.json"), kev.replace("CVE-2026-10002", "CVE-2021-44228"))
        .unwrap();
    let build = ["db", "build", "--debian-changelogs", "debs", "--kev", "kev.json"];
    bed.run(&[&build[..], &["--release", "debian:12"]].concat()).expect(0);
    bed.run(&["sign", "--generate-key", "signer"]).expect(0);
    bed.run(&["sign", "oci:box", "--key", "signer.key"]).expect(0);
    let mut drill = bed.command(&["drill", "run", "--image", "oci:box", "--policy", "restricted"]);
    drill.args(["--key", "signer.pub", "--format", "json", "--output", "drill.json"]);
    drill.args(["--patience", "6000"]);
    let ended = crate::support::finish(drill).expect(0);
    let text = std::fs::read_to_string(bed.path().join("drill.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let n = |verdict: &str| rows.iter().filter(|row| row["verdict"] == verdict).count();
    assert_eq!(n("missed") + n("unstopped"), 0, "{rows:#?} {}", ended.stderr);
    assert!(n("stopped") + n("refused") >= 20, "{rows:#?}");
}

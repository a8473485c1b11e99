//! Playbooks that a running watch starts, against a container of the test's own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON, expect_dead};
use super::watch::IDLE;
use crate::support::wait_for;

/// A rule about one file that nobody else asks for: nothing but the test's containers can be
/// acted upon.
fn rules() -> String {
    let canary = canary();
    format!(
        "- rule: Canary
  desc: The test's canary was asked for.
  condition: evt.type in (open, openat) and fd.name startswith {canary}
  output: canary %fd.name
  priority: CRITICAL
  tags: [T1005]
- rule: Other canary
  desc: Another one.
  condition: evt.type in (open, openat) and fd.name startswith {canary}
  output: other %fd.name
  priority: WARNING
"
    )
}

fn canary() -> String {
    // With an end: the number of another may begin with ours.
    format!("/tmp/canary-{}.", std::process::id())
}

const FLAGS: [&str; 8] = [
    "--rules",
    "rules.yaml",
    "--no-builtin-rules",
    "--playbooks",
    "playbooks",
    "--fold-seconds",
    "0",
    "--respond",
];

fn bed(playbooks: &[(&str, &str)]) -> Option<Bed> {
    let bed = Bed::new()?;
    std::fs::write(bed.path().join("rules.yaml"), rules()).unwrap();
    std::fs::create_dir(bed.path().join("playbooks")).unwrap();
    for (name, text) in playbooks {
        std::fs::write(bed.path().join("playbooks").join(name), text).unwrap();
    }
    Some(bed)
}

fn attack(bed: &Bed, name: &str) {
    let script = format!("true <{}", canary());
    bed.run(&["exec", name, "--", "/bin/sh", "-c", &script]);
}

fn orders(bed: &Bed) -> Vec<Value> {
    let ended = bed.run(&["respond", "orders", "--format", "json"]);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
    document["orders"].as_array().cloned().unwrap_or_default()
}

/// What the control socket says.
fn ask(bed: &Bed, body: &str) -> Value {
    let mut stream = UnixStream::connect(bed.run_dir.join("watch.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let line =
        format!("{{\"schema\":\"palisade.dev/control-request/v1\",{}\n", &body[1..body.len()]);
    stream.write_all(line.as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

const CONTAIN: &str = "
playbook: contain
owner: the test
on: {priority: critical, rules: [Canary], tags: [T1005], images: [\"*box*\"], score: 1}
steps:
  - freeze:
    for: 10m
  - isolate:
  - approve: Kill it?
    within: 5m
    on_failure: undo
  - kill:
";

#[test]
fn an_alert_starts_its_playbook_and_the_control_socket_answers_it() {
    let Some(bed) = bed(&[("contain.yaml", CONTAIN)]) else { return };
    let id = bed.detach("shop", &[], IDLE);
    let watch = bed.watch(&[&FLAGS[..], &["on"]].concat());
    attack(&bed, "shop");
    let asking = wait_for("question", SOON, || {
        let orders = ask(&bed, "{\"request\":\"orders\"}");
        let all = orders["orders"].as_array()?.clone();
        all.into_iter().find(|order| order["asks"]["question"] == "Kill it?")
    });
    assert_eq!(asking["playbook"], "contain");
    assert_eq!(asking["held"], serde_json::json!(["1-freeze", "2-isolate"]), "{asking}");
    // The other alert of the same event, and more alerts of the same incident, start nothing.
    assert_eq!(orders(&bed).len(), 1);
    let order = asking["order"].as_str().unwrap();
    let refused =
        ask(&bed, "{\"request\":\"answer\",\"order\":\"INC-none\",\"by\":\"x\",\"granted\":true}");
    assert_eq!(refused["response"], "error", "{refused}");
    let approved = bed.run(&["playbook", "approve", order, "--owner", "anna"]).expect(0);
    assert!(approved.stdout.contains("the running watch goes on"), "{}", approved.stdout);
    expect_dead(&id);
    let incident = bed.incident(&id, "contained");
    let timeline = incident["timeline"].to_string();
    for expected in
        ["contain: 1-freeze", "contain: 2-isolate", "approved by anna", "contain: 4-kill"]
    {
        assert!(timeline.contains(expected), "{expected}: {timeline}");
    }
    watch.signal(Signal::TERM);
    watch.wait(SOON);
}

#[test]
fn what_does_not_fit_starts_nothing_and_a_dry_run_does_nothing() {
    let other = CONTAIN.replace("contain", "other").replace("*box*", "*shop*");
    let Some(bed) = bed(&[("contain.yaml", CONTAIN), ("other.yaml", &other)]) else { return };
    let id = bed.detach("shop", &[], IDLE);
    bed.run(&["watch", "--playbooks", "playbooks"]).expect_error(2, "nothing responds");
    let watch = bed.watch(&[&FLAGS[..], &["dry-run"]].concat());
    attack(&bed, "shop");
    wait_for("what would be done", SOON, || watch.stderr().contains("order INC-").then_some(()));
    assert!(watch.stderr().contains("ask \"Kill it?\""), "{}", watch.stderr());
    assert!(!watch.stderr().contains("(playbook other)"), "{}", watch.stderr());
    assert_eq!(orders(&bed).len(), 0);
    assert_eq!(bed.status("shop"), "running");
    assert!(!id.is_empty());
    watch.signal(Signal::TERM);
    watch.wait(SOON);
}

const CAPPED: &str = "
playbook: look
on: {priority: critical}
caps: {runs_per_hour: 2, containers_per_hour: 9}
steps:
  - evidence:
";

#[test]
fn caps_hold_and_what_was_raised_before_a_death_is_answered_after_it() {
    let Some(bed) = bed(&[("look.yaml", CAPPED)]) else { return };
    let mut watch = bed.watch(&[&FLAGS[..], &["on"]].concat());
    for n in 0..3 {
        let name = format!("shop{n}");
        bed.detach(&name, &[], IDLE);
        if n == 1 {
            // Killed as soon as the alert is out.
            attack(&bed, &name);
            wait_for("alert", SOON, || {
                (watch.stdout().matches("canary /tmp").count() >= 2).then_some(())
            });
            watch.signal(Signal::KILL);
            watch.wait(SOON);
            watch = bed.watch(&[&FLAGS[..], &["on"]].concat());
        } else {
            attack(&bed, &name);
        }
        let n_expected = (n + 1).min(2);
        wait_for("order", SOON, || {
            let all = orders(&bed);
            let done = all.iter().filter(|order| order["state"] == "done").count();
            (done >= n_expected).then_some(())
        });
    }
    let audit = || bed.run(&["respond", "audit", "--format", "tsv"]).stdout;
    wait_for("refusal", SOON, || audit().contains("may not more often").then_some(()));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(orders(&bed).len(), 2, "{}", audit());
    watch.signal(Signal::TERM);
    watch.wait(SOON);
}

#[test]
fn a_blocked_program_does_not_start_whatever_it_is_called() {
    let Some(bed) = bed(&[("contain.yaml", CONTAIN)]) else { return };
    bed.detach("shop", &[], IDLE);
    // A copy of busybox with some bytes more: nobody else has a program of that digest.
    let mark = format!("mark-{}", std::process::id());
    let mut bytes = std::fs::read("/bin/busybox").unwrap();
    bytes.extend_from_slice(format!("{mark}\n").as_bytes());
    let digest = palisade_base::Digest::of(&bytes).to_string();
    let shell = |script: &str| bed.run(&["exec", "shop", "--", "/bin/sh", "-c", script]);
    // Called `busybox`, it takes the name of its applet from its arguments.
    shell(&format!("/bin/busybox mkdir /tmp/a /tmp/b; cp /bin/busybox /tmp/a/busybox; echo {mark} >>/tmp/a/busybox"))
        .expect(0);
    let start = |folder: &str| shell(&format!("{folder}/busybox echo came through"));
    let came = |folder: &str| start(folder).stdout.contains("came through");
    let watch = bed.watch(&[&FLAGS[..], &["on"]].concat());
    assert!(came("/tmp/a"), "{:?}", start("/tmp/a"));
    let blocked = format!("block-executable: {digest}");
    bed.run(&["respond", "act", &blocked, "--reason", "a test"]).expect(0);
    wait_for("refusal", SOON, || (!came("/tmp/a")).then_some(()));
    // In another place it is the same, and others go on.
    shell("cp /tmp/a/busybox /tmp/b/busybox").expect(0);
    assert!(!came("/tmp/b"));
    assert!(came("/bin"));
    wait_for("alert", SOON, || {
        let stdout = watch.stdout();
        (stdout.contains("blocked program was refused") && stdout.contains(&digest)).then_some(())
    });
    bed.run(&["respond", "act", &format!("un{blocked}")]).expect(0);
    wait_for("start", SOON, || came("/tmp/a").then_some(()));
    watch.signal(Signal::TERM);
    watch.wait(SOON);
}

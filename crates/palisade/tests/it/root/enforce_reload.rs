//! What is enforced changes while it is enforced, and only containers that a rule is about are
//! guarded. Every rule names its container.

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::enforce::{LISTEN, PROGRAMS, alerts_of, end, listens, rule, shell, unique, watch};
use super::watch::IDLE;
use crate::support::{Running, wait_for};

const CONNECT: &str = "/bin/nc -w 2 127.0.0.1 4444 </dev/null";

fn reload(bed: &Bed, rules: &str) {
    std::fs::write(bed.path().join("rules.new"), rules).unwrap();
    std::fs::rename(bed.path().join("rules.new"), bed.path().join("rules.yaml")).unwrap();
    bed.run(&["watch", "reload"]).expect(0);
}

fn outcomes(watch: &Running, rule: &str) -> Vec<String> {
    let of = |alert: &Value| alert["enforcement"]["outcome"].as_str().unwrap_or("none").to_string();
    alerts_of(watch, rule).iter().map(of).collect()
}

fn health(bed: &Bed) -> Value {
    let text = std::fs::read_to_string(bed.data().join("status.json")).unwrap_or_default();
    serde_json::from_str::<Value>(&text).unwrap_or_default()["source"]["enforcement"].clone()
}

/// How many alerts each rule has.
fn by_rule(watch: &Running) -> std::collections::BTreeMap<String, usize> {
    let mut found = std::collections::BTreeMap::new();
    for line in watch.stdout().lines() {
        if let Ok(alert) = serde_json::from_str::<Value>(line) {
            *found
                .entry(format!("{} {}", alert["rule"], alert["enforcement"]["outcome"]))
                .or_default() += 1;
        }
    }
    found
}

#[test]
fn denies_hold_through_fifty_reloads() {
    const RELOADS: usize = 50;
    let Some(bed) = Bed::new() else { return };
    let name = unique("exchange");
    bed.detach(&name, &[], &format!("{LISTEN} {IDLE}"));
    listens(&bed, &name);
    shell(&bed, &name, "mkdir /e; cp /bin/busybox /e/true");
    let rules = |n: usize| {
        let exec = rule("exec", &name, &format!("{PROGRAMS} and proc.exepath = /e/true"), "deny");
        let connect = rule("connect", &name, "evt.type = connect and fd.sport = 4444", "deny");
        let kill = rule("kill", &name, "evt.type = execve and proc.name = id", "kill");
        // Others come and go, so that numbers and tables change each time.
        let others = (0..n % 4).map(|other| {
            let other = n * 10 + other;
            let condition = format!("evt.type = connect and fd.sport = {other}");
            rule(&format!("other {other}"), &name, &condition, "deny")
        });
        let own = if n.is_multiple_of(2) { [exec, connect, kill] } else { [kill, exec, connect] };
        others.chain(own).collect::<String>()
    };
    let flags = ["--enforce", "on", "--no-auto-reload", "--fold-seconds", "0"];
    let watch = watch(&bed, &rules(0), &flags);
    wait_for("guarded container", SOON, || {
        let said = shell(&bed, &name, &format!("/e/true; echo evil $?; {CONNECT}; echo net $?"));
        (said.contains("evil 126") && said.contains("net 1")).then_some(())
    });
    let attempts = format!(
        "while [ ! -e /stop ]; do /e/true && echo exec >>/passed; {CONNECT} && echo net >>/passed; \
         /bin/id >/dev/null && echo id >>/passed; n=$((n+1)); echo $n >/count; done"
    );
    let stream = bed.start(&["exec", &name, "--", "/bin/sh", "-c", &attempts]);
    for n in 1..=RELOADS {
        reload(&bed, &rules(n));
    }
    shell(&bed, &name, "touch /stop");
    stream.wait(SOON);
    let said = shell(&bed, &name, "cat /count; cat /passed");
    let n_tries: u64 = said.lines().next().unwrap().trim().parse().unwrap();
    assert!(n_tries >= RELOADS as u64, "{said}");
    assert_eq!(said.lines().count(), 1, "nothing has passed: {said}");
    assert_eq!(watch.stderr().matches("reloaded (").count(), RELOADS, "{}", watch.stderr());
    // Each refusal is told, by whichever set it was judged.
    let numbers = || ["exec", "connect", "kill"].map(|rule| alerts_of(&watch, rule).len() as u64);
    let end_at = std::time::Instant::now() + SOON;
    while numbers().iter().any(|n| *n < n_tries) && std::time::Instant::now() < end_at {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(
        numbers().iter().all(|n| *n >= n_tries),
        "{:?} of {n_tries}: {:?} {}",
        numbers(),
        by_rule(&watch),
        ["n_denied", "n_unreported", "n_killed"].map(|n| health(&bed)[n].to_string()).join(" ")
    );
    for rule in ["exec", "connect", "kill"] {
        let found = outcomes(&watch, rule);
        assert!(found.iter().all(|outcome| outcome == "prevented"), "{rule}: {found:?}");
    }
    let stderr = end(watch);
    assert!(!stderr.contains("warning"), "{stderr}");
}

#[test]
fn a_policy_changes_what_is_enforced() {
    let Some(bed) = Bed::new() else { return };
    let name = unique("policy");
    bed.detach(&name, &[], &format!("{LISTEN} {IDLE}"));
    listens(&bed, &name);
    let rules = rule("connect", &name, "evt.type = connect and fd.sport = 4444", "[]");
    std::fs::write(bed.path().join("rules.yaml"), &rules).unwrap();
    let policy = |enforce: &str| {
        let text = format!(
            "version: 1\nname: changing\nruntime:\n  rules: [rules.yaml]\n  builtin_rules: false\nenforce:\n{enforce}"
        );
        std::fs::write(bed.path().join("policy.new"), text).unwrap();
        std::fs::rename(bed.path().join("policy.new"), bed.path().join("policy.yaml")).unwrap();
    };
    let deny = "  rules:\n    - rules: [connect]\n      action: [deny]\n";
    policy("  mode: dry-run\n");
    let watch = bed.watch(&[
        "--policy",
        "policy.yaml",
        "--format",
        "json",
        "--no-auto-reload",
        "--fold-seconds",
        "0",
    ]);
    let try_it = || shell(&bed, &name, &format!("{CONNECT}; echo net $?"));
    let last = |n: usize| wait_for("alert", SOON, || outcomes(&watch, "connect").get(n).cloned());
    assert!(try_it().contains("net 0"));
    assert_eq!(last(0), "none");
    policy(&format!("  mode: dry-run\n{deny}"));
    bed.run(&["watch", "reload"]).expect(0);
    assert!(try_it().contains("net 0"));
    assert_eq!(last(1), "would-prevent");
    policy(&format!("  mode: on\n{deny}"));
    bed.run(&["watch", "reload"]).expect(0);
    assert!(try_it().contains("net 1"));
    assert_eq!(last(2), "prevented");
    policy(&format!(
        "  mode: on\n{deny}  exceptions:\n    - containers: [{name}]\n      reason: moved\n      expires: \"2199-12-31\"\n"
    ));
    bed.run(&["watch", "reload"]).expect(0);
    assert!(try_it().contains("net 0"));
    assert_eq!(last(3), "excepted");
    policy("  mode: off\n");
    bed.run(&["watch", "reload"]).expect(0);
    assert!(try_it().contains("net 0"));
    assert_eq!(last(4), "none");
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);

    // Without enforcement at the start the probes cannot: that is said, and nothing changes.
    let watch = bed.watch(&["--policy", "policy.yaml", "--no-auto-reload"]);
    policy(&format!("  mode: on\n{deny}"));
    let said = bed.run(&["watch", "reload"]);
    assert!(said.code != 0 && watch.stderr().contains("restart to enforce"), "{}", watch.stderr());
    watch.signal(Signal::TERM);
    watch.wait(SOON);
}

#[test]
fn only_containers_that_a_rule_is_about_are_guarded() {
    let Some(bed) = Bed::new() else { return };
    let (name, other) = (unique("guarded"), unique("left-alone"));
    bed.detach(&name, &[], &format!("{LISTEN} {IDLE}"));
    listens(&bed, &name);
    let connect = |container: &str| {
        rule("connect", container, "evt.type = connect and fd.sport = 4444", "deny")
    };
    let watch = watch(&bed, &connect(&name), &["--enforce", "on", "--no-auto-reload"]);
    bed.detach(&other, &[], &format!("{LISTEN} {IDLE}"));
    listens(&bed, &other);
    let try_it = |container: &str| shell(&bed, container, &format!("{CONNECT}; echo net $?"));
    assert!(try_it(&name).contains("net 1"));
    assert!(try_it(&other).contains("net 0"));
    let guarded = |n: u64| {
        wait_for("guards", SOON, || (health(&bed)["n_guarded"].as_u64() == Some(n)).then_some(()));
    };
    guarded(1);
    // The guard goes where the rule goes.
    reload(&bed, &connect(&other));
    assert!(try_it(&other).contains("net 1"));
    assert!(try_it(&name).contains("net 0"));
    guarded(1);
    reload(&bed, &rule("connect", &other, "evt.type = connect and fd.sport = 4444", "[]"));
    assert!(try_it(&other).contains("net 0"));
    guarded(0);
    end(watch);
}

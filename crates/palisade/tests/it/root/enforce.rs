//! Actions of rules, carried out on containers of the test's own. Every rule names its
//! container: other containers of the machine are none of the test's business.

use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON, processes_of};
use super::watch::{IDLE, actions};
use crate::support::{Running, wait_for};

/// A name that no other container of this machine has.
pub(super) fn unique(name: &str) -> String {
    format!("enf-{}-{name}", std::process::id())
}

pub(super) fn rule(name: &str, container: &str, condition: &str, action: &str) -> String {
    format!(
        "- rule: {name}\n  desc: a canary\n  condition: container.name = {container} and {condition}\n  \
         output: canary (exe=%proc.exepath name=%proc.name container=%container.name)\n  \
         priority: WARNING\n  action: {action}\n"
    )
}

pub(super) const PROGRAMS: &str = "evt.type in (execve, execveat)";

/// Alerts that `watch` has printed, by rule.
pub(super) fn alerts_of(watch: &Running, rule: &str) -> Vec<Value> {
    let shown = watch.stdout();
    let alerts = shown.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    alerts.filter(|alert| alert["rule"] == rule).collect()
}

#[track_caller]
fn alert_of(watch: &Running, rule: &str) -> Value {
    wait_for("alert", SOON, || alerts_of(watch, rule).into_iter().next())
}

/// Starts `watch` with these rules; whatever else runs on this machine is not acted upon.
pub(super) fn watch(bed: &Bed, rules: &str, flags: &[&str]) -> Running {
    std::fs::write(bed.path().join("rules.yaml"), rules).unwrap();
    let own = ["--rules", "rules.yaml", "--no-builtin-rules", "--format", "json"];
    bed.watch(&[&own[..], flags].concat())
}

pub(super) fn end(watch: Running) -> String {
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0).stderr
}

/// What a container does that listens at port 4444.
pub(super) const LISTEN: &str = "/bin/nc -ll -p 4444 -e /bin/true </dev/null >/dev/null &";

/// Waits until the container listens there.
#[track_caller]
pub(super) fn listens(bed: &Bed, container: &str) {
    // The state of such a socket is 0A.
    let look = "cat /proc/net/tcp /proc/net/tcp6";
    wait_for("listener", SOON, || {
        let said = shell(bed, container, look);
        said.lines().any(|line| line.contains(":115C ") && line.contains(" 0A ")).then_some(())
    });
}

/// Runs a line in a shell of the container and returns what it printed.
pub(super) fn shell(bed: &Bed, container: &str, line: &str) -> String {
    bed.run(&["exec", container, "--", "/bin/sh", "-c", line]).stdout
}

#[test]
fn a_program_is_refused_before_it_starts() {
    let Some(bed) = Bed::new() else { return };
    let (old, new) = (unique("old"), unique("new"));
    let denied = |container: &str| {
        rule(container, container, &format!("{PROGRAMS} and proc.exepath = /e/true"), "deny")
    };
    let id = bed.detach(&old, &[], IDLE);
    shell(&bed, &old, "mkdir /e /f; cp /bin/busybox /e/true; cp /bin/busybox /f/true");
    let watch = watch(&bed, &(denied(&old) + &denied(&new)), &["--enforce", "on"]);
    assert!(watch.stderr().contains("prevents: deny by fanotify"), "{}", watch.stderr());

    // One that ran already, and one that starts under the gate.
    bed.detach(
        &new,
        &[],
        &format!("mkdir /e /f; cp /bin/busybox /e/true; cp /bin/busybox /f/true; {IDLE}"),
    );
    for container in [&old, &new] {
        // Links to the file are the file; a script is its interpreter.
        let tries = "mkdir -p /l; ln -s /e/true /l/true; \
             /e/true; echo evil $?; /l/true; echo link $?; /f/true; echo fine $?; \
             printf '#!/e/true\\n' >/script; printf '#!/bin/sh\\nexit 4\\n' >/other; \
             chmod 755 /script /other; /script; echo script $?; /other; echo other $?";
        let said = wait_for("guarded container", SOON, || {
            let said = shell(&bed, container, tries);
            said.contains("evil 126").then_some(said)
        });
        for expected in ["link 126", "fine 0", "script 126", "other 4"] {
            assert!(said.contains(expected), "{expected} is not in {said}");
        }
        let alert = alert_of(&watch, container);
        let done = &alert["enforcement"];
        let short = [&done["action"], &done["means"], &done["outcome"], &done["detail"]];
        assert_eq!(short, ["deny", "fanotify", "prevented", "/e/true"]);
        let latency_ns = done["latency_ns"].as_u64().unwrap();
        assert!((1..5_000_000_000).contains(&latency_ns), "{latency_ns}");
        assert_eq!(alert["outcome"]["failed"]["errno"], 1);
        assert_eq!(alert["container"]["name"], container.as_str());
        assert_eq!(alert["process"]["name"], "sh", "who acts is the caller: {alert}");
    }
    // A process of the host that uses the container's own mount is none of it.
    let init = processes_of(&id)[0];
    let outside = Command::new(format!("/proc/{init}/root/e/true")).status().unwrap();
    assert!(outside.success());

    let incident = bed.incident(&id, "open");
    assert!(actions(&incident).contains(&("deny".into(), "done".into())), "{incident:#}");
    let stderr = end(watch);
    assert!(!stderr.contains("warning"), "{stderr}");
    // Nobody is in the way once it has ended.
    assert!(shell(&bed, &old, "/e/true; echo evil $?").contains("evil 0"));
}

#[test]
fn conditions_may_ask_for_ancestors_and_lists_of_what_is_allowed() {
    let Some(bed) = Bed::new() else { return };
    let name = unique("list");
    bed.detach(&name, &[], IDLE);
    shell(&bed, &name, "for p in a b sh2; do mkdir /$p; cp /bin/busybox /$p/true; done");
    let rules = rule(
        "listed",
        &name,
        &format!("{PROGRAMS} and not proc.exepath in (/bin/busybox, /sh2/true)"),
        "deny",
    ) + &rule(
        "child",
        &name,
        &format!("{PROGRAMS} and proc.exepath = /sh2/true and proc.aname = cat"),
        "deny",
    );
    let watch = watch(&bed, &rules, &["--enforce", "on"]);
    let said = wait_for("guarded container", SOON, || {
        let said = shell(
            &bed,
            &name,
            "/a/true; echo a $?; /bin/true; echo true $?; /sh2/true; echo sh2 $?",
        );
        said.contains("a 126").then_some(said)
    });
    assert!(said.contains("true 0") && said.contains("sh2 0"), "{said}");
    alert_of(&watch, "listed");
    assert_eq!(alerts_of(&watch, "child"), Vec::<Value>::new());
    end(watch);
}

#[test]
fn a_process_is_killed_by_the_agent_and_no_other_is() {
    let Some(bed) = Bed::new() else { return };
    let (name, other) = (unique("killed"), unique("spared"));
    let id = bed.detach(&name, &[], IDLE);
    let spared = bed.detach(&other, &[], IDLE);
    let canary = format!("{PROGRAMS} and proc.args contains canary-4711");
    let watch = watch(&bed, &rule("kill", &name, &canary, "kill"), &["--enforce", "on"]);
    assert!(watch.stderr().contains("reacts: kill by user-kill"), "{}", watch.stderr());
    let sleep = |container: &str, what: &str| {
        bed.start(&["exec", container, "--", "/bin/sleep", "300", what])
    };
    // `sleep` adds its arguments; it would wait for as long as the test waits.
    let benign = sleep(&name, "1");
    let elsewhere = sleep(&other, "0canary-4711");
    let mut host = Command::new("sh")
        .args(["-c", "read _", "canary-4711"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let victim =
        bed.start(&["exec", &name, "--", "/bin/sh", "-c", "while :; do :; done", "canary-4711"]);
    let alert = alert_of(&watch, "kill");
    assert_eq!(alert["enforcement"]["outcome"], "killed", "{alert}");
    assert_eq!(victim.wait(SOON).code, 137);
    let done = &alert["enforcement"];
    assert_eq!(
        [&done["action"], &done["means"], &done["outcome"]],
        ["kill", "user-kill", "killed"]
    );
    assert!(done["latency_ns"].as_u64().unwrap() > 0);
    for (id, name) in [(&id, &name), (&spared, &other)] {
        assert!(!processes_of(id).is_empty() && bed.status(name) == "running", "{name}");
    }
    let mut benign = benign;
    assert!(!benign.has_ended() && host.try_wait().unwrap().is_none());
    drop(elsewhere);
    host.kill().unwrap();
    host.wait().unwrap();
    end(watch);
}

#[test]
fn a_dry_run_tells_and_does_nothing() {
    let Some(bed) = Bed::new() else { return };
    let name = unique("dry");
    bed.detach(&name, &[], IDLE);
    shell(&bed, &name, "mkdir /e; cp /bin/busybox /e/true");
    let rules = rule("deny", &name, &format!("{PROGRAMS} and proc.exepath = /e/true"), "deny")
        + &rule("kill", &name, &format!("{PROGRAMS} and proc.args contains canary-12"), "kill");
    let watch = watch(&bed, &rules, &["--enforce", "dry-run"]);
    let said =
        shell(&bed, &name, "/e/true; echo evil $?; /bin/sh -c 'exit 7' canary-12; echo canary $?");
    assert!(said.contains("evil 0") && said.contains("canary 7"), "{said}");
    let outcome = |rule: &str| alert_of(&watch, rule)["enforcement"]["outcome"].clone();
    assert_eq!((outcome("deny"), outcome("kill")), ("would-prevent".into(), "would-kill".into()));
    assert!(
        watch.stderr().contains("enforcement dry run: 1 rule(s) prevent, 1 react, 0 cannot"),
        "{}",
        watch.stderr()
    );
    end(watch);
}

#[test]
fn what_cannot_be_done_is_said_and_exceptions_are_kept() {
    let Some(bed) = Bed::new() else { return };
    let (name, spared) = (unique("cannot"), unique("excepted"));
    bed.detach(&name, &[], IDLE);
    bed.detach(&spared, &[], IDLE);
    shell(&bed, &spared, "mkdir /e; cp /bin/busybox /e/true");
    let rules = rule("by name", &name, "evt.type = execve and proc.name = echo", "deny")
        + &rule("excepted", &spared, &format!("{PROGRAMS} and proc.exepath = /e/true"), "deny");
    let policy = format!(
        "version: 1\nname: careful\nenforce:\n  mode: on\n  exceptions:\n    - containers: [{spared}]\n      \
         reason: moved in June\n      expires: \"2199-12-31\"\n"
    );
    std::fs::write(bed.path().join("careful.yaml"), policy).unwrap();
    let watch = watch(&bed, &rules, &["--policy", "careful.yaml"]);
    let stderr = watch.stderr();
    assert!(stderr.contains("warning: rule \"by name\" cannot: deny: execve: "), "{stderr}");
    assert!(stderr.contains("`proc.name` is not known before the program starts"), "{stderr}");
    assert!(shell(&bed, &name, "/bin/echo hello").contains("hello"));
    assert!(shell(&bed, &spared, "/e/true; echo evil $?").contains("evil 0"));
    let done = |rule: &str| alert_of(&watch, rule)["enforcement"].clone();
    assert_eq!(done("by name")["outcome"], "cannot");
    assert_eq!(done("excepted")["outcome"], "excepted");
    assert_eq!(done("excepted")["detail"], "moved in June");
    end(watch);
}

#[test]
fn the_kernel_kills_and_refuses_in_the_container_and_nowhere_else() {
    let Some(bed) = Bed::new() else { return };
    let (name, other) = (unique("kernel"), unique("neighbour"));
    let listen = format!("{LISTEN} {IDLE}");
    let id = bed.detach(&name, &[], &listen);
    bed.detach(&other, &[], &listen);
    listens(&bed, &name);
    listens(&bed, &other);
    let rules = rule("kill", &name, "evt.type = execve and proc.name = id", "kill")
        + &rule("deny", &name, "evt.type = connect and fd.sport = 4444", "[deny, kill]")
        + &rule("late", &name, "evt.type = openat and fd.name = /canary", "kill");
    let watch = watch(&bed, &rules, &["--enforce", "on"]);
    let stderr = watch.stderr();
    for expected in [
        "rule \"kill\" prevents: kill by kernel-kill",
        "rule \"deny\" prevents: deny by cgroup",
        "rule \"late\" prevents: kill by kernel-kill, but not openat: a file that the open creates",
    ] {
        assert!(stderr.contains(expected), "{expected} is not in {stderr}");
    }
    let connect = "/bin/nc -w 2 127.0.0.1 4444 </dev/null; echo connected $?";
    let tries = format!("/bin/id; echo id $?; {connect}; /bin/cat /canary; echo canary $?");
    let said = shell(&bed, &name, &format!("echo secret >/canary; {tries}"));
    // The shell that writes the canary is the first to open it.
    assert!(!said.contains("connected") && !said.contains("secret"), "{said}");
    let said = shell(&bed, &name, &tries);
    assert!(!said.contains("uid=") && said.contains("id 137"), "{said}");
    assert!(said.contains("connected 1"), "{said}");
    assert!(!said.contains("secret") && said.contains("canary 137"), "{said}");
    // Another container does the same, unharmed.
    let said = shell(&bed, &other, &format!("echo secret >/canary; {tries}"));
    for expected in ["uid=", "id 0", "connected 0", "secret", "canary 0"] {
        assert!(said.contains(expected), "{expected} is not in {said}");
    }
    assert!(Command::new("id").output().unwrap().status.success());

    let done = |rule: &str| alert_of(&watch, rule)["enforcement"].clone();
    let short = |done: &Value| {
        [&done["action"], &done["means"], &done["outcome"]].map(Value::to_string).join(" ")
    };
    assert_eq!(short(&done("kill")), "\"kill\" \"kernel-kill\" \"prevented\"");
    assert_eq!(short(&done("deny")), "\"deny\" \"cgroup\" \"prevented\"");
    assert_eq!(short(&done("late")), "\"kill\" \"kernel-kill\" \"killed\"");
    assert!(done("kill")["latency_ns"].as_u64().unwrap() < 1_000_000_000, "{}", done("kill"));
    assert_eq!(bed.status(&name), "running");
    assert!(!processes_of(&id).is_empty());
    let stderr = end(watch);
    assert!(!stderr.contains("warning"), "{stderr}");
}

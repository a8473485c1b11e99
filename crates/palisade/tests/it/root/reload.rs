//! Rules and policy that change while a watch runs, and how it answers those who ask.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON};
use super::watch::IDLE;
use crate::support::wait_for;

/// A rule over numbered canaries, and one more that needs other probes.
fn rules(other: &str) -> String {
    format!(
        "- rule: Canary
  desc: A numbered canary was asked for.
  condition: evt.type in (open, openat) and fd.name startswith /tmp/canary- and container.name = shop
  output: canary %fd.name
  priority: WARNING
- rule: Other
  desc: Never fires.
  condition: evt.type in ({other}) and proc.name = nobody-is-called-so
  output: other
  priority: WARNING
"
    )
}

fn write_rules(bed: &Bed, text: &str) {
    replace(bed, "rules.yaml", text);
}

/// As editors do it: another file on the same name.
fn replace(bed: &Bed, name: &str, text: &str) {
    std::fs::write(bed.path().join("new"), text).unwrap();
    std::fs::rename(bed.path().join("new"), bed.path().join(name)).unwrap();
}

const WATCH: [&str; 7] =
    ["--rules", "rules.yaml", "--no-builtin-rules", "--format", "json", "--fold-seconds", "0"];

/// How often each canary was reported.
fn canaries(stdout: &str) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    // A line that is being written has no end yet.
    let (whole, _) = stdout.rsplit_once('\n').unwrap_or_default();
    for line in whole.lines() {
        let alert: Value = serde_json::from_str(line).unwrap();
        if let Some((_, number)) = alert["output"].as_str().unwrap().split_once("canary-") {
            *found.entry(number.parse().unwrap()).or_default() += 1;
        }
    }
    found
}

fn status(bed: &Bed, code: i32) -> Value {
    let ended = bed.run(&["status", "--format", "json"]).expect(code);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn no_alert_is_lost_or_doubled_over_fifty_reloads() {
    const RELOADS: usize = 50;
    let Some(bed) = Bed::new() else { return };
    write_rules(&bed, &rules("memfd_create"));
    // Some canaries every tenth of a second, by a shell that starts no process for them: fewer than a
    // watch on a busy machine must forget.
    bed.detach(
        "shop",
        &[],
        "n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); { true </tmp/canary-$n; } 2>/dev/null; \
         [ $((n % 8)) = 0 ] && sleep 0.1; done; echo $n >/tmp/new; mv /tmp/new /tmp/count; \
         while :; do sleep 1; done",
    );
    let watch = bed.watch(&[&WATCH[..], &["--no-auto-reload"]].concat());
    let first = wait_for("a first canary", SOON, || canaries(&watch.stdout()).pop_first()).0;
    let others = [
        "memfd_create",
        "connect, unlink, unlinkat",
        "ptrace, dup, dup2, chmod",
        "open_by_handle_at",
    ];
    for n in 0..RELOADS {
        write_rules(&bed, &rules(others[n % others.len()]));
        if n % 5 == 4 {
            watch.signal(Signal::HUP);
            wait_for("reload by signal", SOON, || {
                (watch.stderr().matches("reloaded (").count() > n).then_some(())
            });
        } else {
            bed.run(&["watch", "reload"]).expect(0);
        }
    }
    wait_for("enough canaries", SOON, || {
        canaries(&watch.stdout())
            .last_key_value()
            .filter(|(last, _)| **last > first + 220)
            .map(|_| ())
    });
    bed.run(&["exec", "shop", "--", "/bin/touch", "/tmp/stop"]).expect(0);
    let last: u64 = wait_for("the end of the canaries", SOON, || {
        let said = bed.run(&["exec", "shop", "--", "/bin/cat", "/tmp/count"]);
        (said.code == 0).then(|| said.stdout.trim().parse().unwrap())
    });
    wait_for("the last canary", SOON, || {
        canaries(&watch.stdout()).contains_key(&last).then_some(())
    });
    let report = status(&bed, 0);
    assert_eq!(report["reloads"]["n_done"], RELOADS as u64, "{}", report["reloads"]);
    assert_eq!(report["losses"].as_array().unwrap().len(), 0);
    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(0);
    let found = canaries(&ended.stdout);
    assert!(last - first > 200, "{first} to {last}");
    let wrong: Vec<_> = (first..=last).filter(|n| found.get(n) != Some(&1)).collect();
    assert_eq!(wrong, [0; 0], "of {first} to {last}");
    assert_eq!(ended.stderr.matches("reloaded (").count(), RELOADS, "{}", ended.stderr);
    assert!(ended.stderr.contains("with other probes"), "{}", ended.stderr);
}

#[test]
fn a_broken_file_changes_nothing_and_every_problem_of_it_is_said() {
    let Some(bed) = Bed::new() else { return };
    let policy = |rest: &str| {
        format!(
            "version: 1\nname: mine\nruntime:\n  rules: [rules.yaml]\n  builtin_rules: false\n  priority_min: notice\n{rest}"
        )
    };
    write_rules(&bed, &rules("memfd_create"));
    std::fs::write(bed.path().join("policy.yaml"), policy("")).unwrap();
    bed.detach("shop", &[], IDLE);
    let watch = bed.watch(&["--policy", "policy.yaml", "--format", "json", "--fold-seconds", "0"]);
    let open = |n: u64| {
        let script = format!("true </tmp/canary-{n}");
        bed.run(&["exec", "shop", "--", "/bin/sh", "-c", &script]);
        wait_for("alert", SOON, || canaries(&watch.stdout()).contains_key(&n).then_some(()));
    };
    let told = |text: &str| {
        wait_for(text, SOON, || watch.stderr().contains(text).then_some(()));
    };
    open(1);

    // Two mistakes in the rules, found by the change of the file alone.
    let broken = rules("memfd_create")
        .replace("evt.type in (open", "evt.tipe in (open")
        .replace("proc.name = nobody", "proc.nmae = nobody");
    write_rules(&bed, &broken);
    told("failed with");
    let stderr = watch.stderr();
    for expected in [
        "evt.tipe",
        "proc.nmae",
        "failed with 2 problem(s)",
        "rules.yaml:",
        "the old rules, policy and sinks go on",
    ] {
        assert!(stderr.contains(expected), "`{expected}` is not in {stderr}");
    }
    open(2);
    let report = status(&bed, 1);
    assert!(report["degraded"][0].as_str().unwrap().contains("the last reload failed"), "{report}");
    let ended = bed.run(&["watch", "reload"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("evt.tipe"), "{}", ended.stderr);

    // A mistake in the policy; the rules are right again.
    write_rules(&bed, &rules("connect"));
    told("`rules.yaml` changed): 2 rules");
    open(3);
    status(&bed, 0);
    replace(&bed, "policy.yaml", &policy("respnse: []\n"));
    told("unknown key");
    open(4);

    // Another sink and another priority with the policy.
    let sink = "sinks:\n  - name: out\n    to: file:out.jsonl\n";
    let sink = sink.replace("out.jsonl", bed.path().join("out.jsonl").to_str().unwrap());
    replace(&bed, "policy.yaml", &policy(&sink));
    told("sinks changed: out");
    open(5);
    wait_for("alert in the new sink", SOON, || {
        std::fs::read_to_string(bed.path().join("out.jsonl"))
            .ok()
            .filter(|text| text.contains("canary-5"))
    });
    // Folders with the policy: the rule file of the new text is watched from now on.
    std::fs::write(
        bed.path().join("more.yaml"),
        rules("connect").replace("canary %fd.name", "again %fd.name"),
    )
    .unwrap();
    replace(&bed, "policy.yaml", &policy("").replace("rules.yaml", "more.yaml"));
    wait_for("gone sink", SOON, || {
        (watch.stderr().matches("sinks changed: out").count() == 2).then_some(())
    });
    bed.run(&["exec", "shop", "--", "/bin/sh", "-c", "true </tmp/canary-6"]);
    wait_for("alert of the new rules", SOON, || {
        watch.stdout().contains("again /tmp/canary-6").then_some(())
    });
    let out = std::fs::read_to_string(bed.path().join("out.jsonl")).unwrap();
    assert!(!out.contains("canary-6"), "{out}");
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
}

#[test]
fn the_control_socket_is_bounded_and_for_root_alone() {
    let Some(bed) = Bed::new() else { return };
    bed.run(&["status"]).expect_error(3, "no `watch` is running");
    bed.run(&["watch", "reload"]).expect_error(3, "no `watch` is running");
    write_rules(&bed, &rules("memfd_create"));
    let watch = bed.watch(&WATCH);
    let path: PathBuf = bed.run_dir.join("watch.sock");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        BufReader::new(stream)
    };
    let answer = |stream: &mut BufReader<UnixStream>| -> Value {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let mut client = connect();
    let mut say = |line: &[u8]| {
        client.get_mut().write_all(line).unwrap();
        answer(&mut client)
    };
    assert!(say(b"{}\n")["message"].as_str().unwrap().contains("names no schema"));
    assert!(say(b"\xff\xfe\n")["message"].as_str().unwrap().contains("no JSON object"));
    let v1 = |rest: &str| {
        format!("{{\"schema\": \"palisade.dev/control-request/v1\", {rest}}}\n").into_bytes()
    };
    assert!(say(&v1("\"request\": \"halt\""))["message"].as_str().unwrap().contains("halt"));
    // Two at once, in order.
    let both = [v1("\"request\": \"status\""), v1("\"request\": \"top\"")].concat();
    let first = say(&both);
    assert_eq!(first["response"], "status", "{first}");
    assert_eq!(first["schema"], "palisade.dev/control-response/v1");
    assert_eq!(answer(&mut client)["response"], "top");

    // One that never ends its line, and one that sends as much as it likes.
    let mut endless = connect();
    endless.get_mut().write_all(&[b'x'; 5000]).unwrap();
    assert!(answer(&mut endless)["message"].as_str().unwrap().contains("at most 4096 bytes"));
    assert_eq!(endless.read(&mut [0; 1]).unwrap(), 0, "and is sent away");

    // More clients than there is room for.
    let mut crowd: Vec<_> = (0..15).map(|_| connect()).collect();
    // They are let in one after the other, when the watch comes to it.
    wait_for("full room", SOON, || {
        let mut one_more = connect();
        one_more.get_ref().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut line = String::new();
        one_more.read_line(&mut line).ok()?;
        line.contains("16 clients").then_some(())
    });
    drop(crowd.drain(..8));
    wait_for("room", SOON, || (bed.run(&["status"]).code == 0).then_some(()));

    // A subscriber hears of alerts.
    let mut subscriber = connect();
    subscriber
        .get_mut()
        .write_all(&v1("\"request\": \"subscribe\", \"alerts\": true, \"events\": true"))
        .unwrap();
    assert_eq!(answer(&mut subscriber)["response"], "subscribed");
    bed.detach("shop", &[], "true </tmp/canary-7; while :; do sleep 0.1; done");
    let (mut alert, mut event) = (None, None);
    while alert.is_none() || event.is_none() {
        let said = answer(&mut subscriber);
        match said["response"].as_str().unwrap() {
            "alert" => alert = Some(said),
            "event" => event = Some(said),
            other => panic!("{other}"),
        }
    }
    assert_eq!(alert.unwrap()["alert"]["rule"], "Canary");
    assert!(event.unwrap()["event"]["type"].is_string());

    // Somebody else is not heard.
    let other = std::process::Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups", "--"])
        .arg(env!("CARGO_BIN_EXE_palisade"))
        .args(["status", "--run-dir"])
        .arg(&bed.run_dir)
        .output();
    let other = crate::support::ended(&other.unwrap());
    assert!(other.code != 0 && !other.stdout.contains("healthy"), "{other:?}");

    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    assert!(!path.exists(), "the socket goes with the watch");
}

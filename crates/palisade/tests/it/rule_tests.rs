//! `palisade rules test`: verdicts, what a failure shows, and test files that are wrong.

use std::path::Path;

use serde_json::Value;

use crate::capture::{HOST, Recording, WORKER};
use crate::support::{Ended, run};

const RULES: &str = r"
- rule: Shadow opened
  desc: d
  condition: evt.type = openat and fd.name = /etc/shadow
  output: opened %fd.name
  priority: WARNING
  tags: [secret]
- rule: File opened
  desc: d
  condition: evt.type = openat
  output: file %fd.name
  priority: NOTICE
- rule: Off
  desc: d
  condition: evt.type = openat
  output: off
  priority: NOTICE
  enabled: false
- rule: Mounted
  desc: d
  condition: evt.type = mount
  output: mounted
  priority: NOTICE
";

/// A folder with `t/rules.yaml` and captures beside it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let tests = folder.path().join("t");
    std::fs::create_dir(&tests).unwrap();
    std::fs::write(tests.join("rules.yaml"), RULES).unwrap();
    let mut recording = Recording::new();
    recording
        .open(WORKER, "/etc/shadow", &["O_RDONLY"], 5)
        .open(WORKER, "/etc/hosts", &["O_RDONLY"], 5)
        .open(HOST, "/etc/shadow", &["O_RDONLY"], 5);
    let bytes = recording.bytes();
    std::fs::write(tests.join("a.scap"), &bytes).unwrap();
    std::fs::write(tests.join("cut.scap"), &bytes[..bytes.len() - 9]).unwrap();
    std::fs::write(tests.join("text.scap"), "no capture").unwrap();
    folder
}

const HEAD: &str = "version: 1\nname: opens\nrules: rules.yaml\ncapture: a.scap\ncases:\n";

fn test(folder: &Path, cases: &str, args: &[&str]) -> Ended {
    std::fs::write(folder.join("t/t.yaml"), format!("{HEAD}{cases}")).unwrap();
    run(folder, &[&["rules", "test", "t/t.yaml"], args].concat())
}

/// One case, and how it must end; each part must be in what is printed.
#[track_caller]
fn check(body: &str, code: i32, parts: &[&str]) {
    let folder = folder();
    let ended = test(folder.path(), &format!("  - name: case\n{body}"), &[]).expect(code);
    for part in parts {
        assert!(
            ended.stdout.contains(part),
            "{part:?} is not in {}\n{}",
            ended.stdout,
            ended.stderr
        );
    }
}

#[test]
fn counts_fields_and_outputs_decide() {
    let expect = |items: &str| format!("    expect:\n      - {items}\n");
    let passed =
        |items: &str| check(&expect(items), 0, &["  ok       case", "1 passed, 0 failed\n"]);
    passed("rule: Shadow opened");
    passed("{rule: Shadow opened, count: 2}");
    passed("{rule: Shadow opened, at_least: 1, at_most: 2}");
    passed("{rule: Mounted, count: 0}");
    passed("{rule: Shadow opened, count: 1, where: {proc.name: bash}}");
    passed(
        "{rule: Shadow opened, count: 1, where: {container.name: [shop, other], 'proc.aname[1]': containerd-shim}}",
    );
    passed("{rule: Shadow opened, where: {fd.name: {starts_with: /etc/}, k8s.pod.name: ~}}");
    passed("{rule: File opened, count: 1, output: file /etc/hosts}");
    passed("{rule: File opened, output: {matches: '^file .*hosts$'}}");
    let failed = |items: &str, parts: &[&str]| {
        check(&expect(items), 1, &[&["  FAILED   case", "0 passed, 1 failed\n"], parts].concat());
    };
    failed(
        "{rule: Shadow opened, count: 3}",
        &["t/t.yaml:8:9: expected exactly 3 alerts of rule \"Shadow opened\", got 2 alerts"],
    );
    failed(
        "{rule: Shadow opened, count: 1}",
        &["got 2 alerts", "2023-11-14T22:13:20.002000000Z Shadow opened: opened /etc/shadow"],
    );
    failed(
        "{rule: Shadow opened, where: {proc.name: nginx, fd.name: /etc/shadow}}",
        &["got 0 alerts", "proc.name is \"worker\", expected \"nginx\""],
    );
    failed("{rule: Shadow opened, output: x}", &["the output is not \"x\""]);
    failed("rule: Off", &["note: the rule is off; `select` with `enable` turns it on"]);
    failed("rule: Mounted", &["note: none of the 3 events is of the rule's types", "alerts: "]);
    failed(
        "{rule: File opened, count: 3}",
        &["note: 2 more matched it, but rule \"Shadow opened\" came first"],
    );
}

#[test]
fn a_case_chooses_its_rules_and_forbids_the_rest() {
    let ok = &["1 passed, 0 failed"][..];
    check("    matching: all\n    expect: [{rule: File opened, count: 3}]\n", 0, ok);
    check(
        "    select: [{disable: '*'}, {enable: 'Off'}]\n    others: forbid\n    expect: [{rule: 'Off', count: 3}]\n",
        0,
        ok,
    );
    check(
        "    select: [{disable: '*'}, {enable: {tag: secret}}]\n    forbid: [File opened]\n",
        0,
        ok,
    );
    check("    priority: warning\n    others: forbid\n    expect: [rule: Shadow opened]\n", 0, ok);
    check(
        "    forbid: [File opened]\n",
        1,
        &["expected no alert of rule \"File opened\", got 1 alert"],
    );
    check(
        "    others: forbid\n    expect: [rule: Shadow opened]\n",
        1,
        &["t/t.yaml:6:5: expected no other alerts, got 1 alert", "File opened: file /etc/hosts"],
    );
    check("    captures: [a.scap, a.scap]\n    expect: [{rule: Shadow opened, count: 4}]\n", 0, ok);
}

#[test]
fn what_is_missing_or_damaged_is_not_run() {
    let not_run = |body: &str, what: &str| {
        check(body, 3, &["  NOT RUN  case", what, "0 passed, 0 failed, 1 not run\n"]);
    };
    let expect = "    expect: [rule: Shadow opened]\n";
    not_run(
        &format!("    capture: gone.scap\n{expect}"),
        "t/t.yaml:7:14: open capture `t/gone.scap`",
    );
    not_run(&format!("    capture: text.scap\n{expect}"), "file does not begin as a capture");
    not_run(&format!("    rules: gone.yaml\n{expect}"), "t/t.yaml:7:12: read rules `t/gone.yaml`");
    not_run(
        "    expect: [rule: Shadow opend]\n",
        "no rule `Shadow opend` in t/rules.yaml; did you mean",
    );
    not_run(
        &format!("    capture: cut.scap\n{expect}"),
        "`damaged: allow` uses it as far as it goes",
    );
    let allowed = "    capture: cut.scap\n    damaged: allow\n    expect: [{rule: Shadow opened, count: 1}]\n";
    check(allowed, 0, &["1 passed"]);
    // Rules that are wrong are shown with their line.
    let folder = folder();
    std::fs::write(folder.path().join("t/rules.yaml"), RULES.replace("/etc/shadow", "(")).unwrap();
    let ended = test(folder.path(), &format!("  - name: case\n{expect}"), &[]).expect(2);
    assert!(ended.stdout.contains("error[LOAD_ERR_COMPILE_CONDITION]"), "{}", ended.stdout);
    assert!(ended.stdout.contains("t/rules.yaml:4:"), "{}", ended.stdout);
}

#[test]
fn a_test_file_that_is_wrong_is_shown_whole() {
    let folder = folder();
    let cases = "  - nam: a\n    expect: [{rule: A, where: {proc.nmae: x}, cout: 1}]\n";
    let ended = test(folder.path(), cases, &[]).expect(2);
    for part in [
        "error[unknown-key]: unknown key `nam`\n --> t/t.yaml:6:5",
        "help: did you mean `name`?",
        "error[unknown-key]: unknown key `cout`",
        "error[no-field]: `proc.nmae` cannot be asked for",
        "help: did you mean `proc.name`?",
        "error[missing-key]: the case has no `name`",
        "t/t.yaml: 4 errors, no case was run\n",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
    assert_eq!(ended.stdout, "0 passed, 0 failed, 1 file refused\n");
    run(folder.path(), &["rules", "test", "gone.yaml"]).expect(3);
    for text in ["", "- a\n", "version: 1\ncases: [", "\u{0}", "version: 9\ncases: []\n"] {
        std::fs::write(folder.path().join("t/t.yaml"), text).unwrap();
        let ended = run(folder.path(), &["rules", "test", "t/t.yaml"]).expect(2);
        assert!(ended.stderr.contains("error"), "{text:?}: {}", ended.stderr);
    }
    std::fs::write(folder.path().join("t/t.yaml"), b"version: \xff").unwrap();
    run(folder.path(), &["rules", "test", "t/t.yaml"]).expect(2);
}

#[test]
fn results_for_pipelines() {
    let folder = folder();
    let cases = "  - name: good\n    expect: [rule: Shadow opened]\n  - name: bad <1>\n    \
                 forbid: [Shadow opened]\n  - name: gone\n    capture: gone.scap\n    forbid: [Off]\n";
    let json = test(folder.path(), cases, &["--format", "json"]).expect(3);
    assert_eq!(json.stderr, "1 passed, 1 failed, 1 not run\n");
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["schema"], "palisade.dev/rule-tests/v1");
    let statuses: Vec<&str> = document["suites"][0]["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["passed", "failed", "not_run"]);
    let args = ["--format", "junit", "--output", "report.xml"];
    test(folder.path(), cases, &args).expect(3);
    let xml = std::fs::read_to_string(folder.path().join("report.xml")).unwrap();
    assert!(xml.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{xml}");
    assert!(xml.contains("<testcase name=\"bad &lt;1&gt;\" classname=\"opens\""), "{xml}");
    let one = test(folder.path(), cases, &["--case", "good"]).expect(0);
    assert!(one.stdout.ends_with("1 passed, 0 failed\n"), "{}", one.stdout);
    test(folder.path(), cases, &["--case", "nothing"]).expect_error(2, "no case has `nothing`");
}

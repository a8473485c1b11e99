//! `palisade check`, the real binary.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use crate::support::{Ended, palisade, run};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: shop}\nspec:\n  hostPID: true\n  containers: [{name: c, image: nginx}]\n";

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn check(folder: &Path, args: &[&str]) -> Ended {
    run(folder, &[&["check"], args].concat())
}

fn piped(folder: &Path, args: &[&str], text: &str) -> Ended {
    let mut command = palisade(folder);
    command.arg("check").args(args).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_folder_is_checked_by_content() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "deploy/pod.yaml", POD);
    write(at, "Dockerfile", "FROM nginx:1\n");
    write(at, "compose.yml", "services: {web: {image: 'a@sha256:00', privileged: true}}\n");
    write(at, ".github/ci.yml", "on: push\n");
    write(at, "node_modules/x/Dockerfile", "FROM x\n");
    write(at, "README.md", "x\n");
    let ended = check(at, &["."]).expect(0);
    let out = &ended.stdout;
    assert!(out.contains("deploy/pod.yaml\n") && !out.contains("./deploy"), "{out}");
    let line =
        "  5:12     high       RUN-003  Pod/a: shares the host's process namespace  [host-pid]\n";
    assert!(out.contains(line), "{out}");
    assert!(out.contains("[privileged]") && out.contains("[image-runs-as-root]"), "{out}");
    let sum =
        "in 3 files (1 compose, 1 dockerfile, 1 kubernetes), 3 containers; 2 files of other kinds";
    assert!(out.contains(sum), "{out}");
    assert!(!out.contains("node_modules"), "{out}");
}

#[test]
fn the_gate_decides_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "pod.yaml", POD);
    let refused = check(at, &["--fail-on", "high", "pod.yaml"]).expect(1);
    assert!(refused.stderr.contains("gate: refused\n  - 1 finding rated high or worse"));
    check(at, &["--fail-on", "critical", "pod.yaml"]).expect(0);
    check(at, &["pod.yaml"]).expect(0);
    // What was not looked at passes no gate.
    write(at, "broken.yaml", "apiVersion: v1\nkind: Pod\nspec: [\n");
    check(at, &["broken.yaml"]).expect(3);
    check(at, &["broken.yaml", "pod.yaml"]).expect(4);
    let unknown = check(at, &["--fail-on", "critical", "pod.yaml", "broken.yaml"]).expect(3);
    assert!(unknown.stderr.contains("gate: could not be evaluated"), "{}", unknown.stderr);
    check(at, &["--fail-on", "high", "pod.yaml", "broken.yaml"]).expect(1);
    let policy = "version: 1\nname: p\nchecks:\n  gate: high\n  except:\n    - {check: host-pid, resource: Pod/a, reason: r, expires: 2099-01-01}\n";
    write(at, "policy.yaml", policy);
    let passed = check(at, &["--policy", "policy.yaml", "pod.yaml"]).expect(0);
    assert!(passed.stderr.contains("gate: passed") && passed.stdout.contains("1 excused"));
    write(at, "strict.yaml", "version: 1\nname: p\nchecks: {gate: high}\n");
    check(at, &["--policy", "strict.yaml", "pod.yaml"]).expect(1);
}

#[test]
fn what_is_wrong_with_the_call_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    check(at, &["absent.yaml"]).expect_error(3, "absent.yaml");
    std::fs::create_dir(at.join("empty")).unwrap();
    check(at, &["empty"]).expect_error(3, "there is nothing to check");
    check(at, &["--explain", "host-pd"]).expect_error(2, "did you mean `host-pid`?");
    write(at, "off.yaml", "version: 1\nname: p\nchecks: {off: [no-such]}\n");
    write(at, "pod.yaml", POD);
    check(at, &["--policy", "off.yaml", "pod.yaml"]).expect_error(2, "there is no check `no-such`");
    let own = "version: 1\nname: p\nchecks: {custom: [{id: x, title: t, when: [imag is y]}]}\n";
    write(at, "own.yaml", own);
    check(at, &["--policy", "own.yaml", "pod.yaml"]).expect_error(2, "there is no field `imag`");
    std::fs::write(at.join("binary.yaml"), b"a: \xff\n").unwrap();
    let ended = check(at, &["binary.yaml"]).expect(3);
    assert!(ended.stdout.contains("binary.yaml: not UTF-8 text"), "{}", ended.stdout);
    assert_eq!(check(at, &[]).code, 2);
}

#[test]
fn standard_input_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let ended = piped(at, &["-"], POD).expect(0);
    assert!(ended.stdout.starts_with("-\n") && ended.stdout.contains("RUN-003"));
    let ended = piped(at, &["--kind", "dockerfile", "-"], "# only\n").expect(4);
    assert!(ended.stdout.contains("no `FROM`"), "{}", ended.stdout);
    piped(at, &["-"], "hello\n").expect(3);
    piped(at, &["-"], "").expect(3);
}

#[test]
fn files_outside_of_what_was_named_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = |file: &str| {
        format!("services:\n  a:\n    image: x\n    extends: {{file: {file}, service: b}}\n")
    };
    write(at, "base.yml", "services: {b: {image: y, privileged: true}}\n");
    write(at, "app/common.yml", "services: {b: {image: y, pid: host}}\n");
    write(at, "app/compose.yml", &text("common.yml"));
    write(at, "app/up.yml", &text("../base.yml"));
    std::os::unix::fs::symlink(at.join("base.yml"), at.join("app/link.yml")).unwrap();
    write(at, "app/by-link.yml", &text("link.yml"));
    let inside = check(at, &["app/compose.yml"]).expect(0);
    assert!(inside.stdout.contains("RUN-003"), "{}", inside.stdout);
    for name in ["app/up.yml", "app/by-link.yml"] {
        let outside = check(at, &[name]).expect(4);
        assert!(outside.stdout.contains("outside of what is checked"), "{}", outside.stdout);
        assert!(!outside.stdout.contains("RUN-001"), "{}", outside.stdout);
    }
    check(at, &["app/up.yml", "base.yml"]).expect(0);
    write(at, "app/.env", "TAG=latest\n");
    write(at, "app/env.yml", "services: {a: {image: 'nginx:${TAG}'}}\n");
    let ended = check(at, &["app/env.yml"]).expect(0);
    assert!(ended.stdout.contains("uses nginx:latest"), "{}", ended.stdout);
}

#[test]
fn json_and_sarif_say_where() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "pod.yaml", POD);
    let json: serde_json::Value =
        serde_json::from_str(&check(at, &["--format", "json", "pod.yaml"]).expect(0).stdout)
            .unwrap();
    assert_eq!(json["schema"], "palisade.dev/check-report/v1");
    assert_eq!(json["files"][0]["kind"], "kubernetes");
    let all = json["findings"].as_array().unwrap();
    let found = all.iter().find(|f| f["check"] == "host-pid").unwrap();
    let location = serde_json::json!({"file": "pod.yaml", "line": 5, "column": 12});
    assert_eq!((&found["location"], &found["id"]), (&location, &"RUN-003".into()));
    let sarif: serde_json::Value =
        serde_json::from_str(&check(at, &["--format", "sarif", "pod.yaml"]).expect(0).stdout)
            .unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let found = results.iter().find(|r| r["ruleId"] == "host-pid").unwrap();
    let place = &found["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "pod.yaml");
    assert_eq!(place["region"], serde_json::json!({"startLine": 5, "startColumn": 12}));
}

#[test]
fn junit_has_a_suite_for_each_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "pod.yaml", POD);
    write(at, "broken.yaml", "apiVersion: v1\nkind: Pod\nspec: [\n");
    let args = ["--format", "junit", "pod.yaml", "broken.yaml"];
    let xml = check(at, &args).expect(4).stdout;
    assert!(xml.contains("<testsuite name=\"pod.yaml\""), "{xml}");
    assert!(xml.contains("name=\"RUN-003 host-pid ") && xml.contains("5:12"), "{xml}");
    let suite = xml.split("<testsuite name=\"coverage\"").nth(1).unwrap();
    assert!(suite.contains("errors=\"1\"") && suite.contains("broken.yaml"), "{xml}");
}

#[test]
fn checks_are_listed_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let listed = check(folder.path(), &["--list"]).expect(0).stdout;
    assert!(listed.lines().count() > 80, "{listed}");
    let told = check(folder.path(), &["--explain", "run-003"]).expect(0).stdout;
    assert!(told.starts_with("RUN-003 host-pid (high)\n"), "{told}");
    assert!(told.contains("CIS Kubernetes 1.12 5.2.3"), "{told}");
}

#[test]
fn a_diff_mends_what_has_one_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(at, "deploy/pod.yaml", POD);
    write(at, "Dockerfile", "FROM nginx:1\n# the site\nADD site /srv\nCMD [\"nginx\"]\n");
    let ended = check(at, &["--fix-diff", "."]).expect(0);
    let hunk = "--- a/Dockerfile\n+++ b/Dockerfile\n@@ -1,4 +1,4 @@\n FROM nginx:1\n # the site\n-ADD site /srv\n+COPY site /srv\n CMD [\"nginx\"]\n";
    assert!(ended.stdout.contains(hunk), "{}", ended.stdout);
    assert!(ended.stderr.contains("in 2 files"), "{}", ended.stderr);
    let mut patch = std::process::Command::new("patch");
    patch.args(["-p1", "--fuzz=0"]).current_dir(at).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = patch.spawn().unwrap();
    child.stdin.take().unwrap().write_all(ended.stdout.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let out = check(at, &["."]).expect(0).stdout;
    assert!(!out.contains("[host-pid]") && !out.contains("[add-instead-of-copy]"), "{out}");
    assert!(out.contains("[no-memory-limit]") && out.contains("[image-runs-as-root]"), "{out}");
    assert_eq!(check(at, &["--fix-diff", "."]).expect(0).stdout, "");
    // It judges nothing, and what cannot be read is said.
    check(at, &["--fix-diff", "--fail-on", "high", "."]).expect(2);
    write(at, "broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata: [\n");
    let ended = check(at, &["--fix-diff", "."]).expect(4);
    assert!(ended.stderr.contains("not examined: broken.yaml"), "{}", ended.stderr);
}

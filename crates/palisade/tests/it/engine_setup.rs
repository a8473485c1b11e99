//! Commands that set engines up and that show what a policy makes of a container's spec.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::run;

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn spec() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/",
            "capabilities": {"bounding": ["CAP_CHOWN", "CAP_NET_RAW"]}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"},
            {"type": "uts"}, {"type": "network"}], "future": 1},
    })
}

#[test]
fn an_engine_is_set_up_in_a_folder_and_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    write(&root, "etc/docker/daemon.json", "{\n\t\"debug\": true\n}\n");
    write(&root, "usr/lib/systemd/system/docker.service", "");
    let read = || std::fs::read_to_string(root.join("etc/docker/daemon.json")).unwrap();
    let before = read();
    let shown = root.display().to_string();
    let call = |command: &str, more: &[&str]| {
        let args = [&[command, "docker", "--root", &shown, "--data-dir", "/state"], more].concat();
        run(folder.path(), &args)
    };
    let program = ["--program", "/usr/local/bin/palisade"];
    let dry = call("install", &[&program[..], &["--dry-run"]].concat()).expect(0);
    assert!(dry.stdout.contains("+\t\"default-runtime\": \"palisade\","), "{}", dry.stdout);
    assert!(dry.stderr.contains("nothing was changed"), "{}", dry.stderr);
    assert_eq!(read(), before);
    let done = call("install", &program).expect(0);
    assert_eq!(done.stdout, dry.stdout, "what is shown is what is done");
    assert!(done.stderr.contains("systemctl restart"), "{}", done.stderr);
    assert!(read().contains("authorization-plugins"));
    let again = call("install", &program).expect(0);
    assert_eq!(again.stdout, "");
    call("uninstall", &[]).expect(0);
    assert_eq!(read(), before);
    let nothing = call("uninstall", &[]).expect(0);
    assert!(nothing.stdout.is_empty() && nothing.stderr.contains("nothing to change"));
    assert!(!root.join("state").exists());
}

#[test]
fn what_cannot_be_set_up_is_an_error_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "root/etc/docker/daemon.json", "{");
    let call = |args: &[&str]| run(folder.path(), args);
    let root = ["--root", "root"];
    call(&[&["install", "docker"], &root[..]].concat())
        .expect_error(3, "the settings `/etc/docker/daemon.json` are not valid");
    call(&[&["install", "docker", "--policy", "none.yaml"], &root[..]].concat())
        .expect_error(2, "none.yaml");
    let ended = call(&["install", "lxc"]);
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(ended.stderr.contains("docker, containerd, podman or crio"), "{}", ended.stderr);
}

#[test]
fn hardening_a_spec_is_shown_and_written() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", &spec().to_string());
    let call = |args: &[&str]| run(folder.path(), &[&["harden", "config.json"], args].concat());
    let table = call(&["--policy", "restricted"]).expect(0).stdout;
    assert!(table.contains("/process/noNewPrivileges") && table.contains("65532"), "{table}");
    let diff = call(&["--diff"]).expect(0).stdout;
    assert!(
        diff.contains("-        \"CAP_NET_RAW\"") && diff.contains("+++ config.json"),
        "{diff}"
    );
    let json: Value = serde_json::from_str(&call(&["--format", "json"]).expect(0).stdout).unwrap();
    assert_eq!(json["schema"], "palisade.dev/harden/v1");
    let hardened: Value = serde_json::from_str(&call(&["-o", "-"]).expect(0).stdout).unwrap();
    assert_eq!(hardened["linux"]["future"], 1);
    assert_eq!(hardened["process"]["noNewPrivileges"], true);
    call(&["--in-place"]).expect(0);
    let written = std::fs::read(folder.path().join("config.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&written).unwrap(), hardened);
    let again = call(&["--format", "json"]).expect(0).stdout;
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["changes"], json!([]));
}

#[test]
fn a_spec_that_asks_for_too_much_is_refused_unless_it_is_excepted() {
    let folder = tempfile::tempdir().unwrap();
    let mut asks = spec();
    asks["process"]["capabilities"]["bounding"] = json!(["CAP_SYS_ADMIN"]);
    write(folder.path(), "config.json", &asks.to_string());
    run(folder.path(), &["harden", "config.json"]).expect_error(1, "SYS_ADMIN");
    let policy = "version: 1\nname: mine\nengines:\n  exceptions:\n  - images: [\"agent:*\"]\n    \
                  labels: [role=agent]\n    allow: [\"capability:SYS_ADMIN\"]\n    reason: r\n    \
                  expires: \"2099-01-01\"\n";
    write(folder.path(), "mine.yaml", policy);
    let call = |more: &[&str]| {
        run(folder.path(), &[&["harden", "config.json", "--policy", "mine.yaml"], more].concat())
    };
    call(&["--image", "agent:1", "--label", "role=agent"]).expect(0);
    call(&["--image", "agent:1"]).expect_error(1, "SYS_ADMIN");
    // A further process gets no more than the first.
    let process = json!({"capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]}});
    write(folder.path(), "process.json", &process.to_string());
    write(folder.path(), "first.json", &json!({"process": {"capabilities": {}}}).to_string());
    let ended =
        run(folder.path(), &["harden", "process.json", "--exec-in", "first.json", "-o", "-"]);
    let process: Value = serde_json::from_str(&ended.expect(0).stdout).unwrap();
    assert_eq!(process["capabilities"]["effective"], json!([]));
    let twice = "{\"process\": {}, \"process\": {}}";
    for (text, what) in [
        ("{", "is not JSON"),
        (twice, "says something twice"),
        ("[]", "form"),
        ("{\"process\": 1}", "form"),
    ] {
        write(folder.path(), "bad.json", text);
        let ended = run(folder.path(), &["harden", "bad.json"]);
        assert!(matches!(ended.code, 1 | 3) && ended.stderr.contains(what), "{}", ended.stderr);
    }
    run(folder.path(), &["harden", "absent.json"]).expect_error(3, "absent.json");
}

#[test]
fn a_container_that_does_not_run_is_said() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["inspect", "no-such-container"]).expect_error(3, "no-such-container");
}

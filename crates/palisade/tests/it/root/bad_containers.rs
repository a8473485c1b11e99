//! What cannot become a container: a clear refusal, and nothing left half-made.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::bed::{Bed, busybox};
use crate::support::{Ended, finish, listing, mounts_of, palisade, write_script};

/// A folder with a bundle, settings and states for our runtime, as an engine would lay them out.
struct Engine<'a> {
    bed: &'a Bed,
}

impl Engine<'_> {
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.bed.path().join(name), bytes).unwrap();
    }

    fn settings(&self, extra: &Value) {
        let mut settings = json!({
            "policy": "baseline", "state": self.bed.path().join("confined"),
        });
        for (key, value) in extra.as_object().unwrap() {
            settings[key] = value.clone();
        }
        self.write("runtime.json", settings.to_string());
    }

    fn call(&self, arguments: &[&str]) -> Ended {
        let mut command = palisade(self.bed.path());
        command.env("PALISADE_RUNTIME_CONFIG", self.bed.path().join("runtime.json"));
        command.args(["runtime", "--root", "states", "--log", "log.json", "--log-format", "json"]);
        command.args(arguments);
        finish(command)
    }

    /// A call that must fail: the engine's log and stderr say `what`, and the folder is as before.
    #[track_caller]
    fn refused(&self, what: &str, name: &str) {
        let log = self.bed.path().join("log.json");
        let _ = std::fs::remove_file(&log);
        let before = listing(self.bed.path());
        let ended = self.call(&["create", "--bundle", "bundle", name]);
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(what), "{name}: {what}: {}", ended.stderr);
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let entry: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(entry["level"], "error");
        assert!(entry["msg"].as_str().unwrap().contains(what), "{name}: {text}");
        std::fs::remove_file(&log).unwrap();
        assert_eq!(listing(self.bed.path()), before, "{name}");
    }
}

fn spec() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"},
        ]},
    })
}

/// `spec` with `value` at `pointer`.
fn with(pointer: &str, value: Value) -> String {
    let mut out = spec();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    out.pointer_mut(parent).unwrap()[key] = value;
    out.to_string()
}

#[test]
fn configurations_that_are_none_are_refused_to_the_engine_and_leave_nothing() {
    let Some(bed) = Bed::new() else { return };
    let engine = Engine { bed: &bed };
    std::fs::create_dir_all(bed.path().join("bundle/rootfs")).unwrap();
    engine.settings(&json!({}));
    let many: Vec<Value> =
        (0..5000).map(|i| json!({"destination": format!("/m{i}"), "type": "tmpfs"})).collect();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "is not JSON"),
        ("text", b"no json".to_vec(), "is not JSON"),
        ("cut off", spec().to_string()[..60].into(), "is not JSON"),
        ("not UTF-8", b"{\"process\": \"\xff\xfe\"}".to_vec(), "is not JSON"),
        ("nested", vec![b'['; 100_000], "is not JSON"),
        ("twice", b"{\"process\": {}, \"process\": {}}".to_vec(), "says something twice"),
        ("list", b"[]".to_vec(), "does not have the form"),
        ("no process", b"{\"ociVersion\": \"1.0.2\"}".to_vec(), "/process"),
        ("enormous", vec![b' '; 17 << 20], "config.json"),
        ("many mounts", with("/mounts", json!(many)).into(), "more than 4096 mounts"),
        ("mounts", with("/mounts", json!("all")).into(), "/mounts"),
        ("process", with("/process", json!(["x"])).into(), "/process"),
        ("capabilities", with("/process/capabilities", json!("ALL")).into(), "/process/capab"),
        ("another case", with("/Process", json!({})).into(), "runtimes take for `process`"),
        ("namespaces", with("/linux/namespaces", json!({})).into(), "/linux/namespaces"),
    ];
    for (name, text, what) in cases {
        let text = if name == "another case" {
            String::from_utf8(text).unwrap().replace("/Process", "Process").into_bytes()
        } else {
            text
        };
        engine.write("bundle/config.json", text);
        engine.refused(what, &name.replace(' ', "-"));
    }
    // What is no file: a link, a folder, a pipe that nobody writes to.
    let path = bed.path().join("bundle/config.json");
    std::fs::remove_file(&path).unwrap();
    engine.refused("config.json", "absent");
    symlink("/etc/passwd", &path).unwrap();
    engine.refused("is not a regular file", "link");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    engine.refused("is not a regular file", "folder");
    std::fs::remove_dir(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    engine.refused("is not a regular file", "pipe");
}

#[test]
fn settings_policies_and_runtimes_that_are_none_start_nothing() {
    let Some(bed) = Bed::new() else { return };
    let engine = Engine { bed: &bed };
    std::fs::create_dir_all(bed.path().join("bundle/rootfs")).unwrap();
    engine.write("bundle/config.json", spec().to_string());
    engine.write("wrong.yaml", "version: 1\nname: x\ncontainers: {usr: image}\n");
    engine.write("filter.json", r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#);
    engine.write("filter.yaml", "version: 1\nname: x\ncontainers: {seccomp: filter.json}\n");
    let at = |name: &str| bed.path().join(name);
    for (name, settings, what) in [
        ("runtime", json!({"runtime": "/nonexistent/runc"}), "no OCI runtime at `/nonexistent"),
        ("policy", json!({"policy": at("absent.yaml")}), "absent.yaml"),
        ("wrong", json!({"policy": at("wrong.yaml")}), "wrong.yaml"),
        ("unknown", json!({"polcy": "baseline"}), "unknown field `polcy`"),
        ("filter", json!({"policy": at("filter.yaml")}), "it denies execve"),
    ] {
        engine.settings(&settings);
        engine.refused(what, name);
    }
    engine.write("runtime.json", "{");
    engine.refused("are not valid", "settings");
}

/// A policy file of these containers, for any image.
fn policy(bed: &Bed, containers: &str) {
    let text =
        format!("version: 1\nname: bad\nimages: {{verify: off}}\ncontainers: {{{containers}}}\n");
    std::fs::write(bed.path().join("bad.yaml"), text).unwrap();
}

/// Whatever of a container could be left in this test's folders.
fn traces(bed: &Bed) -> Vec<String> {
    let mut left = mounts_of(&bed.run_dir);
    for folder in [bed.data().join("containers"), bed.run_dir.join("bundles")] {
        left.extend(listing(&folder));
    }
    for folder in ["containers", "runc"] {
        left.extend(listing(&bed.run_dir.join(folder)));
    }
    left
}

#[test]
fn what_a_policy_keeps_from_starting_is_said_with_the_key_and_leaves_nothing() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, "");
    bed.shell(&["--policy", "bad.yaml"], "true").expect(0);
    let before = traces(&bed);
    let filter = |text: &str| std::fs::write(bed.path().join("filter.json"), text).unwrap();
    let refused = |containers: &str, code: i32, whats: [&str; 2]| {
        policy(&bed, containers);
        let args = ["run", "--policy", "bad.yaml", "oci:box", "--", "/bin/true"];
        let ended = bed.run(&args).expect(code);
        for what in whats {
            assert!(ended.stderr.contains(what), "{containers}: {what}: {}", ended.stderr);
        }
        assert_eq!(traces(&bed), before, "{containers}");
    };
    filter(r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}"#);
    refused("seccomp: filter.json", 1, ["denies execve, clock_gettime, clone, ", "allow these"]);
    filter(
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    refused("seccomp: filter.json", 1, ["denies execve", "allow these"]);
    refused("tmpfs: [{path: /bin, size: 1Mi}]", 127, ["over `/bin`", "containers.tmpfs"]);
    refused("user: non_root", 1, ["root", "user"]);

    // A user that is not in the image, and a program that its user may not execute.
    let config = json!({"Cmd": ["/bin/true"], "User": "nobody-here"});
    busybox(&bed.path().join("stranger"), &config);
    policy(&bed, "");
    let run = |image: &str, command: &str| {
        bed.run(&["run", "--policy", "bad.yaml", image, "--", command])
    };
    let ended = run("oci:stranger", "/bin/true").expect(3);
    assert!(ended.stderr.contains("nobody-here"), "{}", ended.stderr);
    let config = json!({"Cmd": ["/bin/true"], "User": "www"});
    busybox(&bed.path().join("modest"), &config);
    let ended = run("oci:modest", "/etc/passwd");
    ended.expect_error(126, "user 33 may not execute it");
    let ended = run("oci:modest", "/bin/absent");
    ended.expect_error(127, "check that the program exists");
    assert_eq!(traces(&bed), before);
}

#[test]
fn a_filter_that_kills_the_runtime_is_named_with_the_calls() {
    let Some(bed) = Bed::new() else { return };
    bed.shell(&[], "true").expect(0);
    let before = traces(&bed);
    let first = ["execve", "close", "futex", "exit_group", "read", "write"];
    let more = [&first[..], &["openat", "fcntl", "fstat", "prctl"]].concat();
    for (allowed, missing, given) in [(&first[..], "openat", "execve"), (&more, "mmap", "openat")] {
        let filter = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}],
        });
        std::fs::write(bed.path().join("filter.json"), filter.to_string()).unwrap();
        let ended = bed.shell(&["--seccomp", "filter.json"], "true");
        ended.expect_error(3, "under the seccomp profile `filter.json`: ");
        let hint = ended.stderr.lines().last().unwrap();
        assert!(hint.contains("the profile denies ") && hint.contains(missing), "{hint}");
        assert!(!hint.contains(&format!(" {given},")), "{hint}");
        assert!(hint.contains("palisade profile verify filter.json IMAGE"), "{hint}");
        assert_eq!(traces(&bed), before);
    }
    // With the floor the program itself meets the filter.
    let all: Vec<&str> = palisade_harden::seccomp::FLOOR.to_vec();
    let filter = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": all, "action": "SCMP_ACT_ALLOW"}],
    });
    std::fs::write(bed.path().join("filter.json"), filter.to_string()).unwrap();
    let ended = bed.shell(&["--seccomp", "filter.json"], "true");
    assert!(!ended.stderr.contains("the profile denies"), "{}", ended.stderr);
}

#[test]
fn what_is_named_and_not_there_is_told_with_what_to_name() {
    let Some(bed) = Bed::new() else { return };
    std::fs::write(bed.path().join("huge.json"), vec![b' '; 20 << 20]).unwrap();
    std::fs::write(bed.path().join("text.json"), "no JSON").unwrap();
    let check = |args: &[&str], what: &str, hint: &str| {
        let ended = bed.run(args);
        ended.expect_error(3, what);
        let last = ended.stderr.lines().last().unwrap();
        assert!(last.contains(hint), "{args:?}: {last}");
    };
    check(&["harden", "nosuch.json"], "nosuch.json", "a bundle's config.json");
    check(&["harden", "huge.json"], "huge.json", "at most 16 MiB");
    check(&["harden", "."], "not a regular file", "a bundle's config.json");
    check(&["harden", "text.json"], "is not JSON", "OCI runtime specification");
    check(&["harden", "lxc", "nosuch"], "nosuch", "/var/lib/lxc/NAME/config");
    let run = |profile: &'static str| ["run", "--seccomp", profile, "oci:box"];
    check(&run("nosuch.json"), "nosuch.json", "name a profile that is there");
    check(&run("text.json"), "text.json", "the form of Docker's default.json");
    // A folder bears no signature, and no key is its signer's.
    let root = super::docker::make_root(bed.path());
    let folder = ["run", "--rootfs", root.to_str().unwrap(), "--policy", "restricted"];
    check(
        &[&folder[..], &["--", "/bin/true"]].concat(),
        "no digest",
        "a folder bears no signature",
    );
}

#[test]
fn exhausted_ids_an_old_runtime_and_a_missing_controller_are_refused_before_anything_is_made() {
    let Some(bed) = Bed::new() else { return };
    policy(&bed, "limits: {memory: 64Mi}");
    bed.shell(&["--policy", "bad.yaml"], "true").expect(0);
    let before = traces(&bed);
    let args = ["run", "--policy", "bad.yaml", "oci:box", "--", "/bin/true"];

    let ledger = bed.data().join("ids/ledger.json");
    let kept = std::fs::read(&ledger).unwrap();
    std::fs::write(&ledger, r#"{"next": 2147352576}"#).unwrap();
    bed.run(&args).expect_error(3, "ranges of ids have been handed out");
    std::fs::write(&ledger, "{").unwrap();
    bed.run(&args).expect_error(3, "is damaged");
    std::fs::write(&ledger, kept).unwrap();

    let old = bed.path().join("old-runc");
    write_script(&old, "#!/bin/sh\necho runc version 1.0.3\n");
    let mut with_old = vec!["run", "--runtime", "./old-runc"];
    with_old.extend(&args[1..]);
    bed.run(&with_old).expect_error(3, "at least 1.1.0 is needed");
    assert_eq!(traces(&bed), before);

    // Without the controller in a mount namespace of the command's own.
    let controller = Path::new("/sys/fs/cgroup/memory");
    if !controller.is_dir() {
        eprintln!("skipped: the memory controller is not one of version 1 here");
        return;
    }
    let ours = bed.command(&args);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(r#"umount "$0" && exec "$@""#).arg(controller).arg(ours.get_program());
    command.args(ours.get_args()).current_dir(bed.path()).env_clear();
    command.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
    finish(command).expect_error(3, "no control group controller `memory`");
    assert_eq!(traces(&bed), before);
}

//! The program that engines call, killed before each of its system calls: what is left of it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

/// System calls before each of which it is killed, once for every time that it makes them.
const CALLS: [&str; 8] =
    ["openat", "write", "fchmod", "fchown", "unlink", "linkat", "renameat2", "rename"];
/// More of one kind than one call of the program makes.
const TIMES_MAX: usize = 2000;

/// Names in a folder, which need not be there.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A file that an engine hands over, and the call that reads it.
struct Case<'a> {
    name: &'a str,
    before: String,
    call: &'a [&'a str],
}

/// Kills the program everywhere; returns how often, and how often the file was gone.
fn check(case: &Case<'_>) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let bundle = path.join("bundle");
    let state = path.join("state");
    let settings = json!({"policy": "baseline", "runtime": "/bin/true", "state": state,
        "standing": path.join("standing.json"), "decisions": path.join("decisions")});
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    std::fs::create_dir_all(bundle.join("rootfs")).unwrap();
    let file = bundle.join(case.name);
    let run = |inject: Option<&str>| {
        std::fs::write(&file, &case.before).unwrap();
        let mut command = Command::new("strace");
        command.current_dir(&bundle).args(["-qq", "-o", "/dev/null", "-e", "signal=none"]);
        command.args(inject.iter().flat_map(|what| ["-e", what]));
        command.arg(env!("CARGO_BIN_EXE_palisade-runtime"));
        command.arg("--palisade-config").arg(path.join("runtime.json"));
        command.args(case.call).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap()
    };
    assert!(run(None).success(), "{:?}", case.call);
    let after = std::fs::read_to_string(&file).unwrap();
    assert_ne!(after, case.before, "nothing was changed, so nothing is tested");
    let (mut n_killed, mut n_gone) = (0, 0);
    for call in CALLS {
        for time in 1..=TIMES_MAX {
            assert!(time < TIMES_MAX, "{call} never ends");
            // The question `?` lets calls pass that this architecture does not have.
            let inject = format!("inject=?{call}:signal=KILL:when={time}");
            if run(Some(&inject)).success() {
                break;
            }
            n_killed += 1;
            match std::fs::read_to_string(&file) {
                Ok(text) => assert!(text == case.before || text == after, "{inject}: {text}"),
                Err(_) => n_gone += 1,
            }
            let mut left = names(&bundle);
            left.retain(|name| name != case.name && name != "rootfs");
            assert!(left.is_empty(), "{inject} leaves {left:?}");
            let mut left = names(&state);
            left.retain(|name| name != "runtimes" && name != "c1.json");
            assert!(left.is_empty(), "{inject} leaves {left:?}");
            assert!(names(&state.join("runtimes")).len() <= 1, "{inject}");
        }
    }
    (n_killed, n_gone)
}

#[test]
fn killed_at_any_call_it_leaves_nothing_of_its_own() {
    let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).output();
    if !strace.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: strace is not installed, or may not trace");
        return;
    }
    let process = json!({"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": ["CAP_CHOWN"]}});
    let spec = json!({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": process,
        "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"},
            {"type": "uts"}, {"type": "network"}, {"type": "cgroup"}]}});
    for case in [
        Case {
            name: "config.json",
            before: spec.to_string(),
            call: &["create", "--bundle", ".", "c1"],
        },
        Case {
            name: "runc-process1",
            before: process.to_string(),
            call: &["exec", "--process", "runc-process1", "c1"],
        },
    ] {
        let (n_killed, n_gone) = check(&case);
        assert!(n_killed > 10, "{:?} was killed only {n_killed} times", case.call);
        // Between its removal and the new one there is one call.
        assert!(n_gone <= 2, "{:?}: {n_gone}", case.call);
    }
}

//! `palisade profile` through the program: a container recorded from its start, one that ran
//! before, records merged and compared, profiles written and used, calls missed and said where.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::bed::{Bed, SOON};
use super::docker::{Docker, Setup, can_start, make_root};
use crate::layout::{Layer, Layout};
use crate::support::{Ended, Running, finish, palisade, wait_for};

const PALISADE: &str = env!("CARGO_BIN_EXE_palisade");
/// What the recorded container does.
const WRITES: &str = "echo x >/tmp/made; cat /tmp/made";

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Has `entry` in a list of texts.
fn has(list: &Value, entry: &str) -> bool {
    list.as_array().unwrap().iter().any(|one| one == entry)
}

/// A recording is partial where the kernel does not tell of capabilities (before Linux 6.14).
#[track_caller]
fn expect_recorded(ended: Ended, record: &Path) -> Value {
    let record = json(record);
    let code = if record["capabilities_known"] == true { 0 } else { 4 };
    ended.expect(code);
    record
}

/// Records a container of `oci:box` that runs `script` under the recording.
fn record(bed: &Bed, name: &str, script: &str) -> Value {
    let file = format!("{name}.json");
    let args = ["profile", "record", "--name", name, "--output", &file, "--", PALISADE, "run"];
    let ended = bed.run(&[&args[..], &["oci:box", "--", "/bin/sh", "-c", script]].concat());
    expect_recorded(ended, &bed.path().join(&file))
}

/// Names that a filter allows, with some arguments at least.
fn allowed(section: &Value) -> Vec<&str> {
    let rules = section["syscalls"].as_array().unwrap().iter();
    rules
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn a_container_is_recorded_and_runs_under_its_profile() {
    let Some(bed) = Bed::new() else { return };
    let shop = record(&bed, "shop", WRITES);
    assert_eq!((&shop["name"], &shop["floor"]), (&json!("shop"), &json!("seen")), "{shop}");
    assert_eq!(shop["calls"]["execve"], json!(["recorded"]), "{shop}");
    assert!(has(&shop["files"]["written"], "/tmp/made"), "{shop}");
    assert!(has(&shop["files"]["executed"], "/bin/busybox"), "{shop}");
    // Nobody in the container mounts, though its runtime does.
    assert!(shop["calls"]["mount"].is_null(), "{shop}");

    // Another one, both together, and what differs.
    let other = record(&bed, "other", "touch /tmp/touched");
    // The pipe by which the runtime starts the program is not the container's.
    assert_eq!(other["files"]["written"], json!(["/tmp/touched"]), "{other}");
    let text =
        bed.run(&["profile", "merge", "--name", "both", "shop.json", "other.json"]).expect(0);
    std::fs::write(bed.path().join("both.json"), &text.stdout).unwrap();
    let both = json(&bed.path().join("both.json"));
    assert_eq!((&both["n_merged"], &both["name"]), (&json!(2), &json!("both")));
    assert_eq!(both["files"]["written"], json!(["/tmp/made", "/tmp/touched"]), "{both}");
    let rows = |old: &str, new: &str, code: i32| {
        bed.run(&["profile", "diff", "--format", "tsv", old, new]).expect(code).stdout
    };
    assert_eq!(rows("both.json", "both.json", 0), "");
    assert!(rows("shop.json", "both.json", 1).contains("/tmp/touched"));
    assert!(rows("both.json", "shop.json", 0).lines().all(|line| line.starts_with('-')));

    // Every form, and the container under it.
    bed.run(&["profile", "export", "shop.json", "--format", "all", "--output", "out"]).expect(0);
    let mut names: Vec<String> = std::fs::read_dir(bed.path().join("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["apparmor", "cil", "oci.json", "pod.yaml", "policy.yaml", "seccomp.json"];
    assert_eq!(names, expected.map(|form| format!("shop.{form}")));
    let section = json(&bed.path().join("out/shop.seccomp.json"));
    let calls = allowed(&section);
    assert!(calls.contains(&"openat") && !calls.contains(&"mount"), "{calls:?}");
    let run = |script: &str| {
        let args = ["run", "--policy", "out/shop.policy.yaml", "oci:box", "--", "/bin/sh", "-c"];
        bed.run(&[&args[..], &[script]].concat())
    };
    assert_eq!(run(WRITES).expect(0).stdout, "x\n");
    // No recording showed a listening socket.
    let refused = run("nc -l -p 7 </dev/null");
    assert!(
        refused.code != 0 && refused.stderr.contains("Function not implemented"),
        "{refused:?}"
    );
    let args = ["profile", "verify", "shop.json", "oci:box", "--format", "json", "--"];
    let ended = bed.run(&[&args[..], &["/bin/sh", "-c", WRITES]].concat()).expect(0);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["passed"], true, "{report}");
    assert_eq!(report["runs"].as_array().unwrap().len(), 2, "{report}");
}

#[test]
fn a_container_that_runs_is_recorded_from_now_on() {
    let Some(bed) = Bed::new() else { return };
    bed.detach("shop", &[], "echo 1 >/tmp/before; while :; do cat /dev/null; sleep 0.05; done");
    let args = ["profile", "record", "shop", "--output", "shop.json"];
    let recording = bed.start(&args);
    wait_for("recording", SOON, || recording.stderr().contains("recording shop").then_some(()));
    let join = ["exec", "shop", "--", "/bin/sh", "-c", "echo 2 >/tmp/joined"];
    bed.run(&join).expect(0);
    recording.signal(Signal::INT);
    let ended = recording.wait(SOON);
    assert!(ended.stderr.contains("ran before the recording began"), "{}", ended.stderr);
    let shop = expect_recorded(ended, &bed.path().join("shop.json"));
    let written = &shop["files"]["written"];
    assert!(has(written, "/tmp/joined") && !has(written, "/tmp/before"), "{shop}");
    let gaps = shop["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|gap| gap.as_str().unwrap().contains("ran before")), "{shop}");
    assert_eq!(shop["floor"], "none", "{shop}");
    // Whoever makes a profile of it is told, and the floor is what is known of the runtime.
    let ended = bed.run(&["profile", "export", "shop.json"]).expect(0);
    assert!(ended.stderr.contains("ran before"), "{}", ended.stderr);
    let section: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(allowed(&section).contains(&"getppid"), "{section}");

    // It ends by itself; replicas are merged.
    bed.detach("web", &[], "while :; do touch /tmp/web; sleep 0.05; done");
    let args = ["profile", "record", "shop", "web", "--for", "5", "--output", "two.json"];
    let two = expect_recorded(bed.run(&args), &bed.path().join("two.json"));
    assert_eq!(two["n_merged"], 2, "{two}");
    assert!(has(&two["files"]["changed"], "/tmp/web"), "{two}");
    bed.run(&["profile", "record", "shop", "shop", "--for", "1"]).expect_error(2, "another name");
    bed.run(&["stop", "--all", "--grace", "0"]).expect(0);
    bed.run(&["profile", "record", "shop", "--for", "1"]).expect_error(3, "no container `shop`");
}

#[test]
fn who_joins_a_container_without_a_pid_namespace_is_recorded_by_its_control_group() {
    let Some(bed) = Bed::new() else { return };
    let root = make_root(bed.path());
    let id = format!("{:016x}", std::process::id()).repeat(4);
    let spec = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/",
            "args": ["/bin/sh", "-c", "while :; do sleep 0.05; done"],
        },
        "root": {"path": root},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "cgroupsPath": format!("/docker/{id}"),
            "namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "network"}],
        },
    });
    std::fs::write(bed.path().join("config.json"), spec.to_string()).unwrap();
    let runc = |args: &[&str]| {
        let mut command = Command::new("runc");
        command.arg("--root").arg(bed.path().join("runc")).args(args).current_dir(bed.path());
        finish(command)
    };
    runc(&["run", "--detach", &id]).expect(0);
    let recording =
        bed.start(&["profile", "record", &id[..12], "--name", "plain", "--output", "plain.json"]);
    wait_for("recording", SOON, || recording.stderr().contains("recording plain").then_some(()));
    runc(&["exec", &id, "/bin/sh", "-c", "echo 1 >/tmp/joined; (mkdir /tmp/made)"]).expect(0);
    recording.signal(Signal::INT);
    let ended = recording.wait(SOON);
    runc(&["delete", "--force", &id]).expect(0);
    let plain = expect_recorded(ended, &bed.path().join("plain.json"));
    assert!(has(&plain["files"]["written"], "/tmp/joined"), "{plain}");
    assert!(has(&plain["files"]["changed"], "/tmp/made"), "{plain}");
    // The host does much meanwhile, but not in this group.
    assert!(plain["calls"]["bpf"].is_null(), "{plain}");
}

#[test]
fn containers_of_docker_are_recorded_by_their_names() {
    if !can_start() {
        return;
    }
    let docker = Docker::start(Setup::Plain);
    let folder = docker.folder.path();
    let script = "while :; do sleep 0.05; done";
    let start = |name: &str, flags: &[&str]| {
        let flags = [&["--detach", "--name", name][..], flags].concat();
        docker.container(&flags, &["/bin/sh", "-c", script]).expect(0);
    };
    start("shop", &[]);
    // One that shares the other's processes: what either does is its own.
    start("beside", &["--pid", "container:shop"]);
    let store = format!("docker={}", folder.join("data").display());
    let begin = |name: &str| {
        let mut command = palisade(folder);
        command.args(["profile", "record", name, "--store", &store]);
        let recording = Running::start(command, b"");
        let line = format!("recording {name};");
        wait_for("recording", SOON, || recording.stderr().contains(&line).then_some(()));
        recording
    };
    let recordings = ["shop", "beside"].map(|name| (name, begin(name)));
    for (name, _) in &recordings {
        docker.run(&["exec", name, "/bin/mkdir", &format!("/tmp/of-{name}")]).expect(0);
    }
    for (name, recording) in recordings {
        recording.signal(Signal::INT);
        let ended = recording.wait(SOON);
        let record = expect_recorded(ended, &folder.join(format!("{name}.record.json")));
        let made: Vec<&str> = record["files"]["changed"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .filter(|path| path.starts_with("/tmp/of-"))
            .collect();
        assert_eq!(made, [format!("/tmp/of-{name}")], "{record}");
    }
}

/// A program that makes two calls where its name says so, and is gone at once.
const PROGRAM: &str = r#"
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) int canary_folder(const char *path) { return mkdir(path, 0700) + 1; }
__attribute__((noinline)) long canary_key(void) { return syscall(SYS_keyctl, 6, 0, 0) + 1; }
int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) {
        canary_folder("/tmp/canary");
        canary_key();
    }
    return 0;
}
"#;

/// The image `oci:canary` of [`PROGRAM`] with its C library; false, and said why, without one.
fn canary(folder: &Path) -> bool {
    let (source, program) = (folder.join("canary.c"), folder.join("canary.out"));
    std::fs::write(&source, PROGRAM).unwrap();
    let built = Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(&source).output();
    let libraries = ["/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"];
    if !built.is_ok_and(|output| output.status.success())
        || libraries.iter().any(|path| !Path::new(path).exists())
    {
        eprintln!("skipped: no C compiler and C library for x86-64");
        return false;
    }
    let mut layer = Layer::new()
        .folder("tmp/", 0o1777)
        .folder("lib64/", 0o755)
        .folder("lib/", 0o755)
        .folder("lib/x86_64-linux-gnu/", 0o755)
        .folder("bin/", 0o755)
        .file("bin/canary", 0o755, std::fs::read(&program).unwrap());
    for path in libraries {
        layer = layer.file(&path[1..], 0o755, std::fs::read(path).unwrap());
    }
    Layout::write(&folder.join("canary"), vec![layer], &json!({"Cmd": ["/bin/canary"]}));
    true
}

#[test]
fn a_near_miss_names_the_call_the_place_its_caller_and_the_rule() {
    let Some(bed) = Bed::new() else { return };
    if !canary(bed.path()) {
        return;
    }
    let args = ["profile", "record", "--name", "canary", "--", PALISADE, "run", "oci:canary"];
    let ended = bed.run(&args);
    expect_recorded(ended, &bed.path().join("canary.record.json"));
    let out = ["--output", "canary.seccomp.json"];
    bed.run(&[&["profile", "export", "canary.record.json"][..], &out].concat()).expect(0);
    let verify = |rest: &[&str]| {
        let args = ["profile", "verify", "canary.seccomp.json", "oci:canary"];
        bed.run(&[&args[..], rest].concat())
    };
    verify(&[]).expect(0);
    let ended = verify(&["--format", "json", "--", "/bin/canary", "miss"]).expect(1);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["passed"], false, "{report}");
    for run in report["runs"].as_array().unwrap() {
        assert_eq!(run["succeeded"], true, "the program goes on without them: {report}");
    }
    let misses = report["runs"][0]["misses"].as_array().unwrap();
    let miss = |call: &str| {
        misses.iter().find(|miss| miss["call"] == call).unwrap_or_else(|| panic!("{report}"))
    };
    let starts = |value: &Value, with: &str| {
        assert!(value.as_str().is_some_and(|text| text.starts_with(with)), "{value}: {report}");
    };
    let folder = miss("mkdir");
    starts(&folder["place"], "libc.so.6 mkdir+0x");
    starts(&folder["caller"], "canary canary_folder+0x");
    assert_eq!((&folder["action"], &folder["times"]), (&json!("ENOSYS"), &json!(1)));
    assert!(folder["rule"].is_null(), "no rule names it: {report}");
    let key = miss("keyctl");
    starts(&key["place"], "libc.so.6 syscall+0x");
    starts(&key["caller"], "canary canary_key+0x");
    assert_eq!(key["action"], "EPERM", "{report}");
    let section = json(&bed.path().join("canary.seccomp.json"));
    let at = usize::try_from(key["rule"].as_u64().unwrap()).unwrap();
    assert!(has(&section["syscalls"][at]["names"], "keyctl"), "{section}");
    // Where the filter holds, it answers before the call can be seen.
    for call in ["mkdir", "keyctl"] {
        assert!(has(&report["runs"][1]["refused"], call), "{report}");
    }
    // For people.
    let shown = verify(&["--", "/bin/canary", "miss"]).expect(1).stdout;
    assert!(shown.contains("CALLED FROM") && shown.contains("canary canary_folder+0x"), "{shown}");
}

#[test]
fn a_near_miss_of_a_program_that_is_gone_at_once_has_its_place() {
    let Some(bed) = Bed::new() else { return };
    let shop = record(&bed, "shop", "true");
    bed.run(&["profile", "export", "shop.json", "--output", "shop.seccomp.json"]).expect(0);
    assert!(shop["calls"]["mkdir"].is_null() && shop["calls"]["mkdirat"].is_null(), "{shop}");
    let root = make_root(bed.path());
    let verify = |rest: &[&str]| {
        let args = ["profile", "verify", "shop.seccomp.json", "--format", "json"];
        let ended = bed.run(&[&args[..], rest].concat());
        let report: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(ended.code, 1, "{report}");
        let misses = report["runs"][0]["misses"].as_array().unwrap().clone();
        let miss = misses.iter().find(|m| m["call"] == "mkdir" || m["call"] == "mkdirat");
        miss.unwrap_or_else(|| panic!("{report}")).clone()
    };
    // The program itself, one that it starts, and one that it becomes; in an image and a folder.
    let folder = ["--rootfs", root.to_str().unwrap()];
    for (target, script) in [
        (&["oci:box"][..], "busybox mkdir /tmp/made"),
        (&["oci:box"], "(busybox mkdir /tmp/made); true"),
        (&["oci:box"], "busybox mkdir /tmp/made; exec true"),
        (&folder, "mkdir /tmp/made"),
    ] {
        let miss = verify(&[target, &["--", "/bin/sh", "-c", script]].concat());
        let place = miss["place"].as_str().unwrap();
        assert!(place.starts_with("busybox"), "{script}: {miss}");
        assert!(miss["caller"].is_string(), "{script}: {miss}");
    }
    let both = ["profile", "verify", "shop.seccomp.json", "oci:box", "--rootfs", "x"];
    bed.run(&both).expect(2);
}

#[test]
fn programs_of_an_image_are_read_and_joined_with_a_record() {
    let Some(bed) = Bed::new() else { return };
    let shop = record(&bed, "shop", WRITES);
    if shop["architecture"] != "x86_64" {
        return;
    }
    let args = ["profile", "static", "oci:box", "--program", "/bin/busybox"];
    let ended = bed.run(&[&args[..], &["--output", "static.json"]].concat());
    // What cannot be known is named, and the exit code says so.
    let named = json(&bed.path().join("static.json"));
    let n_gaps = named["gaps"].as_array().unwrap().len();
    let ended = ended.expect(if n_gaps == 0 { 0 } else { 4 });
    assert_eq!(ended.stderr.matches("warning: ").count(), n_gaps, "{}", ended.stderr);
    assert_eq!(named["calls"]["mount"], json!(["static"]), "busybox can mount");
    bed.run(&["profile", "merge", "shop.json", "static.json", "--output", "both.json"]).expect(0);
    let both = json(&bed.path().join("both.json"));
    assert_eq!(both["calls"]["openat"], json!(["recorded", "static"]), "{both}");
    bed.run(&["profile", "static", "oci:box", "--program", "/bin/nosuch"])
        .expect_error(3, "/bin/nosuch");
    bed.run(&["profile", "static", "oci:nosuch"]).expect_error(3, "nosuch");
}

#[test]
fn bad_profiles_are_refused_with_what_is_wrong() {
    let Some(bed) = Bed::new() else { return };
    let file = |name: &str, text: &str| std::fs::write(bed.path().join(name), text).unwrap();
    file("text.json", "no JSON");
    file("other.json", r#"{"schema": "palisade.dev/other/v1"}"#);
    file("short.json", r#"{"schema": "palisade.dev/profile-record/v1"}"#);
    file("list.json", "[]");
    file("rules.json", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}"#);
    file("ok.json", r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}"#);
    for (args, code, what) in [
        (&["export", "none.json"][..], 3, "none.json"),
        (&["export", "text.json"], 2, "text.json"),
        (&["export", "other.json"], 2, "palisade.dev/other/v1"),
        (&["export", "short.json"], 2, "short.json"),
        (&["merge", "text.json"], 2, "text.json"),
        (&["diff", "list.json", "ok.json"], 2, "list.json"),
        (&["diff", "rules.json", "ok.json"], 2, "`syscalls` is not a list"),
        (&["verify", "rules.json", "oci:box"], 2, "`syscalls` is not a list"),
        (&["verify", "text.json", "oci:box"], 2, "text.json"),
        (&["record", "--", "/bin/nosuch"], 3, "/bin/nosuch"),
    ] {
        bed.run(&[&["profile"], args].concat()).expect_error(code, what);
    }
    let record = record(&bed, "shop", "true");
    assert!(record["calls"].is_object());
    bed.run(&["profile", "diff", "shop.json", "ok.json"]).expect_error(2, "differ in kind");
    bed.run(&["profile", "export", "shop.json", "--format", "all"]).expect_error(2, "--output");
    // One of another machine.
    let foreign = record.to_string().replace("x86_64", "s390x").replace("aarch64", "s390x");
    file("foreign.json", &foreign);
    bed.run(&["profile", "export", "foreign.json"]).expect_error(2, "s390x");
    // A workload that fails without any filter says nothing about the profile.
    let args = ["profile", "verify", "ok.json", "oci:box", "--", "/bin/sh", "-c", "exit 3"];
    let ended = bed.run(&args).expect(1);
    assert!(ended.stderr.contains("the workload failed"), "{}", ended.stderr);
}

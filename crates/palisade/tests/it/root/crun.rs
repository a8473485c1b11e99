//! crun as the runtime that is handed over to: under Docker, containerd and Podman.
//!
//! crun refuses a machine that has control groups of both versions, so everything here runs in
//! a mount namespace from which the second is taken out.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use palisade_runtime::RuncVersion;

use super::docker::{Docker, LIMITS, Setup, can_start, make_root};
use super::{alone, is_root};
use crate::support::{Ended, Running, finish, wait_for};

const CRUN: &str = "/usr/bin/crun";
const STATUS: &str = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status";
const CONFINED: &str = "CapEff:\t00000000800405fb\nNoNewPrivs:\t1\nSeccomp:\t2\n";
/// A shell's line that leaves one version of control groups.
pub(crate) const ONE_VERSION: &str = "! mountpoint -q /sys/fs/cgroup/unified || \
    ! mountpoint -q /sys/fs/cgroup || umount /sys/fs/cgroup/unified\n";

fn is_there() -> bool {
    if !Path::new(CRUN).exists() {
        eprintln!("skipped: crun is not installed (scripts/install-deps.sh test)");
        return false;
    }
    is_root()
}

#[track_caller]
fn refused(ended: &Ended, what: &[&str]) {
    assert_ne!(ended.code, 0, "{} {}", ended.stdout, ended.stderr);
    for expected in what {
        assert!(ended.stderr.contains(expected), "`{expected}` is not in {}", ended.stderr);
    }
}

/// What is written down of the containers that are there, and of the runtime.
fn warnings(state: &Path, id: &str) -> String {
    std::fs::read_to_string(state.join(format!("{id}.json"))).unwrap()
}

#[test]
fn docker_on_crun_is_confined_and_keeps_its_hooks() {
    if !is_there() || !can_start() {
        return;
    }
    let docker = Docker::start_on(Setup::Palisade("baseline"), Some(CRUN));
    assert_eq!(docker.shell(&[], STATUS).expect(0).stdout, CONFINED);
    // The network of a container is made by a hook.
    let page = "echo page >/srv/index.html; exec /bin/httpd -f -p 8080 -h /srv";
    let flags = ["--detach", "--name", "web", "--publish", "18081:8080"];
    let id = docker.container(&flags, &["/bin/sh", "-c", page]).expect(0).stdout;
    let ask = "for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://127.0.0.1:18081/ && break; sleep 1; done";
    assert_eq!(docker.beside(ask).expect(0).stdout, "page\n");
    assert_eq!(docker.run(&["exec", "web", "/bin/sh", "-c", STATUS]).expect(0).stdout, CONFINED);
    // It is crun that runs it, and what is known of that version is written down.
    let folder = docker.folder.path();
    let runtimes = folder.join("state/runtimes");
    let known = std::fs::read_dir(runtimes).unwrap().flatten();
    let known: Vec<String> =
        known.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect();
    assert_eq!(known.len(), 1, "{known:?}");
    let version = finish({
        let mut command = Command::new(CRUN);
        command.arg("--version");
        command
    });
    let version = RuncVersion::parse(&version.stdout).unwrap();
    assert!(known[0].contains(&format!("crun version {}", version.text)), "{version:?}: {known:?}");
    let said = warnings(&folder.join("state"), id.trim());
    let is_open = !version.known_vulnerabilities().is_empty();
    assert_eq!(said.contains(&version.text), is_open, "{version:?}: {said}");
    refused(
        &docker.shell(&["--cap-add", "SYS_ADMIN"], "true"),
        &["policy `baseline` refuses this container", "SYS_ADMIN"],
    );
    refused(
        &docker.run(&["exec", "--privileged", "web", "/bin/true"]),
        &["policy `baseline` refuses this process"],
    );
    // The runtime alone, without the plugin, says it as readably.
    docker.set_policy("restricted");
    refused(&docker.shell(&["--volume", "/srv:/s"], "true"), &["policy `restricted` refuses"]);
    docker.set_policy("baseline");
    assert_eq!(docker.shell(&[], "exit 7").code, 7);
    docker.run(&["stop", "--time", "0", "web"]).expect(0);
    docker.run(&["rm", "web"]).expect(0);
    wait_for("the end of the records", Duration::from_secs(10), || {
        let kept = std::fs::read_dir(folder.join("state")).into_iter().flatten().flatten();
        kept.filter(|entry| entry.file_name() != "runtimes").count().eq(&0).then_some(())
    });
}

/// A mount namespace with one version of control groups, kept by a process.
struct Namespace(Running, u32);

impl Namespace {
    fn new(folder: &Path) -> Self {
        let marker = folder.join("ready");
        let script =
            format!("set -e\n{ONE_VERSION}echo $$ >{}\nexec sleep 600\n", marker.display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        let running = Running::start(command, b"");
        let pid = wait_for("the namespace", Duration::from_secs(10), || {
            std::fs::read_to_string(&marker).ok()?.trim().parse().ok()
        });
        Self(running, pid)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.1.to_string(), "--mount", "--", program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.signal(rustix::process::Signal::KILL);
    }
}

/// Podman takes crun by itself where it is installed; what `install` writes keeps it so.
#[test]
fn podman_that_took_crun_takes_it_through_us() {
    if !is_there() || !Path::new("/usr/bin/podman").exists() {
        return;
    }
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
    let path = folder.path();
    let space = Namespace::new(path);
    let shown = path.display();
    std::fs::create_dir(path.join("links")).unwrap();
    symlink(env!("CARGO_BIN_EXE_palisade"), path.join("links/crun")).unwrap();
    let settings = serde_json::json!({"policy": "baseline", "state": path.join("state")});
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    let conf = format!(
        "[engine]\nruntime = \"palisade\"\n\
         runtime_supports_json = [\"crun\", \"runc\", \"palisade\"]\n\
         [engine.runtimes]\npalisade = [\"{shown}/links/crun\"]\n"
    );
    std::fs::write(path.join("containers.conf"), conf).unwrap();
    make_root(path);
    let tar =
        Command::new("tar").current_dir(path).args(["-C", "root", "-cf", "box.tar", "."]).status();
    assert!(tar.unwrap().success());
    let podman = |args: &[&str]| {
        let mut command = space.command("podman");
        command.env("CONTAINERS_CONF", path.join("containers.conf"));
        command.arg("--runtime-flag").arg(format!("palisade-config={shown}/runtime.json"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        command.arg("--root").arg(path.join("store")).arg("--runroot").arg(path.join("run"));
        finish({
            command.args(args);
            command
        })
    };
    podman(&["import", "--", &path.join("box.tar").to_string_lossy(), "box"]).expect(0);
    let start = |flags: &[&str], command: &[&str]| {
        podman(&[&["run", "--network", "none"][..], &LIMITS, flags, &["box"], command].concat())
    };
    assert_eq!(start(&["--rm"], &["/bin/sh", "-c", STATUS]).expect(0).stdout, CONFINED);
    refused(
        &start(&["--rm", "--cap-add", "SYS_ADMIN"], &["/bin/true"]),
        &["policy `baseline` refuses this container", "SYS_ADMIN", "engines.exceptions"],
    );
    // crun would take this for the filter, and it allows every call.
    let open = ["--rm", "--annotation", "run.oci.seccomp_bpf_data=BgAAAAAA/38="];
    let apart = ["/bin/busybox", "unshare", "-U", "/bin/true"];
    refused(&start(&open, &apart), &["annotation `run.oci.seccomp_bpf_data`", "annotation:run"]);
    let settings = |policy: &str| {
        let settings = serde_json::json!({"policy": policy, "state": path.join("state")});
        std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    };
    let remove = path.join("remove.yaml");
    std::fs::write(&remove, "version: 1\nname: remove\nengines: {asked: remove}\n").unwrap();
    settings(&remove.display().to_string());
    refused(&start(&open, &apart), &["unshare"]);
    // What it does where it is allowed.
    let allowed = path.join("allowed.yaml");
    let policy = "version: 1\nname: allowed\nengines:\n  exceptions:\n  - containers: [\"*\"]\n    \
        allow: [\"annotation:run.oci.seccomp_bpf_data\"]\n    reason: test\n    \
        expires: \"2099-01-01\"\n";
    std::fs::write(&allowed, policy).unwrap();
    settings(&allowed.display().to_string());
    start(&open, &apart).expect(0);
    settings("baseline");
    start(&["--detach", "--name", "web"], &["/bin/sleep", "100"]).expect(0);
    assert_eq!(podman(&["exec", "web", "/bin/sh", "-c", STATUS]).expect(0).stdout, CONFINED);
    refused(
        &podman(&["exec", "--privileged", "web", "/bin/true"]),
        &["policy `baseline` refuses this process"],
    );
    assert_eq!(podman(&["exec", "web", "/bin/sh", "-c", "exit 5"]).code, 5);
    // It is crun that has it.
    let states = finish({
        let mut command = space.command(CRUN);
        command.args(["list", "--quiet"]);
        command
    });
    let id = podman(&["inspect", "--format", "{{.Id}}", "web"]).expect(0).stdout;
    assert!(states.stdout.contains(id.trim()), "{states:?}");
    podman(&["rm", "--force", "--time", "0", "web"]).expect(0);
}

#[test]
fn ctr_on_crun_is_confined_or_refused() {
    if !is_there() {
        return;
    }
    for program in ["/usr/bin/containerd", "/usr/bin/ctr"] {
        if !Path::new(program).exists() {
            eprintln!("skipped: {program} is not installed (scripts/install-deps.sh test)");
            return;
        }
    }
    let _alone = alone();
    let folder = tempfile::Builder::new().prefix("palisade-it-").tempdir_in("/var/tmp").unwrap();
    let path = folder.path();
    let settings = serde_json::json!({
        "policy": "baseline", "state": path.join("state"), "runtime": CRUN});
    std::fs::write(path.join("runtime.json"), settings.to_string()).unwrap();
    let (engine, ctr) = super::containerd::start(path, ONE_VERSION);
    let ours = path.join("links/palisade-runtime").display().to_string();
    let start = |flags: &[&str], line: &str| {
        let head = ["run", "--rm", "--snapshotter", "native", "--runc-binary", &ours];
        let tail = ["docker.io/library/box:latest", "one", "/bin/sh", "-c", line];
        ctr(&[&head[..], flags, &tail].concat())
    };
    assert_eq!(start(&[], STATUS).expect(0).stdout, CONFINED);
    refused(
        &start(&["--cap-add", "CAP_SYS_ADMIN"], "true"),
        &["policy `baseline` refuses this container", "SYS_ADMIN"],
    );
    let head = ["run", "--detach", "--snapshotter", "native", "--runc-binary", &ours];
    let tail = ["docker.io/library/box:latest", "web", "/bin/sleep", "100"];
    ctr(&[&head[..], &tail].concat()).expect(0);
    let exec = ["task", "exec", "--exec-id", "x", "web", "/bin/sh", "-c", STATUS];
    assert_eq!(ctr(&exec).expect(0).stdout, CONFINED);
    // The state is crun's.
    let mut files = Vec::new();
    for entry in std::fs::read_dir("/run/containerd/runc/default/web").into_iter().flatten() {
        files.push(entry.unwrap().file_name().to_string_lossy().into_owned());
    }
    assert!(files.contains(&"status".to_string()), "{files:?}");
    ctr(&["task", "kill", "--signal", "9", "web"]).expect(0);
    wait_for("the task's end", Duration::from_mins(1), || {
        ctr(&["task", "delete", "web"]).code.eq(&0).then_some(())
    });
    ctr(&["container", "delete", "web"]).expect(0);
    drop(engine);
}

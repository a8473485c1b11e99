//! Known ways out of a container, each run without harm: unhardened, by Docker's defaults without
//! and with the flags that the way needs, and under `restricted`, asked for those flags or not.
//!
//! What is touched are canaries of the test's own: a file, a loop device, another container, a
//! hierarchy of control groups that nobody else is in. Kernel settings are written with the value
//! that they have. Kernel interfaces that nothing follows from are in the table of the probe.
//!
//! `cargo test -p palisade --test it root::escapes -- --nocapture` prints the table that
//! `docs/guide/confinement.md` shows; `scripts/vm.sh --suite escapes` does it in a guest, where the
//! kernel has what this machine's lacks.

mod ways;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use self::ways::{Technique, techniques};
use super::docker::{Docker, Setup, can_start};
use super::probes;
use crate::layout::{Layer, Layout};
use crate::support::{Ended, finish, palisade};

/// What a technique prints when it worked.
const OUT: &str = "ESCAPED";

/// What a container of Docker's gets whose owner wants nothing in its way: of `--privileged` all
/// but the devices.
const OPEN: [&str; 6] = [
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
    "--security-opt",
    "systempaths=unconfined",
];
/// A careful container, which is entered later.
const CAREFUL: [&str; 6] =
    ["--user", "33:33", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Works,
    Blocked,
    /// By our policy, and the engine's user read why.
    Refused,
    /// By the engine or runC.
    NotStarted,
    NotRun,
}

impl Outcome {
    fn shown(self) -> &'static str {
        match self {
            Self::Works => "**works**",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
            Self::NotStarted => "not started",
            Self::NotRun => "-",
        }
    }

    fn of(ended: &Ended, outside: Option<bool>) -> Self {
        if ended.stdout.contains(OUT) && outside.unwrap_or(true) {
            return Self::Works;
        }
        if ended.stderr.contains("policy `restricted` refuses") {
            return Self::Refused;
        }
        // Docker's own codes for what did not begin.
        if matches!(ended.code, 125..=127) { Self::NotStarted } else { Self::Blocked }
    }
}

/// Canaries of the test's own, which are taken away again.
struct Canaries {
    disk: Option<LoopDevice>,
    /// For those who may not make one.
    hierarchy: Hierarchy,
}

/// A loop device over a file with a canary; detached when dropped.
struct LoopDevice(String);

impl LoopDevice {
    fn new(folder: &Path) -> Option<Self> {
        let file = folder.join("disk");
        let mut bytes = vec![0; 1 << 20];
        bytes[..6].copy_from_slice(b"CANARY");
        std::fs::write(&file, bytes).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_string();
        name.starts_with("/dev/loop").then_some(Self(name))
    }

    fn minor(&self) -> &str {
        self.0.trim_start_matches("/dev/loop")
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// A hierarchy of control groups of version 1 with a name of its own and no controller.
struct Hierarchy {
    name: String,
    at: PathBuf,
}

impl Hierarchy {
    fn new(folder: &Path, word: &str) -> Self {
        let at = folder.join(word);
        std::fs::create_dir(&at).unwrap();
        Self { name: format!("palisadeit{word}{}", std::process::id()), at }
    }

    fn mount(&self) {
        let options = format!("none,name={}", self.name);
        let mount = ["-t", "cgroup", "-o", &options, "c"];
        let _ = Command::new("mount").args(mount).arg(&self.at).output();
    }

    fn unmount(&self) {
        let _ = Command::new("umount").arg(&self.at).output();
    }

    /// Makes it, and leaves it unmounted, which it outlives by a group: runC would give a mounted
    /// one to every container.
    fn make(&self) {
        self.mount();
        std::fs::create_dir(self.at.join("kept")).unwrap();
        self.unmount();
    }

    fn is_there(&self) -> bool {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        groups.contains(&self.name)
    }
}

impl Drop for Hierarchy {
    /// Removes it: one whose last group was still going when it was unmounted stays.
    fn drop(&mut self) {
        for _ in 0..200 {
            if !self.is_there() {
                return;
            }
            self.mount();
            for group in ["x", "kept"] {
                let _ = std::fs::remove_dir(self.at.join(group));
            }
            self.unmount();
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert!(std::thread::panicking(), "the hierarchy {} is left", self.name);
    }
}

/// Capabilities that Docker 20.10 does not know; SYS_ADMIN holds what they are for.
const NEWER: [&str; 3] = ["PERFMON", "BPF", "CHECKPOINT_RESTORE"];

/// Every capability that this process has: a machine may keep some from everybody.
fn capabilities() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = palisade_sys::capability::parse_status(&status).effective;
    let known = own.names().filter(|name| !NEWER.contains(name));
    known.map(|name| format!("--cap-add={name}")).collect()
}

/// Tries one way with Docker; `asked` are the flags for it.
fn attempt(docker: &Docker, technique: &Technique, asked: &[&str], engine: &[&str]) -> Outcome {
    let ended = if technique.by_exec {
        // The container as a careful owner starts it; the flags are those of who enters.
        let start = [engine, &CAREFUL, &["--detach", "--name", "entered"]].concat();
        let started = docker.container(&start, &["/bin/sleep", "600"]);
        assert_eq!(started.code, 0, "{}", started.stderr);
        let line = [&["exec"], asked, &["entered", "/bin/sh", "-c", &technique.script]].concat();
        let ended = docker.run(&line);
        docker.run(&["rm", "--force", "entered"]).expect(0);
        ended
    } else {
        docker.shell(&[engine, asked].concat(), &technique.script)
    };
    Outcome::of(&ended, technique.outside.as_ref().map(|look| look()))
}

/// `palisade run` with what `restricted` gives, and the image of the engine's containers.
struct Own<'a> {
    folder: &'a Path,
    run_dir: String,
}

impl<'a> Own<'a> {
    /// `None`, and said why, where it cannot work.
    fn new(folder: &'a Path) -> Option<Self> {
        if !probes::has_id_mapped_layers() {
            eprintln!("not tried: `palisade run` needs Linux 5.19");
            return None;
        }
        std::fs::write(folder.join("restricted.yaml"), probes::restricted(folder)).unwrap();
        let layer = layer_of(&folder.join("root"));
        Layout::write(&folder.join("layout"), vec![layer], &json!({"Env": ["PATH=/bin"]}));
        // Mappings of ids need a path that others may walk.
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o711)).unwrap();
        let run_dir = format!("/run/palisade-test-{}-escapes", std::process::id());
        Some(Self { folder, run_dir })
    }

    fn command(&self, args: &[&str]) -> Ended {
        let mut command = palisade(self.folder);
        command.env("PALISADE_RUN_DIR", &self.run_dir).args(args);
        finish(command)
    }

    fn attempt(&self, technique: &Technique) -> Outcome {
        let run = ["run", "--policy", "restricted.yaml"];
        let line = ["/bin/sh", "-c", &technique.script];
        let ended = if technique.by_exec {
            let rest = ["--detach", "--name", "entered", "oci:layout", "--", "/bin/sleep", "600"];
            self.command(&[&run[..], &rest].concat()).expect(0);
            let ended = self.command(&[&["exec", "entered", "--"], &line[..]].concat());
            self.command(&["stop", "--grace", "0", "entered"]).expect(0);
            ended
        } else {
            self.command(&[&run[..], &["oci:layout", "--"], &line].concat())
        };
        Outcome::of(&ended, technique.outside.as_ref().map(|look| look()))
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.command(&["stop", "--all", "--grace", "0"]);
        let _ = std::fs::remove_dir_all(&self.run_dir);
    }
}

/// A root file system of two levels as a layer.
fn layer_of(root: &Path) -> Layer {
    let entries = |folder: &Path| {
        let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
        all.sort_by_key(std::fs::DirEntry::file_name);
        all
    };
    let mut layer = Layer::new();
    for folder in entries(root) {
        let name = folder.file_name().into_string().unwrap();
        let mode = folder.metadata().unwrap().permissions().mode() & 0o7777;
        layer = layer.folder(&format!("{name}/"), mode);
        for file in entries(&folder.path()) {
            let path = format!("{name}/{}", file.file_name().to_str().unwrap());
            layer = if let Ok(target) = std::fs::read_link(file.path()) {
                layer.link(&path, target.to_str().unwrap())
            } else {
                let mode = file.metadata().unwrap().permissions().mode() & 0o7777;
                layer.file(&path, mode, std::fs::read(file.path()).unwrap())
            };
        }
    }
    layer
}

const HEAD: &str = "| way | needs | unhardened | Docker's default | default and what it needs | \
                    `restricted`, asked for it | `restricted` | `palisade run`, `restricted` |\n\
                    |---|---|---|---|---|---|---|---|\n";

#[test]
fn every_way_out_that_works_unhardened_is_closed_under_restricted() {
    if !can_start() {
        return;
    }
    let docker = Docker::start(Setup::Beside("restricted"));
    let folder = docker.folder.path();
    let bin = folder.join("root/bin");
    let built = [("probe", bin.join("probe")), ("ways", bin.join("ways"))];
    if built.iter().any(|(name, target)| probes::compile(name, target).is_none()) {
        return;
    }
    docker.import();
    let canaries =
        Canaries { disk: LoopDevice::new(folder), hierarchy: Hierarchy::new(folder, "entered") };
    if canaries.disk.is_none() {
        eprintln!("no loop device: what needs a disk is not tried");
    }
    canaries.hierarchy.make();
    let made = Hierarchy::new(folder, "made");
    let own = Own::new(folder);
    let capabilities = capabilities();
    let all: Vec<&str> = capabilities.iter().map(String::as_str).chain(OPEN).collect();
    let ours = ["--runtime", "palisade"];
    let mut table = String::from(HEAD);
    let (mut open, mut n_work) = (Vec::new(), 0);
    for technique in techniques(&docker, &canaries, &made) {
        let asked: Vec<&str> = technique.flags.iter().map(String::as_str).collect();
        // Who enters a container by `exec` has no such flags, and `--privileged` has them all.
        let is_whole = technique.by_exec || asked.contains(&"--privileged");
        let unhardened = if is_whole { asked.clone() } else { [&all[..], &asked].concat() };
        let default = attempt(&docker, &technique, &[], &[]);
        let restricted = attempt(&docker, &technique, &[], &ours);
        // What needs nothing is the same asked for and not.
        let (given, refused) = if asked.is_empty() {
            (default, restricted)
        } else {
            let given = attempt(&docker, &technique, &asked, &[]);
            (given, attempt(&docker, &technique, &asked, &ours))
        };
        let outcomes = [
            attempt(&docker, &technique, &unhardened, &[]),
            default,
            given,
            refused,
            restricted,
            own.as_ref().map_or(Outcome::NotRun, |own| own.attempt(&technique)),
        ];
        let shown = outcomes.map(Outcome::shown).join(" | ");
        let _ = writeln!(table, "| {} | {} | {shown} |", technique.name, technique.needs);
        n_work += usize::from(outcomes[0] == Outcome::Works);
        if outcomes[3..].contains(&Outcome::Works) {
            open.push(technique.name);
        }
        // What never began says nothing about a way that begins in the container.
        assert_ne!(outcomes[1], Outcome::NotStarted, "{}", technique.name);
        assert_ne!(outcomes[4], Outcome::NotStarted, "{}", technique.name);
    }
    drop(own);
    probes::println_table(&table);
    assert!(n_work >= 20, "too little works unhardened to tell anything: {n_work}\n{table}");
    assert!(open.is_empty(), "{open:?}");
}

//! A place where things are done for real and leave no trace: namespaces of its own, an
//! overlay over the machine's files as its root, a control group by which the sensor takes
//! it for a container or for the host.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use palisade_agent::Detection;
use palisade_respond::cgroup::{Group, Hierarchies};
use serde_json::json;

/// Longer than any script takes on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);

/// What the sensor takes the stage for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Processes of the host.
    Host,
    /// A privileged container of Docker's.
    Container,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Host, Self::Container];
}

pub(crate) struct Stage {
    pub(crate) kind: Kind,
    /// The container's id; empty on the host.
    pub(crate) id: String,
    group: Group,
    child: Child,
    scripts: ChildStdin,
    answers: Receiver<String>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// Whether there is a compiler for the actor. Says when there is none, as in the guests of
/// `make test-vm`.
pub(crate) fn has_compiler() -> bool {
    let is_there = Command::new("gcc").arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: no gcc to compile the actor with");
    }
    is_there
}

/// Compiles the actor.
pub(crate) fn actor(folder: &Path) -> PathBuf {
    let program = folder.join("act");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/root/actor.c");
    let mut compiler = Command::new("gcc");
    compiler.args(["-static", "-O1", "-w", "-o"]).arg(&program).arg(&source);
    let status = compiler.status().expect("gcc compiles the actor");
    assert!(status.success(), "gcc does not compile {}", source.display());
    program
}

impl Stage {
    /// Sets a stage. Docker's files that describe it go to `docker`.
    pub(crate) fn new(kind: Kind, actor: &Path, folder: &Path, docker: &Path) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        // The first twelve characters, which rules see, differ as well.
        let id = format!("{:08x}{number:04x}{:052x}", std::process::id(), 0);
        let path = match kind {
            Kind::Container => format!("/palisade-stage/{id}"),
            Kind::Host => format!("/palisade-stage-{id}.slice"),
        };
        if kind == Kind::Container {
            let config = json!({
                "ID": id, "Name": "/stage", "Image": "sha256:aa",
                "Config": {"Image": "registry.test/stage:1", "User": ""},
                "MountPoints": {"/run/docker.sock": {
                    "Source": "/run/docker.sock", "Destination": "/run/docker.sock", "RW": true,
                }},
            });
            let host_config = json!({"Privileged": true, "NetworkMode": "none"});
            let files = docker.join(&id);
            std::fs::create_dir_all(&files).unwrap();
            std::fs::write(files.join("config.v2.json"), config.to_string()).unwrap();
            std::fs::write(files.join("hostconfig.json"), host_config.to_string()).unwrap();
        }
        let group = Hierarchies::detect().unwrap().group(&path).unwrap();
        group.create().unwrap();
        let folder = folder.join(format!("stage-{number}"));
        std::fs::create_dir(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/root/stage.sh");
        let namespaces: &[&str] = &["--mount", "--propagation=private", "--ipc", "--uts", "--net"];
        let more: &[&str] = match kind {
            Kind::Host => &[],
            Kind::Container => &["--pid", "--fork", "--kill-child"],
        };
        let mut child = Command::new("unshare")
            .args(namespaces)
            .args(more)
            .args(["bash".as_ref(), script.as_os_str(), actor.as_os_str(), folder.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let scripts = child.stdin.take().unwrap();
        let answers = read_lines(child.stdout.take().unwrap());
        let id = if kind == Kind::Container { id } else { String::new() };
        let mut stage = Self { kind, id, group, child, scripts, answers };
        // Once it answers, it has become what it is to be; its children come into the group.
        assert_eq!(stage.run(":"), 0);
        stage.enter(stage.child.id());
        for child in children(stage.child.id()) {
            stage.enter(child);
        }
        stage
    }

    /// Whether a detection is said to be of this container, or of the host.
    pub(crate) fn is_of(&self, detection: &Detection) -> bool {
        let id = detection.container.as_ref().map_or("", |container| container.id.as_str());
        id == self.id
    }

    /// The id of its control group.
    pub(crate) fn group_id(&self) -> u64 {
        self.group.id().unwrap()
    }

    fn enter(&self, pid: u32) {
        for folder in self.group.folders() {
            // cpuset groups take processes only once configured; they do not matter here.
            let _ = std::fs::write(folder.join("cgroup.procs"), pid.to_string());
        }
    }

    /// Runs a script in a subshell of the stage's bash, to its end; its exit status.
    #[track_caller]
    pub(crate) fn run(&mut self, script: &str) -> i32 {
        self.scripts.write_all(script.as_bytes()).unwrap();
        self.scripts.write_all(&[0]).unwrap();
        match self.answers.recv_timeout(DEADLINE) {
            Ok(answer) => answer.parse().unwrap(),
            Err(error) => {
                let ended = self.child.try_wait();
                panic!("the stage does not answer `{script}`: {error}; it has ended: {ended:?}")
            }
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = self.group.kill(Duration::from_secs(5));
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.group.remove(Duration::from_secs(5));
    }
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = |child: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|child| parent(child) == Some(pid)).collect()
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

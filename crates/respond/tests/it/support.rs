//! A container of our own: a control group with a process in it, removed at the end.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::{Alert, Container, Engine, Priority};
use palisade_policy::{Action, ResponseRule};
use palisade_respond::{NetworkCut, Target};
use palisade_sys::cgroup::{Group, Hierarchies};

pub(crate) fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    eprintln!("skipped: needs root");
    false
}

pub(crate) fn container(id: &str, cgroup: Option<String>) -> Container {
    Container {
        id: id.into(),
        name: "web".into(),
        engine: Engine::Palisade,
        image: None,
        policy: Some("restricted".into()),
        pod: None,
        cgroup,
        init_pid: None,
    }
}

pub(crate) fn alert(container: Option<Container>) -> Alert {
    Alert {
        id: "00000000000000010000000a".into(),
        time: Timestamp::from_nanos(1),
        raised: Timestamp::from_nanos(2),
        rule: "Reverse shell".into(),
        priority: Priority::Critical,
        source: "syscall".into(),
        output: "a shell".into(),
        output_fields: std::collections::BTreeMap::new(),
        tags: vec!["T1059.004".into()],
        hostname: "host".into(),
        event_type: "dup2".into(),
        outcome: Outcome::Succeeded,
        process: None,
        ancestors: Vec::new(),
        container,
        recording: None,
        enforcement: None,
    }
}

pub(crate) fn response(actions: &[Action]) -> ResponseRule {
    ResponseRule {
        name: "stop it".into(),
        priority: Priority::Critical,
        rules: Vec::new(),
        tags: Vec::new(),
        actions: actions.to_vec(),
    }
}

/// Waits for what must come, however busy the machine is.
#[track_caller]
pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Copies a program by another process: a copy that this process wrote could not be started while
/// a child that another test has just forked holds its descriptor.
pub(crate) fn copy_program(from: &str, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().unwrap().success());
}

/// A running container that is cleaned up whatever happens.
pub(crate) struct Sandbox {
    pub(crate) hierarchies: Hierarchies,
    pub(crate) container: Container,
    pub(crate) group: Group,
    children: Vec<Child>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Sandbox {
    pub(crate) fn new() -> Self {
        let hierarchies = Hierarchies::detect().unwrap();
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("respondtest{:08x}{number:04x}", std::process::id());
        let path = format!("/palisade-respond-test/{id}");
        let group = hierarchies.group(&path).unwrap();
        group.create().unwrap();
        let container = container(&id, Some(path));
        Self { hierarchies, container, group, children: Vec::new() }
    }

    /// Starts `command` inside the container. A shell waits for a line until it is in the groups
    /// and becomes the program only then: what the program starts is in them too.
    pub(crate) fn start(&mut self, command: &Command) -> u32 {
        const GATE: &str = r#"read -r _ && exec "$@" </dev/null"#;
        let mut gated = Command::new("/bin/sh");
        gated.args(["-c", GATE, "sh"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            gated.env(name, value.expect("no test takes a variable away"));
        }
        let mut child = gated.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        for folder in self.group.folders() {
            // cpuset groups take processes only once configured; they do not matter here.
            let _ = std::fs::write(folder.join("cgroup.procs"), pid.to_string());
        }
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self.children.push(child);
        // Let it leave the shell, so that /proc shows the program and not the gate.
        wait_for("the program to be executed", || {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !line.is_empty() && !line.contains(GATE)
        });
        pid
    }

    pub(crate) fn sleeping() -> Self {
        let mut sandbox = Self::new();
        sandbox.start(Command::new("sleep").arg("600"));
        sandbox
    }

    pub(crate) fn target(&self) -> Target {
        Target::resolve(&self.container, &self.hierarchies).unwrap()
    }

    /// Whether all its processes have ended. One that was killed leaves its groups a moment before
    /// it can be waited for.
    pub(crate) fn is_dead(&mut self) -> bool {
        let is_left = self.group.processes().is_ok_and(|pids| !pids.is_empty());
        !is_left && self.children.iter_mut().all(|child| child.wait().is_ok())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.group.thaw(Duration::from_secs(1));
        let _ = self.group.kill(Duration::from_secs(5));
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.group.remove(Duration::from_secs(5));
    }
}

/// A network cut that only remembers, as if it were pinned in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Remembered(pub(crate) Mutex<BTreeSet<String>>);

impl NetworkCut for Remembered {
    fn cut(&self, target: &Target) -> Result<String, String> {
        self.0.lock().unwrap().insert(target.container().id.clone());
        Ok("cut".into())
    }

    fn restore(&self, target: &Target) -> Result<String, String> {
        self.0.lock().unwrap().remove(&target.container().id);
        Ok("restored".into())
    }

    fn is_cut(&self, target: &Target) -> Result<bool, String> {
        Ok(self.0.lock().unwrap().contains(&target.container().id))
    }
}

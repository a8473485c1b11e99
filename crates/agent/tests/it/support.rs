//! A scripted source, a policy, and a container of our own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palisade_agent::{
    Agent, ContainerFiles, Detection, Notice, ResponseMeans, RuleInfo, Settings, Source,
    SourceError, SourceHealth,
};
use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::{Container, Engine, Priority, Process};
use palisade_policy::{Action, Policy, ResponseRule};
use palisade_respond::cgroup::{Group, Hierarchies};
use palisade_respond::evidence::EvidenceOptions;
use palisade_respond::{NetworkCut, Target};

pub(crate) fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    eprintln!("skipped: needs root");
    false
}

/// A network cut that only remembers, as if it were pinned in the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Remembered(pub(crate) Arc<Mutex<BTreeSet<String>>>);

impl NetworkCut for Remembered {
    fn cut(&self, target: &Target) -> Result<String, String> {
        self.0.lock().unwrap().insert(target.container().id.clone());
        Ok("cut".into())
    }

    fn cut_at_once(&self, target: &Target) -> Option<Result<String, String>> {
        Some(self.cut(target))
    }

    fn restore(&self, target: &Target) -> Result<String, String> {
        self.0.lock().unwrap().remove(&target.container().id);
        Ok("restored".into())
    }

    fn is_cut(&self, target: &Target) -> Result<bool, String> {
        Ok(self.0.lock().unwrap().contains(&target.container().id))
    }
}

pub(crate) fn policy(actions: &[Action]) -> Policy {
    let text = include_str!("../../../policy/policies/audit.yaml");
    let mut policy = palisade_policy::parse(text, "audit", Path::new(".")).unwrap().policy;
    policy.response = vec![ResponseRule {
        name: "stop".into(),
        priority: Priority::Critical,
        rules: Vec::new(),
        tags: Vec::new(),
        actions: actions.to_vec(),
    }];
    policy.runtime.priority_min = Priority::Notice;
    policy
}

pub(crate) fn open(
    state: &Path,
    policy: Policy,
    network: &Remembered,
) -> (Agent, palisade_agent::Resumed) {
    let means = ResponseMeans {
        evidence: state.join("evidence"),
        options: EvidenceOptions::default(),
        network: Arc::new(network.clone()),
        signer: Some(Box::new(|bytes| Ok(bytes[..8].to_vec()))),
        locate: Box::new(|_| ContainerFiles::default()),
    };
    Agent::open(Settings::new(state, "host", "palisade test"), policy, means).unwrap()
}

pub(crate) fn detection(
    rule: &str,
    priority: Priority,
    container: Option<&Container>,
) -> Detection {
    let time = Timestamp::now();
    // Containers have no process in common.
    let id = container.map_or("", |container| &container.id);
    let start = id.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    Detection {
        rule: Arc::new(RuleInfo {
            name: rule.into(),
            priority,
            tags: vec!["T1059.004".into()],
            source: "syscall".into(),
            capture: false,
            capture_duration: None,
        }),
        time,
        output: format!("{rule} happened"),
        output_fields: BTreeMap::new(),
        event_type: "execve".into(),
        outcome: Outcome::Succeeded,
        process: Some(Process {
            pid: 4242,
            vpid: None,
            ppid: 4241,
            start: Timestamp::from_nanos(start),
            name: "sh".into(),
            exe: "/bin/sh".into(),
            cmdline: "sh -i".into(),
            cwd: "/".into(),
            uid: 0,
        }),
        ancestors: Vec::new(),
        container: container.cloned(),
        start_boottime_ns: None,
        enforcement: None,
    }
}

/// Hands out its detections, one batch a poll, and then either ends or stays quiet.
pub(crate) struct Script {
    pub(crate) batches: Vec<Vec<Detection>>,
}

impl Source for Script {
    fn poll(
        &mut self,
        timeout: Duration,
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        if self.batches.is_empty() {
            return Err(SourceError::Ended);
        }
        std::thread::sleep(timeout.min(Duration::from_millis(1)));
        let batch = self.batches.remove(0);
        let n = batch.len();
        batch.into_iter().for_each(sink);
        Ok(n)
    }

    fn health(&self) -> SourceHealth {
        SourceHealth { n_events: 7, ..SourceHealth::default() }
    }
}

/// A notice in one line.
pub(crate) fn line(notice: &Notice<'_>) -> String {
    match notice {
        Notice::Alert { alert, .. } => format!("alert {}", alert.rule),
        Notice::Folded(folded) => format!("folded {} x{}", folded.rule, folded.n_repeats),
        Notice::Response { plan } => format!("response {}", plan.response),
        Notice::Action { outcome, .. } => {
            format!("action {} {:?}", outcome.action.as_str(), outcome.result)
        }
        Notice::Order { text, .. } => format!("order {text}"),
        Notice::Incident { incident } => format!("incident {:?}", incident.state),
        Notice::Reloaded(report) => format!("reloaded {}", report.ok),
        Notice::Problem(text) => format!("problem {text}"),
    }
}

/// A running container that is cleaned up whatever happens.
pub(crate) struct Sandbox {
    pub(crate) container: Container,
    pub(crate) group: Group,
    children: Vec<Child>,
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Sandbox {
    pub(crate) fn sleeping() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("agenttest{:08x}{number:04x}", std::process::id());
        let path = format!("/palisade-agent-test/{id}");
        let group = Hierarchies::detect().unwrap().group(&path).unwrap();
        group.create().unwrap();
        let child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        for folder in group.folders() {
            // cpuset groups take processes only once configured; they do not matter here.
            let _ = std::fs::write(folder.join("cgroup.procs"), child.id().to_string());
        }
        let container = Container {
            id,
            name: "web".into(),
            engine: Engine::Palisade,
            image: None,
            policy: Some("test".into()),
            pod: None,
            cgroup: Some(path),
            init_pid: Some(child.id()),
        };
        Self { container, group, children: vec![child] }
    }

    /// A container as `palisade run` leaves it: recorded before its first process starts.
    pub(crate) fn recorded(records: &Path) -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:032x}{:032x}", std::process::id(), 0xa6e_0000 + number);
        let path = format!("/palisade/{id}");
        let group = Hierarchies::detect().unwrap().group(&path).unwrap();
        group.create().unwrap();
        let container = Container {
            id: id.clone(),
            name: "web".into(),
            engine: Engine::Palisade,
            image: None,
            policy: Some("test".into()),
            pod: None,
            cgroup: Some(path),
            init_pid: None,
        };
        let text = serde_json::to_vec(&container).unwrap();
        std::fs::write(records.join(format!("{id}.json")), text).unwrap();
        Self { container, group, children: Vec::new() }
    }

    /// Runs a script inside the container: the shell reads it only once it is inside.
    pub(crate) fn run_bash(&mut self, script: &str) {
        use std::io::Write as _;
        let mut child = Command::new("bash")
            .args(["-c", "read -r _; exec bash -s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for folder in self.group.folders() {
            // cpuset groups take processes only once configured; they do not matter here.
            let _ = std::fs::write(folder.join("cgroup.procs"), child.id().to_string());
        }
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("go\n{script}").as_bytes()).unwrap();
        self.children.push(child);
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

/// Sets `stop` after `time`. An agent that has nothing to say calls nobody, so a test's end must not
/// wait for its word.
pub(crate) fn stop_after(stop: &Arc<AtomicBool>, time: Duration) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
}

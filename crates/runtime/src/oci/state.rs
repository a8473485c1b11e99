//! How a container of an engine was confined, written down for people.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_base::{Digest, Timestamp};
use palisade_harden::{Change, EngineFacts, Hardened, Refusal, RefusalReason};
use palisade_policy::{EngineMode, Policy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::is_id;
use super::trust::Verdict;

/// Bytes of such a record that are read.
const RECORD_BYTES_MAX: u64 = 1 << 20;
/// How long a group that a killed `create` left may have a process in it.
const GROUP_DEADLINE: Duration = Duration::from_millis(200);
/// Records that one sweep looks at.
const SWEPT_MAX: usize = 4096;
/// How long a runtime may take until its state is there.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// How often is looked.
const GROUP_LOOK: Duration = Duration::from_millis(5);

/// How a container was confined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confinement {
    /// The container.
    pub id: String,
    /// Its name, when the engine keeps one.
    pub name: Option<String>,
    /// Its image, when the engine keeps it.
    pub image: Option<String>,
    /// The policy's name.
    pub policy: String,
    /// Digest of the policy's text.
    pub policy_digest: Digest,
    /// Whether the policy held, or only reported.
    pub enforced: bool,
    /// When it was confined.
    pub time: Timestamp,
    /// What was changed, or would have been: JSON pointer and reason.
    pub changes: Vec<(String, String)>,
    /// What it would have been refused for.
    pub refusals: Vec<(String, String)>,
    /// What was taken away of what was asked for, and what the machine could not give.
    pub warnings: Vec<String>,
    /// The control group that its spec names, from the root of each hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Where the runtime keeps its state of a container that it starts and deletes in one call:
    /// nobody tells us of its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<PathBuf>,
}

impl Confinement {
    pub(super) fn of(
        engine: &EngineFacts,
        policy: &Policy,
        result: &Result<Hardened, Refusal>,
    ) -> Self {
        let change = |change: &Change| (change.path.clone(), change.reason.clone());
        let reason = |reason: &RefusalReason| (reason.message.clone(), reason.fix.clone());
        let (changes, warnings) = match result {
            Ok(hardened) => {
                (hardened.changes.iter().map(change).collect(), hardened.warnings.clone())
            }
            Err(_) => (Vec::new(), Vec::new()),
        };
        let refusals = match result {
            Ok(_) => Vec::new(),
            Err(refusal) => refusal.reasons.iter().map(reason).collect(),
        };
        Self {
            id: engine.id.clone(),
            name: engine.name.clone(),
            image: engine.image.clone(),
            policy: policy.name.clone(),
            policy_digest: policy.digest,
            enforced: policy.engines.mode == EngineMode::Enforce,
            time: engine.now,
            changes,
            refusals,
            warnings,
            cgroup: None,
            roots: Vec::new(),
        }
    }

    /// Of a container that is started by `run`: its state is below one of `roots` while it is.
    pub(super) fn with_roots(mut self, roots: Vec<PathBuf>) -> Self {
        self.roots = roots;
        self
    }

    /// Forgets those in `folder` that were started by `run` and are gone.
    pub(super) fn sweep(folder: &Path, now: Timestamp) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.take(SWEPT_MAX) {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            let Some(known) = id.and_then(|id| Self::read(folder, id)) else { continue };
            // Between us and its state the runtime takes a moment.
            let is_old = now.since(known.time) > START_DEADLINE;
            let is_there = known.roots.iter().any(|root| root.join(&known.id).exists());
            if !known.roots.is_empty() && is_old && !is_there {
                Self::forget(folder, &known.id);
            }
        }
    }

    /// With the control group of `spec`; systemd's form (`slice:prefix:name`) names none.
    pub(super) fn with_cgroup(mut self, spec: &Value) -> Self {
        let path = spec.pointer("/linux/cgroupsPath").and_then(Value::as_str);
        self.cgroup = path.filter(|path| path.starts_with('/')).map(str::to_string);
        self
    }

    /// With what was said of its image.
    pub(super) fn with_verdict(mut self, verdict: Verdict) -> Self {
        match verdict {
            Verdict::Trusted => {}
            Verdict::Noted(what) => self.warnings.push(what),
            Verdict::Refused(why) => {
                self.refusals.push((why, "have the image signed".into()));
            }
        }
        self
    }

    /// Removes the empty control groups of a container whose `create` was killed before the
    /// runtime wrote its state below one of `roots`: it then knows of none to remove.
    ///
    /// A group with a process in it stays; the kernel sees to that.
    pub(super) fn remove_groups(&self, roots: &[PathBuf]) {
        let Some(path) = &self.cgroup else { return };
        let states = ["state.json", "status"];
        let known = |root: &PathBuf| states.map(|file| root.join(&self.id).join(file).exists());
        if roots.iter().flat_map(known).any(|exists| exists) {
            return;
        }
        let group = palisade_sys::Hierarchies::detect().and_then(|found| found.group(path));
        let Ok(group) = group else { return };
        let begun = Instant::now();
        for folder in group.folders() {
            // The process that runC had begun ends with the pipe to it, in a moment.
            while std::fs::remove_dir(folder)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ResourceBusy)
                && begun.elapsed() < GROUP_DEADLINE
            {
                std::thread::sleep(GROUP_LOOK);
            }
        }
    }

    fn path(folder: &Path, id: &str) -> Option<PathBuf> {
        is_id(id).then(|| folder.join(format!("{id}.json")))
    }

    /// Writes it down; that it cannot be written changes nothing about the container.
    pub(super) fn write(&self, folder: &Path) {
        let Some(path) = Self::path(folder, &self.id) else { return };
        let write = || -> std::io::Result<()> {
            if !folder.is_dir() {
                std::fs::create_dir_all(folder)?;
            }
            // Killed meanwhile we leave nothing that no `delete` would know of.
            palisade_base::fs::write_unnamed(&path, &serde_json::to_vec(self)?, 0o600, None)
        };
        if let Err(error) = write() {
            tracing::debug!("write down how a container was confined: {error}");
        }
    }

    /// Reads what was written down of `id`.
    pub fn read(folder: &Path, id: &str) -> Option<Self> {
        let file = std::fs::File::open(Self::path(folder, id)?).ok()?;
        let bytes = palisade_base::read_bounded(file, "record", RECORD_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Forgets a container that is deleted.
    pub(super) fn forget(folder: &Path, id: &str) {
        if let Some(path) = Self::path(folder, id) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_run_left_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("runc");
        std::fs::create_dir_all(root.join("running")).unwrap();
        let minutes = |n: u64| Timestamp::from_nanos(n * 60_000_000_000);
        let policy = palisade_policy::Policy::load("baseline").unwrap().policy;
        let write = |id: &str, time: Timestamp, roots: Vec<PathBuf>| {
            let engine = EngineFacts::unknown(id, time);
            let refusal = Err(Refusal { reasons: Vec::new() });
            Confinement::of(&engine, &policy, &refusal).with_roots(roots).write(folder.path());
        };
        write("gone", minutes(10), vec![root.clone()]);
        write("running", minutes(10), vec![root.clone()]);
        write("young", minutes(19), vec![root.clone()]);
        write("engines", minutes(10), Vec::new());
        std::fs::write(folder.path().join("torn.json"), "{").unwrap();
        Confinement::sweep(folder.path(), minutes(20));
        let known = |id: &str| Confinement::read(folder.path(), id).is_some();
        let found = ["gone", "running", "young", "engines"].map(known);
        assert_eq!(found, [false, true, true, true]);
    }
}

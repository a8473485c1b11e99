//! Removing containers: one way, used after a normal end, a failure and a crash alike.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use palisade_sys::mount;

use crate::Runtime;
use crate::console;
use crate::layers::LayerStore;
use crate::lock::Lock;
use crate::network::{bridge, lease, usermode};
use crate::record::Record;

/// How long the processes of a container may take to die.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long its control groups may take to be removable.
const REMOVE_DEADLINE: Duration = Duration::from_secs(5);
/// How long a folder may be written to while it is removed.
const FOLDER_DEADLINE: Duration = Duration::from_secs(2);
/// How often its removal is tried.
const FOLDER_LOOK: Duration = Duration::from_millis(10);
/// How long garbage collection waits for containers that are being made.
const LOCK_DEADLINE: Duration = Duration::from_secs(2);
/// Containers that one collection looks at; the next one goes on.
const CONTAINERS_MAX: usize = 10_000;

/// What was done about one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// Its id.
    pub id: String,
    /// What could not be removed, with the reason.
    pub failures: Vec<String>,
}

/// What garbage collection found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Garbage {
    /// Containers that were dead and have been removed.
    pub collected: Vec<Collected>,
    /// Containers that run or belong to a process that runs.
    pub n_alive: usize,
    /// Half-unpacked layers that were removed.
    pub n_layers: usize,
    /// Why the collection did not happen, if it did not.
    pub skipped: Option<String>,
}

impl Garbage {
    /// What could not be removed, for people.
    pub fn failures(&self) -> Vec<String> {
        let all = self.collected.iter().flat_map(|one| &one.failures);
        all.chain(&self.skipped).map(|text| format!("cleaning up: {text}")).collect()
    }
}

impl Runtime {
    /// Removes what dead containers and killed commands left.
    ///
    /// A container in the foreground is dead when the process that ran it is; a detached
    /// one when its first process is.
    pub fn collect_garbage(&self) -> Garbage {
        console::sweep(&self.paths);
        let mut garbage = Garbage {
            n_layers: self
                .paths
                .all_layers()
                .into_iter()
                .map(|at| LayerStore::new(at).sweep())
                .sum(),
            ..Garbage::default()
        };
        let ids = self.known_ids();
        if ids.is_empty() {
            return garbage;
        }
        for id in ids {
            match self.claim(&id) {
                Ok(Some(claim)) => {
                    garbage.collected.push(self.collect(&id));
                    drop(claim);
                }
                Ok(None) => garbage.n_alive += 1,
                Err(error) => garbage.skipped = Some(error.to_string()),
            }
        }
        garbage
    }

    /// Takes over a container whose owner is dead; `None` when it is not.
    pub(crate) fn claim(&self, id: &str) -> std::io::Result<Option<Claim>> {
        // Nothing is made while this is held, so a bundle without a held lock is dead.
        let Some(_alone) = Lock::exclusive(&self.paths.lock(), LOCK_DEADLINE)? else {
            return Ok(None);
        };
        let bundle = self.paths.bundle(id);
        let lock = if bundle.is_dir() {
            match Lock::exclusive(&bundle.join("owner.lock"), Duration::ZERO) {
                Ok(Some(lock)) => Some(lock),
                Ok(None) => return Ok(None),
                // Its owner has just removed the bundle.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        let alive = Record::read(&self.paths.record(id))
            .is_ok_and(|record| record.run.detached && record.is_alive());
        Ok((!alive).then_some(Claim(lock)))
    }

    /// Ids of which anything exists.
    pub(crate) fn known_ids(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        for folder in [
            self.paths.records(),
            self.paths.bundles(),
            self.paths.writes(),
            self.paths.runc_state(),
        ] {
            let Ok(entries) = std::fs::read_dir(folder) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let id = name.strip_suffix(".json").unwrap_or(&name);
                if is_id(id) && !is_foreign(&entry.path()) && ids.len() < CONTAINERS_MAX {
                    ids.insert(id.to_string());
                }
            }
        }
        let leased = lease::ids(&self.paths.network()).into_iter();
        ids.extend(leased.filter(|id| is_id(id)).take(CONTAINERS_MAX));
        ids
    }

    /// Kills what runs of a container and removes all of it. Does no harm twice.
    ///
    /// What may still run keeps everything: its record, by which it is found and stopped, its
    /// address and its ids, which another container would be given. When the rest could not be
    /// removed the record stays, so that a later collection tries again.
    pub(crate) fn collect(&self, id: &str) -> Collected {
        self.collect_within(id, KILL_DEADLINE, REMOVE_DEADLINE)
    }

    fn collect_within(&self, id: &str, kill: Duration, remove: Duration) -> Collected {
        let mut failures = Vec::new();
        if !is_id(id) {
            return Collected { id: id.to_string(), failures };
        }
        let group = self.hierarchies.group(&self.group_path(id));
        if self.rootless.is_some()
            && let Err(error) = self.kill_init(id)
        {
            failures.push(error.to_string());
        }
        match &group {
            Ok(group) if group.exists() => {
                if let Err(error) = group.kill(kill) {
                    failures.push(error.to_string());
                }
            }
            Ok(_) => {}
            Err(error) => failures.push(error.to_string()),
        }
        if !failures.is_empty() {
            return Collected { id: id.to_string(), failures };
        }
        self.forget_in_runc(id, &mut failures);
        if let Ok(group) = &group
            && let Err(error) = group.remove(remove)
        {
            failures.push(error.to_string());
        }
        if self.rootless.is_some() {
            usermode::detach(&self.paths.bundle(id), id);
        }
        if let Err(error) = bridge::detach(&self.paths.network(), id) {
            failures.push(format!("disconnect it: {error}"));
        }
        let range = Record::read(&self.paths.record(id)).ok().and_then(|record| record.run.ids);
        let written = self.paths.written(id);
        for folder in [self.paths.bundle(id), written.clone()] {
            remove_tree(&folder, &mut failures);
        }
        if !written.exists() {
            // Without a record: it was to be a container, and its range stands in the register alone.
            let released = match range {
                Some(range) => self.ids.release(range, &written),
                None => self.ids.release_all_of(&written),
            };
            if let Err(error) = released {
                failures.push(error.to_string());
            }
        }
        if failures.is_empty() {
            remove_file(&self.paths.record(id), &mut failures);
        }
        self.remove_parent_group();
        Collected { id: id.to_string(), failures }
    }

    fn forget_in_runc(&self, id: &str, failures: &mut Vec<String>) {
        let state = self.paths.runc_state().join(id);
        if !state.exists() {
            return;
        }
        // runC's, and crun's.
        if ["state.json", "status"].iter().any(|file| state.join(file).exists()) {
            let log = self.paths.bundle(id).join("runc.log");
            let mut call = self.runc.call(&self.paths.runc_state(), &log);
            call.args(["delete", "--force"]).arg(id);
            // It may refuse a half-made container; its state is then only this folder.
            if let Err(error) = self.runc.finish(call, "delete", &log) {
                tracing::debug!(container = id, "{error}");
            }
        }
        if state.exists() {
            remove_tree(&state, failures);
        }
    }

    /// Removes the control group above the containers' when it is empty and nobody is
    /// about to use it.
    fn remove_parent_group(&self) {
        if let Ok(Some(_alone)) = Lock::exclusive(&self.paths.lock(), Duration::ZERO)
            && let Ok(group) = self.hierarchies.group(&self.paths.cgroup_parent)
        {
            for folder in group.folders() {
                // Not empty, or already gone: both are as they should be.
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

/// Says that a dead container is being removed by this process.
#[derive(Debug)]
pub(crate) struct Claim(#[expect(dead_code, reason = "held, never read")] Option<Lock>);

/// Whether somebody else keeps a container there: Docker has folders of the same names and of other
/// content below its own data folder, which may have been taken for ours.
fn is_foreign(folder: &Path) -> bool {
    folder.join("config.v2.json").exists()
}

/// Whether `text` is one of our identifiers: 64 lower-case hex digits. Everything that is
/// removed is below a folder of such a name.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Removes a folder, but never through a mount: behind one may be the image itself.
fn remove_tree(folder: &Path, failures: &mut Vec<String>) {
    if !folder.exists() {
        return;
    }
    match mount::mounts_below(folder) {
        Ok(points) => {
            for point in points.iter().rev() {
                if let Err(error) = mount::detach(point) {
                    failures.push(format!("{error}; `{}` is left", folder.display()));
                    return;
                }
            }
        }
        Err(error) => {
            failures.push(format!("read mounts: {error}; `{}` is left", folder.display()));
            return;
        }
    }
    let begun = Instant::now();
    loop {
        match palisade_base::tree::remove_tree(folder) {
            Ok(()) => return,
            // Somebody removes it as well, and has not come to the end.
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound
                    && folder.symlink_metadata().is_ok()
                    && begun.elapsed() < FOLDER_DEADLINE =>
            {
                std::thread::sleep(FOLDER_LOOK);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            // An OCI runtime whose caller was killed may write its last words meanwhile.
            Err(error)
                if error.kind() == std::io::ErrorKind::DirectoryNotEmpty
                    && begun.elapsed() < FOLDER_DEADLINE =>
            {
                std::thread::sleep(FOLDER_LOOK);
            }
            Err(error) => {
                failures.push(format!("remove `{}`: {error}", folder.display()));
                return;
            }
        }
    }
}

fn remove_file(path: &Path, failures: &mut Vec<String>) {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => failures.push(format!("remove `{}`: {error}", path.display())),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A runtime below `folder`, whose one hierarchy of control groups is an ordinary folder, and
    /// a container that has ended.
    pub(crate) fn ended(folder: &Path) -> (Runtime, String) {
        let runc = crate::Runc::uncalled();
        let at = |name: &str| folder.join(name);
        let paths = crate::RuntimePaths {
            state: at("state"),
            data: at("data"),
            leases: at("leases"),
            cgroup_parent: "/parent".into(),
        };
        let mount = format!("1 2 0:1 / {} rw - cgroup freezer rw,freezer", at("groups").display());
        let space = crate::IdSpace {
            ids: 0x0100_0000..0x0200_0000,
            lists: Vec::new(),
            register: Some(at("ranges")),
        };
        paths.make().unwrap();
        let ids = crate::IdLedger::new(paths.ledger(), space);
        let hierarchies = palisade_sys::Hierarchies::from_mountinfo(&mount).unwrap();
        let runtime = Runtime { paths, runc, ids, hierarchies, rootless: None, delegation: None };
        let id = "c".repeat(64);
        let paths = &runtime.paths;
        let group = at("groups").join("parent").join(&id);
        for folder in [paths.bundle(&id), paths.written(&id), group] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let range = runtime.ids.allocate(&paths.written(&id)).unwrap();
        let record = serde_json::json!({
            "id": id, "name": "web", "engine": "palisade",
            "run": {"created": "2026-01-01T00:00:00Z", "command": ["x"], "ids": range, "uid": 0,
                "gid": 0, "policy_digest": palisade_base::Digest::of(b""), "detached": false},
        });
        std::fs::write(paths.record(&id), record.to_string()).unwrap();
        Record::read(&paths.record(&id)).unwrap();
        (runtime, id)
    }

    fn entries(folder: &Path) -> usize {
        let names = std::fs::read_dir(folder).into_iter().flatten().flatten();
        names.filter(|entry| entry.file_name() != "lock").count()
    }

    #[test]
    fn what_may_still_run_keeps_record_range_and_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, id) = ended(folder.path());
        // Whether processes are left cannot be found out.
        let list = folder.path().join("groups/parent").join(&id).join("cgroup.procs");
        std::fs::create_dir(&list).unwrap();
        let short = Duration::from_millis(20);
        let collected = runtime.collect_within(&id, short, short);
        assert_eq!(collected.failures.len(), 1, "{collected:?}");
        let paths = &runtime.paths;
        assert!(paths.record(&id).exists() && paths.bundle(&id).exists());
        assert!(paths.written(&id).exists());
        assert_eq!(entries(&folder.path().join("ranges")), 1);
        // As soon as it can be found out, all of it goes.
        std::fs::remove_dir(&list).unwrap();
        let garbage = runtime.collect_garbage();
        assert_eq!((garbage.failures(), garbage.collected.len()), (Vec::new(), 1));
        assert!(runtime.known_ids().is_empty());
        assert_eq!(entries(&folder.path().join("ranges")), 0);
    }

    #[test]
    fn the_range_of_a_start_that_failed_leaves_the_register() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, id) = ended(folder.path());
        std::fs::remove_file(runtime.paths.record(&id)).unwrap();
        assert_eq!(entries(&folder.path().join("ranges")), 1);
        assert_eq!(runtime.collect(&id).failures, Vec::<String>::new());
        assert_eq!(entries(&folder.path().join("ranges")), 0);
    }

    #[test]
    fn a_group_that_stays_keeps_the_record_for_a_later_collection() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, id) = ended(folder.path());
        let obstacle = folder.path().join("groups/parent").join(&id).join("obstacle");
        std::fs::write(&obstacle, "").unwrap();
        let collected = runtime.collect(&id);
        assert_eq!(collected.failures.len(), 1, "{collected:?}");
        assert!(runtime.paths.record(&id).exists() && !runtime.paths.bundle(&id).exists());
        assert_eq!(runtime.collect_garbage().failures().len(), 1);
        std::fs::remove_file(&obstacle).unwrap();
        assert_eq!(runtime.collect_garbage().failures(), Vec::<String>::new());
        assert!(!runtime.paths.record(&id).exists() && runtime.known_ids().is_empty());
    }

    #[test]
    fn records_of_docker_are_not_collected() {
        let folder = tempfile::tempdir().unwrap();
        let id = "a".repeat(64);
        let at = folder.path().join(&id);
        std::fs::create_dir(&at).unwrap();
        assert!(is_id(&id) && !is_foreign(&at));
        std::fs::write(at.join("config.v2.json"), "{}").unwrap();
        assert!(is_foreign(&at));
    }
}

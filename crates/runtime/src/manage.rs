//! Containers that exist: list, find, stop, kill, remove.

use std::path::Path;
use std::time::{Duration, Instant};

use palisade_sys::{Group, ProcessHandle};

use crate::Runtime;
use crate::error::ManageError;
use crate::record::Record;

/// Characters of an id that are enough to look it up.
const PREFIX_CHARS_MIN: usize = 3;
/// How long the removal of a container waits for whoever is at work on it.
const CLAIM_WAIT: Duration = Duration::from_secs(15);
/// How often it looks.
const CLAIM_LOOK: Duration = Duration::from_millis(10);

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Made, its program not yet started.
    Created,
    /// Its program runs.
    Running,
    /// Every process is frozen.
    Frozen,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// Lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
        }
    }
}

/// A container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its record.
    pub record: Record,
    /// What it does.
    pub status: Status,
}

impl Runtime {
    /// All containers, oldest first. Records that cannot be read are left out; `rm --force`
    /// and garbage collection still find them by their id.
    pub fn list(&self) -> Vec<Found> {
        let mut all: Vec<Found> = self
            .known_ids()
            .iter()
            .filter_map(|id| Record::read(&self.paths.record(id)).ok())
            .map(|record| Found { status: self.status(&record), record })
            .collect();
        all.sort_by_key(|found| found.record.run.created);
        all
    }

    fn status(&self, record: &Record) -> Status {
        match record.container.init_pid {
            None => Status::Created,
            Some(_) if !record.is_alive() => Status::Stopped,
            Some(_) => match self.group(&record.container.id).and_then(|g| Ok(g.is_frozen()?)) {
                Ok(true) => Status::Frozen,
                _ => Status::Running,
            },
        }
    }

    /// The container named `text`, or whose id begins so.
    pub fn find(&self, text: &str) -> Result<Found, ManageError> {
        let all = self.list();
        let by_name = |found: &&Found| {
            found.record.container.name == text || found.record.container.id == text
        };
        if let Some(found) = all.iter().find(by_name) {
            return Ok(found.clone());
        }
        let mut matching = all.iter().filter(|found| {
            text.len() >= PREFIX_CHARS_MIN && found.record.container.id.starts_with(text)
        });
        match (matching.next(), matching.next()) {
            (Some(found), None) => Ok(found.clone()),
            (Some(_), Some(_)) => Err(ManageError::Ambiguous(text.chars().take(80).collect())),
            (None, _) => {
                let names = all.iter().map(|found| found.record.container.name.as_str());
                let nearest = palisade_base::suggest::nearest(text, names).map(str::to_string);
                Err(ManageError::NotFound { name: text.chars().take(80).collect(), nearest })
            }
        }
    }

    /// The control group of a container.
    pub fn group(&self, id: &str) -> Result<Group, ManageError> {
        Ok(self.hierarchies.group(&self.group_path(id))?)
    }

    /// Kills every process of a container. The command that runs it in the foreground, or
    /// garbage collection, removes it.
    pub fn kill(&self, text: &str) -> Result<Record, ManageError> {
        let found = self.find(text)?;
        let id = found.record.container.id.clone();
        if found.status == Status::Stopped {
            return Err(ManageError::NotRunning(found.record.container.name));
        }
        self.kill_group(&id)?;
        Ok(found.record)
    }

    /// Asks the program to end and kills the container after `grace`; returns whether the
    /// program ended by itself. It gets `signal`, or the one that its image names, or
    /// `SIGTERM`.
    pub fn stop(
        &self,
        text: &str,
        signal: impl Into<Option<i32>>,
        grace: Duration,
    ) -> Result<bool, ManageError> {
        let found = self.find(text)?;
        let container = &found.record.container;
        let (Some(pid), false) = (container.init_pid, found.status == Status::Stopped) else {
            return Err(ManageError::NotRunning(container.name.clone()));
        };
        let path = self.paths.record(&container.id);
        let io = |action| {
            let path = path.clone();
            move |source| ManageError::Io { action, path, source }
        };
        let Ok(init) = ProcessHandle::open(pid) else {
            return Ok(true);
        };
        // Between the look and the handle the number may have changed hands.
        if !found.record.is_alive() {
            return Ok(true);
        }
        let signal = signal
            .into()
            .or(found.record.run.stop_signal)
            .unwrap_or(rustix::process::Signal::TERM.as_raw());
        init.signal(signal).map_err(io("signal"))?;
        if init.wait_ended(grace).map_err(io("wait for"))? {
            return Ok(true);
        }
        self.kill_group(&container.id)?;
        Ok(false)
    }

    /// Removes a container; one that runs only by `force`. Returns what could not be
    /// removed.
    pub fn remove(&self, text: &str, force: bool) -> Result<Vec<String>, ManageError> {
        match self.find(text) {
            Ok(found) => self.remove_found(&found, force),
            // A damaged record hides the name, but the id still tells what to remove.
            Err(_) if force && self.known_ids().contains(text) => self.remove_id(text, CLAIM_WAIT),
            Err(error) => Err(error),
        }
    }

    /// The same for one that was found, which may be gone by now: whoever runs it in the
    /// foreground removes it when it ends.
    pub fn remove_found(&self, found: &Found, force: bool) -> Result<Vec<String>, ManageError> {
        if found.status != Status::Stopped && !force {
            return Err(ManageError::Running(found.record.container.name.clone()));
        }
        self.remove_id(&found.record.container.id, CLAIM_WAIT)
    }

    /// Kills and removes; waits for whoever is at work on it until `wait` has passed.
    fn remove_id(&self, id: &str, wait: Duration) -> Result<Vec<String>, ManageError> {
        let io = |source| ManageError::Io { action: "lock", path: self.paths.lock(), source };
        let begun = Instant::now();
        loop {
            // Again each time: one that is just being made has no process yet.
            self.kill_group(id)?;
            if let Some(_claim) = self.claim(id).map_err(io)? {
                return Ok(self.collect(id).failures);
            }
            // Who made it or runs it in the foreground sees its end and cleans up; what started a
            // detached one, or inherited its claim, lets go of it in a moment.
            if begun.elapsed() >= wait {
                return Ok(vec![format!(
                    "another process is at work on {id}: it may start or run on; the next command \
                     collects what is left when that process has ended"
                )]);
            }
            std::thread::sleep(CLAIM_LOOK);
        }
    }

    /// Reads one record by its full id.
    pub fn record(&self, id: &str) -> Result<Record, ManageError> {
        let path = self.paths.record(id);
        Record::read(&path).map_err(|source| read_error(id, &path, source))
    }
}

fn read_error(id: &str, path: &Path, source: std::io::Error) -> ManageError {
    match source.kind() {
        std::io::ErrorKind::NotFound => {
            ManageError::NotFound { name: id.to_string(), nearest: None }
        }
        std::io::ErrorKind::InvalidData => ManageError::Damaged(id.to_string()),
        _ => ManageError::Io { action: "read", path: path.to_path_buf(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::tests::ended;
    use crate::lock::Lock;

    /// Whoever makes or runs it holds the lock of its bundle.
    #[test]
    fn a_removal_waits_for_who_is_at_work_and_says_when_that_takes_too_long() {
        let folder = tempfile::tempdir().unwrap();
        let (runtime, id) = ended(folder.path());
        let found = runtime.find(&id).unwrap();
        assert_eq!(found.status, Status::Created);
        assert!(matches!(runtime.remove_found(&found, false), Err(ManageError::Running(_))));
        let owner = runtime.paths.bundle(&id).join("owner.lock");
        let lock = Lock::exclusive(&owner, Duration::ZERO).unwrap().unwrap();
        let left = runtime.remove_id(&id, Duration::from_millis(50)).unwrap();
        assert!(left.len() == 1 && left[0].contains("at work"), "{left:?}");
        assert!(runtime.paths.record(&id).exists());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Its first process comes only now, and is killed all the same.
                std::thread::sleep(Duration::from_millis(50));
                let list = folder.path().join("groups/parent").join(&id).join("cgroup.procs");
                let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
                std::fs::write(&list, child.id().to_string()).unwrap();
                assert!(!child.wait().unwrap().success());
                std::fs::remove_file(&list).unwrap();
                drop(lock);
            });
            assert_eq!(runtime.remove_found(&found, true).unwrap(), Vec::<String>::new());
        });
        assert!(runtime.known_ids().is_empty());
        // What was found is gone: that is as it should be.
        assert!(matches!(runtime.remove(&id, true), Err(ManageError::NotFound { .. })));
        assert_eq!(runtime.remove_found(&found, true).unwrap(), Vec::<String>::new());
    }
}

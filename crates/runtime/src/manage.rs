//! Containers that exist: list, find, stop, kill, remove.

use std::path::Path;
use std::time::{Duration, Instant};

use palisade_sys::{Group, ProcessHandle};

use crate::Runtime;
use crate::error::ManageError;
use crate::record::Record;

/// Characters of an id that are enough to look it up.
const PREFIX_CHARS_MIN: usize = 3;
/// How long the removal of a detached container waits for whoever is at work on it.
const CLAIM_WAIT: Duration = Duration::from_secs(5);
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
        let (id, is_detached) = match self.find(text) {
            Ok(found) => {
                let alive = !matches!(found.status, Status::Stopped);
                if alive && !force {
                    return Err(ManageError::Running(found.record.container.name));
                }
                (found.record.container.id, found.record.run.detached)
            }
            // A damaged record hides the name, but the id still tells what to remove.
            Err(_) if force && self.known_ids().contains(text) => (text.to_string(), false),
            Err(error) => return Err(error),
        };
        self.kill_group(&id)?;
        let io = |source| ManageError::Io { action: "lock", path: self.paths.lock(), source };
        let begun = Instant::now();
        loop {
            match self.claim(&id).map_err(io)? {
                Some(_claim) => return Ok(self.collect(&id).failures),
                // Nobody sees the end of a detached one. What started it, or a process that
                // inherited its claim, lets go of it in a moment.
                None if is_detached && begun.elapsed() < CLAIM_WAIT => {
                    std::thread::sleep(CLAIM_LOOK);
                }
                None if is_detached => {
                    return Ok(vec![format!(
                        "another process is at work on {id}; the next command collects what it leaves"
                    )]);
                }
                // The process that runs it in the foreground sees its end and cleans up.
                None => return Ok(Vec::new()),
            }
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

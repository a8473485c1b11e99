//! What is done to a group: freeze, thaw, kill, remove.
//!
//! Who is contained may be allowed to make groups and processes, so that no number of them ends
//! an action: the kernel freezes and kills from the group at the top (`cgroup.freeze`,
//! `cgroup.kill` and `cgroup.events` of version 2, the hierarchical freezer of version 1), and
//! where it kills no group, processes are killed as they are met ([`super::walk`]).

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use super::walk::{Killing, Removing, Thawing, walk};
use super::{CgroupError, Group, io, is_gone, read_text};

/// How long a freeze is usually worth waiting for.
///
/// The kernel freezes a group as soon as each of its threads returns to user space or
/// sleeps interruptibly, which is microseconds unless the disk hangs.
pub const FREEZE_DEADLINE: Duration = Duration::from_millis(500);

/// How a group is frozen.
enum Freezer<'a> {
    /// `cgroup.freeze` and `cgroup.events`. Frozen tasks can be killed.
    V2(&'a Path),
    /// `freezer.state`. Frozen tasks die only once they are thawed.
    V1(&'a Path),
}

impl Group {
    /// Freezes every process of the group, or thaws it again and fails after `deadline`.
    ///
    /// Frozen processes run no instruction until [`Group::thaw`], and new ones cannot
    /// appear. Returns how long the kernel took.
    pub fn freeze(&self, deadline: Duration) -> Result<Duration, CgroupError> {
        self.refuse_caller()?;
        let start = Instant::now();
        let freezer = self.freezer()?;
        freezer.set(true)?;
        let mut pause = Pause::new();
        while !freezer.is_frozen()? {
            if start.elapsed() >= deadline {
                // Half frozen is the worst state: a lock may be held by a frozen thread.
                let _ = freezer.set(false);
                return Err(self.late("frozen", start));
            }
            pause.wait();
            // Version 1 can miss tasks forked meanwhile; writing again picks them up.
            if matches!(freezer, Freezer::V1(_)) {
                freezer.set(true)?;
            }
        }
        Ok(start.elapsed())
    }

    /// Lets every process of the group go on.
    ///
    /// All freezers of the group are thawed, not only the one that [`Group::freeze`]
    /// uses, so that a group frozen by another tool is free afterwards as well.
    pub fn thaw(&self, deadline: Duration) -> Result<Duration, CgroupError> {
        let start = Instant::now();
        let mut n_found = 0;
        for freezer in self.freezers() {
            n_found += 1;
            let mut pause = Pause::new();
            freezer.set(false)?;
            while freezer.is_frozen()? {
                if start.elapsed() >= deadline {
                    return Err(self.late("thawed", start));
                }
                pause.wait();
                freezer.set(false)?;
            }
        }
        if n_found == 0 {
            Err(CgroupError::Missing(self.path.clone()))
        } else {
            Ok(start.elapsed())
        }
    }

    /// Whether every process of the group is frozen.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        for freezer in self.freezers() {
            if freezer.is_frozen()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Kills every process of the group and of the groups below it, frozen or not, and
    /// waits until none is left. Returns how long that took.
    pub fn kill(&self, deadline: Duration) -> Result<Duration, CgroupError> {
        self.refuse_caller()?;
        let start = Instant::now();
        let end = start + deadline;
        let mut pause = Pause::new();
        loop {
            let failure = match self.kill_round(end) {
                Ok(true) => return Ok(start.elapsed()),
                Ok(false) => None,
                Err(error) if is_refused(&error) => return Err(error),
                Err(error) => Some(error),
            };
            if start.elapsed() >= deadline {
                // A version 1 freezer must not be left frozen behind us.
                let _ = self.thaw(Duration::from_millis(100));
                return Err(failure.unwrap_or_else(|| self.late("killed", start)));
            }
            pause.wait();
        }
    }

    /// Has killed whatever there is; whether nothing was left. What fails in one hierarchy keeps
    /// the others from nothing.
    fn kill_round(&self, end: Instant) -> Result<bool, CgroupError> {
        let mut failure = None;
        let by_kernel = self.kill_unified().unwrap_or_else(|error| {
            failure = Some(error);
            false
        });
        let mut killing = Killing::until(end);
        let mut is_whole = true;
        for folder in self.folders() {
            if by_kernel && Some(folder) == self.unified() {
                continue;
            }
            match walk(folder, &mut killing) {
                Ok(all) => is_whole &= all,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        // Tasks frozen by version 1 meet their signal only when thawed.
        if killing.n_living > 0
            && let Some(folder) = self.controller("freezer")
            && let Err(error) = walk(folder, &mut Thawing(end))
        {
            failure = failure.or(Some(error));
        }
        let is_populated = self.is_populated();
        match failure {
            Some(error) => Err(error),
            None => Ok(is_whole && killing.n_living == 0 && !is_populated?),
        }
    }

    /// Has the kernel kill the whole subtree at once, forks in flight included, as it can since
    /// Linux 5.14; whether it can.
    fn kill_unified(&self) -> Result<bool, CgroupError> {
        let Some(folder) = self.unified() else { return Ok(false) };
        match write(&folder.join("cgroup.kill"), "1") {
            Ok(()) => Ok(true),
            // No such group, or no such file.
            Err(error) if is_gone(&error) => Ok(false),
            // A threaded group is killed with its domain alone.
            Err(CgroupError::Io { source, .. })
                if source.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the unified hierarchy has a process that lives in the group or below it.
    fn is_populated(&self) -> Result<bool, CgroupError> {
        let Some(folder) = self.unified() else { return Ok(false) };
        match read_text(&folder.join("cgroup.events")) {
            Ok(text) => Ok(text.lines().any(|line| line == "populated 1")),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the group, and empty groups below it, from every hierarchy.
    pub fn remove(&self, deadline: Duration) -> Result<(), CgroupError> {
        let start = Instant::now();
        let mut removing = Removing::until(start + deadline);
        for folder in self.folders() {
            walk(folder, &mut removing)?;
            if !removing.is_late {
                removing
                    .remove(rustix::fs::CWD, folder)
                    .map_err(|errno| io("remove", folder)(errno.into()))?;
            }
            if removing.is_late {
                return Err(self.late("removed", start));
            }
        }
        Ok(())
    }

    fn refuse_caller(&self) -> Result<(), CgroupError> {
        if self.holds(std::process::id())? {
            return Err(CgroupError::HoldsCaller(self.path.clone()));
        }
        Ok(())
    }

    /// The freezers that this group has, version 2 first.
    fn freezers(&self) -> impl Iterator<Item = Freezer<'_>> {
        let v2 = self.unified().filter(|folder| folder.join("cgroup.freeze").exists());
        let v1 = self.controller("freezer").filter(|folder| folder.join("freezer.state").exists());
        v2.map(Freezer::V2).into_iter().chain(v1.map(Freezer::V1))
    }

    /// The freezer that reaches the group's processes.
    ///
    /// On a hybrid machine an engine may have put them in version 1 groups only; the
    /// unified group then exists (or not) without them.
    fn freezer(&self) -> Result<Freezer<'_>, CgroupError> {
        let mut last = None;
        for freezer in self.freezers() {
            if matches!(freezer, Freezer::V2(_)) && self.is_populated()? {
                return Ok(freezer);
            }
            last = Some(freezer);
        }
        last.ok_or_else(|| {
            if self.exists() {
                CgroupError::NoFreezer(self.path.clone())
            } else {
                CgroupError::Missing(self.path.clone())
            }
        })
    }

    fn late(&self, what: &'static str, start: Instant) -> CgroupError {
        CgroupError::Deadline { path: self.path.clone(), what, waited: start.elapsed() }
    }
}

impl Freezer<'_> {
    fn set(&self, frozen: bool) -> Result<(), CgroupError> {
        match self {
            Self::V2(folder) => {
                write(&folder.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
            Self::V1(folder) => {
                write(&folder.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
            }
        }
    }

    fn is_frozen(&self) -> Result<bool, CgroupError> {
        Ok(match self {
            Self::V2(folder) => {
                read_text(&folder.join("cgroup.events"))?.lines().any(|line| line == "frozen 1")
            }
            Self::V1(folder) => read_text(&folder.join("freezer.state"))?.trim() == "FROZEN",
        })
    }
}

/// Whether another try would end as this one did.
fn is_refused(error: &CgroupError) -> bool {
    let CgroupError::Io { source, .. } = error else { return false };
    matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    use std::io::Write as _;
    // No creation: in a control group an absent file is an absent feature.
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(io("write", path))
}

/// Waits that grow from 20 µs to 1 ms: fast when the kernel is fast, cheap when not.
pub(super) struct Pause(Duration);

impl Pause {
    pub(super) fn new() -> Self {
        Self(Duration::from_micros(20))
    }

    pub(super) fn wait(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(1));
    }
}

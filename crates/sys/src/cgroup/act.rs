//! What is done to a group: freeze, thaw, kill, remove.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{CgroupError, GROUP_DEPTH_MAX, GROUPS_MAX, Group, io, is_gone, read_text};

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
        let mut pause = Pause::new();
        // The kernel kills a whole subtree at once since 5.14, forks in flight included.
        if let Some(file) = self.unified.as_ref().map(|folder| folder.join("cgroup.kill")) {
            write(&file, "1").or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })?;
        }
        loop {
            let pids = self.living()?;
            if pids.is_empty() {
                return Ok(start.elapsed());
            }
            if start.elapsed() >= deadline {
                // A version 1 freezer must not be left frozen behind us.
                let _ = self.thaw(Duration::from_millis(100));
                return Err(self.late("killed", start));
            }
            for pid in pids {
                if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)
                {
                    // One that is gone already is what we want.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            // Tasks frozen by version 1 meet their signal only when thawed.
            for freezer in self.freezers() {
                if matches!(freezer, Freezer::V1(_)) {
                    freezer.set(false)?;
                }
            }
            pause.wait();
        }
    }

    /// Removes the group, and empty groups below it, from every hierarchy.
    pub fn remove(&self, deadline: Duration) -> Result<(), CgroupError> {
        let start = Instant::now();
        for folder in self.folders() {
            for group in tree(folder, &self.path)?.into_iter().rev() {
                let mut pause = Pause::new();
                loop {
                    match std::fs::remove_dir(&group) {
                        Ok(()) => break,
                        Err(error) if error.kind() == ErrorKind::NotFound => break,
                        // The last process has been killed but not yet reaped.
                        Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                            if start.elapsed() >= deadline {
                                return Err(self.late("removed", start));
                            }
                            pause.wait();
                        }
                        Err(error) => return Err(io("remove", &group)(error)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Processes that are not zombies: those wait for their parent, not for us.
    fn living(&self) -> Result<Vec<u32>, CgroupError> {
        let mut pids = self.processes()?;
        pids.retain(|pid| match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => !matches!(
                stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()),
                Some('Z' | 'X')
            ),
            Err(_) => false,
        });
        Ok(pids)
    }

    fn refuse_caller(&self) -> Result<(), CgroupError> {
        if self.processes()?.contains(&std::process::id()) {
            return Err(CgroupError::HoldsCaller(self.path.clone()));
        }
        Ok(())
    }

    /// The freezers that this group has, version 2 first.
    fn freezers(&self) -> impl Iterator<Item = Freezer<'_>> {
        let v2 = self.unified.as_deref().filter(|folder| folder.join("cgroup.freeze").exists());
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
            if freezer.holds_processes() {
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

    fn holds_processes(&self) -> bool {
        let (Self::V2(folder) | Self::V1(folder)) = self;
        let any = |group: &PathBuf| {
            read_text(&group.join("cgroup.procs")).is_ok_and(|text| !text.trim().is_empty())
        };
        any(&folder.to_path_buf()) || tree(folder, "").is_ok_and(|groups| groups.iter().any(any))
    }
}

/// `folder` and the groups below it, parents first. Empty when it does not exist.
pub(super) fn tree(folder: &Path, shown: &str) -> Result<Vec<PathBuf>, CgroupError> {
    let too_many = |what, limit| CgroupError::TooMany { path: shown.to_string(), what, limit };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = vec![folder.to_path_buf()];
    let mut level = found.clone();
    for _ in 0..GROUP_DEPTH_MAX {
        let mut next = Vec::new();
        for group in &level {
            let entries = match std::fs::read_dir(group) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(io("read", group)(error)),
            };
            for entry in entries {
                let Ok(entry) = entry else { break };
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    next.push(entry.path());
                }
                if found.len() + next.len() > GROUPS_MAX {
                    return Err(too_many("groups", GROUPS_MAX));
                }
            }
        }
        if next.is_empty() {
            return Ok(found);
        }
        found.extend(next.iter().cloned());
        level = next;
    }
    Err(too_many("levels", GROUP_DEPTH_MAX))
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
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(Duration::from_micros(20))
    }

    fn wait(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_too_deep_or_too_wide_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().join("deep");
        let top = deep.clone();
        for _ in 0..=GROUP_DEPTH_MAX {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        assert!(matches!(tree(&top, "x"), Err(CgroupError::TooMany { what: "levels", .. })));
        let wide = folder.path().join("wide");
        for i in 0..=GROUPS_MAX {
            std::fs::create_dir_all(wide.join(i.to_string())).unwrap();
        }
        assert!(matches!(tree(&wide, "x"), Err(CgroupError::TooMany { what: "groups", .. })));
        assert!(tree(&folder.path().join("absent"), "x").unwrap().is_empty());
    }
}

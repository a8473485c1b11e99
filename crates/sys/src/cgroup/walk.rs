//! Walks through a group and those below it.
//!
//! Who is contained may be allowed to make groups, so that neither their depth nor their number
//! may keep a walk from going on: one folder is open at a time, names are all that is kept, and
//! nothing recurses. Groups cannot be moved into others, so that `..` leads back to where the
//! walk came from.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::act::Pause;
use super::{CgroupError, GROUPS_MAX, PROCESSES_MAX, io};

/// Names of groups that a walk remembers at once: they cost a container more memory than us.
const NAMES_MAX: usize = 1 << 20;
/// Bytes of one line of `cgroup.procs` that are read; the kernel writes a number.
const LINE_BYTES_MAX: u64 = 32;

/// What is done on a walk.
pub(super) trait Visit {
    /// At a group, before those below it.
    fn enter(&mut self, group: &OwnedFd) -> Result<(), Errno>;
    /// When all below the group `name` of `parent` have been visited; not for the topmost.
    fn leave(&mut self, _parent: &OwnedFd, _name: &CStr) -> Result<(), Errno> {
        Ok(())
    }
    /// Whether the walk is to end here.
    fn is_spent(&self) -> bool;
}

/// Where a walk is.
struct Level {
    name: CString,
    /// Names of the groups below that are still to be visited.
    rest: Vec<CString>,
}

/// Visits `top` and the groups below it; returns whether that were all. None is there when `top`
/// does not exist; one that goes away meanwhile is left out.
///
/// # Errors
///
/// A folder cannot be opened or read, or `visit` fails.
pub(super) fn walk(top: &Path, visit: &mut impl Visit) -> Result<bool, CgroupError> {
    let fail = |errno: Errno| io("read", top)(errno.into());
    let Some(mut at) = open(rustix::fs::CWD, top).map_err(fail)? else { return Ok(true) };
    let (mut n_names, mut is_whole) = (0, true);
    let mut enter = |at: &OwnedFd, name: CString, visit: &mut dyn Visit, n_names: &mut usize| {
        visit.enter(at)?;
        let mut rest = Vec::new();
        is_whole &= groups(at, &mut rest, NAMES_MAX.saturating_sub(*n_names))?;
        *n_names += rest.len();
        Ok::<_, Errno>(Level { name, rest })
    };
    let mut levels = vec![enter(&at, CString::default(), visit, &mut n_names).map_err(fail)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.rest.pop() {
            n_names = n_names.saturating_sub(1);
            if visit.is_spent() {
                return Ok(false);
            }
            if let Some(group) = open(&at, name.as_c_str()).map_err(fail)? {
                at = group;
                levels.push(enter(&at, name, visit, &mut n_names).map_err(fail)?);
            }
        } else if let Some(level) = levels.pop()
            && !levels.is_empty()
        {
            // A folder that was removed meanwhile still knows its parent.
            let Some(parent) = open(&at, c"..").map_err(fail)? else { return Ok(false) };
            at = parent;
            visit.leave(&at, &level.name).map_err(fail)?;
        }
    }
    Ok(is_whole)
}

/// Opens a group; `None` when it is gone.
fn open(folder: impl AsFd, name: impl rustix::path::Arg) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    gone_is_none(rustix::fs::openat(folder, name, flags, Mode::empty()))
}

fn gone_is_none<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Appends the names of the groups right below `group`, at most `limit`; whether those are all.
fn groups(group: &OwnedFd, names: &mut Vec<CString>, limit: usize) -> Result<bool, Errno> {
    let Some(entries) = gone_is_none(Dir::read_from(group))? else { return Ok(true) };
    for entry in entries {
        let Some(entry) = gone_is_none(entry)? else { break };
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            if names.len() >= limit {
                return Ok(false);
            }
            names.push(name.to_owned());
        }
    }
    Ok(true)
}

/// Calls `found` for each process of `group`, however many.
fn for_each_process(group: &OwnedFd, mut found: impl FnMut(u32)) -> Result<(), Errno> {
    use std::io::Read as _;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(group, c"cgroup.procs", flags, Mode::empty());
    let Some(file) = gone_is_none(file)? else { return Ok(()) };
    let mut lines = BufReader::with_capacity(64 << 10, File::from(file));
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                return match error.raw_os_error().map(Errno::from_raw_os_error) {
                    // Gone; or a threaded group, whose processes its domain lists.
                    Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(()),
                    other => Err(other.unwrap_or(Errno::IO)),
                };
            }
        }
        let pid = str::from_utf8(&line).ok().and_then(|text| text.trim().parse().ok());
        // Zero stands for processes of a pid namespace that cannot be seen from here.
        if let Some(pid) = pid.filter(|pid| *pid != 0) {
            found(pid);
        }
    }
}

/// Lists the processes of one hierarchy, as far as the bounds allow.
pub(super) struct Listing<'a> {
    pids: &'a mut Vec<u32>,
    n_groups: usize,
    n_pids: usize,
}

impl<'a> Listing<'a> {
    pub(super) fn new(pids: &'a mut Vec<u32>) -> Self {
        Self { pids, n_groups: 0, n_pids: 0 }
    }

    /// What there is more of than was listed, with its bound.
    pub(super) fn beyond(&self, is_whole: bool) -> Option<(&'static str, usize)> {
        if self.n_pids > PROCESSES_MAX {
            return Some(("processes", PROCESSES_MAX));
        }
        (!is_whole).then_some(("groups", GROUPS_MAX))
    }
}

impl Visit for Listing<'_> {
    fn enter(&mut self, group: &OwnedFd) -> Result<(), Errno> {
        self.n_groups += 1;
        let (pids, n_pids) = (&mut *self.pids, &mut self.n_pids);
        for_each_process(group, |pid| {
            *n_pids += 1;
            if *n_pids <= PROCESSES_MAX {
                pids.push(pid);
            }
        })
    }

    fn is_spent(&self) -> bool {
        self.n_groups >= GROUPS_MAX || self.n_pids > PROCESSES_MAX
    }
}

/// Sends `SIGKILL` to each process that it meets.
pub(super) struct Killing {
    /// Those that were there and no zombies: these wait for their parent, not for us.
    pub(super) n_living: usize,
    end: Instant,
}

impl Killing {
    /// A walk that ends at `end`.
    pub(super) fn until(end: Instant) -> Self {
        Self { n_living: 0, end }
    }
}

impl Visit for Killing {
    fn enter(&mut self, group: &OwnedFd) -> Result<(), Errno> {
        let n_living = &mut self.n_living;
        for_each_process(group, |pid| {
            if !is_living(pid) {
                return;
            }
            *n_living += 1;
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // One that is gone already is what we want.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        })
    }

    fn is_spent(&self) -> bool {
        Instant::now() >= self.end
    }
}

fn is_living(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
        !matches!(state, Some('Z' | 'X'))
    })
}

/// Thaws each group of the version 1 freezer: one that a container froze itself stays frozen when
/// those above it are thawed, and its tasks do not die.
pub(super) struct Thawing(pub(super) Instant);

impl Visit for Thawing {
    fn enter(&mut self, group: &OwnedFd) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(group, c"freezer.state", flags, Mode::empty());
        if let Some(file) = gone_is_none(file)? {
            gone_is_none(rustix::io::write(file, b"THAWED"))?;
        }
        Ok(())
    }

    fn is_spent(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Removes groups, those below first.
pub(super) struct Removing {
    end: Instant,
    /// Whether one was still in use at the end.
    pub(super) is_late: bool,
}

impl Removing {
    /// A removal that waits until `end` for processes that have been killed but not yet reaped.
    pub(super) fn until(end: Instant) -> Self {
        Self { end, is_late: false }
    }

    pub(super) fn remove(
        &mut self,
        folder: impl AsFd,
        name: impl rustix::path::Arg + Copy,
    ) -> Result<(), Errno> {
        let mut pause = Pause::new();
        loop {
            match rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                Err(Errno::BUSY) if Instant::now() >= self.end => {
                    self.is_late = true;
                    return Ok(());
                }
                Err(Errno::BUSY) => pause.wait(),
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Visit for Removing {
    fn enter(&mut self, _group: &OwnedFd) -> Result<(), Errno> {
        Ok(())
    }

    fn leave(&mut self, parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        self.remove(parent, name)
    }

    fn is_spent(&self) -> bool {
        self.is_late
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What a walk meets, and when it has enough.
    struct Counting {
        n_entered: usize,
        left: Vec<CString>,
        limit: usize,
    }

    impl Visit for Counting {
        fn enter(&mut self, _group: &OwnedFd) -> Result<(), Errno> {
            self.n_entered += 1;
            Ok(())
        }

        fn leave(&mut self, _parent: &OwnedFd, name: &CStr) -> Result<(), Errno> {
            self.left.push(name.to_owned());
            Ok(())
        }

        fn is_spent(&self) -> bool {
            self.n_entered >= self.limit
        }
    }

    fn count(top: &Path, limit: usize) -> (bool, Counting) {
        let mut counting = Counting { n_entered: 0, left: Vec::new(), limit };
        let is_whole = walk(top, &mut counting).unwrap();
        (is_whole, counting)
    }

    #[test]
    fn every_group_is_met_once_and_left_after_those_below_it() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/b/c", "a/d", "e"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        std::fs::write(folder.path().join("a/cgroup.procs"), "").unwrap();
        let (is_whole, mut counting) = count(folder.path(), 100);
        assert!(is_whole);
        assert_eq!(counting.n_entered, 6);
        let at = |name: &CStr| counting.left.iter().position(|left| *left == *name).unwrap();
        assert!(at(c"c") < at(c"b") && at(c"b") < at(c"a") && at(c"d") < at(c"a"));
        counting.left.sort();
        counting.left.dedup();
        assert_eq!(counting.left.len(), 5);
        let (is_whole, counting) = count(folder.path(), 3);
        assert!(!is_whole && counting.n_entered == 3);
        let (is_whole, counting) = count(&folder.path().join("absent"), 3);
        assert!(is_whole && counting.n_entered == 0);
    }

    /// Deeper than a path can be, and than descriptors or a stack would last.
    #[test]
    fn no_depth_ends_a_walk() {
        const LEVELS: usize = 2500;
        let folder = tempfile::tempdir().unwrap();
        let mut at = open(rustix::fs::CWD, folder.path()).unwrap().unwrap();
        for _ in 0..LEVELS {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = open(&at, c"d").unwrap().unwrap();
        }
        let (is_whole, counting) = count(folder.path(), usize::MAX);
        assert!(is_whole);
        assert_eq!((counting.n_entered, counting.left.len()), (LEVELS + 1, LEVELS));
        let mut removing = Removing::until(Instant::now() + Duration::from_secs(1));
        assert!(walk(folder.path(), &mut removing).unwrap() && !removing.is_late);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_list_is_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("below")).unwrap();
        std::fs::write(folder.path().join("cgroup.procs"), "7\n0\nrubbish\n").unwrap();
        std::fs::write(folder.path().join("below/cgroup.procs"), "4294967295\n7").unwrap();
        let mut pids = Vec::new();
        let mut listing = Listing::new(&mut pids);
        assert!(walk(folder.path(), &mut listing).unwrap());
        assert_eq!(listing.beyond(true), None);
        assert_eq!(listing.beyond(false), Some(("groups", GROUPS_MAX)));
        assert_eq!(pids, [7, 4_294_967_295, 7]);
        // A few more than are listed, as a fork bomb would have it.
        let many: Vec<String> = (1..=PROCESSES_MAX + 9).map(|pid| pid.to_string()).collect();
        std::fs::write(folder.path().join("cgroup.procs"), many.join("\n")).unwrap();
        let mut pids = Vec::new();
        let mut listing = Listing::new(&mut pids);
        assert!(!walk(folder.path(), &mut listing).unwrap());
        assert_eq!(listing.beyond(false), Some(("processes", PROCESSES_MAX)));
        assert_eq!(pids.len(), PROCESSES_MAX);
    }
}

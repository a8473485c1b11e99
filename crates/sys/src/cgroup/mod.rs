//! Control groups, version 1, version 2 and both at once ("hybrid").
//!
//! [`Hierarchies`] says what is mounted where; a [`Group`] is one path in all of them.
//! Sources: kernel `Documentation/admin-guide/cgroup-v2.rst` and
//! `cgroup-v1/freezer-subsystem.rst`.
//!
//! Invariant: a [`Group`] never is the root of a hierarchy, so that freezing or killing
//! it cannot reach the whole machine.

mod act;
mod limits;
mod walk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::{Explain, read_bounded};

pub use act::FREEZE_DEADLINE;
pub use limits::GroupLimits;

/// Bytes of a kernel text file that are read; larger ones are refused.
const KERNEL_FILE_BYTES_MAX: u64 = 4 << 20;

/// Groups of one hierarchy, below one group, whose processes are listed. What acts on a group has
/// no such bound: a container that may make groups could hide in one more.
const GROUPS_MAX: usize = 65_536;
/// Processes of one group that are listed.
pub const PROCESSES_MAX: usize = 131_072;

/// Which versions are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Only version 1 controllers.
    V1,
    /// Only the unified hierarchy.
    V2,
    /// Version 1 controllers, and a unified hierarchy besides.
    Hybrid,
}

impl Layout {
    /// `v1`, `v2` or `hybrid`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::Hybrid => "hybrid",
        }
    }
}

/// What failed on control groups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Nothing of type `cgroup` or `cgroup2` is mounted.
    #[error("no control group hierarchy is mounted")]
    NoHierarchy,
    /// The path is the root, is relative or leaves its hierarchy.
    #[error("`{0}` is not a control group that may be acted upon")]
    UnsafePath(String),
    /// The calling process itself is in the group.
    #[error("control group `{0}` holds the calling process")]
    HoldsCaller(String),
    /// No hierarchy has a group of that path.
    #[error("control group `{0}` does not exist")]
    Missing(String),
    /// No mounted hierarchy can freeze.
    #[error("control group `{0}` cannot be frozen: no freezer is mounted for it")]
    NoFreezer(String),
    /// The group holds more than is handled.
    #[error("control group `{path}` holds more than {limit} {what}")]
    TooMany {
        /// The group.
        path: String,
        /// `groups` or `processes`.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The kernel did not reach the state in time.
    #[error("control group `{path}` was not {what} within {} ms", .waited.as_millis())]
    Deadline {
        /// The group.
        path: String,
        /// `frozen`, `thawed`, `killed` or `removed`.
        what: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// A file could not be read or written.
    #[error("{action} `{}`", .path.display())]
    Io {
        /// `read`, `write`, `create`, `remove`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for CgroupError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoHierarchy => "mount one: mount -t cgroup2 none /sys/fs/cgroup",
                Self::UnsafePath(_) | Self::HoldsCaller(_) => {
                    "name the group of one container, for example /palisade/ID"
                }
                Self::Missing(_) => "the container has ended; list what runs with `palisade ps`",
                Self::NoFreezer(_) => "mount the unified hierarchy or the v1 freezer controller",
                Self::TooMany { .. } => "limit processes with `limits.pids` in the policy",
                Self::Deadline { .. } => {
                    "look for processes in uninterruptible sleep (state D) in the group"
                }
                Self::Io { source, .. }
                    if source.kind() == std::io::ErrorKind::PermissionDenied =>
                {
                    "run as root"
                }
                Self::Io { .. } => return None,
            }
            .into(),
        )
    }
}

/// Where the hierarchies are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies {
    /// Each version 1 controller, by its name (`memory`, `name=systemd`).
    v1: BTreeMap<String, Mounted>,
    /// The unified hierarchy.
    unified: Option<Mounted>,
}

/// Where a hierarchy is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    point: PathBuf,
    /// Which of its groups is there; `/` unless only a part of it is mounted.
    root: String,
}

impl Mounted {
    /// The group at `relative` below the mount point.
    fn place(&self, relative: &str) -> Place {
        let root = self.root.trim_end_matches('/');
        Place { folder: self.point.join(relative), shown: format!("{root}/{relative}") }
    }

    /// The group that `/proc/PID/cgroup` calls `path`, if it is one below what is mounted.
    fn place_of(&self, path: &str) -> Option<Place> {
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        Some(self.place(safe_relative(below).ok()?))
    }
}

/// A group in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    folder: PathBuf,
    /// What `/proc/PID/cgroup` calls it.
    shown: String,
}

impl Hierarchies {
    /// Reads what is mounted from `/proc/self/mountinfo`.
    pub fn detect() -> Result<Self, CgroupError> {
        let text = read_text(Path::new("/proc/self/mountinfo"))?;
        Self::from_mountinfo(&text).ok_or(CgroupError::NoHierarchy)
    }

    /// Reads the text of `proc_pid_mountinfo(5)`; `None` when it names no hierarchy.
    pub fn from_mountinfo(text: &str) -> Option<Self> {
        let mut v1 = BTreeMap::new();
        let mut unified = None;
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(point)) = (left.next(), left.next()) else {
                continue;
            };
            // Inside another container the root of the mount is not the hierarchy's root,
            // unless a control group namespace hides that; both can be used as they are.
            if root.starts_with("/..") {
                continue;
            }
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or(""));
            let mounted =
                Mounted { point: PathBuf::from(unescape_octal(point)), root: unescape_octal(root) };
            match kind {
                Some("cgroup2") => {
                    unified.get_or_insert(mounted);
                }
                Some("cgroup") => {
                    for option in options.split(',') {
                        if matches!(option, "rw" | "ro" | "xattr" | "noprefix" | "clone_children")
                            || option.starts_with("release_agent=")
                        {
                            continue;
                        }
                        v1.entry(option.to_string()).or_insert_with(|| mounted.clone());
                    }
                }
                _ => {}
            }
        }
        (!v1.is_empty() || unified.is_some()).then_some(Self { v1, unified })
    }

    /// Which versions are mounted.
    pub fn layout(&self) -> Layout {
        match (self.v1.is_empty(), &self.unified) {
            (true, _) => Layout::V2,
            (false, None) => Layout::V1,
            (false, Some(_)) => Layout::Hybrid,
        }
    }

    /// Version 1 controllers and where each is mounted.
    pub fn v1(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.v1.iter().map(|(name, mounted)| (name.as_str(), mounted.point.as_path()))
    }

    /// Mount point of the unified hierarchy.
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_ref().map(|mounted| mounted.point.as_path())
    }

    /// Controllers that can limit: version 1 ones and those of `cgroup.controllers`.
    pub fn controllers(&self) -> Result<Vec<String>, CgroupError> {
        let mut names: Vec<String> =
            self.v1.keys().filter(|name| !name.starts_with("name=")).cloned().collect();
        if let Some(unified) = self.unified() {
            let text = read_text(&unified.join("cgroup.controllers"))?;
            names.extend(text.split_whitespace().map(str::to_string));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Whether swap use can be limited together with memory.
    pub fn can_limit_swap(&self) -> bool {
        match self.v1.get("memory") {
            Some(memory) => memory.point.join("memory.memsw.limit_in_bytes").exists(),
            // The root has no limit files; the kernel has had them since 4.5 unless it
            // was built or booted without swap accounting.
            None => self.unified.is_some() && Path::new("/proc/swaps").exists(),
        }
    }

    /// The group at the same `path` (absolute, not `/`) in every hierarchy.
    pub fn group(&self, path: &str) -> Result<Group, CgroupError> {
        let relative = safe_relative(path)?;
        Ok(Group {
            path: path.to_string(),
            v1: self.v1.iter().map(|(name, at)| (name.clone(), at.place(relative))).collect(),
            unified: self.unified.as_ref().map(|at| at.place(relative)),
        })
    }

    /// The group that holds `pid`, by `/proc/PID/cgroup`.
    ///
    /// Hierarchies in which the process sits at the root are left out; when that is all
    /// of them, the process is in no container and the answer is an error.
    pub fn of_process(&self, pid: u32) -> Result<Group, CgroupError> {
        let text = read_text(Path::new(&format!("/proc/{pid}/cgroup")))?;
        self.group_in_proc_cgroup(&text)
            .ok_or_else(|| CgroupError::UnsafePath(format!("group of process {pid}")))
    }

    /// Reads the text of `/proc/PID/cgroup` (`cgroups(7)`).
    fn group_in_proc_cgroup(&self, text: &str) -> Option<Group> {
        let mut v1 = BTreeMap::new();
        let mut unified = None;
        let mut shown = None;
        for (names, path) in memberships(text) {
            let place = |at: &Mounted| at.place_of(path);
            if names.is_empty() {
                unified = self.unified.as_ref().and_then(place);
                if unified.is_some() {
                    shown = Some(path.to_string());
                }
                continue;
            }
            for name in names.split(',') {
                if let Some(place) = self.v1.get(name).and_then(place) {
                    v1.insert(name.to_string(), place);
                    shown.get_or_insert_with(|| path.to_string());
                }
            }
        }
        Some(Group { path: shown?, v1, unified })
    }
}

/// The lines of `/proc/PID/cgroup` (`cgroups(7)`): names of controllers, none for the unified
/// hierarchy, and the path in their hierarchy.
fn memberships(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    })
}

/// One group: the same container in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    path: String,
    v1: BTreeMap<String, Place>,
    unified: Option<Place>,
}

/// Processes that were found in a group and in those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Their host ids, sorted, each once.
    pub pids: Vec<u32>,
    /// What there is more of than is looked at, with that bound: `groups` or `processes`.
    pub beyond: Option<(&'static str, usize)>,
}

impl Group {
    /// The path relative to the hierarchies' roots, `/` first.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The folder in the unified hierarchy, whether it exists or not.
    pub fn unified(&self) -> Option<&Path> {
        self.unified.as_ref().map(|place| place.folder.as_path())
    }

    /// The folder in the hierarchy of a version 1 controller, whether it exists or not.
    pub fn controller(&self, name: &str) -> Option<&Path> {
        self.v1.get(name).map(|place| place.folder.as_path())
    }

    /// All its folders, each once.
    pub fn folders(&self) -> Vec<&Path> {
        let mut all: Vec<&Path> =
            self.v1.values().chain(&self.unified).map(|place| place.folder.as_path()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether any hierarchy has it.
    pub fn exists(&self) -> bool {
        self.folders().iter().any(|folder| folder.is_dir())
    }

    /// Creates it in every hierarchy; one that exists is left as it is.
    pub fn create(&self) -> Result<(), CgroupError> {
        for folder in self.folders() {
            std::fs::create_dir_all(folder).map_err(io("create", folder))?;
        }
        Ok(())
    }

    /// The id of the group in the unified hierarchy: the inode of its folder, which
    /// `bpf_get_current_cgroup_id` reports.
    pub fn id(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Some(std::fs::metadata(self.unified()?).ok()?.ino())
    }

    /// Host process ids in it and in the groups below it, sorted, each once.
    ///
    /// # Errors
    ///
    /// A group's list cannot be read, or there is more than [`Group::members`] looks at.
    pub fn processes(&self) -> Result<Vec<u32>, CgroupError> {
        let members = self.members()?;
        match members.beyond {
            None => Ok(members.pids),
            Some((what, limit)) => {
                Err(CgroupError::TooMany { path: self.path.clone(), what, limit })
            }
        }
    }

    /// The same as far as it is looked: for who can use a part.
    ///
    /// # Errors
    ///
    /// A group's list cannot be read.
    pub fn members(&self) -> Result<Members, CgroupError> {
        let mut pids = Vec::new();
        let mut beyond = None;
        for folder in self.folders() {
            let mut listing = walk::Listing::new(&mut pids);
            let is_whole = walk::walk(folder, &mut listing)?;
            beyond = beyond.or(listing.beyond(is_whole));
            // Each hierarchy has them once more.
            pids.sort_unstable();
            pids.dedup();
        }
        Ok(Members { pids, beyond })
    }

    /// Whether process `pid` is in it, or in a group below it, in any hierarchy.
    ///
    /// Asked of the process, so that the answer does not depend on how many groups and processes
    /// there are. One that is gone is nowhere.
    pub fn holds(&self, pid: u32) -> Result<bool, CgroupError> {
        match read_text(Path::new(&format!("/proc/{pid}/cgroup"))) {
            Ok(text) => Ok(self.is_in(&text)),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the text of `/proc/PID/cgroup` is that of a process in it or below it.
    fn is_in(&self, text: &str) -> bool {
        let is_below = |place: &Place, path: &str| {
            path.strip_prefix(&place.shown)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        memberships(text).any(|(names, path)| {
            if names.is_empty() {
                return self.unified.as_ref().is_some_and(|place| is_below(place, path));
            }
            names.split(',').filter_map(|name| self.v1.get(name)).any(|at| is_below(at, path))
        })
    }
}

/// Checks that `path` names a group below the root and returns it without its slash.
fn safe_relative(path: &str) -> Result<&str, CgroupError> {
    let relative = path.strip_prefix('/').unwrap_or("");
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if relative.is_empty() || relative.len() > 4000 || relative.split('/').any(bad) {
        return Err(CgroupError::UnsafePath(path.chars().take(200).collect()));
    }
    Ok(relative)
}

/// Reads a kernel text file.
fn read_text(path: &Path) -> Result<String, CgroupError> {
    let file = std::fs::File::open(path).map_err(io("read", path))?;
    let bytes =
        read_bounded(file, "kernel file", KERNEL_FILE_BYTES_MAX).map_err(io("read", path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the error means that the file or its group no longer exists.
fn is_gone(error: &CgroupError) -> bool {
    let CgroupError::Io { source, .. } = error else {
        return false;
    };
    // A removed group answers reads with ENODEV, and a process that ended with ESRCH.
    source.kind() == std::io::ErrorKind::NotFound
        || matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ESRCH))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> CgroupError {
    let path = path.to_path_buf();
    move |source| CgroupError::Io { action, path, source }
}

/// Undoes the octal escapes of mount tables: blank, tab, newline and backslash.
pub(crate) fn unescape_octal(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut i = 0;
    while let Some(&byte) = bytes.get(i) {
        let octal = bytes.get(i + 1..i + 4).and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        if let (b'\\', Some(value)) = (byte, octal) {
            out.push(value);
            i += 4;
        } else {
            out.push(byte);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime shared:9 - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup systemd rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn reads_each_layout() {
        let hybrid = Hierarchies::from_mountinfo(HYBRID).unwrap();
        assert_eq!(hybrid.layout(), Layout::Hybrid);
        assert_eq!(
            hybrid.v1().map(|(name, _)| name).collect::<Vec<_>>(),
            ["cpu", "cpuacct", "freezer", "name=systemd"]
        );
        assert_eq!(hybrid.unified(), Some(Path::new("/sys/fs/cgroup/uni fied")));
        let v2 = "26 23 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Hierarchies::from_mountinfo(v2).unwrap().layout(), Layout::V2);
        let v1 = HYBRID.lines().take(3).collect::<Vec<_>>().join("\n");
        assert_eq!(Hierarchies::from_mountinfo(&v1).unwrap().layout(), Layout::V1);
        assert_eq!(Hierarchies::from_mountinfo("1 2 0:1 / / rw - ext4 a rw\nrubbish"), None);
    }

    #[test]
    fn a_group_is_never_the_root_and_never_leaves() {
        let hierarchies = Hierarchies::from_mountinfo(HYBRID).unwrap();
        for path in ["", "/", "palisade", "/a/../..", "/a//b", "/.", "/a/", "//"] {
            assert!(hierarchies.group(path).is_err(), "{path}");
        }
        let group = hierarchies.group("/palisade/a").unwrap();
        assert_eq!(
            group.controller("cpu"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/palisade/a"))
        );
        // cpu and cpuacct share a folder, which is listed once.
        assert_eq!(group.folders().len(), 4);
    }

    #[test]
    fn finds_the_group_of_a_process_and_leaves_roots_out() {
        let hierarchies = Hierarchies::from_mountinfo(HYBRID).unwrap();
        let text = "4:cpu,cpuacct:/docker/abc\n3:freezer:/docker/abc\n2:name=systemd:/\n0::/\n";
        let group = hierarchies.group_in_proc_cgroup(text).unwrap();
        assert_eq!(group.path(), "/docker/abc");
        assert_eq!(group.unified(), None);
        assert_eq!(group.controller("name=systemd"), None);
        assert!(hierarchies.group_in_proc_cgroup("1:cpu:/\n0::/\n").is_none());
    }

    #[test]
    fn a_process_is_in_a_group_or_below_it_in_any_hierarchy() {
        let hierarchies = Hierarchies::from_mountinfo(HYBRID).unwrap();
        let group = hierarchies.group("/docker/abc").unwrap();
        for (text, expected) in [
            ("0::/docker/abc\n", true),
            ("4:cpu,cpuacct:/docker/abc/a/b\n0::/\n", true),
            ("4:cpu,cpuacct:/\n1:name=systemd:/docker/abc\n0::/user.slice\n", true),
            ("0::/docker/abcd\n", false),
            ("0::/docker\n", false),
            ("0::/../docker/abc\n", false),
            // A controller that is not mounted here.
            ("9:pids:/docker/abc\n0::/\n", false),
            ("rubbish\n0:\n", false),
        ] {
            assert_eq!(group.is_in(text), expected, "{text}");
        }
    }

    #[test]
    fn where_only_a_part_is_mounted_paths_are_below_it() {
        // As in a container without a namespace of control groups.
        let part = "41 31 0:38 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let hierarchies = Hierarchies::from_mountinfo(part).unwrap();
        let group = hierarchies.group("/x").unwrap();
        assert_eq!(group.unified(), Some(Path::new("/sys/fs/cgroup/x")));
        assert!(group.is_in("0::/docker/abc/x/y\n"));
        assert!(!group.is_in("0::/docker/abc\n") && !group.is_in("0::/x\n"));
        let own = hierarchies.group_in_proc_cgroup("0::/docker/abc/x\n").unwrap();
        assert_eq!(own.unified(), group.unified());
        assert!(hierarchies.group_in_proc_cgroup("0::/docker/abc\n").is_none());
        assert!(hierarchies.group_in_proc_cgroup("0::/elsewhere\n").is_none());
    }
}

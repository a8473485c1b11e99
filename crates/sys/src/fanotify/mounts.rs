//! The mounts that another process sees, when they are not ours.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use palisade_base::fs::open_resolved;
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags};

/// Mounts of one namespace that are looked at.
pub const MOUNTS_MAX: usize = 1024;

/// Bytes of a `mountinfo` that are read: [`MOUNTS_MAX`] long lines.
const MOUNTINFO_BYTES_MAX: u64 = 4 << 20;

/// File systems whose programs are asked about: the kernel reads them without a process
/// that could withhold the answer. A file system in user space could make whoever looks at
/// a file wait for ever.
const LOCAL: [&str; 14] = [
    "overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "squashfs",
    "erofs", "zfs", "bcachefs", "isofs",
];

/// File systems that hold no programs: they have no regular files that can be executed.
const WITHOUT_PROGRAMS: [&str; 16] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "mqueue",
    "securityfs",
    "debugfs",
    "tracefs",
    "bpf",
    "pstore",
    "efivarfs",
    "configfs",
    "fusectl",
    "binfmt_misc",
    "nsfs",
];

/// Names in `/proc` of those whose mounts are never marked: the caller, who may himself be
/// in a container, and the first process, which is where the host is.
const HOSTS: [&str; 2] = ["thread-self", "1"];

/// Why the mounts of a process cannot be marked.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The process sees the mounts of the caller.
    #[error("process {0} is in the mount namespace of the host")]
    Ours(u32),
    /// The process has not entered its own root yet.
    #[error("process {0} still has the root of the host")]
    NotEntered(u32),
    /// `/proc` did not tell.
    #[error("look at the mounts of process {pid}")]
    Io {
        /// The process.
        pid: u32,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Identity of a mount namespace: device and inode of its file in `/proc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MountNamespace(u64, u64);

impl MountNamespace {
    /// That of a process.
    pub fn of(pid: u32) -> io::Result<Self> {
        let metadata = std::fs::metadata(format!("/proc/{pid}/ns/mnt"))?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}

/// What a line of `mountinfo` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    id: u64,
    point: PathBuf,
    kind: String,
    /// Whether the mount itself forbids to execute anything.
    is_noexec: bool,
}

/// Whose mounts are never marked.
struct Host {
    namespace: MountNamespace,
    /// Device and inode of its root.
    root: (u64, u64),
    mounts: Vec<u64>,
}

impl Host {
    fn of(name: &str) -> io::Result<Self> {
        let namespace = std::fs::metadata(format!("/proc/{name}/ns/mnt"))?;
        let root = std::fs::metadata(format!("/proc/{name}/root/"))?;
        let entries = read_mountinfo(&format!("/proc/{name}/mountinfo"))?;
        Ok(Self {
            namespace: MountNamespace(namespace.dev(), namespace.ino()),
            root: (root.dev(), root.ino()),
            mounts: entries.into_iter().map(|entry| entry.id).collect(),
        })
    }
}

/// The mounts of a process in a mount namespace of its own.
#[derive(Debug)]
pub struct ForeignMounts {
    namespace: MountNamespace,
    root: OwnedFd,
    entries: Vec<Entry>,
    ours: BTreeSet<u64>,
}

impl ForeignMounts {
    /// Looks at what `pid` sees; refuses when that is what we see.
    pub fn of(pid: u32) -> Result<Self, MountError> {
        let io = |source| MountError::Io { pid, source };
        let namespace = MountNamespace::of(pid).map_err(io)?;
        let mut hosts = Vec::new();
        for host in HOSTS {
            match Host::of(host) {
                Ok(host) => hosts.push(host),
                // Some hosts let nobody look at their first process.
                Err(error) if host == "1" && error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(io(error)),
            }
        }
        if hosts.iter().any(|host| host.namespace == namespace) {
            return Err(MountError::Ours(pid));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())
            .map_err(|errno| io(errno.into()))?;
        // A runtime's helper lives in a copy of the host's mounts before it enters the root.
        let theirs = rustix::fs::fstat(&root).map_err(|errno| io(errno.into()))?;
        if hosts.iter().any(|host| host.root == (theirs.st_dev, theirs.st_ino)) {
            return Err(MountError::NotEntered(pid));
        }
        let ours = hosts.into_iter().flat_map(|host| host.mounts).collect();
        let entries = read_mountinfo(&format!("/proc/{pid}/mountinfo")).map_err(io)?;
        Ok(Self { namespace, root, entries, ours })
    }

    /// The namespace.
    pub fn namespace(&self) -> MountNamespace {
        self.namespace
    }

    /// Those from which programs could be executed and that can be asked about.
    pub fn executable(&self) -> impl Iterator<Item = ForeignMount> {
        let asked = self.entries.iter().filter(|entry| {
            !entry.is_noexec
                && LOCAL.contains(&entry.kind.as_str())
                && !self.ours.contains(&entry.id)
        });
        asked.filter_map(|entry| self.open(entry))
    }

    /// Those from which programs could be executed and that are not asked about: mount
    /// point and file system.
    pub fn unasked(&self) -> impl Iterator<Item = (&Path, &str)> {
        let known = |kind: &str| LOCAL.contains(&kind) || WITHOUT_PROGRAMS.contains(&kind);
        self.entries
            .iter()
            .filter(move |entry| !entry.is_noexec && !known(&entry.kind))
            .map(|entry| (entry.point.as_path(), entry.kind.as_str()))
    }

    /// Opens the mount; `None` when another one covers it, or it is gone.
    fn open(&self, entry: &Entry) -> Option<ForeignMount> {
        let resolve =
            ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = open_resolved(&self.root, &entry.point, flags, resolve).ok()?;
        // What was opened is this very mount, whatever happened to the path since.
        let id = mount_id(&fd).ok()?;
        (id == entry.id).then(|| ForeignMount { fd, id, point: entry.point.clone() })
    }
}

/// A mount of another mount namespace.
#[derive(Debug)]
pub struct ForeignMount {
    fd: OwnedFd,
    id: u64,
    point: PathBuf,
}

impl ForeignMount {
    /// Its number, unique on the host while it exists.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Where it is mounted, in its namespace.
    pub fn point(&self) -> &Path {
        &self.point
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Number of the mount to which `fd` belongs (`STATX_MNT_ID`, Linux 5.8).
pub(super) fn mount_id(fd: &impl AsFd) -> io::Result<u64> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() == 0 {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel tells no mount ids"));
    }
    Ok(stat.stx_mnt_id)
}

/// Whether `file` is the one that `path` names in the root of `pid`. Opens nothing for
/// reading, so that nobody is asked about it.
pub(super) fn is_named(file: &File, pid: u32, path: &Path) -> io::Result<bool> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), folder, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let named = open_resolved(&root, path, OFlags::PATH, resolve)?;
    let (named, file) = (rustix::fs::fstat(&named)?, rustix::fs::fstat(file)?);
    Ok((named.st_dev, named.st_ino) == (file.st_dev, file.st_ino))
}

fn read_mountinfo(path: &str) -> io::Result<Vec<Entry>> {
    let text = palisade_base::read_bounded(File::open(path)?, "mountinfo", MOUNTINFO_BYTES_MAX)
        .map_err(io::Error::other)?;
    Ok(parse_mountinfo(&String::from_utf8_lossy(&text)))
}

/// Lines of `/proc/PID/mountinfo`, see `proc_pid_mountinfo(5)`: id, parent, device, root,
/// mount point, options, optional fields up to `-`, file system, source, its options.
fn parse_mountinfo(text: &str) -> Vec<Entry> {
    let parse = |line: &str| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let id = fields.next()?.parse().ok()?;
        let point = PathBuf::from(crate::cgroup::unescape_octal(fields.nth(3)?));
        let is_noexec = fields.next()?.split(',').any(|option| option == "noexec");
        let kind = rest.split(' ').next()?.to_string();
        Some(Entry { id, point, kind, is_noexec })
    };
    text.lines().filter_map(parse).take(MOUNTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mountinfo() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n\
                    37 35 0:5 / /tmp rw,nosuid,noexec - tmpfs tmpfs rw\n\
                    38 35 0:6 / /f rw - fuse.sshfs x rw\nbroken\n39 35 0:6 / /f rw fuse\n";
        let entries = parse_mountinfo(text);
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e.id, e.point.to_str().unwrap(), e.kind.as_str(), e.is_noexec))
            .collect();
        assert_eq!(
            seen,
            [
                (36, "/mnt 2", "ext3", false),
                (37, "/tmp", "tmpfs", true),
                (38, "/f", "fuse.sshfs", false)
            ]
        );
        let many = "1 1 0:1 / /a rw - tmpfs a rw\n".repeat(MOUNTS_MAX + 1);
        assert_eq!(parse_mountinfo(&many).len(), MOUNTS_MAX);
    }

    #[test]
    fn our_own_mounts_are_never_foreign() {
        let error = ForeignMounts::of(std::process::id()).unwrap_err();
        assert!(matches!(error, MountError::Ours(_)), "{error}");
        assert!(matches!(ForeignMounts::of(0).unwrap_err(), MountError::Io { .. }));
    }
}

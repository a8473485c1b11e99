//! Where a cgroup lies, and who is in it.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::EnforceError;
use crate::isolate::{ROOT_CGROUP_ID, is_cgroup2};

/// A cgroup that may be guarded.
pub(super) struct Place {
    /// Its id: the number of its folder's inode.
    pub(super) id: u64,
    /// Its depth below the root cgroup.
    pub(super) level: u32,
    /// Its folder.
    pub(super) folder: File,
}

/// A mount of the v2 hierarchy.
struct Mount {
    /// The cgroup that is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
}

impl Place {
    /// Looks at the folder of a cgroup, and refuses those that are no container's.
    pub(super) fn of(cgroup: &Path) -> Result<Self, EnforceError> {
        let open = |source| EnforceError::Open { path: cgroup.into(), source };
        let path = cgroup.canonicalize().map_err(open)?;
        let folder = File::open(&path).map_err(open)?;
        if !is_cgroup2(&folder) {
            return Err(EnforceError::NotCgroup2 { path: cgroup.into() });
        }
        let id = folder.metadata().map_err(open)?.ino();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(open)?;
        let mount = mount_of(&mounts, &path)
            .ok_or_else(|| EnforceError::NotCgroup2 { path: cgroup.into() })?;
        let below = path.strip_prefix(&mount.point).unwrap_or(Path::new(""));
        let level = depth(&mount.root) + depth(below);
        if id == ROOT_CGROUP_ID || level == 0 {
            return Err(EnforceError::RootCgroup { path: cgroup.into() });
        }
        for (process, whose) in [("self", "this process"), ("1", "the host's first process")] {
            if holds(&mount, id, process) {
                return Err(EnforceError::NotAContainer { path: cgroup.into(), whose });
            }
        }
        Ok(Self { id, level, folder })
    }
}

/// Whether a process is in the cgroup `id` or one below it.
fn holds(mount: &Mount, id: u64, process: &str) -> bool {
    let list = std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
    let Some(path) = list.lines().find_map(|line| line.strip_prefix("0::/")) else {
        return false;
    };
    // As the mount shows it; in a cgroup namespace, both are seen from its root.
    let path = Path::new("/").join(path);
    let below = path.strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let own = mount.point.join(below);
    own.ancestors()
        .take_while(|folder| folder.starts_with(&mount.point))
        .any(|folder| std::fs::metadata(folder).is_ok_and(|found| found.ino() == id))
}

fn depth(path: &Path) -> u32 {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count() as u32
}

/// The mount of the v2 hierarchy in which `path` lies, the last of several at one place.
fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    let parse = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (kind.split(' ').next() == Some("cgroup2"))
            .then(|| Mount { root: unescaped(root), point: unescaped(point) })
    };
    let mounts = mountinfo.lines().filter_map(parse).filter(|m| path.starts_with(&m.point));
    mounts.max_by_key(|mount| mount.point.as_os_str().len())
}

/// Blanks and the like stand as octal numbers (`mangle` of `fs/proc_namespace.c`).
fn unescaped(text: &str) -> PathBuf {
    let plain = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    plain.iter().fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
            30 29 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw\n\
            31 29 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            32 23 0:27 /a/b /mnt/some\\040where rw - cgroup2 none rw\n";
        let check = |path: &str, expected: Option<(&str, &str)>| {
            let found = mount_of(mounts, Path::new(path));
            let found =
                found.as_ref().map(|m| (m.root.to_str().unwrap(), m.point.to_str().unwrap()));
            assert_eq!(found, expected, "{path}");
        };
        check("/sys/fs/cgroup/unified/x", Some(("/", "/sys/fs/cgroup/unified")));
        check("/mnt/some where/c", Some(("/a/b", "/mnt/some where")));
        check("/sys/fs/cgroup/cpu/x", None);
        check("/sys/fs/cgroup/unifiedx", None);
        assert_eq!(depth(Path::new("/a/b")), 2);
        assert_eq!(depth(Path::new("/")), 0);
    }
}

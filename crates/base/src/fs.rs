//! Files written whole or not at all, and opened without leaving a folder.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// How often an opening is tried that the kernel asks to be tried again.
///
/// Renames on a busy host cost a try or two; who renames in an endless loop to keep a file
/// from being read gets an error, not an endless loop of ours.
pub const OPEN_TRIES_MAX: u32 = 1024;

/// Opens an existing `path` below `folder` by `openat2(2)` as `resolve` demands. Always
/// close-on-exec.
///
/// While a path with `..` in it is resolved inside a root, a rename or a mount anywhere on
/// the host makes the kernel give up with `EAGAIN`, for it can no longer tell whether the
/// path stayed inside (`handle_dots` in Linux's `fs/namei.c`). That says nothing about the
/// file, so it is tried again, at most [`OPEN_TRIES_MAX`] times.
///
/// # Errors
///
/// What the kernel says; `EAGAIN` only when every try met it.
pub fn open_resolved(
    folder: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::CLOEXEC;
    for _ in 1..OPEN_TRIES_MAX {
        match rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            other => return other,
        }
    }
    rustix::fs::openat2(&folder, path, flags, Mode::empty(), resolve)
}

/// Writes `bytes` to `path` so that a reader sees the old file or the new one, never a
/// part, even after a crash: temporary file in the same folder, `fsync`, `rename`,
/// `fsync` of the folder. The file's mode is `mode`.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Writes `bytes` to `path` through a file that has no name until it is whole (`O_TMPFILE`),
/// so that whoever is killed meanwhile leaves nothing behind: neither a part nor a temporary
/// file that nobody would remove.
///
/// The kernel gives such a file no name that is taken (`linkat(2)` has no flag to replace), so
/// an older file is removed first: for some microseconds there is none, and there stays none
/// if this process is killed just then. That suits files that are read after this process alone,
/// and whose absence fails closed. Not synchronised to disk.
///
/// Where the file system knows no such files (NFS, some FUSE) one of a fixed name is renamed,
/// `.NAME.palisade`, which the next writer takes away.
///
/// The file's mode is `mode`; it is given to `owner` (user and group) as far as this process may.
pub fn write_unnamed(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from_raw_mode(0o600)) {
        Ok(file) => {
            let file = std::fs::File::from(file);
            fill(&file, bytes, mode, owner)?;
            // By its descriptor alone (`AT_EMPTY_PATH`) older kernels let only root link.
            let own = format!("/proc/self/fd/{}", file.as_raw_fd());
            remove(path)?;
            let flags = rustix::fs::AtFlags::SYMLINK_FOLLOW;
            match rustix::fs::linkat(rustix::fs::CWD, own, rustix::fs::CWD, path, flags) {
                // No /proc.
                Err(Errno::NOENT) => write_named(folder, path, bytes, mode, owner),
                other => Ok(other?),
            }
        }
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
            write_named(folder, path, bytes, mode, owner)
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes a file of a fixed name and renames it.
fn write_named(
    folder: &Path,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".palisade");
    let hidden = folder.join(hidden);
    remove(&hidden)?;
    // Never through a link that somebody put there.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&hidden)?;
    let written = fill(&file, bytes, mode, owner).and_then(|()| std::fs::rename(&hidden, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&hidden);
    }
    written
}

fn fill(
    mut file: &std::fs::File,
    bytes: &[u8],
    mode: u32,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        // Only root can give a file away; who cannot owns it already.
        let _ = std::os::unix::fs::fchown(file, Some(uid), Some(gid));
    }
    // After the owner: a change of owner takes the set-user-id bit away.
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_name_replaces_what_has_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "kept").unwrap();
        // A link is replaced, never written through, under the fixed name, too.
        let check = |write: &dyn Fn(&[u8]) -> io::Result<()>| {
            for link in [&path, &folder.path().join(".config.json.palisade")] {
                let _ = std::fs::remove_file(link);
                std::os::unix::fs::symlink(&elsewhere, link).unwrap();
            }
            for text in ["one", "longer", "2"] {
                write(text.as_bytes()).unwrap();
                assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            }
            let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode, 0o100_640);
        };
        check(&|bytes| write_named(folder.path(), &path, bytes, 0o640, None));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        check(&|bytes| write_unnamed(&path, bytes, 0o640, None));
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "kept");
        assert!(write_unnamed(&folder.path().join("none/x"), b"", 0o600, None).is_err());
    }

    #[test]
    fn replaces_and_leaves_no_temporary() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        write_atomic(&path, b"one", 0o600).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// Without another try one of these opens fails at once.
    #[test]
    fn a_rename_elsewhere_does_not_fail_an_open() {
        use std::sync::atomic::{AtomicBool, Ordering};

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/passwd"), "image").unwrap();
        let root = std::fs::File::open(folder.path()).unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let names = [elsewhere.path().join("one"), elsewhere.path().join("two")];
        std::fs::create_dir(&names[0]).unwrap();

        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(&names[0], &names[1]).unwrap();
                    std::fs::rename(&names[1], &names[0]).unwrap();
                }
            });
            let path = Path::new("../../etc/../etc/passwd");
            let failed = (0..100_000).find_map(|_| {
                open_resolved(&root, path, OFlags::PATH, ResolveFlags::IN_ROOT).err()
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }
}

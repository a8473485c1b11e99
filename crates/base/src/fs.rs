//! Files written whole or not at all, and opened without leaving a folder.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
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

#[cfg(test)]
mod tests {
    use super::*;

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

//! Removes a folder with all below it, made by whomever.
//!
//! What a container or an image made may be deeper than a path can be, than a process may have
//! descriptors and than a stack would last (`std::fs::remove_dir_all` keeps one folder open for
//! each level and recurses). Here nothing recurses, a few folders are open at a time, and names
//! are remembered by the batch. No link is followed and no mount is entered.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::fs::open_resolved;

/// Names of folders that are remembered at once; beyond it one at a time.
const NAMES_MAX: usize = 1 << 16;

const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// One step, to a child or to the parent.
const STEP: ResolveFlags =
    ResolveFlags::NO_XDEV.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// A folder of which the content is being removed.
struct Level {
    /// Its name in the level above.
    name: CString,
    /// Device and inode, by which it is known again.
    identity: (u64, u64),
    /// Folders in it that are still to be removed.
    folders: Vec<CString>,
    /// Whether these were all.
    is_whole: bool,
}

/// Removes `path`, and everything in it when it is a folder. A link is removed, not followed.
///
/// # Errors
///
/// `NotFound` when there is nothing; `CrossesDevices` at a mount; `DirectoryNotEmpty` when
/// somebody goes on writing; what else the kernel says. What could be removed before is gone.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let mut at = match rustix::fs::open(path, FOLDER, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOTDIR | Errno::LOOP) => return std::fs::remove_file(path),
        Err(errno) => return Err(errno.into()),
    };
    let mut n_names = 0;
    let mut levels = vec![Level::enter(&at, CString::default(), &mut n_names)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.folders.pop() {
            n_names = n_names.saturating_sub(1);
            match open_resolved(&at, as_path(&name), FOLDER, STEP) {
                Ok(folder) => {
                    at = folder;
                    levels.push(Level::enter(&at, name, &mut n_names)?);
                }
                Err(Errno::NOENT) => {}
                // Exchanged for another kind of file meanwhile.
                Err(Errno::NOTDIR | Errno::LOOP) => unlink(&at, &name, AtFlags::empty())?,
                Err(errno) => return Err(errno.into()),
            }
        } else if !level.is_whole {
            level.clear(&at, &mut n_names)?;
        } else if let (Some(done), Some(above)) = (levels.pop(), levels.last()) {
            let parent = open_resolved(&at, Path::new(".."), FOLDER, STEP)?;
            if identity(&parent)? != above.identity {
                // Moved elsewhere meanwhile: what is there is not to be removed.
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            at = parent;
            unlink(&at, &done.name, AtFlags::REMOVEDIR)?;
        }
    }
    std::fs::remove_dir(path)
}

impl Level {
    fn enter(folder: &OwnedFd, name: CString, n_names: &mut usize) -> io::Result<Self> {
        let identity = identity(folder)?;
        let mut level = Self { name, identity, folders: Vec::new(), is_whole: false };
        level.clear(folder, n_names)?;
        Ok(level)
    }

    /// Removes what is no folder, and notes the folders.
    fn clear(&mut self, folder: &OwnedFd, n_names: &mut usize) -> io::Result<()> {
        // One at least, or a folder below as many names as may be remembered would stay.
        let batch = NAMES_MAX.saturating_sub(*n_names).max(1);
        self.is_whole = true;
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let mut is_folder = entry.file_type() == FileType::Directory;
            if !is_folder {
                // File systems need not say the type of an entry.
                is_folder = match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
                    Err(Errno::ISDIR) => true,
                    Ok(()) | Err(Errno::NOENT) => false,
                    Err(errno) => return Err(errno.into()),
                };
            }
            if is_folder {
                if self.folders.len() >= batch {
                    self.is_whole = false;
                    break;
                }
                self.folders.push(name.to_owned());
            }
        }
        *n_names += self.folders.len();
        Ok(())
    }
}

fn identity(folder: impl AsFd) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(folder)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn unlink(folder: impl AsFd, name: &CStr, flags: AtFlags) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn as_path(name: &CStr) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The argument that tells the test below that it is the process with few descriptors.
    const WITH_FEW: &str = "with-few=";
    const LEVELS: usize = 3000;

    fn make_deep(top: &Path) {
        std::fs::create_dir(top).unwrap();
        let mut at = rustix::fs::open(top, FOLDER, Mode::empty()).unwrap();
        for i in 0..LEVELS {
            for name in [c"d", c"e"] {
                rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            }
            if i % 100 == 0 {
                let flags = OFlags::CREATE | OFlags::WRONLY;
                drop(rustix::fs::openat(&at, c"f", flags, Mode::RUSR).unwrap());
            }
            at = rustix::fs::openat(&at, c"d", FOLDER, Mode::empty()).unwrap();
        }
    }

    /// With 256 descriptors and 3,000 levels, each with a second folder.
    #[test]
    fn neither_descriptors_nor_the_stack_bound_the_depth() {
        let argument = |arg: String| arg.strip_prefix(WITH_FEW).map(str::to_string);
        if let Some(folder) = std::env::args().find_map(argument) {
            let top = Path::new(&folder).join("top");
            remove_tree(&top).unwrap();
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        make_deep(&top);
        let name = "tree::tests::neither_descriptors_nor_the_stack_bound_the_depth";
        let status = std::process::Command::new("sh")
            .args(["-c", r#"ulimit -Sn 256 && exec "$0" "$@""#])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .arg(format!("{WITH_FEW}{}", folder.path().display()))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        let is_gone = !top.exists();
        // Or the temporary folder would have to be removed by what this is a test against.
        let _ = remove_tree(&top);
        assert!(status.success() && is_gone);
    }

    #[test]
    fn no_link_is_followed_and_everything_else_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (top, kept) = (folder.path().join("top"), folder.path().join("kept"));
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        for link in ["link", "a/b/link"] {
            std::os::unix::fs::symlink(&kept, top.join(link)).unwrap();
        }
        std::fs::write(top.join("a/file"), "x").unwrap();
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, top.join("a/fifo"), FileType::Fifo, mode, 0).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists() && kept.join("file").exists());
        // The same for what is asked for itself.
        std::os::unix::fs::symlink(&kept, &top).unwrap();
        remove_tree(&top).unwrap();
        assert!(top.symlink_metadata().is_err() && kept.join("file").exists());
        std::fs::write(&top, "x").unwrap();
        remove_tree(&top).unwrap();
        assert_eq!(remove_tree(&top).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn more_folders_than_are_remembered_are_removed_in_turns() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("top");
        for i in 0..200 {
            std::fs::create_dir_all(top.join(format!("{i}/x"))).unwrap();
        }
        let at = rustix::fs::open(&top, FOLDER, Mode::empty()).unwrap();
        // As below a level that has used up nearly all.
        let mut n_names = NAMES_MAX - 50;
        let level = Level::enter(&at, CString::default(), &mut n_names).unwrap();
        assert_eq!((level.folders.len(), level.is_whole, n_names), (50, false, NAMES_MAX));
        let level = Level::enter(&at, CString::default(), &mut n_names).unwrap();
        assert_eq!((level.folders.len(), level.is_whole), (1, false));
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }
}

//! A folder that nothing read through it can leave.
//!
//! Image contents are hostile: `etc/passwd -> ../../../../etc/passwd` must name the
//! image's file, and `/proc/self/root` must name nothing. The kernel resolves every
//! path with `openat2(2)` and `RESOLVE_IN_ROOT`, so there is no race between a check
//! and its use.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// A folder used as the root of every path resolved through it.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens `path`, which must be a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let folder = rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self { folder, path: path.to_path_buf() })
    }

    /// The folder as the caller named it, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the folder can be reached as long as this value lives, whatever has its name by then.
    pub fn handle(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.folder.as_raw_fd()).into()
    }

    /// Which folder it is: device and inode. Nobody else has both while it is open.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.folder)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Opens the regular file at `path`, read only; links are followed inside the root.
    ///
    /// Fails with `InvalidInput` on anything but a regular file, without having opened
    /// it for reading: opening a FIFO or a device of a hostile tree could block or act.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let handle = self.open_at(path, OFlags::PATH)?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode);
        if kind != rustix::fs::FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{}` is not a regular file", path.display()),
            ));
        }
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        // The two opens may have met different files; the second must be regular as well.
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
        if kind != rustix::fs::FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "file changed while opening"));
        }
        Ok(file.into())
    }

    /// Opens the folder at `path` for listing; links are followed inside the root.
    pub fn open_folder(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// What lies at `path`, without opening it; links are followed inside the root.
    pub fn kind(&self, path: &Path) -> io::Result<rustix::fs::FileType> {
        let handle = self.open_at(path, OFlags::PATH)?;
        Ok(rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode))
    }

    /// Reads a whole file of at most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        crate::read_bounded(self.open_file(path)?, "file", limit)
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        // RESOLVE_IN_ROOT reads an absolute path from the root; an empty one is the root.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(crate::fs::open_resolved(&self.folder, path, flags, resolve)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), "host").unwrap();
        let etc = folder.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("passwd"), "image").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../etc/passwd", folder.path().join("up")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("escape")).unwrap();

        let root = Root::open(folder.path()).unwrap();
        assert_eq!(root.read(Path::new("/absolute"), 64).unwrap(), b"image");
        assert_eq!(root.read(Path::new("up"), 64).unwrap(), b"image");
        assert_eq!(root.read(Path::new("../../etc/passwd"), 64).unwrap(), b"image");
        let error = root.read(Path::new("escape"), 64).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn an_open_folder_stays_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        std::fs::write(one.join("a"), "first").unwrap();
        let root = Root::open(&one).unwrap();
        std::fs::rename(&one, &two).unwrap();
        std::fs::create_dir(&one).unwrap();
        assert_eq!(std::fs::read(root.handle().join("a")).unwrap(), b"first");
        let identity = |path: &Path| Root::open(path).unwrap().identity().unwrap();
        assert_eq!(root.identity().unwrap(), identity(&two));
        assert_ne!(root.identity().unwrap(), identity(&one));
    }

    #[test]
    fn folders_and_pipes_are_not_files() {
        let folder = tempfile::tempdir().unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("pipe"), Mode::RWXU).unwrap();
        let root = Root::open(folder.path()).unwrap();
        for path in ["", "pipe"] {
            let error = root.open_file(Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
        assert!(root.kind(Path::new("pipe")).unwrap().is_fifo());
        assert!(root.kind(Path::new("../..")).unwrap().is_dir());
        assert_eq!(root.kind(Path::new("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

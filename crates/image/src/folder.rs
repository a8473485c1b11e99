//! Walks a folder, or the machine itself, as if it were an image.
//!
//! Every step is relative to an open folder and follows no link, so that a tree that changes
//! meanwhile, or was made to mislead, cannot lead outside. Pseudo file systems are passed
//! over and counted; network file systems and what cannot be read are gaps.

use std::error::Error;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use palisade_base::Root;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use crate::entry::{FileEntry, FileKind, HostileKind, Visit, Walked, is_usual_device};
use crate::error::{ReadImageError, TarError};
use crate::links::Links;
use crate::walk::Visitor;
use crate::{Limits, squash, xattr};

/// File systems without files of their own (`include/uapi/linux/magic.h`).
const PSEUDO: &[u32] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0x7472_6163, // tracefs
    0x6462_6720, // debugfs
    0x7363_6673, // securityfs
    0xcafe_4a11, // bpf
    0x6165_676c, // pstore
    0x6265_6570, // configfs
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0xf97c_ff8c, // selinuxfs
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0x6573_5543, // fusectl
    0x6759_6969, // rpc_pipefs
    0x6e73_6673, // nsfs
];
/// File systems of other machines.
const NETWORK: &[u32] = &[
    0x6969,      // nfs
    0x517b,      // smb
    0xff53_4d42, // cifs
    0xfe53_4d42, // smb2
    0x0102_1997, // 9p
    0x6573_5546, // fuse
    0x00c3_6400, // ceph
];
const TMPFS: u32 = 0x0102_1994;

/// One folder on the way down.
struct Level {
    folder: OwnedFd,
    device: u64,
    path: String,
    /// Names still to visit, last first.
    names: Vec<CString>,
}

/// A file that is opened when it is first read.
struct LazyFile<'f> {
    folder: BorrowedFd<'f>,
    name: &'f CStr,
    file: Option<File>,
    /// Bytes to deliver: the size when it was looked at, so that a log that grows ends.
    left: u64,
    error: Option<io::Error>,
}

impl LazyFile<'_> {
    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            let flags = OFlags::RDONLY
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY
                | OFlags::CLOEXEC;
            let file = rustix::fs::openat(self.folder, self.name, flags, Mode::empty())?;
            // It may have been replaced since it was looked at.
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
            if kind != FileType::RegularFile {
                return Err(io::Error::other("file was replaced while it was read"));
            }
            self.file = Some(file.into());
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.open()?.read(&mut buffer[..wanted])?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Read for LazyFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_some(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error);
            }
            kind.into()
        })
    }
}

struct FolderWalk<'w, 'v> {
    limits: &'w Limits,
    walked: &'w mut Walked,
    visitor: &'w mut Visitor<'v>,
    is_host: bool,
    symlinks: Links,
    stack: Vec<Level>,
}

/// Presents the files below `root` in the order of their paths.
pub(crate) fn walk(
    root: &Root,
    is_host: bool,
    limits: &Limits,
    visitor: &mut Visitor<'_>,
    walked: &mut Walked,
) -> Result<(), ReadImageError> {
    let fail = |source| ReadImageError::Folder { path: root.path().to_path_buf(), source };
    let folder = root.open_folder("".as_ref()).map_err(fail)?;
    let device = rustix::fs::fstat(&folder).map_err(|error| fail(error.into()))?.st_dev;
    let (symlinks, stack) = (Links::default(), Vec::new());
    let mut walk = FolderWalk { limits, walked, visitor, is_host, symlinks, stack };
    walk.enter(folder, device, String::new()).map_err(fail)?;
    walk.run().map_err(fail)?;
    let symlinks = walk.symlinks;
    walked.circles(&symlinks, limits);
    Ok(())
}

impl FolderWalk<'_, '_> {
    fn gap(&mut self, path: &str, reason: impl Into<String>) {
        self.walked.gap(self.limits.records_max, path, reason);
    }

    /// An entry that cannot be examined because of what it is.
    fn refuse(&mut self, path: &str, kind: HostileKind) {
        self.walked.hostile(self.limits.records_max, path, kind, None);
        self.gap(path, kind.describe());
    }

    /// Lists a folder and puts it on the stack.
    fn enter(&mut self, folder: OwnedFd, device: u64, path: String) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
            if names.len() as u64 + self.walked.n_entries > self.limits.entries_max {
                return Err(TarError::TooManyEntries { limit: self.limits.entries_max }.into());
            }
        }
        names.sort_by(|a, b| b.cmp(a));
        self.stack.push(Level { folder, device, path, names });
        Ok(())
    }

    fn run(&mut self) -> io::Result<()> {
        while let Some(mut level) = self.stack.pop() {
            let Some(name) = level.names.pop() else {
                continue;
            };
            let text = name.to_string_lossy();
            let path = match level.path.as_str() {
                "" => text.into_owned(),
                folder => format!("{folder}/{text}"),
            };
            let below = self.one(&level, &name, path)?;
            self.stack.push(level);
            if self.walked.stopped {
                return Ok(());
            }
            if let Some((folder, device, path)) = below
                && let Err(error) = self.enter(folder, device, path.clone())
            {
                // The bound on entries ends the walk; a folder that cannot be listed does not.
                if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<TarError>) {
                    return Err(error);
                }
                self.gap(&path, format!("cannot be listed: {error}"));
            }
        }
        Ok(())
    }

    /// Presents one entry; returns the folder to descend into.
    fn one(
        &mut self,
        level: &Level,
        name: &CStr,
        path: String,
    ) -> io::Result<Option<(OwnedFd, u64, String)>> {
        let folder = level.folder.as_fd();
        let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Gone since the folder was listed: nothing is there to examine.
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => {
                self.gap(&path, format!("cannot be examined: {error}"));
                return Ok(None);
            }
        };
        self.walked.n_entries += 1;
        if self.walked.n_entries > self.limits.entries_max {
            return Err(TarError::TooManyEntries { limit: self.limits.entries_max }.into());
        }
        let Some(entry) = self.entry(folder, name, path, &stat) else {
            return Ok(None);
        };
        let mut content = LazyFile { folder, name, file: None, left: entry.size, error: None };
        let visit = (self.visitor)(&entry, &mut content);
        if let Some(error) = content.error {
            self.gap(&entry.path, format!("cannot be read: {error}"));
        }
        self.walked.stopped |= visit == Visit::Stop;
        if entry.kind != FileKind::Folder {
            return Ok(None);
        }
        Ok(self.descend(level, name, entry.path, stat.st_dev))
    }

    fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        path: String,
        stat: &Stat,
    ) -> Option<FileEntry> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => FileKind::Regular,
            FileType::Directory => FileKind::Folder,
            FileType::Symlink => FileKind::Symlink,
            FileType::CharacterDevice => FileKind::CharDevice,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::Unknown => {
                self.gap(&path, "file of an unknown kind");
                return None;
            }
        };
        let mut link = None;
        if kind == FileKind::Symlink {
            match rustix::fs::readlinkat(folder, name, Vec::new()) {
                Ok(target) => {
                    if !self.is_host
                        && squash::climbs_above_root(path.as_bytes(), target.to_bytes())
                    {
                        self.refuse(&path, HostileKind::LinkAboveRoot);
                    }
                    if !self.is_host {
                        self.symlinks.add(path.as_bytes(), target.to_bytes(), None);
                    }
                    link = Some(target.to_string_lossy().into_owned());
                }
                Err(error) => self.gap(&path, format!("link cannot be read: {error}")),
            }
        }
        if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) && !self.is_host {
            let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
            // By 0:0 an overlay file system says that a name of a lower layer is hidden.
            let is_whiteout = kind == FileKind::CharDevice && (major, minor) == (0, 0);
            let numbers = (major.into(), minor.into());
            if !is_whiteout && !is_usual_device(path.as_bytes(), kind, numbers) {
                self.refuse(&path, HostileKind::Device);
            }
        }
        let is_file = kind == FileKind::Regular;
        let size = if is_file { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        if is_file {
            self.walked.n_files += 1;
            self.walked.n_bytes += size;
        }
        let mut xattrs = Vec::new();
        // Only executables can have file capabilities that matter.
        if is_file && stat.st_mode & 0o111 != 0 {
            match capability(folder, name) {
                Ok(Some(value)) => xattrs.push((xattr::CAPABILITY.to_string(), value)),
                Ok(None) => {}
                Err(error) => self.gap(&path, format!("capabilities cannot be read: {error}")),
            }
        }
        Some(FileEntry {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size,
            mtime: stat.st_mtime,
            link,
            xattrs,
            layer: None,
        })
    }

    fn descend(
        &mut self,
        level: &Level,
        name: &CStr,
        path: String,
        device: u64,
    ) -> Option<(OwnedFd, u64, String)> {
        // Each level holds a file descriptor.
        if self.stack.len() >= self.limits.path_depth_max {
            self.gap(&path, "folder deeper than the limit");
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(&level.folder, name, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(error) => {
                self.gap(&path, format!("cannot be listed: {error}"));
                return None;
            }
        };
        if device != level.device {
            match rustix::fs::fstatfs(&folder).map(|statfs| statfs.f_type as u32) {
                Ok(kind) if PSEUDO.contains(&kind) || (kind == TMPFS && path == "dev") => {
                    self.walked.n_pseudo += 1;
                    return None;
                }
                Ok(kind) if NETWORK.contains(&kind) => {
                    self.gap(&path, "file system of another machine");
                    return None;
                }
                Ok(_) => {}
                Err(error) => {
                    self.gap(&path, format!("file system cannot be told: {error}"));
                    return None;
                }
            }
        }
        Some((folder, device, path))
    }
}

fn capability(folder: BorrowedFd<'_>, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => xattr::get(file, xattr::CAPABILITY, 1024),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

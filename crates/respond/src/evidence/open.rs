//! Opening what a process holds, without acting on it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, open};

/// A regular file behind a link of `/proc/PID` (`exe`, `fd/3`, `map_files/…`).
#[derive(Debug)]
pub(super) struct Held {
    pub(super) file: File,
    pub(super) stat: Stat,
}

impl Held {
    /// Whether no name leads to it any more: deleted, or never had one (memfd).
    pub(super) fn is_nameless(&self) -> bool {
        self.stat.st_nlink == 0
    }

    /// Identifies the file while it is held.
    pub(super) fn key(&self) -> (u64, u64) {
        (self.stat.st_dev, self.stat.st_ino)
    }
}

/// Opens the file behind `link` when it is a regular one.
///
/// The link is a kernel object, not a path: it names the very file that the process holds
/// and cannot be bent by the container. It is looked at first by `O_PATH`, which neither
/// opens nor acts: a device or a pipe is never opened.
pub(super) fn regular(link: &Path) -> io::Result<Option<Held>> {
    let handle = open(link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&handle)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    // Re-opened through our own descriptor, so that it is the file just examined.
    let own = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // Reading must not change access times; some file systems refuse to promise that.
    let file = open(own.as_str(), flags | OFlags::NOATIME, Mode::empty())
        .or_else(|_| open(own.as_str(), flags, Mode::empty()))?;
    Ok(Some(Held { file: file.into(), stat }))
}

//! Asking before a program is executed: `FAN_OPEN_EXEC_PERM` of fanotify(7).
//!
//! The kernel holds each task that executes a file on a marked mount until it is answered,
//! and lets everything pass once the descriptor is closed; so a process that dies stops
//! nobody. What can be marked is a [`ForeignMount`], which exists only for mounts of another
//! mount namespace whose root is not ours: the file systems of the host, as the host sees
//! them, cannot be asked about.
//!
//! Whoever answers must not wait for anything that could itself wait for an answer, nor open
//! files on marked mounts. Reading the file of a [`Request`] is safe: the kernel opens it so
//! that it raises no further event.

#![expect(unsafe_code, reason = "fanotify has no safe interface")]

mod mounts;
mod origin;

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use mounts::{ForeignMount, ForeignMounts, MOUNTS_MAX, MountError, MountNamespace};
pub use origin::{LAYERS_MAX, Layers, Origin};

/// Requests that are read at once. Each holds a descriptor until it is answered, and a
/// process without free descriptors would have its requests refused by the kernel.
pub const REQUESTS_MAX: usize = 16;

/// Bytes of one event without further records.
const EVENT_BYTES: usize = size_of::<libc::fanotify_event_metadata>();

/// A gate before programs.
#[derive(Debug)]
pub struct ExecGate {
    /// Behind a lock of nobody: its number never changes, only what it stands for, once.
    group: OwnedFd,
    /// What the number stands for after [`Self::abandon`].
    nothing: OwnedFd,
    is_open: AtomicBool,
}

impl ExecGate {
    /// A gate without marks. Needs `CAP_SYS_ADMIN`.
    pub fn open() -> io::Result<Arc<Self>> {
        let flags = libc::FAN_CLASS_CONTENT
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            // A full queue lets programs pass unasked; each entry is a task that waits.
            | libc::FAN_UNLIMITED_QUEUE
            | libc::FAN_UNLIMITED_MARKS;
        let event_flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_LARGEFILE;
        // SAFETY: the call takes two numbers and touches no memory of ours.
        let fd = unsafe { libc::fanotify_init(flags, event_flags.cast_unsigned()) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made the descriptor, and nobody else knows it.
        let group = unsafe { OwnedFd::from_raw_fd(fd) };
        let nothing = File::open("/dev/null")?.into();
        Ok(Arc::new(Self { group, nothing, is_open: AtomicBool::new(true) }))
    }

    /// Has every execution of a file on `mount` wait for an answer.
    pub fn mark(&self, mount: &ForeignMount) -> io::Result<()> {
        if !self.is_open() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // The kernel takes no path descriptor here, but follows its link in /proc.
        let path = std::ffi::CString::new(format!("/proc/self/fd/{}", mount.fd().as_raw_fd()))?;
        // SAFETY: the path is a NUL-terminated string that outlives the call.
        let result = unsafe {
            libc::fanotify_mark(
                self.group.as_raw_fd(),
                libc::FAN_MARK_ADD | libc::FAN_MARK_MOUNT,
                libc::FAN_OPEN_EXEC_PERM,
                libc::AT_FDCWD,
                path.as_ptr(),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for requests, `timeout` at most; false when none came.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.group, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(n) => Ok(n > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the requests that wait, at most [`REQUESTS_MAX`]; none waits for it.
    ///
    /// Each is answered in any case: what is dropped is allowed.
    pub fn take(self: &Arc<Self>, requests: &mut Vec<Request>) -> io::Result<()> {
        let mut buffer = [0_u8; EVENT_BYTES * REQUESTS_MAX];
        let n = match rustix::io::read(&self.group, &mut buffer) {
            Ok(n) => n,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        while let Some(event) = Event::decode(rest) {
            rest = rest.get(event.length..).unwrap_or_default();
            if event.version != libc::FANOTIFY_METADATA_VERSION {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "the kernel speaks another version of fanotify",
                ));
            }
            if event.fd < 0 {
                continue;
            }
            // SAFETY: the kernel has made this descriptor for us with this very read.
            let file = unsafe { OwnedFd::from_raw_fd(event.fd) };
            let file = File::from(file);
            if event.mask & libc::FAN_OPEN_EXEC_PERM != 0 {
                let pid = u32::try_from(event.pid).unwrap_or(0);
                requests.push(Request { gate: Arc::clone(self), file, pid, is_answered: false });
            }
        }
        Ok(())
    }

    /// Whether requests still come.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Lets everything that waits pass, and everything later: removes the marks by putting
    /// another file in the descriptor's place. Other threads may be using the descriptor;
    /// they find nothing more to read.
    pub fn abandon(&self) -> io::Result<()> {
        // SAFETY: both numbers belong to descriptors that this value owns. The second keeps
        // its owner and is closed once, by that owner, whatever it stands for.
        let result = unsafe {
            libc::dup3(self.nothing.as_raw_fd(), self.group.as_raw_fd(), libc::O_CLOEXEC)
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        self.is_open.store(false, Ordering::Release);
        Ok(())
    }

    fn answer(&self, file: &File, allow: bool) -> io::Result<()> {
        let response = if allow { libc::FAN_ALLOW } else { libc::FAN_DENY };
        let mut bytes = [0_u8; 8];
        bytes[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
        bytes[4..].copy_from_slice(&response.to_ne_bytes());
        match rustix::io::write(&self.group, &bytes) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The parts of a `struct fanotify_event_metadata` that are used.
struct Event {
    length: usize,
    version: u8,
    mask: u64,
    fd: i32,
    pid: i32,
}

impl Event {
    /// Reads the event at the beginning of `bytes`, field by field (include/uapi/linux/
    /// fanotify.h): `event_len` u32, `vers` u8, `reserved` u8, `metadata_len` u16, `mask`
    /// u64, `fd` i32, `pid` i32. `None` at the end, or when it does not fit.
    fn decode(bytes: &[u8]) -> Option<Self> {
        fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
            bytes.get(at..at + N)?.try_into().ok()
        }
        let length = usize::try_from(u32::from_ne_bytes(field(bytes, 0)?)).ok()?;
        if length < EVENT_BYTES || length > bytes.len() {
            return None;
        }
        Some(Self {
            length,
            version: *bytes.get(4)?,
            mask: u64::from_ne_bytes(field(bytes, 8)?),
            fd: i32::from_ne_bytes(field(bytes, 16)?),
            pid: i32::from_ne_bytes(field(bytes, 20)?),
        })
    }
}

/// What tells one content of a file from another: a file that is written has another time of change
/// (`st_ctime`), which no process can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentKey {
    /// File system.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Size in bytes.
    pub n_bytes: u64,
    /// Time of change, seconds and nanoseconds.
    pub changed: (i64, i64),
}

/// A task that waits to execute a file. Dropping it lets the task pass.
#[derive(Debug)]
pub struct Request {
    gate: Arc<ExecGate>,
    file: File,
    pid: u32,
    is_answered: bool,
}

impl Request {
    /// The process, by its number in the namespace of the caller of [`ExecGate::open`].
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Path of the file in the mount namespace of its mount, without the mark of one that
    /// is deleted.
    pub fn path(&self) -> io::Result<PathBuf> {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        let path = std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
        let bytes = path.as_os_str().as_bytes();
        match bytes.strip_suffix(b" (deleted)") {
            Some(rest) => Ok(std::ffi::OsString::from_vec(rest.to_vec()).into()),
            None => Ok(path),
        }
    }

    /// Number of the mount on which the file is, as in `mountinfo`.
    pub fn mount_id(&self) -> io::Result<u64> {
        mounts::mount_id(&self.file)
    }

    /// Reads the beginning of the file; returns how much there was.
    pub fn read_start(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, 0)
    }

    /// Reads the file from `offset` on; returns how much there was.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    /// By what its content is remembered.
    pub fn content_key(&self) -> io::Result<ContentKey> {
        use std::os::unix::fs::MetadataExt as _;
        let found = self.file.metadata()?;
        Ok(ContentKey {
            device: found.dev(),
            inode: found.ino(),
            n_bytes: found.len(),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether the file is the one that `path` names in the root of the process.
    pub fn is_named(&self, path: &Path) -> io::Result<bool> {
        mounts::is_named(&self.file, self.pid, path)
    }

    /// Lets the task pass.
    pub fn allow(mut self) -> io::Result<()> {
        self.is_answered = true;
        self.gate.answer(&self.file, true)
    }

    /// Has the task's call fail with `EPERM`.
    pub fn deny(mut self) -> io::Result<()> {
        self.gate.answer(&self.file, false)?;
        // What could not be refused is let pass, so that nobody waits for ever.
        self.is_answered = true;
        Ok(())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if !self.is_answered {
            // Without the gate nobody waits any more.
            let _ = self.gate.answer(&self.file, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(length: u32, fd: i32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend([libc::FANOTIFY_METADATA_VERSION, 0]);
        bytes.extend(24_u16.to_ne_bytes());
        bytes.extend(libc::FAN_OPEN_EXEC_PERM.to_ne_bytes());
        bytes.extend(fd.to_ne_bytes());
        bytes.extend(7_i32.to_ne_bytes());
        bytes
    }

    #[test]
    fn events_that_lie_about_their_length_are_none() {
        assert_eq!(EVENT_BYTES, 24);
        let right = event(24, 5);
        let read = Event::decode(&right).unwrap();
        assert_eq!((read.length, read.fd, read.pid), (24, 5, 7));
        assert_eq!(read.mask, libc::FAN_OPEN_EXEC_PERM);
        for length in [0, 23, 25, u32::MAX] {
            assert!(Event::decode(&event(length, 5)).is_none(), "{length}");
        }
        for n in 0..24 {
            assert!(Event::decode(&right[..n]).is_none(), "{n}");
        }
    }
}

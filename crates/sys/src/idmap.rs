//! Id-mapped mounts: a folder whose files appear owned by other ids.
//!
//! A container with its own range of ids needs its image's files to belong to that
//! range. Mounting each layer with an id mapping gives that without a copy: one layer
//! on disk, owned by the image's ids, serves every container. Kernel:
//! `Documentation/filesystems/idmappings.rst`; overlay takes such lower layers since 5.19.

#![expect(unsafe_code, reason = "mount_setattr and clone have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::mount::MountError;

/// `MOUNT_ATTR_IDMAP` of `linux/mount.h`.
const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// `struct mount_attr` of `linux/mount.h`, version 0.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A user namespace that maps ids `0..count` to `first..first + count`, for id-mapped mounts.
#[derive(Debug)]
pub struct IdMapping {
    namespace: File,
}

impl IdMapping {
    /// Makes the namespace. Needs `CAP_SETUID` and `CAP_SETGID` in the parent's.
    pub fn new(first: u32, count: u32) -> io::Result<Self> {
        let child = NamespaceHolder::spawn()?;
        let text = format!("0 {first} {count}\n");
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", child.pid), &text)?;
        }
        let namespace = File::open(format!("/proc/{}/ns/user", child.pid))?;
        Ok(Self { namespace })
    }

    /// Shows `source` (one mount, without those below it) at `target` with the mapping.
    pub fn bind(&self, source: &Path, target: &Path) -> Result<(), MountError> {
        let failed = |action, path: &Path, source: io::Error| MountError::Io {
            action,
            path: path.to_path_buf(),
            source,
        };
        let tree = rustix::mount::open_tree(
            rustix::fs::CWD,
            source,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .map_err(|errno| failed("clone the mount of", source, errno.into()))?;
        set_idmap(tree.as_fd(), &self.namespace)
            .map_err(|e| failed("map the ids of", source, e))?;
        rustix::mount::move_mount(
            tree.as_fd(),
            "",
            rustix::fs::CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|errno| failed("mount on", target, errno.into()))
    }
}

/// Whether the file system that holds `folder` takes an id mapping here.
pub fn probe(folder: &Path) -> io::Result<bool> {
    let mapping = IdMapping::new(1_000_000, 65_536)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, folder, flags)?;
    match set_idmap(tree.as_fd(), &mapping.namespace) {
        Ok(()) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(false),
            _ => Err(error),
        },
    }
}

fn set_idmap(tree: std::os::fd::BorrowedFd<'_>, namespace: &File) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX),
    };
    // SAFETY: `tree` and `namespace` are open for the whole call, the path is a valid
    // empty C string, and `attr` is a live `struct mount_attr` of the size stated; the
    // kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A child that sits in a new user namespace until it is dropped.
#[derive(Debug)]
pub(crate) struct NamespaceHolder {
    pid: i32,
    /// The child ends when this end of its pipe closes, even if we die first.
    _release: OwnedFd,
}

impl NamespaceHolder {
    /// The process in the namespace.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(crate) fn spawn() -> io::Result<Self> {
        let (wait, release) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (wait_raw, release_raw) = (wait.as_raw_fd(), release.as_raw_fd());
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: without CLONE_VM this is a fork. The child runs only async-signal-safe
        // system calls on plain integers (close, read, _exit), allocates nothing, takes no
        // lock and never returns, so it does not matter which locks other threads held.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: see above; `byte` lives on the child's own copy of the stack.
            unsafe {
                libc::close(release_raw);
                let mut byte = 0_u8;
                while libc::read(wait_raw, (&raw mut byte).cast(), 1) < 0
                    && *libc::__errno_location() == libc::EINTR
                {}
                libc::_exit(0);
            }
        }
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        Ok(Self { pid, _release: release })
    }
}

impl Drop for NamespaceHolder {
    fn drop(&mut self) {
        // Another thread may fork between our pipe and its exec and so keep a copy of the
        // release end for a moment; a signal does not depend on that.
        // The child is ours and not yet waited for, so the number is still its own.
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
}

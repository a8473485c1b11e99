//! Namespaces: work in a mount namespace of one's own or in a network namespace that is there,
//! and facts about user namespaces.

#![expect(unsafe_code, reason = "unshare is unsafe as a whole, not for the flag used here")]

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Runs `work` on a new thread in a mount namespace of its own and returns its result.
///
/// Whatever `work` mounts is invisible outside and goes away with the thread and the
/// processes that it started there, however they end: nothing can be left mounted. The
/// thread also has its own working folder, so `work` may change it.
pub fn in_private_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("palisade-mounts".into()).spawn_scoped(
            scope,
            || -> io::Result<T> {
                // SAFETY: NEWNS (which implies FS) changes how paths resolve on this thread
                // alone; descriptors and memory stay shared, so no invariant of another
                // thread is touched.
                unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
                crate::mount::make_private(Path::new("/")).map_err(io::Error::other)?;
                Ok(work())
            },
        )?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A network namespace, held open: it stays what it was when its processes are gone.
#[derive(Debug)]
pub struct NetworkNamespace(File);

impl NetworkNamespace {
    /// The namespace in which process `pid` is.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/net")).map(Self)
    }

    /// Whether it is the one of the calling thread.
    pub fn is_own(&self) -> io::Result<bool> {
        let (own, this) = (std::fs::metadata("/proc/thread-self/ns/net")?, self.0.metadata()?);
        Ok((own.dev(), own.ino()) == (this.dev(), this.ino()))
    }

    /// Does `work` on a thread of its own within the namespace. A socket that it makes belongs
    /// there, and may be used by every thread.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("palisade-network".into()).spawn_scoped(
                scope,
                || -> io::Result<T> {
                    let kind = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(self.0.as_fd(), kind)?;
                    Ok(work())
                },
            )?;
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// What this kernel says about user namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserNamespaceFacts {
    /// Whether the kernel has them at all.
    pub supported: bool,
    /// `user.max_user_namespaces`; zero forbids new ones.
    pub n_max: Option<u64>,
    /// Debian's `kernel.unprivileged_userns_clone`, where it exists.
    pub unprivileged: Option<bool>,
    /// Whether AppArmor restricts unprivileged ones (Ubuntu 23.10 and later).
    pub apparmor_restricted: Option<bool>,
}

/// Reads [`UserNamespaceFacts`] from `/proc`.
pub fn user_namespace_facts() -> UserNamespaceFacts {
    let number =
        |path: &str| -> Option<u64> { std::fs::read_to_string(path).ok()?.trim().parse().ok() };
    let flag = |path: &str| number(path).map(|value| value != 0);
    UserNamespaceFacts {
        supported: Path::new("/proc/self/ns/user").exists(),
        n_max: number("/proc/sys/user/max_user_namespaces"),
        unprivileged: flag("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricted: flag("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn ones_own_network_is_known_as_such() {
        let own = NetworkNamespace::of_process(std::process::id()).unwrap();
        assert!(own.is_own().unwrap());
        assert!(NetworkNamespace::of_process(0).is_err());
        if crate::facts::is_privileged() {
            let port =
                own.enter(|| TcpListener::bind("127.0.0.1:0").unwrap().local_addr()).unwrap();
            assert!(port.unwrap().port() > 0);
        }
    }
}

//! User namespaces of an ordinary user: making one, and going into it.
//!
//! Whoever made a user namespace has every capability in it and in those below it, and none
//! outside (`user_namespaces(7)`). The process goes into the namespace whole, before it has a
//! second thread; there is no way back.

#![expect(unsafe_code, reason = "ioctl_ns(2) has no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::idmap::NamespaceHolder;

/// `NS_GET_PARENT` of `linux/nsfs.h`.
const NS_GET_PARENT: libc::c_ulong = 0xb702;

/// A new user namespace whose ids are not mapped yet. It goes with this value unless a process
/// has gone into it.
#[derive(Debug)]
pub struct NewUserNamespace(NamespaceHolder);

impl NewUserNamespace {
    /// Makes one, below the caller's.
    ///
    /// # Errors
    ///
    /// The kernel has none, allows the user none (`EPERM`), or no more of them (`ENOSPC`).
    pub fn make() -> io::Result<Self> {
        NamespaceHolder::spawn().map(Self)
    }

    /// A process in it, for `newuidmap` and `newgidmap`.
    pub fn pid(&self) -> i32 {
        self.0.pid()
    }

    /// Maps the caller's own ids, and no others, to root's: what needs nobody's leave. Groups of
    /// processes can then not be changed (`setgroups(2)`).
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn map_caller(&self) -> io::Result<()> {
        let (uid, gid) = crate::facts::user();
        let write =
            |file: &str, text: String| std::fs::write(format!("/proc/{}/{file}", self.pid()), text);
        write("uid_map", format!("0 {uid} 1\n"))?;
        write("setgroups", "deny".into())?;
        write("gid_map", format!("0 {gid} 1\n"))
    }

    /// Goes into it.
    ///
    /// # Errors
    ///
    /// See [`UserNamespace::enter`].
    pub fn enter(&self) -> io::Result<()> {
        UserNamespace::of_process(u32::try_from(self.pid()).unwrap_or(0))?.enter()
    }
}

/// A user namespace, held open.
#[derive(Debug)]
pub struct UserNamespace(File);

impl UserNamespace {
    /// The one in which process `pid` is.
    ///
    /// # Errors
    ///
    /// There is no such process, or it may not be looked at.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/ns/user")).map(Self)
    }

    /// The one above.
    ///
    /// # Errors
    ///
    /// There is none that the caller may see (`EPERM`).
    pub fn parent(&self) -> io::Result<Self> {
        // SAFETY: the descriptor is open for the whole call, and this request takes no argument.
        let fd = unsafe { libc::ioctl(self.0.as_raw_fd(), NS_GET_PARENT) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(File::from(fd)))
    }

    /// Whether both are the same.
    ///
    /// # Errors
    ///
    /// One cannot be examined.
    pub fn is(&self, other: &Self) -> io::Result<bool> {
        use std::os::unix::fs::MetadataExt as _;
        let (one, two) = (self.0.metadata()?, other.0.metadata()?);
        Ok((one.dev(), one.ino()) == (two.dev(), two.ino()))
    }

    /// Takes the whole process into it, with every capability there and its own ids.
    ///
    /// # Errors
    ///
    /// The process has a second thread (`EINVAL`), is in it already (`EINVAL`), or did not make it
    /// (`EPERM`).
    pub fn enter(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::User))?)
    }
}

/// How many ids of the calling process's namespace are mapped, from 0 on without a gap; users' and
/// groups' alike.
///
/// # Errors
///
/// The kernel does not say.
pub fn n_mapped() -> io::Result<u32> {
    let count = |path: &str| -> io::Result<u32> { Ok(contiguous(&std::fs::read_to_string(path)?)) };
    Ok(count("/proc/self/uid_map")?.min(count("/proc/self/gid_map")?))
}

fn contiguous(map: &str) -> u32 {
    let mut ranges: Vec<(u32, u32)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            Some((first, fields.nth(1)?.parse().ok()?))
        })
        .collect();
    ranges.sort_unstable();
    let mut end = 0_u32;
    for (first, count) in ranges {
        if first == end {
            end = end.saturating_add(count);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_ids_are_counted_up_to_the_first_gap() {
        let check = |map: &str, expected: u32| assert_eq!(contiguous(map), expected, "{map:?}");
        check("         0          0 4294967295\n", u32::MAX);
        check("0 1000 1\n1 100000 65536\n", 65_537);
        check("1 100000 65536\n0 1000 1\n", 65_537);
        check("0 1000 1\n2 100000 65536\n", 1);
        check("5 1 1\n", 0);
        check("rubbish\n", 0);
        check("", 0);
    }

    #[test]
    fn a_namespace_is_below_ones_own() {
        let own = UserNamespace::of_process(std::process::id()).unwrap();
        let Ok(new) = NewUserNamespace::make() else {
            eprintln!("skipped: this machine allows no user namespaces here");
            return;
        };
        let theirs = UserNamespace::of_process(u32::try_from(new.pid()).unwrap()).unwrap();
        assert!(!theirs.is(&own).unwrap());
        assert!(theirs.parent().unwrap().is(&own).unwrap());
        // Tests have several threads.
        assert!(theirs.enter().is_err());
        assert!(UserNamespace::of_process(0).is_err());
    }
}

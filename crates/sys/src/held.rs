//! Calls that wait for somebody's answer, by a seccomp filter that asks (`seccomp_unotify(2)`).
//!
//! Who asked stands still meanwhile, so that it can be looked at; here the answer is always that
//! the call is to be made as it is.

#![expect(unsafe_code, reason = "the ioctls of seccomp_unotify(2) have no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where the kernel says which answers of a filter it knows.
const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";

/// Whether this kernel lets a filter ask.
pub fn is_supported() -> bool {
    std::fs::read_to_string(ACTIONS)
        .is_ok_and(|text| text.split_whitespace().any(|action| action == "user_notif"))
}

/// What a filter asks at.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// Whether somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody does.
    Yes,
    /// Nobody does now.
    No,
    /// Nobody will: no process is under the filter any more.
    Never,
}

/// A thread that waits for the answer.
#[derive(Debug)]
pub struct Held {
    id: u64,
    tid: u32,
}

impl Held {
    /// The thread.
    pub fn tid(&self) -> u32 {
        self.tid
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// What a filter's maker handed over.
    pub fn new(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Whether [`Listener::receive`] has somebody.
    ///
    /// # Errors
    ///
    /// The descriptor is none that can be waited for.
    pub fn waiting(&self) -> io::Result<Waiting> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        let events = fds[0].revents();
        Ok(if events.contains(PollFlags::IN) {
            Waiting::Yes
        } else if events.is_empty() {
            Waiting::No
        } else {
            Waiting::Never
        })
    }

    /// Who waits; `None` if it was killed meanwhile. Waits itself where nobody does.
    ///
    /// # Errors
    ///
    /// The descriptor is no listener's.
    pub fn receive(&self) -> io::Result<Option<Held>> {
        // SAFETY: all bits zero are a value of the structure, which holds numbers alone, and the
        // kernel refuses others.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one structure of the size that is part of the request's number
        // into `asked`, which outlives the call.
        let done = unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked)
        };
        match done {
            0 => Ok(Some(Held { id: asked.id, tid: asked.pid })),
            _ => gone(None),
        }
    }

    /// Has the call made.
    ///
    /// # Errors
    ///
    /// The descriptor is no listener's. That the thread was killed meanwhile is none.
    pub fn proceed(&self, held: &Held) -> io::Result<()> {
        let mut answer = libc::seccomp_notif_resp {
            id: held.id,
            val: 0,
            error: 0,
            flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or(1),
        };
        // SAFETY: the kernel reads one structure of the size that is part of the request's number
        // from `answer`, which outlives the call.
        let done = unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer)
        };
        if done == 0 { Ok(()) } else { gone(()) }
    }
}

/// The last error, unless it says that who waited is gone or we were interrupted.
fn gone<T>(otherwise: T) -> io::Result<T> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EINTR) => Ok(otherwise),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::FromRawFd as _;
    use std::sync::mpsc;

    use super::*;

    /// Puts the calling thread under a filter that asks before `getppid`.
    fn ask_before_getppid() -> OwnedFd {
        let step = |code: u32, jt, jf, k| libc::sock_filter {
            code: u16::try_from(code).unwrap(),
            jt,
            jf,
            k,
        };
        let number = u32::try_from(libc::SYS_getppid).unwrap();
        let mut steps = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
        // SAFETY: both calls change this thread alone; `program` and its steps outlive them.
        let fd = unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            )
        };
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        // SAFETY: the kernel has just made the descriptor for us.
        unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) }
    }

    #[test]
    fn a_call_waits_and_is_made() {
        if !is_supported() {
            eprintln!("skipped: this kernel's filters ask nobody");
            return;
        }
        let (hand_over, over) = mpsc::channel();
        let asking = std::thread::spawn(move || {
            hand_over.send(ask_before_getppid()).unwrap();
            rustix::process::getppid()
        });
        let listener = Listener::new(over.recv().unwrap());
        let held = listener.receive().unwrap().unwrap();
        assert!(held.tid() > 0 && held.tid() != std::process::id());
        assert!(!asking.is_finished());
        assert_eq!(listener.waiting().unwrap(), Waiting::No);
        listener.proceed(&held).unwrap();
        assert_eq!(asking.join().unwrap(), rustix::process::getppid());
        // Who has been answered is not there to be answered again.
        listener.proceed(&held).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while listener.waiting().unwrap() != Waiting::Never {
            assert!(std::time::Instant::now() < end, "the thread is gone");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    #[test]
    fn what_is_no_listener_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let listener = Listener::new(file.into());
        assert!(listener.receive().is_err());
        assert!(listener.proceed(&Held { id: 1, tid: 1 }).is_err());
    }
}

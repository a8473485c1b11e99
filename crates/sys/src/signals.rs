//! Signals that a foreground command passes on to its container.
//!
//! A handler may do almost nothing, so it writes the signal's number into a pipe; the
//! waiting loop reads it there, together with whatever else it waits for.

#![expect(unsafe_code, reason = "signal handlers have no safe interface")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::pipe::PipeFlags;

/// Write end of the pipe of the one live [`SignalPipe`]; -1 when there is none.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// The signal of a closed terminal, by which daemons are asked to read their files again.
pub const SIGHUP: i32 = libc::SIGHUP;

/// The signal of a person at a terminal who wants an end.
pub const SIGINT: i32 = libc::SIGINT;

/// The signal of a supervisor that wants an end.
pub const SIGTERM: i32 = libc::SIGTERM;

/// The signal of a terminal that has another size.
pub const SIGWINCH: i32 = libc::SIGWINCH;

/// The signals that are caught: those a person or a service supervisor sends.
pub const FORWARDED: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Signals by the names that images and people use.
const NAMES: [(&str, i32); 15] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("WINCH", libc::SIGWINCH),
    ("PWR", libc::SIGPWR),
];

/// Reads a signal as images and people write it: `SIGTERM`, `term` or `15`.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return rustix::process::Signal::from_named_raw(number).map(|_| number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Catches [`FORWARDED`], and on a terminal its changes of size, while it lives, then restores what was.
#[derive(Debug)]
pub struct SignalPipe {
    read: OwnedFd,
    _write: OwnedFd,
    before: Vec<(i32, Saved)>,
}

/// A saved disposition; wrapped because `sigaction` has no `Debug`.
struct Saved(libc::sigaction);

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sigaction")
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    let fd = PIPE.load(Ordering::Relaxed);
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: write(2) is async-signal-safe, `byte` lives on this stack, errno is put back
    // as the interrupted code left it. A full pipe (non-blocking) loses nothing that
    // matters: thousands of signals are already waiting in it.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(fd, (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

impl SignalPipe {
    /// Starts to catch; fails with `ResourceBusy` while another one lives in the process.
    pub fn install() -> io::Result<Self> {
        Self::catch(&[])
    }

    /// The same, and [`SIGWINCH`] is caught as well.
    pub fn install_on_terminal() -> io::Result<Self> {
        Self::catch(&[SIGWINCH])
    }

    fn catch(more: &[i32]) -> io::Result<Self> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (read, write) = rustix::pipe::pipe_with(flags)?;
        PIPE.compare_exchange(-1, write.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst)
            .map_err(|_| io::Error::from(io::ErrorKind::ResourceBusy))?;
        let mut pipe = Self { read, _write: write, before: Vec::with_capacity(FORWARDED.len()) };
        for signal in FORWARDED.iter().chain(more).copied() {
            // SAFETY: both structures are live and zero is a valid value of every field;
            // the handler does only what a handler may.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(signal, std::ptr::null(), &raw mut old) != 0 {
                    return Err(io::Error::last_os_error());
                }
                // `nohup` asked that hang-ups be ignored; that stays so. An interrupt is
                // ignored only because a shell started us in the background: whoever sends
                // one all the same means it.
                if signal == libc::SIGHUP && old.sa_sigaction == libc::SIG_IGN {
                    continue;
                }
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = on_signal as *const () as libc::sighandler_t;
                new.sa_flags = libc::SA_RESTART;
                if libc::sigaction(signal, &raw const new, std::ptr::null_mut()) != 0 {
                    return Err(io::Error::last_os_error());
                }
                pipe.before.push((signal, Saved(old)));
            }
        }
        Ok(pipe)
    }

    /// Takes the oldest signal that has arrived, without waiting.
    pub fn take(&self) -> io::Result<Option<i32>> {
        let mut byte = [0_u8; 1];
        match rustix::io::read(&self.read, &mut byte) {
            Ok(1) => Ok(Some(i32::from(byte[0]))),
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for SignalPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Drop for SignalPipe {
    fn drop(&mut self) {
        for (signal, old) in &self.before {
            // SAFETY: `old` is what sigaction itself returned for this signal.
            unsafe { libc::sigaction(*signal, &raw const old.0, std::ptr::null_mut()) };
        }
        // Only after the handlers are gone may the descriptor be closed and reused.
        PIPE.store(-1, Ordering::SeqCst);
    }
}

/// Waits until one of `fds` is readable or has ended; `None` at the deadline.
/// Returns the index of the first that is ready.
pub fn wait_readable(
    fds: &[BorrowedFd<'_>],
    deadline: Option<std::time::Duration>,
) -> io::Result<Option<usize>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let timeout = deadline.map(|deadline| Timespec {
        tv_sec: i64::try_from(deadline.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(deadline.subsec_nanos()),
    });
    match poll(&mut polled, timeout.as_ref()) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
        Ok(_) => Ok(polled.iter().position(|fd| !fd.revents().is_empty())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("0", None),
            ("99", None),
            ("SIGNOTHING", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn a_signal_arrives_in_the_pipe_and_only_one_pipe_lives() {
        let pipe = SignalPipe::install().unwrap();
        assert_eq!(SignalPipe::install().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(pipe.take().unwrap(), None);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::USR1)
            .unwrap();
        let ready = wait_readable(&[pipe.as_fd()], Some(std::time::Duration::from_secs(5)));
        // The poll itself may be interrupted by the very signal.
        let _ = ready.unwrap();
        assert_eq!(pipe.take().unwrap(), Some(libc::SIGUSR1));
        drop(pipe);
        drop(SignalPipe::install().unwrap());
    }
}

//! Handles on processes that cannot mean another process later.

#![expect(
    unsafe_code,
    reason = "what a child does before its program starts has no safe interface"
)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

/// Flag of a process that was forked and has executed nothing yet (`include/linux/sched.h`).
const PF_FORKNOEXEC: u64 = 0x40;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It called `exit` with this code.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// The code by which shells report it: 128 and the signal's number for a signal.
    pub fn shell_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }
}

/// A process, by file descriptor (`pidfd_open(2)`): its number may be reused, this not.
#[derive(Debug)]
pub struct ProcessHandle {
    pid: u32,
    fd: OwnedFd,
}

impl ProcessHandle {
    /// Opens a handle on the process that has `pid` now.
    pub fn open(pid: u32) -> std::io::Result<Self> {
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a process id")
        })?;
        Ok(Self { pid, fd: rustix::process::pidfd_open(raw, PidfdFlags::empty())? })
    }

    /// The process id it was opened with.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends `signal`; `false` when the process has ended already.
    pub fn signal(&self, signal: i32) -> std::io::Result<bool> {
        let signal = Signal::from_named_raw(signal).ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a signal to send")
        })?;
        match rustix::process::pidfd_send_signal(&self.fd, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits until the process has ended (or is a zombie); `false` at the deadline.
    pub fn wait_ended(&self, deadline: Duration) -> std::io::Result<bool> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = rustix::event::Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Collects the exit of a child (or of an orphan that came to us as subreaper).
    ///
    /// Fails with `ECHILD` when the process is not ours to collect.
    pub fn reap(&self) -> std::io::Result<Exit> {
        loop {
            let status =
                rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), WaitIdOptions::EXITED);
            match status {
                Ok(Some(status)) => {
                    if let Some(code) = status.exit_status() {
                        return Ok(Exit::Code(u8::try_from(code & 0xff).unwrap_or(255)));
                    }
                    return Ok(Exit::Signal(status.terminating_signal().unwrap_or(libc::SIGKILL)));
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for ProcessHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes orphaned descendants come to this process, which can then collect their exit
/// (`PR_SET_CHILD_SUBREAPER`). The setting is the process's and stays.
pub fn become_subreaper() -> std::io::Result<()> {
    // The argument's value is irrelevant as long as it is not zero.
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Has the child of `command` killed when the thread that starts it ends, so that a killed
/// caller leaves no helper working behind it (`PR_SET_PDEATHSIG`).
///
/// The thread must therefore wait for the child. A program that gains privileges when it
/// is executed loses the setting.
pub fn die_with_caller(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let parent = rustix::process::getpid();
    let set = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The caller may have died before the setting; nobody would send the signal then.
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls on plain values; it
    // allocates nothing and takes no lock.
    unsafe { command.pre_exec(set) };
}

/// When a process started, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
///
/// With the process id it identifies a process between two looks; `None` when there is
/// no such process or it is a zombie.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself contain any byte.
    let rest = stat.rsplit_once(')')?.1.trim_start();
    let mut fields = rest.split(' ');
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether a process has executed a program since it was forked, also of one that has ended and
/// waits to be collected; `None` when there is no such process.
pub fn has_executed(pid: u32) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let flags: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(6)?.parse().ok()?;
    Some(flags & PF_FORKNOEXEC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_follow_the_shell() {
        assert_eq!(Exit::Code(3).shell_code(), 3);
        assert_eq!(Exit::Signal(9).shell_code(), 137);
    }

    #[test]
    fn who_has_executed_nothing_is_told_by_the_kernel() {
        assert_eq!(has_executed(std::process::id()), Some(true));
        assert_eq!(has_executed(u32::MAX), None);
        // A shell forks for what stands in parentheses, and executes nothing for it.
        let script = "(read line; exit 3) <&0 & echo $!; wait $!";
        let mut shell = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(shell.stdout.take().unwrap()),
            &mut line,
        )
        .unwrap();
        assert_eq!(has_executed(shell.id()), Some(true));
        assert_eq!(has_executed(line.trim().parse().unwrap()), Some(false));
        drop(shell.stdin.take());
        assert_eq!(shell.wait().unwrap().code(), Some(3));
    }

    #[test]
    fn a_child_is_waited_for_and_collected() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let handle = ProcessHandle::open(child.id()).unwrap();
        assert!(start_ticks(child.id()).is_some());
        assert!(!handle.wait_ended(Duration::from_millis(5)).unwrap());
        assert!(handle.signal(libc::SIGTERM).unwrap());
        assert!(handle.wait_ended(Duration::from_secs(5)).unwrap());
        assert_eq!(start_ticks(child.id()), None, "a zombie has ended");
        assert_eq!(handle.reap().unwrap(), Exit::Signal(libc::SIGTERM));
        assert!(!handle.signal(libc::SIGTERM).unwrap());
        assert!(child.wait().is_err(), "it was collected already");
        assert!(ProcessHandle::open(0).is_err());
    }
}

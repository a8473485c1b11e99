//! `SIGKILL` from the agent, to the process that a rule matched and to no other.

use palisade_model::Container;
use palisade_sys::process::{ProcessHandle, start_ticks};

use super::membership::is_member;

/// Nanoseconds of a clock tick in `/proc`: `USER_HZ` is 100 on every architecture that Linux
/// runs on today.
const TICK_NS: u64 = 10_000_000;

/// The signal.
const SIGKILL: i32 = 9;

/// Why a process is not killed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KillError {
    /// It is the machine's first process, or this one.
    #[error("process {0} is never killed")]
    Never(u32),
    /// It ended by itself.
    #[error("process {0} has ended already")]
    Ended(u32),
    /// The number belongs to another process by now.
    #[error("process {0} is another one by now")]
    Reused(u32),
    /// The event does not say when its process started, so that another could be meant.
    #[error("it is not known when process {0} started")]
    Unknown(u32),
    /// It is not in the container.
    #[error("process {0} is not in the container")]
    Elsewhere(u32),
    /// The kernel refused.
    #[error("kill process {pid}: {error}")]
    Io {
        /// The process.
        pid: u32,
        /// Why.
        error: String,
    },
}

/// Kills `pid`, which started `start_boottime_ns` after the machine and is in `container`.
///
/// The handle is opened first; what is checked then is true of the process that it stands
/// for, whatever becomes of the number.
pub(super) fn kill(
    pid: u32,
    start_boottime_ns: Option<u64>,
    container: &Container,
) -> Result<(), KillError> {
    if pid <= 1 || pid == std::process::id() {
        return Err(KillError::Never(pid));
    }
    let io = |error: std::io::Error| match error.raw_os_error() {
        Some(3) => KillError::Ended(pid),
        _ => KillError::Io { pid, error: error.to_string() },
    };
    let start = start_boottime_ns.filter(|start| *start != 0).ok_or(KillError::Unknown(pid))?;
    let handle = ProcessHandle::open(pid).map_err(io)?;
    match start_ticks(pid) {
        None => return Err(KillError::Ended(pid)),
        Some(ticks) if ticks != start / TICK_NS => return Err(KillError::Reused(pid)),
        Some(_) => {}
    }
    if !is_member(pid, container) {
        return Err(KillError::Elsewhere(pid));
    }
    if handle.signal(SIGKILL).map_err(io)? { Ok(()) } else { Err(KillError::Ended(pid)) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::container;

    #[test]
    fn only_the_very_process_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let group = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        // Where all groups are roots the child is in none that could be a container's.
        let group = group.max_by_key(|path| path.len()).unwrap_or("/").to_string();
        let mut own = container("0123456789abcdef");
        own.cgroup = Some(group.clone());
        let start = start_ticks(pid).unwrap() * TICK_NS + 5;
        let other = container("fedcba9876543210");
        for (error, result) in [
            (KillError::Never(1), kill(1, Some(start), &own)),
            (KillError::Never(0), kill(0, Some(start), &own)),
            (KillError::Never(std::process::id()), kill(std::process::id(), Some(start), &own)),
            (KillError::Unknown(pid), kill(pid, None, &own)),
            (KillError::Reused(pid), kill(pid, Some(start + TICK_NS), &own)),
            (KillError::Reused(pid), kill(pid, Some(start - TICK_NS), &own)),
            (KillError::Elsewhere(pid), kill(pid, Some(start), &other)),
        ] {
            assert_eq!(result, Err(error));
        }
        assert!(child.try_wait().unwrap().is_none(), "nothing has hit it");
        if group.len() > 1 {
            assert_eq!(kill(pid, Some(start), &own), Ok(()));
        } else {
            child.kill().unwrap();
        }
        child.wait().unwrap();
        assert_eq!(kill(pid, Some(start), &own), Err(KillError::Ended(pid)));
    }
}

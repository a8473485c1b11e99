//! The scheduling class of the calling thread.
#![expect(unsafe_code, reason = "rustix has no call for scheduling classes")]

use std::io;

/// The lowest priority of the real-time classes: above everything that shares the processor
/// fairly, below every real-time task of the machine's own.
const PRIORITY: libc::c_int = 1;

/// How the kernel shares the processor with a thread (`sched(7)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// `SCHED_OTHER`: fairly, with everybody.
    Fair,
    /// `SCHED_RR` at its lowest priority: before everybody who shares fairly.
    ///
    /// The kernel keeps 5 % of the time for the others (`sched_rt_runtime_us`). Threads and
    /// processes that the caller starts are `Fair` (`SCHED_RESET_ON_FORK`).
    RealTime,
}

/// Puts the calling thread into `class`.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE` and without room in `RLIMIT_RTPRIO`.
pub fn set(class: Class) -> io::Result<()> {
    let (policy, priority) = match class {
        Class::Fair => (libc::SCHED_OTHER, 0),
        Class::RealTime => (libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, PRIORITY),
    };
    // SAFETY: all fields of the structure are integers, for which zero is a value; those of other
    // C libraries than glibc are not read for these policies.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: reads a structure of this frame; thread 0 is the caller.
    let result = unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_is_set_and_given_back() {
        let policy = || {
            // SAFETY: asks for a number; thread 0 is the caller.
            unsafe { libc::sched_getscheduler(0) }
        };
        match set(Class::RealTime) {
            Ok(()) => assert_eq!(policy(), libc::SCHED_RR | libc::SCHED_RESET_ON_FORK),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}"),
        }
        set(Class::Fair).unwrap();
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}

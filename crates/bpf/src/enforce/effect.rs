//! What killing the caller at the end of a system call still prevents.
//!
//! The probes sit where the kernel has done its work and before the caller runs another
//! instruction. What the call gave to the caller alone dies with it; what it did to others
//! has happened.

/// What becomes of the thing asked for if its process is killed from a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does not come to pass: the process runs no instruction after it.
    Prevents,
    /// It does not come to pass, but for this part of it.
    Partly(&'static str),
    /// It has happened, as this says; then the process dies.
    Reacts(&'static str),
}

/// An event that the probes can judge.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) name: &'static str,
    /// Its type (`PLS_EVENT_` of `probes/events.h`).
    pub(crate) number: u16,
    pub(crate) effect: Effect,
}

const CHANGED: &str = "the file or its name has been changed";
const FOR_A_MOMENT: &str = "it exists for a moment, until the process has died";
const SENT: &str = "the data have been sent";

const fn judged(name: &'static str, number: u16, effect: Effect) -> Judged {
    Judged { name, number, effect }
}

#[rustfmt::skip] // a table
pub(crate) const JUDGED: [Judged; 59] = {
    use Effect::{Partly, Prevents, Reacts};
    const OPENED: Effect = Partly("a file that the open creates or truncates has been created or truncated");
    [
        judged("execve", 293, Prevents),
        judged("execveat", 331, Prevents),
        judged("open", 3, OPENED),
        judged("openat", 307, OPENED),
        judged("openat2", 327, OPENED),
        judged("creat", 59, Reacts("the file has been created or truncated")),
        judged("connect", 23, Reacts("the connection has been made or begun, without data")),
        judged("bind", 21, Reacts(FOR_A_MOMENT)),
        judged("listen", 25, Reacts(FOR_A_MOMENT)),
        judged("accept", 247, Reacts("the connection has been made, without data")),
        judged("accept4", 389, Reacts("the connection has been made, without data")),
        judged("socket", 19, Prevents),
        judged("sendto", 31, Reacts(SENT)),
        judged("sendmsg", 49, Reacts(SENT)),
        judged("recvfrom", 35, Reacts("the data have been taken from the socket, and are not used")),
        judged("memfd_create", 405, Prevents),
        judged("pidfd_getfd", 407, Prevents),
        judged("userfaultfd", 321, Prevents),
        judged("io_uring_setup", 339, Prevents),
        judged("pipe", 61, Prevents),
        judged("pipe2", 393, Prevents),
        judged("ptrace", 169, Reacts("the other process has been attached to, read or changed")),
        judged("unshare", 285, Prevents),
        judged("setns", 241, Prevents),
        judged("chroot", 267, Reacts("processes that share their root with it have moved, too")),
        judged("mount", 257, Reacts("the file system has been mounted")),
        judged("umount2", 391, Reacts("the file system has been unmounted")),
        judged("fsconfig", 373, Reacts("the file system has been configured")),
        judged("setuid", 199, Prevents),
        judged("setgid", 201, Prevents),
        judged("setreuid", 427, Prevents),
        judged("setregid", 429, Prevents),
        judged("setresuid", 193, Prevents),
        judged("setresgid", 195, Prevents),
        judged("capset", 353, Prevents),
        judged("setsid", 275, Prevents),
        judged("prctl", 401, Prevents),
        judged("unlink", 301, Reacts(CHANGED)),
        judged("unlinkat", 303, Reacts(CHANGED)),
        judged("rename", 175, Reacts(CHANGED)),
        judged("renameat", 177, Reacts(CHANGED)),
        judged("renameat2", 319, Reacts(CHANGED)),
        judged("chmod", 315, Reacts(CHANGED)),
        judged("fchmod", 317, Reacts(CHANGED)),
        judged("fchmodat", 313, Reacts(CHANGED)),
        judged("chown", 379, Reacts(CHANGED)),
        judged("fchown", 383, Reacts(CHANGED)),
        judged("link", 309, Reacts(CHANGED)),
        judged("linkat", 311, Reacts(CHANGED)),
        judged("symlink", 179, Reacts(CHANGED)),
        judged("symlinkat", 181, Reacts(CHANGED)),
        judged("mkdir", 277, Reacts(CHANGED)),
        judged("mkdirat", 305, Reacts(CHANGED)),
        judged("rmdir", 279, Reacts(CHANGED)),
        judged("bpf", 369, Reacts("what was not only loaded is in force")),
        judged("init_module", 411, Reacts("the module runs")),
        judged("finit_module", 413, Reacts("the module runs")),
        judged("delete_module", 425, Reacts("the module is gone")),
        judged("kill", 129, Reacts("the signal has been sent")),
    ]
};

/// What killing from the probe does about `event`; nothing if the probe of that event cannot
/// kill its process: that of a fork runs in the parent, an exit needs no killing, and calls
/// without a type of their own are not judged.
pub fn effect(event: &str) -> Option<Effect> {
    judged_event(event).map(|judged| judged.effect)
}

pub(crate) fn judged_event(event: &str) -> Option<&'static Judged> {
    JUDGED.iter().find(|judged| judged.name == event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interest;

    #[test]
    fn numbers_are_those_of_the_header_and_probes_exist() {
        let header = include_str!("../../probes/events.h");
        for judged in &JUDGED {
            let line =
                format!("#define PLS_EVENT_{} {}", judged.name.to_uppercase(), judged.number);
            assert!(header.lines().any(|l| l.trim() == line), "{line}");
            assert!(Interest::default().add(judged.name).is_ok(), "{}", judged.name);
        }
    }

    #[test]
    fn what_has_happened_is_not_called_prevented() {
        let check = |event: &str, expected: Option<Effect>| {
            let same =
                |a: &Effect, b: &Effect| std::mem::discriminant(a) == std::mem::discriminant(b);
            match (effect(event), expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => assert!(same(&found, &expected), "{event}"),
                (found, _) => panic!("{event}: {found:?}"),
            }
        };
        check("execve", Some(Effect::Prevents));
        check("openat", Some(Effect::Partly("")));
        for event in ["creat", "connect", "bind", "mount", "unlink", "kill", "sendto", "ptrace"] {
            check(event, Some(Effect::Reacts("")));
        }
        for event in ["clone", "fork", "procexit", "close", "reboot", "nothing"] {
            check(event, None);
        }
    }
}

//! What each means can decide, and whether this machine has it.

use std::io;

use palisade_rules::selector::{EventSelector, Input, NumberTest, Test};

use super::Means;
use super::effect::judged_event;

/// Where the kernel lists the security modules in force.
const LSM_LIST: &str = "/sys/kernel/security/lsm";
/// `PLS_EXE_WRITABLE`, which only an exec that has happened tells.
const EXE_WRITABLE: u32 = 1;

/// Why a means cannot decide a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It does not see the event.
    #[error("`{event}` is not seen there")]
    NoProgram {
        /// The event.
        event: String,
    },
    /// It does not know an input.
    #[error("{} is not known there before `{event}`", input.describe())]
    Input {
        /// The event.
        event: String,
        /// What it does not know.
        input: Input,
    },
    /// A part of what the selector holds for passes by.
    #[error("connections that are not IP pass it by, and the condition does not leave them out")]
    NotOnlyIp,
}

/// Whether a means decides about an event exactly as the selector says. The means that refuse
/// judge a call before it has happened, and as if it were to succeed.
pub fn decides(means: Means, selector: &EventSelector) -> Result<(), Undecided> {
    let event = selector.event.as_str();
    let no_program = || Err(Undecided::NoProgram { event: event.into() });
    match (means, event) {
        (Means::KernelKill, _) if judged_event(event).is_some() => return Ok(()),
        (Means::Lsm, "execve" | "open" | "openat" | "openat2" | "creat" | "connect" | "bind")
        | (Means::Cgroup, "connect" | "bind") => {}
        // The event of an execveat that fails: there is nothing to refuse.
        (Means::Lsm, "execveat") => return Ok(()),
        _ => return no_program(),
    }
    for atom in &selector.atoms {
        if !knows(event, atom.input, &atom.test) {
            return Err(Undecided::Input { event: event.into(), input: atom.input });
        }
    }
    if means == Means::Cgroup && !is_only_ip(selector) {
        return Err(Undecided::NotOnlyIp);
    }
    Ok(())
}

/// Whether what a call will turn out to be is known before it.
fn knows(event: &str, input: Input, test: &Test) -> bool {
    let is_open = matches!(event, "open" | "openat" | "openat2" | "creat");
    match input {
        Input::Comm | Input::ParentName | Input::Uid => true,
        Input::ExePath => event == "execve",
        Input::ExeFlags => event == "execve" && !asks_for_bit(test, EXE_WRITABLE),
        Input::Result | Input::Descriptor => is_sign(test),
        Input::Path
        | Input::Directory
        | Input::FileName
        | Input::OpenFlags
        | Input::IsDirectory
        | Input::Layer => is_open,
        Input::AddressIp | Input::AddressPort => matches!(event, "connect" | "bind"),
        Input::ServerIp | Input::ServerPort => event == "connect",
        Input::Terminal | Input::Parameter(_) => false,
    }
}

/// Whether a test tells success from failure and nothing more.
fn is_sign(test: &Test) -> bool {
    match test {
        Test::Exists => true,
        Test::Numbers(tests) => tests
            .iter()
            .all(|test| matches!(test, NumberTest::Less(..=0) | NumberTest::Greater(-1))),
        _ => false,
    }
}

fn asks_for_bit(test: &Test, bit: u32) -> bool {
    match test {
        Test::Numbers(tests) => {
            tests.iter().any(|test| !matches!(test, NumberTest::AnyBit(bits) if bits & bit == 0))
        }
        _ => false,
    }
}

/// Whether every term needs an address or its port, which only IP has.
fn is_only_ip(selector: &EventSelector) -> bool {
    let is_address = |input| {
        matches!(input, Input::AddressIp | Input::AddressPort | Input::ServerIp | Input::ServerPort)
    };
    let mut addresses = 0_u64;
    for (bit, _) in selector.atoms.iter().enumerate().filter(|(_, atom)| is_address(atom.input)) {
        addresses |= 1 << bit;
    }
    selector.terms.iter().all(|term| term.need & addresses != 0)
}

/// Whether the kernel runs BPF programs in its security framework: whether `bpf` is among the
/// modules that it was started with (`lsm=` on its command line, or `CONFIG_LSM`).
pub fn lsm_is_active() -> io::Result<bool> {
    std::fs::read_to_string(LSM_LIST).map(|list| list.trim().split(',').any(|name| name == "bpf"))
}

#[cfg(test)]
mod tests {
    use palisade_rules::selector::{Atom, Term};

    use super::*;

    #[test]
    fn means_say_what_they_cannot_decide() {
        let check = |means: Means, event: &str, input: Input, test: Test, expected: &str| {
            let selector = EventSelector {
                event: event.into(),
                atoms: vec![Atom { input, test }],
                terms: vec![Term { need: 1, forbid: 0 }],
            };
            let found = decides(means, &selector)
                .map_or_else(|error| error.to_string(), |()| String::new());
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
        };
        let exists = || Test::Exists;
        let numbers = |test| Test::Numbers(vec![test]);
        check(Means::KernelKill, "mount", Input::Comm, exists(), "");
        check(Means::KernelKill, "clone", Input::Comm, exists(), "`clone` is not seen there");
        check(Means::Cgroup, "connect", Input::ServerIp, exists(), "");
        check(Means::Cgroup, "connect", Input::Comm, exists(), "not IP pass it by");
        check(Means::Cgroup, "openat", Input::Path, exists(), "not seen");
        check(
            Means::Cgroup,
            "connect",
            Input::ExePath,
            exists(),
            "path of the program is not known",
        );
        check(Means::Lsm, "connect", Input::Comm, exists(), "");
        check(Means::Lsm, "execve", Input::ExeFlags, numbers(NumberTest::AnyBit(2)), "");
        check(Means::Lsm, "execve", Input::ExeFlags, numbers(NumberTest::AnyBit(3)), "state of");
        check(Means::Lsm, "execveat", Input::ExeFlags, exists(), "");
        check(Means::Lsm, "openat", Input::Result, numbers(NumberTest::Less(0)), "");
        check(Means::Lsm, "openat", Input::Descriptor, numbers(NumberTest::Greater(-1)), "");
        check(
            Means::Lsm,
            "openat",
            Input::Descriptor,
            numbers(NumberTest::Equal(3)),
            "number of the",
        );
        check(Means::Lsm, "openat", Input::ExePath, exists(), "path of the program");
        check(Means::Lsm, "mount", Input::Comm, exists(), "not seen");
    }
}

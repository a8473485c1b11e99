//! What each means can decide, and whether this machine has it.

use std::io;

use palisade_rules::selector::{EventSelector, Input, NumberTest, Test};

use super::Means;
use super::effect::judged_event;
use super::hooks::is_hooked;

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
        // The event of an execveat that fails: there is nothing to refuse.
        (Means::Lsm, "execveat") => return Ok(()),
        (Means::Cgroup, "connect" | "bind") => {}
        (Means::Lsm, _) if is_hooked(event) => {}
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

/// What a means that [`decides`] does not come by all the same.
pub fn misses(means: Means, selector: &EventSelector) -> Option<&'static str> {
    if means != Means::Lsm || selector.event != "ptrace" {
        return None;
    }
    // The kernel asks when a process is attached to, or lets itself be traced, and not again.
    let mut attaching = 0_u64;
    for (bit, atom) in selector.atoms.iter().enumerate() {
        let attaches =
            |test: &NumberTest| matches!(test, NumberTest::Equal(n) if ATTACHING.contains(n));
        if atom.input == Input::Parameter(3)
            && matches!(&atom.test, Test::Numbers(tests) if tests.iter().all(attaches))
        {
            attaching |= 1 << bit;
        }
    }
    let is_attaching = selector.terms.iter().all(|term| term.need & attaching != 0);
    (!is_attaching).then_some("requests to a process that is traced already")
}

/// `PTRACE_TRACEME`, `PTRACE_ATTACH` and `PTRACE_SEIZE` as the format numbers them.
const ATTACHING: [i64; 3] = [1, 11, 20];

/// The numbers among the parameters that are arguments of the call (`know_arguments` of
/// `probes/enforce.bpf.c`).
fn is_known(event: &str, index: u8) -> bool {
    matches!(
        (event, index),
        ("ptrace" | "fchmodat", 3) | ("mount", 4) | ("bpf", 1) | ("kill" | "chmod" | "fchmod", 2)
    )
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
        Input::Parameter(index) => is_known(event, index),
        Input::Terminal => false,
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
        check(Means::Lsm, "prctl", Input::Comm, exists(), "not seen");
        check(Means::Lsm, "mount", Input::Comm, exists(), "");
        check(Means::Lsm, "mount", Input::Parameter(4), exists(), "");
        check(Means::Lsm, "unlink", Input::Result, numbers(NumberTest::Greater(-1)), "");
        check(Means::Lsm, "unlink", Input::Parameter(1), exists(), "number among the parameters");
        check(Means::Lsm, "rename", Input::ExePath, exists(), "path of the program");
    }

    #[test]
    fn attaching_is_what_the_kernel_asks_about() {
        let check = |event: &str, tests: Vec<NumberTest>, expected: bool| {
            let selector = EventSelector {
                event: event.into(),
                atoms: vec![Atom { input: Input::Parameter(3), test: Test::Numbers(tests) }],
                terms: vec![Term { need: 1, forbid: 0 }],
            };
            assert_eq!(misses(Means::Lsm, &selector).is_some(), expected);
            assert_eq!(misses(Means::KernelKill, &selector), None);
            let forbids = EventSelector { terms: vec![Term { need: 0, forbid: 1 }], ..selector };
            assert_eq!(misses(Means::Lsm, &forbids).is_some(), event == "ptrace");
        };
        check("ptrace", vec![NumberTest::Equal(11), NumberTest::Equal(20)], false);
        check("ptrace", vec![NumberTest::Equal(11), NumberTest::Equal(5)], true);
        check("ptrace", vec![NumberTest::Greater(10)], true);
        check("fchmodat", vec![NumberTest::Equal(5)], false);
    }
}

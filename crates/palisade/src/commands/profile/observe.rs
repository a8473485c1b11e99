//! From what the recorder saw to a record.

use std::collections::BTreeSet;

use palisade_bpf::recorder::{Address, AddressKind, CapabilityUse, Kind, Observed, PathKind, Plan};
use palisade_profile::syscalls::Machine;
use palisade_profile::watch::{ARGUMENTS, EFFECTS, Effect};
use palisade_profile::{Capability, Endpoint, Floor, Record, Source};

use crate::exit::{Exit, Failure};

/// Checks that the kernel makes whether or not the caller needs the capability: for the reserve of
/// memory (`__vm_enough_memory`), at exec, at fork for the limit of processes.
const ASKED_IN_PASSING: [(&str, &[&str]); 3] = [
    (
        "SYS_ADMIN",
        &[
            "brk",
            "clone",
            "clone3",
            "execve",
            "execveat",
            "exit",
            "exit_group",
            "fork",
            "mmap",
            "mprotect",
            "mremap",
            "munmap",
            "vfork",
            "shmat",
            "mlock",
            "prctl",
            "seccomp",
        ],
    ),
    (
        "SYS_RESOURCE",
        &[
            "clone",
            "clone3",
            "fork",
            "vfork",
            "execve",
            "execveat",
            "setuid",
            "setresuid",
            "setreuid",
            "write",
            "writev",
            "pwrite64",
            "fallocate",
            "openat",
            "mkdirat",
            "mkdir",
            "fsync",
            "fdatasync",
            "rename",
            "renameat2",
            "pipe",
            "pipe2",
        ],
    ),
    ("SYS_PTRACE", &["execve", "execveat"]),
];

/// The machine that this program runs on.
pub(super) fn machine() -> Result<Machine, Failure> {
    Machine::parse(std::env::consts::ARCH).ok_or_else(|| {
        let name = std::env::consts::ARCH;
        Failure::message(Exit::Incomplete, format!("no system calls are known of machine `{name}`"))
            .with_hint("profiles are made on x86_64 and aarch64")
    })
}

/// What is noted of which call.
pub(super) fn plan(machine: Machine) -> Plan {
    let kind = |effect| match effect {
        Effect::Open => Kind::Open,
        Effect::Path(at) => Kind::Path(at),
        Effect::PathAt(at) => Kind::PathAt(at),
        Effect::Exec => Kind::Exec,
        Effect::Bind => Kind::Bind,
        Effect::Connect => Kind::Connect,
        Effect::Send => Kind::Send,
    };
    let number = |name: &str| machine.number(name);
    Plan {
        kinds: EFFECTS.iter().filter_map(|(n, effect)| Some((number(n)?, kind(*effect)))).collect(),
        watched: ARGUMENTS.iter().filter_map(|(n, places)| Some((number(n)?, *places))).collect(),
        allowed: None,
    }
}

/// Makes the record of one container or command.
pub(super) fn to_record(
    name: &str,
    machine: Machine,
    seen: &Observed,
    sees_capabilities: bool,
    from_the_start: bool,
) -> Record {
    let mut record = Record::new(name, machine);
    for number in &seen.calls {
        record.add_call(machine.name_of(*number), Source::Recorded);
    }
    record.refused = seen
        .refused
        .iter()
        .map(|number| machine.name_of(*number))
        .filter(|name| !record.calls.contains_key(name))
        .collect();
    if from_the_start && seen.is_filtered {
        record.floor = Floor::Seen;
    }
    arguments(&mut record, machine, seen);
    record.capabilities_known = sees_capabilities;
    record.capabilities = capabilities(machine, &seen.capabilities);
    // runC waits in a pipe of its own until it is told to start the program.
    let is_runtimes = |path: &str| from_the_start && path.ends_with("/exec.fifo");
    for path in seen.paths.iter().filter(|path| !is_runtimes(&path.path)) {
        let list = match path.kind {
            PathKind::Written => &mut record.files.written,
            PathKind::Changed => &mut record.files.changed,
            PathKind::Executed => &mut record.files.executed,
            PathKind::Bound => &mut record.network.unix_bound,
            PathKind::Connected => &mut record.network.unix_connected,
        };
        list.insert(path.path.clone());
    }
    for address in &seen.addresses {
        let list = match address.kind {
            AddressKind::Bound => &mut record.network.bound,
            AddressKind::Connected => &mut record.network.connected,
        };
        list.insert(endpoint(address));
    }
    record.gaps = gaps(seen, sees_capabilities);
    record
}

fn arguments(record: &mut Record, machine: Machine, seen: &Observed) {
    for site in &seen.sites {
        let name = machine.name_of(site.number);
        let Some((_, places)) = ARGUMENTS.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        let values = record.arguments.entry(name).or_default();
        for (place, value) in places.iter().zip(site.arguments) {
            if let Some(place) = place {
                values.entry(*place).or_default().insert(value);
            }
        }
    }
}

fn capabilities(machine: Machine, seen: &BTreeSet<CapabilityUse>) -> BTreeSet<Capability> {
    let mut out: std::collections::BTreeMap<&str, BTreeSet<String>> =
        std::collections::BTreeMap::default();
    for found in seen {
        let Some(name) = palisade_sys::capability::NAMES.get(found.capability as usize) else {
            continue;
        };
        let call = machine.name_of(found.number);
        let in_passing = ASKED_IN_PASSING
            .iter()
            .any(|(capability, calls)| capability == name && calls.contains(&call.as_str()));
        if !in_passing {
            out.entry(name).or_default().insert(call);
        }
    }
    out.into_iter().map(|(name, calls)| Capability { name: name.into(), calls }).collect()
}

fn endpoint(address: &Address) -> Endpoint {
    let family = match address.family {
        2 => "inet".to_string(),
        10 => "inet6".to_string(),
        other => other.to_string(),
    };
    Endpoint { family, address: address.address.map(|a| a.to_string()), port: address.port }
}

fn gaps(seen: &Observed, sees_capabilities: bool) -> BTreeSet<String> {
    let mut gaps = BTreeSet::new();
    if seen.n_lost > 0 {
        gaps.insert(format!("{} notes did not fit into the kernel's tables", seen.n_lost));
    }
    if seen.n_unfollowed > 0 {
        gaps.insert(format!("{} processes could not be followed", seen.n_unfollowed));
    }
    if !seen.compat.is_empty() {
        gaps.insert("calls by the 32-bit interface were made, and are not in the record".into());
    }
    if seen.paths.iter().any(|path| path.is_cut) {
        gaps.insert("paths of more than 255 bytes were cut".into());
    }
    if !sees_capabilities {
        gaps.insert(
            "this kernel does not tell which capabilities are used (Linux 6.14 does)".into(),
        );
    }
    gaps
}

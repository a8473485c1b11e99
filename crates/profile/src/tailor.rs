//! From a record to a system-call filter.
//!
//! The filter is the default profile of [`palisade_harden::seccomp`] without what the record does
//! not need: whatever a record says, it never allows what the default refuses, and says so. A call
//! that it does not name answers `ENOSYS`, so that a newer library falls back to an older call.

use std::collections::BTreeSet;

pub use palisade_harden::seccomp::FLOOR;
use palisade_harden::seccomp::{Argument, Condition, Profile, SeccompError, default_profile};
use serde_json::{Value, json};

use crate::record::{Floor, Record, Source};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
/// Values of one argument that become conditions; beyond them the argument is not looked at.
pub const VALUES_MAX: usize = 64;

/// Calls that no workload shows reliably, and that every program can come to need, with the reason.
pub const ALWAYS: &[(&str, &str)] = &[
    ("exit", "A thread ends."),
    ("exit_group", "The program ends."),
    ("rt_sigreturn", "A handler of a signal returns."),
    ("restart_syscall", "The kernel resumes a sleep after a stop and a continuation."),
    ("rt_sigaction", "`abort` resets the handler before it raises the signal."),
    ("rt_sigprocmask", "`abort` and the start of threads block signals."),
    ("getpid", "`abort` names its own process."),
    ("gettid", "`abort` and `raise` name their own thread."),
    ("tgkill", "`abort` and `raise` send the signal by it."),
    ("futex", "Any lock of the C library that is contended."),
];

/// What runC's Go run-time may call there besides and does not miss: they are in no floor, and answer
/// `ENOSYS` then (Go's `runtime/sys_linux_*.s` and `runtime/mem_linux.go`).
pub const FLOOR_SPARED: &[(&str, &str)] = &[
    ("madvise", "The answer is ignored, or `mmap` is used instead."),
    ("nanosleep", "The answer is ignored: the monitor's thread looks again at once."),
    ("sched_yield", "The answer is ignored: a lock is tried again at once."),
];

/// Of these, what is not in every start: a record that saw the runtime's calls lacks some of them.
pub const FLOOR_RARE: &[&str] = &[
    "clone",
    "futex",
    "getpid",
    "gettid",
    "mmap",
    "munmap",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "tgkill",
];

/// Calls that are left out on purpose, and what libraries use instead when they get `ENOSYS`.
pub const FALLBACKS: &[(&str, &str)] = &[("clone3", "clone")];

/// Calls whose numbers of operation are conditions only when asked for: rare paths use others.
const OPERATIONS: [(&str, u8); 2] = [("prctl", 0), ("ioctl", 1)];

/// How to make a filter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Allow only the operations of `ioctl` and `prctl` that were seen.
    pub strict_operations: bool,
}

/// A filter made for a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Tailored {
    /// The seccomp section of an OCI runtime configuration; Docker and Kubernetes take it as a file.
    pub section: Value,
    /// Calls that it allows, with some arguments at least.
    pub allowed: BTreeSet<String>,
    /// What the reader should know before using it.
    pub warnings: Vec<String>,
}

/// The record with the calls that every container needs, whatever was seen of it.
pub fn with_floor(record: &Record) -> Record {
    let mut out = record.clone();
    for (call, _) in ALWAYS {
        out.add_call(*call, Source::Floor);
    }
    let floor = if record.floor == Floor::Seen { FLOOR_RARE } else { FLOOR };
    for call in floor {
        out.add_call(*call, Source::Floor);
    }
    if out.floor == Floor::None {
        out.floor = Floor::Known;
    }
    out
}

/// Makes the filter of `record`, which should hold the floor ([`with_floor`]).
pub fn tailor(record: &Record, options: Options) -> Result<Tailored, SeccompError> {
    let base = default_profile()?;
    let architectures = base
        .architectures
        .get(&record.architecture)
        .ok_or_else(|| SeccompError::Architecture(record.architecture.clone()))?;
    let work = Work { record, options, base: &base, brought: brought(&base, record) };
    let mut plain = BTreeSet::new();
    let mut conditions = Vec::new();
    let mut warnings = Vec::new();
    for call in record.calls.keys() {
        work.place(call, &mut plain, &mut conditions, &mut warnings);
    }
    // What answered ENOSYS on purpose has an older call behind it.
    if record.calls.contains_key("clone3") || record.refused.contains("clone3") {
        work.place("clone", &mut plain, &mut conditions, &mut warnings);
    }
    let mut rules = vec![json!({"names": plain, "action": "SCMP_ACT_ALLOW"})];
    let mut allowed: BTreeSet<String> = plain.into_iter().map(str::to_string).collect();
    let mut seen = BTreeSet::new();
    for (call, args) in &conditions {
        allowed.insert((*call).to_string());
        if seen.insert((*call, args)) {
            rules.push(json!({"names": [call], "action": "SCMP_ACT_ALLOW", "args": args}));
        }
    }
    for condition in &base.deny_when {
        rules.push(json!({
            "names": [condition.call], "action": "SCMP_ACT_ERRNO",
            "errnoRet": condition.errno.unwrap_or(EPERM), "args": condition.args,
        }));
    }
    let denied: BTreeSet<&str> = base
        .deny
        .iter()
        .flat_map(|group| group.calls.iter().map(String::as_str))
        .filter(|call| !work.brought.contains(call))
        .collect();
    rules.push(json!({"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM}));
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": architectures,
        "syscalls": rules,
    });
    warnings.extend(record.gaps.iter().map(|gap| format!("the record has a gap: {gap}")));
    warnings.sort();
    warnings.dedup();
    Ok(Tailored { section, allowed, warnings })
}

/// Calls that capabilities in use bring with them.
fn brought<'a>(base: &'a Profile, record: &Record) -> BTreeSet<&'a str> {
    let has = |name: &str| record.capabilities.iter().any(|capability| capability.name == name);
    base.allow_with_capability
        .iter()
        .filter(|entry| has(&entry.capability))
        .flat_map(|entry| entry.calls.iter().map(String::as_str))
        .collect()
}

/// One filter in the making.
struct Work<'a> {
    record: &'a Record,
    options: Options,
    base: &'a Profile,
    brought: BTreeSet<&'a str>,
}

impl Work<'_> {
    /// Puts a call where it belongs: allowed, allowed with conditions, or left out with a warning.
    fn place<'b>(
        &self,
        call: &'b str,
        plain: &mut BTreeSet<&'b str>,
        conditions: &mut Vec<(&'b str, Vec<Argument>)>,
        warnings: &mut Vec<String>,
    ) {
        let of_call: Vec<&Condition> =
            self.base.allow_when.iter().filter(|condition| condition.call == call).collect();
        if !of_call.is_empty() {
            for condition in of_call {
                if self.is_seen(condition) {
                    conditions.push((call, condition.args.clone()));
                }
            }
        } else if self.base.allowed().contains(call) || self.brought.contains(call) {
            match self.operations(call) {
                Some(args) => {
                    conditions.extend(args.into_iter().map(|argument| (call, vec![argument])));
                }
                None => {
                    plain.insert(call);
                }
            }
        } else if call != "clone3" && self.is_recorded(call) {
            warnings.push(format!(
                "`{call}` was used and stays refused: the default profile refuses it as well"
            ));
        }
    }

    fn is_recorded(&self, call: &str) -> bool {
        self.record.calls.get(call).is_some_and(|sources| sources.contains(&Source::Recorded))
    }

    /// Whether a condition of the default is for a value that was seen. Of a call that was only
    /// found in a program no values are known, so all count.
    fn is_seen(&self, condition: &Condition) -> bool {
        let Some(places) = self.record.arguments.get(&condition.call) else { return true };
        if self.record.calls.get(&condition.call).is_some_and(|s| s.contains(&Source::Static)) {
            return true;
        }
        let Some(argument) = condition.args.first().filter(|a| a.op == "SCMP_CMP_EQ") else {
            return true;
        };
        let place = u8::try_from(argument.index).unwrap_or(u8::MAX);
        places.get(&place).is_none_or(|values| values.contains(&argument.value))
    }

    /// The operations that were seen, as conditions; `None` if they are not to be looked at. They
    /// are compared by their lower half: some libraries extend the sign of a number.
    fn operations(&self, call: &str) -> Option<Vec<Argument>> {
        let (_, place) = OPERATIONS.iter().find(|(name, _)| *name == call)?;
        let sources = self.record.calls.get(call)?;
        if !self.options.strict_operations || sources.contains(&Source::Static) {
            return None;
        }
        let values: BTreeSet<u64> =
            self.record.arguments.get(call)?.get(place)?.iter().map(|v| v & 0xffff_ffff).collect();
        if values.is_empty() || values.len() > VALUES_MAX {
            return None;
        }
        let argument = |value| Argument {
            index: u32::from(*place),
            value: 0xffff_ffff,
            value_two: value,
            op: "SCMP_CMP_MASKED_EQ".into(),
        };
        let mut all: Vec<Argument> = values.into_iter().map(argument).collect();
        // runC makes its own calls under the filter: it sets no_new_privs and names, or reads them.
        if call == "prctl" {
            all.extend([4, 38, 39].map(argument));
            all.sort();
            all.dedup();
        }
        Some(all)
    }
}

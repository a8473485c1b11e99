//! What the caller wants to see, and which probes that takes.
//!
//! An interest names events as the rule language does (`openat`, `connect`, `execve`). Only the
//! programs behind the names are loaded; a call that nobody asked for costs the dispatcher's look
//! into an empty slot.

mod automaton;
mod calls;
mod opens;

use std::collections::BTreeSet;

pub(crate) use automaton::{Automaton, STATES_MAX, class_of};
pub(crate) use calls::{CALLS, GENERIC_CALLS};

pub use opens::{OpenClasses, OpenFilter, OpenTexts, OpenVerdicts, PATH_TEXTS_MAX, PathText};

/// Group of events that are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Class {
    /// Programs executed, or not executed for an error.
    Exec,
    /// Processes and threads begun.
    Fork,
    /// Processes and threads ended.
    Exit,
    /// Files opened.
    Open,
    /// Sockets made, connected, bound, accepted from, sent to.
    Network,
    /// Descriptors duplicated and closed, pipes, working folders.
    Descriptor,
    /// Names and modes of files changed.
    File,
    /// Memory of others, and memory made executable: ptrace, memfd.
    Memory,
    /// Namespaces and mounts.
    Namespace,
    /// User, group and capabilities of the caller.
    Credential,
    /// Kernel modules, BPF, and calls without an event type of their own.
    Kernel,
    /// Signals sent.
    Signal,
}

impl Class {
    /// Every class, in the order of `enum class` in `probes/record.h`.
    pub const ALL: [Self; 12] = [
        Self::Exec,
        Self::Fork,
        Self::Exit,
        Self::Open,
        Self::Network,
        Self::Descriptor,
        Self::File,
        Self::Memory,
        Self::Namespace,
        Self::Credential,
        Self::Kernel,
        Self::Signal,
    ];

    /// A word for people and for metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::Open => "open",
            Self::Network => "network",
            Self::Descriptor => "descriptor",
            Self::File => "file",
            Self::Memory => "memory",
            Self::Namespace => "namespace",
            Self::Credential => "credential",
            Self::Kernel => "kernel",
            Self::Signal => "signal",
        }
    }
}

/// Whose environment comes with an exec: it is the longest part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u32)]
pub enum Environment {
    /// Nobody's.
    None,
    /// That of containers' processes.
    Contained,
    /// Everybody's.
    #[default]
    All,
    /// Everybody's, and the control groups with every exec, whether they changed or not: a
    /// recording is read by those who did not see the exec before.
    Recorded,
}

/// An event name that no probe serves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no probe serves event `{0}`")]
pub struct UnknownProbe(pub String);

/// A set of events.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interest {
    names: BTreeSet<&'static str>,
    /// Which opens cross.
    pub opens: OpenFilter,
    /// Whose environment comes with an exec.
    pub environment: Environment,
}

/// The events of a process's life and the other names that rules give them. A record of a fork is a
/// `clone`.
const LIFE: [(&str, &str); 7] = [
    ("execve", "execve"),
    ("execveat", "execve"),
    ("clone", "clone"),
    ("clone3", "clone"),
    ("fork", "clone"),
    ("vfork", "clone"),
    ("procexit", "procexit"),
];

impl Interest {
    /// The life of processes: fork, exec and exit. Every consumer of state needs these.
    pub fn processes() -> Self {
        Self { names: ["execve", "clone", "procexit"].into(), ..Self::default() }
    }

    /// Everything that a probe exists for, but `close`, which is frequent and tells little.
    pub fn all() -> Self {
        let mut interest = Self::processes();
        interest.names.extend(Self::known().filter(|name| *name != "close"));
        interest
    }

    /// Adds the event `name`.
    pub fn add(&mut self, name: &str) -> Result<(), UnknownProbe> {
        let life = LIFE.iter().find(|(alias, _)| *alias == name).map(|(_, canonical)| *canonical);
        let known = life.or_else(|| Self::known().find(|known| *known == name));
        self.names.insert(known.ok_or_else(|| UnknownProbe(name.chars().take(64).collect()))?);
        Ok(())
    }

    /// Adds the events of `class`.
    pub fn add_class(&mut self, class: Class) {
        match class {
            Class::Exec => drop(self.names.insert("execve")),
            Class::Fork => drop(self.names.insert("clone")),
            Class::Exit => drop(self.names.insert("procexit")),
            _ => self.names.extend(CALLS.iter().filter(|c| c.class == class).map(|c| c.name)),
        }
        if class == Class::Kernel {
            self.names.extend(GENERIC_CALLS.iter().map(|call| call.name));
        }
    }

    /// Adds those of `names` that a probe serves and returns the others.
    pub fn extend<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> Vec<UnknownProbe> {
        names.into_iter().filter_map(|name| self.add(name).err()).collect()
    }

    /// Whether the event `name` is in the set, under any of its names.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains(Self::canonical(name))
    }

    /// The name under which the event `name` is delivered: `execve` for `execveat`.
    pub fn canonical(name: &str) -> &str {
        LIFE.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, canonical)| canonical)
    }

    /// The names in the set.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.names.iter().copied()
    }

    /// Every name that a probe serves, each once.
    pub fn known() -> impl Iterator<Item = &'static str> {
        ["execve", "clone", "procexit"]
            .into_iter()
            .chain(CALLS.iter().map(|call| call.name).filter(|name| !name.starts_with("execve")))
            .chain(GENERIC_CALLS.iter().map(|call| call.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rules_are_understood() {
        let mut interest = Interest::processes();
        let unknown = interest.extend(["openat", "execveat", "vfork", "flock", "connect"]);
        assert_eq!(unknown, [UnknownProbe("flock".into())]);
        assert!(interest.contains("openat") && interest.contains("fork"));
        assert!(!interest.contains("open"));
    }

    #[test]
    fn every_known_name_can_be_added() {
        for name in Interest::known() {
            let mut interest = Interest::default();
            interest.add(name).unwrap();
            assert!(interest.contains(name), "{name}");
        }
    }

    #[test]
    fn known_names_are_unique() {
        let mut seen = BTreeSet::new();
        for name in Interest::known() {
            assert!(seen.insert(name), "{name} twice");
        }
    }

    #[test]
    fn a_long_unknown_name_is_cut_in_the_error() {
        let error = Interest::default().add(&"x".repeat(10_000)).unwrap_err();
        assert!(error.0.len() <= 64);
    }

    #[test]
    fn classes_match_the_header() {
        let header = include_str!("../probes/record.h");
        let body =
            header.split("enum class {").nth(1).and_then(|rest| rest.split('}').next()).unwrap();
        let names: Vec<String> = body
            .split(',')
            .map(|word| word.trim().trim_start_matches("CLASS_").to_lowercase())
            .filter(|word| !word.is_empty() && word != "n_classes")
            .collect();
        let ours: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        assert_eq!(names, ours);
    }
}

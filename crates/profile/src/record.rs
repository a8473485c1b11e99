//! The record: what a container was seen to need, or its programs can do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::RecordError;
use crate::syscalls::{Machine, exists};

/// What a record says of itself; a change of form that readers must know has another number.
pub const SCHEMA: &str = "palisade.dev/profile-record/v1";
/// Bytes of a record.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// Entries of any list in it.
const ENTRIES_MAX: usize = 65_536;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 256;

/// How it is known that a call is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// It was made.
    Recorded,
    /// The OCI runtime makes it between the load of the filter and the program's start.
    Floor,
    /// A program or library has it.
    Static,
}

/// Where the calls of the OCI runtime come from, which it makes under the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Floor {
    /// The record holds none.
    #[default]
    None,
    /// Measured elsewhere ([`FLOOR`](crate::tailor::FLOOR)).
    Known,
    /// Seen: the container started while it was recorded.
    Seen,
}

/// A capability that the kernel asked for and found, with the calls in which it did.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Name without `CAP_`.
    pub name: String,
    /// Calls.
    pub calls: BTreeSet<String>,
}

/// Files, by path in the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Opened for writing.
    pub written: BTreeSet<String>,
    /// Made, removed, renamed, or changed in mode, owner or times.
    pub changed: BTreeSet<String>,
    /// Executed.
    pub executed: BTreeSet<String>,
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    /// `inet`, `inet6`, or the number of another family.
    pub family: String,
    /// The address, where the family has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The port; 0 lets the kernel choose.
    pub port: u16,
}

/// What it does with the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkNeeds {
    /// Addresses of its own.
    pub bound: BTreeSet<Endpoint>,
    /// Others' addresses.
    pub connected: BTreeSet<Endpoint>,
    /// Unix sockets of its own, by path.
    pub unix_bound: BTreeSet<String>,
    /// Others' Unix sockets.
    pub unix_connected: BTreeSet<String>,
}

/// The one field by which a document of another kind is known.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// What a container needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: String,
    /// A name for people, and of the profiles.
    pub name: String,
    /// The machine, as `uname -m` names it.
    pub architecture: String,
    /// How many containers or programs went into it.
    pub n_merged: u32,
    /// The runtime's own calls.
    pub floor: Floor,
    /// What the record cannot know or has lost; empty if nothing.
    pub gaps: BTreeSet<String>,
    /// Calls, and how each is known.
    pub calls: BTreeMap<String, BTreeSet<Source>>,
    /// Values of arguments that filters decide on: by call, by place from 0.
    pub arguments: BTreeMap<String, BTreeMap<u8, BTreeSet<u64>>>,
    /// Calls that a filter or the kernel refused, and that never succeeded.
    pub refused: BTreeSet<String>,
    /// Capabilities that were used.
    pub capabilities: BTreeSet<Capability>,
    /// Whether the kernel told of capabilities; otherwise the list is empty for want of knowledge.
    pub capabilities_known: bool,
    /// Files.
    pub files: Files,
    /// Network.
    pub network: NetworkNeeds,
}

impl Record {
    /// An empty record.
    pub fn new(name: &str, machine: Machine) -> Self {
        Self {
            schema: SCHEMA.into(),
            name: name.chars().take(NAME_CHARS_MAX).collect(),
            architecture: machine.name().into(),
            n_merged: 1,
            floor: Floor::None,
            gaps: BTreeSet::new(),
            calls: BTreeMap::new(),
            arguments: BTreeMap::new(),
            refused: BTreeSet::new(),
            capabilities: BTreeSet::new(),
            capabilities_known: false,
            files: Files::default(),
            network: NetworkNeeds::default(),
        }
    }

    /// Reads a record and checks that it can be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(RecordError::TooLarge(bytes.len()));
        }
        let invalid = |error: serde_json::Error| RecordError::Invalid(error.to_string());
        let head: Head = serde_json::from_slice(bytes).map_err(invalid)?;
        if head.schema != SCHEMA {
            return Err(RecordError::Schema(head.schema.chars().take(NAME_CHARS_MAX).collect()));
        }
        let record: Self = serde_json::from_slice(bytes).map_err(invalid)?;
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), RecordError> {
        self.machine()?;
        let values: usize =
            self.arguments.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum();
        let files = &self.files;
        let network = &self.network;
        for (what, n) in [
            ("gaps", self.gaps.len()),
            ("calls", self.calls.len() + self.refused.len()),
            ("values of arguments", values),
            ("capabilities", self.capabilities.len()),
            ("files", files.written.len() + files.changed.len() + files.executed.len()),
            ("addresses", network.bound.len() + network.connected.len()),
            ("sockets", network.unix_bound.len() + network.unix_connected.len()),
        ] {
            if n > ENTRIES_MAX {
                return Err(RecordError::TooMany { what, n, max: ENTRIES_MAX });
            }
        }
        let names = self.calls.keys().chain(self.arguments.keys()).chain(&self.refused);
        for name in names {
            // A call that is newer than the table is written by its number.
            let is_number = name.strip_prefix('#').is_some_and(|n| n.parse::<u32>().is_ok());
            if !is_number && !exists(name) {
                return Err(RecordError::Call(name.chars().take(NAME_CHARS_MAX).collect()));
            }
        }
        Ok(())
    }

    /// The machine it is of.
    pub fn machine(&self) -> Result<Machine, RecordError> {
        Machine::parse(&self.architecture)
            .ok_or_else(|| RecordError::Architecture(self.architecture.clone()))
    }

    /// The record as JSON, one entry a line.
    pub fn to_json(&self) -> String {
        // A structure of strings, numbers and maps with such keys has no reason to fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Notes that the call `name` is needed.
    pub fn add_call(&mut self, name: impl Into<String>, source: Source) {
        self.calls.entry(name.into()).or_default().insert(source);
    }

    /// Adds everything that `other` needs.
    pub fn merge(&mut self, other: &Self) -> Result<(), RecordError> {
        if self.architecture != other.architecture {
            let names = (self.architecture.clone(), other.architecture.clone());
            return Err(RecordError::Mixed(names.0, names.1));
        }
        self.n_merged = self.n_merged.saturating_add(other.n_merged);
        self.floor = self.floor.max(other.floor);
        self.gaps.extend(other.gaps.iter().cloned());
        for (name, sources) in &other.calls {
            self.calls.entry(name.clone()).or_default().extend(sources);
        }
        for (call, places) in &other.arguments {
            let ours = self.arguments.entry(call.clone()).or_default();
            for (place, values) in places {
                ours.entry(*place).or_default().extend(values);
            }
        }
        self.refused.extend(other.refused.iter().cloned());
        self.refused.retain(|name| !self.calls.contains_key(name));
        self.merge_capabilities(&other.capabilities);
        self.capabilities_known &= other.capabilities_known || other.is_static();
        let (ours, theirs) = (&mut self.files, &other.files);
        ours.written.extend(theirs.written.iter().cloned());
        ours.changed.extend(theirs.changed.iter().cloned());
        ours.executed.extend(theirs.executed.iter().cloned());
        let (ours, theirs) = (&mut self.network, &other.network);
        ours.bound.extend(theirs.bound.iter().cloned());
        ours.connected.extend(theirs.connected.iter().cloned());
        ours.unix_bound.extend(theirs.unix_bound.iter().cloned());
        ours.unix_connected.extend(theirs.unix_connected.iter().cloned());
        Ok(())
    }

    /// Whether nothing in it was seen running: it then says nothing of files, capabilities and
    /// arguments.
    pub fn is_static(&self) -> bool {
        !self.calls.is_empty()
            && self.calls.values().all(|sources| !sources.contains(&Source::Recorded))
    }

    fn merge_capabilities(&mut self, others: &BTreeSet<Capability>) {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for capability in self.capabilities.iter().chain(others) {
            all.entry(capability.name.clone())
                .or_default()
                .extend(capability.calls.iter().cloned());
        }
        self.capabilities =
            all.into_iter().map(|(name, calls)| Capability { name, calls }).collect();
    }
}

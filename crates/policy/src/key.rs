//! What a key of a policy is: where it stands, what it takes and what holds without it.

use std::path::PathBuf;

use crate::document::Policy;

/// A key of a policy.
pub(crate) struct Key {
    /// Where it stands: `images.gate.severity`, `response[].name`.
    pub path: &'static str,
    /// What it takes and where that goes.
    pub kind: Kind,
    /// What holds when the key is not there.
    pub default: Default,
    /// What it means, in full sentences.
    pub doc: &'static str,
    /// A value, as one would write it.
    pub example: &'static str,
}

/// What holds when a key is not there.
pub(crate) enum Default {
    /// The key must be there.
    Required,
    /// Nothing: sections and lists.
    Nothing,
    /// This text, read as if the file said it.
    Value(&'static str),
    /// These texts.
    Values(&'static [&'static str]),
}

/// A word that a key allows.
pub(crate) struct Choice {
    pub name: &'static str,
    pub meaning: &'static str,
    pub set: fn(&mut Policy),
}

/// What a text must be.
pub(crate) enum TextRule {
    /// Lower-case letters, digits and `.`, `_`, `-`; a letter or digit first.
    Name,
    /// Anything on one line.
    Sentence,
    /// An absolute path in the container.
    MountPoint,
    /// A path on the host, relative to the policy file.
    File,
    /// A capability, with or without `CAP_`, in any case.
    Capability,
    /// One of the actions of a response.
    Action,
    /// Where a sink sends alerts.
    Endpoint,
    /// What is done at an event.
    EnforcementAction,
    /// What an exception allows a container of an engine.
    Allowance,
    /// A regular expression.
    Pattern,
    /// The last day of something that may have none: `2027-06-30`, or empty.
    LastDay,
    /// A day: `2027-06-30`.
    Date,
    /// A recipient of age: `age1…`.
    Recipient,
    /// An address of `https` or `http`, or empty.
    Url,
    /// `auto`, `none` or a label of SELinux.
    Selinux,
}

/// What a key takes, with the function that stores it.
///
/// Functions for keys of list items act on the item that was begun last.
pub(crate) enum Kind {
    /// A mapping of further keys.
    Section,
    /// A list of mappings; the function begins an item.
    Items {
        n_max: usize,
        begin: fn(&mut Policy),
    },
    /// The version of the format.
    Version,
    Bool(fn(&mut Policy, bool)),
    Choice(&'static [Choice]),
    /// A choice, or a file whose name ends in `.json`.
    ChoiceOrFile(&'static [Choice], fn(&mut Policy, PathBuf)),
    /// A whole number; `none` as well when `optional`.
    Integer {
        min: u64,
        max: u64,
        optional: bool,
        set: fn(&mut Policy, Option<u64>),
    },
    /// Bytes, or `none` when `optional`.
    Size {
        min: u64,
        max: u64,
        optional: bool,
        set: fn(&mut Policy, Option<u64>),
    },
    /// Processors in thousandths, or `none`.
    Cpu(fn(&mut Policy, Option<u32>)),
    Text(TextRule, fn(&mut Policy, String)),
    Texts {
        rule: TextRule,
        n_max: usize,
        set: fn(&mut Policy, Vec<String>),
    },
}

/// A key that only holds others.
pub(crate) const fn section(path: &'static str, doc: &'static str) -> Key {
    Key { path, kind: Kind::Section, default: Default::Nothing, doc, example: "" }
}

/// A key that takes one text.
pub(crate) const fn text(
    path: &'static str,
    rule: TextRule,
    set: fn(&mut Policy, String),
    default: Default,
    doc: &'static str,
    example: &'static str,
) -> Key {
    Key { path, kind: Kind::Text(rule, set), default, doc, example }
}

impl Key {
    /// Path of what it stands in: `images.gate` of `images.gate.severity`, `` of `images`.
    pub(crate) fn parent(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(parent, _)| parent)
    }

    /// Its own name, without what it stands in.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Whether the key is there only to hold others.
    pub(crate) fn is_section(&self) -> bool {
        matches!(self.kind, Kind::Section)
    }
}

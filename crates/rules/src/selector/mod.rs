//! What of a rule the kernel can decide by itself.
//!
//! [`Selector::exact`] turns a rule's condition into a small table for each event: a
//! disjunction of [`Term`]s, each a conjunction of questions ([`Atom`]) about things that
//! the kernel knows when the event happens ([`Input`]). Programs in the kernel act on such
//! tables, so an exact one never says yes where the rule says no; what cannot be said that
//! way is an error that names the predicate. [`Selector::relaxed`] is the opposite, for
//! filters: it never says no where the rule says yes.
//!
//! [`EventSelector::holds`] and [`EventSelector::may_hold`] are the machine in Rust. The one
//! in the kernel is held against it by tests.

mod fields;
mod formula;
mod lower;

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::ast::Expr;
use crate::fields::{Fields, Schema, Value};
use crate::rule_set::Rule;

/// Terms of one event's disjunction.
pub const TERMS_MAX: usize = 64;
/// Distinct questions about one event.
pub const ATOMS_MAX: usize = 64;
/// Event types of one rule.
pub const EVENTS_MAX: usize = 32;
/// Bytes of a text that the kernel compares with.
pub const TEXT_BYTES_MAX: usize = 239;
/// Numbers that one question names.
pub const NUMBERS_MAX: usize = 16;

/// Something that the kernel knows about an event at the moment when it happens.
///
/// The values are those that the rule's field has, but for one thing: names and paths of
/// programs are the kernel's at that moment, while a rule sees those of the last exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    /// Name of the process (`comm`). Unknown where that of the thread and that of its leader
    /// give different answers.
    Comm,
    /// Name of the parent process.
    ParentName,
    /// Path of the process's program; of an exec that succeeds, of the new one.
    ExePath,
    /// Path of the opened file; unknown if the open fails.
    Path,
    /// The folder in it; of a folder, the whole path.
    Directory,
    /// What follows the last slash in it; absent for a folder.
    FileName,
    /// The call's result: a number, or the negative error.
    Result,
    /// Effective user id, as the host numbers users.
    Uid,
    /// The new descriptor's number, -1 if the open fails.
    Descriptor,
    /// Flags of the open, as the format of captures numbers them; the flag of nameless files
    /// only if the open succeeds.
    OpenFlags,
    /// 1 if a folder was asked for, 0 if not; unknown if the open fails.
    IsDirectory,
    /// Layer of the overlay that holds the file: 1 upper, 2 lower, 0 neither; unknown if
    /// the open fails.
    Layer,
    /// Number of the controlling terminal of a program that starts, 0 without one; unknown if
    /// the exec fails.
    Terminal,
    /// What an exec found about the program's file (`exe_flags` of the format); unknown if
    /// it fails.
    ExeFlags,
    /// The address that the call names; absent if it is no IP address.
    AddressIp,
    /// The port that the call names; absent likewise.
    AddressPort,
    /// The far end of the connection that the call makes; absent if it is no IP connection,
    /// unknown if the call fails.
    ServerIp,
    /// Its port.
    ServerPort,
    /// A number among the event's parameters, by its index in the format.
    Parameter(u8),
}

/// What is asked about an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Test {
    /// It is there.
    Exists,
    /// The text is one of some, or begins or ends with one of others.
    Text {
        /// Whole texts.
        equal: BTreeSet<Vec<u8>>,
        /// Beginnings.
        prefixes: BTreeSet<Vec<u8>>,
        /// Ends; only of [`Input::Path`] and [`Input::ExePath`].
        suffixes: BTreeSet<Vec<u8>>,
    },
    /// One of these holds for the number.
    Numbers(Vec<NumberTest>),
    /// The address is in one of these networks.
    Nets(BTreeSet<IpNet>),
}

/// What is asked about a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NumberTest {
    /// It is this one.
    Equal(i64),
    /// It is less.
    Less(i64),
    /// It is greater.
    Greater(i64),
    /// It has one of these bits.
    AnyBit(u32),
}

/// A question about an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Atom {
    /// About what.
    pub input: Input,
    /// What.
    pub test: Test,
}

/// A conjunction: atoms that must hold and atoms that must not, as bits by their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term {
    /// Atoms that must hold.
    pub need: u64,
    /// Atoms that must not.
    pub forbid: u64,
}

/// What is known of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fact<'f> {
    /// The event does not have it: no atom holds.
    Absent,
    /// It cannot be told: no atom is sure to hold, and none is sure not to.
    Unknown,
    /// Its value.
    Known(Value<'f>),
}

/// When a rule holds for events of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSelector {
    /// The event's name: `openat`.
    pub event: String,
    /// The questions.
    pub atoms: Vec<Atom>,
    /// The disjunction; never empty.
    pub terms: Vec<Term>,
}

/// When a rule holds, event by event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// One for each event for which the rule can hold, by name.
    pub events: Vec<EventSelector>,
}

/// Why a rule cannot be decided in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlowered {
    /// The rule counts.
    #[error("it counts events, and the kernel judges each alone")]
    Stateful,
    /// The set was loaded without the trees of its conditions.
    #[error("its condition was not kept when the rules were loaded")]
    NoExpression,
    /// The condition leaves the event open.
    #[error(
        "it can match {n} types of events, and the kernel takes {EVENTS_MAX}; name them with `evt.type`"
    )]
    TooManyEvents {
        /// How many.
        n: usize,
    },
    /// A predicate asks for what the kernel does not know.
    #[error("`{predicate}` (for `{event}`): {why}")]
    Predicate {
        /// The event.
        event: String,
        /// The predicate, as a condition writes it.
        predicate: String,
        /// What is in the way.
        why: &'static str,
    },
    /// The condition has too many alternatives.
    #[error("for `{event}` it has more than {max} {what}")]
    TooLarge {
        /// The event.
        event: String,
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
}

impl Selector {
    /// When `rule` holds for events of containers, and for no others: the selector never
    /// holds where the rule does not.
    ///
    /// It may decline where the rule holds, if an input is [`Fact::Unknown`]: about the file
    /// of an open that fails, say. The rule's set must have been loaded with
    /// [`LoadOptions::keep_expressions`](crate::LoadOptions::keep_expressions).
    pub fn exact(rule: &Rule, schema: &dyn Schema) -> Result<Self, Unlowered> {
        lower::rule(rule, schema, lower::Mode::Exact, None)
    }

    /// As [`Self::exact`], for the events of one container: `container` answers the fields of
    /// containers and pods (`container.…`, `k8s.…`), which are the same for all of them.
    pub fn exact_in(
        rule: &Rule,
        schema: &dyn Schema,
        container: &dyn Fields,
    ) -> Result<Self, Unlowered> {
        lower::rule(rule, schema, lower::Mode::Exact, Some(container))
    }

    /// As [`Self::exact`], of `expression` in place of the rule's whole condition: of a part
    /// whose rest is known to hold.
    pub fn exact_part(
        rule: &Rule,
        expression: &Expr,
        schema: &dyn Schema,
    ) -> Result<Self, Unlowered> {
        lower::part(rule, expression, schema, lower::Mode::Exact, None)
    }

    /// When `rule` may hold: for every event for which it holds, [`EventSelector::may_hold`].
    /// What the kernel cannot decide counts as true.
    pub fn relaxed(rule: &Rule, schema: &dyn Schema) -> Result<Self, Unlowered> {
        lower::rule(rule, schema, lower::Mode::Relaxed, None)
    }

    /// The selector of an event.
    pub fn for_event(&self, event: &str) -> Option<&EventSelector> {
        self.events.iter().find(|selector| selector.event == event)
    }
}

impl EventSelector {
    /// Whether it is sure that a term holds.
    pub fn holds<'f>(&self, facts: &dyn Fn(Input) -> Fact<'f>) -> bool {
        let (sure, maybe) = self.judge(facts);
        self.terms.iter().any(|term| term.need & !sure == 0 && term.forbid & maybe == 0)
    }

    /// Whether a term can hold, whatever the unknown inputs are.
    pub fn may_hold<'f>(&self, facts: &dyn Fn(Input) -> Fact<'f>) -> bool {
        let (sure, maybe) = self.judge(facts);
        self.terms.iter().any(|term| term.need & !maybe == 0 && term.forbid & sure == 0)
    }

    /// The inputs that it asks about.
    pub fn inputs(&self) -> BTreeSet<Input> {
        self.atoms.iter().map(|atom| atom.input).collect()
    }

    /// Atoms that are sure to hold, and those that are not sure not to.
    fn judge<'f>(&self, facts: &dyn Fn(Input) -> Fact<'f>) -> (u64, u64) {
        let (mut sure, mut maybe) = (0_u64, 0_u64);
        for (bit, atom) in self.atoms.iter().enumerate() {
            match facts(atom.input) {
                Fact::Absent => {}
                Fact::Unknown => maybe |= 1 << bit,
                Fact::Known(value) => {
                    let holds = u64::from(atom.test.holds(value)) << bit;
                    sure |= holds;
                    maybe |= holds;
                }
            }
        }
        (sure, maybe)
    }
}

impl Test {
    /// Whether a value passes.
    pub fn holds(&self, value: Value<'_>) -> bool {
        match (self, value) {
            (Self::Exists, _) => true,
            (Self::Text { equal, prefixes, suffixes }, Value::Text(text)) => {
                equal.contains(text)
                    || prefixes.iter().any(|prefix| text.starts_with(prefix))
                    || suffixes.iter().any(|suffix| text.ends_with(suffix))
            }
            (Self::Numbers(tests), _) => {
                number(value).is_some_and(|number| tests.iter().any(|test| test.holds(number)))
            }
            (Self::Nets(nets), Value::Ip(address)) => nets.iter().any(|net| net.contains(&address)),
            _ => false,
        }
    }
}

impl NumberTest {
    /// Whether a number passes.
    pub fn holds(self, number: i64) -> bool {
        match self {
            Self::Equal(n) => number == n,
            Self::Less(n) => number < n,
            Self::Greater(n) => number > n,
            Self::AnyBit(bits) => number & i64::from(bits) != 0,
        }
    }
}

fn number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(n) => Some(n),
        Value::Uint(n) => i64::try_from(n).ok(),
        Value::Bool(b) => Some(i64::from(b)),
        _ => None,
    }
}

impl Input {
    /// A word for it, for people.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Comm => "name of the process",
            Self::ParentName => "name of the parent",
            Self::ExePath => "path of the program",
            Self::Path => "path of the file",
            Self::Directory => "folder of the file",
            Self::FileName => "name of the file",
            Self::Result => "result of the call",
            Self::Uid => "user id",
            Self::Descriptor => "number of the descriptor",
            Self::OpenFlags => "flags of the open",
            Self::IsDirectory => "whether a folder was opened",
            Self::Layer => "layer of the file",
            Self::Terminal => "controlling terminal",
            Self::ExeFlags => "state of the program's file",
            Self::AddressIp => "address named by the call",
            Self::AddressPort => "port named by the call",
            Self::ServerIp => "address of the far end",
            Self::ServerPort => "port of the far end",
            Self::Parameter(_) => "number among the parameters",
        }
    }
}

//! Stateful rules: what single events do not tell.
//!
//! An extension of the language that files for Falco cannot collide with: it has an item of
//! its own, `stateful_rule`, which Falco skips with a warning.
//!
//! ```yaml
//! - stateful_rule: Many ports tried
//!   desc: One process tries to connect to many ports.
//!   condition: evt.type = connect and fd.sport exists
//!   distinct: [fd.sip, fd.sport]
//!   count: 20
//!   within: 10s
//!   per: process
//!   output: Many ports tried (command=%proc.cmdline)
//!   priority: WARNING
//! ```
//!
//! With `count` it fires when the condition held for so many events, or with `distinct` for
//! so many different values of these fields, within the time and for one value of the `per`
//! fields. With `steps` instead of `condition` and `count`, it fires when conditions held one
//! after the other.

use crate::collect::RuleInfo;
use crate::fields::Fields;
use crate::output::OutputFormat;
use crate::priority::Priority;
use crate::reader::{
    Outcome, decode_bool, decode_u32, optional, required, required_text, sequence_of_text, shape,
    text_of, warn_unknown_keys,
};
use crate::report::{Problem, Report, SourcedText};
use crate::tracker::{Awaited, COUNT_MAX, STEPS_MAX, Tracker};
use crate::yaml::Node;

const KEYS: [&str; 14] = [
    "stateful_rule",
    "desc",
    "condition",
    "steps",
    "count",
    "distinct",
    "within",
    "per",
    "output",
    "priority",
    "source",
    "enabled",
    "tags",
    "warn_evttypes",
];

/// The longest time that a stateful rule may look back.
pub const WITHIN_NS_MAX: u64 = 24 * 3600 * 1_000_000_000;

/// Fields of `per` and `distinct`.
pub const KEY_FIELDS_MAX: usize = 8;

/// Short names of what events are counted for.
const PER: [(&str, &str); 5] = [
    ("host", ""),
    ("container", "%container.id"),
    ("session", "%container.id %proc.sid"),
    ("process", "%container.id %proc.pid"),
    ("user", "%container.id %user.uid"),
];

/// What a rule file says of a stateful rule beyond what every rule has.
#[derive(Debug, Clone)]
pub(crate) struct StatefulInfo {
    pub(crate) awaited: Awaited,
    pub(crate) within_ns: u64,
    /// As an output; empty for the whole host.
    pub(crate) per: String,
    /// As an output.
    pub(crate) distinct: Option<String>,
    /// The conditions of a sequence behind the first, which is the rule's own.
    pub(crate) later_steps: Vec<SourcedText>,
}

/// How a stateful rule counts.
#[derive(Debug)]
pub struct Stateful {
    /// What it waits for.
    pub awaited: Awaited,
    /// How far it looks back, in nanoseconds.
    pub within_ns: u64,
    /// What it counts for, as an output; none for the whole host.
    pub(crate) per: Option<OutputFormat>,
    /// The values that must differ, as an output.
    pub(crate) distinct: Option<OutputFormat>,
    /// The texts of both, to tell whether another rule's memory has the same keys.
    pub(crate) keys: (String, Option<String>),
}

impl Stateful {
    pub(crate) fn tracker(&self) -> Tracker {
        Tracker::new(self.awaited.clone(), self.within_ns)
    }

    /// The key of an event, and the value that must differ from others.
    pub(crate) fn key(&self, event: &dyn Fields) -> (Box<str>, Option<Box<str>>) {
        let render = |format: &OutputFormat| format.render(event).into_boxed_str();
        let key = self.per.as_ref().map(render).unwrap_or_default();
        (key, self.distinct.as_ref().map(render))
    }

    /// The names of the fields that tell what is counted for.
    pub fn per_fields(&self) -> impl Iterator<Item = &str> {
        self.per.iter().flat_map(OutputFormat::field_names)
    }

    /// The names of the fields whose values must differ.
    pub fn distinct_fields(&self) -> impl Iterator<Item = &str> {
        self.distinct.iter().flat_map(OutputFormat::field_names)
    }
}

/// Reads a stateful rule.
pub(crate) fn read_stateful(item: &Node, report: &mut Report<'_>) -> Outcome<RuleInfo> {
    let name = required_text(item, "stateful_rule")?;
    if let Some(node) = item.get("action") {
        return Err(shape(node.place, "'action' cannot stand in a stateful rule")
            .with_help("an action is about one event; see `response` in policies"));
    }
    let within = required(item, "within")?;
    let within_ns = duration_ns(within)?;
    let per = match item.get("per") {
        Some(node) => key_format(node, "per")?,
        None => PER[1].1.to_owned(),
    };
    let Waiting { awaited, condition, later_steps, distinct } = match item.get("steps") {
        Some(steps) => read_sequence(item, steps)?,
        None => read_count(item)?,
    };
    let priority = required(item, "priority")?;
    let output = required(item, "output")?;
    let info = RuleInfo {
        name,
        place: item.place,
        source: optional(item, "source", "syscall".to_owned(), |node| Ok(text_of(node)))?,
        unknown_source: false,
        condition,
        output: text_of(output).trim().to_owned(),
        output_place: output.place,
        description: required_text(item, "desc")?,
        priority: Priority::parse(&text_of(priority))
            .ok_or_else(|| shape(priority.place, "Invalid priority"))?,
        actions: Vec::new(),
        enabled: optional(item, "enabled", true, decode_bool)?,
        capture: false,
        capture_duration_ms: 0,
        warn_evttypes: optional(item, "warn_evttypes", true, decode_bool)?,
        skip_if_unknown_filter: false,
        tags: match item.get("tags") {
            Some(tags) => sequence_of_text(tags)?.into_iter().collect(),
            None => std::collections::BTreeSet::new(),
        },
        exceptions: Vec::new(),
        stateful: Some(StatefulInfo { awaited, within_ns, per, distinct, later_steps }),
    };
    warn_unknown_keys(item, &KEYS, report);
    Ok(info)
}

/// What a rule waits for, and the conditions.
struct Waiting {
    awaited: Awaited,
    condition: SourcedText,
    later_steps: Vec<SourcedText>,
    distinct: Option<String>,
}

fn read_sequence(item: &Node, steps: &Node) -> Outcome<Waiting> {
    for key in ["condition", "count", "distinct"] {
        if let Some(node) = item.get(key) {
            return Err(shape(node.place, format!("'{key}' cannot stand beside 'steps'"))
                .with_help("a stateful rule has either 'steps', or 'condition' and 'count'"));
        }
    }
    let mut conditions = conditions(steps)?.into_iter();
    let Some(condition) = conditions.next() else {
        return Err(shape(steps.place, "'steps' is empty"));
    };
    let later_steps: Vec<_> = conditions.collect();
    let awaited = Awaited::Sequence { n_steps: later_steps.len() + 1 };
    Ok(Waiting { awaited, condition, later_steps, distinct: None })
}

fn read_count(item: &Node) -> Outcome<Waiting> {
    let condition = SourcedText::from_node(required(item, "condition")?);
    let node = required(item, "count")?;
    let at_least = decode_u32(node)?;
    if !(2..=COUNT_MAX).contains(&at_least) {
        let message = format!("'count' is {at_least}, and must be from 2 to {COUNT_MAX}");
        return Err(shape(node.place, message));
    }
    let distinct = item.get("distinct").map(|node| key_format(node, "distinct")).transpose()?;
    let awaited = Awaited::Count { at_least, distinct: distinct.is_some() };
    Ok(Waiting { awaited, condition, later_steps: Vec::new(), distinct })
}

fn conditions(node: &Node) -> Outcome<Vec<SourcedText>> {
    let Some(steps) = node.sequence() else {
        return Err(shape(node.place, "'steps' must be a sequence of conditions"));
    };
    if !(2..=STEPS_MAX).contains(&steps.len()) {
        let message = format!("{} steps, and there must be from 2 to {STEPS_MAX}", steps.len());
        return Err(shape(node.place, message));
    }
    let step = |step: &Node| match step.scalar() {
        Some(text) if !text.trim().is_empty() => Ok(SourcedText::from_node(step)),
        _ => Err(shape(step.place, "a step is a condition")),
    };
    steps.iter().map(step).collect()
}

/// Reads the fields of a key, or a short name for some, as an output.
fn key_format(node: &Node, key: &str) -> Outcome<String> {
    if key == "per"
        && let Some(name) = node.scalar()
    {
        let known = PER.iter().find(|(short, _)| *short == name);
        return known.map(|(_, format)| (*format).to_owned()).ok_or_else(|| {
            let names = PER.map(|(short, _)| short).join(", ");
            shape(node.place, format!("unknown 'per': '{name}'"))
                .with_help(format!("one of {names}, or a list of fields"))
        });
    }
    let fields = sequence_of_text(node)?;
    if fields.is_empty() || fields.len() > KEY_FIELDS_MAX {
        let message = format!("'{key}' names {} fields, not 1 to {KEY_FIELDS_MAX}", fields.len());
        return Err(shape(node.place, message));
    }
    // A separator that no value holds unless it is made to: such a value only joins what
    // its own process did.
    Ok(fields.iter().map(|field| format!("%{field}")).collect::<Vec<_>>().join("\u{1f}"))
}

/// Reads `10s`, `500ms`, `5m`, `1h`.
fn duration_ns(node: &Node) -> Outcome<u64> {
    let text = node.scalar().unwrap_or_default();
    let wrong = |message: String| -> Problem {
        shape(node.place, message).with_help("write a time such as 500ms, 10s, 5m or 1h")
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit_ns: u64 = match &text[digits..] {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(wrong(format!("'{text}' is not a time"))),
    };
    let n: u64 = text[..digits].parse().map_err(|_| wrong(format!("'{text}' is not a time")))?;
    match n.checked_mul(unit_ns) {
        Some(ns @ 1..=WITHIN_NS_MAX) => Ok(ns),
        _ => Err(wrong(format!("'{text}' is not between 1ms and 24h"))),
    }
}

//! What rules can match, as far as the kernel can tell: conditions lowered to the filter of opens.
//!
//! The filter is a relaxation. What the probes cannot decide counts as true, of two texts that must
//! both stand in a path one is looked for, and bytes are compared by class; so more crosses than
//! matches, never less. A property test holds that against the evaluator over captures
//! (`tests/it/pushdown.rs`).
//!
//! Opens serve more than the rules about them: a later event may name a descriptor, or a path
//! relative to one. Folders and the standard streams therefore always cross; and calls that take a
//! descriptor bring its path with them. A rule that asks for a descriptor's name at any other call
//! ([`UNDESCRIBED`]) makes every open cross.

use std::borrow::Cow;
use std::collections::BTreeMap;

use palisade_bpf::{Environment, OpenClasses, OpenFilter, OpenTexts, PathText};
use palisade_rules::ast::{Comparison, Expr, FieldUse, Operand, Quantifier, Relation, Right};
use palisade_rules::fields::Schema as _;
use palisade_rules::{OutputFormat, Rule, RuleSet, SYSCALL_SOURCE, parse_condition};
use palisade_sensor::SyscallSchema;

/// Events of opens. `creat` is one for writing.
const OPENS: [&str; 4] = ["open", "openat", "openat2", "creat"];

/// Calls that take a descriptor of any file and do not say what it is, as `dup`, `fchmod`, `fchown`
/// and `fchdir` do (`describe_fd` in the probes).
const UNDESCRIBED: [&str; 12] = [
    "bpf",
    "close",
    "close_range",
    "fcntl",
    "finit_module",
    "fsconfig",
    "ioctl",
    "mmap",
    "pidfd_getfd",
    "read",
    "setns",
    "write",
];

/// Texts that a condition is lowered to; with more, nothing is held back for it.
const TEXTS_MAX: usize = 1024;

/// The filter of opens for `rules`.
pub fn opens(rules: &RuleSet) -> OpenFilter {
    let mut texts = OpenTexts::default();
    let mut whose = OpenClasses::NONE;
    for rule in rules.rules().iter().filter(|rule| rule.enabled && rule.source == SYSCALL_SOURCE) {
        if names_other_descriptors(rule) {
            return OpenFilter::All;
        }
        let Some(condition) = tree_of(rule) else { return OpenFilter::All };
        whose |= containment(&condition, false);
        let reach = lower(&condition, false);
        texts.add_always(reach.always);
        for (text, classes) in reach.texts {
            texts.add_text(text, classes);
        }
    }
    texts.add_always(OpenClasses::KEPT & whose);
    add_unclean(&mut texts);
    OpenFilter::Only(texts)
}

/// Whose environment `rules` ask for, in a condition or an output.
pub fn environment(rules: &RuleSet) -> Environment {
    let of_rule = |rule: &Rule| {
        let formats = rule.extra_fields.iter().map(|(_, format)| format);
        let outputs =
            std::iter::once(&rule.output_format).chain(formats).flat_map(OutputFormat::field_names);
        let fields: Vec<&str> = rule.fields.iter().map(String::as_str).chain(outputs).collect();
        let asks = |name: &str| fields.iter().any(|field| field.split('[').next() == Some(name));
        // An ancestor of a container's process can be the host's.
        if asks("proc.aenv") {
            return Environment::All;
        }
        if !asks("proc.env") {
            return Environment::None;
        }
        let contained =
            tree_of(rule).is_some_and(|tree| containment(&tree, false) == OpenClasses::CONTAINED);
        if contained { Environment::Contained } else { Environment::All }
    };
    let watched = rules.rules().iter().filter(|rule| rule.enabled);
    watched.map(of_rule).max().unwrap_or(Environment::None)
}

/// Whether no enabled rule can match an event of the host: each demands a container.
///
/// The probes may then leave the host's own processes alone, which on a busy machine is
/// most of the work.
pub fn concerns_containers_only(rules: &RuleSet) -> bool {
    let enabled = || rules.rules().iter().filter(|rule| rule.enabled);
    enabled().next().is_some()
        && enabled().all(|rule| {
            tree_of(rule)
                .is_some_and(|condition| containment(&condition, false) == OpenClasses::CONTAINED)
        })
}

/// A rule's condition; for a sequence, that one of its steps holds. Read from the canonical text
/// where the tree was not kept ([`palisade_rules::LoadOptions::keep_expressions`]), and then not
/// for every rule: the text is Falco's, which leaves quotes out.
fn tree_of(rule: &Rule) -> Option<Cow<'_, Expr>> {
    if let Some(tree) = &rule.expression {
        return Some(Cow::Borrowed(tree));
    }
    let whole = std::slice::from_ref(&rule.condition);
    let conditions = if rule.steps.is_empty() { whole } else { &rule.steps };
    let trees: Result<Vec<Expr>, _> =
        conditions.iter().map(|condition| parse_condition(condition)).collect();
    Some(Cow::Owned(Expr::Or(trees.ok()?, 0)))
}

/// A failed open's path is the caller's text, which rules see cleaned: what is not clean crosses.
fn add_unclean(texts: &mut OpenTexts) {
    let looked_for = texts.texts().fold(OpenClasses::NONE, |all, (_, classes)| all | classes);
    for text in ["//", "/."] {
        texts.add_text(PathText::anywhere(text), looked_for & OpenClasses::FAILED);
    }
    texts.add_text(PathText::end("/"), looked_for & OpenClasses::FAILED);
}

/// Whether `rule` asks what a descriptor is at a call that does not say it.
fn names_other_descriptors(rule: &Rule) -> bool {
    let asks = rule.fields.iter().any(|field| {
        (field.starts_with("fd.")
            && !matches!(field.as_str(), "fd.num" | "fd.type" | "fd.typechar"))
            || field == "fd.types"
    });
    let names = SyscallSchema.event_types();
    asks && rule
        .event_types
        .iter()
        .any(|number| names.get(usize::from(number)).is_some_and(|name| UNDESCRIBED.contains(name)))
}

/// Opens that can fulfil a condition: those of some classes, and those with a text in their path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Reach {
    always: OpenClasses,
    texts: BTreeMap<PathText, OpenClasses>,
}

impl Reach {
    fn of(classes: OpenClasses) -> Self {
        Self { always: classes, texts: BTreeMap::new() }
    }

    fn everything() -> Self {
        Self::of(OpenClasses::ALL)
    }

    /// Opens with one of `texts` in their path.
    fn having(texts: impl IntoIterator<Item = PathText>) -> Self {
        let texts: BTreeMap<_, _> =
            texts.into_iter().map(|text| (text, OpenClasses::ALL)).collect();
        let unusable = |text: &PathText| text.text.is_empty() || text.text.contains('\0');
        if texts.len() > TEXTS_MAX || texts.keys().any(unusable) {
            return Self::everything();
        }
        Self { always: OpenClasses::NONE, texts }
    }

    fn or(mut self, other: Self) -> Self {
        self.always |= other.always;
        for (text, classes) in other.texts {
            *self.texts.entry(text).or_default() |= classes;
        }
        self.pruned()
    }

    /// Both hold. Where a text is needed on both sides, the side whose texts are rarer in paths
    /// is kept.
    fn and(self, other: Self) -> Self {
        let (kept, given) =
            if self.rarity() >= other.rarity() { (self, other) } else { (other, self) };
        let given_any = given.texts.values().fold(given.always, |all, classes| all | *classes);
        let mut both = Self::of(kept.always & given.always);
        for (text, classes) in kept.texts {
            *both.texts.entry(text).or_default() |= classes & given_any;
        }
        for (text, classes) in given.texts {
            *both.texts.entry(text).or_default() |= classes & kept.always;
        }
        both.pruned()
    }

    /// The shortest text, for there is most of it; none at all is the rarest. Rules look at paths
    /// as written for what is odd about them, such as `../`.
    fn rarity(&self) -> usize {
        let rarity = |text: &PathText| {
            text.text.len()
                + 8 * usize::from(text.at_start && text.at_end)
                + 16 * usize::from(text.as_written)
        };
        self.texts.keys().map(rarity).min().unwrap_or(usize::MAX)
    }

    fn pruned(mut self) -> Self {
        self.texts.retain(|_, classes| {
            *classes = *classes & !self.always;
            !classes.is_empty()
        });
        if self.texts.len() > TEXTS_MAX {
            let classes = self.texts.values().fold(self.always, |all, classes| all | *classes);
            return Self::of(classes);
        }
        self
    }
}

/// Opens that can fulfil `condition`, or its contrary.
fn lower(condition: &Expr, negated: bool) -> Reach {
    match condition {
        Expr::And(parts, _) if !negated => all_of(parts, negated),
        Expr::Or(parts, _) if negated => all_of(parts, negated),
        Expr::And(parts, _) | Expr::Or(parts, _) => {
            parts.iter().map(|part| lower(part, negated)).fold(Reach::default(), Reach::or)
        }
        Expr::Not(inner, _) => lower(inner, !negated),
        Expr::Macro(..) | Expr::Exists(..) => Reach::everything(),
        Expr::Compare(comparison, _) => compared(comparison, negated),
    }
}

fn all_of(parts: &[Expr], negated: bool) -> Reach {
    parts.iter().map(|part| lower(part, negated)).fold(Reach::everything(), Reach::and)
}

/// The halves, host and containers, in which `condition` can hold.
fn containment(condition: &Expr, negated: bool) -> OpenClasses {
    let parts = |parts: &[Expr], all: bool| {
        let each = parts.iter().map(|part| containment(part, negated));
        if all {
            each.fold(OpenClasses::ALL, |both, part| both & part)
        } else {
            each.fold(OpenClasses::NONE, |any, part| any | part)
        }
    };
    match condition {
        Expr::And(children, _) => parts(children, !negated),
        Expr::Or(children, _) => parts(children, negated),
        Expr::Not(inner, _) => containment(inner, !negated),
        Expr::Compare(comparison, _) if !negated && demands_container(comparison) => {
            OpenClasses::CONTAINED
        }
        _ => OpenClasses::ALL,
    }
}

/// `container.id != host`.
fn demands_container(comparison: &Comparison) -> bool {
    field_of(comparison)
        .is_some_and(|field| field.name == "container.id" && field.argument.is_none())
        && comparison.operator.relation == Relation::NotEqual
        && comparison.operator.quantifier.is_none()
        && matches!(&comparison.right, Right::Value(value, _) if value == "host")
}

fn field_of(comparison: &Comparison) -> Option<&FieldUse> {
    match &comparison.left {
        Operand::Field(field) => Some(field),
        Operand::Transform(_) | Operand::Literal(..) | Operand::List(..) => None,
    }
}

/// The constants of which one has to be fulfilled.
fn constants(comparison: &Comparison) -> Option<Vec<&str>> {
    match (&comparison.right, comparison.operator.quantifier) {
        (Right::Value(value, _), None) => Some(vec![value]),
        (Right::List(values, _), None | Some(Quantifier::Any | Quantifier::One)) => {
            Some(values.iter().map(String::as_str).collect())
        }
        _ => None,
    }
}

fn compared(comparison: &Comparison, negated: bool) -> Reach {
    let (Some(field), Some(values)) = (field_of(comparison), constants(comparison)) else {
        return Reach::everything();
    };
    let relation = comparison.operator.relation;
    let equals = matches!(relation, Relation::Equal | Relation::In | Relation::Intersects);
    let argument = field.argument.as_deref();
    match (field.name.as_str(), argument) {
        ("evt.type", None) => of_types(relation, &values, negated),
        _ if negated => Reach::everything(),
        ("container.id", None) if demands_container(comparison) => {
            Reach::of(OpenClasses::CONTAINED)
        }
        ("evt.is_open_read", None) if equals && values == ["true"] => {
            Reach::of(!OpenClasses::WRITE)
        }
        ("evt.is_open_write", None) if equals && values == ["true"] => {
            Reach::of(!OpenClasses::READ)
        }
        ("evt.failed", None) if equals && values == ["true"] => Reach::of(OpenClasses::FAILED),
        ("evt.failed", None) if equals && values == ["false"] => Reach::of(OpenClasses::DONE),
        ("evt.res", None) if equals && values == ["SUCCESS"] => Reach::of(OpenClasses::DONE),
        ("evt.res", None) if equals && values.iter().all(|value| is_error(value)) => {
            Reach::of(OpenClasses::FAILED)
        }
        ("fd.num" | "evt.rawres", None)
            if relation == Relation::GreaterOrEqual && values == ["0"] =>
        {
            Reach::of(OpenClasses::DONE)
        }
        ("fd.name", None) => Reach::having_all(path_texts(relation, &values)),
        ("fd.nameraw", None) => Reach::having_all(written_texts(relation, &values)),
        ("evt.arg", Some("name")) | ("evt.arg.name", None) => {
            Reach::having_all(path_texts(relation, &values))
        }
        ("fd.directory", None) => Reach::having_all(directory_texts(relation, &values)),
        ("fd.filename", None) => Reach::having_all(filename_texts(relation, &values)),
        _ => Reach::everything(),
    }
}

impl Reach {
    /// As [`Self::having`]; everything where there are no texts to tell by.
    fn having_all(texts: Option<Vec<PathText>>) -> Self {
        texts.map_or_else(Self::everything, Self::having)
    }
}

/// The name of an error of a call: `EACCES`.
fn is_error(value: &str) -> bool {
    value.len() > 1
        && value.starts_with('E')
        && value.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn of_types(relation: Relation, values: &[&str], negated: bool) -> Reach {
    let holds = |name: &str| match relation {
        Relation::Equal | Relation::In => Some(values.contains(&name) != negated),
        Relation::NotEqual => Some(values.contains(&name) == negated),
        _ => None,
    };
    let mut classes = OpenClasses::NONE;
    for name in OPENS {
        match holds(name) {
            Some(true) if name == "creat" => classes |= OpenClasses::WRITE | OpenClasses::KEPT,
            Some(false) => {}
            Some(true) | None => return Reach::everything(),
        }
    }
    Reach::of(classes)
}

/// The texts of which a path needs one to fulfil a comparison with `values`.
fn path_texts(relation: Relation, values: &[&str]) -> Option<Vec<PathText>> {
    let text: fn(&str) -> PathText = match relation {
        Relation::Equal | Relation::In | Relation::Intersects => |value| PathText::whole(value),
        Relation::StartsWith => |value| PathText::start(value),
        Relation::EndsWith => |value| PathText::end(value),
        Relation::Contains | Relation::IContains => |value| PathText::anywhere(value),
        Relation::PMatch => |value| PathText::start(value.trim_end_matches('/')),
        Relation::Glob | Relation::IGlob => longest_part,
        _ => return None,
    };
    Some(values.iter().map(|value| text(value)).collect())
}

/// `fd.nameraw`: the path as the caller wrote it.
fn written_texts(relation: Relation, values: &[&str]) -> Option<Vec<PathText>> {
    let texts = path_texts(relation, values)?;
    // A rule sees doubled slashes as one, so what has them has to be looked at.
    let doubled = PathText::anywhere("//");
    Some(texts.into_iter().chain([doubled]).map(PathText::as_written).collect())
}

/// `fd.directory`: the folder, which the path begins with.
fn directory_texts(relation: Relation, values: &[&str]) -> Option<Vec<PathText>> {
    // The folder of what lies in the root is `/`, which every path begins with.
    match relation {
        Relation::Equal | Relation::In | Relation::Intersects | Relation::StartsWith => {
            Some(values.iter().map(|value| PathText::start(*value)).collect())
        }
        Relation::EndsWith | Relation::Contains | Relation::IContains => {
            Some(values.iter().map(|value| PathText::anywhere(*value)).collect())
        }
        _ => None,
    }
}

/// `fd.filename`: what follows the last slash.
fn filename_texts(relation: Relation, values: &[&str]) -> Option<Vec<PathText>> {
    if values.iter().any(|value| value.contains('/')) {
        return None;
    }
    let text: fn(&str) -> PathText = match relation {
        Relation::Equal | Relation::In | Relation::Intersects => {
            |value| PathText::end(format!("/{value}"))
        }
        Relation::StartsWith => |value| PathText::anywhere(format!("/{value}")),
        Relation::EndsWith => |value| PathText::end(value),
        Relation::Contains | Relation::IContains => |value| PathText::anywhere(value),
        _ => return None,
    };
    Some(values.iter().map(|value| text(value)).collect())
}

/// The longest part of a pattern of fnmatch(3) that stands for itself. A bracket and a backslash
/// end the search: what follows them is not looked at.
fn longest_part(pattern: &str) -> PathText {
    let plain = pattern.find(['[', '\\']).map_or(pattern, |at| &pattern[..at]);
    let is_whole = plain.len() == pattern.len();
    let parts: Vec<&str> = plain.split(['*', '?']).collect();
    let last = parts.len() - 1;
    let texts = parts.iter().enumerate().map(|(number, part)| PathText {
        text: (*part).to_owned(),
        at_start: number == 0,
        at_end: is_whole && number == last,
        as_written: false,
    });
    texts.max_by_key(|text| text.text.len()).unwrap_or_else(|| PathText::anywhere(""))
}

#[cfg(test)]
#[path = "pushdown/tests.rs"]
mod tests;

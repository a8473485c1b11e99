//! Rules in rule files: new ones, changes of earlier ones, exceptions.

use std::collections::BTreeSet;

use crate::action::read_actions;
use crate::collect::{Collector, Entry, Exception, RuleInfo, RuleUpdate};
use crate::priority::Priority;
use crate::reader::{
    ERROR_OVERRIDE_APPEND, Outcome, Overrides, decode_bool, decode_u32, optional, read_append,
    read_overrides, required, required_text, sequence_of_text, shape, text_of, warn_unknown_keys,
};
use crate::report::{Problem, Report, SourcedText, code};
use crate::yaml::{Content, Node, Style};

const WARNING_ENABLED: &str = "The standalone 'enabled' key usage is deprecated. The correct \
     approach requires also a 'replace' entry under the 'override' key (i.e. 'enabled: replace').";
const RULE_KEYS: [&str; 16] = [
    "rule",
    "condition",
    "output",
    "desc",
    "priority",
    "source",
    "enabled",
    "capture",
    "capture_duration",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "tags",
    "exceptions",
    "override",
    "append",
    "action",
];
const RULE_APPENDABLE: [&str; 5] = ["condition", "output", "desc", "tags", "exceptions"];
const RULE_REPLACEABLE: [&str; 12] = [
    "condition",
    "output",
    "desc",
    "priority",
    "capture",
    "capture_duration",
    "tags",
    "exceptions",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "action",
];

fn read_tags(item: &Node) -> Outcome<BTreeSet<String>> {
    match item.get("tags") {
        None => Ok(BTreeSet::new()),
        Some(value) => Ok(sequence_of_text(value)?.into_iter().collect()),
    }
}

fn read_priority(item: &Node) -> Outcome<Priority> {
    let value = required(item, "priority")?;
    Priority::parse(value.scalar().unwrap_or_default()).ok_or_else(|| {
        shape(value.place, "Invalid priority")
            .with_help("one of EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG")
    })
}

/// Reads a rule, or what changes one.
pub(crate) fn read_rule(
    item: &Node,
    collector: &mut Collector<'_>,
    report: &mut Report<'_>,
) -> Outcome {
    let name = required_text(item, "rule")?;
    let source = match item.get("source") {
        Some(value) if !value.is_null() => match value.scalar() {
            Some(text) => text.to_owned(),
            None => return Err(shape(value.place, "Value is not a scalar value")),
        },
        _ => String::new(),
    };
    let append = read_append(item, report)?;
    let overrides = read_overrides(item, &RULE_APPENDABLE, &RULE_REPLACEABLE)?;
    if append && !overrides.is_empty() {
        return Err(shape(item.place, ERROR_OVERRIDE_APPEND));
    }
    let update = RuleUpdate { name, place: item.place, source, ..RuleUpdate::default() };
    if !overrides.is_empty() {
        read_rule_overrides(item, &overrides, update, collector, report)?;
    } else if append {
        let mut update = update;
        if item.get("condition").is_some() {
            update.condition = Some(SourcedText::from_node(required(item, "condition")?));
        }
        if item.get("exceptions").is_some() {
            update.exceptions = Some(read_exceptions(item, true, report)?);
        }
        collector.append_rule(update)?;
    } else {
        read_new_rule(item, update.name, collector, report)?;
    }
    warn_unknown_keys(item, &RULE_KEYS, report);
    Ok(())
}

fn read_new_rule(
    item: &Node,
    name: String,
    collector: &mut Collector<'_>,
    report: &mut Report<'_>,
) -> Outcome {
    if !["condition", "output", "desc", "priority"].iter().any(|key| item.get(key).is_some()) {
        let enabled = decode_bool(required(item, "enabled")?)?;
        report.push(
            Problem::warning(code::DEPRECATED_ITEM, item.place, WARNING_ENABLED)
                .with_help("add `override: {enabled: replace}`"),
        );
        return collector.enable_rule(&name, enabled, item.place);
    }
    let condition = SourcedText::from_node(required(item, "condition")?);
    let output_node = required(item, "output")?;
    let description = required_text(item, "desc")?;
    let priority = read_priority(item)?;
    let source = optional(item, "source", "syscall".to_owned(), |node| Ok(text_of(node)))?;
    let rule = RuleInfo {
        name,
        place: item.place,
        source,
        unknown_source: false,
        condition,
        output: output_node.scalar().unwrap_or_default().trim().to_owned(),
        output_place: output_node.place,
        description,
        priority,
        enabled: optional(item, "enabled", true, decode_bool)?,
        capture: optional(item, "capture", false, decode_bool)?,
        capture_duration_ms: optional(item, "capture_duration", 0, decode_u32)?,
        warn_evttypes: optional(item, "warn_evttypes", true, decode_bool)?,
        skip_if_unknown_filter: optional(item, "skip-if-unknown-filter", false, decode_bool)?,
        tags: read_tags(item)?,
        exceptions: read_exceptions(item, false, report)?,
        actions: item.get("action").map(read_actions).transpose()?.unwrap_or_default(),
        stateful: None,
    };
    collector.define_rule(rule, report)
}

fn read_rule_overrides(
    item: &Node,
    overrides: &Overrides<'_>,
    template: RuleUpdate,
    collector: &mut Collector<'_>,
    report: &mut Report<'_>,
) -> Outcome {
    let mut unexpected: BTreeSet<&str> = RULE_APPENDABLE
        .iter()
        .chain(&RULE_REPLACEABLE)
        .copied()
        .filter(|key| item.get(key).is_some())
        .collect();
    let again = RuleUpdate {
        name: template.name.clone(),
        source: template.source.clone(),
        place: template.place,
        ..RuleUpdate::default()
    };
    if !overrides.append.is_empty() {
        let update = read_update(item, &overrides.append, true, template, &mut unexpected, report)?;
        collector.append_rule(update)?;
    }
    if !overrides.replace.is_empty() {
        let update = read_update(item, &overrides.replace, false, again, &mut unexpected, report)?;
        collector.replace_in_rule(update)?;
    }
    match unexpected.first() {
        None => Ok(()),
        Some(key) => {
            let message = format!(
                "Unexpected key '{key}': no corresponding entry under 'override' is defined."
            );
            let place = item.get(key).map_or(item.place, |node| node.place);
            Err(shape(place, message))
        }
    }
}

fn read_update<'k>(
    item: &Node,
    keys: &[&'k str],
    append: bool,
    mut update: RuleUpdate,
    unexpected: &mut BTreeSet<&'k str>,
    report: &mut Report<'_>,
) -> Outcome<RuleUpdate> {
    for key in keys {
        if !unexpected.remove(key) {
            let word = if append { "append" } else { "replace" };
            let message =
                format!("An {word} override for '{key}' was specified but '{key}' is not defined");
            return Err(shape(item.place, message));
        }
        match *key {
            "condition" => {
                update.condition = Some(SourcedText::from_node(required(item, key)?));
            }
            "exceptions" => update.exceptions = Some(read_exceptions(item, append, report)?),
            "output" => update.output = Some(required_text(item, key)?),
            "desc" => update.description = Some(required_text(item, key)?),
            "tags" => update.tags = Some(read_tags(item)?),
            "priority" => update.priority = Some(read_priority(item)?),
            "capture" => update.capture = Some(decode_bool(required(item, key)?)?),
            "capture_duration" => {
                update.capture_duration_ms = Some(decode_u32(required(item, key)?)?);
            }
            "action" => {
                let value = item.get(key);
                update.actions = Some(value.map(read_actions).transpose()?.unwrap_or_default());
            }
            "enabled" => update.enabled = Some(decode_bool(required(item, key)?)?),
            "warn_evttypes" => update.warn_evttypes = Some(decode_bool(required(item, key)?)?),
            // The last of the keys that `read_overrides` lets through.
            _ => update.skip_if_unknown_filter = Some(decode_bool(required(item, key)?)?),
        }
    }
    Ok(update)
}

// === Exceptions ===

fn read_exceptions(item: &Node, append: bool, report: &mut Report<'_>) -> Outcome<Vec<Exception>> {
    let mut exceptions: Vec<Exception> = Vec::new();
    let Some(node) = item.get("exceptions").filter(|node| !node.is_null()) else {
        return Ok(exceptions);
    };
    let Some(entries) = node.sequence() else {
        return Err(shape(node.place, "Rule exceptions must be a sequence"));
    };
    for entry in entries {
        if entry.mapping().is_none() {
            return Err(shape(entry.place, "Rule exception must be a mapping"));
        }
        let name = required_text(entry, "name")?;
        if exceptions.iter().any(|other| other.name == name) {
            let message = format!("Multiple definitions of exception '{name}' in the same rule");
            report.push(Problem::warning(code::EXCEPTION_NAME_NOT_UNIQUE, entry.place, message));
        }
        let fields = match entry.get("fields") {
            Some(fields) => read_entry(fields)?,
            None if append => Entry::default(),
            None => return Err(shape(entry.place, "Item has no mapping for key 'fields'")),
        };
        let comps = entry.get("comps").map(read_entry).transpose()?.unwrap_or_default();
        let mut values = Vec::new();
        match entry.get("values") {
            Some(node) => match node.sequence() {
                Some(rows) => {
                    for row in rows {
                        values.push(read_entry(row)?);
                    }
                }
                None => {
                    return Err(shape(node.place, "Rule exception values must be a sequence"));
                }
            },
            None if append => report.push(Problem::warning(
                code::APPEND_NO_VALUES,
                entry.place,
                "Overriding/appending exception with no values",
            )),
            None => {}
        }
        exceptions.push(Exception { name, fields, comps, values, place: entry.place });
    }
    Ok(exceptions)
}

fn read_entry(node: &Node) -> Outcome<Entry> {
    match &node.content {
        Content::Scalar { text, style } => {
            if text.is_empty() || (*style == Style::Plain && node.is_null()) {
                return Err(shape(node.place, "Value must be non-empty"));
            }
            Ok(Entry::scalar(text))
        }
        Content::Sequence(elements) => {
            let items = elements.iter().map(read_entry).collect::<Outcome<_>>()?;
            Ok(Entry { item: String::new(), items, is_list: true })
        }
        Content::Mapping(_) => Ok(Entry::default()),
    }
}

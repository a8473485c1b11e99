//! `palisade rules list`: rules, macros and lists.

use std::collections::BTreeSet;

use palisade_agent::enforce::Standing;
use palisade_rules::{Change, DefinitionKind, LoadOptions, Rule, RuleSet, definitions};
use serde_json::{Value, json};

use super::{Context, Sources};
use crate::cli::{self, ListFormat};
use crate::commands::enforce::{actions, standings};
use crate::exit::{Exit, Failure};
use crate::terminal::{columns, tsv};

/// Characters of a macro's condition that the table shows.
const CONDITION_CHARS_MAX: usize = 72;

/// Carries out the command.
pub(super) fn list(context: &Context<'_>, args: &cli::RulesList) -> Result<Exit, Failure> {
    let sources = Sources::named(&args.files)?;
    let set = sources.load_all(context, &LoadOptions::default())?;
    let text = if args.macros || args.lists {
        let kind = if args.macros { DefinitionKind::Macro } else { DefinitionKind::List };
        defined_text(args.format, kind, &defined(&sources, kind, &set))
    } else {
        rules_text(args, &set)
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn rules_text(args: &cli::RulesList, set: &RuleSet) -> String {
    let standings = standings(set);
    let standing = |rule: &Rule| standings.iter().find(|standing| standing.rule == rule.name);
    // `deny, kill: prevents`, and nothing for a rule without an action.
    let enforced = |rule: &Rule| match (actions(rule), standing(rule)) {
        (actions, Some(standing)) => format!("{actions}: {}", standing.ruling.word()),
        (actions, None) => actions,
    };
    let rules: Vec<&Rule> = set.rules().iter().filter(|rule| is_wanted(args, rule)).collect();
    match args.format {
        ListFormat::Table => {
            let is_enforced = rules.iter().any(|rule| !rule.actions.is_empty());
            let rows: Vec<Vec<String>> = rules
                .iter()
                .map(|rule| {
                    let row = [&rule.name, rule.priority.name(), state(rule), &rule.source];
                    let row = row.into_iter().map(str::to_string);
                    let enforced = is_enforced.then(|| enforced(rule));
                    row.chain(enforced).chain([rule.tags.join(" ")]).collect()
                })
                .collect();
            if is_enforced {
                columns(&["RULE", "PRIORITY", "STATE", "SOURCE", "ENFORCED", "TAGS"], &rows)
            } else {
                columns(&["RULE", "PRIORITY", "STATE", "SOURCE", "TAGS"], &rows)
            }
        }
        ListFormat::Tsv => {
            let rows: Vec<Vec<String>> = rules
                .iter()
                .map(|rule| {
                    vec![
                        rule.name.clone(),
                        rule.priority.to_string(),
                        state(rule).to_string(),
                        rule.source.clone(),
                        rule.tags.join(","),
                        rule.location.to_string(),
                        enforced(rule),
                    ]
                })
                .collect();
            tsv(&rows)
        }
        ListFormat::Json => {
            let rules: Vec<Value> =
                rules.iter().map(|rule| rule_json(rule, standing(rule))).collect();
            format!("{:#}\n", json!({ "schema": SCHEMA, "rules": rules }))
        }
    }
}

const SCHEMA: &str = "palisade.dev/rules/v1";

fn is_wanted(args: &cli::RulesList, rule: &Rule) -> bool {
    args.tag.iter().all(|tag| rule.tags.contains(tag))
        && args.source.as_ref().is_none_or(|source| *source == rule.source)
        && args.priority.is_none_or(|priority| rule.priority <= priority)
        && !(args.disabled && rule.enabled)
        && (!args.enabled || rule.enabled)
}

/// `on` or `off`.
pub(super) fn state(rule: &Rule) -> &'static str {
    if rule.enabled { "on" } else { "off" }
}

fn rule_json(rule: &Rule, standing: Option<&Standing>) -> Value {
    json!({
        "name": rule.name,
        "priority": rule.priority.name(),
        "enabled": rule.enabled,
        "source": rule.source,
        "tags": rule.tags,
        "description": rule.description.trim(),
        "location": rule.location,
        "macros": rule.macros,
        "lists": rule.lists,
        "exceptions": rule.exceptions,
        "fields": rule.fields,
        "actions": rule.actions.iter().map(|action| action.as_str()).collect::<Vec<_>>(),
        "standing": standing,
    })
}

/// A macro or list of all files together.
struct Defined {
    name: String,
    /// Where it is defined and changed.
    places: Vec<String>,
    /// Condition or items, with what was appended.
    text: Vec<String>,
    /// Rules whose own condition names it.
    rules: Vec<String>,
}

fn defined(sources: &Sources, kind: DefinitionKind, set: &RuleSet) -> Vec<Defined> {
    let all = definitions(&sources.texts());
    let mut seen = BTreeSet::new();
    let of_kind = || all.iter().filter(|definition| definition.kind == kind);
    let names = of_kind().map(|d| d.name.as_str()).filter(|name| seen.insert(*name));
    names
        .map(|name| {
            let mut places = Vec::new();
            let mut text = Vec::new();
            for definition in of_kind().filter(|definition| definition.name == name) {
                if matches!(definition.change, Change::Defines | Change::Redefines)
                    || is_replaced(&definition.change)
                {
                    text.clear();
                }
                places.push(definition.location.to_string());
                text.extend(definition.text.iter().cloned());
            }
            let uses = |rule: &&Rule| {
                let names = if kind == DefinitionKind::Macro { &rule.macros } else { &rule.lists };
                names.iter().any(|used| used == name)
            };
            let rules = set.rules().iter().filter(uses).map(|rule| rule.name.clone()).collect();
            Defined { name: name.to_string(), places, text, rules }
        })
        .collect()
}

fn is_replaced(change: &Change) -> bool {
    matches!(change, Change::Changes { replaced, .. }
        if replaced.iter().any(|key| matches!(key.as_str(), "items" | "condition")))
}

fn defined_text(format: ListFormat, kind: DefinitionKind, all: &[Defined]) -> String {
    let is_macro = kind == DefinitionKind::Macro;
    let content = |defined: &Defined| {
        if is_macro { one_line(&defined.text.join(" ")) } else { defined.text.join(" ") }
    };
    match format {
        ListFormat::Table => {
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|defined| {
                    let content = content(defined);
                    let mut shown: String = content.chars().take(CONDITION_CHARS_MAX).collect();
                    if shown.len() < content.len() {
                        shown.push('…');
                    }
                    vec![
                        defined.name.clone(),
                        defined.rules.len().to_string(),
                        defined.places.join(" "),
                        shown,
                    ]
                })
                .collect();
            let header = if is_macro {
                ["MACRO", "RULES", "DEFINED AT", "CONDITION"]
            } else {
                ["LIST", "RULES", "DEFINED AT", "ITEMS"]
            };
            columns(&header, &rows)
        }
        ListFormat::Tsv => {
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|defined| {
                    let n_rules = defined.rules.len().to_string();
                    vec![defined.name.clone(), n_rules, defined.places.join(","), content(defined)]
                })
                .collect();
            tsv(&rows)
        }
        ListFormat::Json => {
            let values: Vec<Value> = all
                .iter()
                .map(|defined| {
                    let mut value = json!({
                        "name": defined.name,
                        "locations": defined.places,
                        "rules": defined.rules,
                    });
                    if is_macro {
                        value["condition"] = json!(defined.text.join(" "));
                    } else {
                        value["items"] = json!(defined.text);
                    }
                    value
                })
                .collect();
            let key = if is_macro { "macros" } else { "lists" };
            format!("{:#}\n", json!({ "schema": SCHEMA, key: values }))
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

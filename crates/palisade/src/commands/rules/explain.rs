//! `palisade rules explain`: what a rule asks, of which events, and what it costs.

use std::fmt::Write as _;
use std::path::Path;

use palisade_agent::enforce::Standing;
use palisade_agent::incident::techniques;
use palisade_agent::report::technique;
use palisade_base::suggest;
use palisade_rules::fields::Schema as _;
use palisade_rules::{
    Awaited, Change, Definition, DefinitionKind, EventTypes, LoadOptions, Rule, RuleSet, Stateful,
    definitions, flattened, pretty,
};
use palisade_sensor::SyscallSchema;
use serde_json::{Value, json};

use super::cost::{Estimate, estimate};
use super::list::state;
use super::measure::{Measured, Unmeasured, measure};
use super::reference::type_name;
use super::{Context, Sources, counted, open_capture};
use crate::cli::{self, ExplainFormat};
use crate::commands::enforce::{actions, standings};
use crate::commands::replay::say_damage;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::thousands;

/// Event types that are named one by one.
const EVENTS_SHOWN_MAX: usize = 24;
/// Shared and costly predicates that the text names.
const PREDICATES_SHOWN_MAX: usize = 6;
/// Characters of a predicate or part of a condition on one line of the text.
const PREDICATE_CHARS_MAX: usize = 90;

/// Carries out the command.
pub(super) fn explain(context: &Context<'_>, args: &cli::RulesExplain) -> Result<Exit, Failure> {
    let sources = Sources::named(&args.files)?;
    let options = LoadOptions { keep_expressions: true, ..LoadOptions::default() };
    let set = sources.load_all(context, &options)?;
    let Some((_, rule)) = set.find(&args.rule) else { return Err(no_rule(&set, &args.rule)) };
    let explained = Explained {
        rule,
        definitions: definitions(&sources.texts()),
        event_types: event_types(rule),
        estimate: estimate(&set, rule),
        standing: standings(&set).into_iter().find(|standing| standing.rule == rule.name),
        measured: args.capture.as_deref().map(|path| measured(&set, rule, path)).transpose()?,
    };
    let text = match args.format {
        ExplainFormat::Text => explained.text(args.capture.as_deref()),
        ExplainFormat::Json => format!("{:#}\n", explained.json()),
    };
    context.terminal.result(&text)?;
    match (&args.capture, &explained.measured) {
        (Some(path), Some(measured)) if !say_damage(context, path, &measured.replay) => {
            Ok(Exit::Partial)
        }
        _ => Ok(Exit::Clean),
    }
}

fn no_rule(set: &RuleSet, name: &str) -> Failure {
    let names = || set.rules().iter().map(|rule| rule.name.as_str());
    let lower = name.to_lowercase();
    let near = suggest::nearest(name, names())
        .or_else(|| names().find(|known| known.to_lowercase().contains(&lower)));
    let failure = Failure::message(Exit::Usage, format!("no rule `{name}`"));
    match near {
        Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
        None => failure.with_hint("`palisade rules list` names them"),
    }
}

fn measured(set: &RuleSet, rule: &Rule, path: &Path) -> Result<Measured, Failure> {
    let shown = || format!("read capture `{}`", path.display());
    match measure(set, rule, open_capture(path)?) {
        Ok(measured) => Ok(measured),
        Err(Unmeasured::Capture(error)) => {
            Err(error).or_exit(Exit::Incomplete).map_err(|failure| failure.during(shown()))
        }
        Err(Unmeasured::Rule(reason)) => {
            let message = format!("measure rule `{}`: {reason}", rule.name);
            Err(Failure::message(Exit::Incomplete, message)
                .with_hint("leave out --capture for the estimate"))
        }
    }
}

/// The event types that the rule subscribes to. Types that name their events themselves are
/// left out unless the condition says so: they are looked at, in case, and seldom come.
fn event_types(rule: &Rule) -> Vec<&'static str> {
    let numbers: &EventTypes =
        if rule.enabled { &rule.event_types } else { &rule.declared_event_types };
    let names = SyscallSchema.event_types();
    let mut found = Vec::new();
    for number in numbers.iter().filter(|number| rule.declared_event_types.contains(*number)) {
        if let Some(name) = names.get(usize::from(number))
            && !name.is_empty()
            && !found.contains(name)
        {
            found.push(*name);
        }
    }
    found
}

/// Names of all event types.
fn n_event_types() -> usize {
    let names: std::collections::BTreeSet<&str> =
        SyscallSchema.event_types().iter().copied().filter(|name| !name.is_empty()).collect();
    names.len()
}

struct Explained<'r> {
    rule: &'r Rule,
    definitions: Vec<Definition>,
    event_types: Vec<&'static str>,
    estimate: Option<Estimate>,
    /// Of a rule with an action.
    standing: Option<Standing>,
    measured: Option<Measured>,
}

impl Explained<'_> {
    fn of(&self, kind: DefinitionKind, name: &str) -> impl Iterator<Item = &Definition> {
        self.definitions.iter().filter(move |d| d.kind == kind && d.name == name)
    }

    fn text(&self, capture: Option<&Path>) -> String {
        let rule = self.rule;
        let mut out = format!("{}\n", rule.name);
        for line in wrapped(&rule.description, 86) {
            let _ = writeln!(out, "  {line}");
        }
        out.push('\n');
        let mut row = |name: &str, values: &[String]| {
            for (i, value) in values.iter().enumerate() {
                let _ = writeln!(out, "{:<11}{value}", if i == 0 { name } else { "" });
            }
        };
        row("priority", &[rule.priority.to_string()]);
        row("state", &[state(rule).to_string()]);
        row("source", std::slice::from_ref(&rule.source));
        row("tags", &wrapped(&rule.tags.join(" "), 76));
        row("techniques", &technique_lines(&rule.tags));
        row("defined", &self.places(DefinitionKind::Rule, &rule.name));
        row("macros", &self.named(DefinitionKind::Macro, &rule.macros));
        row("lists", &self.named(DefinitionKind::List, &rule.lists));
        row("exceptions", &rule.exceptions);
        row("events", &self.event_lines());
        row("fields", &field_lines(&rule.fields));
        if !rule.actions.is_empty() {
            row("action", &[actions(rule)]);
        }
        if let Some(standing) = &self.standing {
            row("here it", &wrapped(&standing.ruling.to_string(), 76));
            let passed_over = standing.passed_over.iter();
            row("rather", &passed_over.flat_map(|why| wrapped(why, 76)).collect::<Vec<_>>());
        }
        if let Some(stateful) = &rule.stateful {
            row("fires", &[fires(stateful)]);
        }
        let _ = writeln!(out, "\ncondition as written:\n{}", indented(&rule.condition_text));
        if let Some(expr) = &rule.expression {
            let what = if rule.exceptions.is_empty() { "" } else { ", exceptions added" };
            let _ = writeln!(
                out,
                "\ncondition with macros and lists unfolded{what}:\n{}",
                indented(&pretty(&flattened(expr)))
            );
        }
        let _ = writeln!(out, "\noutput:\n{}", indented(&wrapped(&rule.output, 86).join("\n")));
        if let Some(estimate) = &self.estimate {
            out.push_str("\ncost, estimated:\n");
            out.push_str(&estimate_text(estimate, self.event_types.len()));
        }
        if let (Some(measured), Some(capture)) = (&self.measured, capture) {
            let _ = writeln!(out, "\ncost, measured over {}:", capture.display());
            out.push_str(&measured_text(measured));
        }
        out
    }

    /// Where an item is defined and what changes it later.
    fn places(&self, kind: DefinitionKind, name: &str) -> Vec<String> {
        self.of(kind, name)
            .map(|definition| match change_text(&definition.change) {
                Some(change) => format!("{}  {change}", definition.location),
                None => definition.location.to_string(),
            })
            .collect()
    }

    fn named(&self, kind: DefinitionKind, names: &[String]) -> Vec<String> {
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        names
            .iter()
            .map(|name| format!("{name:<width$}  {}", self.places(kind, name).join(", ")))
            .collect()
    }

    fn event_lines(&self) -> Vec<String> {
        let n = self.event_types.len();
        if n > EVENTS_SHOWN_MAX {
            return vec![format!("{n} of {} types", n_event_types())];
        }
        wrapped(&self.event_types.join(" "), 76)
    }

    fn json(&self) -> Value {
        let rule = self.rule;
        let place = |definition: &Definition| {
            let (appended, replaced) = match &definition.change {
                Change::Changes { appended, replaced } => (appended.clone(), replaced.clone()),
                Change::Defines | Change::Redefines => (vec![], vec![]),
            };
            json!({
                "location": definition.location,
                "change": match definition.change {
                    Change::Defines => "defined",
                    Change::Redefines => "redefined",
                    Change::Changes { .. } => "changed",
                },
                "appended": appended,
                "replaced": replaced,
            })
        };
        let named = |kind, names: &[String]| -> Vec<Value> {
            names
                .iter()
                .map(|name| {
                    let places: Vec<Value> = self.of(kind, name).map(place).collect();
                    json!({ "name": name, "definitions": places })
                })
                .collect()
        };
        let own: Vec<Value> = self.of(DefinitionKind::Rule, &rule.name).map(place).collect();
        let known: Vec<Value> = techniques(&rule.tags)
            .map(|id| match technique(id) {
                Some((name, tactic)) => json!({ "id": id, "name": name, "tactic": tactic }),
                None => json!({ "id": id }),
            })
            .collect();
        let fields: Vec<Value> = rule
            .fields
            .iter()
            .map(|name| match definition_of(name) {
                Some(field) => json!({
                    "name": name,
                    "type": type_name(field.value_type),
                    "meaning": field.description,
                }),
                None => json!({ "name": name }),
            })
            .collect();
        let mut value = json!({
            "schema": "palisade.dev/rule-explanation/v1",
            "name": rule.name,
            "description": rule.description.trim(),
            "priority": rule.priority.name(),
            "enabled": rule.enabled,
            "source": rule.source,
            "tags": rule.tags,
            "techniques": known,
            "definitions": own,
            "macros": named(DefinitionKind::Macro, &rule.macros),
            "lists": named(DefinitionKind::List, &rule.lists),
            "exceptions": rule.exceptions,
            "events": self.event_types,
            "fields": fields,
            "condition": rule.condition_text,
            "condition_unfolded": rule.expression.as_ref().map(|expr| pretty(&flattened(expr))),
            "output": rule.output,
        });
        if !rule.actions.is_empty() {
            let actions: Vec<&str> = rule.actions.iter().map(|action| action.as_str()).collect();
            value["actions"] = json!(actions);
            value["standing"] = json!(self.standing);
        }
        if let Some(stateful) = &rule.stateful {
            value["stateful"] = stateful_json(stateful);
        }
        if let Some(estimate) = &self.estimate {
            value["cost"] = estimate_json(estimate, self.event_types.len());
        }
        if let Some(measured) = &self.measured {
            value["measured"] = measured_json(measured);
        }
        value
    }
}

fn change_text(change: &Change) -> Option<String> {
    match change {
        Change::Defines => None,
        Change::Redefines => Some("defined anew".into()),
        Change::Changes { appended, replaced } => {
            let mut parts = Vec::new();
            if !appended.is_empty() {
                parts.push(format!("appended: {}", appended.join(", ")));
            }
            if !replaced.is_empty() {
                parts.push(format!("replaced: {}", replaced.join(", ")));
            }
            Some(parts.join("; "))
        }
    }
}

fn technique_lines(tags: &[String]) -> Vec<String> {
    techniques(tags)
        .map(|id| match technique(id) {
            Some((name, tactic)) => format!("{id} {name} ({tactic})"),
            None => id.to_string(),
        })
        .collect()
}

fn definition_of(field: &str) -> Option<&'static palisade_rules::fields::FieldDefinition> {
    static SCHEMA: SyscallSchema = SyscallSchema;
    let name = field.split('[').next().unwrap_or_default();
    SCHEMA
        .field(name)
        .or_else(|| {
            // `evt.arg.flags` is `evt.arg` with its argument behind a dot.
            let (name, _) = name.rsplit_once('.')?;
            SCHEMA.field(name)
        })
        .map(|(_, field)| field)
}

fn field_lines(fields: &[String]) -> Vec<String> {
    let width = fields.iter().map(|field| field.chars().count()).max().unwrap_or(0);
    fields
        .iter()
        .map(|name| match definition_of(name) {
            Some(field) => {
                format!("{name:<width$}  {}: {}", type_name(field.value_type), field.description)
            }
            None => name.clone(),
        })
        .collect()
}

fn estimate_text(estimate: &Estimate, n_types: usize) -> String {
    let mut out = format!(
        "  event types  {n_types} of {}\n  predicates   {} distinct, written {}\n",
        n_event_types(),
        estimate.predicates.len(),
        if estimate.n_written == 1 {
            "once".into()
        } else {
            format!("{} times", estimate.n_written)
        },
    );
    let n_shared = estimate.shared.len();
    let _ = writeln!(
        out,
        "  shared       {n_shared} with other rules that are on; each is evaluated once an event for all"
    );
    for (text, n) in estimate.shared.iter().take(PREDICATES_SHOWN_MAX) {
        let _ = writeln!(out, "                 {} ({})", cut(text), counted(*n, "rule"));
    }
    more(&mut out, n_shared);
    let kinds = estimate.costly.iter();
    let kinds: Vec<String> =
        kinds.map(|(kind, texts)| format!("{} × {kind}", texts.len())).collect();
    let kinds = if kinds.is_empty() { "none".to_string() } else { kinds.join(", ") };
    let _ = writeln!(out, "  costly       {kinds}");
    let mut costly: Vec<&String> = estimate.costly.values().flatten().collect();
    costly.dedup();
    for text in costly.iter().take(PREDICATES_SHOWN_MAX) {
        let _ = writeln!(out, "                 {}", cut(text));
    }
    more(&mut out, costly.len());
    let _ = writeln!(
        out,
        "  work         {} units (a unit: one comparison of a number) if all predicates are\n               \
         evaluated; rank {} of {} rules, the dearest first",
        estimate.units, estimate.rank, estimate.n_ranked
    );
    out
}

fn more(out: &mut String, n: usize) {
    if n > PREDICATES_SHOWN_MAX {
        let _ = writeln!(out, "                 … and {} more", n - PREDICATES_SHOWN_MAX);
    }
}

fn estimate_json(estimate: &Estimate, n_types: usize) -> Value {
    let shared: Vec<Value> = estimate
        .shared
        .iter()
        .map(|(text, n)| json!({ "predicate": text, "n_other_rules": n }))
        .collect();
    json!({
        "n_event_types": n_types,
        "n_event_types_known": n_event_types(),
        "n_predicates": estimate.predicates.len(),
        "n_predicates_written": estimate.n_written,
        "predicates": estimate.predicates.iter().map(|p| p.text.as_str()).collect::<Vec<_>>(),
        "shared": shared,
        "costly": estimate.costly,
        "units": estimate.units,
        "rank": estimate.rank,
        "n_ranked": estimate.n_ranked,
    })
}

fn measured_text(measured: &Measured) -> String {
    let n_events = measured.replay.n_events;
    let share = |n: u64, of: u64| if of == 0 { 0.0 } else { n as f64 / of as f64 };
    let mut out = format!(
        "  events       {}; {} ({:.2} %) are of its types and reach it, {} match\n",
        thousands(n_events),
        thousands(measured.n_reached),
        100.0 * share(measured.n_reached, n_events),
        thousands(measured.n_matched),
    );
    let _ = writeln!(
        out,
        "  predicates   {} evaluated, {:.1} an event that reached it (in the written order, until decided)",
        thousands(measured.n_predicates),
        share(measured.n_predicates, measured.n_reached),
    );
    let not_ranked = match measured.n_not_ranked {
        0 => String::new(),
        n => format!("; {} could not be timed", counted(n, "rule")),
    };
    let _ = writeln!(
        out,
        "  CPU          {:.0} ns an event that reached it, {:.1} ns an event of the capture (alone, warm);\n               \
         rank {} of {} rules over this capture, the dearest first{not_ranked}",
        measured.ns_per_reached, measured.ns_per_event, measured.rank, measured.n_ranked
    );
    out.push_str("  left after each part that must hold:\n");
    let _ = writeln!(out, "    {:>10}  (reached it)", thousands(measured.n_reached));
    for step in &measured.steps {
        let _ = writeln!(out, "    {:>10}  {}", thousands(step.n_left), cut(&step.text));
    }
    out
}

fn measured_json(measured: &Measured) -> Value {
    let steps: Vec<Value> = measured
        .steps
        .iter()
        .map(|step| json!({ "condition": step.text, "n_left": step.n_left }))
        .collect();
    json!({
        "n_events": measured.replay.n_events,
        "n_reached": measured.n_reached,
        "n_matched": measured.n_matched,
        "n_predicates_evaluated": measured.n_predicates,
        "cpu_ns_per_reached_event": measured.ns_per_reached,
        "cpu_ns_per_event": measured.ns_per_event,
        "rank": measured.rank,
        "n_ranked": measured.n_ranked,
        "n_not_ranked": measured.n_not_ranked,
        "steps": steps,
    })
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(PREDICATE_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// `text` with its lines indented by two.
fn indented(text: &str) -> String {
    let lines = text.trim().lines().map(|line| format!("  {}", line.trim_end()));
    lines.collect::<Vec<_>>().join("\n")
}

/// The words of `text` on lines of at most `width` characters, but for longer words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}
/// When a stateful rule fires, in words.
fn fires(stateful: &Stateful) -> String {
    let seconds = stateful.within_ns as f64 / 1e9;
    let per: Vec<&str> = stateful.per_fields().collect();
    let per =
        if per.is_empty() { "on the host".into() } else { format!("for one {}", per.join(", ")) };
    let distinct: Vec<&str> = stateful.distinct_fields().collect();
    match &stateful.awaited {
        Awaited::Count { at_least, .. } if distinct.is_empty() => {
            format!("at {at_least} events within {seconds} s {per}")
        }
        Awaited::Count { at_least, .. } => {
            format!("at {at_least} different {} within {seconds} s {per}", distinct.join(", "))
        }
        Awaited::Sequence { n_steps } => {
            format!("at the last of {n_steps} steps in order, within {seconds} s, {per}")
        }
    }
}

fn stateful_json(stateful: &Stateful) -> serde_json::Value {
    let (count, n_steps) = match stateful.awaited {
        Awaited::Count { at_least, .. } => (Some(at_least), None),
        Awaited::Sequence { n_steps } => (None, Some(n_steps)),
    };
    serde_json::json!({
        "count": count,
        "steps": n_steps,
        "within_ns": stateful.within_ns,
        "per": stateful.per_fields().collect::<Vec<_>>(),
        "distinct": stateful.distinct_fields().collect::<Vec<_>>(),
    })
}

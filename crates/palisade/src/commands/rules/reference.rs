//! `palisade rules fields` and `palisade rules events`: what conditions may name.

use std::fmt::Write as _;

use palisade_base::suggest;
use palisade_rules::fields::{
    ArgumentKind, ArgumentRule, FieldDefinition, FieldId, FieldLimits, Schema, ValueType,
};
use palisade_sensor::SyscallSchema;
use palisade_sensor::schema::{
    Category, EventInfo, Origin, ParamInfo, ParamType, Traits, events as table,
};
use serde_json::{Value, json};

use super::Context;
use crate::cli::{self, FieldsFormat};
use crate::exit::{Exit, Failure};
use crate::terminal::{columns, tsv};

/// A field and what the language allows with it.
struct Row {
    field: &'static FieldDefinition,
    limits: FieldLimits,
    source: &'static str,
}

impl Row {
    fn all() -> Vec<Self> {
        static SCHEMA: SyscallSchema = SyscallSchema;
        let fields = SCHEMA.fields().iter().enumerate();
        fields
            .map(|(i, field)| Self {
                field,
                limits: SCHEMA.limits(FieldId(u16::try_from(i).unwrap_or(u16::MAX))),
                source: SCHEMA.source(),
            })
            .collect()
    }

    fn class(&self) -> &'static str {
        self.field.name.split('.').next().unwrap_or_default()
    }

    /// The name with its argument: `proc.aname[number]?`.
    fn usage(&self) -> String {
        let name = self.field.name;
        match self.field.argument {
            ArgumentRule::None => name.to_string(),
            ArgumentRule::Optional(kind) => format!("{name}[{}]?", argument_name(kind)),
            ArgumentRule::Required(kind) => format!("{name}[{}]", argument_name(kind)),
        }
    }

    fn type_name(&self) -> String {
        let list = if self.field.is_list { "list of " } else { "" };
        format!("{list}{}", type_name(self.field.value_type))
    }

    /// Where it may not stand.
    fn restrictions(&self) -> Vec<&'static str> {
        let all = [
            (self.limits.filter_only, "conditions only"),
            (!self.field.filterable, "outputs only"),
            (self.limits.no_right_side && !self.limits.filter_only, "no val()"),
            (self.limits.no_transformer && !self.limits.filter_only, "no transformers"),
        ];
        all.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what).collect()
    }

    fn json(&self) -> Value {
        let argument = match self.field.argument {
            ArgumentRule::None => Value::Null,
            ArgumentRule::Optional(kind) => {
                json!({ "kind": argument_name(kind), "required": false })
            }
            ArgumentRule::Required(kind) => {
                json!({ "kind": argument_name(kind), "required": true })
            }
        };
        json!({
            "name": self.field.name,
            "class": self.class(),
            "type": self.field.value_type.name(),
            "list": self.field.is_list,
            "argument": argument,
            "sources": [self.source],
            "filter_only": self.limits.filter_only,
            "print_only": !self.field.filterable,
            "right_side": !self.limits.no_right_side,
            "transformers": !self.limits.no_transformer,
            "meaning": self.field.description,
        })
    }
}

/// Whether one of `names` is the class of a field or part of its name; no names: all.
fn is_wanted(names: &[String], class: &str, name: &str) -> bool {
    names.is_empty()
        || names.iter().any(|wanted| {
            let wanted = wanted.trim_end_matches('.');
            class == wanted || name.contains(wanted)
        })
}

/// Carries out `palisade rules fields`.
pub(super) fn fields(context: &Context<'_>, args: &cli::RulesFields) -> Result<Exit, Failure> {
    let all = Row::all();
    let has_class = |name: &str| all.iter().any(|row| row.class() == name.trim_end_matches('.'));
    // A class by its name is meant as one: `fd` is not all that has an f and a d.
    let rows: Vec<&Row> = all
        .iter()
        .filter(|row| {
            args.names.is_empty()
                || args.names.iter().any(|name| {
                    let name = name.trim_end_matches('.');
                    if has_class(name) {
                        row.class() == name
                    } else {
                        row.field.name.contains(name)
                    }
                })
        })
        .collect();
    if rows.is_empty() {
        let known = all.iter().flat_map(|row| [row.field.name, row.class()]);
        return Err(nothing_found("field", &args.names, &known.collect::<Vec<_>>()));
    }
    let text = match args.format {
        FieldsFormat::Table => {
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let mut meaning = row.field.description.to_string();
                    let restrictions = row.restrictions();
                    if !restrictions.is_empty() {
                        let _ = write!(meaning, " ({})", restrictions.join(", "));
                    }
                    vec![row.usage(), row.type_name(), row.source.to_string(), meaning]
                })
                .collect();
            columns(&["FIELD", "TYPE", "SOURCE", "MEANING"], &cells)
        }
        FieldsFormat::Tsv => {
            let cells: Vec<Vec<String>> = rows
                .iter()
                .map(|row| {
                    let argument = match row.field.argument {
                        ArgumentRule::None => "",
                        ArgumentRule::Optional(kind) | ArgumentRule::Required(kind) => {
                            argument_name(kind)
                        }
                    };
                    vec![
                        row.field.name.to_string(),
                        row.type_name(),
                        argument.to_string(),
                        row.source.to_string(),
                        row.restrictions().join(", "),
                        row.field.description.to_string(),
                    ]
                })
                .collect();
            tsv(&cells)
        }
        FieldsFormat::Json => {
            let fields: Vec<Value> = rows.iter().map(|row| row.json()).collect();
            let document = json!({ "schema": "palisade.dev/rule-fields/v1", "fields": fields });
            format!("{document:#}\n")
        }
        FieldsFormat::Markdown => fields_markdown(&rows),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn nothing_found(what: &str, names: &[String], known: &[&str]) -> Failure {
    let message = format!("no {what} is or contains `{}`", names.join("`, `"));
    let near = names.iter().find_map(|name| suggest::nearest(name, known.iter().copied()));
    Failure::message(Exit::Usage, message).with_hint(match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`palisade rules {what}s` lists all"),
    })
}

/// Classes of fields, in the order of the reference page.
const CLASSES: [(&str, &str); 10] = [
    ("evt", "the event itself: type, time, parameters, result"),
    ("syscall", "the system call"),
    ("proc", "the process, its parent and its ancestors"),
    ("thread", "the thread"),
    ("user", "the user who acts"),
    ("group", "the group of the user"),
    ("fd", "the descriptor that the event works on: file, socket, pipe"),
    ("fs", "the paths that the event works on"),
    ("fdlist", "the descriptors of a poll"),
    ("container", "the container"),
];

fn fields_markdown(rows: &[&Row]) -> String {
    let mut out = String::from(
        "# Fields\n\n\
         What conditions and outputs of rules may name.\n\
         Names and types are Falco's.\n\
         This page is `palisade rules fields --format markdown`; a test compares the two.\n\n\
         An argument stands in brackets: `proc.aname[2]`, `proc.env[HOME]`; `?`: it may be left out.\n\
         `evt.arg` and `evt.rawarg` take theirs after a dot as well: `evt.arg.flags`.\n\
         A field without its argument that has several values (`proc.aname`, `fd.ip`) holds in a comparison if any of them does.\n\
         A field that the event lacks makes every comparison false and is `<NA>` in outputs.\n\
         \"Conditions only\": not in outputs. \"No val()\": not compared with another field. \"No transformers\": `tolower()` and its like do not apply.\n",
    );
    let mut classes: Vec<&str> = CLASSES.iter().map(|(class, _)| *class).collect();
    for row in rows {
        if !classes.contains(&row.class()) {
            classes.push(row.class());
        }
    }
    for class in classes {
        let mut of_class = rows.iter().filter(|row| row.class() == class).peekable();
        if of_class.peek().is_none() {
            continue;
        }
        let _ = write!(out, "\n## {class}\n\n");
        if let Some((_, about)) = CLASSES.iter().find(|(known, _)| *known == class) {
            let _ = write!(out, "About {about}.\n\n");
        }
        out.push_str("| field | type | source | meaning |\n|---|---|---|---|\n");
        for row in of_class {
            let mut meaning = markdown_cell(row.field.description);
            for restriction in row.restrictions() {
                let _ = write!(meaning, " *{restriction}*");
            }
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {meaning} |",
                row.usage(),
                row.type_name(),
                row.source
            );
        }
    }
    out
}

fn markdown_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

fn argument_name(kind: ArgumentKind) -> &'static str {
    match kind {
        ArgumentKind::Index => "number",
        ArgumentKind::Key => "name",
        ArgumentKind::Either => "number or name",
    }
}

/// The type in words.
pub(super) fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Int => "number",
        ValueType::Uint => "unsigned number",
        ValueType::Double => "decimal number",
        ValueType::Bool => "truth value",
        ValueType::Text => "text",
        ValueType::Path => "path",
        ValueType::Bytes => "bytes",
        ValueType::Ip => "address",
        ValueType::Net => "network",
        ValueType::Port => "port",
        ValueType::RelativeTime => "duration, ns",
        ValueType::AbsoluteTime => "time, ns",
        ValueType::Opaque => "opaque",
    }
}

/// Carries out `palisade rules events`.
pub(super) fn events(context: &Context<'_>, args: &cli::RulesEvents) -> Result<Exit, Failure> {
    let is_current = |event: &&EventInfo| {
        let is_half = event.is_enter() && event.origin == Origin::Syscall;
        !is_half && !event.traits.any(Traits::UNUSED.with(Traits::OLD)) && !event.name.is_empty()
    };
    let rows: Vec<&EventInfo> = table()
        .iter()
        .filter(|event| args.all || is_current(event))
        .filter(|event| is_wanted(&args.names, category(event), event.name))
        .collect();
    if rows.is_empty() {
        let known: Vec<&str> = table().iter().map(|event| event.name).collect();
        return Err(nothing_found("event", &args.names, &known));
    }
    let text = match args.format {
        FieldsFormat::Table => {
            let cells: Vec<Vec<String>> = rows.iter().map(|event| event_cells(event)).collect();
            columns(&["EVENT", "ABOUT", "PARAMETERS"], &cells)
        }
        FieldsFormat::Tsv => tsv(&rows.iter().map(|event| event_cells(event)).collect::<Vec<_>>()),
        FieldsFormat::Json => {
            let events: Vec<Value> = rows.iter().map(|event| event_json(event)).collect();
            let document = json!({ "schema": "palisade.dev/rule-events/v1", "events": events });
            format!("{document:#}\n")
        }
        FieldsFormat::Markdown => {
            let mut out = String::from(
                "# Event types\n\nWhat `evt.type` may be, and the parameters that `evt.arg.NAME` gives.\n\n\
                 | event | about | parameters |\n|---|---|---|\n",
            );
            for event in rows {
                let cells = event_cells(event);
                let _ = writeln!(out, "| `{}` | {} | {} |", cells[0], cells[1], cells[2]);
            }
            out
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn category(event: &EventInfo) -> &'static str {
    match event.category {
        Category::Unknown => "unknown",
        Category::Other => "other",
        Category::File => "file",
        Category::Net => "net",
        Category::Ipc => "IPC",
        Category::Memory => "memory",
        Category::Process => "process",
        Category::Sleep => "sleep",
        Category::System => "system",
        Category::Signal => "signal",
        Category::User => "user",
        Category::Time => "time",
        Category::Processing => "processing",
        Category::Wait => "wait",
        Category::Scheduler => "scheduler",
        Category::Internal => "internal",
        Category::IoRead => "reading",
        Category::IoWrite => "writing",
        Category::IoOther => "I/O",
    }
}

fn event_cells(event: &EventInfo) -> Vec<String> {
    let parameters: Vec<String> = event
        .params
        .iter()
        .map(|param| format!("{}: {}", param.name, parameter_type(param)))
        .collect();
    let enter = if event.is_enter() && event.origin == Origin::Syscall { " (enter)" } else { "" };
    vec![format!("{}{enter}", event.name), category(event).to_string(), parameters.join(", ")]
}

fn event_json(event: &EventInfo) -> Value {
    let params: Vec<Value> = event
        .params
        .iter()
        .map(|param| {
            let mut value = json!({ "name": param.name, "type": parameter_type(param) });
            if !param.names.is_empty() {
                let names: Vec<&str> = param.names.iter().map(|(name, _)| *name).collect();
                value["values"] = json!(names);
            }
            value
        })
        .collect();
    json!({
        "name": event.name,
        "number": event.number,
        "category": category(event),
        "direction": if event.is_enter() { ">" } else { "<" },
        "old": event.traits.any(Traits::OLD),
        "params": params,
    })
}

fn parameter_type(param: &ParamInfo) -> &'static str {
    match param.kind {
        ParamType::Int(_) => "number",
        ParamType::Uint(_) => "unsigned number",
        ParamType::Text => "text",
        ParamType::Path | ParamType::RelativePath(_) => "path",
        ParamType::Bytes => "bytes",
        ParamType::Errno => "result",
        ParamType::SockAddr => "address",
        ParamType::SockTuple => "connection",
        ParamType::Fd => "descriptor",
        ParamType::Pid => "process",
        ParamType::FdList => "descriptors",
        ParamType::Syscall => "system call",
        ParamType::Signal => "signal",
        ParamType::RelativeTime => "duration",
        ParamType::AbsoluteTime => "time",
        ParamType::Bool => "truth value",
        ParamType::Flags(_) => "flags",
        ParamType::Enumeration(_) => "one of",
        ParamType::Uid => "user",
        ParamType::Gid => "group",
        ParamType::Mode => "mode",
        ParamType::SignalSet => "signals",
        ParamType::Dynamic(_) => "any",
        ParamType::Other => "other",
    }
}

//! `palisade rules`: check, list, explain, fields; and the loading that `watch` and
//! `replay` share.

use std::path::{Path, PathBuf};

use palisade_agent::{BUILTIN_RULES, BUILTIN_RULES_NAME};
use palisade_base::Diagnostics;
use palisade_rules::fields::{ArgumentKind, ArgumentRule, Schema as _, ValueType};
use palisade_rules::{FILE_BYTES_MAX, LoadOptions, Rule, RuleSet};
use palisade_sensor::SyscallSchema;

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure};
use crate::terminal::{columns, tsv};

/// Carries out a `palisade rules` command.
pub(crate) fn rules(context: &Context<'_>, command: &cli::Rules) -> Result<Exit, Failure> {
    match command {
        cli::Rules::Check(args) => check(context, args),
        cli::Rules::List(args) => list(context, args),
        cli::Rules::Explain(args) => explain(context, args),
        cli::Rules::Fields(args) => fields(context, args),
    }
}

/// Rule files as read, with the built-in rules first when they are wanted.
pub(crate) struct Sources(Vec<(String, String)>);

impl Sources {
    /// Reads `files`.
    pub(crate) fn read(files: &[PathBuf], builtin: bool) -> Result<Self, Failure> {
        let mut sources = Vec::new();
        if builtin {
            sources.push((BUILTIN_RULES_NAME.to_string(), BUILTIN_RULES.to_string()));
        }
        for file in files {
            sources.push((file.display().to_string(), read_text(file)?));
        }
        Ok(Self(sources))
    }

    /// Loads the rules, and shows every problem with the line that it points into.
    pub(crate) fn load(
        &self,
        context: &Context<'_>,
        options: &LoadOptions,
    ) -> (RuleSet, Diagnostics) {
        let texts: Vec<(&str, &str)> =
            self.0.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let (set, problems) = RuleSet::load(&texts, &[&SyscallSchema], options);
        for problem in &problems.0 {
            let text = self.0.iter().find(|(name, _)| *name == problem.location.file);
            context.terminal.error(&problem.render(text.map(|(_, text)| text.as_str())));
        }
        (set, problems)
    }

    /// As [`Sources::load`], for commands that cannot go on with a rule missing.
    pub(crate) fn load_all(
        &self,
        context: &Context<'_>,
        options: &LoadOptions,
    ) -> Result<RuleSet, Failure> {
        let (set, problems) = self.load(context, options);
        if problems.has_errors() {
            let (n_errors, _) = problems.counts();
            let message = format!("the rules have {n_errors} error(s)");
            return Err(Failure::message(Exit::Usage, message)
                .with_hint("`palisade rules check FILE` shows them; no rule is used in part"));
        }
        Ok(set)
    }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    use anyhow::Context as _;
    let shown = || format!("read rules `{}`", path.display());
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes = palisade_base::read_bounded(file, "rule file", FILE_BYTES_MAX as u64)
        .with_context(shown)?;
    Ok(String::from_utf8(bytes).with_context(shown)?)
}

/// The named files, or the built-in rules when none is named.
fn sources(args: &[PathBuf]) -> Result<Sources, Failure> {
    Sources::read(args, args.is_empty())
}

fn check(context: &Context<'_>, args: &cli::RuleFiles) -> Result<Exit, Failure> {
    let (set, problems) = sources(&args.files)?.load(context, &LoadOptions::default());
    let (n_errors, n_warnings) = problems.counts();
    context.terminal.result(&format!(
        "{} rules, {n_errors} error(s), {n_warnings} warning(s)\n",
        set.rules().len()
    ))?;
    Ok(if n_errors > 0 { Exit::Usage } else { Exit::Clean })
}

fn list(context: &Context<'_>, args: &cli::RuleFiles) -> Result<Exit, Failure> {
    let set = sources(&args.files)?.load_all(context, &LoadOptions::default())?;
    let rows: Vec<Vec<String>> = set
        .rules()
        .iter()
        .map(|rule| {
            vec![
                rule.priority.to_string(),
                if rule.enabled { "on" } else { "off" }.to_string(),
                rule.name.clone(),
                rule.tags.join(" "),
            ]
        })
        .collect();
    context.terminal.result(&columns(&["PRIORITY", "", "RULE", "TAGS"], &rows))?;
    Ok(Exit::Clean)
}

fn explain(context: &Context<'_>, args: &cli::RuleExplain) -> Result<Exit, Failure> {
    let set = sources(&args.files)?.load_all(context, &LoadOptions::default())?;
    let Some((_, rule)) = set.find(&args.rule) else {
        let names = set.rules().iter().map(|rule| rule.name.as_str());
        let near = palisade_base::suggest::nearest(&args.rule, names);
        let failure = Failure::message(Exit::Usage, format!("no rule `{}`", args.rule));
        return Err(match near {
            Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
            None => failure.with_hint("`palisade rules list` names them"),
        });
    };
    context.terminal.result(&explanation(rule))?;
    Ok(Exit::Clean)
}

fn explanation(rule: &Rule) -> String {
    let schema = SyscallSchema;
    let types = schema.event_types();
    let mut events: Vec<&str> = rule
        .event_types
        .iter()
        .filter_map(|number| types.get(usize::from(number)).copied())
        .filter(|name| !name.is_empty())
        .collect();
    events.dedup();
    let events =
        if events.len() > 20 { format!("{} types", events.len()) } else { events.join(" ") };
    format!(
        "rule       {}\nat         {}\npriority   {}\nstate      {}\ntags       {}\nevents     {events}\n\
         fields     {}\nmacros     {}\nexceptions {}\n\n{}\n\ncondition, lists and macros unfolded:\n  {}\n\noutput:\n  {}\n",
        rule.name,
        rule.location,
        rule.priority,
        if rule.enabled { "on" } else { "off" },
        rule.tags.join(" "),
        rule.fields.join(" "),
        rule.macros.join(" "),
        rule.exceptions.join(" "),
        rule.description.trim(),
        rule.condition,
        rule.output.trim(),
    )
}

fn fields(context: &Context<'_>, args: &cli::Ps) -> Result<Exit, Failure> {
    let schema = SyscallSchema;
    let rows: Vec<Vec<String>> = schema
        .fields()
        .iter()
        .map(|field| {
            let argument = match field.argument {
                ArgumentRule::None => String::new(),
                ArgumentRule::Optional(kind) => format!("[{}]?", argument_name(kind)),
                ArgumentRule::Required(kind) => format!("[{}]", argument_name(kind)),
            };
            let list = if field.is_list { "list of " } else { "" };
            vec![
                format!("{}{argument}", field.name),
                format!("{list}{}", type_name(field.value_type)),
                field.description.to_string(),
            ]
        })
        .collect();
    let text = match args.format {
        ListFormat::Table => columns(&["FIELD", "TYPE", "MEANING"], &rows),
        ListFormat::Tsv => tsv(&rows),
        ListFormat::Json => {
            let fields: Vec<serde_json::Value> = rows
                .iter()
                .map(|row| serde_json::json!({"field": row[0], "type": row[1], "meaning": row[2]}))
                .collect();
            let document = serde_json::json!({
                "schema": "palisade.dev/rule-fields/v1",
                "source": schema.source(),
                "fields": fields,
            });
            format!("{document:#}\n")
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn argument_name(kind: ArgumentKind) -> &'static str {
    match kind {
        ArgumentKind::Index => "number",
        ArgumentKind::Key => "name",
        ArgumentKind::Either => "number or name",
    }
}

fn type_name(value_type: ValueType) -> &'static str {
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
    }
}

//! `palisade rules check`: every problem of rule files at once.

use std::fmt::Write as _;
use std::path::Path;

use palisade_agent::BUILTIN_RULES;
use palisade_base::{Diagnostic, Diagnostics, Location, Severity};
use palisade_rules::{
    Definition, DefinitionKind, LoadOptions, RULE_SCHEMA, RuleSet, check_schema, code, definitions,
};
use palisade_sensor::SyscallSchema;
use serde_json::{Value, json};

use super::sources::read_bytes;
use super::{Context, counted};
use crate::cli::{self, CheckFormat};
use crate::exit::{Exit, Failure};

/// Falco's code of a file that cannot be read.
const FILE_READ: &str = "LOAD_ERR_FILE_READ";

/// Carries out the command.
pub(super) fn check(context: &Context<'_>, args: &cli::RulesCheck) -> Result<Exit, Failure> {
    let checked = Checked::of(args);
    match args.format {
        CheckFormat::Table => checked.show(context)?,
        CheckFormat::Json => {
            for (_, failure) in &checked.unread {
                context.terminal.error(&failure.render());
            }
            context.terminal.result(&format!("{:#}\n", checked.json(args.strict)))?;
        }
    }
    Ok(checked.exit(args.strict))
}

/// Files and what is wrong with them.
struct Checked {
    /// Names and texts of the files that could be read, in order.
    texts: Vec<(String, String)>,
    /// The others.
    unread: Vec<(String, Failure)>,
    problems: Diagnostics,
    rules: RuleSet,
    definitions: Vec<Definition>,
}

impl Checked {
    fn of(args: &cli::RulesCheck) -> Self {
        let (mut texts, mut unread, mut problems) = (Vec::new(), Vec::new(), Vec::new());
        if args.files.is_empty() {
            texts.extend(BUILTIN_RULES.map(|(name, text)| (name.to_string(), text.to_string())));
        }
        for path in &args.files {
            let name = path.display().to_string();
            match read_bytes(path).map(String::from_utf8) {
                Ok(Ok(text)) => texts.push((name, text)),
                Ok(Err(error)) => {
                    let valid = error.utf8_error().valid_up_to();
                    problems.push(not_text(path, error.as_bytes(), valid));
                    texts.push((name, String::new()));
                }
                Err(failure) => unread.push((name, failure)),
            }
        }
        let sources: Vec<(&str, &str)> =
            texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let (rules, found) = RuleSet::load(&sources, &[&SyscallSchema], &LoadOptions::default());
        problems.extend(found.0);
        if !args.no_schema {
            add_deviations(&sources, &mut problems);
        }
        let definitions = definitions(&sources);
        let order = |d: &Diagnostic| {
            let file = texts.iter().position(|(name, _)| *name == d.location.file);
            (file, d.location.line, d.location.column)
        };
        problems.sort_by_key(order);
        Self { definitions, rules, problems: Diagnostics(problems), texts, unread }
    }

    fn exit(&self, strict: bool) -> Exit {
        let (n_errors, n_warnings) = self.problems.counts();
        if !self.unread.is_empty() {
            Exit::Incomplete
        } else if n_errors > 0 || (strict && n_warnings > 0) {
            Exit::Usage
        } else {
            Exit::Clean
        }
    }

    fn of_file<'c>(&'c self, name: &'c str) -> impl Iterator<Item = &'c Diagnostic> {
        self.problems.0.iter().filter(move |problem| problem.location.file == name)
    }

    fn show(&self, context: &Context<'_>) -> Result<(), Failure> {
        for problem in &self.problems.0 {
            let text = self.texts.iter().find(|(name, _)| *name == problem.location.file);
            context.terminal.error(&problem.render(text.map(|(_, text)| text.as_str())));
        }
        for (_, failure) in &self.unread {
            context.terminal.error(&failure.render());
        }
        let mut out = String::new();
        if self.texts.len() + self.unread.len() > 1 {
            for (name, _) in &self.texts {
                let (n_errors, n_warnings) = counts(self.of_file(name));
                let verdict = if n_errors > 0 { "invalid" } else { "ok" };
                let rest = match (n_errors, n_warnings) {
                    (0, 0) => String::new(),
                    _ => format!(", {}", said(n_errors, n_warnings)),
                };
                let _ = writeln!(out, "{name}: {verdict}{rest}");
            }
            for (name, _) in &self.unread {
                let _ = writeln!(out, "{name}: could not be read");
            }
        }
        let (n_errors, n_warnings) = self.problems.counts();
        let n_rules = self.rules.rules().len();
        let n_off = self.rules.rules().iter().filter(|rule| !rule.enabled).count();
        let off = if n_off > 0 { format!(" ({n_off} off)") } else { String::new() };
        let rules = counted(n_rules, "rule");
        let _ = writeln!(out, "{rules}{off}, {}", said(n_errors, n_warnings));
        context.terminal.result(&out)
    }

    fn json(&self, strict: bool) -> Value {
        let results: Vec<Value> = self
            .texts
            .iter()
            .map(|(name, text)| self.file_json(name, text))
            .chain(self.unread.iter().map(|(name, failure)| unread_json(name, failure)))
            .collect();
        let (n_errors, n_warnings) = self.problems.counts();
        let n_of = |kind| self.definitions.iter().filter(|d| d.kind == kind).count();
        let rules = self.rules.rules();
        json!({
            "schema": "palisade.dev/rules-check/v1",
            "successful": self.exit(strict) == Exit::Clean,
            "strict": strict,
            "falco_load_results": results,
            "summary": {
                "n_files": self.texts.len() + self.unread.len(),
                "n_rules": rules.len(),
                "n_rules_off": rules.iter().filter(|rule| !rule.enabled).count(),
                "n_macros": n_of(DefinitionKind::Macro),
                "n_lists": n_of(DefinitionKind::List),
                "n_errors": n_errors + self.unread.len(),
                "n_warnings": n_warnings,
            },
        })
    }

    /// What Falco tells of one file, with `help` and `location` besides.
    fn file_json(&self, name: &str, text: &str) -> Value {
        let with = |severity: Severity| -> Vec<Value> {
            self.of_file(name)
                .filter(|problem| problem.severity == severity)
                .map(|problem| self.problem_json(problem, text))
                .collect()
        };
        let errors = with(Severity::Error);
        let n_deviations = self.of_file(name).filter(|p| p.code == RULE_SCHEMA).count();
        json!({
            "name": name,
            "successful": errors.is_empty(),
            "schema_validation": if n_deviations == 0 { "ok" } else { "failed" },
            "errors": errors,
            "warnings": with(Severity::Warning),
        })
    }

    fn problem_json(&self, problem: &Diagnostic, text: &str) -> Value {
        let Location { file, line, column } = &problem.location;
        let place = |line: usize, column: usize| {
            json!({
                "name": file,
                "line": line.saturating_sub(1),
                "column": column.saturating_sub(1),
                "offset": offset(text, line, column),
            })
        };
        let mut locations = vec![json!({
            "item_type": "rules content", "item_name": "", "position": place(1, 1),
        })];
        let item = self.definitions.iter().rev().find(|definition| {
            definition.location.file == *file && definition.location.line <= *line
        });
        if let Some(item) = item {
            locations.push(json!({
                "item_type": item.kind.name(),
                "item_name": item.name,
                "position": place(item.location.line, item.location.column),
            }));
        }
        locations.push(json!({
            "item_type": "value for", "item_name": "", "position": place(*line, *column),
        }));
        let mut value = json!({
            "code": problem.code,
            "codedesc": description(problem.code),
            "message": problem.message,
            "context": { "locations": locations, "snippet": snippet(text, *line, *column) },
            "location": problem.location,
        });
        if let Some(help) = &problem.help {
            value["help"] = json!(help);
        }
        value
    }
}

/// Adds where the files deviate from the schema of rule files, unless loading said so.
fn add_deviations(sources: &[(&str, &str)], problems: &mut Vec<Diagnostic>) {
    for deviation in check_schema(sources).0 {
        if !problems.iter().any(|problem| problem.location == deviation.location) {
            problems.push(deviation);
        }
    }
}

fn counts<'d>(problems: impl Iterator<Item = &'d Diagnostic>) -> (usize, usize) {
    problems.fold((0, 0), |(errors, warnings), problem| match problem.severity {
        Severity::Error => (errors + 1, warnings),
        Severity::Warning => (errors, warnings + 1),
    })
}

fn said(n_errors: usize, n_warnings: usize) -> String {
    format!("{}, {}", counted(n_errors, "error"), counted(n_warnings, "warning"))
}

fn not_text(path: &Path, bytes: &[u8], valid_up_to: usize) -> Diagnostic {
    let before = String::from_utf8_lossy(bytes.get(..valid_up_to).unwrap_or_default());
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Diagnostic {
        code: code::YAML_PARSE,
        severity: Severity::Error,
        location: Location { file: path.display().to_string(), line, column },
        message: format!("not UTF-8 at byte {valid_up_to}"),
        help: Some("save the file as UTF-8".into()),
    }
}

fn unread_json(name: &str, failure: &Failure) -> Value {
    json!({
        "name": name,
        "successful": false,
        "schema_validation": "none",
        "errors": [{
            "code": FILE_READ,
            "codedesc": description(FILE_READ),
            "message": failure.render().trim_end(),
            "context": { "locations": [{
                "item_type": "rules content",
                "item_name": "",
                "position": { "name": name, "line": 0, "column": 0, "offset": 0 },
            }], "snippet": "" },
        }],
        "warnings": [],
    })
}

/// Position of a line and column in characters, from 0.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n').take(line.saturating_sub(1));
    lines.map(|line| line.chars().count()).sum::<usize>() + column.saturating_sub(1)
}

/// Longest line that is quoted, in characters.
const SNIPPET_CHARS_MAX: usize = 160;

/// The line and a mark below the column.
fn snippet(text: &str, line: usize, column: usize) -> String {
    let Some(shown) = text.lines().nth(line.saturating_sub(1)) else { return String::new() };
    let from = column.saturating_sub(1).saturating_sub(SNIPPET_CHARS_MAX / 2);
    let part: String = shown.chars().skip(from).take(SNIPPET_CHARS_MAX).collect();
    format!("{part}\n{}^\n", " ".repeat(column.saturating_sub(1) - from))
}

/// What a code means, in a few words.
fn description(code: &str) -> &'static str {
    match code {
        FILE_READ => "the file cannot be read",
        code::YAML_PARSE => "not YAML",
        code::YAML_VALIDATE => "an item has the wrong shape",
        code::COMPILE_CONDITION => "the condition cannot be compiled",
        code::COMPILE_OUTPUT => "the output cannot be compiled",
        code::VALIDATE => "an item contradicts others",
        code::UNKNOWN_SOURCE => "unknown event source; the rule is left out",
        code::UNSAFE_NA_CHECK => "a comparison with <NA>",
        code::NO_EVTTYPE => "the rule looks at nearly every event",
        code::UNKNOWN_FILTER => "an unknown field in a rule that may be skipped",
        code::UNUSED_MACRO => "nothing uses the macro",
        code::UNUSED_LIST => "nothing uses the list",
        code::UNKNOWN_ITEM => "an item that is no rule, macro, list or requirement",
        code::DEPRECATED_ITEM => "something that will go away",
        code::APPEND_NO_VALUES => "an appended exception without values",
        code::EXCEPTION_NAME_NOT_UNIQUE => "two exceptions of one name",
        code::INVALID_MACRO_NAME => "conditions cannot refer to a macro of this name",
        code::INVALID_LIST_NAME => "conditions cannot refer to a list of this name",
        code::COMPILE_CONDITION_WARNING => "something doubtful in a condition",
        code::UNKNOWN_KEY => "a key that the item does not have",
        RULE_SCHEMA => "not as the JSON schema of rule files says",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_loading_is_described() {
        for code in [
            code::YAML_PARSE,
            code::YAML_VALIDATE,
            code::COMPILE_CONDITION,
            code::COMPILE_OUTPUT,
            code::VALIDATE,
            code::UNKNOWN_SOURCE,
            code::UNSAFE_NA_CHECK,
            code::NO_EVTTYPE,
            code::UNKNOWN_FILTER,
            code::UNUSED_MACRO,
            code::UNUSED_LIST,
            code::UNKNOWN_ITEM,
            code::DEPRECATED_ITEM,
            code::APPEND_NO_VALUES,
            code::EXCEPTION_NAME_NOT_UNIQUE,
            code::INVALID_MACRO_NAME,
            code::INVALID_LIST_NAME,
            code::COMPILE_CONDITION_WARNING,
            code::UNKNOWN_KEY,
            RULE_SCHEMA,
        ] {
            assert!(!description(code).is_empty(), "{code}");
        }
    }

    #[test]
    fn places_count_characters() {
        assert_eq!(offset("ä\nbc", 2, 2), 3);
        assert_eq!(snippet("ä\nbc", 2, 2), "bc\n ^\n");
        assert_eq!(snippet("", 9, 1), "");
        let long = format!("{}x", "a".repeat(300));
        assert!(snippet(&long, 1, 301).lines().nth(1).unwrap().len() <= SNIPPET_CHARS_MAX);
        let bad = not_text(Path::new("f"), b"a\nb\xff", 3);
        assert_eq!((bad.location.line, bad.location.column), (2, 2));
    }
}

//! The published JSON schema of rule files, as a check of its own.
//!
//! Stricter than loading: what the schema refuses may load all the same, as in Falco,
//! which tells the two apart. Useful to authors, never a reason to refuse rules.

use palisade_base::Diagnostics;
use palisade_base::suggest::nearest;

use crate::report::{Problem, Report};
use crate::yaml::{Node, read_documents};

/// The code of all problems found here.
pub const RULE_SCHEMA: &str = "rule-schema";

/// What a value must be.
enum Kind {
    Any,
    Text,
    Bool,
    Integer,
    OneOf(&'static [&'static str]),
    Texts,
    Object(&'static [Key]),
    Objects(&'static [Key]),
    /// Actions, which are ours: loading checks them whole.
    Actions,
}

/// A key of a mapping: its name, what it holds, whether it must be there.
type Key = (&'static str, Kind, bool);

const OPERATIONS: Kind = Kind::OneOf(&["append", "replace"]);

const PRIORITIES: &[&str] = &[
    "EMERGENCY",
    "ALERT",
    "CRITICAL",
    "ERROR",
    "WARNING",
    "NOTICE",
    "INFO",
    "INFORMATIONAL",
    "DEBUG",
];

const ALTERNATIVE: &[Key] = &[("name", Kind::Text, true), ("version", Kind::Text, true)];

const PLUGIN: &[Key] = &[
    ("name", Kind::Text, true),
    ("version", Kind::Text, true),
    ("alternatives", Kind::Objects(ALTERNATIVE), false),
];

const EXCEPTION: &[Key] = &[
    ("name", Kind::Text, true),
    ("fields", Kind::Any, false),
    ("comps", Kind::Any, false),
    ("values", Kind::Any, false),
];

const OVERRIDE: &[Key] = &[
    ("items", OPERATIONS, false),
    ("desc", OPERATIONS, false),
    ("condition", OPERATIONS, false),
    ("output", OPERATIONS, false),
    ("priority", OPERATIONS, false),
    ("enabled", OPERATIONS, false),
    ("exceptions", OPERATIONS, false),
    ("capture", OPERATIONS, false),
    ("capture_duration", OPERATIONS, false),
    ("tags", OPERATIONS, false),
    ("warn_evttypes", OPERATIONS, false),
    ("skip-if-unknown-filter", OPERATIONS, false),
    ("action", Kind::OneOf(&["replace"]), false),
];

const ITEM: &[Key] = &[
    ("required_engine_version", Kind::Text, false),
    ("required_plugin_versions", Kind::Objects(PLUGIN), false),
    ("macro", Kind::Text, false),
    ("condition", Kind::Text, false),
    ("list", Kind::Text, false),
    ("items", Kind::Texts, false),
    ("rule", Kind::Text, false),
    ("desc", Kind::Text, false),
    ("enabled", Kind::Bool, false),
    ("output", Kind::Text, false),
    ("append", Kind::Bool, false),
    ("priority", Kind::OneOf(PRIORITIES), false),
    ("capture", Kind::Bool, false),
    ("capture_duration", Kind::Integer, false),
    ("source", Kind::Text, false),
    ("exceptions", Kind::Objects(EXCEPTION), false),
    ("override", Kind::Object(OVERRIDE), false),
    ("tags", Kind::Texts, false),
    ("warn_evttypes", Kind::Bool, false),
    ("skip-if-unknown-filter", Kind::Bool, false),
    ("action", Kind::Actions, false),
];

/// Holds rule files against the published schema; all problems are warnings.
///
/// A file that is not YAML gives none: loading it says what is wrong.
pub fn check_schema(sources: &[(&str, &str)]) -> Diagnostics {
    let mut report = Report::new(sources);
    for (file, (_, text)) in sources.iter().enumerate() {
        let file = u32::try_from(file).unwrap_or(u32::MAX);
        for document in read_documents(file, text).unwrap_or_default() {
            let Some(items) = document.sequence() else {
                check(&document, &Kind::Objects(ITEM), "document", &mut report);
                continue;
            };
            // The schema knows no stateful rules; loading checks them whole.
            for item in items.iter().filter(|item| item.get("stateful_rule").is_none()) {
                check(item, &Kind::Object(ITEM), "document", &mut report);
            }
        }
    }
    report.finish()
}

fn warn(node: &Node, message: String, help: Option<String>, report: &mut Report<'_>) {
    let mut problem = Problem::warning(RULE_SCHEMA, node.place, message);
    problem.help = help;
    report.push(problem);
}

/// The tables above nest four deep, and so does this.
fn check(node: &Node, kind: &Kind, name: &str, report: &mut Report<'_>) {
    let scalar = node.scalar();
    let (holds, wanted) = match kind {
        Kind::Any | Kind::Actions => return,
        Kind::Text => (scalar.is_some() && !node.is_null(), "text"),
        Kind::Bool => (matches!(scalar, Some("true" | "false")), "true or false"),
        Kind::Integer => (scalar.is_some_and(|t| t.parse::<i64>().is_ok()), "a whole number"),
        Kind::OneOf(values) => {
            if scalar.is_some_and(|text| values.contains(&text)) {
                return;
            }
            let message = format!("`{name}` is not one of {}", values.join(", "));
            return warn(node, message, None, report);
        }
        Kind::Texts => {
            let texts = node.sequence();
            (texts.is_some_and(|t| t.iter().all(|e| e.scalar().is_some())), "a list of text")
        }
        Kind::Object(keys) => {
            if node.mapping().is_some() {
                return check_keys(node, keys, name, report);
            }
            (false, "a mapping")
        }
        Kind::Objects(keys) => {
            if let Some(elements) = node.sequence() {
                for element in elements {
                    check(element, &Kind::Object(keys), name, report);
                }
                return;
            }
            (false, "a list of mappings")
        }
    };
    if !holds {
        warn(node, format!("`{name}` is not {wanted}"), None, report);
    }
}

fn check_keys(node: &Node, keys: &[Key], name: &str, report: &mut Report<'_>) {
    let entries = node.mapping().unwrap_or_default();
    if entries.is_empty() {
        return warn(node, format!("`{name}` is empty"), None, report);
    }
    for (at, (key, value)) in entries.iter().enumerate() {
        let text = key.scalar().unwrap_or_default();
        if entries[..at].iter().any(|(before, _)| before.scalar() == Some(text)) {
            warn(key, format!("key `{text}` stands twice; the first counts"), None, report);
        }
        if let Some((known, kind, _)) = keys.iter().find(|(known, ..)| *known == text) {
            check(value, kind, known, report);
        } else {
            let help = nearest(text, keys.iter().map(|(known, ..)| *known))
                .map(|near| format!("did you mean `{near}`?"));
            warn(key, format!("unknown key `{text}`"), help, report);
        }
    }
    for (missing, ..) in keys.iter().filter(|(k, _, must)| *must && node.get(k).is_none()) {
        warn(node, format!("key `{missing}` is missing"), None, report);
    }
}

#[cfg(test)]
mod tests {
    use super::check_schema;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let found = check_schema(&[("f", text)]);
        let messages: Vec<&str> = found.0.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(messages, expected);
    }

    #[test]
    fn says_what_the_schema_says() {
        check("- list: l\n  items: [1, a]\n  override:\n    items: append\n", &[]);
        check(
            "- rule: r\n  capture: 'yes'\n  typo: 1\n",
            &["`capture` is not true or false", "unknown key `typo`"],
        );
        check("- rule: r\n  exceptions:\n    - fields: x\n", &["key `name` is missing"]);
        check(
            "- rule: r\n  priority: info\n  override: {}\n",
            &[
                "`priority` is not one of EMERGENCY, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, \
             INFORMATIONAL, DEBUG",
                "`override` is empty",
            ],
        );
        check("- rule: r\n  desc: ~\n", &["`desc` is not text"]);
        check("- rule: r\n  desc: a\n  desc: b\n", &["key `desc` stands twice; the first counts"]);
        check("a: b\n", &["`document` is not a list of mappings"]);
    }
}

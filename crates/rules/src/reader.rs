//! Items of rule files: what each key may hold, and what an item does.
//!
//! Messages are Falco's, so that a user finds help where others asked. Unlike Falco,
//! which stops a file at its first error, reading goes on with the next item.

use std::collections::BTreeSet;

use palisade_base::suggest::nearest;

use crate::collect::{Collector, ListInfo, MacroInfo, Order, PluginRequirement};
use crate::read_rule::read_rule;
use crate::report::{Problem, Report, SourcedText, code};
use crate::stateful::read_stateful;
use crate::version::{ENGINE_VERSION, Version};
use crate::yaml::{Content, Node, Place, read_documents};

pub(crate) type Outcome<T = ()> = Result<T, Problem>;

const WARNING_APPEND: &str = "'append' key is deprecated. Add an 'append' entry (e.g. 'condition: append') under \
     'override' instead.";
pub(crate) const ERROR_OVERRIDE_APPEND: &str = "Keys 'override' and 'append: true' cannot be used together. \
     Add an 'append' entry (e.g. 'condition: append') under 'override' instead.";

const LIST_KEYS: [&str; 4] = ["list", "items", "append", "override"];
const MACRO_KEYS: [&str; 4] = ["macro", "condition", "append", "override"];

pub(crate) fn shape(place: Place, message: impl Into<String>) -> Problem {
    Problem::error(code::YAML_VALIDATE, place, message)
}

/// Reads one file into the collector.
pub(crate) fn read_file(
    file: u32,
    text: &str,
    collector: &mut Collector<'_>,
    report: &mut Report<'_>,
) {
    let documents = match read_documents(file, text) {
        Ok(documents) => documents,
        Err(error) => {
            report.push(Problem::error(code::YAML_PARSE, error.place, error.message));
            return;
        }
    };
    for document in &documents {
        let Some(items) = document.sequence() else {
            let message = match document.content {
                Content::Mapping(_) => "Rules content is not yaml array of objects",
                _ => "Rules content is not yaml",
            };
            report.push(
                shape(document.place, message)
                    .with_help("begin each rule, macro and list with `- `"),
            );
            continue;
        };
        for item in items.iter().filter(|item| !item.is_null()) {
            if let Err(problem) = read_item(item, collector, report) {
                report.push(problem);
            }
        }
    }
}

fn read_item(item: &Node, collector: &mut Collector<'_>, report: &mut Report<'_>) -> Outcome {
    if item.mapping().is_none() {
        return Err(shape(
            item.place,
            "Unexpected element type. Each element should be a yaml associative array.",
        ));
    }
    if item.get("required_engine_version").is_some() {
        read_engine_version(item)?;
        warn_unknown_keys(item, &["required_engine_version"], report);
        return Ok(());
    }
    if let Some(plugins) = item.get("required_plugin_versions") {
        read_plugin_versions(plugins, collector)?;
        warn_unknown_keys(item, &["required_plugin_versions"], report);
        return Ok(());
    }
    if item.get("list").is_some() {
        return read_list(item, collector, report);
    }
    if item.get("macro").is_some() {
        return read_macro(item, collector, report);
    }
    if item.get("rule").is_some() {
        return read_rule(item, collector, report);
    }
    if item.get("stateful_rule").is_some() {
        let rule = read_stateful(item, report)?;
        return collector.define_rule(rule, report);
    }
    report.push(
        Problem::warning(code::UNKNOWN_ITEM, item.place, "Unknown top level item").with_help(
            "an item is one of rule, stateful_rule, macro, list, required_engine_version, \
             required_plugin_versions",
        ),
    );
    Ok(())
}

pub(crate) fn warn_unknown_keys(item: &Node, expected: &[&str], report: &mut Report<'_>) {
    for (key, _) in item.mapping().unwrap_or_default() {
        let name = key.scalar().unwrap_or_default();
        if !expected.contains(&name) {
            let message = format!("Unknown key '{name}'. The key will be ignored.");
            let mut problem = Problem::warning(code::UNKNOWN_KEY, key.place, message);
            if let Some(near) = nearest(name, expected.iter().copied()) {
                problem = problem.with_help(format!("did you mean `{near}`?"));
            }
            report.push(problem);
        }
    }
}

// === Values ===

/// The scalar node of `key`, which must be there and not be empty.
pub(crate) fn required<'n>(item: &'n Node, key: &str) -> Outcome<&'n Node> {
    let Some(value) = item.get(key) else {
        return Err(shape(item.place, format!("Item has no mapping for key '{key}'")));
    };
    non_empty_scalar(value, key)
}

fn non_empty_scalar<'n>(value: &'n Node, key: &str) -> Outcome<&'n Node> {
    if value.is_null() {
        return Err(shape(value.place, format!("Mapping for key '{key}' is empty")));
    }
    match value.scalar() {
        None => Err(shape(value.place, "Value is not a scalar value")),
        Some("") => Err(shape(value.place, "Value must be non-empty")),
        Some(_) => Ok(value),
    }
}

pub(crate) fn text_of(value: &Node) -> String {
    value.scalar().unwrap_or_default().to_owned()
}

pub(crate) fn required_text(item: &Node, key: &str) -> Outcome<String> {
    required(item, key).map(text_of)
}

fn undecodable(value: &Node) -> Problem {
    shape(value.place, "Can't decode YAML scalar value")
}

/// The truth values of YAML 1.1, as yaml-cpp reads them: all lower case, all upper case,
/// or with one capital.
pub(crate) fn decode_bool(value: &Node) -> Outcome<bool> {
    let text = value.scalar().unwrap_or_default();
    let lower = text.to_ascii_lowercase();
    let tail = text.get(1..).unwrap_or_default();
    let regular =
        text == lower || text == text.to_ascii_uppercase() || tail == tail.to_ascii_lowercase();
    match lower.as_str() {
        "y" | "yes" | "true" | "on" if regular => Ok(true),
        "n" | "no" | "false" | "off" if regular => Ok(false),
        _ => Err(undecodable(value).with_help("write true or false")),
    }
}

pub(crate) fn decode_u32(value: &Node) -> Outcome<u32> {
    let text = value.scalar().unwrap_or_default();
    text.parse().map_err(|_| undecodable(value).with_help("write a whole number"))
}

pub(crate) fn optional<T>(
    item: &Node,
    key: &str,
    default: T,
    decode: fn(&Node) -> Outcome<T>,
) -> Outcome<T> {
    match item.get(key) {
        None => Ok(default),
        Some(value) => decode(non_empty_scalar(value, key)?),
    }
}

pub(crate) fn sequence_of_text(value: &Node) -> Outcome<Vec<String>> {
    let Some(elements) = value.sequence() else {
        return Err(shape(value.place, "Value is not a sequence"));
    };
    elements
        .iter()
        .map(|element| match element.scalar() {
            Some(text) => Ok(text.to_owned()),
            None => Err(shape(element.place, "sequence value is not scalar")),
        })
        .collect()
}

// === Requirements ===

fn read_engine_version(item: &Node) -> Outcome {
    let value = required(item, "required_engine_version")?;
    let text = value.scalar().unwrap_or_default();
    let version = match text.parse::<u32>() {
        // Before versions were semantic they were numbers: n is 0.n.0.
        Ok(minor) => Version::new(0, minor, 0),
        Err(_) => Version::parse(text).ok_or_else(|| {
            shape(
                value.place,
                format!(
                    "Unable to parse engine version '{text}' as a semver string. Expected \
                     \"x.y.z\" semver format."
                ),
            )
        })?,
    };
    if ENGINE_VERSION.is_compatible_with(version) {
        return Ok(());
    }
    let message =
        format!("Rules require engine version {version}, but engine version is {ENGINE_VERSION}");
    Err(Problem::error(code::VALIDATE, value.place, message))
}

fn read_plugin_versions(plugins: &Node, collector: &mut Collector<'_>) -> Outcome {
    let Some(entries) = plugins.sequence() else {
        return Err(shape(plugins.place, "Value of required_plugin_versions must be a sequence"));
    };
    for entry in entries {
        if entry.mapping().is_none() {
            return Err(shape(entry.place, "Plugin version must be a mapping"));
        }
        let mut alternatives =
            vec![(required_text(entry, "name")?, required_text(entry, "version")?)];
        if let Some(others) = entry.get("alternatives") {
            let Some(others) = others.sequence() else {
                return Err(shape(
                    others.place,
                    "Value of plugin version alternatives must be a sequence",
                ));
            };
            for other in others {
                if other.mapping().is_none() {
                    return Err(shape(other.place, "Plugin version alternative must be a mapping"));
                }
                alternatives
                    .push((required_text(other, "name")?, required_text(other, "version")?));
            }
        }
        check_alternatives(entry.place, &alternatives)?;
        collector.plugins.push(PluginRequirement { alternatives });
    }
    Ok(())
}

fn check_alternatives(place: Place, alternatives: &[(String, String)]) -> Outcome {
    let mut names = BTreeSet::new();
    for (name, version) in alternatives {
        if Version::parse(version).is_none() {
            let message = format!("Invalid required version '{version}' for plugin '{name}'");
            return Err(Problem::error(code::VALIDATE, place, message));
        }
        if !names.insert(name) {
            let message =
                format!("Defined multiple alternative version requirements for plugin '{name}'");
            return Err(Problem::error(code::VALIDATE, place, message));
        }
    }
    Ok(())
}

// === Overrides ===

#[derive(Default)]
pub(crate) struct Overrides<'n> {
    pub(crate) append: Vec<&'n str>,
    pub(crate) replace: Vec<&'n str>,
}

impl Overrides<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.append.is_empty() && self.replace.is_empty()
    }
}

pub(crate) fn read_overrides<'n>(
    item: &'n Node,
    appendable: &[&str],
    replaceable: &[&str],
) -> Outcome<Overrides<'n>> {
    let mut overrides = Overrides::default();
    let Some(node) = item.get("override") else {
        return Ok(overrides);
    };
    let Some(entries) = node.mapping() else {
        // Text and an empty list override nothing, as in Falco; the schema refuses them.
        if node.sequence().is_none_or(<[_]>::is_empty) {
            return Ok(overrides);
        }
        let message = "Value of override must be a mapping";
        return Err(Problem::error(code::VALIDATE, node.place, message));
    };
    for (key, operation) in entries {
        let (Some(name), Some(word)) = (key.scalar(), operation.scalar()) else {
            return Err(shape(key.place, "Value is not a scalar value"));
        };
        let can_append = appendable.contains(&name);
        let can_replace = replaceable.contains(&name);
        match word {
            "append" if can_append => overrides.append.push(name),
            "append" => {
                let message = format!("Key '{name}' cannot be appended to, use 'replace' instead");
                return Err(shape(key.place, message));
            }
            "replace" if can_replace => overrides.replace.push(name),
            "replace" => {
                return Err(shape(key.place, format!("Key '{name}' cannot be replaced")));
            }
            _ => {
                let mut message = format!(
                    "Invalid override operation for key '{name}': '{word}'. Allowed values are: "
                );
                message.push_str(if can_append { "append " } else { "" });
                message.push_str(if can_replace { "replace " } else { "" });
                return Err(shape(operation.place, message));
            }
        }
    }
    Ok(overrides)
}

/// Reads the deprecated `append`, with its warning.
pub(crate) fn read_append(item: &Node, report: &mut Report<'_>) -> Outcome<bool> {
    let append = optional(item, "append", false, decode_bool)?;
    if append {
        report.push(
            Problem::warning(code::DEPRECATED_ITEM, item.place, WARNING_APPEND)
                .with_help("replace `append: true` by an `override` mapping"),
        );
    }
    Ok(append)
}

// === Lists and macros ===

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_bare(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(|c: char| {
            matches!(
                c,
                '(' | ')' | '"' | '\'' | '=' | ',' | ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r'
            )
        })
}

fn read_list(item: &Node, collector: &mut Collector<'_>, report: &mut Report<'_>) -> Outcome {
    let name = required_text(item, "list")?;
    if !is_bare(&name) {
        let message = "List has an invalid name. List names should match a regular expression: \
                       ([^()\"'[:space:]=,]+)";
        report.push(Problem::warning(code::INVALID_LIST_NAME, item.place, message));
    }
    let Some(items) = item.get("items") else {
        return Err(shape(item.place, "Item has no mapping for key 'items'"));
    };
    let items = sequence_of_text(items)?;
    let append = read_append(item, report)?;
    let overrides = read_overrides(item, &["items"], &["items"])?;
    if append && !overrides.is_empty() {
        return Err(shape(item.place, ERROR_OVERRIDE_APPEND));
    }
    let list = ListInfo { name, items, place: item.place, order: Order::default() };
    if append || overrides.append.contains(&"items") {
        collector.append_list(list)?;
    } else {
        collector.define_list(list)?;
    }
    warn_unknown_keys(item, &LIST_KEYS, report);
    Ok(())
}

fn read_macro(item: &Node, collector: &mut Collector<'_>, report: &mut Report<'_>) -> Outcome {
    let name = required_text(item, "macro")?;
    if !is_identifier(&name) {
        let message = "Macro has an invalid name. Macro names should match a regular \
                       expression: ([a-zA-Z]+[a-zA-Z0-9_]*)";
        report.push(Problem::warning(code::INVALID_MACRO_NAME, item.place, message));
    }
    let condition = SourcedText::from_node(required(item, "condition")?);
    let append = read_append(item, report)?;
    let overrides = read_overrides(item, &["condition"], &["condition"])?;
    if append && !overrides.is_empty() {
        return Err(shape(item.place, ERROR_OVERRIDE_APPEND));
    }
    let definition = MacroInfo { name, condition, place: item.place, order: Order::default() };
    if append || overrides.append.contains(&"condition") {
        collector.append_macro(&definition)?;
    } else {
        collector.define_macro(definition)?;
    }
    warn_unknown_keys(item, &MACRO_KEYS, report);
    Ok(())
}

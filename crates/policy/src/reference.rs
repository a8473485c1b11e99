//! The table of keys as JSON Schema and as a page of the manual.

use std::fmt::Write as _;

use palisade_model::EnforcementAction;
use serde_json::{Map, Value, json};

use crate::capability;
use crate::code::Code;
use crate::document::Action;
use crate::table::{self, Choice, Default, Key, Kind, TextRule, VERSION};
use crate::value::{NAME_CHARS_MAX, TEXT_CHARS_MAX};

/// The JSON Schema (draft 2020-12) of a policy.
///
/// An editor that has it completes and checks keys while they are typed. The reader is
/// stricter: it also finds settings that contradict each other.
pub fn schema() -> Value {
    let mut root = object_schema("");
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Palisade policy",
        "description": "Which images may run, how containers are confined, what is watched, what is done about an alert and at the event itself, where alerts are sent and what is demanded of configuration.",
    });
    if let (Value::Object(head), Value::Object(root)) = (head, &mut root) {
        let rest = std::mem::replace(root, head);
        root.extend(rest);
    }
    root
}

fn object_schema(parent: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in table::children(parent) {
        properties.insert(key.name().to_string(), key_schema(key));
        if matches!(key.default, Default::Required) {
            required.push(key.name());
        }
    }
    let mut out = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    out
}

fn key_schema(key: &Key) -> Value {
    let mut out = match &key.kind {
        Kind::Section => nullable(object_schema(key.path), "object"),
        Kind::Items { n_max, .. } => nullable(
            json!({
                "type": "array",
                "maxItems": n_max,
                "items": object_schema(&format!("{}[]", key.path)),
            }),
            "array",
        ),
        Kind::Version => json!({"const": VERSION}),
        Kind::Bool(_) => json!({"type": "boolean"}),
        Kind::Choice(choices) => json!({"enum": names(choices)}),
        Kind::ChoiceOrFile(choices, _) => {
            json!({"anyOf": [{"enum": names(choices)}, {"type": "string", "pattern": "\\.json$"}]})
        }
        Kind::Integer { min, max, optional, .. } => {
            let number = json!({"type": "integer", "minimum": min, "maximum": max});
            if *optional { json!({"anyOf": [number, {"const": "none"}]}) } else { number }
        }
        Kind::Size { min, max, optional, .. } => {
            let mut forms = vec![
                json!({"type": "integer", "minimum": min, "maximum": max}),
                json!({"type": "string", "pattern": "^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"}),
            ];
            if *optional {
                forms.push(json!({"const": "none"}));
            }
            json!({ "anyOf": forms })
        }
        Kind::Cpu(_) => json!({"anyOf": [
            {"type": "number", "minimum": 0.01, "maximum": 1024},
            {"type": "string", "pattern": "^([0-9]+m|[0-9]+(\\.[0-9]{1,3})?)$"},
            {"const": "none"},
        ]}),
        Kind::Text(rule, _) => text_schema(rule),
        Kind::Texts { rule, n_max, .. } => nullable(
            json!({
                "type": "array",
                "maxItems": n_max,
                "uniqueItems": true,
                "items": text_schema(rule),
            }),
            "array",
        ),
    };
    out["description"] = json!(key.doc);
    match key.default {
        Default::Required | Default::Nothing => {}
        Default::Value(text) => out["default"] = default_json(key, text),
        Default::Values(texts) => out["default"] = json!(texts),
    }
    out
}

/// A key with nothing after its colon is an empty mapping or list.
fn nullable(mut schema: Value, type_name: &str) -> Value {
    schema["type"] = json!([type_name, "null"]);
    schema
}

fn default_json(key: &Key, text: &str) -> Value {
    match key.kind {
        Kind::Bool(_) => json!(text == "true"),
        Kind::Integer { .. } | Kind::Size { .. } | Kind::Cpu(_) => {
            text.parse::<u64>().map_or_else(|_| json!(text), |n| json!(n))
        }
        _ => json!(text),
    }
}

fn text_schema(rule: &TextRule) -> Value {
    match rule {
        TextRule::Name => json!({
            "type": "string",
            "pattern": format!("^[a-z0-9][a-z0-9._-]{{0,{}}}$", NAME_CHARS_MAX - 1),
        }),
        TextRule::Sentence | TextRule::Pattern => {
            json!({"type": "string", "maxLength": TEXT_CHARS_MAX})
        }
        TextRule::LastDay => {
            json!({"type": "string", "pattern": "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"})
        }
        TextRule::MountPoint => {
            json!({"type": "string", "pattern": "^/[^/:,]", "maxLength": TEXT_CHARS_MAX})
        }
        TextRule::File => json!({"type": "string", "minLength": 1, "maxLength": TEXT_CHARS_MAX}),
        TextRule::Capability => {
            let names = capability::ALL.join("|");
            json!({"type": "string", "pattern": format!("^([Cc][Aa][Pp]_)?({names}|{})$", names.to_lowercase())})
        }
        TextRule::EnforcementAction => {
            json!({"enum": EnforcementAction::ALL.map(EnforcementAction::as_str)})
        }
        TextRule::Date => json!({"type": "string", "format": "date"}),
        TextRule::Recipient => {
            json!({"type": "string", "pattern": "^(age1[02-9ac-hj-np-z]{58}|AGE1[02-9AC-HJ-NP-Z]{58})$"})
        }
        TextRule::Url => json!({"type": "string", "pattern": "^(https?://[^\\s]+)?$"}),
        TextRule::Selinux => json!({
            "anyOf": [
                {"enum": ["auto", "none"]},
                {"type": "string", "maxLength": crate::document::SELINUX_LABEL_CHARS_MAX,
                 "pattern": "^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+){2}(:[A-Za-z0-9_.,:-]+)?$"},
            ]
        }),
        TextRule::Allowance => json!({
            "anyOf": [
                {"enum": crate::engines::WORDS},
                {"const": "security-module"},
                {"type": "string",
                 "pattern": format!("^({}):.+$", crate::engines::PREFIXES.join("|"))},
            ]
        }),
        TextRule::Action => json!({"enum": Action::ALL.map(Action::as_str)}),
        TextRule::Endpoint => json!({
            "type": "string",
            "pattern": "^(https?://|syslog:/|syslog\\+(udp|tcp|tls)://|file:/)[^\\s]+$",
            "maxLength": crate::endpoint::ENDPOINT_CHARS_MAX,
        }),
    }
}

fn names(choices: &[Choice]) -> Vec<&'static str> {
    choices.iter().map(|choice| choice.name).collect()
}

/// The reference page of the manual, in Markdown.
pub fn markdown() -> String {
    let mut out = String::from(
        "# The policy file\n\n\
         <!-- Generated from the table of keys in crates/policy. Do not edit by hand: run\n\
         `UPDATE_GOLDEN=1 cargo test -p palisade-policy` after a change of the table. -->\n\n\
         One YAML file says which images may run, how containers are confined, what is watched,\n\
         what is done about an alert and where alerts are sent.\n\
         `palisade policy check FILE` reports every problem with its line and column,\n\
         `palisade policy explain FILE` shows the value of every key and where it comes from, and\n\
         `palisade policy schema` prints a JSON Schema for editors.\n\n\
         Three policies come with the program: `audit` changes nothing, `baseline` has sane\n\
         defaults, `restricted` is least privilege.\n\
         A key that is left out has the default that stands here.\n\
         Sizes are bytes or end in `Ki`, `Mi`, `Gi`, `Ti`, `k`, `M`, `G`, `T`.\n\n\
         ## Keys\n\n\
         | key | takes | default |\n|---|---|---|\n",
    );
    for key in table::keys().filter(|key| !key.is_section()) {
        let _ = writeln!(out, "| `{}` | {} | {} |", key.path, takes(key), default_text(key));
    }
    for key in table::keys() {
        let level = if key.path.contains('.') { "####" } else { "###" };
        let _ = write!(out, "\n{level} `{}`\n\n{}\n", key.path, key.doc);
        if let Kind::Choice(choices) | Kind::ChoiceOrFile(choices, _) = &key.kind {
            out.push('\n');
            for choice in *choices {
                let _ = writeln!(out, "- `{}`: {}.", choice.name, choice.meaning);
            }
        }
        if !key.is_section() {
            let _ = write!(out, "\n```yaml\n{}: {}\n```\n", key.name(), key.example);
        }
    }
    out.push_str("\n## Problems\n\nEach problem has a code that does not change.\n\n| code | meaning |\n|---|---|\n");
    for code in Code::ALL {
        let _ = writeln!(out, "| `{}` | {} |", code.as_str(), code.doc());
    }
    let _ = write!(
        out,
        "\n## Limits\n\nA file has at most {} bytes, is nested at most {} deep and holds at most {} values, \
         aliases counted as often as they are used.\n",
        crate::load::FILE_BYTES_MAX,
        crate::yaml::DEPTH_MAX,
        crate::yaml::NODES_MAX,
    );
    out
}

fn takes(key: &Key) -> String {
    let or_none = |optional: bool| if optional { ", or `none`" } else { "" };
    let size = crate::value::size_text;
    match &key.kind {
        Kind::Section => "a mapping".to_string(),
        Kind::Items { n_max, .. } => format!("a list of mappings, at most {n_max}"),
        Kind::Version => format!("`{VERSION}`"),
        Kind::Bool(_) => "`true` or `false`".to_string(),
        Kind::Choice(choices) => quoted(&names(choices)),
        Kind::ChoiceOrFile(choices, _) => format!("{}, or a `.json` file", quoted(&names(choices))),
        Kind::Integer { min, max, optional, .. } => {
            format!("{min} to {max}{}", or_none(*optional))
        }
        Kind::Size { min, max, optional, .. } => {
            format!("a size from {} to {}{}", size(*min), size(*max), or_none(*optional))
        }
        Kind::Cpu(_) => "processors, or `none`".to_string(),
        Kind::Text(rule, _) => one(rule).to_string(),
        Kind::Texts { rule, n_max, .. } => format!("a list, at most {n_max}: {}", one(rule)),
    }
}

fn one(rule: &TextRule) -> &'static str {
    match rule {
        TextRule::Name => "a name",
        TextRule::Sentence => "text",
        TextRule::MountPoint => "an absolute path",
        TextRule::File => "a file",
        TextRule::Capability => "a capability",
        TextRule::Action => "`freeze`, `isolate`, `evidence`, `kill`",
        TextRule::EnforcementAction => "`deny`, `kill`",
        TextRule::Allowance => "an allowance",
        TextRule::Date | TextRule::LastDay => "a day",
        TextRule::Endpoint => "an endpoint",
        TextRule::Recipient => "a recipient of age",
        TextRule::Url => "an address",
        TextRule::Selinux => "`auto`, `none`, a label",
        TextRule::Pattern => "a regular expression",
    }
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn default_text(key: &Key) -> String {
    match key.default {
        Default::Required => "required".to_string(),
        Default::Value("") => "empty text".to_string(),
        Default::Value(text) => format!("`{text}`"),
        Default::Nothing | Default::Values([]) => "empty".to_string(),
        Default::Values(texts) => quoted(texts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The schema of the key at `path`.
    fn at<'s>(schema: &'s Value, path: &str) -> Option<&'s Value> {
        path.split('.').try_fold(schema, |node, part| {
            let name = part.trim_end_matches("[]");
            let node = node.get("properties")?.get(name)?;
            if part.ends_with("[]") { node.get("items") } else { Some(node) }
        })
    }

    #[test]
    fn schema_and_page_have_every_key() {
        let (schema, page) = (schema(), markdown());
        for key in table::keys() {
            let found = at(&schema, key.path).unwrap_or(&Value::Null);
            assert_eq!(found["description"], key.doc, "{}", key.path);
            assert!(page.contains(&format!("`{}`\n\n{}", key.path, key.doc)), "{}", key.path);
        }
    }

    #[test]
    fn every_example_is_a_legal_value() {
        for key in table::keys().filter(|key| !key.is_section()) {
            let line = format!("{}: {}", key.name(), key.example);
            let parent = key.parent();
            let mut text = match parent {
                "" => format!("{line}\n"),
                "containers.tmpfs[]" if key.name() == "path" => {
                    format!("containers:\n  tmpfs:\n    - {line}\n")
                }
                "containers.tmpfs[]" => {
                    format!("containers:\n  tmpfs:\n    - path: /tmp\n      {line}\n")
                }
                "sinks[]" => {
                    let mut item = format!("sinks:\n  - {line}\n");
                    for (name, value) in [("name", "x"), ("to", "https://h")] {
                        if key.name() != name {
                            let _ = writeln!(item, "    {name}: {value}");
                        }
                    }
                    item
                }
                list @ ("checks.severity[]" | "checks.except[]" | "checks.custom[]") => {
                    let required: &[(&str, &str)] = match list {
                        "checks.severity[]" => &[("check", "x"), ("to", "low")],
                        "checks.except[]" => {
                            &[("check", "x"), ("reason", "r"), ("expires", "2027-01-01")]
                        }
                        _ => &[("id", "x"), ("title", "t"), ("when", "[privileged is true]")],
                    };
                    let name = list.trim_start_matches("checks.").trim_end_matches("[]");
                    let mut item = format!("checks:\n  {name}:\n    - {line}\n");
                    for (name, value) in required {
                        if key.name() != *name {
                            let _ = writeln!(item, "      {name}: {value}");
                        }
                    }
                    item
                }
                "enforce.rules[]" => {
                    let action = if key.name() == "action" { "" } else { "      action: [kill]\n" };
                    let rules = if key.name() == "rules" { "" } else { "      rules: [r]\n" };
                    format!("enforce:\n  rules:\n    - {line}\n{action}{rules}")
                }
                "enforce.exceptions[]" => {
                    let mut item = format!("enforce:\n  exceptions:\n    - {line}\n");
                    for (name, value) in
                        [("images", "[i]"), ("reason", "r"), ("expires", "\"2027-01-01\"")]
                    {
                        if key.name() != name {
                            let _ = writeln!(item, "      {name}: {value}");
                        }
                    }
                    item
                }
                "engines.exceptions[]" => {
                    let mut item = format!("engines:\n  exceptions:\n    - {line}\n");
                    for (name, value) in [
                        ("images", "[i]"),
                        ("allow", "[root]"),
                        ("reason", "r"),
                        ("expires", "\"2027-01-01\""),
                    ] {
                        if key.name() != name {
                            let _ = writeln!(item, "      {name}: {value}");
                        }
                    }
                    item
                }
                "scan.secrets.detectors[]"
                | "scan.secrets.allow[]"
                | "scan.licences.exceptions[]"
                | "images.gate.end_of_life_dates[]" => {
                    let mut parts = parent.trim_end_matches("[]").split('.');
                    let (scan, what, list) = (parts.next(), parts.next(), parts.next());
                    let (scan, what, list) = (scan.unwrap(), what.unwrap(), list.unwrap());
                    let mut item = format!("{scan}:\n  {what}:\n    {list}:\n      - {line}\n");
                    let required = table::children(parent)
                        .filter(|other| matches!(other.default, Default::Required));
                    for other in required.filter(|other| other.path != key.path) {
                        let _ = writeln!(item, "        {}: {}", other.name(), other.example);
                    }
                    item
                }
                "images.trust[]" | "images.attestations[]" => {
                    let list = parent.trim_start_matches("images.").trim_end_matches("[]");
                    let mut item = format!("images:\n  {list}:\n    - {line}\n");
                    let others: &[(&str, &str)] = match list {
                        "trust" => &[
                            ("name", "release"),
                            ("keys", "[a.pub, b.pub]"),
                            ("subject", "s"),
                            ("issuer", "i"),
                        ],
                        _ => &[("predicate", "\"*\"")],
                    };
                    for (name, value) in others.iter().filter(|(name, _)| key.name() != *name) {
                        let _ = writeln!(item, "      {name}: {value}");
                    }
                    item
                }
                "response[]" => {
                    let mut item = format!("response:\n  - {line}\n");
                    for (name, value) in [("name", "x"), ("actions", "[freeze]")] {
                        if key.name() != name {
                            let _ = writeln!(item, "    {name}: {value}");
                        }
                    }
                    item
                }
                _ => {
                    let mut out = String::new();
                    for (depth, part) in parent.split('.').enumerate() {
                        let _ = writeln!(out, "{}{part}:", "  ".repeat(depth));
                    }
                    let depth = parent.split('.').count();
                    let user = match key.name() {
                        "fallback_user" => "  user: fallback\n",
                        _ => "",
                    };
                    let _ = writeln!(out, "{}{line}", "  ".repeat(depth));
                    out + user
                }
            };
            for (name, value) in [("version", "1"), ("name", "demo")] {
                if key.path != name {
                    text = format!("{name}: {value}\n{text}");
                }
            }
            if let Err(error) = crate::parse(&text, "example", std::path::Path::new("")) {
                panic!("{}: {error:?}", key.path);
            }
        }
    }
}

//! The three published rule files, against what Falco 0.44.1 makes of them.

use std::collections::BTreeSet;

use palisade_rules::fields::Schema;
use palisade_rules::{LoadOptions, RuleSet, check_schema};

use super::Table;
use crate::schema::{TestSchema, conformance_folder, read_json};

const FILES: [&str; 3] = ["falco_rules", "falco-incubating_rules", "falco-sandbox_rules"];

/// The text of a published rule file.
pub(crate) fn published(name: &str) -> Option<String> {
    let path = conformance_folder()?.join(format!("rules/{name}.yaml"));
    Some(std::fs::read_to_string(path).unwrap())
}

fn names(value: &serde_json::Value) -> BTreeSet<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

#[test]
fn compiles_as_falco_describes() {
    let Some(schema) = TestSchema::falco() else {
        return;
    };
    let mut table = Table::new("describe");
    for file in FILES {
        let (Some(text), Some(described)) =
            (published(file), read_json(&format!("expected/falco-0.44.1/describe_{file}.json")))
        else {
            return;
        };
        let (rules, diagnostics) =
            RuleSet::load(&[(file, &text)], &[schema], &LoadOptions::default());
        assert_eq!(diagnostics.0, [], "{diagnostics}");
        assert_eq!(check_schema(&[(file, &text)]).0, []);
        println!(
            "{file}: {:?}",
            diagnostics.0.iter().map(|d| (d.code, &d.message)).collect::<Vec<_>>()
        );
        let expected = described["rules"].as_array().unwrap();
        assert_eq!(rules.rules().len(), expected.len(), "{file}");
        for (rule, expected) in rules.rules().iter().zip(expected) {
            let (info, details) = (&expected["info"], &expected["details"]);
            let types = schema.event_types();
            let events: BTreeSet<&str> =
                rule.declared_event_types.iter().map(|number| types[usize::from(number)]).collect();
            let fields: BTreeSet<&str> = rule.fields.iter().map(String::as_str).collect();
            let macros: BTreeSet<&str> = rule.macros.iter().map(String::as_str).collect();
            let lists: BTreeSet<&str> = rule.lists.iter().map(String::as_str).collect();
            let outputs: BTreeSet<&str> = rule.output_format.field_names().collect();
            let mut check = |what: &str, same: bool, have: &dyn std::fmt::Debug| {
                table.row(same, || format!("{file}: {}: {what}: {have:?}", rule.name));
            };
            check("name", info["name"] == rule.name, &rule.name);
            check("enabled", info["enabled"] == rule.enabled, &rule.enabled);
            check("priority", info["priority"] == rule.priority.name(), &rule.priority);
            check("output", info["output"] == rule.output, &rule.output);
            check("condition text", info["condition"] == rule.condition_text, &rule.condition_text);
            check("tags", names(&info["tags"]).into_iter().eq(rule.tags.iter()), &rule.tags);
            let compiled = details["condition_compiled"].as_str().unwrap();
            check("condition", rule.condition == compiled, &rule.condition);
            check("events", names(&details["events"]) == events, &events);
            check("fields", names(&details["condition_fields"]) == fields, &fields);
            check("macros", names(&details["macros"]) == macros, &macros);
            check("lists", names(&details["lists"]) == lists, &lists);
            check("output fields", names(&details["output_fields"]) == outputs, &outputs);
        }
    }
    table.finish();
}

#[test]
fn together_they_load() {
    let Some(schema) = TestSchema::falco() else {
        return;
    };
    let texts: Vec<_> = FILES.iter().filter_map(|name| Some((*name, published(name)?))).collect();
    let files: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let (rules, diagnostics) = RuleSet::load(&files, &[schema], &LoadOptions::default());
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    println!(
        "{} rules; operands, checks, nodes: {:?}",
        rules.rules().len(),
        rules.sizes("syscall")
    );
}

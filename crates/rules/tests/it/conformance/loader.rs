//! Rule files: whether they load, with what messages, and what they become.

use std::collections::BTreeSet;

use palisade_base::Severity;
use palisade_rules::{ExtraOutput, LoadOptions, RuleSet, check_schema};

use super::Table;
use crate::schema::{TestSchema, read_json};

/// The values of the macros that Falco's tests name messages by.
fn message(text: &str) -> String {
    match text.trim_matches('"') {
        "WARNING_APPEND" => "'append' key is deprecated.",
        "WARNING_ENABLED" => "The standalone 'enabled' key usage is deprecated.",
        "ERROR_OVERRIDE_APPEND" => "Keys 'override' and 'append: true' cannot be used together.",
        "ERROR_NO_PREVIOUS_MACRO" => {
            "Macro uses 'append' or 'override.condition: append' but no macro by that name \
             already exists"
        }
        "ERROR_NO_PREVIOUS_LIST" => {
            "List uses 'append' or 'override.items: append' but no list by that name already \
             exists"
        }
        "ERROR_NO_PREVIOUS_RULE_APPEND" => {
            "Rule uses 'append' or 'override.<key>: append' but no rule by that name already \
             exists"
        }
        "ERROR_NO_PREVIOUS_RULE_REPLACE" => {
            "An 'override.<key>: replace' to a rule was requested but no rule by that name \
             already exists"
        }
        other => other,
    }
    .to_owned()
}

/// What the tests of additional outputs add.
fn options(test: &str) -> LoadOptions {
    let extra = |format: &str, tags: &[&str], rule: Option<&str>| ExtraOutput {
        format: Some(format.to_owned()),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect::<BTreeSet<_>>(),
        rule: rule.map(str::to_owned),
        ..ExtraOutput::default()
    };
    let extra_outputs = match test {
        "extra_format_all" => vec![extra("evt.type=%evt.type", &[], None)],
        "extra_format_by_rule" => vec![extra("evt.type=%evt.type", &[], Some("legit_rule"))],
        "extra_format_by_tag_rule" => vec![
            extra("extra 1", &["tag1"], None),
            extra("extra 2", &[], Some("another_rule")),
            extra("extra 3", &["tag1", "tag2"], None),
        ],
        _ => vec![],
    };
    LoadOptions { extra_outputs, ..LoadOptions::default() }
}

/// Rows of tests that share a beginning hold only what each adds to it.
fn whole_file(text: &str) -> String {
    if text.starts_with("\n  exceptions:") {
        let base = "- rule: test_rule\n  desc: test rule\n  condition: evt.type = open\n  \
                    output: command=%proc.cmdline\n  priority: INFO";
        return format!("{base}{text}");
    }
    text.to_owned()
}

/// What is wrong with one row, if anything.
fn check(row: &serde_json::Value, schema: &'static TestSchema) -> Result<(), String> {
    let test = row["test"].as_str().unwrap();
    let texts: Vec<String> = row["yaml"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| whole_file(text.as_str().unwrap()))
        .collect();
    let files: Vec<(&str, &str)> = texts.iter().map(|text| ("rules.yaml", text.as_str())).collect();
    let (rules, diagnostics) = RuleSet::load(&files, &[schema], &options(test));
    let must_load = row["loads"].as_array().unwrap().iter().all(|loads| loads == true);
    if diagnostics.has_errors() == must_load {
        return Err(format!("loads is not {must_load}: {diagnostics}"));
    }
    for (key, severity) in [("has_warning", Severity::Warning), ("has_error", Severity::Error)] {
        for expected in row[key].as_array().into_iter().flatten() {
            let wanted = message(expected[1].as_str().unwrap());
            let found =
                diagnostics.0.iter().any(|d| d.severity == severity && d.message.contains(&wanted));
            if found != expected[0].as_bool().unwrap() {
                return Err(format!("{key} `{wanted}` is {found}: {diagnostics}"));
            }
        }
    }
    for status in row["schema"].as_array().into_iter().flatten() {
        let found = check_schema(&files);
        let wanted = status == "validation_ok";
        if found.0.is_empty() != wanted {
            return Err(format!("schema is not {status}: {found}"));
        }
    }
    let compiled = |key: &str, of: fn(&palisade_rules::Rule) -> &str| {
        for expected in row[key].as_array().into_iter().flatten() {
            let name = expected[0].as_str().unwrap().trim_matches('"');
            let (_, rule) = rules.find(name).ok_or_else(|| format!("no rule `{name}`"))?;
            let wanted = expected[1].as_str().unwrap();
            if of(rule) != wanted {
                return Err(format!("{key} is `{}`, not `{wanted}`", of(rule)));
            }
        }
        Ok(())
    };
    compiled("compiled_condition", |rule| &rule.condition)?;
    compiled("compiled_output", |rule| &rule.output)
}

#[test]
fn rule_loader() {
    let (Some(rows), Some(schema)) = (read_json("tables/rule_loader.json"), TestSchema::falco())
    else {
        return;
    };
    let mut table = Table::new("rule_loader");
    for row in rows.as_array().unwrap() {
        let result = check(row, schema);
        table.row(result.is_ok(), || {
            format!("{}: {}", row["test"], result.as_ref().err().cloned().unwrap_or_default())
        });
    }
    table.finish();
}

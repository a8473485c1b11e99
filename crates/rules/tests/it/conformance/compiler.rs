//! Operators by field types, and boolean evaluation over fields of known truth.

use palisade_rules::{Evaluator, LoadOptions, RuleSet, code};

use super::Table;
use crate::schema::{Owned, TestEvent, TestSchema, read_json, text};

/// A rule file with one rule of this condition.
pub(super) fn rule_file(condition: &str) -> String {
    let quoted = condition.replace('\'', "''");
    format!(
        "- rule: r\n  desc: d\n  condition: '{quoted}'\n  output: o\n  priority: INFO\n  \
         warn_evttypes: false\n"
    )
}

/// The rules of one condition, or why there are none; and the number of warnings about it.
pub(super) fn compile(
    condition: &str,
    schema: &'static TestSchema,
) -> (Result<RuleSet, String>, usize) {
    let file = rule_file(condition);
    let (rules, diagnostics) =
        RuleSet::load(&[("table", &file)], &[schema], &LoadOptions::default());
    let n_warnings = diagnostics
        .0
        .iter()
        .filter(|diagnostic| diagnostic.code == code::COMPILE_CONDITION_WARNING)
        .count();
    if diagnostics.has_errors() {
        return (Err(diagnostics.to_string()), n_warnings);
    }
    (Ok(rules), n_warnings)
}

/// Whether `event` satisfies `condition`.
pub(super) fn holds(
    condition: &str,
    schema: &'static TestSchema,
    event: &TestEvent,
) -> Result<bool, String> {
    let rules = compile(condition, schema).0?;
    let mut matched = Vec::new();
    Evaluator::new(&rules).evaluate(event, &mut matched);
    Ok(!matched.is_empty())
}

#[test]
fn filter_compiler() {
    let (Some(rows), Some(schema)) =
        (read_json("tables/filter_compiler.json"), TestSchema::falco())
    else {
        return;
    };
    let event = TestEvent::new(schema, "open")
        .with("c.true", [text("1")])
        .with("c.false", [text("0")])
        .with("c.buffer", [Owned::Bytes(vec![])])
        .with("c.doublequote", [text("hello \"quoted\"")])
        .with("c.singlequote", [text("hello 'quoted'")]);
    let mut table = Table::new("filter_compiler");
    for row in rows.as_array().unwrap() {
        let condition = row["filter"].as_str().unwrap();
        match row["fn"].as_str().unwrap() {
            "test_filter_run" => {
                let expected = row["expect"].as_str().unwrap() == "true";
                // Where Falco's test expects false, refusing the text is no match either.
                let result = holds(condition, schema, &event);
                let passed = result.as_ref().map_or(!expected, |held| *held == expected);
                table.row(passed, || format!("`{condition}`: {result:?}, not {expected}"));
            }
            "test_filter_compile" => {
                let must_fail = row["expect_fail"].as_str() == Some("true");
                let (result, _) = compile(condition, schema);
                table.row(result.is_err() == must_fail, || {
                    format!("`{condition}`: {:?}, must fail: {must_fail}", result.err())
                });
            }
            other => table.skip(format!("function {other}")),
        }
    }
    table.finish();
}

#[track_caller]
fn check_warnings(condition: &str, expected: usize) {
    let Some(schema) = TestSchema::falco() else {
        return;
    };
    let (result, n_warnings) = compile(condition, schema);
    assert!(result.is_ok(), "{condition}: {:?}", result.err());
    assert_eq!(n_warnings, expected, "{condition}");
}

#[test]
fn warns_about_doubtful_constants() {
    check_warnings("evt.source = 'evt.plugininfo'", 1);
    check_warnings("evt.source = 'tolower(evt.plugininfo)'", 1);
    check_warnings("evt.source regex .+syscall.+", 1);
    check_warnings("evt.source regex ^syscall$", 1);
    check_warnings("evt.source regex syscall.?", 1);
    check_warnings("evt.source = unknown.field", 0);
    check_warnings("evt.source = 'tolow(evt.plugininfo)'", 0);
    check_warnings("evt.source regex syscall\\.*", 0);
    check_warnings("evt.source regex syscal[l]?", 0);
}

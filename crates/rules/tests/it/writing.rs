//! Conditions written for people parse to what they were, and ask what they asked.

use palisade_rules::ast::Expr;
use palisade_rules::{LoadOptions, RuleSet, one_line, parse_condition, predicates, pretty};
use proptest::prelude::*;

use crate::property::condition;
use crate::schema::{TestSchema, conformance_folder};

/// Parses what is written of a condition, and compares.
#[track_caller]
fn check(condition: &str) {
    let Ok(expr) = parse_condition(condition) else { return };
    let asked = |expr: &Expr| predicates(expr).into_iter().map(|p| p.text).collect::<Vec<_>>();
    for text in [pretty(&expr), one_line(&expr)] {
        let again = parse_condition(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(again.to_string(), expr.to_string(), "{text}");
        assert_eq!(asked(&again), asked(&expr), "{text}");
    }
    assert!(!one_line(&expr).contains('\n') || condition.contains('\n'));
}

#[test]
fn published_conditions_are_written_and_read_again() {
    let (Some(folder), Some(schema)) = (conformance_folder(), TestSchema::falco()) else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join("rules").join(name)).unwrap();
    let names = ["falco_rules.yaml", "falco-incubating_rules.yaml", "falco-sandbox_rules.yaml"];
    let texts = names.map(read);
    let sources: Vec<(&str, &str)> =
        names.into_iter().zip(texts.iter().map(String::as_str)).collect();
    let options = LoadOptions { keep_expressions: true, ..LoadOptions::default() };
    let (set, problems) = RuleSet::load(&sources, &[schema], &options);
    assert!(!problems.has_errors(), "{problems}");
    assert!(set.rules().len() > 90);
    for rule in set.rules() {
        let expr = rule.expression.as_ref().unwrap();
        for text in [pretty(expr), one_line(expr)] {
            let again = parse_condition(&text).unwrap_or_else(|e| panic!("{}: {e}", rule.name));
            assert_eq!(again.to_string(), rule.condition, "{}", rule.name);
        }
        // A rule of its own, as those who measure it make it.
        let alone = serde_json::json!([{
            "rule": rule.name, "desc": "d", "output": "o", "priority": "INFO",
            "condition": one_line(expr), "warn_evttypes": false,
        }])
        .to_string();
        let (_, problems) = RuleSet::load(&[("alone", &alone)], &[schema], &options);
        assert!(!problems.has_errors(), "{}: {problems}", rule.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_conditions_are_written_and_read_again(condition in condition()) {
        check(&condition);
    }

    /// Values and arguments may hold anything.
    #[test]
    fn any_text_survives(value in "\\PC{0,12}|[\"'\\\\()\\[\\], =\\t]{0,6}", argument in "[a-z0-9 .\\[\\]\"]{1,6}") {
        let quoted = |text: &str| format!("{text:?}");
        check(&format!("proc.name = {} and proc.env[{}] in ({}, x)",
            quoted(&value), quoted(&argument), quoted(&value)));
    }
}

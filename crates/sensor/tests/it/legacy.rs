//! Falco's regression tests, run whole: rules and options, a capture, and what Falco
//! 0.44.1 made of them — exit code, alerts of each rule and priority, codes of problems.
//!
//! The material is not part of the repository; without it the test says so and passes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use palisade_rules::{Evaluator, LoadOptions, Priority, RuleSelection, RuleSet, Selector};
use palisade_sensor::SyscallSchema;
use palisade_sensor::capture::replay;
use serde_json::Value as Json;

use crate::conformance::material;

/// `CatWrite` of the tests is `cat_write.scap` in the folder, `OpenMultipleFiles`
/// `open-multiple-files.scap`.
fn capture_path(folder: &Path, name: &str) -> PathBuf {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    let path = |words: &str| folder.join(format!("captures/falco/{words}.scap"));
    let dashed = path(&words.replace('_', "-"));
    if dashed.is_file() { dashed } else { path(&words) }
}

fn texts(value: &Json) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// Arguments of the test's options, as its source writes them: `"a", "b"`.
fn quoted(value: &Json) -> Vec<String> {
    let parts = texts(value).into_iter().flat_map(|part| part.split(','));
    parts.map(|part| part.trim().trim_matches('"').to_string()).collect()
}

fn options(test: &Json) -> LoadOptions {
    let mut selections = Vec::new();
    let mut select =
        |enable: bool, rules: Selector| selections.push(RuleSelection { enable, rules });
    let enabled_tags = quoted(&test["enabled_tags"]);
    if !enabled_tags.is_empty() {
        // Naming tags turns off what does not have them.
        select(false, Selector::Name("*".into()));
    }
    for tag in enabled_tags {
        select(true, Selector::Tag(tag));
    }
    for tag in quoted(&test["disabled_tags"]) {
        select(false, Selector::Tag(tag));
    }
    for name in quoted(&test["disabled_rules"]) {
        // A whole name or a pattern; a part of a name names nothing.
        select(false, Selector::Name(name));
    }
    LoadOptions {
        minimum_priority: texts(&test["min_priority"])
            .first()
            .map(|text| Priority::parse(text).unwrap()),
        selections,
        ..LoadOptions::default()
    }
}

#[derive(Debug, PartialEq)]
struct Outcome {
    exit: u64,
    alerts: BTreeMap<String, u64>,
    codes: BTreeSet<String>,
}

fn expected(truth: &Json) -> Outcome {
    let alerts = truth["alerts"].as_object().unwrap().iter();
    Outcome {
        exit: truth["exit"].as_u64().unwrap(),
        alerts: alerts.map(|(rule, count)| (rule.clone(), count.as_u64().unwrap())).collect(),
        codes: texts(&truth["codes"]).into_iter().map(Into::into).collect(),
    }
}

fn run(files: &[(&str, &str)], options: &LoadOptions, captures: &[PathBuf]) -> Outcome {
    let (rules, diagnostics) = RuleSet::load(files, &[&SyscallSchema], options);
    let codes = diagnostics.0.iter().map(|diagnostic| diagnostic.code.to_string()).collect();
    if diagnostics.has_errors() {
        return Outcome { exit: 1, alerts: BTreeMap::new(), codes };
    }
    let mut alerts = BTreeMap::new();
    let mut matched = Vec::new();
    for capture in captures {
        let mut evaluator = Evaluator::new(&rules);
        let report = replay(File::open(capture).unwrap(), |event| {
            matched.clear();
            evaluator.evaluate(event, &mut matched);
            for id in &matched {
                let rule = rules.rule(*id);
                *alerts.entry(format!("{}|{}", rule.name, rule.priority.name())).or_insert(0) += 1;
            }
        })
        .unwrap();
        assert!(report.problem.is_none() && report.n_malformed == 0, "{report:?}");
    }
    Outcome { exit: 0, alerts, codes }
}

/// Options of Falco itself rather than of its rules: their tests end before a rule counts.
fn is_about_settings(test: &Json, truth: &Outcome) -> bool {
    let fails_alone = truth.exit != 0 && truth.codes.is_empty();
    fails_alone && !test["validate_only"].as_bool().unwrap_or(false)
}

#[test]
fn legacy_tests_end_as_in_falco() {
    let Some(folder) = material() else { return };
    let read = |path: &str| -> Json {
        serde_json::from_reader(File::open(folder.join(path)).unwrap()).unwrap()
    };
    let tests = read("tables/legacy_tests.json");
    let rules = read("tables/legacy_rules.json");
    let truths = read("expected/falco-0.44.1/legacy.json");
    let (mut n_passed, mut n_alerts, mut skipped, mut wrong) = (0, 0, BTreeMap::new(), Vec::new());
    let mut skip = |reason: &'static str| *skipped.entry(reason).or_insert(0) += 1;
    for test in tests.as_array().unwrap() {
        let name = test["test"].as_str().unwrap();
        if truths[name].is_null() {
            skip("Falco 0.44.1 was not run on it");
            continue;
        }
        let truth = expected(&truths[name]);
        if is_about_settings(test, &truth) {
            skip("it is refused for settings of Falco");
            continue;
        }
        let files: Option<Vec<_>> = texts(&test["rules"])
            .into_iter()
            .map(|file| Some((file, rules[file]["yaml"].as_str()?)))
            .collect();
        let captures: Vec<_> =
            texts(&test["capture"]).iter().map(|name| capture_path(&folder, name)).collect();
        let Some(files) = files.filter(|files| !files.is_empty()) else {
            skip("its rules are not at hand");
            continue;
        };
        if !captures.iter().all(|capture| capture.is_file()) {
            skip("its capture is not at hand");
            continue;
        }
        let mut outcome = run(&files, &options(test), &captures);
        if truth.exit != 0 && truth.codes.is_subset(&outcome.codes) {
            // Falco stops at the first error; all of them are given here.
            outcome.codes.clone_from(&truth.codes);
        }
        if outcome == truth {
            n_passed += 1;
            n_alerts += outcome.alerts.values().sum::<u64>();
        } else {
            wrong.push(format!("{name}: falco {truth:?} ours {outcome:?}"));
        }
    }
    println!("conformance legacy: {n_passed} passed, {} failed ({n_alerts} alerts)", wrong.len());
    println!("  skipped: {skipped:?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(n_passed > 0 && n_alerts > 0, "nothing was decided");
}

//! The rule files of Falco's regression tests: which load, and with which codes.

use std::collections::BTreeSet;

use palisade_rules::{LoadOptions, RuleSet};

use super::Table;
use crate::schema::{TestSchema, read_json};

#[test]
fn legacy_codes() {
    let (Some(tests), Some(texts), Some(expected), Some(schema)) = (
        read_json("tables/legacy_tests.json"),
        read_json("tables/legacy_rules.json"),
        read_json("expected/falco-0.44.1/legacy.json"),
        TestSchema::falco(),
    ) else {
        return;
    };
    let mut table = Table::new("legacy codes");
    for test in tests.as_array().unwrap() {
        let name = test["test"].as_str().unwrap();
        let truth = &expected[name];
        if truth.is_null() {
            table.skip("Falco 0.44.1 was not run on it");
            continue;
        }
        let files: Option<Vec<(&str, &str)>> = test["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| Some((file.as_str()?, texts[file.as_str()?]["yaml"].as_str()?)))
            .collect();
        let Some(files) = files.filter(|files| !files.is_empty()) else {
            table.skip("the rule file is not among the texts");
            continue;
        };
        let (_, diagnostics) = RuleSet::load(&files, &[schema], &LoadOptions::default());
        let codes: BTreeSet<&str> = diagnostics.0.iter().map(|d| d.code).collect();
        let wanted: BTreeSet<&str> =
            truth["codes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
        let fails = wanted.iter().any(|code| code.starts_with("LOAD_ERR"));
        let same = if fails {
            // Falco stops at the first error, and so does not give what comes after it.
            wanted.is_subset(&codes)
        } else {
            codes == wanted && !diagnostics.has_errors()
        };
        table.row(same, || format!("{name}: {codes:?}, not {wanted:?}\n{diagnostics}"));
    }
    table.finish();
}

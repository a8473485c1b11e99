//! The built-in rules, each fired for real, and each held against what it must not see.

use std::collections::BTreeSet;

use palisade_agent::detector::load_rules;
use palisade_agent::{BUILTIN_RULES, Detection};
use palisade_rules::LoadOptions;

use super::Tally;
use super::detections_table::{CRITICAL, ERROR, NOTICE, Row, WARNING};
use super::stage::{self, Kind};
use super::watcher::{Loading, Watcher, shown};
use crate::support::is_root;

/// Rules that cannot be fired here, and why.
const IMPOSSIBLE: &[(&str, &str)] = &[];

fn tables() -> [(&'static str, &'static [Row]); 4] {
    [("Critical", CRITICAL), ("Error", ERROR), ("Warning", WARNING), ("Notice", NOTICE)]
}

#[test]
fn each_rule_has_a_row_under_its_priority() {
    let (rules, _) = load_rules(&BUILTIN_RULES, &LoadOptions::default());
    let rules: BTreeSet<(String, &str)> = rules
        .rules()
        .iter()
        .map(|rule| (rule.priority.to_string(), rule.name.as_str()))
        .filter(|(_, name)| !IMPOSSIBLE.iter().any(|(impossible, _)| impossible == name))
        .collect();
    let rows: Vec<(String, &str)> = tables()
        .iter()
        .flat_map(|(priority, rows)| rows.iter().map(|row| ((*priority).to_string(), row.0)))
        .collect();
    assert_eq!(rows.len(), rows.iter().collect::<BTreeSet<_>>().len(), "a rule has two rows");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), rules);
}

#[test]
fn each_rule_fires_when_it_must_and_not_when_it_must_not() {
    if !is_root() || !stage::has_compiler() {
        return;
    }
    let mut watcher = Watcher::start(&[Kind::Container], &BUILTIN_RULES, &Loading::default());
    let mut tally = Tally::default();
    for (rule, why) in IMPOSSIBLE {
        tally.skipped(rule, why);
    }
    for (priority, rows) in tables() {
        for row in rows {
            match check(&mut watcher, row, priority) {
                Ok(()) => tally.n_passed += 1,
                Err(why) => tally.failed(row.0, &why),
            }
        }
    }
    tally.finish("built-in rules");
}

fn check(watcher: &mut Watcher, row: &Row, priority: &str) -> Result<(), String> {
    let (rule, process, fires, quiet) = row;
    let act = |watcher: &mut Watcher, script: &str| {
        let (detections, status) = watcher.act(Kind::Container, script);
        if status != 0 {
            return Err(format!("`{script}` ended with {status}"));
        }
        Ok(detections)
    };
    let is_of_rule = |detection: &&Detection| detection.rule.name == **rule;
    let detections = act(watcher, quiet)?;
    if let Some(detection) = detections.iter().find(is_of_rule) {
        return Err(format!("`{quiet}` has fired it: {}", detection.output));
    }
    let detections = act(watcher, fires)?;
    let Some(detection) = detections.iter().find(is_of_rule) else {
        return Err(format!("`{fires}` has not fired it\n{}", shown(&detections)));
    };
    let actual = detection.process.as_ref().map_or("", |process| process.name.as_str());
    if !process.is_empty() && actual != *process {
        return Err(format!("process `{actual}`, not `{process}`"));
    }
    if detection.rule.priority.to_string() != priority {
        return Err(format!("priority {}", detection.rule.priority));
    }
    if !watcher.stage(Kind::Container).is_of(detection) {
        return Err(format!("container {:?}", detection.container));
    }
    Ok(())
}

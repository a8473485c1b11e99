//! Rule files: what is loaded has unique names, prints as a condition that parses, and runs.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use palisade_fuzz::Constant;
use palisade_rules::{Evaluator, LoadOptions, PROBLEMS_MAX, RuleMatching, RuleSet};
use palisade_sensor::SyscallSchema;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
    let load = || RuleSet::load(&[("rules.yaml", &text)], &[&SyscallSchema], &options);
    let (rules, found) = load();
    palisade_fuzz::check_diagnostics(&found, &text, PROBLEMS_MAX + 1);
    assert_eq!(load().1, found);
    let names: HashSet<&str> = rules.rules().iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), rules.rules().len());
    let mut evaluator = Evaluator::new(&rules);
    let mut matched = Vec::new();
    for event_type in [0, 3, 307] {
        let event = Constant { schema: &SyscallSchema, text: b"/etc/shadow", event_type };
        matched.clear();
        evaluator.evaluate(&event, &mut matched);
        for id in &matched {
            let rule = rules.rule(*id);
            assert!(
                rule.enabled && rule.declared_event_types.contains(event_type),
                "{}",
                rule.name
            );
            rule.output_format.render(&event);
            rule.output_format.values(&event);
        }
    }
});

//! Stateful rules: how they are read, and when they fire.

use palisade_base::Severity;
use palisade_rules::{Awaited, Evaluator, LoadOptions, RuleSelection, RuleSet, Selector, code};

use crate::schema::{Owned, TestEvent, TestSchema, text};

const SECOND: u64 = 1_000_000_000;

fn load(file: &str, options: &LoadOptions) -> (RuleSet, palisade_base::Diagnostics) {
    RuleSet::load(&[("f", file)], &[TestSchema::small()], options)
}

fn event(event_type: &str, name: &str, pid: i64) -> TestEvent {
    TestEvent::new(TestSchema::small(), event_type)
        .with("proc.name", [text(name)])
        .with("proc.pid", [Owned::Int(pid)])
        .with("fd.name", [text(&format!("{name}-file"))])
}

/// Which rules each event fires; an event comes every second.
fn fired(rules: &RuleSet, events: &[TestEvent]) -> Vec<Vec<String>> {
    let mut evaluator = Evaluator::new(rules);
    let mut matched = Vec::new();
    let fire = |(event, seconds): (&TestEvent, u64)| {
        matched.clear();
        evaluator.evaluate_at(event, seconds * SECOND, &mut matched);
        matched.iter().map(|id| rules.rule(*id).name.clone()).collect()
    };
    events.iter().zip(1..).map(fire).collect()
}

const COUNT: &str = "
- macro: opened
  condition: evt.type in (open, openat)
- rule: every one
  desc: d
  condition: opened
  output: o
  priority: INFO
- stateful_rule: three
  desc: d
  condition: opened and proc.name startswith c
  count: 3
  within: 10s
  per: [proc.pid]
  output: three by %proc.name
  priority: WARNING
  tags: [t]
";

#[test]
fn a_count_fires_beside_the_first_match() {
    let (rules, diagnostics) = load(COUNT, &LoadOptions::default());
    assert_eq!(diagnostics.0, [], "{diagnostics}");
    let (_, rule) = rules.find("three").unwrap();
    let stateful = rule.stateful.as_ref().unwrap();
    assert_eq!(stateful.awaited, Awaited::Count { at_least: 3, distinct: false });
    assert_eq!(stateful.within_ns, 10 * SECOND);
    assert_eq!(stateful.per_fields().collect::<Vec<_>>(), ["proc.pid"]);
    assert_eq!(rule.fields, ["evt.type", "proc.name"]);
    assert_eq!(rule.event_types.len(), 4, "the events of its condition are asked for");
    let events = [
        event("open", "cat", 1),
        event("open", "cat", 2),
        event("openat", "cp", 1),
        event("close", "cat", 1),
        event("open", "ls", 1),
        event("open", "cat", 1),
        event("open", "cat", 1),
    ];
    let one: &[&str] = &["every one"];
    assert_eq!(fired(&rules, &events), [one, one, one, &[], one, &["every one", "three"], one]);
}

#[test]
fn different_values_are_counted() {
    let file = "
- stateful_rule: two files
  desc: d
  condition: evt.type = open
  distinct: [fd.name, proc.pid]
  count: 2
  within: 1m
  per: host
  output: o
  priority: INFO
";
    let host_is_known = load(file, &LoadOptions::default());
    let (rules, diagnostics) = host_is_known;
    assert_eq!(diagnostics.0, [], "{diagnostics}");
    let events = ["a", "a", "b", "b"].map(|name| event("open", name, 1));
    let two: &[&str] = &["two files"];
    assert_eq!(fired(&rules, &events), [&[], &[], two, &[]]);
}

#[test]
fn a_sequence_fires_at_its_last_step() {
    let file = "
- stateful_rule: written and run
  desc: d
  steps:
    - evt.type = open and proc.name = cp
    - evt.type = close and proc.name = cp
    - evt.type = execve
  within: 5s
  per: [proc.pid]
  output: o
  priority: INFO
";
    let (rules, diagnostics) = load(file, &LoadOptions::default());
    assert_eq!(diagnostics.0, [], "{diagnostics}");
    assert!(rules.rules()[0].condition.contains(" ; then "), "{}", rules.rules()[0].condition);
    let events = [
        event("execve", "cp", 1),
        event("open", "cp", 1),
        event("close", "cp", 1),
        event("execve", "sh", 2),
        event("execve", "sh", 1),
        event("execve", "sh", 1),
    ];
    let now: &[&str] = &["written and run"];
    assert_eq!(fired(&rules, &events), [&[], &[], &[], &[], now, &[]]);
}

#[test]
fn selections_turn_them_off() {
    let rules = Selector::Name("three".into());
    let options = LoadOptions {
        selections: vec![RuleSelection { enable: false, rules }],
        ..LoadOptions::default()
    };
    let (rules, _) = load(COUNT, &options);
    let events = [event("open", "cat", 1), event("open", "cat", 1), event("open", "cat", 1)];
    assert!(fired(&rules, &events).iter().all(|names| names == &["every one"]));
    let (_, rule) = rules.find("three").unwrap();
    assert!(!rule.enabled && rule.event_types.is_empty());
}

#[test]
fn they_can_be_overridden_as_other_rules() {
    let file =
        format!("{COUNT}- rule: three\n  enabled: false\n  override: {{enabled: replace}}\n");
    let (rules, diagnostics) = load(&file, &LoadOptions::default());
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    assert!(!rules.find("three").unwrap().1.enabled);
}

#[track_caller]
fn check(from: &str, to: &str, expected: &str) {
    assert!(COUNT.contains(from), "{from}");
    let (_, diagnostics) = load(&COUNT.replace(from, to), &LoadOptions::default());
    let errors: Vec<_> =
        diagnostics.0.iter().filter(|found| found.severity == Severity::Error).collect();
    let [error] = errors[..] else { panic!("{to}: {diagnostics}") };
    let said = format!("{} {}", error.message, error.help.as_deref().unwrap_or_default());
    assert!(said.contains(expected), "{said}");
    assert!(error.location.line >= 9, "{diagnostics}");
}

#[test]
fn what_is_wrong_is_said() {
    check("count: 3", "count: 1", "must be from 2 to 1000");
    check("count: 3", "count: 5000", "must be from 2 to 1000");
    check("count: 3", "count: many", "write a whole number");
    check("  count: 3\n", "", "no mapping for key 'count'");
    check("within: 10s", "within: 10", "write a time such as");
    check("within: 10s", "within: 25h", "not between 1ms and 24h");
    check("within: 10s", "within: 99999999999999999999s", "is not a time");
    check("within: 10s", "within: 0s", "not between 1ms and 24h");
    check("per: [proc.pid]", "per: pod", "one of host, container, session, process, user");
    check("per: [proc.pid]", "per: []", "not 1 to 8");
    check("per: [proc.pid]", "per: [proc.pd]", "nonexistent field proc.pd");
    check(
        "  condition: opened and proc.name startswith c\n",
        "  steps: [opened, opened]\n",
        "either 'steps', or",
    );
    check("priority: WARNING", "priority: LOUD", "Invalid priority");
    check(
        "  condition: opened and proc.name startswith c\n  count: 3\n",
        "  steps: [opened]\n",
        "1 steps",
    );
    check(
        "opened and proc.name startswith c",
        "opened and proc.nam = c",
        "did you mean `proc.name`?",
    );
    let (_, diagnostics) =
        load(&COUNT.replace("count: 3", "count: 3\n  cuont: 4"), &LoadOptions::default());
    assert_eq!(diagnostics.0[0].code, code::UNKNOWN_KEY);
    assert_eq!(diagnostics.0[0].help.as_deref(), Some("did you mean `count`?"));
}

/// Two of three events before the rules are loaded again as `after`, and one behind: whether it
/// fires, and what the evaluator says of the memory.
fn across_a_reload(after: &str) -> (bool, palisade_rules::Carried) {
    let (before, _) = load(COUNT, &LoadOptions::default());
    let (rules, diagnostics) = load(after, &LoadOptions::default());
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let mut old = Evaluator::new(&before);
    let mut matched = Vec::new();
    for second in 1..=2 {
        old.evaluate_at(&event("open", "cat", 1), second * SECOND, &mut matched);
    }
    let mut new = Evaluator::new(&rules);
    let carried = new.carry_over(&rules, old, &before);
    matched.clear();
    new.evaluate_at(&event("open", "cat", 1), 3 * SECOND, &mut matched);
    (matched.iter().any(|id| rules.rule(*id).name == "three"), carried)
}

#[test]
fn memories_outlive_a_reload_where_the_rule_counts_the_same() {
    let check = |replaced: &str, by: &str, survives: bool| {
        assert!(COUNT.contains(replaced), "{replaced}");
        let (fired, carried) = across_a_reload(&COUNT.replace(replaced, by));
        assert_eq!(fired, survives, "{replaced} -> {by}");
        let (kept, dropped): (&[&str], &[&str]) =
            if survives { (&["three"], &[]) } else { (&[], &["three"]) };
        assert_eq!(carried.kept, kept, "{replaced} -> {by}");
        assert_eq!(carried.dropped, dropped, "{replaced} -> {by}");
    };
    // Nothing; where it stands; what it says; how urgent it is.
    check("desc: d", "desc: d", true);
    check(
        "- rule: every one",
        "- rule: another\n  desc: d\n  condition: evt.type = openat\n  output: o\n  priority: INFO\n- rule: every one",
        true,
    );
    check("output: three by %proc.name", "output: other words", true);
    check("priority: WARNING", "priority: ERROR", true);
    // What it counts, directly and through a macro; how long, how many, for whom; its name.
    check("startswith c", "startswith ca", false);
    check("(open, openat)", "(open)", false);
    check("within: 10s", "within: 11s", false);
    check("count: 3", "count: 4", false);
    check("per: [proc.pid]", "per: host", false);
    check("stateful_rule: three", "stateful_rule: four", false);
    check("  tags: [t]", "  enabled: false", false);
}

//! The evaluator and outputs over single events.

use palisade_rules::{
    Action, Evaluator, FieldValue, LoadOptions, OutputFormat, Priority, RuleMatching,
    RuleSelection, RuleSet, Selector,
};

use crate::property::rule_file;
use crate::schema::{Owned, TestEvent, TestSchema, text};

fn load(file: &str, options: &LoadOptions) -> RuleSet {
    let (rules, diagnostics) = RuleSet::load(&[("test", file)], &[TestSchema::small()], options);
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    rules
}

fn matched(rules: &RuleSet, event: &TestEvent) -> Vec<String> {
    let mut ids = Vec::new();
    Evaluator::new(rules).evaluate(event, &mut ids);
    ids.into_iter().map(|id| rules.rule(id).name.clone()).collect()
}

fn open(name: &str) -> TestEvent {
    TestEvent::new(TestSchema::small(), "open").with("proc.name", [text(name)])
}

#[test]
fn first_and_all() {
    let conditions =
        ["evt.type = close", "evt.type = open and proc.name = cat", "proc.name startswith c"];
    let file = rule_file(&conditions.map(str::to_owned));
    let first = load(&file, &LoadOptions::default());
    assert_eq!(matched(&first, &open("cat")), ["r1"]);
    assert_eq!(matched(&first, &open("cp")), ["r2"]);
    let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
    assert_eq!(matched(&load(&file, &options), &open("cat")), ["r1", "r2"]);
}

#[test]
fn rules_are_indexed_by_event_type() {
    let file = rule_file(&["evt.type in (open, openat)", "not evt.type = open"].map(str::to_owned));
    let rules = load(&file, &LoadOptions::default());
    let types = |i: usize| rules.rules()[i].event_types.iter().collect::<Vec<_>>();
    // Two numbers have the name `open`.
    // Asynchronous events name themselves, so they may be anything.
    assert_eq!(types(0), [1, 2, 6, 7]);
    assert_eq!(types(1), [2, 3, 4, 5, 7]);
    assert_eq!(rules.event_types("syscall").len(), 7);
    assert!(rules.event_types("k8s_audit").is_empty());
}

#[test]
fn selections_and_priority_turn_rules_off() {
    let file = "- rule: low\n  desc: d\n  condition: proc.name = a\n  output: o\n  priority: DEBUG\n  tags: [t]\n\
                - rule: high\n  desc: d\n  condition: proc.name = a\n  output: o\n  priority: ERROR\n  enabled: false\n";
    let on = |options: &LoadOptions| {
        load(file, options).rules().iter().map(|rule| rule.enabled).collect::<Vec<_>>()
    };
    let select = |enable, rules| RuleSelection { enable, rules };
    assert_eq!(on(&LoadOptions::default()), [true, false]);
    let minimum_priority = Some(Priority::Warning);
    assert_eq!(on(&LoadOptions { minimum_priority, ..LoadOptions::default() }), [false, false]);
    let selections =
        vec![select(false, Selector::Name("*".into())), select(true, Selector::Name("hi*".into()))];
    let options = LoadOptions { selections, ..LoadOptions::default() };
    assert_eq!(on(&options), [false, true]);
    assert_eq!(matched(&load(file, &options), &open("a")), ["high"]);
    let selections = vec![select(false, Selector::Tag("t".into()))];
    assert_eq!(on(&LoadOptions { selections, ..LoadOptions::default() }), [false, false]);
}

#[test]
fn missing_values_satisfy_nothing() {
    let conditions = ["fd.name = x", "fd.name != x", "not fd.name = x", "fd.name exists"];
    let file = rule_file(&conditions.map(str::to_owned));
    let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
    assert_eq!(matched(&load(&file, &options), &open("a")), ["r2"]);
}

#[test]
fn many_rules_share_their_work() {
    // Rules that differ in one name only: found by looking the name up.
    let conditions: Vec<String> = (0..2_000)
        .map(|i| {
            format!(
                "evt.type = open and fd.num >= 0 and proc.name = p{i} and fd.name startswith /etc"
            )
        })
        .collect();
    let rules = load(&rule_file(&conditions), &LoadOptions::default());
    let event = open("p1234").with("fd.num", [Owned::Int(3)]).with("fd.name", [text("/etc/x")]);
    assert_eq!(matched(&rules, &event), ["r1234"]);
    assert!(event.asked.borrow().values().all(|n| *n == 1));
    let (n_operands, n_checks, _) = rules.sizes("syscall").unwrap();
    assert_eq!((n_operands, n_checks), (4, 2_003));
}

#[test]
fn an_evaluator_outlives_its_set() {
    let rules = load(&rule_file(&["proc.name = a".to_owned()]), &LoadOptions::default());
    let mut evaluator = Evaluator::new(&rules);
    drop(rules);
    let mut ids = Vec::new();
    evaluator.evaluate(&open("a"), &mut ids);
    assert_eq!(ids.len(), 1);
    Evaluator::for_source(&RuleSet::default(), "other").evaluate(&open("a"), &mut ids);
    assert_eq!(ids.len(), 1);
}

#[track_caller]
fn check_output(format: &str, expected: &str) {
    let schema = TestSchema::small();
    let event = TestEvent::new(schema, "open")
        .with("proc.name", [text("cat")])
        .with("proc.aname[2]", [text("sh")])
        .with("fd.types", [text("file"), text("ipv4")])
        .with("user.uid", [Owned::Uint(0)])
        .with("thread.cpu", [Owned::Double(1.25)])
        .with("evt.is_open_read", [Owned::Bool(true)])
        .with("evt.buffer", [Owned::Bytes(b"a\x00b".to_vec())])
        .with("evt.arg[path]", [text("/p")])
        .with("fd.snet", [Owned::Ip("::1".parse().unwrap())]);
    let compiled = OutputFormat::compile(format, schema).unwrap();
    assert_eq!(compiled.render(&event), expected);
}

#[test]
fn outputs_are_written_as_falco_writes_them() {
    check_output("%proc.name did it", "cat did it");
    check_output("*a=%proc.aname[2] b=%proc.aname[3]", "a=sh b=<NA>");
    check_output("%fd.types %user.uid %thread.cpu", "(file,ipv4) 0 1.2");
    check_output("%evt.is_open_read %evt.buffer %fd.snet", "true a.b ::1");
    check_output("%evt.arg.path,%evt.arg[path].", "/p,/p.");
    check_output("%toupper(proc.name)%len(fd.types)", "CAT2");
    check_output("[%6proc.name][%2proc.name]", "[cat   ][ca]");
    check_output("%proc.namexyz", "catxyz");
    check_output("100", "100");
}

#[test]
fn outputs_give_typed_values() {
    let schema = TestSchema::small();
    let format =
        OutputFormat::compile("%user.uid %proc.name %tolower(fd.name) %user.uid", schema).unwrap();
    let event = TestEvent::new(schema, "open").with("user.uid", [Owned::Uint(7)]);
    let expected =
        [("user.uid", Some(FieldValue::Uint(7))), ("proc.name", None), ("fd.name", None)];
    assert_eq!(format.values(&event), expected);
    assert_eq!(serde_json::Value::from(&FieldValue::Uint(7)), serde_json::json!(7));
}

#[test]
fn bad_outputs_are_refused() {
    for format in ["", "x %", "x %5", "%no.such", "%(x)", "% "] {
        assert!(OutputFormat::compile(format, TestSchema::small()).is_err(), "{format}");
    }
    let large = "x".repeat(palisade_rules::OUTPUT_BYTES_MAX + 1);
    assert!(OutputFormat::compile(&large, TestSchema::small()).is_err());
}

#[test]
fn a_rule_with_an_action_is_never_hidden_by_an_earlier_one() {
    let file = rule_file(
        &["proc.name = cat", "proc.name startswith c", "evt.type = open"].map(str::to_owned),
    );
    let mut rules = load(&file, &LoadOptions::default());
    assert_eq!(matched(&rules, &open("cat")), ["r0"]);
    let (id, _) = rules.find("r2").unwrap();
    rules.set_actions(id, vec![Action::Kill]);
    assert_eq!(matched(&rules, &open("cat")), ["r0", "r2"]);
    assert_eq!(matched(&rules, &open("x")), ["r2"], "once, where it is the first");
}

#[test]
fn actions_are_read_and_replaced() {
    let rule = |action: &str| {
        format!(
            "- rule: r\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n{action}"
        )
    };
    let replaced = "- rule: r\n  action: []\n  override: {action: replace}\n";
    for (file, expected) in [
        (rule(""), &[][..]),
        (rule("  action: kill\n"), &[Action::Kill]),
        (rule("  action: [deny, kill]\n"), &[Action::Deny, Action::Kill]),
        (rule("  action: deny\n") + replaced, &[]),
        (rule("") + &replaced.replace("[]", "deny"), &[Action::Deny]),
    ] {
        assert_eq!(load(&file, &LoadOptions::default()).rules()[0].actions, expected, "{file}");
    }
}

//! Rule files with something wrong: codes, places, help; and what is bounded.

use std::fmt::Write as _;

use palisade_base::Severity;
use palisade_rules::{
    CONDITION_BYTES_MAX, DEFINITIONS_MAX, EXPRESSION_NODES_MAX, LoadOptions, MACRO_NESTING_MAX,
    NESTING_MAX, OPERANDS_MAX, RuleSet, code, parse_condition,
};

use crate::schema::TestSchema;

fn load(files: &[(&str, &str)]) -> (RuleSet, palisade_base::Diagnostics) {
    RuleSet::load(files, &[TestSchema::small()], &LoadOptions::default())
}

/// Loads one file and compares what is said about it: code, line, column, part of the
/// message or the help.
#[track_caller]
fn check(file: &str, expected: &[(&str, usize, usize, &str)]) {
    let (_, diagnostics) = load(&[("f", file)]);
    let found: Vec<_> =
        diagnostics.0.iter().map(|d| (d.code, d.location.line, d.location.column)).collect();
    let places: Vec<_> =
        expected.iter().map(|(code, line, column, _)| (*code, *line, *column)).collect();
    assert_eq!(found, places, "{diagnostics}");
    for (diagnostic, (.., part)) in diagnostics.0.iter().zip(expected) {
        let said = format!("{} {}", diagnostic.message, diagnostic.help.as_deref().unwrap_or(""));
        assert!(said.contains(part), "{said}");
    }
}

fn rule(condition: &str) -> String {
    format!(
        "- rule: r\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n  \
         warn_evttypes: false\n"
    )
}

#[test]
fn problems_have_places_and_help() {
    check(&rule("proc.nam = x"), &[(code::COMPILE_CONDITION, 3, 14, "did you mean `proc.name`?")]);
    check(
        &rule("proc.name = x and\n    fd.num contains 1"),
        &[(code::COMPILE_CONDITION, 4, 5, "not supported for numeric")],
    );
    check(&rule("proc.name = x or"), &[(code::COMPILE_CONDITION, 3, 29, "expected blank or '('")]);
    check(&rule("evt.type = opne"), &[(code::COMPILE_CONDITION, 3, 25, "did you mean `open`?")]);
    check(&rule("fd.num = many"), &[(code::COMPILE_CONDITION, 3, 23, "not a valid number")]);
    check(
        "- macro: spawned\n  condition: evt.type = execve\n- rule: r\n  desc: d\n  condition: \
         proc.name = x and spwaned\n  output: '%no.such'\n  priority: INFO\n  warn_evttypes: false\n",
        &[
            (code::COMPILE_OUTPUT, 6, 11, "nonexistent field no.such"),
            (code::VALIDATE, 5, 32, "did you mean `spawned`?"),
            (code::UNUSED_MACRO, 1, 3, ""),
        ],
    );
    check(
        "- macro: a\n  condition: proc.name = x and b\n- rule: r\n  desc: d\n  condition: a\n  \
         output: o\n  priority: INFO\n",
        &[(code::VALIDATE, 2, 32, "Undefined macro 'b'"), (code::UNUSED_MACRO, 1, 3, "")],
    );
}

#[test]
fn actions_that_are_none_are_told_with_their_place() {
    let with = |action: &str| rule("evt.type = open") + "  action: " + action + "\n";
    let wrong = code::YAML_VALIDATE;
    check(&with("freeze"), &[(wrong, 7, 11, "[deny, kill]")]);
    check(&with("[deny, deny]"), &[(wrong, 7, 18, "stands twice")]);
    check(&with("{deny: kill}"), &[(wrong, 7, 11, "Invalid action ''")]);
    check(&with(""), &[(wrong, 7, 9, "Invalid action ''")]);
    let stateful = "- stateful_rule: s\n  action: kill\n  within: 1s\n";
    check(stateful, &[(wrong, 2, 11, "cannot stand in a stateful rule")]);
    let append = "- rule: r\n  action: deny\n  override: {action: append}\n";
    check(&(with("kill") + append), &[(wrong, 10, 14, "cannot be appended to")]);
}

#[test]
fn all_problems_of_all_files_are_told() {
    let broken = "- rule: a\n  desc: d\n- list: l\n- rule: b\n  pririty: INFO\n";
    let (_, diagnostics) =
        load(&[("one", broken), ("two", "a: b\n"), ("three", "[\n"), ("four", "- x\n")]);
    let files: Vec<_> = diagnostics
        .0
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| (d.location.file.as_str(), d.code))
        .collect();
    assert_eq!(
        files,
        [
            ("one", code::YAML_VALIDATE),
            ("one", code::YAML_VALIDATE),
            ("one", code::YAML_VALIDATE),
            ("two", code::YAML_VALIDATE),
            ("three", code::YAML_PARSE),
            ("four", code::YAML_VALIDATE),
        ]
    );
}

#[test]
fn unknown_fields_are_forgiven_if_the_rule_says_so() {
    let file = rule("no.such = 1") + "  skip-if-unknown-filter: true\n";
    check(&file, &[(code::UNKNOWN_FILTER, 3, 14, "")]);
}

#[test]
fn macros_that_loop_or_explode_are_refused() {
    let looped = "- macro: a\n  condition: proc.name = x\n- macro: b\n  condition: a\n- macro: a\n  \
                  condition: or b\n  append: true\n";
    let (_, diagnostics) = load(&[("f", looped)]);
    assert!(
        diagnostics.0.iter().any(|d| d.message == "reference loop in macro 'b'"),
        "{diagnostics}"
    );

    let mut file = String::from("- macro: m0\n  condition: proc.name = x\n");
    for i in 1..40 {
        let inner = format!("m{}", i - 1);
        let _ = writeln!(file, "- macro: m{i}\n  condition: ({inner} and not {inner})");
    }
    let (_, diagnostics) = load(&[("f", &file)]);
    let message = format!("condition has more than {EXPRESSION_NODES_MAX} checks");
    assert!(diagnostics.0.iter().any(|d| d.message == message), "{diagnostics}");

    let mut file = String::from("- macro: m0\n  condition: proc.name = x\n");
    for i in 1..1_000 {
        let inner = i - 1;
        let _ = writeln!(file, "- macro: m{i}\n  condition: not (proc.pid = 1 and m{inner})");
    }
    let (_, diagnostics) = load(&[("f", &file)]);
    assert!(diagnostics.0.iter().any(|d| d.message.contains("nested deeper")), "{diagnostics}");
}

#[test]
fn conditions_are_bounded() {
    let deep = |n: usize| format!("{}proc.name = x{}", "(".repeat(n), ")".repeat(n));
    assert!(parse_condition(&deep(NESTING_MAX)).is_ok());
    assert!(parse_condition(&deep(NESTING_MAX + 1)).is_err());
    let nots = format!("{}proc.name = x", "not ".repeat(100_000));
    assert!(parse_condition(&nots).is_ok());
    assert!(parse_condition(&"x".repeat(CONDITION_BYTES_MAX + 1)).is_err());
    // Lists of lists of names: pasting stops at the bound.
    let item = format!("'{}'", "x".repeat(1_000));
    let list = format!("- list: l\n  items: [{}]\n", vec![item; 1_100].join(", "));
    let (_, diagnostics) = load(&[("f", &(list + &rule("proc.name in (l, l, l)")))]);
    assert!(diagnostics.0.iter().any(|d| d.message.contains("is larger than")), "{diagnostics}");
}

#[test]
fn problems_are_bounded() {
    let file = "- x\n".repeat(palisade_rules::PROBLEMS_MAX + 7);
    let (_, diagnostics) = load(&[("f", &file)]);
    assert_eq!(diagnostics.0.len(), palisade_rules::PROBLEMS_MAX + 1);
    assert_eq!(diagnostics.0.last().unwrap().message, "7 more problems are not shown");
}

#[test]
fn lists_are_pasted_as_text() {
    let compiled = |file: &str| load(&[("f", file)]).0.rules()[0].condition.clone();
    let lists = "- list: empty\n  items: []\n- list: l\n  items: [a, 'b c', 2]\n";
    let with = |condition: &str| compiled(&(lists.to_owned() + &rule(condition)));
    assert_eq!(with("proc.name in (l)"), "proc.name in (a, \"b c\", 2)");
    assert_eq!(with("proc.name in (x, empty, l)"), "proc.name in (x, a, \"b c\", 2)");
    assert_eq!(with("proc.name in (empty)"), "proc.name in ()");
    assert_eq!(with("proc.name in (al, l2)"), "proc.name in (al, l2)");
    // Not only in lists: wherever the name stands alone.
    assert_eq!(with("proc.name contains empty-l"), "proc.name contains empty-l");
}

#[test]
fn later_files_change_earlier_rules() {
    let first = rule("proc.name = x");
    let second = "- rule: r\n  condition: or proc.name = y\n  desc: more\n  priority: ERROR\n  tags: [t]\n  \
                  override:\n    condition: append\n    desc: append\n    priority: replace\n    tags: append\n";
    let (rules, diagnostics) = load(&[("one", &first), ("two", second)]);
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let rule = &rules.rules()[0];
    assert_eq!(rule.condition, "(proc.name = x or proc.name = y)");
    assert_eq!((rule.description.as_str(), rule.priority.name()), ("d more", "Error"));
    assert_eq!(rule.tags, ["t"]);
}

#[track_caller]
fn has(file: &str, part: &str) {
    let (_, diagnostics) = load(&[("f", file)]);
    let found = diagnostics.0.iter().any(|d| d.message.contains(part));
    assert!(found, "no {part} in {} problems", diagnostics.0.len());
}

#[test]
fn definitions_are_bounded() {
    let mut file = String::new();
    for i in 0..=DEFINITIONS_MAX {
        let _ = writeln!(file, "- {{list: l{i}, items: []}}");
    }
    has(&file, &format!("more than {DEFINITIONS_MAX} definitions"));
}

#[test]
fn operands_are_bounded() {
    let checks: Vec<String> = (0..=OPERANDS_MAX).map(|i| format!("evt.arg[{i}] exists")).collect();
    has(&rule(&checks.join(" or ")), &format!("more than {OPERANDS_MAX} distinct fields"));
}

#[test]
fn macros_and_repairs_are_bounded() {
    // Each macro names the next one, which was not replaced yet when it was appended.
    let mut file = String::new();
    for i in 0..=MACRO_NESTING_MAX + 1 {
        let _ = writeln!(file, "- macro: m{i}\n  condition: proc.name = x");
    }
    for i in 0..=MACRO_NESTING_MAX {
        let next = i + 1;
        let _ = writeln!(file, "- macro: m{i}\n  condition: or m{next}\n  append: true");
    }
    has(&file, &format!("macros are nested deeper than {MACRO_NESTING_MAX} levels"));

    // Brackets that stand left of where YAML wants them are put right, but not for ever.
    let list = "- list: l\n  items: [\n    \"a\"\n  ]\n";
    assert!(!load(&[("f", &list.repeat(200))]).1.has_errors());
    has(&list.repeat(300), "invalid indentation");
}

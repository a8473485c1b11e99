//! Properties over random rules, events and texts.

use std::fmt::Write as _;

use proptest::prelude::*;

use palisade_rules::{
    Evaluator, LoadOptions, OutputFormat, RuleMatching, RuleSet, parse_condition, parse_operand,
};

use crate::naive;
use crate::schema::{Owned, TestEvent, TestSchema, text};

const TEXTS: [&str; 10] =
    ["a", "bash", "Bash", "/etc/passwd", "/etc", "/tmp/a b", "ssh", "/usr/bin/ssh", "x", "/"];
const ADDRESSES: [&str; 4] = ["10.0.0.1", "10.1.2.3", "127.0.0.1", "192.168.0.9"];
const NETWORKS: [&str; 4] = ["10.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0", "192.168.0.0/24"];

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

fn list(values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
    format!("({})", values.join(", "))
}

fn texts() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(&TEXTS[..]), 0..5)
}

/// Comparisons of text fields.
fn text_check() -> impl Strategy<Value = String> {
    let operand = prop::sample::select(vec![
        "proc.name",
        "fd.name",
        "proc.aname",
        "proc.aname[2]",
        "tolower(proc.name)",
        "basename(fd.name)",
        "toupper(basename(fd.name))",
    ]);
    let relation = prop::sample::select(vec![
        "=",
        "!=",
        "<",
        ">=",
        "contains",
        "icontains",
        "startswith",
        "endswith",
        "glob",
        "iglob",
    ]);
    let shape = prop::sample::select(vec!["", "oneof ", "anyof ", "allof ", "in", "pmatch", "val"]);
    (operand, relation, shape, texts(), prop::sample::select(&TEXTS[..])).prop_map(
        |(operand, relation, shape, values, value)| {
            let pattern =
                if relation.ends_with("glob") { format!("*{value}?") } else { value.into() };
            match shape {
                // `<` and `>` take numbers only, by the grammar.
                _ if matches!(relation, "<" | ">=") => format!("{operand} {relation} val(fd.name)"),
                "in" | "pmatch" => format!("{operand} {shape} {}", list(&values)),
                "val" => format!("{operand} {relation} val(fd.name)"),
                "" => format!("{operand} {relation} {}", quoted(&pattern)),
                quantifier => format!("{operand} {relation} {quantifier}{}", list(&values)),
            }
        },
    )
}

/// Comparisons of other fields.
fn other_check() -> impl Strategy<Value = String> {
    let event_types = vec!["open", "openat", "execve", "connect", "close"];
    let ordered = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let address = prop::sample::select(&ADDRESSES[..]);
    let network = prop::sample::select(&NETWORKS[..]);
    prop_oneof![
        prop::sample::select(event_types.clone()).prop_map(|name| format!("evt.type = {name}")),
        prop::sample::select(event_types.clone()).prop_map(|name| format!("evt.type != {name}")),
        prop::sample::subsequence(event_types, 1..3)
            .prop_map(|names| format!("evt.type in ({})", names.join(", "))),
        (ordered.clone(), -2..3_i64).prop_map(|(op, n)| format!("fd.num {op} {n}")),
        (ordered, 0..4_u32).prop_map(|(op, n)| format!("len(fd.name) {op} {n}")),
        (prop::sample::select(vec!["=", "!="]), address.clone())
            .prop_map(|(op, address)| format!("fd.ip {op} {address}")),
        (prop::sample::select(vec!["=", "!="]), network)
            .prop_map(|(op, network)| format!("fd.snet {op} {network}")),
        address.prop_map(|address| format!("fd.ip in ({address}, 1.1.1.1)")),
        texts().prop_map(|values| format!("fd.types in {}", list(&values))),
        texts().prop_map(|values| format!("fd.types intersects {}", list(&values))),
        Just("len(fd.types) = 2".to_owned()),
        Just("evt.is_open_read = true".to_owned()),
        Just("fd.name exists".to_owned()),
        Just("proc.aname[2] exists".to_owned()),
        Just("fd.sport in (22, 443)".to_owned()),
        Just("fd.sport != 22".to_owned()),
    ]
}

/// Conditions of every kind of comparison, nested.
pub(crate) fn condition() -> impl Strategy<Value = String> {
    prop_oneof![text_check(), other_check()].prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join(" and "))),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|parts| format!("({})", parts.join(" or "))),
            inner.prop_map(|part| format!("not ({part})")),
        ]
    })
}

/// Conditions that have much in common with others, as rules do.
fn similar_condition() -> impl Strategy<Value = String> {
    let shared = prop::sample::select(vec![
        "evt.type in (open, openat)",
        "evt.is_open_read = true",
        "(fd.num > 0 or evt.type = execve)",
        "not proc.name in (a, x)",
    ]);
    (prop::collection::vec(shared, 0..3), prop::collection::vec(text_check(), 1..4), condition())
        .prop_map(|(shared, texts, other)| {
            let mut parts: Vec<String> = shared.iter().map(ToString::to_string).collect();
            parts.push(format!("({})", texts.join(" or ")));
            parts.push(format!("({} or {other})", texts[0]));
            parts.join(" and ")
        })
}

fn event() -> impl Strategy<Value = TestEvent> {
    let event_type =
        prop::sample::select(vec!["open", "openat", "execve", "connect", "close", "asyncevent"]);
    let address = || prop::sample::select(&ADDRESSES[..]);
    let addresses = prop::collection::vec(address(), 0..3);
    (event_type, texts(), texts(), texts(), (addresses, -2..3_i64, 0..3_usize)).prop_map(
        |(event_type, names, files, ancestors, (addresses, number, n_ports))| {
            let first = |values: &[&str]| values.first().map(|value| text(value));
            let ips = |values: &[&str]| {
                values.iter().map(|value| Owned::Ip(value.parse().unwrap())).collect::<Vec<_>>()
            };
            // Asynchronous events name themselves.
            let own_name = if event_type == "asyncevent" { "open" } else { event_type };
            TestEvent::new(TestSchema::small(), event_type)
                .with("evt.type", [text(own_name)])
                .with("proc.name", first(&names))
                .with("fd.name", first(&files))
                .with("proc.aname", ancestors.iter().map(|name| text(name)))
                .with("proc.aname[2]", ancestors.get(2).map(|name| text(name)))
                .with("fd.types", files.iter().map(|name| text(name)))
                .with("fd.ip", ips(&addresses))
                .with("fd.snet", ips(&addresses))
                .with("fd.num", (number != 0).then_some(Owned::Int(number)))
                .with("fd.sport", [22, 443].into_iter().take(n_ports).map(Owned::Uint))
                .with("evt.is_open_read", [Owned::Bool(number > 0)])
        },
    )
}

/// A file of rules r0, r1, … of these conditions.
pub(crate) fn rule_file(conditions: &[String]) -> String {
    let mut file = String::new();
    for (i, condition) in conditions.iter().enumerate() {
        let _ = write!(
            file,
            "- rule: r{i}\n  desc: d\n  condition: |-\n    {condition}\n  output: o\n  priority: INFO\n"
        );
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The compiled graph gives the verdicts of the naive evaluator, and asks an event
    /// for no field twice.
    #[test]
    fn graph_equals_naive_evaluator(
        conditions in prop_oneof![
            prop::collection::vec(condition(), 1..30),
            // So many that they hang on texts, and share some of their parts.
            prop::collection::vec(similar_condition(), 40..120),
        ],
        events in prop::collection::vec(event(), 1..12),
    ) {
        let schema = TestSchema::small();
        let file = rule_file(&conditions);
        let options = LoadOptions { matching: RuleMatching::All, ..LoadOptions::default() };
        let (rules, diagnostics) = RuleSet::load(&[("random", &file)], &[schema], &options);
        prop_assert!(!diagnostics.has_errors(), "{diagnostics}");
        let trees: Vec<_> = conditions.iter().map(|text| parse_condition(text).unwrap()).collect();
        let mut evaluator = Evaluator::new(&rules);
        let mut matched = Vec::new();
        for event in &events {
            matched.clear();
            evaluator.evaluate(event, &mut matched);
            for (field, n) in event.asked.take() {
                prop_assert!(n == 1, "{field:?} was asked for {n} times");
            }
            let matched: Vec<usize> = matched.iter().map(|id| id.0 as usize).collect();
            let expected: Vec<usize> = (0..trees.len())
                .filter(|i| naive::holds(&trees[*i], schema, event))
                .collect();
            prop_assert_eq!(&matched, &expected);
            for i in matched {
                let types = &rules.rules()[i].event_types;
                prop_assert!(types.contains(palisade_rules::fields::Fields::event_type(event)));
            }
        }
    }

    /// What a condition is printed as means the same.
    #[test]
    fn printing_is_stable(condition in condition()) {
        // The first printing may hold `not not`, which reads as nothing.
        let first = parse_condition(&condition).unwrap().to_string();
        let second = parse_condition(&first).unwrap().to_string();
        let third = parse_condition(&second).unwrap().to_string();
        prop_assert_eq!(second, third);
    }

    /// No text makes the parsers panic.
    #[test]
    fn parsers_survive_any_text(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = parse_condition(&text);
        let _ = parse_operand(&text);
        let _ = OutputFormat::compile(&text, TestSchema::small());
    }

    /// No sequence of the language's own words makes the parser panic.
    #[test]
    fn parser_survives_its_own_words(words in prop::collection::vec(
        prop::sample::select(vec![
            "and", "or", "not", "(", ")", "proc.name", "=", "in", "pmatch", "[", "]", "\"", "'",
            "\\", ",", " ", "oneof", "tolower(", "val(", "join(", "exists", "contains", "1", "<=",
            "évé", "\n",
        ]), 0..60,
    )) {
        let text = words.concat();
        // Empty values are printed as nothing.
        if let Ok(expr) = parse_condition(&text)
            && !text.contains("\"\"")
            && !text.contains("''")
        {
            let printed = expr.to_string();
            prop_assert!(parse_condition(&printed).is_ok(), "{} -> {}", text, printed);
        }
        let _ = parse_condition(&words.join(" "));
    }

    /// No text makes the loader panic.
    #[test]
    fn loader_survives_any_text(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = RuleSet::load(&[("any", &text)], &[TestSchema::small()], &LoadOptions::default());
    }

    /// No damage to a good file makes the loader panic.
    #[test]
    fn loader_survives_damaged_files(
        damage in prop::collection::vec((0..GOOD_FILE.len(), prop::sample::select(vec![
            "", "\n", "- ", ": ", "[", "]", "'", "\"", "&a ", "*a", "|", ">", "list: l", "(", ")",
            "items", "%", "\t", "override: {condition: append}\n", "é", "\u{0}",
        ]), 0..6_usize), 1..6),
    ) {
        let mut text = GOOD_FILE.to_owned();
        for (at, insert, n_removed) in damage {
            let floor = |i: usize| (0..=i.min(text.len())).rev().find(|i| text.is_char_boundary(*i));
            let (start, end) = (floor(at).unwrap(), floor(at + n_removed).unwrap());
            text.replace_range(start..end, insert);
        }
        let (rules, diagnostics) =
            RuleSet::load(&[("damaged", &text)], &[TestSchema::small()], &LoadOptions::default());
        for diagnostic in &diagnostics.0 {
            let n_lines = text.split('\n').count();
            prop_assert!(diagnostic.location.line <= n_lines + 1, "{diagnostic}");
        }
        let mut matched = Vec::new();
        Evaluator::new(&rules)
            .evaluate(&TestEvent::new(TestSchema::small(), "open"), &mut matched);
    }
}

const GOOD_FILE: &str = "- required_engine_version: 0.57.0
- required_plugin_versions:
  - name: container
    version: 0.4.0
- list: shells
  items: [bash, zsh, 'a b']
- list: all
  items: [shells, ssh]
- macro: opened
  condition: (evt.type in (open, openat) and fd.num >= 0)
- rule: one
  desc: >
    a rule
  condition: >
    opened and
    proc.name in (all)
  output: 'file=%fd.name (%proc.aname[2]) %toupper(proc.name)'
  priority: WARNING
  tags: [a, b]
  exceptions:
    - name: e
      fields: [proc.name, fd.name]
      comps: [=, startswith]
      values:
        - [bash, /etc]
- rule: one
  condition: or fd.name contains \"x\"
  override:
    condition: append
";

//! `docs/reference/detections.md` is made from the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use palisade_agent::BUILTIN_RULES;
use palisade_agent::detector::load_rules;
use palisade_agent::incident::techniques;
use palisade_rules::{LoadOptions, Rule, RuleSet};

use crate::techniques::TECHNIQUES;

/// Tactics in the order of an attack: tag and name.
const TACTICS: [(&str, &str); 12] = [
    ("mitre_initial_access", "Initial access"),
    ("mitre_execution", "Execution"),
    ("mitre_persistence", "Persistence"),
    ("mitre_privilege_escalation", "Privilege escalation"),
    ("mitre_defense_evasion", "Defence evasion"),
    ("mitre_credential_access", "Credential access"),
    ("mitre_discovery", "Discovery"),
    ("mitre_lateral_movement", "Lateral movement"),
    ("mitre_collection", "Collection"),
    ("mitre_command_and_control", "Command and control"),
    ("mitre_exfiltration", "Exfiltration"),
    ("mitre_impact", "Impact"),
];

/// What a description begins its advice with.
const ADVICE: &str = "What to do: ";

const HEAD: &str = "# Detections

<!-- Made from crates/agent/rules by a test; `UPDATE_GOLDEN=1 cargo test -p palisade-agent` makes it anew. -->

The rules that come with Palisade, by ATT&CK tactic; a rule that serves several tactics stands under the first.
All of them watch containers, whatever their engine; none concerns processes of the host.
The language is Falco's, and rules that count or follow a sequence are an [extension](../guide/stateful-rules.md) of it; `palisade rules explain RULE` shows a rule whole.

*Critical*: an attack has succeeded.
*Error*: something happened that no healthy container does.
*Warning*: a refused attack, or a likely one.
*Notice*: worth a look.

Rules know programs by name, so a renamed tool is seen only by what it does.
Package managers and build tools, and what they start, are excepted where they do by trade what attackers do; who can start one under its name can use the exception.

";

fn rules() -> RuleSet {
    let (rules, diagnostics) = load_rules(&BUILTIN_RULES, &LoadOptions::default());
    assert_eq!(diagnostics.0, [], "{diagnostics}");
    rules
}

/// What a rule sees, and what to do about it.
fn description(rule: &Rule) -> (String, String) {
    let text = rule.description.split_whitespace().collect::<Vec<_>>().join(" ");
    let (sees, advice) = text.split_once(ADVICE).unwrap_or((&text, ""));
    (sees.trim().to_string(), advice.to_string())
}

fn tactic(rule: &Rule) -> Option<&'static str> {
    let of_rule = |(tag, _): &&(&str, &str)| rule.tags.iter().any(|own| own == tag);
    TACTICS.iter().find(of_rule).map(|(_, name)| *name)
}

fn page(rules: &RuleSet) -> String {
    let mut page = HEAD.to_string();
    let mut by_tactic: BTreeMap<&str, Vec<&Rule>> = BTreeMap::new();
    for rule in rules.rules() {
        by_tactic.entry(tactic(rule).unwrap_or("None")).or_default().push(rule);
    }
    for (_, name) in TACTICS {
        let Some(rules) = by_tactic.get(name) else { continue };
        let _ = write!(
            page,
            "## {name}\n\n| rule | priority | ATT&CK | what it sees | what to do |\n|---|---|---|---|---|\n"
        );
        for rule in rules {
            let ids: Vec<String> = techniques(&rule.tags).map(String::from).collect();
            let (sees, advice) = description(rule);
            let kind = if rule.stateful.is_some() { " (stateful)" } else { "" };
            let (name, priority) = (&rule.name, rule.priority);
            let _ = writeln!(
                page,
                "| {name}{kind} | {priority} | {} | {sees} | {advice} |",
                ids.join(" ")
            );
        }
        page.push('\n');
    }
    page += "# Coverage\n\nWhat attackers do to containers, and which rules see it; where something is not seen, why.\n\n";
    for (subject, rows) in TECHNIQUES {
        let _ = write!(page, "## {subject}\n\n| technique | rules | not seen |\n|---|---|---|\n");
        for (technique, names, gap) in *rows {
            let _ = writeln!(page, "| {technique} | {} | {gap} |", names.join("; "));
        }
        page.push('\n');
    }
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

#[test]
fn every_rule_says_what_where_and_what_to_do() {
    for rule in rules().rules() {
        let name = &rule.name;
        let (sees, advice) = description(rule);
        assert!(sees.len() > 30 && advice.len() > 30, "`{name}` says too little");
        assert!(tactic(rule).is_some(), "`{name}` has no tactic");
        assert!(techniques(&rule.tags).count() > 0, "`{name}` has no technique");
        // Each file holds one priority, so that the most urgent rule of several counts.
        let file = format!("builtin:{}.yaml", rule.priority.to_string().to_lowercase());
        assert_eq!(rule.location.file, file, "`{name}`");
        assert!(!format!("{sees}{advice}").contains('|'), "`{name}` would break the table");
    }
}

#[test]
fn every_rule_covers_a_technique_and_every_technique_a_rule_or_a_reason() {
    let rules = rules();
    let known: BTreeSet<&str> = rules.rules().iter().map(|rule| rule.name.as_str()).collect();
    let rows = || TECHNIQUES.iter().flat_map(|(_, rows)| rows.iter());
    let named: BTreeSet<&str> = rows().flat_map(|(_, names, _)| names.iter().copied()).collect();
    let differing: Vec<_> = named.symmetric_difference(&known).collect();
    assert_eq!(differing, [&""; 0], "named in one place only");
    for (technique, names, reason) in rows() {
        assert!(!names.is_empty() || !reason.is_empty(), "`{technique}` has neither");
    }
    assert!(rows().count() >= 75, "{} techniques", rows().count());
}

#[test]
fn the_page_is_up_to_date() {
    let page = page(&rules());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/detections.md");
    if std::env::vars().any(|(name, _)| name == "UPDATE_GOLDEN") {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/reference/detections.md differs; run with UPDATE_GOLDEN=1");
}

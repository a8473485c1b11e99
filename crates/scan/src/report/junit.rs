//! JUnit's XML, as build servers read it (Jenkins' `junit-10.xsd`).
//!
//! A suite for the gate, with a test for each of its demands; one for each kind of finding, with
//! a failure for each finding, or one test that passed where nothing was found; one for what
//! could not be examined, as errors. What was set aside is a skipped test with its reason.

use std::fmt::Write as _;

use palisade_base::Timestamp;
use palisade_model::Finding;
use palisade_model::finding::ScanReport;
use palisade_model::judgement::GateVerdict;

use super::item::{self, Item};
use super::printable;
use crate::config::CheckReport;

/// Renders `report`.
pub fn render(report: &ScanReport) -> String {
    let mut suites = Vec::new();
    suites.extend(gate(report));
    let active: Vec<Item> = report.findings.iter().map(item::describe).collect();
    let suppressed: Vec<(Item, String)> = report
        .suppressed
        .iter()
        .map(|s| (item::describe(&s.finding), format!("{}: {}", s.by.as_str(), s.reason)))
        .collect();
    let n_licences = report.coverage.n_licences_judged + report.coverage.n_licences_unknown;
    let kinds = [
        ("vulnerability", "vulnerabilities", report.database.is_some()),
        ("malware", "malware", report.coverage.n_files_malware > 0),
        ("secret", "secrets", !report.coverage.is_of_document),
        ("file", "dangerous files", !report.coverage.is_of_document),
        ("configuration", "configuration", !report.coverage.is_of_document),
        ("licence", "licences", n_licences > 0),
    ];
    for (kind, title, was_looked_for) in kinds {
        // Nobody has to ask for these, and what nobody asked for did not fail.
        let is_optional = matches!(kind, "malware" | "licence");
        let has = |item: &Item| item.kind == kind;
        let has_any = active.iter().any(has) || suppressed.iter().any(|(item, _)| has(item));
        if is_optional && !was_looked_for && !has_any {
            continue;
        }
        suites.push(suite(kind, title, was_looked_for, &active, &suppressed));
    }
    let is_known = |item: &Item| kinds.iter().any(|(kind, ..)| *kind == item.kind);
    let mut others: Vec<&'static str> =
        active.iter().filter(|item| !is_known(item)).map(|item| item.kind).collect();
    others.sort_unstable();
    others.dedup();
    for kind in others {
        suites.push(suite(kind, kind, true, &active, &suppressed));
    }
    let mut coverage = coverage(item::blind_spots(report));
    coverage.properties.push(("palisade:advisories", item::advisories_of(report)));
    suites.push(coverage);
    document(&report.inventory.subject.name, report.time, &suites)
}

/// Renders what the checks of configuration found: a suite for each file, with a failure for
/// each finding, and one for what could not be examined.
pub fn render_checks(report: &CheckReport, time: Timestamp) -> String {
    let mut suites: Vec<Suite> =
        report.files.iter().map(|file| of_file(report, &file.name)).collect();
    let named = report.gaps.iter().map(|gap| format!("{}: {}", gap.path, gap.reason));
    let dropped = (report.n_dropped > 0)
        .then(|| format!("{} findings beyond the bounds were dropped", report.n_dropped));
    let mut coverage = coverage(named.chain(dropped).collect());
    if report.n_excused > 0 {
        coverage.cases.push(Case {
            class: "coverage".into(),
            name: "what is excused".into(),
            outcome: Outcome::Skipped(format!("{} findings are excused", report.n_excused)),
        });
    }
    suites.push(coverage);
    document("palisade check", time, &suites)
}

fn of_file(report: &CheckReport, name: &str) -> Suite {
    let found = report.findings.iter().filter_map(|finding| match finding {
        Finding::Configuration(found) => Some(found),
        _ => None,
    });
    let here = found.filter_map(|f| Some((f, f.location.as_ref().filter(|at| at.file == name)?)));
    let mut cases: Vec<Case> = here
        .map(|(found, at)| {
            let number = found.id.as_deref().unwrap_or("own");
            let resource = found.resource.as_deref().unwrap_or(name);
            Case {
                class: name.to_string(),
                name: format!("{number} {} {resource} {}:{}", found.check, at.line, at.column),
                outcome: Outcome::Failed {
                    kind: found.severity.to_string(),
                    message: format!("{resource}: {}", found.title),
                    detail: format!(
                        "{}:{}:{}\n{}\nfix: {}",
                        at.file, at.line, at.column, found.title, found.fix
                    ),
                },
            }
        })
        .collect();
    if cases.is_empty() {
        let outcome = Outcome::Passed;
        cases.push(Case { class: name.to_string(), name: "no finding".into(), outcome });
    }
    Suite { name: name.to_string(), cases, properties: Vec::new() }
}

enum Outcome {
    Passed,
    Failed { kind: String, message: String, detail: String },
    Error { message: String, detail: String },
    Skipped(String),
}

struct Case {
    class: String,
    name: String,
    outcome: Outcome,
}

struct Suite {
    name: String,
    cases: Vec<Case>,
    properties: Vec<(&'static str, String)>,
}

impl Suite {
    fn count(&self, is: fn(&Outcome) -> bool) -> usize {
        self.cases.iter().filter(|case| is(&case.outcome)).count()
    }

    fn n_failures(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Failed { .. }))
    }

    fn n_errors(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Error { .. }))
    }

    fn n_skipped(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }
}

fn gate(report: &ScanReport) -> Option<Suite> {
    let gate = report.gate.as_ref()?;
    let case = |rule: &palisade_model::judgement::GateRule| {
        let message = rule.reasons.first().cloned().unwrap_or_default();
        let detail = rule.reasons.join("\n");
        Case {
            class: "gate".into(),
            name: rule.demand.clone(),
            outcome: match rule.verdict {
                GateVerdict::Passed => Outcome::Passed,
                GateVerdict::Refused => {
                    Outcome::Failed { kind: rule.rule.clone(), message, detail }
                }
                GateVerdict::NotEvaluated => Outcome::Error { message, detail },
            },
        }
    };
    Some(Suite {
        name: "gate".into(),
        cases: gate.rules.iter().map(case).collect(),
        properties: Vec::new(),
    })
}

fn suite(
    kind: &str,
    title: &str,
    was_looked_for: bool,
    active: &[Item],
    suppressed: &[(Item, String)],
) -> Suite {
    let mut cases: Vec<Case> = active
        .iter()
        .filter(|item| item.kind == kind)
        .map(|item| Case {
            class: item.path.clone(),
            name: format!("{} {}", item.rule, item.title),
            outcome: Outcome::Failed {
                kind: item.severity.to_string(),
                message: item.message.clone(),
                detail: format!("{}\n{}\n{}", item.place(), item.message, item.help),
            },
        })
        .collect();
    if cases.is_empty() {
        let outcome = if was_looked_for {
            Outcome::Passed
        } else {
            let message = format!("{title} were not looked for");
            Outcome::Error { detail: message.clone(), message }
        };
        cases.push(Case { class: kind.into(), name: format!("no finding: {title}"), outcome });
    }
    let skipped = suppressed.iter().filter(|(item, _)| item.kind == kind);
    cases.extend(skipped.map(|(item, reason)| Case {
        class: item.path.clone(),
        name: format!("{} {}", item.rule, item.title),
        outcome: Outcome::Skipped(reason.clone()),
    }));
    Suite { name: title.into(), cases, properties: Vec::new() }
}

fn coverage(blind_spots: Vec<String>) -> Suite {
    let mut cases: Vec<Case> = blind_spots
        .into_iter()
        .map(|spot| Case {
            class: "coverage".into(),
            name: spot.clone(),
            outcome: Outcome::Error { message: "not examined".into(), detail: spot },
        })
        .collect();
    if cases.is_empty() {
        let name = "everything was examined".to_string();
        cases.push(Case { class: "coverage".into(), name, outcome: Outcome::Passed });
    }
    Suite { name: "coverage".into(), cases, properties: Vec::new() }
}

fn document(name: &str, time: Timestamp, suites: &[Suite]) -> String {
    let sum = |n: fn(&Suite) -> usize| suites.iter().map(n).sum::<usize>();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        Xml(name),
        sum(|suite| suite.cases.len()),
        sum(Suite::n_failures),
        sum(Suite::n_errors),
    );
    let time: String = time.rfc3339().chars().take(19).collect();
    for suite in suites {
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" timestamp=\"{time}\">",
            Xml(&suite.name),
            suite.cases.len(),
            suite.n_failures(),
            suite.n_errors(),
            suite.n_skipped(),
        );
        write_properties(&mut out, &suite.properties);
        suite.cases.iter().for_each(|case| write_case(&mut out, case));
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// They come before the cases, as the schemas of JUnit's readers have it.
fn write_properties(out: &mut String, properties: &[(&str, String)]) {
    if properties.is_empty() {
        return;
    }
    out.push_str("    <properties>\n");
    for (name, value) in properties {
        let _ = writeln!(out, "      <property name=\"{}\" value=\"{}\"/>", Xml(name), Xml(value));
    }
    out.push_str("    </properties>\n");
}

fn write_case(out: &mut String, case: &Case) {
    let (class, name) = (Xml(&case.class), Xml(&case.name));
    let _ = write!(out, "    <testcase classname=\"{class}\" name=\"{name}\"");
    let _ = match &case.outcome {
        Outcome::Passed => writeln!(out, "/>"),
        Outcome::Skipped(reason) => {
            writeln!(out, "><skipped message=\"{}\"/></testcase>", Xml(reason))
        }
        Outcome::Failed { kind, message, detail } => {
            let (kind, message, detail) = (Xml(kind), Xml(message), Xml(detail));
            writeln!(
                out,
                "><failure type=\"{kind}\" message=\"{message}\">{detail}</failure></testcase>"
            )
        }
        Outcome::Error { message, detail } => {
            let (message, detail) = (Xml(message), Xml(detail));
            writeln!(out, "><error message=\"{message}\">{detail}</error></testcase>")
        }
    };
}

/// Text escaped for an attribute or an element. Characters that XML 1.0 does not have at all
/// become U+FFFD.
struct Xml<'a>(&'a str);

impl std::fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Line breaks are meant; everything else that moves a reader's eye is not.
        for c in self.0.split('\n').map(printable).collect::<Vec<_>>().join("\n").chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' => f.write_str("&#10;")?,
                '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

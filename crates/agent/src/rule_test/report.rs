//! Results of rule tests as text, JSON and JUnit XML.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::run::{CaseReport, Failed, Status};
use super::spec::Suite;

/// The schema of the JSON form.
pub const SCHEMA: &str = "palisade.dev/rule-tests/v1";

/// A suite and how its cases ended.
#[derive(Debug)]
pub struct SuiteReport<'s> {
    /// The suite.
    pub suite: &'s Suite,
    /// Its cases, those that were wanted.
    pub cases: Vec<CaseReport>,
}

/// A test file none of whose cases was run.
#[derive(Debug)]
pub struct Refused {
    /// The file.
    pub file: String,
    /// What is wrong with it, or why it could not be read.
    pub reason: String,
}

/// How many cases ended in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Passed.
    pub n_passed: usize,
    /// Failed.
    pub n_failed: usize,
    /// The rules are wrong.
    pub n_wrong: usize,
    /// Something is missing or damaged.
    pub n_not_run: usize,
}

impl Counts {
    /// Counts the cases of `reports`.
    pub fn of(reports: &[SuiteReport<'_>]) -> Self {
        let mut counts = Self::default();
        for case in reports.iter().flat_map(|report| &report.cases) {
            match case.status {
                Status::Passed => counts.n_passed += 1,
                Status::Failed(_) => counts.n_failed += 1,
                Status::Wrong(_) => counts.n_wrong += 1,
                Status::NotRun(_) => counts.n_not_run += 1,
            }
        }
        counts
    }

    /// All of them.
    pub fn n(self) -> usize {
        self.n_passed + self.n_failed + self.n_wrong + self.n_not_run
    }

    /// The line at the end.
    pub fn line(self, refused: &[Refused]) -> String {
        let mut line = format!("{} passed, {} failed", self.n_passed, self.n_failed);
        match self.n_wrong + self.n_not_run {
            0 => {}
            n => {
                let _ = write!(line, ", {n} not run");
            }
        }
        match refused.len() {
            0 => {}
            1 => line.push_str(", 1 file refused"),
            n => {
                let _ = write!(line, ", {n} files refused");
            }
        }
        line
    }
}

/// For people. What is wrong with files that were refused has been shown.
pub fn text(reports: &[SuiteReport<'_>], refused: &[Refused]) -> String {
    let mut out = String::new();
    for report in reports {
        let _ = writeln!(out, "{}: {}", report.suite.file, printable(&report.suite.name));
        for case in &report.cases {
            case_text(case, &mut out);
        }
    }
    let _ = writeln!(out, "{}", Counts::of(reports).line(refused));
    out
}

fn case_text(case: &CaseReport, out: &mut String) {
    let n_alerts: u64 = case.alerts.values().sum();
    let about =
        format!("{} events, {n_alerts} alerts, {} ms", case.n_events, case.duration.as_millis());
    let name = printable(&case.name);
    let _ = match &case.status {
        Status::Passed => writeln!(out, "  ok       {name} ({about})"),
        Status::Failed(_) => writeln!(out, "  FAILED   {name} ({about})"),
        Status::Wrong(_) | Status::NotRun(_) => writeln!(out, "  NOT RUN  {name}"),
    };
    match &case.status {
        Status::Passed => {}
        Status::Failed(failures) => {
            for failure in failures {
                indent(&failure_text(failure), out);
            }
            indent(&alerts_text(case), out);
        }
        Status::Wrong(reason) | Status::NotRun(reason) => indent(reason, out),
    }
}

fn indent(text: &str, out: &mut String) {
    for line in text.lines() {
        let _ = writeln!(out, "           {}", printable(line));
    }
}

fn alerts_text(case: &CaseReport) -> String {
    if case.alerts.is_empty() {
        return "alerts: none\n".into();
    }
    let counts: Vec<String> = case.alerts.iter().map(|(rule, n)| format!("{n} × {rule}")).collect();
    format!("alerts: {}\n", counts.join(", "))
}

fn failure_text(failure: &Failed) -> String {
    let mut out =
        format!("{}: expected {}, got {}\n", failure.location, failure.expected, failure.actual);
    for near in &failure.near {
        let _ = writeln!(out, "  {} {}: {}", near.time, near.rule, near.output);
        for difference in &near.differences {
            let _ = writeln!(out, "    {difference}");
        }
    }
    for note in &failure.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    out
}

/// Versioned JSON.
pub fn json(reports: &[SuiteReport<'_>], refused: &[Refused]) -> Value {
    let counts = Counts::of(reports);
    let refused: Vec<Value> = refused
        .iter()
        .map(|refused| json!({ "file": refused.file, "reason": refused.reason }))
        .collect();
    json!({
        "schema": SCHEMA,
        "n_passed": counts.n_passed,
        "n_failed": counts.n_failed,
        "n_not_run": counts.n_wrong + counts.n_not_run,
        "refused": refused,
        "suites": reports.iter().map(suite_json).collect::<Vec<_>>(),
    })
}

fn suite_json(report: &SuiteReport<'_>) -> Value {
    json!({
        "file": report.suite.file,
        "name": report.suite.name,
        "description": report.suite.description,
        "cases": report.cases.iter().map(case_json).collect::<Vec<_>>(),
    })
}

fn case_json(case: &CaseReport) -> Value {
    let (status, key, detail) = match &case.status {
        Status::Passed => ("passed", None, Value::Null),
        Status::Failed(failures) => {
            ("failed", Some("failures"), failures.iter().map(failure_json).collect())
        }
        Status::Wrong(reason) => ("wrong", Some("reason"), json!(reason)),
        Status::NotRun(reason) => ("not_run", Some("reason"), json!(reason)),
    };
    let mut value = json!({
        "name": case.name,
        "location": case.location,
        "status": status,
        "n_events": case.n_events,
        "alerts": case.alerts,
        "duration_ns": u64::try_from(case.duration.as_nanos()).unwrap_or(u64::MAX),
    });
    if let Some(key) = key {
        value[key] = detail;
    }
    value
}

fn failure_json(failure: &Failed) -> Value {
    let near: Vec<Value> = failure
        .near
        .iter()
        .map(|near| {
            json!({
                "time": near.time,
                "rule": near.rule,
                "output": near.output,
                "differences": near.differences,
            })
        })
        .collect();
    json!({
        "location": failure.location,
        "expected": failure.expected,
        "actual": failure.actual,
        "near": near,
        "notes": failure.notes,
    })
}

/// JUnit XML, as build servers read it. Cases that were not run are errors, and so are
/// files that were refused.
pub fn junit(reports: &[SuiteReport<'_>], refused: &[Refused]) -> String {
    let counts = Counts::of(reports);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"palisade rules test\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
        counts.n() + refused.len(),
        counts.n_failed,
        counts.n_wrong + counts.n_not_run + refused.len()
    );
    for report in reports {
        suite_junit(report, &mut out);
    }
    for Refused { file, reason } in refused {
        let file = escaped(file);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{file}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" time=\"0\">\n    \
             <testcase name=\"the test file is right\" classname=\"{file}\" file=\"{file}\" time=\"0\">\n      \
             <error message=\"the file is refused\" type=\"error\">{}</error>\n    </testcase>\n  </testsuite>",
            escaped(reason).replace("&#10;", "\n")
        );
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite_junit(report: &SuiteReport<'_>, out: &mut String) {
    let n = |is: fn(&Status) -> bool| report.cases.iter().filter(|c| is(&c.status)).count();
    let seconds: f64 = report.cases.iter().map(|case| case.duration.as_secs_f64()).sum();
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" time=\"{seconds:.3}\">",
        escaped(&report.suite.name),
        escaped(&report.suite.file),
        report.cases.len(),
        n(|status| matches!(status, Status::Failed(_))),
        n(|status| matches!(status, Status::Wrong(_) | Status::NotRun(_))),
    );
    for case in &report.cases {
        let _ = write!(
            out,
            "    <testcase name=\"{}\" classname=\"{}\" file=\"{}\" line=\"{}\" time=\"{:.3}\"",
            escaped(&case.name),
            escaped(&report.suite.name),
            escaped(&case.location.file),
            case.location.line,
            case.duration.as_secs_f64()
        );
        let bodies: Vec<(&str, String, String)> = match &case.status {
            Status::Passed => {
                out.push_str("/>\n");
                continue;
            }
            Status::Failed(failures) => failures
                .iter()
                .map(|failure| {
                    let message = format!("expected {}, got {}", failure.expected, failure.actual);
                    ("failure", message, failure_text(failure) + &alerts_text(case))
                })
                .collect(),
            Status::Wrong(reason) => vec![("error", "the rules are wrong".into(), reason.clone())],
            Status::NotRun(reason) => {
                let message = reason.lines().next().unwrap_or_default().to_owned();
                vec![("error", message, reason.clone())]
            }
        };
        out.push_str(">\n");
        for (element, message, body) in bodies {
            let _ = writeln!(
                out,
                "      <{element} message=\"{}\" type=\"{element}\">{}</{element}>",
                escaped(&message),
                escaped(&body).replace("&#10;", "\n")
            );
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n");
}

/// `text` for XML 1.0, in elements and attributes; characters that XML does not have are
/// replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// `text` without characters that could steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped: Box<dyn Iterator<Item = char>> = if c.is_control() {
                Box::new(c.escape_default())
            } else {
                Box::new([c].into_iter())
            };
            escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use palisade_base::Location;

    use super::super::run::Near;
    use super::*;

    fn location(line: usize) -> Location {
        Location { file: "t.yaml".into(), line, column: 5 }
    }

    fn case(name: &str, status: Status) -> CaseReport {
        CaseReport {
            name: name.into(),
            location: location(4),
            status,
            n_events: 10,
            alerts: BTreeMap::from([("Shell".to_string(), 2)]),
            duration: Duration::from_millis(5),
        }
    }

    fn failed() -> Status {
        Status::Failed(vec![Failed {
            location: location(9),
            expected: "exactly 1 alert of rule \"Shell\"".into(),
            actual: "2 alerts".into(),
            near: vec![Near {
                time: "T".into(),
                rule: "Shell".into(),
                output: "a <b> & \u{1b}[0m".into(),
                differences: vec!["proc.name is \"x\", expected \"y\"".into()],
            }],
            notes: vec!["n".into()],
        }])
    }

    fn suite() -> Suite {
        let (file, name) = ("t.yaml".to_string(), "shells".to_string());
        Suite { file, name, description: String::new(), cases: vec![] }
    }

    #[test]
    fn three_forms_of_one_result() {
        let suite = suite();
        let cases = vec![
            case("good", Status::Passed),
            case("bad", failed()),
            case("gone", Status::NotRun("t.yaml:3:1: open capture `c`".into())),
        ];
        let reports = [SuiteReport { suite: &suite, cases }];
        assert_eq!(
            text(&reports, &[]),
            "t.yaml: shells\n  ok       good (10 events, 2 alerts, 5 ms)\n  \
             FAILED   bad (10 events, 2 alerts, 5 ms)\n           \
             t.yaml:9:5: expected exactly 1 alert of rule \"Shell\", got 2 alerts\n             \
             T Shell: a <b> & \\u{1b}[0m\n               proc.name is \"x\", expected \"y\"\n             \
             note: n\n           alerts: 2 × Shell\n  NOT RUN  gone\n           \
             t.yaml:3:1: open capture `c`\n1 passed, 1 failed, 1 not run\n"
        );
        let document = json(&reports, &[]);
        assert_eq!(document["suites"][0]["cases"][1]["failures"][0]["actual"], "2 alerts");
        assert_eq!(document["suites"][0]["cases"][2]["status"], "not_run");
        assert_eq!((&document["n_passed"], &document["n_not_run"]), (&json!(1), &json!(1)));
        let refused = [Refused { file: "u.yaml".into(), reason: "no <YAML>".into() }];
        assert!(text(&[], &refused).ends_with("0 passed, 0 failed, 1 file refused\n"));
        let xml = junit(&[], &refused);
        assert!(xml.contains("tests=\"1\" failures=\"0\" errors=\"1\">"), "{xml}");
        assert!(
            xml.contains("<error message=\"the file is refused\" type=\"error\">no &lt;YAML&gt;")
        );
        let xml = junit(&reports, &[]);
        for part in [
            "<testsuites name=\"palisade rules test\" tests=\"3\" failures=\"1\" errors=\"1\">",
            "<testcase name=\"good\" classname=\"shells\" file=\"t.yaml\" line=\"4\" time=\"0.005\"/>",
            "message=\"expected exactly 1 alert of rule &quot;Shell&quot;, got 2 alerts\"",
            "a &lt;b&gt; &amp; \u{fffd}[0m",
            "<error message=\"t.yaml:3:1: open capture `c`\" type=\"error\">",
        ] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
        assert_eq!(xml.matches("<testcase").count(), 3);
        assert_eq!(xml.matches("</testcase>").count(), 2);
    }
}

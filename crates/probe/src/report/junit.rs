//! JUnit's XML: a test for each check, with a failure that names every finding of it, and one
//! for each attempt from inside. What could not be looked at is an error where a gate was asked.

use std::fmt::Write as _;

use super::{Report, escape};
use crate::escape::Verdict;
use crate::finding::CHECKS;

pub(super) fn render(report: &Report<'_>) -> String {
    let probe = report.probe;
    let mut cases = String::new();
    let (mut n_tests, mut n_failures, mut n_skipped) = (0, 0, 0);
    for check in CHECKS.iter().filter(|check| check.id != "escape") {
        n_tests += 1;
        let _infallible = write!(cases, "    <testcase classname=\"probe\" name=\"{}\"", check.id);
        let found: Vec<_> =
            probe.findings.iter().filter(|finding| finding.check.id == check.id).collect();
        let Some(worst) = found.iter().map(|finding| finding.severity).max() else {
            cases.push_str("/>\n");
            continue;
        };
        n_failures += 1;
        let lines: Vec<String> = found
            .iter()
            .map(|finding| {
                let place = finding
                    .place
                    .as_ref()
                    .map(|p| format!("port {}: ", p.port))
                    .unwrap_or_default();
                format!("{} {place}{}", finding.severity, finding.detail)
            })
            .collect();
        let _infallible = writeln!(
            cases,
            "><failure type=\"{worst}\" message=\"{}\">{}</failure></testcase>",
            escape(check.title),
            escape(&lines.join("\n"))
        );
    }
    for tried in &probe.attempts {
        n_tests += 1;
        let _infallible =
            write!(cases, "    <testcase classname=\"escape\" name=\"{}\"", escape(tried.attempt));
        match tried.verdict {
            Verdict::Refused => cases.push_str("/>\n"),
            Verdict::Skipped => {
                n_skipped += 1;
                cases
                    .push_str("><skipped message=\"the image lacks what it takes\"/></testcase>\n");
            }
            Verdict::Through => {
                n_failures += 1;
                let _infallible = writeln!(
                    cases,
                    "><failure type=\"{}\" message=\"came through\">{}</failure></testcase>",
                    escape(tried.technique),
                    escape(tried.title)
                );
            }
        }
    }
    let out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"palisade probe {}\" \
         tests=\"{n_tests}\" failures=\"{n_failures}\" skipped=\"{n_skipped}\" timestamp=\"{}\">\n{cases}",
        escape(report.target),
        report.started
    );
    let gaps = probe.gaps.iter().map(|gap| escape(gap)).collect::<Vec<String>>().join("\n");
    out + &format!("    <system-out>{gaps}</system-out>\n  </testsuite>\n</testsuites>\n")
}

//! What the checks of configuration found, for people and for other programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use palisade_base::{Diagnostic, Timestamp};
use palisade_model::finding::Misconfiguration;
use palisade_model::package::Gap;
use palisade_model::wire::{Envelope, schema};
use palisade_model::{Finding, Severity};
use serde::Serialize;
use serde_json::json;

use super::{printable, sarif};
use crate::config::CheckReport;

/// How the text looks.
#[derive(Debug, Clone, Copy)]
pub struct TextOptions {
    /// Whether severities are coloured.
    pub colour: bool,
    /// Findings below this severity are counted and not shown.
    pub severity_min: Severity,
}

/// The findings by file and place, and one line that sums up.
pub fn text(report: &CheckReport, options: TextOptions) -> String {
    let mut out = String::new();
    let mut n_hidden = 0_u64;
    let mut file = "";
    let mut explained: BTreeSet<&str> = BTreeSet::new();
    for finding in configurations(report) {
        if finding.severity < options.severity_min {
            n_hidden += 1;
            continue;
        }
        let Some(at) = &finding.location else { continue };
        if at.file != file {
            if !file.is_empty() {
                out.push('\n');
            }
            file = &at.file;
            let _ = writeln!(out, "{}", paint(options, Style::new().bold(), &printable(file)));
        }
        let place = format!("{}:{}", at.line, at.column);
        let number = finding.id.as_deref().unwrap_or("own");
        let resource = finding.resource.as_deref().map(printable).unwrap_or_default();
        let _ = writeln!(
            out,
            "  {place:<8} {} {number:<8} {}: {}  [{}]",
            severity(options, finding.severity),
            resource,
            printable(&finding.title),
            printable(&finding.check),
        );
        // The remedy of a check is said once.
        if explained.insert(&finding.check) {
            let _ = writeln!(out, "  {:<8} {:<10} fix: {}", "", "", printable(&finding.fix));
        }
    }
    if !report.gaps.is_empty() {
        let title = format!("Not examined ({})", report.gaps.len());
        let _ = writeln!(out, "\n{}", paint(options, Style::new().bold(), &title));
        for gap in &report.gaps {
            let _ = writeln!(out, "  {}: {}", printable(&gap.path), printable(&gap.reason));
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let bold = paint(options, Style::new().bold(), "Summary:");
    let _ = writeln!(out, "{bold} {}", summary(report, n_hidden));
    out
}

/// One line that says what was found and what was looked at.
pub fn summary(report: &CheckReport, n_hidden: u64) -> String {
    let mut by_severity: BTreeMap<Severity, usize> = BTreeMap::new();
    for finding in configurations(report) {
        *by_severity.entry(finding.severity).or_default() += 1;
    }
    let found = match by_severity.values().sum::<usize>() {
        0 => "no finding".to_string(),
        n => {
            let counts: Vec<String> =
                by_severity.iter().rev().map(|(severity, n)| format!("{n} {severity}")).collect();
            let noun = if n == 1 { "finding" } else { "findings" };
            format!("{n} {noun} ({})", counts.join(", "))
        }
    };
    let mut by_kind: BTreeMap<&str, usize> = BTreeMap::new();
    for file in &report.files {
        *by_kind.entry(file.kind.as_str()).or_default() += 1;
    }
    let kinds: Vec<String> = by_kind.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let n_containers: usize = report.files.iter().map(|file| file.n_containers).sum();
    let files = if report.files.len() == 1 { "file" } else { "files" };
    let containers = if n_containers == 1 { "container" } else { "containers" };
    let mut text = format!("{found} in {} {files}", report.files.len());
    if !kinds.is_empty() {
        let _ = write!(text, " ({}), {n_containers} {containers}", kinds.join(", "));
    }
    let asides = [
        (n_hidden, "hidden below the severity asked for"),
        (report.n_excused, "excused"),
        (report.n_expired, "exceptions expired"),
        (report.n_dropped, "beyond the bounds dropped"),
        (report.gaps.len() as u64, "not examined"),
        (report.n_other_files as u64, "files of other kinds left alone"),
    ];
    let asides: Vec<String> =
        asides.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !asides.is_empty() {
        let _ = write!(text, "; {}", asides.join(", "));
    }
    text
}

fn configurations(report: &CheckReport) -> impl Iterator<Item = &Misconfiguration> {
    report.findings.iter().filter_map(|finding| match finding {
        Finding::Configuration(found) => Some(found),
        _ => None,
    })
}

fn paint(options: TextOptions, style: Style, text: &str) -> String {
    if options.colour { format!("{style}{text}{style:#}") } else { text.to_string() }
}

fn severity(options: TextOptions, severity: Severity) -> String {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    let style = match severity {
        Severity::Critical => colour(AnsiColor::Red).bold(),
        Severity::High => colour(AnsiColor::Red),
        Severity::Medium => colour(AnsiColor::Yellow),
        Severity::Low | Severity::Negligible => colour(AnsiColor::Cyan),
        Severity::Unknown => Style::new().dimmed(),
    };
    paint(options, style, &format!("{severity:<10}"))
}

#[derive(Serialize)]
struct Document<'a> {
    time: Timestamp,
    files: Vec<File<'a>>,
    n_other_files: usize,
    findings: &'a [Finding],
    problems: &'a [Diagnostic],
    gaps: &'a [Gap],
    n_excused: u64,
    n_exceptions_expired: u64,
    n_dropped: u64,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    kind: &'static str,
    n_containers: usize,
    n_objects: usize,
}

/// The versioned JSON document.
///
/// # Errors
///
/// None in practice: the report is plain data.
pub fn json(report: &CheckReport, time: Timestamp) -> Result<String, serde_json::Error> {
    let files = report.files.iter();
    let document = Document {
        time,
        files: files
            .map(|file| File {
                name: &file.name,
                kind: file.kind.as_str(),
                n_containers: file.n_containers,
                n_objects: file.n_objects,
            })
            .collect(),
        n_other_files: report.n_other_files,
        findings: &report.findings,
        problems: &report.problems,
        gaps: &report.gaps,
        n_excused: report.n_excused,
        n_exceptions_expired: report.n_expired,
        n_dropped: report.n_dropped,
    };
    let mut text = serde_json::to_string_pretty(&Envelope::new(schema::CHECK_REPORT, document))?;
    text.push('\n');
    Ok(text)
}

/// SARIF 2.1.0.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn sarif(report: &CheckReport, version: &str) -> Result<String, serde_json::Error> {
    let properties = json!({
        "nFiles": report.files.len(),
        "nExcused": report.n_excused,
        "notExamined": report.gaps,
    });
    sarif::render_checks(report, &properties, version)
}

/// JUnit's XML.
pub fn junit(report: &CheckReport, time: Timestamp) -> String {
    super::junit::render_checks(report, time)
}

//! What a drill came to, in four forms, beside the last one.

use std::fmt::Write as _;

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::terminal::columns;

/// Schema of a drill's report.
pub(crate) const SCHEMA: &str = "palisade.dev/drill-report/v1";

/// What became of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It was refused, and an alert says so.
    Stopped,
    /// It came through, and an alert says so.
    Seen,
    /// It was refused; no alert says so.
    Refused,
    /// It came through without a word.
    Missed,
    /// It came through, although the policy must stop it.
    Unstopped,
    /// The image lacks what it takes.
    Skipped,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Seen => "seen",
            Self::Refused => "refused",
            Self::Missed => "missed",
            Self::Unstopped => "unstopped",
            Self::Skipped => "skipped",
        }
    }

    /// Whether somebody has to do something about it.
    pub(crate) const fn is_bad(self) -> bool {
        matches!(self, Self::Missed | Self::Unstopped)
    }
}

/// One scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) title: String,
    pub(crate) technique: String,
    /// Rules of which one must see it.
    pub(crate) rules: Vec<String>,
    pub(crate) verdict: Verdict,
    /// The rule that saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seen_by: Option<String>,
    /// From the event to the alert, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detect_ns: Option<u64>,
    /// From the event to the frozen container, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) contain_ns: Option<u64>,
    /// Who froze it: `drill` or `watch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) contained_by: Option<String>,
}

/// A drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DrillReport {
    pub(crate) schema: String,
    pub(crate) started: Timestamp,
    pub(crate) image: String,
    pub(crate) policy: String,
    /// Whether the watch that ran was asked.
    pub(crate) running: bool,
    pub(crate) rows: Vec<Row>,
    /// Scenarios whose verdict was another in the last drill: then and now.
    #[serde(default)]
    pub(crate) changes: Vec<Change>,
}

/// A verdict that is another than in the last drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) scenario: String,
    pub(crate) before: Verdict,
    pub(crate) now: Verdict,
}

impl DrillReport {
    /// Notes what is other than in `last`.
    pub(crate) fn compare(&mut self, last: &Self) {
        self.changes = self
            .rows
            .iter()
            .filter_map(|row| {
                let old = last.rows.iter().find(|old| old.scenario == row.scenario)?;
                (old.verdict != row.verdict).then(|| Change {
                    scenario: row.scenario.clone(),
                    before: old.verdict,
                    now: row.verdict,
                })
            })
            .collect();
    }

    pub(crate) fn n(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    fn summary(&self) -> String {
        let count = |verdict: Verdict| format!("{} {}", self.n(verdict), verdict.as_str());
        [
            Verdict::Stopped,
            Verdict::Seen,
            Verdict::Refused,
            Verdict::Missed,
            Verdict::Unstopped,
            Verdict::Skipped,
        ]
        .map(count)
        .join(", ")
    }

    pub(crate) fn text(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| {
                vec![
                    row.scenario.clone(),
                    row.technique.clone(),
                    row.verdict.as_str().to_string(),
                    ms(row.detect_ns),
                    ms(row.contain_ns),
                    row.seen_by.clone().unwrap_or_else(|| "-".into()),
                ]
            })
            .collect();
        let header = ["SCENARIO", "TECHNIQUE", "VERDICT", "DETECTED", "CONTAINED", "RULE"];
        let mut out = columns(&header, &rows);
        let _infallible = writeln!(out, "\n{} scenarios: {}", self.rows.len(), self.summary());
        for change in &self.changes {
            let (before, now) = (change.before.as_str(), change.now.as_str());
            let _infallible =
                writeln!(out, "since the last drill: {} {before} -> {now}", change.scenario);
        }
        out
    }

    pub(crate) fn junit(&self) -> String {
        let n_bad = self.rows.iter().filter(|row| row.verdict.is_bad()).count();
        let n_skipped = self.n(Verdict::Skipped);
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite \
             name=\"palisade drill {}\" tests=\"{}\" failures=\"{n_bad}\" skipped=\"{n_skipped}\" \
             timestamp=\"{}\">\n",
            escape(&self.policy),
            self.rows.len(),
            self.started
        );
        for row in &self.rows {
            let seconds = row.detect_ns.unwrap_or(0) as f64 / 1e9;
            let _infallible = write!(
                out,
                "    <testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.6}\"",
                escape(&row.technique),
                escape(&row.scenario)
            );
            let inner = match row.verdict {
                verdict if verdict.is_bad() => format!(
                    "<failure message=\"{}\">{}; expected: {}</failure>",
                    verdict.as_str(),
                    escape(&row.title),
                    escape(&row.rules.join(", "))
                ),
                Verdict::Skipped => "<skipped message=\"the image lacks what it takes\"/>".into(),
                verdict => format!("<system-out>{}</system-out>", verdict.as_str()),
            };
            let _infallible = writeln!(out, ">{inner}</testcase>");
        }
        out + "  </testsuite>\n</testsuites>\n"
    }

    pub(crate) fn html(&self) -> String {
        let mut out = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Drill of \
             {started}</title>\n<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem \
             auto;max-width:70rem;padding:0 1rem}}table{{border-collapse:collapse;width:100%}}\
             td,th{{border-bottom:1px solid #ccc;padding:.35rem .6rem;text-align:left;vertical-align:top}}\
             .bad{{background:#fde8e8}}.good{{background:#e8f6e8}}.skipped{{color:#666}}\
             @media print{{body{{margin:0;max-width:none}}tr{{break-inside:avoid}}}}</style></head><body>\n\
             <h1>Drill</h1>\n<p>{started}; image {image}; policy {policy}; {watch}.</p>\n<p>{n} scenarios: \
             {summary}.</p>\n<table><thead><tr><th>Scenario<th>ATT&amp;CK<th>Verdict<th>Detected after\
             <th>Contained after<th>Seen by</tr></thead><tbody>\n",
            started = self.started,
            image = escape(&self.image),
            policy = escape(&self.policy),
            watch = if self.running { "the running watch was asked" } else { "a watch of its own" },
            n = self.rows.len(),
            summary = self.summary(),
        );
        for row in &self.rows {
            let class = match row.verdict {
                verdict if verdict.is_bad() => "bad",
                Verdict::Skipped => "skipped",
                _ => "good",
            };
            let _infallible = writeln!(
                out,
                "<tr class=\"{class}\"><td><b>{}</b><br>{}<td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
                escape(&row.scenario),
                escape(&row.title),
                escape(&row.technique),
                row.verdict.as_str(),
                ms(row.detect_ns),
                ms(row.contain_ns),
                escape(row.seen_by.as_deref().unwrap_or("nobody"))
            );
        }
        out.push_str("</tbody></table>\n");
        if !self.changes.is_empty() {
            out.push_str("<h2>Since the last drill</h2>\n<ul>\n");
            for change in &self.changes {
                let (name, before) = (escape(&change.scenario), change.before.as_str());
                let _infallible = writeln!(out, "<li>{name}: {before} → {}", change.now.as_str());
            }
            out.push_str("</ul>\n");
        }
        out + "</body></html>\n"
    }
}

fn ms(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".into(), |ns| format!("{:.1} ms", ns as f64 / 1e6))
}

/// For XML and HTML alike.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> DrillReport {
        let row = Row {
            scenario: "a<b".into(),
            title: "t & t".into(),
            technique: "T1".into(),
            rules: vec!["R".into()],
            verdict,
            seen_by: None,
            detect_ns: Some(1_500_000),
            contain_ns: None,
            contained_by: None,
        };
        DrillReport {
            schema: SCHEMA.into(),
            started: Timestamp::from_nanos(0),
            image: "i".into(),
            policy: "p".into(),
            running: false,
            rows: vec![row],
            changes: Vec::new(),
        }
    }

    #[test]
    fn forms_say_what_was_missed_and_escape() {
        let mut now = report(Verdict::Missed);
        now.compare(&report(Verdict::Seen));
        assert!(now.text().contains("since the last drill: a<b seen -> missed"));
        let junit = now.junit();
        assert!(junit.contains("failures=\"1\"") && junit.contains("name=\"a&lt;b\""), "{junit}");
        assert!(junit.contains("t &amp; t; expected: R"));
        assert!(now.html().contains("<tr class=\"bad\"><td><b>a&lt;b</b>"));
        let json = serde_json::to_string(&now).unwrap();
        let read: DrillReport = serde_json::from_str(&json).unwrap();
        assert_eq!(read.changes, now.changes);
        let mut same = report(Verdict::Missed);
        same.compare(&report(Verdict::Missed));
        assert!(same.changes.is_empty());
    }
}

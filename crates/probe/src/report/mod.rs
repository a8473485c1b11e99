//! What a probe came to, as text, JSON, JUnit's XML and HTML.

mod html;
mod junit;
mod text;

use palisade_base::Timestamp;
use palisade_model::Severity;
use serde::Serialize;

use crate::breakage::Crash;
use crate::escape::Tried;
use crate::finding::Finding;
use crate::session::{Port, Probe};

/// Schema of the report.
pub const SCHEMA: &str = "palisade.dev/probe-report/v1";

/// A report: what was probed, how, and what it came to.
#[derive(Debug)]
pub struct Report<'a> {
    /// What the user named.
    pub target: &'a str,
    /// The policy by which it was confined; nothing: it was running already.
    pub policy: Option<&'a str>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// The seed of what was by chance.
    pub seed: u64,
    /// From which severity on the gate refuses; nothing: no gate.
    pub gate: Option<Severity>,
    /// What it came to.
    pub probe: &'a Probe,
}

/// What a gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Nothing that is bad enough.
    Passed,
    /// Something is.
    Refused,
    /// Not enough was looked at.
    NotEvaluated,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    started: Timestamp,
    ended: Timestamp,
    /// As text: numbers of 64 bits are none of JavaScript's.
    seed: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Gate>,
    ports: &'a [Port],
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "is_zero")]
    n_findings_dropped: u64,
    crashes: &'a [Crash],
    attempts: &'a [Tried],
    gaps: &'a [String],
    n_restarts: u64,
    n_events: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Report<'_> {
    /// What the gate says. What nobody could speak to has not passed.
    pub fn gate(&self) -> Option<Gate> {
        let gate = self.gate?;
        Some(match self.probe.worst() {
            Some(worst) if worst >= gate => Gate::Refused,
            _ if self.probe.ports.is_empty() && self.probe.attempts.is_empty() => {
                Gate::NotEvaluated
            }
            _ => Gate::Passed,
        })
    }

    /// For programs.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub fn json(&self) -> serde_json::Result<String> {
        let probe = self.probe;
        let document = Document {
            schema: SCHEMA,
            target: self.target,
            policy: self.policy,
            started: self.started,
            ended: self.ended,
            seed: self.seed.to_string(),
            gate: self.gate(),
            ports: &probe.ports,
            findings: &probe.findings,
            n_findings_dropped: probe.n_findings_dropped,
            crashes: &probe.crashes,
            attempts: &probe.attempts,
            gaps: &probe.gaps,
            n_restarts: probe.n_restarts,
            n_events: probe.n_events,
        };
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    /// For people.
    pub fn text(&self) -> String {
        text::render(self)
    }

    /// For continuous integration.
    pub fn junit(&self) -> String {
        junit::render(self)
    }

    /// For people, and for printing.
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// Findings by severity: `1 critical, 2 high`.
    fn summary(&self) -> String {
        let n = |severity| {
            self.probe.findings.iter().filter(|finding| finding.severity == severity).count()
        };
        let parts: Vec<String> = Severity::ALL
            .iter()
            .filter(|severity| n(**severity) > 0)
            .map(|severity| format!("{} {severity}", n(*severity)))
            .collect();
        if parts.is_empty() { "no findings".into() } else { parts.join(", ") }
    }
}

/// Text within XML and HTML: what means something there is written otherwise, and what may not
/// stand in XML 1.0 is replaced.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;

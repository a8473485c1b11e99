//! What a scan report says beside its findings: which of them were set aside and why, and what
//! the gate made of the rest.

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Finding;

/// Who set a finding aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SuppressedBy {
    /// An entry of an ignore file.
    Ignore,
    /// A statement of a VEX document.
    Vex,
    /// An exception of the policy.
    Policy,
}

impl SuppressedBy {
    /// For people: `ignore file`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore file",
            Self::Vex => "VEX",
            Self::Policy => "policy",
        }
    }
}

/// A finding that somebody decided to live with. It counts nowhere, and every form of the
/// report says that it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suppressed {
    /// What was found.
    pub finding: Finding,
    /// Who set it aside.
    pub by: SuppressedBy,
    /// Why.
    pub reason: String,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// What the gate said of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Nothing that it forbids was found, and everything was looked at.
    Passed,
    /// It forbids this.
    Refused,
    /// The question could not be answered. Never to be taken for passed.
    NotEvaluated,
}

impl GateVerdict {
    /// For people: `could not be evaluated`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::NotEvaluated => "could not be evaluated",
        }
    }
}

/// One demand of the gate, and how it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateRule {
    /// The key of the policy that makes the demand: `severity`, `known_exploited`.
    pub rule: String,
    /// What is demanded, in words: `no vulnerability rated high or worse`.
    pub demand: String,
    /// How it was met.
    pub verdict: GateVerdict,
    /// Why, one sentence each; empty when it was met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// What the answer leaves out by design, one sentence each: vulnerabilities without a rating,
    /// files over the bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The report that this one is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// What the earlier report is about.
    pub subject: String,
    /// When it was made.
    pub time: Timestamp,
    /// Findings of the present report that were in it already; the gate does not count them.
    pub n_known: u64,
    /// Findings that are new since then.
    pub n_new: u64,
    /// Findings of the earlier report that are gone.
    pub n_gone: u64,
}

/// What the gate made of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateResult {
    /// The answer.
    pub verdict: GateVerdict,
    /// Its demands, each with its own answer.
    pub rules: Vec<GateRule>,
    /// The report that it was compared with, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
}

impl GateResult {
    /// Every reason of the demands with this answer.
    pub fn reasons(&self, verdict: GateVerdict) -> impl Iterator<Item = &str> {
        let rules = self.rules.iter().filter(move |rule| rule.verdict == verdict);
        rules.flat_map(|rule| rule.reasons.iter().map(String::as_str))
    }

    /// What the answers leave out by design, each once.
    pub fn notes(&self) -> Vec<&str> {
        let mut notes: Vec<&str> = Vec::new();
        for note in self.rules.iter().flat_map(|rule| &rule.notes) {
            // Demands share what they leave out.
            if !notes.contains(&note.as_str()) {
                notes.push(note);
            }
        }
        notes
    }
}

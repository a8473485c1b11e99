//! Alerts: a rule that matched an event.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Container, Enforcement, EnforcementOutcome, Process};

/// A rule's priority, as in Falco; the order is by urgency, `Debug` lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    /// Lowest.
    Debug,
    /// Falco prints `Informational`.
    Informational,
    /// Normal but worth a look.
    Notice,
    /// Unusual.
    Warning,
    /// Wrong.
    Error,
    /// An attack in progress; responses usually start here.
    Critical,
    /// Act at once.
    Alert,
    /// Highest.
    Emergency,
}

impl Priority {
    /// All priorities, lowest first.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Informational,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// Falco's spelling in alerts: `Warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "Debug",
            Self::Informational => "Informational",
            Self::Notice => "Notice",
            Self::Warning => "Warning",
            Self::Error => "Error",
            Self::Critical => "Critical",
            Self::Alert => "Alert",
            Self::Emergency => "Emergency",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that is no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a priority")]
pub struct ParsePriorityError(pub String);

impl FromStr for Priority {
    type Err = ParsePriorityError;

    /// Reads a priority regardless of case; `INFO` is short for `INFORMATIONAL`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("info") {
            return Ok(Self::Informational);
        }
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| ParsePriorityError(text.chars().take(32).collect()))
    }
}

/// What became of the action that an event reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The kernel did it.
    Succeeded,
    /// The kernel refused, with this `errno` (positive).
    Failed {
        /// The error number: 13 is `EACCES`.
        errno: i32,
    },
    /// The event does not say.
    Unknown,
}

/// What an alert says in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The attempt failed: hardening or the kernel refused it.
    Blocked,
    /// It happened and was seen.
    Detected,
}

/// A rule that matched an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Unique and ordered by time: 16 hex digits of the time in nanoseconds and 8 of a counter.
    pub id: String,
    /// When the event happened in the kernel.
    pub time: Timestamp,
    /// When the rule had matched in user space.
    pub raised: Timestamp,
    /// The rule's name.
    pub rule: String,
    /// The rule's priority.
    pub priority: Priority,
    /// The event source: `syscall`.
    pub source: String,
    /// The rule's output with its fields filled in, without time and priority.
    pub output: String,
    /// The fields of the output by name; `null` for those the event lacks.
    pub output_fields: BTreeMap<String, serde_json::Value>,
    /// The rule's tags.
    pub tags: Vec<String>,
    /// Host on which it happened.
    pub hostname: String,
    /// The event's type: `openat`.
    pub event_type: String,
    /// What became of the action.
    pub outcome: Outcome,
    /// The acting process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// Its ancestors inside the container (or on the host), parent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Process>,
    /// The container, when it acted in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// File with the recording of what was before and after, where one is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// What was done about it at the event itself, for rules with an action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Enforcement>,
}

impl Alert {
    /// Whether the attempt was refused, by the kernel or by enforcement.
    pub fn verdict(&self) -> Verdict {
        let is_prevented = |done: &Enforcement| done.outcome == EnforcementOutcome::Prevented;
        if self.enforcement.as_ref().is_some_and(is_prevented) {
            return Verdict::Blocked;
        }
        match self.outcome {
            Outcome::Failed { .. } => Verdict::Blocked,
            Outcome::Succeeded | Outcome::Unknown => Verdict::Detected,
        }
    }

    /// From the event in the kernel to the matched rule.
    pub fn latency(&self) -> std::time::Duration {
        self.raised.since(self.time)
    }
}

#[cfg(test)]
mod tests {
    use super::Priority;

    #[test]
    fn priorities_are_read_in_any_case() {
        assert_eq!("INFO".parse(), Ok(Priority::Informational));
        assert_eq!("critical".parse(), Ok(Priority::Critical));
        assert!("fatal".parse::<Priority>().is_err());
        assert!(Priority::Emergency > Priority::Debug);
    }
}

//! Incidents: the alerts of one intrusion, joined.

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Container, Priority, Process, Verdict};

/// How far an incident has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Alerts arrive, nothing was done yet.
    Open,
    /// A response is running.
    Responding,
    /// The response ended and the container can do no more harm.
    Contained,
    /// A person closed it.
    Closed,
}

/// One intrusion: the alerts of one process tree, and what was done about them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// `INC-` and 16 hex digits of the time of its first event.
    pub id: String,
    /// How far it has come.
    pub state: IncidentState,
    /// Time of its first event.
    pub opened: Timestamp,
    /// Time of the last change.
    pub updated: Timestamp,
    /// Highest priority among its alerts.
    pub priority: Priority,
    /// The container in which it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The oldest process of the tree that the alerts share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Process>,
    /// All processes that its alerts mention.
    pub processes: Vec<Process>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// MITRE ATT&CK technique identifiers of its alerts, sorted.
    pub techniques: Vec<String>,
    /// Alerts and entries that were not kept because a bound was reached.
    pub n_dropped: u64,
}

/// One line of an incident's timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// When it happened.
    pub time: Timestamp,
    /// What kind of line it is.
    #[serde(flatten)]
    pub what: TimelineEvent,
}

/// What happened at one point of a timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TimelineEvent {
    /// A rule matched.
    Alert {
        /// Identifier of the alert.
        alert: String,
        /// The rule's name.
        rule: String,
        /// The rule's priority.
        priority: Priority,
        /// Blocked or detected.
        verdict: Verdict,
        /// The filled-in output.
        output: String,
        /// Process that acted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
        /// From the event to the matched rule, in nanoseconds.
        latency_ns: u64,
    },
    /// A response action began or ended.
    Action {
        /// The action's name: `freeze`.
        action: String,
        /// How it went.
        result: ActionResult,
        /// What was done or why it failed.
        detail: String,
        /// How long it took, in nanoseconds.
        duration_ns: u64,
    },
    /// The state changed, or a person wrote a note.
    Note {
        /// The text.
        text: String,
    },
}

/// How an action went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionResult {
    /// Done.
    Done,
    /// Not needed: the state was already so.
    Unchanged,
    /// Done in part; the detail says what is missing.
    Partial,
    /// Failed.
    Failed,
    /// Not carried out: a dry run.
    Planned,
}

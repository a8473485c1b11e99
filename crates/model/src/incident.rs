//! Incidents: the alerts of one intrusion, joined.

use std::net::SocketAddr;

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

/// One intrusion: the alerts that belong together, and what was done about them.
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
    /// The container in which it happened, or began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// Further containers that it reached, in the order in which it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reached: Vec<Container>,
    /// Why alerts of more than one container, process tree or user are one incident.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// The oldest process of the tree that the alerts share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Process>,
    /// All processes that its alerts mention.
    pub processes: Vec<Process>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// MITRE ATT&CK technique identifiers of its alerts, sorted.
    pub techniques: Vec<String>,
    /// Stages of the intrusion: ATT&CK tactics, in the order of a kill chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
    /// How grave it is, and why.
    #[serde(default)]
    pub score: Score,
    /// What else each of its containers can reach, as far as it was looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blast: Vec<BlastRadius>,
    /// Alerts and entries that were not kept because a bound was reached.
    pub n_dropped: u64,
}

impl Incident {
    /// All its containers, the first one first.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.container.iter().chain(&self.reached)
    }
}

/// What made two alerts one incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// A connection between two containers.
    Connection,
    /// A process of one place descends from a process of the other.
    ProcessTree,
    /// The same rule matched in containers of the same image.
    Image,
    /// The same user of the host.
    User,
}

impl LinkKind {
    /// The name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::ProcessTree => "process tree",
            Self::Image => "image",
            Self::User => "user",
        }
    }
}

/// Why an alert belongs to an incident that began elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Time of the alert that was joined by it.
    pub time: Timestamp,
    /// What kind of connexion it is.
    pub kind: LinkKind,
    /// Where the incident was: a container's id, or `host`.
    pub from: String,
    /// Where it is as well.
    pub to: String,
    /// What was seen: addresses, a process, a rule.
    pub detail: String,
}

/// A tactic of MITRE ATT&CK that alerts of an incident belong to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// The tactic's name: `Execution`.
    pub tactic: String,
    /// Time of its first alert.
    pub first: Timestamp,
    /// Its alerts.
    pub n_alerts: u64,
    /// Those of them that were refused.
    pub n_blocked: u64,
    /// Techniques seen, sorted.
    pub techniques: Vec<String>,
}

/// How grave an incident is, between 0 and 100.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Score {
    /// The sum of the parts, no less than 0 and no more than 100.
    pub value: u8,
    /// What it is made of.
    pub parts: Vec<ScorePart>,
}

/// One reason for a score.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScorePart {
    /// Points, negative where it is a mitigation.
    pub points: i8,
    /// Why.
    pub reason: String,
}

/// What a container of an incident can reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// The container's id.
    pub container: String,
    /// When it was looked at.
    pub surveyed: Timestamp,
    /// Its own addresses.
    pub addresses: Vec<String>,
    /// Whether it has the host's network.
    pub host_network: bool,
    /// Running containers of the same image.
    pub same_image: Vec<Neighbour>,
    /// Folders and volumes of the host that other running containers have as well, or that are
    /// the host's own.
    pub shared_mounts: Vec<SharedMount>,
    /// Running containers on a network of its own.
    pub same_network: Vec<Neighbour>,
    /// Credentials that lie in it.
    pub credentials: Vec<Credential>,
    /// Connections that stood at that moment.
    pub connections: Vec<Connection>,
    /// What could not be looked at, and why.
    pub gaps: Vec<String>,
}

/// A running container beside an attacked one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What they have in common: the image, the network.
    pub by: String,
}

/// Something of the host that is mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMount {
    /// Path in the container.
    pub path: String,
    /// What is mounted: the path on the host's file system, as far as the kernel tells.
    pub source: String,
    /// Whether the container can write there.
    pub writable: bool,
    /// Running containers that have the same mounted.
    pub with: Vec<Neighbour>,
}

/// A credential that lies in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Where: a path in the container, or `environment NAME`.
    pub place: String,
    /// What it is: `Kubernetes service account token`.
    pub what: String,
}

/// A connection of a container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Connection {
    /// Its own end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether the other end came to a port that the container listens at.
    pub inbound: bool,
    /// The container at the other end, where it is one of this host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
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

//! How a sink is doing, for the status file.

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

/// How a sink is doing. Counters are of its whole life; they survive restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// Where it sends, without what may be a secret.
    pub to: String,
    /// The form of its documents.
    pub format: String,
    /// What it is doing.
    pub state: SinkState,
    /// Documents that wait.
    pub n_queued: u64,
    /// How many may wait.
    pub queue_max: u64,
    /// When the oldest that waits happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// Documents sent.
    pub n_sent: u64,
    /// Deliveries that failed and were tried again.
    pub n_retried: u64,
    /// Documents dropped because the queue was full or the journal had lost them.
    pub n_dropped: u64,
    /// Documents that the receiver refused for good.
    pub n_rejected: u64,
    /// When something was last sent, since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sent: Option<Timestamp>,
    /// The last failure, since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<SinkFailure>,
}

/// What a sink is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkState {
    /// It is reading what an earlier run left in the journal, which is not counted yet.
    Recovering,
    /// Nothing waits.
    Idle,
    /// It is sending.
    Sending,
    /// The last delivery failed; it waits to try again.
    Waiting,
    /// Its thread has ended.
    Ended,
}

impl SinkState {
    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recovering => "recovering",
            Self::Idle => "idle",
            Self::Sending => "sending",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        }
    }
}

/// A failed delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkFailure {
    /// When.
    pub time: Timestamp,
    /// What happened.
    pub text: String,
}

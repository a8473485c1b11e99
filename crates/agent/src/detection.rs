//! What the agent needs of an event that a rule matched.
//!
//! A [`Source`] hands detections out; where they come from (the kernel, a capture, a
//! test) the rest of the agent does not know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::{Container, Enforcement, Priority, Process};
use serde::Serialize;

use crate::control::protocol::{Activity, Sample};
use crate::detector::RuleChange;
use crate::enforce::EnforcementHealth;
use crate::losses::Loss;
use crate::recorder::RecorderHealth;
use crate::standing::RuleStanding;
use crate::status::SourceDetails;

/// The parts of a rule that its alerts repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleInfo {
    /// The rule's name.
    pub name: String,
    /// Its priority.
    pub priority: Priority,
    /// Its tags.
    pub tags: Vec<String>,
    /// The event source: `syscall`.
    pub source: String,
    /// Whether it asks for a recording of what is around its alerts.
    pub capture: bool,
    /// How long that lasts after the alert; none leaves it to the settings.
    pub capture_duration: Option<Duration>,
}

/// A rule that matched an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Detection {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// When the event happened in the kernel.
    pub time: Timestamp,
    /// The rule's output, filled in, without time and priority.
    pub output: String,
    /// Fields of the output by name.
    pub output_fields: BTreeMap<String, serde_json::Value>,
    /// The event's type: `openat`.
    pub event_type: String,
    /// What became of the action.
    pub outcome: Outcome,
    /// The acting process.
    pub process: Option<Process>,
    /// Its ancestors, parent first, inside the container as far as there is one.
    pub ancestors: Vec<Process>,
    /// The container.
    pub container: Option<Container>,
    /// When the acting process started, nanoseconds since boot, where the probes say it.
    pub start_boottime_ns: Option<u64>,
    /// What was done about the event itself.
    pub enforcement: Option<Enforcement>,
}

/// Why a source ended.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing more to read: the end of a capture.
    #[error("the source has ended")]
    Ended,
    /// The source broke down.
    #[error("read events")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What a source says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SourceHealth {
    /// Events read.
    pub n_events: u64,
    /// Bytes that the kernel side has sent for them.
    pub n_ring_bytes: u64,
    /// Records that could not be decoded.
    pub n_malformed: u64,
    /// Events lost before they could be read, by class.
    pub losses: BTreeMap<String, u64>,
    /// Hooks that are attached.
    pub hooks: Vec<String>,
    /// Rules that are loaded.
    pub n_rules: usize,
    /// Memories of stateful rules that were given up for want of room although they could
    /// still have mattered: those rules may have missed something.
    pub n_memories_forgotten: u64,
    /// The recorder, where one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<RecorderHealth>,
    /// What is enforced and how, unless enforcement is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Box<EnforcementHealth>>,
}

/// What a change of rules came to.
#[derive(Debug)]
pub struct Changed {
    /// Rules that are evaluated.
    pub n_rules: usize,
    /// Rules that see less than they say, or nothing, for want of events.
    pub limited: Vec<RuleStanding>,
    /// Whether other handlers are at work in the kernel.
    pub is_switched: bool,
    /// What is no longer needed and takes a moment to drop: not on the thread of the events.
    pub garbage: Option<Box<dyn std::any::Any + Send>>,
}

/// Where detections come from.
pub trait Source {
    /// Waits up to `timeout` for events and passes those that a rule matched to `sink`.
    /// Returns how many were passed.
    fn poll(
        &mut self,
        timeout: Duration,
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError>;

    /// What it says about itself.
    fn health(&self) -> SourceHealth;

    /// Puts other rules to work; events that happened before are the old rules' still. The error
    /// says why not.
    fn change_rules(&mut self, _change: RuleChange) -> Result<Changed, String> {
        Err("the rules of this source cannot change".into())
    }

    /// What was lost so far, by counter. Called several times a second.
    fn losses(&self) -> Vec<Loss> {
        Vec::new()
    }

    /// Something was lost: what is known by events alone may be wrong now.
    fn heed_losses(&mut self, _fresh: &[Loss]) {}

    /// What it says about itself at length, for those who ask.
    fn details(&self) -> SourceDetails {
        SourceDetails::default()
    }

    /// Begins or ends to count what happens by container. Called often.
    fn watch_activity(&mut self, _on: bool) {}

    /// What was counted, and the processes of one container.
    fn activity(&self, _container: Option<&str>) -> Activity {
        Activity::default()
    }

    /// The containers that run, as far as they are known.
    fn containers(&self) -> Vec<Arc<Container>> {
        Vec::new()
    }

    /// Takes the samples of events since the last call.
    fn take_samples(&mut self, _sink: &mut dyn FnMut(Sample)) {}

    /// What went wrong beside reading events since the last call: a recording that could
    /// not be written.
    fn problems(&mut self, _sink: &mut dyn FnMut(String)) {}

    /// Ends what the source does beside reading events; problems as above.
    fn finish(&mut self, _sink: &mut dyn FnMut(String)) {}
}

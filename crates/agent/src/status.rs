//! What the agent says about itself: `status.json` and `palisade status`.

mod report;

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

pub use report::{
    CpuStatus, EnforcementStatus, HookStatus, MemoryStatus, Mode, RecoveryStatus, RefusedStatus,
    ReloadStatus, RingStatus, STATUS_REPORT_SCHEMA, SourceDetails, StatusReport, TableStatus,
};

use crate::delivery::status::SinkStatus;
use crate::detection::SourceHealth;

/// Schema of the status document.
pub const STATUS_SCHEMA: &str = "palisade.dev/agent-status/v1";

/// A snapshot of the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// [`STATUS_SCHEMA`].
    pub schema: &'static str,
    /// When it was taken.
    pub time: Timestamp,
    /// When the agent started.
    pub started: Timestamp,
    /// Process id of the agent.
    pub pid: u32,
    /// Name of the policy.
    pub policy: String,
    /// The source: events, losses, hooks.
    pub source: SourceHealth,
    /// Counters.
    pub counts: Counts,
    /// Incidents that are open or being responded to.
    pub n_incidents_open: usize,
    /// Alerts whose incident or response is not finished.
    pub n_alerts_pending: usize,
    /// Pending alerts that were let go because there were too many.
    pub n_alerts_forgotten: u64,
    /// Responses waiting for the worker.
    pub n_responses_waiting: usize,
    /// Where alerts are sent, and how that goes.
    pub sinks: Vec<SinkStatus>,
    /// Resident memory of the agent in bytes, when `/proc` tells.
    pub memory_bytes: Option<u64>,
}

/// Everything that was counted, since the start. What is dropped is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Rules that matched.
    pub n_detections: u64,
    /// Detections below the policy's priority.
    pub n_below_priority: u64,
    /// Alerts raised.
    pub n_alerts: u64,
    /// Alerts counted instead of raised, because they repeated one.
    pub n_folded: u64,
    /// Responses begun.
    pub n_responses: u64,
    /// Responses refused: no container, no control group.
    pub n_responses_refused: u64,
    /// Responses not carried out because the queue was full; taken up at the next start.
    pub n_responses_dropped: u64,
    /// Alerts that could not be written to the journal.
    pub n_journal_failures: u64,
    /// Incident files that could not be written.
    pub n_incident_failures: u64,
    /// Panics caught at the boundary of one event.
    pub n_panics: u64,
}

/// Resident memory of this process in bytes (`proc_pid_statm(5)`).
pub fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// Processor time of this process since its start, in nanoseconds.
pub fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000) + u64::try_from(time.tv_nsec).unwrap_or(0)
}

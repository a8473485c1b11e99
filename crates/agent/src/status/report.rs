//! Everything that `palisade status` shows.

use palisade_base::Timestamp;
use palisade_model::Means;
use serde::{Deserialize, Serialize};

use super::Counts;
use crate::delivery::status::{SinkState, SinkStatus};
use crate::enforce::{Ruling, Standing};
use crate::inventories::InventoryStatus;
use crate::losses::LossStatus;
use crate::recorder::RecorderHealth;
use crate::reload::ReloadReport;
use crate::standing::RuleStanding;

/// Schema of the document.
pub const STATUS_REPORT_SCHEMA: &str = "palisade.dev/status/v1";

/// A hook that is attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Where: `tp_btf/sched_process_exec`.
    pub hook: String,
    /// The program at it.
    pub program: String,
    /// The events that it serves.
    pub events: Vec<String>,
}

/// A program that the kernel refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// The program.
    pub program: String,
    /// The events that are not seen without it.
    pub events: Vec<String>,
    /// Why.
    pub reason: String,
}

/// How full a ring between kernel and agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingStatus {
    /// `priority` or `bulk`.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Bytes of records that wait.
    pub used_bytes: u64,
    /// When the oldest that waits happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// How full a table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// What it holds.
    pub name: String,
    /// Entries.
    pub n: u64,
    /// How many it may hold.
    pub max: u64,
    /// Entries that were given up or did not fit.
    pub n_evicted: u64,
}

/// What was done to know processes again after events about them were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecoveryStatus {
    /// How often the process table was compared with `/proc`.
    pub n_verified: u64,
    /// Processes that were compared.
    pub n_checked: u64,
    /// Threads that had ended.
    pub n_removed: u64,
    /// Processes that were not known.
    pub n_added: u64,
    /// Processes that run another program than was known.
    pub n_refreshed: u64,
    /// Tables of descriptors that were read again.
    pub n_fd_tables_reread: u64,
}

/// What a source says of itself at length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceDetails {
    /// Hooks that are attached.
    pub hooks: Vec<HookStatus>,
    /// Programs that the kernel refuses.
    pub refused: Vec<RefusedStatus>,
    /// Every rule and how it stands.
    pub rules: Vec<RuleStanding>,
    /// The rings.
    pub rings: Vec<RingStatus>,
    /// The tables of the state.
    pub tables: Vec<TableStatus>,
    /// What was done after losses.
    pub recovery: RecoveryStatus,
    /// Memory of the probes' maps in the kernel, in bytes.
    pub kernel_memory_bytes: u64,
}

/// Memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MemoryStatus {
    /// Resident memory of the agent in bytes, when `/proc` tells.
    pub resident_bytes: Option<u64>,
    /// Memory of the probes' maps in the kernel, rings included, in bytes.
    pub kernel_bytes: u64,
}

/// Processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CpuStatus {
    /// Of all threads since the start, in nanoseconds.
    pub total_ns: u64,
    /// For each event since the start, in nanoseconds.
    pub per_event_ns: u64,
}

/// What is known of reloads.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// Reloads whose result is in force or was.
    pub n_done: u64,
    /// Reloads that changed nothing, because something was wrong.
    pub n_failed: u64,
    /// The last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ReloadReport>,
}

/// What the agent was told on its command line that others may want to know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mode {
    /// Version of the program.
    pub version: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Where the policy was read from.
    pub policy_source: String,
    /// Whether responses are carried out: `off`, `dry-run`, `on`.
    pub respond: String,
}

/// How one rule's enforcement stands on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcementStatus {
    /// The rule.
    pub rule: String,
    /// The container, by its short id, where it differs from the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// `prevents`, `reacts` or `cannot`.
    pub standing: String,
    /// By which means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<String>,
    /// Why it is no better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&Standing> for EnforcementStatus {
    fn from(row: &Standing) -> Self {
        let joined =
            |means: &[Means]| means.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ");
        let means =
            row.ruling.means().map(|(action, means)| format!("{action} by {}", joined(means)));
        let reason = match &row.ruling {
            Ruling::Prevents { limits, .. } if limits.is_empty() => None,
            Ruling::Prevents { limits, .. } => Some(format!("not {}", limits.join(", "))),
            Ruling::Reacts { why, .. } | Ruling::Cannot { why } => Some(why.clone()),
        };
        Self {
            rule: row.rule.clone(),
            container: row.container.clone(),
            standing: row.ruling.word().into(),
            means,
            reason,
        }
    }
}

/// Everything about a running agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// When it was made.
    pub time: Timestamp,
    /// When the agent started.
    pub started: Timestamp,
    /// Process id of the agent.
    pub pid: u32,
    /// Name of the host.
    pub hostname: String,
    /// What it was told.
    #[serde(flatten)]
    pub mode: Mode,
    /// Why it is not as it should be; empty when it is.
    pub degraded: Vec<String>,
    /// Name of the policy.
    pub policy: String,
    /// What is enforced and what cannot be; absent where nothing is asked to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Vec<EnforcementStatus>>,
    /// Events read.
    pub n_events: u64,
    /// Hooks that are attached.
    pub hooks: Vec<HookStatus>,
    /// Programs that the kernel refuses.
    pub refused: Vec<RefusedStatus>,
    /// Every rule and how it stands.
    pub rules: Vec<RuleStanding>,
    /// What was lost.
    pub losses: Vec<LossStatus>,
    /// The rings between kernel and agent.
    pub rings: Vec<RingStatus>,
    /// Where alerts are sent, and how that goes.
    pub sinks: Vec<SinkStatus>,
    /// Bounded tables.
    pub tables: Vec<TableStatus>,
    /// What was done to know processes again after losses.
    pub recovery: RecoveryStatus,
    /// Memory.
    pub memory: MemoryStatus,
    /// Processor time.
    pub cpu: CpuStatus,
    /// Reloads.
    pub reloads: ReloadStatus,
    /// Looks at what is stored of images; absent where they are switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inventories: Option<InventoryStatus>,
    /// The recorder, where one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<RecorderHealth>,
    /// Everything else that was counted since the start.
    pub counts: Counts,
    /// Incidents that are open or being responded to.
    pub n_incidents_open: usize,
    /// Alerts whose incident or response is not finished.
    pub n_alerts_pending: usize,
    /// Responses waiting for the worker.
    pub n_responses_waiting: usize,
}

impl StatusReport {
    /// What keeps this state from being a healthy one: losses in the last minute, sinks that
    /// fail, programs that the kernel refuses, a reload that failed, inventories that cannot be
    /// looked at.
    pub fn find_degraded(&self) -> Vec<String> {
        let mut found = Vec::new();
        let lately: Vec<String> = self
            .losses
            .iter()
            .filter(|loss| loss.last_minute > 0)
            .map(|loss| {
                let LossStatus { kind, last_minute, .. } = loss;
                format!("{last_minute} {} ({})", kind.class, kind.cause)
            })
            .collect();
        if !lately.is_empty() {
            found.push(format!("lost in the last minute: {}", lately.join(", ")));
        }
        for sink in self.sinks.iter().filter(|sink| sink.state == SinkState::Waiting) {
            let reason = sink.last_error.as_ref().map_or("", |error| error.text.as_str());
            found.push(format!("sink `{}` cannot deliver: {reason}", sink.name));
        }
        for refused in &self.refused {
            found.push(format!("program {} is refused: {}", refused.program, refused.reason));
        }
        if let Some(last) = self.reloads.last.as_ref().filter(|last| !last.ok) {
            let n = last.problems.len();
            found.push(format!("the last reload failed with {n} problem(s); the old rules go on"));
        }
        if let Some(problem) = self.inventories.as_ref().and_then(|looks| looks.problem.as_ref()) {
            found.push(problem.clone());
        }
        found
    }
}

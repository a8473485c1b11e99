//! Rules, policy and sinks that change while events go on.
//!
//! ```text
//! signal, request, changed file ─► Trigger ─► worker: reads, checks, loads handlers, opens sinks
//!                                                │ (a thread of its own)
//!                                                ▼
//!                       event thread: takes over, between two events ─► ReloadReport
//! ```
//!
//! Nothing changes unless all of it is right: what is wrong is said, every problem of it, and the
//! old rules, policy and sinks go on. The event thread only exchanges what is ready.

mod files;
mod worker;

use std::path::PathBuf;
use std::sync::mpsc::SyncSender;

use palisade_base::Timestamp;
use palisade_policy::playbook::Playbook;
use palisade_policy::{Policy, Sink};
use palisade_rules::RuleSet;
use palisade_sinks::Transport;
use serde::{Deserialize, Serialize};

pub use files::{FILES_WATCHED_MAX, FileWatch};
pub use worker::{Handle, Reloader};

use crate::detector::RuleChange;
use crate::standing::RuleStanding;

/// Problems of one reload that are kept; there are rarely more, and the first say most.
pub const PROBLEMS_MAX: usize = 64;

/// Why a reload was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Cause {
    /// A signal.
    Signal,
    /// Somebody asked for it at the control socket.
    Request,
    /// Files changed.
    Files {
        /// Which.
        files: Vec<PathBuf>,
    },
}

/// Everything that a reload reads anew, checked.
#[derive(Debug)]
pub struct Loaded {
    /// The rules.
    pub rules: RuleSet,
    /// The policy.
    pub policy: Policy,
    /// The sinks.
    pub sinks: Vec<Sink>,
    /// The playbooks that alerts start.
    pub playbooks: Vec<Playbook>,
    /// The files that all of it came from, to be watched.
    pub files: Vec<PathBuf>,
}

/// Reads everything anew, or says every problem that it found, each as it is to be shown.
pub type Read = Box<dyn FnMut() -> Result<Loaded, Vec<String>> + Send>;

/// Everything that the event thread exchanges.
#[derive(Debug)]
pub struct Ready {
    pub(crate) change: RuleChange,
    pub(crate) policy: Policy,
    pub(crate) sinks: Vec<(Sink, Box<dyn Transport>)>,
    pub(crate) playbooks: Vec<Playbook>,
}

/// What came of a reload that was prepared.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) causes: Vec<Cause>,
    pub(crate) begun: Timestamp,
    pub(crate) outcome: Result<Box<Ready>, Vec<String>>,
    /// Who waits for the report.
    pub(crate) waiting: Vec<SyncSender<ReloadReport>>,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// When it ended.
    pub time: Timestamp,
    /// Why it was begun.
    pub causes: Vec<Cause>,
    /// Whether what was read is in force now.
    pub ok: bool,
    /// How long it took in nanoseconds, most of it on a thread of its own.
    pub duration_ns: u64,
    /// For how long the event thread was busy with it, in nanoseconds.
    pub exchange_ns: u64,
    /// What is wrong with what was read; empty if it is in force.
    pub problems: Vec<String>,
    /// Rules that are evaluated now.
    pub n_rules: usize,
    /// Whether other handlers are at work in the kernel now.
    pub handlers_changed: bool,
    /// Name of the policy in force.
    pub policy: String,
    /// Names of the sinks that are new, changed, or gone.
    pub sinks_changed: Vec<String>,
    /// Rules that see less than they say, or nothing, for want of events.
    pub limited: Vec<RuleStanding>,
}

//! The records of the audit log, from which every run's state follows.

use palisade_base::Timestamp;
use palisade_model::incident::ActionResult;
use serde::{Deserialize, Serialize};

use super::Order;

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOutcome {
    /// How it went.
    pub result: ActionResult,
    /// What was done, or why not.
    pub detail: String,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// Whether this order made the change, and so has to undo it.
    #[serde(default)]
    pub ours: bool,
    /// The file that it produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl StepOutcome {
    /// Whether it reached its aim.
    pub fn is_done(&self) -> bool {
        matches!(self.result, ActionResult::Done | ActionResult::Unchanged | ActionResult::Partial)
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Steps are left.
    Running,
    /// All steps were gone through.
    Done,
    /// A step said so when it failed.
    Stopped,
    /// What was done was undone.
    Undone,
}

impl RunState {
    /// The name in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Stopped => "stopped",
            Self::Undone => "undone",
        }
    }
}

/// One record of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AuditRecord {
    /// An order was taken on; it holds everything needed to complete it.
    Ordered {
        /// When.
        time: Timestamp,
        /// The order.
        order: Box<Order>,
    },
    /// An order was refused: a cap was reached.
    Refused {
        /// When.
        time: Timestamp,
        /// The order.
        order: Box<Order>,
        /// Why.
        reason: String,
    },
    /// A step begins, or begins to be undone.
    Begin {
        /// When.
        time: Timestamp,
        /// The order.
        order: String,
        /// The step.
        step: String,
        /// Whether it is undone.
        #[serde(default)]
        undo: bool,
    },
    /// A step ended.
    End {
        /// The order.
        order: String,
        /// The step.
        step: String,
        /// Whether it was undone.
        #[serde(default)]
        undo: bool,
        /// How it went.
        outcome: StepOutcome,
    },
    /// A person answered a question.
    Answered {
        /// When.
        time: Timestamp,
        /// The order.
        order: String,
        /// The step.
        step: String,
        /// Who.
        by: String,
        /// Yes or no.
        granted: bool,
    },
    /// Everything that the order did is going to be undone.
    Undoing {
        /// When.
        time: Timestamp,
        /// The order.
        order: String,
        /// Who wants it, or which step.
        by: String,
    },
    /// A hold ended while another order wants the same: that one is to undo it.
    Handed {
        /// When.
        time: Timestamp,
        /// The order whose hold ended.
        order: String,
        /// Its step.
        step: String,
        /// The order that keeps it.
        to: String,
        /// That one's step.
        to_step: String,
    },
    /// A run ended; its holds go on.
    Finished {
        /// When.
        time: Timestamp,
        /// The order.
        order: String,
        /// How.
        state: RunState,
    },
    /// What one playbook touched, carried over into a new file for the caps.
    Touched {
        /// When.
        time: Timestamp,
        /// The playbook.
        playbook: String,
        /// The container's id, or `host`.
        container: String,
    },
}

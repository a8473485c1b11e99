//! Playbooks: what is done about an incident, step by step, as data.
//!
//! A playbook says which incidents it is for (`on`), how much it may touch (`caps`), and its
//! steps: actions, waits and approvals. Steps run in order; a step that fails goes on, stops,
//! undoes everything or jumps forward. No step can lead back, so every run ends, and the
//! caps bound how many runs there are.

mod act;
mod forms;
mod read;
mod trigger;

use serde::{Deserialize, Serialize};

pub use act::{Act, FREEZE_HOLD_MS};
pub use forms::{FORMS, Form, Parameter, ParameterKind, form};
pub use read::{
    FILE_BYTES_MAX, LoadPlaybookError, LoadedPlaybook, NAME_BYTES_MAX, STEPS_MAX, TEXT_BYTES_MAX,
    TEXTS_MAX, duration_ms, load_file, parse,
};
pub use trigger::{Trigger, TriggerFacts, glob};

/// Shortest and longest time of a hold, a wait or an approval: a second and thirty days.
pub const DURATION_MS: std::ops::RangeInclusive<u64> = 1_000..=30 * 24 * 3_600_000;

/// A playbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Playbook {
    /// Its name; plans and the audit log carry it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Who answers for it; empty when the file does not say.
    pub owner: String,
    /// Which incidents it is for.
    pub on: Trigger,
    /// How much it may touch.
    pub caps: Caps,
    /// What to do.
    pub steps: Vec<Step>,
}

/// Bounds on what one playbook does within an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// Different containers.
    pub containers_per_hour: u32,
    /// Runs.
    pub runs_per_hour: u32,
}

impl Default for Caps {
    fn default() -> Self {
        Self { containers_per_hour: 5, runs_per_hour: 20 }
    }
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name, unique in the playbook.
    pub id: String,
    /// What to do.
    #[serde(flatten)]
    pub what: StepKind,
    /// What follows when it fails, is refused or is not answered.
    pub on_failure: OnFailure,
}

/// Kinds of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepKind {
    /// Does something.
    Act {
        /// What.
        act: Act,
        /// When to give up, in milliseconds from its start.
        deadline_ms: u64,
        /// After how many milliseconds it is undone by itself; `None` for never.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hold_ms: Option<u64>,
    },
    /// Lets time pass.
    Wait {
        /// How much, in milliseconds.
        ms: u64,
    },
    /// Asks a person.
    Approve {
        /// What is asked.
        question: String,
        /// How long an answer is waited for, in milliseconds.
        within_ms: u64,
    },
}

/// What follows a failed step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The next step.
    Continue,
    /// Nothing; what was done stays.
    Stop,
    /// What was done is undone, last first.
    Undo,
    /// The step of that name, which stands further down.
    Goto(String),
}

impl Step {
    /// A step that does `act` with the deadline and the hold that it has by default.
    pub fn of(id: &str, act: Act) -> Self {
        let (deadline_ms, hold_ms) = (act.deadline_ms(), act.hold_ms());
        Self {
            id: id.to_string(),
            what: StepKind::Act { act, deadline_ms, hold_ms },
            on_failure: OnFailure::Continue,
        }
    }
}

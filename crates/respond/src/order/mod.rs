//! Orders: what is to be done, by whom, why, and until when, as data.
//!
//! An order is made purely ([`Order::of_playbook`], [`Order::by_hand`]), printed as a dry run,
//! and carried out by the [`Engine`], which writes each step into the audit log before and
//! after. It is the larger sibling of [`crate::plan`], which is the fast path of a policy's
//! `response`.

mod audit;
mod engine;

use std::fmt;

use palisade_base::{Explain, Timestamp};
use palisade_model::{Alert, Container};
use palisade_policy::playbook::{Act, Caps, OnFailure, Playbook, Step, StepKind};
use serde::{Deserialize, Serialize};

use crate::plan::file_safe;

pub use audit::{AuditRecord, RunState, StepOutcome};
pub use engine::{
    AUDIT_FILE, Engine, OnStep, Progress, RUNS_MAX, Run, StepView, Submitted, read_audit,
};

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The same playbook, incident and container always give the same id: no playbook runs
    /// twice for one container of an incident.
    pub id: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// The playbook, unless it was ordered by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
    /// How much that playbook may touch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Caps>,
    /// The incident; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incident: String,
    /// The alert; empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alert: String,
    /// The container that it acts upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// Why nothing can be ordered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    /// A step acts upon a container and there is none.
    #[error("step `{0}` acts upon a container, and there is none")]
    NoContainer(String),
    /// A step needs what neither playbook nor incident say.
    #[error("step `{step}` needs {what}, which is not known")]
    Missing {
        /// The step.
        step: String,
        /// What is missing.
        what: &'static str,
    },
}

impl Explain for OrderRefusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoContainer(_) => "responses never freeze or kill processes of the host".into(),
            Self::Missing { .. } => "write it into the step".into(),
        })
    }
}

impl Order {
    /// What `playbook` says about `alert`. Pure.
    ///
    /// # Errors
    ///
    /// A step lacks what it needs.
    pub fn of_playbook(
        playbook: &Playbook,
        alert: &Alert,
        incident: &str,
    ) -> Result<Self, OrderRefusal> {
        let container = alert.container.clone();
        let place = container.as_ref().map_or("host", |container| container.short_id());
        let id =
            format!("{}-{}-{}", file_safe(incident), file_safe(&playbook.name), file_safe(place));
        let mut order = Self {
            id,
            owner: if playbook.owner.is_empty() {
                format!("playbook {}", playbook.name)
            } else {
                playbook.owner.clone()
            },
            reason: format!("alert {}: {}", alert.id, alert.rule),
            playbook: Some(playbook.name.clone()),
            caps: Some(playbook.caps),
            incident: incident.to_string(),
            alert: alert.id.clone(),
            container,
            steps: playbook.steps.clone(),
        };
        let process = alert.process.as_ref().map(|process| (process.pid, process.start));
        order.fill_in(process, alert.raised)?;
        Ok(order)
    }

    /// One action that a person wants.
    ///
    /// # Errors
    ///
    /// It lacks what it needs.
    pub fn by_hand(
        step: Step,
        container: Option<Container>,
        (owner, reason): (&str, &str),
        now: Timestamp,
    ) -> Result<Self, OrderRefusal> {
        let mut order = Self {
            id: format!("{:016x}-by-hand", now.as_nanos()),
            owner: owner.to_string(),
            reason: reason.to_string(),
            playbook: None,
            caps: None,
            incident: String::new(),
            alert: String::new(),
            container,
            steps: vec![step],
        };
        order.fill_in(None, now)?;
        Ok(order)
    }

    /// Puts into each act what the incident says and the act leaves out.
    fn fill_in(
        &mut self,
        process: Option<(u32, Timestamp)>,
        now: Timestamp,
    ) -> Result<(), OrderRefusal> {
        let container = self.container.as_ref();
        let image = container.and_then(|c| c.image.as_ref()).and_then(|image| image.digest);
        let pod_namespace = container.and_then(|c| c.pod.as_ref()).map(|pod| pod.namespace.clone());
        for Step { id, what, .. } in &mut self.steps {
            let StepKind::Act { act, .. } = what else { continue };
            if act.needs_container() && container.is_none() {
                return Err(OrderRefusal::NoContainer(id.clone()));
            }
            let missing = |what| OrderRefusal::Missing { step: id.clone(), what };
            match act {
                Act::KillProcess { pid, started } | Act::KillTree { pid, started }
                    if pid.is_none() =>
                {
                    let (known, start) = process.ok_or_else(|| missing("the process (`pid`)"))?;
                    (*pid, *started) = (Some(known), Some(start));
                }
                Act::QuarantineImage { digest } | Act::ReleaseImage { digest } => {
                    *digest = Some(
                        digest.or(image).ok_or_else(|| missing("the image's digest (`digest`)"))?,
                    );
                }
                Act::RevokeServiceAccount { namespace, .. } if namespace.is_none() => {
                    *namespace = Some(
                        pod_namespace
                            .clone()
                            .ok_or_else(|| missing("the pod's namespace (`namespace`)"))?,
                    );
                }
                Act::RevokeAwsSessions { before, .. } => {
                    before.get_or_insert(now);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The number of the step of that name.
    pub(crate) fn position(&self, step: &str) -> Option<usize> {
        self.steps.iter().position(|known| known.id == step)
    }
}

/// Milliseconds as people write them.
pub fn duration_text(ms: u64) -> String {
    for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

impl fmt::Display for Order {
    /// The dry run: what would be done, step by step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "order {}", self.id)?;
        if let Some(playbook) = &self.playbook {
            write!(f, " (playbook {playbook})")?;
        }
        writeln!(f, "\n  owner {}; reason: {}", self.owner, self.reason)?;
        if let Some(container) = &self.container {
            write!(f, "  container {} {}", container.short_id(), container.name)?;
            match &container.cgroup {
                Some(cgroup) => writeln!(f, ", control group {cgroup}")?,
                None => writeln!(f)?,
            }
        }
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, "  {}. {}: ", i + 1, step.id)?;
            match &step.what {
                StepKind::Act { act, deadline_ms, hold_ms } => {
                    write!(f, "{act} (within {}", duration_text(*deadline_ms))?;
                    match (hold_ms, act.inverse()) {
                        (Some(ms), Some(_)) => write!(f, ", undone after {})", duration_text(*ms))?,
                        (None, Some(_)) => write!(f, ", until undone)")?,
                        (_, None) => write!(f, ")")?,
                    }
                }
                StepKind::Wait { ms } => write!(f, "wait {}", duration_text(*ms))?,
                StepKind::Approve { question, within_ms } => {
                    write!(f, "ask \"{question}\" (within {})", duration_text(*within_ms))?;
                }
            }
            match &step.on_failure {
                OnFailure::Continue => {}
                OnFailure::Stop => write!(f, "; on failure: stop")?,
                OnFailure::Undo => write!(f, "; on failure: undo everything")?,
                OnFailure::Goto(to) => write!(f, "; on failure: go on at {to}")?,
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

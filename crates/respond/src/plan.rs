//! What is to be done about an alert: decided purely, printed before it is done.

use std::fmt;
use std::time::Duration;

use palisade_base::Explain;
use palisade_model::{Alert, Container};
use palisade_policy::{Action, ResponseRule};
use serde::{Deserialize, Serialize};

/// Most steps of a plan; each action appears once.
pub const STEPS_MAX: usize = Action::ALL.len();

/// A plan: steps against one container, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The same alert and response rule always give the same id, so that no plan is
    /// carried out twice.
    pub id: String,
    /// Name of the response rule of the policy.
    pub response: String,
    /// The alert that it answers.
    pub alert: String,
    /// The incident that the alert belongs to.
    pub incident: String,
    /// The container that it acts upon, and nothing else.
    pub container: Container,
    /// What to do.
    pub steps: Vec<Step>,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    #[serde(with = "action_name")]
    pub action: Action,
    /// When to give up, in milliseconds from the step's start.
    pub deadline_ms: u64,
}

impl Step {
    /// The step for `action` with the deadline that it has by default.
    pub fn new(action: Action) -> Self {
        let deadline_ms = match action {
            Action::Freeze => 500,
            Action::Isolate => 2_000,
            Action::Evidence => 60_000,
            Action::Kill => 10_000,
        };
        Self { action, deadline_ms }
    }

    /// When to give up.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }
}

/// Why nothing can be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanRefusal {
    /// The alert is about the host; responses act on containers only.
    #[error("alert `{0}` is not about a container")]
    NoContainer(String),
    /// The container's control group is not known, so nothing can be done to it alone.
    #[error("control group of container `{0}` is not known")]
    NoCgroup(String),
    /// The response rule has no actions.
    #[error("response `{0}` has no actions")]
    NoActions(String),
}

impl Explain for PlanRefusal {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoContainer(_) => {
                "act on the host by hand; Palisade never freezes or kills it".into()
            }
            Self::NoCgroup(_) => {
                "start the container with `palisade run`, Docker, Podman or containerd".into()
            }
            Self::NoActions(_) => "add actions to the response in the policy".into(),
        })
    }
}

/// Plans what `rule` says about `alert`, without looking at the system.
///
/// Steps are put into the order in which they are safe ([`Action::ALL`]), each once:
/// evidence is worth nothing after the kill, and little before the freeze.
pub fn plan(rule: &ResponseRule, alert: &Alert, incident: &str) -> Result<Plan, PlanRefusal> {
    let Some(container) = &alert.container else {
        return Err(PlanRefusal::NoContainer(alert.id.clone()));
    };
    if container.cgroup.is_none() && container.init_pid.is_none() {
        return Err(PlanRefusal::NoCgroup(container.id.clone()));
    }
    let steps: Vec<Step> = Action::ALL
        .into_iter()
        .filter(|action| rule.actions.contains(action))
        .map(Step::new)
        .collect();
    if steps.is_empty() {
        return Err(PlanRefusal::NoActions(rule.name.clone()));
    }
    Ok(Plan {
        id: format!("{}-{}", alert.id, file_safe(&rule.name)),
        response: rule.name.clone(),
        alert: alert.id.clone(),
        incident: incident.to_string(),
        container: container.clone(),
        steps,
    })
}

/// Plans `actions` against `container` for a person who asked for it; `id` is theirs.
pub fn plan_by_hand(id: &str, container: &Container, actions: &[Action], incident: &str) -> Plan {
    Plan {
        id: id.to_string(),
        response: "by hand".into(),
        alert: String::new(),
        incident: incident.to_string(),
        container: container.clone(),
        steps: Action::ALL
            .into_iter()
            .filter(|action| actions.contains(action))
            .map(Step::new)
            .collect(),
    }
}

impl fmt::Display for Plan {
    /// The dry run: what would be done, step by step.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let container = &self.container;
        writeln!(f, "plan {} ({})", self.id, self.response)?;
        write!(f, "  container {} {}", container.short_id(), container.name)?;
        match &container.cgroup {
            Some(cgroup) => writeln!(f, ", control group {cgroup}")?,
            None => writeln!(f)?,
        }
        for (i, step) in self.steps.iter().enumerate() {
            let what = match step.action {
                Action::Freeze => "freeze   stop every process of the container where it stands",
                Action::Isolate => "isolate  deny all network traffic of the container",
                Action::Evidence => "evidence collect a bundle, hashed and signed",
                Action::Kill => "kill     end every process of the container",
            };
            writeln!(f, "  {}. {what} (within {} ms)", i + 1, step.deadline_ms)?;
        }
        Ok(())
    }
}

/// `text` reduced to what is safe in a file name.
pub(crate) fn file_safe(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }
    };
    text.chars().take(40).map(safe).collect()
}

/// Serialises an action as its name in policies.
pub(crate) mod action_name {
    use palisade_policy::Action;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's `with` passes a reference")]
    pub(crate) fn serialize<S: Serializer>(
        action: &Action,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(action.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Action, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Action::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no action")))
    }
}

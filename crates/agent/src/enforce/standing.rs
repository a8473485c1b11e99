//! How a rule with an action stands on a host: prevents, reacts, cannot.

use std::fmt;

use palisade_model::{EnforcementAction, Means};
use serde::Serialize;

/// What becomes of an event that a rule with an action matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Ruling {
    /// It does not happen: the call is refused, or the process dies before it can use what
    /// the call gave.
    Prevents {
        /// The action that is carried out.
        action: EnforcementAction,
        /// The mechanisms, one or several for different events.
        means: Vec<Means>,
        /// What is not covered all the same.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        limits: Vec<String>,
    },
    /// It happens; then the process dies.
    Reacts {
        /// The action that is carried out.
        action: EnforcementAction,
        /// The mechanisms, one or several for different events.
        means: Vec<Means>,
        /// Why it is not prevented.
        why: String,
    },
    /// Nothing is done.
    Cannot {
        /// Why.
        why: String,
    },
}

/// How one rule stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The rule's name.
    pub rule: String,
    /// The container, by its short id, where it differs from the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What is wished, the first that can be done.
    pub wishes: Vec<EnforcementAction>,
    /// What becomes of it.
    #[serde(flatten)]
    pub ruling: Ruling,
    /// Better means and wishes, and why they do not serve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<String>,
}

impl Ruling {
    /// The word of tables: `prevents`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Prevents { .. } => "prevents",
            Self::Reacts { .. } => "reacts",
            Self::Cannot { .. } => "cannot",
        }
    }

    /// Action and means, if there are any.
    pub fn means(&self) -> Option<(EnforcementAction, &[Means])> {
        match self {
            Self::Prevents { action, means, .. } | Self::Reacts { action, means, .. } => {
                Some((*action, means))
            }
            Self::Cannot { .. } => None,
        }
    }
}

impl fmt::Display for Ruling {
    /// `prevents: deny by fanotify, but not …`, `reacts: kill by user-kill: …`, `cannot: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined =
            |means: &[Means]| means.iter().map(|m| m.as_str()).collect::<Vec<_>>().join(", ");
        match self {
            Self::Prevents { action, means, limits } => {
                write!(f, "prevents: {action} by {}", joined(means))?;
                if limits.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", but not {}", limits.join(", "))
                }
            }
            Self::Reacts { action, means, why } => {
                write!(f, "reacts: {action} by {}: {why}", joined(means))
            }
            Self::Cannot { why } => write!(f, "cannot: {why}"),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.rule)?;
        if let Some(container) = &self.container {
            write!(f, " in container {container}")?;
        }
        write!(f, " {}", self.ruling)
    }
}

/// What enforcement says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct EnforcementHealth {
    /// `dry-run` or `on`.
    pub mode: String,
    /// How each rule with an action stands, and where that differs in a container.
    pub standings: Vec<Standing>,
    /// Containers that are guarded.
    pub n_guarded: usize,
    /// Programs that were asked about.
    pub n_asked: u64,
    /// Programs that were refused.
    pub n_denied: u64,
    /// Refusals of which no alert could be raised because too many waited.
    pub n_unreported: u64,
    /// How often the gate before programs was given up because an answer was late.
    pub n_late: u64,
    /// Processes that were killed by the agent.
    pub n_killed: u64,
    /// Actions that were tried in vain.
    pub n_failed: u64,
    /// Actions that a dry run only told.
    pub n_told: u64,
}

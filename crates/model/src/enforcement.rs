//! What was done about an event at the event itself: denied, killed, or why not.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a rule or a policy wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementAction {
    /// The call is refused.
    Deny,
    /// The process is killed.
    Kill,
}

impl EnforcementAction {
    /// All actions, the one that prevents most first.
    pub const ALL: [Self; 2] = [Self::Deny, Self::Kill];

    /// The word in rules and policies: `deny`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for EnforcementAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action of enforcement")]
pub struct ParseEnforcementActionError(pub String);

impl FromStr for EnforcementAction {
    type Err = ParseEnforcementActionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| ParseEnforcementActionError(text.chars().take(32).collect()))
    }
}

/// The mechanism that acts, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Means {
    /// A BPF program at a security hook refuses the call.
    Lsm,
    /// A BPF program on the container's control group refuses addresses.
    Cgroup,
    /// Permission events on the container's mounts refuse programs.
    Fanotify,
    /// The probe that reports the event sends `SIGKILL`.
    KernelKill,
    /// The agent sends `SIGKILL` when it has read the event.
    UserKill,
}

impl Means {
    /// All means, best first.
    pub const ALL: [Self; 5] =
        [Self::Lsm, Self::Cgroup, Self::Fanotify, Self::KernelKill, Self::UserKill];

    /// The name in outputs: `kernel-kill`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lsm => "lsm",
            Self::Cgroup => "cgroup",
            Self::Fanotify => "fanotify",
            Self::KernelKill => "kernel-kill",
            Self::UserKill => "user-kill",
        }
    }

    /// What it can do.
    pub const fn action(self) -> EnforcementAction {
        match self {
            Self::Lsm | Self::Cgroup | Self::Fanotify => EnforcementAction::Deny,
            Self::KernelKill | Self::UserKill => EnforcementAction::Kill,
        }
    }
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How enforcement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnforcementOutcome {
    /// What the event reports did not happen, or the process died before it could use it.
    Prevented,
    /// It happened; then the process died.
    Killed,
    /// A dry run: it would have been prevented.
    WouldPrevent,
    /// A dry run: it would have happened, and the process died.
    WouldKill,
    /// The policy excepts the container or its image.
    Excepted,
    /// The host cannot do what the rule asks.
    Cannot,
    /// It was tried in vain.
    Failed,
}

impl EnforcementOutcome {
    /// The word in outputs: `would-prevent`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prevented => "prevented",
            Self::Killed => "killed",
            Self::WouldPrevent => "would-prevent",
            Self::WouldKill => "would-kill",
            Self::Excepted => "excepted",
            Self::Cannot => "cannot",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for EnforcementOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was done about one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// What was to be done; the first wish where the host can do none.
    pub action: EnforcementAction,
    /// The mechanism; none where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub means: Option<Means>,
    /// How it ended.
    pub outcome: EnforcementOutcome,
    /// Why, where the outcome does not say it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// From the event in the kernel until it was done, in nanoseconds; 0 when nothing
    /// was, or when the call itself was refused and no other time is known.
    #[serde(default)]
    pub latency_ns: u64,
}

impl fmt::Display for Enforcement {
    /// `prevented: deny by fanotify in 0.213 ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.action)?;
        if let Some(means) = self.means {
            write!(f, " by {means}")?;
        }
        if self.latency_ns > 0 {
            let us = self.latency_ns / 1000;
            write!(f, " in {}.{:03} ms", us / 1000, us % 1000)?;
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for means in Means::ALL {
            let json = serde_json::to_string(&means).unwrap();
            assert_eq!(json, format!("\"{means}\""));
        }
        for action in EnforcementAction::ALL {
            assert_eq!(serde_json::to_string(&action).unwrap(), format!("\"{action}\""));
            assert_eq!(action.as_str().parse(), Ok(action));
        }
        let outcome = EnforcementOutcome::WouldPrevent;
        assert_eq!(serde_json::to_string(&outcome).unwrap(), format!("\"{outcome}\""));
        assert!("freeze".parse::<EnforcementAction>().is_err());
    }

    #[test]
    fn enforcement_reads_as_a_sentence() {
        let mut done = Enforcement {
            action: EnforcementAction::Deny,
            means: Some(Means::Fanotify),
            outcome: EnforcementOutcome::Prevented,
            detail: String::new(),
            latency_ns: 213_400,
        };
        assert_eq!(done.to_string(), "prevented: deny by fanotify in 0.213 ms");
        done.means = None;
        done.outcome = EnforcementOutcome::Cannot;
        done.latency_ns = 0;
        done.detail = "why".into();
        assert_eq!(done.to_string(), "cannot: deny (why)");
    }
}

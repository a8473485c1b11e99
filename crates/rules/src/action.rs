//! What a rule asks to be done about its event: an extension of the language.
//!
//! ```yaml
//! - rule: Download tool in the shop
//!   condition: spawned_process and container and proc.exepath endswith /curl
//!   action: [deny, kill]
//! ```
//!
//! Falco skips the key with a warning. The crate reads it and carries it along; what a host
//! can do about it is decided where rules are watched.

use std::fmt;
use std::str::FromStr;

use crate::reader::{Outcome, shape};
use crate::yaml::Node;

/// What is to be done about an event that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// The call is refused: what the event reports does not happen.
    Deny,
    /// The process is killed.
    Kill,
}

impl Action {
    /// All actions, the one that prevents most first.
    pub const ALL: [Self; 2] = [Self::Deny, Self::Kill];

    /// The word in rule files: `deny`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Kill => "kill",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an action")]
pub struct ParseActionError(pub String);

impl FromStr for Action {
    type Err = ParseActionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str() == text)
            .ok_or_else(|| ParseActionError(text.chars().take(32).collect()))
    }
}

/// Reads `action: deny`, `action: [deny, kill]`, or `action: []` for none, which is how an
/// `override` takes an action away.
pub(crate) fn read_actions(value: &Node) -> Outcome<Vec<Action>> {
    let read = |node: &Node| {
        let word = node.scalar().filter(|_| !node.is_null()).unwrap_or_default();
        word.parse::<Action>().map_err(|_| {
            let word: String = word.chars().take(32).collect();
            shape(node.place, format!("Invalid action '{word}'"))
                .with_help("write deny, kill, or [deny, kill]: the first that the host can do")
        })
    };
    let Some(elements) = value.sequence() else {
        return Ok(vec![read(value)?]);
    };
    let mut actions = Vec::new();
    for node in elements {
        let action = read(node)?;
        if actions.contains(&action) {
            return Err(shape(node.place, format!("Action '{action}' stands twice"))
                .with_help("name each action once"));
        }
        // Two words at most, since each may stand once.
        actions.push(action);
    }
    Ok(actions)
}

//! Repeats of an alert that were counted instead of raised.

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Priority;

/// How often an alert would have been raised again within its window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repeats {
    /// Identifier of the alert that was raised.
    pub alert: String,
    /// Its rule.
    pub rule: String,
    /// The rule's priority.
    pub priority: Priority,
    /// Host on which it happened.
    pub hostname: String,
    /// When the window began: the time of the alert.
    pub since: Timestamp,
    /// When the window ended.
    pub time: Timestamp,
    /// How often.
    pub n_repeats: u64,
}

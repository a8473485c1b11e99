//! A process as events and evidence show it.

use palisade_base::Timestamp;
use serde::{Deserialize, Serialize};

/// A process, as it was when the event that mentions it happened.
///
/// `(pid, start)` identifies it on one host: numbers are reused, start times are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group) in the host's namespace.
    pub pid: u32,
    /// Process id in its own innermost namespace, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpid: Option<u32>,
    /// Parent's process id in the host's namespace; 0 when unknown.
    pub ppid: u32,
    /// When it was cloned or, if the sensor came later, what `/proc` says.
    pub start: Timestamp,
    /// `comm`, at most 15 bytes: `nginx`.
    pub name: String,
    /// Path of the executable in the process's own file system view.
    pub exe: String,
    /// First argument and the others, joined by blanks.
    pub cmdline: String,
    /// Working folder.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cwd: String,
    /// Effective user id in the host's namespace.
    pub uid: u32,
}

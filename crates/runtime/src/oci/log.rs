//! The runtime's log, from which engines take the message that their user reads.

use std::io::Write as _;

use palisade_base::Timestamp;
use serde_json::json;

use super::arguments::Invocation;

/// Characters of a message; what is longer would not be read.
const MESSAGE_CHARS_MAX: usize = 2000;

/// Appends an error. A log that cannot be written changes nothing about the refusal.
pub(super) fn error(invocation: &Invocation, message: &str, now: Timestamp) {
    let Some(path) = &invocation.log else { return };
    let message: String = message.chars().take(MESSAGE_CHARS_MAX).collect();
    let time = now.rfc3339();
    let line = if invocation.log_json {
        json!({"level": "error", "msg": message, "time": time}).to_string()
    } else {
        format!("time={time:?} level=error msg={message:?}")
    };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = file {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

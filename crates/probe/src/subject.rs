//! What is probed, as the session sees it: something to connect to, that can be looked at from
//! outside.

use std::time::Duration;

use palisade_base::Timestamp;
use serde::Serialize;

use crate::finding::cut;
use crate::listen::Transport;
use crate::wire::Dial;

/// What the sensor saw the container do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, in the kernel.
    pub time: Timestamp,
    /// `execve`, `procexit`, ….
    pub kind: String,
    /// The process's name.
    pub process: String,
    /// Its id on the host.
    pub pid: u32,
    /// What else the event says.
    pub detail: String,
}

impl Event {
    /// The signal that ended the process, where one did.
    pub fn fatal_signal(&self) -> Option<&str> {
        if self.kind != "procexit" {
            return None;
        }
        // `sig=11(SIGSEGV)`; `sig=0` is none.
        let value = self.detail.split(' ').find_map(|part| part.strip_prefix("sig="))?;
        let (number, name) = value.split_once('(').unwrap_or((value, value));
        (number != "0").then(|| name.trim_end_matches(')'))
    }

    /// On one line, for people.
    pub fn line(&self) -> String {
        cut(&format!("{} {} {}[{}] {}", self.time, self.kind, self.process, self.pid, self.detail))
    }
}

/// How the subject is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    /// Whether its first process runs.
    pub is_running: bool,
    /// How often the kernel has killed a process of it for want of memory.
    pub n_out_of_memory: u64,
    /// How long its processes have computed so far, where that is counted.
    pub cpu: Option<Duration>,
}

/// What came of a command within.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit code.
    pub code: i32,
    /// What it printed, cut.
    pub output: String,
}

/// A container, or in tests something like it.
pub trait Subject: Dial {
    /// How it is now.
    fn pulse(&self) -> Pulse;

    /// What the sensor saw since the last call. May be late by some milliseconds.
    fn events(&self) -> Vec<Event>;

    /// The tables of its network namespace: `/proc/net/tcp` and the others.
    fn tables(&self) -> Vec<(Transport, String)>;

    /// The address by which others would reach it, if it has one beside loopback.
    fn address(&self) -> Option<std::net::IpAddr>;

    /// Starts it anew; `Err` says why not.
    fn restart(&self) -> Result<(), String>;

    /// Runs a script in it; `Err` says why not.
    fn execute(&self, script: &str) -> Result<Executed, String>;

    /// The end of what it has printed.
    fn log(&self) -> String;

    /// Whether the user wants an end. What is known by then is reported.
    fn is_interrupted(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signal_is_a_signal() {
        let event = |kind: &str, detail: &str| Event {
            time: Timestamp::from_nanos(0),
            kind: kind.into(),
            process: "x".into(),
            pid: 1,
            detail: detail.into(),
        };
        let text = "status=11 ret=0 sig=11(SIGSEGV) core=0 reaper_tid=0";
        assert_eq!(event("procexit", text).fatal_signal(), Some("SIGSEGV"));
        assert_eq!(event("procexit", "status=768 ret=3 sig=0 core=0").fatal_signal(), None);
        assert_eq!(event("kill", text).fatal_signal(), None);
    }
}

//! The sensor: a watch of the probe's own that only looks, and what it says of one container.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_probe::Event;
use serde_json::Value;

use crate::exit::{Exit, Failure};

/// How long the watch may take to begin.
const WATCH_DEADLINE: Duration = Duration::from_mins(1);
/// How often it is looked whether it has begun.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Events that wait to be fetched.
const EVENTS_MAX: usize = 4096;
/// Bytes of one alert.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// The rule that makes the container's own doings visible. `CONTAINER` is replaced by what
/// chooses it.
const RULE: &str = r#"- rule: What the probed container does
  desc: >
    Programs started and ended, sockets opened, files written, signals sent, but what the runtime
    does before the program is there.
  condition: >
    CONTAINER and not proc.name startswith runc and not proc.name startswith crun and (
    evt.type in (execve, execveat, procexit, connect, bind, listen, kill, tkill, tgkill, ptrace, mount, setuid)
    or (evt.type in (open, openat, openat2, creat) and evt.is_open_write=true)
    or evt.type in (unlink, unlinkat, rename, renameat, renameat2))
  output: "%evt.type %proc.name %evt.args"
  priority: NOTICE
"#;

/// A watch, which ends when this is dropped.
pub(super) struct Sensor {
    child: Child,
    receiver: Receiver<Event>,
}

impl Sensor {
    /// Starts a watch with `command`, in `folder`; `chosen` is a condition of the rules'
    /// language, `belongs` the same of an alert.
    pub(super) fn start(
        mut command: Command,
        folder: &Path,
        chosen: &str,
        belongs: impl Fn(&Value) -> bool + Send + 'static,
    ) -> Result<Self, Failure> {
        let (ready, rules) = (folder.join("ready"), folder.join("rules.yaml"));
        std::fs::write(&rules, RULE.replace("CONTAINER", chosen))
            .with_context(|| format!("write `{}`", rules.display()))?;
        // A probe that is killed leaves no watch behind.
        palisade_sys::process::die_with_caller(&mut command);
        let mut child = command
            .args(["watch", "--policy", "audit", "--respond", "off", "--enforce", "off"])
            .args(["--fold-seconds", "0", "--no-auto-reload", "--format", "json", "--rules"])
            .arg(&rules)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the probe's watch")?;
        let (sender, receiver) = sync_channel(EVENTS_MAX);
        if let Some(stdout) = child.stdout.take() {
            // Ends with the watch, whose output it reads.
            std::thread::spawn(move || read(stdout, &sender, belongs));
        }
        let mut sensor = Self { child, receiver };
        let end = Instant::now() + WATCH_DEADLINE;
        while !ready.exists() {
            if !matches!(sensor.child.try_wait(), Ok(None)) || Instant::now() >= end {
                return Err(Failure::message(Exit::Incomplete, "the probe's watch does not begin")
                    .with_hint("`palisade watch --duration 1` says why"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(sensor)
    }

    /// What came since the last call.
    pub(super) fn events(&self) -> Vec<Event> {
        self.receiver.try_iter().take(EVENTS_MAX).collect()
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ended = self.child.wait();
    }
}

fn read(
    stdout: std::process::ChildStdout,
    sender: &SyncSender<Event>,
    belongs: impl Fn(&Value) -> bool,
) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let Ok(alert) = serde_json::from_slice::<Value>(&line) else { continue };
        if !belongs(&alert) {
            continue;
        }
        // When nobody fetches them the newest go: the watch must not be kept waiting.
        if let Some(Err(TrySendError::Disconnected(_))) = event(&alert).map(|e| sender.try_send(e))
        {
            return;
        }
    }
}

/// An alert as an event: of the rule above its parameters, of another what it says.
fn event(alert: &Value) -> Option<Event> {
    let text = |pointer: &str| alert.pointer(pointer).and_then(Value::as_str);
    let detail = match text("/output_fields/evt.args") {
        // What follows a program's arguments are ids, limits, memory and all control groups.
        Some(args) if matches!(text("/event_type"), Some("execve" | "execveat")) => {
            args.split(" tid=").next().unwrap_or(args).to_string()
        }
        Some(args) => args.to_string(),
        None => format!("{}: {}", text("/rule")?, text("/output")?),
    };
    Some(Event {
        time: serde_json::from_value(alert.get("time")?.clone()).ok()?,
        kind: text("/event_type")?.to_string(),
        process: text("/process/name").unwrap_or("-").to_string(),
        pid: alert
            .pointer("/process/pid")
            .and_then(Value::as_u64)
            .and_then(|pid| u32::try_from(pid).ok())?,
        detail,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_alert_is_an_event() {
        let alert = json!({
            "time": "2026-11-28T17:10:27.543838299Z", "rule": "r", "output": "o", "event_type": "procexit",
            "output_fields": {"evt.args": "status=11 ret=0 sig=11(SIGSEGV)"},
            "process": {"pid": 7, "name": "srv"},
        });
        let read = event(&alert).unwrap();
        assert_eq!(
            (read.fatal_signal(), read.pid, read.process.as_str()),
            (Some("SIGSEGV"), 7, "srv")
        );
        let mut started = alert.clone();
        started["event_type"] = json!("execve");
        started["output_fields"]["evt.args"] = json!("res=0 exe=/bin/a args=b. tid=7(a) pid=7(a)");
        assert_eq!(event(&started).unwrap().detail, "res=0 exe=/bin/a args=b.");
        let mut other = alert.clone();
        other["output_fields"] = json!({});
        assert_eq!(event(&other).unwrap().detail, "r: o");
        assert!(event(&json!({})).is_none());
    }
}

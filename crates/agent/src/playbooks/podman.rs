//! The labels of Podman's containers.
//!
//! Docker keeps them in a file beside the container; Podman keeps them in a database alone, whose
//! format is its own and changed (BoltDB, then SQLite). So Podman is asked, once for a container:
//! labels do not change.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use palisade_sys::process::die_with_caller;

/// How long Podman may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often its end is looked for.
const INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of labels that are read.
const BYTES_MAX: u64 = 256 * 1024;
/// Containers that are remembered.
const CONTAINERS_MAX: usize = 1024;
/// Digits of a container's id.
const ID_DIGITS: usize = 64;

/// Labels by the container's id.
#[derive(Debug, Default)]
pub(super) struct Podman {
    known: BTreeMap<String, Vec<(String, String)>>,
}

impl Podman {
    /// The labels of the container `id`, sorted by key; `Err` says why they are not known.
    pub(super) fn labels(&mut self, id: &str) -> Result<Vec<(String, String)>, String> {
        if let Some(labels) = self.known.get(id) {
            return Ok(labels.clone());
        }
        // It becomes an argument.
        if id.len() != ID_DIGITS || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("its id is none of Podman's".into());
        }
        let labels = parse(&ask(id)?)?;
        if self.known.len() >= CONTAINERS_MAX {
            self.known.clear();
        }
        self.known.insert(id.to_string(), labels.clone());
        Ok(labels)
    }
}

/// What Podman prints of its container.
fn ask(id: &str) -> Result<String, String> {
    let mut command = Command::new("podman");
    command
        .args(["inspect", "--type", "container", "--format", "{{json .Config.Labels}}", id])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    die_with_caller(&mut command);
    let mut child = command.spawn().map_err(|error| format!("start `podman`: {error}"))?;
    // On a thread of its own: a full pipe would keep Podman from ending.
    let reader = child.stdout.take().map(|stdout| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(BYTES_MAX).read_to_end(&mut bytes);
            read.map(|_| String::from_utf8_lossy(&bytes).into_owned())
        })
    });
    let end = Instant::now() + DEADLINE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => break,
            Ok(Some(status)) => return Err(format!("`podman inspect`: {status}")),
            Ok(None) if Instant::now() >= end => {
                let _gone = child.kill();
                let _ended = child.wait();
                return Err(format!(
                    "`podman inspect` did not end within {} s",
                    DEADLINE.as_secs()
                ));
            }
            Ok(None) => std::thread::sleep(INTERVAL),
            Err(error) => return Err(format!("wait for `podman`: {error}")),
        }
    }
    match reader.map(std::thread::JoinHandle::join) {
        Some(Ok(Ok(text))) => Ok(text),
        _ => Err("`podman inspect` says nothing".into()),
    }
}

/// An object of texts; Podman prints `null` for a container without labels.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let labels: Option<BTreeMap<String, String>> = serde_json::from_str(text)
        .map_err(|error| format!("`podman inspect` prints no labels: {error}"))?;
    Ok(labels.unwrap_or_default().into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_an_object_or_nothing() {
        let pair = |key: &str, value: &str| (key.to_string(), value.to_string());
        for (text, expected) in [
            (r#"{"tier":"front","a":""}"#, Ok(vec![pair("a", ""), pair("tier", "front")])),
            ("null\n", Ok(Vec::new())),
            ("{}", Ok(Vec::new())),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        for text in ["", "[]", r#"{"a":1}"#, "<no value>"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_id_is_not_asked_for() {
        for id in ["", "web", "--help", &"z".repeat(ID_DIGITS), &"a".repeat(ID_DIGITS + 1)] {
            assert_eq!(Podman::default().labels(id), Err("its id is none of Podman's".into()));
        }
    }
}

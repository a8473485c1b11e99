//! Programs that keep credentials: `docker-credential-NAME get` (docker/docker-credential-helpers).
//!
//! The program is found through `PATH`, is given the registry on its standard input, and is
//! ended when it takes too long or says too much.

use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use palisade_base::Explain;
use serde::Deserialize;

use crate::credentials::Secret;

/// Longest answer of a helper.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Longest name of a helper.
const NAME_BYTES_MAX: usize = 64;
/// How long a helper may take: it may ask somebody for a password.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long a helper may live on after its answer.
const GRACE: Duration = Duration::from_secs(2);

/// Why a helper gave no credentials.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// A name that no helper has.
    #[error("`{0}` is not the name of a credential helper")]
    BadName(String),
    /// It cannot be started.
    #[error("start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took too long.
    #[error("`{program}` gave no answer within {} s", TIMEOUT.as_secs())]
    Timeout {
        /// The program.
        program: String,
    },
    /// It failed, or its answer is none.
    #[error("`{program}` {problem}")]
    Failed {
        /// The program.
        program: String,
        /// What happened; never a secret.
        problem: String,
    },
}

impl Explain for HelperError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadName(_) => {
                "correct `credsStore` or `credHelpers` in Docker's config.json".into()
            }
            Self::Start { program, .. } => {
                format!("install `{program}`, or remove it from Docker's config.json")
            }
            Self::Timeout { program } | Self::Failed { program, .. } => {
                format!("try it by hand: echo REGISTRY | {program} get")
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks the helper `name` for the credentials of `registry`; `None` when it has none.
pub(crate) fn get(name: &str, registry: &str) -> Result<Option<Secret>, HelperError> {
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_name) {
        return Err(HelperError::BadName(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    let program = format!("docker-credential-{name}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|source| HelperError::Start { program: program.clone(), source })?;
    let answer = converse(&mut child, registry, TIMEOUT);
    let status = end(&mut child);
    let failed = |problem: String| HelperError::Failed { program: program.clone(), problem };
    let bytes = match answer {
        Some(Ok(bytes)) => bytes,
        Some(Err(error)) => return Err(failed(format!("cannot be read: {error}"))),
        None => return Err(HelperError::Timeout { program }),
    };
    if status != Some(0) {
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        // A helper that fails answers with a message, not with a secret.
        let said: String = text.trim().chars().filter(|c| !c.is_control()).take(160).collect();
        return Err(failed(format!("failed: {said}")));
    }
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|_| failed("answered with something else than credentials".into()))?;
    Ok(Some(match answer.username.as_str() {
        // docker/cli: a helper says so of an identity token.
        "<token>" => Secret::Identity(answer.secret),
        _ => Secret::Password { name: answer.username, password: answer.secret },
    }))
}

/// Sends the question and reads the answer; `None` when the time is over.
fn converse(child: &mut Child, registry: &str, timeout: Duration) -> Option<io::Result<Vec<u8>>> {
    // A short line fits into any pipe, so that this does not block. A helper that does not
    // read it is no error yet.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(registry.as_bytes());
    }
    let stdout = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    // The thread may outlive the helper if a child of the helper keeps the pipe.
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut bytes);
        let too_long = || io::Error::other("its answer is too long");
        let answer = read.and_then(|_| {
            if bytes.len() as u64 > ANSWER_BYTES_MAX { Err(too_long()) } else { Ok(bytes) }
        });
        let _ = sender.send(answer);
    });
    receiver.recv_timeout(timeout).ok()
}

/// Waits a little for the helper to end, then ends it; its exit code.
fn end(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        match child.try_wait() {
            Ok(Some(status)) => return status.code(),
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    child.wait().ok().and_then(|status| status.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_paths() {
        for name in ["", "../x", "a/b", "a b", "$(id)", &"x".repeat(65)] {
            assert!(matches!(get(name, "r"), Err(HelperError::BadName(_))), "{name}");
        }
        let missing = get("palisade-test-missing", "r").unwrap_err();
        assert!(matches!(missing, HelperError::Start { .. }));
    }

    fn run(script: &str, timeout: Duration) -> Option<io::Result<Vec<u8>>> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answer = converse(&mut child, "registry.example", timeout);
        end(&mut child);
        answer
    }

    #[test]
    fn a_helper_that_hangs_or_floods_is_ended() {
        let soon = Duration::from_secs(30);
        assert_eq!(run("cat", soon).unwrap().unwrap(), b"registry.example");
        assert!(run("exec sleep 30", Duration::from_millis(50)).is_none());
        assert!(run("exec cat /dev/zero", soon).unwrap().is_err());
    }
}

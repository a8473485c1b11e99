//! Why a program could not be started: what the OCI runtime says of it, as something of the image,
//! of the policy or of the seccomp profile.

use palisade_harden::seccomp::denied_of_floor;
use palisade_policy::Seccomp;
use palisade_sys::process::Exit;
use serde_json::Value;

use crate::RunRequest;
use crate::error::RunError;

/// Signals by which a program ends that something broke, and not because somebody sent them.
const BROKEN: [rustix::process::Signal; 6] = {
    use rustix::process::Signal;
    [Signal::SEGV, Signal::SYS, Signal::ABORT, Signal::BUS, Signal::ILL, Signal::TRAP]
};

/// What about the program kept it from being started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartFault {
    /// It is not there.
    Missing,
    /// It is there and cannot be executed.
    Unusable,
}

impl StartFault {
    /// The exit code by which shells and Docker report it.
    pub const fn shell_code(self) -> u8 {
        match self {
            Self::Missing => 127,
            Self::Unusable => 126,
        }
    }
}

/// A program that could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NotStarted {
    pub(crate) command: String,
    pub(crate) message: String,
    pub(crate) fault: StartFault,
    pub(crate) hint: String,
}

/// The program of `process`, of which the OCI runtime says `message`; `None` if that is not about
/// the program.
pub(crate) fn not_started(process: &Value, spec: &Value, message: &str) -> Option<NotStarted> {
    // Before it starts a program the OCI runtime looks it up; `exec FILE: WHY` is the call itself.
    let (reason, is_found) = match message.strip_prefix("exec /") {
        Some(rest) => (rest.split_once(": ")?.1, true),
        None if message.contains("exec: ") => (message.rsplit("exec: ").next()?, false),
        // crun's words.
        None if message.contains("executable file") || message.contains("open executable") => {
            (message, false)
        }
        None => return None,
    };
    let command = process.pointer("/args/0").and_then(Value::as_str).unwrap_or_default();
    // Its name is said once.
    let quoted = format!("\"{command}\": ");
    let reason = reason.strip_prefix(&quoted).unwrap_or(reason).trim();
    let lower = reason.to_lowercase();
    let is_missing = lower.contains("no such file") || lower.contains("not found");
    Some(NotStarted {
        command: command.to_string(),
        message: reason.to_string(),
        fault: if is_missing { StartFault::Missing } else { StartFault::Unusable },
        hint: hint(command, &lower, is_found, process, spec),
    })
}

/// Which part of policy or image keeps the program from starting.
fn hint(command: &str, reason: &str, is_found: bool, process: &Value, spec: &Value) -> String {
    if let Some(at) = hidden_by(command, spec) {
        return format!(
            "the policy mounts an empty file system over `{at}`: take it out of `containers.tmpfs`"
        );
    }
    if reason.contains("permission denied") {
        let uid = process.pointer("/user/uid").and_then(Value::as_u64).unwrap_or(0);
        return format!(
            "user {uid} may not execute it: make it executable in the image, or name another user \
             (`containers.user`)"
        );
    }
    if reason.contains("format error") {
        return "it must be a program for this machine, or a script that begins with `#!` and an \
                interpreter"
            .into();
    }
    if is_found {
        return "it is there; check that its interpreter or its dynamic linker is in the image"
            .into();
    }
    "check that the program exists in the image and is executable".into()
}

/// The empty file system that hides what the image has at `path`.
fn hidden_by<'s>(path: &str, spec: &'s Value) -> Option<&'s str> {
    let mounts = spec.pointer("/mounts").and_then(Value::as_array)?;
    let text = |mount: &'s Value, key: &str| mount.get(key).and_then(Value::as_str);
    mounts
        .iter()
        .filter(|mount| text(mount, "type") == Some("tmpfs"))
        .filter_map(|mount| text(mount, "destination"))
        .find(|at| std::path::Path::new(path).starts_with(at) && path != *at)
}

/// The failure of the container that `request` made as `spec`, of which the OCI runtime says
/// `message`; `None` if it is about neither the program nor a profile of the user's.
pub(crate) fn failure(request: &RunRequest<'_>, spec: &Value, message: &str) -> Option<RunError> {
    let process = spec.pointer("/process").unwrap_or(&Value::Null);
    let denied = denied(spec);
    let found = not_started(process, spec, message);
    if let (Seccomp::File(profile), false) = (&request.policy.containers.seccomp, denied.is_empty())
    {
        let lower = message.to_lowercase();
        let is_refusal = ["not permitted", "not implemented"].iter().any(|it| lower.contains(it));
        if is_refusal || found.is_none() {
            let command = process.pointer("/args/0").and_then(Value::as_str).unwrap_or_default();
            return Some(RunError::Filter {
                command: command.to_string(),
                profile: profile.clone(),
                message: message.to_string(),
                denied,
            });
        }
    }
    found.map(Into::into)
}

/// The failure of a container whose first process has ended as `exit` and executed nothing.
pub(crate) fn never_executed(
    request: &RunRequest<'_>,
    spec: &Value,
    exit: Exit,
    said: &str,
) -> RunError {
    let said = said.trim();
    let ended = match exit {
        Exit::Code(code) => format!("the OCI runtime ended with exit code {code}"),
        Exit::Signal(signal) => format!("the OCI runtime was ended by signal {signal}"),
    };
    let message = if said.is_empty() { &ended } else { said };
    failure(request, spec, message).unwrap_or_else(|| {
        let command = spec.pointer("/process/args/0").and_then(Value::as_str).unwrap_or_default();
        RunError::Command {
            command: command.to_string(),
            message: message.to_string(),
            fault: StartFault::Unusable,
            hint: "see what it needs of its runtime: palisade run --explain".into(),
        }
    })
}

/// What a seccomp profile denies of the calls that the OCI runtime makes under it; none, if the
/// container has no filter.
pub(crate) fn denied(spec: &Value) -> Vec<&'static str> {
    spec.pointer("/linux/seccomp").map(denied_of_floor).unwrap_or_default()
}

/// Whether the OCI runtime failed by itself, and not because somebody ended it.
pub(crate) fn is_failure(exit: Exit) -> bool {
    match exit {
        Exit::Code(_) => true,
        Exit::Signal(signal) => BROKEN.iter().any(|broken| broken.as_raw() == signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_runtimes_say_is_about_the_program_or_not() {
        let spec = json!({
            "process": {"args": ["/bin/x", "y"], "user": {"uid": 33}},
            "mounts": [{"destination": "/bin", "type": "bind"}, {"destination": "/opt", "type": "tmpfs"}],
        });
        let check = |said: &str, expected: Option<(&str, u8, &str)>| {
            let found = not_started(&spec["process"], &spec, said);
            let found = found.as_ref().map(|it| (it.message.as_str(), it.fault.shell_code()));
            assert_eq!(found, expected.map(|it| (it.0, it.1)), "{said}");
            if let Some((_, _, hint)) = expected {
                let it = not_started(&spec["process"], &spec, said).unwrap();
                assert_eq!(it.command, "/bin/x");
                assert!(it.hint.contains(hint), "{said}: {}", it.hint);
            }
        };
        check(
            "unable to start container process: exec: \"/bin/x\": stat /bin/x: no such file or directory",
            Some(("stat /bin/x: no such file or directory", 127, "exists in the image")),
        );
        check(
            "exec failed: unable to start container process: exec: \"/bin/x\": executable file not found in $PATH",
            Some(("executable file not found in $PATH", 127, "exists in the image")),
        );
        check(
            "unable to start container process: exec: \"/bin/x\": permission denied",
            Some(("permission denied", 126, "user 33 may not")),
        );
        check(
            "executable file `/bin/x` not found: No such file or directory",
            Some(("executable file `/bin/x` not found: No such file or directory", 127, "exists")),
        );
        check(
            "open executable: Permission denied",
            Some(("open executable: Permission denied", 126, "user 33")),
        );
        check("exec /bin/x: exec format error", Some(("exec format error", 126, "`#!`")));
        check(
            "exec /bin/x: no such file or directory",
            Some(("no such file or directory", 127, "interpreter")),
        );
        check("open exec fifo /proc/self/fd/5: operation not permitted", None);
        check("cannot start a container that has stopped", None);
        check("", None);
    }

    #[test]
    fn an_empty_file_system_over_the_program_is_named() {
        let spec = json!({"mounts": [{"destination": "/opt", "type": "tmpfs"}]});
        assert_eq!(hidden_by("/opt/x/y", &spec), Some("/opt"));
        assert_eq!(hidden_by("/opt", &spec), None);
        assert_eq!(hidden_by("/optional", &spec), None);
        assert_eq!(hidden_by("/opt/x", &json!({})), None);
    }

    #[test]
    fn who_was_asked_to_end_did_not_fail() {
        assert!(is_failure(Exit::Code(2)) && is_failure(Exit::Signal(11)));
        assert!(!is_failure(Exit::Signal(9)) && !is_failure(Exit::Signal(15)));
    }

    #[test]
    fn a_container_without_a_filter_is_denied_nothing() {
        assert_eq!(denied(&json!({})), [""; 0]);
        let spec = json!({"linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["openat"], "action": "SCMP_ACT_ERRNO"}],
        }}});
        assert_eq!(denied(&spec), ["openat"]);
    }
}

//! Running another program in a container, with no more privilege than its first.

use std::os::fd::AsFd as _;
use std::path::Path;

use palisade_sys::namespace::in_private_mounts;
use palisade_sys::process::{Exit, become_subreaper, has_executed};
use palisade_sys::signals::{SIGWINCH, SignalPipe, wait_readable};
use palisade_sys::{ProcessHandle, facts, mount};
use serde_json::{Value, json};

use crate::Runtime;
use crate::create::give_terminal;
use crate::error::{ManageError, RuncError};
use crate::io::{Pumps, Stdio, Wired};
use crate::manage::Status;
use crate::record::Record;
use crate::rootfs::STAGE_BYTES;
use crate::start::{is_failure, not_started};

/// Bytes of a container's spec that are read.
const SPEC_BYTES_MAX: u64 = 16 << 20;

/// A program to run in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Variables besides the container's, `NAME=value`.
    pub env: Vec<String>,
    /// Folder to start in, if not the container's.
    pub working_dir: Option<String>,
    /// Whether the program gets a terminal of its own, to which `stdin` and `stdout` of the
    /// streams are connected.
    pub terminal: bool,
    /// Whether this process's signals go to the program while it runs.
    pub forward_signals: bool,
}

impl Runtime {
    /// Runs a program in the container `text` and returns how it ended.
    ///
    /// The process gets the hardened `process` of the container's own spec (user,
    /// capabilities, no-new-privileges, limits) with another command, so that `exec` is
    /// no way around the policy; the OCI runtime adds the container's seccomp filter.
    pub fn exec(
        &self,
        text: &str,
        request: &ExecRequest,
        stdio: Stdio,
    ) -> Result<Exit, ManageError> {
        let found = self.find(text)?;
        let container = &found.record.container;
        if found.status != Status::Running {
            return Err(ManageError::NotRunning(container.name.clone()));
        }
        let bundle = self.paths.bundle(&container.id);
        let spec_path = bundle.join("config.json");
        let io = |action, path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| ManageError::Io { action, path, source }
        };
        let bytes = std::fs::File::open(&spec_path)
            .and_then(|file| palisade_base::read_bounded(file, "container spec", SPEC_BYTES_MAX))
            .map_err(io("read", &spec_path))?;
        let damaged = || ManageError::Damaged(container.name.clone());
        let spec: Value = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
        let mut process = exec_process(&spec, request).ok_or_else(damaged)?;
        if !self.may_raise_rlimits() {
            lower_rlimits(&mut process, &facts::rlimits());
        }
        let rootfs = spec.pointer("/root/path").and_then(Value::as_str).map(Path::new);
        let Some(rootfs) = rootfs.filter(|_| self.rootless.is_some()) else {
            return self.exec_process(&found.record, &process, &spec, request, stdio);
        };
        // The OCI runtime starts in the root file system's place, which is there for an ordinary
        // user only as long as it is mounted.
        in_private_mounts(|| {
            let stage = rootfs.parent().unwrap_or(Path::new("/mnt"));
            mount::mount_tmpfs(stage, STAGE_BYTES, 0o711)
                .map_err(std::io::Error::other)
                .and_then(|()| std::fs::create_dir(rootfs))
                .map_err(io("prepare", rootfs))?;
            self.exec_process(&found.record, &process, &spec, request, stdio)
        })
        .map_err(io("make a mount namespace for", &bundle))?
    }

    /// Has the OCI runtime start `process` in the container of `record`.
    fn exec_process(
        &self,
        record: &Record,
        process: &Value,
        spec: &Value,
        request: &ExecRequest,
        stdio: Stdio,
    ) -> Result<Exit, ManageError> {
        let container = &record.container;
        let bundle = self.paths.bundle(&container.id);
        let io = |action, path: &std::path::Path| {
            let path = path.to_path_buf();
            move |source| ManageError::Io { action, path, source }
        };
        let folder = tempfile::Builder::new()
            .prefix("exec-")
            .tempdir_in(&bundle)
            .map_err(io("create", &bundle))?;
        let (file, log) = (folder.path().join("process.json"), folder.path().join("runc.log"));
        std::fs::write(&file, process.to_string()).map_err(io("write", &file))?;

        let failed = |source| self.runc.io("exec", source);
        let signals = match (request.forward_signals, request.terminal) {
            (false, _) => None,
            (true, false) => Some(SignalPipe::install().map_err(failed)?),
            (true, true) => Some(SignalPipe::install_on_terminal().map_err(failed)?),
        };
        let mut call = self.runc.call(&self.paths.runc_state(), &log);
        // It goes away when it has started the program: nobody stands between that and us, and what
        // it says itself is its own.
        let pid_file = folder.path().join("pid");
        call.args(["exec", "--detach", "--process"]).arg(&file).arg("--pid-file").arg(&pid_file);
        let run = &record.run;
        let host = |id: u32| crate::share::outer(run.ids, run.root_is_user, id);
        let wired = if request.terminal {
            stdio.wire_terminal(&self.paths, None)
        } else {
            stdio.wire(host(run.uid), host(run.gid), None)
        };
        let wired = wired.map_err(io("make the streams of", &bundle))?;
        let Wired { stdin, stdout, stderr, mut pumps, console } = wired;
        if let Some(console) = &console {
            call.arg("--console-socket").arg(console.path());
        }
        call.arg(&container.id).stdin(stdin).stdout(stdout).stderr(stderr);
        // The program's parent ends at once; its exit comes to us.
        become_subreaper().map_err(failed)?;
        if let Err(error) = self.runc.finish(call, "exec", &log) {
            return Err(match &error {
                RuncError::Failed { message, .. } => not_started(process, spec, message)
                    .map_or_else(|| error.into(), ManageError::from),
                _ => error.into(),
            });
        }
        let pid = std::fs::read_to_string(&pid_file).map_err(failed)?;
        let pid = pid.trim().parse().map_err(|_| failed(std::io::ErrorKind::InvalidData.into()))?;
        let handle = ProcessHandle::open(pid).map_err(failed)?;
        pumps.connect(console).map_err(failed)?;
        pumps.begin(pid).map_err(failed)?;
        forward(&handle, signals.as_ref(), &pumps).map_err(failed)?;
        // Asked of the process before it is collected.
        let has_begun = has_executed(pid) != Some(false);
        let carried = pumps.finish();
        let exit = handle.reap().map_err(failed)?;
        if !has_begun && is_failure(exit) {
            let message = carried.said.trim().to_string();
            return Err(match not_started(process, spec, &message) {
                Some(found) => found.into(),
                None => RuncError::Failed {
                    program: self.runc.version().name.clone(),
                    operation: "exec",
                    message,
                }
                .into(),
            });
        }
        Ok(exit)
    }
}

/// Passes signals on to the program until it ends.
fn forward(
    handle: &ProcessHandle,
    signals: Option<&SignalPipe>,
    pumps: &Pumps,
) -> std::io::Result<()> {
    loop {
        let mut fds = vec![handle.as_fd()];
        fds.extend(signals.map(|signals| signals.as_fd()));
        if wait_readable(&fds, None)? == Some(0) {
            return Ok(());
        }
        match signals.map(SignalPipe::take).transpose()?.flatten() {
            Some(SIGWINCH) => pumps.resize(),
            Some(signal) => {
                handle.signal(signal)?;
            }
            None => {}
        }
    }
}

/// The container's own `process` with the command of `request`.
fn exec_process(spec: &Value, request: &ExecRequest) -> Option<Value> {
    let mut process = spec.pointer("/process")?.clone();
    let object = process.as_object_mut()?;
    if request.command.is_empty() {
        return None;
    }
    object.insert("args".into(), json!(request.command));
    object.insert("terminal".into(), json!(false));
    // The container's own terminal may have had another size.
    object.remove("consoleSize");
    if let Some(folder) = &request.working_dir {
        object.insert("cwd".into(), json!(folder));
    }
    let env = object.entry("env").or_insert_with(|| json!([])).as_array_mut()?;
    env.extend(request.env.iter().filter(|variable| variable.contains('=')).map(|v| json!(v)));
    if request.terminal {
        give_terminal(&mut process);
    }
    Some(process)
}

/// Lowers the container's limits of processes to the caller's hard ones (`own`: name, soft,
/// hard), which it could not exceed.
fn lower_rlimits(process: &mut Value, own: &[(&str, u64, u64)]) {
    let list = process.get_mut("rlimits").and_then(Value::as_array_mut);
    for limit in list.into_iter().flatten().filter_map(Value::as_object_mut) {
        let kind = limit.get("type").and_then(Value::as_str);
        let Some((.., most)) = own.iter().find(|(name, ..)| Some(*name) == kind) else { continue };
        for key in ["soft", "hard"] {
            if limit.get(key).and_then(Value::as_u64).is_some_and(|value| value > *most) {
                limit.insert(key.into(), json!(most));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_enters_with_lower_limits_keeps_them() {
        let mut process = json!({"rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX},
            {"type": "RLIMIT_OTHER", "soft": 9, "hard": 9},
        ]});
        lower_rlimits(&mut process, &[("RLIMIT_NOFILE", 7, 2048), ("RLIMIT_CORE", 1, 2)]);
        let expected = json!({"rlimits": [
            {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 2},
            {"type": "RLIMIT_OTHER", "soft": 9, "hard": 9},
        ]});
        assert_eq!(process, expected);
        lower_rlimits(&mut json!({}), &[("RLIMIT_CORE", 1, 2)]);
    }

    #[test]
    fn exec_keeps_everything_but_the_command() {
        let spec = json!({"process": {
            "args": ["a"], "env": ["A=1"], "cwd": "/", "noNewPrivileges": true,
            "user": {"uid": 5}, "capabilities": {"effective": []}, "terminal": true,
        }});
        let request = ExecRequest {
            command: vec!["sh".into()],
            env: vec!["B=2".into(), "HOST".into()],
            working_dir: Some("/tmp".into()),
            ..ExecRequest::default()
        };
        let process = exec_process(&spec, &request).unwrap();
        assert_eq!(
            process,
            json!({
                "args": ["sh"], "env": ["A=1", "B=2"], "cwd": "/tmp", "noNewPrivileges": true,
                "user": {"uid": 5}, "capabilities": {"effective": []}, "terminal": false,
            })
        );
        assert_eq!(exec_process(&spec, &ExecRequest::default()), None);
        assert_eq!(exec_process(&json!({}), &request), None);
    }
}

//! Running a container in the foreground, or starting it and going away.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use palisade_harden::{Change, Refusal};
use palisade_image::Image;
use palisade_policy::Policy;
use palisade_sys::ProcessHandle;
use palisade_sys::process::{Exit, become_subreaper, has_executed};
use palisade_sys::signals::{SIGWINCH, SignalPipe, wait_readable};
use serde_json::Value;

use crate::Runtime;
use crate::create::Created;
use crate::drift::{DriftGate, DriftReport};
use crate::error::{RunError, RuncError};
use crate::io::{Pumps, Stdio};
use crate::network::{NetworkName, Published};
use crate::record::{LogFile, Record};
use crate::start;

/// How often it is looked at whether a guard of programs still stands.
const GUARD_LOOK: Duration = Duration::from_millis(200);

/// How long a process may take to be gone after the OCI runtime has said that it is.
const DEAD: Duration = Duration::from_secs(1);

/// What to run, and how.
pub struct RunRequest<'a> {
    /// The image, opened.
    pub image: &'a Image,
    /// What the user called it.
    pub reference: String,
    /// The container's name; one is made up if there is none.
    pub name: Option<String>,
    /// Replaces the image's `CMD`.
    pub command: Vec<String>,
    /// Whether the image's `ENTRYPOINT` is left out.
    pub clear_entrypoint: bool,
    /// Variables besides the image's, `NAME=value`.
    pub env: Vec<String>,
    /// Folder to start in.
    pub working_dir: Option<String>,
    /// How it is confined.
    pub policy: &'a Policy,
    /// Content of the seccomp profile that the policy names by file.
    pub seccomp_document: Option<serde_json::Value>,
    /// Ports of the host that lead to it, when the policy gives it a bridge.
    pub published: Vec<Published>,
    /// The network that it shares with other containers, when the policy gives it a bridge.
    pub network: Option<NetworkName>,
    /// Judges the image before anything is made of it.
    pub admit: &'a (dyn Fn(&Image) -> Result<(), Refusal> + Sync),
    /// Whether the program gets a terminal of its own, to which `stdin` and `stdout` of the
    /// streams are connected; not for what is detached.
    pub terminal: bool,
    /// Whether to return once it runs. Output should then go to files.
    pub detach: bool,
    /// The file that the streams' outputs are, for those who ask later.
    pub log: Option<LogFile>,
    /// Whether this process's signals go to the container while it runs.
    pub forward_signals: bool,
    /// Whether programs that are not the image's are refused while the container runs; not with
    /// `detach`, for the process that answers must stay.
    pub deny_drift: bool,
    /// How long the program has after a termination signal before it is killed.
    pub stop_grace: Duration,
    /// Told what the user should know, as it comes: of the making before the program starts.
    pub warn: &'a (dyn Fn(&str) + Sync),
    /// Told of the container as soon as its program runs.
    pub started: &'a (dyn Fn(&Record, &[Change]) + Sync),
}

impl std::fmt::Debug for RunRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunRequest")
            .field("reference", &self.reference)
            .field("name", &self.name)
            .field("command", &self.command)
            .field("policy", &self.policy.name)
            .finish_non_exhaustive()
    }
}

/// What became of a container.
#[derive(Debug)]
pub struct Outcome {
    /// Its record.
    pub record: Record,
    /// How its program ended; `None` when it was detached.
    pub exit: Option<Exit>,
    /// Whether the kernel killed a process of it for want of memory.
    pub out_of_memory: bool,
    /// What hardening changed in its spec.
    pub changes: Vec<Change>,
    /// Output that the caller's writers did not take, in bytes.
    pub output_bytes_lost: u64,
    /// What was refused of its programs, where that was asked for.
    pub drift: Option<DriftReport>,
    /// From the call to the running program.
    pub start_time: Duration,
}

impl Runtime {
    /// Runs the container of `request` to its end and removes it, or returns once it runs
    /// when `request.detach` is set.
    ///
    /// Dead containers of earlier calls are collected first. Whatever fails, and whatever
    /// signal arrives, nothing of the container is left.
    pub fn run(&self, request: &RunRequest<'_>, stdio: Stdio) -> Result<Outcome, RunError> {
        let begun = Instant::now();
        if request.deny_drift && self.rootless.is_some() {
            let what = "ask the kernel about every program that starts (--deny-drift)";
            let hint = "leave out --deny-drift, and `deny_drift` of the policy; a read-only root file system and `noexec` on \
                        what is writable keep most programs out (`read_only_root: true`)";
            return Err(RunError::NeedsRoot { what: what.into(), hint });
        }
        let warn = |warnings: Vec<String>| warnings.iter().for_each(|text| (request.warn)(text));
        warn(self.runc.warnings());
        warn(self.collect_garbage().failures());
        let caught = match (request.forward_signals, request.terminal) {
            (false, _) => None,
            (true, false) => Some(SignalPipe::install()),
            (true, true) => Some(SignalPipe::install_on_terminal()),
        };
        let signals = caught
            .transpose()
            .map_err(RunError::io("catch signals for", self.paths.state.as_path()))?;
        if !request.detach {
            // The program's parent (the OCI runtime) ends at once; its exit comes to us.
            become_subreaper().map_err(RunError::io("become reaper for", &self.paths.state))?;
        }
        let (created, guard) = self.create(request, stdio, signals.as_ref())?;
        let Created { record, init, hardened, pumps, layers } = created;
        warn(hardened.warnings);
        // Its program has not been executed, and its mounts are there.
        let drift = (request.deny_drift && !request.detach)
            .then(|| {
                let upper = self.paths.written(&record.container.id).join("upper");
                DriftGate::start(init.pid(), &layers, &upper)
            })
            .transpose()?;
        if let Err(error) = self.start(&record) {
            return Err(not_begun(request, &hardened.spec, &init, pumps, error));
        }
        let start_time = begun.elapsed();
        (request.started)(&record, &hardened.changes);
        if request.detach {
            guard.disarm();
            return Ok(Outcome {
                record,
                exit: None,
                out_of_memory: false,
                changes: hardened.changes,
                output_bytes_lost: 0,
                drift: None,
                start_time,
            });
        }
        let grace = request.stop_grace;
        self.wait(&record, &init, signals.as_ref(), grace, &pumps, drift.as_ref())?;
        // Asked of the process before it is collected.
        let has_begun = has_executed(init.pid()) != Some(false);
        let carried = pumps.finish();
        let exit = init
            .reap()
            .map_err(RunError::io("wait for", &self.paths.record(&record.container.id)))?;
        if !has_begun && start::is_failure(exit) {
            return Err(start::never_executed(request, &hardened.spec, exit, &carried.said));
        }
        let drift = drift.map(DriftGate::finish);
        let group = self.hierarchies.group(&self.group_path(&record.container.id))?;
        let out_of_memory = group.n_oom_kills().is_some_and(|n| n > 0);
        warn(guard.finish());
        let changes = hardened.changes;
        Ok(Outcome {
            record,
            exit: Some(exit),
            out_of_memory,
            changes,
            output_bytes_lost: carried.bytes_lost,
            drift,
            start_time,
        })
    }

    /// Lets the program of a created container go.
    fn start(&self, record: &Record) -> Result<(), RunError> {
        let id = &record.container.id;
        let log = self.paths.bundle(id).join("runc.log");
        let mut call = self.runc.call(&self.paths.runc_state(), &log);
        call.arg("start").arg(id);
        Ok(self.runc.finish(call, "start", &log)?)
    }

    /// Waits for the program's end and passes signals on meanwhile.
    ///
    /// A program that is the first of its pid namespace ignores signals that it does not
    /// handle, so a second interrupt, or the end of the grace time, kills the container.
    fn wait(
        &self,
        record: &Record,
        init: &ProcessHandle,
        signals: Option<&SignalPipe>,
        grace: Duration,
        pumps: &Pumps,
        drift: Option<&DriftGate>,
    ) -> Result<(), RunError> {
        let path = self.paths.record(&record.container.id);
        let mut kill_at: Option<Instant> = None;
        let mut is_guarded = drift.is_some();
        loop {
            let mut fds = vec![init.as_fd()];
            fds.extend(signals.map(|signals| signals.as_fd()));
            let left = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
            let look = is_guarded.then_some(GUARD_LOOK);
            let left = left.into_iter().chain(look).min();
            let ready = wait_readable(&fds, left).map_err(RunError::io("wait for", &path))?;
            if ready == Some(0) {
                return Ok(());
            }
            if is_guarded && !drift.is_some_and(DriftGate::stands) {
                // What was promised cannot be held any more.
                is_guarded = false;
                self.kill_group(&record.container.id)?;
            }
            if kill_at.is_some_and(|at| Instant::now() >= at) {
                self.kill_group(&record.container.id)?;
                kill_at = None;
            }
            let taken = signals.map(SignalPipe::take).transpose();
            let Some(signal) = taken.map_err(RunError::io("read signals for", &path))?.flatten()
            else {
                continue;
            };
            if signal == SIGWINCH {
                pumps.resize();
                continue;
            }
            if ends(signal) && kill_at.is_some() {
                self.kill_group(&record.container.id)?;
                continue;
            }
            init.signal(signal).map_err(RunError::io("signal", &path))?;
            if ends(signal) {
                kill_at = Some(Instant::now() + grace);
            }
        }
    }

    pub(crate) fn kill_group(&self, id: &str) -> Result<(), palisade_sys::cgroup::CgroupError> {
        let group = self.hierarchies.group(&self.group_path(id))?;
        if self.rootless.is_some() && !group.exists() {
            return self.kill_init(id);
        }
        group.kill(crate::cleanup::KILL_DEADLINE).map(|_| ())
    }

    /// Kills a container by its first process, with which all of its pid namespace end: where no
    /// control group holds it.
    pub(crate) fn kill_init(&self, id: &str) -> Result<(), palisade_sys::cgroup::CgroupError> {
        let record = Record::read(&self.paths.record(id)).ok();
        let of_record = record.and_then(|it| it.container.init_pid.zip(it.run.init_start_ticks));
        let state = self.paths.runc_state().join(id);
        let of_state = || crate::rootless::init_of_state(&state);
        let Some((pid, ticks)) = of_record.or_else(of_state) else { return Ok(()) };
        let io = |source| palisade_sys::cgroup::CgroupError::Io {
            action: "kill the first process of",
            path: self.paths.record(id),
            source,
        };
        let Ok(init) = palisade_sys::ProcessHandle::open(pid) else { return Ok(()) };
        // Asked once it is held: until then the number may have become another process's.
        if palisade_sys::process::start_ticks(pid) != Some(ticks) {
            return Ok(());
        }
        init.signal(rustix::process::Signal::KILL.as_raw()).map_err(io)?;
        let waited = crate::cleanup::KILL_DEADLINE;
        if init.wait_ended(waited).map_err(io)? {
            return Ok(());
        }
        let path = self.paths.record(id).display().to_string();
        Err(palisade_sys::cgroup::CgroupError::Deadline { path, what: "killed", waited })
    }
}

/// The failure of a start: what the process said before it died says more than that it is gone.
fn not_begun(
    request: &RunRequest<'_>,
    spec: &Value,
    init: &ProcessHandle,
    pumps: Pumps,
    error: RunError,
) -> RunError {
    let RunError::Runc(RuncError::Failed { message, .. }) = &error else { return error };
    // Of one that lives, the streams have no end.
    let said = match init.wait_ended(DEAD) {
        Ok(true) => pumps.finish().said,
        _ => String::new(),
    };
    let message = if said.trim().is_empty() { message } else { said.trim() };
    start::failure(request, spec, message).unwrap_or(error)
}

/// Whether the sender of this signal expects the program to end.
fn ends(signal: i32) -> bool {
    use rustix::process::Signal;
    [Signal::INT, Signal::TERM, Signal::QUIT, Signal::HUP].iter().any(|s| s.as_raw() == signal)
}

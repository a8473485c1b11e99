//! `palisade profile record`.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use palisade_bpf::recorder::{Recorder, TARGETS_MAX};
use palisade_profile::Record;
use palisade_sys::signals::{SignalPipe, wait_readable};

use super::observe;
use crate::cli;
use crate::commands::Context;
use crate::commands::container::find;
use crate::commands::image::named_stores;
use crate::exit::{Exit, Failure, OrExit as _};

/// How often the end of what is recorded is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// Processes of a container that shares the host's pid namespace.
const PROCESSES_MAX: usize = 65_536;

/// What is recorded.
pub(super) enum Subject {
    /// Containers: name, first process.
    Containers(Vec<(String, u32)>),
    /// A command of ours.
    Command(Child),
}

/// Records.
pub(super) fn record(context: &Context<'_>, args: &cli::ProfileRecord) -> Result<Exit, Failure> {
    let machine = observe::machine()?;
    let recorder = Recorder::load(&observe::plan(machine)).or_exit(Exit::Incomplete)?;
    let signals = catch()?;
    let mut subject = follow(context, args, &recorder)?;
    let name = args.name.clone().unwrap_or_else(|| default_name(args));
    context.terminal.progress(&format!("recording {name}; SIGINT ends it"));
    let seconds = args.seconds.map(Duration::from_secs);
    let code = wait(&recorder, &mut subject, &signals, seconds)?;
    let n = match &subject {
        Subject::Containers(found) => found.len(),
        Subject::Command(_) => 1,
    };
    let from_the_start = matches!(subject, Subject::Command(_));
    let mut merged: Option<Record> = None;
    for target in 0..u32::try_from(n).unwrap_or(0) {
        let seen = recorder.read(target);
        let one =
            observe::to_record(&name, machine, &seen, recorder.sees_capabilities(), from_the_start);
        match &mut merged {
            Some(merged) => merged.merge(&one).or_exit(Exit::Incomplete)?,
            None => merged = Some(one),
        }
    }
    let Some(record) = merged.filter(|record| !record.calls.is_empty()) else {
        return Err(Failure::message(
            Exit::Incomplete,
            "nothing was seen of what was to be recorded",
        )
        .with_hint("let it work while it is recorded: a process that only waits makes no calls"));
    };
    for gap in &record.gaps {
        context.terminal.error(&format!("warning: {gap}\n"));
    }
    if let Some(code) = code.filter(|code| *code != 0) {
        context.terminal.error(&format!("warning: the command ended with exit code {code}\n"));
    }
    context.terminal.progress(&summary(&record));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.record.json")));
    super::write(context, Some(&path), &record.to_json())?;
    Ok(if record.gaps.is_empty() { Exit::Clean } else { Exit::Partial })
}

pub(super) fn catch() -> Result<SignalPipe, Failure> {
    use anyhow::Context as _;
    Ok(SignalPipe::install().context("catch signals")?)
}

fn default_name(args: &cli::ProfileRecord) -> String {
    let text = args.containers.first().or_else(|| args.command.first());
    let text = text.map_or("workload", String::as_str);
    let base = Path::new(text).file_name().and_then(|name| name.to_str()).unwrap_or("workload");
    base.to_string()
}

fn follow(
    context: &Context<'_>,
    args: &cli::ProfileRecord,
    recorder: &Recorder,
) -> Result<Subject, Failure> {
    if !args.command.is_empty() {
        return start(recorder, &args.command, false).map(Subject::Command);
    }
    if args.containers.len() > TARGETS_MAX as usize {
        let message = format!("{} containers, {TARGETS_MAX} at most", args.containers.len());
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("record them in groups, and merge the records"));
    }
    let stores = named_stores(context, &args.store)?;
    let mut found = Vec::new();
    for (target, name) in (0..).zip(&args.containers) {
        let (facts, pid) = find(context, name, &stores)?;
        follow_container(recorder, target, pid)?;
        let shown = if facts.container.name.is_empty() { &facts.id } else { &facts.container.name };
        found.push((shown.clone(), pid));
    }
    Ok(Subject::Containers(found))
}

/// Follows a container by its pid namespace, or, where that is the host's, by its processes.
fn follow_container(recorder: &Recorder, target: u32, pid: u32) -> Result<(), Failure> {
    use anyhow::Context as _;
    let inode =
        |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/pid")).map(|found| found.ino());
    let theirs = inode(&pid.to_string()).with_context(|| format!("look at process {pid}"))?;
    let ours = inode("self").context("look at this process")?;
    if theirs != ours {
        let inode = u32::try_from(theirs).unwrap_or(0);
        return recorder.follow_namespace(target, inode).or_exit(Exit::Incomplete);
    }
    for pid in descendants(pid) {
        recorder.follow_process(target, pid).or_exit(Exit::Incomplete)?;
    }
    Ok(())
}

/// A process and those that it started, as far as they stand in `/proc` now.
fn descendants(root: u32) -> BTreeSet<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        text.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pairs: Vec<(u32, u32)> = pids
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .take(PROCESSES_MAX)
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut out = BTreeSet::from([root]);
    loop {
        let before = out.len();
        pairs.retain(|(pid, parent)| !(out.contains(parent) && out.insert(*pid)));
        if out.len() == before {
            return out;
        }
    }
}

/// Starts a command whose processes are followed from its exec on: for a moment our own children
/// are.
pub(super) fn start(
    recorder: &Recorder,
    command: &[String],
    to_stderr: bool,
) -> Result<Child, Failure> {
    use anyhow::Context as _;
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Failure::message(Exit::Usage, "no command is given"))?;
    let own = std::process::id();
    recorder.follow_children(0, own).or_exit(Exit::Incomplete)?;
    let mut call = Command::new(program);
    call.args(arguments);
    if to_stderr {
        // Our own result goes to standard output.
        call.stdout(std::io::stderr());
    }
    let child = call.spawn();
    recorder.leave(own);
    Ok(child.with_context(|| format!("start `{program}`"))?)
}

/// Waits for the end of what is recorded. Returns the exit code of a command.
pub(super) fn wait(
    recorder: &Recorder,
    subject: &mut Subject,
    signals: &SignalPipe,
    limit: Option<Duration>,
) -> Result<Option<i32>, Failure> {
    use anyhow::Context as _;
    use std::os::fd::AsFd as _;
    let begun = Instant::now();
    let mut code = None;
    loop {
        match subject {
            Subject::Containers(found) => {
                if found.iter().all(|(_, pid)| !Path::new(&format!("/proc/{pid}")).exists()) {
                    return Ok(code);
                }
            }
            Subject::Command(child) => {
                if let Some(status) = child.try_wait().context("wait for the command")? {
                    code = status.code();
                    if recorder.followed().is_empty() {
                        return Ok(code);
                    }
                }
            }
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            end(subject, None);
            return Ok(code);
        }
        wait_readable(&[signals.as_fd()], Some(LOOK)).context("wait for signals")?;
        if let Some(signal) = signals.take().context("read signals")? {
            // A command that runs gets the signal, and its last calls are recorded as well.
            if !end(subject, Some(signal)) {
                return Ok(code);
            }
        }
    }
}

/// Asks a running command to end. False if there is none.
fn end(subject: &mut Subject, signal: Option<i32>) -> bool {
    let Subject::Command(child) = subject else { return false };
    if !matches!(child.try_wait(), Ok(None)) {
        return false;
    }
    let signal = signal.unwrap_or(rustix::process::Signal::TERM.as_raw());
    palisade_sys::ProcessHandle::open(child.id()).and_then(|handle| handle.signal(signal)).is_ok()
}

/// One line for people.
pub(super) fn summary(record: &Record) -> String {
    let network = &record.network;
    format!(
        "{}: {} calls, {} refused, {} capabilities, {} files written or changed, {} programs, {} addresses",
        record.name,
        record.calls.len(),
        record.refused.len(),
        record.capabilities.len(),
        record.files.written.union(&record.files.changed).count(),
        record.files.executed.len(),
        network.bound.len() + network.connected.len(),
    )
}

//! `palisade profile record`.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use palisade_bpf::recorder::{Hierarchy, Recorder, TARGETS_MAX};
use palisade_profile::Record;
use palisade_sys::cgroup::{Hierarchies, Layout};
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
/// Control groups of one container.
const GROUPS_MAX: usize = 1024;
/// What is said of a container that ran before its recording.
const RAN_BEFORE: &str =
    "the container ran before the recording began: what it did until then is not in it";

/// What is recorded.
pub(super) enum Subject {
    /// Containers, each with its first process; and what cannot be followed of them.
    Containers { pids: Vec<u32>, gaps: BTreeSet<String> },
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
    let (n, gaps) = match &subject {
        Subject::Containers { pids, gaps } => (pids.len(), gaps.clone()),
        Subject::Command(_) => (1, BTreeSet::new()),
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
    let Some(mut record) = merged.filter(|record| !record.calls.is_empty()) else {
        return Err(Failure::message(
            Exit::Incomplete,
            "nothing was seen of what was to be recorded",
        )
        .with_hint("let it work while it is recorded: a process that only waits makes no calls"));
    };
    record.gaps.extend(gaps);
    let is_whole = record.gaps.is_empty();
    if !from_the_start {
        // It was asked for, so the command has done what it should; whoever reads the record is told.
        record.gaps.insert(RAN_BEFORE.into());
    }
    for gap in &record.gaps {
        context.terminal.error(&format!("warning: {gap}\n"));
    }
    if let Some(code) = code.filter(|code| *code != 0) {
        context.terminal.error(&format!("warning: the command ended with exit code {code}\n"));
    }
    context.terminal.progress(&summary(&record));
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.record.json")));
    super::write(context, Some(&path), &record.to_json())?;
    Ok(if is_whole { Exit::Clean } else { Exit::Partial })
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
    let mut pids = Vec::new();
    let mut gaps = BTreeSet::new();
    for (target, name) in (0..).zip(&args.containers) {
        let (facts, pid) = find(context, name, &stores)?;
        if pids.contains(&pid) {
            let message = format!("`{name}` names a container that another name stands for");
            return Err(
                Failure::message(Exit::Usage, message).with_hint("name each container once")
            );
        }
        gaps.extend(follow_container(recorder, target, &facts.full_id, pid)?);
        pids.push(pid);
    }
    Ok(Subject::Containers { pids, gaps })
}

/// Follows a container by its control group, in which those that join it are as well, whatever
/// namespaces it shares with others; without one, by a pid namespace of its own; and by the
/// processes that are there now, whose children may leave both. Returns what cannot be followed.
fn follow_container(
    recorder: &Recorder,
    target: u32,
    id: &str,
    pid: u32,
) -> Result<Option<String>, Failure> {
    use anyhow::Context as _;
    let mut pids = descendants(pid);
    let mut gap = None;
    if let Some((hierarchy, folders)) = group_of(id, pid) {
        for folder in folders {
            // A group that is gone has nobody in it.
            let Ok(found) = std::fs::metadata(&folder) else { continue };
            recorder.follow_group(target, hierarchy, found.ino()).or_exit(Exit::Incomplete)?;
            let members = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(members.lines().filter_map(|line| line.parse::<u32>().ok()));
        }
    } else {
        let inode =
            |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/pid")).map(|found| found.ino());
        let theirs = inode(&pid.to_string()).with_context(|| format!("look at process {pid}"))?;
        if theirs == inode("self").context("look at this process")? {
            gap = Some(
                "the container has neither a control group nor a pid namespace of its own that are \
                 seen here: what joins it later is not in the record"
                    .to_string(),
            );
        } else {
            let inode = u32::try_from(theirs).unwrap_or(0);
            recorder.follow_namespace(target, inode).or_exit(Exit::Incomplete)?;
        }
    }
    for pid in pids {
        recorder.follow_process(target, pid).or_exit(Exit::Incomplete)?;
    }
    Ok(gap)
}

/// The folders of a container's control group and of those below it, in the one hierarchy that all
/// containers of this machine are looked for in.
fn group_of(id: &str, pid: u32) -> Option<(Hierarchy, Vec<PathBuf>)> {
    let all = Hierarchies::detect().ok()?;
    let group = all.of_process(pid).ok()?;
    // On a hybrid machine a container need not be in the unified hierarchy.
    let (hierarchy, folder) = match all.layout() {
        Layout::V2 => (Hierarchy::Unified, group.unified()?),
        Layout::V1 | Layout::Hybrid => (Hierarchy::Pids, group.controller("pids")?),
    };
    // The topmost that names the container: never one that it shares with others.
    let own = folder.ancestors().filter(|folder| {
        folder.file_name().is_some_and(|name| name.to_string_lossy().contains(id))
    });
    let mut folders = vec![own.last()?.to_path_buf()];
    let mut next = 0;
    while let Some(folder) = folders.get(next) {
        let below = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let room = GROUPS_MAX.saturating_sub(folders.len());
        let below: Vec<PathBuf> = below.take(room).map(|entry| entry.path()).collect();
        folders.extend(below);
        next += 1;
    }
    Some((hierarchy, folders))
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
    child.with_context(|| format!("start `{program}`")).map_err(|error| {
        Failure::from(error).with_hint("check that the program exists and may be executed")
    })
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
            Subject::Containers { pids, .. } => {
                if pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
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

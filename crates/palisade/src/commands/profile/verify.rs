//! `palisade profile verify`: a workload under a profile, in log mode and then enforcing.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use palisade_bpf::recorder::{Observed, Recorder};
use palisade_harden::seccomp::from_document;
use palisade_profile::Record;
use palisade_profile::filter::{Action, Filter, in_log_mode, in_log_mode_holding};
use palisade_profile::syscalls::Machine;
use palisade_profile::tailor::{FALLBACKS, FLOOR_SPARED};
use palisade_sys::signals::{SignalPipe, wait_readable};
use serde_json::{Value, json};

use super::hold::Holder;
use super::place::{Place, Places};
use super::{observe, record};
use crate::cli::{self, ListFormat};
use crate::commands::Context;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// How often new places are looked up while their process lives.
const LOOK: Duration = Duration::from_millis(20);
/// Time for the container to end after its exercise.
const END: Duration = Duration::from_secs(20);
/// Places up to which they are looked up at the end of each process; beyond, that would hold the
/// workload up, and they are looked up now and then.
const HELD_PLACES_MAX: usize = 2048;
const ENOSYS: u32 = 38;
/// How runC names itself before it becomes the program.
const RUNTIME_COMM: &str = "runc:[";
/// What it does under the filter to hand over whom the filter asks, and in log mode alone: it says
/// which descriptor that is, and waits until it was taken.
const HANDOVER: [&str; 2] = ["read", "write"];

/// A call that the profile does not allow.
struct Miss {
    call: String,
    arguments: [u64; 2],
    n: u64,
    comm: String,
    place: Place,
    action: Action,
    rule: Option<usize>,
}

/// How one run went.
struct Run {
    mode: &'static str,
    command: Option<ExitStatus>,
    exercise: Option<ExitStatus>,
    misses: Vec<Miss>,
    refused: BTreeSet<String>,
}

impl Run {
    /// A program that ends by the signal that we sent has ended as it was asked to.
    fn succeeded(&self, was_asked_to_end: bool) -> bool {
        let code = self.command.and_then(|status| status.code());
        let command = match code {
            Some(0) => true,
            Some(code) => was_asked_to_end && code == 128 + rustix::process::Signal::TERM.as_raw(),
            None => false,
        };
        command && self.exercise.is_none_or(|status| status.success())
    }
}

/// Verifies.
pub(super) fn verify(context: &Context<'_>, args: &cli::ProfileVerify) -> Result<Exit, Failure> {
    use anyhow::Context as _;
    let machine = observe::machine()?;
    let section = section(context, args)?;
    let filter = Filter::parse(&section).or_exit(Exit::Usage)?;
    let folder = tempfile::tempdir().context("create a folder for the profiles")?;
    let signals = record::catch()?;
    let mut runs = Vec::new();
    let mut holder = Holder::new().context("listen for the container's filter")?;
    let relaxed = match &holder {
        Some(holder) => in_log_mode_holding(&section, &holder.path().to_string_lossy()),
        None => in_log_mode(&section),
    };
    for (mode, section) in [("log", relaxed), ("enforce", section.clone())] {
        let path = folder.path().join(format!("{mode}.json"));
        std::fs::write(&path, section.to_string())
            .with_context(|| format!("write `{}`", path.display()))?;
        context.terminal.progress(&format!("running in mode {mode}"));
        let run = run(context, args, mode, &path, (&filter, machine), &signals, holder.take())?;
        // A workload that fails where nothing is refused says nothing about the profile.
        let failed = !run.succeeded(args.exercise.is_some());
        runs.push(run);
        if failed {
            break;
        }
    }
    report(context, args, &runs)
}

/// The profile's section, or the one made of a record.
fn section(context: &Context<'_>, args: &cli::ProfileVerify) -> Result<Value, Failure> {
    let (bytes, value) = super::read_json(&args.profile)?;
    if value.get("schema").is_some() {
        let record = Record::parse(&bytes).or_exit(Exit::Usage)?;
        return Ok(super::export::make(context, &record, false)?.1.section);
    }
    let policy = context.load_policy(&args.policy)?.policy;
    from_document(&value, std::env::consts::ARCH, &policy.containers.capabilities)
        .or_exit(Exit::Usage)
}

fn run(
    context: &Context<'_>,
    args: &cli::ProfileVerify,
    mode: &'static str,
    profile: &Path,
    (filter, machine): (&Filter, Machine),
    signals: &SignalPipe,
    mut holder: Option<Holder>,
) -> Result<Run, Failure> {
    use anyhow::Context as _;
    let mut plan = observe::plan(machine);
    let plain = filter.allowed_plainly(machine);
    plan.allowed = Some(plain.iter().filter_map(|name| machine.number(name)).collect());
    plan.watched = machine
        .calls()
        .filter(|(_, name)| !plain.contains(name))
        .filter_map(|(number, name)| Some((number, filter.watched(name)?)))
        .collect();
    let recorder = Recorder::load(&plan).or_exit(Exit::Incomplete)?;
    let name = format!("verify-{}-{mode}", std::process::id());
    let mut child = record::start(&recorder, &command(context, args, &name, profile)?, true)?;
    let mut exercise = match &args.exercise {
        Some(text) => Some(
            Command::new("/bin/sh")
                .args(["-c", text])
                .env("PALISADE_CONTAINER", &name)
                .env("PALISADE_MODE", mode)
                .spawn()
                .with_context(|| format!("start `{text}`"))?,
        ),
        None => None,
    };
    let mut places = Places::new(machine);
    let mut run =
        Run { mode, command: None, exercise: None, misses: Vec::new(), refused: BTreeSet::new() };
    let mut asked_at: Option<Instant> = None;
    let mut looked_at = Instant::now();
    while run.command.is_none() {
        let mut fds = vec![signals.as_fd()];
        fds.extend(holder.iter().flat_map(Holder::fds));
        wait_readable(&fds, Some(LOOK)).context("wait for signals")?;
        if let Some(holder) = &mut holder {
            let look = &mut || {
                if places.n_looked_at() < HELD_PLACES_MAX {
                    places.look(&recorder.sites(0));
                }
            };
            holder.serve(look).context("answer the container's filter")?;
        }
        if let Some(signal) = signals.take().context("read signals")? {
            ask(&child, signal);
        }
        if looked_at.elapsed() >= LOOK {
            places.look(&recorder.sites(0));
            looked_at = Instant::now();
        }
        run.command = child.try_wait().context("wait for the container")?;
        if run.exercise.is_none()
            && let Some(exercise) = &mut exercise
        {
            run.exercise = exercise.try_wait().context("wait for the exercise")?;
        }
        if run.exercise.is_some() && asked_at.is_none() {
            ask(&child, rustix::process::Signal::TERM.as_raw());
            asked_at = Some(Instant::now());
        }
        if asked_at.is_some_and(|at| at.elapsed() > END) {
            ask(&child, rustix::process::Signal::INT.as_raw());
            asked_at = Some(Instant::now());
        }
    }
    if let Some(mut exercise) = exercise
        && run.exercise.is_none()
    {
        // The container ended before it: what it still finds out is its result.
        run.exercise = Some(exercise.wait().context("wait for the exercise")?);
    }
    let seen = recorder.read(0);
    places.look(&recorder.sites(0));
    run.misses = misses(&seen, filter, machine, &places);
    run.refused = seen.refused.iter().map(|number| machine.name_of(*number)).collect();
    Ok(run)
}

/// Our own `run`, with the profile in the place of the policy's.
fn command(
    context: &Context<'_>,
    args: &cli::ProfileVerify,
    name: &str,
    profile: &Path,
) -> Result<Vec<String>, Failure> {
    use anyhow::Context as _;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let own = std::env::current_exe().context("find this program")?;
    let mut out = vec![
        text(&own),
        "--quiet".into(),
        "--data-dir".into(),
        text(&context.global.data_dir),
        "--run-dir".into(),
        text(&context.global.run_dir),
        "run".into(),
        "--policy".into(),
        args.policy.clone(),
        "--seccomp".into(),
        text(profile),
        "--name".into(),
        name.into(),
    ];
    if let Some(program) = &args.entrypoint {
        out.extend(["--entrypoint".into(), program.clone()]);
    }
    match (&args.image, &args.rootfs) {
        (_, Some(folder)) => out.extend(["--rootfs".into(), text(folder)]),
        (image, None) => out.extend(image.clone()),
    }
    if !args.command.is_empty() {
        out.push("--".into());
        out.extend(args.command.iter().cloned());
    }
    Ok(out)
}

fn ask(child: &Child, signal: i32) {
    // It may have ended meanwhile, which the next look finds.
    let _ended = palisade_sys::ProcessHandle::open(child.id()).and_then(|p| p.signal(signal));
}

fn misses(seen: &Observed, filter: &Filter, machine: Machine, places: &Places) -> Vec<Miss> {
    let mut out: Vec<Miss> = Vec::new();
    for site in &seen.sites {
        let call = machine.name_of(site.number);
        let mut arguments = [None; 6];
        if let Some(watched) = filter.watched(&call) {
            for (place, value) in watched.iter().zip(site.arguments) {
                if let Some(slot) = place.and_then(|place| arguments.get_mut(usize::from(place))) {
                    *slot = Some(value);
                }
            }
        }
        let decision = filter.decide(&call, &arguments);
        if decision.action == Action::Allow {
            continue;
        }
        let (action, rule) = (decision.action, decision.rule);
        let place = places.of(site);
        let same = |miss: &&mut Miss| {
            miss.call == call && miss.place == place && miss.arguments == site.arguments
        };
        if let Some(miss) = out.iter_mut().find(same) {
            miss.n += site.n;
            continue;
        }
        let comm = site.comm.clone();
        out.push(Miss { call, arguments: site.arguments, n: site.n, comm, place, action, rule });
    }
    out
}

/// Whether a call is left out on purpose and nobody misses it, as the enforcing run shows: it has
/// another behind it, runC's own run-time makes it before the program starts and goes on, or runC
/// makes it because we hold the processes.
fn falls_back(miss: &Miss) -> bool {
    let is_in = |calls: &[(&str, &str)]| calls.iter().any(|(call, _)| *call == miss.call);
    let is_runtime = miss.comm.starts_with(RUNTIME_COMM);
    let is_spared = is_in(FALLBACKS) || is_runtime && is_in(FLOOR_SPARED);
    let is_ours = is_runtime && HANDOVER.contains(&miss.call.as_str());
    miss.action == Action::Errno(ENOSYS) && is_spared || is_ours
}

fn report(context: &Context<'_>, args: &cli::ProfileVerify, runs: &[Run]) -> Result<Exit, Failure> {
    let asked = args.exercise.is_some();
    let passed = runs.len() == 2
        && runs.iter().all(|run| run.succeeded(asked) && run.misses.iter().all(falls_back));
    let rule = |miss: &Miss| match miss.rule {
        _ if falls_back(miss) => format!("{} (goes on without)", miss.action),
        Some(at) => format!("{} (rule {at})", miss.action),
        None => format!("{} (default)", miss.action),
    };
    if args.format == ListFormat::Json {
        let runs: Vec<Value> = runs
            .iter()
            .map(|run| {
                let misses: Vec<Value> = run
                    .misses
                    .iter()
                    .map(|miss| {
                        json!({
                            "call": miss.call, "arguments": miss.arguments, "times": miss.n,
                            "process": miss.comm, "place": miss.place.at, "caller": miss.place.caller,
                            "action": miss.action.to_string(), "rule": miss.rule,
                            "falls_back": falls_back(miss),
                        })
                    })
                    .collect();
                json!({
                    "mode": run.mode, "succeeded": run.succeeded(asked),
                    "exit_code": run.command.and_then(|status| status.code()),
                    "exercise_exit_code": run.exercise.and_then(|status| status.code()),
                    "misses": misses, "refused": run.refused,
                })
            })
            .collect();
        let document = json!({"schema": "palisade.dev/profile-verification/v1", "passed": passed, "runs": runs});
        context.terminal.result(&format!("{document:#}\n"))?;
        return Ok(if passed { Exit::Clean } else { Exit::Refused });
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .flat_map(|run| {
            run.misses.iter().map(|miss| {
                vec![
                    run.mode.to_string(),
                    miss.call.clone(),
                    miss.n.to_string(),
                    rule(miss),
                    miss.comm.clone(),
                    miss.place.at.clone(),
                    miss.place.caller.clone().unwrap_or_else(|| "-".into()),
                ]
            })
        })
        .collect();
    let header = ["MODE", "CALL", "TIMES", "WOULD ANSWER", "PROCESS", "PLACE", "CALLED FROM"];
    let text = match args.format {
        ListFormat::Tsv => tsv(&rows),
        _ if rows.is_empty() => String::new(),
        _ => columns(&header, &rows),
    };
    context.terminal.result(&text)?;
    for run in runs {
        let word = if run.succeeded(asked) { "passed" } else { "failed" };
        let refused: Vec<&str> = run.refused.iter().map(String::as_str).collect();
        let refused = match refused.as_slice() {
            [] => String::new(),
            names => format!("; refused: {}", names.join(" ")),
        };
        context.terminal.progress(&format!(
            "{}: the workload {word}, {} calls missed{refused}",
            run.mode,
            run.misses.len()
        ));
    }
    Ok(if passed { Exit::Clean } else { Exit::Refused })
}

//! `palisade watch`: the agent, wired to this machine.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use palisade_agent::agent::OnNotice;
use palisade_agent::detector::Started;
use palisade_agent::enforce::{Enforcer, Enforcing};
use palisade_agent::output::FalcoTime;
use palisade_agent::pushdown::concerns_containers_only;
use palisade_agent::recorder::{Choice, Continuous, FILES_MAX, OnAlert, RecorderHealth, Recording};
use palisade_agent::reload::{Cause, FILES_WATCHED_MAX, FileWatch, Handle, Reloader};
use palisade_agent::status::Mode;
use palisade_agent::{
    Agent, AgentError, Detector, Notice, ResponseMeans, Resumed, Settings, output,
};
use palisade_bpf::Options;
use palisade_model::Alert;
use palisade_policy::{Policy, Sink, response_for, standing};
use palisade_respond::network::BpfNetwork;
use palisade_rules::{LoadOptions, RuleSet};
use palisade_sensor::identity::HostPaths;
use palisade_sys::signals::{SIGHUP, SignalPipe};
use palisade_sys::{Hierarchies, schedule};

pub(super) mod control;
mod guards;
mod inputs;
mod inventories;
mod playbooks;

use self::inputs::Inputs;
use super::Context;
use super::means;
use crate::cli::{self, RespondMode, Scheduling, WatchFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::notify::ServiceManager;
use crate::terminal::Terminal;

/// How often signals and the time are looked at.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(20);
/// Levels of control groups below which no engine puts a container.
const GROUP_DEPTH_MAX: usize = 8;

/// Watches until a signal, the end of `--duration`, or a failure.
pub(crate) fn watch(context: &Context<'_>, args: &cli::Watch) -> Result<Exit, Failure> {
    if let Some(cli::WatchAction::Reload(args)) = &args.action {
        return control::reload(context, args);
    }
    let inputs = Inputs::new(args)?;
    let loaded = context.load_policy(&args.policy)?;
    // What the kernel can decide beforehand is read off the conditions' trees.
    let load = LoadOptions { keep_expressions: true, ..LoadOptions::default() };
    let mut rules = inputs.sources(&loaded.policy)?.load_all(context, &load)?;
    // What changes from here on is a change.
    let files =
        if args.no_auto_reload { None } else { watch_files(context, &inputs.files(&loaded)) };
    let mode = mode(&loaded.source, args.respond);
    let policy = inputs.take_policy(loaded.policy);
    let enforcement = super::enforce::prepare(context, args, &policy, &mut rules);
    let rules = Arc::new(rules);

    if !args.host && !concerns_containers_only(&rules) {
        context.terminal.progress(
            "only containers are watched; some rules may concern the host as well (see --host)",
        );
    }

    // The sensor first: where it cannot start, nothing is written.
    let enforcer = super::enforce::begin(context, enforcement, &policy, &rules)?;
    let options = Options {
        only_containers: !args.host,
        enforcement: enforcer.as_ref().and_then(Enforcer::tables),
        ..Options::default()
    };
    tell_unrecorded(context, args, &rules);
    let manager = ServiceManager::of_environment();
    let (mut detector, started) =
        Detector::start(rules, &options, host_paths(context)).or_exit(Exit::Incomplete)?;
    super::sealing::Settings::keep(&context.global.data_dir, &policy.evidence)?;
    let means = means::for_agent(context, args.evidence_key.as_deref(), args.evidence_memory)?;
    let signals = SignalPipe::install().context("catch signals")?;
    tell_limits(context, &started);
    if args.strict && !(started.refused.is_empty() && started.limited.is_empty()) {
        return Err(Failure::message(Exit::Incomplete, "not every rule can see what it asks for")
            .with_hint("leave --strict out to watch with the others"));
    }
    let sinks = inputs.sinks(&policy)?;
    let (mut agent, resumed) = open_agent(context, args, policy, sinks, means)?;
    agent.set_mode(mode);
    if let Some(recording) = recording(&args.recording)
        && let Some(desk) = detector.record(recording).or_exit(Exit::Incomplete)?
    {
        agent.record_alerts(desk);
    }
    let playbooks = playbooks::begin(context, args, &mut agent)?;
    if let Some(desk) = inventories::begin(context, args)? {
        agent.watch_inventories(desk);
    }
    report_resumed(context, &resumed);

    sweep_isolations(context);

    let loader = detector.loader().or_exit(Exit::Incomplete)?;
    let read = inputs.clone();
    let reloader = Reloader::start(
        Box::new(move || read.read()),
        Some(loader),
        env!("CARGO_PKG_VERSION"),
        files,
    )
    .context("start the thread that reloads")?;
    let reloads = reloader.handle();
    agent.reload_by(reloader);
    let _socket = control::listen(context, &mut agent, reloads.clone());

    let name = inputs.planned(|policy| policy.name.clone()).unwrap_or_default();
    context.terminal.progress(&format!(
        "watching with {} rules; policy `{name}`, response {}",
        started.n_rules,
        match args.respond {
            RespondMode::Off => "off",
            RespondMode::DryRun => "dry run",
            RespondMode::On => "on",
        }
    ));
    let enforces = enforcer.as_ref().is_some_and(Enforcer::is_on);
    let mut source = Enforcing::new(detector, enforcer);
    if enforces || args.respond == RespondMode::On {
        source = source.heeding(&context.global.data_dir.join(standing::FILE));
    }
    if let Some(file) = &args.ready_file {
        palisade_base::fs::write_atomic(file, b"ready\n", 0o644)
            .with_context(|| format!("write `{}`", file.display()))?;
    }

    manager.ready(&format!("watching with {} rules", started.n_rules));
    let mut source = manager.watching(source);

    let stop = AtomicBool::new(false);
    let format = args.format;
    let terminal = context.terminal;
    let mut on_notice = |notice: Notice<'_>| {
        match &notice {
            Notice::Alert { alert, incident }
                if args.respond == RespondMode::DryRun && !incident.is_empty() =>
            {
                inputs.planned(|plan| say_what_would_be_done(terminal, plan, alert, incident));
            }
            Notice::Reloaded(report) => {
                inputs.settle(report.ok);
                manager.reloaded(report);
            }
            _ => {}
        }
        show(terminal, format, &notice);
    };
    let duration = args.duration.map(Duration::from_secs);
    let status = std::thread::scope(|scope| {
        scope.spawn(|| wait_for_end(&signals, duration, &reloads, &stop));
        scope.spawn(|| guards::keep(terminal, &inputs, args.respond, &stop));
        if let Some(runner) = playbooks {
            scope.spawn(|| runner.run(&mut playbooks::WatchTools { context }));
        }
        take_precedence(context, args.scheduling);
        let status = agent.run(&mut source, &stop, &mut on_notice as OnNotice<'_>);
        // However the loop ended, the thread that waits for signals ends too.
        stop.store(true, Ordering::Relaxed);
        status
    })
    .or_exit(Exit::Incomplete)?;
    manager.stopping();
    if args.stats {
        let text = serde_json::to_string_pretty(&status).context("write the figures")?;
        context.terminal.error(&format!("{text}\n"));
    }
    let recorder = status.source.recorder.unwrap_or_default();
    if args.recording.file.is_some() || args.recording.on_alert.is_some() {
        context.terminal.progress(&format!(
            "recorded {} events; {} recordings of alerts",
            recorder.n_records, recorder.n_files
        ));
    }
    let is_recorded = tell_missing(context, &recorder);
    let is_remembered = tell_forgotten(context, status.source.n_memories_forgotten);
    let lost: u64 = status.source.losses.values().sum();
    if lost > 0 {
        let classes: Vec<String> =
            status.source.losses.iter().map(|(class, n)| format!("{n} {class}")).collect();
        context.terminal.error(&format!("warning: events were lost: {}\n", classes.join(", ")));
        return Ok(Exit::Partial);
    }
    Ok(if is_recorded && is_remembered { Exit::Clean } else { Exit::Partial })
}

/// Puts this thread, which reads the events, before those that make them.
///
/// Each child of a fork bomb has a fair share of its own, so one bomb within its limits starves a
/// reader that has but one, and what it hides is lost (`make flood`).
fn take_precedence(context: &Context<'_>, scheduling: Scheduling) {
    if scheduling == Scheduling::Realtime
        && let Err(error) = schedule::set(schedule::Class::RealTime)
    {
        context.terminal.progress(&format!(
            "events are read without precedence ({error}): a fork bomb can starve the sensor; give it CAP_SYS_NICE, or say --scheduling fair"
        ));
    }
}

/// Says that stateful rules gave up memories; false when they did.
pub(super) fn tell_forgotten(context: &Context<'_>, n_forgotten: u64) -> bool {
    if n_forgotten > 0 {
        context.terminal.error(&format!(
            "warning: stateful rules gave up {n_forgotten} memories for want of room, and may have missed something\n"
        ));
    }
    n_forgotten == 0
}

/// Says what recordings lack; false when they lack something.
fn tell_missing(context: &Context<'_>, recorder: &RecorderHealth) -> bool {
    if recorder.n_evicted_early > 0 {
        context.terminal.error(&format!(
            "warning: {} events left the memory of recordings before their time; see --record-memory\n",
            recorder.n_evicted_early
        ));
    }
    if recorder.n_not_recorded > 0 {
        let n = recorder.n_not_recorded;
        context.terminal.error(&format!("warning: {n} events are in no recording\n"));
    }
    recorder.n_not_recorded == 0 && recorder.n_failures == 0
}

/// What is to be recorded, if anything.
fn recording(flags: &cli::Recording) -> Option<Recording> {
    const MIB: u64 = 1 << 20;
    let on_alert = flags.on_alert.as_ref().map(|folder| OnAlert {
        // Alerts name the file, and are read from elsewhere.
        folder: std::path::absolute(folder).unwrap_or_else(|_| folder.clone()),
        before: Duration::from_secs(flags.before),
        after: Duration::from_secs(flags.after),
        ring_bytes: usize::try_from(flags.memory * MIB).unwrap_or(usize::MAX),
        files_bytes: flags.size * MIB,
        files_max: FILES_MAX,
        choice: match flags.alerts {
            cli::Recorded::All => Choice::All,
            cli::Recorded::Marked => Choice::Marked,
        },
    });
    let continuous = flags
        .file
        .as_ref()
        .map(|file| Continuous { file: file.clone(), files_bytes: flags.size * MIB });
    let writer = concat!("palisade ", env!("CARGO_PKG_VERSION")).to_string();
    let is_wanted = on_alert.is_some() || continuous.is_some();
    is_wanted.then_some(Recording { writer, on_alert, continuous })
}

/// Rules that ask for a recording are named when none is made.
fn tell_unrecorded(context: &Context<'_>, args: &cli::Watch, rules: &RuleSet) {
    if args.recording.on_alert.is_some() {
        return;
    }
    let marked: Vec<&str> = rules
        .rules()
        .iter()
        .filter(|rule| rule.enabled && rule.capture)
        .map(|rule| rule.name.as_str())
        .collect();
    if let Some(first) = marked.first() {
        context.terminal.error(&format!(
            "warning: {} rule(s) ask for a recording (`capture: true`), the first is \"{first}\"; see --record-on-alert\n",
            marked.len()
        ));
    }
}

/// Where engines keep what is known of their containers, and `palisade run` with this run folder.
fn host_paths(context: &Context<'_>) -> HostPaths {
    HostPaths {
        palisade_containers: context.global.run_dir.join("containers"),
        ..HostPaths::default()
    }
}

fn open_agent(
    context: &Context<'_>,
    args: &cli::Watch,
    policy: Policy,
    sinks: Vec<Sink>,
    means: ResponseMeans,
) -> Result<(Agent, Resumed), Failure> {
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let tool = concat!("palisade ", env!("CARGO_PKG_VERSION"));
    let mut settings = Settings::new(&context.global.data_dir, hostname.trim(), tool);
    settings.fold_window = Duration::from_secs(args.fold_seconds);
    settings.sinks = sinks;
    settings.host_paths = host_paths(context);
    Agent::open(settings, policy, means).map_err(|error| {
        let is_configuration = matches!(error, AgentError::Delivery(_));
        let exit = if is_configuration { Exit::Usage } else { Exit::Incomplete };
        Failure::from_explained(error, exit)
    })
}

/// Removes the pinned network cuts of containers that are gone; their programs went with
/// their control groups.
fn sweep_isolations(context: &Context<'_>) {
    let Some(tree) = Hierarchies::detect().ok().and_then(|h| h.unified().map(Path::to_path_buf))
    else {
        return;
    };
    if let Err(error) = BpfNetwork::default().sweep(&|id| holds_group(&tree, id, GROUP_DEPTH_MAX)) {
        context.terminal.error(&format!("warning: sweep pinned network cuts: {error}\n"));
    }
}

/// Whether a control group below `folder` is named after `id`. What cannot be read counts
/// as holding it: a cut is taken away only from what is certainly gone.
fn holds_group(folder: &Path, id: &str, depth: usize) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return true };
    entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).any(
        |entry| {
            entry.file_name().to_string_lossy().contains(id)
                || (depth > 0 && holds_group(&entry.path(), id, depth - 1))
        },
    )
}

fn report_resumed(context: &Context<'_>, resumed: &Resumed) {
    if resumed.n_alerts + resumed.n_plans > 0 {
        context.terminal.progress(&format!(
            "resuming: {} alert(s) and {} response(s) of an earlier run were not finished",
            resumed.n_alerts, resumed.n_plans
        ));
    }
    let damage = [
        (resumed.n_incidents_unreadable, "incident file(s) could not be read"),
        (resumed.alerts.n_unreadable, "line(s) of the alert journal could not be read"),
        (resumed.alerts.n_chain_breaks, "break(s) in the alert journal: something was changed"),
        (resumed.actions.n_unreadable, "line(s) of the action journal could not be read"),
        (resumed.actions.n_chain_breaks, "break(s) in the action journal: something was changed"),
    ];
    for (n, what) in damage.iter().filter(|(n, _)| *n > 0) {
        context.terminal.error(&format!("warning: {n} {what}\n"));
    }
}

/// Sets `stop` at a signal that ends, or when `duration` has passed; SIGHUP reloads.
fn wait_for_end(
    signals: &SignalPipe,
    duration: Option<Duration>,
    reloads: &Handle,
    stop: &AtomicBool,
) {
    let began = std::time::Instant::now();
    let had_terminal = std::io::stderr().is_terminal();
    while !stop.load(Ordering::Relaxed) {
        let signalled = match signals.take() {
            Ok(None) => false,
            // A terminal that was closed sends the same signal, and then it is the end.
            Ok(Some(signal))
                if signal == SIGHUP && had_terminal == std::io::stderr().is_terminal() =>
            {
                reloads.ask(Cause::Signal, None);
                false
            }
            _ => true,
        };
        if signalled || duration.is_some_and(|duration| began.elapsed() >= duration) {
            stop.store(true, Ordering::Relaxed);
        }
        std::thread::sleep(SIGNAL_INTERVAL);
    }
}

fn say_what_would_be_done(terminal: Terminal, policy: &Policy, alert: &Alert, incident: &str) {
    let Some(rule) = response_for(policy, alert) else { return };
    match palisade_respond::plan(rule, alert, incident) {
        Ok(plan) => terminal.error(&format!("dry run: {plan}")),
        Err(refusal) => terminal.error(&format!("dry run: nothing would be done: {refusal}\n")),
    }
}

/// Says which probes are refused, and which rules see less than they say for it.
fn tell_limits(context: &Context<'_>, started: &Started) {
    for (program, reason) in &started.refused {
        context.terminal.error(&format!("warning: probe {program} is left out: {reason}\n"));
    }
    if !started.unserved.is_empty() {
        context.terminal.error(&format!(
            "warning: no probe for {}: rules about them cannot fire\n",
            started.unserved.join(", ")
        ));
    }
    control::show_limited(context.terminal, &started.limited);
}

/// What those are told who ask the running watch.
fn mode(policy_source: &str, respond: RespondMode) -> Mode {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Mode {
        version: env!("CARGO_PKG_VERSION").into(),
        kernel: kernel.trim().into(),
        policy_source: policy_source.into(),
        respond: match respond {
            RespondMode::Off => "off",
            RespondMode::DryRun => "dry-run",
            RespondMode::On => "on",
        }
        .into(),
    }
}

/// Watches the files that rules and policy come from, if the kernel lets us.
fn watch_files(context: &Context<'_>, files: &[PathBuf]) -> Option<FileWatch> {
    if files.len() > FILES_WATCHED_MAX {
        context.terminal.error(&format!(
            "warning: only the first {FILES_WATCHED_MAX} of {} files are watched for changes\n",
            files.len()
        ));
    }
    FileWatch::new(files)
        .inspect_err(|error| {
            context.terminal.error(&format!(
                "warning: files are not watched for changes: {error}; SIGHUP reloads all the same\n"
            ));
        })
        .ok()
}

/// Alerts are results; everything else is progress.
fn show(terminal: Terminal, format: WatchFormat, notice: &Notice<'_>) {
    match notice {
        Notice::Alert { alert, .. } => {
            let _ = terminal.result(&(render(format, alert) + "\n"));
        }
        Notice::Folded(folded) => terminal.progress(&format!(
            "{} more of alert {} (rule \"{}\")",
            folded.n_repeats, folded.alert, folded.rule
        )),
        Notice::Response { plan } => terminal.progress(&format!("response: {plan}")),
        Notice::Action { incident, outcome } => terminal.progress(&format!(
            "{incident}: {} {:?} in {:.2} ms: {}",
            outcome.action.as_str(),
            outcome.result,
            outcome.duration_ns as f64 / 1e6,
            outcome.detail
        )),
        Notice::Order { incident, text } => {
            terminal.progress(&format!("{incident}: {}", text.trim_end()));
        }
        Notice::Incident { incident } => terminal.progress(&format!(
            "incident {} is {}",
            incident.id,
            super::respond::state_name(incident.state)
        )),
        Notice::Reloaded(report) => control::show_reload(terminal, report),
        Notice::Problem(problem) => terminal.error(&format!("warning: {problem}\n")),
    }
}

/// An alert in the wanted form, without a final line end.
fn render(format: WatchFormat, alert: &Alert) -> String {
    match format {
        WatchFormat::Text => output::text(alert),
        WatchFormat::Json => output::json(alert),
        WatchFormat::Falco => output::falco_text(alert, FalcoTime::OfDay),
        WatchFormat::FalcoJson => output::falco_json(alert, FalcoTime::OfDay),
        WatchFormat::Ocsf => super::sink::ocsf(alert),
    }
}

/// The folder of evidence bundles.
pub(crate) fn evidence_folder(data: &Path) -> std::path::PathBuf {
    data.join("evidence")
}

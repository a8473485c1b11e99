//! `palisade probe`: a container is started, watched and asked everything that it should refuse.
//!
//! The container, its folders and the watch are the probe's own and go with it. One that runs is
//! probed only when it was named twice, and is never started anew.

mod events;
mod ground;
mod keeper;
mod running;

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_model::Target;
use palisade_probe::openapi::{self, Api};
use palisade_probe::report::{Gate, Report};
use palisade_probe::{Settings, Subject};
use palisade_sys::signals::{SIGHUP, SIGINT, SIGTERM, SignalPipe};

use super::Context;
use crate::cli::{self, ProbeFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use ground::Ground;
use running::Running;

/// Name of the policy that is taken when none is named, as reports show it.
const DEFAULT_POLICY: &str = "restricted, without its demands on the image";

/// Carries out `palisade probe`.
pub(crate) fn probe(context: &Context<'_>, args: &cli::Probe) -> Result<Exit, Failure> {
    if let Some(folder) = &args.keep {
        return Ok(keeper::keep(folder));
    }
    let settings = settings(args)?;
    let started = Timestamp::now();
    // Not the end of this process at once: its container and its watch would be left behind.
    let interruption = Interruption::catch()?;
    let mut progress = |text: &str| context.terminal.progress(text);
    let (found, policy) = if let Some(subject) = running(context, args, &interruption)? {
        (palisade_probe::probe(&subject, &settings, &mut progress), None)
    } else {
        let ground = Ground::new(context, args, &interruption)?;
        let found = palisade_probe::probe(&ground, &settings, &mut progress);
        if found.ports.is_empty() && !ground.pulse().is_running {
            return Err(ended(&ground.log()));
        }
        (found, Some(args.policy.as_deref().unwrap_or(DEFAULT_POLICY)))
    };
    let report = Report {
        target: args.target(),
        policy,
        started,
        ended: Timestamp::now(),
        seed: args.seed,
        gate: args.fail_on,
        probe: &found,
    };
    let text = match args.format {
        ProbeFormat::Text => report.text(),
        ProbeFormat::Json => report.json().context("write the report")?,
        ProbeFormat::Junit => report.junit(),
        ProbeFormat::Html => report.html(),
    };
    context.terminal.result_to(args.output.as_deref(), &text)?;
    if interruption.has_come() {
        return Err(Failure::message(Exit::Incomplete, "the probe was interrupted")
            .with_hint("the report says what was looked at until then"));
    }
    Ok(match report.gate() {
        Some(Gate::Refused) => Exit::Refused,
        Some(Gate::NotEvaluated) => Exit::Incomplete,
        None if found.ports.is_empty() && found.attempts.is_empty() => Exit::Incomplete,
        Some(Gate::Passed) | None => Exit::Clean,
    })
}

/// Whether a signal has asked for an end.
pub(super) struct Interruption {
    signals: SignalPipe,
    has_come: Cell<bool>,
}

impl Interruption {
    fn catch() -> Result<Self, Failure> {
        let signals = SignalPipe::install().context("catch signals")?;
        Ok(Self { signals, has_come: Cell::new(false) })
    }

    pub(super) fn has_come(&self) -> bool {
        if matches!(self.signals.take(), Ok(Some(SIGINT | SIGTERM | SIGHUP))) {
            self.has_come.set(true);
        }
        self.has_come.get()
    }
}

fn ended(log: &str) -> Failure {
    let last: Vec<&str> = log.lines().rev().take(5).collect();
    let said: Vec<&str> = last.into_iter().rev().collect();
    let said = if said.is_empty() { "nothing".to_string() } else { said.join("\n  ") };
    let message = format!("the container's program ends before it listens; it printed:\n  {said}");
    Failure::message(Exit::Incomplete, message).with_hint(
        "give it what it needs (--env, -- ARGUMENTS), or a policy under which it can work (--policy baseline)",
    )
}

fn settings(args: &cli::Probe) -> Result<Settings, Failure> {
    let mut settings = Settings {
        deadline: Duration::from_millis(args.patience),
        whole: Duration::from_secs(args.deadline),
        settle: Duration::from_secs(args.settle),
        seed: args.seed,
        n_requests: usize::try_from(args.requests).unwrap_or(usize::MAX),
        paths: args.paths.clone(),
        openapi: None,
        openapi_path: None,
        attempts: !args.no_attempts,
        now: Timestamp::now(),
    };
    let is_path =
        |path: &String| path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if let Some(wrong) = args.paths.iter().find(|path| !is_path(path)) {
        return Err(Failure::message(Exit::Usage, format!("`{wrong}` is no path of a server"))
            .with_hint("a path begins with / and has no blanks"));
    }
    if let Some(name) = &args.openapi {
        let file = Path::new(name);
        if is_path(name) && !file.is_file() {
            settings.openapi_path = Some(name.clone());
        } else {
            let shown = || format!("read the description `{name}`");
            let limit = openapi::BYTES_MAX as u64;
            let read = || -> anyhow::Result<String> {
                let file = std::fs::File::open(file).with_context(shown)?;
                let bytes =
                    palisade_base::read_bounded(file, "description", limit).with_context(shown)?;
                String::from_utf8(bytes).with_context(shown)
            };
            let text = read().map_err(|error| {
                Failure::from(error).with_hint(
                    "give a file of UTF-8, or a path of the server: --openapi /openapi.json",
                )
            })?;
            settings.openapi = Some(Api::parse(&text).or_exit(Exit::Usage)?);
        }
    }
    Ok(settings)
}

/// The container that runs, if one is meant. An image of the same name is not: what may break is
/// named twice.
fn running<'a>(
    context: &Context<'_>,
    args: &cli::Probe,
    interruption: &'a Interruption,
) -> Result<Option<Running<'a>>, Failure> {
    let name = match args.target().parse::<Target>() {
        Ok(Target::Container(name)) => Some(name),
        _ => None,
    };
    let Some(consent) = &args.consent else {
        return match name {
            Some(name) => Err(unasked(&name)),
            None => Ok(None),
        };
    };
    let name = name.unwrap_or_else(|| args.target().to_string());
    if *consent != name {
        return Err(unasked(&name));
    }
    let has_command = !args.command.is_empty() || args.entrypoint.is_some() || !args.env.is_empty();
    if has_command || args.policy.is_some() || !args.key.is_empty() {
        let message = "a container that runs is taken as it is";
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("leave out --policy, --key, --env, --entrypoint and the arguments"));
    }
    Running::new(context, &name, interruption).map(Some)
}

fn unasked(name: &str) -> Failure {
    let message = format!("a probe may break container `{name}`, which is not its own");
    Failure::message(Exit::Usage, message)
        .with_hint(format!("if it may break: palisade probe --yes-probe {name} {name}"))
}

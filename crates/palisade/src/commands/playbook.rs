//! `palisade playbook`: check, rehearse, run, answer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use palisade_agent::control::protocol::{Request, Response};
use palisade_agent::control::{Client, ClientError};
use palisade_base::Timestamp;
use palisade_model::incident::ActionResult;
use palisade_model::{Alert, Incident};
use palisade_policy::playbook::{Act, LoadedPlaybook, StepKind, TriggerFacts, load_file};
use palisade_respond::order::{Engine, Progress};
use palisade_respond::{Hands, Order, Performed};
use serde::Deserialize;

use super::{Context, orders, respond};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Bytes of a recorded incident.
const INCIDENT_BYTES_MAX: u64 = 256 << 20;
/// Playbooks of a folder.
const FILES_MAX: usize = 1000;

/// What `palisade respond export` writes.
#[derive(Deserialize)]
struct Recorded {
    schema: String,
    incident: Incident,
    alerts: Vec<Alert>,
}

/// Carries out a `palisade playbook` command.
pub(crate) fn playbook(context: &Context<'_>, command: &cli::Playbook) -> Result<Exit, Failure> {
    match command {
        cli::Playbook::Check(args) => check(context, &args.files),
        cli::Playbook::Test(args) => test(context, args),
        cli::Playbook::Run(args) => run(context, args),
        cli::Playbook::Approve(args) => answer(context, args, true),
        cli::Playbook::Refuse(args) => answer(context, args, false),
    }
}

/// The playbooks that `files` name, folders by what is in them.
pub(crate) fn expand(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for file in files {
        if !file.is_dir() {
            all.push(file.clone());
            continue;
        }
        let shown = || format!("list `{}`", file.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(file).with_context(shown)? {
            let path = entry.with_context(shown)?.path();
            if path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
                found.push(path);
            }
        }
        found.sort();
        all.extend(found);
    }
    if all.is_empty() || all.len() > FILES_MAX {
        let message = format!("{} playbooks were found", all.len());
        return Err(Failure::message(Exit::Usage, message)
            .with_hint(format!("name 1 to {FILES_MAX} files, or folders with *.yaml")));
    }
    Ok(all)
}

/// Loads all, prints every problem, and gives those that can be used.
fn load_all(
    context: &Context<'_>,
    files: &[PathBuf],
) -> Result<(Vec<LoadedPlaybook>, usize), Failure> {
    let mut loaded: Vec<LoadedPlaybook> = Vec::new();
    let mut n_bad = 0;
    for path in expand(files)? {
        match load_file(&path) {
            Ok(one) => {
                for warning in &one.warnings.0 {
                    context.terminal.error(&warning.render(Some(&one.text)));
                }
                if let Some(other) =
                    loaded.iter().find(|other| other.playbook.name == one.playbook.name)
                {
                    n_bad += 1;
                    context.terminal.error(&format!(
                        "error: {} and {} are both called `{}`\n",
                        other.source, one.source, one.playbook.name
                    ));
                }
                loaded.push(one);
            }
            Err(error) => {
                n_bad += 1;
                orders::print_problems(context, &error);
                let hint = palisade_base::Explain::hint(&error);
                context.terminal.error(&palisade_base::render_chain(&error, hint.as_deref()));
            }
        }
    }
    Ok((loaded, n_bad))
}

fn check(context: &Context<'_>, files: &[PathBuf]) -> Result<Exit, Failure> {
    let (loaded, n_bad) = load_all(context, files)?;
    for one in &loaded {
        let n_steps = one.playbook.steps.len();
        context.terminal.result(&format!(
            "{}: playbook `{}`, {n_steps} step(s)\n",
            one.source, one.playbook.name
        ))?;
    }
    Ok(if n_bad == 0 { Exit::Clean } else { Exit::Usage })
}

fn recorded(path: &Path) -> Result<Recorded, Failure> {
    let shown = || format!("read incident `{}`", path.display());
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes =
        palisade_base::read_bounded(file, "incident", INCIDENT_BYTES_MAX).with_context(shown)?;
    let recorded: Recorded = serde_json::from_slice(&bytes).with_context(shown)?;
    if recorded.schema != respond::EXPORT_SCHEMA {
        let message = format!("`{}` is a `{}`", path.display(), recorded.schema);
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("make one with `palisade respond export INCIDENT --output FILE`"));
    }
    Ok(recorded)
}

/// The first alert that `loaded` is for, or why the last one is none.
fn triggering<'a>(
    loaded: &LoadedPlaybook,
    alerts: &'a [Alert],
    score: u8,
    labels: &[(String, String)],
) -> Result<&'a Alert, String> {
    let mut why = "the incident has no alert".to_string();
    for alert in alerts {
        match loaded.playbook.on.matches(&TriggerFacts { alert, score, labels }) {
            Ok(()) => return Ok(alert),
            Err(reason) => why = reason,
        }
    }
    Err(why)
}

/// Hands that do nothing and fail where they are told to.
struct Rehearsal<'a> {
    failing: &'a BTreeSet<String>,
    order: &'a Order,
}

impl Hands for Rehearsal<'_> {
    fn perform(&mut self, act: &Act, _: &Order, _: Duration) -> Performed {
        let is_step = |step: &&palisade_policy::playbook::Step| matches!(&step.what, StepKind::Act { act: known, .. } if known == act);
        let step = self.order.steps.iter().find(is_step).map(|step| step.id.as_str());
        let fails = self.failing.contains(act.name())
            || step.is_some_and(|step| self.failing.contains(step));
        Performed {
            result: if fails { ActionResult::Failed } else { ActionResult::Done },
            detail: act.to_string(),
            file: None,
        }
    }
}

fn test(context: &Context<'_>, args: &cli::PlaybookTest) -> Result<Exit, Failure> {
    let (loaded, n_bad) = load_all(context, &args.files)?;
    if n_bad > 0 {
        return Ok(Exit::Usage);
    }
    let recorded = recorded(&args.incident)?;
    let labels: Vec<(String, String)> = args
        .label
        .iter()
        .map(|text| {
            text.split_once('=').map(|(k, v)| (k.to_string(), v.to_string())).ok_or_else(|| {
                Failure::message(Exit::Usage, format!("`{text}` is no label"))
                    .with_hint("write --label KEY=VALUE")
            })
        })
        .collect::<Result<_, _>>()?;
    let failing: BTreeSet<String> = args.fail.iter().cloned().collect();
    let mut would_run = false;
    for one in &loaded {
        let name = &one.playbook.name;
        let alert = match triggering(one, &recorded.alerts, recorded.incident.score.value, &labels)
        {
            Ok(alert) => alert,
            Err(why) => {
                context.terminal.result(&format!("{name}: would not run: {why}\n"))?;
                continue;
            }
        };
        let order = match Order::of_playbook(&one.playbook, alert, &recorded.incident.id) {
            Ok(order) => order,
            Err(refusal) => {
                context.terminal.result(&format!("{name}: cannot run: {refusal}\n"))?;
                continue;
            }
        };
        would_run = true;
        context.terminal.result(&format!("{order}{}", rehearse(&order, &failing)?))?;
    }
    Ok(if would_run { Exit::Clean } else { Exit::Refused })
}

/// What a run would come to, with all its waits passed and its questions answered by yes.
fn rehearse(order: &Order, failing: &BTreeSet<String>) -> Result<String, Failure> {
    let folder = tempfile::tempdir().context("make a folder for the rehearsal")?;
    let mut engine = Engine::open(folder.path()).or_exit(Exit::Incomplete)?;
    let now = std::cell::Cell::new(Timestamp::now());
    engine.submit(order, now.get()).or_exit(Exit::Incomplete)?;
    let mut hands = Rehearsal { failing, order };
    let mut lines = Vec::new();
    let state = loop {
        let progress = engine
            .advance(&order.id, &|| now.get(), &mut hands, &mut |_, step, undo, outcome| {
                let undone = if undo { " undone" } else { "" };
                lines.push(format!("  {step}{undone}: {:?}\n", outcome.result));
            })
            .or_exit(Exit::Incomplete)?;
        match progress {
            Progress::Ended(state) => break state,
            Progress::Waiting(until) => now.set(until),
            Progress::Asking { step, until, .. } => {
                if failing.contains(&step) || failing.contains("approve") {
                    now.set(until);
                } else {
                    engine
                        .answer(&order.id, None, ("the rehearsal", true), now.get())
                        .or_exit(Exit::Incomplete)?;
                }
            }
        }
    };
    Ok(format!("rehearsal:\n{}  {}\n", lines.concat(), state.as_str()))
}

fn run(context: &Context<'_>, args: &cli::PlaybookRun) -> Result<Exit, Failure> {
    let (loaded, n_bad) = load_all(context, std::slice::from_ref(&args.file))?;
    let [one] = &loaded[..] else {
        return Err(Failure::message(Exit::Usage, "name one playbook"));
    };
    if n_bad > 0 {
        return Ok(Exit::Usage);
    }
    let incident = respond::find(context, &args.incident)?;
    let alerts = respond::alerts_of(context, &incident)?;
    let alert = match triggering(one, &alerts, incident.score.value, &[]) {
        Ok(alert) => alert,
        Err(why) => {
            let last = alerts.last().filter(|_| args.anyway);
            last.ok_or_else(|| {
                Failure::message(Exit::Refused, format!("the playbook is not for it: {why}"))
                    .with_hint("give --anyway to run it all the same")
            })?
        }
    };
    let order = Order::of_playbook(&one.playbook, alert, &incident.id).or_exit(Exit::Usage)?;
    orders::run(context, &order, args.dry_run, args.remotes.as_ref(), Some(&incident))
}

fn answer(
    context: &Context<'_>,
    args: &cli::PlaybookAnswer,
    granted: bool,
) -> Result<Exit, Failure> {
    let by = orders::owner(args.owner.as_ref());
    if let Some(order) = tell_watch(context, args, &by, granted)? {
        let word = if granted { "approved" } else { "declined" };
        context
            .terminal
            .result(&format!("order {order} is {word}; the running watch goes on\n"))?;
        return Ok(Exit::Clean);
    }
    let mut engine = Engine::open(&orders::folder(context)?).or_exit(Exit::Incomplete)?;
    let order = orders::find(&engine, &args.order)?.order.clone();
    let taken = engine
        .answer(&order.id, args.step.as_deref(), (&by, granted), Timestamp::now())
        .or_exit(Exit::Incomplete)?;
    if !taken {
        return Err(Failure::message(
            Exit::Incomplete,
            format!("order `{}` asks nothing", order.id),
        )
        .with_hint("`palisade respond orders` says where it stands"));
    }
    drop(engine);
    orders::run(context, &order, false, args.remotes.as_ref(), None)
}

/// Has the running `watch` take the answer; `None` when none runs playbooks, or it watches for
/// another data folder and knows no such question.
fn tell_watch(
    context: &Context<'_>,
    args: &cli::PlaybookAnswer,
    by: &str,
    granted: bool,
) -> Result<Option<String>, Failure> {
    let mut client = match Client::connect(&context.global.run_dir) {
        Ok(client) => client,
        Err(ClientError::NotRunning { .. }) => return Ok(None),
        Err(error) => return Err(error).or_exit(Exit::Incomplete),
    };
    let (order, step, by) = (args.order.clone(), args.step.clone(), by.to_string());
    match client.ask(&Request::Answer { order, step, by, granted }) {
        Ok(Response::Answered { order }) => Ok(Some(order)),
        Ok(_) => {
            Err(Failure::message(Exit::Incomplete, "the running watch answers something else"))
        }
        Err(ClientError::Refused(_)) => Ok(None),
        Err(error) => Err(error).or_exit(Exit::Incomplete),
    }
}

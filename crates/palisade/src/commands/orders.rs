//! Orders given by hand: carried out, undone, listed, expired.
//!
//! They have an audit log of their own (`<data-dir>/by-hand`), so that they work while
//! `palisade watch` runs. What is held for a time is guarded by a process of its own, which is
//! started before the first step: a container does not stay frozen because we were killed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::{Digest, Timestamp};
use palisade_model::{Container, Incident};
use palisade_policy::playbook::{self, LoadPlaybookError, Step, StepKind};
use palisade_respond::bundle::{CaseFacts, Stamper};
use palisade_respond::evidence::{self, Request};
use palisade_respond::hands::{Remotes, Store};
use palisade_respond::order::{
    AuditRecord, Engine, Progress, Run, RunState, StepOutcome, Submitted, read_audit,
};
use palisade_respond::{Collected, Hands, KernelContainment, Order, SystemHands, Target};
use palisade_sys::Hierarchies;
use palisade_trust::sign_blob;

use super::Context;
use super::means::{evidence_key, evidence_options, locate, network};
use super::run::paths;
use super::sealing::Settings;
use super::watch::evidence_folder;
use crate::cli::{self, ListFormat, OrderArgs};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// Bytes of the file of remotes.
const REMOTES_BYTES_MAX: u64 = 1 << 20;
/// How long a guard waits for the order that it was started for.
const GUARD_PATIENCE: Duration = Duration::from_secs(30);
/// How often a guard looks.
const GUARD_INTERVAL: Duration = Duration::from_millis(500);

/// The folder of what is ordered by hand, made if need be.
pub(crate) fn folder(context: &Context<'_>) -> Result<PathBuf, Failure> {
    let folder = context.global.data_dir.join(palisade_agent::BY_HAND_FOLDER);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("create folder `{}`", folder.display()))?;
    Ok(folder)
}

/// Who orders, unless told: the user's number.
pub(crate) fn owner(named: Option<&String>) -> String {
    named.cloned().unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn remotes(context: &Context<'_>, named: Option<&PathBuf>) -> Result<Remotes, Failure> {
    let usual = context.global.data_dir.join("remotes.json");
    if named.is_none() && !usual.exists() {
        return Ok(Remotes::default());
    }
    let path = named.unwrap_or(&usual);
    let shown = || format!("read remotes `{}`", path.display());
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes =
        palisade_base::read_bounded(file, "remotes", REMOTES_BYTES_MAX).with_context(shown)?;
    Ok(serde_json::from_slice(&bytes).with_context(shown)?)
}

/// Lets `act` work with the system's hands.
pub(crate) fn with_hands<T>(
    context: &Context<'_>,
    named: Option<&PathBuf>,
    incident: Option<&Incident>,
    act: impl FnOnce(&mut dyn Hands) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let hierarchies = Hierarchies::detect().or_exit(Exit::Incomplete)?;
    let network = network(context);
    let containment = KernelContainment::new(&network);
    let remotes = remotes(context, named)?;
    let mut collect = |order: &Order, target: &Target, frozen: bool, deadline: Duration| {
        collect(context, incident, order, target, frozen, deadline)
    };
    let ca = remotes.ca_file.clone().map(PathBuf::from);
    let mut send =
        |request: &_, deadline: Duration| super::send::send(request, deadline, ca.as_deref());
    let upper = |container: &Container| locate(&paths(context), container).upper;
    let mut hands = SystemHands {
        hierarchies: &hierarchies,
        containment: &containment,
        collect: &mut collect,
        store: Store::new(&context.global.data_dir),
        snapshots: context.global.data_dir.join("snapshots"),
        upper: &upper,
        remotes: &remotes,
        send: &mut send,
    };
    act(&mut hands)
}

fn collect(
    context: &Context<'_>,
    incident: Option<&Incident>,
    order: &Order,
    target: &Target,
    frozen: bool,
    deadline: Duration,
) -> Result<Collected, String> {
    let text = |failure: Failure| failure.render();
    let key = evidence_key(context, None).map_err(text)?;
    let folder = evidence_folder(&context.global.data_dir);
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let path = folder.join(format!("{}.tar", order.id));
    if let Some(collected) = palisade_agent::collected_before(&path) {
        return Ok(collected);
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let files = locate(&paths(context), target.container());
    let sealing = Settings::read(&context.global.data_dir).and_then(|it| it.sealing());
    let sealing = sealing.map_err(text)?;
    let request = Request {
        target,
        case: CaseFacts {
            incident: Some(order.incident.clone()).filter(|incident| !incident.is_empty()),
            container: target.container().clone(),
            hostname: hostname.trim().to_string(),
            tool: concat!("palisade ", env!("CARGO_PKG_VERSION")).to_string(),
            frozen,
            started: Timestamp::now(),
        },
        incident,
        config: files.config.as_deref(),
        upper: files.upper.as_deref(),
        attachments: &[],
        options: evidence_options(0),
        deadline,
        recipients: &sealing.recipients,
        stamper: sealing.stamper.as_ref().map(|stamp| stamp.as_ref() as Stamper<'_>),
    };
    let signer = |manifest: &[u8]| sign_blob(&key, &Digest::of(manifest)).map_err(Into::into);
    evidence::collect(&path, &request, Some(&signer))
        .map(|summary| palisade_agent::collected(&summary))
        .map_err(|error| palisade_base::render_chain(&error, None))
}

/// Carries out one step for a person and says how it went.
pub(crate) fn carry_out(
    context: &Context<'_>,
    step: Step,
    container: Option<Container>,
    args: &OrderArgs,
) -> Result<Exit, Failure> {
    let owner = owner(args.owner.as_ref());
    let order = Order::by_hand(step, container, (&owner, &args.reason), Timestamp::now())
        .or_exit(Exit::Usage)?;
    run(context, &order, args.dry_run, args.remotes.as_ref(), None)
}

/// Carries an order out as far as it goes, or prints it.
pub(crate) fn run(
    context: &Context<'_>,
    order: &Order,
    dry_run: bool,
    remotes: Option<&PathBuf>,
    incident: Option<&Incident>,
) -> Result<Exit, Failure> {
    if dry_run {
        context.terminal.result(&format!("dry run: {order}"))?;
        return Ok(Exit::Clean);
    }
    let folder = folder(context)?;
    let mut engine = Engine::open(&folder).or_exit(Exit::Incomplete)?;
    if let Submitted::Refused(reason) =
        engine.submit(order, Timestamp::now()).or_exit(Exit::Incomplete)?
    {
        return Err(Failure::message(Exit::Refused, reason)
            .with_hint("caps are in the playbook; the refusal is in the audit log"));
    }
    let is_held = order.steps.iter().any(|step| {
        !matches!(&step.what, StepKind::Act { act, hold_ms, .. }
            if hold_ms.is_none() || act.inverse().is_none())
    });
    if is_held {
        guard(context, &order.id, remotes);
    }
    with_hands(context, remotes, incident, |hands| advance(context, &mut engine, &order.id, hands))
}

/// Carries the run `id` on; says each step, and what is waited for.
fn advance(
    context: &Context<'_>,
    engine: &mut Engine,
    id: &str,
    hands: &mut dyn Hands,
) -> Result<Exit, Failure> {
    let mut failed = false;
    let mut lines = Vec::new();
    let mut report = |_: &Order, step: &str, undo: bool, outcome: &StepOutcome| {
        failed |= !outcome.is_done();
        lines.push(line(step, undo, outcome));
    };
    let progress =
        engine.advance(id, &Timestamp::now, hands, &mut report).or_exit(Exit::Incomplete)?;
    context.terminal.result(&lines.concat())?;
    match progress {
        Progress::Ended(RunState::Running | RunState::Done) => {}
        Progress::Ended(state) => {
            context.terminal.progress(&format!("order {id} {}", state.as_str()));
        }
        Progress::Waiting(until) => {
            context.terminal.progress(&format!("order {id} waits until {until}"));
        }
        Progress::Asking { question, until, .. } => {
            context.terminal.progress(&format!(
                "order {id} asks until {until}: {question}\n  palisade playbook approve {id}\n  \
                 palisade playbook refuse {id}"
            ));
        }
    }
    Ok(if failed { Exit::Incomplete } else { Exit::Clean })
}

fn line(step: &str, undo: bool, outcome: &StepOutcome) -> String {
    let undone = if undo { " undone" } else { "" };
    format!(
        "{step}{undone}: {:?} in {:.2} ms: {}\n",
        outcome.result,
        outcome.duration_ns as f64 / 1e6,
        outcome.detail
    )
}

/// Starts the process that undoes what is held for a time. Without it the hold ends with the
/// next command or `respond expire`, which is said.
pub(crate) fn guard(context: &Context<'_>, id: &str, remotes: Option<&PathBuf>) {
    use std::os::unix::process::CommandExt as _;
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let spawned = std::env::current_exe().and_then(|program| {
        let mut command = Command::new(program);
        command
            .arg("--data-dir")
            .arg(absolute(&context.global.data_dir))
            .arg("--run-dir")
            .arg(absolute(&context.global.run_dir))
            .args(["respond", "expire", "--guard", id]);
        if let Some(remotes) = remotes {
            command.arg("--remotes").arg(absolute(remotes));
        }
        command
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    });
    if let Err(error) = spawned {
        context.terminal.error(&format!(
            "warning: nobody ends the hold in time ({error}); run `palisade respond expire`\n"
        ));
    }
}

/// A hold as a person writes it: `20m`, or `ever`.
pub(crate) fn hold(text: &str) -> Result<Option<u64>, Failure> {
    if text == "ever" {
        return Ok(None);
    }
    let fits = |ms: &u64| playbook::DURATION_MS.contains(ms);
    playbook::duration_ms(text).filter(fits).map(Some).ok_or_else(|| {
        Failure::message(Exit::Usage, format!("`{text}` is no time"))
            .with_hint("write a number with s, m, h or d, from 1s to 30d, or ever")
    })
}

/// A step as it would stand in a playbook.
pub(crate) fn parse_step(context: &Context<'_>, text: &str) -> Result<Step, Failure> {
    if text.contains(['\n', '\r']) {
        return Err(Failure::message(Exit::Usage, "a step is one line"));
    }
    let whole = format!("playbook: by-hand\nsteps:\n- {text}\n");
    match playbook::parse(&whole, "step") {
        Ok(loaded) => {
            let step = loaded.playbook.steps.into_iter().next();
            let step = step.filter(|step| matches!(step.what, StepKind::Act { .. }));
            step.map(|mut step| {
                if let StepKind::Act { act, .. } = &step.what {
                    step.id = act.name().to_string();
                }
                step
            })
            .ok_or_else(|| Failure::message(Exit::Usage, "the step is no action"))
        }
        Err(error) => {
            print_problems(context, &error);
            Err(error).or_exit(Exit::Usage)
        }
    }
}

/// Prints every problem of a playbook with its line.
pub(crate) fn print_problems(context: &Context<'_>, error: &LoadPlaybookError) {
    if let LoadPlaybookError::Invalid { text, diagnostics, .. } = error {
        for diagnostic in &diagnostics.0 {
            context.terminal.error(&diagnostic.render(Some(text)));
        }
    }
}

/// The run whose order's id begins with `text`.
pub(crate) fn find<'e>(engine: &'e Engine, text: &str) -> Result<&'e Run, Failure> {
    let missing = |message: String| {
        Failure::message(Exit::Incomplete, message)
            .with_hint("`palisade respond orders` names them")
    };
    if let Some(run) = engine.run(text) {
        return Ok(run);
    }
    let mut found = engine.runs().filter(|run| run.order.id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(run), None) => Ok(run),
        (Some(_), Some(_)) => Err(missing(format!("`{text}` names several orders"))),
        (None, _) => Err(missing(format!("no order `{text}`"))),
    }
}

/// Undoes what an order did.
pub(crate) fn undo(context: &Context<'_>, args: &cli::UndoArgs) -> Result<Exit, Failure> {
    let mut engine = Engine::open(&folder(context)?).or_exit(Exit::Incomplete)?;
    let id = find(&engine, &args.order)?.order.id.clone();
    with_hands(context, args.remotes.as_ref(), None, |hands| {
        let mut lines = Vec::new();
        let all = engine
            .undo(&id, &owner(None), &Timestamp::now, hands, &mut |_, step, undo, outcome| {
                lines.push(line(step, undo, outcome));
            })
            .or_exit(Exit::Incomplete)?;
        if lines.is_empty() {
            lines.push("nothing was left to undo\n".into());
        }
        context.terminal.result(&lines.concat())?;
        Ok(if all { Exit::Clean } else { Exit::Incomplete })
    })
}

/// Undoes what any order holds of `container`.
pub(crate) fn release(context: &Context<'_>, container: &Container) -> Result<(), Failure> {
    let mut engine = Engine::open(&folder(context)?).or_exit(Exit::Incomplete)?;
    with_hands(context, None, None, |hands| {
        let mut lines = Vec::new();
        engine
            .release(
                &container.id,
                &owner(None),
                &Timestamp::now,
                hands,
                &mut |_, step, undo, outcome| lines.push(line(step, undo, outcome)),
            )
            .or_exit(Exit::Incomplete)?;
        context.terminal.result(&lines.concat())?;
        Ok(())
    })
}

/// Lists orders.
pub(crate) fn list(context: &Context<'_>, args: &cli::Ps) -> Result<Exit, Failure> {
    let engine = Engine::open(&folder(context)?).or_exit(Exit::Incomplete)?;
    let held = |run: &Run| {
        let names: Vec<String> = run
            .held()
            .filter_map(|i| {
                let id = run.order.steps.get(i)?.id.clone();
                Some(match run.expires(i) {
                    Some(at) => format!("{id} until {at}"),
                    None => id,
                })
            })
            .collect();
        if names.is_empty() { "-".to_string() } else { names.join(", ") }
    };
    if args.format == ListFormat::Json {
        let orders: Vec<_> = engine
            .runs()
            .map(|run| {
                serde_json::json!({
                    "order": run.order, "begun": run.begun, "state": run.state,
                    "held": run.held().filter_map(|i| run.order.steps.get(i).map(|s| &s.id))
                        .collect::<Vec<_>>(),
                })
            })
            .collect();
        let document = serde_json::json!({ "schema": "palisade.dev/orders/v1", "orders": orders });
        context.terminal.result(&format!("{document:#}\n"))?;
        return Ok(Exit::Clean);
    }
    let mut runs: Vec<&Run> = engine.runs().collect();
    runs.sort_by_key(|run| run.begun);
    let rows: Vec<Vec<String>> = runs
        .into_iter()
        .map(|run| {
            let container = run.order.container.as_ref();
            vec![
                run.order.id.clone(),
                run.state.as_str().to_string(),
                run.begun.to_string(),
                container.map_or_else(|| "-".into(), |container| container.name.clone()),
                held(run),
                run.order.owner.clone(),
                run.order.reason.clone(),
            ]
        })
        .collect();
    let header = ["ORDER", "STATE", "BEGUN", "CONTAINER", "HOLDS", "OWNER", "REASON"];
    let text = if args.format == ListFormat::Tsv { tsv(&rows) } else { columns(&header, &rows) };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// Prints the audit log and whether its chain is whole.
pub(crate) fn audit(context: &Context<'_>, args: &cli::AuditArgs) -> Result<Exit, Failure> {
    let (records, recovery) = read_audit(&folder(context)?).or_exit(Exit::Incomplete)?;
    let text = if args.format == ListFormat::Json {
        let lines: Result<Vec<String>, _> =
            records.iter().map(|record| serde_json::to_string(record).map(|s| s + "\n")).collect();
        lines.context("write the audit log")?.concat()
    } else {
        let rows: Vec<Vec<String>> = records.iter().map(row).collect();
        match args.format {
            ListFormat::Tsv => tsv(&rows),
            _ => columns(&["TIME", "ORDER", "WHAT", "STEP", "DETAIL"], &rows),
        }
    };
    context.terminal.result(&text)?;
    let n_damaged = recovery.n_chain_breaks + recovery.n_unreadable;
    if n_damaged > 0 {
        context.terminal.error(&format!(
            "error: {n_damaged} line(s) do not continue the line before: something was changed\n"
        ));
        return Ok(Exit::Refused);
    }
    context.terminal.progress(&format!("{} records, the chain is whole", recovery.n_records));
    Ok(Exit::Clean)
}

fn row(record: &AuditRecord) -> Vec<String> {
    let cells = |time: String, order: &str, what: &str, step: &str, detail: String| {
        vec![time, order.to_string(), what.to_string(), step.to_string(), detail]
    };
    match record {
        AuditRecord::Ordered { time, order } => {
            let detail = format!("by {}: {}", order.owner, order.reason);
            cells(time.to_string(), &order.id, "ordered", "-", detail)
        }
        AuditRecord::Refused { time, order, reason } => {
            cells(time.to_string(), &order.id, "refused", "-", reason.clone())
        }
        AuditRecord::Begin { time, order, step, undo } => {
            let what = if *undo { "undoes" } else { "begins" };
            cells(time.to_string(), order, what, step, String::new())
        }
        AuditRecord::End { order, step, undo, outcome } => {
            let what = if *undo { "undone" } else { "ended" };
            let detail = format!("{:?}: {}", outcome.result, outcome.detail);
            cells(outcome.ended.to_string(), order, what, step, detail)
        }
        AuditRecord::Answered { time, order, step, by, granted } => {
            let what = if *granted { "approved" } else { "declined" };
            cells(time.to_string(), order, what, step, format!("by {by}"))
        }
        AuditRecord::Undoing { time, order, by } => {
            cells(time.to_string(), order, "undo", "-", format!("by {by}"))
        }
        AuditRecord::Handed { time, order, step, to, .. } => {
            cells(time.to_string(), order, "handed", step, format!("to order {to}"))
        }
        AuditRecord::Finished { time, order, state } => {
            cells(time.to_string(), order, "finished", "-", state.as_str().to_string())
        }
        AuditRecord::Touched { time, playbook, container } => {
            let detail = format!("playbook {playbook}, container {container}");
            cells(time.to_string(), "-", "touched", "-", detail)
        }
    }
}

/// Lists what holds until it is taken back.
pub(crate) fn standing(context: &Context<'_>, args: &cli::Ps) -> Result<Exit, Failure> {
    let standing = Store::new(&context.global.data_dir).read().or_exit(Exit::Incomplete)?;
    if args.format == ListFormat::Json {
        let text = serde_json::to_string_pretty(&standing).context("write standing orders")?;
        context.terminal.result(&(text + "\n"))?;
        return Ok(Exit::Clean);
    }
    let digests = [("image", &standing.images), ("program", &standing.executables)];
    let mut rows: Vec<Vec<String>> = digests
        .into_iter()
        .flat_map(|(kind, list)| {
            list.iter().map(move |entry| {
                vec![
                    kind.to_string(),
                    entry.what.to_string(),
                    entry.since.to_string(),
                    entry.owner.clone(),
                    entry.reason.clone(),
                ]
            })
        })
        .collect();
    rows.extend(standing.protected.iter().map(|entry| {
        let (what, since) = (entry.what.clone(), entry.since.to_string());
        vec!["container".into(), what, since, entry.owner.clone(), entry.reason.clone()]
    }));
    let header = ["KIND", "WHAT", "SINCE", "OWNER", "REASON"];
    let text = if args.format == ListFormat::Tsv { tsv(&rows) } else { columns(&header, &rows) };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// Completes what was interrupted and undoes what was held long enough; as a guard, until
/// nothing is left to wait for.
pub(crate) fn expire(context: &Context<'_>, args: &cli::ExpireArgs) -> Result<Exit, Failure> {
    let folder = folder(context)?;
    let started = std::time::Instant::now();
    let mut has_seen = args.guard.is_none();
    with_hands(context, args.remotes.as_ref(), None, |hands| {
        loop {
            // Another command has the log for a moment.
            let opened = Engine::open(&folder);
            if opened.is_err() && args.guard.is_some() {
                if !folder.is_dir() {
                    return Ok(Exit::Clean); // nothing is written any more of what it guards
                }
                std::thread::sleep(GUARD_INTERVAL);
                continue;
            }
            let mut engine = opened.or_exit(Exit::Incomplete)?;
            let mut lines = Vec::new();
            let due = engine
                .tick(&Timestamp::now, hands, &mut |_, step, undo, outcome| {
                    lines.push(line(step, undo, outcome));
                })
                .or_exit(Exit::Incomplete)?;
            has_seen |= args.guard.as_ref().is_some_and(|id| engine.run(id).is_some());
            drop(engine);
            context.terminal.result(&lines.concat())?;
            let is_patient = !has_seen && started.elapsed() < GUARD_PATIENCE;
            if args.guard.is_none() || (due.is_none() && !is_patient) {
                return Ok(Exit::Clean);
            }
            let left = due.map_or(GUARD_INTERVAL, |due| due.since(Timestamp::now()));
            std::thread::sleep(left.clamp(Duration::from_millis(10), GUARD_INTERVAL));
        }
    })
}

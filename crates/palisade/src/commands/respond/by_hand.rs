//! Actions that a person takes on a container or an incident.
//!
//! They are recorded in a journal of their own, so that they work while `palisade watch`
//! holds its own; a release is heeded by the next start of `watch`.

use std::time::Duration;

use palisade_base::{Digest, Timestamp};
use palisade_image::OpenOptions;
use palisade_model::Container;
use palisade_policy::playbook::{Act, Step, StepKind};
use palisade_respond::bundle::{CaseFacts, Stamper};
use palisade_respond::evidence::{self, Request};
use palisade_respond::{KernelContainment, Means, Responder, Target};
use palisade_sys::Hierarchies;
use palisade_trust::sign_blob;

use super::{Context, incidents};
use crate::cli::{self, ActionArgs, ContainerArgs};
use crate::commands::means::{evidence_key, evidence_options, locate, network};
use crate::commands::orders;
use crate::commands::run::paths;
use crate::commands::sealing::Settings;
use crate::exit::{Exit, Failure, OrExit as _};

/// How long collecting evidence may take.
const COLLECT_DEADLINE: Duration = Duration::from_mins(5);

/// The container that `text` names: one that runs, or one that an incident mentions.
pub(in crate::commands) fn container(
    context: &Context<'_>,
    text: &str,
) -> Result<Container, Failure> {
    let is_it = |container: &Container| {
        container.name == text || (text.len() >= 3 && container.id.starts_with(text))
    };
    if let Ok(runtime) = crate::commands::run::open(context, None) {
        let running = runtime.list().into_iter().map(|found| found.record.container).find(is_it);
        if let Some(container) = running {
            return Ok(container);
        }
    }
    let stores = OpenOptions::default().stores;
    if let Ok((facts, _)) = crate::commands::container::find(context, text, &stores) {
        return Ok((*facts.container).clone());
    }
    let mentioned = incidents(context)?.into_iter().rev().filter_map(|incident| incident.container);
    mentioned.into_iter().find(is_it).ok_or_else(|| {
        Failure::message(Exit::Incomplete, format!("no container `{text}`"))
            .with_hint("`palisade ps` and `palisade respond list` name them")
    })
}

fn responder(context: &Context<'_>) -> Result<Responder, Failure> {
    Responder::open(&orders::folder(context)?).or_exit(Exit::Incomplete)
}

fn hierarchies() -> Result<Hierarchies, Failure> {
    Hierarchies::detect().or_exit(Exit::Incomplete)
}

/// Orders one act on a container.
fn order(context: &Context<'_>, args: &ActionArgs, act: Act) -> Result<Exit, Failure> {
    let container = container(context, &args.container)?;
    let mut step = Step::of(act.name(), act);
    if let (Some(text), StepKind::Act { act, hold_ms, .. }) = (&args.hold, &mut step.what) {
        if act.inverse().is_none() {
            let message = format!("what `{}` does cannot be undone", act.name());
            return Err(Failure::message(Exit::Usage, message).with_hint("leave --for out"));
        }
        *hold_ms = orders::hold(text)?;
    }
    orders::carry_out(context, step, Some(container), &args.order)
}

/// Freezes every process of a container.
pub(super) fn freeze(context: &Context<'_>, args: &ActionArgs) -> Result<Exit, Failure> {
    no_addresses(args)?;
    order(context, args, Act::Freeze)
}

/// Denies all network traffic of a container.
pub(super) fn isolate(context: &Context<'_>, args: &ActionArgs) -> Result<Exit, Failure> {
    order(context, args, Act::Isolate { allow: args.allow.clone() })
}

/// Kills every process of a container.
pub(super) fn kill(context: &Context<'_>, args: &ActionArgs) -> Result<Exit, Failure> {
    no_addresses(args)?;
    order(context, args, Act::Kill)
}

fn no_addresses(args: &ActionArgs) -> Result<(), Failure> {
    if args.allow.is_empty() {
        return Ok(());
    }
    Err(Failure::message(Exit::Usage, "--allow is for `isolate`"))
}

/// Carries out any action of a playbook.
pub(super) fn act(context: &Context<'_>, args: &cli::ActArgs) -> Result<Exit, Failure> {
    let step = orders::parse_step(context, &args.step)?;
    let container = match &args.container {
        Some(name) => Some(container(context, name)?),
        None => None,
    };
    orders::carry_out(context, step, container, &args.order)
}

/// Undoes freeze and isolation.
pub(super) fn release(context: &Context<'_>, args: &ContainerArgs) -> Result<Exit, Failure> {
    let container = container(context, &args.container)?;
    let hierarchies = hierarchies()?;
    let network = network(context);
    let containment = KernelContainment::new(&network);
    let mut none = |_: &_, _: &_, _: bool, _: Duration| Err("not part of this plan".to_string());
    let means = Means { hierarchies: &hierarchies, containment: &containment, collect: &mut none };
    let effects = responder(context)?.release(&container, &means).or_exit(Exit::Incomplete)?;
    orders::release(context, &container)?;
    for effect in effects {
        context.terminal.result(&format!("{}\n", effect.detail))?;
    }
    Ok(Exit::Clean)
}

/// Collects a signed evidence bundle.
pub(super) fn collect(context: &Context<'_>, args: &cli::CollectArgs) -> Result<Exit, Failure> {
    let container = container(context, &args.container)?;
    let key = evidence_key(context, args.key.as_deref())?;
    let hierarchies = hierarchies()?;
    let target = Target::resolve(&container, &hierarchies).or_exit(Exit::Incomplete)?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let files = locate(&paths(context), &container);
    let settings = Settings::read(&context.global.data_dir)?;
    let sealing = settings.with(&args.recipient, args.timestamp.as_ref()).sealing()?;
    let request = Request {
        target: &target,
        case: CaseFacts {
            incident: None,
            container: container.clone(),
            hostname: hostname.trim().to_string(),
            tool: concat!("palisade ", env!("CARGO_PKG_VERSION")).to_string(),
            frozen: target.group().is_frozen().unwrap_or(false),
            started: Timestamp::now(),
        },
        incident: None,
        config: files.config.as_deref(),
        upper: files.upper.as_deref(),
        attachments: &[],
        options: evidence_options(args.memory),
        deadline: COLLECT_DEADLINE,
        recipients: &sealing.recipients,
        stamper: sealing.stamper.as_ref().map(|stamp| stamp.as_ref() as Stamper<'_>),
    };
    let signer = |manifest: &[u8]| sign_blob(&key, &Digest::of(manifest)).map_err(Into::into);
    let summary =
        evidence::collect(&args.output, &request, Some(&signer)).or_exit(Exit::Incomplete)?;
    context.terminal.result(&format!(
        "{}: {} items of {} processes, {} bytes, {} not captured\n",
        summary.path.display(),
        summary.manifest.items.len(),
        summary.n_processes,
        summary.n_bytes,
        summary.manifest.gaps.len() as u64 + summary.manifest.n_gaps_unlisted,
    ))?;
    Ok(Exit::Clean)
}

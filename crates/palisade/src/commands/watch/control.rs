//! The control socket of a watch, from both of its ends.

use std::time::Duration;

use palisade_agent::Agent;
use palisade_agent::control::protocol::{Request, Response};
use palisade_agent::control::{Client, ControlServer};
use palisade_agent::reload::{Cause, Handle, ReloadReport};
use palisade_agent::standing::RuleStanding;
use palisade_base::{Explain as _, render_chain};
use palisade_model::wire::Envelope;

use super::super::Context;
use crate::cli::{self, StatusFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::Terminal;

/// Schema of `watch reload --format json`.
const RELOAD_SCHEMA: &str = "palisade.dev/reload/v1";
/// How long a reload may take: many rules, a busy machine.
const RELOAD_PATIENCE: Duration = Duration::from_mins(2);
/// Rules of a kind that are named on the terminal; `palisade status` has them all.
const LIMITED_SHOWN_MAX: usize = 8;

/// Listens for those who ask. Without a socket the watch goes on, and says so.
pub(super) fn listen(
    context: &Context<'_>,
    agent: &mut Agent,
    reloads: Handle,
) -> Option<ControlServer> {
    match ControlServer::start(&context.global.run_dir, Some(reloads)) {
        Ok((server, desk)) => {
            agent.answer_at(desk);
            Some(server)
        }
        Err(error) => {
            let hint = error.hint();
            let text = render_chain(&error, hint.as_deref());
            let text = text.trim_end().trim_start_matches("error: ");
            context
                .terminal
                .error(&format!("warning: `palisade status` will not find this watch: {text}\n"));
            None
        }
    }
}

/// `palisade watch reload`.
pub(super) fn reload(context: &Context<'_>, args: &cli::WatchReload) -> Result<Exit, Failure> {
    let mut client = Client::connect(&context.global.run_dir).or_exit(Exit::Incomplete)?;
    client.set_patience(RELOAD_PATIENCE).or_exit(Exit::Incomplete)?;
    let answer = client.ask(&Request::Reload).or_exit(Exit::Incomplete)?;
    let Response::Reload { reload } = answer else {
        return Err(Failure::message(Exit::Incomplete, "the running watch answers something else"));
    };
    match args.format {
        StatusFormat::Json => {
            let document = serde_json::to_string_pretty(&Envelope::new(RELOAD_SCHEMA, &reload))
                .map_err(anyhow::Error::new)?;
            context.terminal.result(&(document + "\n"))?;
        }
        StatusFormat::Text if reload.ok => context.terminal.result(&(summary(&reload) + "\n"))?,
        StatusFormat::Text => {
            for problem in &reload.problems {
                context.terminal.error(&format!("{problem}\n"));
            }
            context.terminal.error(&(summary(&reload) + "\n"));
        }
    }
    Ok(if reload.ok { Exit::Clean } else { Exit::Refused })
}

/// What came of a reload, on the terminal of the watch.
pub(super) fn show_reload(terminal: Terminal, report: &ReloadReport) {
    if report.ok {
        tracing::info!(n_rules = report.n_rules, policy = %report.policy, "reloaded");
        for problem in &report.problems {
            terminal.error(&format!("warning: {problem}\n"));
        }
        show_limited(terminal, &report.limited);
        terminal.progress(&summary(report));
        return;
    }
    tracing::error!(n_problems = report.problems.len(), "reload failed");
    for problem in &report.problems {
        terminal.error(&format!("{problem}\n"));
    }
    terminal.error(&format!("warning: {}\n", summary(report)));
}

/// Names the rules that see less than they say.
pub(super) fn show_limited(terminal: Terminal, limited: &[RuleStanding]) {
    for rule in limited.iter().take(LIMITED_SHOWN_MAX) {
        let reason = rule.reason.as_deref().unwrap_or_default();
        let state = rule.state.as_str();
        terminal.error(&format!("warning: rule \"{}\" is {state}: {reason}\n", rule.name));
    }
    if let Some(n_more @ 1..) = limited.len().checked_sub(LIMITED_SHOWN_MAX) {
        terminal.error(&format!(
            "warning: {n_more} more rules are not wholly supported; see `palisade status`\n"
        ));
    }
}

/// One line about a reload.
pub(crate) fn summary(report: &ReloadReport) -> String {
    let causes: Vec<String> = report.causes.iter().map(cause).collect();
    let causes = causes.join(", ");
    if !report.ok {
        let n = report.problems.len();
        return format!(
            "reload ({causes}) failed with {n} problem(s); the old rules, policy and sinks go on"
        );
    }
    let mut text = format!(
        "reloaded ({causes}): {} rules, policy `{}`, in {} ms",
        report.n_rules,
        report.policy,
        report.duration_ns / 1_000_000
    );
    if report.handlers_changed {
        text += ", with other probes";
    }
    if !report.sinks_changed.is_empty() {
        text += ", sinks changed: ";
        text += &report.sinks_changed.join(", ");
    }
    text
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Signal => "signal".into(),
        Cause::Request => "asked for".into(),
        Cause::Files { files } => match files.as_slice() {
            [one] => format!("`{}` changed", one.display()),
            [first, rest @ ..] => format!("`{}` and {} more changed", first.display(), rest.len()),
            [] => "files changed".into(),
        },
    }
}

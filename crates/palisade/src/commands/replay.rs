//! `palisade replay`: rules over captures, through the same engine as live events.

use std::fs::File;
use std::io::BufReader;

use anyhow::Context as _;
use palisade_agent::Detection;
use palisade_agent::detector::Matcher;
use palisade_model::Alert;
use palisade_rules::{LoadOptions, RuleMatching};
use palisade_sensor::capture::replay as play;

use super::Context;
use super::rules::Sources;
use super::watch::render;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Plays captures through rules and prints the alerts.
pub(crate) fn replay(context: &Context<'_>, args: &cli::Replay) -> Result<Exit, Failure> {
    let sources = Sources::read(&args.rules, args.rules.is_empty())?;
    let matching = if args.all_matches { RuleMatching::All } else { RuleMatching::First };
    let options = LoadOptions { matching, ..LoadOptions::default() };
    let mut exit = Exit::Clean;
    for path in &args.captures {
        let mut matcher = Matcher::new(sources.load_all(context, &options)?);
        let file =
            File::open(path).with_context(|| format!("open capture `{}`", path.display()))?;
        let (mut n_alerts, mut written) = (0_u64, Ok(()));
        let report = play(BufReader::new(file), |event| {
            matcher.evaluate(event, &mut |detection| {
                n_alerts += 1;
                let alert = alert_of(n_alerts, detection);
                if written.is_ok() {
                    written = context.terminal.result(&(render(args.format, &alert) + "\n"));
                }
            });
        })
        .or_exit(Exit::Incomplete)?;
        written?;
        context.terminal.progress(&format!(
            "{}: {} events, {n_alerts} alerts",
            path.display(),
            report.n_events
        ));
        if let Some(problem) = &report.problem {
            exit = Exit::Partial;
            context.terminal.error(&format!("warning: {}: {problem}\n", path.display()));
        }
        if report.n_not_recorded > 0 {
            exit = Exit::Partial;
            context.terminal.error(&format!(
                "warning: {}: {} events were not kept by the recorder\n",
                path.display(),
                report.n_not_recorded
            ));
        }
        if report.n_malformed > 0 {
            exit = Exit::Partial;
            context.terminal.error(&format!(
                "warning: {}: {} events could not be decoded\n",
                path.display(),
                report.n_malformed
            ));
        }
    }
    Ok(exit)
}

/// An alert of a recorded event: raised when it happened, on a host that the capture names.
fn alert_of(number: u64, detection: Detection) -> Alert {
    Alert {
        id: format!("{:016x}{number:08x}", detection.time.as_nanos()),
        time: detection.time,
        raised: detection.time,
        rule: detection.rule.name.clone(),
        priority: detection.rule.priority,
        source: detection.rule.source.clone(),
        output: detection.output,
        output_fields: detection.output_fields,
        tags: detection.rule.tags.clone(),
        hostname: String::new(),
        event_type: detection.event_type,
        outcome: detection.outcome,
        process: detection.process,
        ancestors: detection.ancestors,
        container: detection.container,
        recording: None,
    }
}

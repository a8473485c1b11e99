//! An incident as one document, for tickets, spreadsheets and other programs.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Context as _;
use palisade_agent::journal::read_alerts;
use palisade_model::incident::TimelineEvent;
use palisade_model::wire::Envelope;
use palisade_model::{Alert, Incident};
use palisade_scan::report::printable;
use serde::Serialize;

use super::{Context, find, show};
use crate::cli::{ExportArgs, ExportForm};
use crate::exit::{Exit, Failure, OrExit as _};

/// Schema of an exported incident.
pub(in crate::commands) const EXPORT_SCHEMA: &str = "palisade.dev/incident-export/v1";

/// An incident and its alerts.
#[derive(Serialize)]
struct Export {
    incident: Incident,
    /// Its alerts that are still in the journal, oldest first.
    alerts: Vec<Alert>,
    /// Alerts of its timeline that the journal no longer has.
    n_alerts_gone: usize,
}

/// `palisade respond export`.
pub(super) fn export(context: &Context<'_>, args: &ExportArgs) -> Result<Exit, Failure> {
    let incident = find(context, &args.incident)?;
    let document = match args.form {
        ExportForm::Json => json(context, incident)?,
        ExportForm::Markdown => markdown(context, &incident),
        ExportForm::Csv => csv(&incident),
    };
    context.terminal.result_to(args.output.as_deref(), &document)?;
    Ok(Exit::Clean)
}

/// The alerts of `incident` that are still in the journal, and how many it names.
pub(super) fn alerts_of(
    context: &Context<'_>,
    incident: &Incident,
) -> Result<(Vec<Alert>, usize), Failure> {
    let wanted: BTreeSet<&str> = incident
        .timeline
        .iter()
        .filter_map(|entry| match &entry.what {
            TimelineEvent::Alert { alert, .. } => Some(alert.as_str()),
            _ => None,
        })
        .collect();
    let (stored, _) = read_alerts(&context.global.data_dir).or_exit(Exit::Incomplete)?;
    let is_wanted = |alert: &Alert| wanted.contains(alert.id.as_str());
    let alerts: Vec<Alert> =
        stored.into_iter().map(|stored| stored.alert).filter(is_wanted).collect();
    Ok((alerts, wanted.len()))
}

fn json(context: &Context<'_>, incident: Incident) -> Result<String, Failure> {
    let (alerts, n_wanted) = alerts_of(context, &incident)?;
    let n_alerts_gone = n_wanted.saturating_sub(alerts.len());
    let export = Export { incident, alerts, n_alerts_gone };
    let text = serde_json::to_string_pretty(&Envelope::new(EXPORT_SCHEMA, &export))
        .context("write the incident")?;
    Ok(text + "\n")
}

/// The text of `respond show` within a heading and a fence: what a terminal shows is what a
/// ticket shows.
fn markdown(context: &Context<'_>, incident: &Incident) -> String {
    let text = show::text(context, incident);
    // A fence longer than any run of backticks within cannot be left.
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("# Incident {}\n\n{fence}text\n{text}{fence}\n", incident.id)
}

fn csv(incident: &Incident) -> String {
    let mut text = String::from("time,kind,what,detail\n");
    for entry in &incident.timeline {
        let (kind, what, detail) = match &entry.what {
            TimelineEvent::Alert { rule, output, verdict, .. } => {
                (format!("{verdict:?}").to_lowercase(), rule.clone(), output.clone())
            }
            TimelineEvent::Action { action, result, detail, .. } => {
                ("action".into(), format!("{action}: {result:?}"), detail.clone())
            }
            TimelineEvent::Note { text } => ("note".into(), text.clone(), String::new()),
        };
        let _ = writeln!(text, "{},{kind},{},{}", entry.time, cell(&what), cell(&detail));
    }
    text
}

/// A cell of RFC 4180. A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a
/// formula, and the text is an attacker's: a quote before it makes it text.
fn cell(text: &str) -> String {
    let text = printable(text);
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn cells_are_text_to_a_spreadsheet() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text), expected);
        check("a,b \"c\"", "\"a,b \"\"c\"\"\"");
        check("=HYPERLINK(1)", "\"'=HYPERLINK(1)\"");
        check("", "\"\"");
    }
}

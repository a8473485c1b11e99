//! `palisade evidence timeline`, `diff` and `report`.

use anyhow::Context as _;
use palisade_agent::report::case_html;
use palisade_base::Timestamp;
use palisade_base::text::printable;
use palisade_respond::case::{self, Change, Nameless, Process, Socket};
use serde_json::json;

use super::{Context, case};
use crate::cli::{CaseArgs, CaseReportArgs, DiffArgs, ListFormat};
use crate::exit::{Exit, Failure};
use crate::terminal::{columns, tsv};

/// Schemas of the JSON forms.
const TIMELINE_SCHEMA: &str = "palisade.dev/evidence-timeline/v1";
const DIFF_SCHEMA: &str = "palisade.dev/evidence-diff/v1";

/// Prints what happened when.
pub(super) fn timeline(context: &Context<'_>, args: &CaseArgs) -> Result<Exit, Failure> {
    let case = case(context, &args.bundle, &args.trust)?;
    let (events, n_left_out) = case::timeline(&case);
    if n_left_out > 0 {
        context.terminal.error(&format!("warning: {n_left_out} earlier events are left out\n"));
    }
    let text = match args.format {
        ListFormat::Json => {
            let document =
                json!({"schema": TIMELINE_SCHEMA, "events": events, "n_left_out": n_left_out});
            serde_json::to_string_pretty(&document).context("write the timeline")? + "\n"
        }
        format => {
            let rows: Vec<Vec<String>> = events
                .iter()
                .map(|event| {
                    let kind = event.kind.as_str().to_string();
                    vec![event.time.to_string(), kind, shown(&event.what)]
                })
                .collect();
            if format == ListFormat::Tsv {
                tsv(&rows)
            } else {
                columns(&["TIME", "FROM", "WHAT"], &rows)
            }
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// Prints what differs between two bundles.
pub(super) fn diff(context: &Context<'_>, args: &DiffArgs) -> Result<Exit, Failure> {
    let before = case(context, &args.before, &args.trust)?;
    let after = case(context, &args.after, &args.trust)?;
    let ids = [&before, &after].map(|case| case.verified.manifest.case.container.id.clone());
    if ids[0] != ids[1] {
        context.terminal.error("warning: the bundles are of two containers\n");
    }
    let difference = case::diff(&before, &after);
    if args.format == ListFormat::Json {
        let mut document = serde_json::to_value(&difference).context("write the difference")?;
        document["schema"] = DIFF_SCHEMA.into();
        let text = serde_json::to_string_pretty(&document).context("write the difference")?;
        context.terminal.result(&(text + "\n"))?;
        return Ok(Exit::Clean);
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut row = |mark: &str, kind: &str, what: String| {
        rows.push(vec![mark.to_string(), kind.to_string(), shown(&what)]);
    };
    let lists = [("-", &difference.processes_ended), ("+", &difference.processes_begun)];
    for (mark, list) in lists {
        for process in list {
            row(mark, "process", of_process(process));
        }
    }
    for (mark, list) in [("-", &difference.sockets_closed), ("+", &difference.sockets_opened)] {
        for socket in list {
            row(mark, "socket", of_socket(socket));
        }
    }
    for file in &difference.nameless_added {
        row("+", "nameless", of_nameless(file));
    }
    for (mark, list) in [("-", &difference.files_gone), ("+", &difference.files_added)] {
        for change in list {
            row(mark, &change.kind, of_change(change));
        }
    }
    for (old, new) in &difference.files_changed {
        row("~", &new.kind, format!("{} (was {} bytes)", of_change(new), old.size));
    }
    let text = if args.format == ListFormat::Tsv {
        tsv(&rows)
    } else if rows.is_empty() {
        "nothing differs in processes, sockets and files\n".into()
    } else {
        columns(&["", "KIND", "WHAT"], &rows)
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// Writes the report.
pub(super) fn report(context: &Context<'_>, args: &CaseReportArgs) -> Result<Exit, Failure> {
    let case = case(context, &args.bundle, &args.trust)?;
    let html = case_html(&case, Timestamp::now()).context("make the report")?;
    palisade_base::fs::write_atomic(&args.html, html.as_bytes(), 0o600)
        .with_context(|| format!("write `{}`", args.html.display()))?;
    context.terminal.progress(&format!("wrote {}", args.html.display()));
    Ok(Exit::Clean)
}

/// What an attacker named, without what steers a terminal.
fn shown(text: &str) -> String {
    printable(text.as_bytes()).into_owned()
}

fn of_process(process: &Process) -> String {
    format!("pid {} {}: {}", process.pid, process.name, process.command.join(" "))
}

fn of_socket(socket: &Socket) -> String {
    let to = socket.remote.as_ref().map_or_else(String::new, |remote| format!(" to {remote}"));
    format!("{} {} {}{to}", socket.protocol, socket.state, socket.local)
}

fn of_nameless(file: &Nameless) -> String {
    format!("{} held as {}, {} bytes, {}", file.what, file.source, file.size, file.sha256)
}

fn of_change(change: &Change) -> String {
    let digest = change.sha256.map_or_else(String::new, |digest| format!(" {digest}"));
    format!("{} {} {} bytes{digest}", change.path, change.mode, change.size)
}

//! An incident for people.

use std::fmt::Write as _;

use palisade_model::incident::{ActionResult, BlastRadius, Neighbour, TimelineEvent};
use palisade_model::{Incident, Verdict};
use palisade_scan::report::printable;

use super::{Context, state_name};

/// Rows of each list of a blast radius that are shown; `--format json` has them all.
const ROWS_SHOWN_MAX: usize = 12;

/// What it is, how grave, what it reaches, and the timeline with times relative to its start.
pub(super) fn text(context: &Context<'_>, incident: &Incident) -> String {
    let mut text = heading(context, incident);
    text.push_str(&stages(incident));
    for blast in &incident.blast {
        text.push_str(&reach(incident, blast));
    }
    text.push('\n');
    text.push_str(&timeline(context, incident));
    text
}

fn heading(context: &Context<'_>, incident: &Incident) -> String {
    use anstyle::Style;
    let container = match &incident.container {
        Some(container) => format!("{} ({})", container.name, container.short_id()),
        None => "the host".to_string(),
    };
    let image = incident
        .container
        .as_ref()
        .and_then(|container| container.image.as_ref())
        .map_or(String::new(), |image| format!("\nimage      {}", image.reference));
    let mut text = format!(
        "{}  {}\ncontainer  {container}{image}\nopened     {}\ntechniques {}\n",
        context.terminal.paint(Style::new().bold(), &incident.id),
        state_name(incident.state),
        incident.opened,
        incident.techniques.join(" "),
    );
    if !incident.score.parts.is_empty() {
        let parts: Vec<String> = incident
            .score
            .parts
            .iter()
            .map(|part| format!("{:+} {}", part.points, part.reason))
            .collect();
        let _ = writeln!(text, "score      {} of 100: {}", incident.score.value, parts.join(", "));
    }
    for link in &incident.links {
        let detail = printable(&link.detail);
        let to = name_of(incident, &link.to);
        let _ = writeln!(text, "reached    {to} by {}: {detail}", link.kind.as_str());
    }
    text
}

/// A container's name, or the beginning of its id.
fn name_of(incident: &Incident, id: &str) -> String {
    incident.containers().find(|container| container.id == id).map_or_else(
        || id.chars().take(12).collect(),
        |container| printable(&container.name).into_owned(),
    )
}

fn stages(incident: &Incident) -> String {
    let mut text = String::new();
    for (i, stage) in incident.stages.iter().enumerate() {
        let blocked = match stage.n_blocked {
            0 => String::new(),
            n => format!(", {n} blocked"),
        };
        let head = if i == 0 { "stages     " } else { "           " };
        let _ = writeln!(
            text,
            "{head}{}: {} alert(s){blocked}  {}",
            stage.tactic,
            stage.n_alerts,
            stage.techniques.join(" ")
        );
    }
    text
}

/// What can be reached from one of its containers.
fn reach(incident: &Incident, blast: &BlastRadius) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if blast.host_network {
        rows.push(("network", "the host's own".into()));
    }
    let neighbour = |n: &Neighbour| format!("{} ({}), {}", n.name, short(&n.id), n.by);
    rows.extend(blast.same_network.iter().map(|n| ("on its network", neighbour(n))));
    rows.extend(blast.same_image.iter().map(|n| ("of its image", neighbour(n))));
    rows.extend(blast.shared_mounts.iter().map(|mount| {
        let mode = if mount.writable { "writable" } else { "read only" };
        let with: Vec<String> = mount.with.iter().map(|n| n.name.clone()).collect();
        let with = match with.as_slice() {
            [] => String::new(),
            names => format!(", also in {}", names.join(", ")),
        };
        ("of the host", format!("{} is {} ({mode}){with}", mount.path, mount.source))
    }));
    rows.extend(
        blast.credentials.iter().map(|c| ("credential", format!("{}: {}", c.place, c.what))),
    );
    rows.extend(blast.connections.iter().map(|c| {
        let arrow = if c.inbound { "from" } else { "to" };
        let peer = c.peer.as_ref().map_or(String::new(), |id| format!(" ({})", short(id)));
        ("connection", format!("{arrow} {}{peer}, own end {}", c.remote, c.local))
    }));
    rows.extend(blast.gaps.iter().map(|gap| ("not seen", gap.clone())));
    let mut text = format!("reach of {}\n", name_of(incident, &blast.container));
    if rows.is_empty() {
        text.push_str("           nothing beyond itself was found\n");
    }
    let mut shown: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for (kind, row) in rows {
        let n = shown.entry(kind).or_default();
        *n += 1;
        if *n <= ROWS_SHOWN_MAX {
            let _ = writeln!(text, "  {kind:<15} {}", printable(&row));
        }
    }
    for (kind, n) in shown.into_iter().filter(|(_, n)| *n > ROWS_SHOWN_MAX) {
        let _ = writeln!(text, "  {kind:<15} {} more", n - ROWS_SHOWN_MAX);
    }
    text
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn timeline(context: &Context<'_>, incident: &Incident) -> String {
    use anstyle::AnsiColor;
    let terminal = context.terminal;
    let mut text = String::new();
    for entry in &incident.timeline {
        let offset = entry.time.since(incident.opened).as_secs_f64() * 1000.0;
        let (word, color, what) = match &entry.what {
            TimelineEvent::Alert { rule, verdict, priority, latency_ns, .. } => {
                let (word, color) = match verdict {
                    Verdict::Blocked => ("blocked", AnsiColor::Green),
                    Verdict::Detected => ("detected", AnsiColor::Yellow),
                };
                let latency = *latency_ns as f64 / 1e6;
                (word, color, format!("{rule} ({priority}, seen in {latency:.2} ms)"))
            }
            TimelineEvent::Action { action, result, detail, duration_ns } => {
                let color = match result {
                    ActionResult::Done | ActionResult::Unchanged => AnsiColor::Cyan,
                    _ => AnsiColor::Red,
                };
                let took = *duration_ns as f64 / 1e6;
                ("action", color, format!("{action}: {result:?} in {took:.2} ms: {detail}"))
            }
            TimelineEvent::Note { text } => ("note", AnsiColor::White, text.clone()),
        };
        let word = terminal.paint(color.on_default(), &format!("{word:<9}"));
        let what = printable(&what).into_owned();
        let _ = writeln!(text, "{offset:>10.2} ms  {word} {what}");
    }
    if incident.n_dropped > 0 {
        let _ = writeln!(text, "{} further entries were not kept", incident.n_dropped);
    }
    text
}

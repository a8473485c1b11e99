//! `palisade status`: how the watch that is running is doing.

use std::fmt::Write as _;

use palisade_agent::control::Client;
use palisade_agent::control::protocol::{Request, Response};
use palisade_agent::inventories::InventoryStatus;
use palisade_agent::standing::RuleState;
use palisade_agent::status::{STATUS_REPORT_SCHEMA, StatusReport};
use palisade_base::Timestamp;
use palisade_model::wire::Envelope;

use super::Context;
use super::watch::control::summary;
use crate::cli::{self, StatusFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, thousands};

/// Rules that are not on and that are named; JSON has them all.
const RULES_SHOWN_MAX: usize = 40;

/// Asks the running watch, and prints what it says.
pub(crate) fn status(context: &Context<'_>, args: &cli::Status) -> Result<Exit, Failure> {
    let mut client = Client::connect(&context.global.run_dir).or_exit(Exit::Incomplete)?;
    let answer = client.ask(&Request::Status).or_exit(Exit::Incomplete)?;
    let Response::Status { status } = answer else {
        return Err(Failure::message(Exit::Incomplete, "the running watch answers something else"));
    };
    let text = match args.format {
        StatusFormat::Json => {
            serde_json::to_string_pretty(&Envelope::new(STATUS_REPORT_SCHEMA, &status))
                .map_err(anyhow::Error::new)?
                + "\n"
        }
        StatusFormat::Text => text(&status),
    };
    context.terminal.result(&text)?;
    Ok(if status.degraded.is_empty() { Exit::Clean } else { Exit::Refused })
}

fn text(status: &StatusReport) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _infallible = writeln!(out, "{name:<12} {value}");
    };
    let state = if status.degraded.is_empty() { "healthy" } else { "DEGRADED" };
    line(
        "state",
        format!(
            "{state}, watching since {} ({})",
            status.started,
            age(status.time, status.started)
        ),
    );
    for reason in &status.degraded {
        line("", reason.clone());
    }
    line(
        "palisade",
        format!("{}, process {}, kernel {}", status.mode.version, status.pid, status.mode.kernel),
    );
    line(
        "policy",
        format!(
            "{} ({}), response {}",
            status.policy, status.mode.policy_source, status.mode.respond
        ),
    );
    let hooks: Vec<&str> = status.hooks.iter().map(|hook| hook.hook.as_str()).collect();
    line("hooks", hooks.join(", "));
    for refused in &status.refused {
        line(
            "",
            format!(
                "refused: {} ({}): {}",
                refused.program,
                refused.events.join(", "),
                refused.reason
            ),
        );
    }
    line("rules", rule_counts(status));
    rules(status, &mut line);
    if let Some(rows) = &status.enforcement {
        line("enforcement", format!("{} rule(s) with an action", rows.len()));
        for row in rows {
            let means = row.means.as_deref().map_or(String::new(), |means| format!(", {means}"));
            let why = row.reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
            let place = row.container.as_deref().map_or(String::new(), |id| format!(" in {id}"));
            line("", format!("{}{place}{means}: \"{}\"{why}", row.standing, row.rule));
        }
    }
    let cpu = &status.cpu;
    line(
        "events",
        format!(
            "{}, own CPU {:.2} s, {:.2} us an event",
            thousands(status.n_events),
            cpu.total_ns as f64 / 1e9,
            cpu.per_event_ns as f64 / 1e3
        ),
    );
    let counts = &status.counts;
    line(
        "alerts",
        format!(
            "{} raised, {} folded, {} below the policy's priority; {} not finished, {} incidents open",
            counts.n_alerts,
            counts.n_folded,
            counts.n_below_priority,
            status.n_alerts_pending,
            status.n_incidents_open
        ),
    );
    if status.losses.is_empty() {
        line("losses", "none".into());
    }
    for (at, loss) in status.losses.iter().enumerate() {
        let kind = &loss.kind;
        line(
            if at == 0 { "losses" } else { "" },
            format!(
                "{} {} ({}, {}), {} in the last minute",
                thousands(loss.total),
                kind.class,
                kind.side.as_str(),
                kind.cause,
                loss.last_minute
            ),
        );
    }
    let found = &status.recovery;
    if found.n_verified > 0 {
        line(
            "recovery",
            format!(
                "process table compared with /proc {} time(s): {} had ended, {} were not known, {} ran another program; {} descriptor tables read again",
                found.n_verified,
                found.n_removed,
                found.n_added,
                found.n_refreshed,
                found.n_fd_tables_reread
            ),
        );
    }
    memory(status, &mut line);
    match &status.reloads.last {
        None => line("reload", "none yet".into()),
        Some(last) => {
            line(
                "reload",
                format!("{} ({} before now)", summary(last), age(status.time, last.time)),
            );
            for problem in &last.problems {
                line("", problem.replace('\n', "\n             "));
            }
        }
    }
    if let Some(looks) = &status.inventories {
        line("inventories", inventories(looks, status.time));
    }
    out.push('\n');
    out + &tables(status)
}

fn rule_counts(status: &StatusReport) -> String {
    let n = |state| status.rules.iter().filter(|rule| rule.state == state).count();
    format!(
        "{} on, {} partial, {} unsupported, {} off",
        n(RuleState::On),
        n(RuleState::Partial),
        n(RuleState::Unsupported),
        n(RuleState::Off)
    )
}

/// Names the rules that are not on, those that cannot fire first.
fn rules(status: &StatusReport, line: &mut dyn FnMut(&str, String)) {
    let order = [RuleState::Unsupported, RuleState::Partial, RuleState::Off];
    let rows =
        order.iter().flat_map(|state| status.rules.iter().filter(move |rule| rule.state == *state));
    let rows: Vec<_> = rows.collect();
    for rule in rows.iter().take(RULES_SHOWN_MAX) {
        let why = rule.reason.as_deref().map_or(String::new(), |why| format!(": {why}"));
        line("", format!("{}: \"{}\"{why}", rule.state.as_str(), rule.name));
    }
    if let Some(n_more @ 1..) = rows.len().checked_sub(RULES_SHOWN_MAX) {
        line("", format!("and {n_more} more; see --format json"));
    }
}

fn memory(status: &StatusReport, line: &mut dyn FnMut(&str, String)) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let resident = status.memory.resident_bytes.map_or("unknown".into(), mib);
    line(
        "memory",
        format!("{resident} resident, {} in the kernel", mib(status.memory.kernel_bytes)),
    );
    for (at, ring) in status.rings.iter().enumerate() {
        let oldest = ring.oldest.map_or(String::new(), |oldest| {
            let ms = status.time.since(oldest).as_secs_f64() * 1e3;
            format!(", the oldest for {ms:.1} ms")
        });
        line(
            if at == 0 { "rings" } else { "" },
            format!("{}: {} of {} wait{oldest}", ring.name, mib(ring.used_bytes), mib(ring.bytes)),
        );
    }
}

/// The last look at what is stored of images.
fn inventories(looks: &InventoryStatus, now: Timestamp) -> String {
    let under_way = if looks.is_looking { "; a look is under way" } else { "" };
    let Some(last) = &looks.last else { return format!("not looked at yet{under_way}") };
    let unreadable = match last.n_unreadable {
        0 => String::new(),
        n => format!(", {n} could not be read"),
    };
    let noted = if last.is_noted { "" } else { ", to be told again" };
    format!(
        "{} looked at {} before now, advisories of {}: {} new in {} image(s), {} alert(s){unreadable}{noted}{under_way}",
        last.n_inventories,
        age(now, last.time),
        last.database.rfc3339().chars().take(10).collect::<String>(),
        last.n_new,
        last.n_images,
        last.n_alerts
    )
}

fn tables(status: &StatusReport) -> String {
    let rows: Vec<Vec<String>> = status
        .tables
        .iter()
        .map(|table| {
            let n = |n: u64| n.to_string();
            vec![table.name.clone(), n(table.n), n(table.max), n(table.n_evicted)]
        })
        .collect();
    let mut out = columns(&["TABLE", "ENTRIES", "BOUND", "EVICTED"], &rows);
    if !status.sinks.is_empty() {
        let rows: Vec<Vec<String>> = status
            .sinks
            .iter()
            .map(|sink| {
                vec![
                    sink.name.clone(),
                    sink.state.as_str().into(),
                    format!("{} of {}", sink.n_queued, sink.queue_max),
                    sink.oldest.map_or("-".into(), |oldest| age(status.time, oldest)),
                    sink.n_sent.to_string(),
                    sink.n_dropped.to_string(),
                    sink.to.clone(),
                ]
            })
            .collect();
        let header = ["SINK", "STATE", "QUEUED", "OLDEST", "SENT", "DROPPED", "TO"];
        out = out + "\n" + &columns(&header, &rows);
    }
    out
}

/// How long ago `then` was: `90s`, `12m`, `5h`, `3d`.
pub(crate) fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        let check = |seconds: u64, expected: &str| {
            let now = Timestamp::from_nanos((1_000_000 + seconds) * 1_000_000_000);
            let then = Timestamp::from_nanos(1_000_000 * 1_000_000_000);
            assert_eq!(age(now, then), expected);
        };
        check(0, "0s");
        check(119, "119s");
        check(120, "2m");
        check(7200, "2h");
        check(172_800, "2d");
    }
}

//! `palisade replay`: rules over captures, through the same engine as live events.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use palisade_agent::Detection;
use palisade_agent::detector::Matcher;
use palisade_agent::output::{self, FalcoTime};
use palisade_base::Explain as _;
use palisade_model::Alert;
use palisade_rules::fields::{FieldArgument, Fields as _, Value, Values};
use palisade_rules::{LoadOptions, RuleMatching};
use palisade_sensor::capture::{Replay, replay as play};
use palisade_sensor::{EventView, Field};

use super::Context;
use super::rules::{Sources, extra_outputs, open_capture};
use crate::cli::{self, WatchFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, cpu_time, thousands};

/// Plays captures through rules and prints the alerts.
pub(crate) fn replay(context: &Context<'_>, args: &cli::Replay) -> Result<Exit, Failure> {
    let matching = if args.all_matches { RuleMatching::All } else { RuleMatching::First };
    let extra_outputs = extra_outputs(&args.outputs)?;
    let options = LoadOptions { matching, extra_outputs, ..LoadOptions::default() };
    let rules = Sources::named(&args.rules)?.load_chosen(context, &args.choice, options)?;
    let mut player = Player {
        context,
        args,
        falco_hostname: falco_hostname(context, args),
        matcher: Matcher::new(rules),
        totals: Totals::default(),
    };
    let mut exit = Exit::Clean;
    for path in &args.captures {
        match player.play(path) {
            Ok(is_whole) => {
                if !is_whole && exit == Exit::Clean {
                    exit = Exit::Partial;
                }
            }
            // The others are played all the same.
            Err(failure) if args.captures.len() > 1 => {
                context.terminal.error(&failure.render());
                exit = Exit::Incomplete;
            }
            Err(failure) => return Err(failure),
        }
    }
    if args.stats {
        context.terminal.error(&player.totals.text(player.matcher.n_rules()));
    }
    Ok(exit)
}

/// Falco names the machine that it runs on, whatever the capture says.
fn falco_hostname(context: &Context<'_>, args: &cli::Replay) -> String {
    let own = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let given = args.outputs.hostname.clone().or(context.environment.falco_hostname.clone());
    given.unwrap_or_else(|| own().trim().to_string())
}

struct Player<'p> {
    context: &'p Context<'p>,
    args: &'p cli::Replay,
    falco_hostname: String,
    matcher: Matcher,
    totals: Totals,
}

impl Player<'_> {
    /// Plays one capture; whether all of it could be used.
    fn play(&mut self, path: &Path) -> Result<bool, Failure> {
        let input = open_capture(path)?;
        let before = cpu_time();
        let Self { context, args, falco_hostname, matcher, totals } = self;
        matcher.forget();
        let (mut n_alerts, mut written) = (0_u64, Ok(()));
        let report = play(input, |event| {
            matcher.evaluate(event, &mut |detection| {
                n_alerts += 1;
                *totals.alerts.entry(detection.rule.name.clone()).or_default() += 1;
                let alert = alert_of(n_alerts, hostname(args, falco_hostname, event), detection);
                if written.is_ok() {
                    written = context.terminal.result(&(render(args, &alert) + "\n"));
                }
            });
        })
        .or_exit(Exit::Incomplete)
        .map_err(|failure| failure.during(format!("read capture `{}`", path.display())))?;
        totals.cpu += cpu_time().saturating_sub(before);
        totals.add(&report);
        written?;
        context.terminal.progress(&format!(
            "{}: {} events, {n_alerts} {}",
            path.display(),
            report.n_events,
            if n_alerts == 1 { "alert" } else { "alerts" }
        ));
        let is_remembered = super::watch::tell_forgotten(context, matcher.n_forgotten());
        Ok(say_damage(context, path, &report) && is_remembered)
    }
}

fn hostname(args: &cli::Replay, falco_hostname: &str, event: &EventView<'_>) -> String {
    if let Some(given) = &args.outputs.hostname {
        return given.clone();
    }
    if matches!(args.format, WatchFormat::Falco | WatchFormat::FalcoJson) {
        return falco_hostname.to_string();
    }
    let mut values = Values::new();
    event.extract(Field::EvtHostname.id(), &FieldArgument::None, &mut values);
    match values.first() {
        Some(Value::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

fn render(args: &cli::Replay, alert: &Alert) -> String {
    let time = if args.outputs.iso_time { FalcoTime::Iso8601 } else { FalcoTime::OfDay };
    match args.format {
        WatchFormat::Text => output::text_of_the_past(alert),
        WatchFormat::Json => output::json(alert),
        WatchFormat::Falco => output::falco_text(alert, time),
        WatchFormat::FalcoJson => output::falco_json(alert, time),
        WatchFormat::Ocsf => super::sink::ocsf(alert),
    }
}

/// Says what of a capture could not be used; `true` when nothing.
pub(super) fn say_damage(context: &Context<'_>, path: &Path, report: &Replay) -> bool {
    let warn = |text: String| {
        context.terminal.error(&format!("warning: {}: {text}\n", path.display()));
    };
    if let Some(problem) = &report.problem {
        let mut chain = problem.to_string();
        let mut source = std::error::Error::source(problem);
        while let Some(cause) = source {
            chain = format!("{chain}: {cause}");
            source = cause.source();
        }
        warn(format!("{chain}; {} events before it were used", report.n_events));
        if let Some(hint) = problem.hint() {
            context.terminal.error(&format!("hint: {hint}\n"));
        }
    }
    if report.n_malformed > 0 {
        let first = report.first_malformed.as_ref().map(|e| format!(", the first: {e}"));
        let first = first.unwrap_or_default();
        warn(format!("{} events could not be decoded{first}", report.n_malformed));
    }
    if report.n_not_recorded > 0 {
        warn(format!("{} events were not kept by the recorder", report.n_not_recorded));
    }
    if report.n_newer > 0 {
        warn(format!(
            "{} events have parameters of a later version, which were left out",
            report.n_newer
        ));
    }
    if report.n_unknown_blocks > 0 {
        context.terminal.progress(&format!(
            "{}: {} blocks of unknown types were skipped",
            path.display(),
            report.n_unknown_blocks
        ));
    }
    report.problem.is_none() && report.n_malformed == 0 && report.n_not_recorded == 0
}

/// An alert of a recorded event: raised when it happened, on a host that the capture names.
fn alert_of(number: u64, hostname: String, detection: Detection) -> Alert {
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
        hostname,
        event_type: detection.event_type,
        outcome: detection.outcome,
        process: detection.process,
        ancestors: detection.ancestors,
        container: detection.container,
        recording: None,
        enforcement: None,
    }
}

/// What all captures together gave.
#[derive(Default)]
struct Totals {
    n_raw: u64,
    n_events: u64,
    n_upgraded: u64,
    n_merged: u64,
    n_malformed: u64,
    cpu: Duration,
    alerts: BTreeMap<String, u64>,
}

impl Totals {
    fn add(&mut self, report: &Replay) {
        self.n_raw += report.n_records;
        self.n_events += report.n_events;
        self.n_upgraded += report.n_upgraded;
        self.n_merged += report.n_merged;
        self.n_malformed += report.n_malformed;
    }

    fn text(&self, n_rules: usize) -> String {
        let seconds = self.cpu.as_secs_f64();
        let rate = |n: u64| {
            if seconds > 0.0 { thousands((n as f64 / seconds) as u64) } else { "-".into() }
        };
        let n_alerts: u64 = self.alerts.values().sum();
        let row = |what: &str, n: String, about: String| vec![what.to_string(), n, about];
        let mut rows = vec![
            row(
                "raw events",
                thousands(self.n_raw),
                format!(
                    "event blocks: {} rewritten from old forms, {} joined into others, {} not decoded",
                    thousands(self.n_upgraded),
                    thousands(self.n_merged),
                    thousands(self.n_malformed)
                ),
            ),
            row("events", thousands(self.n_events), "seen by the rules".into()),
            row(
                "CPU",
                format!("{seconds:.3} s"),
                format!(
                    "{} raw events, {} events per CPU second; reading, state, rules and output",
                    rate(self.n_raw),
                    rate(self.n_events)
                ),
            ),
            row("rules", thousands(n_rules as u64), "on".into()),
            row("alerts", thousands(n_alerts), String::new()),
        ];
        let mut by_count: Vec<(&String, &u64)> = self.alerts.iter().collect();
        by_count.sort_by_key(|(name, n)| (std::cmp::Reverse(**n), name.as_str()));
        rows.extend(by_count.iter().map(|(name, n)| row("", thousands(**n), (*name).clone())));
        columns(&["", "", ""], &rows).trim_start_matches('\n').to_string()
    }
}

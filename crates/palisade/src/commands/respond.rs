//! `palisade respond`: incidents, alerts, the report, and actions by hand.

pub(super) mod by_hand;
mod change;
mod export;
mod show;

use std::path::PathBuf;

use anyhow::Context as _;
use palisade_agent::journal::{StoredAlert, read_alerts};
use palisade_agent::keeper;
use palisade_agent::report::{self, EvidenceInfo, HardeningFact, ReportInput};
use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::finding::ScanReport;
use palisade_model::incident::TimelineEvent;
use palisade_model::wire::{Envelope, schema};
use palisade_model::{Incident, IncidentState, Verdict};
use palisade_respond::bundle;

pub(super) use self::export::EXPORT_SCHEMA;
use super::watch::evidence_folder;
use super::{Context, orders};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// A scan report beyond this size is not shown in a report.
const SCAN_BYTES_MAX: u64 = 256 << 20;

/// Carries out a `palisade respond` command.
pub(crate) fn respond(context: &Context<'_>, command: &cli::Respond) -> Result<Exit, Failure> {
    match command {
        cli::Respond::List(args) => list(context, args),
        cli::Respond::Show(args) => show(context, args),
        cli::Respond::Alerts(args) => alerts(context, args),
        cli::Respond::Report(args) => write_report(context, args),
        cli::Respond::Export(args) => export::export(context, args),
        cli::Respond::Note(args) => change::note(context, args),
        cli::Respond::Close(args) => change::close(context, args),
        cli::Respond::Freeze(args) => by_hand::freeze(context, args),
        cli::Respond::Isolate(args) => by_hand::isolate(context, args),
        cli::Respond::Act(args) => by_hand::act(context, args),
        cli::Respond::Undo(args) => orders::undo(context, args),
        cli::Respond::Orders(args) => orders::list(context, args),
        cli::Respond::Audit(args) => orders::audit(context, args),
        cli::Respond::Standing(args) => orders::standing(context, args),
        cli::Respond::Expire(args) => orders::expire(context, args),
        cli::Respond::Release(args) => by_hand::release(context, args),
        cli::Respond::Kill(args) => by_hand::kill(context, args),
        cli::Respond::Collect(args) => by_hand::collect(context, args),
    }
}

pub(super) fn incidents(context: &Context<'_>) -> Result<Vec<Incident>, Failure> {
    let folder = context.global.data_dir.join("incidents");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let (incidents, n_unreadable) = keeper::read_all(&folder)
        .with_context(|| format!("read incidents in `{}`", folder.display()))?;
    if n_unreadable > 0 {
        context.terminal.error(&format!("warning: {n_unreadable} incident(s) could not be read\n"));
    }
    Ok(incidents)
}

/// The incident that `text` names: an id, its beginning, or `latest`.
pub(super) fn find(context: &Context<'_>, text: &str) -> Result<Incident, Failure> {
    let mut all = incidents(context)?;
    let missing = |message: String| {
        Failure::message(Exit::Incomplete, message).with_hint("`palisade respond list` names them")
    };
    if text == "latest" {
        return all.pop().ok_or_else(|| missing("there is no incident".into()));
    }
    let mut matching = all.into_iter().filter(|incident| incident.id.starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(incident), None) => Ok(incident),
        (Some(_), Some(_)) => Err(missing(format!("`{text}` names several incidents"))),
        (None, _) => Err(missing(format!("no incident `{text}`"))),
    }
}

/// The alerts of `incident` that are still in the journal.
pub(super) fn alerts_of(
    context: &Context<'_>,
    incident: &Incident,
) -> Result<Vec<palisade_model::Alert>, Failure> {
    export::alerts_of(context, incident).map(|(alerts, _)| alerts)
}

/// Lower-case name of a state.
pub(crate) fn state_name(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Open => "open",
        IncidentState::Responding => "responding",
        IncidentState::Contained => "contained",
        IncidentState::Closed => "closed",
    }
}

fn list(context: &Context<'_>, args: &cli::Ps) -> Result<Exit, Failure> {
    let all = incidents(context)?;
    if args.format == ListFormat::Json {
        let document =
            serde_json::json!({ "schema": "palisade.dev/incidents/v1", "incidents": all });
        context.terminal.result(&format!("{document:#}\n"))?;
        return Ok(Exit::Clean);
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|incident| {
            let count = |wanted: fn(&TimelineEvent) -> bool| {
                incident.timeline.iter().filter(|entry| wanted(&entry.what)).count().to_string()
            };
            vec![
                incident.id.clone(),
                state_name(incident.state).to_string(),
                incident.priority.to_string(),
                incident.opened.to_string(),
                incident.container.as_ref().map_or_else(|| "host".into(), |c| c.name.clone()),
                count(|what| matches!(what, TimelineEvent::Alert { .. })),
                count(|what| matches!(what, TimelineEvent::Action { .. })),
                incident.score.value.to_string(),
            ]
        })
        .collect();
    let header =
        ["INCIDENT", "STATE", "PRIORITY", "OPENED", "CONTAINER", "ALERTS", "ACTIONS", "SCORE"];
    let text = match args.format {
        ListFormat::Tsv => tsv(&rows),
        _ => columns(&header, &rows),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn show(context: &Context<'_>, args: &cli::IncidentArgs) -> Result<Exit, Failure> {
    let incident = find(context, &args.incident)?;
    let text = if args.format == ListFormat::Json {
        let document = serde_json::to_string_pretty(&Envelope::new(schema::INCIDENT, &incident))
            .context("write the incident")?;
        document + "\n"
    } else {
        show::text(context, &incident)
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn alerts(context: &Context<'_>, args: &cli::AlertsArgs) -> Result<Exit, Failure> {
    let (stored, recovery) = read_alerts(&context.global.data_dir).or_exit(Exit::Incomplete)?;
    if recovery.n_unreadable > 0 {
        let n = recovery.n_unreadable;
        context.terminal.error(&format!("warning: {n} line(s) could not be read\n"));
    }
    let wanted: Vec<&StoredAlert> = stored
        .iter()
        .filter(|stored| match (&args.container, &stored.alert.container) {
            (None, _) => true,
            (Some(wanted), Some(c)) => c.name == *wanted || c.id.starts_with(wanted.as_str()),
            (Some(_), None) => false,
        })
        .collect();
    let text = match args.format {
        ListFormat::Json => {
            let lines: Vec<String> =
                wanted.iter().map(|s| palisade_agent::output::json(&s.alert) + "\n").collect();
            lines.concat()
        }
        ListFormat::Tsv => tsv(&wanted.iter().map(|stored| full_row(stored)).collect::<Vec<_>>()),
        ListFormat::Table => {
            let short = [1, 2, 3, 4, 5, 9, 10];
            let rows: Vec<Vec<String>> = wanted
                .iter()
                .map(|stored| {
                    let row = full_row(stored);
                    short.iter().filter_map(|at| row.get(*at).cloned()).collect()
                })
                .collect();
            let header = ["TIME", "PRIORITY", "RULE", "VERDICT", "ERROR", "PROCESSES", "CONTAINER"];
            columns(&header, &rows)
        }
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

/// Id, time, priority, rule, verdict, error, latency in ms, event, process, lineage,
/// container, image, repeats, output.
fn full_row(stored: &StoredAlert) -> Vec<String> {
    let alert = &stored.alert;
    let dash = || "-".to_string();
    let (verdict, error) = match (alert.verdict(), alert.outcome) {
        (Verdict::Blocked, Outcome::Failed { errno }) => ("blocked", errno_name(errno)),
        (Verdict::Blocked, _) => ("blocked", dash()),
        (Verdict::Detected, _) => ("detected", dash()),
    };
    let mut lineage: Vec<&str> =
        alert.ancestors.iter().rev().map(|process| process.name.as_str()).collect();
    lineage.extend(alert.process.as_ref().map(|process| process.name.as_str()));
    let row = vec![
        alert.id.clone(),
        alert.time.to_string(),
        alert.priority.to_string(),
        alert.rule.clone(),
        verdict.to_string(),
        error,
        format!("{:.2}", alert.latency().as_secs_f64() * 1000.0),
        alert.event_type.clone(),
        alert.process.as_ref().map_or_else(dash, |process| process.name.clone()),
        lineage.join(" > "),
        alert.container.as_ref().map_or_else(dash, |container| container.name.clone()),
        alert
            .container
            .as_ref()
            .and_then(|container| container.image.as_ref())
            .map_or_else(dash, |image| image.reference.clone()),
        stored.n_repeats.to_string(),
        alert.output.clone(),
    ];
    row.into_iter().map(|cell| palisade_scan::report::printable(&cell).into_owned()).collect()
}

/// `EACCES` for 13 (errno(3)); the number for those that attacks rarely meet.
fn errno_name(errno: i32) -> String {
    let name = match errno {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        13 => "EACCES",
        17 => "EEXIST",
        19 => "ENODEV",
        22 => "EINVAL",
        30 => "EROFS",
        38 => "ENOSYS",
        97 => "EAFNOSUPPORT",
        101 => "ENETUNREACH",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        113 => "EHOSTUNREACH",
        115 => "EINPROGRESS",
        _ => return format!("errno {errno}"),
    };
    name.to_string()
}

fn write_report(context: &Context<'_>, args: &cli::ReportArgs) -> Result<Exit, Failure> {
    let incident = find(context, &args.incident)?;
    let scan = match &args.scan {
        Some(path) => Some(read_scan(path)?),
        None => None,
    };
    let bundle = newest_bundle(context, &incident)?;
    let verified = match &bundle {
        Some(path) => {
            Some(bundle::verify(path, bundle::Opening::default()).or_exit(Exit::Incomplete)?)
        }
        None => None,
    };
    let file = bundle.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hardening = hardening(context, &incident);
    let input = ReportInput {
        incident: &incident,
        scan: scan.as_ref(),
        hardening: &hardening,
        evidence: verified.as_ref().map(|verified| EvidenceInfo {
            file: &file,
            manifest: &verified.manifest,
            seal: verified.seal,
        }),
        hostname: hostname.trim(),
        tool: concat!("palisade ", env!("CARGO_PKG_VERSION")),
        time: Timestamp::now(),
    };
    let html = report::html(&input).context("write the report")?;
    context.terminal.result_to(Some(&args.html), &html)?;
    Ok(Exit::Clean)
}

fn read_scan(path: &std::path::Path) -> Result<ScanReport, Failure> {
    let shown = || format!("read scan report `{}`", path.display());
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes =
        palisade_base::read_bounded(file, "scan report", SCAN_BYTES_MAX).with_context(shown)?;
    let envelope: Envelope<ScanReport> = serde_json::from_slice(&bytes).with_context(shown)?;
    if envelope.schema != schema::SCAN_REPORT {
        let message = format!("`{}` is a `{}`", path.display(), envelope.schema);
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("make one with `palisade scan --format json`"));
    }
    Ok(envelope.body)
}

/// The evidence bundle that was collected last for `incident`.
fn newest_bundle(context: &Context<'_>, incident: &Incident) -> Result<Option<PathBuf>, Failure> {
    let folder = evidence_folder(&context.global.data_dir);
    if !folder.is_dir() {
        return Ok(None);
    }
    let shown = || format!("list `{}`", folder.display());
    let mut bundles = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(shown)? {
        let path = entry.with_context(shown)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.contains(&incident.id)) {
            bundles.push(path);
        }
    }
    bundles.sort();
    Ok(bundles.pop())
}

/// How the container was confined, by the policy that its record names.
fn hardening(context: &Context<'_>, incident: &Incident) -> Vec<HardeningFact> {
    let policy = incident.container.as_ref().and_then(|container| container.policy.as_ref());
    let Some(name) = policy else { return Vec::new() };
    let kept = context.global.data_dir.join("policies").join(format!("{name}.yaml"));
    let loaded =
        palisade_policy::Policy::load_file(&kept).or_else(|_| palisade_policy::Policy::load(name));
    match loaded {
        Ok(loaded) => super::confinement::facts(&loaded.policy),
        Err(_) => Vec::new(),
    }
}

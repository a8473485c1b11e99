//! `palisade scan --stored`: what was scanned before, judged by what is known now.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_base::text::printable;
use palisade_model::Finding;
use palisade_model::finding::{Coverage, Dropped, ScanReport, Vulnerability};
use palisade_policy::Gate;
use palisade_scan::db::{Database, ReadDatabaseError};
use palisade_scan::ignore::{self, Ignore};
use palisade_scan::report::Format;
use palisade_scan::report::item::advisories;
use palisade_scan::stored::{Entry, Evaluation, LookOptions, Seen, Store, Summary, Unreadable};
use palisade_scan::{gate, matching, scan};
use serde::Serialize;

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

/// Changes the form in JSON, when it changes.
const VERSION: u32 = 1;
/// Images without functions that are named one by one.
const WITHOUT_FUNCTIONS_MAX: usize = 20;
/// How long a scan or a list waits for a look of somebody else, which may take minutes.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// This release: another may read an image and match its packages differently.
pub(super) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// What the answers are judged by.
pub(super) struct Judging<'a> {
    pub(super) gate: Option<&'a Gate>,
    pub(super) ignores: &'a [Ignore],
    /// After how many days to warn of old advisories.
    pub(super) warn_days: Option<u32>,
    pub(super) now: Timestamp,
}

/// One stored image in the report.
#[derive(Debug, Serialize)]
struct Image {
    #[serde(flatten)]
    entry: Entry,
    new: Vec<Vulnerability>,
    gone: Vec<Vulnerability>,
    n_still: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    still: Option<Vec<Vulnerability>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<palisade_model::GateResult>,
}

/// The report in JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    version: u32,
    time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<Timestamp>,
    database: palisade_model::finding::DatabaseInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    database_age_days: Option<u64>,
    n_matched: u64,
    n_evicted: u64,
    n_unreadable: u64,
    unreadable: &'a [Unreadable],
    images: &'a [Image],
}

pub(super) fn store(context: &Context<'_>) -> Store {
    Store::new(&context.global.data_dir.join("inventories"))
}

/// The store, for who waits where somebody sees it: no longer than `max`, if there is one.
fn store_for_people(context: &Context<'_>, max: Option<Duration>) -> Store {
    let terminal = context.terminal;
    store(context)
        .waiting(max, move || terminal.progress("waiting for a look at the stored inventories"))
}

/// Why nothing was done to the store, and what to do if it is that somebody else has it.
fn busy(error: std::io::Error, what: &'static str) -> Failure {
    let is_busy = error.kind() == std::io::ErrorKind::TimedOut;
    let failure = Failure::from(anyhow::Error::new(error).context(what));
    if is_busy { failure.with_hint("try again when it has ended") } else { failure }
}

/// Refuses what `--stored` has no use for.
pub(super) fn check_flags(args: &cli::Scan) -> Result<(), Failure> {
    if !args.stored.stored {
        return Ok(());
    }
    let usage = |what: &str, hint: &str| Err(Failure::message(Exit::Usage, what).with_hint(hint));
    if !matches!(args.reports.format, Format::Table | Format::Json) {
        return usage("--stored has no report in this form", "use --format table or json");
    }
    if !args.reports.report.is_empty() || args.gate.baseline.is_some() {
        let hint = "it compares with the last look by itself; write it with --output FILE";
        return usage("--stored takes neither --report nor --baseline", hint);
    }
    if args.minimality.minimality {
        let hint = "leave --minimality out, or scan the image itself";
        return usage("a stored inventory does not show what the image runs", hint);
    }
    Ok(())
}

/// Stores what `report` found. That it cannot be stored costs no scan.
pub(super) fn keep(context: &Context<'_>, report: &ScanReport, database: Option<&Database>) {
    if report.inventory.subject.digest.is_none() {
        return;
    }
    let store = store_for_people(context, Some(WAIT_MAX));
    let digest = database.map(Database::digest);
    if store.is_kept(&report.inventory, digest, PROGRAM) {
        return;
    }
    let keep = || -> anyhow::Result<u64> {
        // The report has lost what was set aside, which the next look must not call new.
        let found = database.map(|db| matching::find_vulnerabilities(&report.inventory, db));
        let evaluation = found.transpose()?.map(Evaluation::from).unwrap_or_default();
        Ok(store.put(&report.inventory, &evaluation, digest, (PROGRAM, report.time))?)
    };
    match keep() {
        Ok(0) => {}
        Ok(n) => context.terminal.progress(&format!(
            "warning: the store of inventories is full; the {n} scanned longest ago made room"
        )),
        Err(error) => context.terminal.progress(&format!(
            "warning: the inventory is not stored ({error:#}); --no-store leaves it out"
        )),
    }
}

/// `palisade scan --stored`.
pub(super) fn look(
    context: &Context<'_>,
    args: &cli::Scan,
    judging: &Judging<'_>,
) -> Result<Exit, Failure> {
    let is_look = args.stored.forget.is_none() && !args.stored.list;
    let store = store_for_people(context, (!is_look).then_some(WAIT_MAX));
    if let Some(digest) = args.stored.forget {
        if store.forget(digest).map_err(|error| busy(error, "remove a stored inventory"))? {
            context.terminal.progress(&format!("forgot {digest}"));
            return Ok(Exit::Clean);
        }
        return Err(Failure::message(Exit::Incomplete, format!("{digest} is not stored"))
            .with_hint("`palisade scan --stored --list` lists what is"));
    }
    if args.stored.list {
        return list(context, args, &store);
    }
    let Some(database) = super::scan::open_database(context, args)? else {
        return Err(ReadDatabaseError::Missing(context.database(None))).or_exit(Exit::Incomplete);
    };
    let info = database.info();
    super::scan::warn_of_age(context, Some(&info), judging.warn_days, judging.now);
    let options = LookOptions {
        now: judging.now,
        program: PROGRAM,
        details: args.reports.all || judging.gate.is_some() || !judging.ignores.is_empty(),
        // What differs between two databases does not name scores of EPSS.
        full: judging.gate.is_some_and(|gate| gate.epss_ppm.is_some()),
        n_threads_max: usize::MAX,
        watch: None,
    };
    let (mut images, mut exit) = (Vec::new(), Exit::Clean);
    let mut failed = None;
    let summary = store
        .look(&database, &options, &mut |seen| match judge(seen, &database, args, judging) {
            Ok(image) => images.push(image),
            Err(error) => failed = Some(error),
        })
        .or_exit(Exit::Incomplete)?;
    if let Some(error) = failed {
        return Err(error).or_exit(Exit::Incomplete);
    }
    for image in &images {
        let Some(result) = &image.gate else { continue };
        if result.verdict != palisade_model::judgement::GateVerdict::Passed {
            context.terminal.error(&format!("{}: ", name(&image.entry)));
        }
        exit = worse(exit, super::scan::say(context, result));
    }
    write(context, args, &database, &summary, &images, judging.now)?;
    // Only now: what nobody was told stays new.
    if !images.is_empty() {
        store
            .acknowledge(summary.time)
            .context("note that the stored inventories were looked at")?;
    }
    Ok(match exit {
        // What could not be read could be vulnerable: the gate has no answer for it.
        Exit::Clean if summary.n_unreadable > 0 && judging.gate.is_some() => Exit::Incomplete,
        Exit::Clean if summary.n_unreadable > 0 => Exit::Partial,
        exit => exit,
    })
}

/// A refusal outweighs what could not be answered.
fn worse(a: Exit, b: Exit) -> Exit {
    match (a, b) {
        (Exit::Refused, _) | (_, Exit::Refused) => Exit::Refused,
        (Exit::Incomplete, _) | (_, Exit::Incomplete) => Exit::Incomplete,
        _ => a,
    }
}

/// Sets aside what is ignored, and asks the gate.
fn judge(
    seen: Seen,
    database: &Database,
    args: &cli::Scan,
    judging: &Judging<'_>,
) -> Result<Image, ReadDatabaseError> {
    let Seen { entry, mut new, gone, mut n_still, details } = seen;
    let (mut still, mut result) = (None, None);
    if let Some((found, inventory)) = details {
        let is_new: std::collections::HashSet<(String, String)> =
            new.iter().map(|v| (v.id.clone(), v.purl.clone())).collect();
        let mut findings: Vec<Finding> =
            found.vulnerabilities.into_iter().map(Finding::Vulnerability).collect();
        let applied =
            ignore::apply(&mut findings, judging.ignores, judging.now, Some(&entry.subject));
        let left = findings.iter().filter_map(|finding| match finding {
            Finding::Vulnerability(v) => Some(v.clone()),
            _ => None,
        });
        let old: Vec<Vulnerability>;
        (new, old) = left.partition(|v| is_new.contains(&(v.id.clone(), v.purl.clone())));
        n_still = old.len() as u64;
        still = args.reports.all.then_some(old);
        // As a bill of materials: nothing but packages is known of the image.
        let mut coverage = Coverage {
            is_of_document: true,
            n_packages_matched: found.n_packages_matched,
            unmatched: found.unmatched,
            n_dropped: found.n_dropped,
            dropped: Dropped { vulnerabilities: found.n_dropped, ..Dropped::default() },
            ..Coverage::default()
        };
        if judging.gate.is_some() {
            // What could not be compared is not stored, and the gate must know of it.
            let mut matches = matching::find_vulnerabilities(&inventory, database)?;
            let (ignores, now) = (judging.ignores, judging.now);
            scan::note_incomparable(&mut matches, &inventory, ignores, now, &mut coverage);
        }
        let info = database.info_of(&inventory);
        let report = ScanReport {
            time: judging.now,
            inventory,
            database: Some(info),
            findings,
            n_ignored: applied.n_ignored,
            suppressed: applied.suppressed,
            gate: None,
            minimality: None,
            coverage,
        };
        result = judging.gate.map(|gate| gate::judge(&report, gate, None, judging.now));
    }
    Ok(Image { entry, new, gone, n_still, still, gate: result })
}

fn name(entry: &Entry) -> String {
    printable(entry.subject.name.as_bytes()).into_owned()
}

fn write(
    context: &Context<'_>,
    args: &cli::Scan,
    database: &Database,
    summary: &Summary,
    images: &[Image],
    now: Timestamp,
) -> Result<(), Failure> {
    let info = database.info();
    let days = info.age_days(now);
    let text = if args.reports.format == Format::Json {
        let report = Report {
            version: VERSION,
            time: now,
            last: summary.last,
            database: info,
            database_age_days: days,
            n_matched: summary.n_matched,
            n_evicted: summary.n_evicted,
            n_unreadable: summary.n_unreadable,
            unreadable: &summary.unreadable,
            images,
        };
        serde_json::to_string_pretty(&report).context("write the report")? + "\n"
    } else {
        let mut rows = Vec::new();
        for image in images {
            let still = image.still.as_deref().unwrap_or_default();
            for (what, list) in [("new", &image.new[..]), ("gone", &image.gone), ("still", still)] {
                let shown = list.iter().filter(|v| v.severity >= args.reports.severity);
                rows.extend(shown.map(|v| row(what, v, &image.entry)));
            }
        }
        let count = |n: &dyn Fn(&Image) -> u64| images.iter().map(n).sum::<u64>();
        let mut text = String::new();
        if !rows.is_empty() {
            let header = [
                "STATE",
                "SEVERITY",
                "VULNERABILITY",
                "PACKAGE",
                "INSTALLED",
                "FIXED",
                "CODE",
                "IMAGE",
            ];
            text = columns(&header, &rows) + "\n";
        }
        let age = advisories(&info, now);
        let last = summary.last.map_or_else(|| "never".to_string(), |time| time.to_string());
        let _ = writeln!(
            text,
            "{} images, {} new, {} gone, {} still there; {age}; last look: {last}",
            images.len(),
            count(&|image| image.new.len() as u64),
            count(&|image| image.gone.len() as u64),
            count(&|image| image.n_still),
        );
        text + &without_functions(images)
            + &unreadable(&summary.unreadable, summary.n_unreadable, summary.n_evicted)
    };
    context.terminal.result_to(args.reports.output.as_deref(), &text)
}

fn row(what: &str, v: &Vulnerability, entry: &Entry) -> Vec<String> {
    let fixed = v.fixed.as_deref().unwrap_or("-");
    let exploited = if v.known_exploited { " (exploited)" } else { "" };
    let severity = format!("{}{exploited}", v.severity);
    let code = v.symbols.as_ref().map_or("-", |check| check.answer.as_str());
    let name = &entry.subject.name;
    let cells = [what, &severity, &v.id, &v.package, &v.installed, fixed, code, name];
    cells.iter().map(|cell| printable(cell.as_bytes()).into_owned()).collect()
}

/// Images that were stored before the functions of programs were.
fn without_functions(images: &[Image]) -> String {
    let mut old = images.iter().filter(|image| image.entry.functions == Some(false));
    let mut text = String::new();
    let n = old.clone().count();
    if n > 0 {
        let _ = writeln!(
            text,
            "{n} images were stored before the functions of programs were kept; scan them again to \
             be told whether vulnerable code is in them:"
        );
    }
    for image in old.by_ref().take(WITHOUT_FUNCTIONS_MAX) {
        let _ = writeln!(text, "  {}", name(&image.entry));
    }
    let n_left = old.count();
    if n_left > 0 {
        let _ = writeln!(text, "  and {n_left} more");
    }
    text
}

/// What the store has lost.
fn unreadable(files: &[Unreadable], n: u64, n_evicted: u64) -> String {
    let mut text = String::new();
    if n_evicted > 0 {
        let _ =
            writeln!(text, "{n_evicted} inventories made room for others and are not looked at");
    }
    if n > 0 {
        let _ = writeln!(text, "{n} inventories could not be read:");
    }
    for file in files {
        let _ = writeln!(text, "  {}: {}", printable(file.file.as_bytes()), file.reason);
    }
    text
}

fn list(context: &Context<'_>, args: &cli::Scan, store: &Store) -> Result<Exit, Failure> {
    let listing = store.list().map_err(|error| busy(error, "list the stored inventories"))?;
    let text = if args.reports.format == Format::Json {
        serde_json::to_string_pretty(&listing).context("write the list")? + "\n"
    } else {
        let row = |entry: &Entry| {
            let digest = entry.subject.digest.map(|digest| digest.to_string());
            let numbers = [entry.n_packages.to_string(), entry.n_vulnerabilities.to_string()];
            let [packages, found] = numbers;
            vec![digest.unwrap_or_default(), entry.stored.to_string(), packages, found, name(entry)]
        };
        let rows: Vec<Vec<String>> = listing.entries.iter().map(row).collect();
        let header = ["DIGEST", "SCANNED", "PACKAGES", "VULNERABILITIES", "IMAGE"];
        columns(&header, &rows)
            + &unreadable(&listing.unreadable, listing.n_unreadable, listing.n_evicted)
    };
    context.terminal.result_to(args.reports.output.as_deref(), &text)?;
    Ok(if listing.n_unreadable > 0 { Exit::Partial } else { Exit::Clean })
}

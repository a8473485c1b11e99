//! `palisade scan` and `palisade sbom`.

use std::path::Path;

use anyhow::Context as _;
use palisade_base::{Diagnostics, Timestamp};
use palisade_image::{Image, OpenOptions};
use palisade_model::Target;
use palisade_model::finding::ScanReport;
use palisade_policy::Gate;
use palisade_scan::db::{Database, ReadDatabaseError};
use palisade_scan::gate::{GateDecision, evaluate};
use palisade_scan::ignore::{self, Ignore};
use palisade_scan::report::table::TableOptions;
use palisade_scan::report::{json, sarif, table};
use palisade_scan::sbom::{DocumentInfo, cyclonedx, spdx};
use palisade_scan::{Look, ScanOptions, scan};

use super::Context;
use super::look::{LookFlags, Looks};
use crate::cli::{self, SbomFormat, ScanFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// An ignore file beyond this size is refused.
const IGNORE_BYTES_MAX: u64 = 1 << 20;

/// Examines an image and applies a policy's gate.
pub(crate) fn scan(context: &Context<'_>, args: &cli::Scan) -> Result<Exit, Failure> {
    let policy = match &args.policy {
        Some(policy) => Some(context.load_policy(policy)?.policy),
        None => None,
    };
    let flags = LookFlags {
        yara: &args.yara,
        hashes: &args.hashes,
        fingerprint_key: args.fingerprint_key.as_deref(),
        malware: true,
    };
    let asked = policy.as_ref().map(|policy| policy.scan.clone()).unwrap_or_default();
    let looks = Looks::load(context, &asked, &flags)?;
    let gate = policy.map(|policy| policy.images.gate);
    let now = Timestamp::now();
    let ignores = match &args.ignore {
        Some(file) => read_ignores(context, file)?,
        None => Vec::new(),
    };
    let target: Target = args.target.parse().or_exit(Exit::Usage)?;
    let image = Image::open(&target, &OpenOptions::default()).or_exit(Exit::Incomplete)?;
    let database = open_database(context, args)?;
    context.terminal.progress(&format!("examining {target}"));
    let options = ScanOptions {
        now,
        database: database.as_ref(),
        ignores: &ignores,
        secrets: true,
        look: looks.look(),
    };
    let report = scan::scan_image(&image, &options).or_exit(Exit::Incomplete)?;
    let text = match args.format {
        ScanFormat::Table => table::render(
            &report,
            TableOptions {
                colour: context.terminal.color && args.output.is_none(),
                severity_min: palisade_model::Severity::Unknown,
                all: args.all,
            },
        ),
        ScanFormat::Json => json::render(&report).context("write the report")?,
        ScanFormat::Sarif => {
            sarif::render(&report, env!("CARGO_PKG_VERSION")).context("write the report")?
        }
    };
    context.terminal.result_to(args.output.as_deref(), &text)?;
    let exit = match gate {
        Some(gate) => judge(context, &report, &gate, now),
        None => Exit::Clean,
    };
    Ok(match exit {
        Exit::Clean if !report.gaps().is_empty() => Exit::Partial,
        exit => exit,
    })
}

/// Says what the gate says.
fn judge(context: &Context<'_>, report: &ScanReport, gate: &Gate, now: Timestamp) -> Exit {
    let say = |verdict: &str, reasons: &[String]| {
        context.terminal.error(&format!("{verdict}\n"));
        for reason in reasons {
            context.terminal.error(&format!("  - {reason}\n"));
        }
    };
    match evaluate(report, gate, now) {
        GateDecision::Pass => {
            context.terminal.progress("gate: passed");
            Exit::Clean
        }
        GateDecision::Refuse { reasons } => {
            say("gate: refused", &reasons);
            Exit::Refused
        }
        GateDecision::NotEvaluated { why } => {
            say("gate: could not be evaluated", &why);
            Exit::Incomplete
        }
    }
}

/// The advisory database. One that was named must be there; without one in its usual place
/// the report says that vulnerabilities were not looked for.
fn open_database(context: &Context<'_>, args: &cli::Scan) -> Result<Option<Database>, Failure> {
    let path = context.database(args.db.as_ref());
    match Database::open(&path) {
        Ok(database) => Ok(Some(database)),
        Err(ReadDatabaseError::Missing(_)) if args.db.is_none() => {
            context.terminal.progress(&format!(
                "no advisory database at {}: vulnerabilities are not looked for (see palisade db build --help)",
                path.display()
            ));
            Ok(None)
        }
        Err(error) => Err(error).or_exit(Exit::Incomplete),
    }
}

fn read_ignores(context: &Context<'_>, path: &Path) -> Result<Vec<Ignore>, Failure> {
    let shown = || format!("read `{}`", path.display());
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes =
        palisade_base::read_bounded(file, "ignore file", IGNORE_BYTES_MAX).with_context(shown)?;
    let text = String::from_utf8(bytes).with_context(shown)?;
    ignore::parse(&text, &path.display().to_string()).map_err(|Diagnostics(problems)| {
        for problem in &problems {
            context.terminal.error(&problem.render(Some(&text)));
        }
        Failure::message(Exit::Usage, format!("`{}` is not usable", path.display()))
    })
}

/// Scans an open image for an admission: with the database if there is one.
pub(crate) fn scan_image(
    image: &Image,
    database: &Path,
    ignores: &[Ignore],
    now: Timestamp,
    look: Look<'_>,
) -> anyhow::Result<ScanReport> {
    let database = match Database::open(database) {
        Ok(database) => Some(database),
        Err(ReadDatabaseError::Missing(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let options = ScanOptions { now, database: database.as_ref(), ignores, secrets: true, look };
    Ok(scan::scan_image(image, &options)?)
}

/// Writes the bill of materials of an image.
pub(crate) fn sbom(context: &Context<'_>, args: &cli::Sbom) -> Result<Exit, Failure> {
    let target: Target = args.target.parse().or_exit(Exit::Usage)?;
    let image = Image::open(&target, &OpenOptions::default()).or_exit(Exit::Incomplete)?;
    let now = Timestamp::now();
    let options =
        ScanOptions { now, database: None, ignores: &[], secrets: false, look: Look::default() };
    let inventory = scan::scan_image(&image, &options).or_exit(Exit::Incomplete)?.inventory;
    let seed = format!("{}{now}", image.subject().name);
    let info = DocumentInfo::derived(seed.as_bytes(), now, env!("CARGO_PKG_VERSION"));
    let text = match args.format {
        SbomFormat::CyclonedxJson => cyclonedx::render(&inventory, &info),
        SbomFormat::SpdxJson => spdx::render(&inventory, &info),
    }
    .context("write the document")?;
    context.terminal.result_to(args.output.as_deref(), &text)?;
    for gap in &inventory.gaps {
        context.terminal.error(&format!("warning: not examined: {}: {}\n", gap.path, gap.reason));
    }
    Ok(if inventory.gaps.is_empty() { Exit::Clean } else { Exit::Partial })
}

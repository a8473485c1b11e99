//! `palisade scan` and `palisade sbom`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_base::text::printable;
use palisade_base::{Diagnostics, Timestamp};
use palisade_image::Image;
use palisade_model::finding::{DatabaseInfo, ScanReport};
use palisade_model::judgement::GateVerdict;
use palisade_model::{GateResult, Target};
use palisade_policy::{Checks, EndOfLife, Gate, Policy};
use palisade_scan::db::{Database, ReadDatabaseError};
use palisade_scan::gate::{self, Known};
use palisade_scan::ignore::{self, Ignore};
use palisade_scan::minimality::{self, Lifecycles};
use palisade_scan::report::item;
use palisade_scan::report::table::TableOptions;
use palisade_scan::report::template::Template;
use palisade_scan::report::{self, Format, RenderOptions};
use palisade_scan::sbom::{self, DocumentInfo};
use palisade_scan::{Look, ScanOptions, scan};

use super::Context;
use super::look::{self, LookFlags, Looks};
use super::stored;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// An ignore file beyond this size is refused.
const IGNORE_BYTES_MAX: u64 = 1 << 20;

/// Examines an image and applies a gate.
pub(crate) fn scan(context: &Context<'_>, args: &cli::Scan) -> Result<Exit, Failure> {
    palisade_sys::memory::return_large_pieces();
    let policy = match &args.gate.policy {
        Some(policy) => Some(context.load_policy(policy)?.policy),
        None => None,
    };
    let checks = policy.as_ref().map(|policy| policy.checks.clone()).unwrap_or_default();
    let asked = policy.as_ref().map(|policy| policy.scan.clone()).unwrap_or_default();
    let warn_days = warn_days(policy.as_ref());
    let gate = gate_of(policy, &args.gate)?;
    stored::check_flags(args)?;
    let known = args.gate.baseline.as_deref().map(read_baseline).transpose()?;
    let template = UserTemplate::read(&args.reports)?;
    let now = Timestamp::now();
    let mut ignores = exceptions(context, args.ignore.as_slice(), &args.vex)?;
    if let Some(gate) = &gate {
        ignores.extend(exceptions_of(context, gate)?);
    }
    let Some(target) = &args.target else {
        let judging = stored::Judging { gate: gate.as_ref(), ignores: &ignores, warn_days, now };
        return stored::look(context, args, &judging);
    };
    let target: Target = target.parse().or_exit(Exit::Usage)?;
    let flags = LookFlags {
        yara: &args.look.yara,
        hashes: &args.look.hashes,
        fingerprint_key: args.look.fingerprint_key.as_deref(),
        // A bill of materials has no files.
        malware: !matches!(target, Target::Sbom(_)),
        cache: look::folder(context, &args.source),
    };
    let looks = Looks::load(context, &asked, &flags)?;
    let ends = gate.as_ref().map(|gate| &gate.end_of_life_dates[..]).unwrap_or_default();
    let judging = Judging { ignores: &ignores, checks: &checks, look: looks.look(), ends, now };
    let (mut report, database) = match &target {
        Target::Sbom(file) => (examine_document(context, args, file, &judging)?, None),
        _ => examine(context, args, &target, &judging)?,
    };
    warn_of_age(context, report.database.as_ref(), warn_days, now);
    if let Some(gate) = &gate {
        report.gate = Some(gate::judge(&report, gate, known.as_ref(), now));
    }
    write_reports(context, &report, &args.reports, template.0.as_ref())?;
    let exit = match &report.gate {
        Some(result) => say(context, result),
        None => Exit::Clean,
    };
    // Last: nobody waits for the report because somebody else has the store.
    let is_image = !matches!(target, Target::Sbom(_));
    if is_image && !args.stored.no_store && !args.source.no_cache {
        stored::keep(context, &report, database.as_ref());
    }
    Ok(match exit {
        Exit::Clean if !report.gaps().is_empty() => Exit::Partial,
        exit => exit,
    })
}

/// What findings are judged by.
struct Judging<'a> {
    ignores: &'a [Ignore],
    checks: &'a Checks,
    look: Look<'a>,
    /// Ends of maintenance that the policy knows better.
    ends: &'a [EndOfLife],
    now: Timestamp,
}

/// The findings of a bill of materials.
fn examine_document(
    context: &Context<'_>,
    args: &cli::Scan,
    file: &Path,
    judging: &Judging<'_>,
) -> Result<ScanReport, Failure> {
    if args.minimality.minimality {
        let why = "a bill of materials does not show what the image runs";
        return Err(Failure::message(Exit::Usage, why)
            .with_hint("leave --minimality out, or scan the image itself"));
    }
    let document = sbom::read::read_file(file).or_exit(Exit::Incomplete)?;
    let database = open_database(context, args)?;
    let options = ScanOptions {
        now: judging.now,
        database: database.as_ref(),
        ignores: judging.ignores,
        checks: judging.checks,
        secrets: false,
        look: judging.look,
        minimality: None,
    };
    context.terminal.progress(&format!("examining sbom:{} ({})", file.display(), document.format));
    scan::scan_document(document, &options).or_exit(Exit::Incomplete)
}

/// The findings of an image, and the database that was asked.
fn examine(
    context: &Context<'_>,
    args: &cli::Scan,
    target: &Target,
    judging: &Judging<'_>,
) -> Result<(ScanReport, Option<Database>), Failure> {
    let image = super::image::open_target(context, target, &args.source)?;
    let database = open_database(context, args)?;
    let lifecycles = database.as_ref().map(Database::lifecycles).transpose();
    let lifecycles = lifecycles.or_exit(Exit::Incomplete)?.flatten();
    let wants = args.minimality.minimality || args.gate.fail_on_end_of_life;
    let minimality = wants
        .then(|| -> Result<minimality::Options, Failure> {
            Ok(minimality::Options {
                bases: bases(context, &args.minimality.base, &args.source)?,
                lifecycles: lifecycles.as_ref().unwrap_or(Lifecycles::builtin()).with(judging.ends),
            })
        })
        .transpose()?;
    context.terminal.progress(&format!("examining {}", image.target));
    let options = ScanOptions {
        now: judging.now,
        database: database.as_ref(),
        ignores: judging.ignores,
        checks: judging.checks,
        secrets: true,
        look: judging.look,
        minimality: minimality.as_ref(),
    };
    let cache = super::image::examinations(context, &args.source);
    let report = scan::scan_cached(&image, &options, cache.as_ref()).or_exit(Exit::Incomplete)?;
    Ok((report, database))
}

/// The images that may be the base: their layers are known without reading them.
fn bases(
    context: &Context<'_>,
    targets: &[String],
    source: &cli::ImageSource,
) -> Result<Vec<minimality::KnownBase>, Failure> {
    let open = |text: &String| {
        let image = super::image::open(context, text, source)?;
        Ok(minimality::KnownBase {
            name: text.clone(),
            diff_ids: image.layers.iter().map(|layer| layer.diff_id).collect(),
        })
    };
    targets.iter().map(open).collect()
}

/// The gate of the policy, with what the flags say instead; none where nobody asks for one.
fn gate_of(policy: Option<Policy>, args: &cli::GateOptions) -> Result<Option<Gate>, Failure> {
    let mut gate = policy.map(|policy| policy.images.gate).unwrap_or_default();
    gate.severity = args.fail_on.or(gate.severity);
    gate.fixed_only |= args.only_fixed;
    gate.known_exploited |= args.kev;
    gate.epss_ppm = args.epss.or(gate.epss_ppm);
    gate.secrets |= args.fail_on_secrets;
    gate.malware |= args.fail_on_malware;
    gate.licences |= args.fail_on_licences;
    gate.other_severity = args.fail_on_other.or(gate.other_severity);
    gate.end_of_life |= args.fail_on_end_of_life;
    gate.database_age_days_max = args.max_age_days.or(gate.database_age_days_max);
    let usage = |what: &str, hint: &str| Failure::message(Exit::Usage, what).with_hint(hint);
    if args.only_fixed && gate.severity.is_none() && gate.epss_ppm.is_none() {
        let hint = "add --fail-on SEVERITY or --epss PROBABILITY";
        return Err(usage("--only-fixed narrows --fail-on and --epss, and neither is asked", hint));
    }
    if args.baseline.is_some() && !gate.is_active() {
        let hint = "add what the gate is to refuse, for example --fail-on low";
        return Err(usage("--baseline is given, and the gate refuses nothing", hint));
    }
    Ok((args.policy.is_some() || gate.is_active()).then_some(gate))
}

fn read_baseline(path: &Path) -> Result<Known, Failure> {
    Ok(Known::of(&read_report(path)?))
}

/// Reads a report in JSON; `-` is standard input.
pub(crate) fn read_report(path: &Path) -> Result<ScanReport, Failure> {
    let bytes = read_bytes(path, "report", report::json::BYTES_MAX)?;
    report::json::read(&bytes)
        .or_exit(Exit::Incomplete)
        .map_err(|failure| failure.during(format!("read report `{}`", path.display())))
}

/// The bytes of a file, or of standard input for `-`.
pub(crate) fn read_bytes(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, Failure> {
    let shown = || format!("read {what} `{}`", path.display());
    let bytes = if path == Path::new("-") {
        palisade_base::read_bounded(std::io::stdin().lock(), what, limit)
    } else {
        let file = std::fs::File::open(path).with_context(shown)?;
        palisade_base::read_bounded(file, what, limit)
    };
    Ok(bytes.with_context(shown)?)
}

/// The user's template, if a form asks for one.
pub(crate) struct UserTemplate(pub(crate) Option<Template>);

impl UserTemplate {
    /// Reads it before the work begins: a mistake in it must not cost a scan.
    pub(crate) fn read(options: &cli::ReportOptions) -> Result<Self, Failure> {
        let wants = options.format == Format::Template
            || options.report.iter().any(|report| report.format == Format::Template);
        let Some(path) = &options.template else {
            return if wants {
                Err(Failure::from_explained(report::RenderError::NoTemplate, Exit::Usage))
            } else {
                Ok(Self(None))
            };
        };
        if !wants {
            return Err(Failure::message(Exit::Usage, "--template is given, and no form uses it")
                .with_hint("add --format template or --report template=FILE"));
        }
        let limit = report::template::BYTES_MAX as u64 + 1;
        let bytes = read_bytes(path, "template", limit)?;
        let text = String::from_utf8(bytes)
            .with_context(|| format!("read template `{}`", path.display()))?;
        let name = path.display().to_string();
        Ok(Self(Some(Template::parse(&text, &name).or_exit(Exit::Usage)?)))
    }
}

/// Writes the report to stdout or its file, and every further one.
pub(crate) fn write_reports(
    context: &Context<'_>,
    report: &ScanReport,
    options: &cli::ReportOptions,
    template: Option<&Template>,
) -> Result<(), Failure> {
    let render = |format: Format, colour: bool| {
        let table = TableOptions { colour, severity_min: options.severity, all: options.all };
        let version = env!("CARGO_PKG_VERSION");
        report::render(report, format, &RenderOptions { version, table, template })
            .or_exit(Exit::Incomplete)
    };
    // Files first: a reader of stdout that goes away must not cost them.
    for further in &options.report {
        let text = render(further.format, false)?;
        context.terminal.result_to(Some(&further.file), &text)?;
    }
    let text = render(options.format, context.terminal.color && options.output.is_none())?;
    context.terminal.result_to(options.output.as_deref(), &text)
}

/// Says what the gate says.
pub(super) fn say(context: &Context<'_>, result: &GateResult) -> Exit {
    let say = |verdict: &str, reasons: &[String]| {
        context.terminal.error(&format!("{verdict}\n"));
        for reason in reasons {
            context.terminal.error(&format!("  - {reason}\n"));
        }
    };
    match gate::GateDecision::from(result) {
        gate::GateDecision::Pass => {
            let lines = std::iter::once("gate: passed").chain(result.notes());
            context.terminal.progress(&lines.collect::<Vec<_>>().join("\n  but: "));
            Exit::Clean
        }
        gate::GateDecision::Refuse { reasons } => {
            say("gate: refused", &reasons);
            let open: Vec<String> =
                result.reasons(GateVerdict::NotEvaluated).map(str::to_string).collect();
            if !open.is_empty() {
                say("gate: besides, this could not be evaluated", &open);
            }
            Exit::Refused
        }
        gate::GateDecision::NotEvaluated { why } => {
            say("gate: could not be evaluated", &why);
            Exit::Incomplete
        }
    }
}

/// The advisory database. One that was named must be there; without one in its usual place
/// the report says that vulnerabilities were not looked for.
pub(super) fn open_database(
    context: &Context<'_>,
    args: &cli::Scan,
) -> Result<Option<Database>, Failure> {
    let path = context.database(args.db.as_ref());
    match (super::db::open_trusted(context, &path)?.database(), &args.db) {
        (Some(database), _) => Ok(Some(database)),
        (None, None) => {
            context.terminal.progress(&format!(
                "no advisory database at {}: vulnerabilities are not looked for (see palisade db build --help)",
                path.display()
            ));
            Ok(None)
        }
        (None, Some(_)) => Err(ReadDatabaseError::Missing(path)).or_exit(Exit::Incomplete),
    }
}

/// Advisories older than this are worth a warning where no policy says what is too old.
const OLD_DAYS: u32 = 14;

/// After how many days a policy wants a warning; `None` for never.
pub(super) fn warn_days(policy: Option<&Policy>) -> Option<u32> {
    policy.map_or(Some(OLD_DAYS), |policy| policy.images.gate.database_age_days_warn)
}

/// Warns of advisories that are older than `days_max`, or of unknown age; progress that nobody
/// wants to see is no reason to be silent.
pub(super) fn warn_of_age(
    context: &Context<'_>,
    database: Option<&DatabaseInfo>,
    days_max: Option<u32>,
    now: Timestamp,
) {
    let (Some(database), Some(days_max)) = (database, days_max) else { return };
    if database.age_days(now).is_none_or(|days| days > u64::from(days_max)) {
        let age = item::advisories(database, now);
        let remedy = remedy_of_age(database);
        context.terminal.error(&format!("warning: {age}; {remedy}\n"));
    }
}

/// What makes advisories younger. That a feed's newest record in a file or on a mirror is old may
/// as well mean that nothing was published since; only its publisher knows.
fn remedy_of_age(database: &DatabaseInfo) -> &'static str {
    match &database.oldest {
        Some(feed) if !feed.of_publisher => {
            "this feed is of a file or a mirror and as old as its newest data: bring a newer \
             one, or let `palisade db update` fetch it from its publisher"
        }
        _ => "`palisade db update` fetches newer ones",
    }
}

/// What ignore files and VEX documents set aside.
pub(super) fn exceptions(
    context: &Context<'_>,
    ignore: &[PathBuf],
    vex: &[PathBuf],
) -> Result<Vec<Ignore>, Failure> {
    let mut all = Vec::new();
    for file in ignore {
        all.extend(read_ignores(context, file)?);
    }
    for file in vex {
        all.extend(read_vex(context, file)?);
    }
    Ok(all)
}

/// What a policy's ignore file and VEX documents set aside.
pub(super) fn exceptions_of(context: &Context<'_>, gate: &Gate) -> Result<Vec<Ignore>, Failure> {
    exceptions(context, &gate.ignore, &gate.vex)
}

/// Reads a VEX document; what of it is not understood goes to the terminal.
fn read_vex(context: &Context<'_>, path: &Path) -> Result<Vec<Ignore>, Failure> {
    let bytes = read_bytes(path, "VEX document", palisade_scan::vex::BYTES_MAX)?;
    let document = palisade_scan::vex::read(&bytes)
        .or_exit(Exit::Usage)
        .map_err(|failure| failure.during(format!("read VEX document `{}`", path.display())))?;
    let n: u64 = document.not_understood.values().sum();
    if n > 0 {
        let reasons: Vec<String> =
            document.not_understood.iter().map(|(reason, n)| format!("{reason} ({n})")).collect();
        let reasons = reasons.join(", ");
        context.terminal.error(&format!(
            "warning: VEX document `{}`: {n} statements are not understood and set nothing aside: \
             {}\n",
            path.display(),
            printable(reasons.as_bytes())
        ));
    }
    Ok(document.statements)
}

/// Reads an ignore file; its problems go to the terminal.
pub(super) fn read_ignores(context: &Context<'_>, path: &Path) -> Result<Vec<Ignore>, Failure> {
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
    database: Option<&Database>,
    ignores: &[Ignore],
    now: Timestamp,
    look: Look<'_>,
) -> anyhow::Result<ScanReport> {
    // Only findings that the gate of images counts matter to an admission.
    let checks = Checks::default();
    let options = ScanOptions {
        now,
        database,
        ignores,
        checks: &checks,
        secrets: true,
        look,
        minimality: None,
    };
    Ok(scan::scan_image(image, &options)?)
}

/// Writes the bill of materials of an image, or of a bill of materials in another form.
pub(crate) fn sbom(context: &Context<'_>, args: &cli::Sbom) -> Result<Exit, Failure> {
    palisade_sys::memory::return_large_pieces();
    let target: Target = args.target.parse().or_exit(Exit::Usage)?;
    let now = Timestamp::now();
    let mut is_whole = true;
    let inventory = if let Target::Sbom(file) = &target {
        let document = sbom::read::read_file(file).or_exit(Exit::Incomplete)?;
        is_whole = document.unmatched.is_empty();
        for unmatched in &document.unmatched {
            let (n, kind, reason) = (unmatched.n_packages, &unmatched.ecosystem, &unmatched.reason);
            context.terminal.error(&format!("warning: left out: {n} of type {kind}: {reason}\n"));
        }
        document.inventory
    } else {
        let image = super::image::open_target(context, &target, &args.source)?;
        let options = ScanOptions {
            now,
            database: None,
            ignores: &[],
            checks: &Checks::default(),
            secrets: false,
            look: Look::default(),
            minimality: None,
        };
        let cache = super::image::examinations(context, &args.source);
        scan::scan_cached(&image, &options, cache.as_ref()).or_exit(Exit::Incomplete)?.inventory
    };
    let seed = format!("{}{now}", inventory.subject.name);
    let info = DocumentInfo::derived(seed.as_bytes(), now, env!("CARGO_PKG_VERSION"));
    let text = sbom::render(&inventory, args.format, &info).context("write the document")?;
    context.terminal.result_to(args.output.as_deref(), &text)?;
    for gap in &inventory.gaps {
        context.terminal.error(&format!("warning: not examined: {}: {}\n", gap.path, gap.reason));
    }
    Ok(if is_whole && inventory.gaps.is_empty() { Exit::Clean } else { Exit::Partial })
}

//! `palisade patch plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_base::text::printable;
use palisade_image::Image;
use palisade_model::finding::Vulnerability;
use palisade_model::{Reference, Target};
use palisade_patch::{Plan, Suite};
use palisade_policy::Checks;
use palisade_scan::db::Database;
use palisade_scan::minimality::{self, Lifecycles};
use palisade_scan::{Look, ScanOptions, scan};
use serde::Serialize;

use super::super::Context;
use super::{Known, Planned};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

/// Changes the form in JSON, when it changes.
const VERSION: u32 = 1;

/// What another base would do.
#[derive(Debug, Serialize)]
struct Base {
    name: String,
    /// Findings of the image in packages that the base has without them.
    n_fixed: u64,
    /// Findings of the image that the base has as well.
    n_same: u64,
    /// Findings of the base that the image does not have.
    n_new: u64,
    /// Where a base that the image suggests was found, if not in its registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<Instead>,
}

/// An image of a store of this machine, which may be older than what its registry has.
#[derive(Debug, Serialize)]
struct Instead {
    /// The image in the store.
    store: String,
    /// Why it is not the registry's.
    why: String,
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    image: String,
    time: Timestamp,
    n_vulnerabilities: usize,
    n_fixed: usize,
    #[serde(flatten)]
    known: &'a Known,
    suites: &'a [Suite],
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bases: Vec<Base>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bases_not_asked: Vec<NotAsked>,
}

/// A base that the image suggests and that could not be had.
#[derive(Debug, Serialize)]
struct NotAsked {
    name: String,
    why: String,
}

/// Stands for the bases that the image suggests.
const AUTO: &str = "auto";
/// Suggested bases that are asked for.
const CANDIDATES_MAX: usize = 8;

pub(super) fn plan(context: &Context<'_>, args: &cli::PatchPlan) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let database = super::open_database(context, &args.options)?;
    let planned = super::prepare(context, &args.target, &args.options, &database, now)?;
    let (mut bases, mut bases_not_asked) = (Vec::new(), Vec::new());
    let is_auto = |name: &&String| name.as_str() == AUTO;
    for name in args.base.iter().filter(|name| !is_auto(name)) {
        bases.push(base(context, args, name, &planned, &database)?);
    }
    if args.base.iter().any(|name| name == AUTO) {
        for name in candidates(&planned, &database)? {
            if bases.iter().any(|known: &Base| known.name == name) {
                continue;
            }
            context.terminal.progress(&format!("asking for {}", safe(&name)));
            // That nobody has a guessed image is no failure of the plan.
            match suggested(context, args, &name, &planned, &database) {
                Ok(found) => bases.push(found),
                Err(failure) => bases_not_asked.push(NotAsked { name, why: failure.brief() }),
            }
        }
    }
    bases.sort_by_key(|base| std::cmp::Reverse(base.n_fixed.saturating_sub(base.n_new)));
    let Planned { image, known, repository, plan, .. } = &planned;
    let report = Report {
        version: VERSION,
        image: image.target.to_string(),
        time: now,
        n_vulnerabilities: known.found.len(),
        n_fixed: known.found.len() - plan.remaining.len(),
        known,
        suites: &repository.suites,
        plan,
        bases,
        bases_not_asked,
    };
    let text = match args.format {
        ListFormat::Json => serde_json::to_string_pretty(&report).context("write the plan")? + "\n",
        ListFormat::Table => table(&report),
        ListFormat::Tsv => tsv(plan),
    };
    context.terminal.result(&text)?;
    Ok(super::exit_of(context, repository))
}

/// What the image `name` would do as the base.
fn base(
    context: &Context<'_>,
    args: &cli::PatchPlan,
    name: &str,
    planned: &Planned,
    database: &Database,
) -> Result<Base, Failure> {
    let image = super::super::image::open(context, name, &args.options.source)?;
    judge_base(name, &image, planned, database)
}

/// As [`base`], of a base that the image suggests: what its registry has now, for a store of this
/// machine has what somebody fetched once. A store is asked where the registry fails.
fn suggested(
    context: &Context<'_>,
    args: &cli::PatchPlan,
    name: &str,
    planned: &Planned,
    database: &Database,
) -> Result<Base, Failure> {
    let source = &args.options.source;
    let reference: Reference = name.parse().or_exit(Exit::Usage)?;
    let target = Target::Registry(reference.clone());
    let in_registry = super::super::image::open_target(context, &target, source);
    let failure = match in_registry.and_then(|image| judge_base(name, &image, planned, database)) {
        Ok(found) => return Ok(found),
        Err(failure) => failure,
    };
    match super::super::image::open_in_store(context, &reference, source) {
        Ok(Some(image)) => {
            let mut found = judge_base(name, &image, planned, database)?;
            found.instead = Some(Instead { store: image.target.to_string(), why: failure.brief() });
            Ok(found)
        }
        // The registry's answer is the one that was wanted.
        Ok(None) | Err(_) => Err(failure),
    }
}

fn judge_base(
    name: &str,
    image: &Image,
    planned: &Planned,
    database: &Database,
) -> Result<Base, Failure> {
    let (ignores, subject) = (&planned.ignores, image.subject());
    let found = super::vulnerabilities(image, database, ignores, &subject, planned.now)?.found;
    let inventory = palisade_scan::inventory_of(image);
    let inventory = inventory.with_context(|| format!("examine `{name}`"))?;
    let names = inventory.packages.iter().map(|package| package.name.as_str()).collect();
    Ok(compare_base(name, &planned.known.found, &found, &names))
}

/// Images that may become the base, as the image itself suggests: what its labels or what
/// builders left behind name, as its tag is now, newer tags of it, and smaller ones.
fn candidates(planned: &Planned, database: &Database) -> Result<Vec<String>, Failure> {
    let lifecycles = database.lifecycles().or_exit(Exit::Incomplete)?;
    let lifecycles = lifecycles.as_ref().unwrap_or(Lifecycles::builtin());
    let minimality = minimality::Options { bases: Vec::new(), lifecycles: lifecycles.clone() };
    let options = ScanOptions {
        now: planned.now,
        database: Some(database),
        ignores: &planned.ignores,
        checks: &Checks::default(),
        secrets: false,
        look: Look::default(),
        minimality: Some(&minimality),
    };
    let report = scan::scan_image(&planned.image, &options).or_exit(Exit::Incomplete)?;
    let Some(found) = report.minimality else { return Ok(Vec::new()) };
    let today: String = planned.now.rfc3339().chars().take(10).collect();
    let base = found.base.iter();
    let newer = base.flat_map(|base| minimality::newer_tags(&base.name, lifecycles, &today));
    let mut names: Vec<String> = Vec::new();
    for name in newer.chain(found.proposals.into_iter().map(|proposal| proposal.base)) {
        // A guess may be no name of an image, and a label may have a digest alone.
        let is_image = matches!(name.parse(), Ok(Target::Anywhere(_)));
        let is_image = is_image && !name.starts_with("sha256:");
        if is_image && !names.contains(&name) && names.len() < CANDIDATES_MAX {
            names.push(name);
        }
    }
    Ok(names)
}

fn compare_base(
    name: &str,
    ours: &[Vulnerability],
    theirs: &[Vulnerability],
    packages: &BTreeSet<&str>,
) -> Base {
    let key = |v: &Vulnerability| (v.package.clone(), v.id.clone());
    let of_base: BTreeSet<_> = theirs.iter().map(key).collect();
    let of_image: BTreeSet<_> = ours.iter().map(key).collect();
    let is_fixed = |k: &&(String, String)| packages.contains(k.0.as_str()) && !of_base.contains(*k);
    Base {
        name: name.to_string(),
        n_fixed: of_image.iter().filter(is_fixed).count() as u64,
        n_same: of_image.intersection(&of_base).count() as u64,
        n_new: of_base.difference(&of_image).count() as u64,
        instead: None,
    }
}

pub(super) fn safe(text: &str) -> String {
    printable(text.as_bytes()).into_owned()
}

fn table(report: &Report<'_>) -> String {
    let mut text = String::new();
    let plan = report.plan;
    let has_notices = plan.upgrades.iter().any(|upgrade| !upgrade.notices.is_empty());
    if !plan.upgrades.is_empty() {
        let rows: Vec<Vec<String>> = plan
            .upgrades
            .iter()
            .map(|upgrade| {
                let fixes = match &upgrade.needed_by {
                    Some(other) if upgrade.fixes.is_empty() => format!("(needed by {other})"),
                    _ => upgrade.fixes.join(" "),
                };
                let cells = [
                    &upgrade.package,
                    &upgrade.installed,
                    &upgrade.available,
                    &upgrade.suite,
                    &fixes,
                ];
                let mut row = cells.map(|cell| safe(cell)).to_vec();
                // Where no package has any there is no column for them.
                row.extend(has_notices.then(|| safe(&upgrade.notices.join(" "))));
                row
            })
            .collect();
        let heads = ["PACKAGE", "INSTALLED", "AVAILABLE", "SUITE", "FIXES", "NOTICES"];
        let n_heads = if has_notices { heads.len() } else { heads.len() - 1 };
        text += &columns(heads.get(..n_heads).unwrap_or_default(), &rows);
        text.push('\n');
    }
    text += &staying(plan);
    for base in &report.bases {
        let _ = write!(
            text,
            "base {}: {} fixed, {} the same, {} new",
            safe(&base.name),
            base.n_fixed,
            base.n_same,
            base.n_new
        );
        text += &base.instead.as_ref().map_or_else(String::new, |it| {
            format!("; as {} has it, not its registry: {}", safe(&it.store), safe(&it.why))
        });
        text.push('\n');
    }
    for one in &report.bases_not_asked {
        let _ = writeln!(text, "base {}: not asked: {}", safe(&one.name), safe(&one.why));
    }
    let size: u64 = plan.upgrades.iter().map(|upgrade| upgrade.size).sum();
    let _ = writeln!(
        text,
        "{} of {} vulnerabilities fixed by {} upgrades ({:.1} MB); {}",
        report.n_fixed,
        report.n_vulnerabilities,
        plan.upgrades.len(),
        size as f64 / 1e6,
        safe(&report.known.remark(report.time))
    );
    text
}

/// What stays; many findings stay for one reason.
pub(super) fn staying(plan: &Plan) -> String {
    let mut reasons: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for one in &plan.remaining {
        reasons.entry((&one.package, &one.why)).or_default().push(&one.id);
    }
    if reasons.is_empty() {
        return String::new();
    }
    let row = |((package, why), ids): (&(&str, &str), &Vec<&str>)| {
        vec![safe(package), safe(why), safe(&ids.join(" "))]
    };
    let rows: Vec<Vec<String>> = reasons.iter().map(row).collect();
    columns(&["STAYS IN", "WHY", "VULNERABILITIES"], &rows) + "\n"
}

fn tsv(plan: &Plan) -> String {
    let line = |upgrade: &palisade_patch::Upgrade| {
        format!(
            "{}\t{}\t{}\t{}\t{}\n",
            safe(&upgrade.package),
            safe(&upgrade.installed),
            safe(&upgrade.available),
            safe(&upgrade.suite),
            safe(&upgrade.fixes.join(","))
        )
    };
    plan.upgrades.iter().map(line).collect()
}

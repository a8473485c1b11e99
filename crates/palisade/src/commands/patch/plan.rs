//! `palisade patch plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_base::text::printable;
use palisade_model::finding::Vulnerability;
use palisade_patch::{Plan, Suite};
use serde::Serialize;

use super::super::Context;
use super::Planned;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure};
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
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    image: String,
    time: Timestamp,
    n_vulnerabilities: usize,
    n_fixed: usize,
    suites: &'a [Suite],
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bases: Vec<Base>,
}

pub(super) fn plan(context: &Context<'_>, args: &cli::PatchPlan) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let database = super::open_database(context, &args.options)?;
    let planned = super::prepare(context, &args.target, &args.options, &database, now)?;
    let mut bases = Vec::new();
    for name in &args.base {
        let image = super::super::image::open(context, name, &args.options.source)?;
        let found = super::vulnerabilities(&image, &database)?;
        let inventory = palisade_scan::inventory_of(&image);
        let inventory = inventory.with_context(|| format!("examine `{name}`"))?;
        let names = inventory.packages.iter().map(|package| package.name.as_str()).collect();
        bases.push(compare_base(name, &planned.found, &found, &names));
    }
    bases.sort_by_key(|base| std::cmp::Reverse(base.n_fixed.saturating_sub(base.n_new)));
    let Planned { image, found, repository, plan, .. } = &planned;
    let report = Report {
        version: VERSION,
        image: image.target.to_string(),
        time: now,
        n_vulnerabilities: found.len(),
        n_fixed: found.len() - plan.remaining.len(),
        suites: &repository.suites,
        plan,
        bases,
    };
    let text = match args.format {
        ListFormat::Json => serde_json::to_string_pretty(&report).context("write the plan")? + "\n",
        ListFormat::Table => table(&report),
        ListFormat::Tsv => tsv(plan),
    };
    context.terminal.result(&text)?;
    Ok(super::exit_of(context, repository))
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
        let _ = writeln!(
            text,
            "base {}: {} fixed, {} the same, {} new",
            safe(&base.name),
            base.n_fixed,
            base.n_same,
            base.n_new
        );
    }
    let size: u64 = plan.upgrades.iter().map(|upgrade| upgrade.size).sum();
    let _ = writeln!(
        text,
        "{} of {} vulnerabilities fixed by {} upgrades ({:.1} MB)",
        report.n_fixed,
        report.n_vulnerabilities,
        plan.upgrades.len(),
        size as f64 / 1e6
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

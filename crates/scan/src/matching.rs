//! Inventory and database to vulnerabilities.
//!
//! Distributions: by source package and its version, in the distribution's version order,
//! reported on the binary package. Languages: by package name and the ecosystem's order.
//! Records that share an identifier are one finding. A language package whose files belong
//! to a distribution's package is that package's business: the distribution backports fixes
//! without changing the upstream version.
//!
//! A package that the database cannot judge is counted in `unmatched`, never called clean.
//!
//! Where feeds disagree about a package of a distribution, the first one that speaks of the
//! vulnerability decides whether there is a finding, its fixed version and its status: the
//! distribution's own, then OSV's copy of it, then what changelogs say. What the others say is
//! kept in the finding. Records of one feed are equals: any that affects counts, the worst rating,
//! the highest fixed version and the longest title are taken.
//!
//! Where advisories of a package in a program name functions, the program is asked whether it has
//! any of them (ADR 0022). A record that names none says nothing against those that do.
//!
//! Builds of a module (RPM's modularity) meet advisories of their own module and stream alone, and
//! other builds none of a module.

mod group;
mod symbols;

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palisade_model::finding::{Unmatched, Vulnerability};
use palisade_model::{Inventory, Package, PackageKind};
use palisade_packages::version;

use crate::db::{Advisory, Database, RangeEnd, ReadDatabaseError, Status};
use crate::ecosystem;
use crate::files::normal_path;

/// Vulnerabilities beyond this number are dropped and counted.
pub const VULNERABILITIES_MAX: usize = 200_000;

/// Look-ups from which on a thread reads ahead; how many are read ahead.
const QUERIES_MANY: usize = 256;
const QUERIES_AHEAD: usize = 64;

/// What matching found, and what it left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matches {
    /// Vulnerabilities, worst first.
    pub vulnerabilities: Vec<Vulnerability>,
    /// Packages that the database could judge.
    pub n_packages_matched: u64,
    /// Packages that it could not.
    pub unmatched: Vec<Unmatched>,
    /// Vulnerabilities that harmless binaries of a source do not have.
    pub n_harmless: u64,
    /// Vulnerabilities of language packages that belong to a distribution's package.
    pub n_distribution_owned: u64,
    /// Vulnerabilities that one feed claims and the one that decides denies.
    pub n_overruled: u64,
    /// Vulnerabilities beyond the bound.
    pub n_dropped: u64,
    /// Advisories whose versions could not be compared with the installed one.
    pub n_incomparable: u64,
}

/// Looks every package of `inventory` up in `db`.
pub fn find_vulnerabilities(
    inventory: &Inventory,
    db: &Database,
) -> Result<Matches, ReadDatabaseError> {
    let mut matches = Matches::default();
    let owned = distribution_owned(inventory);
    let mut programs = symbols::Programs::of(inventory);
    let mut unmatched: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    // Sorted by key, so that packages of one source share a look-up and blocks are read once.
    let mut queries = Queries::new();
    for (index, package) in inventory.packages.iter().enumerate() {
        match judge(package, inventory, db) {
            Ok(name) => queries.entry(name).or_default().push(index),
            Err((name, reason)) => *unmatched.entry((name, reason)).or_default() += 1,
        }
    }
    // What a feed says of a source package of RPM holds for each binary that it builds.
    let mut sources: HashMap<(&str, &str), Vec<Advisory>> = HashMap::new();
    looked_up(db, &queries, |(ecosystem, _), indexes, advisories| {
        let n_packages = indexes.len() as u64;
        let Some(advisories) = advisories else {
            let reason = "the advisory database has no data for their sources";
            *unmatched.entry((ecosystem.clone(), reason)).or_default() += n_packages;
            return Ok(());
        };
        matches.n_packages_matched += n_packages;
        for package in indexes.iter().filter_map(|&index| inventory.packages.get(index)) {
            let mut all: Vec<&Advisory> = advisories.iter().collect();
            if let (PackageKind::Rpm, Some(source)) = (package.kind, &package.source) {
                let key = (ecosystem.as_str(), source.name.as_str());
                let of_source = match sources.entry(key) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(place) => {
                        let name = crate::feeds::csaf::source_name(&source.name);
                        place.insert(db.advisories(ecosystem, &name)?)
                    }
                };
                all.extend(of_source.iter());
            }
            let found = match_package(package, &all, &mut programs, &mut matches);
            let n = found.len() as u64;
            if is_harmless(package) {
                matches.n_harmless += n;
            } else if owned.contains(normal_path(&package.evidence)) && is_language(package.kind) {
                matches.n_distribution_owned += n;
            } else {
                let room = VULNERABILITIES_MAX - matches.vulnerabilities.len();
                matches.n_dropped += found.len().saturating_sub(room) as u64;
                matches.vulnerabilities.extend(found.into_iter().take(room));
            }
        }
        Ok(())
    })?;
    mark_exploited(&mut matches.vulnerabilities, db)?;
    matches.vulnerabilities.sort_by(|a, b| {
        let worst = (b.known_exploited, b.severity).cmp(&(a.known_exploited, a.severity));
        worst.then_with(|| (&a.package, &a.id, &a.purl).cmp(&(&b.package, &b.id, &b.purl)))
    });
    matches.unmatched = unmatched
        .into_iter()
        .map(|((ecosystem, reason), n_packages)| Unmatched {
            ecosystem,
            n_packages,
            reason: reason.to_string(),
        })
        .collect();
    Ok(matches)
}

/// Packages of an inventory under the key by which the database knows their source.
type Queries = BTreeMap<(String, String), Vec<usize>>;

/// Looks `queries` up and gives each with its advisories to `take`, in their order. Of many, the
/// next ones are read and decoded by a thread of its own while `take` judges.
fn looked_up<'q>(
    db: &Database,
    queries: &'q Queries,
    mut take: impl FnMut(
        &'q (String, String),
        &'q [usize],
        Option<Vec<Advisory>>,
    ) -> Result<(), ReadDatabaseError>,
) -> Result<(), ReadDatabaseError> {
    if queries.len() < QUERIES_MANY {
        return queries
            .iter()
            .try_for_each(|(key, indexes)| take(key, indexes, db.lookup(&key.0, &key.1)?));
    }
    std::thread::scope(|scope| {
        let (send, receive) = std::sync::mpsc::sync_channel(QUERIES_AHEAD);
        scope.spawn(move || {
            for (ecosystem, name) in queries.keys() {
                // Who takes them may have ended early.
                if send.send(db.lookup(ecosystem, name)).is_err() {
                    return;
                }
            }
        });
        // Dropped at the end, whatever is returned: the thread must not wait for somebody to take.
        let answers = receive.into_iter();
        queries
            .iter()
            .zip(answers)
            .try_for_each(|((key, indexes), answer)| take(key, indexes, answer?))
    })
}

/// The database key of a package, or the ecosystem's name and why there is none.
fn judge(
    package: &Package,
    inventory: &Inventory,
    db: &Database,
) -> Result<(String, String), (String, &'static str)> {
    let ecosystem = ecosystem::of_package(package, inventory.distribution.as_ref())
        .map_err(|reason| (package.kind.to_string(), reason))?;
    if version::order(package.kind).is_none() {
        return Err((ecosystem, "its version order is not implemented"));
    }
    if !db.has_ecosystem(&ecosystem) {
        return Err((ecosystem, "the advisory database has no data for it"));
    }
    let (name, _) = ecosystem::advisory_name(package);
    let name = ecosystem::normalise_name(&ecosystem, name);
    Ok((ecosystem, name))
}

fn is_language(kind: PackageKind) -> bool {
    !kind.is_of_distribution()
}

/// Binary packages that carry none of their source's code: kernel headers, documentation.
fn is_harmless(package: &Package) -> bool {
    let name = package.name.as_str();
    let headers = ["linux-libc-dev", "linux-headers", "linux-doc", "kernel-headers"];
    !is_language(package.kind)
        && (headers.iter().any(|prefix| name.starts_with(prefix)) || name.ends_with("-doc"))
}

/// Evidence files of language packages that a distribution's package installed.
fn distribution_owned(inventory: &Inventory) -> HashSet<&str> {
    let languages = inventory.packages.iter().filter(|package| is_language(package.kind));
    let evidence: HashSet<&str> = languages.map(|p| normal_path(&p.evidence)).collect();
    if evidence.is_empty() {
        return evidence;
    }
    let distribution = inventory.packages.iter().filter(|package| !is_language(package.kind));
    let files = distribution.flat_map(|package| &package.files).map(|path| normal_path(path));
    files.filter(|path| evidence.contains(path)).collect()
}

fn match_package(
    package: &Package,
    advisories: &[&Advisory],
    programs: &mut symbols::Programs<'_>,
    matches: &mut Matches,
) -> Vec<Vulnerability> {
    let Some(compare) = version::order(package.kind) else {
        return Vec::new();
    };
    let (_, installed) = ecosystem::advisory_name(package);
    let mut judged = Vec::new();
    let mut any_affected = false;
    for advisory in advisories.iter().filter(|advisory| concerns_module(advisory, package)) {
        let answer = match advisory.status {
            Status::NotAffected => Some(Answer::Clean),
            _ => affected(advisory, installed, compare),
        };
        match answer {
            Some(answer) => {
                any_affected |= matches!(answer, Answer::Affected(_));
                judged.push(Judged { advisory, answer });
            }
            None => matches.n_incomparable += 1,
        }
    }
    if !any_affected {
        return Vec::new();
    }
    let (found, n_overruled) = group::findings(package, &judged, programs, compare);
    matches.n_overruled += n_overruled;
    found
}

/// An advisory and what it says of the installed version.
struct Judged<'a> {
    advisory: &'a Advisory,
    answer: Answer<'a>,
}

/// What the release of a build in a module holds, in the RHEL family.
const MODULE_MARK: &str = ".module";

/// Whether an advisory can mean a package as far as modules go.
fn concerns_module(advisory: &Advisory, package: &Package) -> bool {
    if package.kind != PackageKind::Rpm {
        return true;
    }
    let is_modular = package.module.is_some() || package.version.contains(MODULE_MARK);
    let meant = advisory.module.is_some()
        || advisory.ranges.iter().any(|range| match &range.end {
            RangeEnd::Fixed(version) => version.contains(MODULE_MARK),
            _ => false,
        });
    match (&advisory.module, &package.module) {
        (Some(wanted), Some(label)) => {
            let stream = label.match_indices(':').nth(1).map_or(label.len(), |(at, _)| at);
            label.get(..stream) == Some(wanted.as_str())
        }
        _ => is_modular == meant,
    }
}

/// What an advisory says about a version.
#[derive(Clone, Copy)]
enum Answer<'a> {
    Affected(Option<&'a str>),
    Clean,
}

/// Whether `version` is affected; `None` when no comparison was possible.
fn affected<'a>(
    advisory: &'a Advisory,
    version: &str,
    compare: version::Compare,
) -> Option<Answer<'a>> {
    if advisory
        .versions
        .iter()
        .any(|v| v == version || compare(v, version) == Some(Ordering::Equal))
    {
        return Some(Answer::Affected(None));
    }
    let mut comparable = advisory.ranges.is_empty();
    for range in &advisory.ranges {
        let from = match &range.introduced {
            None => Some(true),
            Some(first) => compare(version, first).map(Ordering::is_ge),
        };
        let (until, fixed) = match &range.end {
            RangeEnd::Open => (Some(true), None),
            RangeEnd::Fixed(end) => {
                (compare(version, end).map(Ordering::is_lt), Some(end.as_str()))
            }
            RangeEnd::LastAffected(end) => (compare(version, end).map(Ordering::is_le), None),
        };
        match (from, until) {
            (Some(true), Some(true)) => return Some(Answer::Affected(fixed)),
            (Some(_), Some(_)) => comparable = true,
            _ => {}
        }
    }
    comparable.then_some(Answer::Clean)
}

fn mark_exploited(found: &mut [Vulnerability], db: &Database) -> Result<(), ReadDatabaseError> {
    let ids: BTreeSet<&str> = found
        .iter()
        .flat_map(|v| std::iter::once(&v.id).chain(&v.aliases))
        .map(String::as_str)
        .filter(|id| id.starts_with("CVE-"))
        .collect();
    let mut exploited = HashSet::new();
    let mut scores: HashMap<String, f64> = HashMap::new();
    // One kind of keys after the other, so that each block is decompressed once.
    for id in &ids {
        if db.is_exploited(id)? {
            exploited.insert((*id).to_string());
        }
    }
    for id in ids {
        if let Some(score) = db.epss(id)? {
            scores.insert(id.to_string(), score);
        }
    }
    for vulnerability in found {
        let names = std::iter::once(&vulnerability.id).chain(&vulnerability.aliases);
        vulnerability.epss = names.filter_map(|id| scores.get(id)).copied().reduce(f64::max);
        vulnerability.known_exploited = exploited.contains(&vulnerability.id)
            || vulnerability.aliases.iter().any(|id| exploited.contains(id));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

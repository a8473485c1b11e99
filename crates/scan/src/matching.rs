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
//! Precedence where records of one finding disagree: the worst stated severity, the highest
//! fixed version, the longest title.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palisade_model::finding::{Unmatched, Vulnerability};
use palisade_model::{Inventory, Package, PackageKind, Severity};
use palisade_packages::version;

use crate::db::{Advisory, Database, RangeEnd, ReadDatabaseError};
use crate::ecosystem;
use crate::files::normal_path;

/// Vulnerabilities beyond this number are dropped and counted.
pub const VULNERABILITIES_MAX: usize = 200_000;

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
    let mut unmatched: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    // Sorted by key, so that packages of one source share a look-up and blocks are read once.
    let mut queries: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (index, package) in inventory.packages.iter().enumerate() {
        match judge(package, inventory, db) {
            Ok(name) => queries.entry(name).or_default().push(index),
            Err((name, reason)) => *unmatched.entry((name, reason)).or_default() += 1,
        }
    }
    for ((ecosystem, name), indexes) in &queries {
        let n_packages = indexes.len() as u64;
        let Some(advisories) = db.lookup(ecosystem, name)? else {
            let reason = "the advisory database has no data for their sources";
            *unmatched.entry((ecosystem.clone(), reason)).or_default() += n_packages;
            continue;
        };
        matches.n_packages_matched += n_packages;
        for package in indexes.iter().filter_map(|&index| inventory.packages.get(index)) {
            let found = match_package(package, &advisories, &mut matches.n_incomparable);
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
    }
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
    advisories: &[Advisory],
    n_incomparable: &mut u64,
) -> Vec<Vulnerability> {
    let Some(compare) = version::order(package.kind) else {
        return Vec::new();
    };
    let (_, installed) = ecosystem::advisory_name(package);
    let mut hits: Vec<(&Advisory, Option<&str>)> = Vec::new();
    for advisory in advisories {
        match affected(advisory, installed, compare) {
            Some(Answer::Affected(fixed)) => hits.push((advisory, fixed)),
            Some(Answer::Clean) => {}
            None => *n_incomparable += 1,
        }
    }
    fold(&hits).into_iter().map(|group| vulnerability(package, &group, compare)).collect()
}

/// What an advisory says about a version.
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

type Hit<'a> = (&'a Advisory, Option<&'a str>);

/// Groups records that share an identifier, directly or through another record.
fn fold<'a>(hits: &[Hit<'a>]) -> Vec<Vec<Hit<'a>>> {
    let mut groups: Vec<(BTreeSet<&str>, Vec<Hit<'a>>)> = Vec::new();
    for hit in hits {
        let mut ids: BTreeSet<&str> = hit.0.aliases.iter().map(String::as_str).collect();
        ids.insert(&hit.0.id);
        let mut members = vec![*hit];
        // Every group that shares an identifier joins this one.
        let (joined, kept) = groups.into_iter().partition(|(known, _)| !known.is_disjoint(&ids));
        groups = kept;
        let joined: Vec<(BTreeSet<&str>, Vec<Hit<'a>>)> = joined;
        for (known, earlier) in joined {
            ids.extend(known);
            members.splice(0..0, earlier);
        }
        groups.push((ids, members));
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn vulnerability(package: &Package, group: &[Hit<'_>], compare: version::Compare) -> Vulnerability {
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    for (advisory, _) in group {
        ids.insert(&advisory.id);
        ids.extend(advisory.aliases.iter().map(String::as_str));
    }
    // A record that chose a CVE as its name knows best; otherwise the first record's own name.
    let chosen = group.iter().map(|(a, _)| a.id.as_str()).find(|id| id.starts_with("CVE-"));
    let id = chosen.or_else(|| group.first().map(|(a, _)| a.id.as_str())).unwrap_or_default();
    let fixed = group
        .iter()
        .filter_map(|(_, fixed)| *fixed)
        .reduce(|a, b| if compare(a, b) == Some(Ordering::Less) { b } else { a });
    let title = group.iter().map(|(a, _)| a.title.as_str()).max_by_key(|title| title.len());
    let feeds: BTreeSet<&str> = group.iter().map(|(a, _)| a.feed.as_str()).collect();
    Vulnerability {
        id: id.to_string(),
        aliases: ids.into_iter().filter(|other| *other != id).map(str::to_string).collect(),
        package: package.name.clone(),
        purl: package.purl.clone(),
        source: package.source.as_ref().map(|source| source.name.clone()),
        installed: package.version.clone(),
        fixed: fixed.map(str::to_string),
        severity: group.iter().map(|(a, _)| a.severity).max().unwrap_or(Severity::Unknown),
        title: title.unwrap_or_default().to_string(),
        feed: feeds.into_iter().collect::<Vec<_>>().join(", "),
        known_exploited: false,
        epss: None,
    }
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
    for id in ids {
        if db.is_exploited(id)? {
            exploited.insert(id.to_string());
        }
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

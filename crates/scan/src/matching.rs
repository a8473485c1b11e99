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

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use palisade_model::finding::{Unmatched, Vulnerability};
use palisade_model::{Inventory, Package, PackageKind, Severity};
use palisade_packages::version;

use crate::db::{Advisory, Answer, Database, RangeEnd, ReadDatabaseError, Status};
use crate::ecosystem;
use crate::feeds::csaf;
use crate::files::normal_path;

/// Vulnerabilities beyond this number are dropped and counted.
pub const VULNERABILITIES_MAX: usize = 200_000;
/// Advisories that could not be compared are named up to this number, and counted beyond it.
pub const INCOMPARABLE_MAX: usize = 1_000;

/// An advisory as matching reads it.
pub(crate) type Read<'a> = Advisory<&'a str>;

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
    /// The vulnerabilities that those advisories would be, at most [`INCOMPARABLE_MAX`].
    pub incomparable: Vec<Vulnerability>,
}

/// The most that matching collects of one inventory, for who has little memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// Vulnerabilities.
    pub(crate) n_max: usize,
    /// Bytes that these and what could not be compared take.
    pub(crate) bytes_max: u64,
}

impl Room {
    /// What everybody else has.
    const ALL: Self = Self { n_max: VULNERABILITIES_MAX, bytes_max: u64::MAX };
}

/// Looks every package of `inventory` up in `db`.
pub fn find_vulnerabilities(
    inventory: &Inventory,
    db: &Database,
) -> Result<Matches, ReadDatabaseError> {
    find_within(inventory, db, None).map(Option::unwrap_or_default)
}

/// As [`find_vulnerabilities`], but ends with none as soon as there is more than `room` holds.
pub(crate) fn find_within(
    inventory: &Inventory,
    db: &Database,
    room: Option<Room>,
) -> Result<Option<Matches>, ReadDatabaseError> {
    let owned = distribution_owned(inventory);
    let mut judge = Judge::within(inventory, room);
    let mut unmatched: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
    // Sorted by key, so that packages of one source share a look-up and blocks are read once.
    let mut queries = Queries::new();
    for (index, package) in inventory.packages.iter().enumerate() {
        match query(package, inventory, db) {
            Ok(name) => queries.entry(name).or_default().push(index),
            Err((name, reason)) => *unmatched.entry((name, reason)).or_default() += 1,
        }
    }
    let sources = of_sources(inventory, &queries, db)?;
    for ((ecosystem, name), indexes) in &queries {
        let n_packages = indexes.len() as u64;
        let Some(answer) = db.ask(ecosystem, name)? else {
            *unmatched.entry((ecosystem.clone(), NO_DATA)).or_default() += n_packages;
            continue;
        };
        judge.matches.n_packages_matched += n_packages;
        let advisories = answer.advisories()?;
        for package in indexes.iter().filter_map(|&index| inventory.packages.get(index)) {
            let of_source = match source_of(package) {
                Some(source) => sources.get(&(ecosystem.as_str(), source)),
                None => None,
            };
            let of_source = of_source.map(Answer::advisories).transpose()?.unwrap_or_default();
            judge.package(package, [&advisories, &of_source], is_owned(package, &owned));
            if room.is_some() && judge.is_over() {
                return Ok(None);
            }
        }
    }
    let mut matches = judge.matches;
    let all = matches.vulnerabilities.iter().chain(&matches.incomparable);
    let scores = scores(all.flat_map(names), db)?;
    weigh(&mut matches.vulnerabilities, db.exploited()?, &scores);
    weigh(&mut matches.incomparable, db.exploited()?, &scores);
    sort_by_weight(&mut matches.vulnerabilities);
    matches.unmatched = unmatched
        .into_iter()
        .map(|((ecosystem, reason), n_packages)| Unmatched {
            ecosystem,
            n_packages,
            reason: reason.to_string(),
        })
        .collect();
    Ok(Some(matches))
}

/// Why a package is not judged of whose source no feed speaks.
pub(crate) const NO_DATA: &str = "the advisory database has no data for their sources";

/// Judges packages one after the other.
pub(crate) struct Judge<'i> {
    programs: symbols::Programs<'i>,
    pub(crate) matches: Matches,
    /// What there is still room for, whoever took what was found meanwhile.
    left: Room,
    is_over: bool,
}

impl<'i> Judge<'i> {
    /// Of the packages of `inventory`, whose programs are asked for functions, within `room`.
    pub(crate) fn within(inventory: &'i Inventory, room: Option<Room>) -> Self {
        Self {
            programs: symbols::Programs::of(inventory),
            matches: Matches::default(),
            left: room.unwrap_or(Room::ALL),
            is_over: false,
        }
    }

    /// Whether there was more than the room holds.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Judges `package` by what is said of its name and of its source; `is_owned`: its files
    /// belong to a distribution's package. What is found is not weighed yet ([`weigh`]).
    pub(crate) fn package(
        &mut self,
        package: &Package,
        advisories: [&[Read<'_>]; 2],
        is_owned: bool,
    ) {
        let all: Vec<&Read<'_>> = advisories.into_iter().flatten().collect();
        let Some(order) = version::order(package.kind) else { return };
        let (judged, incomparable) = judge_package(package, &all, order);
        let affected = judged.iter().filter(|one| matches!(one.verdict, Verdict::Affected(_)));
        let n_affected: usize = affected.map(|one| one.advisory.fixes.len().max(1)).sum();
        // Each has the package's texts, which may be long: asked before they are copied.
        let n_most = n_affected + incomparable.len().min(INCOMPARABLE_MAX);
        if (n_most as u64).saturating_mul(text_bytes(package)) > self.left.bytes_max {
            self.is_over = true;
            self.matches.n_dropped += n_most as u64;
            return;
        }
        let (mut found, n_overruled) = if n_affected > 0 {
            group::findings(package, &judged, &mut self.programs, order)
        } else {
            (Vec::new(), 0)
        };
        self.matches.n_overruled += n_overruled;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        let n = found.len() as u64;
        if is_harmless(package) {
            self.matches.n_harmless += n;
        } else if is_owned {
            self.matches.n_distribution_owned += n;
        } else {
            self.keep(package, found, &incomparable, &all);
        }
    }

    /// Keeps what was found while there is room; `all` is all that is said of the package.
    fn keep(
        &mut self,
        package: &Package,
        found: Vec<Vulnerability>,
        incomparable: &[&Read<'_>],
        all: &[&Read<'_>],
    ) {
        let matches = &mut self.matches;
        let n_before = matches.incomparable.len();
        matches.add_incomparable(package, &found, incomparable, all);
        let more = matches.incomparable.iter().skip(n_before);
        let n_bytes: u64 = more.chain(&found).map(n_bytes).sum();
        let n_dropped = found.len().saturating_sub(self.left.n_max);
        self.is_over |= n_dropped > 0 || n_bytes > self.left.bytes_max;
        matches.n_dropped += n_dropped as u64;
        let n_kept = found.len() - n_dropped;
        matches.vulnerabilities.extend(found.into_iter().take(n_kept));
        self.left.n_max -= n_kept;
        self.left.bytes_max = self.left.bytes_max.saturating_sub(n_bytes);
    }
}

/// Bytes of a vulnerability that its package decides.
fn text_bytes(package: &Package) -> u64 {
    let source = package.source.as_ref().map_or(0, |source| source.name.len());
    let texts = [&package.name, &package.purl, &package.version, &package.evidence];
    let n: usize = texts.map(String::len).into_iter().sum();
    (size_of::<Vulnerability>() + source + n) as u64
}

/// About how many bytes of memory a vulnerability takes.
fn n_bytes(v: &Vulnerability) -> u64 {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let lists = v.aliases.iter().map(|one| size_of::<String>() + one.len());
    let statements = v.statements.iter().map(|one| size_of_val(one) + one.feed.len());
    let texts = [&v.id, &v.package, &v.purl, &v.installed, &v.title, &v.feed].map(String::len);
    let more = [&v.source, &v.fixed, &v.cvss].map(optional);
    let n: usize = texts.into_iter().chain(more).chain(lists).chain(statements).sum();
    let program = v.symbols.as_ref().map_or(0, |check| check.program.len());
    (size_of::<Vulnerability>() + n + program) as u64
}

impl Matches {
    /// Notes the advisories that could not be compared and of whose vulnerability nothing else
    /// was found; `all` are those about the package, of which one may rate what another does not.
    fn add_incomparable(
        &mut self,
        package: &Package,
        found: &[Vulnerability],
        advisories: &[&Read<'_>],
        all: &[&Read<'_>],
    ) {
        let mut ratings: HashMap<&str, Severity> = HashMap::new();
        for advisory in all.iter().filter(|_| !advisories.is_empty()) {
            for name in std::iter::once(&advisory.id).chain(&advisory.aliases) {
                let worst = ratings.entry(*name).or_default();
                *worst = advisory.severity.max(*worst);
            }
        }
        for advisory in advisories {
            let means = |name: &str| name == advisory.id || advisory.aliases.contains(&name);
            if found.iter().any(|vulnerability| names(vulnerability).any(means)) {
                continue;
            }
            self.n_incomparable += 1;
            if self.incomparable.len() < INCOMPARABLE_MAX {
                let others = advisory.aliases.iter().chain(&advisory.fixes);
                let all_names = std::iter::once(&advisory.id).chain(others.clone());
                let rated = all_names.filter_map(|name| ratings.get(*name)).max();
                let fixed = advisory.ranges.iter().find_map(|range| match &range.end {
                    RangeEnd::Fixed(version) => Some((*version).to_string()),
                    _ => None,
                });
                self.incomparable.push(Vulnerability {
                    id: advisory.id.to_string(),
                    aliases: others.map(|other| (*other).to_string()).collect(),
                    package: package.name.clone(),
                    purl: package.purl.clone(),
                    source: package.source.as_ref().map(|source| source.name.clone()),
                    installed: package.version.clone(),
                    severity: rated.copied().unwrap_or_default(),
                    fixed,
                    title: advisory.title.to_string(),
                    feed: advisory.feed.to_string(),
                    status: Status::UnderInvestigation,
                    ..Vulnerability::default()
                });
            }
        }
    }
}

/// Packages of an inventory under the key by which the database knows their source.
type Queries = BTreeMap<(String, String), Vec<usize>>;

/// What feeds say of source packages of RPM, which holds for each binary that they build. They
/// are looked up apart, in their order, for the names of binaries lie in other blocks.
fn of_sources<'a>(
    inventory: &'a Inventory,
    queries: &'a Queries,
    db: &'a Database,
) -> Result<HashMap<(&'a str, &'a str), Answer<'a>>, ReadDatabaseError> {
    let mut wanted: BTreeSet<(&str, &str)> = BTreeSet::new();
    for ((ecosystem, _), indexes) in queries {
        let packages = indexes.iter().filter_map(|&index| inventory.packages.get(index));
        wanted.extend(packages.filter_map(source_of).map(|source| (ecosystem.as_str(), source)));
    }
    let mut found = HashMap::new();
    for (ecosystem, source) in wanted {
        if let Some(answer) = db.ask(ecosystem, &csaf::source_name(source))? {
            found.insert((ecosystem, source), answer.alone());
        }
    }
    Ok(found)
}

/// The source package of a package of RPM.
pub(crate) fn source_of(package: &Package) -> Option<&str> {
    let source = package.source.as_ref().filter(|_| package.kind == PackageKind::Rpm)?;
    Some(&source.name)
}

/// The database key of a package, or the ecosystem's name and why there is none.
fn query(
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

/// Whether `package` may be in a program that has functions.
pub(crate) fn has_program(package: &Package) -> bool {
    matches!(package.kind, PackageKind::Go | PackageKind::Cargo)
}

/// Whether `package` is of a language and its evidence among what [`distribution_owned`] gave.
pub(crate) fn is_owned(package: &Package, owned: &HashSet<&str>) -> bool {
    is_language(package.kind) && owned.contains(normal_path(&package.evidence))
}

/// Evidence files of language packages that a distribution's package installed.
pub(crate) fn distribution_owned(inventory: &Inventory) -> HashSet<&str> {
    let languages = inventory.packages.iter().filter(|package| is_language(package.kind));
    let evidence: HashSet<&str> = languages.map(|p| normal_path(&p.evidence)).collect();
    if evidence.is_empty() {
        return evidence;
    }
    let distribution = inventory.packages.iter().filter(|package| !is_language(package.kind));
    let files = distribution.flat_map(|package| &package.files).map(|path| normal_path(path));
    files.filter(|path| evidence.contains(path)).collect()
}

/// What each advisory says of `package`, and those of which that cannot be said.
fn judge_package<'a>(
    package: &Package,
    advisories: &[&'a Read<'a>],
    compare: version::Compare,
) -> (Vec<Judged<'a>>, Vec<&'a Read<'a>>) {
    let (mut judged, mut incomparable) = (Vec::new(), Vec::new());
    let (_, installed) = ecosystem::advisory_name(package);
    for advisory in advisories.iter().filter(|advisory| concerns_module(advisory, package)) {
        let verdict = match advisory.status {
            Status::NotAffected => Some(Verdict::Clean),
            _ => affected(advisory, installed, compare),
        };
        match verdict {
            Some(verdict) => judged.push(Judged { advisory, verdict }),
            None => incomparable.push(*advisory),
        }
    }
    (judged, incomparable)
}

/// An advisory and what it says of the installed version.
struct Judged<'a> {
    advisory: &'a Read<'a>,
    verdict: Verdict<'a>,
}

/// What the release of a build in a module holds, in the RHEL family.
const MODULE_MARK: &str = ".module";

/// Whether an advisory can mean a package as far as modules go.
fn concerns_module(advisory: &Read<'_>, package: &Package) -> bool {
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
            label.get(..stream) == Some(*wanted)
        }
        _ => is_modular == meant,
    }
}

/// What an advisory says about a version.
#[derive(Clone, Copy)]
enum Verdict<'a> {
    Affected(Option<&'a str>),
    Clean,
}

/// Whether `version` is affected; `None` where a comparison on which it rests was not possible.
fn affected<'a>(
    advisory: &Read<'a>,
    version: &str,
    compare: version::Compare,
) -> Option<Verdict<'a>> {
    if advisory
        .versions
        .iter()
        .any(|v| *v == version || compare(v, version) == Some(Ordering::Equal))
    {
        return Some(Verdict::Affected(None));
    }
    let mut is_outside = true;
    for range in &advisory.ranges {
        let from = match &range.introduced {
            None => Some(true),
            Some(first) => compare(version, first).map(Ordering::is_ge),
        };
        let (until, fixed) = match &range.end {
            RangeEnd::Open => (Some(true), None),
            RangeEnd::Fixed(end) => (compare(version, end).map(Ordering::is_lt), Some(*end)),
            RangeEnd::LastAffected(end) => (compare(version, end).map(Ordering::is_le), None),
        };
        match (from, until) {
            (Some(true), Some(true)) => return Some(Verdict::Affected(fixed)),
            (Some(false), _) | (_, Some(false)) => {}
            _ => is_outside = false,
        }
    }
    // Of a version that has no order, a list of others says nothing either.
    let is_ordered =
        || advisory.versions.is_empty() || compare(version, version) == Some(Ordering::Equal);
    (is_outside && is_ordered()).then_some(Verdict::Clean)
}

/// Scores of EPSS, by CVE.
pub(crate) type Scores = HashMap<String, f64>;

/// The scores of those of `ids` that have one.
pub(crate) fn scores<'a>(
    ids: impl Iterator<Item = &'a str>,
    db: &Database,
) -> Result<Scores, ReadDatabaseError> {
    let mut scores = Scores::new();
    if db.has_scores()? {
        // In order, so that each block is read once.
        let mut ids: Vec<&str> = ids.filter(|id| id.starts_with("CVE-")).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            if let Some(score) = db.epss(id)? {
                scores.insert(id.to_string(), score);
            }
        }
    }
    Ok(scores)
}

/// Notes what is exploited, and how likely it is to be.
pub(crate) fn weigh(found: &mut [Vulnerability], exploited: &HashSet<String>, scores: &Scores) {
    for vulnerability in found {
        let is_exploited = names(vulnerability)
            .filter(|id| id.starts_with("CVE-"))
            .any(|id| exploited.contains(id));
        vulnerability.known_exploited = is_exploited;
        if !scores.is_empty() {
            let known = names(vulnerability).filter_map(|id| scores.get(id));
            let worst = known.copied().reduce(f64::max);
            vulnerability.epss = worst;
        }
    }
}

/// The identifier of a vulnerability, and every other one.
pub(crate) fn names(vulnerability: &Vulnerability) -> impl Iterator<Item = &str> {
    std::iter::once(&vulnerability.id).chain(&vulnerability.aliases).map(String::as_str)
}

/// Puts the worst first. Places are sorted, because a vulnerability is large, and by names first,
/// because those are nearly in order.
pub(crate) fn sort_by_weight(found: &mut Vec<Vulnerability>) {
    let mut places: Vec<usize> = (0..found.len()).collect();
    places.sort_by(|&a, &b| {
        let (a, b) = (&found[a], &found[b]);
        (&a.package, &a.id, &a.purl).cmp(&(&b.package, &b.id, &b.purl))
    });
    places.sort_by_key(|&at| Reverse((found[at].known_exploited, found[at].severity)));
    *found = places.into_iter().map(|place| std::mem::take(&mut found[place])).collect();
}

#[cfg(test)]
mod tests;

//! Records of one vulnerability to one finding.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use palisade_model::finding::{FeedStatement, Vulnerability};
use palisade_model::{Package, Severity};
use palisade_packages::version;

use super::symbols::Programs;
use super::{Answer, Judged};
use crate::db::{Advisory, Status, VulnerableSymbols};
use crate::feeds::rating;

/// What one record says of one vulnerability.
#[derive(Clone, Copy)]
struct Hit<'a> {
    advisory: &'a Advisory,
    answer: Answer<'a>,
    /// The vulnerability, where the record is a notice that fixes several.
    fixes: Option<&'a str>,
}

impl<'a> Hit<'a> {
    fn id(&self) -> &'a str {
        self.fixes.unwrap_or(&self.advisory.id)
    }

    /// Names by which records are one: not the notice's, which may fix many things.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let aliases = self.fixes.is_none().then_some(&self.advisory.aliases);
        std::iter::once(self.id()).chain(aliases.into_iter().flatten().map(String::as_str))
    }

    fn fixed(&self) -> Option<&'a str> {
        match self.answer {
            Answer::Affected(fixed) => fixed,
            Answer::Clean => None,
        }
    }

    fn is_affected(&self) -> bool {
        matches!(self.answer, Answer::Affected(_))
    }
}

/// Which feed decides: the distribution's own, a copy of it, what changelogs say. Feeds of
/// languages are equals.
fn rank(feed: &str) -> u8 {
    let of_distribution = ["osv/Debian", "osv/Ubuntu", "osv/Alpine", "osv/AlmaLinux"];
    let more = ["osv/Rocky Linux", "osv/Red Hat", "osv/SUSE", "osv/Wolfi", "osv/Chainguard"];
    match feed {
        "debian-changelogs" => 2,
        feed if of_distribution.contains(&feed) || more.contains(&feed) => 1,
        _ => 0,
    }
}

/// The findings of a package, and how many the deciding feeds deny.
pub(super) fn findings(
    package: &Package,
    judged: &[Judged<'_>],
    programs: &mut Programs<'_>,
    compare: version::Compare,
) -> (Vec<Vulnerability>, u64) {
    let hits: Vec<Hit<'_>> = judged.iter().flat_map(expand).collect();
    let mut found = Vec::new();
    let mut n_overruled = 0;
    for group in fold(&hits) {
        if !group.iter().any(Hit::is_affected) {
            continue;
        }
        let first = group.iter().map(|hit| rank(&hit.advisory.feed)).min().unwrap_or(0);
        let deciding: Vec<Hit<'_>> =
            group.iter().filter(|hit| rank(&hit.advisory.feed) == first).copied().collect();
        if deciding.iter().any(Hit::is_affected) {
            let mut one = vulnerability(package, &group, &deciding, compare);
            let affected = group.iter().filter(|hit| hit.is_affected());
            let parts: Vec<&VulnerableSymbols> =
                affected.flat_map(|hit| &hit.advisory.symbols).collect();
            one.symbols = programs.check(package, &parts);
            found.push(one);
        } else {
            n_overruled += 1;
        }
    }
    (found, n_overruled)
}

/// A record as the vulnerabilities of which it speaks.
fn expand<'a>(judged: &Judged<'a>) -> Vec<Hit<'a>> {
    let &Judged { advisory, answer } = judged;
    if advisory.fixes.is_empty() {
        return vec![Hit { advisory, answer, fixes: None }];
    }
    let fixes = advisory.fixes.iter();
    fixes.map(|id| Hit { advisory, answer, fixes: Some(id) }).collect()
}

/// Groups records that share a name, directly or through another record, in the order of their
/// first members.
fn fold<'a>(hits: &[Hit<'a>]) -> Vec<Vec<Hit<'a>>> {
    // Union-find: the first hit with a name stands for all with it.
    let mut parents: Vec<usize> = (0..hits.len()).collect();
    let mut named: HashMap<&str, usize> = HashMap::new();
    for (index, hit) in hits.iter().enumerate() {
        for name in hit.names() {
            let other = *named.entry(name).or_insert(index);
            let (a, b) = (root(&mut parents, index), root(&mut parents, other));
            // The earlier one stays the root.
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut places: HashMap<usize, usize> = HashMap::new();
    let mut groups: Vec<Vec<Hit<'a>>> = Vec::new();
    for (index, hit) in hits.iter().enumerate() {
        let place = *places.entry(root(&mut parents, index)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[place].push(*hit);
    }
    groups
}

fn root(parents: &mut [usize], mut index: usize) -> usize {
    while parents[index] != index {
        parents[index] = parents[parents[index]];
        index = parents[index];
    }
    index
}

fn vulnerability(
    package: &Package,
    group: &[Hit<'_>],
    deciding: &[Hit<'_>],
    compare: version::Compare,
) -> Vulnerability {
    let mut ids: BTreeSet<&str> = BTreeSet::new();
    for hit in group {
        ids.extend(hit.names());
        ids.insert(&hit.advisory.id);
    }
    // A record that chose a CVE as its name knows best; otherwise the first record's own name.
    let chosen = group.iter().map(Hit::id).find(|id| id.starts_with("CVE-"));
    let id = chosen.or_else(|| group.first().map(Hit::id)).unwrap_or_default();
    let affected = || deciding.iter().filter(|hit| hit.is_affected());
    let fixed = affected()
        .filter_map(Hit::fixed)
        .reduce(|a, b| if compare(a, b) == Some(Ordering::Less) { b } else { a });
    let worst = |hits: &[Hit<'_>]| {
        let affected = hits.iter().filter(|hit| hit.is_affected());
        affected.map(|hit| hit.advisory.severity).max().unwrap_or_default()
    };
    let severity = match worst(deciding) {
        Severity::Unknown => worst(group),
        severity => severity,
    };
    let title = group.iter().map(|hit| hit.advisory.title.as_str()).max_by_key(|t| t.len());
    let feeds: BTreeSet<&str> = affected().map(|hit| hit.advisory.feed.as_str()).collect();
    let vectors = group.iter().filter_map(|hit| hit.advisory.cvss.as_deref());
    let rated = rating::worst(vectors);
    let open = affected().map(|hit| hit.advisory.status).max().unwrap_or_default();
    Vulnerability {
        id: id.to_string(),
        aliases: ids.into_iter().filter(|other| *other != id).map(str::to_string).collect(),
        package: package.name.clone(),
        purl: package.purl.clone(),
        source: package.source.as_ref().map(|source| source.name.clone()),
        installed: package.version.clone(),
        fixed: fixed.map(str::to_string),
        severity,
        title: title.unwrap_or_default().to_string(),
        feed: feeds.into_iter().collect::<Vec<_>>().join(", "),
        status: if fixed.is_some() { Status::Affected } else { open },
        cvss: rated.map(|(vector, ..)| vector.to_string()),
        cvss_score: rated.map(|(_, score, _)| score),
        statements: statements(group, compare),
        ..Vulnerability::default()
    }
}

/// What each feed says, the deciding ones first; nothing where they agree.
fn statements(group: &[Hit<'_>], compare: version::Compare) -> Vec<FeedStatement> {
    let mut by_feed: Vec<FeedStatement> = Vec::new();
    for hit in group {
        let advisory = hit.advisory;
        let status = match hit.answer {
            Answer::Affected(_) => advisory.status,
            Answer::Clean => Status::NotAffected,
        };
        if let Some(known) = by_feed.iter_mut().find(|known| known.feed == advisory.feed) {
            known.severity = known.severity.max(advisory.severity);
            // Affected by one record is affected.
            known.status = known.status.min(status);
            known.fixed = match (known.fixed.take(), hit.fixed()) {
                (Some(a), Some(b)) if compare(&a, b) == Some(Ordering::Less) => Some(b.to_string()),
                (None, other) => other.map(str::to_string),
                (known, _) => known,
            };
        } else {
            by_feed.push(FeedStatement {
                feed: advisory.feed.clone(),
                severity: advisory.severity,
                status,
                fixed: hit.fixed().map(str::to_string),
            });
        }
    }
    by_feed.sort_by(|a, b| (rank(&a.feed), &a.feed).cmp(&(rank(&b.feed), &b.feed)));
    let agree = by_feed.windows(2).all(|pair| {
        (pair[0].severity, pair[0].status, &pair[0].fixed)
            == (pair[1].severity, pair[1].status, &pair[1].fixed)
    });
    if agree { Vec::new() } else { by_feed }
}

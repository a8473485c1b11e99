//! Records of one vulnerability to one finding.

use std::cmp::Ordering;
use std::collections::HashMap;

use palisade_model::finding::{FeedStatement, Vulnerability};
use palisade_model::{Package, Severity};
use palisade_packages::version;

use super::symbols::Programs;
use super::{Judged, Read, Verdict};
use crate::db::{Status, VulnerableSymbols};
use crate::feeds::rating;

/// What one record says of one vulnerability.
#[derive(Clone, Copy)]
struct Hit<'a> {
    advisory: &'a Read<'a>,
    verdict: Verdict<'a>,
    /// The vulnerability, where the record is a notice that fixes several.
    fixes: Option<&'a str>,
}

impl<'a> Hit<'a> {
    fn id(&self) -> &'a str {
        self.fixes.unwrap_or(self.advisory.id)
    }

    /// Names by which records are one: not the notice's, which may fix many things.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let aliases = self.fixes.is_none().then_some(&self.advisory.aliases);
        std::iter::once(self.id()).chain(aliases.into_iter().flatten().copied())
    }

    fn fixed(&self) -> Option<&'a str> {
        match self.verdict {
            Verdict::Affected(fixed) => fixed,
            Verdict::Clean => None,
        }
    }

    fn is_affected(&self) -> bool {
        matches!(self.verdict, Verdict::Affected(_))
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
    let hits = fold(hits);
    for group in hits.chunk_by(|a, b| a.0 == b.0) {
        let group: Vec<Hit<'_>> = group.iter().map(|(_, hit)| *hit).collect();
        if !group.iter().any(Hit::is_affected) {
            continue;
        }
        let first = group.iter().map(|hit| rank(hit.advisory.feed)).min().unwrap_or(0);
        let deciding: Vec<Hit<'_>> =
            group.iter().filter(|hit| rank(hit.advisory.feed) == first).copied().collect();
        if deciding.iter().any(Hit::is_affected) {
            let mut one = vulnerability(package, &group, &deciding, compare);
            let affected = group.iter().filter(|hit| hit.is_affected());
            let parts: Vec<&VulnerableSymbols<&str>> =
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
    let &Judged { advisory, verdict } = judged;
    if advisory.fixes.is_empty() {
        return vec![Hit { advisory, verdict, fixes: None }];
    }
    let fixes = advisory.fixes.iter();
    fixes.map(|id| Hit { advisory, verdict, fixes: Some(id) }).collect()
}

/// Puts records that share a name, directly or through another record, beside each other, in the
/// order of their first members; each with the place of the first.
fn fold(hits: Vec<Hit<'_>>) -> Vec<(usize, Hit<'_>)> {
    // Union-find: the first hit with a name stands for all with it, and the earlier stays the root.
    let mut parents: Vec<usize> = (0..hits.len()).collect();
    let mut named: HashMap<&str, usize> = HashMap::with_capacity(2 * hits.len());
    for (at, hit) in hits.iter().enumerate() {
        for name in hit.names() {
            let other = *named.entry(name).or_insert(at);
            let (a, b) = (root(&mut parents, at), root(&mut parents, other));
            parents[a.max(b)] = a.min(b);
        }
    }
    let rooted = hits.into_iter().enumerate().map(|(at, hit)| (root(&mut parents, at), hit));
    let mut folded: Vec<(usize, Hit<'_>)> = rooted.collect();
    folded.sort_by_key(|(root, _)| *root);
    folded
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
    let names = group.iter().flat_map(|hit| hit.names().chain([hit.advisory.id]));
    let mut ids: Vec<&str> = names.collect();
    ids.sort_unstable();
    ids.dedup();
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
    let title = group.iter().map(|hit| hit.advisory.title).max_by_key(|t| t.len());
    let mut feeds: Vec<&str> = affected().map(|hit| hit.advisory.feed).collect();
    feeds.sort_unstable();
    feeds.dedup();
    let vectors = group.iter().filter_map(|hit| hit.advisory.cvss);
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
        feed: feeds.join(", "),
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
        let status = match hit.verdict {
            Verdict::Affected(_) => advisory.status,
            Verdict::Clean => Status::NotAffected,
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
                feed: advisory.feed.to_string(),
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

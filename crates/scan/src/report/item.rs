//! A finding of any kind in the words that all forms share.
//!
//! A new kind of finding is described here once; every form of the report has it then.

use std::collections::BTreeMap;

use palisade_base::Timestamp;
use palisade_model::finding::{DatabaseInfo, Misconfiguration, ScanReport, Vulnerability};
use palisade_model::symbols::SymbolAnswer;
use palisade_model::{Finding, Severity};

use super::printable;
use crate::ignore::danger_name;
use crate::licences::verdict_name;

/// A finding in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Kind, in kebab-case: `vulnerability`, `malware`, `secret`, `file`,
    /// `configuration`, `licence`.
    pub kind: &'static str,
    /// What found it, for all findings alike: an identifier, a detector, a danger, a check.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// What the rule is about.
    pub title: String,
    /// What to do.
    pub help: String,
    /// What was found, in one sentence.
    pub message: String,
    /// Where: a path in the image, a package URL, or a file that people wrote.
    pub path: String,
    /// Line in it, from 1.
    pub line: Option<u64>,
    /// Column in it in characters, from 1.
    pub column: Option<u64>,
    /// A page about the rule.
    pub url: Option<String>,
    /// What makes the finding the same in the next scan: no line, no version.
    pub identity: String,
}

impl Item {
    /// The place with its line.
    pub fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.path),
            None => self.path.clone(),
        }
    }
}

/// Describes `finding`.
pub fn describe(finding: &Finding) -> Item {
    let severity = finding.severity();
    match finding {
        Finding::Vulnerability(v) => {
            let name = format!("{} {}", v.package, v.installed);
            let fix = match &v.fixed {
                Some(fixed) => format!("upgrade to {fixed}"),
                None if v.status.is_affected() => "no fixed version is known".into(),
                None => format!("no fixed version is known: {}", v.status.as_str()),
            };
            let title = if v.title.is_empty() { v.id.clone() } else { v.title.clone() };
            Item {
                kind: "vulnerability",
                rule: v.id.clone(),
                severity,
                message: match &v.symbols {
                    Some(check) => format!("{name}: {title}; {fix}; {}", check.sentence()),
                    None => format!("{name}: {title}; {fix}"),
                },
                title,
                help: format!("{} in {}: {fix}", v.id, v.package),
                path: v.purl.clone(),
                line: None,
                column: None,
                url: url_of(&v.id),
                identity: format!("{} {}", v.id, v.package),
            }
        }
        Finding::Secret(s) => Item {
            kind: "secret",
            rule: s.detector.clone(),
            severity,
            title: s.title.clone(),
            help: "remove it from the image, and revoke it: every copy of the image has it".into(),
            message: format!("{}: {}", s.title, s.redacted),
            path: s.path.clone(),
            line: Some(s.line.max(1)),
            column: None,
            url: None,
            // Two values may look alike when their middles are hidden.
            identity: format!("{} {} {}{}", s.detector, s.path, s.redacted, s.fingerprint),
        },
        Finding::File(f) => Item {
            kind: "file",
            rule: danger_name(f.danger).to_string(),
            severity,
            title: danger_name(f.danger).to_string(),
            help: "remove the file or its privilege if the program does not need it".into(),
            message: format!("{}: {}", danger_name(f.danger), f.detail),
            path: f.path.clone(),
            line: None,
            column: None,
            url: None,
            identity: format!("{} {}", danger_name(f.danger), f.path),
        },
        Finding::Configuration(c) => configuration(c),
        Finding::Malware(m) => Item {
            kind: "malware",
            rule: m.rule.clone(),
            severity,
            title: m.title.clone(),
            help: "find out how it came into the image, and build the image anew without it".into(),
            message: format!("{}: {}", m.title, m.detail),
            path: m.path.clone(),
            line: None,
            column: None,
            // Rules and lists are written by others.
            url: Some(&m.reference).filter(|page| page.starts_with("https://")).cloned(),
            identity: format!("{} {}", m.rule, m.path),
        },
        Finding::Licence(l) => Item {
            kind: "licence",
            rule: format!("licence-{}", verdict_name(l.verdict)),
            severity,
            title: format!("licence {}", verdict_name(l.verdict)),
            help: "replace the package, or add an exception with a reason to the policy".into(),
            message: match l.licence.as_str() {
                "" => format!("{} {}: {}", l.package, l.version, l.reason),
                licence => format!("{} {}: {licence}; {}", l.package, l.version, l.reason),
            },
            path: l.purl.clone(),
            line: None,
            column: None,
            url: None,
            identity: format!("{} {} {}", l.package, l.licence, verdict_name(l.verdict)),
        },
        _ => Item {
            kind: "other",
            rule: "other".into(),
            severity,
            title: "other finding".into(),
            help: "see the JSON report".into(),
            message: "a finding of a kind that this form does not know".into(),
            path: "config.json".into(),
            line: None,
            column: None,
            url: None,
            identity: "other".into(),
        },
    }
}

/// What is known of a vulnerability's functions, in two words; empty where nothing is asked.
pub fn code_mark(v: &Vulnerability) -> &'static str {
    match v.symbols.as_ref().map(|check| check.answer) {
        Some(SymbolAnswer::Present) => "code present",
        Some(SymbolAnswer::Absent) => "code absent",
        Some(SymbolAnswer::Unknown) => "code unknown",
        None => "",
    }
}

fn configuration(c: &Misconfiguration) -> Item {
    let of = c.resource.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
    let place = c.location.as_ref();
    // The identity has no line: findings move when lines are added above them.
    let identity = match place {
        Some(at) => {
            let resource = c.resource.as_deref().unwrap_or_default();
            format!("{} {} {resource} {}", c.check, at.file, c.title)
        }
        None => c.check.clone(),
    };
    Item {
        kind: "configuration",
        rule: c.check.clone(),
        severity: c.severity,
        title: c.title.clone(),
        help: if c.why.is_empty() { c.fix.clone() } else { format!("{} Fix: {}", c.why, c.fix) },
        message: format!("{of}{}; {}", c.title, c.fix),
        path: place.map_or_else(|| "config.json".into(), |at| at.file.clone()),
        line: place.map(|at| at.line.max(1)),
        column: place.map(|at| at.column.max(1)),
        // A report that is read back may hold anything.
        url: c.references.first().filter(|page| page.starts_with("https://")).cloned(),
        identity,
    }
}

/// [`advisories`] of a report, or that there are none.
pub fn advisories_of(report: &ScanReport) -> String {
    match &report.database {
        Some(database) => advisories(database, report.time),
        None => "no advisory database".into(),
    }
}

/// As of when the database speaks of what is in the inventory, and which feed is as old as that:
/// `advisories of 2026-10-21 (31 days old, debian-changelogs)`.
pub fn advisories(database: &DatabaseInfo, now: Timestamp) -> String {
    let name = database.oldest.as_ref().map(|feed| printable(&feed.name)).unwrap_or_default();
    let Some(time) = database.as_of() else {
        return format!("advisories of unknown age ({name})");
    };
    let date: String = time.rfc3339().chars().take(10).collect();
    let age = match database.age_days(now).unwrap_or_default() {
        0 => return format!("advisories of {date}"),
        1 => "1 day old".to_string(),
        days => format!("{days} days old"),
    };
    let of = if name.is_empty() { String::new() } else { format!(", {name}") };
    format!("advisories of {date} ({age}{of})")
}

/// What was not examined, one sentence each: files, and packages that could not be judged.
pub fn blind_spots(report: &ScanReport) -> Vec<String> {
    let gaps = report.gaps().iter().map(|gap| format!("{}: {}", gap.path, gap.reason));
    let unmatched = report.coverage.unmatched.iter().map(|unmatched| {
        let (n, ecosystem, reason) =
            (unmatched.n_packages, &unmatched.ecosystem, &unmatched.reason);
        format!("{n} packages of {ecosystem}: {reason}")
    });
    let mut spots: Vec<String> = gaps.chain(unmatched).collect();
    spots.extend(incomparable(report));
    if report.database.is_none() {
        spots.push("vulnerabilities: there is no advisory database".into());
    }
    if report.coverage.is_of_document {
        spots.push("files and settings: a bill of materials was read, not an image".into());
    }
    spots
}

/// Packages whose versions advisories could not be compared with, one sentence each.
pub(crate) fn incomparable(report: &ScanReport) -> Vec<String> {
    let coverage = &report.coverage;
    let mut by_package: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for one in &coverage.incomparable {
        *by_package.entry((&one.package, &one.installed)).or_default() += 1;
    }
    let mut sentences: Vec<String> = by_package
        .into_iter()
        .map(|((package, installed), n)| {
            let noun = if n == 1 { "advisory" } else { "advisories" };
            if installed.is_empty() {
                return format!("{package}: its version is not known, {n} {noun} may mean it");
            }
            format!("{package} {installed}: {n} {noun} could not be compared with this version")
        })
        .collect();
    let n_more = coverage.n_incomparable.saturating_sub(coverage.incomparable.len() as u64);
    if n_more > 0 {
        let what = "advisories could not be compared with what is installed";
        sentences.push(format!("{n_more} further {what}"));
    }
    sentences
}

/// Where people read about an identifier.
pub fn url_of(id: &str) -> Option<String> {
    let is_plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:.".contains(&b));
    let (family, _) = id.split_once('-')?;
    match family {
        _ if !is_plain => None,
        "CVE" => Some(format!("https://nvd.nist.gov/vuln/detail/{id}")),
        "GHSA" => Some(format!("https://github.com/advisories/{id}")),
        "GO" | "PYSEC" | "RUSTSEC" | "ALSA" | "DSA" | "DLA" | "USN" | "RLSA" | "CGA" | "MAL" => {
            Some(format!("https://osv.dev/vulnerability/{id}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use palisade_model::finding::SourceLocation;

    use super::*;

    #[test]
    fn identifiers_lead_to_pages_and_never_elsewhere() {
        let check = |id: &str, expected: Option<&str>| assert_eq!(url_of(id).as_deref(), expected);
        check("CVE-2024-1", Some("https://nvd.nist.gov/vuln/detail/CVE-2024-1"));
        check("GHSA-aaaa-bbbb", Some("https://github.com/advisories/GHSA-aaaa-bbbb"));
        check("GO-2024-1", Some("https://osv.dev/vulnerability/GO-2024-1"));
        check("CVE-2024-1/../../x", None);
        check("CVE-\"onload=", None);
        check("x", None);
    }

    #[test]
    fn a_check_names_its_file_and_is_the_same_when_lines_move() {
        let found = |line| Misconfiguration {
            check: "privileged".into(),
            title: "runs with every privilege".into(),
            fix: "remove `privileged`".into(),
            why: "It is root of the host.".into(),
            resource: Some("Pod/shop".into()),
            location: Some(SourceLocation { file: "shop.yaml".into(), line, column: 3 }),
            references: vec!["https://kubernetes.io/docs".into()],
            ..Misconfiguration::default()
        };
        let item = describe(&Finding::Configuration(found(7)));
        assert_eq!(item.place(), "shop.yaml:7");
        assert_eq!(item.column, Some(3));
        assert_eq!(item.help, "It is root of the host. Fix: remove `privileged`");
        assert_eq!(item.message, "Pod/shop: runs with every privilege; remove `privileged`");
        assert_eq!(item.url.as_deref(), Some("https://kubernetes.io/docs"));
        assert_eq!(item.identity, describe(&Finding::Configuration(found(9))).identity);
        let mut bare = found(0);
        bare.location = None;
        bare.references = vec!["javascript:alert(1)".into()];
        let item = describe(&Finding::Configuration(bare));
        assert_eq!((item.place().as_str(), item.url), ("config.json", None));
    }
}

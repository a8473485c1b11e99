//! A finding of any kind in the words that all forms share.
//!
//! A new kind of finding is described here once; every form of the report has it then.

use palisade_model::finding::ScanReport;
use palisade_model::{Finding, Severity};

use crate::ignore::danger_name;

/// A finding in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Kind, in kebab-case: `vulnerability`, `secret`, `file`, `configuration`.
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
    /// Where: a path in the image or a package URL.
    pub path: String,
    /// Line in it, from 1.
    pub line: Option<u64>,
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
                None => "no fixed version is known".into(),
            };
            let title = if v.title.is_empty() { v.id.clone() } else { v.title.clone() };
            Item {
                kind: "vulnerability",
                rule: v.id.clone(),
                severity,
                message: format!("{name}: {title}; {fix}"),
                title,
                help: format!("{} in {}: {fix}", v.id, v.package),
                path: v.purl.clone(),
                line: None,
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
            identity: format!("{} {} {}", s.detector, s.path, s.redacted),
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
            identity: format!("{} {}", danger_name(f.danger), f.path),
        },
        Finding::Configuration(c) => Item {
            kind: "configuration",
            rule: c.check.clone(),
            severity,
            title: c.title.clone(),
            help: c.fix.clone(),
            message: format!("{}; {}", c.title, c.fix),
            path: "config.json".into(),
            line: None,
            identity: c.check.clone(),
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
            identity: "other".into(),
        },
    }
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
    if report.database.is_none() {
        spots.push("vulnerabilities: there is no advisory database".into());
    }
    if report.coverage.is_of_document {
        spots.push("files and settings: a bill of materials was read, not an image".into());
    }
    spots
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
    use super::url_of;

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
}

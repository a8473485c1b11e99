//! May an image with these findings run?
//!
//! A gate that demands something of vulnerabilities can only be evaluated where the database
//! could judge the image's packages. Where it could not, the answer is
//! [`GateDecision::NotEvaluated`], which callers must treat as a failure, never as a pass.

use palisade_base::Timestamp;
use palisade_model::finding::{LicenceVerdict, ScanReport};
use palisade_model::package::PackageKind;
use palisade_model::{Finding, Severity};
use palisade_policy::Gate;

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateDecision {
    /// Nothing that the policy forbids was found, and everything was looked at.
    Pass,
    /// The policy forbids this.
    Refuse {
        /// Why, one sentence each; never empty.
        reasons: Vec<String>,
    },
    /// The question could not be answered.
    NotEvaluated {
        /// Why, one sentence each; never empty.
        why: Vec<String>,
    },
}

/// Identifiers named in one reason; the rest is a number.
const NAMED_MAX: usize = 5;

/// Judges `report` by `gate`. A refusal outweighs what could not be evaluated: what was
/// found is enough.
///
/// A severity threshold never counts vulnerabilities of unknown severity, because feeds that
/// rate nothing would refuse every image; they are in the report all the same. Nor does the
/// demand for no secrets count those of low severity: samples, test data, wrong checksums.
pub fn evaluate(report: &ScanReport, gate: &Gate, now: Timestamp) -> GateDecision {
    let reasons = refusals(report, gate, now);
    if !reasons.is_empty() {
        return GateDecision::Refuse { reasons };
    }
    let why = obstacles(report, gate);
    if why.is_empty() { GateDecision::Pass } else { GateDecision::NotEvaluated { why } }
}

fn refusals(report: &ScanReport, gate: &Gate, now: Timestamp) -> Vec<String> {
    let mut reasons = Vec::new();
    let vulnerabilities = || {
        report.findings.iter().filter_map(|finding| match finding {
            Finding::Vulnerability(v) => Some(v),
            _ => None,
        })
    };
    let counts = |fixed: &Option<String>| !gate.fixed_only || fixed.is_some();
    if let Some(threshold) = gate.severity {
        let bad = |s: Severity| s >= threshold && (s != Severity::Unknown || threshold == s);
        let ids: Vec<&str> = vulnerabilities()
            .filter(|v| bad(v.severity) && counts(&v.fixed))
            .map(|v| v.id.as_str())
            .collect();
        let with = if gate.fixed_only { " with a fixed version" } else { "" };
        reasons.extend(sentence(&ids, &format!("rated {threshold} or worse{with}")));
    }
    if gate.known_exploited {
        let ids: Vec<&str> =
            vulnerabilities().filter(|v| v.known_exploited).map(|v| v.id.as_str()).collect();
        reasons.extend(sentence(&ids, "known to be exploited"));
    }
    if gate.secrets {
        let is_secret =
            |f: &&Finding| matches!(f, Finding::Secret(s) if s.severity > Severity::Low);
        let n = report.findings.iter().filter(is_secret).count();
        if n > 0 {
            let noun = if n == 1 { "secret" } else { "secrets" };
            reasons.push(format!("{n} {noun} in the image"));
        }
    }
    if gate.malware {
        let is_malware =
            |f: &&Finding| matches!(f, Finding::Malware(m) if m.severity > Severity::Low);
        let n = report.findings.iter().filter(is_malware).count();
        if n > 0 {
            let noun = if n == 1 { "sign" } else { "signs" };
            reasons.push(format!("{n} {noun} of malware in the image"));
        }
    }
    if gate.licences {
        let is_denied =
            |f: &&Finding| matches!(f, Finding::Licence(l) if l.verdict == LicenceVerdict::Denied);
        let n = report.findings.iter().filter(is_denied).count();
        if n > 0 {
            let noun = if n == 1 { "package" } else { "packages" };
            reasons.push(format!("{n} {noun} under licences that the policy denies"));
        }
    }
    if let (Some(days_max), Some(database)) = (gate.database_age_days_max, &report.database) {
        let days = now.since(database.built).as_secs() / 86_400;
        if days > u64::from(days_max) {
            reasons.push(format!(
                "the newest advisory is {days} days old, the policy allows {days_max}"
            ));
        }
    }
    reasons
}

fn sentence(ids: &[&str], what: &str) -> Option<String> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let n = ids.len();
    let noun = if n == 1 { "vulnerability" } else { "vulnerabilities" };
    let named = ids.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    let more = if n > NAMED_MAX { format!(" and {} more", n - NAMED_MAX) } else { String::new() };
    (n > 0).then(|| format!("{n} {noun} {what}: {named}{more}"))
}

/// Why a gate that found nothing to refuse cannot pass.
fn obstacles(report: &ScanReport, gate: &Gate) -> Vec<String> {
    let mut why = Vec::new();
    let about_vulnerabilities =
        gate.severity.is_some() || gate.known_exploited || gate.database_age_days_max.is_some();
    if about_vulnerabilities {
        if report.database.is_none() {
            why.push(
                "there is no advisory database, so vulnerabilities were not looked for".into(),
            );
        }
        // Programs outside packages have no feed, whatever the database: a demand that nobody
        // could ever meet would shut out every image with a program built from source. They
        // are listed as not judged.
        let bare = PackageKind::Binary.purl_type();
        let unmatched = report.coverage.unmatched.iter();
        let blind = unmatched.filter(|u| report.database.is_some() && u.ecosystem != bare);
        why.extend(blind.map(|u| {
            format!(
                "{} packages of {} could not be judged: {}",
                u.n_packages, u.ecosystem, u.reason
            )
        }));
    }
    if gate.secrets && report.coverage.n_files_searched == 0 && report.inventory.n_files > 0 {
        why.push("no file was searched for secrets".into());
    }
    if gate.malware && report.coverage.n_files_malware == 0 && report.inventory.n_files > 0 {
        why.push("no file was examined for malware".into());
    }
    let n_judged = report.coverage.n_licences_judged + report.coverage.n_licences_unknown;
    if gate.licences && n_judged == 0 && !report.inventory.packages.is_empty() {
        why.push("no licence was judged: the policy has no `scan.licences`".into());
    }
    let demands = about_vulnerabilities || gate.secrets || gate.malware || gate.licences;
    if demands && !report.gaps().is_empty() {
        why.push(format!("{} parts of the image could not be examined", report.gaps().len()));
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_model::finding::{
        Coverage, DatabaseInfo, LicenceFinding, Malware, MalwareEngine, Secret, Unmatched,
        Vulnerability,
    };
    use palisade_model::package::{Gap, Inventory, Subject};

    const NOW: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

    fn vulnerability(id: &str, severity: Severity, fixed: bool, known_exploited: bool) -> Finding {
        Finding::Vulnerability(Vulnerability {
            id: id.into(),
            aliases: vec![],
            package: "a".into(),
            purl: String::new(),
            source: None,
            installed: "1".into(),
            fixed: fixed.then(|| "2".into()),
            severity,
            title: String::new(),
            feed: "test".into(),
            known_exploited,
        })
    }

    fn report(findings: Vec<Finding>) -> ScanReport {
        ScanReport {
            time: NOW,
            inventory: Inventory {
                subject: Subject { name: "x".into(), digest: None, platform: None },
                distribution: None,
                packages: vec![],
                parts: vec![],
                n_files: 1,
                gaps: vec![],
            },
            database: Some(DatabaseInfo { feeds: vec![], built: NOW, n_records: 1 }),
            findings,
            n_ignored: 0,
            coverage: Coverage { n_files_searched: 1, n_files_malware: 1, ..Coverage::default() },
        }
    }

    fn all() -> Gate {
        Gate {
            severity: Some(Severity::High),
            fixed_only: true,
            known_exploited: true,
            secrets: true,
            malware: true,
            licences: false,
            database_age_days_max: Some(7),
        }
    }

    fn refused(report: &ScanReport, gate: &Gate) -> Vec<String> {
        match evaluate(report, gate, NOW) {
            GateDecision::Refuse { reasons } => reasons,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refuses_what_the_policy_names() {
        assert_eq!(evaluate(&report(vec![]), &all(), NOW), GateDecision::Pass);
        let high = report(vec![vulnerability("CVE-1", Severity::Critical, true, false)]);
        assert_eq!(
            refused(&high, &all()),
            ["1 vulnerability rated high or worse with a fixed version: CVE-1"]
        );
        let unfixed = report(vec![vulnerability("CVE-1", Severity::Critical, false, false)]);
        assert_eq!(evaluate(&unfixed, &all(), NOW), GateDecision::Pass);
        let unknown = report(vec![vulnerability("CVE-1", Severity::Unknown, true, true)]);
        assert_eq!(refused(&unknown, &all()), ["1 vulnerability known to be exploited: CVE-1"]);
        let secret = Finding::Secret(Secret {
            detector: "x".into(),
            title: String::new(),
            path: "/x".into(),
            line: 1,
            redacted: String::new(),
            severity: Severity::Medium,
            ..Secret::default()
        });
        assert_eq!(refused(&report(vec![secret]), &all()), ["1 secret in the image"]);
        let mut old = report(vec![]);
        old.database.as_mut().unwrap().built =
            Timestamp::from_nanos(NOW.as_nanos() - 8 * 86_400_000_000_000);
        assert_eq!(
            refused(&old, &all()),
            ["the newest advisory is 8 days old, the policy allows 7"]
        );
        let many = (0..8).map(|i| vulnerability(&format!("CVE-{i}"), Severity::High, true, false));
        assert!(refused(&report(many.collect()), &all())[0].ends_with("CVE-4 and 3 more"));
    }

    #[test]
    fn what_was_not_looked_at_never_passes() {
        let not_evaluated = |report: &ScanReport, gate: &Gate| {
            assert!(matches!(evaluate(report, gate, NOW), GateDecision::NotEvaluated { .. }));
        };
        let mut blind = report(vec![]);
        blind.database = None;
        not_evaluated(&blind, &all());
        assert_eq!(evaluate(&blind, &Gate::default(), NOW), GateDecision::Pass);
        let mut unmatched = report(vec![]);
        unmatched.coverage.unmatched.push(Unmatched {
            ecosystem: "Debian:12".into(),
            n_packages: 3,
            reason: "r".into(),
        });
        not_evaluated(&unmatched, &all());
        unmatched.coverage.unmatched[0].ecosystem = "generic".into();
        assert_eq!(evaluate(&unmatched, &all(), NOW), GateDecision::Pass);
        let mut gap = report(vec![]);
        gap.inventory.gaps.push(Gap { path: "/x".into(), reason: "r".into() });
        not_evaluated(&gap, &Gate { secrets: true, ..Gate::default() });
        let mut unsearched = report(vec![]);
        unsearched.coverage.n_files_searched = 0;
        not_evaluated(&unsearched, &all());
        // A refusal needs no more evidence.
        blind.findings.push(vulnerability("CVE-1", Severity::High, true, false));
        assert_eq!(refused(&blind, &all()).len(), 1);
    }

    #[test]
    fn malware_and_denied_licences_refuse() {
        let malware = |severity| {
            Finding::Malware(Malware {
                rule: "x".into(),
                engine: MalwareEngine::Yara,
                title: String::new(),
                path: "/x".into(),
                detail: String::new(),
                sha256: None,
                reference: String::new(),
                package: None,
                severity,
                layer: None,
            })
        };
        let licence = |verdict| {
            Finding::Licence(LicenceFinding {
                package: "p".into(),
                purl: String::new(),
                version: "1".into(),
                licence: "AGPL-3.0-only".into(),
                verdict,
                reason: String::new(),
                severity: Severity::High,
            })
        };
        let gate = Gate { malware: true, licences: true, ..Gate::default() };
        let mut found = report(vec![
            malware(Severity::High),
            malware(Severity::Low),
            licence(LicenceVerdict::Denied),
            licence(LicenceVerdict::Review),
        ]);
        found.coverage.n_licences_judged = 2;
        assert_eq!(
            refused(&found, &gate),
            ["1 sign of malware in the image", "1 package under licences that the policy denies"]
        );
        assert!(gate.is_active());
        // What was not looked at is not passed.
        let mut blind = report(vec![]);
        blind.coverage.n_files_malware = 0;
        assert!(matches!(evaluate(&blind, &gate, NOW), GateDecision::NotEvaluated { .. }));
    }
}

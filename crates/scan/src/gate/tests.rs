//! Each demand refuses what it names, and passes only when it could be answered.

use super::*;
use palisade_model::Package;
use palisade_model::finding::{
    Coverage, DatabaseInfo, Dropped, Incomparable, LicenceFinding, Malware, MalwareEngine, Secret,
    Unmatched, Vulnerability,
};
use palisade_model::package::{Gap, Inventory, Subject};
use palisade_policy::EndOfLife;

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
        epss: None,
        ..Vulnerability::default()
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
            programs: vec![],
            n_files: 1,
            gaps: vec![],
        },
        database: Some(DatabaseInfo {
            feeds: vec!["kev".into(), "epss".into()],
            built: NOW,
            n_records: 1,
            partial: vec![],
            times: vec![],
            oldest: None,
            key_created: None,
        }),
        findings,
        n_ignored: 0,
        suppressed: vec![],
        gate: None,
        minimality: None,
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
        database_age_days_max: Some(7),
        ..Gate::default()
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
    assert_eq!(refused(&old, &all()), ["the newest advisory is 8 days old, the policy allows 7"]);
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
fn what_a_feed_would_have_to_say_is_not_answered_without_it() {
    let mut report = report(vec![vulnerability("CVE-1", Severity::Low, false, false)]);
    let kev = Gate { known_exploited: true, ..Gate::default() };
    let epss = Gate { epss_ppm: Some(500_000), ..Gate::default() };
    for gate in [&kev, &epss] {
        assert_eq!(evaluate(&report, gate, NOW), GateDecision::Pass);
    }
    report.database.as_mut().unwrap().feeds.clear();
    let why = |gate| match evaluate(&report, gate, NOW) {
        GateDecision::NotEvaluated { why } => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(&kev), ["the advisory database has no list of exploited vulnerabilities"]);
    assert_eq!(why(&epss), ["the advisory database has no EPSS scores"]);
}

#[test]
fn epss_counts_from_its_threshold_on() {
    let mut found = vulnerability("CVE-1", Severity::Unknown, true, false);
    let Finding::Vulnerability(v) = &mut found else { unreachable!() };
    v.epss = Some(0.5);
    let report = report(vec![found]);
    let gate = |percent: u32| Gate { epss_ppm: Some(percent * 10_000), ..Gate::default() };
    assert_eq!(
        refused(&report, &gate(50)),
        ["1 vulnerability with an EPSS of 50 % or more: CVE-1"]
    );
    assert_eq!(evaluate(&report, &gate(51), NOW), GateDecision::Pass);
}

#[test]
fn the_database_is_signed_by_a_young_key() {
    let gate = Gate { database_key_age_days_max: Some(90), ..Gate::default() };
    let day = std::time::Duration::from_hours(24);
    let ago = |n: u32| Timestamp::from_nanos(NOW.as_nanos() - (day * n).as_nanos() as u64);
    let check = |created: Option<Timestamp>, verdict: GateVerdict, reason: &str| {
        let mut report = report(vec![]);
        report.database.as_mut().unwrap().key_created = created;
        let result = judge(&report, &gate, None, NOW);
        assert_eq!(result.verdict, verdict, "{created:?}");
        assert!(result.rules[0].reasons.join(" ").contains(reason), "{:?}", result.rules);
    };
    check(Some(NOW), GateVerdict::Passed, "");
    check(Some(ago(90)), GateVerdict::Passed, "");
    check(Some(ago(91)), GateVerdict::Refused, "is 91 days old, the policy allows 90");
    check(None, GateVerdict::NotEvaluated, "`--db-key`");
    check(Some(NOW + day), GateVerdict::Passed, "");
    check(Some(NOW + day * 2), GateVerdict::NotEvaluated, "yet to come");
    let mut none = report(vec![]);
    none.database = None;
    assert_eq!(judge(&none, &gate, None, NOW).verdict, GateVerdict::NotEvaluated);
}

#[test]
fn every_rule_says_how_it_was_met() {
    let mut report = report(vec![vulnerability("CVE-1", Severity::Critical, true, false)]);
    report.coverage.is_of_document = true;
    let result = judge(&report, &all(), None, NOW);
    let shown: Vec<String> = result
        .rules
        .iter()
        .map(|rule| format!("{}: {} {:?}", rule.rule, rule.verdict.as_str(), rule.reasons))
        .collect();
    assert_eq!(
        shown,
        [
            "severity: refused [\"1 vulnerability rated high or worse with a fixed version: CVE-1\"]",
            "known_exploited: passed []",
            "secrets: could not be evaluated [\"a bill of materials shows no secrets\"]",
            "malware: could not be evaluated [\"a bill of materials shows no malware\"]",
            "database_age_days_max: passed []",
        ]
    );
    assert_eq!(result.verdict, GateVerdict::Refused);
}

#[test]
fn only_what_is_new_counts_against_a_baseline() {
    let old = report(vec![
        vulnerability("CVE-1", Severity::Critical, true, false),
        vulnerability("CVE-2", Severity::Critical, true, false),
    ]);
    let known = Known::of(&old);
    let gate = Gate { severity: Some(Severity::High), ..Gate::default() };
    let mut same = report(vec![vulnerability("CVE-1", Severity::Critical, false, false)]);
    let result = judge(&same, &gate, Some(&known), NOW);
    assert_eq!(result.verdict, GateVerdict::Passed);
    let baseline = result.baseline.unwrap();
    assert_eq!((baseline.n_known, baseline.n_new, baseline.n_gone), (1, 0, 1));
    same.findings.push(vulnerability("CVE-3", Severity::High, false, false));
    let result = judge(&same, &gate, Some(&known), NOW);
    assert_eq!(
        result.reasons(GateVerdict::Refused).collect::<Vec<_>>(),
        ["1 new vulnerability rated high or worse: CVE-3"]
    );
    // A vulnerability that comes to be exploited is news, although it was there before.
    same.findings = vec![vulnerability("CVE-1", Severity::Critical, true, true)];
    let kev = Gate { known_exploited: true, ..Gate::default() };
    assert_eq!(judge(&same, &kev, Some(&known), NOW).verdict, GateVerdict::Refused);
}

#[test]
fn other_findings_have_a_threshold_of_their_own() {
    use palisade_model::finding::{DangerousFile, FileDanger};
    let file = Finding::File(DangerousFile {
        danger: FileDanger::Setuid,
        path: "/x".into(),
        detail: String::new(),
        package: None,
        severity: Severity::High,
    });
    let mut report = report(vec![file]);
    let gate = |severity| Gate { other_severity: Some(severity), ..Gate::default() };
    assert_eq!(
        refused(&report, &gate(Severity::High)),
        ["1 other finding rated high or worse: setuid"]
    );
    assert_eq!(evaluate(&report, &gate(Severity::Critical), NOW), GateDecision::Pass);
    report.coverage.is_of_document = true;
    let decision = evaluate(&report, &gate(Severity::Critical), NOW);
    assert!(matches!(decision, GateDecision::NotEvaluated { .. }));
}

#[test]
fn an_end_of_life_is_refused_and_an_unknown_one_not_passed() {
    let gate = Gate { end_of_life: true, ..Gate::default() };
    let decision = |id: &str, version_id: &str| {
        let mut report = report(vec![]);
        report.inventory.distribution = Some(palisade_model::Distribution {
            id: id.into(),
            version_id: version_id.into(),
            codename: String::new(),
            name: format!("{id} {version_id}"),
        });
        evaluate(&report, &gate, NOW)
    };
    assert_eq!(decision("debian", "13"), GateDecision::Pass);
    assert_eq!(
        decision("debian", "10"),
        GateDecision::Refuse { reasons: vec!["Debian 10 got its last fixes on 2024-06-30".into()] }
    );
    assert!(matches!(decision("plan9", "4"), GateDecision::NotEvaluated { .. }));
    assert!(matches!(evaluate(&report(vec![]), &gate, NOW), GateDecision::NotEvaluated { .. }));
}

#[test]
fn a_policys_ends_of_life_outweigh_the_table() {
    let end = |product: &str, release: &str, date: &str| EndOfLife {
        product: product.into(),
        release: release.into(),
        date: date.into(),
    };
    let gate = Gate {
        end_of_life: true,
        end_of_life_dates: vec![
            end("debian", "10", "2031-06-30"),
            end("debian", "13", "2026-01-31"),
            end("acme", "4", "2030-01-01"),
            end("nodejs", "20.1", "2026-01-31"),
        ],
        ..Gate::default()
    };
    let decision = |id: &str, version_id: &str, packages: Vec<Package>| {
        let mut report = report(vec![]);
        report.inventory.packages = packages;
        report.inventory.distribution = Some(palisade_model::Distribution {
            id: id.into(),
            version_id: version_id.into(),
            codename: String::new(),
            name: format!("{id} {version_id}"),
        });
        evaluate(&report, &gate, NOW)
    };
    let refused = |reason: &str| GateDecision::Refuse { reasons: vec![reason.into()] };
    assert_eq!(decision("debian", "10", vec![]), GateDecision::Pass);
    assert_eq!(
        decision("debian", "13", vec![]),
        refused("Debian 13 got its last fixes on 2026-01-31")
    );
    assert_eq!(decision("acme", "4.2", vec![]), GateDecision::Pass);
    assert!(matches!(decision("acme", "5", vec![]), GateDecision::NotEvaluated { .. }));
    let node = Package::new(palisade_model::PackageKind::Binary, "node", "20.1.3", "/opt/node");
    assert_eq!(
        decision("acme", "4", vec![node]),
        refused("Node.js 20.1 got its last fixes on 2026-01-31")
    );
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

#[test]
fn absent_functions_count_unless_the_policy_says_otherwise() {
    use palisade_model::symbols::{SymbolAnswer, SymbolCheck};
    let with = |id: &str, answer| {
        let Finding::Vulnerability(mut v) = vulnerability(id, Severity::Critical, true, true)
        else {
            unreachable!()
        };
        let (program, present, reason) = ("/bin/a".into(), vec![], None);
        v.symbols = Some(SymbolCheck { answer, program, n_named: 1, present, reason });
        Finding::Vulnerability(v)
    };
    let absent = report(vec![with("CVE-1", SymbolAnswer::Absent)]);
    assert_eq!(refused(&absent, &all()).len(), 2);
    let lenient = Gate { skip_absent_symbols: true, ..all() };
    assert_eq!(evaluate(&absent, &lenient, NOW), GateDecision::Pass);
    let demand = &judge(&absent, &lenient, None, NOW).rules[0].demand;
    assert!(demand.ends_with("unless its code is known to be absent"), "{demand}");
    for answer in [SymbolAnswer::Present, SymbolAnswer::Unknown] {
        let found = report(vec![with("CVE-1", SymbolAnswer::Absent), with("CVE-2", answer)]);
        assert!(refused(&found, &lenient).iter().all(|reason| reason.ends_with(": CVE-2")));
    }
}

fn incomparable(package: &str, installed: &str, severity: Severity) -> Incomparable {
    Incomparable {
        id: "GHSA-1".into(),
        package: package.into(),
        installed: installed.into(),
        severity,
        ..Incomparable::default()
    }
}

#[test]
fn what_could_not_be_compared_and_would_count_is_named_and_never_passed() {
    let mut report = report(vec![]);
    let listed = Incomparable {
        known_exploited: true,
        epss: Some(0.5),
        has_fix: true,
        ..incomparable("rack", "1.0!", Severity::High)
    };
    report.coverage.n_incomparable = 2;
    report.coverage.incomparable = vec![incomparable("nokogiri", "1.0!", Severity::Low), listed];
    let (none, both) = (
        "2 advisories that could not be compared with what is installed would not count",
        "2 advisories could not be compared with what is installed: nokogiri 1.0! (GHSA-1), rack \
         1.0! (GHSA-1)",
    );
    let (one, other) = (
        "1 advisory could not be compared with what is installed: rack 1.0! (GHSA-1)",
        "1 advisory that could not be compared with what is installed would not count",
    );
    let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    let check = |report: &ScanReport, gate: Gate, reasons: &[&str], notes: &[&str]| {
        let rule = judge(report, &gate, None, NOW).rules.remove(0);
        let is_met = rule.verdict == GateVerdict::Passed;
        assert_eq!((rule.reasons, rule.notes), (texts(reasons), texts(notes)), "{gate:?}");
        assert_eq!(is_met, reasons.is_empty(), "{gate:?}");
    };
    let rated =
        |severity, fixed_only| Gate { severity: Some(severity), fixed_only, ..Gate::default() };
    check(&report, rated(Severity::Critical, false), &[], &[none]);
    check(&report, rated(Severity::High, false), &[one], &[other]);
    check(&report, rated(Severity::Low, false), &[both], &[]);
    check(&report, rated(Severity::Low, true), &[one], &[other]);
    let epss = |ppm| Gate { epss_ppm: Some(ppm), ..Gate::default() };
    check(&report, epss(500_000), &[one], &[other]);
    check(&report, epss(500_001), &[], &[none]);
    let exploited = || Gate { known_exploited: true, ..Gate::default() };
    check(&report, exploited(), &[one], &[other]);
    // How old the advisories are is known all the same.
    check(&report, Gate { database_age_days_max: Some(1), ..Gate::default() }, &[], &[]);
    check(&report, Gate { secrets: true, ..Gate::default() }, &[], &[]);
    // What was not kept could be the worst.
    report.coverage.n_incomparable = 9;
    let unnamed = "7 advisories could not be compared with what is installed";
    check(&report, rated(Severity::Critical, false), &[unnamed], &[none]);
}

#[test]
fn a_package_of_unknown_version_is_one_obstacle_and_only_if_it_would_count() {
    let mut report = report(vec![]);
    let of = |severity| incomparable("github.com/grafana/grafana", "", severity);
    report.coverage.n_incomparable = 3;
    report.coverage.incomparable =
        vec![of(Severity::Low), of(Severity::High), of(Severity::Critical)];
    let gate = |severity| Gate { severity: Some(severity), ..Gate::default() };
    let why = |text: &str| GateDecision::NotEvaluated { why: vec![text.to_string()] };
    assert_eq!(
        evaluate(&report, &gate(Severity::High), NOW),
        why("1 package could not be judged, of unknown version: github.com/grafana/grafana (2 \
             advisories)")
    );
    report.coverage.incomparable.pop();
    report.coverage.n_incomparable = 2;
    assert_eq!(evaluate(&report, &gate(Severity::Critical), NOW), GateDecision::Pass);
}

#[test]
fn what_was_dropped_keeps_the_demand_for_its_kind_from_being_met() {
    let gate = |kind: &str| Gate {
        severity: (kind == "vulnerabilities").then_some(Severity::High),
        secrets: kind == "secrets",
        malware: kind == "malware",
        other_severity: (kind == "files").then_some(Severity::High),
        ..Gate::default()
    };
    let kinds = ["vulnerabilities", "secrets", "malware", "files"];
    for dropped in kinds {
        let mut report = report(vec![]);
        let n = |kind: &str| u64::from(kind == dropped);
        report.coverage.dropped = Dropped {
            vulnerabilities: n("vulnerabilities"),
            secrets: n("secrets"),
            malware: n("malware"),
            files: n("files"),
        };
        for asked in kinds {
            let passes = evaluate(&report, &gate(asked), NOW) == GateDecision::Pass;
            // Malware is among the other findings.
            let concerns = asked == dropped || (asked, dropped) == ("files", "malware");
            assert_eq!(passes, !concerns, "{asked} {dropped}");
        }
    }
}

#[test]
fn a_distribution_without_packages_is_not_passed() {
    let mut report = report(vec![]);
    report.inventory.distribution = Some(palisade_model::Distribution {
        id: "debian".into(),
        version_id: "12".into(),
        codename: String::new(),
        name: "Debian 12".into(),
    });
    let npm = Package::new(PackageKind::Node, "left-pad", "1.0.0", "/app");
    report.inventory.packages.push(npm);
    let why = ["no package of Debian 12 was found, so none could be judged".to_string()];
    let gate = Gate { severity: Some(Severity::High), ..Gate::default() };
    let expected = GateDecision::NotEvaluated { why: why.to_vec() };
    assert_eq!(evaluate(&report, &gate, NOW), expected);
    report.inventory.packages.push(Package::new(PackageKind::Dpkg, "a", "1", "/var/lib/dpkg"));
    assert_eq!(evaluate(&report, &gate, NOW), GateDecision::Pass);
}

#[test]
fn an_unknown_run_time_has_no_end_that_could_be_met() {
    let mut report = report(vec![]);
    report.inventory.distribution = Some(palisade_model::Distribution {
        id: "debian".into(),
        version_id: "13".into(),
        codename: String::new(),
        name: "Debian 13".into(),
    });
    let gate = Gate { end_of_life: true, ..Gate::default() };
    assert_eq!(evaluate(&report, &gate, NOW), GateDecision::Pass);
    let node = Package::new(PackageKind::Binary, "node", "99.1.0", "/opt/node");
    report.inventory.packages.push(node);
    assert!(matches!(evaluate(&report, &gate, NOW), GateDecision::NotEvaluated { .. }));
}

#[test]
fn what_an_answer_leaves_out_by_design_is_said() {
    let mut report = report(vec![vulnerability("CVE-1", Severity::Unknown, true, false)]);
    report.database.as_mut().unwrap().partial = vec!["Debian:12".into(), "Debian:13".into()];
    report.inventory.distribution = Some(palisade_model::Distribution {
        id: "debian".into(),
        version_id: "12".into(),
        codename: String::new(),
        name: "Debian 12".into(),
    });
    report.inventory.packages.push(Package::new(PackageKind::Dpkg, "a", "1", "/var/lib/dpkg"));
    report.coverage.unmatched.push(Unmatched {
        ecosystem: "generic".into(),
        n_packages: 1,
        reason: "r".into(),
    });
    report.coverage.n_files_large = 2;
    report.coverage.n_files_malware_skipped = 3;
    let result = judge(&report, &Gate { known_exploited: true, ..all() }, None, NOW);
    assert_eq!(result.verdict, GateVerdict::Passed);
    let expected = [
        "1 program outside packages could not be judged",
        "the advisory database does not know all of Debian:12: `palisade db status` says why",
        "1 vulnerability that no feed rates did not count",
        "2 files were too large to search for secrets",
        "3 files were not examined for malware (size, time, depth)",
    ];
    assert_eq!(result.notes(), expected);
}

#[test]
fn the_oldest_feed_that_matters_decides_how_old_the_advisories_are() {
    let days_ago = |days: u64| Timestamp::from_nanos(NOW.as_nanos() - days * 86_400_000_000_000);
    let feed = |name: &str, days: u64| FeedTime {
        name: name.into(),
        time: Some(days_ago(days)),
        ..FeedTime::default()
    };
    let mut report = report(vec![]);
    let database = report.database.as_mut().unwrap();
    database.times = vec![feed("kev", 30), feed("osv/Debian", 2_000), feed("osv/npm", 0)];
    database.oldest = Some(feed("osv/Debian", 2_000));
    let gate = Gate { database_age_days_max: Some(7), ..Gate::default() };
    let old = "the feed osv/Debian is 2000 days old, the policy allows 7";
    assert_eq!(refused(&report, &gate), [old]);
    let kev = Gate { known_exploited: true, ..gate.clone() };
    let list = "the feed kev is 30 days old, the policy allows 7";
    assert_eq!(refused(&report, &kev), [old, list]);
    report.database.as_mut().unwrap().oldest = Some(feed("osv/npm", 0));
    assert_eq!(evaluate(&report, &gate, NOW), GateDecision::Pass);
    report.database.as_mut().unwrap().oldest.as_mut().unwrap().time = None;
    let why = vec!["how old the feed osv/npm is is not known".to_string()];
    assert_eq!(evaluate(&report, &gate, NOW), GateDecision::NotEvaluated { why });
}

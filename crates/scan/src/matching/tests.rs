//! Inventories against small databases.

use super::*;
use crate::db::{DatabaseBuilder, Range};
use palisade_base::Timestamp;
use palisade_model::Distribution;
use palisade_model::package::{SourcePackage, Subject};

fn advisory(id: &str, aliases: &[&str], fixed: Option<&str>) -> Advisory {
    Advisory {
        id: id.into(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        title: String::new(),
        severity: Severity::Unknown,
        feed: "test".into(),
        ranges: vec![Range {
            introduced: None,
            end: fixed.map_or(RangeEnd::Open, |version| RangeEnd::Fixed(version.into())),
        }],
        versions: vec![],
        ..Advisory::default()
    }
}

fn package(kind: PackageKind, name: &str, version: &str, source: Option<(&str, &str)>) -> Package {
    Package {
        source: source.map(|(n, v)| SourcePackage { name: n.into(), version: v.into() }),
        purl: format!("pkg:{kind}/{name}@{version}"),
        ..Package::new(kind, name, version, "/var/lib/dpkg/status")
    }
}

fn inventory(packages: Vec<Package>) -> Inventory {
    Inventory {
        subject: Subject { name: "dir:x".into(), digest: None, platform: None },
        distribution: Some(Distribution {
            id: "debian".into(),
            version_id: "12".into(),
            codename: "bookworm".into(),
            name: "Debian".into(),
        }),
        packages,
        parts: vec![],
        n_files: 0,
        gaps: vec![],
    }
}

fn run(records: &[(&str, &str, Advisory)], packages: Vec<Package>) -> Matches {
    let mut builder = DatabaseBuilder::new();
    builder.add("Debian:99", "x", advisory("X", &[], None)).unwrap();
    for (ecosystem, name, advisory) in records {
        builder.add(ecosystem, name, advisory.clone()).unwrap();
    }
    builder.add_exploited("kev", "CVE-2024-0002");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    builder.write(&path, Timestamp::from_nanos(1)).unwrap();
    find_vulnerabilities(&inventory(packages), &Database::open(&path).unwrap()).unwrap()
}

fn ids(matches: &Matches) -> Vec<(&str, &str)> {
    matches.vulnerabilities.iter().map(|v| (v.package.as_str(), v.id.as_str())).collect()
}

#[test]
fn distributions_match_by_source_and_report_the_binary() {
    let records =
        [("Debian:12", "openssl", advisory("CVE-2024-0001", &[], Some("3.0.11-1~deb12u2")))];
    let check = |version: &str, expected: bool| {
        let libssl = package(PackageKind::Dpkg, "libssl3", "9.9", Some(("openssl", version)));
        let found = run(&records, vec![libssl]);
        assert_eq!(!found.vulnerabilities.is_empty(), expected, "{version}");
        assert_eq!(found.n_packages_matched, 1);
    };
    check("3.0.11-1~deb12u1", true);
    check("3.0.11-1~deb12u2", false);
    check("3.0.11-1", false);
    check("1:3.0.11-1~deb12u1", false);
    let found = run(&records, vec![package(PackageKind::Dpkg, "openssl", "3.0.9-1", None)]);
    assert_eq!(ids(&found), [("openssl", "CVE-2024-0001")]);
    assert_eq!(found.vulnerabilities[0].fixed.as_deref(), Some("3.0.11-1~deb12u2"));
}

#[test]
fn records_that_share_an_identifier_are_one_finding() {
    let records = [
        ("Debian:12", "a", advisory("CVE-2024-0002", &["GHSA-1"], Some("2"))),
        ("Debian:12", "a", advisory("GHSA-1", &["GO-1"], Some("3"))),
        ("Debian:12", "a", advisory("GO-1", &[], None)),
        ("Debian:12", "a", advisory("CVE-2024-0003", &[], Some("2"))),
        ("Debian:12", "a", advisory("CVE-2020-0003", &[], Some("0.5"))),
    ];
    let found = run(&records, vec![package(PackageKind::Dpkg, "a", "1", None)]);
    assert_eq!(ids(&found), [("a", "CVE-2024-0002"), ("a", "CVE-2024-0003")]);
    let first = &found.vulnerabilities[0];
    assert_eq!(first.aliases, ["GHSA-1", "GO-1"]);
    assert_eq!(first.fixed.as_deref(), Some("3"));
    assert!(first.known_exploited && !found.vulnerabilities[1].known_exploited);
}

#[test]
fn what_cannot_be_judged_is_counted() {
    let found = run(
        &[],
        vec![
            package(PackageKind::Dpkg, "a", "1", None),
            package(PackageKind::Rpm, "b", "1", None),
            package(PackageKind::Dpkg, "c", "1", None),
        ],
    );
    assert_eq!(found.n_packages_matched, 0);
    let shown: Vec<(&str, u64)> =
        found.unmatched.iter().map(|u| (u.ecosystem.as_str(), u.n_packages)).collect();
    assert_eq!(shown, [("Debian:12", 2), ("rpm", 1)]);
}

#[test]
fn headers_and_manuals_are_counted_apart() {
    let records = [("Debian:12", "linux", advisory("CVE-2024-0009", &[], Some("7")))];
    let source = Some(("linux", "6.1"));
    let found = run(
        &records,
        vec![
            package(PackageKind::Dpkg, "linux-libc-dev", "6.1", source),
            package(PackageKind::Dpkg, "linux-doc-6.1", "6.1", source),
            package(PackageKind::Dpkg, "linux-image-amd64", "6.1", source),
        ],
    );
    assert_eq!(ids(&found), [("linux-image-amd64", "CVE-2024-0009")]);
    assert_eq!(found.n_harmless, 2);
}

#[test]
fn packages_whose_changelog_was_not_read_are_not_called_clean() {
    let mut builder = DatabaseBuilder::new();
    let log = crate::feeds::debian_changelogs::parse("zlib (1.2-1) bookworm; urgency=low\n");
    crate::feeds::debian_changelogs::add(&mut builder, "Debian:12", "zlib", &log).unwrap();
    builder.cover("Debian:12", "current");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let judge = |builder: &DatabaseBuilder| {
        builder.write(&path, Timestamp::from_nanos(1)).unwrap();
        let installed = ["zlib", "current", "unread"];
        let packages = installed.map(|name| package(PackageKind::Dpkg, name, "1", None));
        let inventory = inventory(packages.into());
        let found = find_vulnerabilities(&inventory, &Database::open(&path).unwrap()).unwrap();
        (found.n_packages_matched, found.unmatched.first().map_or(0, |u| u.n_packages))
    };
    assert_eq!(judge(&builder), (2, 1));
    // A feed of the whole release says something of every package.
    builder.mark_whole("Debian:12");
    assert_eq!(judge(&builder), (3, 0));
}

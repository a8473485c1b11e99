//! Goldens of every form. `UPDATE_GOLDEN=1` writes them anew.

use std::path::Path;

use palisade_base::{Digest, Timestamp};
use palisade_model::finding::{
    Coverage, DangerousFile, DatabaseInfo, FileDanger, Misconfiguration, ScanReport, Secret,
    Unmatched, Vulnerability,
};
use palisade_model::package::{Gap, Inventory, Package, SourcePackage, Subject};
use palisade_model::{Distribution, Finding, PackageKind, Severity};

use super::*;

const TIME: Timestamp = Timestamp::from_nanos(1_795_326_835_000_000_000);

fn package(name: &str, version: &str, source: &str) -> Package {
    Package {
        architecture: Some("amd64".into()),
        source: Some(SourcePackage { name: source.into(), version: version.into() }),
        purl: format!("pkg:deb/debian/{name}@{version}?arch=amd64&distro=debian-12"),
        maintainer: Some("Debian OpenSSL Team <x@lists.example.org>".into()),
        files: vec![format!("/usr/share/doc/{name}/copyright")],
        layer: Some(Digest::of(b"layer")),
        ..Package::new(PackageKind::Dpkg, name, version, "/var/lib/dpkg/status")
    }
}

fn vulnerability(
    package: &str,
    id: &str,
    fixed: Option<&str>,
    severity: Severity,
) -> Vulnerability {
    Vulnerability {
        id: id.into(),
        aliases: vec![],
        package: package.into(),
        purl: format!("pkg:deb/debian/{package}@3.0.11-1~deb12u1?arch=amd64"),
        source: Some("openssl".into()),
        installed: "3.0.11-1~deb12u1".into(),
        fixed: fixed.map(Into::into),
        severity,
        title: format!("title of {id}\u{1b}[31m"),
        feed: "debian-changelogs".into(),
        known_exploited: id.ends_with('7'),
    }
}

/// An image without a finding.
pub(crate) fn clean() -> ScanReport {
    ScanReport {
        time: TIME,
        inventory: Inventory {
            subject: Subject {
                name: "oci:demo:latest".into(),
                digest: Some(Digest::of(b"manifest")),
                platform: Some("linux/amd64".into()),
            },
            distribution: Some(Distribution {
                id: "debian".into(),
                version_id: "12".into(),
                codename: "bookworm".into(),
                name: "Debian GNU/Linux 12 (bookworm)".into(),
            }),
            packages: vec![
                package("libssl3", "3.0.11-1~deb12u1", "openssl"),
                package("openssl", "3.0.11-1~deb12u1", "openssl"),
            ],
            parts: vec![],
            n_files: 42,
            gaps: vec![],
        },
        database: Some(DatabaseInfo {
            feeds: vec!["debian-changelogs".into()],
            built: TIME,
            n_records: 5,
        }),
        findings: vec![],
        n_ignored: 0,
        coverage: Coverage { n_files_searched: 40, n_packages_matched: 2, ..Coverage::default() },
    }
}

/// An image with a finding of every kind.
pub(crate) fn full() -> ScanReport {
    let mut report = clean();
    let v = |package, id, fixed, severity| {
        Finding::Vulnerability(vulnerability(package, id, fixed, severity))
    };
    report.findings = vec![
        v("libssl3", "CVE-2024-0007", Some("3.0.11-1~deb12u2"), Severity::Critical),
        v("openssl", "CVE-2024-0007", Some("3.0.11-1~deb12u2"), Severity::Critical),
        Finding::Secret(Secret {
            detector: "private-key".into(),
            title: "private key".into(),
            path: "/srv/key 1.pem".into(),
            line: 3,
            redacted: "-----BEGIN…".into(),
            severity: Severity::Critical,
            layer: Some(Digest::of(b"layer")),
            ..Secret::default()
        }),
        Finding::File(DangerousFile {
            danger: FileDanger::Setuid,
            path: "/opt/back\u{202e}door".into(),
            detail: "mode 4755, owner 0:0".into(),
            package: None,
            severity: Severity::High,
        }),
        v("libssl3", "CVE-2024-0002", Some("3.0.11-1~deb12u10"), Severity::Unknown),
        v("libssl3", "CVE-2024-0003", Some("3.0.11-1~deb12u9"), Severity::Unknown),
        v("libssl3", "CVE-2024-0004", Some("3.0.11-1~deb12u9"), Severity::Low),
        v("libssl3", "CVE-2024-0005", None, Severity::Medium),
        Finding::Configuration(Misconfiguration {
            check: "image-runs-as-root".into(),
            title: "the program runs as root (no `USER` is set)".into(),
            fix: "add `USER` with an unprivileged number to the build".into(),
            severity: Severity::High,
        }),
    ];
    report.n_ignored = 2;
    report.inventory.gaps.push(Gap { path: "/x".into(), reason: "path with `..`".into() });
    report.coverage.unmatched.push(Unmatched {
        ecosystem: "npm".into(),
        n_packages: 3,
        reason: "the advisory database has no data for it".into(),
    });
    report.coverage.n_harmless = 4;
    report
}

#[track_caller]
pub(crate) fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of the test suite, not a setting of the product"
    )]
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    if update {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name} differs; UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn tables_are_as_reviewed() {
    let plain = table::TableOptions::default();
    golden("clean.txt", &table::render(&clean(), plain));
    golden("full.txt", &table::render(&full(), plain));
    let colour = table::TableOptions { colour: true, all: true, severity_min: Severity::High };
    golden("full-colour-high.txt", &table::render(&full(), colour));
    let mut blind = clean();
    blind.database = None;
    golden("no-database.txt", &table::render(&blind, plain));
}

#[test]
fn hidden_findings_are_counted_and_the_exploited_never_hidden() {
    let mut report = full();
    for finding in &mut report.findings {
        if let Finding::Vulnerability(v) = finding {
            v.severity = Severity::Low;
        }
    }
    let options = table::TableOptions { severity_min: Severity::Critical, ..Default::default() };
    let text = table::render(&report, options);
    assert!(text.contains("CVE-2024-0007") && !text.contains("CVE-2024-0004"), "{text}");
    assert!(text.contains("6 hidden below the severity asked for"), "{text}");
}

#[test]
fn no_control_character_reaches_a_terminal() {
    let text = table::render(&full(), table::TableOptions::default());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn json_and_sarif_are_as_reviewed() {
    golden("full.json", &json::render(&full()).unwrap());
    golden("full.sarif", &sarif::render(&full(), "0.1.0").unwrap());
    golden("clean.sarif", &sarif::render(&clean(), "0.1.0").unwrap());
}

#[test]
fn the_json_document_is_read_back() {
    let text = json::render(&full()).unwrap();
    let back: palisade_model::wire::Envelope<ScanReport> = serde_json::from_str(&text).unwrap();
    assert_eq!(back.schema, "palisade.dev/scan-report/v1");
    assert_eq!(back.body, full());
}

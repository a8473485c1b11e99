//! Each distribution from end to end: what its publisher writes becomes a database, and an image of
//! that distribution is judged by it. The neighbours are judged too: the fixed build, another
//! package, another release, another distribution with the same package.

use std::collections::BTreeSet;
use std::path::Path;

use palisade_image::OpenOptions;
use palisade_model::finding::{ScanReport, Vulnerability};
use palisade_model::{Finding, Target};
use palisade_policy::Checks;
use palisade_scan::db::{Database, DatabaseBuilder};
use palisade_scan::feeds::catalogue::{self, Form};
use palisade_scan::{Look, ScanOptions, sbom, scan_document, scan_target};
use serde_json::json;

use crate::image::NOW;

/// A package: its name, the source that it is built from, its version with the epoch.
type Installed = (&'static str, &'static str, &'static str);
/// Package, version, vulnerability, version that fixes it, severity.
type Found = (&'static str, &'static str, &'static str, Option<&'static str>, &'static str);

/// How an image says what is in it.
#[derive(Clone, Copy)]
enum System {
    /// dpkg's status, `ID` and `VERSION_ID`.
    Dpkg(&'static str, &'static str),
    /// apk's database, likewise.
    Apk(&'static str, &'static str),
    /// A bill of materials, likewise: databases of RPM are made by rpm alone.
    Rpm(&'static str, &'static str),
}

struct Case {
    what: &'static str,
    form: Form,
    /// The feed's file.
    file: &'static str,
    feed: &'static str,
    image: System,
    installed: &'static [Installed],
    found: &'static [Found],
    /// Images in which the same packages are not judged to be vulnerable.
    others: &'static [System],
}

const AMAZON: &str = r#"<?xml version="1.0"?><updates>
 <update author="a" type="security"><id>ALAS2023-2023-051</id><title>ALAS2023-2023-051: important for openssl</title>
  <issued date="2023-02-17 21:14" /><severity>Important</severity>
  <references><reference id="CVE-2022-3602" type="cve" /></references>
  <pkglist><collection short="a"><name>n</name>
   <package name="openssl-libs" epoch="1" version="3.0.5" release="4.amzn2023" arch="x86_64" />
   <package name="openssl" epoch="1" version="3.0.5" release="4.amzn2023" arch="src" /></collection></pkglist></update>
 <update author="a" type="security"><id>ALAS2023-2023-052</id><title>low for curl</title>
  <issued date="2023-02-18 21:14" /><severity>Low</severity>
  <references><reference id="CVE-2022-0001" type="cve" /></references>
  <pkglist><collection short="a"><name>n</name>
   <package name="curl" epoch="0" version="7.87.0" release="2.amzn2023" arch="x86_64" /></collection></pkglist></update>
</updates>"#;

const SUSE: &str = r#"{"document": {"aggregate_severity": {"text": "important"}, "category": "csaf_security_advisory",
  "title": "Security update for openssl", "publisher": {"name": "SUSE Product Security Team"},
  "tracking": {"id": "SUSE-SU-2024:0001-1", "current_release_date": "2024-05-06T07:08:09Z"}},
 "product_tree": {"branches": [{"category": "vendor", "name": "SUSE", "branches": [
  {"category": "product_name", "name": "SUSE Linux Enterprise Server 15 SP5",
   "product": {"product_id": "SUSE Linux Enterprise Server 15 SP5", "name": "SUSE Linux Enterprise Server 15 SP5",
    "product_identification_helper": {"cpe": "cpe:/o:suse:sles:15:sp5"}}},
  {"category": "product_name", "name": "openSUSE Leap 15.5",
   "product": {"product_id": "openSUSE Leap 15.5", "name": "openSUSE Leap 15.5",
    "product_identification_helper": {"cpe": "cpe:/o:opensuse:leap:15.5"}}},
  {"category": "product_version", "name": "libopenssl3-3.0.8-150500.5.8.1.x86_64",
   "product": {"product_id": "libopenssl3-3.0.8-150500.5.8.1.x86_64", "name": "libopenssl3-3.0.8-150500.5.8.1.x86_64"}}]}],
 "relationships": [
  {"category": "default_component_of", "product_reference": "libopenssl3-3.0.8-150500.5.8.1.x86_64",
   "relates_to_product_reference": "SUSE Linux Enterprise Server 15 SP5",
   "full_product_name": {"product_id": "SUSE Linux Enterprise Server 15 SP5:libopenssl3-3.0.8-150500.5.8.1.x86_64", "name": "x"}},
  {"category": "default_component_of", "product_reference": "libopenssl3-3.0.8-150500.5.8.1.x86_64",
   "relates_to_product_reference": "openSUSE Leap 15.5",
   "full_product_name": {"product_id": "openSUSE Leap 15.5:libopenssl3-3.0.8-150500.5.8.1.x86_64", "name": "x"}}]},
 "vulnerabilities": [{"cve": "CVE-2023-0464", "title": "openssl: slow chains",
  "product_status": {"recommended": ["SUSE Linux Enterprise Server 15 SP5:libopenssl3-3.0.8-150500.5.8.1.x86_64",
   "openSUSE Leap 15.5:libopenssl3-3.0.8-150500.5.8.1.x86_64"]},
  "threats": [{"category": "impact", "details": "moderate"}]}]}"#;

const ROCKY: &str = r#"{"advisories": [{"name": "RLSA-2022:1065", "synopsis": "Important: openssl security update", "severity": "SEVERITY_IMPORTANT",
  "cves": [{"name": "CVE-2022-0778"}], "publishedAt": "2022-05-10T06:48:00Z",
  "rpms": {"Rocky Linux 8": {"nvras": ["openssl-libs-1:1.1.1k-6.el8_5.x86_64.rpm", "openssl-1:1.1.1k-6.el8_5.src.rpm"]}}}]}"#;

const ALMA: &str = r#"{"data": [{"id": "ALSA-2024:2447", "title": "openssl and openssl-fips-provider security update", "severity": "Low",
  "issued_date": 1714435200, "references": [{"id": "CVE-2023-2975", "type": "cve"}],
  "packages": [{"name": "openssl-libs", "epoch": 1, "version": "3.0.7", "release": "27.el9", "arch": "x86_64"}]}]}"#;

const UBUNTU: &str = r#"{"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-02T03:04:05Z", "statements": [
  {"vulnerability": {"name": "CVE-2024-0727"}, "status": "fixed",
   "products": [{"@id": "pkg:deb/ubuntu/openssl@3.0.2-0ubuntu1.15?arch=source&distro=jammy"}]},
  {"vulnerability": {"name": "CVE-2024-9143"}, "status": "affected", "action_statement": "deferred",
   "products": [{"@id": "pkg:deb/ubuntu/openssl?arch=source&distro=jammy"}]},
  {"vulnerability": {"name": "CVE-2024-4741"}, "status": "not_affected",
   "products": [{"@id": "pkg:deb/ubuntu/openssl?arch=source&distro=jammy"}]}]}"#;

const WOLFI: &str = r#"{"urlprefix": "https://packages.wolfi.dev", "reponame": "os", "packages": [
  {"pkg": {"name": "openssl", "secfixes": {"3.1.1-r2": ["CVE-2023-2975"], "0": ["CVE-2023-0466"]}}}]}"#;

const CHAINGUARD: &str = r#"{"urlprefix": "https://packages.cgr.dev", "reponame": "chainguard", "packages": [
  {"pkg": {"name": "openssl", "secfixes": {"3.1.1-r2": ["CVE-2023-2975"]}}}]}"#;

const ALPINE: &str = "distroversion: v3.20\nreponame: main\npackages:\n  - pkg:\n      name: openssl\n      secfixes:\n        3.3.2-r1:\n          - CVE-2024-9143\n        3.3.0-r3:\n          - CVE-2024-5535\n";

const CASES: [Case; 9] = [
    Case {
        what: "Amazon Linux",
        form: Form::Updateinfo,
        file: "updateinfo.xml",
        feed: AMAZON,
        image: System::Rpm("amzn", "2023"),
        installed: &[
            ("openssl-libs", "openssl", "1:3.0.5-3.amzn2023"),
            ("curl", "curl", "7.87.0-2.amzn2023"),
            ("bash", "bash", "5.1-1.amzn2023"),
        ],
        found: &[(
            "openssl-libs",
            "1:3.0.5-3.amzn2023",
            "CVE-2022-3602",
            Some("1:3.0.5-4.amzn2023"),
            "high",
        )],
        others: &[System::Rpm("amzn", "2"), System::Rpm("rocky", "9.3")],
    },
    Case {
        what: "SUSE Linux Enterprise",
        form: Form::SuseCsaf,
        file: "suse-su-2024_0001-1.json",
        feed: SUSE,
        image: System::Rpm("sles", "15.5"),
        installed: &[
            ("libopenssl3", "openssl-3", "3.0.8-150500.5.5.1"),
            ("bash", "bash", "4.4-150400.1.1"),
        ],
        found: &[(
            "libopenssl3",
            "3.0.8-150500.5.5.1",
            "CVE-2023-0464",
            Some("3.0.8-150500.5.8.1"),
            "medium",
        )],
        others: &[System::Rpm("sles", "15.4"), System::Rpm("almalinux", "9.4")],
    },
    Case {
        what: "openSUSE Leap",
        form: Form::SuseCsaf,
        file: "suse-su-2024_0001-1.json",
        feed: SUSE,
        image: System::Rpm("opensuse-leap", "15.5"),
        installed: &[("libopenssl3", "openssl-3", "3.0.8-150500.5.5.1")],
        found: &[(
            "libopenssl3",
            "3.0.8-150500.5.5.1",
            "CVE-2023-0464",
            Some("3.0.8-150500.5.8.1"),
            "medium",
        )],
        others: &[System::Rpm("opensuse-leap", "15.6")],
    },
    Case {
        what: "Rocky Linux",
        form: Form::RockyErrata,
        file: "errata.json",
        feed: ROCKY,
        image: System::Rpm("rocky", "8.9"),
        installed: &[
            ("openssl-libs", "openssl", "1:1.1.1k-5.el8_5"),
            ("bash", "bash", "4.4.20-4.el8"),
        ],
        found: &[(
            "openssl-libs",
            "1:1.1.1k-5.el8_5",
            "CVE-2022-0778",
            Some("1:1.1.1k-6.el8_5"),
            "high",
        )],
        others: &[System::Rpm("rocky", "9.3"), System::Rpm("almalinux", "8.9")],
    },
    Case {
        what: "AlmaLinux",
        form: Form::AlmaErrata,
        file: "errata.full.json",
        feed: ALMA,
        image: System::Rpm("almalinux", "9.4"),
        installed: &[
            ("openssl-libs", "openssl", "1:3.0.7-25.el9_3"),
            ("bash", "bash", "5.1.8-9.el9"),
        ],
        found: &[(
            "openssl-libs",
            "1:3.0.7-25.el9_3",
            "CVE-2023-2975",
            Some("1:3.0.7-27.el9"),
            "low",
        )],
        others: &[System::Rpm("almalinux", "8.9"), System::Rpm("rocky", "9.4")],
    },
    Case {
        what: "Ubuntu",
        form: Form::UbuntuVex,
        file: "vex.json",
        feed: UBUNTU,
        image: System::Dpkg("ubuntu", "22.04"),
        installed: &[("libssl3", "openssl", "3.0.2-0ubuntu1.14"), ("bash", "bash", "5.1-6ubuntu1")],
        found: &[
            ("libssl3", "3.0.2-0ubuntu1.14", "CVE-2024-0727", Some("3.0.2-0ubuntu1.15"), "unknown"),
            ("libssl3", "3.0.2-0ubuntu1.14", "CVE-2024-9143", None, "unknown"),
        ],
        others: &[System::Dpkg("ubuntu", "24.04"), System::Dpkg("debian", "12")],
    },
    Case {
        what: "Wolfi",
        form: Form::Secdb,
        file: "security.json",
        feed: WOLFI,
        image: System::Apk("wolfi", "20230201"),
        installed: &[("libssl3", "openssl", "3.1.1-r1"), ("busybox", "busybox", "1.36.1-r1")],
        found: &[("libssl3", "3.1.1-r1", "CVE-2023-2975", Some("3.1.1-r2"), "unknown")],
        others: &[System::Apk("chainguard", "20230214"), System::Apk("alpine", "3.18.2")],
    },
    Case {
        what: "Chainguard",
        form: Form::Secdb,
        file: "security.json",
        feed: CHAINGUARD,
        image: System::Apk("chainguard", "20230214"),
        installed: &[("libcrypto3", "openssl", "3.1.1-r1")],
        found: &[("libcrypto3", "3.1.1-r1", "CVE-2023-2975", Some("3.1.1-r2"), "unknown")],
        others: &[System::Apk("wolfi", "20230201")],
    },
    Case {
        what: "Alpine",
        form: Form::Secdb,
        file: "main.yaml",
        feed: ALPINE,
        image: System::Apk("alpine", "3.20.3"),
        installed: &[("libssl3", "openssl", "3.3.2-r0"), ("musl", "musl", "1.2.5-r0")],
        found: &[("libssl3", "3.3.2-r0", "CVE-2024-9143", Some("3.3.2-r1"), "unknown")],
        others: &[System::Apk("alpine", "3.19.4"), System::Apk("wolfi", "20230201")],
    },
];

fn database(case: &Case, folder: &Path) -> Database {
    let (feed, path) = (folder.join(case.file), folder.join("advisories.db"));
    std::fs::write(&feed, case.feed).unwrap();
    let mut builder = DatabaseBuilder::new();
    catalogue::import(&mut builder, case.form, &feed, catalogue::Origin::Copy(Some(NOW))).unwrap();
    builder.write(&path, NOW).unwrap();
    Database::open(&path).unwrap()
}

/// Makes the image and scans it.
fn scan(system: System, installed: &[Installed], db: &Database, folder: &Path) -> ScanReport {
    let checks = Checks::default();
    let options = ScanOptions {
        now: NOW,
        database: Some(db),
        ignores: &[],
        checks: &checks,
        secrets: false,
        look: Look::default(),
        minimality: None,
    };
    let (id, version, list, database) = match system {
        System::Rpm(id, version) => {
            let bill = bill_of_materials(id, version, installed);
            let document = sbom::read::read(bill.as_bytes(), "bill.json").unwrap();
            return scan_document(document, &options).unwrap();
        }
        System::Dpkg(id, version) => (id, version, dpkg(installed), "var/lib/dpkg/status"),
        System::Apk(id, version) => (id, version, apk(installed), "lib/apk/db/installed"),
    };
    let root = tempfile::tempdir_in(folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("etc/os-release", &format!("ID={id}\nVERSION_ID={version}\n"));
    write(database, &list);
    let target = Target::Folder(root.path().to_path_buf());
    scan_target(&target, &OpenOptions::default(), &options).unwrap()
}

fn dpkg(installed: &[Installed]) -> String {
    let paragraph = |(name, source, version): &Installed| {
        format!(
            "Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nSource: {source}\n\
             Version: {version}\nMaintainer: M <m@example.org>\nDescription: d\n\n"
        )
    };
    installed.iter().map(paragraph).collect()
}

fn apk(installed: &[Installed]) -> String {
    let paragraph = |(name, source, version): &Installed| {
        format!("P:{name}\nV:{version}\nA:x86_64\no:{source}\nL:Apache-2.0\n\n")
    };
    installed.iter().map(paragraph).collect()
}

fn bill_of_materials(id: &str, version: &str, installed: &[Installed]) -> String {
    let component = |(name, source, installed): &Installed| {
        let (epoch, build) = installed.split_once(':').unwrap_or(("0", installed));
        let purl = format!(
            "pkg:rpm/{id}/{name}@{build}?arch=x86_64&epoch={epoch}&upstream={source}-{build}.src.rpm&distro={id}-{version}"
        );
        json!({"type": "library", "bom-ref": purl, "name": name, "version": installed, "purl": purl})
    };
    let mut components: Vec<serde_json::Value> = installed.iter().map(component).collect();
    components.push(json!({"type": "operating-system", "name": id, "version": version}));
    let document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "components": components,
    });
    document.to_string()
}

/// What a finding says, in the table's words.
type Said = (String, String, String, Option<String>, String);

fn said(report: ScanReport) -> BTreeSet<Said> {
    let of = |v: Vulnerability| (v.package, v.installed, v.id, v.fixed, v.severity.to_string());
    let vulnerability = |finding| match finding {
        Finding::Vulnerability(vulnerability) => Some(of(vulnerability)),
        _ => None,
    };
    report.findings.into_iter().filter_map(vulnerability).collect()
}

#[test]
fn an_image_of_each_distribution_is_judged_by_its_own_feed() {
    let folder = tempfile::tempdir().unwrap();
    let mut problems: Vec<String> = Vec::new();
    for case in &CASES {
        let db = database(case, folder.path());
        let report = scan(case.image, case.installed, &db, folder.path());
        let (n_judged, n_all) = (report.coverage.n_packages_matched, case.installed.len() as u64);
        if n_judged != n_all {
            problems.push(format!("{}: {n_judged} of {n_all} packages judged", case.what));
        }
        let own = |found: &Found| {
            let (package, version, id, fixed, severity) = *found;
            let fixed = fixed.map(str::to_string);
            (package.into(), version.into(), id.into(), fixed, severity.into())
        };
        let expected: BTreeSet<Said> = case.found.iter().map(own).collect();
        let found = said(report);
        if found != expected {
            problems.push(format!("{}: {found:?}, not {expected:?}", case.what));
        }

        // With every fix installed only what has none is left.
        let fixed = |one: &Installed| {
            let mut of_it = case.found.iter().filter(|found| found.0 == one.0);
            let version = of_it.find_map(|found| found.3).unwrap_or(one.2);
            (one.0, one.1, version)
        };
        let upgraded: Vec<Installed> = case.installed.iter().map(fixed).collect();
        let left = said(scan(case.image, &upgraded, &db, folder.path()));
        let is_open = |said: &Said| said.3.is_none();
        let n_open = expected.iter().filter(|said| is_open(said)).count();
        if left.len() != n_open || !left.iter().all(is_open) {
            problems.push(format!("{}, upgraded: {left:?}", case.what));
        }
        for other in case.others {
            let found = said(scan(*other, case.installed, &db, folder.path()));
            if !found.is_empty() {
                problems.push(format!("{}, another system: {found:?}", case.what));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

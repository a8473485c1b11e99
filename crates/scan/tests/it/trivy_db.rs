//! Trivy's fixture advisories with its lock files and bills of materials: the vulnerabilities found
//! must be those of its reports.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palisade_base::yaml::{self, Dialect, Node, Value};
use palisade_image::OpenOptions;
use palisade_model::finding::{Vulnerability, VulnerabilityStatus};
use palisade_model::{Finding, Severity, Target};
use palisade_scan::db::{Advisory, Database, DatabaseBuilder, Range, RangeEnd, Status};
use palisade_scan::ignore::Ignore;
use palisade_scan::{Look, ScanOptions, ecosystem, sbom, scan_document, scan_target, vex};

use crate::image::NOW;

/// Reports, and the folder of fixtures for which Trivy must give each.
///
/// Left out, and why: `gomod-skip` asks Trivy to pass over a file; of `pipenv` the lock file is not
/// in the material; `pubspec` and `swift` are of ecosystems that are not catalogued; `conda*`,
/// `dockerfile` and `secrets` have no vulnerabilities; `alpine-310*` is about an image that is not in
/// the material.
const CASES: [(&str, &str); 15] = [
    ("bun.json.golden", "bun"),
    ("cargo.lock.json.golden", "cargo"),
    ("composer.lock.json.golden", "composer"),
    ("composer.vendor.json.golden", "composer-vendor"),
    ("gomod.json.golden", "gomod"),
    ("gradle.json.golden", "gradle"),
    ("npm.json.golden", "npm"),
    ("npm-with-dev.json.golden", "npm"),
    ("npm-ubuntu-severity.json.golden", "npm"),
    ("packagesprops.json.golden", "packagesprops"),
    ("pip.json.golden", "pip"),
    ("pnpm.json.golden", "pnpm"),
    ("poetry.json.golden", "poetry"),
    ("pylock.json.golden", "pylock"),
    ("uv.json.golden", "uv"),
];

/// Trivy's names of ecosystems.
const ECOSYSTEMS: [(&str, &str); 8] = [
    ("npm", "npm"),
    ("pip", "PyPI"),
    ("composer", "Packagist"),
    ("rubygems", "RubyGems"),
    ("go", "Go"),
    ("maven", "Maven"),
    ("nuget", "NuGet"),
    ("cargo", "crates.io"),
];

/// Where a fixed version or a rating is another: report, vulnerability, theirs, ours. The first is
/// asked for with `--vuln-severity-source ubuntu`, which has no match here: a finding has the rating
/// of the feed that it is from. In the other two the fixture's range ends with the last affected
/// version, and the fix stands beside it; Palisade reads fixes off the ranges, where OSV has them.
const DIFFERENCES: [(&str, &str, &str, &str); 3] = [
    ("npm-ubuntu-severity.json.golden", "CVE-2019-11358", "low", "medium"),
    ("fluentd-multiple-lockfiles.json.golden", "CVE-2020-8165", "6.0.3.1, 5.2.4.3", ""),
    ("gradle.json.golden", "CVE-2020-9548", "2.9.10.4", ""),
];

fn conformance() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "where test data lies, not a setting of the product"
    )]
    let shared = std::env::var_os("PALISADE_SHARED").map(PathBuf::from);
    let default = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let folder = shared.unwrap_or(default).join("conformance/scan/trivy");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: `{}` does not exist", folder.display());
    None
}

fn get<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(name, _)| name.text == key).map(|(_, value)| value)
}

fn text<'a>(node: &'a Node, key: &str) -> &'a str {
    match get(node, key).map(|node| &node.value) {
        Some(Value::Scalar { text, .. }) => text,
        _ => "",
    }
}

fn items<'a>(node: &'a Node, key: &str) -> &'a [Node] {
    match get(node, key).map(|node| &node.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// A constraint of Trivy's: `>= 1.2, < 1.5`, or Maven's `[1.2,1.5)`.
fn range(constraint: &str) -> Range {
    let mut range = Range { introduced: None, end: RangeEnd::Open };
    if let Some(inner) = constraint.strip_prefix('[') {
        let (first, end) = inner.split_once(',').unwrap();
        range.introduced = Some(first.to_string());
        range.end = RangeEnd::Fixed(end.strip_suffix(')').unwrap().to_string());
        return range;
    }
    for part in constraint.split(',').map(str::trim) {
        let (operator, version) = part.split_at(part.find(|c: char| !"<>= ".contains(c)).unwrap());
        match operator.trim() {
            ">=" if version == "0" => {}
            ">=" => range.introduced = Some(version.to_string()),
            "<" => range.end = RangeEnd::Fixed(version.to_string()),
            "<=" => range.end = RangeEnd::LastAffected(version.to_string()),
            other => panic!("operator {other:?} in {constraint:?}"),
        }
    }
    range
}

/// Trivy's advisories about languages, Debian and Red Hat as a database.
fn database(fixtures: &Path, folder: &Path) -> Database {
    const DIALECT: Dialect =
        Dialect { name: "a fixture", document: "list", depth_max: 32, n_nodes_max: 1_000_000 };
    let mut builder = DatabaseBuilder::new();
    let ratings = ratings(fixtures);
    for entry in std::fs::read_dir(fixtures.join("db")).unwrap() {
        let text_of_file = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let (document, _) = yaml::parse(&text_of_file, DIALECT);
        let Some(Node { value: Value::List(buckets), .. }) = document else { continue };
        for bucket in &buckets {
            let name = text(bucket, "bucket");
            let Some(ecosystem) = ecosystem_of(name) else { continue };
            builder.mark_whole(&ecosystem);
            for package in items(bucket, "pairs") {
                let normal = ecosystem::normalise_name(&ecosystem, text(package, "bucket"));
                for pair in items(package, "pairs") {
                    for mut advisory in advisories(&ecosystem, pair) {
                        advisory.feed = name.to_string();
                        if advisory.severity == Severity::Unknown {
                            advisory.severity = rating_by(&ratings, &advisory.id, name);
                        }
                        builder.add(&ecosystem, &normal, advisory).unwrap();
                    }
                }
            }
        }
    }
    let path = folder.join("trivy.db");
    builder.write(&path, NOW).unwrap();
    Database::open(&path).unwrap()
}

/// What each publisher says of the vulnerabilities, which Trivy keeps beside the advisories.
type Ratings = BTreeMap<String, BTreeMap<String, Severity>>;

fn ratings(fixtures: &Path) -> Ratings {
    const DIALECT: Dialect =
        Dialect { name: "a fixture", document: "list", depth_max: 32, n_nodes_max: 1_000_000 };
    let file = std::fs::read_to_string(fixtures.join("db/vulnerability.yaml")).unwrap();
    let (document, _) = yaml::parse(&file, DIALECT);
    let Some(Node { value: Value::List(buckets), .. }) = document else { panic!("no list") };
    let mut ratings = Ratings::new();
    for pair in buckets.iter().flat_map(|bucket| items(bucket, "pairs")) {
        let vendors = get(pair, "value").and_then(|value| get(value, "VendorSeverity"));
        let Some(Value::Map(vendors)) = vendors.map(|node| &node.value) else { continue };
        let vendors = vendors.iter().filter_map(|(vendor, rating)| match &rating.value {
            Value::Scalar { text, .. } => Some((vendor.text.clone(), severity(text))),
            _ => None,
        });
        ratings.insert(text(pair, "key").to_string(), vendors.collect());
    }
    assert!(ratings.len() >= 40, "{}", ratings.len());
    ratings
}

/// As Trivy rates: the publisher of the advisory, else NVD.
fn rating_by(ratings: &Ratings, id: &str, bucket: &str) -> Severity {
    let Some(vendors) = ratings.get(id) else { return Severity::Unknown };
    let own = bucket.contains("GitHub").then(|| vendors.get("ghsa")).flatten();
    own.or_else(|| vendors.get("nvd")).copied().unwrap_or_default()
}

/// Our name of a bucket's ecosystem.
fn ecosystem_of(bucket: &str) -> Option<String> {
    if let Some(release) = bucket.strip_prefix("debian ") {
        return Some(format!("Debian:{release}"));
    }
    if bucket == "Red Hat" {
        return Some("Red Hat:7".to_string());
    }
    let prefix = bucket.split("::").next()?;
    ECOSYSTEMS.iter().find(|(known, _)| *known == prefix).map(|(_, name)| (*name).to_string())
}

fn advisories(ecosystem: &str, pair: &Node) -> Vec<Advisory> {
    let (key, value) = (text(pair, "key"), get(pair, "value").unwrap());
    match ecosystem.split(':').next() {
        Some("Debian") => vec![Advisory {
            id: key.to_string(),
            severity: severity(text(value, "Severity")),
            ranges: vec![until(text(value, "FixedVersion"))],
            ..Advisory::default()
        }],
        Some("Red Hat") => {
            items(value, "Entries").iter().flat_map(|entry| red_hat(key, entry)).collect()
        }
        _ => vec![Advisory {
            id: key.to_string(),
            ranges: texts(value, "VulnerableVersions").map(range).collect(),
            ..Advisory::default()
        }],
    }
}

/// What an entry says of Red Hat Enterprise Linux 7, which Trivy takes CentOS 7 for: a record for
/// each vulnerability, because each has its own rating.
fn red_hat(key: &str, entry: &Node) -> Vec<Advisory> {
    // The number of `cpe:/o:redhat:enterprise_linux:7::server` in the fixtures.
    const SERVER_7: &str = "869";
    if !texts(entry, "Affected").any(|number| number == SERVER_7) {
        return Vec::new();
    }
    let of = |cve: &Node| {
        let id = if text(cve, "ID").is_empty() { key } else { text(cve, "ID") };
        Advisory {
            id: id.to_string(),
            severity: severity(text(cve, "Severity")),
            // Trivy's number of "will not fix".
            status: if text(entry, "Status") == "5" {
                Status::WillNotFix
            } else {
                Status::Affected
            },
            ranges: vec![until(text(entry, "FixedVersion"))],
            ..Advisory::default()
        }
    };
    items(entry, "Cves").iter().map(of).collect()
}

fn texts<'a>(node: &'a Node, key: &str) -> impl Iterator<Item = &'a str> {
    items(node, key).iter().filter_map(|item| match &item.value {
        Value::Scalar { text, .. } => Some(text.as_str()),
        _ => None,
    })
}

fn until(fixed: &str) -> Range {
    let end = if fixed.is_empty() { RangeEnd::Open } else { RangeEnd::Fixed(fixed.to_string()) };
    Range { introduced: None, end }
}

/// Trivy's numbers of ratings.
fn severity(number: &str) -> Severity {
    match number.trim_end_matches(".0") {
        "1" => Severity::Low,
        "2" => Severity::Medium,
        "3" => Severity::High,
        "4" => Severity::Critical,
        _ => Severity::Unknown,
    }
}

/// Package, version, vulnerability, fixed version (none: empty) and severity.
type Found = BTreeSet<(String, String, String, String, String)>;

/// The findings of a golden report, but for what is another here.
fn expected(golden: &Path) -> Found {
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    for result in report["Results"].as_array().into_iter().flatten() {
        for vulnerability in result["Vulnerabilities"].as_array().into_iter().flatten() {
            let text = |key: &str| vulnerability[key].as_str().unwrap_or_default().to_string();
            let version = text("InstalledVersion");
            let version = version.trim_start_matches('v').to_string();
            let (id, name) = (text("VulnerabilityID"), golden.file_name().unwrap());
            let ours = |theirs: String| {
                let is_it = |(report, of, other, _): &&(&str, &str, &str, &str)| {
                    name == *report && id == *of && theirs == *other
                };
                DIFFERENCES.iter().find(is_it).map_or(theirs.clone(), |it| it.3.to_string())
            };
            let fixed = ours(text("FixedVersion").trim_start_matches('v').to_string());
            let severity = ours(text("Severity").to_lowercase());
            found.insert((text("PkgName"), version, id.clone(), fixed, severity));
        }
    }
    found
}

fn options<'a>(
    db: &'a Database,
    ignores: &'a [Ignore],
    checks: &'a palisade_policy::Checks,
) -> ScanOptions<'a> {
    ScanOptions {
        now: NOW,
        database: Some(db),
        ignores,
        checks,
        secrets: false,
        look: Look::default(),
        minimality: None,
    }
}

fn vulnerabilities(findings: Vec<Finding>) -> Vec<Vulnerability> {
    let of = |finding| match finding {
        Finding::Vulnerability(vulnerability) => Some(vulnerability),
        _ => None,
    };
    findings.into_iter().filter_map(of).collect()
}

fn names(found: impl IntoIterator<Item = Vulnerability>) -> Found {
    let plain = |version: String| version.trim_start_matches('v').to_string();
    let name = |v: Vulnerability| {
        let (fixed, severity) = (plain(v.fixed.unwrap_or_default()), v.severity.to_string());
        (v.package, plain(v.installed), v.id, fixed, severity)
    };
    found.into_iter().map(name).collect()
}

#[test]
fn trivys_lock_files_have_the_vulnerabilities_of_its_reports() {
    let Some(trivy) = conformance() else { return };
    let folder = tempfile::tempdir().unwrap();
    let db = database(&trivy.join("fixtures"), folder.path());
    let checks = palisade_policy::Checks::default();
    let mut n_compared = 0;
    for (golden, fixture) in CASES {
        let expected = expected(&trivy.join(golden));
        let target = Target::Folder(trivy.join("fixtures/repo").join(fixture));
        let options = options(&db, &[], &checks);
        let scanned = scan_target(&target, &OpenOptions::default(), &options).unwrap();
        assert_eq!(names(vulnerabilities(scanned.findings)), expected, "{golden}");
        n_compared += expected.len();
    }
    eprintln!("{n_compared} findings of {} fixtures agree", CASES.len());
    assert_eq!(n_compared, 21);
}

#[test]
fn trivys_report_with_a_vex_document_lacks_what_ours_sets_aside() {
    let Some(trivy) = conformance() else { return };
    let folder = tempfile::tempdir().unwrap();
    let db = database(&trivy.join("fixtures"), folder.path());
    let checks = palisade_policy::Checks::default();
    // The document itself is not in the material; this is what the report says that it states.
    let document = br#"{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "author": "a",
        "timestamp": "2024-01-01T00:00:00Z", "version": 1, "statements": [
        {"vulnerability": {"name": "CVE-2022-23628"}, "status": "not_affected",
         "justification": "vulnerable_code_not_in_execute_path",
         "products": [{"@id": "pkg:golang/github.com/open-policy-agent/opa"}]}]}"#;
    let ignores = vex::read(document).unwrap().statements;
    let target = Target::Folder(trivy.join("fixtures/repo/gomod"));
    let options = options(&db, &ignores, &checks);
    let scanned = scan_target(&target, &OpenOptions::default(), &options).unwrap();
    assert_eq!(scanned.suppressed.len(), 1);
    let found = names(vulnerabilities(scanned.findings));
    assert_eq!(found, expected(&trivy.join("gomod-vex.json.golden")));
}

#[test]
fn trivys_bills_of_materials_have_the_vulnerabilities_of_its_reports() {
    let Some(trivy) = conformance() else { return };
    let folder = tempfile::tempdir().unwrap();
    let db = database(&trivy.join("fixtures"), folder.path());
    let checks = palisade_policy::Checks::default();
    let found = |document: &str| {
        let document = sbom::read::read_file(&trivy.join("fixtures/sbom").join(document)).unwrap();
        let scanned = scan_document(document, &options(&db, &[], &checks)).unwrap();
        vulnerabilities(scanned.findings)
    };
    let check = |document: &str, golden: &str, keep: fn(&Vulnerability) -> bool| {
        let kept = found(document).into_iter().filter(keep);
        assert_eq!(names(kept), expected(&trivy.join(golden)), "{document} {golden}");
    };
    check(
        "fluentd-multiple-lockfiles-cyclonedx.json",
        "fluentd-multiple-lockfiles.json.golden",
        |_| true,
    );
    // The reports about CentOS are of an image; its bill of materials is here. The one in SPDX lacks
    // `downloadLocation`, which that standard demands, and is refused as any other that is not valid.
    let centos = "centos-7-cyclonedx.json";
    check(centos, "centos-7.json.golden", |_| true);
    check(centos, "centos-7-ignore-unfixed.json.golden", |v| v.fixed.is_some());
    check(centos, "centos-7-medium.json.golden", |v| {
        v.severity == Severity::Medium && v.fixed.is_some()
    });
    let spdx = sbom::read::read_file(&trivy.join("fixtures/sbom/centos-7-spdx.json"));
    assert!(spdx.unwrap_err().to_string().contains("SPDX"));
    let bash = found(centos).into_iter().find(|v| v.package == "bash").unwrap();
    assert_eq!((bash.fixed, bash.status), (None, VulnerabilityStatus::WillNotFix));
}

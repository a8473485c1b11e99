//! Trivy's fixture advisories with its lock files: the vulnerabilities found must be those of its
//! reports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use palisade_base::yaml::{self, Dialect, Node, Value};
use palisade_image::OpenOptions;
use palisade_model::{Finding, Target};
use palisade_scan::db::{Advisory, Database, DatabaseBuilder, Range, RangeEnd};
use palisade_scan::{Look, ScanOptions, ecosystem, scan_target};

use crate::image::NOW;

/// Reports, and the folder of fixtures for which Trivy must give each.
const CASES: [(&str, &str); 13] = [
    ("bun.json.golden", "bun"),
    ("cargo.lock.json.golden", "cargo"),
    ("composer.lock.json.golden", "composer"),
    ("composer.vendor.json.golden", "composer-vendor"),
    ("gomod.json.golden", "gomod"),
    ("gradle.json.golden", "gradle"),
    ("npm.json.golden", "npm"),
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

/// Trivy's advisories about languages as a database.
fn database(fixtures: &Path, folder: &Path) -> Database {
    const DIALECT: Dialect =
        Dialect { name: "a fixture", document: "list", depth_max: 32, n_nodes_max: 1_000_000 };
    let mut builder = DatabaseBuilder::new();
    for entry in std::fs::read_dir(fixtures.join("db")).unwrap() {
        let text_of_file = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let (document, _) = yaml::parse(&text_of_file, DIALECT);
        let Some(Node { value: Value::List(buckets), .. }) = document else { continue };
        for bucket in &buckets {
            let name = text(bucket, "bucket");
            let prefix = name.split("::").next().unwrap();
            let Some((_, ecosystem)) = ECOSYSTEMS.iter().find(|(known, _)| *known == prefix) else {
                continue;
            };
            builder.mark_whole(ecosystem);
            for package in items(bucket, "pairs") {
                for pair in items(package, "pairs") {
                    let value = get(pair, "value").unwrap();
                    let ranges = items(value, "VulnerableVersions").iter().map(|version| {
                        match &version.value {
                            Value::Scalar { text, .. } => range(text),
                            _ => panic!("a constraint that is no text"),
                        }
                    });
                    let advisory = Advisory {
                        id: text(pair, "key").to_string(),
                        feed: name.to_string(),
                        ranges: ranges.collect(),
                        ..Advisory::default()
                    };
                    let package = ecosystem::normalise_name(ecosystem, text(package, "bucket"));
                    builder.add(ecosystem, &package, advisory).unwrap();
                }
            }
        }
    }
    let path = folder.join("trivy.db");
    builder.write(&path, NOW).unwrap();
    Database::open(&path).unwrap()
}

#[test]
fn trivys_lock_files_have_the_vulnerabilities_of_its_reports() {
    let Some(trivy) = conformance() else { return };
    let folder = tempfile::tempdir().unwrap();
    let db = database(&trivy.join("fixtures"), folder.path());
    let mut n_compared = 0;
    for (golden, fixture) in CASES {
        let report = std::fs::read(trivy.join(golden)).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let mut expected = BTreeSet::new();
        for result in report["Results"].as_array().into_iter().flatten() {
            for found in result["Vulnerabilities"].as_array().into_iter().flatten() {
                let text = |key: &str| found[key].as_str().unwrap_or_default().to_string();
                let version = text("InstalledVersion");
                let version = version.trim_start_matches('v').to_string();
                expected.insert((text("PkgName"), version, text("VulnerabilityID")));
            }
        }
        let options = ScanOptions {
            now: NOW,
            database: Some(&db),
            ignores: &[],
            checks: &palisade_policy::Checks::default(),
            secrets: false,
            look: Look::default(),
            minimality: None,
        };
        let target = Target::Folder(trivy.join("fixtures/repo").join(fixture));
        let scanned = scan_target(&target, &OpenOptions::default(), &options).unwrap();
        let found: BTreeSet<(String, String, String)> = scanned
            .findings
            .into_iter()
            .filter_map(|finding| match finding {
                Finding::Vulnerability(v) => {
                    let version = v.installed.trim_start_matches('v').to_string();
                    Some((v.package, version, v.id))
                }
                _ => None,
            })
            .collect();
        assert_eq!(found, expected, "{golden}");
        n_compared += expected.len();
    }
    eprintln!("{n_compared} findings of {} fixtures agree", CASES.len());
    assert_eq!(n_compared, 19);
}

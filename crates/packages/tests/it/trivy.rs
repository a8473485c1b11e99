//! Trivy's fixtures: the packages found must be those that Trivy reports for them.

use std::collections::BTreeSet;
use std::path::Path;

use palisade_model::Package;
use serde_json::Value;

use crate::{collect_folder, conformance};

/// Reports, and the folder of fixtures for which Trivy must give each.
const CASES: [(&str, &str); 20] = [
    ("bun.json.golden", "bun"),
    ("cargo.lock.json.golden", "cargo"),
    ("composer.lock.json.golden", "composer"),
    ("composer.vendor.json.golden", "composer-vendor"),
    ("conda-cyclonedx.json.golden", "conda"),
    ("conda-environment-cyclonedx.json.golden", "conda-environment"),
    ("conda-spdx.json.golden", "conda"),
    ("gomod.json.golden", "gomod"),
    ("gomod-skip.json.golden", "gomod"),
    ("gomod-vex.json.golden", "gomod"),
    ("gradle.json.golden", "gradle"),
    ("npm.json.golden", "npm"),
    ("npm-cyclonedx.json.golden", "npm"),
    ("npm-with-dev.json.golden", "npm"),
    ("packagesprops.json.golden", "packagesprops"),
    ("pip.json.golden", "pip"),
    ("pnpm.json.golden", "pnpm"),
    ("poetry.json.golden", "poetry"),
    ("pylock.json.golden", "pylock"),
    ("uv.json.golden", "uv"),
];

/// What we find and Trivy does not report, and why.
const MORE: [(&str, &str, &str); 5] = [
    ("cargo.lock.json.golden", "winapi@0.3.9", CARGO),
    ("cargo.lock.json.golden", "winapi-i686-pc-windows-gnu@0.4.0", CARGO),
    ("cargo.lock.json.golden", "winapi-x86_64-pc-windows-gnu@0.4.0", CARGO),
    ("npm.json.golden", "z-lock@1.0.0", NPM),
    ("npm-cyclonedx.json.golden", "z-lock@1.0.0", NPM),
];
const CARGO: &str = "the lock file does not say what is for development, and Trivy asks Cargo.toml";
const NPM: &str = "for development, but installed in node_modules";

/// Reports without a fixture here, and why they are not compared.
const NOT_COMPARED: [(&str, &str); 8] = [
    ("swift.json.golden", "Swift is not covered"),
    ("pubspec.lock.json.golden", "Dart is not covered"),
    ("pipenv.json.golden", "its Pipfile.lock is not among the fixtures"),
    ("centos-7.json.golden", "made from a bill of materials, not from files"),
    ("fluentd-multiple-lockfiles.json.golden", "made from a bill of materials, not from files"),
    ("dockerfile.json.golden", "no packages"),
    ("secrets.json.golden", "no packages"),
    ("npm-ubuntu-severity.json.golden", "the packages of npm.json.golden"),
];

/// `name@version` of every package in a report: the packages where it lists them, those with
/// vulnerabilities where it does not, the components of a bill of materials.
fn expected(report: &Value) -> (BTreeSet<String>, bool) {
    let mut found = BTreeSet::new();
    let mut is_whole = true;
    let mut add = |name: &Value, version: &Value| {
        let (Some(name), Some(version)) = (name.as_str(), version.as_str()) else { return };
        found.insert(format!("{name}@{version}"));
    };
    for result in report["Results"].as_array().into_iter().flatten() {
        if let Some(packages) = result["Packages"].as_array() {
            for one in packages {
                add(&one["Name"], &one["Version"]);
            }
        } else {
            is_whole = false;
            for one in result["Vulnerabilities"].as_array().into_iter().flatten() {
                add(&one["PkgName"], &one["InstalledVersion"]);
            }
        }
    }
    for component in report["components"].as_array().into_iter().flatten() {
        if component["type"] == "library" {
            let group = component["group"].as_str().unwrap_or_default();
            let name = component["name"].as_str().unwrap_or_default();
            let name = if group.is_empty() { name.to_string() } else { format!("{group}/{name}") };
            add(&Value::from(name), &component["version"]);
        }
    }
    for package in report["packages"].as_array().into_iter().flatten() {
        if package["primaryPackagePurpose"] == "LIBRARY" {
            add(&package["name"], &package["versionInfo"]);
        }
    }
    (found, is_whole)
}

fn id(package: &Package) -> String {
    format!("{}@{}", package.name, package.version)
}

#[test]
fn packages_are_trivys() {
    let Some(folder) = conformance("scan/trivy") else {
        return;
    };
    let (mut n_passed, mut failures) = (0, Vec::new());
    for (golden, fixture) in CASES {
        let report = std::fs::read(folder.join(golden)).unwrap();
        let (wanted, is_whole) = expected(&serde_json::from_slice(&report).unwrap());
        assert!(!wanted.is_empty(), "{golden} has no packages");
        let found = collect_folder(&folder.join("fixtures/repo").join(fixture)).inventory;
        assert_eq!(found.gaps, [], "{golden}");
        let found: BTreeSet<String> = found.packages.iter().map(id).collect();
        let missing: Vec<&String> = wanted.difference(&found).collect();
        let mut more: BTreeSet<&String> =
            if is_whole { found.difference(&wanted).collect() } else { BTreeSet::new() };
        for (_, name, reason) in MORE.iter().filter(|(report, ..)| *report == golden) {
            assert!(more.remove(&(*name).to_string()), "{golden}: {name} is no exception");
            println!("trivy/{golden}: {name} is not Trivy's: {reason}");
        }
        if missing.is_empty() && more.is_empty() {
            n_passed += 1;
        } else {
            failures.push(format!("{golden}: missing {missing:?}, not Trivy's {more:?}"));
        }
    }
    println!("conformance trivy: {n_passed} passed, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn every_report_is_compared_or_explained() {
    let Some(folder) = conformance("scan/trivy") else {
        return;
    };
    for name in names(&folder).filter(|name| name.ends_with(".json.golden")) {
        let is_known = CASES.iter().any(|(report, _)| *report == name)
            || NOT_COMPARED.iter().any(|(report, _)| {
                let stem = report.trim_end_matches(".json.golden");
                *report == name || name.starts_with(stem)
            });
        assert!(is_known, "{name} is neither compared nor explained");
    }
    for (report, reason) in NOT_COMPARED {
        println!("trivy/{report}: not compared: {reason}");
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
}

//! Version orders against the tables of others and against the ecosystems' own tools.

use std::cmp::Ordering;
use std::path::Path;
use std::process::Command;

use palisade_packages::version::{
    self, Compare, alpm, apk, dpkg, gem, maven, nuget, packagist, pep440, rpm, semver,
};
use proptest::prelude::*;
use serde_json::Value;

use crate::conformance;

/// A row: left, relation, right.
type Row = (String, String, String);

/// Reads `a < b` lines.
fn rows(path: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [a, relation @ ("<" | "=" | ">"), b] => Some((a.into(), relation.into(), b.into())),
        _ => None,
    };
    text.lines().filter(|line| !line.starts_with(['#', '/'])).filter_map(row).collect()
}

/// Failing rows of a table, printed; `allowed` are known disagreements, as written.
#[track_caller]
fn check_table(name: &str, rows: &[Row], compare: Compare, allowed: &[&str]) {
    assert!(!rows.is_empty(), "{name} has no rows");
    let mut failures = Vec::new();
    let mut n_skipped = 0;
    for (a, relation, b) in rows {
        let line = format!("{a} {relation} {b}");
        if allowed.contains(&line.as_str()) {
            n_skipped += 1;
            continue;
        }
        let expected = match relation.as_str() {
            "<" => Ordering::Less,
            ">" => Ordering::Greater,
            _ => Ordering::Equal,
        };
        let found = compare(a, b);
        if found != Some(expected) {
            failures.push(format!("{line}: {found:?}"));
        }
    }
    println!(
        "versions/{name}: {} passed, {} failed, {n_skipped} skipped",
        rows.len() - failures.len() - n_skipped,
        failures.len()
    );
    let first: Vec<&String> = failures.iter().take(12).collect();
    assert!(failures.is_empty(), "{name}: {} rows differ: {first:#?}", failures.len());
}

#[test]
fn debian_tables() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    for name in ["osv-scalibr/debian-versions.txt", "osv-scalibr/debian-versions-generated.txt"] {
        check_table(name, &rows(&folder.join(name)), dpkg::compare, &[]);
    }
}

#[test]
fn alpine_tables() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    for name in [
        "alpine_test.txt",
        "osv-scalibr/alpine-versions.txt",
        "osv-scalibr/alpine-versions-generated.txt",
    ] {
        check_table(name, &rows(&folder.join(name)), apk::compare, &[]);
    }
    check_univers(&folder, "univers_alpine.json", apk::compare, &[]);
}

/// A table of univers: pairs in order, which may be equal, and pairs that are equal or not.
fn check_univers(folder: &Path, name: &str, compare: Compare, allowed: &[&str]) {
    let json = std::fs::read(folder.join(name)).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let mut table = Vec::new();
    for case in json.as_array().unwrap() {
        let versions = &case["input"]["versions"];
        let sorted = &case["expected_output"];
        if case["test_type"] == "comparison" {
            table.push((text(&sorted[0]), "<=".to_string(), text(&sorted[1])));
        } else if case["test_type"] == "equality" {
            let relation = if case["expected_output"] == true { "=" } else { "!=" };
            table.push((text(&versions[0]), relation.into(), text(&versions[1])));
        }
    }
    let (mut failures, mut n_skipped) = (Vec::new(), 0);
    for (a, relation, b) in &table {
        let found = compare(a, b);
        let agrees = match relation.as_str() {
            "<=" => matches!(found, Some(Ordering::Less | Ordering::Equal)),
            "=" => found == Some(Ordering::Equal),
            _ => found != Some(Ordering::Equal),
        };
        if allowed.contains(&format!("{a} {relation} {b}").as_str()) {
            n_skipped += 1;
        } else if !agrees {
            failures.push(format!("{a} {relation} {b}: {found:?}"));
        }
    }
    println!(
        "versions/{name}: {} passed, {} failed, {n_skipped} skipped",
        table.len() - failures.len() - n_skipped,
        failures.len()
    );
    assert!(!table.is_empty() && failures.is_empty(), "{name}: {failures:#?}");
}

/// A table of Grype: `a`, `b` and their order as a number.
fn check_grype(folder: &Path, name: &str, compare: Compare, allowed: &[&str]) {
    let json = std::fs::read(folder.join(name)).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let row = |case: &Value| {
        let relation = match case["cmp"].as_i64().unwrap() {
            0 => "=",
            1 => ">",
            _ => "<",
        };
        let text = |key: &str| case[key].as_str().unwrap().to_string();
        (text("a"), relation.to_string(), text("b"))
    };
    let rows: Vec<Row> = json.as_array().unwrap().iter().map(row).collect();
    check_table(name, &rows, compare, allowed);
}

#[test]
fn tables_of_languages() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    // A branch has no place among versions; `#` is a mark within PHP, no character of versions;
    // PHP alone knows no words in capitals, Composer does.
    let php = [
        "dev-foo < 1.26.0",
        "1.26.0 > dev-foo",
        "1.2.3.# = 1.2.3.1",
        "v1.9.0-ALPHA.1 = v1.9.0-BETA.1",
        "v1.9.0-ALPHA.2 = v1.9.0-BETA.2",
    ];
    for name in
        ["osv-scalibr/packagist-versions.txt", "osv-scalibr/packagist-versions-generated.txt"]
    {
        check_table(name, &rows(&folder.join(name)), packagist::compare, &php);
    }
    for (name, compare) in [
        ("osv-scalibr/maven-versions.txt", maven::compare as Compare),
        ("osv-scalibr/maven-versions-generated.txt", maven::compare),
        ("osv-scalibr/nuget-versions.txt", nuget::compare),
        ("osv-scalibr/rubygems-versions.txt", gem::compare),
        ("osv-scalibr/rubygems-versions-generated.txt", gem::compare),
    ] {
        check_table(name, &rows(&folder.join(name)), compare, &[]);
    }
    check_univers(&folder, "univers_maven.json", maven::compare, &[]);
    check_univers(&folder, "univers_nuget.json", nuget::compare, &[]);
    check_univers(&folder, "univers_alpm.json", alpm::compare, &[]);
    check_grype(&folder, "grype_gem_compare.json", gem::compare, &[]);
    // Grype takes the Java run-time off before it compares; Maven does not.
    let jre =
        ["12.10.2 = 12.10.2.jre11", "12.10.2.jre11 = 12.10.2", "12.10.2.jre11 = 12.10.2.jdk17"];
    check_grype(&folder, "grype_maven_compare.json", maven::compare, &jre);
    check_grype(&folder, "grype_pacman_compare.json", alpm::compare, &[]);
    // Grype ignores an epoch that one side lacks; for RPM it is 0.
    let epochs = [
        "2:4.19.01-1.el7_5 = 4.19.1-1.el7_5",
        "4.19.01-1.el7_5 = 2:4.19.1-1.el7_5",
        "4.19.0-1.el7_5 > 12:4.19.0-1.el7",
    ];
    check_grype(&folder, "grype_rpm_compare.json", rpm::compare, &epochs);
    check_grype(&folder, "grype_golang_compare.json", semver::compare, &[]);
}

#[test]
fn other_tables() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    for (name, compare) in [
        ("osv-scalibr/redhat-versions.txt", rpm::compare as Compare),
        ("osv-scalibr/semver-versions.txt", semver::compare),
    ] {
        check_table(name, &rows(&folder.join(name)), compare, &[]);
    }
    // Strings from before PEP 440 are in the tables; they are no versions now.
    for (name, n_legacy_max) in
        [("osv-scalibr/pypi-versions.txt", 11), ("osv-scalibr/pypi-versions-generated.txt", 200)]
    {
        let is_version = |text: &String| pep440::compare(text, text).is_some();
        let (valid, legacy): (Vec<Row>, Vec<Row>) = rows(&folder.join(name))
            .into_iter()
            .partition(|(a, _, b)| is_version(a) && is_version(b));
        println!("versions/{name}: {} rows of legacy versions skipped", legacy.len());
        assert!(legacy.len() <= n_legacy_max, "{legacy:?}");
        check_table(name, &valid, pep440::compare, &[]);
    }
}

#[test]
fn rpm_own_table() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    let text = std::fs::read_to_string(folder.join("rpmvercmp.at")).unwrap();
    let mut table = Vec::new();
    for line in text.lines() {
        let Some(inner) = line.strip_prefix("RPMVERCMP(").and_then(|l| l.strip_suffix(')')) else {
            continue;
        };
        let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        let [a, b, order] = parts[..] else { panic!("{line}") };
        let relation = match order {
            "-1" => "<",
            "1" => ">",
            _ => "=",
        };
        table.push((a.to_string(), relation.to_string(), b.to_string()));
    }
    check_table("rpmvercmp.at", &table, rpm::compare, &[]);
}

/// Whether `version` satisfies `> 1.0, < 2.0 || = 3`.
fn satisfies(version: &str, constraint: &str, compare: Compare) -> Option<bool> {
    let mut any = false;
    for range in constraint.split("||") {
        let mut all = true;
        for part in range.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let at = part.find(|c: char| !"<>=! ".contains(c))?;
            let (operator, bound) = part.split_at(at);
            let order = compare(version, bound.trim())?;
            all &= match operator.trim() {
                "" | "=" | "==" => order.is_eq(),
                "<" => order.is_lt(),
                "<=" => order.is_le(),
                ">" => order.is_gt(),
                ">=" => order.is_ge(),
                "!=" => order.is_ne(),
                _ => return None,
            };
        }
        any |= all;
    }
    Some(any)
}

#[test]
fn constraint_tables() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    for (name, compare) in [
        ("grype_deb_constraint.json", dpkg::compare as Compare),
        ("grype_apk_constraint.json", apk::compare),
        ("grype_maven_constraint.json", maven::compare),
    ] {
        let json: Value =
            serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        let mut failures = Vec::new();
        let cases = json.as_array().unwrap();
        for case in cases {
            let (version, constraint) = (&case["version"], &case["constraint"]);
            let found = satisfies(version.as_str().unwrap(), constraint.as_str().unwrap(), compare);
            if found != case["satisfied"].as_bool() {
                failures.push(format!("{case}: {found:?}"));
            }
        }
        println!(
            "conformance versions/{name}: {} passed, {} failed",
            cases.len() - failures.len(),
            failures.len()
        );
        assert!(failures.is_empty(), "{name}: {failures:#?}");
    }
}

/// What `dpkg --compare-versions` says; `None` where there is no dpkg.
fn dpkg_says(a: &str, b: &str) -> Option<Ordering> {
    let holds = |relation| {
        let mut command = Command::new("dpkg");
        command.args(["--compare-versions", a, relation, b]);
        command.stderr(std::process::Stdio::null());
        command.status().ok().map(|status| status.success())
    };
    if holds("lt")? {
        return Some(Ordering::Less);
    }
    Some(if holds("gt")? { Ordering::Greater } else { Ordering::Equal })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn debian_order_is_dpkgs(
        a in "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-b.+~]{1,4})?",
        b in "([0-9]:)?[0-9][0-9a-c.+~]{0,6}(-[0-9a-b.+~]{1,4})?",
    ) {
        if let Some(expected) = dpkg_says(&a, &b) {
            prop_assert_eq!(dpkg::compare(&a, &b), Some(expected), "{} {}", a, b);
        }
    }
}

proptest! {
    #[test]
    fn orders_are_total_and_never_panic(
        a in "[0-9a-z.+~^:_-]{0,12}",
        b in "[0-9a-z.+~^:_-]{0,12}",
        c in "[0-9][0-9a-z.+~^:_-]{0,8}",
    ) {
        use palisade_model::PackageKind::{Dpkg, Node, Nuget, Python, Ruby};
        for kind in palisade_model::PackageKind::ALL {
            let forth = version::compare(kind, &a, &b);
            let back = version::compare(kind, &b, &a);
            prop_assert_eq!(forth, back.map(Ordering::reverse), "{} {} {}", kind, a, b);
            if version::compare(kind, &c, &c).is_some() {
                prop_assert_eq!(version::compare(kind, &c, &c), Some(Ordering::Equal));
            }
        }
        for kind in [Dpkg, Node, Nuget, Python, Ruby] {
            let order = |x: &str, y: &str| version::compare(kind, x, y);
            if order(&a, &b) == Some(Ordering::Less) && order(&b, &c) == Some(Ordering::Less) {
                prop_assert_eq!(order(&a, &c), Some(Ordering::Less), "{} {} {}", a, b, c);
            }
        }
    }

    #[test]
    fn bytes_never_panic(text in "\\PC{0,40}") {
        for kind in [palisade_model::PackageKind::Python, palisade_model::PackageKind::Apk] {
            let _ = version::compare(kind, &text, "1.0");
        }
    }
}

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
        "conformance versions/{name}: {} passed, {} failed, {n_skipped} skipped (docs/conformance.md)",
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
        "conformance versions/{name}: {} passed, {} failed, {n_skipped} skipped (docs/conformance.md)",
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
        [("osv-scalibr/pypi-versions.txt", 11), ("osv-scalibr/pypi-versions-generated.txt", 33)]
    {
        let is_version = |text: &String| pep440::compare(text, text).is_some();
        let (valid, legacy): (Vec<Row>, Vec<Row>) = rows(&folder.join(name))
            .into_iter()
            .partition(|(a, _, b)| is_version(a) && is_version(b));
        println!(
            "conformance versions/{name} (before PEP 440): 0 passed, 0 failed, {} skipped \
             (docs/conformance.md)",
            legacy.len()
        );
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

/// Whether `version` satisfies `> 1.0, < 2.0 || = 3`; `*` is everything.
fn satisfies(version: &str, constraint: &str, compare: Compare) -> Option<bool> {
    let mut any = false;
    for range in constraint.split("||") {
        let mut all = true;
        // Between bounds stands a comma or, as npm and PyPI have it, a space.
        let range = range.replace(" <", ",<").replace(" >", ",>");
        for part in range.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "*" {
                continue;
            }
            let at = part.find(|c: char| !"<>=! ".contains(c))?;
            let (operator, bound) = part.split_at(at);
            let order = compare(version, bound.trim().trim_matches(['\'', '"']))?;
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

/// Counts the cases of a table of JSON that `agrees` with; `allowed` are known disagreements.
#[track_caller]
fn check_cases(folder: &Path, name: &str, allowed: &[&str], agrees: impl Fn(&Value) -> bool) {
    let json = std::fs::read(folder.join(name)).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let cases = json.as_array().unwrap();
    let differing: Vec<String> =
        cases.iter().filter(|case| !agrees(case)).map(Value::to_string).collect();
    let is_known = |case: &String| allowed.iter().any(|known| case.contains(known));
    let (known, failures): (Vec<String>, Vec<String>) = differing.into_iter().partition(is_known);
    println!(
        "conformance versions/{name}: {} passed, {} failed, {} skipped (docs/conformance.md)",
        cases.len() - failures.len() - known.len(),
        failures.len(),
        known.len()
    );
    assert!(!cases.is_empty() && failures.is_empty(), "{name}: {failures:#?}");
    let is_there = |text: &&&str| known.iter().any(|case| case.contains(**text));
    let unused: Vec<&&str> = allowed.iter().filter(|text| !is_there(text)).collect();
    assert!(unused.is_empty(), "{name}: no longer differ: {unused:?}");
}

#[test]
fn constraint_tables() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    for (name, compare, allowed) in [
        ("grype_deb_constraint.json", dpkg::compare as Compare, &[][..]),
        ("grype_apk_constraint.json", apk::compare, &[]),
        ("grype_maven_constraint.json", maven::compare, &[]),
        // Grype ignores an epoch that one side lacks, and takes a release that goes on for the same;
        // for RPM an epoch is 0, and the longer release is newer.
        (
            "grype_rpm_constraint.json",
            rpm::compare,
            &[
                r#""version":"1.0","constraint":"< 2:1.0""#,
                r#""constraint":"<= 4.19.1-1.el7_5""#,
                r#""version":"4.19.01-1.el7_5","constraint":"< 2:4.19.1-1.el7_5""#,
                r#""version":"4.19.0-1.el7_5","constraint":"< 12:4.19.0-1.el7""#,
                r#""version":"4.19.0-1.el7_5","constraint":"<= 12:4.19.0-1.el7""#,
                r#""constraint":"< 4.21.0-1.el7""#,
                r#""version":"8.3.1-5.el8","constraint":"< 0:8.3.1-5.el8.0.0""#,
                r#""version":"8.3.1-5.el8.0.0","constraint":"> 0:8.3.1-5.el8""#,
            ],
        ),
        ("grype_gem_constraint.json", gem::compare, &[]),
        ("grype_golang_constraint.json", semver::compare, &[]),
        ("grype_pep440_constraint.json", pep440::compare, &[]),
        // Grype takes a dot for a dash where no number follows; here what stands behind the third
        // number is compared part by part.
        (
            "grype_semantic_constraint.json",
            semver::compare,
            &[r#""constraint":"= 1.0.0-alpha-beta""#, r#""constraint":"= 1.0.0-rc-alpha""#],
        ),
    ] {
        check_cases(&folder, name, allowed, |case| {
            let (version, constraint) = (&case["version"], &case["constraint"]);
            let found = satisfies(version.as_str().unwrap(), constraint.as_str().unwrap(), compare);
            found == case["satisfied"].as_bool()
        });
    }
}

/// Tables of Trivy: ranges that are vulnerable and ranges that are patched, of which one each is
/// enough. What cannot be read is none.
#[test]
fn tables_of_vulnerable_and_patched() {
    let Some(folder) = conformance("scan/versions") else {
        return;
    };
    for (name, compare, allowed) in [
        // For Trivy's general order `*` is no range.
        ("trivy_compare.json", semver::compare as Compare, &[r#"["*"]"#][..]),
        // Ranges as `package.json` has them stand in no feed that is read.
        ("trivy_npm.json", semver::compare, &[r#""^2.0.18""#]),
        ("trivy_maven.json", maven::compare, &[]),
        ("trivy_pep440.json", pep440::compare, &[]),
        // A patched range that Trivy cannot read makes nothing vulnerable.
        ("trivy_rubygems.json", gem::compare, &[r#"["!1.2.0"]"#]),
    ] {
        check_cases(&folder, name, allowed, |case| {
            let version = case["version"].as_str().unwrap();
            let any = |key: &str| {
                let ranges: Vec<&str> =
                    case[key].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                // An empty one says nothing.
                let ranges: Vec<&str> = ranges.into_iter().filter(|it| !it.is_empty()).collect();
                let within = |range: &&str| satisfies(version, range, compare) == Some(true);
                (!ranges.is_empty()).then(|| ranges.iter().any(within))
            };
            let is_vulnerable = any("VulnerableVersions").unwrap_or(true)
                && !any("PatchedVersions").unwrap_or(false);
            Some(is_vulnerable) == case["vulnerable"].as_bool()
        });
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

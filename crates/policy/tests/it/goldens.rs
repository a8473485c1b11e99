//! Diagnostics, explanations, schema and reference page against committed files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use palisade_policy::{Code, LoadPolicyError, Policy, parse};

use crate::golden;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// Every policy of `testdata` with its name and text, sorted.
fn cases() -> Vec<(String, String)> {
    let mut cases: Vec<_> = std::fs::read_dir(testdata())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "yaml"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    cases.sort();
    cases
}

fn diagnostics(name: &str, text: &str) -> palisade_base::Diagnostics {
    match parse(text, name, Path::new("/etc/palisade")) {
        Ok(loaded) => loaded.warnings,
        Err(LoadPolicyError::Invalid { diagnostics, .. }) => diagnostics,
        Err(other) => panic!("{name}: {other}"),
    }
}

#[test]
fn diagnostics_of_testdata() {
    for (name, text) in cases() {
        let out: Vec<_> =
            diagnostics(&name, &text).0.iter().map(|d| d.render(Some(&text))).collect();
        let path = testdata().join(&name).with_extension("out");
        golden(&path, &if out.is_empty() { "valid\n".to_string() } else { out.join("\n") });
    }
}

#[test]
fn every_code_has_a_golden() {
    let seen: BTreeSet<_> = cases()
        .iter()
        .flat_map(|(name, text)| diagnostics(name, text).0)
        .map(|diagnostic| diagnostic.code)
        .collect();
    for code in Code::ALL {
        assert!(seen.contains(code.as_str()), "no policy of testdata shows {}", code.as_str());
    }
}

#[test]
fn explanations() {
    for name in palisade_policy::builtin::NAMES {
        let loaded = Policy::builtin(name).unwrap();
        let path = testdata().join(format!("explain-{name}.out"));
        golden(&path, &palisade_policy::explain(&loaded));
    }
}

#[test]
fn schema_is_the_committed_one() {
    let schema = serde_json::to_string_pretty(&palisade_policy::schema()).unwrap() + "\n";
    golden(&testdata().join("schema.json"), &schema);
}

#[test]
fn reference_page_is_the_committed_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/policy.md");
    golden(&path, &palisade_policy::markdown());
}

//! Bills of materials and reports, held against the material of others.

use std::path::{Path, PathBuf};

use palisade_scan::sbom::read;
use serde_json::Value;

use crate::schema::Schema;

/// The folder with material of others; `None`, said on stderr, where it is absent.
fn material(part: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the place of the material, not a setting")]
    let shared = std::env::var_os("PALISADE_SHARED").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = shared.unwrap_or(default).join("conformance").join(part);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no material at {}", folder.display());
    None
}

/// The samples of a folder: whether each is valid, and its bytes.
fn samples(folder: &Path) -> Vec<(String, bool, Vec<u8>)> {
    let mut samples = Vec::new();
    for version in ["1.2", "1.3", "1.4", "1.5", "1.6", "1.7"] {
        for entry in std::fs::read_dir(folder.join(version)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_string();
            let bytes = std::fs::read(&path).unwrap();
            samples.push((format!("{version}/{name}"), name.starts_with("valid"), bytes));
        }
    }
    samples.sort();
    samples
}

#[test]
fn conformance_cyclonedx_samples() {
    let Some(folder) = material("scan/cyclonedx") else { return };
    let samples = samples(&folder);
    assert!(samples.len() > 60, "{}", samples.len());
    let mut wrong = Vec::new();
    for (name, is_valid, bytes) in &samples {
        match read::read(bytes, name) {
            Ok(_) if *is_valid => {}
            Err(read::ReadSbomError::Invalid { problems, .. }) if !is_valid => {
                assert!(
                    problems.0.iter().all(|p| p.pointer.starts_with('/') || p.pointer.is_empty())
                );
            }
            other => wrong.push(format!("{name}: {:?}", other.map(|_| "read"))),
        }
    }
    let n = samples.len();
    println!("conformance CycloneDX samples: {} passed, {} failed", n - wrong.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The checker of the tests is right about the samples, so that it may be asked about ours.
#[test]
fn conformance_schemas_agree_with_their_samples() {
    let (Some(folder), Some(schemas)) = (material("scan/cyclonedx"), material("schemas")) else {
        return;
    };
    let schemas = [("1.6", "cdx-1.6.json"), ("1.7", "cdx-1.7.json")]
        .map(|(version, file)| (version, Schema::open(&schemas, file)));
    let mut wrong = Vec::new();
    let samples = samples(&folder);
    for (name, is_valid, bytes) in &samples {
        let Some((_, schema)) = schemas.iter().find(|(v, _)| name.starts_with(v)) else { continue };
        let problems = schema.problems(&serde_json::from_slice::<Value>(bytes).unwrap());
        if problems.is_empty() != *is_valid {
            wrong.push(format!("{name}: {problems:?}"));
        }
    }
    let n = samples.len();
    println!("conformance schema checker: {} passed, {} failed", n - wrong.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every identifier of the schema's list is one to us, so that no valid document is refused.
#[test]
fn conformance_licences_of_the_schema_are_known() {
    let Some(schemas) = material("schemas") else { return };
    let bytes = std::fs::read(schemas.join("spdx.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&bytes).unwrap();
    let ids: Vec<&str> =
        schema["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let document = |id: &str| {
        format!(
            r#"{{"bomFormat":"CycloneDX","specVersion":"1.7","components":[{{"type":"library",
                "name":"x","licenses":[{{"license":{{"id":"{id}"}}}}]}}]}}"#
        )
    };
    let unknown: Vec<&&str> =
        ids.iter().filter(|id| read::read(document(id).as_bytes(), "x").is_err()).collect();
    let n = ids.len();
    println!("conformance licences: {} passed, {} failed", n - unknown.len(), unknown.len());
    assert!(ids.len() > 600 && unknown.is_empty(), "{unknown:?}");
}

/// Goldens of the unit tests are documents with everything; they are valid.
#[test]
fn conformance_our_documents_are_valid() {
    let Some(schemas) = material("schemas") else { return };
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let groups: [(&str, &[&str]); 6] = [
        ("openvex.json", &["openvex.json"]),
        ("cdx-1.6.json", &["cdx.json"]),
        ("cdx-1.7.json", &["report.cdx17.json"]),
        ("spdx-2.3.json", &["spdx.json", "report.spdx.json"]),
        ("spdx-3.0.1.json", &["report.spdx3.json"]),
        ("sarif-2.1.0.json", &["sarif"]),
    ];
    let mut n = 0;
    for (schema, suffixes) in groups {
        let schema = Schema::open(&schemas, schema);
        for suffix in suffixes {
            // OpenVEX has no document without a statement.
            let stems: &[&str] =
                if *suffix == "openvex.json" { &["full"] } else { &["clean", "full"] };
            for stem in stems {
                let path = goldens.join(format!("{stem}.{suffix}"));
                let value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                assert_eq!(schema.problems(&value), Vec::<String>::new(), "{}", path.display());
                n += 1;
            }
        }
    }
    println!("conformance documents against schemas: {n} passed, 0 failed");
}

/// A damaged document is not taken for a whole one: what the schema refuses because a field was
/// removed or given another type, the reader refuses, too.
#[test]
fn conformance_damage_that_the_schema_sees_is_seen() {
    let (Some(folder), Some(schemas)) = (material("scan/cyclonedx"), material("schemas")) else {
        return;
    };
    let schema = Schema::open(&schemas, "cdx-1.7.json");
    let mut n_cases = 0;
    let mut wrong = Vec::new();
    for (name, is_valid, bytes) in samples(&folder) {
        if !is_valid || !name.starts_with("1.7") || bytes.len() > 6_000 {
            continue;
        }
        let whole: Value = serde_json::from_slice(&bytes).unwrap();
        let mut pointers = Vec::new();
        collect(&whole, "", &mut pointers);
        for (index, pointer) in pointers.iter().enumerate() {
            // Signatures and algorithms have schemas of their own, which are not read.
            if pointer.contains("ignature") || pointer.contains("cryptoProperties") {
                continue;
            }
            let mut damaged = whole.clone();
            let Some(value) = damaged.pointer_mut(pointer) else { continue };
            *value = if index % 2 == 0 { Value::Bool(true) } else { Value::from(7) };
            let by_schema = schema.problems(&damaged).is_empty();
            let by_us = read::read(damaged.to_string().as_bytes(), "x").is_ok();
            n_cases += 1;
            if by_schema != by_us && wrong.len() < 20 {
                wrong.push(format!("{name}{pointer}: schema {by_schema}, reader {by_us}"));
            }
        }
    }
    println!(
        "conformance damaged documents: {} passed, {} failed",
        n_cases - wrong.len(),
        wrong.len()
    );
    assert!(n_cases > 300 && wrong.is_empty(), "{n_cases} cases\n{}", wrong.join("\n"));
}

fn collect(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                out.push(at.clone());
                collect(inner, &at, out);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                collect(inner, &format!("{at}/{index}"), out);
            }
        }
        _ => {}
    }
}

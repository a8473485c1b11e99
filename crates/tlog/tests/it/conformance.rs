//! The Merkle vectors of `$PALISADE_SHARED/conformance/trust/merkle`.

use std::path::{Path, PathBuf};

use palisade_tlog::Hash;
use palisade_tlog::merkle::{verify_consistency, verify_inclusion};
use serde_json::Value;

/// The folder with the vectors; `None` on a machine that has none.
#[expect(clippy::disallowed_methods, reason = "a test names its material by a variable")]
fn material() -> Option<PathBuf> {
    let shared = std::env::var_os("PALISADE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("conformance/trust/merkle");
    folder.is_dir().then_some(folder)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|it| it == "json") {
            found.push(path);
        }
    }
    found.sort();
}

/// A hash as the vectors write it. One of another length is none, and the vector must fail.
fn hash(value: &Value) -> Option<Hash> {
    value.as_str().and_then(Hash::from_base64)
}

/// A root. Where the vectors compare two roots and compute none, they write words instead of
/// hashes; the word's hash stands for it: equal words stay equal, and no proof leads to it.
fn root(value: &Value) -> Option<Hash> {
    hash(value).or_else(|| Some(Hash::of_leaf(value.as_str()?.as_bytes())))
}

fn proof(vector: &Value) -> Option<Vec<Hash>> {
    match &vector["proof"] {
        Value::Null => Some(Vec::new()),
        proof => proof.as_array()?.iter().map(hash).collect(),
    }
}

fn holds_inclusion(vector: &Value) -> Option<bool> {
    let (index, size) = (vector["leafIdx"].as_u64()?, vector["treeSize"].as_u64()?);
    let (leaf, expected) = (hash(&vector["leafHash"])?, root(&vector["root"])?);
    Some(verify_inclusion(leaf, index, size, &proof(vector)?, &expected).is_ok())
}

fn holds_consistency(vector: &Value) -> Option<bool> {
    let (old, new) = (vector["size1"].as_u64()?, vector["size2"].as_u64()?);
    let (old_root, new_root) = (root(&vector["root1"])?, root(&vector["root2"])?);
    Some(verify_consistency(old, new, &proof(vector)?, &old_root, &new_root).is_ok())
}

fn run(group: &str, holds: fn(&Value) -> Option<bool>) {
    let Some(folder) = material() else {
        println!("conformance merkle-{group}: 0 passed, 0 failed, 1 skipped (no material)");
        return;
    };
    let mut found = Vec::new();
    files(&folder.join(group), &mut found);
    let mut wrong = Vec::new();
    for path in &found {
        let vector: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let want_error = vector["wantErr"].as_bool().unwrap();
        if holds(&vector).unwrap_or(false) == want_error {
            wrong.push(format!("{}: {}", path.display(), vector["desc"]));
        }
    }
    println!(
        "conformance merkle-{group}: {} passed, {} failed",
        found.len() - wrong.len(),
        wrong.len()
    );
    assert!(wrong.is_empty() && !found.is_empty(), "{wrong:#?}");
}

#[test]
fn inclusion() {
    run("inclusion", holds_inclusion);
}

#[test]
fn consistency() {
    run("consistency", holds_consistency);
}

//! Public test material, where it is at hand: Sigstore's bundle cases that use a key, and
//! the cosign signatures among the fixtures of containers/image.

use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_trust::{PublicKey, verify_blob};

/// The folder of the material, or nothing with the reason on stderr.
pub(crate) fn material(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests, not of the product")]
    let shared = std::env::var("PALISADE_SHARED").map_or_else(
        |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let folder = shared.join("conformance/trust").join(name);
    if !folder.is_dir() {
        eprintln!("skipped: {} is not there", folder.display());
        return None;
    }
    Some(folder)
}

pub(crate) fn folders(of: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = std::fs::read_dir(of)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    all.sort();
    all
}

#[test]
fn sigstore_bundles_with_a_key() {
    let Some(folder) = material("sigstore-bundles") else {
        return;
    };
    let (mut n_passed, mut n_skipped, mut failures) = (0, 0, Vec::new());
    for case in folders(&folder) {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("managed-key") {
            n_skipped += 1;
            continue;
        }
        let own = case.join("artifact");
        let artifact = if own.exists() { own } else { folder.join("a.txt") };
        let digest = Digest::of(&std::fs::read(artifact).unwrap());
        let bundle = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
        // Without a key there is none to trust; a key that is none is an error as well.
        let keys: Vec<_> = PublicKey::read(&case.join("key.pub")).into_iter().collect();
        let verified = verify_blob(&digest, &bundle, &keys);
        if verified.is_ok() == name.ends_with("_fail") {
            failures.push(format!("{name}: {verified:?}"));
        } else {
            n_passed += 1;
        }
    }
    eprintln!(
        "sigstore-bundles: {n_passed} passed, {} failed, {n_skipped} skipped (keyless is issue 8)",
        failures.len()
    );
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(n_passed >= 4);
}

/// Bundles that rest on a certificate are refused, not half verified.
#[test]
fn keyless_bundles_are_refused() {
    let Some(folder) = material("sigstore-bundles") else {
        return;
    };
    let keys = [crate::fixture::key(1).public().clone()];
    for case in folders(&folder) {
        let Ok(bundle) = std::fs::read(case.join("bundle.sigstore.json")) else {
            continue;
        };
        let digest = Digest::of(&std::fs::read(folder.join("a.txt")).unwrap());
        assert!(verify_blob(&digest, &bundle, &keys).is_err(), "{}", case.display());
    }
}

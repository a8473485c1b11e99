//! Bundles of the Sigstore project's conformance suite, keyless and with a key.

use std::path::Path;

use palisade_base::Timestamp;
use palisade_trust::VerificationKey;
use palisade_trust::sigstore::{
    Artifact, Bundle, IdentityMatch, SigstoreError, TextMatch, TrustedRoot, Verifier,
};

use crate::conformance::{folders, material};

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanos() / 1_000_000_000).unwrap()
}

/// What a case of the suite says: `Ok`, or why not.
fn verify(case: &Path, by_digest: bool) -> Result<(), SigstoreError> {
    let suite = case.parent().unwrap();
    let read = |name: &str, other: &str| {
        std::fs::read_to_string(case.join(name)).map_or(other.to_string(), |it| it.trim().into())
    };
    let or_suite = |name: &str, default: &str| {
        let own = case.join(name);
        if own.exists() { own } else { suite.join(default) }
    };
    let bytes = std::fs::read(or_suite("artifact", "a.txt")).unwrap();
    let artifact = if by_digest {
        Artifact::Digest(palisade_base::Digest::of(&bytes).as_bytes().to_vec())
    } else {
        Artifact::Bytes(&bytes)
    };
    let root =
        TrustedRoot::read(&or_suite("trusted_root.json", "public-good-trusted_root.json")).unwrap();
    let verifier = Verifier::new(Some(&root), now());
    let bundle = Bundle::parse(&std::fs::read(case.join("bundle.sigstore.json")).unwrap())?;
    if case.join("key.pub").exists() {
        // A file that is no key is nobody's key.
        let keys: Vec<_> = VerificationKey::read(&case.join("key.pub")).into_iter().collect();
        return verifier.verify_key(&bundle, &artifact, &keys).map(|_| ());
    }
    let wanted = IdentityMatch {
        name: TextMatch::Exact(read("identity", IDENTITY)),
        issuer: TextMatch::Exact(read("issuer", ISSUER)),
        claims: Vec::new(),
    };
    verifier.verify_identity(&bundle, &artifact, &wanted).map(|_| ())
}

#[test]
fn every_case_of_the_suite_by_file_and_by_digest() {
    let Some(folder) = material("sigstore-bundles") else { return };
    let (mut n_passed, mut failures) = (0, Vec::new());
    for case in folders(&folder) {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        for by_digest in [false, true] {
            let verified = verify(&case, by_digest);
            if verified.is_ok() == name.ends_with("_fail") {
                failures.push(format!("{name} (digest: {by_digest}): {verified:?}"));
            } else {
                n_passed += 1;
                let why = verified.err().map(|error| format!("{}: {error}", error.code()));
                eprintln!("{name}: {}", why.unwrap_or_default());
            }
        }
    }
    eprintln!("sigstore-bundles: {n_passed} passed, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(n_passed >= 94);
}

/// Refusals must be for the reason that the case is about, not for another.
#[test]
fn cases_are_refused_for_their_reason() {
    let Some(folder) = material("sigstore-bundles") else { return };
    let check = |name: &str, code: &str| {
        let found = verify(&folder.join(format!("{name}_fail")), false).unwrap_err();
        assert_eq!(found.code(), code, "{name}: {found}");
    };
    check("bundle-malformed-json", "bundle-malformed");
    check("bundle-unknown-version", "bundle-version");
    check("checkpoint-bad-keyhint", "log-inclusion");
    check("dsse-invalid-sig", "signature");
    check("inclusion-proof-corrupted-hash", "log-inclusion");
    check("intoto-missing-inclusion-proof", "log-inclusion");
    check("intoto-tsa-timestamp-outside-cert-validity", "certificate-expired");
    check("invalid-checkpoint-signature", "log-inclusion");
    check("invalid-ct-key", "sct");
    check("managed-key-no-key", "no-key");
    check("managed-key-wrong-key", "no-key");
    check("rekor2-dsse-mismatch-sig", "log-entry-mismatch");
    check("rekor2-timestamp-payload-mismatch", "timestamp");
    check("set-invalid-signature", "log-promise");
    check("wrong-hashedrekord-entry", "log-entry-mismatch");
}

/// Prints what one call of `work` costs.
pub(crate) fn time(what: &str, work: impl Fn()) {
    const ROUNDS: u32 = 1000;
    let start = std::time::Instant::now();
    (0..ROUNDS).for_each(|_| work());
    let each = start.elapsed() / ROUNDS;
    eprintln!("{what}: {each:?} each, {:.0}/s on one core", 1.0 / each.as_secs_f64());
}

/// See `cost_of_gpg`.
#[test]
#[ignore = "prints figures, to be run alone on a quiet machine"]
fn cost_of_bundles() {
    let Some(folder) = material("sigstore-bundles") else { return };
    let artifact = std::fs::read(folder.join("a.txt")).unwrap();
    for name in
        ["happy-path-v0.3", "happy-path-intoto-in-dsse-v3", "rekor2-checkpoint-multiple-cosigs"]
    {
        let case = folder.join(name);
        let own = case.join("trusted_root.json");
        let root = if own.exists() { own } else { folder.join("public-good-trusted_root.json") };
        let root = TrustedRoot::read(&root).unwrap();
        let bytes = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
        let verifier = Verifier::new(Some(&root), now());
        time(name, || {
            let bundle = Bundle::parse(&bytes).unwrap();
            verifier.verify(&bundle, &Artifact::Bytes(&artifact), &[]).unwrap();
        });
    }
    let case = folder.join("managed-key-happy-path");
    let key = [VerificationKey::read(&case.join("key.pub")).unwrap()];
    let bytes = std::fs::read(case.join("bundle.sigstore.json")).unwrap();
    time("key, logs not asked", || {
        let bundle = Bundle::parse(&bytes).unwrap();
        let verifier = Verifier::new(None, now());
        verifier.verify_key(&bundle, &Artifact::Bytes(&artifact), &key).unwrap();
    });
}

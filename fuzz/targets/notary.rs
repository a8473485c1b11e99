//! Envelopes and trust policies of the Notary Project: without a trusted root nothing counts.
//!
//! The first byte chooses: a JWS envelope, a COSE envelope, or a policy.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Digest;
use palisade_trust::notary::{
    Chain, Envelope, EnvelopeKind, NotaryPolicy, NotaryVerifier, Target, TrustStore,
};

const POLICY: &str = r#"{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],
    "signatureVerification":{"level":"strict"},"trustStores":["ca:shop"],"trustedIdentities":["*"]}]}"#;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let target = Target { media_type: "x", digest: Digest::of(b"image"), size: 5 };
    let kind = match choice % 3 {
        0 => EnvelopeKind::Jws,
        1 => EnvelopeKind::Cose,
        _ => {
            if let Ok(policy) = NotaryPolicy::parse(rest) {
                let _ = policy.statement("registry.example/shop");
            }
            if let Ok(text) = std::str::from_utf8(rest) {
                let _ = Chain::from_pem(text);
            }
            return;
        }
    };
    let Ok(envelope) = Envelope::parse(kind, rest) else { return };
    let policy = NotaryPolicy::parse(POLICY.as_bytes()).expect("a policy");
    let store = TrustStore::default();
    let verifier = NotaryVerifier::new(&policy, &store, 1_800_000_000);
    assert!(verifier.verify(&envelope, "registry.example/shop", target).is_err());
});

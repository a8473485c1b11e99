//! What a policy asks of attestations: the first line is a condition or questions, the rest a
//! predicate. An empty predicate fulfils nothing that is asked.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use palisade_base::Timestamp;
use palisade_policy::condition::Condition;
use palisade_policy::trust::{FoundAttestation, FoundSigner, decide};

const TYPES: [&str; 5] = [
    "https://slsa.dev/provenance/v1",
    "https://cosign.sigstore.dev/attestation/vuln/v1",
    "https://cyclonedx.org/bom",
    "https://spdx.dev/Document",
    "https://openvex.dev/ns",
];

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (asked, rest) = text.split_once('\n').unwrap_or((text, ""));
    let predicate: serde_json::Value = serde_json::from_str(rest).unwrap_or_default();
    if let Ok(condition) = Condition::parse(asked) {
        let _ = condition.lacks(&predicate);
        assert!(condition.lacks(&serde_json::json!({})).is_some());
    }
    let policy = format!(
        "version: 1\nname: p\nimages:\n  keys: [a]\n  attestations:\n    - {{predicate: \"*\", {asked}}}\n"
    );
    let Ok(parsed) = palisade_policy::parse(&policy, "p", std::path::Path::new("")) else { return };
    let signer = FoundSigner { keys: vec![PathBuf::from("a")], ..FoundSigner::default() };
    for kind in TYPES {
        let said = FoundAttestation {
            predicate_type: kind.into(),
            signer: signer.clone(),
            predicate: predicate.clone(),
        };
        let now = Timestamp::from_nanos(1_800_000_000_000_000_000);
        let images = &parsed.policy.images;
        let _ = decide(images, "x", std::slice::from_ref(&signer), &[said], now);
    }
});

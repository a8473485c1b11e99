//! Measures verification of PK tokens and of the Notary Project's envelopes, CPU for each.
//! usage: measure_trust PK-TOKENS.json, from the conformance material.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::time::Instant;

use palisade_base::Digest;
use palisade_trust::notary::{
    Envelope, EnvelopeKind, NotaryPolicy, NotaryVerifier, Target, TrustStore,
};
use palisade_trust::openpubkey::{PkToken, Providers};
use serde_json::{Value, json};

fn measure(name: &str, n: u32, what: impl Fn()) {
    what();
    let start = Instant::now();
    (0..n).for_each(|_| what());
    println!("{name}: {:.3} ms", start.elapsed().as_secs_f64() * 1000.0 / f64::from(n));
}

fn main() {
    let file = std::env::args().nth(1).expect("pk-tokens.json");
    let vectors: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for vector in &vectors {
        let name = vector["name"].as_str().unwrap();
        let keys: Vec<Value> = vector["op_keys_n_b64url"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(id, n)| json!({"kty": "RSA", "kid": id, "n": n, "e": "AQAB"}))
            .collect();
        let mut provider = json!({"issuer": "https://accounts.example.com", "expiry": "never",
            "jwks": {"keys": keys}});
        if name == "aud-gq" {
            provider["commitment"] = "audience".into();
        } else {
            provider["clientIds"] = json!(["test_client_id"]);
        }
        let text = json!({"providers": [provider]}).to_string();
        let providers = Providers::parse(text.as_bytes(), None).unwrap();
        let compact = vector["compact"].as_str().unwrap();
        measure(&format!("PK token `{name}`"), 200, || {
            providers.verify(&PkToken::parse(compact).unwrap(), 2_000_000_000).unwrap();
        });
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/notary");
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (kind, name) in [("ca", "root.pem"), ("tsa", "tsaroot.pem")] {
        let store = folder.path().join("truststore/x509").join(kind).join("shop");
        std::fs::create_dir_all(&store).unwrap();
        std::fs::write(store.join(name), read(name)).unwrap();
    }
    let policy = json!({"version": "1.0", "trustPolicies": [{"name": "a", "registryScopes": ["*"],
        "signatureVerification": {"level": "strict", "override": {"revocation": "skip"}},
        "trustStores": ["ca:shop", "tsa:shop"], "trustedIdentities": ["*"]}]});
    let policy = NotaryPolicy::parse(policy.to_string().as_bytes()).unwrap();
    let store = TrustStore::read(folder.path(), &policy).unwrap();
    let image = read("image.json");
    let target = Target {
        media_type: "application/vnd.oci.image.manifest.v1+json",
        digest: Digest::of(&image),
        size: image.len() as u64,
    };
    for (kind, name) in [(EnvelopeKind::Jws, "stamped.jws"), (EnvelopeKind::Cose, "stamped.cose")] {
        let bytes = read(name);
        let now = Envelope::parse(kind, &bytes).unwrap().claimed_time().unwrap() + 60;
        let verifier = NotaryVerifier::new(&policy, &store, now);
        measure(&format!("Notary Project, `{name}`"), 500, || {
            let envelope = Envelope::parse(kind, &bytes).unwrap();
            verifier.verify(&envelope, "a.example/b", target).unwrap();
        });
    }
}

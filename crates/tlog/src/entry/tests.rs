//! Submissions that hold, and those that do not.

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::EncodePublicKey as _;
use serde_json::{Value, json};

use super::*;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn p256_key(seed: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap()
}

fn verifier(seed: u8) -> Value {
    let spki = p256_key(seed).verifying_key().to_public_key_der().unwrap();
    json!({"publicKey": {"rawBytes": b64(spki)}, "keyDetails": "PKIX_ECDSA_P256_SHA_256"})
}

fn signature(seed: u8, digest: &[u8]) -> String {
    let signature: p256::ecdsa::Signature = p256_key(seed).sign_prehash(digest).unwrap();
    b64(signature.to_der())
}

fn hashed_rekord() -> Value {
    let digest = Sha256::digest(b"artifact");
    json!({"hashedRekordRequestV002": {
        "digest": b64(digest),
        "signature": {"content": signature(1, &digest), "verifier": verifier(1)},
    }})
}

fn envelope() -> Value {
    let digest = Sha256::digest(pre_authentication_encoding("text/plain", b"payload"));
    json!({"dsseRequestV002": {
        "envelope": {
            "payload": b64("payload"),
            "payloadType": "text/plain",
            "signatures": [{"sig": signature(1, &digest), "keyid": ""}, {"sig": signature(2, &digest)}],
        },
        "verifiers": [verifier(1), verifier(2)],
    }})
}

fn submit(request: &Value) -> Result<Accepted, EntryError> {
    accept(&serde_json::to_vec(request).unwrap())
}

#[test]
fn a_hashedrekord_becomes_canonical_json() {
    let request = hashed_rekord();
    let accepted = submit(&request).unwrap();
    let given = &request["hashedRekordRequestV002"];
    let expected = format!(
        "{{\"apiVersion\":\"0.0.2\",\"kind\":\"hashedrekord\",\"spec\":{{\"hashedRekordV002\":{{\
         \"data\":{{\"algorithm\":\"SHA2_256\",\"digest\":{}}},\
         \"signature\":{{\"content\":{},\"verifier\":{{\"keyDetails\":\"PKIX_ECDSA_P256_SHA_256\",\
         \"publicKey\":{{\"rawBytes\":{}}}}}}}}}}}}}",
        given["digest"],
        given["signature"]["content"],
        given["signature"]["verifier"]["publicKey"]["rawBytes"],
    );
    assert_eq!(String::from_utf8(accepted.body.clone()).unwrap(), expected);
    let entry = Entry::parse(&accepted.body).unwrap();
    assert_eq!(entry.digest, hex(&Sha256::digest(b"artifact")));
    let spki = p256_key(1).verifying_key().to_public_key_der().unwrap();
    assert_eq!(entry.signers[0].key_sha256, hex(&Sha256::digest(spki)));
}

#[test]
fn an_envelope_leaves_its_payload_outside() {
    let accepted = submit(&envelope()).unwrap();
    assert_eq!(accepted.kind, "dsse");
    let entry = Entry::parse(&accepted.body).unwrap();
    assert_eq!(entry.digest, hex(&Sha256::digest(b"payload")));
    assert_eq!(entry.signers.len(), 2);
}

#[test]
fn ed25519_signs_digests_prehashed_and_messages_as_they_are() {
    use ed25519_dalek::Signer as _;
    let key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let spki = [&crate::key::SPKI_PREFIX[..], key.verifying_key().as_bytes()].concat();
    let mut hasher = Sha512::new();
    sha2::Digest::update(&mut hasher, b"artifact");
    let digest = hasher.clone().finalize();
    let signed = key.sign_prehashed(hasher, None).unwrap();
    let request = |details: &str, signature: &[u8]| {
        json!({"hashedRekordRequestV002": {
            "digest": b64(digest),
            "signature": {"content": b64(signature), "verifier": {
                "publicKey": {"rawBytes": b64(&spki)}, "keyDetails": details}},
        }})
    };
    assert!(submit(&request("PKIX_ED25519_PH", &signed.to_bytes())).is_ok());
    let plain = key.sign(&digest);
    assert!(matches!(
        submit(&request("PKIX_ED25519_PH", &plain.to_bytes())),
        Err(EntryError::BadSignature)
    ));
    assert!(matches!(
        submit(&request("PKIX_ED25519", &plain.to_bytes())),
        Err(EntryError::UnsupportedAlgorithm(_))
    ));
}

use sha2::Sha512;

#[test]
fn what_does_not_hold_does_not_get_in() {
    let check = |pointer: &str, value: Value, expected: &str| {
        let mut request = if pointer.starts_with("/dsse") { envelope() } else { hashed_rekord() };
        *request.pointer_mut(pointer).unwrap() = value;
        let error = submit(&request).unwrap_err();
        assert!(format!("{error:?}").starts_with(expected), "{pointer}: {error:?}");
    };
    let hr = "/hashedRekordRequestV002";
    let at = |rest: &str| format!("{hr}{rest}");
    check(&at("/digest"), json!(b64(Sha256::digest(b"other"))), "BadSignature");
    check(&at("/digest"), json!(b64("short")), "WrongDigest");
    check(&at("/digest"), json!("%"), "NotBase64");
    check(&at("/digest"), json!(""), "Missing");
    check(&at("/digest"), json!(7), "Json");
    check(&at("/signature/content"), json!(b64("x")), "BadSignature");
    check(&at("/signature/verifier"), verifier(2), "BadSignature");
    check(&at("/signature/verifier/keyDetails"), json!("PKIX_RSA_PSS_2048_SHA256"), "Unsupported");
    check(
        &at("/signature/verifier/keyDetails"),
        json!("PKIX_RSA_PKCS1V15_2048_SHA256"),
        "WrongKey",
    );
    check(&at("/signature/verifier/keyDetails"), json!("PKIX_ED25519_PH"), "WrongDigest");
    check(&at("/signature/verifier/keyDetails"), json!("PKIX_ECDSA_P384_SHA_384"), "WrongDigest");
    check(&at("/signature/verifier/publicKey/rawBytes"), json!(b64("key")), "WrongKey");
    check(&at("/signature/verifier/publicKey"), json!(null), "NotOneVerifier");
    check("/dsseRequestV002/envelope/payloadType", json!("text/html"), "BadSignature");
    check("/dsseRequestV002/envelope/signatures", json!([]), "Missing");
    check("/dsseRequestV002/verifiers/1", verifier(3), "BadSignature");
    check(
        "/dsseRequestV002/verifiers",
        json!([verifier(1), verifier(2), verifier(3)]),
        "UnusedVerifier(2)",
    );
    let many = vec![verifier(1); ENVELOPE_SIGNATURES_MAX + 1];
    check("/dsseRequestV002/verifiers", json!(many), "Missing");
    let mut both = hashed_rekord();
    both["dsseRequestV002"] = envelope()["dsseRequestV002"].clone();
    assert!(matches!(submit(&both), Err(EntryError::NotOneKind)));
    assert!(matches!(accept(b"{}"), Err(EntryError::NotOneKind)));
    let twice = br#"{"hashedRekordRequestV002":null,"hashedRekordRequestV002":null}"#;
    assert!(matches!(accept(twice), Err(EntryError::Json(_))));
}

/// Signatures of `artifact` that openssl made: `openssl dgst -sign`, with keys of `genpkey`.
#[test]
fn signatures_of_other_algorithms_hold() {
    let vectors = include_bytes!("../../testdata/openssl-signatures.json");
    let vectors: Vec<Value> = serde_json::from_slice(vectors).unwrap();
    assert_eq!(vectors.len(), 5);
    let request = |vector: &Value| {
        json!({"hashedRekordRequestV002": {"digest": vector["digest"], "signature": {
            "content": vector["signature"],
            "verifier": {"publicKey": {"rawBytes": vector["spki"]}, "keyDetails": vector["keyDetails"]},
        }}})
    };
    for vector in &vectors {
        let name = vector["keyDetails"].as_str().unwrap();
        let accepted = submit(&request(vector)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Entry::parse(&accepted.body).unwrap().signers.len(), 1);
        let mut signature = BASE64_STANDARD.decode(vector["signature"].as_str().unwrap()).unwrap();
        let last = signature.len() - 1;
        signature[last] ^= 1;
        let mut bad = vector.clone();
        bad["signature"] = b64(&signature).into();
        assert!(submit(&request(&bad)).is_err(), "{name}");
        bad["signature"] = b64(&signature[1..]).into();
        assert!(submit(&request(&bad)).is_err(), "{name}");
        // A key of another size or kind than it is said to be.
        for other in vectors.iter().filter(|it| it["keyDetails"] != vector["keyDetails"]) {
            let mut bad = vector.clone();
            bad["spki"] = other["spki"].clone();
            assert!(submit(&request(&bad)).is_err(), "{name}");
            let mut bad = vector.clone();
            bad["keyDetails"] = other["keyDetails"].clone();
            assert!(submit(&request(&bad)).is_err(), "{name}");
        }
    }
}

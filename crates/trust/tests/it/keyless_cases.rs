//! Bundles of every version that the test makes itself, each changed in one way: what is
//! missing, of the wrong type, too old, too new, of another or mixed up is refused, and says so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Digest, Explain as _};
use palisade_trust::PrivateKey;
use palisade_trust::sigstore::{
    Artifact, Bundle, IdentityMatch, SigstoreError, TextMatch, TrustedRoot, Verifier,
};
use serde_json::{Value, json};

use crate::fixture::key;
use crate::keyless::{ISSUER, SUBJECT, TIME, World, Wrong, sign, spki};

const NOW: i64 = TIME + 86_400;
const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

fn image() -> Digest {
    Digest::of(b"image")
}

fn by(name: TextMatch) -> IdentityMatch {
    let claims = Vec::new();
    IdentityMatch { name, issuer: TextMatch::Exact(ISSUER.into()), claims }
}

fn verify_with(root: &Value, bundle: &Value, now: i64) -> Result<(), SigstoreError> {
    let root = TrustedRoot::parse(root.to_string().as_bytes()).unwrap();
    let bundle = Bundle::parse(bundle.to_string().as_bytes())?;
    let artifact = Artifact::Digest(image().as_bytes().to_vec());
    let wanted = by(TextMatch::Exact(SUBJECT.into()));
    Verifier::new(Some(&root), now).verify_identity(&bundle, &artifact, &wanted).map(|_| ())
}

fn verify(bundle: &Value) -> Result<(), SigstoreError> {
    verify_with(&World::new().root_json(), bundle, NOW)
}

#[track_caller]
fn refused(found: Result<(), SigstoreError>, why: &str) {
    let error = found.expect_err(why);
    let text = palisade_base::render_chain(&error, None);
    assert!(text.contains(why), "`{why}` is not in {text}");
    assert!(error.hint().is_some(), "{text}");
}

/// A checkpoint of a tree, as a log signs it.
fn checkpoint(origin: &str, size: u64, root: &[u8], by: &PrivateKey) -> String {
    let text = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root));
    let id = Digest::of(&spki(by));
    let hint = &id.as_bytes()[..4];
    let signature = STANDARD.encode([hint, &sign(by, text.as_bytes())].concat());
    // The key's name is the first word of the origin, as Rekor has it.
    let name = origin.split(' ').next().unwrap();
    format!("{text}\n\u{2014} {name} {signature}\n")
}

fn node(left: &[u8], right: &[u8]) -> Vec<u8> {
    Digest::of(&[&[1], left, right].concat()).as_bytes().to_vec()
}

/// The good bundle in a version, with a proof that its entry is the second of a tree of two.
fn bundle(minor: u8) -> Value {
    let world = World::new();
    let mut bundle = world.bundle(&image(), Wrong::Nothing);
    if minor > 1 {
        let entry = bundle.pointer_mut(ENTRY).unwrap();
        let body = STANDARD.decode(entry["canonicalizedBody"].as_str().unwrap()).unwrap();
        let leaf = Digest::of(&[&[0], &body[..]].concat()).as_bytes().to_vec();
        let other = Digest::of(b"\0other").as_bytes().to_vec();
        let root = node(&other, &leaf);
        entry["inclusionProof"] = json!({
            "logIndex": "1", "treeSize": "2", "rootHash": STANDARD.encode(&root),
            "hashes": [STANDARD.encode(&other)],
            "checkpoint": {"envelope": checkpoint("log.example", 2, &root, &world.log)},
        });
    }
    if minor > 2 {
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let chain = material.remove("x509CertificateChain").unwrap();
        material.insert("certificate".into(), chain["certificates"][0].clone());
    }
    let name = match minor {
        3 => "application/vnd.dev.sigstore.bundle.v0.3+json".to_string(),
        minor => format!("application/vnd.dev.sigstore.bundle+json;version=0.{minor}"),
    };
    bundle["mediaType"] = name.into();
    bundle
}

/// The bundle after `value` was put where `pointer` leads.
fn with(minor: u8, pointer: &str, value: Value) -> Value {
    let mut bundle = bundle(minor);
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = bundle.pointer_mut(parent).unwrap();
    match parent {
        Value::Object(map) => drop(map.insert(name.into(), value)),
        parent => parent[name.parse::<usize>().unwrap()] = value,
    }
    bundle
}

#[test]
fn every_version_is_verified() {
    for minor in 1..=3 {
        verify(&bundle(minor)).unwrap();
    }
    let old = with(3, "/mediaType", json!("application/vnd.dev.sigstore.bundle+json;version=0.3"));
    verify(&old).unwrap();
    for other in ["0.4", "1.0", "0.30", ""] {
        let name = format!("application/vnd.dev.sigstore.bundle+json;version={other}");
        refused(verify(&with(3, "/mediaType", json!(name))), "version");
    }
}

/// Where every value of a document stands, the containers among them.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (name, child) in children {
        let pointer = format!("{at}/{name}");
        pointers(child, &pointer, out);
        out.push(pointer);
    }
}

#[test]
fn nothing_of_a_bundle_may_be_missing_or_of_another_type() {
    for minor in 1..=3 {
        let good = bundle(minor);
        let mut all = Vec::new();
        pointers(&good, "", &mut all);
        assert!(all.len() > 20);
        for pointer in all {
            let was = good.pointer(&pointer).unwrap();
            let others =
                [json!(null), json!(7), json!(-1), json!("x"), json!(true), json!([]), json!({})];
            // What a proof says of the tree is only compared: the log's checkpoint says it.
            let is_hint = ["/treeSize", "/rootHash"].iter().any(|name| pointer.ends_with(name));
            for other in others.iter().filter(|other| *other != was) {
                if is_hint && other.is_null() {
                    continue;
                }
                let changed = with(minor, &pointer, other.clone());
                assert!(verify(&changed).is_err(), "0.{minor} {pointer}: {other}");
            }
            let mut changed = good.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            match changed.pointer_mut(parent).unwrap() {
                Value::Object(map) => drop(map.remove(name)),
                Value::Array(list) => drop(list.remove(name.parse().unwrap())),
                _ => unreachable!(),
            }
            assert!(is_hint || verify(&changed).is_err(), "0.{minor} {pointer} is missing");
            // What nobody knows, and what stands twice.
            if let Some(Value::Object(map)) = good.pointer(parent) {
                let mut more = map.clone();
                more.insert("unknown".into(), json!(1));
                let mut changed = good.clone();
                *changed.pointer_mut(parent).unwrap() = Value::Object(more);
                assert!(verify(&changed).is_err(), "0.{minor} {parent} has an unknown member");
                let text = good.to_string();
                let twice =
                    text.replacen(&format!("\"{name}\":"), &format!("\"{name}\":0,\"{name}\":"), 1);
                assert_ne!(twice, text);
                assert!(Bundle::parse(twice.as_bytes()).is_err(), "0.{minor} {name} twice");
            }
        }
        let text = good.to_string();
        for cut in (0..text.len()).step_by(97) {
            assert!(Bundle::parse(&text.as_bytes()[..cut]).is_err());
        }
    }
}

#[test]
fn proofs_and_promises_are_of_this_entry() {
    let world = World::new();
    let proof = |name: &str| format!("{ENTRY}/inclusionProof/{name}");
    let root = bundle(3).pointer(&proof("rootHash")).unwrap().as_str().unwrap().to_string();
    let root = STANDARD.decode(root).unwrap();
    let signed = |origin: &str, size: u64, root: &[u8], by: &PrivateKey| {
        with(3, &proof("checkpoint/envelope"), json!(checkpoint(origin, size, root, by)))
    };
    // An ECDSA key's name is not part of its id: another origin is the log's own affair.
    verify(&signed("log.example - 1", 2, &root, &world.log)).unwrap();
    refused(verify(&signed("log.example", 2, &root, &key(9))), "did not sign");
    refused(verify(&signed("log.example", 3, &root, &world.log)), "tree");
    refused(verify(&signed("log.example", 2, &[0; 32], &world.log)), "tree");
    refused(verify(&signed("log.example", 0, &root, &world.log)), "");
    let good = checkpoint("log.example", 2, &root, &world.log);
    let envelope = |text: String| with(3, &proof("checkpoint/envelope"), json!(text));
    // Others may sign beside the log.
    let bytes = STANDARD.encode([&[9, 9, 9, 9][..], &[7; 64]].concat());
    verify(&envelope(format!("{good}\u{2014} witness.example {bytes}\n"))).unwrap();
    refused(verify(&envelope(good.replace("\n\n", "\n"))), "has n");
    refused(verify(&envelope(good.replacen("log.example\n", "log.example\nx\n", 1))), "");
    refused(verify(&envelope(good.replacen("\n2\n", "\n02\n", 1))), "");
    refused(verify(&envelope(String::new())), "");
    refused(verify(&with(3, &proof("logIndex"), json!("0"))), "");
    refused(verify(&with(3, &proof("logIndex"), json!("2"))), "");
    refused(verify(&with(3, &proof("treeSize"), json!("18446744073709551615"))), "");
    refused(verify(&with(3, &proof("hashes"), json!([]))), "");
    let many = vec![STANDARD.encode([0; 32]); 66];
    refused(verify(&with(3, &proof("hashes"), json!(many))), "more than 65");
    // The second version and later need a proof, the first a promise.
    let entry = bundle(3).pointer(ENTRY).unwrap().clone();
    let mut without = entry.clone();
    without.as_object_mut().unwrap().remove("inclusionPromise");
    refused(verify(&with(3, ENTRY, without.clone())), "");
    refused(verify(&with(1, ENTRY, without)), "signed entry timestamp is missing");
    // A log that the root does not have, and an entry of it that stands twice.
    let id = STANDARD.encode([1; 32]);
    refused(verify(&with(3, &format!("{ENTRY}/logId/keyId"), json!(id))), "log");
    let twice = json!([entry, entry]);
    refused(verify(&with(3, "/verificationMaterial/tlogEntries", twice)), "twice");
    let many: Vec<Value> = (0..33)
        .map(|i| {
            let mut one = entry.clone();
            one["logIndex"] = json!(i.to_string());
            one
        })
        .collect();
    refused(verify(&with(3, "/verificationMaterial/tlogEntries", json!(many))), "more than 32");
    refused(verify(&with(3, "/verificationMaterial/tlogEntries", json!([]))), "");
}

#[test]
fn what_belongs_to_another_bundle_is_refused() {
    let world = World::new();
    let other = world.bundle(&Digest::of(b"other"), Wrong::Nothing);
    for part in ["/dsseEnvelope", "/dsseEnvelope/payload", "/dsseEnvelope/signatures", ENTRY] {
        let moved = with(1, part, other.pointer(part).unwrap().clone());
        assert!(verify(&moved).is_err(), "{part}");
    }
    refused(verify(&other), "not about this artifact");
    let stranger = World { signer: key(8), ..World::new() };
    let chain = "/verificationMaterial/x509CertificateChain";
    let theirs = stranger.bundle(&image(), Wrong::Nothing);
    let moved = with(1, chain, theirs.pointer(chain).unwrap().clone());
    refused(verify(&moved), "signature");
    let both = bundle(1).pointer("/dsseEnvelope/signatures/0").unwrap().clone();
    let two = json!([both, both]);
    refused(verify(&with(1, "/dsseEnvelope/signatures", two)), "exactly one signature");
    refused(verify(&with(1, "/dsseEnvelope/signatures", json!([]))), "exactly one signature");
    let message = json!({"signature": "AA==", "messageDigest": {"algorithm": "SHA2_256",
        "digest": STANDARD.encode([0; 32])}});
    refused(verify(&with(1, "/messageSignature", message)), "one signature or one envelope");
    let leaf = bundle(1).pointer(&format!("{chain}/certificates/0")).unwrap().clone();
    let chained = with(3, chain, json!({"certificates": [leaf]}));
    refused(verify(&chained), "one key or one certificate");
    let ca = World::new().root_json();
    let ca = ca.pointer("/certificateAuthorities/0/certChain/certificates/0").unwrap().clone();
    let with_root = json!({"certificates": [leaf, ca]});
    refused(verify(&with(1, chain, with_root)), "issued itself");
    refused(verify(&with(1, chain, json!({"certificates": vec![leaf; 9]}))), "more than 8");
}

#[test]
fn each_thing_that_a_signer_lacks_is_named() {
    let world = World::new();
    let check = |wrong: Wrong, why: &str| refused(verify(&world.bundle(&image(), wrong)), why);
    check(Wrong::OtherCa, "authority");
    check(Wrong::NoSct, "missing");
    check(Wrong::OtherCt, "false");
    check(Wrong::OtherLog, "false");
    check(Wrong::TooLate, "2023-11-14T23:13:20");
    check(Wrong::NoCodeSigning, "code");
    refused(verify_with(&world.root_json(), &bundle(1), TIME - 301), "future");
    verify_with(&world.root_json(), &bundle(1), TIME - 299).unwrap();
    // Long after its certificate has expired, a signature is as good as it was.
    verify_with(&world.root_json(), &bundle(1), TIME + 1_000_000_000).unwrap();
}

#[test]
fn of_several_logs_and_authorities_the_right_one_counts() {
    let world = World::new();
    let stranger = World { ca: key(11), ct: key(12), log: key(13), ..World::new() };
    let (good, other) = (world.root_json(), stranger.root_json());
    let parts = ["tlogs", "ctlogs", "certificateAuthorities"];
    let merged = |first: &Value, second: &Value| {
        let mut root = good.clone();
        for part in parts {
            let both =
                [first[part].as_array().unwrap().clone(), second[part].as_array().unwrap().clone()];
            root[part] = json!(both.concat());
        }
        root
    };
    // Authorities of the same name, and logs of the same address, are told apart by their keys.
    verify_with(&merged(&good, &other), &bundle(3), NOW).unwrap();
    verify_with(&merged(&other, &good), &bundle(3), NOW).unwrap();
    assert!(verify_with(&other, &bundle(3), NOW).is_err());
    for part in parts {
        let mut root = good.clone();
        root[part] = other[part].clone();
        assert!(verify_with(&root, &bundle(3), NOW).is_err(), "{part}");
        root[part] = json!([]);
        assert!(verify_with(&root, &bundle(3), NOW).is_err(), "no {part}");
        // Trusted before and after, but not when it was signed.
        let period = |period: Value| {
            let mut root = good.clone();
            match part {
                "certificateAuthorities" => root[part][0]["validFor"] = period,
                part => root[part][0]["publicKey"]["validFor"] = period,
            }
            verify_with(&root, &bundle(3), NOW)
        };
        period(json!({"start": "2023-11-14T22:13:20Z", "end": "2023-11-14T22:13:20Z"})).unwrap();
        assert!(period(json!({"start": "2023-11-14T22:13:21Z"})).is_err(), "{part} starts later");
        let ended = json!({"start": "2020-01-01T00:00:00Z", "end": "2023-11-14T22:13:19Z"});
        assert!(period(ended).is_err(), "{part} ended before");
    }
}

#[test]
fn identities_of_pipelines_are_matched_whole() {
    let check = |subject: &str, name: TextMatch, expected: bool| {
        let world = World { subject: subject.into(), ..World::new() };
        let root = TrustedRoot::parse(world.root_json().to_string().as_bytes()).unwrap();
        let bundle = world.bundle(&image(), Wrong::Nothing);
        let bundle = Bundle::parse(bundle.to_string().as_bytes()).unwrap();
        let artifact = Artifact::Digest(image().as_bytes().to_vec());
        let shown = name.to_string();
        let found = Verifier::new(Some(&root), NOW).verify_identity(&bundle, &artifact, &by(name));
        assert_eq!(found.is_ok(), expected, "{subject} {shown}: {found:?}");
    };
    let pattern = |text: &str| TextMatch::Pattern(text.into());
    let regex = |text: &str| TextMatch::regex(text).unwrap();
    let github = "https://github.com/shop/app/.github/workflows/release.yml@refs/tags/v1.2.3";
    check(github, TextMatch::Exact(github.into()), true);
    check(github, TextMatch::Exact(github.to_uppercase()), false);
    check(github, pattern("https://github.com/shop/*@refs/tags/*"), true);
    check(github, pattern("https://github.com/shop/*@refs/heads/*"), false);
    check(github, pattern("https://github.com/sho/*"), false);
    check(github, regex(r"https://github\.com/shop/app/.*@refs/tags/v\d+\.\d+\.\d+"), true);
    check(github, regex(r"https://github\.com/shop/app"), false);
    check(github, regex(r"github\.com/shop/app/.*"), false);
    let gitlab = "https://gitlab.com/shop/app//.gitlab-ci.yml@refs/heads/main";
    check(gitlab, pattern("https://gitlab.com/shop/app//*@refs/heads/main"), true);
    check(gitlab, pattern("https://gitlab.com/shop/app/*@refs/tags/*"), false);
    check(gitlab, regex(r"https://gitlab\.com/shop/(app|web)//.*@refs/heads/main"), true);
    check(
        "https://evil.example/?https://github.com/shop/",
        pattern("https://github.com/shop/*"),
        false,
    );
}

/// A managed key over a file, with the digests and the forms of Ed25519 that there are.
#[test]
fn files_are_signed_with_ed25519_in_both_forms() {
    use ed25519_dalek::{Digest as _, Signer as _};
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let spki = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..],
        secret.verifying_key().as_bytes(),
    ]
    .concat();
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(spki)
    );
    let keys = [palisade_trust::VerificationKey::from_pem(&pem).unwrap()];
    let file = b"a file";
    let sha512 = ed25519_dalek::Sha512::digest(file);
    let prehashed = ed25519_dalek::Sha512::new_with_prefix(file);
    let ph = secret.sign_prehashed(prehashed, None).unwrap().to_bytes();
    let pure = secret.sign(file).to_bytes();
    let bundle = |signature: &[u8], algorithm: &str, digest: &[u8]| {
        let bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "messageSignature": {
                "messageDigest": {"algorithm": algorithm, "digest": STANDARD.encode(digest)},
                "signature": STANDARD.encode(signature),
            },
        });
        Bundle::parse(bundle.to_string().as_bytes())
    };
    let check = |signature: &[u8], algorithm: &str, digest: &[u8], file: &[u8], expected: bool| {
        let found = bundle(signature, algorithm, digest).and_then(|bundle| {
            Verifier::new(None, NOW).verify_key(&bundle, &Artifact::Bytes(file), &keys)
        });
        assert_eq!(found.is_ok(), expected, "{algorithm}: {found:?}");
    };
    let sha256 = Digest::of(file);
    let sha256 = &sha256.as_bytes()[..];
    check(&pure, "SHA2_256", sha256, file, true);
    check(&pure, "SHA2_512", &sha512, file, true);
    check(&ph, "SHA2_512", &sha512, file, true);
    // The two forms are told apart, and so are files.
    check(&ph, "SHA2_256", sha256, file, false);
    check(&ph, "SHA2_512", &sha512, b"another", false);
    let other = ed25519_dalek::Sha512::digest(b"another");
    check(&ph, "SHA2_512", &other, b"another", false);
    check(&ph[1..], "SHA2_512", &sha512, file, false);
    check(&[0; 64], "SHA2_512", &sha512, file, false);
    check(&ph, "SHA2_512", &sha512[1..], file, false);
    check(&ph, "SHA3_512", &sha512, file, false);
    // The form that hashes first is verified by that digest; the other wants the file, and that
    // is said.
    for (signature, digest, expected) in
        [(&ph, &sha512[..], true), (&ph, sha256, false), (&pure, &sha512[..], false)]
    {
        let bundle = bundle(signature, "SHA2_512", &sha512).unwrap();
        let digest = Artifact::Digest(digest.to_vec());
        let found = Verifier::new(None, NOW).verify_key(&bundle, &digest, &keys);
        assert_eq!(found.is_ok(), expected, "{found:?}");
        assert!(expected || matches!(found, Err(SigstoreError::NeedsArtifact)));
    }
}

#[test]
fn nothing_of_a_trusted_root_may_be_of_another_type() {
    let good = World::new().root_json();
    let bundle = Bundle::parse(bundle(3).to_string().as_bytes()).unwrap();
    let artifact = Artifact::Digest(image().as_bytes().to_vec());
    let wanted = by(TextMatch::Exact(SUBJECT.into()));
    let trusts = |root: &Value| {
        let root = TrustedRoot::parse(root.to_string().as_bytes());
        root.is_ok_and(|root| {
            Verifier::new(Some(&root), NOW).verify_identity(&bundle, &artifact, &wanted).is_ok()
        })
    };
    assert!(trusts(&good));
    let mut all = Vec::new();
    pointers(&good, "", &mut all);
    for pointer in all {
        // The address names the log in Ed25519 checkpoints alone; without an id it is computed.
        let is_free = pointer.ends_with("/baseUrl");
        let is_optional = is_free || pointer.ends_with("/logId");
        for other in
            [json!(null), json!(7), json!("x"), json!(true), json!([]), json!({}), json!([7])]
        {
            if is_free && other.is_string() || is_optional && other.is_null() {
                continue;
            }
            let mut changed = good.clone();
            *changed.pointer_mut(&pointer).unwrap() = other.clone();
            assert!(!trusts(&changed), "{pointer}: {other}");
        }
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut changed = good.clone();
        match changed.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.remove(name)),
            Value::Array(list) => drop(list.remove(name.parse().unwrap())),
            _ => unreachable!(),
        }
        assert!(is_optional || !trusts(&changed), "{pointer} is missing");
    }
    let text = good.to_string();
    for part in ["mediaType", "tlogs", "rawBytes", "keyDetails", "certChain"] {
        let twice = text.replacen(&format!("\"{part}\":"), &format!("\"{part}\":0,\"{part}\":"), 1);
        assert_ne!(twice, text);
        assert!(TrustedRoot::parse(twice.as_bytes()).is_err(), "{part} twice");
    }
    for cut in (0..text.len()).step_by(61) {
        assert!(TrustedRoot::parse(&text.as_bytes()[..cut]).is_err());
    }
    let mut many = good.clone();
    many["tlogs"] = json!(vec![good["tlogs"][0].clone(); 4096]);
    assert!(TrustedRoot::parse(many.to_string().as_bytes()).is_err());
}

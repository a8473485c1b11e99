//! The fixtures of containers/image: its policy, and its images with signatures of GPG and
//! of cosign.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Digest, Timestamp};
use palisade_trust::containers::{ContainersPolicy, Image, Reference, StoredSignature};
use palisade_trust::openpgp::{Keyring, OpenPgpError};
use serde_json::{Value, json};

use crate::conformance::material;

fn now() -> u64 {
    Timestamp::now().as_nanos() / 1_000_000_000
}

/// The file at `path`; the fixtures' links are kept as text.
fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    match std::str::from_utf8(&bytes) {
        Ok(link) if link.starts_with("../") => read(&path.parent()?.join(link)),
        _ => Some(bytes),
    }
}

fn image(folder: &Path, name: &str, reference: &str) -> Image {
    let folder = folder.join(name);
    let digest = read(&folder.join("manifest.json")).map(|it| Digest::of(&it));
    let mut image = Image::docker(Reference::parse(reference).unwrap(), digest);
    image.signatures = (1..)
        .map_while(|i| read(&folder.join(format!("signature-{i}"))))
        .map(|it| StoredSignature::from_file(&it))
        .collect();
    image
}

fn policy(requirement: &Value) -> ContainersPolicy {
    ContainersPolicy::parse(json!({"default": [requirement]}).to_string().as_bytes()).unwrap()
}

fn signed_by(folder: &Path, key: &str, identity: &Value) -> ContainersPolicy {
    policy(&json!({
        "type": "signedBy", "keyType": "GPGKeys", "keyPath": folder.join(key),
        "signedIdentity": identity,
    }))
}

fn repository() -> Value {
    json!({"type": "matchRepository"})
}

#[test]
fn the_published_policy_is_read_and_scopes_are_found() {
    let Some(folder) = material("containers-image") else { return };
    let policy = ContainersPolicy::read(&folder.join("policy.json")).unwrap();
    let check = |reference: &str, scope: &str, kind: &str| {
        let reference = Reference::parse(reference).unwrap();
        let (found, list) = policy.requirements("docker", &reference.scopes());
        let expected = if scope.is_empty() {
            "default".to_string()
        } else {
            format!("transports.docker.\"{scope}\"")
        };
        assert_eq!((found, list[0].kind()), (expected, kind), "{reference}");
    };
    check("example.com/playground/a:1", "example.com/playground", "insecureAcceptAnything");
    check("example.com/production:1", "example.com/production", "signedBy");
    check("example.com/other:1", "*.com", "signedBy");
    check("registry.access.redhat.com/x:1", "registry.access.redhat.com", "signedBy");
    check("a.access.redhat.com/x:1", "*.access.redhat.com", "signedBy");
    check("a.redhat.com/x:1", "*.redhat.com", "signedBy");
    check("private-mirror:5000/vendor-mirror/p:1", "private-mirror:5000/vendor-mirror", "signedBy");
    check("other.example/x:1", "", "reject");
    let (scope, list) = policy.requirements("dir", &["/tmp/x".to_string()]);
    assert_eq!((scope.as_str(), list[0].kind()), ("transports.dir.\"\"", "insecureAcceptAnything"));
}

#[test]
fn images_signed_with_gpg() {
    let Some(folder) = material("containers-image") else { return };
    let check = |name: &str, reference: &str, key: &str, identity: &Value, expected: bool| {
        let image = image(&folder, name, reference);
        let found = signed_by(&folder, key, identity).evaluate(&image, now() as i64);
        assert_eq!(found.is_ok(), expected, "{name} {reference} {key}: {found:?}");
    };
    let usual = || json!({"type": "matchRepoDigestOrExact"});
    let latest = "testing/manifest:latest";
    check("dir-img-valid", latest, "public-key.gpg", &usual(), true);
    check("dir-img-valid-2", latest, "public-key.gpg", &usual(), true);
    check("dir-img-mixed", latest, "public-key.gpg", &usual(), true);
    check("dir-img-valid", "testing/manifest:other", "public-key.gpg", &usual(), false);
    check("dir-img-valid", "testing/manifest:other", "public-key.gpg", &repository(), true);
    check("dir-img-valid", latest, "public-key-2.gpg", &usual(), false);
    check("dir-img-valid", latest, "public-key-1.gpg", &usual(), true);
    check("dir-img-valid-subkey", latest, "public-key-with-subkey.gpg", &repository(), true);
    check("dir-img-valid-subkey", latest, "public-key.gpg", &repository(), false);
    check("dir-img-unsigned", latest, "public-key.gpg", &usual(), false);
    check("dir-img-no-manifest", latest, "public-key.gpg", &usual(), false);
    check("dir-img-modified-manifest", latest, "public-key.gpg", &usual(), false);
    check("dir-img-manifest-digest-error", latest, "public-key.gpg", &usual(), false);
    check("dir-img-cosign-valid", latest, "public-key.gpg", &usual(), false);
    check("dir-img-valid", latest, "cosign.pub", &usual(), false);
    check("dir-img-valid", latest, "missing", &usual(), false);
}

#[test]
fn images_signed_with_cosign() {
    let Some(folder) = material("containers-image") else { return };
    let check = |name: &str, reference: &str, requirement: &Value, expected: bool| {
        let image = image(&folder, name, reference);
        let mut requirement = requirement.clone();
        requirement["type"] = json!("sigstoreSigned");
        requirement["signedIdentity"] = repository();
        let found = policy(&requirement).evaluate(&image, now() as i64);
        assert_eq!(found.is_ok(), expected, "{name} {requirement}: {found:?}");
    };
    let path = |name: &str| folder.join(name);
    let host = |name: &str| format!("192.168.64.2:5000/{name}");
    let key = json!({"keyPath": path("cosign.pub")});
    let second = json!({"keyPath": path("cosign2.pub")});
    let either = json!({"keyPaths": [path("cosign2.pub"), path("cosign.pub")]});
    let sample = "cosign-signed-single-sample";
    for (name, reference) in [
        ("valid", sample),
        ("valid-2", sample),
        ("valid-with-tag", "skopeo-signed"),
        ("mixed", sample),
    ] {
        let name = format!("dir-img-cosign-{name}");
        let reference = host(reference);
        check(&name, &reference, &key, true);
        check(&name, &reference, &either, true);
        check(&name, &reference, &second, false);
        check(&name, &host("other"), &key, false);
    }
    for name in ["manifest-digest-error", "modified-manifest", "no-manifest", "other-attachment"] {
        check(&format!("dir-img-cosign-{name}"), &host(sample), &key, false);
    }
    // The fixture of the log's key is a link to elsewhere; it is the public instance's key.
    let root = folder.join("../sigstore-bundles/public-good-trusted_root.json");
    let root: Value = serde_json::from_slice(&std::fs::read(root).unwrap()).unwrap();
    let der = root["tlogs"][0]["publicKey"]["rawBytes"].as_str().unwrap();
    let rekor =
        STANDARD.encode(format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"));
    let logged = |trust: Value| {
        let mut it = trust;
        it["rekorPublicKeyData"] = json!(rekor);
        it
    };
    let name = "dir-img-cosign-key-rekor-valid";
    check(name, &host("cosign-signed/key-1"), &second, true);
    check(name, &host("cosign-signed/key-1"), &logged(second.clone()), true);
    check(name, &host("cosign-signed/key-1"), &logged(key.clone()), false);
    check("dir-img-cosign-valid", &host(sample), &logged(key.clone()), false);

    let fulcio = |email: &str, issuer: &str, ca: &str| {
        let fulcio = json!({"caPath": path(ca), "oidcIssuer": issuer, "subjectEmail": email});
        logged(json!({"fulcio": fulcio}))
    };
    let name = "dir-img-cosign-fulcio-rekor-valid";
    let (email, issuer) = ("mitr@redhat.com", "https://github.com/login/oauth");
    let reference = host("cosign-signed/fulcio-rekor-1");
    check(name, &reference, &fulcio(email, issuer, "fulcio_v1.crt.pem"), true);
    check(name, &reference, &fulcio("x@redhat.com", issuer, "fulcio_v1.crt.pem"), false);
    check(name, &reference, &fulcio(email, "https://x", "fulcio_v1.crt.pem"), false);
    check(name, &reference, &fulcio(email, issuer, "pki_root_crts.pem"), false);
    check(name, &reference, &key, false);

    let pki = |email: &str, name: &str, roots: &str| {
        json!({"pki": {
            "caRootsPath": path(roots), "caIntermediatesPath": path("pki_intermediate_crts.pem"),
            "subjectEmail": email, "subjectHostname": name,
        }})
    };
    let (email, host_name) = ("qiwan@redhat.com", "myhost.example.com");
    let (name, reference) = ("dir-img-cosign-pki-valid", "localhost:5000/test");
    check(name, reference, &pki(email, host_name, "pki_root_crts.pem"), true);
    check(name, reference, &pki("x@redhat.com", host_name, "pki_root_crts.pem"), false);
    check(name, reference, &pki(email, "other.example.com", "pki_root_crts.pem"), false);
    check(name, reference, &pki(email, host_name, "fulcio_v1.crt.pem"), false);
    check(name, reference, &key, false);
}

#[test]
fn messages_of_openpgp() {
    let Some(folder) = material("containers-image") else { return };
    let check = |key: &str, name: &str, expected: Option<OpenPgpError>| {
        let ring = Keyring::parse(&std::fs::read(folder.join(key)).unwrap()).unwrap();
        let found = ring.verify(&std::fs::read(folder.join(name)).unwrap(), now());
        assert_eq!(found.err(), expected, "{key} {name}");
    };
    let key = "public-key.gpg";
    check(key, "image.signature", None);
    check(key, "no-optional-fields.signature", None);
    check(key, "invalid-blob.signature", None);
    check(key, "invalid-blob.signature-v3", None);
    check(key, "invalid-reference.signature", None);
    check(key, "unknown-key.signature", Some(OpenPgpError::UnknownKey));
    check(key, "unknown-key.signature-v3", Some(OpenPgpError::UnknownKey));
    check(key, "expired.signature", Some(OpenPgpError::Expired("the signature")));
    check(key, "unsigned-literal.signature", Some(OpenPgpError::NotSigned));
    check("public-key-with-subkey.gpg", "subkey.signature", None);
    check("public-key-with-subkey.gpg", "subkey.signature-v3", None);
    let revoked = "public-key-with-revoked-subkey.gpg";
    check(revoked, "subkey-revoked.signature", Some(OpenPgpError::Revoked));
    check(revoked, "subkey-revoked.signature-v3", Some(OpenPgpError::Revoked));
    let ring = Keyring::parse(&std::fs::read(folder.join(key)).unwrap()).unwrap();
    for name in [
        "corrupt.signature",
        "corrupt.signature-v3",
        "invalid-cleartext.signature",
        "unsigned-encrypted.signature",
    ] {
        let found = ring.verify(&std::fs::read(folder.join(name)).unwrap(), now());
        assert!(found.is_err(), "{name}");
    }
    // No byte of a signed message can be changed, but for those that say nothing.
    let good = std::fs::read(folder.join("image.signature")).unwrap();
    let (content, _) = ring.verify(&good, now()).unwrap();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 0x20;
        if let Ok((found, _)) = ring.verify(&bad, now()) {
            assert_eq!(found, content, "{i}");
        }
    }
}

#[test]
fn policies_that_could_be_misread_are_refused() {
    let list = |requirement: &str| format!(r#"{{"default":[{requirement}]}}"#);
    let ok = |text: &str| assert!(ContainersPolicy::parse(text.as_bytes()).is_ok(), "{text}");
    let bad = |text: &str| assert!(ContainersPolicy::parse(text.as_bytes()).is_err(), "{text}");
    ok(&list(r#"{"type":"reject"}"#));
    for text in [
        "",
        "{}",
        "[]",
        r#"{"default":[]}"#,
        r#"{"default":{}}"#,
        r#"{"default":[{"type":"reject"}],"more":1}"#,
        r#"{"default":[{"type":"reject"}],"default":[{"type":"reject"}]}"#,
        r#"{"default":[{"type":"reject"}],"transports":[]}"#,
        r#"{"default":[{"type":"reject"}],"transports":{"docker":{"x":[]}}}"#,
        r#"{"default":[{"type":"reject"}],"transports":{"dir":{"x":[{"type":"reject"}]}}}"#,
        r#"{"default":[{"type":"reject"}],"transports":{"dir":{"/a/../b":[{"type":"reject"}]}}}"#,
        r#"{"default":[{"type":"reject"}],"transports":{"dir":{"/":[{"type":"reject"}]}}}"#,
    ] {
        bad(text);
    }
    let key = r#""keyType":"GPGKeys","keyPath":"/k""#;
    ok(&list(&format!(r#"{{"type":"signedBy",{key}}}"#)));
    for requirement in [
        "{}",
        r#"{"type":"other"}"#,
        r#"{"type":"reject","more":1}"#,
        r#"{"type":"insecureAcceptAnything","keyPath":"/k"}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys"}"#,
        r#"{"type":"signedBy","keyPath":"/k"}"#,
        r#"{"type":"signedBy","keyType":"other","keyPath":"/k"}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","keyData":"AA=="}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPath":""}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPaths":[]}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys","keyPaths":[1]}"#,
        r#"{"type":"signedBy","keyType":"GPGKeys","keyData":"*"}"#,
        r#"{"type":"signedBaseLayer"}"#,
        r#"{"type":"sigstoreSigned"}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","pki":{"caRootsPath":"/r","subjectEmail":"a@b"}}"#,
        r#"{"type":"sigstoreSigned","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"a@b"}}"#,
        r#"{"type":"sigstoreSigned","pki":{"caRootsPath":"/r"}}"#,
        r#"{"type":"sigstoreSigned","pki":{"subjectEmail":"a@b"}}"#,
        r#"{"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r","rekorPublicKeyData":"AA=="}"#,
    ] {
        bad(&list(requirement));
    }
    for (identity, is_good) in [
        (r#"{"type":"matchExact"}"#, true),
        (r#"{"type":"matchExact","prefix":"x"}"#, false),
        (r#"{"type":"other"}"#, false),
        (r#"{"type":"exactReference","dockerReference":"h.example/a:1"}"#, true),
        (r#"{"type":"exactReference","dockerReference":"h.example/a"}"#, false),
        (r#"{"type":"exactRepository","dockerRepository":"h.example/a"}"#, true),
        (r#"{"type":"exactRepository","dockerRepository":"A"}"#, false),
        (r#"{"type":"remapIdentity","prefix":"a.example","signedPrefix":"b.example/x"}"#, true),
        (r#"{"type":"remapIdentity","prefix":"a.example"}"#, false),
        (r#"{"type":"remapIdentity","prefix":"a.example/","signedPrefix":"b.example"}"#, false),
        ("null", false),
    ] {
        let text = list(&format!(r#"{{"type":"signedBy",{key},"signedIdentity":{identity}}}"#));
        assert_eq!(ContainersPolicy::parse(text.as_bytes()).is_ok(), is_good, "{text}");
    }
}

/// One whole requirement of each kind and form, with its optional members.
fn whole_requirements() -> Vec<Value> {
    let identity =
        || json!({"type": "remapIdentity", "prefix": "a.example/x", "signedPrefix": "b.example"});
    let mut out = vec![json!({"type": "insecureAcceptAnything"}), json!({"type": "reject"})];
    out.push(json!({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}));
    let one = |key: &str| if key.ends_with("Data") { json!("AA==") } else { json!("/k") };
    let many = |key: &str| {
        if key.ends_with("Datas") { json!(["AA==", "AQ=="]) } else { json!(["/k", "/l"]) }
    };
    let source = |key: &str| if key.ends_with('s') { many(key) } else { one(key) };
    for key in ["keyPath", "keyPaths", "keyData"] {
        out.push(json!({"type": "signedBy", "keyType": "GPGKeys", key: source(key), "signedIdentity": identity()}));
    }
    for key in ["keyPath", "keyPaths", "keyData", "keyDatas"] {
        let rekor = format!("rekorPublicKey{}", &key[3..]);
        out.push(json!({"type": "sigstoreSigned", key: source(key), "signedIdentity": identity()}));
        out.push(json!({"type": "sigstoreSigned", key: source(key), &rekor: source(key)}));
    }
    for key in ["caPath", "caData"] {
        out.push(json!({"type": "sigstoreSigned", "rekorPublicKeyPath": "/r", "fulcio":
            {key: one(key), "oidcIssuer": "https://i", "subjectEmail": "a@b"}}));
    }
    for (roots, between) in
        [("caRootsPath", "caIntermediatesData"), ("caRootsData", "caIntermediatesPath")]
    {
        for subject in ["subjectEmail", "subjectHostname"] {
            out.push(json!({"type": "sigstoreSigned", "pki":
                {roots: one(roots), between: one(between), subject: "a@b"}}));
        }
    }
    for identity in [
        json!({"type": "matchExact"}),
        json!({"type": "matchRepoDigestOrExact"}),
        json!({"type": "matchRepository"}),
        json!({"type": "exactReference", "dockerReference": "h.example/a:1"}),
        json!({"type": "exactRepository", "dockerRepository": "h.example/a"}),
    ] {
        out.push(json!({"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": identity}));
    }
    out
}

/// Where each member of an object is, the objects within included.
fn members(value: &Value, at: &str, out: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        members(value, &at, out);
        out.push(at);
    }
}

/// Every requirement in every malformed form: a member of another type, missing where it must
/// be, twice, unknown, or beside one that excludes it.
#[test]
fn no_requirement_is_obeyed_in_another_form() {
    let is_read = |requirement: &Value| {
        let text = json!({"default": [requirement]}).to_string();
        let policy = ContainersPolicy::parse(text.as_bytes());
        if let Err(error) = &policy {
            use palisade_base::Explain as _;
            assert!(error.hint().is_some() && !error.to_string().is_empty());
        }
        policy.is_ok()
    };
    let optional = ["signedIdentity", "rekorPublicKey", "caIntermediates"];
    let mut n_refused = 0;
    for whole in whole_requirements() {
        assert!(is_read(&whole), "{whole}");
        let mut all = Vec::new();
        members(&whole, "", &mut all);
        for at in &all {
            let (parent, key) = at.rsplit_once('/').unwrap();
            let mut without = whole.clone();
            without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key);
            let may_lack = optional.iter().any(|it| key.starts_with(it));
            // With `fulcio` a log's key is no choice.
            let may_lack = may_lack && !(key.starts_with("rekor") && whole.get("fulcio").is_some());
            assert_eq!(is_read(&without), may_lack, "{whole} without {at}");
            for other in [
                json!(null),
                json!(7),
                json!(true),
                json!(""),
                json!([]),
                json!({}),
                json!([7]),
                json!([null]),
            ] {
                let mut changed = whole.clone();
                *changed.pointer_mut(at).unwrap() = other.clone();
                assert!(!is_read(&changed), "{changed}");
                n_refused += 1;
            }
            let mut renamed = without;
            let parent = renamed.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.insert(key.to_uppercase(), whole.pointer(at).unwrap().clone());
            assert!(!is_read(&renamed), "{renamed}");
            if key.ends_with("Data") {
                let mut changed = whole.clone();
                *changed.pointer_mut(at).unwrap() = json!("*");
                assert!(!is_read(&changed), "{changed}");
            }
        }
        for at in all.iter().map(String::as_str).chain([""]) {
            let mut more = whole.clone();
            if let Some(object) = more.pointer_mut(at).and_then(Value::as_object_mut) {
                object.insert("more".into(), json!("x"));
                assert!(!is_read(&more), "{more}");
            }
        }
        // The same member twice, wherever it is.
        let text = whole.to_string();
        for at in &all {
            let key = at.rsplit_once('/').unwrap().1;
            let twice =
                text.replacen(&format!("\"{key}\":"), &format!("\"{key}\":\"\",\"{key}\":"), 1);
            assert_ne!(twice, text);
            let policy = format!("{{\"default\":[{twice}]}}");
            assert!(ContainersPolicy::parse(policy.as_bytes()).is_err(), "{policy}");
        }
        // Beside each source another one, and what only other kinds have.
        for key in [
            "keyPath",
            "keyPaths",
            "keyData",
            "keyDatas",
            "rekorPublicKeyPath",
            "rekorPublicKeyDatas",
            "fulcio",
            "pki",
            "keyType",
            "baseLayerIdentity",
        ] {
            if whole.get(key).is_some() {
                continue;
            }
            let with_log = whole["type"] == "sigstoreSigned"
                && whole.get("pki").is_none()
                && key.starts_with("rekor")
                && !all.iter().any(|it| it.starts_with("/rekor"));
            let mut more = whole.clone();
            more[key] = match key {
                "keyPaths" => json!(["/k"]),
                "keyDatas" | "rekorPublicKeyDatas" => json!(["AA=="]),
                "keyData" => json!("AA=="),
                "fulcio" => json!({"caPath": "/c", "oidcIssuer": "i", "subjectEmail": "a@b"}),
                "pki" => json!({"caRootsPath": "/c", "subjectEmail": "a@b"}),
                "baseLayerIdentity" => json!({"type": "matchExact"}),
                _ => json!("/k"),
            };
            assert_eq!(is_read(&more), with_log, "{more}");
        }
        // One that is good beside one that is not makes the policy no better.
        let text = json!({"default": [whole, {"type": "other"}]}).to_string();
        assert!(ContainersPolicy::parse(text.as_bytes()).is_err());
    }
    assert!(n_refused > 500, "{n_refused}");
}

/// Keys and certificates that are none never satisfy a requirement, beside good ones or alone.
#[test]
fn material_that_is_none_satisfies_nothing() {
    let image = Image::docker(Reference::parse("h.example/a:1").unwrap(), Some(Digest::of(b"m")));
    for data in ["AA==", "LS0tLS1CRUdJTiBQVUJMSUMgS0VZLS0tLS0K"] {
        for requirement in [
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": data}),
            json!({"type": "sigstoreSigned", "keyData": data}),
            json!({"type": "sigstoreSigned", "keyDatas": [data, data]}),
            json!({"type": "sigstoreSigned", "keyData": data, "rekorPublicKeyData": data}),
            json!({"type": "sigstoreSigned", "rekorPublicKeyData": data, "fulcio":
                {"caData": data, "oidcIssuer": "i", "subjectEmail": "a@b"}}),
            json!({"type": "sigstoreSigned", "pki": {"caRootsData": data, "subjectEmail": "a@b"}}),
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere"}),
            json!({"type": "sigstoreSigned", "keyPaths": ["/nowhere"]}),
            json!({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}),
            json!({"type": "reject"}),
        ] {
            let found = policy(&requirement).evaluate(&image, now() as i64);
            assert!(found.is_err(), "{requirement}: {found:?}");
        }
    }
}

/// A key and a message that GnuPG made: Ed25519, compressed.
#[test]
fn gnupgs_ed25519_is_verified() {
    let both = include_bytes!("../../../../fuzz/seeds/fuzz_openpgp/ed25519");
    let (length, rest) = both.split_first_chunk::<2>().unwrap();
    let (keys, message) = rest.split_at(usize::from(u16::from_be_bytes(*length)));
    let ring = Keyring::parse(keys).unwrap();
    let (content, signer) = ring.verify(message, now()).unwrap();
    assert_eq!((content.as_slice(), signer.len()), (&b"{\"critical\":{}}"[..], 40));
    assert_eq!(ring.fingerprints(), [signer]);
    for i in 0..message.len() {
        for bit in 0..8 {
            let mut bad = message.to_vec();
            bad[i] ^= 1 << bit;
            if let Ok((found, _)) = ring.verify(&bad, now()) {
                assert_eq!(found, content, "{i}");
            }
        }
    }
}

/// How long one verification takes: `cargo test --release -p palisade-trust -- --ignored
/// --nocapture cost`.
#[test]
#[ignore = "prints figures, to be run alone on a quiet machine"]
fn cost_of_gpg() {
    let Some(folder) = material("containers-image") else { return };
    let image = image(&folder, "dir-img-valid", "testing/manifest:latest");
    let policy = signed_by(&folder, "public-key.gpg", &repository());
    crate::sigstore::time("GPG, with the keyring read each time", || {
        policy.evaluate(&image, now() as i64).unwrap();
    });
}

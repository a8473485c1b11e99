//! Envelopes that notation made (testdata/notary/make.sh), and some of our own.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::Digest;
use serde_json::{Value, json};

use super::store::StoreKind;
use super::*;
use crate::jose::{base64url, to_base64url};
use crate::pki::Certificate;
use crate::{PrivateKey, pem};

const REPOSITORY: &str = "registry.example/shop";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/notary").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).unwrap()
}

fn certificates(name: &str) -> Vec<Certificate> {
    let text = String::from_utf8(bytes(name)).unwrap();
    let blocks = pem::decode_all(&text, "CERTIFICATE").unwrap();
    blocks.iter().map(|raw| Certificate::parse(raw).unwrap()).collect()
}

fn store() -> TrustStore {
    let mut store = TrustStore::default();
    store.put(StoreKind::Authority, "shop", certificates("root.pem"));
    store.put(StoreKind::TimeStamps, "time", certificates("tsaroot.pem"));
    store.lists.push(revocation::Crl::parse(&bytes("good.crl")).unwrap());
    store
}

fn statement() -> Value {
    json!({
        "name": "shop", "registryScopes": [REPOSITORY],
        "signatureVerification": {"level": "strict"},
        "trustStores": ["ca:shop"],
        "trustedIdentities": ["x509.subject: C=US, ST=WA, O=shop.example"],
    })
}

fn policy(statement: &Value) -> NotaryPolicy {
    let text = json!({"version": "1.0", "trustPolicies": [statement]}).to_string();
    NotaryPolicy::parse(text.as_bytes()).unwrap()
}

fn target(image: &[u8]) -> Target<'static> {
    Target { media_type: MANIFEST, digest: Digest::of(image), size: image.len() as u64 }
}

fn envelope(name: &str) -> Envelope {
    let kind = if name.ends_with("cose") { EnvelopeKind::Cose } else { EnvelopeKind::Jws };
    Envelope::parse(kind, &bytes(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const ALL: [&str; 7] = [
    "p256.jws",
    "p384.cose",
    "p521.jws",
    "rsa2048.cose",
    "rsa3072.jws",
    "stamped.jws",
    "stamped.cose",
];

#[test]
fn what_notation_signs_is_verified() {
    let (image, store) = (bytes("image.json"), store());
    for name in ALL {
        let envelope = envelope(name);
        let now = envelope.claimed_time().unwrap() + 60;
        let policy = policy(&statement());
        let verifier = NotaryVerifier::new(&policy, &store, now);
        let outcome = verifier
            .verify(&envelope, REPOSITORY, target(&image))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(outcome.subject.contains("O=shop.example"), "{}", outcome.subject);
        assert_eq!(outcome.logged, Vec::<String>::new(), "{name}");
        let annotated = outcome.annotations.contains(&("build".into(), "7".into()));
        assert_eq!(annotated, name == "rsa3072.jws");
        let error = verifier.verify(&envelope, REPOSITORY, target(b"other")).unwrap_err();
        assert!(matches!(error, NotaryError::OtherContent), "{name}: {error}");
        let error = verifier.verify(&envelope, "registry.example/x", target(&image)).unwrap_err();
        assert!(matches!(error, NotaryError::NoStatement(_)), "{name}: {error}");
    }
}

#[test]
fn a_byte_changed_anywhere_is_noticed() {
    let (image, store, policy) = (bytes("image.json"), store(), policy(&statement()));
    for name in ["p256.jws", "p384.cose"] {
        let good = bytes(name);
        let kind = envelope(name).kind();
        let now = envelope(name).claimed_time().unwrap() + 60;
        let verifier = NotaryVerifier::new(&policy, &store, now);
        // What nothing signs: the name of the program that signed.
        let agent = good.windows(12).position(|it| it == b"signingAgent").unwrap();
        for at in (0..good.len()).step_by(7) {
            if (agent - 20..agent + 50).contains(&at) {
                continue;
            }
            let mut bad = good.clone();
            bad[at] = if bad[at] == b'A' { b'Q' } else { b'A' };
            if bad == good {
                continue;
            }
            let verified = Envelope::parse(kind, &bad)
                .and_then(|it| verifier.verify(&it, REPOSITORY, target(&image)).map(|_| ()));
            assert!(verified.is_err(), "{name} {at}");
        }
        for n in (0..good.len()).step_by(31) {
            assert!(Envelope::parse(kind, &good[..n]).is_err(), "{name} {n}");
        }
    }
}

/// Verifies under a changed policy and store, and gives what is logged.
fn try_with(
    name: &str,
    later: i64,
    change: &dyn Fn(&mut Value, &mut TrustStore),
) -> Result<Vec<String>, String> {
    let (image, mut store, mut statement) = (bytes("image.json"), store(), statement());
    change(&mut statement, &mut store);
    let envelope = envelope(name);
    let now = envelope.claimed_time().unwrap() + later;
    NotaryVerifier::new(&policy(&statement), &store, now)
        .verify(&envelope, REPOSITORY, target(&image))
        .map(|outcome| outcome.logged)
        .map_err(|error| error.to_string())
}

#[test]
fn levels_enforce_or_log() {
    const CENTURY: i64 = 101 * 365 * 86_400;
    let check = |expected: Result<&str, &str>,
                 name: &str,
                 later: i64,
                 change: &dyn Fn(&mut Value, &mut TrustStore)| {
        let found = try_with(name, later, change);
        match (&found, expected) {
            (Ok(logged), Ok("")) => assert_eq!(logged, &Vec::<String>::new()),
            (Ok(logged), Ok(wanted)) => {
                assert!(logged.iter().any(|l| l.contains(wanted)), "{logged:?} ({wanted})");
            }
            (Err(error), Err(wanted)) => assert!(error.contains(wanted), "{error} ({wanted})"),
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    };
    let level = |s: &mut Value, level: &str| s["signatureVerification"]["level"] = level.into();
    let stamped = |s: &mut Value| s["trustStores"] = json!(["ca:shop", "tsa:time"]);
    // Authenticity: the store, and the identity.
    let other = "leads to no certificate";
    check(Err(other), "p256.jws", 60, &|s, _| s["trustStores"] = json!(["ca:other"]));
    check(Err(other), "p256.jws", 60, &|s, _| s["trustStores"] = json!(["signingAuthority:shop"]));
    check(Err(other), "p256.jws", 60, &|s, _| s["trustStores"] = json!(["tsa:shop"]));
    check(Ok(other), "p256.jws", 60, &|s, _| {
        s["trustStores"] = json!(["ca:other"]);
        level(s, "audit");
    });
    let identity = "none of the trusted identities";
    let wrong = json!(["x509.subject: C=US, ST=WA, O=shop.example, CN=Other"]);
    check(Err(identity), "p256.jws", 60, &|s, _| s["trustedIdentities"] = wrong.clone());
    check(Err(identity), "p256.jws", 60, &|s, _| {
        s["trustedIdentities"] = wrong.clone();
        level(s, "permissive");
    });
    check(Ok(identity), "p256.jws", 60, &|s, _| {
        s["trustedIdentities"] = wrong.clone();
        level(s, "audit");
    });
    check(Ok(""), "p256.jws", 60, &|s, _| s["trustedIdentities"] = json!(["*"]));
    // Expiry.
    check(Err("expired at"), "rsa3072.jws", 86_401, &|_, _| ());
    check(Ok("expired at"), "rsa3072.jws", 86_401, &|s, _| level(s, "permissive"));
    check(Ok("expired at"), "rsa3072.jws", 86_401, &|s, _| {
        s["signatureVerification"]["override"] = json!({"expiry": "log"});
    });
    // Time: certificates that have expired, with and without a time stamp.
    let not_valid = "not valid at the time";
    check(Err(not_valid), "p256.jws", CENTURY, &|s, st| {
        st.lists.clear();
        s["signatureVerification"]["override"] = json!({"revocation": "skip"});
    });
    check(Err(not_valid), "p256.jws", -86_400, &|s, _| {
        s["signatureVerification"]["override"] = json!({"revocation": "skip"});
    });
    for name in ["stamped.jws", "stamped.cose"] {
        check(Ok(""), name, 60, &|s, _| stamped(s));
        check(Ok(""), name, CENTURY, &|s, _| {
            stamped(s);
            s["signatureVerification"]["override"] = json!({"revocation": "skip"});
        });
        check(Ok(""), name, CENTURY, &|s, _| {
            stamped(s);
            s["signatureVerification"]["verifyTimestamp"] = "afterCertExpiry".into();
            s["signatureVerification"]["override"] = json!({"revocation": "skip"});
        });
        check(Err("no trusted authority"), name, 60, &|s, _| {
            s["trustStores"] = json!(["ca:shop", "tsa:other"]);
        });
        check(Err("no trusted authority"), name, 60, &|s, st| {
            st.put(StoreKind::TimeStamps, "wrong", certificates("root.pem"));
            s["trustStores"] = json!(["ca:shop", "tsa:wrong"]);
        });
    }
    check(Err("there is none"), "p256.jws", 60, &|s, _| stamped(s));
    check(Ok("there is none"), "p256.jws", 60, &|s, _| {
        stamped(s);
        level(s, "permissive");
    });
    check(Ok(""), "p256.jws", 60, &|s, _| {
        stamped(s);
        s["signatureVerification"]["verifyTimestamp"] = "afterCertExpiry".into();
    });
    // Revocation: unknown, revoked, and of another time.
    check(Err("is not known"), "p256.jws", 60, &|_, st| st.lists.clear());
    check(Ok("is not known"), "p256.jws", 60, &|s, st| {
        st.lists.clear();
        level(s, "permissive");
    });
    check(Ok(""), "p256.jws", 60, &|s, st| {
        st.lists.clear();
        s["signatureVerification"]["override"] = json!({"revocation": "skip"});
    });
    let revoked = || revocation::Crl::parse(&bytes("revoked.crl")).unwrap();
    check(Err("it was revoked"), "p256.jws", 60, &|_, st| st.lists.push(revoked()));
    check(Ok("it was revoked"), "p256.jws", 60, &|s, st| {
        st.lists = vec![revoked()];
        level(s, "permissive");
    });
}

/// What an outcome says of its own end is what a clock finds: it holds to that second, and where
/// nothing else takes its place no longer.
#[test]
fn outcomes_say_until_when_they_hold() {
    let check = |name: &str,
                 goes_on: bool,
                 expected: &dyn Fn(&Envelope) -> Option<i64>,
                 change: &dyn Fn(&mut Value, &mut TrustStore)| {
        let (image, mut store, mut statement) = (bytes("image.json"), store(), statement());
        change(&mut statement, &mut store);
        let (envelope, policy) = (envelope(name), policy(&statement));
        let at = |now: i64| {
            let verifier = NotaryVerifier::new(&policy, &store, now);
            verifier.verify(&envelope, REPOSITORY, target(&image)).map(|outcome| outcome.until)
        };
        let until = at(envelope.claimed_time().unwrap() + 60).unwrap();
        assert_eq!(until, expected(&envelope), "{name} {statement}");
        if let Some(until) = until {
            assert_eq!(at(until).unwrap(), Some(until), "{name} {statement}");
            assert_eq!(at(until + 1).is_ok(), goes_on, "{name} {statement}");
        }
    };
    let certificates_end = |envelope: &Envelope| envelope.chain.iter().map(|it| it.not_after).min();
    let list_end = |_: &Envelope| store().lists[0].next_update;
    let first = |envelope: &Envelope| certificates_end(envelope).min(list_end(envelope));
    let no_lists = |s: &mut Value| {
        s["signatureVerification"]["override"] = json!({"revocation": "skip"});
    };
    let stamped = |s: &mut Value| s["trustStores"] = json!(["ca:shop", "tsa:time"]);
    check("p256.jws", false, &first, &|_, _| ());
    check("p256.jws", false, &certificates_end, &|s, _| no_lists(s));
    // The signature's own end, of which the last second is the one before.
    let own_end = |envelope: &Envelope| envelope.expiry.map(|end| end - 1);
    check("rsa3072.jws", false, &own_end, &|s, _| no_lists(s));
    check("rsa3072.jws", true, &own_end, &|s, _| {
        no_lists(s);
        s["signatureVerification"]["level"] = "permissive".into();
        s["signatureVerification"]["override"] = json!({"revocation": "skip"});
    });
    // A time stamp outlives the certificates; what is known of revocation does not.
    for name in ["stamped.jws", "stamped.cose"] {
        check(name, false, &list_end, &|s, _| stamped(s));
        check(name, false, &|_| None, &|s, _| {
            stamped(s);
            no_lists(s);
        });
        // Judged by the clock while it can be, and by its time stamp afterwards.
        check(name, true, &certificates_end, &|s, _| {
            stamped(s);
            no_lists(s);
            s["signatureVerification"]["verifyTimestamp"] = "afterCertExpiry".into();
        });
    }
    // A list that is to come may say something else: until then it is known.
    let soon = envelope("p256.jws").claimed_time().unwrap() + 3600;
    check("p256.jws", false, &|_| Some(soon - 1), &|_, store| {
        let mut next = revocation::Crl::parse(&bytes("revoked.crl")).unwrap();
        next.begin_at(soon);
        store.lists.push(next);
    });
    // What is not enforced and failed already ends nothing.
    check("p256.jws", false, &|_| None, &|s, store| {
        store.lists.clear();
        s["trustStores"] = json!(["ca:shop", "tsa:other"]);
        s["signatureVerification"]["level"] = "permissive".into();
    });
}

#[test]
fn what_is_signed_is_verified() {
    let (image, store, policy) = (bytes("image.json"), store(), policy(&statement()));
    let key = PrivateKey::read(&data("p256.key"), None).or_else(|_| {
        // A checkout may have made the file readable for others.
        PrivateKey::from_pem(&String::from_utf8(bytes("p256.key")).unwrap(), None)
    });
    let (key, chain) = (key.unwrap(), Chain::read(&data("p256.chain.pem")).unwrap());
    let now = envelope("p256.jws").claimed_time().unwrap() + 60;
    let signer = NotarySigner::new(&key, &chain).unwrap();
    for kind in [EnvelopeKind::Jws, EnvelopeKind::Cose] {
        for expiry in [None, Some(now + 60)] {
            let made = signer.sign(kind, target(&image), now, expiry, &|_| Ok(None)).unwrap();
            let read = Envelope::parse(kind, &made).unwrap();
            let verifier = NotaryVerifier::new(&policy, &store, now);
            assert!(verifier.verify(&read, REPOSITORY, target(&image)).is_ok());
            let later = NotaryVerifier::new(&policy, &store, now + 61);
            assert_eq!(later.verify(&read, REPOSITORY, target(&image)).is_ok(), expiry.is_none());
            assert!(
                Envelope::parse(EnvelopeKind::Cose, &made).is_ok() == (kind == EnvelopeKind::Cose)
            );
        }
    }
    assert!(chain.thumbprints().starts_with("[\""));
    let other = PrivateKey::generate().unwrap();
    assert!(NotarySigner::new(&other, &chain).is_err());
    let failed = signer.sign(EnvelopeKind::Jws, target(&image), now, None, &|_| Err("no".into()));
    assert!(matches!(failed, Err(NotaryError::Sign(_))));
    assert!(signer.sign(EnvelopeKind::Jws, target(&image), 0, None, &|_| Ok(None)).is_err());
}

/// Headers that say one thing wrong, signed by the right key.
#[test]
fn headers_that_could_mean_two_things_are_refused() {
    let key = PrivateKey::from_pem(&String::from_utf8(bytes("p256.key")).unwrap(), None).unwrap();
    let good: Value = serde_json::from_slice(&bytes("p256.jws")).unwrap();
    let header: Value =
        serde_json::from_slice(&base64url(good["protected"].as_str().unwrap()).unwrap()).unwrap();
    let try_with = |change: &dyn Fn(&mut Value, &mut Value)| {
        let (mut header, mut envelope) = (header.clone(), good.clone());
        change(&mut header, &mut envelope);
        let protected = to_base64url(header.to_string().as_bytes());
        let message = format!("{protected}.{}", envelope["payload"].as_str().unwrap());
        let signature = key.sign_fixed(&Digest::of(message.as_bytes())).unwrap();
        envelope["protected"] = protected.into();
        envelope["signature"] = to_base64url(&signature).into();
        Envelope::parse(EnvelopeKind::Jws, envelope.to_string().as_bytes())
            .and_then(|it| if it.is_signed() { Ok(()) } else { Err(NotaryError::BadSignature) })
            .map_err(|error| error.to_string())
    };
    assert_eq!(try_with(&|_, _| ()), Ok(()));
    let check = |expected: &str, change: &dyn Fn(&mut Value, &mut Value)| {
        let error = try_with(change).unwrap_err();
        assert!(error.contains(expected), "{error} (expected: {expected})");
    };
    let (scheme, time) = ("io.cncf.notary.signingScheme", "io.cncf.notary.signingTime");
    check("algorithm is not", &|h, _| h["alg"] = "none".into());
    check("algorithm is not", &|h, _| h["alg"] = "ES384".into());
    check("content type", &|h, _| h["cty"] = "text/plain".into());
    check("scheme is unknown", &|h, _| h[scheme] = "x".into());
    check("time of another", &|h, _| h[scheme] = "notary.x509.signingAuthority".into());
    check("no signing time", &|h, _| {
        h.as_object_mut().unwrap().shift_remove(time);
    });
    check("no time of RFC 3339", &|h, _| h[time] = "yesterday".into());
    check("`crit` is missing", &|h, _| {
        h.as_object_mut().unwrap().shift_remove("crit");
    });
    check("critical members are not", &|h, _| h["crit"] = json!([]));
    check("which is not there", &|h, _| h["crit"] = json!([scheme, "x"]));
    check("is not known", &|h, _| {
        h["crit"] = json!([scheme, "x"]);
        h["x"] = 1.into();
    });
    check("critical members are not", &|h, _| {
        h["io.cncf.notary.expiry"] = "2100-01-01T00:00:00Z".into();
    });
    check("1 to 8 certificates", &|_, e| e["header"]["x5c"] = json!([]));
    check("1 to 8 certificates", &|_, e| {
        let one = e["header"]["x5c"][0].clone();
        e["header"]["x5c"] = json!(vec![one; 9]);
    });
    check("Base64", &|_, e| e["header"]["x5c"] = json!(["*"]));
    check("certificate 0", &|_, e| e["header"]["x5c"] = json!(["AAAA"]));
    check("unknown field", &|_, e| e["x"] = 1.into());
    check("targetArtifact", &|_, e| e["payload"] = to_base64url(b"{}").into());
}

#[test]
fn chains_are_as_the_specification_demands() {
    let chain = certificates("p256.chain.pem");
    let check = |expected: &str, chain: &[Certificate]| {
        let error = verify::check_chain(chain).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} (expected: {expected})");
    };
    verify::check_chain(&chain).unwrap();
    let [leaf, middle, root] = chain.as_slice() else { panic!() };
    check("not signed by itself", &[leaf.clone(), middle.clone()]);
    check("not issued by the next", &[leaf.clone(), root.clone()]);
    check("is an authority's", std::slice::from_ref(root));
    check("it is no authority's", &[leaf.clone(), leaf.clone()]);
    check("not issued by the next", &[leaf.clone(), root.clone(), middle.clone()]);
    let tsa = envelope("stamped.jws");
    let stamp = crate::pki::timestamp::TimeStamp::parse_token(tsa.timestamp.as_ref().unwrap());
    let stamp = stamp.unwrap();
    assert_eq!(stamp.accuracy_seconds(), 1);
    let signer = stamp.certificates().into_iter().find(|it| !it.is_authority).unwrap();
    check("for something else", &[signer, certificates("tsaroot.pem")[0].clone()]);
    assert!(STANDARD.encode(leaf.raw()).len() > 100);
}

/// The first statement of a policy.
fn first(policy: &mut Value) -> &mut Value {
    &mut policy["trustPolicies"][0]
}

#[test]
fn policies_that_trust_by_mistake_are_refused() {
    let check = |expected: &str, change: &dyn Fn(&mut Value)| {
        let mut text = json!({"version": "1.0", "trustPolicies": [statement()]});
        change(&mut text);
        let error = NotaryPolicy::parse(text.to_string().as_bytes()).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        let error = format!("{error} {}", source.unwrap_or_default());
        assert!(error.contains(expected), "{error} (expected: {expected})");
    };
    check("version", &|p| p["version"] = "2.0".into());
    check("1 to 1024", &|p| p["trustPolicies"] = json!([]));
    check("1 to 1024", &|p| p["trustPolicies"] = json!(vec![statement(); 1025]));
    check("same name", &|p| p["trustPolicies"] = json!([statement(), statement()]));
    check("is also in", &|p| {
        let mut other = statement();
        other["name"] = "other".into();
        p["trustPolicies"] = json!([statement(), other]);
    });
    check("unknown field", &|p| first(p)["x"] = 1.into());
    check("no name", &|p| first(p)["name"] = "".into());
    check("`registryScopes` is missing", &|p| first(p)["registryScopes"] = json!([]));
    check("no whole repository", &|p| first(p)["registryScopes"] = json!(["*", "a.example/b"]));
    check("no whole repository", &|p| first(p)["registryScopes"] = json!(["a.example/*"]));
    check("no whole repository", &|p| first(p)["registryScopes"] = json!(["shop"]));
    check("stands twice", &|p| first(p)["registryScopes"] = json!(["a.b/c", "a.b/c"]));
    check("`level` is none", &|p| first(p)["signatureVerification"]["level"] = "x".into());
    let with = |p: &mut Value, k: &str, v: &str| {
        first(p)["signatureVerification"]["override"][k] = v.into();
    };
    check("no check that can be changed", &|p| with(p, "integrity", "log"));
    check("none of enforce", &|p| with(p, "expiry", "x"));
    check("cannot be skipped", &|p| with(p, "expiry", "skip"));
    check("none of always", &|p| first(p)["signatureVerification"]["verifyTimestamp"] = "x".into());
    check("`trustStores` or", &|p| first(p)["trustStores"] = json!([]));
    check("`trustStores` or", &|p| first(p)["trustedIdentities"] = json!([]));
    check("no KIND:NAME", &|p| first(p)["trustStores"] = json!(["shop"]));
    check("none of the kinds", &|p| first(p)["trustStores"] = json!(["x:shop"]));
    check("names no folder", &|p| first(p)["trustStores"] = json!(["ca:../x"]));
    check("names no folder", &|p| first(p)["trustStores"] = json!(["ca:.."]));
    check("beside other", &|p| first(p)["trustedIdentities"] = json!(["*", "x509.subject: C=US"]));
    check("is not `*`", &|p| first(p)["trustedIdentities"] = json!(["C=US, ST=WA, O=x"]));
    check("must be there", &|p| first(p)["trustedIdentities"] = json!(["x509.subject: C=US"]));
    check("overlaps", &|p| {
        first(p)["trustedIdentities"] =
            json!(["x509.subject: C=US, ST=WA, O=x", "x509.subject: C=US, ST=WA, O=x, OU=y"]);
    });
    check("`skip` can have no", &|p| first(p)["signatureVerification"]["level"] = "skip".into());
    check("`skip` cannot be for all", &|p| {
        first(p)["signatureVerification"]["level"] = "skip".into();
        first(p)["registryScopes"] = json!(["*"]);
    });
    let mut skip = statement();
    skip["signatureVerification"] = json!({"level": "skip"});
    skip["trustStores"] = json!([]);
    skip["trustedIdentities"] = json!([]);
    assert!(policy(&skip).statement(REPOSITORY).unwrap().level.is_none());
    let all = json!({"version": "1.0", "trustPolicies": [statement(), {
        "name": "all", "registryScopes": ["*"], "signatureVerification": {"level": "audit"},
        "trustStores": ["ca:shop"], "trustedIdentities": ["*"]}]});
    let all = NotaryPolicy::parse(all.to_string().as_bytes()).unwrap();
    assert_eq!(all.statement(REPOSITORY).unwrap().name, "shop");
    assert_eq!(all.statement("other.example/x").unwrap().name, "all");
}

#[test]
fn stores_are_read_and_links_refused() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("trust-store/x509/ca/shop");
    std::fs::create_dir_all(shop.join("within")).unwrap();
    let policy = policy(&statement());
    let read = || TrustStore::read(folder.path(), &policy).map_err(|error| error.to_string());
    assert!(read().unwrap_err().contains("no certificate"));
    std::fs::write(shop.join("root.pem"), bytes("root.pem")).unwrap();
    std::fs::write(shop.join("notes.txt"), "x").unwrap();
    assert_eq!(read().unwrap().get(StoreKind::Authority, "shop"), certificates("root.pem"));
    let der = certificates("tsaroot.pem")[0].raw().to_vec();
    std::fs::write(shop.join("other.CRT"), der).unwrap();
    assert_eq!(read().unwrap().get(StoreKind::Authority, "shop").len(), 2);
    std::fs::write(shop.join("bad.cer"), "x").unwrap();
    assert!(read().is_err());
    std::fs::remove_file(shop.join("bad.cer")).unwrap();
    std::os::unix::fs::symlink(data("root.pem"), shop.join("link.pem")).unwrap();
    assert!(read().unwrap_err().contains("is a link"));
    std::fs::remove_file(shop.join("link.pem")).unwrap();
    // A leaf is no root.
    std::fs::write(shop.join("leaf.pem"), bytes("p256.chain.pem")).unwrap();
    assert!(read().unwrap_err().contains("neither an authority's"));
    std::fs::remove_file(shop.join("leaf.pem")).unwrap();
    let lists = folder.path().join("crl");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(lists.join("root.crl"), bytes("good.crl")).unwrap();
    assert_eq!(read().unwrap().lists.len(), 1);
    std::fs::write(lists.join("bad.crl"), "x").unwrap();
    assert!(read().is_err());
    std::fs::rename(&shop, folder.path().join("moved")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("moved"), &shop).unwrap();
    assert!(read().unwrap_err().contains("link to one"));
}

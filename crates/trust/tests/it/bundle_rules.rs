//! The rules of bundles, one after the other, on bundles that the test makes: both kinds of logs,
//! every kind of entry, time stamps, names and SCTs of certificates, periods of trust, managed
//! keys of every kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use palisade_base::Digest;
use palisade_trust::VerificationKey;
use palisade_trust::sigstore::{
    Artifact, Bundle, IdentityMatch, SigstoreError, TextMatch, TrustedRoot, Verifier,
};
use ring::digest::{SHA256, SHA384, SHA512, digest};
use serde_json::{Value, json};

use crate::fixture::key;
use crate::keyless::{
    ISSUER, SUBJECT, TIME, World, certificate, extension, name, sign, spki, tbs, wrap,
};

const NOW: i64 = TIME + 86_400;
const FILE: &[u8] = b"a file";
const LOG2: &str = "log2.example/2023";
const STATEMENT: &str = "application/vnd.in-toto+json";

fn base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    Digest::of(bytes).as_bytes().to_vec()
}

/// One SCT: who signs it, in whose name, of which version, how many seconds after [`TIME`].
#[derive(Clone, Copy)]
struct Sct {
    by: u8,
    of: u8,
    version: u8,
    later: i64,
}

const SCT: Sct = Sct { by: 2, of: 2, version: 0, later: 0 };

/// How a bundle is made; [`good`] is one of version 0.3 in a log of the second kind.
#[derive(Clone)]
struct Make {
    minor: u8,
    /// Kind and version of the log entry.
    entry: (&'static str, &'static str),
    /// Seconds after [`TIME`] that the log promises.
    promise: Option<i64>,
    has_proof: bool,
    /// Seconds after [`TIME`] of each time stamp, and what is stamped beside the signature.
    stamps: Vec<(i64, &'static [u8])>,
    /// The alternative names of the certificate, as GeneralNames.
    names: Vec<u8>,
    scts: Vec<Sct>,
    /// The subjects of a statement; none: the file itself is signed.
    subjects: Option<Value>,
    payload_type: &'static str,
    /// Who signs the checkpoint, as whom, and of which log it speaks.
    checkpoint: (u8, &'static str, &'static str),
    /// What the entry says was signed, where that is something else.
    logged: Option<&'static [u8]>,
    tsa: u8,
    /// The extended key usage of the authority of time stamps, and whether it is critical.
    tsa_usage: (&'static [u8], bool),
}

fn uri(text: &str) -> Vec<u8> {
    wrap(0x86, &[text.as_bytes()])
}

const TIME_STAMPING: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8];

fn good() -> Make {
    Make {
        minor: 3,
        entry: ("hashedrekord", "0.0.2"),
        promise: None,
        has_proof: true,
        stamps: vec![(0, b"")],
        names: uri(SUBJECT),
        scts: vec![SCT],
        subjects: Some(json!([{"name": "f", "digest": {"sha256": hex::encode(hash(FILE))}}])),
        payload_type: STATEMENT,
        checkpoint: (33, LOG2, LOG2),
        logged: None,
        tsa: 22,
        tsa_usage: (TIME_STAMPING, true),
    }
}

/// The same in a log of the first kind, without a time stamp.
fn old(minor: u8, kind: &'static str, version: &'static str) -> Make {
    let (promise, checkpoint) = (Some(0), (3, "log.example", "log.example - 1"));
    let make = Make { minor, entry: (kind, version), promise, checkpoint, ..good() };
    Make { has_proof: minor > 1, stamps: Vec::new(), ..make }
}

fn ed25519(seed: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[seed; 32])
}

fn ed25519_spki(seed: u8) -> Vec<u8> {
    let prefix = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    [&prefix[..], ed25519(seed).verifying_key().as_bytes()].concat()
}

/// What checkpoints and entries call an Ed25519 log.
fn log2_id(name: &str, seed: u8) -> Vec<u8> {
    hash(&[name.as_bytes(), b"\n\x01", ed25519(seed).verifying_key().as_bytes()].concat())
}

const VALID: [&str; 2] = ["20200101000000Z", "20400101000000Z"];

impl Make {
    fn leaf(&self) -> Vec<u8> {
        let world = World::new();
        let usage = wrap(0x30, &[&wrap(6, &[&[0x2b, 6, 1, 5, 5, 7, 3, 3]])]);
        let fulcio = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
        let mut all = extension(&[0x55, 0x1d, 0x25], false, &usage);
        if !self.names.is_empty() {
            all.extend(extension(&[0x55, 0x1d, 0x11], true, &wrap(0x30, &[&self.names])));
        }
        all.extend(extension(&fulcio, false, &wrap(0x0c, &[ISSUER.as_bytes()])));
        let valid = ["20231114221000Z", "20231114222000Z"];
        let of = |extensions: &[u8]| tbs("ca", "leaf", &world.signer, valid, extensions);
        if !self.scts.is_empty() {
            let tbs = of(&all);
            let mut list = Vec::new();
            for sct in &self.scts {
                let time = ((TIME + sct.later) as u64 * 1000).to_be_bytes();
                let length = &(tbs.len() as u32).to_be_bytes()[1..];
                let issuer = hash(&spki(&world.ca));
                let signed = [&[0, 0], &time[..], &[0, 1], &issuer, length, &tbs, &[0, 0]].concat();
                let signature = sign(&key(sct.by), &signed);
                let n = (signature.len() as u16).to_be_bytes();
                let id = hash(&spki(&key(sct.of)));
                let parts = [&[sct.version], &id[..], &time, &[0, 0, 4, 3], &n, &signature];
                let one = parts.concat();
                list.extend([&(one.len() as u16).to_be_bytes()[..], &one].concat());
            }
            let list = [&(list.len() as u16).to_be_bytes()[..], &list].concat();
            let oid = [0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
            all.extend(extension(&oid, false, &wrap(4, &[&list])));
        }
        certificate(&of(&all), &world.ca)
    }

    fn body(&self, leaf: &[u8], payload: &str, signed: &[u8], signature: &[u8]) -> Value {
        let pem =
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", base64(leaf));
        let (kind, version) = self.entry;
        let signed = self.logged.unwrap_or(signed);
        let of_payload = hex::encode(hash(self.logged.unwrap_or(payload.as_bytes())));
        let verifier = json!({"x509Certificate": {"rawBytes": base64(leaf)},
                              "keyDetails": "PKIX_ECDSA_P256_SHA_256"});
        let spec = match (kind, version) {
            ("hashedrekord", "0.0.1") => json!({
                "data": {"hash": {"algorithm": "sha256", "value": hex::encode(hash(signed))}},
                "signature": {"content": base64(signature), "publicKey": {"content": base64(pem)}},
            }),
            ("hashedrekord", _) => json!({"hashedRekordV002": {
                "data": {"algorithm": "SHA2_256", "digest": base64(hash(signed))},
                "signature": {"content": base64(signature), "verifier": verifier},
            }}),
            ("dsse", "0.0.1") => json!({
                "payloadHash": {"algorithm": "sha256", "value": of_payload},
                "signatures": [{"signature": base64(signature), "verifier": base64(pem)}],
            }),
            ("dsse", _) => json!({"dsseV002": {
                "payloadHash": {"algorithm": "SHA2_256", "digest": base64(hex::decode(of_payload).unwrap())},
                "signatures": [{"content": base64(signature), "verifier": verifier}],
            }}),
            _ => json!({"content": {
                "payloadHash": {"algorithm": "sha256", "value": of_payload},
                "envelope": {"signatures": [{"sig": base64(base64(signature)), "publicKey": base64(pem)}]},
            }}),
        };
        json!({"kind": kind, "apiVersion": version, "spec": spec})
    }

    fn is_second(&self) -> bool {
        self.checkpoint.2.starts_with("log2") || self.checkpoint.0 == 33
    }

    fn bundle(&self) -> Value {
        let world = World::new();
        let payload = json!({"_type": "https://in-toto.io/Statement/v1", "subject": self.subjects,
            "predicateType": "https://shop.example/v1", "predicate": {}})
        .to_string();
        let kind = self.payload_type;
        let signed = match self.subjects {
            Some(_) => format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len()).into(),
            None => FILE.to_vec(),
        };
        let signature = sign(&world.signer, &signed);
        let leaf = self.leaf();
        let body = self.body(&leaf, &payload, &signed, &signature).to_string();
        let (by, signer, origin) = self.checkpoint;
        let id = if self.is_second() { log2_id(LOG2, 33) } else { hash(&spki(&world.log)) };
        let mut entry = json!({
            "logIndex": "5", "logId": {"keyId": base64(&id)},
            "kindVersion": {"kind": self.entry.0, "version": self.entry.1},
            "canonicalizedBody": base64(&body),
        });
        if let Some(later) = self.promise {
            let time = TIME + later;
            let promised = format!(
                r#"{{"body":"{}","integratedTime":{time},"logID":"{}","logIndex":5}}"#,
                base64(&body),
                hex::encode(&id)
            );
            entry["integratedTime"] = time.to_string().into();
            let promise = base64(sign(&world.log, promised.as_bytes()));
            entry["inclusionPromise"] = json!({"signedEntryTimestamp": promise});
        }
        if self.has_proof {
            let root = hash(&[&[0], body.as_bytes()].concat());
            let text = format!("{origin}\n1\n{}\n", base64(&root));
            let (hint, note) = if self.is_second() {
                (log2_id(signer, by), ed25519(by).sign(text.as_bytes()).to_bytes().to_vec())
            } else {
                (hash(&spki(&key(by))), sign(&key(by), text.as_bytes()))
            };
            let note = base64([&hint[..4], &note].concat());
            entry["inclusionProof"] = json!({
                "logIndex": "0", "treeSize": "1", "rootHash": base64(&root), "hashes": [],
                "checkpoint": {"envelope": format!("{text}\n\u{2014} {signer} {note}\n")},
            });
        }
        let certificate = match self.minor {
            3 => json!({"certificate": {"rawBytes": base64(&leaf)}}),
            _ => json!({"x509CertificateChain": {"certificates": [{"rawBytes": base64(&leaf)}]}}),
        };
        let stamp = |(later, more): &(i64, &[u8])| {
            let stamped = [&signature, *more].concat();
            json!({"signedTimestamp": base64(self.stamp(&stamped, *later))})
        };
        let stamps: Vec<Value> = self.stamps.iter().map(stamp).collect();
        let mut material = certificate;
        material["tlogEntries"] = json!([entry]);
        material["timestampVerificationData"] = json!({"rfc3161Timestamps": stamps});
        let media = match self.minor {
            3 => "application/vnd.dev.sigstore.bundle.v0.3+json".to_string(),
            minor => format!("application/vnd.dev.sigstore.bundle+json;version=0.{minor}"),
        };
        let mut bundle = json!({"mediaType": media, "verificationMaterial": material});
        match self.subjects {
            Some(_) => {
                bundle["dsseEnvelope"] = json!({"payload": base64(&payload), "payloadType": kind,
                    "signatures": [{"sig": base64(&signature)}]});
            }
            None => {
                bundle["messageSignature"] = json!({"signature": base64(&signature),
                    "messageDigest": {"algorithm": "SHA2_256", "digest": base64(hash(FILE))}});
            }
        }
        bundle
    }

    /// A TimeStampResp (RFC 3161).
    fn stamp(&self, message: &[u8], later: i64) -> Vec<u8> {
        let sha256 = wrap(0x30, &[&[6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1]]);
        let ecdsa = wrap(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
        let tst: &[u8] = &[6, 11, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 1, 4];
        let time = jiff::Timestamp::from_second(TIME + later).unwrap();
        let time = time.strftime("%Y%m%d%H%M%SZ").to_string();
        let imprint = wrap(0x30, &[&sha256, &wrap(4, &[&hash(message)])]);
        let info = wrap(
            0x30,
            &[&[2, 1, 1], &[6, 2, 0x2a, 3], &imprint, &[2, 1, 9], &wrap(0x18, &[time.as_bytes()])],
        );
        let attribute = |oid: u8, value: &[u8]| {
            let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, oid];
            wrap(0x30, &[&oid, &wrap(0x31, &[value])])
        };
        let attributes = [attribute(3, tst), attribute(4, &wrap(4, &[&hash(&info)]))].concat();
        let signature = sign(&key(self.tsa), &wrap(0x31, &[&attributes]));
        let signer = wrap(
            0x30,
            &[
                &[2, 1, 1],
                &wrap(0x30, &[&name("tsa root"), &[2, 1, 7]]),
                &sha256,
                &wrap(0xa0, &[&attributes]),
                &ecdsa,
                &wrap(4, &[&signature]),
            ],
        );
        let content = wrap(0x30, &[tst, &wrap(0xa0, &[&wrap(4, &[&info])])]);
        let data =
            wrap(0x30, &[&[2, 1, 3], &wrap(0x31, &[&sha256]), &content, &wrap(0x31, &[&signer])]);
        let signed_data: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
        let token = wrap(0x30, &[signed_data, &wrap(0xa0, &[&data])]);
        wrap(0x30, &[&wrap(0x30, &[&[2, 1, 0]]), &token])
    }

    /// The trusted root: that of the world, a log of the second kind, an authority of time.
    fn root(&self) -> Value {
        let mut root = World::new().root_json();
        let log = json!({"baseUrl": format!("https://{LOG2}"),
            "publicKey": {"rawBytes": base64(ed25519_spki(33)), "keyDetails": "PKIX_ED25519"},
            "logId": {"keyId": base64(log2_id(LOG2, 33))}});
        root["tlogs"].as_array_mut().unwrap().push(log);
        let constraints = extension(&[0x55, 0x1d, 0x13], true, &[0x30, 3, 1, 1, 0xff]);
        let authority = tbs("tsa root", "tsa root", &key(21), VALID, &constraints);
        let usage = wrap(0x30, &[self.tsa_usage.0]);
        let usage = extension(&[0x55, 0x1d, 0x25], self.tsa_usage.1, &usage);
        let leaf = tbs("tsa root", "tsa", &key(22), VALID, &usage);
        let chain = [certificate(&leaf, &key(21)), certificate(&authority, &key(21))];
        let chain = chain.map(|it| json!({"rawBytes": base64(it)}));
        root["timestampAuthorities"] = json!([{"certChain": {"certificates": chain}}]);
        root
    }
}

fn verify_by(root: &Value, bundle: &Value, wanted: &str) -> Result<(), SigstoreError> {
    let root = TrustedRoot::parse(root.to_string().as_bytes()).unwrap();
    assert!(root.unused().is_empty(), "{:?}", root.unused());
    let bundle = Bundle::parse(bundle.to_string().as_bytes())?;
    let (name, issuer) = (TextMatch::Exact(wanted.into()), TextMatch::Exact(ISSUER.into()));
    let wanted = IdentityMatch { name, issuer, claims: Vec::new() };
    let by = |artifact: &Artifact<'_>| {
        Verifier::new(Some(&root), NOW).verify_identity(&bundle, artifact, &wanted).map(|_| ())
    };
    let found = by(&Artifact::Bytes(FILE));
    // A file and its digest are the same, whatever becomes of them.
    assert_eq!(by(&Artifact::Digest(hash(FILE))).is_ok(), found.is_ok(), "{found:?}");
    found
}

#[track_caller]
fn expect(found: Result<(), SigstoreError>, expected: Result<(), &str>) {
    match (found, expected) {
        (Ok(()), Ok(())) => {}
        (Err(error), Err(why)) => {
            let text = palisade_base::render_chain(&error, None);
            assert!(text.contains(why), "`{why}` is not in {text}");
        }
        (found, expected) => panic!("{found:?}, expected {expected:?}"),
    }
}

#[track_caller]
fn check(make: &Make, expected: Result<(), &str>) {
    expect(verify_by(&make.root(), &make.bundle(), SUBJECT), expected);
}

#[test]
fn versions_ask_for_their_proofs() {
    check(&good(), Ok(()));
    for minor in 1..=3 {
        let make = old(minor, "dsse", "0.0.1");
        check(&make, Ok(()));
        // The first version needs a promise, later ones a proof; each may have both.
        check(&Make { has_proof: true, ..make.clone() }, Ok(()));
        let expected = if minor == 1 { Ok(()) } else { Err("is missing") };
        check(&Make { has_proof: false, ..make.clone() }, expected);
        let stamped =
            Make { promise: None, has_proof: true, stamps: vec![(0, b"")], ..make.clone() };
        check(&stamped, if minor == 1 { Err("is missing") } else { Ok(()) });
        // Without promise and time stamp nobody says when.
        let timeless = Make { promise: None, has_proof: true, ..make };
        check(
            &timeless,
            if minor == 1 { Err("is missing") } else { Err("says when this was signed") },
        );
    }
    for minor in [1, 2] {
        check(&Make { minor, ..good() }, if minor == 1 { Err("is missing") } else { Ok(()) });
    }
    check(&Make { has_proof: false, ..good() }, Err("is missing"));
    check(&Make { stamps: Vec::new(), ..good() }, Err("says when this was signed"));
    // A chain where one certificate must be; earlier versions may have either.
    for (minor, from, to) in
        [(3, "certificate", "x509CertificateChain"), (2, "x509CertificateChain", "certificate")]
    {
        let mut bundle = old(minor, "dsse", "0.0.1").bundle();
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let value = material.remove(from).unwrap();
        let leaf = value.pointer("/certificates/0").unwrap_or(&value).clone();
        let chain = json!({"certificates": [leaf]});
        material.insert(to.into(), if to == "certificate" { leaf } else { chain });
        let found = verify_by(&good().root(), &bundle, SUBJECT);
        expect(found, if minor == 3 { Err("one certificate, no chain") } else { Ok(()) });
    }
    for (key, value) in
        [("x", json!(1)), ("media_type", json!("a")), ("verificationMaterial", Value::Null)]
    {
        let mut bundle = good().bundle();
        bundle[key] = value;
        expect(verify_by(&good().root(), &bundle, SUBJECT), Err(""));
    }
}

#[test]
fn entries_are_of_the_kind_of_what_was_signed() {
    let file = |make: &Make| Make { subjects: None, ..make.clone() };
    for (kind, version, of_envelopes, of_files) in [
        ("dsse", "0.0.1", true, false),
        ("intoto", "0.0.2", true, false),
        ("hashedrekord", "0.0.1", true, true),
        ("hashedrekord", "0.0.2", true, true),
        ("dsse", "0.0.2", true, false),
        ("intoto", "0.0.1", false, false),
        ("hashedrekord", "0.0.3", false, false),
        ("rekord", "0.0.1", false, false),
    ] {
        let make = old(2, kind, version);
        check(&make, if of_envelopes { Ok(()) } else { Err("") });
        check(&file(&make), if of_files { Ok(()) } else { Err("") });
        // Of something else that the same signer might have signed.
        for make in [make.clone(), file(&make)] {
            check(&Make { logged: Some(b"another"), ..make }, Err(""));
        }
    }
    check(&Make { entry: ("dsse", "0.0.2"), ..good() }, Ok(()));
    check(&file(&good()), Ok(()));
    check(&Make { logged: Some(FILE), ..good() }, Err("artifact"));
    check(&Make { payload_type: "text/plain", ..good() }, Err("text/plain"));
    // The kind that the bundle says is that of the body.
    let mut bundle = good().bundle();
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["version"] = "0.0.1".into();
    expect(verify_by(&good().root(), &bundle, SUBJECT), Err("kind"));
}

#[test]
fn checkpoints_are_of_the_log_and_by_it() {
    let with = |by: u8, signer: &'static str, origin: &'static str| Make {
        checkpoint: (by, signer, origin),
        ..good()
    };
    check(&with(34, LOG2, LOG2), Err("did not sign"));
    check(&with(33, "log2.other", LOG2), Err("did not sign"));
    check(&with(33, LOG2, "log2.other"), Err("another log"));
    check(&with(33, LOG2, "log2.example"), Err("another log"));
    let first = |by: u8| Make {
        checkpoint: (by, "log.example", "log.example - 1"),
        ..old(2, "dsse", "0.0.1")
    };
    check(&first(3), Ok(()));
    check(&first(9), Err("did not sign"));
    // The hint of the right key over another's signature is a lie.
    let mut bundle = good().bundle();
    let note = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";
    let text = bundle.pointer(note).unwrap().as_str().unwrap().to_string();
    let (head, encoded) = text.trim_end().rsplit_once(' ').unwrap();
    let mut bytes = STANDARD.decode(encoded).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    *bundle.pointer_mut(note).unwrap() = format!("{head} {}\n", base64(bytes)).into();
    expect(verify_by(&good().root(), &bundle, SUBJECT), Err("signature is false"));
}

#[test]
fn times_lie_where_everybody_is_trusted() {
    // The certificate is valid from 200 seconds before to 400 seconds after.
    for (later, holds) in [(-200, true), (-201, false), (400, true), (401, false), (0, true)] {
        let expected = if holds { Ok(()) } else { Err("was not valid at") };
        check(&Make { stamps: vec![(later, b"")], ..good() }, expected);
        check(&Make { promise: Some(later), ..old(2, "dsse", "0.0.1") }, expected);
        // Of two times both must be in it.
        check(&Make { stamps: vec![(later, b"")], ..old(2, "dsse", "0.0.1") }, expected);
    }
    check(&Make { stamps: vec![(90_000, b"")], ..good() }, Err("future"));
    check(&Make { stamps: vec![(0, b"other")], ..good() }, Err("another signature"));
    check(&Make { stamps: vec![(0, b""), (1, b"")], ..good() }, Ok(()));
    check(&Make { tsa: 23, ..good() }, Err("false"));
    // The authority of time is for that alone, and says so critically (RFC 3161).
    let any: &[u8] = &[6, 4, 0x55, 0x1d, 0x25, 0];
    let code: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3];
    let both: &[u8] = &[6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3];
    for usage in [(TIME_STAMPING, false), (any, true), (code, true), (both, true)] {
        check(&Make { tsa_usage: usage, ..good() }, Err("says when this was signed"));
    }
}

/// A member of the root counts in its periods, wherever it stands and however often.
#[test]
fn periods_of_trust_may_have_gaps() {
    let at = |seconds: i64| jiff::Timestamp::from_second(TIME + seconds).unwrap().to_string();
    let period = |from: i64, to: i64| json!({"start": at(from), "end": at(to)});
    let (before, around, after) = (period(-900, -1), period(-10, 10), period(1, 900));
    let with = |make: &Make, part: &str, at: usize, periods: &[&Value]| {
        let mut root = make.root();
        let member = root[part].as_array_mut().unwrap().remove(at);
        for period in periods {
            let mut one = member.clone();
            if part.ends_with("logs") {
                one["publicKey"]["validFor"] = (*period).clone();
            } else {
                one["validFor"] = (*period).clone();
            }
            root[part].as_array_mut().unwrap().push(one);
        }
        verify_by(&root, &make.bundle(), SUBJECT)
    };
    let first = old(2, "dsse", "0.0.1");
    for (make, part, at) in [
        (&good(), "tlogs", 1),
        (&first, "tlogs", 0),
        (&good(), "ctlogs", 0),
        (&first, "ctlogs", 0),
        (&good(), "certificateAuthorities", 0),
        (&first, "certificateAuthorities", 0),
        (&good(), "timestampAuthorities", 0),
    ] {
        expect(with(make, part, at, &[&around]), Ok(()));
        expect(with(make, part, at, &[&before, &around]), Ok(()));
        expect(with(make, part, at, &[&after, &before, &around]), Ok(()));
        expect(with(make, part, at, &[&around, &after]), Ok(()));
        expect(with(make, part, at, &[&before, &after]), Err(""));
        expect(with(make, part, at, &[&period(0, 0)]), Ok(()));
        expect(with(make, part, at, &[]), Err(""));
    }
}

#[test]
fn certificates_are_in_a_log_of_certificates() {
    let with = |scts: &[Sct]| Make { scts: scts.to_vec(), ..good() };
    check(&with(&[]), Err("is missing"));
    check(&with(&[SCT, SCT]), Ok(()));
    let unknown = Sct { by: 40, of: 40, ..SCT };
    let forged = Sct { by: 40, ..SCT };
    let newer = Sct { version: 1, ..SCT };
    check(&with(&[unknown]), Err("no log in the trusted root"));
    check(&with(&[unknown, SCT]), Ok(()));
    check(&with(&[SCT, unknown]), Ok(()));
    check(&with(&[forged]), Err("false signature"));
    check(&with(&[forged, SCT]), Ok(()));
    // A version that nobody knows says nothing.
    check(&with(&[newer]), Err("no log in the trusted root"));
    check(&with(&[newer, SCT]), Ok(()));
}

#[test]
fn names_are_those_that_signers_are_called_by() {
    let with = |names: &[u8], wanted: &str, expected: Result<(), &str>| {
        let make = Make { names: names.to_vec(), ..good() };
        expect(verify_by(&make.root(), &make.bundle(), wanted), expected);
    };
    let email = wrap(0x81, &[b"dev@shop.example"]);
    let host = wrap(0x82, &[b"shop.example"]);
    let other = |oid: &[u8], text: &str| {
        wrap(0xa0, &[&wrap(6, &[oid]), &wrap(0xa0, &[&wrap(0x0c, &[text.as_bytes()])])])
    };
    let fulcio = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 7];
    with(&uri(SUBJECT), SUBJECT, Ok(()));
    with(&email, "dev@shop.example", Ok(()));
    with(&host, "shop.example", Ok(()));
    with(&other(&fulcio, "dev!shop"), "dev!shop", Ok(()));
    with(&[email.clone(), uri(SUBJECT)].concat(), SUBJECT, Ok(()));
    // Names of other kinds are nobody's: an address of the network, a name of a folder.
    let address = wrap(0x87, &[&[127, 0, 0, 1]]);
    with(&address, "127.0.0.1", Err("signed by"));
    with(&[address, uri(SUBJECT)].concat(), SUBJECT, Ok(()));
    with(&other(&[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x14, 2, 3], "dev"), "dev", Err(""));
    with(&[], SUBJECT, Err(""));
    with(&uri(SUBJECT), "dev@shop.example", Err("signed by"));
    with(&uri("https://git.example/\0shop"), "https://git.example/", Err(""));
    with(&uri(""), "", Err(""));
}

#[test]
fn statements_are_about_the_file_by_any_known_digest() {
    let of = |subjects: Value, expected: Result<(), &str>| {
        let make = Make { subjects: Some(subjects), ..good() };
        let root = TrustedRoot::parse(make.root().to_string().as_bytes()).unwrap();
        let found = Bundle::parse(make.bundle().to_string().as_bytes()).and_then(|bundle| {
            Verifier::new(Some(&root), NOW).verify(&bundle, &Artifact::Bytes(FILE), &[]).map(|_| ())
        });
        expect(found, expected);
    };
    let right = |kind: &str| match kind {
        "sha256" => hex::encode(digest(&SHA256, FILE)),
        "sha384" => hex::encode(digest(&SHA384, FILE)),
        _ => hex::encode(digest(&SHA512, FILE)),
    };
    let not = Err("not about this artifact");
    for kind in ["sha256", "sha384", "sha512"] {
        of(json!([{"digest": {kind: right(kind)}}]), Ok(()));
        // Statements write them in small letters (in-toto, digest_set.md).
        of(json!([{"digest": {kind: right(kind).to_uppercase()}}]), not);
        of(json!([{"digest": {kind: "00"}}, {"digest": {kind: right(kind)}}]), Ok(()));
        of(json!([{"digest": {kind: hex::encode(hash(b"x"))}}]), not);
        of(json!([{"digest": {kind: right(kind)[1..].to_string()}}]), not);
    }
    // A digest under the name of another, one that nobody knows, and none.
    of(json!([{"digest": {"sha512": right("sha256")}}]), not);
    of(json!([{"digest": {"sha1": right("sha256")}}]), not);
    of(json!([{"digest": {"sha256": hex::encode(hash(b"x")), "gitCommit": right("sha256")}}]), not);
    of(json!([{"digest": {}}]), not);
    of(json!([]), Err(""));
    of(json!([{"name": "f"}]), Err(""));
    of(json!([{"digest": {"sha256": 7}}]), Err(""));
}

/// Somebody who signs files without a certificate.
enum Managed {
    P256,
    P384,
    P521,
    Rsa,
    Ed25519,
    Ed25519ph,
}

impl Managed {
    fn public(&self) -> VerificationKey {
        let ec = |curve: &[u8], point: &[u8]| {
            let oid = [6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
            wrap(0x30, &[&wrap(0x30, &[&oid, &wrap(6, &[curve])]), &wrap(3, &[&[0], point])])
        };
        let der = match self {
            Self::P256 => spki(&key(50)),
            Self::P384 => {
                let key = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
                ec(&[0x2b, 0x81, 4, 0, 0x22], key.verifying_key().to_sec1_point(false).as_bytes())
            }
            Self::P521 => {
                let key = p521();
                let point = p521::ecdsa::VerifyingKey::from(&key).to_sec1_point(false);
                ec(&[0x2b, 0x81, 4, 0, 0x23], point.as_bytes())
            }
            Self::Rsa => {
                use ring::signature::KeyPair as _;
                let oid = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
                let key = rsa();
                let public = key.public_key().as_ref();
                wrap(0x30, &[&wrap(0x30, &[&oid]), &wrap(3, &[&[0], public])])
            }
            Self::Ed25519 | Self::Ed25519ph => ed25519_spki(50),
        };
        let pem =
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", base64(der));
        VerificationKey::from_pem(&pem).unwrap()
    }

    /// The signature with that hash, where there is one.
    fn sign(&self, algorithm: &str) -> Option<Vec<u8>> {
        let hash = of(algorithm);
        let rsa_with = |encoding: &'static dyn ring::signature::RsaEncoding| {
            let key = rsa();
            let mut out = vec![0; key.public().modulus_len()];
            key.sign(encoding, &ring::rand::SystemRandom::new(), FILE, &mut out).unwrap();
            out
        };
        Some(match (self, algorithm) {
            (Self::P256, _) => {
                let key = p256::ecdsa::SigningKey::from_slice(&[50; 32]).unwrap();
                let signature: p256::ecdsa::Signature = key.sign_prehash(&hash).unwrap();
                signature.to_der().as_bytes().to_vec()
            }
            (Self::P384, _) => {
                let key = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
                let signature: p384::ecdsa::Signature = key.sign_prehash(&hash).unwrap();
                signature.to_der().as_bytes().to_vec()
            }
            (Self::P521, "SHA2_512") => {
                let signature: p521::ecdsa::Signature = p521().sign_prehash(&hash).unwrap();
                signature.to_der().as_bytes().to_vec()
            }
            (Self::Rsa, "SHA2_256") => rsa_with(&ring::signature::RSA_PKCS1_SHA256),
            (Self::Rsa, "SHA2_384") => rsa_with(&ring::signature::RSA_PKCS1_SHA384),
            (Self::Rsa, "SHA2_512") => rsa_with(&ring::signature::RSA_PKCS1_SHA512),
            (Self::Rsa, _) => rsa_with(&ring::signature::RSA_PSS_SHA256),
            (Self::Ed25519, _) => ed25519(50).sign(FILE).to_bytes().to_vec(),
            (Self::Ed25519ph, "SHA2_512") => {
                use ed25519_dalek::Digest as _;
                let hash = ed25519_dalek::Sha512::new_with_prefix(FILE);
                ed25519(50).sign_prehashed(hash, None).unwrap().to_bytes().to_vec()
            }
            _ => return None,
        })
    }
}

fn p521() -> p521::ecdsa::SigningKey {
    let secret = [&[0][..], &[7; 65]].concat();
    p521::ecdsa::SigningKey::from_slice(&secret).unwrap()
}

fn rsa() -> ring::signature::RsaKeyPair {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/rsa2048.der");
    ring::signature::RsaKeyPair::from_pkcs8(&std::fs::read(path).unwrap()).unwrap()
}

fn of(algorithm: &str) -> Vec<u8> {
    let algorithm = match algorithm {
        "SHA2_384" => &SHA384,
        "SHA2_512" => &SHA512,
        _ => &SHA256,
    };
    digest(algorithm, FILE).as_ref().to_vec()
}

/// Managed keys: every kind with every digest, by the file and by its digest.
#[test]
fn managed_keys_of_every_kind_sign_files() {
    let bundle = |signature: &[u8], algorithm: &str, hint: &str| {
        let text = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": hint}},
            "messageSignature": {"signature": base64(signature),
                "messageDigest": {"algorithm": algorithm, "digest": base64(of(algorithm))}},
        });
        Bundle::parse(text.to_string().as_bytes())
    };
    let ok = |bundle: &Bundle, artifact: &Artifact<'_>, key: &VerificationKey| {
        let keys = std::slice::from_ref(key);
        Verifier::new(None, NOW).verify_key(bundle, artifact, keys).is_ok()
    };
    let stranger = Managed::P384.public();
    for (kind, algorithm, by_digest) in [
        (Managed::P256, "SHA2_256", true),
        (Managed::P256, "SHA2_384", true),
        (Managed::P256, "SHA2_512", true),
        (Managed::P384, "SHA2_256", true),
        (Managed::P384, "SHA2_384", true),
        (Managed::P384, "SHA2_512", true),
        (Managed::P521, "SHA2_512", true),
        (Managed::Rsa, "SHA2_256", true),
        (Managed::Rsa, "SHA2_384", true),
        (Managed::Rsa, "SHA2_512", true),
        // Ed25519 is of the file itself, Ed25519ph of its SHA-512.
        (Managed::Ed25519, "SHA2_256", false),
        (Managed::Ed25519, "SHA2_512", false),
        (Managed::Ed25519ph, "SHA2_512", true),
    ] {
        let (public, signature) = (kind.public(), kind.sign(algorithm).unwrap());
        let good = bundle(&signature, algorithm, public.hint()).unwrap();
        let file = Artifact::Bytes(FILE);
        let shown = format!("{public:?} {algorithm}");
        assert!(ok(&good, &file, &public), "{shown}");
        assert_eq!(ok(&good, &Artifact::Digest(of(algorithm)), &public), by_digest, "{shown}");
        // The name of the key is a hint and nothing more.
        assert!(ok(&bundle(&signature, algorithm, "").unwrap(), &file, &public), "{shown}");
        assert!(!ok(&good, &Artifact::Bytes(b"another"), &public), "{shown}");
        let mut digest = of(algorithm);
        digest[0] ^= 1;
        assert!(!ok(&good, &Artifact::Digest(digest), &public), "{shown}");
        if !matches!(kind, Managed::P384) {
            assert!(!ok(&good, &file, &stranger), "{shown}");
        }
        for at in (0..signature.len()).step_by(5) {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            let changed = bundle(&changed, algorithm, "").unwrap();
            assert!(!ok(&changed, &file, &public), "{shown} {at}");
            assert!(!ok(&changed, &Artifact::Digest(of(algorithm)), &public), "{shown} {at}");
        }
        let longer = bundle(&[&signature[..], &[0]].concat(), algorithm, "").unwrap();
        assert!(!ok(&longer, &file, &public), "{shown}");
        for other in ["SHA2_224", "SHA3_256", "SHA1", "HASH_ALGORITHM_UNSPECIFIED", ""] {
            assert!(bundle(&signature, other, "").is_err(), "{shown}: {other}");
        }
    }
    // Padding that is not that of the key's kind (PSS) proves nothing.
    let signature = Managed::Rsa.sign("PSS").unwrap();
    let pss = bundle(&signature, "SHA2_256", "").unwrap();
    assert!(!ok(&pss, &Artifact::Bytes(FILE), &Managed::Rsa.public()));
    assert!(!ok(&pss, &Artifact::Digest(of("SHA2_256")), &Managed::Rsa.public()));
}

//! Images signed with a certificate, by an authority and logs that the test itself makes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::Digest;
use palisade_trust::sigstore::{IdentityMatch, TextMatch, TrustedRoot, Verifier};
use palisade_trust::{
    Blobs, ContentError, Depth, Descriptor, ImageSigner, ImageSource, PrivateKey, SignOptions,
    SignatureFormat, Signers, VerifyError, sign_image, verify_image_by,
};
use serde_json::{Value, json};

use crate::fixture::{Layout, key};

pub(crate) const TIME: i64 = 1_700_000_000;
pub(crate) const SUBJECT: &str = "https://git.example/shop/app@refs/tags/v1";
pub(crate) const ISSUER: &str = "https://token.git.example";
const ECDSA_SHA256: &[u8] = &[0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(crate) fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let value = parts.concat();
    let mut out = vec![tag];
    match value.len() {
        n @ 0..=0x7f => out.push(n as u8),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    // The long form is minimal only from 256 bytes on.
    if (0x80..0x100).contains(&value.len()) {
        out.truncate(1);
        out.extend([0x81, value.len() as u8]);
    }
    out.extend(value);
    out
}

pub(crate) fn name(text: &str) -> Vec<u8> {
    let pair = wrap(0x30, &[&[6, 3, 0x55, 4, 3], &wrap(0x0c, &[text.as_bytes()])]);
    wrap(0x30, &[&wrap(0x31, &[&pair])])
}

pub(crate) fn extension(oid: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let flag: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    wrap(0x30, &[&wrap(6, &[oid]), flag, &wrap(4, &[value])])
}

pub(crate) fn spki(key: &PrivateKey) -> Vec<u8> {
    let pem = key.public().to_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    STANDARD.decode(body).unwrap()
}

pub(crate) fn sign(key: &PrivateKey, bytes: &[u8]) -> Vec<u8> {
    key.sign(&Digest::of(bytes)).unwrap()
}

pub(crate) fn tbs(
    issuer: &str,
    subject: &str,
    of: &PrivateKey,
    valid: [&str; 2],
    extensions: &[u8],
) -> Vec<u8> {
    let validity = valid.map(|time| wrap(0x18, &[time.as_bytes()])).concat();
    wrap(
        0x30,
        &[
            &[0xa0, 3, 2, 1, 2],
            &[2, 1, 7],
            ECDSA_SHA256,
            &name(issuer),
            &wrap(0x30, &[&validity]),
            &name(subject),
            &spki(of),
            &wrap(0xa3, &[&wrap(0x30, &[extensions])]),
        ],
    )
}

pub(crate) fn certificate(tbs: &[u8], by: &PrivateKey) -> Vec<u8> {
    wrap(0x30, &[tbs, ECDSA_SHA256, &wrap(3, &[&[0], &sign(by, tbs)])])
}

/// Keys of everybody who takes part.
pub(crate) struct World {
    pub(crate) ca: PrivateKey,
    pub(crate) ct: PrivateKey,
    pub(crate) log: PrivateKey,
    pub(crate) signer: PrivateKey,
    /// Whom certificates name.
    pub(crate) subject: String,
}

/// What may be wrong with a signature.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wrong {
    Nothing,
    OtherCa,
    NoSct,
    OtherCt,
    OtherLog,
    TooLate,
    NoCodeSigning,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { ca: key(1), ct: key(2), log: key(3), signer: key(4), subject: SUBJECT.into() }
    }

    fn root(&self) -> TrustedRoot {
        TrustedRoot::parse(self.root_json().to_string().as_bytes()).unwrap()
    }

    pub(crate) fn root_json(&self) -> Value {
        let constraints = extension(&[0x55, 0x1d, 0x13], true, &[0x30, 3, 1, 1, 0xff]);
        let usage = extension(&[0x55, 0x1d, 0x0f], true, &[3, 2, 1, 6]);
        let valid = ["20200101000000Z", "20400101000000Z"];
        let tbs = tbs("ca", "ca", &self.ca, valid, &[constraints, usage].concat());
        let ca = certificate(&tbs, &self.ca);
        let log = |of: &PrivateKey| {
            json!([{
                "baseUrl": "https://log.example",
                "publicKey": {
                    "rawBytes": STANDARD.encode(spki(of)), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                },
                "logId": {"keyId": STANDARD.encode(Digest::of(&spki(of)).as_bytes())},
            }])
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": log(&self.log),
            "ctlogs": log(&self.ct),
            "certificateAuthorities": [
                {"certChain": {"certificates": [{"rawBytes": STANDARD.encode(ca)}]}},
            ],
        })
    }

    fn leaf(&self, wrong: Wrong) -> Vec<u8> {
        let usage: &[u8] = if wrong == Wrong::NoCodeSigning { &[8] } else { &[3] };
        let usage = wrap(0x30, &[&wrap(6, &[&[0x2b, 6, 1, 5, 5, 7, 3], usage])]);
        let names = wrap(0x30, &[&wrap(0x86, &[self.subject.as_bytes()])]);
        let fulcio = [0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
        let mut extensions = [
            extension(&[0x55, 0x1d, 0x25], false, &usage),
            extension(&[0x55, 0x1d, 0x11], true, &names),
            extension(&fulcio, false, &wrap(0x0c, &[ISSUER.as_bytes()])),
        ]
        .concat();
        // Valid for ten minutes around TIME: 2023-11-14T22:13:20Z.
        let valid = ["20231114221000Z", "20231114222000Z"];
        let of = |extensions: &[u8]| tbs("ca", "leaf", &self.signer, valid, extensions);
        if wrong != Wrong::NoSct {
            let tbs = of(&extensions);
            let ct = if wrong == Wrong::OtherCt { key(9) } else { key(2) };
            let time = (TIME as u64 * 1000).to_be_bytes();
            let length = &(tbs.len() as u32).to_be_bytes()[1..];
            let issuer = Digest::of(&spki(&self.ca));
            let signed =
                [&[0, 0], &time[..], &[0, 1], issuer.as_bytes(), length, &tbs, &[0, 0]].concat();
            let signature = sign(&ct, &signed);
            let n = (signature.len() as u16).to_be_bytes();
            let id = Digest::of(&spki(&self.ct));
            let sct = [&[0], &id.as_bytes()[..], &time, &[0, 0, 4, 3], &n, &signature].concat();
            let one = [&(sct.len() as u16).to_be_bytes()[..], &sct].concat();
            let list = [&(one.len() as u16).to_be_bytes()[..], &one].concat();
            let oid = [0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
            extensions.extend(extension(&oid, false, &wrap(4, &[&list])));
        }
        let ca = if wrong == Wrong::OtherCa { key(9) } else { key(1) };
        certificate(&of(&extensions), &ca)
    }

    /// A bundle of version 0.1 that signs the image with that digest.
    pub(crate) fn bundle(&self, image: &Digest, wrong: Wrong) -> Value {
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"digest": {"sha256": image.hex()}}],
            "predicateType": "https://sigstore.dev/cosign/sign/v1",
            "predicate": {},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let pae = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let signature = STANDARD.encode(sign(&self.signer, pae.as_bytes()));
        let leaf = STANDARD.encode(self.leaf(wrong));
        let pem = format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n");
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "payloadHash":
                    {"algorithm": "sha256", "value": Digest::of(payload.as_bytes()).hex()},
                "signatures": [{"signature": signature, "verifier": STANDARD.encode(pem)}],
            },
        });
        let body = STANDARD.encode(body.to_string());
        let time = if wrong == Wrong::TooLate { TIME + 3600 } else { TIME };
        let id = Digest::of(&spki(&self.log));
        let promised = format!(
            r#"{{"body":"{body}","integratedTime":{time},"logID":"{}","logIndex":5}}"#,
            id.hex()
        );
        let log = if wrong == Wrong::OtherLog { key(9) } else { key(3) };
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1",
            "verificationMaterial": {
                "x509CertificateChain": {"certificates": [{"rawBytes": leaf}]},
                "tlogEntries": [{
                    "logIndex": "5",
                    "logId": {"keyId": STANDARD.encode(id.as_bytes())},
                    "kindVersion": {"kind": "dsse", "version": "0.0.1"},
                    "integratedTime": time.to_string(),
                    "inclusionPromise": {
                        "signedEntryTimestamp": STANDARD.encode(sign(&log, promised.as_bytes())),
                    },
                    "canonicalizedBody": body,
                }],
            },
            "dsseEnvelope": {
                "payload": STANDARD.encode(&payload),
                "payloadType": kind,
                "signatures": [{"sig": signature}],
            },
        })
    }

    fn pem(&self, wrong: Wrong) -> String {
        let leaf = STANDARD.encode(self.leaf(wrong));
        format!("-----BEGIN CERTIFICATE-----\n{leaf}\n-----END CERTIFICATE-----\n")
    }

    /// The annotations of cosign's older forms: certificate, and the log's promise to take
    /// `body`.
    fn annotations(&self, body: &Value, wrong: Wrong) -> Value {
        let body = STANDARD.encode(body.to_string());
        let time = if wrong == Wrong::TooLate { TIME + 3600 } else { TIME };
        let id = Digest::of(&spki(&self.log)).hex();
        let promised =
            format!(r#"{{"body":"{body}","integratedTime":{time},"logID":"{id}","logIndex":5}}"#);
        let log = if wrong == Wrong::OtherLog { key(9) } else { key(3) };
        let bundle = json!({
            "SignedEntryTimestamp": STANDARD.encode(sign(&log, promised.as_bytes())),
            "Payload": {"body": body, "integratedTime": time, "logID": id, "logIndex": 5},
        });
        json!({
            "dev.sigstore.cosign/certificate": self.pem(wrong),
            "dev.sigstore.cosign/bundle": bundle.to_string(),
        })
    }

    /// Attaches a signature in cosign's older form, of the image `of`.
    fn attach_signature(&self, layout: &Layout, of: &Digest, wrong: Wrong) {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": "registry.example/shop"},
                "image": {"docker-manifest-digest": of.to_string()},
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        let signature = STANDARD.encode(sign(&self.signer, payload.as_bytes()));
        let hash = Digest::of(payload.as_bytes()).hex();
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": hash}},
                "signature": {
                    "content": signature,
                    "publicKey": {"content": STANDARD.encode(self.pem(wrong))},
                },
            },
        });
        let mut annotations = self.annotations(&body, wrong);
        annotations["dev.cosignproject.cosign/signature"] = signature.into();
        let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
        layout.attach("sig", kind, payload.as_bytes(), &annotations);
    }
}

fn wanted(name: &str) -> [IdentityMatch; 1] {
    let exact = |text: &str| TextMatch::Exact(text.into());
    [IdentityMatch {
        name: TextMatch::Pattern(name.into()),
        issuer: exact(ISSUER),
        claims: vec![("issuer".into(), exact(ISSUER))],
    }]
}

#[test]
fn an_image_is_verified_by_whom_its_certificate_names() {
    let world = World::new();
    let root = world.root();
    assert!(root.unused().is_empty(), "{:?}", root.unused());
    let check = |wrong: Wrong, name: &str, now: i64, expected: Result<(), &str>| {
        let layout = Layout::new();
        let bundle = world.bundle(&layout.image, wrong).to_string();
        let kind = "application/vnd.dev.sigstore.bundle+json;version=0.1";
        layout.refer(&layout.image, kind, bundle.as_bytes());
        let verifier = Verifier::new(Some(&root), now);
        let wanted = wanted(name);
        let signers = Signers { keys: &[], identities: Some((&verifier, &wanted)) };
        match (verify_image_by(layout.path(), Some("latest"), signers), expected) {
            (Ok(verified), Ok(())) => {
                assert!(matches!(verified.signer, ImageSigner::Certificate(_)));
                let shown = verified.signer.to_string();
                assert!(shown.contains(SUBJECT) && shown.contains(ISSUER), "{shown}");
            }
            (
                Err(
                    VerifyError::Malformed { rejections, .. }
                    | VerifyError::WrongKey { rejections, .. },
                ),
                Err(why),
            ) => {
                assert!(rejections[0].reason.contains(why), "{why}: {rejections:?}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    };
    let later = TIME + 10_000_000;
    check(Wrong::Nothing, SUBJECT, later, Ok(()));
    check(Wrong::Nothing, "https://git.example/shop/*@refs/tags/*", later, Ok(()));
    check(Wrong::Nothing, "https://git.example/shop/*@refs/heads/*", later, Err("it is signed by"));
    check(Wrong::Nothing, SUBJECT, TIME - 1000, Err("in the future"));
    check(Wrong::OtherCa, SUBJECT, later, Err("no trusted authority"));
    check(Wrong::NoSct, SUBJECT, later, Err("is missing"));
    check(Wrong::OtherCt, SUBJECT, later, Err("false signature"));
    check(Wrong::OtherLog, SUBJECT, later, Err("timestamp is false"));
    check(Wrong::TooLate, SUBJECT, later, Err("was not valid at"));
    check(Wrong::NoCodeSigning, SUBJECT, later, Err("signing code"));
}

#[test]
fn what_was_verified_for_one_image_is_nothing_for_another() {
    let world = World::new();
    let root = world.root();
    let layout = Layout::new();
    let bundle = world.bundle(&Digest::of(b"other"), Wrong::Nothing).to_string();
    let kind = "application/vnd.dev.sigstore.bundle+json;version=0.1";
    layout.refer(&layout.image, kind, bundle.as_bytes());
    let verifier = Verifier::new(Some(&root), TIME + 1000);
    let wanted = wanted("*");
    let signers = Signers { keys: &[], identities: Some((&verifier, &wanted)) };
    let refused = verify_image_by(layout.path(), Some("latest"), signers).unwrap_err();
    assert!(refused.to_string().contains("not about this artifact"), "{refused}");
}

#[test]
fn older_signatures_are_held_to_the_same() {
    let world = World::new();
    let root = world.root();
    let verifier = Verifier::new(Some(&root), TIME + 10_000_000);
    let check = |wrong: Wrong, name: &str, of: Option<&Digest>, expected: Result<(), &str>| {
        let layout = Layout::new();
        world.attach_signature(&layout, of.unwrap_or(&layout.image), wrong);
        let wanted = wanted(name);
        let signers = Signers { keys: &[], identities: Some((&verifier, &wanted)) };
        match (verify_image_by(layout.path(), Some("latest"), signers), expected) {
            (Ok(verified), Ok(())) => {
                assert!(verified.signer.to_string().contains(SUBJECT), "{}", verified.signer);
                assert_eq!(verified.format, SignatureFormat::Simple);
            }
            (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{why}: {error}"),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    };
    check(Wrong::Nothing, SUBJECT, None, Ok(()));
    check(Wrong::Nothing, "*@refs/heads/*", None, Err("it is signed by"));
    check(Wrong::Nothing, SUBJECT, Some(&Digest::of(b"other")), Err("not about this artifact"));
    check(Wrong::OtherCa, SUBJECT, None, Err("no trusted authority"));
    check(Wrong::NoSct, SUBJECT, None, Err("is missing"));
    check(Wrong::OtherLog, SUBJECT, None, Err("timestamp is false"));
    check(Wrong::TooLate, SUBJECT, None, Err("was not valid at"));
}

/// An attestation says something of an image; it is never the signature of it.
#[test]
fn older_attestations_are_the_word_of_who_signed_them() {
    let layout = Layout::new();
    let keys = [key(1).public().clone()];
    let attach = |by: u8, of: &Digest| {
        let payload = json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "subject": [{"digest": {"sha256": of.hex()}}],
            "predicateType": "https://slsa.dev/provenance/v1",
            "predicate": {"by": by},
        })
        .to_string();
        let kind = "application/vnd.in-toto+json";
        let pae = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
        let envelope = json!({
            "payloadType": kind,
            "payload": STANDARD.encode(&payload),
            "signatures": [{"keyid": "", "sig": STANDARD.encode(sign(&key(by), pae.as_bytes()))}],
        });
        let media_type = "application/vnd.dsse.envelope.v1+json";
        layout.attach("att", media_type, envelope.to_string().as_bytes(), &json!({}));
    };
    attach(1, &layout.image);
    attach(2, &layout.image);
    attach(1, &Digest::of(b"other"));
    let signers = Signers { keys: &keys, identities: None };
    let refused = verify_image_by(layout.path(), Some("latest"), signers).unwrap_err();
    assert!(matches!(refused, VerifyError::NoSignature { .. }), "{refused}");
    sign_image(layout.path(), Some("latest"), &key(1), &SignOptions::default()).unwrap();
    let verified = verify_image_by(layout.path(), Some("latest"), signers).unwrap();
    assert_eq!((verified.attestations.len(), verified.n_attestations), (1, 2));
    let found = &verified.attestations[0];
    assert_eq!(found.predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!(found.signer, ImageSigner::Key(keys[0].clone()));
}

/// Blobs of a registry that answers some requests with an error.
struct Flaky<'l> {
    layout: &'l Layout,
    fails: fn(&Descriptor) -> bool,
}

impl Blobs for Flaky<'static> {
    fn open(&self, named: &Descriptor) -> std::io::Result<Box<dyn std::io::Read + '_>> {
        if (self.fails)(named) {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        let file = std::fs::File::open(self.layout.blob_path(&named.digest))?;
        Ok(Box::new(file))
    }
}

/// What could not be read decides nothing, in neither direction.
#[test]
fn a_failing_source_is_no_refusal() {
    let layout: &'static Layout = Box::leak(Box::new(Layout::new()));
    sign_image(layout.path(), Some("latest"), &key(1), &SignOptions::default()).unwrap();
    let index = layout.index();
    let descriptors: Vec<Descriptor> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| serde_json::from_value(one.clone()).unwrap())
        .collect();
    let image = descriptors.iter().find(|one| one.digest == layout.image).unwrap();
    let keys = [key(1).public().clone()];
    let verify = |fails: fn(&Descriptor) -> bool, depth: Depth| {
        let blobs = Box::new(Flaky { layout, fails });
        let source = ImageSource::image(blobs, image.clone(), descriptors.clone());
        source.verify(None, depth, Signers { keys: &keys, identities: None })
    };
    let is_layer = |named: &Descriptor| named.media_type.contains("layer");
    assert!(verify(|_| false, Depth::Everything).is_ok());
    assert!(verify(is_layer, Depth::Manifests).is_ok());
    let undecided = |found: Result<_, VerifyError>| {
        assert!(
            matches!(found, Err(VerifyError::Content(ContentError::Read { .. }))),
            "{:?}",
            found.err()
        );
    };
    undecided(verify(is_layer, Depth::Everything));
    undecided(verify(|named| named.media_type.contains("sigstore"), Depth::Manifests));
    undecided(verify(Descriptor::is_document, Depth::Manifests));
}

/// Whoever signs twice, in whatever form, is one signer.
#[test]
fn signers_are_told_apart() {
    let world = World::new();
    let root = world.root();
    let layout = Layout::new();
    world.attach_signature(&layout, &layout.image, Wrong::Nothing);
    let bundle = world.bundle(&layout.image, Wrong::Nothing).to_string();
    let kind = "application/vnd.dev.sigstore.bundle+json;version=0.1";
    layout.refer(&layout.image, kind, bundle.as_bytes());
    for by in [1, 2, 7] {
        sign_image(layout.path(), Some("latest"), &key(by), &SignOptions::default()).unwrap();
    }
    let verifier = Verifier::new(Some(&root), TIME + 1000);
    let wanted = wanted("*");
    let keys = [key(1).public().clone(), key(2).public().clone()];
    let signers = Signers { keys: &keys, identities: Some((&verifier, &wanted)) };
    let verified = verify_image_by(layout.path(), Some("latest"), signers).unwrap();
    let n_robots =
        verified.signers.iter().filter(|it| matches!(it, ImageSigner::Certificate(_))).count();
    assert_eq!((verified.signers.len(), n_robots), (3, 1), "{:?}", verified.signers);
}

//! Entries of Rekor logs: that the log has them, and what they say was signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_tlog::Hash as TreeHash;
use palisade_tlog::merkle::verify_inclusion;
use serde_json::Value;

use super::bundle::{LogEntry, Proof};
use super::checkpoint;
use super::error::SigstoreError;
use super::root::Log;
use crate::json;
use crate::pem;
use crate::pki::Hash;

/// Largest body of an entry, in bytes.
const BODY_BYTES_MAX: u64 = 16 << 20;
/// Most signatures of an entry.
const SIGNATURES_MAX: usize = 16;

impl LogEntry {
    /// Checks the log's promise and gives the time that it promises.
    pub(crate) fn verify_promise(&self, log: &Log) -> Result<i64, SigstoreError> {
        let promise = self.promise.as_ref().ok_or(SigstoreError::Promise("is missing"))?;
        let text = self.promised_text();
        if log.key.verify(log.hash, text.as_bytes(), promise) {
            Ok(self.integrated_time)
        } else {
            Err(SigstoreError::Promise("is false"))
        }
    }

    /// What the log signs as its promise.
    pub(crate) fn promised_text(&self) -> String {
        // The canonical form of RFC 8785: keys in order, no space. None of these texts has a
        // character that would be escaped.
        let id = hex::encode(&self.log_id);
        format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{id}","logIndex":{}}}"#,
            STANDARD.encode(&self.body),
            self.integrated_time,
            self.index
        )
    }

    /// Checks that the entry is in the tree of a checkpoint that the log signed. Without a
    /// checkpoint, which only version 0.1 allows, the tree is nobody's word.
    pub(crate) fn verify_inclusion(
        &self,
        log: &Log,
        proof: &Proof,
        needs_checkpoint: bool,
    ) -> Result<(), SigstoreError> {
        let bad = |problem: &str| SigstoreError::Inclusion(problem.into());
        let given = TreeHash::from_slice(&proof.root);
        let (size, root) = match &proof.checkpoint {
            Some(text) => {
                let (size, root) =
                    checkpoint::verify(text, log).map_err(SigstoreError::Inclusion)?;
                let other_root = !proof.root.is_empty() && given != Some(root);
                if other_root || (proof.size != 0 && proof.size != size) {
                    return Err(bad("is of another tree than its checkpoint"));
                }
                (size, root)
            }
            None if needs_checkpoint => return Err(bad("has no checkpoint")),
            None => (proof.size, given.ok_or_else(|| bad("has no root"))?),
        };
        let hashes = proof
            .hashes
            .iter()
            .map(|it| TreeHash::from_slice(it))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| bad("has a hash of another length"))?;
        let leaf = TreeHash::of_leaf(&self.body);
        verify_inclusion(leaf, proof.index, size, &hashes, &root)
            .map_err(|error| SigstoreError::Inclusion(format!("does not hold: {error}")))
    }
}

/// What was signed and how, to be found in an entry.
pub(crate) struct Signed<'a> {
    /// The signer's certificate or SubjectPublicKeyInfo, in DER.
    pub(crate) verifier: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) what: What<'a>,
}

/// The thing that was signed.
pub(crate) enum What<'a> {
    /// A file: its digests of each kind, where they are known.
    Message(&'a dyn Fn(Hash) -> Option<Vec<u8>>),
    /// An envelope.
    Envelope { payload: &'a [u8], signed: &'a [u8] },
}

/// Reads fields of a body, by path.
struct Body(Value);

fn at<'v>(value: &'v Value, path: &str) -> Result<&'v Value, SigstoreError> {
    path.split('.').try_fold(value, |value, key| value.get(key)).ok_or_else(|| missing(path))
}

fn missing(path: &str) -> SigstoreError {
    SigstoreError::Entry(format!("it has no `{path}`"))
}

fn text<'v>(value: &'v Value, path: &str) -> Result<&'v str, SigstoreError> {
    at(value, path)?.as_str().ok_or_else(|| missing(path))
}

fn bytes(value: &Value, path: &str) -> Result<Vec<u8>, SigstoreError> {
    STANDARD
        .decode(text(value, path)?)
        .map_err(|_| SigstoreError::Entry(format!("`{path}` is not Base64")))
}

/// The content of Base64 over PEM: a certificate or a public key.
fn pem_bytes(value: &Value, path: &str) -> Result<Vec<u8>, SigstoreError> {
    let pem = bytes(value, path)?;
    std::str::from_utf8(&pem)
        .ok()
        .and_then(pem::decode)
        .map(|(_, der)| der.to_vec())
        .ok_or_else(|| SigstoreError::Entry(format!("`{path}` is no PEM")))
}

fn hash_named(name: &str) -> Result<Hash, SigstoreError> {
    match name {
        "sha256" | "SHA2_256" => Ok(Hash::Sha256),
        "sha384" | "SHA2_384" => Ok(Hash::Sha384),
        "sha512" | "SHA2_512" => Ok(Hash::Sha512),
        _ => Err(SigstoreError::Entry("its digest is of an unknown kind".into())),
    }
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok()
}

/// `{algorithm, value}` in hexadecimal.
fn hex_digest(value: &Value, path: &str) -> Result<(Hash, Vec<u8>), SigstoreError> {
    let hash = hash_named(text(value, &format!("{path}.algorithm"))?)?;
    let digest = unhex(text(value, &format!("{path}.value"))?).ok_or_else(|| missing(path))?;
    Ok((hash, digest))
}

impl LogEntry {
    /// Checks that the entry is of just this signature by just this signer.
    pub(crate) fn check_is_of(&self, signed: &Signed<'_>) -> Result<(), SigstoreError> {
        let body: Value = json::parse(&self.body, BODY_BYTES_MAX)
            .map_err(|error| SigstoreError::Entry(error.to_string()))?;
        if text(&body, "kind")? != self.kind || text(&body, "apiVersion")? != self.version {
            return Err(SigstoreError::EntryMismatch("kind"));
        }
        let body = Body(body);
        match (self.kind.as_str(), self.version.as_str()) {
            ("hashedrekord", "0.0.1") => body.hashedrekord_1(signed),
            ("hashedrekord", "0.0.2") => body.hashedrekord_2(signed),
            ("dsse", "0.0.1") => body.dsse_1(signed),
            ("dsse", "0.0.2") => body.dsse_2(signed),
            ("intoto", "0.0.2") => body.intoto_2(signed),
            _ => Err(SigstoreError::Entry("entries of its kind are not supported".into())),
        }
    }
}

fn same(found: &[u8], wanted: &[u8], what: &'static str) -> Result<(), SigstoreError> {
    if found == wanted { Ok(()) } else { Err(SigstoreError::EntryMismatch(what)) }
}

impl Signed<'_> {
    /// Whether the digest is that of what was signed.
    fn check_digest(&self, hash: Hash, digest: &[u8]) -> Result<(), SigstoreError> {
        let own = match self.what {
            What::Message(of) => of(hash).ok_or(SigstoreError::NeedsArtifact)?,
            What::Envelope { signed, .. } => hash.of(signed),
        };
        same(digest, &own, "artifact")
    }

    fn payload(&self) -> Result<&[u8], SigstoreError> {
        match self.what {
            What::Envelope { payload, .. } => Ok(payload),
            What::Message(_) => Err(SigstoreError::EntryMismatch("kind")),
        }
    }
}

impl Body {
    fn hashedrekord_1(&self, signed: &Signed<'_>) -> Result<(), SigstoreError> {
        let (hash, digest) = hex_digest(&self.0, "spec.data.hash")?;
        same(&bytes(&self.0, "spec.signature.content")?, signed.signature, "signature")?;
        let verifier = pem_bytes(&self.0, "spec.signature.publicKey.content")?;
        same(&verifier, signed.verifier, "signer")?;
        signed.check_digest(hash, &digest)
    }

    fn hashedrekord_2(&self, signed: &Signed<'_>) -> Result<(), SigstoreError> {
        let spec = at(&self.0, "spec.hashedRekordV002")?;
        let hash = hash_named(text(spec, "data.algorithm")?)?;
        same(&bytes(spec, "signature.content")?, signed.signature, "signature")?;
        same(&verifier(at(spec, "signature.verifier")?)?, signed.verifier, "signer")?;
        signed.check_digest(hash, &bytes(spec, "data.digest")?)
    }

    fn dsse_1(&self, signed: &Signed<'_>) -> Result<(), SigstoreError> {
        let (hash, digest) = hex_digest(&self.0, "spec.payloadHash")?;
        same(&digest, &hash.of(signed.payload()?), "artifact")?;
        one_signature(&self.0, "spec.signatures", signed, |it| {
            Ok((bytes(it, "signature")?, pem_bytes(it, "verifier")?))
        })
    }

    fn dsse_2(&self, signed: &Signed<'_>) -> Result<(), SigstoreError> {
        let spec = at(&self.0, "spec.dsseV002")?;
        let hash = hash_named(text(spec, "payloadHash.algorithm")?)?;
        same(&bytes(spec, "payloadHash.digest")?, &hash.of(signed.payload()?), "artifact")?;
        one_signature(spec, "signatures", signed, |it| {
            Ok((bytes(it, "content")?, verifier(at(it, "verifier")?)?))
        })
    }

    fn intoto_2(&self, signed: &Signed<'_>) -> Result<(), SigstoreError> {
        let content = at(&self.0, "spec.content")?;
        let (hash, digest) = hex_digest(content, "payloadHash")?;
        same(&digest, &hash.of(signed.payload()?), "artifact")?;
        one_signature(content, "envelope.signatures", signed, |it| {
            // The signature is the Base64 of what the envelope has, which is Base64.
            let inner = bytes(it, "sig")?;
            let signature = STANDARD.decode(inner).map_err(|_| missing("sig"))?;
            Ok((signature, pem_bytes(it, "publicKey")?))
        })
    }
}

/// `{x509Certificate: {rawBytes}}` or `{publicKey: {rawBytes}}`.
fn verifier(value: &Value) -> Result<Vec<u8>, SigstoreError> {
    match (value.get("x509Certificate"), value.get("publicKey")) {
        (Some(inner), None) | (None, Some(inner)) => bytes(inner, "rawBytes"),
        _ => Err(missing("verifier")),
    }
}

/// Checks that the list holds this signature by this signer, and no other: what a reader
/// of the log sees is what was verified.
fn one_signature(
    value: &Value,
    path: &str,
    signed: &Signed<'_>,
    read: impl Fn(&Value) -> Result<(Vec<u8>, Vec<u8>), SigstoreError>,
) -> Result<(), SigstoreError> {
    let list = at(value, path)?.as_array().ok_or_else(|| missing(path))?;
    if list.len() > SIGNATURES_MAX {
        return Err(SigstoreError::Entry("it has more than 16 signatures".into()));
    }
    let [only] = list.as_slice() else {
        return Err(SigstoreError::EntryMismatch("number of signatures"));
    };
    let (signature, verifier) = read(only)?;
    same(&signature, signed.signature, "signature")?;
    same(&verifier, signed.verifier, "signer")
}

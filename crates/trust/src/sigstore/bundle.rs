//! Bundles of versions 0.1 to 0.3 (sigstore/protobuf-specs, sigstore_bundle.proto), read
//! and not yet verified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::error::SigstoreError;
use crate::bundle::BUNDLE_BYTES_MAX;
use crate::json;
use crate::pki::{Certificate, Hash};

/// Most log entries or time stamps of a bundle.
pub(crate) const PROOFS_MAX: usize = 32;
/// Most certificates of a bundle.
const CERTIFICATES_MAX: usize = 8;

/// What a bundle's signature rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BundleKind {
    /// A key that the verifier knows.
    Key,
    /// A certificate.
    Certificate,
}

/// A bundle that was read, and not verified.
#[derive(Debug)]
pub struct Bundle {
    /// 1, 2 or 3.
    pub(crate) minor: u8,
    pub(crate) material: Material,
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) timestamps: Vec<Vec<u8>>,
    pub(crate) content: Content,
    pub(crate) signature: Vec<u8>,
}

#[derive(Debug)]
pub(crate) enum Material {
    Key { hint: String },
    Certificate { leaf: Box<Certificate>, intermediates: Vec<Certificate> },
}

#[derive(Debug)]
pub(crate) enum Content {
    Message { digest: Option<(Hash, Vec<u8>)> },
    Envelope { payload_type: String, payload: Vec<u8> },
}

#[derive(Debug)]
pub(crate) struct LogEntry {
    pub(crate) index: u64,
    pub(crate) log_id: Vec<u8>,
    pub(crate) kind: String,
    pub(crate) version: String,
    /// Seconds since the Unix epoch; 0 where the log says none.
    pub(crate) integrated_time: i64,
    pub(crate) promise: Option<Vec<u8>>,
    pub(crate) proof: Option<Proof>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) index: u64,
    pub(crate) size: u64,
    pub(crate) root: Vec<u8>,
    pub(crate) hashes: Vec<Vec<u8>>,
    pub(crate) checkpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBundle {
    media_type: String,
    verification_material: RawMaterial,
    #[serde(default)]
    message_signature: Option<RawMessage>,
    #[serde(default)]
    dsse_envelope: Option<RawEnvelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMaterial {
    #[serde(default)]
    public_key: Option<RawPublicKey>,
    #[serde(default)]
    certificate: Option<RawBytes>,
    #[serde(default)]
    x509_certificate_chain: Option<RawChain>,
    #[serde(default)]
    tlog_entries: Option<Vec<RawEntry>>,
    #[serde(default)]
    timestamp_verification_data: Option<RawTimestamps>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublicKey {
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBytes {
    raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChain {
    certificates: Vec<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTimestamps {
    #[serde(default)]
    rfc3161_timestamps: Option<Vec<RawTimestamp>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawTimestamp {
    signed_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawEntry {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    #[serde(default)]
    log_id: Option<RawLogId>,
    kind_version: RawKind,
    #[serde(default, deserialize_with = "number")]
    integrated_time: u64,
    #[serde(default)]
    inclusion_promise: Option<RawPromise>,
    #[serde(default)]
    inclusion_proof: Option<RawProof>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLogId {
    key_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKind {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPromise {
    #[serde(default)]
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawProof {
    #[serde(default, deserialize_with = "number")]
    log_index: u64,
    #[serde(default)]
    root_hash: String,
    #[serde(default, deserialize_with = "number")]
    tree_size: u64,
    #[serde(default)]
    hashes: Option<Vec<String>>,
    #[serde(default)]
    checkpoint: Option<RawCheckpoint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheckpoint {
    #[serde(default)]
    envelope: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMessage {
    #[serde(default)]
    message_digest: Option<RawDigest>,
    signature: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RawEnvelope {
    pub(crate) payload: String,
    pub(crate) payload_type: String,
    pub(crate) signatures: Vec<RawSignature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSignature {
    pub(crate) sig: String,
    #[serde(default, rename = "keyid")]
    _keyid: Option<String>,
}

/// A 64-bit number, which the JSON of protobuf writes as text; not negative.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bad = || serde::de::Error::custom("not a number of 64 bits");
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(0),
        Value::Number(number) => number.as_u64().ok_or_else(bad),
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
            text.parse().map_err(|_| bad())
        }
        _ => Err(bad()),
    }
}

pub(crate) fn base64(text: &str, what: &'static str) -> Result<Vec<u8>, SigstoreError> {
    STANDARD.decode(text).map_err(|_| SigstoreError::Field(what))
}

impl Bundle {
    /// Reads a bundle of at most [`BUNDLE_BYTES_MAX`] bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, SigstoreError> {
        let raw: RawBundle =
            json::parse(bytes, BUNDLE_BYTES_MAX).map_err(SigstoreError::Malformed)?;
        let minor = match raw.media_type.as_str() {
            "application/vnd.dev.sigstore.bundle+json;version=0.1" => 1,
            "application/vnd.dev.sigstore.bundle+json;version=0.2" => 2,
            "application/vnd.dev.sigstore.bundle+json;version=0.3"
            | "application/vnd.dev.sigstore.bundle.v0.3+json" => 3,
            other => {
                let shown = other.chars().filter(|c| !c.is_control()).take(100).collect();
                return Err(SigstoreError::UnsupportedVersion(shown));
            }
        };
        let mut material = raw.verification_material;
        let entries = material.tlog_entries.take().unwrap_or_default();
        let timestamps = material
            .timestamp_verification_data
            .take()
            .and_then(|data| data.rfc3161_timestamps)
            .unwrap_or_default();
        if entries.len() > PROOFS_MAX || timestamps.len() > PROOFS_MAX {
            return Err(SigstoreError::Field("there are more than 32 log entries or time stamps"));
        }
        let entries = entries.into_iter().map(RawEntry::read).collect::<Result<Vec<_>, _>>()?;
        for (i, entry) in entries.iter().enumerate() {
            let same =
                |other: &LogEntry| (other.index, &other.log_id) == (entry.index, &entry.log_id);
            if entries.iter().skip(i + 1).any(same) {
                return Err(SigstoreError::Field("a log entry stands twice"));
            }
        }
        let timestamps = timestamps
            .iter()
            .map(|it| base64(&it.signed_timestamp, "a time stamp is not Base64"))
            .collect::<Result<Vec<_>, _>>()?;
        for (i, timestamp) in timestamps.iter().enumerate() {
            if timestamps.iter().skip(i + 1).any(|other| other == timestamp) {
                return Err(SigstoreError::Field("a time stamp stands twice"));
            }
        }
        let material = material.read(minor)?;
        let (content, signature) = match (raw.message_signature, raw.dsse_envelope) {
            (Some(message), None) => message.read()?,
            (None, Some(envelope)) => envelope.read()?,
            _ => return Err(SigstoreError::Field("it must hold one signature or one envelope")),
        };
        if signature.is_empty() {
            return Err(SigstoreError::Field("the signature is empty"));
        }
        Ok(Self { minor, material, entries, timestamps, content, signature })
    }

    /// Type and payload of its envelope, which nobody has verified.
    pub(crate) fn envelope(&self) -> Option<(&str, &[u8])> {
        match &self.content {
            Content::Envelope { payload_type, payload } => Some((payload_type, payload)),
            Content::Message { .. } => None,
        }
    }

    /// The signature.
    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// What the signature rests on.
    pub fn kind(&self) -> BundleKind {
        match self.material {
            Material::Key { .. } => BundleKind::Key,
            Material::Certificate { .. } => BundleKind::Certificate,
        }
    }

    /// How the bundle calls the key that it is signed with.
    pub fn key_hint(&self) -> Option<&str> {
        match &self.material {
            Material::Key { hint } => Some(hint),
            Material::Certificate { .. } => None,
        }
    }

    /// Whether it carries a statement rather than the signature of a file.
    pub fn has_envelope(&self) -> bool {
        matches!(self.content, Content::Envelope { .. })
    }
}

impl RawMaterial {
    fn read(self, minor: u8) -> Result<Material, SigstoreError> {
        let certificates = match (self.public_key, self.certificate, self.x509_certificate_chain) {
            (Some(key), None, None) => return Ok(Material::Key { hint: key.hint }),
            (None, Some(certificate), None) => vec![certificate],
            (None, None, Some(chain)) if minor < 3 => chain.certificates,
            (None, None, Some(_)) => {
                return Err(SigstoreError::Field("version 0.3 holds one certificate, no chain"));
            }
            _ => {
                let what = "it must name one key or one certificate";
                return Err(SigstoreError::Field(what));
            }
        };
        if certificates.len() > CERTIFICATES_MAX {
            return Err(SigstoreError::Field("there are more than 8 certificates"));
        }
        let mut read = certificates
            .iter()
            .map(|it| {
                let der = base64(&it.raw_bytes, "a certificate is not Base64")?;
                Certificate::parse(&der).map_err(SigstoreError::Certificate)
            })
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let leaf = read.next().ok_or(SigstoreError::Field("the certificate chain is empty"))?;
        let intermediates: Vec<_> = read.collect();
        // Roots come from the trusted root, never from what is to be verified.
        if leaf.issuer == leaf.subject || intermediates.iter().any(|it| it.issuer == it.subject) {
            return Err(SigstoreError::Field("a certificate in it issued itself"));
        }
        Ok(Material::Certificate { leaf: Box::new(leaf), intermediates })
    }
}

impl RawEntry {
    fn read(self) -> Result<LogEntry, SigstoreError> {
        let log_id = self.log_id.map(|id| id.key_id).unwrap_or_default();
        let promise = match self.inclusion_promise {
            Some(it) if !it.signed_entry_timestamp.is_empty() => {
                Some(base64(&it.signed_entry_timestamp, "an entry's promise is not Base64")?)
            }
            _ => None,
        };
        let integrated_time = i64::try_from(self.integrated_time)
            .map_err(|_| SigstoreError::Field("an entry's time is out of range"))?;
        Ok(LogEntry {
            index: self.log_index,
            log_id: base64(&log_id, "a log's id is not Base64")?,
            kind: self.kind_version.kind,
            version: self.kind_version.version,
            integrated_time,
            promise,
            proof: self.inclusion_proof.map(RawProof::read).transpose()?,
            body: base64(&self.canonicalized_body, "an entry's body is not Base64")?,
        })
    }
}

impl RawProof {
    fn read(self) -> Result<Proof, SigstoreError> {
        let what = "a hash of the inclusion proof is not Base64";
        let hashes = self.hashes.unwrap_or_default();
        if hashes.len() > palisade_tlog::merkle::PROOF_HASHES_MAX {
            return Err(SigstoreError::Field("the inclusion proof has more than 65 hashes"));
        }
        Ok(Proof {
            index: self.log_index,
            size: self.tree_size,
            root: base64(&self.root_hash, what)?,
            hashes: hashes.iter().map(|it| base64(it, what)).collect::<Result<_, _>>()?,
            checkpoint: self.checkpoint.map(|it| it.envelope).filter(|it| !it.is_empty()),
        })
    }
}

impl RawMessage {
    fn read(self) -> Result<(Content, Vec<u8>), SigstoreError> {
        let digest = self
            .message_digest
            .map(|it| {
                let hash = match it.algorithm.as_str() {
                    "SHA2_256" => Hash::Sha256,
                    "SHA2_384" => Hash::Sha384,
                    "SHA2_512" => Hash::Sha512,
                    _ => return Err(SigstoreError::Field("the digest's algorithm is not known")),
                };
                let value = base64(&it.digest, "the digest is not Base64")?;
                if value.len() != hash.n_bytes() {
                    return Err(SigstoreError::Field("the digest has another length"));
                }
                Ok((hash, value))
            })
            .transpose()?;
        let signature = base64(&self.signature, "the signature is not Base64")?;
        Ok((Content::Message { digest }, signature))
    }
}

impl RawEnvelope {
    pub(crate) fn read(self) -> Result<(Content, Vec<u8>), SigstoreError> {
        let [signature] = self.signatures.as_slice() else {
            return Err(SigstoreError::Field("an envelope holds exactly one signature"));
        };
        let signature = base64(&signature.sig, "the signature is not Base64")?;
        let payload = base64(&self.payload, "the payload is not Base64")?;
        Ok((Content::Envelope { payload_type: self.payload_type, payload }, signature))
    }
}

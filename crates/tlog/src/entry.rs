//! Entries of Rekor v2: what clients submit, and what stands in the log.
//!
//! The log keeps what a verifier needs and no more: a digest, signatures, and the key or
//! certificate of whoever signed, in canonical JSON (RFC 8785). A signature that does not
//! verify does not get into the log.

mod algorithm;
pub mod certificate;
mod rsa;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use algorithm::KeyDetails;

/// Largest body of a submission that is read, in bytes. A submitted DSSE envelope holds its
/// whole payload, of which the log keeps the digest.
pub const SUBMISSION_BYTES_MAX: usize = 4 << 20;
/// Most signatures, and most verifiers, of a submitted envelope.
pub const ENVELOPE_SIGNATURES_MAX: usize = 32;
/// Version of the entries that are written.
const VERSION: &str = "0.0.2";

/// A submission that does not get into the log, or an entry that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// The text is no JSON of this form.
    #[error("the entry is no JSON of a known form: {0}")]
    Json(String),
    /// The submission holds none or both of the known kinds.
    #[error("the request must hold one of `hashedRekordRequestV002` and `dsseRequestV002`")]
    NotOneKind,
    /// The kind or version is none that is known.
    #[error("entries of kind `{kind}` and version `{version}` are not known")]
    UnknownKind {
        /// The kind.
        kind: String,
        /// The version.
        version: String,
    },
    /// A field is not base64.
    #[error("`{0}` is not base64")]
    NotBase64(&'static str),
    /// A field is missing, empty, or there are too many.
    #[error("`{0}` is missing, empty or too long")]
    Missing(&'static str),
    /// The verifier is neither a key nor a certificate, or both.
    #[error("a verifier must be one of `publicKey` and `x509Certificate`")]
    NotOneVerifier,
    /// The algorithm is not supported.
    #[error("the algorithm `{0}` is not supported here")]
    UnsupportedAlgorithm(String),
    /// The key is not one of the algorithm that is named.
    #[error("the key is not one of `{0}`")]
    WrongKey(&'static str),
    /// The certificate cannot be read.
    #[error("the certificate cannot be read: {0}")]
    BadCertificate(String),
    /// The digest has not the length of the algorithm's hash.
    #[error("the digest has {found} bytes where `{algorithm}` signs {expected}")]
    WrongDigest {
        /// The algorithm.
        algorithm: &'static str,
        /// Bytes of its hash.
        expected: usize,
        /// Bytes of the digest.
        found: usize,
    },
    /// A signature does not verify.
    #[error("the signature is not one of this key over this content")]
    BadSignature,
    /// A verifier signed nothing.
    #[error("verifier {0} verifies none of the signatures")]
    UnusedVerifier(usize),
}

impl palisade_base::Explain for EntryError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnsupportedAlgorithm(_) => Some(
                "sign with ECDSA P-256, P-384 or P-521, RSA PKCS #1 v1.5 of 2048, 3072 or 4096 bits, \
                 or Ed25519 (Ed25519ph for a hashedrekord)"
                    .into(),
            ),
            Self::Json(_) | Self::NotOneKind => {
                Some("send a CreateEntryRequest of Rekor v2 as JSON".into())
            }
            _ => None,
        }
    }
}

/// A key or a certificate, as protobuf's JSON writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBytes {
    #[serde(alias = "raw_bytes")]
    raw_bytes: String,
}

/// The fields stand in the order of canonical JSON, here and below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerifierJson {
    #[serde(alias = "key_details")]
    key_details: String,
    #[serde(alias = "public_key", skip_serializing_if = "Option::is_none")]
    public_key: Option<RawBytes>,
    #[serde(alias = "x509_certificate", skip_serializing_if = "Option::is_none")]
    x509_certificate: Option<RawBytes>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureJson {
    content: String,
    verifier: VerifierJson,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HashJson {
    algorithm: String,
    digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekordJson {
    data: HashJson,
    signature: SignatureJson,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DsseJson {
    payload_hash: HashJson,
    signatures: Vec<SignatureJson>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecJson {
    #[serde(rename = "dsseV002", skip_serializing_if = "Option::is_none")]
    dsse: Option<DsseJson>,
    #[serde(rename = "hashedRekordV002", skip_serializing_if = "Option::is_none")]
    hashed_rekord: Option<HashedRekordJson>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EntryJson {
    api_version: String,
    kind: String,
    spec: SpecJson,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekordRequest {
    digest: String,
    signature: SignatureJson,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvelopeJson {
    payload: String,
    #[serde(alias = "payload_type")]
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvelopeSignature {
    sig: String,
    #[serde(default, rename = "keyid")]
    _keyid: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DsseRequest {
    envelope: EnvelopeJson,
    verifiers: Vec<VerifierJson>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateEntryRequest {
    #[serde(alias = "hashed_rekord_request_v002", rename = "hashedRekordRequestV002")]
    hashed_rekord: Option<HashedRekordRequest>,
    #[serde(alias = "dsse_request_v002", rename = "dsseRequestV002")]
    dsse: Option<DsseRequest>,
}

/// What is verified with: the key, and the certificate that it came in.
#[derive(Debug)]
struct Verifier {
    details: KeyDetails,
    spki: Vec<u8>,
    json: VerifierJson,
}

fn decode(text: &str, field: &'static str) -> Result<Vec<u8>, EntryError> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| EntryError::NotBase64(field))?;
    if bytes.is_empty() { Err(EntryError::Missing(field)) } else { Ok(bytes) }
}

impl Verifier {
    fn read(json: VerifierJson) -> Result<Self, EntryError> {
        let details = KeyDetails::parse(&json.key_details)?;
        let spki = match (&json.public_key, &json.x509_certificate) {
            (Some(key), None) => decode(&key.raw_bytes, "publicKey.rawBytes")?,
            (None, Some(certificate)) => {
                let der = decode(&certificate.raw_bytes, "x509Certificate.rawBytes")?;
                certificate::Certificate::parse(&der)?.spki
            }
            _ => return Err(EntryError::NotOneVerifier),
        };
        Ok(Self { details, spki, json })
    }
}

/// An entry in the form of the log, made from a submission whose signatures hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The leaf's data: canonical JSON.
    pub body: Vec<u8>,
    /// `hashedrekord` or `dsse`.
    pub kind: &'static str,
}

/// Checks a `CreateEntryRequest` (rekor-tiles, `api/proto/rekor/v2`) and makes the entry.
pub fn accept(request: &[u8]) -> Result<Accepted, EntryError> {
    let request: CreateEntryRequest =
        serde_json::from_slice(request).map_err(|error| EntryError::Json(error.to_string()))?;
    let (kind, spec) = match (request.hashed_rekord, request.dsse) {
        (Some(request), None) => {
            let hashed_rekord = Some(accept_hashed_rekord(request)?);
            ("hashedrekord", SpecJson { hashed_rekord, ..SpecJson::default() })
        }
        (None, Some(request)) => {
            let dsse = Some(accept_dsse(request)?);
            ("dsse", SpecJson { dsse, ..SpecJson::default() })
        }
        _ => return Err(EntryError::NotOneKind),
    };
    let entry = EntryJson { api_version: VERSION.into(), kind: kind.into(), spec };
    let body = serde_json::to_vec(&entry).map_err(|error| EntryError::Json(error.to_string()))?;
    Ok(Accepted { body, kind })
}

fn accept_hashed_rekord(request: HashedRekordRequest) -> Result<HashedRekordJson, EntryError> {
    let digest = decode(&request.digest, "digest")?;
    let signature = decode(&request.signature.content, "signature.content")?;
    let verifier = Verifier::read(request.signature.verifier)?;
    verifier.details.verify_digest(&verifier.spki, &digest, &signature)?;
    Ok(HashedRekordJson {
        data: HashJson {
            algorithm: verifier.details.hash().into(),
            digest: BASE64_STANDARD.encode(digest),
        },
        signature: SignatureJson {
            content: BASE64_STANDARD.encode(signature),
            verifier: verifier.json,
        },
    })
}

/// DSSE's pre-authentication encoding (secure-systems-lab/dsse, `protocol.md`).
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn accept_dsse(request: DsseRequest) -> Result<DsseJson, EntryError> {
    let payload = decode(&request.envelope.payload, "envelope.payload")?;
    let message = pre_authentication_encoding(&request.envelope.payload_type, &payload);
    let (n_signatures, n_verifiers) = (request.envelope.signatures.len(), request.verifiers.len());
    if n_signatures == 0 || n_signatures > ENVELOPE_SIGNATURES_MAX {
        return Err(EntryError::Missing("envelope.signatures"));
    }
    if n_verifiers == 0 || n_verifiers > ENVELOPE_SIGNATURES_MAX {
        return Err(EntryError::Missing("verifiers"));
    }
    let verifiers: Vec<Verifier> =
        request.verifiers.into_iter().map(Verifier::read).collect::<Result<_, _>>()?;
    let mut used = vec![false; verifiers.len()];
    let mut signatures = Vec::new();
    for signature in &request.envelope.signatures {
        let bytes = decode(&signature.sig, "envelope.signatures.sig")?;
        let (at, verifier) = verifiers
            .iter()
            .enumerate()
            .find(|(_, it)| it.details.verify_message(&it.spki, &message, &bytes).is_ok())
            .ok_or(EntryError::BadSignature)?;
        used[at] = true;
        signatures.push(SignatureJson {
            content: BASE64_STANDARD.encode(bytes),
            verifier: verifier.json.clone(),
        });
    }
    if let Some(at) = used.iter().position(|used| !used) {
        return Err(EntryError::UnusedVerifier(at));
    }
    let payload_hash = HashJson {
        algorithm: "SHA2_256".into(),
        digest: BASE64_STANDARD.encode(Sha256::digest(&payload)),
    };
    Ok(DsseJson { payload_hash, signatures })
}

/// Who signed an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// SHA-256 of the key's SubjectPublicKeyInfo, in hex.
    pub key_sha256: String,
    /// The certificate, when the entry holds one that can be read.
    pub certificate: Option<certificate::Certificate>,
}

/// An entry as it stands in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `hashedrekord` or `dsse`.
    pub kind: String,
    /// Version of its form.
    pub version: String,
    /// The digest of what was signed (of a `dsse` entry: of its payload), in hex.
    pub digest: String,
    /// Who signed.
    pub signers: Vec<Signer>,
}

impl Entry {
    /// Reads the data of a leaf: entries of Rekor v2.
    pub fn parse(body: &[u8]) -> Result<Self, EntryError> {
        let json: EntryJson =
            serde_json::from_slice(body).map_err(|error| EntryError::Json(error.to_string()))?;
        let (hash, signatures) = match (json.kind.as_str(), json.spec) {
            ("hashedrekord", SpecJson { hashed_rekord: Some(it), dsse: None }) => {
                (it.data, vec![it.signature])
            }
            ("dsse", SpecJson { dsse: Some(it), hashed_rekord: None }) => {
                (it.payload_hash, it.signatures)
            }
            _ => {
                let cut = |text: String| text.chars().take(100).collect();
                return Err(EntryError::UnknownKind {
                    kind: cut(json.kind),
                    version: cut(json.api_version),
                });
            }
        };
        let digest = decode(&hash.digest, "digest")?;
        let signers = signatures.iter().map(signer).collect::<Result<_, _>>()?;
        Ok(Self { kind: json.kind, version: json.api_version, digest: hex(&digest), signers })
    }
}

fn signer(signature: &SignatureJson) -> Result<Signer, EntryError> {
    let verifier = &signature.verifier;
    let (spki, certificate) = match (&verifier.public_key, &verifier.x509_certificate) {
        (Some(key), None) => (decode(&key.raw_bytes, "publicKey.rawBytes")?, None),
        (None, Some(certificate)) => {
            let der = decode(&certificate.raw_bytes, "x509Certificate.rawBytes")?;
            let certificate = certificate::Certificate::parse(&der)?;
            (certificate.spki.clone(), Some(certificate))
        }
        _ => return Err(EntryError::NotOneVerifier),
    };
    Ok(Signer { key_sha256: hex(&Sha256::digest(spki)), certificate })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

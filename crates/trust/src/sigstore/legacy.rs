//! Cosign's older signatures, whose proofs stand in annotations (sigstore/cosign,
//! specs/SIGNATURE_SPEC.md): read as the bundle that they amount to, so that one verifier
//! decides about all of them.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::bundle::{Bundle, Content, LogEntry, Material, RawEnvelope, base64};
use super::entry::{Signed, What};
use super::error::SigstoreError;
use crate::bundle::BUNDLE_BYTES_MAX;
use crate::json;
use crate::pem;
use crate::pki::{Certificate, Hash};
use crate::spki::VerificationKey;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const PROMISE: &str = "dev.sigstore.cosign/bundle";
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";
/// Most certificates of an annotation.
const CERTIFICATES_MAX: usize = 8;

/// An annotation that is there; cosign writes empty ones for what is not.
fn annotation<'a>(annotations: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    annotations.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The signature of a payload by the annotations of its layer, as a bundle of version 0.1.
pub(crate) fn signature(annotations: &Map<String, Value>) -> Result<Bundle, SigstoreError> {
    let text = annotation(annotations, SIGNATURE)
        .ok_or(SigstoreError::Field("the layer has no signature annotation"))?;
    let signature = base64(text, "the signature is not Base64")?;
    read(annotations, Content::Message { digest: None }, signature)
}

/// An attestation: the layer is an envelope, whose certificate stands in annotations.
pub(crate) fn attestation(
    envelope: &[u8],
    annotations: &Map<String, Value>,
) -> Result<Bundle, SigstoreError> {
    let envelope: RawEnvelope =
        json::parse(envelope, BUNDLE_BYTES_MAX).map_err(SigstoreError::Malformed)?;
    let (content, signature) = envelope.read()?;
    read(annotations, content, signature)
}

fn read(
    annotations: &Map<String, Value>,
    content: Content,
    signature: Vec<u8>,
) -> Result<Bundle, SigstoreError> {
    if signature.is_empty() {
        return Err(SigstoreError::Field("the signature is empty"));
    }
    let material = match annotation(annotations, CERTIFICATE) {
        None => Material::Key { hint: String::new() },
        Some(text) => {
            let leaf = certificates(text)?;
            let [leaf] = leaf.as_slice() else {
                return Err(SigstoreError::Field("the annotation holds not one certificate"));
            };
            let chain = annotation(annotations, CHAIN).map_or(Ok(Vec::new()), certificates)?;
            // The chain goes up to its root, which only the trusted root may say.
            let intermediates = chain.into_iter().filter(|it| it.issuer != it.subject).collect();
            Material::Certificate { leaf: Box::new(leaf.clone()), intermediates }
        }
    };
    let mut entries = Vec::new();
    if let Some(text) = annotation(annotations, PROMISE) {
        let promise = Promise::parse(text.as_bytes()).map_err(SigstoreError::Entry)?;
        entries.push(promise.0);
    }
    let mut timestamps = Vec::new();
    if let Some(text) = annotation(annotations, TIMESTAMP) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            #[serde(rename = "SignedRFC3161Timestamp")]
            stamp: String,
        }
        let raw: Raw = json::parse(text.as_bytes(), 1 << 20).map_err(SigstoreError::Malformed)?;
        timestamps.push(base64(&raw.stamp, "a time stamp is not Base64")?);
    }
    Ok(Bundle { minor: 1, material, entries, timestamps, content, signature })
}

fn certificates(text: &str) -> Result<Vec<Certificate>, SigstoreError> {
    let blocks = pem::decode_all(text, "CERTIFICATE")
        .ok_or(SigstoreError::Field("a certificate in the annotations is not PEM"))?;
    if blocks.len() > CERTIFICATES_MAX {
        return Err(SigstoreError::Field("there are more than 8 certificates"));
    }
    blocks.iter().map(|der| Certificate::parse(der).map_err(SigstoreError::Certificate)).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "SignedEntryTimestamp")]
    promise: String,
    #[serde(rename = "Payload")]
    payload: RawPayload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawPayload {
    body: String,
    integrated_time: i64,
    log_index: u64,
    #[serde(rename = "logID")]
    log_id: String,
}

/// What an entry's body says that it is; the rest is compared where it is verified.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    kind: String,
    api_version: String,
}

/// A promise to log an entry.
pub(crate) struct Promise(LogEntry);

impl Promise {
    /// Reads the annotation `dev.sigstore.cosign/bundle`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let raw: Raw = json::parse(bytes, 1 << 20).map_err(|error| error.to_string())?;
        let text = |error: super::SigstoreError| error.to_string();
        let log_id = super::entry::unhex(&raw.payload.log_id).ok_or("a log's id is no number")?;
        let body = base64(&raw.payload.body, "an entry's body is not Base64").map_err(text)?;
        let promise = base64(&raw.promise, "a promise is not Base64").map_err(text)?;
        // The body says itself what it is; what it is of is checked by that.
        let kind: Kind = json::parse(&body, 16 << 20).map_err(|error| error.to_string())?;
        Ok(Self(LogEntry {
            index: raw.payload.log_index,
            log_id,
            kind: kind.kind,
            version: kind.api_version,
            integrated_time: raw.payload.integrated_time,
            promise: Some(promise),
            proof: None,
            body,
        }))
    }

    /// Checks that one of `keys` promised to log this signature over `message`; gives when.
    pub(crate) fn verify(
        &self,
        keys: &[VerificationKey],
        verifier: &[u8],
        signature: &[u8],
        message: &[u8],
    ) -> Result<i64, String> {
        let promised = self.0.promised_text();
        let promise = self.0.promise.as_deref().unwrap_or_default();
        if !keys.iter().any(|key| key.verify(promised.as_bytes(), promise)) {
            return Err("none of the logs promised to take it".into());
        }
        let digest = |hash: Hash| Some(hash.of(message));
        let signed = Signed { verifier, signature, what: What::Message(&digest) };
        self.0.check_is_of(&signed).map_err(|error| error.to_string())?;
        Ok(self.0.integrated_time)
    }
}

//! Sigstore bundles, version 0.3, signed with a key
//! (sigstore/protobuf-specs, protos/sigstore_bundle.proto).
//!
//! Reading is strict: unknown and duplicate fields, other versions and every second
//! signature are refused. Log entries and timestamps may be there; they are not looked
//! at, because with a key that the user chose they add nothing to whether it signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dsse;
use crate::json::{self, JsonError};
use crate::key::{KeyError, PrivateKey, PublicKey};

/// Media type of a bundle, artifact type of the referrer that carries it.
pub const BUNDLE_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The older spelling of the same version.
const MEDIA_TYPE_PARAMETER: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";
/// Largest bundle, in bytes.
pub const BUNDLE_BYTES_MAX: u64 = 32 << 20;

/// A bundle that proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not the JSON of a bundle.
    #[error("malformed bundle")]
    Malformed(#[source] JsonError),
    /// Another format or version.
    #[error("bundle has media type `{0}`, which is not supported")]
    UnsupportedVersion(String),
    /// It rests on a certificate, not on a key.
    #[error("bundle is signed with a certificate; only keys are supported yet")]
    Keyless,
    /// Neither key nor certificate, or both.
    #[error("bundle names no verification material, or more than one")]
    NoMaterial,
    /// Neither an envelope nor a message signature, or both, or several signatures.
    #[error("bundle must hold exactly one signature")]
    NotOneSignature,
    /// A field is not canonical Base64.
    #[error("field `{0}` of the bundle is not Base64")]
    NotBase64(&'static str),
    /// It signs another kind of content than was asked for.
    #[error("bundle holds {found}, not {wanted}")]
    OtherContent {
        /// What it holds.
        found: &'static str,
        /// What was wanted.
        wanted: &'static str,
    },
    /// It was made with a key that is none of those given, or was changed.
    #[error("signature is by none of the given keys (it names `{hint}`)")]
    WrongKey {
        /// What the bundle calls its key.
        hint: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBundle {
    media_type: String,
    verification_material: RawMaterial,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message_signature: Option<RawMessageSignature>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dsse_envelope: Option<RawEnvelope>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMaterial {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<RawPublicKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x509_certificate_chain: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tlog_entries: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp_verification_data: Option<Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPublicKey {
    #[serde(default)]
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawMessageSignature {
    message_digest: RawDigest,
    signature: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDigest {
    algorithm: String,
    digest: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawEnvelope {
    payload: String,
    payload_type: String,
    signatures: Vec<RawSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSignature {
    sig: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    keyid: String,
}

/// A bundle that was read and not yet verified.
#[derive(Debug)]
pub(crate) struct Bundle {
    hint: String,
    content: Content,
    signature: Vec<u8>,
}

#[derive(Debug)]
enum Content {
    Message { digest: Vec<u8> },
    Envelope { payload_type: String, payload: Vec<u8> },
}

fn base64(text: &str, field: &'static str) -> Result<Vec<u8>, BundleError> {
    STANDARD.decode(text).map_err(|_| BundleError::NotBase64(field))
}

impl Bundle {
    /// Reads a bundle of at most [`BUNDLE_BYTES_MAX`] bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let raw: RawBundle =
            json::parse(bytes, BUNDLE_BYTES_MAX).map_err(BundleError::Malformed)?;
        if !matches!(raw.media_type.as_str(), BUNDLE_MEDIA_TYPE | MEDIA_TYPE_PARAMETER) {
            let shown = raw.media_type.chars().take(100).collect();
            return Err(BundleError::UnsupportedVersion(shown));
        }
        let material = raw.verification_material;
        let certified = material.certificate.is_some() || material.x509_certificate_chain.is_some();
        let hint = match (material.public_key, certified) {
            (Some(key), false) => key.hint,
            (None, true) => return Err(BundleError::Keyless),
            _ => return Err(BundleError::NoMaterial),
        };
        let (content, signature) = match (raw.message_signature, raw.dsse_envelope) {
            (Some(message), None) if message.message_digest.algorithm == "SHA2_256" => {
                let digest = base64(&message.message_digest.digest, "messageDigest.digest")?;
                (Content::Message { digest }, base64(&message.signature, "signature")?)
            }
            (Some(_), None) => {
                let found = "a digest of another algorithm";
                return Err(BundleError::OtherContent { found, wanted: "a SHA2_256 digest" });
            }
            (None, Some(envelope)) => {
                let [signature] = envelope.signatures.as_slice() else {
                    return Err(BundleError::NotOneSignature);
                };
                let signature = base64(&signature.sig, "signatures.sig")?;
                let payload = base64(&envelope.payload, "payload")?;
                (Content::Envelope { payload_type: envelope.payload_type, payload }, signature)
            }
            _ => return Err(BundleError::NotOneSignature),
        };
        Ok(Self { hint, content, signature })
    }

    /// Which of `keys` made the signature over `signed`.
    ///
    /// A bundle that names its key in the usual way is only verified with that key, so
    /// that a changed hint is noticed although nothing signs it.
    fn signer<'k>(
        &self,
        signed: &Digest,
        keys: &'k [PublicKey],
    ) -> Result<&'k PublicKey, BundleError> {
        keys.iter()
            .filter(|key| self.hint.is_empty() || self.hint == key.hint())
            .find(|key| key.verify(signed, &self.signature))
            .ok_or_else(|| BundleError::WrongKey { hint: self.hint.chars().take(100).collect() })
    }

    /// Verifies the envelope and gives its payload, if it has that type.
    pub(crate) fn verify_envelope<'k>(
        &self,
        wanted_type: &str,
        keys: &'k [PublicKey],
    ) -> Result<(&[u8], &'k PublicKey), BundleError> {
        let Content::Envelope { payload_type, payload } = &self.content else {
            let found = "a message signature";
            return Err(BundleError::OtherContent { found, wanted: "an envelope" });
        };
        let signer = self.signer(&dsse::signed_digest(payload_type, payload), keys)?;
        if payload_type != wanted_type {
            let found = "an envelope of another type";
            return Err(BundleError::OtherContent { found, wanted: "an in-toto statement" });
        }
        Ok((payload, signer))
    }

    /// Verifies the signature of the message with that digest.
    pub(crate) fn verify_message<'k>(
        &self,
        message: &Digest,
        keys: &'k [PublicKey],
    ) -> Result<&'k PublicKey, BundleError> {
        let Content::Message { digest } = &self.content else {
            let found = "an envelope";
            return Err(BundleError::OtherContent { found, wanted: "a message signature" });
        };
        if digest.as_slice() != message.as_bytes() {
            let found = "the signature of other content";
            return Err(BundleError::OtherContent { found, wanted: "that of this content" });
        }
        self.signer(message, keys)
    }
}

fn write(
    key: &PrivateKey,
    message_signature: Option<RawMessageSignature>,
    dsse_envelope: Option<RawEnvelope>,
) -> Vec<u8> {
    let bundle = RawBundle {
        media_type: BUNDLE_MEDIA_TYPE.into(),
        verification_material: RawMaterial {
            public_key: Some(RawPublicKey { hint: key.public().hint().to_string() }),
            ..RawMaterial::default()
        },
        message_signature,
        dsse_envelope,
    };
    // Strings and maps with string keys: this serialisation cannot fail.
    serde_json::to_vec(&bundle).unwrap_or_default()
}

/// A bundle whose envelope carries `payload`.
pub fn sign_envelope(
    key: &PrivateKey,
    payload_type: &str,
    payload: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let signature = key.sign(&dsse::signed_digest(payload_type, payload))?;
    let envelope = RawEnvelope {
        payload: STANDARD.encode(payload),
        payload_type: payload_type.to_string(),
        signatures: vec![RawSignature { sig: STANDARD.encode(signature), keyid: String::new() }],
    };
    Ok(write(key, None, Some(envelope)))
}

/// A bundle that signs the message with that digest.
pub(crate) fn sign_message(key: &PrivateKey, message: &Digest) -> Result<Vec<u8>, KeyError> {
    let signature = key.sign(message)?;
    let message_signature = RawMessageSignature {
        message_digest: RawDigest {
            algorithm: "SHA2_256".into(),
            digest: STANDARD.encode(message.as_bytes()),
        },
        signature: STANDARD.encode(signature),
    };
    Ok(write(key, Some(message_signature), None))
}

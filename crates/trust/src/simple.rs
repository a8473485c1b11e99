//! Cosign's older signatures: a manifest under the tag `sha256-<hex>.sig` with a
//! simple-signing payload for each signature (sigstore/cosign, specs/SIGNATURE_SPEC.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::Digest;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::json::{self, JsonError};
use crate::key::PublicKey;

/// Media type of a payload.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of a layer: the signature of its bytes, in Base64.
pub(crate) const ANNOTATION_SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// Annotation of a layer: the certificate of a keyless signature.
pub(crate) const ANNOTATION_CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
/// Largest payload, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = 1 << 20;
const TYPE: &str = "cosign container image signature";

/// A payload or its annotations that prove nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SimpleError {
    #[error("malformed payload")]
    Malformed(#[source] JsonError),
    #[error("the layer has no signature annotation")]
    NoAnnotation,
    #[error("the signature is not Base64")]
    NotBase64,
    #[error("signed with a certificate; only keys are supported yet")]
    Keyless,
    #[error("signature is by none of the given keys")]
    WrongKey,
    #[error("the payload is of type `{0}`")]
    OtherType(String),
    #[error("the payload is about another image")]
    OtherImage,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    critical: Critical,
    #[serde(rename = "optional")]
    _optional: Option<Map<String, Value>>,
}

/// What stands here must be understood: unknown members are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// The tag under which signatures of that image stand.
pub(crate) fn tag(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// The payload that signs an image known as `reference`.
pub(crate) fn payload(image: &Digest, reference: &str) -> Vec<u8> {
    json!({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": image.to_string()},
            "type": TYPE,
        },
        "optional": null,
    })
    .to_string()
    .into_bytes()
}

/// What gpg signs of an image that is called `reference`, made at `created` (seconds since
/// the Unix epoch; containers-signature(5)).
pub fn gpg_payload(image: &Digest, reference: &str, created: i64) -> Vec<u8> {
    json!({
        "critical": {
            "identity": {"docker-reference": reference},
            "image": {"docker-manifest-digest": image.to_string()},
            "type": TYPE_ATOMIC,
        },
        "optional": {
            "creator": concat!("palisade ", env!("CARGO_PKG_VERSION")),
            "timestamp": created,
        },
    })
    .to_string()
    .into_bytes()
}

/// The type of a payload that GPG signs (containers-signature(5)).
pub(crate) const TYPE_ATOMIC: &str = "atomic container signature";
/// The type of a payload that cosign signs.
pub(crate) const TYPE_COSIGN: &str = TYPE;

/// What a payload of that type says: what the image is called, and its digest. Who signed
/// it was verified before.
pub(crate) fn read(payload: &[u8], kind: &str) -> Result<(String, String), SimpleError> {
    let Payload { critical, .. } =
        json::parse(payload, PAYLOAD_BYTES_MAX).map_err(SimpleError::Malformed)?;
    if critical.kind != kind {
        return Err(SimpleError::OtherType(critical.kind.chars().take(100).collect()));
    }
    Ok((critical.identity.reference, critical.image.digest))
}

/// Verifies one payload; gives the key that signed it.
pub(crate) fn verify<'k>(
    payload: &[u8],
    annotations: &Map<String, Value>,
    image: &Digest,
    keys: &'k [PublicKey],
) -> Result<&'k PublicKey, SimpleError> {
    // Cosign writes an empty certificate for keys.
    let text = |name: &str| annotations.get(name).and_then(Value::as_str).unwrap_or("");
    if !text(ANNOTATION_CERTIFICATE).is_empty() {
        return Err(SimpleError::Keyless);
    }
    let signature = match text(ANNOTATION_SIGNATURE) {
        "" => return Err(SimpleError::NoAnnotation),
        text => STANDARD.decode(text).map_err(|_| SimpleError::NotBase64)?,
    };
    let digest = Digest::of(payload);
    let signer =
        keys.iter().find(|key| key.verify(&digest, &signature)).ok_or(SimpleError::WrongKey)?;
    let Payload { critical, .. } =
        json::parse(payload, PAYLOAD_BYTES_MAX).map_err(SimpleError::Malformed)?;
    if critical.kind != TYPE {
        return Err(SimpleError::OtherType(critical.kind.chars().take(100).collect()));
    }
    if critical.image.digest != image.to_string() {
        return Err(SimpleError::OtherImage);
    }
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A signature as containers/image keeps it in a `dir:` folder: a mark, then JSON.
    #[derive(Deserialize)]
    struct Stored {
        #[serde(rename = "mimeType")]
        media_type: String,
        payload: String,
        annotations: Map<String, Value>,
    }

    /// The file at `path`; the fixtures' links are kept as text.
    fn read(path: &Path) -> Option<Vec<u8>> {
        let bytes = std::fs::read(path).ok()?;
        match std::str::from_utf8(&bytes) {
            Ok(link) if link.starts_with("../") => std::fs::read(path.parent()?.join(link)).ok(),
            _ => Some(bytes),
        }
    }

    fn is_signed(folder: &Path, keys: &[PublicKey]) -> bool {
        let Some(manifest) = read(&folder.join("manifest.json")) else {
            return false;
        };
        let image = Digest::of(&manifest);
        (1..=8).filter_map(|i| read(&folder.join(format!("signature-{i}")))).any(|bytes| {
            let Some(text) = bytes.strip_prefix(b"\0sigstore-json\n") else {
                return false;
            };
            let Ok(stored) = serde_json::from_slice::<Stored>(text) else {
                return false;
            };
            let payload = STANDARD.decode(stored.payload).unwrap();
            stored.media_type == MEDIA_TYPE
                && verify(&payload, &stored.annotations, &image, keys).is_ok()
        })
    }

    /// The fixtures of containers/image that cosign signed.
    #[test]
    fn agrees_with_containers_image() {
        #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
        let shared = std::env::var("PALISADE_SHARED").map_or_else(
            |_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
            PathBuf::from,
        );
        let folder = shared.join("conformance/trust/containers-image");
        if !folder.is_dir() {
            eprintln!("skipped: {} is not there", folder.display());
            return;
        }
        let key = |name: &str| [PublicKey::read(&folder.join(name)).unwrap()];
        let (keys, second) = (key("cosign.pub"), key("cosign2.pub"));
        let check = |name: &str, expected: bool| {
            let found = is_signed(&folder.join(format!("dir-img-cosign-{name}")), &keys);
            assert_eq!(found, expected, "{name}");
        };
        check("valid", true);
        check("valid-2", true);
        check("valid-with-tag", true);
        check("mixed", true);
        check("key-rekor-valid", false);
        assert!(is_signed(&folder.join("dir-img-cosign-key-rekor-valid"), &second));
        assert!(!is_signed(&folder.join("dir-img-cosign-valid"), &second));
        check("modified-manifest", false);
        check("manifest-digest-error", false);
        check("no-manifest", false);
        check("other-attachment", false);
        check("fulcio-rekor-valid", false);
        check("pki-valid", false);
    }

    #[test]
    fn payloads_that_say_more_or_less_are_refused() {
        let image = Digest::of(b"image");
        let key = crate::PrivateKey::generate().unwrap();
        let keys = [key.public().clone()];
        let try_payload = |text: &str| {
            let signature = STANDARD.encode(key.sign(&Digest::of(text.as_bytes())).unwrap());
            let mut annotations = Map::new();
            annotations.insert(ANNOTATION_SIGNATURE.into(), signature.into());
            verify(text.as_bytes(), &annotations, &image, &keys).map(|_| ())
        };
        let good = String::from_utf8(payload(&image, "registry.example/app")).unwrap();
        assert!(try_payload(&good).is_ok());
        for (from, to) in [
            ("\"critical\":{", "\"critical\":{\"new\":1,"),
            ("\"critical\":{", "\"critical\":{\"type\":\"x\","),
            ("\"type\":\"cosign", "\"type\":\"atomic"),
            ("\"optional\":null", "\"optional\":[]"),
            ("\"optional\":null", "\"other\":null"),
            ("sha256:", "sha512:"),
            ("\"docker-reference\":\"registry.example/app\"", "\"docker-reference\":1"),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(try_payload(&bad).is_err(), "{bad}");
        }
    }
}

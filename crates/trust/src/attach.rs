//! Documents that lie beside an image and refer to it: signatures, attestations.
//!
//! What is made here is the same for a layout, where [`attach_to_layout`] stores it, and for
//! a registry, where the program pushes what [`Attachment::documents`] gives.

use palisade_base::Digest;
use serde_json::{Map, Value, json};

use crate::bundle::BUNDLE_MEDIA_TYPE;
use crate::content::{Checked, Content, ContentError, Descriptor, Document, MEDIA_TYPE_MANIFEST};
use crate::notary::{ANNOTATION_THUMBPRINTS, ARTIFACT_TYPE, EnvelopeKind};
use crate::openpubkey::SIGNATURE_MEDIA_TYPE;

pub use crate::sign::{Attached, attach_to_layout, subject_in_layout};

pub(crate) const MEDIA_TYPE_EMPTY: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// The manifest or index that something is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
}

/// Something to attach: one blob, and what its manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    artifact_type: &'static str,
    layer_type: &'static str,
    layer: Vec<u8>,
    annotations: Map<String, Value>,
}

/// An attachment as a registry stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// What names it in an index, with artifact type and annotations.
    pub descriptor: Value,
    /// What the manifest names.
    pub blobs: Vec<(Digest, Vec<u8>)>,
}

impl Attachment {
    /// A Sigstore bundle whose envelope holds a statement with that predicate type.
    pub fn bundle(bundle: Vec<u8>, predicate_type: &str) -> Self {
        Self {
            artifact_type: BUNDLE_MEDIA_TYPE,
            layer_type: BUNDLE_MEDIA_TYPE,
            layer: bundle,
            annotations: annotations(&[
                ("dev.sigstore.bundle.content", "dsse-envelope"),
                ("dev.sigstore.bundle.predicateType", predicate_type),
            ]),
        }
    }

    /// A statement that was signed under a PK token.
    pub fn openpubkey(document: Vec<u8>, predicate_type: &str) -> Self {
        Self {
            artifact_type: SIGNATURE_MEDIA_TYPE,
            layer_type: SIGNATURE_MEDIA_TYPE,
            layer: document,
            annotations: annotations(&[("dev.palisade.predicateType", predicate_type)]),
        }
    }

    /// An envelope of the Notary Project; `thumbprints` are those of its certificates.
    pub fn notary(kind: EnvelopeKind, envelope: Vec<u8>, thumbprints: &str) -> Self {
        Self {
            artifact_type: ARTIFACT_TYPE,
            layer_type: kind.media_type(),
            layer: envelope,
            annotations: annotations(&[(ANNOTATION_THUMBPRINTS, thumbprints)]),
        }
    }

    /// What it is: the artifact type of its manifest.
    pub fn artifact_type(&self) -> &'static str {
        self.artifact_type
    }

    /// The manifest that attaches it to `subject`, and its blobs.
    pub fn documents(&self, subject: &Subject) -> Documents {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MEDIA_TYPE_MANIFEST,
            "artifactType": self.artifact_type,
            "config": descriptor(MEDIA_TYPE_EMPTY, EMPTY),
            "layers": [descriptor(self.layer_type, &self.layer)],
            "subject": {
                "mediaType": subject.media_type,
                "digest": subject.digest,
                "size": subject.size,
            },
            "annotations": self.annotations,
        })
        .to_string()
        .into_bytes();
        let mut named = descriptor(MEDIA_TYPE_MANIFEST, &manifest);
        named["artifactType"] = self.artifact_type.into();
        named["annotations"] = Value::Object(self.annotations.clone());
        let blobs = vec![
            (Digest::of(EMPTY), EMPTY.to_vec()),
            (Digest::of(&self.layer), self.layer.clone()),
        ];
        Documents { manifest, descriptor: named, blobs }
    }
}

fn annotations(pairs: &[(&str, &str)]) -> Map<String, Value> {
    pairs.iter().map(|(key, value)| ((*key).to_string(), (*value).into())).collect()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// Largest blob that is attached, in bytes.
const LAYER_BYTES_MAX: u64 = 32 << 20;

/// Something that is attached to an image.
#[derive(Debug, Clone)]
pub struct Found {
    /// The manifest that refers to the image.
    pub digest: Digest,
    /// What it says it is; older manifests say it by the type of their configuration.
    pub artifact_type: String,
    /// Media type of its layer.
    pub layer_type: String,
    /// Its layer.
    pub layer: Vec<u8>,
    /// What it is attached to: digest, media type and size in bytes.
    pub subject: Digest,
    /// Media type of that.
    pub subject_type: String,
    /// Size of that, in bytes.
    pub subject_size: u64,
}

/// Reads the one layer of what is attached to `image`; `None`: it has not exactly one.
pub(crate) fn read_found(
    content: &Content,
    named: &Descriptor,
    document: &Document,
    image: &Descriptor,
) -> Result<Option<Found>, ContentError> {
    let [layer] = document.layers.as_slice() else { return Ok(None) };
    let config = document.config.as_ref().map(|config| config.media_type.clone());
    let bytes = content.blob("attachment", layer, LAYER_BYTES_MAX, &mut Checked::default())?;
    Ok(Some(Found {
        digest: named.digest,
        artifact_type: document.artifact_type.clone().or(config).unwrap_or_default(),
        layer_type: layer.media_type.clone(),
        layer: bytes,
        subject: image.digest,
        subject_type: image.media_type.clone(),
        subject_size: image.size,
    }))
}

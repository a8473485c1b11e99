//! The evidence bundle: one tar file whose every bit is accounted for.
//!
//! Items come first, in the order of collection; then `manifest.json`, which lists each
//! item's path, size, digest, source and time, chains the items, gives the Merkle root
//! (RFC 6962) and lists what could not be captured; then `manifest.sha256`, and
//! `manifest.sig` when a signer was given. Headers and padding are functions of the
//! manifest ([`tar`]), so a verifier finds any changed bit, wherever it is.
//!
//! A bundle appears under its name only when it is whole: it is written under
//! `NAME.partial`, synced and renamed.

mod merkle;
mod read;
mod tar;
mod write;

use palisade_base::{Digest, Timestamp};
use palisade_model::Container;
use serde::{Deserialize, Serialize};

pub use merkle::{leaf, root as merkle_root};
pub use read::{
    BundleError, ExtractReport, OnItem, Seal, Verified, extract, is_encrypted, list, verify,
    verify_stream, visit,
};
pub use write::{BundleWriter, WriteError};

/// Schema of the manifest.
pub const MANIFEST_SCHEMA: &str = "palisade.dev/evidence-manifest/v1";
/// Name of the manifest's entry.
pub const MANIFEST_NAME: &str = "manifest.json";
/// Name of the entry with the manifest's SHA-256 in hex.
pub const MANIFEST_DIGEST_NAME: &str = "manifest.sha256";
/// Name of the entry with the signature over the manifest's bytes.
pub const SIGNATURE_NAME: &str = "manifest.sig";
/// Most items of a bundle.
pub const ITEMS_MAX: usize = 200_000;
/// Largest manifest that is read back, in bytes.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;
/// Largest signature, in bytes.
pub const SIGNATURE_BYTES_MAX: u64 = 64 << 10;
/// Largest time stamp, in bytes.
pub const TIMESTAMP_BYTES_MAX: usize = 64 << 10;
/// Most gaps listed one by one; further ones are counted.
pub const GAPS_MAX: usize = 10_000;

/// Signs the manifest's bytes; the error is shown, never interpreted.
pub type Signer<'a> =
    &'a dyn Fn(&[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;

/// Has the 32 bytes of the Merkle root stamped by an authority of time (RFC 3161) and gives the
/// token; the error is shown, never interpreted.
pub type Stamper<'a> =
    &'a dyn Fn(&[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>>;

/// Checks a signature (second argument) over the manifest's bytes (first argument).
pub type SignatureVerifier<'a> =
    &'a dyn Fn(&[u8], &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// One captured item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Entry in the bundle: `processes/4711/maps`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of its content.
    pub sha256: Digest,
    /// Where it came from: `/proc/4711/maps`, or a description.
    pub source: String,
    /// When its collection began.
    pub time: Timestamp,
    /// What the reader must know, such as `environment values redacted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Something that could not be captured, or only in part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What was to be read.
    pub source: String,
    /// Why it was not.
    pub reason: String,
    /// The kernel's error number, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
}

/// What a bundle is about; the part of the manifest that the collector states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseFacts {
    /// The incident, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The container.
    pub container: Container,
    /// Name of the host.
    pub hostname: String,
    /// Version of the collector.
    pub tool: String,
    /// Whether the container stood frozen from the first item to the last.
    pub frozen: bool,
    /// When collection began.
    pub started: Timestamp,
}

/// The manifest of a bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// What it is about.
    #[serde(flatten)]
    pub case: CaseFacts,
    /// When collection ended.
    pub ended: Timestamp,
    /// Items in the order of collection.
    pub items: Vec<Item>,
    /// What is missing.
    pub gaps: Vec<Gap>,
    /// Further gaps that were only counted.
    pub n_gaps_unlisted: u64,
    /// End of the hash chain over the items: each link is the digest of the link before it
    /// and the item's record.
    pub chain: Digest,
    /// Merkle root (RFC 6962) over the items' records.
    pub merkle_root: Digest,
    /// Base64 of a TimeStampToken (RFC 3161) over the 32 bytes of the Merkle root, if one was
    /// asked for and came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

impl Manifest {
    /// The token of [`Manifest::timestamp`].
    pub fn timestamp_token(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(self.timestamp.as_ref()?).ok()
    }
}

/// What is asked of a bundle, and what opens it.
#[derive(Clone, Copy, Default)]
pub struct Opening<'a> {
    /// Checks the signature; with it a signature is demanded.
    pub verifier: Option<SignatureVerifier<'a>>,
    /// Open it where it is encrypted.
    pub identities: &'a [crate::age::Identity],
}

impl<'a> Opening<'a> {
    /// Demands a signature that `verifier` accepts.
    pub fn signed(verifier: SignatureVerifier<'a>) -> Self {
        Self { verifier: Some(verifier), identities: &[] }
    }

    /// Opens what is encrypted to one of `identities`.
    #[must_use]
    pub fn with_identities(self, identities: &'a [crate::age::Identity]) -> Self {
        Self { identities, ..self }
    }
}

impl std::fmt::Debug for Opening<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_signed = self.verifier.is_some();
        f.debug_struct("Opening").field("verifier", &is_signed).finish_non_exhaustive()
    }
}

/// The bytes of an item's record that chain and tree hash: its JSON.
fn item_record(item: &Item) -> Vec<u8> {
    // A struct of text and numbers always serialises.
    serde_json::to_vec(item).unwrap_or_default()
}

/// The chain's end and the Merkle root of `items`.
fn seal_items(items: &[Item]) -> (Digest, Digest) {
    let mut chain = Digest::of(b"");
    let mut leaves = Vec::with_capacity(items.len());
    for item in items {
        let record = item_record(item);
        let mut link = chain.as_bytes().to_vec();
        link.extend_from_slice(&record);
        chain = Digest::of(&link);
        leaves.push(merkle::leaf(&record));
    }
    (chain, merkle::root(&leaves))
}

#[cfg(test)]
mod tests;

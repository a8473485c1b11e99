//! Bills of materials: an inventory as CycloneDX 1.6 or SPDX 2.3 JSON.
//!
//! Deterministic: serial number and time are arguments. What could not be examined is said
//! in the document (`compositions`, annotations), so that a partial inventory does not pass
//! for a whole one.

pub mod cyclonedx;
pub mod spdx;

use palisade_base::Timestamp;

/// What a document needs besides the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentInfo {
    /// A UUID in lower case that is new for every document:
    /// `3e671687-395b-41f5-a30f-a58921a69b79`.
    pub uuid: String,
    /// When the document is made.
    pub time: Timestamp,
    /// The product's version.
    pub tool_version: String,
}

impl DocumentInfo {
    /// A document whose UUID is derived from `seed` (version 8 of RFC 9562): the same seed,
    /// for example the image's digest and the time, gives the same document.
    pub fn derived(seed: &[u8], time: Timestamp, tool_version: &str) -> Self {
        let digest = palisade_base::Digest::of(seed);
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let h = hex::encode(bytes);
        let uuid = format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..]);
        Self { uuid, time, tool_version: tool_version.to_string() }
    }

    /// RFC 3339 in UTC with whole seconds, which both formats want.
    pub(crate) fn seconds(&self) -> String {
        let text = self.time.rfc3339();
        format!("{}Z", text.get(..19).unwrap_or("1970-01-01T00:00:00"))
    }
}

#[cfg(test)]
mod tests;

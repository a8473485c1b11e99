//! Bills of materials: written as CycloneDX 1.6 and 1.7, SPDX 2.3 and 3.0 JSON; read from
//! CycloneDX 1.2 to 1.7 and SPDX 2.2 to 3.0.
//!
//! Deterministic: serial number and time are arguments. What could not be examined is said
//! in the document (`compositions`, annotations), so that a partial inventory does not pass
//! for a whole one.

pub mod cyclonedx;
pub mod read;
pub mod spdx;
pub mod spdx3;

use palisade_base::Timestamp;
use palisade_model::Inventory;
use palisade_model::finding::ScanReport;

/// A form of a bill of materials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// CycloneDX 1.6 (ECMA-424, first edition).
    Cyclonedx16,
    /// CycloneDX 1.7 (ECMA-424, second edition).
    Cyclonedx17,
    /// SPDX 2.3.
    Spdx23,
    /// SPDX 3.0.1.
    Spdx30,
}

impl Format {
    /// Every form.
    pub const ALL: [Self; 4] = [Self::Cyclonedx16, Self::Cyclonedx17, Self::Spdx23, Self::Spdx30];

    /// Its name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cyclonedx16 => "cyclonedx-json",
            Self::Cyclonedx17 => "cyclonedx-1.7-json",
            Self::Spdx23 => "spdx-json",
            Self::Spdx30 => "spdx-3.0-json",
        }
    }

    /// What it is, for help.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Cyclonedx16 => "CycloneDX 1.6",
            Self::Cyclonedx17 => "CycloneDX 1.7",
            Self::Spdx23 => "SPDX 2.3",
            Self::Spdx30 => "SPDX 3.0.1, JSON-LD",
        }
    }
}

/// Renders `inventory` as `format`.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render(
    inventory: &Inventory,
    format: Format,
    info: &DocumentInfo,
) -> Result<String, serde_json::Error> {
    match format {
        Format::Cyclonedx16 => cyclonedx::render(inventory, info),
        Format::Cyclonedx17 => {
            cyclonedx::render_as(cyclonedx::Edition::V1_7, inventory, None, info)
        }
        Format::Spdx23 => spdx::render(inventory, info),
        Format::Spdx30 => spdx3::render(inventory, None, info),
    }
}

/// Renders the inventory of `report` as `format`, with its vulnerabilities where the form has
/// a place for them; what was set aside is among them and says so.
///
/// # Errors
///
/// None in practice: the document is plain data.
pub fn render_report(
    report: &ScanReport,
    format: Format,
    info: &DocumentInfo,
) -> Result<String, serde_json::Error> {
    let inventory = &report.inventory;
    match format {
        Format::Cyclonedx16 => {
            cyclonedx::render_as(cyclonedx::Edition::V1_6, inventory, Some(report), info)
        }
        Format::Cyclonedx17 => {
            cyclonedx::render_as(cyclonedx::Edition::V1_7, inventory, Some(report), info)
        }
        Format::Spdx23 => spdx::render_report(report, info),
        Format::Spdx30 => spdx3::render(inventory, Some(report), info),
    }
}

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
        Self { uuid: uuid(seed), time, tool_version: tool_version.to_string() }
    }

    /// RFC 3339 in UTC with whole seconds, which both formats want.
    pub(crate) fn seconds(&self) -> String {
        let text = self.time.rfc3339();
        format!("{}Z", text.get(..19).unwrap_or("1970-01-01T00:00:00"))
    }
}

/// A UUID of version 8 (RFC 9562) derived from `seed`.
pub(crate) fn uuid(seed: &[u8]) -> String {
    let digest = palisade_base::Digest::of(seed);
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let h = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

#[cfg(test)]
mod tests;

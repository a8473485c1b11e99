//! The versioned JSON document of a scan.

use palisade_base::Explain;
use palisade_model::finding::ScanReport;
use palisade_model::wire::{Envelope, schema};

/// A report beyond this many bytes is refused.
pub const BYTES_MAX: u64 = 512 << 20;

/// The report as one pretty-printed document with a final newline. The hashes of the programs'
/// functions are left out: findings say what was found with them.
///
/// # Errors
///
/// None in practice: the report is plain data.
pub fn render(report: &ScanReport) -> Result<String, serde_json::Error> {
    let bare;
    let report = if report.inventory.programs.is_empty() {
        report
    } else {
        let mut copy = report.clone();
        copy.inventory.programs.clear();
        bare = copy;
        &bare
    };
    let mut text = serde_json::to_string_pretty(&Envelope::new(schema::SCAN_REPORT, report))?;
    text.push('\n');
    Ok(text)
}

/// Why bytes are no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadReportError {
    /// Not JSON, or not of this form.
    #[error("not a scan report in JSON")]
    Malformed(#[from] serde_json::Error),
    /// A document of another kind or version.
    #[error("the document is `{0}`, not `{expected}`", expected = schema::SCAN_REPORT)]
    Schema(String),
    /// Larger than the bound.
    #[error("larger than the limit of {BYTES_MAX} bytes")]
    TooLarge,
}

impl Explain for ReadReportError {
    fn hint(&self) -> Option<String> {
        Some("give a file that `palisade scan --format json` wrote".into())
    }
}

/// What is read first: whether the rest is ours.
#[derive(serde::Deserialize)]
struct Head {
    #[serde(default)]
    schema: String,
}

/// Reads what [`render`] wrote, by this release or an earlier one of the same schema.
///
/// # Errors
///
/// See [`ReadReportError`].
pub fn read(bytes: &[u8]) -> Result<ScanReport, ReadReportError> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(ReadReportError::TooLarge);
    }
    let head: Head = serde_json::from_slice(bytes)?;
    if head.schema != schema::SCAN_REPORT {
        return Err(ReadReportError::Schema(head.schema.chars().take(80).collect()));
    }
    Ok(serde_json::from_slice::<Envelope<ScanReport>>(bytes)?.body)
}

//! The versioned JSON document of a scan.

use palisade_model::finding::ScanReport;
use palisade_model::wire::{Envelope, schema};

/// The report as one pretty-printed document with a final newline.
///
/// # Errors
///
/// None in practice: the report is plain data.
pub fn render(report: &ScanReport) -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&Envelope::new(schema::SCAN_REPORT, report))?;
    text.push('\n');
    Ok(text)
}

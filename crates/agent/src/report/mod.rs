//! The incident report: one HTML file that needs nothing else.
//!
//! No scripts, no fonts, no images from elsewhere: it can be mailed, archived and printed,
//! and its content security policy refuses everything that could be smuggled into it by
//! an attacker's file names. All text is escaped by the template engine, and characters
//! that steer a terminal or turn text around are shown by their codes.

mod attack;
mod case;
mod reach;
mod view;

use askama::Template as _;
use palisade_base::Timestamp;
use palisade_model::Incident;
use palisade_model::finding::ScanReport;
use palisade_respond::bundle::{Manifest, Seal};

pub use attack::{TACTICS, technique};
pub use case::case_html;

/// Timeline rows shown; further ones are counted.
pub const ROWS_MAX: usize = 1000;
/// Processes shown in the tree.
pub const PROCESSES_MAX: usize = 300;
/// Findings of the image shown.
pub const FINDINGS_MAX: usize = 25;
/// Evidence items shown.
pub const ITEMS_MAX: usize = 2000;

/// A fact about how the container was confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardeningFact {
    /// What: `capabilities`.
    pub name: String,
    /// How: `none`.
    pub value: String,
    /// Whether it confines.
    pub confines: bool,
}

/// The evidence bundle of the incident.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceInfo<'a> {
    /// File of the bundle.
    pub file: &'a str,
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// What vouches for it.
    pub seal: Seal,
}

/// What a report shows.
#[derive(Debug, Clone, Copy)]
pub struct ReportInput<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// Scan of the image, when there is one.
    pub scan: Option<&'a ScanReport>,
    /// How the container was confined.
    pub hardening: &'a [HardeningFact],
    /// The evidence, when it was collected.
    pub evidence: Option<EvidenceInfo<'a>>,
    /// Name of the host.
    pub hostname: &'a str,
    /// Name and version of the program.
    pub tool: &'a str,
    /// When the report is made.
    pub time: Timestamp,
}

/// Why no report could be made.
#[derive(Debug, thiserror::Error)]
#[error("write the report")]
pub struct ReportError(#[from] askama::Error);

/// The report as one HTML document.
pub fn html(input: &ReportInput<'_>) -> Result<String, ReportError> {
    Ok(view::Page::new(input).render()?)
}

#[cfg(test)]
mod tests;

//! The envelope of everything that leaves the process as JSON.

use serde::{Deserialize, Serialize};

/// A versioned document: `{"schema": "palisade.dev/scan-report/v1", …}`.
///
/// A version number changes when a reader of the old one would misread the new one;
/// added fields do not change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Name and version of what follows.
    pub schema: String,
    /// The document.
    #[serde(flatten)]
    pub body: T,
}

/// Schemas that the product writes.
pub mod schema {
    /// [`crate::finding::ScanReport`].
    pub const SCAN_REPORT: &str = "palisade.dev/scan-report/v1";
    /// What the checks of configuration found.
    pub const CHECK_REPORT: &str = "palisade.dev/check-report/v1";
    /// [`crate::Alert`].
    pub const ALERT: &str = "palisade.dev/alert/v1";
    /// [`crate::Repeats`].
    pub const ALERT_REPEATS: &str = "palisade.dev/alert-repeats/v1";
    /// [`crate::Incident`].
    pub const INCIDENT: &str = "palisade.dev/incident/v1";
}

impl<T> Envelope<T> {
    /// Wraps `body` as a document of `schema`.
    pub fn new(schema: &str, body: T) -> Self {
        Self { schema: schema.to_string(), body }
    }
}

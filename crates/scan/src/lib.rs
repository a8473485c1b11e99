//! Advisories, matching, secrets, malware, licences, dangerous files, reports.
//!
//! [`scan_image`] walks an image once and gives a [`palisade_model::finding::ScanReport`]:
//! inventory, vulnerabilities against a [`db::Database`], secrets, dangerous files, weak
//! settings, and what could not be examined. [`report`] and [`sbom`] render it, [`gate`]
//! judges it.
//!
//! Invariants: nothing of an image is unpacked or executed; every table and queue has a
//! bound; what is skipped, dropped or unreadable is counted in the report, so that "nothing
//! found" and "nothing looked at" differ. The crate prints nothing and fetches nothing.
#![forbid(unsafe_code)]

pub mod cache;
pub mod config;
pub mod configuration;
pub mod db;
pub mod ecosystem;
pub mod feeds;
pub mod files;
pub mod gate;
pub mod ignore;
pub mod licences;
pub mod malware;
pub mod matching;
pub mod minimality;
pub mod report;
pub mod sbom;
pub mod scan;
pub mod secrets;
pub mod stored;
pub mod vex;
mod walk;

pub use cache::ExaminationCache;
pub use scan::{
    Look, SECRETS_MAX, ScanError, ScanOptions, inventory_of, scan_cached, scan_document,
    scan_image, scan_target,
};

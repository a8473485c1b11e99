//! The Update Framework (specification 1.0): from one root that somebody brought, the newest
//! files of a repository, whoever serves it.
//!
//! What it protects from, and how: files of others (signatures, as many as a role needs), keys
//! that were stolen (roots that sign their successors, one after the other), old files (no
//! version goes back) and files that stand still (everything expires), mixtures (one list of
//! versions), and endless ones (every length is bounded).
//!
//! Every document is taken over only once everything about it was verified, and the file that
//! is wanted last of all; whoever stops half-way goes on the next time.
//!
//! Delegated roles are followed in their order, by patterns of paths, hashes of paths and bins,
//! up to [`DELEGATED_MAX`] of them.
//!
//! Not done: no mirror list is read.

mod canonical;
mod client;
mod delegation;
mod error;
mod metadata;

pub use client::{DELEGATED_MAX, Refreshed, Repository, begin, expires, held, refresh};
pub use error::TufError;
pub use metadata::{METADATA_BYTES_MAX, check};

/// The files of a repository in a folder, as `begin` and `refresh` keep them.
pub const ROOT: &str = "root.json";

#[cfg(test)]
mod tests;

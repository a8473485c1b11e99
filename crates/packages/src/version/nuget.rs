//! NuGet's order: Semantic Versioning with up to four numbers, and without case (NuGet
//! documentation, "Package versioning").

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, semver};

/// Compares two versions; `None` for text that begins with no number.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    if a.len().max(b.len()) > VERSION_BYTES_MAX {
        return None;
    }
    semver::compare(&a.to_ascii_lowercase(), &b.to_ascii_lowercase())
}

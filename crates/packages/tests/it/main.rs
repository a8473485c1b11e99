//! Integration tests of the catalogers and version orders.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and reports to whoever runs it"
)]

mod catalogs;
mod purls;
mod versions;

use std::path::PathBuf;

/// A folder of the conformance material; the reason for skipping is printed where it is
/// absent.
fn conformance(folder: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    #[expect(clippy::disallowed_methods, reason = "tests have no settings to read it from")]
    let shared = std::env::var_os("PALISADE_SHARED").unwrap_or_else(|| default.into());
    let path = PathBuf::from(shared).join("conformance").join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {} is absent; set PALISADE_SHARED", path.display());
        return None;
    }
    Some(path)
}

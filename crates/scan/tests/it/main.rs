//! Integration tests of the crate: real feeds, real packages, whole images.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it skips on stderr"
)]

mod cache;
mod checks;
mod content;
mod deb;
mod distributions;
mod feeds;
mod fixes;
mod forms;
mod image;
mod minimality;
mod native_orders;
mod packages;
mod sbom;
mod schema;
mod trivy_db;

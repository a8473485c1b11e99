//! Drives the crate from outside.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and reports to whoever runs it"
)]

mod conformance;

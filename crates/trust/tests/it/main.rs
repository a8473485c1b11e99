//! Images that are signed, verified, and tampered with.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "the reason of a skipped test")]

mod bounds;
mod bundle_rules;
mod conformance;
mod containers;
mod fixture;
mod images;
mod interop;
mod keyless;
mod keyless_cases;
mod keys;
mod sigstore;
mod tampering;

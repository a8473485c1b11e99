//! The real binary, from outside.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]
#![expect(clippy::print_stderr, reason = "skips and steps are for the reader of the test's output")]

mod attestations;
mod bad_input;
mod builtin_rules;
mod bundles;
mod capture;
mod check;
mod debian_mirror;
mod decisions;
mod engine_setup;
mod fake_registry;
mod feeds;
mod frame;
mod hostile;
mod ima;
mod layout;
mod log;
mod patch;
mod patch_apk;
mod recordings;
mod registry;
mod replay;
mod reports;
mod root;
mod rule_tests;
mod rules;
mod scan_sbom;
mod sign_verify;
mod signing;
mod sink;
mod support;
mod trust_change;
mod verify_families;
mod verify_remote;

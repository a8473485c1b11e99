//! Integration tests of plans, their execution and evidence.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod evidence;
mod execute;
mod orders;
mod orders_remote;
mod orders_root;
mod plan;
mod support;

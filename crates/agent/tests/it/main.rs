//! Integration tests of the agent: from detection to response, across crashes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod catalogue;
mod inventories;
mod latency;
mod live;
mod pushdown;
mod root;
mod run;
mod sinks;
mod support;
mod techniques;

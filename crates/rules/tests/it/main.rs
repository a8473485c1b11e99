//! Tests of the crate through its public interface.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tests say what they decided")]

mod conformance;
mod engine;
mod loading;
mod naive;
mod property;
mod schema;
mod selector;
mod stateful;
mod writing;

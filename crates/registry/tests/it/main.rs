//! Integration tests: against registries that tests tell what to say, and against a real one.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says why it was skipped"
)]

mod auth;
mod hostile;
mod pull;
mod push;
mod real;
mod server;
mod support;

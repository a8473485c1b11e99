//! Transports against receivers that are there, slow, rude, or gone.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod syslog;
mod tls;
mod webhook;

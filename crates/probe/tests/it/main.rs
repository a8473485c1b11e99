//! The crate from outside, against servers of the tests' own on loopback.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;
mod reference;
mod total;

//! Drives the crate from outside.

mod conformance;

//! What every other crate stands on: bounded readers, path-safe roots, digests,
//! time, diagnostics and the printing of error chains.
//!
//! Nothing here knows what a container is. Nothing here opens a socket, starts a
//! process or reads the environment: callers pass what a function needs.
#![forbid(unsafe_code)]

pub mod bech32;
pub mod bounded;
pub mod diagnostic;
pub mod digest;
pub mod error;
pub mod fs;
pub mod json;
pub mod root;
pub mod suggest;
pub mod text;
pub mod time;
pub mod tree;
pub mod yaml;

pub use bounded::{Bounded, LimitExceeded, read_bounded};
pub use diagnostic::{Diagnostic, Diagnostics, Location, Severity};
pub use digest::{Digest, DigestReader, ParseDigestError};
pub use error::{Explain, render_chain};
pub use root::Root;
pub use time::Timestamp;

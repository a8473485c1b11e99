//! The transparency log: an append-only Merkle tree over tiles, whose signed checkpoints
//! anybody can hold it to.
//!
//! The lower half is pure: [`merkle`] (RFC 6962), [`tile`] (C2SP tlog-tiles), [`note`] (C2SP
//! signed-note, tlog-cosignature) and [`checkpoint`] (C2SP tlog-checkpoint) take bytes and
//! return values.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod key;
pub mod merkle;
pub mod note;
pub mod tile;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use key::{KeyError, KeyKind, SigningKey, VerifierKey};
pub use merkle::{Hash, ProofError};
pub use note::{Note, NoteError, NoteSignature};
pub use tile::{TileCoordinate, TileError, TileSource};

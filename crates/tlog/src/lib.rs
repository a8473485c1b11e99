//! The transparency log: an append-only Merkle tree over tiles, whose signed checkpoints
//! anybody can hold it to.
//!
//! The lower half is pure: [`merkle`] (RFC 6962), [`tile`] (C2SP tlog-tiles), [`note`] (C2SP
//! signed-note, tlog-cosignature) and [`checkpoint`] (C2SP tlog-checkpoint) take bytes and
//! return values. Above it stand the [`folder`] that holds a log and its one [`writer`].
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod entry;
pub mod folder;
pub mod key;
pub mod merkle;
pub mod note;
pub mod tile;
pub mod writer;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use entry::{Entry, EntryError};
pub use folder::Folder;
pub use key::{KeyError, KeyKind, SigningKey, VerifierKey};
pub use merkle::{Hash, ProofError};
pub use note::{Note, NoteError, NoteSignature};
pub use tile::{TileCoordinate, TileError, TileSource};
pub use writer::{WriteError, Writer};

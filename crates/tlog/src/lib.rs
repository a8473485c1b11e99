//! The transparency log: an append-only Merkle tree over tiles, whose signed checkpoints
//! anybody can hold it to.
//!
//! The lower half is pure: [`merkle`] (RFC 6962), [`tile`] (C2SP tlog-tiles), [`note`] (C2SP
//! signed-note, tlog-cosignature) and [`checkpoint`] (C2SP tlog-checkpoint) take bytes and
//! return values. Above it stand the [`folder`] that holds a log and its one [`writer`].
#![forbid(unsafe_code)]

pub mod bundle;
pub mod checkpoint;
pub mod entry;
pub mod folder;
pub mod fork;
pub mod key;
pub mod log;
pub mod merkle;
pub mod monitor;
pub mod note;
pub mod server;
pub mod source;
pub mod tile;
pub mod witness;
pub mod writer;

pub use bundle::{LogEntry, LogEntryError};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use entry::{Entry, EntryError};
pub use folder::Folder;
pub use fork::{Fork, ForkError};
pub use key::{KeyError, KeyKind, SigningKey, VerifierKey};
pub use log::{AppendError, Appended, Cosigner, Log, LogOptions};
pub use merkle::{Hash, ProofError};
pub use monitor::{Monitor, MonitorError};
pub use note::{Note, NoteError, NoteSignature};
pub use source::{Source, SourceError};
pub use tile::{TileCoordinate, TileError, TileSource};
pub use writer::{WriteError, Writer};

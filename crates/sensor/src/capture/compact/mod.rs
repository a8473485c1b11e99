//! Recordings: Palisade's own captures (`docs/formats/capture.md`).
//!
//! ```text
//! file    header, chunks
//! chunk   header with checksums, deflated entries: the state, or events
//! ```
//!
//! A section begins with the whole state and goes on with events. Each chunk is compressed
//! and checked by itself: a file that was cut is used up to its last whole chunk, and
//! behind a damaged one reading goes on with the next section.
//!
//! What is replayed is byte for byte what was recorded, trailer and raw path included, and
//! what the state learned from outside ([`crate::state::Observation`]) is repeated; so a
//! replay shows what was seen live.

pub mod chunk;
mod convert;
mod error;
mod event;
mod info;
mod player;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use convert::{ConvertError, Converted, from_scap, to_scap};
pub use error::RecordingError;
pub use info::{Info, Section, info};
pub(crate) use player::replay;
pub use reader::Recording;
pub use writer::{CHUNK_BYTES, CONTAINERS_PER_SECTION_MAX, OnChunk, Origin, Writer};

/// First bytes of every recording. The first is no text, the last is a line end: a
/// transfer that changes either is noticed.
pub const MAGIC: [u8; 8] = *b"\x89PALCAP\n";

/// Version that is written, and the newest major version that is read.
pub const VERSION: (u16, u16) = (1, 0);

/// Bytes of the file's header.
pub const FILE_HEADER_BYTES: usize = 16;

/// Suffix of recordings.
pub const SUFFIX: &str = "palcap";

/// Entries that are no event and no part of a state; see [`crate::state::Part::tag`] for
/// those.
pub(crate) mod tag {
    /// Entries below are events; the bits are flags.
    pub(crate) const NO_EVENT: u8 = 0x80;
    /// A record that could not be decoded, as it came.
    pub(crate) const OPAQUE: u8 = 0x90;
    /// Records that were not kept here.
    pub(crate) const LOST: u8 = 0x91;
    /// A thread was found in another container.
    pub(crate) const FOUND_CONTAINER: u8 = 0x92;
    /// A thread was found in `/proc`.
    pub(crate) const FOUND_THREAD: u8 = 0x93;
}

/// Writes the header of a file.
pub fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.0.to_le_bytes());
    header[10..12].copy_from_slice(&VERSION.1.to_le_bytes());
    let check = chunk::checksum(&header[..12]);
    header[12..].copy_from_slice(&check.to_le_bytes());
    header
}

//! What can be wrong with a recording.

use std::io;

/// Why a recording, or a part of it, could not be read. Offsets are bytes in the file.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file does not begin as a recording.
    #[error("file does not begin as a recording")]
    NotARecording,
    /// It is from a newer major version.
    #[error("recording has format version {major}.{minor}, which is newer than 1.x")]
    NewerVersion {
        /// Major version in the file.
        major: u16,
        /// Minor version in the file.
        minor: u16,
    },
    /// It ends inside a chunk.
    #[error("recording ends inside the chunk at offset {offset}")]
    Truncated {
        /// Where the chunk begins.
        offset: u64,
    },
    /// A chunk's header is not what was written.
    #[error("chunk at offset {offset} has a damaged header")]
    Header {
        /// Where the chunk begins.
        offset: u64,
    },
    /// A chunk states a length that none has.
    #[error("chunk at offset {offset} states a length of {length} bytes")]
    Length {
        /// Where the chunk begins.
        offset: u64,
        /// The stated length.
        length: u32,
    },
    /// A chunk's bytes are not those that were written.
    #[error("chunk at offset {offset} is damaged: its checksum is wrong")]
    Checksum {
        /// Where the chunk begins.
        offset: u64,
    },
    /// A chunk does not decompress to what its header says.
    #[error("chunk at offset {offset} does not decompress to the {n_bytes} bytes it states")]
    Inflate {
        /// Where the chunk begins.
        offset: u64,
        /// The stated length.
        n_bytes: u32,
    },
    /// An entry of a chunk makes no sense.
    #[error("entry {entry} of the chunk at offset {offset} cannot be read")]
    Entry {
        /// Where the chunk begins.
        offset: u64,
        /// The entry, from 0.
        entry: u32,
    },
    /// The entries of a chunk are larger than any writer makes them.
    #[error("the events of the chunk at offset {offset} are larger than {limit} bytes")]
    TooLong {
        /// Where the chunk begins.
        offset: u64,
        /// The limit.
        limit: usize,
    },
    /// Chunks are missing before this one.
    #[error("{n_missing} chunks are missing before the one at offset {offset}")]
    Missing {
        /// Where the next chunk begins.
        offset: u64,
        /// How many.
        n_missing: u32,
    },
    /// Events come without the state at their beginning.
    #[error("the chunk at offset {offset} has no state before it")]
    NoState {
        /// Where the chunk begins.
        offset: u64,
    },
    /// The file could not be read.
    #[error("read recording at offset {offset}")]
    Io {
        /// Bytes read before.
        offset: u64,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

impl RecordingError {
    /// Whether reading can go on behind it, with the next section.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Checksum { .. }
                | Self::Inflate { .. }
                | Self::Entry { .. }
                | Self::TooLong { .. }
                | Self::Missing { .. }
                | Self::NoState { .. }
        )
    }
}

impl palisade_base::Explain for RecordingError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotARecording => "pass a recording of `palisade watch`".into(),
            Self::NewerVersion { .. } => "update palisade".into(),
            Self::Io { .. } => return None,
            Self::Truncated { .. } | Self::Header { .. } | Self::Length { .. } => {
                "the events before that offset were used; the rest of the file is damaged".into()
            }
            _ => "the events before that offset were used, and those of later sections".into(),
        })
    }
}

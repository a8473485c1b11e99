//! Chunks of a file, one after the other.

use std::io::{self, Read};

use super::chunk::{self, HEADER_BYTES, Header};
use super::error::RecordingError;
use super::{FILE_HEADER_BYTES, MAGIC, VERSION};

/// Reads chunks.
#[derive(Debug)]
pub struct Recording<R> {
    input: R,
    offset: u64,
    stored: Vec<u8>,
    entries: Vec<u8>,
}

/// A chunk, checked and decompressed.
#[derive(Debug)]
pub struct Chunk<'c> {
    /// What its header says.
    pub header: Header,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its entries.
    pub entries: &'c [u8],
}

impl<R: Read> Recording<R> {
    /// Opens a recording: checks its header.
    pub fn open(mut input: R) -> Result<Self, RecordingError> {
        let mut header = [0; FILE_HEADER_BYTES];
        match input.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(RecordingError::NotARecording);
            }
            Err(source) => return Err(RecordingError::Io { offset: 0, source }),
        }
        if header[..8] != MAGIC {
            return Err(RecordingError::NotARecording);
        }
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let (major, minor) = (half(8), half(10));
        // The version first: how a newer one is checked, only that one knows.
        if major != VERSION.0 {
            return Err(RecordingError::NewerVersion { major, minor });
        }
        if header[12..] != chunk::checksum(&header[..12]).to_le_bytes() {
            return Err(RecordingError::Header { offset: 0 });
        }
        let offset = FILE_HEADER_BYTES as u64;
        Ok(Self { input, offset, stored: Vec::new(), entries: Vec::new() })
    }

    /// Bytes of the file that were read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next chunk, or none at the end. After an error that concerns one chunk alone
    /// ([`RecordingError`] says which do) the next call goes on behind it.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk<'_>>, RecordingError> {
        let offset = self.offset;
        let mut header = [0; HEADER_BYTES];
        match self.fill(&mut header, offset)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            _ => return Err(RecordingError::Truncated { offset }),
        }
        let header = Header::decode(&header, offset)?;
        // The length is known to be small; memory grows with what arrives all the same.
        self.stored.clear();
        let n_stored = u64::from(header.n_stored);
        let n_read = (&mut self.input)
            .take(n_stored)
            .read_to_end(&mut self.stored)
            .map_err(|source| RecordingError::Io { offset, source })?;
        if n_read as u64 != n_stored {
            return Err(RecordingError::Truncated { offset });
        }
        self.offset = offset + HEADER_BYTES as u64 + n_stored;
        if matches!(header.kind, chunk::Kind::Unknown(_)) {
            self.entries.clear();
        } else {
            chunk::open(&header, &self.stored, offset, &mut self.entries)?;
        }
        Ok(Some(Chunk { header, offset, entries: &self.entries }))
    }

    fn fill(&mut self, buffer: &mut [u8], offset: u64) -> Result<usize, RecordingError> {
        let mut n_read = 0;
        while n_read < buffer.len() {
            match self.input.read(&mut buffer[n_read..]) {
                Ok(0) => break,
                Ok(n) => n_read += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RecordingError::Io { offset, source }),
            }
        }
        Ok(n_read)
    }
}

//! One chunk: a header with checksums, and entries that are compressed by themselves.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::error::RecordingError;
use crate::record::Cursor;

/// Level of compression. On the conformance captures level 2 is both smaller and faster than
/// level 1, and level 6 saves 7 % for twice the time (`docs/formats/capture.md`).
const LEVEL: u32 = 2;

/// First bytes of a chunk.
pub const MARK: [u8; 4] = *b"PCHK";

/// Bytes of a chunk's header.
pub const HEADER_BYTES: usize = 40;

/// Bytes of a chunk's entries, uncompressed, that are read. Writers close a chunk far
/// earlier; one record can be as large as
/// [`RECORD_BYTES_MAX`](crate::record::RECORD_BYTES_MAX).
pub const CHUNK_BYTES_MAX: u32 = 16 << 20;

/// Bytes of the records of one chunk as they are handed out. Less than what references to
/// long texts could make of [`CHUNK_BYTES_MAX`].
pub const CHUNK_RECORD_BYTES_MAX: usize = 64 << 20;

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Parts of a state.
    State,
    /// Events, and what the state learned beside them.
    Events,
    /// What this version does not know.
    Unknown(u8),
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::State => 1,
            Self::Events => 2,
            Self::Unknown(number) => number,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::State,
            2 => Self::Events,
            number => Self::Unknown(number),
        }
    }
}

/// The chunk begins a section.
pub const FLAG_BEGINS: u16 = 1;
/// The chunk completes the state.
pub const FLAG_COMPLETES: u16 = 2;

const METHOD_STORED: u8 = 0;
const METHOD_DEFLATE: u8 = 1;

/// What a chunk's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the chunk holds.
    pub kind: Kind,
    /// How its entries are compressed: 0 not at all, 1 deflate (RFC 1951).
    pub method: u8,
    /// [`FLAG_BEGINS`], [`FLAG_COMPLETES`].
    pub flags: u16,
    /// Bytes behind the header.
    pub n_stored: u32,
    /// Bytes of the entries, uncompressed.
    pub n_bytes: u32,
    /// Entries.
    pub n_entries: u32,
    /// Chunks of events have numbers without gaps, from 0 in a run of the recorder; those
    /// of a state have the number of the next chunk of events.
    pub number: u32,
    /// Time of the first record, nanoseconds since the epoch; times in the chunk are
    /// relative to it.
    pub first_ns: u64,
    /// CRC-32 of what is stored.
    pub check: u32,
}

impl Header {
    /// Whether a flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&MARK);
        bytes[4] = self.kind.number();
        bytes[5] = self.method;
        bytes[6..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.n_stored.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.n_bytes.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.n_entries.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_ns.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.check.to_le_bytes());
        let check = checksum(&bytes[..36]);
        bytes[36..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads the header at `offset`.
    pub fn decode(bytes: &[u8; HEADER_BYTES], offset: u64) -> Result<Self, RecordingError> {
        let damaged = || RecordingError::Header { offset };
        let mut cursor = Cursor(bytes);
        let mut read = || {
            let mark = cursor.array::<4>()?;
            let header = Self {
                kind: Kind::from_number(cursor.u8()?),
                method: cursor.u8()?,
                flags: cursor.u16()?,
                n_stored: cursor.u32()?,
                n_bytes: cursor.u32()?,
                n_entries: cursor.u32()?,
                number: cursor.u32()?,
                first_ns: cursor.u64()?,
                check: cursor.u32()?,
            };
            Some((mark, header, cursor.u32()?))
        };
        let (mark, header, check) = read().ok_or_else(damaged)?;
        if mark != MARK || check != checksum(&bytes[..36]) {
            return Err(damaged());
        }
        for length in [header.n_stored, header.n_bytes] {
            if length > CHUNK_BYTES_MAX {
                return Err(RecordingError::Length { offset, length });
            }
        }
        Ok(header)
    }
}

/// CRC-32 as gzip has it (RFC 1952).
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// A chunk that is full, before it is compressed.
#[derive(Debug)]
pub struct Raw {
    pub(crate) kind: Kind,
    pub(crate) flags: u16,
    pub(crate) entries: Vec<u8>,
    pub(crate) n_entries: u32,
    pub(crate) number: u32,
    pub(crate) first_ns: u64,
    /// Time of the last record.
    pub last_ns: u64,
    /// Records in it.
    pub n_records: u64,
}

impl Raw {
    /// A chunk of entries that were made elsewhere.
    pub fn of_entries(kind: Kind, flags: u16, number: u32, entries: Vec<u8>) -> Self {
        let (n_entries, first_ns, last_ns, n_records) = (0, 0, 0, 0);
        Self { kind, flags, entries, n_entries, number, first_ns, last_ns, n_records }
    }

    /// Its entries, uncompressed.
    pub fn entries(&self) -> &[u8] {
        &self.entries
    }

    /// Bytes, uncompressed.
    pub fn n_bytes(&self) -> usize {
        self.entries.len()
    }

    /// Time of the first record; 0 in a state.
    pub fn first_ns(&self) -> u64 {
        self.first_ns
    }

    /// Whether it begins a section.
    pub fn begins_section(&self) -> bool {
        self.flags & FLAG_BEGINS != 0
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Compresses it into the form that files have, appending to `out`.
    pub fn seal(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        let mut encoder = DeflateEncoder::new(&mut *out, Compression::new(LEVEL));
        // Writing to a vector cannot fail.
        let _ = encoder.write_all(&self.entries).and_then(|()| encoder.try_finish());
        drop(encoder);
        let mut method = METHOD_DEFLATE;
        if out.len() - start - HEADER_BYTES >= self.entries.len() {
            out.truncate(start + HEADER_BYTES);
            out.extend_from_slice(&self.entries);
            method = METHOD_STORED;
        }
        let stored = &out[start + HEADER_BYTES..];
        let header = Header {
            kind: self.kind,
            method,
            flags: self.flags,
            n_stored: stored.len() as u32,
            n_bytes: self.entries.len() as u32,
            n_entries: self.n_entries,
            number: self.number,
            first_ns: self.first_ns,
            check: checksum(stored),
        };
        let header = header.encode();
        out[start..start + HEADER_BYTES].copy_from_slice(&header);
    }
}

/// Checks and decompresses what is stored behind `header` into `entries`, which is cleared.
pub(crate) fn open(
    header: &Header,
    stored: &[u8],
    offset: u64,
    entries: &mut Vec<u8>,
) -> Result<(), RecordingError> {
    if checksum(stored) != header.check {
        return Err(RecordingError::Checksum { offset });
    }
    entries.clear();
    let wrong = || RecordingError::Inflate { offset, n_bytes: header.n_bytes };
    match header.method {
        METHOD_STORED => entries.extend_from_slice(stored),
        METHOD_DEFLATE => {
            // One byte more than stated shows a stream that goes on; memory grows with what
            // arrives.
            let limit = u64::from(header.n_bytes) + 1;
            let mut inflated = DeflateDecoder::new(stored).take(limit);
            inflated.read_to_end(entries).map_err(|_| wrong())?;
        }
        _ => return Err(wrong()),
    }
    if entries.len() == header.n_bytes as usize { Ok(()) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(entries: Vec<u8>) -> Raw {
        Raw {
            kind: Kind::Events,
            flags: FLAG_BEGINS,
            entries,
            n_entries: 1,
            number: 7,
            first_ns: 5,
            last_ns: 6,
            n_records: 1,
        }
    }

    fn sealed(entries: Vec<u8>) -> (Header, Vec<u8>) {
        let mut out = Vec::new();
        raw(entries).seal(&mut out);
        let header = Header::decode(out.first_chunk().unwrap(), 0).unwrap();
        (header, out.split_off(HEADER_BYTES))
    }

    #[test]
    fn a_chunk_comes_back_compressed_or_not() {
        let mut entries = Vec::new();
        for (content, method) in [(vec![7; 1000], METHOD_DEFLATE), (vec![1, 2], METHOD_STORED)] {
            let (header, stored) = sealed(content.clone());
            assert_eq!((header.method, header.number, header.first_ns), (method, 7, 5));
            assert!(header.has(FLAG_BEGINS) && !header.has(FLAG_COMPLETES));
            open(&header, &stored, 0, &mut entries).unwrap();
            assert_eq!(entries, content);
        }
    }

    #[test]
    fn a_chunk_that_lies_is_refused() {
        let mut entries = Vec::new();
        let (header, mut stored) = sealed(vec![7; 100_000]);
        let bomb = Header { n_bytes: 10, ..header };
        let error = open(&bomb, &stored, 3, &mut entries).unwrap_err();
        assert!(matches!(error, RecordingError::Inflate { offset: 3, n_bytes: 10 }));
        assert!(entries.len() <= 11, "no more is decompressed than is stated");
        let longer = Header { n_bytes: 100_001, ..header };
        assert!(open(&longer, &stored, 3, &mut entries).is_err());
        stored[5] ^= 1;
        let error = open(&header, &stored, 3, &mut entries).unwrap_err();
        assert!(matches!(error, RecordingError::Checksum { offset: 3 }));
        let mut bytes = Header { n_bytes: CHUNK_BYTES_MAX + 1, ..header }.encode();
        let error = Header::decode(&bytes, 9).unwrap_err();
        assert!(matches!(error, RecordingError::Length { offset: 9, .. }));
        bytes[8] ^= 1;
        let error = Header::decode(&bytes, 9).unwrap_err();
        assert!(matches!(error, RecordingError::Header { offset: 9 }));
    }
}

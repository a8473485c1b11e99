//! Blocks of a capture, one after the other.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use palisade_base::{Bounded, LimitExceeded};

use super::kind;
use crate::record::{Cursor, HEADER_BYTES, RECORD_BYTES_MAX, RecordError};
use crate::schema::{Traits, event};

/// A block larger than this is refused (a process list of a large machine takes a few
/// megabytes).
pub const BLOCK_BYTES_MAX: u32 = 256 << 20;

/// A capture is read up to this many bytes, uncompressed, unless the caller says otherwise.
pub const CAPTURE_BYTES_MAX: u64 = 64 << 30;

/// Why a capture, or the rest of one, could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file does not begin as a capture.
    #[error("file does not begin as a capture")]
    NotACapture,
    /// It is from a newer major version.
    #[error("capture has format version {major}.{minor}, which is newer than 1.x")]
    NewerVersion {
        /// Major version in the file.
        major: u16,
        /// Minor version in the file.
        minor: u16,
    },
    /// It is a recording of our own, and damaged.
    #[error(transparent)]
    Recording(#[from] super::compact::RecordingError),
    /// It ends inside a block.
    #[error("capture ends inside a block at offset {offset}")]
    Truncated {
        /// Where the block begins, in uncompressed bytes.
        offset: u64,
    },
    /// A block states a length that cannot be.
    #[error("block at offset {offset} states a length of {length} bytes")]
    BlockLength {
        /// Where the block begins.
        offset: u64,
        /// Its stated length.
        length: u32,
    },
    /// The length behind a block is not the one before it.
    #[error("block at offset {offset} begins with length {header} and ends with {trailer}")]
    BlockTrailer {
        /// Where the block begins.
        offset: u64,
        /// Length before it.
        header: u32,
        /// Length behind it.
        trailer: u32,
    },
    /// A list inside a block does not fit into it.
    #[error("{what} at offset {offset} ends behind its block")]
    ListOverrun {
        /// Where the block begins.
        offset: u64,
        /// What was being read.
        what: &'static str,
    },
    /// The capture is larger than the caller allows.
    #[error("capture is larger than the limit of {limit} bytes")]
    TooLarge {
        /// The limit, in uncompressed bytes.
        limit: u64,
    },
    /// The file could not be read or decompressed.
    #[error("read capture at offset {offset}")]
    Io {
        /// Uncompressed bytes read before.
        offset: u64,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

impl palisade_base::Explain for CaptureError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotACapture => {
                "pass a .scap file, compressed with gzip or not, or a .palcap file".into()
            }
            Self::NewerVersion { .. } => "update palisade, or convert the capture".into(),
            Self::TooLarge { .. } => "raise the limit, or cut the capture".into(),
            Self::Io { .. } => return None,
            Self::Recording(error) => return error.hint(),
            _ => "the events before that offset were used; the rest of the file is damaged".into(),
        })
    }
}

/// An event block.
#[derive(Debug)]
pub struct EventBlock<'b> {
    /// Processor on which it happened.
    pub cpu: u16,
    /// The record, in the form of today: 26 bytes of header with the number of parameters.
    pub record: &'b [u8],
}

/// One block.
#[derive(Debug)]
pub enum Block<'b> {
    /// Another section begins: the state starts anew.
    Section,
    /// Part of the initial state: block type, body and offset.
    State {
        /// Block type.
        kind: u32,
        /// Its body.
        body: &'b [u8],
        /// Where the block begins.
        offset: u64,
    },
    /// An event.
    Event(EventBlock<'b>),
    /// An event that is not a record.
    BadEvent(RecordError),
    /// A block that this version does not know; it was skipped.
    Unknown(u32),
}

/// Reads blocks.
///
/// A block is lent out of the window through which the file is read; nothing is copied but
/// the records of version 1, whose header lacks a field.
pub struct Capture<R: Read> {
    window: Window<R>,
    offset: u64,
    limit: u64,
    /// Bytes of the block at hand, which are dropped when the next one is read.
    n_lent: usize,
    record: Vec<u8>,
    started: bool,
}

impl<R: Read> std::fmt::Debug for Capture<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("offset", &self.offset).finish_non_exhaustive()
    }
}

enum Input<R: Read> {
    Plain(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
        }
    }
}

/// Bytes of the window, unless a block is larger.
const WINDOW_BYTES: usize = 256 << 10;

/// Bytes of compressed input that are read at once.
const INPUT_BYTES: usize = 32 << 10;

/// The uncompressed bytes from the block at hand on.
struct Window<R: Read> {
    input: Bounded<Input<R>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<R: Read> Window<R> {
    fn new(input: Bounded<Input<R>>) -> Self {
        Self { input, buffer: Vec::new(), start: 0, end: 0 }
    }

    /// The bytes at hand.
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn skip(&mut self, n_bytes: usize) {
        self.start = self.end.min(self.start + n_bytes);
    }

    /// Reads until `n_bytes` are at hand; false when the file ends before.
    fn fill(&mut self, n_bytes: usize) -> io::Result<bool> {
        while self.end - self.start < n_bytes {
            self.make_room(n_bytes);
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Makes the buffer end behind what is at hand.
    fn make_room(&mut self, n_bytes: usize) {
        if self.start > 0 && self.start + n_bytes > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.buffer.len() > WINDOW_BYTES && self.end.max(n_bytes) <= WINDOW_BYTES {
                // A large block is done with, and so is its memory.
                self.buffer.truncate(WINDOW_BYTES);
                self.buffer.shrink_to_fit();
            }
        }
        if self.end == self.buffer.len() {
            // Grown as bytes arrive: a length that lies allocates at most twice what the
            // file has.
            let wanted = (self.buffer.len() * 2).min(self.start + n_bytes).max(WINDOW_BYTES);
            self.buffer.resize(wanted, 0);
        }
    }
}

impl<R: Read> Capture<R> {
    /// Opens a capture of at most [`CAPTURE_BYTES_MAX`] bytes.
    pub fn open(input: R) -> Result<Self, CaptureError> {
        Self::open_bounded(input, CAPTURE_BYTES_MAX)
    }

    /// Opens a capture of at most `limit` uncompressed bytes.
    pub fn open_bounded(input: R, limit: u64) -> Result<Self, CaptureError> {
        let mut input = BufReader::with_capacity(INPUT_BYTES, input);
        let start = input.fill_buf().map_err(|source| CaptureError::Io { offset: 0, source })?;
        let input = if start.starts_with(&[0x1f, 0x8b]) {
            Input::Gzip(Box::new(MultiGzDecoder::new(input)))
        } else {
            Input::Plain(input)
        };
        let mut capture = Self {
            window: Window::new(Bounded::new(input, "capture", limit)),
            offset: 0,
            limit,
            n_lent: 0,
            record: Vec::new(),
            started: false,
        };
        match capture.next_block() {
            Ok(Some(Block::Section)) => Ok(capture),
            Err(error @ (CaptureError::NewerVersion { .. } | CaptureError::Io { .. })) => {
                Err(error)
            }
            _ => Err(CaptureError::NotACapture),
        }
    }

    /// Uncompressed bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Has `n_bytes` at hand; false when the file ends before.
    fn fill(&mut self, n_bytes: usize, offset: u64) -> Result<bool, CaptureError> {
        self.window.fill(n_bytes).map_err(|source| {
            if LimitExceeded::find(&source).is_some() {
                CaptureError::TooLarge { limit: self.limit }
            } else if source.kind() == io::ErrorKind::UnexpectedEof {
                CaptureError::Truncated { offset }
            } else {
                CaptureError::Io { offset, source }
            }
        })
    }

    /// The next block, or none at the end.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>, CaptureError> {
        let offset = self.offset;
        self.window.skip(std::mem::take(&mut self.n_lent));
        if !self.fill(8, offset)? {
            return match self.window.bytes() {
                [] => Ok(None),
                _ => Err(CaptureError::Truncated { offset }),
            };
        }
        let mut cursor = Cursor(self.window.bytes());
        let (kind, length) = (cursor.u32().unwrap_or(0), cursor.u32().unwrap_or(0));
        if !self.started && kind != kind::SECTION {
            return Err(CaptureError::NotACapture);
        }
        self.started = true;
        if !(12..=BLOCK_BYTES_MAX).contains(&length) {
            return Err(CaptureError::BlockLength { offset, length });
        }
        let n_block = length as usize;
        if !self.fill(n_block, offset)? {
            return Err(CaptureError::Truncated { offset });
        }
        let trailer = Cursor(&self.window.bytes()[n_block - 4..]).u32().unwrap_or(0);
        // Section headers of old writers carry a wrong trailer; their length is fixed.
        if trailer != length && kind != kind::SECTION {
            return Err(CaptureError::BlockTrailer { offset, header: length, trailer });
        }
        self.offset = offset + u64::from(length);
        self.n_lent = n_block;
        let body = &self.window.bytes()[8..n_block - 4];
        classify(kind, body, offset, &mut self.record).map(Some)
    }
}

/// What a block is.
fn classify<'b>(
    kind: u32,
    body: &'b [u8],
    offset: u64,
    rewritten: &'b mut Vec<u8>,
) -> Result<Block<'b>, CaptureError> {
    let (with_flags, is_v2) = match kind {
        0x204 | 0x8010_ABCD => (false, false),
        0x208 => (true, false),
        kind::EVENT_V2 | kind::EVENT_V2_LARGE => (false, true),
        0x217 | 0x222 => (true, true),
        kind::SECTION => {
            check_section(body)?;
            return Ok(Block::Section);
        }
        0x201..=0x203
        | 0x205..=0x207
        | 0x209..=0x215
        | 0x218..=0x220
        | 0x8000_ABCD
        | 0x8001_ABCD
        | 0x8002_ABCD
        | 0x8011_ABCD
        | 0x8012_ABCD
        | 0x8013_ABCD
        | 0x8014_ABCD => return Ok(Block::State { kind, body, offset }),
        kind => return Ok(Block::Unknown(kind)),
    };
    let mut cursor = Cursor(body);
    let cpu = cursor.u16();
    if with_flags {
        cursor.u32();
    }
    let (Some(cpu), rest) = (cpu, cursor.0) else {
        return Ok(Block::BadEvent(RecordError::Short { n_bytes: body.len() }));
    };
    let record = if is_v2 { whole(rest) } else { from_v1(rest, rewritten) };
    Ok(match record {
        Ok(Some(n_bytes)) => {
            let record = if is_v2 { &rest[..n_bytes] } else { &rewritten[..n_bytes] };
            Block::Event(EventBlock { cpu, record })
        }
        Ok(None) => Block::BadEvent(RecordError::Length { stated: 0, actual: rest.len() }),
        Err(error) => Block::BadEvent(error),
    })
}

fn check_section(body: &[u8]) -> Result<(), CaptureError> {
    let mut cursor = Cursor(body);
    if cursor.u32() != Some(kind::MAGIC) {
        return Err(CaptureError::NotACapture);
    }
    let (Some(major), Some(minor)) = (cursor.u16(), cursor.u16()) else {
        return Err(CaptureError::NotACapture);
    };
    if major > 1 {
        return Err(CaptureError::NewerVersion { major, minor });
    }
    Ok(())
}

/// Length of the record at the start of a version 2 body; padding may follow it.
fn whole(bytes: &[u8]) -> Result<Option<usize>, RecordError> {
    let stated = bytes.get(16..20).and_then(|length| Cursor(length).u32());
    let Some(stated) = stated else { return Err(RecordError::Short { n_bytes: bytes.len() }) };
    let stated = stated as usize;
    if stated > bytes.len() || stated < HEADER_BYTES {
        return Err(RecordError::Length { stated, actual: bytes.len() });
    }
    Ok(Some(stated))
}

/// Rewrites a version 1 record, whose header lacks the number of parameters: it is the
/// number for which the lengths add up to the record.
fn from_v1(bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, RecordError> {
    const V1_HEADER_BYTES: usize = 22;
    const NOTIFICATION: u16 = 280;
    const INFRASTRUCTURE: u16 = 286;
    let short = RecordError::Short { n_bytes: bytes.len() };
    let mut cursor = Cursor(bytes);
    let (head, stated, number) =
        (|| Some((cursor.take(16)?, cursor.u32()?, cursor.u16()?)))().ok_or(short)?;
    let mut stated = stated as usize;
    if number == NOTIFICATION || number == INFRASTRUCTURE {
        stated = stated.saturating_sub(3); // written three bytes too long
    }
    if stated > bytes.len() || !(V1_HEADER_BYTES..=RECORD_BYTES_MAX).contains(&stated) {
        return Err(RecordError::Length { stated, actual: bytes.len() });
    }
    let info = event(number).ok_or(RecordError::UnknownType { number })?;
    let rest = &bytes[V1_HEADER_BYTES..stated];
    let n_params = count_params(rest, info.params.len(), info.traits.any(Traits::LARGE));
    let Some(n_params) = n_params else { return Ok(None) };
    out.clear();
    out.extend_from_slice(head);
    out.extend_from_slice(&(stated as u32 + 4).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&(n_params as u32).to_le_bytes());
    out.extend_from_slice(rest);
    Ok(Some(out.len()))
}

/// The number of lengths that add up to the parameters behind them. There is one at most:
/// each further length leaves fewer bytes for a sum that does not shrink.
fn count_params(rest: &[u8], n_params_max: usize, large: bool) -> Option<usize> {
    let mut cursor = Cursor(rest);
    let mut sum = 0_usize;
    for n_params in 0..=n_params_max {
        let n_left = cursor.0.len();
        if sum >= n_left {
            return (sum == n_left).then_some(n_params);
        }
        let length = if large { cursor.u32() } else { cursor.u16().map(u32::from) };
        sum = sum.saturating_add(length? as usize);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(kind::SECTION.to_le_bytes());
        bytes.extend(28_u32.to_le_bytes());
        bytes.extend(kind::MAGIC.to_le_bytes());
        bytes.extend(1_u16.to_le_bytes());
        bytes.extend(2_u16.to_le_bytes());
        bytes.extend(u64::MAX.to_le_bytes());
        bytes.extend(28_u32.to_le_bytes());
        bytes
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let open = |bytes: &[u8]| Capture::open(bytes).unwrap_err().to_string();
        assert_eq!(open(b""), "file does not begin as a capture");
        assert_eq!(open(b"#!/bin/sh\nexit 0\n"), "file does not begin as a capture");
        let mut newer = section();
        newer[12..14].copy_from_slice(&2_u16.to_le_bytes());
        assert_eq!(open(&newer), "capture has format version 2.2, which is newer than 1.x");
    }

    #[test]
    fn damage_is_an_error_with_its_offset() {
        let check = |tail: &[u8], expected: &str| {
            let bytes = [&section(), tail].concat();
            let mut capture = Capture::open(&bytes[..]).unwrap();
            assert_eq!(capture.next_block().unwrap_err().to_string(), expected);
        };
        let header = |kind: u32, length: u32| [kind.to_le_bytes(), length.to_le_bytes()].concat();
        check(&header(0x201, 11), "block at offset 28 states a length of 11 bytes");
        check(&header(0x201, u32::MAX), "block at offset 28 states a length of 4294967295 bytes");
        check(&header(0x201, 100 << 20), "capture ends inside a block at offset 28");
        check(b"\x01\x02", "capture ends inside a block at offset 28");
        check(
            &[header(0x201, 12), 13_u32.to_le_bytes().to_vec()].concat(),
            "block at offset 28 begins with length 12 and ends with 13",
        );
    }

    #[test]
    fn a_capture_larger_than_the_limit_is_refused() {
        let mut bytes = section();
        for _ in 0..10 {
            bytes.extend(0x7777_u32.to_le_bytes());
            bytes.extend(12_u32.to_le_bytes());
            bytes.extend(12_u32.to_le_bytes());
        }
        let mut capture = Capture::open_bounded(&bytes[..], 64).unwrap();
        let error = loop {
            match capture.next_block() {
                Ok(Some(Block::Unknown(0x7777))) => {}
                other => break other.unwrap_err(),
            }
        };
        assert!(matches!(error, CaptureError::TooLarge { limit: 64 }));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(tail in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), kind in 0x200_u32..0x224) {
            let length = (tail.len() as u32 + 12).to_le_bytes();
            let block = [&kind.to_le_bytes()[..], &length, &tail, &length].concat();
            let bytes = [section(), block, tail].concat();
            let mut capture = Capture::open(&bytes[..]).unwrap();
            while let Ok(Some(block)) = capture.next_block() {
                if let Block::State { kind, body, offset } = block {
                    let _ = super::super::blocks::apply(&mut crate::state::State::new(), kind, body, offset);
                }
            }
        }
    }
}

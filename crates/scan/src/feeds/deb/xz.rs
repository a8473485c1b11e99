//! XZ streams of strangers, in bounded memory and work.
//!
//! The decoder allocates and clears the dictionary that a block's header states, up to 4 GiB,
//! before it decodes a byte. So the stream passes a guard that knows its frame (the .xz file
//! format 1.2, chapters 2 to 4, and the chunks of LZMA2) and refuses a block before the
//! decoder sees its header. The guard decompresses nothing and checks no checksum; that is
//! the decoder's. What dpkg never writes is refused: other filters than LZMA2, and data
//! behind the one stream.

use std::io::{self, Read};

use lzma_rust2::XzReader;

/// Dictionaries larger than this are refused: what `xz -9` writes, the most dpkg asks for.
pub const DICTIONARY_BYTES_MAX: u64 = 64 << 20;
/// Dictionaries of all blocks together may have this many bytes more than the data so far.
/// Encoders that split data give each block three times its dictionary; blocks that are
/// almost empty would make the decoder clear memory for nothing.
pub const DICTIONARIES_BYTES_SPARE: u64 = 1 << 30;

/// Why an XZ stream is not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XzError {
    /// A block demands more memory than the bound.
    #[error("a block of the xz data needs a dictionary of {bytes} bytes; the limit is {limit}")]
    DictionaryTooLarge {
        /// What the block's header states.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// Blocks whose dictionaries are out of proportion to what they hold.
    #[error("the blocks of the xz data need dictionaries of {bytes} bytes for far less data")]
    Dictionaries {
        /// Dictionaries of all blocks so far.
        bytes: u64,
    },
    /// A block has other filters than LZMA2.
    #[error("a block of the xz data has other filters than LZMA2")]
    Filters,
    /// The frame is not what the format says, and where.
    #[error("damaged xz data: {0}")]
    Damaged(&'static str),
    /// Something follows the stream.
    #[error("the xz data goes on behind its end")]
    Trailing,
}

impl XzError {
    /// Finds this error inside an [`io::Error`] that passed through other readers.
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<XzError> for io::Error {
    fn from(error: XzError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The decompressed data of one XZ stream. Its errors of the frame are [`XzError`]s within
/// [`io::Error`]s.
pub(in crate::feeds) struct XzStream<R: Read> {
    decoder: XzReader<Guard<R>>,
}

impl<R: Read> XzStream<R> {
    /// Decodes `source`, which is read in small pieces.
    pub(in crate::feeds) fn new(source: R) -> Self {
        // The decoder calls itself for each further stream, so one is all it gets.
        Self { decoder: XzReader::new(Guard::new(source), false) }
    }
}

impl<R: Read> Read for XzStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.decoder.read(buffer)?;
        if n == 0 && !buffer.is_empty() && self.decoder.inner_mut().read(&mut [0])? != 0 {
            return Err(XzError::Trailing.into());
        }
        Ok(n)
    }
}

/// What the next byte of the stream begins.
#[derive(Clone, Copy)]
enum State {
    Stream,
    Block,
    Chunk,
    /// Index and footer, which cost nothing: all that is left belongs to them.
    Tail,
}

/// Passes a stream on, frame by frame, each after it was looked at.
struct Guard<R> {
    source: R,
    state: State,
    /// Looked at and not delivered yet. Delivered whole where the reader has room: the decoder
    /// takes a short read of padding for damage.
    frame: Vec<u8>,
    n_delivered: usize,
    /// Bytes of compressed data to pass on as they are.
    passing: u64,
    /// Size of a block's check (chapter 2.1.1.2).
    check_bytes: usize,
    /// Bytes of the current block's compressed data.
    block_bytes: u64,
    n_blocks: u64,
    dictionaries_bytes: u64,
    data_bytes: u64,
}

impl<R: Read> Guard<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            state: State::Stream,
            frame: Vec::new(),
            n_delivered: 0,
            passing: 0,
            check_bytes: 0,
            block_bytes: 0,
            n_blocks: 0,
            dictionaries_bytes: 0,
            data_bytes: 0,
        }
    }

    /// Reads and judges the next piece of the frame.
    fn advance(&mut self) -> io::Result<()> {
        self.frame.clear();
        self.n_delivered = 0;
        match self.state {
            State::Stream => self.stream_header(),
            State::Block => self.block_header(),
            State::Chunk => self.chunk_header(),
            State::Tail => {
                self.passing = u64::MAX;
                Ok(())
            }
        }
    }

    /// Adds `n` bytes to the frame and gives them.
    fn take(&mut self, n: usize) -> io::Result<&[u8]> {
        let from = self.frame.len();
        self.frame.resize(from + n, 0);
        self.source.read_exact(&mut self.frame[from..]).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => XzError::Damaged("it ends too early").into(),
            _ => error,
        })?;
        Ok(&self.frame[from..])
    }

    fn take_byte(&mut self) -> io::Result<u8> {
        self.take(1).map(|bytes| bytes.first().copied().unwrap_or_default())
    }

    fn stream_header(&mut self) -> io::Result<()> {
        let header = self.take(12)?;
        if !header.starts_with(b"\xfd7zXZ\0") {
            return Err(XzError::Damaged("it does not begin as an xz stream").into());
        }
        self.check_bytes = match header[7] {
            0 => 0,
            1..=3 => 4,
            4..=6 => 8,
            7..=9 => 16,
            10..=12 => 32,
            13..=15 => 64,
            _ => return Err(XzError::Damaged("unknown flags").into()),
        };
        self.state = State::Block;
        Ok(())
    }

    fn block_header(&mut self) -> io::Result<()> {
        let size = usize::from(self.take_byte()?);
        if size == 0 {
            return self.index();
        }
        let dictionary_bytes = dictionary_of(self.take(size * 4 + 3)?)?;
        if dictionary_bytes > DICTIONARY_BYTES_MAX {
            let limit = DICTIONARY_BYTES_MAX;
            return Err(XzError::DictionaryTooLarge { bytes: dictionary_bytes, limit }.into());
        }
        self.dictionaries_bytes = self.dictionaries_bytes.saturating_add(dictionary_bytes);
        if self.dictionaries_bytes > DICTIONARIES_BYTES_SPARE.saturating_add(self.data_bytes) {
            return Err(XzError::Dictionaries { bytes: self.dictionaries_bytes }.into());
        }
        self.n_blocks += 1;
        self.block_bytes = 0;
        self.state = State::Chunk;
        Ok(())
    }

    fn chunk_header(&mut self) -> io::Result<()> {
        let control = self.take_byte()?;
        let (unpacked, packed) = match control {
            0 => {
                let padding = (self.block_bytes + 1).wrapping_neg() % 4;
                self.take(padding as usize + self.check_bytes)?;
                self.state = State::Block;
                return Ok(());
            }
            1 | 2 => {
                let size = big_endian(self.take(2)?) + 1;
                (size, size)
            }
            3..=0x7f => return Err(XzError::Damaged("an unknown kind of chunk").into()),
            _ => {
                let unpacked = u64::from(control & 0x1f) << 16 | big_endian(self.take(2)?);
                let packed = big_endian(self.take(2)?) + 1;
                // From 0xc0 on the chunk's properties follow, a byte that is not counted.
                (unpacked + 1, packed + u64::from(control >= 0xc0))
            }
        };
        self.passing = packed;
        self.block_bytes += self.frame.len() as u64 + packed;
        self.data_bytes = self.data_bytes.saturating_add(unpacked);
        Ok(())
    }

    /// The beginning of the index. The decoder reserves memory for the records that it states.
    fn index(&mut self) -> io::Result<()> {
        let mut n_records = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.take_byte()?;
            n_records |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if n_records != self.n_blocks {
            return Err(XzError::Damaged("its index is not that of its blocks").into());
        }
        self.state = State::Tail;
        Ok(())
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.n_delivered == self.frame.len() && self.passing == 0 {
            self.advance()?;
        }
        if let rest @ [_, ..] = &self.frame[self.n_delivered..] {
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            self.n_delivered += n;
            return Ok(n);
        }
        let wanted = usize::try_from(self.passing).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.source.read(&mut buffer[..wanted])?;
        self.passing -= n as u64;
        Ok(n)
    }
}

/// The dictionary that a block's header, after its first byte, states (chapter 3.1).
fn dictionary_of(header: &[u8]) -> Result<u64, XzError> {
    const HAS_COMPRESSED_SIZE: u8 = 0x40;
    const HAS_UNCOMPRESSED_SIZE: u8 = 0x80;
    const SHORT: XzError = XzError::Damaged("a block header is too short");
    let (flags, mut rest) = header.split_first().ok_or(SHORT)?;
    for size in [HAS_COMPRESSED_SIZE, HAS_UNCOMPRESSED_SIZE] {
        if flags & size != 0 {
            // A number ends with its first byte below 0x80, and has nine at most.
            let end = rest.iter().take(9).position(|byte| byte & 0x80 == 0).ok_or(SHORT)?;
            rest = rest.get(end + 1..).ok_or(SHORT)?;
        }
    }
    // One filter, LZMA2, with one byte of properties; the other bits are reserved.
    let is_one = flags & !(HAS_COMPRESSED_SIZE | HAS_UNCOMPRESSED_SIZE) == 0;
    match *rest {
        [0x21, 1, 40, ..] if is_one => Ok(u64::from(u32::MAX)),
        [0x21, 1, code @ ..40, ..] if is_one => Ok((2 | u64::from(code & 1)) << (code / 2 + 11)),
        [] | [_] | [_, _] => Err(SHORT),
        _ => Err(XzError::Filters),
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
pub(super) mod tests;

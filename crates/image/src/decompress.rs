//! Decompresses a layer as a stream: gzip of several members, Zstandard of several frames,
//! or nothing.
//!
//! The format is told by the first bytes, as engines do, not by the media type. Pure Rust
//! decoders: the input is hostile. Growth is bounded twice: by size, and by the ratio to the
//! bytes read, beyond a floor.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use palisade_base::{Bounded, Digest};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::Limits;
use crate::error::BlobError;
use crate::gzip::GzipMembers;

/// Largest window of a Zstandard frame, in bytes: what `zstd --long=27` writes, the most that
/// decoders accept without being told to.
const ZSTD_WINDOW_BYTES_MAX: u64 = 128 << 20;
const BUFFER_BYTES: usize = 128 * 1024;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Tells the format from a stream's first bytes.
    pub(crate) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A Zstandard frame, or a skippable frame before one.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// A decompressed stream over `R`.
pub(crate) enum Decompressed<R: Read> {
    None(BufReader<Counted<R>>),
    Gzip(Box<GzipMembers<BufReader<Counted<R>>>>),
    Zstd(Box<ZstdFrames<BufReader<Counted<R>>>>),
}

/// Counts what passes, for the ratio.
pub(crate) struct Counted<R> {
    inner: R,
    n_read: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.n_read.set(self.n_read.get() + n as u64);
        Ok(n)
    }
}

impl<R: Read> Read for Decompressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

impl<R: Read> Decompressed<R> {
    /// Begins to read `source`; the count is of the bytes taken from it.
    fn new(source: R) -> io::Result<(Self, Rc<Cell<u64>>)> {
        let n_read = Rc::new(Cell::new(0));
        let counted = Counted { inner: source, n_read: Rc::clone(&n_read) };
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, counted);
        let compression = Compression::of(reader.fill_buf()?);
        let this = match compression {
            Compression::None => Self::None(reader),
            Compression::Gzip => Self::Gzip(Box::new(GzipMembers::new(reader))),
            Compression::Zstd => Self::Zstd(Box::new(ZstdFrames::new(reader))),
        };
        Ok((this, n_read))
    }

    /// Reads the compressed source to its end, so that its digest is complete.
    fn finish_source(self) -> io::Result<()> {
        let mut reader = match self {
            Self::None(reader) => reader,
            Self::Gzip(reader) => reader.into_inner(),
            Self::Zstd(reader) => reader.source,
        };
        io::copy(&mut reader, &mut io::sink()).map(|_| ())
    }
}

/// A decompressed stream that fails when it grows beyond the limits.
pub(crate) struct BoundedLayer<R: Read> {
    inner: Bounded<Decompressed<R>>,
    n_compressed: Rc<Cell<u64>>,
    layer: Digest,
    ratio_max: u64,
    floor: u64,
}

impl<R: Read> BoundedLayer<R> {
    /// Decompresses `source` within `limits`; `layer` names it in errors.
    pub(crate) fn new(source: R, layer: Digest, limits: &Limits) -> io::Result<Self> {
        let (inner, n_compressed) = Decompressed::new(source)?;
        Ok(Self {
            inner: Bounded::new(inner, "decompressed layer", limits.layer_bytes_max),
            n_compressed,
            layer,
            ratio_max: limits.ratio_max,
            floor: limits.ratio_floor_bytes,
        })
    }

    /// Reads the compressed source to its end.
    pub(crate) fn finish_source(self) -> io::Result<()> {
        self.inner.into_inner().finish_source()
    }
}

impl<R: Read> Read for BoundedLayer<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let produced = self.inner.n_read();
        let allowed = self.n_compressed.get().saturating_mul(self.ratio_max);
        if produced > self.floor && produced > allowed {
            return Err(BlobError::Bomb { layer: self.layer, ratio_max: self.ratio_max }.into());
        }
        Ok(n)
    }
}

/// All frames of a Zstandard stream, one after the other; skippable frames are skipped.
pub(crate) struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdFrames<R> {
    pub(crate) fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
        Self { source, decoder, in_frame: false }
    }

    /// Begins the next frame; `false` at the end of the stream.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.begin_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let n = self.decoder.read(buffer)?;
            if n > 0 {
                return Ok(n);
            }
            if self.decoder.is_finished() {
                let stated = self.decoder.get_checksum_from_data();
                if stated.is_some() && stated != self.decoder.get_calculated_checksum() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "zstd frame has a wrong checksum",
                    ));
                }
                self.in_frame = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn read(bytes: &[u8], limits: &Limits) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut layer = BoundedLayer::new(bytes, Digest::of(b""), limits)?;
        layer.read_to_end(&mut out)?;
        layer.finish_source()?;
        Ok(out)
    }

    #[test]
    fn reads_every_format() {
        let limits = Limits::default();
        let check = |bytes: &[u8], expected: &[u8]| {
            assert_eq!(read(bytes, &limits).unwrap(), expected);
        };
        check(b"", b"");
        check(b"plain", b"plain");
        check(&gzip(b"one"), b"one");
        check(&[gzip(b"one"), gzip(b""), gzip(b"two")].concat(), b"onetwo");
        check(&zstd(b"one"), b"one");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        check(&[skippable, zstd(b"one"), zstd(b"two")].concat(), b"onetwo");
    }

    #[test]
    fn damaged_streams_are_errors() {
        let limits = Limits::default();
        for whole in [gzip(&[7; 5000]), zstd(&[7; 5000])] {
            assert!(read(&whole[..whole.len() - 1], &limits).is_err(), "truncated");
            let trailing = [&whole[..], b"garbage"].concat();
            assert!(read(&trailing, &limits).is_err(), "trailing garbage");
        }
        assert!(read(&[0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1], &limits).is_err());
    }

    #[test]
    fn a_bomb_stops_at_the_ratio() {
        let limits = Limits { ratio_floor_bytes: 1 << 20, ratio_max: 100, ..Limits::default() };
        for bomb in [gzip(&vec![0; 16 << 20]), zstd(&vec![0; 16 << 20])] {
            let error = read(&bomb, &limits).unwrap_err();
            let found = error.get_ref().and_then(|e| e.downcast_ref::<BlobError>());
            assert!(matches!(found, Some(BlobError::Bomb { ratio_max: 100, .. })), "{error}");
        }
    }

    #[test]
    fn a_layer_stops_at_its_size() {
        let limits = Limits { layer_bytes_max: 1000, ..Limits::default() };
        assert_eq!(read(&gzip(&[1; 1000]), &limits).unwrap().len(), 1000);
        let error = read(&gzip(&[1; 1001]), &limits).unwrap_err();
        assert!(palisade_base::LimitExceeded::find(&error).is_some());
    }
}

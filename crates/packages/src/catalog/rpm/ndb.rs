//! The blobs of RPM's own database, `Packages.db` (rpm `lib/backend/ndb/rpmpkg.c`): pages of
//! slots, each with the place of one blob.

use super::le32;

const FILE_MAGIC: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT_MAGIC: u32 = u32::from_le_bytes(*b"Slot");
const BLOB_MAGIC: u32 = u32::from_le_bytes(*b"BlbS");
const PAGE_BYTES: usize = 4096;
const SLOT_BYTES: usize = 16;
/// Blobs begin at multiples of this, and have a head of this size.
const BLOCK_BYTES: usize = 16;
/// The first two slots are the head of the file.
const HEAD_BYTES: usize = 32;

/// Calls `each` with every blob.
pub(super) fn blobs(bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), &'static str> {
    if le32(bytes, 0) != Some(FILE_MAGIC) {
        return Err("not a package database of RPM");
    }
    let broken = "not a whole package database of RPM";
    let n_pages = le32(bytes, 12).and_then(|n| usize::try_from(n).ok()).ok_or(broken)?;
    let end = n_pages.checked_mul(PAGE_BYTES).ok_or(broken)?;
    let slots = bytes.get(HEAD_BYTES..end).ok_or(broken)?;
    // Blobs do not overlap: together they are no larger than the file.
    let mut bytes_left = bytes.len();
    for slot in slots.chunks_exact(SLOT_BYTES) {
        if le32(slot, 0) != Some(SLOT_MAGIC) {
            return Err(broken);
        }
        let (index, block) = (le32(slot, 4), le32(slot, 8).ok_or(broken)?);
        // A free slot has no blob.
        if block == 0 {
            continue;
        }
        let at = usize::try_from(block).ok().and_then(|block| block.checked_mul(BLOCK_BYTES));
        let blob = at.and_then(|at| bytes.get(at..)).ok_or(broken)?;
        if le32(blob, 0) != Some(BLOB_MAGIC) || le32(blob, 4) != index {
            return Err(broken);
        }
        let n_bytes = le32(blob, 12).and_then(|n| usize::try_from(n).ok()).ok_or(broken)?;
        bytes_left = bytes_left.checked_sub(n_bytes).ok_or(broken)?;
        let content = blob.get(BLOCK_BYTES..).and_then(|rest| rest.get(..n_bytes));
        each(content.ok_or(broken)?);
    }
    Ok(())
}

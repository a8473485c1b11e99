//! The values of a hash table of Berkeley DB, `Packages` until RPM 4.16 (`dbinc/db_page.h`).
//!
//! All pages are read in order instead of by the table's own structure: what is on a page of
//! the table is in the table, and so the work is bounded by the size of the file.

const MAGIC: u32 = 0x0006_1561;
const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH: u8 = 13;
const HEAD_BYTES: usize = 26;
const ITEM_INLINE: u8 = 1;
const ITEM_OFF_PAGE: u8 = 3;

type Outcome<T> = Result<T, &'static str>;

const BROKEN: &str = "not a whole database of Berkeley DB";
/// A header of RPM has at least this many bytes; the number of the next package has four.
const VALUE_BYTES_MIN: usize = 5;

/// Calls `each` with every value.
pub(super) fn blobs(bytes: &[u8], mut each: impl FnMut(&[u8])) -> Outcome<()> {
    let reader = Reader::open(bytes)?;
    // Values off the pages together are no larger than the file.
    let mut bytes_left = bytes.len();
    let mut pages_left = bytes.len() / reader.page_bytes;
    for page in bytes.chunks_exact(reader.page_bytes).skip(1) {
        if !matches!(page.get(25), Some(&HASH | &HASH_UNSORTED)) {
            continue;
        }
        let n_items = reader.u16(page, 20).ok_or(BROKEN)?;
        let mut end = page.len();
        for item in 0..n_items {
            let at = reader.u16(page, HEAD_BYTES + 2 * item).ok_or(BROKEN)?;
            let content = page.get(at..end).ok_or(BROKEN)?;
            end = at;
            // Keys and values take turns.
            if item % 2 == 0 {
                continue;
            }
            match content.split_first() {
                Some((&ITEM_INLINE, value)) if value.len() < VALUE_BYTES_MIN => {}
                Some((&ITEM_INLINE, value)) => each(value),
                Some((&ITEM_OFF_PAGE, _)) => {
                    let first = reader.u32(content, 4).ok_or(BROKEN)?;
                    let n_bytes = reader.u32(content, 8).ok_or(BROKEN)?;
                    let n_bytes = usize::try_from(n_bytes).map_err(|_| BROKEN)?;
                    bytes_left = bytes_left.checked_sub(n_bytes).ok_or(BROKEN)?;
                    each(&reader.off_page(first, n_bytes, &mut pages_left)?);
                }
                _ => return Err(BROKEN),
            }
        }
    }
    Ok(())
}

struct Reader<'b> {
    bytes: &'b [u8],
    page_bytes: usize,
    is_big_endian: bool,
}

impl<'b> Reader<'b> {
    fn open(bytes: &'b [u8]) -> Outcome<Self> {
        let mut reader = Self { bytes, page_bytes: 0, is_big_endian: false };
        if reader.u32(bytes, 12) != Some(MAGIC) {
            reader.is_big_endian = true;
            if reader.u32(bytes, 12) != Some(MAGIC) {
                return Err("not a hash table of Berkeley DB");
            }
        }
        let page_bytes = reader.u32(bytes, 20).ok_or(BROKEN)?;
        if !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
            return Err(BROKEN);
        }
        reader.page_bytes = usize::try_from(page_bytes).map_err(|_| BROKEN)?;
        let last_page = reader.u32(bytes, 32).and_then(|n| usize::try_from(n).ok());
        if last_page.is_none_or(|n| n >= bytes.len() / reader.page_bytes) {
            return Err(BROKEN);
        }
        Ok(reader)
    }

    /// A value of `n_bytes` in the pages from `next` on. No page has two values, so that there
    /// are no more steps than pages in all.
    fn off_page(&self, mut next: u32, n_bytes: usize, pages_left: &mut usize) -> Outcome<Vec<u8>> {
        let mut value = Vec::with_capacity(n_bytes);
        while value.len() < n_bytes {
            *pages_left = pages_left.checked_sub(1).ok_or(BROKEN)?;
            let start = usize::try_from(next).ok().and_then(|n| n.checked_mul(self.page_bytes));
            let page = start.and_then(|start| self.bytes.get(start..start + self.page_bytes));
            let page = page.ok_or(BROKEN)?;
            let n_used = self.u16(page, 22).ok_or(BROKEN)?;
            let content = page.get(HEAD_BYTES..HEAD_BYTES + n_used).ok_or(BROKEN)?;
            if page.get(25) != Some(&OVERFLOW) || content.is_empty() {
                return Err(BROKEN);
            }
            value
                .extend_from_slice(content.get(..n_used.min(n_bytes - value.len())).ok_or(BROKEN)?);
            next = self.u32(page, 16).ok_or(BROKEN)?;
        }
        Ok(value)
    }

    fn u32(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let number = super::le32(bytes, at)?;
        Some(if self.is_big_endian { number.swap_bytes() } else { number })
    }

    fn u16(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        let number =
            if self.is_big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
        Some(usize::from(number))
    }
}

//! The blobs of one table of an SQLite database (SQLite documentation, "Database File
//! Format"). Reads table b-trees and overflow pages; knows no SQL, no indexes and no log.
//!
//! Each page is visited at most once, whatever the file says, so that the work is bounded by
//! the size of the file.

use super::be32;

const MAGIC: &[u8] = b"SQLite format 3\0";
const INTERIOR: u8 = 0x05;
const LEAF: u8 = 0x0d;
/// B-trees within each other; SQLite's own limit is 20 (`BTCURSOR_MAX_DEPTH`).
const DEPTH_MAX: usize = 20;

type Outcome<T> = Result<T, &'static str>;

const BROKEN: &str = "not a whole SQLite database";

/// Calls `each` with the blob of every row of `table`: the first column that is one.
pub(super) fn blobs(bytes: &[u8], table: &str, mut each: impl FnMut(&[u8])) -> Outcome<()> {
    let mut reader = Reader::open(bytes)?;
    let mut root = None;
    // The schema is a table too: type, name, table, root page, text.
    reader.walk(1, 0, &mut |record| {
        let columns: Vec<Column<'_>> = columns(record)?.take(4).collect();
        if let [Column::Text(b"table"), Column::Text(name), _, Column::Number(page)] = columns[..]
            && name == table.as_bytes()
        {
            root = u32::try_from(page).ok();
        }
        Some(())
    })?;
    let root = root.ok_or("no table with packages in it")?;
    reader.walk(root, 0, &mut |record| {
        let blob = columns(record)?.find_map(|column| match column {
            Column::Blob(blob) => Some(blob),
            _ => None,
        });
        each(blob?);
        Some(())
    })
}

struct Reader<'b> {
    bytes: &'b [u8],
    page_bytes: usize,
    /// Bytes of a page that are used.
    usable: usize,
    visited: Vec<bool>,
}

impl<'b> Reader<'b> {
    fn open(bytes: &'b [u8]) -> Outcome<Self> {
        if !bytes.starts_with(MAGIC) {
            return Err("not an SQLite database");
        }
        let page_bytes = match bytes.get(16..18) {
            Some(&[0, 1]) => 65_536,
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(BROKEN),
        };
        let reserved = usize::from(*bytes.get(20).ok_or(BROKEN)?);
        if page_bytes < 512 || !page_bytes.is_power_of_two() || page_bytes - reserved < 480 {
            return Err(BROKEN);
        }
        let visited = vec![false; bytes.len() / page_bytes + 1];
        Ok(Self { bytes, page_bytes, usable: page_bytes - reserved, visited })
    }

    /// The page `number`, from 1, the first time that it is asked for.
    fn page(&mut self, number: u32) -> Outcome<&'b [u8]> {
        let index = usize::try_from(number).ok().and_then(|n| n.checked_sub(1)).ok_or(BROKEN)?;
        let visited = self.visited.get_mut(index).ok_or(BROKEN)?;
        if std::mem::replace(visited, true) {
            return Err("an SQLite database whose pages are in each other");
        }
        let start = index.checked_mul(self.page_bytes).ok_or(BROKEN)?;
        self.bytes.get(start..start + self.page_bytes).ok_or(BROKEN)
    }

    /// Calls `each` with the record of every row of the b-tree at page `root`.
    fn walk(
        &mut self,
        root: u32,
        depth: usize,
        each: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Outcome<()> {
        if depth > DEPTH_MAX {
            return Err("an SQLite database that is too deep");
        }
        let page = self.page(root)?;
        // The first page begins with the header of the file.
        let start = if root == 1 { 100 } else { 0 };
        let kind = *page.get(start).ok_or(BROKEN)?;
        let n_cells = be16(page, start + 3).ok_or(BROKEN)?;
        let cells_at = start + if kind == INTERIOR { 12 } else { 8 };
        for cell in 0..n_cells {
            let at = be16(page, cells_at + 2 * cell).ok_or(BROKEN)?;
            match kind {
                INTERIOR => self.walk(be32(page, at).ok_or(BROKEN)?, depth + 1, each)?,
                LEAF => self.cell(page, at, each)?,
                _ => return Err(BROKEN),
            }
        }
        if kind == INTERIOR {
            self.walk(be32(page, start + 8).ok_or(BROKEN)?, depth + 1, each)?;
        }
        Ok(())
    }

    fn cell(
        &mut self,
        page: &'b [u8],
        at: usize,
        each: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Outcome<()> {
        let rest = page.get(at..self.usable).ok_or(BROKEN)?;
        let (payload_bytes, rest) = varint(rest).ok_or(BROKEN)?;
        let (_, rest) = varint(rest).ok_or(BROKEN)?;
        let payload_bytes = usize::try_from(payload_bytes).map_err(|_| BROKEN)?;
        if payload_bytes > self.bytes.len() {
            return Err(BROKEN);
        }
        let local_bytes = self.local_bytes(payload_bytes);
        let local = rest.get(..local_bytes).ok_or(BROKEN)?;
        if local_bytes == payload_bytes {
            return each(local).ok_or(BROKEN);
        }
        let mut payload = Vec::with_capacity(payload_bytes);
        payload.extend_from_slice(local);
        let mut next = be32(rest, local_bytes).ok_or(BROKEN)?;
        while payload.len() < payload_bytes {
            let page = self.page(next)?;
            next = be32(page, 0).ok_or(BROKEN)?;
            let content = page.get(4..self.usable).ok_or(BROKEN)?;
            let n = content.len().min(payload_bytes - payload.len());
            payload.extend_from_slice(content.get(..n).ok_or(BROKEN)?);
        }
        each(&payload).ok_or(BROKEN)
    }

    /// Bytes of a payload that lie in the leaf; the formula of section 1.6.
    fn local_bytes(&self, payload_bytes: usize) -> usize {
        let usable = self.usable;
        let most = usable - 35;
        if payload_bytes <= most {
            return payload_bytes;
        }
        let least = (usable - 12) * 32 / 255 - 23;
        let fitting = least + (payload_bytes - least) % (usable - 4);
        if fitting <= most { fitting } else { least }
    }
}

/// A value of a record; others than these are of no use here.
enum Column<'r> {
    Number(i64),
    Text(&'r [u8]),
    Blob(&'r [u8]),
    Other,
}

/// The values of a record: a header with the type of each, then the values.
fn columns(record: &[u8]) -> Option<impl Iterator<Item = Column<'_>>> {
    let (header_bytes, _) = varint(record)?;
    let header_bytes = usize::try_from(header_bytes).ok()?;
    let (_, mut types) = varint(record.get(..header_bytes)?)?;
    let mut values = record.get(header_bytes..)?;
    Some(std::iter::from_fn(move || {
        let (kind, rest) = varint(types)?;
        types = rest;
        let n_bytes = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => usize::try_from((kind - 12) / 2).ok()?,
        };
        let value = values.get(..n_bytes)?;
        values = values.get(n_bytes..)?;
        Some(match kind {
            1..=6 => {
                let negative = value.first().is_some_and(|byte| *byte >= 0x80);
                let start = if negative { -1 } else { 0 };
                Column::Number(value.iter().fold(start, |n, byte| n << 8 | i64::from(*byte)))
            }
            8 => Column::Number(0),
            9 => Column::Number(1),
            12.. if kind % 2 == 0 => Column::Blob(value),
            12.. => Column::Text(value),
            _ => Column::Other,
        })
    }))
}

/// A number of one to nine bytes, seven bits in each but the ninth.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        if at == 8 {
            return Some((number << 8 | u64::from(*byte), bytes.get(9..)?));
        }
        number = number << 7 | u64::from(*byte & 0x7f);
        if *byte < 0x80 {
            return Some((number, bytes.get(at + 1..)?));
        }
    }
    None
}

fn be16(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let check = |bytes: &[u8], expected: Option<u64>| {
            assert_eq!(varint(bytes).map(|(number, _)| number), expected, "{bytes:?}");
        };
        check(&[5], Some(5));
        check(&[0x81, 0x00], Some(128));
        check(&[0xff; 9], Some(u64::MAX));
        check(&[0x80], None);
        check(&[], None);
    }

    #[test]
    fn a_page_that_is_its_own_child_ends() {
        let mut page = vec![0_u8; 512];
        page[..16].copy_from_slice(MAGIC);
        page[16] = 2;
        page[100] = INTERIOR;
        page[108..112].copy_from_slice(&1_u32.to_be_bytes());
        assert_eq!(
            blobs(&page, "Packages", |_| ()),
            Err("an SQLite database whose pages are in each other")
        );
        assert_eq!(blobs(b"x", "Packages", |_| ()), Err("not an SQLite database"));
        assert_eq!(blobs(MAGIC, "Packages", |_| ()), Err(BROKEN));
    }
}

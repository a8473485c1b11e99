//! Reads a bbolt database: containerd's list of images.
//!
//! Pages are copied on writing and the valid one of two meta pages is the last to be written
//! (etcd-io/bbolt, `page.go`, `db.go`), so that a reader without a lock sees one state, as
//! long as no page of it is used again meanwhile: the meta pages tell afterwards.
//! Total: no number in the file is believed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Bytes of a page header, and of an element of either kind.
const HEADER: usize = 16;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const META: u16 = 0x04;
/// The element is a bucket.
const BUCKET: u32 = 1;
/// Largest page with what overflows it.
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Pages read in one walk.
const PAGES_MAX: usize = 1 << 20;
/// Branches below each other.
const DEPTH_MAX: usize = 24;

/// Where the bytes are.
pub(super) trait Bytes {
    /// Fills `buffer` from `position`.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()>;
}

impl Bytes for File {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.read_exact_at(buffer, position)
    }
}

impl Bytes for &[u8] {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        let start = usize::try_from(position).unwrap_or(usize::MAX);
        let end = start.saturating_add(buffer.len());
        let found = self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

/// A database in one of its states.
pub(super) struct Bolt<B> {
    bytes: B,
    page_size: u64,
    root: u64,
    /// Number of the transaction that wrote the state.
    pub(super) transaction: u64,
    /// Pages that may still be read.
    n_left: std::cell::Cell<usize>,
}

/// Sees a key, its value, and whether that is a bucket; `false` ends the walk.
pub(super) type See<'s> = dyn FnMut(&[u8], &[u8], bool) -> bool + 's;

/// A bucket: a page of its own, or bytes within its parent.
pub(super) enum Bucket {
    Page(u64),
    Inline(Vec<u8>),
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// FNV-1a with 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Page size, root and transaction of a meta page.
fn meta(page: &[u8]) -> Option<(u64, u64, u64)> {
    let body = page.get(HEADER..)?;
    let good = u16_at(page, 8)? & META != 0
        && u32_at(body, 0)? == MAGIC
        && u32_at(body, 4)? == VERSION
        && u64_at(body, 56)? == checksum(body.get(..56)?);
    let page_size = u64::from(u32_at(body, 8)?);
    let sane = page_size.is_power_of_two() && (512..=65_536).contains(&page_size);
    (good && sane).then_some((page_size, u64_at(body, 16)?, u64_at(body, 48)?))
}

impl<B: Bytes> Bolt<B> {
    /// Opens the last state.
    pub(super) fn open(bytes: B) -> io::Result<Self> {
        let mut found: Option<(u64, u64, u64)> = None;
        let mut head = [0_u8; 80];
        bytes.read_at(&mut head, 0)?;
        let first = meta(&head);
        // Without the first meta page, the second is where the usual sizes put it.
        let sizes = match first {
            Some((page_size, ..)) => vec![page_size],
            None => vec![4096, 8192, 16_384, 65_536],
        };
        let second = sizes.into_iter().find_map(|size| {
            let mut page = [0_u8; 80];
            bytes.read_at(&mut page, size).ok()?;
            meta(&page).filter(|(page_size, ..)| *page_size == size)
        });
        for one in [first, second].into_iter().flatten() {
            if found.is_none_or(|other| one.2 > other.2) {
                found = Some(one);
            }
        }
        let (page_size, root, transaction) = found.ok_or_else(|| bad("not a bbolt database"))?;
        Ok(Self { bytes, page_size, root, transaction, n_left: std::cell::Cell::new(PAGES_MAX) })
    }

    /// The bucket of everything.
    pub(super) fn root(&self) -> Bucket {
        Bucket::Page(self.root)
    }

    fn page(&self, id: u64) -> io::Result<Vec<u8>> {
        let n_left = self.n_left.get();
        if n_left == 0 {
            return Err(bad("more pages than are read"));
        }
        self.n_left.set(n_left - 1);
        let position = id.checked_mul(self.page_size).ok_or_else(|| bad("page beyond the file"))?;
        let mut header = [0_u8; HEADER];
        self.bytes.read_at(&mut header, position)?;
        let overflow = u64::from(u32_at(&header, 12).unwrap_or(0));
        let length = (overflow + 1)
            .checked_mul(self.page_size)
            .filter(|length| *length <= PAGE_BYTES_MAX)
            .ok_or_else(|| bad("a page that is too large"))?;
        let mut page = vec![0; usize::try_from(length).unwrap_or(0)];
        self.bytes.read_at(&mut page, position)?;
        Ok(page)
    }

    /// Calls `see` with each key and value of a bucket.
    pub(super) fn each(&self, bucket: &Bucket, see: &mut See<'_>) -> io::Result<()> {
        match bucket {
            Bucket::Page(id) => self.each_below(*id, 0, see).map(|_| ()),
            Bucket::Inline(page) => self.each_of(page, 0, see).map(|_| ()),
        }
    }

    fn each_below(&self, id: u64, depth: usize, see: &mut See<'_>) -> io::Result<bool> {
        if depth > DEPTH_MAX {
            return Err(bad("branches that are too deep"));
        }
        let page = self.page(id)?;
        self.each_of(&page, depth, see)
    }

    fn each_of(&self, page: &[u8], depth: usize, see: &mut See<'_>) -> io::Result<bool> {
        let broken = || bad("a broken page");
        let flags = u16_at(page, 8).ok_or_else(broken)?;
        let count = usize::from(u16_at(page, 10).ok_or_else(broken)?);
        for i in 0..count {
            let element = HEADER + i * HEADER;
            let field = |at: usize| u32_at(page, element + at).ok_or_else(broken);
            if flags & BRANCH != 0 {
                let id = u64_at(page, element + 8).ok_or_else(broken)?;
                if !self.each_below(id, depth + 1, see)? {
                    return Ok(false);
                }
            } else if flags & LEAF != 0 {
                let (kind, position) = (field(0)?, field(4)? as usize);
                let (n_key, n_value) = (field(8)? as usize, field(12)? as usize);
                let start = element.checked_add(position).ok_or_else(broken)?;
                let middle = start.checked_add(n_key).ok_or_else(broken)?;
                let end = middle.checked_add(n_value).ok_or_else(broken)?;
                let key = page.get(start..middle).ok_or_else(broken)?;
                let value = page.get(middle..end).ok_or_else(broken)?;
                if !see(key, value, kind & BUCKET != 0) {
                    return Ok(false);
                }
            } else {
                return Err(broken());
            }
        }
        Ok(true)
    }

    /// The bucket that a value is.
    pub(super) fn bucket(value: &[u8]) -> Option<Bucket> {
        match u64_at(value, 0)? {
            0 => Some(Bucket::Inline(value.get(16..)?.to_vec())),
            id => Some(Bucket::Page(id)),
        }
    }

    /// The bucket `name` within another.
    pub(super) fn child(&self, bucket: &Bucket, name: &[u8]) -> io::Result<Option<Bucket>> {
        let mut found = None;
        self.each(bucket, &mut |key, value, is_bucket| {
            if is_bucket && key == name {
                found = Self::bucket(value);
                return false;
            }
            true
        })?;
        Ok(found)
    }
}

/// Walks everything; for fuzzing.
pub(super) fn walk_all(bytes: &[u8]) {
    fn walk(bolt: &Bolt<&[u8]>, bucket: &Bucket, depth: usize, n_left: &mut usize) {
        if depth > 4 {
            return;
        }
        let mut children = Vec::new();
        let _ = bolt.each(bucket, &mut |_, value, is_bucket| {
            *n_left = n_left.saturating_sub(1);
            if is_bucket && children.len() < 16 {
                children.extend(Bolt::<&[u8]>::bucket(value));
            }
            *n_left > 0
        });
        for child in &children {
            walk(bolt, child, depth + 1, n_left);
        }
    }
    if let Ok(bolt) = Bolt::open(bytes) {
        bolt.n_left.set(256);
        walk(&bolt, &bolt.root(), 0, &mut 4096);
    }
}

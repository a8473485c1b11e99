//! ZIP archives in memory (PKWARE APPNOTE 6.3.10), as Java and Python read them: by the
//! central directory, which may follow a script.
//!
//! Of our own, because the common crate builds a table of all entries first: a directory of
//! 46 bytes an entry becomes some 400 bytes of memory, and a Java archive has ten thousands of
//! entries of which two are wanted. Here the directory is walked where it lies.

use std::borrow::Cow;
use std::io::Read as _;

const END_BYTES: usize = 22;
const COMMENT_BYTES_MAX: usize = 0xffff;
const END_MAGIC: &[u8] = b"PK\x05\x06";
const END_64_MAGIC: &[u8] = b"PK\x06\x06";
const LOCATOR_64_MAGIC: &[u8] = b"PK\x06\x07";
const LOCATOR_64_BYTES: usize = 20;
const CENTRAL_MAGIC: &[u8] = b"PK\x01\x02";
const CENTRAL_BYTES: usize = 46;
const LOCAL_MAGIC: &[u8] = b"PK\x03\x04";
const LOCAL_BYTES: usize = 30;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const ENCRYPTED: u16 = 1;

/// Why an archive or entry cannot be read.
pub(crate) type ZipError = &'static str;

const BROKEN: ZipError = "not a whole ZIP archive";

/// An archive.
pub(crate) struct Zip<'b> {
    bytes: &'b [u8],
    directory: &'b [u8],
    /// Where the archive begins in `bytes`.
    base: usize,
}

/// An entry of the directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ZipEntry<'b> {
    /// Its path; not checked for anything.
    pub(crate) name: &'b [u8],
    flags: u16,
    method: u16,
    packed_bytes: usize,
    local_at: usize,
}

impl<'b> Zip<'b> {
    /// Finds the directory of an archive.
    pub(crate) fn open(bytes: &'b [u8]) -> Result<Self, ZipError> {
        let end_at = end(bytes).ok_or("not a ZIP archive")?;
        let mut directory_end = end_at;
        let mut size = number(bytes, end_at + 12, 4).ok_or(BROKEN)?;
        let mut offset = number(bytes, end_at + 16, 4).ok_or(BROKEN)?;
        if let Some(at) = end_at.checked_sub(LOCATOR_64_BYTES)
            && bytes.get(at..).is_some_and(|rest| rest.starts_with(LOCATOR_64_MAGIC))
        {
            // The record of the large form stands right before its locator.
            let at_64 = at.checked_sub(56).ok_or(BROKEN)?;
            if !bytes.get(at_64..).is_some_and(|rest| rest.starts_with(END_64_MAGIC)) {
                return Err(BROKEN);
            }
            size = number(bytes, at_64 + 40, 8).ok_or(BROKEN)?;
            offset = number(bytes, at_64 + 48, 8).ok_or(BROKEN)?;
            directory_end = at_64;
        }
        let directory_at = directory_end.checked_sub(size).ok_or(BROKEN)?;
        let base = directory_at.checked_sub(offset).ok_or(BROKEN)?;
        let directory = bytes.get(directory_at..directory_end).ok_or(BROKEN)?;
        Ok(Self { bytes, directory, base })
    }

    /// The entries in the order of the directory. An error ends them.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<ZipEntry<'b>, ZipError>> + use<'b> {
        let mut rest = self.directory;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = central(rest);
            rest = entry.map_or(&[], |(_, rest)| rest);
            Some(entry.map(|(entry, _)| entry).ok_or(BROKEN))
        })
    }

    /// The content of an entry, at most `limit` bytes.
    pub(crate) fn read(
        &self,
        entry: &ZipEntry<'b>,
        limit: usize,
    ) -> Result<Cow<'b, [u8]>, ZipError> {
        if entry.flags & ENCRYPTED != 0 {
            return Err("encrypted");
        }
        let local_at = self.base.checked_add(entry.local_at).ok_or(BROKEN)?;
        let local = self.bytes.get(local_at..).filter(|rest| rest.starts_with(LOCAL_MAGIC));
        let local = local.ok_or(BROKEN)?;
        let name_bytes = number(local, 26, 2).ok_or(BROKEN)?;
        let extra_bytes = number(local, 28, 2).ok_or(BROKEN)?;
        let content = local.get(LOCAL_BYTES + name_bytes + extra_bytes..).ok_or(BROKEN)?;
        let content = content.get(..entry.packed_bytes).ok_or(BROKEN)?;
        let too_large = "larger than the limit";
        match entry.method {
            STORED if content.len() > limit => Err(too_large),
            STORED => Ok(Cow::Borrowed(content)),
            DEFLATED => {
                let mut out = Vec::new();
                let inflater = flate2::bufread::DeflateDecoder::new(content);
                let n_read = inflater.take(limit as u64 + 1).read_to_end(&mut out);
                match n_read {
                    Err(_) => Err("damaged content"),
                    Ok(n) if n > limit => Err(too_large),
                    Ok(_) => Ok(Cow::Owned(out)),
                }
            }
            _ => Err("compressed by an unusual method"),
        }
    }
}

/// Where the record at the end begins. Searched from the end, like Java does.
fn end(bytes: &[u8]) -> Option<usize> {
    let last = bytes.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(COMMENT_BYTES_MAX);
    (first..=last).rev().find(|at| {
        let record = bytes.get(*at..).unwrap_or_default();
        let fits = |n: usize| at + END_BYTES + n <= bytes.len();
        record.starts_with(END_MAGIC) && number(record, 20, 2).is_some_and(fits)
    })
}

fn central(bytes: &[u8]) -> Option<(ZipEntry<'_>, &[u8])> {
    if !bytes.starts_with(CENTRAL_MAGIC) {
        return None;
    }
    let name_bytes = number(bytes, 28, 2)?;
    let extra_bytes = number(bytes, 30, 2)?;
    let comment_bytes = number(bytes, 32, 2)?;
    let name_end = CENTRAL_BYTES + name_bytes;
    let extra = bytes.get(name_end..name_end + extra_bytes)?;
    let (plain_bytes, mut packed_bytes) = (number(bytes, 24, 4)?, number(bytes, 20, 4)?);
    let mut local_at = number(bytes, 42, 4)?;
    // What does not fit in four bytes stands in a field of its own, in this order.
    let mut large = large_numbers(extra).unwrap_or_default();
    let is_large = |n: usize| n == 0xffff_ffff;
    let mut take = || {
        let (number_bytes, rest) = large.split_at_checked(8)?;
        large = rest;
        number(number_bytes, 0, 8)
    };
    if is_large(plain_bytes) {
        take()?;
    }
    if is_large(packed_bytes) {
        packed_bytes = take()?;
    }
    if is_large(local_at) {
        local_at = take()?;
    }
    let entry = ZipEntry {
        name: bytes.get(CENTRAL_BYTES..name_end)?,
        flags: number(bytes, 8, 2)? as u16,
        method: number(bytes, 10, 2)? as u16,
        packed_bytes,
        local_at,
    };
    Some((entry, bytes.get(name_end + extra_bytes + comment_bytes..)?))
}

/// The content of the extra field with large numbers.
fn large_numbers(mut extra: &[u8]) -> Option<&[u8]> {
    loop {
        let (id, n) = (number(extra, 0, 2)?, number(extra, 2, 2)?);
        let content = extra.get(4..4 + n)?;
        if id == 1 {
            return Some(content);
        }
        extra = extra.get(4 + n..)?;
    }
}

/// A little-endian number of `n` bytes at `at`.
fn number(bytes: &[u8], at: usize, n: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(n)?)?;
    let value = bytes.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    usize::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_archive_is_refused() {
        for bytes in [&b""[..], b"PK", &[0; 1000], END_MAGIC] {
            assert_eq!(Zip::open(bytes).err(), Some("not a ZIP archive"));
        }
        // An empty archive is one.
        let mut empty = END_MAGIC.to_vec();
        empty.resize(END_BYTES, 0);
        assert_eq!(Zip::open(&empty).unwrap().entries().count(), 0);
        // A directory that would begin before the file.
        empty[12] = 5;
        assert_eq!(Zip::open(&empty).err(), Some(BROKEN));
    }
}

//! Reads a tar stream, entry by entry, in bounded memory: layers, and other archives that
//! somebody else made.
//!
//! Written for this crate because what an image's files are must be decided as the engines
//! decide it, which is as Go's `archive/tar` reads: a PAX `size` moves the next header, a
//! GNU long name wins over a PAX path, global PAX headers change nothing, entries other than
//! files have no content whatever their size field says. A reader that differs in any of
//! these can be shown other files than the container gets. Formats: ustar, PAX, GNU and star
//! (POSIX.1-2017 `pax`, GNU tar manual, "Basic Tar Format").
//!
//! It does not judge paths; see [`crate::squash`] and [`crate::extract`].

use std::io::{self, Read};

use crate::error::TarError;
use crate::{FileKind, Limits};

const BLOCK: usize = 512;
/// Extended attributes of one entry; real files have a handful.
const XATTRS_MAX: usize = 128;

/// What the type flag of an entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawKind {
    /// A kind that the walk presents.
    File(FileKind),
    /// A GNU sparse file, whose content is stored in pieces.
    Sparse,
    /// A type flag that this reader does not know.
    Unknown(u8),
}

/// One entry as the archive has it; nothing of it is judged.
#[derive(Debug, Clone)]
pub struct RawEntry {
    /// The path as it is written: it may begin with `./` or `/` and hold `..`.
    pub path: Vec<u8>,
    /// What the type flag says.
    pub kind: RawKind,
    /// Permission bits, those for setuid, setgid and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of content; 0 for what has none.
    pub size: u64,
    /// Time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds to add to `mtime`.
    pub mtime_nanos: u32,
    /// Target of a link, as it is written.
    pub link: Vec<u8>,
    /// Major and minor number of a device node; 0 where they are unreadable, and for all others.
    pub device: (u64, u64),
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// Extended attributes were larger than the limit and are not in `xattrs`.
    pub xattrs_dropped: bool,
}

/// What PAX and GNU headers say of the next entry.
#[derive(Debug, Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    sparse: bool,
    xattrs: Vec<(String, Vec<u8>)>,
    xattr_bytes: usize,
    xattrs_dropped: bool,
}

/// Reads entries of a tar stream; between them it is a reader of the current content.
///
/// Of [`Limits`] it uses `pax_bytes_max` and `xattr_bytes_max`. The caller bounds the stream.
/// Its errors of the format are [`TarError`]s within [`io::Error`]s; see [`TarError::find`].
#[derive(Debug)]
pub struct TarReader<'a, R> {
    inner: R,
    /// Passes over at most so many bytes of `inner`; answers how many, 0 at its end.
    pass: fn(&mut R, u64) -> io::Result<u64>,
    limits: &'a Limits,
    /// Bytes consumed of `inner`.
    offset: u64,
    /// Content of the current entry that is not read yet.
    remaining: u64,
    /// Padding after it.
    padding: u64,
    n_entries: u64,
    entries_max: u64,
}

impl<'a, R: Read> TarReader<'a, R> {
    /// Reads at most `entries_max` entries from `inner`, extended headers included.
    pub fn new(inner: R, limits: &'a Limits, entries_max: u64) -> Self {
        Self::passing(inner, pass_by_reading, limits, entries_max)
    }

    /// As [`TarReader::new`], over a source that can pass over content without copying it.
    pub(crate) fn passing(
        inner: R,
        pass: fn(&mut R, u64) -> io::Result<u64>,
        limits: &'a Limits,
        entries_max: u64,
    ) -> Self {
        Self { inner, pass, limits, offset: 0, remaining: 0, padding: 0, n_entries: 0, entries_max }
    }

    /// Bytes consumed: at an entry, the position of its content.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Headers read, extended ones included.
    pub(crate) fn n_entries(&self) -> u64 {
        self.n_entries
    }

    /// Where the current content and its padding end.
    pub(crate) fn end_of_content(&self) -> u64 {
        self.offset + self.remaining + self.padding
    }

    /// Passes over the current content by moving the source to `end` instead of reading.
    pub(crate) fn jump(
        &mut self,
        end: u64,
        seek: impl FnOnce(&mut R, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        if end > self.offset {
            seek(&mut self.inner, end)?;
            self.offset = end;
        }
        self.remaining = 0;
        self.padding = 0;
        Ok(())
    }

    /// The source, once there are no more entries.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    /// The next entry, or `None` at the archive's end. Passes over what is left of the
    /// current one. What comes after an error is not defined.
    pub fn next_entry(&mut self) -> io::Result<Option<RawEntry>> {
        let mut extended = Extended::default();
        loop {
            self.skip_content()?;
            let start = self.offset;
            let Some(block) = self.read_header()? else {
                return Ok(None);
            };
            self.n_entries += 1;
            if self.n_entries > self.entries_max {
                return Err(TarError::TooManyEntries { limit: self.entries_max }.into());
            }
            let bad = |what| io::Error::from(TarError::BadHeader { what, offset: start });
            check_sum(&block).ok_or_else(|| bad("checksum"))?;
            let size = number(&block[124..136]).ok_or_else(|| bad("size"))?;
            match block[156] {
                b'x' => {
                    let body = self.read_extended(size, start)?;
                    parse_pax(&body, &mut extended, self.limits.xattr_bytes_max)
                        .ok_or_else(|| bad("PAX record"))?;
                }
                b'g' => self.begin_content(size, start)?,
                b'L' => extended.gnu_path = Some(c_string(&self.read_extended(size, start)?)),
                b'K' => extended.gnu_link = Some(c_string(&self.read_extended(size, start)?)),
                flag => {
                    let entry = plain(&block, flag, size, extended).map_err(bad)?;
                    if flag == b'S' {
                        self.skip_sparse_map(&block)?;
                    }
                    self.begin_content(entry.size, start)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    fn begin_content(&mut self, size: u64, start: u64) -> io::Result<()> {
        // Far above any limit; keeps the sums below from overflowing.
        if size > 1 << 62 {
            return Err(TarError::BadHeader { what: "size", offset: start }.into());
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// Reads the body of an extended header.
    fn read_extended(&mut self, size: u64, start: u64) -> io::Result<Vec<u8>> {
        let limit = self.limits.pax_bytes_max;
        if size > limit {
            return Err(TarError::ExtendedHeaderTooLarge { offset: start, limit }.into());
        }
        self.begin_content(size, start)?;
        let mut body = Vec::new();
        self.read_to_end(&mut body)?;
        Ok(body)
    }

    /// Old GNU sparse files continue their map in blocks after the header.
    fn skip_sparse_map(&mut self, header: &[u8; BLOCK]) -> io::Result<()> {
        let mut more = header[482] != 0;
        while more {
            self.n_entries += 1;
            if self.n_entries > self.entries_max {
                return Err(TarError::TooManyEntries { limit: self.entries_max }.into());
            }
            let mut block = [0_u8; BLOCK];
            if !self.fill(&mut block)? {
                return Err(TarError::Truncated { offset: self.offset }.into());
            }
            more = block[504] != 0;
        }
        Ok(())
    }

    /// Reads the next header block, or `None` at the end: the stream's own, or two blocks of
    /// zeros.
    fn read_header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0_u8; BLOCK];
        if !self.fill(&mut block)? {
            return Ok(None);
        }
        if block.iter().any(|byte| *byte != 0) {
            return Ok(Some(block));
        }
        let at = self.offset;
        if self.fill(&mut block)? && block.iter().any(|byte| *byte != 0) {
            return Err(TarError::BadHeader { what: "block after one of zeros", offset: at }.into());
        }
        Ok(None)
    }

    /// Fills `block`; `false` at the end of the stream, an error in the middle of the block.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut n = 0;
        while n < BLOCK {
            match self.inner.read(&mut block[n..]) {
                Ok(0) if n == 0 => return Ok(false),
                Ok(0) => {
                    return Err(TarError::Truncated { offset: self.offset }.into());
                }
                Ok(read) => {
                    n += read;
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Passes over the rest of the current entry.
    pub(crate) fn skip_content(&mut self) -> io::Result<()> {
        let mut left = self.remaining + self.padding;
        self.remaining = 0;
        self.padding = 0;
        while left > 0 {
            match (self.pass)(&mut self.inner, left) {
                Ok(0) => {
                    return Err(TarError::Truncated { offset: self.offset }.into());
                }
                Ok(n) => {
                    left -= n;
                    self.offset += n;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn pass_by_reading<R: Read>(inner: &mut R, n: u64) -> io::Result<u64> {
    let mut buffer = [0_u8; 16 * 1024];
    let wanted = usize::try_from(n).unwrap_or(usize::MAX).min(buffer.len());
    inner.read(&mut buffer[..wanted]).map(|n| n as u64)
}

impl<R: Read> Read for TarReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..wanted])?;
        if n == 0 {
            return Err(TarError::Truncated { offset: self.offset }.into());
        }
        self.remaining -= n as u64;
        self.offset += n as u64;
        Ok(n)
    }
}

/// The entry that a plain header describes, with what the extended headers override.
fn plain(
    block: &[u8; BLOCK],
    flag: u8,
    size: u64,
    extended: Extended,
) -> Result<RawEntry, &'static str> {
    let mut path = header_path(block);
    if let Some(long) = extended.gnu_path.or(extended.path) {
        path = long;
    }
    let mut link = c_string(&block[157..257]);
    if let Some(long) = extended.gnu_link.or(extended.link) {
        link = long;
    }
    let kind = match flag {
        _ if extended.sparse => RawKind::Sparse,
        0 if path.ends_with(b"/") => RawKind::File(FileKind::Folder),
        0 | b'0' | b'7' => RawKind::File(FileKind::Regular),
        b'1' => RawKind::File(FileKind::HardLink),
        b'2' => RawKind::File(FileKind::Symlink),
        b'3' => RawKind::File(FileKind::CharDevice),
        b'4' => RawKind::File(FileKind::BlockDevice),
        b'5' => RawKind::File(FileKind::Folder),
        b'6' => RawKind::File(FileKind::Fifo),
        b'S' => RawKind::Sparse,
        other => RawKind::Unknown(other),
    };
    let has_content =
        matches!(kind, RawKind::File(FileKind::Regular) | RawKind::Sparse | RawKind::Unknown(_));
    let device = match kind {
        RawKind::File(FileKind::CharDevice | FileKind::BlockDevice) => {
            let part = |field| number(field).unwrap_or(0);
            (part(&block[329..337]), part(&block[337..345]))
        }
        _ => (0, 0),
    };
    let (mtime, mtime_nanos) = match extended.mtime {
        Some(time) => time,
        None => (signed_number(&block[136..148]).ok_or("time")?, 0),
    };
    Ok(RawEntry {
        path,
        kind,
        mode: (number(&block[100..108]).ok_or("mode")? & 0o7777) as u32,
        uid: match extended.uid {
            Some(uid) => uid,
            None => number(&block[108..116]).ok_or("owner")?,
        },
        gid: match extended.gid {
            Some(gid) => gid,
            None => number(&block[116..124]).ok_or("group")?,
        },
        size: if has_content { extended.size.unwrap_or(size) } else { 0 },
        mtime,
        mtime_nanos,
        link,
        device,
        xattrs: extended.xattrs,
        xattrs_dropped: extended.xattrs_dropped,
    })
}

/// Name with the prefix that ustar and star keep apart.
fn header_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = c_string(&block[..100]);
    if &block[257..263] != b"ustar\0" {
        return name;
    }
    let star = &block[508..512] == b"tar\0";
    let prefix = c_string(if star { &block[345..476] } else { &block[345..500] });
    if prefix.is_empty() {
        return name;
    }
    let mut path = prefix;
    path.push(b'/');
    path.extend_from_slice(&name);
    path
}

/// The bytes before the first NUL.
fn c_string(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

fn check_sum(block: &[u8; BLOCK]) -> Option<()> {
    let stated = number(&block[148..156])?;
    let (mut unsigned, mut signed) = (0_u64, 0_i64);
    for (at, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&at) { b' ' } else { *byte };
        unsigned += u64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    // Old Sun tar summed signed bytes; Go accepts both.
    (stated == unsigned || i64::try_from(stated) == Ok(signed)).then_some(())
}

/// An octal or, with the first bit set, a base-256 number; empty is 0.
fn number(field: &[u8]) -> Option<u64> {
    u64::try_from(signed_number(field)?).ok()
}

fn signed_number(field: &[u8]) -> Option<i64> {
    if let Some((first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        // Two's complement in 8n-1 bits, big-endian.
        let negative = first & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        let head = if negative { first | 0x80 } else { first & 0x7f };
        for byte in std::iter::once(head).chain(rest.iter().copied()) {
            value = (value << 8) | i128::from(byte);
            i64::try_from(value).ok()?;
        }
        return i64::try_from(value).ok();
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii();
    text.iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// Reads the records `LENGTH KEY=VALUE\n` of a PAX header.
fn parse_pax(mut body: &[u8], extended: &mut Extended, xattr_bytes_max: usize) -> Option<()> {
    while !body.is_empty() {
        let blank = body.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&body[..blank]).ok()?.parse().ok()?;
        if length <= blank + 1 || length > body.len() || body[length - 1] != b'\n' {
            return None;
        }
        let record = &body[blank + 1..length - 1];
        body = &body[length..];
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let text = || std::str::from_utf8(value).ok();
        match key {
            // An empty value deletes the record (pax, "pax Header Block").
            b"path" => extended.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
            b"linkpath" => extended.link = Some(value.to_vec()).filter(|link| !link.is_empty()),
            b"size" => extended.size = Some(text()?.parse().ok()?),
            b"uid" => extended.uid = Some(text()?.parse().ok()?),
            b"gid" => extended.gid = Some(text()?.parse().ok()?),
            b"mtime" => extended.mtime = Some(decimal_time(text()?)?),
            _ if key.starts_with(b"GNU.sparse.") => extended.sparse = true,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    add_xattr(extended, name, value, xattr_bytes_max);
                }
            }
        }
    }
    Some(())
}

fn add_xattr(extended: &mut Extended, name: &[u8], value: &[u8], bytes_max: usize) {
    extended.xattr_bytes += name.len() + value.len();
    match std::str::from_utf8(name) {
        Ok(name)
            if extended.xattr_bytes <= bytes_max
                && extended.xattrs.len() < XATTRS_MAX
                && !name.is_empty() =>
        {
            // The last record of a key wins.
            extended.xattrs.retain(|(other, _)| other != name);
            extended.xattrs.push((name.to_string(), value.to_vec()));
            extended.xattrs.sort();
        }
        _ => extended.xattrs_dropped = true,
    }
}

/// `-12.25` as seconds and nanoseconds.
fn decimal_time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests;

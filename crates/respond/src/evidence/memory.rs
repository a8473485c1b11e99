//! The memory of a process: its readable, writable, private ranges.
//!
//! Read through `/proc/PID/mem`, which does not stop or change the process. The item is
//! the ranges one after the other; its index says where each one starts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use serde::Serialize;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 1 << 20;
/// Most ranges of one process.
pub(super) const RANGES_MAX: usize = 65_536;

/// One mapped range, from `proc_pid_maps(5)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) permissions: String,
    pub(super) inode: u64,
    pub(super) name: String,
}

impl Range {
    /// Whether it is the process's own data.
    pub(super) fn is_private_data(&self) -> bool {
        self.permissions.starts_with("rw") && self.permissions.ends_with('p')
    }
}

/// Parses `/proc/PID/maps`; lines that are not ranges are left out.
pub(super) fn parse_maps(text: &str) -> Vec<Range> {
    text.lines().filter_map(parse_line).take(RANGES_MAX).collect()
}

fn parse_line(line: &str) -> Option<Range> {
    let mut parts = line.splitn(6, ' ');
    let (start, end) = parts.next()?.split_once('-')?;
    let permissions = parts.next()?.to_string();
    let inode = parts.nth(2)?.parse().ok()?;
    Some(Range {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        permissions,
        inode,
        name: parts.next().unwrap_or("").trim_start().to_string(),
    })
}

/// Where a range lies in the stored item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stored {
    start: String,
    end: String,
    name: String,
    offset: u64,
    n_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Reads ranges one after the other.
pub(super) struct RangeReader<'m> {
    memory: &'m File,
    ranges: Vec<Range>,
    current: usize,
    /// Bytes of the current range that were delivered.
    at: u64,
    offset: u64,
    pub(super) stored: Vec<Stored>,
}

impl<'m> RangeReader<'m> {
    pub(super) fn new(memory: &'m File, ranges: Vec<Range>) -> Self {
        Self { memory, ranges, current: 0, at: 0, offset: 0, stored: Vec::new() }
    }

    /// Ranges that could not be read to their end.
    pub(super) fn n_failed(&self) -> usize {
        self.stored.iter().filter(|stored| stored.error.is_some()).count()
    }

    fn close_range(&mut self, error: Option<&io::Error>) {
        if let Some(range) = self.ranges.get(self.current) {
            self.stored.push(Stored {
                start: format!("{:#x}", range.start),
                end: format!("{:#x}", range.end),
                name: range.name.clone(),
                offset: self.offset - self.at,
                n_bytes: self.at,
                error: error.map(ToString::to_string),
            });
        }
        self.current += 1;
        self.at = 0;
    }
}

impl io::Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(range) = self.ranges.get(self.current) {
            let left = range.end.saturating_sub(range.start).saturating_sub(self.at);
            if left == 0 {
                self.close_range(None);
                continue;
            }
            let wanted = left.min(CHUNK_BYTES).min(buffer.len() as u64) as usize;
            match self.memory.read_at(&mut buffer[..wanted], range.start + self.at) {
                Ok(0) => self.close_range(Some(&io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(n) => {
                    self.at += n as u64;
                    self.offset += n as u64;
                    return Ok(n);
                }
                // A range may be unreadable (guard pages, device memory): the next one is not.
                Err(error) => self.close_range(Some(&error)),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn maps_are_read() {
        let text = "\
55d0c0a00000-55d0c0a02000 rw-p 00002000 08:01 1234                       /usr/bin/a file (deleted)
7ffd0000-7ffe0000 r--p 00000000 00:00 0                                  [vvar]
nonsense
";
        let ranges = parse_maps(text);
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[0].name, "/usr/bin/a file (deleted)");
        assert_eq!(ranges[0].inode, 1234);
        assert!(ranges[0].is_private_data() && !ranges[1].is_private_data());
    }

    #[test]
    fn own_memory_is_read_and_holes_are_noted() {
        let needle = b"palisade-memory-needle-5c1f".to_vec();
        let address = needle.as_ptr() as u64;
        let memory = File::open("/proc/self/mem").unwrap();
        let range = |start: u64, end: u64| Range {
            start,
            end,
            permissions: "rw-p".into(),
            inode: 0,
            name: String::new(),
        };
        let ranges = vec![range(8, 16), range(address, address + needle.len() as u64)];
        let mut reader = RangeReader::new(&memory, ranges);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, needle);
        assert_eq!(reader.n_failed(), 1);
        assert_eq!(reader.stored[1].offset, 0);
    }
}

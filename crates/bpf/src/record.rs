//! One record as it leaves the ring: a scap event and a fixed trailer.
//!
//! The first `len` bytes are an event of the scap format, version 2: a packed header of 26 bytes
//! (`u64 ts_ns`, `u64 tid`, `u32 len`, `u16 type`, `u32 nparams`), `nparams` lengths of two bytes,
//! the parameters. A trailer of 32 bytes follows: `u64 cgroup_id, u32 tgid, u32 ppid, u16 cpu, u16
//! flags, u32 uid, u64 start_boottime_ns`. All of it is little-endian and unaligned; it is read
//! field by field. Parameters are not looked at here. With [`FLAG_RAW_PATH`] one text more follows,
//! which [`Record::raw_path`] gives and [`Record::bytes`] leaves out.

/// Bytes of an event's header.
pub const HEADER_BYTES: usize = 26;
/// Bytes after the event.
pub const TRAILER_BYTES: usize = 32;
/// The largest event that a probe sends, with its trailer (`RECORD_BYTES_MAX` of
/// `probes/record.h`).
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

/// The call came through the 32-bit entry of the kernel.
pub const FLAG_COMPAT: u16 = 1;
/// The task is not in the root pid namespace.
pub const FLAG_NESTED_PIDNS: u16 = 2;
/// A parameter was cut at its bound.
pub const FLAG_TRUNCATED: u16 = 4;
/// The path as the caller wrote it follows the trailer: it says more than the resolved one among
/// the parameters.
pub const FLAG_RAW_PATH: u16 = 8;
/// With [`FLAG_RAW_PATH`]: the path that follows is that of the file behind the event's descriptor.
pub const FLAG_FD_PATH: u16 = 16;
/// That file is a folder.
pub const FLAG_FD_FOLDER: u16 = 32;
/// The event's descriptor is no socket.
pub const FLAG_FD_NO_SOCKET: u16 = 64;

/// Bytes that are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than a header and a trailer.
    #[error("record of {0} bytes is shorter than a header and a trailer")]
    Short(usize),
    /// The header's length does not fit the bytes.
    #[error("record of {bytes} bytes says its event has {len}")]
    Length {
        /// The bytes that are there.
        bytes: usize,
        /// The header's `len`.
        len: u32,
    },
}

/// A record, borrowed from the reader's buffer. Times are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    whole: &'a [u8],
    bytes: &'a [u8],
    len: usize,
    raw_path: &'a [u8],
}

impl<'a> Record<'a> {
    /// Checks the frame of `bytes`: header, event length, trailer.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEADER_BYTES + TRAILER_BYTES {
            return Err(Malformed::Short(bytes.len()));
        }
        let len = u32::from_le_bytes(array(bytes, 16));
        let wrong = Malformed::Length { bytes: bytes.len(), len };
        let (len, end) = match usize::try_from(len)
            .ok()
            .and_then(|len| Some((len, len.checked_add(TRAILER_BYTES)?)))
        {
            Some((len, end)) if len >= HEADER_BYTES && end <= bytes.len() => (len, end),
            _ => return Err(wrong),
        };
        let whole = bytes;
        let (bytes, rest) = bytes.split_at(end);
        let record = Self { whole, bytes, len, raw_path: rest.strip_suffix(&[0]).unwrap_or(rest) };
        if rest.is_empty() == (record.flags() & FLAG_RAW_PATH == 0) {
            Ok(record)
        } else {
            Err(wrong)
        }
    }

    /// The path as the caller wrote it (`../../etc/shadow`), where that is not the resolved path
    /// that the parameters have. At most 1,023 bytes.
    pub fn raw_path(&self) -> Option<&'a [u8]> {
        let is_written = self.flags() & FLAG_FD_PATH == 0;
        (is_written && !self.raw_path.is_empty()).then_some(self.raw_path)
    }

    /// The path of the file behind the event's descriptor, at calls that take one while opens are
    /// filtered. At most 1,023 bytes.
    pub fn fd_path(&self) -> Option<&'a [u8]> {
        let is_fd = self.flags() & FLAG_FD_PATH != 0;
        (is_fd && !self.raw_path.is_empty()).then_some(self.raw_path)
    }

    /// Event, trailer and raw path, as they came out of the ring.
    pub fn whole(&self) -> &'a [u8] {
        self.whole
    }

    /// Event and trailer.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The event alone, as a capture file stores it.
    pub fn event(&self) -> &'a [u8] {
        &self.bytes[..self.len]
    }

    /// When it happened.
    pub fn time_ns(&self) -> u64 {
        u64::from_le_bytes(array(self.bytes, 0))
    }

    /// The thread that did it.
    pub fn tid(&self) -> u64 {
        u64::from_le_bytes(array(self.bytes, 8))
    }

    /// The event type (`probes/events.h`).
    pub fn event_type(&self) -> u16 {
        u16::from_le_bytes(array(self.bytes, 20))
    }

    /// The number of parameters.
    pub fn n_params(&self) -> u32 {
        u32::from_le_bytes(array(self.bytes, 22))
    }

    /// Identity of the task's cgroup in the v2 hierarchy: the inode number of its folder.
    pub fn cgroup_id(&self) -> u64 {
        u64::from_le_bytes(array(self.bytes, self.len))
    }

    /// The process, in the root pid namespace.
    pub fn tgid(&self) -> u32 {
        u32::from_le_bytes(array(self.bytes, self.len + 8))
    }

    /// The parent process, in the root pid namespace.
    pub fn ppid(&self) -> u32 {
        u32::from_le_bytes(array(self.bytes, self.len + 12))
    }

    /// The processor that it happened on.
    pub fn cpu(&self) -> u16 {
        u16::from_le_bytes(array(self.bytes, self.len + 16))
    }

    /// Bits of the `FLAG_` constants.
    pub fn flags(&self) -> u16 {
        u16::from_le_bytes(array(self.bytes, self.len + 18))
    }

    /// The real user id, in the root user namespace.
    pub fn uid(&self) -> u32 {
        u32::from_le_bytes(array(self.bytes, self.len + 20))
    }

    /// When the process began, in nanoseconds since boot: with [`Self::tgid`] it names a process
    /// for ever.
    pub fn start_boottime_ns(&self) -> u64 {
        u64::from_le_bytes(array(self.bytes, self.len + 24))
    }
}

/// `N` bytes at `at`. The frame was checked, so they are there; zeroes would mean a mistake in this
/// file.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|slice| slice.try_into().ok()).unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: u32, flags: u16, extra: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(7_u64.to_le_bytes());
        bytes.extend(42_u64.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend(293_u16.to_le_bytes());
        bytes.extend(0_u32.to_le_bytes());
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(100_u32.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(3_u16.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(1000_u32.to_le_bytes());
        bytes.extend(99_u64.to_le_bytes());
        bytes.extend(extra);
        bytes
    }

    #[test]
    fn fields_are_where_the_format_says() {
        let bytes = sample(26, FLAG_COMPAT, &[]);
        let record = Record::from_bytes(&bytes).unwrap();
        assert_eq!((record.time_ns(), record.tid(), record.event_type()), (7, 42, 293));
        assert_eq!((record.cgroup_id(), record.tgid(), record.ppid()), (5, 100, 1));
        assert_eq!((record.cpu(), record.flags(), record.uid()), (3, FLAG_COMPAT, 1000));
        assert_eq!((record.start_boottime_ns(), record.n_params()), (99, 0));
        assert_eq!(record.event().len(), 26);
    }

    #[test]
    fn a_frame_that_lies_is_refused() {
        let check = |bytes: &[u8], expected: Malformed| {
            assert_eq!(Record::from_bytes(bytes).unwrap_err(), expected);
        };
        check(&[], Malformed::Short(0));
        check(&[0; 57], Malformed::Short(57));
        check(&sample(27, 0, &[]), Malformed::Length { bytes: 58, len: 27 });
        check(&sample(u32::MAX, 0, &[]), Malformed::Length { bytes: 58, len: u32::MAX });
        check(&sample(25, 0, &[]), Malformed::Length { bytes: 58, len: 25 });
        check(&sample(26, 0, &[0]), Malformed::Length { bytes: 59, len: 26 });
        check(&sample(26, FLAG_RAW_PATH, &[]), Malformed::Length { bytes: 58, len: 26 });
    }

    #[test]
    fn a_raw_path_is_no_part_of_the_record() {
        let bytes = sample(26, FLAG_RAW_PATH, b"../x\0");
        let record = Record::from_bytes(&bytes).unwrap();
        assert_eq!(record.raw_path(), Some(&b"../x"[..]));
        assert_eq!((record.bytes().len(), record.whole().len()), (58, 63));
        assert_eq!(Record::from_bytes(&sample(26, 0, &[])).unwrap().raw_path(), None);
    }
}

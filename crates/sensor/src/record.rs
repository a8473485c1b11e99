//! One event as bytes: the body of a scap event block, version 2.
//!
//! Kernel probes and captures deliver the same form, so there is one decoder:
//!
//! ```text
//! u64 time_ns | u64 tid | u32 length | u16 type | u32 n_params     packed, 26 bytes
//! u16 × n_params lengths (u32 for the few types with large payloads)
//! the parameters
//! ```
//!
//! A live record has a fixed trailer behind `length` bytes (see [`Trailer`]). Decoding is
//! total: every offset is checked before it is used, and nothing is cast.

use crate::schema::{EventInfo, N_EVENTS, PARAMS_MAX, ParamType, Traits, event};

/// Bytes of the packed header.
pub const HEADER_BYTES: usize = 26;

/// Bytes of a live record's trailer.
pub const TRAILER_BYTES: usize = 32;

/// A record longer than this is refused, whatever its header says (large payloads are
/// container descriptions, at most a few hundred kilobytes).
pub const RECORD_BYTES_MAX: usize = 4 << 20;

/// What stands for text that the kernel could not read.
pub const NOT_AVAILABLE: &[u8] = b"<NA>";

/// Bytes that are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than a header.
    #[error("record of {n_bytes} bytes is shorter than its header")]
    Short {
        /// Bytes at hand.
        n_bytes: usize,
    },
    /// The header states another length than there is.
    #[error("record states a length of {stated} bytes but has {actual}")]
    Length {
        /// In the header.
        stated: usize,
        /// At hand.
        actual: usize,
    },
    /// A type that this version does not know.
    #[error("record has the unknown event type {number}")]
    UnknownType {
        /// The type's number.
        number: u16,
    },
    /// More parameters than the type has, and not those of a later version.
    #[error("record of type {number} claims {n_params} parameters")]
    TooManyParams {
        /// The type's number.
        number: u16,
        /// Claimed.
        n_params: u32,
    },
    /// The parameters' lengths do not fit into the record.
    #[error("parameter {index} of a record of type {number} ends behind the record")]
    ParamOverrun {
        /// The type's number.
        number: u16,
        /// The parameter.
        index: usize,
    },
}

impl palisade_base::Explain for RecordError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownType { .. } => {
                Some("the capture may come from a newer version; update palisade".into())
            }
            _ => None,
        }
    }
}

/// Reads little-endian integers off the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn take(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n_bytes)?;
        self.0 = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    /// Text with a `u16` length before it.
    pub(crate) fn text16(&mut self) -> Option<&'a [u8]> {
        let n_bytes = self.u16()?;
        self.take(usize::from(n_bytes))
    }
}

/// What the probes add to a live record, because the scap format has no place for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trailer {
    /// The task's cgroup v2 id (the inode of its folder).
    pub cgroup_id: u64,
    /// Process id (thread group) on the host.
    pub tgid: u32,
    /// Process id of the real parent on the host.
    pub ppid: u32,
    /// Processor on which it happened.
    pub cpu: u16,
    /// Bits of the probes; those about the event's descriptor are [`Self::FD_PATH`] and the next.
    pub flags: u16,
    /// Real user id on the host.
    pub uid: u32,
    /// Start of the thread group's leader, nanoseconds since boot.
    pub start_boottime_ns: u64,
}

impl Trailer {
    /// The path behind the trailer is that of the file behind the event's descriptor.
    pub const FD_PATH: u16 = 16;
    /// That file is a folder.
    pub const FD_FOLDER: u16 = 32;
    /// The event's descriptor is no socket.
    pub const FD_NO_SOCKET: u16 = 64;

    /// Reads the 32 bytes.
    pub fn decode(bytes: &[u8; TRAILER_BYTES]) -> Self {
        let mut cursor = Cursor(bytes);
        // The array's length makes every read succeed; the default is unreachable.
        let mut read = || {
            Some(Self {
                cgroup_id: cursor.u64()?,
                tgid: cursor.u32()?,
                ppid: cursor.u32()?,
                cpu: cursor.u16()?,
                flags: cursor.u16()?,
                uid: cursor.u32()?,
                start_boottime_ns: cursor.u64()?,
            })
        };
        read().unwrap_or_default()
    }

    /// Writes the 32 bytes.
    pub fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[0..8].copy_from_slice(&self.cgroup_id.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.tgid.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.ppid.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.cpu.to_le_bytes());
        bytes[18..20].copy_from_slice(&self.flags.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.uid.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start_boottime_ns.to_le_bytes());
        bytes
    }
}

/// One parameter of a record.
#[derive(Debug, Clone, Copy)]
pub struct Param<'a> {
    /// Its bytes; none when it is absent.
    pub bytes: &'a [u8],
    /// Its encoding.
    pub kind: ParamType,
}

impl<'a> Param<'a> {
    /// Whether the record lacks it.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The integer it holds, if it has exactly the width.
    pub fn u8(&self) -> Option<u8> {
        self.bytes.try_into().ok().map(u8::from_le_bytes)
    }

    /// See [`Self::u8`].
    pub fn u16(&self) -> Option<u16> {
        self.bytes.try_into().ok().map(u16::from_le_bytes)
    }

    /// See [`Self::u8`].
    pub fn u32(&self) -> Option<u32> {
        self.bytes.try_into().ok().map(u32::from_le_bytes)
    }

    /// See [`Self::u8`].
    pub fn u64(&self) -> Option<u64> {
        self.bytes.try_into().ok().map(u64::from_le_bytes)
    }

    /// A signed integer of 4 or 8 bytes.
    pub fn i64(&self) -> Option<i64> {
        match self.bytes.len() {
            4 => self.bytes.try_into().ok().map(|bytes| i64::from(i32::from_le_bytes(bytes))),
            _ => self.bytes.try_into().ok().map(i64::from_le_bytes),
        }
    }

    /// An unsigned integer of any width.
    pub fn uint(&self) -> Option<u64> {
        match self.bytes.len() {
            1 => self.u8().map(u64::from),
            2 => self.u16().map(u64::from),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => None,
        }
    }

    /// Whether it is text that the kernel could not read.
    pub fn is_null_text(&self) -> bool {
        matches!(self.kind, ParamType::Text | ParamType::Path | ParamType::RelativePath(_))
            && (self.bytes.is_empty() || self.bytes == b"(NULL)\0")
    }

    /// Text up to its NUL; `<NA>` when the kernel could not read it.
    pub fn text(&self) -> &'a [u8] {
        if self.is_null_text() {
            return NOT_AVAILABLE;
        }
        until_nul(self.bytes)
    }

    /// Text up to its NUL; empty when it is absent.
    pub fn text_or_empty(&self) -> &'a [u8] {
        until_nul(self.bytes)
    }

    /// A list of texts, each ended by a NUL, without the last NUL.
    pub fn list(&self) -> &'a [u8] {
        self.bytes.strip_suffix(b"\0").unwrap_or(self.bytes)
    }
}

pub(crate) fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

/// A decoded record; it borrows the bytes.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// Thread that acted, on the host; -1 for events of the sensor itself.
    pub tid: i64,
    /// Its type.
    pub info: &'static EventInfo,
    /// Processor on which it happened.
    pub cpu: u16,
    /// What a live record adds.
    pub trailer: Option<Trailer>,
    /// The path as the program wrote it, where a live record's parameters have the one
    /// that the kernel resolved.
    pub raw_path: Option<&'a [u8]>,
    /// The path of the file behind the event's descriptor, of a live record of a call that takes
    /// one, while the probes hold back opens.
    pub fd_path: Option<&'a [u8]>,
    bytes: &'a [u8],
    /// The lengths of the parameters, which add up to no more than `params`.
    lengths: Lengths<'a>,
    params: &'a [u8],
    is_newer: bool,
}

/// Lengths of parameters, as the record has them: few, so that sums are quicker made than
/// kept.
#[derive(Debug, Clone, Copy)]
enum Lengths<'a> {
    Short(&'a [[u8; 2]]),
    Long(&'a [[u8; 4]]),
}

impl Lengths<'_> {
    /// The first `n` of them at most.
    fn first(self, n: usize) -> Self {
        match self {
            Self::Short(lengths) => Self::Short(&lengths[..n.min(lengths.len())]),
            Self::Long(lengths) => Self::Long(&lengths[..n.min(lengths.len())]),
        }
    }

    const fn n(self) -> usize {
        match self {
            Self::Short(lengths) => lengths.len(),
            Self::Long(lengths) => lengths.len(),
        }
    }

    fn get(self, index: usize) -> Option<usize> {
        match self {
            Self::Short(lengths) => lengths.get(index).map(|n| usize::from(u16::from_le_bytes(*n))),
            Self::Long(lengths) => lengths.get(index).map(|n| u32::from_le_bytes(*n) as usize),
        }
    }

    /// The sum of the first `n` lengths.
    fn sum(self, n: usize) -> usize {
        match self {
            Self::Short(lengths) => {
                lengths.iter().take(n).map(|n| usize::from(u16::from_le_bytes(*n))).sum()
            }
            Self::Long(lengths) => {
                let lengths = lengths.iter().take(n).map(|n| u32::from_le_bytes(*n) as usize);
                lengths.fold(0, usize::saturating_add)
            }
        }
    }
}

impl<'a> Record<'a> {
    /// Decodes a record without trailer, as captures hold it.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let short = RecordError::Short { n_bytes: bytes.len() };
        let mut cursor = Cursor(bytes);
        let time_ns = cursor.u64().ok_or(short)?;
        let tid = cursor.i64().ok_or(short)?;
        let stated = cursor.u32().ok_or(short)? as usize;
        let number = cursor.u16().ok_or(short)?;
        let n_params = cursor.u32().ok_or(short)?;
        if stated != bytes.len() || stated > RECORD_BYTES_MAX {
            return Err(RecordError::Length { stated, actual: bytes.len() });
        }
        let info = event(number).ok_or(RecordError::UnknownType { number })?;
        let too_many = RecordError::TooManyParams { number, n_params };
        let n_params = n_params as usize;
        if n_params > PARAMS_MAX {
            return Err(too_many);
        }
        let (lengths, params) = if info.traits.any(Traits::LARGE) {
            let (lengths, params) = cursor.0.split_at_checked(n_params * 4).unzip();
            (lengths.map(|lengths| Lengths::Long(lengths.as_chunks().0)), params)
        } else {
            let (lengths, params) = cursor.0.split_at_checked(n_params * 2).unzip();
            (lengths.map(|lengths| Lengths::Short(lengths.as_chunks().0)), params)
        };
        let (Some(lengths), Some(params)) = (lengths, params) else {
            return Err(RecordError::ParamOverrun { number, index: 0 });
        };
        let is_newer = n_params > info.params.len();
        if is_newer && lengths.sum(n_params) != params.len() {
            // Later versions only append parameters; what does not add up is no later version.
            return Err(too_many);
        }
        if lengths.sum(n_params) > params.len() {
            let overrun = (0..n_params).find(|index| lengths.sum(index + 1) > params.len());
            return Err(RecordError::ParamOverrun { number, index: overrun.unwrap_or(0) });
        }
        Ok(Self {
            time_ns,
            tid,
            info,
            cpu: 0,
            trailer: None,
            raw_path: None,
            fd_path: None,
            bytes,
            lengths: lengths.first(info.params.len()),
            params,
            is_newer,
        })
    }

    /// Decodes a live record: one with a trailer, and possibly the path as the program
    /// wrote it behind that.
    pub fn decode_live(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let short = RecordError::Short { n_bytes: bytes.len() };
        let stated = bytes.get(16..20).and_then(|length| Cursor(length).u32()).ok_or(short)?;
        let wrong = RecordError::Length { stated: stated as usize, actual: bytes.len() };
        let (body, rest) = bytes.split_at_checked(stated as usize).ok_or(wrong)?;
        let (trailer, raw_path) = rest.split_first_chunk::<TRAILER_BYTES>().ok_or(wrong)?;
        let trailer = Trailer::decode(trailer);
        let mut record = Self::decode(body)?;
        record.cpu = trailer.cpu;
        record.trailer = Some(trailer);
        let path = Some(until_nul(raw_path)).filter(|path| !path.is_empty());
        if trailer.flags & Trailer::FD_PATH == 0 {
            record.raw_path = path;
        } else {
            record.fd_path = path;
        }
        Ok(record)
    }

    /// The type's number.
    pub fn number(&self) -> u16 {
        self.info.number
    }

    /// Whether it has parameters of a later version behind those that this one knows.
    pub fn is_newer(&self) -> bool {
        self.is_newer
    }

    /// Parameters that the record has, of those that this version knows.
    pub fn n_params(&self) -> usize {
        self.lengths.n()
    }

    /// The record without its trailer.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The parameter at `index`; an empty one when the record lacks it.
    pub fn param(&self, index: usize) -> Param<'a> {
        let kind = self.info.params.get(index).map_or(ParamType::Other, |param| param.kind);
        let Some(length) = self.lengths.get(index) else { return Param { bytes: &[], kind } };
        let start = self.lengths.sum(index);
        Param { bytes: self.params.get(start..start + length).unwrap_or(&[]), kind }
    }

    /// The parameter called `name`, when the record has it.
    pub fn param_by_name(&self, name: &str) -> Option<(usize, Param<'a>)> {
        let index = self.info.param_index(name).filter(|index| *index < self.n_params())?;
        Some((index, self.param(index)))
    }

    /// The result of the call, when the event has one.
    pub fn result(&self) -> Option<i64> {
        if !self.info.has_result() || self.n_params() == 0 {
            return None;
        }
        let first = self.param(0);
        if let ParamType::Dynamic(_) = first.kind {
            // A descriptor or a result behind a byte that says which.
            return first.bytes.get(1..).and_then(|bytes| Param { bytes, kind: first.kind }.i64());
        }
        // One that is not there counts as success, as in Falco.
        Some(first.i64().unwrap_or(0))
    }
}

/// Why a record could not be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The type has fewer parameters.
    #[error("event type {number} has no parameter {index}")]
    NoSuchParam {
        /// The type's number.
        number: u16,
        /// The parameter.
        index: usize,
    },
    /// The type does not exist.
    #[error("there is no event type {number}")]
    NoSuchType {
        /// The type's number.
        number: u16,
    },
}

/// Writes records: for captures, for upgrades of old ones and for tests.
#[derive(Debug, Default)]
pub struct RecordBuilder {
    params: Vec<u8>,
    lengths: Vec<u32>,
}

impl RecordBuilder {
    /// An empty builder; it can be used for many records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the parameters given so far.
    pub fn clear(&mut self) -> &mut Self {
        self.params.clear();
        self.lengths.clear();
        self
    }

    /// Appends all parameters of a record.
    pub fn push_all(&mut self, record: &Record<'_>) -> &mut Self {
        let lengths = record.lengths;
        self.lengths.extend((0..lengths.n()).filter_map(|i| lengths.get(i)).map(|n| n as u32));
        self.params.extend_from_slice(&record.params[..lengths.sum(lengths.n())]);
        self
    }

    /// Appends a parameter; one longer than its length field can say is cut.
    pub fn push(&mut self, bytes: &[u8]) -> &mut Self {
        let bytes = &bytes[..bytes.len().min(RECORD_BYTES_MAX / 2)];
        self.params.extend_from_slice(bytes);
        self.lengths.push(bytes.len() as u32);
        self
    }

    /// Appends an `i64`.
    pub fn push_i64(&mut self, value: i64) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    /// Appends a `u32`.
    pub fn push_u32(&mut self, value: u32) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    /// Appends a `u64`.
    pub fn push_u64(&mut self, value: u64) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    /// Appends text and its NUL.
    pub fn push_text(&mut self, text: &[u8]) -> &mut Self {
        self.params.extend_from_slice(text);
        self.params.push(0);
        self.lengths.push(text.len() as u32 + 1);
        self
    }

    /// Appends a parameter that is absent.
    pub fn push_empty(&mut self) -> &mut Self {
        self.push(&[])
    }

    /// Writes the record of type `number` into `out`, which is cleared first.
    pub fn build(
        &self,
        out: &mut Vec<u8>,
        number: u16,
        time_ns: u64,
        tid: i64,
    ) -> Result<(), BuildError> {
        let info = event(number).ok_or(BuildError::NoSuchType { number })?;
        if self.lengths.len() > info.params.len() {
            return Err(BuildError::NoSuchParam { number, index: info.params.len() });
        }
        let large = info.traits.any(Traits::LARGE);
        out.clear();
        out.extend_from_slice(&time_ns.to_le_bytes());
        out.extend_from_slice(&tid.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(self.lengths.len() as u32).to_le_bytes());
        for length in &self.lengths {
            if large {
                out.extend_from_slice(&length.to_le_bytes());
            } else {
                out.extend_from_slice(&u16::try_from(*length).unwrap_or(u16::MAX).to_le_bytes());
            }
        }
        let limit = if large { u32::MAX } else { u32::from(u16::MAX) };
        if self.lengths.iter().all(|length| *length <= limit) {
            out.extend_from_slice(&self.params);
        } else {
            let mut rest = Cursor(&self.params);
            for length in &self.lengths {
                let bytes = rest.take(*length as usize).unwrap_or(&[]);
                out.extend_from_slice(&bytes[..bytes.len().min(limit as usize)]);
            }
        }
        let length = out.len() as u32;
        out[16..20].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

const _: () = assert!(N_EVENTS <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::number::{CLOSE_X, OPEN_X, OPENAT_2_X};

    fn open_record() -> Vec<u8> {
        let mut out = Vec::new();
        RecordBuilder::new()
            .push_i64(3)
            .push_text(b"/etc/passwd")
            .push_u32(1)
            .push_u32(0)
            .build(&mut out, OPEN_X, 5, 7)
            .unwrap();
        out
    }

    #[test]
    fn reads_what_the_builder_writes() {
        let bytes = open_record();
        let record = Record::decode(&bytes).unwrap();
        assert_eq!((record.time_ns, record.tid, record.number()), (5, 7, OPEN_X));
        assert_eq!(record.result(), Some(3));
        assert_eq!(record.param(1).text(), b"/etc/passwd");
        assert_eq!(record.param(2).u32(), Some(1));
        assert!(record.param(4).is_empty());
        assert!(record.param(99).is_empty());
        assert_eq!(record.param(2).u64(), None, "an integer of another width is no integer");
    }

    #[test]
    fn lies_are_typed_errors() {
        let check = |change: &dyn Fn(&mut Vec<u8>), expected: RecordError| {
            let mut bytes = open_record();
            change(&mut bytes);
            assert_eq!(Record::decode(&bytes).unwrap_err(), expected);
        };
        check(&|b| b.truncate(25), RecordError::Short { n_bytes: 25 });
        check(&|b| b.push(0), RecordError::Length { stated: 62, actual: 63 });
        check(
            &|b| b[20..22].copy_from_slice(&454_u16.to_le_bytes()),
            RecordError::UnknownType { number: 454 },
        );
        check(
            &|b| b[22..26].copy_from_slice(&7_u32.to_le_bytes()),
            RecordError::TooManyParams { number: OPEN_X, n_params: 7 },
        );
        check(
            &|b| b[28..30].copy_from_slice(&u16::MAX.to_le_bytes()),
            RecordError::ParamOverrun { number: OPEN_X, index: 1 },
        );
    }

    #[test]
    fn parameters_of_a_later_version_are_left_out() {
        let mut bytes = open_record();
        let n_params = 6_u32;
        // One more length in front of the parameters, and one more parameter behind them.
        let at = HEADER_BYTES + 2 * 4;
        bytes.splice(at..at, [[0, 0], [0, 0], [3, 0]].concat());
        bytes.extend(b"new");
        bytes[22..26].copy_from_slice(&(n_params + 1).to_le_bytes());
        let length = (bytes.len() as u32).to_le_bytes();
        bytes[16..20].copy_from_slice(&length);
        let record = Record::decode(&bytes).unwrap();
        assert!(record.is_newer());
        assert_eq!((record.n_params(), record.param(1).text()), (6, &b"/etc/passwd"[..]));
        assert!(record.param(6).is_empty());
    }

    #[test]
    fn text_that_the_kernel_could_not_read() {
        let mut out = Vec::new();
        let mut builder = RecordBuilder::new();
        builder.push_i64(-14).push_i64(-100).push(b"(NULL)\0");
        builder.build(&mut out, OPENAT_2_X, 0, 1).unwrap();
        assert_eq!(Record::decode(&out).unwrap().param(2).text(), NOT_AVAILABLE);
        assert!(builder.build(&mut out, CLOSE_X, 0, 1).is_err(), "close has two parameters");
    }

    #[test]
    fn a_live_record_carries_its_trailer() {
        let trailer = Trailer {
            cgroup_id: 77,
            tgid: 10,
            ppid: 1,
            cpu: 3,
            flags: 0,
            uid: 1000,
            start_boottime_ns: 99,
        };
        let mut bytes = open_record();
        bytes.extend_from_slice(&trailer.encode());
        let record = Record::decode_live(&bytes).unwrap();
        assert_eq!((record.trailer, record.cpu), (Some(trailer), 3));
        assert!(Record::decode_live(&bytes[..40]).is_err());
        bytes.extend_from_slice(b"../passwd\0");
        assert_eq!(Record::decode_live(&bytes).unwrap().raw_path, Some(&b"../passwd"[..]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), number in 0_u16..460, honest in any::<bool>()) {
            if honest && bytes.len() >= HEADER_BYTES {
                let length = (bytes.len() as u32).to_le_bytes();
                bytes[16..20].copy_from_slice(&length);
                bytes[20..22].copy_from_slice(&number.to_le_bytes());
                bytes[22] %= 33;
                bytes[23..26].fill(0);
            }
            if let Ok(record) = Record::decode(&bytes) {
                for index in 0..=PARAMS_MAX {
                    let param = record.param(index);
                    let _ = (param.u8(), param.u32(), param.i64(), param.text(), param.list());
                }
                let _ = record.result();
            }
            let _ = Record::decode_live(&bytes);
        }
    }
}

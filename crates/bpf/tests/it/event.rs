//! Enough of a decoder to look at records.

use palisade_bpf::Record;

/// A record, owned, with its parameters apart.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: u16,
    pub(crate) time_ns: u64,
    pub(crate) tid: u64,
    pub(crate) tgid: u32,
    pub(crate) ppid: u32,
    pub(crate) uid: u32,
    pub(crate) cgroup_id: u64,
    pub(crate) flags: u16,
    pub(crate) start_boottime_ns: u64,
    pub(crate) params: Vec<Vec<u8>>,
    pub(crate) raw_path: Option<Vec<u8>>,
    pub(crate) fd_path: Option<Vec<u8>>,
}

impl Event {
    pub(crate) fn new(record: &Record<'_>) -> Self {
        let event = record.event();
        let n = record.n_params() as usize;
        let mut at = 26 + 2 * n;
        let params = (0..n)
            .map(|i| {
                let len = u16::from_le_bytes([event[26 + 2 * i], event[27 + 2 * i]]) as usize;
                at += len;
                event[at - len..at].to_vec()
            })
            .collect();
        assert_eq!(at, event.len(), "lengths of the parameters add up: {record:?}");
        Self {
            kind: record.event_type(),
            time_ns: record.time_ns(),
            tid: record.tid(),
            tgid: record.tgid(),
            ppid: record.ppid(),
            uid: record.uid(),
            cgroup_id: record.cgroup_id(),
            flags: record.flags(),
            start_boottime_ns: record.start_boottime_ns(),
            params,
            raw_path: record.raw_path().map(<[u8]>::to_vec),
            fd_path: record.fd_path().map(<[u8]>::to_vec),
        }
    }

    /// An integer parameter of any width, sign-extended when it has eight bytes.
    pub(crate) fn int(&self, index: usize) -> i64 {
        let mut bytes = [0; 8];
        bytes[..self.params[index].len()].copy_from_slice(&self.params[index]);
        i64::from_le_bytes(bytes)
    }

    /// A text parameter without its NUL, or NUL-separated texts joined by blanks.
    pub(crate) fn text(&self, index: usize) -> String {
        let bytes = self.params[index].strip_suffix(&[0]).unwrap_or(&self.params[index]);
        String::from_utf8_lossy(bytes).replace('\0', " ")
    }
}

//! The ledger of id ranges: each container's own 65,536 host ids, never given twice.
//!
//! Files that a container wrote somewhere (a volume, a backup) keep its ids after it is
//! gone. A range that came back would own them, so ranges are handed out in order and
//! not returned. The ledger is one number in a file, replaced atomically under a lock.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use palisade_harden::IdRange;
use serde::{Deserialize, Serialize};

use crate::error::IdsError;
use crate::lock::Lock;

/// Ids of one container.
pub const IDS_PER_CONTAINER: u32 = 65_536;

/// Bytes of the ledger that are read.
const LEDGER_BYTES_MAX: u64 = 4096;
/// Bytes of `/etc/subuid` that are read.
const SUBIDS_BYTES_MAX: u64 = 1 << 20;
/// How long another process may hold the ledger.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// The host ids that may be handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSpace {
    /// From here, up to but not including the end.
    pub ids: Range<u32>,
    /// Ranges that belong to others, such as users' subordinate ids.
    pub reserved: Vec<Range<u32>>,
}

impl IdSpace {
    /// Ids above those that distributions give to users and their subordinate ranges, and
    /// below the end of the range that systemd leaves free (2,147,352,576: see its
    /// "Users, Groups, UIDs and GIDs").
    pub const DEFAULT_IDS: Range<u32> = 0x0100_0000..0x7ffe_0000;

    /// The default space without what `/etc/subuid` and `/etc/subgid` give to users.
    pub fn of_this_machine() -> Self {
        let mut reserved = Vec::new();
        for path in ["/etc/subuid", "/etc/subgid"] {
            // A machine without the file has given nothing away.
            let Ok(file) = std::fs::File::open(path) else {
                continue;
            };
            let Ok(bytes) = palisade_base::read_bounded(file, "subuid", SUBIDS_BYTES_MAX) else {
                continue;
            };
            reserved.extend(parse_subids(&String::from_utf8_lossy(&bytes)));
        }
        Self { ids: Self::DEFAULT_IDS, reserved }
    }

    fn range_at(&self, first: u32) -> Option<Range<u32>> {
        let mut first = first.max(self.ids.start).checked_next_multiple_of(IDS_PER_CONTAINER)?;
        loop {
            let end = first.checked_add(IDS_PER_CONTAINER)?;
            if end > self.ids.end {
                return None;
            }
            match self.reserved.iter().find(|taken| taken.start < end && first < taken.end) {
                Some(taken) => first = taken.end.checked_next_multiple_of(IDS_PER_CONTAINER)?,
                None => return Some(first..end),
            }
        }
    }
}

/// Reads `subuid(5)`: `user:first:count`.
fn parse_subids(text: &str) -> impl Iterator<Item = Range<u32>> + '_ {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':').skip(1);
        let first: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        Some(first..first.saturating_add(count))
    })
}

/// What is on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Ledger {
    /// The first id that was never handed out.
    next: u32,
}

/// The ledger of one machine.
#[derive(Debug)]
pub struct IdLedger {
    path: PathBuf,
    space: IdSpace,
}

impl IdLedger {
    /// The ledger at `path`, which need not exist yet, in a folder of its own, which must.
    pub fn new(path: PathBuf, space: IdSpace) -> Self {
        Self { path, space }
    }

    /// Hands out the next range. It is written down before it is returned.
    pub fn allocate(&self) -> Result<IdRange, IdsError> {
        let _lock = Lock::exclusive(&self.path.with_extension("lock"), LOCK_DEADLINE)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
            .map_err(self.io("lock"))?;
        let range = self.next()?;
        let next = range.first.saturating_add(range.count);
        let ledger = serde_json::to_vec(&Ledger { next })
            .map_err(|_| IdsError::Damaged(self.path.clone()))?;
        self.sweep();
        palisade_base::fs::write_atomic(&self.path, &ledger, 0o600).map_err(self.io("write"))?;
        Ok(range)
    }

    /// The range that would be handed out next, for explanations: it is not reserved.
    pub fn next(&self) -> Result<IdRange, IdsError> {
        let next = match std::fs::File::open(&self.path) {
            Ok(file) => {
                let bytes = palisade_base::read_bounded(file, "ledger", LEDGER_BYTES_MAX)
                    .map_err(self.io("read"))?;
                let ledger: Ledger = serde_json::from_slice(&bytes)
                    .map_err(|_| IdsError::Damaged(self.path.clone()))?;
                ledger.next
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.space.ids.start,
            Err(error) => return Err(self.io("read")(error)),
        };
        let n_ranges = u64::from((self.space.ids.end - self.space.ids.start) / IDS_PER_CONTAINER);
        let range = self.space.range_at(next).ok_or(IdsError::Exhausted { n_ranges })?;
        Ok(IdRange { first: range.start, count: IDS_PER_CONTAINER })
    }

    fn io(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> IdsError {
        let path = self.path.clone();
        move |source| IdsError::Io { action, path, source }
    }

    /// Removes what writers that were killed left; whoever holds the lock is the only one.
    fn sweep(&self) {
        let entries = self.path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".tmp") {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn ledger(folder: &tempfile::TempDir, n_ranges: u32, reserved: Vec<Range<u32>>) -> IdLedger {
        let first = 0x0100_0000;
        let ids = first..first + n_ranges * IDS_PER_CONTAINER;
        IdLedger::new(folder.path().join("ids.json"), IdSpace { ids, reserved })
    }

    #[test]
    fn no_range_is_handed_out_twice_even_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let taken: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let ledger = ledger(&folder, 64, Vec::new());
                        (0..8).map(|_| ledger.allocate().unwrap().first).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 64);
        assert!(matches!(
            ledger(&folder, 64, Vec::new()).allocate(),
            Err(IdsError::Exhausted { n_ranges: 64 })
        ));
    }

    #[test]
    fn ranges_of_others_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let reserved = parse_subids("user:16777300:65536\n# rubbish\nx:y:z\nlast:1:4294967295\n")
            .take(1)
            .collect();
        let ledger = ledger(&folder, 3, reserved);
        // The reserved ids straddle the first two ranges, so the third is the first free.
        assert_eq!(ledger.allocate().unwrap().first, 0x0100_0000 + 2 * IDS_PER_CONTAINER);
        assert!(ledger.allocate().is_err());
    }

    #[test]
    fn a_damaged_ledger_is_never_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder, 3, Vec::new());
        std::fs::write(folder.path().join("ids.json"), "{\"next\":").unwrap();
        assert!(matches!(ledger.allocate(), Err(IdsError::Damaged(_))));
        std::fs::write(folder.path().join("ids.json"), "{\"next\": 4294967295}").unwrap();
        assert!(matches!(ledger.allocate(), Err(IdsError::Exhausted { .. })));
    }
}

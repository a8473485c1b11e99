//! The ledger of id ranges: each container's own 65,536 host ids, never given twice.
//!
//! Files that a container wrote somewhere (a volume, a backup) keep its ids after it is
//! gone. A range that came back would own them, so ranges are handed out in order and
//! not returned. The ledger is one number in a file, replaced atomically under a lock.
//!
//! To flush a disk takes longer than to make a container. The number therefore runs ahead by some
//! ranges, and which of them are left is noted beside it without a flush, for this boot of the
//! machine alone: whatever of that a power failure loses, none comes back.
//!
//! Each data folder has a ledger of its own. What two of them hand out at one time differs by the
//! machine's register: for each range a symbolic link to what its holder has on disk, which is
//! never followed and counts for nothing when that is gone. It needs no flush either: no container
//! outlives the machine.

use std::ops::Range;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_harden::IdRange;
use serde::{Deserialize, Serialize};

use crate::error::IdsError;
use crate::lock::Lock;
use crate::paths::make_folder;

/// Ids of one container.
pub const IDS_PER_CONTAINER: u32 = 65_536;

/// Ranges that are set aside at once: a flush for each so many containers, and what the end of a
/// boot loses at most.
const RANGES_SET_ASIDE: u32 = 16;
/// Which boot of the machine it is (`random(4)`).
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
/// Bytes of that which are read.
const BOOT_BYTES_MAX: u64 = 64;

/// Bytes of the ledger that are read.
const LEDGER_BYTES_MAX: u64 = 4096;
/// Bytes of `/etc/subuid` that are read.
const SUBIDS_BYTES_MAX: u64 = 1 << 20;
/// How long another process may hold the ledger.
const LOCK_DEADLINE: Duration = Duration::from_secs(10);

/// Who of a machine has which range, whatever the data folders.
const REGISTER: &str = "/var/lib/palisade/ranges";
/// Bytes of a path in the register that are read.
const HOLDER_BYTES_MAX: u64 = 4096;
/// Entries of the register that one allocation looks at; the next ones go on.
const ENTRIES_LOOKED_AT: usize = 256;

/// The host ids that may be handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSpace {
    /// From here, up to but not including the end.
    pub ids: Range<u32>,
    /// Lists of what belongs to others (`subuid(5)`); one that is absent gives nothing away.
    pub lists: Vec<PathBuf>,
    /// The folder of the machine's register; without it no other ledger is looked at.
    pub register: Option<PathBuf>,
}

impl IdSpace {
    /// Ids above those that distributions give to users and their subordinate ranges, and
    /// below the end of the range that systemd leaves free (2,147,352,576: see its
    /// "Users, Groups, UIDs and GIDs").
    pub const DEFAULT_IDS: Range<u32> = 0x0100_0000..0x7ffe_0000;

    /// The default space without what `/etc/subuid` and `/etc/subgid` give to users.
    pub fn of_this_machine() -> Self {
        Self {
            ids: Self::DEFAULT_IDS,
            lists: vec!["/etc/subuid".into(), "/etc/subgid".into()],
            register: Some(REGISTER.into()),
        }
    }

    /// What the lists give to others.
    fn reserved(&self) -> Result<Vec<Range<u32>>, IdsError> {
        let mut reserved = Vec::new();
        for path in &self.lists {
            let read = match std::fs::File::open(path) {
                Ok(file) => palisade_base::read_bounded(file, "list of ids", SUBIDS_BYTES_MAX),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => Err(error),
            };
            let bytes = read.map_err(|source| IdsError::List { path: path.clone(), source })?;
            reserved.extend(parse_subids(&String::from_utf8_lossy(&bytes)));
        }
        Ok(reserved)
    }

    fn range_at(&self, first: u32, reserved: &[Range<u32>]) -> Option<Range<u32>> {
        let mut first = first.max(self.ids.start).checked_next_multiple_of(IDS_PER_CONTAINER)?;
        loop {
            let end = first.checked_add(IDS_PER_CONTAINER)?;
            if end > self.ids.end {
                return None;
            }
            match reserved.iter().find(|taken| taken.start < end && first < taken.end) {
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

/// What is on disk for ever.
#[derive(Debug, Serialize, Deserialize)]
struct Ledger {
    /// The first id that was never set aside.
    next: u32,
}

/// What is left of the ranges that were set aside last.
#[derive(Debug, Serialize, Deserialize)]
struct Aside {
    /// The boot of the machine in which it holds.
    boot: String,
    /// The first id that was not handed out.
    next: u32,
    /// The end, which is the ledger's number: with another it counts for nothing.
    end: u32,
}

/// The ledger of one data folder.
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

    /// Hands out the next range. It is written down before it is returned, for as long as there
    /// is something at `holder`, an absolute path.
    pub fn allocate(&self, holder: &Path) -> Result<IdRange, IdsError> {
        let _lock = lock(&self.path.with_extension("lock"))?;
        let _machine = self.lock_register()?;
        let never = self.never_set_aside()?;
        let boot = boot();
        let range = self.free_from(self.first_left(never, boot.as_deref()))?;
        if let Some(entry) = self.entry(range.start) {
            register(&entry, holder).map_err(io("write", &entry))?;
        }
        sweep(self.path.parent());
        self.forget_gone(range.start / IDS_PER_CONTAINER);
        let end = if range.end <= never {
            never
        } else {
            // Without a boot to note them for, none more than is needed.
            let n_more = if boot.is_some() { RANGES_SET_ASIDE - 1 } else { 0 };
            let end = range.end.saturating_add(n_more * IDS_PER_CONTAINER).min(self.space.ids.end);
            let ledger = serde_json::to_vec(&Ledger { next: end })
                .map_err(|_| IdsError::Damaged(self.path.clone()))?;
            palisade_base::fs::write_atomic(&self.path, &ledger, 0o600)
                .map_err(io("write", &self.path))?;
            end
        };
        if let Some(boot) = boot {
            let path = self.aside();
            let aside = serde_json::to_vec(&Aside { boot, next: range.end, end })
                .map_err(|_| IdsError::Damaged(path.clone()))?;
            palisade_base::fs::write_unnamed(&path, &aside, 0o600, None)
                .map_err(io("write", &path))?;
        }
        Ok(IdRange { first: range.start, count: IDS_PER_CONTAINER })
    }

    /// Takes what `holder` had out of the machine's register.
    pub fn release(&self, range: IdRange, holder: &Path) -> Result<(), IdsError> {
        let Some(entry) = self.entry(range.first) else { return Ok(()) };
        let _machine = self.lock_register()?;
        if holder_of(&entry)?.as_deref() == Some(holder) {
            std::fs::remove_file(&entry).map_err(io("write", &entry))?;
        }
        Ok(())
    }

    /// The same for whatever range `holder` has, where nobody knows which: one that was to be a
    /// container and has no record yet.
    pub(crate) fn release_all_of(&self, holder: &Path) -> Result<(), IdsError> {
        let Some(folder) = self.space.register.as_ref().filter(|folder| folder.is_dir()) else {
            return Ok(());
        };
        let _machine = self.lock_register()?;
        for entry in ranges_in(folder) {
            // A damaged one is nobody's.
            if holder_of(&entry).is_ok_and(|of| of.as_deref() == Some(holder)) {
                std::fs::remove_file(&entry).map_err(io("write", &entry))?;
            }
        }
        Ok(())
    }

    /// Takes entries out of the register whose holders are gone: whoever was killed took out none,
    /// and nobody else would. Looks at a few of them, others for each `turn`; the lock is held.
    fn forget_gone(&self, turn: u32) {
        let Some(folder) = &self.space.register else { return };
        let mut entries = ranges_in(folder);
        entries.sort();
        let n = entries.len();
        let from = usize::try_from(turn).unwrap_or(0).wrapping_mul(ENTRIES_LOOKED_AT);
        for entry in entries
            .iter()
            .cycle()
            .skip(from.checked_rem(n).unwrap_or(0))
            .take(n.min(ENTRIES_LOOKED_AT))
        {
            // What cannot be read or looked at may be somebody's.
            let holder = holder_of(entry).ok().flatten();
            if holder.is_some_and(|holder| matches!(holder.try_exists(), Ok(false))) {
                let _ = std::fs::remove_file(entry);
            }
        }
    }

    fn entry(&self, first: u32) -> Option<PathBuf> {
        Some(self.space.register.as_ref()?.join(first.to_string()))
    }

    /// Nobody else hands out a range while this is held.
    fn lock_register(&self) -> Result<Option<Lock>, IdsError> {
        let Some(folder) = &self.space.register else { return Ok(None) };
        for folder in folder.parent().into_iter().chain([folder.as_path()]) {
            make_folder(folder, 0o700)
                .map_err(|error| io("make", folder)(std::io::Error::other(error)))?;
        }
        lock(&folder.join("lock")).map(Some)
    }

    /// Whether a range of this or another data folder begins at `first`, and is in use.
    fn is_held(&self, first: u32) -> Result<bool, IdsError> {
        let Some(entry) = self.entry(first) else { return Ok(false) };
        let Some(holder) = holder_of(&entry)? else { return Ok(false) };
        // What cannot be looked at may be there.
        Ok(holder.try_exists().unwrap_or(true))
    }

    /// The range that would be handed out next, for explanations: it is not reserved.
    pub fn next(&self) -> Result<IdRange, IdsError> {
        let from = self.first_left(self.never_set_aside()?, boot().as_deref());
        let range = self.free_from(from)?;
        Ok(IdRange { first: range.start, count: IDS_PER_CONTAINER })
    }

    /// The first id that was never set aside.
    fn never_set_aside(&self) -> Result<u32, IdsError> {
        match std::fs::File::open(&self.path) {
            Ok(file) => {
                let bytes = palisade_base::read_bounded(file, "ledger", LEDGER_BYTES_MAX)
                    .map_err(io("read", &self.path))?;
                let ledger: Ledger = serde_json::from_slice(&bytes)
                    .map_err(|_| IdsError::Damaged(self.path.clone()))?;
                Ok(ledger.next)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(self.space.ids.start),
            Err(error) => Err(io("read", &self.path)(error)),
        }
    }

    /// Where what is left of the ranges set aside is noted.
    fn aside(&self) -> PathBuf {
        self.path.with_extension("aside")
    }

    /// The first id of what was set aside before `never` and is left in this boot, or `never`.
    fn first_left(&self, never: u32, boot: Option<&str>) -> u32 {
        let read = || -> Option<Aside> {
            let file = std::fs::File::open(self.aside()).ok()?;
            let bytes = palisade_base::read_bounded(file, "note", LEDGER_BYTES_MAX).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        // Without it, or with one of another time, what was left is lost.
        let holds = |aside: &Aside| {
            Some(aside.boot.as_str()) == boot && aside.end == never && aside.next <= never
        };
        read().filter(holds).map_or(never, |aside| aside.next)
    }

    /// The first range at or after `from` that is nobody's.
    fn free_from(&self, mut from: u32) -> Result<Range<u32>, IdsError> {
        let reserved = self.space.reserved()?;
        let n_ranges = u64::from((self.space.ids.end - self.space.ids.start) / IDS_PER_CONTAINER);
        loop {
            let range = self.space.range_at(from, &reserved);
            let range = range.ok_or(IdsError::Exhausted { n_ranges })?;
            if !self.is_held(range.start)? {
                return Ok(range);
            }
            from = range.end;
        }
    }
}

/// Which boot of the machine this is, if that can be known.
fn boot() -> Option<String> {
    let file = std::fs::File::open(BOOT).ok()?;
    let bytes = palisade_base::read_bounded(file, "boot", BOOT_BYTES_MAX).ok()?;
    let boot = String::from_utf8(bytes).ok()?.trim().to_string();
    (!boot.is_empty()).then_some(boot)
}

/// Puts `holder` into the register as `entry`, in place of one whose holder is gone.
fn register(entry: &Path, holder: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(entry) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(holder, entry)
}

fn lock(path: &Path) -> Result<Lock, IdsError> {
    Lock::exclusive(path, LOCK_DEADLINE)
        .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::TimedOut.into()))
        .map_err(io("lock", path))
}

/// The entries of a register: one for each range, named by its first id.
fn ranges_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |name: &std::ffi::OsStr| name.as_bytes().iter().all(u8::is_ascii_digit);
    entries.filter(|entry| is_one(&entry.file_name())).map(|entry| entry.path()).collect()
}

/// Whose range an entry of the register is; `None` without one.
fn holder_of(entry: &Path) -> Result<Option<PathBuf>, IdsError> {
    let holder = match std::fs::read_link(entry) {
        Ok(holder) => holder,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // No link: releases before this one wrote the path into a file.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            let file = std::fs::File::open(entry).map_err(io("read", entry))?;
            let bytes = palisade_base::read_bounded(file, "register", HOLDER_BYTES_MAX)
                .map_err(io("read", entry))?;
            PathBuf::from(std::ffi::OsString::from_vec(bytes))
        }
        Err(error) => return Err(io("read", entry)(error)),
    };
    if !holder.is_absolute() {
        return Err(IdsError::Damaged(entry.to_path_buf()));
    }
    Ok(Some(holder))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> IdsError {
    let path = path.to_path_buf();
    move |source| IdsError::Io { action, path, source }
}

/// Removes what writers that were killed left; whoever holds the lock is the only one.
pub(crate) fn sweep(folder: Option<&Path>) {
    let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
    for entry in entries.into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const FIRST: u32 = 0x0100_0000;

    fn ledger(folder: &tempfile::TempDir, n_ranges: u32) -> IdLedger {
        let ids = FIRST..FIRST + n_ranges * IDS_PER_CONTAINER;
        let lists = vec![folder.path().join("subuid"), folder.path().join("subgid")];
        IdLedger::new(folder.path().join("ids.json"), IdSpace { ids, lists, register: None })
    }

    #[test]
    fn no_range_is_handed_out_twice_even_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let taken: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let ledger = ledger(&folder, 64);
                        let holder = folder.path();
                        (0..8).map(|_| ledger.allocate(holder).unwrap().first).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 64);
        assert!(matches!(
            ledger(&folder, 64).allocate(folder.path()),
            Err(IdsError::Exhausted { n_ranges: 64 })
        ));
    }

    #[test]
    fn ranges_of_others_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let text = "user:16777300:65536\n# rubbish\nx:y:z\n";
        std::fs::write(folder.path().join("subgid"), text).unwrap();
        let ledger = ledger(&folder, 3);
        // The reserved ids straddle the first two ranges, so the third is the first free.
        let allocate = || ledger.allocate(folder.path());
        assert_eq!(allocate().unwrap().first, FIRST + 2 * IDS_PER_CONTAINER);
        assert!(allocate().is_err());
    }

    /// Nobody knows what a list that cannot be read gives to others.
    #[test]
    fn a_list_that_cannot_be_read_is_no_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder, 3);
        let list = folder.path().join("subuid");
        let check = |is_good: bool| match (ledger.next(), ledger.allocate(folder.path())) {
            (Ok(_), Ok(_)) => assert!(is_good),
            (Err(IdsError::List { path, .. }), Err(IdsError::List { .. })) => {
                assert!(!is_good && path == list);
            }
            other => panic!("{other:?}"),
        };
        check(true);
        std::fs::write(&list, vec![b'#'; usize::try_from(SUBIDS_BYTES_MAX).unwrap() + 1]).unwrap();
        check(false);
        std::fs::remove_file(&list).unwrap();
        std::fs::create_dir(&list).unwrap();
        check(false);
        std::fs::remove_dir(&list).unwrap();
        check(true);
    }

    #[test]
    fn two_data_folders_never_have_one_range_at_a_time() {
        let (machine, one, other) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        let register = machine.path().join("ranges");
        let ledger = |folder: &tempfile::TempDir| {
            let mut ledger = ledger(folder, 4);
            ledger.space.register = Some(register.clone());
            ledger
        };
        let (first, second) = (ledger(&one), ledger(&other));
        let holder = |name: &str| {
            let path = machine.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let at = |n: u32| FIRST + n * IDS_PER_CONTAINER;
        let (a, b, c) = (holder("a"), holder("b"), holder("c"));
        assert_eq!(first.allocate(&a).unwrap().first, at(0));
        assert_eq!(second.next().unwrap().first, at(1));
        assert_eq!(second.allocate(&b).unwrap().first, at(1));
        assert_eq!(first.allocate(&c).unwrap().first, at(2));
        // What is released is free for the other folder, and not for its own.
        let range = |n: u32| IdRange { first: at(n), count: IDS_PER_CONTAINER };
        second.release(range(2), &b).unwrap();
        assert!(first.is_held(at(2)).unwrap(), "it is another's");
        first.release(range(2), &c).unwrap();
        assert_eq!(second.allocate(&c).unwrap().first, at(2));
        assert_eq!(first.next().unwrap().first, at(3));
        // So is what somebody killed has left, as soon as its holder is gone.
        let d = holder("d");
        assert_eq!(first.allocate(&d).unwrap().first, at(3));
        assert!(second.allocate(&c).is_err());
        std::fs::remove_dir(&d).unwrap();
        assert_eq!(second.allocate(&c).unwrap().first, at(3));
        // A damaged entry is nobody's to guess at.
        std::fs::remove_file(register.join(at(0).to_string())).unwrap();
        std::fs::write(register.join(at(0).to_string()), "").unwrap();
        let third = tempfile::tempdir().unwrap();
        assert!(matches!(ledger(&third).allocate(&a), Err(IdsError::Damaged(_))));
    }

    /// Who was killed before its container had a record took nothing out of the register.
    #[test]
    fn ranges_of_holders_that_are_gone_are_forgotten_and_no_others() {
        let machine = tempfile::tempdir().unwrap();
        let register = machine.path().join("ranges");
        let mut ledger = ledger(&machine, 1000);
        ledger.space.register = Some(register.clone());
        let (here, gone) = (machine.path().join("here"), machine.path().join("gone"));
        std::fs::create_dir(&here).unwrap();
        let mut kept: Vec<u32> = (0..300).map(|_| ledger.allocate(&here).unwrap().first).collect();
        let names = || -> BTreeSet<u32> {
            let name = |entry: PathBuf| entry.file_name()?.to_str()?.parse().ok();
            ranges_in(&register).into_iter().filter_map(name).collect()
        };
        for n in 0..300 {
            let entry = register.join((FIRST + (600 + n) * IDS_PER_CONTAINER).to_string());
            std::fs::write(entry, gone.as_os_str().as_bytes()).unwrap();
        }
        let damaged = FIRST + 950 * IDS_PER_CONTAINER;
        std::fs::write(register.join(damaged.to_string()), "relative").unwrap();
        // A few at a time: a full register keeps nobody waiting.
        kept.push(ledger.allocate(&here).unwrap().first);
        assert!(names().len() > kept.len() + 1);
        for _ in 0..20 {
            kept.push(ledger.allocate(&here).unwrap().first);
        }
        kept.push(damaged);
        assert_eq!(names(), kept.into_iter().collect());
    }

    #[test]
    fn a_holder_gives_back_what_nobody_noted() {
        let machine = tempfile::tempdir().unwrap();
        let register = machine.path().join("ranges");
        let mut ledger = ledger(&machine, 4);
        ledger.release_all_of(machine.path()).unwrap();
        ledger.space.register = Some(register.clone());
        ledger.release_all_of(machine.path()).unwrap();
        assert!(!register.exists(), "nothing is made for nothing");
        let (one, other) = (machine.path().join("one"), machine.path().join("other"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&other).unwrap();
        ledger.allocate(&one).unwrap();
        let kept = ledger.allocate(&other).unwrap();
        ledger.release_all_of(&one).unwrap();
        assert_eq!(ranges_in(&register), [register.join(kept.first.to_string())]);
    }

    /// A power failure keeps what was flushed, and may bring back anything of the rest.
    #[test]
    fn what_was_set_aside_is_lost_with_the_boot_and_never_given_again() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder, 40);
        let note = folder.path().join("ids.aside");
        let allocate =
            || (ledger.allocate(folder.path()).unwrap().first - FIRST) / IDS_PER_CONTAINER;
        let flushed = || std::fs::read_to_string(folder.path().join("ids.json")).unwrap();
        assert_eq!([allocate(), allocate()], [0, 1]);
        let (first, older) = (flushed(), std::fs::read_to_string(&note).unwrap());
        assert_eq!([allocate(), allocate()], [2, 3]);
        assert_eq!(flushed(), first, "one flush for all of them");
        // In another boot.
        std::fs::write(&note, older.replace(&boot().unwrap(), "x")).unwrap();
        assert_eq!(ledger.next().unwrap().first, FIRST + 16 * IDS_PER_CONTAINER);
        assert_eq!([allocate(), allocate()], [16, 17]);
        std::fs::write(&note, "{\"boot\"").unwrap();
        assert_eq!([allocate(), allocate()], [32, 33]);
        // The last ones of the space were set aside together.
        std::fs::remove_file(&note).unwrap();
        assert!(matches!(ledger.allocate(folder.path()), Err(IdsError::Exhausted { .. })));
        // A note of this boot, of a ledger that somebody set since.
        std::fs::write(folder.path().join("ids.json"), format!("{{\"next\":{FIRST}}}")).unwrap();
        std::fs::write(&note, older).unwrap();
        assert_eq!(allocate(), 0);
    }

    /// What releases before this one wrote counts as well.
    #[test]
    fn the_register_is_read_in_both_forms_and_no_link_of_it_is_followed() {
        let machine = tempfile::tempdir().unwrap();
        let register = machine.path().join("ranges");
        let mut ledger = ledger(&machine, 4);
        ledger.space.register = Some(register.clone());
        std::fs::create_dir(&register).unwrap();
        let entry = |n: u32| register.join((FIRST + n * IDS_PER_CONTAINER).to_string());
        std::fs::write(entry(0), machine.path().as_os_str().as_bytes()).unwrap();
        assert_eq!(ledger.allocate(machine.path()).unwrap().first, FIRST + IDS_PER_CONTAINER);
        assert_eq!(std::fs::read_link(entry(1)).unwrap(), machine.path());
        let gone = machine.path().join("gone");
        std::fs::write(entry(2), gone.as_os_str().as_bytes()).unwrap();
        assert_eq!(ledger.allocate(machine.path()).unwrap().first, FIRST + 2 * IDS_PER_CONTAINER);
        ledger.release_all_of(machine.path()).unwrap();
        assert!(ranges_in(&register).is_empty());
        std::os::unix::fs::symlink("relative", entry(3)).unwrap();
        assert!(matches!(ledger.allocate(machine.path()), Err(IdsError::Damaged(_))));
    }

    #[test]
    fn a_damaged_ledger_is_never_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = ledger(&folder, 3);
        std::fs::write(folder.path().join("ids.json"), "{\"next\":").unwrap();
        assert!(matches!(ledger.allocate(folder.path()), Err(IdsError::Damaged(_))));
        std::fs::write(folder.path().join("ids.json"), "{\"next\": 4294967295}").unwrap();
        assert!(matches!(ledger.allocate(folder.path()), Err(IdsError::Exhausted { .. })));
    }
}

//! An append-only, hash-chained file of JSON lines that survives the death of its writer.
//!
//! A record is one line, written by one `write(2)`: after a SIGKILL the file holds whole
//! lines and at most one torn one at its end, which opening cuts off. [`Sync::Yes`] adds
//! `fdatasync(2)`, for what must survive the machine's death as well. Each line carries
//! the digest of the line before it, so a line that was changed or taken out is found.
//!
//! The file is rotated when it reaches its bound: the caller passes the records that are
//! still needed, which begin the new file. One writer at a time holds the file's lock.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Explain};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest line, in bytes; a longer record is refused.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Largest file that is read back; files are rotated long before.
pub const FILE_BYTES_MAX: u64 = 1 << 30;
/// Old files kept after a rotation.
pub const OLD_FILES_MAX: usize = 4;

/// How often the lock is tried again.
const LOCK_ATTEMPTS_MAX: u32 = 10;
/// Time between two attempts.
const LOCK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);

/// Whether a record must survive the machine's death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// It is on the disk when `append` returns.
    Yes,
    /// It survives the process, not the machine.
    No,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file system refused.
    #[error("{action} journal `{path}`")]
    Io {
        /// `open`, `read`, `append to`, `rotate`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process writes it.
    #[error("journal `{0}` is in use by another process")]
    Locked(PathBuf),
    /// A record is larger than a line may be.
    #[error("record of {0} bytes is too long for the journal")]
    TooLong(usize),
    /// A record does not serialise.
    #[error("serialise a journal record")]
    Serialise(#[source] serde_json::Error),
}

impl Explain for JournalError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Locked(_) => {
                "stop the other `palisade watch`, or choose another state folder".into()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free space in the state folder".into()
            }
            Self::Io { .. } => "check that the state folder exists and is writable by root".into(),
            Self::TooLong(_) | Self::Serialise(_) => return None,
        })
    }
}

/// What opening a journal found, besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Records read.
    pub n_records: u64,
    /// Bytes of a torn last line that were cut off.
    pub n_torn_bytes: u64,
    /// Whole lines that are no records of this journal.
    pub n_unreadable: u64,
    /// Lines that do not continue the line before them: something was changed.
    pub n_chain_breaks: u64,
}

/// A journal of records of type `T`.
#[derive(Debug)]
pub struct Journal<T> {
    file: File,
    path: PathBuf,
    n_bytes: u64,
    bytes_max: u64,
    next: u64,
    last: Digest,
    records: PhantomData<T>,
}

/// One line of the file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Line<T> {
    pub(crate) seq: u64,
    prev: Digest,
    pub(crate) record: T,
}

impl<T: Serialize + DeserializeOwned> Journal<T> {
    /// Opens or creates the journal at `path`, repairs its end and returns its records.
    ///
    /// `bytes_max` is the size at which [`Journal::is_full`] asks for a rotation.
    pub fn open(path: &Path, bytes_max: u64) -> Result<(Self, Vec<T>, Recovery), JournalError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let failed = |action| {
            let path = path.to_path_buf();
            move |source| JournalError::Io { action, path, source }
        };
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)
            .map_err(failed("open"))?;
        lock(&file, path)?;
        let mut bytes = Vec::new();
        (&mut file).take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("read"))?;
        let mut parsed = parse_lines(&bytes);
        if bytes.is_empty()
            && let Some((next, last)) = end_of(&numbered(path, "1"))
        {
            // Somebody took the file away: numbers go on, so that none is used twice.
            (parsed.next, parsed.last) = (next, last);
        }
        if parsed.recovery.n_torn_bytes > 0 {
            file.set_len(parsed.n_whole_bytes).map_err(failed("repair"))?;
            file.sync_all().map_err(failed("repair"))?;
        }
        let journal = Self {
            file,
            path: path.to_path_buf(),
            n_bytes: parsed.n_whole_bytes,
            bytes_max,
            next: parsed.next,
            last: parsed.last,
            records: PhantomData,
        };
        Ok((journal, parsed.records, parsed.recovery))
    }

    /// Appends one record.
    pub fn append(&mut self, record: &T, sync: Sync) -> Result<(), JournalError> {
        let line = Line { seq: self.next, prev: self.last, record };
        let mut bytes = serde_json::to_vec(&line).map_err(JournalError::Serialise)?;
        if bytes.len() > LINE_BYTES_MAX {
            return Err(JournalError::TooLong(bytes.len()));
        }
        let digest = Digest::of(&bytes);
        bytes.push(b'\n');
        if let Err(source) = self.file.write_all(&bytes) {
            // A part of the line may be in the file; later lines must not continue it.
            let _ = self.file.set_len(self.n_bytes);
            return Err(self.failed("append to", source));
        }
        self.n_bytes += bytes.len() as u64;
        self.next += 1;
        self.last = digest;
        if sync == Sync::Yes { self.sync() } else { Ok(()) }
    }

    /// Puts everything appended so far on the disk.
    pub fn sync(&self) -> Result<(), JournalError> {
        self.file.sync_data().map_err(|source| self.failed("sync", source))
    }

    /// A second handle on the file, by which another thread can put it on the disk.
    pub fn disk_handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Whether the file has reached its bound and is to be rotated.
    pub fn is_full(&self) -> bool {
        self.n_bytes >= self.bytes_max
    }

    /// The number that the next record will have; numbers go on across rotations.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// Size of the file in bytes.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Starts a new file that begins with `carried`; the old one becomes `NAME.1`, and
    /// [`OLD_FILES_MAX`] old ones are kept.
    ///
    /// The new file is complete before it takes the name, so a crash leaves either.
    pub fn rotate<'t>(
        &mut self,
        carried: impl IntoIterator<Item = &'t T>,
    ) -> Result<(), JournalError>
    where
        T: 't,
    {
        let fresh_path = numbered(&self.path, "new");
        match std::fs::remove_file(&fresh_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("rotate", error));
            }
            _ => {}
        }
        let (mut fresh, _, _) = Self::open(&fresh_path, self.bytes_max)?;
        fresh.next = self.next;
        fresh.last = self.last;
        for record in carried {
            fresh.append(record, Sync::No)?;
        }
        fresh.sync()?;
        for i in (1..OLD_FILES_MAX).rev() {
            let from = numbered(&self.path, &i.to_string());
            match std::fs::rename(&from, numbered(&self.path, &(i + 1).to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(self.failed("rotate", error));
                }
                _ => {}
            }
        }
        // A link first, so that the name never is without a whole journal.
        let old = numbered(&self.path, "1");
        let renamed = std::fs::remove_file(&old)
            .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .and_then(|()| std::fs::hard_link(&self.path, &old))
            .and_then(|()| std::fs::rename(&fresh_path, &self.path));
        renamed.map_err(|source| self.failed("rotate", source))?;
        fresh.path.clone_from(&self.path);
        *self = fresh;
        Ok(())
    }

    fn failed(&self, action: &'static str, source: io::Error) -> JournalError {
        JournalError::Io { action, path: self.path.clone(), source }
    }
}

/// Number and digest with which the journal goes on after the file at `path`.
fn end_of(path: &Path) -> Option<(u64, Digest)> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    let parsed = parse_lines::<serde::de::IgnoredAny>(&bytes);
    (parsed.recovery.n_records > 0).then_some((parsed.next, parsed.last))
}

pub(crate) fn numbered(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Takes the file's lock. A process that was forked off its last holder and has not called
/// exec(2) yet still has it for a moment, so the first refusal is not believed.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    use rustix::fs::{FlockOperation, flock};
    let mut n_attempts = 0;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if n_attempts < LOCK_ATTEMPTS_MAX => {
                n_attempts += 1;
                std::thread::sleep(LOCK_INTERVAL);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(JournalError::Locked(path.to_path_buf()));
            }
            Err(error) => {
                let path = path.to_path_buf();
                return Err(JournalError::Io { action: "lock", path, source: error.into() });
            }
        }
    }
}

/// Reads the records of the journal at `path` without opening it for writing: for those
/// who look while somebody else writes. A torn last line is left out and left alone; a
/// journal that is not there has no records.
pub fn read_records<T: DeserializeOwned>(path: &Path) -> Result<(Vec<T>, Recovery), JournalError> {
    let failed = |source| JournalError::Io { action: "read", path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), Recovery::default()));
        }
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let parsed = parse_lines(&bytes);
    Ok((parsed.records, parsed.recovery))
}

struct Parsed<T> {
    records: Vec<T>,
    recovery: Recovery,
    n_whole_bytes: u64,
    next: u64,
    last: Digest,
}

fn parse_lines<T: DeserializeOwned>(bytes: &[u8]) -> Parsed<T> {
    let n_whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |i| i + 1);
    let mut parsed = Parsed {
        records: Vec::new(),
        recovery: Recovery { n_torn_bytes: (bytes.len() - n_whole) as u64, ..Recovery::default() },
        n_whole_bytes: n_whole as u64,
        next: 0,
        last: Digest::of(b""),
    };
    for (i, line) in bytes[..n_whole].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        match serde_json::from_slice::<Line<T>>(line) {
            Ok(read) => {
                // The first line continues a file that was rotated away.
                if i > 0 && (read.prev != parsed.last || read.seq != parsed.next) {
                    parsed.recovery.n_chain_breaks += 1;
                }
                parsed.next = read.seq.saturating_add(1);
                parsed.records.push(read.record);
                parsed.recovery.n_records += 1;
            }
            Err(_) => parsed.recovery.n_unreadable += 1,
        }
        parsed.last = Digest::of(line);
    }
    parsed
}

#[cfg(test)]
mod tests {
    use super::*;

    type Open = (Journal<String>, Vec<String>, Recovery);

    fn open(path: &Path) -> Open {
        Journal::open(path, 400).unwrap()
    }

    #[test]
    fn a_reader_neither_waits_for_the_writer_nor_repairs_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        assert!(read_records::<String>(&path).unwrap().0.is_empty());
        let (mut journal, _, _) = open(&path);
        journal.append(&"one".to_string(), Sync::No).unwrap();
        let mut torn = File::options().append(true).open(&path).unwrap();
        io::Write::write_all(&mut torn, b"{\"seq\":1").unwrap();
        let before = std::fs::read(&path).unwrap();
        let (records, recovery) = read_records::<String>(&path).unwrap();
        assert_eq!(records, ["one"]);
        assert_eq!(recovery.n_torn_bytes, 8);
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    fn write(path: &Path, records: &[&str]) {
        let (mut journal, _, _) = open(path);
        for record in records {
            journal.append(&(*record).to_string(), Sync::No).unwrap();
        }
    }

    #[test]
    fn a_file_cut_at_any_byte_keeps_every_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let records = ["one", "two with \n and \"quotes\"", "three"];
        write(&path, &records);
        let bytes = std::fs::read(&path).unwrap();
        for n in 0..=bytes.len() {
            let cut = folder.path().join("cut.jsonl");
            std::fs::write(&cut, &bytes[..n]).unwrap();
            let n_whole = bytes[..n].split(|byte| *byte == b'\n').count() - 1;
            let (mut journal, read, recovery) = open(&cut);
            assert_eq!(read, records[..n_whole], "cut at {n}");
            assert_eq!((recovery.n_unreadable, recovery.n_chain_breaks), (0, 0), "cut at {n}");
            // It goes on from there, chain and all.
            journal.append(&"four".to_string(), Sync::Yes).unwrap();
            drop(journal);
            let (_, read, recovery) = open(&cut);
            assert_eq!(read.len(), n_whole + 1, "cut at {n}");
            let whole = Recovery { n_records: read.len() as u64, ..Recovery::default() };
            assert_eq!(recovery, whole, "cut at {n}");
        }
    }

    #[test]
    fn a_changed_or_missing_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        write(&path, &["one", "two", "three"]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("two", "six")).unwrap();
        assert_eq!(open(&path).2.n_chain_breaks, 1);
        let without: Vec<&str> = text.lines().filter(|line| !line.contains("two")).collect();
        std::fs::write(&path, without.join("\n") + "\n").unwrap();
        assert_eq!(open(&path).2.n_chain_breaks, 1);
        std::fs::write(&path, text.replace("{\"seq\":1", "{\"seq\":x")).unwrap();
        let (_, records, recovery) = open(&path);
        assert_eq!(records, ["one", "three"]);
        assert_eq!(recovery.n_unreadable, 1);
    }

    #[test]
    fn rotation_carries_what_is_needed_and_keeps_the_chain() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = open(&path);
        let mut n_rotations = 0;
        for i in 0..100 {
            let record = format!("record {i}");
            journal.append(&record, Sync::No).unwrap();
            if journal.is_full() {
                journal.rotate([&record]).unwrap();
                n_rotations += 1;
            }
        }
        assert!(n_rotations > OLD_FILES_MAX);
        assert!(journal.n_bytes() < 1000);
        drop(journal);
        let (_, records, recovery) = open(&path);
        assert_eq!(records.last().unwrap(), "record 99");
        assert_eq!((recovery.n_chain_breaks, recovery.n_unreadable), (0, 0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), OLD_FILES_MAX + 1);
    }

    #[test]
    fn one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let first = open(&path);
        let second = Journal::<String>::open(&path, 400);
        assert!(matches!(second, Err(JournalError::Locked(_))));
        drop(first);
        open(&path);
    }

    #[test]
    fn an_endless_record_is_refused_and_leaves_the_journal_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = open(&path);
        let error = journal.append(&"x".repeat(LINE_BYTES_MAX), Sync::No).unwrap_err();
        assert!(matches!(error, JournalError::TooLong(_)));
        journal.append(&"ok".to_string(), Sync::No).unwrap();
        drop(journal);
        assert_eq!(open(&path).1, ["ok"]);
    }
}

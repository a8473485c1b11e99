//! Where a sink is in the journal, on the disk.
//!
//! A file of two slots of 512 bytes that are written in turn, each with its own checksum:
//! a write that is torn, or damage to one slot, leaves the other. The file does not grow,
//! so a full disk does not keep a sink from going on. After the death of the machine the
//! place may be an older one; what follows it is sent again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use serde::{Deserialize, Serialize};

/// Size of one slot in bytes.
pub const SLOT_BYTES: usize = 512;
/// Hex digits of the checksum that ends a slot.
const CHECKSUM_CHARS: usize = 16;

/// What a slot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// How often the place was written; the higher slot is the newer.
    pub generation: u64,
    /// Number of the first record of the journal that is not done with.
    pub position: u64,
    /// Documents sent, ever.
    pub n_sent: u64,
    /// Deliveries that failed and were tried again.
    pub n_retried: u64,
    /// Documents dropped because the queue was full or the journal had lost them.
    pub n_dropped: u64,
    /// Documents that the receiver refused for good.
    pub n_rejected: u64,
}

/// A slot of the file: JSON, blanks, the checksum of both, a line end.
pub fn encode(record: &Record) -> [u8; SLOT_BYTES] {
    let mut slot = [b' '; SLOT_BYTES];
    let json = serde_json::to_vec(record).unwrap_or_default();
    let n_text = SLOT_BYTES - CHECKSUM_CHARS - 1;
    // Six numbers of 20 digits and their names are far below the size of a slot.
    let n_json = json.len().min(n_text);
    slot[..n_json].copy_from_slice(&json[..n_json]);
    let sum = checksum(&slot[..n_text]);
    slot[n_text..n_text + CHECKSUM_CHARS].copy_from_slice(sum.as_bytes());
    slot[SLOT_BYTES - 1] = b'\n';
    slot
}

/// Reads a slot; `None` when it is damaged.
pub fn decode(slot: &[u8]) -> Option<Record> {
    let text = slot.get(..SLOT_BYTES - CHECKSUM_CHARS - 1)?;
    let sum = slot.get(SLOT_BYTES - CHECKSUM_CHARS - 1..SLOT_BYTES - 1)?;
    if slot.len() != SLOT_BYTES || checksum(text).as_bytes() != sum {
        return None;
    }
    serde_json::from_slice(text).ok()
}

fn checksum(bytes: &[u8]) -> String {
    let digest = Digest::of(bytes).to_string();
    let hex = digest.trim_start_matches("sha256:");
    hex.chars().take(CHECKSUM_CHARS).collect()
}

/// What a file holds: the newest whole slot, and how many slots are damaged.
pub fn decode_file(bytes: &[u8]) -> (Option<Record>, usize) {
    let slots = bytes.chunks(SLOT_BYTES).take(2);
    let read: Vec<Option<Record>> = slots.map(decode).collect();
    let n_damaged = read.iter().filter(|slot| slot.is_none()).count();
    (read.into_iter().flatten().max_by_key(|record| record.generation), n_damaged)
}

/// A sink's place.
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    file: Option<File>,
    record: Record,
}

impl Cursor {
    /// Reads the place at `path`, or begins at the journal's end, `next_number`: a new sink
    /// is not sent what was before it. Returns what the operator is to be told as well.
    pub fn open(path: &Path, next_number: u64) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let shown = path.display();
        let (file, bytes) = match open_file(path) {
            Ok((file, bytes)) => (Some(file), bytes),
            Err(error) => {
                notes.push(format!(
                    "`{shown}` cannot be used: {error}; after a restart alerts may be missing or sent twice"
                ));
                (None, Vec::new())
            }
        };
        let is_new = bytes.is_empty();
        let (found, n_damaged) = decode_file(&bytes);
        let mut record = match found {
            Some(record) => {
                if n_damaged > 0 {
                    notes.push(format!("one half of `{shown}` is damaged; the other is used"));
                }
                record
            }
            None if is_new => Record { position: next_number, ..Record::default() },
            None => {
                notes.push(format!(
                    "`{shown}` is damaged: everything that the journal holds is sent again, as far as the queue reaches"
                ));
                Record::default()
            }
        };
        if record.position > next_number {
            notes.push(format!(
                "the journal ends before the place in `{shown}`: it goes on at the journal's end"
            ));
            record.position = next_number;
        }
        let mut this = Self { path: path.to_path_buf(), file, record };
        if this.file.is_some()
            && (found.is_none() || n_damaged > 0)
            && let Err(error) = this.repair()
        {
            notes.push(format!("write `{shown}`: {error}"));
        }
        (this, notes)
    }

    /// The place as it was last read or saved.
    pub fn record(&self) -> Record {
        self.record
    }

    /// Writes a new place, if it is one.
    pub fn save(&mut self, record: Record) -> io::Result<()> {
        let record = Record { generation: self.record.generation, ..record };
        if record == self.record && self.file.is_some() {
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some(open_file(&self.path)?.0);
        }
        self.record = Record { generation: record.generation + 1, ..record };
        self.write()
    }

    /// Writes both slots.
    fn repair(&mut self) -> io::Result<()> {
        for _ in 0..2 {
            self.record.generation += 1;
            self.write()?;
        }
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let at = (self.record.generation % 2) * SLOT_BYTES as u64;
        file.write_all_at(&encode(&self.record), at)
    }
}

/// Opens or creates the file, and reads what it holds.
fn open_file(path: &Path) -> io::Result<(File, Vec<u8>)> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let mut bytes = vec![0; 2 * SLOT_BYTES];
    let mut n_read = 0;
    while n_read < bytes.len() {
        match file.read_at(&mut bytes[n_read..], n_read as u64)? {
            0 => break,
            n => n_read += n,
        }
    }
    bytes.truncate(n_read);
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Record {
        Record { position, n_sent: position, ..Record::default() }
    }

    /// Opens a cursor whose journal is long, and says where it is and what was said.
    fn open(path: &Path) -> (u64, usize) {
        let (cursor, notes) = Cursor::open(path, 1000);
        (cursor.record().position, notes.len())
    }

    #[test]
    fn a_place_survives_and_a_new_sink_begins_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sinks/a.cursor");
        let (mut cursor, notes) = Cursor::open(&path, 7);
        assert_eq!((cursor.record().position, notes.len()), (7, 0));
        drop(cursor);
        assert_eq!(open(&path), (7, 0), "what came after the first start is not skipped");
        (cursor, _) = Cursor::open(&path, 1000);
        for position in 8..20 {
            cursor.save(at(position)).unwrap();
            assert_eq!(open(&path), (position, 0));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * SLOT_BYTES as u64);
    }

    #[test]
    fn an_unchanged_place_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut cursor, _) = Cursor::open(&folder.path().join("c"), 7);
        let before = cursor.record();
        cursor.save(before).unwrap();
        assert_eq!(cursor.record(), before);
    }

    #[test]
    fn a_journal_that_lost_its_end_does_not_swallow_what_follows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        Cursor::open(&path, 50);
        let (cursor, notes) = Cursor::open(&path, 10);
        assert_eq!((cursor.record().position, notes.len()), (10, 1));
    }

    #[test]
    fn cut_or_changed_at_any_byte_the_other_half_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        let (mut cursor, _) = Cursor::open(&path, 1);
        cursor.save(at(41)).unwrap();
        cursor.save(at(42)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for i in (0..bytes.len()).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[i] ^= 0x10;
            let (found, n_damaged) = decode_file(&flipped);
            let position = found.unwrap().position;
            // The line end of a slot is not covered by its checksum, and carries nothing.
            let is_end = i % SLOT_BYTES == SLOT_BYTES - 1;
            assert!(is_end || n_damaged == 1, "{i}");
            assert!(position == 41 || position == 42, "{i}");
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(open(&path), (position, n_damaged), "{i}");
            assert_eq!(open(&path), (position, 0), "repaired");
            std::fs::write(&path, &bytes[..i]).unwrap();
            let (position, n_notes) = open(&path);
            match i {
                0 => assert_eq!((position, n_notes), (1000, 0), "empty is new"),
                _ if i < SLOT_BYTES => assert_eq!((position, n_notes), (0, 1), "everything"),
                _ => assert!((position == 41 || position == 42) && n_notes <= 1),
            }
        }
    }

    #[test]
    fn the_largest_numbers_fit_in_a_slot() {
        let largest = Record {
            generation: u64::MAX,
            position: u64::MAX,
            n_sent: u64::MAX,
            n_retried: u64::MAX,
            n_dropped: u64::MAX,
            n_rejected: u64::MAX,
        };
        assert_eq!(decode(&encode(&largest)), Some(largest));
        assert_eq!(decode(b""), None);
        assert_eq!(decode(&[0; SLOT_BYTES]), None);
    }

    #[test]
    fn a_place_that_cannot_be_kept_is_said_and_does_not_stop_the_sink() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "").unwrap();
        let (mut cursor, notes) = Cursor::open(&path.join("c"), 5);
        assert_eq!((cursor.record().position, notes.len()), (5, 1));
        assert!(cursor.save(at(6)).is_err());
    }
}

//! Reading a journal record by record, while somebody else writes and rotates it.
//!
//! Records are found by their numbers, which go on across rotations. A reader keeps no lock
//! and needs none: lines are written whole, a line without an end is not read yet, and a
//! file that was rotated away keeps its content under the descriptor that is open.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::journal::{JournalError, LINE_BYTES_MAX, Line, OLD_FILES_MAX, numbered};

/// How often a record is looked for while files are being renamed.
const ATTEMPTS_MAX: usize = 4;
/// Time between two attempts: a rotation renames a handful of files.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);

/// What became of a record that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<T> {
    /// Here it is.
    Record(T),
    /// Its file was rotated away.
    Gone,
    /// Its line is damaged or missing.
    Damaged,
}

/// What a scan passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan {
    /// Number of the first line that is still there, if there is any.
    pub first: Option<u64>,
    /// Lines that are no records.
    pub n_unreadable: u64,
}

/// A place in a journal.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    lines: Option<Lines>,
}

#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    /// Where the next line begins.
    offset: u64,
    /// Number of the last line that was read.
    last: Option<u64>,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Self { file: BufReader::new(file), offset: 0, last: None })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The next whole line, without its end; `None` when there is none yet. A line beyond
    /// the bound is passed over and comes out empty.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let limit = LINE_BYTES_MAX as u64 + 2;
        let mut n_bytes = (&mut self.file).take(limit).read_until(b'\n', &mut line)? as u64;
        if n_bytes == limit && line.last() != Some(&b'\n') {
            line = Vec::new();
            n_bytes += self.file.skip_until(b'\n')? as u64;
            self.offset += n_bytes;
            return Ok(Some(line));
        }
        if line.last() != Some(&b'\n') {
            // Its writer is not finished: the same bytes are read again next time.
            self.file.seek(SeekFrom::Start(self.offset))?;
            return Ok(None);
        }
        line.pop();
        self.offset += n_bytes;
        if let Some(number) = number_of(&line) {
            self.last = Some(number);
        }
        Ok(Some(line))
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        (self.offset, self.last) = (0, None);
        Ok(())
    }
}

/// The number with which each line begins.
fn number_of(line: &[u8]) -> Option<u64> {
    let digits = line.strip_prefix(b"{\"seq\":")?;
    let end = digits.iter().position(|byte| *byte == b',')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

impl Tail {
    /// A reader of the journal at `path`, whose files need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), lines: None }
    }

    fn failed(&self, source: io::Error) -> JournalError {
        JournalError::Io { action: "read", path: self.path.clone(), source }
    }

    /// The record of that number, which has been written. Records that are asked for in
    /// their order are read without looking for them.
    pub fn fetch<T: DeserializeOwned>(&mut self, number: u64) -> Result<Found<T>, JournalError> {
        let mut found = Found::Gone;
        for attempt in 0..ATTEMPTS_MAX {
            let is_behind = |lines: &Lines| lines.last.is_none_or(|last| last < number);
            if !self.lines.as_ref().is_some_and(is_behind) {
                self.lines = self.locate(number).map_err(|source| self.failed(source))?;
            }
            if let Some(lines) = &mut self.lines {
                match look_for(lines, number) {
                    Ok(Some(record)) => return Ok(record),
                    Ok(None) => found = Found::Damaged,
                    Err(source) => return Err(self.failed(source)),
                }
            } else {
                found = Found::Gone;
            }
            // The end of a file that was rotated away, or files are just being renamed.
            self.lines = None;
            if attempt > 0 {
                std::thread::sleep(ATTEMPT_INTERVAL);
            }
        }
        Ok(found)
    }

    /// Passes every record from number `from` to before `until` to `each`, oldest first.
    /// `T` may be less than the whole record: what is not in it is not kept.
    pub fn scan<T: DeserializeOwned>(
        &self,
        from: u64,
        until: u64,
        each: &mut dyn FnMut(u64, T),
    ) -> Result<Scan, JournalError> {
        let mut scan = Scan::default();
        let failed = |source| self.failed(source);
        let files = self.files().map_err(failed)?;
        scan.first = files.first().map(|(first, _)| *first);
        let start = files.iter().rposition(|(first, _)| *first <= from).unwrap_or(0);
        for (_, mut lines) in files.into_iter().skip(start) {
            while let Some(line) = lines.next().map_err(failed)? {
                match number_of(&line) {
                    Some(number) if number >= until => return Ok(scan),
                    Some(number) if number < from => {}
                    _ => match serde_json::from_slice::<Line<T>>(&line) {
                        Ok(read) => each(read.seq, read.record),
                        Err(_) => scan.n_unreadable += 1,
                    },
                }
            }
        }
        Ok(scan)
    }

    /// The files that have lines, oldest first, with the number of the first line of each.
    fn files(&self) -> io::Result<Vec<(u64, Lines)>> {
        let old = (1..=OLD_FILES_MAX).rev().map(|i| numbered(&self.path, &i.to_string()));
        let mut files = Vec::new();
        for path in old.chain([self.path.clone()]) {
            let Some(mut lines) = Lines::open(&path)? else { continue };
            while lines.last.is_none() && lines.next()?.is_some() {}
            if let Some(first) = lines.last {
                lines.rewind()?;
                files.push((first, lines));
            }
        }
        Ok(files)
    }

    /// The file in which the record of that number stands, if it is still there.
    fn locate(&self, number: u64) -> io::Result<Option<Lines>> {
        let files = self.files()?;
        Ok(files.into_iter().rev().find(|(first, _)| *first <= number).map(|(_, lines)| lines))
    }
}

/// Reads on to the record of that number; `None` at the end of what is there.
fn look_for<T: DeserializeOwned>(lines: &mut Lines, number: u64) -> io::Result<Option<Found<T>>> {
    while let Some(line) = lines.next()? {
        match number_of(&line) {
            Some(n) if n < number => {}
            Some(n) if n == number => {
                return Ok(Some(match serde_json::from_slice::<Line<T>>(&line) {
                    Ok(read) => Found::Record(read.record),
                    Err(_) => Found::Damaged,
                }));
            }
            Some(_) => return Ok(Some(Found::Damaged)),
            None => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Journal, Sync};

    fn write(journal: &mut Journal<String>, n: usize) {
        let record = format!("record {n}");
        if journal.is_full() {
            journal.rotate([&"carried".to_string()]).unwrap();
        }
        journal.append(&record, Sync::No).unwrap();
    }

    fn fetch(tail: &mut Tail, number: u64) -> Found<String> {
        tail.fetch(number).unwrap()
    }

    #[test]
    fn records_are_found_across_rotations_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = Journal::open(&path, 1000).unwrap();
        let mut tail = Tail::new(&path);
        assert_eq!(fetch(&mut tail, 0), Found::Gone);
        let mut follower = Tail::new(&path);
        for n in 0..60 {
            write(&mut journal, n);
            let number = journal.next_number() - 1;
            assert_eq!(fetch(&mut follower, number), Found::Record(format!("record {n}")));
        }
        let mut seen = Vec::new();
        let scan =
            tail.scan(0, u64::MAX, &mut |number, record: String| seen.push((number, record)));
        let first = scan.unwrap().first.unwrap();
        assert!(first > 0 && seen[0].0 == first, "the oldest are gone");
        assert_eq!(seen.last().unwrap().1, "record 59");
        assert!(seen.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "none is missing");
        for (number, record) in seen.iter().rev() {
            assert_eq!(fetch(&mut tail, *number), Found::Record(record.clone()));
        }
        assert_eq!(fetch(&mut tail, first - 1), Found::Gone);
        let mut some = Vec::new();
        tail.scan(first + 2, first + 4, &mut |number, _: String| some.push(number)).unwrap();
        assert_eq!(some, [first + 2, first + 3]);
    }

    #[test]
    fn numbers_go_on_when_the_file_is_taken_away_or_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = Journal::<String>::open(&path, 1000).unwrap();
        for n in 0..20 {
            write(&mut journal, n);
        }
        journal.rotate([]).unwrap();
        let next = journal.next_number();
        drop(journal);
        let (journal, _, _) = Journal::<String>::open(&path, 1000).unwrap();
        assert_eq!(journal.next_number(), next);
        drop(journal);
        std::fs::remove_file(&path).unwrap();
        let (journal, _, recovery) = Journal::<String>::open(&path, 1000).unwrap();
        assert_eq!((journal.next_number(), recovery.n_chain_breaks), (next, 0));
    }

    #[test]
    fn a_line_that_is_not_whole_is_not_read_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = Journal::open(&path, 100_000).unwrap();
        write(&mut journal, 0);
        write(&mut journal, 1);
        let bytes = std::fs::read(&path).unwrap();
        let whole = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
        let copy = folder.path().join("copy.jsonl");
        let mut tail = Tail::new(&copy);
        for n in 0..=bytes.len() {
            std::fs::write(&copy, &bytes[..n]).unwrap();
            let expected = |number: usize, end: usize| match n {
                _ if n >= end => Found::Record(format!("record {number}")),
                _ if number == 0 || n < whole => Found::Gone,
                _ => Found::Damaged,
            };
            if n + 3 > whole && n < whole + 3 || n + 3 > bytes.len() {
                assert_eq!(fetch(&mut tail, 0), expected(0, whole), "cut at {n}");
                assert_eq!(fetch(&mut tail, 1), expected(1, bytes.len()), "cut at {n}");
            }
        }
    }

    #[test]
    fn damage_costs_the_damaged_line_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = Journal::open(&path, 100_000).unwrap();
        for n in 0..4 {
            write(&mut journal, n);
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let check = |damaged: String, expected: [bool; 4]| {
            std::fs::write(&path, damaged).unwrap();
            let mut tail = Tail::new(&path);
            for (number, is_there) in expected.into_iter().enumerate() {
                let found = fetch(&mut tail, number as u64);
                let record = Found::Record(format!("record {number}"));
                assert_eq!(found, if is_there { record } else { Found::Damaged }, "{number}");
            }
            let mut n_seen = 0;
            tail.scan(0, u64::MAX, &mut |_, _: String| n_seen += 1).unwrap();
            assert_eq!(n_seen, expected.iter().filter(|is_there| **is_there).count());
        };
        check(text.clone(), [true; 4]);
        check(text.replace("record 1\"", "record 1"), [true, false, true, true]);
        check(text.replace("{\"seq\":2", "\u{1}\"seq\":2"), [true, true, false, true]);
        check(text.replace("{\"seq\":1,", "{\"seq\":x,"), [true, false, true, true]);
        let long = format!("{}\n{text}", "x".repeat(LINE_BYTES_MAX + 100));
        check(long, [true; 4]);
    }

    #[test]
    fn a_reader_keeps_up_with_a_writer_that_rotates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j.jsonl");
        let (mut journal, _, _) = Journal::open(&path, 20_000).unwrap();
        let (sender, numbers) = std::sync::mpsc::sync_channel(50);
        let writer = std::thread::spawn(move || {
            for n in 0..3000 {
                write(&mut journal, n);
                sender.send(journal.next_number() - 1).unwrap();
            }
        });
        let mut tail = Tail::new(&path);
        for (n, number) in numbers.iter().enumerate() {
            assert_eq!(fetch(&mut tail, number), Found::Record(format!("record {n}")));
        }
        writer.join().unwrap();
    }
}

//! Following a log: every entry is read, and the log is held to everything that it said.
//!
//! What is kept from one look to the next is the last checkpoint and the roots of the perfect
//! subtrees of its tree. Entries that are read are hashed onto those; the result must be the
//! root of the new checkpoint, which proves at once that the log has only grown and that the
//! entries are its own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::fork::Fork;
use crate::key::VerifierKey;
use crate::merkle::{CompactRange, Hash, NodeSource as _, prove_consistency, root_at};
use crate::note::Note;
use crate::source::{Source, SourceError};
use crate::tile::{TILE_WIDTH, TileCoordinate, TileError, TileKind, TileSource as _, TiledTree};

/// Largest memory, in bytes.
const MEMORY_BYTES_MAX: u64 = 256 << 10;
const SCHEMA: &str = "palisade.dev/log-monitor/v1";

/// Why a log cannot be followed, or is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The memory cannot be read or written.
    #[error("keep what the log said in `{}`", path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The memory is damaged, or of another log.
    #[error("what is kept in `{}` is not of this log: {problem}", path.display())]
    OtherMemory {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The log cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A tile cannot be read.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// The checkpoint is not the log's.
    #[error("the log's checkpoint does not hold")]
    Checkpoint(#[from] CheckpointError),
    /// The log contradicts itself: two of its signatures prove it.
    #[error("the log contradicts itself: it signed {older} and {newer} entries that do not agree")]
    Fork {
        /// The proof, for everybody.
        fork: Box<Fork>,
        /// Sizes of the two trees.
        older: u64,
        /// The larger of them.
        newer: u64,
    },
    /// The entries are not those of the checkpoint, and nothing signed proves more.
    #[error("the log's entries are not those that its checkpoint of {0} entries is about")]
    OtherEntries(u64),
    /// The log shows less than it did.
    #[error("the log shows {now} entries and had {before} before")]
    Shrunk {
        /// What was kept.
        before: u64,
        /// What it shows.
        now: u64,
    },
}

impl MonitorError {
    /// Whether it says something against the log, not against this machine or the network.
    pub fn is_against_log(&self) -> bool {
        matches!(
            self,
            Self::Fork { .. }
                | Self::OtherEntries(_)
                | Self::Shrunk { .. }
                | Self::Checkpoint(_)
                | Self::Tile(TileError::OutsideTree { .. })
        )
    }
}

impl palisade_base::Explain for MonitorError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Fork { .. } => {
                "do not rely on this log; the proof is kept: show it to others who do".into()
            }
            Self::OtherEntries(_) | Self::Shrunk { .. } => {
                "read the log elsewhere, and ask again; a cache may be old, a log must not be"
                    .into()
            }
            Self::Memory { .. } => "check that the folder may be written".into(),
            Self::OtherMemory { .. } => "use another folder for another log".into(),
            _ => "check the address and the key of the log".into(),
        })
    }
}

/// What one look showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Entries that were known before.
    pub before: u64,
    /// Entries of the log.
    pub now: u64,
}

/// Follows one log.
#[derive(Debug)]
pub struct Monitor {
    key: VerifierKey,
    last: Option<(Checkpoint, Note)>,
    range: CompactRange,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    schema: String,
    checkpoint: String,
    /// Roots of the perfect subtrees, the largest first.
    nodes: Vec<String>,
}

impl Monitor {
    /// Follows the log of `key` from its first entry.
    pub fn new(key: VerifierKey) -> Self {
        Self { key, last: None, range: CompactRange::default() }
    }

    /// Goes on from what is kept in the file at `path`; from the first entry where there is
    /// none. What is kept must be the log's own word and make its own root.
    pub fn open(path: &Path, key: VerifierKey) -> Result<Self, MonitorError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(key)),
            Err(source) => return Err(MonitorError::Memory { path: path.into(), source }),
        };
        let bytes = palisade_base::read_bounded(file, "memory", MEMORY_BYTES_MAX)
            .map_err(|source| MonitorError::Memory { path: path.into(), source })?;
        let other = |problem: &str| MonitorError::OtherMemory {
            path: path.into(),
            problem: problem.to_string(),
        };
        let memory: Memory =
            serde_json::from_slice(&bytes).map_err(|error| other(&error.to_string()))?;
        if memory.schema != SCHEMA {
            return Err(other("it has another form"));
        }
        let (checkpoint, note) = Checkpoint::open(memory.checkpoint.as_bytes(), &key)
            .map_err(|error| other(&error.to_string()))?;
        let nodes: Option<Vec<Hash>> =
            memory.nodes.iter().map(|text| Hash::from_base64(text)).collect();
        let range = nodes
            .and_then(|nodes| CompactRange::new(checkpoint.size, nodes))
            .filter(|range| range.root() == checkpoint.root)
            .ok_or_else(|| other("its hashes do not make its root"))?;
        Ok(Self { key, last: Some((checkpoint, note)), range })
    }

    /// Keeps what is known in the file at `path`.
    pub fn keep(&self, path: &Path) -> Result<(), MonitorError> {
        let Some((_, note)) = &self.last else { return Ok(()) };
        let memory = Memory {
            schema: SCHEMA.into(),
            checkpoint: note.to_text(),
            nodes: self.range.nodes().iter().map(Hash::to_base64).collect(),
        };
        let failed = |source| MonitorError::Memory { path: path.into(), source };
        let text = serde_json::to_string_pretty(&memory)
            .map_err(|error| failed(io::Error::other(error)))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        palisade_base::fs::write_atomic(path, text.as_bytes(), 0o644).map_err(failed)
    }

    /// How many entries are known.
    pub fn size(&self) -> u64 {
        self.range.size()
    }

    /// Takes the log as it is now for its beginning: entries before are not read.
    pub fn start_now(&mut self, source: &Source) -> Result<Step, MonitorError> {
        let (checkpoint, note) = Checkpoint::open(&source.checkpoint()?, &self.key)?;
        let mut tree = TiledTree::new(source, checkpoint.size);
        let (mut nodes, mut start) = (Vec::new(), 0);
        for level in (0..u64::BITS).rev() {
            if checkpoint.size >> level & 1 == 1 {
                nodes.push(tree.node(level, start >> level)?);
                start += 1 << level;
            }
        }
        let range = CompactRange::new(checkpoint.size, nodes)
            .filter(|range| range.root() == checkpoint.root)
            .ok_or(MonitorError::OtherEntries(checkpoint.size))?;
        let step = Step { before: checkpoint.size, now: checkpoint.size };
        (self.range, self.last) = (range, Some((checkpoint, note)));
        Ok(step)
    }

    /// Reads what is new, gives each entry with its number to `seen`, and proves that the log
    /// has only grown. What `seen` was given counts only when this succeeds.
    pub fn advance(
        &mut self,
        source: &Source,
        seen: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Step, MonitorError> {
        let (checkpoint, note) = Checkpoint::open(&source.checkpoint()?, &self.key)?;
        self.check(source, &checkpoint, &note)?;
        let before = self.range.size();
        let mut range = self.range.clone();
        while range.size() < checkpoint.size {
            let index = range.size() / TILE_WIDTH;
            let tile = TileCoordinate::at(TileKind::Entries, index, checkpoint.size)
                .ok_or(MonitorError::OtherEntries(checkpoint.size))?;
            let bytes = source.tile(&tile)?;
            let skip = (range.size() % TILE_WIDTH) as usize;
            for entry in tile.entries(&bytes)?.into_iter().skip(skip) {
                seen(range.size(), entry);
                range.push(Hash::of_leaf(entry));
            }
        }
        if range.root() != checkpoint.root {
            return Err(self.contradiction(source, &checkpoint, &note));
        }
        let step = Step { before, now: checkpoint.size };
        (self.range, self.last) = (range, Some((checkpoint, note)));
        Ok(step)
    }

    /// Compares what is known with what the log tells somebody else: `other` is a checkpoint
    /// that was got in another way.
    pub fn compare(&self, source: &Source, other: &[u8]) -> Result<(), MonitorError> {
        let (checkpoint, note) = Checkpoint::open(other, &self.key)?;
        self.check(source, &checkpoint, &note)?;
        let Some((last, last_note)) = &self.last else { return Ok(()) };
        if checkpoint.size <= last.size {
            return Ok(());
        }
        let mut tree = TiledTree::new(source, checkpoint.size);
        let root = root_at(&mut tree, last.size)?;
        if root == last.root {
            return Ok(());
        }
        Err(fork(&self.key, source, (last, last_note), (&checkpoint, &note)))
    }

    /// Whether a checkpoint that is not larger than the known one agrees with it.
    fn check(
        &self,
        source: &Source,
        checkpoint: &Checkpoint,
        note: &Note,
    ) -> Result<(), MonitorError> {
        let Some((last, last_note)) = &self.last else { return Ok(()) };
        if checkpoint.size > last.size {
            return Ok(());
        }
        if checkpoint.size == last.size {
            if checkpoint.root == last.root {
                return Ok(());
            }
            let fork = Box::new(Fork::same_size(&self.key, last_note, note));
            return Err(MonitorError::Fork { fork, older: last.size, newer: last.size });
        }
        // An older word of the log: it must be the beginning of what is known.
        let mut tree = TiledTree::new(source, last.size);
        match root_at(&mut tree, checkpoint.size) {
            Ok(root) if root == checkpoint.root => {
                Err(MonitorError::Shrunk { before: last.size, now: checkpoint.size })
            }
            Ok(_) => Err(fork(&self.key, source, (checkpoint, note), (last, last_note))),
            Err(_) => Err(MonitorError::Shrunk { before: last.size, now: checkpoint.size }),
        }
    }

    /// What it proves that the new entries do not make the new root.
    fn contradiction(&self, source: &Source, checkpoint: &Checkpoint, note: &Note) -> MonitorError {
        match &self.last {
            Some((last, last_note)) if last.size > 0 => {
                fork(&self.key, source, (last, last_note), (checkpoint, note))
            }
            _ => MonitorError::OtherEntries(checkpoint.size),
        }
    }
}

/// The proof of a fork, if the log's tiles give one; else that its entries are others.
fn fork(
    key: &VerifierKey,
    source: &Source,
    older: (&Checkpoint, &Note),
    newer: (&Checkpoint, &Note),
) -> MonitorError {
    let proved = || {
        let mut tree = TiledTree::new(source, newer.0.size);
        let prefix = root_at(&mut tree, older.0.size).ok()?;
        let proof = prove_consistency(&mut tree, older.0.size, newer.0.size).ok()??;
        let fork = Fork::diverged(key, older.1, newer.1, prefix, &proof);
        // Only what convinces everybody is called a fork.
        fork.verify(key).is_ok().then_some(fork)
    };
    match proved() {
        Some(fork) => {
            MonitorError::Fork { fork: Box::new(fork), older: older.0.size, newer: newer.0.size }
        }
        None => MonitorError::OtherEntries(newer.0.size),
    }
}

#[cfg(test)]
mod tests {
    use palisade_http::ClientOptions;

    use super::*;
    use crate::key::{KeyKind, SigningKey};
    use crate::writer::Writer;

    fn key() -> SigningKey {
        SigningKey::from_seed("log.example", &[7; 32], KeyKind::Ed25519).unwrap()
    }

    fn source(folder: &Path) -> Source {
        Source::open(folder.to_str().unwrap(), &ClientOptions::default()).unwrap()
    }

    fn append(folder: &Path, entries: std::ops::Range<u32>, word: &str) {
        let mut writer = Writer::open(folder, key()).unwrap();
        let entries: Vec<Vec<u8>> = entries.map(|i| format!("{word} {i}").into_bytes()).collect();
        writer.append(&entries).unwrap();
        writer.publish(&[]).unwrap();
    }

    fn advance(monitor: &mut Monitor, folder: &Path) -> Result<Vec<(u64, String)>, MonitorError> {
        let mut seen = Vec::new();
        monitor.advance(&source(folder), &mut |index, entry| {
            seen.push((index, String::from_utf8(entry.to_vec()).unwrap()));
        })?;
        Ok(seen)
    }

    #[test]
    fn every_entry_is_seen_once_across_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let memory = folder.path().join("memory/log.json");
        let log = folder.path().join("log");
        let mut all = Vec::new();
        for (start, end) in [(0, 1), (1, 255), (255, 256), (256, 700), (700, 700)] {
            if start < end {
                append(&log, start..end, "entry");
            }
            let mut monitor = Monitor::open(&memory, key().public().clone()).unwrap();
            all.extend(advance(&mut monitor, &log).unwrap());
            monitor.keep(&memory).unwrap();
            assert_eq!(monitor.size(), u64::from(end));
        }
        let expected: Vec<_> = (0..700).map(|i| (i, format!("entry {i}"))).collect();
        assert_eq!(all, expected);

        let mut late = Monitor::new(key().public().clone());
        late.start_now(&source(&log)).unwrap();
        append(&log, 700..703, "entry");
        assert_eq!(advance(&mut late, &log).unwrap().len(), 3);
    }

    #[test]
    fn a_log_that_contradicts_itself_is_told_with_a_proof() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (folder.path().join("one"), folder.path().join("other"));
        append(&one, 0..300, "entry");
        append(&other, 0..299, "entry");
        append(&other, 299..300, "forged");
        let mut monitor = Monitor::new(key().public().clone());
        advance(&mut monitor, &one).unwrap();
        let told = |error: MonitorError| match error {
            MonitorError::Fork { fork, .. } => fork.verify(key().public()).unwrap(),
            other => panic!("{other}"),
        };
        // As large, larger, and smaller.
        told(advance(&mut monitor, &other).unwrap_err());
        append(&other, 300..400, "entry");
        told(advance(&mut monitor, &other).unwrap_err());
        let note = source(&one).checkpoint().unwrap();
        let mut ahead = Monitor::new(key().public().clone());
        advance(&mut ahead, &other).unwrap();
        told(ahead.compare(&source(&other), &note).unwrap_err());
        assert_eq!(monitor.size(), 300);
        monitor.compare(&source(&one), &note).unwrap();
    }

    #[test]
    fn old_words_changed_entries_and_foreign_memories_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        append(&log, 0..10, "entry");
        let old = std::fs::read(log.join("checkpoint")).unwrap();
        append(&log, 10..20, "entry");
        let memory = folder.path().join("memory.json");
        let mut monitor = Monitor::new(key().public().clone());
        advance(&mut monitor, &log).unwrap();
        monitor.keep(&memory).unwrap();
        let now = std::fs::read(log.join("checkpoint")).unwrap();
        std::fs::write(log.join("checkpoint"), &old).unwrap();
        let error = advance(&mut monitor, &log).unwrap_err();
        assert!(matches!(error, MonitorError::Shrunk { before: 20, now: 10 }), "{error}");
        std::fs::write(log.join("checkpoint"), &now).unwrap();

        let path = log.join("tile/entries/000.p/20");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[5] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut fresh = Monitor::new(key().public().clone());
        let error = advance(&mut fresh, &log).unwrap_err();
        assert!(matches!(error, MonitorError::OtherEntries(20)), "{error}");
        assert!(error.is_against_log() && fresh.size() == 0);

        let other = SigningKey::from_seed("log.example", &[8; 32], KeyKind::Ed25519).unwrap();
        assert!(Monitor::open(&memory, other.public().clone()).is_err());
        let text = std::fs::read_to_string(&memory).unwrap();
        for bad in [
            "",
            "{}",
            &text.replace("palisade.dev", "x"),
            &text.replacen("\"nodes\": [", "\"nodes\": [\"\",", 1),
        ] {
            std::fs::write(&memory, bad).unwrap();
            assert!(Monitor::open(&memory, key().public().clone()).is_err(), "{bad}");
        }
    }
}

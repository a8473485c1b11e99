//! The one writer of a log's folder.
//!
//! A batch becomes part of the log in an order that a crash at any point leaves whole:
//!
//! 1. its tiles are written under names that no checkpoint speaks of yet, and they and their
//!    folders reach the disk;
//! 2. the new checkpoint replaces `state/checkpoint` and reaches the disk: the batch is in the
//!    log from here on;
//! 3. `checkpoint`, which readers see, is replaced.
//!
//! What readers see is thus never ahead of what a crash leaves, and a checkpoint that anybody
//! saw is never followed by one that contradicts it. The next start removes what a batch left
//! that did not reach step 2, and whoever opened the log publishes again.

mod edge;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::folder::{CHECKPOINT, Folder};
use crate::key::SigningKey;
use crate::merkle::Hash;
use crate::note::{Note, NoteError, NoteSignature};
use crate::tile::{ENTRY_BYTES_MAX, TileCoordinate, TileError};
use edge::Edge;

/// Most entries of a batch.
pub const BATCH_ENTRIES_MAX: usize = 1 << 16;
/// How many files of a batch are brought to the disk at once.
const SYNC_THREADS: usize = 8;
/// What the writer alone reads.
const STATE: &str = "state";

/// A log's folder that cannot be opened, or appended to.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another process writes this log.
    #[error("`{0}` is written by another process")]
    Locked(PathBuf),
    /// A file or folder of the log.
    #[error("{action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The kept checkpoint is not this log's.
    #[error("read the checkpoint `{path}`")]
    Checkpoint {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: CheckpointError,
    },
    /// There is a published checkpoint, and none in the state.
    #[error("`{0}` has a published checkpoint and no `state/checkpoint`")]
    NoState(PathBuf),
    /// The published checkpoint is ahead of the state or contradicts it.
    #[error(
        "the published checkpoint ({published} leaves) does not precede the kept one ({kept} leaves)"
    )]
    Contradiction {
        /// Size that is published.
        published: u64,
        /// Size that is kept.
        kept: u64,
    },
    /// The tiles do not make the tree of the checkpoint.
    #[error(
        "the tiles make the root {found} where the checkpoint of {size} leaves says {expected}"
    )]
    Damaged {
        /// Size of the tree.
        size: u64,
        /// The checkpoint's root.
        expected: Hash,
        /// The tiles' root.
        found: Hash,
    },
    /// The newest entries are not those that the tree was made of.
    #[error("the entries at the tree's right edge are not those of its leaves")]
    EntriesDamaged,
    /// A tile cannot be read.
    #[error(transparent)]
    Tile(#[from] TileError),
    /// An entry, or a batch, is too large.
    #[error("an entry has {0} bytes, more than {ENTRY_BYTES_MAX}, or a batch has too many")]
    TooLarge(usize),
    /// Something failed before; what is on the disk is only known after a new start.
    #[error("an earlier failure stopped this log's writer")]
    Stopped,
    /// The origin cannot stand in a checkpoint.
    #[error("sign the checkpoint")]
    Sign(#[source] NoteError),
}

impl palisade_base::Explain for WriteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Locked(_) => Some("a log has one writer; stop the other `palisade log serve`".into()),
            Self::Checkpoint { source, .. } => source.hint().or_else(|| {
                Some("start with the key and the origin that this folder was made with".into())
            }),
            Self::NoState(_) => Some(
                "restore `state` from the copy; only when `checkpoint` is certainly the newest that \
                 anybody has seen, copy it to `state/checkpoint`"
                    .into(),
            ),
            Self::Contradiction { .. } => Some(
                "`state` was restored from an old copy; a log that goes on from here forks: restore \
                 all of the folder from one copy that is as new as the published checkpoint"
                    .into(),
            ),
            Self::Damaged { .. } | Self::EntriesDamaged => {
                Some("restore the folder's tiles from a copy".into())
            }
            Self::Stopped => Some("look at the first failure in the log messages, then start again".into()),
            _ => None,
        }
    }
}

/// Where a batch may be cut off, for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The `n`th tile was written, not synced.
    Tile(usize),
    /// All tiles are on the disk.
    Synced,
    /// The checkpoint is in the state.
    Committed,
}

/// The writer of a log's folder. Holds the lock as long as it lives.
pub struct Writer {
    path: PathBuf,
    _lock: File,
    key: SigningKey,
    edge: Edge,
    note: Note,
    /// What readers see, when that is the newest checkpoint.
    published: Option<Note>,
    stopped: bool,
    sync: bool,
    /// Folders of partial tiles that became full, to be removed.
    stale: Vec<PathBuf>,
    /// Cuts a batch off where it says `true`.
    #[cfg(test)]
    pub(crate) crash: Option<Box<dyn FnMut(Step) -> bool + Send>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("path", &self.path)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    move |source| WriteError::Io { action, path: path.to_path_buf(), source }
}

impl Writer {
    /// Opens the log in `path`, or makes an empty one. The key's name is the log's origin.
    ///
    /// # Errors
    ///
    /// Another writer, another log's folder, or a folder whose tiles are not those of its
    /// checkpoint.
    pub fn open(path: &Path, key: SigningKey) -> Result<Self, WriteError> {
        let state = path.join(STATE);
        std::fs::create_dir_all(&state).map_err(io_error("make folder", &state))?;
        let lock_path = state.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(WriteError::Locked(path.to_path_buf()));
            }
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(io_error("lock", &lock_path)(error));
            }
        }
        for folder in [path, &state] {
            sync_folder(folder)?;
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_folder(parent)?;
        }

        let kept = read_checkpoint(&state.join(CHECKPOINT), &key)?;
        let published = match read_checkpoint(&path.join(CHECKPOINT), &key) {
            // A crash of the machine may tear what readers see; what is kept was synced first.
            Err(WriteError::Checkpoint {
                source: CheckpointError::Note(NoteError::Malformed(_)),
                ..
            }) if kept.is_some() => None,
            read => read?,
        };
        let (checkpoint, note, is_new) = match (kept, &published) {
            (Some((checkpoint, note)), _) => (checkpoint, note, false),
            (None, Some(_)) => return Err(WriteError::NoState(path.to_path_buf())),
            (None, None) => {
                let empty = Checkpoint::new(key.public().name(), 0, Hash::empty_tree());
                let note = sign(&empty, &key)?;
                (empty, note, true)
            }
        };
        let folder = Folder::open(path).map_err(io_error("open", path))?;
        let edge = Edge::load(&folder, &checkpoint)?;
        let mut newest = None;
        if let Some((published, published_note)) = published {
            let behind = published.size < checkpoint.size;
            let precedes =
                behind && edge::root_at(&folder, &checkpoint, published.size)? == published.root;
            if published.size == checkpoint.size && published.root == checkpoint.root {
                newest = Some(published_note);
            } else if !precedes {
                return Err(WriteError::Contradiction {
                    published: published.size,
                    kept: checkpoint.size,
                });
            }
        }
        edge.remove_torn(path)?;
        let this = Self {
            path: path.to_path_buf(),
            _lock: lock,
            key,
            edge,
            note,
            published: newest,
            stopped: false,
            sync: true,
            stale: Vec::new(),
            #[cfg(test)]
            crash: None,
        };
        if is_new {
            this.keep(&this.note)?;
        }
        Ok(this)
    }

    /// Leaves the moment when data reach the disk to the kernel. Only for making logs to
    /// measure with: a crash of the machine then loses acknowledged entries.
    pub fn without_sync(&mut self) {
        self.sync = false;
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The signed checkpoint of the log as it is on the disk.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// What readers see; `None` when the newest checkpoint is still to be published.
    pub fn published(&self) -> Option<&Note> {
        self.published.as_ref()
    }

    /// The log's public key.
    pub fn public_key(&self) -> &crate::key::VerifierKey {
        self.key.public()
    }

    /// Where the log is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `entries` in one step and gives the index of the first. When this returns, they
    /// are on the disk with a checkpoint that covers them; readers see it after
    /// [`Self::publish`].
    pub fn append<T: AsRef<[u8]>>(&mut self, entries: &[T]) -> Result<u64, WriteError> {
        if self.stopped {
            return Err(WriteError::Stopped);
        }
        if entries.len() > BATCH_ENTRIES_MAX {
            return Err(WriteError::TooLarge(0));
        }
        let lengths = entries.iter().map(|entry| entry.as_ref().len());
        if let Some(length) = lengths.filter(|length| *length > ENTRY_BYTES_MAX).max() {
            return Err(WriteError::TooLarge(length));
        }
        let first = self.size();
        if entries.is_empty() {
            return Ok(first);
        }
        // After a failure it is not known what reached the disk, so nothing may follow.
        self.stopped = true;
        let mut edge = self.edge.clone();
        let tiles = edge.append(entries);
        self.write_tiles(&tiles)?;
        let checkpoint = Checkpoint::new(self.key.public().name(), edge.size(), edge.root());
        let note = sign(&checkpoint, &self.key)?;
        self.keep(&note)?;
        self.cut_off(Step::Committed)?;
        for (tile, _) in tiles.iter().filter(|(tile, _)| tile.is_full()) {
            // The tile before it: whoever read the last checkpoint may still want this one's.
            if let Some(index) = tile.index.checked_sub(1) {
                let before = TileCoordinate { index, ..*tile };
                self.stale.push(self.path.join(format!("{}.p", before.path())));
            }
        }
        self.edge = edge;
        self.note = note;
        self.published = None;
        self.stopped = false;
        Ok(first)
    }

    /// Shows the newest checkpoint to readers, with the signatures of witnesses.
    pub fn publish(&mut self, cosignatures: &[NoteSignature]) -> Result<Note, WriteError> {
        let mut note = self.note.clone();
        for signature in cosignatures {
            note.add(signature.clone());
        }
        let path = self.path.join(CHECKPOINT);
        let next = self.path.join(STATE).join("published");
        std::fs::write(&next, note.to_text()).map_err(io_error("write", &next))?;
        std::fs::rename(&next, &path).map_err(io_error("replace", &path))?;
        self.published = Some(note.clone());
        Ok(note)
    }

    /// Removes partial tiles that have long been full. Readers find the full ones.
    pub fn tidy(&mut self) {
        for folder in self.stale.drain(..) {
            // It is only an economy; what is left is removed by nobody and harms nobody.
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    /// Step 1: the tiles and their folders, on the disk.
    fn write_tiles(&mut self, tiles: &[(TileCoordinate, Vec<u8>)]) -> Result<(), WriteError> {
        let mut written = Vec::with_capacity(tiles.len());
        let mut folders = BTreeSet::new();
        for (n, (tile, bytes)) in tiles.iter().enumerate() {
            let path = self.path.join(tile.path());
            self.make_folders(&path, &mut folders)?;
            let mut file = File::create(&path).map_err(io_error("make", &path))?;
            file.write_all(bytes).map_err(io_error("write", &path))?;
            written.push((path, file));
            self.cut_off(Step::Tile(n))?;
        }
        if self.sync {
            in_parallel(&written, |(path, file)| file.sync_data().map_err(io_error("sync", path)))?;
            let folders: Vec<PathBuf> = folders.into_iter().collect();
            in_parallel(&folders, |folder| sync_folder(folder))?;
        }
        self.cut_off(Step::Synced)
    }

    /// Makes the folders above `path`; adds those that then have something new.
    fn make_folders(&self, path: &Path, changed: &mut BTreeSet<PathBuf>) -> Result<(), WriteError> {
        let Some(parent) = path.parent() else { return Ok(()) };
        changed.insert(parent.to_path_buf());
        let mut missing: Vec<&Path> = Vec::new();
        let mut at = parent;
        while at != self.path && !at.is_dir() {
            missing.push(at);
            let Some(above) = at.parent() else { break };
            changed.insert(above.to_path_buf());
            at = above;
        }
        for folder in missing.iter().rev() {
            std::fs::create_dir(folder).map_err(io_error("make folder", folder))?;
        }
        Ok(())
    }

    /// Step 2: the checkpoint in the state.
    fn keep(&self, note: &Note) -> Result<(), WriteError> {
        let path = self.path.join(STATE).join(CHECKPOINT);
        let text = note.to_text();
        if self.sync {
            palisade_base::fs::write_atomic(&path, text.as_bytes(), 0o644)
                .map_err(io_error("write", &path))
        } else {
            std::fs::write(&path, text).map_err(io_error("write", &path))
        }
    }

    #[cfg(test)]
    fn cut_off(&mut self, step: Step) -> Result<(), WriteError> {
        let stops = self.crash.as_mut().is_some_and(|crash| crash(step));
        if stops { Err(WriteError::Stopped) } else { Ok(()) }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests cut a batch off here")]
    fn cut_off(&mut self, _: Step) -> Result<(), WriteError> {
        Ok(())
    }
}

fn sign(checkpoint: &Checkpoint, key: &SigningKey) -> Result<Note, WriteError> {
    let mut note = Note::new(checkpoint.to_string()).map_err(WriteError::Sign)?;
    note.sign(key, 0);
    Ok(note)
}

/// Reads a checkpoint of ours. It is written whole or not at all, so anything else is an error.
fn read_checkpoint(
    path: &Path,
    key: &SigningKey,
) -> Result<Option<(Checkpoint, Note)>, WriteError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("open", path)(error)),
    };
    let limit = crate::note::NOTE_BYTES_MAX as u64;
    let bytes =
        palisade_base::read_bounded(file, "checkpoint", limit).map_err(io_error("read", path))?;
    Checkpoint::open(&bytes, key.public())
        .map(Some)
        .map_err(|source| WriteError::Checkpoint { path: path.to_path_buf(), source })
}

fn sync_folder(path: &Path) -> Result<(), WriteError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io_error("sync folder", path))
}

/// Does `work` on every item, several at a time: the file system joins what is asked for
/// together into one write of its journal.
fn in_parallel<T: Sync>(
    items: &[T],
    work: impl Fn(&T) -> Result<(), WriteError> + Sync,
) -> Result<(), WriteError> {
    if items.len() < 2 {
        return items.iter().try_for_each(work);
    }
    let next = std::sync::atomic::AtomicUsize::new(0);
    let turn = || {
        loop {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(item) = items.get(at) else { return Ok(()) };
            work(item)?;
        }
    };
    std::thread::scope(|scope| {
        let n_threads = items.len().min(SYNC_THREADS);
        let threads: Vec<_> = (1..n_threads).map(|_| scope.spawn(turn)).collect();
        let own = turn();
        // A thread that panicked has synced nothing, which must not pass for success.
        let others: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        own?;
        others.into_iter().try_for_each(|result| result.unwrap_or(Err(WriteError::Stopped)))
    })
}

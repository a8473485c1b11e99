//! A log that many append to at once.
//!
//! One thread owns the [`Writer`]. It takes what waits, writes it as one batch, has witnesses
//! sign, publishes, and only then answers. While a batch is on its way to the disk the next
//! one gathers, so that the disk's slowness makes batches larger and not clients slower by
//! their number.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::folder::Folder;
use crate::key::VerifierKey;
use crate::merkle::{Hash, prove_inclusion};
use crate::note::{Note, NoteSignature};
use crate::tile::{ENTRY_BYTES_MAX, TileCoordinate, TileError, TileKind, TileSource, TiledTree};
use crate::writer::{WriteError, Writer};

/// Most entries that wait to be written.
pub const QUEUE_ENTRIES_MAX: usize = 8192;
/// Most bytes that wait to be written.
pub const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Most entries of one batch.
const BATCH_MAX: usize = 2048;
/// How long a checkpoint that lacks witnesses waits for the next attempt.
const RETRY: Duration = Duration::from_secs(5);

/// How a log behaves.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// How long a batch waits for more entries, once there is one.
    pub gather: Duration,
    /// How many of the newest entries are known again when they are submitted once more.
    pub n_deduplicated: usize,
    /// How many witnesses must have signed before readers see a checkpoint.
    pub quorum: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { gather: Duration::from_millis(3), n_deduplicated: 1 << 18, quorum: 0 }
    }
}

/// Asks witnesses to sign.
pub trait Cosigner: Send {
    /// The signatures that witnesses give for `note`, whose checkpoint is `checkpoint`. `tree`
    /// holds the tiles from which consistency is proved.
    fn cosign(&mut self, note: &Note, checkpoint: &Checkpoint, tree: &Folder)
    -> Vec<NoteSignature>;
}

/// An entry that did not get into the log, or of which it is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much waits already.
    #[error("too many entries wait to be written")]
    Busy,
    /// The log is being shut down.
    #[error("the log is shutting down")]
    Stopping,
    /// The entry is too long.
    #[error("the entry has {0} bytes, more than {ENTRY_BYTES_MAX}")]
    TooLarge(usize),
    /// The entry is in the log, and too few witnesses have signed for it.
    #[error("the entry is in the log, and too few witnesses have signed yet")]
    NotWitnessed,
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Failed(String),
}

/// An entry's place, with a checkpoint that covers it.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The entry's index.
    pub index: u64,
    /// Whether it was in the log before.
    pub was_there: bool,
    /// The published checkpoint.
    pub published: Arc<Published>,
}

/// A checkpoint that readers see.
#[derive(Debug)]
pub struct Published {
    /// The tree.
    pub checkpoint: Checkpoint,
    /// The signed note's bytes.
    pub note: String,
}

/// What a log has done since it was started.
#[derive(Debug, Default)]
pub struct LogCounts {
    /// Entries that were written.
    pub n_appended: AtomicU64,
    /// Entries that were there already.
    pub n_duplicates: AtomicU64,
    /// Batches.
    pub n_batches: AtomicU64,
    /// Microseconds that batches took to reach the disk.
    pub batch_us: AtomicU64,
    /// Entries that were refused because too many waited.
    pub n_busy: AtomicU64,
    /// Rounds in which too few witnesses signed.
    pub n_unwitnessed: AtomicU64,
}

type Reply = Result<Appended, AppendError>;

struct Job {
    entry: Vec<u8>,
    leaf: Hash,
    reply: SyncSender<Reply>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    n_bytes: usize,
    stopping: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    published: RwLock<Option<Arc<Published>>>,
    failed: AtomicBool,
    counts: LogCounts,
    folder: Folder,
    key: VerifierKey,
}

impl Shared {
    fn new(writer: &Writer) -> Result<Self, WriteError> {
        let path = writer.path();
        let folder = Folder::open(path).map_err(|source| WriteError::Io {
            action: "open",
            path: path.to_path_buf(),
            source,
        })?;
        Ok(Self {
            queue: Mutex::default(),
            ready: Condvar::new(),
            published: RwLock::default(),
            failed: AtomicBool::new(false),
            counts: LogCounts::default(),
            folder,
            key: writer.public_key().clone(),
        })
    }
}

/// A running log.
pub struct Log {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Starts the thread that writes.
    pub fn start(
        writer: Writer,
        options: LogOptions,
        cosigner: Option<Box<dyn Cosigner>>,
    ) -> Result<Self, WriteError> {
        let shared = Arc::new(Shared::new(&writer)?);
        let known = Known::load(&shared.folder, writer.size(), options.n_deduplicated)?;
        let mut sequencer =
            Sequencer { shared: Arc::clone(&shared), writer, options, cosigner, known };
        sequencer.publish_first()?;
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || sequencer.run())
            .map_err(|source| WriteError::Io {
                action: "start",
                path: "log-writer".into(),
                source,
            })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Appends an entry; returns when it is on the disk and readers see it.
    pub fn append(&self, entry: Vec<u8>) -> Reply {
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(AppendError::TooLarge(entry.len()));
        }
        let answer = self.enqueue(entry)?;
        // A writer that ended without a word has not written.
        answer.recv().unwrap_or(Err(AppendError::Stopping))
    }

    fn enqueue(&self, entry: Vec<u8>) -> Result<Receiver<Reply>, AppendError> {
        let leaf = Hash::of_leaf(&entry);
        let (reply, answer) = sync_channel(1);
        let mut queue = lock(&self.shared.queue);
        if self.shared.failed.load(Ordering::Relaxed) {
            return Err(AppendError::Failed("an earlier write failed".into()));
        }
        if queue.stopping {
            return Err(AppendError::Stopping);
        }
        if queue.jobs.len() >= QUEUE_ENTRIES_MAX || queue.n_bytes + entry.len() > QUEUE_BYTES_MAX {
            self.shared.counts.n_busy.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::Busy);
        }
        queue.n_bytes += entry.len();
        queue.jobs.push_back(Job { entry, leaf, reply });
        self.shared.ready.notify_one();
        Ok(answer)
    }

    /// The checkpoint that readers see; `None` before enough witnesses signed the first.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.shared.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The log's public key.
    pub fn key(&self) -> &VerifierKey {
        &self.shared.key
    }

    /// What it has done.
    pub fn counts(&self) -> &LogCounts {
        &self.shared.counts
    }

    /// How many entries wait.
    pub fn queue_length(&self) -> usize {
        lock(&self.shared.queue).jobs.len()
    }

    /// Whether entries can be written.
    pub fn is_healthy(&self) -> bool {
        !self.shared.failed.load(Ordering::Relaxed)
    }

    /// The proof that entry `index` is in the tree of `size` leaves; `None` when it is not.
    pub fn prove(&self, index: u64, size: u64) -> Result<Option<Vec<Hash>>, TileError> {
        prove_inclusion(&mut TiledTree::new(&self.shared.folder, size), index, size)
    }

    /// A tile below the published checkpoint; `None` when it is not, or not this wide.
    pub fn tile(&self, tile: &TileCoordinate) -> Option<Result<Vec<u8>, TileError>> {
        let size = self.published()?.checkpoint.size;
        let widest = TileCoordinate::at(tile.kind, tile.index, size)?;
        if tile.width > widest.width {
            return None;
        }
        let read = self.shared.folder.tile(tile).or_else(|error| {
            // A width that no batch ended at is cut from the widest that there is.
            let bytes = self.shared.folder.tile(&widest).map_err(|_| error)?;
            shorten(tile, &widest, &bytes)
        });
        Some(read)
    }

    /// Writes what waits, answers it, and ends.
    pub fn stop(&self) {
        lock(&self.shared.queue).stopping = true;
        self.shared.ready.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first places of a wider tile.
fn shorten(
    tile: &TileCoordinate,
    wide: &TileCoordinate,
    bytes: &[u8],
) -> Result<Vec<u8>, TileError> {
    let width = usize::from(tile.width);
    Ok(match tile.kind {
        TileKind::Level(_) => {
            wide.hashes(bytes)?.iter().take(width).flat_map(|hash| hash.0).collect()
        }
        TileKind::Entries => {
            let entries = wide.entries(bytes)?;
            let length = entries.iter().take(width).map(|entry| entry.len() + 2).sum();
            bytes.get(..length).unwrap_or_default().to_vec()
        }
    })
}

/// The newest entries, by the hash of their leaf.
struct Known {
    places: HashMap<Hash, u64>,
    order: VecDeque<Hash>,
    max: usize,
}

impl Known {
    /// Reads the newest `max` leaves of a log of `size`.
    fn load(folder: &Folder, size: u64, max: usize) -> Result<Self, TileError> {
        let mut this = Self { places: HashMap::new(), order: VecDeque::new(), max };
        let first = size.saturating_sub(max as u64);
        let mut index = first / 256;
        while let Some(tile) = TileCoordinate::at(TileKind::Level(0), index, size) {
            let leaves = tile.hashes(&folder.tile(&tile)?)?;
            for (place, leaf) in (index * 256..).zip(leaves) {
                this.add(leaf, place);
            }
            index += 1;
        }
        Ok(this)
    }

    fn add(&mut self, leaf: Hash, index: u64) {
        if self.max == 0 {
            return;
        }
        if self.places.insert(leaf, index).is_none() {
            self.order.push_back(leaf);
        }
        while self.order.len() > self.max {
            if let Some(oldest) = self.order.pop_front() {
                self.places.remove(&oldest);
            }
        }
    }
}

struct Sequencer {
    shared: Arc<Shared>,
    writer: Writer,
    options: LogOptions,
    cosigner: Option<Box<dyn Cosigner>>,
    known: Known,
}

impl Sequencer {
    /// At the start: what readers saw last is shown again, or what a crash kept from them.
    fn publish_first(&mut self) -> Result<(), WriteError> {
        if let Some(note) = self.writer.published().cloned() {
            self.show(&note);
            return Ok(());
        }
        self.publish().map(drop)
    }

    fn run(mut self) {
        while let Some(jobs) = self.take() {
            if let Err(error) = self.batch(jobs) {
                tracing::error!(%error, "the log cannot be written; no entry is taken any more");
                self.fail(&error.to_string());
                return;
            }
        }
    }

    /// What waits, up to a batch; `None` at the end. Empty when only a checkpoint is overdue.
    fn take(&self) -> Option<Vec<Job>> {
        let mut queue = lock(&self.shared.queue);
        while queue.jobs.is_empty() {
            if queue.stopping {
                return None;
            }
            let (next, waited) = self
                .shared
                .ready
                .wait_timeout(queue, RETRY)
                .unwrap_or_else(PoisonError::into_inner);
            queue = next;
            if waited.timed_out() && self.writer.published().is_none() {
                return Some(Vec::new());
            }
        }
        let until = Instant::now() + self.options.gather;
        while queue.jobs.len() < BATCH_MAX && !queue.stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let (next, _) =
                self.shared.ready.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner);
            queue = next;
        }
        let n = queue.jobs.len().min(BATCH_MAX);
        let jobs: Vec<Job> = queue.jobs.drain(..n).collect();
        queue.n_bytes -= jobs.iter().map(|job| job.entry.len()).sum::<usize>();
        Some(jobs)
    }

    fn batch(&mut self, jobs: Vec<Job>) -> Result<(), WriteError> {
        let started = Instant::now();
        let first = self.writer.size();
        let mut entries = Vec::with_capacity(jobs.len());
        let mut placed: Vec<(u64, bool, SyncSender<Reply>)> = Vec::with_capacity(jobs.len());
        let mut new: HashMap<Hash, u64> = HashMap::new();
        for job in jobs {
            let known = self.known.places.get(&job.leaf).or_else(|| new.get(&job.leaf)).copied();
            let index = known.unwrap_or_else(|| {
                let index = first + entries.len() as u64;
                new.insert(job.leaf, index);
                entries.push((job.leaf, job.entry));
                index
            });
            placed.push((index, known.is_some(), job.reply));
        }
        let counts = &self.shared.counts;
        if !entries.is_empty() {
            let data: Vec<&[u8]> = entries.iter().map(|(_, entry)| entry.as_slice()).collect();
            self.writer.append(&data).inspect_err(|error| {
                let failed = Err(AppendError::Failed(error.to_string()));
                for (_, _, reply) in &placed {
                    let _ = reply.try_send(failed.clone());
                }
            })?;
            for ((leaf, _), index) in entries.iter().zip(first..) {
                self.known.add(*leaf, index);
            }
            counts.n_batches.fetch_add(1, Ordering::Relaxed);
            counts.n_appended.fetch_add(entries.len() as u64, Ordering::Relaxed);
            let spent = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
            counts.batch_us.fetch_add(spent, Ordering::Relaxed);
        }
        counts.n_duplicates.fetch_add((placed.len() - entries.len()) as u64, Ordering::Relaxed);
        let published = match self.current() {
            Some(published) if self.writer.published().is_some() => Some(published),
            _ => self.publish()?,
        };
        for (index, was_there, reply) in placed {
            // Whoever no longer waits has lost only the answer.
            let _ = reply.try_send(match &published {
                Some(published) => {
                    Ok(Appended { index, was_there, published: Arc::clone(published) })
                }
                None => Err(AppendError::NotWitnessed),
            });
        }
        self.writer.tidy();
        Ok(())
    }

    fn current(&self) -> Option<Arc<Published>> {
        self.shared.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has the newest checkpoint signed and shows it; `None` when too few witnesses signed.
    fn publish(&mut self) -> Result<Option<Arc<Published>>, WriteError> {
        let note = self.writer.note().clone();
        let mut signatures = Vec::new();
        if let Some(cosigner) = &mut self.cosigner
            && let Ok(checkpoint) = Checkpoint::parse(note.text())
        {
            signatures = cosigner.cosign(&note, &checkpoint, &self.shared.folder);
        }
        if signatures.len() < self.options.quorum {
            self.shared.counts.n_unwitnessed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                n_signed = signatures.len(),
                quorum = self.options.quorum,
                "too few witnesses signed; the checkpoint is not published yet"
            );
            return Ok(None);
        }
        let note = self.writer.publish(&signatures)?;
        Ok(self.show(&note))
    }

    fn show(&self, note: &Note) -> Option<Arc<Published>> {
        let checkpoint = Checkpoint::parse(note.text()).ok()?;
        let published = Arc::new(Published { checkpoint, note: note.to_text() });
        let mut shown = self.shared.published.write().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(Arc::clone(&published));
        Some(published)
    }

    /// Answers everything that waits, and whatever comes.
    fn fail(&self, problem: &str) {
        let mut queue = lock(&self.shared.queue);
        self.shared.failed.store(true, Ordering::Relaxed);
        for job in queue.jobs.drain(..) {
            let _ = job.reply.try_send(Err(AppendError::Failed(problem.to_string())));
        }
        queue.n_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyKind, SigningKey};
    use crate::merkle::verify_inclusion;

    fn key() -> SigningKey {
        SigningKey::from_seed("log.example", &[3; 32], KeyKind::Ed25519).unwrap()
    }

    fn start(folder: &std::path::Path, options: LogOptions) -> Log {
        Log::start(Writer::open(folder, key()).unwrap(), options, None).unwrap()
    }

    #[test]
    fn every_answer_of_many_at_once_comes_with_a_proof_that_holds() {
        let folder = tempfile::tempdir().unwrap();
        let log = start(folder.path(), LogOptions::default());
        let seen = Mutex::new(std::collections::BTreeSet::new());
        std::thread::scope(|scope| {
            for client in 0..8 {
                let (log, seen) = (&log, &seen);
                scope.spawn(move || {
                    for n in 0..40 {
                        let entry = format!("{client} {n}").into_bytes();
                        let appended = log.append(entry.clone()).unwrap();
                        let tree = &appended.published.checkpoint;
                        let proof = log.prove(appended.index, tree.size).unwrap().unwrap();
                        let leaf = Hash::of_leaf(&entry);
                        verify_inclusion(leaf, appended.index, tree.size, &proof, &tree.root)
                            .unwrap();
                        assert!(lock(seen).insert(appended.index));
                    }
                });
            }
        });
        assert_eq!(lock(&seen).iter().copied().collect::<Vec<_>>(), (0..320).collect::<Vec<_>>());
        assert!(log.counts().n_batches.load(Ordering::Relaxed) <= 320);
    }

    #[test]
    fn an_entry_is_known_again_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions { n_deduplicated: 2, ..LogOptions::default() };
        let log = start(folder.path(), options.clone());
        let place = |log: &Log, entry: &str| {
            let appended = log.append(entry.as_bytes().to_vec()).unwrap();
            (appended.index, appended.was_there)
        };
        assert_eq!(place(&log, "a"), (0, false));
        assert_eq!(place(&log, "b"), (1, false));
        assert_eq!(place(&log, "a"), (0, true));
        drop(log);
        let log = start(folder.path(), options);
        assert_eq!(place(&log, "b"), (1, true));
        assert_eq!(place(&log, "c"), (2, false));
        // Only the newest two are known: the table is bounded.
        assert_eq!(place(&log, "a"), (3, false));
    }

    #[test]
    fn tiles_are_served_up_to_the_checkpoint_in_every_width() {
        let folder = tempfile::tempdir().unwrap();
        let log = start(folder.path(), LogOptions::default());
        for n in 0..3 {
            log.append(vec![n]).unwrap();
        }
        let tile = |width| TileCoordinate { kind: TileKind::Entries, index: 0, width };
        assert_eq!(log.tile(&tile(2)).unwrap().unwrap(), [0, 1, 0, 0, 1, 1]);
        assert!(log.tile(&tile(4)).is_none());
        assert!(log.tile(&tile(256)).is_none());
    }

    /// A witness that is away until it is told to come.
    struct Away(Arc<AtomicBool>);

    impl Cosigner for Away {
        fn cosign(&mut self, note: &Note, _: &Checkpoint, _: &Folder) -> Vec<NoteSignature> {
            if self.0.load(Ordering::Relaxed) { note.signatures().to_vec() } else { Vec::new() }
        }
    }

    #[test]
    fn without_its_witnesses_a_log_publishes_nothing_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let there = Arc::new(AtomicBool::new(false));
        let options = LogOptions { quorum: 1, ..LogOptions::default() };
        let writer = Writer::open(folder.path(), key()).unwrap();
        let cosigner: Box<dyn Cosigner> = Box::new(Away(Arc::clone(&there)));
        let log = Log::start(writer, options, Some(cosigner)).unwrap();
        assert!(log.published().is_none());
        assert_eq!(log.append(b"a".to_vec()).unwrap_err(), AppendError::NotWitnessed);
        assert!(!folder.path().join("checkpoint").exists());
        there.store(true, Ordering::Relaxed);
        let appended = log.append(b"a".to_vec()).unwrap();
        assert_eq!((appended.index, appended.was_there), (0, true));
        assert_eq!(log.published().unwrap().checkpoint.size, 1);
    }

    #[test]
    fn a_stopped_log_takes_nothing_and_a_too_long_entry_never_waits() {
        let folder = tempfile::tempdir().unwrap();
        let log = start(folder.path(), LogOptions::default());
        let long = vec![0; ENTRY_BYTES_MAX + 1];
        assert_eq!(log.append(long).unwrap_err(), AppendError::TooLarge(ENTRY_BYTES_MAX + 1));
        log.stop();
        assert_eq!(log.append(Vec::new()).unwrap_err(), AppendError::Stopping);
    }

    #[test]
    fn what_waits_is_bounded_by_number_and_by_bytes() {
        let folder = tempfile::tempdir().unwrap();
        // Nobody takes from this queue.
        let shared = Shared::new(&Writer::open(folder.path(), key()).unwrap()).unwrap();
        let log = Log { shared: Arc::new(shared), thread: Mutex::default() };
        let n_long = QUEUE_BYTES_MAX / ENTRY_BYTES_MAX;
        // The answers are kept: whoever drops one no longer waits.
        let mut answers = Vec::new();
        answers.extend((0..=n_long).filter_map(|_| log.enqueue(vec![0; ENTRY_BYTES_MAX]).ok()));
        assert_eq!(answers.len(), n_long);
        let empty = n_long..=QUEUE_ENTRIES_MAX;
        answers.extend(empty.filter_map(|_| log.enqueue(Vec::new()).ok()));
        assert_eq!(answers.len(), QUEUE_ENTRIES_MAX);
        assert_eq!(log.queue_length(), QUEUE_ENTRIES_MAX);
        assert_eq!(log.counts().n_busy.load(Ordering::Relaxed), 2);
    }
}

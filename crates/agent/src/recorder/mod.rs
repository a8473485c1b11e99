//! Recording what is watched: all of it, or what was before and after each alert.
//!
//! ```text
//! record ─► Recorder (this thread: one pass over the bytes) ─► chunks ─► keeper (a thread
//!           of its own: compresses, keeps the last seconds in memory, writes files)
//! ```
//!
//! The thread that watches never waits for a disk: a chunk for which the queue has no room
//! is dropped and counted, and recording goes on with a new section, that is, with the
//! whole state as it is then. Memory is bounded twice, by the queue and by the ring; the
//! state is written again as often as the ring needs it, and no more than
//! [`STATE_SHARE`] of the time goes into that.
//!
//! Which alerts are recorded, and under which name, is decided where alerts are raised, at
//! the [`Desk`].

mod desk;
mod files;
mod keeper;
mod ring;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use palisade_base::Explain;
use palisade_sensor::Engine;
use palisade_sensor::capture::compact::chunk::Raw;
use palisade_sensor::capture::compact::{Origin, Writer};
use serde::{Deserialize, Serialize};

pub use desk::{Choice, Desk, RECORDING_MAX};
pub use files::FileError;
use keeper::{Keeper, Message};

/// Bytes of chunks that wait for the keeper.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// One part in so many of the time goes into writing states at most.
pub const STATE_SHARE: u32 = 50;
/// A chunk of a continuous recording waits no longer than this for being full.
const CHUNK_AGE: Duration = Duration::from_secs(1);
/// The ring has about so many sections, so that this part of it is dropped at a time.
const SECTIONS_PER_RING: u32 = 4;
/// A section lasts at least so long, whatever the ring wants.
const SECTION_MIN: Duration = Duration::from_secs(1);

/// Least memory of the ring, in bytes.
pub const RING_BYTES_MIN: usize = 4 << 20;
/// Longest time that the ring keeps, or that is recorded after an alert.
pub const SECONDS_MAX: u64 = 3600;
/// Files of one continuous recording.
pub const ROTATION_FILES: u64 = 4;
/// Least size of all files together, in bytes.
pub const FILES_BYTES_MIN: u64 = 16 << 20;
/// Recordings of alerts that a folder keeps, unless told otherwise.
pub const FILES_MAX: usize = 1000;

/// Recording around alerts.
#[derive(Debug, Clone)]
pub struct OnAlert {
    /// Where the files go; created if missing.
    pub folder: PathBuf,
    /// How much of the time before an alert is recorded.
    pub before: Duration,
    /// How much of the time after it, unless its rule says otherwise.
    pub after: Duration,
    /// Memory of the ring, in bytes, compressed.
    pub ring_bytes: usize,
    /// Size of all recordings in the folder, in bytes; the oldest go first.
    pub files_bytes: u64,
    /// Number of recordings in the folder.
    pub files_max: usize,
    /// Which alerts.
    pub choice: Choice,
}

/// Recording everything.
#[derive(Debug, Clone)]
pub struct Continuous {
    /// The file; must not exist.
    pub file: PathBuf,
    /// Size of this file and those that it was rotated into, in bytes.
    pub files_bytes: u64,
}

/// What is recorded.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Name and version of the program.
    pub writer: String,
    /// Around alerts.
    pub on_alert: Option<OnAlert>,
    /// Everything.
    pub continuous: Option<Continuous>,
}

/// Why recording cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The thread could not be started.
    #[error("start the recorder's thread")]
    Thread(#[source] std::io::Error),
}

impl Explain for RecorderError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Thread(_) => None,
        }
    }
}

/// What recording did so far; part of the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecorderHealth {
    /// Records that were taken.
    pub n_records: u64,
    /// Records that were not: the queue was full, or a file could not be written.
    pub n_not_recorded: u64,
    /// Records that left the ring before their time because it was full.
    pub n_evicted_early: u64,
    /// Times that the whole state was written.
    pub n_states: u64,
    /// Time that took on the watching thread, in nanoseconds.
    pub states_ns: u64,
    /// Recordings written around alerts.
    pub n_files: u64,
    /// Recordings removed to make room.
    pub n_files_removed: u64,
    /// Failures to write.
    pub n_failures: u64,
    /// Bytes in the ring.
    pub ring_bytes: u64,
}

/// What both threads see.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Bytes of chunks on their way to the keeper.
    queued: AtomicUsize,
    /// Somebody needs a section to begin.
    wants_section: AtomicBool,
    n_not_recorded: AtomicU64,
    n_evicted_early: AtomicU64,
    n_files: AtomicU64,
    n_files_removed: AtomicU64,
    n_failures: AtomicU64,
    ring_bytes: AtomicU64,
}

/// The watching thread's end.
#[derive(Debug)]
pub struct Recorder {
    writer: Writer,
    name: String,
    desk: Option<Desk>,
    outbox: Sender<Message>,
    problems: Receiver<String>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// How long a section lasts; none: until one is wanted.
    section_length: Option<Duration>,
    section_began: Option<Instant>,
    next_section: Instant,
    last_cut: Instant,
    is_continuous: bool,
    /// Chunks were dropped: what follows needs a state first.
    has_gap: bool,
    n_gap: u64,
    is_file_open: bool,
    n_records: u64,
    n_states: u64,
    states_ns: u64,
}

impl Recorder {
    /// Opens the files and starts the keeper. The desk is for whoever raises alerts.
    pub fn start(recording: Recording) -> Result<(Self, Option<Desk>), RecorderError> {
        let shared = Arc::new(Shared::default());
        let desk = recording.on_alert.as_ref().map(Desk::new);
        let (outbox, inbox) = channel();
        let (say, problems) = channel();
        let section_length = recording
            .on_alert
            .as_ref()
            .map(|on_alert| (on_alert.before / SECTIONS_PER_RING).max(SECTION_MIN));
        let is_continuous = recording.continuous.is_some();
        let name = recording.writer.clone();
        let keeper = Keeper::open(recording, Arc::clone(&shared), say, desk.clone())?;
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || keeper.run(&inbox))
            .map_err(RecorderError::Thread)?;
        let now = Instant::now();
        let recorder = Self {
            writer: Writer::new(),
            name,
            desk: desk.clone(),
            outbox,
            problems,
            shared,
            thread: Some(thread),
            section_length,
            section_began: None,
            next_section: now,
            last_cut: now,
            is_continuous,
            has_gap: true,
            n_gap: 0,
            is_file_open: false,
            n_records: 0,
            n_states: 0,
            states_ns: 0,
        };
        Ok((recorder, desk))
    }

    /// Takes a record: the bytes with which `engine` has just been fed.
    pub fn append(&mut self, bytes: &[u8], engine: &mut Engine) {
        if self.has_gap {
            self.n_gap += 1;
            self.shared.n_not_recorded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.n_records += 1;
        let Self { writer, outbox, shared, has_gap, .. } = self;
        let is_after_gap = false;
        writer.append(bytes, engine, &mut |raw| {
            *has_gap |= !send(outbox, shared, raw, is_after_gap);
        });
    }

    /// What is due between records: sections, requests, old chunks. To be called at least
    /// every second, and before the first record.
    pub fn tick(&mut self, engine: &mut Engine) {
        let now = Instant::now();
        self.begin_section(now, engine);
        let wish = self.desk.as_ref().map(|desk| desk.take(now)).unwrap_or_default();
        if wish.is_idle() && !self.is_chunk_due(now) {
            return;
        }
        self.cut(now);
        // What has ended before what begins: both may have become due since the last time.
        if self.is_file_open && (wish.has_ended || wish.begin.is_some()) {
            self.is_file_open = false;
            self.post(Message::End);
        }
        if let Some(path) = wish.begin {
            self.is_file_open = true;
            self.post(Message::Begin(path));
        }
    }

    fn is_chunk_due(&self, now: Instant) -> bool {
        (self.is_continuous || self.is_file_open)
            && self.writer.n_pending_bytes() > 0
            && now - self.last_cut >= CHUNK_AGE
    }

    fn cut(&mut self, now: Instant) {
        self.last_cut = now;
        if let Some(raw) = self.writer.cut() {
            self.has_gap |= !send(&self.outbox, &self.shared, raw, false);
        }
    }

    fn begin_section(&mut self, now: Instant, engine: &mut Engine) {
        let is_old = self
            .section_length
            .is_some_and(|length| self.section_began.is_none_or(|began| now - began >= length));
        let is_due = self.has_gap
            || is_old
            || self.writer.needs_section()
            || self.shared.wants_section.load(Ordering::Relaxed);
        // Half of the queue stays free for what follows the state.
        let has_room = self.shared.queued.load(Ordering::Relaxed) < QUEUE_BYTES_MAX / 2;
        if !is_due || now < self.next_section || !has_room {
            return;
        }
        self.shared.wants_section.store(false, Ordering::Relaxed);
        let is_after_gap = std::mem::take(&mut self.has_gap);
        let Self { writer, outbox, shared, has_gap, .. } = self;
        writer.begin(engine, Origin { writer: &self.name }, &mut |raw| {
            *has_gap |= !send(outbox, shared, raw, is_after_gap);
        });
        if self.n_gap > 0 && self.n_records > 0 {
            self.writer.lost(self.n_gap);
        }
        self.n_gap = 0;
        let cost = now.elapsed();
        self.n_states += 1;
        self.states_ns += u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        self.section_began = Some(now);
        self.next_section = now + cost * STATE_SHARE;
    }

    fn post(&self, message: Message) {
        // The keeper ends only when it is told to, or by a panic, which `finish` reports.
        let _ = self.outbox.send(message);
    }

    /// Problems since the last call.
    pub fn problems(&self, sink: &mut dyn FnMut(String)) {
        self.problems.try_iter().for_each(sink);
    }

    /// What it did so far.
    pub fn health(&self) -> RecorderHealth {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecorderHealth {
            n_records: self.n_records,
            n_not_recorded: read(&self.shared.n_not_recorded),
            n_evicted_early: read(&self.shared.n_evicted_early),
            n_states: self.n_states,
            states_ns: self.states_ns,
            n_files: read(&self.shared.n_files),
            n_files_removed: read(&self.shared.n_files_removed),
            n_failures: read(&self.shared.n_failures),
            ring_bytes: read(&self.shared.ring_bytes),
        }
    }

    /// Writes what is left, closes the files and waits for that.
    pub fn finish(&mut self, sink: &mut dyn FnMut(String)) {
        let now = Instant::now();
        self.cut(now);
        if let Some(desk) = &self.desk {
            // An alert of the last moment still has its past recorded.
            if let Some(path) = desk.take(now).begin {
                self.post(Message::Begin(path));
            }
        }
        self.post(Message::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            sink("the recorder's thread has panicked; recordings are incomplete".into());
        }
        self.problems(sink);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.finish(&mut |_| {});
        }
    }
}

/// Hands a chunk to the keeper; false when there is no room for it.
fn send(outbox: &Sender<Message>, shared: &Shared, raw: Raw, is_after_gap: bool) -> bool {
    let (n_bytes, n_records) = (raw.n_bytes(), raw.n_records);
    let queued = shared.queued.fetch_add(n_bytes, Ordering::Relaxed);
    if queued + n_bytes <= QUEUE_BYTES_MAX
        && outbox.send(Message::Chunk { raw, is_after_gap }).is_ok()
    {
        return true;
    }
    shared.queued.fetch_sub(n_bytes, Ordering::Relaxed);
    shared.n_not_recorded.fetch_add(n_records, Ordering::Relaxed);
    false
}

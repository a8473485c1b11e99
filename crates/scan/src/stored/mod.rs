//! Inventories of images that were scanned, so that a new database can be asked about them
//! without the images (ADR 0019).
//!
//! Invariants: a file is whole or refused, and one that is refused is named and stops nothing;
//! the store is bounded ([`INVENTORIES_MAX`], [`BYTES_MAX`]) and says what it evicts; an
//! inventory whose evaluation names a database of the state's chain, and which the last look found
//! as it is now, is up to date with the last database of that chain.

mod answers;
mod cells;
mod changed;
mod file;
mod in_order;
mod look;
mod news;

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use palisade_base::{Digest, Timestamp};
use palisade_model::Inventory;
use serde::{Deserialize, Serialize};

use answers::{ANSWERS_BYTES_MAX, Reader};
use file::Stored;
pub use file::{Entry, Evaluation, FILE_BYTES_MAX};
pub use look::{Bounds, LookError, LookOptions, Seen, Summary};
use news::Listener;
pub use news::News;

/// Most inventories that are kept; what was scanned longest ago makes room.
pub const INVENTORIES_MAX: usize = 20_000;
/// Most bytes that they take together.
pub const BYTES_MAX: u64 = 2 << 30;
/// Unreadable files that are named one by one.
pub const NAMED_MAX: usize = 100;
/// Databases of which the state remembers that they were asked.
const CHAIN_MAX: usize = 256;
const STATE_BYTES_MAX: u64 = 1 << 20;
const SUFFIX: &str = ".inventory";
/// How `tempfile` names what is not whole yet: this, and some letters and digits.
const TEMPORARY: &str = ".tmp";
const TEMPORARY_CHARS: usize = 6;
/// How often it is tried to have the store that somebody else has.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// A folder of inventories.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    inventories_max: usize,
    bytes_max: u64,
    answers_max: u64,
    file_max: u64,
    patience: Option<Patience>,
}

/// What is done while somebody else has the store.
#[derive(Clone)]
struct Patience {
    /// How long it is waited; none: until it is free.
    max: Option<Duration>,
    say: Arc<dyn Fn() + Send + Sync>,
}

impl std::fmt::Debug for Patience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Patience").field("max", &self.max).finish_non_exhaustive()
    }
}

/// What the store as a whole remembers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Release of the program that looked last: another may match differently.
    program: String,
    /// Databases that were asked, the last one at the end.
    chain: Vec<Digest>,
    /// The last look whose answers were passed on to who reads them, or to the watch's sinks
    /// ([`Store::acknowledge`]).
    #[serde(default)]
    looked: Option<Timestamp>,
    /// The last look whose answers the watch passed on. None until it has looked for the first
    /// time: what readers were told is told then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    watched: Option<Timestamp>,
    /// When the last look began, whose answers may not have been passed on.
    #[serde(default)]
    begun: Option<Timestamp>,
    /// The file of what looks found since the inventories were written, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answers: Option<Digest>,
    /// Inventories that made room for others, ever.
    n_evicted: u64,
}

impl State {
    /// Whether what was noted with `entry` is still to be told to `listener`.
    fn is_untold(&self, entry: &Entry, listener: Listener) -> bool {
        let told = match listener {
            Listener::Reader => self.looked,
            Listener::Watch => self.watched.or(self.looked),
        };
        entry.look.is_some_and(|look| told.is_none_or(|told| look > told))
    }

    /// The time of what is found `now`. It must be after what was told before, whatever the clock
    /// says and whoever waited for whom.
    fn time(&self, now: Timestamp) -> Timestamp {
        let after = |time: Timestamp| Timestamp::from_nanos(time.as_nanos().saturating_add(1));
        let earlier = [self.looked, self.watched, self.begun].into_iter().flatten().map(after);
        earlier.fold(now, Timestamp::max)
    }
}

/// A file of the store that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Its name.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What the store holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Listing {
    /// Entries, by digest.
    pub entries: Vec<Entry>,
    /// The first [`NAMED_MAX`] files that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// How many could not be read.
    pub n_unreadable: u64,
    /// Inventories that made room for others, ever.
    pub n_evicted: u64,
}

impl Store {
    /// The store in `folder`, which is made when there is something to keep.
    pub fn new(folder: &Path) -> Self {
        let folder = folder.to_path_buf();
        Self {
            folder,
            inventories_max: INVENTORIES_MAX,
            bytes_max: BYTES_MAX,
            answers_max: ANSWERS_BYTES_MAX,
            file_max: FILE_BYTES_MAX,
            patience: None,
        }
    }

    /// The same, but whoever finds that somebody else has it calls `say` and waits for `max`, or
    /// without it until it is free. Otherwise it is waited in silence.
    #[must_use]
    pub fn waiting(self, max: Option<Duration>, say: impl Fn() + Send + Sync + 'static) -> Self {
        Self { patience: Some(Patience { max, say: Arc::new(say) }), ..self }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether `inventory`, read by the release `program`, is stored with what `database` says of
    /// it; without one, whether it is stored at all. If so it counts as scanned just now.
    pub fn is_kept(&self, inventory: &Inventory, database: Option<Digest>, program: &str) -> bool {
        let Some(digest) = inventory.subject.digest else { return false };
        let path = self.path(digest);
        let Ok(stored) = self.stored(&path) else { return false };
        let is_it = stored.entry.program == program
            && stored.entry.functions == Some(true)
            && stored.entry.n_packages == inventory.packages.len() as u64
            && database.is_none_or(|database| self.is_evaluated(&stored, database, program));
        is_it && File::open(&path).and_then(|f| f.set_modified(SystemTime::now())).is_ok()
    }

    /// Whether what is known of `stored` is what the release `program` finds by `database`: it was
    /// written so, or the last look asked that database and found this very file.
    fn is_evaluated(&self, stored: &Stored, database: Digest, program: &str) -> bool {
        if stored.entry.database == Some(database) {
            return true;
        }
        let state = self.state();
        if state.program != program || state.chain.last() != Some(&database) {
            return false;
        }
        let answers = state.answers.and_then(|digest| Reader::open(&self.folder, digest).ok());
        answers.is_some_and(|answers| answers.seen().contains(&stored.digest))
    }

    /// Keeps `inventory`, read by the release `program`, with what was found in it by database
    /// `database`. Gives how many others made room. An inventory without the digest of an image is
    /// not kept.
    ///
    /// Of an image that is stored for the first time, or that no database was asked about before,
    /// nothing is news: the scan shows it. Of one that is stored already, what is found now and was not then stays news until it is
    /// acknowledged, as if a look had found it, for nobody but who scans has seen it; so it is if
    /// another release finds it, in packages that the earlier one did not see. Without a database
    /// what was found before is kept, until one is asked.
    pub fn put(
        &self,
        inventory: &Inventory,
        evaluation: &Evaluation,
        database: Option<Digest>,
        (program, now): (&str, Timestamp),
    ) -> io::Result<u64> {
        let Some(digest) = inventory.subject.digest else { return Ok(0) };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // A look that began before would write what it read over it.
        let _lock = self.lock()?;
        self.sweep();
        let mut state = self.state();
        let mut kept = evaluation.clone();
        let mut look = None;
        let known = self.known(digest, &state);
        if let Some((entry, before)) = known.filter(|(_, before)| before.is_of_a_database()) {
            let untold = before.untold().still(&entry, &state);
            let untold = if database.is_some() {
                let (came, went) = news::difference(&before.vulnerabilities, &kept.vulnerabilities);
                untold.after(&came, &went)
            } else {
                kept = before;
                untold
            };
            if !untold.is_empty() {
                let time = state.time(now);
                (look, state.begun) = (Some(time), Some(time));
                // What is found after it must be later.
                self.write_state(&state)?;
            }
            kept.note(untold);
        }
        // An evaluation by a database that was replaced since is not up to date with the chain, nor
        // is one by another release than the one that looked.
        let is_ours = state.program.is_empty() || state.program == program;
        let stale = |digest: &Digest| {
            !is_ours || (state.chain.contains(digest) && state.chain.last() != Some(digest))
        };
        let entry = Entry {
            subject: inventory.subject.clone(),
            stored: now,
            database: database.filter(|digest| !stale(digest)),
            program: program.to_string(),
            look,
            functions: Some(true),
            n_packages: inventory.packages.len() as u64,
            n_vulnerabilities: kept.vulnerabilities.len() as u64,
        };
        let (bytes, _) = file::encode(&entry, &kept, &file::compact(inventory), self.file_max)
            .map_err(io::Error::other)?;
        palisade_base::fs::write_atomic(&self.path(digest), &bytes, 0o600)?;
        let n_evicted = self.make_room(digest)?;
        if n_evicted > 0 {
            state.n_evicted += n_evicted;
            self.write_state(&state)?;
        }
        Ok(n_evicted)
    }

    /// What is known of the image `digest`, by its file and by looks since; none where it is not
    /// stored, or cannot be read.
    fn known(&self, digest: Digest, state: &State) -> Option<(Entry, Evaluation)> {
        let stored = self.stored(&self.path(digest)).ok()?;
        let answers = state.answers.and_then(|digest| Reader::open(&self.folder, digest).ok());
        // What cannot be read of them is told once more.
        let raw = answers.and_then(|mut answers| answers.take(digest).ok()?);
        let raw = raw.filter(|raw| raw.head.file == stored.digest);
        let since = raw.and_then(|raw| Some((raw.answer().ok()?, raw.head.entry)));
        let (answer, entry) = since.map_or((None, None), |(a, entry)| (Some(a), Some(entry)));
        let (evaluation, _) = stored.whole(answer.as_ref()).ok()?;
        Some((entry.unwrap_or(stored.entry), evaluation))
    }

    /// Notes that the answers of the look at `time` ([`Summary::time`]) were passed on to who reads
    /// them. What was new in a look that was not acknowledged, because it was interrupted or nobody
    /// could be told, is new again in the next one. The watch is still to tell it.
    pub fn acknowledge(&self, time: Timestamp) -> io::Result<()> {
        self.told(time, Listener::Reader)
    }

    /// As [`Store::acknowledge`], of what the watch told its sinks: it is no longer new to readers
    /// either.
    pub fn acknowledge_watch(&self, time: Timestamp) -> io::Result<()> {
        self.told(time, Listener::Watch)
    }

    fn told(&self, time: Timestamp, listener: Listener) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut state = self.state();
        state.looked = state.looked.max(Some(time));
        if listener == Listener::Watch {
            state.watched = state.watched.max(Some(time));
        }
        self.write_state(&state)
    }

    /// Waits until nobody else changes what a look goes through: another process, or another
    /// thread of this one. Given back when it is dropped, or when the process ends.
    fn lock(&self) -> io::Result<File> {
        use rustix::fs::FlockOperation::{LockExclusive, NonBlockingLockExclusive};
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
        let file = options.open(self.folder.join("lock"))?;
        let Some(patience) = &self.patience else {
            rustix::fs::flock(&file, LockExclusive)?;
            return Ok(file);
        };
        let begun = Instant::now();
        let mut is_said = false;
        loop {
            match rustix::fs::flock(&file, NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                other => return other.map(|()| file).map_err(Into::into),
            }
            if !std::mem::replace(&mut is_said, true) {
                (patience.say)();
            }
            match patience.max {
                None => {
                    rustix::fs::flock(&file, LockExclusive)?;
                    return Ok(file);
                }
                Some(max) if begun.elapsed() >= max => {
                    let why = "a look at the stored inventories is under way";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Some(_) => std::thread::sleep(LOCK_INTERVAL),
            }
        }
    }

    /// Removes what writers left that were killed. Under the lock nobody writes.
    fn sweep(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let random = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY));
            let is_temporary = random.is_some_and(|random| {
                random.len() == TEMPORARY_CHARS
                    && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
            // What stays costs room, and the next one tries once more.
            if is_temporary && entry.file_type().is_ok_and(|kind| kind.is_file()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// What is stored.
    pub fn list(&self) -> io::Result<Listing> {
        let _lock = if self.folder.is_dir() { Some(self.lock()?) } else { None };
        let state = self.state();
        let mut answers = match state.answers.map(|digest| Reader::open(&self.folder, digest)) {
            Some(Ok(reader)) => reader,
            // The next look says anew what they said.
            Some(Err(_)) | None => Reader::none(),
        };
        let mut listing = Listing { n_evicted: state.n_evicted, ..Listing::default() };
        for path in self.files()? {
            // As above: what cannot be read of them is said anew.
            let raw = answers.take(digest_of(&path)).unwrap_or_default();
            match self.stored(&path) {
                Ok(stored) => {
                    let since = raw.filter(|raw| raw.head.file == stored.digest);
                    listing.entries.push(since.map_or(stored.entry, |raw| raw.head.entry));
                }
                Err(reason) => {
                    note(&mut listing.unreadable, &mut listing.n_unreadable, &path, reason);
                }
            }
        }
        Ok(listing)
    }

    /// Removes one inventory, readable or not; false when there is none.
    pub fn forget(&self, digest: Digest) -> io::Result<bool> {
        let _lock = if self.folder.is_dir() { Some(self.lock()?) } else { None };
        match std::fs::remove_file(self.path(digest)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", digest.hex()))
    }

    /// Files of inventories, by name; none without a folder.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let listing = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listing => listing?,
        };
        let mut files = Vec::new();
        for entry in listing {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    }

    /// Opens a file that is nobody else's, and no link.
    fn open(path: &Path) -> Result<(File, std::fs::Metadata), String> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(path)
            .map_err(|error| error.to_string())?;
        let status = file.metadata().map_err(|error| error.to_string())?;
        if !status.is_file() {
            return Err("it is no file".into());
        }
        // What somebody else can write could say that an image is clean.
        if status.uid() != rustix::process::geteuid().as_raw() {
            return Err("it is another user's".into());
        }
        Ok((file, status))
    }

    /// Opens an inventory and reads what it says of itself.
    fn stored(&self, path: &Path) -> Result<Stored, String> {
        let (file, status) = Self::open(path)?;
        let stored = Stored::read(file, status).map_err(|error| error.to_string())?;
        if stored.entry.subject.digest.map(|digest| self.path(digest)).as_deref() != Some(path) {
            return Err("it has the name of another image".into());
        }
        Ok(stored)
    }

    /// Removes what was scanned longest ago, but never `kept`, until the store is within bounds.
    fn make_room(&self, kept: Digest) -> io::Result<u64> {
        let kept = self.path(kept);
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for path in self.files()? {
            if let Ok(status) = std::fs::symlink_metadata(&path) {
                files.push((status.modified()?, status.len(), path));
            }
        }
        files.sort();
        let (mut n, mut total) = (files.len(), files.iter().map(|(_, n, _)| n).sum::<u64>());
        let mut n_evicted = 0;
        for (_, length, path) in files {
            if n <= self.inventories_max && total <= self.bytes_max {
                break;
            }
            if path != kept && std::fs::remove_file(&path).is_ok() {
                n -= 1;
                total -= length;
                n_evicted += 1;
            }
        }
        Ok(n_evicted)
    }

    /// The state; a new one where it is absent or damaged, which costs a whole evaluation.
    fn state(&self) -> State {
        let read = || {
            let (file, _) = Self::open(&self.folder.join("state.json")).ok()?;
            let bytes = palisade_base::read_bounded(file, "state", STATE_BYTES_MAX).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        read().unwrap_or_default()
    }

    fn write_state(&self, state: &State) -> io::Result<()> {
        let bytes = serde_json::to_vec(state)?;
        palisade_base::fs::write_atomic(&self.folder.join("state.json"), &bytes, 0o600)
    }
}

/// The digest that the name of a file of the store gives; of any other name one that no image has.
fn digest_of(path: &Path) -> Digest {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("sha256:{name}").parse().unwrap_or_else(|_| Digest::from_bytes([0; 32]))
}

/// Counts a file that could not be read, and names it while there is room.
fn note(named: &mut Vec<Unreadable>, n: &mut u64, path: &Path, reason: String) {
    *n += 1;
    if named.len() < NAMED_MAX {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        named.push(Unreadable { file, reason });
    }
}

#[cfg(test)]
mod tests;

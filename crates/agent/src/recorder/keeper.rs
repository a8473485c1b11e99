//! The recorder's thread: compresses chunks, keeps the ring, writes the files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use palisade_sensor::capture::compact::chunk::{Kind, Raw};

use super::files::{self, FileError, Output};
use super::ring::{Ring, Sealed};
use super::{Continuous, Desk, OnAlert, ROTATION_FILES, Recording, Shared};

/// After a failure, a continuous recording is tried again this often.
const RETRY: Duration = Duration::from_secs(10);

/// A continuous recording asks for its next file this many bytes before it is full: a few
/// chunks, which are on their way until the state is there that the next file begins with.
const ROTATION_SLACK: u64 = 1 << 20;

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A chunk. `is_after_gap`: it belongs to a state before which records are missing.
    Chunk { raw: Raw, is_after_gap: bool },
    /// The last seconds go into this file, and what comes until the end.
    Begin(PathBuf),
    /// The file is finished.
    End,
    /// Everything is finished.
    Stop,
}

/// Recording around alerts.
#[derive(Debug)]
struct Alerts {
    settings: OnAlert,
    desk: Option<Desk>,
    ring: Ring,
    output: Option<Output>,
    /// What the file has of a state.
    progress: Progress,
}

/// How far a file is with its first state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It has none; events would be of no use in it.
    Nothing,
    /// Chunks of it come.
    Begun,
    /// It has one, and events.
    Complete,
}

impl Progress {
    /// Whether a chunk belongs into the file. States that follow from what the file has
    /// already are left out.
    fn admit(&mut self, chunk: &Sealed, begins: bool, is_after_gap: bool) -> bool {
        match (*self, chunk.is_state) {
            (Self::Nothing, true) if begins => *self = Self::Begun,
            (Self::Nothing, _) => return false,
            (Self::Begun, false) => *self = Self::Complete,
            (Self::Complete, true) => return is_after_gap,
            (Self::Begun, true) | (Self::Complete, false) => {}
        }
        true
    }
}

/// A recording of everything.
#[derive(Debug)]
struct Rotation {
    settings: Continuous,
    /// None after a failure.
    output: Option<Output>,
    /// The next state begins a new file.
    wants_state: bool,
    retry_at: Option<Instant>,
    progress: Progress,
}

/// The thread.
#[derive(Debug)]
pub(super) struct Keeper {
    alerts: Option<Alerts>,
    rotation: Option<Rotation>,
    shared: Arc<Shared>,
    say: Sender<String>,
    scratch: Vec<u8>,
}

impl Keeper {
    /// Makes the folder and the first file.
    pub(super) fn open(
        recording: Recording,
        shared: Arc<Shared>,
        say: Sender<String>,
        desk: Option<Desk>,
    ) -> Result<Self, FileError> {
        if let Some(on_alert) = &recording.on_alert {
            files::make_folder(&on_alert.folder)?;
        }
        let alerts = recording.on_alert.map(|settings| {
            let window_ns = u64::try_from(settings.before.as_nanos()).unwrap_or(u64::MAX);
            let ring = Ring::new(settings.ring_bytes, window_ns);
            Alerts { settings, desk, ring, output: None, progress: Progress::Nothing }
        });
        let rotation = recording.continuous.map(Rotation::open).transpose()?;
        Ok(Self { alerts, rotation, shared, say, scratch: Vec::new() })
    }

    pub(super) fn run(mut self, inbox: &Receiver<Message>) {
        while let Ok(message) = inbox.recv() {
            match message {
                Message::Chunk { raw, is_after_gap } => self.chunk(&raw, is_after_gap),
                Message::Begin(path) => self.begin(&path),
                Message::End => self.end(),
                Message::Stop => break,
            }
        }
        self.end();
        if let Some(output) = self.rotation.and_then(|rotation| rotation.output)
            && let Err(error) = output.close()
        {
            report(&self.shared, &self.say, &error);
        }
    }

    fn chunk(&mut self, raw: &Raw, is_after_gap: bool) {
        self.scratch.clear();
        raw.seal(&mut self.scratch);
        self.shared.queued.fetch_sub(raw.n_bytes(), Ordering::Relaxed);
        let sealed = Sealed {
            bytes: self.scratch.as_slice().into(),
            is_state: raw.kind() == Kind::State,
            last_ns: raw.last_ns,
            n_records: raw.n_records,
        };
        let begins = raw.begins_section();
        let Self { alerts, rotation, shared, say, .. } = self;
        if let Some(rotation) = rotation {
            let taken = rotation.take(&sealed, begins, is_after_gap);
            let is_wanting = rotation.wants_state;
            if let Err(error) = taken {
                report(shared, say, &error);
            }
            if is_wanting {
                shared.wants_section.store(true, Ordering::Relaxed);
            }
            if rotation.output.is_none() {
                shared.n_not_recorded.fetch_add(sealed.n_records, Ordering::Relaxed);
            }
        }
        if let Some(alerts) = alerts {
            alerts.take(&sealed, begins, is_after_gap, shared, say);
            alerts.ring.push(sealed, begins, is_after_gap);
            if alerts.ring.wants_section() || alerts.ring.is_empty() {
                shared.wants_section.store(true, Ordering::Relaxed);
            }
            shared.ring_bytes.store(alerts.ring.n_bytes() as u64, Ordering::Relaxed);
            shared.n_evicted_early.store(alerts.ring.n_evicted_early, Ordering::Relaxed);
        }
    }

    fn begin(&mut self, path: &Path) {
        self.end();
        let Self { alerts: Some(alerts), shared, say, .. } = self else { return };
        match alerts.begin(path) {
            Ok(removed) => {
                shared.n_files.fetch_add(1, Ordering::Relaxed);
                shared.n_files_removed.fetch_add(removed.len() as u64, Ordering::Relaxed);
                tell_removed(say, &removed);
            }
            Err(error) => {
                alerts.give_up(path);
                report(shared, say, &error);
            }
        }
    }

    fn end(&mut self) {
        let Self { alerts: Some(alerts), shared, say, .. } = self else { return };
        let Some(output) = alerts.output.take() else { return };
        let path = output.path().to_path_buf();
        if let Err(error) = output.close() {
            report(shared, say, &error);
        }
        // What was written since the beginning counts now.
        match alerts.make_room(Some(&path), 0) {
            Ok(removed) => {
                shared.n_files_removed.fetch_add(removed.len() as u64, Ordering::Relaxed);
                tell_removed(say, &removed);
            }
            Err(error) => report(shared, say, &error),
        }
    }
}

fn report(shared: &Shared, say: &Sender<String>, error: &FileError) {
    shared.n_failures.fetch_add(1, Ordering::Relaxed);
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let _ = say.send(format!("{error}: {source}"));
}

fn tell_removed(say: &Sender<String>, removed: &[PathBuf]) {
    if let (Some(first), n) = (removed.first(), removed.len()) {
        let rest = if n > 1 { format!(" and {} more", n - 1) } else { String::new() };
        let _ = say.send(format!("removed to make room: recording `{}`{rest}", first.display()));
    }
}

impl Alerts {
    /// One recording takes no more than half of what the folder may hold.
    fn file_bytes_max(&self) -> u64 {
        self.settings.files_bytes / 2
    }

    fn make_room(&self, keep: Option<&Path>, n: usize) -> Result<Vec<PathBuf>, FileError> {
        let limits = (self.settings.files_max, self.settings.files_bytes);
        let more = if n > 0 { self.ring.n_bytes() as u64 } else { 0 };
        files::make_room(&self.settings.folder, keep, limits, (n, more))
    }

    fn begin(&mut self, path: &Path) -> Result<Vec<PathBuf>, FileError> {
        let removed = self.make_room(None, 1)?;
        let mut output = Output::create(path)?;
        for chunk in self.ring.chunks() {
            output.write(&chunk.bytes)?;
        }
        self.progress = if self.ring.is_empty() { Progress::Nothing } else { Progress::Complete };
        self.output = Some(output);
        Ok(removed)
    }

    /// Writes a chunk that came while a file is open.
    fn take(
        &mut self,
        chunk: &Sealed,
        begins: bool,
        is_after_gap: bool,
        shared: &Shared,
        say: &Sender<String>,
    ) {
        let bytes_max = self.file_bytes_max();
        let Some(output) = &mut self.output else { return };
        if !self.progress.admit(chunk, begins, is_after_gap) {
            return;
        }
        let path = output.path().to_path_buf();
        if output.n_bytes() + chunk.bytes.len() as u64 > bytes_max {
            let _ = say.send(format!(
                "recording `{}` is full at {} bytes; what follows is not in it",
                path.display(),
                output.n_bytes()
            ));
        } else if let Err(error) = output.write(&chunk.bytes) {
            report(shared, say, &error);
        } else {
            return;
        }
        shared.n_not_recorded.fetch_add(chunk.n_records, Ordering::Relaxed);
        if let Some(output) = self.output.take()
            && let Err(error) = output.close()
        {
            report(shared, say, &error);
        }
        self.give_up(&path);
    }

    fn give_up(&mut self, path: &Path) {
        if let Some(desk) = &self.desk {
            desk.give_up(path);
        }
    }
}

impl Rotation {
    fn open(settings: Continuous) -> Result<Self, FileError> {
        for n in 1..ROTATION_FILES {
            let path = files::rotated(&settings.file, n);
            if path.symlink_metadata().is_ok() {
                let source = std::io::ErrorKind::AlreadyExists.into();
                return Err(FileError::new("create recording", &path, source));
            }
        }
        let output = Some(Output::create(&settings.file)?);
        Ok(Self {
            settings,
            output,
            wants_state: false,
            retry_at: None,
            progress: Progress::Nothing,
        })
    }

    fn file_bytes_max(&self) -> u64 {
        self.settings.files_bytes / ROTATION_FILES
    }

    fn take(&mut self, chunk: &Sealed, begins: bool, is_after_gap: bool) -> Result<(), FileError> {
        let n_more = chunk.bytes.len() as u64;
        if let Some(output) = &self.output {
            let n_bytes = output.n_bytes() + n_more;
            // A new file is asked for early enough that this one has room until it comes.
            self.wants_state |= n_bytes + ROTATION_SLACK > self.file_bytes_max();
            if n_bytes > self.file_bytes_max() && !begins {
                self.output = None;
                self.wants_state = true;
            }
        } else if self.retry_at.is_none_or(|at| Instant::now() >= at) {
            self.retry_at = Some(Instant::now() + RETRY);
            self.wants_state = true;
        }
        if begins && std::mem::take(&mut self.wants_state) {
            self.progress = Progress::Nothing;
            self.retry_at = Some(Instant::now() + RETRY);
            self.output = None;
            self.output = Some(self.next_file()?);
        }
        let Some(output) = &mut self.output else { return Ok(()) };
        if !self.progress.admit(chunk, begins, is_after_gap) {
            return Ok(());
        }
        let written = output.write(&chunk.bytes);
        if written.is_err() {
            self.output = None;
            self.retry_at = Some(Instant::now() + RETRY);
        }
        written
    }

    /// Shifts the files by one, the oldest away, and makes a new one.
    fn next_file(&self) -> Result<Output, FileError> {
        let place = |n: u64| match n {
            0 => self.settings.file.clone(),
            n => files::rotated(&self.settings.file, n),
        };
        for n in (1..ROTATION_FILES).rev() {
            let (from, to) = (place(n - 1), place(n));
            if let Err(source) = std::fs::rename(&from, &to)
                && source.kind() != std::io::ErrorKind::NotFound
            {
                return Err(FileError::new("rotate recording", &from, source));
            }
        }
        Output::create(&self.settings.file)
    }
}

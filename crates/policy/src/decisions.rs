//! What was decided about images, remembered: whether the signatures of an image satisfy a
//! policy is found out once, however many containers start from it and whoever starts them.
//!
//! One small file for each decision, in a folder that belongs to whoever decides. It is named
//! by everything that the decision rests on: the image's digest, the name by which rules found
//! it, the policy's text, and the content of all files that the policy names and they name (see
//! [`materials`]). When one of them changes there simply is no decision.
//!
//! Invariants:
//! - Only a whole file that belongs to this user or to root, that nobody else may write, and
//!   whose content is about this very question is believed; another one is removed.
//! - A refusal is never remembered: whoever waited for it is told, everybody else finds out
//!   anew, for a signature may have been added since.
//! - A decision ends with its time by the clock and by the time since the machine started: a
//!   clock that was set back lengthens nothing.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_base::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

mod materials;

pub use materials::{MaterialError, materials};

/// The folder's name within the data folder.
pub const FOLDER: &str = "decisions";
/// The trusted root that somebody put on this machine.
pub const MACHINE_ROOT: &str = "/etc/palisade/trusted_root.json";
/// The one that was fetched, within the data folder.
pub const FETCHED_ROOT: &str = "trusted-root/trusted_root.json";
/// Decisions that are kept; the oldest make room.
pub const DECISIONS_MAX: usize = 8192;
/// Largest file of a decision, in bytes.
const DECISION_BYTES_MAX: u64 = 16 << 10;
/// Longest name, reason or signer that is kept, in bytes.
const TEXT_BYTES_MAX: usize = 2048;
/// Digests of one image under which a decision is found.
pub const DIGESTS_MAX: usize = 128;
/// Files by which those who ask the same wait for each other.
const N_LOCKS: u8 = 64;
/// How far a clock may go back without anybody having set it: it is slewed.
const CLOCK_SLACK: Duration = Duration::from_secs(2);
/// How often a lock is tried.
const LOCK_LOOK: Duration = Duration::from_millis(2);
/// `O_NOFOLLOW | O_NONBLOCK` of Linux (`asm-generic/fcntl.h`): neither a link nor a pipe is
/// opened instead of a file. Architectures on which they differ have only the later check.
const OPEN_FLAGS: i32 =
    if cfg!(any(target_arch = "x86_64", target_arch = "x86", target_arch = "riscv64")) {
        0o400_000 | 0o4000
    } else {
        0o4000
    };

/// What a decision is about, and everything that it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// A digest of the image: of its index, its manifest or its configuration.
    pub digest: Digest,
    /// The name by which rules are about it.
    pub name: String,
    /// Digest of the policy's text.
    pub policy: Digest,
    /// Digest of the keys and roots that the policy names: see [`materials`].
    pub materials: Digest,
}

/// The trusted root of a machine whose data folder is `data`, if there is one: the one that
/// somebody put there, else the one that was fetched.
pub fn machine_root(data: &Path) -> Option<PathBuf> {
    let put = PathBuf::from(MACHINE_ROOT);
    [put, data.join(FETCHED_ROOT)].into_iter().find(|path| path.is_file())
}

/// When something happens, by two clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// By the machine's clock, which can be set.
    pub time: Timestamp,
    /// Since the machine started, in milliseconds; that cannot be set.
    pub uptime_millis: u64,
    /// Which start of the machine that was.
    pub boot: String,
}

impl Moment {
    /// Now. Without `/proc` the second clock stands still.
    pub fn now() -> Self {
        let read = |path: &str| {
            let mut text = [0_u8; 64];
            let n = File::open(path).and_then(|mut file| file.read(&mut text)).unwrap_or(0);
            String::from_utf8_lossy(&text[..n]).trim().to_string()
        };
        let uptime = read("/proc/uptime");
        let (seconds, rest) = uptime.split_once('.').unwrap_or_default();
        let hundredths = rest.get(..2).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let seconds = seconds.parse::<u64>().unwrap_or(0);
        Self {
            time: Timestamp::now(),
            uptime_millis: seconds.saturating_mul(1000).saturating_add(hundredths * 10),
            boot: read("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// How long it is since `earlier`; `None` when a clock was set back so far that nobody can
    /// tell.
    fn since(&self, earlier: &Self) -> Option<Duration> {
        let nanos = |time: Timestamp| i128::from(time.as_nanos());
        let by_clock = nanos(self.time) - nanos(earlier.time);
        if by_clock < -i128::try_from(CLOCK_SLACK.as_nanos()).unwrap_or(0) {
            return None;
        }
        let by_clock = Duration::from_nanos(u64::try_from(by_clock.max(0)).unwrap_or(u64::MAX));
        if self.boot != earlier.boot {
            return Some(by_clock);
        }
        let by_uptime = self.uptime_millis.checked_sub(earlier.uptime_millis)?;
        Some(by_clock.max(Duration::from_millis(by_uptime)))
    }
}

/// What was found out about an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What it is about.
    pub question: Question,
    /// When it was made.
    pub made: Moment,
    /// When it ends by the clock, whatever its lifetime: a rule, or what somebody said, holds
    /// no longer.
    pub until: Option<Timestamp>,
    /// What it says.
    pub answer: Answer,
}

/// What a decision says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The image satisfies the policy.
    Allowed {
        /// The rule that is met.
        rule: String,
        /// Who signed.
        signer: String,
    },
    /// It does not.
    Refused {
        /// Why.
        reason: String,
    },
}

/// A folder of decisions.
#[derive(Debug, Clone)]
pub struct Decisions {
    folder: PathBuf,
    lifetime: Duration,
}

/// The right to find out; held until dropped, or until its process ends.
#[derive(Debug)]
pub struct Flight {
    lock: Option<File>,
    began: Moment,
    /// Whether somebody else was at it.
    has_waited: bool,
}

impl Flight {
    /// Whether nobody else finds out the same now.
    pub fn is_alone(&self) -> bool {
        self.lock.is_some()
    }
}

impl Question {
    /// The file's name without its end.
    fn key(&self) -> String {
        let text = format!(
            "palisade decision v1\n{}\n{}\n{}\n{}",
            self.digest, self.policy, self.materials, self.name
        );
        Digest::of(text.as_bytes()).hex()
    }
}

impl Decisions {
    /// Those in `folder`, which need not exist; each is good for `lifetime`, and with none
    /// nothing is remembered.
    pub fn new(folder: &Path, lifetime: Duration) -> Self {
        Self { folder: folder.to_path_buf(), lifetime }
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, question: &Question) -> PathBuf {
        self.folder.join(format!("{}.json", question.key()))
    }

    /// The acceptance that holds `now`, if there is one.
    pub fn allowed(&self, question: &Question, now: &Moment) -> Option<Decision> {
        let decision = self.read(question)?;
        if !matches!(decision.answer, Answer::Allowed { .. }) {
            return None;
        }
        let holds = self.holds(&decision, now);
        if !holds {
            let _ = std::fs::remove_file(self.path(question));
        }
        holds.then_some(decision)
    }

    fn holds(&self, decision: &Decision, now: &Moment) -> bool {
        now.since(&decision.made).is_some_and(|age| age < self.lifetime)
            && decision.until.is_none_or(|until| now.time <= until)
    }

    /// What somebody else found out while `flight` was waited for, a refusal included.
    pub fn found_meanwhile(&self, question: &Question, flight: &Flight) -> Option<Decision> {
        let decision = self.read(question)?;
        // The clocks cannot tell what was found out just before from what was found out since.
        if matches!(decision.answer, Answer::Refused { .. }) && !flight.has_waited {
            return None;
        }
        let now = Moment::now();
        if matches!(decision.answer, Answer::Allowed { .. }) && self.holds(&decision, &now) {
            return Some(decision);
        }
        // A lifetime of nothing still lets those who wait share what was found out.
        let made = &decision.made;
        let is_new = made.boot == flight.began.boot
            && made.uptime_millis >= flight.began.uptime_millis
            && made.since(&flight.began).is_some()
            && now.since(made).is_some();
        (is_new && decision.until.is_none_or(|until| now.time <= until)).then_some(decision)
    }

    /// Waits at most `wait` for everybody who finds out the same. After that, and where there
    /// can be no lock, everybody finds out alone.
    pub fn flight(&self, question: &Question, wait: Duration) -> Flight {
        let began = Moment::now();
        let mut has_waited = false;
        let lock = self.lock(question, wait, &mut has_waited).ok().flatten();
        Flight { lock, began, has_waited }
    }

    fn lock(
        &self,
        question: &Question,
        wait: Duration,
        has_waited: &mut bool,
    ) -> io::Result<Option<File>> {
        self.prepare()?;
        // A fixed number of files: one that is removed would be locked by two.
        let n = u8::from_str_radix(question.key().get(..2).unwrap_or_default(), 16).unwrap_or(0);
        let path = self.folder.join(format!("lock-{:02}", n % N_LOCKS));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).custom_flags(OPEN_FLAGS).open(path)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => {
                    *has_waited = true;
                    if start.elapsed() >= wait {
                        return Ok(None);
                    }
                    std::thread::sleep(LOCK_LOOK);
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// Remembers `answer` to `question`, and to the same of the image's other `digests`.
    ///
    /// # Errors
    ///
    /// The folder cannot be written; the decision is as good without.
    pub fn keep(
        &self,
        question: &Question,
        digests: &[Digest],
        answer: &Answer,
        until: Option<Timestamp>,
    ) -> io::Result<()> {
        let texts = match &answer {
            Answer::Allowed { rule, signer } => [rule.len(), signer.len()],
            Answer::Refused { reason } => [reason.len(), 0],
        };
        if texts.into_iter().chain([question.name.len()]).any(|n| n > TEXT_BYTES_MAX) {
            return Err(io::Error::other("a text is too long to be remembered"));
        }
        self.prepare()?;
        self.make_room(digests.len().min(DIGESTS_MAX) + 1)?;
        let made = Moment::now();
        let others = digests.iter().filter(|digest| **digest != question.digest);
        for digest in std::iter::once(&question.digest).chain(others.take(DIGESTS_MAX)) {
            let question = Question { digest: *digest, ..question.clone() };
            let path = self.path(&question);
            let decision = Decision { question, made: made.clone(), until, answer: answer.clone() };
            let body = serde_json::to_string(&decision).map_err(io::Error::other)?;
            let text = format!("{}\n{body}\n", Digest::of(body.as_bytes()).hex());
            palisade_base::fs::write_atomic(&path, text.as_bytes(), 0o600)?;
        }
        Ok(())
    }

    /// Forgets everything that was decided; gives how much that was.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or changed.
    pub fn forget_all(&self) -> io::Result<usize> {
        let mut n = 0;
        for (path, _) in self.list()? {
            std::fs::remove_file(path)?;
            n += 1;
        }
        Ok(n)
    }

    fn prepare(&self) -> io::Result<()> {
        match DirBuilder::new().recursive(true).mode(0o700).create(&self.folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let metadata = std::fs::symlink_metadata(&self.folder)?;
        if !metadata.is_dir() || !is_ours(&metadata) {
            return Err(io::Error::other("the folder belongs to others, or others may write it"));
        }
        Ok(())
    }

    /// The decision on disk, proved to be whole, ours and about this question.
    fn read(&self, question: &Question) -> Option<Decision> {
        let path = self.path(question);
        let file = OpenOptions::new().read(true).custom_flags(OPEN_FLAGS).open(&path).ok()?;
        let decision = file
            .metadata()
            .ok()
            .filter(|metadata| metadata.is_file() && is_ours(metadata))
            .and_then(|_| palisade_base::read_bounded(file, "decision", DECISION_BYTES_MAX).ok())
            .and_then(|bytes| parse(&bytes))
            .filter(|decision| decision.question == *question);
        if decision.is_none() {
            let _ = std::fs::remove_file(path);
        }
        decision
    }

    /// The files of decisions, with when they were written.
    fn list(&self) -> io::Result<Vec<(PathBuf, i64)>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            // What a killed writer left goes with them.
            let is_decision = name.to_string_lossy().ends_with(".json")
                || name.to_string_lossy().starts_with(".tmp");
            if let (true, Ok(metadata)) = (is_decision, entry.metadata()) {
                found.push((entry.path(), metadata.mtime()));
            }
        }
        Ok(found)
    }

    fn make_room(&self, n_new: usize) -> io::Result<()> {
        let mut found = self.list()?;
        if found.len() + n_new <= DECISIONS_MAX {
            return Ok(());
        }
        found.sort_by_key(|(_, written)| *written);
        // More than is needed now, so that not every decision has to make room.
        let n = (found.len() + n_new - DECISIONS_MAX).max(DECISIONS_MAX / 8);
        for (path, _) in found.into_iter().take(n) {
            let _ = std::fs::remove_file(path);
        }
        Ok(())
    }
}

/// Whether nobody but this user and root could have written it.
fn is_ours(metadata: &std::fs::Metadata) -> bool {
    let owner = metadata.uid();
    let is_owner =
        owner == 0 || std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == owner);
    is_owner && metadata.mode() & 0o022 == 0
}

/// The decision in a file: the digest of its text, then the text.
fn parse(bytes: &[u8]) -> Option<Decision> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (digest, body) = text.split_once('\n')?;
    let body = body.strip_suffix('\n')?;
    if Digest::of(body.as_bytes()).hex() != digest {
        return None;
    }
    serde_json::from_str(body).ok()
}

#[cfg(test)]
mod tests;

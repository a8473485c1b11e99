//! Asking a database about everything that is stored.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Explain, Timestamp};
use palisade_model::Inventory;
use palisade_model::finding::Vulnerability;

use super::answers::{self, Answer, AnswerHead, Raw, Reader, Writer};
use super::changed::{Changed, Judged, Pairs};
use super::file::{self, EncodeError, Entry, Evaluation, ReadStoredError, Stored};
use super::in_order::in_order;
use super::news::{self, Listener, Untold, id};
use super::{CHAIN_MAX, State, Store, Unreadable, digest_of, note};
use crate::db::{Database, ReadDatabaseError};
use crate::matching::{self, Matches, Room};

/// Threads that look, at most.
const THREADS_MAX: usize = 4;
/// What is noted beside an inventory however small that is, in bytes.
const NOTED_MIN: u64 = 4096;

/// How to look.
#[derive(Debug, Clone, Copy)]
pub struct LookOptions<'a> {
    /// The present.
    pub now: Timestamp,
    /// Release of the program: another may match differently.
    pub program: &'a str,
    /// Whether what is still there is wanted in full.
    pub details: bool,
    /// Whether everything is matched anew, as scores of EPSS want it.
    pub full: bool,
    /// Threads that may match at the same time: no more than processors and four.
    pub n_threads_max: usize,
    /// Whether it is the watch that looks, and the most that it takes of one inventory: what is
    /// larger is named as unreadable and left to others.
    pub watch: Option<Bounds>,
}

/// The most of one inventory that the watch takes into memory, whatever an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Packages.
    pub packages_max: u64,
    /// Vulnerabilities, those that were found last and those that are found now.
    pub vulnerabilities_max: u64,
    /// Bytes of what is read of the inventory, and again of what is found in it now.
    pub bytes_max: u64,
}

impl Bounds {
    /// Refuses by its head what is larger.
    fn check(&self, entry: &Entry) -> Result<(), Trouble> {
        for (n, max, what) in [
            (entry.n_packages, self.packages_max, "packages"),
            (entry.n_vulnerabilities, self.vulnerabilities_max, "vulnerabilities"),
        ] {
            if n > max {
                return Err(Trouble::too_large(&format!("{n} {what}, at most {max}")));
            }
        }
        Ok(())
    }

    fn room(&self) -> Room {
        let n_max = usize::try_from(self.vulnerabilities_max).unwrap_or(usize::MAX);
        Room { n_max: n_max.min(matching::VULNERABILITIES_MAX), bytes_max: self.bytes_max }
    }
}

/// Why the store could not be looked through.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The folder could not be read or written.
    #[error("look through the stored inventories in `{0}`")]
    Store(std::path::PathBuf, #[source] io::Error),
    /// The advisory database could not be read.
    #[error("match stored inventories with the advisory database")]
    Database(#[from] ReadDatabaseError),
}

impl Explain for LookError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(..) => Some("check the folder's permissions and the disk".into()),
            Self::Database(error) => error.hint(),
        }
    }
}

/// One inventory and what the database says of it now.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it is.
    pub entry: Entry,
    /// Vulnerabilities that were not found at the last look.
    pub new: Vec<Vulnerability>,
    /// Vulnerabilities that were found then, and are not now.
    pub gone: Vec<Vulnerability>,
    /// How many are there as before.
    pub n_still: u64,
    /// All that is found now, and the inventory without its packages' files; with details alone.
    pub details: Option<(Evaluation, Inventory)>,
}

/// A look as a whole.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Inventories that could be read.
    pub n_inventories: u64,
    /// Those that were matched anew.
    pub n_matched: u64,
    /// Whether only what the database changed was matched.
    pub is_delta: bool,
    /// When the last look was.
    pub last: Option<Timestamp>,
    /// The time of this one, by which it is acknowledged: the present, but never before an earlier
    /// look's.
    pub time: Timestamp,
    /// Inventories that made room for others, ever.
    pub n_evicted: u64,
    /// The first [`super::NAMED_MAX`] files that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// How many could not be read.
    pub n_unreadable: u64,
}

/// What must be matched anew.
enum Scope {
    All,
    /// What this database says differently from the older one, if anything.
    Changed(Vec<(String, String)>, Option<Box<Database>>),
}

/// What a look at one inventory gives.
struct Looked {
    seen: Seen,
    is_matched: bool,
    since: Since,
}

/// What is known of an inventory since its file was written.
enum Since {
    /// What was known before the look.
    AsBefore(Digest),
    Noted(Box<Raw>),
    /// Nothing: the file itself says it, which has this digest.
    Nothing(Digest),
}

/// Why a look ended before its end.
enum Ended {
    /// What earlier looks found makes no sense.
    Answers(io::Error),
    Look(LookError),
}

impl From<LookError> for Ended {
    fn from(error: LookError) -> Self {
        Self::Look(error)
    }
}

/// One look at the whole store.
struct Look<'a> {
    store: &'a Store,
    database: &'a Database,
    options: &'a LookOptions<'a>,
    state: &'a State,
    /// Files that the last look found as they are now.
    seen: &'a HashSet<Digest>,
    /// What differs; none where everything is matched.
    changed: Option<&'a Changed<'a>>,
}

impl Store {
    /// Asks `database` about every inventory once any other look has ended, gives each to `each`,
    /// and remembers the answers. A file that cannot be read is named in the summary. The caller
    /// acknowledges the look once it has passed the answers on ([`Store::acknowledge`]); `each`
    /// must not change the store, which is locked.
    pub fn look(
        &self,
        database: &Database,
        options: &LookOptions<'_>,
        each: &mut dyn FnMut(Seen),
    ) -> Result<Summary, LookError> {
        let io_error = |error| LookError::Store(self.folder.clone(), error);
        if options.watch.is_some() {
            // What is told from now on is told to the watch as well, whoever looks first.
            let _refused =
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        }
        // Without a folder there is nothing to look at, and others make none.
        let _lock = if self.folder.is_dir() { Some(self.lock().map_err(io_error)?) } else { None };
        let mut state = self.state();
        self.sweep();
        let time = state.time(options.now);
        let options = &LookOptions { now: time, ..*options };
        let mut scope = self.scope(database, options, &state.chain, &state.program)?;
        let mut answers = Reader::none();
        if let Some(digest) = state.answers {
            match Reader::open(&self.folder, digest) {
                Ok(reader) => answers = reader,
                Err(error) => {
                    tracing::debug!(%error, "what looks found is lost: everything is matched anew");
                    scope = Scope::All;
                }
            }
        }
        let files = self.files().map_err(io_error)?;
        if !files.is_empty() {
            if matches!(scope, Scope::All) {
                // Interrupted, it begins anew: nothing is known to be up to date until the end.
                state.chain.clear();
            }
            state.begun = Some(time);
            self.write_state(&state).map_err(io_error)?;
        }
        let (pairs, older) = match scope {
            Scope::All => (None, None),
            Scope::Changed(pairs, older) => (Some(Pairs::new(pairs, database)?), older),
        };
        let changed = pairs.as_ref().map(|pairs| Changed::new(pairs, older.as_deref(), database));
        let changed = changed.transpose()?;
        let mut summary = Summary {
            is_delta: changed.is_some(),
            last: state.looked,
            time,
            n_evicted: state.n_evicted,
            ..Summary::default()
        };
        let before = answers.seen().clone();
        let look = Look {
            store: self,
            database,
            options,
            state: &state,
            seen: &before,
            changed: changed.as_ref(),
        };
        let mut writer = Writer::new(&self.folder, self.answers_max);
        let mut seen = BTreeSet::new();
        let n_threads =
            std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX));
        let n_threads = n_threads.min(options.n_threads_max);
        let things = files.iter().map(|path| match answers.take(digest_of(path)) {
            Ok(known) => Ok((path, known)),
            Err(error) => Err(Ended::Answers(error)),
        });
        let ended = in_order(
            n_threads,
            things,
            |(path, known): &(&PathBuf, Option<Raw>)| look.at(path, known.as_ref()),
            |(path, known), looked| {
                match looked {
                    Ok(looked) => {
                        summary.n_inventories += 1;
                        summary.n_matched += u64::from(looked.is_matched);
                        each(looked.seen);
                        let kept = match looked.since {
                            Since::AsBefore(digest) => {
                                look.keep(path, digest, known.as_ref(), &mut writer)?
                            }
                            Since::Noted(raw) => {
                                look.keep(path, raw.head.file, Some(&raw), &mut writer)?
                            }
                            Since::Nothing(digest) => Some(digest),
                        };
                        seen.extend(kept);
                    }
                    Err(Trouble::Look(error)) => return Err(error.into()),
                    Err(Trouble::File(reason)) => {
                        note(&mut summary.unreadable, &mut summary.n_unreadable, path, reason);
                        // It may be readable again, and is matched as a whole then; what was told
                        // of it is not news.
                        if let Some(known) = known.filter(|known| writer.has_room(known)) {
                            writer.push(&known).map_err(io_error)?;
                        }
                    }
                }
                Ok(())
            },
        );
        match ended {
            Ok(()) => {}
            Err(Ended::Look(error)) => return Err(error),
            Err(Ended::Answers(error)) => {
                // The next look does without them.
                let state = State { chain: Vec::new(), answers: None, ..state };
                self.write_state(&state).map_err(io_error)?;
                return Err(io_error(error));
            }
        }
        let begins_watch = options.watch.is_some() && state.watched.is_none();
        if begins_watch {
            // Noted with the answers, which say what it is to be told.
            state.watched = Some(state.looked.unwrap_or_default());
        }
        if files.is_empty() {
            if begins_watch && self.folder.is_dir() {
                self.write_state(&state).map_err(io_error)?;
            }
            return Ok(summary);
        }
        state.answers = writer.finish(&seen).map_err(io_error)?;
        let digest = database.digest();
        if state.chain.last() != Some(&digest) {
            state.chain.push(digest);
        }
        let n_old = state.chain.len().saturating_sub(CHAIN_MAX);
        state.chain.drain(..n_old);
        state.program = options.program.to_string();
        self.keep_database(database.path());
        self.write_state(&state).map_err(io_error)?;
        answers::sweep(&self.folder, state.answers);
        Ok(summary)
    }

    /// What the last look's database and this one say differently, where that can be known.
    fn scope(
        &self,
        database: &Database,
        options: &LookOptions<'_>,
        chain: &[Digest],
        program: &str,
    ) -> Result<Scope, LookError> {
        if options.full || program != options.program {
            return Ok(Scope::All);
        }
        let Some(last) = chain.last() else { return Ok(Scope::All) };
        if *last == database.digest() {
            return Ok(Scope::Changed(Vec::new(), None));
        }
        // Going back to a database of the chain: evaluations of then and of since look alike.
        if chain.contains(&database.digest()) {
            return Ok(Scope::All);
        }
        let older = match Database::open(&self.folder.join("last.db")) {
            Ok(older) if older.digest() == *last => older,
            _ => return Ok(Scope::All),
        };
        let (ours, theirs) = (database.metadata(), older.metadata());
        // What could be judged at all is another.
        if !ours.ecosystems.keys().eq(theirs.ecosystems.keys()) || ours.partial != theirs.partial {
            return Ok(Scope::All);
        }
        // The older database may be damaged; then everything is matched.
        let Ok(changes) = database.changed_since(&older) else { return Ok(Scope::All) };
        let mut pairs: BTreeSet<(String, String)> = changes.packages.into_iter().collect();
        for id in &changes.exploited {
            pairs.extend(database.packages_of(id)?);
        }
        Ok(Scope::Changed(pairs.into_iter().collect(), Some(Box::new(older))))
    }

    /// Keeps the database, so that the next one can be compared with it. A link costs no room;
    /// where it cannot be made the next look matches everything.
    pub(super) fn keep_database(&self, path: &Path) {
        let (new, last) = (self.folder.join("last.db.new"), self.folder.join("last.db"));
        let _ = std::fs::remove_file(&new);
        let source = std::fs::canonicalize(path);
        let kept = source.and_then(|path| std::fs::hard_link(path, &new));
        if let Err(error) = kept.and_then(|()| std::fs::rename(&new, &last)) {
            tracing::debug!(%error, "the database is not kept for the next look");
        }
        // Renaming a link onto another of the same file leaves both.
        let _ = std::fs::remove_file(&new);
    }
}

impl Look<'_> {
    /// Notes what is known of the inventory at `path` since its file `digest` was written, or
    /// writes that anew where there is no room; the digest of the file that is there then, or none
    /// where it can no longer be read: it is matched as a whole when it can.
    fn keep(
        &self,
        path: &Path,
        digest: Digest,
        raw: Option<&Raw>,
        writer: &mut Writer,
    ) -> Result<Option<Digest>, LookError> {
        let Some(raw) = raw else { return Ok(Some(digest)) };
        if writer.has_room(raw) {
            writer.push(raw).map_err(|error| self.failed(error))?;
            return Ok(Some(digest));
        }
        let fold = || {
            let stored = self.store.stored(path)?;
            let answer = raw.answer().map_err(|error| Trouble::File(error.to_string()))?;
            let (evaluation, inventory) = stored.whole(Some(&answer))?;
            self.write(path, &stored, &raw.head.entry, &evaluation, &inventory)
        };
        match fold() {
            Ok(digest) => Ok(Some(digest)),
            Err(Trouble::File(_)) => Ok(None),
            Err(Trouble::Look(error)) => Err(error),
        }
    }

    /// Looks at the inventory at `path`, of which `known` was written since, unless it is another
    /// by now.
    fn at(&self, path: &Path, known: Option<&Raw>) -> Result<Looked, Trouble> {
        let stored = self.store.stored(path)?;
        let known = known.filter(|raw| raw.head.file == stored.digest);
        let entry = known.map_or(&stored.entry, |raw| &raw.head.entry).clone();
        if let Some(bounds) = self.options.watch {
            bounds.check(&stored.entry)?;
            bounds.check(&entry)?;
            let n_noted = known.map_or(0, Raw::n_bytes);
            stored.limit(bounds.bytes_max.saturating_sub(n_noted));
        }
        let answer = match known.map(Raw::answer) {
            None => None,
            Some(Ok(answer)) => Some(answer),
            // It says nothing then, and what it alone said is told once more.
            Some(Err(error)) => {
                tracing::debug!(%error, "what looks found in an inventory is lost");
                let entry = stored.entry.clone();
                return self.anew(path, &stored, entry, None);
            }
        };
        let is_untold = self.state.is_untold(&entry, self.listener());
        match self.changed {
            Some(changed) if self.is_of_the_chain(&entry, stored.digest) => {
                let groups = if entry.database == Some(self.database.digest()) {
                    Vec::new()
                } else {
                    stored.groups_with(&changed.keys)
                };
                if groups.is_empty() {
                    let seen = self.unchanged(&stored, entry, answer.as_ref(), is_untold)?;
                    let since = match known {
                        Some(_) => Since::AsBefore(stored.digest),
                        None => Since::Nothing(stored.digest),
                    };
                    return Ok(Looked { seen, is_matched: false, since });
                }
                // What was found and its listener was not told is compared as a whole.
                if !is_untold {
                    let untold = self.untold(&stored, &entry, answer.as_ref())?;
                    let judged =
                        changed.judge(&stored, &groups, &entry, answer.clone(), self.room())?;
                    if let Some(judged) = judged {
                        return self.changed(path, &stored, entry, judged, untold);
                    }
                }
            }
            _ => {}
        }
        self.anew(path, &stored, entry, answer)
    }

    /// Who is told what this look finds.
    fn listener(&self) -> Listener {
        if self.options.watch.is_some() { Listener::Watch } else { Listener::Reader }
    }

    /// What is still to be told of `stored`.
    fn untold(
        &self,
        stored: &Stored,
        entry: &Entry,
        answer: Option<&Answer>,
    ) -> Result<Untold, Trouble> {
        let listeners = [Listener::Reader, Listener::Watch];
        if !listeners.into_iter().any(|listener| self.state.is_untold(entry, listener)) {
            return Ok(Untold::default());
        }
        let noted = match answer {
            Some(answer) => answer.untold(),
            None => stored.rest()?.evaluation.untold(),
        };
        Ok(noted.still(entry, self.state))
    }

    /// Whether what `entry` of the file `digest` says was found is what the last database finds: by
    /// that it was evaluated, or by an earlier one of the chain, and each look since has found it.
    fn is_of_the_chain(&self, entry: &Entry, digest: Digest) -> bool {
        let chain = &self.state.chain;
        let is_known = |known| {
            known == self.database.digest()
                || chain.last() == Some(&known)
                || (chain.contains(&known) && self.seen.contains(&digest))
        };
        // Whether it has the functions of its programs is asked once.
        entry.functions.is_some() && entry.database.is_some_and(is_known)
    }

    /// What may be collected of one inventory, where that is bounded.
    fn room(&self) -> Option<Room> {
        self.options.watch.map(|bounds| bounds.room())
    }

    fn failed(&self, error: io::Error) -> LookError {
        LookError::Store(self.store.folder.clone(), error)
    }

    fn io(&self, error: io::Error) -> Trouble {
        Trouble::Look(self.failed(error))
    }

    /// What is said of an inventory of which nothing changed; `is_untold`: since a look whose
    /// answers nobody was told.
    fn unchanged(
        &self,
        stored: &Stored,
        entry: Entry,
        answer: Option<&Answer>,
        is_untold: bool,
    ) -> Result<Seen, Trouble> {
        let (mut new, mut gone, mut details) = (Vec::new(), Vec::new(), None);
        if self.options.details || is_untold {
            let (evaluation, inventory) = stored.whole(answer)?;
            if is_untold {
                let untold = evaluation.untold();
                let news = untold.to(self.listener());
                let is_new = |v: &&Vulnerability| news.new.contains(&id(v));
                new = evaluation.vulnerabilities.iter().filter(is_new).cloned().collect();
                gone.clone_from(&news.gone);
            }
            details = self.options.details.then_some((evaluation, inventory));
        }
        let n_still = entry.n_vulnerabilities.saturating_sub(new.len() as u64);
        Ok(Seen { entry, new, gone, n_still, details })
    }

    /// What changed in some packages; noted beside the inventory while there is room.
    fn changed(
        &self,
        path: &Path,
        stored: &Stored,
        mut entry: Entry,
        mut judged: Judged,
        untold: Untold,
    ) -> Result<Looked, Trouble> {
        entry.database = Some(self.database.digest());
        judged.finish(&mut entry, self.options.now, untold);
        let Judged { answer, new, gone, .. } = judged;
        let head = AnswerHead { file: stored.digest, entry: entry.clone() };
        let raw = Raw::new(head, &answer).map_err(|error| self.io(error))?;
        let is_noted = is_noted(&raw, stored);
        let (mut details, mut since) = (None, Since::Noted(Box::new(raw)));
        if self.options.details || !is_noted {
            let whole = stored.whole(Some(&answer))?;
            if !is_noted {
                since = Since::Nothing(self.write(path, stored, &entry, &whole.0, &whole.1)?);
            }
            details = self.options.details.then_some(whole);
        }
        let n_still = entry.n_vulnerabilities.saturating_sub(new.len() as u64);
        let seen = Seen { entry, new, gone, n_still, details };
        Ok(Looked { seen, is_matched: true, since })
    }

    /// Matches all packages of an inventory.
    fn anew(
        &self,
        path: &Path,
        stored: &Stored,
        mut entry: Entry,
        answer: Option<Answer>,
    ) -> Result<Looked, Trouble> {
        let (before, inventory) = stored.whole(answer.as_ref())?;
        let found = matching::find_within(&inventory, self.database, self.room())?;
        let mut now = Evaluation::from(found.ok_or_else(Trouble::too_many)?);
        // Compared is with what somebody was told last: what came and went since is nobody's news.
        let untold = before.untold().still(&entry, self.state);
        let (came, went) = news::difference(&before.vulnerabilities, &now.vulnerabilities);
        let untold = untold.after(&came, &went);
        let is_same = before.finds_as(&now);
        drop(before);
        entry.database = Some(self.database.digest());
        entry.functions.get_or_insert_with(|| file::has_functions(&inventory));
        entry.look = (!untold.is_empty()).then_some(self.options.now);
        entry.n_vulnerabilities = now.vulnerabilities.len() as u64;
        let news = untold.to(self.listener());
        let is_new: Vec<bool> =
            now.vulnerabilities.iter().map(|v| news.new.contains(&id(v))).collect();
        let gone = news.gone.clone();
        // Where the same is found the file stays as it is, which costs no flush of the disk.
        let noted = if is_same {
            let mut answer = answer.unwrap_or_default();
            answer.note(untold.clone());
            let head = AnswerHead { file: stored.digest, entry: entry.clone() };
            let raw = Raw::new(head, &answer).map_err(|error| self.io(error))?;
            is_noted(&raw, stored).then(|| Since::Noted(Box::new(raw)))
        } else {
            None
        };
        now.note(untold);
        let since = match noted {
            Some(since) => since,
            None => Since::Nothing(self.write(path, stored, &entry, &now, &inventory)?),
        };
        let (new, details) = if self.options.details {
            let all = now.vulnerabilities.iter().zip(&is_new);
            let new = all.filter(|(_, is_new)| **is_new).map(|(v, _)| v.clone()).collect();
            (new, Some((now, inventory)))
        } else {
            let mut is_new = is_new.into_iter();
            now.vulnerabilities.retain(|_| is_new.next().unwrap_or_default());
            (now.vulnerabilities, None)
        };
        let n_still = entry.n_vulnerabilities.saturating_sub(new.len() as u64);
        let seen = Seen { entry, new, gone, n_still, details };
        Ok(Looked { seen, is_matched: true, since })
    }

    /// Writes the inventory anew; the digest of the file.
    fn write(
        &self,
        path: &Path,
        stored: &Stored,
        entry: &Entry,
        evaluation: &Evaluation,
        inventory: &Inventory,
    ) -> Result<Digest, Trouble> {
        let (bytes, digest) = file::encode(entry, evaluation, inventory, self.store.file_max)
            .map_err(|error| match error {
                EncodeError::TooLarge => Trouble::File(error.to_string()),
                EncodeError::Io(error) => self.io(error),
            })?;
        let write = || {
            palisade_base::fs::write_atomic(path, &bytes, 0o600)?;
            // Room is made by when an image was scanned, not by when it was looked at.
            std::fs::File::open(path)?.set_modified(stored.status.modified()?)
        };
        write().map_err(|error| self.io(error))?;
        Ok(digest)
    }
}

/// Whether `raw` is kept beside the inventory: not what is more than the inventory itself.
fn is_noted(raw: &Raw, stored: &Stored) -> bool {
    raw.n_bytes() <= stored.status.len().max(NOTED_MIN)
}

/// Why one inventory could not be looked at.
pub(super) enum Trouble {
    /// The file, which is named and skipped.
    File(String),
    /// What stops everything.
    Look(LookError),
}

impl Trouble {
    /// What is more than [`Bounds`] allow, and how much that is.
    fn too_large(how: &str) -> Self {
        let who = "`palisade scan --stored` judges it";
        Self::File(format!("it is too large for the watch ({how}): {who}"))
    }

    /// As [`Trouble::too_large`], of what is found in it now.
    pub(super) fn too_many() -> Self {
        Self::too_large("so much is found in it")
    }
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::File(reason)
    }
}

impl From<ReadStoredError> for Trouble {
    fn from(error: ReadStoredError) -> Self {
        match error {
            ReadStoredError::Limit => Self::too_large("in bytes"),
            error => Self::File(error.to_string()),
        }
    }
}

impl From<ReadDatabaseError> for Trouble {
    fn from(error: ReadDatabaseError) -> Self {
        Self::Look(error.into())
    }
}

impl From<Matches> for Evaluation {
    fn from(found: Matches) -> Self {
        Self {
            vulnerabilities: found.vulnerabilities,
            n_packages_matched: found.n_packages_matched,
            unmatched: found.unmatched,
            n_dropped: found.n_dropped,
            new: HashSet::new(),
            gone: Vec::new(),
            watch: None,
        }
    }
}

//! Asking a database about everything that is stored.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use palisade_base::{Explain, Timestamp};
use palisade_model::Inventory;
use palisade_model::finding::Vulnerability;

use super::file::{self, Entry, Evaluation, Head};
use super::{CHAIN_MAX, State, Store, Unreadable, note};
use crate::db::{Database, ReadDatabaseError};
use crate::matching::{self, Matches};

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
    Changed(HashSet<u64>),
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
        // Without a folder there is nothing to look at, and nothing is made.
        let _lock = if self.folder.is_dir() { Some(self.lock().map_err(io_error)?) } else { None };
        let mut state = self.state();
        let scope = self.scope(database, options, &state.chain, &state.program)?;
        let mut summary = Summary {
            is_delta: matches!(scope, Scope::Changed(_)),
            last: state.looked,
            n_evicted: state.n_evicted,
            ..Summary::default()
        };
        let files = self.files().map_err(io_error)?;
        if matches!(scope, Scope::All) && !files.is_empty() {
            // Interrupted, it begins anew: nothing is known to be up to date until the end.
            state.chain.clear();
            self.write_state(&state).map_err(io_error)?;
        }
        for path in &files {
            match self.look_at(path, database, options, &scope, &state) {
                Ok((seen, is_matched)) => {
                    summary.n_inventories += 1;
                    summary.n_matched += u64::from(is_matched);
                    each(seen);
                }
                Err(Trouble::Look(error)) => return Err(error),
                Err(Trouble::File(reason)) => {
                    note(&mut summary.unreadable, &mut summary.n_unreadable, path, reason);
                }
            }
        }
        if files.is_empty() {
            return Ok(summary);
        }
        let digest = database.digest();
        if state.chain.last() != Some(&digest) {
            state.chain.push(digest);
        }
        let n_old = state.chain.len().saturating_sub(CHAIN_MAX);
        state.chain.drain(..n_old);
        state.program = options.program.to_string();
        self.keep_database(database.path());
        self.write_state(&state).map_err(io_error)?;
        Ok(summary)
    }

    /// What the last look's database and this one say differently, where that can be known.
    fn scope(
        &self,
        database: &Database,
        options: &LookOptions<'_>,
        chain: &[palisade_base::Digest],
        program: &str,
    ) -> Result<Scope, LookError> {
        if options.full || program != options.program {
            return Ok(Scope::All);
        }
        let Some(last) = chain.last() else { return Ok(Scope::All) };
        if *last == database.digest() {
            return Ok(Scope::Changed(HashSet::new()));
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
        let mut pairs = changes.packages;
        for id in &changes.exploited {
            pairs.extend(database.packages_of(id)?);
        }
        Ok(Scope::Changed(pairs.iter().map(|(e, name)| file::key(e, name)).collect()))
    }

    fn look_at(
        &self,
        path: &Path,
        database: &Database,
        options: &LookOptions<'_>,
        scope: &Scope,
        state: &State,
    ) -> Result<(Seen, bool), Trouble> {
        let (head, status) = self.head(path)?;
        let is_untold =
            head.entry.look.is_some_and(|look| state.looked.is_none_or(|told| look > told));
        let digest = database.digest();
        let is_current = match (head.entry.database, scope) {
            // Whether it has the functions of its programs is asked once.
            _ if head.entry.functions.is_none() => false,
            (_, Scope::All) | (None, _) => false,
            (Some(known), Scope::Changed(keys)) => {
                known == digest || (state.chain.contains(&known) && !head.has_any(keys))
            }
        };
        if is_current {
            return Ok((unchanged(head, path, options, is_untold)?, false));
        }
        let bytes = Store::read(path)?;
        let (before, inventory) = (head.evaluation(&bytes)?, head.inventory(&bytes)?);
        let found = matching::find_vulnerabilities(&inventory, database)
            .map_err(|error| Trouble::Look(error.into()))?;
        let mut now = Evaluation::from(found);
        // Compared is with what somebody was told last: what came and went since is nobody's news.
        let (untold, lost) =
            if is_untold { (before.new, before.gone) } else { (HashSet::new(), Vec::new()) };
        let found = ids(&now.vulnerabilities);
        let told = before.vulnerabilities.into_iter().filter(|v| !untold.contains(&id(v)));
        let told: Vec<Vulnerability> = told.chain(lost).collect();
        let known = ids(&told);
        let is_new = |v: &&Vulnerability| !known.contains(&id(v));
        let new: Vec<Vulnerability> = now.vulnerabilities.iter().filter(is_new).cloned().collect();
        let gone: Vec<Vulnerability> =
            told.into_iter().filter(|v| !found.contains(&id(v))).collect();
        now.new = ids(&new);
        now.gone.clone_from(&gone);
        let mut entry = head.entry;
        entry.database = Some(digest);
        entry.functions.get_or_insert_with(|| file::has_functions(&inventory));
        entry.look = (!new.is_empty() || !gone.is_empty()).then_some(options.now);
        entry.n_vulnerabilities = now.vulnerabilities.len() as u64;
        let write = || {
            let bytes = file::encode(&entry, &now, &inventory)?;
            palisade_base::fs::write_atomic(path, &bytes, 0o600)?;
            // Room is made by when an image was scanned, not by when it was looked at.
            std::fs::File::open(path)?.set_modified(status.modified()?)
        };
        write().map_err(|error| Trouble::Look(LookError::Store(self.folder.clone(), error)))?;
        let n_still = entry.n_vulnerabilities - new.len() as u64;
        let details = options.details.then_some((now, inventory));
        Ok((Seen { entry, new, gone, n_still, details }, true))
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

/// What is said of an inventory of which nothing changed; `is_untold`: since a look whose answers
/// nobody was told.
fn unchanged(
    head: Head,
    path: &Path,
    options: &LookOptions<'_>,
    is_untold: bool,
) -> Result<Seen, Trouble> {
    let (mut new, mut gone, mut details) = (Vec::new(), Vec::new(), None);
    if options.details || is_untold {
        let bytes = Store::read(path)?;
        let evaluation = head.evaluation(&bytes)?;
        if is_untold {
            let is_new = |v: &&Vulnerability| evaluation.new.contains(&id(v));
            new = evaluation.vulnerabilities.iter().filter(is_new).cloned().collect();
            gone.clone_from(&evaluation.gone);
        }
        if options.details {
            details = Some((evaluation, head.inventory(&bytes)?));
        }
    }
    let n_still = head.entry.n_vulnerabilities.saturating_sub(new.len() as u64);
    Ok(Seen { entry: head.entry, new, gone, n_still, details })
}

fn id(v: &Vulnerability) -> (String, String) {
    (v.id.clone(), v.purl.clone())
}

fn ids(list: &[Vulnerability]) -> HashSet<(String, String)> {
    list.iter().map(id).collect()
}

/// Why one inventory could not be looked at.
enum Trouble {
    /// The file, which is named and skipped.
    File(String),
    /// What stops everything.
    Look(LookError),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Self {
        Self::File(reason)
    }
}

impl From<file::Damage> for Trouble {
    fn from(damage: file::Damage) -> Self {
        Self::File(damage.to_string())
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
        }
    }
}

//! What a database says differently from the one that was asked last, and what that changes in an
//! inventory, whose other packages are not even read.

use std::collections::{HashMap, HashSet};

use palisade_base::Timestamp;
use palisade_model::Inventory;
use palisade_model::finding::{Unmatched, Vulnerability};
use palisade_model::package::Subject;

use super::answers::Answer;
use super::file::{self, Cell, Entry, Stored};
use super::look::Trouble;
use super::news::{Untold, ids};
use crate::db::{self, Database, ReadDatabaseError};
use crate::matching::{self, Judge, NO_DATA, Read, Room, Scores};

/// Packages of which the advisories are kept for all inventories. What changed more is looked up
/// for each.
const PACKAGES_MAX: usize = 4096;

/// A package of which the databases say different things.
pub(super) struct Difference<'a> {
    /// Its advisories now; none where there is no data of it.
    advisories: Option<Vec<Read<'a>>>,
    /// Whether there was data of it before.
    was_known: bool,
}

/// Packages of which the databases say different things, still as they lie in the newer one.
#[derive(Default)]
pub(super) struct Pairs<'d> {
    pairs: Vec<(String, String)>,
    answers: Vec<Option<db::Answer<'d>>>,
}

impl<'d> Pairs<'d> {
    /// Looks `pairs` up, which are sorted, unless they are too many.
    pub(super) fn new(
        pairs: Vec<(String, String)>,
        database: &'d Database,
    ) -> Result<Self, ReadDatabaseError> {
        let mut answers = Vec::new();
        if pairs.len() <= PACKAGES_MAX {
            for (ecosystem, name) in &pairs {
                let answer = database.ask(ecosystem, name)?;
                answers.push(answer.map(db::Answer::alone));
            }
        }
        Ok(Self { pairs, answers })
    }
}

/// All that differs.
pub(super) struct Changed<'a> {
    /// By the key of the package.
    pub(super) keys: HashMap<u64, Option<Difference<'a>>>,
    scores: Scores,
    database: &'a Database,
}

impl<'a> Changed<'a> {
    /// Between `older`, where anything differs, and `database`.
    pub(super) fn new(
        pairs: &'a Pairs<'a>,
        older: Option<&Database>,
        database: &'a Database,
    ) -> Result<Self, ReadDatabaseError> {
        let mut keys = HashMap::with_capacity(pairs.pairs.len());
        for (at, (ecosystem, name)) in pairs.pairs.iter().enumerate() {
            let difference = match (pairs.answers.get(at), older) {
                (Some(answer), Some(older)) => Some(Difference {
                    advisories: answer.as_ref().map(db::Answer::advisories).transpose()?,
                    was_known: older.ask(ecosystem, name)?.is_some(),
                }),
                _ => None,
            };
            keys.insert(file::key(ecosystem, name), difference);
        }
        let known = keys.values().flatten().flat_map(|difference| &difference.advisories);
        let ids = known.flatten().flat_map(|advisory| {
            let others = advisory.aliases.iter().chain(&advisory.fixes);
            std::iter::once(&advisory.id).chain(others).copied()
        });
        let scores = matching::scores(ids, database)?;
        Ok(Self { keys, scores, database })
    }

    /// What changed in `groups` of `stored`, of which `before` was said since it was written, within
    /// `room`, where there is a bound; none where all of it must be matched.
    pub(super) fn judge(
        &self,
        stored: &Stored,
        groups: &[usize],
        entry: &Entry,
        before: Option<Answer>,
        room: Option<Room>,
    ) -> Result<Option<Judged>, Trouble> {
        let mut touched: Vec<(usize, u64, Cell)> = Vec::new();
        for &group in groups {
            let cells = stored.cells_among(group, &self.keys)?;
            touched.extend(cells.into_iter().map(|(key, cell)| (group, key, cell)));
        }
        let is_kept = |(_, key, _): &(usize, u64, Cell)| !matches!(self.keys.get(key), Some(None));
        if !touched.iter().all(is_kept) {
            return Ok(None);
        }
        let inventory = if touched.iter().any(|(_, key, cell)| self.asks_programs(*key, cell)) {
            stored.rest()?.inventory
        } else {
            nothing(&entry.subject)
        };
        let mut judge = Judge::within(&inventory, room);
        let mut judged = Judged::new(entry.n_vulnerabilities, before.unwrap_or_default());
        for (group, key, cell) in &touched {
            let is_known = self.judge_cell(*key, cell, &mut judge)?;
            match room {
                Some(_) if judge.is_over() => return Err(Trouble::too_many()),
                None if judge.is_over() => return Ok(None),
                _ => {}
            }
            let now = std::mem::take(&mut judge.matches.vulnerabilities);
            judged.replace(*key, cell, now, || stored.found(*group))?;
            if room.is_some_and(|room| judged.n_vulnerabilities > room.n_max as u64) {
                return Err(Trouble::too_many());
            }
            let difference = self.keys.get(key).and_then(Option::as_ref);
            if difference.is_some_and(|difference| difference.was_known != is_known) {
                judged.count(cell, is_known, stored)?;
            }
        }
        Ok(Some(judged))
    }

    /// Whether functions of programs may decide about the packages of `cell`.
    fn asks_programs(&self, key: u64, cell: &Cell) -> bool {
        let named = match self.keys.get(&key) {
            Some(Some(Difference { advisories: Some(advisories), .. })) => {
                advisories.iter().any(|advisory| !advisory.symbols.is_empty())
            }
            Some(Some(_)) => false,
            _ => true,
        };
        named && cell.packages.iter().any(|held| matching::has_program(&held.package))
    }

    /// Judges the packages of `cell`; whether there is data of them.
    fn judge_cell(&self, key: u64, cell: &Cell, judge: &mut Judge<'_>) -> Result<bool, Trouble> {
        let database = self.database;
        let looked_up = |name: &str| database.ask(&cell.ecosystem, name);
        // Of a package whose source alone changed, the name is looked up anew.
        let answer = match (self.keys.get(&key), cell.name()) {
            (None, Some(name)) => looked_up(&name)?,
            _ => None,
        };
        let read = answer.as_ref().map(db::Answer::advisories).transpose()?;
        let kept = self.keys.get(&key).and_then(Option::as_ref);
        let kept = kept.and_then(|difference| difference.advisories.as_ref());
        let Some(by_name) = kept.or(read.as_ref()) else { return Ok(false) };
        let is_other = |source: &u64| !matches!(self.keys.get(source), Some(Some(_)));
        let mut is_looked_up = answer.is_some();
        for held in &cell.packages {
            let source = file::source_name(&held.package);
            let key = source.as_ref().map(|source| file::key(&cell.ecosystem, source));
            let answer = match &source {
                Some(source) if key.as_ref().is_some_and(is_other) => looked_up(source)?,
                _ => None,
            };
            is_looked_up |= answer.is_some();
            let read = answer.as_ref().map(db::Answer::advisories).transpose()?;
            let kept = key.and_then(|key| self.keys.get(&key)?.as_ref()?.advisories.as_ref());
            let of_source = kept.or(read.as_ref()).map_or(&[][..], Vec::as_slice);
            judge.package(&held.package, [by_name, of_source], held.is_owned);
            if judge.is_over() {
                return Ok(true);
            }
        }
        let found = &mut judge.matches.vulnerabilities;
        let more;
        let scores = if is_looked_up {
            more = matching::scores(found.iter().flat_map(matching::names), database)?;
            &more
        } else {
            &self.scores
        };
        matching::weigh(found, database.exploited()?, scores);
        Ok(true)
    }
}

/// An inventory of nothing.
fn nothing(subject: &Subject) -> Inventory {
    Inventory {
        subject: subject.clone(),
        distribution: None,
        packages: Vec::new(),
        parts: Vec::new(),
        programs: Vec::new(),
        n_files: 0,
        gaps: Vec::new(),
    }
}

/// What changed in an inventory.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) answer: Answer,
    pub(super) new: Vec<Vulnerability>,
    pub(super) gone: Vec<Vulnerability>,
    pub(super) n_vulnerabilities: u64,
}

impl Judged {
    fn new(n_vulnerabilities: u64, answer: Answer) -> Self {
        Self { answer, n_vulnerabilities, ..Self::default() }
    }

    /// Takes what is found `now` in the packages of `cell`, and compares it with what was found
    /// before: `written` gives that of the cell's group in full.
    fn replace(
        &mut self,
        key: u64,
        cell: &Cell,
        now: Vec<Vulnerability>,
        written: impl FnOnce() -> Result<Vec<Vulnerability>, file::ReadStoredError>,
    ) -> Result<(), Trouble> {
        let since = self.answer.cells.remove(&key);
        let before: HashSet<(&str, &str)> = match &since {
            Some(since) => since.iter().map(ids).collect(),
            None => cell.found_ids().collect(),
        };
        let found: HashSet<(&str, &str)> = now.iter().map(ids).collect();
        self.new.extend(now.iter().filter(|one| !before.contains(&ids(one))).cloned());
        let n_before = since.as_ref().map_or(cell.found.len(), Vec::len);
        if !before.is_subset(&found) {
            let full = match &since {
                Some(since) => since.clone(),
                None => written()?,
            };
            let lost =
                |one: &Vulnerability| before.contains(&ids(one)) && !found.contains(&ids(one));
            self.gone.extend(full.into_iter().filter(lost));
        }
        let n_others = self.n_vulnerabilities.saturating_sub(n_before as u64);
        self.n_vulnerabilities = n_others + now.len() as u64;
        self.answer.cells.insert(key, now);
        Ok(())
    }

    /// Counts the packages of `cell` among those that the database could judge, or no longer.
    fn count(&mut self, cell: &Cell, is_known: bool, stored: &Stored) -> Result<(), Trouble> {
        let (mut n_matched, mut unmatched) = if let Some(counts) = self.answer.counts.take() {
            counts
        } else {
            let evaluation = stored.rest()?.evaluation;
            (evaluation.n_packages_matched, evaluation.unmatched)
        };
        let n = cell.packages.len() as u64;
        let is_it = |one: &Unmatched| one.ecosystem == cell.ecosystem && one.reason == NO_DATA;
        let at = unmatched.iter().position(is_it);
        match (is_known, at) {
            (true, Some(at)) => {
                unmatched[at].n_packages = unmatched[at].n_packages.saturating_sub(n);
            }
            (false, Some(at)) => unmatched[at].n_packages += n,
            (false, None) => unmatched.push(Unmatched {
                ecosystem: cell.ecosystem.clone(),
                n_packages: n,
                reason: NO_DATA.into(),
            }),
            (true, None) => {}
        }
        n_matched = if is_known { n_matched + n } else { n_matched.saturating_sub(n) };
        unmatched.retain(|one| one.n_packages > 0);
        unmatched.sort_by(|a, b| (&a.ecosystem, &a.reason).cmp(&(&b.ecosystem, &b.reason)));
        self.answer.counts = Some((n_matched, unmatched));
        Ok(())
    }

    /// Ends a look at `now`, before which `untold` was to be told: what came and went is noted,
    /// and the entry is brought up to date.
    pub(super) fn finish(&mut self, entry: &mut Entry, now: Timestamp, untold: Untold) {
        matching::sort_by_weight(&mut self.new);
        matching::sort_by_weight(&mut self.gone);
        let (came, went): (Vec<_>, Vec<_>) =
            (self.new.iter().collect(), self.gone.iter().collect());
        let untold = untold.after(&came, &went);
        entry.look = (!untold.is_empty()).then_some(now);
        self.answer.note(untold);
        entry.n_vulnerabilities = self.n_vulnerabilities;
    }
}

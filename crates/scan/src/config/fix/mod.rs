//! Findings → the changes of the files that mend them, where one change is the remedy.
//!
//! A fix is proposed by a table, one row a check, as replacements at places of the text: so
//! comments, order and style of the file stay. Nothing that is proposed is believed: the
//! changed text is examined again, and a change is kept only when what it is for is gone and nothing
//! else has come up, become unreadable or vanished. What needs a choice (a version, a limit,
//! which capability a program needs) is not proposed.

mod build;
mod edit;
mod yaml;

use std::collections::HashMap;

use palisade_base::yaml::Place;
use palisade_model::Finding;
use palisade_model::finding::Misconfiguration;

use super::detect::Kind;
use super::examine::{CheckReport, Options, Source, examine};
use edit::{Edit, View, apply};

/// Changes of one file that are tried one by one; those beyond are left to another run.
pub const TRIES_MAX: usize = 200;

/// A file with its findings mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedFile {
    /// The file as it was named.
    pub name: String,
    /// Its text.
    pub before: String,
    /// Its text without what was mended.
    pub after: String,
    /// Findings that are gone.
    pub n_fixed: usize,
}

/// What can be mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fixes {
    /// The files that change.
    pub files: Vec<FixedFile>,
    /// Findings of all files that are gone.
    pub n_fixed: usize,
    /// Findings that stay, because their remedy is a choice.
    pub n_left: usize,
}

/// A way to mend what a check finds.
struct Fixer {
    check: &'static str,
    kind: Kind,
    /// The changes for a finding at a place, if it is of a form that can be mended.
    propose: fn(&View<'_>, Place) -> Option<Vec<Edit>>,
}

impl FixedFile {
    /// The change as a unified diff with the paths that `patch -p1` and `git apply` take.
    pub fn diff(&self) -> String {
        let path = self.name.trim_start_matches("./").trim_start_matches('/');
        similar::TextDiff::from_lines(&self.before, &self.after)
            .unified_diff()
            .context_radius(3)
            .header(&format!("a/{path}"), &format!("b/{path}"))
            .to_string()
    }
}

/// The checks whose findings can be mended, and in which kind of file.
pub fn checks() -> impl Iterator<Item = (&'static str, Kind)> {
    yaml::FIXERS.iter().chain(build::FIXERS).map(|fixer| (fixer.check, fixer.kind))
}

/// Mends what can be mended in each of `sources`. Files are mended one by one, as if there
/// were no others.
pub fn fix(sources: &[Source], options: &Options<'_>) -> Fixes {
    let mut fixes = Fixes::default();
    for source in sources.iter().take(super::FILES_MAX) {
        let (file, n_left) = fix_file(source, options);
        fixes.n_left += n_left;
        if let Some(file) = file {
            fixes.n_fixed += file.n_fixed;
            fixes.files.push(file);
        }
    }
    fixes
}

fn fix_file(source: &Source, options: &Options<'_>) -> (Option<FixedFile>, usize) {
    let mut attempt = Attempt::new(source, options);
    let n_before = attempt.report.findings.len();
    let Some(kind) = attempt.report.files.first().map(|file| file.kind) else { return (None, 0) };
    // What is not read whole cannot be proved unchanged, and a byte-order mark shifts places.
    if n_before > 0 && attempt.report.gaps.is_empty() && !source.text.starts_with('\u{feff}') {
        let rows = yaml::FIXERS.iter().chain(build::FIXERS);
        for fixer in rows.filter(|fixer| fixer.kind == kind) {
            attempt.mend(fixer);
        }
    }
    let n_left = attempt.report.findings.len();
    let after = attempt.source.text;
    let file = (after != source.text).then(|| FixedFile {
        name: source.name.clone(),
        before: source.text.clone(),
        after,
        n_fixed: n_before.saturating_sub(n_left),
    });
    (file, n_left)
}

/// A file on its way, and what is found in it.
struct Attempt<'a> {
    source: Source,
    report: CheckReport,
    options: &'a Options<'a>,
    n_tries: usize,
}

impl<'a> Attempt<'a> {
    fn new(source: &Source, options: &'a Options<'a>) -> Self {
        let report = examine(std::slice::from_ref(source), options);
        Self { source: source.clone(), report, options, n_tries: 0 }
    }

    /// Mends what the fixer's check finds: everything at once, or else one finding after the
    /// other.
    fn mend(&mut self, fixer: &Fixer) {
        let proposals = self.proposals(fixer);
        if proposals.is_empty() || self.accept(&proposals.concat(), fixer) {
            return;
        }
        let mut index = 0;
        loop {
            let proposals = self.proposals(fixer);
            let Some(edits) = proposals.get(index) else { return };
            if self.n_tries >= TRIES_MAX {
                return;
            }
            self.n_tries += 1;
            // What is gone makes room for the next.
            if !self.accept(edits, fixer) {
                index += 1;
            }
        }
    }

    fn proposals(&self, fixer: &Fixer) -> Vec<Vec<Edit>> {
        let view = View::new(&self.source.text, fixer.kind);
        let found = configuration(&self.report).filter(|found| found.check == fixer.check);
        found
            .filter_map(|found| {
                let at = found.location.as_ref()?;
                let (line, column) =
                    (usize::try_from(at.line).ok()?, usize::try_from(at.column).ok()?);
                (fixer.propose)(&view, Place { line, column })
            })
            .collect()
    }

    /// Changes the text if that mends something and breaks nothing.
    fn accept(&mut self, edits: &[Edit], fixer: &Fixer) -> bool {
        let Some(text) = apply(&self.source.text, edits) else { return false };
        let source = Source { text, ..self.source.clone() };
        let report = examine(std::slice::from_ref(&source), self.options);
        let is_better = is_better(&self.report, &report, fixer.check);
        if is_better {
            (self.source, self.report) = (source, report);
        }
        is_better
    }
}

fn configuration(report: &CheckReport) -> impl Iterator<Item = &Misconfiguration> {
    report.findings.iter().filter_map(|finding| match finding {
        Finding::Configuration(found) => Some(found),
        _ => None,
    })
}

/// Whether there is less of `check` in `after`, and nothing that was not in `before`.
fn is_better(before: &CheckReport, after: &CheckReport, check: &str) -> bool {
    let count = |report: &CheckReport| configuration(report).filter(|f| f.check == check).count();
    if count(after) >= count(before)
        || after.gaps.len() > before.gaps.len()
        || after.problems.len() > before.problems.len()
        || after.n_excused != before.n_excused
        || after.files != before.files
    {
        return false;
    }
    let mut known: HashMap<(&str, &str, Option<&str>), usize> = HashMap::new();
    for found in configuration(before) {
        *known.entry((&found.check, &found.title, found.resource.as_deref())).or_default() += 1;
    }
    configuration(after).all(|found| {
        let key = (found.check.as_str(), found.title.as_str(), found.resource.as_deref());
        known.get_mut(&key).is_some_and(|left| {
            let had = *left > 0;
            *left = left.saturating_sub(1);
            had
        })
    })
}

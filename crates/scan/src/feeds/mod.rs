//! Importers: a feed's file to advisories in a [`crate::db::DatabaseBuilder`].
//!
//! Each reads a local file or folder; fetching is the caller's. A feed that is damaged as
//! a whole is an error and adds nothing useful; a record that cannot be used is counted in
//! [`crate::db::FeedInfo::skipped`] with its reason.

pub mod alpine;
mod bz2;
pub mod catalogue;
pub mod csaf;
pub mod deb;
pub mod debian_changelogs;
pub mod debian_tracker;
pub mod documents;
pub mod epss;
pub mod errata;
pub mod kev;
pub mod osv;
pub mod oval;
pub mod rating;
pub mod resolve;
pub mod ubuntu_vex;
pub mod updateinfo;
pub mod xml;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Explain, LimitExceeded};

use crate::db::{BuildDatabaseError, DatabaseBuilder};

/// Why a feed could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportFeedError {
    /// A file could not be read, or is larger than its bound.
    #[error("read feed `{path}`")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system or the decompressor said.
        #[source]
        source: io::Error,
    },
    /// A file is not what the feed consists of.
    #[error("`{path}` is not {expected}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// Details, where there are any.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The feed has more entries than its bound.
    #[error("feed `{path}` has more than {limit} {what}")]
    TooMany {
        /// The file or folder.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// So much of the feed cannot be read that the rest would hide what it no longer says.
    #[error("feed `{path}` is damaged: {n_malformed} of {n} records cannot be read")]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// Records that cannot be read.
        n_malformed: u64,
        /// All of them.
        n: u64,
    },
    /// The feed held nothing that could be used.
    #[error("feed `{0}` holds nothing that can be used")]
    Empty(PathBuf),
    /// The builder is full.
    #[error(transparent)]
    Build(#[from] BuildDatabaseError),
}

impl Explain for ImportFeedError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { source, .. } if LimitExceeded::find(source).is_some() => {
                "the file is larger than any known feed of this kind; check its origin".into()
            }
            Self::Read { .. } => "check that the file is whole and readable".into(),
            Self::Malformed { expected, .. } => format!("give {expected}"),
            Self::Damaged { .. } => {
                "get the feed again; if it stays so, its form may have changed: update Palisade, or \
                 leave the feed out"
                    .into()
            }
            Self::TooMany { .. } => "split the feed, or check its origin".into(),
            Self::Empty(_) => "check that the path names the feed's files".into(),
            Self::Build(error) => return error.hint(),
        })
    }
}

/// Of a feed one record in this many may be malformed.
const MALFORMED_SHARE: u64 = 10;

/// Imports `path` with `import`, and refuses a feed of which too much cannot be read.
pub fn import_whole(
    builder: &mut DatabaseBuilder,
    path: &Path,
    import: impl FnOnce(&mut DatabaseBuilder) -> Result<(), ImportFeedError>,
) -> Result<(), ImportFeedError> {
    let tally = |builder: &DatabaseBuilder| {
        let each = builder.feeds().map(|feed| (feed.n_records, feed.n_malformed()));
        each.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    };
    let before = tally(builder);
    import(builder)?;
    let after = tally(builder);
    let n_malformed = after.1 - before.1;
    let n = after.0 - before.0 + n_malformed;
    if n_malformed > n / MALFORMED_SHARE {
        return Err(ImportFeedError::Damaged { path: path.to_path_buf(), n_malformed, n });
    }
    Ok(())
}

pub(crate) fn read_error(path: &Path) -> impl Fn(io::Error) -> ImportFeedError + '_ {
    move |source| ImportFeedError::Read { path: path.to_path_buf(), source }
}

pub(crate) fn malformed(
    path: &Path,
    expected: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> ImportFeedError {
    ImportFeedError::Malformed {
        path: path.to_path_buf(),
        expected,
        source: Some(Box::new(source)),
    }
}

/// Reads a whole regular file of at most `limit` bytes.
pub(crate) fn read_file(
    path: &Path,
    what: &'static str,
    limit: u64,
) -> Result<Vec<u8>, ImportFeedError> {
    let file = File::open(path).map_err(read_error(path))?;
    palisade_base::read_bounded(file, what, limit).map_err(read_error(path))
}

/// Titles are one line and no longer than this many characters.
const TITLE_CHARS_MAX: usize = 160;

/// One line of at most 160 characters, without control characters: titles end on terminals.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty())
    {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.chars().count() > TITLE_CHARS_MAX {
            out = out.chars().take(TITLE_CHARS_MAX - 1).collect();
            out.push('…');
            break;
        }
    }
    out
}

/// The byte ranges of the CVE identifiers in `text`: `CVE-`, year, four digits or more
/// (CVE Program, "CVE ID Syntax", 2014).
pub(crate) fn cve_ids(text: &str) -> Vec<std::ops::Range<usize>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(start) = find_ignoring_case(&bytes[from..], b"CVE-").map(|i| from + i) {
        from = start + 4;
        let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
        let n_year = digits(from);
        if n_year != 4 || bytes.get(from + 4) != Some(&b'-') {
            continue;
        }
        let n_number = digits(from + 5);
        let part_of_word = start > 0 && bytes[start - 1].is_ascii_alphanumeric();
        if (4..=CVE_DIGITS_MAX).contains(&n_number) && !part_of_word {
            found.push(start..from + 5 + n_number);
            from += 5 + n_number;
        }
    }
    found
}

/// The longest sequence part of a CVE that the CVE Program's schema allows.
const CVE_DIGITS_MAX: usize = 19;

fn find_ignoring_case(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window.eq_ignore_ascii_case(needle))
}

#[cfg(test)]
mod total_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_cve_identifiers() {
        let check = |text: &str, expected: &[&str]| {
            let found: Vec<&str> = cve_ids(text).into_iter().map(|r| &text[r]).collect();
            assert_eq!(found, expected, "{text}");
        };
        check("fix CVE-2024-6387, cve-2023-12345.", &["CVE-2024-6387", "cve-2023-12345"]);
        check("(CVE-2026-100077)", &["CVE-2026-100077"]);
        check("CVE-2024-123 CVE-20-1234 CVE- XCVE-2024-1234 CVE-2024-", &[]);
        check("CVE-2024-1CVE-2024-6387", &[]);
        check("CVE-2024-6387.patch é", &["CVE-2024-6387"]);
    }

    #[test]
    fn a_feed_of_which_too_much_is_malformed_is_refused() {
        let check = |n_good: usize, n_bad: usize, expected: Option<&str>| {
            let folder = tempfile::tempdir().unwrap();
            for index in 0..n_good {
                let record = format!(
                    r#"{{"id": "CVE-2024-{index:04}", "affected": [{{"package": {{"ecosystem": "PyPI", "name": "a"}}, "versions": ["1"]}}]}}"#
                );
                std::fs::write(folder.path().join(format!("{index}.json")), record).unwrap();
            }
            for index in 0..n_bad {
                std::fs::write(folder.path().join(format!("bad-{index}.json")), "{").unwrap();
            }
            let mut builder = DatabaseBuilder::new();
            let form = catalogue::Form::Osv;
            let result =
                catalogue::import(&mut builder, form, folder.path(), catalogue::Origin::Copy(None));
            let error = result.err().map(|error| error.to_string());
            let ends = |expected: &str| error.as_ref().is_some_and(|it| it.ends_with(expected));
            assert!(expected.map_or(error.is_none(), ends), "{n_good} {n_bad}: {error:?}");
        };
        check(20, 0, None);
        check(20, 2, None);
        check(20, 3, Some("is damaged: 3 of 23 records cannot be read"));
        check(1, 50, Some("is damaged: 50 of 51 records cannot be read"));
    }

    #[test]
    fn titles_are_one_short_line() {
        assert_eq!(one_line("a\n  b\u{1b}[31m c"), "a b [31m c");
        let long = one_line(&"word ".repeat(100));
        assert_eq!(long.chars().count(), TITLE_CHARS_MAX);
        assert!(long.ends_with('…'));
    }
}

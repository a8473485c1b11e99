//! Fixed versions from Debian's own changelogs.
//!
//! A package built for a release carries the linear history of that release's branch
//! (deb-changelog(5)). An upload whose entry names a CVE fixes it; a source package older
//! than that upload therefore still has it. Fed with the newest packages of a release, this
//! gives a table of fixed versions that is as fresh as the mirror and needs no other feed.
//!
//! Only sources whose changelog was read count as examined; packages of others are reported
//! as not judged. A caller that knows from the mirror's indices that an installed version is
//! the newest may say so with [`DatabaseBuilder::cover`] instead of fetching the package.
//!
//! What it cannot know, and does not guess:
//! - vulnerabilities that nobody has fixed in the release (open, postponed, "no-DSA",
//!   ignored): an image that is up to date is reported clean although such ones may exist;
//! - severity: Debian's urgency is about migration, so every record is `Unknown`;
//! - whether an old version was affected at all: a flaw introduced later than the installed
//!   version is reported as well, since the changelog does not say when it came;
//! - fixes whose entry does not name the CVE, and short forms such as `CVE-2024-1, -2`.
//!
//! Binary packages carry a shortened changelog: uploads older than some five years are
//! missing, which concerns no version that a supported release ever had.
//!
//! A CVE named by several uploads counts from the oldest: later ones are follow-ups.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use palisade_base::Timestamp;
use palisade_model::{Inventory, Package, PackageKind, Severity};
use palisade_packages::version;

use super::{ImportFeedError, cve_ids, deb, one_line, read_error};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd};

/// Name of the feed in findings.
pub const FEED: &str = "debian-changelogs";
/// Files of a folder beyond this number are refused; a release has some 64,000 packages.
pub const FILES_MAX: u64 = 200_000;
/// Entries of one changelog beyond this number are not read.
pub const ENTRIES_MAX: usize = 20_000;
/// Lines of one changelog item beyond this number are taken for another item.
const ITEM_LINES_MAX: usize = 64;

/// One upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Source package.
    pub source: String,
    /// Version of the upload.
    pub version: String,
    /// Where it was uploaded to: `bookworm-security`.
    pub distribution: String,
    /// When, if the trailer can be read.
    pub time: Option<Timestamp>,
    /// CVEs that it names, each with the text beside it.
    pub fixes: Vec<Fix>,
    /// CVEs that it names only to say that they do not apply.
    pub n_denied: u64,
}

/// A CVE named by an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// `CVE-2024-6387`.
    pub id: String,
    /// The item's text without identifiers; may be empty.
    pub title: String,
}

/// A changelog, newest upload first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changelog {
    /// The uploads.
    pub entries: Vec<Entry>,
    /// Whether it had more than [`ENTRIES_MAX`].
    pub truncated: bool,
}

/// Reads a changelog. Total: what is not one gives no entries.
pub fn parse(text: &str) -> Changelog {
    let mut log = Changelog::default();
    let mut current: Option<Entry> = None;
    let mut item: Vec<&str> = Vec::new();
    for line in text.lines() {
        if let Some(entry) = heading(line) {
            finish_item(&mut item, current.as_mut());
            log.entries.extend(current.take());
            if log.entries.len() >= ENTRIES_MAX {
                log.truncated = true;
                return log;
            }
            current = Some(entry);
        } else if let Some(trailer) = line.strip_prefix(" -- ") {
            finish_item(&mut item, current.as_mut());
            if let Some(entry) = &mut current {
                entry.time = trailer_time(trailer);
            }
        } else {
            let body = line.trim();
            let bullet = body.strip_prefix(['*', '-', '+']).filter(|rest| rest.starts_with(' '));
            if bullet.is_some() || body.is_empty() || is_author(body) {
                finish_item(&mut item, current.as_mut());
            }
            let part = bullet.unwrap_or(body).trim();
            if item.len() >= ITEM_LINES_MAX {
                finish_item(&mut item, current.as_mut());
            }
            if !part.is_empty() && !is_author(part) {
                item.push(part);
            }
        }
    }
    finish_item(&mut item, current.as_mut());
    log.entries.extend(current);
    log
}

/// `[ Name ]`, which says whose items follow.
fn is_author(body: &str) -> bool {
    body.starts_with("[ ") && body.ends_with(" ]")
}

/// `source (version) distribution; key=value`
fn heading(line: &str) -> Option<Entry> {
    if line.starts_with([' ', '\t']) {
        return None;
    }
    let (head, _) = line.split_once(';')?;
    let (source, rest) = head.split_once(" (")?;
    let (version, distribution) = rest.split_once(')')?;
    let is_name = |text: &str, extra: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
        !text.is_empty() && text.len() < 256 && text.chars().all(fits)
    };
    if !is_name(source, "+-.") || !is_name(version, "+-.:~") {
        return None;
    }
    Some(Entry {
        source: source.to_string(),
        version: version.to_string(),
        distribution: distribution.trim().to_string(),
        time: None,
        fixes: Vec::new(),
        n_denied: 0,
    })
}

/// `Name <mail>  Fri, 03 Apr 2026 14:29:32 +0200`
fn trailer_time(trailer: &str) -> Option<Timestamp> {
    let (_, date) = trailer.rsplit_once(">  ")?;
    let zoned = jiff::fmt::rfc2822::parse(date.trim()).ok()?;
    u64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp::from_nanos)
}

fn finish_item(item: &mut Vec<&str>, entry: Option<&mut Entry>) {
    let text = item.join(" ");
    item.clear();
    let (Some(entry), ids) = (entry, cve_ids(&text)) else {
        return;
    };
    if ids.is_empty() {
        return;
    }
    let denials = denials(&text);
    let title = title_of(&text, &ids);
    for range in ids {
        if denials.iter().any(|clause| clause.contains(&range.start)) {
            entry.n_denied += 1;
            continue;
        }
        let id = text[range].to_ascii_uppercase();
        if !entry.fixes.iter().any(|fix| fix.id == id) {
            entry.fixes.push(Fix { id, title: title.clone() });
        }
    }
}

/// The clauses of an item that say that something does not apply. What they name is denied, and
/// nothing else: "Fix CVE-2023-2. The gcrypt backend is not affected." fixes it, and so does a
/// clause that closes a bug.
fn denials(text: &str) -> Vec<std::ops::Range<usize>> {
    let denies = ["not affected", "not vulnerable", "does not affect", "doesn't affect"];
    let mut found = Vec::new();
    let mut from = 0;
    let ends = text.match_indices(' ').filter_map(|(at, _)| {
        let before = text.get(..at)?;
        before.ends_with(['.', ';']).then_some(at)
    });
    for end in ends.chain([text.len()]) {
        let clause = text.get(from..end).unwrap_or_default().to_ascii_lowercase();
        if denies.iter().any(|words| clause.contains(words)) && !clause.contains("closes:") {
            found.push(from..end);
        }
        from = end;
    }
    found
}

/// The item without identifiers, bug numbers and the brackets left empty by them.
fn title_of(text: &str, ids: &[std::ops::Range<usize>]) -> String {
    let mut rest = String::new();
    let mut from = 0;
    for range in ids {
        rest.push_str(&text[from..range.start]);
        from = range.end;
    }
    rest.push_str(&text[from..]);
    if let Some(at) = rest.to_ascii_lowercase().find("closes:") {
        rest.truncate(at);
    }
    let hollow = |c: char| !c.is_alphanumeric();
    let words: Vec<&str> =
        rest.split_whitespace().filter(|word| !word.chars().all(hollow) || *word == "&").collect();
    let joined = words.join(" ");
    let edge = |c: char| c.is_whitespace() || "()[]\"',;:-–/.(".contains(c);
    let mut title = joined.trim_start_matches(edge).trim_end_matches(|c| " ,;:-([\"".contains(c));
    // `("text")` lost its opening bracket above; the closing one follows unless it has a partner.
    while title.ends_with([')', ']', '"', '.']) && !balanced(title) {
        title = &title[..title.len() - 1];
    }
    let bare = title.trim_end_matches('.');
    if bare.chars().filter(|c| c.is_alphabetic()).count() < 4 {
        String::new()
    } else {
        one_line(bare)
    }
}

fn balanced(text: &str) -> bool {
    let count = |c| text.chars().filter(|&x| x == c).count();
    count('(') == count(')')
        && count('[') == count(']')
        && count('"') % 2 == 0
        && !text.ends_with('.')
}

/// Imports every `.deb` and every changelog (`changelog*`, `*.changelog`, plain or `.gz`) of
/// `folder`, not of folders in it, as advisories of `ecosystem`, for example `Debian:12`.
///
/// Of several changelogs of one source the longest counts: it continues the others.
pub fn import_folder(
    builder: &mut DatabaseBuilder,
    folder: &Path,
    ecosystem: &str,
) -> Result<(), ImportFeedError> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read_error(folder))? {
        let path = entry.map_err(read_error(folder))?.path();
        if paths.len() as u64 >= FILES_MAX {
            let (path, what) = (folder.to_path_buf(), "files");
            return Err(ImportFeedError::TooMany { path, what, limit: FILES_MAX });
        }
        paths.push(path);
    }
    import_files(builder, paths, folder, ecosystem)
}

/// As [`import_folder`], of files; `origin` is where they come from.
pub fn import_files(
    builder: &mut DatabaseBuilder,
    mut paths: Vec<PathBuf>,
    origin: &Path,
    ecosystem: &str,
) -> Result<(), ImportFeedError> {
    paths.sort();
    builder.feed(FEED);
    let mut longest: BTreeMap<String, Changelog> = BTreeMap::new();
    for path in &paths {
        match read_changelog(path) {
            Ok(Some(log)) => keep_longest(&mut longest, log, builder),
            Ok(None) => builder.feed(FEED).skip("no changelog in the package"),
            Err(Unusable::Stranger) => builder.feed(FEED).skip("neither package nor changelog"),
            Err(Unusable::Damaged(reason)) => {
                tracing::warn!(path = %path.display(), reason, "package skipped");
                builder.feed(FEED).skip("damaged package or changelog");
            }
        }
    }
    if longest.is_empty() {
        return Err(ImportFeedError::Empty(origin.to_path_buf()));
    }
    for (source, log) in &longest {
        add(builder, ecosystem, source, log)?;
    }
    Ok(())
}

fn keep_longest(
    longest: &mut BTreeMap<String, Changelog>,
    log: Changelog,
    builder: &mut DatabaseBuilder,
) {
    let Some(first) = log.entries.first() else {
        builder.feed(FEED).skip("changelog without entries");
        return;
    };
    if log.truncated {
        builder.feed(FEED).skip("changelog longer than the bound, its oldest entries");
    }
    let known = longest.entry(first.source.clone()).or_default();
    if log.entries.len() > known.entries.len() {
        *known = log;
    }
}

/// Adds the fixes of one source package's changelog.
pub fn add(
    builder: &mut DatabaseBuilder,
    ecosystem: &str,
    source: &str,
    log: &Changelog,
) -> Result<(), ImportFeedError> {
    // Entries run from new to old, so the last one to name an identifier is the oldest.
    let mut fixed: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    builder.mark_partial(ecosystem);
    builder.cover(ecosystem, source);
    // Position decides, not the number: `1.3~deb12u1` continues `1.3` and has its fixes,
    // although it sorts below. What is fixed at an entry is fixed from the lowest version
    // at or above it.
    let mut lowest: Option<&str> = None;
    for entry in &log.entries {
        // Entries of a predecessor under another name do not fix this source's versions.
        if entry.source != source {
            continue;
        }
        let below = |known: &str| {
            version::compare(PackageKind::Dpkg, &entry.version, known) == Some(Ordering::Less)
        };
        let from = match lowest {
            Some(known) if !below(known) => known,
            _ => entry.version.as_str(),
        };
        lowest = Some(from);
        if let Some(time) = entry.time {
            builder.note_time(FEED, time);
        }
        for fix in &entry.fixes {
            let (version, title) = fixed.entry(&fix.id).or_insert((from, &fix.title));
            *version = from;
            if !fix.title.is_empty() {
                *title = &fix.title;
            }
        }
        for _ in 0..entry.n_denied {
            builder.feed(FEED).skip("said not to apply");
        }
    }
    for (id, (version, title)) in fixed {
        let advisory = Advisory {
            id: id.to_string(),
            aliases: Vec::new(),
            title: title.to_string(),
            severity: Severity::Unknown,
            feed: FEED.to_string(),
            ranges: vec![Range { introduced: None, end: RangeEnd::Fixed(version.to_string()) }],
            versions: Vec::new(),
            ..Advisory::default()
        };
        builder.add(ecosystem, source, advisory)?;
    }
    Ok(())
}

/// One installed package of each source, whose newest `.deb` is worth fetching for its
/// changelog: the first that has a changelog of its own instead of a link to another's.
pub fn representatives(inventory: &Inventory) -> Vec<&Package> {
    let mut by_source: BTreeMap<&str, &Package> = BTreeMap::new();
    for package in inventory.packages.iter().filter(|p| p.kind == PackageKind::Dpkg) {
        let (source, _) = crate::ecosystem::advisory_name(package);
        let known = by_source.entry(source).or_insert(package);
        if !has_changelog(known) && has_changelog(package) {
            *known = package;
        }
    }
    by_source.into_values().collect()
}

fn has_changelog(package: &Package) -> bool {
    let folder = format!("usr/share/doc/{}/changelog", package.name);
    package.files.iter().any(|path| path.trim_start_matches('/').starts_with(&folder))
}

enum Unusable {
    Stranger,
    Damaged(String),
}

fn read_changelog(path: &Path) -> Result<Option<Changelog>, Unusable> {
    let damaged = |error: &dyn std::error::Error| Unusable::Damaged(error.to_string());
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let is_deb = path.extension().is_some_and(|extension| extension == "deb");
    let is_log = stem.starts_with("changelog") || stem.ends_with(".changelog");
    if !is_deb && !is_log {
        return Err(Unusable::Stranger);
    }
    let file = File::open(path).map_err(|e| damaged(&e))?;
    if !file.metadata().map_err(|e| damaged(&e))?.is_file() {
        return Err(Unusable::Stranger);
    }
    let reader = io::BufReader::with_capacity(1 << 16, file);
    let bytes = if is_deb {
        deb::changelog_of(reader).map_err(|e| damaged(&e))?
    } else {
        let plain: Box<dyn io::Read> = if stem == name {
            Box::new(reader)
        } else {
            Box::new(flate2::read::MultiGzDecoder::new(reader))
        };
        let bytes = palisade_base::read_bounded(plain, "changelog", deb::CHANGELOG_BYTES_MAX);
        Some(bytes.map_err(|e| damaged(&e))?)
    };
    // Changelogs before 2008 hold Latin-1; what is lost is a letter of a name.
    Ok(bytes.map(|bytes| parse(&String::from_utf8_lossy(&bytes))))
}

#[cfg(test)]
mod tests;

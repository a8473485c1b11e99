//! What differs between two images, file by file, and whether upgrades account for it.
//!
//! What may differ is told by dpkg's own record in both images, not by what the layer's writer
//! says that it wrote.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::{Digest, DigestReader};
use palisade_image::{FileKind, Image, Visit};
use serde::Serialize;

use crate::build::{STATUS, info_of, listed};
use crate::files::ENTRIES_MAX;
use crate::filter::Paths;
use crate::{Files, PatchError, Plan, apk, rpm, status_folder};

/// Paths of one kind that are listed; more are counted.
const LISTED_MAX: usize = 1_000;

/// What differs between an image and the one that was made of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Files, folders and links that are the same in kind, content, mode, owner, time, target
    /// and attributes.
    pub n_same: u64,
    /// Those that differ.
    pub n_changed: u64,
    /// Those that the new image alone has.
    pub n_added: u64,
    /// Those that the old image alone has.
    pub n_removed: u64,
    /// Paths that scripts changed, and that are none of the upgraded packages.
    pub n_by_scripts: u64,
    /// The first of these.
    pub by_scripts: Vec<String>,
    /// Paths that differ and are none of the upgraded packages or of the record of them, nor
    /// changed by scripts.
    pub n_unexpected: u64,
    /// The first of these.
    pub unexpected: Vec<String>,
}

#[derive(PartialEq, Eq)]
struct Stamp {
    kind: FileKind,
    mode: u32,
    owner: (u32, u32),
    mtime: i64,
    link: Option<String>,
    xattrs: Vec<(String, Vec<u8>)>,
    content: Option<Digest>,
}

impl Stamp {
    fn is_plain_folder(&self) -> bool {
        self.kind == FileKind::Folder
            && self.mode == 0o755
            && self.owner == (0, 0)
            && self.xattrs.is_empty()
    }
}

impl Difference {
    /// Reads both images whole. What may differ are the files of the packages that `plan`
    /// upgrades, and their part of dpkg's database.
    pub fn between(old: &Image, new: &Image, plan: &Plan) -> Result<Self, PatchError> {
        Self::with_scripts(old, new, plan, &BTreeSet::new(), &BTreeSet::new())
    }

    /// The same where scripts were executed, and what they changed is listed apart, or where the
    /// image's database has no place for some paths of packages ([`crate::Built::unrecorded`]).
    pub fn with_scripts(
        old: &Image,
        new: &Image,
        plan: &Plan,
        by_scripts: &BTreeSet<String>,
        unrecorded: &BTreeSet<String>,
    ) -> Result<Self, PatchError> {
        let files = (Files::read(old)?, Files::read(new)?);
        let (was, is) = (&files.0, &files.1);
        let (mut expected, others) = if status_folder::is_used(was) {
            // Every record is a file of its own.
            (status_folder::expected(was, is, plan), BTreeSet::new())
        } else if was.content(STATUS).is_some() {
            (expected(was, is, plan), other_stanzas(was, is, plan))
        } else if apk::database(was).is_some() {
            (apk::prove::expected(was, is, plan), apk::prove::others(was, is, plan))
        } else {
            (rpm::expected(was, is, plan)?, rpm::others(was, is, plan)?)
        };
        expected.extend(unrecorded.iter().cloned());
        let expected = &expected;
        let (old, mut new) = (stamps(old)?, stamps(new)?);
        let mut this = Self::default();
        for other in &others {
            this.note(other, expected, by_scripts);
        }
        for (path, stamp) in &old {
            match new.remove(path) {
                Some(other) if other == *stamp => {
                    this.n_same += 1;
                    continue;
                }
                Some(_) => this.n_changed += 1,
                None => this.n_removed += 1,
            }
            this.note(path, expected, by_scripts);
        }
        for (path, stamp) in &new {
            // A folder that the old layers only implied, as engines make it.
            let below = format!("{path}/");
            let is_implied = stamp.is_plain_folder()
                && old.range(below.clone()..).next().is_some_and(|(it, _)| it.starts_with(&below));
            if is_implied {
                this.n_same += 1;
            } else {
                this.n_added += 1;
                this.note(path, expected, by_scripts);
            }
        }
        Ok(this)
    }

    fn note(&mut self, path: &str, expected: &BTreeSet<String>, by_scripts: &BTreeSet<String>) {
        if expected.contains(path) {
            return;
        }
        if by_scripts.contains(path) {
            self.n_by_scripts += 1;
            if self.by_scripts.len() < LISTED_MAX {
                self.by_scripts.push(path.to_string());
            }
            return;
        }
        self.n_unexpected += 1;
        if self.unexpected.len() < LISTED_MAX {
            self.unexpected.push(path.to_string());
        }
    }
}

/// The paths that the upgrades of a plan may change, as both images record them.
fn expected(old: &Files, new: &Files, plan: &Plan) -> BTreeSet<String> {
    let mut expected = BTreeSet::from([STATUS.to_string()]);
    for upgrade in &plan.upgrades {
        for files in [old, new] {
            let paths = Paths::read(files);
            let info = info_of(files, &upgrade.package, &upgrade.architecture);
            for path in listed(files, &info) {
                let Some(at) = files.resolve_parent(paths.diverted(&path, &upgrade.package)) else {
                    continue;
                };
                // Only what dpkg writes beside a file of `etc` that the image changed.
                if files.get(&at).is_none_or(|node| node.kind != FileKind::Folder) {
                    expected.insert(format!("{at}.dpkg-dist"));
                    expected.insert(at);
                } else if old.get(&at).is_none() || new.get(&at).is_none() {
                    expected.insert(at);
                }
            }
            let below = format!("{info}.");
            for (path, _) in files.below(&below) {
                if path.strip_prefix(&below).is_some_and(|kind| !kind.contains('.')) {
                    expected.insert(path.to_string());
                }
            }
        }
    }
    expected
}

/// Stanzas of packages besides the upgraded ones that are others, in words.
fn other_stanzas(old: &Files, new: &Files, plan: &Plan) -> BTreeSet<String> {
    let read = |files: &Files| -> BTreeSet<(String, String)> {
        let text = String::from_utf8_lossy(files.content(STATUS).unwrap_or_default()).into_owned();
        let name = |stanza: &str| {
            let mut lines = stanza.lines();
            let name = lines.find_map(|line| line.strip_prefix("Package:"));
            name.unwrap_or_default().trim().to_string()
        };
        let stanzas = text.split("\n\n").filter(|one| !one.trim().is_empty());
        stanzas.map(|one| (name(one), one.trim_end().to_string())).collect()
    };
    let upgraded: BTreeSet<&str> = plan.upgrades.iter().map(|one| one.package.as_str()).collect();
    let (old, new) = (read(old), read(new));
    let differing = old.symmetric_difference(&new).map(|(name, _)| name.clone());
    let others = differing.filter(|name| !upgraded.contains(name.as_str()));
    others.map(|name| format!("{STATUS} ({name})")).collect()
}

fn stamps(image: &Image) -> Result<BTreeMap<String, Stamp>, PatchError> {
    let (mut stamps, mut failure) = (BTreeMap::new(), None);
    image.walk(&mut |entry, content| {
        if stamps.len() as u64 >= ENTRIES_MAX {
            failure = Some(PatchError::TooMuch { what: "entries", limit: ENTRIES_MAX });
            return Visit::Stop;
        }
        if entry.kind == FileKind::HardLink {
            return Visit::Follow;
        }
        let mut digest = None;
        if entry.kind == FileKind::Regular {
            let mut reader = DigestReader::new(content);
            if let Err(error) = std::io::copy(&mut reader, &mut std::io::sink()) {
                failure = Some(PatchError::document(&entry.path, error.to_string()));
                return Visit::Stop;
            }
            digest = Some(reader.finish().0);
        }
        let stamp = Stamp {
            kind: entry.kind,
            mode: entry.mode,
            owner: (entry.uid, entry.gid),
            mtime: entry.mtime,
            link: entry.link.clone(),
            xattrs: entry.xattrs.clone(),
            content: digest,
        };
        stamps.insert(entry.path.clone(), stamp);
        Visit::Continue
    })?;
    failure.map_or(Ok(stamps), Err)
}

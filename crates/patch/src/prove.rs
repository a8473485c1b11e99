//! What differs between two images, file by file.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::{Digest, DigestReader};
use palisade_image::{FileKind, Image, Visit};
use serde::Serialize;

use crate::PatchError;
use crate::files::ENTRIES_MAX;

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
    /// Paths that differ and are none of the upgraded packages or of dpkg's record of them.
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

impl Difference {
    /// Reads both images whole; `expected` are the paths that may differ.
    pub fn between(
        old: &Image,
        new: &Image,
        expected: &BTreeSet<String>,
    ) -> Result<Self, PatchError> {
        let (old, mut new) = (stamps(old)?, stamps(new)?);
        let mut this = Self::default();
        for (path, stamp) in &old {
            match new.remove(path) {
                Some(other) if other == *stamp => {
                    this.n_same += 1;
                    continue;
                }
                Some(_) => this.n_changed += 1,
                None => this.n_removed += 1,
            }
            this.note(path, expected);
        }
        for path in new.keys() {
            this.n_added += 1;
            this.note(path, expected);
        }
        Ok(this)
    }

    fn note(&mut self, path: &str, expected: &BTreeSet<String>) {
        if expected.contains(path) {
            return;
        }
        self.n_unexpected += 1;
        if self.unexpected.len() < LISTED_MAX {
            self.unexpected.push(path.to_string());
        }
    }
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

//! What holds until somebody takes it back: images that may not start, programs that may not
//! run, containers that may not be removed.
//!
//! One small JSON file, which responses write and every start of a container reads. A file
//! that is there and cannot be read refuses: an attacker who damages it gains nothing.

use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Explain, Timestamp};
use serde::{Deserialize, Serialize};

/// The file's name within the data folder.
pub const FILE: &str = "standing.json";
/// Largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most entries of one kind.
pub const ENTRIES_MAX: usize = 4096;

/// An entry: what, and who wanted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<T> {
    /// What it is about.
    pub what: T,
    /// Since when.
    pub since: Timestamp,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
}

/// Everything that holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Images of which no container starts, by the digest of manifest, index or configuration.
    pub images: Vec<Entry<Digest>>,
    /// Programs that no container starts, by the digest of the file.
    pub executables: Vec<Entry<Digest>>,
    /// Containers that are neither stopped nor removed, by id.
    pub protected: Vec<Entry<String>>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    /// It cannot be read or written.
    #[error("{action} standing orders `{}`", path.display())]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what a response writes.
    #[error("standing orders `{}` are not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// There are too many.
    #[error("there are {ENTRIES_MAX} standing orders of this kind already")]
    Full,
}

impl Explain for StandingError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { .. } => "check that the data folder exists and belongs to root".into(),
            Self::Invalid { .. } => {
                "restore the file, or remove it and order anew what shall hold: `palisade respond \
                 audit` lists what was ordered"
                    .into()
            }
            Self::Full => "take some back: `palisade respond standing` lists them".into(),
        })
    }
}

impl Standing {
    /// Reads the file at `path`; one that is not there holds nothing.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not valid.
    pub fn read(path: &Path) -> Result<Self, StandingError> {
        let io = |source| StandingError::Io { action: "read", path: path.to_path_buf(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(io(error)),
        };
        let bytes =
            palisade_base::read_bounded(file, "standing orders", FILE_BYTES_MAX).map_err(io)?;
        serde_json::from_slice(&bytes)
            .map_err(|source| StandingError::Invalid { path: path.to_path_buf(), source })
    }

    /// Replaces the file at `path`; whoever reads meanwhile reads the old or the new one.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StandingError> {
        let io = |source| StandingError::Io { action: "write", path: path.to_path_buf(), source };
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| StandingError::Invalid { path: path.to_path_buf(), source })?;
        palisade_base::fs::write_atomic(path, &bytes, 0o600).map_err(io)
    }

    /// The entry that keeps an image from starting which has one of `digests`.
    pub fn image<'s>(&'s self, digests: &[Digest]) -> Option<&'s Entry<Digest>> {
        self.images.iter().find(|entry| digests.contains(&entry.what))
    }

    /// The entry that keeps a program from starting.
    pub fn executable(&self, digest: &Digest) -> Option<&Entry<Digest>> {
        self.executables.iter().find(|entry| entry.what == *digest)
    }

    /// The entry that keeps a container from being removed.
    pub fn protected(&self, id: &str) -> Option<&Entry<String>> {
        self.protected.iter().find(|entry| entry.what == id)
    }
}

/// Adds an entry to `list`; whether it is new.
///
/// # Errors
///
/// The list is full.
pub fn add<T: PartialEq>(list: &mut Vec<Entry<T>>, entry: Entry<T>) -> Result<bool, StandingError> {
    if list.iter().any(|other| other.what == entry.what) {
        return Ok(false);
    }
    if list.len() >= ENTRIES_MAX {
        return Err(StandingError::Full);
    }
    list.push(entry);
    Ok(true)
}

/// Takes the entry about `what` out of `list`; whether there was one.
pub fn remove<T: PartialEq>(list: &mut Vec<Entry<T>>, what: &T) -> bool {
    let n = list.len();
    list.retain(|entry| entry.what != *what);
    list.len() < n
}

impl<T: std::fmt::Display> Entry<T> {
    /// Why it holds, for whoever meets it.
    pub fn why(&self) -> String {
        let reason = if self.reason.is_empty() { "no reason given" } else { &self.reason };
        format!("since {} by {}: {reason}", self.since, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<T>(what: T) -> Entry<T> {
        Entry { what, since: Timestamp::from_nanos(0), owner: "me".into(), reason: "r".into() }
    }

    #[test]
    fn what_is_written_is_read_and_what_is_damaged_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let mut standing = Standing::read(&path).unwrap();
        assert_eq!(standing, Standing::default());
        let bad = Digest::of(b"bad");
        assert!(add(&mut standing.images, entry(bad)).unwrap());
        assert!(!add(&mut standing.images, entry(bad)).unwrap());
        assert!(add(&mut standing.protected, entry("c1".to_string())).unwrap());
        standing.write(&path).unwrap();
        let mut read = Standing::read(&path).unwrap();
        assert_eq!(read, standing);
        assert!(read.image(&[Digest::of(b"other"), bad]).is_some());
        assert!(read.image(&[]).is_none());
        assert!(read.protected("c1").is_some() && read.protected("c").is_none());
        assert!(remove(&mut read.images, &bad) && !remove(&mut read.images, &bad));
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() / 2]).unwrap();
        assert!(matches!(Standing::read(&path), Err(StandingError::Invalid { .. })));
    }

    #[test]
    fn the_bound_holds() {
        let mut list = Vec::new();
        for i in 0..ENTRIES_MAX {
            assert!(add(&mut list, entry(i)).unwrap());
        }
        assert!(matches!(add(&mut list, entry(ENTRIES_MAX)), Err(StandingError::Full)));
        assert!(!add(&mut list, entry(0)).unwrap(), "what is there already is no matter");
    }
}

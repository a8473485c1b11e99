//! What stood in the files before.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::InstallError;
use super::files::{FileState, Root};

/// What a file is, and so how ours is taken out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    /// Ours alone.
    Own,
    /// Docker's `daemon.json`.
    DaemonJson,
    /// containerd's `config.toml`.
    ContainerdToml,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    /// For which engines it is there.
    pub(super) engines: Vec<String>,
    pub(super) kind: Kind,
    pub(super) before: FileState,
    pub(super) after: FileState,
}

/// All files, in the order in which they were written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) entries: Vec<Entry>,
    /// Folders that were made for them.
    #[serde(default)]
    pub(super) folders: Vec<PathBuf>,
}

impl Record {
    pub(super) fn read(root: &Root, path: &Path) -> Result<Self, InstallError> {
        match root.text(path)? {
            None => Ok(Self::default()),
            Some(text) => serde_json::from_str(&text).map_err(|error| InstallError::Invalid {
                path: path.to_path_buf(),
                problem: error.to_string(),
            }),
        }
    }

    /// Writes it; without entries there is no file.
    pub(super) fn write(&self, root: &Root, path: &Path) -> Result<(), InstallError> {
        if self.entries.is_empty() {
            return match root.state(path)? {
                FileState::Absent => Ok(()),
                _ => root.put(path, &FileState::Absent),
            };
        }
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        // Settings of engines may hold credentials of proxies.
        root.put(path, &FileState::File { bytes, mode: 0o600 })
    }

    /// Notes the folders that must be made for `path`.
    pub(super) fn will_make(&mut self, root: &Root, path: &Path) {
        for folder in root.missing_folders(path) {
            if !self.folders.contains(&folder) {
                self.folders.push(folder);
            }
        }
    }

    /// This record with what only `other` knows.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for entry in &other.entries {
            if !out.entries.iter().any(|known| known.path == entry.path) {
                out.entries.push(entry.clone());
            }
        }
        for folder in &other.folders {
            if !out.folders.contains(folder) {
                out.folders.push(folder.clone());
            }
        }
        out
    }
}

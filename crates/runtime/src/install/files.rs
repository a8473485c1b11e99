//! Files below a root: read bounded, written whole, links never followed out of it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::InstallError;

/// Bytes of an engine's settings that are read.
pub const FILE_BYTES_MAX: u64 = 1 << 20;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Nothing.
    Absent,
    /// A file.
    File {
        /// Its content.
        #[serde(with = "encoded")]
        bytes: Vec<u8>,
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link, and where it leads.
    Link(PathBuf),
}

/// Bytes as Base64 in JSON.
mod encoded {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub path: PathBuf,
    /// What stands there.
    pub before: FileState,
    /// What will.
    pub after: FileState,
    /// Why.
    pub why: String,
}

impl Step {
    /// The change as a unified diff.
    pub fn diff(&self) -> String {
        let text = |state: &FileState| match state {
            FileState::Absent => String::new(),
            FileState::File { bytes, .. } => String::from_utf8_lossy(bytes).into_owned(),
            FileState::Link(to) => format!("link to {}\n", to.display()),
        };
        let name = |state: &FileState| match state {
            FileState::Absent => "/dev/null".to_string(),
            _ => self.path.display().to_string(),
        };
        let (before, after) = (text(&self.before), text(&self.after));
        unified_diff(&name(&self.before), &name(&self.after), &before, &after)
    }
}

/// The difference of two texts as `diff -u` shows it; nothing where there is none.
pub fn unified_diff(from: &str, to: &str, before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let mut unified = diff.unified_diff();
    unified.header(from, to);
    unified.to_string()
}

/// The folder that stands for `/`.
#[derive(Debug)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(path: &Path) -> Result<Self, InstallError> {
        let real = std::fs::canonicalize(path)
            .map_err(|source| InstallError::Read { path: path.to_path_buf(), source })?;
        Ok(Self(real))
    }

    fn is_live(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where `path` is; its folders, as far as they exist, must lie within the root.
    fn at(&self, path: &Path) -> Result<PathBuf, InstallError> {
        let link = || InstallError::Link { path: path.to_path_buf() };
        let plain =
            path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !plain || !path.is_absolute() {
            return Err(link());
        }
        let full = self.0.join(path.strip_prefix("/").unwrap_or(path));
        let known = full.ancestors().skip(1).find(|folder| folder.exists());
        let real = known.map(std::fs::canonicalize).and_then(Result::ok);
        if !real.is_some_and(|real| real.starts_with(&self.0)) {
            return Err(link());
        }
        Ok(full)
    }

    /// What stands at `path`.
    pub(super) fn state(&self, path: &Path) -> Result<FileState, InstallError> {
        let full = self.at(path)?;
        let failed = |source| InstallError::Read { path: path.to_path_buf(), source };
        let metadata = match std::fs::symlink_metadata(&full) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(FileState::Absent);
            }
            Err(error) => return Err(failed(error)),
        };
        if metadata.is_symlink() {
            return Ok(FileState::Link(std::fs::read_link(&full).map_err(failed)?));
        }
        if !metadata.is_file() {
            return Err(InstallError::Link { path: path.to_path_buf() });
        }
        let file = std::fs::File::open(&full).map_err(failed)?;
        let bytes =
            palisade_base::read_bounded(file, "settings", FILE_BYTES_MAX).map_err(failed)?;
        Ok(FileState::File { bytes, mode: metadata.permissions().mode() & 0o7777 })
    }

    /// The text of a file; `None` when there is none.
    pub(super) fn text(&self, path: &Path) -> Result<Option<String>, InstallError> {
        match self.state(path)? {
            FileState::Absent => Ok(None),
            FileState::File { bytes, .. } => Ok(Some(text(path, &bytes)?.to_string())),
            FileState::Link(_) => Err(InstallError::Link { path: path.to_path_buf() }),
        }
    }

    /// Whether anything is at `path`.
    pub(super) fn exists(&self, path: &Path) -> bool {
        self.at(path).is_ok_and(|full| full.exists())
    }

    /// The folders that must be made for `path`, uppermost first.
    pub(super) fn missing_folders(&self, path: &Path) -> Vec<PathBuf> {
        let mut out: Vec<PathBuf> = path
            .ancestors()
            .skip(1)
            .take_while(|folder| !self.exists(folder))
            .map(Path::to_path_buf)
            .collect();
        out.reverse();
        out
    }

    /// Removes a folder if nothing is in it.
    pub(super) fn remove_empty(&self, folder: &Path) {
        if let Ok(full) = self.at(folder) {
            let _ = std::fs::remove_dir(full);
        }
    }

    /// Makes `path` be `state`.
    pub(super) fn put(&self, path: &Path, state: &FileState) -> Result<(), InstallError> {
        let full = self.at(path)?;
        let failed = |source| InstallError::Write { path: path.to_path_buf(), source };
        let Some(folder) = full.parent() else { return Ok(()) };
        match state {
            FileState::Absent => std::fs::remove_file(&full).map_err(failed),
            FileState::File { bytes, mode } => {
                std::fs::create_dir_all(folder).map_err(failed)?;
                palisade_base::fs::write_atomic(&full, bytes, *mode).map_err(failed)
            }
            FileState::Link(to) => {
                std::fs::create_dir_all(folder).map_err(failed)?;
                let temporary = full.with_extension(format!("new-{}", std::process::id()));
                std::os::unix::fs::symlink(to, &temporary).map_err(failed)?;
                std::fs::rename(&temporary, &full).map_err(failed)
            }
        }
    }

    /// Whether only root can change the program that engines will call as root.
    pub(super) fn check_program(&self, program: &Path) -> Result<(), InstallError> {
        if !self.is_live() {
            return Ok(());
        }
        let failed = |source| InstallError::Read { path: program.to_path_buf(), source };
        let real = std::fs::canonicalize(program).map_err(failed)?;
        for path in real.ancestors() {
            let metadata = std::fs::metadata(path).map_err(failed)?;
            let mode = metadata.mode();
            // In a folder with the sticky bit others cannot exchange what is root's.
            let open = mode & 0o022 != 0 && !(metadata.is_dir() && mode & 0o1000 != 0);
            if metadata.uid() != 0 || open {
                return Err(InstallError::Program { path: path.to_path_buf() });
            }
        }
        Ok(())
    }
}

/// The text of `bytes`.
pub(super) fn text<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, InstallError> {
    std::str::from_utf8(bytes).map_err(|error| InstallError::Invalid {
        path: path.to_path_buf(),
        problem: error.to_string(),
    })
}

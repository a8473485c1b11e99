//! Files of recordings: made exclusively, bounded, the oldest removed first.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use palisade_base::Explain;
use palisade_sensor::capture::compact::{SUFFIX, file_header};

/// Files of a folder that are looked at when room is made.
const LISTED_MAX: usize = 100_000;

/// A file or folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} `{path}`")]
pub struct FileError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(super) fn new(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self { what, path: path.to_path_buf(), source }
    }
}

impl Explain for FileError {
    fn hint(&self) -> Option<String> {
        match self.source.kind() {
            io::ErrorKind::AlreadyExists => {
                Some("recordings never replace a file: move it away, or choose another".into())
            }
            io::ErrorKind::NotFound => Some("the folder must exist".into()),
            _ => Some("choose a place that can be written to".into()),
        }
    }
}

/// A recording that is being written.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    path: PathBuf,
    n_bytes: u64,
}

impl Output {
    /// Makes the file, which nobody else may read. An existing one, or a link in its
    /// place, is an error.
    pub(super) fn create(path: &Path) -> Result<Self, FileError> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut output = file
            .map(|file| Self { file, path: path.to_path_buf(), n_bytes: 0 })
            .map_err(|source| FileError::new("create recording", path, source))?;
        output.write(&file_header())?;
        Ok(output)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        // A chunk is one call: there is nothing to buffer.
        self.file
            .write_all(bytes)
            .map_err(|source| FileError::new("write recording", &self.path, source))?;
        self.n_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Puts it on the disk.
    pub(super) fn close(self) -> Result<(), FileError> {
        let synced = self.file.sync_all();
        synced.map_err(|source| FileError::new("write recording", &self.path, source))
    }
}

/// Makes the folder, with access for its owner alone.
pub(super) fn make_folder(path: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| FileError::new("create folder of recordings", path, source))
}

/// The place of the `n`th file that `file` was rotated into.
pub(super) fn rotated(file: &Path, n: u64) -> PathBuf {
    let mut name = file.as_os_str().to_os_string();
    name.push(format!(".{n}"));
    name.into()
}

/// Recordings of alerts in `folder`, oldest first, with their sizes. What has another name
/// is not ours; links are not followed.
fn recordings(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)?.take(LISTED_MAX) {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_ours = name.strip_suffix(SUFFIX).is_some_and(|stem| stem.ends_with('.'))
            && name.get(..9).is_some_and(|date| {
                let (day, t) = date.split_at(8);
                t == "T" && day.bytes().all(|byte| byte.is_ascii_digit())
            });
        let Ok(metadata) = entry.metadata() else { continue };
        if is_ours && metadata.is_file() {
            found.push((entry.path(), metadata.len()));
        }
    }
    found.sort();
    Ok(found)
}

/// Removes the oldest recordings until `n_more` files and `bytes_more` fit; those that went.
/// `keep` stays.
pub(super) fn make_room(
    folder: &Path,
    keep: Option<&Path>,
    (files_max, bytes_max): (usize, u64),
    (n_more, bytes_more): (usize, u64),
) -> Result<Vec<PathBuf>, FileError> {
    let found = recordings(folder);
    let found = found.map_err(|source| FileError::new("list recordings in", folder, source))?;
    let mut n_files = found.len() + n_more;
    let mut n_bytes = found.iter().map(|(_, size)| size).sum::<u64>() + bytes_more;
    let mut removed = Vec::new();
    for (path, size) in found {
        if n_files <= files_max && n_bytes <= bytes_max {
            break;
        }
        if keep == Some(&path) {
            continue;
        }
        std::fs::remove_file(&path)
            .map_err(|source| FileError::new("remove recording", &path, source))?;
        n_files -= 1;
        n_bytes -= size;
        removed.push(path);
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nothing_is_replaced_and_no_link_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, victim) = (folder.path().join("a.palcap"), folder.path().join("victim"));
        let output = Output::create(&file).unwrap();
        output.close().unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Output::create(&file).unwrap_err().hint().unwrap().contains("never replace"));
        std::os::unix::fs::symlink(&victim, folder.path().join("l.palcap")).unwrap();
        assert!(Output::create(&folder.path().join("l.palcap")).is_err());
        assert!(!victim.exists());
    }

    #[test]
    fn the_oldest_go_first_and_only_ours() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), [0; 100]).unwrap();
        let names = ["20260101T1-a.palcap", "20260102T1-a.palcap", "20260103T1-a.palcap"];
        for name in names {
            write(name);
        }
        write("notes.palcap");
        write("20250101T1-a.txt");
        let room = |limits, more| {
            let gone = make_room(folder.path(), Some(&folder.path().join(names[0])), limits, more);
            gone.unwrap().len()
        };
        assert_eq!(room((3, 300), (0, 0)), 0);
        assert_eq!(room((3, 300), (1, 0)), 1, "one file too many");
        assert!(!folder.path().join(names[1]).exists() && folder.path().join(names[0]).exists());
        assert_eq!(room((3, 250), (0, 100)), 1, "too many bytes");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(room((0, 0), (1, 1)), 0, "the one that is written stays");
    }
}

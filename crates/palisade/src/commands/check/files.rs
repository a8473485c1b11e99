//! The files that `palisade check` examines.
//!
//! Links within folders are not followed, so that nothing outside of what was named is read;
//! a link that was named itself is. What cannot be read is a gap of the report.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use palisade_model::package::Gap;
use palisade_scan::config::{FILES_MAX, Kind, Source, detect, tree};

use crate::exit::{Exit, Failure};

/// Folders within each other.
const DEPTH_MAX: usize = 64;
/// Entries of all folders that are looked at.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of all files together.
const BYTES_MAX: u64 = 1 << 30;

/// Folders of others' files, which are not the user's configuration.
const SKIPPED_FOLDERS: [&str; 6] = [".git", ".hg", ".svn", "node_modules", ".terraform", ".venv"];

/// What was found under the paths that the user named.
pub(super) struct Gathered {
    pub(super) sources: Vec<Source>,
    pub(super) gaps: Vec<Gap>,
    /// Folders within which files may refer to others.
    pub(super) roots: Vec<PathBuf>,
    /// Files whose names say that they are none of ours.
    pub(super) n_other: usize,
}

/// Reads the files under `paths`.
pub(super) fn gather(paths: &[PathBuf], kind: Option<Kind>) -> Result<Gathered, Failure> {
    let mut walk = Walk {
        out: Gathered { sources: Vec::new(), gaps: Vec::new(), roots: Vec::new(), n_other: 0 },
        kind,
        n_entries: 0,
        n_bytes: 0,
    };
    for path in paths {
        if path.as_os_str() == "-" {
            walk.standard_input();
            continue;
        }
        let metadata = std::fs::metadata(path).map_err(|error| {
            let what = format!("read `{}`: {error}", path.display());
            Failure::message(Exit::Incomplete, what).with_hint("name a file or folder, or -")
        })?;
        if metadata.is_dir() {
            walk.root(path);
            walk.folder(path, DEPTH_MAX);
        } else {
            walk.root(path.parent().unwrap_or(Path::new("")));
            walk.file(path, true);
        }
    }
    Ok(walk.out)
}

struct Walk {
    out: Gathered,
    kind: Option<Kind>,
    n_entries: usize,
    n_bytes: u64,
}

impl Walk {
    fn gap(&mut self, path: &Path, reason: &dyn ToString) {
        let path = path.display().to_string();
        self.out.gaps.push(Gap { path, reason: reason.to_string() });
    }

    fn root(&mut self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if let Ok(root) = folder.canonicalize() {
            self.out.roots.push(root);
        }
    }

    fn standard_input(&mut self) {
        match read_text(std::io::stdin().lock()) {
            Ok(text) => self.push("-".to_string(), text, true),
            Err(reason) => self.gap(Path::new("-"), &reason),
        }
    }

    /// A folder's files in the order of their names, so that reports can be compared.
    fn folder(&mut self, folder: &Path, depth: usize) {
        if depth == 0 {
            return self.gap(folder, &format!("more than {DEPTH_MAX} folders within each other"));
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.gap(folder, &error),
        };
        let mut found = Vec::new();
        for entry in entries {
            match entry {
                Ok(entry) => found.push(entry),
                Err(error) => self.gap(folder, &error),
            }
            self.n_entries += 1;
            if self.n_entries > ENTRIES_MAX {
                return self.gap(folder, &format!("more than {ENTRIES_MAX} files and folders"));
            }
        }
        found.sort_by_key(std::fs::DirEntry::file_name);
        for entry in found {
            let path = entry.path();
            // The type of the entry itself: links are not followed.
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    let name = entry.file_name();
                    if !SKIPPED_FOLDERS.iter().any(|skipped| name == *skipped) {
                        self.folder(&path, depth - 1);
                    }
                }
                Ok(kind) if kind.is_file() && detect::is_candidate(&path) => {
                    self.file(&path, false);
                }
                Ok(_) => self.out.n_other += 1,
                Err(error) => self.gap(&path, &error),
            }
        }
    }

    fn file(&mut self, path: &Path, is_named: bool) {
        if self.out.sources.len() >= FILES_MAX || self.n_bytes >= BYTES_MAX {
            return self.gap(path, &"too many or too large files before it");
        }
        let text = File::open(path).map_err(|error| error.to_string()).and_then(read_text);
        match text {
            Ok(text) => {
                // `./` is noise, and exceptions name files without it.
                let name = path.strip_prefix("./").unwrap_or(path).display().to_string();
                self.push(name, text, is_named);
            }
            Err(reason) => self.gap(path, &reason),
        }
    }

    fn push(&mut self, name: String, text: String, is_named: bool) {
        self.n_bytes += text.len() as u64;
        // A kind that was said is that of the files that were named.
        let kind = self.kind.filter(|_| is_named);
        self.out.sources.push(Source { name, text, kind, is_named });
    }
}

fn read_text(mut reader: impl std::io::Read) -> Result<String, String> {
    let limit = tree::FILE_BYTES_MAX as u64;
    let mut bytes = Vec::new();
    reader.by_ref().take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("larger than the limit of {limit} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_string())
}

/// The text of a file that another one refers to, if it lies within one of `roots`.
pub(super) fn load(roots: &[PathBuf], from: &str, path: &str) -> Result<String, String> {
    if from == "-" {
        return Err("standard input lies in no folder".to_string());
    }
    let folder = Path::new(from).parent().unwrap_or(Path::new(""));
    let path = folder.join(path).canonicalize().map_err(|error| error.to_string())?;
    if !roots.iter().any(|root| path.starts_with(root)) {
        return Err("it lies outside of what is checked".to_string());
    }
    if !path.is_file() {
        return Err("not a file".to_string());
    }
    File::open(&path).map_err(|error| error.to_string()).and_then(read_text)
}

//! Which files changed, by inotify(7).
//!
//! The folders are watched, not the files: editors and orchestrators replace a file by renaming
//! another one onto its name, or turn a symbolic link above it. Whatever moves in a folder is
//! only a hint; a file has changed when its content has.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

/// Files that are watched; of more, the last are not, which is said.
pub const FILES_WATCHED_MAX: usize = 1024;
/// Bytes of a file that are compared.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Watches files.
#[derive(Debug)]
pub struct FileWatch {
    fd: OwnedFd,
    /// Each file as it was named, and what it held when it was read last.
    files: BTreeMap<PathBuf, Option<Digest>>,
    folders: BTreeMap<PathBuf, i32>,
    /// Names that matter in these folders.
    names: Vec<OsString>,
}

impl FileWatch {
    /// Begins to watch `files`.
    pub fn new(files: &[PathBuf]) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let mut this =
            Self { fd, files: BTreeMap::new(), folders: BTreeMap::new(), names: Vec::new() };
        this.follow(files);
        this.remember();
        Ok(this)
    }

    /// Watches `files` instead of those before.
    pub(crate) fn follow(&mut self, files: &[PathBuf]) {
        let mut old = std::mem::take(&mut self.files);
        for file in files.iter().take(FILES_WATCHED_MAX) {
            let held = old.remove(file).unwrap_or_else(|| digest(file));
            self.files.insert(file.clone(), held);
        }
        self.follow_folders();
    }

    fn follow_folders(&mut self) {
        let mut folders: Vec<PathBuf> = Vec::new();
        self.names.clear();
        for file in self.files.keys() {
            // The file itself, and what a link leads to.
            let real = std::fs::canonicalize(file).ok();
            for path in std::iter::once(file.as_path()).chain(real.as_deref()) {
                let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                folders.push(folder.unwrap_or(Path::new(".")).to_path_buf());
                self.names.extend(path.file_name().map(OsStr::to_os_string));
            }
        }
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM;
        let mut watched = BTreeMap::new();
        for folder in folders {
            // A folder that does not exist cannot change; its file is missed when it is read.
            if let Ok(number) = inotify::add_watch(&self.fd, &folder, flags) {
                watched.insert(folder, number);
            }
        }
        for (folder, number) in &self.folders {
            if !watched.contains_key(folder) && !watched.values().any(|other| other == number) {
                // It may be gone, and its watch with it.
                let _gone = inotify::remove_watch(&self.fd, *number);
            }
        }
        self.folders = watched;
    }

    /// Takes what inotify has to say; whether some of it may concern a file.
    pub(crate) fn take_events(&mut self) -> bool {
        let mut concerns = false;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        while let Ok(event) = reader.next() {
            // An overflow has no name, and may have hidden anything.
            concerns |= event.file_name().is_none_or(|name| {
                let name = OsStr::new(name.to_str().unwrap_or_default());
                // `..data` and its kin are the links that an orchestrator turns.
                name.as_encoded_bytes().starts_with(b"..")
                    || self.names.iter().any(|known| known == name)
            });
        }
        concerns
    }

    /// The files whose content is not what it was.
    pub(crate) fn changed(&self) -> Vec<PathBuf> {
        let differs = |(file, held): &(&PathBuf, &Option<Digest>)| digest(file) != **held;
        self.files.iter().filter(differs).map(|(file, _)| file.clone()).collect()
    }

    /// Takes what the files hold now for known, and finds again where links lead.
    pub(crate) fn remember(&mut self) {
        for (file, held) in &mut self.files {
            *held = digest(file);
        }
        self.follow_folders();
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a file holds; `None` when it cannot be read.
fn digest(path: &Path) -> Option<Digest> {
    let file = std::fs::File::open(path).ok()?;
    // A pipe would keep its reader waiting.
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(Digest::of(&bytes))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Waits until inotify says that a file may have changed; false after a while.
    fn is_told(watch: &mut FileWatch, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            if watch.take_events() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    #[test]
    fn a_file_has_changed_when_its_content_has() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rules.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = FileWatch::new(std::slice::from_ref(&file)).unwrap();
        let soon = Duration::from_secs(30);
        assert!(!watch.take_events());

        std::fs::write(folder.path().join("other"), "x").unwrap();
        assert!(!is_told(&mut watch, Duration::from_millis(50)), "no concern of ours");

        std::fs::write(&file, "a").unwrap();
        assert!(is_told(&mut watch, soon));
        assert_eq!(watch.changed(), [""; 0].map(PathBuf::from), "the same again");
        std::fs::write(&file, "b").unwrap();
        assert!(is_told(&mut watch, soon));
        assert_eq!(watch.changed(), std::slice::from_ref(&file));
        watch.remember();
        assert_eq!(watch.changed(), [""; 0].map(PathBuf::from));

        // Replaced by a rename, gone, and there again.
        std::fs::write(folder.path().join("new"), "c").unwrap();
        std::fs::rename(folder.path().join("new"), &file).unwrap();
        assert!(is_told(&mut watch, soon));
        assert_eq!(watch.changed(), std::slice::from_ref(&file));
        watch.remember();
        std::fs::remove_file(&file).unwrap();
        assert!(is_told(&mut watch, soon));
        assert_eq!(watch.changed(), std::slice::from_ref(&file));
        watch.remember();
        std::fs::write(&file, "d").unwrap();
        assert!(is_told(&mut watch, soon));
        assert_eq!(watch.changed(), [file]);
    }

    #[test]
    fn a_link_above_the_file_that_is_turned_changes_it() {
        // As an orchestrator mounts a configuration.
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, text) in [("..1", "a"), ("..2", "b")] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("rules.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/rules.yaml", path("rules.yaml")).unwrap();
        let mut watch = FileWatch::new(&[path("rules.yaml")]).unwrap();
        std::os::unix::fs::symlink("..2", path("..new")).unwrap();
        std::fs::rename(path("..new"), path("..data")).unwrap();
        assert!(is_told(&mut watch, Duration::from_secs(30)));
        assert_eq!(watch.changed(), [path("rules.yaml")]);
    }

    #[test]
    fn files_beyond_the_bound_are_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> =
            (0..FILES_WATCHED_MAX + 2).map(|n| folder.path().join(n.to_string())).collect();
        let watch = FileWatch::new(&files).unwrap();
        assert_eq!(watch.files.len(), FILES_WATCHED_MAX);
    }
}

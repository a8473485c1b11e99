//! Examinations of images that were read before.
//!
//! What is in an image does not change while the image does not; what is known about it does.
//! Kept is therefore what reading the image gave (inventory, secrets, files), and matching,
//! ignoring and judging are done each time. An entry is named by the image's stamp, the
//! program that wrote it and what it looked for; it carries a digest of itself, and one that
//! is damaged, or another user's, is as good as absent.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use palisade_base::Digest;
use palisade_image::Image;
use palisade_model::Inventory;
use palisade_model::finding::{Coverage, DangerousFile, Malware, Misconfiguration, Secret};
use serde::{Deserialize, Serialize};

use crate::scan::Reading;

/// Largest entry that is kept or read.
const ENTRY_BYTES_MAX: u64 = 256 << 20;
/// Most that entries take together.
const BYTES_MAX: u64 = 1 << 30;
/// Entries that are looked at to make room.
const ENTRIES_MAX: usize = 65_536;
const SUFFIX: &str = ".examined";

/// What reading an image gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Examined {
    pub(crate) inventory: Inventory,
    pub(crate) secrets: Vec<Secret>,
    pub(crate) malware: Vec<Malware>,
    pub(crate) files: Vec<DangerousFile>,
    pub(crate) hostile: Vec<Misconfiguration>,
    pub(crate) landmarks: Vec<String>,
    pub(crate) empty_password: bool,
    pub(crate) coverage: Coverage,
}

/// A folder of examinations.
#[derive(Debug, Clone)]
pub struct ExaminationCache {
    folder: PathBuf,
    program: String,
}

impl ExaminationCache {
    /// The cache in `folder`, which is made when there is something to keep. `program` tells
    /// one build of the program from another: what another found is not what this one would
    /// find.
    pub fn new(folder: &Path, program: &str) -> Self {
        Self { folder: folder.to_path_buf(), program: program.to_string() }
    }

    /// What was looked for is part of the name: another list of hashes finds other files.
    fn path(&self, image: &Image, reading: &Reading<'_>) -> Option<PathBuf> {
        let Reading { secrets, searcher, malware } = reading;
        let secrets = if *secrets { searcher.stamp() } else { "no" };
        let malware = malware.map_or("no", |detection| detection.stamp());
        let key = format!("{} {} {secrets} {malware}", image.stamp()?, self.program);
        Some(self.folder.join(format!("{}{SUFFIX}", Digest::of(key.as_bytes()).hex())))
    }

    /// What reading `image` gave before.
    pub(crate) fn get(&self, image: &Image, reading: &Reading<'_>) -> Option<Examined> {
        let path = self.path(image, reading)?;
        let file = File::open(&path).ok()?;
        let owner = file.metadata().ok()?.uid();
        // What somebody else can write could say that an image is clean.
        if owner != rustix::process::geteuid().as_raw() {
            return None;
        }
        let _ = file.set_modified(SystemTime::now());
        let bytes = palisade_base::read_bounded(file, "examination", ENTRY_BYTES_MAX).ok()?;
        let found = decode(&bytes);
        if found.is_none() {
            tracing::warn!(path = %path.display(), "a kept examination is damaged and is removed");
            let _ = std::fs::remove_file(&path);
        }
        let mut found = found?;
        found.inventory.subject = image.subject();
        Some(found)
    }

    /// Keeps what reading `image` gave. It is no error that it cannot be kept.
    pub(crate) fn keep(&self, image: &Image, reading: &Reading<'_>, examined: &Examined) {
        let Some(path) = self.path(image, reading) else { return };
        let Some(bytes) = encode(examined) else { return };
        if bytes.len() as u64 > ENTRY_BYTES_MAX {
            return;
        }
        let kept = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .and_then(|()| palisade_base::fs::write_atomic(&path, &bytes, 0o600));
        match kept {
            Ok(()) => self.make_room(),
            Err(error) => tracing::debug!(%error, "an examination is not kept"),
        }
    }

    /// Removes what was used longest ago until the folder is within its bound.
    fn make_room(&self) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .take(ENTRIES_MAX)
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(SUFFIX))
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if total <= BYTES_MAX {
                return;
            }
            if std::fs::remove_file(path).is_ok() {
                total -= length;
            }
        }
    }
}

/// A digest, the length of a document, the document without the packages' files, and these:
/// most of an entry are paths, which are read ten times as fast as lines.
fn encode(examined: &Examined) -> Option<Vec<u8>> {
    let mut bare = examined.clone();
    let mut paths = String::new();
    for package in bare.inventory.packages.iter_mut().chain(&mut bare.inventory.parts) {
        let files = std::mem::take(&mut package.files);
        if files.iter().any(|path| path.contains(['\n', '\0'])) {
            return None;
        }
        paths += &files.join("\n");
        paths.push('\0');
    }
    let document = serde_json::to_vec(&bare).ok()?;
    let body = [&(document.len() as u64).to_le_bytes()[..], &document, paths.as_bytes()].concat();
    Some([Digest::of(&body).hex().as_bytes(), b"\n", &body].concat())
}

/// Reads an entry; `None` unless all of it is as it was written.
fn decode(bytes: &[u8]) -> Option<Examined> {
    let (digest, rest) = bytes.split_at_checked(64)?;
    let body = rest.strip_prefix(b"\n")?;
    if Digest::of(body).hex().as_bytes() != digest {
        return None;
    }
    let (length, rest) = body.split_at_checked(8)?;
    let length = usize::try_from(u64::from_le_bytes(length.try_into().ok()?)).ok()?;
    let (document, paths) = rest.split_at_checked(length)?;
    let mut examined: Examined = serde_json::from_slice(document).ok()?;
    let mut lists = std::str::from_utf8(paths).ok()?.split('\0');
    let inventory = &mut examined.inventory;
    for package in inventory.packages.iter_mut().chain(&mut inventory.parts) {
        let list = lists.next()?;
        if !list.is_empty() {
            package.files = list.split('\n').map(str::to_string).collect();
        }
    }
    Some(examined)
}

/// For fuzzing: whatever the bytes are, reading them ends.
#[doc(hidden)]
pub fn fuzz_decode(bytes: &[u8]) {
    let body = [Digest::of(bytes).hex().as_bytes(), b"\n", bytes].concat();
    if let Some(examined) = decode(&body) {
        let _ = encode(&examined);
    }
}

#[cfg(test)]
mod tests {
    use palisade_model::package::Subject;
    use palisade_model::{Package, PackageKind};

    use super::*;

    fn examined() -> Examined {
        let subject = Subject { name: "x".into(), digest: None, platform: None };
        let mut inventory = Inventory {
            subject,
            distribution: None,
            packages: Vec::new(),
            parts: Vec::new(),
            programs: Vec::new(),
            n_files: 0,
            gaps: Vec::new(),
        };
        for (name, files) in [("a", vec!["/usr/bin/a", "/etc/ü"]), ("b", vec![]), ("c", vec!["/c"])]
        {
            let mut package = Package::new(PackageKind::Dpkg, name, "1", "/var/lib/dpkg/status");
            package.files = files.into_iter().map(str::to_string).collect();
            inventory.packages.push(package);
        }
        Examined {
            inventory,
            secrets: Vec::new(),
            malware: Vec::new(),
            files: Vec::new(),
            hostile: Vec::new(),
            landmarks: vec!["etc/x".into()],
            empty_password: true,
            coverage: Coverage { n_files_binary: 7, ..Coverage::default() },
        }
    }

    #[test]
    fn an_entry_comes_back_whole_or_not_at_all() {
        let examined = examined();
        let bytes = encode(&examined).unwrap();
        assert_eq!(decode(&bytes).as_ref(), Some(&examined));
        for at in [0, 64, 70, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_none(), "{at}");
        }
        for n in [0, 63, 64, 65, 72, bytes.len() - 1] {
            assert!(decode(&bytes[..n]).is_none(), "{n}");
        }
    }

    #[test]
    fn a_path_that_breaks_lines_is_not_kept() {
        let mut examined = examined();
        examined.inventory.packages[0].files.push("/a\nb".into());
        assert!(encode(&examined).is_none());
    }
}

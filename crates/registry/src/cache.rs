//! Blobs that were fetched before, by their digests, in one bounded folder.
//!
//! A blob gets its name when all of it is there and proved; it is proved again before it is
//! used, because files rot and others may write there. What was used longest ago goes first.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use palisade_base::{Digest, DigestReader};
use tempfile::NamedTempFile;

/// Files of the folder that are looked at to make room.
const FILES_MAX: usize = 65_536;
/// Age at which a half-written file cannot belong to a process that still works.
const LEFTOVER_AGE: Duration = Duration::from_hours(6);
const PARTIAL: &str = ".partial-";

/// A folder of blobs.
#[derive(Debug, Clone)]
pub struct BlobCache {
    folder: PathBuf,
    bytes_max: u64,
}

impl BlobCache {
    /// The cache in `folder`, made if it is not there, of at most `bytes_max` bytes.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_path_buf(), bytes_max })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.hex())
    }

    /// A proved blob, or nothing. One that is not what its name says is removed.
    pub(crate) fn get(&self, digest: Digest, size: Option<u64>) -> Option<(File, u64)> {
        let path = self.path(digest);
        let mut file = File::open(&path).ok()?;
        let length = file.metadata().ok()?.len();
        let mut reader = DigestReader::new(&mut file);
        let copied = io::copy(&mut reader, &mut io::sink());
        let (found, _) = reader.finish();
        if copied.is_err() || found != digest || size.is_some_and(|size| size != length) {
            tracing::warn!(path = %path.display(), "a cached blob was damaged and is removed");
            let _ = std::fs::remove_file(&path);
            return None;
        }
        file.seek(SeekFrom::Start(0)).ok()?;
        // So that it counts as used now.
        let _ = file.set_modified(SystemTime::now());
        Some((file, length))
    }

    /// Whether there is a blob of the size; it is not proved.
    pub(crate) fn has(&self, digest: Digest, size: u64) -> bool {
        std::fs::metadata(self.path(digest)).is_ok_and(|meta| meta.len() == size)
    }

    /// Reads a small blob of at most `limit` bytes.
    pub(crate) fn read(&self, digest: Digest, limit: u64) -> Option<Vec<u8>> {
        let (file, length) = self.get(digest, None)?;
        if length > limit {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// A file to write a blob into.
    pub(crate) fn new_file(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(PARTIAL).tempfile_in(&self.folder)
    }

    /// Keeps a blob that is whole and proved. It is no error that it cannot be kept.
    pub(crate) fn keep(&self, file: NamedTempFile, digest: Digest) {
        match file.persist(self.path(digest)) {
            Ok(_) => self.make_room(),
            Err(error) => tracing::debug!(%error, "a blob is not cached"),
        }
    }

    /// Keeps a small blob.
    pub(crate) fn write(&self, digest: Digest, bytes: &[u8]) {
        let kept = palisade_base::fs::write_atomic(&self.path(digest), bytes, 0o644);
        if let Err(error) = kept {
            tracing::debug!(%error, "a document is not cached");
        }
    }

    /// Removes what was used longest ago until the folder is within its bound.
    fn make_room(&self) {
        let Ok(listing) = std::fs::read_dir(&self.folder) else { return };
        let now = SystemTime::now();
        let mut files = Vec::new();
        let mut total = 0_u64;
        for entry in listing.flatten().take(FILES_MAX) {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let age = now.duration_since(used).unwrap_or_default();
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                if age > LEFTOVER_AGE {
                    let _ = std::fs::remove_file(entry.path());
                }
                continue;
            }
            total += meta.len();
            files.push((used, meta.len(), entry.path()));
        }
        files.sort();
        for (_, length, path) in files {
            if total <= self.bytes_max {
                break;
            }
            if std::fs::remove_file(&path).is_ok() {
                total -= length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn keep(cache: &BlobCache, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut file = cache.new_file().unwrap();
        file.write_all(bytes).unwrap();
        cache.keep(file, digest);
        digest
    }

    #[test]
    fn a_damaged_blob_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(folder.path(), 1000).unwrap();
        let digest = keep(&cache, b"abc");
        assert_eq!(cache.read(digest, 10).unwrap(), b"abc");
        assert!(cache.get(digest, Some(4)).is_none(), "another size");
        let digest = keep(&cache, b"abc");
        std::fs::write(folder.path().join(digest.hex()), b"abd").unwrap();
        assert!(cache.get(digest, Some(3)).is_none());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = BlobCache::open(folder.path(), 25).unwrap();
        let age = |digest: Digest, seconds: u64| {
            let file = File::options().write(true).open(folder.path().join(digest.hex())).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
        };
        let first = keep(&cache, b"0123456789");
        age(first, 100);
        let second = keep(&cache, b"abcdefghij");
        age(second, 200);
        assert!(cache.get(second, None).is_some(), "used now");
        let third = keep(&cache, b"ABCDEFGHIJ");
        assert!(cache.get(first, None).is_none());
        assert!(cache.get(second, None).is_some() && cache.get(third, None).is_some());
    }
}

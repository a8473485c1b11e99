//! The advisory database: feeds compiled to one read-only file.
//!
//! Invariants: a file is whole or refused (header, directory and metadata are checked on
//! open, every block when it is read, everything by [`Database::verify`]); readers never
//! block a writer and never see half of its work; look-ups are by (ecosystem, package)
//! under OSV's names of ecosystems. Signing and deltas are not here.

mod build;
mod format;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use palisade_base::{Digest, DigestReader, Explain, Timestamp};
use palisade_model::finding::DatabaseInfo;
use serde::{Deserialize, Serialize};

use crate::minimality::Lifecycles;
pub use build::{BuildDatabaseError, DatabaseBuilder, RECORDS_MAX};
pub use format::DATABASE_BYTES_MAX;
use format::{Header, HeaderError};
use record::Cursor;
pub use record::{Advisory, DecodeRecordError, Range, RangeEnd};

/// A feed inside a database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedInfo {
    /// Name: `debian-changelogs`, `osv/PyPI`, `kev`.
    pub name: String,
    /// Records taken from it.
    pub n_records: u64,
    /// Records that were left out, by reason: a withdrawn advisory, an unknown ecosystem.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub skipped: BTreeMap<String, u64>,
    /// Time of its newest data, when it states one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
}

impl FeedInfo {
    /// Counts one record that was left out.
    pub fn skip(&mut self, reason: &str) {
        *self.skipped.entry(reason.to_string()).or_default() += 1;
    }
}

/// EPSS scores are kept in parts of this many, which is as fine as FIRST publishes them.
const EPSS_PARTS: f64 = 100_000.0;

/// What a database says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Feeds compiled into it, by name.
    pub feeds: Vec<FeedInfo>,
    /// Packages with advisories, by ecosystem.
    pub ecosystems: BTreeMap<String, u64>,
    /// Ecosystems of which it knows some packages only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub partial: BTreeSet<String>,
    /// When it was compiled.
    pub compiled: Timestamp,
    /// A table of when products stop getting fixes, as [`crate::minimality::lifecycle`] reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifecycles: Option<String>,
}

/// Why a database could not be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum ReadDatabaseError {
    /// The file is not there.
    #[error("advisory database `{0}` does not exist")]
    Missing(PathBuf),
    /// The system refused.
    #[error("read advisory database `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is something else.
    #[error("`{0}` is not an advisory database")]
    NotADatabase(PathBuf),
    /// Written by another release.
    #[error("advisory database `{path}` has format version {found}, this release reads {expected}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// Damaged, and where.
    #[error("advisory database `{path}` is damaged: {part}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        part: &'static str,
    },
}

impl Explain for ReadDatabaseError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing(_) => "build one with `palisade db build` or name one with `--db`".into(),
            Self::Io { .. } => "check the file's permissions and the disk".into(),
            Self::NotADatabase(_) => "name a file that `palisade db` wrote".into(),
            Self::Version { .. } | Self::Damaged { .. } => {
                "build it anew with `palisade db build`".into()
            }
        })
    }
}

struct DirectoryEntry {
    first_key: Box<[u8]>,
    offset: u64,
    n_packed: usize,
    n_raw: usize,
    crc: u32,
}

/// An open database. Cheap to open, safe to share between threads.
pub struct Database {
    path: PathBuf,
    file: File,
    header: Header,
    directory: Vec<DirectoryEntry>,
    metadata: Metadata,
    feed_names: Vec<String>,
    /// The block read last: look-ups in sorted order decompress each block once.
    last_block: Mutex<Option<(usize, Arc<[u8]>)>>,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Database {
    /// Opens the file at `path` and checks what it says about itself, not yet its blocks.
    pub fn open(path: &Path) -> Result<Self, ReadDatabaseError> {
        let io_error = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ReadDatabaseError::Missing(path.to_path_buf()),
            _ => ReadDatabaseError::Io { path: path.to_path_buf(), source },
        };
        let damaged = |part| ReadDatabaseError::Damaged { path: path.to_path_buf(), part };
        let not_a_database = || ReadDatabaseError::NotADatabase(path.to_path_buf());
        let file = File::open(path).map_err(io_error)?;
        let status = file.metadata().map_err(io_error)?;
        if !status.is_file() || status.len() < format::HEADER_BYTES as u64 {
            return Err(not_a_database());
        }
        let mut bytes = [0_u8; format::HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(io_error)?;
        let header = Header::decode(&bytes).map_err(|error| match error {
            HeaderError::Magic => not_a_database(),
            HeaderError::Version(found) => ReadDatabaseError::Version {
                path: path.to_path_buf(),
                found,
                expected: format::VERSION,
            },
            HeaderError::Checksum => damaged("its header does not match its checksum"),
        })?;
        if status.len() > DATABASE_BYTES_MAX || header.file_bytes() != Some(status.len()) {
            return Err(damaged("its size is not what its header says"));
        }
        let part = |offset: u64, n: u64, what: &'static str| {
            let mut bytes = vec![0_u8; usize::try_from(n).unwrap_or(0)];
            file.read_exact_at(&mut bytes, offset).map_err(io_error)?;
            let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged(what))?;
            if format::crc32(body).to_le_bytes() != *sum {
                return Err(damaged(what));
            }
            Ok(body.to_vec())
        };
        let directory_bytes = part(
            header.directory_offset,
            header.directory_bytes,
            "its directory does not match its checksum",
        )?;
        let metadata_bytes = part(
            header.directory_offset + header.directory_bytes,
            header.metadata_bytes,
            "its metadata does not match its checksum",
        )?;
        let directory = decode_directory(&directory_bytes, header.directory_offset)
            .map_err(|_| damaged("its directory makes no sense"))?;
        let metadata: Metadata = serde_json::from_slice(&metadata_bytes)
            .map_err(|_| damaged("its metadata makes no sense"))?;
        let feed_names = metadata.feeds.iter().map(|feed| feed.name.clone()).collect();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
            directory,
            metadata,
            feed_names,
            last_block: Mutex::new(None),
        })
    }

    /// Reads the whole file and compares it with its SHA-256.
    pub fn verify(&self) -> Result<Digest, ReadDatabaseError> {
        let io_error = |source| ReadDatabaseError::Io { path: self.path.clone(), source };
        let n_body = self.header.file_bytes().unwrap_or(0) - format::TRAILER_BYTES as u64;
        let file = File::open(&self.path).map_err(io_error)?;
        let mut reader =
            DigestReader::new(io::BufReader::with_capacity(1 << 18, file).take(n_body));
        io::copy(&mut reader, &mut io::sink()).map_err(io_error)?;
        let (digest, _) = reader.finish();
        let mut trailer = [0_u8; format::TRAILER_BYTES];
        self.file.read_exact_at(&mut trailer, n_body).map_err(io_error)?;
        if *digest.as_bytes() != trailer {
            return Err(self.damaged("its contents do not match its digest"));
        }
        Ok(digest)
    }

    /// What the database says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a report says about the database.
    pub fn info(&self) -> DatabaseInfo {
        DatabaseInfo {
            feeds: self.feed_names.clone(),
            built: Timestamp::from_nanos(self.header.built_nanos),
            n_records: self.header.n_records,
        }
    }

    /// Whether the database has any advisory of `ecosystem`.
    pub fn has_ecosystem(&self, ecosystem: &str) -> bool {
        self.metadata.ecosystems.contains_key(ecosystem)
    }

    /// The advisories about `package` of `ecosystem`; none when it has none or was never
    /// examined, which [`Database::lookup`] tells apart.
    pub fn advisories(
        &self,
        ecosystem: &str,
        package: &str,
    ) -> Result<Vec<Advisory>, ReadDatabaseError> {
        Ok(self.lookup(ecosystem, package)?.unwrap_or_default())
    }

    /// The advisories about `package` of `ecosystem`; `None` when no feed examined it.
    ///
    /// Feeds that cover an ecosystem as a whole examined every package of it.
    pub fn lookup(
        &self,
        ecosystem: &str,
        package: &str,
    ) -> Result<Option<Vec<Advisory>>, ReadDatabaseError> {
        let mut found = Vec::new();
        let known = self.with_value(&format::package_key(ecosystem, package), |value| {
            let mut cursor = Cursor(value);
            for _ in 0..cursor.count()? {
                found.push(Advisory::decode(&mut cursor, &self.feed_names)?);
            }
            Ok(())
        })?;
        let whole = self.has_ecosystem(ecosystem) && !self.metadata.partial.contains(ecosystem);
        Ok((known || whole).then_some(found))
    }

    /// The (ecosystem, package) pairs that `id`, an identifier or an alias, concerns.
    pub fn packages_of(&self, id: &str) -> Result<Vec<(String, String)>, ReadDatabaseError> {
        let mut found = Vec::new();
        self.with_value(&format::id_key(id), |value| {
            let mut cursor = Cursor(value);
            for _ in 0..cursor.count()? {
                found.push((cursor.text()?.to_string(), cursor.text()?.to_string()));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Whether CISA lists `id` as exploited.
    pub fn is_exploited(&self, id: &str) -> Result<bool, ReadDatabaseError> {
        self.with_value(&format::exploited_key(id), |_| Ok(()))
    }

    /// The table of when products stop getting fixes that was compiled in, if it is newer than
    /// that of this release.
    pub fn lifecycles(&self) -> Result<Option<Lifecycles>, ReadDatabaseError> {
        let Some(text) = &self.metadata.lifecycles else { return Ok(None) };
        let table = Lifecycles::parse(text)
            .map_err(|_| self.damaged("its table of lifecycles makes no sense"))?;
        Ok((table.as_of() > Lifecycles::builtin().as_of()).then_some(table))
    }

    /// The probability that `id` is exploited within 30 days by FIRST's EPSS, 0 to 1.
    pub fn epss(&self, id: &str) -> Result<Option<f64>, ReadDatabaseError> {
        let mut score = None;
        self.with_value(&format::epss_key(id), |value| {
            let parts = Cursor(value).varint()?;
            score = Some(parts as f64 / EPSS_PARTS);
            Ok(())
        })?;
        Ok(score)
    }

    /// Every identifier that begins with `prefix` and is the name of an advisory, sorted; at
    /// most `n_max`.
    pub fn ids_from(&self, prefix: &str, n_max: usize) -> Result<Vec<String>, ReadDatabaseError> {
        let start = format::id_key(prefix);
        let after = self.directory.partition_point(|entry| *entry.first_key <= *start);
        let mut ids = Vec::new();
        for index in after.saturating_sub(1)..self.directory.len() {
            let block = self.block(index)?;
            let mut cursor = Cursor(&block);
            let nonsense = |_| self.damaged("a block makes no sense");
            while !cursor.is_empty() {
                let key = cursor.bytes().map_err(nonsense)?;
                cursor.bytes().map_err(nonsense)?;
                if key < &start[..] {
                    continue;
                }
                if !key.starts_with(&start) || ids.len() >= n_max {
                    return Ok(ids);
                }
                ids.push(String::from_utf8_lossy(&key[start.len() - prefix.len()..]).into_owned());
            }
        }
        Ok(ids)
    }

    fn damaged(&self, part: &'static str) -> ReadDatabaseError {
        ReadDatabaseError::Damaged { path: self.path.clone(), part }
    }

    /// Calls `visit` with the value of `key`; `false` when there is none.
    fn with_value(
        &self,
        key: &[u8],
        mut visit: impl FnMut(&[u8]) -> Result<(), DecodeRecordError>,
    ) -> Result<bool, ReadDatabaseError> {
        let after = self.directory.partition_point(|entry| *entry.first_key <= *key);
        let Some(index) = after.checked_sub(1) else {
            return Ok(false);
        };
        let block = self.block(index)?;
        let mut cursor = Cursor(&block);
        let nonsense = |_| self.damaged("a block makes no sense");
        while !cursor.is_empty() {
            let found = cursor.bytes().map_err(nonsense)?;
            let value = cursor.bytes().map_err(nonsense)?;
            match found.cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => {
                    visit(value).map_err(|_| self.damaged("a record makes no sense"))?;
                    return Ok(true);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(false)
    }

    fn block(&self, index: usize) -> Result<Arc<[u8]>, ReadDatabaseError> {
        let mut last = self.last_block.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((cached, block)) = &*last
            && *cached == index
        {
            return Ok(Arc::clone(block));
        }
        let Some(entry) = self.directory.get(index) else {
            return Err(self.damaged("its directory is short"));
        };
        let mut packed = vec![0_u8; entry.n_packed];
        self.file
            .read_exact_at(&mut packed, entry.offset)
            .map_err(|source| ReadDatabaseError::Io { path: self.path.clone(), source })?;
        if format::crc32(&packed) != entry.crc {
            return Err(self.damaged("a block does not match its checksum"));
        }
        let mut raw = Vec::with_capacity(entry.n_raw);
        let n_max = entry.n_raw as u64 + 1;
        flate2::read::DeflateDecoder::new(&packed[..])
            .take(n_max)
            .read_to_end(&mut raw)
            .map_err(|_| self.damaged("a block cannot be decompressed"))?;
        if raw.len() != entry.n_raw {
            return Err(self.damaged("a block has the wrong size"));
        }
        let block: Arc<[u8]> = raw.into();
        *last = Some((index, Arc::clone(&block)));
        Ok(block)
    }
}

fn decode_directory(
    bytes: &[u8],
    blocks_end: u64,
) -> Result<Vec<DirectoryEntry>, DecodeRecordError> {
    let mut cursor = Cursor(bytes);
    let n_blocks = cursor.count()?;
    let mut directory: Vec<DirectoryEntry> = Vec::new();
    for _ in 0..n_blocks {
        let first_key: Box<[u8]> = cursor.bytes()?.into();
        let offset = cursor.varint()?;
        let n_packed = cursor.varint()?;
        let n_raw = usize::try_from(cursor.varint()?).map_err(|_| DecodeRecordError)?;
        let crc = u32::try_from(cursor.varint()?).map_err(|_| DecodeRecordError)?;
        let end = offset.checked_add(n_packed).ok_or(DecodeRecordError)?;
        let sorted = directory.last().is_none_or(|last| last.first_key < first_key);
        if end > blocks_end || n_raw > format::BLOCK_BYTES_MAX || !sorted {
            return Err(DecodeRecordError);
        }
        let n_packed = usize::try_from(n_packed).map_err(|_| DecodeRecordError)?;
        directory.push(DirectoryEntry { first_key, offset, n_packed, n_raw, crc });
    }
    Ok(directory)
}

#[cfg(test)]
mod tests;

//! The advisory database: feeds compiled to one read-only file.
//!
//! Invariants: a file is whole or refused (header, directory and metadata are checked on
//! open, every block when it is read, everything by [`Database::verify`]); readers never
//! block a writer and never see half of its work; look-ups are by (ecosystem, package)
//! under OSV's names of ecosystems. One signature over the header proves every answer
//! ([`Database::require_signature`]); whose keys count is the caller's to say.

mod blocks;
mod build;
mod changes;
pub mod delta;
mod directory;
mod format;
pub(crate) mod record;
pub mod update;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use palisade_base::{Digest, Explain, Timestamp};
use palisade_model::Inventory;
use palisade_model::finding::{DatabaseInfo, FeedTime};
use serde::{Deserialize, Serialize};

use crate::ecosystem;
use crate::feeds::{epss, kev};
use crate::minimality::Lifecycles;
use blocks::{Blocks, LastBlock, Value, pair_at};
pub use build::{BuildDatabaseError, DatabaseBuilder, RECORDS_MAX, Signer};
pub use changes::Changes;
use directory::Directory;
pub use format::{DATABASE_BYTES_MAX, Signature};
use format::{Header, HeaderError, Trailer};
use record::Cursor;
pub use record::{Advisory, DecodeRecordError, Range, RangeEnd, Status, VulnerableSymbols};

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
    /// When it was fetched, or its file was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched: Option<Timestamp>,
    /// Whether all of it was fetched from its publisher: then nothing newer was there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_publisher: bool,
    /// Ecosystems of which it speaks; empty in databases of earlier builds.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ecosystems: BTreeSet<String>,
}

impl FeedInfo {
    /// Counts one record that was left out. Reasons that begin with `malformed` or `damaged` are
    /// faults of the feed, others are not.
    pub fn skip(&mut self, reason: &str) {
        *self.skipped.entry(reason.to_string()).or_default() += 1;
    }

    /// Records that cannot be read.
    pub fn n_malformed(&self) -> u64 {
        let is_fault =
            |reason: &str| reason.starts_with("malformed") || reason.starts_with("damaged");
        self.skipped.iter().filter(|(reason, _)| is_fault(reason)).map(|(_, n)| n).sum()
    }

    /// As of when it speaks. What its publisher had when it was fetched is as young as that,
    /// though nothing was published for weeks. When a mirror or a file was copied says nothing of
    /// what was there to copy: their newest data does (for CISA's list, EPSS and OVAL that is the
    /// date of the whole). Data that is dated after it was fetched makes it no younger.
    pub fn time(&self) -> Option<Timestamp> {
        match (self.newest, self.fetched) {
            (_, Some(fetched)) if self.of_publisher => Some(fetched),
            (Some(newest), Some(fetched)) => Some(newest.min(fetched)),
            (newest, fetched) => newest.or(fetched),
        }
    }

    /// Whether it has advisories, rather than ratings of them.
    fn has_advisories(&self) -> bool {
        !matches!(self.name.as_str(), kev::FEED | epss::FEED)
    }
}

/// Whether a signature is a trusted key's over a message: the program brings the keys.
pub type Trusts<'a> = &'a dyn Fn(&Signature, &[u8]) -> bool;

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
    /// Those of them of which a feed's file could not be had.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub halved: BTreeSet<String>,
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
    /// A signature is required, and the file has none.
    #[error("advisory database `{0}` is not signed")]
    NotSigned(PathBuf),
    /// The signature is not one of the required keys'.
    #[error("advisory database `{path}` is signed by none of the trusted keys (its key is {key})")]
    WrongSignature {
        /// The file.
        path: PathBuf,
        /// The key that it names, in short.
        key: String,
    },
}

impl ReadDatabaseError {
    /// The same of the file at `path`: what was read is a copy, which nobody named.
    #[must_use]
    pub fn of(self, path: &Path) -> Self {
        let path = path.to_path_buf();
        match self {
            Self::Missing(_) => Self::Missing(path),
            Self::Io { source, .. } => Self::Io { path, source },
            Self::NotADatabase(_) => Self::NotADatabase(path),
            Self::Version { found, expected, .. } => Self::Version { path, found, expected },
            Self::Damaged { part, .. } => Self::Damaged { path, part },
            Self::NotSigned(_) => Self::NotSigned(path),
            Self::WrongSignature { key, .. } => Self::WrongSignature { path, key },
        }
    }
}

impl Explain for ReadDatabaseError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing(_) => "build one with `palisade db build` or name one with `--db`".into(),
            Self::Io { .. } => "check the file's permissions and the disk".into(),
            Self::NotADatabase(_) => "name a file that `palisade db` wrote".into(),
            Self::Version { .. } | Self::Damaged { .. } => {
                "fetch it anew with `palisade db update`, or build it with `palisade db build`"
                    .into()
            }
            Self::NotSigned(_) => {
                "fetch a signed one, or build it with `palisade db build --sign-key`".into()
            }
            Self::WrongSignature { .. } => {
                "somebody else made it: check where it comes from, and the key of --db-key".into()
            }
        })
    }
}

/// An open database. Cheap to open, safe to share between threads.
pub struct Database {
    path: PathBuf,
    file: File,
    header: Header,
    trailer: Trailer,
    directory: Directory,
    metadata: Metadata,
    feed_names: Vec<String>,
    /// When the key that proved the database was made, where its file says so.
    key_created: Option<Timestamp>,
    /// The block read last, and what reads the next: look-ups in sorted order decompress each
    /// block once.
    blocks: Mutex<Blocks>,
    /// What CISA lists, once somebody asked.
    exploited: OnceLock<HashSet<String>>,
}

/// The advisories about one package, still as they lie in the database.
#[derive(Clone)]
pub(crate) struct Answer<'d> {
    database: &'d Database,
    /// `None` where a feed examined the package and found nothing.
    value: Option<Value>,
}

impl Answer<'_> {
    /// The same without the block around it, for who keeps many.
    pub(crate) fn alone(self) -> Self {
        Self { value: self.value.as_ref().map(Value::alone), ..self }
    }

    /// The advisories, with text that is borrowed from the answer.
    pub(crate) fn advisories(&self) -> Result<Vec<Advisory<&str>>, ReadDatabaseError> {
        let Some(value) = &self.value else { return Ok(Vec::new()) };
        let database = self.database;
        decode_advisories(value.bytes(), &database.feed_names)
            .map_err(|_| database.damaged(BAD_RECORD))
    }
}

fn decode_advisories<'a, S: From<&'a str>>(
    bytes: &'a [u8],
    feeds: &'a [String],
) -> Result<Vec<Advisory<S>>, DecodeRecordError> {
    let mut cursor = Cursor(bytes);
    (0..cursor.count()?).map(|_| Advisory::decode(&mut cursor, feeds)).collect()
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
        if !status.is_file() {
            return Err(not_a_database());
        }
        let mut bytes = [0_u8; format::HEADER_BYTES];
        let n_head = usize::try_from(status.len()).unwrap_or(usize::MAX).min(bytes.len());
        file.read_exact_at(&mut bytes[..n_head], 0).map_err(io_error)?;
        let header = Header::decode(&bytes).map_err(|error| match error {
            HeaderError::Magic => not_a_database(),
            HeaderError::Version(found) => ReadDatabaseError::Version {
                path: path.to_path_buf(),
                found,
                expected: format::VERSION,
            },
        })?;
        if status.len() > DATABASE_BYTES_MAX || header.file_bytes() != Some(status.len()) {
            return Err(damaged("its size is not what its header says"));
        }
        let mut trailer = [0; format::TRAILER_BYTES];
        let n_body = status.len() - format::TRAILER_BYTES as u64;
        file.read_exact_at(&mut trailer, n_body).map_err(io_error)?;
        let trailer = Trailer::decode(&trailer)
            .ok_or_else(|| damaged("it has half a signature, neither a whole one nor none"))?;
        if format::sha256(&bytes) != trailer.root {
            return Err(damaged("its header does not match its digest"));
        }
        let part = |offset: u64, n: u64, digest: &[u8; 32], what: &'static str| {
            let mut bytes = vec![0_u8; usize::try_from(n).unwrap_or(0)];
            file.read_exact_at(&mut bytes, offset).map_err(io_error)?;
            if format::sha256(&bytes) == *digest { Ok(bytes) } else { Err(damaged(what)) }
        };
        let directory = part(
            header.directory_offset,
            header.directory_bytes,
            &header.directory_digest,
            "its directory does not match its digest",
        )?;
        let metadata = part(
            header.directory_offset + header.directory_bytes,
            header.metadata_bytes,
            &header.metadata_digest,
            "its metadata does not match its digest",
        )?;
        let directory = Directory::new(directory, header.directory_offset)
            .map_err(|_| damaged("its directory makes no sense"))?;
        let metadata: Metadata = serde_json::from_slice(&metadata)
            .map_err(|_| damaged("its metadata makes no sense"))?;
        let feed_names = metadata.feeds.iter().map(|feed| feed.name.clone()).collect();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            header,
            trailer,
            directory,
            metadata,
            feed_names,
            key_created: None,
            blocks: Mutex::new(Blocks::new()),
            exploited: OnceLock::new(),
        })
    }

    /// Who signed the database, if somebody did. It proves nothing before
    /// [`Database::require_signature`].
    pub fn signature(&self) -> Option<&Signature> {
        self.trailer.signature.as_ref()
    }

    /// Demands a signature for which `is_trusted` (signature, message) vouches. With it every
    /// answer is proved, for the signed digest covers those of all parts.
    pub fn require_signature(&self, is_trusted: Trusts<'_>) -> Result<(), ReadDatabaseError> {
        let Some(signature) = self.signature() else {
            return Err(ReadDatabaseError::NotSigned(self.path.clone()));
        };
        if is_trusted(signature, &Signature::message(&self.trailer.root)) {
            return Ok(());
        }
        let key = hex::encode(&signature.key[..8]);
        Err(ReadDatabaseError::WrongSignature { path: self.path.clone(), key })
    }

    /// Notes when the key that vouched for the database was made, for those who ask for young
    /// keys. Whoever calls [`Database::require_signature`] knows it; the file does not.
    #[must_use]
    pub fn with_key_created(mut self, time: Option<Timestamp>) -> Self {
        self.key_created = time;
        self
    }

    /// The digest of the whole: the SHA-256 of the header, which covers every other part.
    pub fn digest(&self) -> Digest {
        Digest::from_bytes(self.trailer.root)
    }

    /// Reads every block and compares it with its digest: nothing in the file is damaged.
    pub fn verify(&self) -> Result<Digest, ReadDatabaseError> {
        let nonsense = |_| self.damaged("its directory makes no sense");
        let mut end = format::HEADER_BYTES as u64;
        let mut last_key: Vec<u8> = Vec::new();
        for index in 0..self.directory.len() {
            let block = self.directory.block(index).map_err(nonsense)?;
            if block.offset != end {
                return Err(self.damaged("there is something between its blocks"));
            }
            end += block.n_packed as u64;
            let raw = self.block(index)?;
            let mut cursor = Cursor(&raw);
            let mut is_first = true;
            while !cursor.is_empty() {
                let key = cursor.bytes().map_err(|_| self.damaged(BAD_BLOCK))?;
                cursor.bytes().map_err(|_| self.damaged(BAD_BLOCK))?;
                let named = !is_first || self.directory.first_key(index) == Ok(key);
                if !named || (*key <= *last_key && !last_key.is_empty()) {
                    return Err(self.damaged("its keys are not in order"));
                }
                is_first = false;
                last_key = key.to_vec();
            }
        }
        if end != self.header.directory_offset {
            return Err(self.damaged("there is something after its blocks"));
        }
        Ok(self.digest())
    }

    /// What the database says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a report about `inventory` says about the database.
    pub fn info_of(&self, inventory: &Inventory) -> DatabaseInfo {
        let there = ecosystem::of_inventory(inventory);
        // Of which ecosystems an older file's feeds speak is not known: of any.
        let concerns =
            |feed: &FeedInfo| feed.ecosystems.is_empty() || !feed.ecosystems.is_disjoint(&there);
        DatabaseInfo { oldest: self.oldest(concerns), ..self.info() }
    }

    /// The oldest of the feeds of advisories that `counts`.
    fn oldest(&self, counts: impl Fn(&FeedInfo) -> bool) -> Option<FeedTime> {
        let feeds = self.metadata.feeds.iter().filter(|feed| feed.n_records > 0);
        let counted = feeds.filter(|feed| feed.has_advisories() && counts(feed));
        // No time comes before any.
        counted.map(feed_time).min_by_key(|feed| feed.time)
    }

    /// What is said of the database whatever the inventory: all its feeds count.
    pub fn info(&self) -> DatabaseInfo {
        DatabaseInfo {
            feeds: self.feed_names.clone(),
            built: Timestamp::from_nanos(self.header.built_nanos),
            n_records: self.header.n_records,
            partial: self.metadata.partial.iter().cloned().collect(),
            times: self.metadata.feeds.iter().map(feed_time).collect(),
            oldest: self.oldest(|_| true),
            key_created: self.key_created,
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
        let Some(answer) = self.ask(ecosystem, package)? else { return Ok(None) };
        let Some(value) = &answer.value else { return Ok(Some(Vec::new())) };
        let found = decode_advisories(value.bytes(), &self.feed_names);
        found.map(Some).map_err(|_| self.damaged(BAD_RECORD))
    }

    /// As [`Database::lookup`], without decoding anything.
    pub(crate) fn ask(
        &self,
        ecosystem: &str,
        package: &str,
    ) -> Result<Option<Answer<'_>>, ReadDatabaseError> {
        let value = self.value(&format::package_key(ecosystem, package))?;
        let is_whole =
            || self.has_ecosystem(ecosystem) && !self.metadata.partial.contains(ecosystem);
        let is_known = value.is_some() || is_whole();
        Ok(is_known.then_some(Answer { database: self, value }))
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
        let mut ids = Vec::new();
        if n_max > 0 {
            let start = format::id_key(prefix);
            self.each_from(&start, |rest| {
                ids.push(format!("{prefix}{}", String::from_utf8_lossy(rest)));
                ids.len() < n_max
            })?;
        }
        Ok(ids)
    }

    /// Every identifier that CISA lists as exploited. Read once: the list is short, and looking
    /// thousands of identifiers up in it is not.
    pub(crate) fn exploited(&self) -> Result<&HashSet<String>, ReadDatabaseError> {
        if let Some(known) = self.exploited.get() {
            return Ok(known);
        }
        let mut ids = HashSet::new();
        self.each_from(&format::exploited_key(""), |id| {
            ids.insert(String::from_utf8_lossy(id).into_owned());
            true
        })?;
        Ok(self.exploited.get_or_init(|| ids))
    }

    /// Whether there are scores of EPSS.
    pub(crate) fn has_scores(&self) -> Result<bool, ReadDatabaseError> {
        let mut any = false;
        self.each_from(&format::epss_key(""), |_| {
            any = true;
            false
        })?;
        Ok(any)
    }

    /// Gives the rest of every key that begins with `start` to `each`, in order, until it says no.
    fn each_from(
        &self,
        start: &[u8],
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), ReadDatabaseError> {
        let first = self.find(start)?.unwrap_or(0);
        for index in first..self.directory.len() {
            let block = self.block(index)?;
            let mut at = 0;
            while at < block.len() {
                let Some((key, _, next)) = pair_at(&block, at) else {
                    return Err(self.damaged(BAD_BLOCK));
                };
                at = next;
                match key.strip_prefix(start) {
                    Some(rest) if !each(rest) => return Ok(()),
                    None if key > start => return Ok(()),
                    _ => {}
                }
            }
        }
        Ok(())
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
        let Some(value) = self.value(key)? else { return Ok(false) };
        visit(value.bytes()).map_err(|_| self.damaged(BAD_RECORD))?;
        Ok(true)
    }

    /// The value of `key`. Of keys that are asked for in order, each block is read once.
    fn value(&self, key: &[u8]) -> Result<Option<Value>, ReadDatabaseError> {
        let Some(index) = self.find(key)? else { return Ok(None) };
        let LastBlock { bytes: block, mut from, .. } = self.cached_block(index)?;
        if from > 0 && pair_at(&block, from).is_none_or(|(first, ..)| first > key) {
            from = 0;
        }
        let mut at = from;
        let mut found = None;
        while at < block.len() {
            let Some((stored, range, next)) = pair_at(&block, at) else {
                return Err(self.damaged(BAD_BLOCK));
            };
            match stored.cmp(key) {
                std::cmp::Ordering::Less => (from, at) = (at, next),
                std::cmp::Ordering::Equal => {
                    (from, found) = (at, Some(range));
                    break;
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = blocks.last.as_mut().filter(|last| last.index == index) {
            last.from = from;
        }
        drop(blocks);
        Ok(found.map(|range| Value { block, range }))
    }

    fn block(&self, index: usize) -> Result<Arc<[u8]>, ReadDatabaseError> {
        Ok(self.cached_block(index)?.bytes)
    }

    fn cached_block(&self, index: usize) -> Result<LastBlock, ReadDatabaseError> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = blocks.last.as_ref().filter(|last| last.index == index) {
            return Ok(last.clone());
        }
        let nonsense = |_| self.damaged("its directory makes no sense");
        let entry = self.directory.block(index).map_err(nonsense)?;
        self.read_packed(&entry, &mut blocks.packed)?;
        blocks.inflate(entry.n_raw).map_err(|part| self.damaged(part))?;
        Ok(blocks.keep(index))
    }

    /// The compressed bytes of a block, proved.
    fn packed(&self, block: &directory::Block) -> Result<Vec<u8>, ReadDatabaseError> {
        let mut packed = Vec::new();
        self.read_packed(block, &mut packed)?;
        Ok(packed)
    }

    fn read_packed(
        &self,
        block: &directory::Block,
        packed: &mut Vec<u8>,
    ) -> Result<(), ReadDatabaseError> {
        // The block lies within the file.
        packed.resize(block.n_packed, 0);
        self.file
            .read_exact_at(packed, block.offset)
            .map_err(|source| ReadDatabaseError::Io { path: self.path.clone(), source })?;
        if format::sha256(packed) != block.digest {
            return Err(self.damaged("a block does not match its digest"));
        }
        Ok(())
    }

    /// The block in which `key` would be.
    fn find(&self, key: &[u8]) -> Result<Option<usize>, ReadDatabaseError> {
        self.directory.find(key).map_err(|_| self.damaged("its directory makes no sense"))
    }
}

fn feed_time(feed: &FeedInfo) -> FeedTime {
    let of_publisher = feed.of_publisher && feed.fetched.is_some();
    FeedTime { name: feed.name.clone(), time: feed.time(), of_publisher }
}

const BAD_BLOCK: &str = "a block makes no sense";
const BAD_RECORD: &str = "a record makes no sense";

#[cfg(test)]
mod tests;

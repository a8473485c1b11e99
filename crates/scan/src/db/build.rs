//! Writing the database: advisories in any order in, one sorted file out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palisade_base::{Explain, Timestamp};

use super::directory::{Block, DirectoryWriter};
use super::format::{self, Header, Signature, Trailer};
use super::record::{Advisory, Cursor, put_text, put_varint};
use super::{FeedInfo, Metadata};

/// Advisories beyond this number are refused: no feed set of the field has a tenth of it.
pub const RECORDS_MAX: u64 = 10_000_000;

/// Why a database could not be built or written.
#[derive(Debug, thiserror::Error)]
pub enum BuildDatabaseError {
    /// The file could not be written; the old one is untouched.
    #[error("write advisory database `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Too many advisories.
    #[error("the feeds hold more than {limit} advisories")]
    TooManyRecords {
        /// The bound.
        limit: u64,
    },
    /// Not one advisory: such a database would call every image clean.
    #[error("the feeds hold no advisory")]
    Empty,
}

impl Explain for BuildDatabaseError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Write { .. } => "check free space and permissions of the folder".into(),
            Self::TooManyRecords { .. } => "build fewer feeds into one database".into(),
            Self::Empty => "check that the feed files are whole and of the stated kind".into(),
        })
    }
}

/// Collects advisories and writes them as one database.
#[derive(Debug, Default)]
pub struct DatabaseBuilder {
    /// Encoded, each with its feed's index in `feed_order`: a tenth of the memory.
    packages: BTreeMap<(String, String), Vec<Box<[u8]>>>,
    feed_order: Vec<String>,
    /// Feeds that were asked for since a file was begun.
    touched: BTreeSet<String>,
    /// Feeds of which a part was imported whose origin was noted.
    imported: BTreeSet<String>,
    /// Ecosystems of which only the packages named here were examined.
    partial: BTreeSet<String>,
    /// Ecosystems that some feed covers as a whole.
    whole: BTreeSet<String>,
    /// Ecosystems of which a file of a feed is missing.
    halved: BTreeSet<String>,
    exploited: BTreeSet<String>,
    /// EPSS scores in parts of [`super::EPSS_PARTS`].
    epss: BTreeMap<String, u64>,
    feeds: BTreeMap<String, FeedInfo>,
    lifecycles: Option<String>,
    n_records: u64,
}

impl DatabaseBuilder {
    /// A builder without advisories.
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a feed before its advisories, so that an empty one is listed as well.
    pub fn feed(&mut self, name: &str) -> &mut FeedInfo {
        if !self.touched.contains(name) {
            self.touched.insert(name.to_string());
        }
        self.feeds
            .entry(name.to_string())
            .or_insert_with(|| FeedInfo { name: name.to_string(), ..FeedInfo::default() })
    }

    /// Notes that `feed` holds data of `time`; the newest counts.
    pub fn note_time(&mut self, feed: &str, time: Timestamp) {
        let info = self.feed(feed);
        info.newest = Some(info.newest.map_or(time, |newest| newest.max(time)));
    }

    /// Adds one advisory about `package` of `ecosystem`. One whose names have a NUL, as no
    /// package's has, is counted and left out: keys end their parts with it.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers make it for this and are done with it"
    )]
    pub fn add(
        &mut self,
        ecosystem: &str,
        package: &str,
        advisory: Advisory,
    ) -> Result<(), BuildDatabaseError> {
        if self.n_records >= RECORDS_MAX {
            return Err(BuildDatabaseError::TooManyRecords { limit: RECORDS_MAX });
        }
        if ecosystem.contains('\0') || package.contains('\0') {
            self.feed(&advisory.feed).skip("a name with a NUL");
            return Ok(());
        }
        self.n_records += 1;
        let info = self.feed(&advisory.feed);
        info.n_records += 1;
        if !info.ecosystems.contains(ecosystem) {
            info.ecosystems.insert(ecosystem.to_string());
        }
        let index = self.feed_order.iter().rposition(|name| *name == advisory.feed);
        let index = index.unwrap_or_else(|| {
            self.feed_order.push(advisory.feed.clone());
            self.feed_order.len() - 1
        });
        let mut bytes = Vec::new();
        advisory.encode(index as u64, &mut bytes);
        let key = (ecosystem.to_string(), package.to_string());
        self.packages.entry(key).or_default().push(bytes.into());
        Ok(())
    }

    /// Notes that `package` was examined, so that having no advisory means something.
    pub fn cover(&mut self, ecosystem: &str, package: &str) {
        if ecosystem.contains('\0') || package.contains('\0') {
            return;
        }
        self.packages.entry((ecosystem.to_string(), package.to_string())).or_default();
    }

    /// Notes that a feed speaks only of the packages it names: one that the database does not
    /// know was not examined, rather than found clean.
    pub fn mark_partial(&mut self, ecosystem: &str) {
        self.partial.insert(ecosystem.to_string());
    }

    /// Notes that a feed speaks of every package of `ecosystem`; outweighs partial ones.
    pub fn mark_whole(&mut self, ecosystem: &str) {
        if !self.whole.contains(ecosystem) {
            self.whole.insert(ecosystem.to_string());
        }
    }

    /// Notes that a file of a feed is missing that speaks of packages of `ecosystem`, as others do
    /// that are there: it is partial, whatever else is said of it.
    pub fn mark_halved(&mut self, ecosystem: &str) {
        self.halved.insert(ecosystem.to_string());
    }

    /// Notes that CISA lists `id` as exploited.
    pub fn add_exploited(&mut self, feed: &str, id: &str) {
        if self.exploited.insert(id.to_string()) {
            self.feed(feed).n_records += 1;
        }
    }

    /// Brings a table of when products stop getting fixes, which has been read before.
    pub fn set_lifecycles(&mut self, table: &str) {
        self.lifecycles = Some(table.to_string());
    }

    /// Notes the EPSS score of `id`, 0 to 1; other numbers are taken for the nearest of these.
    pub fn add_epss(&mut self, feed: &str, id: &str, score: f64) {
        let parts = (score.clamp(0.0, 1.0) * super::EPSS_PARTS).round() as u64;
        if self.epss.insert(id.to_string(), parts).is_none() {
            self.feed(feed).n_records += 1;
        }
    }

    /// Advisories collected so far.
    pub fn n_records(&self) -> u64 {
        self.n_records
    }

    /// The feeds so far, by name.
    pub fn feeds(&self) -> impl Iterator<Item = &FeedInfo> {
        self.feeds.values()
    }

    /// The ecosystems of which there are packages so far.
    pub fn ecosystems(&self) -> BTreeSet<&str> {
        self.packages.keys().map(|(ecosystem, _)| ecosystem.as_str()).collect()
    }

    /// Ecosystems of which only some packages were examined so far.
    pub fn partial(&self) -> BTreeSet<&str> {
        self.partial.difference(&self.whole).chain(&self.halved).map(String::as_str).collect()
    }

    /// Ecosystems of which a file of a feed is missing so far; they are among the partial ones.
    pub fn halved(&self) -> &BTreeSet<String> {
        &self.halved
    }

    /// The ecosystems of the feeds that were asked for since [`DatabaseBuilder::begin_fetched`].
    pub(crate) fn ecosystems_since(&self) -> BTreeSet<String> {
        let feeds = self.touched.iter().filter_map(|name| self.feeds.get(name));
        feeds.flat_map(|feed| feed.ecosystems.iter().cloned()).collect()
    }

    /// From here on the feeds that are asked for are noted, until
    /// [`DatabaseBuilder::end_fetched`].
    pub(crate) fn begin_fetched(&mut self) {
        self.touched.clear();
    }

    /// Notes when the feeds that were asked for since were fetched, and whether from their
    /// publisher; the oldest part of a feed counts, and one part of elsewhere is enough.
    pub(crate) fn end_fetched(&mut self, time: Option<Timestamp>, of_publisher: bool) {
        for name in std::mem::take(&mut self.touched) {
            let is_first = self.imported.insert(name.clone());
            if let Some(info) = self.feeds.get_mut(&name) {
                info.of_publisher = of_publisher && (is_first || info.of_publisher);
                if let Some(time) = time {
                    info.fetched = Some(info.fetched.map_or(time, |oldest| oldest.min(time)));
                }
            }
        }
    }

    /// Builds the file in memory. `now` stands for the age of feeds that state no time.
    pub fn build(&self, now: Timestamp) -> Result<Vec<u8>, BuildDatabaseError> {
        self.build_signed(now, None)
    }

    /// As [`DatabaseBuilder::build`], with the signature that `signer` makes.
    pub fn build_signed(
        &self,
        now: Timestamp,
        signer: Option<Signer<'_>>,
    ) -> Result<Vec<u8>, BuildDatabaseError> {
        if self.packages.is_empty() {
            return Err(BuildDatabaseError::Empty);
        }
        let feeds: Vec<&FeedInfo> = self.feeds.values().collect();
        let index_of = |name: &str| feeds.iter().position(|f| f.name == name).unwrap_or(0) as u64;
        let mut writer = BlockWriter::new();
        let mut ecosystems: BTreeMap<String, u64> = BTreeMap::new();
        // Identifier to the packages it concerns; written after the packages because `i` > `a`.
        let mut ids: BTreeMap<String, BTreeSet<(&str, &str)>> = BTreeMap::new();
        for ((ecosystem, package), encoded) in &self.packages {
            *ecosystems.entry(ecosystem.clone()).or_default() += 1;
            let decode = |bytes: &[u8]| Advisory::decode(&mut Cursor(bytes), &self.feed_order);
            // What was encoded here decodes.
            let mut advisories: Vec<Advisory> =
                encoded.iter().filter_map(|bytes| decode(bytes).ok()).collect();
            // Input order (folders, archives) must not show in the file.
            advisories.sort_by(|a, b| (&a.id, &a.feed, &a.title).cmp(&(&b.id, &b.feed, &b.title)));
            let mut value = Vec::new();
            put_varint(&mut value, advisories.len() as u64);
            for advisory in advisories {
                advisory.encode(index_of(&advisory.feed), &mut value);
                for id in std::iter::once(advisory.id).chain(advisory.aliases).chain(advisory.fixes)
                {
                    ids.entry(id).or_default().insert((ecosystem, package));
                }
            }
            writer.put(&format::package_key(ecosystem, package), &value);
        }
        // Only of what the advisories name: EPSS rates every CVE there is.
        for (id, parts) in self.epss.iter().filter(|(id, _)| ids.contains_key(id.as_str())) {
            let mut value = Vec::new();
            put_varint(&mut value, *parts);
            writer.put(&format::epss_key(id), &value);
        }
        for (id, packages) in &ids {
            let mut value = Vec::new();
            put_varint(&mut value, packages.len() as u64);
            for (ecosystem, package) in packages {
                put_text(&mut value, ecosystem);
                put_text(&mut value, package);
            }
            writer.put(&format::id_key(id), &value);
        }
        self.exploited.iter().for_each(|id| writer.put(&format::exploited_key(id), b""));
        // A fresh list of what is exploited must not make old advisories look new.
        let of_advisories = feeds.iter().filter(|feed| feed.has_advisories());
        let newest = of_advisories.filter_map(|feed| feed.newest).max();
        let newest = newest.unwrap_or(now);
        let metadata = Metadata {
            feeds: feeds.into_iter().cloned().collect(),
            ecosystems,
            partial: self.partial().into_iter().map(str::to_string).collect(),
            halved: self.halved.clone(),
            compiled: now,
            lifecycles: self.lifecycles.clone(),
        };
        Ok(writer.finish(newest, self.n_records, &metadata, signer))
    }

    /// Builds the database and puts it at `path` in one step: readers see the old file or
    /// the new one, and two builders at once leave one whole file.
    pub fn write(&self, path: &Path, now: Timestamp) -> Result<u64, BuildDatabaseError> {
        self.write_signed(path, now, None)
    }

    /// As [`DatabaseBuilder::write`], with the signature that `signer` makes.
    pub fn write_signed(
        &self,
        path: &Path,
        now: Timestamp,
        signer: Option<Signer<'_>>,
    ) -> Result<u64, BuildDatabaseError> {
        let bytes = self.build_signed(now, signer)?;
        palisade_base::fs::write_atomic(path, &bytes, 0o644)
            .map_err(|source| BuildDatabaseError::Write { path: path.to_path_buf(), source })?;
        Ok(bytes.len() as u64)
    }
}

/// Signs a message: the program brings the key.
pub type Signer<'a> = &'a dyn Fn(&[u8]) -> Signature;

/// Cuts sorted pairs into compressed blocks.
struct BlockWriter {
    out: Vec<u8>,
    directory: DirectoryWriter,
    block: Vec<u8>,
    first_key: Vec<u8>,
    packer: flate2::Compress,
}

impl BlockWriter {
    fn new() -> Self {
        Self {
            out: vec![0; format::HEADER_BYTES],
            directory: DirectoryWriter::default(),
            block: Vec::new(),
            first_key: Vec::new(),
            packer: flate2::Compress::new(flate2::Compression::new(6), false),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        if self.block.is_empty() {
            self.first_key = key.to_vec();
        }
        let before = self.block.len();
        put_varint(&mut self.block, key.len() as u64);
        self.block.extend_from_slice(key);
        put_varint(&mut self.block, value.len() as u64);
        self.block.extend_from_slice(value);
        if format::ends_block(self.block.len(), self.block.len() - before, key) {
            self.close_block();
        }
    }

    fn close_block(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let packed = self.deflate();
        let block = Block {
            offset: self.out.len() as u64,
            n_packed: packed.len(),
            n_raw: self.block.len(),
            digest: format::sha256(&packed),
        };
        self.directory.push(&self.first_key, &block);
        self.out.extend_from_slice(&packed);
        self.block.clear();
    }

    /// The block, compressed. One compressor serves all blocks, for its tables are large.
    fn deflate(&mut self) -> Vec<u8> {
        self.packer.reset();
        let mut packed = Vec::with_capacity(self.block.len() + 64);
        loop {
            let n_in = self.packer.total_in() as usize;
            let rest = self.block.get(n_in..).unwrap_or_default();
            // Compressing memory to memory does not fail.
            let status = self.packer.compress_vec(rest, &mut packed, flate2::FlushCompress::Finish);
            if !matches!(status, Ok(flate2::Status::Ok | flate2::Status::BufError)) {
                return packed;
            }
            packed.reserve(4096);
        }
    }

    fn finish(
        mut self,
        newest: Timestamp,
        n_records: u64,
        metadata: &Metadata,
        signer: Option<Signer<'_>>,
    ) -> Vec<u8> {
        self.close_block();
        let directory = self.directory.finish();
        // Serialising maps of strings and numbers cannot fail; an empty object is refused on open.
        let json = serde_json::to_vec(metadata).unwrap_or_default();
        let header = Header {
            built_nanos: newest.as_nanos(),
            n_records,
            directory_offset: self.out.len() as u64,
            directory_bytes: directory.len() as u64,
            metadata_bytes: json.len() as u64,
            directory_digest: format::sha256(&directory),
            metadata_digest: format::sha256(&json),
        }
        .encode();
        self.out.extend_from_slice(&directory);
        self.out.extend_from_slice(&json);
        self.out[..format::HEADER_BYTES].copy_from_slice(&header);
        let root = format::sha256(&header);
        let signature = signer.map(|sign| sign(&Signature::message(&root)));
        self.out.extend_from_slice(&Trailer { root, signature }.encode());
        self.out
    }
}

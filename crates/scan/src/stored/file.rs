//! One stored inventory as bytes, of which a look reads what the database changed and no more.
//!
//! ```text
//! magic and version  8 bytes
//! lengths            3 × u32, little endian: entry, index, rest
//! digest             SHA-256 of all before it, of the entry and the index
//! entry              document
//! index              SHA-256 of the rest; u32 number of groups; for each group twice
//!                    u32 length and SHA-256: of its packages, of what was found in them;
//!                    then u64 key and u32 group for each key of a package, sorted
//! rest               deflated document: the inventory and the evaluation without the groups
//! groups             for each two deflated documents: packages, and what was found
//! ```

use std::cell::{Cell as Counter, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use palisade_base::{Digest, Timestamp};
use palisade_model::finding::{Unmatched, Vulnerability};
use palisade_model::package::Subject;
use palisade_model::{Inventory, Package, PackageKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::answers::Answer;
use super::cells;
use super::news::{News, Untold};
use crate::files::normal_path;
use crate::{ecosystem, matching};

const MAGIC: [u8; 8] = *b"PALINV\0\x02";
const PREFIX_BYTES: usize = 8 + 3 * 4 + 32;
/// Where the digest stands.
const DIGEST_AT: usize = PREFIX_BYTES - 32;
/// Largest entry, and largest index: half a million packages.
const ENTRY_BYTES_MAX: usize = 1 << 20;
const INDEX_BYTES_MAX: usize = 16 << 20;
/// Largest stored inventory.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Largest part after it is inflated.
const PART_BYTES_MAX: u64 = 256 << 20;
/// What a thread keeps of the memory in which it inflates parts.
const SCRATCH_BYTES_MAX: usize = 1 << 20;
/// Packages from which on a group is closed: what is read for one package that changed.
const GROUP_PACKAGES: usize = 4;
/// Bytes in the index of each of a group's two parts, and of a key.
const PART_BYTES: usize = 4 + 32;
const KEY_BYTES: usize = 8 + 4;

/// What is known of a stored inventory without reading it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was scanned.
    pub subject: Subject,
    /// When it was scanned last.
    pub stored: Timestamp,
    /// The database with which it was evaluated last, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Digest>,
    /// Release of the program that read the image: another may find other packages.
    #[serde(default)]
    pub program: String,
    /// Packages in it.
    pub n_packages: u64,
    /// Vulnerabilities that were found last.
    pub n_vulnerabilities: u64,
    /// The look, or the scan, that found something new or gone in it last. Until that is
    /// acknowledged it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub look: Option<Timestamp>,
    /// Whether the functions of its programs are in it (ADR 0022). Of what was stored before
    /// they were kept it is `false`, and what advisories say of functions has no answer until
    /// the image is scanned again; absent until a look has read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<bool>,
}

/// What was found in an inventory last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Evaluation {
    /// Vulnerabilities, worst first.
    pub vulnerabilities: Vec<Vulnerability>,
    /// Packages that the database could judge.
    pub n_packages_matched: u64,
    /// Those that it could not.
    pub unmatched: Vec<Unmatched>,
    /// Vulnerabilities beyond the bound of matching.
    pub n_dropped: u64,
    /// Identifier and package URL of what is new to who reads `palisade scan --stored`, unless
    /// that was told since the look that the entry names.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    pub new: HashSet<(String, String)>,
    /// What that reader was told of and is no longer found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Vulnerability>,
    /// The same for the watch, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<News>,
}

impl Evaluation {
    /// What came and went since somebody was told.
    pub(super) fn untold(&self) -> Untold {
        let reader = News { new: self.new.clone(), gone: self.gone.clone() };
        Untold::new(reader, self.watch.clone())
    }

    /// Notes what came and went.
    pub(super) fn note(&mut self, untold: Untold) {
        let (reader, watch) = untold.parts();
        (self.new, self.gone, self.watch) = (reader.new, reader.gone, watch);
    }

    /// Whether a database was asked: it judges each package, or says why not.
    pub(super) fn is_of_a_database(&self) -> bool {
        self.n_packages_matched > 0 || !self.unmatched.is_empty()
    }

    /// Whether the same is found in it as in `other`, in every word.
    pub(super) fn finds_as(&self, other: &Self) -> bool {
        let counts = |it: &Self| (it.n_packages_matched, it.n_dropped);
        counts(self) == counts(other)
            && self.unmatched == other.unmatched
            && self.vulnerabilities == other.vulnerabilities
    }
}

/// A package of an inventory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Held<P = Package> {
    /// Its place in the inventory.
    at: usize,
    /// Whether its files belong to a distribution's package.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_owned: bool,
    pub(super) package: P,
}

/// The packages that the database knows by one name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell<P = Package> {
    /// The key of the name; none where the database can know none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<u64>,
    /// The ecosystem in which it is known.
    pub(super) ecosystem: String,
    /// Keys of the packages' sources, where these are asked for too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sources: Vec<u64>,
    pub(super) packages: Vec<Held<P>>,
    /// Places among the packages, with the identifiers of what was found in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) found: Vec<(usize, String)>,
}

impl<P> Default for Cell<P> {
    fn default() -> Self {
        Self {
            key: None,
            ecosystem: String::new(),
            sources: Vec::new(),
            packages: Vec::new(),
            found: Vec::new(),
        }
    }
}

impl Cell {
    /// The key, if it or that of a source is among `changed`.
    pub(super) fn key_if_among<V>(&self, changed: &HashMap<u64, V>) -> Option<u64> {
        let mut keys = self.key.iter().chain(&self.sources);
        keys.any(|key| changed.contains_key(key)).then_some(self.key?)
    }

    /// The name by which the database knows the packages.
    pub(super) fn name(&self) -> Option<String> {
        let (name, _) = ecosystem::advisory_name(&self.packages.first()?.package);
        Some(ecosystem::normalise_name(&self.ecosystem, name))
    }

    /// Identifier and package URL of all that was found.
    pub(super) fn found_ids(&self) -> impl Iterator<Item = (&str, &str)> {
        self.found.iter().filter_map(|(at, id)| {
            let held = self.packages.get(*at)?;
            Some((id.as_str(), held.package.purl.as_str()))
        })
    }
}

/// An inventory and its evaluation without what is in groups.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Rest {
    pub(super) inventory: Inventory,
    pub(super) evaluation: Evaluation,
}

/// Where a part of the file lies, and what it is.
#[derive(Debug, Clone, Copy)]
struct Part {
    offset: u64,
    n_bytes: usize,
    digest: Digest,
}

/// An open file of which the entry and the index were read.
#[derive(Debug)]
pub(super) struct Stored {
    file: File,
    pub(super) status: Metadata,
    pub(super) entry: Entry,
    /// Of the entry and the index, which names every part.
    pub(super) digest: Digest,
    /// Bytes that may still be inflated.
    left: Counter<u64>,
    rest: Part,
    /// Of each group its packages, and what was found in them.
    groups: Vec<[Part; 2]>,
    keys: Vec<u8>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadStoredError {
    /// It is not as it was written.
    #[error("{0}")]
    Damage(&'static str),
    /// It is more than [`Stored::limit`] allows.
    #[error("it takes too much memory")]
    Limit,
    /// What the system says.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why an inventory cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum EncodeError {
    /// It is larger than what is read.
    #[error("it would be too large to be read again")]
    TooLarge,
    /// What makes its parts says so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

const SHORT: ReadStoredError = ReadStoredError::Damage("it is too short");

/// The key of what the database says of a package.
pub(super) fn key(ecosystem: &str, name: &str) -> u64 {
    let digest = Digest::of(format!("{ecosystem}\0{name}").as_bytes());
    let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

/// The name under which matching looks for the source of `package`, in the same ecosystem.
pub(super) fn source_name(package: &Package) -> Option<String> {
    matching::source_of(package).map(crate::feeds::csaf::source_name)
}

/// How a vulnerability is known to be a package's.
fn owner(v: &Vulnerability) -> [&str; 3] {
    [&v.purl, &v.package, &v.installed]
}

fn owner_of(package: &Package) -> [&str; 3] {
    [&package.purl, &package.name, &package.version]
}

/// Whether `inventory`, stored nobody knows when, has the functions of its programs: any, or
/// there is no program that should have some.
pub(super) fn has_functions(inventory: &Inventory) -> bool {
    let is_of_a_program = |package: &Package| {
        let name = package.evidence.rsplit('/').next().unwrap_or_default();
        // What a source tree names has no program.
        matches!(package.kind, PackageKind::Go | PackageKind::Cargo)
            && !matches!(name, "go.mod" | "go.sum" | "Cargo.lock" | "Cargo.toml" | "modules.txt")
    };
    !inventory.programs.is_empty() || !inventory.packages.iter().any(is_of_a_program)
}

/// `inventory` without what matching does not ask for.
pub(super) fn compact(inventory: &Inventory) -> Inventory {
    let languages = inventory.packages.iter().filter(|p| !p.kind.is_of_distribution());
    let evidence: HashSet<&str> = languages.map(|package| normal_path(&package.evidence)).collect();
    let mut packages = inventory.packages.clone();
    for package in &mut packages {
        package.files.retain(|path| evidence.contains(normal_path(path)));
        package.depends.clear();
        package.provides.clear();
        package.maintainer = None;
    }
    Inventory { packages, parts: Vec::new(), ..inventory.clone() }
}

fn pack(document: &impl Serialize) -> io::Result<Vec<u8>> {
    let document = serde_json::to_vec(document)?;
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&document)?;
    encoder.finish()
}

const NONSENSE: ReadStoredError = ReadStoredError::Damage("a part makes no sense");

/// What a thread needs to read parts, made once.
struct Scratch {
    inflater: flate2::Decompress,
    packed: Vec<u8>,
    raw: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        inflater: flate2::Decompress::new(false),
        packed: Vec::new(),
        raw: Vec::new(),
    });
}

impl Scratch {
    /// Inflates what is packed to at most `max` bytes.
    fn inflate(&mut self, max: u64) -> Result<(), ReadStoredError> {
        let Self { inflater, packed, raw } = self;
        let too_large = if max < PART_BYTES_MAX {
            ReadStoredError::Limit
        } else {
            ReadStoredError::Damage("a part is too large")
        };
        let damaged = ReadStoredError::Damage("a part cannot be inflated");
        inflater.reset(false);
        raw.clear();
        // Three times as long, usually.
        raw.reserve((4 * packed.len()).clamp(1 << 12, SCRATCH_BYTES_MAX));
        loop {
            let (n_read, n_written) = (inflater.total_in(), raw.len());
            if raw.len() == raw.capacity() {
                let n_more = (raw.len() as u64).min(max.saturating_sub(raw.len() as u64) + 1);
                raw.reserve_exact(usize::try_from(n_more).unwrap_or(1));
            }
            let rest = packed.get(usize::try_from(n_read).unwrap_or(usize::MAX)..);
            let status = inflater.decompress_vec(
                rest.unwrap_or_default(),
                raw,
                flate2::FlushDecompress::None,
            );
            if raw.len() as u64 > max {
                return Err(too_large);
            }
            match status {
                Ok(flate2::Status::StreamEnd) => return Ok(()),
                Ok(_) if (inflater.total_in(), raw.len()) != (n_read, n_written) => {}
                // It ends too early.
                _ => return Err(damaged),
            }
        }
    }

    /// Gives back what one large part took.
    fn shrink(&mut self) {
        for bytes in [&mut self.packed, &mut self.raw] {
            if bytes.capacity() > SCRATCH_BYTES_MAX {
                *bytes = Vec::new();
            }
        }
    }
}

/// A group before it is packed.
#[derive(Default)]
struct Group<'a> {
    cells: Vec<Cell<&'a Package>>,
    found: Vec<&'a Vulnerability>,
    n_packages: usize,
}

/// The packages of `inventory` in groups, with what `evaluation` found in them, the keys of each
/// group, and what was found in no package of it.
fn grouped<'a>(
    inventory: &'a Inventory,
    found: &'a [Vulnerability],
) -> (Vec<Group<'a>>, Vec<(u64, u32)>, Vec<Vulnerability>) {
    let owned = matching::distribution_owned(inventory);
    let mut cells: BTreeMap<Option<u64>, (Cell<&Package>, Vec<&Vulnerability>)> = BTreeMap::new();
    let mut places: HashMap<[&str; 3], (Option<u64>, usize)> = HashMap::new();
    for (at, package) in inventory.packages.iter().enumerate() {
        let ecosystem = ecosystem::of_package(package, inventory.distribution.as_ref());
        let ecosystem = ecosystem.unwrap_or_default();
        let (name, _) = ecosystem::advisory_name(package);
        let name = ecosystem::normalise_name(&ecosystem, name);
        let key = (!ecosystem.is_empty()).then(|| key(&ecosystem, &name));
        let source = source_name(package).map(|source| self::key(&ecosystem, &source));
        let (cell, _) = cells.entry(key).or_default();
        cell.sources.extend(source.filter(|source| !cell.sources.contains(source)));
        cell.ecosystem = ecosystem;
        places.entry(owner_of(package)).or_insert((key, cell.packages.len()));
        let is_owned = matching::is_owned(package, &owned);
        cell.key = key;
        cell.packages.push(Held { at, is_owned, package });
    }
    let mut loose = Vec::new();
    for one in found {
        match places.get(&owner(one)).map(|&(key, at)| (cells.get_mut(&key), at)) {
            Some((Some((cell, held)), at)) => {
                cell.found.push((at, one.id.clone()));
                held.push(one);
            }
            _ => loose.push(one.clone()),
        }
    }
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut keys: BTreeSet<(u64, u32)> = BTreeSet::new();
    for (cell, found) in cells.into_values() {
        if groups.last().is_none_or(|group| group.n_packages >= GROUP_PACKAGES) {
            groups.push(Group::default());
        }
        let at = groups.len() as u32 - 1;
        keys.extend(cell.key.iter().chain(&cell.sources).map(|key| (*key, at)));
        if let Some(group) = groups.last_mut() {
            group.n_packages += cell.packages.len();
            group.cells.push(cell);
            group.found.extend(found);
        }
    }
    (groups, keys.into_iter().collect(), loose)
}

/// The bytes of a file, at most `max`, and its digest.
pub(super) fn encode(
    entry: &Entry,
    evaluation: &Evaluation,
    inventory: &Inventory,
    max: u64,
) -> Result<(Vec<u8>, Digest), EncodeError> {
    let length = |n: usize| u32::try_from(n).map(u32::to_le_bytes).or(Err(EncodeError::TooLarge));
    let (groups, keys, loose) = grouped(inventory, &evaluation.vulnerabilities);
    // Named one by one: packages and findings are many, and not copied to be thrown away.
    let rest = pack(&Rest {
        inventory: Inventory {
            subject: inventory.subject.clone(),
            distribution: inventory.distribution.clone(),
            packages: Vec::new(),
            parts: inventory.parts.clone(),
            programs: inventory.programs.clone(),
            n_files: inventory.n_files,
            gaps: inventory.gaps.clone(),
        },
        evaluation: Evaluation {
            vulnerabilities: loose,
            n_packages_matched: evaluation.n_packages_matched,
            unmatched: evaluation.unmatched.clone(),
            n_dropped: evaluation.n_dropped,
            new: evaluation.new.clone(),
            gone: evaluation.gone.clone(),
            watch: evaluation.watch.clone(),
        },
    })?;
    let mut index = Digest::of(&rest).as_bytes().to_vec();
    index.extend(length(groups.len())?);
    let mut bodies = Vec::new();
    for group in &groups {
        for part in [pack(&group.cells)?, pack(&group.found)?] {
            index.extend(length(part.len())?);
            index.extend(Digest::of(&part).as_bytes());
            bodies.extend(part);
        }
    }
    for (key, group) in keys {
        index.extend(key.to_le_bytes());
        index.extend(group.to_le_bytes());
    }
    let document = serde_json::to_vec(entry).map_err(io::Error::from)?;
    let mut bytes = MAGIC.to_vec();
    for n in [document.len(), index.len(), rest.len()] {
        bytes.extend(length(n)?);
    }
    let n_total = PREFIX_BYTES + document.len() + index.len() + rest.len() + bodies.len();
    if document.len() > ENTRY_BYTES_MAX || index.len() > INDEX_BYTES_MAX || n_total as u64 > max {
        return Err(EncodeError::TooLarge);
    }
    let digest = digest_of([&bytes, &document, &index]);
    bytes.extend(digest.as_bytes());
    for part in [document, index, rest, bodies] {
        bytes.extend(part);
    }
    Ok((bytes, digest))
}

/// The digest of `parts` one after the other.
fn digest_of<const N: usize>(parts: [&[u8]; N]) -> Digest {
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    Digest::from_bytes(hasher.finalize().into())
}

/// Takes the next parts of an index from `bytes`.
struct Index<'a> {
    bytes: &'a [u8],
    /// Where the next part of the file lies.
    offset: u64,
}

impl Index<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ReadStoredError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(SHORT)?;
        self.bytes = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<usize, ReadStoredError> {
        Ok(u32::from_le_bytes(self.take()?) as usize)
    }

    fn part(&mut self, n_bytes: usize) -> Result<Part, ReadStoredError> {
        let part = Part { offset: self.offset, n_bytes, digest: Digest::from_bytes(self.take()?) };
        self.offset += n_bytes as u64;
        Ok(part)
    }

    fn next_part(&mut self) -> Result<Part, ReadStoredError> {
        let n_bytes = self.number()?;
        self.part(n_bytes)
    }
}

impl Stored {
    /// Reads the beginning of `file`, and checks it.
    pub(super) fn read(file: File, status: Metadata) -> Result<Self, ReadStoredError> {
        let n_file = status.len();
        if n_file > FILE_BYTES_MAX {
            return Err(ReadStoredError::Damage("it is too large"));
        }
        let read = |offset: u64, n: usize| {
            // What is not there is not reserved.
            if offset + n as u64 > n_file {
                return Err(SHORT);
            }
            let mut bytes = vec![0; n];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        };
        let prefix = read(0, PREFIX_BYTES)?;
        if !prefix.starts_with(&MAGIC[..6]) {
            return Err(ReadStoredError::Damage("it is no stored inventory"));
        }
        if !prefix.starts_with(&MAGIC) {
            return Err(ReadStoredError::Damage("it is of another release; scan the image again"));
        }
        let mut lengths = Index { bytes: &prefix[MAGIC.len()..], offset: 0 };
        let (n_entry, n_index, n_rest) = (lengths.number()?, lengths.number()?, lengths.number()?);
        if n_entry > ENTRY_BYTES_MAX || n_index > INDEX_BYTES_MAX {
            return Err(ReadStoredError::Damage("its size is not what it says"));
        }
        let head = read(PREFIX_BYTES as u64, n_entry + n_index)?;
        let digest = digest_of([&prefix[..DIGEST_AT], &head]);
        if digest.as_bytes()[..] != prefix[DIGEST_AT..] {
            return Err(ReadStoredError::Damage("its head does not match its digest"));
        }
        let (entry, index) = head.split_at_checked(n_entry).ok_or(SHORT)?;
        let entry = serde_json::from_slice(entry)
            .map_err(|_| ReadStoredError::Damage("its head makes no sense"))?;
        let mut index = Index { bytes: index, offset: (PREFIX_BYTES + head.len()) as u64 };
        let rest = index.part(n_rest)?;
        let n_groups = index.number()?;
        if n_groups > index.bytes.len() / (2 * PART_BYTES) {
            return Err(SHORT);
        }
        let mut groups = Vec::with_capacity(n_groups);
        for _ in 0..n_groups {
            groups.push([index.next_part()?, index.next_part()?]);
        }
        if index.offset != n_file {
            return Err(ReadStoredError::Damage("its size is not what it says"));
        }
        let keys = index.bytes.to_vec();
        let left = Counter::new(u64::MAX);
        Ok(Self { file, status, entry, digest, left, rest, groups, keys })
    }

    /// Has no more than `n_bytes` inflated from now on.
    pub(super) fn limit(&self, n_bytes: u64) {
        self.left.set(n_bytes);
    }

    /// What `read` makes of the document of a part.
    fn document<T>(
        &self,
        part: Part,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<T, ReadStoredError> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.packed.clear();
            // The parts lie within the file, whose size is bounded.
            scratch.packed.resize(part.n_bytes, 0);
            self.file.read_exact_at(&mut scratch.packed, part.offset)?;
            if Digest::of(&scratch.packed) != part.digest {
                return Err(ReadStoredError::Damage("a part does not match its digest"));
            }
            let inflated = scratch.inflate(self.left.get().min(PART_BYTES_MAX));
            self.left.set(self.left.get().saturating_sub(scratch.raw.len() as u64));
            let document = inflated.and_then(|()| read(&scratch.raw).map_err(|_| NONSENSE));
            scratch.shrink();
            document
        })
    }

    fn part<T: DeserializeOwned>(&self, part: Part) -> Result<T, ReadStoredError> {
        self.document(part, |document| serde_json::from_slice(document))
    }

    /// The groups with a package whose name or source is among `changed`, each once.
    pub(super) fn groups_with<V>(&self, changed: &HashMap<u64, V>) -> Vec<usize> {
        let mut groups: Vec<usize> = self
            .keys
            .chunks_exact(KEY_BYTES)
            .filter_map(|bytes| {
                let (key, group) = bytes.split_first_chunk()?;
                let group = u32::from_le_bytes(group.try_into().ok()?) as usize;
                changed.contains_key(&u64::from_le_bytes(*key)).then_some(group)
            })
            .collect();
        groups.sort_unstable();
        groups.dedup();
        groups
    }

    /// Of a group the packages under names that `changed`, with their keys.
    pub(super) fn cells_among<V>(
        &self,
        group: usize,
        changed: &HashMap<u64, V>,
    ) -> Result<Vec<(u64, Cell)>, ReadStoredError> {
        let part = self.groups.get(group).ok_or(SHORT)?[0];
        self.document(part, |document| cells::among(document, changed))
    }

    /// The packages of a group.
    fn cells(&self, group: usize) -> Result<Vec<Cell>, ReadStoredError> {
        self.part(self.groups.get(group).ok_or(SHORT)?[0])
    }

    /// What was found in the packages of a group.
    pub(super) fn found(&self, group: usize) -> Result<Vec<Vulnerability>, ReadStoredError> {
        self.part(self.groups.get(group).ok_or(SHORT)?[1])
    }

    /// What is in no group.
    pub(super) fn rest(&self) -> Result<Rest, ReadStoredError> {
        self.part(self.rest)
    }

    /// All of it, with what `answer` says since.
    pub(super) fn whole(
        &self,
        answer: Option<&Answer>,
    ) -> Result<(Evaluation, Inventory), ReadStoredError> {
        let Rest { mut inventory, mut evaluation } = self.rest()?;
        let mut packages: Vec<Held> = Vec::new();
        for group in 0..self.groups.len() {
            let mut since: HashSet<[&str; 3]> = HashSet::new();
            let cells = self.cells(group)?;
            for cell in &cells {
                if let Some(found) = answer.and_then(|answer| answer.cells.get(&cell.key?)) {
                    since.extend(cell.packages.iter().map(|held| owner_of(&held.package)));
                    evaluation.vulnerabilities.extend_from_slice(found);
                }
            }
            let found = self.found(group)?.into_iter();
            let as_before = found.filter(|one| !since.contains(&owner(one)));
            evaluation.vulnerabilities.extend(as_before);
            packages.extend(cells.into_iter().flat_map(|cell| cell.packages));
        }
        packages.sort_by_key(|held| held.at);
        inventory.packages = packages.into_iter().map(|held| held.package).collect();
        matching::sort_by_weight(&mut evaluation.vulnerabilities);
        if let Some(answer) = answer {
            answer.apply(&mut evaluation);
        }
        Ok((evaluation, inventory))
    }
}

//! One stored inventory as bytes: a head that says whether it must be read on, what was found
//! last, and the inventory.
//!
//! ```text
//! magic and version  8 bytes
//! lengths            3 × u32, little endian: head, evaluation, inventory
//! digests            SHA-256 of the evaluation, of the inventory, and of all before them with the head
//! head               u32 length of a document, the document, u64 keys of the packages, sorted
//! evaluation         deflated document
//! inventory          deflated document
//! ```

use std::collections::HashSet;
use std::io::{Read as _, Write as _};

use palisade_base::{Digest, Timestamp};
use palisade_model::finding::{Unmatched, Vulnerability};
use palisade_model::package::Subject;
use palisade_model::{Inventory, Package, PackageKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ecosystem;
use crate::files::normal_path;

const MAGIC: [u8; 8] = *b"PALINV\0\x01";
pub(super) const PREFIX_BYTES: usize = 8 + 3 * 4 + 3 * 32;
/// Where the digest of the head stands.
const HEAD_DIGEST_AT: usize = PREFIX_BYTES - 32;
/// Largest head that is read: half a million packages.
pub(super) const HEAD_BYTES_MAX: usize = 4 << 20;
/// Largest stored inventory.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// Largest part after it is inflated.
const PART_BYTES_MAX: u64 = 256 << 20;

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
    /// The look that found something new or gone in it last. Until that look is acknowledged it is new.
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
    /// Identifier and package URL of what was new at the look that the entry names.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    pub new: HashSet<(String, String)>,
    /// What was found before that look and no longer at it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<Vulnerability>,
}

/// A head with its keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub(super) entry: Entry,
    keys: Vec<u8>,
    lengths: [usize; 3],
    digests: [Digest; 2],
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub(super) &'static str);

/// The key of what the database says of a package.
pub(super) fn key(ecosystem: &str, name: &str) -> u64 {
    let digest = Digest::of(format!("{ecosystem}\0{name}").as_bytes());
    let bytes = digest.as_bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

/// Every key under which matching looks for the packages of `inventory`.
fn keys(inventory: &Inventory) -> Vec<u64> {
    let mut keys = Vec::with_capacity(inventory.packages.len());
    for package in &inventory.packages {
        let Ok(ecosystem) = ecosystem::of_package(package, inventory.distribution.as_ref()) else {
            continue;
        };
        let (name, _) = ecosystem::advisory_name(package);
        keys.push(key(&ecosystem, &ecosystem::normalise_name(&ecosystem, name)));
        if let (PackageKind::Rpm, Some(source)) = (package.kind, &package.source) {
            keys.push(key(&ecosystem, &crate::feeds::csaf::source_name(&source.name)));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
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

fn pack(document: &impl Serialize) -> std::io::Result<Vec<u8>> {
    let document = serde_json::to_vec(document)?;
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&document)?;
    encoder.finish()
}

fn unpack<T: DeserializeOwned>(bytes: &[u8], digest: Digest) -> Result<T, Damage> {
    if Digest::of(bytes) != digest {
        return Err(Damage("a part does not match its digest"));
    }
    let mut raw = Vec::new();
    let decoder = flate2::read::DeflateDecoder::new(bytes);
    let n = decoder.take(PART_BYTES_MAX + 1).read_to_end(&mut raw);
    match n {
        Ok(n) if n as u64 <= PART_BYTES_MAX => {}
        Ok(_) => return Err(Damage("a part is too large")),
        Err(_) => return Err(Damage("a part cannot be inflated")),
    }
    serde_json::from_slice(&raw).map_err(|_| Damage("a part makes no sense"))
}

/// The bytes of a file.
pub(super) fn encode(
    entry: &Entry,
    evaluation: &Evaluation,
    inventory: &Inventory,
) -> std::io::Result<Vec<u8>> {
    let (evaluation, body) = (pack(evaluation)?, pack(inventory)?);
    let document = serde_json::to_vec(entry)?;
    let length = |n: usize| {
        u32::try_from(n).map(u32::to_le_bytes).map_err(|_| std::io::Error::other("it is too large"))
    };
    let mut head = length(document.len())?.to_vec();
    head.extend(document);
    for key in keys(inventory) {
        head.extend(key.to_le_bytes());
    }
    let total = PREFIX_BYTES + head.len() + evaluation.len() + body.len();
    if head.len() > HEAD_BYTES_MAX || total as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is too large"));
    }
    let mut bytes = MAGIC.to_vec();
    for part in [&head, &evaluation, &body] {
        bytes.extend(length(part.len())?);
    }
    bytes.extend(Digest::of(&evaluation).as_bytes());
    bytes.extend(Digest::of(&body).as_bytes());
    let digest = Digest::of(&[&bytes[..], &head].concat());
    bytes.extend(digest.as_bytes());
    Ok([bytes, head, evaluation, body].concat())
}

/// The lengths of the parts, once the file is as long as they say.
pub(super) fn lengths(prefix: &[u8], n_file: u64) -> Result<[usize; 3], Damage> {
    let rest = prefix.strip_prefix(&MAGIC[..6]).ok_or(Damage("it is no stored inventory"))?;
    let rest = rest.strip_prefix(&MAGIC[6..]).ok_or(Damage("it is of another release"))?;
    let mut lengths = [0_usize; 3];
    for (length, bytes) in lengths.iter_mut().zip(rest.chunks_exact(4)) {
        let bytes: [u8; 4] = bytes.try_into().map_err(|_| Damage("it is too short"))?;
        *length = u32::from_le_bytes(bytes) as usize;
    }
    let total = lengths.iter().map(|n| *n as u64).sum::<u64>() + PREFIX_BYTES as u64;
    if total != n_file || n_file > FILE_BYTES_MAX || lengths[0] > HEAD_BYTES_MAX {
        return Err(Damage("its size is not what it says"));
    }
    Ok(lengths)
}

impl Head {
    /// Reads the beginning of a file of `n_file` bytes.
    pub(super) fn decode(bytes: &[u8], n_file: u64) -> Result<Self, Damage> {
        let short = Damage("it is too short");
        let (prefix, rest) = bytes.split_at_checked(PREFIX_BYTES).ok_or(short)?;
        let lengths = lengths(prefix, n_file)?;
        let head = rest.get(..lengths[0]).ok_or(short)?;
        let (before, digest) = prefix.split_at_checked(HEAD_DIGEST_AT).ok_or(short)?;
        if Digest::of(&[before, head].concat()).as_bytes() != digest {
            return Err(Damage("its head does not match its digest"));
        }
        let digest = |at: usize| {
            let bytes = prefix.get(at..at + 32).and_then(|bytes| bytes.try_into().ok());
            bytes.map(Digest::from_bytes).ok_or(short)
        };
        let digests = [digest(20)?, digest(52)?];
        let nonsense = Damage("its head makes no sense");
        let (length, rest) = head.split_at_checked(4).ok_or(nonsense)?;
        let length = u32::from_le_bytes(length.try_into().map_err(|_| nonsense)?) as usize;
        let (document, keys) = rest.split_at_checked(length).ok_or(nonsense)?;
        let entry = serde_json::from_slice(document).map_err(|_| nonsense)?;
        Ok(Self { entry, keys: keys.to_vec(), lengths, digests })
    }

    /// Whether a package is among `changed`.
    pub(super) fn has_any(&self, changed: &HashSet<u64>) -> bool {
        self.keys.chunks_exact(8).any(|bytes| {
            bytes.try_into().is_ok_and(|bytes| changed.contains(&u64::from_le_bytes(bytes)))
        })
    }

    /// The evaluation of the whole file `bytes`.
    pub(super) fn evaluation(&self, bytes: &[u8]) -> Result<Evaluation, Damage> {
        let from = PREFIX_BYTES + self.lengths[0];
        let part = bytes.get(from..from + self.lengths[1]).ok_or(Damage("it is too short"))?;
        unpack(part, self.digests[0])
    }

    /// The inventory of the whole file `bytes`.
    pub(super) fn inventory(&self, bytes: &[u8]) -> Result<Inventory, Damage> {
        let from = PREFIX_BYTES + self.lengths[0] + self.lengths[1];
        unpack(bytes.get(from..).ok_or(Damage("it is too short"))?, self.digests[1])
    }
}

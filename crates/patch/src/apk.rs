//! Repositories of Alpine: `APKINDEX.tar.gz`, a signature before what it signs, and apk's
//! database (Alpine wiki, "Apk spec"; apk-tools `src/database.c`, `src/extract_v2.c`).
//!
//! The signature is RSA over all that follows its own gzip member, with a key that the image
//! holds by name. Alpine signs with SHA-1 (`.SIGN.RSA.`); nothing stronger is offered there.

mod layer;
pub(crate) mod package;
mod protect;
pub(crate) mod prove;
mod record;
mod scripts;

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use palisade_base::{Timestamp, read_bounded};
use palisade_image::{FileKind, Limits, RawKind, TarReader};
use ring::signature as sig;

use crate::index::{Available, PACKAGES_MAX};
use crate::installed::Installed;
use crate::relation::{Relation, apk_relations};
use crate::{Files, PatchError};

pub(crate) use layer::build;

/// An index beyond this many bytes is refused, compressed (Alpine's largest: 2 MiB).
pub(crate) const COMPRESSED_BYTES_MAX: u64 = 64 << 20;
/// The same, decompressed.
const INDEX_BYTES_MAX: u64 = 512 << 20;
/// The member with the signatures.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
/// Entries of either archive.
const ENTRIES_MAX: u64 = 64;

/// Where apk's database is; newer images have it below `usr`.
const DATABASES: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];
const KEYS: &str = "etc/apk/keys";

/// The database, if the image has one.
pub(crate) fn database(files: &Files) -> Option<&[u8]> {
    DATABASES.iter().find_map(|path| files.content(path))
}

/// Records of one letter a field, as the database and indices have them.
fn records(text: &str) -> Vec<BTreeMap<&str, &str>> {
    let (mut all, mut record) = (Vec::new(), BTreeMap::new());
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            if !record.is_empty() && all.len() <= PACKAGES_MAX {
                all.push(std::mem::take(&mut record));
            }
        } else if let Some((key, value)) = line.split_once(':') {
            record.entry(key).or_insert(value);
        }
    }
    all
}

/// What a package needs, does not bear, and provides.
fn relations_of(record: &BTreeMap<&str, &str>) -> [Vec<Relation>; 3] {
    let value = |key: &str| record.get(key).copied().unwrap_or_default();
    let (depends, breaks) = apk_relations(value("D"));
    [depends, breaks, apk_relations(value("p")).0]
}

/// The packages of the database.
pub(crate) fn installed(bytes: &[u8]) -> Vec<Installed> {
    let text = String::from_utf8_lossy(bytes);
    let read = |record: BTreeMap<&str, &str>| {
        let [depends, breaks, provides] = relations_of(&record);
        Some(Installed {
            name: (*record.get("P")?).to_string(),
            version: (*record.get("V")?).to_string(),
            architecture: record.get("A").copied().unwrap_or_default().to_string(),
            is_held: false,
            module: None,
            depends,
            breaks,
            provides,
        })
    };
    records(&text).into_iter().filter_map(read).collect()
}

/// Reads apk's `installed` and writes the folders of each record again, as a build does; gives
/// the number of records.
pub fn rewrite_apk_installed(text: &str) -> (usize, String) {
    let all = record::read(text);
    let n_records = all.len();
    (n_records, all.iter().map(|one| record::write(&one.folders) + "\n").collect())
}

/// Reads apk's archive of scripts and writes it again without compression, as a build does.
pub fn rewrite_apk_scripts(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    scripts::write(&scripts::read(bytes)?, false)
}

/// One repository of `etc/apk/repositories`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApkSource {
    pub(crate) address: String,
    /// Packages of a repository with a tag are taken only for those that ask for it.
    pub(crate) tag: Option<String>,
}

/// The repositories of an image, and its architecture.
pub(crate) fn sources(files: &Files) -> (Vec<ApkSource>, String) {
    let folder = files.below("etc/apk/repositories.d/").map(|(path, _)| path);
    let mut sources = Vec::new();
    for path in std::iter::once("etc/apk/repositories").chain(folder) {
        let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let (tag, address) = match line.strip_prefix('@').and_then(|it| it.split_once(' ')) {
                Some((tag, address)) => (Some(tag.to_string()), address.trim()),
                None => (None, line),
            };
            if !address.is_empty() {
                let address = address.trim_end_matches('/').to_string();
                sources.push(ApkSource { address, tag });
            }
        }
    }
    let text = files.content("etc/apk/arch").unwrap_or_default();
    let mut architecture = String::from_utf8_lossy(text).trim().to_string();
    if architecture.is_empty() {
        let all = installed(database(files).unwrap_or_default());
        let mut named = all.into_iter().map(|one| one.architecture);
        architecture = named.find(|one| one != "noarch").unwrap_or_default();
    }
    (sources, architecture)
}

/// An index that was proved.
pub(crate) struct Index {
    pub(crate) packages: Vec<Available>,
    /// Name of the key.
    pub(crate) key: String,
    /// Entries that are no packages.
    pub(crate) n_bad: u64,
    /// When it was made.
    pub(crate) date: Option<Timestamp>,
}

/// Proves an index and reads it.
pub(crate) fn read_index(bytes: &[u8], files: &Files, name: &str) -> Result<Index, PatchError> {
    let (signatures, signed) =
        split(bytes).map_err(|error| PatchError::document(name, error.to_string()))?;
    let key = verify(&signatures, signed, files).map_err(|why| PatchError::untrusted(name, why))?;
    // Only now: what is decompressed is what the repository's owner signed.
    let (packages, n_bad, date) =
        read_signed(signed).map_err(|error| PatchError::document(name, error.to_string()))?;
    Ok(Index { packages, key, n_bad, date })
}

/// Name and bytes.
type Signature = (String, Vec<u8>);

/// The signatures of the first gzip member, and all that follows it.
fn split(bytes: &[u8]) -> std::io::Result<(Vec<Signature>, &[u8])> {
    let mut member = flate2::bufread::GzDecoder::new(bytes);
    let mut plain = Vec::new();
    (&mut member).take(SIGNATURE_BYTES_MAX + 1).read_to_end(&mut plain)?;
    if plain.len() as u64 > SIGNATURE_BYTES_MAX {
        return Err(std::io::Error::other("its signatures are too large"));
    }
    let rest = member.into_inner();
    let limits = Limits::default();
    let mut archive = TarReader::new(plain.as_slice(), &limits, ENTRIES_MAX);
    let mut signatures = Vec::new();
    while let Some(entry) = archive.next_entry()? {
        if entry.kind == RawKind::File(FileKind::Regular) {
            let name = String::from_utf8_lossy(&entry.path).into_owned();
            signatures.push((name, read_bounded(&mut archive, "signature", SIGNATURE_BYTES_MAX)?));
        }
    }
    Ok((signatures, rest))
}

/// The name of the key of the image by which one of the signatures holds.
fn verify(signatures: &[Signature], signed: &[u8], files: &Files) -> Result<String, &'static str> {
    let mut why = "it is not signed";
    for (name, signature) in signatures {
        let rest = name.strip_prefix(".SIGN.").unwrap_or_default();
        let Some((kind, key)) = rest.split_once('.').filter(|(_, key)| !key.contains('/')) else {
            continue;
        };
        let algorithm = match kind {
            "RSA" => &sig::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            "RSA256" => &sig::RSA_PKCS1_2048_8192_SHA256,
            "RSA512" => &sig::RSA_PKCS1_2048_8192_SHA512,
            _ => continue,
        };
        let Some(file) = files.content(&format!("{KEYS}/{key}")) else {
            why = "none of its signatures is of a key that the image trusts";
            continue;
        };
        let Some(public) = rsa_key(file) else {
            why = "the image's key for it cannot be read";
            continue;
        };
        if sig::UnparsedPublicKey::new(algorithm, &public).verify(signed, signature).is_ok() {
            return Ok(key.to_string());
        }
        why = "its signature is false";
    }
    Err(why)
}

/// The `RSAPublicKey` (RFC 8017) within a public key in PEM (RFC 5280, `SubjectPublicKeyInfo`).
fn rsa_key(pem: &[u8]) -> Option<Vec<u8>> {
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    let text = std::str::from_utf8(pem).ok()?;
    let (_, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (body, _) = rest.split_once("-----END PUBLIC KEY-----")?;
    let body: String = body.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    let (whole, _) = element(0x30, &der)?;
    let (algorithm, rest) = element(0x30, whole)?;
    let (bits, _) = element(0x03, rest)?;
    (algorithm.starts_with(RSA)).then(|| bits.strip_prefix(&[0]).map(<[u8]>::to_vec))?
}

/// The value of the first element of DER, and what follows it.
fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            (digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (*first == tag).then(|| rest.split_at_checked(length))?
}

/// The packages of an index without its signature. What is none is counted.
fn read_signed(signed: &[u8]) -> std::io::Result<(Vec<Available>, u64, Option<Timestamp>)> {
    let limits = Limits::default();
    let plain = flate2::read::MultiGzDecoder::new(signed);
    let plain = palisade_base::Bounded::new(plain, "index", INDEX_BYTES_MAX);
    let mut archive = TarReader::new(plain, &limits, ENTRIES_MAX);
    while let Some(entry) = archive.next_entry()? {
        if entry.path == b"APKINDEX" {
            let text = read_bounded(&mut archive, "index", INDEX_BYTES_MAX)?;
            let (packages, n_bad) = read_apk_index(&text);
            let seconds = u64::try_from(entry.mtime).ok().filter(|seconds| *seconds > 0);
            let date = seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000));
            return Ok((packages, n_bad, date.map(Timestamp::from_nanos)));
        }
    }
    Err(std::io::Error::other("it has no file `APKINDEX`"))
}

/// Reads the text of an index. What is no package is counted.
pub fn read_apk_index(bytes: &[u8]) -> (Vec<Available>, u64) {
    let text = String::from_utf8_lossy(bytes);
    let (mut packages, mut n_bad) = (Vec::new(), 0);
    for record in records(&text) {
        let [depends, breaks, provides] = relations_of(&record);
        let read = || {
            let text = |key: &str| record.get(key).map(|value| (*value).to_string());
            let (name, version, architecture) = (text("P")?, text("V")?, text("A")?);
            let size = text("S")?.parse().ok()?;
            let address = format!("{name}-{version}.apk");
            Some(Available {
                // The origin has no version of its own: it is built as one.
                source_version: version.clone(),
                name,
                version,
                architecture,
                address,
                size,
                checksum: text("C").unwrap_or_default(),
                record: record::header(&record),
                depends: depends.clone(),
                breaks: breaks.clone(),
                provides: provides.clone(),
                ..Available::default()
            })
        };
        match read() {
            Some(package) if packages.len() < PACKAGES_MAX => packages.push(package),
            _ => n_bad += 1,
        }
    }
    (packages, n_bad)
}

/// Packages that `world` holds back: their names, with the bound that the newest version of the
/// repositories does not meet, or the tag.
pub(crate) fn bounded(
    files: &Files,
    newest: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(files.content("etc/apk/world").unwrap_or_default());
    let mut all = BTreeMap::new();
    for word in text.split_whitespace() {
        let (relations, _) = apk_relations(word);
        let Some(choice) = relations.first().and_then(|relation| relation.first()) else {
            continue;
        };
        let admits = newest(&choice.name).is_none_or(|version| choice.admits(&version));
        if word.contains('@') || !admits {
            all.insert(choice.name.clone(), format!("`/etc/apk/world` has `{word}`"));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_read() {
        let text =
            "C:Q1x\nP:a\nV:1.2-r0\nA:x86_64\nS:12\nD:so:libc.so.1 b>=2 !c\np:cmd:a=1.2-r0\n\nP:b\n";
        let (packages, n_bad) = read_apk_index(text.as_bytes());
        assert_eq!((packages.len(), n_bad), (1, 1));
        assert_eq!(packages[0].address, "a-1.2-r0.apk");
        assert_eq!((packages[0].depends.len(), packages[0].breaks.len()), (2, 1));
        let all = installed(text.as_bytes());
        assert_eq!((all.len(), all[0].provides.len()), (1, 1));
    }

    #[test]
    fn what_is_no_key_is_none() {
        assert_eq!(rsa_key(b""), None);
        assert_eq!(rsa_key(b"-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----"), None);
        assert_eq!(element(0x30, &[0x30, 0x81, 0x01, 5, 6]), Some((&[5][..], &[6][..])));
        assert_eq!(element(0x30, &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(element(0x30, &[0x31, 0]), None);
    }
}

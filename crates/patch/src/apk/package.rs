//! Packages of apk in their second form: a tar archive in gzip members, of which one has the
//! signatures, one the record and the scripts, and the last the files (Alpine wiki, "Apk spec";
//! apk-tools `src/extract_v2.c`).
//!
//! The index that the repository's owner signed has the checksum of the second member, and that
//! has the SHA-256 of the third.

use std::collections::BTreeMap;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Bounded, Digest, read_bounded};
use palisade_image::FileKind;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use crate::PatchError;
use crate::deb::DebFile;

/// Signatures, decompressed.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;
/// Record and scripts, decompressed.
const CONTROL_BYTES_MAX: u64 = 64 << 20;
/// Files of one package, decompressed.
const DATA_BYTES_MAX: u64 = 4 << 30;
/// Files of one package.
const ENTRIES_MAX: usize = 1_000_000;
/// Members with signatures.
const MEMBERS_MAX: usize = 8;

/// A file of a package, with what apk says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApkFile {
    /// The file.
    pub file: DebFile,
    /// Names of its owner and group, which count before the numbers where the image has them.
    pub owner: (String, String),
    /// SHA-1 of its content, or of a link's target.
    pub sum: Option<[u8; 20]>,
    /// Whether it has extended attributes.
    pub has_xattrs: bool,
}

/// A package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Apk {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Packages whose files it may replace, as they are written.
    pub replaces: Option<String>,
    /// Which of two that replace each other wins.
    pub replaces_priority: Option<u64>,
    /// Folders whose change executes its trigger, as patterns.
    pub triggers: Vec<String>,
    /// Scripts by their kinds: `post-upgrade`, `trigger`.
    pub scripts: BTreeMap<String, Vec<u8>>,
    /// Its files and folders in their order.
    pub files: Vec<ApkFile>,
}

/// The kinds of scripts, in the order in which apk keeps them.
pub(crate) const SCRIPTS: [&str; 7] = [
    "pre-install",
    "post-install",
    "pre-deinstall",
    "post-deinstall",
    "pre-upgrade",
    "post-upgrade",
    "trigger",
];

/// Reads a package whose second member has this checksum (`Q1` and SHA-1, or `Q2` and SHA-256,
/// in base64). `name` is what errors call it.
pub fn read_apk(bytes: &[u8], checksum: &str, name: &str) -> Result<Apk, PatchError> {
    let bad = |why: String| PatchError::document(name, why);
    let (control, rest) = control_of(bytes).map_err(|error| bad(error.to_string()))?;
    if !is_sum(control, checksum) {
        return Err(PatchError::untrusted(name, "it is not what the signed index lists"));
    }
    // Only now: what is decompressed is what the repository's owner signed.
    let (mut apk, datahash) = read_control(control).map_err(|error| bad(error.to_string()))?;
    let datahash = datahash.ok_or_else(|| bad("it does not say what its files are".into()))?;
    if Digest::of(rest).hex() != datahash {
        return Err(PatchError::untrusted(name, "its files are not what its record says"));
    }
    apk.files = read_files(rest).map_err(|error| bad(error.to_string()))?;
    Ok(apk)
}

/// Reads the second and the third member of a package, whose sums were proved before.
pub fn read_apk_members(control: &[u8], data: &[u8], name: &str) -> Result<Apk, PatchError> {
    let bad = |error: io::Error| PatchError::document(name, error.to_string());
    let (mut apk, _) = read_control(control).map_err(bad)?;
    apk.files = read_files(data).map_err(bad)?;
    Ok(apk)
}

fn is_sum(bytes: &[u8], checksum: &str) -> bool {
    let (algorithm, text) = match checksum.split_at_checked(2) {
        Some(("Q1", text)) => (&SHA1_FOR_LEGACY_USE_ONLY, text),
        Some(("Q2", text)) => (&SHA256, text),
        _ => return false,
    };
    STANDARD.decode(text).is_ok_and(|sum| sum == digest(algorithm, bytes).as_ref())
}

/// SHA-1, which is what apk has of files.
pub(crate) fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut sum = [0; 20];
    sum.copy_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
    sum
}

/// The form of a sum in apk's database.
pub(crate) fn sum_text(sum: &[u8]) -> String {
    format!("Q1{}", STANDARD.encode(sum))
}

/// Reads one gzip member; gives its content and what follows it.
fn member<'b>(bytes: &'b [u8], what: &'static str, limit: u64) -> io::Result<(Vec<u8>, &'b [u8])> {
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    let plain = read_bounded(&mut decoder, what, limit)?;
    Ok((plain, decoder.into_inner()))
}

/// The bytes of the member with the record, and of those with the files.
fn control_of(bytes: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let mut rest = bytes;
    for _ in 0..MEMBERS_MAX {
        let mut first = [0; 6];
        // Only its first name is looked at before anything is proved.
        flate2::bufread::GzDecoder::new(rest).read_exact(&mut first)?;
        if &first == b".SIGN." {
            rest = member(rest, "signatures", SIGNATURE_BYTES_MAX)?.1;
            continue;
        }
        // Its end is where its content ends; what it says is read once it is proved.
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        let mut plain = Bounded::new(&mut decoder, "record", CONTROL_BYTES_MAX);
        io::copy(&mut plain, &mut io::sink())?;
        let data = decoder.into_inner();
        let control = rest.get(..rest.len() - data.len()).unwrap_or_default();
        return Ok((control, data));
    }
    Err(io::Error::other("it has too many signatures"))
}

/// The record and the scripts, and the SHA-256 of the files.
fn read_control(control: &[u8]) -> io::Result<(Apk, Option<String>)> {
    let (plain, _) = member(control, "record", CONTROL_BYTES_MAX)?;
    let mut archive = tar::Archive::new(plain.as_slice());
    let (mut apk, mut datahash, mut is_known) = (Apk::default(), None, false);
    for entry in archive.entries()?.take(ENTRIES_MAX) {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let content = read_bounded(&mut entry, "record", CONTROL_BYTES_MAX)?;
        if name == ".PKGINFO" {
            is_known = true;
            read_info(&content, &mut apk, &mut datahash);
        } else if let Some(kind) = name.strip_prefix('.').filter(|kind| SCRIPTS.contains(kind)) {
            apk.scripts.insert(kind.to_string(), content);
        }
    }
    if is_known { Ok((apk, datahash)) } else { Err(io::Error::other("it has no `.PKGINFO`")) }
}

fn read_info(content: &[u8], apk: &mut Apk, datahash: &mut Option<String>) {
    let text = String::from_utf8_lossy(content);
    let mut replaces = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((key, value)) = line.split_once(" = ") else { continue };
        let value = value.trim();
        match key {
            "pkgname" => apk.name = value.to_string(),
            "pkgver" => apk.version = value.to_string(),
            "replaces" => replaces.extend(value.split_whitespace().map(str::to_string)),
            "replaces_priority" => apk.replaces_priority = value.parse().ok().filter(|n| *n > 0),
            "triggers" => {
                apk.triggers = value.split_whitespace().map(str::to_string).collect();
            }
            "datahash" => *datahash = Some(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    apk.replaces = (!replaces.is_empty()).then(|| replaces.join(" "));
}

fn read_files(data: &[u8]) -> io::Result<Vec<ApkFile>> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let mut decoder = flate2::bufread::GzDecoder::new(data);
    let plain = Bounded::new(&mut decoder, "files of the package", DATA_BYTES_MAX);
    let mut archive = tar::Archive::new(plain);
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        if files.len() >= ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} files")));
        }
        files.extend(read_file(entry)?);
    }
    // To the end, so that all was of one member.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    if !decoder.into_inner().is_empty() {
        return Err(io::Error::other("more follows its files"));
    }
    Ok(files)
}

fn read_file(mut entry: tar::Entry<'_, impl Read>) -> io::Result<Option<ApkFile>> {
    let raw = entry.path_bytes().into_owned();
    let shown = String::from_utf8_lossy(&raw).into_owned();
    let odd = |what: &str| io::Error::other(format!("`{shown}` {what}"));
    // apk passes over what begins with a dot, in whatever member it is.
    if raw.first() == Some(&b'.') {
        return Ok(None);
    }
    let path = clean(&raw).ok_or_else(|| odd("is no path of a package"))?;
    let (mut stated, mut has_xattrs) = (None, false);
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            let key = record.key().unwrap_or_default();
            has_xattrs |= key.starts_with("SCHILY.xattr.");
            if key == "APK-TOOLS.checksum.SHA1" {
                let sum = hex::decode(record.value_bytes()).unwrap_or_default();
                let sum: [u8; 20] = sum.try_into().map_err(|_| odd("has a sum that is none"))?;
                stated = Some(sum);
            }
        }
    }
    let kind = match entry.header().entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => FileKind::Regular,
        tar::EntryType::Directory => FileKind::Folder,
        tar::EntryType::Symlink => FileKind::Symlink,
        tar::EntryType::Link => FileKind::HardLink,
        tar::EntryType::XGlobalHeader => return Ok(None),
        _ => return Err(odd("is a device, a pipe or of an unknown kind")),
    };
    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
    let link = match kind {
        FileKind::HardLink => clean(&target).ok_or_else(|| odd("links out of the package"))?,
        FileKind::Symlink => {
            String::from_utf8(target).map_err(|_| odd("has no readable target"))?
        }
        _ => String::new(),
    };
    let header = entry.header();
    let id = |id: u64| u32::try_from(id).map_err(|_| odd("has an owner out of range"));
    let (uid, gid) = (id(header.uid()?)?, id(header.gid()?)?);
    let (mode, mtime) = (header.mode()? & 0o7777, header.mtime()?);
    let text = |name: Result<Option<&str>, std::str::Utf8Error>| {
        name.ok().flatten().unwrap_or_default().to_string()
    };
    let owner = (text(header.username()), text(header.groupname()));
    let content = match kind {
        FileKind::Regular => read_bounded(&mut entry, "file", DATA_BYTES_MAX)?,
        _ => Vec::new(),
    };
    let is_false = match kind {
        FileKind::Regular => stated.is_some_and(|sum| sum != sha1(&content)),
        FileKind::Symlink => stated.is_some_and(|sum| sum != sha1(link.as_bytes())),
        _ => false,
    };
    if is_false {
        return Err(odd("is not what its sum says"));
    }
    let mtime = i64::try_from(mtime).map_err(|_| odd("has a time out of range"))?;
    let file = DebFile { path, kind, mode, uid, gid, mtime, link, content };
    Ok(Some(ApkFile { file, owner, sum: stated, has_xattrs }))
}

/// The path below the root; nothing for one that leaves it or that no database can hold.
fn clean(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let is_good = |part: &str| {
        let is_bad = matches!(part, "" | "." | "..") || part.starts_with(".wh.");
        !is_bad && !part.contains(|c: char| c.is_control())
    };
    path.split('/').all(is_good).then(|| path.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_within_the_root() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(clean(path.as_bytes()).as_deref(), expected, "{path}");
        };
        check("usr/bin/a", Some("usr/bin/a"));
        check("usr/", Some("usr"));
        check("/usr", None);
        check("usr/../..", None);
        check("usr//a", None);
        check("usr/.wh.a", None);
        check("usr/a\nb", None);
        check("", None);
    }

    #[test]
    fn sums_are_compared_by_their_kind() {
        let check = |sum: &str, expected: bool| assert_eq!(is_sum(b"", sum), expected, "{sum}");
        check("Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=", true);
        check("Q247DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", true);
        check("Q22jmj7l5rSw0yVb/vlWAYkK/YBwk=", false);
        check("Q1", false);
        check("é", false);
        check("", false);
    }
}

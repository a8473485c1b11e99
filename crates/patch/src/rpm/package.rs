//! Packages of RPM: a lead, a header with signatures, the header, the payload (RPM documentation,
//! "Package format"; `rpmtag.h`).
//!
//! The header is proved by its digest and by a signature of the image's keys; it has the digest of
//! the payload. The payload itself is not unpacked here.

use palisade_base::Timestamp;
use palisade_openpgp::OpenPgpError;
use palisade_packages::rpm::{ARCH, Header, NAME};
use ring::digest::{SHA256, SHA512, digest};

use base64::Engine as _;

use crate::PatchError;
use crate::signature::Keyring;

const LEAD_BYTES: usize = 96;
const LEAD_MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];
const HEADER_MAGIC: &[u8] = &[0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0];
/// Headers beyond this many bytes are refused (`hdrchkData`).
const HEADER_BYTES_MAX: usize = 256 << 20;
/// Signatures of one package that are tried.
const SIGNATURES_MAX: usize = 100;

// Of the header with signatures.
const SIG_DSA: u32 = 267;
const SIG_RSA: u32 = 268;
const SIG_SHA256: u32 = 273;
const SIG_OPENPGP: u32 = 278;
const SIG_PGP: u32 = 1002;
const SIG_GPG: u32 = 1005;
// Of the header.
const PAYLOAD_DIGEST: u32 = 5092;
const PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
const FILE_MODES: u32 = 1030;

/// Kinds of files in a mode (`stat.h`).
const KIND: u32 = 0o170_000;
const LINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;

/// A package, taken apart.
#[derive(Debug, Clone)]
pub struct Rpm<'b> {
    /// Name.
    pub name: String,
    /// `[EPOCH:]VERSION-RELEASE`.
    pub version: String,
    /// Architecture; `src` is none here.
    pub architecture: String,
    /// Paths with their modes.
    pub files: Vec<(String, u32)>,
    /// What the header says.
    pub header: Header<'b>,
    signatures: Header<'b>,
    /// The bytes of the header with its magic, which digest and signatures are of.
    header_bytes: &'b [u8],
    payload: &'b [u8],
}

/// A header on disk, its length with the magic, and its bytes.
fn header(bytes: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let blob = bytes.strip_prefix(HEADER_MAGIC)?;
    let (header, n_bytes) = Header::parse_prefix(blob)?;
    let n_bytes = n_bytes.checked_add(HEADER_MAGIC.len()).filter(|n| *n <= HEADER_BYTES_MAX)?;
    Some((header, bytes.get(..n_bytes)?))
}

/// Reads a package, and checks the digests that it has of itself. `name` is what errors call it.
pub fn read_rpm<'b>(bytes: &'b [u8], name: &str) -> Result<Rpm<'b>, PatchError> {
    let bad = |why: &str| PatchError::document(name, why);
    let rest = bytes.get(LEAD_BYTES..).filter(|_| bytes.starts_with(LEAD_MAGIC));
    let rest = rest.ok_or_else(|| bad("it does not begin as a package of RPM"))?;
    let (signatures, read) = header(rest).ok_or_else(|| bad("its signatures cannot be read"))?;
    // What follows is aligned to eight bytes.
    let rest = rest.get(read.len().next_multiple_of(8)..).unwrap_or_default();
    let (header, header_bytes) = header(rest).ok_or_else(|| bad("its header cannot be read"))?;
    let payload = rest.get(header_bytes.len()..).unwrap_or_default();
    let text = |tag: u32| header.text(tag).ok_or_else(|| bad("its header names no package"));
    let version = header.version().ok_or_else(|| bad("its header has no version"))?;
    let modes = header.numbers(FILE_MODES);
    let files = header.files();
    if files.len() != modes.len() {
        return Err(bad("its header does not say what its files are"));
    }
    let rpm = Rpm {
        name: text(NAME)?,
        version,
        architecture: text(ARCH)?,
        files: files.into_iter().zip(modes).collect(),
        header,
        signatures,
        header_bytes,
        payload,
    };
    if let Some(sum) = rpm.signatures.text(SIG_SHA256)
        && sum != hex::encode(digest(&SHA256, rpm.header_bytes))
    {
        return Err(PatchError::untrusted(name, "its header is not that of its digest"));
    }
    if rpm.payload_digest() == Some(false) {
        return Err(PatchError::untrusted(name, "its files are not those of their digest"));
    }
    Ok(rpm)
}

impl Rpm<'_> {
    /// Whether the payload is what the header says; nothing when it does not say.
    fn payload_digest(&self) -> Option<bool> {
        let sum = self.header.text(PAYLOAD_DIGEST)?;
        // RFC 9580, section 9.5.
        let algorithm = match self.header.number(PAYLOAD_DIGEST_ALGORITHM).unwrap_or(8) {
            8 => &SHA256,
            10 => &SHA512,
            _ => return None,
        };
        Some(sum == hex::encode(digest(algorithm, self.payload)))
    }

    /// The fingerprint of the key that signed the header, and by it the files, or both; else why
    /// none did.
    pub(crate) fn verify(&self, ring: &Keyring, now: Timestamp) -> Result<String, String> {
        let mut refused = OpenPgpError::NotSigned;
        let mut signatures: Vec<Vec<u8>> = [SIG_RSA, SIG_DSA]
            .iter()
            .filter_map(|tag| self.signatures.bytes(*tag).map(<[u8]>::to_vec))
            .collect();
        // Since RPM 6 they are texts.
        for text in self.signatures.texts(SIG_OPENPGP, SIGNATURES_MAX) {
            let text: String = text.split_whitespace().collect();
            signatures.extend(base64::engine::general_purpose::STANDARD.decode(text).ok());
        }
        let is_payload_proved = self.payload_digest() == Some(true);
        for signature in signatures.iter().filter(|_| is_payload_proved) {
            match ring.verify_bytes(self.header_bytes, signature, now) {
                Ok(key) => return Ok(key),
                Err(error) => refused = error,
            }
        }
        let whole = || [self.header_bytes, self.payload].concat();
        for signature in [SIG_PGP, SIG_GPG].iter().filter_map(|tag| self.signatures.bytes(*tag)) {
            match ring.verify_bytes(&whole(), signature, now) {
                Ok(key) => return Ok(key),
                Err(error) => refused = error,
            }
        }
        if refused == OpenPgpError::NotSigned {
            return Err("it is not signed".to_string());
        }
        ring.explain(Err(refused))
    }

    /// The first path that is a device, a pipe or a socket.
    pub(crate) fn odd_file(&self) -> Option<&str> {
        let is_odd = |mode: u32| !matches!(mode & KIND, LINK | REGULAR | FOLDER);
        self.files.iter().find(|(_, mode)| is_odd(*mode)).map(|(path, _)| path.as_str())
    }

    /// Files and links, without folders.
    pub(crate) fn n_files(&self) -> u64 {
        self.files.iter().filter(|(_, mode)| mode & KIND != FOLDER).count() as u64
    }
}

//! The layout of the database file, shared by its writer and its reader.
//!
//! ```text
//! header      128 bytes: magic, version, times, counts, offsets, digests of directory and
//!             metadata
//! blocks      sorted (key, value) pairs, deflated, some 16 KiB each before compression
//! directory   first key, offset, sizes and SHA-256 of every block
//! metadata    JSON: feeds and ecosystems
//! trailer     128 bytes: SHA-256 of the header, key identifier, Ed25519 signature
//! ```
//!
//! All numbers are little endian. The digests form a tree: the header's covers the directory,
//! the directory's cover the blocks, so that one signature over the header proves every answer
//! and nothing need be read that is not asked for.
//!
//! A reader holds the directory in memory and reads one block for a look-up with `pread(2)`.
//! The file is *not* memory-mapped: a mapping needs unsafe code in this crate, and a file that
//! is truncated while mapped kills its reader with `SIGBUS` where `pread` gives an error.

use sha2::Digest as _;

/// First bytes of every database.
pub(crate) const MAGIC: [u8; 8] = *b"PALADVDB";
/// Version of the layout. A reader refuses every other.
pub(crate) const VERSION: u32 = 2;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 128;
/// Bytes of the trailer.
pub(crate) const TRAILER_BYTES: usize = 128;
/// The size that blocks have on average, before compression.
pub(crate) const BLOCK_BYTES_TARGET: usize = 16 << 10;
/// A block is not closed before it has this many bytes.
pub(crate) const BLOCK_BYTES_MIN: usize = 2 << 10;
/// A block is closed when it has grown to this many bytes.
pub(crate) const BLOCK_BYTES_CLOSE: usize = 64 << 10;
/// A block beyond this many bytes is damage: one package does not have so many advisories.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 << 20;
/// A database beyond this many bytes is refused.
pub const DATABASE_BYTES_MAX: u64 = 1 << 30;
/// The directory beyond this many bytes is damage.
pub(crate) const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// The metadata beyond this many bytes is damage.
pub(crate) const METADATA_BYTES_MAX: u64 = 1 << 20;

/// A SHA-256.
pub(crate) type Sha256 = [u8; 32];

/// The SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Sha256 {
    sha2::Sha256::digest(bytes).into()
}

/// Whether a block that holds `n_block` bytes ends after the pair of `n_pair` bytes with `key`.
///
/// The place depends on the pair alone, as often as makes the average size: what is added or
/// removed changes its own block and leaves the others as they were, which is what makes deltas
/// small.
pub(crate) fn ends_block(n_block: usize, n_pair: usize, key: &[u8]) -> bool {
    let share = u64::from(u32::MAX) * n_pair as u64 / BLOCK_BYTES_TARGET as u64;
    n_block >= BLOCK_BYTES_CLOSE || (n_block >= BLOCK_BYTES_MIN && u64::from(crc32(key)) <= share)
}

/// Key of the advisories of one package.
pub(crate) fn package_key(ecosystem: &str, package: &str) -> Vec<u8> {
    key(b"a", &[ecosystem, package])
}

/// Key of the packages that an identifier concerns.
pub(crate) fn id_key(id: &str) -> Vec<u8> {
    key(b"i", &[id])
}

/// Key that exists when CISA lists the identifier as exploited.
pub(crate) fn exploited_key(id: &str) -> Vec<u8> {
    key(b"k", &[id])
}

/// Key of the EPSS score of an identifier.
pub(crate) fn epss_key(id: &str) -> Vec<u8> {
    key(b"e", &[id])
}

fn key(space: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut key = space.to_vec();
    for part in parts {
        key.push(0);
        key.extend_from_slice(part.as_bytes());
    }
    key
}

/// The fields of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Time of the newest data, in nanoseconds since the epoch.
    pub(crate) built_nanos: u64,
    /// Advisories in the file.
    pub(crate) n_records: u64,
    /// Where the directory starts.
    pub(crate) directory_offset: u64,
    /// Bytes of the directory.
    pub(crate) directory_bytes: u64,
    /// Bytes of the metadata; they follow the directory.
    pub(crate) metadata_bytes: u64,
    /// SHA-256 of the directory.
    pub(crate) directory_digest: Sha256,
    /// SHA-256 of the metadata.
    pub(crate) metadata_digest: Sha256,
}

impl Header {
    /// The bytes.
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0_u8; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        let fields = [
            self.built_nanos,
            self.n_records,
            self.directory_offset,
            self.directory_bytes,
            self.metadata_bytes,
        ];
        for (i, field) in fields.iter().enumerate() {
            out[16 + 8 * i..24 + 8 * i].copy_from_slice(&field.to_le_bytes());
        }
        out[64..96].copy_from_slice(&self.directory_digest);
        out[96..].copy_from_slice(&self.metadata_digest);
        out
    }

    /// Reads the bytes. Whether they are whole is for the trailer to say.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let field = |i: usize| {
            let mut value = [0_u8; 8];
            value.copy_from_slice(&bytes[16 + 8 * i..24 + 8 * i]);
            u64::from_le_bytes(value)
        };
        let digest = |at: usize| {
            let mut value = [0_u8; 32];
            value.copy_from_slice(&bytes[at..at + 32]);
            value
        };
        Ok(Self {
            built_nanos: field(0),
            n_records: field(1),
            directory_offset: field(2),
            directory_bytes: field(3),
            metadata_bytes: field(4),
            directory_digest: digest(64),
            metadata_digest: digest(96),
        })
    }

    /// The size that a file with this header must have, if the numbers make sense at all.
    pub(crate) fn file_bytes(&self) -> Option<u64> {
        if self.directory_bytes > DIRECTORY_BYTES_MAX || self.metadata_bytes > METADATA_BYTES_MAX {
            return None;
        }
        self.directory_offset
            .checked_add(self.directory_bytes)?
            .checked_add(self.metadata_bytes)?
            .checked_add(TRAILER_BYTES as u64)
    }
}

/// Who signed a database, and how. The message is [`Signature::message`] of the header's digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// SHA-256 of the public key's 32 bytes.
    pub key: [u8; 32],
    /// Ed25519 (RFC 8032).
    pub signature: [u8; 64],
}

impl Signature {
    /// What is signed for the database with this digest. The words in front keep a signature
    /// of one thing from being one of another.
    pub fn message(digest: &[u8; 32]) -> Vec<u8> {
        [&b"palisade advisory database\0"[..], digest].concat()
    }
}

/// The last bytes of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// SHA-256 of the header: the root of the tree of digests.
    pub(crate) root: Sha256,
    /// The signature, if there is one.
    pub(crate) signature: Option<Signature>,
}

impl Trailer {
    pub(crate) fn encode(&self) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..32].copy_from_slice(&self.root);
        if let Some(signature) = &self.signature {
            out[32..64].copy_from_slice(&signature.key);
            out[64..].copy_from_slice(&signature.signature);
        }
        out
    }

    /// Reads the bytes; none where the place of a key is filled and that of its signature is
    /// not, or the other way round. No key has the digest zero, and no signature is zero, so
    /// that a changed byte does not make a signed file of an unsigned one.
    pub(crate) fn decode(bytes: &[u8; TRAILER_BYTES]) -> Option<Self> {
        let (mut root, mut key, mut signature) = ([0; 32], [0; 32], [0; 64]);
        root.copy_from_slice(&bytes[..32]);
        key.copy_from_slice(&bytes[32..64]);
        signature.copy_from_slice(&bytes[64..]);
        let signature = match (key == [0; 32], signature == [0; 64]) {
            (true, true) => None,
            (false, false) => Some(Signature { key, signature }),
            _ => return None,
        };
        Some(Self { root, signature })
    }
}

/// Why the bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Not a database at all.
    Magic,
    /// Another version of the layout.
    Version(u32),
}

/// CRC-32 (ISO-HDLC) of `bytes`: finds damage, proves nothing about origin.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

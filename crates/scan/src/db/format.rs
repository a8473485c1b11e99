//! The layout of the database file, shared by its writer and its reader.
//!
//! ```text
//! header      64 bytes: magic, version, build time, record count, offsets, CRC-32 of itself
//! blocks      sorted (key, value) pairs, deflated, some 16 KiB each before compression
//! directory   first key, offset, sizes and CRC-32 of every block; CRC-32 of itself
//! metadata    JSON: feeds and ecosystems; CRC-32 of itself
//! trailer     32 bytes: SHA-256 of everything before
//! ```
//!
//! All numbers are little endian. A reader holds the directory in memory and reads one
//! block for a look-up with `pread(2)`. The file is *not* memory-mapped: a mapping needs
//! unsafe code in this crate, and a file that is truncated while mapped kills its reader
//! with `SIGBUS` where `pread` gives an error.

/// First bytes of every database.
pub(crate) const MAGIC: [u8; 8] = *b"PALADVDB";
/// Version of the layout. A reader refuses every other.
pub(crate) const VERSION: u32 = 1;
/// Bytes of the header.
pub(crate) const HEADER_BYTES: usize = 64;
/// Bytes of the trailer.
pub(crate) const TRAILER_BYTES: usize = 32;
/// A block is closed when it has grown to this many bytes.
pub(crate) const BLOCK_BYTES_TARGET: usize = 16 << 10;
/// A block beyond this many bytes is damage: one package does not have so many advisories.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 << 20;
/// A database beyond this many bytes is refused.
pub const DATABASE_BYTES_MAX: u64 = 1 << 30;
/// The directory beyond this many bytes is damage.
pub(crate) const DIRECTORY_BYTES_MAX: u64 = 64 << 20;
/// The metadata beyond this many bytes is damage.
pub(crate) const METADATA_BYTES_MAX: u64 = 1 << 20;

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
    /// Bytes of the directory, its CRC included.
    pub(crate) directory_bytes: u64,
    /// Bytes of the metadata, its CRC included; they follow the directory.
    pub(crate) metadata_bytes: u64,
}

impl Header {
    /// The 64 bytes.
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
        let sum = crc32(&out[..60]);
        out[60..].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads the 64 bytes.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        if crc32(&bytes[..60]).to_le_bytes() != bytes[60..] {
            return Err(HeaderError::Checksum);
        }
        let field = |i: usize| {
            let mut value = [0_u8; 8];
            value.copy_from_slice(&bytes[16 + 8 * i..24 + 8 * i]);
            u64::from_le_bytes(value)
        };
        Ok(Self {
            built_nanos: field(0),
            n_records: field(1),
            directory_offset: field(2),
            directory_bytes: field(3),
            metadata_bytes: field(4),
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

/// Why 64 bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// Not a database at all.
    Magic,
    /// Another version of the layout.
    Version(u32),
    /// Damaged.
    Checksum,
}

/// CRC-32 (ISO-HDLC) of `bytes`: finds damage, proves nothing about origin.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

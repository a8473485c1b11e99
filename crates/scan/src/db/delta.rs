//! The difference between two databases as a file: the blocks that the older one lacks.
//!
//! ```text
//! magic       8 bytes `PALADVDL`, u32 version, u32 zero
//! base        32 bytes: digest of the database to which it applies
//! header, trailer of the newer database, 128 bytes each
//! directory, metadata of the newer database, as they lie in it
//! blocks      one after another, compressed, in the order of the directory
//! digest      32 bytes: SHA-256 of everything before
//! ```
//!
//! What comes of it is the newer file, byte for byte, with its signature.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Explain};

use super::directory::Directory;
use super::format::{self, HEADER_BYTES, Header, Sha256, TRAILER_BYTES, Trailer};
use super::{DATABASE_BYTES_MAX, Database, ReadDatabaseError};

const MAGIC: [u8; 8] = *b"PALADVDL";
/// Version of the layout of deltas.
const VERSION: u32 = 1;
const PREFIX_BYTES: usize = 16;
const DIGEST_BYTES: usize = 32;

/// Why a delta could not be made or applied. The database stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum DeltaError {
    /// The bytes are something else.
    #[error("`{0}` is not a delta of an advisory database")]
    NotADelta(PathBuf),
    /// Written by another release.
    #[error("delta `{path}` has format version {found}, this release reads {VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Damaged, and where.
    #[error("delta `{path}` is damaged: {part}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        part: &'static str,
    },
    /// It belongs to another database.
    #[error("delta `{path}` applies to database {base}, not to {found}")]
    OtherBase {
        /// The file.
        path: PathBuf,
        /// The database to which it applies.
        base: Digest,
        /// The database that is there.
        found: Digest,
    },
    /// A database could not be read.
    #[error(transparent)]
    Database(#[from] ReadDatabaseError),
}

impl Explain for DeltaError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotADelta(_) => "name a file that `palisade db export --since` wrote".into(),
            Self::Version { .. } | Self::Damaged { .. } | Self::OtherBase { .. } => {
                "fetch the whole database instead; the one that is there was not touched".into()
            }
            Self::Database(error) => return error.hint(),
        })
    }
}

/// Whether `bytes` begin as a delta does.
pub fn is_delta(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The difference from `older` to `newer`.
pub fn between(older: &Database, newer: &Database) -> Result<Vec<u8>, ReadDatabaseError> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&older.trailer.root);
    out.extend_from_slice(&newer.header.encode());
    out.extend_from_slice(&newer.trailer.encode());
    out.extend_from_slice(newer.directory.bytes());
    out.extend_from_slice(&newer.metadata_bytes()?);
    let known = older.block_digests()?;
    for index in 0..newer.directory.len() {
        let nonsense = |_| newer.damaged("its directory makes no sense");
        let block = newer.directory.block(index).map_err(nonsense)?;
        if !known.contains(&block.digest) {
            out.extend_from_slice(&newer.packed(&block)?);
        }
    }
    let digest = format::sha256(&out);
    out.extend_from_slice(&digest);
    Ok(out)
}

/// The newer file, from `older` and the delta `bytes`, which came from `path`.
pub fn apply(older: &Database, bytes: &[u8], path: &Path) -> Result<Vec<u8>, DeltaError> {
    let damaged = |part| DeltaError::Damaged { path: path.to_path_buf(), part };
    let short = || damaged("it is too short");
    let (prefix, rest) = bytes
        .split_first_chunk::<PREFIX_BYTES>()
        .filter(|(prefix, _)| is_delta(*prefix))
        .ok_or_else(|| DeltaError::NotADelta(path.to_path_buf()))?;
    let found = u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
    if found != VERSION {
        return Err(DeltaError::Version { path: path.to_path_buf(), found });
    }
    let (_, digest) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or_else(short)?;
    let body = bytes.get(..bytes.len() - DIGEST_BYTES).unwrap_or_default();
    if format::sha256(body) != *digest {
        return Err(damaged("its contents do not match its digest"));
    }
    let rest = rest.get(..rest.len().saturating_sub(DIGEST_BYTES)).unwrap_or_default();
    let (base, rest) = rest.split_first_chunk::<DIGEST_BYTES>().ok_or_else(short)?;
    if *base != older.trailer.root {
        return Err(DeltaError::OtherBase {
            path: path.to_path_buf(),
            base: Digest::from_bytes(*base),
            found: older.digest(),
        });
    }
    let (header_bytes, rest) = rest.split_first_chunk::<HEADER_BYTES>().ok_or_else(short)?;
    let (trailer_bytes, rest) = rest.split_first_chunk::<TRAILER_BYTES>().ok_or_else(short)?;
    let header = Header::decode(header_bytes).map_err(|_| damaged("its header makes no sense"))?;
    let trailer =
        Trailer::decode(trailer_bytes).ok_or_else(|| damaged("its trailer makes no sense"))?;
    if format::sha256(header_bytes) != trailer.root {
        return Err(damaged("its header does not match its digest"));
    }
    let n_file = header.file_bytes().filter(|n| *n <= DATABASE_BYTES_MAX);
    n_file.ok_or_else(|| damaged("its header makes no sense"))?;
    let split = |bytes: &'_ [u8], n: u64| -> Option<usize> {
        usize::try_from(n).ok().filter(|n| *n <= bytes.len())
    };
    let n = split(rest, header.directory_bytes).ok_or_else(short)?;
    let (directory_bytes, rest) = rest.split_at(n);
    let n = split(rest, header.metadata_bytes).ok_or_else(short)?;
    let (metadata, blocks) = rest.split_at(n);
    let directory = Directory::new(directory_bytes.to_vec(), header.directory_offset)
        .map_err(|_| damaged("its directory makes no sense"))?;
    let mut out = header_bytes.to_vec();
    put_blocks(&mut out, older, &directory, blocks).map_err(|error| match error {
        PutError::Nonsense(part) => damaged(part),
        PutError::Read(error) => error.into(),
    })?;
    if out.len() as u64 != header.directory_offset {
        return Err(damaged("its blocks have another size than its header says"));
    }
    out.extend_from_slice(directory_bytes);
    out.extend_from_slice(metadata);
    out.extend_from_slice(trailer_bytes);
    Ok(out)
}

enum PutError {
    Nonsense(&'static str),
    Read(ReadDatabaseError),
}

/// Appends every block of `directory`: from the delta's `blocks` or from the older file.
fn put_blocks(
    out: &mut Vec<u8>,
    older: &Database,
    directory: &Directory,
    mut blocks: &[u8],
) -> Result<(), PutError> {
    let nonsense = |_| PutError::Nonsense("its directory makes no sense");
    let mut known: HashMap<Sha256, super::directory::Block> = HashMap::new();
    for index in 0..older.directory.len() {
        let block = older
            .directory
            .block(index)
            .map_err(|_| PutError::Read(older.damaged("its directory makes no sense")))?;
        known.insert(block.digest, block);
    }
    for index in 0..directory.len() {
        let block = directory.block(index).map_err(nonsense)?;
        if block.offset != out.len() as u64 {
            return Err(PutError::Nonsense("its blocks do not follow one another"));
        }
        if let Some(ours) = known.get(&block.digest) {
            out.extend_from_slice(&older.packed(ours).map_err(PutError::Read)?);
        } else {
            let (packed, rest) = blocks
                .split_at_checked(block.n_packed)
                .ok_or(PutError::Nonsense("a block is missing"))?;
            if format::sha256(packed) != block.digest {
                return Err(PutError::Nonsense("a block does not match its digest"));
            }
            out.extend_from_slice(packed);
            blocks = rest;
        }
    }
    if blocks.is_empty() { Ok(()) } else { Err(PutError::Nonsense("it has blocks too many")) }
}

impl Database {
    fn metadata_bytes(&self) -> Result<Vec<u8>, ReadDatabaseError> {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; usize::try_from(self.header.metadata_bytes).unwrap_or(0)];
        let offset = self.header.directory_offset + self.header.directory_bytes;
        let error = |source: io::Error| ReadDatabaseError::Io { path: self.path.clone(), source };
        self.file.read_exact_at(&mut bytes, offset).map_err(error)?;
        Ok(bytes)
    }
}

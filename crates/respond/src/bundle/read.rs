//! Verifying, listing and extracting a bundle.
//!
//! The reader is strict: the bytes must be exactly those that the writer writes for the
//! manifest. Nothing is extracted from a bundle that does not verify.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use palisade_base::{Digest, DigestReader, Explain, read_bounded};

use crate::age::{self, AgeError, AgeReader};

use super::{
    ITEMS_MAX, Item, MANIFEST_BYTES_MAX, MANIFEST_DIGEST_NAME, MANIFEST_NAME, MANIFEST_SCHEMA,
    Manifest, Opening, SIGNATURE_BYTES_MAX, SIGNATURE_NAME, seal_items, tar,
};

/// Why a bundle is not believed.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("read evidence bundle `{path}`")]
    Io {
        /// The bundle.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It is encrypted, and cannot be opened.
    #[error("open evidence bundle `{path}`")]
    Sealed {
        /// The bundle.
        path: PathBuf,
        /// The reason.
        source: AgeError,
    },
    /// The bytes are not those of a bundle.
    #[error("evidence bundle is damaged at byte {offset}: {reason}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// An item is not what the manifest says.
    #[error("evidence item `{path}` is not what the manifest says: {reason}")]
    Item {
        /// The item.
        path: String,
        /// What differs.
        reason: &'static str,
    },
    /// The manifest contradicts itself.
    #[error("evidence manifest is not consistent: {0}")]
    Manifest(String),
    /// A signature was demanded and there is none.
    #[error("evidence bundle is not signed")]
    Unsigned,
    /// The signature does not fit.
    #[error("signature of the evidence manifest is not valid")]
    Signature(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The destination of an extraction cannot be written.
    #[error("extract evidence to `{path}`")]
    Extract {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Explain for BundleError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { .. } | Self::Item { .. } | Self::Manifest(_) | Self::Signature(_) => {
                Some(
                    "do not rely on this bundle; take the original from where it was collected"
                        .into(),
                )
            }
            Self::Unsigned => Some("verify without a key to check its integrity alone".into()),
            Self::Extract { .. } => Some("choose a folder that does not exist yet".into()),
            Self::Sealed { source, .. } => source.hint(),
            Self::Io { .. } => None,
        }
    }
}

/// What vouches for a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// A signature that the given verifier accepted.
    Signed,
    /// A signature that was not checked, because no verifier was given.
    SignatureUnchecked,
    /// Only the digest in the bundle itself: accidents are found, forgery is not.
    Unsigned,
}

/// A bundle that is whole.
#[derive(Debug)]
pub struct Verified {
    /// Its manifest.
    pub manifest: Manifest,
    /// What vouches for it.
    pub seal: Seal,
    /// Digest of the manifest's bytes.
    pub manifest_sha256: Digest,
    /// Size of the whole bundle in bytes.
    pub n_bytes: u64,
}

/// What an extraction wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractReport {
    /// Files written.
    pub n_files: u64,
    /// Bytes in them.
    pub n_bytes: u64,
}

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 18;

/// Whether the file at `path` is encrypted. Nothing of it is proved by that.
pub fn is_encrypted(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(age::MAGIC.len() as u64).read_to_end(&mut begin)?;
    Ok(begin == age::MAGIC)
}

/// Checks every bit of the bundle at `path`. With a verifier, a signature is demanded.
pub fn verify(path: &Path, opening: Opening<'_>) -> Result<Verified, BundleError> {
    let mut ignore = |_: &Found, _: &mut dyn Read| Ok(());
    Scanner::open(path, opening)?.run(opening, &mut ignore)
}

/// As [`verify`], for a bundle that comes from a stream; `name` is used in messages.
pub fn verify_stream(
    reader: impl Read,
    name: &Path,
    opening: Opening<'_>,
) -> Result<Verified, BundleError> {
    let mut ignore = |_: &Found, _: &mut dyn Read| Ok(());
    let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
    Scanner::new(reader, name, opening)?.run(opening, &mut ignore)
}

/// Takes an item: its name, its size, its content.
pub type OnItem<'a> = &'a mut dyn FnMut(&str, u64, &mut dyn Read) -> io::Result<()>;

/// As [`verify`], and passes each item to `on_item` on the way. What it was told counts only when
/// the whole bundle verified.
pub fn visit(
    path: &Path,
    opening: Opening<'_>,
    on_item: OnItem<'_>,
) -> Result<Verified, BundleError> {
    let mut pass = |found: &Found, content: &mut dyn Read| {
        let failed = |source| read_error(path, source);
        on_item(&found.name, found.size, content).map_err(failed)
    };
    Scanner::open(path, opening)?.run(opening, &mut pass)
}

/// The items of the bundle at `path`, checked as [`verify`] without a key does.
pub fn list(path: &Path) -> Result<Vec<Item>, BundleError> {
    Ok(verify(path, Opening::default())?.manifest.items)
}

/// Verifies the bundle at `path` and writes its items and manifest below `folder`, which
/// must not exist: nothing that is there can redirect or receive a write.
pub fn extract(
    path: &Path,
    opening: Opening<'_>,
    folder: &Path,
) -> Result<ExtractReport, BundleError> {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    verify(path, opening)?;
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| BundleError::Extract { path, source }
    };
    std::fs::DirBuilder::new().mode(0o700).create(folder).map_err(failed(folder))?;
    let mut report = ExtractReport { n_files: 0, n_bytes: 0 };
    let mut write = |found: &Found, content: &mut dyn Read| {
        let target = folder.join(&found.name);
        if let Some(parent) = target.parent() {
            std::fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(parent)
                .map_err(failed(parent))?;
        }
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(&target)
            .map_err(failed(&target))?;
        let n = io::copy(content, &mut file).map_err(failed(&target))?;
        report.n_files += 1;
        report.n_bytes += n;
        Ok(())
    };
    // Read and checked once more on the way: the file may have changed since.
    Scanner::open(path, opening)?.run(opening, &mut write)?;
    Ok(report)
}

/// An entry as the tar says.
struct Found {
    name: String,
    size: u64,
    mtime: u64,
    sha256: Digest,
}

type OnEntry<'a> = &'a mut dyn FnMut(&Found, &mut dyn Read) -> Result<(), BundleError>;

/// A bundle in the clear, or opened while it is read.
enum Source<R> {
    Clear(R),
    Sealed(Box<AgeReader<R>>),
}

impl<R: BufRead> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(reader) => reader.read(buffer),
            Self::Sealed(reader) => reader.read(buffer),
        }
    }
}

struct Scanner<R> {
    reader: Source<R>,
    path: PathBuf,
    offset: u64,
}

/// What became of reading `path`.
fn read_error(path: &Path, source: io::Error) -> BundleError {
    let path = path.to_path_buf();
    match source.get_ref().and_then(|inner| inner.downcast_ref::<AgeError>()) {
        Some(error) => BundleError::Sealed { path, source: error.clone() },
        None => BundleError::Io { path, source },
    }
}

impl Scanner<BufReader<File>> {
    fn open(path: &Path, opening: Opening<'_>) -> Result<Self, BundleError> {
        let file = File::open(path)
            .map_err(|source| BundleError::Io { path: path.to_path_buf(), source })?;
        Self::new(BufReader::with_capacity(BUFFER_BYTES, file), path, opening)
    }
}

impl<R: BufRead> Scanner<R> {
    fn new(mut reader: R, path: &Path, opening: Opening<'_>) -> Result<Self, BundleError> {
        let failed = |source| read_error(path, source);
        let begin = reader.fill_buf().map_err(failed)?;
        let reader = if begin.starts_with(age::MAGIC) {
            let opened = AgeReader::new(reader, opening.identities).map_err(failed)?;
            Source::Sealed(Box::new(opened))
        } else {
            Source::Clear(reader)
        };
        Ok(Self { reader, path: path.to_path_buf(), offset: 0 })
    }

    fn run(mut self, opening: Opening<'_>, on_entry: OnEntry<'_>) -> Result<Verified, BundleError> {
        let mut found = Vec::new();
        let manifest_entry = loop {
            let Some((name, size, mtime)) = self.header()? else {
                return Err(self.damaged("the manifest is missing"));
            };
            if name == MANIFEST_NAME {
                break (size, mtime);
            }
            if found.len() >= ITEMS_MAX {
                return Err(self.damaged("there are too many items"));
            }
            found.push(self.item(name, size, mtime, on_entry)?);
        };
        let (manifest, bytes) = self.manifest(manifest_entry.0)?;
        let manifest_sha256 = Digest::of(&bytes);
        let mut entry = Found {
            name: MANIFEST_NAME.into(),
            size: bytes.len() as u64,
            mtime: manifest_entry.1,
            sha256: manifest_sha256,
        };
        on_entry(&entry, &mut &bytes[..])?;
        let signature = self.seal(&manifest, &manifest_sha256, &mut entry, on_entry)?;
        check_items(&manifest, &found)?;
        let seal = match (&signature, opening.verifier) {
            (Some(signature), Some(verify)) => {
                verify(&bytes, signature).map_err(BundleError::Signature)?;
                Seal::Signed
            }
            (Some(_), None) => Seal::SignatureUnchecked,
            (None, Some(_)) => return Err(BundleError::Unsigned),
            (None, None) => Seal::Unsigned,
        };
        Ok(Verified { manifest, seal, manifest_sha256, n_bytes: self.offset })
    }

    /// Reads one item's content past `on_entry`.
    fn item(
        &mut self,
        name: String,
        size: u64,
        mtime: u64,
        on_entry: OnEntry<'_>,
    ) -> Result<Found, BundleError> {
        let mut found = Found { name, size, mtime, sha256: Digest::from_bytes([0; 32]) };
        let mut content = DigestReader::new((&mut self.reader).take(size));
        on_entry(&found, &mut content)?;
        io::copy(&mut content, &mut io::sink()).map_err(|source| read_error(&self.path, source))?;
        let (sha256, n) = content.finish();
        self.offset += n;
        if n != size {
            return Err(self.damaged("the file ends within an item"));
        }
        self.padding(size)?;
        found.sha256 = sha256;
        Ok(found)
    }

    fn manifest(&mut self, size: u64) -> Result<(Manifest, Vec<u8>), BundleError> {
        if size > MANIFEST_BYTES_MAX {
            return Err(self.damaged("the manifest is too large"));
        }
        let bytes = self.small(size)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|error| BundleError::Manifest(error.to_string()))?;
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(BundleError::Manifest(format!("unknown schema `{}`", manifest.schema)));
        }
        Ok((manifest, bytes))
    }

    /// Reads what follows the manifest: its digest, the signature, the end of the tar.
    fn seal(
        &mut self,
        manifest: &Manifest,
        digest: &Digest,
        entry: &mut Found,
        on_entry: OnEntry<'_>,
    ) -> Result<Option<Vec<u8>>, BundleError> {
        let seconds = manifest.ended.as_nanos() / 1_000_000_000;
        if entry.mtime != seconds {
            return Err(self.damaged("the manifest's time is not its own"));
        }
        match self.header()? {
            Some((name, 64, mtime)) if name == MANIFEST_DIGEST_NAME && mtime == seconds => {}
            _ => return Err(self.damaged("the manifest's digest is missing")),
        }
        if self.small(64)? != digest.hex().as_bytes() {
            return Err(BundleError::Manifest("its digest is another".into()));
        }
        let Some((name, size, mtime)) = self.header()? else {
            self.end()?;
            return Ok(None);
        };
        if name != SIGNATURE_NAME || mtime != seconds || size > SIGNATURE_BYTES_MAX {
            return Err(self.damaged("an entry follows the manifest that does not belong there"));
        }
        let signature = self.small(size)?;
        entry.name = name;
        entry.size = size;
        on_entry(entry, &mut &signature[..])?;
        if self.header()?.is_some() {
            return Err(self.damaged("an entry follows the signature"));
        }
        self.end()?;
        Ok(Some(signature))
    }

    /// The next entry's name, size and time, or nothing at the first closing block.
    fn header(&mut self) -> Result<Option<(String, u64, u64)>, BundleError> {
        let mut block = [0_u8; tar::BLOCK];
        self.exact(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let at = self.offset - tar::BLOCK as u64;
        let (name, size, mtime) = tar::parse(&block).ok_or_else(|| BundleError::Damaged {
            offset: at,
            reason: "the entry's header is not one of a bundle".into(),
        })?;
        if !tar::is_safe_name(&name) {
            return Err(BundleError::Damaged { offset: at, reason: "unsafe entry name".into() });
        }
        Ok(Some((name, size, mtime)))
    }

    /// Reads an entry that fits in memory, and its padding.
    fn small(&mut self, size: u64) -> Result<Vec<u8>, BundleError> {
        let bytes = read_bounded((&mut self.reader).take(size), "entry", MANIFEST_BYTES_MAX)
            .map_err(|source| read_error(&self.path, source))?;
        self.offset += bytes.len() as u64;
        if bytes.len() as u64 != size {
            return Err(self.damaged("the file ends within an entry"));
        }
        self.padding(size)?;
        Ok(bytes)
    }

    fn padding(&mut self, size: u64) -> Result<(), BundleError> {
        let mut block = [0_u8; tar::BLOCK];
        let padding = &mut block[..tar::padding(size)];
        self.exact(padding)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(self.damaged("padding is not zero"));
        }
        Ok(())
    }

    /// Reads the second closing block, after which nothing may follow.
    fn end(&mut self) -> Result<(), BundleError> {
        let mut block = [0_u8; tar::BLOCK];
        self.exact(&mut block)?;
        if block.iter().any(|byte| *byte != 0) {
            return Err(self.damaged("the closing block is not zero"));
        }
        let mut probe = [0_u8; 1];
        match self.reader.read(&mut probe) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("bytes follow the end")),
            Err(source) => Err(read_error(&self.path, source)),
        }
    }

    fn exact(&mut self, buffer: &mut [u8]) -> Result<(), BundleError> {
        match self.reader.read_exact(buffer) {
            Ok(()) => {
                self.offset += buffer.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged("the file ends early"))
            }
            Err(source) => Err(read_error(&self.path, source)),
        }
    }

    fn damaged(&self, reason: &str) -> BundleError {
        BundleError::Damaged { offset: self.offset, reason: reason.into() }
    }
}

/// Whether the entries found are exactly the manifest's items, and chain and tree fit.
fn check_items(manifest: &Manifest, found: &[Found]) -> Result<(), BundleError> {
    if manifest.items.len() != found.len() {
        return Err(BundleError::Manifest(format!(
            "it lists {} items and the bundle holds {}",
            manifest.items.len(),
            found.len()
        )));
    }
    for (item, found) in manifest.items.iter().zip(found) {
        let reason = if item.path != found.name {
            "another item stands in its place"
        } else if item.size != found.size {
            "its size differs"
        } else if item.time.as_nanos() / 1_000_000_000 != found.mtime {
            "its time differs"
        } else if item.sha256 != found.sha256 {
            "its content differs"
        } else {
            continue;
        };
        return Err(BundleError::Item { path: item.path.clone(), reason });
    }
    let (chain, root) = seal_items(&manifest.items);
    if chain != manifest.chain {
        return Err(BundleError::Manifest("the hash chain ends elsewhere".into()));
    }
    if root != manifest.merkle_root {
        return Err(BundleError::Manifest("the Merkle root is another".into()));
    }
    Ok(())
}

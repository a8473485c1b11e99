//! Writing a bundle, item by item.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use palisade_base::{Digest, DigestReader, Explain, Timestamp};

use super::{
    CaseFacts, GAPS_MAX, Gap, ITEMS_MAX, Item, MANIFEST_DIGEST_NAME, MANIFEST_NAME,
    MANIFEST_SCHEMA, Manifest, SIGNATURE_NAME, Signer, seal_items, tar,
};

/// Why a bundle could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error("write evidence bundle `{path}`")]
    Io {
        /// The bundle.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// A bound of the format was reached.
    #[error("evidence bundle holds {ITEMS_MAX} items already")]
    TooManyItems,
    /// The signer refused.
    #[error("sign the evidence manifest")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The manifest does not serialise.
    #[error("write the evidence manifest")]
    Manifest(#[source] serde_json::Error),
}

impl Explain for WriteError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("free space in the evidence folder, or choose another one".into())
            }
            Self::Io { .. } => Some("check that the evidence folder exists and is writable".into()),
            Self::Sign(_) => Some("check the signing key".into()),
            Self::TooManyItems | Self::Manifest(_) => None,
        }
    }
}

/// What became of one item whose source may end or fail while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Bytes stored.
    pub n_bytes: u64,
    /// Their digest.
    pub sha256: Digest,
}

/// A bundle being written.
#[derive(Debug)]
pub struct BundleWriter {
    out: BufWriter<File>,
    path: PathBuf,
    partial: PathBuf,
    case: CaseFacts,
    items: Vec<Item>,
    gaps: Vec<Gap>,
    n_gaps_unlisted: u64,
    n_bytes: u64,
    done: bool,
}

impl BundleWriter {
    /// Starts the bundle `path`; what is written so far lies beside it as `NAME.partial`.
    pub fn create(path: &Path, case: CaseFacts) -> Result<Self, WriteError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let failed = |source| WriteError::Io { path: partial.clone(), source };
        // A partial bundle of an earlier run that was killed is of no use.
        match std::fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = File::options()
            .write(true)
            .read(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(failed)?;
        Ok(Self {
            out: BufWriter::with_capacity(1 << 18, file),
            path: path.to_path_buf(),
            partial,
            case,
            items: Vec::new(),
            gaps: Vec::new(),
            n_gaps_unlisted: 0,
            n_bytes: 0,
            done: false,
        })
    }

    /// Bytes written so far.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Items stored so far.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The case as it will be written; the collector may correct it until the end.
    pub fn case_mut(&mut self) -> &mut CaseFacts {
        &mut self.case
    }

    /// Notes something that could not be captured.
    pub fn gap(
        &mut self,
        source: impl Into<String>,
        reason: impl Into<String>,
        error: Option<i32>,
    ) {
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push(Gap { source: source.into(), reason: reason.into(), errno: error });
        } else {
            self.n_gaps_unlisted += 1;
        }
    }

    /// Notes an input or output error as a gap.
    pub fn gap_io(&mut self, source: impl Into<String>, error: &io::Error) {
        self.gap(source, error.to_string(), error.raw_os_error());
    }

    /// Gaps noted so far.
    pub fn n_gaps(&self) -> u64 {
        self.gaps.len() as u64 + self.n_gaps_unlisted
    }

    /// Stores `bytes` as the item `name`.
    pub fn add(
        &mut self,
        name: &str,
        source: &str,
        note: Option<&str>,
        bytes: &[u8],
    ) -> Result<Stored, WriteError> {
        let mut bytes = bytes;
        self.stream(name, source, note, &mut bytes, u64::MAX)
    }

    /// Stores at most `bytes_max` bytes of `reader` as the item `name`.
    ///
    /// A read error ends the item where it happened and is noted as a gap: what had been
    /// read is evidence too.
    pub fn stream(
        &mut self,
        name: &str,
        source: &str,
        note: Option<&str>,
        reader: &mut dyn Read,
        bytes_max: u64,
    ) -> Result<Stored, WriteError> {
        debug_assert!(tar::is_safe_name(name), "unsafe item name {name:?}");
        if self.items.len() >= ITEMS_MAX {
            return Err(WriteError::TooManyItems);
        }
        let time = Timestamp::now();
        let mut failure = None;
        let (sha256, size) = self
            .entry(
                name,
                time,
                &mut FailingReader { inner: reader, failure: &mut failure },
                bytes_max,
            )
            .map_err(|source| self.failed(source))?;
        if failure.is_none() && size == bytes_max && matches!(reader.read(&mut [0]), Ok(1)) {
            self.gap(source, format!("cut at the bound of {bytes_max} bytes"), None);
        }
        self.items.push(Item {
            path: name.to_string(),
            size,
            sha256,
            source: source.to_string(),
            time,
            note: note.map(str::to_string),
        });
        if let Some(error) = failure {
            self.gap(
                source,
                format!("only {size} bytes were readable: {error}"),
                error.raw_os_error(),
            );
        }
        Ok(Stored { n_bytes: size, sha256 })
    }

    /// Ends the bundle: manifest, digest, signature, sync, rename.
    pub fn finish(mut self, signer: Option<Signer<'_>>) -> Result<Manifest, WriteError> {
        let (chain, merkle_root) = seal_items(&self.items);
        let ended = Timestamp::now();
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_string(),
            case: self.case.clone(),
            ended,
            items: std::mem::take(&mut self.items),
            gaps: std::mem::take(&mut self.gaps),
            n_gaps_unlisted: self.n_gaps_unlisted,
            chain,
            merkle_root,
        };
        let bytes = serde_json::to_vec_pretty(&manifest).map_err(WriteError::Manifest)?;
        let signature = match signer {
            Some(sign) => Some(sign(&bytes).map_err(WriteError::Sign)?),
            None => None,
        };
        self.end(&bytes, signature.as_deref(), ended).map_err(|source| self.failed(source))?;
        self.done = true;
        Ok(manifest)
    }

    fn end(
        &mut self,
        manifest: &[u8],
        signature: Option<&[u8]>,
        time: Timestamp,
    ) -> io::Result<()> {
        let digest = Digest::of(manifest).hex();
        self.entry(MANIFEST_NAME, time, &mut &manifest[..], u64::MAX)?;
        self.entry(MANIFEST_DIGEST_NAME, time, &mut digest.as_bytes(), u64::MAX)?;
        if let Some(mut signature) = signature {
            self.entry(SIGNATURE_NAME, time, &mut signature, u64::MAX)?;
        }
        self.out.write_all(&[0; 2 * tar::BLOCK])?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        std::fs::rename(&self.partial, &self.path)?;
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// Writes one entry. Its size is known only when the source has ended, so the header
    /// is written twice: as a placeholder and, over that, as it is.
    fn entry(
        &mut self,
        name: &str,
        time: Timestamp,
        reader: &mut dyn Read,
        bytes_max: u64,
    ) -> io::Result<(Digest, u64)> {
        let seconds = time.as_nanos() / 1_000_000_000;
        let start = self.out.stream_position()?;
        self.out.write_all(&[0; tar::BLOCK])?;
        let mut reader = DigestReader::new(reader.take(bytes_max.min(tar::ENTRY_BYTES_MAX)));
        io::copy(&mut reader, &mut self.out)?;
        let (digest, size) = reader.finish();
        self.out.write_all(&[0; tar::BLOCK][..tar::padding(size)])?;
        let end = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(start))?;
        self.out.write_all(&tar::header(name, size, seconds))?;
        self.out.seek(SeekFrom::Start(end))?;
        self.n_bytes = end;
        Ok((digest, size))
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Io { path: self.partial.clone(), source }
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        if !self.done {
            // Nothing half-written stays; that this fails too leaves nothing to be done.
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

/// A reader that ends where its source fails and keeps the error for the gap list.
struct FailingReader<'a> {
    inner: &'a mut dyn Read,
    failure: &'a mut Option<io::Error>,
}

impl Read for FailingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                *self.failure = Some(error);
                Ok(0)
            }
            read => read,
        }
    }
}

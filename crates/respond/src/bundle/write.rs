//! Writing a bundle, item by item.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::{Digest, DigestReader, Explain, Timestamp};

use crate::age::{AgeWriter, Recipient};

use super::{
    CaseFacts, GAPS_MAX, Gap, ITEMS_MAX, Item, MANIFEST_DIGEST_NAME, MANIFEST_NAME,
    MANIFEST_SCHEMA, Manifest, SIGNATURE_NAME, Signer, Stamper, TIMESTAMP_BYTES_MAX, seal_items,
    tar,
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

/// Where a bundle goes.
#[derive(Debug)]
enum Out {
    Clear(BufWriter<File>),
    Sealed(Box<AgeWriter>),
}

impl Out {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Clear(out) => out.write_all(bytes),
            Self::Sealed(out) => out.write_all(bytes),
        }
    }

    /// Leaves room for the header of an entry, and says where.
    fn hold_header(&mut self) -> io::Result<u64> {
        match self {
            Self::Clear(out) => {
                let start = out.stream_position()?;
                out.write_all(&[0; tar::BLOCK])?;
                Ok(start)
            }
            // Blocks are a whole number in a chunk, so that none lies across two.
            Self::Sealed(out) => {
                let start = out.n_bytes();
                out.hold(tar::BLOCK)?;
                Ok(start)
            }
        }
    }

    /// Writes the header at `start`, and gives the end of all that was written.
    fn fill_header(&mut self, start: u64, header: &[u8; tar::BLOCK]) -> io::Result<u64> {
        match self {
            Self::Clear(out) => {
                let end = out.stream_position()?;
                out.seek(SeekFrom::Start(start))?;
                out.write_all(header)?;
                out.seek(SeekFrom::Start(end))?;
                Ok(end)
            }
            Self::Sealed(out) => {
                out.fill(header)?;
                Ok(out.n_bytes())
            }
        }
    }

    /// Writes what is left, and makes it last.
    fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Clear(out) => out.into_inner().map_err(io::IntoInnerError::into_error)?,
            Self::Sealed(out) => out.finish()?,
        };
        file.sync_all()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A bundle being written.
#[derive(Debug)]
pub struct BundleWriter {
    /// None once it is whole.
    out: Option<Out>,
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
        Self::create_sealed(path, case, &[])
    }

    /// As [`BundleWriter::create`], encrypted to `recipients` in the format of age while it is
    /// written: clear text is in memory alone. Without recipients it is not encrypted.
    pub fn create_sealed(
        path: &Path,
        case: CaseFacts,
        recipients: &[Recipient],
    ) -> Result<Self, WriteError> {
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
        let out = match recipients {
            [] => Out::Clear(BufWriter::with_capacity(1 << 18, file)),
            _ => Out::Sealed(Box::new(AgeWriter::new(file, recipients).map_err(|source| {
                let _ = std::fs::remove_file(&partial);
                WriteError::Io { path: partial.clone(), source }
            })?)),
        };
        Ok(Self {
            out: Some(out),
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
    pub fn finish(self, signer: Option<Signer<'_>>) -> Result<Manifest, WriteError> {
        self.finish_stamped(signer, None)
    }

    /// As [`BundleWriter::finish`], with a time stamp of the Merkle root in the manifest. That
    /// there is none, because `stamper` failed, is a gap and not the end of the bundle.
    pub fn finish_stamped(
        mut self,
        signer: Option<Signer<'_>>,
        stamper: Option<Stamper<'_>>,
    ) -> Result<Manifest, WriteError> {
        let (chain, merkle_root) = seal_items(&self.items);
        let timestamp = match stamper.map(|stamp| stamp(merkle_root.as_bytes())) {
            Some(Ok(token)) if token.len() <= TIMESTAMP_BYTES_MAX => Some(STANDARD.encode(token)),
            Some(Ok(token)) => {
                self.gap("time stamp", format!("it has {} bytes", token.len()), None);
                None
            }
            Some(Err(reason)) => {
                self.gap("time stamp", reason.to_string(), None);
                None
            }
            None => None,
        };
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
            timestamp,
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
        let mut out = self.out.take().ok_or_else(ended)?;
        out.write_all(&[0; 2 * tar::BLOCK])?;
        out.finish()?;
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
        let out = self.out.as_mut().ok_or_else(ended)?;
        let start = out.hold_header()?;
        let mut reader = DigestReader::new(reader.take(bytes_max.min(tar::ENTRY_BYTES_MAX)));
        io::copy(&mut reader, out)?;
        let (digest, size) = reader.finish();
        out.write_all(&[0; tar::BLOCK][..tar::padding(size)])?;
        self.n_bytes = out.fill_header(start, &tar::header(name, size, seconds))?;
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

/// Nothing is written after the end.
fn ended() -> io::Error {
    io::Error::other("the bundle has ended")
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

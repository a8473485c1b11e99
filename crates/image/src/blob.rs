//! Where blobs lie, and the reader that believes none of them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use palisade_base::{Digest, DigestReader, Root};

use crate::archive::Archive;
use crate::error::BlobError;
use crate::layout::Descriptor;
use crate::source::BlobSource;

/// The bytes of a blob, not proved.
pub(crate) type Blob = Box<dyn Read + Send>;

/// Where the blobs of an image are.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// `blobs/sha256/` of a folder.
    Layout(Arc<Root>),
    /// Entries of an archive, in place.
    Archive(Arc<Archive>),
    /// Wherever a source of blobs gets them.
    Source(Arc<dyn BlobSource>),
}

/// A part of a file, read by position so that several readers may share the file.
#[derive(Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Section {
    pub(crate) fn new(file: Arc<File>, position: u64, length: u64) -> Self {
        Self { file, position, end: position.saturating_add(length) }
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = left.min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut buffer[..wanted], self.position)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += n as u64;
        Ok(n)
    }
}

/// The path of a blob inside a layout.
pub(crate) fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Store {
    /// Opens a blob without checking it; the size is what the store has.
    fn open_raw(&self, digest: Digest, stated: Option<u64>) -> io::Result<(Blob, u64)> {
        let path = blob_path(digest);
        let opened: io::Result<(Blob, u64)> = match self {
            Self::Layout(root) => root.open_file(Path::new(&path)).and_then(|file| {
                let size = file.metadata()?.len();
                Ok((Box::new(file) as Blob, size))
            }),
            Self::Archive(archive) => {
                archive.open_entry(&path).map(|(section, size)| (Box::new(section) as _, size))
            }
            Self::Source(source) => Ok(source.open_blob(digest, stated)?),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(digest).into(),
            _ => error,
        })
    }

    /// Opens a blob; reading it to its end proves its digest and, when stated, its size.
    pub(crate) fn open(&self, digest: Digest, size: Option<u64>) -> io::Result<Verified<Blob>> {
        Ok(self.open_sized(digest, size)?.0)
    }

    /// As [`Store::open`], with the size that is going to be proved.
    pub(crate) fn open_sized(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> io::Result<(Verified<Blob>, u64)> {
        let (reader, found) = self.open_raw(digest, size)?;
        let expected = size.unwrap_or(found);
        if found != expected {
            return Err(BlobError::SizeMismatch { blob: digest, expected, found }.into());
        }
        Ok((Verified::new(reader, digest, expected), expected))
    }

    /// Opens a layer that an archive stores under a path, not a digest. What it is shows only
    /// in its diff id.
    pub(crate) fn open_entry(&self, path: &str, layer: Digest) -> io::Result<Blob> {
        let Self::Archive(archive) = self else {
            return Err(BlobError::Missing(layer).into());
        };
        match archive.open_entry(path) {
            Ok((section, _)) => Ok(Box::new(section)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(BlobError::Missing(layer).into())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads a manifest or an index of at most `limit` bytes and proves it: registries keep
    /// them apart from blobs.
    pub(crate) fn read_manifest(
        &self,
        descriptor: &Descriptor,
        what: &'static str,
        limit: u64,
    ) -> io::Result<Vec<u8>> {
        match self {
            Self::Source(source) => {
                let bytes = source.read_manifest(descriptor, limit)?;
                let proved = Verified::new(&bytes[..], descriptor.digest, descriptor.size);
                palisade_base::read_bounded(proved, what, limit)
            }
            _ => self.read(descriptor.digest, Some(descriptor.size), what, limit),
        }
    }

    /// Reads a whole blob of at most `limit` bytes and proves it.
    pub(crate) fn read(
        &self,
        digest: Digest,
        size: Option<u64>,
        what: &'static str,
        limit: u64,
    ) -> io::Result<Vec<u8>> {
        palisade_base::read_bounded(self.open(digest, size)?, what, limit)
    }
}

/// A reader that ends with an error unless what passed through it has the stated digest and
/// size.
pub(crate) struct Verified<R> {
    inner: Option<DigestReader<R>>,
    digest: Digest,
    size: u64,
}

impl<R: Read> Verified<R> {
    pub(crate) fn new(inner: R, digest: Digest, size: u64) -> Self {
        Self { inner: Some(DigestReader::new(inner)), digest, size }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(reader) = &mut self.inner else {
            return Ok(0);
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = reader.read(buffer)?;
        let (blob, expected) = (self.digest, self.size);
        if reader.n_read() > expected {
            let found = reader.n_read();
            return Err(BlobError::SizeMismatch { blob, expected, found }.into());
        }
        if n == 0
            && let Some(reader) = self.inner.take()
        {
            let (found, n_read) = reader.finish();
            if n_read != expected {
                return Err(BlobError::SizeMismatch { blob, expected, found: n_read }.into());
            }
            if found != blob {
                return Err(BlobError::DigestMismatch { blob, found }.into());
            }
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], digest: Digest, size: u64) -> Option<BlobError> {
        let mut reader = Verified::new(bytes, digest, size);
        let error = io::copy(&mut reader, &mut io::sink()).err()?;
        error.get_ref().and_then(|e| e.downcast_ref::<BlobError>()).cloned()
    }

    #[test]
    fn a_lie_is_told_at_the_end() {
        let (blob, other) = (Digest::of(b"abc"), Digest::of(b"abd"));
        assert_eq!(read(b"abc", blob, 3), None);
        assert_eq!(read(b"abd", blob, 3), Some(BlobError::DigestMismatch { blob, found: other }));
        let size = |expected, found| Some(BlobError::SizeMismatch { blob, expected, found });
        assert_eq!(read(b"abc", blob, 4), size(4, 3));
        assert_eq!(read(b"abc", blob, 2), size(2, 3));
    }
}

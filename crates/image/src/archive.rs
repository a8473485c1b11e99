//! An image in one tar file: `docker save`, or an OCI layout in an archive.
//!
//! The archive's table is read once; blobs are then read in place. A compressed archive is
//! first decompressed to an unnamed temporary file, within the limits.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;

use palisade_base::{Bounded, Digest, LimitExceeded};

use crate::blob::Section;
use crate::decompress::{BoundedLayer, Compression};
use crate::error::{BlobError, TarError};
use crate::squash::{PathError, normalise};
use crate::tarball::{RawKind, TarReader};
use crate::{FileKind, Limits, OpenImageError};

/// The files of an archive, for whoever reads a layout in it by rules of their own.
#[derive(Debug)]
pub struct ArchiveFiles(Archive);

impl ArchiveFiles {
    /// Opens the tar file at `path`, compressed or not.
    pub fn open(path: &Path, limits: &Limits) -> Result<Self, OpenImageError> {
        Archive::open(path, limits).map(Self)
    }

    /// Opens the file `name` in it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is none of that name.
    pub fn open_file(&self, name: &str) -> io::Result<impl Read + use<>> {
        Ok(self.0.open_entry(name)?.0)
    }

    /// Reads the file `name` in it, of at most `limit` bytes.
    pub fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        self.0.read_entry(name, "file of an archive", limit)
    }
}

/// The table of an archive.
#[derive(Debug)]
pub(crate) struct Archive {
    file: Arc<File>,
    entries: HashMap<Vec<u8>, Place>,
    links_max: usize,
    /// What tells the file from another; none for a stream.
    stamp: Option<String>,
}

#[derive(Debug)]
enum Place {
    Content {
        position: u64,
        size: u64,
    },
    /// Old `docker save` stores a layer that occurs twice as a link to the first.
    Link(Vec<u8>),
}

impl Archive {
    pub(crate) fn open(path: &Path, limits: &Limits) -> Result<Self, OpenImageError> {
        let (file, stamp) = open_seekable(path, limits)?;
        Self::read(file, limits)
            .map(|archive| Self { stamp, ..archive })
            .map_err(|source| OpenImageError::BadArchive { path: path.into(), source })
    }

    /// A file of `size` bytes as if it were the only entry, of the empty path.
    pub(crate) fn of_one_entry(
        file: File,
        size: u64,
        stamp: Option<String>,
        limits: &Limits,
    ) -> Self {
        let entries = HashMap::from([(Vec::new(), Place::Content { position: 0, size })]);
        Self { file: Arc::new(file), entries, links_max: limits.links_max, stamp }
    }

    fn read(file: File, limits: &Limits) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut entries = HashMap::new();
        let mut reader = TarReader::new(file, limits, limits.archive_entries_max as u64);
        while let Some(entry) = reader.next_entry()? {
            let place = match entry.kind {
                RawKind::File(FileKind::Regular) => {
                    Place::Content { position: reader.offset(), size: entry.size }
                }
                RawKind::File(FileKind::Symlink | FileKind::HardLink) => {
                    Place::Link(link_target(&entry.path, &entry.link, entry.kind))
                }
                _ => {
                    reader.seek_over_content(length)?;
                    continue;
                }
            };
            let path = match normalise(&entry.path, limits) {
                Ok(path) => path.bytes,
                Err(PathError::Empty) => Vec::new(),
                Err(_) => return Err(invalid("an entry's path leaves the archive")),
            };
            // Engines unpack in order and keep the last, other tools the first.
            if entries.insert(path, place).is_some() {
                return Err(invalid("two entries have the same path"));
            }
            reader.seek_over_content(length)?;
        }
        let file = Arc::new(reader.into_inner());
        Ok(Self { file, entries, links_max: limits.links_max, stamp: None })
    }

    pub(crate) fn stamp(&self) -> Option<&str> {
        self.stamp.as_deref()
    }

    /// Opens the entry at `path`, and tells its size.
    pub(crate) fn open_entry(&self, path: &str) -> io::Result<(Section, u64)> {
        let mut path: &[u8] = path.as_bytes();
        for _ in 0..self.links_max {
            match self.entries.get(path) {
                Some(Place::Content { position, size }) => {
                    let section = Section::new(Arc::clone(&self.file), *position, *size);
                    return Ok((section, *size));
                }
                Some(Place::Link(target)) => path = target,
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Err(invalid("too many links"))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.entries.contains_key(path.as_bytes())
    }

    /// Reads the entry at `path`, which must not be longer than `limit` bytes.
    pub(crate) fn read_entry(
        &self,
        path: &str,
        what: &'static str,
        limit: u64,
    ) -> io::Result<Vec<u8>> {
        palisade_base::read_bounded(self.open_entry(path)?.0, what, limit)
    }
}

impl<R: Read + Seek> TarReader<'_, R> {
    /// Passes over the current content without reading it.
    fn seek_over_content(&mut self, file_length: u64) -> io::Result<()> {
        let end = self.end_of_content();
        if end > file_length.next_multiple_of(512) {
            return Err(TarError::Truncated { offset: file_length }.into());
        }
        self.jump(end, |inner, end| inner.seek(SeekFrom::Start(end)).map(|_| ()))
    }
}

/// Opens the file at `path`, or standard input for `-`, decompressed and at its beginning. Also
/// tells what the file is known by; a stream is known by nothing.
pub(crate) fn open_seekable(
    path: &Path,
    limits: &Limits,
) -> Result<(File, Option<String>), OpenImageError> {
    let fail = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => OpenImageError::NotFound { path: path.into() },
        _ => OpenImageError::Io { path: path.into(), source },
    };
    let bad = |source| OpenImageError::BadArchive { path: path.into(), source };
    let stream: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if meta.file_type().is_file() {
            let stamp = crate::stamp::of_file(&meta);
            return Ok((plain(file, limits).map_err(bad)?, Some(stamp)));
        }
        if !meta.file_type().is_fifo() {
            return Err(OpenImageError::NotAnArchive { path: path.into() });
        }
        Box::new(file)
    };
    // The table of contents may come last: a stream is kept until it is read.
    let file = keep(stream, limits).map_err(|error| match LimitExceeded::find(&error) {
        Some(limit) => limit.clone().into(),
        None => fail(error),
    })?;
    Ok((plain(file, limits).map_err(bad)?, None))
}

/// The file decompressed, at its beginning.
fn plain(mut file: File, limits: &Limits) -> io::Result<File> {
    let mut start = Vec::new();
    (&mut file).take(4).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    match Compression::of(&start) {
        Compression::None => Ok(file),
        _ => decompress(file, limits),
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The entry that a link names, relative to the archive's root.
fn link_target(path: &[u8], link: &[u8], kind: RawKind) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    if kind == RawKind::File(FileKind::Symlink) && !link.starts_with(b"/") {
        parts.extend(path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()));
        parts.pop();
    }
    for part in link.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| *part != b".");
    parts.join(&b'/')
}

/// Keeps a stream in an unnamed file.
fn keep(stream: Box<dyn Read>, limits: &Limits) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut Bounded::new(stream, "archive", limits.blob_bytes_max), &mut file)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Decompresses a whole archive to an unnamed file.
fn decompress(file: File, limits: &Limits) -> io::Result<File> {
    let name = Digest::from_bytes([0; 32]);
    let copied = BoundedLayer::new(file, name, limits).and_then(|mut reader| {
        let mut target = tempfile::tempfile()?;
        io::copy(&mut reader, &mut target)?;
        reader.finish_source()?;
        target.seek(SeekFrom::Start(0))?;
        Ok(target)
    });
    copied.map_err(|error| {
        let bomb = error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<BlobError>);
        if bomb { invalid("it decompresses to far more than its size") } else { error }
    })
}

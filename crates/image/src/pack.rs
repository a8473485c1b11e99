//! Packs a folder into a layer, the same bytes for the same files.
//!
//! Entries are sorted by path, times are clamped, numbers are written without names, the
//! gzip header has no time. Device nodes and sockets are left out and counted: a runtime
//! makes its own.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use sha2::Digest as _;

use crate::LayoutError;
use crate::xattr;

/// Deeper folders are refused, not recursed into.
const DEPTH_MAX: usize = 256;
/// Extended attributes of one file, in bytes.
const XATTR_BYTES_MAX: usize = 65536;
/// Targets of symbolic links (`PATH_MAX`).
const LINK_BYTES_MAX: usize = 4096;

/// Where a layer's files come from.
#[derive(Debug, Clone)]
pub enum LayerSource {
    /// All of a folder.
    Folder {
        /// The folder that becomes the root.
        path: PathBuf,
        /// How it is packed.
        options: PackOptions,
    },
    /// An uncompressed tar file, taken as it is.
    Tar(PathBuf),
}

/// How a folder is packed.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// Later modification times become this one, in seconds since the Unix epoch.
    pub mtime_max: Option<i64>,
    /// Every file belongs to this user and group.
    pub owner: Option<(u32, u32)>,
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedLayer {
    pub(crate) digest: Digest,
    pub(crate) diff_id: Digest,
    pub(crate) size: u64,
    /// Device nodes and sockets that were left out.
    pub(crate) n_left_out: u64,
}

/// A writer that digests what passes.
struct DigestWriter<W> {
    inner: W,
    hasher: sha2::Sha256,
    n_written: u64,
}

impl<W> DigestWriter<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), n_written: 0 }
    }

    fn finish(self) -> (W, Digest, u64) {
        (self.inner, Digest::from_bytes(self.hasher.finalize().into()), self.n_written)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.n_written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Writes `source` as a gzip layer to `out`.
pub(crate) fn pack(source: &LayerSource, out: impl Write) -> Result<PackedLayer, LayoutError> {
    // A middle level: layers are written once and read often, but the demo waits for it.
    let level = flate2::Compression::new(4);
    let gzip = flate2::GzBuilder::new().mtime(0).write(DigestWriter::new(out), level);
    let mut plain = DigestWriter::new(io::BufWriter::with_capacity(128 * 1024, gzip));
    let (path, n_left_out) = match source {
        LayerSource::Folder { path, options } => {
            let n_left_out = pack_folder(path, options, &mut plain)?;
            (path, n_left_out)
        }
        LayerSource::Tar(path) => {
            let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut plain));
            copied.map_err(|source| LayoutError::Pack { path: path.clone(), source })?;
            (path, 0)
        }
    };
    let fail = |source| LayoutError::Pack { path: path.clone(), source };
    let (buffered, diff_id, _) = plain.finish();
    let gzip = buffered.into_inner().map_err(|error| fail(error.into_error()))?;
    let (mut out, digest, size) = gzip.finish().map_err(fail)?.finish();
    out.flush().map_err(fail)?;
    Ok(PackedLayer { digest, diff_id, size, n_left_out })
}

struct Packer<'p, W: Write> {
    tar: tar::Builder<W>,
    options: &'p PackOptions,
    root: &'p Path,
    /// First path of each file that has several names.
    seen: HashMap<(u64, u64), PathBuf>,
    n_left_out: u64,
}

fn pack_folder(path: &Path, options: &PackOptions, out: impl Write) -> Result<u64, LayoutError> {
    let tar = tar::Builder::new(out);
    let mut packer = Packer { tar, options, root: path, seen: HashMap::new(), n_left_out: 0 };
    packer.folder(Path::new(""), 0)?;
    let fail = |source| LayoutError::Pack { path: path.into(), source };
    packer.tar.finish().map_err(fail)?;
    Ok(packer.n_left_out)
}

impl<W: Write> Packer<'_, W> {
    fn fail(&self, relative: &Path, source: io::Error) -> LayoutError {
        LayoutError::Pack { path: self.root.join(relative), source }
    }

    fn refuse(&self, relative: &Path, what: &'static str) -> LayoutError {
        LayoutError::Unpackable { path: self.root.join(relative), what }
    }

    fn folder(&mut self, relative: &Path, depth: usize) -> Result<(), LayoutError> {
        if depth > DEPTH_MAX {
            return Err(self.refuse(relative, "folders are nested too deeply"));
        }
        let fail = |source| LayoutError::Pack { path: self.root.join(relative), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join(relative)).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort();
        for name in names {
            let path = relative.join(&name);
            // Engines would read the file as an order to hide another.
            if name.as_bytes().starts_with(b".wh.") {
                return Err(self.refuse(&path, "a name that begins with `.wh.` is a whiteout"));
            }
            self.entry(&path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<(), LayoutError> {
        let full = self.root.join(path);
        let meta = std::fs::symlink_metadata(&full).map_err(|error| self.fail(path, error))?;
        let kind = meta.file_type();
        let mut header = self.header(&meta);
        if kind.is_dir() {
            let file = File::open(&full).map_err(|error| self.fail(path, error))?;
            self.xattrs(path, &file)?;
            header.set_entry_type(tar::EntryType::Directory);
            self.append(&mut header, &with_slash(path), io::empty())?;
            return self.folder(path, depth + 1);
        }
        if meta.nlink() > 1 && !kind.is_symlink() {
            if let Some(first) = self.seen.get(&(meta.dev(), meta.ino())) {
                header.set_entry_type(tar::EntryType::Link);
                let first = first.clone();
                let appended = self.tar.append_link(&mut header, path, first);
                return appended.map_err(|error| self.fail(path, error));
            }
            self.seen.insert((meta.dev(), meta.ino()), path.to_path_buf());
        }
        if kind.is_file() {
            let file = std::fs::OpenOptions::new()
                .read(true)
                .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
                .open(&full)
                .map_err(|error| self.fail(path, error))?;
            self.xattrs(path, &file)?;
            header.set_size(meta.len());
            let mut content = file.take(meta.len());
            self.append(&mut header, path, &mut content)?;
            if content.limit() > 0 {
                return Err(self.refuse(path, "it shrank while it was packed"));
            }
            return Ok(());
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(&full).map_err(|error| self.fail(path, error))?;
            if target.as_os_str().len() > LINK_BYTES_MAX {
                return Err(self.refuse(path, "its link target is too long"));
            }
            header.set_entry_type(tar::EntryType::Symlink);
            let appended = self.tar.append_link(&mut header, path, target);
            return appended.map_err(|error| self.fail(path, error));
        }
        if kind.is_fifo() {
            header.set_entry_type(tar::EntryType::Fifo);
            return self.append(&mut header, path, io::empty());
        }
        self.n_left_out += 1;
        Ok(())
    }

    fn header(&self, meta: &Metadata) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        let (uid, gid) = self.options.owner.unwrap_or((meta.uid(), meta.gid()));
        let mtime = self.options.mtime_max.map_or(meta.mtime(), |max| meta.mtime().min(max));
        header.set_mode(meta.mode() & 0o7777);
        header.set_uid(u64::from(uid));
        header.set_gid(u64::from(gid));
        header.set_mtime(u64::try_from(mtime).unwrap_or(0));
        header.set_size(0);
        header
    }

    fn xattrs(&mut self, path: &Path, file: &File) -> Result<(), LayoutError> {
        let all = xattr::all(file, XATTR_BYTES_MAX).map_err(|error| self.fail(path, error))?;
        let kept: Vec<(String, Vec<u8>)> = all
            .into_iter()
            .filter(|(name, _)| name.starts_with("user.") || name == xattr::CAPABILITY)
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
            .collect();
        if kept.is_empty() {
            return Ok(());
        }
        let records = kept.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        self.tar.append_pax_extensions(records).map_err(|error| self.fail(path, error))
    }

    fn append(
        &mut self,
        header: &mut tar::Header,
        path: &Path,
        content: impl Read,
    ) -> Result<(), LayoutError> {
        self.tar.append_data(header, path, content).map_err(|error| self.fail(path, error))
    }
}

/// Folders end in a slash, as every tar writes them.
fn with_slash(path: &Path) -> PathBuf {
    let mut text = path.as_os_str().to_os_string();
    text.push("/");
    text.into()
}

//! What a container changed in its file system, as one layer of an OCI image.
//!
//! The upper layer of its overlay is written as a tar archive in the form that every engine
//! takes (OCI image specification, `layer.md`): deleted files as `.wh.NAME`, replaced folders
//! with `.wh..wh..opq`. Laid over the image's layers it is the container's file system. The
//! walk goes by descriptors and follows no link; nothing is changed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use palisade_base::{Digest, DigestReader};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use crate::target::Target;

/// Most entries of a layer.
const ENTRIES_MAX: u64 = 1_000_000;
/// Deepest folder.
const DEPTH_MAX: usize = 128;
/// Largest layer, in bytes.
const LAYER_BYTES_MAX: u64 = 64 << 30;
/// Bytes of a tar block.
const BLOCK: usize = 512;
/// Bytes of an extended attribute that is kept.
const ATTRIBUTE_BYTES_MAX: usize = 64 << 10;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Nobody knows where the container's changes lie.
    #[error("the root of container `{0}` is no overlay, or nothing of it runs any more")]
    NoUpper(String),
    /// A file could not be read or written.
    #[error("{action} `{}`", path.display())]
    Io {
        /// `open`, `write`, `read`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The deadline passed; no half of a layer is left behind.
    #[error("the snapshot was not complete by its deadline")]
    Late,
    /// A bound was reached.
    #[error("the layer has more than {0}")]
    TooLarge(String),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The layer.
    pub path: PathBuf,
    /// Its digest, by which engines know it (`diff_id`).
    pub digest: Digest,
    /// Files, folders, links and deletions.
    pub n_entries: u64,
    /// Its size in bytes.
    pub n_bytes: u64,
    /// Sockets and unreadable files that are not in it.
    pub n_skipped: u64,
}

impl fmt::Display for SnapshotSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} entries, {} KiB, {}",
            self.n_entries,
            self.n_bytes.div_ceil(1024),
            self.digest
        )?;
        if self.n_skipped > 0 {
            write!(f, ", {} left out", self.n_skipped)?;
        }
        write!(f, ": {}", self.path.display())
    }
}

/// Writes what `target` changed to `path`, all or nothing. A layer that is there already is
/// of the same order, and is kept.
///
/// # Errors
///
/// The layer cannot be found, read or written whole.
pub fn snapshot(
    target: &Target,
    upper: Option<&Path>,
    path: &Path,
    deadline: Duration,
) -> Result<SnapshotSummary, SnapshotError> {
    let found;
    let upper = if let Some(upper) = upper.filter(|upper| upper.is_dir()) {
        upper
    } else {
        found = find_upper(target)
            .ok_or_else(|| SnapshotError::NoUpper(target.container().id.clone()))?;
        found.as_path()
    };
    let failed = |action: &'static str, path: &Path| {
        let path = path.to_path_buf();
        move |source| SnapshotError::Io { action, path, source }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("create", folder))?;
    }
    let part = path.with_extension("part");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&part)
        .map_err(failed("open", &part))?;
    let mut layer = Layer {
        out: BufWriter::with_capacity(1 << 16, file),
        path: part.clone(),
        end: Instant::now() + deadline,
        links: BTreeMap::new(),
        n_bytes: 0,
        n_entries: 0,
        n_skipped: 0,
    };
    let result = layer.walk(upper).and_then(|()| layer.close());
    if let Err(error) = result {
        let _ = std::fs::remove_file(&part);
        return Err(error);
    }
    let read = File::open(&part).map_err(failed("open", &part))?;
    let mut reader = DigestReader::new(read);
    io::copy(&mut reader, &mut io::sink()).map_err(failed("read", &part))?;
    std::fs::rename(&part, path).map_err(failed("rename", path))?;
    let Layer { n_bytes, n_entries, n_skipped, .. } = layer;
    let digest = reader.finish().0;
    Ok(SnapshotSummary { path: path.to_path_buf(), digest, n_entries, n_bytes, n_skipped })
}

/// The upper layer, from the mount table of a process of the container.
fn find_upper(target: &Target) -> Option<PathBuf> {
    target.group().processes().ok()?.into_iter().take(16).find_map(|pid| {
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
        crate::evidence::upper_of(&table).map(PathBuf::from)
    })
}

struct Layer {
    out: BufWriter<File>,
    path: PathBuf,
    end: Instant,
    /// Files with several names: the first name in the archive.
    links: BTreeMap<(u64, u64), Vec<u8>>,
    n_bytes: u64,
    n_entries: u64,
    n_skipped: u64,
}

/// One entry of the archive.
struct Entry<'e> {
    name: &'e [u8],
    kind: u8,
    link: &'e [u8],
    size: u64,
    stat: &'e Stat,
    attributes: Vec<(String, Vec<u8>)>,
}

impl Layer {
    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
        let path = self.path.clone();
        move |source| SnapshotError::Io { action, path, source }
    }

    fn walk(&mut self, upper: &Path) -> Result<(), SnapshotError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(upper, flags, Mode::empty()).map_err(|error| {
            SnapshotError::Io { action: "open", path: upper.into(), source: error.into() }
        })?;
        self.folder(&root, b"", 0)
    }

    fn folder(&mut self, folder: &OwnedFd, at: &[u8], depth: usize) -> Result<(), SnapshotError> {
        if depth > DEPTH_MAX {
            return Err(SnapshotError::TooLarge(format!("{DEPTH_MAX} folders within each other")));
        }
        let mut names = Vec::new();
        for entry in Dir::read_from(folder).map_err(|e| self.failed("list")(e.into()))? {
            let entry = entry.map_err(|error| self.failed("list")(error.into()))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
            if names.len() as u64 > ENTRIES_MAX {
                return Err(SnapshotError::TooLarge(format!("{ENTRIES_MAX} entries")));
            }
        }
        names.sort_unstable();
        for name in names {
            if Instant::now() >= self.end {
                return Err(SnapshotError::Late);
            }
            let mut path = at.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            match statat(folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let inner = [&path[..], &name].concat();
                    self.entry(folder, &name, (&path, &inner), &stat, depth)?;
                }
                Err(_) => self.n_skipped += 1,
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        (at, path): (&[u8], &[u8]),
        stat: &Stat,
        depth: usize,
    ) -> Result<(), SnapshotError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let plain =
            |name, kind, link, size| Entry { name, kind, link, size, stat, attributes: Vec::new() };
        match kind {
            FileType::CharacterDevice if stat.st_rdev == 0 => {
                let whiteout = [at, b".wh.", name].concat();
                self.put(&plain(&whiteout, b'0', b"", 0))
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let Ok(inner) = openat(folder, name, flags, Mode::empty()) else {
                    self.n_skipped += 1;
                    return Ok(());
                };
                let shown = [path, b"/"].concat();
                let mut entry = plain(&shown, b'5', b"", 0);
                entry.attributes = attributes(&inner);
                self.put(&entry)?;
                if is_opaque(&inner) {
                    let opaque = [path, b"/.wh..wh..opq"].concat();
                    self.put(&plain(&opaque, b'0', b"", 0))?;
                }
                self.folder(&inner, path, depth + 1)
            }
            FileType::Symlink => {
                let Ok(to) = readlinkat(folder, name, Vec::new()) else {
                    self.n_skipped += 1;
                    return Ok(());
                };
                self.put(&plain(path, b'2', to.as_bytes(), 0))
            }
            FileType::RegularFile => self.file(folder, name, path, stat),
            FileType::CharacterDevice => self.put(&plain(path, b'3', b"", 0)),
            FileType::BlockDevice => self.put(&plain(path, b'4', b"", 0)),
            FileType::Fifo => self.put(&plain(path, b'6', b"", 0)),
            // A socket is worth nothing without who listens at it; tar has no form for it.
            FileType::Socket | FileType::Unknown => {
                self.n_skipped += 1;
                Ok(())
            }
        }
    }

    fn file(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), SnapshotError> {
        let inode = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&inode).cloned() {
                let (kind, size, attributes) = (b'1', 0, Vec::new());
                return self.put(&Entry { name: path, kind, link: &first, size, stat, attributes });
            }
            self.links.insert(inode, path.to_vec());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(folder, name, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| openat(folder, name, flags, Mode::empty()));
        let Ok(fd) = opened else {
            self.n_skipped += 1;
            return Ok(());
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let attributes = attributes(&fd);
        self.put(&Entry { name: path, kind: b'0', link: b"", size, stat, attributes })?;
        // Exactly as much as the header says, whatever becomes of the file meanwhile.
        let mut file = File::from(fd).take(size);
        let mut buffer = vec![0; 1 << 16];
        let mut left = size;
        while left > 0 {
            let n = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            self.write(&buffer[..n])?;
            left -= n as u64;
            if Instant::now() >= self.end {
                return Err(SnapshotError::Late);
            }
        }
        if left > 0 {
            self.n_skipped += 1;
            self.zeros(left)?;
        }
        self.pad(size)
    }

    fn put(&mut self, entry: &Entry<'_>) -> Result<(), SnapshotError> {
        self.n_entries += 1;
        if self.n_entries > ENTRIES_MAX {
            return Err(SnapshotError::TooLarge(format!("{ENTRIES_MAX} entries")));
        }
        let mut records = Vec::new();
        let mut record = |key: &str, value: &[u8]| records.extend(pax_record(key, value));
        if entry.name.len() > 100 {
            record("path", entry.name);
        }
        if entry.link.len() > 100 {
            record("linkpath", entry.link);
        }
        if entry.size > OCTAL_MAX {
            record("size", entry.size.to_string().as_bytes());
        }
        for (key, id) in [("uid", entry.stat.st_uid), ("gid", entry.stat.st_gid)] {
            if u64::from(id) > ID_MAX {
                record(key, id.to_string().as_bytes());
            }
        }
        for (key, value) in &entry.attributes {
            record(&format!("SCHILY.xattr.{key}"), value);
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            let header = Entry {
                name: b"PaxHeaders/extended",
                kind: b'x',
                link: b"",
                size,
                stat: entry.stat,
                attributes: Vec::new(),
            };
            self.write(&header_block(&header))?;
            self.write(&records)?;
            self.pad(size)?;
        }
        self.write(&header_block(entry))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.n_bytes += bytes.len() as u64;
        if self.n_bytes > LAYER_BYTES_MAX {
            return Err(SnapshotError::TooLarge(format!("{LAYER_BYTES_MAX} bytes")));
        }
        self.out.write_all(bytes).map_err(self.failed("write"))
    }

    fn zeros(&mut self, mut n: u64) -> Result<(), SnapshotError> {
        let zeros = [0; BLOCK];
        while n > 0 {
            let some = usize::try_from(n).unwrap_or(BLOCK).min(BLOCK);
            self.write(&zeros[..some])?;
            n -= some as u64;
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), SnapshotError> {
        self.zeros((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64)
    }

    fn close(&mut self) -> Result<(), SnapshotError> {
        self.zeros(2 * BLOCK as u64)?;
        let result = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        result.map_err(self.failed("write"))
    }
}

/// The most that eleven and seven octal digits hold.
const OCTAL_MAX: u64 = 0o77_777_777_777;
const ID_MAX: u64 = 0o7_777_777;

/// `LENGTH KEY=VALUE\n`, where the length counts itself (POSIX pax).
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut out = format!("{length} {key}=").into_bytes();
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

/// A ustar header; what does not fit is in the record before it.
fn header_block(entry: &Entry<'_>) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    let octal = |value: u64, digits: usize| format!("{value:0digits$o}\0").into_bytes();
    let stat = entry.stat;
    put(0, &entry.name[..entry.name.len().min(100)]);
    put(100, &octal(u64::from(stat.st_mode & 0o7777), 7));
    put(108, &octal(u64::from(stat.st_uid).min(ID_MAX), 7));
    put(116, &octal(u64::from(stat.st_gid).min(ID_MAX), 7));
    put(124, &octal(entry.size.min(OCTAL_MAX), 11));
    put(136, &octal(u64::try_from(stat.st_mtime).unwrap_or(0).min(OCTAL_MAX), 11));
    put(148, b"        ");
    put(156, &[entry.kind]);
    put(157, &entry.link[..entry.link.len().min(100)]);
    put(257, b"ustar\x0000");
    if matches!(entry.kind, b'3' | b'4') {
        put(329, &octal(u64::from(rustix::fs::major(stat.st_rdev)), 7));
        put(337, &octal(u64::from(rustix::fs::minor(stat.st_rdev)), 7));
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Capabilities and the attributes of users; overlayfs's own are its own.
fn attributes(fd: &OwnedFd) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0; ATTRIBUTE_BYTES_MAX];
    let Ok(n) = rustix::fs::flistxattr(fd, &mut list[..]) else { return Vec::new() };
    let mut found = Vec::new();
    for name in list.get(..n).unwrap_or_default().split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name != "security.capability" && !name.starts_with("user.") {
            continue;
        }
        let mut value = vec![0; ATTRIBUTE_BYTES_MAX];
        if let Ok(n) = rustix::fs::fgetxattr(fd, name, &mut value[..]) {
            value.truncate(n);
            found.push((name.to_string(), value));
        }
    }
    found
}

fn is_opaque(folder: &OwnedFd) -> bool {
    let mut value = [0; 4];
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        rustix::fs::fgetxattr(folder, *name, &mut value[..]).is_ok_and(|n| value[..n] == *b"y")
    })
}

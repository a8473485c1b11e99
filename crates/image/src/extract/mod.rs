//! Unpacks one layer into one folder, for an overlay mount.
//!
//! Each layer stands alone: whiteouts become overlay's own (a character device 0:0, an
//! `overlay.opaque` attribute; kernel `Documentation/filesystems/overlayfs.rst`), so that
//! layers are unpacked once and shared.
//!
//! Every path is resolved by the kernel below the folder, through no link at all
//! (`openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`): an entry that would have to
//! be written through a link is refused, not redirected (compare CVE-2019-14271,
//! CVE-2021-32760). The work is done in a temporary folder that gets its name only when the
//! layer's digests are proved.

mod options;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use palisade_base::Digest;
use palisade_model::package::Gap;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use crate::entry::{FileKind, HostileKind};
use crate::error::{ExtractError, ReadImageError};
use crate::open::Image;
use crate::open::Place;
use crate::squash::{Marker, NormalPath, PathError, normalise, split};
use crate::tarball::{RawEntry, RawKind};
use crate::xattr;

pub use options::{CapabilityXattr, ExtractOptions, ExtractReport, IdShift, Ownership};

/// Temporary folders beside the destination begin so; a killed process may leave one.
pub const EXTRACT_PREFIX: &str = ".palisade-layer-";

const GAPS_MAX: usize = 1000;
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// Unpacks layer `index` of `image` to `dest`, which must not exist and whose parent must.
///
/// `dest` appears in one step, complete and verified, or not at all. Two processes may race:
/// the later one gets [`ExtractError::Exists`].
pub fn extract_layer(
    image: &Image,
    index: usize,
    dest: &Path,
    options: &ExtractOptions,
) -> Result<ExtractReport, ExtractError> {
    extract_layer_noting(image, index, dest, options, &|_| Ok(()))
}

/// The same; `note` is called when all is written and proved, and before `dest` appears: what it
/// keeps of the report is there whenever the layer is.
///
/// # Errors
///
/// Besides: `note` failed, and `dest` does not appear.
pub fn extract_layer_noting(
    image: &Image,
    index: usize,
    dest: &Path,
    options: &ExtractOptions,
    note: &dyn Fn(&ExtractReport) -> io::Result<()>,
) -> Result<ExtractReport, ExtractError> {
    let layer = image.layers.get(index).ok_or(ReadImageError::NoLayer(index))?;
    if matches!(layer.place, Place::Aci) {
        return Err(ExtractError::NotALayer(layer.digest));
    }
    let layer = layer.digest;
    let fail = |source| ExtractError::Write { path: dest.display().to_string(), source };
    if dest.symlink_metadata().is_ok() {
        return Err(ExtractError::Exists(dest.to_path_buf()));
    }
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary = Temporary::below(parent).map_err(fail)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = rustix::fs::open(temporary.path(), flags, Mode::empty())
        .map_err(|error| fail(error.into()))?;
    let mut extraction = Extraction {
        image,
        layer,
        options,
        root,
        parent: None,
        folders: BTreeMap::new(),
        whiteouts: HashSet::new(),
        report: ExtractReport::default(),
    };
    extraction.prepare_root().map_err(fail)?;
    image.read_layer(index, image.limits.entries_max, |tar| {
        let from_io = |error| ReadImageError::from_io(layer, error);
        while let Some(raw) = tar.next_entry().map_err(from_io)? {
            extraction.entry(&raw, tar)?;
        }
        Ok::<_, ExtractError>(())
    })?;
    extraction.finish_folders()?;
    if options.sync {
        rustix::fs::syncfs(&extraction.root).map_err(|error| fail(error.into()))?;
    }
    note(&extraction.report).map_err(fail)?;
    match rustix::fs::renameat_with(
        rustix::fs::CWD,
        temporary.path(),
        rustix::fs::CWD,
        dest,
        RenameFlags::NOREPLACE,
    ) {
        Ok(()) => {}
        Err(Errno::EXIST | Errno::NOTEMPTY) => {
            return Err(ExtractError::Exists(dest.to_path_buf()));
        }
        Err(error) => return Err(fail(error.into())),
    }
    temporary.keep();
    Ok(extraction.report)
}

/// The folder in which a layer is unpacked, removed unless it was kept.
struct Temporary(Option<tempfile::TempDir>);

impl Temporary {
    fn below(parent: &Path) -> io::Result<Self> {
        tempfile::Builder::new().prefix(EXTRACT_PREFIX).tempdir_in(parent).map(Some).map(Self)
    }

    fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new(""), tempfile::TempDir::path)
    }

    /// Its name is gone; there is nothing to remove.
    fn keep(mut self) {
        let _ = self.0.take().map(tempfile::TempDir::keep);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // `TempDir` recurses, and a layer is as deep as its maker likes.
        if let Some(folder) = self.0.take() {
            let _ = palisade_base::tree::remove_tree(&folder.keep());
        }
    }
}

/// What a folder gets when all below it is written.
#[derive(Debug, Clone, Copy)]
struct FolderMeta {
    mode: u32,
    mtime: Option<(i64, u32)>,
}

struct Extraction<'x> {
    image: &'x Image,
    layer: Digest,
    options: &'x ExtractOptions,
    root: OwnedFd,
    /// The folder of the last entry, kept open: archives are in the order of folders.
    parent: Option<(Vec<u8>, OwnedFd)>,
    folders: BTreeMap<Vec<u8>, FolderMeta>,
    /// Whiteouts that this layer has made so far.
    whiteouts: HashSet<Vec<u8>>,
    report: ExtractReport,
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

fn times(seconds: i64, nanos: u32) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::from(nanos) };
    Timestamps { last_access: time, last_modification: time }
}

impl Extraction<'_> {
    fn prepare_root(&mut self) -> io::Result<()> {
        let meta = FolderMeta { mode: 0o755, mtime: None };
        self.folders.insert(Vec::new(), meta);
        if let Ownership::Shift(shift) = self.options.ownership {
            chown(&self.root, shift.start, shift.start)?;
        }
        Ok(())
    }

    fn hostile(&self, path: &[u8], kind: HostileKind) -> ExtractError {
        let path = String::from_utf8_lossy(path).chars().take(512).collect();
        ExtractError::Hostile { layer: self.layer, path, kind }
    }

    fn write(path: &[u8], source: impl Into<io::Error>) -> ExtractError {
        let path = String::from_utf8_lossy(path).chars().take(512).collect();
        ExtractError::Write { path, source: source.into() }
    }

    fn gap(&mut self, path: &[u8], reason: &str) {
        if self.report.gaps.len() < GAPS_MAX {
            let path = String::from_utf8_lossy(path).chars().take(512).collect();
            self.report.gaps.push(Gap { path, reason: reason.to_string() });
        }
    }

    /// The ids that an entry's owner has on this machine.
    fn owner(&self, path: &[u8], raw: &RawEntry) -> Result<Option<(u32, u32)>, ExtractError> {
        let map = |id: u64| {
            let out_of_range = |length| ExtractError::IdOutOfRange {
                path: String::from_utf8_lossy(path).into_owned(),
                id: u32::try_from(id).unwrap_or(u32::MAX),
                length,
            };
            // The last number means "leave as it is" to chown(2).
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            let id = id.ok_or_else(|| out_of_range(u32::MAX))?;
            match self.options.ownership {
                Ownership::Shift(shift) if id < shift.length => {
                    shift.start.checked_add(id).ok_or_else(|| out_of_range(shift.length))
                }
                Ownership::Shift(shift) => Err(out_of_range(shift.length)),
                _ => Ok(id),
            }
        };
        match self.options.ownership {
            Ownership::Ignore => Ok(None),
            _ => Ok(Some((map(raw.uid)?, map(raw.gid)?))),
        }
    }

    fn entry(&mut self, raw: &RawEntry, content: &mut impl Read) -> Result<(), ExtractError> {
        let limits = &self.image.limits;
        let path = match normalise(&raw.path, limits) {
            Ok(NormalPath { bytes, .. }) => bytes,
            Err(PathError::Empty) => return self.root_entry(raw),
            Err(PathError::Parent) => {
                return Err(self.hostile(&raw.path, HostileKind::ParentPath));
            }
            Err(PathError::Unusable) => {
                return Err(self.hostile(&raw.path, HostileKind::UnusablePath));
            }
        };
        match Marker::of(&path) {
            Marker::None => {}
            Marker::Whiteout(hidden) => return self.whiteout(&hidden),
            Marker::Opaque(folder) => {
                self.enter(&folder)?;
                self.report.n_whiteouts += 1;
                return self.make_opaque(&folder);
            }
            Marker::Metadata => {
                self.gap(&path, "bookkeeping of AUFS");
                return Ok(());
            }
            Marker::Bad => return Err(self.hostile(&path, HostileKind::UnusablePath)),
        }
        let kind = match raw.kind {
            RawKind::File(kind) => kind,
            RawKind::Sparse | RawKind::Unknown(_) => {
                return Err(ExtractError::Unsupported {
                    layer: self.layer,
                    path: String::from_utf8_lossy(&path).into_owned(),
                    what: "sparse file, or unknown type",
                });
            }
        };
        let (folder, name) = split(&path);
        self.enter(folder)?;
        let owner = self.owner(&path, raw)?;
        let was_whiteout = self.make_way(&path, kind == FileKind::Folder)?;
        self.report.n_entries += 1;
        match kind {
            FileKind::Regular => self.file(&path, name, raw, owner, content),
            FileKind::Folder => self.folder(&path, name, raw, owner, was_whiteout),
            FileKind::Symlink => self.symlink(&path, name, raw, owner),
            FileKind::HardLink => self.hard_link(&path, name, raw),
            FileKind::Fifo => self.fifo(&path, name, raw, owner),
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Socket => {
                self.report.n_entries -= 1;
                self.report.n_devices_refused += 1;
                self.gap(&path, "device nodes of images are not made");
                Ok(())
            }
        }
    }

    fn root_entry(&mut self, raw: &RawEntry) -> Result<(), ExtractError> {
        if raw.kind != RawKind::File(FileKind::Folder) {
            return Err(self.hostile(&raw.path, HostileKind::BelowNonFolder));
        }
        if let Some((uid, gid)) = self.owner(b"/", raw)? {
            chown(&self.root, uid, gid).map_err(|error| Self::write(b"/", error))?;
        }
        let mtime = Some((raw.mtime, raw.mtime_nanos));
        self.folders.insert(Vec::new(), FolderMeta { mode: raw.mode & 0o1777, mtime });
        Ok(())
    }

    /// Opens `folder` as the current one, making what is missing of it.
    fn enter(&mut self, folder: &[u8]) -> Result<(), ExtractError> {
        if self.parent.as_ref().is_some_and(|(path, _)| path == folder) {
            return Ok(());
        }
        let fd = match self.open_folder(folder, OFlags::PATH) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.make_folders(folder)?,
            Err(error) => return Err(Self::write(folder, error)),
        };
        self.parent = Some((folder.to_vec(), fd));
        Ok(())
    }

    fn open_folder(&self, folder: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if folder.is_empty() { os(b".") } else { os(folder) };
        let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        palisade_base::fs::open_resolved(&self.root, Path::new(path), flags, RESOLVE)
    }

    /// Makes the folders on the way to `folder` that have no entry of their own.
    fn make_folders(&mut self, folder: &[u8]) -> Result<OwnedFd, ExtractError> {
        let mut ends: Vec<usize> =
            folder.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).collect();
        ends.push(folder.len());
        let mut above =
            self.open_folder(b"", OFlags::PATH).map_err(|error| Self::write(folder, error))?;
        for end in ends {
            let path = &folder[..end];
            let (_, name) = split(path);
            let replaces_whiteout = self.whiteouts.remove(path);
            if replaces_whiteout {
                rustix::fs::unlinkat(&above, os(name), AtFlags::empty())
                    .map_err(|error| Self::write(path, error))?;
            }
            match rustix::fs::mkdirat(&above, os(name), Mode::RWXU) {
                Ok(()) => {
                    self.folders.insert(path.to_vec(), FolderMeta { mode: 0o755, mtime: None });
                    if let Ownership::Shift(shift) = self.options.ownership {
                        chown_at(&above, name, shift.start, shift.start)
                            .map_err(|error| Self::write(path, error))?;
                    }
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(Self::write(path, error)),
            }
            above = match self.open_folder(path, OFlags::PATH) {
                Ok(fd) => fd,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    return Err(self.hostile(path, HostileKind::BelowNonFolder));
                }
                Err(error) => return Err(Self::write(path, error)),
            };
            if replaces_whiteout {
                self.make_opaque(path)?;
            }
        }
        Ok(above)
    }

    fn current(&self) -> Result<&OwnedFd, ExtractError> {
        match &self.parent {
            Some((_, fd)) => Ok(fd),
            None => Err(Self::write(b"", io::Error::from(io::ErrorKind::NotFound))),
        }
    }

    /// Removes what an entry of the same layer left at `path`: the last entry counts.
    /// Returns whether it was a whiteout.
    fn make_way(&mut self, path: &[u8], is_folder: bool) -> Result<bool, ExtractError> {
        let (_, name) = split(path);
        let parent = self.current()?;
        let stat = match rustix::fs::statat(parent, os(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(Self::write(path, error)),
        };
        let exists_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (exists_folder, is_folder) {
            (true, true) => Ok(false),
            // Other engines would remove the tree; no honest tool writes such a layer.
            (true, false) => Err(self.hostile(path, HostileKind::BelowNonFolder)),
            (false, _) => {
                rustix::fs::unlinkat(parent, os(name), AtFlags::empty())
                    .map_err(|error| Self::write(path, error))?;
                Ok(self.whiteouts.remove(path))
            }
        }
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), ExtractError> {
        let (folder, name) = split(path);
        self.enter(folder)?;
        self.report.n_whiteouts += 1;
        let parent = self.current()?;
        match rustix::fs::statat(parent, os(name), AtFlags::SYMLINK_NOFOLLOW) {
            // A whiteout hides lower layers only, never what its own layer has: a file
            // replaces the lower one anyway, a folder must not let it show through.
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.make_opaque(path)
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) => {
                let mode = Mode::empty();
                rustix::fs::mknodat(parent, os(name), FileType::CharacterDevice, mode, 0)
                    .map_err(|error| Self::write(path, error))?;
                self.whiteouts.insert(path.to_vec());
                Ok(())
            }
            Err(error) => Err(Self::write(path, error)),
        }
    }

    fn make_opaque(&mut self, folder: &[u8]) -> Result<(), ExtractError> {
        let name = if self.options.user_overlay_xattrs {
            "user.overlay.opaque"
        } else {
            "trusted.overlay.opaque"
        };
        let fd =
            self.open_folder(folder, OFlags::RDONLY).map_err(|error| Self::write(folder, error))?;
        rustix::fs::fsetxattr(fd, name, b"y", XattrFlags::empty())
            .map_err(|error| Self::write(folder, error))
    }

    /// The permission bits to give a file.
    fn mode(&mut self, raw: &RawEntry) -> Mode {
        let mut mode = raw.mode & 0o7777;
        if !self.options.keep_setuid && mode & 0o6000 != 0 {
            mode &= 0o1777;
            self.report.n_setuid_dropped += 1;
        }
        Mode::from_raw_mode(mode)
    }

    fn file(
        &mut self,
        path: &[u8],
        name: &[u8],
        raw: &RawEntry,
        owner: Option<(u32, u32)>,
        content: &mut impl Read,
    ) -> Result<(), ExtractError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.current()?, os(name), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| Self::write(path, error))?;
        let mut file = File::from(fd);
        self.copy(path, content, &mut file)?;
        self.report.n_bytes += raw.size;
        // In this order: chown clears setuid bits and capabilities.
        if let Some((uid, gid)) = owner {
            chown(&file, uid, gid).map_err(|error| Self::write(path, error))?;
        }
        let mode = self.mode(raw);
        rustix::fs::fchmod(&file, mode).map_err(|error| Self::write(path, error))?;
        self.xattrs(path, &file, raw)?;
        rustix::fs::futimens(&file, &times(raw.mtime, raw.mtime_nanos))
            .map_err(|error| Self::write(path, error))
    }

    /// Copies a file's content; an error is the layer's or the disk's.
    fn copy(
        &self,
        path: &[u8],
        content: &mut impl Read,
        file: &mut File,
    ) -> Result<(), ExtractError> {
        use std::io::Write as _;
        let mut buffer = vec![0_u8; 128 * 1024];
        loop {
            let n = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadImageError::from_io(self.layer, error).into()),
            };
            let bytes = buffer.get(..n).unwrap_or_default();
            file.write_all(bytes).map_err(|error| Self::write(path, error))?;
        }
    }

    fn xattrs(&mut self, path: &[u8], fd: impl AsFd, raw: &RawEntry) -> Result<(), ExtractError> {
        self.report.n_xattrs_dropped += u64::from(raw.xattrs_dropped);
        for (name, value) in &raw.xattrs {
            let Some(value) = self.kept_xattr(name, value) else {
                self.report.n_xattrs_dropped += 1;
                continue;
            };
            match rustix::fs::fsetxattr(&fd, name.as_str(), &value, XattrFlags::empty()) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {
                    self.report.n_xattrs_dropped += 1;
                    self.gap(path, "extended attribute not supported here");
                }
                Err(error) => return Err(Self::write(path, error)),
            }
        }
        Ok(())
    }

    /// The value to write for an attribute, or nothing for one that a layer must not set:
    /// overlay's own would let a layer redirect others.
    fn kept_xattr(&self, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        if name == xattr::CAPABILITY {
            return match (self.options.capabilities, self.options.ownership) {
                (CapabilityXattr::Drop, _) => None,
                (CapabilityXattr::Keep, Ownership::Shift(shift)) => {
                    options::namespaced_capability(value, shift.start)
                }
                (CapabilityXattr::Keep, _) => Some(value.to_vec()),
            };
        }
        let kept = name.starts_with("user.") && !name.starts_with("user.overlay.");
        kept.then(|| value.to_vec())
    }

    fn folder(
        &mut self,
        path: &[u8],
        name: &[u8],
        raw: &RawEntry,
        owner: Option<(u32, u32)>,
        was_whiteout: bool,
    ) -> Result<(), ExtractError> {
        match rustix::fs::mkdirat(self.current()?, os(name), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Self::write(path, error)),
        }
        let fd =
            self.open_folder(path, OFlags::RDONLY).map_err(|error| Self::write(path, error))?;
        if let Some((uid, gid)) = owner {
            chown(&fd, uid, gid).map_err(|error| Self::write(path, error))?;
        }
        self.xattrs(path, &fd, raw)?;
        if was_whiteout {
            self.make_opaque(path)?;
        }
        let mode = self.mode(raw).as_raw_mode();
        let mtime = Some((raw.mtime, raw.mtime_nanos));
        self.folders.insert(path.to_vec(), FolderMeta { mode, mtime });
        Ok(())
    }

    fn symlink(
        &mut self,
        path: &[u8],
        name: &[u8],
        raw: &RawEntry,
        owner: Option<(u32, u32)>,
    ) -> Result<(), ExtractError> {
        let too_long = raw.link.len() > self.image.limits.path_bytes_max;
        if raw.link.is_empty() || raw.link.contains(&0) || too_long {
            return Err(self.hostile(path, HostileKind::UnusablePath));
        }
        let parent = self.current()?;
        rustix::fs::symlinkat(os(&raw.link), parent, os(name))
            .map_err(|error| Self::write(path, error))?;
        self.finish_at(path, name, raw, owner)
    }

    fn hard_link(&mut self, path: &[u8], name: &[u8], raw: &RawEntry) -> Result<(), ExtractError> {
        let bad = |this: &Self| this.hostile(path, HostileKind::BadHardLink);
        let target = normalise(&raw.link, &self.image.limits).map_err(|_| bad(self))?.bytes;
        let (target_folder, target_name) = split(&target);
        if target == path || self.whiteouts.contains(&target) {
            return Err(bad(self));
        }
        let from = self.open_folder(target_folder, OFlags::PATH).map_err(|_| bad(self))?;
        let linked =
            rustix::fs::linkat(from, os(target_name), self.current()?, os(name), AtFlags::empty());
        match linked {
            Ok(()) => Ok(()),
            Err(Errno::NOENT | Errno::PERM | Errno::NOTDIR) => Err(bad(self)),
            Err(error) => Err(Self::write(path, error)),
        }
    }

    fn fifo(
        &mut self,
        path: &[u8],
        name: &[u8],
        raw: &RawEntry,
        owner: Option<(u32, u32)>,
    ) -> Result<(), ExtractError> {
        let mode = Mode::from_raw_mode(raw.mode & 0o777);
        let parent = self.current()?;
        rustix::fs::mkfifoat(parent, os(name), mode).map_err(|error| Self::write(path, error))?;
        // The umask took bits away. Nothing else writes below the temporary folder, so that
        // the name is still the pipe.
        rustix::fs::chmodat(parent, os(name), mode, AtFlags::empty())
            .map_err(|error| Self::write(path, error))?;
        self.finish_at(path, name, raw, owner)
    }

    /// Owner and time of what cannot be opened.
    fn finish_at(
        &self,
        path: &[u8],
        name: &[u8],
        raw: &RawEntry,
        owner: Option<(u32, u32)>,
    ) -> Result<(), ExtractError> {
        let parent = self.current()?;
        if let Some((uid, gid)) = owner {
            chown_at(parent, name, uid, gid).map_err(|error| Self::write(path, error))?;
        }
        let times = times(raw.mtime, raw.mtime_nanos);
        rustix::fs::utimensat(parent, os(name), &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Self::write(path, error))
    }

    /// Gives folders their modes and times, the deepest first: both would be in the way
    /// while their contents were written.
    fn finish_folders(&mut self) -> Result<(), ExtractError> {
        self.parent = None;
        for (path, meta) in std::mem::take(&mut self.folders).into_iter().rev() {
            let fd = self
                .open_folder(&path, OFlags::RDONLY)
                .map_err(|error| Self::write(&path, error))?;
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(meta.mode))
                .map_err(|error| Self::write(&path, error))?;
            if let Some((seconds, nanos)) = meta.mtime {
                rustix::fs::futimens(&fd, &times(seconds, nanos))
                    .map_err(|error| Self::write(&path, error))?;
            }
        }
        Ok(())
    }
}

fn chown(fd: impl AsFd, uid: u32, gid: u32) -> io::Result<()> {
    Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?)
}

fn chown_at(parent: &OwnedFd, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    Ok(rustix::fs::chownat(
        parent,
        os(name),
        Some(Uid::from_raw(uid)),
        Some(Gid::from_raw(gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

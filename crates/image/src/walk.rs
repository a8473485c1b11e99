//! Presents the files that a container made from the image would see, in one pass.
//!
//! Layers are read from the top down, each once and some ahead by other threads, so that the first version of a path that is
//! met is the one that counts. Only content behind hard links is read again: a name in an
//! upper part of a layer can outlive the file it shares its content with.
//!
//! Nothing is written, nothing is followed on the machine's own file system.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};

use crate::aci::{is_of_format, within_rootfs};
use crate::ahead::{self, Ahead};
use crate::entry::{FileEntry, FileKind, HostileKind, Visit, Walked, is_usual_device};
use crate::error::ReadImageError;
use crate::links::Links;
use crate::open::{Image, Source};
use crate::squash::{
    Clash, Marker, NormalPath, PathError, Sight, Squash, climbs_above_root, normalise,
};
use crate::tarball::{RawEntry, RawKind, TarReader};

/// Times that a layer is read again for contents behind hard links. Each pass serves every
/// file once; only a file with more wanted names than this leaves a gap.
const LINK_PASSES_MAX: usize = 8;

/// What a walk calls for every entry: the entry, and a reader of its content, which is empty
/// for everything but regular files.
pub type Visitor<'v> = dyn FnMut(&FileEntry, &mut dyn Read) -> Visit + 'v;

/// A hard link whose content is to be presented.
struct WantedLink {
    target: Vec<u8>,
    entry: FileEntry,
}

impl Image {
    /// Presents every file of the squashed view to `visitor`: for images the top layer first,
    /// for folders in the order of their paths.
    ///
    /// # Errors
    ///
    /// A layer that lies, is malformed or passes a limit. What the visitor was given before
    /// is void then: it may come from the lie.
    pub fn walk(&self, visitor: &mut Visitor<'_>) -> Result<Walked, ReadImageError> {
        let mut walked = Walked::default();
        match &self.source {
            Source::Folder { root, is_host } => {
                crate::folder::walk(root, *is_host, &self.limits, visitor, &mut walked)?;
            }
            Source::Blobs(_) | Source::Unpacked | Source::Aci(_) => {
                self.missing_gaps(&mut walked);
                let mut walk = LayerWalk {
                    image: self,
                    is_aci: matches!(self.source, Source::Aci(_)),
                    squash: Squash::default(),
                    walked: &mut walked,
                    n_entries_left: self.limits.entries_max,
                    links: HashMap::new(),
                    symlinks: Links::default(),
                    wanted: Vec::new(),
                };
                self.announce_layers();
                std::thread::scope(|scope| {
                    let mut ahead = Ahead::start(scope, self);
                    while let Some((index, layer)) = ahead.layer() {
                        walk.layer(index, layer, visitor)?;
                        if walk.walked.stopped {
                            break;
                        }
                    }
                    Ok::<_, ReadImageError>(())
                })?;
                let symlinks = walk.symlinks;
                walked.circles(&symlinks, &self.limits);
            }
        }
        Ok(walked)
    }

    /// Says which files an App Container Image gets from others.
    fn missing_gaps(&self, walked: &mut Walked) {
        let Source::Aci(aci) = &self.source else { return };
        for name in &aci.dependencies {
            let reason =
                format!("the files of `{name}`, which come below this image's, are not in it");
            walked.gap(self.limits.records_max, "/", &reason);
        }
    }

    /// Reads the files at `paths` (without leading slash), following links inside the image.
    /// A path that is missing, no regular file, or in a link loop is not in the answer.
    ///
    /// # Errors
    ///
    /// As [`Image::walk`]; also a file larger than `limit` bytes.
    pub fn read_files(
        &self,
        paths: &[&str],
        limit: u64,
    ) -> Result<BTreeMap<String, Vec<u8>>, ReadImageError> {
        if let Source::Folder { root, .. } = &self.source {
            return read_from_folder(root, paths, limit);
        }
        let mut links: HashMap<String, String> = HashMap::new();
        let mut found: HashMap<String, Vec<u8>> = HashMap::new();
        let mut wanted: BTreeMap<String, String> =
            paths.iter().map(|path| ((*path).to_string(), (*path).to_string())).collect();
        let mut failure = None;
        // The first pass finds files and all links; the second what the links lead to.
        for _ in 0..2 {
            self.walk(&mut |entry, content| {
                if entry.kind == FileKind::Symlink {
                    links.insert(entry.path.clone(), entry.link.clone().unwrap_or_default());
                }
                if !wanted.values().any(|path| *path == entry.path) {
                    return Visit::Continue;
                }
                if entry.kind == FileKind::Regular {
                    match palisade_base::read_bounded(content, "file", limit) {
                        Ok(bytes) => drop(found.insert(entry.path.clone(), bytes)),
                        Err(error) => failure = Some((entry.layer, error)),
                    }
                }
                Visit::Follow
            })?;
            if let Some((layer, error)) = failure {
                let layer = layer.and_then(|at| self.layers.get(at)).map(|layer| layer.digest);
                let layer = layer.unwrap_or(palisade_base::Digest::from_bytes([0; 32]));
                return Err(ReadImageError::from_io(layer, error));
            }
            let mut again = false;
            for path in wanted.values_mut() {
                if !found.contains_key(path)
                    && let Some(real) = resolve(path, &links, self.limits.links_max)
                    && real != *path
                {
                    *path = real;
                    again = true;
                }
            }
            if !again {
                break;
            }
        }
        let answer = |(path, real): (String, String)| Some((path, found.get(&real)?.clone()));
        Ok(wanted.into_iter().filter_map(answer).collect())
    }
}

fn read_from_folder(
    root: &palisade_base::Root,
    paths: &[&str],
    limit: u64,
) -> Result<BTreeMap<String, Vec<u8>>, ReadImageError> {
    let mut found = BTreeMap::new();
    for path in paths {
        match root.read(path.as_ref(), limit) {
            Ok(bytes) => drop(found.insert((*path).to_string(), bytes)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidInput
                ) || is_link_loop(&error) => {}
            Err(source) => {
                return Err(ReadImageError::Folder { path: root.path().join(path), source });
            }
        }
    }
    Ok(found)
}

fn is_link_loop(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

/// Follows the links of `table` from `path`, inside the root.
fn resolve(path: &str, table: &HashMap<String, String>, links_max: usize) -> Option<String> {
    let mut todo: Vec<String> = path.rsplit('/').map(str::to_string).collect();
    let mut done: Vec<String> = Vec::new();
    let mut n_links = 0;
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        if let Some(target) = table.get(&done.join("/")) {
            n_links += 1;
            if n_links > links_max {
                return None;
            }
            done.pop();
            if target.starts_with('/') {
                done.clear();
            }
            todo.extend(target.rsplit('/').map(str::to_string));
        }
    }
    Some(done.join("/"))
}

/// A reader of an entry's content that keeps the first error for the walk: the visitor may
/// have swallowed it.
struct Content<'c, R> {
    inner: &'c mut R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = &self.error {
            return Err(error.kind().into());
        }
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error);
            }
            kind.into()
        })
    }
}

struct LayerWalk<'w> {
    image: &'w Image,
    /// Files lie below `rootfs/`, and no name hides others.
    is_aci: bool,
    squash: Squash,
    walked: &'w mut Walked,
    n_entries_left: u64,
    /// Hard links of the current layer, to what they name.
    links: HashMap<Vec<u8>, Vec<u8>>,
    /// Symbolic links of all layers that a container sees.
    symlinks: Links,
    wanted: Vec<WantedLink>,
}

impl LayerWalk<'_> {
    fn layer(
        &mut self,
        index: usize,
        stream: ahead::Layer,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), ReadImageError> {
        self.links.clear();
        self.wanted.clear();
        let image = self.image;
        let layer = image.layers.get(index).ok_or(ReadImageError::NoLayer(index))?.digest;
        let from_io = |error| ReadImageError::from_io(layer, error);
        let mut tar =
            TarReader::passing(stream, ahead::Layer::pass, &image.limits, self.n_entries_left);
        while let Some(raw) = tar.next_entry().map_err(from_io)? {
            self.entry(index, &raw, &mut tar, visitor).map_err(from_io)?;
            if self.walked.stopped {
                break;
            }
        }
        self.n_entries_left = self.n_entries_left.saturating_sub(tar.n_entries());
        // What is left of the layer is read, so that all of it is proved.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(from_io)?;
        for _ in 0..LINK_PASSES_MAX {
            if self.wanted.is_empty() || self.walked.stopped {
                break;
            }
            self.link_pass(index, visitor)?;
        }
        for link in std::mem::take(&mut self.wanted) {
            self.gap(&link.entry.path, "content behind this hard link was not found");
        }
        self.squash.end_layer();
        Ok(())
    }

    fn gap(&mut self, path: &str, reason: &str) {
        self.walked.gap(self.image.limits.records_max, path, reason);
    }

    fn hostile(&mut self, path: &[u8], kind: HostileKind, layer: usize) {
        let path = String::from_utf8_lossy(path);
        self.walked.hostile(self.image.limits.records_max, &path, kind, Some(layer));
    }

    /// An entry that cannot be examined because of what it is.
    fn refuse(&mut self, path: &[u8], kind: HostileKind, layer: usize) {
        self.hostile(path, kind, layer);
        self.gap(&String::from_utf8_lossy(path), kind.describe());
    }

    fn path(&mut self, raw: &[u8], layer: usize) -> Option<Vec<u8>> {
        match normalise(raw, &self.image.limits) {
            Ok(NormalPath { bytes, absolute }) => {
                if absolute {
                    self.hostile(raw, HostileKind::AbsolutePath, layer);
                }
                Some(bytes)
            }
            Err(PathError::Empty) => None,
            Err(PathError::Parent) => {
                self.refuse(raw, HostileKind::ParentPath, layer);
                None
            }
            Err(PathError::Unusable) => {
                self.refuse(raw, HostileKind::UnusablePath, layer);
                None
            }
        }
    }

    /// The path of an entry of an App Container Image, which has no whiteouts.
    fn path_of_aci(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        if let Some(inside) = within_rootfs(path) {
            return Some(inside.to_vec());
        }
        if !is_of_format(path) {
            self.gap(&String::from_utf8_lossy(path), "lies outside of the image's rootfs");
        }
        None
    }

    /// The path of an entry that a container sees; notes whiteouts and what is hidden.
    fn visible_path(&mut self, raw: &RawEntry, layer: usize) -> Option<Vec<u8>> {
        let mut path = self.path(&raw.path, layer)?;
        let marker = if self.is_aci {
            path = self.path_of_aci(&path)?;
            Marker::None
        } else {
            Marker::of(&path)
        };
        match marker {
            Marker::None => {}
            Marker::Whiteout(hidden) => {
                self.squash.whiteout(hidden);
                return None;
            }
            Marker::Opaque(folder) => {
                self.squash.opaque(folder);
                return None;
            }
            Marker::Metadata => return None,
            Marker::Bad => {
                self.refuse(&path, HostileKind::UnusablePath, layer);
                return None;
            }
        }
        match self.squash.sight(&path) {
            Sight::Visible => {}
            sight => {
                self.walked.n_hidden += 1;
                if sight == Sight::UnderImplicitFolder
                    && raw.kind == RawKind::File(FileKind::Symlink)
                {
                    self.hostile(&path, HostileKind::ImplicitFolderOverLink, layer);
                }
                return None;
            }
        }
        Some(path)
    }

    fn entry<R: Read>(
        &mut self,
        layer: usize,
        raw: &RawEntry,
        tar: &mut TarReader<'_, R>,
        visitor: &mut Visitor<'_>,
    ) -> io::Result<()> {
        let Some(path) = self.visible_path(raw, layer) else {
            return Ok(());
        };
        let is_folder = raw.kind == RawKind::File(FileKind::Folder);
        match self.squash.add(path.clone(), is_folder) {
            Clash::None => {}
            Clash::Duplicate => self.hostile(&path, HostileKind::Duplicate, layer),
            Clash::BelowNonFolder => self.hostile(&path, HostileKind::BelowNonFolder, layer),
        }
        let kind = match raw.kind {
            RawKind::File(kind) => kind,
            RawKind::Sparse => {
                self.gap(&String::from_utf8_lossy(&path), "sparse file of GNU tar");
                return Ok(());
            }
            RawKind::Unknown(flag) => {
                let reason = format!("archive entry of the unknown type {flag:#04x}");
                self.gap(&String::from_utf8_lossy(&path), &reason);
                return Ok(());
            }
        };
        if raw.xattrs_dropped {
            self.gap(&String::from_utf8_lossy(&path), "extended attributes beyond the limit");
        }
        let Some(link) = self.link(&path, raw, kind, layer) else {
            return Ok(());
        };
        let entry = file_entry(&path, raw, kind, &link, layer);
        let visit = self.present(&entry, tar, visitor)?;
        if kind == FileKind::HardLink {
            let hidden = self.squash.sight(&link) != Sight::Visible;
            if hidden || visit == Visit::Follow {
                self.wanted.push(WantedLink { target: link, entry });
            }
        }
        Ok(())
    }

    /// The link target to present; empty for what is no link, `None` for an entry that is not
    /// to be presented.
    fn link(
        &mut self,
        path: &[u8],
        raw: &RawEntry,
        kind: FileKind,
        layer: usize,
    ) -> Option<Vec<u8>> {
        match kind {
            FileKind::Symlink => {
                if raw.link.len() > self.image.limits.path_bytes_max || raw.link.contains(&0) {
                    self.refuse(path, HostileKind::UnusablePath, layer);
                    return None;
                }
                if climbs_above_root(path, &raw.link) {
                    self.refuse(path, HostileKind::LinkAboveRoot, layer);
                }
                self.symlinks.add(path, &raw.link, Some(layer));
                Some(raw.link.clone())
            }
            FileKind::HardLink => {
                let Ok(NormalPath { bytes, .. }) = normalise(&raw.link, &self.image.limits) else {
                    self.refuse(path, HostileKind::BadHardLink, layer);
                    return None;
                };
                let mut target = bytes;
                if self.is_aci {
                    let Some(inside) = within_rootfs(&target).map(<[u8]>::to_vec) else {
                        self.refuse(path, HostileKind::BadHardLink, layer);
                        return None;
                    };
                    target = inside;
                }
                // A link to a link names the same file.
                if let Some(real) = self.links.get(&target) {
                    target.clone_from(real);
                }
                let visible = self.squash.sight(&target) == Sight::Visible;
                if target == path || (visible && !self.squash.current_has(&target)) {
                    self.refuse(path, HostileKind::BadHardLink, layer);
                    return None;
                }
                self.links.insert(path.to_vec(), target.clone());
                Some(target)
            }
            FileKind::CharDevice | FileKind::BlockDevice => {
                if is_usual_device(path, kind, raw.device) {
                    self.hostile(path, HostileKind::Device, layer);
                } else {
                    self.refuse(path, HostileKind::Device, layer);
                }
                Some(Vec::new())
            }
            _ => Some(Vec::new()),
        }
    }

    fn present<R: Read>(
        &mut self,
        entry: &FileEntry,
        tar: &mut TarReader<'_, R>,
        visitor: &mut Visitor<'_>,
    ) -> io::Result<Visit> {
        self.walked.n_entries += 1;
        if entry.kind == FileKind::Regular {
            self.walked.n_files += 1;
            self.walked.n_bytes += entry.size;
        }
        let mut content = Content { inner: tar, error: None };
        let visit = visitor(entry, &mut content);
        if let Some(error) = content.error {
            return Err(error);
        }
        self.walked.stopped |= visit == Visit::Stop;
        Ok(visit)
    }

    /// Reads the layer again and presents each wanted content once.
    fn link_pass(&mut self, index: usize, visitor: &mut Visitor<'_>) -> Result<(), ReadImageError> {
        let image = self.image;
        let layer = image.layers.get(index).ok_or(ReadImageError::NoLayer(index))?.digest;
        let from_io = |error| ReadImageError::from_io(layer, error);
        let mut wanted: HashMap<Vec<u8>, FileEntry> = HashMap::new();
        let mut later = Vec::new();
        for link in std::mem::take(&mut self.wanted) {
            match wanted.entry(link.target) {
                Entry::Vacant(place) => drop(place.insert(link.entry)),
                Entry::Occupied(place) => {
                    later.push(WantedLink { target: place.key().clone(), entry: link.entry });
                }
            }
        }
        image.read_layer(index, image.limits.entries_max, |tar| {
            while let Some(raw) = tar.next_entry().map_err(from_io)? {
                if wanted.is_empty() || self.walked.stopped {
                    break;
                }
                if raw.kind != RawKind::File(FileKind::Regular) {
                    continue;
                }
                let Ok(path) = normalise(&raw.path, &image.limits) else {
                    continue;
                };
                let path =
                    if self.is_aci { within_rootfs(&path.bytes) } else { Some(&path.bytes[..]) };
                if let Some(mut entry) = path.and_then(|path| wanted.remove(path)) {
                    entry.kind = FileKind::Regular;
                    entry.size = raw.size;
                    entry.link = None;
                    self.present(&entry, tar, visitor).map_err(from_io)?;
                }
            }
            Ok::<_, ReadImageError>(())
        })?;
        for entry in wanted.into_values() {
            self.gap(&entry.path, "content behind this hard link was not found");
        }
        self.wanted = later;
        Ok(())
    }
}

fn file_entry(path: &[u8], raw: &RawEntry, kind: FileKind, link: &[u8], layer: usize) -> FileEntry {
    FileEntry {
        path: String::from_utf8_lossy(path).into_owned(),
        kind,
        mode: raw.mode,
        // Larger numbers name nobody on Linux; they are shown as the largest.
        uid: u32::try_from(raw.uid).unwrap_or(u32::MAX),
        gid: u32::try_from(raw.gid).unwrap_or(u32::MAX),
        size: raw.size,
        mtime: raw.mtime,
        link: matches!(kind, FileKind::Symlink | FileKind::HardLink)
            .then(|| String::from_utf8_lossy(link).into_owned()),
        xattrs: raw.xattrs.clone(),
        layer: Some(layer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_inside_the_root() {
        let table: HashMap<String, String> = [
            ("lib", "usr/lib"),
            ("etc/os-release", "../usr/lib/os-release"),
            ("up", "../../../etc/passwd"),
            ("absolute", "/etc/passwd"),
            ("loop", "loop"),
        ]
        .map(|(a, b)| (a.to_string(), b.to_string()))
        .into();
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(resolve(path, &table, 40).as_deref(), expected, "{path}");
        };
        check("etc/passwd", Some("etc/passwd"));
        check("lib/apk/db", Some("usr/lib/apk/db"));
        check("etc/os-release", Some("usr/lib/os-release"));
        check("up", Some("etc/passwd"));
        check("absolute", Some("etc/passwd"));
        check("loop", None);
    }
}

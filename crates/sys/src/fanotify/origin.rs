//! Whether a program that is about to start is the image's: asked of the layers of the overlay that
//! is the container's root.
//!
//! A file is the image's if its content is what the topmost layer has that knows its path. A file
//! that was only copied to the writable layer, for its mode or owner, is still the image's. Nothing
//! is concluded from names alone where the writable layer has a say: contents are compared then, of
//! the very file that waits, so that what is renamed meanwhile gains nothing.
//!
//! Layers are read by descriptors below the folders of the layers, and no link is followed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use palisade_base::fs::open_resolved;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Request;
use crate::cgroup::unescape_octal;

/// Layers of one root file system; the kernel takes no more (`OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;
/// Bytes of a `mountinfo` that are read.
const MOUNTINFO_BYTES_MAX: u64 = 4 << 20;
/// Bytes that are compared at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Folders above a file.
const DEPTH_MAX: usize = 256;

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The image has this file, with this content.
    Image,
    /// The image has another content at its path.
    Changed,
    /// The image has no file at its path.
    Added,
    /// It is on another file system than the image: a volume, a temporary file system.
    Elsewhere,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Image => "the image's",
            Self::Changed => "changed: the image has another content there",
            Self::Added => "added: the image has no such file",
            Self::Elsewhere => "on another file system than the image's",
        })
    }
}

/// The layers of a container's root: paths, so that no descriptor is held for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layers {
    /// The mount that is the root, as [`Request::mount_id`] names it.
    mount: u64,
    /// The image's, top first; `None` where only the mounter knows where they are.
    lowers: Option<Vec<PathBuf>>,
    upper: PathBuf,
}

impl Layers {
    /// Of the image's layers, top first, and the writable one. `mount` is the number of the
    /// overlay's mount in the container. If a layer of the image has a relative path, which means
    /// another folder to everybody, the writable layer alone decides. `None` if they are too many.
    pub fn new(mount: u64, lowers: Vec<PathBuf>, upper: PathBuf) -> Option<Self> {
        if lowers.len() > LAYERS_MAX {
            return None;
        }
        let is_known = lowers.iter().all(|path| path.is_absolute());
        Some(Self { mount, lowers: is_known.then_some(lowers), upper })
    }

    /// The layers of the root of process `pid`, as its mount table names them. `None` if its root is
    /// no overlay with a writable layer that can be found.
    pub fn of_process(pid: u32) -> io::Result<Option<Self>> {
        let file = File::open(format!("/proc/{pid}/mountinfo"))?;
        let text = palisade_base::read_bounded(file, "mountinfo", MOUNTINFO_BYTES_MAX)
            .map_err(io::Error::other)?;
        let Some(named) = root_overlay(&String::from_utf8_lossy(&text)) else { return Ok(None) };
        let Named { mount, lowers, upper } = named;
        if upper.is_relative() {
            return Ok(None);
        }
        Ok(Self::new(mount, lowers, upper))
    }

    /// Number of the root's mount.
    pub fn mount(&self) -> u64 {
        self.mount
    }

    /// Where the file of a request comes from.
    pub fn origin(&self, request: &Request) -> io::Result<Origin> {
        if request.mount_id()? != self.mount {
            return Ok(Origin::Elsewhere);
        }
        let path = request.path()?;
        let origin = self.origin_of(&request.file, &path)?;
        // Without the image's layers a name is all there is: it must not have changed meanwhile.
        let is_moved = self.lowers.is_none() && request.path()? != path;
        Ok(if is_moved { Origin::Added } else { origin })
    }

    fn origin_of(&self, file: &File, path: &Path) -> io::Result<Origin> {
        let Some(relative) = below(path) else { return Ok(Origin::Added) };
        let is_covered =
            is_covered(&folder(&self.upper)?, &relative) || file.metadata()?.nlink() == 0;
        let Some(lowers) = &self.lowers else {
            return Ok(if is_covered { Origin::Added } else { Origin::Image });
        };
        let Some(image) = image_file(lowers, &relative)? else { return Ok(Origin::Added) };
        if !is_covered {
            return Ok(Origin::Image);
        }
        Ok(if same_content(file, &image)? { Origin::Image } else { Origin::Changed })
    }
}

/// Opens the folder of a layer. It is an engine's, which may reach it by links of its own.
fn folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// The regular file that the image has at a path.
fn image_file(lowers: &[PathBuf], relative: &Path) -> io::Result<Option<File>> {
    for lower in lowers {
        let lower = folder(lower)?;
        match open_below(&lower, relative, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(found) => {
                let found = File::from(found);
                // A device here is a whiteout, which hides what is below.
                return Ok(found.metadata()?.is_file().then_some(found));
            }
            Err(Errno::NOENT) if !hides_below(&lower, relative) => {}
            // A link, a device that cannot be opened, a file where a folder should be.
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// The path without its first slash, if it has none but plain components.
fn below(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return None;
    }
    let parts: Vec<_> = parts.collect();
    let is_plain = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    (is_plain && !parts.is_empty() && parts.len() <= DEPTH_MAX).then(|| parts.into_iter().collect())
}

fn open_below(folder: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    open_resolved(folder, path, flags | OFlags::NOFOLLOW, resolve)
}

/// Whether the writable layer has a say at `path`: an entry, a whiteout, or a folder above it that
/// hides what the image has there.
fn is_covered(upper: &OwnedFd, path: &Path) -> bool {
    match open_below(upper, path, OFlags::PATH) {
        Err(Errno::NOENT) => hides_below(upper, path),
        _ => true,
    }
}

/// Whether a folder of `layer` above `path` is opaque, or something else stands in its place.
fn hides_below(layer: &OwnedFd, path: &Path) -> bool {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.retain(|path| !path.as_os_str().is_empty());
    for folder in above.into_iter().rev() {
        match open_below(layer, folder, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) if is_opaque(&folder) => return true,
            Ok(_) => {}
            Err(Errno::NOENT) => return false,
            Err(_) => return true,
        }
    }
    false
}

/// `Documentation/filesystems/overlayfs.rst`, "whiteouts and opaque directories".
fn is_opaque(folder: &OwnedFd) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].into_iter().any(|name| {
        let mut value = [0_u8; 8];
        matches!(rustix::fs::fgetxattr(folder, name, &mut value), Ok(1) if value.first() == Some(&b'y'))
    })
}

fn same_content(one: &File, other: &File) -> io::Result<bool> {
    let n_bytes = one.metadata()?.len();
    if other.metadata()?.len() != n_bytes {
        return Ok(false);
    }
    let (mut first, mut second) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
    let mut at = 0;
    while at < n_bytes {
        let left = usize::try_from(n_bytes - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let (Some(first), Some(second)) = (first.get_mut(..left), second.get_mut(..left)) else {
            return Ok(false);
        };
        one.read_exact_at(first, at)?;
        other.read_exact_at(second, at)?;
        if first != second {
            return Ok(false);
        }
        at += left as u64;
    }
    Ok(true)
}

/// An overlay as a mount table names it.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    mount: u64,
    lowers: Vec<PathBuf>,
    upper: PathBuf,
}

/// The overlay that is mounted last at the root, from the text of `/proc/PID/mountinfo`.
fn root_overlay(text: &str) -> Option<Named> {
    let mut at_root = text.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let id: u64 = fields.next()?.parse().ok()?;
        (fields.nth(3)? == "/").then_some((id, rest))
    });
    let (mount, rest) = at_root.next_back()?;
    let mut rest = rest.split(' ');
    if rest.next() != Some("overlay") {
        return None;
    }
    let mut lowers = Vec::new();
    let mut upper = None;
    for option in rest.nth(1)?.split(',') {
        let Some((name, value)) = option.split_once('=') else { continue };
        match name {
            "upperdir" => upper = Some(PathBuf::from(unescape_octal(value))),
            "lowerdir" => lowers.extend(split_layers(&unescape_octal(value))),
            // One layer each, since Linux 6.7.
            "lowerdir+" => lowers.push(PathBuf::from(unescape_octal(value))),
            _ => {}
        }
    }
    if lowers.is_empty() || lowers.len() > LAYERS_MAX {
        return None;
    }
    Some(Named { mount, lowers, upper: upper? })
}

/// `a:b\:c` is two layers. What stands behind `::` holds data alone, and no names.
fn split_layers(text: &str) -> Vec<PathBuf> {
    let mut out = vec![String::new()];
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (char, out.last_mut()) {
            ('\\', Some(last)) => last.extend(chars.next()),
            (':', _) => out.push(String::new()),
            (char, Some(last)) => last.push(char),
            (_, None) => {}
        }
    }
    out.into_iter().take_while(|path| !path.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_are_read_from_the_mount_table() {
        let check = |text: &str, expected: Option<(u64, &[&str], &str)>| {
            let expected = expected.map(|(mount, lowers, upper)| Named {
                mount,
                lowers: lowers.iter().map(PathBuf::from).collect(),
                upper: upper.into(),
            });
            assert_eq!(root_overlay(text), expected, "{text}");
        };
        let line = |id: u64, point: &str, kind: &str, options: &str| {
            format!("{id} 1 0:40 / {point} rw,relatime - {kind} overlay {options}\n")
        };
        let options = r"rw,lowerdir=/a:/b\134:c:/d\040e,upperdir=/u\054p,workdir=/w";
        let overlay = line(7, "/", "overlay", options);
        check(&overlay, Some((7, &["/a", "/b:c", "/d e"], "/u,p")));
        check(
            &line(8, "/", "overlay", "rw,lowerdir+=/a,lowerdir+=/b,upperdir=/u"),
            Some((8, &["/a", "/b"], "/u")),
        );
        check(
            &line(8, "/", "overlay", "rw,lowerdir=/a::/data,upperdir=/u"),
            Some((8, &["/a"], "/u")),
        );
        // Without a writable layer, of another kind, covered by another mount, elsewhere, nothing.
        check(&line(8, "/", "overlay", "ro,lowerdir=/a:/b"), None);
        check(&line(8, "/", "overlay", "rw,upperdir=/u"), None);
        check(&line(8, "/", "ext4", options), None);
        check(&format!("{overlay}{}", line(9, "/", "tmpfs", "rw")), None);
        check(&line(8, "/mnt", "overlay", options), None);
        check("", None);
        check("x - overlay", None);
        let many = "/l:".repeat(LAYERS_MAX + 1);
        check(&line(8, "/", "overlay", &format!("rw,lowerdir={many},upperdir=/u")), None);
    }

    #[test]
    fn paths_that_are_not_plain_are_none() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(below(Path::new(path)), expected.map(PathBuf::from), "{path}");
        };
        check("/bin/sh", Some("bin/sh"));
        check("bin/sh", None);
        check("/", None);
        check("/a/../b", None);
        check(&"/a".repeat(DEPTH_MAX + 1), None);
    }

    #[test]
    fn a_file_is_the_images_by_its_content_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        let file = |path: &str, content: &str| {
            std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            std::fs::write(at(path), content).unwrap();
        };
        file("top/bin/both", "new");
        file("base/bin/both", "old");
        file("base/bin/kept", "kept");
        file("base/bin/copied", "same");
        file("base/bin/changed", "before");
        file("upper/bin/copied", "same");
        file("upper/bin/changed", "behind");
        file("upper/bin/added", "added");
        file("base/gone/x", "x");
        file("upper/gone", "a file where a folder was");
        std::os::unix::fs::symlink("kept", at("base/bin/link")).unwrap();
        let layers = Layers::new(1, vec![at("top"), at("base")], at("upper")).unwrap();
        let check = |content: &str, path: &str, expected: Origin| {
            let found = File::open(at(content)).unwrap();
            assert_eq!(layers.origin_of(&found, Path::new(path)).unwrap(), expected, "{path}");
        };
        check("base/bin/kept", "/bin/kept", Origin::Image);
        check("top/bin/both", "/bin/both", Origin::Image);
        check("upper/bin/copied", "/bin/copied", Origin::Image);
        check("upper/bin/changed", "/bin/changed", Origin::Changed);
        check("upper/bin/added", "/bin/added", Origin::Added);
        // Neither links nor folders are programs, nor is what has no path.
        check("base/bin/kept", "/bin/link", Origin::Added);
        check("base/bin/kept", "/bin", Origin::Added);
        check("base/bin/kept", "(unreachable)/bin/kept", Origin::Added);
        // The writable layer hides the folder: whatever waits there is compared.
        check("upper/bin/changed", "/gone/x", Origin::Changed);
        check("base/gone/x", "/gone/x", Origin::Image);
        // A file that was removed since it was opened keeps its path for a while.
        let removed = File::open(at("upper/bin/changed")).unwrap();
        std::fs::remove_file(at("upper/bin/changed")).unwrap();
        let origin = layers.origin_of(&removed, Path::new("/bin/changed")).unwrap();
        assert_eq!(origin, Origin::Changed);
        // The writable layer alone.
        let blind = Layers::new(1, vec!["l/0".into()], at("upper")).unwrap();
        for (path, expected) in [("/bin/kept", Origin::Image), ("/bin/copied", Origin::Added)] {
            let file = File::open(at("base").join(&path[1..])).unwrap();
            assert_eq!(blind.origin_of(&file, Path::new(path)).unwrap(), expected, "{path}");
        }
        let too_many = vec![at("base"); LAYERS_MAX + 1];
        assert!(Layers::new(1, too_many, at("upper")).is_none());
    }

    #[test]
    fn whiteouts_and_opaque_folders_hide_what_is_below() {
        if !crate::facts::is_privileged() {
            return; // both need root
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for path in ["base/one", "base/two", "top/two", "upper"] {
            std::fs::create_dir_all(at(path)).unwrap();
        }
        std::fs::write(at("base/one/file"), "x").unwrap();
        std::fs::write(at("base/two/file"), "x").unwrap();
        let device = rustix::fs::FileType::CharacterDevice;
        let make = rustix::fs::mknodat(rustix::fs::CWD, at("top/one"), device, Mode::empty(), 0);
        if make.is_err()
            || rustix::fs::setxattr(
                at("top/two"),
                "trusted.overlay.opaque",
                b"y",
                rustix::fs::XattrFlags::empty(),
            )
            .is_err()
        {
            return; // the file system of temporary files has neither
        }
        let base = Layers::new(1, vec![at("base")], at("upper")).unwrap();
        let both = Layers::new(1, vec![at("top"), at("base")], at("upper")).unwrap();
        for path in ["one/file", "two/file"] {
            let file = File::open(at("base").join(path)).unwrap();
            let path = Path::new("/").join(path);
            assert_eq!(base.origin_of(&file, &path).unwrap(), Origin::Image);
            assert_eq!(both.origin_of(&file, &path).unwrap(), Origin::Added);
        }
    }
}

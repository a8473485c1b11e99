//! What a walk over an image presents.

use palisade_model::package::Gap;

use crate::Limits;
use crate::links::Links;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file; its content comes with it.
    Regular,
    /// A folder.
    Folder,
    /// A symbolic link; [`FileEntry::link`] is its target as written.
    Symlink,
    /// Another name of a file of the same layer; [`FileEntry::link`] is that file's path.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket (folders only; archives cannot hold one).
    Socket,
}

/// One file of the squashed view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Path from the image's root, without a leading slash and without `.` or `..`:
    /// `var/lib/dpkg/status`. Bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: `0o4755`.
    pub mode: u32,
    /// Owner, in the image's numbering.
    pub uid: u32,
    /// Group, in the image's numbering.
    pub gid: u32,
    /// Size in bytes; 0 for everything but regular files.
    pub size: u64,
    /// Last modification, in seconds since the Unix epoch.
    pub mtime: i64,
    /// Target of a link. A hard link's is normalised like `path`.
    pub link: Option<String>,
    /// Extended attributes: name and value, sorted by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// Index into [`crate::Image::layers`] of the layer that brought it; `None` in a folder.
    pub layer: Option<usize>,
}

impl FileEntry {
    /// The path with its leading slash, as reports show it.
    pub fn absolute(&self) -> String {
        format!("/{}", self.path)
    }

    /// The value of `security.capability`, if the file has capabilities.
    pub fn capability(&self) -> Option<&[u8]> {
        let found = self.xattrs.iter().find(|(name, _)| name == "security.capability")?;
        Some(&found.1)
    }
}

/// What the visitor of a walk wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// Go on; what was not read of the content is passed over.
    Continue,
    /// For a hard link: present it again as a regular file, with the content. For anything
    /// else the same as `Continue`.
    Follow,
    /// End the walk. The rest of the current layer is still read and verified.
    Stop,
}

/// Why an entry is hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostileKind {
    /// An absolute path; read as one from the image's root.
    AbsolutePath,
    /// A path with `..`; not examined.
    ParentPath,
    /// A path or link target with a NUL byte, or longer or deeper than the limit; not examined.
    UnusablePath,
    /// A symbolic link whose target climbs above the root; where it leads is not examined.
    LinkAboveRoot,
    /// A symbolic link that leads in a circle, or through more links than are followed; not
    /// examined.
    LinkCircle,
    /// A hard link to a path with `..`, or to nothing in its layer; not examined.
    BadHardLink,
    /// A path below something that its own layer makes a link or a file.
    BelowNonFolder,
    /// The same path twice in one layer. Both are examined; engines show the last.
    Duplicate,
    /// A folder appears in a layer above a symbolic link of the same name without an entry
    /// of its own: engines disagree on where the files below it go.
    ImplicitFolderOverLink,
    /// A device node of the image; not examined where no honest image has one.
    Device,
}

impl HostileKind {
    /// One clause for a report.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::AbsolutePath => "absolute path in a layer, read as relative to the root",
            Self::ParentPath => "path with `..`",
            Self::UnusablePath => "path or link with a NUL byte, or beyond the length limit",
            Self::LinkAboveRoot => "symbolic link that climbs above the root",
            Self::LinkCircle => "symbolic link in a circle",
            Self::BadHardLink => "hard link to nothing in its layer",
            Self::BelowNonFolder => "path below a link or file of the same layer",
            Self::Duplicate => "path that occurs twice in one layer",
            Self::ImplicitFolderOverLink => {
                "folder without an entry of its own that replaces a link of a lower layer"
            }
            Self::Device => "device node",
        }
    }
}

/// An entry that no honest tool writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hostile {
    /// The path as the layer has it, invalid UTF-8 replaced, cut to 512 characters.
    pub path: String,
    /// What is wrong with it.
    pub kind: HostileKind,
    /// Index of its layer.
    pub layer: Option<usize>,
}

/// What a walk did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Walked {
    /// Entries presented, of all kinds.
    pub n_entries: u64,
    /// Regular files presented.
    pub n_files: u64,
    /// Bytes of the regular files presented.
    pub n_bytes: u64,
    /// Entries of lower layers that upper layers hide.
    pub n_hidden: u64,
    /// Folders of pseudo file systems (`/proc`, `/sys`, …) that `host` and `dir:` pass over.
    pub n_pseudo: u64,
    /// What could not be examined.
    pub gaps: Vec<Gap>,
    /// Gaps beyond the number that is kept.
    pub n_more_gaps: u64,
    /// Entries that no honest tool writes. What of them was not examined is a gap as well.
    pub hostile: Vec<Hostile>,
    /// Hostile entries beyond the number that is kept.
    pub n_more_hostile: u64,
    /// Whether the visitor ended the walk.
    pub stopped: bool,
}

impl Walked {
    pub(crate) fn gap(&mut self, records_max: usize, path: &str, reason: impl Into<String>) {
        if self.gaps.len() < records_max {
            self.gaps.push(Gap { path: cut(path), reason: reason.into() });
        } else {
            self.n_more_gaps += 1;
        }
    }

    /// Notes the links that lead in a circle.
    pub(crate) fn circles(&mut self, links: &Links, limits: &Limits) {
        let kind = HostileKind::LinkCircle;
        let followed = links.follow(limits.links_max);
        for (path, layer) in followed.circles {
            let path = String::from_utf8_lossy(&path);
            self.hostile(limits.records_max, &path, kind, layer);
            self.gap(limits.records_max, &path, kind.describe());
        }
        if followed.n_unfollowed > 0 {
            let reason =
                format!("{} links were not followed: there are too many", followed.n_unfollowed);
            self.gap(limits.records_max, "/", reason);
        }
    }

    pub(crate) fn hostile(
        &mut self,
        records_max: usize,
        path: &str,
        kind: HostileKind,
        layer: Option<usize>,
    ) {
        if self.hostile.len() < records_max {
            self.hostile.push(Hostile { path: cut(path), kind, layer });
        } else {
            self.n_more_hostile += 1;
        }
    }
}

/// Whether a device node is where honest images have some: in the image's own `dev`, over which
/// engines lay theirs, or, for a program that runs in a folder of its own, one of those that every
/// program may use (Documentation/admin-guide/devices.txt: null, zero, full, random, urandom, tty,
/// console, ptmx). `numbers` are its major and minor number.
pub(crate) fn is_usual_device(path: &[u8], kind: FileKind, numbers: (u64, u64)) -> bool {
    let mut parts = path.rsplit(|byte| *byte == b'/').skip(1);
    let is_in_dev = parts.next() == Some(b"dev");
    let is_harmless = matches!(numbers, (1, 3 | 5 | 7 | 8 | 9) | (5, 0..=2));
    path.starts_with(b"dev/") || is_in_dev && kind == FileKind::CharDevice && is_harmless
}

fn cut(path: &str) -> String {
    path.chars().take(512).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_usual_where_honest_images_have_them() {
        use FileKind::{BlockDevice, CharDevice};
        let check = |path: &str, kind, numbers, expected| {
            assert_eq!(is_usual_device(path.as_bytes(), kind, numbers), expected, "{path}");
        };
        check("dev/null", CharDevice, (1, 3), true);
        check("dev/sda", BlockDevice, (8, 0), true);
        check("dev/mapper/control", CharDevice, (10, 236), true);
        check("var/named/chroot/dev/urandom", CharDevice, (1, 9), true);
        check("var/named/chroot/dev/ptmx", CharDevice, (5, 2), true);
        // Kernel memory and a disk, under harmless names.
        check("srv/dev/null", CharDevice, (1, 1), false);
        check("srv/dev/null", BlockDevice, (1, 3), false);
        check("srv/null", CharDevice, (1, 3), false);
        check("null", CharDevice, (1, 3), false);
        check("developer/null", CharDevice, (1, 3), false);
    }
}

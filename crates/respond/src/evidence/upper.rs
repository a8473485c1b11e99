//! The upper layer of an overlay root: every file that the container changed.
//!
//! Walked by descriptors, never by path names: each folder is opened from its parent
//! without following links, so no link of the container leads out of the layer, and a
//! renamed folder cannot redirect the walk.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use palisade_base::{Digest, DigestReader};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use serde::Serialize;

use super::Collector;
use crate::bundle::WriteError;

/// Most entries listed.
pub(super) const ENTRIES_MAX: usize = 50_000;
/// Deepest folder visited.
pub(super) const DEPTH_MAX: usize = 128;

/// One changed entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// Path within the container; bytes that are not printable are escaped.
    path: String,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    /// Nanoseconds since the epoch.
    modified_ns: i128,
    changed_ns: i128,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Digest>,
    /// Item of the bundle that holds the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

/// Shows a name that need not be UTF-8.
pub(super) fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Collects the layer at `folder`.
pub(super) fn collect(collector: &mut Collector<'_>, folder: &Path) -> Result<(), WriteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(root) => root,
        Err(error) => {
            collector.gap_io(&folder.display().to_string(), &error.into());
            return Ok(());
        }
    };
    let mut walk = Walk { collector, entries: Vec::new(), n_unlisted: 0, n_contents: 0 };
    walk.folder(&root, "", 0)?;
    let Walk { entries, n_unlisted, .. } = walk;
    if n_unlisted > 0 {
        let reason = format!("{n_unlisted} further entries were not listed");
        collector.gap("overlay upper layer", &reason);
    }
    collector.add_json("upper/index.json", &folder.display().to_string(), None, &entries)
}

struct Walk<'c, 'r> {
    collector: &'c mut Collector<'r>,
    entries: Vec<Entry>,
    n_unlisted: u64,
    n_contents: usize,
}

impl Walk<'_, '_> {
    fn folder(&mut self, folder: &OwnedFd, path: &str, depth: usize) -> Result<(), WriteError> {
        let names = match names(folder) {
            Ok(names) => names,
            Err(error) => {
                self.collector.gap_io(&format!("upper:{path}/"), &error);
                return Ok(());
            }
        };
        for name in names {
            if self.collector.is_late() || self.entries.len() >= ENTRIES_MAX {
                self.n_unlisted += 1;
                continue;
            }
            let path = format!("{path}/{}", printable(&name));
            match statat(folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => self.entry(folder, &name, path, &stat, depth)?,
                Err(error) => self.collector.gap_io(&format!("upper:{path}"), &error.into()),
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &OwnedFd,
        name: &[u8],
        path: String,
        stat: &Stat,
        depth: usize,
    ) -> Result<(), WriteError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let time =
            |seconds: i64, nanos: u64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let mut entry = Entry {
            path,
            kind: kind_name(kind, stat),
            mode: format!("{:04o}", stat.st_mode & 0o7777),
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: time(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: time(stat.st_ctime, stat.st_ctime_nsec),
            sha256: None,
            item: None,
            link: None,
        };
        match kind {
            FileType::RegularFile => self.file(folder, name, &mut entry)?,
            FileType::Symlink => {
                entry.link = readlinkat(folder, name, Vec::new())
                    .ok()
                    .map(|target| printable(target.as_bytes()));
            }
            _ => {}
        }
        let path = entry.path.clone();
        self.entries.push(entry);
        if kind == FileType::Directory {
            if depth >= DEPTH_MAX {
                self.collector.gap(&format!("upper:{path}"), "folders are nested too deeply");
                return Ok(());
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(folder, name, flags, Mode::empty()) {
                Ok(inner) => self.folder(&inner, &path, depth + 1)?,
                Err(error) => self.collector.gap_io(&format!("upper:{path}"), &error.into()),
            }
        }
        Ok(())
    }

    /// Stores the content while the budget lasts, and its digest always if time allows.
    fn file(&mut self, folder: &OwnedFd, name: &[u8], entry: &mut Entry) -> Result<(), WriteError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(folder, name, flags | OFlags::NOATIME, Mode::empty())
            .or_else(|_| openat(folder, name, flags, Mode::empty()));
        let source = format!("upper:{}", entry.path);
        let file = match opened {
            Ok(file) => File::from(file),
            Err(error) => {
                self.collector.gap_io(&source, &error.into());
                return Ok(());
            }
        };
        let options = self.collector.options;
        let fits = entry.size <= options.file_bytes_max
            && self.collector.upper_bytes + entry.size <= options.upper_bytes_max;
        if fits {
            let item = format!("upper/content/{:06}", self.n_contents);
            let mut file = file;
            let bound = options.file_bytes_max;
            let stored = self.collector.writer.stream(&item, &source, None, &mut file, bound)?;
            self.n_contents += 1;
            self.collector.upper_bytes += stored.n_bytes;
            entry.sha256 = Some(stored.sha256);
            entry.item = Some(item);
            return Ok(());
        }
        self.collector.gap(&source, "content left out: over the bound; its digest is listed");
        let mut reader = DigestReader::new(io::Read::take(file, options.hash_bytes_max));
        match io::copy(&mut reader, &mut io::sink()) {
            Ok(n) if n == entry.size => entry.sha256 = Some(reader.finish().0),
            Ok(_) => self.collector.gap(&source, "too large to be hashed"),
            Err(error) => self.collector.gap_io(&source, &error),
        }
        Ok(())
    }
}

fn names(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
        if names.len() > ENTRIES_MAX {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A character device 0:0 is overlayfs's whiteout: a file that was deleted.
fn kind_name(kind: FileType, stat: &Stat) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        FileType::CharacterDevice if stat.st_rdev == 0 => "deleted",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::Unknown => "unknown",
    }
}

/// The upper layer of the overlay mounted as `/`, from a process's `mountinfo`.
pub(super) fn upper_of_mountinfo(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let is_root = left.split(' ').nth(4) == Some("/");
        let options = (right.next() == Some("overlay") && is_root).then(|| right.nth(1))??;
        options.split(',').find_map(|option| option.strip_prefix("upperdir=")).map(str::to_string)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_layer_is_found_in_the_mount_table() {
        let table = "\
100 99 0:5 / /proc rw - proc proc rw
101 99 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/var/lib/p/c/upper,workdir=/w
";
        assert_eq!(upper_of_mountinfo(table).as_deref(), Some("/var/lib/p/c/upper"));
        assert_eq!(upper_of_mountinfo("1 0 8:1 / / rw - ext4 /dev/vda rw\n"), None);
    }
}

//! What a container wrote, as a layer: the upper folder of its overlay (kernel's
//! `Documentation/filesystems/overlayfs.rst`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use palisade_image::FileKind;
use palisade_patch::Files;

/// Entries of what one container wrote.
const ENTRIES_MAX: usize = 1_000_000;
/// Folders within each other.
const DEPTH_MAX: usize = 255;
/// Bytes of one extended attribute.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// Paths with the time of their last change of any kind (seconds, nanoseconds).
pub(super) type Before = BTreeMap<String, (i64, i64)>;

/// What is in an upper folder before the first script: mount points that the runtime made.
pub(super) fn before(upper: &Path) -> io::Result<Before> {
    let entries = entries(upper)?;
    Ok(entries
        .into_iter()
        .map(|one| (one.path, (one.meta.ctime(), one.meta.ctime_nsec())))
        .collect())
}

struct Entry {
    path: String,
    at: PathBuf,
    meta: std::fs::Metadata,
}

/// Everything below a folder, folders before what they hold. No link is followed.
fn entries(upper: &Path) -> io::Result<Vec<Entry>> {
    let (mut all, mut open) = (Vec::new(), vec![(String::new(), upper.to_path_buf(), 0)]);
    while let Some((folder, at, depth)) = open.pop() {
        let mut here = Vec::new();
        for entry in std::fs::read_dir(&at)? {
            let entry = entry?;
            let name = entry.file_name().into_string();
            let name =
                name.map_err(|_| io::Error::other(format!("/{folder}: a name is not UTF-8")))?;
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            here.push(Entry { path, at: entry.path(), meta: entry.path().symlink_metadata()? });
        }
        here.sort_by(|a, b| a.path.cmp(&b.path));
        if all.len() + here.len() > ENTRIES_MAX || depth > DEPTH_MAX {
            return Err(io::Error::other("scripts wrote more than is taken"));
        }
        let folders = here.iter().filter(|one| one.meta.is_dir());
        open.extend(folders.map(|one| (one.path.clone(), one.at.clone(), depth + 1)));
        all.append(&mut here);
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(all)
}

/// Writes what a container wrote below `upper` as a layer at `out`, without what was there
/// before, and without `left_out` and what is below it; gives the paths that are in it.
/// `first` is the id of the container's root outside; `files` is what lies below.
pub(super) fn capture(
    upper: &Path,
    before: &Before,
    files: &Files,
    first: u32,
    left_out: &str,
    out: &Path,
) -> io::Result<BTreeSet<String>> {
    let mut tar = tar::Builder::new(io::BufWriter::new(std::fs::File::create(out)?));
    let mut changed = BTreeSet::new();
    let below = format!("{left_out}/");
    for entry in entries(upper)? {
        let stamp = (entry.meta.ctime(), entry.meta.ctime_nsec());
        let is_old = before.get(&entry.path) == Some(&stamp) && files.get(&entry.path).is_none();
        if is_old || entry.path == left_out || entry.path.starts_with(&below) {
            continue;
        }
        write(&entry, files, first, &mut tar)?;
        // What a removed folder held goes with it.
        if !entry.meta.is_dir() {
            let held = format!("{}/", entry.path);
            changed.extend(files.below(&held).map(|(path, _)| path.to_string()));
        }
        changed.insert(entry.path);
    }
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(changed)
}

fn write(
    entry: &Entry,
    files: &Files,
    first: u32,
    tar: &mut tar::Builder<impl io::Write>,
) -> io::Result<()> {
    let (path, meta) = (&entry.path, &entry.meta);
    let odd = |what: &str| io::Error::other(format!("/{path} {what}"));
    let kind = meta.file_type();
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    if kind.is_char_device() && meta.rdev() == 0 {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let marker = format!("{folder}/.wh.{name}").trim_start_matches('/').to_string();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        return tar.append_data(&mut header, marker, io::empty());
    }
    let owner = |id: u32| id.checked_sub(first).ok_or_else(|| odd("has an owner of the host"));
    header.set_uid(owner(meta.uid())?.into());
    header.set_gid(owner(meta.gid())?.into());
    header.set_mode(meta.mode() & 0o7777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    let records = attributes(entry)?;
    if records.iter().any(|(name, _)| name == "trusted.overlay.opaque") {
        return Err(odd("was removed and made again, which one layer cannot say"));
    }
    let records: Vec<(String, Vec<u8>)> = records
        .into_iter()
        .filter(|(name, _)| !name.starts_with("trusted.overlay."))
        .map(|(name, value)| (format!("SCHILY.xattr.{name}"), plain_capability(&name, value)))
        .collect();
    if !records.is_empty() {
        tar.append_pax_extensions(records.iter().map(|(name, value)| (name.as_str(), &value[..])))?;
    }
    if kind.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        // That something in it changed is no change of the folder.
        let old = files.get(path).filter(|node| node.kind == FileKind::Folder);
        if let Some(time) = old.and_then(|node| u64::try_from(node.mtime).ok()) {
            header.set_mtime(time);
        }
        tar.append_data(&mut header, format!("{path}/"), io::empty())
    } else if kind.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        tar.append_link(&mut header, path, std::fs::read_link(&entry.at)?)
    } else if kind.is_file() {
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(meta.len());
        tar.append_data(&mut header, path, std::fs::File::open(&entry.at)?)
    } else {
        Err(odd("is a device, a pipe or a socket"))
    }
}

/// Extended attributes that a layer can hold, and the overlay's own.
fn attributes(entry: &Entry) -> io::Result<Vec<(String, Vec<u8>)>> {
    if entry.meta.is_symlink() {
        return Ok(Vec::new());
    }
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match rustix::fs::llistxattr(&entry.at, &mut names) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let names = String::from_utf8_lossy(names.get(..length).unwrap_or_default()).into_owned();
    let mut all = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_BYTES_MAX];
        let length = rustix::fs::lgetxattr(&entry.at, name, &mut value)?;
        value.truncate(length);
        all.push((name.to_string(), value));
    }
    Ok(all)
}

/// A capability that was set in a user namespace names its root; in an image it has none
/// (`linux/capability.h`: revision 3 and 2).
fn plain_capability(name: &str, value: Vec<u8>) -> Vec<u8> {
    const REVISION_3_BYTES: usize = 24;
    match value.as_slice() {
        [flags, 0, 0, 3, rest @ ..]
            if name == "security.capability" && value.len() == REVISION_3_BYTES =>
        {
            let rest = rest.get(..16).unwrap_or_default();
            [&[*flags, 0, 0, 2], rest].concat()
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_a_layer() {
        let folder = tempfile::tempdir().unwrap();
        let upper = folder.path().join("upper");
        std::fs::create_dir_all(upper.join("dev")).unwrap();
        let old = before(&upper).unwrap();
        assert_eq!(old.keys().collect::<Vec<_>>(), ["dev"]);
        std::fs::create_dir_all(upper.join("etc/tmp.ci")).unwrap();
        std::fs::write(upper.join("etc/a"), "a").unwrap();
        std::fs::write(upper.join("etc/tmp.ci/postinst"), "a").unwrap();
        std::os::unix::fs::symlink("/etc/shadow", upper.join("etc/link")).unwrap();
        let out = folder.path().join("layer.tar");
        let first = std::fs::metadata(&upper).unwrap().uid();
        let take = |first| capture(&upper, &old, &Files::default(), first, "etc/tmp.ci", &out);
        let changed = take(first).unwrap();
        assert_eq!(changed.iter().collect::<Vec<_>>(), ["etc", "etc/a", "etc/link"]);
        let bytes = std::fs::read(&out).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned())
            .collect();
        assert_eq!(paths, ["etc/", "etc/a", "etc/link"]);
        let error = take(first + 1).unwrap_err().to_string();
        assert!(error.contains("/etc has an owner of the host"), "{error}");
        let socket = std::os::unix::net::UnixListener::bind(upper.join("etc/socket")).unwrap();
        assert!(take(first).unwrap_err().to_string().contains("/etc/socket is a device, a pipe"));
        drop(socket);
    }

    #[test]
    fn a_capability_loses_its_namespace() {
        let value = [&[1, 0, 0, 3][..], &[7; 16], &[0, 0, 1, 0]].concat();
        let expected = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        assert_eq!(plain_capability("security.capability", value.clone()), expected);
        assert_eq!(plain_capability("user.x", value.clone()), value);
    }
}

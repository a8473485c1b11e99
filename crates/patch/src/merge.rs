//! Several layers made one: the last form of each path, and what none of them leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use crate::{Files, PatchError};

/// Entries of all layers.
const ENTRIES_MAX: usize = 2_000_000;

/// Merges layers, lowest first, that lie on an image.
///
/// A folder that one layer removes and a later one makes, and a hard link to a file that a later
/// layer has as well, are errors: no single layer says the same.
pub fn merge_layers(files: &Files, layers: &[&Path], out: impl Write) -> Result<(), PatchError> {
    let (last, removed) = read(layers).map_err(PatchError::Write)?;
    let mut merged = tar::Builder::new(out);
    for (n, layer) in layers.iter().enumerate() {
        copy(layer, n, &last, &mut merged).map_err(PatchError::Write)?;
    }
    for path in removed.iter().filter(|path| files.get(path).is_some()) {
        // What a removed folder held goes with it.
        let is_below = path.match_indices('/').any(|(at, _)| removed.contains(&path[..at]));
        if is_below {
            continue;
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let marker = format!("{folder}/.wh.{name}").trim_start_matches('/').to_string();
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(0);
        header.set_mtime(0);
        merged.append_data(&mut header, marker, io::empty()).map_err(PatchError::Write)?;
    }
    merged.into_inner().and_then(|mut out| out.flush()).map_err(PatchError::Write)
}

/// Paths with the layer and the entry that they are last in, and paths that are removed.
type Last = (BTreeMap<String, (usize, usize)>, BTreeSet<String>);

fn path_of(entry: &tar::Entry<'_, impl io::Read>) -> io::Result<String> {
    let path = String::from_utf8(entry.path_bytes().into_owned());
    let path = path.map_err(|_| io::Error::other("a path of a layer is not UTF-8"))?;
    Ok(path.trim_start_matches("./").trim_matches('/').to_string())
}

fn read(layers: &[&Path]) -> io::Result<Last> {
    let (mut last, mut removed) = (BTreeMap::new(), BTreeSet::new());
    let mut links: Vec<(String, String, usize)> = Vec::new();
    for (n, layer) in layers.iter().enumerate() {
        let mut archive = tar::Archive::new(BufReader::new(File::open(layer)?));
        for (at, entry) in archive.entries()?.enumerate() {
            let entry = entry?;
            let path = path_of(&entry)?;
            if last.len() >= ENTRIES_MAX {
                return Err(io::Error::other(format!(
                    "the layers have more than {ENTRIES_MAX} entries"
                )));
            }
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            if let Some(name) = name.strip_prefix(".wh.") {
                let gone = format!("{folder}/{name}").trim_start_matches('/').to_string();
                let below = format!("{gone}/");
                last.retain(|path: &String, _| *path != gone && !path.starts_with(&below));
                removed.insert(gone);
                continue;
            }
            if removed.remove(&path) && entry.header().entry_type().is_dir() {
                return Err(io::Error::other(format!("/{path} is removed and made again")));
            }
            if entry.header().entry_type().is_hard_link() {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                links.push((path.clone(), String::from_utf8_lossy(&target).into_owned(), n));
            }
            last.insert(path, (n, at));
        }
    }
    for (path, target, n) in links {
        let is_kept = last.get(&path).is_some_and(|(layer, _)| *layer == n);
        if is_kept && last.get(&target).is_none_or(|(layer, _)| *layer != n) {
            let what = format!("/{path} is a hard link to /{target}, which a script changed");
            return Err(io::Error::other(what));
        }
    }
    Ok((last, removed))
}

fn copy(
    layer: &Path,
    n: usize,
    last: &BTreeMap<String, (usize, usize)>,
    merged: &mut tar::Builder<impl Write>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(BufReader::new(File::open(layer)?));
    for (at, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let path = path_of(&entry)?;
        if last.get(&path) != Some(&(n, at)) {
            continue;
        }
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            let key = record.key().unwrap_or_default();
            if key.starts_with("SCHILY.xattr.") {
                records.push((key.to_string(), record.value_bytes().to_vec()));
            }
        }
        if !records.is_empty() {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            merged.append_pax_extensions(records)?;
        }
        let mut header = entry.header().clone();
        let kind = header.entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = String::from_utf8(target).map_err(io::Error::other)?;
            merged.append_link(&mut header, &path, target)?;
        } else {
            let path = if kind.is_dir() { format!("{path}/") } else { path };
            merged.append_data(&mut header, path, &mut entry)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;
    use palisade_image::FileKind;

    /// Writes a layer: a path that ends with a slash is a folder, `=>` a hard link.
    fn layer(folder: &Path, name: &str, entries: &[(&str, &str)]) -> std::path::PathBuf {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(0);
            if let Some(target) = content.strip_prefix("=>") {
                header.set_entry_type(tar::EntryType::Link);
                tar.append_link(&mut header, path, target).unwrap();
                continue;
            }
            header.set_entry_type(if path.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        let path = folder.join(name);
        std::fs::write(&path, tar.into_inner().unwrap()).unwrap();
        path
    }

    fn image(paths: &[&str]) -> Files {
        let node = Node {
            kind: FileKind::Regular,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            link: None,
            xattrs: Vec::new(),
            content: None,
        };
        Files::of(paths.iter().map(|path| ((*path).to_string(), node.clone())))
    }

    #[test]
    fn the_last_form_of_a_path_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, files) = (folder.path(), image(&["etc/a", "etc/b", "etc/c"]));
        let check = |lower: &[(&str, &str)], upper: &[(&str, &str)], expected: &str| {
            let (lower, upper) = (layer(folder, "1", lower), layer(folder, "2", upper));
            let mut out = Vec::new();
            let found = match merge_layers(&files, &[&lower, &upper], &mut out) {
                Err(PatchError::Write(error)) => error.to_string(),
                Err(error) => panic!("{error}"),
                Ok(()) => {
                    let mut archive = tar::Archive::new(out.as_slice());
                    let read = |entry: io::Result<tar::Entry<'_, _>>| {
                        let mut entry = entry.unwrap();
                        let mut text = String::new();
                        io::Read::read_to_string(&mut entry, &mut text).unwrap();
                        format!("{}={text}", String::from_utf8_lossy(&entry.path_bytes()))
                    };
                    archive.entries().unwrap().map(read).collect::<Vec<_>>().join(" ")
                }
            };
            assert_eq!(found, expected);
        };
        check(&[("etc/", ""), ("etc/a", "1")], &[("etc/a", "2")], "etc/= etc/a=2");
        check(&[("etc/a", "1")], &[("etc/.wh.a", ""), ("etc/.wh.x", "")], "etc/.wh.a=");
        check(&[("etc/.wh.a", "")], &[("etc/a", "2")], "etc/a=2");
        check(&[("new/", ""), ("new/x", "1")], &[(".wh.new", "")], "");
        check(&[("etc/.wh.a", "")], &[("etc/a/", "")], "/etc/a is removed and made again");
        check(&[("x", "1"), ("y", "=>x")], &[("etc/a", "2")], "x=1 y= etc/a=2");
        let expected = "/y is a hard link to /x, which a script changed";
        check(&[("x", "1"), ("y", "=>x")], &[("x", "2")], expected);
        let long = "d/".repeat(80) + "file";
        check(&[(&long, "1")], &[], &format!("{long}=1"));
    }
}

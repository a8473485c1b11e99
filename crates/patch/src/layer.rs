//! Writes the one layer of a patched image.
//!
//! Every folder above an entry is written with the image's own mode and owner: engines give a
//! folder that a layer only implies others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use palisade_image::FileKind;

use crate::deb::DebFile;
use crate::{Files, PatchError};

/// A layer while it is written.
pub(crate) struct Layer<'a, W: Write> {
    files: &'a Files,
    tar: tar::Builder<W>,
    written: BTreeMap<String, FileKind>,
    removed: BTreeSet<String>,
}

impl<'a, W: Write> Layer<'a, W> {
    pub(crate) fn new(files: &'a Files, out: W) -> Self {
        let (written, removed) = (BTreeMap::new(), BTreeSet::new());
        Self { files, tar: tar::Builder::new(out), written, removed }
    }

    /// Whether a folder is at a resolved path, in the image or in the layer.
    pub(crate) fn has_folder(&self, path: &str) -> bool {
        if let Some(kind) = self.written.get(path) {
            return *kind == FileKind::Folder;
        }
        let resolved = self.files.resolve(path);
        let node = resolved.as_deref().and_then(|path| self.files.get(path));
        node.is_some_and(|node| node.kind == FileKind::Folder)
    }

    /// Writes an entry of a package at `path`, which is resolved.
    pub(crate) fn put(&mut self, path: &str, file: &DebFile) -> Result<(), PatchError> {
        self.folders(path)?;
        self.append(path, file)
    }

    /// Writes a file of dpkg's database.
    pub(crate) fn put_file(
        &mut self,
        path: &str,
        mode: u32,
        mtime: i64,
        content: Vec<u8>,
    ) -> Result<(), PatchError> {
        let file = DebFile {
            path: path.to_string(),
            kind: FileKind::Regular,
            mode,
            uid: 0,
            gid: 0,
            mtime,
            link: String::new(),
            content,
        };
        self.put(path, &file)
    }

    /// Removes what the image has at `path`, unless the layer has something there.
    pub(crate) fn remove(&mut self, path: &str) {
        self.removed.insert(path.to_string());
    }

    /// Writes what is removed.
    pub(crate) fn finish(mut self) -> Result<(), PatchError> {
        let removed: Vec<String> = self.removed.iter().cloned().collect();
        let is_removed = |path: &str| self.removed.contains(path);
        let mut last: Option<String> = None;
        let mut whiteouts = Vec::new();
        for path in &removed {
            let is_written = self.written.contains_key(path);
            // What a removed folder held goes with it.
            let is_below = last.as_ref().is_some_and(|last| path.starts_with(last.as_str()));
            if is_written || is_below {
                continue;
            }
            if self.files.get(path).is_some_and(|node| node.kind == FileKind::Folder) {
                let folder = format!("{path}/");
                let stays = self.files.below(&folder).any(|(below, _)| !is_removed(below));
                let mut written = self.written.range(folder.clone()..);
                if stays || written.next().is_some_and(|(path, _)| path.starts_with(&folder)) {
                    continue;
                }
                last = Some(folder);
            }
            whiteouts.push(path.clone());
        }
        for path in whiteouts {
            self.folders(&path)?;
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
            let marker = format!("{folder}/.wh.{name}").trim_start_matches('/').to_string();
            let mut header = header(FileKind::Regular, 0o644, 0, 0, 0);
            self.tar
                .append_data(&mut header, &marker, std::io::empty())
                .map_err(PatchError::Write)?;
        }
        let mut out = self.tar.into_inner().map_err(PatchError::Write)?;
        out.flush().map_err(PatchError::Write)
    }

    /// Writes the folders above `path` as the image has them.
    fn folders(&mut self, path: &str) -> Result<(), PatchError> {
        let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        for folder in ends.into_iter().filter_map(|end| path.get(..end)) {
            if self.written.contains_key(folder) {
                continue;
            }
            let node = self.files.get(folder);
            let (mode, uid, gid, mtime) =
                node.map_or((0o755, 0, 0, 0), |node| (node.mode, node.uid, node.gid, node.mtime));
            let mut header = header(FileKind::Folder, mode, uid, gid, mtime);
            let xattrs = node.map(|node| node.xattrs.clone()).unwrap_or_default();
            let records: Vec<(String, Vec<u8>)> = xattrs
                .into_iter()
                .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
                .collect();
            if !records.is_empty() {
                let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
                self.tar.append_pax_extensions(records).map_err(PatchError::Write)?;
            }
            self.tar
                .append_data(&mut header, format!("{folder}/"), std::io::empty())
                .map_err(PatchError::Write)?;
            self.written.insert(folder.to_string(), FileKind::Folder);
        }
        Ok(())
    }

    fn append(&mut self, path: &str, file: &DebFile) -> Result<(), PatchError> {
        let mut header = header(file.kind, file.mode, file.uid, file.gid, file.mtime);
        let appended = match file.kind {
            FileKind::Symlink | FileKind::HardLink => {
                self.tar.append_link(&mut header, path, &file.link)
            }
            FileKind::Folder => {
                self.tar.append_data(&mut header, format!("{path}/"), std::io::empty())
            }
            _ => {
                header.set_size(file.content.len() as u64);
                self.tar.append_data(&mut header, path, file.content.as_slice())
            }
        };
        appended.map_err(PatchError::Write)?;
        self.written.insert(path.to_string(), file.kind);
        Ok(())
    }
}

fn header(kind: FileKind, mode: u32, uid: u32, gid: u32, mtime: i64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(match kind {
        FileKind::Folder => tar::EntryType::Directory,
        FileKind::Symlink => tar::EntryType::Symlink,
        FileKind::HardLink => tar::EntryType::Link,
        _ => tar::EntryType::Regular,
    });
    header.set_mode(mode);
    header.set_uid(u64::from(uid));
    header.set_gid(u64::from(gid));
    header.set_mtime(u64::try_from(mtime).unwrap_or(0));
    header.set_size(0);
    header
}

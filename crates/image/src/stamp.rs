//! What tells whether an image is the one that was read before.

use std::fmt::Write as _;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use palisade_base::Digest;

use crate::blob::{Store, blob_path};
use crate::open::{Image, Place, Source};

/// What changes when a file is written: its identity, size and times.
pub(crate) fn of_file(meta: &Metadata) -> String {
    format!(
        "{}:{}:{}:{}.{}:{}.{}",
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    )
}

impl Image {
    /// A digest that is the same as long as the image is: of its configuration, which states
    /// the digest of every layer's content, and of what the file system says about the files
    /// that hold the layers. Whoever read an image with this stamp to its end, and proved it,
    /// need not read it again to know what is in it.
    ///
    /// `None` for what has no identity: folders, machines, containers, streams.
    pub fn stamp(&self) -> Option<Digest> {
        let mut text = format!("{}\n", self.config_digest?);
        match &self.source {
            Source::Folder { .. } => return None,
            Source::Aci(aci) => text += aci.archive.stamp()?,
            Source::Blobs(Store::Source(_)) => {}
            Source::Blobs(Store::Archive(archive)) => text += archive.stamp()?,
            Source::Blobs(Store::Layout(root)) => {
                for layer in &self.layers {
                    let file = root.open_file(Path::new(&blob_path(layer.digest))).ok()?;
                    writeln!(text, "{}", of_file(&file.metadata().ok()?)).ok()?;
                }
            }
            Source::Unpacked => {
                for layer in &self.layers {
                    let Place::Split(split) = &layer.place else { return None };
                    let record = std::fs::metadata(&split.record).ok()?;
                    let folder = std::fs::metadata(&split.folder).ok()?;
                    writeln!(text, "{} {}", of_file(&record), of_file(&folder)).ok()?;
                }
            }
        }
        Some(Digest::of(text.as_bytes()))
    }
}

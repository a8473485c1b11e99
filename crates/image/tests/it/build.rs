//! Builds tars and layouts for tests, among them ones that no tool writes.

use std::io::Write as _;
use std::path::Path;

use palisade_base::Digest;
use palisade_image::{Descriptor, Layout};
use palisade_model::Target;
use serde_json::json;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// One entry of a test archive.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    path: Vec<u8>,
    kind: tar::EntryType,
    content: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    owner: u64,
    pax: Vec<(String, Vec<u8>)>,
}

fn entry(path: &str, kind: tar::EntryType) -> Entry {
    let mode = if kind.is_dir() { 0o755 } else { 0o644 };
    let path = path.as_bytes().to_vec();
    Entry { path, kind, content: Vec::new(), link: Vec::new(), mode, owner: 0, pax: Vec::new() }
}

pub(crate) fn file(path: &str, content: &str) -> Entry {
    Entry { content: content.as_bytes().to_vec(), ..entry(path, tar::EntryType::Regular) }
}

pub(crate) fn folder(path: &str) -> Entry {
    entry(path, tar::EntryType::Directory)
}

pub(crate) fn symlink(path: &str, target: &str) -> Entry {
    Entry { link: target.into(), ..entry(path, tar::EntryType::Symlink) }
}

pub(crate) fn hard_link(path: &str, target: &str) -> Entry {
    Entry { link: target.into(), ..entry(path, tar::EntryType::Link) }
}

pub(crate) fn device(path: &str) -> Entry {
    entry(path, tar::EntryType::Char)
}

pub(crate) fn fifo(path: &str) -> Entry {
    entry(path, tar::EntryType::Fifo)
}

pub(crate) fn sparse(path: &str) -> Entry {
    entry(path, tar::EntryType::GNUSparse)
}

impl Entry {
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn owner(mut self, id: u64) -> Self {
        self.owner = id;
        self
    }

    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.pax.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
        self
    }
}

/// Writes names into the header as they are: the crate's own setters refuse `..`.
pub(crate) fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        if !entry.pax.is_empty() {
            let records = entry.pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            builder.append_pax_extensions(records).unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.owner);
        header.set_gid(entry.owner);
        header.set_mtime(1_700_000_000);
        header.set_size(entry.content.len() as u64);
        let old = header.as_old_mut();
        old.name[..entry.path.len()].copy_from_slice(&entry.path);
        old.linkname[..entry.link.len()].copy_from_slice(&entry.link);
        header.set_cksum();
        builder.append(&header, &entry.content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A layer as a manifest may state it, truly or not.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) stored: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) diff_id: Digest,
}

pub(crate) fn blob(stored: Vec<u8>, plain: &[u8]) -> Blob {
    let (digest, size) = (Digest::of(&stored), stored.len() as u64);
    Blob { stored, digest, size, diff_id: Digest::of(plain) }
}

pub(crate) fn layer(entries: &[Entry]) -> Blob {
    let plain = tar(entries);
    blob(gzip(&plain), &plain)
}

/// The configuration of an image with these layers.
pub(crate) fn config(architecture: &str, layers: &[Blob]) -> Vec<u8> {
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": { "User": "65532", "Cmd": ["sh"], "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    serde_json::to_vec(&config).unwrap()
}

/// Adds an image of these layers, lowest first, to the layout.
pub(crate) fn add_image(layout: &Layout, tag: Option<&str>, layers: &[Blob]) -> Descriptor {
    let config = layout.add_blob(CONFIG, &config("amd64", layers)).unwrap();
    let mut descriptors = Vec::new();
    for layer in layers {
        let path = layout.folder().join("blobs/sha256").join(layer.digest.hex());
        std::fs::write(path, &layer.stored).unwrap();
        descriptors.push(json!({
            "mediaType": LAYER, "digest": layer.digest, "size": layer.size,
        }));
    }
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors,
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    layout.add_manifest(tag, Descriptor::of(MANIFEST, &manifest), &manifest).unwrap()
}

/// A layout with one image of these layers.
pub(crate) fn layout(folder: &Path, layers: &[Blob]) -> Target {
    let layout = Layout::create(folder).unwrap();
    add_image(&layout, Some("test"), layers);
    Target::Layout { folder: folder.to_path_buf(), selector: None }
}

//! Writes OCI image layouts: whole images, and documents beside them.
//!
//! A blob is complete before it has its name; `index.json` is replaced in one step, under a
//! lock, after all that it names. A process that is killed leaves the old layout.
//!
//! Specification: OCI image-spec 1.1 `image-layout.md`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_base::{Digest, Root, Timestamp};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::blob::{Store, blob_path};
use crate::document::{self, HistoryStep, Index, Platform, REF_NAME};
use crate::error::{LayoutError, OpenImageError};
use crate::open::{open_layout, read_file};
use crate::pack::{self, LayerSource};
use crate::source::{BlobSource, SourceError};
use crate::{BlobError, Limits};

/// How long a change waits for another process's.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Characters of a tag.
const TAG_CHARS_MAX: usize = 255;

/// What refers to a blob (image-spec `descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Free-form properties.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What an image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What an artifact that is no image is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Describes `content`.
    pub fn of(media_type: &str, content: &[u8]) -> Self {
        Self {
            media_type: media_type.to_string(),
            digest: Digest::of(content),
            size: content.len() as u64,
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }
}

/// An OCI image layout on disk.
#[derive(Debug)]
pub struct Layout {
    folder: PathBuf,
    store: Store,
    limits: Limits,
}

/// A lock on a layout, given up when dropped.
struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl Layout {
    /// Opens the layout in `folder`.
    pub fn open(folder: &Path) -> Result<Self, OpenImageError> {
        let root = open_layout(folder)?;
        let store = Store::Layout(Arc::new(root));
        Ok(Self { folder: folder.to_path_buf(), store, limits: Limits::default() })
    }

    /// Makes an empty layout in `folder`, which may exist if it is empty.
    pub fn create(folder: &Path) -> Result<Self, LayoutError> {
        let fail = |source| LayoutError::Write { path: folder.into(), source };
        std::fs::create_dir_all(folder.join("blobs/sha256")).map_err(fail)?;
        let index = json!({ "schemaVersion": 2, "mediaType": document::INDEX, "manifests": [] });
        let index = encode("index", &index)?;
        palisade_base::fs::write_atomic(&folder.join("index.json"), &index, 0o644).map_err(fail)?;
        let version = b"{\"imageLayoutVersion\":\"1.0.0\"}";
        palisade_base::fs::write_atomic(&folder.join("oci-layout"), version, 0o644)
            .map_err(fail)?;
        Ok(Self::open(folder)?)
    }

    /// Where the layout is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The entries of `index.json`.
    pub fn manifests(&self) -> Result<Vec<Descriptor>, OpenImageError> {
        let (bytes, _) = self.read_index()?;
        let index = Index::parse(&bytes, "index.json", self.limits.index_manifests_max)?;
        Ok(index.manifests)
    }

    /// Reads a blob of at most `limit` bytes and proves its digest and size.
    pub fn read_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
        limit: u64,
    ) -> Result<Vec<u8>, OpenImageError> {
        self.store.read(digest, size, "blob", limit).map_err(|error| {
            if let Some(limit) = palisade_base::LimitExceeded::find(&error) {
                return limit.clone().into();
            }
            match error.get_ref().and_then(|inner| inner.downcast_ref::<BlobError>()) {
                Some(blob) => blob.clone().into(),
                None => {
                    OpenImageError::Io { path: self.folder.join(blob_path(digest)), source: error }
                }
            }
        })
    }

    /// Reads a blob to its end and proves its digest and size, whatever its length.
    pub fn verify_blob(&self, digest: Digest, size: u64) -> Result<(), OpenImageError> {
        let copied = self
            .store
            .open(digest, Some(size))
            .and_then(|mut reader| io::copy(&mut reader, &mut io::sink()));
        copied.map(|_| ()).map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<BlobError>()) {
                Some(blob) => blob.clone().into(),
                None => {
                    OpenImageError::Io { path: self.folder.join(blob_path(digest)), source: error }
                }
            }
        })
    }

    /// Stores `content` under its digest; does nothing if it is there.
    pub fn add_blob(&self, media_type: &str, content: &[u8]) -> Result<Descriptor, LayoutError> {
        let descriptor = Descriptor::of(media_type, content);
        let path = self.folder.join(blob_path(descriptor.digest));
        if self.verify_blob(descriptor.digest, descriptor.size).is_err() {
            palisade_base::fs::write_atomic(&path, content, 0o644)
                .map_err(|source| LayoutError::Write { path, source })?;
        }
        Ok(descriptor)
    }

    /// Stores a manifest or index and lists it in `index.json`. With a `tag`, the entry takes
    /// the tag from the one that had it. `annotations`, `platform` and `artifact_type` of
    /// `entry` become the entry's; its digest and size are those of `content`.
    ///
    /// This is how signatures and attestations are attached: store their blobs with
    /// [`Layout::add_blob`], then the manifest that names the image as its `subject`.
    pub fn add_manifest(
        &self,
        tag: Option<&str>,
        mut entry: Descriptor,
        content: &[u8],
    ) -> Result<Descriptor, LayoutError> {
        if let Some(tag) = tag {
            check_tag(tag)?;
            entry.annotations.insert(REF_NAME.to_string(), tag.to_string());
        }
        let stored = self.add_blob(&entry.media_type, content)?;
        entry.digest = stored.digest;
        entry.size = stored.size;
        self.change_index(|manifests| {
            let value = serde_json::to_value(&entry)
                .map_err(|source| LayoutError::Encode { what: "descriptor", source })?;
            let is_same = |other: &Value| {
                let same_digest = other["digest"] == value["digest"];
                let other_tag = other["annotations"][REF_NAME].as_str();
                match tag {
                    Some(tag) => other_tag == Some(tag),
                    None => same_digest && other_tag.is_none(),
                }
            };
            manifests.retain(|other| !is_same(other));
            manifests.push(value);
            Ok(())
        })?;
        Ok(entry)
    }

    /// Removes a tag's entry from `index.json`; its blobs stay. Tells whether there was one.
    pub fn remove_tag(&self, tag: &str) -> Result<bool, LayoutError> {
        let mut found = false;
        self.change_index(|manifests| {
            let before = manifests.len();
            manifests.retain(|one| one["annotations"][REF_NAME].as_str() != Some(tag));
            found = manifests.len() < before;
            Ok(())
        })?;
        Ok(found)
    }

    fn read_index(&self) -> Result<(Vec<u8>, Value), OpenImageError> {
        let root = Root::open(&self.folder)
            .map_err(|source| OpenImageError::Io { path: self.folder.clone(), source })?;
        let limit = self.limits.manifest_bytes_max;
        let bytes = read_file(&root, &self.folder, "index.json", limit)?;
        let value = serde_json::from_slice(&bytes).map_err(|source| {
            OpenImageError::BadDocument { what: "index", name: "index.json".into(), source }
        })?;
        Ok((bytes, value))
    }

    /// Patches the manifests of `index.json` as JSON, so that fields unknown here survive.
    fn change_index(
        &self,
        change: impl FnOnce(&mut Vec<Value>) -> Result<(), LayoutError>,
    ) -> Result<(), LayoutError> {
        let _lock = self.lock()?;
        let (bytes, mut value) = self.read_index()?;
        Index::parse(&bytes, "index.json", self.limits.index_manifests_max)?;
        let Some(manifests) = value.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(OpenImageError::NotALayout {
                path: self.folder.clone(),
                what: "`index.json` lists no manifests".into(),
            }
            .into());
        };
        change(manifests)?;
        let path = self.folder.join("index.json");
        palisade_base::fs::write_atomic(&path, &encode("index", &value)?, 0o644)
            .map_err(|source| LayoutError::Write { path, source })
    }

    fn lock(&self) -> Result<Lock, LayoutError> {
        let path = self.folder.clone();
        let file = File::open(&path)
            .map_err(|source| LayoutError::Write { path: path.clone(), source })?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                    if Instant::now() >= deadline {
                        return Err(LayoutError::Locked { path });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => {
                    return Err(LayoutError::Write { path, source: error.into() });
                }
            }
        }
    }

    pub(crate) fn add_layer(&self, source: &LayerSource) -> Result<pack::PackedLayer, LayoutError> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.folder.join("blobs/sha256");
        let fail = |source| LayoutError::Write { path: folder.clone(), source };
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(fail)?;
        let layer = pack::pack(source, &mut file)?;
        file.flush().map_err(fail)?;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        file.persist(folder.join(layer.digest.hex())).map_err(|error| fail(error.error))?;
        Ok(layer)
    }
}

pub(crate) fn encode(what: &'static str, value: &Value) -> Result<Vec<u8>, LayoutError> {
    serde_json::to_vec(value).map_err(|source| LayoutError::Encode { what, source })
}

pub(crate) fn check_tag(tag: &str) -> Result<(), LayoutError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:@/+".contains(c);
    let begins_well = tag.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins_well || tag.len() > TAG_CHARS_MAX || !tag.chars().all(allowed) {
        return Err(LayoutError::BadTag(tag.chars().take(100).collect()));
    }
    Ok(())
}

/// A layout gives blobs to whoever copies an image out of it.
impl BlobSource for Layout {
    fn read_manifest(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, SourceError> {
        self.read_blob(descriptor.digest, Some(descriptor.size), limit).map_err(SourceError::new)
    }

    fn open_blob(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<(Box<dyn io::Read + Send>, u64), SourceError> {
        let opened = self.store.open_sized(digest, size).map_err(|error| {
            let blob = error.get_ref().and_then(|inner| inner.downcast_ref::<BlobError>());
            match blob.cloned() {
                Some(blob) => OpenImageError::from(blob),
                None => {
                    OpenImageError::Io { path: self.folder.join(blob_path(digest)), source: error }
                }
            }
        });
        let (reader, size) = opened.map_err(SourceError::new)?;
        Ok((Box::new(reader), size))
    }
}

/// An image to be written.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its tag in the layout.
    pub tag: Option<String>,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made; written into the configuration.
    pub created: Timestamp,
    /// The `config` object of the configuration: `User`, `Env`, `Entrypoint`, `Cmd`, ….
    pub config: Value,
    /// How it was made. Steps with a layer must be as many as there are layers, or none.
    pub history: Vec<HistoryStep>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerSource>,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenImage {
    /// The manifest, as `index.json` lists it.
    pub manifest: Descriptor,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Digests of the uncompressed layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Device nodes and sockets of the sources that were left out.
    pub n_left_out: u64,
}

/// Writes `image` into the layout at `dest`; makes the layout, in one step, if nothing is
/// there. The same sources and times give the same bytes.
pub fn write_layout(dest: &Path, image: &NewImage) -> Result<WrittenImage, LayoutError> {
    if let Some(tag) = &image.tag {
        check_tag(tag)?;
    }
    in_layout(dest, |layout| write_image(layout, image))
}

/// Passes the layout at `dest` to `write`; makes it, in one step, if nothing is there.
pub(crate) fn in_layout<T>(
    dest: &Path,
    write: impl FnOnce(&Layout) -> Result<T, LayoutError>,
) -> Result<T, LayoutError> {
    if dest.join("oci-layout").exists() {
        return write(&Layout::open(dest)?);
    }
    let fail = |source| LayoutError::Write { path: dest.into(), source };
    let parent = match dest.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let temporary =
        tempfile::Builder::new().prefix(".palisade-layout-").tempdir_in(parent).map_err(fail)?;
    let layout = Layout::create(temporary.path())?;
    let written = write(&layout)?;
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    rustix::fs::chmod(temporary.path(), mode).map_err(|error| fail(error.into()))?;
    // An empty folder at `dest` is replaced; anything else there is an error.
    std::fs::rename(temporary.path(), dest).map_err(fail)?;
    // What is gone cannot be removed; the guard would try.
    let _ = temporary.keep();
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(fail)?;
    Ok(written)
}

fn write_image(layout: &Layout, image: &NewImage) -> Result<WrittenImage, LayoutError> {
    let mut layers = Vec::new();
    let mut diff_ids = Vec::new();
    let mut n_left_out = 0;
    for source in &image.layers {
        let layer = layout.add_layer(source)?;
        n_left_out += layer.n_left_out;
        diff_ids.push(layer.diff_id);
        layers.push(Descriptor {
            digest: layer.digest,
            size: layer.size,
            ..Descriptor::of(document::LAYER_GZIP, b"")
        });
    }
    let config = encode("configuration", &config_document(image, &diff_ids))?;
    let config = layout.add_blob(document::CONFIG, &config)?;
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": document::MANIFEST,
        "config": config,
        "layers": layers,
    });
    if !image.annotations.is_empty() {
        manifest["annotations"] = json!(image.annotations);
    }
    let manifest = encode("manifest", &manifest)?;
    let entry = Descriptor {
        platform: Some(image.platform.clone()),
        ..Descriptor::of(document::MANIFEST, &manifest)
    };
    let manifest = layout.add_manifest(image.tag.as_deref(), entry, &manifest)?;
    Ok(WrittenImage { manifest, config, layers, diff_ids, n_left_out })
}

fn config_document(image: &NewImage, diff_ids: &[Digest]) -> Value {
    let mut document = json!({
        "created": image.created,
        "architecture": image.platform.architecture,
        "os": image.platform.os,
    });
    if let Some(variant) = &image.platform.variant {
        document["variant"] = json!(variant);
    }
    document["config"] = image.config.clone();
    document["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    if !image.history.is_empty() {
        document["history"] = Value::Array(image.history.iter().map(step_document).collect());
    }
    document
}

pub(crate) fn step_document(step: &HistoryStep) -> Value {
    let mut value = json!({});
    for (key, text) in
        [("created", &step.created), ("created_by", &step.created_by), ("comment", &step.comment)]
    {
        if let Some(text) = text {
            value[key] = json!(text);
        }
    }
    if step.empty_layer {
        value["empty_layer"] = json!(true);
    }
    value
}

//! Writes an image again with one more layer.
//!
//! The layers below are copied byte for byte, proved while they are; the configuration is the
//! image's own document with what a layer adds to it, fields unknown here included.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use palisade_base::DigestReader;
use serde_json::{Value, json};

use crate::blob::blob_path;
use crate::decompress::Compression;
use crate::document::{self, HistoryStep};
use crate::layout::{self, Descriptor, Layout, WrittenImage, encode, step_document};
use crate::pack::LayerSource;
use crate::{Image, LayoutError, ReadImageError};

/// What an image gets.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// Tag of the new image in the layout.
    pub tag: Option<String>,
    /// The layer, an uncompressed archive.
    pub layer: PathBuf,
    /// How it was made; its time becomes the image's.
    pub step: HistoryStep,
    /// Annotations of the manifest, besides the image's own.
    pub annotations: Vec<(String, String)>,
}

impl Image {
    /// Writes this image with `amendment` into the layout at `dest`; makes the layout, in one
    /// step, if nothing is there. A folder is no image and gives an error.
    pub fn amend(&self, dest: &Path, amendment: &Amendment) -> Result<WrittenImage, LayoutError> {
        if let Some(tag) = &amendment.tag {
            layout::check_tag(tag)?;
        }
        if self.is_folder() {
            return Err(ReadImageError::NoLayer(0).into());
        }
        layout::in_layout(dest, |layout| self.amend_in(layout, amendment))
    }

    fn amend_in(
        &self,
        layout: &Layout,
        amendment: &Amendment,
    ) -> Result<WrittenImage, LayoutError> {
        let mut layers = Vec::new();
        for index in 0..self.layers.len() {
            layers.push(self.copy_layer(layout, index)?);
        }
        let added = layout.add_layer(&LayerSource::Tar(amendment.layer.clone()))?;
        layers.push(Descriptor {
            digest: added.digest,
            size: added.size,
            ..Descriptor::of(document::LAYER_GZIP, b"")
        });
        let mut diff_ids = self.config.diff_ids.clone();
        diff_ids.push(added.diff_id);
        let mut config = self.config.raw.clone();
        config["rootfs"]["diff_ids"] = json!(diff_ids);
        if let Some(created) = &amendment.step.created {
            config["created"] = json!(created);
        }
        // A history that names other layers than there are is left as it is; where there is
        // none, nothing is said of the layers below.
        if self.config.history.is_empty() {
            config["history"] = Value::Array(vec![json!({}); self.layers.len()]);
        }
        let n_steps = self.config.history.iter().filter(|step| !step.empty_layer).count();
        if (self.config.history.is_empty() || n_steps == self.layers.len())
            && let Some(history) = config["history"].as_array_mut()
        {
            history.push(step_document(&amendment.step));
        }
        let config = layout.add_blob(document::CONFIG, &encode("configuration", &config)?)?;
        let own: Value = serde_json::from_slice(&self.manifest).unwrap_or_default();
        let mut annotations = own["annotations"].as_object().cloned().unwrap_or_default();
        annotations.extend(amendment.annotations.iter().map(|(k, v)| (k.clone(), json!(v))));
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": document::MANIFEST,
            "config": config,
            "layers": layers,
        });
        if !annotations.is_empty() {
            manifest["annotations"] = Value::Object(annotations);
        }
        let manifest = encode("manifest", &manifest)?;
        let entry = Descriptor {
            platform: self.platform.clone(),
            ..Descriptor::of(document::MANIFEST, &manifest)
        };
        let manifest = layout.add_manifest(amendment.tag.as_deref(), entry, &manifest)?;
        Ok(WrittenImage { manifest, config, layers, diff_ids, n_left_out: added.n_left_out })
    }

    /// Copies a layer as it is, and names it by what was copied.
    fn copy_layer(&self, layout: &Layout, index: usize) -> Result<Descriptor, LayoutError> {
        let layer = self.layers.get(index).ok_or(ReadImageError::NoLayer(index))?;
        let folder = layout.folder().join("blobs/sha256");
        let fail = |source| LayoutError::Write { path: folder.clone(), source };
        let from_io = |error| LayoutError::from(ReadImageError::from_io(layer.digest, error));
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(fail)?;
        let mut reader = DigestReader::new(self.open_layer(layer).map_err(from_io)?);
        let mut start = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(&mut reader, 8), &mut start).map_err(from_io)?;
        file.write_all(&start).map_err(fail)?;
        // A disk that fills is told from a layer that lies.
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let n = match io::Read::read(&mut reader, &mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(from_io(error)),
            };
            file.write_all(buffer.get(..n).unwrap_or_default()).map_err(fail)?;
        }
        let (digest, size) = reader.finish();
        let media_type = match Compression::of(&start) {
            Compression::None => document::LAYER,
            Compression::Gzip => document::LAYER_GZIP,
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(mode).map_err(fail)?;
        file.as_file().sync_all().map_err(fail)?;
        let path = layout.folder().join(blob_path(digest));
        file.persist(path).map_err(|error| fail(error.error))?;
        Ok(Descriptor { digest, size, ..Descriptor::of(media_type, b"") })
    }
}

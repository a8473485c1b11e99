//! Archives of `docker save` before version 25: `manifest.json`, and paths where a layout has
//! digests. What a layer is shows only in its diff id, which the configuration states.

use std::io;
use std::sync::Arc;

use palisade_base::Digest;
use serde::Deserialize;

use crate::archive::Archive;
use crate::blob::Store;
use crate::document::{self, ImageConfig};
use crate::error::{BlobError, OpenImageError};
use crate::open::{Image, Layer, Opening, Place, Source, name_matches};

const MANIFEST: &str = "manifest.json";

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn inconsistent(problem: String) -> OpenImageError {
    OpenImageError::Inconsistent { what: "manifest", name: MANIFEST.into(), problem }
}

impl Opening<'_> {
    /// Opens an image of the archive.
    pub(crate) fn docker_image(
        &self,
        archive: Arc<Archive>,
        selector: Option<&str>,
    ) -> Result<Image, OpenImageError> {
        let limits = &self.options.limits;
        let bytes = self.entry(&archive, MANIFEST, "manifest", limits.manifest_bytes_max)?;
        let chosen = self.choose_docker(&bytes, selector)?;
        let config =
            self.entry(&archive, &chosen.config, "configuration", limits.config_bytes_max)?;
        let config_digest = Digest::of(&config);
        check_name(&chosen.config, config_digest)?;
        let (config, platform) = ImageConfig::parse(&config, &chosen.config)?;
        self.check_platform(&platform)?;
        let (n_layers, n_diff_ids) = (chosen.layers.len(), config.diff_ids.len());
        if n_layers > limits.layers_max || n_diff_ids != n_layers {
            let max = limits.layers_max;
            return Err(inconsistent(format!(
                "{n_layers} layers where the configuration names {n_diff_ids}, of at most {max}"
            )));
        }
        let layer = |(path, diff_id): (&String, &Digest)| Layer {
            digest: *diff_id,
            diff_id: *diff_id,
            size: archive.open_entry(path).map_or(0, |(_, size)| size),
            media_type: document::LAYER.to_string(),
            place: Place::Entry(path.clone()),
        };
        let layers = chosen.layers.iter().zip(&config.diff_ids).map(layer).collect();
        Ok(Image {
            target: self.target.clone(),
            reference: chosen.repo_tags.and_then(|tags| tags.into_iter().next()),
            manifest_digest: None,
            manifest: bytes,
            index_digests: Vec::new(),
            config_digest: Some(config_digest),
            config,
            platform: Some(platform),
            layers,
            source: Source::Blobs(Store::Archive(archive)),
            limits: limits.clone(),
        })
    }

    fn entry(
        &self,
        archive: &Archive,
        path: &str,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, OpenImageError> {
        archive.read_entry(path, what, limit).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let path: String = path.chars().take(200).collect();
                inconsistent(format!("its `{path}` is not in the archive"))
            }
            _ => self.document_error(error),
        })
    }

    fn choose_docker(
        &self,
        bytes: &[u8],
        selector: Option<&str>,
    ) -> Result<DockerImage, OpenImageError> {
        let mut images: Vec<DockerImage> = serde_json::from_slice(bytes).map_err(|source| {
            OpenImageError::BadDocument { what: "manifest", name: MANIFEST.into(), source }
        })?;
        let path = self.path.to_path_buf();
        let tags: Vec<String> =
            images.iter().flat_map(|image| image.repo_tags.iter().flatten().cloned()).collect();
        if let Some(selector) = selector {
            images.retain(|image| {
                image.repo_tags.iter().flatten().any(|tag| name_matches(tag, selector))
            });
        }
        match (images.pop(), images.is_empty()) {
            (Some(image), true) => Ok(image),
            (Some(_), false) => Err(OpenImageError::Ambiguous { path, tags }),
            (None, _) => {
                let selector = selector.unwrap_or("any").to_string();
                Err(OpenImageError::NoSuchImage { selector, path, tags })
            }
        }
    }
}

/// `docker save` names the configuration after its digest: a name that says another is a lie.
fn check_name(path: &str, found: Digest) -> Result<(), OpenImageError> {
    let stem = path.rsplit('/').next().unwrap_or_default();
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    match format!("sha256:{stem}").parse::<Digest>() {
        Ok(blob) if blob != found => Err(BlobError::DigestMismatch { blob, found }.into()),
        _ => Ok(()),
    }
}

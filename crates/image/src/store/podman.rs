//! containers/storage: the store of Podman, CRI-O and Buildah
//! (containers/storage, `images.go`, `layers.go`).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use base64::Engine as _;
use palisade_base::{Digest, Root};
use serde::Deserialize;

use super::{
    LIST_BYTES_MAX, SplitLayer, Wanted, is_folder_name, open_root, parse, read, read_needed,
};
use crate::error::OpenImageError;
use crate::open::{Image, Opening};

/// Storage drivers that keep layers as folders, and where: `{}` is the layer.
const DRIVERS: [(&str, &str); 2] = [("overlay", "overlay/{}/diff"), ("vfs", "vfs/dir/{}")];

/// An image of `images.json`.
#[derive(Deserialize)]
pub(super) struct StoredImage {
    id: String,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    layer: Option<String>,
    #[serde(default, rename = "big-data-digests")]
    big_data: Option<BTreeMap<String, String>>,
}

/// A layer of `layers.json`.
#[derive(Deserialize)]
pub(super) struct StoredLayer {
    id: String,
    #[serde(default)]
    parent: Option<String>,
}

pub(super) fn parse_images(bytes: &[u8]) -> Result<Vec<StoredImage>, OpenImageError> {
    parse(bytes, "images.json")
}

pub(super) fn parse_layers(bytes: &[u8]) -> Result<Vec<StoredLayer>, OpenImageError> {
    parse(bytes, "layers.json")
}

/// Reads data of an image, of at most so many bytes.
type ReadData<'d> = dyn Fn(&str, u64) -> Result<Option<Vec<u8>>, OpenImageError> + 'd;

/// The name of the file that holds data of an image: as it is, or in base64 where the name is
/// no name of a file.
fn data_file(key: &str) -> String {
    let plain = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if plain {
        return key.to_string();
    }
    format!("={}", base64::engine::general_purpose::STANDARD.encode(key))
}

impl Opening<'_> {
    pub(super) fn podman_store(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
    ) -> Result<Option<Image>, OpenImageError> {
        let Some(root) = open_root(path)? else { return Ok(None) };
        for (driver, place) in DRIVERS {
            let list = format!("{driver}-images/images.json");
            let Some(bytes) = read(&root, &list, LIST_BYTES_MAX)? else { continue };
            let images = parse_images(&bytes)?;
            let names = images.iter().flat_map(|image| {
                let names = image.names.clone().unwrap_or_default();
                let names = if names.is_empty() { vec![String::new()] } else { names };
                names.into_iter().map(|name| (name, image.id.clone()))
            });
            if let Some((name, id)) = wanted.choose(names)?
                && let Some(image) = images.iter().find(|image| image.id == id)
            {
                let place = |layer: &str| place.replace("{}", layer);
                return self.podman_stored(&root, driver, &place, &name, image).map(Some);
            }
        }
        Ok(None)
    }

    fn podman_stored(
        &self,
        root: &Root,
        driver: &str,
        place: &dyn Fn(&str) -> String,
        name: &str,
        image: &StoredImage,
    ) -> Result<Image, OpenImageError> {
        let refuse = |problem: String| OpenImageError::Inconsistent {
            what: "image",
            name: image.id.chars().take(64).collect(),
            problem,
        };
        if !is_folder_name(&image.id) {
            return Err(refuse("its id is no name of a folder".into()));
        }
        let limits = &self.options.limits;
        let folder = format!("{driver}-images/{}", image.id);
        let data =
            |key: &str, limit: u64| read(root, &format!("{folder}/{}", data_file(key)), limit);
        // The id is the digest of the configuration, unless the image was made without one.
        let config_digest: Digest = format!("sha256:{}", image.id)
            .parse()
            .map_err(|_| refuse("its id is not the digest of a configuration".into()))?;
        let config = data(&config_digest.to_string(), limits.config_bytes_max)?
            .ok_or_else(|| refuse("it has no configuration".into()))?;
        let manifest = self.podman_manifest(image, &data)?;
        let name = Some(name.to_string()).filter(|name| !name.is_empty());
        let top = image.layer.clone();
        self.split_image(name, &config, config_digest, manifest, &mut |diff_ids| {
            let path = format!("{driver}-layers/layers.json");
            let layers = parse_layers(&read_needed(root, &path, LIST_BYTES_MAX)?)?;
            let parents: HashMap<&str, Option<&str>> =
                layers.iter().map(|layer| (&*layer.id, layer.parent.as_deref())).collect();
            let mut places = Vec::new();
            let mut next = top.as_deref().filter(|id| !id.is_empty());
            while let Some(id) = next {
                if places.len() > diff_ids.len() {
                    break;
                }
                if !is_folder_name(id) {
                    return Err(refuse("a layer's id is no name of a folder".into()));
                }
                let record = format!("{driver}-layers/{id}.tar-split.gz");
                places.push(SplitLayer {
                    record: root.path().join(record),
                    folder: root.path().join(place(id)),
                });
                next = parents.get(id).copied().flatten().filter(|id| !id.is_empty());
            }
            places.reverse();
            Ok(places)
        })
    }

    /// The manifest, if the store has the one that its list states.
    fn podman_manifest(
        &self,
        image: &StoredImage,
        data: &ReadData<'_>,
    ) -> Result<Option<(Vec<u8>, Digest)>, OpenImageError> {
        let stated = image.digest.as_deref().and_then(|text| text.parse::<Digest>().ok());
        let Some(digest) = stated else { return Ok(None) };
        let keys = image.big_data.iter().flatten();
        let key = keys
            .filter(|(key, value)| key.starts_with("manifest") && **value == digest.to_string())
            .map(|(key, _)| key.clone())
            .next();
        let limit = self.options.limits.manifest_bytes_max;
        let bytes = match key {
            Some(key) => data(&key, limit)?,
            None => None,
        };
        Ok(bytes.filter(|bytes| Digest::of(bytes) == digest).map(|bytes| (bytes, digest)))
    }
}

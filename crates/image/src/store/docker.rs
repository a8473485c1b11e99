//! Docker's own store (`image/DRIVER` and the driver's folder below the data root;
//! moby, `image/store.go`, `layer/filestore.go`).

use std::collections::BTreeMap;
use std::path::Path;

use palisade_base::{Digest, Root};
use serde::Deserialize;

use super::{
    LIST_BYTES_MAX, SplitLayer, Wanted, is_folder_name, open_root, parse, read, read_needed,
};
use crate::error::OpenImageError;
use crate::open::{Image, Opening};

/// Storage drivers that keep layers as folders, and where: `{}` is the layer.
const DRIVERS: [(&str, &str); 3] = [
    ("overlay2", "overlay2/{}/diff"),
    ("fuse-overlayfs", "fuse-overlayfs/{}/diff"),
    ("vfs", "vfs/dir/{}"),
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Repositories {
    #[serde(default)]
    repositories: BTreeMap<String, BTreeMap<String, String>>,
}

/// Names and ids of `repositories.json`.
pub(super) fn parse_repositories(bytes: &[u8]) -> Result<Vec<(String, String)>, OpenImageError> {
    let list: Repositories = parse(bytes, "repositories.json")?;
    Ok(list.repositories.into_values().flatten().collect())
}

impl Opening<'_> {
    pub(super) fn docker_store(
        &self,
        wanted: &Wanted<'_>,
        path: &Path,
    ) -> Result<Option<Image>, OpenImageError> {
        let Some(root) = open_root(path)? else { return Ok(None) };
        for (driver, place) in DRIVERS {
            let list = format!("image/{driver}/repositories.json");
            let Some(bytes) = read(&root, &list, LIST_BYTES_MAX)? else { continue };
            let mut images = parse_repositories(&bytes)?;
            // Images without a name are files alone.
            images.extend(unnamed(path, driver).into_iter().map(|id| (String::new(), id)));
            if let Some((name, id)) = wanted.choose(images.into_iter())? {
                let place = |layer: &str| place.replace("{}", layer);
                return self.docker_stored(&root, driver, &place, &name, &id).map(Some);
            }
        }
        Ok(None)
    }

    fn docker_stored(
        &self,
        root: &Root,
        driver: &str,
        place: &dyn Fn(&str) -> String,
        name: &str,
        id: &str,
    ) -> Result<Image, OpenImageError> {
        let digest: Digest = id.parse().map_err(|error: palisade_base::ParseDigestError| {
            OpenImageError::Inconsistent {
                what: "list of images",
                name: "repositories.json".into(),
                problem: error.to_string(),
            }
        })?;
        let limits = &self.options.limits;
        let path = format!("image/{driver}/imagedb/content/sha256/{}", digest.hex());
        let config = read_needed(root, &path, limits.config_bytes_max)?;
        let name = Some(name.to_string()).filter(|name| !name.is_empty());
        self.split_image(name, &config, digest, None, &mut |diff_ids| {
            let mut chain: Option<Digest> = None;
            let mut layers = Vec::new();
            for diff_id in diff_ids {
                let id = match chain {
                    None => *diff_id,
                    // OCI image-spec, `config.md`, "Layer ChainID".
                    Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
                };
                chain = Some(id);
                let folder = format!("image/{driver}/layerdb/sha256/{}", id.hex());
                let cache_id = read_needed(root, &format!("{folder}/cache-id"), 4096)?;
                let cache_id = String::from_utf8_lossy(&cache_id).trim().to_string();
                if !is_folder_name(&cache_id) {
                    return Err(OpenImageError::Inconsistent {
                        what: "layer",
                        name: id.to_string(),
                        problem: "its folder has no usable name".into(),
                    });
                }
                layers.push(SplitLayer {
                    record: root.path().join(folder).join("tar-split.json.gz"),
                    folder: root.path().join(place(&cache_id)),
                });
            }
            Ok(layers)
        })
    }
}

/// Ids of all images that the store has.
fn unnamed(path: &Path, driver: &str) -> Vec<String> {
    let folder = path.join(format!("image/{driver}/imagedb/content/sha256"));
    let listing = std::fs::read_dir(folder).into_iter().flatten().flatten();
    listing
        .take(1 << 20)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .map(|hex| format!("sha256:{hex}"))
        .collect()
}

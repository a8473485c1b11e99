//! Images in the stores of engines, read from their files without asking the engine.
//!
//! Docker and containers/storage (Podman, CRI-O, Buildah) keep layers unpacked, and beside
//! each layer a record of its archive (tar-split): with it the archive comes back byte for
//! byte, so that what is read here is proved against the configuration like any other layer.
//! containerd keeps the blobs themselves, and their names in a database (bbolt).
//!
//! Nothing is locked and nothing is written. An engine that removes an image meanwhile makes
//! reading fail, not lie.

mod bolt;
mod containerd;
mod docker;
mod podman;
mod split;

use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Root};
use palisade_model::{Reference, StoreKind};

use crate::Limits;
use crate::document::{self, ImageConfig};
use crate::error::{BlobError, OpenImageError};
use crate::open::{Image, Layer, Opening, Place, Source};

pub use containerd::containerd_image_of;
pub(crate) use split::SplitLayer;

/// Largest file of a store that lists its images.
const LIST_BYTES_MAX: u64 = 256 << 20;
/// Shortest beginning of an image id that names it.
const ID_CHARS_MIN: usize = 6;

/// Where the stores are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stores {
    /// Data roots of Docker.
    pub docker: Vec<PathBuf>,
    /// Roots of containers/storage.
    pub podman: Vec<PathBuf>,
    /// Roots of containerd.
    pub containerd: Vec<PathBuf>,
}

impl Default for Stores {
    /// The usual places.
    fn default() -> Self {
        Self {
            docker: vec!["/var/lib/docker".into()],
            podman: vec!["/var/lib/containers/storage".into()],
            containerd: vec!["/var/lib/containerd".into()],
        }
    }
}

impl Stores {
    /// The places of one engine.
    pub fn of(&self, kind: StoreKind) -> &[PathBuf] {
        match kind {
            StoreKind::Docker => &self.docker,
            StoreKind::Podman => &self.podman,
            StoreKind::Containerd => &self.containerd,
        }
    }

    /// The places of one engine, to be changed.
    pub fn of_mut(&mut self, kind: StoreKind) -> &mut Vec<PathBuf> {
        match kind {
            StoreKind::Docker => &mut self.docker,
            StoreKind::Podman => &mut self.podman,
            StoreKind::Containerd => &mut self.containerd,
        }
    }
}

/// Finds the layers with the given diff ids, lowest first.
type FindLayers<'f> = dyn FnMut(&[Digest]) -> Result<Vec<SplitLayer>, OpenImageError> + 'f;

/// What is looked for in a store.
pub(crate) struct Wanted<'w> {
    pub(crate) kind: StoreKind,
    pub(crate) namespace: Option<&'w str>,
    /// What it may be called, complete, best first.
    references: Vec<String>,
    /// The beginning of an id in hex, if it can be one.
    id: Option<&'w str>,
}

impl<'w> Wanted<'w> {
    fn new(kind: StoreKind, name: &'w str, namespace: Option<&'w str>) -> Self {
        let mut references = Vec::new();
        if let Ok(reference) = name.parse::<Reference>() {
            // Podman's builds have no registry.
            let is_short = !name.split('/').next().unwrap_or_default().contains(['.', ':'])
                || !name.contains('/');
            if kind == StoreKind::Podman
                && is_short
                && let Ok(local) = format!("localhost/{name}").parse::<Reference>()
            {
                references.push(local.to_string());
            }
            references.push(reference.to_string());
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let is_id = (ID_CHARS_MIN..=64).contains(&hex.len())
            && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        Self { kind, namespace, references, id: is_id.then_some(hex) }
    }

    /// How well a name of the store fits; less is better.
    fn rank(&self, stored: &str) -> Option<usize> {
        let full = stored.parse::<Reference>().ok()?.to_string();
        self.references.iter().position(|wanted| *wanted == full)
    }

    /// Whether an id of the store begins as wanted.
    fn is_id(&self, stored: &str) -> bool {
        let stored = stored.strip_prefix("sha256:").unwrap_or(stored);
        self.id.is_some_and(|id| stored.starts_with(id))
    }

    /// The image that is meant among names and ids; names come before beginnings of ids.
    fn choose(
        &self,
        images: impl Iterator<Item = (String, String)>,
    ) -> Result<Option<(String, String)>, OpenImageError> {
        let mut best: Option<(usize, (String, String))> = None;
        let mut by_id: Vec<(String, String)> = Vec::new();
        for (name, id) in images {
            if let Some(rank) = self.rank(&name) {
                if best.as_ref().is_none_or(|(other, _)| rank < *other) {
                    best = Some((rank, (name, id)));
                }
            } else if self.is_id(&id) {
                by_id.push((name, id));
            }
        }
        if let Some((_, found)) = best {
            return Ok(Some(found));
        }
        by_id.sort_by(|a, b| a.1.cmp(&b.1));
        by_id.dedup_by(|a, b| a.1 == b.1);
        match by_id.len() {
            0 | 1 => Ok(by_id.pop()),
            _ => Err(OpenImageError::Ambiguous {
                path: self.kind.name().into(),
                tags: by_id.into_iter().map(|(_, id)| id).collect(),
            }),
        }
    }
}

impl Opening<'_> {
    /// Opens an image of a store.
    pub(crate) fn stored_image(
        &self,
        kind: StoreKind,
        name: &str,
        namespace: Option<&str>,
    ) -> Result<Image, OpenImageError> {
        let wanted = Wanted::new(kind, name, namespace);
        let roots = self.options.stores.of(kind);
        for root in roots {
            let found = match kind {
                StoreKind::Docker => self.docker_store(&wanted, root)?,
                StoreKind::Podman => self.podman_store(&wanted, root)?,
                StoreKind::Containerd => self.containerd_store(&wanted, root)?,
            };
            if let Some(image) = found {
                return Ok(image);
            }
        }
        // Docker may keep its images in a containerd, its own or the machine's.
        if kind == StoreKind::Docker {
            let wanted = Wanted { namespace: Some("moby"), ..wanted };
            let own = roots.iter().map(|root| root.join("containerd/daemon"));
            for root in own.chain(self.options.stores.containerd.iter().cloned()) {
                if let Some(image) = self.containerd_store(&wanted, &root)? {
                    return Ok(image);
                }
            }
        }
        Err(OpenImageError::NotInStore { store: kind.name(), name: name.to_string() })
    }

    /// An image whose layers are unpacked beside the records of their archives.
    fn split_image(
        &self,
        name: Option<String>,
        config: &[u8],
        config_digest: Digest,
        manifest: Option<(Vec<u8>, Digest)>,
        layers: &mut FindLayers<'_>,
    ) -> Result<Image, OpenImageError> {
        let found = Digest::of(config);
        if found != config_digest {
            return Err(BlobError::DigestMismatch { blob: config_digest, found }.into());
        }
        let (config, platform) = ImageConfig::parse(config, &config_digest.to_string())?;
        self.check_platform(&platform)?;
        let limits = &self.options.limits;
        let refuse = |problem: String| OpenImageError::Inconsistent {
            what: "configuration",
            name: config_digest.to_string(),
            problem,
        };
        if config.diff_ids.len() > limits.layers_max {
            return Err(refuse(format!("more than {} layers", limits.layers_max)));
        }
        let places = layers(&config.diff_ids)?;
        if places.len() != config.diff_ids.len() {
            let (n, m) = (places.len(), config.diff_ids.len());
            return Err(refuse(format!("it names {m} layers where the store has {n}")));
        }
        let layer = |(place, diff_id): (SplitLayer, &Digest)| Layer {
            digest: *diff_id,
            diff_id: *diff_id,
            size: 0,
            media_type: document::LAYER.to_string(),
            place: Place::Split(place),
        };
        let layers = places.into_iter().zip(&config.diff_ids).map(layer).collect();
        let (manifest, manifest_digest) = match manifest {
            Some((bytes, digest)) => (bytes, Some(digest)),
            None => (Vec::new(), None),
        };
        Ok(Image {
            target: self.target.clone(),
            reference: name,
            manifest_digest,
            manifest,
            index_digests: Vec::new(),
            config_digest: Some(config_digest),
            config,
            platform: Some(platform),
            layers,
            source: Source::Unpacked,
            limits: limits.clone(),
        })
    }
}

/// Opens the folder of a store; `None`: there is none.
fn open_root(path: &Path) -> Result<Option<Root>, OpenImageError> {
    match Root::open(path) {
        Ok(root) => Ok(Some(root)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(source) => Err(OpenImageError::StoreIo { path: path.into(), source }),
    }
}

/// Reads a file of a store; `None`: there is none.
fn read(root: &Root, path: &str, limit: u64) -> Result<Option<Vec<u8>>, OpenImageError> {
    match root.read(Path::new(path), limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(source) => Err(OpenImageError::StoreIo { path: root.path().join(path), source }),
    }
}

/// Reads a file that must be there.
fn read_needed(root: &Root, path: &str, limit: u64) -> Result<Vec<u8>, OpenImageError> {
    read(root, path, limit)?.ok_or_else(|| OpenImageError::StoreIo {
        path: root.path().join(path),
        source: io::ErrorKind::NotFound.into(),
    })
}

/// Reads a JSON document of a store.
fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], name: &str) -> Result<T, OpenImageError> {
    serde_json::from_slice(bytes).map_err(|source| OpenImageError::BadDocument {
        what: "list of images",
        name: name.into(),
        source,
    })
}

/// A name of one folder, which comes from a file of the store.
fn is_folder_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !text.starts_with('.')
}

/// For fuzzing: whatever the bytes are, this ends.
#[doc(hidden)]
pub mod fuzzing {
    /// Walks a bbolt database.
    pub fn bolt(bytes: &[u8]) {
        super::bolt::walk_all(bytes);
    }

    /// Puts an archive together from its record, with an empty folder behind it.
    pub fn split(record: &[u8], folder: &std::path::Path) {
        super::split::read_all(record, folder);
    }

    /// Reads the lists of images of Docker and of containers/storage.
    pub fn lists(bytes: &[u8]) {
        let _ = super::docker::parse_repositories(bytes);
        let _ = super::podman::parse_images(bytes);
        let _ = super::podman::parse_layers(bytes);
    }
}

/// The bounds that reading a store needs beside those of images.
pub(crate) fn record_bytes_max(limits: &Limits) -> u64 {
    limits.layer_bytes_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_before_ids() {
        let images = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> =
                pairs.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect();
            pairs
        };
        let store = images(&[
            ("docker.io/library/shop:latest", "aaaaaa111111"),
            ("localhost/shop:latest", "bbbbbb222222"),
            ("docker.io/library/aaaaaa:latest", "cccccc333333"),
            ("", "dddddd444444"),
            ("", "dddddd555555"),
        ]);
        let check = |kind: StoreKind, name: &str, expected: Option<&str>| {
            let found = Wanted::new(kind, name, None).choose(store.clone().into_iter()).unwrap();
            assert_eq!(found.map(|(_, id)| id).as_deref(), expected, "{name}");
        };
        check(StoreKind::Docker, "shop", Some("aaaaaa111111"));
        check(StoreKind::Docker, "docker.io/shop:latest", Some("aaaaaa111111"));
        check(StoreKind::Podman, "shop", Some("bbbbbb222222"));
        check(StoreKind::Podman, "docker.io/library/shop", Some("aaaaaa111111"));
        check(StoreKind::Docker, "shop:2", None);
        check(StoreKind::Docker, "aaaaaa", Some("cccccc333333"));
        check(StoreKind::Docker, "aaaaaa1", Some("aaaaaa111111"));
        check(StoreKind::Docker, "sha256:bbbbbb222222", Some("bbbbbb222222"));
        check(StoreKind::Docker, "bbbbb", None);
        check(StoreKind::Docker, "dddddd4", Some("dddddd444444"));
        let wanted = Wanted::new(StoreKind::Docker, "dddddd", None);
        assert!(matches!(wanted.choose(store.into_iter()), Err(OpenImageError::Ambiguous { .. })));
    }
}

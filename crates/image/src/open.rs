//! Opens a target as an image: finds the manifest, proves it, reads the configuration.

use std::io;
use std::path::Path;
use std::sync::Arc;

use palisade_base::{Digest, LimitExceeded, Root};
use palisade_model::Target;

use crate::Limits;
use crate::aci::Aci;
use crate::archive::Archive;
use crate::blob::Store;
use crate::document::{self, CONTAINERD_NAME, ImageConfig, Index, Manifest, Platform, REF_NAME};
use crate::error::{BlobError, OpenImageError};
use crate::layout::Descriptor;
use crate::source::{BlobSource, SourceError};
use crate::store::{SplitLayer, Stores};

/// How to open an image.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Which image of a multi-platform index; this machine's when not stated.
    pub platform: Option<Platform>,
    /// Bounds on everything that is read.
    pub limits: Limits,
    /// Where the stores of engines are.
    pub stores: Stores,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Digest of the blob. An old `docker save` archive states none; then the diff id.
    pub digest: Digest,
    /// Digest of the decompressed layer.
    pub diff_id: Digest,
    /// Size of the blob in bytes; 0 where the archive does not state it.
    pub size: u64,
    /// As the manifest says; informative, the format is told by the content.
    pub media_type: String,
    pub(crate) place: Place,
}

/// Where a layer's bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Blob,
    Entry(String),
    /// The whole file of an App Container Image.
    Aci,
    /// Unpacked, with the record of its archive.
    Split(SplitLayer),
}

/// Where an image's files come from.
#[derive(Debug)]
pub(crate) enum Source {
    Blobs(Store),
    Aci(Aci),
    /// Each layer says itself.
    Unpacked,
    Folder {
        root: Root,
        is_host: bool,
    },
}

/// An image, or a folder that is looked at as if it were one.
#[derive(Debug)]
pub struct Image {
    /// What was opened.
    pub target: Target,
    /// The tag of the image in its layout or archive.
    pub reference: Option<String>,
    /// Digest of the manifest; none for a folder and for old `docker save` archives.
    pub manifest_digest: Option<Digest>,
    /// The manifest's bytes, exactly as found.
    pub manifest: Vec<u8>,
    /// Digests of the indexes that led to the manifest, outermost first, without
    /// `index.json` itself.
    pub index_digests: Vec<Digest>,
    /// Digest of the configuration: what engines call the image id.
    pub config_digest: Option<Digest>,
    /// What the image says about how to run it; empty for a folder.
    pub config: ImageConfig,
    /// What it runs on; none for a folder.
    pub platform: Option<Platform>,
    /// Its layers, lowest first; none for a folder.
    pub layers: Vec<Layer>,
    pub(crate) source: Source,
    pub(crate) limits: Limits,
}

impl Image {
    /// Opens `target`. Manifest and configuration are verified here, layers when they are
    /// read.
    pub fn open(target: &Target, options: &OpenOptions) -> Result<Self, OpenImageError> {
        match target {
            Target::Layout { folder, selector } => {
                let root = open_layout(folder)?;
                let limit = options.limits.manifest_bytes_max;
                let index = read_file(&root, folder, "index.json", limit)?;
                let opening = Opening { target, options, path: folder };
                opening.index_image(Store::Layout(Arc::new(root)), &index, selector.as_deref())
            }
            Target::Archive { file, selector } => {
                let archive = Arc::new(Archive::open(file, &options.limits)?);
                let opening = Opening { target, options, path: file };
                if archive.has("index.json") {
                    let limit = options.limits.manifest_bytes_max;
                    let index = archive
                        .read_entry("index.json", "index", limit)
                        .map_err(|error| opening.document_error(error))?;
                    opening.index_image(Store::Archive(archive), &index, selector.as_deref())
                } else if archive.has("manifest.json") {
                    opening.docker_image(archive, selector.as_deref())
                } else {
                    Err(OpenImageError::NotAnArchive { path: file.clone() })
                }
            }
            Target::Aci(path) => Opening { target, options, path }.aci_image(),
            Target::Folder(path) => Self::open_folder(target, path, false, options),
            Target::Host => Self::open_folder(target, Path::new("/"), true, options),
            Target::Store { kind, name, namespace } => {
                let path = Path::new(kind.name());
                Opening { target, options, path }.stored_image(*kind, name, namespace.as_deref())
            }
            other => Err(OpenImageError::Unsupported(other.to_string())),
        }
    }

    fn open_folder(
        target: &Target,
        path: &Path,
        is_host: bool,
        options: &OpenOptions,
    ) -> Result<Self, OpenImageError> {
        let root = Root::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => OpenImageError::NotFound { path: path.into() },
            _ => OpenImageError::Io { path: path.into(), source },
        })?;
        Ok(Self {
            target: target.clone(),
            reference: None,
            manifest_digest: None,
            manifest: Vec::new(),
            index_digests: Vec::new(),
            config_digest: None,
            config: ImageConfig::default(),
            platform: None,
            layers: Vec::new(),
            source: Source::Folder { root, is_host },
            limits: options.limits.clone(),
        })
    }

    /// Opens the image that `root`, a manifest or an index, describes and `source` has. Layers
    /// stream from it when they are read.
    pub fn from_source(
        target: &Target,
        source: Arc<dyn BlobSource>,
        root: &Descriptor,
        options: &OpenOptions,
    ) -> Result<Self, OpenImageError> {
        let name = target.to_string();
        let opening = Opening { target, options, path: Path::new(&name) };
        opening.described_image(Store::Source(source), root)
    }

    /// What a report about this image names as its subject.
    pub fn subject(&self) -> palisade_model::package::Subject {
        palisade_model::package::Subject {
            name: self.target.to_string(),
            digest: self.manifest_digest,
            platform: self.platform.as_ref().map(Platform::to_string),
        }
    }

    /// The folder, opened when the target was, if that is one; not the machine's own root.
    pub fn folder(&self) -> Option<&Root> {
        match &self.source {
            Source::Folder { root, is_host: false } => Some(root),
            _ => None,
        }
    }

    /// Whether the target is a folder or the machine, not an image.
    pub fn is_folder(&self) -> bool {
        matches!(self.source, Source::Folder { .. })
    }
}

/// Opens the folder of a layout and checks `oci-layout`.
pub(crate) fn open_layout(folder: &Path) -> Result<Root, OpenImageError> {
    let root = Root::open(folder).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenImageError::NotFound { path: folder.into() },
        io::ErrorKind::NotADirectory => {
            OpenImageError::NotALayout { path: folder.into(), what: "it is not a folder".into() }
        }
        _ => OpenImageError::Io { path: folder.into(), source },
    })?;
    let bytes = read_file(&root, folder, "oci-layout", 4096)?;
    let version = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let version = version.as_ref().and_then(|json| json.get("imageLayoutVersion")?.as_str());
    match version {
        Some(version) if version.starts_with("1.") => Ok(root),
        _ => Err(OpenImageError::NotALayout {
            path: folder.into(),
            what: "`oci-layout` states no version 1".into(),
        }),
    }
}

pub(crate) fn read_file(
    root: &Root,
    folder: &Path,
    name: &str,
    limit: u64,
) -> Result<Vec<u8>, OpenImageError> {
    root.read(Path::new(name), limit).map_err(|source| {
        if let Some(limit) = LimitExceeded::find(&source) {
            return limit.clone().into();
        }
        match source.kind() {
            io::ErrorKind::NotFound => OpenImageError::NotALayout {
                path: folder.into(),
                what: format!("it has no `{name}`"),
            },
            _ => OpenImageError::Io { path: folder.join(name), source },
        }
    })
}

/// The parts that every step of opening an image of blobs needs.
pub(crate) struct Opening<'a> {
    pub(crate) target: &'a Target,
    pub(crate) options: &'a OpenOptions,
    pub(crate) path: &'a Path,
}

/// The name of an image in an index.
fn ref_name(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(REF_NAME).map(String::as_str)
}

/// Whether `selector` names the image: its tag, its whole name, or the tag of that name.
fn is_named(descriptor: &Descriptor, selector: &str) -> bool {
    let names = [REF_NAME, CONTAINERD_NAME].into_iter();
    names.filter_map(|key| descriptor.annotations.get(key)).any(|name| name_matches(name, selector))
}

pub(crate) fn name_matches(name: &str, selector: &str) -> bool {
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    name == selector || tag == Some(selector)
}

/// Signatures and attestations are stored beside images; they are not images.
fn is_attachment(descriptor: &Descriptor) -> bool {
    descriptor.artifact_type.is_some()
        || descriptor.annotations.contains_key("vnd.docker.reference.type")
        || ref_name(descriptor).is_some_and(|name| name.starts_with("sha256-"))
}

impl Opening<'_> {
    pub(crate) fn document_error(&self, error: io::Error) -> OpenImageError {
        if let Some(limit) = LimitExceeded::find(&error) {
            return limit.clone().into();
        }
        if let Some(blob) = error.get_ref().and_then(|inner| inner.downcast_ref::<BlobError>()) {
            return blob.clone().into();
        }
        if let Some(source) = SourceError::find(&error) {
            return source.clone().into();
        }
        OpenImageError::Io { path: self.path.into(), source: error }
    }

    fn index_image(
        &self,
        store: Store,
        bytes: &[u8],
        selector: Option<&str>,
    ) -> Result<Image, OpenImageError> {
        let limits = &self.options.limits;
        let index = Index::parse(bytes, "index.json", limits.index_manifests_max)?;
        let chosen = self.choose(&index, selector)?.clone();
        let mut image = self.described_image(store, &chosen)?;
        image.reference = ref_name(&chosen).map(str::to_string);
        Ok(image)
    }

    /// Follows indexes to the manifest for the wanted platform.
    pub(crate) fn described_image(
        &self,
        store: Store,
        root: &Descriptor,
    ) -> Result<Image, OpenImageError> {
        let limits = &self.options.limits;
        let mut descriptor = root.clone();
        let mut index_digests = Vec::new();
        while !document::is_manifest(&descriptor.media_type) {
            let name = descriptor.digest.to_string();
            let problem = if !document::is_index(&descriptor.media_type) {
                Some(format!("it is a `{}`, not an image", descriptor.media_type))
            } else if index_digests.len() >= limits.index_depth_max {
                Some(format!("more than {} indexes inside each other", limits.index_depth_max))
            } else {
                None
            };
            if let Some(problem) = problem {
                return Err(OpenImageError::Inconsistent { what: "index", name, problem });
            }
            let bytes = self.read_document(&store, &descriptor, "index")?;
            let index = Index::parse(&bytes, &name, limits.index_manifests_max)?;
            index_digests.push(descriptor.digest);
            descriptor = self.choose_platform(&index)?.clone();
        }
        let manifest = self.read_document(&store, &descriptor, "manifest")?;
        let mut image = self.manifest_image(store, manifest, descriptor.digest)?;
        image.index_digests = index_digests;
        Ok(image)
    }

    /// The image of `index.json` that the selector names, or the only one.
    fn choose<'i>(
        &self,
        index: &'i Index,
        selector: Option<&str>,
    ) -> Result<&'i Descriptor, OpenImageError> {
        let images = || index.manifests.iter().filter(|descriptor| !is_attachment(descriptor));
        let tags = || -> Vec<String> {
            let name = |one: &Descriptor| {
                ref_name(one).map_or_else(|| one.digest.to_string(), str::to_string)
            };
            images().map(name).collect()
        };
        let path = self.path.to_path_buf();
        let mut found: Vec<&Descriptor> = match selector {
            None => images().collect(),
            Some(selector) => match selector.parse::<Digest>() {
                Ok(digest) => index.manifests.iter().filter(|one| one.digest == digest).collect(),
                Err(_) => images().filter(|one| is_named(one, selector)).collect(),
            },
        };
        // The same image under several tags is one image.
        found.dedup_by_key(|one| one.digest);
        match (found[..].first(), found.len(), selector) {
            (Some(one), 1, _) => Ok(one),
            (None, _, None) => {
                Err(OpenImageError::NoSuchImage { selector: "any".into(), path, tags: Vec::new() })
            }
            (None, _, Some(selector)) => {
                Err(OpenImageError::NoSuchImage { selector: selector.into(), path, tags: tags() })
            }
            // Several manifests without names are one image for several platforms.
            (Some(_), _, None)
                if images().all(|one| one.platform.is_some() && ref_name(one).is_none()) =>
            {
                self.choose_platform(index)
            }
            _ => Err(OpenImageError::Ambiguous { path, tags: tags() }),
        }
    }

    /// The manifest for the wanted platform.
    fn choose_platform<'i>(&self, index: &'i Index) -> Result<&'i Descriptor, OpenImageError> {
        choose_platform(index, self.options.platform.as_ref())
    }

    fn read_document(
        &self,
        store: &Store,
        descriptor: &Descriptor,
        what: &'static str,
    ) -> Result<Vec<u8>, OpenImageError> {
        let limits = &self.options.limits;
        let read = match what {
            "configuration" => {
                store.read(descriptor.digest, Some(descriptor.size), what, limits.config_bytes_max)
            }
            _ => store.read_manifest(descriptor, what, limits.manifest_bytes_max),
        };
        read.map_err(|error| self.document_error(error))
    }

    fn manifest_image(
        &self,
        store: Store,
        bytes: Vec<u8>,
        digest: Digest,
    ) -> Result<Image, OpenImageError> {
        let name = digest.to_string();
        let limits = &self.options.limits;
        let manifest = Manifest::parse(&bytes, &name, limits.layers_max)?;
        let refuse = |problem: String| OpenImageError::Inconsistent {
            what: "manifest",
            name: name.clone(),
            problem,
        };
        if !document::is_config(&manifest.config.media_type) {
            let media_type = &manifest.config.media_type;
            return Err(refuse(format!("its configuration is a `{media_type}`, not an image's")));
        }
        let config = self.read_document(&store, &manifest.config, "configuration")?;
        let (config, platform) = ImageConfig::parse(&config, &manifest.config.digest.to_string())?;
        self.check_platform(&platform)?;
        if config.diff_ids.len() != manifest.layers.len() {
            return Err(refuse(format!(
                "{} layers where the configuration names {}",
                manifest.layers.len(),
                config.diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.diff_ids) {
            if descriptor.size > limits.blob_bytes_max {
                return Err(LimitExceeded { what: "layer", limit: limits.blob_bytes_max }.into());
            }
            layers.push(Layer {
                digest: descriptor.digest,
                diff_id: *diff_id,
                size: descriptor.size,
                media_type: descriptor.media_type.clone(),
                place: Place::Blob,
            });
        }
        Ok(Image {
            target: self.target.clone(),
            reference: None,
            manifest_digest: Some(digest),
            manifest: bytes,
            index_digests: Vec::new(),
            config_digest: Some(manifest.config.digest),
            config,
            platform: Some(platform),
            layers,
            source: Source::Blobs(store),
            limits: limits.clone(),
        })
    }

    /// A stated platform must be met; without one, a single image is taken as it is.
    pub(crate) fn check_platform(&self, found: &Platform) -> Result<(), OpenImageError> {
        match &self.options.platform {
            Some(wanted) if !found.satisfies(wanted) => Err(OpenImageError::NoPlatform {
                wanted: wanted.to_string(),
                found: vec![found.to_string()],
            }),
            _ => Ok(()),
        }
    }
}

/// The manifest of an index, whose bytes these are, for `platform` (`None`: this machine's).
/// `name` is for messages.
///
/// # Errors
///
/// An index that is malformed or has no such platform.
pub fn manifest_for(
    index: &[u8],
    name: &str,
    platform: Option<&Platform>,
) -> Result<Descriptor, OpenImageError> {
    let index = Index::parse(index, name, Limits::default().index_manifests_max)?;
    choose_platform(&index, platform).cloned()
}

/// The manifest for the wanted platform.
fn choose_platform<'i>(
    index: &'i Index,
    platform: Option<&Platform>,
) -> Result<&'i Descriptor, OpenImageError> {
    let wanted = platform.cloned().unwrap_or_else(Platform::of_this_machine);
    let images: Vec<&Descriptor> =
        index.manifests.iter().filter(|one| !is_attachment(one)).collect();
    let matching = images
        .iter()
        .find(|one| one.platform.as_ref().is_some_and(|found| found.satisfies(&wanted)));
    if let Some(one) = matching {
        return Ok(one);
    }
    match images[..] {
        [one] if one.platform.is_none() => Ok(one),
        _ => {
            let platforms = images.iter().filter_map(|one| one.platform.as_ref());
            let found = platforms.map(Platform::to_string).collect();
            Err(OpenImageError::NoPlatform { wanted: wanted.to_string(), found })
        }
    }
}

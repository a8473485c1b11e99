//! An image and what is attached to it as verification needs them: every document and blob
//! that is read is checked against the digest and size that name it, before anything is
//! believed of it. They lie in a layout on disk, or wherever [`Blobs`] reads them from.
//!
//! Deliberately small and apart from crate `image`: what decides whether an image is
//! genuine shares no shortcut with what unpacks it.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use palisade_base::{Digest, DigestReader, Explain, Root};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::json::{self, JsonError};

/// Largest manifest or index, in bytes (the distribution specification's own limit).
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Descriptors of one index or manifest.
pub(crate) const DESCRIPTORS_MAX: usize = 1024;
/// Indexes within each other.
const INDEX_DEPTH_MAX: usize = 4;
/// Largest `oci-layout`, in bytes.
const MARKER_BYTES_MAX: u64 = 4096;
/// Largest blob that is worth checking, in bytes.
const BLOB_BYTES_MAX: u64 = 1 << 40;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
pub(crate) const MEDIA_TYPE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MEDIA_TYPE_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const MEDIA_TYPE_DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A layout whose content is not what it says it is, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The folder is no OCI image layout.
    #[error("`{}` is not an OCI image layout", path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        #[source]
        source: io::Error,
    },
    /// Documents of the layout or the image are malformed.
    #[error("malformed {what}")]
    Malformed {
        /// `index.json`, `manifest sha256:…`.
        what: String,
        /// Why.
        #[source]
        source: JsonError,
    },
    /// A blob is not there.
    #[error("{role} `{digest}` is missing")]
    Missing {
        /// What the blob is: `layer`.
        role: &'static str,
        /// Its digest.
        digest: Digest,
    },
    /// A blob cannot be read.
    #[error("read {role} `{digest}`")]
    Read {
        /// What the blob is.
        role: &'static str,
        /// Its digest.
        digest: Digest,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A blob does not match the descriptor that names it.
    #[error("{role} `{digest}` was changed: {found}")]
    Tampered {
        /// What the blob is: `layer`, `configuration`, `manifest`.
        role: &'static str,
        /// The digest by which it is named.
        digest: Digest,
        /// What was found instead.
        found: String,
    },
    /// No image of that tag or digest.
    #[error("the layout has no image `{selector}`")]
    NoSuchImage {
        /// Tag or digest.
        selector: String,
        /// The tags that there are.
        tags: Vec<String>,
    },
    /// Several images, and none was chosen.
    #[error("the layout has {} images", tags.len())]
    Ambiguous {
        /// Their tags or digests.
        tags: Vec<String>,
    },
    /// The layout has no image at all.
    #[error("the layout has no image")]
    Empty,
}

impl Explain for ContentError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotALayout { .. } => {
                Some("name a folder with `oci-layout` and `index.json`".into())
            }
            Self::Tampered { .. } => {
                Some("do not run it: get the image again from its source".into())
            }
            Self::Missing { .. } => Some("the copy is incomplete: copy the image again".into()),
            Self::NoSuchImage { tags, .. } | Self::Ambiguous { tags } if !tags.is_empty() => {
                Some(format!("choose one: {}", tags.join(", ")))
            }
            _ => None,
        }
    }
}

/// What names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the blob.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    #[serde(default)]
    pub(crate) annotations: Map<String, Value>,
}

impl Descriptor {
    /// Names a blob.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        let (artifact_type, annotations) = (None, Map::new());
        Self { media_type: media_type.into(), digest, size, artifact_type, annotations }
    }

    /// The same under a tag, as the index of a layout has it.
    #[must_use]
    pub fn tagged(mut self, tag: &str) -> Self {
        self.annotations.insert(REF_NAME.into(), tag.into());
        self
    }

    /// Whether it names a manifest or an index.
    pub fn is_document(&self) -> bool {
        const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
        self.is_index() || matches!(self.media_type.as_str(), MEDIA_TYPE_MANIFEST | DOCKER_MANIFEST)
    }

    /// The tag, where the descriptor of an index has one.
    pub(crate) fn ref_name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).and_then(Value::as_str)
    }

    pub(crate) fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), MEDIA_TYPE_INDEX | MEDIA_TYPE_DOCKER_LIST)
    }
}

/// A manifest or an index; an index has `manifests`, a manifest the rest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    pub artifact_type: Option<String>,
    #[serde(default)]
    pub config: Option<Descriptor>,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    #[serde(default)]
    pub subject: Option<Descriptor>,
}

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Blobs whose digest and size were computed, documents included.
    pub n_blobs: u64,
    /// Their bytes.
    pub n_bytes: u64,
}

/// What a walk through an image has met.
struct Tree {
    depth: Depth,
    checked: Checked,
    seen: BTreeSet<(Digest, u64)>,
    documents: BTreeSet<Digest>,
    configs: BTreeSet<Digest>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            depth: Depth::Everything,
            checked: Checked::default(),
            seen: BTreeSet::new(),
            documents: BTreeSet::new(),
            configs: BTreeSet::new(),
        }
    }
}

/// What a walk through an image has found.
pub(crate) struct Walked {
    pub(crate) checked: Checked,
    /// Its manifests and indexes.
    pub(crate) documents: BTreeSet<Digest>,
    /// Configurations that they name.
    pub(crate) configs: BTreeSet<Digest>,
}

/// Where blobs are read from. Nothing that it gives is believed before its digest is checked.
pub trait Blobs {
    /// Opens the blob that `named` names, at its beginning.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] says that there is no such blob; every other error says that
    /// it could not be found out, and neither accepts nor refuses an image.
    fn open(&self, named: &Descriptor) -> io::Result<Box<dyn io::Read + '_>>;
}

/// The blobs of a layout on disk.
struct FolderBlobs(Root);

impl Blobs for FolderBlobs {
    fn open(&self, named: &Descriptor) -> io::Result<Box<dyn io::Read + '_>> {
        let path = blob_path(&named.digest);
        Ok(Box::new(self.0.open_file(Path::new(&path))?))
    }
}

/// Where a layout keeps a blob.
pub fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// How much of an image is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Depth {
    /// Its manifests and indexes. Whoever reads a blob later proves it by what they say of it.
    Manifests,
    /// Its configurations and layers as well.
    Everything,
}

/// An image with what is attached to it.
pub(crate) struct Content {
    blobs: Box<dyn Blobs>,
    pub(crate) index: Document,
    /// The image, where there is nothing to choose.
    image: Option<Descriptor>,
}

fn malformed(what: impl Into<String>) -> impl FnOnce(JsonError) -> ContentError {
    let what = what.into();
    move |source| ContentError::Malformed { what, source }
}

/// Reads a manifest or index; `expected` is the media type of its descriptor.
fn parse_document(bytes: &[u8], what: &str, expected: &str) -> Result<Document, ContentError> {
    let document: Document = json::parse(bytes, DOCUMENT_BYTES_MAX).map_err(malformed(what))?;
    let wrong = |why: &str| malformed(what)(JsonError::Malformed(why.to_string()));
    if document.schema_version != 2 {
        return Err(wrong("schemaVersion is not 2"));
    }
    // A document read as another type than it was signed as: CVE-2021-41190.
    if document.media_type.as_deref().is_some_and(|own| own != expected) {
        return Err(wrong("its media type is not that of its descriptor"));
    }
    let is_index = matches!(expected, MEDIA_TYPE_INDEX | MEDIA_TYPE_DOCKER_LIST);
    let has_manifest_parts = document.config.is_some() || !document.layers.is_empty();
    if is_index && has_manifest_parts || !is_index && !document.manifests.is_empty() {
        return Err(wrong("it is manifest and index at once"));
    }
    if document.layers.len().max(document.manifests.len()) > DESCRIPTORS_MAX {
        return Err(wrong("it has too many descriptors"));
    }
    Ok(document)
}

impl Content {
    /// Opens the layout in `folder`.
    pub(crate) fn open(folder: &Path) -> Result<Self, ContentError> {
        let no_layout = |source| ContentError::NotALayout { path: folder.to_path_buf(), source };
        let root = Root::open(folder).map_err(no_layout)?;
        let marker = root.read(Path::new("oci-layout"), MARKER_BYTES_MAX).map_err(no_layout)?;
        let index = root.read(Path::new("index.json"), DOCUMENT_BYTES_MAX).map_err(no_layout)?;
        Self::of_layout(folder, Box::new(FolderBlobs(root)), &marker, &index)
    }

    /// A layout whose files `oci-layout` and `index.json` were read already.
    pub(crate) fn of_layout(
        path: &Path,
        blobs: Box<dyn Blobs>,
        marker: &[u8],
        index: &[u8],
    ) -> Result<Self, ContentError> {
        #[derive(Deserialize)]
        struct Marker {
            #[serde(rename = "imageLayoutVersion")]
            version: String,
        }
        let marker: Marker =
            json::parse(marker, MARKER_BYTES_MAX).map_err(malformed("oci-layout"))?;
        if marker.version != "1.0.0" {
            let text = format!("layout version `{:.32}` is not supported", marker.version);
            let (path, source) = (path.to_path_buf(), io::Error::other(text));
            return Err(ContentError::NotALayout { path, source });
        }
        let index = parse_document(index, "index.json", MEDIA_TYPE_INDEX)?;
        Ok(Self { blobs, index, image: None })
    }

    /// One image, and what may be attached to it.
    pub(crate) fn of_image(
        blobs: Box<dyn Blobs>,
        image: Descriptor,
        attached: Vec<Descriptor>,
    ) -> Self {
        let index = Document {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            config: None,
            layers: Vec::new(),
            manifests: attached,
            subject: None,
        };
        Self { blobs, index, image: Some(image) }
    }

    fn open_blob(
        &self,
        role: &'static str,
        named: &Descriptor,
    ) -> Result<Box<dyn io::Read + '_>, ContentError> {
        let digest = named.digest;
        self.blobs.open(named).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => ContentError::Missing { role, digest },
            _ => ContentError::Read { role, digest, source },
        })
    }

    /// Computes digest and size of a blob of any size, and compares both.
    fn check(
        &self,
        role: &'static str,
        named: &Descriptor,
        checked: &mut Checked,
    ) -> Result<(), ContentError> {
        let digest = named.digest;
        let tampered = |found: String| ContentError::Tampered { role, digest, found };
        if named.size > BLOB_BYTES_MAX {
            return Err(tampered(format!("a size of {} bytes is stated", named.size)));
        }
        // One byte more than stated is read at most: enough to see that there is more.
        let file = self.open_blob(role, named)?;
        let mut reader = DigestReader::new(file.take(named.size + 1));
        io::copy(&mut reader, &mut io::sink()).map_err(|source| ContentError::Read {
            role,
            digest,
            source,
        })?;
        let (found, size) = reader.finish();
        checked.n_blobs += 1;
        checked.n_bytes += size;
        compare(role, named, &found, size)
    }

    /// A small blob, after digest and size were compared.
    pub(crate) fn blob(
        &self,
        role: &'static str,
        named: &Descriptor,
        limit: u64,
        checked: &mut Checked,
    ) -> Result<Vec<u8>, ContentError> {
        let digest = named.digest;
        if named.size > limit {
            let (size, what) = (named.size, format!("{role} {digest}"));
            return Err(malformed(what)(JsonError::TooLarge { size, limit }));
        }
        let mut bytes = Vec::new();
        self.open_blob(role, named)?
            .take(named.size + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| ContentError::Read { role, digest, source })?;
        checked.n_blobs += 1;
        checked.n_bytes += bytes.len() as u64;
        compare(role, named, &Digest::of(&bytes), bytes.len() as u64)?;
        Ok(bytes)
    }

    /// The manifest or index that `named` names.
    pub(crate) fn document(
        &self,
        named: &Descriptor,
        checked: &mut Checked,
    ) -> Result<Document, ContentError> {
        let bytes = self.blob("manifest", named, DOCUMENT_BYTES_MAX, checked)?;
        parse_document(&bytes, &format!("manifest {}", named.digest), &named.media_type)
    }

    /// The image with that tag or digest, or the only one. Signatures and other
    /// attachments are no images.
    pub(crate) fn select(&self, selector: Option<&str>) -> Result<&Descriptor, ContentError> {
        if let Some(image) = &self.image {
            return Ok(image);
        }
        let images: Vec<&Descriptor> =
            self.index.manifests.iter().filter(|d| self.is_image(d)).collect();
        let name =
            |d: &&Descriptor| d.ref_name().map_or_else(|| d.digest.to_string(), str::to_string);
        let tags = || images.iter().map(name).collect::<Vec<_>>();
        let chosen: Vec<&&Descriptor> = match selector {
            None => images.iter().collect(),
            Some(wanted) => images
                .iter()
                .filter(|d| {
                    d.ref_name().is_some_and(|name| name_matches(name, wanted))
                        || d.digest.to_string() == wanted
                })
                .collect(),
        };
        match (chosen.as_slice(), selector) {
            ([], None) => Err(ContentError::Empty),
            ([], Some(wanted)) => {
                let selector = wanted.chars().take(200).collect();
                Err(ContentError::NoSuchImage { selector, tags: tags() })
            }
            // The same image under several tags is one image.
            ([first, rest @ ..], _) if rest.iter().all(|d| d.digest == first.digest) => Ok(first),
            _ => Err(ContentError::Ambiguous { tags: tags() }),
        }
    }

    fn is_image(&self, named: &Descriptor) -> bool {
        let attached = named.artifact_type.is_some()
            || named.ref_name().is_some_and(|name| name.starts_with("sha256-"));
        // A manifest that cannot be read may still be the image that is asked for: its
        // error is to be shown, not hidden.
        !attached
            && self
                .document(named, &mut Checked::default())
                .map_or(true, |document| document.subject.is_none())
    }

    /// Computes the digest of the manifest, the configuration and every layer; of an
    /// index, those of every image in it. Gives the manifests and indexes as well.
    pub(crate) fn check_image(
        &self,
        image: &Descriptor,
    ) -> Result<(Checked, BTreeSet<Digest>), ContentError> {
        let walked = self.check_image_to(image, Depth::Everything)?;
        Ok((walked.checked, walked.documents))
    }

    /// As [`Self::check_image`], as deep as is wanted.
    pub(crate) fn check_image_to(
        &self,
        image: &Descriptor,
        depth: Depth,
    ) -> Result<Walked, ContentError> {
        let mut tree = Tree { depth, ..Tree::default() };
        self.check_tree(image, 0, &mut tree)?;
        let Tree { checked, documents, configs, .. } = tree;
        Ok(Walked { checked, documents, configs })
    }

    fn check_tree(
        &self,
        named: &Descriptor,
        depth: usize,
        tree: &mut Tree,
    ) -> Result<(), ContentError> {
        if !tree.seen.insert((named.digest, named.size)) {
            return Ok(());
        }
        let document = self.document(named, &mut tree.checked)?;
        tree.documents.insert(named.digest);
        if depth >= INDEX_DEPTH_MAX && !document.manifests.is_empty() {
            let what = format!("index {}", named.digest);
            return Err(malformed(what)(JsonError::Malformed("nested too deep".into())));
        }
        for child in &document.manifests {
            self.check_tree(child, depth + 1, tree)?;
        }
        tree.configs.extend(document.config.iter().map(|config| config.digest));
        let config = document.config.iter().map(|config| ("configuration", config));
        let layers = document.layers.iter().map(|layer| ("layer", layer));
        for (role, blob) in config.chain(layers) {
            if tree.depth == Depth::Everything && tree.seen.insert((blob.digest, blob.size)) {
                self.check(role, blob, &mut tree.checked)?;
            }
        }
        if !named.is_index() && document.config.is_none() {
            let what = format!("manifest {}", named.digest);
            return Err(malformed(what)(JsonError::Malformed("it has no configuration".into())));
        }
        Ok(())
    }
}

/// Whether a tag, or the tag at the end of a full reference, is the one that is wanted.
/// Crate `image` chooses by the same rule.
fn name_matches(name: &str, wanted: &str) -> bool {
    let tag = name.rsplit('/').next().and_then(|last| last.split_once(':')).map(|(_, tag)| tag);
    name == wanted || tag == Some(wanted)
}

fn compare(
    role: &'static str,
    named: &Descriptor,
    found: &Digest,
    size: u64,
) -> Result<(), ContentError> {
    let digest = named.digest;
    if size != named.size {
        let found = if size > named.size {
            format!("it is larger than the {} bytes stated", named.size)
        } else {
            format!("it has {size} bytes, {} are stated", named.size)
        };
        return Err(ContentError::Tampered { role, digest, found });
    }
    if *found != digest {
        let found = format!("its content is `{found}`");
        return Err(ContentError::Tampered { role, digest, found });
    }
    Ok(())
}

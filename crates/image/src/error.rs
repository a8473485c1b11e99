//! One error enum for each operation of the crate.

use std::io;
use std::path::PathBuf;

use palisade_base::{Digest, Explain, LimitExceeded};

use crate::source::SourceError;

/// A blob that is not what its descriptor says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// The content has another digest.
    #[error("blob `{blob}` has the digest `{found}`")]
    DigestMismatch {
        /// Digest that the descriptor states.
        blob: Digest,
        /// Digest of the content.
        found: Digest,
    },
    /// The content is longer or shorter than stated.
    #[error("blob `{blob}` has {found} bytes where its descriptor says {expected}")]
    SizeMismatch {
        /// The blob.
        blob: Digest,
        /// Size in the descriptor, in bytes.
        expected: u64,
        /// Bytes found; for a blob that is too long, those read before it was given up.
        found: u64,
    },
    /// The decompressed layer is not the one that the configuration names.
    #[error("layer `{layer}` unpacks to `{found}` where the configuration says `{expected}`")]
    DiffIdMismatch {
        /// Digest of the layer's blob, or its diff id where it has no other name.
        layer: Digest,
        /// `rootfs.diff_ids` of the configuration.
        expected: Digest,
        /// Digest of the decompressed layer.
        found: Digest,
    },
    /// The blob is nowhere in the layout or archive.
    #[error("blob `{0}` is missing")]
    Missing(Digest),
    /// The layer decompresses to far more than it is.
    #[error("layer `{layer}` decompresses to more than {ratio_max} times its size")]
    Bomb {
        /// The layer.
        layer: Digest,
        /// The bound it passed.
        ratio_max: u64,
    },
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// An archive, a layer's or another, that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TarError {
    /// The archive ends inside a header or a file.
    #[error("archive ends within an entry, at byte {offset}")]
    Truncated {
        /// Bytes read before the end.
        offset: u64,
    },
    /// A header whose checksum or numbers are wrong.
    #[error("bad {what} in the header at byte {offset}")]
    BadHeader {
        /// The field: `checksum`.
        what: &'static str,
        /// Where the header begins.
        offset: u64,
    },
    /// A PAX header, or GNU long name, larger than its bound.
    #[error("extended header at byte {offset} is larger than {limit} bytes")]
    ExtendedHeaderTooLarge {
        /// Where its header begins.
        offset: u64,
        /// The bound.
        limit: u64,
    },
    /// More entries than are allowed.
    #[error("more than {limit} entries")]
    TooManyEntries {
        /// The bound.
        limit: u64,
    },
}

impl TarError {
    /// Finds this error inside an [`io::Error`] of a [`crate::TarReader`].
    pub fn find(error: &io::Error) -> Option<&Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref())
    }
}

impl From<TarError> for io::Error {
    fn from(error: TarError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Why an image could not be read to its end. What was delivered before is void.
#[derive(Debug, thiserror::Error)]
pub enum ReadImageError {
    /// A blob is not what its descriptor says.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A layer's archive is malformed.
    #[error("read layer `{layer}`")]
    Tar {
        /// The layer.
        layer: Digest,
        /// What is wrong with it.
        source: TarError,
    },
    /// A layer passed a size limit.
    #[error("read layer `{layer}`")]
    Limit {
        /// The layer.
        layer: Digest,
        /// The limit.
        source: LimitExceeded,
    },
    /// A layer does not decompress, or its file cannot be read.
    #[error("read layer `{layer}`")]
    Layer {
        /// The layer.
        layer: Digest,
        /// What happened.
        source: io::Error,
    },
    /// The source of the image's blobs failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The folder cannot be opened or listed.
    #[error("read folder `{}`", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The image has no layer of this index.
    #[error("the image has no layer {0}")]
    NoLayer(usize),
}

impl ReadImageError {
    /// Finds the typed error inside an I/O error that passed through readers.
    pub(crate) fn from_io(layer: Digest, error: io::Error) -> Self {
        if let Some(limit) = LimitExceeded::find(&error) {
            return Self::Limit { layer, source: limit.clone() };
        }
        if let Some(inner) = error.get_ref() {
            if let Some(blob) = inner.downcast_ref::<BlobError>() {
                return Self::Blob(blob.clone());
            }
            if let Some(source) = inner.downcast_ref::<SourceError>() {
                return Self::Source(source.clone());
            }
            if let Some(tar) = inner.downcast_ref::<TarError>() {
                return Self::Tar { layer, source: tar.clone() };
            }
            // ruzstd and flate2 wrap the errors of their source once more.
            let mut link: Option<&(dyn std::error::Error + 'static)> = inner.source();
            for _ in 0..8 {
                let Some(cause) = link else { break };
                if let Some(io) = cause.downcast_ref::<io::Error>() {
                    if let Some(blob) = io.get_ref().and_then(|e| e.downcast_ref::<BlobError>()) {
                        return Self::Blob(blob.clone());
                    }
                    if let Some(limit) = LimitExceeded::find(io) {
                        return Self::Limit { layer, source: limit.clone() };
                    }
                    if let Some(source) = SourceError::find(io) {
                        return Self::Source(source.clone());
                    }
                }
                link = cause.source();
            }
        }
        Self::Layer { layer, source: error }
    }
}

const GET_AGAIN: &str = "fetch or build the image again; do not run it as it is";

impl Explain for ReadImageError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Blob(BlobError::Missing(_)) => {
                "copy the image again; the layout or archive is incomplete".into()
            }
            Self::Limit { .. } | Self::Blob(BlobError::Bomb { .. }) => {
                "the layer looks like a decompression bomb; do not run the image".into()
            }
            Self::Folder { .. } => {
                "check that the folder exists and may be read; run as root".into()
            }
            Self::NoLayer(_) => return None,
            Self::Source(source) => return source.hint(),
            Self::Blob(_) | Self::Tar { .. } | Self::Layer { .. } => GET_AGAIN.into(),
        })
    }
}

/// Why a target could not be opened as an image.
#[derive(Debug, thiserror::Error)]
pub enum OpenImageError {
    /// Nothing is at the path.
    #[error("there is no `{}`", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path cannot be read.
    #[error("open `{}`", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A folder without `oci-layout` or `index.json`.
    #[error("`{}` is not an OCI image layout: {what}", path.display())]
    NotALayout {
        /// The folder.
        path: PathBuf,
        /// What is missing or wrong.
        what: String,
    },
    /// An archive with neither `index.json` nor `manifest.json`.
    #[error("`{}` is neither a `docker save` archive nor one of an OCI layout", path.display())]
    NotAnArchive {
        /// The file.
        path: PathBuf,
    },
    /// The archive itself cannot be read.
    #[error("read archive `{}`", path.display())]
    BadArchive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A manifest, index or configuration that is not valid.
    #[error("read {what} `{name}`")]
    BadDocument {
        /// `manifest`, `index`, `configuration`.
        what: &'static str,
        /// Its digest or file.
        name: String,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A document that parses and is still wrong.
    #[error("{what} `{name}`: {problem}")]
    Inconsistent {
        /// `manifest`, `index`, `configuration`.
        what: &'static str,
        /// Its digest or file.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A blob is not what its descriptor says.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The source of the image's blobs failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A document passed its size limit.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// No image has the tag or digest.
    #[error("no image `{selector}` in `{}`", path.display())]
    NoSuchImage {
        /// What was asked for.
        selector: String,
        /// Where.
        path: PathBuf,
        /// The tags that there are.
        tags: Vec<String>,
    },
    /// There are several images and none was chosen.
    #[error("`{}` holds {} images", path.display(), tags.len())]
    Ambiguous {
        /// Where.
        path: PathBuf,
        /// Their tags or digests.
        tags: Vec<String>,
    },
    /// No image is for the platform.
    #[error("no image for the platform `{wanted}`")]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// The platforms that there are.
        found: Vec<String>,
    },
    /// No engine of the kind has the image.
    #[error("{store} has no image `{name}`")]
    NotInStore {
        /// Whose store: `docker`.
        store: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A file of an engine's store cannot be read.
    #[error("read `{}` of the store", path.display())]
    StoreIo {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file that is not an App Container Image, or one that is not read.
    #[error("`{}` is no App Container Image that can be read: {why}", path.display())]
    NotAnAci {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        why: &'static str,
    },
    /// The target is of a kind that this version cannot read.
    #[error("target `{0}` is not supported")]
    Unsupported(String),
}

impl Explain for OpenImageError {
    fn hint(&self) -> Option<String> {
        let list = |names: &[String]| names.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
        Some(match self {
            Self::NotFound { .. } => "check the path; it is relative to the current folder".into(),
            Self::Io { .. } => "check that the path may be read by this user".into(),
            Self::NotALayout { .. } => {
                "an OCI layout holds `oci-layout`, `index.json` and `blobs/`; \
                 use dir:PATH for a root file system"
                    .into()
            }
            Self::NotAnArchive { .. } | Self::BadArchive { .. } => {
                "write the archive with `docker save -o FILE IMAGE` or `skopeo copy … oci-archive:FILE`"
                    .into()
            }
            Self::BadDocument { .. } | Self::Inconsistent { .. } | Self::Blob(_) => GET_AGAIN.into(),
            Self::Source(source) => return source.hint(),
            Self::Limit(_) => "no honest image has a document of this size; do not run it".into(),
            Self::NoSuchImage { tags, .. } if tags.is_empty() => {
                "the layout names no image; choose one by @sha256:…".into()
            }
            Self::NoSuchImage { tags, .. } => format!("there is: {}", list(tags)),
            Self::Ambiguous { tags, .. } => {
                format!("choose one by :TAG or @sha256:…; there is: {}", list(tags))
            }
            Self::NoPlatform { found, .. } => {
                format!("choose one with --platform; there is: {}", list(found))
            }
            Self::NotInStore { store, .. } => {
                let list = if *store == "containerd" { "ctr images ls" } else { "images" };
                let engine = if *store == "containerd" { "" } else { store };
                let command = format!("{engine} {list}");
                let command = command.trim_start();
                format!("list the images that there are with `{command}`, or name another --store")
            }
            Self::StoreIo { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or pipe the image: docker save NAME | palisade scan archive:-".into()
            }
            Self::StoreIo { .. } => {
                "the image may be incomplete; pull it again, or save it and name archive:FILE".into()
            }
            Self::NotAnAci { .. } => {
                "an App Container Image is a tar file with `manifest` and `rootfs/`; use \
                 archive:FILE for other images"
                    .into()
            }
            Self::Unsupported(_) => {
                "this command takes oci:DIR[:TAG], archive:FILE, dir:PATH or host".into()
            }
        })
    }
}

/// Why a layer could not be extracted. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The layer cannot be read or lies.
    #[error(transparent)]
    Read(#[from] ReadImageError),
    /// The files of an App Container Image are no layer.
    #[error("unpack `{0}`: an App Container Image is read, and not run")]
    NotALayer(Digest),
    /// The layer holds an entry that would have to be written outside of the folder, or
    /// through a link.
    #[error("layer `{layer}` has a hostile entry `{path}`: {}", kind.describe())]
    Hostile {
        /// The layer.
        layer: Digest,
        /// The entry.
        path: String,
        /// What is wrong with it.
        kind: crate::HostileKind,
    },
    /// The entry is of a kind that layers do not hold.
    #[error("layer `{layer}` has an entry `{path}` that cannot be unpacked: {what}")]
    Unsupported {
        /// The layer.
        layer: Digest,
        /// The entry.
        path: String,
        /// Why.
        what: &'static str,
    },
    /// A file's owner is beyond the range of ids.
    #[error("`{path}` belongs to id {id}, beyond the range of {length} ids")]
    IdOutOfRange {
        /// The entry.
        path: String,
        /// Its owner or group.
        id: u32,
        /// Length of the range.
        length: u32,
    },
    /// Writing failed.
    #[error("write `{path}`")]
    Write {
        /// The entry, or the folder that was to be made.
        path: String,
        /// What happened.
        source: io::Error,
    },
    /// The destination exists.
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
}

impl Explain for ExtractError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::NotALayer(_) => Some("run an OCI image: oci:DIR[:TAG], archive:FILE".into()),
            Self::Hostile { .. } | Self::Unsupported { .. } => Some(GET_AGAIN.into()),
            Self::IdOutOfRange { .. } => Some("give the container a longer range of ids".into()),
            Self::Write { source, .. } => Some(match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "unpacking keeps owners and devices; run as root".into()
                }
                io::ErrorKind::StorageFull => "make room on the disk".into(),
                _ => "check the disk and its file system".into(),
            }),
            Self::Exists(_) => Some("use what is there, or remove it first".into()),
        }
    }
}

/// Why a layout could not be written or changed. What was there stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The layout cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenImageError),
    /// A file cannot be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A layer of the image that is amended cannot be read.
    #[error(transparent)]
    Read(#[from] ReadImageError),
    /// A layer's source cannot be read.
    #[error("pack `{}`", path.display())]
    Pack {
        /// The folder or file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file of the layer's folder is of a kind that layers do not hold, or has a name or
    /// size that no archive holds.
    #[error("pack `{}`: {what}", path.display())]
    Unpackable {
        /// The file.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// Another process holds the layout's lock.
    #[error("layout `{}` is locked by another process", path.display())]
    Locked {
        /// The layout.
        path: PathBuf,
    },
    /// A document cannot be written as JSON.
    #[error("encode {what}")]
    Encode {
        /// `manifest`.
        what: &'static str,
        /// What happened.
        source: serde_json::Error,
    },
    /// A tag that the image specification does not allow.
    #[error("`{0}` is not a tag")]
    BadTag(String),
}

impl Explain for LayoutError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) => error.hint(),
            Self::Read(error) => error.hint(),
            Self::Write { .. } | Self::Pack { .. } => {
                Some("check that the path exists, may be written, and the disk has room".into())
            }
            Self::Unpackable { .. } => Some("remove the file from the layer's folder".into()),
            Self::Locked { .. } => Some("wait for the other process and try again".into()),
            Self::Encode { .. } => None,
            Self::BadTag(_) => {
                Some("a tag has letters, digits, `.`, `_`, `-`, `:`, `/`, `@`, `+`".into())
            }
        }
    }
}

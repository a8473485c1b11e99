//! Whole images from one place to another, with what refers to them.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use palisade_base::{Digest, Explain, LimitExceeded};
use palisade_image::{BlobSource, Descriptor, SourceError};
use palisade_model::Reference;
use serde::Deserialize;

use crate::auth::Access;
use crate::blobs::{BlobOptions, RemoteBlobs};
use crate::client::Client;
use crate::error::RegistryError;
use crate::hosts::Place;
use crate::manifest::Found;
use crate::push::Upload;
use crate::referrers::fallback_tag;

/// Largest manifest.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// Manifests and indexes of one copy.
const DOCUMENTS_MAX: usize = 8192;
/// Indexes inside each other.
const DEPTH_MAX: usize = 4;
/// Tags by which cosign finds what belongs to an image.
const COSIGN_SUFFIXES: [&str; 3] = ["sig", "att", "sbom"];
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Why an image was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// What is to be copied cannot be read.
    #[error("read the image to copy")]
    Read(#[source] SourceError),
    /// A registry did not take it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A manifest that is not valid.
    #[error("read manifest `{digest}`")]
    BadManifest {
        /// The manifest.
        digest: Digest,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// More than is copied.
    #[error(transparent)]
    Limit(#[from] LimitExceeded),
    /// A name with a digest and no tag is no place to copy to.
    #[error("`{0}` names a digest; a copy needs a tag")]
    NoTag(String),
}

impl Explain for CopyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::NoTag(_) => Some("name the destination as HOST/REPOSITORY:TAG".into()),
            Self::BadManifest { .. } | Self::Limit(_) => {
                Some("fetch or build the image again; do not use it as it is".into())
            }
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// Manifests and indexes, of images and of what refers to them.
    pub n_documents: usize,
    /// Blobs that were sent.
    pub n_blobs: usize,
    /// Their bytes.
    pub n_bytes: u64,
    /// Signatures, attestations and the like among the documents.
    pub n_referrers: usize,
}

/// The parts of a manifest or an index that name other blobs.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    config: Option<Descriptor>,
}

/// Where an image is copied from.
pub enum CopySource<'s> {
    /// A registry.
    Registry(&'s Place),
    /// Anything else that gives blobs, with what refers to its image.
    Blobs {
        /// Gives the blobs.
        source: &'s dyn BlobSource,
        /// What refers to the image.
        referrers: Vec<Descriptor>,
    },
}

struct Copying<'c> {
    client: &'c Client,
    source: &'c dyn BlobSource,
    to: &'c Place,
    access: Access,
    /// The repository to mount from, where both are in one registry.
    from: Option<&'c str>,
    done: HashSet<Digest>,
    /// Manifests and indexes of the image itself: what others refer to.
    subjects: Vec<Digest>,
    copied: Copied,
}

impl Client {
    /// Copies the image `root` to the name `to`: every platform, every blob, and what refers
    /// to it (the interface for referrers, its fallback tag, and cosign's tags). The tag is
    /// written last, so that whoever sees it sees all.
    pub fn copy(
        self: &Arc<Self>,
        from: &CopySource<'_>,
        root: &Found,
        to: &Reference,
    ) -> Result<Copied, CopyError> {
        let (Some(tag), None) = (to.tag(), to.digest()) else {
            return Err(CopyError::NoTag(to.to_string()));
        };
        let to = Place {
            host: to.registry().into(),
            repository: to.repository().into(),
            insecure: false,
            is_mirror: false,
        };
        let remote;
        let (source, place): (&dyn BlobSource, _) = match from {
            CopySource::Registry(place) => {
                remote =
                    RemoteBlobs::new(Arc::clone(self), (*place).clone(), &BlobOptions::default());
                (&remote, Some(*place))
            }
            CopySource::Blobs { source, .. } => (*source, None),
        };
        let mount = place.filter(|from| from.host == to.host && from.repository != to.repository);
        let access = Access::Push { from: mount.iter().map(|p| p.repository.clone()).collect() };
        let mut copying = Copying {
            client: self,
            source,
            to: &to,
            access,
            from: mount.map(|place| place.repository.as_str()),
            done: HashSet::new(),
            subjects: Vec::new(),
            copied: Copied::default(),
        };
        copying.contents(&root.descriptor, &root.bytes, 0, true)?;
        copying.push(&root.descriptor.digest.to_string(), &root.descriptor, &root.bytes)?;
        for subject in copying.subjects.clone() {
            match from {
                CopySource::Registry(place) => {
                    let referrers = self.referrers(place, subject, None)?;
                    copying.referrers(subject, &referrers)?;
                    copying.cosign_tags(place, subject)?;
                }
                CopySource::Blobs { referrers, .. } if subject == root.descriptor.digest => {
                    copying.referrers(subject, referrers)?;
                }
                CopySource::Blobs { .. } => {}
            }
        }
        self.push_manifest(&to, &copying.access, tag, &root.descriptor.media_type, &root.bytes)?;
        Ok(copying.copied)
    }
}

/// The source's own error, where an upload failed because of it.
fn of_source(error: &RegistryError) -> Option<SourceError> {
    let io = match error {
        RegistryError::Unreachable { source, .. } => match &**source {
            ureq::Error::Io(io) => io,
            _ => return None,
        },
        RegistryError::Disk { source, .. } => source,
        _ => return None,
    };
    SourceError::find(io).cloned()
}

impl Copying<'_> {
    /// Copies everything that a document names, and notes it as a subject if it is of the
    /// image itself.
    fn contents(
        &mut self,
        descriptor: &Descriptor,
        bytes: &[u8],
        depth: usize,
        is_image: bool,
    ) -> Result<(), CopyError> {
        let digest = descriptor.digest;
        let document: Document = serde_json::from_slice(bytes)
            .map_err(|source| CopyError::BadManifest { digest, source })?;
        if depth > DEPTH_MAX {
            return Err(
                LimitExceeded { what: "indexes in each other", limit: DEPTH_MAX as u64 }.into()
            );
        }
        if is_image {
            self.subjects.push(digest);
        }
        for child in &document.manifests {
            if self.done.contains(&child.digest) {
                continue;
            }
            let bytes = self.read(child)?;
            self.contents(child, &bytes, depth + 1, is_image)?;
            self.push(&child.digest.to_string(), child, &bytes)?;
        }
        let blobs: Vec<&Descriptor> = document.config.iter().chain(&document.layers).collect();
        let sizes: Vec<(Digest, u64)> = blobs.iter().map(|one| (one.digest, one.size)).collect();
        let mut missing = Vec::new();
        for (digest, size) in sizes {
            if self.done.insert(digest) {
                missing.push((digest, size));
            }
        }
        for (digest, size) in missing {
            self.blob(digest, size)?;
        }
        Ok(())
    }

    fn read(&self, descriptor: &Descriptor) -> Result<Vec<u8>, CopyError> {
        let limit = MANIFEST_BYTES_MAX;
        let bytes = self.source.read_manifest(descriptor, limit).map_err(CopyError::Read)?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let (host, expected) = (self.to.host.clone(), descriptor.digest);
            return Err(RegistryError::WrongDigest { host, expected, found }.into());
        }
        Ok(bytes)
    }

    fn blob(&mut self, digest: Digest, size: u64) -> Result<(), CopyError> {
        let source = self.source;
        let open = || -> io::Result<Box<dyn Read>> {
            let (reader, _) = source.open_blob(digest, Some(size))?;
            Ok(reader)
        };
        let upload = Upload { digest, size, open: &open, from: self.from };
        match self.client.push_blob(self.to, &self.access, &upload) {
            Ok(true) => {
                self.copied.n_blobs += 1;
                self.copied.n_bytes += size;
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(error) => {
                Err(of_source(&error).map_or(CopyError::Registry(error), CopyError::Read))
            }
        }
    }

    /// Puts a document under a tag or its digest; whether the registry lists what it refers to.
    fn push(
        &mut self,
        selector: &str,
        descriptor: &Descriptor,
        bytes: &[u8],
    ) -> Result<bool, CopyError> {
        self.done.insert(descriptor.digest);
        self.copied.n_documents += 1;
        if self.copied.n_documents > DOCUMENTS_MAX {
            return Err(LimitExceeded { what: "manifests", limit: DOCUMENTS_MAX as u64 }.into());
        }
        let media_type = &descriptor.media_type;
        Ok(self.client.push_manifest(self.to, &self.access, selector, media_type, bytes)?)
    }

    /// Copies what refers to `subject`; where the registry does not list it, the list is
    /// written under its tag.
    fn referrers(&mut self, subject: Digest, referrers: &[Descriptor]) -> Result<(), CopyError> {
        let mut is_listed = true;
        for referrer in referrers {
            let bytes = self.read(referrer)?;
            self.contents(referrer, &bytes, 0, false)?;
            is_listed &= self.push(&referrer.digest.to_string(), referrer, &bytes)?;
            self.copied.n_referrers += 1;
        }
        if is_listed || referrers.is_empty() {
            return Ok(());
        }
        let mut all = self.client.referrers(self.to, subject, None)?;
        for referrer in referrers {
            if !all.iter().any(|one| one.digest == referrer.digest) {
                all.push(referrer.clone());
            }
        }
        let index = serde_json::json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all });
        let bytes = index.to_string().into_bytes();
        self.client.push_manifest(self.to, &self.access, &fallback_tag(subject), INDEX, &bytes)?;
        Ok(())
    }

    /// Copies the tags by which cosign finds signatures and attestations.
    fn cosign_tags(&mut self, from: &Place, subject: Digest) -> Result<(), CopyError> {
        for suffix in COSIGN_SUFFIXES {
            let tag = format!("{}.{suffix}", fallback_tag(subject));
            let found = match self.client.manifest(from, &tag, None, MANIFEST_BYTES_MAX) {
                Ok(found) => found,
                Err(RegistryError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            self.contents(&found.descriptor, &found.bytes, 0, false)?;
            self.push(&tag, &found.descriptor, &found.bytes)?;
            self.copied.n_referrers += 1;
        }
        Ok(())
    }
}

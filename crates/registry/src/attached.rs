//! What may be a signature of an image or an attestation of it, wherever it is named: in the
//! registry's own list, in the index under the tag that stands for that list, and under the
//! tags of cosign's older signatures.

use std::collections::HashSet;
use std::sync::Arc;

use palisade_base::Digest;
use palisade_image::{BlobSource, Descriptor};

use crate::blobs::{BlobOptions, RemoteBlobs};
use crate::client::Client;
use crate::error::RegistryError;
use crate::hosts::Place;

/// Ends of the tags of cosign's older signatures and attestations: `sha256-….sig`.
const TAG_ENDS: [&str; 2] = ["sig", "att"];
/// Largest manifest, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// What may be attached to an image. None of it is proved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// Manifests that are said to refer to it.
    pub referrers: Vec<Descriptor>,
    /// Manifests under a tag that names it, with that tag.
    pub tagged: Vec<(String, Descriptor)>,
}

impl Client {
    /// What may be attached to the image `digest` in a place.
    ///
    /// The index under the fallback tag is read even where the registry lists referrers: what
    /// was attached before a registry learned to list is found there alone.
    ///
    /// # Errors
    ///
    /// That something is not there is no error; that it could not be found out is.
    pub fn attached(&self, place: &Place, digest: Digest) -> Result<Attached, RegistryError> {
        let (mut referrers, is_listed) = self.referrers_and_whence(place, digest, None)?;
        if is_listed {
            let what = format!("what refers to {digest} in {}", place.repository);
            referrers.extend(self.tagged_referrers(place, digest, None, &what)?);
        }
        let mut seen = HashSet::new();
        referrers.retain(|one| seen.insert(one.digest));
        let mut tagged = Vec::new();
        for end in TAG_ENDS {
            let tag = format!("sha256-{}.{end}", digest.hex());
            match self.manifest(place, &tag, None, MANIFEST_BYTES_MAX) {
                Ok(found) => tagged.push((tag, found.descriptor)),
                Err(RegistryError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Attached { referrers, tagged })
    }

    /// The blobs of one place.
    pub fn blobs(self: &Arc<Self>, place: Place, options: &BlobOptions) -> Arc<dyn BlobSource> {
        Arc::new(RemoteBlobs::new(Arc::clone(self), place, options))
    }
}

//! Signatures of single files: evidence manifests, reports, exports.
//!
//! A signature is a Sigstore bundle of its own, as `cosign sign-blob --bundle` makes it.

use palisade_base::{Digest, Explain};

use crate::bundle::{self, Bundle, BundleError};
use crate::key::{KeyError, PrivateKey, PublicKey};

/// A file whose signature proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum VerifyBlobError {
    /// No key was given.
    #[error("no key to verify with")]
    NoKeys,
    /// The bundle is no valid signature of the content.
    #[error("content `{digest}` has no valid signature")]
    Rejected {
        /// Digest of the content.
        digest: Digest,
        /// Why not.
        #[source]
        source: BundleError,
    },
}

impl Explain for VerifyBlobError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoKeys => "name the signer's public key".into(),
            Self::Rejected { source: BundleError::WrongKey { .. }, .. } => {
                "use the public key of whoever signed it; if that is the one, it was changed".into()
            }
            Self::Rejected { .. } => {
                "do not trust the content: get it and its signature again from their source".into()
            }
        })
    }
}

/// Signs the content with that digest; the result is a bundle.
pub fn sign_blob(key: &PrivateKey, content: &Digest) -> Result<Vec<u8>, KeyError> {
    bundle::sign_message(key, content)
}

/// Verifies that `bundle` signs the content with that digest by one of `keys`, and says by
/// which. The caller computes the digest from the content itself.
pub fn verify_blob<'k>(
    content: &Digest,
    bundle: &[u8],
    keys: &'k [PublicKey],
) -> Result<&'k PublicKey, VerifyBlobError> {
    if keys.is_empty() {
        return Err(VerifyBlobError::NoKeys);
    }
    Bundle::parse(bundle)
        .and_then(|bundle| bundle.verify_message(content, keys))
        .map_err(|source| VerifyBlobError::Rejected { digest: *content, source })
}

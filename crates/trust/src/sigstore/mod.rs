//! Sigstore: bundles of versions 0.1 to 0.3, keyless and with a key, verified offline.
//!
//! What is proven, and in this order (sigstore/architecture-docs, client-spec.md): that the
//! log took the entry, at what time something was signed, that the certificate was issued
//! and logged and valid at that time, that it is the expected identity's, that its key made
//! the signature, and that the log's entry is of this very signature.

mod bundle;
mod checkpoint;
mod entry;
mod error;
pub(crate) mod identity;
pub(crate) mod legacy;
mod root;
mod sct;
mod sign;
mod verify;

pub use bundle::{Bundle, BundleKind};
pub use error::SigstoreError;
pub use identity::{CertificateIdentity, IdentityMatch, TextMatch};
pub use root::{TRUSTED_ROOT_BYTES_MAX, TrustedRoot, TrustedRootError};
pub use sign::{
    ANSWER_BYTES_MAX, KeylessError, KeylessSignature, KeylessSigner, SigningConfig,
    timestamp_request, timestamp_token,
};
pub use verify::{Artifact, Attested, Signer, VerifiedBundle, Verifier};

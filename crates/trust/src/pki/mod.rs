//! Certificates and keys as the verifier needs them: DER, keys, X.509, paths, time stamps.
//!
//! Everything reads borrowed bytes, keeps the bytes that are signed as they stand, and
//! refuses what DER does not allow. Nothing here knows of Sigstore.

pub(crate) mod certificate;
mod comb;
pub(crate) mod der;
pub(crate) mod key;
pub(crate) mod path;
mod rsa;
pub(crate) mod timestamp;

pub(crate) use certificate::Certificate;
pub(crate) use der::DerError;
pub(crate) use key::{Hash, Key};

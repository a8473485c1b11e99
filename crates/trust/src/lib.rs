//! Sign and verify images and evidence: with keys, and with certificates that logs and
//! authorities of time vouch for.
//!
//! Formats are those of the field, to the byte: Sigstore bundles v0.3 with a DSSE
//! envelope and an in-toto Statement v1, stored as OCI referrers; cosign's `.sig`
//! manifests with a simple-signing payload; cosign's encrypted private keys. What this
//! crate signs cosign verifies, and the other way round.
//!
//! Invariants:
//! - Verification recomputes everything: a signature by the right key over the right
//!   digest says nothing until every blob of the image matches the digest that names it.
//! - Nothing falls back to accepting: a document that is malformed in any way is no
//!   signature, duplicate JSON keys and unknown fields included.
//! - No network and no clock: roots are files, the time is an argument.
#![forbid(unsafe_code)]

pub mod attach;
pub mod blob;
mod bundle;
pub mod containers;
mod content;
mod dsse;
pub mod ed25519;
#[doc(hidden)]
pub mod fuzzing;
pub mod jose;
mod json;
pub mod key;
pub mod notary;
pub mod openpubkey;
mod others;
mod pem;
mod pki;
mod secretbox;
pub mod sign;
pub mod sigstore;
mod simple;
mod spki;
mod statement;
pub mod tuf;
pub mod verify;

pub use blob::{VerifyBlobError, sign_blob, verify_blob};
pub use bundle::{BUNDLE_BYTES_MAX, BUNDLE_MEDIA_TYPE, BundleError, sign_envelope};
pub use content::{Blobs, Checked, ContentError, Depth, Descriptor, blob_path};
pub use ed25519::{Ed25519PrivateKey, Ed25519PublicKey};
pub use jose::{code_challenge, random_text};
pub use json::JsonError;
pub use key::{KeyError, KeyPairPaths, PrivateKey, PublicKey};
pub use others::{NamedSigner, OtherSigners, OtherVerdict, Said};
pub use palisade_openpgp as openpgp;
pub use pki::certificate::Name;
pub use sign::{LOCK_WAIT_MAX, SignError, SignOptions, Signed, sign_image, simple_documents};
pub use simple::gpg_payload;
pub use spki::VerificationKey;
pub use statement::{
    PAYLOAD_TYPE as STATEMENT_TYPE, PREDICATE_BYTES_MAX, PREDICATE_TYPE as IMAGE_SIGNATURE_TYPE,
    attestation, image_signature,
};
pub use verify::{
    Attestation, Examined, ImageSigner, ImageSource, Rejection, SignatureFormat, Signers, Verified,
    VerifyError, verify_image, verify_image_by,
};

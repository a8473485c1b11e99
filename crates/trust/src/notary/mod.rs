//! Signatures of the Notary Project (notaryproject/specifications, `specs/`): JWS and COSE
//! envelopes, their certificates, trust stores and trust policies.
//!
//! Invariants:
//! - what is signed is verified over the bytes as they stand;
//! - a signature says about its certificates and its time what the specification asks for,
//!   and every check that the policy does not merely log is a refusal when it fails;
//! - nothing is fetched: a certificate that names where its revocation is told is of unknown
//!   state, which `strict` refuses unless the policy says otherwise.
mod cbor;
mod cose;
mod envelope;
mod error;
mod jws;
mod policy;
mod revocation;
mod sign;
mod store;
mod subject;
#[cfg(test)]
mod tests;
mod verify;

pub use envelope::{ENVELOPE_BYTES_MAX, Envelope, EnvelopeKind};
pub use error::NotaryError;
pub use policy::{Action, Level, NotaryPolicy, Statement};
pub use sign::{Chain, NotarySigner, Stamp};
pub use store::{TRUST_STORE_CERTIFICATES_MAX, TrustStore};
pub use verify::{NotaryVerifier, Outcome, Target};

/// Artifact type of the referrer that carries a signature; older ones name their
/// configuration so.
pub const ARTIFACT_TYPE: &str = "application/vnd.cncf.notary.signature";
/// Annotation with the SHA-256 of each certificate of the chain.
pub const ANNOTATION_THUMBPRINTS: &str = "io.cncf.notary.x509chain.thumbprint#S256";
/// Media type of what is signed.
const PAYLOAD_TYPE: &str = "application/vnd.cncf.notary.payload.v1+json";

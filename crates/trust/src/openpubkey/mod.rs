//! OpenPubkey: an ID token of an OpenID provider that vouches for a signer's key
//! (openpubkey/openpubkey, `docs/pktoken.md`).
//!
//! A PK token is a JSON Web Signature of several signers over one payload, the claims of an
//! ID token: the provider signs it (or a GQ proof stands for its signature), and the signer
//! signs it with the key in the header of that signature. The provider's part commits to
//! that header by its SHA3-256, in the nonce, the audience, or the header of the GQ proof.
//!
//! Invariants:
//! - the signer's signature, the provider's, the commitment and the time are all checked, or
//!   the token proves nothing;
//! - the provider is one that was configured, with keys that were given: nothing is fetched;
//! - a token whose audience is not a configured client is refused, so that an ID token that
//!   was issued for another program cannot become a PK token.
mod client;
mod config;
mod error;
mod gq;
mod signed;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use client::ClientInstance;
pub use config::{Commitment, Cosigner, Expiry, Provider, Providers};
pub use error::OpenPubkeyError;
pub use signed::{SIGNATURE_BYTES_MAX, SIGNATURE_MEDIA_TYPE, SignedStatement};
pub use token::{PK_TOKEN_BYTES_MAX, PkToken};
pub use verify::VerifiedToken;

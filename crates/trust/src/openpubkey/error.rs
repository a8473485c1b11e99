//! Why a PK token proves nothing.

use palisade_base::Explain;

use crate::JsonError;

/// A token, a signed message or a configuration that is refused.
#[derive(Debug, thiserror::Error)]
pub enum OpenPubkeyError {
    /// Neither the compact nor the JSON form of a PK token.
    #[error("malformed PK token: {0}")]
    Malformed(String),
    /// A part is not the JSON that was expected.
    #[error("malformed {0}")]
    Json(&'static str, #[source] JsonError),
    /// An algorithm that is not for this.
    #[error("{part} has the algorithm `{algorithm}`, which is not for it")]
    Algorithm {
        /// Whose signature.
        part: &'static str,
        /// What it says.
        algorithm: String,
    },
    /// The signer's own signature does not verify.
    #[error("the signer's signature of the PK token is false")]
    SignerSignature,
    /// The provider's signature does not verify.
    #[error("the signature of `{issuer}` is false")]
    ProviderSignature {
        /// The provider.
        issuer: String,
    },
    /// The provider is not configured.
    #[error("`{issuer}` is not among the providers that are trusted")]
    UnknownIssuer {
        /// What the token says.
        issuer: String,
    },
    /// No key of that name.
    #[error("`{issuer}` has no key `{id}` in the file of its keys")]
    UnknownKey {
        /// The provider.
        issuer: String,
        /// The key's name; empty: the token names none.
        id: String,
    },
    /// The audience is none that was configured.
    #[error("the token was issued for `{audience}`, which is no client of this configuration")]
    Audience {
        /// For whom it was issued.
        audience: String,
    },
    /// The token does not commit to the signer's key.
    #[error("the token of the provider does not vouch for this key: {0}")]
    Commitment(&'static str),
    /// Only proofs in place of signatures are accepted from the provider.
    #[error("`{issuer}` must be shown by a GQ proof, not by its signature")]
    NotProof {
        /// The provider.
        issuer: String,
    },
    /// The token is not valid any more, or not yet.
    #[error("the token is not valid at {at}: {problem}")]
    Time {
        /// The time in question, RFC 3339.
        at: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A cosigner's part is missing or wrong.
    #[error("cosigner `{issuer}`: {problem}")]
    Cosigner {
        /// The cosigner.
        issuer: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The signed message is not of this token.
    #[error("the signed message does not belong to the token: {0}")]
    Message(&'static str),
    /// The signed message is about something else.
    #[error("the signed message is about other content")]
    OtherContent,
    /// The configuration of providers cannot be used.
    #[error("provider {index} of the configuration: {problem}")]
    Configuration {
        /// Which, from 0.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// A file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

impl Explain for OpenPubkeyError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownIssuer { .. } => {
                "name the provider in the file of --openpubkey, with its keys".into()
            }
            Self::UnknownKey { .. } => {
                "fetch the provider's keys again, or keep those that it had when the token was made"
                    .into()
            }
            Self::Audience { .. } => {
                "if the client is yours, add it to `clientIds` of its provider".into()
            }
            Self::Time { .. } => {
                "sign again with a fresh token, or choose another `expiry` for the provider".into()
            }
            Self::Configuration { .. } | Self::Read { .. } => {
                "see docs/guide/trust.md for the file of providers".into()
            }
            Self::NotProof { .. } => "sign with a GQ proof, or leave out `gqOnly`".into(),
            _ => "have it signed again by its publisher".into(),
        })
    }
}

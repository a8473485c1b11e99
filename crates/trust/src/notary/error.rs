//! Why a signature of the Notary Project counts for nothing.

use std::path::PathBuf;

use palisade_base::Explain;

use crate::JsonError;

/// A signature, a policy or a trust store that is refused.
#[derive(Debug, thiserror::Error)]
pub enum NotaryError {
    /// The envelope is no JWS or COSE of the specification.
    #[error("malformed {kind} envelope: {problem}")]
    Malformed {
        /// JWS or COSE.
        kind: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A media type that is no envelope.
    #[error("`{0}` is no envelope of the Notary Project")]
    UnknownKind(String),
    /// The signature of the envelope is false.
    #[error("the signature of the envelope is false")]
    BadSignature,
    /// A certificate of the chain is not as the specification demands.
    #[error("certificate {index} of the chain: {problem}")]
    Certificate {
        /// Which, from 0, the signer's.
        index: usize,
        /// What is wrong.
        problem: String,
    },
    /// It signs something else.
    #[error("it signs other content than this")]
    OtherContent,
    /// The chain leads to no root of the policy's trust stores.
    #[error("the chain of `{subject}` leads to no certificate of {stores}")]
    NotTrusted {
        /// The signer.
        subject: String,
        /// The stores that were looked at.
        stores: String,
    },
    /// The signer is none of the trusted identities.
    #[error("`{subject}` is none of the trusted identities")]
    Identity {
        /// The signer.
        subject: String,
    },
    /// The signature is past its own end.
    #[error("the signature expired at {0}")]
    Expired(String),
    /// The certificates were not valid when it was made, as far as that is known.
    #[error("the certificates were not valid at the time of the signature: {0}")]
    Time(String),
    /// Whether a certificate was revoked is not known, or it was.
    #[error("certificate `{subject}`: {problem}")]
    Revocation {
        /// The certificate.
        subject: String,
        /// Revoked, or unknown.
        problem: String,
    },
    /// The policy is not valid.
    #[error("trust policy: {0}")]
    Policy(String),
    /// The policy is not the JSON of one.
    #[error("malformed trust policy")]
    PolicyJson(#[source] JsonError),
    /// No statement of the policy is about the image.
    #[error("no statement of the trust policy is about `{0}`")]
    NoStatement(String),
    /// The trust store cannot be used.
    #[error("trust store `{}`: {problem}", path.display())]
    Store {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A key and a chain that do not belong together, or cannot sign so.
    #[error("sign for the Notary Project: {0}")]
    Sign(String),
}

impl Explain for NotaryError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotTrusted { .. } | Self::Store { .. } => {
                "put the signer's root certificate into the named store: \
                 truststore/x509/ca/NAME/root.pem"
                    .into()
            }
            Self::Identity { .. } => {
                "if it may sign, add it to `trustedIdentities` of the statement".into()
            }
            Self::Revocation { .. } => {
                "put the issuer's current list (DER, *.crl) into the folder `crl` beside the \
                 policy, or set `revocation` to `log` in the statement's `override`"
                    .into()
            }
            Self::Policy(_) | Self::PolicyJson(_) | Self::NoStatement(_) => {
                "see the Notary Project's specification of trust policies".into()
            }
            Self::Sign(_) => "give the chain from the signer's certificate to its root".into(),
            _ => "have it signed again by its publisher".into(),
        })
    }
}

//! Why a bundle proves nothing, with a code and what can be done.

use palisade_base::Explain;

use crate::json::JsonError;
use crate::pki::DerError;

/// Why a bundle is not verified.
#[derive(Debug, thiserror::Error)]
pub enum SigstoreError {
    /// Not the JSON of a bundle.
    #[error("malformed bundle")]
    Malformed(#[source] JsonError),
    /// A field cannot be what it must be.
    #[error("bundle: {0}")]
    Field(&'static str),
    /// Another format or version.
    #[error("bundle has media type `{0}`, which is not supported")]
    UnsupportedVersion(String),
    /// A certificate cannot be read.
    #[error("the certificate of the bundle cannot be used")]
    Certificate(#[source] DerError),
    /// Needs a trusted root, and there is none.
    #[error("the bundle rests on a certificate, and no trusted root was given")]
    NoRoot,
    /// Signed with a key, and none was given.
    #[error("the bundle is signed with a key, and no key was given")]
    NoKey,
    /// Signed with a certificate, and a key was given.
    #[error("the bundle is signed with a certificate, not with a key")]
    NotByKey,
    /// No log entry where one is needed.
    #[error("the bundle has no entry of a transparency log")]
    NoLogEntry,
    /// The log is not trusted.
    #[error("the log entry is of a log that is not in the trusted root, or not at that time")]
    UnknownLog,
    /// The log's promise is false or missing.
    #[error("the log's signed entry timestamp {0}")]
    Promise(&'static str),
    /// The proof that the log has the entry is false or missing.
    #[error("the log's inclusion proof {0}")]
    Inclusion(String),
    /// The entry is of something else.
    #[error("the log entry is of another {0} than the bundle's")]
    EntryMismatch(&'static str),
    /// The entry cannot be read.
    #[error("the log entry cannot be used: {0}")]
    Entry(String),
    /// A time stamp is false.
    #[error("time stamp: {0}")]
    TimeStamp(String),
    /// Nothing says when it was signed.
    #[error("nothing that is trusted says when this was signed")]
    NoTime,
    /// Signed in the future.
    #[error("it was signed in the future, at {0}")]
    Future(String),
    /// The certificate was not valid at that time.
    #[error("the certificate was not valid at {0}, when this was signed")]
    OutsideValidity(String),
    /// No trusted authority issued it.
    #[error("no trusted authority issued the certificate")]
    UntrustedCertificate,
    /// Not a certificate for signing.
    #[error("the certificate is not one for signing code")]
    WrongUsage,
    /// It was not logged.
    #[error("the certificate's entry in a log of certificates {0}")]
    Sct(&'static str),
    /// The signature is false.
    #[error("the signature is not that of this artifact by this signer")]
    BadSignature,
    /// A digest is not enough.
    #[error("a signature by such a key cannot be verified by the artifact's digest alone")]
    NeedsArtifact,
    /// The statement is about something else.
    #[error("the statement is not about this artifact")]
    OtherSubject,
    /// Not a statement.
    #[error("the envelope holds `{0}`, not an in-toto statement")]
    NoStatement(String),
    /// Signed by another.
    #[error("it is signed by {found}, not by {wanted}")]
    OtherIdentity {
        /// Who signed.
        found: String,
        /// Who must have signed.
        wanted: String,
    },
}

impl SigstoreError {
    /// A stable code for what is wrong.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Field(_) => "bundle-malformed",
            Self::UnsupportedVersion(_) => "bundle-version",
            Self::Certificate(_) => "certificate-malformed",
            Self::NoRoot => "no-trusted-root",
            Self::NoKey => "no-key",
            Self::NotByKey => "not-by-key",
            Self::NoLogEntry => "log-entry-missing",
            Self::UnknownLog => "log-unknown",
            Self::Promise(_) => "log-promise",
            Self::Inclusion(_) => "log-inclusion",
            Self::EntryMismatch(_) => "log-entry-mismatch",
            Self::Entry(_) => "log-entry-malformed",
            Self::TimeStamp(_) => "timestamp",
            Self::NoTime => "no-time",
            Self::Future(_) => "future",
            Self::OutsideValidity(_) => "certificate-expired",
            Self::UntrustedCertificate => "certificate-untrusted",
            Self::WrongUsage => "certificate-usage",
            Self::Sct(_) => "sct",
            Self::BadSignature => "signature",
            Self::NeedsArtifact => "needs-artifact",
            Self::OtherSubject => "subject",
            Self::NoStatement(_) => "statement",
            Self::OtherIdentity { .. } => "identity",
        }
    }

    /// Whether it is well formed and merely by another than was asked for.
    pub fn is_other_signer(&self) -> bool {
        matches!(self, Self::OtherIdentity { .. } | Self::NoKey | Self::NotByKey)
    }
}

impl Explain for SigstoreError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NoRoot => "name the instance's roots: --trusted-root trusted_root.json",
                Self::NoKey => "name the signer's public key: --key FILE",
                Self::NotByKey => {
                    "name the signer: --certificate-identity NAME --certificate-oidc-issuer URL"
                }
                Self::UnknownLog | Self::UntrustedCertificate | Self::Sct(_) => {
                    "use the trusted root of the instance that signed this, in its newest form"
                }
                Self::NoTime => {
                    "have it signed with a time stamp of an authority of the trusted root"
                }
                Self::Future(_) => "set this machine's clock",
                Self::NeedsArtifact => "give the artifact's file in place of its digest",
                Self::OtherIdentity { .. } => "check who is expected to sign this",
                Self::OtherSubject | Self::BadSignature => {
                    "get the artifact and its bundle again from their source; do not use this one"
                }
                Self::UnsupportedVersion(_) => {
                    "have it signed as a bundle of version 0.1, 0.2 or 0.3"
                }
                _ => "have it signed again by its publisher",
            }
            .into(),
        )
    }
}

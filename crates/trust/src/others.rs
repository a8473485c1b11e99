//! Signatures of other families that lie beside an image: under ID tokens (OpenPubkey) and of
//! the Notary Project. What each is worth is decided by whoever has the providers or the trust
//! policy; the search hands over what it found.

use std::path::PathBuf;

use palisade_base::Digest;

use crate::attach::Found;
use crate::verify::{Rejection, SignatureFormat};

/// Whom an ID token, or a certificate of the Notary Project, names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedSigner {
    /// The names; the first is shown.
    pub names: Vec<String>,
    /// Who vouched for them, where somebody in particular did.
    pub issuer: Option<String>,
    /// The files of providers, and the trust policies, by which the signature counts.
    pub accepted_by: Vec<PathBuf>,
    /// What the trust policy wants told and does not refuse.
    pub notes: Vec<String>,
    /// The last second since the Unix epoch at which the signature certainly still counts; `None`:
    /// it does not end.
    pub until: Option<i64>,
}

impl std::fmt::Display for NamedSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.names.first().map_or("nobody", String::as_str))?;
        match &self.issuer {
            Some(issuer) => write!(f, " of {issuer}"),
            None => Ok(()),
        }
    }
}

/// What a signature of another family proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who signed.
    pub signer: NamedSigner,
    /// What they say about the image, if that is more than having signed it: the type of the
    /// predicate, and the statement.
    pub attested: Option<(String, Vec<u8>)>,
}

/// What was decided about something that is attached to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherVerdict {
    /// What it is.
    pub format: SignatureFormat,
    /// What it proves, or what it lacks.
    pub result: Result<Said, String>,
}

/// Decides about what is attached to an image; `None`: it is of no family that is asked about.
pub type OtherSigners<'a> = dyn Fn(&Found) -> Option<OtherVerdict> + 'a;

/// What lacks something, as a signature that proves nothing.
pub(crate) fn rejection(format: SignatureFormat, digest: Digest, reason: String) -> Rejection {
    Rejection { format, digest, reason, wrong_key: false }
}

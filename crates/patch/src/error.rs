//! Why there is no plan for an image.

use palisade_base::Explain;
use palisade_image::ReadImageError;

/// Why nothing came from an address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct FetchError(pub String);

/// Why there is no plan for an image.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// The image could not be read.
    #[error("read the image")]
    Image(#[from] ReadImageError),
    /// The image is larger than what is held of it.
    #[error("the image has more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// A file of the image or of a repository is not what it should be.
    #[error("{name}: {why}")]
    Document {
        /// Its path or address.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// Nothing came from an address.
    #[error("fetch {address}")]
    Fetch {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// The image lacks the program that would upgrade its packages.
    #[error("the image has no `{0}`, which alone writes its database of packages")]
    NoProgram(&'static str),
    /// The layer could not be written.
    #[error("write the layer")]
    Write(#[source] std::io::Error),
    /// A signature, a digest or a date that does not hold.
    #[error("{name} is not trusted: {why}")]
    Untrusted {
        /// The address.
        name: String,
        /// Why.
        why: String,
    },
}

impl PatchError {
    pub(crate) fn document(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Document { name: name.into(), why: why.into() }
    }

    pub(crate) fn untrusted(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Untrusted { name: name.into(), why: why.into() }
    }
}

impl Explain for PatchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Image(source) => source.hint(),
            Self::Fetch { .. } => Some(
                "check the network, or name a mirror with --repository-mirror FROM=TO".to_string(),
            ),
            Self::Untrusted { .. } => Some(
                "the repository must be signed by a key that the image holds; an old mirror may \
                 have expired"
                    .to_string(),
            ),
            Self::NoProgram(_) => Some(
                "build it again on a newer base (`patch plan --base` compares), or install the \
                 upgrades with `--root` or `--installroot` in the stage that makes its files"
                    .to_string(),
            ),
            _ => None,
        }
    }
}

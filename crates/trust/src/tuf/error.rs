//! Why a repository's files are not taken over.

use std::io;
use std::path::PathBuf;

use palisade_base::Explain;

/// Why a repository's files are not taken over. What was known before stays.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// What is kept here cannot be read or written.
    #[error("{action} `{}`", path.display())]
    Local {
        /// `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no root to begin with.
    #[error("no root is trusted yet")]
    NoRoot,
    /// There is one already.
    #[error("a root (version {version}) is trusted already")]
    RootExists {
        /// Its version.
        version: u64,
    },
    /// The repository cannot be reached, or breaks off.
    #[error("fetch `{path}` from the repository")]
    Fetch {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The repository has no such file.
    #[error("the repository has no `{path}`")]
    Missing {
        /// The file.
        path: String,
    },
    /// A file is larger than it may be.
    #[error("`{path}` is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// What it may have, in bytes.
        limit: u64,
    },
    /// A file is not what it must be.
    #[error("`{role}` metadata is malformed: {problem}")]
    Malformed {
        /// The role.
        role: String,
        /// What is wrong.
        problem: String,
    },
    /// Too few of those who must sign have signed.
    #[error("`{role}` metadata has {found} of {needed} signatures{}", if *by_known { " by the keys that are trusted" } else { " by its own keys" })]
    Unsigned {
        /// The role.
        role: String,
        /// Signatures that verify, each by another key.
        found: u32,
        /// As many are needed.
        needed: u32,
        /// Whether the keys are those of the root that is trusted, not those of the document.
        by_known: bool,
    },
    /// A file is of another version than the one that was announced.
    #[error("`{role}` metadata has version {found} where {expected} is announced")]
    WrongVersion {
        /// The role.
        role: String,
        /// What was announced.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A file is older than what was seen before.
    #[error("`{role}` metadata went back from version {known} to {found}")]
    Rollback {
        /// The role.
        role: String,
        /// The version that was seen.
        known: u64,
        /// What is offered now.
        found: u64,
    },
    /// A file is no longer valid.
    #[error("`{role}` metadata expired at {when}")]
    Expired {
        /// The role.
        role: String,
        /// When.
        when: String,
    },
    /// A file has another length or digest than its list says.
    #[error("`{path}` has another {what} than announced")]
    Mismatch {
        /// The file.
        path: String,
        /// `length`, `digest`.
        what: &'static str,
    },
    /// The file was looked for in as many delegated roles as may be asked.
    #[error("`{name}` is in none of the first {} delegated roles", super::DELEGATED_MAX)]
    TooManyRoles {
        /// The file.
        name: String,
    },
    /// The repository offers no such file.
    #[error("the repository offers no `{name}`")]
    NoTarget {
        /// Its name.
        name: String,
    },
}

impl TufError {
    /// Whether the repository could not be reached, which says nothing about its files.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Fetch { .. })
    }

    /// Whether the repository offers something that must not be taken.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Local { .. } | Self::NoRoot | Self::RootExists { .. })
            && !self.is_network()
    }
}

impl Explain for TufError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Local { .. } => "check that the data folder exists and belongs to this user",
                Self::NoRoot => {
                    "begin with the root.json of the instance that signs, got from where you \
                     trust: palisade trust root import --root root.json --tuf URL"
                }
                Self::RootExists { .. } => {
                    "go on with it (palisade trust root update), or throw away what is known of \
                     the repository: --replace"
                }
                Self::Fetch { .. } => "nothing was found out and nothing was changed: try again",
                Self::Missing { .. } | Self::NoTarget { .. } => {
                    "check the address, where `timestamp.json` must be, and the file's name"
                }
                Self::TooManyRoles { .. } => {
                    "nothing was taken: the repository delegates more widely than a client follows"
                }
                Self::TooLarge { .. } | Self::Malformed { .. } | Self::Mismatch { .. } => {
                    "the repository is damaged, or somebody else answers for it: nothing was taken"
                }
                Self::Unsigned { .. } => {
                    "nothing was taken: whoever signed this is not trusted; a root from another \
                     instance needs `palisade trust root import`"
                }
                Self::WrongVersion { .. } | Self::Rollback { .. } => {
                    "nothing was taken: an old or half-updated copy is served; try another mirror, \
                     or later"
                }
                Self::Expired { .. } => {
                    "the repository stands still, or an old copy is served; or this machine's \
                     clock is wrong"
                }
            }
            .into(),
        )
    }
}

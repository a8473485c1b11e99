//! Why a document could not be read.

use palisade_base::Explain;

/// A record that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// More bytes than a record may have.
    #[error("the record has {0} bytes, {max} at most", max = crate::RECORD_BYTES_MAX)]
    TooLarge(usize),
    /// Not JSON of a record's form.
    #[error("the record is not valid: {0}")]
    Invalid(String),
    /// Another document, or one of a newer version.
    #[error("`{0}` is not a record that this version reads")]
    Schema(String),
    /// A machine of which no calls are known.
    #[error("no system calls are known of machine `{0}`")]
    Architecture(String),
    /// A call that no machine has.
    #[error("the record names a system call that does not exist: `{0}`")]
    Call(String),
    /// Too many of something.
    #[error("the record has {n} {what}, {max} at most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        n: usize,
        /// How many may be.
        max: usize,
    },
    /// Records of different machines do not add up.
    #[error("records of `{0}` and `{1}` cannot be merged")]
    Mixed(String, String),
}

impl Explain for RecordError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::TooLarge(_) | Self::TooMany { .. } => {
                "record fewer workloads at once and merge what they have in common"
            }
            Self::Invalid(_) | Self::Schema(_) | Self::Call(_) => {
                "make it with `palisade profile record`; docs/formats/profile-record.md has its form"
            }
            Self::Architecture(_) => "record on x86_64 or aarch64",
            Self::Mixed(..) => "merge records of one kind of machine",
        };
        Some(text.into())
    }
}

/// A seccomp filter that cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Something that is not as the OCI runtime specification says.
    #[error("the seccomp profile is not valid at `{at}`: {problem}")]
    Invalid {
        /// A JSON pointer.
        at: String,
        /// What is wrong.
        problem: String,
    },
    /// A machine of which no calls are known.
    #[error("no system calls are known of machine `{0}`")]
    Architecture(String),
}

impl Explain for FilterError {
    fn hint(&self) -> Option<String> {
        Some("use the form of Docker's default.json or of the OCI runtime spec, on x86_64 or aarch64".into())
    }
}

//! Bills of materials of others, and our own: CycloneDX 1.2 to 1.7 and SPDX 2.2, 2.3 and 3.0,
//! all in JSON, to an inventory.
//!
//! A document is held against the structure of its standard first; what is not as the standard
//! has it is refused, each problem with its place. Packages are known by their package URLs:
//! components without one, and of types for which nothing is known, are counted, not guessed.
//!
//! The structure that CycloneDX documents are held against is that of version 1.7: it holds the
//! earlier ones, so that a document of an earlier version may use what came later.

mod cyclonedx;
mod gather;
mod identity;
mod shape;
mod spdx;
mod spdx3;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use palisade_base::{Explain, LimitExceeded};
use palisade_model::Inventory;
use palisade_model::finding::Unmatched;
use serde_json::Value;

pub use shape::{PROBLEMS_MAX, Problem};

/// A document beyond this many bytes is refused.
pub const BYTES_MAX: u64 = 256 << 20;

/// What a document holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Standard and version: `CycloneDX 1.6`.
    pub format: String,
    /// Its packages. No file was seen.
    pub inventory: Inventory,
    /// Components that are no packages to us, by what is missing.
    pub unmatched: Vec<Unmatched>,
    /// Components that the document says are not there at run time.
    pub n_excluded: u64,
}

/// Why a document could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSbomError {
    /// The system refused, or the file is larger than the bound.
    #[error("read bill of materials `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not JSON.
    #[error("the bill of materials is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// It is XML.
    #[error("the bill of materials is XML")]
    Xml,
    /// It is JSON of another kind.
    #[error("the document is neither CycloneDX nor SPDX: {0}")]
    OtherKind(&'static str),
    /// A version that this release does not read.
    #[error("version `{version}` of {standard} is not read")]
    Version {
        /// The standard.
        standard: &'static str,
        /// The version that the document states.
        version: String,
    },
    /// It is not as its standard has it.
    #[error("the document is not valid {format}: {problems}")]
    Invalid {
        /// Standard and version.
        format: String,
        /// Each problem with its place.
        problems: Problems,
    },
    /// It has more packages than are kept.
    #[error("the document has more than {0} packages")]
    TooManyPackages(usize),
}

/// The problems of a document; the first few are shown with the error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

/// Problems that an error shows.
const SHOWN_MAX: usize = 10;

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.0.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        f.write_str(&shown.join("; "))?;
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            n => write!(f, "; and {n} more"),
        }
    }
}

impl Explain for ReadSbomError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { source, .. } if LimitExceeded::find(source).is_some() => {
                "leave the files out of the document, or split it".into()
            }
            Self::Io { .. } => "check the path and its permissions".into(),
            Self::NotJson { .. } => "give CycloneDX or SPDX in JSON".into(),
            Self::Xml => "convert it to CycloneDX JSON with the tool that made it".into(),
            Self::OtherKind(_) => {
                "give CycloneDX (`bomFormat`) or SPDX (`spdxVersion`, `@context`) in JSON".into()
            }
            Self::Version { .. } => {
                "CycloneDX 1.2 to 1.7 and SPDX 2.2, 2.3 and 3.0 are read".into()
            }
            Self::Invalid { .. } => "mend the document, or the tool that made it".into(),
            Self::TooManyPackages(_) => "split the document".into(),
        })
    }
}

/// Reads the document in the file at `path`; `-` is standard input.
///
/// # Errors
///
/// See [`ReadSbomError`].
pub fn read_file(path: &Path) -> Result<Document, ReadSbomError> {
    let failed = |source| ReadSbomError::Io { path: path.to_path_buf(), source };
    let reader: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    let what = "bill of materials";
    let bytes = palisade_base::read_bounded(reader, what, BYTES_MAX).map_err(failed)?;
    read(&bytes, &path.display().to_string())
}

/// Reads a document; `name` stands for it where it names no subject or evidence.
///
/// # Errors
///
/// See [`ReadSbomError`].
pub fn read(bytes: &[u8], name: &str) -> Result<Document, ReadSbomError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.trim_ascii_start().starts_with(b"<") {
        return Err(ReadSbomError::Xml);
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|source| ReadSbomError::NotJson {
        line: source.line(),
        column: source.column(),
        source,
    })?;
    let Value::Object(map) = &value else {
        return Err(ReadSbomError::OtherKind("it is no object"));
    };
    if map.contains_key("bomFormat") || map.contains_key("specVersion") {
        cyclonedx::read(&value, name)
    } else if map.contains_key("spdxVersion") {
        spdx::read(&value, name)
    } else if map.contains_key("@context") || map.contains_key("@graph") {
        spdx3::read(&value, name)
    } else {
        Err(ReadSbomError::OtherKind("it has none of their fields"))
    }
}

/// Components that could not be packages, counted by what is missing.
#[derive(Debug, Default)]
struct Unmatching(BTreeMap<(String, String), u64>);

impl Unmatching {
    fn count(&mut self, ecosystem: &str, reason: &str) {
        *self.0.entry((ecosystem.to_string(), reason.to_string())).or_default() += 1;
    }

    fn finish(self) -> Vec<Unmatched> {
        let row = |((ecosystem, reason), n_packages)| Unmatched { ecosystem, n_packages, reason };
        self.0.into_iter().map(row).collect()
    }
}

/// The text of a field, where it is one.
fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a field, where it is a list.
fn items<'v>(value: &'v Value, field: &str) -> impl Iterator<Item = &'v Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests;

//! Text → policy, with every problem at once.
//!
//! The tree of [`palisade_base::yaml`] is walked along [`crate::table`]. A key that is not there
//! takes its default through the same function as one that is, so that a default cannot
//! be something that a file could not say. A policy with an error is never returned.

use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Diagnostics, Digest, Explain, Severity};

use crate::code::Code;
use crate::document::Policy;
use crate::read::Reader;
use crate::yaml::{self, Node, Place, Value};

/// Largest policy file, in bytes.
pub const FILE_BYTES_MAX: u64 = 1 << 20;
/// Problems that are listed; a file with more is not worth reading to the end.
pub const PROBLEMS_MAX: usize = 100;

/// A valid policy, and what its reader should know of how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedPolicy {
    /// The policy.
    pub policy: Policy,
    /// Where it was read from: a path, or `builtin:restricted`.
    pub source: String,
    /// Its text, to quote lines from.
    pub text: String,
    /// Warnings; never an error.
    pub warnings: Diagnostics,
    /// Every key with its value, in the order of the reference page.
    pub settings: Vec<Setting>,
}

/// A key of a policy with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key, list items numbered from 0: `response[0].actions`.
    pub path: String,
    /// Its value as one would write it.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// What the key means.
    pub doc: &'static str,
    /// What the value means, for values that are words.
    pub meaning: Option<&'static str>,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file says so in this line, from 1.
    Line(usize),
    /// The file says nothing.
    Default,
}

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadPolicyError {
    /// Neither a built-in policy nor a file.
    #[error("`{name}` is neither a built-in policy nor a file")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// The file cannot be read.
    #[error("read policy `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file has errors.
    #[error("policy `{file}` has {} and cannot be used", count(diagnostics))]
    Invalid {
        /// The file as the user named it.
        file: String,
        /// Its text, to quote lines from.
        text: String,
        /// All problems, warnings included, by place.
        diagnostics: Diagnostics,
    },
}

fn count(diagnostics: &Diagnostics) -> String {
    match diagnostics.counts().0 {
        1 => "1 error".to_string(),
        n => format!("{n} errors"),
    }
}

impl Explain for LoadPolicyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { name } => {
                let names = crate::builtin::NAMES;
                Some(match palisade_base::suggest::nearest(name, names) {
                    Some(near) => format!("did you mean the built-in policy `{near}`?"),
                    None => format!("give a file, or one of {}", names.join(", ")),
                })
            }
            Self::Read { .. } => None,
            Self::Invalid { .. } => {
                Some("`palisade policy schema` and docs/reference/policy.md list every key".into())
            }
        }
    }
}

impl Policy {
    /// The built-in policy of that name: `audit`, `baseline` or `restricted`.
    pub fn builtin(name: &str) -> Option<LoadedPolicy> {
        let text = crate::builtin::text(name)?;
        // A test loads every built-in policy, so the text is valid.
        let mut loaded = parse(text, &format!("builtin:{name}"), Path::new("")).ok()?;
        // Keys for a built-in policy can only come with the command.
        loaded.warnings.0.retain(|warning| warning.code != Code::NoKeys.as_str());
        Some(loaded)
    }

    /// Loads a built-in policy by name, or the file at that path. A file that is named
    /// like a built-in policy is reached as `./baseline`.
    pub fn load(name_or_path: &str) -> Result<LoadedPolicy, LoadPolicyError> {
        match Self::builtin(name_or_path) {
            Some(loaded) => Ok(loaded),
            None => Self::load_file(Path::new(name_or_path)),
        }
    }

    /// Loads the file at `path`.
    pub fn load_file(path: &Path) -> Result<LoadedPolicy, LoadPolicyError> {
        let read = |source| LoadPolicyError::Read { path: path.to_path_buf(), source };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LoadPolicyError::NotFound { name: path.display().to_string() });
            }
            Err(error) => return Err(read(error)),
        };
        let name = path.display().to_string();
        let bytes = match palisade_base::read_bounded(file, "policy", FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) => {
                return Err(match palisade_base::LimitExceeded::find(&error) {
                    Some(limit) => invalid(&name, Code::TooLarge, limit.to_string()),
                    None => read(error),
                });
            }
        };
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(invalid(&name, Code::Syntax, "the file is not UTF-8 text".into()));
        };
        parse(&text, &name, path.parent().unwrap_or(Path::new("")))
    }
}

fn invalid(file: &str, code: Code, message: String) -> LoadPolicyError {
    let mut reader = Reader::new(file);
    reader.problem(code, Severity::Error, Place::START, message, None);
    LoadPolicyError::Invalid {
        file: file.to_string(),
        text: String::new(),
        diagnostics: Diagnostics(reader.found),
    }
}

/// Reads a policy from `text`. `file` names it in diagnostics; files that it names are
/// resolved against `folder`.
pub fn parse(text: &str, file: &str, folder: &Path) -> Result<LoadedPolicy, LoadPolicyError> {
    if text.len() as u64 > FILE_BYTES_MAX {
        let message = format!("policy is larger than the limit of {FILE_BYTES_MAX} bytes");
        return Err(invalid(file, Code::TooLarge, message));
    }
    let mut reader = Reader::new(file);
    reader.policy.digest = Digest::of(text.as_bytes());
    let (root, problems) = palisade_base::yaml::parse(text, yaml::POLICY);
    let whole = root.is_some() || problems.is_empty();
    for problem in problems {
        reader.problem(
            problem.kind.into(),
            Severity::Error,
            problem.place,
            problem.message,
            problem.help,
        );
    }
    // A tree cut short by a problem would only yield follow-up problems.
    if whole {
        let root = root.unwrap_or(Node { place: Place::START, value: Value::Map(Vec::new()) });
        reader.mapping("", "", &root);
        crate::check::check(&mut reader);
    }
    reader.finish(text, folder)
}

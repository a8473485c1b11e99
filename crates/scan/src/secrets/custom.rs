//! The user's own detectors and allow-list, and the form that all detectors take at work.

use std::borrow::Cow;

use palisade_base::Explain;
use palisade_model::Severity;
use regex::bytes::Regex;

use super::detectors::{DETECTORS, Detector};
use super::{Check, FingerprintKey, compile};

/// A detector of the user's.
#[derive(Debug, Clone, PartialEq)]
pub struct CustomDetector {
    /// Stable name.
    pub id: String,
    /// What it is, for people.
    pub title: String,
    /// How bad a leak is.
    pub severity: Severity,
    /// Words of which one must occur (in any case) before the pattern is tried. Without any
    /// the whole of each file that `files` names is searched.
    pub keywords: Vec<String>,
    /// Regular expression; a group `(?P<secret>…)` names the value where context surrounds it.
    pub pattern: String,
    /// Bits of Shannon entropy a character that the value must have.
    pub entropy_min: Option<f64>,
    /// Ends of the names of the files that have it; empty for any.
    pub files: Vec<String>,
}

/// Secrets that are none: all conditions that are there must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow {
    /// Detector.
    pub detector: Option<String>,
    /// Path within the image, without leading slash: `*` stands for anything but `/`, `**`
    /// for anything.
    pub path: Option<String>,
    /// Regular expression that the value matches.
    pub pattern: Option<String>,
}

/// What a search looks for besides what is built in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearcherOptions {
    /// Further detectors.
    pub detectors: Vec<CustomDetector>,
    /// What is no secret.
    pub allow: Vec<Allow>,
    /// Key of the fingerprints.
    pub key: FingerprintKey,
}

/// The detectors cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum BuildSearcherError {
    /// A defect of the product, found by its tests, or keywords too many for one automaton.
    #[error("compile the keywords of the secret detectors")]
    Keywords(#[source] aho_corasick::BuildError),
    /// The user's expression is none.
    #[error("compile the pattern of `{name}`")]
    Pattern {
        /// Detector, or entry of the allow-list.
        name: String,
        /// Why.
        #[source]
        source: Box<regex::Error>,
    },
    /// The detector could never be tried, or would be tried everywhere.
    #[error("detector `{0}` has neither keywords nor files")]
    Unreachable(String),
    /// Two detectors of one name.
    #[error("there is a detector `{0}` already")]
    Duplicate(String),
}

impl Explain for BuildSearcherError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Keywords(_) => "use fewer or shorter keywords".into(),
            Self::Pattern { .. } => {
                "use the syntax of Rust's regex crate: no look-around, no back-references".into()
            }
            Self::Unreachable(_) => {
                "give words that stand near the secret (`keywords`), or names of files".into()
            }
            Self::Duplicate(_) => "choose another id".into(),
        })
    }
}

/// A digest of `options`, of the key only what every fingerprint shows of it.
pub(super) fn stamp(options: &SearcherOptions) -> String {
    let SearcherOptions { detectors, allow, key } = options;
    let key = key.fingerprint("examination", "", b"of an image", "");
    palisade_base::Digest::of(format!("{detectors:?} {allow:?} {key}").as_bytes()).hex()
}

/// A detector at work.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: Cow<'static, str>,
    pub(super) title: Cow<'static, str>,
    pub(super) severity: Severity,
    keywords: Vec<Cow<'static, str>>,
    pub(super) pattern: Cow<'static, str>,
    pub(super) window: usize,
    pub(super) check: Check,
    names: Vec<Cow<'static, str>>,
    pub(super) in_binaries: bool,
}

impl Rule {
    fn built_in(detector: &Detector) -> Self {
        let texts = |texts: &[&'static str]| texts.iter().copied().map(Cow::Borrowed).collect();
        Self {
            id: detector.id.into(),
            title: detector.title.into(),
            severity: detector.severity,
            keywords: texts(detector.keywords),
            pattern: detector.pattern.into(),
            window: detector.window,
            check: detector.check,
            names: texts(detector.names),
            in_binaries: detector.in_binaries,
        }
    }

    fn custom(detector: &CustomDetector) -> Result<Self, BuildSearcherError> {
        if detector.keywords.is_empty() && detector.files.is_empty() {
            return Err(BuildSearcherError::Unreachable(detector.id.clone()));
        }
        compile(&detector.pattern).map_err(|source| BuildSearcherError::Pattern {
            name: detector.id.clone(),
            source: Box::new(source),
        })?;
        let texts = |texts: &[String]| texts.iter().cloned().map(Cow::Owned).collect();
        Ok(Self {
            id: detector.id.clone().into(),
            title: detector.title.clone().into(),
            severity: detector.severity,
            keywords: texts(&detector.keywords),
            pattern: detector.pattern.clone().into(),
            window: CUSTOM_WINDOW,
            check: detector.entropy_min.map_or(Check::None, Check::Entropy),
            names: texts(&detector.files),
            in_binaries: false,
        })
    }

    pub(super) fn keywords(&self) -> impl Iterator<Item = &str> {
        self.keywords.iter().map(AsRef::as_ref)
    }

    /// Whether the file at `path` is one that the detector looks into.
    pub(super) fn is_for(&self, path: &str) -> bool {
        self.names.is_empty()
            || self.names.iter().any(|name| {
                path.strip_suffix(name.as_ref()).is_some_and(|before| {
                    // `.tfstate` ends a name; `etc/shadow` is whole parts of a path.
                    // Names of files may be hidden: `.htpasswd` is an `htpasswd`.
                    let whole = before.is_empty() || before.ends_with('/');
                    whole || before == "." || before.ends_with("/.") || name.starts_with('.')
                })
            })
    }

    /// Whether it needs no keyword.
    pub(super) fn is_for_whole_files(&self) -> bool {
        self.keywords.is_empty() && !self.names.is_empty()
    }
}

/// Bytes after a keyword that a user's pattern sees.
const CUSTOM_WINDOW: usize = 1024;

/// The built-in detectors, and the user's before the forms that stand last.
pub(super) fn rules(custom: &[CustomDetector]) -> Result<Vec<Rule>, BuildSearcherError> {
    let mut rules = Vec::with_capacity(DETECTORS.len() + custom.len());
    // First come the user's: whoever writes one knows best what it is.
    for detector in custom {
        let taken = |id: &str| id == detector.id;
        if DETECTORS.iter().any(|d| taken(d.id)) || rules.iter().any(|r: &Rule| taken(&r.id)) {
            return Err(BuildSearcherError::Duplicate(detector.id.clone()));
        }
        rules.push(Rule::custom(detector)?);
    }
    rules.extend(DETECTORS.iter().map(Rule::built_in));
    Ok(rules)
}

/// An entry of the allow-list at work.
#[derive(Debug)]
pub(super) struct CompiledAllow {
    detector: Option<String>,
    path: Option<Regex>,
    pattern: Option<Regex>,
}

impl CompiledAllow {
    pub(super) fn covers(&self, detector: &str, path: &str, value: &[u8]) -> bool {
        self.detector.as_deref().is_none_or(|wanted| wanted == detector)
            && self.path.as_ref().is_none_or(|wanted| wanted.is_match(path.as_bytes()))
            && self.pattern.as_ref().is_none_or(|wanted| wanted.is_match(value))
    }
}

pub(super) fn allow_list(entries: &[Allow]) -> Result<Vec<CompiledAllow>, BuildSearcherError> {
    let named = |number: usize, pattern: &str| {
        compile(pattern).map_err(|source| BuildSearcherError::Pattern {
            name: format!("allow entry {}", number + 1),
            source: Box::new(source),
        })
    };
    let mut compiled = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        let path = entry.path.as_ref().map(|path| named(number, &glob(path))).transpose()?;
        let pattern = entry.pattern.as_ref().map(|p| named(number, p)).transpose()?;
        compiled.push(CompiledAllow { detector: entry.detector.clone(), path, pattern });
    }
    Ok(compiled)
}

/// The expression of a path with `*`, `**` and `?`.
fn glob(path: &str) -> String {
    let mut out = String::from("^");
    let mut rest = path.trim_start_matches('/');
    while let Some(first) = rest.chars().next() {
        let (text, length) = if rest.starts_with("**/") {
            ("(?:.*/)?".to_string(), 3)
        } else if rest.starts_with("**") {
            (".*".to_string(), 2)
        } else {
            let text = match first {
                '*' => "[^/]*".to_string(),
                '?' => "[^/]".to_string(),
                other => regex::escape(other.encode_utf8(&mut [0; 4])),
            };
            (text, first.len_utf8())
        };
        out.push_str(&text);
        rest = rest.get(length..).unwrap_or_default();
    }
    out.push('$');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_as_written() {
        let check = |pattern: &str, path: &str, expected: bool| {
            let found = compile(&glob(pattern)).unwrap().is_match(path.as_bytes());
            assert_eq!(found, expected, "{pattern} {path}");
        };
        check("srv/*.pem", "srv/a.pem", true);
        check("/srv/*.pem", "srv/a.pem", true);
        check("srv/*.pem", "srv/x/a.pem", false);
        check("srv/**", "srv/x/a.pem", true);
        check("**/tests/*", "tests/a", true);
        check("**/tests/*", "a/b/tests/a", true);
        check("a.c", "abc", false);
        check("a?c", "abc", true);
        check("ü/*", "ü/x", true);
    }

    #[test]
    fn names_of_files_are_whole() {
        let rule = |id: &str| {
            let found = DETECTORS.iter().find(|d| d.id == id).unwrap();
            Rule::built_in(found)
        };
        let check = |id: &str, path: &str, expected: bool| {
            assert_eq!(rule(id).is_for(path), expected, "{id} {path}");
        };
        check("shadow-hash", "etc/shadow", true);
        check("shadow-hash", "srv/etc/shadow", true);
        check("shadow-hash", "srv/fetc/shadow", false);
        check("terraform-state", "srv/prod.tfstate", true);
        check("pgpass", "root/.pgpass", true);
        check("rails-master-key", "app/config/master.key", true);
        check("rails-master-key", "app/xconfig/master.key", false);
        check("github-token", "anything", true);
    }
}

//! Secrets in text: keyword gate, one regular expression on a window, structure check.
//!
//! All detectors' keywords form one Aho-Corasick automaton; only where a keyword occurs is
//! that detector's expression run, and only on a window around it. (Expressions run together
//! as a set took minutes on input that this takes milliseconds for.) What matches must then
//! have the structure of the secret: a checksum, a decodable payload, enough entropy.
//!
//! A secret's value never leaves this module: a [`Hit`] carries a redacted form.
//! Values split over lines or encoded as a whole (base64 of a file) are not found.

mod check;
pub mod detectors;

use std::collections::HashSet;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use palisade_model::Severity;
use regex::bytes::Regex;

pub use check::Check;
pub use detectors::{DETECTORS, Detector};

/// Files beyond this many bytes are not searched; the caller counts them.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Hits in one file beyond this number are dropped and counted.
pub const HITS_PER_FILE_MAX: usize = 100;
/// Bytes before a keyword that an expression sees.
const WINDOW_BEFORE: usize = 128;
/// Bytes at the beginning of a file that decide whether it is text.
const SNIFF_BYTES: usize = 8_000;
/// Windows examined in one file beyond this number are not: a file of nothing but keywords
/// must not cost more than a file of the largest size.
const WINDOWS_PER_FILE_MAX: usize = 50_000;
/// Compiled size of one expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A secret found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Detector: `aws-access-key-id`.
    pub detector: &'static str,
    /// What it is, for people.
    pub title: String,
    /// Line, from 1.
    pub line: u64,
    /// The secret with its middle hidden.
    pub redacted: String,
    /// How bad it is.
    pub severity: Severity,
}

/// What searching one text found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    /// Secrets, by line.
    pub hits: Vec<Hit>,
    /// Hits and windows beyond the bounds.
    pub n_dropped: u64,
}

/// The compiled detectors. Build once, use for every file.
#[derive(Debug)]
pub struct Searcher {
    gate: AhoCorasick,
    /// Detector of each keyword of the gate.
    owners: Vec<usize>,
    /// Compiled on first use: most images need a handful.
    expressions: Vec<OnceLock<Option<Regex>>>,
}

/// The detectors cannot be compiled; a defect of the product, found by its tests.
#[derive(Debug, thiserror::Error)]
#[error("compile the keywords of the secret detectors")]
pub struct BuildSearcherError(#[source] aho_corasick::BuildError);

impl palisade_base::Explain for BuildSearcherError {
    fn hint(&self) -> Option<String> {
        Some("report this: the built-in detectors are broken".into())
    }
}

/// Whether `bytes` look like text: no NUL byte near the beginning. UTF-16 with a byte-order
/// mark is text too, but is not searched.
pub fn is_text(bytes: &[u8]) -> bool {
    !bytes[..bytes.len().min(SNIFF_BYTES)].contains(&0)
}

/// Why a secret at `path` (without leading slash) is probably no one's: test data, and
/// language packages as everybody can download them. Such hits are reported with low severity.
pub fn doubtful_place(path: &str) -> Option<&'static str> {
    let published = [
        "node_modules/",
        "site-packages/",
        "dist-packages/",
        ".cargo/registry/",
        "go/pkg/mod/",
        ".m2/repository/",
        "vendor/bundle/",
    ];
    if published.iter().any(|folder| path.contains(folder)) {
        return Some(" (in a published package)");
    }
    let test_data = [
        "test",
        "tests",
        "testdata",
        "test_data",
        "test-data",
        "testing",
        "__tests__",
        "spec",
        "fixtures",
        "examples",
    ];
    let mut folders = path.split('/').rev().skip(1);
    folders.any(|folder| test_data.contains(&folder)).then_some(" (in test data)")
}

impl Searcher {
    /// Compiles the gate of all detectors.
    pub fn new() -> Result<Self, BuildSearcherError> {
        let mut keywords = Vec::new();
        let mut owners = Vec::new();
        for (index, detector) in DETECTORS.iter().enumerate() {
            for keyword in detector.keywords {
                keywords.push(*keyword);
                owners.push(index);
            }
        }
        let gate = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            // Some thousand states: small, and twice as fast as the default automaton.
            .kind(Some(AhoCorasickKind::DFA))
            .build(keywords)
            .map_err(BuildSearcherError)?;
        let expressions = DETECTORS.iter().map(|_| OnceLock::new()).collect();
        Ok(Self { gate, owners, expressions })
    }

    /// Searches `text`.
    pub fn search(&self, text: &[u8]) -> Hits {
        let mut found = Hits::default();
        // (start, end, detector, hit): overlapping hits of general detectors are folded below.
        let mut raw: Vec<(usize, usize, usize, Verified)> = Vec::new();
        let mut seen: HashSet<(usize, usize)> = HashSet::new();
        let mut searched_to = vec![0_usize; DETECTORS.len()];
        let mut n_windows = 0;
        for gate in self.gate.find_overlapping_iter(text) {
            let Some(&owner) = self.owners.get(gate.pattern().as_usize()) else {
                continue;
            };
            let Some(detector) = DETECTORS.get(owner) else {
                continue;
            };
            // Inside the window of the last keyword of the same detector: already searched.
            if gate.end() <= searched_to[owner] {
                continue;
            }
            n_windows += 1;
            if n_windows > WINDOWS_PER_FILE_MAX {
                found.n_dropped += 1;
                break;
            }
            let start = gate.start().saturating_sub(WINDOW_BEFORE);
            let end = text.len().min(gate.end() + detector.window);
            // Half of the window is kept for a match that begins near its end.
            searched_to[owner] = gate.end() + detector.window / 2;
            let Some(expression) = self.expression(owner) else {
                continue;
            };
            let mut from = start;
            while let Some(captures) = expression.captures_at(&text[..end], from) {
                let (Some(whole), Some(secret)) =
                    (captures.get(0), captures.name("secret").or_else(|| captures.get(0)))
                else {
                    break;
                };
                from = whole.end().max(from + 1);
                if seen.insert((owner, secret.start()))
                    && let Some(verified) = verify(detector, secret.as_bytes())
                {
                    raw.push((secret.start(), secret.end(), owner, verified));
                }
                if from >= end {
                    break;
                }
            }
        }
        fold(raw, text, &mut found);
        found
    }

    fn expression(&self, owner: usize) -> Option<&Regex> {
        self.expressions
            .get(owner)?
            .get_or_init(|| compile(DETECTORS.get(owner)?.pattern).ok())
            .as_ref()
    }
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    // Bytes, not characters: a file in Latin-1 is searched like any other.
    regex::bytes::RegexBuilder::new(pattern).unicode(false).size_limit(REGEX_BYTES_MAX).build()
}

/// A secret whose structure was checked.
struct Verified {
    severity: Severity,
    note: &'static str,
}

fn verify(detector: &Detector, secret: &[u8]) -> Option<Verified> {
    if check::is_placeholder(secret) {
        return None;
    }
    match detector.check.judge(secret) {
        check::Judgement::Genuine => Some(Verified { severity: detector.severity, note: "" }),
        check::Judgement::Doubtful(note) => Some(Verified { severity: Severity::Low, note }),
        check::Judgement::Not => None,
    }
}

/// Keeps, of hits that overlap, the one whose detector stands first in the table: specific
/// detectors stand before general ones.
fn fold(mut raw: Vec<(usize, usize, usize, Verified)>, text: &[u8], found: &mut Hits) {
    raw.sort_by_key(|(start, end, owner, _)| (*owner, *start, *end));
    let mut kept: Vec<(usize, usize, usize, Verified)> = Vec::new();
    for hit in raw {
        if kept.iter().any(|other| hit.0 < other.1 && other.0 < hit.1) {
            continue;
        }
        if kept.len() >= HITS_PER_FILE_MAX {
            found.n_dropped += 1;
            continue;
        }
        kept.push(hit);
    }
    kept.sort_by_key(|(start, ..)| *start);
    let mut line = 1;
    let mut counted_to = 0;
    for (start, end, owner, verified) in kept {
        let skipped = &text[counted_to..start];
        line += skipped.split(|&b| b == b'\n').count() as u64 - 1;
        counted_to = start;
        let Some(detector) = DETECTORS.get(owner) else {
            continue;
        };
        found.hits.push(Hit {
            detector: detector.id,
            title: format!("{}{}", detector.title, verified.note),
            line,
            redacted: redact(&text[start..end]),
            severity: verified.severity,
        });
    }
}

/// The first four characters (fewer of a short secret), and how many follow. What is shown
/// is for the owner to recognise the value, and is mostly its public prefix.
pub fn redact(secret: &[u8]) -> String {
    let first_line = secret.split(|&b| b == b'\n').next().unwrap_or_default();
    if first_line.starts_with(b"-----BEGIN") {
        // The armour's label is no secret.
        return format!("{}…", String::from_utf8_lossy(first_line).trim_end());
    }
    let n_shown = (secret.len() / 5).min(4);
    let shown: String = secret[..n_shown]
        .iter()
        .map(|&b| if b.is_ascii_graphic() { char::from(b) } else { '?' })
        .collect();
    format!("{shown}…({} characters)", secret.len())
}

#[cfg(test)]
mod tests;

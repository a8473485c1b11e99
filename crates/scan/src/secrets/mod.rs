//! Secrets in text: keyword gate, one regular expression on a window, structure check.
//!
//! All detectors' keywords form one Aho-Corasick automaton; only where a keyword occurs is
//! that detector's expression run, and only on a window around it. (Expressions run together
//! as a set took minutes on input that this takes milliseconds for.) Detectors of files with a
//! certain name search the whole of such a file. What matches must then have the structure of
//! the secret: a checksum, a decodable payload, enough entropy.
//!
//! A secret's value never leaves this module: a [`Hit`] carries a redacted form and a
//! fingerprint, which is a keyed hash.
//! Values split over lines or encoded as a whole (base64 of a file) are not found.

mod check;
mod custom;
pub mod detectors;
mod fingerprint;
pub mod git;
pub mod reference;

use std::collections::HashSet;
use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use palisade_model::Severity;
use regex::bytes::Regex;

pub use check::Check;
pub use custom::{Allow, BuildSearcherError, CustomDetector, SearcherOptions};
pub use detectors::{DETECTORS, Detector};
pub use fingerprint::FingerprintKey;

use custom::Rule;

/// Files beyond this many bytes are not searched; the caller counts them.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Binary files beyond this many bytes are not searched.
pub const BINARY_BYTES_MAX: u64 = 32 << 20;
/// Bytes of a file that a detector without keywords sees.
const NAMED_BYTES_MAX: usize = 1 << 20;
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
    pub detector: String,
    /// What it is, for people.
    pub title: String,
    /// Line, from 1.
    pub line: u64,
    /// The secret with its middle hidden.
    pub redacted: String,
    /// How bad it is.
    pub severity: Severity,
    /// Sixteen hexadecimal digits that are the same wherever the value is.
    pub fingerprint: String,
    /// Further places in the text that hold the same value.
    pub n_more: u64,
}

/// What searching one text found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hits {
    /// Secrets, by line.
    pub hits: Vec<Hit>,
    /// Hits and windows beyond the bounds.
    pub n_dropped: u64,
    /// Secrets that the allow-list names.
    pub n_allowed: u64,
}

/// The compiled detectors. Build once, use for every file.
#[derive(Debug)]
pub struct Searcher {
    rules: Vec<Rule>,
    gate: AhoCorasick,
    /// Detector of each keyword of the gate.
    owners: Vec<usize>,
    /// The same for the detectors that look into binary files.
    binary_gate: AhoCorasick,
    binary_owners: Vec<usize>,
    /// Detectors of files with certain names.
    named: Vec<usize>,
    /// Compiled on first use: most images need a handful.
    expressions: Vec<OnceLock<Option<Regex>>>,
    allow: Vec<custom::CompiledAllow>,
    key: FingerprintKey,
    stamp: String,
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
    /// Compiles the gate of the built-in detectors.
    pub fn new() -> Result<Self, BuildSearcherError> {
        Self::with(&SearcherOptions::default())
    }

    /// Compiles the built-in detectors and the user's.
    pub fn with(options: &SearcherOptions) -> Result<Self, BuildSearcherError> {
        let rules = custom::rules(&options.detectors)?;
        let (gate, owners) = gate(&rules, |_| true)?;
        let (binary_gate, binary_owners) = gate_of_binaries(&rules)?;
        let named = (0..rules.len()).filter(|&i| rules[i].is_for_whole_files()).collect();
        let expressions = rules.iter().map(|_| OnceLock::new()).collect();
        let allow = custom::allow_list(&options.allow)?;
        let key = options.key.clone();
        Ok(Self {
            rules,
            gate,
            owners,
            binary_gate,
            binary_owners,
            named,
            expressions,
            allow,
            key,
            stamp: custom::stamp(options),
        })
    }

    /// What tells searchers apart that find different things. It says nothing of the key.
    pub(crate) fn stamp(&self) -> &str {
        &self.stamp
    }

    /// How many detectors there are.
    pub fn n_detectors(&self) -> usize {
        self.rules.len()
    }

    /// Searches a text that lies in no file.
    pub fn search(&self, text: &[u8]) -> Hits {
        self.search_file("", text)
    }

    /// Searches the text of the file at `path` (without leading slash).
    pub fn search_file(&self, path: &str, text: &[u8]) -> Hits {
        let mut found = Hits::default();
        let mut raw = self.gated(path, text, false, &mut found);
        for &owner in &self.named {
            let Some(rule) = self.rules.get(owner).filter(|rule| rule.is_for(path)) else {
                continue;
            };
            let Some(expression) = self.expression(owner) else { continue };
            let end = text.len().min(NAMED_BYTES_MAX);
            for captures in expression.captures_iter(&text[..end]).take(HITS_PER_FILE_MAX * 4) {
                if let Some(secret) = captures.name("secret").or_else(|| captures.get(0))
                    && let Some(verified) = verify(rule, secret.as_bytes())
                {
                    raw.push((secret.start(), secret.end(), owner, verified));
                }
            }
        }
        self.fold(raw, path, text, &mut found);
        found
    }

    /// Searches a binary file for the few secrets whose shape noise does not have.
    pub fn search_binary(&self, path: &str, bytes: &[u8]) -> Hits {
        let mut found = Hits::default();
        let raw = self.gated(path, bytes, true, &mut found);
        self.fold(raw, path, bytes, &mut found);
        for hit in &mut found.hits {
            // A binary file has no lines.
            hit.line = 1;
        }
        found
    }

    /// What the expressions find near the keywords.
    fn gated(&self, path: &str, text: &[u8], is_binary: bool, found: &mut Hits) -> Vec<Raw> {
        let mut raw: Vec<Raw> = Vec::new();
        let mut seen: HashSet<(usize, usize)> = HashSet::new();
        let mut searched_to = vec![0_usize; self.rules.len()];
        let mut n_windows = 0;
        let (gate, owners) = if is_binary {
            (&self.binary_gate, &self.binary_owners)
        } else {
            (&self.gate, &self.owners)
        };
        for gate in gate.find_overlapping_iter(text) {
            let Some(&owner) = owners.get(gate.pattern().as_usize()) else {
                continue;
            };
            let Some(rule) = self.rules.get(owner) else {
                continue;
            };
            // Inside the window of the last keyword of the same detector: already searched.
            if gate.end() <= searched_to[owner] || !rule.is_for(path) {
                continue;
            }
            n_windows += 1;
            if n_windows > WINDOWS_PER_FILE_MAX {
                found.n_dropped += 1;
                break;
            }
            let start = gate.start().saturating_sub(WINDOW_BEFORE);
            let end = text.len().min(gate.end() + rule.window);
            // Half of the window is kept for a match that begins near its end.
            searched_to[owner] = gate.end() + rule.window / 2;
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
                    && let Some(verified) = verify(rule, secret.as_bytes())
                {
                    raw.push((secret.start(), secret.end(), owner, verified));
                }
                if from >= end {
                    break;
                }
            }
        }
        raw
    }

    fn expression(&self, owner: usize) -> Option<&Regex> {
        self.expressions
            .get(owner)?
            .get_or_init(|| compile(&self.rules.get(owner)?.pattern).ok())
            .as_ref()
    }

    /// Keeps, of hits that overlap, the one whose detector stands first in the table: specific
    /// detectors stand before general ones. Equal values of one detector become one hit.
    fn fold(&self, mut raw: Vec<Raw>, path: &str, text: &[u8], found: &mut Hits) {
        raw.sort_by_key(|(start, end, owner, _)| (*owner, *start, *end));
        let mut kept: Vec<(Raw, u64)> = Vec::new();
        for hit in raw {
            if kept.iter().any(|(other, _)| hit.0 < other.1 && other.0 < hit.1) {
                continue;
            }
            let value = &text[hit.0..hit.1];
            let equal = kept
                .iter_mut()
                .find(|(other, _)| other.2 == hit.2 && text[other.0..other.1] == *value);
            if let Some((_, n_more)) = equal {
                *n_more += 1;
                continue;
            }
            if kept.len() >= HITS_PER_FILE_MAX {
                found.n_dropped += 1;
                continue;
            }
            kept.push((hit, 0));
        }
        kept.sort_by_key(|((start, ..), _)| *start);
        let mut line = 1;
        let mut counted_to = 0;
        for ((start, end, owner, verified), n_more) in kept {
            let skipped = &text[counted_to..start];
            line += skipped.split(|&b| b == b'\n').count() as u64 - 1;
            counted_to = start;
            let Some(rule) = self.rules.get(owner) else {
                continue;
            };
            let value = &text[start..end];
            if self.allow.iter().any(|allow| allow.covers(&rule.id, path, value)) {
                found.n_allowed += 1;
                continue;
            }
            let redacted = redact(value);
            found.hits.push(Hit {
                detector: rule.id.to_string(),
                title: format!("{}{}", rule.title, verified.note),
                line,
                fingerprint: self.key.fingerprint(&rule.id, path, value, &redacted),
                redacted,
                severity: verified.severity,
                n_more,
            });
        }
    }
}

/// (start, end, detector, what was verified)
type Raw = (usize, usize, usize, Verified);

/// The automaton of the keywords of the detectors that `wanted` chooses, and the detector of
/// each keyword.
fn gate(
    rules: &[Rule],
    wanted: impl Fn(&Rule) -> bool,
) -> Result<(AhoCorasick, Vec<usize>), BuildSearcherError> {
    let mut keywords = Vec::new();
    let mut owners = Vec::new();
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| wanted(rule)) {
        for keyword in rule.keywords() {
            keywords.push(keyword);
            owners.push(index);
        }
    }
    let gate = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        // Some thousand states: small, and twice as fast as the default automaton.
        .kind(Some(AhoCorasickKind::DFA))
        .build(keywords)
        .map_err(BuildSearcherError::Keywords)?;
    Ok((gate, owners))
}

fn gate_of_binaries(rules: &[Rule]) -> Result<(AhoCorasick, Vec<usize>), BuildSearcherError> {
    gate(rules, |rule| rule.in_binaries)
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

fn verify(rule: &Rule, secret: &[u8]) -> Option<Verified> {
    if check::is_placeholder(secret) {
        return None;
    }
    match rule.check.judge(secret) {
        check::Judgement::Genuine => Some(Verified { severity: rule.severity, note: "" }),
        check::Judgement::Less(at_most, note) => {
            Some(Verified { severity: rule.severity.min(at_most), note })
        }
        check::Judgement::Not => None,
    }
}

/// The first four characters (fewer of a short secret), and how many follow. What is shown
/// is for the owner to recognise the value, and is mostly its public prefix.
pub fn redact(secret: &[u8]) -> String {
    if let Some(rest) = secret.strip_prefix(b"-----BEGIN ") {
        // The armour's label is no secret; what follows it may stand on the same line.
        let is_label = |b: &&u8| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b' ';
        let label: Vec<u8> = rest.iter().take_while(is_label).take(48).copied().collect();
        return format!("-----BEGIN {}-----…", String::from_utf8_lossy(&label));
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

//! Delegated roles (TUF specification 1.0, 4.5 and 5.6.7): who signs which files in the place of
//! the role `targets`.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::Digest;
use serde::Deserialize;

use super::metadata::{KEYS_MAX, KeyDocument, Signers};

/// Most roles to which one role delegates.
pub(super) const ROLES_MAX: usize = 4096;
/// Longest name of a role and longest pattern of a path, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest name of a role as a name of a file, in bytes.
const FILE_NAME_BYTES_MAX: usize = 200;
/// Names that are the root's to give.
const TOP: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// To whom a role delegates.
#[derive(Deserialize, Debug)]
pub(super) struct Delegations {
    keys: BTreeMap<String, KeyDocument>,
    /// In the order in which they are asked.
    roles: Option<Vec<Delegated>>,
    /// Many alike, each for the names with certain hashes (TAP 15).
    succinct_roles: Option<Succinct>,
}

#[derive(Deserialize, Debug)]
struct Delegated {
    name: String,
    keyids: Vec<String>,
    threshold: u32,
    terminating: bool,
    paths: Option<Vec<String>>,
    path_hash_prefixes: Option<Vec<String>>,
}

#[derive(Deserialize, Debug)]
struct Succinct {
    keyids: Vec<String>,
    threshold: u32,
    bit_length: u32,
    name_prefix: String,
}

/// A role that may have a file, and who signs for it.
pub(super) struct Branch<'d> {
    pub(super) name: String,
    pub(super) signers: Signers<'d>,
    /// Whether nobody after it is asked.
    pub(super) is_terminating: bool,
}

impl Delegations {
    /// What no delegation may be.
    pub(super) fn problem(&self) -> Option<String> {
        if self.keys.len() > KEYS_MAX {
            return Some(format!("it delegates to more than {KEYS_MAX} keys"));
        }
        match (&self.roles, &self.succinct_roles) {
            (Some(roles), None) => roles_problem(roles),
            (None, Some(bins)) => bins.problem(),
            _ => Some("it delegates neither to roles nor to bins, or to both".into()),
        }
    }

    /// The roles that may have the file `path`, in their order, up to one that ends the search.
    pub(super) fn of<'d>(&'d self, path: &str) -> Vec<Branch<'d>> {
        let hash = Digest::of(path.as_bytes()).hex();
        let mut out = Vec::new();
        for role in self.roles.iter().flatten().filter(|role| role.is_about(path, &hash)) {
            out.push(Branch {
                name: role.name.clone(),
                signers: self.signers(&role.keyids, role.threshold),
                is_terminating: role.terminating,
            });
            if role.terminating {
                break;
            }
        }
        if let Some(bins) = &self.succinct_roles {
            out.push(Branch {
                name: bins.of(path),
                signers: self.signers(&bins.keyids, bins.threshold),
                is_terminating: true,
            });
        }
        out
    }

    fn signers<'d>(&'d self, keyids: &'d [String], threshold: u32) -> Signers<'d> {
        Signers { keys: &self.keys, keyids, threshold }
    }
}

fn roles_problem(roles: &[Delegated]) -> Option<String> {
    if roles.len() > ROLES_MAX {
        return Some(format!("it delegates to more than {ROLES_MAX} roles"));
    }
    let mut seen = BTreeSet::new();
    for role in roles {
        let shown: String = role.name.chars().filter(|c| !c.is_control()).take(60).collect();
        if let Some(problem) = name_problem(&role.name) {
            return Some(format!("role `{shown}`: {problem}"));
        }
        if !seen.insert(&role.name) {
            return Some(format!("role `{shown}` stands twice"));
        }
        if let Some(problem) = signers_problem(&role.keyids, role.threshold) {
            return Some(format!("role `{shown}`: {problem}"));
        }
        match (&role.paths, &role.path_hash_prefixes) {
            (Some(texts), None) | (None, Some(texts)) => {
                if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
                    return Some(format!("role `{shown}`: a path is longer than 1024 bytes"));
                }
            }
            _ => return Some(format!("role `{shown}` has neither paths nor hashes, or both")),
        }
    }
    None
}

fn name_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() || TOP.contains(&name) {
        return Some("its name is empty, or one that the root gives");
    }
    (file_name(name).len() > FILE_NAME_BYTES_MAX).then_some("its name is too long")
}

fn signers_problem(keyids: &[String], threshold: u32) -> Option<&'static str> {
    let distinct: BTreeSet<&String> = keyids.iter().collect();
    (threshold == 0 || distinct.len() != keyids.len() || keyids.len() > KEYS_MAX)
        .then_some("nobody, or somebody twice, must sign it")
}

impl Delegated {
    fn is_about(&self, path: &str, hash: &str) -> bool {
        self.paths.iter().flatten().any(|pattern| matches_path(pattern, path))
            || self.path_hash_prefixes.iter().flatten().any(|prefix| hash.starts_with(prefix))
    }
}

impl Succinct {
    fn problem(&self) -> Option<String> {
        if !(1..=32).contains(&self.bit_length) {
            return Some("its bins have not 1 to 32 bits".into());
        }
        let longest = format!("{}-ffffffff", self.name_prefix);
        name_problem(&longest)
            .or_else(|| signers_problem(&self.keyids, self.threshold))
            .map(|problem| format!("its bins: {problem}"))
    }

    /// The bin of a path: its number is the first bits of the path's SHA-256, written with as
    /// many hexadecimal digits as the last bin needs.
    fn of(&self, path: &str) -> String {
        let hash = *Digest::of(path.as_bytes()).as_bytes();
        let first = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
        let n_digits = self.bit_length.div_ceil(4) as usize;
        let number = first >> 32_u32.saturating_sub(self.bit_length).min(31);
        format!("{}-{number:0n_digits$x}", self.name_prefix)
    }
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap_or('0').to_ascii_uppercase()
}

/// The name of a role as that of a file: what is neither a letter of ASCII, a digit nor one of
/// `_.-~` is written as `%` and two digits (RFC 3986).
pub(super) fn file_name(role: &str) -> String {
    let mut out = String::new();
    for byte in role.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    out
}

/// Whether `path` is of `pattern`, part by part: `*` stands for any text, `?` for a character,
/// `[…]` for one of a set, and none of them for `/`.
fn matches_path(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if matches_part(pattern, part) => {}
            _ => return false,
        }
    }
}

fn matches_part(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and what it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => match set(pattern.get(p..).unwrap_or_default(), *c) {
                Some((is_in, n)) => is_in.then_some(n),
                // A bracket that nothing closes is that character.
                None => (*c == '[').then_some(1),
            },
            Some(other) => (other == c).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(n), _) => (p, t) = (p + n, t + 1),
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                (p, t) = (at + 1, taken + 1);
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// Whether `c` is in the set with which `pattern` begins, and the set's length; `None`: nothing
/// closes it.
fn set(pattern: &[char], c: char) -> Option<(bool, usize)> {
    let is_inverse = pattern.get(1) == Some(&'!');
    let first = if is_inverse { 2 } else { 1 };
    // A bracket that stands first is one of the set.
    let end = pattern.iter().skip(first + 1).position(|c| *c == ']')? + first + 1;
    let members = pattern.get(first..end)?;
    let mut is_in = false;
    let mut rest = members;
    while let Some((low, after)) = rest.split_first() {
        if let ['-', high, more @ ..] = after {
            is_in |= (*low..=*high).contains(&c);
            rest = more;
        } else {
            is_in |= *low == c;
            rest = after;
        }
    }
    Some((is_in != is_inverse, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_part_by_part() {
        let check = |pattern: &str, path: &str, expected: bool| {
            assert_eq!(matches_path(pattern, path), expected, "{pattern} {path}");
        };
        for (pattern, path, expected) in [
            ("a.json", "a.json", true),
            ("a.json", "A.json", false),
            ("*", "a.json", true),
            ("*", "a/b", false),
            ("*", "", true),
            ("*/*", "a/b", true),
            ("*/*", "a", false),
            ("a/*", "a/b/c", false),
            ("a/*/c", "a/b/c", true),
            ("foo-?.tgz", "foo-1.tgz", true),
            ("foo-?.tgz", "foo-10.tgz", false),
            ("f*o*o", "foxoo", true),
            ("f*o*o", "foxox", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
            ("[ab].json", "b.json", true),
            ("[ab].json", "c.json", false),
            ("[!ab].json", "c.json", true),
            ("[!ab].json", "a.json", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[]a]x", "]x", true),
            ("[a-]x", "-x", true),
            ("[a", "[a", true),
            ("[a", "a", false),
            ("?", "ö", true),
            ("/a", "a", false),
            ("a", "a/", false),
        ] {
            check(pattern, path, expected);
        }
    }

    #[test]
    fn bins_are_named_by_the_first_bits() {
        let check = |bit_length: u32, expected: &str| {
            let bins = Succinct {
                keyids: vec!["k".into()],
                threshold: 1,
                bit_length,
                name_prefix: "bin".into(),
            };
            assert!(bins.problem().is_none());
            assert_eq!(bins.of("a"), expected);
        };
        // SHA-256 of `a` begins with ca978112.
        check(1, "bin-1");
        check(4, "bin-c");
        check(5, "bin-19");
        check(8, "bin-ca");
        check(10, "bin-32a");
        check(32, "bin-ca978112");
    }

    #[test]
    fn names_of_roles_are_names_of_files() {
        let check = |role: &str, expected: &str| assert_eq!(file_name(role), expected);
        check("registry.npmjs.org", "registry.npmjs.org");
        check("../a", "..%2Fa");
        check("a b\u{f6}%", "a%20b%C3%B6%25");
        check("~-_", "~-_");
        for name in ["", "root", "targets", &"a".repeat(201), &"/".repeat(67)] {
            assert!(name_problem(name).is_some(), "{name}");
        }
    }
}

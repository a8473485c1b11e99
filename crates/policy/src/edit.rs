//! Changes to the rules of `images.trust` in the text of a policy: lines are added, and nothing
//! else is touched, comments included.
//!
//! A change is proved before it is given back: the new text, read as a policy, is the old
//! policy with the change and with nothing else. Text that is written in a way that lines
//! cannot be added to (`{…}`, `[…]`) is refused and said.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Explain};

use crate::document::Policy;
use crate::load::{LoadPolicyError, LoadedPolicy, parse};
use crate::trust::TrustRule;
use crate::yaml::{self, Node, Place, Value};

/// Why a policy is not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The policy cannot be used as it is.
    #[error(transparent)]
    Invalid(LoadPolicyError),
    /// The policy could not be used with the change.
    #[error("with the change, the policy could not be used")]
    Refused(#[source] LoadPolicyError),
    /// Lines cannot be added there.
    #[error("line {line}: {what}")]
    Shape {
        /// The line, from 1.
        line: usize,
        /// How it is written.
        what: &'static str,
    },
    /// There is no such rule.
    #[error("the policy has no rule `{name}` in `images.trust`")]
    NoSuchRule {
        /// Its name.
        name: String,
    },
    /// The rule has an end already.
    #[error("rule `{name}` ends on {until} already")]
    Ends {
        /// Its name.
        name: String,
        /// Its last day.
        until: String,
    },
    /// It is not clear which key is meant.
    #[error("rule `{name}` has {n} keys, and none of them is named")]
    WhichKey {
        /// Its name.
        name: String,
        /// How many keys.
        n: usize,
    },
    /// The rule does not have the key.
    #[error("rule `{name}` does not have the key `{}`", key.display())]
    NoSuchKey {
        /// Its name.
        name: String,
        /// The key.
        key: PathBuf,
    },
    /// The change would change something else as well.
    #[error("the change cannot be made without changing something else")]
    Unproven,
}

impl Explain for EditError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Invalid(error) | Self::Refused(error) => error.hint(),
            Self::Shape { .. } | Self::Unproven => Some(
                "write `images.trust` as a list with one `- name: …` a rule, each key on a line \
                 of its own; or make the change by hand"
                    .into(),
            ),
            Self::NoSuchRule { .. } => Some("`palisade trust list` shows the rules".into()),
            Self::Ends { .. } => Some("its key was exchanged before; name its successor".into()),
            Self::WhichKey { .. } | Self::NoSuchKey { .. } => {
                Some("name the key that is replaced: --old FILE".into())
            }
        }
    }
}

/// How a key is replaced.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The rule's name.
    pub rule: String,
    /// The key that is replaced, as the policy has it (resolved); the only one by default.
    pub old: Option<PathBuf>,
    /// The new key, as it is to be written.
    pub new: String,
    /// Name of the rule with the new key.
    pub name: String,
    /// The new rule's first day.
    pub from: String,
    /// The old rule's last day.
    pub until: String,
}

/// A policy's text, its tree and its lines.
struct Text<'t> {
    lines: Vec<&'t str>,
    root: Option<Node>,
    loaded: LoadedPolicy,
    file: &'t str,
    folder: &'t Path,
}

/// The text with one more rule at the end of `images.trust`. Keys of `rule` are written as they
/// are.
///
/// # Errors
///
/// See [`EditError`].
pub fn add(text: &str, file: &str, folder: &Path, rule: &TrustRule) -> Result<String, EditError> {
    let text = Text::new(text, file, folder)?;
    let mut expected = text.loaded.policy.clone();
    expected.images.trust.push(resolved(rule, folder));
    let (at, lines) = text.place_of_new(rule)?;
    text.with(&[(at, lines)], expected)
}

/// The text with an end for one rule, and with another one after it that has the new key.
///
/// # Errors
///
/// See [`EditError`].
pub fn rotate(
    text: &str,
    file: &str,
    folder: &Path,
    rotation: &Rotation,
) -> Result<String, EditError> {
    let text = Text::new(text, file, folder)?;
    let rules = &text.loaded.policy.images.trust;
    let name = rotation.rule.clone();
    let at = rules.iter().position(|rule| rule.name == name);
    let Some((at, rule)) = at.and_then(|at| Some((at, rules.get(at)?))) else {
        return Err(EditError::NoSuchRule { name });
    };
    if !rule.until.is_empty() {
        return Err(EditError::Ends { name, until: rule.until.clone() });
    }
    let old = match (&rotation.old, rule.keys.as_slice()) {
        (Some(old), keys) if keys.contains(old) => old.clone(),
        (Some(old), _) => return Err(EditError::NoSuchKey { name, key: old.clone() }),
        (None, [only]) => only.clone(),
        (None, keys) => return Err(EditError::WhichKey { name, n: keys.len() }),
    };
    // Keys that stay are written as they were: as they are resolved, less the folder.
    let written = |key: &PathBuf| {
        if *key == old {
            return PathBuf::from(&rotation.new);
        }
        let relative = key.strip_prefix(folder).ok().filter(|_| !folder.as_os_str().is_empty());
        relative.unwrap_or(key).to_path_buf()
    };
    let new = TrustRule {
        name: rotation.name.clone(),
        keys: rule.keys.iter().map(written).collect(),
        from: rotation.from.clone(),
        until: String::new(),
        ..rule.clone()
    };
    let mut expected = text.loaded.policy.clone();
    if let Some(rule) = expected.images.trust.get_mut(at) {
        rule.until.clone_from(&rotation.until);
    }
    expected.images.trust.insert(at + 1, resolved(&new, folder));
    let (line, dash, indent) = text.end_of_rule(at)?;
    let until = format!("{}until: {}\n", " ".repeat(indent), quoted(&rotation.until));
    text.with(&[(line, until + &written_rule(&new, dash))], expected)
}

/// The rule as the policy has it once its files are resolved.
fn resolved(rule: &TrustRule, folder: &Path) -> TrustRule {
    let keys = rule.keys.iter().map(|key| folder.join(key)).collect();
    // An empty path names no file.
    let file = |path: &Path| {
        if path.as_os_str().is_empty() { PathBuf::new() } else { folder.join(path) }
    };
    let (openpubkey, notary) = (file(&rule.openpubkey), file(&rule.notary));
    TrustRule { keys, openpubkey, notary, ..rule.clone() }
}

/// Text in quotes: what JSON writes YAML reads.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn list(texts: impl Iterator<Item = String>) -> String {
    format!("[{}]", texts.map(|text| quoted(&text)).collect::<Vec<_>>().join(", "))
}

/// A rule as an item of a list whose `-` stands behind `dash` spaces.
fn written_rule(rule: &TrustRule, dash: usize) -> String {
    let mut lines = vec![format!("name: {}", rule.name)];
    if !rule.images.is_empty() {
        lines.push(format!("images: {}", list(rule.images.iter().cloned())));
    }
    if !rule.keys.is_empty() {
        let keys = rule.keys.iter().map(|key| key.to_string_lossy().into_owned());
        lines.push(format!("keys: {}", list(keys)));
    }
    if !rule.subject.is_empty() {
        lines.push(format!("subject: {}", quoted(&rule.subject)));
        lines.push(format!("issuer: {}", quoted(&rule.issuer)));
    }
    for (key, file) in [("openpubkey", &rule.openpubkey), ("notary", &rule.notary)] {
        if !file.as_os_str().is_empty() {
            lines.push(format!("{key}: {}", quoted(&file.to_string_lossy())));
        }
    }
    if rule.signers_min > 1 {
        lines.push(format!("signers_min: {}", rule.signers_min));
    }
    for (key, day) in [("from", &rule.from), ("until", &rule.until)] {
        if !day.is_empty() {
            lines.push(format!("{key}: {}", quoted(day)));
        }
    }
    let indent = " ".repeat(dash);
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        let mark = if i == 0 { "- " } else { "  " };
        let _ = writeln!(out, "{indent}{mark}{line}");
    }
    out
}

fn entry<'n>(node: &'n Node, name: &str) -> Option<(&'n Place, &'n Node)> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(key, value)| (&key.place, value))
}

impl<'t> Text<'t> {
    fn new(text: &'t str, file: &'t str, folder: &'t Path) -> Result<Self, EditError> {
        let loaded = parse(text, file, folder).map_err(EditError::Invalid)?;
        let (root, _) = palisade_base::yaml::parse(text, yaml::POLICY);
        Ok(Self { lines: text.split_inclusive('\n').collect(), root, loaded, file, folder })
    }

    /// The character at a place.
    fn character(&self, place: Place) -> Option<char> {
        self.lines.get(place.line - 1)?.chars().nth(place.column - 1)
    }

    /// Behind how many spaces the `-` of an item stands that begins at `place`, on the same line.
    fn dash_before(&self, place: Place) -> Option<usize> {
        let line = self.lines.get(place.line - 1)?;
        let before: String = line.chars().take(place.column - 1).collect();
        (before.trim() == "-").then(|| before.len() - before.trim_start_matches(' ').len())
    }

    /// The line before which more of a block can be added that begins on `line` (from 1) behind
    /// `indent` spaces: after its last line that is neither empty nor a comment. A list may
    /// stand as deep as its key.
    fn end_of_block(&self, line: usize, indent: usize, is_list: bool) -> usize {
        let mut end = line;
        for (i, text) in self.lines.iter().enumerate().skip(line) {
            let trimmed = text.trim_start_matches(' ');
            let content = trimmed.trim_end();
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            let depth = text.len() - trimmed.len();
            let is_item =
                is_list && depth == indent && (content == "-" || content.starts_with("- "));
            if depth <= indent && !is_item {
                break;
            }
            end = i + 1;
        }
        end
    }

    /// Where a new rule goes, after how many lines, and what is written there.
    fn place_of_new(&self, rule: &TrustRule) -> Result<(usize, String), EditError> {
        let shape = |line: usize, what: &'static str| EditError::Shape { line, what };
        let Some((key, images)) = self.root.as_ref().and_then(|root| entry(root, "images")) else {
            let text = format!("images:\n  trust:\n{}", written_rule(rule, 4));
            return Ok((self.lines.len(), text));
        };
        let depth = key.column - 1;
        let Some((trust_key, trust)) = entry(images, "trust") else {
            let first = match &images.value {
                Value::Map(entries) if self.character(images.place) != Some('{') => {
                    entries.first().map(|(key, _)| key.place.column - 1)
                }
                Value::Scalar { text, .. } if text.is_empty() => None,
                _ => return Err(shape(images.place.line, "`images` is written in braces")),
            };
            let indent = first.unwrap_or(depth + 2);
            let at = self.end_of_block(key.line, depth, false);
            let text = format!("{}trust:\n{}", " ".repeat(indent), written_rule(rule, indent + 2));
            return Ok((at, text));
        };
        let depth = trust_key.column - 1;
        let dash = match &trust.value {
            Value::List(items) => items.first().and_then(|item| self.dash_before(item.place)),
            Value::Scalar { text, .. } if text.is_empty() => Some(depth + 2),
            _ => None,
        };
        let Some(dash) = dash else {
            return Err(shape(trust.place.line, "`images.trust` is written in brackets"));
        };
        let at = self.end_of_block(trust_key.line, depth, true);
        Ok((at, written_rule(rule, dash)))
    }

    /// The end of a rule, after how many lines, and the columns of its `-` and of its keys.
    fn end_of_rule(&self, at: usize) -> Result<(usize, usize, usize), EditError> {
        let images = self.root.as_ref().and_then(|root| entry(root, "images"));
        let trust = images.and_then(|(_, images)| entry(images, "trust"));
        let item = match trust.map(|(_, list)| &list.value) {
            Some(Value::List(items)) => items.get(at),
            _ => None,
        };
        let Some(item) = item else { return Err(EditError::Unproven) };
        let dash = self.dash_before(item.place);
        let key = match &item.value {
            Value::Map(entries) if self.character(item.place) != Some('{') => {
                entries.first().map(|(key, _)| key.place)
            }
            _ => None,
        };
        let (Some(key), Some(dash)) = (key, dash) else {
            return Err(EditError::Shape {
                line: item.place.line,
                what: "the rule is written in braces",
            });
        };
        Ok((self.end_of_block(key.line, dash, false), dash, key.column - 1))
    }

    /// The text with more after some of its lines, proved to be `expected`.
    fn with(&self, more: &[(usize, String)], mut expected: Policy) -> Result<String, EditError> {
        let mut out = String::new();
        for i in 0..=self.lines.len() {
            for (_, text) in more.iter().filter(|(at, _)| *at == i) {
                if !out.is_empty() && !out.ends_with('\n') {
                    out.push('\n');
                }
                out.push_str(text);
            }
            out.push_str(self.lines.get(i).copied().unwrap_or_default());
        }
        let found = parse(&out, self.file, self.folder).map_err(EditError::Refused)?;
        expected.digest = Digest::of(out.as_bytes());
        if found.policy == expected { Ok(out) } else { Err(EditError::Unproven) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> TrustRule {
        TrustRule {
            name: name.into(),
            keys: vec!["new.pub".into()],
            signers_min: 1,
            ..TrustRule::default()
        }
    }

    const HEAD: &str = "version: 1 # one\nname: p\n";

    #[test]
    fn a_rule_is_added_wherever_rules_are_written() {
        let check = |before: &str, expected: Result<&str, &str>| {
            let before = format!("{HEAD}{before}");
            let found = add(&before, "p.yaml", Path::new("/etc"), &rule("new"));
            match (found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, format!("{HEAD}{expected}")),
                (Err(error), Err(what)) => {
                    let shown = format!("{error} {:?}", std::error::Error::source(&error));
                    assert!(shown.contains(what), "{shown}");
                }
                (found, _) => panic!("{before}: {found:?}"),
            }
        };
        let new = "- name: new\n      keys: [\"new.pub\"]\n";
        check("", Ok(&format!("images:\n  trust:\n    {new}")));
        // Without an end of line, with a comment at the end of a section.
        check(
            "images:\n  verify: required",
            Ok(&format!("images:\n  verify: required\n  trust:\n    {new}")),
        );
        check(
            "images:\n  verify: required # yes\n\n# what comes next\nengines:\n  mode: report\n",
            Ok(&format!(
                "images:\n  verify: required # yes\n  trust:\n    {new}\n# what comes next\nengines:\n  mode: report\n"
            )),
        );
        let old = "images:\n  trust:\n    # the first\n    - name: old\n      keys:\n        - a.pub # ann\n        - b.pub\n";
        check(&format!("{old}  verify: warn\n"), Ok(&format!("{old}    {new}  verify: warn\n")));
        // As deep as their key, and with another depth.
        let old = "images:\n    trust:\n    - name: old\n      keys: [a.pub]\n";
        check(old, Ok(&format!("{old}    {new}")));
        let old = "images:\n  trust: []\n";
        check(old, Err("brackets"));
        check("images: {verify: required}\n", Err("braces"));
        check("images:\n  trust: [{name: old, keys: [a.pub]}]\n", Err("brackets"));
        // Rules in braces are no hindrance, their list's way of writing counts.
        let old = "images:\n  trust:\n    - {name: old, keys: [a.pub]}\n";
        check(old, Ok(&format!("{old}    {new}")));
        check(
            "images:\n  trust:\n    - name: new\n      keys: [a.pub]\n",
            Err("another rule has this name"),
        );
        check("images:\n  verify: perhaps\n", Err("cannot be used"));
    }

    #[test]
    fn everything_that_a_rule_says_is_written() {
        let rule = TrustRule {
            name: "all".into(),
            images: vec!["r.example/\"x\"/*".into(), "y".into()],
            keys: vec!["a b.pub".into(), "c.pub".into()],
            subject: "https://git.example/*".into(),
            issuer: "https://token".into(),
            openpubkey: "providers.json".into(),
            notary: "trust policy.json".into(),
            signers_min: 2,
            from: "2027-01-01".into(),
            until: "2027-12-31".into(),
        };
        let text = add(HEAD, "p.yaml", Path::new("/etc"), &rule).unwrap();
        let read = parse(&text, "p", Path::new("/etc")).unwrap().policy.images.trust;
        assert_eq!(read, [resolved(&rule, Path::new("/etc"))]);
    }

    #[test]
    fn a_key_is_exchanged_over_some_days() {
        let rotation = Rotation {
            rule: "release".into(),
            old: None,
            new: "2027.pub".into(),
            name: "release-2027".into(),
            from: "2027-01-01".into(),
            until: "2027-01-31".into(),
        };
        let check = |before: &str, rotation: &Rotation, expected: Result<&str, &str>| {
            let before = format!("{HEAD}images:\n  trust:\n{before}");
            let found = rotate(&before, "p.yaml", Path::new("/etc"), rotation);
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found, format!("{HEAD}images:\n  trust:\n{expected}"));
                }
                (Err(error), Err(what)) => assert!(error.to_string().contains(what), "{error}"),
                (found, _) => panic!("{before}: {found:?}"),
            }
        };
        let rest = "    - name: other\n      keys: [x.pub]\n";
        let before = format!(
            "    - name: release\n      images: [\"r/*\"] # all\n      keys: [2026.pub]\n\n{rest}"
        );
        let after = format!(
            "    - name: release\n      images: [\"r/*\"] # all\n      keys: [2026.pub]\n      \
             until: \"2027-01-31\"\n    - name: release-2027\n      images: [\"r/*\"]\n      \
             keys: [\"2027.pub\"]\n      from: \"2027-01-01\"\n\n{rest}"
        );
        check(&before, &rotation, Ok(&after));
        let two = "    - name: release\n      keys: [a.pub, b.pub]\n      signers_min: 2\n";
        check(two, &rotation, Err("has 2 keys"));
        let named = |key: &str| Rotation { old: Some(key.into()), ..rotation.clone() };
        check(two, &named("/etc/c.pub"), Err("does not have the key"));
        let after = format!(
            "{two}      until: \"2027-01-31\"\n    - name: release-2027\n      \
             keys: [\"a.pub\", \"2027.pub\"]\n      signers_min: 2\n      from: \"2027-01-01\"\n"
        );
        check(two, &named("/etc/b.pub"), Ok(&after));
        check("    - {name: release, keys: [a.pub]}\n", &rotation, Err("braces"));
        check("    - name: other\n      keys: [a.pub]\n", &rotation, Err("no rule `release`"));
        let ended = "    - name: release\n      keys: [a.pub]\n      until: \"2026-01-01\"\n";
        check(ended, &rotation, Err("ends on 2026-01-01 already"));
    }
}

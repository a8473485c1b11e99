//! Looking into the tree of a YAML or JSON document.
//!
//! JSON is read by the YAML reader, whose flow style contains it, so that there is one tree
//! with one kind of place. Two things of JSON that YAML has not are rewritten first: tabs as
//! white space, and characters written as pairs of surrogates.
//!
//! Looking never fails: a value of an unexpected type is as good as none. What a wrong type
//! means to Kubernetes or Docker is theirs to say.

use std::borrow::Cow;
use std::fmt::Write as _;

use palisade_base::yaml::{self, Dialect, Key, Node, Place, Problem, ProblemKind, Value};

/// A file beyond this many bytes is not read.
pub const FILE_BYTES_MAX: usize = 8 << 20;

/// Custom resource definitions in the output of Helm are the largest honest documents.
const DIALECT: Dialect =
    Dialect { name: "a manifest", document: "manifest", depth_max: 96, n_nodes_max: 400_000 };

/// The documents of `text`, with merge keys (`<<`) resolved, and what is wrong with it.
pub fn parse(text: &str) -> (Vec<Node>, Vec<Problem>) {
    if text.len() > FILE_BYTES_MAX {
        let problem = Problem {
            kind: ProblemKind::TooLarge,
            place: Place::START,
            message: format!("larger than {FILE_BYTES_MAX} bytes"),
            help: Some("split the file".to_string()),
        };
        return (Vec::new(), vec![problem]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_json = text.trim_start().starts_with(['{', '[']);
    let text = if is_json { plain_json(text) } else { Cow::Borrowed(text) };
    let (documents, problems) = yaml::parse_stream(&text, DIALECT);
    (documents.into_iter().map(merged).collect(), problems)
}

/// JSON that YAML understands.
fn plain_json(text: &str) -> Cow<'_, str> {
    // Between tokens a tab is white space; within strings JSON allows none.
    let text =
        if text.contains('\t') { Cow::Owned(text.replace('\t', " ")) } else { Cow::Borrowed(text) };
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return text;
    }
    Cow::Owned(join_surrogates(&text))
}

/// `\uD83D\uDE00` becomes `\U0001F600`; half a pair becomes the replacement character.
fn join_surrogates(text: &str) -> String {
    let unit = |at: &str| u16::from_str_radix(at.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let Some(high) = unit(rest).filter(|unit| (0xd800..0xe000).contains(unit)) else {
            // An escape that stays, its second character included: `\\u` is no escape of `u`.
            let end = rest.char_indices().nth(2).map_or(rest.len(), |(i, _)| i);
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        };
        rest = &rest[6..];
        let low = unit(rest);
        let pair = char::decode_utf16([Some(high), low].into_iter().flatten()).next();
        if let Some(Ok(c)) = pair {
            let _ = write!(out, "\\U{:08X}", u32::from(c));
            rest = &rest[6..];
        } else {
            out.push_str("\\uFFFD");
        }
    }
    out.push_str(rest);
    out
}

/// `node` with the mappings of its merge keys put where they belong: keys that are written
/// win, earlier mappings win over later ones (YAML 1.1, merge key). The recursion is as deep
/// as the dialect allows; nothing is copied.
fn merged(node: Node) -> Node {
    let value = match node.value {
        Value::Scalar { .. } => node.value,
        Value::List(items) => Value::List(items.into_iter().map(merged).collect()),
        Value::Map(entries) => {
            let (merges, mut kept): (Vec<_>, Vec<_>) =
                entries.into_iter().partition(|(key, _)| key.text == "<<");
            let mut from = Vec::new();
            for (_, value) in merges {
                match value.value {
                    Value::List(items) => from.extend(items),
                    _ => from.push(value),
                }
            }
            if !from.is_empty() {
                let mut known: std::collections::HashSet<String> =
                    kept.iter().map(|(key, _)| key.text.clone()).collect();
                for mapping in from {
                    let Value::Map(entries) = merged(mapping).value else { continue };
                    kept.extend(
                        entries.into_iter().filter(|(key, _)| known.insert(key.text.clone())),
                    );
                }
            }
            Value::Map(kept.into_iter().map(|(key, value)| (key, merged(value))).collect())
        }
    };
    Node { place: node.place, value }
}

/// Questions to a node, or to one that may be missing. Answers are empty where the node is
/// not of that type.
pub trait Look<'n>: Copy {
    /// The node itself.
    fn node(self) -> Option<&'n Node>;

    /// The value of a key.
    fn get(self, key: &str) -> Option<&'n Node> {
        let entry = self.entries().iter().find(|(known, _)| known.text == key);
        entry.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The value at a path of keys: `spec.template.spec`.
    fn at(self, path: &str) -> Option<&'n Node> {
        path.split('.').try_fold(self.node()?, Look::get)
    }

    /// Keys and values.
    fn entries(self) -> &'n [(Key, Node)] {
        match self.node().map(|node| &node.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// Items.
    fn items(self) -> &'n [Node] {
        match self.node().map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The characters of a scalar that is not nothing.
    fn text(self) -> Option<&'n str> {
        match self.node().filter(|node| !node.is_null()).map(|node| &node.value) {
            Some(Value::Scalar { text, .. }) => Some(text),
            _ => None,
        }
    }

    /// The truth value, as Go's YAML readers see it.
    fn truth(self) -> Option<bool> {
        match self.text()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Some(true),
            "false" | "no" | "off" | "n" => Some(false),
            _ => None,
        }
    }

    /// A whole number.
    fn number(self) -> Option<i64> {
        self.text()?.trim().parse().ok()
    }

    /// The text of a key.
    fn text_of(self, key: &str) -> Option<&'n str> {
        self.get(key).text()
    }
}

impl<'n> Look<'n> for &'n Node {
    fn node(self) -> Option<&'n Node> {
        Some(self)
    }
}

impl<'n> Look<'n> for Option<&'n Node> {
    fn node(self) -> Option<&'n Node> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_with_places() {
        let (documents, problems) =
            parse("{\n\t\"a\": {\"b\": [\"x\\/\\ud83d\\ude00\\ud800\", 1]},\n\t\"c\": true\n}\n");
        assert!(problems.is_empty(), "{problems:?}");
        let b = documents[0].at("a.b").items();
        assert_eq!(b[0].text(), Some("x/\u{1f600}\u{fffd}"));
        assert_eq!(b[1].number(), Some(1));
        let c = documents[0].get("c").unwrap();
        assert_eq!((c.truth(), c.place), (Some(true), Place { line: 3, column: 7 }));
        assert_eq!(join_surrogates(r"\\ud83d"), r"\\ud83d");
    }

    #[test]
    fn merge_keys_lose_to_written_ones() {
        let text =
            "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 0}\nw:\n  <<: *x\n";
        let (documents, problems) = parse(text);
        assert!(problems.is_empty());
        let z = documents[0].get("z").unwrap();
        let read = |key| z.get(key).and_then(Look::number);
        assert_eq!(
            [read("a"), read("b"), read("c"), read("<<")],
            [Some(0), Some(2), Some(4), None]
        );
        assert_eq!(documents[0].at("w.b").number(), Some(2));
    }

    #[test]
    fn bombs_are_bounded() {
        let mut laughs = String::from("a0: &a0 [l, o, l]\n");
        for i in 1..12 {
            let line = format!("*a{}, ", i - 1).repeat(9);
            let _ = writeln!(laughs, "a{i}: &a{i} [{line}]");
        }
        assert_eq!(parse(&laughs).1.len(), 1);
        assert_eq!(parse(&"[".repeat(100_000)).1.len(), 1);
        assert_eq!(parse(&"x".repeat(FILE_BYTES_MAX + 1)).1.len(), 1);
    }
}

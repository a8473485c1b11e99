//! `repomd.xml`: which indices a repository has, and their checksums.

use std::collections::BTreeMap;

use palisade_base::Timestamp;
use palisade_packages::xml::{self, EVENT_BYTES_MAX, Node};

use super::sum::Sum;
use crate::PatchError;

/// A `repomd.xml` beyond this many bytes is refused (the largest known: 20 KiB).
pub(crate) const REPOMD_BYTES_MAX: u64 = 4 << 20;
/// Indices of one repository.
const INDICES_MAX: usize = 1_000;

/// One index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RpmIndex {
    pub(crate) sum: Option<Sum>,
    /// Its path below the repository.
    pub location: String,
    /// Its bytes.
    pub size: u64,
    /// Its bytes once it is decompressed.
    pub open_size: Option<u64>,
}

/// What a repository has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repomd {
    /// When the newest index was made.
    pub date: Option<Timestamp>,
    /// The indices by their types: `primary`, `updateinfo`, `modules`.
    pub indices: BTreeMap<String, RpmIndex>,
}

/// Reads a `repomd.xml`. `name` is what errors call it.
pub fn read_repomd(bytes: &[u8], name: &str) -> Result<Repomd, PatchError> {
    let (mut repomd, mut is_repomd) = (Repomd::default(), false);
    let (mut kind, mut index, mut algorithm) = (None, RpmIndex::default(), String::new());
    let mut text = String::new();
    let bad = |why: String| PatchError::document(name, why);
    xml::each(bytes, |error| bad(error.to_string()), &mut |node| {
        match node {
            Node::Open(element, attributes) => {
                text.clear();
                match element {
                    "repomd" => is_repomd = true,
                    "data" => {
                        kind = Some(attributes.get("type").to_string());
                        index = RpmIndex::default();
                    }
                    "checksum" => algorithm = attributes.get("type").to_string(),
                    "location" => index.location = attributes.get("href").to_string(),
                    _ => {}
                }
            }
            Node::Text(more) if text.len() < EVENT_BYTES_MAX => text.push_str(more),
            Node::Text(_) => {}
            Node::Close(element) => match element {
                "checksum" => index.sum = Sum::new(&algorithm, &text),
                "size" => index.size = text.trim().parse().unwrap_or(0),
                "open-size" => index.open_size = text.trim().parse().ok(),
                "timestamp" => {
                    // Some have fractions.
                    let whole = text.trim().split('.').next().unwrap_or_default();
                    let nanos = whole.parse().ok().and_then(|n: u64| n.checked_mul(1_000_000_000));
                    let date = nanos.map(Timestamp::from_nanos);
                    repomd.date = repomd.date.max(date);
                }
                "data" => {
                    if repomd.indices.len() >= INDICES_MAX {
                        return Err(bad(format!("it has more than {INDICES_MAX} indices")));
                    }
                    if let Some(kind) = kind.take() {
                        repomd.indices.entry(kind).or_insert_with(|| std::mem::take(&mut index));
                    }
                }
                _ => {}
            },
        }
        Ok(())
    })?;
    if !is_repomd || !repomd.indices.contains_key("primary") {
        return Err(bad("it lists no index of packages".into()));
    }
    Ok(repomd)
}

/// Whether a path stays below the folder that it is in.
pub(crate) fn is_below(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains("://")
        && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_read() {
        let data = |kind: &str, sum: &str| {
            format!(
                "<data type='{kind}'><checksum type='sha256'>{sum}</checksum>\
                 <open-checksum type='sha256'>{sum}</open-checksum><location href='repodata/p.xml.gz'/>\
                 <timestamp>1700000000.5</timestamp><size>12</size><open-size>99</open-size></data>"
            )
        };
        let sum = "a".repeat(64);
        let whole =
            |inner: &str| format!("<repomd xmlns='x'><revision>1</revision>{inner}</repomd>");
        let text = whole(&(data("primary", &sum) + &data("modules", "zz")));
        let found = read_repomd(text.as_bytes(), "r").unwrap();
        let primary = &found.indices["primary"];
        assert_eq!((primary.size, primary.open_size), (12, Some(99)));
        assert_eq!(primary.sum.as_ref().unwrap().hex, sum);
        assert_eq!(found.indices["modules"].sum, None);
        assert_eq!(found.date.unwrap().rfc3339(), "2023-11-14T22:13:20.000000000Z");
        let check = |text: &str, expected: &str| {
            let error = read_repomd(text.as_bytes(), "r").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("", "the document ends too early");
        check("<a/>", "it lists no index of packages");
        check(&whole(&data("other", &sum)), "it lists no index of packages");
        check(&text[..text.len() - 9], "the document ends too early");
        let many: String = (0..=INDICES_MAX).map(|n| data(&n.to_string(), &sum)).collect();
        check(&whole(&many), "more than 1000 indices");
        for (path, expected) in
            [("a/b", true), ("", false), ("/a", false), ("a/../b", false), ("x://y", false)]
        {
            assert_eq!(is_below(path), expected, "{path}");
        }
    }
}

//! Parts of the forms in which lock files are read: bounded and lenient where tools differ.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Entries of one list or mapping of a lock file. The largest known has some thousands.
pub(super) const ENTRIES_MAX: usize = 250_000;

/// Text; anything else is as if it were absent.
pub(super) fn text<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Lenient {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Option::<Lenient>::deserialize(input)? {
        Some(Lenient::Text(text)) if !text.is_empty() => Some(text),
        _ => None,
    })
}

/// A mapping as pairs in order; duplicates stay.
pub(super) fn pairs<'de, D, T>(input: D) -> Result<Vec<(String, T)>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Pairs<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
        type Value = Vec<(String, T)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(entry) = map.next_entry()? {
                if out.len() >= ENTRIES_MAX {
                    return Err(A::Error::custom(format_args!("more than {ENTRIES_MAX} entries")));
                }
                out.push(entry);
            }
            Ok(out)
        }

        // PHP writes an empty mapping as an empty list.
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            match seq.next_element::<IgnoredAny>()? {
                None => Ok(Vec::new()),
                Some(_) => Err(A::Error::custom("a list where a mapping belongs")),
            }
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
    }

    input.deserialize_any(Pairs(PhantomData))
}

/// A list of at most [`ENTRIES_MAX`] items; `null` is an empty one.
pub(super) fn list<'de, D, T>(input: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct List<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut out = Vec::new();
            while let Some(item) = seq.next_element()? {
                if out.len() >= ENTRIES_MAX {
                    return Err(A::Error::custom(format_args!("more than {ENTRIES_MAX} entries")));
                }
                out.push(item);
            }
            Ok(out)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }
    }

    input.deserialize_any(List(PhantomData))
}

/// Licences in the forms that JSON manifests have: text, a list of texts, an object with a
/// `type` or `name`, a list of those.
pub(super) fn licences(value: &serde_json::Value) -> Vec<String> {
    use serde_json::Value;
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        other => {
            ["type", "name"].iter().find_map(|key| Some(other.get(key)?.as_str()?.to_string()))
        }
    };
    match value {
        Value::Array(items) => items.iter().filter_map(one).collect(),
        other => one(other).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    struct Form {
        #[serde(default, deserialize_with = "text")]
        text: Option<String>,
        #[serde(default, deserialize_with = "pairs")]
        pairs: Vec<(String, u32)>,
        #[serde(default, deserialize_with = "list")]
        list: Vec<u32>,
    }

    #[test]
    fn lenient_and_bounded() {
        let read = |text: &str| serde_json::from_str::<Form>(text);
        let form = read(r#"{"text":"a","pairs":{"x":1,"x":2},"list":[3]}"#).unwrap();
        assert_eq!(form.text.as_deref(), Some("a"));
        assert_eq!(form.pairs, [("x".to_string(), 1), ("x".to_string(), 2)]);
        assert_eq!(form.list, [3]);
        let form = read(r#"{"text":5,"pairs":[],"list":null}"#).unwrap();
        assert_eq!((form.text, form.pairs.len(), form.list.len()), (None, 0, 0));
        assert!(read(r#"{"pairs":[1]}"#).is_err());
        let many = vec!["1"; ENTRIES_MAX + 1].join(",");
        assert!(read(&format!(r#"{{"list":[{many}]}}"#)).unwrap_err().to_string().contains("more"));
        let many = vec!["\"a\":1"; ENTRIES_MAX + 1].join(",");
        assert!(read(&format!(r#"{{"pairs":{{{many}}}}}"#)).is_err());
    }
}

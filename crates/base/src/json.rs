//! JSON in which no object has a key twice.
//!
//! Of two keys of one name `serde_json` keeps the last, Go takes the last or makes one object of
//! both, and crun's reader may take the first: what is judged or signed would not be what a
//! runtime, an engine or another verifier reads (RFC 8259, section 4, leaves it open). Keys that
//! differ in case are another question, which the readers of documents and of calls answer.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A value without a key that is there twice, in the order in which it was written.
///
/// Read by serde_json, which bounds the nesting at 128; whoever reads bounds the bytes.
///
/// # Errors
/// At the second of two equal keys, at any depth: data of the wrong form, which names the key.
#[derive(Debug)]
pub struct Unique(pub Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number.map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = from.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Unique(value))) = from.next_entry::<String, Unique>()? {
            if map.contains_key(&key) {
                let key: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format!("key `{key}` stands twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_key_twice_is_read_as_always() {
        for text in [
            r#"{"z":1,"a":[{"b":-2,"c":1.5},{"b":null}],"y":{"z":true,"a":"\u00e9\n"}}"#,
            "18446744073709551615",
            "-9223372036854775808",
            "1e300",
            "[]",
            "\"x\"",
        ] {
            let Unique(value) = serde_json::from_str(text).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
            assert_eq!(value.to_string(), serde_json::from_str::<Value>(text).unwrap().to_string());
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_at_any_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"\u0061":3}"#,
            r#"[{"x":{"a":{},"a":{}}}]"#,
            r#"{"a":null,"a":null}"#,
        ] {
            let error = serde_json::from_str::<Unique>(text).unwrap_err();
            assert!(error.to_string().contains("`a` stands twice"), "{text}: {error}");
            assert!(error.is_data());
        }
    }

    #[test]
    fn it_goes_as_deep_as_serde_json_does_by_itself() {
        let read = |depth: usize| {
            let text = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            serde_json::from_str::<Unique>(&text)
        };
        assert!(read(127).is_ok());
        assert!(read(129).is_err());
        assert!(read(100_000).is_err());
    }
}

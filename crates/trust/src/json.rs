//! Strict JSON: what two readers could read differently is refused.
//!
//! A key that stands twice lets one verifier see the signed value and another program
//! the other one, so a duplicate is an error at any depth.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Text that is not the strict JSON document that was expected.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// More bytes than the caller allows.
    #[error("document of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The bound in bytes.
        limit: u64,
    },
    /// No JSON, a duplicate key, nested too deep, a missing or unknown or mistyped field.
    #[error("not the expected JSON: {0}")]
    Malformed(String),
}

/// Reads a document of at most `limit` bytes. Duplicate keys are errors; so are unknown
/// fields where `T` denies them. Nesting is bounded by serde_json, at 128.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, JsonError> {
    let size = bytes.len() as u64;
    if size > limit {
        return Err(JsonError::TooLarge { size, limit });
    }
    let malformed = |error: serde_json::Error| JsonError::Malformed(brief(&error.to_string()));
    let Strict(value) = serde_json::from_slice(bytes).map_err(malformed)?;
    serde_json::from_value(value).map_err(malformed)
}

/// Messages of serde quote the input; an absurdly long quote is cut.
fn brief(message: &str) -> String {
    const CHARS_MAX: usize = 200;
    message.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

struct Strict(Value);

impl<'de> serde::Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
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

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_string()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if out.contains_key(&key) {
                return Err(serde::de::Error::custom(format_args!("key `{key}` stands twice")));
            }
            let Strict(value) = entries.next_value()?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let check = |text: &str, ok: bool| {
            assert_eq!(parse::<Value>(text.as_bytes(), 1000).is_ok(), ok, "{text}");
        };
        check(r#"{"a":1,"b":{"a":2}}"#, true);
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":1}"#, false);
        check(r#"[{"x":{"a":1,"a":2}}]"#, false);
        check(r#"{"a":1} {}"#, false);
        check(r#"{"a":1e999}"#, false);
        check("", false);
        check(&"[".repeat(200), false);
        check(&format!("{}1{}", "[".repeat(127), "]".repeat(127)), true);
        check(&format!("{}1{}", "[".repeat(129), "]".repeat(129)), false);
    }

    #[test]
    fn size_is_bounded() {
        assert!(parse::<Value>(b"[1,2]", 5).is_ok());
        assert!(matches!(parse::<Value>(b"[1,23]", 5), Err(JsonError::TooLarge { .. })));
    }
}

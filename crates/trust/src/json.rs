//! Strict JSON: what two readers could read differently is refused.
//!
//! A key that stands twice lets one verifier see the signed value and another program
//! the other one, so a duplicate is an error at any depth.

use palisade_base::json::Unique;
use serde::de::DeserializeOwned;

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
    let Unique(value) = serde_json::from_slice(bytes).map_err(malformed)?;
    serde_json::from_value(value).map_err(malformed)
}

/// Messages of serde quote the input; an absurdly long quote is cut.
fn brief(message: &str) -> String {
    const CHARS_MAX: usize = 200;
    message.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

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

//! Canonical JSON (OLPC), which signatures of TUF are made over: sorted keys, no spaces,
//! whole numbers, and in texts an escape before `"` and `\` alone.

use serde_json::Value;

/// Writes `value` as it is signed.
///
/// # Errors
///
/// A number that is not whole: it has no canonical form.
pub(super) fn canonical(value: &Value) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    write(value, &mut out)?;
    Ok(out)
}

// serde_json bounds how deep a document is.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), &'static str> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(on) => out.extend_from_slice(if *on { b"true" } else { b"false" }),
        Value::Number(number) if number.is_f64() => return Err("a number is not whole"),
        Value::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write(item, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            // Bytes of UTF-8 sort as code points do.
            keys.sort();
            out.push(b'{');
            for (i, key) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(&map[key], out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_has_one_form() {
        let check = |text: &str, expected: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(String::from_utf8(canonical(&value).unwrap()).unwrap(), expected);
        };
        check(
            r#"{ "b": [1, -2, true, null], "a": {"ä":"\u00e4", "Z": ""} }"#,
            r#"{"a":{"Z":"","ä":"ä"},"b":[1,-2,true,null]}"#,
        );
        // Line ends stay as they are: PEM keys have them.
        check(r#"["a\nb\"c\\d"]"#, "[\"a\nb\\\"c\\\\d\"]");
        let value: Value = serde_json::from_str("[1.5]").unwrap();
        assert!(canonical(&value).is_err());
    }
}

//! Requests from a description: right ones, then at each place what is at the edge of the
//! schema, beyond it, or of another type.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Api, Content, Operation, Position, resolve};
use crate::fuzz::{Case, Class, Expectation};

/// Schemas within each other that are filled.
const DEPTH_MAX: usize = 8;
/// Properties of one object that are filled.
const PROPERTIES_MAX: usize = 64;
/// Values that are tried at one place.
const VALUES_MAX: usize = 24;
/// Values of one example.
const NODES_MAX: usize = 1_000;
/// Wrong contents of one operation.
const CONTENTS_MAX: usize = 400;
/// Bytes of all requests that are made of one description.
const BYTES_MAX: usize = 64 << 20;
/// Characters of a long text.
const LONG: usize = 20_000;

/// A value at one place, and what it is.
struct Try {
    name: String,
    value: Value,
    /// Whether the schema forbids it.
    is_invalid: bool,
}

fn attempt(name: impl Into<String>, value: Value, is_invalid: bool) -> Try {
    Try { name: name.into(), value, is_invalid }
}

/// At most `n_max` calls of `api`: of each operation first the right one, then the wrong ones, so
/// that a bound cuts off no operation whole.
pub fn cases(api: &Api, n_max: usize) -> Vec<Case> {
    // More of each than its share, because some have few; what is made and not sent is bounded.
    let share = (4 * n_max / api.operations.len().max(1)).max(8);
    let mut n_bytes = 0;
    let mut all: Vec<Vec<Case>> = Vec::new();
    for operation in &api.operations {
        let mut list = of(api, operation);
        list.truncate(share);
        n_bytes += list.iter().map(|case| case.bytes.len()).sum::<usize>();
        if n_bytes > BYTES_MAX {
            list.truncate(1);
        }
        all.push(list);
    }
    let mut out = Vec::new();
    let mut round = 0;
    while out.len() < n_max {
        let before = out.len();
        for list in &mut all {
            if let Some(case) = list.get_mut(round)
                && out.len() < n_max
            {
                out.push(std::mem::replace(case, Case::new(Class::Api, "", Vec::new())));
            }
        }
        if out.len() == before {
            break;
        }
        round += 1;
    }
    out
}

fn of(api: &Api, operation: &Operation) -> Vec<Case> {
    let root = &api.root;
    let right: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| example(root, &parameter.schema, DEPTH_MAX))
        .collect();
    let body = operation.content.as_ref().map(|content| example(root, &content.schema, DEPTH_MAX));
    let content = operation.content.as_ref();
    let encoded = |body: &Value| content.map(|content| (content, encode(content, body)));
    let mut cases = vec![case(
        operation,
        "as described",
        &right,
        encoded(body.as_ref().unwrap_or(&Value::Null)),
        false,
    )];
    for (index, parameter) in operation.parameters.iter().enumerate() {
        for Try { name, value, is_invalid } in tries(root, &parameter.schema) {
            let mut values = right.clone();
            // All that is not in a body is text: a number where text belongs is none.
            let is_text = type_of(resolve(root, &parameter.schema)) == "string";
            let fits = !is_text || value.is_string();
            let is_invalid = is_invalid && fits && is_told(parameter.position, &value);
            if let Some(slot) = values.get_mut(index) {
                *slot = value;
            }
            let name = format!("parameter `{}`: {name}", parameter.name);
            cases.push(case(
                operation,
                &name,
                &values,
                encoded(body.as_ref().unwrap_or(&Value::Null)),
                is_invalid,
            ));
        }
    }
    if let (Some(content), Some(body)) = (content, &body) {
        let is_json = content.media_type.contains("json");
        let mut send = |name: &str, bytes: Vec<u8>, is_invalid: bool| {
            cases.push(case(operation, name, &right, Some((content, bytes)), is_invalid));
        };
        if is_json {
            send("content: cut off", b"{\"a\": [".to_vec(), true);
            send("content: deep", [vec![b'['; 5000], vec![b']'; 5000]].concat(), false);
        }
        send("content: empty", Vec::new(), content.is_required && is_json);
        for Try { name, value, is_invalid } in body_tries(root, &content.schema, body) {
            send(&format!("content: {name}"), encode(content, &value), is_invalid && is_json);
        }
    }
    cases
}

/// Whether a value can be told at this position: an empty segment of a path is another path.
fn is_told(position: Position, value: &Value) -> bool {
    !(position == Position::Path && (value == &json!("") || value.is_null()))
        && !value.is_array()
        && !value.is_object()
}

/// The type of a schema; `object` or `array` where only their keys say so.
fn type_of(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(text)) => text,
        // OpenAPI 3.1: a list of types, of which the first that is not `null` counts.
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or("")
        }
        _ if schema.get("properties").is_some() => "object",
        _ if schema.get("items").is_some() => "array",
        _ => "",
    }
}

/// A value that `schema` allows, as far as this reads it.
fn example(root: &Value, schema: &Value, depth: usize) -> Value {
    fill(root, schema, depth, &mut NODES_MAX.clone())
}

/// As [`example`], with at most `left` values: a schema may contain itself more than once.
fn fill(root: &Value, schema: &Value, depth: usize, left: &mut usize) -> Value {
    let schema = resolve(root, schema);
    for key in ["example", "default", "const"] {
        if let Some(value) = schema.get(key) {
            return value.clone();
        }
    }
    if let Some(value) = schema.pointer("/enum/0") {
        return value.clone();
    }
    if depth == 0 || *left == 0 {
        return Value::Null;
    }
    *left -= 1;
    if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
        let mut merged = Map::new();
        for part in all.iter().take(DEPTH_MAX) {
            if let Value::Object(map) = fill(root, part, depth - 1, left) {
                merged.extend(map);
            }
        }
        return Value::Object(merged);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(first) = schema.get(key).and_then(|list| list.get(0)) {
            return fill(root, first, depth - 1, left);
        }
    }
    let integer = |key: &str| schema.get(key).and_then(Value::as_i64);
    match type_of(schema) {
        "integer" => json!(integer("minimum").or_else(|| integer("maximum")).unwrap_or(1)),
        "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1.5)),
        "boolean" => json!(true),
        "array" => {
            let n = integer("minItems").unwrap_or(1).clamp(0, 4) as usize;
            let item =
                schema.get("items").map_or(Value::Null, |items| fill(root, items, depth - 1, left));
            Value::Array(vec![item; n])
        }
        "object" => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let filled = properties.into_iter().flatten().take(PROPERTIES_MAX);
            Value::Object(
                filled
                    .map(|(name, inner)| (name.clone(), fill(root, inner, depth - 1, left)))
                    .collect(),
            )
        }
        _ => json!(text(schema)),
    }
}

/// A text of the format and length that a schema wants.
fn text(schema: &Value) -> String {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let known = match format {
        "date" => "2026-01-02",
        "date-time" => "2026-01-02T03:04:05Z",
        "email" => "probe@example.org",
        "uuid" => "123e4567-e89b-42d3-a456-426614174000",
        "uri" | "url" => "https://example.org/",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "byte" => "cHJvYmU=",
        _ => "probe",
    };
    let length =
        |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let mut out = known.to_string();
    if let Some(min) = length("minLength") {
        while out.len() < min.min(LONG) {
            out.push('a');
        }
    }
    if let Some(max) = length("maxLength") {
        out.truncate(max);
    }
    out
}

/// What is at the edge of a schema or beyond it.
fn tries(root: &Value, schema: &Value) -> Vec<Try> {
    let schema = resolve(root, schema);
    let kind = type_of(schema);
    let nullable = schema.get("nullable") == Some(&json!(true))
        || schema
            .get("type")
            .and_then(Value::as_array)
            .is_some_and(|list| list.contains(&json!("null")));
    let typed = !kind.is_empty();
    let mut all = Vec::new();
    match kind {
        "integer" | "number" => numbers(schema, kind, &mut all),
        "boolean" => all.push(attempt("a word instead of a truth value", json!("maybe"), true)),
        "array" => {
            let max = schema.get("maxItems").and_then(Value::as_u64);
            let item = schema.get("items").map_or(Value::Null, |items| example(root, items, 2));
            all.push(attempt(
                "an empty list",
                json!([]),
                schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) > 0,
            ));
            all.push(attempt(
                "a list of 1,000",
                Value::Array(vec![item; 1000]),
                max.is_some_and(|max| max < 1000),
            ));
            all.push(attempt("a number instead of a list", json!(1), true));
        }
        "object" => all.push(attempt("a text instead of an object", json!("x"), true)),
        _ => texts(schema, typed, &mut all),
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        let other = json!("palisade-none-of-them");
        all.push(attempt("none of the values", other.clone(), !list.contains(&other)));
    }
    all.push(attempt("nothing", Value::Null, typed && !nullable));
    all.truncate(VALUES_MAX);
    all
}

fn numbers(schema: &Value, kind: &str, all: &mut Vec<Try>) {
    let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
    let (min, max) = (bound("minimum"), bound("maximum"));
    if let Some(min) = min {
        all.push(attempt("the least", json!(min), false));
        all.push(attempt("less than the least", json!(min.saturating_sub(1)), min > i64::MIN));
    }
    if let Some(max) = max {
        all.push(attempt("the most", json!(max), false));
        all.push(attempt("more than the most", json!(max.saturating_add(1)), max < i64::MAX));
    }
    let outside = |n: i64| min.is_some_and(|min| n < min) || max.is_some_and(|max| n > max);
    for n in [0, -1, i64::from(i32::MAX) + 1, i64::MAX, i64::MIN] {
        all.push(attempt(format!("{n}"), json!(n), outside(n)));
    }
    all.push(attempt("a number beyond 64 bits", json!(1e30), max.is_some()));
    all.push(attempt("a fraction", json!(1.5), kind == "integer"));
    all.push(attempt("a text instead of a number", json!("palisade"), true));
}

fn texts(schema: &Value, typed: bool, all: &mut Vec<Try>) {
    let length =
        |key: &str| schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    let (min, max) = (length("minLength").unwrap_or(0), length("maxLength"));
    all.push(attempt("an empty text", json!(""), min > 0));
    if let Some(max) = max.filter(|max| *max < LONG) {
        all.push(attempt("a text that is one too long", json!("a".repeat(max + 1)), true));
    }
    if (1..LONG).contains(&min) {
        all.push(attempt("a text that is one too short", json!("a".repeat(min - 1)), true));
    }
    all.push(attempt(
        "a text of 20,000",
        json!("a".repeat(LONG)),
        max.is_some_and(|max| max < LONG),
    ));
    for (name, text) in [
        ("quotes", "' OR '1'='1' --"),
        ("a zero byte", "a\0b"),
        ("format characters", "%n%n%s%s{{7*7}}${7*7}"),
        ("dots", "../../../../etc/passwd"),
        ("characters beyond 16 bits", "\u{1f980}\u{202e}\u{0}"),
    ] {
        all.push(attempt(name, json!(text), max.is_some_and(|max| text.chars().count() > max)));
    }
    all.push(attempt("a number instead of a text", json!(7), typed));
    all.push(attempt("a list instead of a text", json!(["x"]), typed));
}

/// Wrong contents: the whole of another type, a property missing, one too many, each property
/// with what is at its edge.
fn body_tries(root: &Value, schema: &Value, right: &Value) -> Vec<Try> {
    let schema = resolve(root, schema);
    let mut all = tries(root, schema);
    let Value::Object(right) = right else { return all };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let without = |name: &str| {
        let kept = right.iter().filter(|(known, _)| *known != name);
        Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    for name in required.iter().filter(|name| right.contains_key(**name)).take(PROPERTIES_MAX) {
        all.push(attempt(format!("without `{name}`"), without(name), true));
    }
    let with = |name: &str, value: Value| {
        let mut map = right.clone();
        map.insert(name.to_string(), value);
        Value::Object(map)
    };
    let is_closed = schema.get("additionalProperties") == Some(&json!(false));
    all.push(attempt("a property more", with("palisade_probe", json!(1)), is_closed));
    all.push(attempt("`__proto__`", with("__proto__", json!({"admin": true})), is_closed));
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, inner) in properties.into_iter().flatten().take(PROPERTIES_MAX) {
        if all.len() >= CONTENTS_MAX {
            break;
        }
        for one in tries(root, inner) {
            // Nothing may mean that an optional property is left out.
            let is_invalid =
                one.is_invalid && (!one.value.is_null() || required.contains(&name.as_str()));
            all.push(attempt(format!("`{name}`: {}", one.name), with(name, one.value), is_invalid));
        }
    }
    all
}

fn encode(content: &Content, body: &Value) -> Vec<u8> {
    if !content.media_type.contains("urlencoded") {
        return match body {
            Value::String(text) if !content.media_type.contains("json") => {
                text.clone().into_bytes()
            }
            other => other.to_string().into_bytes(),
        };
    }
    let pairs = body.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        pairs.map(|(name, value)| format!("{}={}", escape(name), escape(&plain(value)))).collect();
    pairs.join("&").into_bytes()
}

/// A value as it stands in a path, query or header.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(plain).collect::<Vec<String>>().join(","),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Percent-encoding of all but unreserved characters (RFC 3986 section 2.3).
fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn case(
    operation: &Operation,
    name: &str,
    values: &[Value],
    content: Option<(&Content, Vec<u8>)>,
    is_invalid: bool,
) -> Case {
    let mut path = operation.path.clone();
    let mut query = Vec::new();
    let mut headers: Vec<(String, String)> = Vec::new();
    for (parameter, value) in operation.parameters.iter().zip(values) {
        let text = plain(value);
        match parameter.position {
            Position::Path => {
                path = path.replace(&format!("{{{}}}", parameter.name), &escape(&text));
            }
            Position::Query => query.push(format!("{}={}", escape(&parameter.name), escape(&text))),
            Position::Header => headers.push((parameter.name.clone(), text)),
            Position::Cookie => {
                headers.push(("Cookie".into(), format!("{}={}", parameter.name, escape(&text))));
            }
        }
    }
    if !query.is_empty() {
        path = format!("{path}?{}", query.join("&"));
    }
    let mut body = Vec::new();
    if let Some((content, bytes)) = content {
        headers.push(("Content-Type".into(), content.media_type.clone()));
        body = bytes;
    }
    // What a description says must not end a header early.
    let clean = |text: &str| text.replace(['\r', '\n', '\0'], " ");
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (clean(name), clean(value))).collect();
    let borrowed: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let path: String = path.chars().filter(|c| !c.is_control() && *c != ' ').collect();
    let label = format!("{} {}", operation.method, operation.path);
    let mut case = Case::new(
        Class::Api,
        name,
        crate::http::request(&operation.method, &path, &borrowed, &body),
    );
    case.expectation =
        Expectation::Api { operation: label, is_invalid, statuses: operation.statuses.clone() };
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(schema: &str) -> Api {
        Api::parse(&format!(
            r#"{{"openapi": "3.1.0", "paths": {{
                "/a/{{id}}": {{"get": {{"parameters": [{{"name": "id", "in": "path", "schema": {{"type": "integer", "maximum": 9}}}}], "responses": {{"200": {{}}}}}}}},
                "/b": {{"post": {{"requestBody": {{"required": true, "content": {{"application/json": {{"schema": {schema}}}}}}}, "responses": {{}}}}}}}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn requests_are_right_first_and_then_wrong_in_each_place() {
        let api = api(
            r#"{"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "maxLength": 3}}}"#,
        );
        let all = cases(&api, 1000);
        assert!(all[0].bytes.starts_with(b"GET /a/9 HTTP/1.1\r\n"));
        assert!(
            all[1].bytes.ends_with(b"\r\n\r\n{\"name\":\"pro\"}"),
            "{:?}",
            String::from_utf8_lossy(&all[1].bytes)
        );
        let invalid = |name: &str| {
            let case =
                all.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("{name}"));
            matches!(case.expectation, Expectation::Api { is_invalid: true, .. })
        };
        assert!(!invalid("as described"));
        assert!(invalid("parameter `id`: more than the most"));
        assert!(!invalid("parameter `id`: the most"));
        assert!(!invalid("parameter `id`: nothing"), "an empty segment is another path");
        assert!(invalid("content: without `name`"));
        assert!(invalid("content: `name`: a text that is one too long"));
        assert!(invalid("content: `name`: a number instead of a text"));
        assert!(!invalid("content: a property more"));
        assert_eq!(cases(&api, 1000), all, "the same every time");
        assert_eq!(cases(&api, 3).len(), 3);
    }

    #[test]
    fn a_schema_within_itself_ends() {
        let api = Api::parse(
            r##"{"swagger": "2.0", "paths": {"/t": {"post": {"parameters": [{"name": "b", "in": "body", "schema": {"$ref": "#/definitions/T"}}]}}},
                "definitions": {"T": {"type": "object", "properties": {"a": {"$ref": "#/definitions/T"}, "b": {"$ref": "#/definitions/T"}}}}}"##,
        )
        .unwrap();
        assert!(!cases(&api, 10).is_empty());
    }
}

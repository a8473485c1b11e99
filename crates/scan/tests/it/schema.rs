//! Just enough of JSON Schema (drafts 4 to 2020-12) to hold documents against published
//! schemas. That it agrees with the CycloneDX project's own valid and invalid samples is a test.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use regex::Regex;
use serde_json::Value;

/// A schema with the other documents that it refers to, by their `$id`.
pub(crate) struct Schema {
    root: Value,
    others: HashMap<String, Value>,
}

type Evaluated = BTreeSet<String>;

impl Schema {
    /// Reads `file` of `folder`; every other schema there can be referred to.
    pub(crate) fn open(folder: &Path, file: &str) -> Self {
        let read = |path: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let root = read(&folder.join(file));
        let mut others = HashMap::new();
        for name in ["cryptography-defs.schema.json", "jsf-0.82.schema.json", "spdx.schema.json"] {
            others.insert(name.to_string(), read(&folder.join(name)));
        }
        Self { root, others }
    }

    /// A schema that refers to no other.
    pub(crate) fn of(root: Value) -> Self {
        Self { root, others: HashMap::new() }
    }

    /// What is wrong with `value`; the first few problems.
    pub(crate) fn problems(&self, value: &Value) -> Vec<String> {
        match self.check(&self.root, &self.root, value, "") {
            Ok(_) => Vec::new(),
            Err(mut problems) => {
                problems.truncate(10);
                problems
            }
        }
    }

    fn resolve<'s>(&'s self, document: &'s Value, reference: &str) -> (&'s Value, &'s Value) {
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let id = self.root.get("$id").and_then(Value::as_str).unwrap_or_default();
        let document = if name.is_empty() {
            document
        } else if name == id {
            &self.root
        } else {
            let name = name.rsplit('/').next().unwrap();
            self.others.get(name).unwrap_or_else(|| panic!("no schema `{name}`"))
        };
        let target = document.pointer(pointer);
        (document, target.unwrap_or_else(|| panic!("nothing at `{reference}`")))
    }

    /// The properties that were looked at, or what is wrong.
    fn check(
        &self,
        document: &Value,
        schema: &Value,
        value: &Value,
        at: &str,
    ) -> Result<Evaluated, Vec<String>> {
        let map = match schema {
            Value::Bool(true) => return Ok(Evaluated::new()),
            Value::Bool(false) => return Err(vec![format!("{at}: nothing is allowed here")]),
            Value::Object(map) => map,
            _ => panic!("no schema: {schema}"),
        };
        let mut problems = Vec::new();
        let mut seen = Evaluated::new();
        let mut add = |result: Result<Evaluated, Vec<String>>, seen: &mut Evaluated| match result {
            Ok(more) => seen.extend(more),
            Err(more) => problems.extend(more),
        };
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            let (document, target) = self.resolve(document, reference);
            add(self.check(document, target, value, at), &mut seen);
        }
        for part in list(map.get("allOf")) {
            add(self.check(document, part, value, at), &mut seen);
        }
        for (word, exact) in [("oneOf", true), ("anyOf", false)] {
            if !map.contains_key(word) {
                continue;
            }
            let results: Vec<_> =
                list(map.get(word)).map(|part| self.check(document, part, value, at)).collect();
            let n = results.iter().filter(|result| result.is_ok()).count();
            if n == 0 || (exact && n > 1) {
                let why: Vec<String> = results
                    .into_iter()
                    .filter_map(Result::err)
                    .min_by_key(Vec::len)
                    .unwrap_or_default();
                add(Err(vec![format!("{at}: {n} of {word} fit: {why:?}")]), &mut seen);
            } else {
                results.into_iter().flatten().for_each(|more| seen.extend(more));
            }
        }
        if let Some(not) = map.get("not")
            && self.check(document, not, value, at).is_ok()
        {
            add(Err(vec![format!("{at}: must not fit")]), &mut seen);
        }
        if let Some(condition) = map.get("if") {
            let holds = self.check(document, condition, value, at);
            let branch = if holds.is_ok() { "then" } else { "else" };
            if let Ok(more) = holds {
                seen.extend(more);
            }
            if let Some(branch) = map.get(branch) {
                add(self.check(document, branch, value, at), &mut seen);
            }
        }
        if let Some(problem) = simple(map, value) {
            add(Err(vec![format!("{at}: {problem}")]), &mut seen);
        }
        if let Value::Object(object) = value {
            for (name, inner) in object {
                let inner_at = format!("{at}/{name}");
                let mut is_known = false;
                if let Some(schema) = map.get("properties").and_then(|p| p.get(name)) {
                    is_known = true;
                    let result = self.check(document, schema, inner, &inner_at);
                    add(result.map(|_| Evaluated::new()), &mut seen);
                }
                for (pattern, schema) in map
                    .get("patternProperties")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                    .filter(|(pattern, _)| matches(pattern, name))
                {
                    is_known = true;
                    let result = self.check(document, schema, inner, &inner_at);
                    add(result.map(|_| Evaluated::new()), &mut seen);
                    let _ = pattern;
                }
                if !is_known && let Some(schema) = map.get("additionalProperties") {
                    is_known = true;
                    let result = self.check(document, schema, inner, &inner_at);
                    add(result.map(|_| Evaluated::new()), &mut seen);
                }
                if is_known {
                    seen.insert(name.clone());
                }
            }
            if let Some(schema) = map.get("unevaluatedProperties") {
                let rest: Vec<&String> = object.keys().filter(|k| !seen.contains(*k)).collect();
                for name in rest {
                    let result =
                        self.check(document, schema, &object[name], &format!("{at}/{name}"));
                    add(result.map(|_| Evaluated::new()), &mut seen);
                }
            }
        }
        if let (Value::Array(items), Some(schema)) = (value, map.get("items")) {
            for (index, item) in items.iter().enumerate() {
                let schema = match schema {
                    Value::Array(schemas) => match schemas.get(index) {
                        Some(schema) => schema,
                        None => map.get("additionalItems").unwrap_or(&Value::Bool(true)),
                    },
                    schema => schema,
                };
                let result = self.check(document, schema, item, &format!("{at}/{index}"));
                add(result.map(|_| Evaluated::new()), &mut seen);
            }
        }
        if problems.is_empty() { Ok(seen) } else { Err(problems) }
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn matches(pattern: &str, text: &str) -> bool {
    // The one look-ahead in use: no blank node.
    if let Some(rest) = pattern.strip_prefix("^(?!_:)") {
        return !text.starts_with("_:") && matches(&format!("^{rest}"), text);
    }
    Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text)
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("no type `{other}`"),
    }
}

fn simple(map: &serde_json::Map<String, Value>, value: &Value) -> Option<String> {
    let kinds: Vec<&str> = match map.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(kind, value)) {
        return Some(format!("is no {}", kinds.join(" or ")));
    }
    if map.get("const").is_some_and(|expected| expected != value) {
        return Some(format!("{value} is not {}", map["const"]));
    }
    if map.contains_key("enum") && !list(map.get("enum")).any(|one| one == value) {
        return Some(format!("{value} is not among the values"));
    }
    let number = |word: &str| map.get(word).and_then(Value::as_f64);
    match value {
        Value::String(text) => {
            let n = text.chars().count() as f64;
            if number("minLength").is_some_and(|min| n < min)
                || number("maxLength").is_some_and(|max| n > max)
            {
                return Some(format!("`{text}` has {n} characters"));
            }
            if let Some(pattern) = map.get("pattern").and_then(Value::as_str)
                && !matches(pattern, text)
            {
                return Some(format!("`{text}` does not match {pattern}"));
            }
            let is_time = map.get("format").and_then(Value::as_str) == Some("date-time");
            let is_uri = map.get("format").and_then(Value::as_str) == Some("uri");
            if is_uri && !matches("^[A-Za-z][A-Za-z0-9+.-]*:", text) {
                return Some(format!("`{text}` is no URI"));
            }
            if is_time && text.parse::<palisade_base::Timestamp>().is_err() {
                return Some(format!("`{text}` is no time"));
            }
            None
        }
        Value::Number(found) => {
            let found = found.as_f64().unwrap();
            let bad = number("minimum").is_some_and(|min| found < min)
                || number("maximum").is_some_and(|max| found > max);
            bad.then(|| format!("{found} is out of bounds"))
        }
        Value::Array(items) => {
            let n = items.len() as f64;
            if number("minItems").is_some_and(|min| n < min)
                || number("maxItems").is_some_and(|max| n > max)
            {
                return Some(format!("{n} items"));
            }
            let unique = map.get("uniqueItems") == Some(&Value::Bool(true));
            let texts: BTreeSet<String> = items.iter().map(ToString::to_string).collect();
            (unique && texts.len() < items.len()).then(|| "an item stands twice".into())
        }
        Value::Object(object) => list(map.get("required"))
            .filter_map(Value::as_str)
            .find(|name| !object.contains_key(*name))
            .map(|name| format!("`{name}` is missing")),
        _ => None,
    }
}

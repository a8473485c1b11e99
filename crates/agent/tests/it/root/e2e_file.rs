//! Declarative live tests: files of cases, expanded from matrices, as values.

use std::path::Path;

use palisade_base::yaml::{Dialect, Node, Value as Yaml, parse};
use serde_json::{Map, Value, json};

const DIALECT: Dialect =
    Dialect { name: "a test file", document: "test file", depth_max: 32, n_nodes_max: 100_000 };

/// One case: a test with its variables filled in.
pub(crate) struct Case {
    /// `file/test[2]: rule {variables}`
    pub(crate) name: String,
    pub(crate) rule: String,
    pub(crate) test: Value,
}

/// Every case of every file of `folder`.
pub(crate) fn cases(folder: &Path) -> Vec<Case> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().flat_map(|file| cases_of(file)).collect()
}

fn cases_of(file: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(file).unwrap();
    let (root, problems) = parse(&quoted(&text), DIALECT);
    assert!(problems.is_empty(), "{}: {problems:?}", file.display());
    let root = plain(&root.unwrap());
    let mut cases = Vec::new();
    for test in root["tests"].as_array().unwrap() {
        for (number, item) in items(test).into_iter().enumerate() {
            let mut filled = fill(test, &item);
            filled.as_object_mut().unwrap().remove("cases");
            let stem = file.file_stem().unwrap().to_string_lossy();
            let name = format!("{stem}/{}[{number}] {item}", text_of(&test["name"]));
            let rule = text_of(&test["rule"]);
            cases.push(Case { name, rule, test: filled });
        }
    }
    cases
}

/// Values such as `%{ item.x }` stand without quotes, which YAML does not allow.
fn quoted(text: &str) -> String {
    let line = |line: &str| match line.split_once(": %{") {
        Some((key, rest)) => format!("{key}: \"%{{{rest}\"\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Scalars are text, but for `null`.
fn plain(node: &Node) -> Value {
    match &node.value {
        _ if node.is_null() => Value::Null,
        Yaml::Scalar { text, .. } => json!(text),
        Yaml::List(nodes) => nodes.iter().map(plain).collect(),
        Yaml::Map(pairs) => {
            pairs.iter().map(|(key, node)| (key.text.clone(), plain(node))).collect()
        }
    }
}

/// The variables of each case of a test: every combination of each matrix's values.
fn items(test: &Value) -> Vec<Value> {
    let Some(matrices) = test["cases"].as_array() else { return vec![json!({})] };
    let mut items = Vec::new();
    for matrix in matrices {
        assert_eq!(matrix["strategy"], "matrix");
        let mut combinations = vec![Map::new()];
        for (name, values) in matrix["values"].as_object().unwrap() {
            let with = |so_far: &Map<String, Value>, value: &Value| {
                let mut item = so_far.clone();
                item.insert(name.clone(), value.clone());
                item
            };
            let values = values.as_array().unwrap();
            combinations = combinations
                .iter()
                .flat_map(|so_far| values.iter().map(move |value| with(so_far, value)))
                .collect();
        }
        items.extend(combinations.into_iter().map(Value::Object));
    }
    items
}

/// `value` with each `%{ item.name }` replaced.
fn fill(value: &Value, item: &Value) -> Value {
    match value {
        Value::String(text) => fill_text(text, item),
        Value::Array(values) => values.iter().map(|value| fill(value, item)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), fill(value, item))).collect()
        }
        other => other.clone(),
    }
}

fn fill_text(text: &str, item: &Value) -> Value {
    let Some((before, rest)) = text.split_once("%{") else { return json!(text) };
    let (variable, after) = rest.split_once('}').unwrap();
    let name = variable.trim().strip_prefix("item.").unwrap();
    let value = item.get(name).unwrap_or_else(|| panic!("no variable {name} in {item}"));
    if before.is_empty() && after.is_empty() {
        return value.clone();
    }
    let after = fill_text(after, item);
    json!(format!("{before}{}{}", text_of(value), text_of(&after)))
}

/// A text; empty for nothing.
pub(crate) fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

#[test]
fn matrices_are_expanded_and_variables_filled_in() {
    let test = json!({
        "a": "%{ item.x }", "b": "x is %{ item.x }, y is %{item.y}.",
        "cases": [
            {"strategy": "matrix", "values": {"x": ["1", "2"], "y": ["3", null]}},
            {"strategy": "matrix", "values": {"x": [{"k": "v"}], "y": ["4"]}},
        ],
    });
    let items = items(&test);
    assert_eq!(items.len(), 5);
    let filled: Vec<Value> = items.iter().map(|item| fill(&test, item)).collect();
    assert_eq!(filled[0]["b"], "x is 1, y is 3.");
    assert_eq!(filled[3]["b"], "x is 2, y is .");
    assert_eq!(filled[4]["a"], json!({"k": "v"}));
}

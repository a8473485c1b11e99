//! Descriptions of an API: OpenAPI 3.0 and 3.1, Swagger 2.0, in JSON or YAML.
//!
//! What is read is what requests are made of: paths, parameters, contents, statuses. References
//! lead within the document alone; how deep, how many and how much is bounded.

mod generate;

use palisade_base::Explain;
use palisade_base::yaml::{self, Dialect, Node};
use serde_json::{Map, Value};

pub use generate::cases;

/// Largest description, in bytes.
pub const BYTES_MAX: usize = 8 << 20;
/// Operations of a description that are called.
pub const OPERATIONS_MAX: usize = 500;
/// Parameters of one operation.
pub const PARAMETERS_MAX: usize = 64;
/// References that are followed one after the other.
const REFERENCES_MAX: usize = 16;

const DIALECT: Dialect = Dialect {
    name: "a description of an API",
    document: "description",
    depth_max: 64,
    n_nodes_max: 500_000,
};

/// A description cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ApiError {
    /// It is neither JSON nor YAML.
    #[error("read the description: {0}")]
    Syntax(String),
    /// It is too large.
    #[error("the description is larger than {BYTES_MAX} bytes")]
    TooLarge,
    /// It is no description, or of a version that is not known.
    #[error("this is no description of OpenAPI 3 or Swagger 2: {0}")]
    Unknown(String),
}

impl Explain for ApiError {
    fn hint(&self) -> Option<String> {
        Some("give a document with `openapi: 3.…` or `swagger: \"2.0\"`, and `paths`".into())
    }
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
    /// In a cookie.
    Cookie,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub position: Position,
    /// Whether it must be there.
    pub is_required: bool,
    /// Its schema, references resolved at the top.
    pub schema: Value,
}

/// What is sent with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Its type: `application/json`.
    pub media_type: String,
    /// Its schema.
    pub schema: Value,
    /// Whether it must be there.
    pub is_required: bool,
}

/// A call.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// `GET`.
    pub method: String,
    /// With its parameters in braces, the server's own path before it.
    pub path: String,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// What is sent with it.
    pub content: Option<Content>,
    /// Statuses that are described.
    pub statuses: Vec<String>,
}

/// A description.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Its calls.
    pub operations: Vec<Operation>,
    /// Calls beyond [`OPERATIONS_MAX`].
    pub n_left_out: usize,
    /// All of it, for references.
    root: Value,
}

impl Api {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// [`ApiError`].
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        if text.len() > BYTES_MAX {
            return Err(ApiError::TooLarge);
        }
        let root = document(text)?;
        let version = |key: &str| {
            root.get(key).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string))
        };
        let is_2 = match (version("openapi"), version("swagger")) {
            (Some(v), _) if v.starts_with("3.") => false,
            (_, Some(v)) if v == "2.0" || v == "2" => true,
            (Some(v), _) | (None, Some(v)) => {
                return Err(ApiError::Unknown(format!("version `{}`", yaml::cut(&v))));
            }
            (None, None) => {
                return Err(ApiError::Unknown("it has neither `openapi` nor `swagger`".into()));
            }
        };
        let Some(paths) = root.get("paths").and_then(Value::as_object) else {
            return Err(ApiError::Unknown("it has no `paths`".into()));
        };
        let base = base_path(&root, is_2);
        let mut operations = Vec::new();
        let mut n_left_out = 0;
        for (path, item) in paths {
            let Some(item) = resolve(&root, item).as_object() else { continue };
            for (method, call) in item {
                if !matches!(
                    method.as_str(),
                    "get" | "put" | "post" | "delete" | "options" | "head" | "patch"
                ) {
                    continue;
                }
                if operations.len() >= OPERATIONS_MAX {
                    n_left_out += 1;
                    continue;
                }
                operations.push(operation(
                    &root,
                    is_2,
                    &format!("{base}{path}"),
                    method,
                    item,
                    call,
                ));
            }
        }
        Ok(Self { operations, n_left_out, root })
    }
}

/// JSON, or else YAML.
fn document(text: &str) -> Result<Value, ApiError> {
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let (node, problems) = yaml::parse(text, DIALECT);
    match (node, problems.into_iter().next()) {
        (_, Some(problem)) => {
            Err(ApiError::Syntax(format!("line {}: {}", problem.place.line, problem.message)))
        }
        (Some(node), None) => Ok(value(&node)),
        (None, None) => Err(ApiError::Syntax("there is nothing in it".into())),
    }
}

/// A node of YAML as JSON. Plain scalars are read as JSON's numbers and truth values where they
/// are such (the JSON schema of YAML 1.2.2, section 10.2).
fn value(node: &Node) -> Value {
    match &node.value {
        yaml::Value::Scalar { .. } if node.is_null() => Value::Null,
        yaml::Value::Scalar { text, plain: true } => match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => match serde_json::from_str::<Value>(text) {
                Ok(number @ Value::Number(_)) => number,
                _ => Value::String(text.clone()),
            },
        },
        yaml::Value::Scalar { text, .. } => Value::String(text.clone()),
        yaml::Value::List(list) => Value::Array(list.iter().map(value).collect()),
        yaml::Value::Map(map) => {
            Value::Object(map.iter().map(|(key, node)| (key.text.clone(), value(node))).collect())
        }
    }
}

/// What `value` refers to, if it is a reference within the document.
pub(crate) fn resolve<'a>(root: &'a Value, mut value: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES_MAX {
        let Some(target) =
            value.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'))
        else {
            return value;
        };
        let Some(found) = root.pointer(target) else { return &Value::Null };
        value = found;
    }
    &Value::Null
}

/// The path before all paths.
fn base_path(root: &Value, is_2: bool) -> String {
    let text = if is_2 {
        root.get("basePath").and_then(Value::as_str).unwrap_or_default()
    } else {
        let url = root.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
        // Of `https://host/v1` the path is what matters: the server is the one that is probed.
        match url.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default(),
            None => url,
        }
    };
    if text.contains('{') { String::new() } else { text.trim_end_matches('/').to_string() }
}

fn operation(
    root: &Value,
    is_2: bool,
    path: &str,
    method: &str,
    item: &Map<String, Value>,
    call: &Value,
) -> Operation {
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut content = None;
    let mut form = Map::new();
    let lists = [call.get("parameters"), item.get("parameters")];
    for value in
        lists.into_iter().flatten().filter_map(Value::as_array).flatten().take(PARAMETERS_MAX)
    {
        let value = resolve(root, value);
        let Some(name) = value.get("name").and_then(Value::as_str) else { continue };
        let is_required = value.get("required") == Some(&Value::Bool(true));
        // In Swagger 2 a parameter is its own schema.
        let schema = resolve(root, value.get("schema").unwrap_or(value)).clone();
        let position = match value.get("in").and_then(Value::as_str) {
            Some("path") => Position::Path,
            Some("query") => Position::Query,
            Some("header") => Position::Header,
            Some("cookie") => Position::Cookie,
            Some("body") => {
                content =
                    Some(Content { media_type: "application/json".into(), schema, is_required });
                continue;
            }
            Some("formData") => {
                form.insert(name.to_string(), schema);
                continue;
            }
            _ => continue,
        };
        // The call's own outweighs the path's.
        if !parameters.iter().any(|known| known.name == name && known.position == position) {
            parameters.push(Parameter { name: name.to_string(), position, is_required, schema });
        }
    }
    if !form.is_empty() {
        let schema = serde_json::json!({"type": "object", "properties": form});
        let media_type = "application/x-www-form-urlencoded".into();
        content = Some(Content { media_type, schema, is_required: true });
    }
    if !is_2 && let Some(body) = call.get("requestBody") {
        content = request_body(root, resolve(root, body));
    }
    let statuses = call.get("responses").and_then(Value::as_object);
    let statuses = statuses.map(|all| all.keys().cloned().collect()).unwrap_or_default();
    Operation {
        method: method.to_uppercase(),
        path: path.to_string(),
        parameters,
        content,
        statuses,
    }
}

/// The first content that can be made here: JSON, or else a form, or else whatever it is.
fn request_body(root: &Value, body: &Value) -> Option<Content> {
    let all = body.get("content")?.as_object()?;
    let wanted = |test: fn(&str) -> bool| all.iter().find(|(kind, _)| test(kind));
    let (media_type, content) = wanted(|kind| kind.contains("json"))
        .or_else(|| wanted(|kind| kind.contains("urlencoded")))
        .or_else(|| all.iter().next())?;
    Some(Content {
        media_type: media_type.clone(),
        schema: resolve(root, content.get("schema").unwrap_or(&Value::Null)).clone(),
        is_required: body.get("required") == Some(&Value::Bool(true)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = r##"
openapi: 3.0.3
servers: [{url: "https://example.org/v1/"}]
paths:
  /pets/{id}:
    parameters:
      - $ref: "#/components/parameters/id"
    get:
      responses: {"200": {}, default: {}}
    put:
      requestBody:
        required: true
        content:
          application/json: {schema: {$ref: "#/components/schemas/Pet"}}
      responses: {204: {}}
components:
  parameters:
    id: {name: id, in: path, required: true, schema: {type: integer, minimum: 1}}
  schemas:
    Pet: {type: object, required: [name], properties: {name: {type: string, maxLength: 5}}}
"##;

    #[test]
    fn a_description_of_openapi_3_is_read() {
        let api = Api::parse(THREE).unwrap();
        let [get, put] = &api.operations[..] else { panic!() };
        assert_eq!((get.method.as_str(), get.path.as_str()), ("GET", "/v1/pets/{id}"));
        assert_eq!(get.parameters[0].position, Position::Path);
        assert_eq!(get.parameters[0].schema["minimum"], 1);
        assert_eq!(get.statuses, ["200", "default"]);
        let content = put.content.as_ref().unwrap();
        assert!(content.is_required);
        assert_eq!(content.schema["properties"]["name"]["maxLength"], 5);
        assert_eq!(put.statuses, ["204"]);
    }

    #[test]
    fn a_description_of_swagger_2_is_read() {
        let text = r#"{"swagger": "2.0", "basePath": "/api", "paths": {"/a": {"post": {"parameters": [
            {"name": "n", "in": "query", "type": "integer"},
            {"name": "b", "in": "body", "required": true, "schema": {"type": "array"}}], "responses": {}}}}}"#;
        let api = Api::parse(text).unwrap();
        let call = &api.operations[0];
        assert_eq!(
            (call.path.as_str(), call.parameters[0].schema["type"].as_str()),
            ("/api/a", Some("integer"))
        );
        assert_eq!(call.content.as_ref().unwrap().schema["type"], "array");
    }

    #[test]
    fn what_is_none_is_refused_and_circles_end() {
        for (text, expected) in [
            ("", "there is nothing in it"),
            ("openapi: 3.0.0", "it has no `paths`"),
            ("openapi: 4.0.0\npaths: {}", "version `4.0.0`"),
            ("a: b", "it has neither `openapi` nor `swagger`"),
            ("a: [", "not YAML"),
        ] {
            let error = Api::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(Api::parse(&" ".repeat(BYTES_MAX + 1)), Err(ApiError::TooLarge));
        let root: Value = serde_json::json!({"a": {"$ref": "#/b"}, "b": {"$ref": "#/a"}});
        assert_eq!(resolve(&root, &root["a"]), &Value::Null);
        let many: Vec<String> =
            (0..=OPERATIONS_MAX).map(|n| format!("  /p{n}: {{get: {{}}}}")).collect();
        let api = Api::parse(&format!("openapi: 3.1.0\npaths:\n{}\n", many.join("\n"))).unwrap();
        assert_eq!((api.operations.len(), api.n_left_out), (OPERATIONS_MAX, 1));
    }
}

//! npm: `package-lock.json` and `npm-shrinkwrap.json` of all three versions (npm docs,
//! "package-lock.json"), and `bun.lock`.

use std::collections::{HashMap, HashSet};

use palisade_model::PackageKind;
use serde::Deserialize;
use serde_json::Value;

use super::{CatalogFile, Cataloger, FilePath, form};
use crate::Sink;

/// The cataloger of npm's and Bun's lock files.
pub(super) struct NpmLock;

impl Cataloger for NpmLock {
    fn name(&self) -> &'static str {
        "npm-lock"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        matches!(path.name, "package-lock.json" | "npm-shrinkwrap.json" | "bun.lock")
            && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        if file.path.ends_with("bun.lock") {
            bun(file, sink);
            return;
        }
        let Some(lock) = file.json::<Lock>(sink) else {
            return;
        };
        // Version 2 has both for old clients, and `packages` says more.
        if lock.packages.is_empty() {
            nested(&lock.dependencies, file, sink);
        } else {
            flat(lock.packages, file, sink);
        }
    }
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default, deserialize_with = "form::pairs")]
    packages: Vec<(String, Flat)>,
    #[serde(default, deserialize_with = "form::pairs")]
    dependencies: Vec<(String, Nested)>,
}

/// An entry of versions 2 and 3; its key is the folder.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Flat {
    #[serde(default, deserialize_with = "form::text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "form::text")]
    version: Option<String>,
    #[serde(default)]
    license: Value,
    #[serde(default)]
    dev: bool,
    #[serde(default)]
    link: bool,
    /// Systems that it is for, or with `!` not for; npm installs it nowhere else.
    #[serde(default)]
    os: Value,
}

/// Whether npm installs on Linux what is for `systems`.
fn is_for_linux(systems: &Value) -> bool {
    let names: Vec<&str> = match systems {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut allowed = names.iter().filter(|name| !name.starts_with('!')).peekable();
    !names.contains(&"!linux")
        && (allowed.peek().is_none() || allowed.any(|name| matches!(*name, "linux" | "any")))
}

/// An entry of versions 1 and 2. The depth is bounded by the JSON parser.
#[derive(Deserialize)]
struct Nested {
    #[serde(default, deserialize_with = "form::text")]
    version: Option<String>,
    #[serde(default)]
    dev: bool,
    #[serde(default, deserialize_with = "form::pairs")]
    dependencies: Vec<(String, Nested)>,
}

fn flat(packages: Vec<(String, Flat)>, file: &CatalogFile<'_>, sink: &mut Sink) {
    for (path, entry) in packages {
        // Folders outside `node_modules` are the project's own packages; links lead to them.
        let Some((_, name)) = path.rsplit_once("node_modules/").filter(|_| !entry.link) else {
            continue;
        };
        let Some(version) = entry.version else {
            continue;
        };
        if entry.dev {
            sink.development(1);
            continue;
        }
        if !is_for_linux(&entry.os) {
            continue;
        }
        // The name differs from the folder's where the package was installed as an alias.
        let name = entry.name.unwrap_or_else(|| name.to_string());
        let mut package = file.declared(PackageKind::Node, name, version);
        package.licences = form::licences(&entry.license);
        sink.add(package);
    }
}

fn nested(dependencies: &[(String, Nested)], file: &CatalogFile<'_>, sink: &mut Sink) {
    for (name, entry) in dependencies {
        match entry.version.as_deref() {
            Some(_) if entry.dev => sink.development(1),
            Some(version) => {
                // `npm:real-name@1.0` is an alias.
                let alias = version.strip_prefix("npm:").and_then(|text| text.rsplit_once('@'));
                let (name, version) = alias.unwrap_or((name, version));
                // A folder or repository has no version.
                if !version.contains(':') {
                    sink.add(file.declared(PackageKind::Node, name, version));
                }
            }
            None => {}
        }
        nested(&entry.dependencies, file, sink);
    }
}

#[derive(Deserialize)]
struct Bun {
    #[serde(default, deserialize_with = "form::pairs")]
    workspaces: Vec<(String, BunNeeds)>,
    #[serde(default, deserialize_with = "form::pairs")]
    packages: Vec<(String, Vec<Value>)>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct BunNeeds {
    #[serde(default, deserialize_with = "form::pairs")]
    dependencies: Vec<(String, Value)>,
    #[serde(default, deserialize_with = "form::pairs")]
    optional_dependencies: Vec<(String, Value)>,
    #[serde(default, deserialize_with = "form::pairs")]
    peer_dependencies: Vec<(String, Value)>,
}

impl BunNeeds {
    fn names(&self) -> impl Iterator<Item = &str> {
        let all = self.dependencies.iter().chain(&self.optional_dependencies);
        all.chain(&self.peer_dependencies).map(|(name, _)| name.as_str())
    }
}

/// What the workspaces need when they run. A package's key is its path in `node_modules`
/// (`a/b`: the `b` of `a` alone), its first item `name@version`.
fn bun(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(text) = file.text(sink) else {
        return;
    };
    if super::has_too_many_values(text.as_bytes()) {
        return sink.gap(file.path, format!("more than {} values", super::VALUES_MAX));
    }
    let lock: Bun = match serde_json::from_str(&without_trailing_commas(text)) {
        Ok(lock) => lock,
        Err(error) => return sink.gap(file.path, format!("not the JSON it should be: {error}")),
    };
    let packages: HashMap<&str, &Vec<Value>> =
        lock.packages.iter().map(|(key, items)| (key.as_str(), items)).collect();
    let mut queue: Vec<String> = Vec::new();
    for (_, workspace) in &lock.workspaces {
        queue.extend(workspace.names().map(str::to_string));
    }
    let mut wanted: HashSet<&str> = HashSet::new();
    while let Some(path) = queue.pop() {
        let Some((key, items)) = resolve(&path, &packages) else {
            continue;
        };
        if !wanted.insert(key) {
            continue;
        }
        let needs = items.iter().find(|item| item.is_object()).cloned();
        let needs: BunNeeds =
            needs.and_then(|needs| serde_json::from_value(needs).ok()).unwrap_or_default();
        queue.extend(needs.names().map(|name| format!("{key}/{name}")));
    }
    for (key, items) in &lock.packages {
        let id = items.first().and_then(Value::as_str).unwrap_or_default();
        match id.rsplit_once('@') {
            Some((_, version)) if version.contains(':') => {}
            Some(_) if !wanted.contains(key.as_str()) => sink.development(1),
            Some((name, version)) => {
                sink.add(file.declared(PackageKind::Node, name, version));
            }
            None => sink.gap(file.path, format!("`{key}` has no name and version")),
        }
    }
}

/// The package that is found from within `path`, as Node.js looks: nearest first.
fn resolve<'p>(
    path: &str,
    packages: &HashMap<&'p str, &'p Vec<Value>>,
) -> Option<(&'p str, &'p Vec<Value>)> {
    let found = |key: &str| packages.get_key_value(key).map(|(key, items)| (*key, *items));
    if let Some(hit) = found(path) {
        return Some(hit);
    }
    // The name is the last part, or the last two of a scoped one.
    let at = path.rfind('/')?;
    let at = path[..at].rfind('/').map_or(0, |slash| slash + 1);
    let name_at = if path[at..].starts_with('@') { at } else { path.rfind('/')? + 1 };
    let name = path.get(name_at..)?;
    let mut folder = path.get(..name_at)?.trim_end_matches('/');
    loop {
        folder = folder.rsplit_once('/').map_or("", |(before, _)| before);
        if folder.is_empty() {
            return found(name);
        }
        if let Some(hit) = found(&format!("{folder}/{name}")) {
            return Some(hit);
        }
    }
}

/// JSON without the commas before closing brackets that Bun writes.
fn without_trailing_commas(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_text, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '}' | ']' if !in_text => {
                let kept = out.trim_end().len();
                if out[..kept].ends_with(',') {
                    out.truncate(kept - 1);
                }
            }
            _ => {}
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_commas() {
        let check = |text: &str, expected: &str| {
            assert_eq!(without_trailing_commas(text), expected);
        };
        check(r#"{"a": [1, 2, ], "b": ",]", }"#, r#"{"a": [1, 2], "b": ",]"}"#);
        check(r#"["\",]"]"#, r#"["\",]"]"#);
    }

    #[test]
    fn buns_nearest_package() {
        let items = Vec::new();
        let packages: HashMap<&str, &Vec<Value>> =
            ["a", "b", "a/b", "@s/c", "a/@s/c"].into_iter().map(|key| (key, &items)).collect();
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(resolve(path, &packages).map(|(key, _)| key), expected, "{path}");
        };
        check("a", Some("a"));
        check("a/b", Some("a/b"));
        check("b/a", Some("a"));
        check("a/b/@s/c", Some("a/@s/c"));
        check("b/@s/c", Some("@s/c"));
        check("@s/c/b", Some("b"));
        check("x", None);
        check("x/y/z", None);
    }
}

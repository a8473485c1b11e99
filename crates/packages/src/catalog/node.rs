//! Installed npm packages: `package.json` below `node_modules`.

use palisade_model::{Package, PackageKind};
use serde_json::Value;

use super::{CatalogFile, Cataloger};
use crate::Sink;

/// The cataloger of npm packages.
pub(super) struct Node;

impl Cataloger for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    /// `node_modules/NAME/package.json` and `node_modules/@SCOPE/NAME/package.json`, no
    /// deeper: packages carry other `package.json` that name no package.
    fn wants(&self, path: &str) -> bool {
        let Some(folder) = path.strip_suffix("/package.json") else {
            return false;
        };
        let mut parts = folder.rsplit('/');
        let name = parts.next().unwrap_or_default();
        match parts.next() {
            Some("node_modules") => !name.starts_with('.'),
            // npm itself and such lie in share/nodejs on Debian.
            Some("nodejs") => folder.starts_with("usr/share/nodejs/"),
            Some(scope) if scope.starts_with('@') => {
                matches!(parts.next(), Some("node_modules" | "nodejs"))
            }
            _ => false,
        }
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let json: Value = match serde_json::from_slice(file.bytes) {
            Ok(json) => json,
            Err(error) => {
                sink.gap(file.path, format!("no JSON: {error}"));
                return;
            }
        };
        let text =
            |key: &str| json.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(name), Some(version)) = (text("name"), text("version")) else {
            // Legal in folders that only redirect; a gap all the same: it hides a package.
            sink.gap(file.path, "package.json without name and version");
            return;
        };
        let licence = match json.get("license") {
            Some(Value::String(licence)) => Some(licence.clone()),
            Some(other) => other.get("type").and_then(Value::as_str).map(str::to_string),
            None => None,
        };
        let author = match json.get("author") {
            Some(Value::String(author)) => Some(author.clone()),
            Some(other) => other.get("name").and_then(Value::as_str).map(str::to_string),
            None => None,
        };
        sink.add(Package {
            kind: PackageKind::Node,
            name: name.to_string(),
            version: version.to_string(),
            architecture: None,
            source: None,
            purl: String::new(),
            licences: licence.into_iter().collect(),
            maintainer: author,
            files: vec![format!("/{}", file.path)],
            evidence: format!("/{}", file.path),
            layer: file.layer,
        });
    }
}

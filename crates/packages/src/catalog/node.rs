//! Installed npm packages: `package.json` below `node_modules`, and of programs that were unpacked as they are.

use palisade_model::PackageKind;
use serde::Deserialize;
use serde_json::Value;

use super::{CatalogFile, Cataloger, FilePath, form};
use crate::Sink;

/// Largest manifest that is read, in bytes.
const MANIFEST_BYTES_MAX: u64 = 4 << 20;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default, deserialize_with = "form::text")]
    name: Option<String>,
    #[serde(default, deserialize_with = "form::text")]
    version: Option<String>,
    #[serde(default)]
    license: Value,
    /// Until npm 1: a list of objects.
    #[serde(default)]
    licenses: Value,
    #[serde(default)]
    author: Value,
    /// npm refuses to publish it.
    #[serde(default)]
    private: Value,
}

/// The cataloger of npm packages.
pub(super) struct Node;

/// Whether `folder` is where package managers put a package: `node_modules/NAME` or
/// `node_modules/@SCOPE/NAME`.
pub(super) fn is_place_of_package(folder: &str) -> bool {
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

impl Cataloger for Node {
    fn name(&self) -> &'static str {
        "node"
    }

    /// Those of packages where package managers put them, no deeper: packages carry other
    /// `package.json` that name no package. Those outside of all packages belong to programs
    /// that were copied or unpacked whole, as Ghost and Node-RED are.
    fn wants(&self, path: &FilePath<'_>) -> bool {
        if path.name != "package.json" {
            return false;
        }
        path.whole.strip_suffix("/package.json").is_some_and(is_place_of_package)
            || !path.is_in_package()
    }

    fn bytes_max(&self) -> u64 {
        MANIFEST_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let is_installed = file.path.strip_suffix("/package.json").is_some_and(is_place_of_package);
        let manifest = if is_installed {
            file.json::<Manifest>(sink)
        } else {
            // Elsewhere there are templates of the name, and what is private has a name that is
            // somebody else's in the registry.
            file.json::<Manifest>(&mut Sink::default()).filter(|m| m.private != Value::Bool(true))
        };
        let Some(manifest) = manifest else {
            return;
        };
        // Folders that only say `{"type": "module"}` or redirect are no packages.
        let (Some(name), Some(version)) = (manifest.name, manifest.version) else {
            return;
        };
        let mut package = file.package(PackageKind::Node, name, version);
        package.licences = form::licences(&manifest.license);
        if package.licences.is_empty() {
            package.licences = form::licences(&manifest.licenses);
        }
        package.maintainer = match manifest.author {
            Value::String(author) => Some(author),
            other => other.get("name").and_then(Value::as_str).map(str::to_string),
        };
        package.files = vec![package.evidence.clone()];
        sink.add(package);
    }
}

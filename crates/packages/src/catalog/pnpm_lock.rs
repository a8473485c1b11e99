//! pnpm: `pnpm-lock.yaml` of the formats 5 to 9.

use std::collections::{HashMap, HashSet};

use palisade_base::yaml::{Dialect, Node, Value, parse};
use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// The cataloger of pnpm's lock files.
pub(super) struct PnpmLock;

const DIALECT: Dialect =
    Dialect { name: "a lock file", document: "lock file", depth_max: 32, n_nodes_max: 1_000_000 };

impl Cataloger for PnpmLock {
    fn name(&self) -> &'static str {
        "pnpm-lock"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name == "pnpm-lock.yaml" && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some(text) = file.text(sink) else {
            return;
        };
        let (root, problems) = parse(text, DIALECT);
        if let Some(problem) = problems.first() {
            let line = problem.place.line;
            sink.gap(file.path, format!("line {line}: {}", problem.message));
        }
        let Some(root) = root else {
            return;
        };
        let packages = entries(field(&root, "packages"));
        let wanted = field(&root, "snapshots").map(|_| reachable(&root));
        for (key, node) in packages {
            let Some((name, version)) = id(key) else {
                sink.gap(file.path, format!("`{key}` is no package with a version"));
                continue;
            };
            let said = |key: &str| field(node, key).and_then(scalar);
            let is_dev = said("dev") == Some("true")
                || wanted.as_ref().is_some_and(|wanted| !wanted.contains(bare(key)));
            if is_dev {
                sink.development(1);
                continue;
            }
            // Tarballs and repositories say their name and version themselves.
            let name = said("name").unwrap_or(name);
            let version = said("version").unwrap_or(version);
            if !version.contains("://") {
                sink.add(file.declared(PackageKind::Node, name, version));
            }
        }
    }
}

/// Since format 9 nothing marks what is for development: it is what no importer needs
/// otherwise. The keys of the packages that some importer needs.
fn reachable(root: &Node) -> HashSet<String> {
    let snapshots: HashMap<&str, &Node> = entries(field(root, "snapshots")).collect();
    let mut queue: Vec<String> = Vec::new();
    for (_, importer) in entries(field(root, "importers")) {
        needs(importer, &mut queue);
    }
    let mut seen: HashSet<String> = HashSet::new();
    let mut wanted = HashSet::new();
    while let Some(key) = queue.pop() {
        let Some(node) = snapshots.get(key.as_str()) else {
            continue;
        };
        if seen.insert(key.clone()) {
            wanted.insert(bare(&key).to_string());
            needs(node, &mut queue);
        }
    }
    wanted
}

/// Adds the keys of what `node` needs when it runs: `name@version(peers)`.
fn needs(node: &Node, queue: &mut Vec<String>) {
    for group in ["dependencies", "optionalDependencies"] {
        for (name, value) in entries(field(node, group)) {
            let version = scalar(value).or_else(|| field(value, "version").and_then(scalar));
            let Some(version) = version.filter(|version| !version.starts_with("link:")) else {
                continue;
            };
            // An alias is written with the real name.
            let has_name = version.get(1..).is_some_and(|rest| rest.contains('@'))
                && !version.starts_with(|c: char| c.is_ascii_digit());
            queue.push(if has_name { version.to_string() } else { format!("{name}@{version}") });
        }
    }
}

/// A key without its peers: `a@1.0.0(b@2.0.0)` is `a@1.0.0`.
fn bare(key: &str) -> &str {
    key.split('(').next().unwrap_or(key)
}

/// Name and version of `/a/1.0.0_peers` (5), `/a@1.0.0(peers)` (6) and `a@1.0.0` (9).
fn id(key: &str) -> Option<(&str, &str)> {
    let bare = bare(key);
    let is_old = bare.starts_with('/');
    let bare = bare.trim_start_matches('/');
    let scope = if bare.starts_with('@') { bare.find('/')? + 1 } else { 0 };
    let end = scope + bare.get(scope..)?.find(['/', '@'])?;
    let (name, rest) = bare.split_at_checked(end)?;
    let version = match rest.strip_prefix('/') {
        Some(version) if is_old => version.split('_').next().unwrap_or_default(),
        Some(_) => return None,
        None => rest.strip_prefix('@')?,
    };
    (!name.is_empty() && !version.is_empty()).then_some((name, version))
}

fn field<'n>(node: &'n Node, key: &str) -> Option<&'n Node> {
    match &node.value {
        Value::Map(entries) => {
            entries.iter().find(|(candidate, _)| candidate.text == key).map(|(_, node)| node)
        }
        _ => None,
    }
}

fn entries(node: Option<&Node>) -> impl Iterator<Item = (&str, &Node)> {
    let entries = match node.map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, node)| (key.text.as_str(), node))
}

fn scalar(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } if !text.is_empty() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let check = |key: &str, expected: Option<(&str, &str)>| {
            assert_eq!(id(key), expected, "{key}");
        };
        check("/a/1.0.0", Some(("a", "1.0.0")));
        check("/@s/a/1.0.0_b@2.0.0", Some(("@s/a", "1.0.0")));
        check("/a/1.0.0_b", Some(("a", "1.0.0")));
        check("/@s/a@1.0.0(b@2.0.0)", Some(("@s/a", "1.0.0")));
        check("a@1.0.0", Some(("a", "1.0.0")));
        check("@s/a@1.0.0", Some(("@s/a", "1.0.0")));
        check("a", None);
        check("", None);
        check("a@", None);
    }
}

//! Python: `requirements.txt` (pip), `poetry.lock`, `uv.lock`, `Pipfile.lock` (pipenv) and
//! `pylock.toml` (PEP 751).

use std::collections::{HashMap, HashSet};

use palisade_model::PackageKind;
use serde::Deserialize;

use super::{CatalogFile, Cataloger, FilePath, form};
use crate::Sink;

/// The cataloger of Python's lock files.
pub(super) struct PythonLock;

impl Cataloger for PythonLock {
    fn name(&self) -> &'static str {
        "python-lock"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        let is_ours =
            matches!(path.name, "requirements.txt" | "poetry.lock" | "uv.lock" | "Pipfile.lock")
                || is_pylock(path.name);
        is_ours && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        match super::file_name(file.path) {
            "requirements.txt" => requirements(file, sink),
            "poetry.lock" => poetry(file, sink),
            "uv.lock" => uv(file, sink),
            "Pipfile.lock" => pipenv(file, sink),
            _ => pylock(file, sink),
        }
    }
}

/// `pylock.toml` and `pylock.NAME.toml`.
fn is_pylock(name: &str) -> bool {
    let Some(middle) = name.strip_prefix("pylock.").and_then(|rest| rest.strip_suffix("toml"))
    else {
        return false;
    };
    middle.is_empty() || (middle.ends_with('.') && middle.matches('.').count() == 1)
}

/// Pinned lines alone: a range says what may be installed, not what is.
fn requirements(file: &CatalogFile<'_>, sink: &mut Sink) {
    // pip reads UTF-16 with a byte order mark too; nothing on Linux writes it.
    let Some(text) = file.text(sink) else {
        return;
    };
    let mut continued = String::new();
    for line in text.lines() {
        let line = line.split_once(" #").map_or(line, |(before, _)| before);
        if let Some(begun) = line.strip_suffix('\\') {
            continued.push_str(begun);
            continue;
        }
        continued.push_str(line);
        if let Some((name, version)) = pinned(&continued) {
            sink.add(file.declared(PackageKind::Python, name, version));
        }
        continued.clear();
    }
}

/// Name and version of `name[extra]==1.0 ; marker --hash=…`.
fn pinned(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', '-']) || line.contains("://") && !line.contains("==") {
        return None;
    }
    let line = line.split(';').next().unwrap_or_default();
    let line = line.split(" --").next().unwrap_or_default();
    let (name, version) = line.split_once("==")?;
    // `===` is equality of text.
    let version = version.trim_start_matches('=').trim();
    let name = name.split('[').next().unwrap_or_default().trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_version = |c: char| c.is_ascii_alphanumeric() || "-_.+!".contains(c);
    let good = !name.is_empty() && name.chars().all(is_name) && !version.is_empty();
    (good && version.chars().all(is_version)).then_some((name, version))
}

#[derive(Deserialize)]
struct Poetry {
    #[serde(default, deserialize_with = "form::list")]
    package: Vec<PoetryPackage>,
}

#[derive(Deserialize)]
struct PoetryPackage {
    name: String,
    version: String,
    /// Until Poetry 1.4: `main` or `dev`.
    #[serde(default)]
    category: Option<String>,
    /// Since Poetry 2.0: the groups that want it.
    #[serde(default, deserialize_with = "form::list")]
    groups: Vec<String>,
}

fn poetry(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(lock) = file.toml::<Poetry>(sink) else {
        return;
    };
    for package in lock.package {
        let only_dev = |groups: &[String]| {
            !groups.is_empty()
                && groups.iter().all(|group| matches!(group.as_str(), "dev" | "test"))
        };
        if package.category.as_deref() == Some("dev") || only_dev(&package.groups) {
            sink.development(1);
        } else {
            sink.add(file.declared(PackageKind::Python, package.name, package.version));
        }
    }
}

#[derive(Deserialize)]
struct Uv {
    #[serde(default, deserialize_with = "form::list")]
    package: Vec<UvPackage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UvPackage {
    name: String,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    source: UvSource,
    #[serde(default, deserialize_with = "form::list")]
    dependencies: Vec<UvDependency>,
    #[serde(default, deserialize_with = "form::pairs")]
    optional_dependencies: Vec<(String, Vec<UvDependency>)>,
}

/// Where a package comes from. The project's own packages are the roots of the graph.
#[derive(Deserialize, Default)]
struct UvSource {
    #[serde(default, deserialize_with = "form::text")]
    r#virtual: Option<String>,
    #[serde(default, deserialize_with = "form::text")]
    editable: Option<String>,
}

#[derive(Deserialize)]
struct UvDependency {
    name: String,
    #[serde(default)]
    version: Option<String>,
}

/// What the project's packages need, without what only their groups for development need.
fn uv(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(lock) = file.toml::<Uv>(sink) else {
        return;
    };
    let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, package) in lock.package.iter().enumerate() {
        by_name.entry(&package.name).or_default().push(index);
    }
    let is_root = |package: &UvPackage| {
        package.source.r#virtual.is_some() || package.source.editable.is_some()
    };
    let roots: Vec<usize> =
        (0..lock.package.len()).filter(|at| lock.package.get(*at).is_some_and(is_root)).collect();
    // Without a root the graph says nothing, and everything counts.
    let mut wanted: HashSet<usize> =
        if roots.is_empty() { (0..lock.package.len()).collect() } else { HashSet::new() };
    let mut queue = roots;
    while let Some(index) = queue.pop() {
        let Some(package) = lock.package.get(index).filter(|_| wanted.insert(index)) else {
            continue;
        };
        let optional = package.optional_dependencies.iter().flat_map(|(_, list)| list);
        for needed in package.dependencies.iter().chain(optional) {
            let candidates = by_name.get(needed.name.as_str()).into_iter().flatten();
            queue.extend(candidates.filter(|at| {
                let version = lock.package.get(**at).and_then(|found| found.version.as_ref());
                needed.version.is_none() || needed.version.as_ref() == version
            }));
        }
    }
    for (index, package) in lock.package.iter().enumerate() {
        match &package.version {
            Some(version) if wanted.contains(&index) => {
                sink.add(file.declared(
                    PackageKind::Python,
                    package.name.as_str(),
                    version.as_str(),
                ));
            }
            Some(_) => sink.development(1),
            // The project itself, with a version that is computed.
            None => {}
        }
    }
}

#[derive(Deserialize)]
struct Pipenv {
    #[serde(default, deserialize_with = "form::pairs")]
    default: Vec<(String, PipenvPackage)>,
    #[serde(default, deserialize_with = "form::pairs")]
    develop: Vec<(String, PipenvPackage)>,
}

#[derive(Deserialize)]
struct PipenvPackage {
    #[serde(default, deserialize_with = "form::text")]
    version: Option<String>,
}

fn pipenv(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(lock) = file.json::<Pipenv>(sink) else {
        return;
    };
    sink.development(lock.develop.len() as u64);
    for (name, package) in lock.default {
        // A package from a repository or folder has none.
        if let Some(version) = package.version {
            sink.add(file.declared(PackageKind::Python, name, version.trim_start_matches('=')));
        }
    }
}

#[derive(Deserialize)]
struct Pylock {
    #[serde(default, deserialize_with = "form::list")]
    packages: Vec<PylockPackage>,
}

#[derive(Deserialize)]
struct PylockPackage {
    name: String,
    #[serde(default)]
    version: Option<String>,
}

fn pylock(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(lock) = file.toml::<Pylock>(sink) else {
        return;
    };
    for package in lock.packages {
        if let Some(version) = package.version {
            sink.add(file.declared(PackageKind::Python, package.name, version));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_lines() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            assert_eq!(pinned(line), expected, "{line}");
        };
        check("a==1.0", Some(("a", "1.0")));
        check("A.b_c[x,y] == 1.0+local ; python_version < '3'", Some(("A.b_c", "1.0+local")));
        check("a===1.0 --hash=sha256:00", Some(("a", "1.0")));
        check("a>=1.0", None);
        check("a==1.*", None);
        check("a==1.0,<2", None);
        check("-r other.txt", None);
        check("-e git+https://host/a.git#egg=a", None);
        check("a @ https://host/a-1.0.whl", None);
        check("# a==1.0", None);
        check("", None);
    }

    #[test]
    fn pylock_names() {
        for (name, expected) in [
            ("pylock.toml", true),
            ("pylock.dev.toml", true),
            ("pylock.a.b.toml", false),
            ("pylock.devtoml", false),
            ("poetry.toml", false),
        ] {
            assert_eq!(is_pylock(name), expected, "{name}");
        }
    }
}

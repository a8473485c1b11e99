//! Conda: `conda-meta/*.json` of each installed package, and exported `environment.yml`.

use palisade_base::yaml::{Dialect, Value as Yaml, parse};
use palisade_model::PackageKind;
use serde::Deserialize;

use super::{CatalogFile, Cataloger, FilePath, absolute, form};
use crate::Sink;

/// The cataloger of Conda's packages.
pub(super) struct Conda;

const DIALECT: Dialect = Dialect {
    name: "an environment",
    document: "environment",
    depth_max: 16,
    n_nodes_max: 200_000,
};
/// Packages with ten thousands of files have records of several MiB.
const RECORD_BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
struct Record {
    name: String,
    version: String,
    #[serde(default, deserialize_with = "form::text")]
    license: Option<String>,
    #[serde(default, deserialize_with = "form::list")]
    files: Vec<String>,
}

impl Cataloger for Conda {
    fn name(&self) -> &'static str {
        "conda"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        match path.name {
            "environment.yml" | "environment.yaml" => !path.is_in_package(),
            name => {
                let folder = path.whole.strip_suffix(name).unwrap_or_default();
                name.strip_suffix(".json").is_some()
                    && (folder.ends_with("/conda-meta/") || folder == "conda-meta/")
            }
        }
    }

    fn bytes_max(&self) -> u64 {
        RECORD_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        if super::file_name(file.path).starts_with("environment.") {
            environment(file, sink);
        } else {
            record(file, sink);
        }
    }
}

fn record(file: &CatalogFile<'_>, sink: &mut Sink) {
    // Of the many values nothing is kept but the paths.
    let record: Record = match serde_json::from_slice(file.bytes) {
        Ok(record) => record,
        Err(error) => return sink.gap(file.path, format!("not the JSON it should be: {error}")),
    };
    let mut package = file.package(PackageKind::Conda, record.name, record.version);
    package.licences = record.license.into_iter().collect();
    // Files are relative to the environment.
    let at = file.path.rfind("conda-meta/").unwrap_or_default();
    let prefix = absolute(file.path.get(..at).unwrap_or_default());
    package.files = record.files.iter().map(|path| format!("{prefix}{path}")).collect();
    sink.add(package);
}

/// Pinned dependencies: `- name=version=build` of Conda's own; what is below `pip:` is pip's.
fn environment(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(text) = file.text(sink) else {
        return;
    };
    let (root, problems) = parse(text, DIALECT);
    if let Some(problem) = problems.first() {
        sink.gap(file.path, format!("line {}: {}", problem.place.line, problem.message));
    }
    let Some(Yaml::Map(entries)) = root.map(|root| root.value) else {
        return;
    };
    let dependencies = entries.into_iter().find(|(key, _)| key.text == "dependencies");
    let Some((_, Yaml::List(items))) = dependencies.map(|(key, node)| (key, node.value)) else {
        return;
    };
    for item in items {
        match item.value {
            Yaml::Scalar { text, .. } => {
                if let Some((name, version)) = pinned(&text) {
                    sink.add(file.declared(PackageKind::Conda, name, version));
                }
            }
            Yaml::Map(entries) => {
                let pip = entries.into_iter().filter(|(key, _)| key.text == "pip");
                for item in pip.filter_map(|(_, node)| match node.value {
                    Yaml::List(items) => Some(items),
                    _ => None,
                }) {
                    for item in item {
                        let Yaml::Scalar { text, .. } = item.value else {
                            continue;
                        };
                        if let Some((name, version)) = text.split_once("==") {
                            let (name, version) = (name.trim(), version.trim());
                            sink.add(file.declared(PackageKind::Python, name, version));
                        }
                    }
                }
            }
            Yaml::List(_) => {}
        }
    }
}

/// Name and version of `channel::name=1.0=build` and `name==1.0`.
fn pinned(text: &str) -> Option<(&str, &str)> {
    let text = text.rsplit_once("::").map_or(text, |(_, rest)| rest);
    let (name, rest) = text.split_once('=')?;
    let version = rest.trim_start_matches('=').split('=').next()?.trim();
    let name = name.trim();
    let is_pinned = !name.is_empty()
        && !name.ends_with(['<', '>', '!', '~'])
        && version.starts_with(|c: char| c.is_ascii_digit())
        && !version.contains(['*', ',', '|', '<', '>']);
    is_pinned.then_some((name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_dependencies() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            assert_eq!(pinned(text), expected, "{text}");
        };
        check("bzip2=1.0.8=h998d150_5", Some(("bzip2", "1.0.8")));
        check("conda-forge::a=1.0", Some(("a", "1.0")));
        check("a==1.0", Some(("a", "1.0")));
        check("a>=1.0", None);
        check("a=1.*", None);
        check("a", None);
    }
}

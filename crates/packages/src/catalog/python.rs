//! Installed Python distributions: `METADATA` of `*.dist-info`, `PKG-INFO` of `*.egg-info`
//! (packaging specifications, "Core metadata").

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath, absolute};
use crate::Sink;
use crate::deb822::{Paragraph, paragraphs};
use crate::zip::Zip;

/// Largest metadata or record that is read, in bytes. Metadata contains the project's readme;
/// records of the largest distributions have some MiB.
const METADATA_BYTES_MAX: u64 = 32 << 20;
/// Longer texts in the field `License` are the licence, not its name; in bytes.
const LICENCE_BYTES_MAX: usize = 100;

/// The cataloger of Python distributions.
pub(super) struct Python;

impl Cataloger for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        let whole = path.whole;
        match path.name {
            "METADATA" | "RECORD" => whole.strip_suffix(path.name).is_some_and(is_dist_info),
            "PKG-INFO" => {
                whole.ends_with(".egg-info/PKG-INFO") || whole.ends_with("/EGG-INFO/PKG-INFO")
            }
            // An egg is a folder or an archive of the same content.
            name if name.strip_suffix(".egg").is_some() => true,
            // Old setuptools and Debian write one file instead of a folder.
            name => name.ends_with(".egg-info") && whole.contains("/python"),
        }
    }

    fn bytes_max(&self) -> u64 {
        METADATA_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        if let Some(folder) = file.path.strip_suffix("/RECORD") {
            record(folder, file, sink);
        } else if file.path.strip_suffix(".egg").is_some() {
            egg(file, sink);
        } else {
            metadata(file, sink);
        }
    }
}

/// The metadata in an egg that is an archive.
fn egg(file: &CatalogFile<'_>, sink: &mut Sink) {
    let read = || {
        let zip = Zip::open(file.bytes)?;
        for entry in zip.entries() {
            let entry = entry?;
            if entry.name == b"EGG-INFO/PKG-INFO" {
                return zip.read(&entry, METADATA_BYTES_MAX as usize);
            }
        }
        Err("an egg without metadata")
    };
    match read() {
        Ok(bytes) => metadata(&CatalogFile { bytes: &bytes, ..*file }, sink),
        Err(reason) => sink.gap(file.path, reason),
    }
}

fn is_dist_info(folder: &str) -> bool {
    folder.ends_with(".dist-info/")
}

/// The head is like a mail's; the description follows an empty line.
fn metadata(file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(head) = paragraphs(file.bytes).next() else {
        sink.gap(file.path, "empty package metadata");
        return;
    };
    let field = |name: &str| head.text(name).filter(|value| !value.is_empty());
    let (Some(name), Some(version)) = (field("Name"), field("Version")) else {
        sink.gap(file.path, "package metadata without name and version");
        return;
    };
    let maintainer = field("Maintainer").or_else(|| field("Author"));
    let mut package = file.package(PackageKind::Python, name, version);
    package.licences = licences(&head);
    package.maintainer = maintainer.filter(|name| name != "UNKNOWN");
    // Without a record, the metadata is all that is known to belong to it.
    package.files = vec![package.evidence.clone()];
    sink.add(package);
}

/// The expression; the classifiers, which are a fixed vocabulary; or a name in free text.
fn licences(head: &Paragraph<'_>) -> Vec<String> {
    let named = |field: &str| {
        let text = head.text(field).filter(|text| !text.is_empty() && text != "UNKNOWN");
        text.filter(|text| text.len() <= LICENCE_BYTES_MAX)
    };
    if let Some(expression) = named("License-Expression") {
        return vec![expression];
    }
    let classifiers = head.all("Classifier").filter_map(|value| {
        let value = std::str::from_utf8(value).ok()?;
        let name = value.strip_prefix("License ::")?.rsplit("::").next()?.trim();
        (name != "OSI Approved").then(|| name.to_string())
    });
    let classified: Vec<String> = classifiers.collect();
    if classified.is_empty() { named("License").into_iter().collect() } else { classified }
}

/// The files of a distribution: comma-separated path, digest and size, relative to the folder
/// that has the `.dist-info` folder.
fn record(folder: &str, file: &CatalogFile<'_>, sink: &mut Sink) {
    let text = String::from_utf8_lossy(file.bytes);
    let root = folder.rsplit_once('/').map_or("", |(root, _)| root);
    let files = text.lines().filter_map(|line| {
        let path = match line.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => line.split(',').next(),
        };
        joined(root, path.filter(|path| !path.is_empty())?)
    });
    sink.owns(PackageKind::Python, &absolute(folder), files);
}

/// `path` seen from `root`, without `..`; nothing for a path out of the file system.
fn joined(root: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return Some(path.to_string());
    }
    let mut parts: Vec<&str> = root.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_records() {
        let check = |path: &str, expected: Option<&str>| {
            assert_eq!(joined("usr/lib/python3", path).as_deref(), expected, "{path}");
        };
        check("a/b.py", Some("/usr/lib/python3/a/b.py"));
        check("../../bin/a", Some("/usr/bin/a"));
        check("/etc/a", Some("/etc/a"));
        check("../../../../a", None);
    }
}

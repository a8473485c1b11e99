//! Java: archives (jar, war, ear and their kin), and those within them.
//!
//! An archive says what it is in `pom.properties`, which Maven writes and shading keeps for
//! every part; failing that in its manifest and its name. Archives that say nothing, such as
//! an application's own, are no packages.

mod manifest;

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;
use crate::zip::{Zip, ZipEntry};
use manifest::Manifest;

/// The cataloger of Java archives.
pub(super) struct Java;

/// Largest archive that is read, in bytes.
const ARCHIVE_BYTES_MAX: u64 = 256 << 20;
/// Bytes that are inflated for one archive and everything in it.
const INFLATED_BYTES_MAX: usize = 256 << 20;
/// Largest manifest and `pom.properties`, in bytes.
const MANIFEST_BYTES_MAX: usize = 1 << 20;
/// Archives within each other: a jar in a war in an ear is three.
const DEPTH_MAX: usize = 6;
/// Archives in one file of the image.
const ARCHIVES_MAX: usize = 20_000;
/// Entries of all archives in one file of the image: archives can share their bytes, so that
/// the size of the file bounds nothing.
const ENTRIES_MAX: usize = 4_000_000;
/// Parts that one archive names.
const PARTS_MAX: usize = 10_000;

const EXTENSIONS: [&str; 9] = ["jar", "war", "ear", "par", "sar", "hpi", "jpi", "kar", "nar"];

impl Cataloger for Java {
    fn name(&self) -> &'static str {
        "java"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        is_archive(path.name.as_bytes())
    }

    fn bytes_max(&self) -> u64 {
        ARCHIVE_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let mut walk = Walk {
            file,
            sink,
            inflated_left: INFLATED_BYTES_MAX,
            archives_left: ARCHIVES_MAX,
            entries_left: ENTRIES_MAX,
        };
        walk.archive(file.bytes, file.path, 1);
    }
}

/// Whether the name is that of a Java archive.
fn is_archive(name: &[u8]) -> bool {
    let extension = name.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
    extension.len() == 3
        && extension.len() < name.len()
        && EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known.as_bytes()))
}

/// What an archive is: Maven's coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Coordinates {
    group: String,
    artifact: String,
    version: String,
}

struct Walk<'w> {
    file: &'w CatalogFile<'w>,
    sink: &'w mut Sink,
    inflated_left: usize,
    archives_left: usize,
    entries_left: usize,
}

impl Walk<'_> {
    /// Reads an archive; `path` is where it lies, `!/` after each archive around it.
    fn archive(&mut self, bytes: &[u8], path: &str, depth: usize) {
        let Some(left) = self.archives_left.checked_sub(1) else {
            return self.sink.gap(path, "more archives in one file than are read");
        };
        self.archives_left = left;
        let zip = match Zip::open(bytes) {
            Ok(zip) => zip,
            Err(reason) => return self.sink.gap(path, reason),
        };
        let mut manifest = Manifest::default();
        let mut parts: Vec<Coordinates> = Vec::new();
        for entry in zip.entries() {
            let Some(left) = self.entries_left.checked_sub(1) else {
                self.sink.gap(path, "more entries in one file than are read");
                break;
            };
            self.entries_left = left;
            let entry = match entry {
                Ok(entry) => entry,
                Err(reason) => {
                    self.sink.gap(path, reason);
                    break;
                }
            };
            if entry.name == b"META-INF/MANIFEST.MF" {
                if let Some(text) = self.read(&zip, &entry, path, MANIFEST_BYTES_MAX) {
                    manifest = Manifest::parse(&text);
                }
            } else if is_pom(entry.name) {
                if parts.len() >= PARTS_MAX {
                    self.sink.gap(path, "more parts in one archive than are kept");
                    break;
                }
                let text = self.read(&zip, &entry, path, MANIFEST_BYTES_MAX);
                parts.extend(text.and_then(|text| pom(&text)));
            } else if is_archive(entry.name) {
                let inner = format!("{path}!/{}", String::from_utf8_lossy(entry.name));
                if depth >= DEPTH_MAX {
                    self.sink.gap(&inner, "more archives within each other than are read");
                } else if let Some(content) = self.read(&zip, &entry, &inner, self.inflated_left) {
                    self.archive(&content, &inner, depth + 1);
                }
            }
        }
        self.add(path, &manifest, parts);
    }

    /// The content of an entry, counted; a gap and nothing where it cannot be had.
    fn read<'b>(
        &mut self,
        zip: &Zip<'b>,
        entry: &ZipEntry<'b>,
        path: &str,
        limit: usize,
    ) -> Option<std::borrow::Cow<'b, [u8]>> {
        let content = zip.read(entry, limit.min(self.inflated_left));
        match content {
            Ok(content) => {
                if matches!(content, std::borrow::Cow::Owned(_)) {
                    self.inflated_left = self.inflated_left.saturating_sub(content.len());
                }
                Some(content)
            }
            Err(reason) => {
                // What was inflated in vain counts too.
                if reason.starts_with("larger") {
                    self.inflated_left = self.inflated_left.saturating_sub(limit);
                }
                let name = String::from_utf8_lossy(entry.name);
                let inner = if path.ends_with(name.as_ref()) {
                    path.to_string()
                } else {
                    format!("{path}!/{name}")
                };
                self.sink.gap(&inner, reason);
                None
            }
        }
    }

    /// Adds the archive itself and the parts in it.
    fn add(&mut self, path: &str, manifest: &Manifest, parts: Vec<Coordinates>) {
        let name = super::file_name(path);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        // `artifact.jar` or `artifact-1.0.jar`; `artifact-shaded-1.0.jar` is another.
        let is_itself = |part: &Coordinates| {
            let rest = stem.strip_prefix(part.artifact.as_str());
            let version = rest.map(|rest| rest.trim_start_matches(['-', '_', '.']));
            version.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit())
            })
        };
        let is_named = parts.iter().any(is_itself);
        // A file of any name with the properties of one artifact was renamed.
        let is_renamed = parts.len() == 1 && !stem.contains(|c: char| c.is_ascii_digit());
        let itself = if is_named || is_renamed { None } else { manifest.coordinates(stem) };
        for part in itself.into_iter().chain(parts) {
            let is_whole = is_renamed || is_itself(&part);
            let name = format!("{}:{}", part.group, part.artifact);
            let mut package = self.file.package(PackageKind::Maven, name, part.version);
            package.evidence = super::absolute(path);
            package.files = vec![super::absolute(self.file.path)];
            // The manifest speaks of the whole archive, not of what was shaded into it.
            if is_whole {
                package.licences = manifest.licences();
                package.maintainer = manifest.vendor();
            }
            self.sink.add(package);
        }
    }
}

/// `META-INF/maven/GROUP/ARTIFACT/pom.properties`, also where an application unpacked it.
fn is_pom(name: &[u8]) -> bool {
    name.ends_with(b"/pom.properties")
        && name.windows(15).any(|window| window == b"META-INF/maven/")
}

/// Coordinates in a file of Java properties.
fn pom(bytes: &[u8]) -> Option<Coordinates> {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(key))?;
        let value = line.trim_start().strip_prefix(['=', ':'])?.trim();
        // What is left of a template says nothing.
        (!value.is_empty() && !value.starts_with("${")).then(|| value.to_string())
    };
    Some(Coordinates {
        group: value("groupId")?,
        artifact: value("artifactId")?,
        version: value("version")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives() {
        for (name, expected) in
            [("a.jar", true), ("A.WAR", true), ("jar", false), ("a.zip", false), (".jar", true)]
        {
            assert_eq!(is_archive(name.as_bytes()), expected, "{name}");
        }
        assert!(is_pom(b"META-INF/maven/g/a/pom.properties"));
        assert!(is_pom(b"WEB-INF/classes/META-INF/maven/g/a/pom.properties"));
        assert!(!is_pom(b"META-INF/maven/g/a/pom.xml"));
    }

    #[test]
    fn properties() {
        let text = b"#Generated\nversion=1.0\ngroupId = org.a\r\nartifactId:b\n";
        let found = pom(text).unwrap();
        assert_eq!(
            (found.group.as_str(), found.artifact.as_str(), found.version.as_str()),
            ("org.a", "b", "1.0")
        );
        assert_eq!(pom(b"version=${project.version}\ngroupId=a\nartifactId=b\n"), None);
        assert_eq!(pom(b""), None);
    }
}

//! The manifest of a Java archive (JAR File Specification, "JAR Manifest"): the main
//! attributes, and what can be concluded from them.

use super::Coordinates;

/// The main attributes that say what an archive is.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    attributes: Vec<(String, String)>,
}

/// Attributes that are kept.
const KEPT: [&str; 9] = [
    "Implementation-Version",
    "Implementation-Vendor",
    "Implementation-Vendor-Id",
    "Specification-Version",
    "Bundle-Version",
    "Bundle-SymbolicName",
    "Bundle-Vendor",
    "Bundle-License",
    "Automatic-Module-Name",
];
/// Longer values are cut, in bytes.
const VALUE_BYTES_MAX: usize = 4096;

impl Manifest {
    /// Reads the main section. A line that begins with a blank continues the one before.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut attributes: Vec<(String, String)> = Vec::new();
        let mut is_kept = false;
        for line in text.lines() {
            if line.is_empty() {
                break;
            }
            if let Some(more) = line.strip_prefix(' ') {
                if let Some((_, value)) = attributes.last_mut().filter(|_| is_kept)
                    && value.len() < VALUE_BYTES_MAX
                {
                    value.push_str(more);
                }
                continue;
            }
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            let known = KEPT.iter().find(|known| known.eq_ignore_ascii_case(key));
            is_kept = known.is_some();
            if let Some(key) = known {
                attributes.push(((*key).to_string(), value.trim_start().to_string()));
            }
        }
        Self { attributes }
    }

    fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.attributes.iter().find(|(candidate, _)| candidate == key)?;
        let value = value.trim();
        (!value.is_empty() && !value.starts_with("${")).then_some(value)
    }

    /// What the archive `stem` is; nothing where no version is known.
    ///
    /// The name of the file is the artifact's, since titles are written for people. Its group
    /// is the vendor's identifier, or the module's name without what names the artifact;
    /// where neither is stated, it is the artifact's name, as for most artifacts of the time
    /// when nothing was.
    pub(super) fn coordinates(&self, stem: &str) -> Option<Coordinates> {
        let stated = ["Implementation-Version", "Bundle-Version", "Specification-Version"];
        let stated = stated.iter().find_map(|key| self.get(key)).filter(|text| is_version(text));
        let (artifact, named) = split_name(stem, stated);
        let version = named.or(stated)?;
        let module = self.get("Bundle-SymbolicName").or_else(|| self.get("Automatic-Module-Name"));
        // Directives follow: `org.a.b;singleton:=true`.
        let module = module.and_then(|name| name.split(';').next()).unwrap_or_default().trim();
        let group = self
            .get("Implementation-Vendor-Id")
            .or_else(|| group_of(module, artifact))
            .filter(|group| !group.contains([' ', '/', ':']))
            .unwrap_or(artifact);
        (!artifact.is_empty()).then(|| Coordinates {
            group: group.to_string(),
            artifact: artifact.to_string(),
            version: version.to_string(),
        })
    }

    /// Licences, by name or address.
    pub(super) fn licences(&self) -> Vec<String> {
        let text = self.get("Bundle-License").unwrap_or_default();
        let names = text.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        names
            .filter(|name| !name.is_empty())
            .map(|name| name.trim_matches('"').to_string())
            .collect()
    }

    /// Who made it.
    pub(super) fn vendor(&self) -> Option<String> {
        let vendor = self.get("Implementation-Vendor").or_else(|| self.get("Bundle-Vendor"));
        vendor.map(str::to_string)
    }
}

/// `org.slf4j` of the module `org.slf4j.api` and the artifact `slf4j-api`; the whole of
/// `com.google.inject` for `guice`.
fn group_of<'m>(module: &'m str, artifact: &str) -> Option<&'m str> {
    let (before, last) = module.rsplit_once('.')?;
    Some(if artifact.contains(last) { before } else { module })
}

/// Artifact and version of a file's name: `commons-io` and `2.11.0`. With `stated`, the
/// version begins where that stands.
fn split_name<'n>(stem: &'n str, stated: Option<&str>) -> (&'n str, Option<&'n str>) {
    if let Some(version) = stated
        && let Some(artifact) = stem.strip_suffix(version).and_then(|rest| rest.strip_suffix('-'))
    {
        return (artifact, stem.get(artifact.len() + 1..));
    }
    for (at, _) in stem.match_indices('-') {
        if let Some(version) = stem.get(at + 1..).filter(|rest| is_version(rest)) {
            return (stem.get(..at).unwrap_or_default(), Some(version));
        }
    }
    (stem, None)
}

fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains([' ', '$', '/', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continued_lines() {
        let text = b"Manifest-Version: 1.0\r\nBundle-SymbolicName: org.apa\r\n che.commons.io\r\nImplementation-Version: 2.11.0\r\n\r\nName: x\r\nImplementation-Version: 9\r\n";
        let found = Manifest::parse(text);
        assert_eq!(found.get("Bundle-SymbolicName"), Some("org.apache.commons.io"));
        assert_eq!(found.get("Implementation-Version"), Some("2.11.0"));
    }

    #[test]
    fn conclusions() {
        let check = |manifest: &str, stem: &str, expected: Option<(&str, &str, &str)>| {
            let found = Manifest::parse(manifest.as_bytes()).coordinates(stem);
            let found = found
                .as_ref()
                .map(|one| (one.group.as_str(), one.artifact.as_str(), one.version.as_str()));
            assert_eq!(found, expected, "{stem}");
        };
        check("", "log4j-1.2.17", Some(("log4j", "log4j", "1.2.17")));
        check("", "application", None);
        check(
            "Implementation-Version: 1.5.0",
            "commons-cli",
            Some(("commons-cli", "commons-cli", "1.5.0")),
        );
        check(
            "Bundle-SymbolicName: org.slf4j.api;singleton:=true\nBundle-Version: 1.7.32",
            "slf4j-api",
            Some(("org.slf4j", "slf4j-api", "1.7.32")),
        );
        check(
            "Implementation-Vendor-Id: org.apache.logging.log4j\nImplementation-Version: 2.17.1",
            "log4j-1.2-api-2.17.1",
            Some(("org.apache.logging.log4j", "log4j-1.2-api", "2.17.1")),
        );
        check(
            "Bundle-SymbolicName: com.google.inject",
            "guice-4.2.3",
            Some(("com.google.inject", "guice", "4.2.3")),
        );
        check("Implementation-Version: ${v}", "a", None);
    }
}

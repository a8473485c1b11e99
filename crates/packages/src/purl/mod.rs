//! Package URLs (ECMA-427), as advisories and other scanners write them.

mod rules;
mod url;

use palisade_model::package::SourcePackage;
use palisade_model::{Distribution, PackageKind};

pub use url::{PackageUrl, PackageUrlError, QUALIFIERS_MAX, URL_BYTES_MAX};

/// What a package URL is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'p> {
    /// Ecosystem.
    pub kind: PackageKind,
    /// Name as the ecosystem writes it; `@scope/name` for npm, `group:artifact` for Maven.
    pub name: &'p str,
    /// Version.
    pub version: &'p str,
    /// Architecture.
    pub architecture: Option<&'p str>,
    /// Source package, written as the qualifier `upstream` where it differs.
    pub source: Option<&'p SourcePackage>,
    /// Distribution, for packages of one.
    pub distribution: Option<&'p Distribution>,
    /// RPM's modularity label.
    pub module: Option<&'p str>,
}

/// Writes the package URL; empty for a name that no package URL can hold.
pub fn write(parts: &Parts<'_>) -> String {
    build(parts).map(|purl| purl.to_string()).unwrap_or_default()
}

fn build(parts: &Parts<'_>) -> Result<PackageUrl, PackageUrlError> {
    let mut version = parts.version;
    let mut qualifiers: Vec<(String, String)> = Vec::new();
    let mut add = |key: &str, value: &str| qualifiers.push((key.to_string(), value.to_string()));
    let (namespace, name) = match parts.kind {
        PackageKind::Dpkg | PackageKind::Apk | PackageKind::Rpm | PackageKind::Pacman => {
            let default = match parts.kind {
                PackageKind::Dpkg => "debian",
                PackageKind::Apk => "alpine",
                PackageKind::Pacman => "arch",
                _ => "redhat",
            };
            (parts.distribution.map_or(default, |found| found.id.as_str()), parts.name)
        }
        PackageKind::Maven => parts.name.split_once(':').unwrap_or(("", parts.name)),
        PackageKind::Node | PackageKind::Go | PackageKind::Composer => {
            parts.name.rsplit_once('/').unwrap_or(("", parts.name))
        }
        _ => ("", parts.name),
    };
    // The type definition of rpm puts the epoch among the qualifiers.
    if parts.kind == PackageKind::Rpm
        && let Some((epoch, rest)) = version.split_once(':')
    {
        add("epoch", epoch);
        version = rest;
    }
    if let Some(module) = parts.module {
        add("rpmmod", module);
    }
    if let Some(architecture) = parts.architecture {
        add("arch", architecture);
    }
    if parts.kind.is_of_distribution()
        && let Some(found) = parts.distribution
    {
        let release = match found.version_id.as_str() {
            "" => found.codename.as_str(),
            version => version,
        };
        if release.is_empty() {
            add("distro", &found.id);
        } else {
            add("distro", &format!("{}-{release}", found.id));
        }
    }
    if let Some(source) = parts.source {
        if source.version != parts.version {
            add("upstream", &format!("{}@{}", source.name, source.version));
        } else if source.name != parts.name {
            add("upstream", &source.name);
        }
    }
    PackageUrl {
        kind: parts.kind.purl_type().to_string(),
        namespace: namespace.to_string(),
        name: name.to_string(),
        version: version.to_string(),
        qualifiers,
        subpath: String::new(),
    }
    .new()
}

/// The form of a project's name by which PyPI compares (PEP 503).
pub fn normalised_python_name(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !out.ends_with('-') {
                out.push('-');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_each_kind() {
        let distribution = Distribution {
            id: "debian".into(),
            version_id: "12".into(),
            codename: "bookworm".into(),
            name: "Debian".into(),
        };
        let source = SourcePackage { name: "openssl".into(), version: "3.0.11-1~deb12u2".into() };
        let mut parts = Parts {
            kind: PackageKind::Dpkg,
            name: "openssl",
            version: "3.0.11-1~deb12u2",
            architecture: Some("amd64"),
            source: Some(&source),
            distribution: Some(&distribution),
            module: None,
        };
        let check = |parts: &Parts<'_>, expected: &str| assert_eq!(write(parts), expected);
        check(&parts, "pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12");
        parts.name = "libssl3";
        check(
            &parts,
            "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl",
        );
        let plain = Parts {
            kind: PackageKind::Node,
            name: "@angular/core",
            version: "1.0.0",
            architecture: None,
            source: None,
            distribution: Some(&distribution),
            module: None,
        };
        check(&plain, "pkg:npm/%40angular/core@1.0.0");
        check(
            &Parts { kind: PackageKind::Python, name: "Zope.Interface__x", ..plain },
            "pkg:pypi/zope-interface-x@1.0.0",
        );
        check(
            &Parts { kind: PackageKind::Go, name: "github.com/a/b", version: "v1.2.3", ..plain },
            "pkg:golang/github.com/a/b@v1.2.3",
        );
        check(
            &Parts { kind: PackageKind::Maven, name: "org.a:b", ..plain },
            "pkg:maven/org.a/b@1.0.0",
        );
        check(
            &Parts { kind: PackageKind::Composer, name: "Guzzle/psr7", ..plain },
            "pkg:composer/guzzle/psr7@1.0.0",
        );
        let module = Some("nodejs:18");
        check(
            &Parts { kind: PackageKind::Rpm, name: "a", version: "1:2-3.el9", module, ..plain },
            "pkg:rpm/debian/a@2-3.el9?distro=debian-12&epoch=1&rpmmod=nodejs:18",
        );
    }
}

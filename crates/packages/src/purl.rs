//! Package URLs (ECMA-427), as advisories and other scanners write them.

use packageurl::PackageUrl;
use palisade_model::package::SourcePackage;
use palisade_model::{Distribution, PackageKind};

/// What a package URL is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'p> {
    /// Ecosystem.
    pub kind: PackageKind,
    /// Name as the ecosystem writes it; `@scope/name` for npm.
    pub name: &'p str,
    /// Version.
    pub version: &'p str,
    /// Architecture.
    pub architecture: Option<&'p str>,
    /// Source package, written as the qualifier `upstream` where it differs.
    pub source: Option<&'p SourcePackage>,
    /// Distribution, for packages of one.
    pub distribution: Option<&'p Distribution>,
}

/// Writes the package URL; empty for a name that no package URL can hold.
pub fn write(parts: &Parts<'_>) -> String {
    build(parts).map(|purl| purl.to_string()).unwrap_or_default()
}

fn build(parts: &Parts<'_>) -> packageurl::Result<PackageUrl<'static>> {
    let mut name = parts.name.to_string();
    let mut namespace = String::new();
    match parts.kind {
        PackageKind::Dpkg | PackageKind::Apk | PackageKind::Rpm => {
            let default = match parts.kind {
                PackageKind::Dpkg => "debian",
                PackageKind::Apk => "alpine",
                _ => "redhat",
            };
            let id = parts.distribution.map_or(default, |found| found.id.as_str());
            namespace = id.to_string();
        }
        PackageKind::Python => name = normalised_python_name(parts.name),
        PackageKind::Node | PackageKind::Go => {
            if let Some((before, last)) = parts.name.rsplit_once('/') {
                namespace = before.to_string();
                name = last.to_string();
            }
        }
        _ => {}
    }
    let mut purl = PackageUrl::new(parts.kind.purl_type(), name)?;
    if !namespace.is_empty() {
        purl.with_namespace(namespace)?;
    }
    // The crate writes a version's slash as it is, and readers take it for a namespace; no
    // ecosystem's versions have one, so such a version is left out rather than misread.
    if !parts.version.is_empty() && !parts.version.contains('/') {
        purl.with_version(parts.version.to_string())?;
    }
    if let Some(architecture) = parts.architecture {
        purl.add_qualifier("arch", architecture.to_string())?;
    }
    if namespace_is_distribution(parts.kind)
        && let Some(found) = parts.distribution
    {
        let release = match found.version_id.as_str() {
            "" => found.codename.as_str(),
            version => version,
        };
        let distro =
            if release.is_empty() { found.id.clone() } else { format!("{}-{release}", found.id) };
        purl.add_qualifier("distro", distro)?;
    }
    if let Some(source) = parts.source {
        if source.version != parts.version {
            purl.add_qualifier("upstream", format!("{}@{}", source.name, source.version))?;
        } else if source.name != parts.name {
            purl.add_qualifier("upstream", source.name.clone())?;
        }
    }
    Ok(purl)
}

fn namespace_is_distribution(kind: PackageKind) -> bool {
    matches!(kind, PackageKind::Dpkg | PackageKind::Apk | PackageKind::Rpm)
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
    }
}

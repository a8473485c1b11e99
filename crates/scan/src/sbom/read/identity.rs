//! What a document says of a package, as the inventory has it.

use palisade_base::Digest;
use palisade_model::package::{PackageState, SourcePackage};
use palisade_model::{Distribution, Package, PackageKind};
use palisade_packages::purl::{PackageUrl, normalised_python_name};

/// A package as a document has it.
#[derive(Debug, Default)]
pub(super) struct Stated<'a> {
    pub group: &'a str,
    pub name: &'a str,
    pub version: &'a str,
    pub purl: &'a str,
    pub licences: Vec<String>,
    pub licences_recognised_in: Option<&'a str>,
    pub maintainer: Option<&'a str>,
    pub evidence: Option<&'a str>,
    pub source: Option<(&'a str, &'a str)>,
    pub is_declared: bool,
    pub layer: Option<&'a str>,
    pub module: Option<&'a str>,
}

/// Why something is not in the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unknown {
    /// There is no package URL.
    NoUrl,
    /// The package URL is none.
    BadUrl(String),
    /// Nothing is known of packages of this type.
    Kind(String),
}

/// The package, and the distribution that its package URL names.
pub(super) fn package(
    stated: Stated<'_>,
    evidence: &str,
) -> Result<(Package, Option<Distribution>), Unknown> {
    if stated.purl.is_empty() {
        return Err(Unknown::NoUrl);
    }
    let url = PackageUrl::parse(stated.purl).map_err(|error| Unknown::BadUrl(error.to_string()))?;
    let kind = PackageKind::ALL
        .into_iter()
        .find(|kind| kind.purl_type() == url.kind)
        .ok_or_else(|| Unknown::Kind(url.kind.clone()))?;
    let name = name(kind, &url, &stated);
    let mut version =
        if url.version.is_empty() { stated.version.to_string() } else { url.version.clone() };
    // RPM's epoch is a qualifier; some write Debian's so as well.
    if let Some(epoch) = url.qualifier("epoch").filter(|epoch| *epoch != "0" && !epoch.is_empty())
        && kind.is_of_distribution()
        && !version.contains(':')
    {
        version = format!("{epoch}:{version}");
    }
    let mut package = Package::new(kind, name, version, stated.evidence.unwrap_or(evidence));
    package.architecture = url.qualifier("arch").map(str::to_string);
    package.source = source(kind, &url, &stated, &package);
    package.licences = stated.licences;
    package.licences_recognised_in = stated.licences_recognised_in.map(str::to_string);
    package.maintainer = stated.maintainer.map(str::to_string);
    package.layer = stated.layer.and_then(|text| text.parse::<Digest>().ok());
    package.module = stated.module.or_else(|| url.qualifier("rpmmod")).map(str::to_string);
    if stated.is_declared {
        package.state = PackageState::Declared;
    }
    let distribution = distribution(kind, &url);
    package.purl = url.to_string();
    Ok((package, distribution))
}

fn name(kind: PackageKind, url: &PackageUrl, stated: &Stated<'_>) -> String {
    let joined = |separator: &str| match url.namespace.as_str() {
        "" => url.name.clone(),
        namespace => format!("{namespace}{separator}{}", url.name),
    };
    match kind {
        PackageKind::Maven => joined(":"),
        PackageKind::Node | PackageKind::Go | PackageKind::Composer => {
            let name = joined("/");
            // The package URL has lost the case, which the ecosystem may keep.
            let full = match stated.group {
                "" => stated.name.to_string(),
                group => format!("{group}/{}", stated.name),
            };
            if full.eq_ignore_ascii_case(&name) { full } else { name }
        }
        PackageKind::Python if normalised_python_name(stated.name) == url.name => {
            stated.name.to_string()
        }
        _ if stated.name.eq_ignore_ascii_case(&url.name) => stated.name.to_string(),
        _ => url.name.clone(),
    }
}

/// The source package: as the document states it, by the qualifier `upstream`, or the package
/// itself where the ecosystem has sources.
fn source(
    kind: PackageKind,
    url: &PackageUrl,
    stated: &Stated<'_>,
    package: &Package,
) -> Option<SourcePackage> {
    let same_version = |version: &str| {
        if version.is_empty() { package.version.clone() } else { version.to_string() }
    };
    if let Some((name, version)) = stated.source.filter(|(name, _)| !name.is_empty()) {
        return Some(SourcePackage { name: name.into(), version: same_version(version) });
    }
    if !matches!(kind, PackageKind::Dpkg | PackageKind::Apk) {
        return None;
    }
    let upstream = url.qualifier("upstream").unwrap_or_default();
    let (name, version) = upstream.split_once('@').unwrap_or((upstream, ""));
    let name = if name.is_empty() { package.name.as_str() } else { name };
    Some(SourcePackage { name: name.to_string(), version: same_version(version) })
}

/// The distribution by the qualifier `distro`: `debian-12`, `bookworm`, `3.20.1`.
fn distribution(kind: PackageKind, url: &PackageUrl) -> Option<Distribution> {
    if !kind.is_of_distribution() {
        return None;
    }
    let text = url.qualifier("distro")?;
    let id = if url.namespace.is_empty() { text.split('-').next()? } else { &url.namespace };
    let version = text.strip_prefix(id).map_or(text, |rest| rest.trim_start_matches('-'));
    let is_number = version.starts_with(|c: char| c.is_ascii_digit());
    Some(Distribution {
        id: id.to_string(),
        version_id: if is_number { version.to_string() } else { String::new() },
        codename: if is_number { String::new() } else { version.to_string() },
        name: format!("{id} {version}").trim_end().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(purl: &str, name: &str) -> (Package, Option<Distribution>) {
        let stated = Stated { name, purl, ..Stated::default() };
        package(stated, "bom.json").unwrap()
    }

    #[test]
    fn names_and_versions_are_the_ecosystem_s() {
        let check = |purl: &str, stated: &str, name: &str, version: &str| {
            let (package, _) = of(purl, stated);
            assert_eq!(
                (package.name.as_str(), package.version.as_str()),
                (name, version),
                "{purl}"
            );
        };
        check("pkg:npm/%40angular/core@1.0.0", "core", "@angular/core", "1.0.0");
        check("pkg:maven/org.a/b@1", "b", "org.a:b", "1");
        check("pkg:golang/github.com/a/b@v1.2.3", "x", "github.com/a/b", "v1.2.3");
        check("pkg:pypi/pyyaml@6.0", "PyYAML", "PyYAML", "6.0");
        check("pkg:rpm/redhat/a@2-3.el9?epoch=1&arch=x86_64", "a", "a", "1:2-3.el9");
        check("pkg:deb/debian/a@1.0?epoch=2", "a", "a", "2:1.0");
        check("pkg:deb/debian/a@2%3A1.0?epoch=2", "a", "a", "2:1.0");
    }

    #[test]
    fn sources_and_distributions() {
        let (package, system) =
            of("pkg:deb/debian/libssl3@3.0-1?arch=amd64&distro=debian-12&upstream=openssl", "x");
        let source = package.source.unwrap();
        assert_eq!((source.name.as_str(), source.version.as_str()), ("openssl", "3.0-1"));
        assert_eq!(package.architecture.as_deref(), Some("amd64"));
        let system = system.unwrap();
        assert_eq!((system.id.as_str(), system.version_id.as_str()), ("debian", "12"));
        let check = |purl: &str, expected: (&str, &str, &str)| {
            let system = of(purl, "x").1.unwrap();
            let found = (system.id.as_str(), system.version_id.as_str(), system.codename.as_str());
            assert_eq!(found, expected, "{purl}");
        };
        check("pkg:deb/debian/a@1?distro=bookworm", ("debian", "", "bookworm"));
        check("pkg:apk/alpine/a@1?distro=3.20.1", ("alpine", "3.20.1", ""));
        check("pkg:rpm/opensuse-leap/a@1?distro=opensuse-leap-15.6", ("opensuse-leap", "15.6", ""));
        assert_eq!(of("pkg:npm/a@1?distro=debian-12", "a").1, None);
    }

    #[test]
    fn what_is_no_package_is_said() {
        let check = |purl: &str, expected: &Unknown| {
            let stated = Stated { purl, ..Stated::default() };
            assert_eq!(&package(stated, "x").unwrap_err(), expected);
        };
        check("", &Unknown::NoUrl);
        check("pkg:swift/github.com/a/b@1", &Unknown::Kind("swift".into()));
        assert!(matches!(
            package(Stated { purl: "nonsense", ..Stated::default() }, "x"),
            Err(Unknown::BadUrl(_))
        ));
    }
}

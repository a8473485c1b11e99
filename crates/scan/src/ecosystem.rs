//! Names of ecosystems and packages, as the database knows them.
//!
//! OSV's names are used for all feeds: `Debian:12`, `Ubuntu:22.04`, `Alpine:v3.20`, `PyPI`.

use std::collections::BTreeSet;

use palisade_model::{Distribution, Inventory, Package, PackageKind};
use palisade_packages::version;

/// Ecosystems without releases whose packages can be inventoried.
const FLAT: [&str; 8] =
    ["PyPI", "npm", "Go", "crates.io", "RubyGems", "Packagist", "Maven", "NuGet"];
/// Ecosystems with releases.
const RELEASED: [&str; 10] = [
    "Debian",
    "Ubuntu",
    "Alpine",
    "AlmaLinux",
    "Rocky Linux",
    "Red Hat",
    "Wolfi",
    "Chainguard",
    "SUSE",
    "openSUSE",
];

/// The database's name of an ecosystem of an OSV record; `None` where the product has no use
/// for it. `Ubuntu:22.04:LTS` is `Ubuntu:22.04`; Ubuntu's paid streams are left out, because
/// an image does not show whether it is entitled to them.
pub fn from_osv(name: &str) -> Option<String> {
    let mut parts = name.split(':');
    let family = parts.next()?;
    if FLAT.contains(&family) || (RELEASED.contains(&family) && family == name) {
        return Some(family.to_string());
    }
    if !RELEASED.contains(&family) {
        return None;
    }
    match (family, parts.next()?, parts.next()) {
        ("Ubuntu", "Pro", _) => None,
        ("Ubuntu", release, None | Some("LTS")) => Some(format!("Ubuntu:{release}")),
        // `Red Hat:enterprise_linux:9::appstream`; streams with an entitlement are left out.
        ("Red Hat", "enterprise_linux", Some(version)) => {
            let major = version.split('.').next().filter(|major| !major.is_empty())?;
            Some(format!("Red Hat:{major}"))
        }
        ("Ubuntu" | "Red Hat", ..) => None,
        ("SUSE", release, _) => crate::feeds::csaf::suse_release(&format!("SUSE {release}")),
        ("openSUSE", release, _) => {
            crate::feeds::csaf::suse_release(&format!("openSUSE {release}"))
        }
        (_, release, _) => Some(format!("{family}:{release}")),
    }
}

/// The order of the versions of an ecosystem, by the database's name.
pub(crate) fn order(ecosystem: &str) -> Option<version::Compare> {
    version::order(match ecosystem.split(':').next().unwrap_or_default() {
        "PyPI" => PackageKind::Python,
        "npm" => PackageKind::Node,
        "Go" => PackageKind::Go,
        "crates.io" => PackageKind::Cargo,
        "RubyGems" => PackageKind::Ruby,
        "Packagist" => PackageKind::Composer,
        "Maven" => PackageKind::Maven,
        "NuGet" => PackageKind::Nuget,
        "Debian" | "Ubuntu" => PackageKind::Dpkg,
        "Alpine" | "Wolfi" | "Chainguard" => PackageKind::Apk,
        "AlmaLinux" | "Rocky Linux" | "Red Hat" | "SUSE" | "openSUSE" => PackageKind::Rpm,
        _ => return None,
    })
}

/// The ecosystem of an installed package; the reason where there is none.
pub fn of_package(
    package: &Package,
    distribution: Option<&Distribution>,
) -> Result<String, &'static str> {
    let distribution = match package.kind {
        PackageKind::Python => return Ok("PyPI".to_string()),
        PackageKind::Node => return Ok("npm".to_string()),
        PackageKind::Go => return Ok("Go".to_string()),
        PackageKind::Cargo => return Ok("crates.io".to_string()),
        PackageKind::Ruby => return Ok("RubyGems".to_string()),
        PackageKind::Composer => return Ok("Packagist".to_string()),
        PackageKind::Maven => return Ok("Maven".to_string()),
        PackageKind::Nuget => return Ok("NuGet".to_string()),
        PackageKind::Conda => return Err("no feed covers Conda"),
        PackageKind::Binary => return Err("no feed covers programs outside packages"),
        _ => distribution.ok_or("the image does not say which distribution it is")?,
    };
    let version = distribution.version_id.as_str();
    let major = version.split('.').next().unwrap_or_default();
    Ok(match (package.kind, distribution.id.as_str()) {
        // Unreleased Debian has no VERSION_ID.
        (PackageKind::Dpkg, "debian") if major.is_empty() => {
            format!(
                "Debian:{}",
                if distribution.codename.is_empty() { "sid" } else { &distribution.codename }
            )
        }
        (PackageKind::Dpkg, "debian") => format!("Debian:{major}"),
        (PackageKind::Dpkg, "ubuntu") => format!("Ubuntu:{version}"),
        // `3.22_alpha20250108` is what edge calls itself.
        (PackageKind::Apk, "alpine") if version.contains(['_', 'a']) => "Alpine:edge".to_string(),
        (PackageKind::Apk, "alpine") => {
            let minor = version.split('.').nth(1).unwrap_or_default();
            format!("Alpine:v{major}.{minor}")
        }
        (PackageKind::Apk, "wolfi") => "Wolfi".to_string(),
        (PackageKind::Apk, "chainguard") => "Chainguard".to_string(),
        (PackageKind::Rpm, "almalinux") => format!("AlmaLinux:{major}"),
        // CentOS is built from Red Hat's sources and has no advisories of its own.
        (PackageKind::Rpm, "rhel" | "centos") => format!("Red Hat:{major}"),
        (PackageKind::Rpm, "amzn") => format!("Amazon Linux:{}", amazon(major)),
        (PackageKind::Rpm, "sles" | "sles_sap") => format!("SUSE:{version}"),
        (PackageKind::Rpm, "opensuse-leap") => format!("openSUSE:{version}"),
        (PackageKind::Rpm, "opensuse-tumbleweed") => "openSUSE:tumbleweed".to_string(),
        (PackageKind::Rpm, "rocky") => format!("Rocky Linux:{major}"),
        _ => return Err("no feed covers this distribution"),
    })
}

/// The ecosystems of the packages of `inventory`.
pub fn of_inventory(inventory: &Inventory) -> BTreeSet<String> {
    let mut kinds: Vec<PackageKind> = Vec::new();
    let mut found = BTreeSet::new();
    for package in &inventory.packages {
        if !kinds.contains(&package.kind) {
            kinds.push(package.kind);
            found.extend(of_package(package, inventory.distribution.as_ref()));
        }
    }
    found
}

/// Amazon Linux 1 has the month of its release as its version (`2018.03`); 2022 became 2023.
fn amazon(major: &str) -> &str {
    match major {
        "2" | "2023" => major,
        "2022" => "2023",
        year if year.len() == 4 && year < "2022" => "1",
        other => other,
    }
}

/// The spelling under which the database keeps `name`.
///
/// PyPI: lower case, runs of `-`, `_` and `.` are one `-` (Python packaging specification,
/// "Names and normalization"). NuGet's and Packagist's have no case. Others are kept.
pub fn normalise_name(ecosystem: &str, name: &str) -> String {
    match ecosystem {
        "PyPI" => {}
        "NuGet" | "Packagist" => return name.to_lowercase(),
        _ => return name.to_string(),
    }
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            _ => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

/// The name and version by which advisories of the ecosystem know an installed package:
/// the source package for distributions that build binaries from sources.
pub fn advisory_name(package: &Package) -> (&str, &str) {
    match (&package.source, package.kind) {
        (Some(source), PackageKind::Dpkg | PackageKind::Apk) => (&source.name, &source.version),
        _ => (&package.name, &package.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn osv_names_become_ours() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(from_osv(name).as_deref(), expected, "{name}");
        };
        check("PyPI", Some("PyPI"));
        check("Debian:12", Some("Debian:12"));
        check("Ubuntu:22.04:LTS", Some("Ubuntu:22.04"));
        check("Ubuntu:Pro:18.04:LTS", None);
        check("Ubuntu:22.04:LTS:for:NVIDIA", Some("Ubuntu:22.04"));
        check("Alpine:v3.20", Some("Alpine:v3.20"));
        check("Wolfi", Some("Wolfi"));
        check("NuGet", Some("NuGet"));
        check("Red Hat:enterprise_linux:9::appstream", Some("Red Hat:9"));
        check("Red Hat:rhel_eus:9.2::baseos", None);
        check("SUSE:Linux Enterprise Server 15 SP5", Some("SUSE:15.5"));
        check("openSUSE:Leap 15.5", Some("openSUSE:15.5"));
        check("Hex", None);
        check("", None);
    }

    #[test]
    fn python_names_are_normalised() {
        assert_eq!(normalise_name("PyPI", "Foo__Bar.-baz"), "foo-bar-baz");
        assert_eq!(normalise_name("npm", "@a/B_c"), "@a/B_c");
        assert_eq!(normalise_name("NuGet", "Newtonsoft.Json"), "newtonsoft.json");
    }
}

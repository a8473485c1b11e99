//! Packages and the inventory of an image.

use std::fmt;

use palisade_base::Digest;
use serde::{Deserialize, Serialize};

/// The ecosystem of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PackageKind {
    /// Debian and derivatives.
    Dpkg,
    /// Alpine and derivatives.
    Apk,
    /// Red Hat and SUSE families.
    Rpm,
    /// PyPI.
    Python,
    /// npm.
    Node,
    /// Go modules in binaries.
    Go,
    /// Rust crates in binaries and lock files.
    Cargo,
}

impl PackageKind {
    /// The type of its package URLs: `deb`, `pypi`.
    pub const fn purl_type(self) -> &'static str {
        match self {
            Self::Dpkg => "deb",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Python => "pypi",
            Self::Node => "npm",
            Self::Go => "golang",
            Self::Cargo => "cargo",
        }
    }
}

impl fmt::Display for PackageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.purl_type())
    }
}

/// The source package from which a distribution built a binary package. Advisories of
/// Debian, Ubuntu and Alpine name the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourcePackage {
    /// Name: `openssl` for `libssl3`.
    pub name: String,
    /// Its version, which may differ from the binary's.
    pub version: String,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Ecosystem.
    pub kind: PackageKind,
    /// Name within the ecosystem.
    pub name: String,
    /// Version as the ecosystem writes it, with epoch.
    pub version: String,
    /// Architecture, where the ecosystem has them: `amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Source package, where the ecosystem has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourcePackage>,
    /// Package URL (ECMA-427).
    pub purl: String,
    /// Licences as the package states them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
    /// Maintainer or author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintainer: Option<String>,
    /// Files it installed, absolute within the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// File that proves it: `/var/lib/dpkg/status`.
    pub evidence: String,
    /// Layer (diff id) that brought the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
}

/// The distribution of an image, from `os-release(5)`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`: `debian`.
    pub id: String,
    /// `VERSION_ID`: `12`.
    pub version_id: String,
    /// `VERSION_CODENAME`: `bookworm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub codename: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

/// What an image holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// What was examined.
    pub subject: Subject,
    /// Its distribution, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// Its packages, sorted by kind, name and version.
    pub packages: Vec<Package>,
    /// Files seen in the squashed view.
    pub n_files: u64,
    /// What could not be examined. Empty means that everything was.
    pub gaps: Vec<Gap>,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The target as the user named it: `oci:demo:latest`.
    pub name: String,
    /// Digest of the image's manifest, when the target is an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Platform of the chosen image: `linux/amd64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// Something that could not be examined; never counted as clean.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// File or part that was not examined.
    pub path: String,
    /// Why.
    pub reason: String,
}

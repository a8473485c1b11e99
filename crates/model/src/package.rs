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
    /// Go modules in binaries and `go.mod`.
    Go,
    /// Rust crates in binaries and lock files.
    Cargo,
    /// Arch Linux and derivatives.
    Pacman,
    /// RubyGems.
    Ruby,
    /// Packagist.
    Composer,
    /// Maven artifacts in Java archives and lock files; the name is `GROUP:ARTIFACT`.
    Maven,
    /// NuGet.
    Nuget,
    /// Conda channels.
    Conda,
    /// Programs that no package manager installed, known by the version in them.
    Binary,
}

impl PackageKind {
    /// All kinds, in their order.
    pub const ALL: [Self; 14] = [
        Self::Dpkg,
        Self::Apk,
        Self::Rpm,
        Self::Python,
        Self::Node,
        Self::Go,
        Self::Cargo,
        Self::Pacman,
        Self::Ruby,
        Self::Composer,
        Self::Maven,
        Self::Nuget,
        Self::Conda,
        Self::Binary,
    ];

    /// Whether a distribution's package manager installs it. Everything else is of a language,
    /// or was copied into the image.
    pub const fn is_of_distribution(self) -> bool {
        matches!(self, Self::Dpkg | Self::Apk | Self::Rpm | Self::Pacman)
    }

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
            Self::Pacman => "alpm",
            Self::Ruby => "gem",
            Self::Composer => "composer",
            Self::Maven => "maven",
            Self::Nuget => "nuget",
            Self::Conda => "conda",
            Self::Binary => "generic",
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

/// How certain it is that a package is in the image.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum PackageState {
    /// Its files are there.
    #[default]
    Installed,
    /// A lock file or manifest names it, and nothing shows that it was installed.
    Declared,
}

impl PackageState {
    /// Whether the package is installed.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if wants it")]
    pub fn is_installed(&self) -> bool {
        *self == Self::Installed
    }
}

/// One package.
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
    /// File in whose text the licences were recognised; none where the package states them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licences_recognised_in: Option<String>,
    /// Maintainer or author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintainer: Option<String>,
    /// Files it installed, absolute within the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// File that proves it: `/var/lib/dpkg/status`. Inside an archive, the path within it
    /// follows `!/`: `/app.war!/WEB-INF/lib/a.jar`.
    pub evidence: String,
    /// Layer (diff id) that brought the package: the one with most of its files; where they
    /// are not known, the one with the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<Digest>,
    /// Whether it is installed or only named by a lock file.
    #[serde(default, skip_serializing_if = "PackageState::is_installed")]
    pub state: PackageState,
    /// RPM's modularity label (`NAME:STREAM:VERSION:CONTEXT`): advisories of a module count
    /// for its packages alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Package URL of the distribution's package of which it is a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What a distribution's package cannot do without, as it says so: names without versions,
    /// alternatives separated by `|`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends: Vec<String>,
    /// Names under which others may ask for it besides its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provides: Vec<String>,
}

impl Package {
    /// A package of which no more is known. `evidence` is a path with its leading slash.
    pub fn new(
        kind: PackageKind,
        name: impl Into<String>,
        version: impl Into<String>,
        evidence: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            name: name.into(),
            version: version.into(),
            architecture: None,
            source: None,
            purl: String::new(),
            licences: Vec::new(),
            licences_recognised_in: None,
            maintainer: None,
            files: Vec::new(),
            evidence: evidence.into(),
            layer: None,
            state: PackageState::Installed,
            module: None,
            owner: None,
            depends: Vec::new(),
            provides: Vec::new(),
        }
    }
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
    /// Packages of languages that are parts of a distribution's package, which each names as
    /// its owner. They are that package's business and not counted a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Package>,
    /// The functions of programs of Go and Rust, by path. Reports leave them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<crate::symbols::Program>,
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

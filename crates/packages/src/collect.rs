//! Gathers what the catalogers find and makes the inventory of it.

use std::collections::{HashMap, HashSet};

use palisade_base::Digest;
use palisade_model::package::{Gap, Subject};
use palisade_model::{Distribution, Inventory, Package, PackageKind};

use crate::catalog::{CatalogFile, catalogers};
use crate::{os_release, purl};

/// Packages of one image.
const PACKAGES_MAX: usize = 500_000;
/// Files that all packages together own.
const OWNED_FILES_MAX: usize = 8_000_000;
/// Gaps that are kept one by one.
const GAPS_MAX: usize = 10_000;

/// Where catalogers put what they find.
#[derive(Debug, Default)]
pub struct Sink {
    packages: Vec<Package>,
    owned: HashMap<(PackageKind, String), Vec<String>>,
    n_owned_files: usize,
    gaps: Vec<Gap>,
    n_more: u64,
}

impl Sink {
    /// Adds a package; its package URL is written later, when the distribution is known.
    pub fn add(&mut self, package: Package) {
        if self.packages.len() < PACKAGES_MAX {
            self.packages.push(package);
        } else {
            self.n_more += 1;
        }
    }

    /// Notes the files of the package `name`, which may have `:ARCHITECTURE` after it.
    pub fn owns(&mut self, kind: PackageKind, name: &str, files: impl Iterator<Item = String>) {
        let room = OWNED_FILES_MAX.saturating_sub(self.n_owned_files);
        let mut files = files.peekable();
        let kept: Vec<String> = files.by_ref().take(room).collect();
        if files.peek().is_some() {
            self.gap(name, "more owned files than are kept");
        }
        self.n_owned_files += kept.len();
        self.owned.entry((kind, name.to_string())).or_default().extend(kept);
    }

    /// Notes what could not be read.
    pub fn gap(&mut self, path: &str, reason: impl Into<String>) {
        if self.gaps.len() < GAPS_MAX {
            let path = if path.starts_with('/') { path.into() } else { format!("/{path}") };
            self.gaps.push(Gap { path, reason: reason.into() });
        } else {
            self.n_more += 1;
        }
    }
}

/// Takes the files that the catalogers want and gives the inventory.
#[derive(Debug, Default)]
pub struct Collector {
    sink: Sink,
    distribution: Option<Distribution>,
    /// `etc/os-release` decides over `usr/lib/os-release`.
    distribution_is_final: bool,
}

/// The files of `os-release(5)`, the first decides.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

impl Collector {
    /// Largest file that catalogers read, in bytes; a larger one is a gap, see
    /// [`Collector::gap`].
    pub const FILE_BYTES_MAX: u64 = 64 << 20;

    /// An empty collector.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the content of the file at `path` (without leading slash) is wanted.
    pub fn wants(&self, path: &str) -> bool {
        OS_RELEASE.contains(&path) || catalogers().iter().any(|one| one.wants(path))
    }

    /// Takes a wanted file with its whole content.
    pub fn add(&mut self, path: &str, bytes: &[u8], layer: Option<Digest>) {
        if OS_RELEASE.contains(&path) {
            self.os_release(path, bytes);
        }
        let file = CatalogFile { path, bytes, layer };
        for cataloger in catalogers().iter().filter(|one| one.wants(path)) {
            cataloger.catalog(&file, &mut self.sink);
        }
    }

    fn os_release(&mut self, path: &str, bytes: &[u8]) {
        match os_release::parse(bytes) {
            Some(found) if !self.distribution_is_final => {
                self.distribution = Some(found);
                self.distribution_is_final = path == OS_RELEASE[0];
            }
            Some(_) => {}
            None => self.sink.gap(path, "names no distribution"),
        }
    }

    /// Notes a wanted file that could not be read, or anything else not examined.
    pub fn gap(&mut self, path: &str, reason: impl Into<String>) {
        self.sink.gap(path, reason);
    }

    /// The distribution, as far as it is known yet.
    pub fn distribution(&self) -> Option<&Distribution> {
        self.distribution.as_ref()
    }

    /// The inventory of all files added: sorted, each package once.
    ///
    /// A package of a language whose evidence a distribution's package owns is that package:
    /// Debian's `python3-yaml` and the `PyYAML` in it. Reported twice, it would be judged by
    /// advisories that do not know the distribution's patches.
    pub fn finish(self, subject: Subject, n_files: u64, walk_gaps: Vec<Gap>) -> Collected {
        let Self { sink, distribution, .. } = self;
        let Sink { mut packages, mut owned, mut gaps, n_more, .. } = sink;
        for package in &mut packages {
            if let Some(files) = owned_files(&mut owned, package) {
                package.files = files;
            }
            package.purl = purl::write(&purl::Parts {
                kind: package.kind,
                name: &package.name,
                version: &package.version,
                architecture: package.architecture.as_deref(),
                source: package.source.as_ref(),
                distribution: distribution.as_ref(),
            });
        }
        packages.sort_by(|a, b| key(a).cmp(&key(b)));
        packages.dedup_by(|a, b| key(a) == key(b));
        let owned: HashSet<String> = packages
            .iter()
            .filter(|package| is_of_distribution(package.kind))
            .flat_map(|package| package.files.iter().map(|file| merged_usr(file).to_string()))
            .collect();
        let (owned_by_distribution, packages) = packages.into_iter().partition(|package| {
            !is_of_distribution(package.kind) && owned.contains(merged_usr(&package.evidence))
        });
        gaps.extend(walk_gaps);
        if n_more > 0 {
            let reason = format!("{n_more} more packages or gaps than are kept");
            gaps.push(Gap { path: "/".into(), reason });
        }
        let inventory = Inventory { subject, distribution, packages, n_files, gaps };
        Collected { inventory, owned_by_distribution }
    }
}

/// What the catalogers found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The packages of the image.
    pub inventory: Inventory,
    /// Packages of languages that are parts of the distribution's packages, and are not in
    /// the inventory.
    pub owned_by_distribution: Vec<Package>,
}

fn is_of_distribution(kind: PackageKind) -> bool {
    matches!(kind, PackageKind::Dpkg | PackageKind::Apk | PackageKind::Rpm)
}

/// A path as it is where `/lib` is a link to `/usr/lib`: packages list either.
fn merged_usr(path: &str) -> &str {
    path.strip_prefix("/usr").filter(|rest| rest.starts_with("/lib")).unwrap_or(path)
}

/// What makes an installed package the same as another.
fn key(package: &Package) -> (PackageKind, &str, &str, Option<&str>, &str) {
    (
        package.kind,
        &package.name,
        &package.version,
        package.architecture.as_deref(),
        &package.evidence,
    )
}

/// The files noted for a package: by `name:architecture`, as dpkg does for packages that may
/// be installed for several, or by name.
fn owned_files(
    owned: &mut HashMap<(PackageKind, String), Vec<String>>,
    package: &Package,
) -> Option<Vec<String>> {
    let architecture = package.architecture.as_deref().unwrap_or_default();
    let full = (package.kind, format!("{}:{architecture}", package.name));
    owned.remove(&full).or_else(|| owned.remove(&(package.kind, package.name.clone())))
}

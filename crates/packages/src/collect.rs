//! Gathers what the catalogers find and makes the inventory of it.

use std::collections::{HashMap, HashSet};
use std::io::Read;

use palisade_base::Digest;
use palisade_model::package::{Gap, PackageState, Subject};
use palisade_model::symbols::{FunctionSet, Program};
use palisade_model::{Distribution, Inventory, Package, PackageKind};

use crate::catalog::{CatalogFile, FilePath, catalogers};
use crate::layers::Layers;
use crate::{os_release, program, purl};

/// Packages of one image.
pub const PACKAGES_MAX: usize = 500_000;
/// Files that all packages together own.
pub const OWNED_FILES_MAX: usize = 8_000_000;
/// Gaps that are kept one by one.
pub const GAPS_MAX: usize = 10_000;
/// Programs whose functions are kept.
pub(crate) const PROGRAMS_MAX: usize = 10_000;
/// Bytes that the functions of all programs take together; of later ones only the names of the
/// files are kept.
pub(crate) const FUNCTION_BYTES_MAX: usize = 64 << 20;
/// Longer names and versions are nobody's, in bytes.
pub const NAME_BYTES_MAX: usize = 1024;

/// Where catalogers put what they find.
#[derive(Debug, Default)]
pub struct Sink {
    packages: Vec<Package>,
    owned: HashMap<(PackageKind, String), Vec<String>>,
    n_owned_files: usize,
    licences: HashMap<(PackageKind, String), Vec<String>>,
    /// What texts in the folder of a package's metadata say, with the first of these files.
    licence_texts: HashMap<(PackageKind, String), (Vec<String>, String)>,
    gaps: Vec<Gap>,
    programs: Vec<Program>,
    n_function_bytes: usize,
    n_development: u64,
    n_more: u64,
}

impl Sink {
    /// Adds a package; its package URL is written later, when the distribution is known.
    pub fn add(&mut self, mut package: Package) {
        package.name = clean(package.name);
        package.version = clean(package.version);
        if package.name.is_empty() || package.name.len().max(package.version.len()) > NAME_BYTES_MAX
        {
            self.gap(&package.evidence, "a package without a name, or with an endless one");
        } else if self.packages.len() < PACKAGES_MAX {
            self.packages.push(package);
        } else {
            self.n_more += 1;
        }
    }

    /// Adds the functions of a program.
    pub(crate) fn program(&mut self, mut program: Program) {
        if self.programs.len() >= PROGRAMS_MAX {
            // Without its functions nothing is known of it, which is what it says then.
            return;
        }
        let n_bytes = program.functions.n_bytes();
        if self.n_function_bytes + n_bytes > FUNCTION_BYTES_MAX {
            program.functions = FunctionSet::default();
            program.doubt = Some("the image has more functions than are kept".into());
        } else {
            self.n_function_bytes += n_bytes;
        }
        self.programs.push(program);
    }

    /// Counts packages that a lock file names for development alone. They are not in the
    /// inventory: what is installed of them is found where it is installed.
    pub fn development(&mut self, n: u64) {
        self.n_development += n;
    }

    /// Notes the files of a package: by name, which may have `:ARCHITECTURE` after it, or by
    /// the folder of its evidence, with its leading slash.
    pub fn owns(&mut self, kind: PackageKind, key: &str, files: impl Iterator<Item = String>) {
        let room = OWNED_FILES_MAX.saturating_sub(self.n_owned_files);
        let mut files = files.peekable();
        let kept: Vec<String> = files.by_ref().take(room).collect();
        if files.peek().is_some() {
            self.gap(key, "more owned files than are kept");
        }
        self.n_owned_files += kept.len();
        self.owned.entry((kind, key.to_string())).or_default().extend(kept);
    }

    /// Notes the licences of the package `name` that states none with its name and version.
    pub fn licences(&mut self, kind: PackageKind, name: &str, licences: Vec<String>) {
        if self.licences.len() < PACKAGES_MAX {
            self.licences.insert((kind, name.to_string()), licences);
        }
    }

    /// Notes the licences whose text is the file at `path`, of the package whose metadata lie
    /// in `folder`; both with their leading slash.
    pub fn licence_text(&mut self, kind: PackageKind, folder: &str, found: &[&str], path: &str) {
        if found.is_empty() || self.licence_texts.len() >= PACKAGES_MAX {
            return;
        }
        let key = (kind, folder.to_string());
        let (known, first) =
            self.licence_texts.entry(key).or_insert_with(|| (Vec::new(), path.to_string()));
        known.extend(found.iter().map(ToString::to_string));
        known.sort();
        known.dedup();
        if path < first.as_str() {
            *first = path.to_string();
        }
    }

    /// Notes what could not be read.
    pub fn gap(&mut self, path: &str, reason: impl Into<String>) {
        if self.gaps.len() < GAPS_MAX {
            let path = crate::catalog::absolute(path);
            self.gaps.push(Gap { path, reason: reason.into() });
        } else {
            self.n_more += 1;
        }
    }
}

/// Without blanks around it and without control characters, which would break reports.
fn clean(text: String) -> String {
    let trimmed = text.trim();
    if trimmed.len() == text.len() && !text.contains(char::is_control) {
        return text;
    }
    trimmed.chars().filter(|c| !c.is_control()).collect()
}

/// Takes the files that the catalogers want and gives the inventory.
#[derive(Debug, Default)]
pub struct Collector {
    sink: Sink,
    distribution: Option<Distribution>,
    /// `etc/os-release` decides over `usr/lib/os-release`.
    distribution_is_final: bool,
    layers: Layers,
    /// Reused for every program.
    buffer: Vec<u8>,
}

/// Databases of package managers, and the folder of the one that honest images never move.
const DATABASES: [&str; 10] = [
    "lib/apk/db/installed",
    "usr/lib/apk/db/installed",
    "usr/lib/sysimage/rpm/Packages.db",
    "usr/lib/sysimage/rpm/rpmdb.sqlite",
    "var/lib/dpkg",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d",
    "var/lib/rpm/Packages",
    "var/lib/rpm/Packages.db",
    "var/lib/rpm/rpmdb.sqlite",
];

/// The files of `os-release(5)`, the first decides.
const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// Largest `os-release` that is read, in bytes.
const OS_RELEASE_BYTES_MAX: u64 = 1 << 20;

impl Collector {
    /// Bytes of a file's beginning that [`Collector::is_program`] needs.
    pub const PROGRAM_HEAD_BYTES: usize = program::HEAD_BYTES;

    /// An empty collector.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the content of the file at `path` (without leading slash) is wanted, and the
    /// largest size in bytes in which it is. A larger one is to be a gap, see
    /// [`Collector::gap`].
    pub fn wants(&self, path: &str) -> Option<u64> {
        let path = FilePath::new(path);
        let catalogers = catalogers().iter().filter(|one| one.wants(&path));
        let is_os_release = OS_RELEASE.contains(&path.whole).then_some(OS_RELEASE_BYTES_MAX);
        catalogers.map(|one| one.bytes_max()).chain(is_os_release).max()
    }

    /// Takes a wanted file with its whole content.
    pub fn add(&mut self, path: &str, bytes: &[u8], layer: Option<Digest>) {
        if OS_RELEASE.contains(&path) {
            self.os_release(path, bytes);
        }
        let file = CatalogFile { path, bytes, layer };
        let path = FilePath::new(path);
        for cataloger in catalogers().iter().filter(|one| one.wants(&path)) {
            cataloger.catalog(&file, &mut self.sink);
        }
    }

    /// Whether packages are looked for in the file at `path` with the permission bits `mode`,
    /// if it is a program, which its beginning tells: see [`Collector::is_program`].
    pub fn wants_program(&self, path: &str, mode: u32) -> bool {
        program::wants(&FilePath::new(path), mode)
    }

    /// Whether a file that begins with `head`, [`Collector::PROGRAM_HEAD_BYTES`] or more, is a
    /// program.
    pub fn is_program(head: &[u8]) -> bool {
        program::is_program(head)
    }

    /// Takes a wanted program: `head` is what was read of it already, `rest` gives the rest,
    /// `size` is that of both.
    ///
    /// # Errors
    ///
    /// Those of `rest`.
    pub fn add_program(
        &mut self,
        path: &str,
        layer: Option<Digest>,
        size: u64,
        head: &[u8],
        rest: &mut dyn Read,
    ) -> std::io::Result<()> {
        program::examine(path, layer, size, head, rest, &mut self.buffer, &mut self.sink)
    }

    /// As [`Collector::add_program`], for a program that the caller holds whole.
    pub fn add_whole_program(&mut self, path: &str, layer: Option<Digest>, bytes: &[u8]) {
        program::whole(&CatalogFile { path, bytes, layer }, &mut self.sink);
    }

    /// Notes that there is a symbolic link at `path`. In place of a package manager's database
    /// it is a gap: what it leads to is not read, and packages would be missing without a word.
    pub fn see_link(&mut self, path: &str) {
        if DATABASES.contains(&path) {
            self.sink.gap(path, "a link in place of a package database, which was not followed");
        }
    }

    /// Notes which layer brought the file at `path`, wanted or not: packages whose database
    /// is one file for all are given the layer of their files.
    pub fn see(&mut self, path: &str, layer: Option<Digest>) {
        if let Some(layer) = layer {
            self.layers.see(path, layer);
        }
    }

    #[cfg(test)]
    pub(crate) fn sink(&mut self) -> &mut Sink {
        &mut self.sink
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
    /// A package of a language whose evidence a distribution's package owns is a part of that
    /// package: Debian's `python3-yaml` and the `PyYAML` in it. Counted twice, it would be
    /// judged by advisories that do not know the distribution's patches.
    ///
    /// A package that a lock file names and that is installed as well is the installed one.
    pub fn finish(self, subject: Subject, n_files: u64, walk_gaps: Vec<Gap>) -> Collected {
        let Self { sink, distribution, layers, .. } = self;
        let Sink {
            mut packages,
            mut owned,
            licences,
            licence_texts,
            mut gaps,
            n_development,
            n_more,
            mut programs,
            ..
        } = sink;
        for package in &mut packages {
            if let Some(files) = owned_files(&mut owned, package) {
                package.files = files;
            }
            if package.licences.is_empty()
                && let Some(found) = licences.get(&(package.kind, package.name.clone()))
            {
                package.licences.clone_from(found);
            }
            if package.licences.iter().all(|licence| names_none(licence))
                && package.state == PackageState::Installed
                && let Some(key) = folder_of(package)
                && let Some((found, path)) = licence_texts.get(&key)
            {
                package.licences.clone_from(found);
                package.licences_recognised_in = Some(path.clone());
            }
            if package.kind.is_of_distribution()
                && let Some(layer) = layers.of_most(&package.files)
            {
                package.layer = Some(layer);
            }
            package.purl = purl::write(&purl::Parts {
                kind: package.kind,
                name: &package.name,
                version: &package.version,
                architecture: package.architecture.as_deref(),
                source: package.source.as_ref(),
                distribution: distribution.as_ref(),
                module: package.module.as_deref(),
            });
        }
        packages.sort_by(|a, b| key(a).cmp(&key(b)));
        packages.dedup_by(|a, b| key(a) == key(b));
        let owners = owners(&packages);
        for (package, owner) in packages.iter_mut().zip(owners) {
            package.owner = owner;
        }
        let (parts, mut packages): (Vec<Package>, Vec<Package>) =
            packages.into_iter().partition(|package| package.owner.is_some());
        // Parts are judged as the distribution's package, whose advisories name no functions.
        let asked: HashSet<(PackageKind, &str)> =
            packages.iter().map(|package| (package.kind, package.evidence.as_str())).collect();
        programs.retain(|program| asked.contains(&(program.kind, program.path.as_str())));
        programs.sort_by(|a, b| (&a.path, a.kind).cmp(&(&b.path, b.kind)));
        programs.dedup_by(|a, b| (&a.path, a.kind) == (&b.path, b.kind));
        let n_declared = drop_declared_twice(&mut packages, &parts);
        gaps.extend(walk_gaps);
        if n_more > 0 {
            let reason = format!("{n_more} more packages or gaps than are kept");
            gaps.push(Gap { path: "/".into(), reason });
        }
        let inventory =
            Inventory { subject, distribution, packages, parts, programs, n_files, gaps };
        Collected { inventory, n_development, n_declared }
    }
}

/// What the catalogers found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The packages of the image.
    pub inventory: Inventory,
    /// Packages that lock files name for development alone; they are not in the inventory.
    pub n_development: u64,
    /// Entries of lock files whose packages are in the inventory as installed.
    pub n_declared: u64,
}

/// For each package, the package URL of the distribution's package that owns its evidence.
fn owners(packages: &[Package]) -> Vec<Option<String>> {
    let mut owners: HashMap<&str, Option<&str>> = packages
        .iter()
        .filter(|package| !package.kind.is_of_distribution())
        .map(|package| (evidence_path(package), None))
        .collect();
    if !owners.is_empty() {
        for package in packages.iter().filter(|package| package.kind.is_of_distribution()) {
            for file in &package.files {
                if let Some(owner) = owners.get_mut(normal_path(file)) {
                    *owner = Some(&package.purl);
                }
            }
        }
    }
    let owner = |package: &Package| {
        let is_language = !package.kind.is_of_distribution();
        let owner = is_language.then(|| owners.get(evidence_path(package)))??;
        owner.map(str::to_string)
    };
    packages.iter().map(owner).collect()
}

/// Removes packages that are only declared and are also installed; returns their number.
fn drop_declared_twice(packages: &mut Vec<Package>, parts: &[Package]) -> u64 {
    let is_installed = |package: &&Package| package.state == PackageState::Installed;
    let installed: HashSet<String> = packages
        .iter()
        .filter(is_installed)
        .chain(parts)
        .filter(|package| !package.kind.is_of_distribution() && !package.purl.is_empty())
        .map(|package| package.purl.clone())
        .collect();
    let n_before = packages.len();
    packages.retain(|package| {
        package.state == PackageState::Installed || !installed.contains(&package.purl)
    });
    (n_before - packages.len()) as u64
}

/// The file of the image that is or contains the evidence.
fn evidence_path(package: &Package) -> &str {
    normal_path(package.evidence.split("!/").next().unwrap_or_default())
}

/// A path as it is where `/lib`, `/bin` and `/sbin` are links into `/usr`: packages list
/// either. Without leading slash.
pub(crate) fn normal_path(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    match path.strip_prefix("usr/") {
        Some(rest) if ["lib", "bin", "sbin"].iter().any(|folder| rest.starts_with(folder)) => rest,
        _ => path,
    }
}

/// What makes a package the same as another.
fn key(package: &Package) -> (PackageKind, &str, &str, Option<&str>, &str, PackageState) {
    (
        package.kind,
        &package.name,
        &package.version,
        package.architecture.as_deref(),
        &package.evidence,
        package.state,
    )
}

/// Where the metadata of a package of a language lie.
fn folder_of(package: &Package) -> Option<(PackageKind, String)> {
    let (folder, _) = package.evidence.rsplit_once('/')?;
    Some((package.kind, folder.to_string()))
}

/// Whether what stands where a licence should names none but says that there is a text.
fn names_none(licence: &str) -> bool {
    let lower = licence.trim().to_ascii_lowercase();
    lower.is_empty()
        || [
            "unknown",
            "custom",
            "other",
            "see license",
            "see licence",
            "license.txt",
            "dual license",
        ]
        .iter()
        .any(|none| lower == *none || (none.contains(' ') && lower.starts_with(none)))
}

/// The files noted for a package: by `name:architecture`, as dpkg does for packages that may
/// be installed for several, by name, or by the folder of the evidence.
fn owned_files(
    owned: &mut HashMap<(PackageKind, String), Vec<String>>,
    package: &Package,
) -> Option<Vec<String>> {
    if owned.is_empty() {
        return None;
    }
    let architecture = package.architecture.as_deref().unwrap_or_default();
    let mut remove = |key: String| owned.remove(&(package.kind, key));
    let folder = package.evidence.rsplit_once('/').map_or("", |(folder, _)| folder);
    remove(format!("{}:{architecture}", package.name))
        .or_else(|| remove(package.name.clone()))
        .or_else(|| remove(folder.to_string()))
}

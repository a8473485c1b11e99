//! Which upgrades fix which findings, and what stays.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use palisade_model::PackageKind;
use palisade_model::Severity;
use palisade_model::finding::Vulnerability;
use palisade_packages::version;
use serde::Serialize;

use crate::installed::installed_of;
use crate::upgrade::{Key, Resolution, resolve};
use crate::{Available, Files, Repository, apk, control, rpm};

/// One package that is upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Package.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// Installed version.
    pub installed: String,
    #[serde(skip)]
    pub(crate) installed_architecture: String,
    /// Version that the repository has.
    pub available: String,
    /// Suite that has it.
    pub suite: String,
    /// Bytes that are fetched.
    pub size: u64,
    /// Stream of the module that it is a build of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Notices of the repository with which it was published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
    /// Vulnerabilities that it fixes, worst first.
    pub fixes: Vec<String>,
    /// The package that needs this one in this version, where no finding asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed_by: Option<String>,
    #[serde(skip)]
    pub(crate) package_file: Available,
}

/// A vulnerability that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remaining {
    /// `CVE-2024-6387`.
    pub id: String,
    /// Package.
    pub package: String,
    /// Installed version.
    pub installed: String,
    /// Version with the fix, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Why it stays.
    pub why: String,
}

impl Remaining {
    fn new(v: &Vulnerability, why: String) -> Self {
        Self {
            id: v.id.clone(),
            package: v.package.clone(),
            installed: v.installed.clone(),
            fixed: v.fixed.clone(),
            severity: v.severity,
            why,
        }
    }
}

/// What can be upgraded now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Upgrades, in order of their names.
    pub upgrades: Vec<Upgrade>,
    /// What stays, worst first.
    pub remaining: Vec<Remaining>,
}

impl Plan {
    /// Plans for what was found in an image.
    pub fn new(files: &Files, found: &[Vulnerability], repository: &Repository) -> Self {
        Self::without(files, found, repository, &BTreeMap::new())
    }

    /// The same, without upgrades of the packages (name and architecture) that `refused` has,
    /// with their reasons.
    pub(crate) fn without(
        files: &Files,
        found: &[Vulnerability],
        repository: &Repository,
        refused: &BTreeMap<Key, String>,
    ) -> Self {
        let kind = repository.kind;
        // Without a database there is no repository either: gathering says what is wrong with it.
        let installed = installed_of(files).ok().flatten().map(|(_, all)| all).unwrap_or_default();
        let mut blocked = refused.clone();
        let pinned = match kind {
            PackageKind::Apk => apk::bounded(files, |name| {
                repository.newest(name, "").map(|newest| newest.version.clone())
            }),
            PackageKind::Rpm => rpm::held(files, &installed),
            _ => pinned(files),
        };
        for one in &installed {
            if let Some(why) = pinned.get(&one.name) {
                let key = (one.name.clone(), one.architecture.clone());
                blocked.insert(key, why.clone());
            }
        }
        let mut wanted = BTreeSet::new();
        for v in found.iter().filter(|v| is_of(kind, v)) {
            let of_package =
                installed.iter().filter(|one| one.name == v.package && one.version == v.installed);
            for one in of_package {
                let candidate = repository.newest(&one.name, &one.architecture);
                if candidate.is_some_and(|candidate| fixes(kind, candidate, v)) {
                    wanted.insert((one.name.clone(), one.architecture.clone()));
                }
            }
        }
        let resolution = resolve(&installed, repository, &wanted, &blocked);
        let mut upgrades: Vec<Upgrade> = Vec::new();
        for ((name, architecture), chosen) in &resolution.chosen {
            let old =
                installed.iter().find(|one| one.name == *name && one.architecture == *architecture);
            upgrades.push(Upgrade {
                package: name.clone(),
                architecture: chosen.file.architecture.clone(),
                installed: old.map(|one| one.version.clone()).unwrap_or_default(),
                installed_architecture: architecture.clone(),
                available: chosen.file.version.clone(),
                suite: chosen.file.suite.clone(),
                size: chosen.file.size,
                module: chosen.file.module.clone(),
                notices: chosen.file.notices.clone(),
                fixes: Vec::new(),
                needed_by: chosen.needed_by.clone(),
                package_file: chosen.file.clone(),
            });
        }
        let mut remaining = Vec::new();
        for v in found {
            let upgrade = upgrades.iter_mut().find(|upgrade| {
                is_of(kind, v)
                    && upgrade.package == v.package
                    && upgrade.installed == v.installed
                    && fixes(kind, &upgrade.package_file, v)
            });
            if let Some(upgrade) = upgrade {
                if !upgrade.fixes.contains(&v.id) {
                    upgrade.fixes.push(v.id.clone());
                }
            } else {
                remaining.push(remains(v, repository, &resolution));
            }
        }
        remaining.sort_by(|a, b| {
            b.severity.cmp(&a.severity).then_with(|| (&a.package, &a.id).cmp(&(&b.package, &b.id)))
        });
        Self { upgrades, remaining }
    }
}

fn is_of(kind: PackageKind, v: &Vulnerability) -> bool {
    v.purl.starts_with(match kind {
        PackageKind::Apk => "pkg:apk/",
        PackageKind::Rpm => "pkg:rpm/",
        _ => "pkg:deb/",
    })
}

fn fixes(kind: PackageKind, candidate: &Available, v: &Vulnerability) -> bool {
    let Some(fixed) = &v.fixed else { return false };
    matches!(
        version::compare(kind, &candidate.source_version, fixed),
        Some(Ordering::Greater | Ordering::Equal)
    )
}

fn remains(v: &Vulnerability, repository: &Repository, resolution: &Resolution) -> Remaining {
    let kind = repository.kind;
    let blocked = resolution.blocked.iter().find(|((name, _), _)| *name == v.package);
    let why = match (&v.fixed, blocked) {
        (None, _) => format!("no fixed version is known ({})", v.status.as_str()),
        (Some(_), _) if !is_of(kind, v) => {
            let system = match kind {
                PackageKind::Apk => "apk",
                PackageKind::Rpm => "rpm",
                _ => "dpkg",
            };
            format!("the package is none of {system}'s; rebuild what brings it")
        }
        (Some(_), Some((_, why))) => why.clone(),
        (Some(fixed), None) => {
            let elsewhere = repository.elsewhere.get(&v.package).into_iter().flatten();
            let mut with_fix = elsewhere.filter(|one| {
                let order = version::compare(kind, &one.version, fixed);
                order.is_some_and(|order| order != Ordering::Less)
            });
            if let Some(one) = with_fix.next() {
                return Remaining::new(v, format!("the fix is in {}, {}", one.version, one.why));
            }
            let offered = repository.packages.get(&v.package).and_then(|all| {
                all.iter().max_by(|a, b| {
                    version::compare(kind, &a.version, &b.version).unwrap_or(Ordering::Equal)
                })
            });
            match offered {
                Some(one) => {
                    format!("the repositories have {}, fixed is {fixed}", one.version)
                }
                None => "no repository of the image that can be used has the package".into(),
            }
        }
    };
    Remaining::new(v, why)
}

/// Packages that `apt_preferences(5)` pins by name, with the reason: they stay as they are.
fn pinned(files: &Files) -> BTreeMap<String, String> {
    let folder = files.below("etc/apt/preferences.d/").map(|(path, _)| path);
    let mut pinned = BTreeMap::new();
    for path in std::iter::once("etc/apt/preferences").chain(folder) {
        let Some(bytes) = files.content(path) else { continue };
        for stanza in control::stanzas(bytes) {
            for name in stanza.get("Package").unwrap_or_default().split_whitespace() {
                pinned.insert(name.to_string(), format!("`/{path}` pins the package"));
            }
        }
    }
    pinned
}

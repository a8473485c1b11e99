//! Which packages rpm is to upgrade: fetched, and proved by the keys of the image.
//!
//! The files and the database are written by the image's own rpm, in a sandbox of the caller:
//! three forms of databases with their indices, and rules for files that several packages share,
//! are rpm's own, and of each image in its own version (ADR 31).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use palisade_base::Digest;
use palisade_image::FileKind;
use palisade_model::finding::Vulnerability;

use super::gather::keyring;
use super::package::{Rpm, read_rpm};
use super::scripts::{Installed, configuration_of};
use super::{database, headers};
use crate::build::{Built, Scripts, Upgraded};
use crate::fetched::{Fetched, key, settle};
use crate::layer::Layer;
use crate::maintainer::Steps;
use crate::plan::Upgrade;
use crate::signature::Keyring;
use crate::{Fetch, Files, Node, PatchError, Plan, Repository};

/// Where images have rpm.
const PROGRAMS: [&str; 2] = ["usr/bin/rpm", "bin/rpm"];
/// What rpm leaves beside a configuration file.
const BESIDE: [&str; 3] = ["rpmnew", "rpmsave", "rpmorig"];

/// What rpm is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The packages: names of their files, and their bytes.
    pub packages: Vec<(String, Vec<u8>)>,
    /// Whether scripts and triggers are executed.
    pub has_scripts: bool,
    /// Configuration files of both versions, and the packages that have them.
    pub configuration: BTreeMap<String, String>,
}

impl Transaction {
    /// The arguments of rpm for packages in a folder. Signatures were verified, against the keys
    /// of the image's files too; rpm knows those of its database alone.
    pub fn arguments(&self, folder: &str) -> Vec<String> {
        let mut all: Vec<String> = ["rpm", "--upgrade", "--nosignature"].map(String::from).into();
        if !self.has_scripts {
            all.extend(["--noscripts", "--notriggers"].map(String::from));
        }
        all.extend(self.packages.iter().map(|(name, _)| format!("{folder}/{name}")));
        all
    }
}

/// Chooses the packages; the arguments are those of [`crate::build`]. The layer stays empty.
pub(crate) fn build(
    files: &Files,
    found: &[Vulnerability],
    repository: &Repository,
    fetch: &dyn Fetch,
    scripts: Scripts,
    out: impl Write,
) -> Result<Built, PatchError> {
    if PROGRAMS.iter().all(|path| files.resolve(path).is_none_or(|at| files.get(&at).is_none())) {
        return Err(PatchError::NoProgram("rpm"));
    }
    let planned = Plan::new(files, found, repository);
    let names: BTreeSet<&str> = planned.upgrades.iter().map(|one| one.package.as_str()).collect();
    let installed = Installed::read(files, |name| names.contains(name))?;
    let mut proving = Proving { files, repository, rings: BTreeMap::new() };
    let mut fetched = Fetched::new(fetch);
    let (plan, executed) = settle(files, found, repository, |upgrade, _| {
        fetched.get(upgrade)?;
        let rpm = proving.read(&fetched, upgrade)?;
        if let Some(path) = rpm.odd_file() {
            return Ok(Err(format!("{path} is a device, a pipe or a socket")));
        }
        let executed = installed.executed(&upgrade.package, &upgrade.installed, &rpm);
        Ok(match scripts {
            Scripts::Refuse if !executed.is_empty() => Err(format!(
                "its upgrade executes {}; --allow-scripts executes that, --skip-scripts leaves it out",
                executed.join(", ")
            )),
            _ => Ok(executed),
        })
    })?;
    let (mut upgraded, mut packages) = (Vec::new(), Vec::new());
    let mut configuration = installed.configuration();
    for upgrade in &plan.upgrades {
        let bytes = fetched.bytes(upgrade);
        let rpm = read_rpm(bytes, &upgrade.package_file.address)?;
        let mut done = Upgraded::of(upgrade, Digest::of(bytes));
        done.n_files = rpm.n_files();
        let own = configuration_of(&rpm.header).into_iter();
        configuration.extend(own.map(|path| (path, upgrade.package.clone())));
        let executed = executed.get(&key(upgrade)).cloned().unwrap_or_default();
        match scripts {
            Scripts::Run => done.executed = executed,
            _ => done.skipped = executed,
        }
        upgraded.push(done);
        // Not what the repository calls it: that may be any text.
        packages.push((format!("{}.rpm", packages.len()), bytes.to_vec()));
    }
    Layer::new(files, out).finish()?;
    let transaction = Transaction { packages, has_scripts: scripts == Scripts::Run, configuration };
    Ok(Built {
        transaction: (!plan.upgrades.is_empty()).then_some(transaction),
        plan,
        upgraded,
        steps: Steps::default(),
        unrecorded: BTreeSet::new(),
    })
}

struct Proving<'a> {
    files: &'a Files,
    repository: &'a Repository,
    /// Keys by the ids of the repositories.
    rings: BTreeMap<String, Keyring>,
}

impl Proving<'_> {
    /// A package that was fetched: what the index lists, signed by a key of the image, or listed
    /// in a signed index of a repository whose packages need no signature (`gpgcheck=0`).
    fn read<'b>(
        &mut self,
        fetched: &'b Fetched<'_>,
        upgrade: &Upgrade,
    ) -> Result<Rpm<'b>, PatchError> {
        let file = &upgrade.package_file;
        let bytes = fetched.bytes(upgrade);
        let listed = super::sum::Sum::parse(&file.checksum);
        if !listed.is_some_and(|sum| sum.is_of(bytes)) {
            let why = "it is not what the index lists";
            return Err(PatchError::untrusted(&file.address, why));
        }
        let rpm = read_rpm(bytes, &file.address)?;
        if (&rpm.name, &rpm.version, &rpm.architecture)
            != (&file.name, &file.version, &file.architecture)
        {
            let why = "it is another package than the index says";
            return Err(PatchError::untrusted(&file.address, why));
        }
        let source = self.repository.sources.iter().find(|source| source.id == file.suite);
        let suite = self.repository.suites.iter().find(|suite| suite.suite == file.suite);
        let is_by_index = source.is_some_and(|source| !source.are_packages_signed)
            && suite.is_some_and(|suite| suite.signed_by.is_some());
        if is_by_index {
            return Ok(rpm);
        }
        let files = self.files;
        let keys = source.map(|source| source.keys.clone()).unwrap_or_default();
        let ring = self.rings.entry(file.suite.clone()).or_insert_with(|| keyring(files, &keys));
        rpm.verify(ring, self.repository.time)
            .map_err(|why| PatchError::untrusted(&file.address, why))?;
        Ok(rpm)
    }
}

/// The paths that the upgrades of a plan may change, as both images record them.
pub(crate) fn expected(
    old: &Files,
    new: &Files,
    plan: &Plan,
) -> Result<BTreeSet<String>, PatchError> {
    let mut expected = BTreeSet::new();
    let upgraded: BTreeSet<(&str, &str)> = plan
        .upgrades
        .iter()
        .flat_map(|one| [&one.installed, &one.available].map(|it| (&*one.package, &**it)))
        .collect();
    for files in [old, new] {
        headers(files, |header, _| {
            let name = header.text(palisade_packages::rpm::NAME).unwrap_or_default();
            let version = header.version().unwrap_or_default();
            if !upgraded.contains(&(&*name, &*version)) {
                return;
            }
            for path in header.files() {
                let Some(at) = files.resolve_parent(path.trim_start_matches('/')) else { continue };
                for suffix in BESIDE {
                    expected.insert(format!("{at}.{suffix}"));
                }
                // Folders that no package has are made as they are needed.
                let ends = at.match_indices('/').filter_map(|(end, _)| at.get(..end));
                expected.extend(ends.filter(|it| is_made(old, new, it)).map(str::to_string));
                expected.insert(at);
            }
        })?;
        // The database with its indices and locks.
        if let Some((path, _)) = database(files)
            && let Some(folder) = path.rsplit_once('/').and_then(|(it, _)| files.resolve(it))
        {
            let below = format!("{folder}/");
            expected.extend(files.below(&below).map(|(path, _)| path.to_string()));
            expected.insert(folder);
        }
    }
    Ok(expected)
}

/// Whether rpm made a folder, as it makes those that are in no package's list.
fn is_made(old: &Files, new: &Files, path: &str) -> bool {
    let is_plain = |node: &Node| {
        node.kind == FileKind::Folder && (node.mode, node.uid, node.gid) == (0o755, 0, 0)
    };
    old.get(path).is_none() && new.get(path).is_some_and(is_plain)
}

/// Records of packages besides the upgraded ones that are others, in words.
pub(crate) fn others(
    old: &Files,
    new: &Files,
    plan: &Plan,
) -> Result<BTreeSet<String>, PatchError> {
    let upgraded: BTreeSet<&str> = plan.upgrades.iter().map(|one| one.package.as_str()).collect();
    let read = |files: &Files| -> Result<BTreeSet<(String, Digest)>, PatchError> {
        let mut all = BTreeSet::new();
        headers(files, |header, blob| {
            let name = header.text(palisade_packages::rpm::NAME).unwrap_or_default();
            if !upgraded.contains(name.as_str()) {
                all.insert((name, Digest::of(blob)));
            }
        })?;
        Ok(all)
    };
    let (was, is) = (read(old)?, read(new)?);
    let place = database(old).map(|(path, _)| path).unwrap_or_default();
    let differing = was.symmetric_difference(&is);
    Ok(differing.map(|(name, _)| format!("{place} ({name})")).collect())
}

//! Images with `status.d`: packages were laid into them without dpkg, and nothing of them was
//! ever executed. Each has its control file there, and beside it the sums of its files.
//!
//! Links and folders are in no record of theirs, nor are configuration files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use palisade_image::FileKind;
use palisade_model::finding::Vulnerability;

use crate::build::{Built, KeptConffile, Upgraded, md5sums, own_conffiles, read};
use crate::control::{Stanza, installed_of, stanzas};
use crate::deb::Deb;
use crate::fetched::{Fetched, key, settle};
use crate::filter::Paths;
use crate::installed::Installed;
use crate::layer::Layer;
use crate::maintainer::Steps;
use crate::placing::{place_of, refuse_others};
use crate::plan::Upgrade;
use crate::{Fetch, Files, PatchError, Plan, Repository};

const FOLDER: &str = "var/lib/dpkg/status.d/";
const SUMS: &str = ".md5sums";

/// The packages of the folder: path of the record, and what it says.
fn records(files: &Files) -> Vec<(String, Stanza)> {
    let read = |path: &str| {
        let all = stanzas(files.content(path)?);
        all.into_iter().next().map(|stanza| (path.to_string(), stanza))
    };
    let paths = files.below(FOLDER).map(|(path, _)| path);
    paths.filter(|path| !path.ends_with(SUMS)).filter_map(read).collect()
}

/// Whether the image has such a folder, and no `status`.
pub(crate) fn is_used(files: &Files) -> bool {
    files.content(crate::build::STATUS).is_none() && !records(files).is_empty()
}

/// The packages of the folder; what is there is installed.
pub(crate) fn installed(files: &Files) -> Vec<Installed> {
    records(files).iter().filter_map(|(_, stanza)| installed_of(stanza, false)).collect()
}

fn record_of(files: &Files, package: &str) -> Option<String> {
    let all = records(files).into_iter();
    let mut of_it = all.filter(|(_, stanza)| stanza.get("Package") == Some(package));
    of_it.next().map(|(path, _)| path)
}

/// The paths that a package's record of sums has.
fn listed(files: &Files, record: &str) -> Vec<String> {
    let text = files.content(&format!("{record}{SUMS}")).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let read = |line: &str| {
        let (_, path) = line.split_once("  ")?;
        Some(path.trim_start_matches("./").trim_start_matches('/').to_string())
    };
    text.lines().filter_map(read).filter(|path| !path.is_empty()).collect()
}

/// Builds the layer; the arguments are those of [`crate::build`]. Scripts are named as left out:
/// such an image never executed any.
pub(crate) fn build(
    files: &Files,
    found: &[Vulnerability],
    repository: &Repository,
    fetch: &dyn Fetch,
    time: i64,
    out: impl Write,
) -> Result<Built, PatchError> {
    let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, stanza) in records(files) {
        let package = stanza.get("Package").unwrap_or_default().to_string();
        for one in listed(files, &path).iter().filter_map(|one| files.resolve_parent(one)) {
            owners.entry(one).or_default().insert(package.clone());
        }
    }
    let builder = Builder { files, owners, time };
    let mut fetched = Fetched::new(fetch);
    let (plan, skipped) = settle(files, found, repository, |upgrade, _| {
        fetched.get(upgrade)?;
        Ok(builder.check(upgrade, &read(&fetched, upgrade)?))
    })?;
    let mut layer = Layer::new(files, out);
    let (mut upgraded, mut unrecorded) = (Vec::new(), BTreeSet::new());
    for upgrade in &plan.upgrades {
        let deb = read(&fetched, upgrade)?;
        let mut done = builder.apply(upgrade, &deb, &mut layer, &mut unrecorded)?;
        done.skipped = skipped.get(&key(upgrade)).cloned().unwrap_or_default();
        upgraded.push(done);
    }
    layer.finish()?;
    Ok(Built { plan, upgraded, steps: Steps::default(), unrecorded, transaction: None })
}

/// The paths that upgrades may change, as both images record them.
pub(crate) fn expected(old: &Files, new: &Files, plan: &Plan) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    for (files, upgrade) in
        [old, new].iter().flat_map(|f| plan.upgrades.iter().map(move |u| (f, u)))
    {
        let Some(record) = record_of(files, &upgrade.package) else { continue };
        for path in listed(files, &record).iter().filter_map(|path| files.resolve_parent(path)) {
            expected.insert(path);
        }
        expected.insert(format!("{record}{SUMS}"));
        expected.insert(record);
    }
    expected
}

struct Builder<'a> {
    files: &'a Files,
    owners: BTreeMap<String, BTreeSet<String>>,
    time: i64,
}

/// What an image left out when it was made.
struct LeftOut {
    paths: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl LeftOut {
    fn has(&self, path: &str) -> bool {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.paths.contains(path) || self.folders.contains(folder)
    }
}

impl Builder<'_> {
    /// Files of the old version that the image does not have, and folders of theirs that it does
    /// not have either.
    fn left_out(&self, record: &str) -> LeftOut {
        let is_there = |path: &str| {
            self.files.resolve_parent(path).is_some_and(|at| self.files.get(&at).is_some())
        };
        let paths: BTreeSet<String> =
            listed(self.files, record).into_iter().filter(|path| !is_there(path)).collect();
        let above = |path: &String| {
            let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
            ends.into_iter().filter_map(|end| path.get(..end)).map(str::to_string).collect()
        };
        let above = paths.iter().flat_map(|path| -> Vec<String> { above(path) });
        let folders = above.filter(|folder| !is_there(folder)).collect();
        LeftOut { paths, folders }
    }

    /// Why an upgrade cannot be made; else what dpkg would execute.
    fn check(&self, upgrade: &Upgrade, deb: &Deb) -> Result<Vec<String>, String> {
        let record = record_of(self.files, &upgrade.package).ok_or("there is no record of it")?;
        if self.files.get(&format!("{record}{SUMS}")).is_none() {
            return Err("the image has no list of its files".into());
        }
        let left_out = self.left_out(&record);
        for file in &deb.files {
            let at = place_of(self.files, file, self.files.resolve_parent(&file.path))?;
            if file.kind == FileKind::Folder {
                continue;
            }
            if file.kind == FileKind::HardLink && left_out.has(&file.link) {
                return Err(format!("/{} links to what the image leaves out", file.path));
            }
            let others = self.owners.get(&at).into_iter().flatten();
            refuse_others(file, others, |other| other == upgrade.package)?;
        }
        let scripts = ["preinst", "postinst"].into_iter();
        Ok(scripts.filter(|one| deb.control.contains_key(*one)).map(str::to_string).collect())
    }

    fn apply<W: Write>(
        &self,
        upgrade: &Upgrade,
        deb: &Deb,
        layer: &mut Layer<'_, W>,
        unrecorded: &mut BTreeSet<String>,
    ) -> Result<Upgraded, PatchError> {
        let lost = || PatchError::document(FOLDER, format!("`{}` is not in it", upgrade.package));
        let record = record_of(self.files, &upgrade.package).ok_or_else(lost)?;
        let mut done = Upgraded::of(upgrade, upgrade.package_file.digest.ok_or_else(lost)?);
        let left_out = self.left_out(&record);
        let own: Vec<String> = own_conffiles(deb).into_iter().map(|(path, _)| path).collect();
        let mut places = BTreeSet::new();
        for file in &deb.files {
            let Some(at) = self.files.resolve_parent(&file.path) else { continue };
            places.insert(at.clone());
            let holds_nothing = left_out.folders.contains(&file.path);
            if file.path.is_empty() || left_out.has(&file.path) || holds_nothing {
                continue;
            }
            if file.kind != FileKind::Regular {
                unrecorded.insert(at.clone());
            }
            if file.kind == FileKind::Folder {
                if !layer.has_folder(&at) {
                    layer.put(&at, file)?;
                }
                continue;
            }
            let (mut place, mut file) = (at.clone(), file.clone());
            if own.contains(&file.path) {
                unrecorded.insert(at.clone());
                match self.files.get(&at) {
                    Some(node) if node.content.as_deref() == Some(&file.content) => continue,
                    // Whether the image or an older package made it so, nobody knows.
                    Some(_) => {
                        place = format!("{at}.dpkg-dist");
                        unrecorded.insert(place.clone());
                        done.kept.push(KeptConffile::new(&file.path, Some(&place)));
                    }
                    None => {}
                }
            }
            if file.kind == FileKind::HardLink {
                file.link = self.files.resolve_parent(&file.link).unwrap_or_default();
            }
            layer.put(&place, &file)?;
            done.n_files += 1;
        }
        for path in listed(self.files, &record) {
            let Some(at) = self.files.resolve_parent(&path) else { continue };
            let mut owners = self.owners.get(&at).into_iter().flatten();
            let is_shared = owners.any(|owner| *owner != upgrade.package);
            if !places.contains(&at) && !is_shared && self.files.get(&at).is_some() {
                layer.remove(&at);
            }
        }
        let control = deb.control.get("control").map(|file| file.content.clone());
        layer.put_file(&record, 0o644, self.time, control.unwrap_or_default())?;
        let sums = match deb.control.get("md5sums") {
            Some(file) => file.content.clone(),
            None => md5sums(deb, &Paths::default()).into_bytes(),
        };
        layer.put_file(&format!("{record}{SUMS}"), 0o644, self.time, sums)?;
        Ok(done)
    }
}

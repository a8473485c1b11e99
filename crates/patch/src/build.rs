//! One layer with the upgrades of a plan: what dpkg would unpack, and its record of it.
//!
//! Nothing of a package is executed. What an upgrade would execute either keeps it from being
//! made, or is left out and named; the caller says which.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use md5::{Digest as _, Md5};
use palisade_base::Digest;
use palisade_image::FileKind;
use palisade_model::PackageKind;
use palisade_model::finding::Vulnerability;
use serde::Serialize;

use crate::control::{Stanza, stanzas};
use crate::deb::{Deb, DebFile, read_deb};
use crate::fetched::{Fetched, key, settle};
use crate::filter::Paths;
use crate::layer::Layer;
use crate::maintainer::{self, Steps};
use crate::placing::{place_of, refuse_others};
use crate::plan::Upgrade;
use crate::status::{self, Conffile};
use crate::triggers;
use crate::{Fetch, Files, PatchError, Plan, Repository, Transaction, apk, rpm, status_folder};

pub(crate) const STATUS: &str = "var/lib/dpkg/status";
const INFO: &str = "var/lib/dpkg/info";

/// What happens to upgrades that would execute something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// They are not made.
    Refuse,
    /// They are made; nothing is executed, and what is left out is named.
    Skip,
    /// They are made, and the caller executes what [`Built::steps`] has.
    Run,
}

/// What was decided of a configuration file that the image has changed or removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptConffile {
    /// Path with its leading slash.
    pub path: String,
    /// Where the package's own form is, if it changed too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_form: Option<String>,
    /// Where the image's own form is, if that of the package took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_form: Option<String>,
}

/// One package that was upgraded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// Package.
    pub package: String,
    /// Its architecture.
    pub architecture: String,
    /// Version before.
    pub from: String,
    /// Version now.
    pub to: String,
    /// SHA-256 of the package. That of dpkg is the one that the signed index has.
    pub digest: Digest,
    /// Files and links that were written.
    pub n_files: u64,
    /// Configuration files that stay as the image has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptConffile>,
    /// What dpkg would have executed and was left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// What was executed for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub executed: Vec<String>,
}

impl Upgraded {
    /// Of an upgrade of which nothing is written yet, by a package with this digest.
    pub(crate) fn of(upgrade: &Upgrade, digest: Digest) -> Self {
        Self {
            package: upgrade.package.clone(),
            architecture: upgrade.architecture.clone(),
            from: upgrade.installed.clone(),
            to: upgrade.available.clone(),
            digest,
            n_files: 0,
            kept: Vec::new(),
            skipped: Vec::new(),
            executed: Vec::new(),
        }
    }
}

impl KeptConffile {
    /// One that stays at `path` (without a leading slash), with the package's form at another if it
    /// changed too.
    pub(crate) fn new(path: &str, new_form: Option<&str>) -> Self {
        let absolute = |path: &str| format!("/{path}");
        Self { path: absolute(path), new_form: new_form.map(absolute), old_form: None }
    }

    /// The configuration files that rpm decided of, by the paths that it wrote (without leading
    /// slashes).
    pub fn of_rpm<'p>(written: impl Iterator<Item = &'p str>) -> Vec<Self> {
        let read = |path: &str| {
            let (plain, suffix) = path.rsplit_once('.')?;
            let kept = Self::new(plain, None);
            let beside = Some(format!("/{path}"));
            match suffix {
                "rpmnew" => Some(Self { new_form: beside, ..kept }),
                "rpmsave" | "rpmorig" => Some(Self { old_form: beside, ..kept }),
                _ => None,
            }
        };
        written.filter_map(read).collect()
    }
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// The upgrades that were made, and what stays.
    pub plan: Plan,
    /// What was done for each upgrade.
    pub upgraded: Vec<Upgraded>,
    /// What the caller is to execute, where it was to be.
    pub steps: Steps,
    /// Paths of the upgraded packages that the image's database has no place for: links and
    /// folders where it is `status.d`.
    pub unrecorded: BTreeSet<String>,
    /// What the image's rpm is to do, where its packages are RPM's: the layer is empty then, and
    /// the caller executes it.
    pub transaction: Option<Transaction>,
}

/// Builds the layer for what was found, as an uncompressed archive written to `out`.
///
/// `time` (seconds since 1970) is that of the files of dpkg's database; the same inputs give
/// the same bytes.
pub fn build(
    files: &Files,
    found: &[Vulnerability],
    repository: &Repository,
    fetch: &dyn Fetch,
    scripts: Scripts,
    time: i64,
    out: impl Write,
) -> Result<Built, PatchError> {
    if repository.kind == PackageKind::Apk {
        return apk::build(files, found, repository, fetch, scripts, time, out);
    }
    if repository.kind == PackageKind::Rpm {
        return rpm::build(files, found, repository, fetch, scripts, out);
    }
    if status_folder::is_used(files) {
        return status_folder::build(files, found, repository, fetch, time, out);
    }
    let builder =
        Builder { files, paths: Paths::read(files), owners: owners(files), scripts, time };
    let mut fetched = Fetched::new(fetch);
    let (plan, skipped) = settle(files, found, repository, |upgrade, plan| {
        fetched.get(upgrade)?;
        Ok(builder.check(upgrade, &read(&fetched, upgrade)?, plan))
    })?;
    let mut layer = Layer::new(files, out);
    let status = files.content(STATUS).unwrap_or_default();
    let mut status = String::from_utf8(status.to_vec())
        .map_err(|_| PatchError::document(STATUS, "it is not UTF-8"))?;
    let (mut upgraded, mut with_scripts) = (Vec::new(), Vec::new());
    for upgrade in &plan.upgrades {
        let deb = read(&fetched, upgrade)?;
        let mut done = builder.apply(upgrade, &deb, &mut layer, &mut status)?;
        let executed = skipped.get(&key(upgrade)).cloned().unwrap_or_default();
        if scripts == Scripts::Run {
            done.executed = executed;
            let activated = builder.activated(upgrade, &deb);
            // Its files are written; only the scripts are needed.
            with_scripts.push((upgrade, Deb { files: Vec::new(), ..deb }, activated));
        } else {
            done.skipped = executed;
        }
        upgraded.push(done);
    }
    let steps = maintainer::steps(files, &with_scripts);
    if !plan.upgrades.is_empty() {
        let mode = files.get(STATUS).map_or(0o644, |node| node.mode);
        layer.put_file(STATUS, mode, time, status.into_bytes())?;
    }
    layer.finish()?;
    drop(with_scripts);
    Ok(Built { plan, upgraded, steps, unrecorded: BTreeSet::new(), transaction: None })
}

/// A package that was fetched, with its control file as the index has it.
pub(crate) fn read(fetched: &Fetched<'_>, upgrade: &Upgrade) -> Result<Deb, PatchError> {
    let file = &upgrade.package_file;
    let deb = read_deb(fetched.bytes(upgrade), &file.address)?;
    let control = control_of(&deb);
    let has = |field: &str, value: &str| control.get(field) == Some(value);
    if !has("Package", &file.name)
        || !has("Version", &file.version)
        || !has("Architecture", &file.architecture)
    {
        let why = "it is another package than the index says";
        return Err(PatchError::untrusted(&file.address, why));
    }
    Ok(deb)
}

/// The packages (names of their lists) that have a path, resolved.
fn owners(files: &Files) -> BTreeMap<String, Vec<String>> {
    let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let folder = format!("{INFO}/");
    for (path, _) in files.below(&folder) {
        let Some(name) = path.strip_prefix(&folder).and_then(|name| name.strip_suffix(".list"))
        else {
            continue;
        };
        for line in listed(files, &format!("{INFO}/{name}")) {
            if let Some(at) = files.resolve_parent(&line) {
                owners.entry(at).or_default().push(name.to_string());
            }
        }
    }
    owners
}

/// Where `info` has a package, without the suffix.
pub(crate) fn info_of(files: &Files, package: &str, architecture: &str) -> String {
    let qualified = format!("{INFO}/{package}:{architecture}");
    match files.get(&format!("{qualified}.list")) {
        Some(_) => qualified,
        None => format!("{INFO}/{package}"),
    }
}

/// The paths of a package's list, without leading slashes.
pub(crate) fn listed(files: &Files, info: &str) -> Vec<String> {
    let text = files.content(&format!("{info}.list")).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().map(|line| line.trim_start_matches('/'));
    lines.filter(|line| !line.is_empty() && *line != ".").map(str::to_string).collect()
}

pub(crate) fn md5(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// The configuration files that a package names. Those that it wants removed are marked.
pub(crate) fn own_conffiles(deb: &Deb) -> Vec<(String, bool)> {
    let Some(file) = deb.control.get("conffiles") else { return Vec::new() };
    let text = String::from_utf8_lossy(&file.content).into_owned();
    let read = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let path = words.last()?.trim_start_matches('/').to_string();
        Some((path, words.len() > 1))
    };
    text.lines().filter_map(read).collect()
}

struct Builder<'a> {
    files: &'a Files,
    paths: Paths,
    owners: BTreeMap<String, Vec<String>>,
    scripts: Scripts,
    time: i64,
}

impl Builder<'_> {
    /// Where `info` has the installed package, without the suffix.
    fn old_info(&self, upgrade: &Upgrade) -> String {
        info_of(self.files, &upgrade.package, &upgrade.installed_architecture)
    }

    /// Where a package's path lies in the image.
    fn place(&self, path: &str, package: &str) -> Option<String> {
        self.files.resolve_parent(self.paths.diverted(path, package))
    }

    /// Why an upgrade cannot be made; else what it would execute, which is left out.
    fn check(&self, upgrade: &Upgrade, deb: &Deb, plan: &Plan) -> Result<Vec<String>, String> {
        let name = &upgrade.package;
        if self.files.get(&format!("{}.list", self.old_info(upgrade))).is_none() {
            return Err("dpkg has no list of its files".into());
        }
        if own_conffiles(deb).iter().any(|(_, has_flags)| *has_flags) {
            return Err("the new version removes configuration files".into());
        }
        let old = self.files.content(&format!("{}.triggers", self.old_info(upgrade)));
        let new = deb.control.get("triggers").map(|file| file.content.as_slice());
        if triggers::interests(old.unwrap_or_default())
            != triggers::interests(new.unwrap_or_default())
        {
            return Err("the new version is interested in other triggers".into());
        }
        let upgraded: BTreeSet<String> = plan
            .upgrades
            .iter()
            .filter_map(|one| self.old_info(one).strip_prefix(INFO).map(str::to_string))
            .map(|one| one.trim_start_matches('/').to_string())
            .collect();
        let mut places = Vec::new();
        for file in &deb.files {
            let refuse = |what: &str| Err(format!("/{} {what}", file.path));
            if self.paths.is_overridden(&file.path) {
                return refuse("has a mode or owner of the image's own (dpkg-statoverride)");
            }
            let at = place_of(self.files, file, self.place(&file.path, name))?;
            if file.kind == FileKind::Folder {
                continue;
            }
            if file.kind == FileKind::HardLink && !is_linkable(deb, &file.link, &self.paths) {
                return refuse("links to what the image leaves out");
            }
            let others = self.owners.get(&at).map(Vec::as_slice).unwrap_or_default();
            let is_own = |other: &str| {
                let plain = other.split(':').next().unwrap_or_default();
                plain == name || upgraded.contains(other)
            };
            if !self.paths.is_excluded(&file.path, file.kind)
                && self.paths.diverted(&file.path, name) == file.path
            {
                refuse_others(file, others, is_own)?;
            }
            places.push(at);
        }
        let info = self.old_info(upgrade);
        let executed =
            triggers::executed(self.files, &info, deb, &places, self.same_libraries(&info, deb));
        match self.scripts {
            Scripts::Refuse if !executed.is_empty() => Err(format!(
                "its upgrade executes {}; --allow-scripts executes that, --skip-scripts leaves it out",
                executed.join(", ")
            )),
            _ => Ok(executed),
        }
    }

    /// The triggers that an upgrade activates.
    fn activated(&self, upgrade: &Upgrade, deb: &Deb) -> Vec<triggers::Activated> {
        let not_folders = deb.files.iter().filter(|file| file.kind != FileKind::Folder);
        let places: Vec<String> =
            not_folders.filter_map(|file| self.place(&file.path, &upgrade.package)).collect();
        let is_same = self.same_libraries(&self.old_info(upgrade), deb);
        triggers::activated(self.files, deb, &places, is_same)
    }

    /// Whether the new version has libraries of the same names, and links to the same.
    fn same_libraries(&self, info: &str, deb: &Deb) -> bool {
        let is_library = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            name.split('.').skip(1).any(|part| part == "so")
        };
        let old = listed(self.files, info).into_iter().filter(|path| is_library(path));
        let old: BTreeMap<String, Option<String>> = old
            .filter_map(|path| {
                let at = self.files.resolve_parent(&path)?;
                let link = self.files.get(&at)?.link.clone();
                Some((at, link))
            })
            .collect();
        let new = deb.files.iter().filter(|file| is_library(&file.path));
        let new: BTreeMap<String, Option<String>> = new
            .filter(|file| file.kind != FileKind::Folder)
            .filter(|file| !self.paths.is_excluded(&file.path, file.kind))
            .filter_map(|file| {
                let link = (file.kind == FileKind::Symlink).then(|| file.link.clone());
                Some((self.files.resolve_parent(&file.path)?, link))
            })
            .collect();
        old == new
    }

    fn apply<W: Write>(
        &self,
        upgrade: &Upgrade,
        deb: &Deb,
        layer: &mut Layer<'_, W>,
        status: &mut String,
    ) -> Result<Upgraded, PatchError> {
        let lost = || PatchError::document(STATUS, format!("`{}` is not in it", upgrade.package));
        let control = control_of(deb);
        let architecture = &upgrade.installed_architecture;
        let old = stanzas(status.as_bytes()).into_iter().find(|one| {
            one.get("Package") == Some(&upgrade.package)
                && one.get("Architecture") == Some(architecture)
        });
        let old_conffiles = status::conffiles(&old.ok_or_else(lost)?);
        let mut done = Upgraded::of(upgrade, upgrade.package_file.digest.ok_or_else(lost)?);
        let own: Vec<String> = own_conffiles(deb).into_iter().map(|(path, _)| path).collect();
        let (mut list, mut conffiles, mut places) = (String::new(), Vec::new(), BTreeSet::new());
        for file in &deb.files {
            list.push('/');
            list.push_str(if file.path.is_empty() { "." } else { &file.path });
            list.push('\n');
            let Some(at) = self.place(&file.path, &upgrade.package) else { continue };
            places.insert(at.clone());
            let is_own = own.contains(&file.path) && file.kind == FileKind::Regular;
            if is_own {
                let md5 = md5(&file.content);
                conffiles.push(Conffile { path: file.path.clone(), md5, is_obsolete: false });
            }
            if file.path.is_empty() || self.paths.is_excluded(&file.path, file.kind) {
                continue;
            }
            if file.kind == FileKind::Folder {
                if !layer.has_folder(&at) {
                    layer.put(&at, file)?;
                }
                continue;
            }
            let (mut place, mut file) = (at.clone(), file.clone());
            if is_own {
                match self.decide(&file, &at, &old_conffiles) {
                    Decision::Write => {}
                    Decision::Keep => {
                        done.kept.push(KeptConffile::new(&file.path, None));
                        continue;
                    }
                    Decision::Beside => {
                        place = format!("{at}.dpkg-dist");
                        done.kept.push(KeptConffile::new(&file.path, Some(&place)));
                    }
                    Decision::Same => continue,
                }
                // Mode and owner are those of the file that is there, beside it as well.
                if let Some(node) = self.files.get(&at) {
                    (file.mode, file.uid, file.gid) = (node.mode, node.uid, node.gid);
                }
            }
            if file.kind == FileKind::HardLink {
                file.link = self.place(&file.link, &upgrade.package).unwrap_or_default();
            }
            layer.put(&place, &file)?;
            done.n_files += 1;
        }
        conffiles.sort_by_key(|one: &Conffile| own.iter().position(|path| *path == one.path));
        // Configuration files that the new version does not have stay, as dpkg leaves them.
        for one in old_conffiles {
            if !own.contains(&one.path) {
                let is_there = self.place(&one.path, &upgrade.package);
                if is_there.is_some_and(|at| self.files.get(&at).is_some()) {
                    list.extend(["/", &one.path, "\n"]);
                    places.extend(self.place(&one.path, &upgrade.package));
                    conffiles.push(Conffile { is_obsolete: true, ..one });
                }
            }
        }
        self.remove_old(upgrade, &places, layer);
        self.record(upgrade, deb, &control, list, layer)?;
        let stanza = status::installed_stanza(&control, &conffiles);
        *status =
            status::replace(status, &upgrade.package, architecture, &stanza).ok_or_else(lost)?;
        Ok(done)
    }

    /// As dpkg decides without asking, when it is to keep what was changed (`confold`).
    fn decide(&self, file: &DebFile, at: &str, old: &[Conffile]) -> Decision {
        let recorded = old.iter().find(|one| one.path == file.path);
        let new = md5(&file.content);
        let Some(node) = self.files.get(at) else {
            // What was removed from the image stays removed.
            return match recorded {
                Some(recorded) if recorded.md5 == new => Decision::Keep,
                Some(_) => Decision::Beside,
                None => Decision::Write,
            };
        };
        let current = match node.kind {
            FileKind::Symlink => self.files.content(at).map(md5),
            _ => node.content.as_deref().map(md5),
        };
        match (current, recorded) {
            (Some(current), _) if current == new && node.kind == FileKind::Regular => {
                Decision::Same
            }
            (Some(current), Some(recorded))
                if current == recorded.md5 && node.kind == FileKind::Regular =>
            {
                Decision::Write
            }
            (_, Some(recorded)) if recorded.md5 == new => Decision::Keep,
            _ => Decision::Beside,
        }
    }

    /// Removes files of the old version that nobody has any more.
    fn remove_old<W: Write>(
        &self,
        upgrade: &Upgrade,
        new: &BTreeSet<String>,
        layer: &mut Layer<'_, W>,
    ) {
        let info = self.old_info(upgrade);
        let name = info.trim_start_matches(INFO).trim_start_matches('/').to_string();
        for path in listed(self.files, &info) {
            let Some(at) = self.place(&path, &upgrade.package) else { continue };
            let others = self.owners.get(&at).map(Vec::as_slice).unwrap_or_default();
            let is_shared = others.iter().any(|other| *other != name);
            if !new.contains(&at) && !is_shared && self.files.get(&at).is_some() {
                layer.remove(&at);
            }
        }
    }

    /// Writes what `info` has of a package.
    fn record<W: Write>(
        &self,
        upgrade: &Upgrade,
        deb: &Deb,
        control: &Stanza,
        list: String,
        layer: &mut Layer<'_, W>,
    ) -> Result<(), PatchError> {
        let old = self.old_info(upgrade);
        let new = match control.get("Multi-Arch") {
            Some("same") => format!("{INFO}/{}:{}", upgrade.package, upgrade.architecture),
            _ => format!("{INFO}/{}", upgrade.package),
        };
        let below = format!("{old}.");
        for (path, _) in self.files.below(&below) {
            // `a.list` is of `a`; `a.b.list` is of `a.b`.
            if path.strip_prefix(&below).is_some_and(|kind| !kind.contains('.')) {
                layer.remove(path);
            }
        }
        layer.put_file(&format!("{new}.list"), 0o644, self.time, list.into_bytes())?;
        if !deb.control.contains_key("md5sums") {
            let sums = md5sums(deb, &self.paths).into_bytes();
            layer.put_file(&format!("{new}.md5sums"), 0o644, self.time, sums)?;
        }
        for (name, file) in deb.control.iter().filter(|(name, _)| *name != "control") {
            let path = format!("{new}.{name}");
            layer.put_file(&path, file.mode & 0o777, self.time, file.content.clone())?;
        }
        Ok(())
    }
}

/// What dpkg makes up for a package that brings no sums of its own.
pub(crate) fn md5sums(deb: &Deb, paths: &Paths) -> String {
    let content = |path: &str| {
        let found = deb.files.iter().find(|it| it.path == path && it.kind == FileKind::Regular);
        found.map(|file| md5(&file.content))
    };
    let mut text = String::new();
    for file in &deb.files {
        let sum = match file.kind {
            _ if paths.is_excluded(&file.path, file.kind) => None,
            FileKind::Regular => Some(md5(&file.content)),
            FileKind::HardLink => content(&file.link),
            _ => None,
        };
        if let Some(sum) = sum {
            text.extend([&sum, "  ", &file.path, "\n"]);
        }
    }
    text
}

/// What happens to a configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// The new form replaces it.
    Write,
    /// It is the new form already.
    Same,
    /// The image's form stays; the package's did not change, or the file was removed.
    Keep,
    /// Both changed: the image's form stays, the new one is written beside it.
    Beside,
}

fn control_of(deb: &Deb) -> Stanza {
    let content = deb.control.get("control").map(|file| file.content.as_slice());
    stanzas(content.unwrap_or_default()).into_iter().next().unwrap_or_default()
}

/// Whether a hard link's target is a file that is written before it.
fn is_linkable(deb: &Deb, target: &str, paths: &Paths) -> bool {
    let conffiles = own_conffiles(deb);
    !paths.is_excluded(target, FileKind::Regular)
        && !conffiles.iter().any(|(path, _)| path == target)
        && deb.files.iter().any(|file| file.path == target && file.kind == FileKind::Regular)
}

//! One layer with the upgrades of a plan: what apk would unpack, and its database.
//!
//! Nothing of a package is executed here, as nothing is of those of dpkg: who has a sandbox is told
//! what.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use palisade_base::Digest;
use palisade_image::FileKind;
use palisade_model::finding::Vulnerability;

use super::package::{Apk, ApkFile, read_apk, sha1, sum_text};
use super::protect::Protected;
use super::record::{self, Folder, Line, Record};
use super::scripts::{self, Script};
use crate::build::{Built, KeptConffile, Scripts, Upgraded};
use crate::deb::DebFile;
use crate::fetched::{Fetched, key, settle};
use crate::layer::Layer;
use crate::maintainer::Steps;
use crate::placing::{place_of, refuse_others};
use crate::plan::Upgrade;
use crate::{Fetch, Files, PatchError, Repository};

/// What apk writes beside a file that the image changed.
const NEW_FORM: &str = "apk-new";

/// Builds the layer; the arguments are those of [`crate::build`].
pub(crate) fn build(
    files: &Files,
    found: &[Vulnerability],
    repository: &Repository,
    fetch: &dyn Fetch,
    mode: Scripts,
    time: i64,
    out: impl Write,
) -> Result<Built, PatchError> {
    let mut builder = Builder::new(files, mode)?;
    let mut fetched = Fetched::new(fetch);
    let (plan, executed) = settle(files, found, repository, |upgrade, _| {
        fetched.get(upgrade)?;
        Ok(builder.check(upgrade, &read(&fetched, upgrade)?))
    })?;
    let mut layer = Layer::new(files, out);
    let (mut upgraded, mut with_scripts) = (Vec::new(), Vec::new());
    let mut changed = BTreeSet::new();
    for upgrade in &plan.upgrades {
        let apk = read(&fetched, upgrade)?;
        if let Some(old) = builder.record(upgrade) {
            let new = builder.folders(&apk).unwrap_or_default();
            changed.extend(scripts::changed(&old.folders, &new));
        }
        let digest = Digest::of(fetched.bytes(upgrade));
        let mut done = builder.apply(upgrade, &apk, digest, &mut layer)?;
        let executed = executed.get(&key(upgrade)).cloned().unwrap_or_default();
        if mode == Scripts::Run {
            done.executed = executed;
            // Its files are written; only the scripts are needed.
            with_scripts.push((upgrade, Apk { files: Vec::new(), ..apk }));
        } else {
            done.skipped = executed;
        }
        upgraded.push(done);
    }
    let steps = match mode {
        Scripts::Run => builder.steps(&with_scripts, &changed),
        _ => Steps::default(),
    };
    drop(with_scripts);
    if !plan.upgrades.is_empty() {
        builder.write_database(&mut layer, time)?;
    }
    layer.finish()?;
    let unrecorded = BTreeSet::new();
    Ok(Built { plan, upgraded, steps, unrecorded, transaction: None })
}

/// A package that was fetched, proved by the checksum of the signed index.
fn read(fetched: &Fetched<'_>, upgrade: &Upgrade) -> Result<Apk, PatchError> {
    let file = &upgrade.package_file;
    let apk = read_apk(fetched.bytes(upgrade), &file.checksum, &file.address)?;
    if apk.name != file.name || apk.version != file.version {
        let why = "it is another package than the index says";
        return Err(PatchError::untrusted(&file.address, why));
    }
    Ok(apk)
}

/// Where the database is.
pub(super) fn place_of_database(files: &Files) -> Option<&'static str> {
    let mut all = super::DATABASES.into_iter();
    let found = all.find(|path| files.content(path).is_some())?;
    found.strip_suffix("/installed")
}

/// The file with the scripts, if there is one.
pub(super) fn place_of_scripts(files: &Files, folder: &str) -> Option<String> {
    let names = ["scripts.tar.gz", "scripts.tar"].map(|name| format!("{folder}/{name}"));
    names.into_iter().find(|path| files.get(path).is_some())
}

struct Builder<'a> {
    files: &'a Files,
    folder: &'static str,
    records: Vec<Record>,
    scripts: Vec<Script>,
    triggers: String,
    /// Whether scripts or triggers are other than the image's.
    changed: (bool, bool),
    /// Packages by the places of their files.
    owners: BTreeMap<String, BTreeSet<String>>,
    protected: Protected,
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
    mode: Scripts,
}

/// Name and number of each line of `etc/passwd` and `etc/group`.
fn ids(files: &Files, path: &str) -> BTreeMap<String, u32> {
    let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
    let read = |line: &str| {
        let mut parts = line.split(':');
        Some((parts.next()?.to_string(), parts.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(read).collect()
}

fn access(file: &DebFile) -> Option<String> {
    let usual = if file.kind == FileKind::Folder { 0o755 } else { 0o644 };
    let is_usual = (file.uid, file.gid, file.mode) == (0, 0, usual);
    (!is_usual).then(|| format!("{}:{}:{:o}", file.uid, file.gid, file.mode))
}

/// A text of the database, which is written again as it is.
fn text_of<'a>(files: &'a Files, path: &str) -> Result<&'a str, PatchError> {
    std::str::from_utf8(files.content(path).unwrap_or_default())
        .map_err(|_| PatchError::document(path, "it is not UTF-8"))
}

impl<'a> Builder<'a> {
    fn new(files: &'a Files, mode: Scripts) -> Result<Self, PatchError> {
        let none = || PatchError::document("the image", "it has no database of apk");
        let folder = place_of_database(files).ok_or_else(none)?;
        let path = format!("{folder}/installed");
        let records = record::read(text_of(files, &path)?);
        let scripts = match place_of_scripts(files, folder) {
            Some(path) => scripts::read(files.content(&path).unwrap_or_default())
                .map_err(|error| PatchError::document(&path, error.to_string()))?,
            None => Vec::new(),
        };
        let triggers = text_of(files, &format!("{folder}/triggers"))?.to_string();
        let mut owners: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for record in &records {
            for (path, _) in record.folders.iter().flat_map(Folder::paths) {
                if let Some(at) = files.resolve_parent(&path) {
                    owners.entry(at).or_default().insert(record.name.clone());
                }
            }
        }
        Ok(Self {
            files,
            folder,
            scripts,
            triggers,
            changed: (false, false),
            owners,
            records,
            protected: Protected::read(files),
            users: ids(files, "etc/passwd"),
            groups: ids(files, "etc/group"),
            mode,
        })
    }

    fn record(&self, upgrade: &Upgrade) -> Option<&Record> {
        self.records.iter().find(|record| record.name == upgrade.package)
    }

    /// A file with the owner that it has in the image: names count before numbers.
    fn owned(&self, file: &ApkFile) -> DebFile {
        let (user, group) = (self.users.get(&file.owner.0), self.groups.get(&file.owner.1));
        DebFile {
            uid: user.copied().unwrap_or(file.file.uid),
            gid: group.copied().unwrap_or(file.file.gid),
            ..file.file.clone()
        }
    }

    /// The folders of a package as the database has them.
    fn folders(&self, apk: &Apk) -> Result<Vec<Folder>, String> {
        let mut folders: BTreeMap<String, Folder> = BTreeMap::new();
        let mut sums: BTreeMap<&str, Option<[u8; 20]>> = BTreeMap::new();
        for one in &apk.files {
            let file = self.owned(one);
            if file.kind == FileKind::Folder {
                let folder = folders.entry(file.path.clone()).or_default();
                (folder.path, folder.access) = (file.path.clone(), access(&file));
                continue;
            }
            let (folder, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
            if !folder.is_empty() && !folders.contains_key(folder) {
                return Err(format!(
                    "/{} is in a folder that the package does not name",
                    file.path
                ));
            }
            let sum = match file.kind {
                FileKind::HardLink => sums.get(file.link.as_str()).copied().flatten(),
                _ => one.sum,
            };
            sums.insert(&one.file.path, sum);
            let sum = sum.map(|sum| sum_text(&sum));
            let line = Line { name: name.to_string(), access: access(&file), sum };
            let folder = folders.entry(folder.to_string()).or_default();
            folder.files.retain(|other| other.name != line.name);
            folder.files.push(line);
        }
        let mut folders: Vec<Folder> = folders.into_values().collect();
        for folder in &mut folders {
            folder.files.sort_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        }
        Ok(folders)
    }

    /// Why an upgrade cannot be made; else what it would execute, which is left out.
    fn check(&self, upgrade: &Upgrade, apk: &Apk) -> Result<Vec<String>, String> {
        let old = self.record(upgrade).ok_or("apk has no record of it")?;
        let folders = self.folders(apk)?;
        for one in &apk.files {
            self.check_file(upgrade, apk, one, old)?;
        }
        let kept = (self.scripts.as_slice(), self.triggers.as_str());
        let executed = scripts::executed(self.files, &self.records, old, &folders, apk, kept);
        let hook = executed.iter().find(|one| one.starts_with(scripts::HOOK));
        match (self.mode, hook) {
            // They are the image's own, of any time of apk's work, and may do anything with it.
            (Scripts::Run, Some(hook)) => Err(format!(
                "its upgrade executes {hook}, which is left to apk; --skip-scripts leaves it out"
            )),
            (Scripts::Refuse, _) if !executed.is_empty() => Err(format!(
                "its upgrade executes {}; --allow-scripts executes that, --skip-scripts leaves it out",
                executed.join(", ")
            )),
            _ => Ok(executed),
        }
    }

    /// What the caller is to execute once all upgrades are recorded.
    fn steps(&self, upgrades: &[(&Upgrade, Apk)], changed: &BTreeSet<String>) -> Steps {
        scripts::steps(upgrades, &self.records, &self.scripts, &self.triggers, changed)
    }

    fn check_file(
        &self,
        upgrade: &Upgrade,
        apk: &Apk,
        one: &ApkFile,
        old: &Record,
    ) -> Result<(), String> {
        let file = &one.file;
        let refuse = |what: &str| Err(format!("/{} {what}", file.path));
        if one.has_xattrs {
            return refuse("has extended attributes");
        }
        let at = place_of(self.files, file, self.files.resolve_parent(&file.path))?;
        if file.kind == FileKind::Folder {
            return Ok(());
        }
        if file.kind == FileKind::HardLink {
            let is_target = |other: &&ApkFile| {
                other.file.kind == FileKind::Regular && other.file.path == file.link
            };
            if !apk.files.iter().any(|other| is_target(&other)) || self.is_protected(&file.link) {
                return refuse("links to what the image may keep, or to no file of the package");
            }
        }
        let others = self.owners.get(&at).into_iter().flatten();
        refuse_others(file, others, |other| other == upgrade.package)?;
        if self.is_protected(&file.path) {
            let lost = |()| format!("/{} is too large to be compared", file.path);
            self.decide(one, &at, old).map_err(lost)?;
        }
        Ok(())
    }

    fn is_protected(&self, path: &str) -> bool {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        self.protected.protects(folder)
    }

    /// The sum of what the image has; nothing when nothing is there.
    fn sum_at(&self, at: &str) -> Result<Option<[u8; 20]>, ()> {
        let Some(node) = self.files.get(at) else { return Ok(None) };
        match (node.kind, &node.link, &node.content) {
            (FileKind::Symlink, Some(link), _) => Ok(Some(sha1(link.as_bytes()))),
            (_, _, Some(content)) => Ok(Some(sha1(content))),
            _ => Err(()),
        }
    }

    /// As apk decides of a file in a protected folder.
    fn decide(&self, one: &ApkFile, at: &str, old: &Record) -> Result<Decision, ()> {
        let Some(current) = self.sum_at(at)? else { return Ok(Decision::Write) };
        let current = sum_text(&current);
        let mut lines = old.folders.iter().flat_map(Folder::paths);
        let line = lines.find(|(path, _)| *path == one.file.path);
        let recorded = line.and_then(|(_, line)| line.sum.clone());
        if recorded.as_ref() == Some(&current) {
            Ok(Decision::Write)
        } else if one.sum.is_some_and(|sum| sum_text(&sum) == current) {
            Ok(Decision::Same)
        } else {
            Ok(Decision::Beside)
        }
    }

    fn apply<W: Write>(
        &mut self,
        upgrade: &Upgrade,
        apk: &Apk,
        digest: Digest,
        layer: &mut Layer<'_, W>,
    ) -> Result<Upgraded, PatchError> {
        let lost = |why: String| PatchError::document(&upgrade.package, why);
        let old = self.record(upgrade).ok_or_else(|| lost("apk has no record of it".into()))?;
        let old = old.clone();
        let mut done = Upgraded::of(upgrade, digest);
        let mut places = BTreeSet::new();
        for one in &apk.files {
            let mut file = self.owned(one);
            let Some(at) = self.files.resolve_parent(&file.path) else { continue };
            places.insert(at.clone());
            if file.kind == FileKind::Folder {
                // One that is there keeps its mode and owner, as apk 3 leaves it.
                if !layer.has_folder(&at) {
                    layer.put(&at, &file)?;
                }
                continue;
            }
            let mut place = at.clone();
            if self.is_protected(&file.path) {
                match self.decide(one, &at, &old) {
                    Ok(Decision::Write) => {}
                    Ok(Decision::Same) => continue,
                    _ => {
                        place = format!("{at}.{NEW_FORM}");
                        done.kept.push(KeptConffile::new(&file.path, Some(&place)));
                    }
                }
            }
            if file.kind == FileKind::HardLink {
                file.link = self.files.resolve_parent(&file.link).unwrap_or_default();
            }
            layer.put(&place, &file)?;
            done.n_files += 1;
        }
        self.remove_old(&old, &places, layer);
        self.record_new(upgrade, &old, apk).map_err(lost)?;
        Ok(done)
    }

    /// Removes what only the old version had. In protected folders what was changed stays.
    fn remove_old<W: Write>(&self, old: &Record, new: &BTreeSet<String>, layer: &mut Layer<'_, W>) {
        for folder in &old.folders {
            let protects = self.protected.protects(&folder.path);
            for (path, line) in folder.paths() {
                let Some(at) = self.files.resolve_parent(&path) else { continue };
                let owners = self.owners.get(&at).into_iter().flatten();
                let is_shared = owners.into_iter().any(|owner| *owner != old.name);
                if new.contains(&at) || is_shared {
                    continue;
                }
                let sum = self.sum_at(&at).ok().flatten().map(|sum| sum_text(&sum));
                if self.files.get(&at).is_some() && (!protects || sum == line.sum) {
                    layer.remove(&at);
                }
                let beside = format!("{at}.{NEW_FORM}");
                if protects && self.files.get(&beside).is_some() {
                    layer.remove(&beside);
                }
            }
            let Some(at) = self.files.resolve_parent(&folder.path) else { continue };
            let is_shared = self.records.iter().any(|other| {
                other.name != old.name && other.folders.iter().any(|one| one.path == folder.path)
            });
            let is_folder = self.files.get(&at).is_some_and(|node| node.kind == FileKind::Folder);
            if !is_shared && !new.contains(&at) && is_folder && !at.is_empty() {
                layer.remove(&at);
            }
        }
    }

    /// Changes the records of a package.
    fn record_new(&mut self, upgrade: &Upgrade, old: &Record, apk: &Apk) -> Result<(), String> {
        let folders = self.folders(apk)?;
        let mut text = upgrade.package_file.record.clone();
        if let Some(replaces) = &apk.replaces {
            text.extend(["r:", replaces, "\n"]);
        }
        if let Some(priority) = apk.replaces_priority {
            text.extend(["q:", &priority.to_string(), "\n"]);
        }
        text += &record::write(&folders);
        let new = Record {
            text,
            name: apk.name.clone(),
            version: apk.version.clone(),
            checksum: upgrade.package_file.checksum.clone(),
            folders,
        };
        let scripts = scripts::replace(&self.scripts, &old.checksum, &new, apk);
        let triggers = scripts::replace_triggers(&self.triggers, &old.checksum, &new.checksum, apk);
        self.changed.0 |= scripts != self.scripts;
        self.changed.1 |= triggers != self.triggers;
        (self.scripts, self.triggers) = (scripts, triggers);
        if let Some(record) = self.records.iter_mut().find(|record| record.name == old.name) {
            *record = new;
        }
        Ok(())
    }

    fn write_database<W: Write>(
        &self,
        layer: &mut Layer<'_, W>,
        time: i64,
    ) -> Result<(), PatchError> {
        let mode = |path: &str| self.files.get(path).map_or(0o644, |node| node.mode);
        // Where the folder is a link, it stays one.
        let place = |name: &str| {
            let path = format!("{}/{name}", self.folder);
            self.files.resolve(&path).unwrap_or(path)
        };
        let text: String = self.records.iter().flat_map(|one| [one.text.as_str(), "\n"]).collect();
        let path = place("installed");
        layer.put_file(&path, mode(&path), time, text.into_bytes())?;
        if self.changed.0 {
            let path = place_of_scripts(self.files, self.folder);
            let path = path.unwrap_or_else(|| format!("{}/scripts.tar", self.folder));
            let path = self.files.resolve(&path).unwrap_or(path);
            let is_compressed =
                std::path::Path::new(&path).extension().is_some_and(|it| it == "gz");
            let bytes = scripts::write(&self.scripts, is_compressed).map_err(PatchError::Write)?;
            layer.put_file(&path, mode(&path), time, bytes)?;
        }
        if self.changed.1 {
            let path = place("triggers");
            layer.put_file(&path, mode(&path), time, self.triggers.clone().into_bytes())?;
        }
        Ok(())
    }
}

/// What happens to a file in a protected folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// The new form replaces it.
    Write,
    /// It is the new form already.
    Same,
    /// The image's form stays, the new one is written beside it.
    Beside,
}

//! What upgrades of apk's packages may change, as apk itself records it in both images.

use std::collections::BTreeSet;

use super::layer::{place_of_database, place_of_scripts};
use super::record::{self, Record};
use super::scripts;
use crate::{Files, Plan};

/// What an image's database has.
struct Database {
    folder: &'static str,
    records: Vec<Record>,
}

fn database(files: &Files) -> Option<Database> {
    let folder = place_of_database(files)?;
    let bytes = files.content(&format!("{folder}/installed"))?;
    Some(Database { folder, records: record::read(&String::from_utf8_lossy(bytes)) })
}

/// The paths that the upgrades of a plan may change.
pub(crate) fn expected(old: &Files, new: &Files, plan: &Plan) -> BTreeSet<String> {
    let upgraded: BTreeSet<&str> = plan.upgrades.iter().map(|one| one.package.as_str()).collect();
    let mut expected = BTreeSet::new();
    for files in [old, new] {
        let Some(database) = database(files) else { continue };
        let scripts = place_of_scripts(files, database.folder);
        let kept = ["installed", "triggers"].map(|name| format!("{}/{name}", database.folder));
        expected.extend(kept.into_iter().chain(scripts).filter_map(|path| files.resolve(&path)));
        for record in database.records.iter().filter(|one| upgraded.contains(one.name.as_str())) {
            for folder in &record.folders {
                // Folders are shared: only those that come or go.
                if let Some(at) = files.resolve_parent(&folder.path)
                    && (old.get(&at).is_none() || new.get(&at).is_none())
                {
                    expected.insert(at);
                }
                for (path, _) in folder.paths() {
                    if let Some(at) = files.resolve_parent(&path) {
                        expected.insert(format!("{at}.apk-new"));
                        expected.insert(at);
                    }
                }
            }
        }
    }
    expected
}

/// What the database has of packages besides the upgraded ones, and is another, in words.
pub(crate) fn others(old: &Files, new: &Files, plan: &Plan) -> BTreeSet<String> {
    let upgraded: BTreeSet<&str> = plan.upgrades.iter().map(|one| one.package.as_str()).collect();
    let (old, new) = (kept(old, &upgraded), kept(new, &upgraded));
    old.symmetric_difference(&new).map(|(what, _)| what.clone()).collect()
}

/// What the database has of the others, each with what it is.
fn kept(files: &Files, upgraded: &BTreeSet<&str>) -> BTreeSet<(String, String)> {
    let Some(Database { folder, records }) = database(files) else { return BTreeSet::new() };
    let mut kept = BTreeSet::new();
    let (mut hashes, mut names) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        if upgraded.contains(record.name.as_str()) {
            names.extend(scripts::hex_of(&record.checksum));
            hashes.insert(record.checksum);
        } else {
            kept.insert((format!("{folder}/installed ({})", record.name), record.text));
        }
    }
    let text = files.content(&format!("{folder}/triggers")).unwrap_or_default();
    for line in String::from_utf8_lossy(text).lines() {
        let checksum = line.split(' ').next().unwrap_or_default();
        if !hashes.contains(checksum) {
            kept.insert((format!("{folder}/triggers ({checksum})"), line.to_string()));
        }
    }
    if let Some(path) = place_of_scripts(files, folder) {
        for script in scripts::read(files.content(&path).unwrap_or_default()).unwrap_or_default() {
            if !names.iter().any(|name| script.name.contains(name.as_str())) {
                let text = format!("{} {}", script.mtime, hex::encode(&script.content));
                kept.insert((format!("{path} ({})", script.name), text));
            }
        }
    }
    kept
}

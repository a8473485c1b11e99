//! What apk keeps of scripts (`scripts.tar`, since its third version `scripts.tar.gz`) and of
//! triggers, what an upgrade would execute, and with which arguments (apk-tools `src/database.c`,
//! `apk_ipkg_run_script`, `apk_db_fire_triggers`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write as _};

use palisade_base::{Bounded, read_bounded};

use super::package::{Apk, SCRIPTS};
use super::protect::names_folder;
use super::record::{Folder, Record};
use crate::Files;
use crate::maintainer::{Step, Steps, in_order};
use crate::plan::Upgrade;

/// All scripts of an image, decompressed.
const BYTES_MAX: u64 = 64 << 20;
/// Scripts of an image.
const ENTRIES_MAX: usize = 100_000;

/// Folders whose programs apk executes before and after it changes something.
const HOOKS: [&str; 2] = ["etc/apk/commit_hooks.d/", "lib/apk/commit_hooks.d/"];

/// Where a script lies while it is executed.
const FOLDER: &str = ".palisade-patch";
/// What words for hooks begin with.
pub(super) const HOOK: &str = "the hook ";

/// A script of an installed package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// `busybox-1.37.0-r30.X1f1….trigger`.
    pub(crate) name: String,
    pub(crate) mtime: u64,
    pub(crate) content: Vec<u8>,
}

impl Script {
    /// The package's checksum and the kind of the script.
    fn parts(&self) -> Option<(&str, &str)> {
        let (rest, kind) = self.name.rsplit_once('.')?;
        Some((rest.rsplit_once('.')?.1, kind))
    }
}

/// `Q1` and base64 as the names of scripts have it.
pub(crate) fn hex_of(checksum: &str) -> Option<String> {
    use base64::Engine as _;
    let text = checksum.strip_prefix("Q1")?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    Some(format!("X1{}", hex::encode(bytes)))
}

/// Reads the scripts of an image.
pub(crate) fn read(bytes: &[u8]) -> io::Result<Vec<Script>> {
    let plain: Box<dyn Read + '_> = if bytes.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::read::MultiGzDecoder::new(bytes))
    } else {
        Box::new(bytes)
    };
    let mut archive = tar::Archive::new(Bounded::new(plain, "scripts", BYTES_MAX));
    let mut all = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if all.len() >= ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} scripts")));
        }
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| io::Error::other("a script's name is not UTF-8"))?;
        let mtime = entry.header().mtime()?;
        let content = read_bounded(&mut entry, "script", BYTES_MAX)?;
        all.push(Script { name, mtime, content });
    }
    Ok(all)
}

/// Writes the scripts of an image as apk does.
pub(crate) fn write(all: &[Script], is_compressed: bool) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for script in all {
        let mut header = tar::Header::new_gnu();
        // apk passes over what has no kind.
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_username("root")?;
        header.set_groupname("root")?;
        header.set_mtime(script.mtime);
        header.set_size(script.content.len() as u64);
        archive.append_data(&mut header, &script.name, script.content.as_slice())?;
    }
    let plain = archive.into_inner()?;
    if !is_compressed {
        return Ok(plain);
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&plain)?;
    gzip.finish()
}

/// The scripts once a package with the checksum `old` is the one that `record` records. What
/// belongs to no package stays, at the end.
pub(crate) fn replace(all: &[Script], old: &str, record: &Record, apk: &Apk) -> Vec<Script> {
    let (old, new) = (hex_of(old), hex_of(&record.checksum));
    let is_old = |script: &Script| {
        let of = script.parts().map(|(checksum, _)| checksum);
        of.is_some() && (of == old.as_deref() || of == new.as_deref())
    };
    let at = all.iter().position(is_old);
    let mut kept: Vec<Script> = all.iter().filter(|one| !is_old(one)).cloned().collect();
    let time = record.text.lines().find_map(|line| line.strip_prefix("t:"));
    let mtime = time.and_then(|time| time.parse().ok()).unwrap_or(0);
    let scripts = SCRIPTS.iter().filter_map(|kind| {
        let content = apk.scripts.get(*kind)?.clone();
        let (name, version) = (&record.name, &record.version);
        let name = format!("{name}-{version}.{}.{kind}", new.as_deref().unwrap_or_default());
        Some(Script { name, mtime, content })
    });
    // Where the package's own were; else before the first of a later name, as packages are kept.
    let later = |one: &Script| one.name.as_str() > record.name.as_str();
    let at = at.or_else(|| kept.iter().position(later)).unwrap_or(kept.len()).min(kept.len());
    kept.splice(at..at, scripts);
    kept
}

/// The patterns of each package with a trigger, by its checksum.
pub(crate) fn triggers(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let read = |line: &'_ str| line.split_once(' ').map(|(checksum, _)| checksum.len());
    let lines = text.lines().filter_map(|line| line.split_at_checked(read(line)?));
    lines.map(|(checksum, rest)| (checksum, rest.split_whitespace().collect())).collect()
}

/// The text of `triggers` once a package's is another.
pub(crate) fn replace_triggers(text: &str, old: &str, checksum: &str, apk: &Apk) -> String {
    let line =
        (!apk.triggers.is_empty()).then(|| format!("{checksum} {}\n", apk.triggers.join(" ")));
    let (mut out, mut line) = (String::new(), line);
    for one in text.lines() {
        if one.split_whitespace().next() == Some(old) {
            out += &line.take().unwrap_or_default();
        } else {
            out.extend([one, "\n"]);
        }
    }
    out + &line.unwrap_or_default()
}

/// What an upgrade of the package that `old` records would execute, in words.
pub(crate) fn executed(
    files: &Files,
    records: &[Record],
    old: &Record,
    new: &[Folder],
    apk: &Apk,
    (scripts, triggers_text): (&[Script], &str),
) -> Vec<String> {
    let kinds = ["pre-upgrade", "post-upgrade"].into_iter();
    let mut all: Vec<String> =
        kinds.filter(|kind| apk.scripts.contains_key(*kind)).map(str::to_string).collect();
    let changed = changed(&old.folders, new);
    let has_trigger: BTreeSet<&str> = scripts
        .iter()
        .filter_map(|script| script.parts())
        .filter(|(_, kind)| *kind == "trigger")
        .map(|(checksum, _)| checksum)
        .collect();
    let patterns = triggers(triggers_text);
    for record in records.iter().filter(|record| record.name != old.name) {
        let Some(patterns) = patterns.get(record.checksum.as_str()) else { continue };
        let has_it = hex_of(&record.checksum).is_some_and(|hex| has_trigger.contains(hex.as_str()));
        let fires = |folder: &String| patterns.iter().any(|one| names_folder(one, folder));
        if has_it && changed.iter().any(fires) {
            all.push(format!("the trigger of {}", record.name));
        }
    }
    // A package that is new fires its own for every folder that there is.
    let everywhere = records.iter().flat_map(|record| &record.folders).map(|one| &one.path);
    let fires = |folder: &String| apk.triggers.iter().any(|one| names_folder(one, folder));
    if apk.scripts.contains_key("trigger") && everywhere.chain(&changed).any(fires) {
        all.push("its own trigger".to_string());
    }
    for folder in HOOKS {
        let hooks = files.below(folder).filter(|(path, _)| !path.contains("/."));
        all.extend(hooks.map(|(path, _)| format!("{HOOK}/{path}")));
    }
    all
}

fn step(package: &str, script: &'static str, content: &[u8]) -> Step {
    let env = [
        ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
        ("APK_PACKAGE", package),
        ("APK_SCRIPT", script),
    ];
    Step {
        package: package.to_string(),
        script,
        folder: FOLDER,
        content: content.to_vec(),
        args: Vec::new(),
        env: env.map(|(name, value)| format!("{name}={value}")).to_vec(),
    }
}

/// The scripts of upgrades, each with its package (files are not needed): `records`, `scripts` and
/// `triggers` are the image's once all are done, `changed` the folders of the old and the new
/// versions.
pub(super) fn steps(
    upgrades: &[(&Upgrade, Apk)],
    records: &[Record],
    scripts: &[Script],
    triggers_text: &str,
    changed: &BTreeSet<String>,
) -> Steps {
    let mut steps = Steps::default();
    let plain: Vec<&Upgrade> = upgrades.iter().map(|(upgrade, _)| *upgrade).collect();
    for (upgrade, apk) in in_order(&plain).into_iter().filter_map(|at| upgrades.get(at)) {
        for (script, list) in
            [("pre-upgrade", &mut steps.before), ("post-upgrade", &mut steps.after)]
        {
            let Some(content) = apk.scripts.get(script) else { continue };
            let mut step = step(&upgrade.package, script, content);
            step.args = vec![upgrade.available.clone(), upgrade.installed.clone()];
            list.push(step);
        }
    }
    let patterns = triggers(triggers_text);
    for record in records {
        let Some(patterns) = patterns.get(record.checksum.as_str()) else { continue };
        let hex = hex_of(&record.checksum);
        let is_trigger = |script: &&Script| {
            script
                .parts()
                .is_some_and(|(sum, kind)| hex.as_deref() == Some(sum) && kind == "trigger")
        };
        let Some(script) = scripts.iter().find(is_trigger) else { continue };
        // A package that is new is told of every folder that there is.
        let is_new = upgrades.iter().any(|(upgrade, _)| upgrade.package == record.name);
        let all = records.iter().flat_map(|one| &one.folders).map(|one| &one.path);
        let everywhere: BTreeSet<&String> = all.filter(|_| is_new).chain(changed).collect();
        let fires = |folder: &&String| patterns.iter().any(|one| names_folder(one, folder));
        let folders: Vec<String> =
            everywhere.into_iter().filter(fires).map(|folder| format!("/{folder}")).collect();
        if !folders.is_empty() {
            let mut step = step(&record.name, "trigger", &script.content);
            step.args = folders;
            steps.after.push(step);
        }
    }
    steps
}

/// The folders that an upgrade changes.
pub(super) fn changed<'r>(old: &'r [Folder], new: &'r [Folder]) -> BTreeSet<String> {
    old.iter().chain(new).map(|folder| folder.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(name: &str) -> Script {
        Script { name: name.into(), mtime: 7, content: b"#!".to_vec() }
    }

    #[test]
    fn scripts_are_kept_in_the_order_of_packages() {
        // 20 zero bytes, and 20 bytes of 1.
        let (old, new) = ("Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=", "Q1AQEBAQEBAQEBAQEBAQEBAQEBAQE=");
        let (zero, one) = (hex_of(old).unwrap(), hex_of(new).unwrap());
        let all = [
            script("a-1.X1ff.trigger"),
            script(&format!("b-1.{zero}.post-upgrade")),
            script("c-1.X1fe.trigger"),
        ];
        let text = format!("C:{new}\nP:b\nV:2\nt:9\n");
        let record = Record {
            text,
            name: "b".into(),
            version: "2".into(),
            checksum: new.into(),
            folders: Vec::new(),
        };
        let mut apk = Apk::default();
        let names =
            |all: &[Script]| -> Vec<String> { all.iter().map(|one| one.name.clone()).collect() };
        let gone = replace(&all, old, &record, &apk);
        assert_eq!(names(&gone), ["a-1.X1ff.trigger", "c-1.X1fe.trigger"]);
        apk.scripts.insert("trigger".into(), b"#!/bin/sh\n".to_vec());
        apk.scripts.insert("pre-install".into(), b"#!/bin/sh\n".to_vec());
        let expected = [
            "a-1.X1ff.trigger".to_string(),
            format!("b-2.{one}.pre-install"),
            format!("b-2.{one}.trigger"),
            "c-1.X1fe.trigger".to_string(),
        ];
        let found = replace(&all, old, &record, &apk);
        assert_eq!((names(&found), found[1].mtime), (expected.to_vec(), 9));
        assert_eq!(names(&replace(&gone, old, &record, &apk)), expected);
        for is_compressed in [false, true] {
            assert_eq!(read(&write(&found, is_compressed).unwrap()).unwrap(), found);
        }
        assert!(read(b"\x1f\x8b\x08").is_err());
    }

    #[test]
    fn a_line_of_triggers_is_replaced_added_or_goes() {
        let mut apk = Apk::default();
        let check = |apk: &Apk, text: &str, expected: &str| {
            assert_eq!(replace_triggers(text, "Q1o", "Q1n", apk), expected, "{text}");
        };
        check(&apk, "Q1a /x\nQ1o /bin\n", "Q1a /x\n");
        apk.triggers = vec!["/bin".into(), "/usr/*".into()];
        check(&apk, "Q1o /old\nQ1a /x\n", "Q1n /bin /usr/*\nQ1a /x\n");
        check(&apk, "Q1a /x\n", "Q1a /x\nQ1n /bin /usr/*\n");
        assert_eq!(triggers("Q1a /x /y\n\n")["Q1a"], ["/x", "/y"]);
    }
}

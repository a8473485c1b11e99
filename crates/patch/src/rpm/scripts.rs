//! What the upgrade of a package of RPM executes: its scripts, those of the old version, and
//! triggers of all packages (RPM documentation, "Triggers", "File triggers").

use std::collections::BTreeMap;

use palisade_packages::rpm::{Header, NAME};

use super::headers;
use crate::{Files, PatchError};

/// Scripts of a new version: the tags of the text and of its interpreter.
const OF_NEW: [(&str, [u32; 2]); 4] = [
    ("pretrans", [1151, 1153]),
    ("pre", [1023, 1085]),
    ("post", [1024, 1086]),
    ("posttrans", [1152, 1154]),
];
/// Scripts of an old one.
const OF_OLD: [(&str, [u32; 2]); 4] = [
    ("preuntrans", [5103, 5105]),
    ("preun", [1025, 1087]),
    ("postun", [1026, 1088]),
    ("postuntrans", [5104, 5106]),
];
const TRIGGER_NAMES: u32 = 1066;
const FILE_FLAGS: u32 = 1037;
/// `RPMFILE_CONFIG` (`rpmfiles.h`).
const IS_CONFIGURATION: u32 = 1;
const FILE_TRIGGER_NAMES: [u32; 2] = [5069, 5079];

/// Names and prefixes of one package.
const TRIGGERS_MAX: usize = 10_000;

/// The triggers of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Triggers {
    package: String,
    /// Packages whose installation or removal executes one.
    names: Vec<String>,
    /// Beginnings of paths that do.
    prefixes: Vec<String>,
}

impl Triggers {
    fn of(header: &Header<'_>) -> Self {
        Self {
            package: header.text(NAME).unwrap_or_default(),
            names: header.texts(TRIGGER_NAMES, TRIGGERS_MAX),
            prefixes: FILE_TRIGGER_NAMES
                .iter()
                .flat_map(|tag| header.texts(*tag, TRIGGERS_MAX))
                .collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.prefixes.is_empty()
    }
}

/// What an installed package would have executed.
#[derive(Debug, Clone, Default)]
struct Old {
    name: String,
    version: String,
    scripts: Vec<&'static str>,
    files: Vec<String>,
    configuration: Vec<String>,
}

/// What the image's packages have to execute.
pub(super) struct Installed {
    triggers: Vec<Triggers>,
    old: Vec<Old>,
}

fn scripts(header: &Header<'_>, of: &[(&'static str, [u32; 2])]) -> Vec<&'static str> {
    let has = |tags: &[u32; 2]| tags.iter().any(|tag| header.has(*tag));
    of.iter().filter(|(_, tags)| has(tags)).map(|(name, _)| *name).collect()
}

/// The configuration files of a package.
pub(super) fn configuration_of(header: &Header<'_>) -> Vec<String> {
    let files = header.files().into_iter().zip(header.numbers(FILE_FLAGS));
    files.filter(|(_, flags)| flags & IS_CONFIGURATION != 0).map(|(path, _)| path).collect()
}

impl Installed {
    /// Of an image whose packages `is_upgraded` names are upgraded.
    pub(super) fn read(
        files: &Files,
        is_upgraded: impl Fn(&str) -> bool,
    ) -> Result<Self, PatchError> {
        let (mut triggers, mut old) = (Vec::new(), Vec::new());
        headers(files, |header, _| {
            let found = Triggers::of(header);
            let name = found.package.clone();
            if !found.is_empty() {
                triggers.push(found);
            }
            if is_upgraded(&name) {
                old.push(Old {
                    name,
                    version: header.version().unwrap_or_default(),
                    scripts: scripts(header, &OF_OLD),
                    files: header.files(),
                    configuration: configuration_of(header),
                });
            }
        })?;
        Ok(Self { triggers, old })
    }

    /// Configuration files of the old versions, and their packages.
    pub(super) fn configuration(&self) -> BTreeMap<String, String> {
        let of = |one: &Old| {
            let paths = one.configuration.clone().into_iter();
            paths.map(|path| (path, one.name.clone())).collect::<Vec<_>>()
        };
        self.old.iter().flat_map(of).collect()
    }

    /// What the upgrade from the version `from` to a new one executes, in words.
    pub(super) fn executed(&self, name: &str, from: &str, new: &super::Rpm<'_>) -> Vec<String> {
        let old = self.old.iter().find(|one| one.name == name && one.version == from);
        let mut all: Vec<String> =
            scripts(&new.header, &OF_NEW).into_iter().map(str::to_string).collect();
        let of_old = old.iter().flat_map(|one| &one.scripts);
        all.extend(of_old.map(|script| format!("{script} of the old version")));
        let of_new = new.files.iter().map(|(path, _)| path);
        let mut paths: Vec<&str> =
            of_new.chain(old.iter().flat_map(|one| &one.files)).map(String::as_str).collect();
        // In order, so that a prefix is looked up and not compared with each.
        paths.sort_unstable();
        let others = self.triggers.iter().filter(|one| one.package != name);
        for one in others {
            if one.names.iter().any(|other| other == name) {
                all.push(format!("the trigger of {}", one.package));
            }
            let fires = |prefix: &&String| {
                let first = paths.partition_point(|path| *path < prefix.as_str());
                paths.get(first).is_some_and(|path| path.starts_with(prefix.as_str()))
            };
            if let Some(prefix) = one.prefixes.iter().find(fires) {
                all.push(format!("the file trigger of {} on {prefix}", one.package));
            }
        }
        // A new version is told of what is there already: which of its triggers that is, rpm says.
        if !Triggers::of(&new.header).is_empty() {
            all.push("its own triggers".to_string());
        }
        all
    }
}

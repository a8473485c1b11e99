//! Maintainer scripts of an upgrade, in dpkg's order with dpkg's arguments and environment
//! (Debian policy, chapter 6; `dpkg(1)`, "Internal environment"; `deb-triggers(5)`).
//!
//! Nothing is executed here: who has a sandbox is told what, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use crate::Files;
use crate::build::info_of;
use crate::control::stanzas;
use crate::deb::Deb;
use crate::plan::Upgrade;
use crate::triggers::Activated;

/// One script that is to be executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Package whose script it is.
    pub package: String,
    /// `preinst`, `postinst`, `post-upgrade`, `trigger`, …
    pub script: &'static str,
    /// Folder, without a leading slash, that it lies in while it is executed, and that is none of
    /// the image afterwards.
    pub folder: &'static str,
    /// What is executed.
    pub content: Vec<u8>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
}

impl Step {
    /// `postinst of libc-bin`, with what it is told where that is a trigger.
    pub fn name(&self) -> String {
        let (script, package) = (self.script, &self.package);
        match self.args.as_slice() {
            [first, names, ..] if first == "triggered" => {
                format!("{script} of {package} (triggered {names})")
            }
            folders if script == "trigger" => {
                format!("{script} of {package} ({})", folders.join(" "))
            }
            _ => format!("{script} of {package}"),
        }
    }
}

/// The scripts of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// Before the files of the new versions are there.
    pub before: Vec<Step>,
    /// Once they are.
    pub after: Vec<Step>,
}

impl Steps {
    /// Whether there is nothing to execute.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }
}

/// Where dpkg has the scripts of a package that it unpacks.
const FOLDER: &str = "var/lib/dpkg/tmp.ci";

/// Version of the image's dpkg, which scripts may ask for.
fn dpkg_version(files: &Files) -> String {
    let all = stanzas(files.content(crate::build::STATUS).unwrap_or_default());
    let dpkg = all.into_iter().find(|one| one.get("Package") == Some("dpkg"));
    dpkg.and_then(|one| one.get("Version").map(str::to_string)).unwrap_or_else(|| "1.21.0".into())
}

fn environment(package: &str, architecture: &str, script: &str, dpkg: &str) -> Vec<String> {
    [
        ("DPKG_MAINTSCRIPT_NAME", script),
        ("DPKG_MAINTSCRIPT_PACKAGE", package),
        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
        ("DPKG_MAINTSCRIPT_ARCH", architecture),
        ("DPKG_MAINTSCRIPT_DEBUG", "0"),
        ("DPKG_RUNNING_VERSION", dpkg),
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_ROOT", ""),
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
    ]
    .map(|(name, value)| format!("{name}={value}"))
    .to_vec()
}

/// The scripts of these upgrades, each with its package and the triggers that it activates.
pub(crate) fn steps(files: &Files, upgrades: &[(&Upgrade, Deb, Vec<Activated>)]) -> Steps {
    let dpkg = dpkg_version(files);
    let mut steps = Steps::default();
    let step = |upgrade: &Upgrade, script: &'static str, content: &[u8], args: &[&str]| Step {
        package: upgrade.package.clone(),
        script,
        folder: FOLDER,
        content: content.to_vec(),
        args: args.iter().map(|arg| (*arg).to_string()).collect(),
        env: environment(&upgrade.package, &upgrade.architecture, script, &dpkg),
    };
    for (upgrade, deb, _) in upgrades {
        let info = info_of(files, &upgrade.package, &upgrade.installed_architecture);
        let (old, new) = (upgrade.installed.as_str(), upgrade.available.as_str());
        if let Some(content) = files.content(&format!("{info}.prerm")) {
            steps.before.push(step(upgrade, "prerm", content, &["upgrade", new]));
        }
        if let Some(file) = deb.control.get("preinst") {
            steps.before.push(step(upgrade, "preinst", &file.content, &["upgrade", old, new]));
        }
        if let Some(content) = files.content(&format!("{info}.postrm")) {
            steps.after.push(step(upgrade, "postrm", content, &["upgrade", new]));
        }
    }
    let plain: Vec<&Upgrade> = upgrades.iter().map(|(upgrade, _, _)| *upgrade).collect();
    for at in in_order(&plain) {
        let Some((upgrade, deb, _)) = upgrades.get(at) else { continue };
        if let Some(file) = deb.control.get("postinst") {
            let args = ["configure", upgrade.installed.as_str()];
            steps.after.push(step(upgrade, "postinst", &file.content, &args));
        }
    }
    let mut triggered: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for one in upgrades.iter().flat_map(|(_, _, activated)| activated) {
        triggered.entry(&one.package).or_default().insert(&one.trigger);
    }
    for (package, names) in triggered {
        let upgraded = upgrades.iter().find(|(upgrade, _, _)| upgrade.package == package);
        let installed =
            crate::control::installed(files.content(crate::build::STATUS).unwrap_or_default());
        let architecture = installed.iter().find(|one| one.name == package);
        let architecture = architecture.map(|one| one.architecture.clone()).unwrap_or_default();
        let info = info_of(files, package, &architecture);
        let content = match upgraded {
            Some((_, deb, _)) => deb.control.get("postinst").map(|file| file.content.as_slice()),
            None => files.content(&format!("{info}.postinst")),
        };
        let Some(content) = content else { continue };
        let names: Vec<&str> = names.into_iter().collect();
        steps.after.push(Step {
            package: package.to_string(),
            script: "postinst",
            folder: FOLDER,
            content: content.to_vec(),
            args: vec!["triggered".into(), names.join(" ")],
            env: environment(package, &architecture, "postinst", &dpkg),
        });
    }
    steps
}

/// The upgrades with each after those that it depends on; in a circle, as they come.
pub(crate) fn in_order(upgrades: &[&Upgrade]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    let needs = |at: usize, other: usize| {
        let (Some(one), Some(other)) = (upgrades.get(at), upgrades.get(other)) else {
            return false;
        };
        let file = &other.package_file;
        let mut depends = one.package_file.depends.iter().flatten();
        depends.any(|choice| choice.is_met_by(&other.package, &file.version, &file.provides))
    };
    while order.len() < upgrades.len() {
        let open: Vec<usize> = (0..upgrades.len()).filter(|at| !order.contains(at)).collect();
        let is_free = |at: &&usize| !open.iter().any(|other| *other != **at && needs(**at, *other));
        order.extend(open.iter().find(is_free).or(open.first()));
    }
    order
}

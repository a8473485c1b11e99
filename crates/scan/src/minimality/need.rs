//! Which of a distribution's packages the image's program needs, as far as dependencies tell.
//!
//! The search begins with what the image starts and with every program that no package owns:
//! the packages that own them, their interpreters and the libraries they load. It goes on along
//! what packages say that they need.

use std::collections::{BTreeSet, HashMap, HashSet};

use palisade_image::Image;
use palisade_model::minimality::Need;
use palisade_model::package::PackageState;
use palisade_model::{Inventory, PackageKind};

use super::Graph;
use super::observe::Observer;
use crate::files::normal_path;

/// Names of packages and roots that are shown.
const SHOWN_MAX: usize = 500;

/// Packages of data that programs use without depending on them.
const KEPT: [&str; 12] = [
    "base-files",
    "base-passwd",
    "ca-certificates",
    "ca-certificates-bundle",
    "tzdata",
    "netbase",
    "media-types",
    "alpine-baselayout",
    "alpine-baselayout-data",
    "alpine-release",
    "filesystem",
    "setup",
];

/// Languages whose packages need an interpreter: the kind and the programs' names.
const INTERPRETERS: [(PackageKind, &[&str]); 5] = [
    (PackageKind::Python, &["python3", "python"]),
    (PackageKind::Node, &["node", "nodejs"]),
    (PackageKind::Ruby, &["ruby"]),
    (PackageKind::Composer, &["php"]),
    (PackageKind::Maven, &["java"]),
];

/// What the program needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Packages of the distribution, by index.
    pub(super) needed: HashSet<usize>,
    roots: BTreeSet<String>,
    doubts: Vec<String>,
    /// The program that the image starts, with links followed; without leading slash.
    pub(super) entry: Option<String>,
}

impl Needs {
    pub(super) fn of(image: &Image, inventory: &Inventory, observer: &Observer) -> Self {
        let mut search = Search {
            inventory,
            observer,
            owners: owners(inventory),
            libraries: libraries(inventory, observer),
            roots: HashSet::new(),
            needs: Self::default(),
        };
        search.entry(image);
        search.programs();
        search.interpreters();
        search.finish(image)
    }

    pub(super) fn shown(&self, inventory: &Inventory) -> Need {
        let system =
            || inventory.packages.iter().enumerate().filter(|(_, p)| p.kind.is_of_distribution());
        let mut unneeded: Vec<String> = system()
            .filter(|(index, _)| !self.needed.contains(index))
            .map(|(_, package)| package.name.clone())
            .collect();
        let n_unneeded = unneeded.len() as u64;
        unneeded.sort();
        unneeded.dedup();
        unneeded.truncate(SHOWN_MAX);
        Need {
            n_needed: system().count() as u64 - n_unneeded,
            n_unneeded,
            unneeded,
            roots: self.roots.iter().take(SHOWN_MAX).cloned().collect(),
            doubts: self.doubts.clone(),
        }
    }
}

/// The package that owns each file, by the path as it is without the links of `/lib`.
fn owners(inventory: &Inventory) -> HashMap<&str, usize> {
    let mut owners = HashMap::new();
    for (index, package) in inventory.packages.iter().enumerate() {
        if package.kind.is_of_distribution() {
            for file in &package.files {
                owners.entry(normal_path(file)).or_insert(index);
            }
        }
    }
    owners
}

/// The package of each library that some program loads.
fn libraries<'i>(inventory: &'i Inventory, observer: &Observer) -> HashMap<&'i str, usize> {
    let wanted: HashSet<&str> = observer
        .programs
        .iter()
        .flat_map(|program| &program.linkage.needed)
        .map(String::as_str)
        .collect();
    let mut found = HashMap::new();
    for (index, package) in inventory.packages.iter().enumerate() {
        for file in package.files.iter().filter(|_| package.kind.is_of_distribution()) {
            let name = file.rsplit('/').next().unwrap_or_default();
            if wanted.contains(name) {
                found.entry(name).or_insert(index);
            }
        }
    }
    found
}

struct Search<'a> {
    inventory: &'a Inventory,
    observer: &'a Observer,
    owners: HashMap<&'a str, usize>,
    libraries: HashMap<&'a str, usize>,
    roots: HashSet<usize>,
    needs: Needs,
}

impl Search<'_> {
    fn doubt(&mut self, text: impl Into<String>) {
        let text = text.into();
        if self.needs.doubts.len() < 20 && !self.needs.doubts.contains(&text) {
            self.needs.doubts.push(text);
        }
    }

    /// The package that owns what is at `path`, or what its links lead to.
    fn owner(&self, path: &str) -> Option<usize> {
        let direct = self.owners.get(normal_path(path));
        let resolved = self.observer.resolve(path);
        direct.or_else(|| self.owners.get(normal_path(&resolved))).copied()
    }

    fn root(&mut self, path: &str) -> bool {
        let owner = self.owner(path);
        if let Some(index) = owner {
            self.roots.insert(index);
            self.needs.roots.insert(format!("/{}", path.trim_start_matches('/')));
        }
        owner.is_some()
    }

    /// What the image starts.
    fn entry(&mut self, image: &Image) {
        let first = image.config.entrypoint.first().or_else(|| image.config.cmd.first());
        let Some(first) = first else {
            self.doubt("the image says no program to start, so nothing can be followed from it");
            return;
        };
        let candidates = self.observer.candidates.iter();
        let found = candidates.into_iter().find(|path| self.observer.started.contains(*path));
        let Some(path) = found.cloned() else {
            let first: String = crate::report::printable(first).chars().take(80).collect();
            self.doubt(format!("the program `{first}` that the image starts is not in it"));
            return;
        };
        self.root(&path);
        let resolved = self.observer.resolve(&path);
        let name = resolved.rsplit('/').next().unwrap_or_default();
        if matches!(name, "sh" | "bash" | "dash" | "ash" | "busybox" | "zsh" | "ksh") {
            self.doubt("the image starts a shell, which may start anything");
        }
        self.needs.entry = Some(resolved);
    }

    /// Every program that no package owns, and the one that the image starts.
    fn programs(&mut self) {
        let observer = self.observer;
        let entry = self.needs.entry.clone();
        for program in &observer.programs {
            let is_entry = entry.as_deref() == Some(program.path.as_str());
            if !is_entry && self.owner(&program.path).is_some() {
                continue;
            }
            if let Some(interpreter) = &program.script {
                self.script(interpreter, is_entry);
                continue;
            }
            if let Some(interpreter) = &program.linkage.interpreter {
                self.root(interpreter);
            }
            for library in &program.linkage.needed {
                self.library(library);
            }
        }
    }

    fn script(&mut self, interpreter: &str, is_entry: bool) {
        if is_entry {
            self.doubt("the image starts a script, which may start other programs");
        }
        if interpreter.starts_with('/') {
            self.root(interpreter);
        } else {
            self.named(&[interpreter]);
        }
    }

    /// A program by its name, where packages put programs.
    fn named(&mut self, names: &[&str]) -> bool {
        let folders = ["usr/local/bin", "usr/bin", "bin", "usr/sbin", "sbin"];
        for name in names {
            for folder in folders {
                if self.root(&format!("{folder}/{name}")) {
                    return true;
                }
            }
        }
        false
    }

    fn library(&mut self, name: &str) {
        if let Some(index) = self.libraries.get(name) {
            self.roots.insert(*index);
            self.needs.roots.insert(name.to_string());
            return;
        }
        let is_beside = self
            .observer
            .programs
            .iter()
            .any(|program| program.path.rsplit('/').next() == Some(name));
        if !is_beside && !self.inventory.packages.is_empty() {
            let name: String = crate::report::printable(name).chars().take(80).collect();
            self.doubt(format!("no package has the library {name}"));
        }
    }

    /// Packages of a language are run by something.
    fn interpreters(&mut self) {
        for (kind, names) in INTERPRETERS {
            let is_there =
                self.inventory.packages.iter().any(|package| {
                    package.kind == kind && package.state == PackageState::Installed
                });
            if is_there && self.named(names) {
                self.doubt(format!("programs of {kind} may load libraries by name"));
            }
        }
    }

    fn finish(mut self, image: &Image) -> Needs {
        let graph = Graph::of(self.inventory);
        self.needs.needed = graph.closure(self.roots.iter().copied());
        let mut has_system = false;
        let mut has_relations = false;
        for (index, package) in self.inventory.packages.iter().enumerate() {
            if package.kind.is_of_distribution() {
                has_system = true;
                has_relations |= !package.depends.is_empty();
                if KEPT.contains(&package.name.as_str()) {
                    self.needs.needed.insert(index);
                }
            }
        }
        if has_system && !has_relations {
            self.doubt("the packages of this distribution do not show what they need");
        }
        if self.observer.n_more > 0 {
            self.doubt("the image has more links than are kept");
        }
        if image.is_folder() {
            self.doubt("a folder does not say what is started in it");
        }
        self.needs
    }
}

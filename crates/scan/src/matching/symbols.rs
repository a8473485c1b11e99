//! Whether the functions that advisories name are in the program that has the package.

use std::collections::HashMap;

use palisade_model::symbols::{
    FOLDER, LOOSE, NAMED_MAX, Program, SymbolAnswer, SymbolCheck, function_hash,
};
use palisade_model::{Inventory, Package, PackageKind};
use palisade_packages::program::symbols::{go_folder, go_name, rust_name};

use crate::db::VulnerableSymbols;

/// A program, and its functions once they were asked for.
type Unpacked<'a> = (&'a Program, Option<Vec<u64>>);

/// The programs of an inventory. Their functions are unpacked once, when they are asked for.
pub(super) struct Programs<'a> {
    programs: HashMap<(PackageKind, String), Unpacked<'a>>,
}

impl<'a> Programs<'a> {
    pub(super) fn of(inventory: &'a Inventory) -> Self {
        let programs = inventory.programs.iter();
        let entry = |p: &'a Program| ((p.kind, p.path.clone()), (p, None));
        Self { programs: programs.map(entry).collect() }
    }

    /// Asks the program of `package` for `parts`; `None` where there is nothing to ask: the
    /// package is in no program, or the advisories name nothing.
    pub(super) fn check(
        &mut self,
        package: &Package,
        parts: &[&VulnerableSymbols<&str>],
    ) -> Option<SymbolCheck> {
        let is_asked = super::has_program(package);
        if !is_asked || !package.state.is_installed() || parts.is_empty() {
            return None;
        }
        let n_named = parts.iter().map(|part| part.names.len().max(1) as u64).sum();
        let mut check = SymbolCheck {
            answer: SymbolAnswer::Unknown,
            program: package.evidence.clone(),
            n_named,
            present: Vec::new(),
            reason: None,
        };
        let key = (package.kind, package.evidence.clone());
        let Some((program, hashes)) = self.programs.get_mut(&key) else {
            check.reason = Some("the functions of its program are not in the inventory".into());
            return Some(check);
        };
        let hashes = hashes.get_or_insert_with(|| program.functions.hashes());
        let has = |of: &str, name: &str| hashes.binary_search(&function_hash(of, name)).is_ok();
        let mut doubt = None;
        for part in parts.iter().filter(|part| is_for(part, program)) {
            for (of, name, shown) in questions(part, package.kind) {
                if !has(&of, &name) {
                    doubt = doubt.or_else(|| why_in_doubt(program, &of, &name, has));
                } else if check.present.len() < NAMED_MAX && !check.present.contains(&shown) {
                    check.present.push(shown);
                }
            }
        }
        (check.answer, check.reason) = match doubt {
            _ if !check.present.is_empty() => (SymbolAnswer::Present, None),
            Some(doubt) => (SymbolAnswer::Unknown, Some(doubt)),
            None => (SymbolAnswer::Absent, None),
        };
        Some(check)
    }
}

/// Why a function that was not found may be in the program all the same.
fn why_in_doubt(
    program: &Program,
    of: &str,
    name: &str,
    has: impl Fn(&str, &str) -> bool,
) -> Option<String> {
    let has_files = has(FOLDER, go_folder(of));
    if program.has_folders && !has(of, "") && !has_files {
        return None;
    }
    if let Some(doubt) = &program.doubt {
        return Some(doubt.clone());
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if name.is_empty() {
        has_files.then(|| "source files of a package of that name are in the program".into())
    } else {
        let text = || "a closure in the program may be of the function".to_string();
        has(LOOSE, last).then(text)
    }
}

/// Whether a part can be in a program for its system: code for another one was never compiled.
fn is_for(part: &VulnerableSymbols<&str>, program: &Program) -> bool {
    let allows = |wanted: &[&str], built: &Option<String>| {
        wanted.is_empty() || built.as_ref().is_none_or(|built| wanted.contains(&built.as_str()))
    };
    allows(&part.goos, &program.os) && allows(&part.goarch, &program.architecture)
}

/// What to ask for, as it is kept, and as it is shown.
fn questions(part: &VulnerableSymbols<&str>, kind: PackageKind) -> Vec<(String, String, String)> {
    if kind == PackageKind::Cargo {
        let paths = part.names.iter().map(|name| rust_name(name));
        let of = |path: &str| path.split("::").next().unwrap_or_default().to_string();
        return paths.map(|path| (of(&path), path.clone(), path)).collect();
    }
    // The standard library's copies of other modules.
    let path = part.path.strip_prefix("vendor/").unwrap_or(part.path).to_string();
    if part.names.is_empty() {
        return vec![(path.clone(), String::new(), path)];
    }
    let names = part.names.iter().map(|name| go_name(name));
    names.map(|name| (path.clone(), name.clone(), format!("{path}.{name}"))).collect()
}

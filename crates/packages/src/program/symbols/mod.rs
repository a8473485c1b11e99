//! Which functions are in a program: of Go by the table that the run-time itself reads, of Rust
//! by the symbol table (ADR 0022).

mod go;
mod rust;

use palisade_model::PackageKind;
use palisade_model::symbols::{FUNCTIONS_MAX, FunctionSet, Program};

pub(super) use go::{Origin, functions as of_go};
pub(super) use rust::functions as of_rust;

/// Hashes as they are gathered.
#[derive(Debug, Default)]
struct Hashes {
    found: Vec<u64>,
    n_more: u64,
}

/// Hashes are gathered up to this number before those that are twice in them are dropped.
const GATHERED_MAX: usize = 2 * FUNCTIONS_MAX;

impl Hashes {
    fn add(&mut self, package: &str, name: &str) {
        if self.found.len() < GATHERED_MAX {
            self.found.push(palisade_model::symbols::function_hash(package, name));
        } else {
            self.n_more += 1;
        }
    }

    fn into_program(mut self, path: &str, kind: PackageKind, doubt: Option<String>) -> Program {
        self.found.sort_unstable();
        self.found.dedup();
        let is_cut = self.n_more > 0 || self.found.len() > FUNCTIONS_MAX;
        let cut = is_cut.then(|| "the program has more functions than are kept".to_string());
        Program {
            path: crate::catalog::absolute(path),
            kind,
            os: None,
            architecture: None,
            functions: FunctionSet::new(self.found),
            has_folders: false,
            doubt: cut.or(doubt),
        }
    }
}

/// A program of which nothing more is known than why.
pub(super) fn unknown(path: &str, kind: PackageKind, doubt: &str) -> Program {
    Hashes::default().into_program(path, kind, Some(doubt.to_string()))
}

/// The name of a function of Go as advisories write it, and as it is kept: `T.Do` for
/// `(*T[...]).Do.func1`. Empty where there is nothing to ask for.
pub fn go_name(name: &str) -> String {
    let parts = go::segments(name);
    match parts.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first, second, ..] => format!("{first}.{second}"),
    }
}

/// The folder in which a package of Go is looked for, as it is kept.
pub fn go_folder(path: &str) -> &str {
    go::last_element(path)
}

/// A path of Rust as it is kept: without generic arguments.
pub fn rust_name(name: &str) -> String {
    rust::plain(name)
}

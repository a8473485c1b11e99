//! Go: `go.mod` (Go Modules Reference, "go.mod files"). What programs were built from is
//! [`crate::program`]'s.
//!
//! `go.sum` is not read: it has every version that was ever considered, not those chosen.

use std::collections::HashMap;

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// The cataloger of `go.mod`.
pub(super) struct GoMod;

/// A module and, where one is stated, its version.
type Module<'m> = (&'m str, Option<&'m str>);

impl Cataloger for GoMod {
    fn name(&self) -> &'static str {
        "go-mod"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name == "go.mod"
            && !path.is_in_package()
            && !path.is_below("vendor")
            && !path.is_below("testdata")
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some(text) = file.text(sink) else {
            return;
        };
        let mut required: Vec<(&str, &str)> = Vec::new();
        let mut replaced: HashMap<Module<'_>, Module<'_>> = HashMap::new();
        // The directive whose block is open.
        let mut block: Option<&str> = None;
        let mut n_bad = 0_u64;
        for line in text.lines() {
            let line = line.split("//").next().unwrap_or_default().trim();
            let mut words = line.split_whitespace();
            let directive = match block {
                Some(_) if line == ")" => {
                    block = None;
                    continue;
                }
                Some(directive) => directive,
                None => match words.next() {
                    Some(directive) => directive,
                    None => continue,
                },
            };
            let words: Vec<&str> =
                words.map(|word| word.trim_matches(['"', '`'])).take(6).collect();
            match (directive, words.as_slice()) {
                (directive, ["("]) => block = Some(directive),
                (_, []) => {}
                ("require", [name, version]) => required.push((name, version)),
                ("replace", [old, "=>", new]) => drop(replaced.insert((old, None), (new, None))),
                ("replace", [old, "=>", new, version]) => {
                    replaced.insert((old, None), (new, Some(version)));
                }
                ("replace", [old, version, "=>", new]) => {
                    replaced.insert((old, Some(version)), (new, None));
                }
                ("replace", [old, version, "=>", new, other]) => {
                    replaced.insert((old, Some(version)), (new, Some(other)));
                }
                ("require" | "replace", _) => n_bad += 1,
                _ => {}
            }
        }
        for (name, version) in required {
            let replacement =
                replaced.get(&(name, Some(version))).or_else(|| replaced.get(&(name, None)));
            let (name, version) = match replacement {
                // A folder: the project's own code under another's name.
                Some((_, None)) => continue,
                Some((new, Some(version))) => (*new, *version),
                None => (name, version),
            };
            sink.add(file.declared(PackageKind::Go, name, version));
        }
        if n_bad > 0 {
            sink.gap(file.path, format!("{n_bad} lines cannot be read as Go's"));
        }
    }
}

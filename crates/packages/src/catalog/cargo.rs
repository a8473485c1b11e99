//! Rust: `Cargo.lock` (Cargo Book, "Cargo.toml vs Cargo.lock").

use palisade_model::PackageKind;
use serde::Deserialize;

use super::{CatalogFile, Cataloger, FilePath, form};
use crate::Sink;

/// The cataloger of Cargo's lock files.
pub(super) struct CargoLock;

#[derive(Deserialize)]
struct Lock {
    #[serde(default, deserialize_with = "form::list")]
    package: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
}

impl Cataloger for CargoLock {
    fn name(&self) -> &'static str {
        "cargo-lock"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name == "Cargo.lock" && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some(lock) = file.toml::<Lock>(sink) else {
            return;
        };
        for entry in lock.package {
            sink.add(file.declared(PackageKind::Cargo, entry.name, entry.version));
        }
    }
}

//! PHP: `composer.lock`, and what Composer installed by `vendor/composer/installed.json`
//! (Composer documentation, "The composer.json schema").

use palisade_model::PackageKind;
use serde::Deserialize;
use serde_json::Value;

use super::{CatalogFile, Cataloger, FilePath, form};
use crate::Sink;

/// The cataloger of Composer's packages.
pub(super) struct Composer;

#[derive(Deserialize)]
struct Lock {
    #[serde(default, deserialize_with = "form::list")]
    packages: Vec<Entry>,
    #[serde(default, rename = "packages-dev", deserialize_with = "form::list")]
    development: Vec<Entry>,
}

/// Composer 2 writes an object, Composer 1 wrote a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Installed {
    Lock(Lock),
    List(Vec<Entry>),
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    #[serde(default, deserialize_with = "form::text")]
    version: Option<String>,
    #[serde(default)]
    license: Value,
}

impl Cataloger for Composer {
    fn name(&self) -> &'static str {
        "composer"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        match path.name {
            "composer.lock" => !path.is_in_package() && !path.is_below("vendor"),
            "installed.json" => true,
            _ => false,
        }
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        if file.path.ends_with("composer.lock") {
            let Some(lock) = file.json::<Lock>(sink) else {
                return;
            };
            sink.development(lock.development.len() as u64);
            for entry in lock.packages {
                add(entry, true, file, sink);
            }
            return;
        }
        // Others name files so; one that is not Composer's is no gap in `vendor/composer` alone.
        let is_composers = file.path.ends_with("composer/installed.json");
        if super::has_too_many_values(file.bytes) {
            return sink.gap(file.path, format!("more than {} values", super::VALUES_MAX));
        }
        let installed: Installed = match serde_json::from_slice(file.bytes) {
            Ok(installed) => installed,
            Err(error) if is_composers => {
                return sink.gap(file.path, format!("not the JSON it should be: {error}"));
            }
            Err(_) => return,
        };
        let entries = match installed {
            Installed::Lock(lock) => lock.packages,
            Installed::List(entries) => entries,
        };
        for entry in entries {
            add(entry, false, file, sink);
        }
    }
}

fn add(entry: Entry, is_declared: bool, file: &CatalogFile<'_>, sink: &mut Sink) {
    let Some(version) = entry.version else {
        sink.gap(file.path, format!("`{}` has no version", entry.name));
        return;
    };
    let mut package = if is_declared {
        file.declared(PackageKind::Composer, entry.name, version)
    } else {
        file.package(PackageKind::Composer, entry.name, version)
    };
    package.licences = form::licences(&entry.license);
    sink.add(package);
}

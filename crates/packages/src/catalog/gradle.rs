//! Gradle: `gradle.lockfile` and `buildscript-gradle.lockfile` (Gradle manual, "Locking
//! versions"): one `group:artifact:version=configurations` a line.

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// The cataloger of Gradle's lock files.
pub(super) struct Gradle;

impl Cataloger for Gradle {
    fn name(&self) -> &'static str {
        "gradle-lock"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name.ends_with("gradle.lockfile") && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some(text) = file.text(sink) else {
            return;
        };
        let mut n_bad = 0_u64;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') || line.starts_with("empty=") {
                continue;
            }
            let coordinates = line.split('=').next().unwrap_or_default();
            match coordinates.split(':').collect::<Vec<_>>()[..] {
                [group, artifact, version] if ![group, artifact, version].contains(&"") => {
                    let name = format!("{group}:{artifact}");
                    sink.add(file.declared(PackageKind::Maven, name, version));
                }
                // `empty` alone, as some versions write it.
                ["empty"] => {}
                _ => n_bad += 1,
            }
        }
        if n_bad > 0 {
            sink.gap(file.path, format!("{n_bad} lines cannot be read as Gradle's"));
        }
    }
}

//! apk's database: `lib/apk/db/installed`, one letter a field (Alpine wiki, "Apk spec").

use palisade_model::PackageKind;
use palisade_model::package::SourcePackage;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// Largest database that is read, in bytes.
const DATABASE_BYTES_MAX: u64 = 64 << 20;

/// Relations of one package to others that are kept.
const RELATIONS_MAX: usize = 1_000;

/// The cataloger of Alpine packages.
pub(super) struct Apk;

impl Cataloger for Apk {
    fn name(&self) -> &'static str {
        "apk"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        matches!(path.whole, "lib/apk/db/installed" | "usr/lib/apk/db/installed")
    }

    fn bytes_max(&self) -> u64 {
        DATABASE_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let text = String::from_utf8_lossy(file.bytes);
        let mut n_bad = 0_u64;
        // Not split at empty lines alone: a missing one must not join two packages.
        let mut entry = Entry::default();
        for line in text.lines().chain([""]) {
            match line.split_once(':') {
                Some(("P", _)) if !entry.name.is_empty() => {
                    n_bad += entry.finish(file, sink);
                    entry.field(line);
                }
                None if line.trim().is_empty() => n_bad += entry.finish(file, sink),
                None => n_bad += 1,
                Some(_) => entry.field(line),
            }
        }
        if n_bad > 0 {
            sink.gap(file.path, format!("{n_bad} entries or lines cannot be read as apk's"));
        }
    }
}

/// `so:libc.musl-x86_64.so.1 busybox>=1.2 !conflict` as names; conflicts are none.
fn relations(value: &str) -> Vec<String> {
    let names = value.split_whitespace().filter(|word| !word.starts_with('!'));
    let names = names.map(|word| word.split(['<', '>', '=', '~']).next().unwrap_or_default());
    names.filter(|name| !name.is_empty()).take(RELATIONS_MAX).map(str::to_string).collect()
}

#[derive(Default)]
struct Entry {
    name: String,
    version: String,
    architecture: Option<String>,
    origin: Option<String>,
    licence: Option<String>,
    maintainer: Option<String>,
    folder: String,
    files: Vec<String>,
    depends: Vec<String>,
    provides: Vec<String>,
    n_lines: usize,
}

impl Entry {
    fn field(&mut self, line: &str) {
        let Some((key, value)) = line.split_once(':') else {
            return;
        };
        self.n_lines += 1;
        match key {
            "P" => self.name = value.to_string(),
            "V" => self.version = value.to_string(),
            "A" => self.architecture = Some(value.to_string()),
            "o" => self.origin = Some(value.to_string()),
            "L" => self.licence = Some(value.to_string()),
            "m" => self.maintainer = Some(value.to_string()),
            "D" => self.depends = relations(value),
            "p" => self.provides = relations(value),
            "F" => self.folder = value.to_string(),
            "R" if self.folder.is_empty() => self.files.push(format!("/{value}")),
            "R" => self.files.push(format!("/{}/{value}", self.folder)),
            _ => {}
        }
    }

    /// Adds the package; returns the number of bad entries, 0 or 1.
    fn finish(&mut self, file: &CatalogFile<'_>, sink: &mut Sink) -> u64 {
        let entry = std::mem::take(self);
        if entry.n_lines == 0 {
            return 0;
        }
        if entry.name.is_empty() || entry.version.is_empty() {
            return 1;
        }
        // The origin has no version of its own: it is built as one.
        let source = SourcePackage {
            name: entry.origin.unwrap_or_else(|| entry.name.clone()),
            version: entry.version.clone(),
        };
        let mut package = file.package(PackageKind::Apk, entry.name, entry.version);
        package.architecture = entry.architecture;
        package.source = Some(source);
        package.licences = entry.licence.into_iter().collect();
        package.maintainer = entry.maintainer;
        package.files = entry.files;
        package.depends = entry.depends;
        package.provides = entry.provides;
        sink.add(package);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::relations;

    #[test]
    fn relations_are_names() {
        let value = "so:libc.musl-x86_64.so.1 busybox>=1.2 !uclibc a~1 cmd:sh=1.36.1-r0";
        assert_eq!(relations(value), ["so:libc.musl-x86_64.so.1", "busybox", "a", "cmd:sh"]);
    }
}

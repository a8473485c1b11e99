//! Licences of packages that state none: the files `LICENSE`, `COPYING` and their like beside
//! the metadata of npm packages and Python distributions, by their text.

use palisade_model::PackageKind;

use super::node::is_place_of_package;
use super::{CatalogFile, Cataloger, FilePath, absolute};
use crate::{Sink, licence};

/// The cataloger of licence files.
pub(super) struct LicenceFile;

/// Longer files are no licence but a collection of notices, in bytes.
const TEXT_BYTES_MAX: usize = 256 << 10;

impl Cataloger for LicenceFile {
    fn name(&self) -> &'static str {
        "licence-file"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        is_licence(path.name) && place(path.whole).is_some()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some((kind, folder)) = place(file.path) else { return };
        if file.bytes.len() > TEXT_BYTES_MAX {
            return;
        }
        let found = licence::recognise(&String::from_utf8_lossy(file.bytes));
        sink.licence_text(kind, &absolute(folder), &found, &absolute(file.path));
    }
}

/// `LICENSE`, `licence.md`, `LICENSE-MIT`, `COPYING.LESSER`.
fn is_licence(name: &str) -> bool {
    const NAMES: [&str; 4] = ["license", "licence", "copying", "unlicense"];
    NAMES.iter().any(|known| {
        let start = name.get(..known.len()).filter(|start| start.eq_ignore_ascii_case(known));
        let rest = start.and_then(|_| name.get(known.len()..));
        let is_code = [".js", ".ts", ".py", ".json", ".html"].iter().any(|end| name.ends_with(end));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '_'])) && !is_code
    })
}

/// The package to which a file belongs, by the folder of its metadata.
fn place(path: &str) -> Option<(PackageKind, &str)> {
    let (folder, _) = path.rsplit_once('/')?;
    if is_place_of_package(folder) {
        return Some((PackageKind::Node, folder));
    }
    // Since the metadata's version 2.4 they lie in a folder of their own.
    let folder = folder.split_once(".dist-info/licenses").map_or(folder, |(before, rest)| {
        let is_folder = rest.is_empty() || rest.starts_with('/');
        path.get(..before.len() + ".dist-info".len()).filter(|_| is_folder).unwrap_or(folder)
    });
    let is_metadata = folder.ends_with(".dist-info") || folder.ends_with(".egg-info");
    is_metadata.then_some((PackageKind::Python, folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_metadata() {
        let check = |path: &str, expected: Option<(PackageKind, &str)>| {
            let wanted = LicenceFile.wants(&FilePath::new(path));
            assert_eq!(wanted.then(|| place(path)).flatten(), expected, "{path}");
        };
        let node = |folder| Some((PackageKind::Node, folder));
        let python = |folder| Some((PackageKind::Python, folder));
        check("app/node_modules/a/LICENSE", node("app/node_modules/a"));
        check("app/node_modules/@b/a/licence.md", node("app/node_modules/@b/a"));
        check("app/node_modules/a/LICENSE-MIT.txt", node("app/node_modules/a"));
        check("app/node_modules/a/lib/LICENSE", None);
        check("app/node_modules/a/license.js", None);
        check("app/node_modules/a/LICENSES", None);
        check("app/LICENSE", None);
        check("l/a-1.dist-info/LICENSE", python("l/a-1.dist-info"));
        check("l/a-1.dist-info/licenses/COPYING", python("l/a-1.dist-info"));
        check("l/a-1.dist-info/licenses/vendor/LICENSE", python("l/a-1.dist-info"));
        check("l/a-1.dist-info/licenses_of/LICENSE", None);
        check("l/a.egg-info/COPYING", python("l/a.egg-info"));
    }
}

//! pacman: `var/lib/pacman/local/NAME-VERSION/desc` and `files` (libalpm `be_local.c`): a
//! `%FIELD%` and the lines below it, up to an empty one.

use palisade_model::PackageKind;
use palisade_model::package::SourcePackage;

use super::{CatalogFile, Cataloger, FilePath, absolute};
use crate::Sink;

/// The cataloger of Arch Linux's packages.
pub(super) struct Pacman;

const FOLDER: &str = "var/lib/pacman/local/";
/// Largest list of files that is read, in bytes.
const FILES_BYTES_MAX: u64 = 64 << 20;

impl Cataloger for Pacman {
    fn name(&self) -> &'static str {
        "pacman"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        let folder = path.whole.strip_prefix(FOLDER).and_then(|rest| rest.strip_suffix(path.name));
        matches!(path.name, "desc" | "files")
            && folder.and_then(|folder| folder.strip_suffix('/')).is_some_and(|f| !f.contains('/'))
    }

    fn bytes_max(&self) -> u64 {
        FILES_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let text = String::from_utf8_lossy(file.bytes);
        let lines = |field: &'static str| {
            let lines = text.lines().skip_while(move |line| *line != field);
            lines.skip(1).take_while(|line| !line.is_empty())
        };
        if let Some(folder) = file.path.strip_suffix("/files") {
            let files = lines("%FILES%").filter(|path| !path.ends_with('/')).map(absolute);
            let files: Vec<String> = files.collect();
            sink.owns(PackageKind::Pacman, &absolute(folder), files.into_iter());
            return;
        }
        let first = |field: &'static str| lines(field).next().map(str::to_string);
        let (Some(name), Some(version)) = (first("%NAME%"), first("%VERSION%")) else {
            sink.gap(file.path, "a package without name and version");
            return;
        };
        let source = first("%BASE%").unwrap_or_else(|| name.clone());
        let mut package = file.package(PackageKind::Pacman, name, version);
        package.source = Some(SourcePackage { name: source, version: package.version.clone() });
        package.architecture = first("%ARCH%");
        package.licences = lines("%LICENSE%").map(str::to_string).collect();
        package.maintainer = first("%PACKAGER%").filter(|name| name != "Unknown Packager");
        sink.add(package);
    }
}

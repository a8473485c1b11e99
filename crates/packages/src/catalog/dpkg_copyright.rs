//! Licences of Debian packages: `usr/share/doc/PACKAGE/copyright`, which is machine-readable
//! (DEP 5) for most, and names files of `/usr/share/common-licenses` in most others.

use std::collections::BTreeSet;

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;
use crate::deb822::paragraphs;

/// The cataloger of Debian's copyright files.
pub(super) struct DpkgCopyright;

const FOLDER: &str = "usr/share/doc/";
/// Licences of one package that are kept.
const LICENCES_MAX: usize = 64;
/// Longer names are none, in bytes.
const LICENCE_BYTES_MAX: usize = 100;

impl Cataloger for DpkgCopyright {
    fn name(&self) -> &'static str {
        "dpkg-copyright"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name == "copyright" && package(path.whole).is_some()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some(package) = package(file.path) else {
            return;
        };
        let mut found = BTreeSet::new();
        if file.bytes.starts_with(b"Format:") {
            for paragraph in paragraphs(file.bytes) {
                let Some(short) = paragraph.text("License") else {
                    continue;
                };
                let names = short.split([',', '(', ')']).flat_map(|part| part.split(" or "));
                let names = names.flat_map(|part| part.split(" and ")).map(str::trim);
                found.extend(names.filter(|name| is_name(name)).map(str::to_string));
            }
        }
        if found.is_empty() {
            let text = String::from_utf8_lossy(file.bytes);
            let is_end = |c: char| !c.is_ascii_alphanumeric() && !"-.+".contains(c);
            let mentioned = text.split("/usr/share/common-licenses/").skip(1);
            let names = mentioned.filter_map(|rest| rest.split(is_end).next());
            let names = names.map(|name| name.trim_end_matches('.'));
            found.extend(names.filter(|name| is_name(name)).map(str::to_string));
        }
        if !found.is_empty() {
            let licences = found.into_iter().take(LICENCES_MAX).collect();
            sink.licences(PackageKind::Dpkg, package, licences);
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LICENCE_BYTES_MAX
}

/// The package of `usr/share/doc/PACKAGE/copyright`.
fn package(path: &str) -> Option<&str> {
    let package = path.strip_prefix(FOLDER)?.strip_suffix("/copyright")?;
    (!package.contains('/')).then_some(package)
}

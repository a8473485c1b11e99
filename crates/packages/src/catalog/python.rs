//! Installed Python distributions: `METADATA` of `*.dist-info`, `PKG-INFO` of `*.egg-info`
//! (packaging specifications, "Core metadata").

use palisade_model::{Package, PackageKind};

use super::{CatalogFile, Cataloger};
use crate::Sink;
use crate::deb822::paragraphs;

/// The cataloger of Python distributions.
pub(super) struct Python;

impl Cataloger for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn wants(&self, path: &str) -> bool {
        path.ends_with(".dist-info/METADATA")
            || path.ends_with(".egg-info/PKG-INFO")
            // Old setuptools and Debian write one file instead of a folder.
            || (path.ends_with(".egg-info") && path.contains("/python"))
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        // The head is like a mail's; the description follows an empty line.
        let Some(head) = paragraphs(file.bytes).next() else {
            sink.gap(file.path, "empty package metadata");
            return;
        };
        let field = |name: &str| head.text(name).filter(|value| !value.is_empty());
        let (Some(name), Some(version)) = (field("Name"), field("Version")) else {
            sink.gap(file.path, "package metadata without name and version");
            return;
        };
        let licence = field("License-Expression").or_else(|| field("License"));
        let maintainer = field("Maintainer").or_else(|| field("Author"));
        sink.add(Package {
            kind: PackageKind::Python,
            name,
            version,
            architecture: None,
            source: None,
            purl: String::new(),
            licences: licence.filter(|licence| licence != "UNKNOWN").into_iter().collect(),
            maintainer: maintainer.filter(|name| name != "UNKNOWN"),
            // Without `RECORD`, the metadata is all that is known to belong to it.
            files: vec![format!("/{}", file.path)],
            evidence: format!("/{}", file.path),
            layer: file.layer,
        });
    }
}

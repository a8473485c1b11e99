//! Java run-times: the file `release` beside `bin/` (JEP 223).

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// The cataloger of Java run-times.
pub(super) struct Jdk;

/// Largest `release` that is read, in bytes.
const RELEASE_BYTES_MAX: u64 = 64 << 10;

impl Cataloger for Jdk {
    fn name(&self) -> &'static str {
        "jdk"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        let is_java = |part: &str| ["jdk", "jre", "jvm", "java"].iter().any(|k| part.contains(k));
        path.name == "release" && path.whole.split('/').any(is_java)
    }

    fn bytes_max(&self) -> u64 {
        RELEASE_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let text = String::from_utf8_lossy(file.bytes);
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            let value = line.strip_prefix('=')?.trim().trim_matches('"');
            (!value.is_empty()).then_some(value)
        };
        // Others name files so.
        let Some(version) = value("JAVA_RUNTIME_VERSION").or_else(|| value("JAVA_VERSION")) else {
            return;
        };
        let mut package = file.package(PackageKind::Binary, "openjdk", version);
        package.maintainer = value("IMPLEMENTOR").map(str::to_string);
        package.files = vec![package.evidence.clone()];
        sink.add(package);
    }
}

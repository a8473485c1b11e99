//! dpkg's database: `status`, `status.d/` of images without dpkg, and the lists of files.

use palisade_model::package::SourcePackage;
use palisade_model::{Package, PackageKind};

use super::{CatalogFile, Cataloger, FilePath, absolute, file_name};
use crate::Sink;
use crate::deb822::{Paragraph, paragraphs};

const STATUS: &str = "var/lib/dpkg/status";
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d/";
const INFO: &str = "var/lib/dpkg/info/";
/// Largest database or list of files that is read, in bytes.
const DATABASE_BYTES_MAX: u64 = 64 << 20;

/// Relations of one package to others that are kept.
const RELATIONS_MAX: usize = 1_000;

/// The cataloger of Debian packages.
pub(super) struct Dpkg;

impl Cataloger for Dpkg {
    fn name(&self) -> &'static str {
        "dpkg"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        let path = path.whole;
        path == STATUS
            || path.starts_with(STATUS_FOLDER)
            || path.strip_prefix(INFO).is_some_and(|name| name.strip_suffix(".list").is_some())
    }

    fn bytes_max(&self) -> u64 {
        DATABASE_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        if file.path == STATUS {
            status(file, sink, true);
        } else if let Some(name) = file.path.strip_prefix(STATUS_FOLDER) {
            match name.strip_suffix(".md5sums") {
                // Distroless names the file like the package, and lists its files beside it.
                Some(package) => {
                    let second = |line: &str| line.split_whitespace().nth(1).map(absolute);
                    let files = String::from_utf8_lossy(file.bytes);
                    sink.owns(PackageKind::Dpkg, package, files.lines().filter_map(second));
                }
                None => status(file, sink, false),
            }
        } else {
            let name = file_name(file.path);
            let name = name.strip_suffix(".list").unwrap_or(name);
            let files = String::from_utf8_lossy(file.bytes);
            let files = files.lines().filter(|line| line.len() > 1 && *line != "/.");
            sink.owns(PackageKind::Dpkg, name, files.map(str::to_string));
        }
    }
}

/// Reads a status file. Entries of `status.d` state no status: they are installed.
fn status(file: &CatalogFile<'_>, sink: &mut Sink, needs_status: bool) {
    let mut n_bad = 0_u64;
    for paragraph in paragraphs(file.bytes) {
        n_bad += paragraph.n_bad_lines as u64;
        // `want flag status`: only the third word says whether the files are there.
        // Half-installed and unpacked packages have files; removed ones do not.
        let status = paragraph.text("Status").unwrap_or_default();
        let state = status.split_whitespace().nth(2);
        match state {
            Some("not-installed" | "config-files") => continue,
            None if needs_status => {
                n_bad += 1;
                continue;
            }
            _ => {}
        }
        match package(&paragraph, file) {
            Some(package) => sink.add(package),
            None => n_bad += 1,
        }
    }
    if n_bad > 0 {
        sink.gap(file.path, format!("{n_bad} entries or lines cannot be read as dpkg's"));
    }
}

fn package(paragraph: &Paragraph<'_>, file: &CatalogFile<'_>) -> Option<Package> {
    let name = paragraph.text("Package").filter(|name| !name.is_empty())?;
    let version = paragraph.text("Version").filter(|version| !version.is_empty())?;
    let source = source(paragraph.text("Source").as_deref(), &name, &version);
    let mut package = file.package(PackageKind::Dpkg, name, version);
    package.architecture = paragraph.text("Architecture");
    package.source = Some(source);
    package.maintainer = paragraph.text("Maintainer");
    let fields = ["Pre-Depends", "Depends"].into_iter().filter_map(|name| paragraph.text(name));
    package.depends = fields.flat_map(|field| relations(&field)).take(RELATIONS_MAX).collect();
    let provides = paragraph.text("Provides").unwrap_or_default();
    package.provides = relations(&provides).into_iter().take(RELATIONS_MAX).collect();
    Some(package)
}

/// `a (>= 1), b:any | c [amd64]` as `a` and `b|c` (`deb-control(5)`).
fn relations(field: &str) -> Vec<String> {
    let name = |alternative: &str| {
        let end = alternative.trim_start().split([' ', '(', '[', '<', ':']).next();
        end.unwrap_or_default().trim().to_string()
    };
    let names = field.split(',').map(|relation| {
        let names: Vec<String> =
            relation.split('|').map(name).filter(|name| !name.is_empty()).collect();
        names.join("|")
    });
    names.filter(|names| !names.is_empty()).collect()
}

/// `Source: name (version)`; what is not said is as the binary package's. A version without
/// a source's own is that of the binary upload, whose `+b1` is no source version.
fn source(field: Option<&str>, name: &str, version: &str) -> SourcePackage {
    let Some(field) = field.map(str::trim).filter(|field| !field.is_empty()) else {
        return SourcePackage { name: name.into(), version: without_rebuild(version).into() };
    };
    match field.split_once('(') {
        Some((source, rest)) => SourcePackage {
            name: source.trim().into(),
            version: rest.trim_end_matches(')').trim().into(),
        },
        None => SourcePackage { name: field.into(), version: without_rebuild(version).into() },
    }
}

/// Cuts the `+bN` that a rebuild on Debian's builders adds.
fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, n)) if !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()) => source,
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let check = |field: Option<&str>, expected: (&str, &str)| {
            let found = source(field, "libssl3", "3.0-1+b2");
            assert_eq!((found.name.as_str(), found.version.as_str()), expected, "{field:?}");
        };
        check(None, ("libssl3", "3.0-1"));
        check(Some("openssl"), ("openssl", "3.0-1"));
        check(Some("openssl (3.0-1)"), ("openssl", "3.0-1"));
        check(Some("openssl (1:2.9)"), ("openssl", "1:2.9"));
        assert_eq!(without_rebuild("1.0+beta"), "1.0+beta");
    }

    #[test]
    fn relations_are_names() {
        let field = "libc6 (>= 2.34), python3:any, a [amd64] | b (= 1) | c,, debconf (>= 0.5) |";
        assert_eq!(relations(field), ["libc6", "python3", "a|b|c", "debconf"]);
        assert!(relations("").is_empty());
    }
}

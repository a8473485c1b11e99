//! RPM: the database of installed packages in its three forms, and the list of packages in
//! images without it.
//!
//! A database is a store of package headers. Which store it is, each file's reader knows; what
//! a header says, [`header`] does. All of them are read from the bytes of the file, without
//! C code and without trust in any offset or length.

mod bdb;
mod header;
mod ndb;
mod sqlite;

use palisade_model::PackageKind;
use palisade_model::package::SourcePackage;

use super::{CatalogFile, Cataloger, FilePath, file_name};
use crate::Sink;
pub use header::{ARCH, Header, MODULARITYLABEL, NAME};

/// The cataloger of RPM packages.
pub(super) struct Rpm;

/// Largest database that is read, in bytes. A workstation's with 3,000 packages has 200 MiB.
pub const DATABASE_BYTES_MAX: u64 = 256 << 20;
/// Folders that may have the database, each with a slash at its end.
pub const FOLDERS: [&str; 3] = ["var/lib/rpm/", "usr/lib/sysimage/rpm/", "usr/share/rpm/"];
const MANIFEST: &str = "var/lib/rpmmanifest/container-manifest-2";
/// A log of SQLite with nothing in it has its header alone.
const EMPTY_LOG_BYTES: usize = 32;

impl Cataloger for Rpm {
    fn name(&self) -> &'static str {
        "rpm"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        let is_database =
            matches!(path.name, "rpmdb.sqlite" | "rpmdb.sqlite-wal" | "Packages.db" | "Packages");
        is_database
            && FOLDERS.iter().any(|folder| path.whole.strip_prefix(folder) == Some(path.name))
            || path.whole == MANIFEST
    }

    fn bytes_max(&self) -> u64 {
        DATABASE_BYTES_MAX
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let mut found = Found { n_bad: 0, file, sink };
        let name = file_name(file.path);
        let outcome = match name {
            _ if FILES.contains(&name) => blobs(name, file.bytes, |blob| found.blob(blob)),
            "rpmdb.sqlite-wal" if file.bytes.len() > EMPTY_LOG_BYTES => {
                Err("changes that are not in the database yet, and are not read")
            }
            "rpmdb.sqlite-wal" => Ok(()),
            _ => {
                found.manifest();
                Ok(())
            }
        };
        let n_bad = found.n_bad;
        if let Err(reason) = outcome {
            sink.gap(file.path, reason);
        }
        if n_bad > 0 {
            sink.gap(file.path, format!("{n_bad} entries cannot be read as RPM's"));
        }
    }
}

/// Names of the database, of which an image has one: of SQLite, of RPM's own form and of Berkeley
/// DB.
pub const FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];

/// Calls `each` with the header of every package of a database whose file is called `name`, one
/// of [`FILES`]. [`Header::parse`] reads what it is given.
pub fn blobs(name: &str, bytes: &[u8], each: impl FnMut(&[u8])) -> Result<(), &'static str> {
    match name {
        "rpmdb.sqlite" => sqlite::blobs(bytes, "Packages", each),
        "Packages.db" => ndb::blobs(bytes, each),
        _ => bdb::blobs(bytes, each),
    }
}

struct Found<'f> {
    n_bad: u64,
    file: &'f CatalogFile<'f>,
    sink: &'f mut Sink,
}

impl Found<'_> {
    fn blob(&mut self, blob: &[u8]) {
        let package = Header::parse(blob).map(|header| self.package(&header));
        if package.flatten().is_none() {
            self.n_bad += 1;
        }
    }

    /// Adds the package of a header; nothing when it names none.
    fn package(&mut self, header: &Header<'_>) -> Option<()> {
        let name = header.text(header::NAME)?;
        // Keys to check signatures with are kept among the packages.
        if name == "gpg-pubkey" {
            return Some(());
        }
        let version = header.version()?;
        let epoch = header.number(header::EPOCH).filter(|epoch| *epoch > 0);
        let prefix = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
        let mut package = self.file.package(PackageKind::Rpm, name.as_str(), version);
        package.architecture = header.text(header::ARCH).filter(|arch| arch != "(none)");
        package.source = header
            .text(header::SOURCERPM)
            .and_then(|source| source_package(&source, &prefix))
            .or_else(|| Some(SourcePackage { name, version: package.version.clone() }));
        package.licences = header.text(header::LICENSE).into_iter().collect();
        package.maintainer = header.text(header::VENDOR).or_else(|| header.text(header::PACKAGER));
        package.module = header.text(header::MODULARITYLABEL);
        package.files = header.files();
        self.sink.add(package);
        Some(())
    }

    /// The list of images without a database: fields between tabs, as `rpm --query` of Azure
    /// Linux's builder writes them.
    fn manifest(&mut self) {
        let text = String::from_utf8_lossy(self.file.bytes);
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let fields: Vec<&str> = line.split('\t').take(10).collect();
            let [name, version, _, _, vendor, _, _, architecture, epoch, source] = fields[..]
            else {
                self.n_bad += 1;
                continue;
            };
            let is_epoch = epoch != "0" && epoch.bytes().all(|byte| byte.is_ascii_digit());
            let prefix = if is_epoch { format!("{epoch}:") } else { String::new() };
            let mut package =
                self.file.package(PackageKind::Rpm, name, format!("{prefix}{version}"));
            package.architecture = Some(architecture.to_string());
            package.maintainer = Some(vendor.to_string());
            package.source = source_package(source, &prefix);
            self.sink.add(package);
        }
    }
}

/// `NAME-VERSION-RELEASE.src.rpm`. The source's epoch is that of its packages.
fn source_package(file: &str, epoch: &str) -> Option<SourcePackage> {
    let stem = file.strip_suffix(".rpm")?;
    let stem = stem.strip_suffix(".src").or_else(|| stem.strip_suffix(".nosrc"))?;
    let (rest, release) = stem.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some(SourcePackage { name: name.into(), version: format!("{epoch}{version}-{release}") })
}

/// A number of four bytes at `at`, big-endian.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// A number of four bytes at `at`, little-endian.
fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        let check = |file: &str, expected: Option<(&str, &str)>| {
            let found = source_package(file, "1:");
            let found = found.as_ref().map(|one| (one.name.as_str(), one.version.as_str()));
            assert_eq!(found, expected, "{file}");
        };
        check("bash-5.1.8-6.el9.src.rpm", Some(("bash", "1:5.1.8-6.el9")));
        check("gcc-toolset-12-1-2.nosrc.rpm", Some(("gcc-toolset-12", "1:1-2")));
        check("(none)", None);
        check("a-1.src.rpm", None);
    }
}

//! `Packages` indices of Debian repositories.

use palisade_base::Digest;
use palisade_packages::deb822::paragraphs;

use crate::relation::{Relation, relations};

/// A `Packages` index beyond this many bytes, decompressed, is refused (Debian's main: 50 MiB).
pub(crate) const INDEX_BYTES_MAX: u64 = 512 << 20;
/// Packages of one index.
pub const PACKAGES_MAX: usize = 500_000;

/// A package that a repository has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Available {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Source package of Debian, which advisories speak of.
    pub source: String,
    /// Its version.
    pub source_version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// Address of the `.deb`, below the repository until it is gathered.
    pub address: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, where the index has it.
    pub digest: Option<Digest>,
    /// apk's checksum of its record (`Q1` and SHA-1 in base64), or RPM's of the package
    /// (`sha512:…`).
    pub(crate) checksum: String,
    /// What apk's database has of it besides its files.
    pub(crate) record: String,
    /// Suite that has it: `bookworm-security`.
    pub suite: String,
    /// Stream of the module (`NAME:STREAM`) that it is a build of.
    pub module: Option<String>,
    /// Notices of the repository with which it was published.
    pub notices: Vec<String>,
    pub(crate) depends: Vec<Relation>,
    pub(crate) breaks: Vec<Relation>,
    pub(crate) provides: Vec<Relation>,
}

/// Reads an index. What is no package is counted.
pub fn read_packages(bytes: &[u8]) -> (Vec<Available>, u64) {
    let (mut packages, mut n_bad) = (Vec::new(), 0);
    for paragraph in paragraphs(bytes) {
        if packages.len() >= PACKAGES_MAX {
            n_bad += 1;
            continue;
        }
        let text = |name: &str| paragraph.text(name).filter(|value| !value.is_empty());
        let all = |names: &[&str]| {
            let fields = names.iter().filter_map(|name| text(name));
            fields.flat_map(|field| relations(&field)).collect::<Vec<_>>()
        };
        let read = || {
            Some(Available {
                name: text("Package")?,
                version: text("Version")?,
                source: source_name(text("Source").as_deref(), &text("Package")?),
                source_version: source_version(text("Source").as_deref(), &text("Version")?),
                architecture: text("Architecture")?,
                address: text("Filename")?,
                size: text("Size")?.parse().ok()?,
                digest: Some(format!("sha256:{}", text("SHA256")?).parse().ok()?),
                depends: all(&["Pre-Depends", "Depends"]),
                breaks: all(&["Breaks", "Conflicts"]),
                provides: all(&["Provides"]),
                ..Available::default()
            })
        };
        match read() {
            Some(package) => packages.push(package),
            None => n_bad += 1,
        }
    }
    (packages, n_bad)
}

/// `name (version)`; where it is not said, the package has the name of its source.
fn source_name(field: Option<&str>, package: &str) -> String {
    let name = field.and_then(|field| field.split([' ', '(']).next());
    name.filter(|name| !name.is_empty()).unwrap_or(package).to_string()
}

/// `name (version)`; a rebuild's `+b1` is no version of a source.
fn source_version(field: Option<&str>, version: &str) -> String {
    if let Some((_, rest)) = field.and_then(|field| field.split_once('(')) {
        return rest.trim_end_matches(')').trim().to_string();
    }
    match version.rsplit_once("+b") {
        Some((source, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => source,
        _ => version,
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_packages() {
        let text = format!(
            "Package: a\nSource: b (1-2)\nVersion: 1\nArchitecture: amd64\nFilename: pool/a.deb\nSize: 3\nSHA256: {}\n\
             Depends: libc6 (>= 2.34), b | c\n\nPackage: broken\n",
            "0".repeat(64)
        );
        let (packages, n_bad) = read_packages(text.as_bytes());
        assert_eq!((packages.len(), n_bad), (1, 1));
        assert_eq!(packages[0].depends.len(), 2);
        assert_eq!(packages[0].address, "pool/a.deb");
        assert_eq!((&*packages[0].source, &*packages[0].source_version), ("b", "1-2"));
        assert_eq!((source_name(None, "a"), source_name(Some("b"), "a")), ("a".into(), "b".into()));
    }
}

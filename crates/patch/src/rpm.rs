//! RPM: what an image has installed, its repositories, and what they offer
//! (`dnf.conf(5)`, createrepo_c's schema of `repomd.xml` and `primary.xml`, libmodulemd's
//! documents of modules).
//!
//! Most publishers sign each package and not the index. An index that no key of the image signed
//! is used for a plan, and named; every package must be signed by such a key.

mod build;
mod gather;
mod locks;
mod modules;
mod notices;
mod package;
mod primary;
mod repomd;
mod repos;
mod scripts;
mod sum;

use std::collections::BTreeMap;

use base64::Engine as _;
use palisade_packages::rpm::{ARCH, FILES, FOLDERS, Header, MODULARITYLABEL, NAME, blobs};

use crate::installed::Installed;
use crate::relation::{Relation, rpm_choice};
use crate::signature::Keyring;
use crate::{Files, PatchError};

pub use build::Transaction;
pub(crate) use build::{build, expected, others};
pub(crate) use gather::gather;
pub use modules::read_modules;
pub use notices::read_notices;
pub use package::{Rpm, read_rpm};
pub use primary::read_primary;
pub use repomd::read_repomd;
pub use repos::{RpmSource, read_repos};

/// Installed packages; a database has the headers of no more.
const PACKAGES_MAX: usize = 100_000;
/// Relations of one kind of one package; kernels provide some thousands.
const RELATIONS_MAX: usize = 100_000;
/// Keys of one entry of the database.
const KEYS_MAX: usize = 100;

/// Name of the entries that are keys.
const KEY: &str = "gpg-pubkey";

// `rpmtag.h`.
const PUBKEYS: u32 = 266;
const PROVIDES: [u32; 3] = [1047, 1112, 1113];
const REQUIRES: [u32; 3] = [1049, 1048, 1050];
const CONFLICTS: [u32; 3] = [1054, 1053, 1055];

/// Where the database is, if the image has one: its path and bytes.
pub(crate) fn database(files: &Files) -> Option<(String, &[u8])> {
    let places = FOLDERS.iter().flat_map(|folder| FILES.map(|name| format!("{folder}{name}")));
    let mut found = places.filter_map(|path| files.content(&path).map(|bytes| (path, bytes)));
    found.next()
}

/// Calls `each` with the header of every entry of the database, keys included.
pub(crate) fn headers(
    files: &Files,
    mut each: impl FnMut(&Header<'_>, &[u8]),
) -> Result<(), PatchError> {
    let Some((path, bytes)) = database(files) else { return Ok(()) };
    let name = path.rsplit('/').next().unwrap_or_default();
    let (mut n_bad, mut n_left) = (0_u64, PACKAGES_MAX);
    let read = blobs(name, bytes, |blob| match (Header::parse(blob), n_left) {
        (Some(header), 1..) => {
            n_left -= 1;
            each(&header, blob);
        }
        _ => n_bad += 1,
    });
    read.map_err(|why| PatchError::document(&path, why))?;
    if n_bad > 0 {
        return Err(PatchError::document(path, format!("{n_bad} entries cannot be read as RPM's")));
    }
    Ok(())
}

/// The packages of the database.
pub(crate) fn installed(files: &Files) -> Result<Vec<Installed>, PatchError> {
    let mut all = Vec::new();
    headers(files, |header, _| {
        let Some(name) = header.text(NAME).filter(|name| name != KEY) else { return };
        let Some(version) = header.version() else { return };
        all.push(Installed {
            name,
            version,
            architecture: header.text(ARCH).unwrap_or_default(),
            is_held: false,
            module: header.text(MODULARITYLABEL).map(|label| stream_of(&label).to_string()),
            depends: relations(header, REQUIRES),
            // What an installed package obsoletes may be upgraded all the same.
            breaks: relations(header, CONFLICTS),
            provides: relations(header, PROVIDES),
        });
    })?;
    Ok(all)
}

/// `NAME:STREAM` of a module's label.
pub(crate) fn stream_of(label: &str) -> &str {
    let end = label.match_indices(':').nth(1).map_or(label.len(), |(at, _)| at);
    label.get(..end).unwrap_or(label)
}

fn relations(header: &Header<'_>, [names, flags, versions]: [u32; 3]) -> Vec<Relation> {
    let (flags, versions) = (header.numbers(flags), header.texts(versions, RELATIONS_MAX));
    let names = header.texts(names, RELATIONS_MAX).into_iter().enumerate();
    let read = |(at, name): (usize, String)| {
        let operator = match flags.get(at).copied().unwrap_or(0) & 0x0e {
            0x02 => "<",
            0x04 => ">",
            0x08 => "=",
            0x0a => "<=",
            0x0c => ">=",
            _ => "",
        };
        let version = versions.get(at).map(String::as_str).unwrap_or_default();
        rpm_choice(&name, operator, version).map(|choice| vec![choice])
    };
    names.filter_map(read).collect()
}

/// The keys that rpm itself trusts: those that were imported into its database.
pub(crate) fn imported_keys(files: &Files, ring: &mut Keyring) {
    // A database that cannot be read is an error elsewhere.
    let _ = headers(files, |header, _| {
        if header.text(NAME).as_deref() != Some(KEY) {
            return;
        }
        for text in header.texts(PUBKEYS, KEYS_MAX) {
            let text: String = text.split_whitespace().collect();
            match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => ring.add(&bytes),
                Err(_) => ring.add_missing(),
            }
        }
    });
}

/// Packages that configuration keeps from being upgraded, with the reason, and names of which
/// several versions are installed side by side.
pub(crate) fn held(files: &Files, installed: &[Installed]) -> BTreeMap<String, String> {
    let mut held = locks::held(files, installed);
    let mut seen: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for one in installed {
        let key = (one.name.as_str(), one.architecture.as_str());
        if seen.insert(key, &one.version).is_some() {
            held.insert(one.name.clone(), "several versions of it are installed".to_string());
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_modules() {
        assert_eq!(stream_of("nodejs:18:8090:abc"), "nodejs:18");
        assert_eq!(stream_of("nodejs"), "nodejs");
    }
}

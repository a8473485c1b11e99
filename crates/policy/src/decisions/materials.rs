//! The content of everything outside of the policy on which its decisions rest.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Explain, read_bounded};
use serde_json::Value;

use crate::document::Images;

/// Largest file that counts, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most files in the folders of one trust store, and how deep they may lie.
const FILES_MAX: usize = 4096;
const DEPTH_MAX: usize = 4;
/// The folders beside a trust policy of the Notary Project that say what it trusts.
const STORES: [&str; 3] = ["truststore", "trust-store", "crl"];

/// A file that decisions rest on cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read `{}`, which the policy names", path.display())]
pub struct MaterialError {
    /// The key, the trusted root, or another file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl Explain for MaterialError {
    fn hint(&self) -> Option<String> {
        Some("put the file there, or change the policy".into())
    }
}

/// The digest of the content of everything outside of the policy on which its decisions rest:
/// the keys that it names, the trusted root at `root` where a rule needs one, the files of
/// OpenID providers with those of their keys, and the trust policies of the Notary Project with
/// their trust stores and lists of revoked certificates.
///
/// # Errors
///
/// One of them cannot be read.
pub fn materials(images: &Images, root: Option<&Path>) -> Result<Digest, MaterialError> {
    let mut all = b"palisade materials v2".to_vec();
    let keys = images.keys.iter().chain(images.trust.iter().flat_map(|rule| &rule.keys));
    let root = root.filter(|_| images.needs_root());
    let mut seen: Vec<&Path> = Vec::new();
    for path in keys.map(PathBuf::as_path).chain(root) {
        // Rules count signers by the files of their keys: which of them are the same is part of
        // it, what they are called is not.
        if is_new(path, &mut seen, &mut all) {
            all.extend_from_slice(Digest::of(&read(path)?).as_bytes());
        }
    }
    let is_stated = |path: &&Path| !path.as_os_str().is_empty();
    let rules = || images.trust.iter();
    all.extend_from_slice(b"providers");
    for path in rules().map(|rule| rule.openpubkey.as_path()).filter(is_stated) {
        if is_new(path, &mut seen, &mut all) {
            providers(path, &mut all)?;
        }
    }
    all.extend_from_slice(b"notary");
    for path in rules().map(|rule| rule.notary.as_path()).filter(is_stated) {
        if is_new(path, &mut seen, &mut all) {
            all.extend_from_slice(Digest::of(&read(path)?).as_bytes());
            let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            for name in STORES {
                store(&folder.join(name), &mut all)?;
            }
        }
    }
    Ok(Digest::of(&all))
}

/// Notes which of the files it is; whether it was not among them.
fn is_new<'p>(path: &'p Path, seen: &mut Vec<&'p Path>, all: &mut Vec<u8>) -> bool {
    let at = seen.iter().position(|other| *other == path).unwrap_or(seen.len());
    all.extend_from_slice(&at.to_be_bytes());
    let is_new = at == seen.len();
    if is_new {
        seen.push(path);
    }
    is_new
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> MaterialError + '_ {
    |source| MaterialError { path: path.to_path_buf(), source }
}

fn read(path: &Path) -> Result<Vec<u8>, MaterialError> {
    File::open(path)
        .and_then(|file| read_bounded(file, "key or trusted root", FILE_BYTES_MAX))
        .map_err(failed(path))
}

/// A file of OpenID providers, and the files of keys that it names. One that is no such file
/// names none: whoever uses it says what is wrong with it.
fn providers(path: &Path, all: &mut Vec<u8>) -> Result<(), MaterialError> {
    let bytes = read(path)?;
    all.extend_from_slice(Digest::of(&bytes).as_bytes());
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let members = ["providers", "cosigners"].into_iter().filter_map(|name| document.get(name));
    let entries = members.filter_map(Value::as_array).flatten();
    let files = entries.filter_map(|entry| entry.get("jwksFile")?.as_str());
    let folder = path.parent().unwrap_or(Path::new(""));
    for file in files.take(FILES_MAX) {
        all.extend_from_slice(Digest::of(&read(&folder.join(file))?).as_bytes());
    }
    Ok(())
}

/// Every file below a folder, by name; a folder that is not there is one without files. Links
/// count by their names: the trust store refuses them.
fn store(folder: &Path, all: &mut Vec<u8>) -> Result<(), MaterialError> {
    let mut files = Vec::new();
    list(folder, DEPTH_MAX, &mut files)?;
    files.sort();
    for (path, is_file) in files {
        let name = path.strip_prefix(folder).unwrap_or(&path).as_os_str().as_encoded_bytes();
        all.extend_from_slice(Digest::of(name).as_bytes());
        if is_file {
            all.extend_from_slice(Digest::of(&read(&path)?).as_bytes());
        }
    }
    all.push(b'.');
    Ok(())
}

fn list(
    folder: &Path,
    depth: usize,
    files: &mut Vec<(PathBuf, bool)>,
) -> Result<(), MaterialError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed(folder))?;
        let kind = entry.file_type().map_err(failed(folder))?;
        if files.len() == FILES_MAX || kind.is_dir() && depth == 0 {
            let what = format!("it has more than {FILES_MAX} files, or folders too deep");
            return Err(failed(folder)(io::Error::other(what)));
        }
        if kind.is_dir() {
            list(&entry.path(), depth - 1, files)?;
        } else {
            files.push((entry.path(), kind.is_file()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(folder: &Path, rule: &str) -> Result<Digest, MaterialError> {
        let text = format!("version: 1\nname: p\nimages:\n  trust:\n    - {{name: r, {rule}}}\n");
        let images = crate::parse(&text, "p", folder).unwrap().policy.images;
        materials(&images, Some(&folder.join("root.json")))
    }

    /// Each file that decides is part of it, and no other.
    #[test]
    fn every_file_that_decides_counts() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let files = [
            ("a.pub", "a"),
            ("root.json", "{}"),
            (
                "op.json",
                r#"{"providers": [{"jwksFile": "op.jwks"}, {"jwks": {}}],
                "cosigners": [{"jwksFile": "keys/co.jwks"}]}"#,
            ),
            ("op.jwks", "one"),
            ("keys/co.jwks", "two"),
            ("trustpolicy.json", "{}"),
            ("truststore/x509/ca/shop/root.pem", "root"),
            ("trust-store/x509/tsa/time/root.pem", "root"),
            ("crl/shop.crl", "list"),
            ("other/file", "of nobody"),
        ];
        for (name, text) in files {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let check = |rule: &str, counts: &[&str]| {
            let before = of(folder, rule).unwrap();
            assert_eq!(of(folder, rule).unwrap(), before);
            for (name, text) in files {
                let path = folder.join(name);
                std::fs::write(&path, text.replacen('o', "O", 1) + " ").unwrap();
                let changed = of(folder, rule).map_or(true, |it| it != before);
                assert_eq!(changed, counts.contains(&name), "{rule}: {name} was changed");
                std::fs::remove_file(&path).unwrap();
                let changed = of(folder, rule).map_or(true, |it| it != before);
                assert_eq!(changed, counts.contains(&name), "{rule}: {name} is gone");
                std::fs::write(&path, text).unwrap();
            }
            assert_eq!(of(folder, rule).unwrap(), before);
        };
        check("keys: [a.pub]", &["a.pub"]);
        check("subject: s, issuer: \"https://i\"", &["root.json"]);
        let token = "subject: s, issuer: \"https://i\", openpubkey: op.json";
        check(token, &["op.json", "op.jwks", "keys/co.jwks"]);
        let stores = ["truststore/x509/ca/shop/root.pem", "trust-store/x509/tsa/time/root.pem"];
        let notary = [&["trustpolicy.json", "crl/shop.crl"][..], &stores].concat();
        check("notary: trustpolicy.json", &notary);
    }

    #[test]
    fn stores_without_end_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        std::fs::write(folder.join("trustpolicy.json"), "{}").unwrap();
        let rule = "notary: trustpolicy.json";
        let before = of(folder, rule).unwrap();
        // A link counts by its name, and leads nowhere.
        std::fs::create_dir(folder.join("crl")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.join("crl/a.crl")).unwrap();
        assert_ne!(of(folder, rule).unwrap(), before);
        let deep = (0..=DEPTH_MAX).fold(folder.join("truststore"), |path, _| path.join("x"));
        std::fs::create_dir_all(&deep).unwrap();
        assert!(of(folder, rule).unwrap_err().to_string().contains("truststore"));
        std::fs::remove_dir_all(folder.join("truststore")).unwrap();
        for n in 0..FILES_MAX {
            std::fs::write(folder.join(format!("crl/{n}.crl")), "").unwrap();
        }
        assert!(of(folder, rule).unwrap_err().source.to_string().contains("more than 4096"));
    }
}

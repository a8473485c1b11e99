//! Trust stores: folders of root certificates, `truststore/x509/KIND/NAME/*`.

use std::path::{Path, PathBuf};

use palisade_base::read_bounded;

use super::error::NotaryError as Error;
use super::policy::NotaryPolicy;
use super::revocation::Crl;
use crate::pem;
use crate::pki::Certificate;

/// Most certificates, or revocation lists, of one folder.
pub const TRUST_STORE_CERTIFICATES_MAX: usize = 1024;
/// Largest file of a store, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What a store's certificates are trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Authority,
    SigningAuthority,
    TimeStamps,
}

impl StoreKind {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ca" => Self::Authority,
            "signingAuthority" => Self::SigningAuthority,
            "tsa" => Self::TimeStamps,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::SigningAuthority => "signingAuthority",
            Self::TimeStamps => "tsa",
        }
    }
}

/// The stores that a policy names, in memory, and the revocation lists beside them.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    stores: Vec<(StoreKind, String, Vec<Certificate>)>,
    pub(super) lists: Vec<Crl>,
}

impl TrustStore {
    /// Reads every store that `policy` names, from `folder`, where notation keeps its
    /// configuration: `truststore/x509/…` (`trust-store` in the specification) and, an addition
    /// of ours, `crl/*.crl`. Links are refused, as the specification demands.
    pub fn read(folder: &Path, policy: &NotaryPolicy) -> Result<Self, Error> {
        let mut this = Self::default();
        for (kind, name) in policy.stores() {
            if this.stores.iter().any(|(k, n, _)| k == kind && n == name) {
                continue;
            }
            let base = ["truststore", "trust-store"].map(|it| folder.join(it).join("x509"));
            let base = base.iter().find(|it| it.is_dir()).unwrap_or(&base[0]);
            let path = base.join(kind.name()).join(name);
            let mut certificates = Vec::new();
            for (file, bytes) in files(&path, &["pem", "crt", "cer", "der"])? {
                certificates.extend(read_certificates(&file, &bytes)?);
                if certificates.len() > TRUST_STORE_CERTIFICATES_MAX {
                    return Err(wrong(&path, "it has more than 1024 certificates"));
                }
            }
            if certificates.is_empty() {
                return Err(wrong(&path, "it has no certificate"));
            }
            for certificate in &certificates {
                check_root(certificate, &path)?;
            }
            this.stores.push((*kind, name.clone(), certificates));
        }
        let lists = folder.join("crl");
        if lists.is_dir() {
            for (file, bytes) in files(&lists, &["crl"])? {
                this.lists.push(Crl::parse(&bytes).map_err(|e| wrong(&file, &e.to_string()))?);
            }
        }
        Ok(this)
    }

    /// The certificates of a store.
    pub(super) fn get(&self, kind: StoreKind, name: &str) -> &[Certificate] {
        self.stores
            .iter()
            .find(|(k, n, _)| *k == kind && n == name)
            .map_or(&[], |(_, _, certificates)| certificates)
    }

    #[cfg(test)]
    pub(super) fn put(&mut self, kind: StoreKind, name: &str, certificates: Vec<Certificate>) {
        self.stores.push((kind, name.into(), certificates));
    }
}

fn wrong(path: &Path, problem: &str) -> Error {
    Error::Store { path: path.to_path_buf(), problem: problem.to_string() }
}

/// The files of a folder with one of those ends. A folder within is passed over.
fn files(folder: &Path, ends: &[&str]) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| Error::Store { path, problem: error.to_string() }
    };
    let kind = std::fs::symlink_metadata(folder).map_err(failed(folder))?;
    if !kind.is_dir() {
        return Err(wrong(folder, "it is no folder, or a link to one"));
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
        if !ends.contains(&end.to_ascii_lowercase().as_str()) {
            continue;
        }
        let kind = std::fs::symlink_metadata(&path).map_err(failed(&path))?;
        if kind.is_symlink() {
            return Err(wrong(&path, "it is a link, which the specification forbids"));
        }
        if kind.is_file() {
            paths.push(path);
        }
        if paths.len() > TRUST_STORE_CERTIFICATES_MAX {
            return Err(wrong(folder, "it has more than 1024 files"));
        }
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let read = || read_bounded(std::fs::File::open(&path)?, "file", FILE_BYTES_MAX);
            let bytes = read().map_err(failed(&path))?;
            Ok((path, bytes))
        })
        .collect()
}

/// The certificates of a file: PEM, or one in DER.
fn read_certificates(path: &Path, bytes: &[u8]) -> Result<Vec<Certificate>, Error> {
    let blocks = match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("-----BEGIN ") => {
            pem::decode_all(text, "CERTIFICATE").ok_or_else(|| wrong(path, "it is no PEM"))?
        }
        _ => vec![bytes.to_vec()],
    };
    if blocks.is_empty() {
        return Err(wrong(path, "it has no certificate"));
    }
    blocks
        .iter()
        .map(|raw| Certificate::parse(raw).map_err(|error| wrong(path, &error.to_string())))
        .collect()
}

/// Only authorities, or certificates that sign themselves, are trusted; a leaf in a store
/// would be a pin that nobody meant.
fn check_root(certificate: &Certificate, path: &Path) -> Result<(), Error> {
    let signs_itself =
        certificate.issuer == certificate.subject && certificate.is_signed_by(&certificate.key);
    if certificate.may_issue() || signs_itself {
        Ok(())
    } else {
        Err(wrong(path, "it has a certificate that is neither an authority's nor self-signed"))
    }
}

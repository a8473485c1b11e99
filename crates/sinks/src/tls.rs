//! Whom TLS trusts: the files that a sink names, or the system's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::error::OpenError;

/// Largest file of certificates.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;

/// Where distributions keep the certificates that they trust, as one file.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The one implementation of TLS's cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of `files`, or of the system when there are none.
pub(crate) fn roots(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    if files.is_empty() {
        let found = SYSTEM.iter().map(Path::new).find(|path| path.exists());
        return read(found.ok_or(OpenError::NoSystemCertificates)?);
    }
    let mut all = Vec::new();
    for file in files {
        all.extend(read(file)?);
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let failed =
        |source| OpenError::Read { what: "certificates", path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let bytes = palisade_base::read_bounded(file, "certificates", CERTIFICATES_BYTES_MAX)
        .map_err(|error| failed(std::io::Error::other(error)))?;
    // One that cannot be read does not cost the others: systems carry old ones along.
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).flatten().collect();
    if found.is_empty() { Err(OpenError::NoCertificates(path.to_path_buf())) } else { Ok(found) }
}

/// The TLS configuration of a client that trusts `files`, or the system.
pub(crate) fn client(files: &[PathBuf]) -> Result<Arc<rustls::ClientConfig>, OpenError> {
    let mut store = rustls::RootCertStore::empty();
    let (n_added, _) = store.add_parsable_certificates(roots(files)?);
    if n_added == 0 {
        return Err(files.first().map_or(OpenError::NoSystemCertificates, |file| {
            OpenError::NoCertificates(file.clone())
        }));
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(OpenError::Tls)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

//! Whom TLS trusts: files that are named, or the system's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade_base::Explain;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Largest file of certificates.
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;
/// Largest file of a private key.
const KEY_BYTES_MAX: u64 = 1 << 20;

/// Where distributions keep the certificates that they trust, as one file.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom a client trusts, and who it says it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Files of certificates to trust instead of the system's.
    pub only: Vec<PathBuf>,
    /// Files of certificates to trust besides the system's; ignored when `only` names any.
    pub besides: Vec<PathBuf>,
    /// The client's own certificate and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {what} `{}`", path.display())]
    Read {
        /// `certificates`, `private key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No certificate in a file that should hold some.
    #[error("no usable certificate in `{}`", .0.display())]
    NoCertificates(PathBuf),
    /// No private key in a file that should hold one.
    #[error("no usable private key in `{}`", .0.display())]
    NoKey(PathBuf),
    /// No certificates of the system.
    #[error("no certificates of authorities on this system")]
    NoSystemCertificates,
    /// TLS cannot be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// A proxy that is no URL. It may hold a password and is not repeated.
    #[error("the proxy of the environment is not a URL of a proxy")]
    BadProxy,
}

impl Explain for TlsError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } => "check that the file exists and may be read by this user".into(),
            Self::NoCertificates(_) => "name a PEM file with `-----BEGIN CERTIFICATE-----`".into(),
            Self::NoKey(_) => "name a PEM file with `-----BEGIN PRIVATE KEY-----`".into(),
            Self::NoSystemCertificates => {
                "install the package `ca-certificates`, or name a file of certificates".into()
            }
            Self::BadProxy => "write HTTPS_PROXY as http://HOST:PORT".into(),
            Self::Tls(_) => return None,
        })
    }
}

/// The one implementation of TLS's cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of `files`, or of the system when there are none.
pub fn roots(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    if files.is_empty() {
        let found = SYSTEM.iter().map(Path::new).find(|path| path.exists());
        return read(found.ok_or(TlsError::NoSystemCertificates)?);
    }
    let mut all = Vec::new();
    for file in files {
        all.extend(read(file)?);
    }
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read_file(path, "certificates", CERTIFICATES_BYTES_MAX)?;
    // One that cannot be read does not cost the others: systems carry old ones along.
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes).flatten().collect();
    if found.is_empty() { Err(TlsError::NoCertificates(path.to_path_buf())) } else { Ok(found) }
}

fn read_file(path: &Path, what: &'static str, limit: u64) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { what, path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    palisade_base::read_bounded(file, what, limit).map_err(|error| failed(io::Error::other(error)))
}

/// The TLS configuration of a client that trusts `files`, or the system: for protocols other
/// than HTTP.
pub fn client(files: &[PathBuf]) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let mut store = rustls::RootCertStore::empty();
    let (n_added, _) = store.add_parsable_certificates(roots(files)?);
    if n_added == 0 {
        return Err(files.first().map_or(TlsError::NoSystemCertificates, |file| {
            TlsError::NoCertificates(file.clone())
        }));
    }
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Tls)?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The TLS configuration of an HTTP client.
pub(crate) fn http_config(options: &TlsOptions) -> Result<ureq::tls::TlsConfig, TlsError> {
    let mut certificates = Vec::new();
    if options.only.is_empty() {
        // A machine without certificates of its own may still have those that are named.
        match roots(&[]) {
            Ok(system) => certificates.extend(system),
            Err(TlsError::NoSystemCertificates) if !options.besides.is_empty() => {}
            Err(error) => return Err(error),
        }
        for file in &options.besides {
            certificates.extend(read(file)?);
        }
    } else {
        certificates = roots(&options.only)?;
    }
    let identity = match &options.identity {
        Some((certificate, key)) => Some(identity(certificate, key)?),
        None => None,
    };
    let roots: Vec<_> =
        certificates.iter().map(|der| ureq::tls::Certificate::from_der(der).to_owned()).collect();
    Ok(ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .root_certs(ureq::tls::RootCerts::from(roots))
        .client_cert(identity)
        .unversioned_rustls_crypto_provider(provider())
        .build())
}

/// Trusts nobody.
pub(crate) fn nothing() -> ureq::tls::TlsConfig {
    ureq::tls::TlsConfig::builder()
        .provider(ureq::tls::TlsProvider::Rustls)
        .root_certs(ureq::tls::RootCerts::from(Vec::<ureq::tls::Certificate<'static>>::new()))
        .unversioned_rustls_crypto_provider(provider())
        .build()
}

fn identity(certificate: &Path, key: &Path) -> Result<ureq::tls::ClientCert, TlsError> {
    let chain: Vec<_> = read(certificate)?
        .iter()
        .map(|der| ureq::tls::Certificate::from_der(der).to_owned())
        .collect();
    let bytes = read_file(key, "private key", KEY_BYTES_MAX)?;
    let no_key = || TlsError::NoKey(key.to_path_buf());
    // The client would stop the program on a key that its provider cannot load.
    let found = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| no_key())?;
    provider().key_provider.load_private_key(found).map_err(|_| no_key())?;
    let key = ureq::tls::PrivateKey::from_pem(&bytes).map_err(|_| no_key())?;
    Ok(ureq::tls::ClientCert::new_with_certs(&chain, key))
}

//! ECDSA P-256 key pairs, as cosign keeps them.
//!
//! A private key is PKCS#8: plain in a file that only its owner may read, or encrypted
//! as cosign does it (scrypt, then NaCl's secretbox, in a PEM block of its own label). A
//! public key is a SubjectPublicKeyInfo in PEM. Signatures are ASN.1 DER over SHA-256.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::{DerSignature, Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _};
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use palisade_base::{Digest, Explain};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::secretbox::{self, KEY_BYTES, NONCE_BYTES};
use crate::{json, pem};

const LABEL_PUBLIC: &str = "PUBLIC KEY";
const LABEL_PLAIN: &str = "PRIVATE KEY";
const LABEL_SIGSTORE: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign wrote before version 2.
const LABEL_COSIGN: &str = "ENCRYPTED COSIGN PRIVATE KEY";

/// Largest key file, in bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Cosign's cost of scrypt: 64 MiB and some 100 ms for each guess.
const SCRYPT_LOG_N: u8 = 16;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 1;
/// Memory that the parameters of a key file may ask for, in bytes.
const SCRYPT_MEMORY_BYTES_MAX: u64 = 256 << 20;
const SALT_BYTES: usize = 32;

/// A key that cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("read key `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("write key `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A plain private key that others may read.
    #[error("private key `{}` has mode {mode:04o}, so that others may use it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// A public key of a kind that is not supported, or a broken one.
    #[error("the public key cannot be used: {0}")]
    NotUsable(String),
    /// No PEM block, or one with another label.
    #[error("not a PEM block with {expected}")]
    NotPem {
        /// What was expected.
        expected: &'static str,
    },
    /// The content is no P-256 key.
    #[error("the PEM block holds no ECDSA P-256 key")]
    NotP256,
    /// The content is no Ed25519 key.
    #[error("the PEM block holds no Ed25519 key")]
    NotEd25519,
    /// The line that says when the key was made says something else.
    #[error("the key does not say when it was made: {0}")]
    Date(String),
    /// The key is encrypted and no password was given.
    #[error("the private key is encrypted")]
    PasswordNeeded,
    /// The password does not open the key, or the file was changed.
    #[error("the password does not open the private key")]
    WrongPassword,
    /// The parameters of the encryption are not supported.
    #[error("the private key is encrypted in a way that is not supported: {0}")]
    Unsupported(String),
    /// The document in the PEM block is malformed.
    #[error("the encrypted private key is malformed")]
    Malformed(#[source] crate::JsonError),
    /// The kernel gave no randomness.
    #[error("no randomness: {0}")]
    NoRandomness(String),
}

impl Explain for KeyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exposed { path, .. } => {
                Some(format!("chmod 600 {}, and consider the key as known", path.display()))
            }
            Self::Date(_) => Some("write `Created: 2026-11-28T12:00:00Z` before the block, once".into()),
            Self::PasswordNeeded => Some("set PALISADE_KEY_PASSWORD to its password".into()),
            Self::WrongPassword => Some("check the password; the file may also be damaged".into()),
            Self::NotPem { .. } | Self::NotP256 => Some(
                "make a key pair with `palisade sign --generate-key`, or with `cosign generate-key-pair`"
                    .into(),
            ),
            Self::NotEd25519 => Some(
                "make a key pair with `palisade db generate-key`, or with `openssl genpkey -algorithm ed25519`"
                    .into(),
            ),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("existing keys are never overwritten: choose another name or remove it".into())
            }
            _ => None,
        }
    }
}

/// A public key with which signatures are verified.
#[derive(Clone)]
pub struct PublicKey {
    key: VerifyingKey,
    hint: String,
    der: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.hint)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// Reads a `PUBLIC KEY` block.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let not_pem = KeyError::NotPem { expected: "a public key" };
        let (label, der) =
            pem::decode(text).ok_or(KeyError::NotPem { expected: "a public key" })?;
        if label != LABEL_PUBLIC {
            return Err(not_pem);
        }
        let key = VerifyingKey::from_public_key_der(&der).map_err(|_| KeyError::NotP256)?;
        Self::new(key)
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_text(path)?)
    }

    fn new(key: VerifyingKey) -> Result<Self, KeyError> {
        let der = key.to_public_key_der().map_err(|_| KeyError::NotP256)?.as_bytes().to_vec();
        let hint = STANDARD.encode(Digest::of(&der).as_bytes());
        Ok(Self { key, hint, der })
    }

    /// The key as a `PUBLIC KEY` block.
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL_PUBLIC, &self.der).to_string()
    }

    /// What bundles call the key: Base64 of the SHA-256 of its DER form.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The SubjectPublicKeyInfo.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The coordinates of the point.
    pub(crate) fn coordinates(&self) -> Option<([u8; 32], [u8; 32])> {
        let point = self.key.to_sec1_point(false);
        Some((point.x()?.as_slice().try_into().ok()?, point.y()?.as_slice().try_into().ok()?))
    }

    /// Whether `signature` (DER) is this key's over a message with that digest.
    pub fn verify(&self, digest: &Digest, signature: &[u8]) -> bool {
        Signature::from_der(signature)
            .is_ok_and(|signature| self.key.verify_prehash(digest.as_bytes(), &signature).is_ok())
    }
}

/// A private key with which things are signed. Wiped from memory when dropped.
pub struct PrivateKey {
    key: SigningKey,
    public: PublicKey,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public.hint)
    }
}

/// The files of a key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPairPaths {
    /// The private key, mode 0600.
    pub private: PathBuf,
    /// The public key.
    pub public: PathBuf,
}

/// Cosign's form of an encrypted key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EncryptedKey {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    params: ScryptParams,
    salt: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScryptParams {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    nonce: String,
}

impl PrivateKey {
    /// A new key from the kernel's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        // A scalar out of range has a probability of 2^-32; a few tries always suffice.
        for _ in 0..16 {
            let bytes = Zeroizing::new(random::<32>()?);
            if let Ok(key) = SigningKey::from_slice(bytes.as_slice()) {
                return Self::new(key);
            }
        }
        Err(KeyError::NoRandomness("the kernel's bytes make no key".into()))
    }

    fn new(key: SigningKey) -> Result<Self, KeyError> {
        let public = PublicKey::new(*key.verifying_key())?;
        Ok(Self { key, public })
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message with that digest; the signature is ASN.1 DER. The nonce is that of
    /// RFC 6979, so that the same key and digest give the same signature.
    pub fn sign(&self, digest: &Digest) -> Result<Vec<u8>, KeyError> {
        let signature: DerSignature =
            self.key.sign_prehash(digest.as_bytes()).map_err(|_| KeyError::NotP256)?;
        Ok(signature.as_bytes().to_vec())
    }

    /// As [`Self::sign`], as the two numbers of 32 bytes that JOSE and COSE want.
    pub(crate) fn sign_fixed(&self, digest: &Digest) -> Result<[u8; 64], KeyError> {
        let signature: Signature =
            self.key.sign_prehash(digest.as_bytes()).map_err(|_| KeyError::NotP256)?;
        Ok(signature.to_bytes().into())
    }

    /// The key as a plain `PRIVATE KEY` block.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = self.key.to_pkcs8_der().map_err(|_| KeyError::NotP256)?;
        Ok(pem::encode(LABEL_PLAIN, der.as_bytes()))
    }

    /// The key encrypted as cosign does it.
    pub fn to_encrypted_pem(&self, password: &[u8]) -> Result<String, KeyError> {
        let der = self.key.to_pkcs8_der().map_err(|_| KeyError::NotP256)?;
        let (salt, nonce) = (random::<SALT_BYTES>()?, random::<NONCE_BYTES>()?);
        let box_key = derive(password, &salt, SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P)?;
        let document = EncryptedKey {
            kdf: Kdf {
                name: "scrypt".into(),
                params: ScryptParams { n: 1 << SCRYPT_LOG_N, r: SCRYPT_R, p: SCRYPT_P },
                salt: STANDARD.encode(salt),
            },
            cipher: Cipher { name: "nacl/secretbox".into(), nonce: STANDARD.encode(nonce) },
            ciphertext: STANDARD.encode(secretbox::seal(&box_key, &nonce, der.as_bytes())),
        };
        let text = serde_json::to_vec(&document)
            .map_err(|error| KeyError::Unsupported(error.to_string()))?;
        Ok(pem::encode(LABEL_SIGSTORE, &text).to_string())
    }

    /// Reads a plain or an encrypted private key.
    pub fn from_pem(text: &str, password: Option<&[u8]>) -> Result<Self, KeyError> {
        let not_pem = || KeyError::NotPem { expected: "a private key" };
        let (label, content) = pem::decode(text).ok_or_else(not_pem)?;
        let der = match label {
            LABEL_PLAIN => content,
            LABEL_SIGSTORE | LABEL_COSIGN => {
                decrypt(&content, password.ok_or(KeyError::PasswordNeeded)?)?
            }
            _ => return Err(not_pem()),
        };
        let key = SigningKey::from_pkcs8_der(&der).map_err(|_| KeyError::NotP256)?;
        Self::new(key)
    }

    /// Reads the file at `path`. A plain key that others may read is refused.
    pub fn read(path: &Path, password: Option<&[u8]>) -> Result<Self, KeyError> {
        Self::from_pem(&read_private_text(path)?, password)
    }

    /// Writes `NAME.key` and `NAME.pub`, the private key encrypted if there is a password.
    /// Existing files are never overwritten; after an error neither file is there.
    pub fn write_pair(
        &self,
        name: &Path,
        password: Option<&[u8]>,
    ) -> Result<KeyPairPaths, KeyError> {
        let with_end = |end: &str| {
            let mut file = name.as_os_str().to_owned();
            file.push(end);
            PathBuf::from(file)
        };
        let paths = KeyPairPaths { private: with_end(".key"), public: with_end(".pub") };
        let private = match password {
            Some(password) => Zeroizing::new(self.to_encrypted_pem(password)?),
            None => self.to_pem()?,
        };
        write_new(&paths.private, private.as_bytes(), 0o600)?;
        write_new(&paths.public, self.public.to_pem().as_bytes(), 0o644).inspect_err(|_| {
            // The private key was made by this call; half a pair helps nobody.
            let _ = std::fs::remove_file(&paths.private);
        })?;
        Ok(paths)
    }
}

/// The text of the file at `path`; a plain private key that others may read is refused.
pub(crate) fn read_private_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let text = read_text(path)?;
    // Wherever the block stands: there may be text before it.
    let plain = text.contains(&format!("-----BEGIN {LABEL_PLAIN}-----"));
    let source = |source| KeyError::Read { path: path.to_path_buf(), source };
    let mode = std::fs::metadata(path).map_err(source)?.permissions().mode() & 0o7777;
    if plain && mode & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_path_buf(), mode });
    }
    Ok(text)
}

pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), KeyError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let write = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
    };
    write().map_err(|source| KeyError::Write { path: path.to_path_buf(), source })
}

pub(crate) fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyError> {
    let read = |source| KeyError::Read { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(read)?;
    let bytes = palisade_base::read_bounded(file, "key", KEY_BYTES_MAX).map_err(read)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => Err(KeyError::NotPem { expected: "a key" }),
    }
}

fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0_u8; N];
    getrandom::fill(&mut bytes).map_err(|error| KeyError::NoRandomness(error.to_string()))?;
    Ok(bytes)
}

fn derive(
    password: &[u8],
    salt: &[u8],
    log_n: u8,
    r: u32,
    p: u32,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let unsupported = || KeyError::Unsupported(format!("scrypt with N=2^{log_n}, r={r}, p={p}"));
    let params = scrypt::Params::new(log_n, r, p).map_err(|_| unsupported())?;
    let mut out = Zeroizing::new([0_u8; KEY_BYTES]);
    scrypt::scrypt(password, salt, &params, out.as_mut_slice()).map_err(|_| unsupported())?;
    Ok(out)
}

fn decrypt(document: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let key: EncryptedKey = json::parse(document, KEY_BYTES_MAX).map_err(KeyError::Malformed)?;
    if key.kdf.name != "scrypt" || key.cipher.name != "nacl/secretbox" {
        let what = format!("{:.32} and {:.32}", key.kdf.name, key.cipher.name);
        return Err(KeyError::Unsupported(what));
    }
    let ScryptParams { n, r, p } = key.kdf.params;
    let memory_bytes = n.saturating_mul(128).saturating_mul(r.into());
    if !n.is_power_of_two() || n < 2 || memory_bytes > SCRYPT_MEMORY_BYTES_MAX || p > 16 {
        return Err(KeyError::Unsupported(format!("scrypt with N={n}, r={r}, p={p}")));
    }
    let base64 = |text: &str| {
        STANDARD.decode(text).map_err(|_| KeyError::Unsupported("a field is not Base64".into()))
    };
    let salt = base64(&key.kdf.salt)?;
    let nonce: [u8; NONCE_BYTES] = base64(&key.cipher.nonce)?
        .try_into()
        .map_err(|_| KeyError::Unsupported("the nonce has not 24 bytes".into()))?;
    let sealed = base64(&key.ciphertext)?;
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let box_key = derive(password, &salt, log_n, r, p)?;
    secretbox::open(&box_key, &nonce, &sealed).ok_or(KeyError::WrongPassword)
}

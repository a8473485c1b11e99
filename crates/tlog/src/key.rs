//! Keys of logs and of witnesses.
//!
//! A verifier key is one line, `NAME+HASH+BASE64` (C2SP signed-note); a private key is a file
//! in PKCS#8 PEM as `openssl genpkey -algorithm ed25519` makes it (RFC 8410).

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Longest name of a key or of a log, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Largest key file that is read, in bytes.
const KEY_FILE_BYTES_MAX: u64 = 16 << 10;
/// What an Ed25519 public key begins with as SubjectPublicKeyInfo (RFC 8410, section 4).
pub(crate) const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What an Ed25519 private key begins with as PKCS#8 (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("read key `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("write key `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file exists; a log's key is not overwritten.
    #[error("`{path}` exists")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The text is no private key of a log.
    #[error("`{path}` holds no Ed25519 private key in PKCS#8 PEM")]
    NotPrivate {
        /// The file.
        path: PathBuf,
    },
    /// The line is no verifier key.
    #[error("`{text}` is no verifier key: {problem}")]
    NotVerifier {
        /// The line, cut.
        text: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The PEM text is no public key of a log.
    #[error("the text holds no Ed25519 or P-256 public key in PEM")]
    NotPublic,
    /// The name cannot stand in a note.
    #[error("`{0}` cannot be the name of a key: it is empty or too long, or has a space or a `+`")]
    BadName(String),
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes: {0}")]
    NoRandom(String),
}

impl palisade_base::Explain for KeyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } | Self::NotPrivate { .. } => {
                Some("make one with `palisade log key --origin NAME FILE`".into())
            }
            Self::Exists { .. } => Some("name another file, or move this one away".into()),
            Self::NotVerifier { .. } => Some(
                "a verifier key is the line `NAME+HASH+BASE64` that `palisade log key` prints"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// What a key signs with, and what it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519 over the note's text (signed-note, type 0x01).
    Ed25519,
    /// ECDSA P-256 over the SHA-256 of the note's text, as logs of Rekor v1 sign.
    EcdsaP256,
    /// Ed25519 over a time and the note's text: a witness (tlog-cosignature, type 0x04).
    Cosignature,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Ed25519(ed25519_dalek::VerifyingKey),
    EcdsaP256(p256::ecdsa::VerifyingKey),
}

/// A public key with the name that it signs notes by.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    public: Public,
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({} {:?} {:08x})", self.name, self.kind, self.hint())
    }
}

/// Whether `name` can be the name of a key: not empty, no white space, no `+`.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

impl VerifierKey {
    /// Reads `NAME+HASH+BASE64`, where the base64 holds the type and the key.
    pub fn parse(line: &str) -> Result<Self, KeyError> {
        let bad =
            |problem| KeyError::NotVerifier { text: line.chars().take(100).collect(), problem };
        let mut parts = line.splitn(3, '+');
        let (Some(name), Some(hint), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it has not three parts"));
        };
        if !is_name(name) {
            return Err(bad("its name is empty or too long, or has a space"));
        }
        let key = BASE64_STANDARD.decode(key).map_err(|_| bad("its last part is not base64"))?;
        let (kind, raw) = match key.split_first() {
            Some((1, raw)) => (KeyKind::Ed25519, raw),
            Some((4, raw)) => (KeyKind::Cosignature, raw),
            _ => return Err(bad("its type is neither 1 (Ed25519) nor 4 (cosignature)")),
        };
        let public = raw.try_into().ok().and_then(ed25519).ok_or_else(|| bad("it is no point"))?;
        let this = Self { name: name.to_string(), kind, public };
        if hint != format!("{:08x}", this.hint()) {
            return Err(bad("its hash is not that of its name and key"));
        }
        Ok(this)
    }

    /// Reads SubjectPublicKeyInfo in PEM: Ed25519 or P-256.
    pub fn from_pem(name: &str, pem: &str) -> Result<Self, KeyError> {
        let der = pem_body(pem, "PUBLIC KEY").ok_or(KeyError::NotPublic)?;
        Self::from_spki(name, &der)
    }

    /// Reads SubjectPublicKeyInfo in DER: Ed25519 or P-256.
    pub fn from_spki(name: &str, der: &[u8]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::BadName(name.chars().take(100).collect()));
        }
        if let Some(raw) = der.strip_prefix(&SPKI_PREFIX) {
            let public = raw.try_into().ok().and_then(ed25519).ok_or(KeyError::NotPublic)?;
            return Ok(Self { name: name.to_string(), kind: KeyKind::Ed25519, public });
        }
        let key =
            p256::ecdsa::VerifyingKey::from_public_key_der(der).map_err(|_| KeyError::NotPublic)?;
        let public = Public::EcdsaP256(key);
        Ok(Self { name: name.to_string(), kind: KeyKind::EcdsaP256, public })
    }

    /// The same Ed25519 key as the key of a witness; itself when it is no Ed25519 key.
    #[must_use]
    pub fn as_witness(mut self) -> Self {
        if self.kind == KeyKind::Ed25519 {
            self.kind = KeyKind::Cosignature;
        }
        self
    }

    /// The name it signs by. A log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The whole hash whose first four bytes are the key's hint: Rekor v2's log ID.
    pub fn id(&self) -> [u8; 32] {
        match (&self.public, self.kind) {
            (Public::EcdsaP256(_), _) => Sha256::digest(self.spki()).into(),
            (Public::Ed25519(key), kind) => {
                let mut hasher = Sha256::new();
                hasher.update(self.name.as_bytes());
                hasher.update([b'\n', if kind == KeyKind::Cosignature { 4 } else { 1 }]);
                hasher.update(key.as_bytes());
                hasher.finalize().into()
            }
        }
    }

    /// What signatures in notes name the key by.
    pub fn hint(&self) -> u32 {
        let id = self.id();
        u32::from_be_bytes([id[0], id[1], id[2], id[3]])
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Vec<u8> {
        match &self.public {
            Public::Ed25519(key) => [&SPKI_PREFIX[..], key.as_bytes()].concat(),
            Public::EcdsaP256(key) => {
                key.to_public_key_der().map(p256::pkcs8::Document::into_vec).unwrap_or_default()
            }
        }
    }

    /// SubjectPublicKeyInfo in PEM.
    pub fn to_pem(&self) -> String {
        to_pem("PUBLIC KEY", &self.spki())
    }

    /// Checks a signature over `message` (for a witness's key the message with its time).
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Public::EcdsaP256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|it| key.verify_prehash(&Sha256::digest(message), &it).is_ok()),
        }
    }
}

/// The line of a verifier key. P-256 has none in the specification; its SPKI stands there.
impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match (&self.public, self.kind) {
            (Public::Ed25519(key), KeyKind::Cosignature) => [&[4], &key.as_bytes()[..]].concat(),
            (Public::Ed25519(key), _) => [&[1], &key.as_bytes()[..]].concat(),
            (Public::EcdsaP256(_), _) => [&[2], &self.spki()[..]].concat(),
        };
        write!(f, "{}+{:08x}+{}", self.name, self.hint(), BASE64_STANDARD.encode(key))
    }
}

fn ed25519(raw: &[u8; 32]) -> Option<Public> {
    ed25519_dalek::VerifyingKey::from_bytes(raw).ok().map(Public::Ed25519)
}

/// The private key of a log or of a witness.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.public)
    }
}

impl SigningKey {
    /// The key with these 32 secret bytes, signing by `name`.
    pub fn from_seed(name: &str, seed: &[u8; 32], kind: KeyKind) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::BadName(name.chars().take(100).collect()));
        }
        let key = ed25519_dalek::SigningKey::from_bytes(seed);
        let kind = if kind == KeyKind::Cosignature { kind } else { KeyKind::Ed25519 };
        let public = Public::Ed25519(key.verifying_key());
        Ok(Self { key, public: VerifierKey { name: name.to_string(), kind, public } })
    }

    /// Makes a new key, writes it to `path` (mode 0600, never over another file).
    pub fn generate(path: &Path, name: &str, kind: KeyKind) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(|error| KeyError::NoRandom(error.to_string()))?;
        let this = Self::from_seed(name, &seed, kind)?;
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::Exists { path: path.to_path_buf() });
        }
        let der = Zeroizing::new([&PKCS8_PREFIX[..], &seed[..]].concat());
        let pem = Zeroizing::new(to_pem("PRIVATE KEY", &der));
        palisade_base::fs::write_atomic(path, pem.as_bytes(), 0o600)
            .map_err(|source| KeyError::Write { path: path.to_path_buf(), source })?;
        Ok(this)
    }

    /// Reads a key file.
    pub fn read(path: &Path, name: &str, kind: KeyKind) -> Result<Self, KeyError> {
        let read = |source| KeyError::Read { path: path.to_path_buf(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let bytes =
            palisade_base::read_bounded(file, "key file", KEY_FILE_BYTES_MAX).map_err(read)?;
        let bytes = Zeroizing::new(bytes);
        let not_private = || KeyError::NotPrivate { path: path.to_path_buf() };
        let text = std::str::from_utf8(&bytes).map_err(|_| not_private())?;
        let der = pem_body(text, "PRIVATE KEY").map(Zeroizing::new).ok_or_else(not_private)?;
        let seed = der.strip_prefix(&PKCS8_PREFIX).and_then(|seed| seed.try_into().ok());
        Self::from_seed(name, seed.ok_or_else(not_private)?, kind)
    }

    /// The public half.
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

fn to_pem(label: &str, der: &[u8]) -> String {
    use std::fmt::Write as _;
    let body = BASE64_STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        let _ = writeln!(out, "{}", String::from_utf8_lossy(line));
    }
    let _ = writeln!(out, "-----END {label}-----");
    out
}

/// The bytes of the first block of PEM in `text` with `label`.
fn pem_body(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    BASE64_STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_key_of_the_specification_is_read_and_written() {
        // The key of Go's module checksum database, from its documentation.
        let line = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
        let key = VerifierKey::parse(line).unwrap();
        assert_eq!((key.name(), key.kind()), ("sum.golang.org", KeyKind::Ed25519));
        assert_eq!(key.to_string(), line);
        let again = VerifierKey::from_pem("sum.golang.org", &key.to_pem()).unwrap();
        assert_eq!(again, key);
    }

    #[test]
    fn broken_verifier_keys_are_refused() {
        for line in [
            "",
            "a+b",
            "sum.golang.org+033de0af+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
            "sum.golang.orh+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
            "sum golang org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
            "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuA==",
            "sum.golang.org+033de0ae+CM4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8",
        ] {
            assert!(VerifierKey::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_key_file_is_private_and_is_not_overwritten() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.pem");
        let made = SigningKey::generate(&path, "log.example", KeyKind::Ed25519).unwrap();
        let read = SigningKey::read(&path, "log.example", KeyKind::Ed25519).unwrap();
        assert_eq!(made.public(), read.public());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let again = SigningKey::generate(&path, "log.example", KeyKind::Ed25519);
        assert!(matches!(again, Err(KeyError::Exists { .. })));
        std::fs::write(&path, made.public().to_pem()).unwrap();
        let public = SigningKey::read(&path, "log.example", KeyKind::Ed25519);
        assert!(matches!(public, Err(KeyError::NotPrivate { .. })));
    }
}

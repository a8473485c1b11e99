//! Encryption to recipients in the format of age, version 1 (C2SP, `age.md`), with X25519
//! recipients: what is written here is opened by `age --decrypt`, and the other way round.
//!
//! The parts are `ring`'s (ChaCha20-Poly1305, HKDF, HMAC) and `curve25519-dalek`'s, which others
//! bring anyway; the published crate of the format would bring a dozen more. A file has a header
//! that gives a file key to each recipient, authenticated by that key, and a payload in chunks of
//! 64 KiB, each sealed under its number ([`stream`]).

mod header;
mod stream;

use std::fmt;

use curve25519_dalek::MontgomeryPoint;
use palisade_base::{Explain, bech32};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::SecureRandom as _;
use ring::{hkdf, rand};
use zeroize::Zeroizing;

pub use stream::{AgeReader, AgeWriter};

/// First bytes of every file.
pub const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// Most recipients of one file.
pub const RECIPIENTS_MAX: usize = 32;
/// Most identities that are tried.
pub const IDENTITIES_MAX: usize = 256;
/// Bytes that the file key has.
const FILE_KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const RECIPIENT_NAME: &str = "age";
const IDENTITY_NAME: &str = "age-secret-key-";
const WRAP_LABEL: &[u8] = b"age-encryption.org/v1/X25519";

/// Why a key or a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgeError {
    /// No recipient of X25519.
    #[error("`{0}` is no recipient of age")]
    Recipient(String),
    /// No identity of X25519; what stands there is a secret and not shown.
    #[error("line {0} is no identity of age")]
    Identity(usize),
    /// The file of identities has none.
    #[error("there is no identity of age")]
    NoIdentity,
    /// A bound of this implementation.
    #[error("more than {0} {1}")]
    TooMany(usize, &'static str),
    /// The file is encrypted, and nothing was given to open it.
    #[error("it is encrypted to recipients")]
    Encrypted,
    /// None of the identities is a recipient's.
    #[error("it is encrypted to others than these identities")]
    OtherRecipients,
    /// The header is no header.
    #[error("the header of the encryption is damaged: {0}")]
    Header(&'static str),
    /// A part was changed, cut or put elsewhere.
    #[error("the encrypted part {0} was changed or cut")]
    Payload(u64),
    /// The kernel gave no randomness.
    #[error("no randomness")]
    NoRandomness,
}

impl Explain for AgeError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Recipient(_) => {
                "a recipient is `age1…`, as `age-keygen -y FILE` prints it".into()
            }
            Self::Identity(_) | Self::NoIdentity => {
                "an identity is a line `AGE-SECRET-KEY-1…`, as `age-keygen` writes it".into()
            }
            Self::TooMany(..) => "give fewer".into(),
            Self::Encrypted => "open it with --identity FILE".into(),
            Self::OtherRecipients => "give the identity of one of its recipients".into(),
            Self::Header(_) | Self::Payload(_) => {
                "do not rely on this file; take the original from where it was written".into()
            }
            Self::NoRandomness => "try again once the machine is up".into(),
        })
    }
}

impl From<AgeError> for std::io::Error {
    fn from(error: AgeError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// To whom something is encrypted: an X25519 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl std::str::FromStr for Recipient {
    type Err = AgeError;

    fn from_str(text: &str) -> Result<Self, AgeError> {
        let text = text.trim();
        let key = bech32::decode(RECIPIENT_NAME, text).filter(|key| agree(key, &[1; 32]).is_some());
        key.map(Self).ok_or_else(|| AgeError::Recipient(text.chars().take(80).collect()))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bech32::encode(RECIPIENT_NAME, &self.0))
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// What opens a file: an X25519 private key.
#[derive(Clone)]
pub struct Identity(Zeroizing<[u8; 32]>);

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity of {}", self.recipient())
    }
}

impl Identity {
    /// A new one.
    pub fn generate() -> Result<Self, AgeError> {
        random().map(|key| Self(Zeroizing::new(key)))
    }

    /// Those in a file: one a line, comments begin with `#`.
    pub fn parse_file(text: &str) -> Result<Vec<Self>, AgeError> {
        let mut identities = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if identities.len() == IDENTITIES_MAX {
                return Err(AgeError::TooMany(IDENTITIES_MAX, "identities"));
            }
            let key = bech32::decode(IDENTITY_NAME, line).ok_or(AgeError::Identity(index + 1))?;
            identities.push(Self(Zeroizing::new(key)));
        }
        if identities.is_empty() { Err(AgeError::NoIdentity) } else { Ok(identities) }
    }

    /// Its line in a file.
    pub fn to_line(&self) -> Zeroizing<String> {
        Zeroizing::new(bech32::encode(IDENTITY_NAME, &self.0).to_ascii_uppercase())
    }

    /// The recipient whose files it opens.
    pub fn recipient(&self) -> Recipient {
        Recipient(MontgomeryPoint::mul_base_clamped(*self.0).to_bytes())
    }
}

/// X25519 (RFC 7748); none where the point is of low order.
fn agree(point: &[u8; 32], scalar: &[u8; 32]) -> Option<Zeroizing<[u8; 32]>> {
    let shared = Zeroizing::new(MontgomeryPoint(*point).mul_clamped(*scalar).to_bytes());
    shared.iter().any(|byte| *byte != 0).then_some(shared)
}

fn random<const N: usize>() -> Result<[u8; N], AgeError> {
    let mut bytes = [0; N];
    rand::SystemRandom::new().fill(&mut bytes).map_err(|_| AgeError::NoRandomness)?;
    Ok(bytes)
}

struct KeyLength;

impl hkdf::KeyType for KeyLength {
    fn len(&self) -> usize {
        32
    }
}

/// HKDF-SHA-256 (RFC 5869), 32 bytes.
fn derive(secret: &[u8], salt: &[u8], label: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(secret);
    // 32 bytes are within what HKDF gives; a key of zeros would open nothing.
    let _ = secret.expand(&[label], KeyLength).and_then(|out| out.fill(key.as_mut_slice()));
    key
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, AgeError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key);
    key.map(LessSafeKey::new).map_err(|_| AgeError::Header("a key has another length"))
}

/// Seals `text`, which gets the tag at its end.
fn seal(key: &LessSafeKey, nonce: [u8; 12], text: &mut Vec<u8>) -> Result<(), AgeError> {
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), text)
        .map_err(|_| AgeError::Header("it cannot be sealed"))
}

/// Opens `sealed`, which loses its tag; none where it is not what was sealed.
fn open(key: &LessSafeKey, nonce: [u8; 12], sealed: &mut Vec<u8>) -> Option<()> {
    let n = sealed.len().checked_sub(TAG_BYTES)?;
    key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), sealed).ok()?;
    sealed.truncate(n);
    Some(())
}

#[cfg(test)]
mod tests;

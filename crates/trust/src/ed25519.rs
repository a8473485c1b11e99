//! Ed25519 key pairs (RFC 8032), with which advisory databases are signed.
//!
//! Files are those of `openssl genpkey -algorithm ed25519`: PKCS#8 (RFC 8410) for the private
//! key, which only its owner may read, SubjectPublicKeyInfo for the public one. A line
//! `Created: TIME` (RFC 3339) before the block says when the key was made: such text is allowed
//! before PEM blocks (RFC 7468, section 2), and OpenSSL passes over it.

use std::fmt;
use std::path::{Path, PathBuf};

use palisade_base::{Digest, Timestamp};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::key::{KeyError, KeyPairPaths, read_private_text, read_text, write_new};
use crate::pem;

const LABEL_PUBLIC: &str = "PUBLIC KEY";
const LABEL_PRIVATE: &str = "PRIVATE KEY";
/// A SubjectPublicKeyInfo of Ed25519 before the 32 bytes of the key.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
/// A PKCS#8 document of Ed25519 before the 32 bytes of the seed.
const PRIVATE_PREFIX: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Begins the line that says when the key was made.
const CREATED: &str = "Created:";

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ed25519PublicKey {
    bytes: [u8; 32],
    created: Option<Timestamp>,
}

impl fmt::Debug for Ed25519PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519PublicKey({})", Digest::of(&self.bytes).short())
    }
}

impl Ed25519PublicKey {
    /// Reads a `PUBLIC KEY` block.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (created, text) = split_created(text)?;
        let (label, der) =
            pem::decode(text).ok_or(KeyError::NotPem { expected: "a public key" })?;
        if label != LABEL_PUBLIC {
            return Err(KeyError::NotPem { expected: "a public key" });
        }
        let key = der.strip_prefix(&PUBLIC_PREFIX[..]).and_then(|key| key.try_into().ok());
        key.map(|bytes| Self { bytes, created }).ok_or(KeyError::NotEd25519)
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_text(path)?)
    }

    /// The key as a `PUBLIC KEY` block, after the line that says when it was made.
    pub fn to_pem(&self) -> String {
        let created = self.created.map(created_line).unwrap_or_default();
        let der = [&PUBLIC_PREFIX[..], &self.bytes].concat();
        created + &pem::encode(LABEL_PUBLIC, &der)
    }

    /// When the key was made, if its file says so.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// SHA-256 of the key's 32 bytes.
    pub fn id(&self) -> [u8; 32] {
        *Digest::of(&self.bytes).as_bytes()
    }

    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
    }
}

/// The line that says when the key was made, to the second.
fn created_line(time: Timestamp) -> String {
    let time = time.rfc3339();
    let whole = time.split('.').next().unwrap_or_default().trim_end_matches('Z');
    format!("{CREATED} {whole}Z\n")
}

/// What stands before the block: when the key was made; and the block.
fn split_created(text: &str) -> Result<(Option<Timestamp>, &str), KeyError> {
    let Some(at) = text.find("-----BEGIN ") else { return Ok((None, text)) };
    let (before, block) = text.split_at(at);
    let mut times = before.lines().filter_map(|line| line.trim().strip_prefix(CREATED));
    let created = match times.next().map(str::trim) {
        None => None,
        Some(time) => Some(time.parse().map_err(|_| KeyError::Date(time.to_string()))?),
    };
    if times.next().is_some() {
        return Err(KeyError::Date("two lines that say so".into()));
    }
    Ok((created, block))
}

/// A private key.
pub struct Ed25519PrivateKey {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: Ed25519PublicKey,
}

impl fmt::Debug for Ed25519PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ed25519PrivateKey of {:?}", self.public)
    }
}

impl Ed25519PrivateKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|error| KeyError::NoRandomness(error.to_string()))?;
        // Whole seconds are what a file states.
        let now =
            Timestamp::from_nanos(Timestamp::now().as_nanos() / 1_000_000_000 * 1_000_000_000);
        Self::from_seed(seed, Some(now))
    }

    fn from_seed(seed: Zeroizing<[u8; 32]>, created: Option<Timestamp>) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice())
            .map_err(|_| KeyError::NotEd25519)?;
        let bytes = pair.public_key().as_ref().try_into().map_err(|_| KeyError::NotEd25519)?;
        Ok(Self { seed, pair, public: Ed25519PublicKey { bytes, created } })
    }

    /// Reads a `PRIVATE KEY` block that is not encrypted.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let not_pem = || KeyError::NotPem { expected: "a private key" };
        let (created, text) = split_created(text)?;
        let (label, der) = pem::decode(text).ok_or_else(not_pem)?;
        if label != LABEL_PRIVATE {
            return Err(not_pem());
        }
        let seed: [u8; 32] = der
            .strip_prefix(&PRIVATE_PREFIX[..])
            .and_then(|seed| seed.try_into().ok())
            .ok_or(KeyError::NotEd25519)?;
        Self::from_seed(Zeroizing::new(seed), created)
    }

    /// Reads the file at `path`. One that others may read is refused.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_private_text(path)?)
    }

    /// The public key.
    pub fn public(&self) -> &Ed25519PublicKey {
        &self.public
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        // Ed25519 signatures have 64 bytes; another length would be caught by every reader.
        let signature = self.pair.sign(message);
        if let Ok(bytes) = signature.as_ref().try_into() {
            out = bytes;
        }
        out
    }

    /// Writes `NAME.key` and `NAME.pub`. Existing files are never overwritten; after an error
    /// neither file is there.
    pub fn write_pair(&self, name: &Path) -> Result<KeyPairPaths, KeyError> {
        let with_end = |end: &str| {
            let mut file = name.as_os_str().to_owned();
            file.push(end);
            PathBuf::from(file)
        };
        let paths = KeyPairPaths { private: with_end(".key"), public: with_end(".pub") };
        let der = Zeroizing::new([&PRIVATE_PREFIX[..], self.seed.as_slice()].concat());
        let mut private = pem::encode(LABEL_PRIVATE, &der);
        if let Some(time) = self.public.created {
            private.insert_str(0, &created_line(time));
        }
        write_new(&paths.private, private.as_bytes(), 0o600)?;
        write_new(&paths.public, self.public.to_pem().as_bytes(), 0o644).inspect_err(|_| {
            // The private key was made by this call; half a pair helps nobody.
            let _ = std::fs::remove_file(&paths.private);
        })?;
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// RFC 8032, section 7.1, test 2, in the PEM forms of RFC 8410.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn agrees_with_the_standard() {
        let seed: [u8; 32] = hex::decode(SEED).unwrap().try_into().unwrap();
        let key = Ed25519PrivateKey::from_seed(Zeroizing::new(seed), None).unwrap();
        assert_eq!(hex::encode(key.public().bytes), PUBLIC);
        assert_eq!(hex::encode(key.sign(&[0x72])), SIGNATURE);
        let signature = hex::decode(SIGNATURE).unwrap();
        assert!(key.public().verify(&[0x72], &signature));
        assert!(!key.public().verify(&[0x73], &signature));
        assert!(!key.public().verify(&[0x72], &signature[..63]));
    }

    #[test]
    fn a_pair_is_written_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("feeds");
        let key = Ed25519PrivateKey::generate().unwrap();
        let paths = key.write_pair(&name).unwrap();
        let again = Ed25519PrivateKey::read(&paths.private).unwrap();
        let public = Ed25519PublicKey::read(&paths.public).unwrap();
        assert!(public.verify(b"m", &again.sign(b"m")));
        assert!(matches!(key.write_pair(&name), Err(KeyError::Write { .. })));
        let created = key.public().created().unwrap();
        assert_eq!((again.public().created(), public.created()), (Some(created), Some(created)));
        let open = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&paths.private, open).unwrap();
        let error = Ed25519PrivateKey::read(&paths.private).unwrap_err();
        assert!(matches!(error, KeyError::Exposed { .. }), "{error}");
    }

    #[test]
    fn a_key_says_when_it_was_made() {
        let block = Ed25519PrivateKey::generate().unwrap().public().to_pem();
        let block = block.split_once('\n').unwrap().1;
        let check = |before: &str, expected: Result<Option<&str>, &str>| {
            let read = Ed25519PublicKey::from_pem(&format!("{before}{block}"));
            let read = read.map(|key| key.created().map(Timestamp::rfc3339));
            let expected = expected.map(|time| time.map(str::to_string));
            assert_eq!(read.map_err(|e| e.to_string()), expected.map_err(str::to_string));
        };
        check("", Ok(None));
        check("of the mirror\n\n", Ok(None));
        check("Created: 2026-11-28T12:00:00Z\r\n", Ok(Some("2026-11-28T12:00:00.000000000Z")));
        check("x\n Created: 2026-11-28T12:00:00Z\ny\n", Ok(Some("2026-11-28T12:00:00.000000000Z")));
        let error = "the key does not say when it was made: ";
        check("Created: yesterday\n", Err(&format!("{error}yesterday")));
        check("Created:\n", Err(error));
        let twice = "Created: 2026-11-28T12:00:00Z\n".repeat(2);
        check(&twice, Err(&format!("{error}two lines that say so")));
    }

    #[test]
    fn other_keys_are_refused() {
        let p256 = crate::PrivateKey::generate().unwrap();
        let error = Ed25519PublicKey::from_pem(&p256.public().to_pem()).unwrap_err();
        assert!(matches!(error, KeyError::NotEd25519), "{error}");
        let error = Ed25519PrivateKey::from_pem(&p256.to_pem().unwrap()).unwrap_err();
        assert!(matches!(error, KeyError::NotEd25519), "{error}");
        for bad in ["", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "x"] {
            assert!(Ed25519PublicKey::from_pem(bad).is_err(), "{bad}");
            assert!(Ed25519PrivateKey::from_pem(bad).is_err(), "{bad}");
        }
    }
}

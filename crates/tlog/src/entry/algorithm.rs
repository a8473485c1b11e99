//! The signature algorithms of entries (sigstore protobuf-specs, `PublicKeyDetails`).

use ed25519_dalek::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::pkcs8::DecodePublicKey as _;
use sha2::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Reset, Update};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::EntryError;

/// A key's type, and what it hashes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyDetails {
    /// ECDSA on P-256 over SHA-256.
    EcdsaP256,
    /// ECDSA on P-384 over SHA-384.
    EcdsaP384,
    /// ECDSA on P-521 over SHA-512.
    EcdsaP521,
    /// RSA PKCS #1 v1.5 over SHA-256, with a modulus of so many bits.
    Rsa(RsaBits),
    /// Ed25519 over the message itself.
    Ed25519,
    /// Ed25519ph: over the message's SHA-512.
    Ed25519Ph,
}

/// Sizes of RSA keys that have a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsaBits {
    /// 2048 bits.
    B2048,
    /// 3072 bits.
    B3072,
    /// 4096 bits.
    B4096,
}

impl RsaBits {
    fn count(self) -> u32 {
        match self {
            Self::B2048 => 2048,
            Self::B3072 => 3072,
            Self::B4096 => 4096,
        }
    }
}

impl KeyDetails {
    const ALL: [Self; 8] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::EcdsaP521,
        Self::Rsa(RsaBits::B2048),
        Self::Rsa(RsaBits::B3072),
        Self::Rsa(RsaBits::B4096),
        Self::Ed25519,
        Self::Ed25519Ph,
    ];

    /// Reads the name that protobuf's JSON writes.
    pub fn parse(name: &str) -> Result<Self, EntryError> {
        Self::ALL
            .into_iter()
            .find(|it| it.name() == name)
            .ok_or_else(|| EntryError::UnsupportedAlgorithm(name.chars().take(100).collect()))
    }

    /// The name that protobuf's JSON writes.
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaP256 => "PKIX_ECDSA_P256_SHA_256",
            Self::EcdsaP384 => "PKIX_ECDSA_P384_SHA_384",
            Self::EcdsaP521 => "PKIX_ECDSA_P521_SHA_512",
            Self::Rsa(RsaBits::B2048) => "PKIX_RSA_PKCS1V15_2048_SHA256",
            Self::Rsa(RsaBits::B3072) => "PKIX_RSA_PKCS1V15_3072_SHA256",
            Self::Rsa(RsaBits::B4096) => "PKIX_RSA_PKCS1V15_4096_SHA256",
            Self::Ed25519 => "PKIX_ED25519",
            Self::Ed25519Ph => "PKIX_ED25519_PH",
        }
    }

    /// The name of the hash, as protobuf's JSON writes it.
    pub fn hash(self) -> &'static str {
        match self {
            Self::EcdsaP256 | Self::Rsa(_) => "SHA2_256",
            Self::EcdsaP384 => "SHA2_384",
            Self::EcdsaP521 | Self::Ed25519 | Self::Ed25519Ph => "SHA2_512",
        }
    }

    fn hash_bytes(self) -> usize {
        match self {
            Self::EcdsaP256 | Self::Rsa(_) => 32,
            Self::EcdsaP384 => 48,
            Self::EcdsaP521 | Self::Ed25519 | Self::Ed25519Ph => 64,
        }
    }

    /// Verifies a signature over a digest. Ed25519 signs no digests.
    pub(super) fn verify_digest(
        self,
        spki: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), EntryError> {
        let wrong = || EntryError::WrongKey(self.name());
        if digest.len() != self.hash_bytes() {
            let (algorithm, expected) = (self.hash(), self.hash_bytes());
            return Err(EntryError::WrongDigest { algorithm, expected, found: digest.len() });
        }
        let holds = match self {
            Self::EcdsaP256 => {
                let key =
                    p256::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(|_| wrong())?;
                p256::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Self::EcdsaP384 => {
                let key =
                    p384::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(|_| wrong())?;
                p384::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Self::EcdsaP521 => {
                let key =
                    p521::ecdsa::VerifyingKey::from_public_key_der(spki).map_err(|_| wrong())?;
                p521::ecdsa::Signature::from_der(signature)
                    .is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Self::Rsa(bits) => {
                super::rsa::verify(spki, bits.count(), digest, signature).ok_or_else(wrong)?
            }
            Self::Ed25519Ph => {
                let key = self.ed25519(spki)?;
                let given = Given::of(digest).ok_or(EntryError::BadSignature)?;
                ed25519_dalek::Signature::from_slice(signature).is_ok_and(|signature| {
                    key.verify_prehashed_strict(given, None, &signature).is_ok()
                })
            }
            Self::Ed25519 => {
                return Err(EntryError::UnsupportedAlgorithm(self.name().to_string()));
            }
        };
        if holds { Ok(()) } else { Err(EntryError::BadSignature) }
    }

    /// Verifies a signature over a message.
    pub(super) fn verify_message(
        self,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), EntryError> {
        match self {
            Self::EcdsaP256 | Self::Rsa(_) => {
                self.verify_digest(spki, &Sha256::digest(message), signature)
            }
            Self::EcdsaP384 => self.verify_digest(spki, &Sha384::digest(message), signature),
            Self::EcdsaP521 | Self::Ed25519Ph => {
                self.verify_digest(spki, &Sha512::digest(message), signature)
            }
            Self::Ed25519 => {
                let key = self.ed25519(spki)?;
                let holds = ed25519_dalek::Signature::from_slice(signature)
                    .is_ok_and(|signature| key.verify(message, &signature).is_ok());
                if holds { Ok(()) } else { Err(EntryError::BadSignature) }
            }
        }
    }

    fn ed25519(self, spki: &[u8]) -> Result<ed25519_dalek::VerifyingKey, EntryError> {
        spki.strip_prefix(&crate::key::SPKI_PREFIX)
            .and_then(|raw| raw.try_into().ok())
            .and_then(|raw| ed25519_dalek::VerifyingKey::from_bytes(raw).ok())
            .ok_or(EntryError::WrongKey(self.name()))
    }
}

/// A SHA-512 that was computed elsewhere, for an interface that wants the hasher.
#[derive(Clone)]
struct Given([u8; 64]);

impl Given {
    fn of(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }
}

impl Default for Given {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl HashMarker for Given {}
impl Update for Given {
    fn update(&mut self, _: &[u8]) {}
}
impl OutputSizeUser for Given {
    type OutputSize = <Sha512 as OutputSizeUser>::OutputSize;
}
impl FixedOutput for Given {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
impl Reset for Given {
    fn reset(&mut self) {}
}

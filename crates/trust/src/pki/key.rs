//! Public keys as SubjectPublicKeyInfo, and what they verify.

use std::sync::Arc;

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use ring::signature as sig;

use super::comb::Comb;
use super::der::{self, Der, DerError};
use super::rsa;

/// Largest RSA modulus, in bytes: 8192 bits, which is what can be verified.
const MODULUS_BYTES_MAX: usize = 1024;

pub(crate) const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
pub(crate) const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
pub(crate) const OID_P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
pub(crate) const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(crate) const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const OID_ECDSA_SHA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
const OID_PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
const OID_SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// A hash function of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// An AlgorithmIdentifier of a digest; parameters are absent or NULL.
    pub(crate) fn from_algorithm(mut algorithm: Der<'_>) -> Result<Self, DerError> {
        let oid = algorithm.value(der::OID)?;
        null_or_absent(&mut algorithm)?;
        match oid.strip_prefix(OID_SHA2) {
            Some([1]) => Ok(Self::Sha256),
            Some([2]) => Ok(Self::Sha384),
            Some([3]) => Ok(Self::Sha512),
            _ => Err(DerError("a digest is none of SHA-256, SHA-384, SHA-512")),
        }
    }

    /// The hash of `message`.
    pub(crate) fn of(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &ring::digest::SHA256,
            Self::Sha384 => &ring::digest::SHA384,
            Self::Sha512 => &ring::digest::SHA512,
        };
        ring::digest::digest(algorithm, message).as_ref().to_vec()
    }

    /// Length of a hash, in bytes.
    pub(crate) fn n_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

fn null_or_absent(der: &mut Der<'_>) -> Result<(), DerError> {
    if let Some(null) = der.optional(0x05)?
        && !null.value.is_empty()
    {
        return Err(DerError("a NULL is not empty"));
    }
    der.end()
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    P256,
    P384,
    P521,
    Rsa,
    Ed25519,
}

/// A public key.
#[derive(Clone)]
pub(crate) struct Key {
    kind: Kind,
    /// The point, the RSAPublicKey, or the 32 bytes.
    bytes: Vec<u8>,
    spki: Vec<u8>,
    /// Of a P-384 key: what all its copies know about its multiples.
    comb: Arc<Comb>,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({:?})", self.kind)
    }
}

impl Key {
    /// Reads a SubjectPublicKeyInfo.
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, DerError> {
        let mut outer = Der::new(spki);
        let mut info = outer.sequence()?;
        outer.end()?;
        let mut algorithm = info.sequence()?;
        let oid = algorithm.value(der::OID)?;
        let bytes = info.bits()?;
        info.end()?;
        let kind = match oid {
            OID_EC => {
                let curve = algorithm.value(der::OID)?;
                algorithm.end()?;
                let (kind, n_bytes) = match curve {
                    OID_P256 => (Kind::P256, 65),
                    OID_P384 => (Kind::P384, 97),
                    OID_P521 => (Kind::P521, 133),
                    _ => {
                        return Err(DerError("a key is on another curve than P-256, P-384, P-521"));
                    }
                };
                if bytes.len() != n_bytes || bytes.first() != Some(&4) {
                    return Err(DerError("a point is not uncompressed"));
                }
                kind
            }
            OID_RSA => {
                null_or_absent(&mut algorithm)?;
                check_rsa(bytes)?;
                Kind::Rsa
            }
            OID_ED25519 => {
                algorithm.end()?;
                if bytes.len() != 32 {
                    return Err(DerError("an Ed25519 key has not 32 bytes"));
                }
                Kind::Ed25519
            }
            _ => return Err(DerError("a key is of another type than ECDSA, RSA and Ed25519")),
        };
        Ok(Self { kind, bytes: bytes.to_vec(), spki: spki.to_vec(), comb: Arc::default() })
    }

    /// Reads a bare RSAPublicKey (PKCS #1), as old logs' keys are written.
    pub(crate) fn from_pkcs1(bytes: &[u8]) -> Result<Self, DerError> {
        check_rsa(bytes)?;
        let algorithm =
            der::wrap(der::SEQUENCE, &[&der::wrap(der::OID, OID_RSA)[..], &[5, 0]].concat());
        let bits = der::wrap(der::BIT_STRING, &[&[0], bytes].concat());
        let spki = der::wrap(der::SEQUENCE, &[algorithm, bits].concat());
        Ok(Self { kind: Kind::Rsa, bytes: bytes.to_vec(), spki, comb: Arc::default() })
    }

    /// The SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The point, the RSAPublicKey, or the 32 bytes: what `ring` calls the public key.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Modulus and exponent of an RSA key, big-endian without leading zeros.
    pub(crate) fn rsa_numbers(&self) -> Option<(&[u8], u64)> {
        if self.kind != Kind::Rsa {
            return None;
        }
        let mut numbers = Der::new(&self.bytes).sequence().ok()?;
        let modulus = numbers.value(der::INTEGER).ok()?;
        let exponent = numbers.unsigned().ok()?;
        Some((modulus.strip_prefix(&[0]).unwrap_or(modulus), exponent))
    }

    /// The hash that such a key signs with where nothing else is said.
    pub(crate) fn usual_hash(&self) -> Hash {
        match self.kind {
            Kind::P384 => Hash::Sha384,
            Kind::P521 => Hash::Sha512,
            Kind::P256 | Kind::Rsa | Kind::Ed25519 => Hash::Sha256,
        }
    }

    /// Whether `signature` is this key's over `message`, hashed with `hash` (Ed25519 hashes
    /// by itself).
    pub(crate) fn verify(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        if self.kind == Kind::P384
            && let Some(table) = self.comb.table(&self.bytes)
        {
            return table.verify(&hash.of(message), signature);
        }
        let algorithm: &dyn sig::VerificationAlgorithm = match (self.kind, hash) {
            (Kind::P256, Hash::Sha256) => &sig::ECDSA_P256_SHA256_ASN1,
            (Kind::P256, Hash::Sha384) => &sig::ECDSA_P256_SHA384_ASN1,
            (Kind::P384, Hash::Sha256) => &sig::ECDSA_P384_SHA256_ASN1,
            (Kind::P384, Hash::Sha384) => &sig::ECDSA_P384_SHA384_ASN1,
            (Kind::P256 | Kind::P384, Hash::Sha512) | (Kind::P521, _) => {
                return self.verify_hash(&hash.of(message), signature);
            }
            (Kind::Rsa, Hash::Sha256) => &sig::RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, Hash::Sha384) => &sig::RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, Hash::Sha512) => &sig::RSA_PKCS1_2048_8192_SHA512,
            (Kind::Ed25519, _) => &sig::ED25519,
        };
        sig::UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }

    /// Whether `signature` is this key's over a message with that hash. Ed25519 cannot say.
    pub(crate) fn verify_hash(&self, hash: &[u8], signature: &[u8]) -> bool {
        match self.kind {
            Kind::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes)
                .ok()
                .zip(p256::ecdsa::Signature::from_der(signature).ok())
                .is_some_and(|(key, signature)| key.verify_prehash(hash, &signature).is_ok()),
            Kind::P384 if let Some(table) = self.comb.table(&self.bytes) => {
                table.verify(hash, signature)
            }
            Kind::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(&self.bytes)
                .ok()
                .zip(p384::ecdsa::Signature::from_der(signature).ok())
                .is_some_and(|(key, signature)| key.verify_prehash(hash, &signature).is_ok()),
            Kind::P521 => p521::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| verify_p521(&self.bytes, hash, &signature)),
            Kind::Rsa => rsa::verify(self, hash, signature).unwrap_or(false),
            Kind::Ed25519 => false,
        }
    }

    /// Whether `signature` is this key's over a message with that SHA-512 as Ed25519ph makes it
    /// (RFC 8032, section 5.1), which cannot be mistaken for Ed25519.
    pub(crate) fn verify_ed25519ph(&self, sha512: &[u8], signature: &[u8]) -> bool {
        let Ok(bytes) = <[u8; 32]>::try_from(self.bytes.as_slice()) else { return false };
        let Ok(hash) = <[u8; 64]>::try_from(sha512) else { return false };
        if self.kind != Kind::Ed25519 {
            return false;
        }
        ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .ok()
            .zip(ed25519_dalek::Signature::from_slice(signature).ok())
            .is_some_and(|(key, it)| key.verify_prehashed_strict(Given(hash), None, &it).is_ok())
    }

    /// Whether a message can be verified by its hash alone, whatever the hash.
    pub(crate) fn verifies_hashes(&self) -> bool {
        self.kind != Kind::Ed25519
    }
}

/// A SHA-512 that somebody else computed, in the place of the function.
struct Given([u8; 64]);

impl Default for Given {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl sha2::digest::OutputSizeUser for Given {
    type OutputSize = sha2::digest::typenum::U64;
}

impl sha2::digest::HashMarker for Given {}

impl sha2::digest::Update for Given {
    fn update(&mut self, _: &[u8]) {}
}

impl sha2::digest::FixedOutput for Given {
    fn finalize_into(self, out: &mut sha2::digest::Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}

/// Whether `signature` is of the key with that point over a message with that hash.
pub(crate) fn verify_p521(point: &[u8], hash: &[u8], signature: &p521::ecdsa::Signature) -> bool {
    const FIELD_BYTES: usize = 66;
    // A hash that is shorter than the field is that number: zeros in front change nothing.
    let mut padded = vec![0; FIELD_BYTES.saturating_sub(hash.len())];
    padded.extend_from_slice(hash);
    p521::ecdsa::VerifyingKey::from_sec1_bytes(point)
        .is_ok_and(|key| key.verify_prehash(&padded, signature).is_ok())
}

fn check_rsa(bytes: &[u8]) -> Result<(), DerError> {
    let mut outer = Der::new(bytes);
    let mut numbers = outer.sequence()?;
    outer.end()?;
    let modulus = der::integer(numbers.value(der::INTEGER)?)?;
    numbers.unsigned()?;
    numbers.end()?;
    if modulus.len() > MODULUS_BYTES_MAX + 1 {
        return Err(DerError("an RSA key has more than 8192 bits"));
    }
    Ok(())
}

/// The hash that a signature's AlgorithmIdentifier names, when `kind` can make it.
pub(crate) fn signature_hash(mut algorithm: Der<'_>, kind: Kind) -> Result<Hash, DerError> {
    let other = DerError("a signature is of another algorithm than its signer's key");
    let oid = algorithm.value(der::OID)?;
    match kind {
        Kind::P256 | Kind::P384 | Kind::P521 => {
            algorithm.end()?;
            match oid.strip_prefix(OID_ECDSA_SHA) {
                Some([2]) => Ok(Hash::Sha256),
                Some([3]) => Ok(Hash::Sha384),
                Some([4]) => Ok(Hash::Sha512),
                _ => Err(other),
            }
        }
        Kind::Rsa => {
            null_or_absent(&mut algorithm)?;
            match oid.strip_prefix(OID_PKCS1) {
                Some([11]) => Ok(Hash::Sha256),
                Some([12]) => Ok(Hash::Sha384),
                Some([13]) => Ok(Hash::Sha512),
                _ => Err(other),
            }
        }
        Kind::Ed25519 if oid == OID_ED25519 => Ok(Hash::Sha512),
        Kind::Ed25519 => Err(other),
    }
}

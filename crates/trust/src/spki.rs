//! Public keys of every kind that signatures are verified with.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::Digest;

use crate::key::{KeyError, read_text};
use crate::pem;
use crate::pki::{Hash, Key};

/// A public key: ECDSA P-256 or P-384, RSA of 2048 to 8192 bits, or Ed25519.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationKey {
    key: Key,
    hint: String,
}

impl VerificationKey {
    /// Reads a block `PUBLIC KEY` or `RSA PUBLIC KEY`.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) =
            pem::decode(text).ok_or(KeyError::NotPem { expected: "a public key" })?;
        let key = match label {
            "PUBLIC KEY" => Key::from_spki(&der),
            "RSA PUBLIC KEY" => Key::from_pkcs1(&der),
            _ => return Err(KeyError::NotPem { expected: "a public key" }),
        };
        let key = key.map_err(|error| KeyError::NotUsable(error.to_string()))?;
        let hint = STANDARD.encode(Digest::of(key.spki()).as_bytes());
        Ok(Self { key, hint })
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&read_text(path)?)
    }

    /// What bundles call the key: Base64 of the SHA-256 of its DER form.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Whether `signature` is this key's over `message`, with the hash that such keys use, or
    /// with SHA-256, which cosign uses with every key.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let usual = self.key.usual_hash();
        self.key.verify(usual, message, signature)
            || (usual != Hash::Sha256 && self.key.verify(Hash::Sha256, message, signature))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

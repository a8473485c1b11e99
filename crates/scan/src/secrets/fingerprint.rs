//! Fingerprints: equal values can be recognised, and the value cannot be found from them.
//!
//! A fingerprint is HMAC-SHA-256 (RFC 2104) over the detector and the value, cut to 64 bits.
//! With a key of the user's own it says nothing to others. Without one the key is public, and
//! whoever has a fingerprint could try words until one fits; so a value that could be guessed
//! is not hashed then: its fingerprint is that of the place where it stands.

use sha2::{Digest as _, Sha256};

use super::check::entropy;

/// The key of fingerprints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FingerprintKey(Option<Vec<u8>>);

impl std::fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "FingerprintKey(own)" } else { "FingerprintKey(public)" })
    }
}

/// The key where the user gave none. It is public, and separates these hashes from others.
const PUBLIC: &[u8] = b"palisade secret fingerprint 1";
/// A value of fewer bits than this could be guessed.
const BITS_MIN: f64 = 64.0;
const BLOCK_BYTES: usize = 64;

impl FingerprintKey {
    /// A key of the user's own: at least 16 bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        (key.len() >= 16).then(|| Self(Some(key.to_vec())))
    }

    pub(super) fn fingerprint(
        &self,
        detector: &str,
        path: &str,
        value: &[u8],
        redacted: &str,
    ) -> String {
        let guessable = entropy(value) * (value.len() as f64) < BITS_MIN;
        let parts: [&[u8]; 4] = match &self.0 {
            None if guessable => {
                [b"place", detector.as_bytes(), path.as_bytes(), redacted.as_bytes()]
            }
            _ => [b"value", detector.as_bytes(), value, b""],
        };
        let mac = hmac(self.0.as_deref().unwrap_or(PUBLIC), &parts);
        hex::encode(&mac[..8])
    }
}

/// HMAC-SHA-256 over the parts, each with its length before it.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let mut inner = Sha256::new();
    inner.update(block.map(|b| b ^ 0x36));
    for part in parts {
        inner.update((part.len() as u64).to_be_bytes());
        inner.update(part);
    }
    let mut outer = Sha256::new();
    outer.update(block.map(|b| b ^ 0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_the_standard() {
        // RFC 4231's second test case, whose data begin as our first part's length does not:
        // so the construction is checked with the parts joined by hand.
        let mut block = [0_u8; BLOCK_BYTES];
        block[..4].copy_from_slice(b"Jefe");
        let mut inner = Sha256::new();
        inner.update(block.map(|b| b ^ 0x36));
        inner.update(b"what do ya want for nothing?");
        let mut outer = Sha256::new();
        outer.update(block.map(|b| b ^ 0x5c));
        outer.update(inner.finalize());
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(outer.finalize()), expected);
        let long = [7_u8; 100];
        assert_ne!(hmac(&long, &[b"a"]), hmac(&long, &[b"b"]));
        assert_ne!(hmac(b"k", &[b"ab", b"c"]), hmac(b"k", &[b"a", b"bc"]));
    }

    #[test]
    fn a_value_that_could_be_guessed_is_not_hashed_with_a_public_key() {
        let public = FingerprintKey::default();
        let at = |key: &FingerprintKey, path: &str, value: &[u8]| {
            key.fingerprint("pgpass", path, value, "h…(8 characters)")
        };
        // The place alone counts, so that nothing can be tried against it.
        assert_eq!(at(&public, "a", b"hunter22"), at(&public, "a", b"hunter23"));
        assert_ne!(at(&public, "a", b"hunter22"), at(&public, "b", b"hunter22"));
        let strong = b"q8Zr4Tn1WkV0pLx9sYb3Dm7C";
        assert_eq!(at(&public, "a", strong), at(&public, "b", strong));
        let own = FingerprintKey::new(b"sixteen bytes or more").unwrap();
        assert_eq!(at(&own, "a", b"hunter22"), at(&own, "b", b"hunter22"));
        assert_ne!(at(&own, "a", strong), at(&public, "a", strong));
        assert!(FingerprintKey::new(b"short").is_none());
        assert!(!format!("{own:?}").contains("sixteen"));
    }
}

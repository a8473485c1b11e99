//! Content digests as OCI writes them: `sha256:` and 64 lower-case hex digits
//! (image-spec, descriptor.md, "Digests").

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// A SHA-256 content digest.
///
/// Other algorithms are refused by [`FromStr`]: the product writes and verifies
/// SHA-256 alone, as registries in the field do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Text that is not a digest of a supported algorithm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// The text lacks the `algorithm:` prefix.
    #[error("digest `{0}` has no `sha256:` prefix")]
    NoAlgorithm(String),
    /// The algorithm is not SHA-256.
    #[error("digest algorithm `{0}` is not supported, only sha256 is")]
    UnsupportedAlgorithm(String),
    /// The value is not 64 lower-case hex digits.
    #[error("digest `{0}` is not 64 lower-case hex digits")]
    BadHex(String),
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// A digest from its 32 raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve hex digits, as engines shorten identifiers for people.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Messages quote the input, so an absurdly long one is cut.
        let quoted = || text.chars().take(100).collect::<String>();
        let (algorithm, value) =
            text.split_once(':').ok_or_else(|| ParseDigestError::NoAlgorithm(quoted()))?;
        if algorithm != "sha256" {
            return Err(ParseDigestError::UnsupportedAlgorithm(
                algorithm.chars().take(32).collect(),
            ));
        }
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let mut bytes = [0_u8; 32];
        if value.len() != 64
            || !value.bytes().all(lower_hex)
            || hex::decode_to_slice(value, &mut bytes).is_err()
        {
            return Err(ParseDigestError::BadHex(quoted()));
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A reader that computes the digest of what passes through it.
pub struct DigestReader<R> {
    inner: R,
    hasher: sha2::Sha256,
    n_read: u64,
}

impl<R: Read> DigestReader<R> {
    /// Digests what is read from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), n_read: 0 }
    }

    /// Bytes that passed so far.
    pub fn n_read(&self) -> u64 {
        self.n_read
    }

    /// The digest of all bytes that passed, and their number.
    pub fn finish(self) -> (Digest, u64) {
        (Digest(self.hasher.finalize().into()), self.n_read)
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.n_read += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn round_trips_through_text() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<Digest>().unwrap_err().to_string(), expected, "{text}");
        };
        check("abc", "digest `abc` has no `sha256:` prefix");
        check("md5:abc", "digest algorithm `md5` is not supported, only sha256 is");
        check("sha256:abc", "digest `sha256:abc` is not 64 lower-case hex digits");
        assert!(EMPTY.to_uppercase().replace("SHA256", "sha256").parse::<Digest>().is_err());
        assert!("sha256:../../../../etc/passwd".parse::<Digest>().is_err());
    }

    #[test]
    fn reader_digests_what_passes() {
        let mut reader = DigestReader::new(&b"hello"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(reader.finish(), (Digest::of(b"hello"), 5));
    }
}

//! Checksums of indices and packages: SHA-256 and longer.

use ring::digest::{SHA256, SHA384, SHA512, digest};

/// A checksum with its algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) algorithm: String,
    pub(crate) hex: String,
}

impl Sum {
    /// Of createrepo_c's name of the algorithm; MD5 and SHA-1 count for nothing.
    pub(crate) fn new(algorithm: &str, hex: &str) -> Option<Self> {
        let n_digits = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return None,
        };
        let hex = hex.trim().to_ascii_lowercase();
        let is_hex = hex.len() == n_digits && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| Self { algorithm: algorithm.to_string(), hex })
    }

    /// Of `sha256:…`, as [`Self::text`] writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (algorithm, hex) = text.split_once(':')?;
        Self::new(algorithm, hex)
    }

    /// `sha256:…`.
    pub(crate) fn text(&self) -> String {
        format!("{}:{}", self.algorithm, self.hex)
    }

    pub(crate) fn is_of(&self, bytes: &[u8]) -> bool {
        let algorithm = match self.algorithm.as_str() {
            "sha256" => &SHA256,
            "sha384" => &SHA384,
            _ => &SHA512,
        };
        hex::encode(digest(algorithm, bytes)) == self.hex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_and_broken_sums_are_none() {
        let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sum = Sum::new("sha256", of_nothing).unwrap();
        assert!(sum.is_of(b"") && !sum.is_of(b"x"));
        assert_eq!(Sum::parse(&sum.text()), Some(sum));
        assert!(Sum::new("sha512", of_nothing).is_none());
        assert!(Sum::new("sha256", &of_nothing[1..]).is_none());
        assert!(Sum::new("sha256", &"z".repeat(64)).is_none());
        assert!(Sum::new("sha", &"0".repeat(40)).is_none());
        assert!(Sum::new("md5", &"0".repeat(32)).is_none());
    }
}

//! Whom an image trusts, and whether they signed.

use palisade_base::Timestamp;
use palisade_openpgp::OpenPgpError;

/// The keys that an image trusts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keyring {
    keys: palisade_openpgp::Keyring,
    /// Files that hold no key that can be read.
    n_unreadable: usize,
}

impl Keyring {
    /// Adds the keys of a file, armoured or not.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        match palisade_openpgp::Keyring::parse(bytes) {
            Ok(keys) if !keys.is_empty() => self.keys.extend(keys),
            _ => self.n_unreadable += 1,
        }
    }

    /// Counts a file that is not there.
    pub(crate) fn add_missing(&mut self) {
        self.n_unreadable += 1;
    }

    /// Keeps the keys with these fingerprints alone.
    pub(crate) fn only(&mut self, fingerprints: &[String]) {
        self.keys.keep_only(fingerprints);
    }

    /// The text that a key of this ring signed, and that key's fingerprint; else a sentence that
    /// says why no signature holds.
    pub(crate) fn verify_text(
        &self,
        document: &[u8],
        now: Timestamp,
    ) -> Result<(String, String), String> {
        let document = std::str::from_utf8(document).map_err(|_| "it is no text".to_string())?;
        self.explain(self.keys.verify_text(document, seconds(now)))
    }

    /// As [`Keyring::verify_text`], for signatures that stand apart from the text.
    pub(crate) fn verify_apart(
        &self,
        text: &[u8],
        signatures: &[u8],
        now: Timestamp,
    ) -> Result<(String, String), String> {
        let signer = self.explain(self.verify_bytes(text, signatures, now))?;
        let text = String::from_utf8(text.to_vec()).map_err(|_| "it is no text".to_string())?;
        Ok((text, signer))
    }

    /// The fingerprint of the key of this ring that signed `content`, apart from it.
    pub(crate) fn verify_bytes(
        &self,
        content: &[u8],
        signatures: &[u8],
        now: Timestamp,
    ) -> Result<String, OpenPgpError> {
        self.keys.verify_detached(content, signatures, seconds(now))
    }

    /// The same result with a sentence that says why no signature holds.
    pub(crate) fn explain<T>(&self, result: Result<T, OpenPgpError>) -> Result<T, String> {
        result.map_err(|error| match error {
            OpenPgpError::UnknownKey if self.keys.is_empty() => match self.n_unreadable {
                0 => "the image holds no key for it".to_string(),
                n => format!("the image holds no key for it; {n} files of keys cannot be read"),
            },
            OpenPgpError::UnknownKey => {
                "none of its signatures is of a key that the image trusts".to_string()
            }
            other => other.to_string(),
        })
    }
}

fn seconds(time: Timestamp) -> u64 {
    time.as_nanos() / 1_000_000_000
}

//! OpenPGP signatures: of messages as GPG simple signing uses them, of texts and of files as
//! package repositories do, and the keyring that may have signed them (RFC 9580 and RFC 4880).
//!
//! Verifies and never signs. No network and no clock: keys are bytes, the time is an argument.
#![forbid(unsafe_code)]

mod cleartext;
mod der;
mod key;
mod packet;
mod signature;

use packet::Packet;
use signature::Signature;

/// Why a message is not signed by a keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenPgpError {
    /// Not OpenPGP, or a broken one.
    #[error("malformed OpenPGP: {0}")]
    Malformed(&'static str),
    /// Too large, or too many parts.
    #[error("the OpenPGP message or keyring is too large")]
    TooLarge,
    /// Something that is not supported.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The message is not signed, or signed other than by one attached signature.
    #[error("the message is not signed by one attached signature")]
    NotSigned,
    /// The signature is false.
    #[error("the signature is false, or made with a hash that is too weak")]
    BadSignature,
    /// By none of the keys.
    #[error("the signature is by none of the given keys")]
    UnknownKey,
    /// Its time is over.
    #[error("{0} is expired, or of the future")]
    Expired(&'static str),
    /// The key was revoked.
    #[error("the key is revoked")]
    Revoked,
    /// The key does not say that it is one.
    #[error("the key has no valid signature by itself, or its subkey none")]
    Unbound,
    /// No text with a signature, or one with something before or after it.
    #[error("it is no text with a signature: {0}")]
    NoSignedText(&'static str),
    /// The key is for other uses.
    #[error("the key is not for signing")]
    NotForSigning,
}

impl palisade_base::Explain for OpenPgpError {
    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::UnknownKey => {
                    "add the signer's public key to the keyring that the policy names"
                }
                Self::Expired(_) | Self::Revoked => {
                    "get the signer's new key, or have it signed again"
                }
                _ => "have it signed again by its publisher",
            }
            .into(),
        )
    }
}

/// Kinds of signatures: of a file, and of a text whose line ends do not matter.
const BINARY: u8 = 0;
const TEXT: u8 = 1;
/// Signatures of one document that are tried.
const SIGNATURES_MAX: usize = 32;

/// Keys that may have signed.
#[derive(Debug, Clone, Default)]
pub struct Keyring(Vec<key::PublicKey>);

impl Keyring {
    /// Reads a keyring, binary or in armour.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenPgpError> {
        if bytes.len() > packet::BYTES_MAX {
            return Err(OpenPgpError::TooLarge);
        }
        key::keyring(&packet::parse(&packet::dearmor(bytes)?)?).map(Self)
    }

    /// Adds the keys of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The fingerprints of the keys, in hexadecimal.
    pub fn fingerprints(&self) -> Vec<String> {
        self.0.iter().map(key::PublicKey::fingerprint).collect()
    }

    /// Verifies a message with an attached signature at `now` (seconds since the Unix
    /// epoch); gives its content and the fingerprint of the key that signed it.
    pub fn verify(&self, message: &[u8], now: u64) -> Result<(Vec<u8>, String), OpenPgpError> {
        let (content, signature) = open(message)?;
        let signer = self.signer(&signature, &content, now)?;
        Ok((content, signer))
    }

    /// Verifies signatures that stand apart from `content`, binary or in armour, of which one
    /// by a key of this ring suffices; gives that key's fingerprint.
    pub fn verify_detached(
        &self,
        content: &[u8],
        signatures: &[u8],
        now: u64,
    ) -> Result<String, OpenPgpError> {
        self.any_of(&packet::dearmor(signatures)?, now, |signature| match signature.kind {
            BINARY => Ok(content.to_vec()),
            TEXT => Ok(cleartext::with_line_ends(content)),
            _ => Err(OpenPgpError::Unsupported("a signature of something else than a file")),
        })
    }

    /// Verifies a text in the cleartext signature framework (RFC 9580, section 7), of whose
    /// signatures one by a key of this ring suffices; gives the text that is signed, with plain
    /// line ends, and that key's fingerprint. Nothing may stand before or after it.
    pub fn verify_text(&self, document: &str, now: u64) -> Result<(String, String), OpenPgpError> {
        let parts = cleartext::parse(document)?;
        let signatures = packet::dearmor(parts.signatures.as_bytes())?;
        let signed = cleartext::with_line_ends(parts.text.as_bytes());
        let signer = self.any_of(&signatures, now, |signature| match signature.kind {
            BINARY | TEXT => Ok(signed.clone()),
            _ => Err(OpenPgpError::Unsupported("a signature of something else than a text")),
        })?;
        Ok((parts.text + "\n", signer))
    }

    /// Keeps the keys with these fingerprints alone, and those with such a subkey
    /// (hexadecimal; `!` at the end, which means that very key, is not told apart).
    pub fn keep_only(&mut self, fingerprints: &[String]) {
        let wanted: Vec<String> =
            fingerprints.iter().map(|one| one.trim_end_matches('!').to_ascii_uppercase()).collect();
        self.0.retain(|key| key.all_fingerprints().any(|one| wanted.contains(&one)));
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first of the signatures that holds; else why the last that matters does not.
    fn any_of(
        &self,
        signatures: &[u8],
        now: u64,
        content: impl Fn(&Signature) -> Result<Vec<u8>, OpenPgpError>,
    ) -> Result<String, OpenPgpError> {
        let mut refused = OpenPgpError::NotSigned;
        let packets = packet::parse(signatures)?;
        let all = packets.iter().filter(|it| it.tag == packet::SIGNATURE);
        for packet in all.take(SIGNATURES_MAX) {
            let checked = Signature::parse(&packet.body).and_then(|signature| {
                let content = content(&signature)?;
                self.signer(&signature, &content, now)
            });
            match checked {
                Ok(signer) => return Ok(signer),
                // That others signed as well says less than what is wrong with ours.
                Err(OpenPgpError::UnknownKey) if refused != OpenPgpError::NotSigned => {}
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn signer(
        &self,
        signature: &Signature,
        content: &[u8],
        now: u64,
    ) -> Result<String, OpenPgpError> {
        let mut refused = OpenPgpError::UnknownKey;
        for key in &self.0 {
            match key.verify(signature, content, now) {
                Some(Ok(())) => return Ok(key.fingerprint()),
                Some(Err(error)) => refused = error,
                None => {}
            }
        }
        Err(refused)
    }
}

/// The content of a signed message and its one signature.
fn open(message: &[u8]) -> Result<(Vec<u8>, Signature), OpenPgpError> {
    let mut packets = packet::parse(message)?;
    packets.retain(|it| it.tag != packet::MARKER);
    // GnuPG compresses; nobody compresses twice.
    if let [Packet { tag: packet::COMPRESSED, body }] = packets.as_slice() {
        packets = packet::parse(&packet::decompress(body)?)?;
    }
    let ([
        Packet { tag: packet::ONE_PASS, .. },
        Packet { tag: packet::LITERAL, body: literal },
        Packet { tag: packet::SIGNATURE, body: signature },
    ]
    | [
        Packet { tag: packet::SIGNATURE, body: signature },
        Packet { tag: packet::LITERAL, body: literal },
    ]) = packets.as_slice()
    else {
        return Err(OpenPgpError::NotSigned);
    };
    let signature = Signature::parse(signature)?;
    if signature.kind != BINARY {
        return Err(OpenPgpError::Unsupported("a signature of text or of something else"));
    }
    let broken = OpenPgpError::Malformed("the literal data ends too early");
    // Format, name with its length, time.
    let [_, n_name, rest @ ..] = literal.as_slice() else { return Err(broken) };
    let content = rest.get(usize::from(*n_name) + 4..).ok_or(broken)?;
    Ok((content.to_vec(), signature))
}

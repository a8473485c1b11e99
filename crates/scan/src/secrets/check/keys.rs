//! Private keys in text: is the body a key at all, and does a passphrase guard it?
//!
//! Only as much is parsed as tells one from the other. RFC 7468 (PEM), RFC 5958 (PKCS#8),
//! RFC 8017 (PKCS#1), RFC 5915 (SEC1), OpenSSH's `PROTOCOL.key`, RFC 9580 (OpenPGP).

use palisade_model::Severity;

use super::{Judgement, contains, decode};

const PROTECTED: Judgement = Judgement::Less(Severity::Medium, " (under a passphrase)");
const MAY_BE_PROTECTED: Judgement = Judgement::Less(Severity::High, " (may be under a passphrase)");
const NO_KEY: Judgement =
    Judgement::Less(Severity::Low, " (its body is no key, probably a sample)");

/// An Ed25519 key in PKCS#8 has 48 bytes; nothing shorter is a private key.
const BYTES_MIN: usize = 32;

/// Judges a block `-----BEGIN … PRIVATE KEY-----`.
pub(super) fn judge_armoured(block: &[u8]) -> Judgement {
    let text = String::from_utf8_lossy(block);
    // Keys pasted into JSON or an environment variable have `\n` for line ends.
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let label = text.lines().next().unwrap_or_default();
    let Some(bytes) = body(&text) else {
        return Judgement::Not;
    };
    if bytes.len() < BYTES_MIN {
        return Judgement::Not;
    }
    if label.contains("BEGIN PGP") {
        return open_pgp(&bytes);
    }
    // `Proc-Type: 4,ENCRYPTED` heads a key whose body is ciphertext.
    if label.contains("ENCRYPTED") || text.contains("ENCRYPTED") {
        return PROTECTED;
    }
    if bytes.starts_with(OPENSSH) {
        return openssh(&bytes);
    }
    der(&bytes)
}

/// The bytes between the armour's lines.
fn body(text: &str) -> Option<Vec<u8>> {
    let mut body = String::new();
    for line in text.lines().skip(1) {
        let line = line.trim();
        // OpenPGP ends its body with a line `=` and a checksum.
        if line.starts_with("-----END") || (line.starts_with('=') && line.len() == 5) {
            break;
        }
        // Headers: `Proc-Type: 4,ENCRYPTED`, `Comment: …`.
        if !line.contains(':') {
            body.extend(line.chars().filter(|c| !c.is_whitespace() && *c != '"' && *c != '\''));
        }
    }
    decode(body.trim_end_matches(['-', '=']).as_bytes())
}

const OPENSSH: &[u8] = b"openssh-key-v1\0";

fn openssh(bytes: &[u8]) -> Judgement {
    let mut rest = bytes.get(OPENSSH.len()..).unwrap_or_default();
    let mut string = || -> Option<&[u8]> {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (value, tail) = tail.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        rest = tail;
        Some(value)
    };
    match (string(), string()) {
        (Some(b"none"), Some(b"none")) => Judgement::Genuine,
        (Some(cipher), Some(_)) if !cipher.is_empty() && cipher.len() <= 64 => PROTECTED,
        _ => NO_KEY,
    }
}

/// The first packet is a secret key (tag 5) or subkey (tag 7). Where the passphrase's
/// parameters stand depends on the algorithm, and is not looked for.
fn open_pgp(bytes: &[u8]) -> Judgement {
    let first = bytes.first().copied().unwrap_or_default();
    let tag = if first & 0x40 != 0 { first & 0x3f } else { first >> 2 & 0x0f };
    if first & 0x80 != 0 && matches!(tag, 5 | 7) { MAY_BE_PROTECTED } else { NO_KEY }
}

/// One element of DER: its tag, its content and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

const INTEGER: u8 = 2;
const OCTETS: u8 = 4;
const SEQUENCE: u8 = 0x30;

fn der(bytes: &[u8]) -> Judgement {
    let shape = || -> Option<Judgement> {
        let (SEQUENCE, inner, _) = element(bytes)? else { return None };
        let (first, version, rest) = element(inner)?;
        let (second, content, _) = element(rest)?;
        Some(match (first, version, second) {
            // PKCS#8: version 0 or 1, the algorithm, the key.
            (INTEGER, [0 | 1], SEQUENCE) if element(content).is_some() => Judgement::Genuine,
            // PKCS#1 and DSA: version 0, then numbers. SEC1: version 1, then the number.
            (INTEGER, [0 | 1], INTEGER | OCTETS) => Judgement::Genuine,
            // Encrypted PKCS#8 under a plain label: the algorithm, the ciphertext.
            (SEQUENCE, _, OCTETS) => PROTECTED,
            _ => return None,
        })
    };
    shape().unwrap_or(NO_KEY)
}

/// Judges a PuTTY key file (version 2 or 3).
pub(super) fn judge_putty(text: &[u8]) -> Judgement {
    if contains(text, "Encryption: none") {
        Judgement::Genuine
    } else if contains(text, "Encryption: ") {
        PROTECTED
    } else {
        Judgement::Not
    }
}

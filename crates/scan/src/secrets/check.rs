//! What makes a string of the right shape a secret: checksum, payload, entropy.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use palisade_model::Severity;
use sha2::{Digest as _, Sha256};

mod keys;

/// The structure that a detector's secret must have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Check {
    /// The shape says enough.
    None,
    /// At least this many bits of Shannon entropy a character.
    Entropy(f64),
    /// GitHub and npm: the last six characters are the CRC-32 of the random part in base 62.
    /// (GitHub, "Behind GitHub's new authentication token formats", 2021.)
    Crc62,
    /// AWS access key id: base 32 after the prefix, and a twelve-digit account in it.
    AwsKeyId,
    /// JSON Web Token: header and payload decode to JSON objects, the header has `alg`.
    Jwt,
    /// A JSON Web Token whose payload has this text in it.
    JwtWith(&'static str),
    /// A private key in text: the body decodes from base64 to DER of a key, an OpenSSH key or
    /// an OpenPGP packet. Keys under a passphrase are less bad.
    Key,
    /// A PuTTY key file, under a passphrase or not.
    Putty,
    /// Base64 of text that has this word in it.
    Base64Of(&'static str),
    /// Base64 of exactly this many bytes.
    Base64Bytes(usize),
    /// Base64 of `user:password` (Docker's `auth`).
    BasicAuth,
    /// Base64 of anything printable.
    Base64Text,
    /// Bech32 (BIP 173) with a right checksum.
    Bech32,
    /// Base58 whose last four bytes are the checksum of the rest (BIP 32).
    Base58Check,
    /// A hash of crypt(3) or htpasswd of the length that its method gives, so that locked and
    /// empty accounts are none.
    CryptHash,
    /// A version-4 UUID: random, where others hold a time or a name.
    Uuid4,
    /// A password that a person chose: long enough, and no word that stands in its place.
    Password,
}

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Genuine,
    /// Reported with at most this severity and this remark.
    Less(Severity, &'static str),
    Not,
}

const SAMPLE: Judgement =
    Judgement::Less(Severity::Low, " (its checksum is wrong, probably a sample)");

impl Check {
    /// What it verifies, for the reference page.
    pub fn describe(self) -> String {
        match self {
            Self::None => "shape".into(),
            Self::Entropy(bits) => format!("entropy ≥ {bits} bits a character"),
            Self::Crc62 => "CRC-32 in base 62".into(),
            Self::AwsKeyId => "base 32, account number".into(),
            Self::Jwt => "header and payload decode".into(),
            Self::JwtWith(text) => format!("payload decodes and has `{text}`"),
            Self::Key => "decodes to a key; passphrase or not".into(),
            Self::Putty => "passphrase or not".into(),
            Self::Base64Of(text) => format!("base64 of text with `{text}`"),
            Self::Base64Bytes(n) => format!("base64 of {n} bytes"),
            Self::BasicAuth => "base64 of `user:password`".into(),
            Self::Base64Text => "base64 of printable text".into(),
            Self::Bech32 => "Bech32 checksum".into(),
            Self::Base58Check => "Base58Check checksum".into(),
            Self::CryptHash => "length of the hash's method".into(),
            Self::Uuid4 => "random UUID (version 4)".into(),
            Self::Password => "length, entropy ≥ 2 bits a character".into(),
        }
    }

    pub(super) fn judge(self, secret: &[u8]) -> Judgement {
        let genuine = match self {
            Self::None => true,
            Self::Entropy(bits) => entropy(secret) >= bits,
            // A sample, a typing error or a token made up by a test; still worth a look.
            Self::Crc62 => return if crc62(secret) { Judgement::Genuine } else { SAMPLE },
            Self::Bech32 => return if bech32(secret) { Judgement::Genuine } else { SAMPLE },
            Self::Base58Check => {
                return if base58_check(secret) { Judgement::Genuine } else { SAMPLE };
            }
            Self::Key => return keys::judge_armoured(secret),
            Self::Putty => return keys::judge_putty(secret),
            Self::AwsKeyId => aws_key_id(secret),
            Self::Jwt => jwt(secret).is_some(),
            Self::JwtWith(text) => jwt(secret).is_some_and(|payload| payload.contains(text)),
            Self::Base64Of(word) => decode(secret).is_some_and(|bytes| contains(&bytes, word)),
            Self::Base64Bytes(n) => {
                decode(secret).is_some_and(|bytes| bytes.len() == n) && entropy(secret) > 3.5
            }
            Self::BasicAuth => basic_auth(secret),
            Self::Base64Text => base64_text(secret),
            Self::CryptHash => crypt_hash(secret),
            Self::Uuid4 => uuid4(secret),
            Self::Password => secret.len() >= 4 && entropy(secret) >= 2.0,
        };
        if genuine { Judgement::Genuine } else { Judgement::Not }
    }
}

/// Values that documentation and templates put in a secret's place.
pub(super) fn is_placeholder(secret: &[u8]) -> bool {
    let lower = secret.to_ascii_lowercase();
    let marks = [
        "example",
        "placeholder",
        "changeme",
        "change_me",
        "change-me",
        "your_",
        "your-",
        "yourkey",
        "xxxxx",
        "00000000",
        "12345678",
        "abcdefgh",
        "redacted",
        "dummy",
        "insert",
        "replace",
        "sample",
        "${",
        "{{",
        "$(",
        "<%",
        "%(",
        "****",
        "os.environ",
        "process.env",
        "getenv",
    ];
    let distinct = |bytes: &[u8]| {
        let mut seen = [false; 256];
        for &b in bytes {
            seen[usize::from(b)] = true;
        }
        seen.iter().filter(|s| **s).count()
    };
    // Armoured keys are judged by their body; their labels are words.
    if lower.starts_with(b"-----begin") {
        return false;
    }
    // The word for a secret where its value would stand.
    let words: [&[u8]; 6] =
        [b"password", b"passwd", b"passphrase", b"secret", b"yourpassword", b"mypassword"];
    marks.iter().any(|mark| contains(&lower, mark))
        || words.contains(&lower.as_slice())
        || (secret.starts_with(b"<") && secret.ends_with(b">"))
        || distinct(secret) < 4
}

pub(super) fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Shannon entropy in bits a byte.
pub(super) fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for &b in bytes {
        counts[usize::from(b)] += 1;
    }
    let n = bytes.len() as f64;
    let bits = |&count: &u32| {
        let p = f64::from(count) / n;
        -p * p.log2()
    };
    counts.iter().filter(|&&count| count > 0).map(bits).sum()
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The six characters that end a token whose random part is `random`.
pub(super) fn crc62_of(random: &[u8]) -> [u8; 6] {
    let mut crc = flate2::Crc::new();
    crc.update(random);
    let mut rest = crc.sum() as usize;
    let mut out = [b'0'; 6];
    for place in out.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    out
}

fn crc62(token: &[u8]) -> bool {
    let Some(at) = token.iter().rposition(|&b| b == b'_') else {
        return false;
    };
    let Some((random, sum)) = token[at + 1..].split_last_chunk::<6>() else {
        return false;
    };
    crc62_of(random) == *sum
}

/// The prefix takes four characters; the rest is base 32 whose first 48 bits hold the account
/// number (shifted by seven), which has at most twelve digits.
fn aws_key_id(id: &[u8]) -> bool {
    let Some(body) = id.get(4..14) else {
        return false;
    };
    let mut bits = 0_u64;
    for &c in body {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'2'..=b'7' => c - b'2' + 26,
            _ => return false,
        };
        bits = bits << 5 | u64::from(value);
    }
    // Fifty bits were read; the account stands in bits 7 to 47 of the first six bytes.
    let account = (bits >> 2 & 0x7fff_ffff_ff80) >> 7;
    account < 1_000_000_000_000 && entropy(id) > 2.5
}

pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let url = text.iter().any(|b| matches!(b, b'-' | b'_'));
    let alphabet = if url { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

/// The payload's text, if this is a token.
fn jwt(token: &[u8]) -> Option<String> {
    let mut parts = token.split(|&b| b == b'.');
    let header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&decode(parts.next()?)?).ok()?;
    let payload: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&decode(parts.next()?)?).ok()?;
    header.contains_key("alg").then(|| serde_json::Value::Object(payload).to_string())
}

fn base64_text(text: &[u8]) -> bool {
    decode(text).is_some_and(|bytes| {
        let printable = bytes.iter().all(|b| b.is_ascii_graphic() || b.is_ascii_whitespace());
        printable && bytes.len() >= 6 && !is_placeholder(&bytes)
    })
}

fn uuid4(text: &[u8]) -> bool {
    text.len() == 36
        && text[14] == b'4'
        && matches!(text[19].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b')
        && entropy(text) > 2.8
}

/// crypt(5): `$id$[parameters$]salt$hash`; htpasswd: `{SHA}`. The hash's length is its
/// method's; a prefix `!` or `*` locks an account, and then this is not reached.
fn crypt_hash(text: &[u8]) -> bool {
    if let Some(sha) = text.strip_prefix(b"{SHA}") {
        return decode(sha).is_some_and(|bytes| bytes.len() == 20);
    }
    let mut parts = text.split(|&b| b == b'$');
    let (Some(_), Some(method)) = (parts.next(), parts.next()) else { return false };
    let hash = parts.next_back().unwrap_or_default();
    let fits = match method {
        b"1" | b"apr1" => hash.len() == 22,
        b"6" => hash.len() == 86,
        // The salt's 22 characters and the hash's 31 stand together.
        b"2a" | b"2b" | b"2x" | b"2y" => hash.len() == 53,
        b"5" | b"y" | b"gy" | b"7" => hash.len() == 43,
        _ => method.starts_with(b"argon2") && hash.len() >= 22,
    };
    fits && entropy(hash) > 2.5
}

/// BIP 173: the polynomial over the expanded prefix and the data is one.
fn bech32(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let lower = text.to_ascii_lowercase();
    let Some(at) = lower.iter().rposition(|&b| b == b'1') else { return false };
    let (prefix, data) = (&lower[..at], &lower[at + 1..]);
    let high = prefix.iter().map(|b| b >> 5);
    let low = prefix.iter().map(|b| b & 31);
    let mut sum = 1_u32;
    let mut feed = |value: u8| {
        let top = sum >> 25;
        sum = (sum & 0x01ff_ffff) << 5 ^ u32::from(value);
        for (bit, term) in GENERATOR.iter().enumerate() {
            if top >> bit & 1 == 1 {
                sum ^= term;
            }
        }
    };
    high.chain([0]).chain(low).for_each(&mut feed);
    for symbol in data {
        let Some(value) = ALPHABET.iter().position(|known| known == symbol) else { return false };
        feed(value as u8);
    }
    sum == 1 && data.len() >= 6
}

fn base58_check(text: &[u8]) -> bool {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    if text.len() > 128 {
        return false;
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(text.len());
    for symbol in text {
        let Some(digit) = ALPHABET.iter().position(|known| known == symbol) else { return false };
        let mut carry = digit;
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        while carry > 0 {
            bytes.insert(0, carry as u8);
            carry >>= 8;
        }
    }
    let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return false };
    Sha256::digest(Sha256::digest(body))[..4] == *sum
}

fn basic_auth(text: &[u8]) -> bool {
    let Some(bytes) = decode(text) else {
        return false;
    };
    let Some(at) = bytes.iter().position(|&b| b == b':') else {
        return false;
    };
    let printable = bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ');
    printable && at > 0 && bytes.len() > at + 3 && !is_placeholder(&bytes[at + 1..])
}

#[cfg(test)]
mod tests;

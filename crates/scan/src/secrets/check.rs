//! What makes a string of the right shape a secret: checksum, payload, entropy.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

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
    /// PEM: the body decodes from base64 to DER or an OpenSSH key.
    Pem,
    /// Base64 of text that has this word in it.
    Base64Of(&'static str),
    /// Base64 of `user:password` (Docker's `auth`).
    BasicAuth,
}

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    Genuine,
    /// Reported with low severity and this remark.
    Doubtful(&'static str),
    Not,
}

impl Check {
    pub(super) fn judge(self, secret: &[u8]) -> Judgement {
        let genuine = match self {
            Self::None => true,
            Self::Entropy(bits) => entropy(secret) >= bits,
            Self::Crc62 => {
                // A sample, a typing error or a token made up by a test; still worth a look.
                return if crc62(secret) {
                    Judgement::Genuine
                } else {
                    Judgement::Doubtful(" (its checksum is wrong, probably a sample)")
                };
            }
            Self::AwsKeyId => aws_key_id(secret),
            Self::Jwt => jwt(secret),
            Self::Pem => pem(secret),
            Self::Base64Of(word) => decode(secret).is_some_and(|bytes| contains(&bytes, word)),
            Self::BasicAuth => basic_auth(secret),
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
    marks.iter().any(|mark| contains(&lower, mark))
        || (secret.starts_with(b"<") && secret.ends_with(b">"))
        || distinct(secret) < 4
}

fn contains(haystack: &[u8], needle: &str) -> bool {
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

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let url = text.iter().any(|b| matches!(b, b'-' | b'_'));
    let alphabet = if url { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

fn jwt(token: &[u8]) -> bool {
    let mut parts = token.split(|&b| b == b'.');
    let mut object = || -> Option<serde_json::Map<String, serde_json::Value>> {
        serde_json::from_slice(&decode(parts.next()?)?).ok()
    };
    let (Some(header), Some(_payload)) = (object(), object()) else {
        return false;
    };
    header.contains_key("alg")
}

fn pem(block: &[u8]) -> bool {
    let text = String::from_utf8_lossy(block);
    // Keys pasted into JSON or an environment variable have `\n` for line ends.
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let mut body = String::new();
    for line in text.lines().skip(1) {
        let line = line.trim();
        // OpenPGP ends its body with a line `=` and a checksum.
        if line.starts_with("-----END") || line.starts_with('=') {
            break;
        }
        // Encrypted traditional keys carry headers: `Proc-Type: 4,ENCRYPTED`.
        if !line.contains(':') {
            body.extend(line.chars().filter(|c| !c.is_whitespace() && *c != '"' && *c != '\''));
        }
    }
    let Some(bytes) = decode(body.trim_end_matches(['-', '=']).as_bytes()) else {
        return false;
    };
    let encrypted = text.contains("ENCRYPTED") || text.contains("BEGIN PGP");
    let structured = bytes.first() == Some(&0x30) || bytes.starts_with(b"openssh-key-v1\0");
    bytes.len() >= PEM_BYTES_MIN && (structured || encrypted)
}

/// An Ed25519 key in PKCS#8 has 48 bytes; nothing shorter is a private key.
const PEM_BYTES_MIN: usize = 32;

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
mod tests {
    use super::*;

    #[test]
    fn entropy_tells_words_from_keys() {
        assert!(entropy(b"aaaaaaaa") < 0.1);
        assert!((entropy(b"abcdefgh") - 3.0).abs() < 1e-9);
        assert!(entropy(b"") < 0.1 || entropy(b"").is_nan());
    }

    #[test]
    fn checksum_of_a_published_sample() {
        // The worked example of the format's description.
        assert_eq!(&crc62_of(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), b"0mLq17");
    }

    #[test]
    fn placeholders_are_no_secrets() {
        for text in [
            "AKIAIOSFODNN7EXAMPLE",
            "${SECRET}",
            "{{ token }}",
            "<password>",
            "aaaaaaaabbbbbbb",
            "changeme",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        assert!(!is_placeholder(b"q8Zr4Tn1Wk"));
    }

    #[test]
    fn checks_are_total() {
        for check in [
            Check::None,
            Check::Entropy(3.0),
            Check::Crc62,
            Check::AwsKeyId,
            Check::Jwt,
            Check::Pem,
            Check::Base64Of("x"),
            Check::BasicAuth,
        ] {
            for text in [&b""[..], b".", b"..", b"_", b"-----BEGIN", b"\xff\xfe", b"=", b"a.b.c"] {
                let _ = check.judge(text);
            }
        }
    }
}

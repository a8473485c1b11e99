//! PEM (RFC 7468), one block to a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

const LINE_CHARS: usize = 64;

/// The label and the content of the only block in `text`.
pub(crate) fn decode(text: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let text = text.trim();
    let rest = text.strip_prefix("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let end = format!("-----END {label}-----");
    let body = rest.strip_suffix(end.as_str())?;
    if label.contains(['\n', '\r']) || body.contains('-') {
        return None;
    }
    let packed: Zeroizing<String> =
        Zeroizing::new(body.chars().filter(|c| !c.is_ascii_whitespace()).collect());
    let bytes = Zeroizing::new(STANDARD.decode(packed.as_bytes()).ok()?);
    Some((label, bytes))
}

/// The content of every block of that label; text between blocks is skipped.
pub(crate) fn decode_all(mut text: &str, label: &str) -> Option<Vec<Vec<u8>>> {
    const BLOCKS_MAX: usize = 100;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut out = Vec::new();
    while let Some((_, rest)) = text.split_once(&begin) {
        let (body, rest) = rest.split_once(&end)?;
        let packed: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        out.push(STANDARD.decode(packed).ok()?);
        if out.len() > BLOCKS_MAX {
            return None;
        }
        text = rest;
    }
    Some(out)
}

/// A block with that label.
pub(crate) fn encode(label: &str, bytes: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(bytes));
    let mut out = Zeroizing::new(String::with_capacity(body.len() + body.len() / 32 + 128));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so that every index is a character's.
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_at_every_line_length() {
        for n in 0..200 {
            let bytes: Vec<u8> = (0..n).collect();
            let text = encode("X KEY", &bytes);
            assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
            let (label, decoded) = decode(&text).unwrap();
            assert_eq!((label, decoded.as_slice()), ("X KEY", bytes.as_slice()));
        }
    }

    #[test]
    fn refuses_what_is_not_one_block() {
        let good = encode("A", b"abc");
        assert!(decode(&good.replace('\n', "\r\n")).is_some());
        for bad in [
            "",
            "abc",
            "-----BEGIN A-----\nYWJj\n-----END B-----\n",
            "-----BEGIN A-----\nYW*j\n-----END A-----\n",
            &format!("{}{}", good.as_str(), good.as_str()),
        ] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }
}

//! Text of the kernel made safe to show: what is not printable UTF-8 becomes U+FFFD.
//!
//! The rules are those of Falco's outputs, so that values can be compared with its own.

use std::net::{IpAddr, Ipv4Addr};

/// What stands for a bad character.
pub const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// One step through text: a printable character of so many bytes, or so many bad bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A printable character of so many bytes.
    Good(usize),
    /// So many bytes that are none; at least one unless the text is at its end.
    Bad(usize),
}

/// The first step through `bytes`.
pub fn step(bytes: &[u8]) -> Step {
    let Some(first) = bytes.first() else { return Step::Bad(0) };
    if first.is_ascii() {
        return if first.is_ascii_control() { Step::Bad(1) } else { Step::Good(1) };
    }
    let window = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(window) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() == 0 => {
            return Step::Bad(error.error_len().unwrap_or(window.len()));
        }
        Err(error) => std::str::from_utf8(&window[..error.valid_up_to()]).unwrap_or(""),
    };
    let Some(character) = valid.chars().next() else { return Step::Bad(1) };
    let code = character as u32;
    let bad = code <= 0x9F || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE;
    if bad { Step::Bad(character.len_utf8()) } else { Step::Good(character.len_utf8()) }
}

/// Whether all of `bytes` is printable UTF-8.
pub fn is_printable(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match step(bytes) {
            Step::Good(n) => bytes = &bytes[n..],
            Step::Bad(_) => return false,
        }
    }
    true
}

/// Appends `bytes` to `out` with U+FFFD for whatever is not printable UTF-8.
pub fn push_printable(mut bytes: &[u8], out: &mut Vec<u8>) {
    while !bytes.is_empty() {
        match step(bytes) {
            Step::Good(n) => {
                out.extend_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
            }
            Step::Bad(n) => {
                out.extend_from_slice(REPLACEMENT);
                bytes = &bytes[n.max(1)..];
            }
        }
    }
}

/// `bytes` as text for people, with U+FFFD for whatever is not printable UTF-8.
pub fn printable(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    if is_printable(bytes) {
        return String::from_utf8_lossy(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    push_printable(bytes, &mut out);
    String::from_utf8_lossy(&out).into_owned().into()
}

/// An address as `inet_ntop(3)` writes it: with the last two groups of an embedded IPv4
/// address in dots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub IpAddr);

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let IpAddr::V6(address) = self.0 else { return self.0.fmt(f) };
        let segments = address.segments();
        // IPv4-compatible addresses (RFC 4291, 2.5.5.1), which Rust writes in groups.
        if segments[..6] == [0; 6] && segments[6] != 0 {
            let [.., high, low] = segments;
            let embedded = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
            return write!(f, "::{embedded}");
        }
        address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_c_writes_them() {
        let check = |text: &str| assert_eq!(Address(text.parse().unwrap()).to_string(), text);
        for text in ["10.0.0.1", "::1", "::", "::8.8.8.8", "::ffff:8.8.8.8", "fe80::1:0:0:2"] {
            check(text);
        }
    }

    #[test]
    fn only_what_is_printable_is_kept() {
        let check = |bytes: &[u8], expected: &str| {
            assert_eq!(printable(bytes), expected);
            assert_eq!(is_printable(bytes), bytes == expected.as_bytes());
        };
        check(b"/etc/passwd", "/etc/passwd");
        check("caf\u{e9}".as_bytes(), "caf\u{e9}");
        check(b"a\nb\tc\x7f", "a\u{FFFD}b\u{FFFD}c\u{FFFD}");
        check(b"a\xffb", "a\u{FFFD}b");
        check("\u{85}\u{FDD0}".as_bytes(), "\u{FFFD}\u{FFFD}");
        check(b"", "");
    }
}

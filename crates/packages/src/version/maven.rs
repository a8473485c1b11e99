//! Maven's order (POM Reference, "Version Order Specification"): tokens between dots, hyphens
//! and where digits meet letters; what means nothing is cut off; known words come in the order
//! of a release's life.

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits, split_while};

/// Tokens before a version is refused.
const TOKENS_MAX: usize = 256;

/// What stands before a token. Where digits meet letters a hyphen is thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Dot,
    Hyphen,
}

#[derive(Debug, Clone, Copy)]
struct Token<'v> {
    prefix: Prefix,
    text: &'v [u8],
    /// Whether a digit follows without a separator, which makes `a` an alpha.
    before_digit: bool,
}

/// Compares two versions; `None` for an empty text or one of endless tokens.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (a.trim().to_ascii_lowercase(), b.trim().to_ascii_lowercase());
    let (a, b) = (tokens(&a)?, tokens(&b)?);
    for at in 0..a.len().max(b.len()) {
        let order = match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => a.compare(b),
            (Some(a), None) => a.compare(&a.nothing()),
            (None, Some(b)) => b.nothing().compare(b),
            (None, None) => Ordering::Equal,
        };
        if order.is_ne() {
            return Some(order);
        }
    }
    Some(Ordering::Equal)
}

impl Token<'_> {
    /// What a version has where another has this token more.
    fn nothing(&self) -> Token<'static> {
        let text: &[u8] = if self.is_number() { b"0" } else { b"" };
        Token { prefix: self.prefix, text, before_digit: false }
    }

    fn is_number(&self) -> bool {
        self.text.first().is_some_and(u8::is_ascii_digit)
    }

    fn means_nothing(&self) -> bool {
        self.text.iter().all(|byte| *byte == b'0') || self.rank() == RELEASED && !self.is_number()
    }

    /// `.word` < `-word` < `-number` < `.number`.
    fn class(&self) -> u8 {
        match (self.is_number(), self.prefix) {
            (false, Prefix::Dot) => 0,
            (false, Prefix::Hyphen) => 1,
            (true, Prefix::Hyphen) => 2,
            (true, Prefix::Dot) => 3,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.class().cmp(&other.class()).then_with(|| {
            if self.is_number() {
                return compare_digits(self.text, other.text);
            }
            self.rank().cmp(&other.rank()).then_with(|| match self.rank() {
                UNKNOWN => self.text.cmp(other.text),
                _ => Ordering::Equal,
            })
        })
    }

    /// The place of a word in the life of a release; unknown ones come after all known.
    fn rank(&self) -> u8 {
        match self.text {
            b"alpha" => 0,
            b"a" if self.before_digit => 0,
            b"beta" => 1,
            b"b" if self.before_digit => 1,
            b"milestone" => 2,
            b"m" if self.before_digit => 2,
            b"rc" | b"cr" => 3,
            b"snapshot" => 4,
            b"" | b"final" | b"ga" | b"release" => RELEASED,
            b"sp" => 6,
            _ => UNKNOWN,
        }
    }
}

const RELEASED: u8 = 5;
const UNKNOWN: u8 = 7;

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    if text.is_empty() || text.len() > VERSION_BYTES_MAX {
        return None;
    }
    let mut all: Vec<Token<'_>> = Vec::new();
    let mut prefix = Prefix::Hyphen;
    let mut rest = text.as_bytes();
    loop {
        if all.len() >= TOKENS_MAX {
            return None;
        }
        let is_separator = |byte: &u8| matches!(byte, b'.' | b'-');
        let is_digit = rest.first().is_some_and(u8::is_ascii_digit);
        let of_kind = |byte: &u8| !is_separator(byte) && byte.is_ascii_digit() == is_digit;
        let (token, after) = split_while(rest, of_kind);
        let separator = after.first();
        // Nothing between separators is a zero.
        let token: &[u8] = if token.is_empty() { b"0" } else { token };
        let before_digit = separator.is_some_and(u8::is_ascii_digit);
        all.push(Token { prefix, text: token, before_digit });
        match separator {
            None => break,
            Some(byte) if is_separator(byte) => {
                prefix = if *byte == b'.' { Prefix::Dot } else { Prefix::Hyphen };
                rest = after.get(1..)?;
            }
            Some(_) => {
                prefix = Prefix::Hyphen;
                rest = after;
            }
        }
    }
    Some(trimmed(all))
}

/// Without the tokens that mean nothing at the end and before each hyphen.
fn trimmed(all: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let mut out: Vec<Token<'_>> = Vec::with_capacity(all.len());
    for token in all {
        if token.prefix == Prefix::Hyphen {
            cut(&mut out);
        }
        out.push(token);
    }
    cut(&mut out);
    out
}

fn cut(tokens: &mut Vec<Token<'_>>) {
    while tokens.len() > 1 && tokens.last().is_some_and(Token::means_nothing) {
        tokens.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_maven_does() {
        let sorted = [
            "1-alpha-1",
            "1-beta",
            "1-m2",
            "1-rc1",
            "1-SNAPSHOT",
            "1",
            "1-sp",
            "1-foo",
            "1-1",
            "1.1",
            "1.10",
            "2",
        ];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), Some(at.cmp(&other)), "{a} {b}");
            }
        }
        for equal in ["1.0", "1.0.0", "1-ga", "1.final", "1-0.0", "1.0-RELEASE"] {
            assert_eq!(compare("1", equal), Some(Ordering::Equal), "{equal}");
        }
        assert_eq!(compare("", "1"), None);
    }
}

//! Alpine's order, as apk-tools 2 decides it: numbers, a letter, suffixes like `_rc1`, a
//! revision `-r2`.
//!
//! A later component with a leading zero counts as a fraction: `1.02` is before `1.1`.
//! Where a version stops to be one, the rest is not looked at, as apk does.

use std::cmp::Ordering;

use super::VERSION_BYTES_MAX;

/// Suffixes that come before the version without them, in order.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
/// Suffixes that come after it, in order.
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// Compares two Alpine versions; `None` for empty or overlong text. Text that is no version
/// has an order as well, as in apk: before what it could have been.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let plausible = |text: &str| !text.is_empty() && text.len() <= VERSION_BYTES_MAX;
    if !plausible(a) || !plausible(b) {
        return None;
    }
    let (mut a, mut b) = (Scanner::new(a), Scanner::new(b));
    let (mut value_a, mut value_b) = (0, 0);
    while a.token == b.token
        && a.token != Token::End
        && a.token != Token::Invalid
        && value_a == value_b
    {
        value_a = a.value();
        value_b = b.value();
    }
    let by_value = value_a.cmp(&value_b);
    if by_value.is_ne() {
        return Some(by_value);
    }
    a.pass_empty_digits();
    b.pass_empty_digits();
    // All that both have is equal: the longer is later, unless what it has more is a suffix
    // of a version to come.
    let (rank_a, rank_b) = (a.rank(), b.rank());
    if rank_a == rank_b {
        return Some(Ordering::Equal);
    }
    if rank_a == Token::Suffix && a.value() < 0 {
        return Some(Ordering::Less);
    }
    if rank_b == Token::Suffix && b.value() < 0 {
        return Some(Ordering::Greater);
    }
    Some(rank_b.cmp(&rank_a))
}

/// Kinds of components, in the order in which they may follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    DigitOrZero,
    Digit,
    Letter,
    Suffix,
    SuffixNumber,
    Revision,
    End,
    Invalid,
}

struct Scanner<'v> {
    rest: &'v [u8],
    token: Token,
}

impl<'v> Scanner<'v> {
    fn new(text: &'v str) -> Self {
        Self { rest: text.as_bytes(), token: Token::Digit }
    }

    fn advance(&mut self, n: usize) {
        self.rest = self.rest.get(n..).unwrap_or_default();
    }

    fn at_digit(&self) -> bool {
        self.rest.first().is_some_and(u8::is_ascii_digit)
    }

    /// After leading zeros, digits may follow; where none do, the next component counts:
    /// `1.0_rc1` is before `1.0`.
    fn pass_empty_digits(&mut self) {
        if self.token == Token::Digit && !self.at_digit() {
            self.value();
        }
    }

    /// The kind of the current component in the order at the end of a comparison, where a
    /// number without digits makes the rest no version.
    fn rank(&self) -> Token {
        match self.token {
            Token::DigitOrZero | Token::Revision if !self.at_digit() && !self.rest.is_empty() => {
                Token::Invalid
            }
            token => token,
        }
    }

    /// Decides the kind of the next component from the kind of the last.
    fn next_token(&mut self) {
        let last = self.token;
        let mut next = Token::Invalid;
        match (self.rest.first().copied(), last) {
            (None, _) => next = Token::End,
            (Some(b'a'..=b'z'), Token::Digit | Token::DigitOrZero) => next = Token::Letter,
            (Some(b'0'..=b'9'), Token::Letter) => next = Token::Digit,
            (Some(b'0'..=b'9'), Token::Suffix) => next = Token::SuffixNumber,
            (Some(b'.'), _) => {
                next = Token::DigitOrZero;
                self.advance(1);
            }
            (Some(b'_'), _) => {
                next = Token::Suffix;
                self.advance(1);
            }
            (Some(b'-'), _) => {
                if self.rest.get(1) == Some(&b'r') {
                    next = Token::Revision;
                    self.advance(1);
                }
                self.advance(1);
            }
            (Some(_), _) => self.advance(1),
        }
        let steps_back = matches!(
            (next, last),
            (Token::DigitOrZero, Token::Digit)
                | (Token::Suffix, Token::SuffixNumber)
                | (Token::Digit, Token::Letter)
        );
        self.token = if next < last && !steps_back { Token::Invalid } else { next };
    }

    /// Reads the value of the current component and moves to the next.
    fn value(&mut self) -> i128 {
        if self.rest.is_empty() {
            self.token = Token::End;
            return 0;
        }
        let mut value = 0_i128;
        let mut length = 0;
        match self.token {
            Token::DigitOrZero if self.rest.first() == Some(&b'0') => {
                let zeros = self.rest.iter().take_while(|byte| **byte == b'0').count();
                self.advance(zeros);
                self.token = if self.rest.is_empty() { Token::End } else { Token::Digit };
                return -(zeros as i128);
            }
            Token::DigitOrZero | Token::Digit | Token::SuffixNumber | Token::Revision => {
                for byte in self.rest.iter().take_while(|byte| byte.is_ascii_digit()) {
                    value = value.saturating_mul(10).saturating_add(i128::from(byte - b'0'));
                    length += 1;
                }
            }
            Token::Letter => {
                value = self.rest.first().map_or(0, |byte| i128::from(*byte));
                length = 1;
            }
            Token::Suffix => {
                let Some(found) = suffix(self.rest) else {
                    self.token = Token::Invalid;
                    return -1;
                };
                (value, length) = found;
            }
            Token::Invalid | Token::End => {
                self.token = Token::Invalid;
                return -1;
            }
        }
        self.advance(length);
        if self.rest.is_empty() {
            self.token = Token::End;
        } else {
            self.next_token();
        }
        value
    }
}

/// Value and length of the suffix that `rest` begins with.
fn suffix(rest: &[u8]) -> Option<(i128, usize)> {
    let found = |names: &[&str]| names.iter().position(|name| rest.starts_with(name.as_bytes()));
    if let Some(at) = found(&BEFORE) {
        return Some((at as i128 - BEFORE.len() as i128, BEFORE.get(at)?.len()));
    }
    let at = found(&AFTER)?;
    Some((at as i128, AFTER.get(at)?.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_apk_does() {
        let check = |a: &str, b: &str, expected| {
            assert_eq!(compare(a, b), Some(expected), "{a} {b}");
            assert_eq!(compare(b, a), Some(expected.reverse()), "{b} {a}");
        };
        check("1.0", "1.0-r1", Ordering::Less);
        check("1.0_rc1", "1.0", Ordering::Less);
        check("1.0_p1", "1.0", Ordering::Greater);
        check("1.02", "1.1", Ordering::Less);
        check("1.2.3b", "1.2.3a", Ordering::Greater);
        check("3.3.2-r0", "3.3.2-r10", Ordering::Less);
        check("1.0", "1.0", Ordering::Equal);
        assert_eq!(compare("", "1"), None);
        assert_eq!(compare(&"1".repeat(VERSION_BYTES_MAX + 1), "1"), None);
    }
}

//! Semantic Versioning 2.0.0, as npm, Cargo and Go use it. Read leniently: a leading `v` or
//! `go`, fewer or more than three numbers, no `-` before a pre-release that begins with a
//! letter. Build metadata has no order.

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits, split_while};

/// Numbers before a version is refused.
const NUMBERS_MAX: usize = 32;

struct Version<'v> {
    numbers: Vec<&'v [u8]>,
    pre: Option<&'v [u8]>,
}

/// Compares two versions; `None` for text that begins with no number.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parse(a)?, parse(b)?);
    for at in 0..a.numbers.len().max(b.numbers.len()) {
        let (x, y) = (a.numbers.get(at).copied(), b.numbers.get(at).copied());
        let order = compare_digits(x.unwrap_or(b"0"), y.unwrap_or(b"0"));
        if order.is_ne() {
            return Some(order);
        }
    }
    Some(match (a.pre, b.pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => compare_pre(a, b),
    })
}

fn parse(text: &str) -> Option<Version<'_>> {
    let text = text.trim();
    if text.len() > VERSION_BYTES_MAX {
        return None;
    }
    let text = text.strip_prefix("go").or_else(|| text.strip_prefix('v')).unwrap_or(text);
    let text = text.split('+').next().unwrap_or_default();
    let mut rest = text.as_bytes();
    let mut numbers = Vec::new();
    loop {
        let (digits, after) = split_while(rest, u8::is_ascii_digit);
        if digits.is_empty() || numbers.len() >= NUMBERS_MAX {
            return None;
        }
        numbers.push(digits);
        rest = after;
        match rest.split_first() {
            Some((b'.', after)) if after.first().is_some_and(u8::is_ascii_digit) => rest = after,
            _ => break,
        }
    }
    let pre = match rest.split_first() {
        None => None,
        Some((b'-' | b'.', pre)) => Some(pre),
        Some((first, _)) if first.is_ascii_alphabetic() => Some(rest),
        Some(_) => return None,
    };
    Some(Version { numbers, pre })
}

/// Identifiers between dots: numbers by value and before words; more are later.
fn compare_pre(a: &[u8], b: &[u8]) -> Ordering {
    let mut a = a.split(|byte| *byte == b'.');
    let mut b = b.split(|byte| *byte == b'.');
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (is_number(a), is_number(b)) {
                (true, true) => compare_digits(a, b),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_the_specification_says() {
        let sorted = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.2",
            "1.10.0",
            "v2.0.0",
        ];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), Some(at.cmp(&other)), "{a} {b}");
            }
        }
        assert_eq!(compare("1.0+a", "1.0.0+b"), Some(Ordering::Equal));
        assert_eq!(compare("go1.21rc2", "go1.21.0"), Some(Ordering::Less));
        assert_eq!(compare("latest", "1"), None);
    }
}

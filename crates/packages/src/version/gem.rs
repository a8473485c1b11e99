//! RubyGems' order (`Gem::Version`): segments of digits or letters; letters make a
//! pre-release and come before any number; zeros at the end do not count.

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits, split_while};

/// Segments before a version is refused.
const SEGMENTS_MAX: usize = 64;

/// Compares two versions; `None` for text that begins with no digit or has other characters.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (segments(a)?, segments(b)?);
    for at in 0..a.len().max(b.len()) {
        let (x, y) = (a.get(at).copied(), b.get(at).copied());
        let (x, y) = (x.unwrap_or(b"0"), y.unwrap_or(b"0"));
        let order = match (is_number(x), is_number(y)) {
            (true, true) => compare_digits(x, y),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => x.cmp(y),
        };
        if order.is_ne() {
            return Some(order);
        }
    }
    Some(Ordering::Equal)
}

fn is_number(segment: &[u8]) -> bool {
    segment.first().is_some_and(u8::is_ascii_digit)
}

fn segments(text: &str) -> Option<Vec<&[u8]>> {
    let mut rest = text.trim().as_bytes();
    if rest.len() > VERSION_BYTES_MAX || !is_number(rest) {
        return None;
    }
    let mut all: Vec<&[u8]> = Vec::new();
    while let Some(first) = rest.first() {
        let segment;
        match first {
            b'0'..=b'9' => (segment, rest) = split_while(rest, u8::is_ascii_digit),
            b'a'..=b'z' | b'A'..=b'Z' => {
                (segment, rest) = split_while(rest, u8::is_ascii_alphabetic);
            }
            b'.' => {
                rest = rest.get(1..)?;
                continue;
            }
            // A hyphen announces a pre-release.
            b'-' => {
                segment = b"pre";
                rest = rest.get(1..)?;
            }
            _ => return None,
        }
        if all.len() >= SEGMENTS_MAX {
            return None;
        }
        all.push(segment);
    }
    // Zeros at the end of the numbers, and at the end of all.
    let release = all.iter().position(|segment| !is_number(segment)).unwrap_or(all.len());
    let pre = all.split_off(release);
    let mut out = without_zeros(all);
    out.extend(without_zeros(pre));
    Some(out)
}

fn without_zeros(mut segments: Vec<&[u8]>) -> Vec<&[u8]> {
    while segments.last().is_some_and(|last| last.iter().all(|byte| *byte == b'0')) {
        segments.pop();
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_rubygems_does() {
        let sorted =
            ["1.0.a", "1.0.a.2", "1.0.b1", "1.0-rc", "1.0", "1.0.0.1", "1.9", "1.10.pre", "1.10"];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), Some(at.cmp(&other)), "{a} {b}");
            }
        }
        assert_eq!(compare("1", "1.0.0"), Some(Ordering::Equal));
        assert_eq!(compare("a", "1"), None);
        assert_eq!(compare("1 2", "1"), None);
    }
}

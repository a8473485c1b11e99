//! pacman's order (libalpm `version.c`, `vercmp(8)`): `[epoch:]version[-release]`, each
//! compared by segments of digits or letters.

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits, split_while};

/// Compares two versions. A release counts only where both have one.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    if a.is_empty() || b.is_empty() || a.len().max(b.len()) > VERSION_BYTES_MAX {
        return None;
    }
    let (epoch_a, version_a, release_a) = split(a);
    let (epoch_b, version_b, release_b) = split(b);
    let order = compare_digits(epoch_a.as_bytes(), epoch_b.as_bytes())
        .then_with(|| compare_part(version_a.as_bytes(), version_b.as_bytes()));
    Some(order.then_with(|| match (release_a, release_b) {
        (Some(a), Some(b)) => compare_part(a.as_bytes(), b.as_bytes()),
        _ => Ordering::Equal,
    }))
}

fn split(text: &str) -> (&str, &str, Option<&str>) {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
        _ => ("0", text),
    };
    match rest.rsplit_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() && !b.is_empty() {
        let (separators_a, rest_a) = split_while(a, |byte| !byte.is_ascii_alphanumeric());
        let (separators_b, rest_b) = split_while(b, |byte| !byte.is_ascii_alphanumeric());
        (a, b) = (rest_a, rest_b);
        let (Some(first), Some(other)) = (a.first(), b.first()) else {
            break;
        };
        if separators_a.len() != separators_b.len() {
            return separators_a.len().cmp(&separators_b.len());
        }
        let is_number = first.is_ascii_digit();
        if is_number != other.is_ascii_digit() {
            // Numbers are later than letters.
            return if is_number { Ordering::Greater } else { Ordering::Less };
        }
        let of_kind = |byte: &u8| {
            if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() }
        };
        let (part_a, part_b);
        (part_a, a) = split_while(a, of_kind);
        (part_b, b) = split_while(b, of_kind);
        let order = if is_number { compare_digits(part_a, part_b) } else { part_a.cmp(part_b) };
        if order.is_ne() {
            return order;
        }
    }
    // What is left: letters make a pre-release; a separator or number a later version.
    match (a.first(), b.first()) {
        (None, None) => Ordering::Equal,
        (Some(left), _) if left.is_ascii_alphabetic() => Ordering::Less,
        (Some(_), _) => Ordering::Greater,
        (None, Some(left)) if left.is_ascii_alphabetic() => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `vercmp(8)`.
    #[test]
    fn orders_as_vercmp_does() {
        let sorted =
            ["1.0a", "1.0b", "1.0beta", "1.0p", "1.0pre", "1.0rc", "1.0", "1.0.a", "1.0.1"];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), Some(at.cmp(&other)), "{a} {b}");
            }
        }
        assert_eq!(compare("1.0-1", "1.0"), Some(Ordering::Equal));
        assert_eq!(compare("1.0-2", "1.0-1"), Some(Ordering::Greater));
        assert_eq!(compare("1:1.0", "2.0"), Some(Ordering::Greater));
        assert_eq!(compare("", "1"), None);
    }
}

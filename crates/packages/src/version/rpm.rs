//! RPM's order: `[epoch:]version[-release]`, each compared by `rpmvercmp` (rpm
//! `rpmio/rpmvercmp.c`, documentation "Dependencies", section "Versioning").

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits, split_while};

/// Compares two RPM versions. A missing epoch is 0; a version without release comes
/// before the same with one.
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
        (a, b) => a.is_some().cmp(&b.is_some()),
    }))
}

fn split(text: &str) -> (&str, &str, Option<&str>) {
    let (epoch, rest) = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => (epoch, rest),
        _ => ("0", text),
    };
    match rest.split_once('-') {
        Some((version, release)) => (epoch, version, Some(release)),
        None => (epoch, rest, None),
    }
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let is_separator = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b'~' && *byte != b'^';
    loop {
        a = split_while(a, is_separator).1;
        b = split_while(b, is_separator).1;
        // `~` is before everything, even the end; `^` after the end, before all else.
        match (a.first(), b.first()) {
            (Some(b'~'), Some(b'~')) | (Some(b'^'), Some(b'^')) => {
                (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
                continue;
            }
            (Some(b'~'), _) | (None, Some(b'^')) => return Ordering::Less,
            (_, Some(b'~')) | (Some(b'^'), None) => return Ordering::Greater,
            (None, None) => return Ordering::Equal,
            (Some(b'^') | None, _) => return Ordering::Less,
            (_, Some(b'^') | None) => return Ordering::Greater,
            _ => {}
        }
        let is_number = a.first().is_some_and(u8::is_ascii_digit);
        let of_kind = |byte: &u8| {
            if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() }
        };
        let (part_a, rest_a) = split_while(a, of_kind);
        let (part_b, rest_b) = split_while(b, of_kind);
        if part_b.is_empty() {
            // Numbers are later than letters.
            return if is_number { Ordering::Greater } else { Ordering::Less };
        }
        let order = if is_number { compare_digits(part_a, part_b) } else { part_a.cmp(part_b) };
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_rpm_does() {
        let check =
            |a: &str, b: &str, expected| assert_eq!(compare(a, b), Some(expected), "{a} {b}");
        check("1.0", "1.0", Ordering::Equal);
        check("1.0-1.el9", "1.0", Ordering::Greater);
        check("1.0-1.el9", "1.0-2.el9", Ordering::Less);
        check("1:1.0", "2.0", Ordering::Greater);
        check("1.0~rc1", "1.0", Ordering::Less);
        check("1.0^git1", "1.0", Ordering::Greater);
        check("1.0^git1", "1.01", Ordering::Less);
        check("5.5p1", "5.5p10", Ordering::Less);
        check("xyz10", "xyz10.1", Ordering::Less);
        check("1.0a", "1.0.1", Ordering::Less);
    }
}

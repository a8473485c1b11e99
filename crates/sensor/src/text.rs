//! Text of the kernel: paths made absolute, unprintable bytes replaced, numbers written
//! as C's `printf` writes them.
//!
//! Values are compared with what Falco extracts, so each rule here is Falco's: a path is
//! joined textually (no symbolic link is followed), and what is not printable UTF-8
//! becomes U+FFFD.

use std::fmt::Write as _;
use std::io::Write as _;

use palisade_base::text::{REPLACEMENT, Step, step};
pub use palisade_base::text::{is_printable, printable, push_printable};

/// A joined path longer than this becomes [`PATH_TOO_LONG`].
pub const PATH_BYTES_MAX: usize = 1024;

/// What stands for a path that is too long.
pub const PATH_TOO_LONG: &[u8] = b"/DIR_TOO_LONG/FILENAME_TOO_LONG";

/// Joins `path` to `base` (which ends in a slash) and removes `.`, `..` and doubled
/// slashes; an absolute or empty `path` stands alone. Bytes behind a NUL do not count.
pub fn join_path(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(base.len() + path.len());
    join_path_into(base, path, &mut out);
    out
}

/// The same into `out`, which is cleared first.
pub fn join_path_into(base: &[u8], path: &[u8], out: &mut Vec<u8>) {
    let path = crate::record::until_nul(path);
    out.clear();
    if base.len() + path.len() + 1 > PATH_BYTES_MAX {
        out.extend_from_slice(PATH_TOO_LONG);
        return;
    }
    let relative = path.first().is_some_and(|byte| *byte != b'/');
    if relative {
        out.extend_from_slice(base);
    }
    push_components(out, path, relative && !base.is_empty());
    if out.len() > 1 && out.last() == Some(&b'/') {
        out.pop();
    }
}

fn push_components(out: &mut Vec<u8>, path: &[u8], has_base: bool) {
    let mut rest = path;
    while let Some(first) = rest.first() {
        let at_component = out.last().is_none_or(|byte| *byte == b'/');
        match *first {
            b'.' if at_component => match rest {
                [b'.', b'.', b'/', tail @ ..] => rest = parent(out, tail),
                [b'.', b'.'] => rest = parent(out, &[]),
                [b'.', b'/', tail @ ..] => rest = tail,
                [b'.'] => rest = &[],
                _ => {
                    out.push(b'.');
                    rest = &rest[1..];
                }
            },
            b'/' => {
                let doubled = if out.is_empty() { has_base } else { at_component };
                if !doubled {
                    out.push(b'/');
                }
                rest = &rest[1..];
            }
            _ => match step(rest) {
                Step::Good(n) => {
                    out.extend_from_slice(&rest[..n]);
                    rest = &rest[n..];
                }
                Step::Bad(n) => {
                    out.extend_from_slice(REPLACEMENT);
                    rest = &rest[n.max(1)..];
                }
            },
        }
        if out.len() >= PATH_BYTES_MAX {
            return;
        }
    }
}

/// Removes the last component of `out`, but never its root, and gives `tail` back.
fn parent<'t>(out: &mut Vec<u8>, tail: &'t [u8]) -> &'t [u8] {
    if out.len() > 1 {
        out.pop();
        while out.len() > 1 && out.last() != Some(&b'/') {
            out.pop();
        }
        if out.len() == 1 && out[0] != b'/' {
            out.clear();
        }
    }
    tail
}

/// Splits a path into its folder and its name at the last slash.
pub fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    Some((&path[..slash], &path[slash + 1..]))
}

/// Appends `args`, texts separated by NULs, joined by blanks.
pub fn push_joined(args: &[u8], out: &mut Vec<u8>) {
    out.extend(args.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }));
}

/// Appends formatted text.
pub(crate) fn push_fmt(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = out.write_fmt(arguments);
}

/// A number as `printf("%g")` writes it: six significant digits, no trailing zeros.
pub fn format_g(value: f64) -> String {
    const DIGITS: i32 = 6;
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text.to_string()
        }
    };
    if !(-4..DIGITS).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        let mut out = trim(mantissa);
        let _ = write!(out, "e{sign}{:02}", exponent.abs());
        return out;
    }
    let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

/// Year, month, day, hour, minute and second in UTC of `seconds` since the epoch.
pub fn civil_from_seconds(seconds: u64) -> (i64, u32, u32, u32, u32, u32) {
    let days = i64::try_from(seconds / 86_400).unwrap_or(i64::MAX);
    let second_of_day = (seconds % 86_400) as u32;
    // Howard Hinnant's algorithm: years begin in March, so that leap days end them.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_index + 2) / 5 + 1) as u32;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_textually() {
        let check = |base: &str, path: &str, expected: &str| {
            let joined = join_path(base.as_bytes(), path.as_bytes());
            assert_eq!(String::from_utf8_lossy(&joined), expected, "{base} + {path}");
        };
        check("/home/user/", "file", "/home/user/file");
        check("/home/user/", "../x", "/home/x");
        check("/home/user/", "../../..", "/");
        check("/home/user/", "./a//b/./c/", "/home/user/a/b/c");
        check("/home/user/", "/etc//passwd", "/etc/passwd");
        check("/", "..", "/");
        check("/root/", "", "");
        check("", "rel/../x", "x");
        check("<UNKNOWN>", "x", "<UNKNOWN>x");
        check("/a/", ".hidden", "/a/.hidden");
        check("/a/", "..data", "/a/..data");
        check("/tmp/", "/tmp/d1/d2/d3/../../..///f", "/tmp/f");
        check("/", "a\u{1}b", "/a\u{FFFD}b");
        check("/", &"x".repeat(1100), "/DIR_TOO_LONG/FILENAME_TOO_LONG");
    }

    #[test]
    fn unprintable_bytes_are_replaced() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(printable(bytes), expected);
        check("naïve".as_bytes(), "naïve");
        check(b"a\x07b", "a\u{FFFD}b");
        check(b"\xffz", "\u{FFFD}z");
        check(b"\xe2\x82", "\u{FFFD}");
        check("\u{85}".as_bytes(), "\u{FFFD}");
        check("\u{FFFE}x".as_bytes(), "\u{FFFD}x");
    }

    #[test]
    fn numbers_are_written_as_in_c() {
        let check = |value: f64, expected: &str| assert_eq!(format_g(value), expected);
        check(0.0, "0");
        check(1.0, "1");
        check(0.5, "0.5");
        check(100_000.0, "100000");
        check(1_000_000.0, "1e+06");
        check(0.000_012_34, "1.234e-05");
        check(59.743, "59.743");
    }

    #[test]
    fn dates_of_the_epoch() {
        assert_eq!(civil_from_seconds(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(civil_from_seconds(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(civil_from_seconds(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(civil_from_seconds(1_470_327_475), (2016, 8, 4, 16, 17, 55));
    }

    proptest::proptest! {
        #[test]
        fn any_path_joins(base in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40), path in "[./a\u{7}é]{0,40}") {
            let joined = join_path(&base, path.as_bytes());
            proptest::prop_assert!(joined.len() <= 3 * PATH_BYTES_MAX);
        }
    }
}

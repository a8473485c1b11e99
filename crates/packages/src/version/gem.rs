//! RubyGems' order (`Gem::Version`): segments of digits or letters; letters make a
//! pre-release and come before any number; zeros at the end do not count. The platform for which
//! a gem was built (`1.13.0-x86_64-linux`, `Gem::Platform`) is no part of its version.

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
    let mut rest = without_platform(text.trim()).as_bytes();
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

/// `1.13.0` of `1.13.0-x86_64-linux`. What follows a hyphen and names neither a system nor a
/// processor is a pre-release.
fn without_platform(text: &str) -> &str {
    // A processor begins a platform wherever it stands: `1.2.0-alpha-x86-linux`.
    let mut hyphens = text.match_indices('-').map(|(at, _)| text.split_at(at));
    let of_processor = |rest: &str| {
        let first = rest.trim_start_matches('-').split('-').next().unwrap_or_default();
        is_processor(&first.to_ascii_lowercase())
    };
    if let Some((version, _)) = hyphens.find(|(_, rest)| of_processor(rest)) {
        return version;
    }
    match text.split_once('-') {
        Some((version, platform)) if is_platform(platform) => version,
        _ => text,
    }
}

/// Systems as `Gem::Platform` finds them: anywhere in what follows the processor.
const SYSTEMS: [&str; 11] = [
    "aix",
    "cygwin",
    "darwin",
    "freebsd",
    "linux",
    "mingw",
    "mswin",
    "netbsdelf",
    "openbsd",
    "solaris",
    "wasi",
];
/// Run-times: what follows the processor begins with one.
const RUNTIMES: [&str; 5] = ["java", "jruby", "macruby", "dalvik", "dotnet"];
/// Processors of systems that `Gem::Platform` does not know.
const PROCESSORS: [&str; 13] = [
    "x86_64",
    "x86",
    "x64",
    "arm",
    "armv6l",
    "armv7l",
    "arm64",
    "aarch64",
    "ppc64le",
    "powerpc",
    "s390x",
    "riscv64",
    "universal",
];

fn is_platform(text: &str) -> bool {
    let text = text.trim_end_matches('-').to_ascii_lowercase();
    let (processor, system) = text.split_once('-').unwrap_or(("", &text));
    SYSTEMS.iter().any(|known| system.contains(known))
        || RUNTIMES.iter().any(|known| system.starts_with(known))
        // The platform of gems for any.
        || text == "ruby"
        || is_processor(processor)
}

fn is_processor(text: &str) -> bool {
    let is_i86 = || text.len() == 4 && text.starts_with('i') && text.ends_with("86");
    PROCESSORS.contains(&text) || is_i86()
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

    #[test]
    fn a_platform_is_no_part_of_the_version() {
        let platforms = [
            "x86_64-linux",
            "x86_64-linux-gnu",
            "aarch64-linux-musl",
            "arm-linux-gnueabihf",
            "arm64-darwin",
            "x86_64-darwin-22",
            "universal-darwin",
            "x86-mingw32",
            "x64-mingw-ucrt",
            "x86-mswin32-60",
            "i386-mswin32",
            "i686-unknown",
            "mswin32",
            "java",
            "jruby",
            "universal-java-1.8",
            "universal-rubinius",
            "ruby",
        ];
        for platform in platforms {
            let version = format!("1.13.0-{platform}");
            assert_eq!(compare(&version, "1.13.0"), Some(Ordering::Equal), "{version}");
            assert_eq!(compare(&version, "1.14.0"), Some(Ordering::Less), "{version}");
            assert_eq!(compare("1.12.9", &version), Some(Ordering::Less), "{version}");
        }
        // A pre-release stays one.
        assert_eq!(compare("1.0.rc1-java", "1.0"), Some(Ordering::Less));
        for version in ["1.0-rc", "1.0-beta-2", "1.0-1"] {
            assert_eq!(compare(version, "1.0"), Some(Ordering::Less), "{version}");
        }
        assert_eq!(compare("1.0-rc_1", "1.0"), None);
    }
}

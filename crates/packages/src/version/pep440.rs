//! Python's order (PEP 440, now "Version specifiers" of the packaging specifications).

use std::cmp::Ordering;

use super::{VERSION_BYTES_MAX, compare_digits};

/// Numbers of a release before a version is refused.
const NUMBERS_MAX: usize = 64;

/// A number of any length: its digits without leading zeros.
type Digits = Vec<u8>;

#[derive(Debug)]
struct Version {
    epoch: Digits,
    release: Vec<Digits>,
    /// `a`, `b` or `rc` (0 to 2) with its number.
    pre: Option<(u8, Digits)>,
    post: Option<Digits>,
    dev: Option<Digits>,
    local: Vec<Vec<u8>>,
}

/// Compares two versions; `None` for text that is no version by PEP 440.
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parse(a)?, parse(b)?);
    let order = compare_digits(&a.epoch, &b.epoch);
    if order.is_ne() {
        return Some(order);
    }
    for at in 0..a.release.len().max(b.release.len()) {
        let number = |version: &'_ Version| version.release.get(at).cloned().unwrap_or_default();
        let order = compare_digits(&number(&a), &number(&b));
        if order.is_ne() {
            return Some(order);
        }
    }
    Some(
        compare_pre(&a, &b)
            .then_with(|| compare_post(&a, &b))
            .then_with(|| compare_dev(&a, &b))
            .then_with(|| compare_local(&a.local, &b.local)),
    )
}

/// Where a version stands by its pre-release: a bare development release comes before all,
/// a version without pre-release after all.
fn pre_rank(version: &Version) -> (u8, u8, &[u8]) {
    match &version.pre {
        Some((kind, number)) => (1, *kind, number),
        None if version.post.is_none() && version.dev.is_some() => (0, 0, b""),
        None => (2, 0, b""),
    }
}

fn compare_pre(a: &Version, b: &Version) -> Ordering {
    let (a, b) = (pre_rank(a), pre_rank(b));
    (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| compare_digits(a.2, b.2))
}

fn compare_post(a: &Version, b: &Version) -> Ordering {
    match (&a.post, &b.post) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => compare_digits(a, b),
    }
}

fn compare_dev(a: &Version, b: &Version) -> Ordering {
    match (&a.dev, &b.dev) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => compare_digits(a, b),
    }
}

fn compare_local(a: &[Vec<u8>], b: &[Vec<u8>]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let is_number = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
        let order = match (is_number(a), is_number(b)) {
            (true, true) => compare_digits(a, b),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

/// Reads a lower-case version piece by piece.
struct Scanner<'v> {
    rest: &'v [u8],
}

impl Scanner<'_> {
    fn digits(&mut self) -> Option<Digits> {
        let n = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(n);
        self.rest = rest;
        (n > 0).then(|| digits.to_vec())
    }

    fn take(&mut self, prefix: &[u8]) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// One of `-`, `_`, `.`, if there is one.
    fn separator(&mut self) {
        if let Some((b'-' | b'_' | b'.', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    /// `[sep] WORD [sep] [number]`; nothing is consumed when no word matches.
    fn labelled<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<(T, Digits)> {
        let start = self.rest;
        self.separator();
        for (word, value) in words {
            if self.take(word.as_bytes()) {
                let after_word = self.rest;
                self.separator();
                let number = self.digits().unwrap_or_else(|| {
                    self.rest = after_word;
                    Vec::new()
                });
                return Some((*value, number));
            }
        }
        self.rest = start;
        None
    }
}

const PRE: [(&str, u8); 8] = [
    ("alpha", 0),
    ("a", 0),
    ("beta", 1),
    ("b", 1),
    ("preview", 2),
    ("pre", 2),
    ("rc", 2),
    ("c", 2),
];

fn parse(text: &str) -> Option<Version> {
    let text = text.trim().to_ascii_lowercase();
    if text.len() > VERSION_BYTES_MAX {
        return None;
    }
    let mut scanner = Scanner { rest: text.as_bytes() };
    scanner.take(b"v");
    let mut first = scanner.digits()?;
    let mut epoch = Vec::new();
    if scanner.take(b"!") {
        epoch = std::mem::replace(&mut first, scanner.digits()?);
    }
    let mut release = vec![first];
    while scanner.rest.first() == Some(&b'.')
        && scanner.rest.get(1).is_some_and(u8::is_ascii_digit)
        && release.len() < NUMBERS_MAX
    {
        scanner.take(b".");
        release.push(scanner.digits()?);
    }
    let pre = scanner.labelled(&PRE);
    let mut post = None;
    if scanner.rest.first() == Some(&b'-') && scanner.rest.get(1).is_some_and(u8::is_ascii_digit) {
        scanner.take(b"-");
        post = scanner.digits();
    } else if let Some(((), number)) = scanner.labelled(&[("post", ()), ("rev", ()), ("r", ())]) {
        post = Some(number);
    }
    let dev = scanner.labelled(&[("dev", ())]).map(|((), number)| number);
    let mut local = Vec::new();
    if scanner.take(b"+") {
        for part in scanner.rest.split(|byte| matches!(byte, b'.' | b'-' | b'_')) {
            if part.is_empty() || !part.iter().all(u8::is_ascii_alphanumeric) {
                return None;
            }
            local.push(part.to_vec());
        }
        scanner.rest = b"";
    }
    scanner.rest.is_empty().then_some(Version { epoch, release, pre, post, dev, local })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_pep_440_says() {
        let sorted = [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1!0.1",
        ];
        for (at, a) in sorted.iter().enumerate() {
            for (other, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), Some(at.cmp(&other)), "{a} {b}");
            }
        }
        for (a, b) in
            [("1.0", "v1.0.0"), ("1.0-1", "1.0.post1"), ("1.0C1", "1.0-rc.1"), ("1.0a", "1a0")]
        {
            assert_eq!(compare(a, b), Some(Ordering::Equal), "{a} {b}");
        }
        assert_eq!(compare("1.0-SNAPSHOT", "1"), None);
        assert_eq!(compare("", "1"), None);
    }
}

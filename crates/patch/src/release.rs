//! `Release` files of Debian repositories (the format is Debian's `RepositoryFormat`).

use std::collections::BTreeMap;

use palisade_base::{Digest, Timestamp};

use crate::PatchError;

/// A `Release` file beyond this many bytes is refused.
pub(crate) const RELEASE_BYTES_MAX: u64 = 16 << 20;
/// Files that one `Release` lists.
const FILES_MAX: usize = 100_000;

/// What a repository says of one suite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Release {
    /// `stable-security`.
    pub suite: String,
    /// `bookworm-security`.
    pub codename: String,
    /// When it was made.
    pub date: Option<Timestamp>,
    /// After this time it is not to be believed.
    pub valid_until: Option<Timestamp>,
    /// Whether indices lie under the names of their digests as well, which do not change while a
    /// mirror is renewed.
    pub by_hash: bool,
    /// Whether packages for every architecture have indices of their own; else those of each
    /// architecture list them too.
    pub all_is_apart: bool,
    /// Files by their path below the suite: SHA-256 and size in bytes.
    pub files: BTreeMap<String, (Digest, u64)>,
}

/// Reads the text of a `Release`.
pub fn read_release(text: &str, name: &str) -> Result<Release, PatchError> {
    let mut release = Release::default();
    let mut section = String::new();
    let mut all_is_within = false;
    let bad = |why: String| PatchError::document(name, why);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix(' ') {
            if section != "sha256" {
                continue;
            }
            let mut words = rest.split_whitespace();
            let (Some(digest), Some(size), Some(path)) = (words.next(), words.next(), words.next())
            else {
                return Err(bad(format!("`{}` is no digest, size and path", cut(rest))));
            };
            let digest: Digest = format!("sha256:{digest}")
                .parse()
                .map_err(|_| bad(format!("`{}` is no SHA-256", cut(digest))))?;
            let size = size.parse().map_err(|_| bad(format!("`{}` is no size", cut(size))))?;
            if release.files.len() >= FILES_MAX {
                return Err(bad(format!("it lists more than {FILES_MAX} files")));
            }
            release.files.insert(path.to_string(), (digest, size));
            continue;
        }
        let Some((key, value)) = line.split_once(':') else { continue };
        section = key.to_ascii_lowercase();
        let value = value.trim();
        match section.as_str() {
            "suite" => release.suite = value.to_string(),
            "acquire-by-hash" => release.by_hash = value.eq_ignore_ascii_case("yes"),
            "architectures" => {
                release.all_is_apart = value.split_whitespace().any(|one| one == "all");
            }
            "no-support-for-architecture-all" => all_is_within = value == "Packages",
            "codename" => release.codename = value.to_string(),
            "date" => release.date = Some(date(value).ok_or_else(|| bad_date(name, value))?),
            "valid-until" => {
                release.valid_until = Some(date(value).ok_or_else(|| bad_date(name, value))?);
            }
            _ => {}
        }
    }
    release.all_is_apart &= !all_is_within;
    if release.files.is_empty() {
        return Err(bad("it lists no file with a SHA-256".into()));
    }
    Ok(release)
}

fn bad_date(name: &str, value: &str) -> PatchError {
    PatchError::document(name, format!("`{}` is no time", cut(value)))
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// `Sat, 11 Jan 2025 10:23:31 UTC`.
fn date(text: &str) -> Option<Timestamp> {
    Timestamp::from_http_date(&text.replace("UTC", "GMT"))
        .or_else(|| Timestamp::from_http_date(&pad(text)?))
}

/// Some repositories write the day and the hour without a leading zero, or `+0000`.
fn pad(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [weekday, day, month, year, time, _zone] = words.as_slice() else { return None };
    Some(format!("{weekday} {day:0>2} {month} {year} {time:0>8} GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_release() {
        let digest = "a".repeat(64);
        let text = format!(
            "Suite: s\nCodename: c\nAcquire-By-Hash: yes\nDate: Sat, 11 Jan 2025 10:23:31 UTC\n\
             Valid-Until: Sat,  8 Feb 2025  9:23:31 +0000\nMD5Sum:\n x 1 y\nSHA256:\n {digest} 12 main/Packages\n"
        );
        let release = read_release(&text, "r").unwrap();
        assert_eq!((release.suite.as_str(), release.codename.as_str()), ("s", "c"));
        assert!(release.by_hash && !release.all_is_apart);
        let check = |head: &str, expected: bool| {
            let release = read_release(&format!("{head}\n{text}"), "r").unwrap();
            assert_eq!(release.all_is_apart, expected, "{head}");
        };
        check("Architectures: amd64", false);
        check("Architectures: all amd64", true);
        check("Architectures: all amd64\nNo-Support-for-Architecture-all: Packages", false);
        assert_eq!(release.files["main/Packages"].1, 12);
        assert_eq!(release.valid_until.unwrap().rfc3339(), "2025-02-08T09:23:31.000000000Z");
    }

    #[test]
    fn refuses_what_is_none() {
        let check = |text: &str, expected: &str| {
            let error = read_release(text, "r").unwrap_err().to_string();
            assert_eq!(error, expected);
        };
        check("", "r: it lists no file with a SHA-256");
        check("SHA256:\n zz 1 p\n", "r: `zz` is no SHA-256");
        check("SHA256:\n zz\n", "r: `zz` is no digest, size and path");
        check("Date: now\n", "r: `now` is no time");
        let line = format!(" {} 1 p", "a".repeat(64));
        let many: Vec<String> = (0..=FILES_MAX).map(|n| format!("{line}{n}")).collect();
        check(&format!("SHA256:\n{}", many.join("\n")), "r: it lists more than 100000 files");
    }
}

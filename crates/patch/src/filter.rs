//! Which files of packages an image takes, and where it puts them: `path-exclude` and
//! `path-include` of `dpkg.cfg(5)`, and the diversions of `dpkg-divert(1)`.

use std::collections::BTreeMap;

use palisade_image::FileKind;

use crate::Files;

/// Patterns of one image.
const PATTERNS_MAX: usize = 10_000;

/// What an image says of paths.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// In their order; whether it includes.
    patterns: Vec<(bool, String)>,
    /// Path, to the path that others than the package get.
    diversions: BTreeMap<String, (String, String)>,
    /// Paths whose mode or owner the image overrides.
    overrides: Vec<String>,
}

impl Paths {
    pub(crate) fn read(files: &Files) -> Self {
        let mut this = Self::default();
        let folder = files.below("etc/dpkg/dpkg.cfg.d/").map(|(path, _)| path);
        for path in folder.chain(["etc/dpkg/dpkg.cfg"]) {
            let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
            for line in text.lines() {
                let line = line.trim().trim_start_matches("--");
                let Some((name, pattern)) = line.split_once(['=', ' ']) else { continue };
                let pattern = pattern.trim().trim_matches(['"', '\'']).to_string();
                let includes = name == "path-include";
                if (includes || name == "path-exclude") && this.patterns.len() < PATTERNS_MAX {
                    this.patterns.push((includes, pattern));
                }
            }
        }
        let text = files.content("var/lib/dpkg/diversions").unwrap_or_default();
        let text = String::from_utf8_lossy(text);
        let mut lines = text.lines();
        while let (Some(from), Some(to), Some(package)) = (lines.next(), lines.next(), lines.next())
        {
            let path = |path: &str| path.trim_start_matches('/').to_string();
            this.diversions.insert(path(from), (path(to), package.to_string()));
        }
        let text = files.content("var/lib/dpkg/statoverride").unwrap_or_default();
        for line in String::from_utf8_lossy(text).lines() {
            if let Some(path) = line.split_whitespace().nth(3) {
                this.overrides.push(path.trim_start_matches('/').to_string());
            }
        }
        this
    }

    /// Whether the image leaves a path out. The last pattern that matches decides; folders and
    /// symbolic links stay where a pattern that includes may match below them, as in dpkg's
    /// `src/main/filters.c`.
    pub(crate) fn is_excluded(&self, path: &str, kind: FileKind) -> bool {
        let absolute = format!("/{path}");
        let mut decides = self.patterns.iter().rev();
        let decided = decides.find(|(_, pattern)| matches(pattern.as_bytes(), absolute.as_bytes()));
        if decided.is_none_or(|(includes, _)| *includes) {
            return false;
        }
        let is_open = matches!(kind, FileKind::Folder | FileKind::Symlink);
        !(is_open
            && self.patterns.iter().filter(|(includes, _)| *includes).any(|(_, pattern)| {
                let end = pattern.find(['*', '?', '[', '\\']).unwrap_or(pattern.len());
                let literal = pattern.get(..end).unwrap_or_default().trim_end_matches('/');
                absolute.starts_with(literal)
            }))
    }

    /// Where a package's path lies once diversions are followed.
    pub(crate) fn diverted<'p>(&'p self, path: &'p str, package: &str) -> &'p str {
        match self.diversions.get(path) {
            Some((to, by)) if by != package => to,
            _ => path,
        }
    }

    pub(crate) fn is_overridden(&self, path: &str) -> bool {
        self.overrides.iter().any(|one| one == path)
    }
}

/// `fnmatch(3)` without flags, as dpkg calls it: a star matches slashes. Linear in the product
/// of both lengths; classes of characters are taken as they are written.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => {
                p += 1;
                t += 1;
                continue;
            }
            Some(b'\\') if pattern.get(p + 1) == text.get(t) => {
                p += 2;
                t += 1;
                continue;
            }
            Some(one) if Some(one) == text.get(t) => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((at, from)) = star else { return false };
        (p, t) = (at + 1, from + 1);
        star = Some((at, from + 1));
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|one| *one == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        };
        check("/usr/share/doc/*", "/usr/share/doc/a/copyright", true);
        check("/usr/share/doc/*", "/usr/share/doc", false);
        check("/usr/share/doc/*/copyright", "/usr/share/doc/a/copyright", true);
        check("/usr/share/doc/*/copyright", "/usr/share/doc/a/changelog", false);
        check("*", "", true);
        check("a?c", "abc", true);
        check("a?c", "ac", false);
        check("a\\*c", "a*c", true);
        check("a\\*c", "abc", false);
        check("**a*b", "xxaxb", true);
        check("", "", true);
        check(&"*a".repeat(50), &"b".repeat(5000), false);
    }
}

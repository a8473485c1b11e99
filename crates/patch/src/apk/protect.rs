//! Folders whose changed files apk keeps: `etc`, and what `protected_paths.d` names
//! (apk-tools `src/database.c`, `apk_db_dir_get`).

use crate::Files;
use crate::filter::matches;

/// Patterns of one image.
const PATTERNS_MAX: usize = 10_000;

/// What an image protects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Protected {
    /// Components of the pattern; whether it protects.
    patterns: Vec<(Vec<String>, bool)>,
}

impl Protected {
    pub(crate) fn read(files: &Files) -> Self {
        let mut this = Self::default();
        for line in ["+etc", "@etc/init.d", "!etc/apk"] {
            this.add(line);
        }
        for (path, _) in files.below("etc/apk/protected_paths.d/") {
            if std::path::Path::new(path).extension().is_some_and(|it| it == "list") {
                let text = String::from_utf8_lossy(files.content(path).unwrap_or_default());
                text.lines().for_each(|line| this.add(line));
            }
        }
        this
    }

    fn add(&mut self, line: &str) {
        let (protects, pattern) = match line.chars().next() {
            None | Some('#') => return,
            Some('-') => (false, line.get(1..).unwrap_or_default()),
            Some('+' | '@' | '!') => (true, line.get(1..).unwrap_or_default()),
            Some(_) => (true, line),
        };
        let pattern = pattern.trim_matches('/').split('/').map(str::to_string).collect();
        if self.patterns.len() < PATTERNS_MAX {
            self.patterns.push((pattern, protects));
        }
    }

    /// Whether changed files of a folder are kept: the last pattern of the deepest folder that
    /// has one decides.
    pub(crate) fn protects(&self, folder: &str) -> bool {
        let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        let fits = |pattern: &[String], depth: usize| {
            pattern.len() == depth
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(p, part)| matches(p.as_bytes(), part.as_bytes()))
        };
        let decides = |depth: usize| {
            let mut all = self.patterns.iter().rev();
            all.find(|(pattern, _)| fits(pattern, depth)).map(|(_, protects)| *protects)
        };
        (1..=parts.len()).rev().find_map(decides).unwrap_or(false)
    }
}

/// Whether a trigger's pattern names a folder (`fnmatch(3)` with `FNM_PATHNAME`).
pub(crate) fn names_folder(pattern: &str, folder: &str) -> bool {
    let pattern = pattern.strip_prefix('+').unwrap_or(pattern);
    let Some(pattern) = pattern.strip_prefix('/') else { return false };
    let (pattern, folder): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), folder.split('/').collect());
    pattern.len() == folder.len()
        && pattern.iter().zip(&folder).all(|(p, part)| matches(p.as_bytes(), part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_pattern_decides() {
        let mut protected = Protected::default();
        for line in ["+etc", "# c", "", "-etc/ssl/*", "opt/*/conf", "+etc/ssl/keep"] {
            protected.add(line);
        }
        let check = |folder: &str, expected: bool| {
            assert_eq!(protected.protects(folder), expected, "{folder}");
        };
        check("etc", true);
        check("etc/a/b", true);
        check("etc/ssl", true);
        check("etc/ssl/certs/x", false);
        check("etc/ssl/keep", true);
        check("opt/a/conf/d", true);
        check("opt/a", false);
        check("", false);
        check("usr/etc", false);
    }

    #[test]
    fn triggers_name_folders() {
        let check = |pattern: &str, folder: &str, expected: bool| {
            assert_eq!(names_folder(pattern, folder), expected, "{pattern} {folder}");
        };
        check("/usr/bin", "usr/bin", true);
        check("+/usr/bin", "usr/bin", true);
        check("/lib/modules/*", "lib/modules/6.1", true);
        check("/lib/modules/*", "lib/modules/6.1/kernel", false);
        check("usr/bin", "usr/bin", false);
        check("/", "", true);
    }
}

//! Packages that the configuration of dnf, yum and zypper keeps from being upgraded.
//!
//! A lock holds every version: what it would still allow is dnf's or zypper's to decide. What
//! cannot be read holds everything, and says why.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Files;
use crate::installed::Installed;

use super::repos;

/// Lines of one list, or packages of one document.
const LOCKS_MAX: usize = 1_000;
/// Of the plugin `versionlock` of yum and dnf 4.
const LISTS: [&str; 2] =
    ["etc/dnf/plugins/versionlock.list", "etc/yum/pluginconf.d/versionlock.list"];
/// Of dnf 5 (`dnf5-versionlock(8)`).
const DOCUMENT: &str = "etc/dnf/versionlock.toml";
/// Of zypper (`zypper(8)`, package locks; libzypp's `locks`).
const ZYPP: &str = "etc/zypp/locks";

/// What one file locks.
enum Locked<'a> {
    /// Packages that a pattern means; the flag: names alone, without regard to case.
    Matching(&'a str, bool),
    /// Packages of which the name has a text in it.
    Having(&'a str),
    /// Everything, for this reason.
    All(String),
}

impl Locked<'_> {
    fn is(&self, one: &Installed) -> bool {
        match self {
            Self::Matching(pattern, false) => is_locked(pattern, one),
            Self::Matching(pattern, true) => {
                repos::is_match(&pattern.to_lowercase(), &one.name.to_lowercase())
            }
            Self::Having(text) => one.name.to_lowercase().contains(&text.to_lowercase()),
            Self::All(_) => true,
        }
    }
}

/// Packages that are held, with the reason.
pub(super) fn held(files: &Files, installed: &[Installed]) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for path in LISTS.into_iter().chain([DOCUMENT, ZYPP]) {
        let Some(content) = files.content(path) else { continue };
        let text = String::from_utf8_lossy(content);
        let too_many = || vec![Locked::All(format!("has more than {LOCKS_MAX} lines"))];
        let document;
        let locks = match path {
            // Each takes some lines.
            ZYPP if text.lines().nth(8 * LOCKS_MAX).is_some() => too_many(),
            ZYPP => zypp(&text),
            DOCUMENT => {
                document = toml::from_str::<Document>(&text);
                match &document {
                    Ok(document) if document.packages.len() > LOCKS_MAX => too_many(),
                    Ok(document) => document.locks(),
                    Err(error) => vec![Locked::All(format!("is malformed ({})", error.message()))],
                }
            }
            _ if text.lines().nth(LOCKS_MAX).is_some() => too_many(),
            _ => list(&text),
        };
        for lock in &locks {
            let why = match lock {
                Locked::All(why) => format!("`/{path}` {why} and is not read"),
                _ => format!("`/{path}` locks its version"),
            };
            for one in installed.iter().filter(|one| lock.is(one)) {
                held.entry(one.name.clone()).or_insert_with(|| why.clone());
            }
        }
    }
    held
}

/// A line locks or, with `!`, excludes a version; what is excluded alone may be upgraded.
fn list(text: &str) -> Vec<Locked<'_>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .filter(|line| !line.starts_with(['#', '!']))
        .map(|line| Locked::Matching(line, false))
        .collect()
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    packages: Vec<DocumentPackage>,
}

#[derive(Deserialize)]
struct DocumentPackage {
    name: String,
}

impl Document {
    fn locks(&self) -> Vec<Locked<'_>> {
        self.packages.iter().map(|package| Locked::Matching(&package.name, true)).collect()
    }
}

/// Paragraphs of `key: value`; names may be several.
fn zypp(text: &str) -> Vec<Locked<'_>> {
    let mut locks = Vec::new();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.starts_with('#')).collect();
    for paragraph in lines.split(|line| line.is_empty()) {
        let values = |wanted: &str| -> Vec<&str> {
            let pairs = paragraph.iter().filter_map(|line| line.split_once(':'));
            pairs.filter(|(key, _)| key.trim() == wanted).map(|(_, value)| value.trim()).collect()
        };
        let kinds = values("type");
        // A lock of a patch or a pattern is none of a package.
        if paragraph.is_empty() || !(kinds.is_empty() || kinds.contains(&"package")) {
            continue;
        }
        let names = values("solvable_name");
        if names.is_empty() {
            locks.push(Locked::All("locks what it does not name".into()));
        }
        let way = values("match_type").first().copied().unwrap_or("substring");
        locks.extend(names.into_iter().map(|name| match way {
            "glob" | "exact" => Locked::Matching(name, true),
            "substring" | "word" => Locked::Having(name),
            other => Locked::All(format!("has a lock of the kind `{}`", printable(other))),
        }));
    }
    locks
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// Whether `[EPOCH:]NAME-VERSION-RELEASE[.ARCH]`, whose parts may be patterns, means a package.
fn is_locked(line: &str, one: &Installed) -> bool {
    let (epoch, plain) = one.version.split_once(':').unwrap_or(("0", &one.version));
    let (name, architecture) = (&one.name, &one.architecture);
    [
        name.clone(),
        format!("{name}-{plain}"),
        format!("{epoch}:{name}-{plain}"),
        format!("{name}-{epoch}:{plain}"),
    ]
    .iter()
    .flat_map(|form| [form.clone(), format!("{form}.*"), format!("{form}.{architecture}")])
    .any(|form| repos::is_match(line, &form) || form == line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> Installed {
        Installed {
            name: name.into(),
            version: "1:2.0-3.el9".into(),
            architecture: "x86_64".into(),
            ..Installed::default()
        }
    }

    #[test]
    fn lines_of_versionlock() {
        let one = package("shop-lib");
        let check =
            |line: &str, expected: bool| assert_eq!(is_locked(line, &one), expected, "{line}");
        check("shop-lib-1:2.0-3.el9.*", true);
        check("1:shop-lib-2.0-3.el9.*", true);
        check("shop-lib", true);
        check("shop-*", true);
        check("shop-lib-2.0-3.el9.x86_64", true);
        check("shop", false);
        check("shop-lib-2.0-4.el9.*", false);
    }

    /// What `text` at `path` holds of three packages.
    fn held_by(path: &str, text: &str) -> Vec<(String, String)> {
        let mut files = Files::default();
        files.put(path, Some(text.as_bytes().to_vec()));
        let installed = ["shop", "shop-lib", "other"].map(package);
        held(&files, &installed).into_iter().collect()
    }

    fn names(path: &str, text: &str) -> Vec<String> {
        held_by(path, text).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn lists_are_bounded() {
        let text = "absent\n".repeat(LOCKS_MAX);
        assert_eq!(names(LISTS[0], &text), [""; 0]);
        let held = held_by(LISTS[0], &(text + "absent\n"));
        assert_eq!(held.len(), 3);
        assert!(held[0].1.contains("more than 1000 lines"), "{held:?}");
        assert_eq!(names(LISTS[1], "# a comment\n!other\n shop-lib-1:2.0-3.el9.*\n"), ["shop-lib"]);
    }

    #[test]
    fn the_document_of_dnf_5() {
        let text = "version = \"1.0\"\n\n[[packages]]\nname = \"shop\"\n\n\
            [[packages.conditions]]\nkey = \"evr\"\ncomparator = \"=\"\nvalue = \"1:2.0-3.el9\"\n";
        assert_eq!(names(DOCUMENT, text), ["shop"]);
        assert_eq!(names(DOCUMENT, "version = \"1.0\"\n"), [""; 0]);
        let held = held_by(DOCUMENT, "version = \"1.0\n");
        assert_eq!(held.len(), 3);
        assert!(held[0].1.contains("/etc/dnf/versionlock.toml` is malformed"), "{held:?}");
    }

    #[test]
    fn locks_of_zypper() {
        let lock = |way: &str, name: &str| {
            format!(
                "\ntype: package\nmatch_type: {way}\ncase_sensitive: on\nsolvable_name: {name}\n\n"
            )
        };
        assert_eq!(names(ZYPP, &lock("glob", "shop-*")), ["shop-lib"]);
        assert_eq!(
            names(ZYPP, &(lock("glob", "shop") + &lock("exact", "other"))),
            ["other", "shop"]
        );
        assert_eq!(names(ZYPP, &lock("substring", "LIB")), ["shop-lib"]);
        assert_eq!(names(ZYPP, &lock("glob", "shop").replace("package", "patch")), [""; 0]);
        assert_eq!(names(ZYPP, "# nothing\n\n"), [""; 0]);
        let held = held_by(ZYPP, &lock("regex", "^sh.*$"));
        assert_eq!(held.len(), 3);
        assert!(held[0].1.contains("a lock of the kind `regex`"), "{held:?}");
        let held = held_by(ZYPP, "type: package\nrepo: update\n");
        assert!(held[0].1.contains("does not name"), "{held:?}");
    }
}

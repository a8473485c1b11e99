//! What an upgrade would execute: maintainer scripts, and triggers of other packages
//! (`deb-triggers(5)`).

use std::collections::BTreeMap;

use crate::Files;
use crate::deb::Deb;

/// Where the trigger that renews the cache of the dynamic linker has its name.
const LDCONFIG: &str = "ldconfig";

/// The lines of a `triggers` file with these first words, whatever their `-noawait`.
fn lines<'t>(text: &'t str, kind: &str) -> Vec<&'t str> {
    let read = |line: &'t str| {
        let mut words = line.split_whitespace();
        let verb = words.next()?;
        let verb = verb.trim_end_matches("-noawait").trim_end_matches("-await");
        (verb == kind).then(|| words.next())?
    };
    text.lines().filter_map(read).collect()
}

/// What a package is interested in.
pub(crate) fn interests(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let mut all: Vec<String> = lines(&text, "interest").into_iter().map(str::to_string).collect();
    all.sort_unstable();
    all
}

/// Who is interested in a trigger by name.
fn interested(files: &Files, trigger: &str) -> Vec<String> {
    let text = files.content(&format!("var/lib/dpkg/triggers/{trigger}")).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let names = text.lines().filter_map(|line| line.split(['/', ' ']).next());
    names.filter(|name| !name.is_empty()).map(str::to_string).collect()
}

/// What would be executed for an upgrade, in words: `postinst`, `the trigger ldconfig of
/// libc-bin`.
pub(crate) fn executed(
    files: &Files,
    info: &str,
    deb: &Deb,
    paths: &[String],
    libraries_are_same: bool,
) -> Vec<String> {
    let mut all = Vec::new();
    let has_old = |name: &str| files.get(&format!("{info}.{name}")).is_some();
    all.extend(has_old("prerm").then(|| "prerm".to_string()));
    all.extend(deb.control.contains_key("preinst").then(|| "preinst".to_string()));
    all.extend(has_old("postrm").then(|| "postrm".to_string()));
    all.extend(deb.control.contains_key("postinst").then(|| "postinst".to_string()));
    for one in activated(files, deb, paths, libraries_are_same) {
        let text = format!("the trigger {} of {}", one.trigger, one.package);
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// A trigger that an upgrade activates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Activated {
    /// Its name, or the path that the package is interested in.
    pub(crate) trigger: String,
    /// The package whose `postinst` is executed.
    pub(crate) package: String,
}

/// The triggers that an upgrade activates, by its own word and by the paths of its files.
pub(crate) fn activated(
    files: &Files,
    deb: &Deb,
    paths: &[String],
    libraries_are_same: bool,
) -> Vec<Activated> {
    let mut all = Vec::new();
    if let Some(file) = deb.control.get("triggers") {
        let text = String::from_utf8_lossy(&file.content);
        for trigger in lines(&text, "activate") {
            // The cache names libraries by path: with the same names it stays as it is.
            if trigger == LDCONFIG && libraries_are_same {
                continue;
            }
            let of = interested(files, trigger).into_iter();
            all.extend(of.map(|package| Activated { trigger: trigger.to_string(), package }));
        }
    }
    for (path, package) in file_triggers(files) {
        let folder = format!("{path}/");
        if paths.iter().any(|one| *one == path || one.starts_with(&folder)) {
            all.push(Activated { trigger: format!("/{path}"), package });
        }
    }
    all
}

/// Paths in which packages are interested.
fn file_triggers(files: &Files) -> BTreeMap<String, String> {
    let text = files.content("var/lib/dpkg/triggers/File").unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let read = |line: &str| {
        let (path, package) = line.split_once(' ')?;
        let package = package.split('/').next()?;
        Some((path.trim_start_matches('/').to_string(), package.to_string()))
    };
    text.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_read() {
        let text = "# c\nactivate-noawait ldconfig\ninterest /b\ninterest-await a\nactivate x\n";
        assert_eq!(lines(text, "activate"), ["ldconfig", "x"]);
        assert_eq!(interests(text.as_bytes()), ["/b", "a"]);
    }
}

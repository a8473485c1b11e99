//! Yarn: `yarn.lock` of version 1 and of Berry. Both are entries of one or more selectors at
//! the margin and indented fields, and are read by lines.

use palisade_model::PackageKind;

use super::{CatalogFile, Cataloger, FilePath};
use crate::Sink;

/// The cataloger of Yarn's lock files. They do not tell what is for development alone.
pub(super) struct YarnLock;

impl Cataloger for YarnLock {
    fn name(&self) -> &'static str {
        "yarn-lock"
    }

    fn wants(&self, path: &FilePath<'_>) -> bool {
        path.name == "yarn.lock" && !path.is_in_package()
    }

    fn catalog(&self, file: &CatalogFile<'_>, sink: &mut Sink) {
        let Some(text) = file.text(sink) else {
            return;
        };
        let mut name: Option<String> = None;
        let mut n_bad = 0_u64;
        for line in text.lines() {
            let bare = line.trim_end();
            if bare.is_empty() || bare.starts_with('#') {
                continue;
            }
            if !bare.starts_with(' ') {
                let selectors = bare.strip_suffix(':');
                n_bad += u64::from(selectors.is_none());
                name = selectors.and_then(selected_name);
                continue;
            }
            // Fields of the entry have two blanks; deeper ones are its dependencies.
            let Some(field) = bare.strip_prefix("  ").filter(|field| !field.starts_with(' '))
            else {
                continue;
            };
            if let Some(version) = value(field, "version")
                && let Some(name) = name.take()
            {
                sink.add(file.declared(PackageKind::Node, name, version));
            }
        }
        if n_bad > 0 {
            sink.gap(file.path, format!("{n_bad} lines cannot be read as Yarn's"));
        }
    }
}

/// The value of the field `key`, written `key "value"` or `key: value`.
fn value<'l>(field: &'l str, key: &str) -> Option<&'l str> {
    let rest = field.strip_prefix(key)?;
    let rest = rest.strip_prefix(':').unwrap_or(rest).strip_prefix(' ')?;
    Some(rest.trim_matches('"')).filter(|value| !value.is_empty())
}

/// The package's name of `"a@npm:^1", "a@^2"`; nothing for what comes from the project itself.
fn selected_name(selectors: &str) -> Option<String> {
    let first = selectors.split(", ").next()?.trim_matches('"');
    let at = first.get(1..)?.find('@')? + 1;
    let (name, range) = (first.get(..at)?, first.get(at + 1..)?);
    let local = ["workspace:", "link:", "portal:", "file:"];
    if local.iter().any(|scheme| range.starts_with(scheme)) {
        return None;
    }
    // An alias names the real package in its range.
    let alias = range.strip_prefix("npm:").and_then(|range| {
        let at = range.get(1..)?.find('@')? + 1;
        range.get(..at)
    });
    Some(alias.unwrap_or(name).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(selected_name(text).as_deref(), expected, "{text}");
        };
        check("a@^1.0", Some("a"));
        check("\"@s/a@^1.0\", \"@s/a@^1.1\"", Some("@s/a"));
        check("\"a@npm:^1.0, a@npm:^1.1\"", Some("a"));
        check("\"alias@npm:real@^1\"", Some("real"));
        check("\"alias@npm:@s/real@^1\"", Some("@s/real"));
        check("\"a@workspace:.\"", None);
        check("__metadata", None);
        check("", None);
        check("é", None);
    }
}

//! dpkg's database: its status, and what `info` holds of each package.

use std::fmt::Write as _;

use crate::control::{Stanza, stanzas};

/// The order in which dpkg writes fields (`lib/dpkg/parse.c`); others follow as they came.
const ORDER: &[&str] = &[
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
    "Description",
];

/// A configuration file that dpkg knows of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conffile {
    /// Path without a leading slash.
    pub(crate) path: String,
    /// MD5 of the package's file, in hexadecimal.
    pub(crate) md5: String,
    pub(crate) is_obsolete: bool,
}

/// The configuration files of a stanza of the status.
pub(crate) fn conffiles(stanza: &Stanza) -> Vec<Conffile> {
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (path, md5) = (words.next()?, words.next()?);
        Some(Conffile {
            path: path.trim_start_matches('/').to_string(),
            md5: md5.to_string(),
            is_obsolete: words.any(|word| word == "obsolete"),
        })
    };
    stanza.get("Conffiles").unwrap_or_default().lines().filter_map(read).collect()
}

/// The stanza that dpkg writes for an installed package.
pub(crate) fn installed_stanza(control: &Stanza, conffiles: &[Conffile]) -> String {
    let mut out = String::new();
    let mut list = String::new();
    for one in conffiles {
        let obsolete = if one.is_obsolete { " obsolete" } else { "" };
        let _ = write!(list, "\n /{} {}{obsolete}", one.path, one.md5);
    }
    let mut put = |name: &str, value: &str| {
        let blank = if value.starts_with('\n') { "" } else { " " };
        let _ = writeln!(out, "{name}:{blank}{value}");
    };
    for name in ORDER {
        match *name {
            "Status" => put(name, "install ok installed"),
            "Conffiles" if list.is_empty() => {}
            "Conffiles" => put(name, &list),
            _ => {
                if let Some(value) = control.get(name) {
                    put(name, value);
                }
            }
        }
    }
    for (name, value) in &control.fields {
        if !ORDER.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            put(name, value);
        }
    }
    out
}

/// The status with one package's stanza replaced; every other byte stays. Nothing when the
/// package is not in it.
pub(crate) fn replace(
    status: &str,
    package: &str,
    architecture: &str,
    stanza: &str,
) -> Option<String> {
    let mut from = 0;
    while from < status.len() {
        let rest = status.get(from..)?;
        let length = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
        let one = stanzas(rest.get(..length)?.as_bytes()).into_iter().next().unwrap_or_default();
        if one.get("Package") == Some(package) && one.get("Architecture") == Some(architecture) {
            let (before, after) = (status.get(..from)?, status.get(from + length..)?);
            return Some(format!("{before}{stanza}{after}"));
        }
        from += length + usize::from(length < rest.len());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stanza_is_replaced_and_no_other_byte() {
        let status = "Package: a\nArchitecture: x\n\nPackage: b\nArchitecture: x\nOdd:  y\n\n\
                      Package: b\nArchitecture: z\n";
        let check = |package: &str, architecture: &str, expected: Option<&str>| {
            let found = replace(status, package, architecture, "NEW\n");
            assert_eq!(found.as_deref(), expected, "{package} {architecture}");
        };
        check(
            "b",
            "x",
            Some("Package: a\nArchitecture: x\n\nNEW\n\nPackage: b\nArchitecture: z\n"),
        );
        check(
            "b",
            "z",
            Some("Package: a\nArchitecture: x\n\nPackage: b\nArchitecture: x\nOdd:  y\n\nNEW\n"),
        );
        check("c", "x", None);
    }

    #[test]
    fn a_stanza_is_written_as_dpkg_does() {
        let control =
            "Package: a\nVersion: 2\nArchitecture: x\nHomepage: h\nDescription: s\n long\n";
        let control = stanzas(control.as_bytes()).remove(0);
        let one = Conffile { path: "etc/a".into(), md5: "0".into(), is_obsolete: true };
        assert_eq!(
            installed_stanza(&control, std::slice::from_ref(&one)),
            "Package: a\nStatus: install ok installed\nArchitecture: x\nVersion: 2\n\
             Conffiles:\n /etc/a 0 obsolete\nDescription: s\n long\nHomepage: h\n"
        );
        let text = installed_stanza(&control, std::slice::from_ref(&one));
        assert_eq!(conffiles(&stanzas(text.as_bytes())[0]), [one]);
    }
}

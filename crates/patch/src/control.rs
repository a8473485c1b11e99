//! Control files with their whole values: of dpkg, and of apt's configuration.

use crate::installed::Installed;
use crate::relation::{Relation, relations};

/// Stanzas of one file.
const STANZAS_MAX: usize = 500_000;

/// One stanza: fields in order, values with their further lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stanza {
    pub(crate) fields: Vec<(String, String)>,
}

impl Stanza {
    /// The value of a field; names have no case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn relations(&self, names: &[&str]) -> Vec<Relation> {
        names.iter().filter_map(|name| self.get(name)).flat_map(relations).collect()
    }
}

/// The stanzas of a file. Invalid UTF-8 is replaced.
pub(crate) fn stanzas(bytes: &[u8]) -> Vec<Stanza> {
    let text = String::from_utf8_lossy(bytes);
    let (mut all, mut stanza) = (Vec::new(), Stanza::default());
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            if !stanza.fields.is_empty() && all.len() < STANZAS_MAX {
                all.push(std::mem::take(&mut stanza));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.fields.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if !line.starts_with('#')
            && let Some((name, value)) = line.split_once(':')
        {
            stanza.fields.push((name.to_string(), value.trim().to_string()));
        }
    }
    all
}

/// The packages of `var/lib/dpkg/status` that have files.
pub(crate) fn installed(bytes: &[u8]) -> Vec<Installed> {
    stanzas(bytes).iter().filter_map(|stanza| installed_of(stanza, true)).collect()
}

/// The package of a stanza, if it is installed; without a status it is where none is kept.
pub(crate) fn installed_of(stanza: &Stanza, has_status: bool) -> Option<Installed> {
    let status = match stanza.get("Status") {
        None if !has_status => "install ok installed",
        status => status?,
    };
    let mut words = status.split_whitespace();
    let (want, _, state) = (words.next()?, words.next()?, words.next()?);
    if matches!(state, "not-installed" | "config-files") {
        return None;
    }
    Some(Installed {
        name: stanza.get("Package")?.to_string(),
        version: stanza.get("Version")?.to_string(),
        architecture: stanza.get("Architecture").unwrap_or_default().to_string(),
        is_held: want == "hold",
        module: None,
        depends: stanza.relations(&["Pre-Depends", "Depends"]),
        breaks: stanza.relations(&["Breaks", "Conflicts"]),
        provides: stanza.relations(&["Provides"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_further_lines() {
        let all = stanzas(b"Package: a\nConffiles:\n /etc/a 1234\n\n# c\n x\n");
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].get("conffiles"), Some("\n /etc/a 1234"));
    }

    #[test]
    fn only_what_has_files_is_installed() {
        let text = "Package: a\nVersion: 1\nStatus: hold ok installed\n\n\
                    Package: b\nVersion: 1\nStatus: deinstall ok config-files\n\nPackage: c\n";
        let all = installed(text.as_bytes());
        assert_eq!(all.len(), 1);
        assert!(all[0].is_held);
    }
}

//! Where an image's apt looks for packages: `sources.list(5)`, both forms.

use crate::{Files, PatchError};

/// Suites of one image.
const SOURCES_MAX: usize = 200;

/// Whom a source lets sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SignedBy {
    /// Files of keys in the image.
    Files(Vec<String>),
    /// Fingerprints of keys of the image.
    Fingerprints(Vec<String>),
    /// An armoured key.
    Key(String),
}

/// One suite of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptSource {
    /// File of the image that names it.
    pub file: String,
    /// Address of the repository, without a slash at its end.
    pub address: String,
    /// `bookworm-security`; a path that ends with a slash in a flat repository.
    pub suite: String,
    /// `main`; none in a flat repository.
    pub components: Vec<String>,
    /// The architectures that it is used for; all without.
    pub architectures: Vec<String>,
    pub(crate) signed_by: Option<SignedBy>,
}

impl Files {
    /// These files with other sources: a file `name` (`.list` or `.sources`) with `text` instead of
    /// the image's own, and the keyrings that it names, read by `read`.
    #[must_use]
    pub fn with_sources(
        &self,
        name: &str,
        text: &[u8],
        read: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Self {
        let mut files = self.clone();
        let own: Vec<String> = files.below("etc/apt/").map(|(path, _)| path.to_string()).collect();
        for path in own.iter().filter(|path| path.starts_with("etc/apt/sources.list")) {
            files.put(path, None);
        }
        files.put(&format!("etc/apt/sources.list.d/{name}"), Some(text.to_vec()));
        let (sources, _) = read_sources(&files).unwrap_or_default();
        for source in sources {
            let Some(SignedBy::Files(paths)) = source.signed_by else { continue };
            for path in paths {
                files.put(path.trim_start_matches('/'), read(&path));
            }
        }
        files
    }
}

/// The sources of an image, and lines that cannot be read.
pub fn read_sources(files: &Files) -> Result<(Vec<AptSource>, Vec<String>), PatchError> {
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    let in_folder = files.below("etc/apt/sources.list.d/").map(|(path, _)| path);
    for path in std::iter::once("etc/apt/sources.list").chain(in_folder) {
        let Some(bytes) = files.content(path) else { continue };
        let text = String::from_utf8_lossy(bytes);
        let is_list = std::path::Path::new(path).extension();
        match is_list.and_then(|extension| extension.to_str()) {
            Some("list") => read_sources_list(&text, path, &mut sources, &mut problems),
            Some("sources") => read_stanzas(&text, path, &mut sources, &mut problems),
            _ => {}
        }
        if sources.len() > SOURCES_MAX {
            return Err(PatchError::document(path, format!("more than {SOURCES_MAX} suites")));
        }
    }
    Ok((sources, problems))
}

/// Reads the form with one line for each suite.
pub fn read_sources_list(
    text: &str,
    path: &str,
    sources: &mut Vec<AptSource>,
    problems: &mut Vec<String>,
) {
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))
        else {
            if !line.is_empty() && !line.starts_with("deb-src") {
                problems.push(format!("{path}:{number}: no line of sources.list(5)"));
            }
            continue;
        };
        let (options, rest) = match rest.trim().strip_prefix('[') {
            Some(rest) => rest.split_once(']').unwrap_or((rest, "")),
            None => ("", rest),
        };
        let mut words = rest.split_whitespace().map(str::to_string);
        let address = words.next().map(|it| it.trim_end_matches('/').to_string());
        let (Some(address), Some(suite)) = (address.filter(|it| !it.is_empty()), words.next())
        else {
            problems.push(format!("{path}:{number}: no address and suite"));
            continue;
        };
        let option = |name: &str| {
            options.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        sources.push(AptSource {
            file: path.to_string(),
            address,
            suite,
            components: words.collect(),
            architectures: list(option("arch").unwrap_or_default()),
            signed_by: option("signed-by").and_then(signed_by),
        });
    }
}

fn list(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|word| !word.is_empty()).map(str::to_string).collect()
}

fn signed_by(text: &str) -> Option<SignedBy> {
    if text.contains("BEGIN PGP PUBLIC KEY BLOCK") {
        // An empty line is written as a dot.
        let lines = text.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
        let lines: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
        return Some(SignedBy::Key(lines.join("\n") + "\n"));
    }
    let words = list(text);
    match words.first() {
        None => None,
        Some(word) if word.starts_with('/') => Some(SignedBy::Files(words)),
        Some(_) => Some(SignedBy::Fingerprints(words)),
    }
}

/// Reads the form of stanzas (deb822).
fn read_stanzas(text: &str, path: &str, sources: &mut Vec<AptSource>, problems: &mut Vec<String>) {
    for stanza in crate::control::stanzas(text.as_bytes()) {
        let field = |name: &str| stanza.get(name).unwrap_or_default().to_string();
        let is_binary = list(&field("Types")).iter().any(|kind| kind == "deb");
        if field("Enabled").trim().eq_ignore_ascii_case("no") || !is_binary {
            continue;
        }
        let (addresses, suites) = (list(&field("URIs")), list(&field("Suites")));
        if addresses.is_empty() || suites.is_empty() {
            problems.push(format!("{path}: a stanza without URIs or Suites"));
        }
        for address in addresses.iter().map(|it| it.trim_end_matches('/')) {
            if address.is_empty() {
                problems.push(format!("{path}: a stanza with an address that is none"));
                continue;
            }
            sources.extend(suites.iter().map(|suite| AptSource {
                file: path.to_string(),
                address: address.to_string(),
                suite: suite.clone(),
                components: list(&field("Components")),
                architectures: list(&field("Architectures")),
                signed_by: signed_by(&field("Signed-By")),
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        let (mut sources, mut problems) = (Vec::new(), Vec::new());
        let text = "# c\ndeb [arch=amd64 signed-by=/k.gpg] http://a/debian/ s main contrib\n\
                    deb-src http://a s main\nnonsense\ndeb http://flat ./\ndeb / s\n";
        read_sources_list(text, "l", &mut sources, &mut problems);
        assert_eq!(problems, ["l:4: no line of sources.list(5)", "l:6: no address and suite"]);
        assert_eq!(sources[0].address, "http://a/debian");
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert_eq!(sources[0].signed_by, Some(SignedBy::Files(vec!["/k.gpg".into()])));
        assert_eq!(sources[1].suite, "./");
        sources.clear();
        let text = "Types: deb deb-src\nURIs: http://a\n http://b\nSuites: s s-updates\n\
                    Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n\n\
                    Types: deb\nEnabled: no\nURIs: http://c\nSuites: s\n";
        read_stanzas(text, "s", &mut sources, &mut problems);
        assert_eq!(sources.len(), 4);
        let key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n";
        assert_eq!(sources[0].signed_by, Some(SignedBy::Key(key.into())));
    }
}

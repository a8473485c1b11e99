//! `registries.d`: where the signatures of a registry's images lie (containers-registries.d(5)).
//!
//! As its own reader: every `*.yaml` of one folder counts, the most specific scope that says
//! something wins, then `default-docker`, and what stands twice makes the whole folder
//! unusable. A key that nobody knows is passed over there and is a warning here.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use palisade_base::yaml::{self, Dialect, Key, Node, Place, Value};
use palisade_base::{Diagnostic, Digest, Location, Severity, read_bounded, suggest};

use super::reference::Reference;

/// Largest file, in bytes.
pub const REGISTRIES_D_BYTES_MAX: u64 = 1 << 20;
/// Files of one folder.
const FILES_MAX: usize = 1024;
/// Scopes of all files.
const SCOPES_MAX: usize = 65_536;
const DIALECT: Dialect = Dialect {
    name: "a file of registries.d",
    document: "file",
    depth_max: 8,
    n_nodes_max: 100_000,
};
const KEYS: [&str; 5] =
    ["lookaside", "lookaside-staging", "sigstore", "sigstore-staging", "use-sigstore-attachments"];

/// Where a folder of signatures is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookasideBase {
    /// On disk, as an absolute path.
    Folder(PathBuf),
    /// On a server, `http://` or `https://`, without a slash at its end.
    Url(String),
}

impl LookasideBase {
    /// Reads a URL.
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text.starts_with("http://") || text.starts_with("https://") {
            let rest = text.split_once("://").map_or("", |(_, rest)| rest);
            if rest.contains(['?', '#']) || rest.starts_with('/') || rest.is_empty() {
                return Err("a server's address is http(s)://HOST/PATH");
            }
            return Ok(Self::Url(text.trim_end_matches('/').to_string()));
        }
        let Some(path) = text.strip_prefix("file://") else {
            return Err("it is none of file://, http:// and https://");
        };
        let path = path.strip_prefix("localhost").filter(|it| it.starts_with('/')).unwrap_or(path);
        let path = unescape(path).ok_or("it holds a broken escape")?;
        let is_clean = path.starts_with('/')
            && !path.split('/').any(|part| part == "..")
            && !path.contains('\0');
        if is_clean { Ok(Self::Folder(path.into())) } else { Err("its path is not absolute") }
    }

    /// Where the signature with the number `n`, from 1, of a manifest is. The host of the
    /// image is no part of it.
    pub fn signature(&self, image: &Reference, manifest: &Digest, n: u32) -> LookasideFile {
        let rest = format!("{}@sha256={}/signature-{n}", image.path(), manifest.hex());
        match self {
            Self::Folder(folder) => LookasideFile::Path(folder.join(rest)),
            Self::Url(base) => LookasideFile::Url(format!("{base}/{rest}")),
        }
    }
}

impl fmt::Display for LookasideBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "file://{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// Where one signature is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookasideFile {
    /// On disk.
    Path(PathBuf),
    /// On a server.
    Url(String),
}

/// `%2F` and the like.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// What is said of one scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Entry {
    lookaside: Option<LookasideBase>,
    uses_attachments: Option<bool>,
    file: String,
}

/// What a folder `registries.d` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistriesD {
    default: Option<Entry>,
    docker: BTreeMap<String, Entry>,
}

impl RegistriesD {
    /// Reads the files of a folder; a folder that does not exist says nothing. The second part
    /// are warnings.
    ///
    /// # Errors
    ///
    /// Every problem of every file.
    pub fn read(folder: &Path) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let unreadable = |path: &Path, error: &io::Error| {
            vec![problem(path, Place::START, Severity::Error, format!("cannot be read: {error}"))]
        };
        let listing = match std::fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(unreadable(folder, &error)),
        };
        let mut paths = Vec::new();
        for entry in listing {
            let path = entry.map_err(|error| unreadable(folder, &error))?.path();
            if path.extension().is_some_and(|it| it == "yaml") {
                paths.push(path);
            }
            if paths.len() > FILES_MAX {
                let text = format!("more than {FILES_MAX} files");
                return Err(vec![problem(folder, Place::START, Severity::Error, text)]);
            }
        }
        paths.sort();
        let (mut all, mut problems) = (Self::default(), Vec::new());
        for path in paths {
            let read = std::fs::File::open(&path)
                .and_then(|file| read_bounded(file, "file", REGISTRIES_D_BYTES_MAX));
            match read.map(String::from_utf8) {
                Ok(Ok(text)) => problems.extend(all.add(&text, &path)),
                Ok(Err(_)) => {
                    let text = "is not UTF-8".to_string();
                    problems.push(problem(&path, Place::START, Severity::Error, text));
                }
                Err(error) => problems.extend(unreadable(&path, &error)),
            }
        }
        if problems.iter().any(|it| it.severity == Severity::Error) {
            Err(problems)
        } else {
            Ok((all, problems))
        }
    }

    /// Adds what a file says; gives its problems, warnings among them.
    pub fn add(&mut self, text: &str, path: &Path) -> Vec<Diagnostic> {
        let name = path.display().to_string();
        let (node, problems) = yaml::parse(text, DIALECT);
        let mut out: Vec<_> = problems.into_iter().map(|it| it.diagnostic(&name)).collect();
        let mut bad = |place, severity, text: String| {
            out.push(problem(path, place, severity, text));
        };
        let Some(node) = node.filter(|node| !node.is_null()) else { return out };
        let Some(top) = map(&node, "the file", &mut bad) else { return out };
        for (key, value) in top {
            match key.text.as_str() {
                "default-docker" => {
                    let entry = entry(value, &name, &mut bad);
                    if let Some(other) = self.default.as_ref().filter(|it| it.file != name) {
                        let text = format!("`default-docker` stands in {} as well", other.file);
                        bad(key.place, Severity::Error, text);
                    }
                    self.default = Some(entry);
                }
                "docker" if value.is_null() => {}
                "docker" => {
                    for (scope, value) in map(value, "`docker`", &mut bad).unwrap_or_default() {
                        // What stands twice in one file was said already.
                        let other = self.docker.get(&scope.text).filter(|it| it.file != name);
                        if let Some(other) = other {
                            let scope_text = yaml::cut(&scope.text);
                            let text = format!("`{scope_text}` stands in {} as well", other.file);
                            bad(scope.place, Severity::Error, text);
                        }
                        if self.docker.len() >= SCOPES_MAX {
                            let text = format!("more than {SCOPES_MAX} scopes");
                            bad(scope.place, Severity::Error, text);
                            return out;
                        }
                        let entry = entry(value, &name, &mut bad);
                        self.docker.insert(scope.text.clone(), entry);
                    }
                }
                _ => bad(key.place, Severity::Warning, unknown(key, &["default-docker", "docker"])),
            }
        }
        out
    }

    /// What is said of an image, the most specific first.
    fn entries(&self, image: &Reference) -> impl Iterator<Item = &Entry> {
        let of: Vec<_> = image.scopes().iter().filter_map(|scope| self.docker.get(scope)).collect();
        of.into_iter().chain(&self.default)
    }

    /// Where the signatures of an image are, if that is said.
    pub fn lookaside(&self, image: &Reference) -> Option<&LookasideBase> {
        self.entries(image).find_map(|it| it.lookaside.as_ref())
    }

    /// Whether signatures that cosign put beside the image are looked at. They are not where
    /// nothing is said.
    pub fn uses_attachments(&self, image: &Reference) -> bool {
        self.entries(image).find_map(|it| it.uses_attachments).unwrap_or(false)
    }
}

fn problem(path: &Path, place: Place, severity: Severity, message: String) -> Diagnostic {
    Diagnostic {
        code: "registries-d",
        severity,
        location: Location {
            file: path.display().to_string(),
            line: place.line,
            column: place.column,
        },
        message,
        help: (severity == Severity::Error)
            .then(|| "correct it as containers-registries.d(5) says".into()),
    }
}

fn unknown(key: &Key, known: &[&'static str]) -> String {
    let text = yaml::cut(&key.text);
    match suggest::nearest(&key.text, known.iter().copied()) {
        Some(near) => format!("`{text}` is not known here and says nothing; `{near}` is"),
        None => format!("`{text}` is not known here and says nothing"),
    }
}

fn map<'n>(
    node: &'n Node,
    what: &str,
    bad: &mut impl FnMut(Place, Severity, String),
) -> Option<&'n [(Key, Node)]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    bad(node.place, Severity::Error, format!("{what} is {}, not a mapping", node.type_name()));
    None
}

fn entry(node: &Node, file: &str, bad: &mut impl FnMut(Place, Severity, String)) -> Entry {
    let mut out = Entry { file: file.to_string(), ..Entry::default() };
    if node.is_null() {
        return out;
    }
    let mut older = None;
    for (key, value) in map(node, "it", bad).unwrap_or_default() {
        let name = key.text.as_str();
        if !KEYS.contains(&name) {
            bad(key.place, Severity::Warning, unknown(key, &KEYS));
            continue;
        }
        let Value::Scalar { text, plain } = &value.value else {
            let text = format!("`{name}` is {}", value.type_name());
            bad(value.place, Severity::Error, text);
            continue;
        };
        if value.is_null() || text.is_empty() {
            continue;
        }
        if name == "use-sigstore-attachments" {
            match text.as_str() {
                "true" if *plain => out.uses_attachments = Some(true),
                "false" if *plain => out.uses_attachments = Some(false),
                _ => {
                    bad(
                        value.place,
                        Severity::Error,
                        format!("`{name}` is neither true nor false"),
                    );
                }
            }
            continue;
        }
        match LookasideBase::parse(text) {
            Ok(base) if name == "lookaside" => out.lookaside = Some(base),
            Ok(base) if name == "sigstore" => older = Some(base),
            Ok(_) => {}
            Err(why) => bad(value.place, Severity::Error, format!("`{name}`: {why}")),
        }
    }
    // The newer name wins where both stand.
    out.lookaside = out.lookaside.or(older);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (RegistriesD, Vec<String>) {
        let mut all = RegistriesD::default();
        let problems = all.add(text, Path::new("a.yaml"));
        (all, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_most_specific_scope_that_says_something_wins() {
        let (all, problems) = read(
            "default-docker:\n  sigstore: file:///default\n  use-sigstore-attachments: true\n\
             docker:\n  h.example:\n    lookaside: https://sig.example/h/\n\
             \x20 h.example/team:\n    sigstore: file:///older\n    lookaside: file:///a%20b\n\
             \x20   use-sigstore-attachments: false\n\
             \x20 h.example/team/app:\n    lookaside-staging: file:///staging\n\
             \x20 h.example/team/app:1:\n    sigstore: http://one.example\n\
             \x20 '*.example':\n    lookaside: file:///star\n  empty.example:\n",
        );
        assert!(problems.is_empty(), "{problems:?}");
        let check = |image: &str, base: &str, attachments: bool| {
            let image = Reference::parse(image).unwrap();
            let found = all.lookaside(&image).map(ToString::to_string).unwrap_or_default();
            assert_eq!(
                (found.as_str(), all.uses_attachments(&image)),
                (base, attachments),
                "{image}"
            );
        };
        check("h.example/team/app:1", "http://one.example", false);
        check("h.example/team/app:2", "file:///a b", false);
        check("h.example/team:2", "file:///a b", false);
        check("h.example/teams:2", "https://sig.example/h", true);
        check("i.example/team:2", "file:///star", true);
        check("empty.example/a:1", "file:///star", true);
        check("busybox:1", "file:///default", true);
        let none = RegistriesD::default();
        assert_eq!(none.lookaside(&Reference::parse("a:1").unwrap()), None);
        assert!(!none.uses_attachments(&Reference::parse("a:1").unwrap()));
    }

    #[test]
    fn a_signature_has_its_place() {
        let image = Reference::parse("h.example:5000/team/app:1").unwrap();
        let digest = Digest::of(b"");
        let rest = format!("team/app@sha256={}/signature-3", digest.hex());
        let file = |base: &str| LookasideBase::parse(base).unwrap().signature(&image, &digest, 3);
        assert_eq!(
            file("file:///var/sig/"),
            LookasideFile::Path(format!("/var/sig/{rest}").into())
        );
        assert_eq!(
            file("https://s.example/x/"),
            LookasideFile::Url(format!("https://s.example/x/{rest}"))
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let check = |text: &str, place: &str, what: &str| {
            let (_, problems) = read(text);
            let [problem] = problems.as_slice() else { panic!("{text}: {problems:?}") };
            assert!(problem.contains(&format!("a.yaml:{place}")), "{problem}");
            assert!(problem.contains(what), "{problem}");
        };
        check("- a\n", "1:1", "not a mapping");
        check("docker: 7\n", "1:9", "not a mapping");
        check("docker:\n  a.example: x\n", "2:14", "not a mapping");
        check("docker:\n  a: {lookaside: /var/sig}\n", "2:18", "none of file://");
        check("docker:\n  a: {lookaside: 'file://var/sig'}\n", "2:18", "not absolute");
        check("docker:\n  a: {lookaside: 'file:///a/../b'}\n", "2:18", "not absolute");
        check("docker:\n  a: {lookaside: 'file:///%zz'}\n", "2:18", "broken escape");
        check("docker:\n  a: {lookaside: 'https:///x'}\n", "2:18", "HOST");
        check("docker:\n  a: {lookaside: 'ftp://x/y'}\n", "2:18", "none of file://");
        check("docker:\n  a: {lookaside: [x]}\n", "2:18", "is a list");
        check(
            "docker:\n  a: {use-sigstore-attachments: maybe}\n",
            "2:33",
            "neither true nor false",
        );
        check("docker:\n  a: {lookasides: 'file:///x'}\n", "2:7", "`lookaside` is");
        check("dockers: {}\n", "1:1", "`docker` is");
        check("docker:\n  a: {}\n  a: {}\n", "3:3", "");
        check("docker: [\n", "2:1", "");
    }

    #[test]
    fn a_folder_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(
            RegistriesD::read(&folder.path().join("none")).unwrap().0,
            RegistriesD::default()
        );
        write("a.yaml", b"docker: {a.example: {lookaside: 'file:///a'}}\n");
        write("b.yaml", b"default-docker: {lookaside: 'file:///b'}\n");
        write("c.yml", b"not: [read");
        let (all, warnings) = RegistriesD::read(folder.path()).unwrap();
        assert!(warnings.is_empty());
        assert_eq!(all.docker.len(), 1);
        let check = |text: &[u8], what: &str| {
            write("d.yaml", text);
            let problems = RegistriesD::read(folder.path()).unwrap_err();
            assert!(problems.iter().any(|it| it.to_string().contains(what)), "{problems:?}");
        };
        check(b"docker: {a.example: {}}\n", "stands in");
        check(b"default-docker: {}\n", "stands in");
        check(b"\xff", "UTF-8");
        check(&vec![b'#'; 1 << 21], "cannot be read");
        std::fs::remove_file(folder.path().join("d.yaml")).unwrap();
        std::fs::create_dir(folder.path().join("d.yaml")).unwrap();
        assert!(RegistriesD::read(folder.path()).is_err());
    }
}

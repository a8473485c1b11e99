//! Alpine's security database: one YAML or JSON file for each release and repository, with
//! the CVEs that each version of a source package fixed (`secfixes`).
//!
//! The version `0` stands for CVEs that never applied to Alpine's package; those are
//! counted and left out. Open vulnerabilities are not in this feed.

use std::path::Path;

use palisade_base::yaml::{self, Dialect, Node, Problem, ProblemKind, Value};
use palisade_model::Severity;

use super::{ImportFeedError, cve_ids, malformed, read_file};
use crate::db::{Advisory, DatabaseBuilder, Range, RangeEnd};

/// Name of the feed in findings.
pub const FEED: &str = "alpine-secdb";
/// Name of Wolfi's feed in findings.
pub const WOLFI: &str = "wolfi-secdb";
/// Name of Chainguard's feed in findings.
pub const CHAINGUARD: &str = "chainguard-secdb";
/// A file beyond this many bytes is refused; the largest has 1 MB.
pub const BYTES_MAX: u64 = 64 << 20;
/// Files of a folder beyond this number are refused.
pub const FILES_MAX: u64 = 1_000;

/// The database needs a depth of 6, and a file of 1 MB cannot have a million nodes.
const DIALECT: Dialect = Dialect {
    name: "a file of Alpine's security database",
    document: "repository",
    depth_max: 8,
    n_nodes_max: 2_000_000,
};

const EXPECTED: &str = "a file of Alpine's security database (main.yaml, main.json)";

/// Imports `path`: a file, or a folder of release folders (`v3.20/main.json`) or files.
pub fn import(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let mut files = Vec::new();
    collect(path, 2, &mut files)?;
    files.sort();
    for file in &files {
        import_file(builder, file)?;
    }
    if files.is_empty() { Err(ImportFeedError::Empty(path.to_path_buf())) } else { Ok(()) }
}

fn collect(
    path: &Path,
    levels: u8,
    files: &mut Vec<std::path::PathBuf>,
) -> Result<(), ImportFeedError> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(super::read_error(path))? {
        let entry = entry.map_err(super::read_error(path))?.path();
        let is_data = entry.extension().is_some_and(|e| e == "yaml" || e == "json");
        if entry.is_dir() && levels > 0 {
            collect(&entry, levels - 1, files)?;
        } else if is_data {
            files.push(entry);
        }
        if files.len() as u64 > FILES_MAX {
            let path = path.to_path_buf();
            return Err(ImportFeedError::TooMany { path, what: "files", limit: FILES_MAX });
        }
    }
    Ok(())
}

fn import_file(builder: &mut DatabaseBuilder, path: &Path) -> Result<(), ImportFeedError> {
    let bytes = read_file(path, "Alpine security database", BYTES_MAX)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| malformed(path, EXPECTED, error))?;
    let document = read(text).map_err(|source| malformed(path, EXPECTED, source))?;
    let wrong = || ImportFeedError::Malformed {
        path: path.to_path_buf(),
        expected: EXPECTED,
        source: None,
    };
    let packages = one(&document, "packages").ok_or_else(wrong)?;
    let (ecosystem, feed) = origin(&document).ok_or_else(wrong)?;
    builder.feed(feed);
    builder.mark_whole(&ecosystem);
    // `packages:` without a value is a repository without fixes.
    for package in items(packages) {
        let package = one(package, "pkg");
        let name = package.and_then(|p| one(p, "name")).and_then(text_of);
        let fixes = package.and_then(fixes_of);
        let (Some(name), Some(fixes)) = (name, fixes) else {
            builder.feed(feed).skip("malformed package");
            continue;
        };
        for (version, ids) in fixes {
            for id in items(ids).iter().filter_map(text_of) {
                add(builder, &ecosystem, feed, name, version, id)?;
            }
        }
    }
    Ok(())
}

/// The release in the address of a file, as mirrors of the database have it:
/// `…/v3.20/main.json`, `…/edge/main.json`.
pub(crate) fn release_of(address: &str) -> Option<&str> {
    let (folder, _file) = address.rsplit_once('/')?;
    let (_, name) = folder.rsplit_once('/')?;
    let is_version =
        |text: &str| text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    (name == "edge" || name.strip_prefix('v').is_some_and(is_version)).then_some(name)
}

/// The ecosystem and the feed of a file. Wolfi and Chainguard have no releases and say where their
/// packages lie instead.
fn origin(document: &Node) -> Option<(String, &'static str)> {
    if let Some(release) = one(document, "distroversion").and_then(text_of) {
        return Some((format!("Alpine:{release}"), FEED));
    }
    if all(document, "distroversion").next().is_some() {
        return None;
    }
    let prefix = one(document, "urlprefix").and_then(text_of)?;
    if prefix.contains("wolfi") {
        return Some(("Wolfi".to_string(), WOLFI));
    }
    let is_chainguard = prefix.contains("cgr.dev") || prefix.contains("chainguard");
    is_chainguard.then(|| ("Chainguard".to_string(), CHAINGUARD))
}

/// A problem of the text with its place.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
struct YamlError {
    line: usize,
    column: usize,
    message: String,
}

impl From<Problem> for YamlError {
    fn from(problem: Problem) -> Self {
        let yaml::Place { line, column } = problem.place;
        Self { line, column, message: problem.message }
    }
}

/// JSON is YAML, so one reader serves both. Scalars stay text: the key `1.10` is a version.
///
/// A key that stands twice is no error of its own: lists of fixes are merged, and where one
/// value is needed, [`one`] takes none.
fn read(text: &str) -> Result<Node, YamlError> {
    let (document, problems) = yaml::parse(text, DIALECT);
    // What ends the reading is the last problem.
    let ended = document.is_none();
    let n_problems = problems.len();
    let problem = problems.into_iter().enumerate().find(|(i, problem)| {
        problem.kind != ProblemKind::DuplicateKey || (ended && i + 1 == n_problems)
    });
    if let Some((_, problem)) = problem {
        return Err(problem.into());
    }
    document.ok_or_else(|| YamlError { line: 1, column: 1, message: "empty".to_string() })
}

/// The values of `key`, more than one if the key is repeated.
fn all<'a>(node: &'a Node, key: &str) -> impl Iterator<Item = &'a Node> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        Value::List(_) | Value::Scalar { .. } => &[],
    };
    entries.iter().filter(move |(name, _)| name.text == key).map(|(_, value)| value)
}

/// The value of `key`; none if it is repeated, for either may be the one that was meant.
fn one<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let mut values = all(node, key);
    values.next().filter(|_| values.next().is_none())
}

/// Versions and what they fixed, of every `secfixes` of a package. None if there is no
/// such key, or one that is no mapping.
fn fixes_of(package: &Node) -> Option<Vec<(&str, &Node)>> {
    let mut fixes = None;
    for value in all(package, "secfixes") {
        let Value::Map(entries) = &value.value else { return None };
        let entries = entries.iter().map(|(version, ids)| (version.text.as_str(), ids));
        fixes.get_or_insert_with(Vec::new).extend(entries);
    }
    fixes
}

fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Map(_) | Value::Scalar { .. } => &[],
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// One line of a `secfixes` list: identifiers of the same thing, separated by blanks.
fn add(
    builder: &mut DatabaseBuilder,
    ecosystem: &str,
    feed: &str,
    name: &str,
    version: &str,
    line: &str,
) -> Result<(), ImportFeedError> {
    if version == "0" {
        builder.feed(feed).skip("never applied");
        return Ok(());
    }
    let mut ids: Vec<String> = line.split_whitespace().map(str::to_string).collect();
    let version = repaired(version);
    // Old lists mix in `XSA-240` and stray punctuation; the CVE comes first where there is one.
    let cve = cve_ids(line).first().map(|range| line[range.clone()].to_ascii_uppercase());
    let Some(id) = cve.or_else(|| ids.first().cloned()) else {
        builder.feed(feed).skip("empty identifier");
        return Ok(());
    };
    ids.retain(|other| !other.contains(&id));
    let advisory = Advisory {
        id,
        aliases: ids,
        title: String::new(),
        severity: Severity::Unknown,
        feed: feed.to_string(),
        ranges: vec![Range { introduced: None, end: RangeEnd::Fixed(version) }],
        versions: Vec::new(),
        ..Advisory::default()
    };
    Ok(builder.add(ecosystem, name, advisory)?)
}

/// A version as a package can have it. The lists are written by hand and have slips before the
/// revision: `0.8.21.r2`, `2.7.16-33`, `1.18.-r2`, `4.10-1-r1`. In apk's order such a text is before
/// every version that was meant, and nobody would be affected.
fn repaired(version: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let cut = ["-r", ".r", "-"].iter().find_map(|mark| {
        version.rsplit_once(mark).filter(|(base, revision)| !base.is_empty() && is_number(revision))
    });
    let (base, revision) = cut.map_or((version, None), |(base, revision)| (base, Some(revision)));
    let mut out = String::with_capacity(version.len() + 1);
    let mut characters = base.trim_end_matches('.').chars().peekable();
    while let Some(c) = characters.next() {
        let is_dash = c == '-' && characters.peek().is_some_and(char::is_ascii_digit);
        out.push(if is_dash { '.' } else { c });
    }
    if let Some(revision) = revision {
        out.push_str("-r");
        out.push_str(revision);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_base::Timestamp;

    fn import_text(text: &str) -> Result<DatabaseBuilder, ImportFeedError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("v3.11")).unwrap();
        std::fs::write(folder.path().join("v3.11/main.yaml"), text).unwrap();
        let mut builder = DatabaseBuilder::new();
        import(&mut builder, folder.path()).map(|()| builder)
    }

    #[test]
    fn reads_yaml_and_json_and_keeps_versions_as_text() {
        let yaml = "distroversion: v3.11\npackages:\n  - pkg:\n      name: xen\n      secfixes:\n        1.10:\n          - CVE-2019-14904 XSA-1\n          - XSA-2\n        0:\n          - CVE-2019-1\n";
        let json = r#"{"distroversion": "v3.11", "packages": [{"pkg": {"name": "xen", "secfixes": {"1.10": ["CVE-2019-14904 XSA-1", "XSA-2"], "0": ["CVE-2019-1"]}}}]}"#;
        for text in [yaml, json] {
            let mut builder = import_text(text).unwrap();
            assert_eq!(builder.feed(FEED).skipped["never applied"], 1);
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("db");
            builder.write(&path, Timestamp::from_nanos(1)).unwrap();
            let found = crate::db::Database::open(&path).unwrap().advisories("Alpine:v3.11", "xen");
            let found = found.unwrap();
            assert_eq!(found.len(), 2);
            assert_eq!(
                (found[0].id.as_str(), &found[0].aliases[..]),
                ("CVE-2019-14904", &["XSA-1".to_string()][..])
            );
            assert_eq!(found[0].ranges[0].end, RangeEnd::Fixed("1.10".into()));
            assert_eq!(found[1].id, "XSA-2");
        }
    }

    #[test]
    fn slips_in_versions_are_mended() {
        let check = |written: &str, meant: &str| assert_eq!(repaired(written), meant);
        check("1.2.3-r4", "1.2.3-r4");
        check("1.0_rc1-r0", "1.0_rc1-r0");
        check("1.0.2o", "1.0.2o");
        check("0.8.21.r2", "0.8.21-r2");
        check("2.7.16-33", "2.7.16-r33");
        check("1.18.-r2", "1.18-r2");
        check("4.10-1-r1", "4.10.1-r1");
        check("-r1", "-r1");
        check("-", "-");
        check("", "");
    }

    #[test]
    fn wolfi_and_chainguard_say_where_their_packages_lie() {
        let text = |prefix: &str| {
            format!(
                r#"{{"urlprefix": "{prefix}", "reponame": "os", "packages": [{{"pkg": {{"name": "a", "secfixes": {{"1-r0": ["CVE-2024-0001"]}}}}}}]}}"#
            )
        };
        let check = |prefix: &str, feed: Option<&str>| {
            let imported = import_text(&text(prefix)).ok();
            let n = imported.map(|mut builder| builder.feed(feed.unwrap_or_default()).n_records);
            assert_eq!(n, feed.map(|_| 1), "{prefix}");
        };
        check("https://packages.wolfi.dev", Some(WOLFI));
        check("https://packages.cgr.dev/chainguard", Some(CHAINGUARD));
        check("https://example.org", None);
    }

    #[test]
    fn refuses_other_text() {
        for text in ["", "[", "a: b", "distroversion: 1\n", &"[".repeat(200_000)] {
            let error = import_text(text).unwrap_err();
            assert!(matches!(error, ImportFeedError::Malformed { .. }), "{text}");
        }
    }

    #[test]
    fn refuses_nesting_that_exceeds_the_stack_of_a_recursive_reader() {
        for nest in ["? ", ": ", "- ", "? - ", "[? ", "{? "] {
            let text = nest.repeat(30_000);
            let error = import_text(&text).map(drop).unwrap_err();
            assert!(matches!(error, ImportFeedError::Malformed { source: Some(_), .. }), "{nest}");
        }
    }

    #[test]
    fn refuses_more_nodes_than_any_database_has() {
        let list = "1,".repeat(DIALECT.n_nodes_max);
        let text = format!("distroversion: v3.11\npackages: [{list}]\n");
        let message = read(&text).unwrap_err().to_string();
        assert!(message.starts_with("line 2, column "), "{message}");
    }

    #[test]
    fn merges_what_stands_twice() {
        let package = "  - pkg:\n      name: xen\n      secfixes:\n        1.1:\n          - CVE-2019-1001\n        1.1:\n          - CVE-2019-1002\n      secfixes:\n        1.2:\n          - CVE-2019-1003\n";
        let twice = "  - pkg:\n      name: a\n      name: b\n      secfixes:\n        1.1:\n          - CVE-2019-1004\n";
        let text = ["distroversion: v3.11\npackages:\n", package, twice].concat();
        let mut builder = import_text(&text).unwrap();
        assert_eq!(builder.feed(FEED).skipped["malformed package"], 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        builder.write(&path, Timestamp::from_nanos(1)).unwrap();
        let found = crate::db::Database::open(&path).unwrap().advisories("Alpine:v3.11", "xen");
        let found: Vec<String> = found.unwrap().into_iter().map(|advisory| advisory.id).collect();
        assert_eq!(found, ["CVE-2019-1001", "CVE-2019-1002", "CVE-2019-1003"]);
        // Which release is meant cannot be known.
        assert!(import_text("distroversion: v1\ndistroversion: v2\npackages:\n").is_err());
    }
}

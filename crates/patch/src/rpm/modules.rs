//! `modules.yaml`: streams of modules and their builds (libmodulemd, `yaml_specs`).
//!
//! A build of a module counts only where its stream is active: enabled in the image, or the
//! default of a module of which the image says nothing. The builds of an active stream hide
//! others of the same names, as dnf has it.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::yaml::{self, Dialect, Node, Value};

/// Bytes of all documents.
pub(crate) const MODULES_BYTES_MAX: u64 = 256 << 20;
/// Documents of one repository.
const DOCUMENTS_MAX: usize = 10_000;
/// Builds that are kept.
const BUILDS_MAX: usize = 1_000_000;
/// Bytes of a stream's name, which is kept for each of its builds.
const STREAM_BYTES_MAX: usize = 1 << 10;

const DIALECT: Dialect = Dialect {
    name: "a description of modules",
    document: "module",
    depth_max: 32,
    n_nodes_max: 1_000_000,
};

/// What repositories say of modules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modules {
    /// Streams (`NAME:STREAM`) by their builds (`NAME-EPOCH:VERSION-RELEASE.ARCH`).
    builds: BTreeMap<String, String>,
    /// Streams that have builds of a package.
    streams: BTreeMap<String, BTreeSet<String>>,
    /// The default stream of each module.
    defaults: BTreeMap<String, String>,
}

/// Reads the documents; builds of packages that are not wanted are left out. An error says what
/// is wrong.
pub fn read_modules(text: &str, wanted: &dyn Fn(&str) -> bool) -> Result<Modules, String> {
    let mut modules = Modules::default();
    // Documents are read one by one: all of them together are a large tree.
    let (mut document, mut n_documents) = (String::new(), 0);
    for line in text.lines().chain(["---"]) {
        if line.trim_end() != "---" && !line.starts_with("--- ") {
            if line.trim_end() != "..." {
                document.push_str(line);
                document.push('\n');
            }
            continue;
        }
        if !document.trim().is_empty() {
            n_documents += 1;
            if n_documents > DOCUMENTS_MAX {
                return Err(format!("it has more than {DOCUMENTS_MAX} documents"));
            }
            modules.add(&document, n_documents, wanted)?;
        }
        document.clear();
    }
    Ok(modules)
}

fn get<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
}

fn scalar<'n>(node: &'n Node, name: &str) -> Option<&'n str> {
    match &get(node, name)?.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

impl Modules {
    fn add(
        &mut self,
        document: &str,
        number: usize,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<(), String> {
        let (nodes, problems) = yaml::parse_stream(document, DIALECT);
        let Some(root) = nodes.first().filter(|_| nodes.len() == 1) else {
            let why = problems.first().map(|problem| format!(": {problem:?}")).unwrap_or_default();
            return Err(format!("its document {number} is no module{why}"));
        };
        let Some(data) = get(root, "data") else { return Ok(()) };
        match scalar(root, "document") {
            Some("modulemd-defaults") => {
                if let (Some(module), Some(stream)) =
                    (scalar(data, "module"), scalar(data, "stream"))
                {
                    self.defaults.insert(module.to_string(), format!("{module}:{stream}"));
                }
            }
            Some("modulemd") => {
                let (Some(name), Some(stream)) = (scalar(data, "name"), scalar(data, "stream"))
                else {
                    return Err(format!("its document {number} names no stream"));
                };
                let stream = format!("{name}:{stream}");
                if stream.len() > STREAM_BYTES_MAX {
                    let why = format!("names a stream in more than {STREAM_BYTES_MAX} bytes");
                    return Err(format!("its document {number} {why}"));
                }
                let builds = get(data, "artifacts").and_then(|it| get(it, "rpms"));
                let Some(Node { value: Value::List(builds), .. }) = builds else { return Ok(()) };
                for build in builds {
                    let Value::Scalar { text, .. } = &build.value else { continue };
                    let Some(package) = name_of(text).filter(|name| wanted(name)) else { continue };
                    if self.builds.len() >= BUILDS_MAX {
                        return Err(format!("it has more than {BUILDS_MAX} builds"));
                    }
                    self.streams.entry(package.to_string()).or_default().insert(stream.clone());
                    self.builds.insert(text.clone(), stream.clone());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds what another repository says.
    pub(crate) fn extend(&mut self, other: Self) {
        self.builds.extend(other.builds);
        self.defaults.extend(other.defaults);
        for (package, streams) in other.streams {
            self.streams.entry(package).or_default().extend(streams);
        }
    }

    /// The stream of a build.
    pub(crate) fn stream(&self, name: &str, version: &str, architecture: &str) -> Option<&str> {
        let epoch = if version.contains(':') { "" } else { "0:" };
        self.builds.get(&format!("{name}-{epoch}{version}.{architecture}")).map(String::as_str)
    }

    /// Whether a stream is active, by the states that the image has (stream, state).
    pub(crate) fn is_active(
        &self,
        stream: &str,
        states: &BTreeMap<String, (String, String)>,
    ) -> bool {
        let (module, name) = stream.split_once(':').unwrap_or((stream, ""));
        match states.get(module) {
            Some((enabled, state)) if state == "enabled" => enabled == name,
            Some((_, state)) if state == "disabled" => false,
            _ => self.defaults.get(module).is_some_and(|default| default == stream),
        }
    }

    /// An active stream that has builds of a package.
    pub(crate) fn hiding(
        &self,
        package: &str,
        states: &BTreeMap<String, (String, String)>,
    ) -> Option<&str> {
        let mut streams = self.streams.get(package)?.iter().map(String::as_str);
        streams.find(|stream| self.is_active(stream, states))
    }
}

/// The name of `NAME-EPOCH:VERSION-RELEASE.ARCH`.
fn name_of(build: &str) -> Option<&str> {
    let (rest, _) = build.rsplit_once('-')?;
    rest.rsplit_once('-').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\ndocument: modulemd\nversion: 2\ndata:\n  name: nodejs\n  stream: \"18\"\n  description: >-\n    text\n  artifacts:\n    rpms:\n    - nodejs-1:18.1-1.module+el9.x86_64\n    - nodejs-docs-1:18.1-1.module+el9.noarch\n...\n---\ndocument: modulemd\nversion: 2\ndata:\n  name: nodejs\n  stream: 20\n  artifacts:\n    rpms: [nodejs-1:20.1-1.module+el9.x86_64]\n...\n---\ndocument: modulemd-defaults\nversion: 1\ndata:\n  module: nodejs\n  stream: \"18\"\n...\n---\ndocument: modulemd-obsoletes\nversion: 1\ndata: {}\n...\n";

    #[test]
    fn streams_have_builds() {
        let modules = read_modules(TEXT, &|name| name == "nodejs").unwrap();
        let stream = |version: &str| modules.stream("nodejs", version, "x86_64");
        assert_eq!(stream("1:18.1-1.module+el9"), Some("nodejs:18"));
        assert_eq!(stream("1:20.1-1.module+el9"), Some("nodejs:20"));
        assert_eq!(stream("1:20.2-1.module+el9"), None);
        assert_eq!(modules.builds.len(), 2);
        let check = |states: &[(&str, &str)], expected: [bool; 2], hiding: Option<&str>| {
            let states = states.iter().map(|(stream, state)| {
                ("nodejs".to_string(), ((*stream).to_string(), (*state).to_string()))
            });
            let states = states.collect();
            let found = ["nodejs:18", "nodejs:20"].map(|one| modules.is_active(one, &states));
            assert_eq!((found, modules.hiding("nodejs", &states)), (expected, hiding));
            assert_eq!(modules.hiding("other", &states), None);
        };
        check(&[], [true, false], Some("nodejs:18"));
        check(&[("20", "enabled")], [false, true], Some("nodejs:20"));
        check(&[("20", "disabled")], [false, false], None);
        check(&[("", "")], [true, false], Some("nodejs:18"));
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert_eq!(read_modules("", &|_| true), Ok(Modules::default()));
        for bad in ["a: [\n", "document: modulemd\ndata: {name: x}\n", "a: b: c\n"] {
            assert!(read_modules(bad, &|_| true).is_err(), "{bad}");
        }
        let long = "x".repeat(STREAM_BYTES_MAX);
        let long = format!("document: modulemd\ndata: {{name: a, stream: {long}}}\n");
        assert!(read_modules(&long, &|_| true).unwrap_err().contains("1024 bytes"));
        let many = "---\na: b\n".repeat(DOCUMENTS_MAX + 1);
        assert!(read_modules(&many, &|_| true).unwrap_err().contains("10000 documents"));
    }
}

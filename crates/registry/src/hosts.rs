//! Which hosts stand for a registry, and how they are spoken to: `registries.conf`
//! (containers-registries.conf(5)), Docker's `daemon.json`, and the folders `certs.d`.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use palisade_base::{Diagnostic, Location, Severity};
use palisade_http::TlsOptions;
use palisade_model::Reference;
use serde::Deserialize;

use crate::url::{is_loopback, split_port};

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files of one `registries.conf.d`.
const FILES_MAX: usize = 256;
/// Registries of one file, and mirrors of one registry.
const ENTRIES_MAX: usize = 1024;

/// Whether a mirror serves tags, digests or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Serves {
    #[default]
    All,
    Digests,
    Tags,
}

/// A host with a path before its repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Host and port.
    pub host: String,
    /// The repository there.
    pub repository: String,
    /// Whether the configuration allows plain HTTP.
    pub insecure: bool,
    /// Whether it is a mirror.
    pub is_mirror: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    location: String,
    insecure: bool,
    serves: Serves,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    prefix: String,
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

/// What the machine's configuration says about registries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    rules: Vec<Rule>,
    docker_mirrors: Vec<(String, bool)>,
    docker_insecure: Vec<String>,
    plain_http: Vec<String>,
    certificates: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawConf {
    #[serde(default)]
    registry: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawRule {
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<RawMirror>,
    #[serde(default)]
    mirror_by_digest_only: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawMirror {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawDaemon {
    #[serde(default)]
    registry_mirrors: Vec<String>,
    #[serde(default)]
    insecure_registries: Vec<String>,
}

/// Files that say which hosts stand for a registry.
#[derive(Debug, Clone, Default)]
pub struct HostFiles {
    /// `registries.conf`: the first that exists is read.
    pub registries: Vec<PathBuf>,
    /// Folders of more such files, read in the order of their names, later ones win.
    pub registry_folders: Vec<PathBuf>,
    /// Docker's `daemon.json`: the first that exists is read.
    pub daemon: Vec<PathBuf>,
    /// Folders `certs.d`, all of them.
    pub certificates: Vec<PathBuf>,
    /// Hosts that may be spoken to without TLS (`--plain-http`).
    pub plain_http: Vec<String>,
}

fn problem(path: &Path, line: usize, column: usize, message: String) -> Diagnostic {
    Diagnostic {
        code: "registries",
        severity: Severity::Error,
        location: Location { file: path.display().to_string(), line, column },
        message,
        help: None,
    }
}

/// Line and column of a byte.
fn place_of(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

impl Hosts {
    /// Reads the files; every problem of every file is told.
    pub fn read(files: &HostFiles) -> Result<Self, Vec<Diagnostic>> {
        let mut hosts = Self {
            plain_http: files.plain_http.clone(),
            certificates: files.certificates.clone(),
            ..Self::default()
        };
        let mut problems = Vec::new();
        let mut conf: Vec<PathBuf> = Vec::new();
        conf.extend(files.registries.iter().find(|path| path.exists()).cloned());
        for folder in &files.registry_folders {
            match conf_files(folder) {
                Ok(found) => conf.extend(found),
                Err(error) => {
                    problems.push(problem(folder, 1, 1, format!("cannot be listed: {error}")));
                }
            }
        }
        for path in conf {
            match read_text(&path) {
                Ok(Some(text)) => match hosts.add_registries(&text, &path) {
                    Ok(()) => {}
                    Err(found) => problems.extend(found),
                },
                Ok(None) => {}
                Err(error) => {
                    problems.push(problem(&path, 1, 1, format!("cannot be read: {error}")));
                }
            }
        }
        if let Some(path) = files.daemon.iter().find(|path| path.exists()) {
            match read_text(path) {
                Ok(Some(text)) => match hosts.add_daemon(&text, path) {
                    Ok(()) => {}
                    Err(found) => problems.push(found),
                },
                Ok(None) => {}
                Err(error) => {
                    problems.push(problem(path, 1, 1, format!("cannot be read: {error}")));
                }
            }
        }
        if problems.is_empty() { Ok(hosts) } else { Err(problems) }
    }

    /// Adds the text of a `registries.conf`; its registries replace those of the same prefix.
    pub fn add_registries(&mut self, text: &str, path: &Path) -> Result<(), Vec<Diagnostic>> {
        let raw: RawConf = toml::from_str(text).map_err(|error| {
            let (line, column) = place_of(text, error.span().map_or(0, |span| span.start));
            vec![problem(path, line, column, error.message().to_string())]
        })?;
        let mut problems = Vec::new();
        let mut bad = |what: &str, value: &str| {
            let at = text.find(value).unwrap_or(0);
            let (line, column) = place_of(text, at);
            let shown: String = value.chars().take(100).collect();
            problems.push(problem(path, line, column, format!("{what} `{shown}`")));
        };
        if raw.registry.len() > ENTRIES_MAX {
            bad("more registries than are read:", "[[registry]]");
            return Err(problems);
        }
        for registry in raw.registry {
            let Some(prefix) = registry.prefix.clone().or_else(|| registry.location.clone()) else {
                bad("a registry without `prefix` and `location`:", "[[registry]]");
                continue;
            };
            let prefix = prefix.trim_end_matches('/').to_string();
            if registry.mirror.len() > ENTRIES_MAX {
                bad("more mirrors than are read:", &prefix);
                continue;
            }
            let mut mirrors = Vec::new();
            for mirror in registry.mirror {
                let serves = match mirror.pull_from_mirror.as_deref() {
                    None | Some("" | "all") if registry.mirror_by_digest_only => Serves::Digests,
                    None | Some("" | "all") => Serves::All,
                    Some("digest-only") => Serves::Digests,
                    Some("tag-only") => Serves::Tags,
                    Some(other) => {
                        bad("`pull-from-mirror` is not", other);
                        continue;
                    }
                };
                if !is_location(&mirror.location) {
                    bad("not the location of a mirror:", &mirror.location);
                    continue;
                }
                let (location, insecure) = (mirror.location, mirror.insecure);
                mirrors.push(Mirror { location, insecure, serves });
            }
            if let Some(location) = &registry.location
                && !is_location(location)
            {
                bad("not the location of a registry:", location);
                continue;
            }
            self.rules.retain(|rule| rule.prefix != prefix);
            self.rules.push(Rule {
                prefix,
                location: registry.location,
                insecure: registry.insecure,
                blocked: registry.blocked,
                mirrors,
            });
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Adds the text of Docker's `daemon.json`.
    pub fn add_daemon(&mut self, text: &str, path: &Path) -> Result<(), Diagnostic> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let raw: RawDaemon = serde_json::from_str(text).map_err(|error| {
            problem(
                path,
                error.line().max(1),
                error.column().max(1),
                format!("not readable: {error}"),
            )
        })?;
        for mirror in raw.registry_mirrors.into_iter().take(ENTRIES_MAX) {
            let (host, insecure) = match mirror.strip_prefix("http://") {
                Some(host) => (host, true),
                None => (mirror.strip_prefix("https://").unwrap_or(&mirror), false),
            };
            let host = host.trim_end_matches('/').to_string();
            if is_location(&host) {
                self.docker_mirrors.push((host, insecure));
            }
        }
        self.docker_insecure.extend(raw.insecure_registries.into_iter().take(ENTRIES_MAX));
        Ok(())
    }

    /// Where an image is asked for, in order: mirrors, then the registry itself. `Err`: the
    /// name is blocked.
    pub fn places(&self, reference: &Reference) -> Result<Vec<Place>, String> {
        let name = reference.name();
        let rule = self
            .rules
            .iter()
            .filter(|rule| prefix_matches(&rule.prefix, &name, reference.registry()))
            .max_by_key(|rule| rule.prefix.trim_start_matches('*').len());
        let mut places = Vec::new();
        let is_pinned = reference.digest().is_some();
        if let Some(rule) = rule {
            if rule.blocked {
                return Err(rule.prefix.clone());
            }
            for mirror in &rule.mirrors {
                let serves = match mirror.serves {
                    Serves::All => true,
                    Serves::Digests => is_pinned,
                    Serves::Tags => !is_pinned,
                };
                if serves {
                    places.extend(place(&mirror.location, rule, &name, mirror.insecure, true));
                }
            }
        } else if reference.registry() == palisade_model::reference::DEFAULT_REGISTRY {
            for (location, insecure) in &self.docker_mirrors {
                let (host, path) = location.split_once('/').unwrap_or((location, ""));
                let repository = match path {
                    "" => reference.repository().to_string(),
                    path => format!("{path}/{}", reference.repository()),
                };
                places.push(Place {
                    host: host.into(),
                    repository,
                    insecure: *insecure,
                    is_mirror: true,
                });
            }
        }
        let own = rule.and_then(|rule| {
            place(rule.location.as_deref().unwrap_or_default(), rule, &name, rule.insecure, false)
        });
        places.push(own.unwrap_or_else(|| Place {
            host: reference.registry().to_string(),
            repository: reference.repository().to_string(),
            insecure: rule.is_some_and(|rule| rule.insecure),
            is_mirror: false,
        }));
        Ok(places)
    }

    /// Whether a host was named for plain HTTP, without trying TLS.
    pub(crate) fn is_plain(&self, host_port: &str) -> bool {
        self.plain_http.iter().any(|plain| plain.eq_ignore_ascii_case(host_port))
    }

    /// Whether plain HTTP may be tried with a host that does not speak TLS.
    pub(crate) fn allows_plain(&self, host_port: &str) -> bool {
        let (host, _) = split_port(host_port);
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        self.is_plain(host_port)
            || is_loopback(host)
            || self.docker_insecure.iter().any(|entry| {
                entry.eq_ignore_ascii_case(host_port)
                    || match (entry.parse::<ipnet::IpNet>(), address) {
                        (Ok(network), Some(address)) => network.contains(&address),
                        _ => false,
                    }
            })
    }

    /// Whom TLS trusts at a host: the system, and what `certs.d` has for it
    /// (`HOST:PORT/*.crt`, `NAME.cert` with `NAME.key`).
    pub(crate) fn tls(&self, host_port: &str) -> TlsOptions {
        let mut options = TlsOptions::default();
        if host_port.contains(['/', '\0']) || host_port.starts_with('.') {
            return options;
        }
        for folder in &self.certificates {
            let Ok(listing) = std::fs::read_dir(folder.join(host_port)) else { continue };
            let mut files: Vec<PathBuf> =
                listing.take(FILES_MAX).flatten().map(|entry| entry.path()).collect();
            files.sort();
            for file in files {
                match file.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => options.besides.push(file),
                    Some("cert") if options.identity.is_none() => {
                        let key = file.with_extension("key");
                        if key.exists() {
                            options.identity = Some((file, key));
                        }
                    }
                    _ => {}
                }
            }
        }
        options
    }
}

/// Whether a rule is about a name: `registry.example`, `registry.example/team`,
/// `*.example`.
fn prefix_matches(prefix: &str, name: &str, registry: &str) -> bool {
    if let Some(suffix) = prefix.strip_prefix('*') {
        let (host_suffix, path) = suffix.split_once('/').unwrap_or((suffix, ""));
        let host = split_port(registry).0;
        return host_suffix.starts_with('.')
            && host.ends_with(host_suffix)
            && (path.is_empty()
                || name[registry.len()..].trim_start_matches('/').starts_with(path));
    }
    name.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
}

/// `location` in place of the rule's prefix; `None` without a location.
fn place(
    location: &str,
    rule: &Rule,
    name: &str,
    insecure: bool,
    is_mirror: bool,
) -> Option<Place> {
    let location = location.trim_end_matches('/');
    if location.is_empty() {
        return None;
    }
    let rest = if rule.prefix.starts_with('*') {
        // The host that the pattern matched is what the location replaces.
        name.split_once('/').map_or("", |(_, rest)| rest)
    } else {
        name.get(rule.prefix.len()..).unwrap_or_default().trim_start_matches('/')
    };
    let whole = if rest.is_empty() { location.to_string() } else { format!("{location}/{rest}") };
    let (host, repository) = whole.split_once('/')?;
    Some(Place { host: host.into(), repository: repository.into(), insecure, is_mirror })
}

/// Host, port and path, as the grammar of names has them.
fn is_location(location: &str) -> bool {
    let location = location.trim_end_matches('/');
    let host = location.split('/').next().unwrap_or_default();
    let probe = if host.contains(['.', ':']) || host == "localhost" {
        format!("{location}/x")
    } else {
        // A host of one word is a host here.
        format!("{}.x/x", location.replace('/', ".x/"))
    };
    probe.parse::<Reference>().is_ok()
}

fn conf_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let listing = match std::fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files: Vec<PathBuf> = listing
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .take(FILES_MAX)
        .collect();
    files.sort();
    Ok(files)
}

fn read_text(path: &Path) -> io::Result<Option<String>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let bytes = palisade_base::read_bounded(file, "configuration", FILE_BYTES_MAX)?;
    String::from_utf8(bytes)
        .map(Some)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Hosts {
        let mut hosts = Hosts::default();
        hosts.add_registries(text, Path::new("registries.conf")).unwrap();
        hosts
    }

    fn places(hosts: &Hosts, name: &str) -> String {
        match hosts.places(&name.parse().unwrap()) {
            Ok(places) => {
                let one = |place: &Place| {
                    let mark = if place.insecure { "!" } else { "" };
                    format!("{mark}{}/{}", place.host, place.repository)
                };
                places.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Err(prefix) => format!("blocked by {prefix}"),
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let hosts = hosts(
            r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.example/hub"
            [[registry.mirror]]
            location = "10.0.0.1:5000"
            insecure = true
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "quay.example/team"
            location = "internal.example:5000/quay/team"
            insecure = true
            [[registry]]
            prefix = "quay.example/team/secret"
            blocked = true
            [[registry]]
            prefix = "*.wild.example"
            location = "one.example/wild"
            "#,
        );
        let digest = format!("sha256:{}", "a".repeat(64));
        let check =
            |name: &str, expected: &str| assert_eq!(places(&hosts, name), expected, "{name}");
        check("nginx", "mirror.example/hub/library/nginx docker.io/library/nginx");
        check(
            &format!("nginx@{digest}"),
            "mirror.example/hub/library/nginx !10.0.0.1:5000/library/nginx docker.io/library/nginx",
        );
        check("quay.example/team/x:1", "!internal.example:5000/quay/team/x");
        check("quay.example/teams/x", "quay.example/teams/x");
        check("quay.example/team/secret", "blocked by quay.example/team/secret");
        check("a.wild.example/x/y", "one.example/wild/x/y");
        check("wild.example/x", "wild.example/x");
    }

    #[test]
    fn docker_mirrors_are_for_docker_io() {
        let mut hosts = Hosts::default();
        let text = r#"{"registry-mirrors": ["https://m.example/", "http://n.example:5000"],
            "insecure-registries": ["10.0.0.0/8", "plain.example:5000"], "debug": true}"#;
        hosts.add_daemon(text, Path::new("daemon.json")).unwrap();
        assert_eq!(
            places(&hosts, "nginx"),
            "m.example/library/nginx !n.example:5000/library/nginx docker.io/library/nginx"
        );
        assert_eq!(places(&hosts, "ghcr.io/a/b"), "ghcr.io/a/b");
        let check =
            |host: &str, allowed: bool| assert_eq!(hosts.allows_plain(host), allowed, "{host}");
        check("10.1.2.3:5000", true);
        check("plain.example:5000", true);
        check("plain.example", false);
        check("localhost:5000", true);
        check("[::1]:5000", true);
        check("11.1.2.3", false);
        check("localhost.example", false);
        assert!(hosts.add_daemon("{", Path::new("daemon.json")).is_err());
    }

    #[test]
    fn problems_say_where() {
        let check = |text: &str, line: usize, message: &str| {
            let problems = Hosts::default().add_registries(text, Path::new("r")).unwrap_err();
            let found = &problems[0];
            assert_eq!(found.location.line, line, "{found}");
            assert!(found.message.contains(message), "{found}");
        };
        check("[[registry]]\nlocation = 5\n", 2, "invalid type");
        check("[[registry]\n", 1, "");
        check("\n[[registry]]\ninsecure = true\n", 2, "without `prefix`");
        check(
            "[[registry]]\nlocation = \"a.b\"\n[[registry.mirror]]\nlocation = \"c.d\"\npull-from-mirror = \"never\"\n",
            5,
            "never",
        );
        check("[[registry]]\nlocation = \"a b\"\n", 2, "a b");
    }

    #[test]
    fn certificates_are_those_of_the_host() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("registry.example:5000");
        std::fs::create_dir(&place).unwrap();
        for name in ["ca.crt", "client.cert", "client.key", "other.cert", "readme"] {
            std::fs::write(place.join(name), "").unwrap();
        }
        let hosts = Hosts { certificates: vec![folder.path().into()], ..Hosts::default() };
        let found = hosts.tls("registry.example:5000");
        assert_eq!(found.besides, [place.join("ca.crt")]);
        assert_eq!(found.identity, Some((place.join("client.cert"), place.join("client.key"))));
        assert_eq!(hosts.tls("registry.example"), TlsOptions::default());
        assert_eq!(hosts.tls("../registry.example:5000"), TlsOptions::default());
    }
}

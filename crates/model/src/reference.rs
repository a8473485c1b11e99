//! Names of images as Docker reads them: `nginx`, `ghcr.io/a/b:1.0`, `a@sha256:…`.
//!
//! Grammar: distribution/reference; what is left out is filled in as Docker does
//! (`docker.io`, `library/`, `latest`).

use std::fmt;
use std::str::FromStr;

use palisade_base::{Digest, Explain};

/// The registry of names that state none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of names that state neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";
/// Longest name, registry and repository together, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Longest tag, in characters.
const TAG_CHARS_MAX: usize = 128;

/// The name of an image in a registry, complete.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of an image: {problem}")]
pub struct ParseReferenceError {
    text: String,
    problem: &'static str,
}

impl Explain for ParseReferenceError {
    fn hint(&self) -> Option<String> {
        Some("names look like nginx, registry.example:5000/team/shop:1.2 or shop@sha256:…".into())
    }
}

impl Reference {
    /// Host of the registry, with its port if it states one: `docker.io`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path within the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, unless a digest alone is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when the name pins one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What a registry is asked for: the digest, or the tag.
    pub fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.into(),
        }
    }

    /// Registry and repository without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The same image, pinned.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseReferenceError> {
        if !is_tag(tag) {
            return Err(ParseReferenceError { text: cut(tag), problem: BAD_TAG });
        }
        Ok(Self { tag: Some(tag.into()), digest: None, ..self.clone() })
    }

    /// As people write it: without what Docker fills in.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(rest) = full.strip_prefix("docker.io/") else { return full };
        rest.strip_prefix("library/").unwrap_or(rest).to_string()
    }
}

const BAD_TAG: &str = "a tag has letters, digits, `.`, `_`, `-`, at most 128";

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |problem| ParseReferenceError { text: cut(text), problem };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse::<Digest>().map_err(|_| bad("no sha256 digest after @"))?))
            }
            None => (text, None),
        };
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[name_start..].find(':') {
            Some(at) => (&rest[..name_start + at], Some(&rest[name_start + at + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(BAD_TAG));
        }
        let (registry, repository) = split_registry(name);
        if registry.len() + repository.len() + 1 > NAME_CHARS_MAX {
            return Err(bad("longer than 255 characters"));
        }
        if !is_host(&registry) {
            return Err(bad("no host before the first slash"));
        }
        if !repository.split('/').all(is_component) {
            return Err(bad(
                "a repository has lower-case letters and digits, with single `.`, `_`, `-` between",
            ));
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_string()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_string()),
        };
        Ok(Self { registry, repository, tag, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// Splits off what is a host: the part before the first slash, if it has a dot, a colon or a
/// capital, or is `localhost`.
fn split_registry(name: &str) -> (String, String) {
    if let Some((first, rest)) = name.split_once('/')
        && (first.contains(['.', ':'])
            || first == "localhost"
            || first.bytes().any(|b| b.is_ascii_uppercase()))
    {
        let registry = match first {
            "index.docker.io" => DEFAULT_REGISTRY,
            other => other,
        };
        let short = registry == DEFAULT_REGISTRY && !rest.contains('/');
        let rest = if short { format!("library/{rest}") } else { rest.to_string() };
        return (registry.to_string(), rest);
    }
    let rest = if name.contains('/') { name.to_string() } else { format!("library/{name}") };
    (DEFAULT_REGISTRY.to_string(), rest)
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_CHARS_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// A host name or address, with an optional port.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", rest)
        }
        None => match host.find(':') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        },
    };
    let good_port = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit())
                && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(inner)
    };
    good_port && name.split('.').all(label)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut rest = component.as_bytes();
    loop {
        let n_word = rest.iter().take_while(|b| is_word(**b)).count();
        if n_word == 0 {
            return false;
        }
        rest = &rest[n_word..];
        if rest.is_empty() {
            return true;
        }
        let n_between = rest.iter().take_while(|b| !is_word(**b)).count();
        let between = &rest[..n_between];
        let good = matches!(between, b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-');
        if !good {
            return false;
        }
        rest = &rest[n_between..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_what_docker_fills_in() {
        let check = |text: &str, full: &str, familiar: &str| {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), reference, "round trip");
            assert_eq!(familiar.parse::<Reference>().unwrap(), reference, "round trip");
        };
        check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25");
        check("a/b", "docker.io/a/b:latest", "a/b:latest");
        check("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("index.docker.io/a/b:1", "docker.io/a/b:1", "a/b:1");
        check("localhost/a", "localhost/a:latest", "localhost/a:latest");
        check("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest");
        check("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c");
        check("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest");
        check("ghcr.io/a/b/c", "ghcr.io/a/b/c:latest", "ghcr.io/a/b/c:latest");
        check("HOST/a", "HOST/a:latest", "HOST/a:latest");
        check("a__b/c-d.e---f", "docker.io/a__b/c-d.e---f:latest", "a__b/c-d.e---f:latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        let pinned = format!("docker.io/library/a@{digest}");
        check(&format!("a@{digest}"), &pinned, &format!("a@{digest}"));
        check(
            &format!("a:1@{digest}"),
            &format!("docker.io/library/a:1@{digest}"),
            &format!("a:1@{digest}"),
        );
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let long = format!("a/{}", "b".repeat(255));
        let long_tag = format!("a:{}", "b".repeat(129));
        for text in [
            "",
            "A",
            "a/B",
            "a:",
            ":a",
            "a::b",
            "a b",
            "a@",
            "a@sha256:abc",
            "a@md5:00",
            "/a",
            "a/",
            "a//b",
            "-a",
            "a-",
            "a..b",
            "a_.b",
            "a___b",
            "a:-x",
            "a:.x",
            "a:x/y:z w",
            "http://a/b",
            "a:70000/b",
            "a.b:0/c",
            "[::1/a",
            "[zz]:1/a",
            "a\n",
            "ä",
            ".",
            "../a",
            "./a",
            "-.x/a",
            &long,
            &long_tag,
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}

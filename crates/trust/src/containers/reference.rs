//! Names of images, as `docker://` writes them (distribution/reference), in their full form.

use std::fmt;

/// Longest name, in bytes, without tag and digest.
const NAME_BYTES_MAX: usize = 255;

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no image: {problem}")]
pub struct ReferenceError {
    text: String,
    problem: &'static str,
}

impl palisade_base::Explain for ReferenceError {
    fn hint(&self) -> Option<String> {
        Some("an image is named `HOST/PATH:TAG` or `HOST/PATH@sha256:…`".into())
    }
}

/// Host, path, and a tag or a digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// Reads a name; what Docker leaves out (`docker.io`, `library/`) is filled in, a tag is
    /// not.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let bad = |problem| ReferenceError { text: text.chars().take(300).collect(), problem };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|it| it.parse::<palisade_base::Digest>().is_err()) {
            return Err(bad("its digest is not `sha256:` and 64 hexadecimal digits"));
        }
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad("its tag is malformed"));
        }
        if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad("it is an identifier"));
        }
        let is_host = |it: &str| {
            it.contains(['.', ':'])
                || it == "localhost"
                || it.bytes().any(|b| b.is_ascii_uppercase())
        };
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path.to_string()),
            Some(_) => ("docker.io", name.to_string()),
            None => ("docker.io", format!("library/{name}")),
        };
        let host = if host == "index.docker.io" { "docker.io" } else { host };
        let path = if host == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path
        };
        let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b);
        if host.is_empty() || !host.bytes().all(is_host_byte) {
            return Err(bad("its host is malformed"));
        }
        if !path.split('/').all(is_component) || host.len() + path.len() > NAME_BYTES_MAX {
            return Err(bad("its path is malformed"));
        }
        Ok(Self {
            host: host.to_string(),
            path,
            tag: tag.map(str::to_string),
            digest: digest.map(str::to_string),
        })
    }

    /// Host and path.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The host, with its port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path, without the host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The scopes under which a policy may speak of it, the most specific first.
    pub fn scopes(&self) -> Vec<String> {
        let mut out = vec![self.to_string()];
        let mut name = self.name();
        out.push(name.clone());
        while let Some((shorter, _)) = name.rsplit_once('/') {
            name = shorter.to_string();
            out.push(name.clone());
        }
        let mut host = self.host.as_str();
        while let Some((_, rest)) = host.split_once('.') {
            out.push(format!("*.{rest}"));
            host = rest;
        }
        out.dedup();
        out
    }
}

fn is_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    // Between words stand `.`, `_`, `__` or any number of `-`.
    is_word(first)
        && is_word(last)
        && text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_and_checked() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let check = |text: &str, expected: Option<&str>| {
            let found = Reference::parse(text).ok().map(|it| it.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("busybox", Some("docker.io/library/busybox"));
        check("busybox:1", Some("docker.io/library/busybox:1"));
        check("me/app", Some("docker.io/me/app"));
        check("docker.io/app", Some("docker.io/library/app"));
        check("localhost/app", Some("localhost/app"));
        check("host:5000/app", Some("host:5000/app"));
        check("host.example/a/b__c:v1.2", Some("host.example/a/b__c:v1.2"));
        check(&format!("h.example/a@{digest}"), Some(&format!("h.example/a@{digest}")));
        check("h.example/a@sha256:00", None);
        check("h.example/A", None);
        check("h.example/a___b", None);
        check("h.example/-a", None);
        check("h.example//a", None);
        check("h.example/a:", None);
        check(&"0".repeat(64), None);
        check("", None);
    }

    #[test]
    fn scopes_go_from_the_image_to_its_domain() {
        let reference = Reference::parse("a.b.example:5000/x/y:1").unwrap();
        assert_eq!(
            reference.scopes(),
            [
                "a.b.example:5000/x/y:1",
                "a.b.example:5000/x/y",
                "a.b.example:5000/x",
                "a.b.example:5000",
                "*.b.example:5000",
                "*.example:5000",
            ]
        );
    }
}

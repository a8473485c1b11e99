//! Which call of the API an URI is, as Docker's router takes it: the path is decoded before it
//! is matched.

/// A call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// The version in front, if any.
    version: Option<(u32, u32)>,
    /// The parts of the path behind it, without empty ones and dots.
    pub(super) parts: Vec<String>,
    queries: Vec<(String, String)>,
}

/// Decodes `%41`; what is no such code stays.
fn decoded(text: &str, plus: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
        match byte {
            b'%' => match (digit(ahead.next()), digit(ahead.next())) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    rest = ahead;
                }
                _ => out.push(byte),
            },
            b'+' if plus => out.push(b' '),
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Call {
    pub(super) fn parse(uri: &str) -> Self {
        // `http://host/path` is a request's target as well (RFC 9112, 3.2.2).
        let path = match uri.split_once("://") {
            Some((scheme, rest)) if !scheme.contains('/') => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => uri,
        };
        let path = path.split('#').next().unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts: Vec<String> = Vec::new();
        for part in decoded(path, false).split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part.to_string()),
            }
        }
        let version = parts.first().and_then(|part| part.strip_prefix('v')).and_then(|text| {
            let is_version = text.starts_with(|c: char| c.is_ascii_digit())
                && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
            let minor = minor.split('.').next().unwrap_or_default();
            is_version.then(|| (major.parse().unwrap_or(0), minor.parse().unwrap_or(0)))
        });
        if version.is_some() {
            parts.remove(0);
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name, true), decoded(value, true))
        };
        let queries = query.split(['&', ';']).filter(|p| !p.is_empty()).map(pair).collect();
        Self { version, parts, queries }
    }

    /// The first value of a query, which is the one that Docker takes.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let found = self.queries.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the call is of an older version than this.
    pub(super) fn is_before(&self, major: u32, minor: u32) -> bool {
        self.version.is_some_and(|version| version < (major, minor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_however_they_are_written() {
        let check = |uri: &str, expected: &str| {
            assert_eq!(Call::parse(uri).parts.join("/"), expected, "{uri}");
        };
        check("/v1.41/containers/create?name=x", "containers/create");
        check("/containers/create", "containers/create");
        check("//v1.41//containers/./create", "containers/create");
        check("/v1.41/containers/%63reate", "containers/create");
        check("/v1.41/containers%2fcreate", "containers/create");
        check("/v1.41/images/../containers/create#x", "containers/create");
        check("http://docker/v1.41/containers/create", "containers/create");
        check("/volumes/create", "volumes/create");
        check("/v1.41/containers/%zz/start", "containers/%zz/start");
        check("", "");
        check("%", "%");
    }

    #[test]
    fn versions_and_queries_are_read() {
        let call = Call::parse("/v1.23/containers/create?name=%2Fweb+1&name=x&y");
        assert_eq!((call.query("name"), call.query("y")), (Some("/web 1"), Some("")));
        assert!(call.is_before(1, 24) && !call.is_before(1, 23));
        assert!(!Call::parse("/containers/x/start").is_before(1, 24));
        assert!(Call::parse("/v1.9/x").is_before(1, 24));
    }
}

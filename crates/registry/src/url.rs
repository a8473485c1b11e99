//! The few things about URLs that a client of registries decides itself: where a request may
//! go, and where a redirect leads.

use std::net::IpAddr;

use ureq::http::Uri;

/// Scheme, host and port: what a secret belongs to (RFC 6454).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) is_https: bool,
    /// In lower case; an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The origin of an absolute `http` or `https` URL without a name and password in it.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None if is_https => 443,
            None => 80,
        };
        Some(Self { is_https, host: authority.host().to_ascii_lowercase(), port })
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// Host and port as they are written in names: without the usual port.
    pub(crate) fn host_port(&self) -> String {
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// The URL without a path.
    pub(crate) fn base(&self) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{}", self.host_port())
    }
}

/// Whether a host, without its port, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Host and port of a registry as names write it.
pub(crate) fn split_port(host_port: &str) -> (&str, Option<u16>) {
    match host_port.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            match port.parse::<u16>() {
                Ok(port) => (host, Some(port)),
                Err(_) => (host_port, None),
            }
        }
        _ => (host_port, None),
    }
}

/// Where `location`, found in an answer from `base`, leads (RFC 3986, section 5.2, as far as
/// servers use it). `None` when it leads nowhere that HTTP goes.
pub(crate) fn join(base: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    if location.is_empty() || location.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let absolute = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_string()
    } else if let Some(rest) = location.strip_prefix("//") {
        let scheme = if base.starts_with("https:") { "https" } else { "http" };
        format!("{scheme}://{rest}")
    } else {
        let origin = Origin::of(base)?;
        let path = base.split_once("://")?.1;
        let path = path.find('/').map_or("/", |at| &path[at..]);
        let path = path.split('?').next().unwrap_or("/");
        match location.chars().next() {
            Some('/') => format!("{}{location}", origin.base()),
            Some('?') => format!("{}{path}{location}", origin.base()),
            _ => {
                let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
                format!("{}{folder}{location}", origin.base())
            }
        }
    };
    Origin::of(&absolute).map(|_| absolute)
}

/// A value within a query or a form (RFC 3986, section 2.1).
pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Adds a parameter to a URL's query.
pub(crate) fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{name}={}", escape(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_go() {
        let base = "https://a.example:5000/v2/x/blobs/1?q=2";
        let check = |location: &str, expected: Option<&str>| {
            assert_eq!(join(base, location).as_deref(), expected, "{location}");
        };
        check("https://b.example/x", Some("https://b.example/x"));
        check("/y", Some("https://a.example:5000/y"));
        check("y?z", Some("https://a.example:5000/v2/x/blobs/y?z"));
        check("?z", Some("https://a.example:5000/v2/x/blobs/1?z"));
        check("//b.example/y", Some("https://b.example/y"));
        check("/y#part", Some("https://a.example:5000/y"));
        for nowhere in ["", "#x", "https://", "http://u:p@b.example/", "/a b", "/a\nb"] {
            check(nowhere, None);
        }
        // Not a scheme that we speak: read as a path of the same server, which will not know it.
        check("ftp://b/x", Some("https://a.example:5000/v2/x/blobs/ftp://b/x"));
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let origin = |url: &str| Origin::of(url).map(|o| (o.host_port(), o.is_loopback()));
        assert_eq!(origin("https://A.example/x"), Some(("a.example".into(), false)));
        assert_eq!(origin("https://a.example:443"), Some(("a.example".into(), false)));
        assert_eq!(origin("http://a.example:443"), Some(("a.example:443".into(), false)));
        assert_eq!(origin("http://[::1]:5000/"), Some(("[::1]:5000".into(), true)));
        assert_eq!(origin("http://127.9.9.9/"), Some(("127.9.9.9".into(), true)));
        assert_eq!(origin("file:///etc/passwd"), None);
        assert_eq!(origin("https://u:p@a.example/"), None);
        assert_eq!(split_port("a:5000"), ("a", Some(5000)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("[::1]:5"), ("[::1]", Some(5)));
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(with_parameter("https://a/t", "scope", "a b&c"), "https://a/t?scope=a%20b%26c");
        assert_eq!(with_parameter("https://a/t?x", "s", "é"), "https://a/t?x&s=%C3%A9");
    }
}

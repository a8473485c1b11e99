//! Where a sink sends alerts: one text, read once.
//!
//! The scheme says the transport: `https://…` and `http://…` a webhook, `syslog:PATH` a local
//! socket, `syslog+udp://`, `syslog+tcp://` and `syslog+tls://` a syslog receiver, `file:PATH`
//! a file. Reading is total and touches neither network nor file system.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Longest text of an endpoint, in characters.
pub const ENDPOINT_CHARS_MAX: usize = 1024;
/// Longest host name (RFC 1035).
const HOST_CHARS_MAX: usize = 253;

/// Where a sink sends alerts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// HTTP POST to this URL.
    Webhook {
        /// The whole URL.
        url: String,
        /// Whether it is `https`.
        is_tls: bool,
    },
    /// RFC 5424 messages to a syslog receiver.
    Syslog(SyslogTransport),
    /// Lines appended to a file.
    File(PathBuf),
}

/// How syslog messages travel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogTransport {
    /// A local socket, usually `/dev/log`.
    Unix(PathBuf),
    /// Datagrams (RFC 5426).
    Udp(Host),
    /// A stream with octet counting (RFC 6587).
    Tcp(Host),
    /// The same over TLS (RFC 5425).
    Tls(Host),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseEndpointError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: &'static str,
}

const FORMS: &str = "write https://HOST/PATH, http://HOST/PATH, syslog:/dev/log, syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT, syslog+tls://HOST:PORT or file:/PATH";
/// Schemes, for suggestions.
const SCHEMES: [&str; 7] =
    ["https", "http", "syslog", "syslog+udp", "syslog+tcp", "syslog+tls", "file"];

fn refuse(message: impl Into<String>, help: &'static str) -> ParseEndpointError {
    ParseEndpointError { message: message.into(), help }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(48).collect::<String>();
        if text.chars().count() > ENDPOINT_CHARS_MAX {
            return Err(refuse(format!("longer than {ENDPOINT_CHARS_MAX} characters"), FORMS));
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(refuse("holds a blank or a control character", FORMS));
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(refuse(format!("`{}` has no scheme", shown()), FORMS));
        };
        match scheme {
            "https" | "http" => webhook(text, rest, scheme == "https"),
            "file" => Ok(Self::File(path(rest)?)),
            "syslog" => Ok(Self::Syslog(SyslogTransport::Unix(path(rest)?))),
            "syslog+udp" => Ok(Self::Syslog(SyslogTransport::Udp(receiver(rest, 514)?))),
            "syslog+tcp" => Ok(Self::Syslog(SyslogTransport::Tcp(receiver(rest, 601)?))),
            "syslog+tls" => Ok(Self::Syslog(SyslogTransport::Tls(receiver(rest, 6514)?))),
            _ => {
                let message = match palisade_base::suggest::nearest(scheme, SCHEMES) {
                    Some(near) => {
                        format!("`{}` is not a scheme; did you mean `{near}`?", cut(scheme))
                    }
                    None => format!("`{}` is not a scheme", cut(scheme)),
                };
                Err(refuse(message, FORMS))
            }
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(48).collect()
}

/// `/PATH` or `///PATH`.
fn path(rest: &str) -> Result<PathBuf, ParseEndpointError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(refuse(
            format!("`{}` is not an absolute path of a file", cut(path)),
            "write the whole path: file:/var/log/palisade/alerts.jsonl",
        ));
    }
    Ok(PathBuf::from(path))
}

fn webhook(text: &str, rest: &str, is_tls: bool) -> Result<Endpoint, ParseEndpointError> {
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(refuse("`//` is missing after the scheme", FORMS));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    host(authority, if is_tls { 443 } else { 80 })?;
    if path.contains('#') {
        return Err(refuse("a `#` part is never sent", "remove it"));
    }
    if !path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\')) {
        return Err(refuse(
            "holds a character that a URL does not have",
            "write it as %XX, the byte in hexadecimal",
        ));
    }
    Ok(Endpoint::Webhook { url: text.to_string(), is_tls })
}

fn receiver(rest: &str, port: u16) -> Result<Host, ParseEndpointError> {
    match rest.strip_prefix("//") {
        Some(authority) => host(authority, port),
        None => Err(refuse("`//` is missing after the scheme", FORMS)),
    }
}

/// `NAME`, `NAME:PORT`, `[IPV6]`, `[IPV6]:PORT`.
fn host(authority: &str, port: u16) -> Result<Host, ParseEndpointError> {
    const HELP: &str = "write HOST or HOST:PORT, an IPv6 address in [ ]";
    if authority.contains('@') {
        return Err(refuse(
            "a user name or password stands in the address",
            "put it in a file named by `headers`: Authorization: Basic …",
        ));
    }
    let (name, port_text) = if let Some(inner) = authority.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once(']') else {
            return Err(refuse("`]` is missing", HELP));
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(refuse(format!("`{}` is not an IPv6 address", cut(address)), HELP));
        }
        match rest.strip_prefix(':') {
            Some(port) => (address, Some(port)),
            None if rest.is_empty() => (address, None),
            None => return Err(refuse("something stands between `]` and the port", HELP)),
        }
    } else {
        let (name, port) = match authority.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (authority, None),
        };
        let plain = name.len() <= HOST_CHARS_MAX
            && name.split('.').all(|label| !label.is_empty())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
        if !plain {
            return Err(refuse(format!("`{}` is not a host", cut(name)), HELP));
        }
        (name, port)
    };
    let port = match port_text {
        None => port,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => return Err(refuse(format!("`{}` is not a port", cut(text)), HELP)),
        },
    };
    Ok(Host { name: name.to_string(), port })
}

impl Endpoint {
    /// What people may see: a URL without its query, which often is a secret.
    pub fn shown(&self) -> String {
        match self {
            Self::Webhook { url, .. } => {
                url.split_once('?').map_or_else(|| url.clone(), |(head, _)| format!("{head}?…"))
            }
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { url, .. } => f.write_str(url),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Syslog(SyslogTransport::Unix(path)) => write!(f, "syslog:{}", path.display()),
            Self::Syslog(SyslogTransport::Udp(host)) => write!(f, "syslog+udp://{host}"),
            Self::Syslog(SyslogTransport::Tcp(host)) => write!(f, "syslog+tcp://{host}"),
            Self::Syslog(SyslogTransport::Tls(host)) => write!(f, "syslog+tls://{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written_alike() {
        let check = |text: &str, canonical: &str| {
            let endpoint: Endpoint = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(endpoint.to_string(), canonical);
            assert_eq!(canonical.parse::<Endpoint>().unwrap(), endpoint);
        };
        let same = |text: &str| check(text, text);
        same("https://hooks.example/alerts?token=x");
        same("http://127.0.0.1:2801");
        same("http://[::1]:8080/a");
        same("file:/var/log/alerts.jsonl");
        check("file:///var/log/alerts.jsonl", "file:/var/log/alerts.jsonl");
        same("syslog:/dev/log");
        check("syslog+udp://siem", "syslog+udp://siem:514");
        check("syslog+tcp://siem", "syslog+tcp://siem:601");
        check("syslog+tls://[2001:db8::1]", "syslog+tls://[2001:db8::1]:6514");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str, message: &str| {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error.message, message, "{text}");
            assert!(!error.help.is_empty());
        };
        check("", "`` has no scheme");
        check("/var/log/x", "`/var/log/x` has no scheme");
        check("htps://x", "`htps` is not a scheme; did you mean `https`?");
        check("kafka://x", "`kafka` is not a scheme");
        check("https:x", "`//` is missing after the scheme");
        check("https://", "`` is not a host");
        check("https://a b/", "holds a blank or a control character");
        check("https://u:p@h/", "a user name or password stands in the address");
        check("https://h:0/", "`0` is not a port");
        check("https://h:70000/", "`70000` is not a port");
        check("https://h:+1/", "`+1` is not a port");
        check("https://h/#x", "a `#` part is never sent");
        check("https://h/é", "holds a character that a URL does not have");
        check("https://[::1", "`]` is missing");
        check("https://[x]/", "`x` is not an IPv6 address");
        check("https://[::1]x/", "something stands between `]` and the port");
        check("file:alerts", "`alerts` is not an absolute path of a file");
        check("file:/var/", "`/var/` is not an absolute path of a file");
        check("syslog:dev/log", "`dev/log` is not an absolute path of a file");
        let long = format!("https://{}", "a".repeat(ENDPOINT_CHARS_MAX));
        check(&long, "longer than 1024 characters");
    }

    #[test]
    fn a_query_is_not_shown() {
        let endpoint: Endpoint = "https://h/a?token=secret".parse().unwrap();
        assert_eq!(endpoint.shown(), "https://h/a?…");
    }
}

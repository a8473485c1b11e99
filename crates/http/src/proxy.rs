//! Which proxy a request goes through: the variables that curl and Go's programs read.

use std::net::IpAddr;

/// The proxies of the environment, as the program found them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `HTTPS_PROXY`: for `https:`.
    pub https: Option<String>,
    /// `HTTP_PROXY`: for `http:`.
    pub http: Option<String>,
    /// `NO_PROXY`: hosts that are reached without; a list with commas.
    pub except: String,
}

/// A proxy's URL may hold a password.
impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies")
            .field("https", &self.https.is_some())
            .field("http", &self.http.is_some())
            .field("except", &self.except)
            .finish()
    }
}

impl Proxies {
    /// The proxy for a request to `host` and `port`. Loopback is always reached directly, as
    /// in Go's programs.
    pub fn of(&self, is_https: bool, host: &str, port: u16) -> Option<&str> {
        let proxy = if is_https { &self.https } else { &self.http }.as_deref()?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>().ok();
        let is_loopback = bare.eq_ignore_ascii_case("localhost")
            || address.is_some_and(|address| address.is_loopback());
        let excepted =
            self.except.split([',', ' ']).any(|rule| is_excepted(rule.trim(), bare, address, port));
        (!proxy.is_empty() && !is_loopback && !excepted).then_some(proxy)
    }
}

/// Whether `rule` of `NO_PROXY` covers the host: `*`, a domain (with what is below it), an
/// address, a network, each with or without a port.
fn is_excepted(rule: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if rule.is_empty() || rule == "*" {
        return rule == "*";
    }
    if let (Ok(network), Some(address)) = (rule.parse::<ipnet::IpNet>(), address) {
        return network.contains(&address);
    }
    let (name, wanted) = match rule.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => {
            match digits.parse::<u16>() {
                Ok(wanted) => (name, Some(wanted)),
                Err(_) => return false,
            }
        }
        _ => (rule, None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ours) = name.parse::<IpAddr>() {
        return address == Some(ours);
    }
    let name = name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase();
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(&name),
        None => host == name || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_those_of_the_field() {
        let check = |except: &str, host: &str, port: u16, through: bool| {
            let proxies = Proxies {
                https: Some("http://proxy:3128".into()),
                http: None,
                except: except.into(),
            };
            assert_eq!(proxies.of(true, host, port).is_some(), through, "{except} {host}:{port}");
            assert_eq!(proxies.of(false, host, port), None);
        };
        check("", "registry.example", 443, true);
        check("*", "registry.example", 443, false);
        check("example", "registry.example", 443, false);
        check(".example", "registry.example", 443, false);
        check(".example", "example", 443, true);
        check("*.example", "a.Example", 443, false);
        check("ample", "registry.example", 443, true);
        check("a, registry.example:5000", "registry.example", 5000, false);
        check("registry.example:5000", "registry.example", 443, true);
        check("10.0.0.0/8", "10.1.2.3", 443, false);
        check("10.0.0.0/8", "11.1.2.3", 443, true);
        check("192.0.2.1", "192.0.2.1", 443, false);
        check("[2001:db8::1]:443", "[2001:db8::1]", 443, false);
        check("2001:db8::1", "[2001:db8::1]", 443, false);
        check("", "localhost", 5000, false);
        check("", "127.0.0.1", 5000, false);
        check("", "[::1]", 5000, false);
        check("a:b:c,x:notaport", "x", 443, true);
    }

    #[test]
    fn a_password_is_not_shown() {
        let proxies = Proxies { https: Some("http://u:secret@p".into()), ..Proxies::default() };
        assert!(!format!("{proxies:?}").contains("secret"));
    }
}

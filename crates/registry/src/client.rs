//! One request to a registry: scheme, redirects, credentials, patience.
//!
//! Invariants:
//! - `Authorization` goes to the origin that it was made for and to no other, whatever a
//!   redirect says;
//! - no request goes without TLS to a host that is neither this machine nor named for it;
//! - a redirect leads from no other machine to this one.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use palisade_base::{LimitExceeded, Timestamp};
use palisade_http::{Backoff, ClientOptions, Proxies, TlsOptions, retry_after};
use ureq::http::{HeaderMap, Method, Request};

use crate::auth::{Access, Tokens};
use crate::credentials::Credentials;
use crate::error::{RegistryError, Said, rustls_error};
use crate::hosts::{Hosts, Place};
use crate::url::{self, Origin};

/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// Attempts at one request.
pub(crate) const ATTEMPTS_MAX: u32 = 6;
/// What is read of an answer that says what went wrong.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// What is shown of it, in characters.
const SAID_CHARS_MAX: usize = 200;
/// Clients that are kept, one for an origin; redirects can lead to any number.
const CLIENTS_MAX: usize = 64;

/// Whoever wants to know how it goes.
pub trait Observer: Send + Sync + std::fmt::Debug {
    /// `host` is asked again after `wait`.
    fn waiting(&self, host: &str, wait: Duration, why: &str) {
        let _ = (host, wait, why);
    }
    /// A mirror failed, and another place is asked.
    fn passed_over(&self, host: &str, why: &RegistryError) {
        let _ = (host, why);
    }
    /// An image is fetched from `host`, in `n_blobs` blobs of `n_bytes` together.
    fn fetching(&self, host: &str, n_blobs: usize, n_bytes: u64) {
        let _ = (host, n_blobs, n_bytes);
    }
    /// So many bytes more came, or went.
    fn bytes(&self, n: u64) {
        let _ = n;
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// How registries are spoken to.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// What the client calls itself.
    pub user_agent: String,
    /// Which hosts stand for a registry.
    pub hosts: Hosts,
    /// Where credentials are.
    pub credentials: Credentials,
    /// Proxies of the environment.
    pub proxies: Proxies,
    /// Longest silence of a server.
    pub timeout_idle: Duration,
    /// About how long the first wait before another attempt is; the next are longer.
    pub backoff: Duration,
    /// How long to wait for one request altogether before it is given up.
    pub patience: Duration,
    /// Whoever wants to know how it goes.
    pub observer: Arc<dyn Observer>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            user_agent: "palisade".into(),
            hosts: Hosts::default(),
            credentials: Credentials::default(),
            proxies: Proxies::default(),
            timeout_idle: Duration::from_mins(1),
            backoff: Duration::from_millis(500),
            patience: Duration::from_mins(2),
            observer: Arc::new(Silent),
        }
    }
}

/// A client of registries.
#[derive(Debug)]
pub struct Client {
    pub(crate) settings: ClientSettings,
    pub(crate) tokens: Tokens,
    clients: Mutex<HashMap<Origin, ureq::Agent>>,
    /// Whether a host speaks TLS, once that is known.
    schemes: Mutex<HashMap<String, bool>>,
}

/// What is sent with a request.
#[derive(Clone, Copy)]
pub(crate) enum Body<'b> {
    None,
    Bytes(&'b [u8]),
    /// Makes a reader of so many bytes, again for each attempt.
    Stream(&'b dyn Fn() -> std::io::Result<Box<dyn Read>>, u64),
}

/// A request.
#[derive(Clone)]
pub(crate) struct Ask<'b> {
    pub(crate) method: Method,
    /// A path from the repository (`manifests/latest`), or a whole URL that the registry gave.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Body<'b>,
    /// For messages: `manifest latest of library/nginx`.
    pub(crate) what: String,
}

impl<'b> Ask<'b> {
    pub(crate) fn new(method: Method, path: impl Into<String>, what: impl Into<String>) -> Self {
        let (path, what) = (path.into(), what.into());
        Self { method, path, headers: Vec::new(), body: Body::None, what }
    }

    pub(crate) fn get(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(Method::GET, path, what)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Body<'b>) -> Self {
        self.body = body;
        self
    }
}

/// An answer whose body is not read yet.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ureq::Body,
    /// The URL that answered, after redirects.
    pub(crate) url: String,
    /// Who answered, for messages.
    pub(crate) host: String,
    /// Whether the origin that was asked answered, and not one that it redirected to.
    pub(crate) is_own: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as a stream without a bound of its own: the caller bounds it.
    pub(crate) fn into_reader(self) -> impl Read + Send + use<> {
        self.body.into_with_config().limit(u64::MAX).reader()
    }

    /// Reads the whole body, of at most `limit` bytes.
    pub(crate) fn read(self, what: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let host = self.host.clone();
        let stated = self.body.content_length();
        if stated.is_some_and(|length| length > limit) {
            let source = LimitExceeded { what: "answer", limit };
            return Err(RegistryError::TooLarge { host, what: what.into(), source });
        }
        palisade_base::read_bounded(self.into_reader(), "answer", limit).map_err(|error| {
            let what = what.to_string();
            match LimitExceeded::find(&error) {
                Some(limit) => RegistryError::TooLarge { host, what, source: limit.clone() },
                None => RegistryError::Broken {
                    host,
                    what,
                    n_read: 0,
                    size: stated.unwrap_or(0),
                    source: error,
                },
            }
        })
    }

    /// The error that an answer without success is.
    pub(crate) fn into_error(self, what: &str, had_credentials: bool) -> RegistryError {
        let (host, status, what) = (self.host.clone(), self.status, what.to_string());
        let retry_after =
            self.header("retry-after").and_then(|text| retry_after(text, Timestamp::now()));
        let mut bytes = Vec::new();
        // What can be had of it; that it broke off is no news.
        let _ = self.into_reader().take(ERROR_BYTES_MAX).read_to_end(&mut bytes);
        let said = said(&bytes);
        match status {
            404 => RegistryError::NotFound { host, what, said },
            401 | 403 => RegistryError::Unauthorized { host, what, had_credentials, said },
            status => RegistryError::Status { host, what, status, said, retry_after },
        }
    }
}

/// What a registry says of an error: its code and message, or the beginning of its text.
pub fn said(bytes: &[u8]) -> Said {
    let clean = |text: &str| -> String {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.trim().chars().take(SAID_CHARS_MAX).collect()
    };
    let json: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
    if let Some(json) = json {
        let first = json.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&json);
        let text = |name: &str| first.get(name).and_then(|value| value.as_str()).map(clean);
        let message = text("message").or_else(|| text("details")).or_else(|| text("error"));
        return Said {
            code: text("code").filter(|code| !code.is_empty()),
            message: message.unwrap_or_default(),
        };
    }
    let text = String::from_utf8_lossy(bytes);
    // A page for browsers says nothing in one line.
    let message = if text.trim_start().starts_with('<') { String::new() } else { clean(&text) };
    Said { code: None, message }
}

impl Client {
    /// A client. Nothing is contacted yet.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            tokens: Tokens::default(),
            clients: Mutex::default(),
            schemes: Mutex::default(),
        }
    }

    /// Sends a request to a repository and returns an answer with success.
    pub(crate) fn send(
        &self,
        place: &Place,
        access: &Access,
        ask: &Ask<'_>,
    ) -> Result<Answer, RegistryError> {
        let answer = self.send_any(place, access, ask)?;
        if answer.is_success() {
            return Ok(answer);
        }
        let had = self.tokens.has_credentials(place);
        Err(answer.into_error(&ask.what, had))
    }

    /// Sends a request to a repository and returns any answer that another attempt would not
    /// change.
    pub(crate) fn send_any(
        &self,
        place: &Place,
        access: &Access,
        ask: &Ask<'_>,
    ) -> Result<Answer, RegistryError> {
        // Where part of a stream went, only the server knows.
        let tries = if matches!(ask.body, Body::Stream(..)) { 1 } else { ATTEMPTS_MAX };
        self.patiently(&place.host, tries, || self.authorized(place, access, ask))
    }

    /// Tries again, after waits, what may succeed later.
    pub(crate) fn patiently(
        &self,
        host: &str,
        tries: u32,
        mut attempt: impl FnMut() -> Result<Answer, RegistryError>,
    ) -> Result<Answer, RegistryError> {
        // Different from request to request and from machine to machine, which is all that is
        // wanted of it.
        let seed = Timestamp::now().as_nanos();
        let mut backoff = Backoff::new(self.settings.backoff, Duration::from_secs(20), seed);
        let mut patience = self.settings.patience;
        let mut n_attempts = 1;
        loop {
            let result = attempt();
            let (wait, why) = match &result {
                Err(RegistryError::Unreachable { source, .. }) if is_passing(source) => {
                    (None, source.to_string())
                }
                Ok(answer) if matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504) => {
                    let stated = answer.header("retry-after");
                    let stated = stated.and_then(|text| retry_after(text, Timestamp::now()));
                    (stated, format!("status {}", answer.status))
                }
                _ => return result,
            };
            let wait = wait.unwrap_or(Duration::ZERO).max(backoff.wait());
            n_attempts += 1;
            if n_attempts > tries || wait > patience {
                return result;
            }
            patience -= wait;
            self.settings.observer.waiting(host, wait, &why);
            tracing::debug!(host, ?wait, why, "ask again");
            std::thread::sleep(wait);
        }
    }

    /// One attempt, and another with credentials if the registry asks for them.
    fn authorized(
        &self,
        place: &Place,
        access: &Access,
        ask: &Ask<'_>,
    ) -> Result<Answer, RegistryError> {
        let known = self.tokens.known(place, access);
        let had_known = known.is_some();
        let answer = self.schemed(place, ask, known.as_deref())?;
        // Who was redirected is not asked for credentials by the registry.
        if answer.status != 401 || !answer.is_own {
            return Ok(answer);
        }
        let challenges: Vec<String> = answer
            .headers
            .get_all("www-authenticate")
            .iter()
            .take(8)
            .filter_map(|value| value.to_str().ok().map(str::to_string))
            .collect();
        if had_known {
            self.tokens.forget(place, access);
        }
        match self.authenticate(place, access, &challenges, &answer.url)? {
            Some(header) => self.schemed(place, ask, Some(&header)),
            None => Ok(answer),
        }
    }

    /// Finds out whether the host speaks TLS, where that is open.
    fn schemed(
        &self,
        place: &Place,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let host = &place.host;
        let hosts = &self.settings.hosts;
        let known = self.schemes.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied();
        let remember = |is_https: bool| {
            let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
            schemes.insert(host.clone(), is_https);
        };
        let is_https = match known {
            Some(is_https) => is_https,
            None if hosts.is_plain(host) => false,
            None if !(place.insecure || hosts.allows_plain(host)) => true,
            None => {
                let first = self.exchange(place, true, ask, authorization);
                match first {
                    Err(RegistryError::Unreachable { source, .. }) if !is_certificate(&source) => {
                        let second = self.exchange(place, false, ask, authorization);
                        if second.is_ok() {
                            remember(false);
                        }
                        return second;
                    }
                    first => {
                        remember(true);
                        return first;
                    }
                }
            }
        };
        self.exchange(place, is_https, ask, authorization)
    }

    fn exchange(
        &self,
        place: &Place,
        is_https: bool,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let scheme = if is_https { "https" } else { "http" };
        let host = match place.host.as_str() {
            // Docker's registry has another name than the one that people write.
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let base = format!("{scheme}://{host}");
        let url = if ask.path.starts_with("http://") || ask.path.starts_with("https://") {
            ask.path.clone()
        } else {
            format!("{base}/v2/{}/{}", place.repository, ask.path)
        };
        let own = Origin::of(&base).ok_or_else(|| RegistryError::BadAnswer {
            host: place.host.clone(),
            what: ask.what.clone(),
            problem: "no usable address".into(),
        })?;
        self.follow(&own, url, ask, authorization, place.insecure)
    }

    /// Sends a request and follows redirects. `authorization` belongs to `own`.
    pub(crate) fn follow(
        &self,
        own: &Origin,
        mut url: String,
        ask: &Ask<'_>,
        authorization: Option<&str>,
        insecure: bool,
    ) -> Result<Answer, RegistryError> {
        let redirect = |problem| RegistryError::Redirect {
            host: own.host_port(),
            what: ask.what.clone(),
            problem,
        };
        for n_redirects in 0..=REDIRECTS_MAX {
            let origin = Origin::of(&url).ok_or_else(|| redirect("to no usable address"))?;
            if origin != *own {
                if origin.is_loopback() && !own.is_loopback() {
                    return Err(redirect("to this machine"));
                }
                let may_be_plain = self.settings.hosts.allows_plain(&origin.host_port());
                if !origin.is_https && own.is_https && !may_be_plain {
                    return Err(redirect("to a place without TLS"));
                }
            }
            if !origin.is_https {
                let host_port = origin.host_port();
                let allowed =
                    self.settings.hosts.allows_plain(&host_port) || (insecure && origin == *own);
                if !allowed {
                    return Err(RegistryError::PlainHttp(host_port));
                }
            }
            let authorization = authorization.filter(|_| origin == *own);
            let mut answer = self.once(&origin, &url, ask, authorization)?;
            answer.is_own = origin == *own;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            if ask.method != Method::GET && ask.method != Method::HEAD {
                return Err(redirect("although something is sent"));
            }
            if n_redirects == REDIRECTS_MAX {
                break;
            }
            let location = answer.header("location").unwrap_or_default();
            url = url::join(&url, location).ok_or_else(|| redirect("to no usable address"))?;
        }
        Err(redirect("more than five times"))
    }

    fn once(
        &self,
        origin: &Origin,
        url: &str,
        ask: &Ask<'_>,
        authorization: Option<&str>,
    ) -> Result<Answer, RegistryError> {
        let unreachable = |source| RegistryError::Unreachable {
            host: origin.host_port(),
            what: ask.what.clone(),
            source: Box::new(source),
        };
        let client = self.client(origin)?;
        let mut request = Request::builder().method(ask.method.clone()).uri(url);
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let bad = |error: ureq::http::Error| unreachable(ureq::Error::Http(error));
        let response = match ask.body {
            Body::None if ask.method == Method::GET || ask.method == Method::HEAD => {
                client.run(request.body(()).map_err(bad)?)
            }
            Body::None => {
                client.run(request.header("content-length", "0").body(&[][..]).map_err(bad)?)
            }
            Body::Bytes(bytes) => client.run(request.body(bytes).map_err(bad)?),
            Body::Stream(open, length) => {
                let mut reader = open()
                    .map_err(|source| RegistryError::Disk { what: ask.what.clone(), source })?;
                let request = request.header("content-length", length.to_string());
                client.run(request.body(ureq::SendBody::from_reader(&mut reader)).map_err(bad)?)
            }
        };
        let response = response.map_err(unreachable)?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
            url: url.to_string(),
            host: origin.host_port(),
            is_own: false,
        })
    }

    /// The client for an origin: each may have its own certificates and proxy.
    fn client(&self, origin: &Origin) -> Result<ureq::Agent, RegistryError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(origin) {
            return Ok(client.clone());
        }
        let settings = &self.settings;
        let host_port = origin.host_port();
        let tls: Option<TlsOptions> = origin.is_https.then(|| settings.hosts.tls(&host_port));
        let options = ClientOptions {
            user_agent: settings.user_agent.clone(),
            tls,
            proxy: settings.proxies.of(origin.is_https, &origin.host, origin.port),
            timeout_total: None,
            timeout_idle: Some(settings.timeout_idle),
        };
        let client = palisade_http::client(&options)
            .map_err(|source| RegistryError::Setup { host: host_port, source })?;
        if clients.len() >= CLIENTS_MAX {
            clients.clear();
        }
        clients.insert(origin.clone(), client.clone());
        Ok(client)
    }
}

/// Whether an attempt that got no answer may succeed later.
fn is_passing(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed => true,
        ureq::Error::Io(io) => {
            use std::io::ErrorKind;
            rustls_error(error).is_none()
                && matches!(
                    io.kind(),
                    ErrorKind::ConnectionReset
                        | ErrorKind::ConnectionAborted
                        | ErrorKind::BrokenPipe
                        | ErrorKind::TimedOut
                        | ErrorKind::WouldBlock
                        | ErrorKind::UnexpectedEof
                )
        }
        _ => false,
    }
}

/// Whether the host speaks TLS, and is not trusted.
fn is_certificate(error: &ureq::Error) -> bool {
    rustls_error(error).is_some_and(|error| {
        matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_read_and_cut() {
        let check = |bytes: &[u8], code: Option<&str>, message: &str| {
            let said = said(bytes);
            assert_eq!((said.code.as_deref(), said.message.as_str()), (code, message));
        };
        check(
            br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such\nthing","detail":{}}]}"#,
            Some("MANIFEST_UNKNOWN"),
            "no such thing",
        );
        check(
            br#"{"details":"incorrect username or password"}"#,
            None,
            "incorrect username or password",
        );
        check(b"404 page not found\n", None, "404 page not found");
        check(b"<html><body>x</body></html>", None, "");
        check(b"", None, "");
        check(b"[]", None, "");
        assert_eq!(said(&b"x".repeat(5000)).message.len(), SAID_CHARS_MAX);
    }
}

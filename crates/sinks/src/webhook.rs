//! Alerts as HTTP POST requests.
//!
//! The receiver has taken a request when it answers 2xx. Redirects are not followed: a
//! receiver that moved is a configuration to change, and a body must not go where nobody
//! said. Proxies of the environment are not used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade_base::{Digest, Timestamp};
use palisade_http::{ClientOptions, TlsOptions, retry_after};
use palisade_policy::Sink;

use crate::error::{OpenError, SendError};
use crate::item::Message;
use crate::transport::{Failed, Transport};

/// Largest file of headers.
const HEADERS_BYTES_MAX: u64 = 64 << 10;
/// Most headers of one sink.
const HEADERS_MAX: usize = 64;
/// What is read of an answer.
const ANSWER_BYTES_MAX: u64 = 4096;
/// What is shown of an answer, in characters.
const SAID_CHARS_MAX: usize = 160;

/// Headers that the client sets itself; a second one would make two meanings of a request.
const OWN_HEADERS: [&str; 5] =
    ["content-length", "transfer-encoding", "host", "connection", "expect"];

/// A webhook.
#[derive(Debug)]
pub(crate) struct Webhook {
    client: ureq::Agent,
    url: String,
    files: Vec<PathBuf>,
    headers: Headers,
    /// Whether they are to be read again before the next request.
    is_stale: bool,
    is_array: bool,
    is_json: bool,
}

/// Headers and their values, which are secrets.
struct Headers(Vec<(String, String)>);

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Webhook {
    pub(crate) fn open(
        sink: &Sink,
        url: &str,
        is_tls: bool,
        timeout: Duration,
        version: &str,
    ) -> Result<Self, OpenError> {
        let options = ClientOptions {
            user_agent: format!("palisade/{version}"),
            tls: is_tls.then(|| TlsOptions { only: sink.ca.clone(), ..TlsOptions::default() }),
            timeout_total: Some(timeout),
            ..ClientOptions::default()
        };
        Ok(Self {
            client: palisade_http::client(&options)?,
            url: url.to_string(),
            files: sink.headers.clone(),
            headers: read_headers(&sink.headers)?,
            is_stale: false,
            is_array: sink.batch_max > 1,
            is_json: sink.resolved_format().is_json(),
        })
    }

    fn body(&self, messages: &[Message]) -> String {
        let bodies: Vec<&str> = messages.iter().map(|message| message.body.as_str()).collect();
        match (self.is_array, self.is_json) {
            (true, true) => format!("[{}]", bodies.join(",\n")),
            (true, false) => bodies.join("\n") + "\n",
            (false, _) => bodies.concat(),
        }
    }

    fn post(&mut self, messages: &[Message]) -> Result<(), SendError> {
        if self.is_stale {
            self.headers = read_headers(&self.files).map_err(SendError::Headers)?;
            self.is_stale = false;
        }
        let kind = if self.is_json { "application/json" } else { "text/plain; charset=utf-8" };
        let mut request = self
            .client
            .post(&self.url)
            .header("Content-Type", kind)
            .header("Idempotency-Key", key(messages));
        for (name, value) in &self.headers.0 {
            request = request.header(name, value);
        }
        let answer = request.send(self.body(messages).as_bytes());
        let mut response = answer.map_err(|error| SendError::Request(Box::new(error)))?;
        let code = response.status().as_u16();
        // Read even when it is not needed: only then can the connection be used again.
        let said = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .lossy_utf8(true)
            .read_to_string()
            .unwrap_or_default();
        if (200..300).contains(&code) {
            return Ok(());
        }
        self.is_stale = matches!(code, 401 | 403);
        let retry_after = response
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok())
            .and_then(|text| retry_after(text, Timestamp::now()));
        let said: String = said.chars().filter(|c| !c.is_control()).take(SAID_CHARS_MAX).collect();
        Err(SendError::Status { code, retry_after, said })
    }
}

impl Transport for Webhook {
    fn send(&mut self, messages: &[Message]) -> Result<(), Failed> {
        if self.is_array {
            return Ok(self.post(messages)?);
        }
        for (n_sent, message) in messages.iter().enumerate() {
            self.post(std::slice::from_ref(message)).map_err(|error| Failed { n_sent, error })?;
        }
        Ok(())
    }
}

/// What tells this request from any other, and is the same when it is sent again: the
/// identifier of the alert, or a digest of those of a batch.
fn key(messages: &[Message]) -> String {
    match messages {
        [one] => one.id.clone(),
        many => {
            let ids: Vec<&str> = many.iter().map(|message| message.id.as_str()).collect();
            Digest::of(ids.join("\n").as_bytes()).to_string().trim_start_matches("sha256:").into()
        }
    }
}

fn read_headers(files: &[PathBuf]) -> Result<Headers, OpenError> {
    let mut all = Vec::new();
    for path in files {
        let failed = |source| OpenError::Read { what: "headers", path: path.clone(), source };
        let file = std::fs::File::open(path).map_err(failed)?;
        let bytes = palisade_base::read_bounded(file, "headers", HEADERS_BYTES_MAX)
            .map_err(|error| failed(std::io::Error::other(error)))?;
        all.extend(parse_headers(&bytes, path)?);
    }
    if all.len() > HEADERS_MAX {
        let path = files.last().cloned().unwrap_or_default();
        return Err(OpenError::Header { path, line: 1, problem: "too many headers" });
    }
    Ok(Headers(all))
}

/// Reads header lines: `Name: value`, one a line; empty lines and lines that begin with `#`
/// say nothing. An error never repeats a value.
pub fn parse_headers(bytes: &[u8], path: &Path) -> Result<Vec<(String, String)>, OpenError> {
    let mut headers = Vec::new();
    for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let bad = |problem| OpenError::Header { path: path.to_path_buf(), line: i + 1, problem };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| bad("not text"))?;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad("no `:`"))?;
        let value = value.trim();
        // `token` of RFC 9110, section 5.6.2.
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(bad("not the name of a header"));
        }
        if OWN_HEADERS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err(bad("a header that the client sets itself"));
        }
        if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return Err(bad("a character that a header's value does not have"));
        }
        headers.push((name.to_string(), value.to_string()));
        if headers.len() > HEADERS_MAX {
            return Err(bad("too many headers"));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_files_are_read_and_their_secrets_not_repeated() {
        let good = b"# ours\nAuthorization: Bearer a:b\r\n\nX-Site:  one \n";
        let expected = [("Authorization", "Bearer a:b"), ("X-Site", "one")];
        let expected: Vec<_> =
            expected.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())).collect();
        assert_eq!(parse_headers(good, Path::new("h")).unwrap(), expected);
        let check = |text: &[u8], message: &str| {
            let error = parse_headers(text, Path::new("h")).unwrap_err();
            assert_eq!(error.to_string(), message);
        };
        check(b"a: b\nsecret", "`h`, line 2: no `:`");
        check(b"a b: secret", "`h`, line 1: not the name of a header");
        check(b": secret", "`h`, line 1: not the name of a header");
        check(b"Host: secret", "`h`, line 1: a header that the client sets itself");
        check(b"a: \x01", "`h`, line 1: a character that a header's value does not have");
        check(b"a: \xff", "`h`, line 1: not text");
        let many = "a: b\n".repeat(HEADERS_MAX + 1);
        check(many.as_bytes(), "`h`, line 65: too many headers");
        let shown = format!("{:?}", Headers(vec![("A".into(), "secret".into())]));
        assert_eq!(shown, "[\"A\"]");
    }
}

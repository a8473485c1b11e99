//! Requests to services that sign and vouch. Nothing secret goes without TLS to another
//! machine, and no redirect is followed.

use std::time::Duration;

use palisade_http::{ClientOptions, TlsOptions, client};

use super::super::Context;
use crate::exit::{Exit, Failure};

/// How long a service may take to answer.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
/// What is shown of an answer that says what went wrong, in characters.
const SHOWN_MAX: usize = 300;

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// Asks services.
pub(super) struct Services<'c> {
    context: &'c Context<'c>,
}

impl<'c> Services<'c> {
    pub(super) fn new(context: &'c Context<'c>) -> Self {
        Self { context }
    }

    /// Fetches `url`.
    pub(super) fn get(
        &self,
        what: &str,
        url: &str,
        headers: &[(&str, &str)],
        limit: u64,
    ) -> Result<Answer, Failure> {
        let agent = self.agent(what, url)?;
        let mut request = agent.get(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(what, url, request.call(), limit)
    }

    /// Sends `body` to `url`.
    pub(super) fn post(
        &self,
        what: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: u64,
    ) -> Result<Answer, Failure> {
        let agent = self.agent(what, url)?;
        let mut request = agent.post(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(what, url, request.send(body), limit)
    }

    fn agent(&self, what: &str, url: &str) -> Result<ureq::Agent, Failure> {
        let uri: Option<ureq::http::Uri> = url.parse().ok();
        let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default().to_string();
        let is_https = url.starts_with("https://");
        let is_here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
        if host.is_empty() || !(is_https || url.starts_with("http://") && is_here) {
            return Err(Failure::message(Exit::Usage, format!("`{url}` is no address of {what}"))
                .with_hint("services are spoken to over https://, on this machine also http://"));
        }
        let port = uri.and_then(|uri| uri.port_u16()).unwrap_or(if is_https { 443 } else { 80 });
        let options = ClientOptions {
            user_agent: format!("palisade/{}", env!("CARGO_PKG_VERSION")),
            tls: is_https.then(TlsOptions::default),
            proxy: self.context.environment.proxies.of(is_https, &host, port),
            timeout_total: Some(ANSWER_WAIT),
            timeout_idle: None,
        };
        client(&options).map_err(|error| failed(Exit::Incomplete, what, url, &error.to_string()))
    }
}

/// A service that did not answer, or has a problem: another try may end otherwise.
fn unanswered(what: &str, url: &str, problem: &str) -> Failure {
    failed(Exit::Network, what, url, problem)
}

fn failed(exit: Exit, what: &str, url: &str, problem: &str) -> Failure {
    Failure::message(exit, format!("ask {what} at `{url}`: {problem}"))
        .with_hint("check the address and that the service is there; nothing was signed")
}

fn read(
    what: &str,
    url: &str,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    limit: u64,
) -> Result<Answer, Failure> {
    let mut answer = answer.map_err(|error| unanswered(what, url, &error.to_string()))?;
    let status = answer.status().as_u16();
    let limited = answer.body_mut().with_config().limit(limit);
    let body = limited.read_to_vec().map_err(|error| unanswered(what, url, &error.to_string()))?;
    Ok(Answer { status, body })
}

impl Answer {
    /// The body of an answer with one of those statuses; anything else is a failure that says
    /// what the service said.
    pub(super) fn expect(self, what: &str, url: &str, good: &[u16]) -> Result<Vec<u8>, Failure> {
        if good.contains(&self.status) {
            return Ok(self.body);
        }
        let text = String::from_utf8_lossy(&self.body);
        let shown: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
        let is_passing = self.status == 429 || self.status >= 500;
        let exit = if is_passing { Exit::Network } else { Exit::Incomplete };
        Err(failed(exit, what, url, &format!("status {}: {shown}", self.status)))
    }
}

//! What an answer to a malformed request says about the server.

use super::{Case, Class, Expectation};
use crate::finding::{
    API_ACCEPTED, API_ERROR, API_UNDESCRIBED, Finding, HTTP_DETAILS, HTTP_ERROR, HTTP_INJECTION,
    HTTP_SMUGGLING, HTTP_TRAVERSAL, shown,
};
use crate::http::Response;
use crate::wire::Answer;

/// Bytes of a request that a finding shows.
const REQUEST_SHOWN_MAX: usize = 240;

/// Texts of programs that tell their insides.
const INSIDES: &[&str] = &[
    "Traceback (most recent call last)",
    "goroutine 1 [running]",
    "panicked at",
    "java.lang.",
    "\tat org.",
    "Fatal error: Uncaught",
    "System.NullReferenceException",
    "node:internal/",
    "ActionController::",
    "Werkzeug Debugger",
];

/// How a server answers an ordinary request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Baseline {
    /// The status of its first page.
    pub status: u16,
}

/// An error that is the server's fault. 501 and 505 are right answers to odd requests, and 503
/// says that it has enough for now.
const fn is_error(status: u16) -> bool {
    matches!(status, 500 | 502 | 504 | 507 | 508)
}

/// What is wrong with the answer to `case`.
pub fn judge(case: &Case, answer: &Answer, baseline: Baseline) -> Vec<Finding> {
    let Some(response) = Response::parse(&answer.bytes) else { return Vec::new() };
    let status = response.status;
    let is_taken = (200..300).contains(&status);
    let mut found = Vec::new();
    let mut find = |check, detail: String| {
        let first = answer.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        found.push(
            Finding::new(check, detail)
                .with(&format!("request: {}", shown(&case.bytes, REQUEST_SHOWN_MAX)))
                .with(&format!("response: {}", shown(first, 80))),
        );
    };
    match &case.expectation {
        Expectation::Refused if is_taken => {
            find(&HTTP_SMUGGLING, format!("{} is answered with {status}", case.name));
        }
        Expectation::OneResponse if n_responses(&answer.bytes) > 1 => {
            find(&HTTP_SMUGGLING, format!("{}: both are answered", case.name));
        }
        Expectation::NoAccounts if response.says("root:x:0:0:") || response.says("root:*:0:0:") => {
            find(&HTTP_TRAVERSAL, format!("`/etc/passwd` came back ({})", case.name));
        }
        Expectation::NoHeader(name) if response.header(name).is_some() => {
            find(&HTTP_INJECTION, format!("{}: `{name}` came back as a header", case.name));
        }
        Expectation::Api { operation, is_invalid, statuses } => {
            if is_error(status) {
                find(&API_ERROR, format!("{operation}, {}: {status}", case.name));
            } else if *is_invalid && is_taken {
                find(&API_ACCEPTED, format!("{operation}, {}: {status}", case.name));
            } else if !*is_invalid && !is_described(status, statuses) {
                find(&API_UNDESCRIBED, format!("{operation}, {}: {status}", case.name));
            }
        }
        _ => {}
    }
    if is_error(status) && !is_error(baseline.status) && case.class != Class::Api {
        find(&HTTP_ERROR, format!("{}: {status}", case.name));
    }
    if status >= 400
        && let Some(text) = INSIDES.iter().find(|text| response.says(text))
    {
        find(&HTTP_DETAILS, format!("{}: the answer contains `{}`", case.name, text.trim()));
    }
    found
}

/// Whether a description has `status`: itself, its hundred, or `default`. Who is not logged in,
/// or asks too often, is told so without being described.
fn is_described(status: u16, statuses: &[String]) -> bool {
    let hundred = format!("{}xx", status / 100);
    statuses.is_empty()
        || matches!(status, 401 | 403 | 429)
        || statuses.iter().any(|known| {
            known == "default"
                || known.eq_ignore_ascii_case(&hundred)
                || *known == status.to_string()
        })
}

/// Responses that follow each other on one connection.
fn n_responses(bytes: &[u8]) -> usize {
    bytes
        .windows(9)
        .filter(|window| window.starts_with(b"HTTP/1.") && window.get(8) == Some(&b' '))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::End;

    fn check(expectation: Expectation, baseline: u16, answer: &str, expected: &[&str]) {
        let mut case = Case::new(Class::Headers, "x", "GET /");
        if matches!(expectation, Expectation::Api { .. }) {
            case.class = Class::Api;
        }
        case.expectation = expectation;
        let answer = Answer { bytes: answer.into(), end: End::Closed };
        let found = judge(&case, &answer, Baseline { status: baseline });
        let ids: Vec<&str> = found.iter().map(|finding| finding.check.id).collect();
        assert_eq!(ids, expected, "{answer:?}");
    }

    #[test]
    fn answers_are_judged_by_what_was_asked() {
        const OK: &str = "HTTP/1.1 200 OK\r\n\r\nroot:x:0:0:root";
        let api = |is_invalid, statuses: &[&str]| Expectation::Api {
            operation: "get".into(),
            is_invalid,
            statuses: statuses.iter().map(ToString::to_string).collect(),
        };
        check(Expectation::Sound, 200, OK, &[]);
        check(Expectation::Refused, 200, OK, &["http-ambiguous-request"]);
        check(Expectation::Refused, 200, "HTTP/1.1 400 no\r\n\r\n", &[]);
        check(Expectation::NoAccounts, 200, OK, &["http-path-traversal"]);
        check(
            Expectation::NoHeader("a"),
            200,
            "HTTP/1.1 302 x\r\nA: b\r\n\r\n",
            &["http-header-injection"],
        );
        check(
            Expectation::OneResponse,
            200,
            &format!("{OK}HTTP/1.1 404 x\r\n\r\n"),
            &["http-ambiguous-request"],
        );
        check(Expectation::OneResponse, 200, OK, &[]);
        check(Expectation::Sound, 200, "HTTP/1.1 500 x\r\n\r\n", &["http-server-error"]);
        check(Expectation::Sound, 500, "HTTP/1.1 500 x\r\n\r\n", &[]);
        check(Expectation::Sound, 200, "HTTP/1.1 501 x\r\n\r\n", &[]);
        check(
            Expectation::Sound,
            200,
            "HTTP/1.1 500 x\r\n\r\nTraceback (most recent call last):",
            &["http-server-error", "http-error-details"],
        );
        check(api(true, &["200"]), 200, OK, &["openapi-invalid-accepted"]);
        check(api(false, &["2XX"]), 200, OK, &[]);
        check(api(false, &["201"]), 200, OK, &["openapi-undescribed-status"]);
        check(api(false, &["201", "default"]), 200, OK, &[]);
        check(api(true, &["500"]), 200, "HTTP/1.1 500 x\r\n\r\n", &["openapi-server-error"]);
        check(Expectation::Refused, 200, "", &[]);
    }
}

//! Malformed requests and described calls for one server of HTTP, and a look after each what
//! became of the subject.

use std::time::{Duration, Instant};

use palisade_base::Timestamp;

use crate::breakage::Watcher;
use crate::finding::Place;
use crate::fuzz::{Baseline, Case, Expectation, PATHS_MAX, cases, judge};
use crate::http::{self, Response};
use crate::openapi::{self, Api};
use crate::session::{Probe, REQUESTS_MAX, Settings, over};
use crate::subject::Subject;
use crate::wire::{ANSWER_BYTES_MAX, Answer, End, Endpoint, Wire, ask};

/// How long an answer is waited for that need not come.
const UNFINISHED_PATIENCE: Duration = Duration::from_millis(250);
/// How long a second response is waited for that should not come.
const SECOND_PATIENCE: Duration = Duration::from_millis(700);
/// Longest path that is taken from a page, in bytes.
const LINK_BYTES_MAX: usize = 200;

/// Sends one server its malformed requests, and looks after each what became of it.
pub(crate) fn send_all(
    settings: &Settings,
    endpoint: Endpoint,
    index: usize,
    watcher: &mut Watcher<'_>,
    probe: &mut Probe,
    end: Instant,
) {
    let subject = watcher.subject();
    let protocol = if endpoint.is_tls { "https" } else { "http" };
    let place = Place { transport: "tcp", port: endpoint.to.port(), protocol: protocol.into() };
    let Some(first) = first_page(subject, endpoint, settings.deadline) else {
        return probe.gap(&format!("port {}: its first page does not come", place.port));
    };
    let baseline = Baseline { status: first.status };
    let mut paths = settings.paths.clone();
    paths.extend(links(&first));
    let api = match (&settings.openapi, &settings.openapi_path) {
        (Some(api), _) => Some(api.clone()),
        (None, Some(path)) => fetched(subject, endpoint, settings.deadline, path, probe),
        (None, None) => None,
    };
    let described =
        api.as_ref().map(|api| openapi::cases(api, settings.n_requests)).unwrap_or_default();
    if let Some(api) = api.filter(|api| api.n_left_out > 0) {
        probe.gap(&format!(
            "port {}: {} described calls beyond the first",
            place.port, api.n_left_out
        ));
    }
    let mut known: Vec<(&'static str, String)> = Vec::new();
    let mut n_sent = 0;
    for case in described.into_iter().chain(cases(
        settings.seed,
        settings.n_requests.min(REQUESTS_MAX),
        &paths,
    )) {
        if let Some(why) = over(subject, end) {
            probe.gap(&format!("port {}: not all malformed requests were sent: {why}", place.port));
            break;
        }
        n_sent += 1;
        let start = Timestamp::now();
        let answer = send(subject, endpoint, settings.deadline, &case);
        for finding in judge(&case, &answer, baseline) {
            // Of one class one is enough to know; the others have the same remedy.
            let key = (finding.check.id, group(&case));
            if !known.contains(&key) {
                known.push(key);
                probe.add(finding.at(&place));
            }
        }
        if !watcher.after(&case, start, &answer, endpoint, baseline, &place, probe) {
            probe.gap(&format!(
                "port {}: {n_sent} malformed requests were sent, then it was given up",
                place.port
            ));
            break;
        }
    }
    if let Some(port) = probe.ports.get_mut(index) {
        port.n_requests = n_sent;
    }
}

/// What makes findings of one check the same: the class, or the described call.
fn group(case: &Case) -> String {
    match &case.expectation {
        Expectation::Api { operation, .. } => operation.clone(),
        _ => case.class.as_str().to_string(),
    }
}

pub(crate) fn send(
    subject: &dyn Subject,
    endpoint: Endpoint,
    deadline: Duration,
    case: &Case,
) -> Answer {
    let patience = if case.is_unfinished { UNFINISHED_PATIENCE.min(deadline) } else { deadline };
    let one = case.expectation == Expectation::OneResponse;
    let nothing = |end| Answer { bytes: Vec::new(), end };
    let Ok(mut wire) = Wire::open(subject, endpoint, deadline) else { return nothing(End::Reset) };
    let _sent_as_far_as_it_goes = wire.send(&case.bytes);
    if one {
        // A second response comes after the first: its end is not waited for, but it.
        return wire.receive(ANSWER_BYTES_MAX, patience.min(SECOND_PATIENCE), |_| false);
    }
    wire.receive(ANSWER_BYTES_MAX, patience, http::is_whole)
}

/// The first page, as an ordinary client gets it.
pub(crate) fn first_page(
    subject: &dyn Subject,
    endpoint: Endpoint,
    deadline: Duration,
) -> Option<Response> {
    let question = http::request("GET", "/", &[], b"");
    let answer = ask(subject, endpoint, deadline, &question, http::is_whole).ok()?;
    Response::parse(&answer.bytes)
}

fn fetched(
    subject: &dyn Subject,
    endpoint: Endpoint,
    deadline: Duration,
    path: &str,
    probe: &mut Probe,
) -> Option<Api> {
    let question = http::request("GET", path, &[], b"");
    let answer = ask(subject, endpoint, deadline, &question, http::is_whole).ok();
    let response = answer.as_ref().and_then(|answer| Response::parse(&answer.bytes));
    let port = endpoint.to.port();
    match response {
        Some(response) if response.status == 200 => {
            match Api::parse(&String::from_utf8_lossy(&response.body)) {
                Ok(api) => Some(api),
                Err(error) => {
                    probe.gap(&format!("port {port}: {path}: {error}"));
                    None
                }
            }
        }
        other => {
            let status =
                other.map_or("no answer".to_string(), |response| response.status.to_string());
            probe.gap(&format!("port {port}: no description of an API at {path}: {status}"));
            None
        }
    }
}

/// Paths of the server itself that a page names.
fn links(page: &Response) -> Vec<String> {
    let text = String::from_utf8_lossy(&page.body);
    let mut found = vec!["/".to_string()];
    for mark in ["href=\"", "src=\"", "action=\""] {
        for part in text.split(mark).skip(1) {
            let Some((link, _)) = part.split_once('"') else { continue };
            let path = link.split('#').next().unwrap_or_default();
            let is_own =
                path.starts_with('/') && !path.starts_with("//") && path.len() < LINK_BYTES_MAX;
            let is_clean = path.bytes().all(|byte| byte.is_ascii_graphic());
            if is_own
                && is_clean
                && !found.iter().any(|known| known == path)
                && found.len() < PATHS_MAX
            {
                found.push(path.to_string());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_paths_of_its_own() {
        let body = b"<a href=\"/a?b=c#d\">x</a><a href=\"https://e/\"><img src=\"/i.png\"><a href=\"//e/x\"><a href=\"/a b\"><a href=\"/a?b=c\">".to_vec();
        let page = Response { status: 200, headers: Vec::new(), body, is_whole: true };
        assert_eq!(links(&page), ["/", "/a?b=c", "/i.png"]);
    }
}

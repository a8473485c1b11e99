//! A probe from its beginning to its end: who listens, what is spoken, what is weak, what breaks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::Severity;
use serde::Serialize;

use crate::breakage::{Crash, Watcher};
use crate::escape::{ATTEMPTS, LACKS, Tried, Verdict};
use crate::finding::{ESCAPE, FINDINGS_MAX, Finding, Place};
use crate::fuzz::{Baseline, Case, cases, judge};
use crate::http::{self, Response};
use crate::listen::{LISTENERS_MAX, Listener, Transport, listeners};
use crate::openapi::{self, Api};
use crate::protocol::{Protocol, QUESTIONS, recognise, recognise_answer};
use crate::services::{self, Server};
use crate::subject::Subject;
use crate::tls;
use crate::wire::{Answer, End, Endpoint, Wire, ask};

/// How long a server may take to say something by itself.
const BANNER_PATIENCE: Duration = Duration::from_millis(400);
/// How long an answer is waited for that need not come.
const UNFINISHED_PATIENCE: Duration = Duration::from_millis(250);
/// How often a table of sockets is read while the program starts.
const SETTLE_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes of a banner that are read.
const BANNER_BYTES_MAX: usize = 4096;
/// Most requests that one server is sent.
pub const REQUESTS_MAX: usize = 100_000;
/// What could not be looked at; more are counted.
pub const GAPS_MAX: usize = 200;

/// What is done, and for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// One conversation.
    pub deadline: Duration,
    /// All of the probe.
    pub whole: Duration,
    /// How long the program may take until it listens.
    pub settle: Duration,
    /// The seed of what is by chance.
    pub seed: u64,
    /// Malformed requests for each server of HTTP; 0: none.
    pub n_requests: usize,
    /// Paths that are there, besides those that the first page names.
    pub paths: Vec<String>,
    /// The description of the API.
    pub openapi: Option<Api>,
    /// The description's path, where the server has it itself.
    pub openapi_path: Option<String>,
    /// Whether attempts are made from inside.
    pub attempts: bool,
    /// The time by which certificates are judged.
    pub now: Timestamp,
}

/// A listener and what is known of it.
#[derive(Debug, Clone, Serialize)]
pub struct Port {
    /// `tcp` or `udp`.
    pub transport: Transport,
    /// The port.
    pub port: u16,
    /// The addresses at which it listens.
    pub addresses: Vec<IpAddr>,
    /// Whether it listens on loopback alone.
    pub is_loopback: bool,
    /// What is spoken; within TLS where there is TLS.
    pub protocol: Protocol,
    /// Versions of TLS that are spoken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<&'static str>,
    /// What it says of itself, cut.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub banner: String,
    /// Malformed requests that were sent.
    pub n_requests: u64,
}

/// What a probe came to.
#[derive(Debug, Default)]
pub struct Probe {
    /// Who listens.
    pub ports: Vec<Port>,
    /// What is weak, the worst first.
    pub findings: Vec<Finding>,
    /// Findings beyond [`FINDINGS_MAX`].
    pub n_findings_dropped: u64,
    /// What broke.
    pub crashes: Vec<Crash>,
    /// What was tried from inside.
    pub attempts: Vec<Tried>,
    /// What could not be looked at, and why.
    pub gaps: Vec<String>,
    /// How often the container was started anew.
    pub n_restarts: u64,
    /// Events of the sensor that were seen.
    pub n_events: u64,
}

impl Probe {
    pub(crate) fn gap(&mut self, text: &str) {
        let text = crate::finding::cut(text);
        if self.gaps.len() < GAPS_MAX && !self.gaps.contains(&text) {
            self.gaps.push(text);
        }
    }

    /// Adds a finding; of one check at one place the first is kept, with the number of others.
    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        } else {
            self.n_findings_dropped += 1;
        }
    }

    /// The worst of all findings.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }
}

/// Why nothing more is done, if so.
fn over(subject: &dyn Subject, end: Instant) -> Option<&'static str> {
    if subject.is_interrupted() {
        return Some("it was interrupted");
    }
    (Instant::now() >= end).then_some("the time was over")
}

/// Probes `subject`; `progress` is told what is being done.
pub fn probe(subject: &dyn Subject, settings: &Settings, progress: &mut dyn FnMut(&str)) -> Probe {
    let mut probe = Probe::default();
    let end = Instant::now() + settings.whole;
    progress("waiting until it listens");
    let found = settled(subject, settings.settle);
    if found.is_empty() {
        probe.gap("nothing listens");
    }
    if found.len() > LISTENERS_MAX {
        probe.gap(&format!(
            "{} listeners beyond the first {LISTENERS_MAX}",
            found.len() - LISTENERS_MAX
        ));
    }
    let mut watcher = Watcher::new(subject, settings.deadline);
    let mut servers = Vec::new();
    for listener in found.iter().take(LISTENERS_MAX) {
        if let Some(why) = over(subject, end) {
            probe.gap(&format!("port {} was not looked at: {why}", listener.port));
            continue;
        }
        if listener.transport == Transport::Udp {
            probe.gap(&format!("port {} of UDP is named and not tested", listener.port));
            probe.ports.push(port(listener, Protocol::Unknown));
            continue;
        }
        progress(&format!("port {}", listener.port));
        if let Some((endpoint, index)) = look(subject, settings, listener, &mut probe) {
            servers.push((endpoint, index));
        }
        if !watcher.is_alive(&mut probe) {
            break;
        }
    }
    if settings.attempts {
        progress("attempts from inside");
        attempts(subject, &mut probe, end);
    }
    for (endpoint, index) in servers {
        if settings.n_requests > 0
            && probe.ports.get(index).is_some_and(|port| port.protocol == Protocol::Http)
        {
            progress(&format!("malformed requests for port {}", endpoint.to.port()));
            fuzz(settings, endpoint, index, &mut watcher, &mut probe, end);
        }
    }
    watcher.finish(&mut probe);
    probe
        .findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.check.id.cmp(b.check.id)));
    probe
}

/// The listeners, once they have been the same for two looks, or at the end of `patience`.
fn settled(subject: &dyn Subject, patience: Duration) -> Vec<Listener> {
    let end = Instant::now() + patience;
    let mut last: Vec<Listener> = Vec::new();
    let mut n_same = 0;
    loop {
        let tables = subject.tables();
        let tables: Vec<(Transport, &str)> =
            tables.iter().map(|(t, text)| (*t, text.as_str())).collect();
        let now = listeners(&tables);
        n_same = if now == last && !now.is_empty() { n_same + 1 } else { 0 };
        last = now;
        if n_same >= 3 || over(subject, end).is_some() || !subject.pulse().is_running {
            return last;
        }
        std::thread::sleep(SETTLE_INTERVAL);
    }
}

fn port(listener: &Listener, protocol: Protocol) -> Port {
    Port {
        transport: listener.transport,
        port: listener.port,
        addresses: listener.addresses.clone(),
        is_loopback: listener.is_loopback(),
        protocol,
        tls: Vec::new(),
        banner: String::new(),
        n_requests: 0,
    }
}

/// Where a listener is reached: as others would, or else through loopback.
fn reach(subject: &dyn Subject, listener: &Listener) -> SocketAddr {
    let own = subject.address().filter(|address| listener.takes(*address));
    let loopback: IpAddr = if listener.takes(Ipv4Addr::LOCALHOST.into()) {
        Ipv4Addr::LOCALHOST.into()
    } else if listener.takes(Ipv6Addr::LOCALHOST.into()) {
        Ipv6Addr::LOCALHOST.into()
    } else {
        listener.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
    };
    SocketAddr::new(own.unwrap_or(loopback), listener.port)
}

/// Looks at one listener; where it can be spoken to, and its place in the list of ports.
fn look(
    subject: &dyn Subject,
    settings: &Settings,
    listener: &Listener,
    probe: &mut Probe,
) -> Option<(Endpoint, usize)> {
    let mut endpoint = Endpoint { to: reach(subject, listener), is_tls: false };
    let mut told = port(listener, Protocol::Unknown);
    let index = probe.ports.len();
    let name = |protocol: Protocol, is_tls: bool| {
        let inner = protocol.as_str();
        let protocol = match (is_tls, protocol) {
            (true, Protocol::Http) => "https".to_string(),
            (true, Protocol::Tls | Protocol::Unknown) => "tls".to_string(),
            (true, _) => format!("{inner} within tls"),
            (false, _) => inner.to_string(),
        };
        Place { transport: listener.transport.as_str(), port: listener.port, protocol }
    };
    let recognised = identify(subject, endpoint, settings.deadline);
    let (mut protocol, banner) = match recognised {
        Ok(found) => found,
        Err(error) => {
            probe.gap(&format!("port {}: {error}", listener.port));
            probe.ports.push(told);
            return None;
        }
    };
    told.banner = banner;
    if protocol == Protocol::Tls
        && let Ok(Some(report)) = tls::examine(subject, endpoint, settings.deadline, settings.now)
    {
        told.tls.clone_from(&report.versions);
        endpoint.is_tls = true;
        if report.is_usable {
            let inner = identify(subject, endpoint, settings.deadline).ok();
            (protocol, told.banner) = inner.unwrap_or((Protocol::Unknown, String::new()));
        } else {
            probe.gap(&format!(
                "port {}: what is within its TLS is too old to be spoken to",
                listener.port
            ));
        }
        let place = name(protocol, true);
        for finding in report.findings {
            probe.add(finding.at(&place));
        }
    }
    told.protocol = protocol;
    let place = name(protocol, endpoint.is_tls);
    let server = Server { dial: subject, endpoint, place: &place, deadline: settings.deadline };
    let outcome = services::examine(protocol, &server);
    for mut finding in outcome.findings {
        // Whoever is not in the container does not reach it.
        if told.is_loopback && finding.severity > Severity::Low {
            finding = finding.with("it listens on loopback alone");
            finding.severity = Severity::Low;
        }
        probe.add(finding);
    }
    for gap in outcome.gaps {
        probe.gap(&format!("port {}: {gap}", listener.port));
    }
    probe.ports.push(told);
    Some((endpoint, index))
}

/// Which protocol is spoken at `endpoint`, and what was said.
fn identify(
    subject: &dyn Subject,
    endpoint: Endpoint,
    deadline: Duration,
) -> io::Result<(Protocol, String)> {
    let shown = |bytes: &[u8]| {
        crate::finding::shown(
            bytes.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii(),
            120,
        )
    };
    let mut wire = Wire::open(subject, endpoint, deadline)?;
    let said = wire.receive(BANNER_BYTES_MAX, BANNER_PATIENCE, |bytes| recognise(bytes).is_some());
    if let Some(protocol) = recognise(&said.bytes) {
        return Ok((protocol, shown(&said.bytes)));
    }
    drop(wire);
    let port = endpoint.to.port();
    let (first, then): (Vec<_>, Vec<_>) =
        QUESTIONS.iter().partition(|question| question.ports.contains(&port));
    let patience = deadline.min(Duration::from_secs(1));
    for question in first.into_iter().chain(then) {
        if question.of == Protocol::Tls {
            let hello =
                tls::hello::client_hello(tls::hello::Version::TLS12, tls::hello::SUITES, false);
            let answer = if endpoint.is_tls {
                None
            } else {
                ask(subject, endpoint, patience, &hello, tls::hello::is_whole).ok()
            };
            // An alert may also answer what is no TLS; a hello of version 1.2 never does.
            if answer
                .is_some_and(|answer| tls::hello::parse(&answer.bytes) != tls::hello::Reply::Other)
            {
                return Ok((Protocol::Tls, String::new()));
            }
            continue;
        }
        let is_known = |bytes: &[u8]| recognise_answer(question.of, bytes).is_some();
        let Ok(answer) = ask(subject, endpoint, patience, question.bytes, is_known) else {
            continue;
        };
        if let Some(protocol) = recognise_answer(question.of, &answer.bytes) {
            let banner = match Response::parse(&answer.bytes)
                .and_then(|r| r.header("server").map(str::to_string))
            {
                Some(server) => crate::finding::cut(&server),
                None if protocol == Protocol::Tls => String::new(),
                None => shown(&answer.bytes),
            };
            return Ok((protocol, banner));
        }
    }
    Ok((Protocol::Unknown, shown(&said.bytes)))
}

fn attempts(subject: &dyn Subject, probe: &mut Probe, end: Instant) {
    match subject.execute("exit 0") {
        Ok(done) if done.code == 0 => {}
        Ok(done) => {
            return probe
                .gap(&format!("attempts from inside: no shell ({}; {})", done.code, done.output));
        }
        Err(why) => return probe.gap(&format!("attempts from inside: {why}")),
    }
    for attempt in ATTEMPTS {
        if let Some(why) = over(subject, end) {
            return probe.gap(&format!("attempt `{}` was not made: {why}", attempt.id));
        }
        let verdict = match subject.execute(attempt.script) {
            Ok(done) if done.code == 0 => Verdict::Through,
            Ok(done) if done.code == LACKS => Verdict::Skipped,
            Ok(_) => Verdict::Refused,
            Err(why) => {
                probe.gap(&format!("attempt `{}`: {why}", attempt.id));
                continue;
            }
        };
        if verdict == Verdict::Through {
            let mut finding = Finding::new(&ESCAPE, format!("{} ({})", attempt.title, attempt.id))
                .with(attempt.technique);
            finding.severity = attempt.severity;
            probe.add(finding);
        }
        let (title, technique) = (attempt.title, attempt.technique);
        probe.attempts.push(Tried { attempt: attempt.id, title, technique, verdict });
    }
}

/// Sends one server its malformed requests, and looks after each what became of it.
fn fuzz(
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
        crate::fuzz::Expectation::Api { operation, .. } => operation.clone(),
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
    let one = case.expectation == crate::fuzz::Expectation::OneResponse;
    let nothing = |end| Answer { bytes: Vec::new(), end };
    let Ok(mut wire) = Wire::open(subject, endpoint, deadline) else { return nothing(End::Reset) };
    let _sent_as_far_as_it_goes = wire.send(&case.bytes);
    if one {
        // A second response comes after the first: its end is not waited for, but it.
        return wire.receive(
            crate::wire::ANSWER_BYTES_MAX,
            patience.min(Duration::from_millis(700)),
            |_| false,
        );
    }
    wire.receive(crate::wire::ANSWER_BYTES_MAX, patience, http::is_whole)
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
            let is_own = path.starts_with('/') && !path.starts_with("//") && path.len() < 200;
            let is_clean = path.bytes().all(|byte| byte.is_ascii_graphic());
            if is_own
                && is_clean
                && !found.iter().any(|known| known == path)
                && found.len() < crate::fuzz::PATHS_MAX
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

//! A probe from its beginning to its end: who listens, what is spoken, what is weak, what breaks.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::Severity;
use serde::Serialize;

use crate::breakage::{Crash, Watcher};
use crate::escape::{ATTEMPTS, LACKS, Tried, Verdict};
use crate::finding::{ESCAPE, FINDINGS_MAX, Finding};
use crate::listen::{LISTENERS_MAX, Listener, Transport, listeners};
use crate::look::{look, port};
use crate::malformed;
use crate::openapi::Api;
use crate::protocol::Protocol;
use crate::subject::Subject;
use crate::wire::Endpoint;

/// How often a table of sockets is read while the program starts.
const SETTLE_INTERVAL: Duration = Duration::from_millis(200);
/// So many looks in a row have to be the same, with the program at rest between them.
const SETTLE_LOOKS: u32 = 3;
/// A program is at rest that computes for less than this part of the time.
const REST_DIVISOR: u32 = 4;
/// How often it is looked for listeners that came meanwhile.
const ROUNDS_MAX: usize = 4;
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
    /// Notes what could not be looked at, once and cut.
    pub(crate) fn gap(&mut self, text: &str) {
        let text = crate::finding::cut(text);
        if self.gaps.len() < GAPS_MAX && !self.gaps.contains(&text) {
            self.gaps.push(text);
        }
    }

    /// Adds a finding, or counts it when there are too many.
    pub(crate) fn add(&mut self, finding: Finding) {
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
pub(crate) fn over(subject: &dyn Subject, end: Instant) -> Option<&'static str> {
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
    let mut found = settled(subject, settings.settle);
    if found.is_empty() {
        probe.gap("nothing listens");
    }
    let mut watcher = Watcher::new(subject, settings.deadline);
    let mut servers = Vec::new();
    for _ in 0..ROUNDS_MAX {
        if !look_at_all(&found, settings, &mut watcher, &mut servers, &mut probe, end, progress) {
            break;
        }
        // A program may take its time: what listens by now is looked at too.
        found = current(subject);
        found.retain(|listener| {
            !probe
                .ports
                .iter()
                .any(|port| (port.transport, port.port) == (listener.transport, listener.port))
        });
        if found.is_empty() {
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
            malformed::send_all(settings, endpoint, index, &mut watcher, &mut probe, end);
        }
    }
    watcher.finish(&mut probe);
    probe
        .findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.check.id.cmp(b.check.id)));
    probe
}

/// Looks at each of `found`; those that can be spoken to are added to `servers`. False when it
/// makes no sense to go on.
fn look_at_all(
    found: &[Listener],
    settings: &Settings,
    watcher: &mut Watcher<'_>,
    servers: &mut Vec<(Endpoint, usize)>,
    probe: &mut Probe,
    end: Instant,
    progress: &mut dyn FnMut(&str),
) -> bool {
    let subject = watcher.subject();
    let n_free = LISTENERS_MAX.saturating_sub(probe.ports.len());
    if found.len() > n_free {
        let n_more = found.len() - n_free;
        probe.gap(&format!("{n_more} listeners beyond the first {LISTENERS_MAX}"));
    }
    for listener in found.iter().take(n_free) {
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
        servers.extend(look(subject, settings, listener, probe));
        if !watcher.is_alive(probe) {
            return false;
        }
    }
    found.len() <= n_free && over(subject, end).is_none()
}

/// The listeners now.
fn current(subject: &dyn Subject) -> Vec<Listener> {
    let tables = subject.tables();
    let tables: Vec<(Transport, &str)> =
        tables.iter().map(|(transport, text)| (*transport, text.as_str())).collect();
    listeners(&tables)
}

/// The listeners, once they have been the same for some looks while the program was at rest, or
/// at the end of `patience`.
fn settled(subject: &dyn Subject, patience: Duration) -> Vec<Listener> {
    let end = Instant::now() + patience;
    let mut last: Vec<Listener> = Vec::new();
    let (mut looked, mut cpu) = (Instant::now(), subject.pulse().cpu);
    let mut n_same = 0;
    loop {
        std::thread::sleep(SETTLE_INTERVAL);
        let pulse = subject.pulse();
        let now = current(subject);
        // One that still computes still starts: servers in Java and Erlang open the port that
        // matters after others.
        let busy = pulse.cpu.zip(cpu).map(|(now, before)| now.saturating_sub(before));
        let is_at_rest = busy.is_none_or(|busy| busy * REST_DIVISOR < looked.elapsed());
        (looked, cpu) = (Instant::now(), pulse.cpu);
        n_same = if now == last && !now.is_empty() && is_at_rest { n_same + 1 } else { 0 };
        last = now;
        if n_same >= SETTLE_LOOKS || over(subject, end).is_some() || !pulse.is_running {
            return last;
        }
    }
}

fn attempts(subject: &dyn Subject, probe: &mut Probe, end: Instant) {
    match subject.execute("exit 0") {
        Ok(done) if done.code == 0 => {}
        Ok(done) => {
            let said = done.output.lines().next().unwrap_or_default();
            return probe
                .gap(&format!("attempts from inside: no shell (exit {}: {said})", done.code));
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

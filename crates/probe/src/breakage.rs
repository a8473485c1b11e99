//! What a request broke: found by the first process, by signals that the sensor saw, by the
//! kernel's count of memory kills, and by ordinary requests that are answered no more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use palisade_base::Timestamp;
use serde::Serialize;

use crate::finding::{
    CRASH_ERRORS, CRASH_EXIT, CRASH_HANG, CRASH_MEMORY, CRASH_SIGNAL, Check, Finding, Place, shown,
};
use crate::fuzz::{Baseline, Case};
use crate::malformed::{first_page, send};
use crate::session::Probe;
use crate::subject::{Event, Subject};
use crate::wire::{Answer, End, Endpoint};

/// Requests that are remembered, for an event that comes late.
const REQUESTS_KEPT: usize = 32;
/// Events that are remembered, for what led there.
const EVENTS_KEPT: usize = 256;
/// Events that a crash shows.
pub const EVENTS_SHOWN: usize = 40;
/// Bytes of a request that a crash keeps whole.
pub const REQUEST_KEPT_MAX: usize = 256 * 1024;
/// How often the container is started anew in one probe.
pub const RESTARTS_MAX: u64 = 20;
/// Crashes that are told; more are counted as findings alone.
pub const CRASHES_MAX: usize = 50;
/// How late the sensor's events may come.
const EVENT_PATIENCE: Duration = Duration::from_millis(400);
/// How late the event of a request may come that was answered.
const EVENTS_LATE: Duration = Duration::from_millis(100);
/// How long the kernel may take to end a process.
const END_PATIENCE: Duration = Duration::from_millis(800);
/// How long a program may take to listen again.
const RESTART_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks at a page that may be in trouble for a moment.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// Between two looks at what ought to come soon.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A look at an ordinary page after so many requests.
const LOOK_EVERY: u64 = 25;

/// The request that broke something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Request {
    /// What is odd about it.
    pub name: String,
    /// Its class.
    pub class: &'static str,
    /// Its beginning, for people.
    pub shown: String,
    /// All of it, unless it is very long.
    pub base64: String,
    /// Its length in bytes.
    pub n_bytes: usize,
}

/// Something that broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// The check: `crash-signal`.
    pub kind: &'static str,
    /// When it was noticed.
    pub time: Timestamp,
    /// Where the request went.
    pub place: Place,
    /// What happened, in a sentence.
    pub detail: String,
    /// The request.
    pub request: Request,
    /// The requests before it, the last one last.
    pub before: Vec<String>,
    /// Whether the same request breaks the same again; nothing: it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_reproduced: Option<bool>,
    /// What the sensor saw until then, the last one last.
    pub events: Vec<Event>,
    /// The end of what the program printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
}

/// What has happened since the last look.
struct Breakage {
    check: &'static Check,
    detail: String,
    /// The event's own time, where there is one.
    time: Option<Timestamp>,
}

/// Looks after each request what became of the subject.
pub(crate) struct Watcher<'a> {
    subject: &'a dyn Subject,
    deadline: Duration,
    requests: VecDeque<(Timestamp, Case)>,
    events: VecDeque<Event>,
    n_events: u64,
    n_out_of_memory: u64,
    n_requests: u64,
    n_restarts: u64,
    /// Checks and places that were told with all they have.
    known: Vec<(&'static str, String)>,
}

impl<'a> Watcher<'a> {
    pub(crate) fn new(subject: &'a dyn Subject, deadline: Duration) -> Self {
        Self {
            subject,
            deadline,
            requests: VecDeque::new(),
            events: VecDeque::new(),
            n_events: 0,
            n_out_of_memory: subject.pulse().n_out_of_memory,
            n_requests: 0,
            n_restarts: 0,
            known: Vec::new(),
        }
    }

    pub(crate) fn subject(&self) -> &'a dyn Subject {
        self.subject
    }

    /// Whether it survived what was asked so far, which was nothing malformed.
    pub(crate) fn is_alive(&mut self, probe: &mut Probe) -> bool {
        self.drain();
        if self.subject.pulse().is_running {
            return true;
        }
        let log = self.subject.log();
        let finding = Finding::new(&CRASH_EXIT, "its program has ended while it was looked at");
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        probe.add(last.into_iter().rev().fold(finding, Finding::with));
        self.restart().is_ok()
    }

    fn drain(&mut self) {
        for event in self.subject.events() {
            self.n_events += 1;
            self.events.push_back(event);
            if self.events.len() > EVENTS_KEPT {
                self.events.pop_front();
            }
        }
    }

    /// Looks after `case`; false when it makes no sense to go on.
    #[expect(clippy::too_many_arguments, reason = "all of it is about one request")]
    pub(crate) fn after(
        &mut self,
        case: &Case,
        start: Timestamp,
        answer: &Answer,
        endpoint: Endpoint,
        baseline: Baseline,
        place: &Place,
        probe: &mut Probe,
    ) -> bool {
        self.n_requests += 1;
        self.requests.push_back((start, case.clone()));
        if self.requests.len() > REQUESTS_KEPT {
            self.requests.pop_front();
        }
        let is_odd =
            answer.bytes.is_empty() && !(case.is_unfinished && answer.end == End::Deadline);
        let look = is_odd || self.n_requests.is_multiple_of(LOOK_EVERY);
        let Some(breakage) = self.breakage(endpoint, baseline, look) else { return true };
        self.tell(&breakage, endpoint, baseline, place, probe)
    }

    /// What has broken since the last look. With `look` an ordinary request is sent too.
    fn breakage(&mut self, endpoint: Endpoint, baseline: Baseline, look: bool) -> Option<Breakage> {
        let n_known = self.n_events;
        self.drain();
        let pulse = self.subject.pulse();
        if !pulse.is_running {
            self.wait_for_events();
        }
        if pulse.n_out_of_memory > self.n_out_of_memory {
            self.n_out_of_memory = pulse.n_out_of_memory;
            let detail = "the kernel killed a process of it for want of memory".into();
            return Some(Breakage { check: &CRASH_MEMORY, detail, time: None });
        }
        let since = self.requests.front().map_or(Timestamp::from_nanos(0), |(start, _)| *start);
        let n_fresh = usize::try_from(self.n_events - n_known).unwrap_or(usize::MAX);
        let n_old = self.events.len().saturating_sub(n_fresh);
        let signal = self.events.iter().skip(n_old).find_map(|event| {
            let signal = event.fatal_signal().filter(|_| event.time >= since)?;
            // Programs end their own children with these.
            let is_asked =
                matches!(signal, "SIGTERM" | "SIGKILL" | "SIGINT" | "SIGPIPE" | "SIGHUP");
            (!is_asked)
                .then(|| (event.time, format!("{signal} ended {}[{}]", event.process, event.pid)))
        });
        if let Some((time, detail)) = signal {
            return Some(Breakage { check: &CRASH_SIGNAL, detail, time: Some(time) });
        }
        if !pulse.is_running {
            let end = self.events.iter().rev().find(|event| event.kind == "procexit");
            let how = end
                .map(|event| format!(": {}[{}] {}", event.process, event.pid, event.detail))
                .unwrap_or_default();
            let time = end.map(|event| event.time);
            return Some(Breakage {
                check: &CRASH_EXIT,
                detail: format!("its program has ended{how}"),
                time,
            });
        }
        if !look {
            return None;
        }
        // Twice, so that a server that is only busy is not called dead.
        for _ in 0..2 {
            match first_page(self.subject, endpoint, self.deadline) {
                Some(page) if page.status < 500 || page.status == baseline.status => return None,
                Some(page) => {
                    std::thread::sleep(BETWEEN_LOOKS);
                    let status = page.status;
                    let again = first_page(self.subject, endpoint, self.deadline);
                    if again.is_some_and(|page| page.status >= 500) {
                        let detail =
                            format!("its first page is answered with {status} from now on");
                        return Some(Breakage { check: &CRASH_ERRORS, detail, time: None });
                    }
                }
                None => {}
            }
        }
        // It may just be ending.
        if self.ends() {
            return self.breakage(endpoint, baseline, false);
        }
        let detail =
            format!("its first page does not come within {} ms", self.deadline.as_millis());
        Some(Breakage { check: &CRASH_HANG, detail, time: None })
    }

    /// Whether its first process ends within [`END_PATIENCE`]: one that is killed still looks
    /// alive while the kernel takes its memory away.
    fn ends(&self) -> bool {
        let end = Instant::now() + END_PATIENCE;
        while self.subject.pulse().is_running {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        true
    }

    fn wait_for_events(&mut self) {
        let end = Instant::now() + EVENT_PATIENCE;
        let n = self.n_events;
        while Instant::now() < end {
            self.drain();
            if self.n_events > n && self.events.back().is_some_and(|event| event.kind == "procexit")
            {
                break;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Puts a breakage into the report, tries it once more, and sees to it that the subject can
    /// be spoken to again.
    fn tell(
        &mut self,
        breakage: &Breakage,
        endpoint: Endpoint,
        baseline: Baseline,
        place: &Place,
        probe: &mut Probe,
    ) -> bool {
        let culprit = match breakage.time {
            // The last request that had begun when it happened.
            Some(time) => self.requests.iter().rposition(|(start, _)| *start <= time),
            None => None,
        };
        let culprit = culprit.unwrap_or(self.requests.len().saturating_sub(1));
        let Some((_, case)) = self.requests.get(culprit).cloned() else { return false };
        let key = (
            breakage.check.id,
            format!("{} {}", place.port, breakage.detail.split('[').next().unwrap_or_default()),
        );
        let is_known = self.known.contains(&key);
        let before: Vec<String> =
            self.requests.iter().take(culprit).map(|(_, case)| case.name.clone()).collect();
        let events: Vec<Event> = self
            .events
            .iter()
            .skip(self.events.len().saturating_sub(EVENTS_SHOWN))
            .cloned()
            .collect();
        let log = self.subject.log();
        let needs_restart = matches!(
            breakage.check.id,
            "crash-exit" | "crash-hang" | "crash-error-burst" | "crash-memory"
        );
        let mut can_go_on = self.recover(needs_restart, endpoint, place, probe);
        if is_known || probe.crashes.len() >= CRASHES_MAX {
            return can_go_on;
        }
        self.known.push(key);
        let mut is_reproduced = None;
        if can_go_on {
            self.requests.push_back((Timestamp::now(), case.clone()));
            let answer = send(self.subject, endpoint, self.deadline, &case);
            // The sensor may be late.
            std::thread::sleep(EVENTS_LATE);
            let look = answer.bytes.is_empty();
            let again = self.breakage(endpoint, baseline, look);
            is_reproduced = Some(again.as_ref().is_some_and(|again| again.check == breakage.check));
            if again.is_some() {
                can_go_on = self.recover(needs_restart, endpoint, place, probe);
            }
        }
        let kept = case.bytes.get(..REQUEST_KEPT_MAX.min(case.bytes.len())).unwrap_or_default();
        let request = Request {
            name: case.name.clone(),
            class: case.class.as_str(),
            shown: shown(&case.bytes, 400),
            base64: STANDARD.encode(kept),
            n_bytes: case.bytes.len(),
        };
        let mut finding =
            Finding::new(breakage.check, format!("{}: {}", case.name, breakage.detail))
                .at(place)
                .with(&format!("request: {}", request.shown));
        if let Some(again) = is_reproduced {
            finding = finding.with(if again {
                "the same request did it again"
            } else {
                "the same request did not do it again"
            });
        }
        for event in events.iter().rev().take(5).rev() {
            finding = finding.with(&format!("event: {}", event.line()));
        }
        probe.add(finding);
        probe.crashes.push(Crash {
            kind: breakage.check.id,
            time: breakage.time.unwrap_or_else(Timestamp::now),
            place: place.clone(),
            detail: breakage.detail.clone(),
            request,
            before,
            is_reproduced,
            events,
            log,
        });
        can_go_on
    }

    fn recover(
        &mut self,
        needs_restart: bool,
        endpoint: Endpoint,
        place: &Place,
        probe: &mut Probe,
    ) -> bool {
        if !needs_restart
            && !self.ends()
            && first_page(self.subject, endpoint, self.deadline).is_some()
        {
            return true;
        }
        if let Err(why) = self.restart() {
            probe.gap(&format!("port {}: it was not started anew: {why}", place.port));
            return false;
        }
        let end = Instant::now() + RESTART_PATIENCE;
        while Instant::now() < end && self.subject.pulse().is_running {
            if first_page(self.subject, endpoint, self.deadline).is_some() {
                return true;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        probe.gap(&format!("port {}: after it was started anew it does not answer", place.port));
        false
    }

    fn restart(&mut self) -> Result<(), String> {
        if self.n_restarts >= RESTARTS_MAX {
            return Err(format!("it was started anew {RESTARTS_MAX} times"));
        }
        self.n_restarts += 1;
        self.subject.restart()?;
        self.n_out_of_memory = self.subject.pulse().n_out_of_memory;
        self.drain();
        // What the old one did is not laid at the new one's door.
        self.events.clear();
        self.requests.clear();
        Ok(())
    }

    /// Waits for events that are late, and puts the figures into the report.
    pub(crate) fn finish(&mut self, probe: &mut Probe) {
        self.drain();
        probe.n_events = self.n_events;
        probe.n_restarts = self.n_restarts;
    }
}

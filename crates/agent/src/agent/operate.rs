//! How a running agent is operated: reloads, questions at the control socket, losses.
//!
//! All of it happens between two events, on the thread that owns the state, and none of it waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::alert::Outcome;
use palisade_model::{Alert, Container, Priority};

use super::{Agent, BACKLOG_MAX, Notice, OnNotice, RESPONDED_MAX};
use crate::control::ControlDesk;
use crate::control::protocol::{LastAlert, Request, Response, Top, TopContainer};
use crate::detection::Source;
use crate::fold::FOLDS_MAX;
use crate::incident::INCIDENTS_MAX;
use crate::journal::PENDING_MAX;
use crate::losses::{Due, Kind, Ledger, Loss, Side};
use crate::reload::{Prepared, Ready, ReloadReport, Reloader};
use crate::status::{
    CpuStatus, EnforcementStatus, MemoryStatus, Mode, ReloadStatus, StatusReport, TableStatus,
    cpu_ns, memory_bytes,
};

/// The rule of alerts about losses; no rule file has it.
pub const LOSS_RULE: &str = "Palisade internal: events lost";
/// The source of such alerts.
pub const INTERNAL_SOURCE: &str = "internal";
/// How often the counters of losses are read.
const LOSS_INTERVAL: Duration = Duration::from_millis(250);
/// How long events are counted after the last one who looked.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);
/// Containers and processes whose last alert is remembered.
const LAST_ALERTS_MAX: usize = 4096;

/// What the operation of an agent needs.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) mode: Mode,
    reloader: Option<Reloader>,
    desk: Option<ControlDesk>,
    ledger: Ledger,
    losses_read: Option<Instant>,
    reloads: ReloadStatus,
    looked_at: Option<Instant>,
    by_container: BTreeMap<String, (u64, LastAlert)>,
    by_process: BTreeMap<u32, LastAlert>,
}

impl Default for Operation {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            reloader: None,
            desk: None,
            ledger: Ledger::new(Instant::now()),
            losses_read: None,
            reloads: ReloadStatus::default(),
            looked_at: None,
            by_container: BTreeMap::new(),
            by_process: BTreeMap::new(),
        }
    }
}

impl Operation {
    /// Notes an alert for those who look, and hands it to subscribers.
    pub(super) fn note_alert(&mut self, alert: &Alert, incident: &str) {
        let last = || LastAlert { time: alert.time, rule: alert.rule.clone() };
        let id = alert.container.as_ref().map_or("host", |container| &container.id);
        if !self.by_container.contains_key(id) && self.by_container.len() >= LAST_ALERTS_MAX {
            self.by_container.pop_first();
        }
        let entry = self.by_container.entry(id.to_string()).or_insert_with(|| (0, last()));
        *entry = (entry.0 + 1, last());
        if let Some(process) = &alert.process {
            if self.by_process.len() >= LAST_ALERTS_MAX {
                self.by_process.pop_first();
            }
            self.by_process.insert(process.pid, last());
        }
        if let Some(desk) = &self.desk {
            desk.offer_alert(alert, incident);
        }
    }
}

impl Agent {
    /// Says what the agent was told, for those who ask.
    pub fn set_mode(&mut self, mode: Mode) {
        self.operation.mode = mode;
    }

    /// Takes over what `reloader` prepares.
    pub fn reload_by(&mut self, reloader: Reloader) {
        self.operation.reloader = Some(reloader);
    }

    /// Answers the clients of a control socket.
    pub fn answer_at(&mut self, desk: ControlDesk) {
        self.operation.desk = Some(desk);
    }

    /// What is done between two events for those who operate the agent.
    pub(super) fn operate(&mut self, source: &mut dyn Source, on_notice: OnNotice<'_>) {
        while let Some(prepared) = self.operation.reloader.as_ref().and_then(Reloader::take) {
            self.exchange(prepared, source, on_notice);
        }
        self.watch_losses(source, false, on_notice);
        self.take_news(source, on_notice);
        self.answer_asks(source);
        self.pass_samples(source);
    }

    /// Puts what was prepared into force.
    fn exchange(&mut self, prepared: Prepared, source: &mut dyn Source, on_notice: OnNotice<'_>) {
        let Prepared { causes, begun, outcome, waiting } = prepared;
        let clock = Instant::now();
        let mut report = ReloadReport {
            time: begun,
            causes,
            ok: false,
            duration_ns: 0,
            exchange_ns: 0,
            problems: Vec::new(),
            n_rules: self.health.n_rules,
            handlers_changed: false,
            policy: self.policy.name.clone(),
            sinks_changed: Vec::new(),
            limited: Vec::new(),
        };
        match outcome {
            Ok(ready) => self.put_in_force(*ready, source, &mut report),
            Err(problems) => report.problems = problems,
        }
        report.time = Timestamp::now();
        let ns = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        report.duration_ns = ns(report.time.since(begun));
        report.exchange_ns = ns(clock.elapsed());
        let reloads = &mut self.operation.reloads;
        *(if report.ok { &mut reloads.n_done } else { &mut reloads.n_failed }) += 1;
        reloads.last = Some(report.clone());
        for waiting in waiting {
            // One who has gone is not to be told.
            let _gone = waiting.try_send(report.clone());
        }
        on_notice(Notice::Reloaded(&report));
    }

    fn put_in_force(&mut self, ready: Ready, source: &mut dyn Source, report: &mut ReloadReport) {
        let Ready { change, policy, sinks, playbooks } = ready;
        // The rules first: nothing else has been touched when they are refused.
        let changed = match source.change_rules(change) {
            Ok(changed) => changed,
            Err(problem) => {
                report.problems.push(problem);
                return;
            }
        };
        report.ok = true;
        report.n_rules = changed.n_rules;
        report.limited = changed.limited;
        report.handlers_changed = changed.is_switched;
        let settings = super::delivery_settings(&self.settings, self.journal.next_number());
        let (names, failed) = self.delivery.replace(sinks, &settings);
        report.sinks_changed = names;
        for error in failed {
            report.problems.push(palisade_base::render_chain(&error, None).trim().to_string());
        }
        report.policy.clone_from(&policy.name);
        self.policy = policy;
        self.prepare_cuts();
        if let Some(desk) = &mut self.playbooks
            && !desk.replace(playbooks)
        {
            report.problems.push("the old playbooks go on: too much waits for them".into());
        }
        if let Some(garbage) = changed.garbage {
            // The kernel takes its time to take programs apart.
            let _detached =
                std::thread::Builder::new().name("take-apart".into()).spawn(move || drop(garbage));
        }
    }

    /// Reads the counters of losses, and raises the alerts that are due.
    pub(super) fn watch_losses(
        &mut self,
        source: &mut dyn Source,
        is_end: bool,
        on_notice: OnNotice<'_>,
    ) {
        let now = Instant::now();
        let read = self.operation.losses_read;
        if !is_end && read.is_some_and(|read| now.duration_since(read) < LOSS_INTERVAL) {
            return;
        }
        self.operation.losses_read = Some(now);
        let fresh = self.operation.ledger.take(&source.losses(), false, now);
        if !fresh.is_empty() {
            source.heed_losses(&fresh);
        }
        let own = self.own_losses();
        self.operation.ledger.take(&own, false, now);
        let sinks = self.sink_losses();
        self.operation.ledger.take(&sinks, true, now);
        for due in self.operation.ledger.take_due(now, is_end) {
            self.raise_loss(&due, on_notice);
        }
    }

    fn own_losses(&self) -> [Loss; 6] {
        let loss = |class: &str, cause: &str, total: u64| Loss {
            kind: Kind::new(Side::User, class, cause),
            total,
        };
        [
            loss("alert", "not journalled", self.counts.n_journal_failures),
            loss("alert", "forgotten", self.journal.n_forgotten()),
            loss("response", "queue full", self.counts.n_responses_dropped),
            loss("incident", "not written", self.counts.n_incident_failures),
            loss("survey", "too many waited", self.surveys.n_refused()),
            loss(
                "playbook",
                "too many waited",
                self.playbooks.as_ref().map_or(0, crate::playbooks::PlaybookDesk::n_refused),
            ),
        ]
    }

    /// What sinks dropped; they count over restarts.
    fn sink_losses(&self) -> Vec<Loss> {
        let status = self.delivery.status();
        let loss = |name: &str, cause: &str, total| Loss {
            kind: Kind::new(Side::User, format!("sink {name}"), cause),
            total,
        };
        status
            .iter()
            .flat_map(|sink| {
                [
                    loss(&sink.name, "queue full", sink.n_dropped),
                    loss(&sink.name, "refused by the receiver", sink.n_rejected),
                ]
            })
            .collect()
    }

    /// Raises an alert about a loss. It is none of a rule's, so that neither the policy's lowest
    /// priority nor the folding of equal alerts keeps it back.
    fn raise_loss(&mut self, due: &Due, on_notice: OnNotice<'_>) {
        let alert = self.loss_alert(due);
        self.raise_alone(&alert, on_notice);
    }

    /// Raises an alert that belongs to no incident.
    pub(super) fn raise_alone(&mut self, alert: &Alert, on_notice: OnNotice<'_>) {
        self.counts.n_alerts += 1;
        let number = self.journal.raise(alert);
        self.delivery.offer(number.as_ref().ok().copied(), alert);
        if let Err(error) = number {
            self.counts.n_journal_failures += 1;
            on_notice(Notice::Problem(format!("alert {} is not journalled: {error}", alert.id)));
        }
        self.settle_alone(alert, on_notice);
        on_notice(Notice::Alert { alert, incident: "" });
        self.operation.note_alert(alert, "");
    }

    /// An alert that belongs to no incident is done with when it is in the journal.
    pub(super) fn settle_alone(&mut self, alert: &Alert, on_notice: OnNotice<'_>) {
        self.journal.assign(&alert.id, "", 0);
        if let Err(error) = self.journal.kept(std::slice::from_ref(&alert.id)) {
            on_notice(Notice::Problem(error.to_string()));
        }
    }

    fn loss_alert(&mut self, due: &Due) -> Alert {
        let time = Timestamp::now();
        self.n_ids = self.n_ids.wrapping_add(1);
        let Kind { side, class, cause } = &due.kind;
        let window = due.window.as_secs_f64();
        let output = format!(
            "Events were lost (class={class} side={} cause={cause} lost={} total={} window={window:.1}s)",
            side.as_str(),
            due.lost,
            due.total
        );
        let fields: [(&str, serde_json::Value); 6] = [
            ("loss.class", class.as_str().into()),
            ("loss.side", side.as_str().into()),
            ("loss.cause", cause.as_str().into()),
            ("loss.lost", due.lost.into()),
            ("loss.total", due.total.into()),
            ("loss.window_s", ((window * 1000.0).round() / 1000.0).into()),
        ];
        // What rules never saw is worse than what is remembered for less long.
        let is_blind = *side == Side::Kernel || class == "record";
        Alert {
            id: format!("{:016x}{:08x}", time.as_nanos(), self.n_ids),
            time,
            raised: time,
            rule: LOSS_RULE.into(),
            priority: if is_blind { Priority::Error } else { Priority::Warning },
            source: INTERNAL_SOURCE.into(),
            output,
            output_fields: fields.map(|(name, value)| (name.to_string(), value)).into(),
            tags: vec!["palisade_internal".into()],
            hostname: self.settings.hostname.clone(),
            event_type: "loss".into(),
            outcome: Outcome::Unknown,
            process: None,
            ancestors: Vec::new(),
            container: None,
            recording: None,
            enforcement: None,
        }
    }

    fn answer_asks(&mut self, source: &mut dyn Source) {
        while let Some(ask) = self.operation.desk.as_ref().and_then(ControlDesk::take) {
            let response = match ask.request {
                Request::Status => {
                    self.health = source.health();
                    Response::Status { status: Box::new(self.status_report(source)) }
                }
                Request::Top { container } => {
                    self.operation.looked_at = Some(Instant::now());
                    source.watch_activity(true);
                    Response::Top { top: Box::new(self.top(source, container)) }
                }
                Request::Incident { incident, change } => self.change_incident(&incident, &change),
                request @ (Request::Orders | Request::Answer { .. }) => {
                    match self.ask_playbooks(ask.client, request) {
                        Some(response) => response,
                        // The runner answers.
                        None => continue,
                    }
                }
                // Answered by the control thread.
                Request::Reload | Request::Subscribe { .. } => continue,
            };
            self.answer(ask.client, response);
        }
    }

    pub(super) fn answer(&self, client: u64, response: Response) {
        if let Some(desk) = &self.operation.desk {
            desk.answer(client, response);
        }
    }

    /// Hands samples of events to subscribers, and stops counting when nobody looks any more.
    fn pass_samples(&mut self, source: &mut dyn Source) {
        let Some(desk) = &self.operation.desk else { return };
        let wants_events = desk.wants_events();
        let is_looked_at =
            self.operation.looked_at.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL);
        source.watch_activity(wants_events || is_looked_at);
        if wants_events {
            source.take_samples(&mut |sample| desk.offer_event(sample));
        }
    }

    fn status_report(&self, source: &dyn Source) -> StatusReport {
        let details = source.details();
        let operation = &self.operation;
        let cpu = cpu_ns();
        let n_events = self.health.n_events;
        let mut tables = details.tables;
        tables.extend(self.own_tables());
        let mut report = StatusReport {
            time: Timestamp::now(),
            started: self.started,
            pid: std::process::id(),
            hostname: self.settings.hostname.clone(),
            mode: operation.mode.clone(),
            degraded: Vec::new(),
            policy: self.policy.name.clone(),
            enforcement: self
                .health
                .enforcement
                .as_ref()
                .map(|health| health.standings.iter().map(EnforcementStatus::from).collect()),
            n_events,
            hooks: details.hooks,
            refused: details.refused,
            rules: details.rules,
            losses: operation.ledger.status(),
            rings: details.rings,
            sinks: self.delivery.status(),
            tables,
            recovery: details.recovery,
            memory: MemoryStatus {
                resident_bytes: memory_bytes(),
                kernel_bytes: details.kernel_memory_bytes,
            },
            cpu: CpuStatus { total_ns: cpu, per_event_ns: cpu.checked_div(n_events).unwrap_or(0) },
            reloads: operation.reloads.clone(),
            inventories: self.inventories.as_ref().map(|desk| desk.status.clone()),
            recorder: self.health.recorder,
            counts: self.counts,
            n_incidents_open: self.book.n_open(),
            n_alerts_pending: self.journal.n_pending(),
            n_responses_waiting: self.backlog.len(),
        };
        report.degraded = report.find_degraded();
        report
    }

    fn own_tables(&self) -> Vec<TableStatus> {
        let table = |name: &str, n: usize, max: usize, n_evicted: u64| TableStatus {
            name: name.into(),
            n: n as u64,
            max: max as u64,
            n_evicted,
        };
        vec![
            table("open folds", self.folder.n_open(), FOLDS_MAX, 0),
            table("incidents", self.book.iter().count(), INCIDENTS_MAX, 0),
            table(
                "pending alerts",
                self.journal.n_pending(),
                PENDING_MAX,
                self.journal.n_forgotten(),
            ),
            table(
                "waiting responses",
                self.backlog.len(),
                BACKLOG_MAX,
                self.counts.n_responses_dropped,
            ),
            table("answered containers", self.responded.len(), RESPONDED_MAX, 0),
        ]
    }

    fn top(&self, source: &dyn Source, container: Option<String>) -> Top {
        let activity = source.activity(container.as_deref());
        let operation = &self.operation;
        let mut containers: Vec<TopContainer> = activity
            .containers
            .into_iter()
            .map(|(id, (about, mut row))| {
                row.id.clone_from(&id);
                if let Some(about) = about {
                    describe(&about, &mut row);
                }
                if let Some((n_alerts, last)) = operation.by_container.get(&id) {
                    (row.n_alerts, row.last_alert) = (*n_alerts, Some(last.clone()));
                }
                row
            })
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
        let mut processes = activity.processes;
        for process in &mut processes {
            process.last_alert = operation.by_process.get(&process.pid).cloned();
        }
        let health = source.health();
        Top {
            time: Timestamp::now(),
            started: self.started,
            n_events: health.n_events,
            n_alerts: self.counts.n_alerts,
            cpu_ns: cpu_ns(),
            resident_bytes: memory_bytes(),
            losses: operation.ledger.status(),
            n_rules: health.n_rules,
            containers,
            container,
            processes,
            n_processes_more: activity.n_processes_more,
        }
    }
}

fn describe(container: &Container, row: &mut TopContainer) {
    row.name.clone_from(&container.name);
    row.image = container.image.as_ref().map(|image| image.reference.clone()).unwrap_or_default();
}

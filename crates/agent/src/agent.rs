//! The loop: detections in, alerts, incidents and responses out.
//!
//! One thread owns all state. For each alert, in this order: it is written to the journal,
//! the container is frozen and cut off the network if the policy says so (the steps that cannot
//! wait), it joins its incident, it is shown, and the rest of the response goes to the worker.

mod at_once;
mod incidents;
mod inventories;
mod operate;
mod playbooks;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palisade_base::{Explain, Timestamp};
use palisade_model::incident::{TimelineEntry, TimelineEvent};
use palisade_model::{Alert, Incident, IncidentState, Repeats};
use palisade_policy::{Action, Policy, ResponseRule, Sink};
use palisade_respond::cgroup::{CgroupError, Hierarchies};
use palisade_respond::evidence::Attachment;
use palisade_respond::execute::read_releases;
use palisade_respond::journal::{JournalError, Recovery};
use palisade_respond::{ActionOutcome, NetworkCut, Plan, RespondError, Responder, plan};
use palisade_sensor::identity::HostPaths;

use crate::delivery::backoff::Backoff;
use crate::delivery::{Delivery, DeliveryError, DeliverySettings};
use crate::detection::{Detection, Source, SourceError, SourceHealth};
use crate::fold::{FOLD_WINDOW, Folded, Folder};
use crate::incident::{IncidentBook, SurveyDesk};
use crate::inventories::{ADVISORIES_SOURCE, InventoryDesk};
use crate::journal::{AlertJournal, JOURNAL_FILE};
use crate::keeper::{self, Keeper, Work};
use crate::playbooks::PlaybookDesk;
use crate::recorder::Desk;
use crate::reload::ReloadReport;
use crate::status::{Counts, STATUS_SCHEMA, Status, memory_bytes};
use crate::worker::{Job, Report, ResponseMeans, Worker};

pub use operate::{INTERNAL_SOURCE, LOSS_RULE};

/// How long one wait for events lasts at most.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
/// How often changed incidents are written.
const KEEP_INTERVAL: Duration = Duration::from_millis(200);
/// How long shutdown tries to write incidents after responses have ended.
const KEEP_DEADLINE: Duration = Duration::from_secs(5);
/// How long shutdown lets sinks send what waits.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(5);
/// How often the status file is written.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Responses kept back while the worker's queue is full.
pub const BACKLOG_MAX: usize = 256;
/// Containers remembered as responded to.
pub const RESPONDED_MAX: usize = 4096;
/// Alerts of one incident that go into its evidence.
const EVIDENCE_ALERTS_MAX: usize = 500;
/// How long the freeze on the fast path may take.
const FREEZE_DEADLINE: Duration = Duration::from_millis(500);

/// Folder, within the state folder, of the journal of actions that people took by hand.
pub const BY_HAND_FOLDER: &str = "by-hand";

/// What the agent is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of journals, incidents and status; created if missing.
    pub state: PathBuf,
    /// Name of this host in alerts.
    pub hostname: String,
    /// Name and version of the program, for evidence.
    pub tool: String,
    /// How long repeats of an alert are only counted.
    pub fold_window: Duration,
    /// How long shutdown waits for running responses.
    pub shutdown_deadline: Duration,
    /// Where alerts are sent.
    pub sinks: Vec<Sink>,
    /// How long sinks wait after failures.
    pub backoff: Backoff,
    /// Where engines keep what is known of their containers.
    pub host_paths: HostPaths,
}

impl Settings {
    /// The usual settings for the state folder `state`.
    pub fn new(state: &Path, hostname: &str, tool: &str) -> Self {
        Self {
            state: state.to_path_buf(),
            hostname: hostname.to_string(),
            tool: tool.to_string(),
            fold_window: FOLD_WINDOW,
            shutdown_deadline: Duration::from_secs(15),
            sinks: Vec::new(),
            backoff: Backoff::default(),
            host_paths: HostPaths::default(),
        }
    }
}

/// Why the agent cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state folder cannot be used.
    #[error("use state folder `{path}`")]
    State {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The journal of alerts cannot be used.
    #[error("open the alert journal")]
    Journal(#[from] JournalError),
    /// The journal of actions cannot be used.
    #[error("open the action journal")]
    Respond(#[from] RespondError),
    /// Alerts cannot be sent as configured.
    #[error("start the sinks")]
    Delivery(#[from] DeliveryError),
    /// No control groups: nothing could be responded to.
    #[error("find the control groups")]
    Cgroups(#[from] CgroupError),
    /// The source broke down.
    #[error("watch")]
    Source(#[source] SourceError),
}

impl Explain for AgentError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::State { .. } => Some("run as root, or choose a folder that you may write".into()),
            Self::Journal(error) => error.hint(),
            Self::Respond(error) => error.hint(),
            Self::Delivery(error) => error.hint(),
            Self::Cgroups(error) => error.hint(),
            Self::Source(_) => Some("see `palisade doctor`".into()),
        }
    }
}

/// What is worth telling the outside.
#[derive(Debug)]
pub enum Notice<'n> {
    /// An alert was raised; it is in the journal already.
    Alert {
        /// The alert.
        alert: &'n Alert,
        /// Its incident; empty for an alert about the agent itself.
        incident: &'n str,
    },
    /// Repeats of an alert were counted.
    Folded(&'n Folded),
    /// A response begins; the plan says what will be done.
    Response {
        /// The plan.
        plan: &'n Plan,
    },
    /// A step of a response ended.
    Action {
        /// The incident.
        incident: &'n str,
        /// How it went.
        outcome: &'n ActionOutcome,
    },
    /// Something about an order of a playbook: a step that ended, a question, a dry run.
    Order {
        /// The incident.
        incident: &'n str,
        /// What.
        text: &'n str,
    },
    /// An incident moved to another state.
    Incident {
        /// The incident.
        incident: &'n Incident,
    },
    /// Rules, policy and sinks were read again.
    Reloaded(&'n ReloadReport),
    /// Something went wrong that the operator must know.
    Problem(String),
}

/// Takes notices.
pub type OnNotice<'n> = &'n mut dyn FnMut(Notice<'_>);

/// What an earlier run left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resumed {
    /// Alerts that were raised and not finished.
    pub n_alerts: usize,
    /// Plans that were begun and not finished.
    pub n_plans: usize,
    /// Incidents read back.
    pub n_incidents: usize,
    /// Incident files that could not be read.
    pub n_incidents_unreadable: u64,
    /// What the alert journal's repair found.
    pub alerts: Recovery,
    /// What the action journal's repair found.
    pub actions: Recovery,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    policy: Policy,
    hierarchies: Hierarchies,
    journal: AlertJournal,
    delivery: Delivery,
    folder: Folder,
    book: IncidentBook,
    surveys: SurveyDesk,
    keeper: Keeper,
    worker: Worker,
    network: Arc<dyn NetworkCut + Send + Sync>,
    backlog: VecDeque<Job>,
    /// Actions begun against a container, so that none is planned twice.
    responded: BTreeMap<String, Vec<Action>>,
    resumed: Vec<Alert>,
    counts: Counts,
    started: Timestamp,
    n_ids: u32,
    health: SourceHealth,
    /// Where recordings of alerts are asked for.
    desk: Option<Desk>,
    /// Where playbooks are run.
    playbooks: Option<PlaybookDesk>,
    /// Where what became vulnerable comes from.
    inventories: Option<InventoryDesk>,
    operation: operate::Operation,
    last_kept: Instant,
    last_status: Option<Instant>,
}

impl Agent {
    /// Opens the state folder and starts the worker, which completes unfinished responses.
    pub fn open(
        settings: Settings,
        policy: Policy,
        means: ResponseMeans,
    ) -> Result<(Self, Resumed), AgentError> {
        let incidents = settings.state.join("incidents");
        for folder in [&settings.state, &incidents, &means.evidence] {
            make_folder(folder)?;
        }
        let hierarchies = Hierarchies::detect()?;
        let (journal, alerts, repaired) = AlertJournal::open(&settings.state)?;
        let delivery = start_delivery(&settings, journal.next_number())?;
        let mut responder = Responder::open(&settings.state)?;
        for (container, released) in read_releases(&settings.state.join(BY_HAND_FOLDER))? {
            responder.heed_release(&container, released);
        }
        let state = |source| AgentError::State { path: incidents.clone(), source };
        let (kept, n_unreadable) = keeper::read_all(&incidents).map_err(state)?;
        let resumed = Resumed {
            n_alerts: alerts.len(),
            n_plans: responder.unfinished().count(),
            n_incidents: kept.len(),
            n_incidents_unreadable: n_unreadable,
            alerts: repaired,
            actions: responder.recovery(),
        };
        // What the worker completes is not to be planned again for another alert.
        let mut responded: BTreeMap<String, Vec<Action>> = BTreeMap::new();
        for plan in responder.unfinished().take(RESPONDED_MAX) {
            let begun = responded.entry(plan.container.id.clone()).or_default();
            begun.extend(plan.steps.iter().map(|step| step.action));
        }
        let keeper = Keeper::start(incidents.clone()).map_err(state)?;
        let names = (settings.hostname.clone(), settings.tool.clone());
        let network = Arc::clone(&means.network);
        let worker = Worker::start(responder, means, hierarchies.clone(), incidents.clone(), names)
            .map_err(state)?;
        let surveys = SurveyDesk::start(settings.host_paths.clone()).map_err(state)?;
        let agent = Self {
            folder: Folder::new(settings.fold_window),
            settings,
            policy,
            hierarchies,
            journal,
            delivery,
            book: IncidentBook::with(kept),
            surveys,
            keeper,
            worker,
            network,
            backlog: VecDeque::new(),
            responded,
            resumed: alerts,
            counts: Counts::default(),
            started: Timestamp::now(),
            n_ids: 0,
            health: SourceHealth::default(),
            desk: None,
            playbooks: None,
            inventories: None,
            operation: operate::Operation::default(),
            last_kept: Instant::now(),
            last_status: None,
        };
        agent.prepare_cuts();
        Ok((agent, resumed))
    }

    /// Has each alert recorded that `desk` wants to record.
    pub fn record_alerts(&mut self, desk: Desk) {
        self.desk = Some(desk);
    }

    /// Watches until `stop` is set or the source ends, then shuts down in order.
    pub fn run(
        mut self,
        source: &mut dyn Source,
        stop: &AtomicBool,
        on_notice: OnNotice<'_>,
    ) -> Result<Status, AgentError> {
        self.resume(on_notice);
        let mut result = Ok(());
        while !stop.load(Ordering::Relaxed) {
            let polled = source.poll(POLL_TIMEOUT, &mut |detection| {
                self.handle_guarded(detection, on_notice);
            });
            match polled {
                Ok(_) => {}
                Err(SourceError::Ended) => break,
                Err(error) => {
                    result = Err(AgentError::Source(error));
                    break;
                }
            }
            // Asking the kernel for its counters is not free; the status needs it now and then.
            if self.is_status_due() {
                self.health = source.health();
            }
            source.problems(&mut |problem| on_notice(Notice::Problem(problem)));
            self.operate(source, on_notice);
            self.tick(on_notice);
        }
        source.finish(&mut |problem| on_notice(Notice::Problem(problem)));
        self.health = source.health();
        self.watch_losses(source, true, on_notice);
        let status = self.shut_down(on_notice);
        result.map(|()| status)
    }

    /// Takes up the alerts that an earlier run raised and did not finish.
    pub fn resume(&mut self, on_notice: OnNotice<'_>) {
        for alert in std::mem::take(&mut self.resumed) {
            if [INTERNAL_SOURCE, ADVISORIES_SOURCE].contains(&alert.source.as_str()) {
                self.settle_alone(&alert, on_notice);
                continue;
            }
            // They may have been shown before; only what was missing is done now.
            self.act(&alert, false, on_notice);
        }
    }

    /// Handles one detection; a panic inside is counted and costs that detection alone.
    fn handle_guarded(&mut self, detection: Detection, on_notice: OnNotice<'_>) {
        let rule = detection.rule.clone();
        let handled = catch_unwind(AssertUnwindSafe(|| self.handle(detection, on_notice)));
        if handled.is_err() {
            self.counts.n_panics += 1;
            on_notice(Notice::Problem(format!(
                "handling a match of rule `{}` panicked",
                rule.name
            )));
        }
    }

    /// Handles one detection.
    pub fn handle(&mut self, detection: Detection, on_notice: OnNotice<'_>) {
        self.counts.n_detections += 1;
        // What was done is told whatever the priority.
        let is_low = detection.rule.priority < self.policy.runtime.priority_min;
        if is_low && detection.enforcement.is_none() {
            self.counts.n_below_priority += 1;
            return;
        }
        let rule = Arc::clone(&detection.rule);
        let mut alert = self.alert(detection);
        if !self.folder.admit(&alert) {
            self.counts.n_folded += 1;
            return;
        }
        let file = self.desk.as_ref().and_then(|desk| desk.request(&alert, &rule));
        alert.recording = file.map(|file| file.display().to_string());
        self.counts.n_alerts += 1;
        // Before anything else acts on it or shows it.
        let number = self.journal.raise(&alert);
        self.delivery.offer(number.as_ref().ok().copied(), &alert);
        if let Err(error) = number {
            self.counts.n_journal_failures += 1;
            on_notice(Notice::Problem(format!("alert {} is not journalled: {error}", alert.id)));
        }
        self.act(&alert, true, on_notice);
    }

    /// Holds the container if need be, joins the incident, hands the response to the worker.
    fn act(&mut self, alert: &Alert, show: bool, on_notice: OnNotice<'_>) {
        let response = self.due_response(alert);
        let held = match &response {
            Some(response) => self.hold_at_once(alert, response, on_notice),
            None => Vec::new(),
        };
        let id = self.join(alert);
        self.note_recording(&id, alert);
        self.note_enforcement(&id, alert);
        let is_offered = self.offer_to_playbooks(alert, &id, on_notice);
        self.journal.assign(&alert.id, &id, u8::from(response.is_some()) + u8::from(is_offered));
        if show {
            on_notice(Notice::Alert { alert, incident: &id });
            self.operation.note_alert(alert, &id);
        }
        if let Some(response) = response {
            self.respond(alert, &id, &response, held, on_notice);
        }
    }

    fn respond(
        &mut self,
        alert: &Alert,
        incident: &str,
        response: &ResponseRule,
        held: Vec<ActionOutcome>,
        on_notice: OnNotice<'_>,
    ) {
        let plan = match plan(response, alert, incident) {
            Ok(plan) => plan,
            Err(refusal) => {
                self.counts.n_responses_refused += 1;
                let text = format!("no response to alert {}: {refusal}", alert.id);
                let what = TimelineEvent::Note { text: text.clone() };
                self.book.record(incident, TimelineEntry { time: alert.raised, what });
                self.answered(&alert.id, on_notice);
                on_notice(Notice::Problem(text));
                return;
            }
        };
        self.counts.n_responses += 1;
        if self.responded.len() >= RESPONDED_MAX {
            self.responded.pop_first();
        }
        let begun = self.responded.entry(plan.container.id.clone()).or_default();
        begun.extend(plan.steps.iter().map(|step| step.action));
        on_notice(Notice::Response { plan: &plan });
        self.advance(incident, IncidentState::Responding, Timestamp::now(), on_notice);
        for outcome in &held {
            self.record_outcome(incident, outcome, on_notice);
        }
        let incident = self.book.scored(incident);
        let attachments = attachments(alert, incident.as_ref());
        self.submit(Job { plan, already: held, attachments, incident }, on_notice);
    }

    fn submit(&mut self, job: Job, on_notice: OnNotice<'_>) {
        self.backlog.push_back(job);
        self.drain_backlog();
        if self.backlog.len() > BACKLOG_MAX
            && let Some(dropped) = self.backlog.pop_front()
        {
            self.counts.n_responses_dropped += 1;
            let text = format!("too many responses: plan {} waits for a restart", dropped.plan.id);
            on_notice(Notice::Problem(text));
        }
    }

    fn drain_backlog(&mut self) {
        while let Some(job) = self.backlog.pop_front() {
            if let Err(job) = self.worker.submit(job) {
                self.backlog.push_front(*job);
                return;
            }
        }
    }

    /// What is done between events: reports, files, folded repeats, status.
    pub fn tick(&mut self, on_notice: OnNotice<'_>) {
        let reports: Vec<Report> = self.worker.reports().collect();
        for report in reports {
            self.take_report(report, on_notice);
        }
        self.drain_backlog();
        self.take_playbook_reports(on_notice);
        self.take_surveys();
        for folded in self.folder.take_closed(Timestamp::now()) {
            self.record_folded(&folded, on_notice);
        }
        self.take_kept(on_notice);
        self.report_delivery(on_notice);
        if self.last_kept.elapsed() >= KEEP_INTERVAL {
            self.journal.write_unwritten();
            self.last_kept = Instant::now();
            self.keep();
        }
        if self.is_status_due() {
            self.last_status = Some(Instant::now());
            self.write_status(on_notice);
        }
    }

    fn is_status_due(&self) -> bool {
        self.last_status.is_none_or(|last| last.elapsed() >= STATUS_INTERVAL)
    }

    fn take_report(&mut self, report: Report, on_notice: OnNotice<'_>) {
        match report {
            Report::Step { plan, outcome } => {
                self.record_outcome(&plan.incident, &outcome, on_notice);
            }
            Report::Finished { plan, outcomes } => {
                for outcome in &outcomes {
                    self.record_outcome(&plan.incident, outcome, on_notice);
                }
                let harmless = |o: &ActionOutcome| {
                    matches!(o.action, Action::Freeze | Action::Kill) && o.is_done()
                };
                let is_contained = outcomes.iter().any(harmless);
                let state =
                    self.book.note_response(&plan.incident, &plan.container.id, is_contained);
                self.advance(&plan.incident, state, Timestamp::now(), on_notice);
                self.answered(&plan.alert, on_notice);
            }
            Report::Failed { plan, reason } => {
                let text = match plan {
                    Some(plan) => format!("plan {} failed: {reason}", plan.id),
                    None => format!("unfinished responses could not be completed: {reason}"),
                };
                on_notice(Notice::Problem(text));
            }
        }
    }

    fn answered(&mut self, alert: &str, on_notice: OnNotice<'_>) {
        if let Err(error) = self.journal.answered(alert) {
            self.counts.n_journal_failures += 1;
            on_notice(Notice::Problem(error.to_string()));
        }
    }

    fn record_folded(&mut self, folded: &Folded, on_notice: OnNotice<'_>) {
        let repeats = Repeats {
            alert: folded.alert.clone(),
            rule: folded.rule.clone(),
            priority: folded.priority,
            hostname: self.settings.hostname.clone(),
            since: folded.since,
            time: folded.until,
            n_repeats: folded.n_repeats,
        };
        let number = self.journal.repeated(&repeats);
        self.delivery.offer_repeats(number.as_ref().ok().copied(), &repeats);
        if let Err(error) = number {
            self.counts.n_journal_failures += 1;
            on_notice(Notice::Problem(error.to_string()));
        }
        on_notice(Notice::Folded(folded));
    }

    fn report_delivery(&self, on_notice: OnNotice<'_>) {
        for problem in self.delivery.take_problems() {
            on_notice(Notice::Problem(problem));
        }
    }

    /// Hands changed incidents to the keeper; what it has no room for waits.
    fn keep(&mut self) {
        for incident in self.book.take_changed() {
            let alerts = self.journal.unkept(&incident.id);
            let id = incident.id.clone();
            // The alerts are on the disk before the incident that names them.
            let journal = self.journal.disk_handle();
            if !self.keeper.submit(Work { journal, incident, alerts }) {
                self.book.mark_changed(&id);
            }
        }
    }

    fn take_kept(&mut self, on_notice: OnNotice<'_>) {
        let finished: Vec<keeper::Kept> = self.keeper.finished().collect();
        self.note_kept(finished, on_notice);
    }

    fn note_kept(&mut self, finished: Vec<keeper::Kept>, on_notice: OnNotice<'_>) {
        for kept in finished {
            let result = match kept.error {
                Some(error) => {
                    self.counts.n_incident_failures += 1;
                    Err(format!("an incident could not be written: {error}"))
                }
                None => self.journal.kept(&kept.alerts).map_err(|error| error.to_string()),
            };
            if let Err(text) = result {
                on_notice(Notice::Problem(text));
            }
        }
    }

    fn write_status(&mut self, on_notice: OnNotice<'_>) {
        let written = serde_json::to_vec_pretty(&self.status())
            .map_err(std::io::Error::from)
            .and_then(|bytes| write_plain(&self.settings.state.join("status.json"), &bytes));
        if let Err(error) = written {
            on_notice(Notice::Problem(format!("status could not be written: {error}")));
        }
    }

    /// A snapshot of the agent.
    pub fn status(&self) -> Status {
        Status {
            schema: STATUS_SCHEMA,
            time: Timestamp::now(),
            started: self.started,
            pid: std::process::id(),
            policy: self.policy.name.clone(),
            source: self.health.clone(),
            counts: self.counts,
            n_incidents_open: self.book.n_open(),
            n_alerts_pending: self.journal.n_pending(),
            n_alerts_forgotten: self.journal.n_forgotten(),
            n_responses_waiting: self.backlog.len(),
            sinks: self.delivery.status(),
            memory_bytes: memory_bytes(),
        }
    }

    /// All incidents in memory, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.book.iter()
    }

    /// Ends everything in order: responses, repeats, incident files, journal, status.
    pub fn shut_down(mut self, on_notice: OnNotice<'_>) -> Status {
        let end = Instant::now() + self.settings.shutdown_deadline;
        // The worker takes the backlog as it works through its queue.
        while !self.backlog.is_empty() && Instant::now() < end {
            self.tick(on_notice);
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = end.saturating_duration_since(Instant::now());
        let (reports, finished) = self.worker.stop(left);
        for report in reports {
            self.take_report(report, on_notice);
        }
        if !finished {
            let text = "a response is not finished; it is completed at the next start";
            on_notice(Notice::Problem(text.into()));
        }
        for folded in self.folder.close_all() {
            self.record_folded(&folded, on_notice);
        }
        loop {
            self.take_kept(on_notice);
            self.keep();
            // The keeper takes what is left as fast as the disk does, or not at all.
            if self.book.n_changed() == 0 || Instant::now() >= end + KEEP_DEADLINE {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let kept = self.keeper.stop();
        self.note_kept(kept, on_notice);
        self.journal.write_unwritten();
        if let Err(error) = self.journal.sync() {
            on_notice(Notice::Problem(error.to_string()));
        }
        self.delivery.stop(DELIVERY_DEADLINE.min(self.settings.shutdown_deadline));
        self.report_delivery(on_notice);
        self.write_status(on_notice);
        self.status()
    }

    /// Makes an alert of a detection.
    fn alert(&mut self, detection: Detection) -> Alert {
        self.n_ids = self.n_ids.wrapping_add(1);
        let rule = &detection.rule;
        Alert {
            id: format!("{:016x}{:08x}", detection.time.as_nanos(), self.n_ids),
            time: detection.time,
            raised: Timestamp::now(),
            rule: rule.name.clone(),
            priority: rule.priority,
            source: rule.source.clone(),
            output: detection.output,
            output_fields: detection.output_fields,
            tags: rule.tags.clone(),
            hostname: self.settings.hostname.clone(),
            event_type: detection.event_type,
            outcome: detection.outcome,
            process: detection.process,
            ancestors: detection.ancestors,
            container: detection.container,
            recording: None,
            enforcement: detection.enforcement,
        }
    }
}

fn start_delivery(settings: &Settings, next_number: u64) -> Result<Delivery, DeliveryError> {
    Delivery::start(&settings.sinks, &delivery_settings(settings, next_number))
}

fn delivery_settings(settings: &Settings, next_number: u64) -> DeliverySettings {
    DeliverySettings {
        state: settings.state.clone(),
        journal: JOURNAL_FILE,
        version: env!("CARGO_PKG_VERSION").to_string(),
        backoff: settings.backoff,
        next_number,
    }
}

fn make_folder(path: &Path) -> Result<(), AgentError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| AgentError::State { path: path.to_path_buf(), source })
}

/// Replaces a file without waiting for the disk: a status is worth nothing after a crash.
fn write_plain(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("json.new");
    std::fs::write(&fresh, bytes)?;
    std::fs::rename(fresh, path)
}

/// The alert, and the alerts of its incident, for the evidence.
fn attachments(alert: &Alert, incident: Option<&Incident>) -> Vec<Attachment> {
    let mut lines = String::new();
    for entry in incident.iter().flat_map(|i| &i.timeline).take(EVIDENCE_ALERTS_MAX) {
        if let Ok(line) = serde_json::to_string(entry) {
            lines.push_str(&line);
            lines.push('\n');
        }
    }
    let attachment = |name: &str, source: &str, text: String| Attachment {
        name: name.into(),
        source: source.into(),
        bytes: text.into_bytes(),
    };
    vec![
        attachment("alert.json", "the alert that was answered", crate::output::json(alert)),
        attachment("timeline.jsonl", "the incident's timeline so far", lines),
    ]
}

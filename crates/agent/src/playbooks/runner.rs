//! The thread that carries playbooks out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, SystemTime};

use palisade_base::Timestamp;
use palisade_model::Container;
use palisade_policy::playbook::{Act, Playbook, StepKind, TriggerFacts};
use palisade_respond::journal::JournalError;
use palisade_respond::order::{AUDIT_FILE, Engine, Run, RunState, Submitted};
use palisade_respond::{Order, RespondError};
use palisade_sensor::identity::Resolver;

use super::podman::Podman;
use super::{Answer, Asking, Candidate, OrderView, PlaybookReport, PlaybookSettings, Tools, Word};

/// Orders that wait for the audit log, and orders whose steps are followed.
pub const ORDERS_MAX: usize = 1024;
/// How often the audit log is looked at: others write it as well.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// When the log is tried again that another process has.
const LOCKED_RETRY: Duration = Duration::from_millis(100);
/// When the log is tried again that cannot be used.
const BROKEN_RETRY: Duration = Duration::from_secs(10);
/// How often an answer finds the log with another process before it is given up.
const ANSWER_ATTEMPTS_MAX: u32 = 20;

/// An order that waits for the audit log.
#[derive(Debug)]
struct Waiting {
    order: Order,
    /// The alert that waits for it.
    alert: Option<String>,
}

/// An order whose steps are told as they end, by whomever they are carried out.
#[derive(Debug, Default)]
struct Followed {
    told: BTreeSet<(usize, bool)>,
    asked: Option<String>,
    is_ended: bool,
}

/// Carries playbooks out, on the thread that calls [`PlaybookRunner::run`].
#[derive(Debug)]
pub struct PlaybookRunner {
    settings: PlaybookSettings,
    playbooks: Vec<Playbook>,
    words: Receiver<Word>,
    reports: SyncSender<PlaybookReport>,
    resolver: Resolver,
    podman: Podman,
    waiting: VecDeque<Waiting>,
    followed: BTreeMap<String, Followed>,
    /// When the log is to be opened, whatever happens until then.
    due: Option<Timestamp>,
    /// Length and time of the log when it was looked at last.
    seen: Option<(u64, SystemTime)>,
}

impl PlaybookRunner {
    pub(super) fn new(
        settings: PlaybookSettings,
        playbooks: Vec<Playbook>,
        words: Receiver<Word>,
        reports: SyncSender<PlaybookReport>,
    ) -> Self {
        let resolver = Resolver::new(settings.host_paths.clone());
        Self {
            settings,
            playbooks,
            words,
            reports,
            resolver,
            podman: Podman::default(),
            waiting: VecDeque::new(),
            followed: BTreeMap::new(),
            due: None,
            seen: None,
        }
    }

    /// Runs until the agent has ended. What is begun is completed by the next run.
    pub fn run(mut self, tools: &mut dyn Tools) {
        loop {
            let left = self.due.map_or(LOOK_INTERVAL, |due| due.since(Timestamp::now()));
            let left = left.clamp(Duration::from_millis(5), LOOK_INTERVAL);
            match self.words.recv_timeout(left) {
                Ok(word) => self.take(word, tools),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(word) = self.words.try_recv() {
                self.take(word, tools);
            }
            if self.is_due() {
                self.work(tools);
            }
        }
    }

    fn is_due(&self) -> bool {
        if self.settings.is_dry_run {
            return false;
        }
        match self.due {
            Some(due) if due <= Timestamp::now() => true,
            // A log that others have is not asked for with every alert.
            Some(_) if !self.waiting.is_empty() => false,
            _ => !self.waiting.is_empty() || self.seen != stamp(&self.settings.folder),
        }
    }

    fn tell(&self, report: PlaybookReport) {
        // When nobody listens any more, the log has it.
        let _ended = self.reports.send(report);
    }

    fn take(&mut self, word: Word, tools: &mut dyn Tools) {
        match word {
            Word::Candidate(candidate) => self.consider(&candidate),
            Word::Replace(playbooks) => self.playbooks = playbooks,
            Word::Orders { client } => {
                let orders = match Engine::open(&self.settings.folder) {
                    Ok(engine) => engine.runs().map(view).collect(),
                    Err(_in_use) => Vec::new(),
                };
                self.tell(PlaybookReport::Orders { client, orders });
            }
            Word::Answer { client, answer } => {
                let result = self.answer(&answer);
                let is_taken = result.is_ok();
                self.tell(PlaybookReport::Answered { client, result });
                if is_taken {
                    self.work(tools);
                }
            }
        }
    }

    /// Labels as the container's engine has them, and those of its pod; `Err` says why not.
    fn labels_of(&mut self, container: &Container) -> Result<Vec<(String, String)>, String> {
        let Some(cgroup) = &container.cgroup else { return Ok(Vec::new()) };
        let cgroups = format!("palisade={cgroup}\0");
        let now = Timestamp::now().as_nanos();
        let facts = self.resolver.resolve(0, cgroups.as_bytes(), -1, now);
        let (own, of_pod) =
            facts.map(|facts| (facts.labels.clone(), facts.pod_labels.clone())).unwrap_or_default();
        let own = match container.engine {
            palisade_model::Engine::Podman if own.is_empty() => {
                self.podman.labels(&container.id)?
            }
            _ => own,
        };
        Ok(own.into_iter().chain(of_pod).collect())
    }

    /// Makes the orders that follow from an alert.
    fn consider(&mut self, candidate: &Candidate) {
        let Candidate { alert, incident, score, is_due } = candidate;
        let mut orders = Vec::new();
        let wants_labels = self.playbooks.iter().any(|playbook| !playbook.on.labels.is_empty());
        let labels = match &alert.container {
            Some(container) if wants_labels => self.labels_of(container).unwrap_or_else(|why| {
                let text = format!("labels of the container are not known: {why}");
                self.note(incident, alert.raised, text);
                Vec::new()
            }),
            _ => Vec::new(),
        };
        for playbook in &self.playbooks {
            let facts = TriggerFacts { alert, score: *score, labels: &labels };
            if playbook.on.matches(&facts).is_err() {
                continue;
            }
            match Order::of_playbook(playbook, alert, incident) {
                Ok(order) => orders.push(order),
                Err(refusal) => {
                    let text = format!("playbook {} cannot run: {refusal}", playbook.name);
                    self.note(incident, alert.raised, text);
                }
            }
        }
        if self.settings.is_dry_run {
            for order in &orders {
                let (incident, text) = (incident.clone(), order.to_string());
                self.tell(PlaybookReport::Planned { incident, text });
            }
            orders.clear();
        }
        let n = orders.len();
        for (i, order) in orders.into_iter().enumerate() {
            if self.waiting.len() >= ORDERS_MAX {
                let text = format!("too many orders wait: {} is not carried out", order.id);
                self.tell(PlaybookReport::Problem(text));
                continue;
            }
            // The alert is done with when the last of its orders is written down.
            let alert = (*is_due && i + 1 == n).then(|| alert.id.clone());
            self.waiting.push_back(Waiting { order, alert });
        }
        if n == 0 && *is_due {
            self.tell(PlaybookReport::Considered { alert: alert.id.clone() });
        }
    }

    fn note(&self, incident: &str, time: Timestamp, text: String) {
        let incident = incident.to_string();
        self.tell(PlaybookReport::Note { incident, time, text });
    }

    /// Writes down what waits, and carries all orders on as far as they go.
    fn work(&mut self, tools: &mut dyn Tools) {
        let mut engine = match Engine::open(&self.settings.folder) {
            Ok(engine) => engine,
            Err(RespondError::Journal(JournalError::Locked(_))) => {
                self.due = Some(Timestamp::now() + LOCKED_RETRY);
                return;
            }
            Err(error) => {
                self.broken(&error);
                return;
            }
        };
        while let Some(Waiting { order, alert }) = self.waiting.pop_front() {
            match engine.submit(&order, Timestamp::now()) {
                Ok(Submitted::New) => {
                    if holds(&order) {
                        tools.guard(&order.id);
                    }
                    self.follow(&order.id);
                }
                // Another run began it.
                Ok(Submitted::Known) => self.follow(&order.id),
                Ok(Submitted::Refused(reason)) => {
                    self.note(&order.incident, Timestamp::now(), format!("no order: {reason}"));
                }
                Err(error) => {
                    self.waiting.push_front(Waiting { order, alert });
                    self.broken(&error);
                    return;
                }
            }
            if let Some(alert) = alert {
                self.tell(PlaybookReport::Considered { alert });
            }
        }
        let mut ticked = Ok(None);
        let handed = tools.with_hands(&mut |hands| {
            ticked = engine.tick(&Timestamp::now, hands, &mut |_, _, _, _| {});
        });
        if let Err(reason) = handed {
            self.tell(PlaybookReport::Problem(format!(
                "playbooks cannot be carried out: {reason}"
            )));
            self.due = Some(Timestamp::now() + BROKEN_RETRY);
            return;
        }
        match ticked {
            Ok(due) => self.due = due,
            Err(error) => {
                self.broken(&error);
                return;
            }
        }
        self.tell_followed(&engine);
        drop(engine);
        self.seen = stamp(&self.settings.folder);
    }

    fn broken(&mut self, error: &RespondError) {
        let text = palisade_base::render_chain(error, None).trim().replace('\n', "; ");
        self.tell(PlaybookReport::Problem(format!("playbooks wait: {text}")));
        self.due = Some(Timestamp::now() + BROKEN_RETRY);
    }

    fn follow(&mut self, order: &str) {
        if self.followed.len() < ORDERS_MAX {
            self.followed.entry(order.to_string()).or_default();
        }
    }

    /// Tells what ended since the last look.
    fn tell_followed(&mut self, engine: &Engine) {
        let mut reports = Vec::new();
        self.followed.retain(|id, followed| {
            let Some(run) = engine.run(id) else { return false };
            tell_run(run, followed, &mut reports);
            run.is_live()
        });
        for report in reports {
            self.tell(report);
        }
    }

    /// Writes an answer down; the order that it is for, or why it is for none.
    fn answer(&self, answer: &Answer) -> Result<String, String> {
        let mut n_attempts = 0;
        let mut engine = loop {
            match Engine::open(&self.settings.folder) {
                Ok(engine) => break engine,
                Err(RespondError::Journal(JournalError::Locked(_)))
                    if n_attempts < ANSWER_ATTEMPTS_MAX =>
                {
                    n_attempts += 1;
                    std::thread::sleep(LOCKED_RETRY);
                }
                Err(error) => return Err(palisade_base::render_chain(&error, None)),
            }
        };
        let found = |run: &&Run| run.order.id.starts_with(&answer.order);
        let ids: Vec<String> = match engine.run(&answer.order) {
            Some(run) => vec![run.order.id.clone()],
            None => engine.runs().filter(found).map(|run| run.order.id.clone()).collect(),
        };
        let [id] = &ids[..] else {
            return Err(format!("`{}` names {} orders", answer.order, ids.len()));
        };
        let by = (answer.by.as_str(), answer.granted);
        match engine.answer(id, answer.step.as_deref(), by, Timestamp::now()) {
            Ok(true) => Ok(id.clone()),
            Ok(false) => Err(format!("order `{id}` asks nothing")),
            Err(error) => Err(palisade_base::render_chain(&error, None)),
        }
    }
}

/// Whether an order holds, waits or asks, and so has something left to be done later.
fn holds(order: &Order) -> bool {
    order.steps.iter().any(|step| match &step.what {
        StepKind::Act { act, hold_ms, .. } => hold_ms.is_some() && act.inverse().is_some(),
        _ => true,
    })
}

/// Length and time of the audit log: whether somebody has written it.
fn stamp(folder: &Path) -> Option<(u64, SystemTime)> {
    let found = std::fs::metadata(folder.join(AUDIT_FILE)).ok()?;
    Some((found.len(), found.modified().ok()?))
}

fn tell_run(run: &Run, followed: &mut Followed, reports: &mut Vec<PlaybookReport>) {
    let order = &run.order;
    let (incident, playbook) =
        (order.incident.clone(), order.playbook.clone().unwrap_or_else(|| "by hand".into()));
    for (i, view) in &run.steps {
        let Some(step) = order.steps.get(*i).map(|step| step.id.clone()) else { continue };
        for (undone, outcome) in [(false, &view.outcome), (true, &view.undone)] {
            let Some(outcome) = outcome.clone() else { continue };
            if followed.told.insert((*i, undone)) {
                let (incident, playbook, step) = (incident.clone(), playbook.clone(), step.clone());
                reports.push(PlaybookReport::Step { incident, playbook, step, undone, outcome });
            }
        }
    }
    if let Some(asking) = asking(run)
        && followed.asked.as_ref() != Some(&asking.step)
    {
        let text = format!(
            "order {} asks until {}: {} (palisade playbook approve or refuse {})",
            order.id, asking.until, asking.question, order.id
        );
        followed.asked = Some(asking.step);
        reports.push(PlaybookReport::Note { incident: incident.clone(), time: run.begun, text });
    }
    if run.state != RunState::Running && !followed.is_ended {
        followed.is_ended = true;
        let container = order.container.as_ref().map(|container| container.id.clone());
        reports.push(PlaybookReport::Ended { incident, container, is_contained: contains(run) });
    }
}

/// Whether the container can do no more harm: killed, or held still.
fn contains(run: &Run) -> bool {
    run.order.steps.iter().enumerate().any(|(i, step)| {
        let StepKind::Act { act: act @ (Act::Kill | Act::Freeze), .. } = &step.what else {
            return false;
        };
        let outcome = run.steps.get(&i).and_then(|view| view.outcome.as_ref());
        let is_done = outcome.is_some_and(palisade_respond::order::StepOutcome::is_done);
        is_done && (*act == Act::Kill || run.held().any(|held| held == i))
    })
}

/// The question that a run asks now.
fn asking(run: &Run) -> Option<Asking> {
    if run.state != RunState::Running {
        return None;
    }
    let (i, view) = run.steps.iter().find(|(_, view)| view.outcome.is_none())?;
    let step = run.order.steps.get(*i)?;
    let StepKind::Approve { question, within_ms } = &step.what else { return None };
    let until = view.begun + Duration::from_millis(*within_ms);
    view.answer.is_none().then(|| Asking {
        step: step.id.clone(),
        question: question.clone(),
        until,
    })
}

fn view(run: &Run) -> OrderView {
    let order = &run.order;
    OrderView {
        order: order.id.clone(),
        playbook: order.playbook.clone(),
        owner: order.owner.clone(),
        incident: order.incident.clone(),
        container: order.container.as_ref().map(|container| container.name.clone()),
        begun: run.begun,
        state: run.state,
        held: run.held().filter_map(|i| order.steps.get(i).map(|step| step.id.clone())).collect(),
        asks: asking(run),
    }
}

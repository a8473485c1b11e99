//! Carrying orders out, so that a death at any point is completed or undone afterwards.
//!
//! The state of a run is a function of the records in the audit log, and of nothing else:
//! the engine appends a record, and what it knows follows from it, now as after a restart.
//! Every step is recorded before it begins; each is idempotent, so one that was begun and has
//! no end is done again. What a hold keeps is undone when its time is over, by whichever
//! process opens the log then.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_model::incident::ActionResult;
use palisade_policy::playbook::{Act, OnFailure, Step, StepKind};

use super::Order;
use super::audit::{AuditRecord, RunState, StepOutcome};
use crate::execute::RespondError;
use crate::hands::Hands;
use crate::journal::{Journal, JournalError, Recovery, Sync, read_records};

/// The log's file within its folder.
pub const AUDIT_FILE: &str = "audit.jsonl";
/// Size at which the log is rotated, in bytes.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Runs remembered; the oldest that hold nothing are forgotten first.
pub const RUNS_MAX: usize = 4096;
/// Touches remembered for the caps.
const TOUCHES_MAX: usize = 65_536;
/// The time over which caps count.
const CAP_WINDOW: Duration = Duration::from_hours(1);
/// When undoing is tried again that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long undoing one step may take.
const UNDO_DEADLINE: Duration = Duration::from_secs(10);

/// What became of an order that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It was taken on.
    New,
    /// It was taken on before.
    Known,
    /// A cap was reached.
    Refused(String),
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It ended.
    Ended(RunState),
    /// It waits until then.
    Waiting(Timestamp),
    /// It waits for an answer to the step's question, until then.
    Asking {
        /// The step.
        step: String,
        /// What is asked.
        question: String,
        /// Until when.
        until: Timestamp,
    },
}

/// What is known of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepView {
    /// When it began.
    pub begun: Timestamp,
    /// How it went, when it ended.
    pub outcome: Option<StepOutcome>,
    /// How undoing it went.
    pub undone: Option<StepOutcome>,
    /// The answer to its question: who, and whether it was yes.
    pub answer: Option<(String, bool)>,
}

/// What is known of an order.
#[derive(Debug, Clone)]
pub struct Run {
    /// The order.
    pub order: Order,
    /// When it was taken on.
    pub begun: Timestamp,
    /// Where it stands.
    pub state: RunState,
    /// Its steps, by number.
    pub steps: BTreeMap<usize, StepView>,
    cursor: usize,
    undoing: bool,
    /// A step said that nothing follows.
    stopping: bool,
}

impl Run {
    /// Whether a step's change is in force and this order's to undo.
    fn holds(&self, i: usize) -> bool {
        let view = self.steps.get(&i);
        view.is_some_and(|view| {
            view.undone.is_none()
                && view.outcome.as_ref().is_some_and(|outcome| outcome.is_done() && outcome.ours)
        }) && self.act(i).is_some_and(|act| act.inverse().is_some())
    }

    fn act(&self, i: usize) -> Option<&Act> {
        match &self.order.steps.get(i)?.what {
            StepKind::Act { act, .. } => Some(act),
            _ => None,
        }
    }

    /// When the hold of a step ends by itself.
    pub fn expires(&self, i: usize) -> Option<Timestamp> {
        if !self.holds(i) {
            return None;
        }
        let StepKind::Act { hold_ms: Some(ms), .. } = self.order.steps.get(i)?.what else {
            return None;
        };
        let outcome = self.steps.get(&i)?.outcome.as_ref()?;
        Some(outcome.ended + Duration::from_millis(ms))
    }

    /// Whether something is left to be done for it, now or later.
    pub fn is_live(&self) -> bool {
        self.state == RunState::Running || (0..self.order.steps.len()).any(|i| self.holds(i))
    }

    /// Steps whose change is in force: their numbers.
    pub fn held(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.order.steps.len()).filter(|i| self.holds(*i))
    }
}

/// Takes orders on, carries them out, undoes them, and remembers all of it.
#[derive(Debug)]
pub struct Engine {
    journal: Journal<AuditRecord>,
    runs: BTreeMap<String, Run>,
    touched: Vec<(Timestamp, String, String)>,
    recovery: Recovery,
}

/// What is told as it happens: the order, the step, whether it was undone, how it went.
pub type OnStep<'a> = &'a mut dyn FnMut(&Order, &str, bool, &StepOutcome);

/// The records of the log in `folder`, and what reading found; while others may write.
///
/// # Errors
///
/// The log cannot be read.
pub fn read_audit(folder: &Path) -> Result<(Vec<AuditRecord>, Recovery), JournalError> {
    read_records(&folder.join(AUDIT_FILE))
}

impl Engine {
    /// Opens the audit log in `folder`.
    ///
    /// # Errors
    ///
    /// The log cannot be opened, or another process has it.
    pub fn open(folder: &Path) -> Result<Self, RespondError> {
        let (journal, records, recovery) = Journal::open(&folder.join(AUDIT_FILE), LOG_BYTES_MAX)?;
        let mut engine = Self { journal, runs: BTreeMap::new(), touched: Vec::new(), recovery };
        for record in records {
            engine.learn(record);
        }
        Ok(engine)
    }

    /// What opening the log found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// What is known of the order `id`.
    pub fn run(&self, id: &str) -> Option<&Run> {
        self.runs.get(id)
    }

    /// Every run that is remembered.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// Takes an order on, unless it was or its playbook's caps are reached.
    ///
    /// # Errors
    ///
    /// The log cannot be written: then nothing is done.
    pub fn submit(&mut self, order: &Order, now: Timestamp) -> Result<Submitted, RespondError> {
        if self.runs.contains_key(&order.id) {
            return Ok(Submitted::Known);
        }
        let boxed = Box::new(order.clone());
        if let Some(reason) = self.over_cap(order, now) {
            self.record(AuditRecord::Refused { time: now, order: boxed, reason: reason.clone() })?;
            return Ok(Submitted::Refused(reason));
        }
        self.record(AuditRecord::Ordered { time: now, order: boxed })?;
        Ok(Submitted::New)
    }

    fn over_cap(&mut self, order: &Order, now: Timestamp) -> Option<String> {
        let (playbook, caps) = (order.playbook.as_ref()?, order.caps?);
        self.touched.retain(|(time, _, _)| now.since(*time) < CAP_WINDOW);
        let recent: Vec<&str> = self
            .touched
            .iter()
            .filter(|(_, other, _)| other == playbook)
            .map(|(_, _, container)| container.as_str())
            .collect();
        if recent.len() as u64 >= u64::from(caps.runs_per_hour) {
            return Some(format!(
                "playbook {playbook} ran {} times within the last hour, and may not more often",
                recent.len()
            ));
        }
        let this = place_of(order);
        let others: std::collections::BTreeSet<&str> =
            recent.into_iter().filter(|container| *container != this).collect();
        (others.len() as u64 >= u64::from(caps.containers_per_hour)).then(|| {
            format!(
                "playbook {playbook} touched {} other containers within the last hour, and may \
                 not touch more",
                others.len()
            )
        })
    }

    /// Carries the order `id` on as far as it goes at `now`.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn advance(
        &mut self,
        id: &str,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<Progress, RespondError> {
        loop {
            let Some(run) = self.runs.get(id) else {
                return Ok(Progress::Ended(RunState::Undone));
            };
            if run.state != RunState::Running {
                return Ok(Progress::Ended(run.state));
            }
            if run.undoing {
                let held: Vec<usize> = run.held().collect();
                for i in held.into_iter().rev() {
                    self.undo_step(id, i, now, hands, report)?;
                }
                self.finish(id, now(), RunState::Undone)?;
                continue;
            }
            let next = if run.stopping { None } else { run.order.steps.get(run.cursor) };
            let Some(step) = next.cloned() else {
                let state = if run.stopping { RunState::Stopped } else { RunState::Done };
                self.finish(id, now(), state)?;
                continue;
            };
            if let Some(progress) = self.step(id, &step, now, hands, report)? {
                return Ok(progress);
            }
        }
    }

    /// Does one step; `Some` when the run has to wait.
    fn step(
        &mut self,
        id: &str,
        step: &Step,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<Option<Progress>, RespondError> {
        let Some(run) = self.runs.get(id) else { return Ok(None) };
        let view = run.steps.get(&run.cursor);
        let (begun, answer) = (view.map(|v| v.begun), view.and_then(|v| v.answer.clone()));
        let order = run.order.clone();
        if begun.is_none() {
            let begin = AuditRecord::Begin {
                time: now(),
                order: id.into(),
                step: step.id.clone(),
                undo: false,
            };
            self.record(begin)?;
        }
        let resumed = begun.is_some();
        let begun = begun.unwrap_or_else(now);
        let outcome = match &step.what {
            StepKind::Act { act, deadline_ms, hold_ms } => {
                let is_over = hold_ms.is_some_and(|ms| now() >= begun + Duration::from_millis(ms));
                if resumed && is_over {
                    // Done or not when we died: its time is over, and it is undone next.
                    note(
                        now(),
                        ActionResult::Unchanged,
                        "its time was over when it was resumed",
                        true,
                    )
                } else {
                    perform(act, &order, Duration::from_millis(*deadline_ms), now, hands, resumed)
                }
            }
            StepKind::Wait { ms } => {
                let until = begun + Duration::from_millis(*ms);
                if now() < until {
                    return Ok(Some(Progress::Waiting(until)));
                }
                note(now(), ActionResult::Done, "waited", false)
            }
            StepKind::Approve { question, within_ms } => {
                let until = begun + Duration::from_millis(*within_ms);
                match answer {
                    Some((by, true)) => {
                        note(now(), ActionResult::Done, &format!("approved by {by}"), false)
                    }
                    Some((by, false)) => {
                        note(now(), ActionResult::Failed, &format!("refused by {by}"), false)
                    }
                    None if now() >= until => {
                        note(now(), ActionResult::Failed, "nobody answered in time", false)
                    }
                    None => {
                        let (step, question) = (step.id.clone(), question.clone());
                        return Ok(Some(Progress::Asking { step, question, until }));
                    }
                }
            }
        };
        let end = AuditRecord::End {
            order: id.into(),
            step: step.id.clone(),
            undo: false,
            outcome: outcome.clone(),
        };
        self.record(end)?;
        report(&order, &step.id, false, &outcome);
        Ok(None)
    }

    /// Carries every unfinished order on, and undoes what has been held long enough.
    /// Returns when to call again, if nothing else happens.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn tick(
        &mut self,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<Option<Timestamp>, RespondError> {
        let ids: Vec<String> = self.runs.keys().cloned().collect();
        let mut due: Option<Timestamp> = None;
        let mut earlier = |at: Timestamp| due = Some(due.map_or(at, |due| due.min(at)));
        for id in ids {
            let progress = self.advance(&id, now, hands, report)?;
            if let Progress::Waiting(until) | Progress::Asking { until, .. } = progress {
                earlier(until);
            }
            let n_steps = self.runs.get(&id).map_or(0, |run| run.order.steps.len());
            for i in 0..n_steps {
                match self.runs.get(&id).and_then(|run| run.expires(i)) {
                    Some(at) if now() >= at => {
                        self.undo_step(&id, i, now, hands, report)?;
                        if self.runs.get(&id).is_some_and(|run| run.holds(i)) {
                            earlier(now() + RETRY_AFTER);
                        }
                    }
                    Some(at) => earlier(at),
                    None => {}
                }
            }
        }
        self.rotate_when_full()?;
        Ok(due)
    }

    /// Puts back what should be in force and is not, as after a restart of the machine.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn uphold(
        &mut self,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<(), RespondError> {
        let held: Vec<(String, usize)> =
            self.runs.iter().flat_map(|(id, run)| run.held().map(|i| (id.clone(), i))).collect();
        for (id, i) in held {
            let Some(run) = self.runs.get(&id) else { continue };
            if run.expires(i).is_some_and(|at| now() >= at) {
                continue;
            }
            let order = run.order.clone();
            let Some(Step { id: step, what: StepKind::Act { act, deadline_ms, .. }, .. }) =
                order.steps.get(i)
            else {
                continue;
            };
            if !matches!(act, Act::Freeze | Act::Isolate { .. } | Act::BlockDestination { .. }) {
                continue;
            }
            let deadline = Duration::from_millis(*deadline_ms);
            let outcome = perform(act, &order, deadline, now, hands, true);
            if outcome.result == ActionResult::Done {
                report(&order, step, false, &outcome);
            }
        }
        Ok(())
    }

    /// Records a person's answer; `false` when nothing asks.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn answer(
        &mut self,
        id: &str,
        step: Option<&str>,
        (by, granted): (&str, bool),
        now: Timestamp,
    ) -> Result<bool, RespondError> {
        let Some(run) = self.runs.get(id).filter(|run| run.state == RunState::Running) else {
            return Ok(false);
        };
        let Some(current) = run.order.steps.get(run.cursor) else { return Ok(false) };
        let asks = matches!(current.what, StepKind::Approve { .. })
            && run.steps.contains_key(&run.cursor)
            && step.is_none_or(|step| step == current.id);
        if asks {
            let (order, step, by) = (id.to_string(), current.id.clone(), by.to_string());
            self.record(AuditRecord::Answered { time: now, order, step, by, granted })?;
        }
        Ok(asks)
    }

    /// Undoes everything that an order did and that can be undone, last first, whether it
    /// has ended or not. Returns whether everything was undone.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn undo(
        &mut self,
        id: &str,
        by: &str,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<bool, RespondError> {
        if !self.runs.contains_key(id) {
            return Ok(false);
        }
        // Recorded first: should we be killed in between, the rest is undone afterwards.
        let undoing = AuditRecord::Undoing { time: now(), order: id.into(), by: by.into() };
        self.record(undoing)?;
        self.advance(id, now, hands, report)?;
        Ok(self.runs.get(id).is_none_or(|run| run.held().next().is_none()))
    }

    /// Undoes what any order holds of `container`; the ids of those orders.
    ///
    /// # Errors
    ///
    /// The log cannot be written.
    pub fn release(
        &mut self,
        container: &str,
        by: &str,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<Vec<String>, RespondError> {
        let is_about = |run: &&Run| {
            run.is_live() && run.order.container.as_ref().is_some_and(|c| c.id == container)
        };
        let ids: Vec<String> =
            self.runs.values().filter(is_about).map(|run| run.order.id.clone()).collect();
        // All of them first: none may take over what another lets go.
        for id in &ids {
            let undoing = AuditRecord::Undoing { time: now(), order: id.clone(), by: by.into() };
            self.record(undoing)?;
        }
        for id in &ids {
            self.advance(id, now, hands, report)?;
        }
        Ok(ids)
    }

    /// Undoes one step, unless another order wants the same to hold.
    fn undo_step(
        &mut self,
        id: &str,
        i: usize,
        now: &dyn Fn() -> Timestamp,
        hands: &mut dyn Hands,
        report: OnStep<'_>,
    ) -> Result<(), RespondError> {
        let Some(run) = self.runs.get(id) else { return Ok(()) };
        let (order, step) = (run.order.clone(), run.order.steps.get(i).map(|s| s.id.clone()));
        let (Some(step), Some(inverse)) = (step, run.act(i).and_then(Act::inverse)) else {
            return Ok(());
        };
        if let Some((to, to_step)) = self.heir(id, i, now()) {
            let handed = AuditRecord::Handed {
                time: now(),
                order: id.into(),
                step: step.clone(),
                to: to.clone(),
                to_step,
            };
            self.record(handed)?;
            let detail = format!("order {to} keeps it");
            report(&order, &step, true, &note(now(), ActionResult::Unchanged, &detail, false));
            return Ok(());
        }
        let begin =
            AuditRecord::Begin { time: now(), order: id.into(), step: step.clone(), undo: true };
        self.record(begin)?;
        let outcome = perform(&inverse, &order, UNDO_DEADLINE, now, hands, true);
        if outcome.is_done() {
            let end = AuditRecord::End {
                order: id.into(),
                step: step.clone(),
                undo: true,
                outcome: outcome.clone(),
            };
            self.record(end)?;
        }
        // What could not be undone stays held, and is tried again.
        report(&order, &step, true, &outcome);
        Ok(())
    }

    /// Another order, not being undone, that wants the same to hold beyond `now`.
    fn heir(&self, id: &str, i: usize, now: Timestamp) -> Option<(String, String)> {
        let run = self.runs.get(id)?;
        let (inverse, place) = (run.act(i)?.inverse()?, place_of(&run.order).to_string());
        self.runs.values().filter(|other| other.order.id != id && !other.undoing).find_map(
            |other| {
                if place_of(&other.order) != place {
                    return None;
                }
                other.order.steps.iter().enumerate().find_map(|(j, step)| {
                    let StepKind::Act { act, hold_ms, .. } = &step.what else { return None };
                    let view = other.steps.get(&j)?;
                    let outcome = view.outcome.as_ref().filter(|outcome| outcome.is_done())?;
                    let lasts =
                        hold_ms.is_none_or(|ms| outcome.ended + Duration::from_millis(ms) > now);
                    (lasts && view.undone.is_none() && act.inverse().as_ref() == Some(&inverse))
                        .then(|| (other.order.id.clone(), step.id.clone()))
                })
            },
        )
    }

    fn finish(&mut self, id: &str, time: Timestamp, state: RunState) -> Result<(), RespondError> {
        self.record(AuditRecord::Finished { time, order: id.into(), state })
    }

    fn record(&mut self, record: AuditRecord) -> Result<(), RespondError> {
        self.journal.append(&record, Sync::Yes)?;
        self.learn(record);
        Ok(())
    }

    /// What follows from a record.
    fn learn(&mut self, record: AuditRecord) {
        match record {
            AuditRecord::Ordered { time, order } => {
                if let Some(playbook) = &order.playbook {
                    self.touch(time, playbook.clone(), place_of(&order).to_string());
                }
                self.make_room();
                let run = Run {
                    order: *order,
                    begun: time,
                    state: RunState::Running,
                    steps: BTreeMap::new(),
                    cursor: 0,
                    undoing: false,
                    stopping: false,
                };
                self.runs.insert(run.order.id.clone(), run);
            }
            AuditRecord::Refused { .. } => {}
            AuditRecord::Touched { time, playbook, container } => {
                self.touch(time, playbook, container);
            }
            AuditRecord::Begin { time, order, step, undo } => {
                if let Some((run, i)) = self.at(&order, &step)
                    && !undo
                {
                    run.steps.entry(i).or_insert(StepView {
                        begun: time,
                        outcome: None,
                        undone: None,
                        answer: None,
                    });
                }
            }
            AuditRecord::End { order, step, undo, outcome } => {
                if let Some((run, i)) = self.at(&order, &step) {
                    end(run, i, undo, outcome);
                }
            }
            AuditRecord::Answered { order, step, by, granted, .. } => {
                if let Some((run, i)) = self.at(&order, &step)
                    && let Some(view) = run.steps.get_mut(&i)
                {
                    view.answer.get_or_insert((by, granted));
                }
            }
            AuditRecord::Undoing { order, .. } => {
                if let Some(run) = self.runs.get_mut(&order) {
                    run.undoing = true;
                    run.state = RunState::Running;
                }
            }
            AuditRecord::Handed { time, order, step, to, to_step } => {
                if let Some((run, i)) = self.at(&order, &step)
                    && let Some(view) = run.steps.get_mut(&i)
                {
                    let detail = format!("order {to} keeps it");
                    view.undone = Some(note(time, ActionResult::Unchanged, &detail, false));
                }
                if let Some((run, i)) = self.at(&to, &to_step)
                    && let Some(outcome) = run.steps.get_mut(&i).and_then(|v| v.outcome.as_mut())
                {
                    outcome.ours = true;
                }
            }
            AuditRecord::Finished { order, state, .. } => {
                if let Some(run) = self.runs.get_mut(&order) {
                    run.state = state;
                    run.undoing = false;
                }
            }
        }
    }

    fn at(&mut self, order: &str, step: &str) -> Option<(&mut Run, usize)> {
        let run = self.runs.get_mut(order)?;
        let i = run.order.position(step)?;
        Some((run, i))
    }

    fn touch(&mut self, time: Timestamp, playbook: String, container: String) {
        // A rotated log holds the touch and the order.
        if self.touched.iter().any(|(t, p, c)| (*t, p, c) == (time, &playbook, &container)) {
            return;
        }
        if self.touched.len() >= TOUCHES_MAX {
            self.touched.remove(0);
        }
        self.touched.push((time, playbook, container));
    }

    fn make_room(&mut self) {
        if self.runs.len() < RUNS_MAX {
            return;
        }
        let oldest = self.runs.values().filter(|run| !run.is_live()).min_by_key(|run| run.begun);
        if let Some(id) = oldest.map(|run| run.order.id.clone()) {
            self.runs.remove(&id);
        }
    }

    fn rotate_when_full(&mut self) -> Result<(), RespondError> {
        if !self.journal.is_full() {
            return Ok(());
        }
        let mut carried: Vec<AuditRecord> = self
            .touched
            .iter()
            .map(|(time, playbook, container)| AuditRecord::Touched {
                time: *time,
                playbook: playbook.clone(),
                container: container.clone(),
            })
            .collect();
        for run in self.runs.values().filter(|run| run.is_live()) {
            carry(run, &mut carried);
        }
        // The touches of orders are in the first part already.
        Ok(self.journal.rotate(&carried)?)
    }
}

/// The records from which `run` follows.
fn carry(run: &Run, records: &mut Vec<AuditRecord>) {
    let id = &run.order.id;
    records.push(AuditRecord::Ordered { time: run.begun, order: Box::new(run.order.clone()) });
    for (i, view) in &run.steps {
        let Some(step) = run.order.steps.get(*i).map(|step| step.id.clone()) else { continue };
        let (order, time) = (id.clone(), view.begun);
        records.push(AuditRecord::Begin { time, order, step: step.clone(), undo: false });
        if let Some((by, granted)) = view.answer.clone() {
            let (order, step) = (id.clone(), step.clone());
            records.push(AuditRecord::Answered { time, order, step, by, granted });
        }
        for (undo, outcome) in [(false, &view.outcome), (true, &view.undone)] {
            if let Some(outcome) = outcome.clone() {
                let (order, step) = (id.clone(), step.clone());
                records.push(AuditRecord::End { order, step, undo, outcome });
            }
        }
    }
    if run.undoing {
        let (time, by) = (run.begun, String::new());
        records.push(AuditRecord::Undoing { time, order: id.clone(), by });
    } else if run.state != RunState::Running {
        let (time, state) = (run.begun, run.state);
        records.push(AuditRecord::Finished { time, order: id.clone(), state });
    }
}

/// Where a run goes on after a step ended.
fn end(run: &mut Run, i: usize, undo: bool, outcome: StepOutcome) {
    let done = outcome.is_done();
    let Some(view) = run.steps.get_mut(&i) else { return };
    if undo {
        view.undone = Some(outcome);
        return;
    }
    view.outcome = Some(outcome);
    run.cursor = i + 1;
    if done {
        return;
    }
    match run.order.steps.get(i).map(|step| step.on_failure.clone()) {
        Some(OnFailure::Stop) => run.stopping = true,
        Some(OnFailure::Undo) => run.undoing = true,
        // Forward only, whatever an order from elsewhere may say.
        Some(OnFailure::Goto(to)) => match run.order.position(&to) {
            Some(at) if at > i => run.cursor = at,
            _ => run.stopping = true,
        },
        _ => {}
    }
}

fn place_of(order: &Order) -> &str {
    order.container.as_ref().map_or("host", |container| container.id.as_str())
}

fn note(ended: Timestamp, result: ActionResult, detail: &str, ours: bool) -> StepOutcome {
    StepOutcome { result, detail: detail.to_string(), ended, duration_ns: 0, ours, file: None }
}

/// Does an act and measures it. What was begun by us and found done is ours.
fn perform(
    act: &Act,
    order: &Order,
    deadline: Duration,
    now: &dyn Fn() -> Timestamp,
    hands: &mut dyn Hands,
    resumed: bool,
) -> StepOutcome {
    let clock = Instant::now();
    let performed = hands.perform(act, order, deadline);
    let duration_ns = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let ours = match performed.result {
        ActionResult::Done | ActionResult::Partial => true,
        ActionResult::Unchanged => resumed,
        ActionResult::Failed | ActionResult::Planned => false,
    };
    StepOutcome {
        result: performed.result,
        detail: performed.detail,
        ended: now(),
        duration_ns,
        ours,
        file: performed.file,
    }
}

//! Carrying out a plan: each step journalled before and after, none done twice.
//!
//! The journal `actions.jsonl` holds what was begun and what ended, so that after a
//! SIGKILL at any point [`Responder::recover`] completes what the policy demanded, and
//! what holds (frozen, isolated) is put back if it was lost. [`Responder::release`] undoes.
//!
//! A failed step never keeps the later ones from being tried: a container that could not
//! be frozen is isolated and killed all the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use palisade_base::{Explain, Timestamp};
use palisade_model::Container;
use palisade_model::incident::{ActionResult, TimelineEntry, TimelineEvent};
use palisade_policy::Action;
use palisade_sys::cgroup::Hierarchies;
use serde::{Deserialize, Serialize};

use crate::containment::{Containment, ContainmentError, Effect};
use crate::journal::{Journal, JournalError, Recovery, Sync, read_records};
use crate::plan::{Plan, Step, action_name};
use crate::target::{Target, TargetError};

/// The journal's file within its folder.
const JOURNAL_FILE: &str = "actions.jsonl";
/// Plans remembered; the oldest finished ones are forgotten first.
pub const PLANS_MAX: usize = 4096;
/// Size at which the action journal is rotated, in bytes.
pub const JOURNAL_BYTES_MAX: u64 = 16 << 20;
/// How long undoing may take.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

/// How one step went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionOutcome {
    /// The step's action.
    #[serde(with = "action_name")]
    pub action: Action,
    /// How it went.
    pub result: ActionResult,
    /// What was done, or why it failed.
    pub detail: String,
    /// When it began.
    pub started: Timestamp,
    /// How long it took, in nanoseconds.
    pub duration_ns: u64,
    /// The file that the step produced: the evidence bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl ActionOutcome {
    /// The line of the incident's timeline.
    pub fn timeline_entry(&self) -> TimelineEntry {
        TimelineEntry {
            time: self.started + Duration::from_nanos(self.duration_ns),
            what: TimelineEvent::Action {
                action: self.action.as_str().to_string(),
                result: self.result,
                detail: self.detail.clone(),
                duration_ns: self.duration_ns,
            },
        }
    }

    /// Whether the step reached its aim.
    pub fn is_done(&self) -> bool {
        matches!(self.result, ActionResult::Done | ActionResult::Unchanged)
    }
}

/// One record of the action journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ActionRecord {
    /// A plan begins; everything needed to complete it.
    Plan {
        /// When.
        time: Timestamp,
        /// The plan.
        plan: Box<Plan>,
    },
    /// A step begins.
    Begin {
        /// When.
        time: Timestamp,
        /// The plan.
        plan: String,
        /// The step's action.
        #[serde(with = "action_name")]
        action: Action,
    },
    /// A step ended.
    End {
        /// The plan.
        plan: String,
        /// How it went.
        outcome: ActionOutcome,
    },
    /// All steps of a plan ended.
    Finished {
        /// When.
        time: Timestamp,
        /// The plan.
        plan: String,
    },
    /// A person took the restrictions off a container.
    Released {
        /// When.
        time: Timestamp,
        /// The container's id.
        container: String,
        /// What was undone.
        detail: String,
    },
}

/// What collecting evidence gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The bundle.
    pub file: String,
    /// What the timeline says of it.
    pub detail: String,
    /// Whether something is missing from it.
    pub partial: bool,
}

/// Collects the evidence of a plan; the boolean says whether the container is frozen.
pub type Collect<'a> =
    &'a mut dyn FnMut(&Plan, &Target, bool, Duration) -> Result<Collected, String>;

/// What a step needs besides the plan.
pub struct Means<'a> {
    /// Where control groups are mounted.
    pub hierarchies: &'a Hierarchies,
    /// Freezes, isolates, kills.
    pub containment: &'a dyn Containment,
    /// Collects evidence.
    pub collect: Collect<'a>,
}

impl std::fmt::Debug for Means<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Means").field("hierarchies", self.hierarchies).finish_non_exhaustive()
    }
}

/// Why a response could not be carried out or undone.
#[derive(Debug, thiserror::Error)]
pub enum RespondError {
    /// The journal failed; without it nothing is done.
    #[error("record the response")]
    Journal(#[from] JournalError),
    /// The container is not one that may be acted upon, or has ended.
    #[error("find the container's control group")]
    Target(#[from] TargetError),
    /// Undoing failed.
    #[error("release container `{container}`")]
    Release {
        /// The container.
        container: String,
        /// Why.
        source: ContainmentError,
    },
}

impl Explain for RespondError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Journal(error) => error.hint(),
            Self::Target(error) => error.hint(),
            Self::Release { .. } => {
                Some("see `palisade doctor` for control groups and eBPF".into())
            }
        }
    }
}

#[derive(Debug)]
struct PlanState {
    plan: Plan,
    begun: Timestamp,
    ended: Vec<ActionOutcome>,
    finished: bool,
}

impl PlanState {
    fn outcome(&self, action: Action) -> Option<&ActionOutcome> {
        self.ended.iter().rev().find(|outcome| outcome.action == action)
    }

    /// Whether the plan keeps something in force: frozen or isolated, and not killed.
    fn stands(&self) -> bool {
        let has = |action| self.plan.steps.iter().any(|step| step.action == action);
        !self.outcome(Action::Kill).is_some_and(ActionOutcome::is_done)
            && (has(Action::Freeze) || has(Action::Isolate))
    }
}

/// Containers that the journal in `folder` says were released, and when; read while somebody
/// else may be writing.
pub fn read_releases(folder: &Path) -> Result<Vec<(String, Timestamp)>, JournalError> {
    let (records, _) = read_records(&folder.join(JOURNAL_FILE))?;
    Ok(records
        .into_iter()
        .filter_map(|record| match record {
            ActionRecord::Released { time, container, .. } => Some((container, time)),
            _ => None,
        })
        .collect())
}

/// Carries plans out and remembers them across restarts.
#[derive(Debug)]
pub struct Responder {
    journal: Journal<ActionRecord>,
    plans: BTreeMap<String, PlanState>,
    recovery: Recovery,
}

impl Responder {
    /// Opens the action journal in `folder`.
    pub fn open(folder: &Path) -> Result<Self, RespondError> {
        let (journal, records, recovery) =
            Journal::open(&folder.join(JOURNAL_FILE), JOURNAL_BYTES_MAX)?;
        let mut responder = Self { journal, plans: BTreeMap::new(), recovery };
        for record in records {
            responder.learn(record);
        }
        Ok(responder)
    }

    /// What opening the journal found.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Plans that were begun and not finished.
    pub fn unfinished(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values().filter(|state| !state.finished).map(|state| &state.plan)
    }

    /// The outcomes that the journal holds for a plan.
    pub fn outcomes(&self, plan: &str) -> &[ActionOutcome] {
        self.plans.get(plan).map_or(&[], |state| &state.ended)
    }

    /// Carries `plan` out. Steps in `already` have been done by the caller and are only
    /// recorded; a plan that finished earlier is not repeated. `report` hears of each step
    /// as it ends.
    pub fn execute(
        &mut self,
        plan: &Plan,
        already: &[ActionOutcome],
        means: &mut Means<'_>,
        report: &mut dyn FnMut(&ActionOutcome),
    ) -> Result<Vec<ActionOutcome>, RespondError> {
        if let Some(state) = self.plans.get(&plan.id) {
            if state.finished {
                return Ok(state.ended.clone());
            }
        } else {
            let record =
                ActionRecord::Plan { time: Timestamp::now(), plan: Box::new(plan.clone()) };
            self.journal.append(&record, Sync::No)?;
            self.learn(record);
        }
        for outcome in already {
            let (plan, outcome) = (plan.id.clone(), outcome.clone());
            let record = ActionRecord::End { plan, outcome };
            self.journal.append(&record, Sync::No)?;
            self.learn(record);
        }
        // One wait for the disk: nothing was done in between.
        self.journal.sync()?;
        for outcome in already {
            report(outcome);
        }
        for step in &plan.steps {
            let known = self.plans.get(&plan.id).is_some_and(|s| s.outcome(step.action).is_some());
            if !known {
                self.step(plan, step, means, report)?;
            }
        }
        self.record(ActionRecord::Finished { time: Timestamp::now(), plan: plan.id.clone() })?;
        self.rotate_when_full()?;
        Ok(self.outcomes(&plan.id).to_vec())
    }

    /// Completes what a killed process left behind: unfinished plans are carried on, and
    /// what finished plans keep in force is put back if it no longer holds.
    pub fn recover(
        &mut self,
        means: &mut Means<'_>,
        report: &mut dyn FnMut(&Plan, &ActionOutcome),
    ) -> Result<u64, RespondError> {
        let plans: Vec<(Plan, bool, bool)> = self
            .plans
            .values()
            .map(|state| (state.plan.clone(), state.finished, state.stands()))
            .collect();
        let mut n_resumed = 0;
        for (plan, finished, stands) in plans {
            if stands {
                self.uphold(&plan, means, report)?;
            }
            if !finished {
                n_resumed += 1;
                self.execute(&plan, &[], means, &mut |outcome| report(&plan, outcome))?;
            }
        }
        Ok(n_resumed)
    }

    /// Undoes freeze and isolation of `container`, whichever plan put them there.
    pub fn release(
        &mut self,
        container: &Container,
        means: &Means<'_>,
    ) -> Result<Vec<Effect>, RespondError> {
        let target = Target::resolve(container, means.hierarchies)?;
        let failed = |source| RespondError::Release { container: container.id.clone(), source };
        // Recorded first: should we be killed in between, recovery must not freeze again
        // what a person wanted free. Releasing is idempotent and can be repeated.
        let detail = "thaw and rejoin the network".to_string();
        let time = Timestamp::now();
        self.record(ActionRecord::Released { time, container: container.id.clone(), detail })?;
        let network = means.containment.rejoin(&target, RELEASE_DEADLINE);
        // Thawing is tried even when the network could not be restored.
        let thawed = means.containment.thaw(&target, RELEASE_DEADLINE).map_err(failed)?;
        Ok(vec![thawed, network.map_err(failed)?])
    }

    /// Forgets the plans against `container` that are older than `released`: a person took
    /// their restrictions off, and recovery must not put them back.
    pub fn heed_release(&mut self, container: &str, released: Timestamp) {
        self.plans
            .retain(|_, state| state.plan.container.id != container || state.begun >= released);
    }

    /// Puts back what a plan keeps in force, for steps that had ended.
    fn uphold(
        &mut self,
        plan: &Plan,
        means: &mut Means<'_>,
        report: &mut dyn FnMut(&Plan, &ActionOutcome),
    ) -> Result<(), RespondError> {
        let Ok(target) = Target::resolve(&plan.container, means.hierarchies) else {
            return Ok(());
        };
        for step in &plan.steps {
            let ended = self.plans.get(&plan.id).and_then(|state| state.outcome(step.action));
            let held = ended.is_some_and(ActionOutcome::is_done);
            if held && matches!(step.action, Action::Freeze | Action::Isolate) {
                let outcome = run_step(plan, step, Ok(&target), false, means);
                if outcome.result != ActionResult::Unchanged {
                    self.end(plan, &outcome, &mut |outcome| report(plan, outcome))?;
                }
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        plan: &Plan,
        step: &Step,
        means: &mut Means<'_>,
        report: &mut dyn FnMut(&ActionOutcome),
    ) -> Result<(), RespondError> {
        let time = Timestamp::now();
        self.record(ActionRecord::Begin { time, plan: plan.id.clone(), action: step.action })?;
        let target = Target::resolve(&plan.container, means.hierarchies);
        let frozen = target.as_ref().is_ok_and(|t| t.group().is_frozen().unwrap_or(false));
        let outcome = run_step(plan, step, target.as_ref(), frozen, means);
        self.end(plan, &outcome, report)
    }

    fn end(
        &mut self,
        plan: &Plan,
        outcome: &ActionOutcome,
        report: &mut dyn FnMut(&ActionOutcome),
    ) -> Result<(), RespondError> {
        self.record(ActionRecord::End { plan: plan.id.clone(), outcome: outcome.clone() })?;
        report(outcome);
        Ok(())
    }

    fn record(&mut self, record: ActionRecord) -> Result<(), RespondError> {
        self.journal.append(&record, Sync::Yes)?;
        self.learn(record);
        Ok(())
    }

    fn learn(&mut self, record: ActionRecord) {
        match record {
            ActionRecord::Plan { time, plan } => {
                self.make_room();
                let state =
                    PlanState { plan: *plan, begun: time, ended: Vec::new(), finished: false };
                self.plans.insert(state.plan.id.clone(), state);
            }
            ActionRecord::Begin { .. } => {}
            ActionRecord::End { plan, outcome } => {
                if let Some(state) = self.plans.get_mut(&plan) {
                    state.ended.retain(|ended| ended.action != outcome.action);
                    state.ended.push(outcome);
                }
            }
            ActionRecord::Finished { plan, .. } => {
                if let Some(state) = self.plans.get_mut(&plan) {
                    state.finished = true;
                }
            }
            ActionRecord::Released { container, .. } => {
                self.plans.retain(|_, state| state.plan.container.id != container);
            }
        }
    }

    /// Forgets the oldest finished plan when there are too many; ids begin with the time.
    fn make_room(&mut self) {
        if self.plans.len() < PLANS_MAX {
            return;
        }
        let spent = |state: &PlanState| state.finished && !state.stands();
        let oldest = self
            .plans
            .iter()
            .find(|(_, state)| spent(state))
            .or_else(|| self.plans.iter().find(|(_, state)| state.finished))
            .or_else(|| self.plans.iter().next())
            .map(|(id, _)| id.clone());
        if let Some(id) = oldest {
            self.plans.remove(&id);
        }
    }

    fn rotate_when_full(&mut self) -> Result<(), RespondError> {
        if !self.journal.is_full() {
            return Ok(());
        }
        let time = Timestamp::now();
        let mut carried = Vec::new();
        for state in self.plans.values().filter(|state| !state.finished || state.stands()) {
            let id = &state.plan.id;
            let plan = Box::new(state.plan.clone());
            carried.push(ActionRecord::Plan { time: state.begun, plan });
            carried.extend(
                state.ended.iter().map(|outcome| ActionRecord::End {
                    plan: id.clone(),
                    outcome: outcome.clone(),
                }),
            );
            if state.finished {
                carried.push(ActionRecord::Finished { time, plan: id.clone() });
            }
        }
        Ok(self.journal.rotate(&carried)?)
    }
}

/// Does one step and measures it; every failure becomes an outcome.
fn run_step(
    plan: &Plan,
    step: &Step,
    target: Result<&Target, &TargetError>,
    frozen: bool,
    means: &mut Means<'_>,
) -> ActionOutcome {
    let started = Timestamp::now();
    let clock = Instant::now();
    let mut file = None;
    let (result, detail) = match target {
        Err(TargetError::Ended(_)) if step.action == Action::Evidence => {
            (ActionResult::Failed, "the container ended before evidence was collected".into())
        }
        Err(error @ TargetError::Ended(_)) => (ActionResult::Unchanged, error.to_string()),
        Err(error) => (ActionResult::Failed, chain(error)),
        Ok(target) if step.action == Action::Evidence => {
            match (means.collect)(plan, target, frozen, step.deadline()) {
                Ok(collected) => {
                    file = Some(collected.file);
                    let partial = collected.partial;
                    let result = if partial { ActionResult::Partial } else { ActionResult::Done };
                    (result, collected.detail)
                }
                Err(reason) => (ActionResult::Failed, reason),
            }
        }
        Ok(target) => {
            let deadline = step.deadline();
            let effect = match step.action {
                Action::Freeze => means.containment.freeze(target, deadline),
                Action::Isolate => means.containment.isolate(target, deadline),
                Action::Kill | Action::Evidence => means.containment.kill(target, deadline),
            };
            match effect {
                Ok(Effect { changed: true, detail }) => (ActionResult::Done, detail),
                Ok(Effect { changed: false, detail }) => (ActionResult::Unchanged, detail),
                Err(error) => (ActionResult::Failed, chain(&error)),
            }
        }
    };
    let duration_ns = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
    ActionOutcome { action: step.action, result, detail, started, duration_ns, file }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut link = error.source();
    while let Some(cause) = link.filter(|_| text.len() < 2000) {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        link = cause.source();
    }
    text
}

//! Carries out what was planned, and says of each event how it went.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use palisade_base::{Explain, Timestamp};
use palisade_bpf::enforce::{
    Decision, Effect, Outcome as Done, Plan, Refusals, SharedTables, effect, lsm_is_active,
};
use palisade_model::alert::Outcome;
use palisade_model::{Container, Enforcement, EnforcementAction, EnforcementOutcome, Means};
use palisade_policy::{EnforceException, EnforceMode};
use palisade_rules::{RuleId, RuleSet};
use palisade_sensor::EventView;
use palisade_sensor::identity::Facts;
use palisade_sys::Hierarchies;
use palisade_sys::fanotify::ExecGate;

use super::attempt;
use super::gate::{ANSWER_DEADLINE, Decide, Denial, Gate};
use super::judge::{Current, Judge, Rules};
use super::kernel::{Kernel, plan_for_kernel, without_kernel};
use super::kill::kill;
use super::orders::Order;
use super::plan::{Host, plan};
use super::set::{Set, in_kernel, in_kernel_at_all, uses};
use super::standing::{EnforcementHealth, Ruling, Standing};
use super::warden::{Guarded, Note, Warden};
use crate::detection::Detection;

/// Refusals that wait to become alerts.
pub(super) const DENIALS_MAX: usize = 4096;
/// Rows for single containers in the status.
const ROWS_MAX: usize = 1024;

/// What enforcement is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether actions are carried out. [`EnforceMode::Off`] needs no enforcer.
    pub mode: EnforceMode,
    /// Where actions are not carried out.
    pub exceptions: Vec<EnforceException>,
    /// What this machine offers.
    pub host: Host,
    /// How long an answer before a program may take.
    pub answer_deadline: Duration,
}

impl Settings {
    /// The usual settings on this machine.
    pub fn new(mode: EnforceMode, exceptions: Vec<EnforceException>) -> Self {
        Self { mode, exceptions, host: Host::of_this_machine(), answer_deadline: ANSWER_DEADLINE }
    }
}

impl Host {
    /// Finds out what this machine offers. Opens and closes what it tries.
    pub fn of_this_machine() -> Self {
        let groups = match Hierarchies::detect().map(|groups| groups.unified().is_some()) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the host has no control groups of version 2".to_string()),
            Err(error) => Err(error.to_string()),
        };
        Self {
            lsm: match lsm_is_active() {
                Ok(true) => groups.clone(),
                Ok(false) => Err("the kernel was started without `bpf` in `lsm=`".into()),
                Err(error) => Err(format!("the kernel's security modules are not known: {error}")),
            },
            cgroup: groups.clone(),
            fanotify: match ExecGate::open() {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("the kernel answers: {error}")),
            },
            kernel_kill: groups,
            user_kill: Ok(()),
        }
    }
}

/// Why enforcement cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum EnforcerError {
    /// The gate before programs was planned and does not open.
    #[error("open the gate before programs")]
    Gate(#[source] std::io::Error),
}

impl Explain for EnforcerError {
    fn hint(&self) -> Option<String> {
        Some("run as root; `palisade doctor` says what this host offers".into())
    }
}

/// Carries out actions.
#[derive(Debug)]
pub struct Enforcer {
    pub(super) host: Host,
    answer_deadline: Duration,
    /// What is in force.
    pub(super) set: Arc<Set>,
    /// What was in force before, the newest last, and until when: records and decisions of
    /// that time may still come.
    pub(super) before: VecDeque<(Timestamp, Arc<Set>)>,
    pub(super) gate: Option<Gated>,
    pub(super) kernel: Option<Kernel>,
    swept: Instant,
    /// Refusals of the gate; the other end is for the next gate.
    denials: Receiver<Denial>,
    denied: SyncSender<Denial>,
    /// The container of the event before, which most often is that of the next one.
    pub(super) last: Option<Arc<Facts>>,
    /// By full id: what was known of a container, and whether its programs are asked about.
    pub(super) followed: HashMap<String, (Arc<Facts>, bool)>,
    n_killed: u64,
    n_failed: u64,
    n_told: u64,
}

/// The gate before programs, and what belongs to it.
#[derive(Debug)]
pub(super) struct Gated {
    gate: Gate,
    pub(super) warden: Warden,
    /// The rules by which it judges.
    pub(super) rules: Current,
}

/// Sets that are kept when they are no longer in force, and for how long.
const SETS_MAX: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(10);

/// How many containers are remembered as followed; beyond it they are looked at again.
const FOLLOWED_MAX: usize = 16_384;

impl Enforcer {
    /// Plans for all `orders` and opens what is needed.
    pub fn start(
        rules: &Arc<RuleSet>,
        orders: Vec<Order>,
        settings: Settings,
    ) -> Result<Self, EnforcerError> {
        let Settings { mode, exceptions, mut host, answer_deadline } = settings;
        let mut kernel = None;
        let is_on = mode == EnforceMode::On;
        // The tables are there in a dry run as well, for a change of mind.
        let nothing = Plan::default();
        let planned = plan_for_kernel(&orders, 0, &mut host, &mut |_, given| {
            match Kernel::load(if is_on { given } else { (&nothing, Refusals::default()) }) {
                Ok(loaded) => kernel = Some(loaded),
                Err(error) if is_on => return Err(error),
                Err(_) => {}
            }
            Ok(())
        });
        let standings = planned.into_iter().map(|(standing, _)| standing).collect();
        let (denied, denials) = sync_channel(DENIALS_MAX);
        let mut this = Self {
            host,
            answer_deadline,
            set: Arc::new(Set::new(mode, exceptions, orders, standings, 0)),
            before: VecDeque::new(),
            gate: None,
            kernel,
            swept: Instant::now(),
            denials,
            denied,
            last: None,
            followed: HashMap::new(),
            n_killed: 0,
            n_failed: 0,
            n_told: 0,
        };
        if is_on && !this.set.served().is_empty() {
            this.gate = Some(this.open_gate(rules, &this.set).map_err(EnforcerError::Gate)?);
        }
        Ok(this)
    }

    /// Opens the gate before programs for the rules of a set that need it.
    pub(super) fn open_gate(&self, rules: &Arc<RuleSet>, set: &Set) -> std::io::Result<Gated> {
        let guarded = Guarded::default();
        let current = Current::new(Rules::new(rules, set.served(), set.exceptions.clone()));
        let mut judge = Judge::new(current.clone(), Arc::clone(&guarded));
        let decide: Decide = Box::new(move |request| judge.decide(request));
        let gate = Gate::start(decide, self.denied.clone(), self.answer_deadline)?;
        let warden = Warden::start(gate.link(), guarded)?;
        Ok(Gated { gate, warden, rules: current })
    }

    /// Whether actions are carried out.
    pub fn is_on(&self) -> bool {
        self.set.mode == EnforceMode::On
    }

    /// How each rule with an action stands on this host.
    pub fn standings(&self) -> &[Standing] {
        &self.set.standings
    }

    /// The number that a rule has by now, by its name.
    pub(super) fn rule_now(&self, name: &str) -> Option<RuleId> {
        self.set.of(name).map(|(order, _)| order.rule)
    }

    /// The tables that the sensor's probes need to kill.
    pub fn tables(&self) -> Option<SharedTables> {
        self.kernel.as_ref().map(Kernel::tables)
    }

    /// Follows containers by their events: the first, and each program that starts.
    pub(super) fn follow(&mut self, event: &EventView<'_>) {
        if self.gate.is_none() && self.kernel.is_none() {
            return;
        }
        let Some(thread) = event.thread() else { return };
        let Some(facts) = event.state().facts_of(thread) else { return };
        let is_last = self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, facts));
        let is_program = event.type_name() == attempt::EVENTS[0];
        if is_last && !is_program {
            return;
        }
        if !is_last {
            self.last = Some(Arc::clone(facts));
        }
        if facts.is_host() {
            return;
        }
        if let Some(kernel) = &mut self.kernel
            && !kernel.knows(facts)
        {
            kernel.guard(facts, &self.set);
        }
        let Some(Gated { warden, .. }) = &self.gate else { return };
        let followed = self.followed.get(&facts.full_id);
        match followed.filter(|(known, _)| Arc::ptr_eq(known, facts)) {
            Some((_, true)) if !is_program => return,
            Some((_, false)) => return,
            None if !self.set.is_gated(facts) => return self.remember(facts, false),
            Some((_, true)) | None => {}
        }
        let pid = u32::try_from(thread.pid).unwrap_or(0);
        // What does not fit now is tried again at the container's next event.
        if pid > 1 && warden.see(facts, pid) {
            self.remember(facts, true);
        } else {
            self.last = None;
        }
    }

    fn remember(&mut self, facts: &Arc<Facts>, is_gated: bool) {
        if self.followed.len() >= FOLLOWED_MAX {
            self.followed.clear();
        }
        self.followed.insert(facts.full_id.clone(), (Arc::clone(facts), is_gated));
    }

    /// Follows the containers that run already.
    pub(super) fn follow_running(&mut self, running: &[(Arc<Facts>, u32)]) {
        for (facts, pid) in running {
            if let Some(kernel) = &mut self.kernel {
                kernel.guard(facts, &self.set);
            }
            if let Some(Gated { warden, .. }) = &self.gate
                && self.set.is_gated(facts)
            {
                // What does not fit is found at its next event.
                let _seen = warden.see(facts, *pid);
            }
        }
    }

    /// What is done now and then: containers that have ended are let go, and exceptions that
    /// have ended no longer hold.
    pub(super) fn tick(&mut self) {
        let Some(kernel) = &mut self.kernel else { return };
        if self.swept.elapsed() >= SWEEP_INTERVAL {
            self.swept = Instant::now();
            kernel.forget(Timestamp::now());
            kernel.sweep();
            if !self.set.exceptions.is_empty() {
                kernel.guard_again(&self.set);
            }
        }
    }

    /// The next call that the kernel's programs refused and of which no event told: the rule,
    /// the decision, and the container.
    pub(super) fn next_refusal(&mut self) -> Option<(RuleId, Decision, Arc<Facts>)> {
        let now = Timestamp::now();
        while let Some(decision) = self.kernel.as_mut()?.take_refusal(now) {
            // Its name is what a rule keeps.
            let name = self.sets().find_map(|set| set.numbered(decision.rule));
            let rule = name.and_then(|order| self.rule_now(&order.name));
            let kernel = self.kernel.as_mut()?;
            if let Some((rule, facts)) = rule.zip(kernel.facts_of(decision.cgroup_id)) {
                return Some((rule, decision, Arc::clone(facts)));
            }
            kernel.note_unmatched();
        }
        None
    }

    /// What is in force, and what was before.
    fn sets(&self) -> impl Iterator<Item = &Arc<Set>> {
        std::iter::once(&self.set).chain(self.before.iter().rev().map(|(_, set)| set))
    }

    /// The set that was in force at a time.
    fn set_at(&self, time: Timestamp) -> &Arc<Set> {
        let then = self.before.iter().find(|(until, _)| time < *until);
        then.map_or(&self.set, |(_, set)| set)
    }

    /// Keeps a set that was in force until `until`, for a while.
    pub(super) fn keep(&mut self, until: Timestamp, set: Arc<Set>) {
        let is_old = |then: &Timestamp| until.since(*then) > KEPT_FOR;
        while self.before.len() >= SETS_MAX
            || self.before.front().is_some_and(|(then, _)| is_old(then))
        {
            self.before.pop_front();
        }
        self.before.push_back((until, set));
    }

    /// Does what the rule of `detection` asks, and writes down how it went.
    pub fn enforce(&mut self, detection: &mut Detection) {
        if detection.enforcement.is_some() {
            return; // refused before it happened
        }
        let set = Arc::clone(self.set_at(detection.time));
        if set.mode == EnforceMode::Off {
            return;
        }
        let Some((order, standing)) = set.of(&detection.rule.name) else { return };
        let Some(first) = order.wishes.first().copied() else { return };
        let done = |action, means, outcome, detail: &str| Enforcement {
            action,
            means,
            outcome,
            detail: detail.to_string(),
            latency_ns: 0,
        };
        let Some(container) = &detection.container else {
            let why = "processes of the host are never touched";
            detection.enforcement = Some(done(first, None, EnforcementOutcome::Cannot, why));
            return;
        };
        let now = Timestamp::now();
        let exception = set.exceptions.iter().find(|e| e.covers(&order.name, container, now));
        if let Some(exception) = exception {
            detection.enforcement =
                Some(done(first, None, EnforcementOutcome::Excepted, &exception.reason));
            return;
        }
        let here = self.standing_in(order, standing, container);
        let Some((action, means)) = here.ruling.means() else {
            let why = here.ruling.to_string();
            let why = why.strip_prefix("cannot: ").unwrap_or(&why);
            detection.enforcement = Some(done(first, None, EnforcementOutcome::Cannot, why));
            return;
        };
        let means = means_for(means, &detection.event_type);
        let pid = detection.process.as_ref().map_or(0, |process| process.pid);
        // About the time of an exchange the kernel may have judged by another set.
        let numbers: Vec<u32> =
            self.sets().filter_map(|set| set.number_of(&detection.rule.name)).collect();
        let kernel = self.kernel.as_mut().filter(|_| in_kernel(means));
        let decision = kernel.and_then(|kernel| kernel.take(&numbers, pid, detection.time));
        let is_refused = matches!(detection.outcome, Outcome::Failed { .. });
        if is_refused && action == EnforcementAction::Deny {
            // Without a decision of ours the kernel has refused it by itself.
            if let Some(decision) = decision.filter(|d| d.outcome == Done::Denied) {
                let mut entry = done(action, Some(means), EnforcementOutcome::Prevented, "");
                entry.latency_ns = after(detection.time, decision.time_ns);
                detection.enforcement = Some(entry);
            }
            return;
        }
        if set.mode == EnforceMode::DryRun {
            self.n_told += 1;
            let outcome = match here.ruling {
                Ruling::Prevents { .. } => EnforcementOutcome::WouldPrevent,
                _ => EnforcementOutcome::WouldKill,
            };
            detection.enforcement = Some(done(action, Some(means), outcome, ""));
            return;
        }
        let may_kill = order.wishes.contains(&EnforcementAction::Kill);
        let mut entry = done(action, Some(means), EnforcementOutcome::Killed, "");
        if let Some(decision) = decision.as_ref().filter(|d| d.outcome == Done::Killed) {
            entry.latency_ns = after(detection.time, decision.time_ns);
            match effect(&detection.event_type) {
                Some(Effect::Prevents) => entry.outcome = EnforcementOutcome::Prevented,
                Some(Effect::Partly(but)) => entry.detail = but.to_string(),
                Some(Effect::Reacts(why)) => entry.detail = why.to_string(),
                None => {}
            }
            self.n_killed += 1;
            detection.enforcement = Some(entry);
            return;
        }
        if means == Means::KernelKill {
            // Killing is what the rule allows, so the agent does what the probe did not.
            entry.means = Some(Means::UserKill);
            entry.detail = self.why_not_in_kernel(container);
        }
        if action == EnforcementAction::Deny {
            entry.detail = if in_kernel(means) {
                self.why_not_in_kernel(container)
            } else {
                self.why_not_refused(container)
            };
            if !may_kill {
                entry.outcome = EnforcementOutcome::Failed;
                self.n_failed += 1;
                detection.enforcement = Some(entry);
                return;
            }
            // The rule allows the next best.
            entry.action = EnforcementAction::Kill;
            entry.means = Some(Means::UserKill);
        }
        match kill(pid, detection.start_boottime_ns, container) {
            Ok(()) => {
                self.n_killed += 1;
                let latency = Timestamp::now().since(detection.time);
                entry.latency_ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            }
            Err(error) => {
                self.n_failed += 1;
                entry.outcome = EnforcementOutcome::Failed;
                entry.detail = error.to_string();
            }
        }
        detection.enforcement = Some(entry);
    }

    /// Why the kernel's programs did not act.
    fn why_not_in_kernel(&self, container: &Container) -> String {
        let problem = self.kernel.as_ref().and_then(|kernel| kernel.problem(&container.id));
        problem.unwrap_or("it happened before the container was guarded").to_string()
    }

    /// Why a program that should have been refused was not.
    fn why_not_refused(&self, container: &Container) -> String {
        let note = self.gate.as_ref().and_then(|gated| gated.warden.note(&container.id));
        match note {
            None => "it started before the container was guarded".into(),
            Some(Note::Unguarded(why)) => why,
            Some(Note::Guarded(unasked)) if unasked.is_empty() => {
                "it was not asked about: a mount or a memory file that is not marked".into()
            }
            Some(Note::Guarded(unasked)) => {
                format!("it was not asked about; not asked are {}", unasked.join(", "))
            }
        }
    }

    /// How a rule stands in one container.
    fn standing_in(&self, order: &Order, standing: &Standing, container: &Container) -> Standing {
        let note = self.gate.as_ref().and_then(|gated| gated.warden.note(&container.id));
        let problem = self.kernel.as_ref().and_then(|kernel| kernel.problem(&container.id));
        self.standing_with(order, standing, note.as_ref(), problem)
    }

    fn standing_with(
        &self,
        order: &Order,
        standing: &Standing,
        note: Option<&Note>,
        problem: Option<&str>,
    ) -> Standing {
        let uses_kernel = in_kernel_at_all(&standing.ruling);
        if let Some(why) = problem.filter(|_| uses_kernel) {
            let mut host = self.host.clone();
            without_kernel(&mut host, why);
            if let Some(Note::Unguarded(why)) = note {
                host.fanotify = Err(why.clone());
            }
            return plan(order, &host);
        }
        if !uses(&standing.ruling, Means::Fanotify) {
            return standing.clone();
        }
        match note {
            Some(Note::Unguarded(why)) => {
                let host = Host { fanotify: Err(why.clone()), ..self.host.clone() };
                plan(order, &host)
            }
            Some(Note::Guarded(unasked)) if !unasked.is_empty() => {
                let mut here = standing.clone();
                if let Ruling::Prevents { limits, .. } = &mut here.ruling {
                    limits.extend(unasked.iter().map(|mount| format!("programs on {mount}")));
                }
                here
            }
            _ => standing.clone(),
        }
    }

    /// What was refused since the last call.
    pub(super) fn next_denial(&self) -> Option<Denial> {
        self.denials.try_recv().ok()
    }

    /// Problems since the last call.
    pub(super) fn problems(&self, sink: &mut dyn FnMut(String)) {
        if let Some(Gated { gate, .. }) = &self.gate {
            gate.take_problems().into_iter().for_each(sink);
        }
    }

    /// What enforcement says about itself.
    pub fn health(&self) -> EnforcementHealth {
        let mut standings = self.set.standings.clone();
        let notes: BTreeMap<String, Note> =
            self.gate.iter().flat_map(|gated| gated.warden.notes()).collect();
        let problems: BTreeMap<&str, &str> =
            self.kernel.iter().flat_map(Kernel::problems).collect();
        let n_gated = notes.values().filter(|note| matches!(note, Note::Guarded(_))).count();
        let n_guarded = n_gated.max(self.kernel.as_ref().map_or(0, Kernel::n_guarded));
        let ids: BTreeSet<&str> =
            notes.keys().map(String::as_str).chain(problems.keys().copied()).collect();
        for id in ids {
            let (note, problem) = (notes.get(id), problems.get(id).copied());
            for (order, standing) in self.set.orders.iter().zip(&self.set.standings) {
                let mut here = self.standing_with(order, standing, note, problem);
                if here.ruling != standing.ruling && standings.len() < ROWS_MAX {
                    let short = id.get(..12).unwrap_or(id).to_string();
                    here.container = Some(short);
                    standings.push(here);
                }
            }
        }
        let counts = self.gate.as_ref().map(|gated| gated.gate.counts()).unwrap_or_default();
        EnforcementHealth {
            mode: self.set.mode.as_str().into(),
            standings,
            n_guarded,
            n_asked: counts.asked,
            n_denied: counts.denied,
            n_unreported: counts.unreported + self.kernel.as_ref().map_or(0, Kernel::n_unmatched),
            n_late: counts.late,
            n_killed: self.n_killed,
            n_failed: self.n_failed,
            n_told: self.n_told,
        }
    }
}

/// How often containers that have ended are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// From an event to what was done about it, in nanoseconds; 0 when it was done within the call.
fn after(event: Timestamp, done_ns: u64) -> u64 {
    done_ns.saturating_sub(event.as_nanos())
}

/// The means that serves `event` among those of a rule.
fn means_for(means: &[Means], event: &str) -> Means {
    let is_program = attempt::EVENTS.contains(&event);
    let fits = |means: &&Means| (**means != Means::Fanotify) || is_program;
    means.iter().find(fits).or(means.first()).copied().unwrap_or(Means::UserKill)
}

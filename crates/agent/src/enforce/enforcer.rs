//! Carries out what was planned, and says of each event how it went.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use palisade_base::{Explain, Timestamp};
use palisade_bpf::enforce::{
    Decision, Effect, Outcome as Done, SharedTables, effect, lsm_is_active,
};
use palisade_model::alert::Outcome;
use palisade_model::{Container, Enforcement, EnforcementAction, EnforcementOutcome, Means};
use palisade_policy::{EnforceException, EnforceMode};
use palisade_rules::{Evaluator, RuleId, RuleSet};
use palisade_sensor::EventView;
use palisade_sensor::identity::Facts;
use palisade_sensor::state::ANCESTORS_MAX;
use palisade_sys::Hierarchies;
use palisade_sys::fanotify::{ExecGate, Request};

use super::attempt::{self, Ancestor, Attempt, seen_from};
use super::gate::{ANSWER_DEADLINE, Decide, Denial, Gate};
use super::kernel::{Kernel, Planned, plan_and_load, without_kernel};
use super::kill::kill;
use super::membership::is_member;
use super::orders::Order;
use super::plan::{Host, choose, plan};
use super::program::{Program, START_BYTES, judge};
use super::scope::may_concern;
use super::standing::{EnforcementHealth, Ruling, Standing};
use super::warden::{Guarded, Note, Warden};
use crate::detection::Detection;

/// Refusals that wait to become alerts.
pub(super) const DENIALS_MAX: usize = 4096;
/// Processes whose loader is expected to be asked about next.
const EXPECTED_MAX: usize = 4096;
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
    mode: EnforceMode,
    exceptions: Vec<EnforceException>,
    host: Host,
    orders: Vec<Order>,
    by_rule: BTreeMap<String, usize>,
    /// The names of the rules by the numbers that they had at the start: the gate still says
    /// those after a reload.
    at_start: BTreeMap<RuleId, String>,
    standings: Vec<Standing>,
    gate: Option<(Gate, Warden)>,
    kernel: Option<Kernel>,
    swept: Instant,
    denials: Receiver<Denial>,
    /// The container of the event before, which most often is that of the next one.
    last: Option<Arc<Facts>>,
    /// By full id: what was known of a container, and whether it is guarded.
    followed: HashMap<String, (Arc<Facts>, bool)>,
    n_killed: u64,
    n_failed: u64,
    n_told: u64,
}

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
        let (planned, kernel): (Planned, _) = if mode == EnforceMode::On {
            plan_and_load(&orders, &mut host)
        } else {
            (orders.iter().map(|order| choose(order, &host)).collect(), None)
        };
        let standings: Vec<Standing> = planned.into_iter().map(|(standing, _)| standing).collect();
        let served: BTreeMap<RuleId, String> = orders
            .iter()
            .zip(&standings)
            .filter(|(_, standing)| uses(&standing.ruling, Means::Fanotify))
            .map(|(order, _)| (order.rule, order.name.clone()))
            .collect();
        let (sender, denials) = sync_channel(DENIALS_MAX);
        let mut gate = None;
        if mode == EnforceMode::On && !served.is_empty() {
            let guarded = Guarded::default();
            let needs_ancestors = served.keys().any(|id| asks_ancestors(rules, *id));
            let mut judge = Judge {
                evaluator: Evaluator::new(rules),
                served,
                exceptions: exceptions.clone(),
                guarded: Arc::clone(&guarded),
                n_ancestors: if needs_ancestors { ANCESTORS_MAX } else { 1 },
                expected: BTreeMap::new(),
                matched: Vec::new(),
            };
            let decide: Decide = Box::new(move |request| judge.decide(request));
            let opened =
                Gate::start(decide, sender, answer_deadline).map_err(EnforcerError::Gate)?;
            let warden = Warden::start(opened.link(), guarded).map_err(EnforcerError::Gate)?;
            gate = Some((opened, warden));
        }
        let at_start = orders.iter().map(|order| (order.rule, order.name.clone())).collect();
        let by_rule = orders.iter().enumerate().map(|(i, order)| (order.name.clone(), i)).collect();
        Ok(Self {
            mode,
            exceptions,
            host,
            orders,
            by_rule,
            at_start,
            standings,
            gate,
            kernel,
            swept: Instant::now(),
            denials,
            last: None,
            followed: HashMap::new(),
            n_killed: 0,
            n_failed: 0,
            n_told: 0,
        })
    }

    /// How each rule with an action stands on this host.
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Whether rules with these `orders` can take the place of those that enforcement was
    /// planned for: only the numbers may differ.
    pub(super) fn accepts(&self, orders: &[Order]) -> Result<(), String> {
        let same =
            |new: &Order, old: &Order| new.clone() == Order { rule: new.rule, ..old.clone() };
        let known = |name: &str| self.by_rule.get(name).and_then(|at| self.orders.get(*at));
        let changed = orders.iter().find(|new| known(&new.name).is_none_or(|old| !same(new, old)));
        let gone = self.orders.iter().find(|old| !orders.iter().any(|new| new.name == old.name));
        match changed.or(gone) {
            None => Ok(()),
            Some(order) => Err(format!(
                "rule \"{}\" carries an action and changed: what is enforced was planned at the start; restart to enforce the new rules",
                order.name
            )),
        }
    }

    /// Takes over the numbers that the rules have now. Those of `orders` were accepted.
    pub(super) fn renumber(&mut self, orders: Vec<Order>) {
        for order in orders {
            if let Some(known) =
                self.by_rule.get(&order.name).and_then(|at| self.orders.get_mut(*at))
            {
                known.rule = order.rule;
            }
        }
    }

    /// The number that a rule of the start has by now.
    pub(super) fn rule_now(&self, at_start: RuleId) -> Option<RuleId> {
        let name = self.at_start.get(&at_start)?;
        self.by_rule.get(name).and_then(|at| self.orders.get(*at)).map(|order| order.rule)
    }

    /// The tables that the sensor's probes need to kill.
    pub fn tables(&self) -> Option<SharedTables> {
        self.kernel.as_ref().and_then(Kernel::tables)
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
            kernel.guard(facts, &self.orders, &self.exceptions);
        }
        let Some((_, warden)) = &self.gate else { return };
        let followed = self.followed.get(&facts.full_id);
        match followed.filter(|(known, _)| Arc::ptr_eq(known, facts)) {
            Some((_, true)) if !is_program => return,
            Some((_, false)) => return,
            None if !self.concerns(facts) => return self.remember(facts, false),
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

    fn remember(&mut self, facts: &Arc<Facts>, is_guarded: bool) {
        if self.followed.len() >= FOLLOWED_MAX {
            self.followed.clear();
        }
        self.followed.insert(facts.full_id.clone(), (Arc::clone(facts), is_guarded));
    }

    /// Whether a rule that needs the gate can concern a container. Exceptions end, and are
    /// looked at when there is something to except.
    fn concerns(&self, facts: &Facts) -> bool {
        self.orders.iter().zip(&self.standings).any(|(order, standing)| {
            uses(&standing.ruling, Means::Fanotify)
                && order.condition.as_ref().is_none_or(|c| may_concern(c, facts))
        })
    }

    /// Follows the containers that run already.
    pub(super) fn follow_running(&mut self, running: Vec<(Arc<Facts>, u32)>) {
        for (facts, pid) in running {
            if let Some(kernel) = &mut self.kernel {
                kernel.guard(&facts, &self.orders, &self.exceptions);
            }
            if let Some((_, warden)) = &self.gate
                && self.concerns(&facts)
            {
                // What does not fit is found at its next event.
                let _seen = warden.see(&facts, pid);
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
            if !self.exceptions.is_empty() {
                kernel.guard_again(&self.orders, &self.exceptions);
            }
        }
    }

    /// The next call that the kernel's programs refused and of which no event told: the rule,
    /// the decision, and the container.
    pub(super) fn next_refusal(&mut self) -> Option<(RuleId, Decision, Arc<Facts>)> {
        let kernel = self.kernel.as_mut()?;
        let now = Timestamp::now();
        while let Some(decision) = kernel.take_refusal(now) {
            let order = self.orders.get(decision.rule as usize);
            if let Some((order, facts)) = order.zip(kernel.facts_of(decision.cgroup_id)) {
                return Some((order.rule, decision, Arc::clone(facts)));
            }
        }
        None
    }

    /// Does what the rule of `detection` asks, and writes down how it went.
    pub fn enforce(&mut self, detection: &mut Detection) {
        if detection.enforcement.is_some() {
            return; // refused before it happened
        }
        let Some(number) = self.by_rule.get(&detection.rule.name).copied() else { return };
        let Some(order) = self.orders.get(number) else { return };
        let Some(standing) = self.standings.get(number) else { return };
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
        let exception = self.exceptions.iter().find(|e| e.covers(&order.name, container, now));
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
        let kernel = self.kernel.as_mut().filter(|_| in_kernel(means));
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let decision = kernel.and_then(|kernel| kernel.take(number, pid, detection.time));
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
        if self.mode == EnforceMode::DryRun {
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
        let note = self.gate.as_ref().and_then(|(_, warden)| warden.note(&container.id));
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
        let note = self.gate.as_ref().and_then(|(_, warden)| warden.note(&container.id));
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
        let uses_kernel = Means::ALL.into_iter().any(|m| in_kernel(m) && uses(&standing.ruling, m));
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
        if let Some((gate, _)) = &self.gate {
            gate.take_problems().into_iter().for_each(sink);
        }
    }

    /// What enforcement says about itself.
    pub fn health(&self) -> EnforcementHealth {
        let mut standings = self.standings.clone();
        let notes: BTreeMap<String, Note> =
            self.gate.iter().flat_map(|(_, warden)| warden.notes()).collect();
        let problems: BTreeMap<&str, &str> =
            self.kernel.iter().flat_map(Kernel::problems).collect();
        let n_gated = notes.values().filter(|note| matches!(note, Note::Guarded(_))).count();
        let n_guarded = n_gated.max(self.kernel.as_ref().map_or(0, Kernel::n_guarded));
        let ids: BTreeSet<&str> =
            notes.keys().map(String::as_str).chain(problems.keys().copied()).collect();
        for id in ids {
            let (note, problem) = (notes.get(id), problems.get(id).copied());
            for (order, standing) in self.orders.iter().zip(&self.standings) {
                let mut here = self.standing_with(order, standing, note, problem);
                if here.ruling != standing.ruling && standings.len() < ROWS_MAX {
                    let short = id.get(..12).unwrap_or(id).to_string();
                    here.container = Some(short);
                    standings.push(here);
                }
            }
        }
        let counts = self.gate.as_ref().map(|(gate, _)| gate.counts()).unwrap_or_default();
        EnforcementHealth {
            mode: self.mode.as_str().into(),
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

const fn in_kernel(means: Means) -> bool {
    matches!(means, Means::Lsm | Means::Cgroup | Means::KernelKill)
}

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

fn uses(ruling: &Ruling, wanted: Means) -> bool {
    ruling.means().is_some_and(|(_, means)| means.contains(&wanted))
}

/// Whether the rule asks more of ancestors than the parent.
fn asks_ancestors(rules: &RuleSet, id: RuleId) -> bool {
    rules.rule(id).fields.iter().any(|field| {
        ["proc.aname", "proc.aexepath", "proc.apid"].iter().any(|name| field.starts_with(name))
    })
}

/// Decides before programs.
struct Judge {
    evaluator: Evaluator,
    served: BTreeMap<RuleId, String>,
    exceptions: Vec<EnforceException>,
    guarded: Guarded,
    n_ancestors: usize,
    /// By process: the loader of the program that it was just allowed.
    expected: BTreeMap<u32, Vec<u8>>,
    matched: Vec<RuleId>,
}

impl Judge {
    /// The rules that refuse a request, and what they saw; nothing when it may pass.
    fn decide(&mut self, request: &Request) -> Option<(Vec<RuleId>, Attempt)> {
        let pid = request.pid();
        let mount = request.mount_id().ok()?;
        let facts = {
            let guarded = self.guarded.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(guarded.get(&mount)?)
        };
        // A process of the host that uses the container's mounts is not the container's.
        if pid <= 1 || pid == std::process::id() || !is_member(pid, &facts.container) {
            return None;
        }
        let mut start = [0; START_BYTES];
        let n = request.read_start(&mut start).unwrap_or(0);
        // What cannot be read is judged by its path alone.
        let program =
            if n == 0 { Program::Itself { loader: None } } else { judge(start.get(..n)?) };
        let expected = self.expected.remove(&pid);
        let loader = match program {
            Program::Another => return None,
            Program::Itself { loader } => loader,
        };
        if loader.is_none() && expected.is_some_and(|path| is_named(request, &path)) {
            return None;
        }
        let root = std::fs::read_link(format!("/proc/{pid}/root")).unwrap_or_else(|_| "/".into());
        let path = seen_from(&request.path().ok()?, &root);
        let caller = Ancestor::read(pid)?;
        let ancestors = caller.above(self.n_ancestors);
        let uid = std::fs::metadata(format!("/proc/{pid}")).map_or(0, |entry| entry.uid());
        let attempt = Attempt { caller, uid, path, ancestors, facts };
        let refusing = self.refusing(&attempt);
        if !refusing.is_empty() {
            return Some((refusing, attempt));
        }
        if let Some(loader) = loader {
            if self.expected.len() >= EXPECTED_MAX {
                self.expected.clear();
            }
            self.expected.insert(pid, loader);
        }
        None
    }

    fn refusing(&mut self, attempt: &Attempt) -> Vec<RuleId> {
        self.matched.clear();
        self.evaluator.evaluate(attempt, &mut self.matched);
        let now = Timestamp::now();
        let container = &attempt.facts.container;
        let refuses = |id: &RuleId| {
            let excepted = |name| self.exceptions.iter().any(|e| e.covers(name, container, now));
            self.served.get(id).is_some_and(|name| !excepted(name))
        };
        self.matched.iter().copied().filter(refuses).collect()
    }
}

fn is_named(request: &Request, path: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    request.is_named(path).unwrap_or(false)
}

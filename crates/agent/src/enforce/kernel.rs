//! The means that act in the kernel: which rules go there, which containers are guarded, and
//! what was done.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use palisade_base::Timestamp;
use palisade_bpf::enforce::{
    Action, Decision, EnforceError, EnforcedRule, Enforcer as Programs, Outcome, Plan, Refusals,
    SharedTables,
};
use palisade_model::Means;
use palisade_rules::fields::{FieldArgument, FieldId, Fields, Value, Values};
use palisade_rules::selector::Selector;
use palisade_sensor::Field;
use palisade_sensor::identity::Facts;
use palisade_sensor::schema::event;
use palisade_sys::Hierarchies;

use super::attempt::container_value;
use super::orders::Order;
use super::plan::{Choices, Host, choose};
use super::set::Set;
use super::standing::Standing;

/// Decisions that wait for the record of their event.
pub(super) const DECISIONS_MAX: usize = 4096;
/// How far apart a decision and the record of its event may be, in nanoseconds.
const APART_NS: u64 = 100_000_000;
/// Containers whose guard is remembered; more than the kernel's tables take.
const GUARDED_MAX: usize = 8192;

/// What is planned for each order: its standing, and the means for each of its events.
pub(super) type Planned = Vec<(Standing, Choices)>;

/// What the kernel is to be given: the plan, and the programs that refuse.
pub(super) type Given<'p> = (&'p Plan, Refusals);

/// Plans for all orders, and hands `take` what the plan needs of the kernel, until it takes
/// it. What the kernel does not take is planned again without it, so that the plan is what is
/// in force. The kernel knows the orders by numbers from `first` on.
pub(super) fn plan_for_kernel(
    orders: &[Order],
    first: u32,
    host: &mut Host,
    take: &mut dyn FnMut(&Planned, Given<'_>) -> Result<(), EnforceError>,
) -> Planned {
    let mut hosts: Vec<Host> = orders.iter().map(|_| host.clone()).collect();
    loop {
        let planned: Planned =
            orders.iter().zip(&hosts).map(|(order, host)| choose(order, host)).collect();
        let mut plan = Plan::default();
        let mut is_refused = false;
        for (at, (order, (_, choices))) in (0_u32..).zip(orders.iter().zip(&planned)) {
            let rules = rules_of(first.wrapping_add(at), order, choices);
            let n_before = plan.rules.len();
            plan.rules.extend(rules);
            if plan.rules.len() > n_before
                && let Err(error) = plan.check()
            {
                plan.rules.truncate(n_before);
                if let Some(host) = hosts.get_mut(at as usize) {
                    without_kernel(host, &chain(&error));
                    is_refused = true;
                }
            }
        }
        if is_refused {
            continue; // every time with fewer rules in the kernel
        }
        let wants = |means| planned.iter().any(|(_, choices)| choices.iter().any(|c| c.1 == means));
        let refusals = Refusals { cgroup: wants(Means::Cgroup), lsm: wants(Means::Lsm) };
        let Err(error) = take(&planned, (&plan, refusals)) else { return planned };
        if plan.rules.is_empty() {
            return planned; // without the kernel's help, which nobody asks for
        }
        let why = chain(&error);
        for host in hosts.iter_mut().chain([&mut *host]) {
            // The most exacting goes first; each round gives up one.
            if refusals.lsm {
                host.lsm = Err(why.clone());
            } else if refusals.cgroup {
                host.cgroup = Err(why.clone());
            } else {
                without_kernel(host, &why);
            }
        }
    }
}

/// A host whose kernel does nothing.
pub(super) fn without_kernel(host: &mut Host, why: &str) {
    for offer in [&mut host.lsm, &mut host.cgroup, &mut host.kernel_kill] {
        if offer.is_ok() {
            *offer = Err(why.to_string());
        }
    }
}

/// An error and its causes, on one line.
fn chain(error: &EnforceError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// What the kernel is told of one order: an entry for what is refused, and one for kills.
fn rules_of(number: u32, order: &Order, choices: &Choices) -> Vec<EnforcedRule> {
    let of = |wanted: &[Means], action| {
        let events = order.kernel.selector.events.iter().filter(|of| {
            choices.iter().any(|(event, means)| *event == of.event && wanted.contains(means))
        });
        let events: Vec<_> = events.cloned().collect();
        let selector = Selector { events };
        (!selector.events.is_empty()).then_some(EnforcedRule {
            number,
            selector,
            action,
            dry_run: false,
        })
    };
    let deny = of(&[Means::Lsm, Means::Cgroup], Action::Deny);
    deny.into_iter().chain(of(&[Means::KernelKill], Action::Kill)).collect()
}

/// A container as the kernel guards it.
#[derive(Debug)]
struct Guard {
    facts: Arc<Facts>,
    /// Its control group's id, none if no rule is in force there; why it is not guarded.
    state: Result<Option<u64>, String>,
}

impl Guard {
    fn id(&self) -> Option<u64> {
        self.state.as_ref().ok().copied().flatten()
    }
}

/// The programs in the kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    programs: Programs,
    hierarchies: Result<Hierarchies, String>,
    guards: HashMap<String, Guard>,
    decisions: VecDeque<Decision>,
    n_unmatched: u64,
}

impl Kernel {
    /// Loads the tables and the programs that a plan needs.
    pub(super) fn load((plan, refusals): Given<'_>) -> Result<Self, EnforceError> {
        Ok(Self {
            programs: Programs::with_refusals(plan, refusals)?,
            hierarchies: Hierarchies::detect().map_err(|error| error.to_string()),
            guards: HashMap::new(),
            decisions: VecDeque::new(),
            n_unmatched: 0,
        })
    }

    /// The tables for the sensor's probes. They get them whether or not a rule kills there: the
    /// next rules may.
    pub(super) fn tables(&self) -> SharedTables {
        self.programs.tables()
    }

    /// Puts another plan in force at one stroke, `new` in the place of `old`. Programs are
    /// there, and containers guarded, before it; what is needed no more goes afterwards.
    pub(super) fn replace(
        &mut self,
        (plan, refusals): Given<'_>,
        old: &Set,
        new: &Set,
    ) -> Result<(), EnforceError> {
        self.programs.prepare(plan, refusals)?;
        let now = Timestamp::now();
        let all: Vec<Arc<Facts>> =
            self.guards.values().map(|guard| Arc::clone(&guard.facts)).collect();
        for facts in &all {
            let Some(mut spared) = new.spared(facts, now) else { continue };
            // Until the stroke, what was not in force there stays so.
            spared.extend(old.spared(facts, now).unwrap_or_else(|| old.numbers()));
            let state = self.guard_group(facts, &spared);
            self.remember(facts, state.map(Some));
        }
        self.programs.replace(plan)?;
        for facts in &all {
            if new.spared(facts, now).is_none() {
                self.spare(facts);
            }
        }
        Ok(())
    }

    /// Whether a container was looked at, with these facts.
    pub(super) fn knows(&self, facts: &Arc<Facts>) -> bool {
        self.guards.get(&facts.full_id).is_some_and(|guard| Arc::ptr_eq(&guard.facts, facts))
    }

    /// Puts the rules of `set` in force in a container, but for those that cannot concern it
    /// or are excepted. A container without any is left alone.
    pub(super) fn guard(&mut self, facts: &Arc<Facts>, set: &Set) {
        if self.guards.len() >= GUARDED_MAX {
            self.sweep();
        }
        match set.spared(facts, Timestamp::now()) {
            Some(spared) => {
                let state = self.guard_group(facts, &spared);
                self.remember(facts, state.map(Some));
            }
            None => self.spare(facts),
        }
    }

    /// Ends the guard of a container, which stays known.
    fn spare(&mut self, facts: &Arc<Facts>) {
        if let Some(id) = self.guards.get(&facts.full_id).and_then(Guard::id) {
            self.programs.unguard(id);
        }
        self.remember(facts, Ok(None));
    }

    fn remember(&mut self, facts: &Arc<Facts>, state: Result<Option<u64>, String>) {
        self.guards.insert(facts.full_id.clone(), Guard { facts: Arc::clone(facts), state });
    }

    fn guard_group(&mut self, facts: &Facts, except: &BTreeSet<u32>) -> Result<u64, String> {
        let path = facts.container.cgroup.as_deref();
        let path = path.ok_or("its control group is not known")?;
        let hierarchies = self.hierarchies.as_ref().map_err(Clone::clone)?;
        let group = hierarchies.group(path).map_err(|error| error.to_string())?;
        let folder = group.unified().filter(|folder| folder.is_dir());
        let folder = folder.ok_or("it has no control group of version 2 of its own")?;
        self.programs.guard(folder, except).map_err(|error| chain(&error))
    }

    /// Applies exceptions anew to all containers.
    pub(super) fn guard_again(&mut self, set: &Set) {
        let all: Vec<Arc<Facts>> =
            self.guards.values().map(|guard| Arc::clone(&guard.facts)).collect();
        for facts in all {
            self.guard(&facts, set);
        }
    }

    /// Ends the guard of containers whose control group is gone.
    pub(super) fn sweep(&mut self) {
        let Ok(hierarchies) = &self.hierarchies else { return };
        let programs = &mut self.programs;
        self.guards.retain(|_, guard| {
            let path = guard.facts.container.cgroup.as_deref();
            let group = path.and_then(|path| hierarchies.group(path).ok());
            let exists = group.is_some_and(|group| group.exists());
            if !exists && let Some(id) = guard.id() {
                programs.unguard(id);
            }
            exists
        });
    }

    /// Why a container is not guarded; none when it is, or was not seen.
    pub(super) fn problem(&self, container: &str) -> Option<&str> {
        self.guards.get(container)?.state.as_ref().err().map(String::as_str)
    }

    /// The containers that are not guarded, by full id, and why.
    pub(super) fn problems(&self) -> impl Iterator<Item = (&str, &str)> {
        let problem = |(id, guard)| -> Option<(&str, &str)> {
            let (id, guard): (&String, &Guard) = (id, guard);
            Some((id.as_str(), guard.state.as_ref().err()?.as_str()))
        };
        self.guards.iter().filter_map(problem)
    }

    /// Containers that are guarded.
    pub(super) fn n_guarded(&self) -> usize {
        self.guards.values().filter(|guard| guard.id().is_some()).count()
    }

    /// The facts of the container whose control group has this id.
    pub(super) fn facts_of(&self, cgroup_id: u64) -> Option<&Arc<Facts>> {
        let is_it = |guard: &&Guard| guard.id() == Some(cgroup_id);
        self.guards.values().find(is_it).map(|guard| &guard.facts)
    }

    /// Reads what was done.
    pub(super) fn read(&mut self) {
        let Self { programs, decisions, n_unmatched, .. } = self;
        programs.poll(&mut |decision| {
            if decisions.len() >= DECISIONS_MAX {
                decisions.pop_front();
                *n_unmatched += 1;
            }
            decisions.push_back(decision);
        });
    }

    /// The decision of a rule, by one of its numbers, about an event of a process.
    pub(super) fn take(&mut self, numbers: &[u32], tgid: u32, time: Timestamp) -> Option<Decision> {
        self.read();
        let time_ns = time.as_nanos();
        let at = self.decisions.iter().position(|decision| {
            numbers.contains(&decision.rule)
                && decision.tgid == tgid
                && decision.time_ns.abs_diff(time_ns) <= APART_NS
        })?;
        self.decisions.remove(at)
    }

    /// The oldest refusal whose event has not come: the record of a call that failed may say
    /// too little for the rule to match.
    pub(super) fn take_refusal(&mut self, now: Timestamp) -> Option<Decision> {
        self.read();
        let old_ns = now.as_nanos().saturating_sub(2 * APART_NS);
        let at = self
            .decisions
            .iter()
            .position(|d| d.outcome == Outcome::Denied && d.time_ns <= old_ns)?;
        self.decisions.remove(at)
    }

    /// Forgets kills whose record never came, and counts them.
    pub(super) fn forget(&mut self, now: Timestamp) {
        let old_ns = now.as_nanos().saturating_sub(50 * APART_NS);
        let n_before = self.decisions.len();
        self.decisions.retain(|decision| decision.time_ns > old_ns);
        self.n_unmatched += (n_before - self.decisions.len()) as u64;
    }

    /// Counts a decision of a rule that is no longer there, of which no alert can tell.
    pub(super) fn note_unmatched(&mut self) {
        self.n_unmatched += 1;
    }

    /// Decisions of which no alert tells.
    pub(super) fn n_unmatched(&self) -> u64 {
        self.n_unmatched
    }
}

/// A call that the kernel's programs refused, as rules and their outputs see it.
#[derive(Debug)]
pub(super) struct Refused<'r> {
    decision: &'r Decision,
    facts: &'r Facts,
    /// The path, or address and port.
    object: String,
}

impl<'r> Refused<'r> {
    pub(super) fn new(decision: &'r Decision, facts: &'r Facts) -> Self {
        Self { decision, facts, object: object_of(decision) }
    }

    /// The event's name.
    pub(super) fn event_type(&self) -> &'static str {
        event(self.decision.event).map_or("", |info| info.name)
    }

    /// What was refused: a path, or an address and a port.
    pub(super) fn object(&self) -> &str {
        &self.object
    }
}

/// What a decision was about, as text.
fn object_of(decision: &Decision) -> String {
    let is_address = matches!(event(decision.event).map(|i| i.name), Some("connect" | "bind"));
    let bytes = decision.object.as_slice();
    let address = |length: usize| {
        let port = u16::from_be_bytes(bytes.get(length..)?.try_into().ok()?);
        let address: std::net::IpAddr = match length {
            4 => <[u8; 4]>::try_from(bytes.get(..4)?).ok()?.into(),
            _ => <[u8; 16]>::try_from(bytes.get(..16)?).ok()?.into(),
        };
        Some(std::net::SocketAddr::new(address, port).to_string())
    };
    let shown = match bytes.len() {
        6 if is_address => address(4),
        18 if is_address => address(16),
        _ => None,
    };
    shown.unwrap_or_else(|| palisade_sensor::text::printable(bytes).into_owned())
}

impl Fields for Refused<'_> {
    fn extract<'v>(&'v self, field: FieldId, _: &FieldArgument, out: &mut Values<'v>) {
        let Some(field) = Field::from_id(field) else { return };
        let is_program = self.event_type() == "execve";
        let value = match field {
            Field::EvtType => Some(Value::Text(self.event_type().as_bytes())),
            Field::EvtDir => Some(Value::Text(b"<")),
            Field::EvtRes => Some(Value::Text(b"EPERM")),
            Field::EvtRawres => Some(Value::Int(-1)),
            Field::EvtFailed => Some(Value::Bool(true)),
            Field::ProcPid => Some(Value::Int(i64::from(self.decision.tgid))),
            Field::ProcName => Some(Value::Text(self.decision.comm.as_bytes())),
            Field::ProcExepath if is_program => Some(Value::Text(self.object.as_bytes())),
            Field::FdName if !is_program => Some(Value::Text(self.object.as_bytes())),
            _ => container_value(field, self.facts),
        };
        out.extend(value);
    }

    fn event_type(&self) -> u16 {
        self.decision.event
    }
}

#[cfg(test)]
mod tests {
    use palisade_bpf::enforce::Means as Way;

    use super::*;

    #[test]
    fn what_was_refused_is_shown() {
        let check = |name: &str, object: &[u8], expected: &str| {
            let number = palisade_sensor::schema::events().iter().rposition(|e| e.name == name);
            let decision = Decision {
                rule: 0,
                means: Way::Cgroup,
                outcome: Outcome::Denied,
                event: u16::try_from(number.unwrap()).unwrap(),
                time_ns: 0,
                cgroup_id: 0,
                tid: 1,
                tgid: 1,
                start_boottime_ns: 0,
                comm: "nc".into(),
                object: object.to_vec(),
            };
            assert_eq!(object_of(&decision), expected);
        };
        check("connect", &[127, 0, 0, 1, 0x11, 0x5c], "127.0.0.1:4444");
        let mut loopback = [0; 18];
        (loopback[15], loopback[17]) = (1, 80);
        check("bind", &loopback, "[::1]:80");
        check("openat", b"/etc/shadow", "/etc/shadow");
        check("connect", b"", "");
    }
}

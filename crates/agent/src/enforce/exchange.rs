//! What is enforced changes while it is enforced.
//!
//! Everything that the new rules need is there before they take over: programs are loaded and
//! attached, containers guarded, the gate open. Then the kernel's tables are exchanged by one
//! write, and the rules of the gate between two questions. What is no longer needed goes last. A
//! call is judged by the old rules or by the new ones, and marks of mounts stay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_bpf::enforce::{Plan, Refusals};
use palisade_policy::{Enforce, EnforceMode};
use palisade_rules::RuleSet;
use palisade_sensor::identity::Facts;

use super::enforcer::Enforcer;
use super::judge::Rules;
use super::kernel::{plan_for_kernel, without_kernel};
use super::orders::Order;
use super::plan::plan;
use super::set::Set;

/// How long a gate that is opened may take to mark what runs, before the rules take over.
const MARK_DEADLINE: Duration = Duration::from_millis(300);

/// What a change of rules enforces.
#[derive(Debug)]
pub(super) struct New {
    /// The rules, all of them.
    pub(super) rules: Arc<RuleSet>,
    /// Those with an action.
    pub(super) orders: Vec<Order>,
    /// What the policy says; as before, if it was not read again.
    pub(super) policy: Option<Enforce>,
    /// When the rules take over that match events.
    pub(super) from: Timestamp,
    /// The containers that run, each with a process of it.
    pub(super) running: Vec<(Arc<Facts>, u32)>,
}

impl Enforcer {
    /// Enforces other rules from here on.
    pub(super) fn exchange(&mut self, new: New) {
        let New { rules, orders, policy, from, running } = new;
        let old = Arc::clone(&self.set);
        let (mode, exceptions) = match policy {
            Some(policy) => (policy.mode, policy.exceptions),
            None => (old.mode, old.exceptions.clone()),
        };
        let is_same = mode == old.mode && exceptions == old.exceptions && are_same(&orders, &old);
        let set = if is_same {
            // The numbers of rules may differ; what the kernel knows them by does not.
            Set::new(mode, exceptions, orders, old.standings.clone(), old.first)
        } else {
            let next = Set::new(mode, exceptions, orders, Vec::new(), old.next_number());
            self.plan_anew(&rules, &old, next, &running)
        };
        let set = Arc::new(set);
        match (&self.gate, set.served()) {
            (Some(gated), served) if mode == EnforceMode::On && !served.is_empty() => {
                gated.rules.exchange(Rules::new(&rules, served, set.exceptions.clone()));
            }
            // Its marks go with it.
            _ => self.gate = None,
        }
        self.set = set;
        if is_same {
            return;
        }
        self.keep(from, old);
        // Each container is looked at again at its next event, and what runs at once.
        self.followed.clear();
        self.last = None;
        self.follow_running(&running);
    }

    /// Plans the orders of `set`, and puts in force what the kernel takes of it.
    fn plan_anew(
        &mut self,
        rules: &Arc<RuleSet>,
        old: &Set,
        set: Set,
        running: &[(Arc<Facts>, u32)],
    ) -> Set {
        let Set { mode, exceptions, orders, first, .. } = set;
        let is_on = mode == EnforceMode::On;
        let mut host = self.host.clone();
        if self.kernel.is_none() {
            without_kernel(&mut host, "the kernel took no tables at the start");
        }
        loop {
            let with =
                |standings| Set::new(mode, exceptions.clone(), orders.clone(), standings, first);
            // The gate first, for it takes its time.
            let candidate = with(orders.iter().map(|order| plan(order, &host)).collect());
            if let Err(error) = self.open_if_needed(rules, &candidate, running) {
                host.fanotify = Err(format!("the gate does not open: {error}"));
                continue;
            }
            let (mut kernel, nothing) = (self.kernel.take(), Plan::default());
            let planned = plan_for_kernel(&orders, first, &mut host, &mut |planned, given| {
                let Some(kernel) = &mut kernel else { return Ok(()) };
                let next = with(planned.iter().map(|(standing, _)| standing.clone()).collect());
                let given = if is_on { given } else { (&nothing, Refusals::default()) };
                kernel.replace(given, old, &next)
            });
            self.kernel = kernel;
            let set = with(planned.into_iter().map(|(standing, _)| standing).collect());
            // What the kernel did not take may be the gate's now.
            match self.open_if_needed(rules, &set, running) {
                Ok(()) => return set,
                Err(error) => host.fanotify = Err(format!("the gate does not open: {error}")),
            }
        }
    }

    /// Opens the gate for the rules of `set` if they need one and there is none, and gives it
    /// the time to mark what runs.
    fn open_if_needed(
        &mut self,
        rules: &Arc<RuleSet>,
        set: &Set,
        running: &[(Arc<Facts>, u32)],
    ) -> std::io::Result<()> {
        if self.gate.is_some() || set.mode != EnforceMode::On || set.served().is_empty() {
            return Ok(());
        }
        let gated = self.open_gate(rules, set)?;
        let end = Instant::now() + MARK_DEADLINE;
        for (facts, pid) in running.iter().filter(|(facts, _)| set.is_gated(facts)) {
            while gated.warden.see(facts, *pid)
                && gated.warden.note(&facts.full_id).is_none()
                && Instant::now() < end
            {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.gate = Some(gated);
        Ok(())
    }
}

/// Whether orders ask for the same as those of a set; only their numbers may differ.
fn are_same(orders: &[Order], set: &Set) -> bool {
    orders.len() == set.orders.len()
        && orders
            .iter()
            .zip(&set.orders)
            .all(|(new, old)| *new == Order { rule: new.rule, ..old.clone() })
}

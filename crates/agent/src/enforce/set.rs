//! The rules that are enforced together, as they were planned.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::Timestamp;
use palisade_model::Means;
use palisade_policy::{EnforceException, EnforceMode};
use palisade_rules::RuleId;
use palisade_sensor::identity::Facts;

use super::orders::Order;
use super::scope::{hold, may_concern};
use super::standing::{Ruling, Standing};

/// What is enforced from one change of the rules to the next.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) mode: EnforceMode,
    pub(super) exceptions: Vec<EnforceException>,
    pub(super) orders: Vec<Order>,
    /// How each order stands, in the same order.
    pub(super) standings: Vec<Standing>,
    by_rule: BTreeMap<String, usize>,
    /// The number by which the kernel knows the first order; the others follow. No set has a
    /// number of the set before it.
    pub(super) first: u32,
}

impl Set {
    pub(super) fn new(
        mode: EnforceMode,
        exceptions: Vec<EnforceException>,
        orders: Vec<Order>,
        standings: Vec<Standing>,
        first: u32,
    ) -> Self {
        let by_rule = orders.iter().enumerate().map(|(i, order)| (order.name.clone(), i)).collect();
        Self { mode, exceptions, orders, standings, by_rule, first }
    }

    /// The order of a rule and how it stands.
    pub(super) fn of(&self, rule: &str) -> Option<(&Order, &Standing)> {
        let at = *self.by_rule.get(rule)?;
        Some((self.orders.get(at)?, self.standings.get(at)?))
    }

    /// The number by which the kernel knows a rule.
    pub(super) fn number_of(&self, rule: &str) -> Option<u32> {
        let at = u32::try_from(*self.by_rule.get(rule)?).ok()?;
        Some(self.first.wrapping_add(at))
    }

    /// All numbers.
    pub(super) fn numbers(&self) -> BTreeSet<u32> {
        (0_u32..).zip(&self.orders).map(|(at, _)| self.first.wrapping_add(at)).collect()
    }

    /// The order that the kernel knows by a number.
    pub(super) fn numbered(&self, number: u32) -> Option<&Order> {
        self.orders.get(number.wrapping_sub(self.first) as usize)
    }

    /// The first number that the next set may use.
    pub(super) fn next_number(&self) -> u32 {
        self.first.wrapping_add(u32::try_from(self.orders.len()).unwrap_or(u32::MAX))
    }

    /// The rules that are answered before programs start.
    pub(super) fn served(&self) -> BTreeMap<RuleId, String> {
        let all = self.orders.iter().zip(&self.standings);
        all.filter(|(_, standing)| uses(&standing.ruling, Means::Fanotify))
            .map(|(order, _)| (order.rule, order.name.clone()))
            .collect()
    }

    /// Whether a rule that needs the gate can concern a container. Exceptions end, and are
    /// looked at when there is something to except.
    pub(super) fn is_gated(&self, facts: &Facts) -> bool {
        self.mode == EnforceMode::On
            && self.orders.iter().zip(&self.standings).any(|(order, standing)| {
                uses(&standing.ruling, Means::Fanotify)
                    && order.condition.as_ref().is_none_or(|c| may_concern(c, facts))
            })
    }

    /// The numbers that are not in force in a container; none if no rule in the kernel is.
    pub(super) fn spared(&self, facts: &Facts, now: Timestamp) -> Option<BTreeSet<u32>> {
        if self.mode != EnforceMode::On {
            return None;
        }
        let container = &facts.container;
        let mut spared = BTreeSet::new();
        let mut is_any = false;
        for (at, (order, standing)) in (0_u32..).zip(self.orders.iter().zip(&self.standings)) {
            let is_there = in_kernel_at_all(&standing.ruling)
                && hold(&order.kernel.of_container, facts)
                && !self.exceptions.iter().any(|e| e.covers(&order.name, container, now));
            if is_there {
                is_any = true;
            } else {
                spared.insert(self.first.wrapping_add(at));
            }
        }
        is_any.then_some(spared)
    }
}

pub(super) const fn in_kernel(means: Means) -> bool {
    matches!(means, Means::Lsm | Means::Cgroup | Means::KernelKill)
}

pub(super) fn in_kernel_at_all(ruling: &Ruling) -> bool {
    ruling.means().is_some_and(|(_, means)| means.iter().copied().any(in_kernel))
}

pub(super) fn uses(ruling: &Ruling, wanted: Means) -> bool {
    ruling.means().is_some_and(|(_, means)| means.contains(&wanted))
}

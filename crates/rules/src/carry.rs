//! What stateful rules remember, carried over when rules are loaded again.
//!
//! A memory means what its rule counts: its conditions (with lists and macros replaced), what it
//! waits for and its keys. Where all of that is what it was, the memory goes on; output, priority
//! and tags may have changed. Everything else begins anew, which is said.

use crate::rule_set::{Evaluator, Rule, RuleSet};

/// What became of the memories of the rules that were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Carried {
    /// Names of the stateful rules whose memories go on.
    pub kept: Vec<String>,
    /// Names of those that remembered something which is forgotten: they are gone, off, or count
    /// something else now.
    pub dropped: Vec<String>,
    /// Memories that rules of this name had given up for want of room before
    /// ([`Evaluator::n_forgotten`]) and that the new evaluator does not count.
    pub n_forgotten: u64,
}

impl Evaluator {
    /// Takes over what `old` remembers, as far as the rules count the same things. `rules` and
    /// `old_rules` are the sets that the evaluators were made from.
    pub fn carry_over(
        &mut self,
        rules: &RuleSet,
        mut old: Evaluator,
        old_rules: &RuleSet,
    ) -> Carried {
        let mut carried = Carried::default();
        for (number, (_, tracker)) in &mut self.trackers {
            let rule = rules.rules.get(*number as usize);
            let before = rule.and_then(|rule| {
                let (id, before) = old_rules.find(&rule.name)?;
                counts_the_same(rule, before).then_some(id.0)
            });
            if let (Some(rule), Some(id)) = (rule, before)
                && let Some((_, kept)) = old.trackers.remove(&id)
            {
                *tracker = kept;
                carried.kept.push(rule.name.clone());
            }
        }
        for (number, (_, tracker)) in old.trackers {
            carried.n_forgotten += tracker.n_forgotten();
            if let Some(rule) = old_rules.rules.get(number as usize)
                && !tracker.is_empty()
            {
                carried.dropped.push(rule.name.clone());
            }
        }
        carried
    }
}

fn counts_the_same(one: &Rule, other: &Rule) -> bool {
    let (Some(a), Some(b)) = (&one.stateful, &other.stateful) else { return false };
    one.enabled
        && one.source == other.source
        && one.condition == other.condition
        && one.steps == other.steps
        && a.awaited == b.awaited
        && a.within_ns == b.within_ns
        && a.keys == b.keys
}

//! The fast path: from the matched rule to a container that stands still and speaks with nobody.
//!
//! Everything here happens on the thread that reads events, before the alert joins its incident
//! or is shown. The intent is in the journal of alerts first, written but not waited for: it
//! survives our death, and after the machine's death there is no container left to hold. The
//! worker puts the hold's own record on the disk right after.

use std::time::Instant;

use palisade_base::Timestamp;
use palisade_model::Alert;
use palisade_model::incident::ActionResult;
use palisade_policy::{Action, ResponseRule, response_for};
use palisade_respond::containment::{ContainmentError, freeze, isolate_at_once};
use palisade_respond::{ActionOutcome, Effect, Target};

use super::{Agent, FREEZE_DEADLINE, Notice, OnNotice};
use crate::journal::Begun;

impl Agent {
    /// What is to be done about `alert`, unless all of it was begun before: what the policy says,
    /// and what an earlier run began under the policy of its time.
    pub(super) fn due_response(&self, alert: &Alert) -> Option<ResponseRule> {
        let mut response = response_for(&self.policy, alert).cloned();
        if let Some(begun) = self.journal.begun(&alert.id) {
            let known = response.get_or_insert_with(|| ResponseRule {
                name: begun.response.clone(),
                priority: alert.priority,
                rules: Vec::new(),
                tags: Vec::new(),
                actions: Vec::new(),
            });
            let missing = begun.actions().filter(|action| !known.actions.contains(action));
            let missing: Vec<Action> = missing.collect();
            known.actions.extend(missing);
        }
        let begun = alert.container.as_ref().and_then(|c| self.responded.get(&c.id));
        response.filter(|response| {
            let is_due = |action| begun.is_none_or(|begun| !begun.contains(action));
            response.actions.iter().any(is_due)
        })
    }

    /// Has what cuts need made ready, if the policy may ask for one.
    pub(super) fn prepare_cuts(&self) {
        if self.policy.response.iter().any(|rule| rule.actions.contains(&Action::Isolate)) {
            self.network.prepare();
        }
    }

    /// Freezes and isolates the container, as far as `response` says so. What fails, or would
    /// take long, is left to the plan, which tries again and reports it.
    pub(super) fn hold_at_once(
        &mut self,
        alert: &Alert,
        response: &ResponseRule,
        on_notice: OnNotice<'_>,
    ) -> Vec<ActionOutcome> {
        let holds: Vec<Action> = [Action::Freeze, Action::Isolate]
            .into_iter()
            .filter(|action| response.actions.contains(action))
            .collect();
        let Some(container) = alert.container.as_ref().filter(|_| !holds.is_empty()) else {
            return Vec::new();
        };
        let Ok(target) = Target::resolve(container, &self.hierarchies) else {
            return Vec::new();
        };
        if let Err(error) = self.journal.begin(&alert.id, Begun::new(&response.name, &holds)) {
            // A full disk must not be what saves an intruder; the alert itself was counted.
            self.counts.n_journal_failures += 1;
            on_notice(Notice::Problem(format!("a hold is not journalled: {error}")));
        }
        let network = self.network.as_ref();
        let mut outcomes = Vec::new();
        for action in holds {
            let done = timed(action, || match action {
                Action::Freeze => Some(freeze(&target, FREEZE_DEADLINE)),
                _ => isolate_at_once(network, &target),
            });
            outcomes.extend(done);
        }
        outcomes
    }
}

/// Does it and measures it; nothing when it was not done.
fn timed(
    action: Action,
    act: impl FnOnce() -> Option<Result<Effect, ContainmentError>>,
) -> Option<ActionOutcome> {
    let (started, clock) = (Timestamp::now(), Instant::now());
    let effect = act()?.ok()?;
    let result = if effect.changed { ActionResult::Done } else { ActionResult::Unchanged };
    let duration_ns = u64::try_from(clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Some(ActionOutcome { action, result, detail: effect.detail, started, duration_ns, file: None })
}

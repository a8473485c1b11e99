//! The rules that carry an action, reduced to what planning and acting need.

use std::collections::BTreeMap;

use palisade_bpf::enforce::{Effect, Means, decides, effect, misses};
use palisade_model::EnforcementAction;
use palisade_policy::Enforce;
use palisade_rules::ast::{Expr, FieldUse, Right};
use palisade_rules::fields::Schema as _;
use palisade_rules::selector::Selector;
use palisade_rules::{Action, Rule, RuleId, RuleSet, SYSCALL_SOURCE, parse_condition};
use palisade_sensor::SyscallSchema;

use super::attempt;
use super::scope::split;

/// Events that programs of control groups see.
const CGROUP_EVENTS: [&str; 2] = ["connect", "bind"];

/// A rule with an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number in the rule set.
    pub rule: RuleId,
    /// Its name.
    pub name: String,
    /// What is wished, the first that can be done.
    pub wishes: Vec<EnforcementAction>,
    /// Names of the events that it can match.
    pub events: Vec<String>,
    /// Its condition; none where `refused` says why.
    pub condition: Option<Expr>,
    /// Why nothing can be done for it anywhere.
    pub refused: Option<String>,
    /// Fields of its condition that are not known before a program starts.
    pub unknown_before_exec: Vec<String>,
    /// What the kernel could decide; why it could not, where it cannot.
    pub kernel: Kernel,
}

/// What the kernel's programs could do for a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Why the condition cannot be decided in the kernel; none when it can.
    pub unlowered: Option<String>,
    /// The condition without what it says of the container.
    pub selector: Selector,
    /// What it says of the container: all must hold where the rule is in force.
    pub of_container: Vec<Expr>,
    /// For each event that a security hook sees: nothing, or why it cannot decide it.
    pub lsm: BTreeMap<String, Result<(), String>>,
    /// For each event that a security hook decides: what passes it by all the same.
    pub lsm_misses: BTreeMap<String, &'static str>,
    /// For each event that a control group's program sees: nothing, or why it cannot.
    pub cgroup: BTreeMap<String, Result<(), String>>,
    /// For each event at which the probe can kill: what that does about it.
    pub kill: BTreeMap<String, Effect>,
}

impl Kernel {
    fn of(rule: &Rule, condition: &Expr) -> Self {
        let (of_container, rest) = split(condition);
        let selector = match Selector::exact_part(rule, &rest, &SyscallSchema) {
            Ok(selector) => selector,
            Err(error) => return Self { unlowered: Some(error.to_string()), ..Self::default() },
        };
        let deny = |means| {
            let answers = selector.events.iter().map(|of| {
                let answer = decides(means, of).map_err(|error| error.to_string());
                (of.event.clone(), answer)
            });
            answers.collect()
        };
        let (lsm, cgroup) = (deny(Means::Lsm), deny(Means::Cgroup));
        let kill =
            selector.events.iter().filter_map(|of| Some((of.event.clone(), effect(&of.event)?)));
        let missed = selector
            .events
            .iter()
            .filter_map(|of| Some((of.event.clone(), misses(Means::Lsm, of)?)));
        let (lsm_misses, kill) = (missed.collect(), kill.collect());
        Self { unlowered: None, lsm, lsm_misses, cgroup, kill, selector, of_container }
    }
}

impl Order {
    /// Whether a security hook can refuse `event`, and what that leaves.
    pub(super) fn lsm(&self, event: &str) -> Result<Effect, String> {
        self.lowered()?;
        let known = self.kernel.lsm.get(event).cloned();
        known.unwrap_or_else(|| Err(format!("no hook for {event}")))?;
        let missed = self.kernel.lsm_misses.get(event).copied();
        Ok(missed.map_or(Effect::Prevents, Effect::Partly))
    }

    /// Whether a program of a control group can refuse `event`.
    pub(super) fn cgroup(&self, event: &str) -> Result<(), String> {
        if !CGROUP_EVENTS.contains(&event) {
            return Err("it refuses addresses alone".into());
        }
        self.lowered()?;
        let known = self.kernel.cgroup.get(event).cloned();
        known.unwrap_or_else(|| Err(format!("`{event}` is not seen there")))
    }

    /// Whether the gate before programs can refuse `event`.
    pub(super) fn gate(&self, event: &str) -> Result<(), String> {
        if !attempt::EVENTS.contains(&event) {
            return Err("it refuses programs alone".into());
        }
        match self.unknown_before_exec.as_slice() {
            [] => Ok(()),
            fields => Err(format!("{} is not known before the program starts", named(fields))),
        }
    }

    /// Whether the probe can kill at `event`, and what that does about it.
    pub(super) fn kernel_kill(&self, event: &str) -> Result<Effect, String> {
        self.lowered()?;
        let known = self.kernel.kill.get(event);
        known.copied().ok_or_else(|| format!("no probe of {event} can kill"))
    }

    fn lowered(&self) -> Result<(), String> {
        self.kernel.unlowered.clone().map_or(Ok(()), Err)
    }
}

/// `` `a` ``, `` `a` and 2 others ``.
fn named(fields: &[String]) -> String {
    match fields {
        [only] => format!("`{only}`"),
        [first, others @ ..] => format!("`{first}` and {} more", others.len()),
        [] => String::new(),
    }
}

/// Gives the rules of `set` the actions of the policy.
pub fn assign(set: &mut RuleSet, policy: &Enforce) {
    let changes: Vec<(RuleId, Vec<Action>)> = numbered(set)
        .filter_map(|(id, rule)| {
            let entry = policy.rules.iter().find(|entry| {
                entry.rules.contains(&rule.name)
                    || entry.tags.iter().any(|tag| rule.tags.contains(tag))
            })?;
            Some((id, entry.actions.iter().map(|action| of_policy(*action)).collect()))
        })
        .collect();
    for (id, actions) in changes {
        set.set_actions(id, actions);
    }
}

/// The rules of `set` that are on and carry an action.
pub fn orders(set: &RuleSet) -> Vec<Order> {
    numbered(set)
        .filter(|(_, rule)| rule.enabled && !rule.actions.is_empty())
        .map(|(id, rule)| order(id, rule))
        .collect()
}

fn numbered(set: &RuleSet) -> impl Iterator<Item = (RuleId, &Rule)> {
    (0_u32..).map(RuleId).zip(set.rules())
}

const fn of_policy(action: EnforcementAction) -> Action {
    match action {
        EnforcementAction::Deny => Action::Deny,
        EnforcementAction::Kill => Action::Kill,
    }
}

const fn of_rule(action: Action) -> EnforcementAction {
    match action {
        Action::Deny => EnforcementAction::Deny,
        Action::Kill => EnforcementAction::Kill,
    }
}

/// Reduces one rule.
fn order(id: RuleId, rule: &Rule) -> Order {
    let mut unknown: Vec<String> = Vec::new();
    let mut note = |field: &FieldUse| {
        let shown = field.to_string();
        if !attempt::knows(&field.name, field.argument.as_deref()) && !unknown.contains(&shown) {
            unknown.push(shown);
        }
    };
    let parsed = parse_condition(&rule.condition);
    let kernel = parsed.as_ref().map(|condition| Kernel::of(rule, condition)).unwrap_or_default();
    let refused = match &parsed {
        _ if rule.stateful.is_some() => {
            Some("a stateful rule is about several events, of which no single one can be refused")
        }
        _ if rule.source != SYSCALL_SOURCE => Some("only system calls can be acted upon"),
        Ok(condition) => {
            condition.visit_leaves(&mut |leaf| match leaf {
                Expr::Exists(operand, _) => operand.visit_fields(&mut note),
                Expr::Compare(comparison, _) => {
                    comparison.left.visit_fields(&mut note);
                    if let Right::Operand(operand) = &comparison.right {
                        operand.visit_fields(&mut note);
                    }
                }
                // A loaded condition has no macros left.
                Expr::And(..) | Expr::Or(..) | Expr::Not(..) | Expr::Macro(..) => {}
            });
            None
        }
        // The text came from the loader, which parsed it.
        Err(_) => Some("its condition cannot be read again"),
    };
    Order {
        rule: id,
        name: rule.name.clone(),
        condition: parsed.ok().filter(|_| refused.is_none()),
        wishes: rule.actions.iter().copied().map(of_rule).collect(),
        // What the kernel can decide cannot hold for any other event.
        events: match &kernel.unlowered {
            None if !kernel.selector.events.is_empty() => {
                kernel.selector.events.iter().map(|of| of.event.clone()).collect()
            }
            _ => event_names(rule),
        },
        refused: refused.map(str::to_string),
        unknown_before_exec: unknown,
        kernel,
    }
}

/// The events that the rule can match, without those that name themselves.
fn event_names(rule: &Rule) -> Vec<String> {
    let names = SyscallSchema.event_types();
    let mut found: Vec<String> = Vec::new();
    for number in rule.event_types.iter().filter(|n| rule.declared_event_types.contains(*n)) {
        if let Some(name) = names.get(usize::from(number))
            && !name.is_empty()
            && !found.iter().any(|known| known == name)
        {
            found.push((*name).to_string());
        }
    }
    found
}

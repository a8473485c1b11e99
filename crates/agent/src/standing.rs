//! Which rules can do what they say on this machine.
//!
//! A rule waits for events; where nothing delivers one of them, because no probe exists or the
//! kernel refuses it, the rule sees less than it says, or nothing.

use std::collections::BTreeMap;

use palisade_bpf::Interest;
use palisade_rules::fields::Schema as _;
use palisade_rules::{EventTypes, Rule, RuleSet};
use palisade_sensor::SyscallSchema;
use serde::{Deserialize, Serialize};

use crate::detector::NO_CALLS;

/// How a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// It is evaluated, and sees everything that it asks for.
    On,
    /// It is evaluated, and some of its events are not delivered.
    Partial,
    /// None of its events is delivered: it cannot fire.
    Unsupported,
    /// Its file or the command line turned it off.
    Off,
}

impl RuleState {
    /// The name in tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Partial => "partial",
            Self::Unsupported => "unsupported",
            Self::Off => "off",
        }
    }
}

/// A rule and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleStanding {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: RuleState,
    /// Why it is not on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An event that is not delivered, or not by every probe that could.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// Its name.
    pub event: String,
    /// Whether it is not delivered at all.
    pub whole: bool,
    /// Why.
    pub reason: String,
}

/// How each rule of `rules` stands when the events of `missing` are not delivered.
pub fn standings(rules: &RuleSet, missing: &[Missing]) -> Vec<RuleStanding> {
    let every = EventTypes::all(&SyscallSchema).len();
    let mut by_event: BTreeMap<&str, &Missing> = BTreeMap::new();
    for one in missing {
        let known = by_event.entry(Interest::canonical(&one.event)).or_insert(one);
        if one.whole {
            *known = one;
        }
    }
    rules.rules().iter().map(|rule| standing(rule, &by_event, every)).collect()
}

fn standing(rule: &Rule, missing: &BTreeMap<&str, &Missing>, every: usize) -> RuleStanding {
    let of = |state, reason| RuleStanding { name: rule.name.clone(), state, reason };
    if !rule.enabled {
        return of(RuleState::Off, None);
    }
    // A rule about events of every kind is about those that there are.
    if missing.is_empty() || rule.event_types.len() >= every {
        return of(RuleState::On, None);
    }
    let types = SyscallSchema.event_types();
    let names = rule.event_types.iter().filter_map(|number| types.get(usize::from(number)));
    let is_call = |name: &&&str| !name.is_empty() && !NO_CALLS.contains(*name);
    let names = names.filter(is_call).map(|name| Interest::canonical(name));
    let (mut lacks, mut has_other) = (BTreeMap::new(), false);
    for name in names {
        match missing.get(name) {
            Some(one) => {
                has_other |= !one.whole;
                lacks.insert(name, one.reason.as_str());
            }
            None => has_other = true,
        }
    }
    if lacks.is_empty() {
        return of(RuleState::On, None);
    }
    let reasons: Vec<String> =
        lacks.iter().map(|(event, reason)| format!("{event}: {reason}")).collect();
    let state = if has_other { RuleState::Partial } else { RuleState::Unsupported };
    of(state, Some(reasons.join("; ")))
}

#[cfg(test)]
mod tests {
    use palisade_rules::LoadOptions;

    use super::*;
    use crate::detector::load_rules;

    fn missing(event: &str, whole: bool) -> Missing {
        Missing { event: event.into(), whole, reason: format!("no {event} here") }
    }

    #[test]
    fn rules_stand_by_what_is_delivered_of_their_events() {
        let check = |condition: &str, lost: &[Missing], state: RuleState, reason: Option<&str>| {
            let text = format!(
                "- rule: a\n  desc: a\n  condition: {condition}\n  output: a\n  priority: INFO\n"
            );
            let (rules, _) = load_rules(&[("a.yaml", &text)], &LoadOptions::default());
            let found = standings(&rules, lost);
            assert_eq!(found.len(), 1);
            assert_eq!(
                (found[0].state, found[0].reason.as_deref()),
                (state, reason),
                "{condition}"
            );
        };
        let lost = [missing("memfd_create", true), missing("execve", false)];
        check(
            "evt.type = memfd_create",
            &lost,
            RuleState::Unsupported,
            Some("memfd_create: no memfd_create here"),
        );
        check(
            "evt.type in (memfd_create, connect)",
            &lost,
            RuleState::Partial,
            Some("memfd_create: no memfd_create here"),
        );
        // One of two probes of it is there; and by its other name.
        check("evt.type = execve", &lost, RuleState::Partial, Some("execve: no execve here"));
        check("evt.type = execveat", &lost, RuleState::Partial, Some("execve: no execve here"));
        check("evt.type = connect", &lost, RuleState::On, None);
        check("proc.name = a", &lost, RuleState::On, None);
        check("evt.type = memfd_create", &[], RuleState::On, None);
        let text = "- rule: a\n  desc: a\n  condition: evt.type = open\n  output: a\n  priority: INFO\n  enabled: false\n";
        let (rules, _) = load_rules(&[("a.yaml", text)], &LoadOptions::default());
        assert_eq!(standings(&rules, &lost)[0].state, RuleState::Off);
    }
}

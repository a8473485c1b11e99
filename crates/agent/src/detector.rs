//! The live source: probes, state, rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_base::{Diagnostics, Explain};
use palisade_bpf::{Interest, LoadError};
use palisade_model::Priority;
use palisade_rules::fields::{Fields, Schema as _};
use palisade_rules::{Carried, Evaluator, LoadOptions, Rule, RuleId, RuleSet, SYSCALL_SOURCE};
use palisade_sensor::state::proc_scan::ScanReport;
use palisade_sensor::{EventView, SyscallSchema};

use crate::detection::{Detection, RuleInfo};
use crate::pushdown;
use crate::standing::RuleStanding;

mod activity;
mod live;
mod recovery;
mod refused;

pub use activity::{CONTAINERS_MAX, PROCESSES_MAX};
pub use live::{Detector, DetectorLoader, RuleChange};
pub use refused::Refusal;

/// Events that the state needs even if no rule asks for them: what a descriptor is, where
/// a process stands, who it is.
const STATE_EVENTS: [&str; 19] = [
    "execve",
    "clone",
    "procexit",
    "socket",
    "bind",
    "connect",
    "accept",
    "accept4",
    "dup",
    "dup2",
    "dup3",
    "chdir",
    "fchdir",
    "memfd_create",
    "pipe",
    "pipe2",
    "setuid",
    "setresuid",
    "setns",
];

/// Event types that are made in user space, where they are known without a probe.
pub(crate) const NO_CALLS: [&str; 4] = ["asyncevent", "container", "pluginevent", "notification"];

/// Why watching cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DetectorError {
    /// The probes could not be loaded.
    #[error("load the probes")]
    Probes(#[from] LoadError),
    /// `/proc` could not be read.
    #[error("read the processes that run already")]
    Processes(#[source] std::io::Error),
}

impl Explain for DetectorError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Probes(error) => error.hint(),
            Self::Processes(_) => Some("mount /proc".into()),
        }
    }
}

/// What starting to watch found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Events that rules ask for and no probe delivers: those rules see less than they say.
    pub unserved: Vec<String>,
    /// Processes that ran already.
    pub processes: ScanReport,
    /// Rules that are evaluated.
    pub n_rules: usize,
    /// Programs that this kernel refuses, each with the reason.
    pub refused: Vec<(&'static str, String)>,
    /// Rules that see less than they say, or nothing, for want of events.
    pub limited: Vec<RuleStanding>,
}

/// Loads rule files for system calls: pairs of name and text, in order.
pub fn load_rules(sources: &[(&str, &str)], options: &LoadOptions) -> (RuleSet, Diagnostics) {
    RuleSet::load(sources, &[&SyscallSchema], options)
}

/// What the rules need of the kernel, and the events that nothing delivers.
pub fn interest(rules: &RuleSet) -> (Interest, Vec<String>) {
    let wanted = rules.event_types(SYSCALL_SOURCE);
    let mut names: Vec<&str> = Vec::new();
    for (number, name) in SyscallSchema.event_types().iter().enumerate() {
        let is_wanted = u16::try_from(number).is_ok_and(|number| wanted.contains(number));
        let is_call = !name.is_empty() && !NO_CALLS.contains(name);
        if is_wanted && is_call && !names.contains(name) {
            names.push(name);
        }
    }
    let mut interest = Interest::processes();
    interest.extend(STATE_EVENTS);
    let unserved = interest.extend(names).into_iter().map(|unknown| unknown.0).collect();
    interest.opens = pushdown::opens(rules);
    interest.environment = pushdown::environment(rules);
    (interest, unserved)
}

/// Matches events with rules; live and replayed events go the same way.
#[derive(Debug)]
pub struct Matcher {
    rules: Arc<RuleSet>,
    evaluator: Evaluator,
    infos: Vec<Arc<RuleInfo>>,
    matched: Vec<RuleId>,
}

impl Matcher {
    /// A matcher for the system-call rules of `rules`.
    pub fn new(rules: impl Into<Arc<RuleSet>>) -> Self {
        let rules = rules.into();
        let evaluator = Evaluator::new(&rules);
        let infos = rules.rules().iter().map(|rule| Arc::new(info(rule))).collect();
        Self { rules, evaluator, infos, matched: Vec::new() }
    }

    /// Passes a detection to `sink` for each rule that `event` matches.
    pub fn evaluate(&mut self, event: &EventView<'_>, sink: &mut dyn FnMut(Detection)) -> usize {
        self.matched.clear();
        self.evaluator.evaluate_at(event, event.time().as_nanos(), &mut self.matched);
        for id in &self.matched {
            let Some(info) = self.infos.get(id.0 as usize) else { continue };
            sink(detection(self.rules.rule(*id), info, event));
        }
        self.matched.len()
    }

    /// Memories of stateful rules that were given up for want of room, since the start or
    /// the last [`Self::forget`].
    pub fn n_forgotten(&self) -> u64 {
        self.evaluator.n_forgotten()
    }

    /// Takes over what the stateful rules of `old` remember, as far as they count the same.
    pub fn carry_over(&mut self, old: Self) -> Carried {
        self.evaluator.carry_over(&self.rules, old.evaluator, &old.rules)
    }

    /// The rules.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Forgets what stateful rules remember, before another capture.
    pub fn forget(&mut self) {
        self.evaluator.forget();
    }

    /// Rules that are evaluated.
    pub fn n_rules(&self) -> usize {
        self.rules.rules().iter().filter(|rule| rule.enabled).count()
    }
}

fn info(rule: &Rule) -> RuleInfo {
    RuleInfo {
        name: rule.name.clone(),
        // The two crates know the same eight names.
        priority: rule.priority.name().parse().unwrap_or(Priority::Emergency),
        tags: rule.tags.clone(),
        source: rule.source.clone(),
        capture: rule.capture,
        capture_duration: (rule.capture_duration_ms > 0)
            .then(|| Duration::from_millis(u64::from(rule.capture_duration_ms))),
    }
}

fn detection(rule: &Rule, info: &Arc<RuleInfo>, event: &EventView<'_>) -> Detection {
    let (output, output_fields) = outputs(rule, event);
    Detection {
        rule: Arc::clone(info),
        time: event.time(),
        output,
        output_fields,
        event_type: event.type_name().to_string(),
        outcome: event.outcome(),
        process: event.process(),
        ancestors: event.ancestors(),
        container: event.container().map(|container| (*container).clone()),
        start_boottime_ns: event.record().trailer.map(|trailer| trailer.start_boottime_ns),
        enforcement: None,
    }
}

/// A rule's output and output fields, filled in.
fn outputs(rule: &Rule, fields: &dyn Fields) -> (String, BTreeMap<String, serde_json::Value>) {
    let values = rule.output_format.values(fields).into_iter();
    let mut output_fields: BTreeMap<String, serde_json::Value> =
        values.map(|(name, value)| (name.to_string(), value.as_ref().into())).collect();
    for (name, format) in &rule.extra_fields {
        let value = match format.values(fields)[..] {
            // A field by its own name keeps its type.
            [(field, ref value)] if field == name => value.as_ref().into(),
            _ => format.render(fields).into(),
        };
        output_fields.insert(name.clone(), value);
    }
    (rule.output_format.render(fields), output_fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_load_without_a_word() {
        let (rules, diagnostics) = load_rules(&crate::BUILTIN_RULES, &LoadOptions::default());
        assert_eq!(diagnostics.0, [], "{diagnostics}");
        assert!(rules.rules().len() >= 25, "{} rules", rules.rules().len());
        for rule in rules.rules() {
            let techniques = crate::incident::techniques(&rule.tags).count();
            assert!(techniques > 0, "rule `{}` names no technique", rule.name);
            for part in ["container=%container.name", "command=%proc.cmdline"] {
                assert!(rule.output.contains(part), "rule `{}` lacks {part}", rule.name);
            }
        }
        let critical: Vec<&str> = rules
            .rules()
            .iter()
            .filter(|rule| rule.priority == palisade_rules::Priority::Critical)
            .map(|rule| rule.name.as_str())
            .collect();
        for name in ["Reverse shell", "Fileless execution", "Escape through a kernel helper"] {
            assert!(critical.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_event_of_the_built_in_rules_has_a_probe() {
        let (rules, _) = load_rules(&crate::BUILTIN_RULES, &LoadOptions::default());
        let (interest, unserved) = interest(&rules);
        assert_eq!(unserved, [""; 0]);
        assert!(interest.contains("openat") && interest.contains("memfd_create"));
    }

    #[test]
    fn priorities_translate() {
        for priority in palisade_rules::Priority::ALL {
            assert!(priority.name().parse::<Priority>().is_ok(), "{}", priority.name());
        }
    }
}

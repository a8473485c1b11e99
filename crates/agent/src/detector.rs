//! The live source: probes, state, rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_base::{Diagnostics, Explain, Timestamp};
use palisade_bpf::{Interest, LoadError, Options};
use palisade_model::{Outcome, Priority, Process};
use palisade_rules::ast::{Expr, Operand, Right};
use palisade_rules::fields::{Fields, Schema as _};
use palisade_rules::{
    Evaluator, LoadOptions, Rule, RuleId, RuleSet, SYSCALL_SOURCE, parse_condition,
};
use palisade_sensor::identity::{Facts, HostPaths};
use palisade_sensor::state::proc_scan::ScanReport;
use palisade_sensor::{Engine, EventView, SyscallSchema};

use crate::detection::{Detection, RuleInfo, Source, SourceError, SourceHealth};
use crate::recorder::{Desk, Recorder, RecorderError, Recording};

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
const NO_CALLS: [&str; 4] = ["asyncevent", "container", "pluginevent", "notification"];

/// `EPERM`, with which the kernel answers what was refused.
const EPERM: i32 = 1;

/// What was refused before it happened, and who asked for it.
#[derive(Clone, Copy)]
pub struct Refusal<'r> {
    /// What outputs of rules see.
    pub fields: &'r dyn Fields,
    /// The event that did not happen: `execve`.
    pub event_type: &'r str,
    /// The process.
    pub pid: u32,
    /// Its parent; 0 when unknown.
    pub ppid: u32,
    /// When it started, nanoseconds since boot.
    pub start_boottime_ns: u64,
    /// Its name.
    pub name: &'r str,
    /// Path of its program; empty when unknown.
    pub exe: &'r str,
    /// Its effective user on the host.
    pub uid: u32,
    /// Its container.
    pub facts: &'r Facts,
    /// When it was refused.
    pub time: Timestamp,
}

impl std::fmt::Debug for Refusal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusal")
            .field("event_type", &self.event_type)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

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
    (interest, unserved)
}

/// Whether no enabled rule can match an event of the host: each demands a container.
///
/// The probes may then leave the host's own processes alone, which on a busy machine is
/// most of the work.
pub fn concerns_containers_only(rules: &RuleSet) -> bool {
    let enabled = rules.rules().iter().filter(|rule| rule.enabled);
    enabled.clone().count() > 0
        && enabled.into_iter().all(|rule| {
            let whole = std::slice::from_ref(&rule.condition);
            let conditions = if rule.steps.is_empty() { whole } else { &rule.steps };
            conditions.iter().all(|condition| {
                parse_condition(condition).is_ok_and(|condition| demands_container(&condition))
            })
        })
}

/// Whether `condition` can hold only in a container: `container.id != host` is one of the
/// parts of which all must hold.
fn demands_container(condition: &Expr) -> bool {
    match condition {
        Expr::And(parts, _) => parts.iter().any(demands_container),
        Expr::Or(parts, _) => !parts.is_empty() && parts.iter().all(demands_container),
        Expr::Compare(comparison, _) => {
            let is_id = matches!(&comparison.left, Operand::Field(field)
                if field.name == "container.id" && field.argument.is_none());
            let is_host = matches!(&comparison.right, Right::Value(value, _) if value == "host");
            is_id && is_host && comparison.operator.to_string() == "!="
        }
        Expr::Not(..) | Expr::Macro(..) | Expr::Exists(..) => false,
    }
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

/// Watches this machine.
#[derive(Debug)]
pub struct Detector {
    sensor: palisade_bpf::Sensor,
    engine: Engine,
    matcher: Matcher,
    hooks: Vec<String>,
    recorder: Option<Recorder>,
}

impl Detector {
    /// Attaches the probes that `rules` need and reads what runs already.
    ///
    /// Probes first, then `/proc`: what starts in between is seen twice and missed never.
    pub fn start(
        rules: impl Into<Arc<RuleSet>>,
        options: &Options,
        paths: HostPaths,
    ) -> Result<(Self, Started), DetectorError> {
        let rules = rules.into();
        let (interest, unserved) = interest(&rules);
        let sensor = palisade_bpf::Sensor::load(&interest, options)?;
        let (engine, processes) = Engine::live(paths).map_err(DetectorError::Processes)?;
        let matcher = Matcher::new(rules);
        let started = Started { unserved, processes, n_rules: matcher.n_rules() };
        let hooks = sensor.attached().iter().map(|hook| hook.hook.clone()).collect();
        Ok((Self { sensor, engine, matcher, hooks, recorder: None }, started))
    }

    /// Records what is watched from here on. The desk is for whoever raises alerts.
    pub fn record(&mut self, recording: Recording) -> Result<Option<Desk>, RecorderError> {
        let (mut recorder, desk) = Recorder::start(recording)?;
        // The state first, before the first record.
        recorder.tick(&mut self.engine);
        self.recorder = Some(recorder);
        Ok(desk)
    }

    /// As [`Source::poll`], and passes every event to `seen` before rules see it.
    pub fn poll_seen(
        &mut self,
        timeout: Duration,
        seen: &mut dyn FnMut(&EventView<'_>),
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        let Self { sensor, engine, matcher, recorder, .. } = self;
        let mut n_passed = 0;
        sensor
            .poll(timeout, &mut |record| {
                // A record that cannot be decoded is counted by the engine.
                if let Ok(Some(event)) = engine.feed(record.whole()) {
                    seen(&event);
                    n_passed += matcher.evaluate(&event, sink);
                }
                if let Some(recorder) = recorder {
                    recorder.append(record.whole(), engine);
                }
            })
            .map_err(|error| SourceError::Failed(Box::new(error)))?;
        if let Some(recorder) = recorder {
            recorder.tick(engine);
        }
        Ok(n_passed)
    }

    /// The detection of a rule that matched what was refused before it happened. Who acts is
    /// the process as it is.
    pub fn refused(&self, rule: RuleId, refusal: &Refusal<'_>) -> Option<Detection> {
        let info = self.matcher.infos.get(rule.0 as usize)?;
        let (output, output_fields) = outputs(self.matcher.rules.rule(rule), refusal.fields);
        let state = self.engine.state();
        // By now the caller may have ended; its parent most often lives.
        let caller = state.thread(i64::from(refusal.pid));
        let parent = || state.thread(i64::from(refusal.ppid));
        let process = caller.map_or_else(|| self.caller(refusal), |known| state.process_of(known));
        let facts_of = |thread| state.facts_of(thread).cloned();
        let lineage = match (caller, parent()) {
            (Some(caller), _) => state.lineage(caller),
            (None, Some(parent)) => std::iter::once((state.process_of(parent), facts_of(parent)))
                .chain(state.lineage(parent))
                .collect(),
            (None, None) => Vec::new(),
        };
        let own = |facts: &Arc<Facts>| facts.full_id == refusal.facts.full_id;
        Some(Detection {
            rule: Arc::clone(info),
            time: refusal.time,
            output,
            output_fields,
            event_type: refusal.event_type.to_string(),
            outcome: Outcome::Failed { errno: EPERM },
            process: Some(process),
            ancestors: lineage
                .into_iter()
                .take_while(|(_, container)| container.as_ref().is_some_and(own))
                .map(|(process, _)| process)
                .collect(),
            container: Some((*refusal.facts.container).clone()),
            start_boottime_ns: Some(refusal.start_boottime_ns),
            enforcement: None,
        })
    }

    /// The process of a refusal, as far as the refusal itself says.
    fn caller(&self, refusal: &Refusal<'_>) -> Process {
        let text = |text: &str| palisade_sensor::text::printable(text.as_bytes()).into_owned();
        let boot_ns = self.engine.state().machine.boot_ns;
        Process {
            pid: refusal.pid,
            vpid: None,
            ppid: refusal.ppid,
            start: Timestamp::from_nanos(boot_ns.saturating_add(refusal.start_boottime_ns)),
            name: text(refusal.name),
            exe: text(refusal.exe),
            cmdline: text(refusal.name),
            cwd: String::new(),
            uid: refusal.uid,
        }
    }

    /// The containers that run, with one process of each.
    pub fn running_containers(&self) -> Vec<(Arc<Facts>, u32)> {
        self.engine.state().running_containers()
    }

    /// Kernel memory of the probes in bytes.
    pub fn kernel_memory_bytes(&self) -> u64 {
        self.sensor.kernel_memory_bytes()
    }
}

impl Source for Detector {
    fn poll(
        &mut self,
        timeout: Duration,
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        self.poll_seen(timeout, &mut |_| (), sink)
    }

    fn health(&self) -> SourceHealth {
        let losses = self.sensor.losses();
        let counters = self.engine.counters();
        SourceHealth {
            n_events: counters.n_events,
            n_malformed: counters.n_malformed + losses.n_malformed,
            losses: losses
                .iter()
                .filter(|(_, counts)| counts.n_lost() > 0)
                .map(|(class, counts)| (class.name().to_string(), counts.n_lost()))
                .collect(),
            hooks: self.hooks.clone(),
            n_rules: self.matcher.n_rules(),
            n_memories_forgotten: self.matcher.n_forgotten(),
            recorder: self.recorder.as_ref().map(Recorder::health),
            enforcement: None,
        }
    }

    fn problems(&mut self, sink: &mut dyn FnMut(String)) {
        if let Some(recorder) = &self.recorder {
            recorder.problems(sink);
        }
    }

    fn finish(&mut self, sink: &mut dyn FnMut(String)) {
        if let Some(recorder) = &mut self.recorder {
            recorder.finish(sink);
        }
    }
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
    fn rules_for_containers_are_told_from_others() {
        let check = |condition: &str, expected: bool| {
            let text = format!(
                "- rule: a\n  desc: a\n  condition: {condition}\n  output: a\n  priority: INFO\n"
            );
            let (rules, _) = load_rules(&[("a.yaml", &text)], &LoadOptions::default());
            assert_eq!(rules.rules().len(), 1, "{condition}");
            assert_eq!(concerns_containers_only(&rules), expected, "{condition}");
        };
        check("evt.type = open and container.id != host", true);
        check("evt.type = open and (container.id != host and proc.name = a)", true);
        check("evt.type = open and (container.id != host or proc.name = a)", false);
        check("evt.type = open and not container.id != host", false);
        check("evt.type = open and container.id = host", false);
        let (rules, _) = load_rules(&crate::BUILTIN_RULES, &LoadOptions::default());
        for rule in rules.rules() {
            let conditions = std::iter::once(&rule.condition).filter(|_| rule.steps.is_empty());
            for condition in conditions.chain(&rule.steps) {
                let parsed = parse_condition(condition);
                let parsed = parsed.unwrap_or_else(|error| panic!("{}: {error}", rule.name));
                assert!(demands_container(&parsed), "{}", rule.name);
            }
        }
        assert!(concerns_containers_only(&rules));
        assert!(!concerns_containers_only(&RuleSet::default()));
    }

    #[test]
    fn priorities_translate() {
        for priority in palisade_rules::Priority::ALL {
            assert!(priority.name().parse::<Priority>().is_ok(), "{}", priority.name());
        }
    }
}

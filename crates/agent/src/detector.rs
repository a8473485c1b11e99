//! The live source: probes, state, rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use palisade_base::{Diagnostics, Explain};
use palisade_bpf::{Environment, Interest, LoadError, OpenFilter, Options};
use palisade_model::Priority;
use palisade_rules::fields::{Fields, Schema as _};
use palisade_rules::{Evaluator, LoadOptions, Rule, RuleId, RuleSet, SYSCALL_SOURCE};
use palisade_sensor::identity::HostPaths;
use palisade_sensor::state::proc_scan::ScanReport;
use palisade_sensor::{Engine, EventView, SyscallSchema};

use crate::detection::{Detection, RuleInfo, Source, SourceError, SourceHealth};
use crate::pushdown;
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
    interest.opens = pushdown::opens(rules);
    interest.environment = pushdown::environment(rules);
    (interest, unserved)
}

/// Matches events with rules; live and replayed events go the same way.
#[derive(Debug)]
pub struct Matcher {
    rules: RuleSet,
    evaluator: Evaluator,
    infos: Vec<Arc<RuleInfo>>,
    matched: Vec<RuleId>,
}

impl Matcher {
    /// A matcher for the system-call rules of `rules`.
    pub fn new(rules: RuleSet) -> Self {
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
    let fields: &dyn Fields = event;
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
    Detection {
        rule: Arc::clone(info),
        time: event.time(),
        output: rule.output_format.render(fields),
        output_fields,
        event_type: event.type_name().to_string(),
        outcome: event.outcome(),
        process: event.process(),
        ancestors: event.ancestors(),
        container: event.container().map(|container| (*container).clone()),
    }
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
    /// Attaches the probes that `rules` need and reads what runs already. Rules loaded with
    /// [`LoadOptions::keep_expressions`] let the kernel hold back more of what none can match.
    ///
    /// Probes first, then `/proc`: what starts in between is seen twice and missed never.
    pub fn start(
        mut rules: RuleSet,
        options: &Options,
        paths: HostPaths,
    ) -> Result<(Self, Started), DetectorError> {
        let (interest, unserved) = interest(&rules);
        rules.forget_expressions();
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
        // A recording is of what happened, not of what the rules asked for. What cannot be had
        // costs the recording something, which is said.
        let whole = self.sensor.filter_opens(&OpenFilter::All).map(drop);
        let whole = whole.and(self.sensor.send_environment(Environment::All));
        if let Err(error) = whole {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the recording lacks what no rule asks for"
            );
        }
        // The state first, before the first record.
        recorder.tick(&mut self.engine);
        self.recorder = Some(recorder);
        Ok(desk)
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
        let Self { sensor, engine, matcher, recorder, .. } = self;
        let mut n_passed = 0;
        sensor
            .poll(timeout, &mut |record| {
                // A record that cannot be decoded is counted by the engine.
                if let Ok(Some(event)) = engine.feed(record.whole()) {
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
    fn priorities_translate() {
        for priority in palisade_rules::Priority::ALL {
            assert!(priority.name().parse::<Priority>().is_ok(), "{}", priority.name());
        }
    }
}

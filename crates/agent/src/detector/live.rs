//! The live source: probes, state, rules; and how its rules change while it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use palisade_base::Timestamp;
use palisade_bpf::{
    Environment, HandlerLoader, Handlers, Interest, LoadError, OpenFilter, Options, Sensor,
};
use palisade_model::Container;
use palisade_policy::Enforce;
use palisade_rules::RuleSet;
use palisade_sensor::identity::HostPaths;
use palisade_sensor::state::{State, THREADS_MAX};
use palisade_sensor::{Engine, EventView};

use super::activity::Counter;
use super::recovery::Recovery;
use super::{DetectorError, Matcher, Started, interest};
use crate::control::protocol::{Activity, Sample};
use crate::detection::{Changed, Detection, Source, SourceError, SourceHealth};
use crate::enforce::{Order, orders};
use crate::losses::{Kind, Loss, Side};
use crate::recorder::{Desk, Recorder, RecorderError, Recording};
use crate::standing::{Missing, RuleState, standings};
use crate::status::{HookStatus, RefusedStatus, RingStatus, SourceDetails, TableStatus};

/// Why an event is not delivered for which there is no probe.
const NO_PROBE: &str = "no probe delivers it";

/// Watches this machine.
#[derive(Debug)]
pub struct Detector {
    sensor: Sensor,
    engine: Engine,
    matcher: Matcher,
    /// Rules that take over at the first record that is not older than this (nanoseconds since
    /// the epoch); those before are the old rules' still.
    next: Option<(u64, Matcher)>,
    /// Memories that stateful rules gave up which are no longer there.
    n_forgotten_before: u64,
    unserved: Vec<String>,
    /// What the handlers at work serve; none when that is not known.
    at_work: Arc<Mutex<Option<Interest>>>,
    /// Whether everything is recorded: then nothing is held back in the kernel.
    is_whole: Arc<AtomicBool>,
    recorder: Option<Recorder>,
    problems: Vec<String>,
    counter: Counter,
    recovery: Recovery,
    n_records: u64,
}

/// Prepares changes of a detector's rules, on another thread.
#[derive(Debug)]
pub struct DetectorLoader {
    handlers: HandlerLoader,
    at_work: Arc<Mutex<Option<Interest>>>,
    is_whole: Arc<AtomicBool>,
}

/// Rules and handlers that are loaded and not at work yet.
#[derive(Debug)]
pub struct RuleChange {
    matcher: Matcher,
    interest: Interest,
    unserved: Vec<String>,
    /// The rules with an action.
    orders: Vec<Order>,
    /// What the policy says of enforcement, if it was read.
    enforce: Option<Enforce>,
    /// None when those at work serve the rules as well.
    handlers: Option<Handlers>,
}

impl RuleChange {
    /// A change of rules alone, for sources without probes.
    pub fn of_rules(mut rules: RuleSet) -> Self {
        let (interest, unserved) = interest(&rules);
        let orders = orders(&rules);
        rules.forget_expressions();
        let matcher = Matcher::new(rules);
        Self { matcher, interest, unserved, orders, enforce: None, handlers: None }
    }

    /// The same with what the policy says of enforcement.
    #[must_use]
    pub fn with_enforce(self, enforce: Enforce) -> Self {
        Self { enforce: Some(enforce), ..self }
    }

    /// What the policy says of enforcement, if it was read.
    pub fn enforce(&self) -> Option<&Enforce> {
        self.enforce.as_ref()
    }

    /// The rules.
    pub fn rules(&self) -> Arc<RuleSet> {
        Arc::clone(&self.matcher.rules)
    }

    /// The rules that carry an action.
    pub fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// The rules, to match with.
    pub fn into_matcher(self) -> Matcher {
        self.matcher
    }
}

impl DetectorLoader {
    /// Compiles what `rules` need and loads handlers if they need others than those at work.
    ///
    /// Rules loaded with [`palisade_rules::LoadOptions::keep_expressions`] let the kernel hold
    /// back more of what none can match.
    pub fn prepare(&self, mut rules: RuleSet) -> Result<RuleChange, LoadError> {
        let (mut interest, unserved) = interest(&rules);
        let orders = orders(&rules);
        rules.forget_expressions();
        if self.is_whole.load(Ordering::Relaxed) {
            ask_for_everything(&mut interest);
        }
        let is_served = {
            let at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
            at_work.as_ref() == Some(&interest)
        };
        let handlers = if is_served { None } else { Some(self.handlers.load(&interest)?) };
        let matcher = Matcher::new(rules);
        Ok(RuleChange { matcher, interest, unserved, orders, enforce: None, handlers })
    }
}

/// A recording is of what happened, not of what the rules asked for.
fn ask_for_everything(interest: &mut Interest) {
    interest.opens = OpenFilter::All;
    interest.environment = Environment::Recorded;
}

impl Detector {
    /// Attaches the probes that `rules` need and reads what runs already. Rules loaded with
    /// [`palisade_rules::LoadOptions::keep_expressions`] let the kernel hold back more of what
    /// none can match.
    ///
    /// Probes first, then `/proc`: what starts in between is seen twice and missed never.
    pub fn start(
        rules: impl Into<Arc<RuleSet>>,
        options: &Options,
        paths: HostPaths,
    ) -> Result<(Self, Started), DetectorError> {
        let mut rules = rules.into();
        let (interest, unserved) = interest(&rules);
        // Unless somebody else needs them still.
        if let Some(rules) = Arc::get_mut(&mut rules) {
            rules.forget_expressions();
        }
        let sensor = Sensor::load(&interest, options)?;
        let (engine, processes) = Engine::live(paths).map_err(DetectorError::Processes)?;
        let this = Self {
            sensor,
            engine,
            matcher: Matcher::new(rules),
            next: None,
            n_forgotten_before: 0,
            unserved,
            at_work: Arc::new(Mutex::new(Some(interest))),
            is_whole: Arc::default(),
            recorder: None,
            problems: Vec::new(),
            counter: Counter::default(),
            recovery: Recovery::default(),
            n_records: 0,
        };
        let mut limited = standings(this.matcher.rules(), &this.missing());
        limited.retain(|rule| matches!(rule.state, RuleState::Partial | RuleState::Unsupported));
        let refused = this.sensor.refusals().map(|one| (one.program, one.reason())).collect();
        let started = Started {
            unserved: this.unserved.clone(),
            processes,
            n_rules: this.matcher.n_rules(),
            refused,
            limited,
        };
        Ok((this, started))
    }

    /// What prepares changes of the rules.
    pub fn loader(&self) -> Result<DetectorLoader, LoadError> {
        Ok(DetectorLoader {
            handlers: self.sensor.loader()?,
            at_work: Arc::clone(&self.at_work),
            is_whole: Arc::clone(&self.is_whole),
        })
    }

    /// Events that rules ask for and that are not delivered, or not by every probe.
    fn missing(&self) -> Vec<Missing> {
        let unserved = self.unserved.iter().map(|event| Missing {
            event: event.clone(),
            whole: true,
            reason: NO_PROBE.into(),
        });
        let refused = self.sensor.refusals().flat_map(|refusal| {
            let reason = format!("{}: {}", refusal.program, refusal.reason());
            refusal.events.iter().map(move |event| Missing {
                event: (*event).to_string(),
                whole: !self.sensor.delivers(event),
                reason: reason.clone(),
            })
        });
        unserved.chain(refused).collect()
    }

    /// Records what is watched from here on. The desk is for whoever raises alerts.
    pub fn record(&mut self, recording: Recording) -> Result<Option<Desk>, RecorderError> {
        let (mut recorder, desk) = Recorder::start(recording)?;
        self.is_whole.store(true, Ordering::Relaxed);
        if let Some(interest) = self.at_work.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            ask_for_everything(interest);
        }
        // What cannot be had costs the recording something, which is said.
        let whole = self.sensor.filter_opens(&OpenFilter::All).map(drop);
        if let Err(error) = whole.and(self.sensor.send_environment(Environment::Recorded)) {
            self.problems.push(format!(
                "the recording lacks what no rule asks for: {}",
                palisade_base::render_chain(&error, None).trim().replace('\n', "; ")
            ));
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

impl Detector {
    fn tables(&self) -> Vec<TableStatus> {
        let state = self.engine.state();
        let counters = state.counters();
        let mut tables = vec![TableStatus {
            name: "processes and threads".into(),
            n: state.n_threads() as u64,
            max: THREADS_MAX as u64,
            n_evicted: counters.n_threads_evicted + counters.n_threads_refused,
        }];
        if let Some((n, max, n_evicted)) = state.identity_table() {
            let (n, max) = (n as u64, max as u64);
            tables.push(TableStatus { name: "container identities".into(), n, max, n_evicted });
        }
        tables
    }

    /// Puts the rules that wait to work, from this record on.
    fn take_over(
        matcher: &mut Matcher,
        next: Matcher,
        n_forgotten_before: &mut u64,
        problems: &mut Vec<String>,
    ) {
        let carried = {
            let old = std::mem::replace(matcher, next);
            matcher.carry_over(old)
        };
        *n_forgotten_before += carried.n_forgotten;
        if !carried.dropped.is_empty() {
            problems.push(format!(
                "what {} stateful rule(s) remembered is dropped, for they count something else now: {}",
                carried.dropped.len(),
                carried.dropped.join(", ")
            ));
        }
    }
}

impl Detector {
    /// The rules of the last change, whether or not a record has put them to work yet.
    pub(super) fn newest_matcher(&self) -> &Matcher {
        self.next.as_ref().map_or(&self.matcher, |(_, next)| next)
    }

    pub(super) fn state(&self) -> &State {
        self.engine.state()
    }

    /// As [`Source::poll`], and passes every event to `seen` before rules see it.
    pub fn poll_seen(
        &mut self,
        timeout: Duration,
        seen: &mut dyn FnMut(&EventView<'_>),
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        let Self {
            sensor,
            engine,
            matcher,
            recorder,
            next,
            n_forgotten_before,
            problems,
            counter,
            recovery,
            n_records,
            ..
        } = self;
        let mut n_passed = 0;
        let n_read = sensor
            .poll(timeout, &mut |record| {
                if let Some((_, rules)) = next.take_if(|(from, _)| record.time_ns() >= *from) {
                    Self::take_over(matcher, rules, n_forgotten_before, problems);
                }
                // A record that cannot be decoded is counted by the engine.
                *n_records += 1;
                if let Ok(Some(event)) = engine.feed(record.whole()) {
                    counter.note(&event, *n_records);
                    seen(&event);
                    n_passed += matcher.evaluate(&event, sink);
                }
                if let Some(recorder) = recorder {
                    recorder.append(record.whole(), engine);
                }
            })
            .map_err(|error| SourceError::Failed(Box::new(error)))?;
        // Nothing is left that the old rules would have to see.
        if n_read == 0
            && let Some((_, rules)) = next.take()
        {
            Self::take_over(matcher, rules, n_forgotten_before, problems);
        }
        let now_ns = sensor.now_ns();
        problems.extend(recovery.step(engine, now_ns, n_read == 0));
        if let Some(recorder) = recorder {
            recorder.tick(engine);
        }
        Ok(n_passed)
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

    fn change_rules(&mut self, change: RuleChange) -> Result<Changed, String> {
        let RuleChange { matcher, interest, unserved, handlers, orders: _, enforce: _ } = change;
        let mut at_work = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old: Option<Handlers> = None;
        // Whoever needs more begins with the new rules, whoever needs less ends after the old.
        let before = at_work.as_ref().map_or(Environment::All, |interest| interest.environment);
        let after = interest.environment;
        let widened = self.sensor.send_environment(before.max(after));
        let is_switched = handlers.is_some();
        if let Some(handlers) = handlers {
            match self.sensor.switch(handlers) {
                Ok(before) => old = before,
                Err(error) => {
                    // The next reload puts every handler anew.
                    *at_work = None;
                    return Err(palisade_base::render_chain(&error, None)
                        .trim()
                        .replace('\n', "; "));
                }
            }
        }
        *at_work = Some(interest);
        drop(at_work);
        self.unserved = unserved;
        // A reload that comes before the one before has taken over.
        if let Some((_, rules)) = self.next.take() {
            Self::take_over(
                &mut self.matcher,
                rules,
                &mut self.n_forgotten_before,
                &mut self.problems,
            );
        }
        let mut limited = standings(matcher.rules(), &self.missing());
        limited.retain(|rule| matches!(rule.state, RuleState::Partial | RuleState::Unsupported));
        let changed = Changed {
            n_rules: matcher.n_rules(),
            limited,
            is_switched,
            garbage: old.map(|old| Box::new(old) as Box<dyn std::any::Any + Send>),
        };
        self.next = Some((self.sensor.now_ns(), matcher));
        if let Err(error) = widened.and_then(|()| self.sensor.send_environment(after)) {
            self.problems.push(format!(
                "rules about environments see less than they say: {}",
                palisade_base::render_chain(&error, None).trim().replace('\n', "; ")
            ));
        }
        Ok(changed)
    }

    fn losses(&self) -> Vec<Loss> {
        let mut losses = Vec::new();
        let mut add = |side, class: &str, cause: &str, total: u64| {
            losses.push(Loss { kind: Kind::new(side, class, cause), total });
        };
        let kernel = self.sensor.losses();
        for (class, counts) in kernel.iter() {
            add(Side::Kernel, class.name(), "ring full", counts.n_lost_full);
            add(Side::Kernel, class.name(), "buffer busy", counts.n_lost_busy);
            add(Side::Kernel, class.name(), "too large", counts.n_lost_large);
        }
        let malformed = self.engine.counters().n_malformed + kernel.n_malformed;
        add(Side::User, "record", "malformed", malformed);
        let state = self.engine.state().counters();
        add(Side::User, "process table", "refused", state.n_threads_refused);
        add(Side::User, "process table", "evicted", state.n_threads_evicted);
        add(Side::User, "descriptor table", "refused", state.n_fds_refused);
        add(Side::User, "container table", "refused", state.n_containers_refused);
        let forgotten = self.n_forgotten_before + self.matcher.n_forgotten();
        add(Side::User, "memory of stateful rules", "evicted", forgotten);
        if let Some(recorder) = &self.recorder {
            let n = recorder.health().n_not_recorded;
            add(Side::User, "recording", "not recorded", n);
        }
        losses
    }

    fn heed_losses(&mut self, fresh: &[Loss]) {
        self.recovery.heed(fresh, Instant::now());
    }

    fn details(&self) -> SourceDetails {
        let names = |events: &[&'static str]| events.iter().map(ToString::to_string).collect();
        let hooks = self.sensor.attached().iter().map(|hook| HookStatus {
            hook: hook.hook.clone(),
            program: hook.program.into(),
            events: names(&hook.events),
        });
        let refused = self.sensor.refusals().map(|refusal| RefusedStatus {
            program: refusal.program.into(),
            events: names(&refusal.events),
            reason: refusal.reason(),
        });
        let rings = self.sensor.rings().map(|ring| RingStatus {
            name: ring.name.into(),
            bytes: ring.bytes,
            used_bytes: ring.used_bytes,
            oldest: ring.oldest_ns.map(Timestamp::from_nanos),
        });
        let rules = self.newest_matcher().rules();
        SourceDetails {
            hooks: hooks.collect(),
            refused: refused.collect(),
            rules: standings(rules, &self.missing()),
            rings: rings.into(),
            tables: self.tables(),
            recovery: self.recovery.status(self.engine.state().counters().n_fd_tables_reread),
            kernel_memory_bytes: self.sensor.kernel_memory_bytes(),
        }
    }

    fn watch_activity(&mut self, on: bool) {
        self.counter.set(on);
    }

    fn activity(&self, container: Option<&str>) -> Activity {
        self.counter.activity(self.engine.state(), container)
    }

    fn containers(&self) -> Vec<Arc<Container>> {
        let running = self.engine.state().running_containers();
        running.into_iter().map(|(facts, _)| Arc::clone(&facts.container)).collect()
    }

    fn take_samples(&mut self, sink: &mut dyn FnMut(Sample)) {
        self.counter.take_samples(sink);
    }

    fn health(&self) -> SourceHealth {
        let losses = self.sensor.losses();
        let counters = self.engine.counters();
        SourceHealth {
            n_events: counters.n_events,
            n_ring_bytes: losses.total().n_bytes,
            n_malformed: counters.n_malformed + losses.n_malformed,
            losses: losses
                .iter()
                .filter(|(_, counts)| counts.n_lost() > 0)
                .map(|(class, counts)| (class.name().to_string(), counts.n_lost()))
                .collect(),
            hooks: self.sensor.attached().iter().map(|hook| hook.hook.clone()).collect(),
            n_rules: self.matcher.n_rules(),
            n_memories_forgotten: self.n_forgotten_before + self.matcher.n_forgotten(),
            recorder: self.recorder.as_ref().map(Recorder::health),
            enforcement: None,
        }
    }

    fn problems(&mut self, sink: &mut dyn FnMut(String)) {
        self.problems.drain(..).for_each(&mut *sink);
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

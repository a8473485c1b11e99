//! The live source with enforcement in it: what it hands out says what was done.

use std::path::Path;
use std::time::Duration;

use palisade_base::Timestamp;
use palisade_bpf::enforce::Means as Way;
use palisade_model::incident::{ActionResult, TimelineEntry, TimelineEvent};
use palisade_model::{
    Alert, Container, Enforcement, EnforcementAction, EnforcementOutcome, Means, Priority,
};
use palisade_policy::EnforceMode;

use super::attempt::EVENTS;
use super::blocked::{BLOCKED_RULE, Blocklist};
use super::enforcer::Enforcer;
use super::exchange::New;
use super::gate::Denial;
use super::kernel::Refused;
use crate::control::protocol::{Activity, Sample};
use crate::detection::{Changed, Detection, RuleInfo, Source, SourceError, SourceHealth};
use crate::detector::{Detector, Refusal, RuleChange};
use crate::losses::Loss;
use crate::status::SourceDetails;

/// Nanoseconds of a clock tick in `/proc` (`USER_HZ` is 100 everywhere).
const TICK_NS: u64 = 10_000_000;

/// Watches this machine and carries out the actions of rules.
#[derive(Debug)]
pub struct Enforcing {
    detector: Detector,
    /// None when enforcement is off.
    enforcer: Option<Enforcer>,
    /// None when nothing is carried out.
    blocklist: Option<Blocklist>,
}

impl Enforcing {
    /// Puts `enforcer` behind `detector`, whose rules it must have been made for; without
    /// one, events are only watched.
    pub fn new(detector: Detector, enforcer: Option<Enforcer>) -> Self {
        let mut this = Self { detector, enforcer, blocklist: None };
        if let Some(enforcer) = &mut this.enforcer {
            enforcer.follow_running(&this.detector.running_containers());
        }
        this
    }

    /// Keeps programs from starting in containers that the standing orders in the file `path`
    /// block, from now on and as the file changes.
    #[must_use]
    pub fn heeding(mut self, path: &Path) -> Self {
        self.blocklist = Some(Blocklist::new(path));
        self
    }

    /// The enforcer.
    pub fn enforcer(&self) -> Option<&Enforcer> {
        self.enforcer.as_ref()
    }

    /// Hands out which blocked programs were refused, and looks for changes of what is blocked.
    fn take_blocked(&mut self, sink: &mut dyn FnMut(Detection)) -> usize {
        let Self { detector, blocklist: Some(blocklist), .. } = self else { return 0 };
        blocklist.tick(|| detector.running_containers());
        let mut n_passed = 0;
        while let Some(denial) = blocklist.next_denial() {
            let names = names_of(&denial);
            let digest = denial.rules.first().cloned().unwrap_or_default();
            let path = palisade_sensor::text::printable(&denial.attempt.path).into_owned();
            let output = format!("A blocked program was refused (program={path} digest={digest})");
            let fields: [(&str, serde_json::Value); 2] =
                [("proc.exepath", path.into()), ("proc.digest", digest.into())];
            let fields = fields.map(|(name, value)| (name.to_string(), value)).into();
            let rule = std::sync::Arc::new(RuleInfo {
                name: BLOCKED_RULE.into(),
                priority: Priority::Error,
                tags: vec!["T1204".into(), "mitre_execution".into()],
                source: "syscall".into(),
                capture: false,
                capture_duration: None,
            });
            let mut detection =
                detector.refused_by(rule, (output, fields), &refusal_of(&denial, &names));
            detection.enforcement = Some(prevented(&denial));
            sink(detection);
            n_passed += 1;
        }
        n_passed
    }

    /// Hands out what was refused before it could happen.
    fn take_denials(&mut self, sink: &mut dyn FnMut(Detection)) -> usize {
        let mut n_passed = 0;
        while let Some(denial) = self.enforcer.as_ref().and_then(Enforcer::next_denial) {
            let names = names_of(&denial);
            let now = |rule: &String| self.enforcer.as_ref().and_then(|e| e.rule_now(rule));
            for rule in denial.rules.iter().filter_map(now) {
                let refused = self.detector.refused(rule, &refusal_of(&denial, &names));
                let Some(mut detection) = refused else { continue };
                detection.enforcement = Some(prevented(&denial));
                sink(detection);
                n_passed += 1;
            }
        }
        while let Some((rule, decision, facts)) =
            self.enforcer.as_mut().and_then(Enforcer::next_refusal)
        {
            let refused = Refused::new(&decision, &facts);
            let refusal = Refusal {
                fields: &refused,
                event_type: refused.event_type(),
                pid: decision.tgid,
                ppid: 0,
                start_boottime_ns: decision.start_boottime_ns,
                name: &decision.comm,
                exe: "",
                uid: 0,
                facts: &facts,
                time: Timestamp::from_nanos(decision.time_ns),
            };
            let Some(mut detection) = self.detector.refused(rule, &refusal) else { continue };
            let means = match decision.means {
                Way::Cgroup => Means::Cgroup,
                Way::Lsm => Means::Lsm,
                Way::KernelKill => Means::KernelKill,
            };
            detection.enforcement = Some(Enforcement {
                action: means.action(),
                means: Some(means),
                outcome: EnforcementOutcome::Prevented,
                detail: refused.object().to_string(),
                // The program refuses within the call: no record of it has another time.
                latency_ns: 0,
            });
            sink(detection);
            n_passed += 1;
        }
        if let Some(enforcer) = &mut self.enforcer {
            enforcer.tick();
        }
        n_passed
    }
}

/// What was refused at the gate before programs.
fn refusal_of<'r>(denial: &'r Denial, (name, exe): &'r (String, String)) -> Refusal<'r> {
    let attempt = &denial.attempt;
    let caller = &attempt.caller;
    Refusal {
        fields: attempt,
        event_type: EVENTS[0],
        pid: caller.pid,
        ppid: caller.ppid,
        start_boottime_ns: caller.start_ticks.saturating_mul(TICK_NS),
        name,
        exe,
        uid: attempt.uid,
        facts: &attempt.facts,
        time: denial.time,
    }
}

/// Name and program of the process that was refused.
fn names_of(denial: &Denial) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&denial.attempt.caller.name), text(&denial.attempt.caller.exe))
}

fn prevented(denial: &Denial) -> Enforcement {
    Enforcement {
        action: EnforcementAction::Deny,
        means: Some(Means::Fanotify),
        outcome: EnforcementOutcome::Prevented,
        detail: String::from_utf8_lossy(&denial.attempt.path).into_owned(),
        latency_ns: denial.latency_ns,
    }
}

impl Source for Enforcing {
    fn poll(
        &mut self,
        timeout: Duration,
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        let Self { detector, enforcer, blocklist } = self;
        if enforcer.is_none() && blocklist.is_none() {
            return detector.poll(timeout, sink);
        }
        let enforcer = std::cell::RefCell::new(enforcer);
        let n_passed = detector.poll_seen(
            timeout,
            &mut |event| {
                if let Some(enforcer) = &mut **enforcer.borrow_mut() {
                    enforcer.follow(event);
                }
                if let Some(blocklist) = blocklist {
                    blocklist.follow(event);
                }
            },
            &mut |mut detection| {
                if let Some(enforcer) = &mut **enforcer.borrow_mut() {
                    enforcer.enforce(&mut detection);
                }
                sink(detection);
            },
        )?;
        Ok(n_passed + self.take_denials(sink) + self.take_blocked(sink))
    }

    fn health(&self) -> SourceHealth {
        SourceHealth {
            enforcement: self.enforcer.as_ref().map(|enforcer| Box::new(enforcer.health())),
            ..self.detector.health()
        }
    }

    fn change_rules(&mut self, change: RuleChange) -> Result<Changed, String> {
        let (orders, policy, rules) =
            (change.orders().to_vec(), change.enforce().cloned(), change.rules());
        let wanted = policy.as_ref().map_or(EnforceMode::Off, |policy| policy.mode);
        if self.enforcer.is_none() && wanted != EnforceMode::Off {
            return Err(format!(
                "enforcement is off since the start and the policy says `mode: {}` now: the probes were loaded without it; restart to enforce",
                wanted.as_str()
            ));
        }
        let from = Timestamp::now();
        let changed = self.detector.change_rules(change)?;
        if let Some(enforcer) = &mut self.enforcer {
            let running = self.detector.running_containers();
            enforcer.exchange(New { rules, orders, policy, from, running });
        }
        Ok(changed)
    }

    fn losses(&self) -> Vec<Loss> {
        self.detector.losses()
    }

    fn heed_losses(&mut self, fresh: &[Loss]) {
        self.detector.heed_losses(fresh);
    }

    fn details(&self) -> SourceDetails {
        self.detector.details()
    }

    fn watch_activity(&mut self, on: bool) {
        self.detector.watch_activity(on);
    }

    fn activity(&self, container: Option<&str>) -> Activity {
        self.detector.activity(container)
    }

    fn containers(&self) -> Vec<std::sync::Arc<Container>> {
        self.detector.containers()
    }

    fn take_samples(&mut self, sink: &mut dyn FnMut(Sample)) {
        self.detector.take_samples(sink);
    }

    fn problems(&mut self, sink: &mut dyn FnMut(String)) {
        self.detector.problems(sink);
        if let Some(enforcer) = &self.enforcer {
            enforcer.problems(sink);
        }
        if let Some(blocklist) = &self.blocklist {
            blocklist.problems(sink);
        }
    }

    fn finish(&mut self, sink: &mut dyn FnMut(String)) {
        self.detector.finish(sink);
        if let Some(enforcer) = &self.enforcer {
            enforcer.problems(sink);
        }
    }
}

/// The line of a timeline that says what was done about the event of `alert`.
pub fn timeline_entry(alert: &Alert) -> Option<TimelineEntry> {
    let done = alert.enforcement.as_ref()?;
    let result = match done.outcome {
        EnforcementOutcome::Prevented | EnforcementOutcome::Killed => ActionResult::Done,
        EnforcementOutcome::WouldPrevent | EnforcementOutcome::WouldKill => ActionResult::Planned,
        EnforcementOutcome::Excepted => ActionResult::Unchanged,
        EnforcementOutcome::Cannot | EnforcementOutcome::Failed => ActionResult::Failed,
    };
    let what = TimelineEvent::Action {
        action: done.action.as_str().into(),
        result,
        detail: done.to_string(),
        duration_ns: done.latency_ns,
    };
    Some(TimelineEntry { time: alert.time, what })
}

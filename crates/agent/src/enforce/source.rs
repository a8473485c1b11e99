//! The live source with enforcement in it: what it hands out says what was done.

use std::time::Duration;

use palisade_model::alert::Outcome;
use palisade_model::incident::{ActionResult, TimelineEntry, TimelineEvent};
use palisade_model::{Alert, Enforcement, EnforcementAction, EnforcementOutcome, Means};

use super::enforcer::Enforcer;
use super::gate::Denial;
use crate::detection::{Detection, Source, SourceError, SourceHealth};
use crate::detector::Detector;

/// `EPERM`, with which the kernel answers a program that was refused.
const EPERM: i32 = 1;

/// Watches this machine and carries out the actions of rules.
#[derive(Debug)]
pub struct Enforcing {
    detector: Detector,
    /// None when enforcement is off.
    enforcer: Option<Enforcer>,
}

impl Enforcing {
    /// Puts `enforcer` behind `detector`, whose rules it must have been made for; without
    /// one, events are only watched.
    pub fn new(detector: Detector, enforcer: Option<Enforcer>) -> Self {
        if let Some(enforcer) = &enforcer {
            enforcer.follow_running(detector.running_containers().into_iter());
        }
        Self { detector, enforcer }
    }

    /// The enforcer.
    pub fn enforcer(&self) -> Option<&Enforcer> {
        self.enforcer.as_ref()
    }

    /// Hands out what was refused before it could happen.
    fn take_denials(&self, sink: &mut dyn FnMut(Detection)) -> usize {
        let mut n_passed = 0;
        while let Some(denial) = self.enforcer.as_ref().and_then(Enforcer::next_denial) {
            let Denial { time, rules, attempt, latency_ns } = denial;
            for rule in rules {
                let Some(mut detection) = self.detector.attempted(rule, &attempt, time) else {
                    continue;
                };
                detection.outcome = Outcome::Failed { errno: EPERM };
                detection.enforcement = Some(Enforcement {
                    action: EnforcementAction::Deny,
                    means: Some(Means::Fanotify),
                    outcome: EnforcementOutcome::Prevented,
                    detail: String::from_utf8_lossy(&attempt.path).into_owned(),
                    latency_ns,
                });
                sink(detection);
                n_passed += 1;
            }
        }
        n_passed
    }
}

impl Source for Enforcing {
    fn poll(
        &mut self,
        timeout: Duration,
        sink: &mut dyn FnMut(Detection),
    ) -> Result<usize, SourceError> {
        let Self { detector, enforcer: Some(enforcer) } = self else {
            return self.detector.poll(timeout, sink);
        };
        let enforcer = std::cell::RefCell::new(enforcer);
        let n_passed = detector.poll_seen(
            timeout,
            &mut |event| enforcer.borrow_mut().follow(event),
            &mut |mut detection| {
                enforcer.borrow_mut().enforce(&mut detection);
                sink(detection);
            },
        )?;
        Ok(n_passed + self.take_denials(sink))
    }

    fn health(&self) -> SourceHealth {
        SourceHealth {
            enforcement: self.enforcer.as_ref().map(|enforcer| Box::new(enforcer.health())),
            ..self.detector.health()
        }
    }

    fn problems(&mut self, sink: &mut dyn FnMut(String)) {
        self.detector.problems(sink);
        if let Some(enforcer) = &self.enforcer {
            enforcer.problems(sink);
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

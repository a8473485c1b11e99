//! Detections of what did not happen, because it was refused at the event.

use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_base::Timestamp;
use palisade_model::{Outcome, Process};
use palisade_rules::RuleId;
use palisade_rules::fields::Fields;
use palisade_sensor::identity::Facts;

use super::{Detector, outputs};
use crate::detection::{Detection, RuleInfo};

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

impl Detector {
    /// The detection of a rule that matched what was refused before it happened, by the rule's
    /// number since the last change of rules. Who acts is the process as it is.
    pub fn refused(&self, rule: RuleId, refusal: &Refusal<'_>) -> Option<Detection> {
        let matcher = self.newest_matcher();
        let info = matcher.infos.get(rule.0 as usize)?;
        let outputs = outputs(matcher.rules.rule(rule), refusal.fields);
        Some(self.refused_by(Arc::clone(info), outputs, refusal))
    }

    /// The same for what no rule refused but Palisade itself.
    pub(crate) fn refused_by(
        &self,
        rule: Arc<RuleInfo>,
        (output, output_fields): (String, BTreeMap<String, serde_json::Value>),
        refusal: &Refusal<'_>,
    ) -> Detection {
        let state = self.state();
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
        Detection {
            rule,
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
        }
    }

    /// The process of a refusal, as far as the refusal itself says.
    fn caller(&self, refusal: &Refusal<'_>) -> Process {
        let text = |text: &str| palisade_sensor::text::printable(text.as_bytes()).into_owned();
        let boot_ns = self.state().machine.boot_ns;
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
        self.state().running_containers()
    }
}

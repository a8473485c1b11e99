//! The words of the gate and of signatures, each with what it sets.

use palisade_model::Severity;

use crate::document::{EndOfLife, ImageVerification, Policy};
use crate::table::Choice;

/// Acts on the end of maintenance that was begun last.
pub(crate) fn end_of_life(policy: &mut Policy, set: impl FnOnce(&mut EndOfLife)) {
    if let Some(item) = policy.images.gate.end_of_life_dates.last_mut() {
        set(item);
    }
}

pub(crate) const VERIFY: &[Choice] = &[
    Choice {
        name: "required",
        meaning: "an image without a valid signature by one of the keys is refused",
        set: |p| p.images.verify = ImageVerification::Required,
    },
    Choice {
        name: "warn",
        meaning: "it runs, with a warning",
        set: |p| p.images.verify = ImageVerification::Warn,
    },
    Choice {
        name: "off",
        meaning: "signatures are not looked at",
        set: |p| p.images.verify = ImageVerification::Off,
    },
];

pub(crate) const GATE_SEVERITY: &[Choice] = &[
    Choice {
        name: "none",
        meaning: "no vulnerability is refused for its severity",
        set: |p| p.images.gate.severity = None,
    },
    Choice {
        name: "critical",
        meaning: "critical ones are refused",
        set: |p| p.images.gate.severity = Some(Severity::Critical),
    },
    Choice {
        name: "high",
        meaning: "high and above",
        set: |p| p.images.gate.severity = Some(Severity::High),
    },
    Choice {
        name: "medium",
        meaning: "medium and above",
        set: |p| p.images.gate.severity = Some(Severity::Medium),
    },
    Choice {
        name: "low",
        meaning: "low and above",
        set: |p| p.images.gate.severity = Some(Severity::Low),
    },
];

pub(crate) const GATE_OTHER_SEVERITY: &[Choice] = &[
    Choice {
        name: "none",
        meaning: "no other finding is refused for its severity",
        set: |p| p.images.gate.other_severity = None,
    },
    Choice {
        name: "critical",
        meaning: "critical ones are refused",
        set: |p| p.images.gate.other_severity = Some(Severity::Critical),
    },
    Choice {
        name: "high",
        meaning: "high and above",
        set: |p| p.images.gate.other_severity = Some(Severity::High),
    },
    Choice {
        name: "medium",
        meaning: "medium and above",
        set: |p| p.images.gate.other_severity = Some(Severity::Medium),
    },
    Choice {
        name: "low",
        meaning: "low and above",
        set: |p| p.images.gate.other_severity = Some(Severity::Low),
    },
];

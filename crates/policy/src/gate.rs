//! The words of the gate's severities, each with what it sets.

use palisade_model::Severity;

use crate::table::Choice;

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

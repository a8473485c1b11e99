//! Sensor to rules to incident to response: wiring, journal, shutdown.
#![forbid(unsafe_code)]

pub mod agent;
pub mod control;
pub mod delivery;
pub mod detection;
pub mod detector;
pub mod enforce;
pub mod fold;
pub mod incident;
pub mod inventories;
pub mod journal;
pub mod keeper;
pub mod losses;
pub mod output;
pub mod playbooks;
pub mod pushdown;
pub mod recorder;
pub mod reload;
pub mod report;
pub mod rule_test;
pub mod standing;
pub mod status;
#[cfg(test)]
mod testing;
pub mod worker;

pub use agent::{Agent, AgentError, BY_HAND_FOLDER, Notice, Resumed, Settings};
pub use detection::{Changed, Detection, RuleInfo, Source, SourceError, SourceHealth};
pub use detector::Detector;
pub use worker::{
    AskSealing, ContainerFiles, ResponseMeans, Sealing, StampEvidence, collected, collected_before,
};

/// The rules that come with the product, in Falco's language: for each file its name in
/// diagnostics and its text, the most urgent rules first.
pub const BUILTIN_RULES: [(&str, &str); 5] = [
    ("builtin:common.yaml", include_str!("../rules/common.yaml")),
    ("builtin:critical.yaml", include_str!("../rules/critical.yaml")),
    ("builtin:error.yaml", include_str!("../rules/error.yaml")),
    ("builtin:warning.yaml", include_str!("../rules/warning.yaml")),
    ("builtin:notice.yaml", include_str!("../rules/notice.yaml")),
];

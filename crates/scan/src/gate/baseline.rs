//! What an earlier report found already.

use std::collections::HashSet;

use palisade_base::{Digest, Timestamp};
use palisade_model::Finding;
use palisade_model::finding::ScanReport;
use palisade_model::judgement::Baseline;

use crate::report::item;

/// The findings of an earlier report. What was set aside in it is not among them: when an
/// exception ends, its finding is news.
#[derive(Debug, Clone)]
pub struct Known {
    subject: String,
    time: Timestamp,
    identities: HashSet<Digest>,
}

impl Known {
    /// What `report` found.
    pub fn of(report: &ScanReport) -> Self {
        Self {
            subject: report.inventory.subject.name.clone(),
            time: report.time,
            identities: report.findings.iter().map(identity).collect(),
        }
    }

    /// Whether `finding` was found already: the same problem in the same place, whatever the
    /// version and the line.
    pub fn has(&self, finding: &Finding) -> bool {
        self.identities.contains(&identity(finding))
    }

    pub(super) fn compare(&self, report: &ScanReport) -> Baseline {
        let n_new = report.findings.iter().filter(|finding| !self.has(finding)).count() as u64;
        let present: HashSet<Digest> = report.findings.iter().map(identity).collect();
        Baseline {
            subject: self.subject.clone(),
            time: self.time,
            n_known: report.findings.len() as u64 - n_new,
            n_new,
            n_gone: self.identities.difference(&present).count() as u64,
        }
    }
}

/// What makes a finding the same as another. That a vulnerability is exploited is part of it:
/// one that comes to be is a new problem.
fn identity(finding: &Finding) -> Digest {
    let item = item::describe(finding);
    let exploited = matches!(finding, Finding::Vulnerability(v) if v.known_exploited);
    Digest::of(format!("{} {} {exploited}", item.kind, item.identity).as_bytes())
}

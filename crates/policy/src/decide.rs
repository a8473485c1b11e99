//! What a policy says about an image and about an alert. Pure.

use palisade_model::Alert;

use crate::document::{Gate, ImageVerification, Images, Policy, ResponseRule};

/// The entry of the policy that answers `alert`: the first that matches.
pub fn response_for<'p>(policy: &'p Policy, alert: &Alert) -> Option<&'p ResponseRule> {
    policy.response.iter().find(|rule| {
        alert.priority >= rule.priority
            && (rule.rules.is_empty() || rule.rules.contains(&alert.rule))
            && (rule.tags.is_empty() || rule.tags.iter().any(|tag| alert.tags.contains(tag)))
    })
}

impl Gate {
    /// Whether it could refuse any image, so that a scan is needed.
    pub fn is_active(&self) -> bool {
        self.severity.is_some()
            || self.known_exploited
            || self.epss_ppm.is_some()
            || self.secrets
            || self.other_severity.is_some()
            || self.end_of_life
            || self.malware
            || self.licences
            || self.database_age_days_max.is_some()
            || self.database_key_age_days_max.is_some()
    }
}

/// What is known of an image's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureState {
    /// Signed by this key, and all content matches its digests.
    Valid {
        /// The key, as the user knows it.
        key: String,
    },
    /// No valid signature by any of the keys.
    Invalid {
        /// Why: no signature, another key.
        reason: String,
    },
    /// It was not possible to tell.
    NotChecked {
        /// Why: no key given, an unreadable file.
        reason: String,
    },
    /// The content does not match its digests. No policy lets such an image run.
    Tampered {
        /// Which part.
        reason: String,
    },
}

/// What the gate said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    /// Nothing that the policy refuses was found.
    Passed,
    /// It was found.
    Refused {
        /// What, one sentence each.
        reasons: Vec<String>,
    },
    /// No answer: no database, an outdated one, no scan.
    NotEvaluated {
        /// Why.
        reason: String,
    },
}

/// Whether an image may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admitted {
        /// What the user should know all the same.
        warnings: Vec<String>,
    },
    /// It may not.
    Refused {
        /// Why, one sentence each.
        reasons: Vec<String>,
    },
    /// The policy demands something that could not be found out, and nothing that was
    /// found out refuses the image. It does not run.
    Undecided {
        /// What is missing, one sentence each.
        reasons: Vec<String>,
    },
}

/// Decides whether an image may run. A refusal outweighs what is not known; what is not
/// known never admits.
pub fn admit(images: &Images, signature: &SignatureState, gate: &GateState) -> Admission {
    let (mut warnings, mut refusals, mut unknowns) = (Vec::new(), Vec::new(), Vec::new());
    match (images.verify, signature) {
        (_, SignatureState::Tampered { reason }) => {
            refusals.push(format!("the image was changed: {reason}"));
        }
        (ImageVerification::Off, _) | (_, SignatureState::Valid { .. }) => {}
        (ImageVerification::Required, SignatureState::Invalid { reason }) => {
            refusals.push(format!("a signature is required: {reason}"));
        }
        (ImageVerification::Required, SignatureState::NotChecked { reason }) => {
            unknowns.push(format!("a signature is required and was not checked: {reason}"));
        }
        (ImageVerification::Warn, SignatureState::Invalid { reason }) => {
            warnings.push(format!("no valid signature: {reason}"));
        }
        (ImageVerification::Warn, SignatureState::NotChecked { reason }) => {
            warnings.push(format!("the signature was not checked: {reason}"));
        }
    }
    if images.gate.is_active() {
        match gate {
            GateState::Passed => {}
            GateState::Refused { reasons } if reasons.is_empty() => {
                refusals.push("the scan refuses it".to_string());
            }
            GateState::Refused { reasons } => refusals.extend(reasons.iter().cloned()),
            GateState::NotEvaluated { reason } => {
                unknowns.push(format!("the gate was not evaluated: {reason}"));
            }
        }
    }
    if !refusals.is_empty() {
        refusals.extend(unknowns);
        Admission::Refused { reasons: refusals }
    } else if !unknowns.is_empty() {
        Admission::Undecided { reasons: unknowns }
    } else {
        Admission::Admitted { warnings }
    }
}

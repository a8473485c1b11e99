//! Privileges that are asked for where no container spec shows it: in an engine's API.

use palisade_policy::{Allowance, Policy};

use super::{Confine, EngineFacts};
use crate::controls::{RefusalReason, Work};
use crate::{Facts, ImageFacts, Machine};

/// A privilege that was asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// The control that would refuse it.
    pub control: &'static str,
    /// What was asked for, for people.
    pub what: String,
    /// What would have to be allowed.
    pub allowance: Allowance,
}

/// Why the policy refuses what was asked for; empty when it does not, or takes it away later.
pub fn judge_asked(asked: &[Asking], policy: &Policy, engine: &EngineFacts) -> Vec<RefusalReason> {
    // No machine decides about a name.
    let machine = Machine {
        architecture: String::new(),
        rlimits: std::collections::BTreeMap::new(),
        may_raise_rlimits: true,
        can_limit_swap: false,
        disk: None,
    };
    let facts = Facts { image: ImageFacts::default(), machine, seccomp_document: None };
    let confine = Confine::new(policy, &facts, engine);
    let Ok(mut work) = Work::new(serde_json::json!({})) else { return Vec::new() };
    for asking in asked {
        let allowed = confine.allows(&Allowance::Privileged)
            || confine.allows(&asking.allowance)
            || match &asking.allowance {
                Allowance::Device(path) => confine.may_have_device(path),
                Allowance::Annotation(name) => confine.may_have_annotation(name),
                Allowance::Seccomp => {
                    confine.containers.seccomp == palisade_policy::Seccomp::Unconfined
                }
                Allowance::NewPrivileges => !confine.containers.no_new_privileges,
                Allowance::UnmaskedPaths => !confine.containers.mask_paths,
                _ => false,
            };
        if !allowed {
            confine.asked(&mut work, asking.control, asking.what.clone(), &asking.allowance);
        }
    }
    work.reasons
}

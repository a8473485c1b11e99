//! Limits: the engine's or the policy's, whichever is lower.

use palisade_policy::Allowance;
use serde_json::{Value, json};

use super::{Confine, ContainerKind};
use crate::controls::{CPU_PERIOD_US, RLIMIT_BY_POLICY, Work, is_rlimit};
use crate::{Malformed, Rlimit};

/// Least quota of processor time that the kernel takes, in microseconds (`min_cfs_quota_period` in
/// `kernel/sched/core.c`): what the least that a policy may say is of our period.
const CPU_QUOTA_US_MIN: u64 = 1000;

impl Confine<'_> {
    /// Memory, processor time and processes. A build is as heavy as it is, and a pod's
    /// sandbox is the engine's.
    pub(super) fn limits(&self, work: &mut Work) -> Result<(), Malformed> {
        if self.allows(&Allowance::Limits) || self.engine.kind == ContainerKind::Sandbox {
            return Ok(());
        }
        let limits = &self.containers.limits;
        let at = "/linux/resources";
        if let Some(bytes) = limits.memory_bytes {
            let why = "memory is limited, and swap is not added to it";
            lower(work, &format!("{at}/memory/limit"), bytes, why)?;
            if self.facts.machine.can_limit_swap {
                let limit = work.patch.get(&format!("{at}/memory/limit")).and_then(Value::as_u64);
                lower(work, &format!("{at}/memory/swap"), limit.unwrap_or(bytes), why)?;
            }
            // A reservation above the limit is an error to some runtimes.
            let reservation = format!("{at}/memory/reservation");
            if work.patch.get(&reservation).and_then(Value::as_u64).is_some_and(|n| n > bytes) {
                work.patch.set(&reservation, json!(bytes), why)?;
            }
        }
        if let Some(millis) = limits.cpu_millis {
            let why = "processor time is limited";
            let number = |work: &Work, key: &str| {
                work.patch.get(&format!("{at}/cpu/{key}")).and_then(Value::as_u64)
            };
            let period = number(work, "period").filter(|n| *n > 0).unwrap_or(CPU_PERIOD_US);
            // What was asked for, as a part of its own period.
            let most = |period: u64| u128::from(millis) * u128::from(period) / 1000;
            let asked = number(work, "quota").filter(|n| *n > 0);
            if asked.is_none_or(|quota| u128::from(quota) > most(period)) {
                // In a short period the least quota would be more than the policy's part.
                let fits = |period: &u64| most(*period) >= u128::from(CPU_QUOTA_US_MIN);
                let period = Some(period).filter(fits).unwrap_or(CPU_PERIOD_US);
                let quota = u64::try_from(most(period)).unwrap_or(u64::MAX).max(CPU_QUOTA_US_MIN);
                work.patch.set(&format!("{at}/cpu/period"), json!(period), why)?;
                work.patch.set(&format!("{at}/cpu/quota"), json!(quota), why)?;
            }
        }
        if let Some(pids) = limits.pids {
            lower(work, &format!("{at}/pids/limit"), pids.into(), "a fork bomb stops here")?;
        }
        Ok(())
    }

    /// Limits of each process of its own, all written down. What neither engine nor policy names
    /// is what it would have inherited; nothing is raised above that.
    pub(super) fn rlimits(&self, work: &mut Work, at: &str) -> Result<(), Malformed> {
        if self.allows(&Allowance::Limits) || self.engine.kind == ContainerKind::Sandbox {
            return Ok(());
        }
        let path = format!("{at}/rlimits");
        let machine = &self.facts.machine;
        let is_further = at.is_empty();
        let list = work.patch.list(&path)?;
        let mut limits = self.containers.limits.rlimits().collect::<Vec<_>>();
        if is_further {
            // The limits of the container's first process; who enters it may have to have less.
            let others = machine.rlimits.keys().filter(|kind| limits.iter().all(|l| l.0 != **kind));
            let others: Vec<_> = others.map(|kind| (*kind, u64::MAX)).collect();
            let known = |kind: &str| list.iter().any(|entry| is_rlimit(entry, kind));
            limits.extend(others.into_iter().filter(|(kind, _)| known(kind)));
        }
        let mut new = list.clone();
        for (kind, most) in limits {
            let most = most.min(machine.rlimit_max(kind));
            // Whoever enters a container inherits nothing that the container should have.
            let own = machine.rlimits.get(kind).filter(|_| !is_further);
            let inherited = own.map_or(Rlimit { soft: most, hard: most }, |own| *own);
            let number = |key: &str| {
                list.iter().find(|e| is_rlimit(e, kind))?.get(key).and_then(Value::as_u64)
            };
            let hard = number("hard").unwrap_or(inherited.hard).min(most);
            let soft = number("soft").unwrap_or(inherited.soft).min(hard);
            let limit = json!({"type": kind, "hard": hard, "soft": soft});
            if !new.iter().any(|entry| is_rlimit(entry, kind)) {
                new.push(Value::Null);
            }
            // Of two of one kind a runtime may take the second.
            for entry in new.iter_mut().filter(|e| e.is_null() || is_rlimit(e, kind)) {
                *entry = limit.clone();
            }
        }
        if new != list {
            work.patch.set(&path, Value::Array(new), RLIMIT_BY_POLICY)?;
        }
        if is_further { Ok(()) } else { work.inherit_rlimits(&path, self.facts) }
    }
}

/// No limit above those of the container's first process; without a word they would not hold.
pub(super) fn within_rlimits(work: &mut Work, first: &Value) -> Result<(), Malformed> {
    let ceiling = match first.get("rlimits") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(Malformed("/process/rlimits".into())),
    };
    let old = work.patch.list("/rlimits")?;
    let mut list = old.clone();
    for most in ceiling {
        let Some(kind) = most.get("type").and_then(Value::as_str) else { continue };
        let Some(entry) = list.iter_mut().find(|entry| is_rlimit(entry, kind)) else {
            list.push(most.clone());
            continue;
        };
        for key in ["hard", "soft"] {
            let number = |value: &Value| value.get(key).and_then(Value::as_u64);
            if let (Some(most), Some(own)) = (number(most), number(entry))
                && own > most
                && let Some(entry) = entry.as_object_mut()
            {
                entry.insert(key.into(), json!(most));
            }
        }
    }
    if list != old {
        let why = "no more than the container's first process may have";
        work.patch.set("/rlimits", Value::Array(list), why)?;
    }
    Ok(())
}

/// Lowers the number at `path`; absent, zero and negative stand for no limit.
fn lower(work: &mut Work, path: &str, most: u64, why: &str) -> Result<(), Malformed> {
    let known = work.patch.get(path).and_then(Value::as_i64).filter(|n| *n > 0);
    let known = known.and_then(|n| u64::try_from(n).ok());
    if known.is_none_or(|known| known > most) {
        work.patch.set(path, json!(most), why)?;
    }
    Ok(())
}

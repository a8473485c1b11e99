//! Limits: the engine's or the policy's, whichever is lower.

use palisade_policy::Allowance;
use serde_json::{Value, json};

use super::{Confine, ContainerKind};
use crate::Malformed;
use crate::controls::{CPU_PERIOD_US, Work};

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
            let quota = (u64::from(millis) * period / 1000).max(1000);
            if number(work, "quota").is_none_or(|known| known == 0 || known > quota) {
                work.patch.set(&format!("{at}/cpu/period"), json!(period), why)?;
                work.patch.set(&format!("{at}/cpu/quota"), json!(quota), why)?;
            }
        }
        if let Some(pids) = limits.pids {
            lower(work, &format!("{at}/pids/limit"), pids.into(), "a fork bomb stops here")?;
        }
        Ok(())
    }

    /// Limits of each process of its own.
    pub(super) fn rlimits(&self, work: &mut Work, at: &str) -> Result<(), Malformed> {
        if self.allows(&Allowance::Limits) || self.engine.kind == ContainerKind::Sandbox {
            return Ok(());
        }
        let path = format!("{at}/rlimits");
        let old = work.patch.list(&path)?;
        let mut list = old.clone();
        for (kind, most) in self.containers.limits.rlimits() {
            let most = most.min(self.facts.machine.rlimit_max(kind));
            let is_it = |entry: &Value| entry.get("type").and_then(Value::as_str) == Some(kind);
            let number = |key: &str| {
                list.iter().find(|e| is_it(e)).and_then(|e| e.get(key)).and_then(Value::as_u64)
            };
            let hard = number("hard").unwrap_or(most).min(most);
            let soft = number("soft").unwrap_or(most).min(hard);
            let new = json!({"type": kind, "hard": hard, "soft": soft});
            match list.iter_mut().find(|entry| is_it(entry)) {
                Some(entry) => *entry = new,
                None => list.push(new),
            }
        }
        if list != old {
            work.patch.set(&path, Value::Array(list), "limits of each process by the policy")?;
        }
        Ok(())
    }
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

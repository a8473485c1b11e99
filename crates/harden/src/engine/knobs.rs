//! Fields of the OCI runtime specification that lift limits or reach others in less usual ways.

use palisade_policy::Allowance;
use serde_json::{Value, json};

use super::Confine;
use crate::Malformed;
use crate::controls::Work;

/// Files of control groups version 2 that say what the policy's limits say.
const UNIFIED_LIMITS: [&str; 7] = [
    "memory.max",
    "memory.high",
    "memory.swap.max",
    "memory.oom.group",
    "pids.max",
    "cpu.max",
    "cpu.weight",
];

/// Variables by which the dynamic linker takes code from elsewhere (ld.so(8)).
fn is_linker_variable(variable: &str) -> bool {
    let name = variable.split('=').next().unwrap_or_default();
    name.starts_with("LD_") || name == "GLIBC_TUNABLES" || name == "GCONV_PATH"
}

impl Confine<'_> {
    /// Everything of this kind.
    pub(super) fn knobs(&self, work: &mut Work) -> Result<(), Malformed> {
        hooks(work)?;
        personality(work)?;
        self.net_devices(work)?;
        if self.allows(&Allowance::Limits) {
            return Ok(());
        }
        self.no_killer(work)?;
        self.cgroups(work)?;
        self.before_others(work, "/process")
    }

    /// What lets the process at `at` go before others: of a container's first one, and of each
    /// that is started in it later.
    pub(super) fn before_others(&self, work: &mut Work, at: &str) -> Result<(), Malformed> {
        if self.allows(&Allowance::Limits) {
            return Ok(());
        }
        self.score(work, at)?;
        self.priority(work, at)
    }

    /// Who is killed first when memory is short.
    fn score(&self, work: &mut Work, at: &str) -> Result<(), Malformed> {
        let path = &format!("{at}/oomScoreAdj");
        let score = work.patch.get(path).and_then(Value::as_i64).unwrap_or(0);
        // Kubelets give sandboxes -998, and guaranteed pods little more; other engines give a score
        // below zero only when asked.
        if score < -998 || (score < 0 && !self.engine.kubernetes) {
            let what = "the kernel would kill others first when memory is short".to_string();
            if self.asked(work, "limits", what, &Allowance::Limits) {
                work.patch.set(path, json!(0), "it is killed like any other")?;
            }
        }
        Ok(())
    }

    fn no_killer(&self, work: &mut Work) -> Result<(), Malformed> {
        let path = "/linux/resources/memory/disableOOMKiller";
        if work.patch.get(path).and_then(Value::as_bool) == Some(true) {
            let what = "the kernel could not kill the container when memory is short".to_string();
            if self.asked(work, "limits", what, &Allowance::Limits) {
                work.patch.set(path, json!(false), "it is killed like any other")?;
            }
        }
        Ok(())
    }

    /// The place in the tree of control groups, and limits that are written by their file.
    fn cgroups(&self, work: &mut Work) -> Result<(), Malformed> {
        if let Some(path) = work.patch.get("/linux/cgroupsPath").and_then(Value::as_str) {
            let parts: Vec<&str> =
                path.split(['/', ':']).filter(|part| !part.is_empty() && *part != ".").collect();
            let is_ours = parts.first().is_some_and(|part| *part == "palisade");
            if parts.is_empty() || parts.contains(&"..") || is_ours {
                work.refuse(
                    "limits",
                    "the container would be in a control group that is not its own".into(),
                    "leave the place of its control group to the engine",
                );
            }
        }
        let at = "/linux/resources/unified";
        let map = match work.patch.get(at) {
            None | Some(Value::Null) => return self.cache(work),
            Some(Value::Object(map)) => map.clone(),
            Some(_) => return Err(Malformed(at.into())),
        };
        let mut kept = map.clone();
        let limits = &self.containers.limits;
        kept.retain(|name, _| {
            let has_limit = match name.split('.').next() {
                Some("memory") => limits.memory_bytes.is_some(),
                Some("pids") => limits.pids.is_some(),
                Some("cpu") => limits.cpu_millis.is_some(),
                _ => false,
            };
            // A slash would be another group's file.
            !(name.contains('/') || (has_limit && UNIFIED_LIMITS.contains(&name.as_str())))
        });
        if kept != map {
            let why = "the policy's limit holds; it is written with the others";
            work.patch.set(at, Value::Object(kept), why)?;
        }
        self.cache(work)
    }

    /// Shares of the processor's cache are taken from others.
    fn cache(&self, work: &mut Work) -> Result<(), Malformed> {
        let path = "/linux/intelRdt";
        if work.patch.get(path).is_some_and(|value| !value.is_null()) {
            let what = "a part of the processor's cache was asked for".to_string();
            if self.asked(work, "limits", what, &Allowance::Limits) {
                work.patch.remove(path, "the processor's cache is everybody's")?;
            }
        }
        Ok(())
    }

    /// Scheduling before others.
    fn priority(&self, work: &mut Work, at: &str) -> Result<(), Malformed> {
        let (scheduler, io) = (format!("{at}/scheduler"), format!("{at}/ioPriority"));
        let policy = work.patch.get(&format!("{scheduler}/policy")).and_then(Value::as_str);
        let real_time =
            policy.is_some_and(|p| matches!(p, "SCHED_FIFO" | "SCHED_RR" | "SCHED_DEADLINE"));
        let nice = work.patch.get(&format!("{scheduler}/nice")).and_then(Value::as_i64);
        let class = work.patch.get(&format!("{io}/class")).and_then(Value::as_str);
        let first = class == Some("IOPRIO_CLASS_RT");
        for (is_asked, path) in
            [(real_time || nice.is_some_and(|nice| nice < 0), &scheduler), (first, &io)]
        {
            if is_asked {
                let what = "the container would run before everything else".to_string();
                if self.asked(work, "limits", what, &Allowance::Limits) {
                    work.patch.remove(path, "it runs like any other")?;
                }
            }
        }
        Ok(())
    }

    /// Network devices of the host that would be moved into the container.
    fn net_devices(&self, work: &mut Work) -> Result<(), Malformed> {
        let path = "/linux/netDevices";
        let some = work.patch.get(path).and_then(Value::as_object).is_some_and(|m| !m.is_empty());
        let word = Allowance::HostNamespace("network");
        if some && !self.allows(&word) {
            let what = "a network device of the host would be moved into the container".to_string();
            if self.asked(work, "namespaces", what, &word) {
                work.patch.remove(path, "network devices of the host are not the container's")?;
            }
        }
        Ok(())
    }
}

/// Flags of a personality take guards of the memory's layout away; no engine gives them, and only
/// newer runtimes than the specification obey them.
fn personality(work: &mut Work) -> Result<(), Malformed> {
    let path = "/linux/personality/flags";
    if work.patch.list(path)?.is_empty() {
        return Ok(());
    }
    work.patch.remove(path, "the memory of programs is laid out at random")
}

/// Hooks are the engine's and run as root of the host; what the container's image says must
/// not decide what code they load (CVE-2025-23266).
fn hooks(work: &mut Work) -> Result<(), Malformed> {
    let Some(Value::Object(hooks)) = work.patch.get("/hooks") else { return Ok(()) };
    let mut new = hooks.clone();
    for list in new.values_mut().filter_map(Value::as_array_mut) {
        for env in list.iter_mut().filter_map(|hook| hook.get_mut("env")?.as_array_mut()) {
            env.retain(|variable| !variable.as_str().is_some_and(is_linker_variable));
        }
    }
    if new != *hooks {
        let why = "hooks run as root of the host and load no code of the container's";
        work.patch.set("/hooks", Value::Object(new), why)?;
    }
    Ok(())
}

//! The sensor's own hooks on this kernel.
//!
//! That a kind of program loads does not mean that the kernel's verifier accepts every program of
//! that kind, so the real ones are tried. They see nothing: no cgroup is watched.

use std::collections::BTreeMap;

use crate::interest::Interest;
use crate::load::{CgroupFilter, LoadError, Options, Refusal, Sensor, programs_of};

/// A place where the sensor sits in the kernel, and what came of taking it.
#[derive(Debug)]
pub struct Hook {
    /// Where: `tp_btf/sched_process_exec`.
    pub hook: &'static str,
    /// The events that are seen there.
    pub events: Vec<&'static str>,
    /// The programs that do not load; empty if all is well.
    pub refusals: Vec<Refusal>,
}

impl Hook {
    /// Whether nothing at all is seen there: its first program is refused.
    pub fn is_lost(&self) -> bool {
        self.refusals.iter().any(|refusal| !refusal.program.starts_with("call_"))
    }
}

/// The hooks, each with the program at it.
const HOOKS: [(&str, &str); 4] = [
    ("tp_btf/sched_process_fork", "on_fork"),
    ("tp_btf/sched_process_exec", "on_exec"),
    ("tp_btf/sched_process_exit", "on_exit"),
    ("tp_btf/sys_exit", "dispatch"),
];

/// Takes every hook with every program for a moment.
///
/// The error is one that concerns all of them: no permission, no type information, no ring.
pub fn hooks() -> Result<Vec<Hook>, LoadError> {
    let mut interest = Interest::processes();
    interest.extend(Interest::known().collect::<Vec<_>>());
    let options = Options {
        bulk_ring_bytes: 1 << 16,
        priority_ring_bytes: 1 << 16,
        cgroups: CgroupFilter::Only(Vec::new()),
        ..Options::default()
    };
    let refusals = Sensor::load(&interest, &options)?.into_refusals();
    let refusals = refusals.into_iter().map(|refusal| (refusal.program, refusal.error)).collect();
    Ok(sort(&programs_of(&interest), refusals))
}

/// Puts programs and refusals to the hooks where they belong: handlers of calls to the dispatcher.
fn sort(
    programs: &BTreeMap<&'static str, Vec<&'static str>>,
    mut refusals: BTreeMap<&'static str, LoadError>,
) -> Vec<Hook> {
    let mut refuse = |program: &'static str| {
        let events = programs.get(program).cloned().unwrap_or_default();
        refusals.remove(program).map(|error| Refusal { program, events, error })
    };
    let mut hooks = Vec::new();
    for (hook, program) in HOOKS {
        let events = programs.get(program).cloned().unwrap_or_default();
        hooks.push(Hook { hook, events, refusals: refuse(program).into_iter().collect() });
    }
    let handlers = programs.keys().filter(|name| name.starts_with("call_"));
    let refused: Vec<Refusal> = handlers.filter_map(|name| refuse(name)).collect();
    if let Some(calls) = hooks.last_mut() {
        calls.refusals.extend(refused);
    }
    hooks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> LoadError {
        LoadError::Verifier {
            log: String::new(),
            source: libbpf_rs::Error::from_raw_os_error(libc::EINVAL),
        }
    }

    #[test]
    fn a_refused_handler_loses_its_events_and_no_others() {
        let mut interest = Interest::processes();
        interest.extend(["openat", "connect"]);
        let programs = programs_of(&interest);
        let found = sort(&programs, [("call_openat", refusal())].into());
        let names: Vec<&str> = found.iter().map(|hook| hook.hook).collect();
        assert_eq!(names, HOOKS.map(|(hook, _)| hook));
        assert!(found.iter().all(|hook| !hook.is_lost()));
        let calls = &found[3];
        assert!(calls.events.contains(&"connect") && calls.events.contains(&"openat"));
        assert_eq!(calls.refusals.len(), 1);
        assert_eq!(calls.refusals[0].program, "call_openat");
        assert_eq!(calls.refusals[0].events, ["openat"]);

        let found = sort(&programs, [("dispatch", refusal()), ("on_exit", refusal())].into());
        let lost: Vec<bool> = found.iter().map(Hook::is_lost).collect();
        assert_eq!(lost, [false, false, true, true]);
    }
}

//! The programs that refuse calls, and the events that each can refuse.

use std::collections::BTreeSet;

use super::{Action, Plan, Refusals};
use crate::interest::CALLS;
use crate::load::{CALLS_MAX, compat_numbers};

use super::effect::judged_event;

/// Programs on a control group.
pub(super) const CGROUP_PROGRAMS: [&str; 4] =
    ["enforce_connect4", "enforce_connect6", "enforce_bind4", "enforce_bind6"];

/// Programs in the security framework: each sits at one hook, where these calls come by.
#[rustfmt::skip] // a table
pub(super) const LSM_PROGRAMS: [(&str, &[&str]); 19] = [
    ("lsm_exec", &["execve"]),
    ("lsm_open", &["open", "openat", "openat2", "creat"]),
    ("lsm_connect", &["connect"]),
    ("lsm_bind", &["bind"]),
    ("lsm_trace", &["ptrace"]),
    ("lsm_traceme", &["ptrace"]),
    ("lsm_mount", &["mount"]),
    ("lsm_umount", &["umount2"]),
    ("lsm_unlink", &["unlink", "unlinkat"]),
    ("lsm_rmdir", &["rmdir", "unlinkat"]),
    ("lsm_rename", &["rename", "renameat", "renameat2"]),
    ("lsm_link", &["link", "linkat"]),
    ("lsm_symlink", &["symlink", "symlinkat"]),
    ("lsm_mkdir", &["mkdir", "mkdirat"]),
    ("lsm_setattr", &["chmod", "fchmod", "fchmodat", "chown", "fchown"]),
    ("lsm_load_data", &["init_module"]),
    ("lsm_read_file", &["finit_module"]),
    ("lsm_bpf", &["bpf"]),
    ("lsm_kill", &["kill"]),
];

/// Whether a program of the security framework comes by calls of this name.
pub(super) fn is_hooked(event: &str) -> bool {
    LSM_PROGRAMS.iter().any(|(_, events)| events.contains(&event))
}

/// The programs that a plan needs, of the means that are wanted.
pub(super) fn programs(plan: &Plan, refusals: Refusals) -> BTreeSet<&'static str> {
    let mut wanted = BTreeSet::new();
    if refusals.cgroup {
        wanted.extend(CGROUP_PROGRAMS);
    }
    let denied = plan.rules.iter().filter(|rule| rule.action == Action::Deny);
    let events: BTreeSet<&str> =
        denied.flat_map(|rule| rule.selector.events.iter().map(|of| of.event.as_str())).collect();
    for (program, served) in LSM_PROGRAMS.iter().filter(|_| refusals.lsm) {
        if served.iter().any(|event| events.contains(event)) {
            wanted.insert(*program);
        }
    }
    wanted
}

/// `call_events` of `probes/enforce.bpf.c`: the events of hooked calls by native number, then by
/// 32-bit number.
pub(super) fn call_events() -> Vec<u8> {
    let mut numbers = vec![0_u16; 2 * CALLS_MAX];
    for call in CALLS.iter().filter(|call| is_hooked(call.name)) {
        let Some(judged) = judged_event(call.name) else { continue };
        let native = [call.native, call.x32].into_iter().flatten();
        let native = native.filter_map(|number| usize::try_from(number).ok());
        let compat = compat_numbers(call.compat).map(|number| number as usize + CALLS_MAX);
        for slot in native.chain(compat) {
            if let Some(number) = numbers.get_mut(slot) {
                *number = judged.number;
            }
        }
    }
    numbers.into_iter().flat_map(u16::to_ne_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooked_calls_have_numbers_and_are_judged() {
        let source = include_str!("../../probes/enforce.bpf.c");
        for (program, events) in LSM_PROGRAMS {
            let short = program.strip_prefix("lsm_").unwrap();
            let exists = source.contains(&format!("BPF_PROG({program},"))
                || source.lines().any(|line| {
                    line.starts_with("JUDGED_AT(") && line.contains(&format!(", {short}, "))
                });
            assert!(exists, "{program}");
            for event in events {
                assert!(judged_event(event).is_some(), "{event}");
                assert!(CALLS.iter().any(|call| call.name == *event), "{event}");
            }
        }
        let table = call_events();
        assert_eq!(table.len(), 4 * CALLS_MAX);
        let at = |number: usize| u16::from_ne_bytes([table[2 * number], table[2 * number + 1]]);
        let mount = judged_event("mount").unwrap().number;
        assert_eq!(at(libc::SYS_mount as usize), mount);
        assert_eq!(at(libc::SYS_getpid as usize), 0);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(at(CALLS_MAX + 21), mount);
        }
    }
}

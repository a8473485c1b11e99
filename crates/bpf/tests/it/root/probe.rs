//! The features that the other tests rely on are reported as such.

use palisade_bpf::probe::{Role, Support, features, hooks};

use super::*;

#[test]
fn what_works_here_is_reported_to_work() {
    let Some(_alone) = root() else { return };
    let start = Instant::now();
    let found = features();
    let took = start.elapsed();
    say(&format!("probing took {took:?}"));
    // What only enforcement or nobody uses may be missing on a machine that runs these tests.
    let is_needed = |feature: &&palisade_bpf::probe::Feature| {
        matches!(feature.role, Role::Sensor | Role::Isolation)
    };
    assert!(found.iter().filter(is_needed).count() > 3, "{found:?}");
    for feature in found.iter().filter(is_needed) {
        assert_eq!(feature.support, Support::Supported, "{feature:?}");
    }
    let kprobe = found.iter().find(|feature| feature.name == "kprobe").unwrap();
    let has_kprobes = std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists();
    assert_eq!(kprobe.support == Support::Absent, !has_kprobes);
    assert!(took < SOON, "{took:?}");
}

#[test]
fn every_hook_and_handler_of_the_sensor_loads() {
    let Some(_alone) = root() else { return };
    let found = hooks().unwrap();
    let names: Vec<&str> = found.iter().map(|hook| hook.hook).collect();
    let sched = ["fork", "exec", "exit"].map(|name| format!("tp_btf/sched_process_{name}"));
    assert_eq!(names[..3], sched);
    assert_eq!(names[3..], ["tp_btf/sys_exit"]);
    for hook in &found {
        assert!(hook.refusals.is_empty(), "{hook:?}");
    }
    assert!(found[3].events.len() > 60, "{:?}", found[3].events);
    assert!(found[3].events.contains(&"close"));
}

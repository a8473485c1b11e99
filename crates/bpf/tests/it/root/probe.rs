//! The features that the other tests rely on are reported as such.

use palisade_bpf::probe::{Support, features};

use super::*;

#[test]
fn what_works_here_is_reported_to_work() {
    let Some(_alone) = root() else { return };
    let start = Instant::now();
    let found = features();
    let took = start.elapsed();
    say(&format!("probing took {took:?}"));
    for feature in &found {
        assert!(!feature.required || feature.support == Support::Supported, "{feature:?}");
    }
    let kprobe = found.iter().find(|feature| feature.name == "kprobe").unwrap();
    let has_kprobes = std::path::Path::new("/sys/bus/event_source/devices/kprobe").exists();
    assert_eq!(kprobe.support == Support::Absent, !has_kprobes);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

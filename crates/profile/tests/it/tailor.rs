//! Filters made of records.

use palisade_profile::filter::{Action, Filter};
use palisade_profile::syscalls::Machine;
use palisade_profile::tailor::{
    ALWAYS, FLOOR, FLOOR_RARE, FLOOR_SPARED, Options, tailor, with_floor,
};
use palisade_profile::{Floor, Record, Source};
use proptest::prelude::*;

use crate::record::sample;

fn default_filter() -> Filter {
    let profile = palisade_harden::seccomp::default_profile().unwrap();
    Filter::parse(&profile.compile("x86_64", &[]).unwrap()).unwrap()
}

fn arguments(first: u64) -> [Option<u64>; 6] {
    [Some(first), Some(0), Some(0), Some(0), Some(0), Some(0)]
}

#[test]
fn a_filter_allows_what_was_recorded_and_no_more() {
    let tailored = tailor(&with_floor(&sample()), Options::default()).unwrap();
    let filter = Filter::parse(&tailored.section).unwrap();
    let check = |call: &str, first: u64, expected: Action| {
        assert_eq!(filter.decide(call, &arguments(first)).action, expected, "{call} {first:#x}");
    };
    check("read", 0, Action::Allow);
    check("exit_group", 0, Action::Allow);
    check("socket", 1, Action::Allow);
    check("socket", 2, Action::Allow);
    // The default allows IPv6; this workload did not use it.
    check("socket", 10, Action::Errno(38));
    check("socket", 38, Action::Errno(97));
    // The default refuses it, and so does every filter made from it.
    check("mount", 0, Action::Errno(1));
    check("semget", 0, Action::Errno(38));
    // Libraries that try clone3 get ENOSYS and fall back.
    check("clone3", 0, Action::Errno(38));
    check("clone", 0x11, Action::Allow);
    check("clone", 0x1000_0011, Action::Errno(1));
    assert!(tailored.warnings.iter().any(|warning| warning.contains("`mount`")), "{tailored:?}");
    assert_eq!(tailored.warnings.len(), 1);
}

#[test]
fn what_the_runtime_does_not_miss_is_in_no_floor() {
    for floor in [FLOOR, FLOOR_RARE] {
        assert!(FLOOR_SPARED.iter().all(|(call, _)| !floor.contains(call)));
    }
    // A workload that makes such a call keeps it.
    let mut record = sample();
    let allows = |record: &Record, call: &str| {
        tailor(&with_floor(record), Options::default()).unwrap().allowed.contains(call)
    };
    for (call, _) in FLOOR_SPARED {
        assert!(!allows(&record, call), "{call}");
        record.add_call(*call, Source::Recorded);
        assert!(allows(&record, call), "{call}");
    }
}

#[test]
fn operations_are_conditions_when_asked_for() {
    let record = with_floor(&sample());
    let request = |strict: bool, value: u64| {
        let made = tailor(&record, Options { strict_operations: strict }).unwrap();
        let filter = Filter::parse(&made.section).unwrap();
        let arguments = [Some(1), Some(value), Some(0), Some(0), Some(0), Some(0)];
        filter.decide("ioctl", &arguments).action
    };
    assert_eq!(request(false, 0x5413), Action::Allow);
    assert_eq!(request(true, 0x5413), Action::Errno(38));
    assert_eq!(request(true, 0x5401), Action::Allow);
    // With the sign extended and without.
    assert_eq!(request(true, 0x8004_5430), Action::Allow);
    assert_eq!(request(true, 0xffff_ffff_8004_5430), Action::Allow);
}

#[test]
fn what_was_found_in_a_program_has_every_family() {
    let mut record = sample();
    record.add_call("socket", Source::Static);
    let made = tailor(&record, Options::default()).unwrap();
    let filter = Filter::parse(&made.section).unwrap();
    assert_eq!(filter.decide("socket", &arguments(10)).action, Action::Allow);
    assert_eq!(filter.decide("socket", &arguments(17)).action, Action::Errno(97));
}

#[test]
fn the_floor_is_of_real_calls_that_the_default_allows() {
    let filter = default_filter();
    for call in FLOOR.iter().copied().chain(ALWAYS.iter().map(|(call, _)| *call)) {
        assert_eq!(filter.decide(call, &arguments(0)).action, Action::Allow, "{call}");
    }
    assert!(FLOOR_RARE.iter().all(|call| FLOOR.contains(call)));
    let mut seen = sample();
    let known = with_floor(&seen).calls.len();
    seen.floor = Floor::Seen;
    assert!(with_floor(&seen).calls.len() < known, "what was seen is not added again");
    for (call, reason) in ALWAYS {
        assert!(reason.ends_with('.'), "{call}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a record says, the filter made of it is within the default.
    #[test]
    fn no_filter_allows_what_the_default_refuses(
        numbers in proptest::collection::btree_set(0_u32..470, 0..80),
        call in 0_u32..470, first in prop_oneof![Just(0_u64), 0_u64..64, any::<u64>()],
        strict_operations: bool,
    ) {
        let mut record = Record::new("x", Machine::X86_64);
        for number in numbers {
            record.add_call(Machine::X86_64.name_of(number), Source::Recorded);
        }
        let made = tailor(&with_floor(&record), Options { strict_operations }).unwrap();
        let filter = Filter::parse(&made.section).unwrap();
        let name = Machine::X86_64.name_of(call);
        let ours = filter.decide(&name, &arguments(first)).action;
        if ours == Action::Allow {
            prop_assert_eq!(default_filter().decide(&name, &arguments(first)).action, Action::Allow);
        }
    }
}

//! Records of profiles and seccomp filters: total; what is read is written back the same, and a
//! filter made of a record is one that can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_profile::Record;
use palisade_profile::filter::{Action, Filter, in_log_mode};
use palisade_profile::output;
use palisade_profile::syscalls::Machine;
use palisade_profile::tailor::{Options, tailor, with_floor};

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::parse(data) {
        assert_eq!(Record::parse(record.to_json().as_bytes()).as_ref(), Ok(&record));
        let record = with_floor(&record);
        let made = tailor(&record, Options { strict_operations: true }).unwrap();
        Filter::parse(&made.section).unwrap();
        let text = output::apparmor(&record);
        // No path or name of a record ends its rule.
        assert!(text.lines().all(|line| !line.contains('\r')));
        let policy = output::policy(&record, "x.json");
        palisade_policy::parse(&policy, "x.yaml", std::path::Path::new("/")).ok();
        output::kubernetes(&record);
        output::selinux(&record);
        output::oci(&record, &made);
    }
    if let Ok(value) = serde_json::from_slice(data)
        && let Ok(filter) = Filter::parse(&value)
    {
        let relaxed = Filter::parse(&in_log_mode(&value)).unwrap();
        for (_, call) in Machine::X86_64.calls() {
            filter.decide(call, &[Some(0), None, Some(u64::MAX), None, None, None]);
            let action = relaxed.decide(call, &[None; 6]).action;
            assert!(matches!(action, Action::Allow | Action::Log));
        }
    }
});

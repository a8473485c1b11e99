//! Container specs of engines: never a panic, and what is hardened once stays as it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use palisade_base::Timestamp;
use palisade_harden::{EngineFacts, Facts, ImageFacts, Machine, Rlimit, harden_container, harden_exec};
use palisade_policy::Policy;
use serde_json::{Value, json};

fuzz_target!(|data: &[u8]| {
    let Some((which, text)) = data.split_first() else { return };
    let Ok(spec) = serde_json::from_slice::<Value>(text) else { return };
    let name = ["audit", "baseline", "restricted"][usize::from(which % 3)];
    let policy = Policy::builtin(name).expect("a built-in policy").policy;
    let machine = Machine {
        architecture: "x86_64".into(),
        rlimits: [("RLIMIT_NOFILE", Rlimit { soft: 1024, hard: 1024 })].into(),
        may_raise_rlimits: which & 4 == 0,
        can_limit_swap: true,
        disk: None,
    };
    let facts = Facts { image: ImageFacts::default(), machine, seccomp_document: None };
    let engine = EngineFacts::unknown("0123", Timestamp::from_nanos(0));
    if let Ok(hardened) = harden_container(spec.clone(), &policy, &facts, &engine) {
        let again = harden_container(hardened.spec, &policy, &facts, &engine);
        let again = again.expect("what was hardened is not refused");
        assert!(again.changes.is_empty(), "{:?}", again.changes);
    }
    if let Some(process) = spec.get("process") {
        let first = json!({"capabilities": {"bounding": []}});
        if let Ok(hardened) = harden_exec(process.clone(), Some(&first), &policy, &facts, &engine) {
            let kept = hardened.spec.pointer("/capabilities/effective").and_then(Value::as_array);
            assert!(kept.is_none_or(Vec::is_empty), "an exec has more than its container");
        }
    }
});

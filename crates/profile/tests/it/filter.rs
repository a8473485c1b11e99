//! Reading filters.

use palisade_profile::filter::{Action, Filter, LAST_CALLS, in_log_mode, in_log_mode_holding};
use palisade_profile::syscalls::Machine;
use serde_json::{Value, json};

fn section() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0xf0, "valueTwo": 0x10}]},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "op": "SCMP_CMP_GE", "value": 2},
                {"index": 0, "op": "SCMP_CMP_NE", "value": 3},
                {"index": 0, "op": "SCMP_CMP_LT", "value": 5}]},
            {"names": ["ptrace", "socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["kexec_load"], "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    })
}

#[test]
fn rules_decide_by_their_arguments() {
    let filter = Filter::parse(&section()).unwrap();
    let check = |call: &str, first: Option<u64>, action: Action, rule: Option<usize>| {
        let found = filter.decide(call, &[first, None, None, None, None, None]);
        assert_eq!((found.action, found.rule), (action, rule), "{call} {first:?}");
    };
    check("read", None, Action::Allow, Some(0));
    check("socket", Some(1), Action::Allow, Some(1));
    check("socket", Some(2), Action::Errno(1), Some(4));
    check("socket", None, Action::Errno(1), Some(4));
    check("clone", Some(0x111), Action::Allow, Some(2));
    check("clone", Some(0x121), Action::Errno(38), None);
    for (value, is_allowed) in [(1, false), (2, true), (3, false), (4, true), (5, false)] {
        let found = filter.decide("personality", &[Some(value), None, None, None, None, None]);
        assert_eq!(found.action == Action::Allow, is_allowed, "{value}");
    }
    check("kexec_load", None, Action::Other("SCMP_ACT_KILL_PROCESS".into()), Some(5));
    check("unheard_of", None, Action::Errno(38), None);
    let allowed = ["clone", "personality", "read", "socket", "write"];
    assert_eq!(filter.allowed(Machine::X86_64), allowed.into());
    assert_eq!(filter.allowed_plainly(Machine::X86_64), ["read", "write"].into());
    assert_eq!(filter.watched("personality"), Some([Some(0), None]));
}

#[test]
fn log_mode_refuses_nothing() {
    let relaxed = in_log_mode(&section());
    let filter = Filter::parse(&relaxed).unwrap();
    for (_, call) in Machine::X86_64.calls() {
        let action = filter.decide(call, &[Some(7); 6]).action;
        assert!(matches!(action, Action::Allow | Action::Log), "{call}: {action}");
    }
    assert!(!relaxed.to_string().contains("errnoRet"));
    // What was allowed is not logged.
    assert_eq!(filter.decide("read", &[None; 6]).action, Action::Allow);
}

#[test]
fn who_ends_or_becomes_another_program_asks_first() {
    let mut section = section();
    let all = json!({"names": ["execve", "read", "exit_group"], "action": "SCMP_ACT_ALLOW"});
    let one = json!({"names": ["execveat"], "action": "SCMP_ACT_ERRNO"});
    section["syscalls"].as_array_mut().unwrap().extend([all, one]);
    let holding = in_log_mode_holding(&section, "/run/socket");
    assert_eq!(holding["listenerPath"], "/run/socket");
    let rules = holding["syscalls"].as_array().unwrap();
    // Each of them has one rule, and those without a name are gone; all else is as in log mode.
    for call in LAST_CALLS {
        let of_call = |rule: &&Value| rule["names"].as_array().unwrap().contains(&json!(call));
        let of_call: Vec<&Value> = rules.iter().filter(of_call).collect();
        assert_eq!(of_call.len(), 1, "{call}");
        assert_eq!(of_call[0]["action"], "SCMP_ACT_NOTIFY");
        assert!(of_call[0]["args"].is_null());
    }
    assert!(rules.iter().all(|rule| !rule["names"].as_array().unwrap().is_empty()));
    let (held, relaxed) = (Filter::parse(&holding).unwrap(), in_log_mode(&section));
    let relaxed = Filter::parse(&relaxed).unwrap();
    for (_, call) in Machine::X86_64.calls().filter(|(_, call)| !LAST_CALLS.contains(call)) {
        let action = |filter: &Filter| filter.decide(call, &[Some(7); 6]).action;
        assert_eq!(action(&held), action(&relaxed), "{call}");
    }
    for bare in [
        json!({"defaultAction": "SCMP_ACT_ALLOW"}),
        json!({"defaultAction": "x", "syscalls": null}),
    ] {
        let rules = in_log_mode_holding(&bare, "/s")["syscalls"].clone();
        assert_eq!(rules.as_array().unwrap().len(), 1, "{bare}");
    }
}

#[test]
fn what_is_wrong_is_named_by_its_place() {
    let check = |section: Value, place: &str| {
        let error = Filter::parse(&section).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    };
    check(json!([]), "`/`");
    check(json!({}), "/defaultAction");
    check(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 1}), "/syscalls");
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]});
    check(rule(json!({"action": "SCMP_ACT_ALLOW"})), "/syscalls/0");
    check(rule(json!({"names": ["a"]})), "/syscalls/0");
    check(rule(json!({"names": [1], "action": "SCMP_ACT_ALLOW"})), "/syscalls/0");
    check(
        rule(json!({"names": ["a"], "action": "x", "args": [{"index": "0"}]})),
        "/syscalls/0/args",
    );
    let names: Vec<String> = (0..65_537).map(|n| n.to_string()).collect();
    check(rule(json!({"names": names, "action": "SCMP_ACT_ALLOW"})), "too many names");
}

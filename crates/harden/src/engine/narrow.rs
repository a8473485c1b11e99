//! Two system-call filters made one that allows what both allow.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::Malformed;
use crate::seccomp::RULES_MAX;

const ALLOW: &str = "SCMP_ACT_ALLOW";
const LOG: &str = "SCMP_ACT_LOG";
const NOTIFY: &str = "SCMP_ACT_NOTIFY";

/// Narrows `ours` to what `theirs` allows as well; both are seccomp sections of an OCI
/// configuration, and `theirs` may be of any origin.
///
/// A call that both restrict by its arguments follows ours: the conditions of two rules
/// cannot be joined in one filter (runC reads two on one argument as alternatives). A call that
/// theirs hands to a supervisor is handed over as far as ours allows it.
pub fn narrow(ours: &Value, theirs: &Value) -> Result<Value, Malformed> {
    let view = View::of(theirs)?;
    let mut out = ours.clone();
    let bad = || Malformed("/linux/seccomp/syscalls".into());
    let (mut rules, mut borrowed, mut watched) = (Vec::new(), Vec::new(), BTreeSet::new());
    for rule in ours.get("syscalls").and_then(Value::as_array).into_iter().flatten() {
        if text(rule, "action") != ALLOW {
            rules.push(rule.clone());
            continue;
        }
        let (mut kept, mut handed) = (BTreeSet::new(), BTreeSet::new());
        for name in names(rule).ok_or_else(bad)? {
            if view.notified.contains(name) {
                if has_conditions(rule) {
                    handed.insert(name);
                } else {
                    watched.insert(name);
                }
            } else if view.allows(name) {
                kept.insert(name);
            } else if let Some(conditions) = view.conditional.get(name) {
                if has_conditions(rule) {
                    kept.insert(name);
                } else {
                    borrowed.extend(conditions.iter().map(|condition| {
                        let mut condition = (*condition).clone();
                        condition["names"] = json!([name]);
                        condition
                    }));
                }
            }
        }
        for (names, action) in [(kept, ALLOW), (handed, NOTIFY)] {
            if !names.is_empty() {
                let mut rule = rule.clone();
                rule["names"] = json!(names);
                rule["action"] = json!(action);
                rules.push(rule);
            }
        }
    }
    rules.append(&mut borrowed);
    if !watched.is_empty() {
        rules.push(json!({"names": watched, "action": NOTIFY}));
    }
    out["syscalls"] = Value::Array(rules);
    for key in ["flags", "listenerPath", "listenerMetadata"] {
        if let Some(value) = theirs.get(key).filter(|value| !value.is_null()) {
            out[key] = value.clone();
        }
    }
    let list = |value: &Value| -> Vec<Value> {
        value.get("architectures").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let wanted = list(theirs);
    let mut both = list(ours);
    both.retain(|architecture| wanted.contains(architecture));
    if !both.is_empty() {
        out["architectures"] = Value::Array(both);
    }
    Ok(out)
}

/// A filter by call.
struct View<'a> {
    /// Whether a call is allowed of which no rule speaks.
    by_default: bool,
    allowed: BTreeSet<&'a str>,
    refused: BTreeSet<&'a str>,
    notified: BTreeSet<&'a str>,
    conditional: BTreeMap<&'a str, Vec<&'a Value>>,
}

impl<'a> View<'a> {
    fn of(filter: &'a Value) -> Result<Self, Malformed> {
        let bad = |what: &str| Malformed(format!("/linux/seccomp{what}"));
        if !filter.is_object() {
            return Err(bad(""));
        }
        let default = filter.get("defaultAction").and_then(Value::as_str);
        let default = default.ok_or_else(|| bad("/defaultAction"))?;
        let mut view = Self {
            by_default: matches!(default, ALLOW | LOG),
            allowed: BTreeSet::new(),
            refused: BTreeSet::new(),
            notified: BTreeSet::new(),
            conditional: BTreeMap::new(),
        };
        let rules = match filter.get("syscalls") {
            None | Some(Value::Null) => return Ok(view),
            Some(Value::Array(rules)) if rules.len() <= RULES_MAX => rules,
            Some(_) => return Err(bad("/syscalls")),
        };
        for rule in rules {
            for name in names(rule).ok_or_else(|| bad("/syscalls"))? {
                match (text(rule, "action"), has_conditions(rule)) {
                    (ALLOW | LOG, true) => view.conditional.entry(name).or_default().push(rule),
                    (ALLOW | LOG, false) => drop(view.allowed.insert(name)),
                    (NOTIFY, _) => drop(view.notified.insert(name)),
                    (_, true) => {}
                    (_, false) => drop(view.refused.insert(name)),
                }
            }
        }
        Ok(view)
    }

    fn allows(&self, name: &str) -> bool {
        self.allowed.contains(name)
            || (self.by_default
                && !self.refused.contains(name)
                && !self.conditional.contains_key(name))
    }
}

fn text<'a>(rule: &'a Value, key: &str) -> &'a str {
    rule.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn names(rule: &Value) -> Option<Vec<&str>> {
    rule.get("names")?.as_array()?.iter().map(Value::as_str).collect()
}

fn has_conditions(rule: &Value) -> bool {
    rule.get("args").and_then(Value::as_array).is_some_and(|args| !args.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> Value {
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["clone3", "mmap", "open", "read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]},
            {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ]})
    }

    #[track_caller]
    fn check(theirs: &Value, expected: &Value) {
        let narrowed = narrow(&ours(), theirs).unwrap();
        assert_eq!(narrowed["syscalls"], *expected);
        assert_eq!(narrow(&ours(), &narrowed).unwrap(), narrowed, "twice is as once");
    }

    #[test]
    fn only_what_both_allow_is_left() {
        let socket = ours()["syscalls"][1].clone();
        let bpf = ours()["syscalls"][2].clone();
        check(&ours(), &ours()["syscalls"]);
        let mmap = json!({"names": ["mmap"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 2, "value": 4, "op": "SCMP_CMP_EQ"}]});
        check(
            &json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": [
                {"names": ["read", "socket", "bpf", "reboot"], "action": "SCMP_ACT_ALLOW"}, mmap]}),
            &json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}, socket, bpf, mmap]),
        );
        check(
            &json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["open", "socket"], "action": "SCMP_ACT_ERRNO"}]}),
            &json!([{"names": ["clone3", "mmap", "read"], "action": "SCMP_ACT_ALLOW"}, bpf]),
        );
        check(&json!({"defaultAction": "SCMP_ACT_ERRNO"}), &json!([bpf]));
    }

    #[test]
    fn a_supervisor_of_calls_stays_one() {
        let theirs = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/x",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["open", "bpf"], "action": "SCMP_ACT_NOTIFY"}]});
        let narrowed = narrow(&ours(), &theirs).unwrap();
        assert_eq!(narrowed["listenerPath"], "/run/x");
        assert_eq!(narrowed["architectures"], json!(["SCMP_ARCH_X86_64"]));
        let last = narrowed["syscalls"].as_array().unwrap().last().unwrap();
        assert_eq!(*last, json!({"names": ["open"], "action": "SCMP_ACT_NOTIFY"}));
    }

    /// A supervisor may let a call pass: what ours allows by its arguments alone stays so.
    #[test]
    fn a_supervisor_gets_no_more_calls_than_are_allowed() {
        let bpf = ours()["syscalls"][2].clone();
        let mut socket = ours()["syscalls"][1].clone();
        socket["action"] = json!("SCMP_ACT_NOTIFY");
        let theirs = |rule: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        let rule = json!({"names": ["socket", "read"], "action": "SCMP_ACT_NOTIFY"});
        let read = json!({"names": ["read"], "action": "SCMP_ACT_NOTIFY"});
        check(&theirs(rule), &json!([socket, bpf, read]));
        let other = json!({"names": ["socket"], "action": "SCMP_ACT_NOTIFY",
            "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]});
        check(&theirs(other), &json!([socket, bpf]));
    }

    #[test]
    fn malformed_filters_are_errors() {
        for theirs in [
            json!(1),
            json!({}),
            json!({"defaultAction": 1}),
            json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}}),
            json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [1]}),
            json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": [1]}]}),
        ] {
            assert!(narrow(&ours(), &theirs).is_err(), "{theirs}");
        }
    }
}

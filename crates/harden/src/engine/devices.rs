//! Devices of the host.

use palisade_policy::Allowance;
use palisade_policy::document::matches;
use serde_json::{Value, json};

use super::Confine;
use crate::Malformed;
use crate::controls::{Work, allows_every_device};

/// Devices that every container has anyway.
const HARMLESS: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/core",
];

/// Numbers of what runtimes allow by themselves: `(type, major, minor)`, -1 for any.
const HARMLESS_NUMBERS: [(&str, i64, i64); 9] = [
    ("c", 1, 3),
    ("c", 1, 5),
    ("c", 1, 7),
    ("c", 1, 8),
    ("c", 1, 9),
    ("c", 5, 0),
    ("c", 5, 1),
    ("c", 5, 2),
    ("c", 136, -1),
];

/// Whether a device of these numbers is one that every container has: `c` or `b`, major, minor.
pub fn is_harmless_device(kind: &str, major: i64, minor: i64) -> bool {
    HARMLESS_NUMBERS
        .iter()
        .any(|known| known.0 == kind && known.1 == major && (known.2 == -1 || known.2 == minor))
}

/// Whether a device is null, zero, full, random or urandom: they are harmless under any name.
fn is_harmless_anywhere(device: &Value) -> bool {
    let (kind, major, minor) = numbers_of(device);
    matches!(kind.as_str(), "c" | "u") && major == 1 && matches!(minor, 3 | 5 | 7 | 8 | 9)
}

impl Confine<'_> {
    /// Whether the container may be given the device at `path`.
    pub(super) fn may_have_device(&self, path: &str) -> bool {
        HARMLESS.contains(&path)
            || self.policy.engines.devices.iter().any(|pattern| matches(pattern, path))
            || self.allows_like(path, |allowance| match allowance {
                Allowance::Device(pattern) => Some(pattern),
                _ => None,
            })
    }

    /// Whether the device at `path` is the one that has this path on the host, or one that
    /// every container has. Without numbers nothing else can be made of it.
    fn is_named_truly(&self, device: &Value, path: &str) -> bool {
        let numbers = numbers_of(device);
        let (kind, major, minor) = (&numbers.0, numbers.1, numbers.2);
        (major == -1 && minor == -1)
            || is_harmless_device(if kind == "u" { "c" } else { kind }, major, minor)
            || self.engine.host_devices.get(path) == Some(&numbers)
    }

    /// Refuses or takes away devices that the policy does not allow.
    pub(super) fn devices(&self, work: &mut Work, privileged: bool) -> Result<(), Malformed> {
        let bad = || Malformed("/linux/devices".into());
        let list = work.patch.list("/linux/devices")?;
        let (mut kept, mut numbers) = (Vec::new(), Vec::new());
        for device in &list {
            let path = device.get("path").and_then(Value::as_str).ok_or_else(bad)?;
            if self.may_have_device(path) && !self.is_named_truly(device, path) {
                let (kind, major, minor) = numbers_of(device);
                let shown: String = path.chars().take(120).collect();
                work.refuse(
                    "devices",
                    format!("another device ({kind} {major}:{minor}) would be given as `{shown}`"),
                    "give a device under the path that it has on the host",
                );
                continue;
            }
            if !self.may_have_device(path) && !is_harmless_anywhere(device) {
                let shown: String = path.chars().take(120).collect();
                if !privileged {
                    let what = format!("the host's device `{shown}` was asked for");
                    self.asked(work, "devices", what, &Allowance::Device(shown));
                }
                continue;
            }
            let (kind, major, minor) = numbers_of(device);
            // One without numbers gives a right to none: -1 stands for any in a rule.
            if major >= 0 && minor >= 0 {
                numbers.push((kind, major, minor));
            }
            kept.push(device.clone());
        }
        let why = "devices of the host are given by the policy alone";
        if kept != list {
            work.patch.set("/linux/devices", json!(kept), why)?;
        }
        let at = "/linux/resources/devices";
        let mut rules = work.patch.list(at)?;
        let before = rules.len();
        rules.retain(|rule| {
            let allow = rule.get("allow").and_then(Value::as_bool) == Some(true);
            !allow || self.may_use(rule, &numbers)
        });
        let taken = before != rules.len();
        if taken && !privileged && kept.len() == list.len() {
            // By rule alone (`--device-cgroup-rule`), for nodes made later.
            let what = "rights to devices of the host were asked for".to_string();
            self.asked(work, "devices", what, &Allowance::Device("/dev/*".into()));
        }
        let deny = json!({"allow": false, "access": "rwm"});
        let denies_all = |rule: &Value| {
            rule.get("allow").and_then(Value::as_bool) == Some(false)
                && rule.get("major").is_none_or(Value::is_null)
                && matches!(rule.get("type").and_then(Value::as_str), None | Some("a" | ""))
        };
        if !rules.first().is_some_and(denies_all) {
            rules.insert(0, deny);
        }
        work.patch.set(at, Value::Array(rules), "no device but the harmless ones")
    }

    /// Whether a rule of the cgroup's that allows something may stay.
    fn may_use(&self, rule: &Value, given: &[(String, i64, i64)]) -> bool {
        // Making nodes is harmless without the right to open them.
        if rule.get("access").and_then(Value::as_str) == Some("m") {
            return true;
        }
        if self.allows_like("/dev/*", |allowance| match allowance {
            Allowance::Device(pattern) => Some(pattern),
            _ => None,
        }) {
            return !allows_every_device(rule);
        }
        let (kind, major, minor) = numbers_of(rule);
        let covers = |known: (&str, i64, i64)| {
            known.0 == kind && known.1 == major && (known.2 == -1 || known.2 == minor)
        };
        HARMLESS_NUMBERS.into_iter().any(covers)
            || (major >= 0 && given.iter().any(|(k, major, minor)| covers((k, *major, *minor))))
    }
}

fn numbers_of(device: &Value) -> (String, i64, i64) {
    let number = |key: &str| device.get(key).and_then(Value::as_i64).unwrap_or(-1);
    let kind = device.get("type").and_then(Value::as_str).unwrap_or("a");
    (kind.to_string(), number("major"), number("minor"))
}

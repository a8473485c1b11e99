//! An alert with everything, and one with nothing.

use palisade_base::Timestamp;
use palisade_model::{
    Alert, Enforcement, EnforcementAction, EnforcementOutcome, Means, Priority, Repeats,
};

pub(crate) const FULL: &str = r#"{
  "id": "18ea5066fb4b9e3400000007", "time": "2026-11-22T05:53:55.000000001Z",
  "raised": "2026-11-22T05:53:55.000400001Z", "rule": "Shell started by a server",
  "priority": "Critical", "source": "syscall", "output": "shell | in=web ]\\ \"x\"",
  "output_fields": {"proc.name": "sh", "evt.arg.flags": null},
  "tags": ["T1059.004", "T1190", "container", "mitre_execution", "process"],
  "hostname": "node-1", "event_type": "execve", "outcome": {"failed": {"errno": 13}},
  "process": {"pid": 42, "vpid": 7, "ppid": 41, "start": "2026-11-22T05:53:54.500000000Z",
    "name": "sh", "exe": "/bin/sh", "cmdline": "sh -c id=1", "cwd": "/srv", "uid": 17432609},
  "ancestors": [
    {"pid": 41, "ppid": 40, "start": "2026-11-22T05:50:00.000000000Z", "name": "perl",
      "exe": "/usr/bin/perl", "cmdline": "perl track.pl", "uid": 17432609},
    {"pid": 40, "ppid": 1, "start": "2026-11-22T05:40:00.000000000Z", "name": "lighttpd",
      "exe": "/usr/sbin/lighttpd", "cmdline": "lighttpd -D", "uid": 17432576}],
  "container": {"id": "99f34a31c179aabbccddeeff00112233445566778899aabbccddeeff00112233",
    "name": "shop", "engine": "palisade",
    "image": {"reference": "docker.io/library/shop:1.2",
      "digest": "sha256:6d8b88b09fbb06be38dad381edde7f496e28ec345408ccef2be7617aca3373d4"},
    "policy": "demo-shop",
    "pod": {"namespace": "store", "name": "shop-0", "uid": "8f14e45f-ceea-4670-a1b2-0123456789ab"},
    "cgroup": "/palisade/99f3", "init_pid": 30}
}"#;

pub(crate) const BARE: &str = r#"{
  "id": "18ea5066fb4b9e3400000008", "time": "2026-11-22T05:53:56.000000000Z",
  "raised": "2026-11-22T05:53:56.000000000Z", "rule": "Module", "priority": "Notice",
  "source": "syscall", "output": "", "output_fields": {}, "tags": [], "hostname": "",
  "event_type": "init_module", "outcome": "unknown"
}"#;

pub(crate) fn alert() -> Alert {
    serde_json::from_str(FULL).unwrap()
}

/// An alert of an event about which something was done.
pub(crate) fn enforced(outcome: EnforcementOutcome) -> Alert {
    let enforcement = Enforcement {
        action: EnforcementAction::Deny,
        means: Some(Means::Fanotify),
        outcome,
        detail: String::new(),
        latency_ns: 213_400,
    };
    Alert { enforcement: Some(enforcement), ..alert() }
}

pub(crate) fn bare() -> Alert {
    serde_json::from_str(BARE).unwrap()
}

pub(crate) fn repeats() -> Repeats {
    Repeats {
        alert: alert().id,
        rule: "Shell started by a server".into(),
        priority: Priority::Critical,
        hostname: "node-1".into(),
        since: alert().time,
        time: Timestamp::from_nanos(alert().time.as_nanos() + 10_000_000_000),
        n_repeats: 12,
    }
}

pub(crate) fn techniques(id: &str) -> Option<(&'static str, &'static str)> {
    match id {
        "T1059" => Some(("Command and Scripting Interpreter", "Execution")),
        "T1059.004" => Some(("Unix Shell", "Execution")),
        _ => None,
    }
}

/// Compares with a committed file, or writes it with `UPDATE_GOLDEN=1`.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a variable of the tests")]
pub(crate) fn golden(name: &str, actual: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read(&path).unwrap_or_default();
    assert_eq!(String::from_utf8_lossy(actual), String::from_utf8_lossy(&expected), "{name}");
}

//! A profile made of a record, loaded, and denying what the record does not have.
//!
//! Only where the kernel runs AppArmor (`scripts/vm.sh --suite palisade --test root::apparmor`).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::bed::Bed;
use super::docker::make_root;
use crate::support::{Ended, finish};

const PARSER: &str = "/usr/sbin/apparmor_parser";

/// Whether a profile can be loaded here; says why not.
fn can_load() -> bool {
    let enabled = std::fs::read("/sys/module/apparmor/parameters/enabled");
    if !enabled.is_ok_and(|value| value.starts_with(b"Y")) {
        eprintln!("skipped: this kernel runs without AppArmor");
        return false;
    }
    for file in [PARSER, "/etc/apparmor.d/tunables/global", "/usr/sbin/runc"] {
        if !Path::new(file).exists() {
            eprintln!("skipped: there is no {file} (scripts/install-deps.sh vm)");
            return false;
        }
    }
    true
}

/// A loaded profile; taken away when dropped.
struct Loaded(PathBuf);

impl Loaded {
    fn new(file: PathBuf) -> Self {
        let mut load = Command::new(PARSER);
        load.args(["--replace", "--skip-cache"]).arg(&file);
        finish(load).expect(0);
        Self(file)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = Command::new(PARSER).arg("--remove").arg(&self.0).output();
    }
}

/// Runs a shell in a container that may do everything but what a profile forbids.
fn shell(bed: &Bed, name: &str, profile: Option<&str>, script: &str) -> Ended {
    let caps = ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"];
    let mut spec: Value = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/bin/sh", "-c", script],
            "env": ["PATH=/bin"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": bed.path().join("root")},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "network"}]},
    });
    if let Some(profile) = profile {
        spec["process"]["apparmorProfile"] = json!(profile);
    }
    let bundle = bed.path().join(name);
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
    let mut runc = Command::new("runc");
    runc.arg("--root").arg(bed.path().join("runc")).args(["run", "--bundle"]).arg(&bundle);
    runc.arg(format!("{name}-{}", std::process::id()));
    finish(runc)
}

#[test]
fn a_profile_made_of_a_record_denies_what_the_record_does_not_have() {
    let Some(bed) = Bed::new() else { return };
    if !can_load() {
        return;
    }
    make_root(bed.path());
    let record = json!({
        "schema": "palisade.dev/profile-record/v1", "name": "it-web", "architecture": "x86_64",
        "n_merged": 1, "floor": "seen", "gaps": [], "calls": {"write": ["recorded"]},
        "arguments": {}, "refused": [], "capabilities_known": true, "capabilities": [],
        "files": {"written": ["/srv/out"], "changed": [], "executed": ["/bin/busybox"]},
        "network": {"bound": [], "connected": [], "unix_bound": [], "unix_connected": []},
    });
    std::fs::write(bed.path().join("web.json"), record.to_string()).unwrap();
    let args = ["profile", "export", "web.json", "--format", "apparmor", "--output", "web.profile"];
    bed.run(&args).expect(0);
    let _loaded = Loaded::new(bed.path().join("web.profile"));

    let script = "echo x >/srv/out && echo srv is written
        cp /bin/busybox /srv/true && /srv/true && echo a copy runs
        (echo x >/tmp/out) 2>/dev/null && echo tmp is written
        chown 33 /bin/cat 2>/dev/null && echo the owner is changed
        cat /etc/passwd >/dev/null && echo files are read
        cat /proc/self/attr/current";
    let free = shell(&bed, "free", None, script).expect(0).stdout;
    let held = shell(&bed, "held", Some("palisade-it-web"), script).expect(0).stdout;
    for can in ["srv is written\n", "files are read\n"] {
        assert!(free.contains(can) && held.contains(can), "{can}: {free} {held}");
    }
    for cannot in ["a copy runs\n", "tmp is written\n", "the owner is changed\n"] {
        assert!(free.contains(cannot), "{cannot}: {free}");
        assert!(!held.contains(cannot), "{cannot}: {held}");
    }
    assert!(held.contains("palisade-it-web (enforce)"), "{held}");
}

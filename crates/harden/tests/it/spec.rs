//! Specs, policies and what becomes of them.

use palisade_harden::{
    Base, ImageDefaults, Rlimit, Rootless, User, base_spec, harden, harden_process,
};
use palisade_policy::{Network, RootlessLimits, Seccomp, UserMode, UserNamespace};
use serde_json::{Value, json};

use super::{IDS, facts, restricted};

fn base() -> Value {
    let image = ImageDefaults { cmd: vec!["/bin/true".into()], ..ImageDefaults::default() };
    base_spec(&Base {
        image: &image,
        command: &[],
        env: &[],
        working_dir: None,
        rootfs: "/r",
        hostname: "h",
        cgroups_path: "/palisade/x",
    })
    .unwrap()
}

#[test]
fn every_control_of_a_restricted_policy_is_in_the_spec() {
    let hardened = harden(base(), &restricted(), &facts(), Some(IDS)).unwrap();
    let spec = &hardened.spec;
    for (path, expected) in [
        ("/process/user/uid", json!(65532)),
        ("/process/user/gid", json!(65532)),
        ("/process/noNewPrivileges", json!(true)),
        ("/process/capabilities/bounding", json!([])),
        ("/process/capabilities/effective", json!([])),
        ("/process/capabilities/permitted", json!([])),
        ("/process/capabilities/inheritable", json!([])),
        ("/process/capabilities/ambient", json!([])),
        ("/root/readonly", json!(true)),
        ("/linux/uidMappings/0/hostID", json!(1_000_000)),
        ("/linux/gidMappings/0/size", json!(65_536)),
        ("/linux/resources/memory/limit", json!(64 << 20)),
        ("/linux/resources/memory/swap", json!(64 << 20)),
        ("/linux/resources/pids/limit", json!(64)),
        ("/linux/resources/cpu/quota", json!(50_000)),
        ("/linux/resources/devices/0/allow", json!(false)),
        ("/linux/seccomp/defaultErrnoRet", json!(38)),
        ("/process/rlimits/0/hard", json!(1024)),
        ("/process/rlimits/1/type", json!("RLIMIT_CORE")),
    ] {
        assert_eq!(spec.pointer(path), Some(&expected), "{path}");
    }
    let namespaces: Vec<&str> = spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["type"].as_str().unwrap())
        .collect();
    for kind in ["pid", "ipc", "uts", "mount", "network", "cgroup", "user"] {
        assert!(namespaces.contains(&kind), "{kind}");
    }
    for mount in spec["mounts"].as_array().unwrap() {
        let options = mount["options"].as_array().unwrap();
        assert!(options.contains(&json!("nosuid")), "{mount}");
    }
    let tmp = spec["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/tmp");
    assert!(tmp.unwrap()["options"].as_array().unwrap().contains(&json!("noexec")));
    assert!(hardened.changes.iter().all(|change| !change.reason.is_empty()));
    assert!(hardened.warnings.is_empty());
}

#[test]
fn hardening_twice_changes_nothing_more() {
    let once = harden(base(), &restricted(), &facts(), Some(IDS)).unwrap();
    let twice = harden(once.spec.clone(), &restricted(), &facts(), Some(IDS)).unwrap();
    assert_eq!(twice.changes, []);
    assert_eq!(twice.spec, once.spec);
}

#[test]
fn unknown_fields_pass_through() {
    let mut spec = base();
    spec["linux"]["futureKnob"] = json!({"a": [1, 2]});
    spec["annotations"] = json!({"k": "v"});
    spec["hooks"] = json!({"prestart": [{"path": "/usr/bin/libnetwork"}]});
    let out = harden(spec.clone(), &restricted(), &facts(), Some(IDS)).unwrap().spec;
    for path in ["/linux/futureKnob", "/annotations", "/hooks"] {
        assert_eq!(out.pointer(path), spec.pointer(path), "{path}");
    }
}

#[test]
fn what_an_engine_made_weak_is_taken_back() {
    let mut spec = base();
    spec["process"]["capabilities"] = json!({"bounding": ["CAP_SYS_ADMIN"], "ambient": ["CAP_X"]});
    spec["linux"]["namespaces"] = json!([{"type": "pid", "path": "/proc/1/ns/pid"}]);
    spec["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}]);
    spec["mounts"].as_array_mut().unwrap().push(
        json!({"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "suid", "dev"]}),
    );
    let out = harden(spec, &restricted(), &facts(), Some(IDS)).unwrap().spec;
    assert_eq!(out["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(out["process"]["capabilities"]["ambient"], json!([]));
    assert_eq!(out["linux"]["namespaces"][0], json!({"type": "pid"}));
    let devices = out["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(devices[0], json!({"allow": false, "access": "rwm"}));
    assert_eq!(devices.len(), 2);
    let data = out["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/data");
    assert_eq!(data.unwrap()["options"], json!(["rbind", "nosuid", "nodev"]));
}

#[test]
fn every_reason_of_a_refusal_is_given_at_once() {
    let mut policy = restricted();
    policy.user = UserMode::RequireNonRoot;
    policy.seccomp = Seccomp::File("absent.json".into());
    let refusal = harden(base(), &policy, &facts(), None).unwrap_err();
    let controls: Vec<&str> = refusal.reasons.iter().map(|reason| reason.control).collect();
    assert_eq!(controls, ["user_namespace", "user", "seccomp"]);
}

#[test]
fn ids_outside_the_range_are_refused() {
    let mut facts = facts();
    facts.image.user = User { uid: 1000, gid: 70_000, ..User::default() };
    let refusal = harden(base(), &restricted(), &facts, Some(IDS)).unwrap_err();
    assert!(refusal.to_string().contains("70000"), "{refusal}");
}

#[test]
fn malformed_specs_are_refused_without_a_panic() {
    for spec in [
        json!(null),
        json!([]),
        json!({}),
        json!({"process": 1}),
        json!({"process": {}, "linux": "text"}),
        json!({"process": {}, "mounts": {}}),
        json!({"process": {}, "mounts": [1]}),
        json!({"process": {"capabilities": []}}),
        json!({"process": {}, "linux": {"resources": []}}),
        json!({"process": {}, "linux": {"namespaces": [1, {"type": 4}], "maskedPaths": 3}}),
    ] {
        let result = harden(spec.clone(), &restricted(), &facts(), Some(IDS));
        assert_eq!(result.unwrap_err().reasons[0].control, "spec", "{spec}");
    }
}

#[test]
fn a_host_network_gives_up_the_network_namespace_and_a_fresh_sysfs() {
    let mut policy = restricted();
    policy.network = Network::Host;
    let out = harden(base(), &policy, &facts(), Some(IDS)).unwrap().spec;
    assert!(!out["linux"]["namespaces"].to_string().contains("network"));
    let sys = out["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys");
    assert_eq!(sys.unwrap()["type"], json!("bind"));
    assert_eq!(out.pointer("/linux/sysctl"), None);
    policy.user_namespace = UserNamespace::Host;
    let out = harden(base(), &policy, &facts(), None).unwrap().spec;
    let sys = out["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == "/sys");
    assert_eq!(sys.unwrap()["type"], json!("sysfs"));
    assert_eq!(out.pointer("/linux/uidMappings"), None);
}

#[test]
fn volumes_stay_writable_for_their_user_and_odd_ones_are_reported() {
    let mut facts = facts();
    facts.image.user = User { uid: 999, gid: 998, ..User::default() };
    facts.image.volumes = vec!["/data".into(), "/".into(), "relative".into(), "/a/../b".into()];
    let hardened = harden(base(), &restricted(), &facts, Some(IDS)).unwrap();
    let mounts = hardened.spec["mounts"].to_string();
    assert!(mounts.contains("uid=999") && mounts.contains("gid=998"));
    assert_eq!(hardened.warnings.len(), 3);
}

#[test]
fn a_machine_that_cannot_is_a_warning_not_a_failure() {
    let mut facts = facts();
    facts.machine.can_limit_swap = false;
    facts.machine.rlimits.insert("RLIMIT_NOFILE", Rlimit { soft: 256, hard: 512 });
    facts.machine.may_raise_rlimits = false;
    let hardened = harden(base(), &restricted(), &facts, Some(IDS)).unwrap();
    assert_eq!(hardened.warnings.len(), 2);
    assert_eq!(hardened.spec.pointer("/linux/resources/memory/swap"), None);
    assert_eq!(hardened.spec.pointer("/process/rlimits/0/hard"), Some(&json!(512)));
}

/// Nothing that a program has is left unsaid: the policy's limits, and the caller's of all others.
#[test]
fn every_limit_of_processes_is_written_down_once() {
    let mut facts = facts();
    let own = [("RLIMIT_NOFILE", 7, 9), ("RLIMIT_AS", u64::MAX, u64::MAX), ("RLIMIT_NICE", 3, 5)];
    facts.machine.rlimits =
        own.map(|(name, soft, hard)| (name, Rlimit { soft, hard })).into_iter().collect();
    let mut spec = base();
    spec["process"]["rlimits"] = json!([
        {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1},
        {"type": "RLIMIT_FUTURE", "soft": 1, "hard": 1},
    ]);
    let hardened = harden(spec, &restricted(), &facts, Some(IDS)).unwrap();
    let limit = |kind: &str, soft: u64, hard: u64| json!({"type": format!("RLIMIT_{kind}"), "hard": hard, "soft": soft});
    let expected = json!([
        limit("NOFILE", 1024, 1024),
        limit("FUTURE", 1, 1),
        limit("CORE", 0, 0),
        limit("AS", u64::MAX, u64::MAX),
        limit("NICE", 3, 5),
    ]);
    assert_eq!(hardened.spec["process"]["rlimits"], expected);
    let why = |path: &str| {
        let change = hardened.changes.iter().find(|change| change.path == path).unwrap();
        (change.to.clone().unwrap(), change.reason.as_str())
    };
    let policy = "limits of each process by the policy";
    assert_eq!(why("/process/rlimits/2"), (limit("CORE", 0, 0), policy));
    let inherited = "the caller's, as the policy names none";
    assert_eq!(why("/process/rlimits/4"), (limit("NICE", 3, 5), inherited));
}

/// The caller's own limit, which is written down too, does not stand in for the policy's.
#[test]
fn without_a_control_group_the_lower_limit_of_processes_holds() {
    let rootless = Rootless {
        controllers: None,
        limits: RootlessLimits::Warn,
        ids: Some(IDS),
        first_host_id: 100_000,
        root_is_user: false,
    };
    for (own, expected) in [((9000, 10_000), (64, 64)), ((10, 20), (10, 20)), ((10, 99), (10, 64))]
    {
        let mut facts = facts();
        let own = Rlimit { soft: own.0, hard: own.1 };
        facts.machine.rlimits.insert("RLIMIT_NPROC", own);
        let hardened = harden(base(), &restricted(), &facts, Some(IDS)).unwrap();
        let spec = rootless.fit(hardened).unwrap().spec;
        let limits = spec["process"]["rlimits"].as_array().unwrap();
        let limits: Vec<_> = limits.iter().filter(|it| it["type"] == "RLIMIT_NPROC").collect();
        let limit = json!({"type": "RLIMIT_NPROC", "hard": expected.1, "soft": expected.0});
        assert_eq!(limits, [&limit]);
    }
}

#[test]
fn exec_gets_no_more_than_the_container() {
    let process = json!({
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "capabilities": {"bounding": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"]},
        "terminal": true,
    });
    let hardened = harden_process(process, &restricted(), &facts(), Some(IDS)).unwrap();
    assert_eq!(hardened.spec["capabilities"]["effective"], json!([]));
    assert_eq!(hardened.spec["noNewPrivileges"], json!(true));
    assert_eq!(hardened.spec["user"]["uid"], json!(65532));
    assert_eq!(hardened.spec["terminal"], json!(true));
}

#[test]
fn capabilities_are_for_root_of_the_container_alone() {
    let mut policy = restricted();
    policy.capabilities = vec!["NET_BIND_SERVICE".into()];
    let sets = |policy: &palisade_policy::Containers| {
        let spec = harden(base(), policy, &facts(), Some(IDS)).unwrap().spec;
        ["bounding", "effective", "permitted", "inheritable", "ambient"]
            .map(|set| spec["process"]["capabilities"][set].as_array().unwrap().len())
    };
    assert_eq!(sets(&policy), [1, 0, 0, 0, 0]);
    policy.user = UserMode::Image;
    assert_eq!(sets(&policy), [1, 1, 1, 0, 0]);
}

//! Containers of engines: what a policy takes, what it refuses, and what it leaves alone.

mod askings;

use palisade_base::Timestamp;
use palisade_harden::{
    ContainerKind, ENGINE_CAPABILITIES, EngineFacts, Hardened, Refusal, Rlimit, Root,
    harden_container, harden_exec,
};
use palisade_policy::Policy;
use serde_json::{Value, json};

use super::facts;

/// What Docker renders for `docker run IMAGE sh`, in short.
fn docker() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0, "additionalGids": [0]},
            "args": ["sh"],
            "capabilities": {
                "bounding": ENGINE_CAPABILITIES,
                "effective": ENGINE_CAPABILITIES,
                "permitted": ENGINE_CAPABILITIES,
            },
        },
        "root": {"path": "/var/lib/docker/overlay2/x/merged"},
        "hooks": {"prestart": [{"path": "/proc/1/exe", "args": ["libnetwork-setkey"]}]},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc",
             "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs",
             "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/etc/hosts", "type": "bind",
             "source": "/var/lib/docker/containers/0123/hosts", "options": ["rbind", "rprivate"]},
        ],
        "linux": {
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
            "resources": {"devices": [
                {"allow": false, "access": "rwm"},
                {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                {"allow": true, "type": "c", "major": 5, "minor": 1, "access": "rwm"},
            ]},
            "namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"},
                           {"type": "pid"}, {"type": "ipc"}],
            "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
                "syscalls": [{"names": ["read", "write", "execve", "keyctl"],
                              "action": "SCMP_ACT_ALLOW"}]},
            "maskedPaths": ["/proc/kcore"],
            "futureKnob": 1,
        },
    })
}

fn policy(text: &str) -> Policy {
    let text = format!("version: 1\nname: mine\n{text}");
    palisade_policy::parse(&text, "mine", std::path::Path::new("")).unwrap().policy
}

fn known() -> EngineFacts {
    let now: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
    EngineFacts {
        name: Some("web-1".into()),
        image: Some("registry.example/web:1".into()),
        labels: vec!["role=web".into()],
        root: Root::Engines,
        ..EngineFacts::unknown("0123456789abcdef", now)
    }
}

fn harden(spec: Value, policy: &Policy) -> Result<Hardened, Refusal> {
    harden_container(spec, policy, &facts(), &known())
}

/// Messages of the refusal of `spec` with `change` made to it.
#[track_caller]
fn refused(policy: &Policy, path: &str, value: Value) -> Vec<String> {
    let mut spec = docker();
    put(&mut spec, path, value);
    let refusal = harden(spec, policy).unwrap_err();
    refusal.reasons.iter().map(|reason| reason.message.clone()).collect()
}

/// Puts `value` at a pointer whose parent exists; `-` appends to a list.
fn put(spec: &mut Value, path: &str, value: Value) {
    let (parent, key) = path.rsplit_once('/').unwrap();
    let parent = spec.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list.push(value),
        _ => parent[key] = value,
    }
}

#[test]
fn a_plain_docker_container_runs_under_baseline_with_less() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let hardened = harden(docker(), &baseline).unwrap();
    let spec = &hardened.spec;
    let bounding = spec.pointer("/process/capabilities/bounding").unwrap().to_string();
    for taken in ["NET_RAW", "MKNOD", "AUDIT_WRITE"] {
        assert!(!bounding.contains(taken), "{bounding}");
    }
    assert!(bounding.contains("CAP_CHOWN"));
    for (path, expected) in [
        ("/process/noNewPrivileges", json!(true)),
        ("/process/user/uid", json!(0)),
        ("/process/rlimits/0", json!({"type": "RLIMIT_CORE", "hard": 0, "soft": 0})),
        ("/linux/resources/pids/limit", json!(1024)),
        ("/linux/namespaces/5", json!({"type": "cgroup"})),
        ("/linux/futureKnob", json!(1)),
        ("/hooks", docker()["hooks"].clone()),
        ("/linux/sysctl", docker()["linux"]["sysctl"].clone()),
    ] {
        assert_eq!(spec.pointer(path), Some(&expected), "{path}");
    }
    assert_eq!(spec.pointer("/root/readonly"), None);
    let allowed = &spec["linux"]["seccomp"]["syscalls"][0]["names"];
    assert_eq!(*allowed, json!(["execve", "read", "write"]), "keyctl is in Docker's alone");
    assert!(spec["linux"]["maskedPaths"].to_string().contains("/proc/interrupts"));
    assert!(hardened.warnings.is_empty(), "{:?}", hardened.warnings);
    let twice = harden(spec.clone(), &baseline).unwrap();
    assert_eq!(twice.changes, []);
}

#[test]
fn less_than_the_policy_allows_is_never_given_back() {
    let mut spec = docker();
    spec["process"]["capabilities"] = json!({"bounding": ["CAP_CHOWN"], "effective": []});
    spec["linux"]["resources"]["pids"] = json!({"limit": 10});
    spec["linux"]["resources"]["memory"] = json!({"limit": 1 << 20});
    spec["root"]["readonly"] = json!(true);
    let restricted = policy(
        "containers: {capabilities: [CHOWN, SETUID], limits: {pids: 64, memory: 8Mi, cpu: 0.5}}\n",
    );
    let out = harden(spec, &restricted).unwrap().spec;
    assert_eq!(out["process"]["capabilities"]["bounding"], json!(["CAP_CHOWN"]));
    assert_eq!(out["process"]["capabilities"]["effective"], json!([]));
    assert_eq!(out["linux"]["resources"]["pids"]["limit"], json!(10));
    assert_eq!(out["linux"]["resources"]["memory"]["limit"], json!(1 << 20));
    assert_eq!(out["linux"]["resources"]["memory"]["swap"], json!(1 << 20));
    assert_eq!(out["linux"]["resources"]["cpu"]["quota"], json!(50_000));
    assert_eq!(out["root"]["readonly"], json!(true));
}

#[test]
fn what_was_asked_for_is_refused_with_its_reason() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let bind = |source: &str, options: &[&str]| json!({"destination": "/x", "type": "bind", "source": source, "options": options});
    let check = |path: &str, value: Value, expected: &str| {
        let messages = refused(&baseline, path, value);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert!(messages[0].contains(expected), "{messages:?}");
    };
    check("/process/capabilities/bounding/-", json!("CAP_SYS_ADMIN"), "SYS_ADMIN");
    check("/process/capabilities/ambient", json!(["CAP_FUTURE"]), "FUTURE");
    check("/mounts/-", bind("/run/docker.sock", &["rbind", "ro"]), "docker.sock");
    check("/mounts/-", bind("/etc", &["rbind"]), "/etc");
    check("/mounts/-", bind("/", &["rbind", "ro"]), "engines");
    check("/mounts/-", bind("/srv/../etc/shadow", &["rbind", "ro"]), "/etc/shadow");
    check("/mounts/-", bind("/srv", &["rbind", "rshared"]), "spread");
    check("/mounts/-", json!({"destination": "/x", "type": "proc", "source": "proc"}), "`proc`");
    check("/mounts/-", json!({"destination": "/x", "type": "ext4", "source": "/dev/sda"}), "ext4");
    let device = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229});
    check("/linux/devices", json!([device]), "/dev/fuse");
    let rule = json!({"allow": true, "type": "b", "major": 8, "minor": 0, "access": "rwm"});
    check("/linux/resources/devices/-", rule, "devices of the host");
    check("/linux/sysctl/kernel.core_pattern", json!("|/x"), "kernel.core_pattern");
    check("/linux/sysctl/net.ipv4.x+kernel.y", json!("1"), "net.ipv4.x+kernel.y");
    for kind in ["pid", "ipc", "uts", "network"] {
        let mut spec = docker();
        spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != kind);
        let refusal = harden(spec, &baseline).unwrap_err();
        assert_eq!(refusal.reasons.len(), 1, "{refusal}");
        assert!(refusal.to_string().contains(kind), "{refusal}");
        let fix = &refusal.reasons[0].fix;
        assert!(fix.contains(&format!("`host-{kind}`")) && fix.contains("`baseline`"), "{fix}");
    }
}

#[test]
fn a_link_to_a_sensitive_place_is_followed() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let mut spec = docker();
    let mount = json!({"destination": "/x", "type": "bind", "source": "/srv/link",
        "options": ["rbind"]});
    put(&mut spec, "/mounts/-", mount);
    let mut engine = known();
    engine.sources.insert("/srv/link".into(), "/etc/kubernetes".into());
    let refusal = harden_container(spec.clone(), &baseline, &facts(), &engine).unwrap_err();
    assert!(refusal.to_string().contains("/etc/kubernetes"), "{refusal}");
    engine.sources.insert("/srv/link".into(), "/srv/data".into());
    let out = harden_container(spec, &baseline, &facts(), &engine).unwrap().spec;
    assert_eq!(out["mounts"][3]["source"], json!("/srv/data"));
    assert_eq!(out["mounts"][3]["options"], json!(["rbind", "nosuid", "nodev"]));
}

/// Docker's `--privileged`.
fn privileged() -> Value {
    let mut spec = docker();
    let all: Vec<String> =
        ["SYS_ADMIN", "SYS_MODULE", "SYS_RAWIO", "NET_ADMIN"].map(|n| format!("CAP_{n}")).into();
    spec["process"]["capabilities"] = json!({"bounding": all, "effective": all});
    spec["linux"]["resources"]["devices"] = json!([{"allow": true, "access": "rwm"}]);
    spec["linux"]["devices"] = json!([{"path": "/dev/sda", "type": "b", "major": 8, "minor": 0}]);
    for key in ["maskedPaths", "seccomp"] {
        spec["linux"].as_object_mut().unwrap().remove(key);
    }
    spec
}

#[test]
fn privileged_mode_is_one_reason_and_can_be_taken_away() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let refusal = harden(privileged(), &baseline).unwrap_err();
    let controls: Vec<_> = refusal.reasons.iter().map(|reason| reason.control).collect();
    assert_eq!(controls, ["privileged"]);
    let remove = policy("engines: {asked: remove}\n");
    let hardened = harden(privileged(), &remove).unwrap();
    let spec = &hardened.spec;
    assert_eq!(spec["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(spec["linux"]["devices"], json!([]));
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{"allow": false, "access": "rwm"}]));
    assert!(spec["linux"]["seccomp"].is_object());
    assert!(spec["linux"]["maskedPaths"].to_string().contains("/proc/kcore"));
    assert_eq!(hardened.warnings.len(), 1);
}

#[test]
fn exceptions_hold_for_whom_they_name_until_their_day() {
    let with = |image: &str, allow: &str, expires: &str| {
        policy(&format!(
            "engines:\n  exceptions:\n    - images: [\"{image}\"]\n      allow: [{allow}]\n      \
             reason: it is the agent\n      expires: \"{expires}\"\n"
        ))
    };
    let mut spec = docker();
    spec["linux"]["namespaces"].as_array_mut().unwrap().retain(|entry| entry["type"] != "pid");
    put(&mut spec, "/process/capabilities/bounding/-", json!("CAP_SYS_PTRACE"));
    let both = "host-pid, \"capability:SYS_PTRACE\"";
    let out = harden(spec.clone(), &with("registry.example/web:*", both, "2026-11-28"));
    let out = out.unwrap().spec;
    assert!(!out["linux"]["namespaces"].to_string().contains("pid"));
    assert!(out["process"]["capabilities"]["bounding"].to_string().contains("SYS_PTRACE"));
    let refusal =
        harden(spec.clone(), &with("registry.example/web:*", both, "2026-11-27")).unwrap_err();
    assert_eq!(refusal.reasons.len(), 2);
    assert!(refusal.reasons[0].fix.contains("`it is the agent` ended on 2026-11-27"));
    assert!(harden(spec.clone(), &with("other:*", both, "2026-11-28")).is_err());
    assert!(harden(spec, &with("registry.example/web:*", "host-pid", "2026-11-28")).is_err());
    let out = harden(privileged(), &with("registry.example/*", "privileged", "2026-11-28"));
    let out = out.unwrap();
    assert_eq!((out.spec, out.changes), (privileged(), vec![]));
}

#[test]
fn the_user_is_the_policys_business() {
    let must = policy("containers: {user: non_root}\n");
    let refusal = harden(docker(), &must).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the policy refuses this container: the program would run as root"
    );
    let other = policy("containers: {user: fallback, fallback_user: 1234}\n");
    let process = &harden(docker(), &other).unwrap().spec["process"];
    assert_eq!(process["user"], json!({"uid": 1234, "gid": 1234}));
    assert_eq!(process["capabilities"]["effective"], json!([]));
    let mut spec = docker();
    spec["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    let process = &harden(spec.clone(), &other).unwrap().spec["process"];
    assert_eq!(process["user"], spec["process"]["user"]);
}

#[test]
fn builds_have_their_own_policy() {
    let restricted = Policy::builtin("restricted").unwrap().policy;
    let build = EngineFacts { kind: ContainerKind::Build, ..known() };
    let out = harden_container(docker(), &restricted, &facts(), &build).unwrap().spec;
    assert_eq!(out.pointer("/root/readonly"), None);
    assert_eq!(out["process"]["user"]["uid"], json!(0));
    assert!(out["process"]["capabilities"]["bounding"].to_string().contains("CAP_CHOWN"));
    assert!(!out["process"]["capabilities"]["bounding"].to_string().contains("CAP_MKNOD"));
    assert_eq!(out["process"]["noNewPrivileges"], json!(true));
    assert!(!out["mounts"].to_string().contains("/tmp"));
    let none = policy("engines: {builds: refuse}\n");
    let refusal = harden_container(docker(), &none, &facts(), &build).unwrap_err();
    assert_eq!(refusal.reasons[0].control, "builds");
    let same = policy("containers: {capabilities: []}\nengines: {builds: policy}\n");
    let out = harden_container(docker(), &same, &facts(), &build).unwrap().spec;
    assert_eq!(out["process"]["capabilities"]["bounding"], json!([]));
}

#[test]
fn annotations_that_runtimes_obey_are_refused_or_taken_away() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    for name in [
        "run.oci.seccomp_bpf_data",
        "run.oci.seccomp.plugins",
        "run.oci.seccomp.receiver",
        "run.oci.keep_original_groups",
        "run.oci.handler",
        "run.oci.hooks.stdout",
        "run.oci.future",
        "org.criu.config",
        "org.systemd.property.DeviceAllow",
        "org.systemd.property.MemoryMax",
        "module.wasm.image/variant",
        "krun.cpus",
    ] {
        let mut spec = docker();
        spec["annotations"] = json!({name: "x", "com.example.a": "b"});
        let refusal = harden(spec.clone(), &baseline).unwrap_err();
        assert_eq!(refusal.reasons.len(), 1, "{refusal}");
        assert!(refusal.to_string().contains(name), "{refusal}");
        assert!(refusal.reasons[0].fix.contains(&format!("`annotation:{name}`")), "{refusal:?}");
        let remove = policy("engines: {asked: remove}\n");
        let out = harden(spec.clone(), &remove).unwrap();
        assert_eq!(out.spec["annotations"], json!({"com.example.a": "b"}), "{name}");
        assert!(out.warnings[0].contains("taken away"), "{:?}", out.warnings);
        let excepted = policy(&format!(
            "engines: {{exceptions: [{{containers: [web-1], allow: [\"annotation:{name}\"], \
             reason: r, expires: \"2099-01-01\"}}]}}\n"
        ));
        assert_eq!(harden(spec, &excepted).unwrap().spec["annotations"][name], json!("x"));
    }
    let mut spec = docker();
    spec["annotations"] = json!({"run.oci.seccomp_fail_unknown_syscall": "1", "run.ocix": "1",
        "org.systemd.property.TimeoutStopUSec": "uint64 1", "org.opencontainers.image.title": "x",
        "io.kubernetes.cri.container-type": "sandbox"});
    let kept = spec["annotations"].clone();
    assert_eq!(harden(spec, &baseline).unwrap().spec["annotations"], kept);
}

#[test]
fn no_folder_of_the_hosts_system_is_a_root() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let restricted = Policy::builtin("restricted").unwrap().policy;
    let harden = |policy: &Policy, path: &str, read_only: bool, root: Root| {
        let mut spec = docker();
        spec["root"] = json!({"path": path, "readonly": read_only});
        let mut engine = EngineFacts { root, ..known() };
        engine.sources.insert("/srv/link".into(), "/usr".into());
        harden_container(spec, policy, &facts(), &engine).map_err(|refusal| refusal.to_string())
    };
    let over = |paths: &[&str]| Root::Over(paths.iter().map(ToString::to_string).collect());
    for (path, read_only, root) in [
        ("/", true, Root::Named),
        ("/usr", false, Root::Named),
        ("/usr", true, Root::Named),
        ("/etc/skel", false, Root::Named),
        ("/srv/link", false, Root::Named),
        ("/var/lib/docker/overlay2/x/merged", false, Root::Named),
        ("/s/merge", false, over(&["/usr"])),
        ("/s/merge", false, over(&["/srv/fs", "/"])),
        ("/s/merge", false, over(&[])),
    ] {
        let refused = harden(&baseline, path, read_only, root.clone()).unwrap_err();
        assert!(refused.contains("root"), "{path} {root:?}: {refused}");
    }
    for (path, read_only, root) in [
        ("/usr/share/box", true, Root::Named),
        ("/srv/fs", false, Root::Named),
        ("rootfs", false, Root::Named),
        ("/var/lib/docker/overlay2/x/merged", false, Root::Engines),
        ("/s/merge", false, over(&["/srv/fs"])),
        ("/s/merge", false, over(&["/usr/share/box"])),
    ] {
        assert!(harden(&baseline, path, read_only, root.clone()).is_ok(), "{path} {root:?}");
    }
    // Where no folder of the host may be given, it is no root either; read-only by policy.
    assert!(harden(&restricted, "/srv/fs", false, Root::Named).is_err());
    assert!(harden(&restricted, "/s/merge", false, over(&["/srv/fs"])).is_err());
    assert!(harden(&restricted, "/x/merged", false, Root::Engines).is_ok());
    let mine = policy(
        "containers: {read_only_root: true}\nengines: {exceptions: [{containers: [web-1], \
         allow: [\"mount:/usr\"], reason: r, expires: \"2099-01-01\"}]}\n",
    );
    assert!(harden(&mine, "/usr", false, Root::Named).is_ok());
    assert!(harden(&mine, "/etc/skel", false, Root::Named).is_ok());
    assert!(harden(&mine, "/etc", false, Root::Named).is_err());
}

#[test]
fn a_security_module_that_would_not_confine_is_refused_or_said() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let remove = policy("engines: {asked: remove}\n");
    let check = |policy: &Policy, engine: &EngineFacts, profile: &str| {
        let mut spec = docker();
        if !profile.is_empty() {
            put(&mut spec, "/process/apparmorProfile", json!(profile));
        }
        harden_container(spec, policy, &facts(), engine)
            .map(|hardened| {
                (hardened.spec["process"]["apparmorProfile"].clone(), hardened.warnings)
            })
            .map_err(|refusal| refusal.to_string())
    };
    let plain = EngineFacts { apparmor: true, ..known() };
    let of_mode =
        |mode: &str| EngineFacts { apparmor_mode: Some(mode.to_string()), ..plain.clone() };
    assert!(check(&baseline, &known(), "unconfined").is_ok(), "there is no AppArmor");
    assert!(check(&baseline, &plain, "unconfined").unwrap_err().contains("AppArmor"));
    // A profile of that name that keeps nobody from anything.
    for mode in ["complain", "unconfined", "prompt"] {
        assert!(check(&baseline, &of_mode(mode), "crun").unwrap_err().contains("AppArmor"));
    }
    assert_eq!(check(&baseline, &of_mode("enforce"), "mine").unwrap().1, Vec::<String>::new());
    let (_, warnings) = check(&baseline, &plain, "").unwrap();
    assert!(warnings[0].contains("no profile"), "{warnings:?}");
    // Taken away where there is something to put in its place.
    assert!(check(&remove, &plain, "unconfined").unwrap_err().contains("AppArmor"));
    let loaded = EngineFacts { apparmor_default: Some("docker-default".into()), ..plain };
    let (profile, warnings) = check(&remove, &loaded, "unconfined").unwrap();
    assert_eq!(profile, json!("docker-default"));
    assert!(warnings[0].contains("taken away"), "{warnings:?}");
    let selinux = EngineFacts { selinux: true, ..known() };
    let (_, warnings) = check(&baseline, &selinux, "").unwrap();
    assert!(warnings[0].contains("no label"), "{warnings:?}");
    let disabled = EngineFacts { label_disabled: true, ..selinux };
    for policy in [&baseline, &remove] {
        assert!(check(policy, &disabled, "").unwrap_err().contains("SELinux"));
    }
}

/// Podman's `-v FOLDER:/x:O`, whose upper folder may be named as well.
#[test]
fn what_an_overlay_is_made_of_is_judged() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let restricted = Policy::builtin("restricted").unwrap().policy;
    let harden = |policy: &Policy, options: &str, kind: ContainerKind| {
        let options: Vec<&str> = options.split(',').collect();
        let mut spec = docker();
        let mount = json!({"destination": "/x", "type": "overlay", "source": "overlay",
            "options": options});
        put(&mut spec, "/mounts/-", mount);
        let mut engine = EngineFacts { kind, ..known() };
        engine.sources.insert("/srv/link".into(), "/etc".into());
        engine.engine_folders.push("/srv/store".into());
        harden_container(spec, policy, &facts(), &engine).map(|_| ()).map_err(|r| r.to_string())
    };
    let workload = ContainerKind::Workload;
    for options in [
        "lowerdir=/,upperdir=/srv/u,workdir=/srv/w",
        "lowerdir=/srv/a:/etc",
        "lowerdir=/srv/link",
        "lowerdir=/srv/a,upperdir=/etc/x,workdir=/srv/w",
        "lowerdir=/srv/a,upperdir=/srv/u,workdir=/usr/w",
        "lowerdir=/srv/a,upperdir=/srv/store/vfs/dir/1,workdir=/srv/w",
        "lowerdir=/srv/store",
        "lowerdir+=/etc",
    ] {
        let refused = harden(&baseline, options, workload).unwrap_err();
        assert!(refused.contains("of the host was asked for, below `/x`"), "{refused}");
    }
    let own = "upperdir=/srv/store/vfs-containers/1/userdata/overlay/2/upper,\
               workdir=/srv/store/vfs-containers/1/userdata/overlay/2/work";
    for lower in
        ["/srv/store/vfs/dir/1", "/srv/store/overlay/1/merged", "/srv/store/volumes/v/_data"]
    {
        let options = format!("lowerdir={lower},{own}");
        for policy in [&baseline, &restricted] {
            assert_eq!(harden(policy, &options, workload), Ok(()), "{options}");
        }
    }
    assert_eq!(harden(&baseline, "lowerdir=/srv/a", workload), Ok(()));
    assert!(harden(&restricted, "lowerdir=/srv/a", workload).is_err());
}

/// A pod's sandbox has the engine's limits; all else holds for it.
#[test]
fn a_sandbox_keeps_all_but_limits() {
    let sandbox = EngineFacts { kind: ContainerKind::Sandbox, kubernetes: true, ..known() };
    let harden =
        |spec: &Value, policy: &Policy| harden_container(spec.clone(), policy, &facts(), &sandbox);
    let must = policy(
        "containers: {user: non_root, read_only_root: true, limits: {memory: 8Mi, pids: 9}}\n",
    );
    let mut spec = docker();
    put(&mut spec, "/process/oomScoreAdj", json!(-998));
    let out = harden(&spec, &must).unwrap().spec;
    assert_eq!(out["process"]["user"], json!({"uid": 65_535, "gid": 65_535}));
    assert_eq!(out["process"]["capabilities"]["effective"], json!([]));
    assert_eq!(out["root"]["readonly"], json!(true));
    assert_eq!(out["process"]["noNewPrivileges"], json!(true));
    assert_eq!(out["process"]["oomScoreAdj"], json!(-998));
    assert_eq!(out.pointer("/linux/resources/memory/limit"), None);
    assert_eq!(out.pointer("/linux/resources/pids/limit"), None);
    // Nothing of the host is mounted into it, whatever the policy lets others have.
    let bind = |source: &str| json!({"destination": "/x", "type": "bind", "source": source});
    let mut theirs = spec.clone();
    put(&mut theirs, "/mounts/-", bind("/srv/data"));
    let refusal = harden(&theirs, &must).unwrap_err();
    assert!(refusal.to_string().contains("a pod's sandbox needs nothing"), "{refusal}");
    put(&mut spec, "/mounts/-", bind("/run/containerd/io.containerd.grpc.v1.cri/sandboxes/1/shm"));
    assert!(harden(&spec, &must).is_ok());
    put(&mut spec, "/process/capabilities/bounding/-", json!("CAP_SYS_ADMIN"));
    assert!(harden(&spec, &must).unwrap_err().to_string().contains("SYS_ADMIN"));
    // A label that anybody may write makes nobody a kubelet.
    let mut spec = docker();
    put(&mut spec, "/process/oomScoreAdj", json!(-10));
    let labelled = EngineFacts { labels: vec!["io.kubernetes.pod.name=x".into()], ..known() };
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let refusal = harden_container(spec, &baseline, &facts(), &labelled).unwrap_err();
    assert!(refusal.to_string().contains("memory is short"), "{refusal}");
}

#[test]
fn exec_regains_nothing() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let container = harden(docker(), &baseline).unwrap().spec;
    let exec = |process: &Value| {
        harden_exec(process.clone(), Some(&container["process"]), &baseline, &facts(), &known())
    };
    // As Docker makes the process of `docker exec`: its defaults, and nothing of the policy.
    let process = json!({"user": {"uid": 0}, "args": ["sh"],
        "capabilities": docker()["process"]["capabilities"]});
    let out = exec(&process).unwrap().spec;
    assert_eq!(out["capabilities"]["bounding"], container["process"]["capabilities"]["bounding"]);
    assert_eq!(out["noNewPrivileges"], json!(true));
    // `--privileged` is refused, with its reason.
    let mut all = process.clone();
    all["capabilities"]["effective"] = json!(["CAP_SYS_ADMIN"]);
    assert!(exec(&all).unwrap_err().to_string().contains("SYS_ADMIN"));
    // A container that was started with less stays at less.
    let first = json!({"capabilities": {"bounding": []}, "apparmorProfile": "docker-default"});
    let out =
        harden_exec(process.clone(), Some(&first), &baseline, &facts(), &known()).unwrap().spec;
    assert_eq!(out["capabilities"]["bounding"], json!([]));
    assert_eq!(out["apparmorProfile"], json!("docker-default"));
    // It goes before nobody, whatever the first one may.
    for (key, value, expected) in [
        ("oomScoreAdj", json!(-1000), "memory is short"),
        ("scheduler", json!({"policy": "SCHED_FIFO", "priority": 99}), "before everything"),
        ("scheduler", json!({"policy": "SCHED_OTHER", "nice": -5}), "before everything"),
        ("ioPriority", json!({"class": "IOPRIO_CLASS_RT"}), "before everything"),
        ("selinuxLabel", json!("system_u:system_r:spc_t:s0"), "SELinux"),
    ] {
        let mut asking = process.clone();
        asking[key] = value;
        assert!(exec(&asking).unwrap_err().to_string().contains(expected), "{key}");
        let unknown = harden_exec(asking.clone(), None, &baseline, &facts(), &known());
        assert!(unknown.unwrap_err().to_string().contains(expected), "{key}");
        if key != "selinuxLabel" {
            let remove = policy("engines: {asked: remove}\n");
            let out = harden_exec(asking, None, &remove, &facts(), &known()).unwrap().spec;
            assert!(out.get(key).is_none_or(|score| *score == json!(0)), "{out}");
        }
    }
}

/// What an engine left out is what the runtime would have inherited, and never more.
#[test]
fn limits_of_processes_that_an_engine_left_out_are_written_down() {
    let mut policy = Policy::builtin("baseline").unwrap().policy;
    policy.containers.limits.open_files = Some(1024);
    let limit = |kind: &str, soft: u64, hard: u64| json!({"type": format!("RLIMIT_{kind}"), "hard": hard, "soft": soft});
    let mut facts = facts();
    let own = [
        ("RLIMIT_AS", u64::MAX, u64::MAX),
        ("RLIMIT_CORE", 0, u64::MAX),
        ("RLIMIT_NOFILE", 256, 4096),
        ("RLIMIT_STACK", 8, 9),
    ];
    facts.machine.rlimits =
        own.map(|(name, soft, hard)| (name, Rlimit { soft, hard })).into_iter().collect();
    let check = |asked: Value, expected: Value| {
        let mut spec = docker();
        spec["process"]["rlimits"] = asked;
        let hardened = harden_container(spec, &policy, &facts, &known()).unwrap();
        assert_eq!(hardened.spec["process"]["rlimits"], expected);
        let again = harden_container(hardened.spec, &policy, &facts, &known()).unwrap();
        assert_eq!(again.changes, []);
    };
    let (zero, stack) = ([limit("NICE", 0, 0), limit("RTPRIO", 0, 0)], limit("STACK", 8, 9));
    let [nice, rtprio] = zero;
    let unlimited = limit("AS", u64::MAX, u64::MAX);
    check(
        Value::Null,
        json!([limit("NOFILE", 256, 1024), limit("CORE", 0, 0), nice, rtprio, unlimited, stack]),
    );
    // Two of one kind: a runtime would take the second.
    check(
        json!([limit("NOFILE", 9, 9), limit("STACK", 1, 1), limit("NOFILE", 2048, 9000)]),
        json!([
            limit("NOFILE", 9, 9),
            limit("STACK", 1, 1),
            limit("NOFILE", 9, 9),
            limit("CORE", 0, 0),
            nice,
            rtprio,
            unlimited
        ]),
    );

    // One more process has the limits of the first one, as far as its caller may set them.
    let first =
        json!({"rlimits": [limit("NOFILE", 9, 10), limit("AS", 5, 6), limit("STACK", 20, 30)]});
    facts.machine.may_raise_rlimits = false;
    let exec = |process: Value, first: &Value| {
        let out = harden_exec(process, Some(first), &policy, &facts, &known());
        out.map(|hardened| hardened.spec["rlimits"].clone())
    };
    assert_eq!(
        exec(json!({"args": ["sh"], "rlimits": [limit("NOFILE", 4, 400)]}), &first).unwrap(),
        json!([
            limit("NOFILE", 4, 10),
            limit("AS", 5, 6),
            limit("STACK", 9, 9),
            limit("CORE", 0, 0),
            nice,
            rtprio
        ]),
    );
    assert!(exec(json!({"args": ["sh"]}), &json!({"rlimits": 1})).is_err());
}

#[test]
fn malformed_specs_of_engines_are_refused_without_a_panic() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    for (path, value) in [
        ("/process", json!(1)),
        ("/process/user/uid", json!("root")),
        ("/process/capabilities", json!([])),
        ("/process/capabilities/bounding", json!([1])),
        ("/process/rlimits", json!({})),
        ("/linux", json!("x")),
        ("/linux/namespaces", json!([{"type": 1}])),
        ("/linux/namespaces", json!([1])),
        ("/linux/devices", json!([1])),
        ("/linux/devices", json!({})),
        ("/linux/resources", json!([])),
        ("/linux/sysctl", json!([])),
        ("/linux/seccomp", json!([])),
        ("/linux/maskedPaths", json!(1)),
        ("/annotations", json!([])),
        ("/linux/mountLabel", json!(1)),
        ("/mounts", json!([1])),
        ("/mounts", json!([{"destination": "/x", "type": "bind", "source": "/srv", "options": 1}])),
    ] {
        let mut spec = docker();
        put(&mut spec, path, value.clone());
        let refusal = harden(spec, &baseline).unwrap_err();
        let controls: Vec<_> = refusal.reasons.iter().map(|reason| reason.control).collect();
        assert_eq!(controls, ["spec"], "{path} {value}: {refusal}");
    }
}

#[test]
fn less_usual_ways_to_others_are_closed() {
    let baseline = Policy::builtin("baseline").unwrap().policy;
    let check = |path: &str, value: Value, expected: &str| {
        let reasons = refused(&baseline, path, value);
        assert!(reasons.iter().any(|r| r.contains(expected)), "{path}: {reasons:?}");
    };
    check("/process/oomScoreAdj", json!(-1000), "memory is short");
    check("/linux/resources/memory", json!({"disableOOMKiller": true}), "memory is short");
    check("/linux/cgroupsPath", json!("/"), "control group");
    check("/linux/cgroupsPath", json!("/docker/../../x"), "control group");
    check("/linux/cgroupsPath", json!("system.slice:..:x"), "control group");
    check("/linux/cgroupsPath", json!("/palisade/x"), "control group");
    check("/linux/intelRdt", json!({"closID": "x"}), "cache");
    check("/linux/netDevices", json!({"eth0": {}}), "network device");
    check("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 99}), "before");
    check("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": -20}), "before");
    check("/process/ioPriority", json!({"class": "IOPRIO_CLASS_RT"}), "before");
    check("/process/selinuxLabel", json!("system_u:system_r:spc_t:s0"), "SELinux");
    check("/process/selinuxLabel", json!("unconfined_u:unconfined_r:unconfined_t:s0"), "SELinux");
    check("/process/selinuxLabel", json!("system_u:system_r:container_runtime_t:s0"), "SELinux");
    check("/linux/mountLabel", json!("system_u:object_r:etc_t:s0"), "files for others");
    check(
        "/linux/sysctl",
        json!({"kernel.shm_rmid_forced": "1+kernel.core_pattern=|/x"}),
        "not a plain one",
    );
    // A disk by the name of what every container has.
    let disk = json!([{"path": "/dev/null", "type": "b", "major": 8, "minor": 0}]);
    check("/linux/devices", disk, "another device (b 8:0)");
    // What every container has anyway is so under any name.
    let mut spec = docker();
    let null = json!([{"path": "/dev/nothing", "type": "c", "major": 1, "minor": 3}]);
    put(&mut spec, "/linux/devices", null.clone());
    let hardened = harden(spec, &policy("engines: {mode: enforce}")).unwrap();
    assert_eq!(hardened.spec["linux"]["devices"], null);
    let mut fuse = policy("engines: {devices: [/dev/fuse]}");
    fuse.name = "mine".into();
    let device =
        |minor: i64| json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": minor}]);
    let mut spec = docker();
    put(&mut spec, "/linux/devices", device(229));
    let mut engine = known();
    engine.host_devices.insert("/dev/fuse".into(), ("c".into(), 10, 229));
    assert!(harden_container(spec.clone(), &fuse, &facts(), &engine).is_ok());
    put(&mut spec, "/linux/devices", device(1));
    assert!(harden_container(spec, &fuse, &facts(), &engine).is_err());

    let share = |options: &[&str]| {
        json!({"destination": "/x", "type": "bind",
        "source": "/usr/share/x", "options": options})
    };
    check("/mounts/-", share(&["rbind", "ro", "rrw"]), "changes the host's system");
    check("/mounts/-", share(&["rbind", "ro", "rw"]), "changes the host's system");
    // A program that is not root would own files of the host as root.
    let map = |inside: u32| json!([{"containerID": inside, "hostID": 0, "size": 1}]);
    let mut idmapped = share(&["rbind", "idmap"]);
    idmapped["source"] = json!("/srv/data");
    idmapped["uidMappings"] = map(1000);
    check("/mounts/-", idmapped.clone(), "other owners");
    let mut spec = docker();
    put(&mut spec, "/mounts/-", idmapped);
    for key in ["uidMappings", "gidMappings"] {
        spec["linux"][key] = map(1000);
    }
    assert!(harden(spec, &baseline).is_ok(), "as a pod with ids of its own has its volumes");

    // What is taken without a word.
    let mut spec = docker();
    put(&mut spec, "/process/selinuxLabel", json!("system_u:system_r:container_t:s0:c1,c2"));
    put(&mut spec, "/linux/mountLabel", json!("system_u:object_r:container_file_t:s0:c1,c2"));
    put(&mut spec, "/linux/cgroupsPath", json!("/docker/0123"));
    put(&mut spec, "/process/oomScoreAdj", json!(500));
    put(
        &mut spec,
        "/linux/resources/unified",
        json!({"pids.max": "max", "memory.low": "1", "../x/pids.max": "max"}),
    );
    put(
        &mut spec,
        "/hooks",
        json!({"createContainer": [{"path": "/h", "env": ["A=1", "LD_PRELOAD=/x.so"]}]}),
    );
    put(&mut spec, "/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]));
    put(
        &mut spec,
        "/linux/personality",
        json!({"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"]}),
    );
    put(&mut spec, "/mounts/-", share(&["rbind", "ro"]));
    put(&mut spec, "/mounts/-", share(&["rbind", "rro", "rsuid", "rdev"]));
    let spec = harden(spec, &baseline).unwrap().spec;
    assert_eq!(spec["linux"]["personality"], json!({"domain": "LINUX32"}));
    let options = |at: usize| spec["mounts"][at]["options"].clone();
    assert_eq!(options(3), json!(["bind", "ro", "nosuid", "nodev"]));
    assert_eq!(options(4), json!(["rbind", "rro", "nosuid", "nodev"]));
    assert_eq!(spec["linux"]["resources"]["unified"], json!({"memory.low": "1"}));
    assert_eq!(spec["hooks"]["createContainer"][0]["env"], json!(["A=1"]));
    assert_eq!(spec["linux"]["seccomp"]["flags"], json!([]));
}

#[test]
fn restricted_gives_no_folder_of_the_host_but_the_engines_volumes() {
    let restricted = Policy::builtin("restricted").unwrap().policy;
    let mount = |source: &str| json!({"destination": "/x", "type": "bind", "source": source});
    let check = |source: &str, allowed: bool| {
        let mut spec = docker();
        put(&mut spec, "/mounts/-", mount(source));
        let mut engine = known();
        engine.engine_folders.push("/srv/docker".into());
        let result = harden_container(spec, &restricted, &facts(), &engine);
        assert_eq!(result.is_ok(), allowed, "{source}: {result:?}");
    };
    check("/srv/data", false);
    check("/srv/data/../docker/volumes/v/_data", true);
    check("/var/lib/docker/volumes/v/_data", true);
    check("/srv/docker/volumes/v/_data", true);
    check("/srv/docker/volumes/../secret", false);
    check("/srv/docker/containers/0123/hosts", true);
    check("/srv/docker/containers", false);
    // A folder of one's own that bears the container's id is no engine's.
    check("/srv/0123456789abcdef0123456789abcdef/x", false);
    check("/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/v", true);
    check("/run/docker.sock", false);
    let mine = policy(
        "engines: {host_paths: volumes, exceptions: [{images: [\"registry.example/web:*\"], allow: [\"mount:/srv/data\"], reason: r, expires: \"2099-01-01\"}]}",
    );
    let mut spec = docker();
    put(&mut spec, "/mounts/-", mount("/srv/data"));
    assert!(harden(spec, &mine).is_ok());
}

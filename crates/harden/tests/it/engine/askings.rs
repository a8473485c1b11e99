//! Askings that only look like less: what the kernel or a runtime reads in another way.

use super::*;

fn baseline() -> Policy {
    Policy::builtin("baseline").unwrap().policy
}

/// Whether `engine` may have this mount under `policy`, or why not.
fn mounted(policy: &Policy, engine: &EngineFacts, mount: Value) -> Result<(), String> {
    let mut spec = docker();
    put(&mut spec, "/mounts/-", mount);
    harden_container(spec, policy, &facts(), engine).map(|_| ()).map_err(|r| r.to_string())
}

fn bind(source: &str) -> Value {
    json!({"destination": "/x", "type": "bind", "source": source, "options": ["rbind", "ro"]})
}

fn overlay(options: &[&str]) -> Value {
    json!({"destination": "/x", "type": "overlay", "source": "overlay", "options": options})
}

/// A device without numbers is none, and a rule without numbers is about all.
#[test]
fn a_device_without_numbers_gives_a_right_to_none() {
    let all = json!({"allow": true, "type": "c", "access": "rwm"});
    let one = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
    let harmless = json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"});
    let mut engine = known();
    engine.host_devices.insert("/dev/fuse".into(), ("c".into(), 10, 229));
    let check = |device: Value, rule: &Value, expected: bool| {
        let fuse = policy("engines: {devices: [/dev/fuse]}");
        let mut spec = docker();
        put(&mut spec, "/linux/devices", json!([device]));
        put(&mut spec, "/linux/resources/devices/-", rule.clone());
        let result = harden_container(spec, &fuse, &facts(), &engine);
        assert_eq!(result.is_ok(), expected, "{device} {rule}: {result:?}");
    };
    let named = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229});
    check(named.clone(), &one, true);
    check(named, &all, false);
    for path in ["/dev/fuse", "/dev/null"] {
        for numbers in [json!({}), json!({"major": -1, "minor": -1}), json!({"minor": -1})] {
            let mut device = json!({"path": path, "type": "c"});
            for (key, value) in numbers.as_object().unwrap() {
                device[key] = value.clone();
            }
            check(device.clone(), &harmless, true);
            check(device.clone(), &one, false);
            check(device, &all, false);
        }
    }
    let half = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": -1});
    check(half, &harmless, false);
}

/// AppArmor takes some names for others, and confines by none that it does not list.
#[test]
fn a_profile_is_one_that_the_kernel_lists_under_its_name() {
    let check = |profile: &str, mode: Option<&str>, expected: bool| {
        let engine =
            EngineFacts { apparmor: true, apparmor_mode: mode.map(str::to_string), ..known() };
        let mut spec = docker();
        put(&mut spec, "/process/apparmorProfile", json!(profile));
        let result = harden_container(spec, &baseline(), &facts(), &engine);
        assert_eq!(result.is_ok(), expected, "{profile:?} {mode:?}: {result:?}");
    };
    check("docker-default", Some("enforce"), true);
    check("docker-default", Some("kill"), true);
    check("docker-default", Some("complain"), false);
    check("docker-default", None, false);
    check("", None, true);
    for name in ["unconfined ", "unconfined//&unconfined", ":root:unconfined", "&unconfined"] {
        check(name, None, false);
        check(name, Some("enforce"), false);
        let exec = |apparmor: bool| {
            let engine = EngineFacts { apparmor, ..known() };
            let process = json!({"args": ["sh"], "apparmorProfile": name});
            harden_exec(process, None, &baseline(), &facts(), &engine)
        };
        assert!(exec(true).unwrap_err().to_string().contains("AppArmor"), "{name:?}");
        assert!(exec(false).is_ok(), "there is no AppArmor");
    }
}

#[test]
fn no_mount_namespace_is_joined() {
    let check = |policy: &Policy, path: Value, expected: bool| {
        let mut spec = docker();
        spec["linux"]["namespaces"][0]["path"] = path.clone();
        let result = harden(spec, policy);
        assert_eq!(result.is_ok(), expected, "{path}: {result:?}");
        if let Err(refusal) = result {
            assert!(refusal.to_string().contains("in the mount namespace"), "{refusal}");
        }
    };
    check(&baseline(), json!(""), true);
    check(&baseline(), Value::Null, true);
    let remove = policy("engines: {asked: remove}\n");
    for path in [json!("/proc/1/ns/mnt"), json!("mnt"), json!(1)] {
        check(&baseline(), path.clone(), false);
        check(&remove, path, false);
    }
}

/// A quota is a part of its period, and the kernel knows a least one.
#[test]
fn a_short_period_gives_no_more_of_the_processor() {
    let check = |cpu: &str, asked: Value, expected: (u64, u64)| {
        let mine = policy(&format!("containers: {{limits: {{cpu: {cpu}}}}}\n"));
        let mut spec = docker();
        spec["linux"]["resources"]["cpu"] = asked.clone();
        let out = harden(spec, &mine).unwrap().spec;
        let cpu = &out["linux"]["resources"]["cpu"];
        let found = (cpu["quota"].as_u64().unwrap(), cpu["period"].as_u64().unwrap());
        assert_eq!(found, expected, "{asked}");
        assert_eq!(harden(out.clone(), &mine).unwrap().spec, out, "twice is as once");
    };
    check("0.5", json!({}), (50_000, 100_000));
    check("0.5", json!({"period": 1000, "quota": 1000}), (50_000, 100_000));
    check("0.5", json!({"period": 1000}), (50_000, 100_000));
    check("0.5", json!({"period": 2000}), (1000, 2000));
    check("0.5", json!({"period": 2000, "quota": 1000}), (1000, 2000));
    check("0.5", json!({"period": 2000, "quota": 1001}), (1000, 2000));
    check("0.5", json!({"period": 10_000, "quota": 2000}), (2000, 10_000));
    check("0.5", json!({"period": 10_000, "quota": -1}), (5000, 10_000));
    check("0.5", json!({"period": 1_000_000, "quota": 400_000}), (400_000, 1_000_000));
    check("0.01", json!({"period": 1000, "quota": 1000}), (1000, 100_000));
}

#[test]
fn a_mapping_among_the_options_is_one() {
    let check = |option: &str, expected: bool| {
        let mut mount = bind("/srv/data");
        mount["options"] = json!(["rbind", "ro", option]);
        let result = mounted(&baseline(), &known(), mount);
        assert_eq!(result.is_ok(), expected, "{option}: {result:?}");
        if let Err(said) = result {
            assert!(said.contains("other owners"), "{said}");
        }
    };
    check("idmap=uids=0-1000-1;gids=0-1000-1", false);
    check("idmap=uids=@0-0-1", false);
    check("idmap=", false);
    check("ridmap=uids=0-1000-1", false);
    check("idmap", true);
    check("ridmap", true);
    let mapped = overlay(&["lowerdir=/srv/a", "idmap=uids=0-1000-1"]);
    assert!(mounted(&baseline(), &known(), mapped).unwrap_err().contains("other owners"));
}

/// Sockets are known by what they are, wherever they lie.
#[test]
fn no_socket_is_given_but_of_a_volume_or_a_builders() {
    let excepted = policy(
        "engines: {exceptions: [{containers: [web-1], allow: [\"mount:/srv/s.sock\"], reason: r, \
         expires: \"2099-01-01\"}]}",
    );
    let agent = "/tmp/.buildkit-ssh-sock1/ssh_auth_sock";
    let volume = "/var/lib/docker/volumes/v/_data/s";
    let mut engine = known();
    for source in ["/srv/s.sock", "/srv/link", agent, volume] {
        engine.sockets.insert(source.into());
    }
    engine.sources.insert("/srv/link".into(), "/srv/listens".into());
    for source in ["/srv/s.sock", "/srv/link", agent] {
        let refused = mounted(&baseline(), &engine, bind(source)).unwrap_err();
        assert!(refused.contains("listens at this socket"), "{refused}");
    }
    for (policy, source) in [(&excepted, "/srv/s.sock"), (&baseline(), volume)] {
        assert_eq!(mounted(policy, &engine, bind(source)), Ok(()), "{source}");
    }
    assert_eq!(mounted(&baseline(), &engine, bind("/srv/data")), Ok(()));
    engine.kind = ContainerKind::Build;
    assert_eq!(mounted(&baseline(), &engine, bind(agent)), Ok(()));
    assert!(mounted(&baseline(), &engine, bind("/srv/s.sock")).is_err());
}

#[test]
fn overlays_are_read_as_the_kernel_reads_them_or_refused() {
    let engine = known();
    for options in [
        &["lowerdir=/srv/a\\:b"][..],
        &["lowerdir=/\\etc"],
        &["lowerdir=/srv/a,upperdir=/etc"],
        &["index=off,lowerdir=/etc"],
    ] {
        let refused = mounted(&baseline(), &engine, overlay(options)).unwrap_err();
        assert!(refused.contains("in another way"), "{refused}");
    }
    // A colon is part of a name that stands alone.
    let mut linked = known();
    linked.sources.insert("/srv/a:b".into(), "/etc".into());
    let named = overlay(&["lowerdir+=/srv/a:b", "lowerdir+=/srv/c"]);
    assert!(mounted(&baseline(), &linked, named.clone()).unwrap_err().contains("`/etc`"));
    assert_eq!(mounted(&baseline(), &engine, named), Ok(()));
}

/// Podman with a program that lays overlays hands their folder over as a bind.
#[test]
fn overlays_that_are_laid_already_are_judged_by_what_they_are_made_of() {
    let laid = "/srv/store/overlay-containers/1/userdata/overlay/2/merge";
    let check = |made_of: &[(&str, bool)], expected: Result<(), &str>| {
        let mut engine = known();
        engine.engine_folders.push("/srv/store".into());
        let made_of = made_of.iter().map(|(path, on)| ((*path).to_string(), *on)).collect();
        engine.overlays.insert(laid.into(), made_of);
        let result = mounted(&baseline(), &engine, bind(laid));
        match (&result, expected) {
            (Ok(()), Ok(())) => {}
            (Err(said), Err(what)) if said.contains(what) => {}
            _ => panic!("{result:?}, not {expected:?}"),
        }
    };
    let own = "/srv/store/overlay-containers/1/userdata/overlay/2/upper";
    check(&[("/srv/a", false), (own, true)], Ok(()));
    check(&[("/srv/store/overlay/9/merged", false), (own, true)], Ok(()));
    check(&[("/etc", false), (own, true)], Err("made of `/etc` of the host"));
    check(&[("/srv/a", false), ("/etc/x", true)], Err("made of `/etc/x` of the host"));
    check(&[], Err("of which folders"));
}

use super::*;

fn ids(it: &Inspection) -> Vec<(&'static str, Level)> {
    exposures(it, Held::Enforced)
        .into_iter()
        .map(|exposure| (exposure.id, exposure.level))
        .collect()
}

/// A container that exposes nothing that a policy closes.
fn closed() -> Inspection {
    Inspection {
        users: Users { uid: 100_033, uid_inside: Some(33), uid_map: vec![(0, 100_000, 65_536)] },
        no_new_privileges: true,
        seccomp: "filter",
        read_only_root: true,
        namespaces: NAMESPACES.map(|(_, kind)| Namespace { kind, id: 1, host: false }).into(),
        limits: Limits {
            memory_bytes: Some(1),
            pids: Some(1),
            cpu_millis: Some(1),
            ..Limits::default()
        },
        ..Inspection::default()
    }
}

#[test]
fn each_privilege_is_an_exposure() {
    let check = |change: &dyn Fn(&mut Inspection), expected: &[(&'static str, Level)]| {
        let mut it = closed();
        change(&mut it);
        assert_eq!(ids(&it), expected);
        for exposure in exposures(&it, Held::Enforced) {
            assert!(!exposure.policy.is_empty() && !exposure.exposes.is_empty());
        }
    };
    let host = |it: &mut Inspection, wanted: &str| {
        it.namespaces.iter_mut().filter(|n| n.kind == wanted).for_each(|n| n.host = true);
    };
    let mount = |host: &str, writable: bool, options: &[&str]| Mount {
        destination: "/x".into(),
        host: Some(host.into()),
        writable,
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    };
    check(&|_| {}, &[]);
    check(&|it| it.no_new_privileges = false, &[("new-privileges", Level::Medium)]);
    check(&|it| it.seccomp = "none", &[("seccomp", Level::High)]);
    check(&|it| it.read_only_root = false, &[("writable-root", Level::Low)]);
    check(&|it| it.users.uid = 0, &[("root", Level::Medium)]);
    check(&|it| host(it, "pid"), &[("host-namespace", Level::High)]);
    check(&|it| host(it, "uts"), &[("host-namespace", Level::Low)]);
    // In the host's user namespace a capability is the host's.
    let admin = |it: &mut Inspection| it.capabilities.effective = vec!["SYS_ADMIN"];
    check(&admin, &[("capability", Level::Low)]);
    check(
        &|it| {
            admin(it);
            host(it, "user");
        },
        &[("capability", Level::High)],
    );
    check(&|it| it.limits.pids = None, &[("limit", Level::Low)]);
    check(&|it| it.mounts.push(mount("/srv", true, &[])), &[]);
    check(&|it| it.mounts.push(mount("/etc", false, &[])), &[("host-path", Level::High)]);
    check(
        &|it| it.mounts.push(mount("/run/docker.sock", true, &[])),
        &[("host-path", Level::High)],
    );
    let root = |it: &mut Inspection, options: &[&str]| {
        it.users.uid = 0;
        it.mounts.push(mount("/srv", true, options));
    };
    check(&|it| root(it, &[]), &[("root", Level::Medium), ("setuid-mount", Level::Medium)]);
    check(&|it| root(it, &["nosuid"]), &[("root", Level::Medium)]);
    check(&|it| it.unmasked.push("/proc/kcore".into()), &[("unmasked-paths", Level::Medium)]);
    check(&|it| it.writable_kernel.push("/proc/sys".into()), &[("writable-kernel", Level::High)]);
    let disk = Device { path: "/dev/sda".into(), kind: 'b', major: 8, minor: 0 };
    check(&|it| it.devices.push(disk.clone()), &[("device", Level::High)]);
    let rules = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect());
    check(&|it| it.device_rules = rules(&["a *:* rwm"]), &[("all-devices", Level::High)]);
    check(&|it| it.device_rules = rules(&["c *:* m", "b *:* m", "c 136:* rwm", "c 5:2 rwm"]), &[]);
    check(
        &|it| {
            it.stronger.push(Stronger { pid: 7, name: "sh".into(), more: vec!["x".into()] });
        },
        &[("stronger-process", Level::High)],
    );
    check(
        &|it| {
            it.mandatory = true;
            it.security_label = Some("unconfined".into());
        },
        &[("security-module", Level::Medium)],
    );
    check(
        &|it| {
            it.mandatory = true;
            it.security_label = Some("docker-default (enforce)".into());
        },
        &[],
    );
}

#[test]
fn a_remedy_is_one_that_can_be_taken() {
    let mut it = closed();
    let mount = Mount { destination: "/x".into(), host: Some("/etc".into()), ..Mount::default() };
    it.mounts.push(mount);
    let check = |held: Held<'_>, expected: &str| {
        let found = exposures(&it, held);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].policy.starts_with(expected), "{held:?}: {}", found[0].policy);
    };
    check(Held::Enforced, "engines.exceptions: without mount:/etc");
    check(Held::Reported, "engines.mode: enforce; engines.exceptions: without mount:/etc");
    for (engine, expected) in [
        ("docker", "palisade install docker: "),
        ("podman", "palisade install podman: "),
        ("cri", "palisade install containerd: "),
        ("crio", "palisade install crio: "),
        ("lxc", "palisade harden lxc CONFIG: "),
        ("runc", "palisade harden config.json --in-place: "),
        ("unknown", "palisade run, or palisade install ENGINE: "),
    ] {
        check(Held::Nobody(engine), expected);
    }
}

#[test]
fn mounts_are_named_by_what_they_are_on_the_host() {
    let host = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                25 22 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw\n\
                26 22 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw\n\
                30 22 8:16 / /srv/disk rw - ext4 /dev/sdb rw\n";
    let container = "100 90 0:50 / / rw,relatime - overlay overlay rw,lowerdir=/l\n\
                     101 100 0:51 / /proc rw,nosuid - proc proc rw\n\
                     102 100 254:0 /srv/my\\040data /data rw,nosuid master:1 - ext4 /dev/vda rw\n\
                     103 100 0:22 /docker.sock /s rw shared:5 - tmpfs tmpfs rw\n\
                     104 100 8:16 /a /b ro - ext4 /dev/sdb rw\n\
                     105 100 254:0 /var/lib/docker/containers/0/hosts /etc/hosts rw - ext4 /dev/vda rw\n\
                     106 100 0:60 / /tmp rw - tmpfs tmpfs rw\n\
                     107 100 254:0 /x /y rw - ext4 /dev/vda ro\n\
                     108 100 0:5 /null /dev/null rw,nosuid - devtmpfs udev rw\n\
                     109 100 0:5 /null /proc/kcore rw,nosuid - devtmpfs udev rw\n\
                     110 100 0:5 /kmsg /dev/kmsg rw,nosuid - devtmpfs udev rw\n\
                     rubbish\n";
    let found: Vec<_> = mounts::of(container, host)
        .into_iter()
        .map(|m| (m.destination, m.host, m.writable, m.engine, m.spreads))
        .collect();
    let row = |at: &str, host: Option<&str>, writable, engine, spreads| {
        (at.to_string(), host.map(str::to_string), writable, engine, spreads)
    };
    assert_eq!(
        found,
        [
            row("/", None, true, true, false),
            row("/proc", None, true, false, false),
            row("/data", Some("/srv/my data"), true, false, false),
            row("/s", Some("/run/docker.sock"), true, false, true),
            row("/b", Some("/srv/disk/a"), false, false, false),
            row("/etc/hosts", Some("/var/lib/docker/containers/0/hosts"), true, true, false),
            row("/tmp", None, true, false, false),
            row("/y", Some("/x"), false, false, false),
            row("/dev/null", Some("/dev/null"), true, true, false),
            row("/proc/kcore", Some("/dev/null"), true, true, false),
            row("/dev/kmsg", Some("/dev/kmsg"), true, false, false),
        ]
    );
}

#[test]
fn what_an_engine_gives_is_told_from_what_was_asked_for() {
    let host = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                25 22 0:22 / /run rw,nosuid - tmpfs tmpfs rw\n\
                28 22 0:70 / /var/lib/containers/storage/overlay/0/merged rw - fuse.fuse-overlayfs f rw\n";
    let check = |at: &str, line: &str, expected: bool| {
        let container = format!("100 90 {line}\n");
        let found = mounts::of(&container, host);
        let found = found.first().unwrap();
        let shown = format!("{at} {:?}", found.host);
        assert_eq!((found.destination.as_str(), found.engine), (at, expected), "{shown}");
    };
    let on_disk =
        |path: &str, at: &str, how: &str| format!("254:0 {path} {at} {how} - ext4 /dev/vda rw");
    let id = "0123456789abcdef".repeat(4);
    // Root file systems.
    for (path, expected) in [
        ("/", false),
        ("/usr", false),
        ("/var/lib/docker", false),
        ("/var/lib/docker/volumes/x", false),
        ("/var/lib/docker/vfs/dir/0", true),
        ("/var/lib/docker/165536.165536/vfs/dir/0", true),
        ("/var/lib/docker/a.b/vfs/dir/0", false),
        ("/var/lib/docker/btrfs/subvolumes/0", true),
        ("/var/lib/containerd/io.containerd.snapshotter.v1.native/snapshots/7", true),
        ("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/7/fs", true),
        ("/var/lib/containerd/io.containerd.content.v1.content/snapshots/7", false),
        ("/var/lib/lxc/shop/rootfs", true),
        ("/srv/root", true),
    ] {
        check("/", &on_disk(path, "/", "rw"), expected);
    }
    check("/", "0:70 / / rw - fuse.fuse-overlayfs f rw", true);
    // The few files, which an engine gives writable.
    let docker = format!("/var/lib/docker/containers/{id}/");
    let mapped = format!("/var/lib/docker/1.1/containers/{id}/");
    for (at, path, expected) in [
        ("/etc/hosts", format!("{docker}hosts"), true),
        ("/etc/hostname", format!("{docker}hostname"), true),
        ("/etc/resolv.conf", format!("{mapped}resolv.conf"), true),
        ("/etc/hosts", format!("{docker}config.v2.json"), false),
        ("/etc/hosts", "/var/lib/kubelet/pods/0/etc-hosts".into(), true),
        ("/etc/hosts", "/srv/data/bundles/0/hosts".into(), true),
        ("/etc/hosts", "/srv/data/bundles/0/hostname".into(), false),
        ("/etc/hosts", "/etc/shadow".into(), false),
        ("/etc/resolv.conf", "/root/.ssh/id_ed25519".into(), false),
        ("/etc/hosts", "/etc/hosts".into(), false),
        ("/etc/passwd", format!("{docker}hosts"), false),
    ] {
        check(at, &on_disk(&path, at, "rw"), expected);
    }
    check("/etc/hosts", &on_disk("/etc/hosts", "/etc/hosts", "ro"), true);
    check("/etc/hostname", &on_disk("/etc/shadow", "/etc/hostname", "ro"), false);
    let in_run = |path: &str, at: &str| format!("0:22 {path} {at} rw - tmpfs tmpfs rw");
    let podman = "/containers/storage/overlay-containers/0/userdata/";
    check(
        "/run/.containerenv",
        &in_run(&format!("{podman}.containerenv"), "/run/.containerenv"),
        true,
    );
    check(
        "/run/.containerenv",
        &in_run(&format!("{podman}config.json"), "/run/.containerenv"),
        false,
    );
    check("/etc/hosts", &in_run(&format!("/palisade/bundles/{id}/hosts"), "/etc/hosts"), true);
    check(
        "/etc/hosts",
        &in_run(&format!("/palisade/bundles/{id}/config.json"), "/etc/hosts"),
        false,
    );
    check("/etc/hosts", &in_run("/palisade/bundles/x/hosts", "/etc/hosts"), false);
    // A run folder may be any.
    check("/etc/hosts", &in_run(&format!("/own/bundles/{id}/hosts"), "/etc/hosts"), true);
    check("/etc/hosts", &in_run(&format!("/own/others/{id}/hosts"), "/etc/hosts"), false);
    check("/etc/hosts", &in_run("/docker.sock", "/etc/hosts"), false);
}

#[test]
fn a_container_of_the_host_s_root_is_exposed() {
    let host = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n";
    let container = "100 90 254:0 / / rw - ext4 /dev/vda rw\n\
                     101 100 254:0 /etc/shadow /etc/hosts ro - ext4 /dev/vda rw\n";
    let it = Inspection { mounts: mounts::of(container, host), ..Inspection::default() };
    let found = exposures(&it, Held::Nobody("podman"));
    let paths: Vec<&str> =
        found.iter().filter(|one| one.id == "host-path").map(|one| one.has.as_str()).collect();
    assert_eq!(
        paths,
        ["`/` of the host at `/`, writable", "`/etc/shadow` of the host at `/etc/hosts`"]
    );
}

#[test]
fn ids_are_those_of_both_sides() {
    let privileges = ProcessPrivileges { uids: [100_033; 4], ..ProcessPrivileges::default() };
    let found = users(&privileges, "         0     100000      65536\n");
    assert_eq!((found.uid, found.uid_inside, found.root_is_root()), (100_033, Some(33), false));
    let found = users(&ProcessPrivileges::default(), "0 0 4294967295\n");
    assert_eq!((found.uid, found.uid_inside, found.root_is_root()), (0, Some(0), true));
    assert_eq!(users(&privileges, "rubbish\n0 0\n4294967290 100000 65536\n").uid_inside, None);
}

#[test]
fn this_process_can_be_looked_at() {
    let found = Inspection::of(std::process::id()).unwrap();
    assert!(found.shares("mount") && found.shares("pid"), "{:?}", found.namespaces);
    assert!(
        exposures(&found, Held::Nobody("")).iter().any(|exposure| exposure.id == "host-namespace")
    );
    assert!(Inspection::of(u32::MAX).is_err());
}

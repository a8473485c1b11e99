//! What a container may do.

use palisade_policy::{Limits, Network, Seccomp, UserMode, UserNamespace};
use palisade_runtime::{RunError, Stdio};
use palisade_sys::process::Exit;

use crate::bench::{Bench, can_run, restricted, value};

#[test]
fn a_restricted_container_has_the_least_privilege() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let before = bench.traces();
    let (outcome, output) = bench
        .run(
            &restricted(),
            "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; \
             echo map: $(cat /proc/self/uid_map); echo id: $(id -u) $(id -g); \
             touch /x; mount -t tmpfs x /tmp; \
             echo keys: $(cat /proc/keys | head -c 20); echo files: $(ulimit -n); \
             echo tmp: $(stat -c %a /scratch); echo ok > /tmp/file && echo written: yes; \
             echo net: $(ls /sys/class/net); \
             echo host: $(hostname) $(cat /etc/hostname); echo name: $(head -n 1 /etc/hosts); (echo x > /etc/hosts) 2>/dev/null || echo hosts: refused; echo cgroup: $(cat /proc/self/cgroup); \
             unshare -U true; exit 7",
        )
        .unwrap();
    assert_eq!(outcome.exit, Some(Exit::Code(7)), "{output}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(&output, set), Some("0000000000000000"), "{output}");
    }
    let ids = outcome.record.run.ids.unwrap();
    let short = outcome.record.container.short_id();
    for (key, expected) in [
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("map", &*format!("0 {} 65536", ids.first)),
        ("id", "65532 65532"),
        ("keys", ""),
        ("files", "256"),
        ("tmp", "1777"),
        ("written", "yes"),
        ("net", "lo"),
        ("hosts", "refused"),
        ("host", &*format!("{short} {short}")),
        ("name", &*format!("127.0.0.1 localhost {short}")),
    ] {
        assert_eq!(value(&output, key), Some(expected), "{key} in {output}");
    }
    assert!(ids.first >= 0x0100_0000);
    assert!(output.contains("Read-only file system"), "{output}");
    assert!(output.contains("mount: permission denied"), "{output}");
    assert!(output.contains("unshare") && output.contains("Operation not permitted"), "{output}");
    // In its cgroup namespace every path is the root: nothing tells of the host.
    assert!(value(&output, "cgroup").unwrap().split(' ').all(|line| line.ends_with(":/")));
    assert_eq!(bench.traces(), before, "nothing is left");
    assert!(!outcome.changes.is_empty());
}

#[test]
fn limits_hold() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    // 24 processes are allowed: most of 60 background sleeps cannot be forked.
    let (_, output) = bench
        .run(&restricted(), "for i in $(head -c 120 /dev/zero | tail -c 60 >/dev/null; echo 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30); do sleep 5 & done; wait")
        .unwrap();
    assert!(output.contains("can't fork"), "{output}");
    // 48 MiB are allowed: 96 MiB in a buffer end the program.
    let (outcome, output) = bench
        .run_command(
            &restricted(),
            &["/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=96M", "count=1"],
        )
        .unwrap();
    assert_eq!(outcome.exit, Some(Exit::Signal(9)), "{output}");
    assert_eq!(outcome.exit.unwrap().shell_code(), 137);
    assert!(outcome.out_of_memory, "and the user is told why");
}

/// Soft and hard of each row of `/proc/PID/limits`; none is `u64::MAX`.
fn kernel_limits(text: &str) -> std::collections::BTreeMap<String, (u64, u64)> {
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let row = |line: &str| {
        let name = line.get(4..26)?.trim().to_string();
        let mut numbers = line.get(26..)?.split_whitespace();
        Some((name, (number(numbers.next()?), number(numbers.next()?))))
    };
    text.lines().filter(|line| line.starts_with("Max ")).filter_map(row).collect()
}

/// All sixteen are the policy's or the caller's, and written down; the lowest that a policy may
/// have let a program start.
#[test]
fn limits_of_processes_are_the_policy_s_or_the_caller_s() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let own = kernel_limits(&std::fs::read_to_string("/proc/self/limits").unwrap());
    assert_eq!(own.len(), 16, "{own:?}");
    let limits = [
        ("open files", 256),
        ("core file size", 0),
        ("processes", 50),
        ("locked memory", 64 << 10),
        ("stack size", 1 << 20),
        ("file size", 1 << 20),
        ("address space", 2 << 30),
        ("data size", 256 << 20),
        ("cpu time", 100),
        ("realtime timeout", 100_000),
        ("nice priority", 3),
        ("realtime priority", 2),
        ("pending signals", 77),
        ("msgqueue size", 8192),
    ];
    let mut policy = restricted();
    let check = |by_policy: &[(&str, u64)]| {
        let (outcome, output) = bench.run(&policy, "cat /proc/self/limits").unwrap();
        assert_eq!(outcome.exit, Some(Exit::Code(0)), "{output}");
        let inside = kernel_limits(&output);
        assert_eq!(inside.len(), 16, "{output}");
        for (name, limit) in &inside {
            let known = by_policy.iter().find(|(known, _)| known == name);
            let expected = known.map_or(own[name], |(_, most)| (*most, *most));
            assert_eq!(*limit, expected, "{name}: {output}");
        }
        let n = outcome.changes.iter().filter(|c| c.path.starts_with("/process/rlimits/")).count();
        assert_eq!(n, 16, "each is explained");
    };
    check(&[("open files", 256), ("core file size", 0)]);
    policy.containers.limits = Limits {
        nproc: Some(50),
        memlock_bytes: Some(64 << 10),
        stack_bytes: Some(1 << 20),
        fsize_bytes: Some(1 << 20),
        as_bytes: Some(2 << 30),
        data_bytes: Some(256 << 20),
        cpu_seconds: Some(100),
        rttime_us: Some(100_000),
        nice: Some(3),
        rtprio: Some(2),
        sigpending: Some(77),
        msgqueue_bytes: Some(8192),
        ..policy.containers.limits.clone()
    };
    let check = |by_policy: &[(&str, u64)]| {
        let (_, output) = bench.run(&policy, "cat /proc/self/limits").unwrap();
        let inside = kernel_limits(&output);
        let may_raise = palisade_sys::facts::may_raise_rlimits();
        for (name, most) in by_policy {
            // Root without `CAP_SYS_RESOURCE` keeps to its own.
            let most = if may_raise { *most } else { own[*name].1.min(*most) };
            assert_eq!(inside.get(*name), Some(&(most, most)), "{name}: {output}");
        }
    };
    check(&limits);
    policy.containers.limits.cpu_seconds = Some(1);
    let (outcome, output) = bench.run(&policy, "while :; do :; done").unwrap();
    assert_eq!(outcome.exit, Some(Exit::Signal(9)), "{output}");
}

#[test]
fn limits_are_read_back_and_the_record_is_there_when_the_program_starts() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let policy = restricted();
    let seen = std::sync::Mutex::new(None);
    let started = |record: &palisade_runtime::Record, _: &[palisade_harden::Change]| {
        let id = &record.container.id;
        let on_disk = bench.runtime.record(id).unwrap();
        assert_eq!(&on_disk, record);
        let bytes = std::fs::read(bench.runtime.paths().record(id)).unwrap();
        let model: palisade_model::Container = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(model, record.container, "the sensor reads the record as a container");
        let limits = bench.runtime.group(id).unwrap().limits();
        *seen.lock().unwrap() = Some((limits, record.container.init_pid));
        let pid = record.container.init_pid.unwrap();
        assert!(bench.runtime.group(id).unwrap().processes().unwrap().contains(&pid));
        let privileges = palisade_sys::capability::of_process(pid).unwrap();
        assert!(privileges.uids[0] >= 0x0100_0000, "root inside is nobody outside");
    };
    let mut request = bench.request(&policy, &["/bin/sleep", "0.3"]);
    request.started = &started;
    bench.runtime.run(&request, Stdio::default()).unwrap();
    let (limits, _) = seen.lock().unwrap().unwrap();
    assert_eq!(limits.memory_bytes, Some(48 << 20));
    assert_eq!(limits.pids, Some(24));
    assert_eq!(limits.cpu_millis, Some(1000));
}

#[test]
fn the_image_user_is_resolved_in_the_image_and_unknown_ones_are_refused() {
    if !can_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.image.config.user = "web".into();
    let (_, output) =
        bench.run(&restricted(), "id -u; id -g; touch /tmp/x && stat -c %u /tmp/x").unwrap();
    assert_eq!(output, "33\n33\n33\n");
    bench.image.config.user = "nobody-here".into();
    let before = bench.traces();
    let error = bench.run(&restricted(), "true").unwrap_err();
    assert!(matches!(error, RunError::User(_)), "{error}");
    assert_eq!(bench.traces(), before);
}

#[test]
fn a_weak_policy_is_weak_and_a_private_one_private() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let mut policy = restricted();
    policy.containers.read_only_root = false;
    policy.containers.user = UserMode::Image;
    policy.containers.seccomp = Seccomp::Default;
    policy.containers.capabilities = vec!["CHOWN".into(), "SETUID".into()];
    let script = "touch /x && echo wrote: $(stat -c %u /x); chmod 4755 /x && echo suid: $(stat -c %a /x); grep CapEff /proc/self/status";
    let (_, output) = bench.run(&policy, script).unwrap();
    assert_eq!(value(&output, "wrote"), Some("0"), "{output}");
    assert_eq!(value(&output, "suid"), Some("4755"), "{output}");
    assert_eq!(value(&output, "CapEff"), Some("0000000000000081"), "{output}");
    // Each container sees the image as it was.
    let (_, output) = bench.run(&policy, "ls /x").unwrap();
    assert!(output.contains("No such file"), "{output}");

    policy.containers.user_namespace = UserNamespace::Host;
    policy.containers.network = Network::Host;
    policy.containers.seccomp = Seccomp::Unconfined;
    let (outcome, output) = bench
        .run(
            &policy,
            "cat /proc/self/uid_map; grep ^Seccomp: /proc/self/status; ls /sys/class/net | wc -l",
        )
        .unwrap();
    assert!(outcome.record.run.ids.is_none());
    assert!(output.contains("4294967295") && output.contains("Seccomp:\t0"), "{output}");
    policy.containers.user_namespace = UserNamespace::Private;
    let (_, output) = bench.run(&policy, "cat /proc/self/uid_map; ls /sys/class").unwrap();
    assert!(output.contains("65536"), "a private user namespace on the host's network: {output}");
}

#[test]
fn a_container_runs_under_each_policy_that_comes_with_the_product() {
    if !can_run() {
        return;
    }
    let mut bench = Bench::new();
    bench.image.config.volumes = vec!["/data".into()];
    bench.image.config.user = "web".into();
    let before = bench.traces();
    for name in palisade_policy::builtin::NAMES {
        let text = palisade_policy::builtin::text(name).unwrap();
        let policy = palisade_policy::parse(text, name, ".".as_ref()).unwrap().policy;
        // Both streams come into one text, and a complaint could stand in the middle of a line.
        let script = "{ echo x > /data/file; } 2>/dev/null && \
                      echo volume: $(stat -c %u /data/file); \
                      echo x > /tmp/file && echo tmp: yes; grep CapEff: /proc/self/status";
        let (outcome, output) = bench.run(&policy, script).unwrap();
        eprintln!("{name}: {:?} {output:?}", outcome.exit);
        assert_eq!(outcome.exit, Some(Exit::Code(0)), "{name}: {output}");
        assert_eq!(value(&output, "tmp"), Some("yes"), "{name}: {output}");
        if policy.containers.read_only_root {
            assert_eq!(value(&output, "volume"), Some("33"), "{name}: {output}");
        }
    }
    assert_eq!(bench.traces(), before);
}

#[test]
fn programs_open_their_standard_output_by_name() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let (_, output) =
        bench.run(&restricted(), "echo one > /dev/stdout; echo two > /proc/self/fd/2").unwrap();
    // Two pipes: their order is not defined.
    assert!(output.contains("one\n") && output.contains("two\n"), "{output}");
}

/// The attack surface that a shared measuring program reaches from inside, when it is at
/// hand: one line for each of its probes, `ALLOWED` or the error.
#[test]
fn hardly_a_probe_of_the_attack_surface_gets_through() {
    if !can_run() {
        return;
    }
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/tools/probe.c");
    let bench = Bench::new();
    let probe = bench.folder.path().join("image/bin/probe");
    let compiled = std::process::Command::new("gcc")
        .args(["-static", "-O2", "-w", "-o"])
        .arg(&probe)
        .arg(source)
        .stderr(std::process::Stdio::null())
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs gcc and {source}");
        return;
    }
    let mut weaker = restricted();
    weaker.containers.seccomp = Seccomp::Default;
    for (policy, allowed_max) in [(restricted(), 3), (weaker, 5)] {
        let (_, output) = bench.run(&policy, "/bin/probe; true").unwrap();
        let n = output.lines().count();
        let allowed: Vec<&str> =
            output.lines().filter(|line| line.ends_with("ALLOWED")).map(str::trim).collect();
        eprintln!(
            "{:?}: {} of {n} reachable: {allowed:?}",
            policy.containers.seccomp,
            allowed.len()
        );
        assert!(n >= 55, "{output}");
        assert!(allowed.len() <= allowed_max, "{output}");
    }
}

#[test]
fn profiles_work_without_no_new_privileges_too() {
    if !can_run() {
        return;
    }
    let bench = Bench::new();
    let mut policy = restricted();
    // The OCI runtime then loads the filter early and has to live with it itself.
    policy.containers.no_new_privileges = false;
    for profile in [Seccomp::Strict, Seccomp::Default] {
        policy.containers.seccomp = profile;
        let script = "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status";
        let (_, output) = bench.run(&policy, script).unwrap();
        assert_eq!(value(&output, "NoNewPrivs"), Some("0"), "{output}");
        assert_eq!(value(&output, "Seccomp"), Some("2"), "{output}");
    }
}

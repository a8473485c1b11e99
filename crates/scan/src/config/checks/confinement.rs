//! Checks of what separates a container from its host: privileges, namespaces, mounts.

use palisade_model::Severity;

use super::super::settings::{Container, Platform, Profile, Role, Setting};
use super::{Check, DOCKER_SECURITY, Facts, Judge, POD_SECURITY, SECURITY_CONTEXT, Sink, shown};

macro_rules! check {
    ($name:literal, $id:literal, $title:literal, $why:literal, $fix:literal, $references:expr, $judge:expr) => {
        Check {
            name: $name,
            id: $id,
            title: $title,
            why: $why,
            fix: $fix,
            references: $references,
            judge: Judge::Container($judge),
        }
    };
}

pub(super) const CHECKS: &[Check] = &[
    check!(
        "privileged",
        "RUN-001",
        "the container is privileged",
        "A privileged container has every capability, every device and no seccomp filter: root in it is root on the host.",
        "remove `privileged`; add the one capability or device that is needed",
        &[POD_SECURITY, DOCKER_SECURITY],
        |c, _, sink| flag(c, &c.privileged, c.place, sink, "is privileged")
    ),
    check!(
        "engine-socket-mounted",
        "RUN-002",
        "the socket of a container engine is mounted",
        "Whoever may talk to the engine can start a privileged container and owns the host.",
        "remove the mount; use an API proxy that allows the few calls needed, or a rootless builder",
        &[DOCKER_SECURITY],
        engine_socket
    ),
    check!(
        "host-pid",
        "RUN-003",
        "the host's process namespace is shared",
        "Every process of the host is visible, with its environment, and can be signalled or traced.",
        "remove it; a sidecar can share the pod's namespace (`shareProcessNamespace`)",
        &[POD_SECURITY],
        |c, _, sink| flag(
            c,
            &c.host_pid,
            c.shared_place,
            sink,
            "shares the host's process namespace"
        )
    ),
    check!(
        "host-ipc",
        "RUN-004",
        "the host's IPC namespace is shared",
        "Shared memory of the host's programs can be read and written.",
        "remove it, or share between the containers that need it",
        &[POD_SECURITY],
        |c, _, sink| flag(c, &c.host_ipc, c.shared_place, sink, "shares the host's IPC namespace")
    ),
    check!(
        "host-network",
        "RUN-005",
        "the host's network is shared",
        "Services that listen on the host's loopback are reachable, traffic can be seen, and network policies do not apply.",
        "remove it; publish the ports that are needed",
        &[POD_SECURITY],
        |c, _, sink| flag(c, &c.host_network, c.shared_place, sink, "shares the host's network")
    ),
    check!(
        "probe-of-host",
        "RUN-005",
        "a probe or hook names a host",
        "The kubelet makes the connection, from the node's network: a pod can so reach what only nodes may reach.",
        "remove `host`; probes then go to the pod itself",
        &[POD_SECURITY],
        |c, _, sink| {
            for host in &c.probe_hosts {
                let message = format!("has the node connect to {}", shown(&host.value));
                sink.add_as(Severity::Medium, host.place, message);
            }
        }
    ),
    check!(
        "host-namespaces",
        "RUN-006",
        "the host's UTS, user or cgroup namespace is shared",
        "The host's name can be changed, root in the container is root outside, or the host's control groups are visible.",
        "remove it",
        &[DOCKER_SECURITY],
        |c, _, sink| {
            flag(c, &c.host_uts, c.place, sink, "shares the host's UTS namespace");
            flag(c, &c.host_cgroup, c.place, sink, "shares the host's cgroup namespace");
            // Of a pod that is judged by `host-users`.
            if c.platform != Platform::Kubernetes {
                flag(c, &c.host_user, c.place, sink, "shares the host's user namespace");
            }
        }
    ),
    check!(
        "capability-added",
        "RUN-007",
        "a capability beyond the default is added",
        "These capabilities are most of root: loading modules, tracing, mounting, raw devices, every network setting.",
        "drop `ALL` and add back only what the program fails without",
        &[POD_SECURITY, "https://man7.org/linux/man-pages/man7/capabilities.7.html"],
        capability_added
    ),
    check!(
        "net-raw-kept",
        "RUN-008",
        "the capability NET_RAW is not dropped",
        "With raw sockets a container can forge packets and impersonate its neighbours.",
        "drop `NET_RAW`, or `ALL`",
        &[POD_SECURITY],
        |c, _, sink| {
            // One that is added is `capability-added`'s.
            let is_added = c.capabilities_added.iter().any(|c| c.value == "NET_RAW");
            if judges_capabilities(c) && !is_added && !c.drops("NET_RAW") {
                sink.add(c.place, "keeps the capability NET_RAW");
            }
        }
    ),
    check!(
        "capabilities-kept",
        "RUN-009",
        "capabilities are not dropped",
        "Engines give fourteen capabilities to every container; few programs need one of them.",
        "drop `ALL`, and add back what is needed (often nothing, at most NET_BIND_SERVICE)",
        &[POD_SECURITY, SECURITY_CONTEXT],
        capabilities_kept
    ),
    check!(
        "privilege-escalation",
        "RUN-010",
        "new privileges are possible",
        "A set-user-id program or file capability in the image gives more rights than the container began with.",
        "set `allowPrivilegeEscalation: false` (Kubernetes) or `no-new-privileges:true` (Docker, Compose)",
        &[SECURITY_CONTEXT, "https://docs.kernel.org/userspace-api/no_new_privs.html"],
        |c, _, sink| {
            if c.no_new_privileges.effective() == Some(&false) {
                let place = c.no_new_privileges.place_or(c.place);
                sink.add(place, "may gain privileges that it did not begin with");
            }
        }
    ),
    check!(
        "seccomp-unconfined",
        "RUN-011",
        "system calls are not filtered",
        "The default filter blocks the calls that most kernel exploits begin with.",
        "remove `unconfined`; use the runtime's default profile or a tailored one",
        &["https://kubernetes.io/docs/tutorials/security/seccomp/"],
        |c, _, sink| {
            if c.seccomp.effective() == Some(&Profile::Unconfined) {
                sink.add(c.seccomp.place_or(c.place), "runs without a seccomp filter");
            }
        }
    ),
    check!(
        "seccomp-not-set",
        "RUN-012",
        "no seccomp profile is set",
        "Kubernetes filters no system calls unless a profile is set or the node's default says so.",
        "set `seccompProfile.type: RuntimeDefault` for the pod",
        &["https://kubernetes.io/docs/tutorials/security/seccomp/", POD_SECURITY],
        |c, _, sink| {
            if c.platform == Platform::Kubernetes && c.seccomp == Setting::Unset {
                sink.add(c.place, "has no seccomp profile");
            }
        }
    ),
    check!(
        "mandatory-access-off",
        "RUN-013",
        "AppArmor or SELinux confinement is off or changed",
        "Mandatory access control is what still holds when another confinement has failed.",
        "remove the option, or name a profile of your own",
        &[POD_SECURITY, DOCKER_SECURITY],
        mandatory_access
    ),
    check!(
        "writable-root",
        "RUN-014",
        "the root file system is writable",
        "An intruder can replace the program and leave tools behind.",
        "make it read only (`readOnlyRootFilesystem: true`, `read_only: true`), with a tmpfs or volume for what must be written",
        &[SECURITY_CONTEXT],
        |c, _, sink| {
            if c.read_only_root.effective() == Some(&false) {
                sink.add(c.read_only_root.place_or(c.place), "has a writable root file system");
            }
        }
    ),
    check!(
        "host-path-mounted",
        "RUN-015",
        "a sensitive path of the host is mounted",
        "What is mounted can be read, and often written: keys, accounts, the engine's state, devices.",
        "mount a volume, or the one file that is needed, read only",
        &[POD_SECURITY, "https://kubernetes.io/docs/concepts/storage/volumes/#hostpath"],
        host_path
    ),
    check!(
        "volume-kind",
        "RUN-015",
        "a volume is of a kind that gives the pod credentials or the host's storage",
        "Volumes of these kinds pass by the claims with which an administrator decides who may mount what.",
        "use a PersistentVolumeClaim",
        &[POD_SECURITY],
        |c, _, sink| {
            for kind in &c.volume_kinds {
                let message = format!("has a volume of the kind {}", shown(&kind.value));
                sink.add_as(Severity::Low, kind.place, message);
            }
        }
    ),
    check!(
        "shared-propagation",
        "RUN-016",
        "mounts are propagated to the host",
        "What the container mounts appears on the host and in every other container that shares the mount.",
        "use private propagation, or `rslave` (HostToContainer) to follow the host's mounts",
        &["https://kubernetes.io/docs/concepts/storage/volumes/#mount-propagation"],
        |c, _, sink| {
            for mount in &c.mounts {
                let propagation = mount.value.propagation.as_deref().unwrap_or_default();
                if matches!(propagation, "shared" | "rshared" | "Bidirectional") {
                    let target = shown(&mount.value.target);
                    sink.add(mount.place, format!("propagates mounts below {target} to the host"));
                }
            }
        }
    ),
    check!(
        "device-exposed",
        "RUN-017",
        "a device of the host is exposed",
        "A device is reached without any file permission of the host in between: disks, memory, GPUs.",
        "remove the device, or narrow its permissions (`:r`)",
        &[DOCKER_SECURITY],
        |c, _, sink| {
            for device in &c.devices {
                sink.add(device.place, format!("has the host's device {}", shown(&device.value)));
            }
        }
    ),
    check!(
        "runs-as-root",
        "RUN-018",
        "the container runs as root, or may",
        "Root in a container is one mistake of the kernel or of a mount away from root on the host.",
        "run as an unprivileged number: `runAsNonRoot: true` and `runAsUser` (Kubernetes), `user` (Compose, ECS)",
        &[POD_SECURITY, SECURITY_CONTEXT],
        runs_as_root
    ),
    check!(
        "low-user-id",
        "RUN-019",
        "the user or group has a number that the host may use",
        "An id below 10000 may belong to an account of the host, and group 0 owns many of an image's files.",
        "choose numbers of 10000 and above",
        &[SECURITY_CONTEXT],
        low_ids
    ),
    check!(
        "unsafe-sysctl",
        "RUN-025",
        "a sysctl is set that is not known to be safe",
        "Most sysctls are not separate for each container: they change the host or its other containers.",
        "set it on the node, or use one of those that Kubernetes lists as safe",
        &["https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/", POD_SECURITY],
        |c, _, sink| {
            for sysctl in &c.sysctls {
                if !SAFE_SYSCTLS.contains(&sysctl.value.name.as_str()) {
                    sink.add(sysctl.place, format!("sets {}", shown(&sysctl.value.name)));
                }
            }
        }
    ),
    check!(
        "proc-unmasked",
        "RUN-026",
        "paths of /proc are not masked",
        "Masked paths hide kernel memory, keys and switches that act on the whole host.",
        "remove `procMount: Unmasked` (or `systempaths=unconfined`)",
        &[POD_SECURITY],
        |c, _, sink| {
            // In a user namespace the paths give little away: baseline allows it there, and
            // restricted does not.
            if c.proc_unmasked.is_true() && has_user_namespace(c) {
                let place = c.proc_unmasked.place_or(c.place);
                sink.add_as(Severity::Low, place, "sees /proc without masks, in a user namespace");
            } else {
                flag(c, &c.proc_unmasked, c.place, sink, "sees /proc without masks");
            }
        }
    ),
    check!(
        "host-process",
        "RUN-030",
        "a Windows container runs as a process of the host",
        "A HostProcess container has the rights of its account on the node itself.",
        "remove `windowsOptions.hostProcess`",
        &["https://kubernetes.io/docs/tasks/configure-pod-container/create-hostprocess-pod/"],
        |c, _, sink| flag(c, &c.host_process, c.place, sink, "runs as a process of the host")
    ),
    check!(
        "host-users",
        "RUN-031",
        "the pod has no user namespace of its own",
        "Without a user namespace the ids in the container are those of the node.",
        "set `hostUsers: false` where the cluster supports it (Kubernetes 1.33, kernel 6.3)",
        &["https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/"],
        |c, _, sink| {
            if c.platform == Platform::Kubernetes && c.host_user.is_true() {
                sink.add(c.host_user.place_or(c.shared_place), "has the node's user ids");
            }
        }
    ),
];

fn flag(
    _: &Container,
    setting: &Setting<bool>,
    otherwise: palisade_base::yaml::Place,
    sink: &mut Sink,
    message: &str,
) {
    if setting.is_true() {
        sink.add(setting.place_or(otherwise), message);
    }
}

/// Sockets that give the host away. Folders that hold them are sensitive paths.
const ENGINE_SOCKETS: [&str; 9] = [
    "docker.sock",
    "docker/docker.sock",
    "containerd/containerd.sock",
    "podman/podman.sock",
    "crio/crio.sock",
    "cri-dockerd.sock",
    "dockershim.sock",
    "k3s/containerd/containerd.sock",
    "buildkit/buildkitd.sock",
];

fn is_engine_socket(path: &str) -> bool {
    let path = path.trim_end_matches('/');
    let below_run = path.strip_prefix("/var/run/").or_else(|| path.strip_prefix("/run/"));
    below_run.is_some_and(|rest| ENGINE_SOCKETS.contains(&rest))
        || (path.starts_with("/run/user/") && path.ends_with("docker.sock"))
}

fn engine_socket(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for mount in &c.mounts {
        if let Some(path) = mount.value.host_path.as_deref().filter(|path| is_engine_socket(path)) {
            sink.add(mount.place, format!("mounts the engine's socket {}", shown(path)));
        }
    }
}

/// What Docker and containerd give without being asked.
pub(super) const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Those that amount to root on the host or lead there.
const DANGEROUS_CAPABILITIES: [&str; 13] = [
    "ALL",
    "SYS_ADMIN",
    "SYS_MODULE",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_BOOT",
    "BPF",
    "PERFMON",
    "DAC_READ_SEARCH",
    "NET_ADMIN",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "SYSLOG",
];

fn capability_added(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for added in &c.capabilities_added {
        let name = added.value.as_str();
        let message = format!("has the capability {}", shown(name));
        if DANGEROUS_CAPABILITIES.contains(&name) {
            sink.add(added.place, message);
        } else if name == "NET_RAW" || !DEFAULT_CAPABILITIES.contains(&name) {
            sink.add_as(Severity::Medium, added.place, message);
        }
    }
}

/// Dockerfiles and images have no capabilities.
fn judges_capabilities(c: &Container) -> bool {
    !c.is_windows && !matches!(c.platform, Platform::Dockerfile | Platform::Image | Platform::Scc)
}

fn capabilities_kept(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    if !judges_capabilities(c) && c.role != Role::Allowed {
        return;
    }
    if !c.capabilities_dropped.iter().any(|dropped| dropped.value == "ALL") {
        let place = c.capabilities_dropped.first().map_or(c.place, |first| first.place);
        return sink.add(place, "does not drop all capabilities");
    }
    // What is beyond the default is reported as added.
    let kept = c.capabilities_added.iter().filter(|added| {
        !matches!(added.value.as_str(), "NET_BIND_SERVICE" | "NET_RAW")
            && DEFAULT_CAPABILITIES.contains(&added.value.as_str())
    });
    for added in kept {
        sink.add(added.place, format!("adds back the capability {}", shown(&added.value)));
    }
}

fn mandatory_access(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    if let Some((Profile::Unconfined, place)) = c.apparmor.known() {
        sink.add(place, "runs without AppArmor");
    }
    let Some((selinux, place)) = c.selinux.known() else { return };
    let safe = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let type_name = selinux.type_name.as_deref().unwrap_or_default();
    if selinux.disabled {
        sink.add(place, "runs without SELinux labels");
    } else if !safe.contains(&type_name) {
        sink.add(place, format!("has the SELinux type {}", shown(type_name)));
    } else if selinux.has_user_or_role {
        sink.add(place, "has an SELinux user or role of its own");
    }
}

/// Paths whose content gives the host away.
const SENSITIVE_PATHS: [&str; 22] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/rancher",
    "/var/log",
    "/var/run",
    "/var/spool/cron",
];

/// Files that everybody may read and that tell nothing.
const HARMLESS_PATHS: [&str; 9] = [
    "/etc/localtime",
    "/etc/timezone",
    "/etc/machine-id",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/ssl/certs",
    "/etc/pki/ca-trust",
    "/usr/share/zoneinfo",
    "/usr/share/ca-certificates",
];

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn host_path(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    for mount in &c.mounts {
        let Some(path) = mount.value.host_path.as_deref() else { continue };
        let plain = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        if is_engine_socket(plain) {
            continue;
        }
        let harmless =
            mount.value.read_only && HARMLESS_PATHS.iter().any(|folder| is_within(plain, folder));
        let sensitive =
            plain == "/" || SENSITIVE_PATHS.iter().any(|folder| is_within(plain, folder));
        let mode = if mount.value.read_only { "read only" } else { "writable" };
        let message = format!("mounts the host's {}, {mode}", shown(path));
        if sensitive && !harmless {
            sink.add(mount.place, message);
        } else if c.platform == Platform::Kubernetes && !harmless {
            // The baseline of Pod Security Standards allows no path of the host at all.
            sink.add_as(Severity::Medium, mount.place, message);
        }
    }
}

fn has_user_namespace(c: &Container) -> bool {
    c.platform == Platform::Kubernetes && c.host_user.effective() == Some(&false)
}

fn runs_as_root(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    // The build's own check speaks of Dockerfiles and images.
    if matches!(c.platform, Platform::Dockerfile | Platform::Image) {
        return;
    }
    if let Some(user) = c.user.effective() {
        if user.is_root() {
            let number = if user.name.is_empty() { "0" } else { user.name.as_str() };
            let message = format!("runs as root (user {})", shown(number));
            return sink.add(c.user.place_or(c.place), message);
        }
        // A number says all there is to say; a name is looked up in the image.
        if user.uid().is_some() {
            return;
        }
    }
    // In a user namespace root is nobody: Pod Security Standards waive the demand.
    if c.run_as_non_root.effective() == Some(&false) && !has_user_namespace(c) {
        let place = c.run_as_non_root.place_or(c.place);
        sink.add(place, "may run as root: `runAsNonRoot` is not true");
    }
}

/// Ids below this number belong to the accounts of hosts.
const LOW_ID_MAX: u64 = 10_000;

fn low_ids(c: &Container, _: &Facts<'_>, sink: &mut Sink) {
    if c.platform != Platform::Kubernetes {
        return;
    }
    if let Some((user, place)) = c.user.known()
        && let Some(uid) = user.uid().filter(|uid| (1..LOW_ID_MAX).contains(uid))
    {
        sink.add(place, format!("runs as user {uid}"));
    }
    if let Some((gid, place)) = c.group.known().filter(|(gid, _)| **gid < LOW_ID_MAX) {
        sink.add(place, format!("runs as group {gid}"));
    }
    for group in c.groups.iter().filter(|group| group.value == 0) {
        sink.add(group.place, "is in group 0");
    }
}

/// Pod Security Standards, baseline.
const SAFE_SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_notsent_lowat",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

//! What a container's privileges expose, and the change that closes it.

use palisade_harden::{ENGINE_CAPABILITIES, host_path_exposes};
use serde::Serialize;

use super::Inspection;

/// How much an exposure gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A step of an attack, or harm to neighbours.
    Low,
    /// More of the kernel or of the network than a program needs.
    Medium,
    /// The host, to whoever takes the program over.
    High,
}

/// One exposure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Exposure {
    /// A stable name.
    pub id: &'static str,
    /// How much.
    pub level: Level,
    /// What the container has.
    pub has: String,
    /// What that exposes.
    pub exposes: String,
    /// The change of the policy that closes it.
    pub policy: String,
}

/// Who holds the container to a policy: what can be done about an exposure hangs on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held<'a> {
    /// `palisade run`: engines and their exceptions have no part in it.
    Run,
    /// The runtime of an engine, by a policy that is enforced: what is exposed, it allows.
    Enforced,
    /// The runtime of an engine, by a policy that only reports.
    Reported,
    /// Nobody. The engine's name.
    Nobody(&'a str),
}

impl Held<'_> {
    /// The remedy against what no policy allows but by an exception.
    fn exception(self, words: &str) -> String {
        match self {
            Self::Enforced => format!("engines.exceptions: without {words}"),
            Self::Reported => format!("engines.mode: enforce; engines.exceptions: without {words}"),
            Self::Run | Self::Nobody(_) => {
                format!("{}: no policy allows it without an exception", self.controlled())
            }
        }
    }

    /// How the container comes under a policy.
    pub fn controlled(self) -> String {
        match self {
            Self::Run => "palisade run".into(),
            Self::Enforced | Self::Reported => "engines.mode: enforce".into(),
            Self::Nobody("cri") => "palisade install containerd".into(),
            Self::Nobody(engine @ ("docker" | "containerd" | "podman" | "crio")) => {
                format!("palisade install {engine}")
            }
            Self::Nobody("lxc") => "palisade harden lxc CONFIG".into(),
            Self::Nobody("runc") => "palisade harden config.json --in-place".into(),
            Self::Nobody(_) => "palisade run, or palisade install ENGINE".into(),
        }
    }
}

/// What a capability gives, for those that give more than a program of its own needs.
const CAPABILITIES: [(&str, Level, &str); 28] = [
    ("SYS_ADMIN", Level::High, "mounts, control groups and kernel settings: many ways to the host"),
    ("SYS_MODULE", Level::High, "loads code into the kernel"),
    ("SYS_RAWIO", Level::High, "reads and writes memory and ports of the machine"),
    ("SYS_PTRACE", Level::High, "reads and changes every process that it sees"),
    ("SYS_BOOT", Level::High, "restarts the machine or loads another kernel"),
    ("DAC_READ_SEARCH", Level::High, "opens files of the host by handle (Shocker)"),
    ("BPF", Level::High, "loads programs into the kernel"),
    ("PERFMON", Level::High, "watches the kernel and other programs"),
    ("CHECKPOINT_RESTORE", Level::High, "puts processes together as it likes"),
    ("MAC_ADMIN", Level::High, "changes the rules of AppArmor or SELinux"),
    ("MAC_OVERRIDE", Level::High, "passes over the rules of a security module"),
    ("SYSLOG", Level::Medium, "reads addresses and messages of the kernel"),
    ("NET_ADMIN", Level::Medium, "changes addresses, routes and filters of its network"),
    ("NET_RAW", Level::Medium, "forges and reads packets of its network (ARP, DNS)"),
    ("MKNOD", Level::Medium, "makes device nodes"),
    ("SYS_TIME", Level::Medium, "sets the machine's clock"),
    ("SYS_RESOURCE", Level::Medium, "lifts limits"),
    ("SYS_NICE", Level::Low, "takes processor time from others"),
    ("IPC_LOCK", Level::Low, "locks memory beyond its limit"),
    ("IPC_OWNER", Level::Medium, "reads shared memory of others in its namespace"),
    ("LINUX_IMMUTABLE", Level::Low, "makes files that cannot be removed"),
    ("AUDIT_CONTROL", Level::Medium, "changes what the kernel records"),
    ("AUDIT_READ", Level::Medium, "reads what the kernel records"),
    ("AUDIT_WRITE", Level::Low, "writes into the kernel's records"),
    ("SYS_TTY_CONFIG", Level::Low, "hangs up terminals"),
    ("SYS_PACCT", Level::Low, "records processes"),
    ("BLOCK_SUSPEND", Level::Low, "keeps the machine awake"),
    ("WAKE_ALARM", Level::Low, "wakes the machine"),
];

/// Everything that the container exposes, the worst first.
pub fn exposures(it: &Inspection, held: Held<'_>) -> Vec<Exposure> {
    let mut out = Vec::new();
    capabilities(it, &mut out);
    namespaces(it, held, &mut out);
    process(it, held, &mut out);
    files(it, held, &mut out);
    devices(it, held, &mut out);
    limits(it, &mut out);
    out.sort_by_key(|exposure| std::cmp::Reverse(exposure.level));
    out
}

fn push(
    out: &mut Vec<Exposure>,
    id: &'static str,
    level: Level,
    [has, exposes, policy]: [&str; 3],
) {
    let [has, exposes, policy] = [has, exposes, policy].map(str::to_string);
    out.push(Exposure { id, level, has, exposes, policy });
}

fn capabilities(it: &Inspection, out: &mut Vec<Exposure>) {
    let effective = &it.capabilities.effective;
    // In a user namespace of its own a capability is about what is the container's.
    let own = it.namespaces.iter().any(|n| n.kind == "user" && !n.host);
    for (name, level, exposes) in CAPABILITIES {
        let held = effective.contains(&name);
        // A program that is not root gains it by a setuid file.
        let gained = !held && !it.no_new_privileges && it.capabilities.bounding.contains(&name);
        if !held && !gained {
            continue;
        }
        let level = if own { Level::Low } else { level };
        let level = if gained { level.min(Level::Medium) } else { level };
        let by_default =
            ENGINE_CAPABILITIES.iter().any(|known| known.ends_with(&format!("_{name}")));
        let has = match (held, by_default) {
            (true, true) => format!("capability {name} (engines give it by default)"),
            (true, false) => format!("capability {name}"),
            (false, _) => format!("capability {name}, through a setuid file"),
        };
        let policy = format!("containers.capabilities: without {name}");
        push(out, "capability", level, [&has, exposes, &policy]);
    }
}

fn namespaces(it: &Inspection, held: Held<'_>, out: &mut Vec<Exposure>) {
    for (kind, level, exposes) in [
        ("mount", Level::High, "every file of the host"),
        ("pid", Level::High, "processes of the host: their files through /proc, signals to them"),
        (
            "network",
            Level::High,
            "the host's network: its loopback, abstract sockets, every packet",
        ),
        ("ipc", Level::Medium, "shared memory and semaphores of the host"),
        ("uts", Level::Low, "the host's name can be read, and changed by who has SYS_ADMIN"),
        ("cgroup", Level::Low, "the host's tree of control groups, and so its containers' names"),
    ] {
        if it.shares(kind) {
            let has = format!("the host's {kind} namespace");
            let policy = match kind {
                "network" => "containers.network: none (no exception host-network)".to_string(),
                kind => held.exception(&format!("host-{kind}")),
            };
            push(out, "host-namespace", level, [&has, exposes, &policy]);
        }
    }
    if it.users.uid == 0 {
        let has = "the program is root, and the container's root is the host's";
        let exposes = "whatever it reaches of the host it reaches as root";
        let policy = "containers.user: non_root, or fallback with fallback_user; with an engine \
                      its user namespaces (userns-remap, hostUsers: false)";
        push(out, "root", Level::Medium, [has, exposes, policy]);
    }
}

fn process(it: &Inspection, held: Held<'_>, out: &mut Vec<Exposure>) {
    if !it.no_new_privileges {
        let exposes = "setuid files and file capabilities give more than the program has";
        let policy = "containers.no_new_privileges: true";
        push(out, "new-privileges", Level::Medium, ["privileges can be gained", exposes, policy]);
    }
    if it.seccomp == "none" {
        let exposes = "every system call of the kernel, and so each of its defects";
        let policy = "containers.seccomp: default, or strict";
        push(out, "seccomp", Level::High, ["no system-call filter", exposes, policy]);
    }
    let label = it.security_label.as_deref().unwrap_or("unconfined");
    let unconfined = label.starts_with("unconfined") || label.contains(":spc_t:");
    if it.mandatory && unconfined {
        let has = format!("AppArmor or SELinux does not confine it ({label})");
        let exposes = "files and kernel paths are guarded by their modes alone";
        let policy = held.exception("security-module");
        push(out, "security-module", Level::Medium, [&has, exposes, &policy]);
    }
    for process in &it.stronger {
        let has =
            format!("process {} ({}) has {}", process.pid, process.name, process.more.join(", "));
        let exposes = "it was started with more than the container's first process";
        let policy = match held {
            Held::Run => "palisade exec: it gives no more than the first process has".to_string(),
            held => format!("{}: what is started by exec is confined as well", held.controlled()),
        };
        push(out, "stronger-process", Level::High, [&has, exposes, &policy]);
    }
}

fn files(it: &Inspection, held: Held<'_>, out: &mut Vec<Exposure>) {
    if !it.read_only_root {
        let exposes = "programs can be changed, and others dropped and started";
        let policy = "containers.read_only_root: true, with tmpfs for what is written";
        push(out, "writable-root", Level::Low, ["the root can be written to", exposes, policy]);
    }
    for mount in &it.mounts {
        let Some(host) = mount.host.as_deref().filter(|_| !mount.engine) else { continue };
        let shown = format!(
            "`{host}` of the host at `{}`{}",
            mount.destination,
            if mount.writable { ", writable" } else { "" }
        );
        if let Some(why) = host_path_exposes(host, mount.writable) {
            let policy = held.exception(&format!("mount:{host}"));
            push(out, "host-path", Level::High, [&shown, why, &policy]);
        }
        if mount.spreads {
            let exposes = "what is mounted below it appears on the host";
            let policy = held.exception("propagation");
            push(out, "propagation", Level::High, [&shown, exposes, &policy]);
        }
        let nosuid = mount.options.iter().any(|option| option == "nosuid");
        if mount.writable && !nosuid && it.users.uid == 0 {
            let exposes = "a setuid file that root writes there is root's on the host";
            let policy = format!("{}: mounts are nosuid under any policy", held.controlled());
            push(out, "setuid-mount", Level::Medium, [&shown, exposes, &policy]);
        }
    }
    if !it.unmasked.is_empty() {
        let has = format!("not hidden: {}", it.unmasked.join(", "));
        let exposes = "they tell of or reach the host's kernel";
        let policy = "containers.mask_paths: true";
        push(out, "unmasked-paths", Level::Medium, [&has, exposes, policy]);
    }
    if !it.writable_kernel.is_empty() {
        let has = format!("can be written: {}", it.writable_kernel.join(", "));
        let exposes = "kernel settings and control groups, some of which start programs of the \
                       host's root (core_pattern, release_agent)";
        let policy = "containers.mask_paths: true (no exception unmasked-paths)";
        push(out, "writable-kernel", Level::High, [&has, exposes, policy]);
    }
}

fn devices(it: &Inspection, held: Held<'_>, out: &mut Vec<Exposure>) {
    let is_all = |rule: &String| {
        let mut words = rule.split_whitespace();
        let (kind, numbers, access) = (words.next(), words.next(), words.next());
        kind.is_some_and(|kind| kind != "c" || numbers == Some("*:*"))
            && numbers.is_some_and(|numbers| numbers.starts_with('*'))
            && access.is_some_and(|access| access.contains(['r', 'w']))
    };
    if it.device_rules.as_ref().is_some_and(|rules| rules.iter().any(is_all)) {
        let exposes = "every disk and every other device of the host";
        let policy = held.exception("privileged and device:/dev/*");
        push(out, "all-devices", Level::High, ["rights to every device", exposes, &policy]);
    }
    for device in &it.devices {
        let has =
            format!("device `{}` ({} {}:{})", device.path, device.kind, device.major, device.minor);
        let level = if device.kind == 'b' { Level::High } else { Level::Medium };
        let exposes = match device.kind {
            'b' => "the content of a disk, whatever file modes say",
            _ => "the driver of a device",
        };
        let policy = format!("engines.devices: without {}", device.path);
        push(out, "device", level, [&has, exposes, &policy]);
    }
}

fn limits(it: &Inspection, out: &mut Vec<Exposure>) {
    let limits = &it.limits;
    for (missing, has, exposes, policy) in [
        (limits.pids.is_none(), "no limit of processes", "a fork bomb stops the machine", "pids"),
        (limits.memory_bytes.is_none(), "no limit of memory", "others are killed for it", "memory"),
        (limits.cpu_millis.is_none(), "no limit of processor time", "others wait for it", "cpu"),
    ] {
        if missing {
            let policy = format!("containers.limits.{policy}: a number");
            push(out, "limit", Level::Low, [has, exposes, &policy]);
        }
    }
}

//! Containers that another engine asks for: its spec, narrowed to what the policy allows.
//!
//! Unlike `palisade run`, which starts from nothing, an engine's user may have asked for less
//! than the policy allows or for more. What is less is never given back. What is more and
//! comes by default (capabilities that every engine leaves, a missing filter) is taken away;
//! what is more and was asked for by name is refused with every reason, or taken away when
//! the policy says so. Networks and user ids stay the engine's: its ports, volumes and
//! layers depend on them.

mod annotations;
mod asking;
mod capabilities;
mod devices;
mod knobs;
mod limits;
mod modules;
mod mounts;
mod narrow;

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::{Explain as _, Timestamp};
use palisade_policy::document::matches;
use palisade_policy::{
    Allowance, Asked, Builds, Containers, EngineException, Network, Policy, Seccomp, Subject,
    UserMode, UserNamespace,
};
use serde_json::{Value, json};

use crate::controls::{Hardened, Refusal, Work, seccomp_section};
use crate::{Facts, Malformed};

pub use asking::{Asking, judge_asked};
pub use capabilities::ENGINE_CAPABILITIES;
pub use devices::is_harmless_device;
pub use modules::is_ambiguous_profile;
pub use mounts::{host_path_exposes, is_engine_file, is_engine_root, mount_sources};
pub use narrow::narrow;

/// Kernel settings that Kubernetes calls safe (Pod Security Standards, baseline): they are
/// the container's own, and setting them harms nobody else.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Who a pod's sandbox runs as where the policy wants no root and names nobody: whom Kubernetes'
/// own pause runs as.
const PAUSE_USER: u32 = 65_535;

/// What a container of an engine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ContainerKind {
    /// It runs somebody's program.
    #[default]
    Workload,
    /// The engine builds an image in it.
    Build,
    /// It holds the namespaces of a Kubernetes pod and runs nothing but a pause.
    Sandbox,
}

/// Whose a container's root file system is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Root {
    /// A folder that somebody may have named.
    #[default]
    Named,
    /// Made by the engine of the container's image.
    Engines,
    /// Made by the engine over these folders, which somebody may have named; none are known where
    /// it is empty.
    Over(Vec<String>),
}

/// What is known of a container besides its spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Its id.
    pub id: String,
    /// Its name, when the engine keeps one.
    pub name: Option<String>,
    /// Reference of its image, when the engine keeps one.
    pub image: Option<String>,
    /// Digests by which the engine knows the image: of its manifest, its configuration.
    pub image_digests: Vec<String>,
    /// The digest by which the engine's user named it.
    pub asked_digests: Vec<String>,
    /// Labels and annotations, `name=value`.
    pub labels: Vec<String>,
    /// What it is for.
    pub kind: ContainerKind,
    /// Whether a kubelet asked for it: its labels and settings are the cluster's.
    pub kubernetes: bool,
    /// Kinds of namespaces that the spec joins by a path, and which are the host's own, or cannot
    /// be looked at.
    pub host_namespaces: Vec<String>,
    /// Where sources of mounts lead once links are followed, by the source as written.
    pub sources: BTreeMap<String, String>,
    /// Those sources, as written, that lead to a socket.
    pub sockets: BTreeSet<String>,
    /// Those that are overlays which the engine has mounted: of which folders, and whether what is
    /// written goes there; none are known where the list is empty.
    pub overlays: BTreeMap<String, Vec<(String, bool)>>,
    /// Whose its root file system is.
    pub root: Root,
    /// Folders in which the engine keeps images and containers, besides the usual ones; of a build
    /// those in which BuildKit keeps what it mounts.
    pub engine_folders: Vec<String>,
    /// The host's devices by the paths that the spec gives them, with type and numbers.
    pub host_devices: BTreeMap<String, (String, i64, i64)>,
    /// Whether this machine's kernel runs AppArmor.
    pub apparmor: bool,
    /// The mode of the profile that its first process names, as the kernel says it; it knows none
    /// of that name otherwise.
    pub apparmor_mode: Option<String>,
    /// The loaded profile by which an engine confines containers unless asked for another.
    pub apparmor_default: Option<String>,
    /// Whether this machine's kernel runs SELinux.
    pub selinux: bool,
    /// Whether its engine's user asked for no label.
    pub label_disabled: bool,
    /// Now, for the expiry of exceptions.
    pub now: Timestamp,
}

impl EngineFacts {
    /// A workload of which nothing is known but its id.
    pub fn unknown(id: &str, now: Timestamp) -> Self {
        Self {
            id: id.to_string(),
            name: None,
            image: None,
            image_digests: Vec::new(),
            asked_digests: Vec::new(),
            labels: Vec::new(),
            kind: ContainerKind::Workload,
            kubernetes: false,
            host_namespaces: Vec::new(),
            sources: BTreeMap::new(),
            sockets: BTreeSet::new(),
            overlays: BTreeMap::new(),
            root: Root::Named,
            engine_folders: Vec::new(),
            host_devices: BTreeMap::new(),
            apparmor: false,
            apparmor_mode: None,
            apparmor_default: None,
            selinux: false,
            label_disabled: false,
            now,
        }
    }

    /// What exceptions are looked for by.
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            id: &self.id,
            name: self.name.as_deref(),
            image: self.image.as_deref(),
            digests: &self.image_digests,
            labels: &self.labels,
        }
    }
}

/// Confines the container of `spec`, which an engine made, as `policy` says.
pub fn harden_container(
    spec: Value,
    policy: &Policy,
    facts: &Facts,
    engine: &EngineFacts,
) -> Result<Hardened, Refusal> {
    let mut work = Work::new(spec)?;
    if !work.patch.get("/process").is_some_and(Value::is_object) {
        return Err(Malformed("/process".into()).into());
    }
    let confine = Confine::new(policy, facts, engine);
    if engine.kind == ContainerKind::Build && policy.engines.builds == Builds::Refuse {
        work.refuse(
            "builds",
            "the policy lets no images be built here".into(),
            "build elsewhere, or set `engines.builds` in the policy",
        );
        return work.finish();
    }
    if confine.allows(&Allowance::Privileged) {
        return work.finish();
    }
    let privileged = confine.privileged(&mut work)?;
    confine.namespaces(&mut work)?;
    confine.capabilities(&mut work, "/process", privileged)?;
    confine.process(&mut work, "/process", true)?;
    confine.root(&mut work)?;
    confine.mounts(&mut work)?;
    confine.mount_label(&mut work)?;
    confine.devices(&mut work, privileged)?;
    confine.paths(&mut work)?;
    confine.sysctls(&mut work)?;
    confine.annotations(&mut work)?;
    confine.knobs(&mut work)?;
    confine.limits(&mut work)?;
    confine.seccomp(&mut work)?;
    work.finish()
}

/// Confines one more process in a container (`exec`): it gets no more than `policy` allows
/// and no more than the container's first process, whose `process` object is `first`, if it is
/// known.
pub fn harden_exec(
    process: Value,
    first: Option<&Value>,
    policy: &Policy,
    facts: &Facts,
    engine: &EngineFacts,
) -> Result<Hardened, Refusal> {
    let mut work = Work::new(process)?;
    let confine = Confine::new(policy, facts, engine);
    if confine.allows(&Allowance::Privileged) {
        return work.finish();
    }
    confine.capabilities(&mut work, "", false)?;
    if let Some(first) = first {
        within(&mut work, first)?;
    }
    confine.process(&mut work, "", false)?;
    confine.before_others(&mut work, "")?;
    work.finish()
}

/// What holds for one container.
struct Confine<'a> {
    policy: &'a Policy,
    /// How it is confined: the policy's section, or `baseline`'s for a build.
    containers: Containers,
    facts: &'a Facts,
    engine: &'a EngineFacts,
    /// What exceptions allow it.
    allowed: Vec<&'a Allowance>,
    /// Exceptions that would be about it, but have ended.
    ended: Vec<&'a EngineException>,
}

impl<'a> Confine<'a> {
    fn new(policy: &'a Policy, facts: &'a Facts, engine: &'a EngineFacts) -> Self {
        let about = policy.engines.exceptions.iter();
        let about = about.filter(|exception| exception.is_about(engine.subject()));
        let (held, ended): (Vec<_>, Vec<_>) =
            about.partition(|exception| engine.now <= exception.expires);
        let allowed = held.into_iter().flat_map(|exception| &exception.allow).collect();
        let is_build = engine.kind == ContainerKind::Build;
        let baseline = (is_build && policy.engines.builds == Builds::Baseline)
            .then(|| Policy::builtin("baseline"))
            .flatten();
        let containers = match baseline {
            Some(baseline) => Containers {
                // A host network stays what the policy says of it.
                network: policy.containers.network,
                ..baseline.policy.containers
            },
            None => policy.containers.clone(),
        };
        // Ids and networks are the engine's.
        let containers = Containers { user_namespace: UserNamespace::Host, ..containers };
        Self { policy, containers, facts, engine, allowed, ended }
    }

    fn allows(&self, wanted: &Allowance) -> bool {
        self.allowed.contains(&wanted)
    }

    /// Whether an exception names something like `text`.
    fn allows_like(&self, text: &str, pattern: impl Fn(&Allowance) -> Option<&str>) -> bool {
        self.allowed.iter().filter_map(|a| pattern(a)).any(|pattern| matches(pattern, text))
    }

    /// Notes what was asked for and is not allowed. Returns whether it is to be taken away;
    /// otherwise the container is refused.
    fn asked(
        &self,
        work: &mut Work,
        control: &'static str,
        what: String,
        word: &Allowance,
    ) -> bool {
        if self.policy.engines.asked == Asked::Remove {
            work.warnings.push(format!("{what}: taken away"));
            return true;
        }
        let fix = self.fix(word);
        work.refuse(control, what, &fix);
        false
    }

    /// What to do to have what `word` allows.
    fn fix(&self, word: &Allowance) -> String {
        let mut fix = format!(
            "ask for less, or have policy `{}` allow `{word}` (engines.exceptions)",
            self.policy.name
        );
        if let Some(ended) = self.ended.iter().find(|exception| exception.allow.contains(word)) {
            let day = ended.expires.rfc3339();
            let day = day.split('T').next().unwrap_or_default();
            fix = format!("{fix}; the exception `{}` ended on {day}", ended.reason);
        }
        fix
    }

    /// Whether everything was asked for at once, as by `--privileged`; said once.
    fn privileged(&self, work: &mut Work) -> Result<bool, Malformed> {
        let rules = work.patch.list("/linux/resources/devices")?;
        let all_devices = rules.iter().any(crate::controls::allows_every_device);
        let capabilities = work.patch.list("/process/capabilities/bounding")?;
        let has = |name: &str| capabilities.iter().any(|known| known == name);
        let all = ["CAP_SYS_ADMIN", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_NET_ADMIN"];
        if !(all_devices && all.into_iter().all(has)) {
            return Ok(false);
        }
        let what = "privileged mode gives the container the host".to_string();
        self.asked(work, "privileged", what, &Allowance::Privileged);
        Ok(true)
    }

    fn namespaces(&self, work: &mut Work) -> Result<(), Malformed> {
        let mut list = work.patch.list("/linux/namespaces")?;
        let kind_of = |entry: &Value| -> Option<String> {
            Some(entry.as_object()?.get("type")?.as_str()?.to_string())
        };
        let bad = || Malformed("/linux/namespaces".into());
        let kinds: Vec<String> = list.iter().map(kind_of).collect::<Option<_>>().ok_or_else(bad)?;
        if !kinds.iter().any(|kind| kind == "mount") {
            work.refuse(
                "namespaces",
                "the container would share the host's mounts".into(),
                "give it a mount namespace of its own",
            );
        }
        // No engine joins one: `/proc/1/ns/mnt` is the host's, and another's shows what it has.
        let joins = |entry: &&Value| {
            let path = entry.get("path").filter(|path| !path.is_null());
            kind_of(entry).as_deref() == Some("mount") && path.is_some_and(|path| *path != "")
        };
        if let Some(entry) = list.iter().find(joins) {
            let path: String = entry
                .get("path")
                .and_then(Value::as_str)
                .unwrap_or("?")
                .chars()
                .take(120)
                .collect();
            work.refuse(
                "namespaces",
                format!("the container would be in the mount namespace `{path}`"),
                "give it a mount namespace of its own",
            );
        }
        for kind in ["pid", "ipc", "uts", "network", "cgroup"] {
            let present = kinds.iter().any(|known| known == kind);
            let is_host = !present || self.engine.host_namespaces.iter().any(|host| host == kind);
            if !is_host || self.allows(&Allowance::HostNamespace(kind)) {
                continue;
            }
            if kind == "network" && self.containers.network == Network::Host {
                continue;
            }
            // No engine's default hides the cgroup tree on cgroup v1; nobody asked for it.
            if kind != "cgroup" || present {
                let what = format!("the container would share the host's {kind} namespace");
                if !self.asked(work, "namespaces", what, &Allowance::HostNamespace(kind)) {
                    continue;
                }
            }
            list.retain(|entry| kind_of(entry).as_deref() != Some(kind));
            list.push(json!({"type": kind}));
        }
        let why = "the container sees nothing of the host's processes, names and networks";
        work.patch.set("/linux/namespaces", Value::Array(list), why)
    }

    /// User, no-new-privileges, security module, limits of the process at `at`. `first`: it is
    /// the container's first one.
    fn process(&self, work: &mut Work, at: &str, first: bool) -> Result<(), Malformed> {
        self.user(work, at)?;
        if self.containers.no_new_privileges && !self.allows(&Allowance::NewPrivileges) {
            let why = "setuid files and file capabilities gain nothing";
            work.patch.set(&format!("{at}/noNewPrivileges"), json!(true), why)?;
        }
        self.modules(work, at, first)?;
        self.rlimits(work, at)
    }

    fn user(&self, work: &mut Work, at: &str) -> Result<(), Malformed> {
        let path = format!("{at}/user");
        let uid = match work.patch.get(&format!("{path}/uid")) {
            // Absent is 0 for every runtime.
            None | Some(Value::Null) => 0,
            Some(uid) => uid.as_u64().ok_or_else(|| Malformed(format!("{path}/uid")))?,
        };
        if uid != 0 || self.allows(&Allowance::Root) {
            return Ok(());
        }
        let is_sandbox = self.engine.kind == ContainerKind::Sandbox;
        match self.containers.user {
            // CRI-O starts a pause as root whatever its image says, and nobody could ask for less.
            UserMode::RequireNonRoot if is_sandbox => another_user(work, at, PAUSE_USER),
            UserMode::Image => Ok(()),
            UserMode::RequireNonRoot => {
                let fix = format!(
                    "name another user (USER in the image, --user), or have policy `{}` allow \
                     `root` (engines.exceptions)",
                    self.policy.name
                );
                work.refuse("user", "the program would run as root".into(), &fix);
                Ok(())
            }
            UserMode::Fallback(id) => another_user(work, at, id),
        }
    }

    fn root(&self, work: &mut Work) -> Result<(), Malformed> {
        if !self.allows(&Allowance::WritableRoot) && self.engine.kind != ContainerKind::Build {
            work.root(&self.containers)?;
        }
        self.whose_root(work);
        Ok(())
    }

    fn paths(&self, work: &mut Work) -> Result<(), Malformed> {
        if self.allows(&Allowance::UnmaskedPaths) {
            return Ok(());
        }
        work.paths(&self.containers)
    }

    fn sysctls(&self, work: &mut Work) -> Result<(), Malformed> {
        let names: Vec<String> = match work.patch.get("/linux/sysctl") {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(map)) => map.keys().cloned().collect(),
            Some(_) => return Err(Malformed("/linux/sysctl".into())),
        };
        for name in names {
            let value = work.patch.get("/linux/sysctl").and_then(|map| map.get(&name));
            if value.and_then(Value::as_str).is_none_or(|text| text.contains(['+', '\n', '\0'])) {
                // Helpers of engines take `+` for the beginning of another (CVE-2022-0811).
                let shown: String = name.chars().take(80).collect();
                work.refuse(
                    "sysctls",
                    format!("the value of the kernel setting `{shown}` is not a plain one"),
                    "give it as text without `+` and line ends",
                );
                continue;
            }
            let known = SAFE_SYSCTLS.contains(&name.as_str());
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
            let by_policy = plain
                && (self.policy.engines.sysctls.iter().any(|pattern| matches(pattern, &name))
                    || self.allows_like(&name, |allowance| match allowance {
                        Allowance::Sysctl(pattern) => Some(pattern),
                        _ => None,
                    }));
            if known || by_policy {
                continue;
            }
            let shown: String = name.chars().take(80).collect();
            let what = format!("the container would set the kernel's `{shown}`");
            let word = Allowance::Sysctl(shown);
            if self.asked(work, "sysctls", what, &word) {
                let escaped = name.replace('~', "~0").replace('/', "~1");
                let why = "settings of the kernel that concern others";
                // A name with a slash is no path of a patch; the whole map is set instead.
                if escaped == name {
                    work.patch.remove(&format!("/linux/sysctl/{name}"), why)?;
                } else if let Some(Value::Object(map)) = work.patch.get("/linux/sysctl") {
                    let mut map = map.clone();
                    map.shift_remove(&name);
                    work.patch.set("/linux/sysctl", Value::Object(map), why)?;
                }
            }
        }
        Ok(())
    }

    fn seccomp(&self, work: &mut Work) -> Result<(), Malformed> {
        if self.allows(&Allowance::Seccomp) || self.containers.seccomp == Seccomp::Unconfined {
            return Ok(());
        }
        // Calls that come with a capability are allowed to who has it.
        let mut containers = self.containers.clone();
        for allowance in &self.allowed {
            if let Allowance::Capability(name) = allowance {
                containers.capabilities.push(name.clone());
            }
        }
        let ours = match seccomp_section(&containers, self.facts) {
            Ok(section) => section,
            Err(error) => {
                let fix = error.hint().unwrap_or_default();
                work.refuse("seccomp", error.to_string(), &fix);
                return Ok(());
            }
        };
        let mut section = match work.patch.get("/linux/seccomp") {
            None | Some(Value::Null) => ours,
            Some(theirs) => narrow(&ours, theirs)?,
        };
        if let Some(flags) = section.get_mut("flags").and_then(Value::as_array_mut) {
            // It takes the guard against speculative side channels away.
            flags.retain(|flag| flag != "SECCOMP_FILTER_FLAG_SPEC_ALLOW");
        }
        let why = "only system calls that programs need reach the kernel";
        work.patch.set("/linux/seccomp", section, why)
    }
}

/// Has the process at `at` run as `id` instead of root.
fn another_user(work: &mut Work, at: &str, id: u32) -> Result<(), Malformed> {
    let path = format!("{at}/user");
    let why = format!("the program would run as root; the policy runs it as {id}");
    work.patch.set(&format!("{path}/uid"), json!(id), why.as_str())?;
    work.patch.set(&format!("{path}/gid"), json!(id), why.as_str())?;
    work.patch.remove(&format!("{path}/additionalGids"), &why)?;
    // Only the program's own capabilities: another user than root has none.
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        work.patch.set(&format!("{at}/capabilities/{set}"), json!([]), why.as_str())?;
    }
    Ok(())
}

/// Nothing that the container's first process lacks.
fn within(work: &mut Work, first: &Value) -> Result<(), Malformed> {
    if first.get("noNewPrivileges").and_then(Value::as_bool) == Some(true) {
        let why = "the container's first process has it too";
        work.patch.set("/noNewPrivileges", json!(true), why)?;
    }
    for key in ["apparmorProfile", "selinuxLabel"] {
        if let Some(label) = first.get(key).filter(|label| !label.is_null()) {
            let why = "as the container's first process is confined";
            work.patch.set(&format!("/{key}"), label.clone(), why)?;
        }
    }
    limits::within_rlimits(work, first)?;
    let bounding = match first.pointer("/capabilities/bounding") {
        // Without the object a runtime gives none.
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(_) => return Err(Malformed("/process/capabilities/bounding".into())),
    };
    let why = "no more than the container's first process may have";
    capabilities::keep(work, "", why, |name| bounding.iter().any(|known| known == name))
}

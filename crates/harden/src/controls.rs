//! The controls, one function each: what the policy says becomes changes of the spec.

use palisade_base::Explain;
use palisade_policy::{Containers, Network, Seccomp, UserMode, UserNamespace};
use serde::Serialize;
use serde_json::{Value, json};

use crate::patch::{Change, Malformed, Patch};
use crate::{Facts, IdRange, MASKED_PATHS, READ_ONLY_PATHS, User, seccomp};

/// Bytes of the writable file system that stands in for each declared volume.
const VOLUME_BYTES: u64 = 64 << 20;
/// Volumes of an image that get one.
const VOLUMES_MAX: usize = 64;
/// Period over which processor time is measured out, in microseconds.
pub(crate) const CPU_PERIOD_US: u64 = 100_000;
/// Why a limit of processes was changed.
pub(crate) const RLIMIT_BY_POLICY: &str = "limits of each process by the policy";

/// A hardened spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardened {
    /// The patched configuration.
    pub spec: Value,
    /// What was changed, in the order of the controls.
    pub changes: Vec<Change>,
    /// What the policy asks and this machine cannot give.
    pub warnings: Vec<String>,
}

/// Why a container may not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalReason {
    /// Control: `user`, `seccomp`, `spec`.
    pub control: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// A container that the policy does not allow to run, with every reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("the policy refuses this container: {}", join(.reasons))]
pub struct Refusal {
    /// All reasons; never empty.
    pub reasons: Vec<RefusalReason>,
}

fn join(reasons: &[RefusalReason]) -> String {
    reasons.iter().map(|reason| reason.message.as_str()).collect::<Vec<_>>().join("; ")
}

impl Explain for Refusal {
    fn hint(&self) -> Option<String> {
        let mut fixes: Vec<&str> = self.reasons.iter().map(|reason| reason.fix.as_str()).collect();
        // Several reasons often have one remedy.
        fixes.dedup();
        Some(fixes.join("; "))
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        let reason = RefusalReason {
            control: "spec",
            message: malformed.to_string(),
            fix: "make the container spec follow the OCI runtime specification".into(),
        };
        Self { reasons: vec![reason] }
    }
}

/// Confines the container of `spec` (an OCI runtime configuration) as `policy` says.
///
/// `ids` is the container's own range of host ids; a policy with private ids needs it.
/// Fields that no control concerns stay as they are.
pub fn harden(
    spec: Value,
    policy: &Containers,
    facts: &Facts,
    ids: Option<IdRange>,
) -> Result<Hardened, Refusal> {
    let mut work = Work::new(spec)?;
    if !work.patch.get("/process").is_some_and(Value::is_object) {
        return Err(Malformed("/process".into()).into());
    }
    work.namespaces(policy, ids)?;
    work.process("/process", policy, facts, ids)?;
    work.root(policy)?;
    work.mounts(policy, facts)?;
    work.paths(policy)?;
    work.resources(policy, facts)?;
    work.seccomp(policy, facts)?;
    work.finish()
}

/// Confines one process that is started in an existing container (`exec`), so that it
/// gets no more than the container's first one. `process` is the `process` object of an
/// OCI configuration.
pub fn harden_process(
    process: Value,
    policy: &Containers,
    facts: &Facts,
    ids: Option<IdRange>,
) -> Result<Hardened, Refusal> {
    let mut work = Work::new(process)?;
    work.process("", policy, facts, ids)?;
    work.finish()
}

/// The spec being hardened.
pub(crate) struct Work {
    pub(crate) patch: Patch,
    pub(crate) reasons: Vec<RefusalReason>,
    pub(crate) warnings: Vec<String>,
}

impl Work {
    pub(crate) fn new(value: Value) -> Result<Self, Malformed> {
        Ok(Self { patch: Patch::new(value)?, reasons: Vec::new(), warnings: Vec::new() })
    }

    pub(crate) fn finish(self) -> Result<Hardened, Refusal> {
        if !self.reasons.is_empty() {
            return Err(Refusal { reasons: self.reasons });
        }
        let (spec, changes) = self.patch.finish();
        Ok(Hardened { spec, changes, warnings: self.warnings })
    }

    pub(crate) fn refuse(&mut self, control: &'static str, message: String, fix: &str) {
        self.reasons.push(RefusalReason { control, message, fix: fix.into() });
    }

    fn namespaces(&mut self, policy: &Containers, ids: Option<IdRange>) -> Result<(), Malformed> {
        let mut list = self.patch.list("/linux/namespaces")?;
        let is =
            |entry: &Value, kind: &str| entry.get("type").and_then(Value::as_str) == Some(kind);
        let mut own = vec!["mount", "pid", "ipc", "uts", "cgroup"];
        match policy.network {
            Network::None | Network::Bridge => own.push("network"),
            Network::Host => list.retain(|entry| !is(entry, "network")),
        }
        match (policy.user_namespace, ids) {
            (UserNamespace::Private, Some(_)) => own.push("user"),
            (UserNamespace::Private, None) => self.refuse(
                "user_namespace",
                "the policy wants ids of the container's own, and there is no range for it".into(),
                "free a range of ids, or set `user_namespace: host` in the policy",
            ),
            (UserNamespace::Host, _) => {}
        }
        for kind in own {
            match list.iter_mut().find(|entry| is(entry, kind)) {
                Some(entry) => *entry = json!({"type": kind}),
                None => list.push(json!({"type": kind})),
            }
        }
        let why = "the container sees its own processes, mounts, names and network alone";
        self.patch.set("/linux/namespaces", Value::Array(list), why)?;
        if let (UserNamespace::Private, Some(ids)) = (policy.user_namespace, ids) {
            let map = json!([{"containerID": 0, "hostID": ids.first, "size": ids.count}]);
            let why = "root inside is an ordinary id outside that no other container has";
            self.patch.set("/linux/uidMappings", map.clone(), why)?;
            self.patch.set("/linux/gidMappings", map, why)?;
        }
        if policy.network != Network::Host {
            self.patch.set(
                "/linux/sysctl/net.ipv4.ip_unprivileged_port_start",
                json!("0"),
                "low ports of its own network need no capability",
            )?;
        }
        Ok(())
    }

    fn process(
        &mut self,
        at: &str,
        policy: &Containers,
        facts: &Facts,
        ids: Option<IdRange>,
    ) -> Result<(), Malformed> {
        let user = self.user(at, policy, facts, ids)?;
        let capabilities: Vec<String> =
            policy.capabilities.iter().map(|name| format!("CAP_{name}")).collect();
        // As under every engine: the list is what root (of the container) keeps. Another
        // user could have it only as ambient capabilities, which it did not have before.
        let own = if user.uid == 0 { capabilities.clone() } else { Vec::new() };
        let none = Vec::new();
        let why = "the program has only the capabilities that the policy names";
        for (set, list) in [
            ("bounding", &capabilities),
            ("effective", &own),
            ("permitted", &own),
            ("inheritable", &none),
            ("ambient", &none),
        ] {
            self.patch.set(&format!("{at}/capabilities/{set}"), json!(list), why)?;
        }
        if policy.no_new_privileges {
            self.patch.set(
                &format!("{at}/noNewPrivileges"),
                json!(true),
                "setuid files and file capabilities gain nothing",
            )?;
        }
        self.rlimits(at, policy, facts)
    }

    fn user(
        &mut self,
        at: &str,
        policy: &Containers,
        facts: &Facts,
        ids: Option<IdRange>,
    ) -> Result<User, Malformed> {
        let mut user = facts.image.user.clone();
        let mut why = "the user that the image names".to_string();
        match policy.user {
            UserMode::RequireNonRoot if user.uid == 0 => self.refuse(
                "user",
                "the image runs as root, and the policy requires another user".into(),
                "set USER in the image, or `user: {fallback: 65532}` in the policy",
            ),
            UserMode::Fallback(id) if user.uid == 0 => {
                user = User { uid: id, gid: id, ..User::default() };
                why = format!("the image runs as root; the policy runs it as {id}");
            }
            UserMode::Image | UserMode::RequireNonRoot | UserMode::Fallback(_) => {}
        }
        if let (UserNamespace::Private, Some(ids)) = (policy.user_namespace, ids) {
            let all = [user.uid, user.gid].into_iter().chain(user.additional_gids.iter().copied());
            if let Some(id) = all.into_iter().find(|id| *id >= ids.count) {
                self.refuse(
                    "user",
                    format!("id {id} lies outside the container's {} ids", ids.count),
                    &format!("use ids below {} in the image", ids.count),
                );
            }
        }
        self.patch.set(&format!("{at}/user/uid"), json!(user.uid), why.as_str())?;
        self.patch.set(&format!("{at}/user/gid"), json!(user.gid), why.as_str())?;
        if !user.additional_gids.is_empty() {
            self.patch.set(
                &format!("{at}/user/additionalGids"),
                json!(user.additional_gids),
                why.as_str(),
            )?;
        }
        Ok(user)
    }

    /// Each limit of processes is written down: the policy's, or the one that the caller has.
    fn rlimits(&mut self, at: &str, policy: &Containers, facts: &Facts) -> Result<(), Malformed> {
        let path = format!("{at}/rlimits");
        let mut list = self.patch.list(&path)?;
        let mut missing = Vec::new();
        for (kind, wanted) in policy.limits.rlimits() {
            let max = facts.machine.rlimit_max(kind);
            if wanted > max {
                self.warnings.push(match kind {
                    "RLIMIT_NOFILE" => format!(
                        "open files are limited to {max}, which this shell cannot raise to {wanted}"
                    ),
                    kind => format!("{kind} is {max}, which this shell cannot raise to {wanted}"),
                });
            }
            let value = wanted.min(max);
            let limit = json!({"type": kind, "hard": value, "soft": value});
            let mut is_there = false;
            for entry in list.iter_mut().filter(|entry| is_rlimit(entry, kind)) {
                (*entry, is_there) = (limit.clone(), true);
            }
            if !is_there {
                missing.push(limit);
            }
        }
        if !list.is_empty() {
            self.patch.set(&path, Value::Array(list), RLIMIT_BY_POLICY)?;
        }
        for limit in missing {
            self.patch.push(&path, limit, RLIMIT_BY_POLICY)?;
        }
        self.inherit_rlimits(&path, facts)
    }

    /// Writes down what a process would have of the caller's limits without a word.
    pub(crate) fn inherit_rlimits(&mut self, path: &str, facts: &Facts) -> Result<(), Malformed> {
        let known = self.patch.list(path)?;
        for (kind, own) in &facts.machine.rlimits {
            if !known.iter().any(|entry| is_rlimit(entry, kind)) {
                let limit = json!({"type": kind, "hard": own.hard, "soft": own.soft});
                self.patch.push(path, limit, "the caller's, as the policy names none")?;
            }
        }
        Ok(())
    }

    pub(crate) fn root(&mut self, policy: &Containers) -> Result<(), Malformed> {
        if policy.read_only_root {
            let why = "programs cannot be changed or dropped in the image's folders";
            self.patch.set("/root/readonly", json!(true), why)?;
        }
        Ok(())
    }

    fn mounts(&mut self, policy: &Containers, facts: &Facts) -> Result<(), Malformed> {
        let mut list = self.patch.list("/mounts")?;
        for mount in &mut list {
            restrict_mount(mount, policy)?;
        }
        for tmpfs in &policy.tmpfs {
            let mut options = vec!["nosuid", "nodev", if tmpfs.exec { "exec" } else { "noexec" }];
            let size = format!("size={}", tmpfs.size_bytes);
            options.extend([size.as_str(), "mode=1777"]);
            add_tmpfs(&mut list, &tmpfs.path, &options);
        }
        if policy.read_only_root {
            let user = match policy.user {
                UserMode::Fallback(id) if facts.image.user.uid == 0 => (id, id),
                _ => (facts.image.user.uid, facts.image.user.gid),
            };
            if facts.image.volumes.len() > VOLUMES_MAX {
                self.warnings.push(format!(
                    "only the first {VOLUMES_MAX} of the image's volumes are writable"
                ));
            }
            for volume in facts.image.volumes.iter().take(VOLUMES_MAX) {
                if !volume.starts_with('/') || volume == "/" || volume.contains("..") {
                    self.warnings.push(format!("volume `{volume}` of the image is left out"));
                    continue;
                }
                let size = format!("size={VOLUME_BYTES}");
                let (uid, gid) = (format!("uid={}", user.0), format!("gid={}", user.1));
                let options = ["nosuid", "nodev", "noexec", &size, "mode=0755", &uid, &gid];
                add_tmpfs(&mut list, volume, &options);
            }
        }
        let why = "mounts carry no setuid files, devices or dropped programs; \
                   writable folders are the policy's and the image's volumes";
        self.patch.set("/mounts", Value::Array(list), why)
    }

    pub(crate) fn paths(&mut self, policy: &Containers) -> Result<(), Malformed> {
        if !policy.mask_paths {
            return Ok(());
        }
        for (path, ours, why) in [
            ("/linux/maskedPaths", &MASKED_PATHS[..], "these paths tell of or reach the host"),
            ("/linux/readonlyPaths", &READ_ONLY_PATHS[..], "kernel settings are the host's"),
        ] {
            let mut list = self.patch.list(path)?;
            for wanted in ours {
                if !list.iter().any(|known| known == wanted) {
                    list.push(json!(wanted));
                }
            }
            self.patch.set(path, Value::Array(list), why)?;
        }
        Ok(())
    }

    fn resources(&mut self, policy: &Containers, facts: &Facts) -> Result<(), Malformed> {
        let at = "/linux/resources";
        let limits = &policy.limits;
        let mut devices = self.patch.list(&format!("{at}/devices"))?;
        devices.retain(|rule| !allows_every_device(rule));
        let deny = json!({"allow": false, "access": "rwm"});
        if devices.first() != Some(&deny) {
            devices.insert(0, deny);
        }
        let why = "no device but the harmless ones that the runtime makes";
        self.patch.set(&format!("{at}/devices"), Value::Array(devices), why)?;
        if let Some(bytes) = limits.memory_bytes {
            let why = "memory is limited, and swap is not added to it";
            self.patch.set(&format!("{at}/memory/limit"), json!(bytes), why)?;
            if facts.machine.can_limit_swap {
                self.patch.set(&format!("{at}/memory/swap"), json!(bytes), why)?;
            } else {
                self.warnings.push(
                    "this kernel cannot limit swap: memory use may exceed the limit by swapping"
                        .into(),
                );
            }
        }
        if let Some(millis) = limits.cpu_millis {
            let quota = u64::from(millis) * CPU_PERIOD_US / 1000;
            let why = "processor time is limited";
            self.patch.set(&format!("{at}/cpu/period"), json!(CPU_PERIOD_US), why)?;
            // The kernel takes no quota below one millisecond.
            self.patch.set(&format!("{at}/cpu/quota"), json!(quota.max(1000)), why)?;
        }
        if let Some(pids) = limits.pids {
            let why = "a fork bomb stops here";
            self.patch.set(&format!("{at}/pids/limit"), json!(pids), why)?;
        }
        if let Some(rate) = limits.io_bytes_per_second {
            let Some((major, minor)) = facts.machine.disk else {
                self.refuse(
                    "limits",
                    "the policy limits what is read and written, and the container's files are on \
                     no disk that the kernel can limit"
                        .into(),
                    "keep the data folder (--data-dir) on a disk, or take out `limits.io`",
                );
                return Ok(());
            };
            let why = "its disk is left to others too";
            let throttle = json!([{"major": major, "minor": minor, "rate": rate}]);
            for kind in ["throttleReadBpsDevice", "throttleWriteBpsDevice"] {
                self.patch.set(&format!("{at}/blockIO/{kind}"), throttle.clone(), why)?;
            }
        }
        Ok(())
    }

    fn seccomp(&mut self, policy: &Containers, facts: &Facts) -> Result<(), Malformed> {
        if policy.seccomp == Seccomp::Unconfined {
            let why = "the policy asks for no system-call filter";
            return self.patch.remove("/linux/seccomp", why);
        }
        match seccomp_section(policy, facts) {
            Ok(section) => {
                let why = "only system calls that programs need reach the kernel";
                self.patch.set("/linux/seccomp", section, why)
            }
            Err(error) => {
                let fix = error.hint().unwrap_or_default();
                self.refuse("seccomp", error.to_string(), &fix);
                Ok(())
            }
        }
    }
}

/// The system-call filter that the policy asks for; it must ask for one.
pub(crate) fn seccomp_section(
    policy: &Containers,
    facts: &Facts,
) -> Result<Value, seccomp::SeccompError> {
    let architecture = facts.machine.architecture.as_str();
    let missing = |what: String| Err(seccomp::SeccompError::Invalid(what));
    match &policy.seccomp {
        Seccomp::Unconfined => missing("the policy asks for none".into()),
        Seccomp::Default => seccomp::default_profile()
            .and_then(|profile| profile.compile(architecture, &policy.capabilities)),
        Seccomp::Strict => seccomp::strict_profile()
            .and_then(|profile| profile.compile(architecture, &policy.capabilities)),
        Seccomp::File(path) => match &facts.seccomp_document {
            Some(document) => seccomp::from_document(document, architecture, &policy.capabilities),
            None => missing(format!("`{}` was not read", path.display())),
        },
    }
}

/// Adds what no mount of a container needs to lack.
pub(crate) fn restrict_mount(mount: &mut Value, policy: &Containers) -> Result<(), Malformed> {
    let bad = || Malformed("/mounts".into());
    let object = mount.as_object_mut().ok_or_else(bad)?;
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("").to_string();
    let (kind, destination) = (text("type"), text("destination"));
    if kind == "sysfs"
        && policy.network == Network::Host
        && policy.user_namespace == UserNamespace::Private
    {
        // The kernel lets a user namespace mount sysfs only with a network of its own.
        object.insert("type".into(), json!("bind"));
        object.insert("source".into(), json!("/sys"));
        object.insert("options".into(), json!(["rbind", "nosuid", "noexec", "nodev", "ro"]));
        return Ok(());
    }
    let mut wanted = vec!["nosuid"];
    if kind != "devpts" && destination != "/dev" && kind != "devtmpfs" {
        wanted.push("nodev");
    }
    if matches!(kind.as_str(), "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue" | "devpts")
        || matches!(destination.as_str(), "/dev" | "/dev/shm")
    {
        wanted.push("noexec");
    }
    if matches!(kind.as_str(), "sysfs" | "cgroup" | "cgroup2") {
        wanted.push("ro");
    }
    let options = object.entry("options").or_insert_with(|| json!([]));
    if options.is_null() {
        *options = json!([]);
    }
    let options = options.as_array_mut().ok_or_else(bad)?;
    let opposite = |option: &str| match option {
        // The second of each holds for what is mounted below as well.
        "suid" | "rsuid" => Some("nosuid"),
        "dev" | "rdev" => Some("nodev"),
        "exec" | "rexec" => Some("noexec"),
        "rw" | "rrw" => Some("ro"),
        _ => None,
    };
    options.retain(|option| {
        option.as_str().and_then(opposite).is_none_or(|weak| !wanted.contains(&weak))
    });
    for option in wanted {
        if !options.iter().any(|known| known == option) {
            options.push(json!(option));
        }
    }
    Ok(())
}

/// Adds a temporary file system at `path`, in place of one that is there already.
pub(crate) fn add_tmpfs(list: &mut Vec<Value>, path: &str, options: &[&str]) {
    let is_there = |mount: &Value| mount.get("destination").and_then(Value::as_str) == Some(path);
    let new = json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options});
    match list.iter_mut().find(|mount| is_there(mount)) {
        // What a person mounted there on purpose is not hidden.
        Some(mount) if mount.get("type").and_then(Value::as_str) != Some("tmpfs") => {}
        Some(mount) => *mount = new,
        None => list.push(new),
    }
}

/// Whether an entry of `rlimits` is of this kind.
pub(crate) fn is_rlimit(entry: &Value, kind: &str) -> bool {
    entry.get("type").and_then(Value::as_str) == Some(kind)
}

/// Whether a device rule allows more than one named device.
pub(crate) fn allows_every_device(rule: &Value) -> bool {
    let allow = rule.get("allow").and_then(Value::as_bool) == Some(true);
    let number = |key: &str| rule.get(key).and_then(Value::as_i64).filter(|number| *number >= 0);
    let kind = rule.get("type").and_then(Value::as_str).unwrap_or("a");
    // Making nodes alone (`m`) is harmless without the right to open them.
    let only_mknod = rule.get("access").and_then(Value::as_str) == Some("m");
    allow && !only_mknod && (kind == "a" || number("major").is_none())
}

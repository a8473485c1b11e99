//! The one type that every check of containers looks at.
//!
//! Adapters fill it from Dockerfiles, image configurations, Compose files, Kubernetes
//! manifests, ECS task definitions, OpenShift's SCCs, OCI runtime specs and what engines say
//! of a container. A check never sees from which of them a setting comes.
//!
//! Invariant: a [`Setting`] tells what was written from what holds without being written and
//! from what cannot be known, so that a check can refuse to judge what it does not know.

use palisade_base::yaml::Place;

use super::build::Build;

/// What kind of input a container was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// Dockerfile or Containerfile.
    Dockerfile,
    /// Configuration of a built image.
    Image,
    /// Compose file.
    Compose,
    /// Kubernetes manifest, Helm's output included.
    Kubernetes,
    /// Amazon ECS task definition.
    Ecs,
    /// OpenShift SecurityContextConstraints: what it allows.
    Scc,
    /// OCI runtime specification (`config.json`).
    OciSpec,
    /// What Docker or Podman say of a container (`inspect`).
    Engine,
}

impl Platform {
    /// All platforms.
    pub const ALL: [Self; 8] = [
        Self::Dockerfile,
        Self::Image,
        Self::Compose,
        Self::Kubernetes,
        Self::Ecs,
        Self::Scc,
        Self::OciSpec,
        Self::Engine,
    ];

    /// The word for it on the command line and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dockerfile => "dockerfile",
            Self::Image => "image",
            Self::Compose => "compose",
            Self::Kubernetes => "kubernetes",
            Self::Ecs => "ecs",
            Self::Scc => "scc",
            Self::OciSpec => "oci-spec",
            Self::Engine => "engine",
        }
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it begins.
    pub place: Place,
}

impl<T> Placed<T> {
    /// `value` at `place`.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

/// What is known of one setting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Setting<T> {
    /// It is written here.
    Known(T, Place),
    /// It is not written, and this holds.
    Default(T),
    /// It is not written, and what holds cannot be known from the input.
    #[default]
    Unset,
}

impl<T> Setting<T> {
    /// What holds, if that is known.
    pub fn effective(&self) -> Option<&T> {
        match self {
            Self::Known(value, _) | Self::Default(value) => Some(value),
            Self::Unset => None,
        }
    }

    /// What is written.
    pub fn known(&self) -> Option<(&T, Place)> {
        match self {
            Self::Known(value, place) => Some((value, *place)),
            _ => None,
        }
    }

    /// Where it is written, or else `otherwise`: the place where it is missing.
    pub fn place_or(&self, otherwise: Place) -> Place {
        self.known().map_or(otherwise, |(_, place)| place)
    }

    /// This setting, or `other` where this one is not written.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if matches!(self, Self::Known(..)) { self } else { other }
    }

    /// This setting, with what holds when nothing is written.
    #[must_use]
    pub fn or_default(self, value: T) -> Self {
        if matches!(self, Self::Unset) { Self::Default(value) } else { self }
    }

    /// A written value if there is one.
    pub fn from_placed(value: Option<Placed<T>>) -> Self {
        value.map_or(Self::Unset, |placed| Self::Known(placed.value, placed.place))
    }
}

impl Setting<bool> {
    /// Whether it is known to be so.
    pub fn is_true(&self) -> bool {
        self.effective() == Some(&true)
    }
}

/// What a container does within its workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It serves.
    #[default]
    Main,
    /// It serves once: the container of a job.
    Job,
    /// It prepares.
    Init,
    /// It was added for debugging.
    Ephemeral,
    /// It is no container but what containers may ask for.
    Allowed,
}

/// A user as a container names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// As written, without the group: `1000`, `app`.
    pub name: String,
}

impl User {
    /// The number, when it is known: names have numbers in the image alone, but `root` is 0.
    pub fn uid(&self) -> Option<u64> {
        if self.name == "root" { Some(0) } else { self.name.parse().ok() }
    }

    /// Whether this is root.
    pub fn is_root(&self) -> bool {
        self.uid() == Some(0)
    }
}

/// A profile of seccomp or AppArmor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// None.
    Unconfined,
    /// The engine's own.
    RuntimeDefault,
    /// One of the user's, by file or name.
    Custom(String),
}

/// SELinux options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeLinux {
    /// Labels are switched off.
    pub disabled: bool,
    /// Type.
    pub type_name: Option<String>,
    /// A user or role was chosen.
    pub has_user_or_role: bool,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// Path on the host, when it is one.
    pub host_path: Option<String>,
    /// Path in the container; empty where it is not known.
    pub target: String,
    /// Whether it is read only.
    pub read_only: bool,
    /// Propagation as written: `rshared`, `Bidirectional`.
    pub propagation: Option<String>,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Port {
    /// Address of the host, empty for all.
    pub host_ip: String,
    /// First port of the host; `None` for one that the engine chooses.
    pub host_port: Option<u16>,
    /// Port in the container.
    pub container_port: Option<u16>,
    /// Published by the engine (`true`), or a `hostPort` of Kubernetes (`false`).
    pub is_published: bool,
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// What it holds.
    pub value: VariableValue,
}

/// What an environment variable holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VariableValue {
    /// This text.
    Literal(String),
    /// A secret of the orchestrator's.
    Secret(String),
    /// Something that is not written here.
    Elsewhere,
}

/// A sysctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Name, with dots.
    pub name: String,
    /// Value as written.
    pub value: String,
}

/// A limit: as written, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// At most this, as written.
    AtMost(String),
    /// Explicitly none (`0`, `-1`).
    None,
}

/// A container's settings, from whatever input.
#[derive(Debug, Clone)]
pub struct Container {
    /// What it was read from.
    pub platform: Platform,
    /// What it belongs to: `Deployment/shop`, `service web`.
    pub resource: String,
    /// Its own name, where the resource has several containers.
    pub name: Option<String>,
    /// What it does.
    pub role: Role,
    /// Where its settings stand: what is missing is missing here.
    pub place: Place,
    /// Where settings stand that it shares with others of its workload.
    pub shared_place: Place,
    /// Image reference.
    pub image: Setting<String>,
    /// Whether the image is built from source beside the file.
    pub builds_image: bool,
    /// All privileges.
    pub privileged: Setting<bool>,
    /// User.
    pub user: Setting<User>,
    /// Whether the orchestrator refuses root.
    pub run_as_non_root: Setting<bool>,
    /// Primary group.
    pub group: Setting<u64>,
    /// Supplementary groups.
    pub groups: Vec<Placed<u64>>,
    /// Capabilities added, without `CAP_`, upper case; `ALL` is one.
    pub capabilities_added: Vec<Placed<String>>,
    /// Capabilities dropped, alike.
    pub capabilities_dropped: Vec<Placed<String>>,
    /// Whether set-user-id programs and file capabilities are without effect.
    pub no_new_privileges: Setting<bool>,
    /// System-call filter.
    pub seccomp: Setting<Profile>,
    /// AppArmor.
    pub apparmor: Setting<Profile>,
    /// SELinux.
    pub selinux: Setting<SeLinux>,
    /// Whether the root file system is read only.
    pub read_only_root: Setting<bool>,
    /// The host's process namespace.
    pub host_pid: Setting<bool>,
    /// The host's IPC namespace.
    pub host_ipc: Setting<bool>,
    /// The host's network.
    pub host_network: Setting<bool>,
    /// The host's name.
    pub host_uts: Setting<bool>,
    /// The host's user ids, asked for.
    pub host_user: Setting<bool>,
    /// The host's control groups.
    pub host_cgroup: Setting<bool>,
    /// A Windows container with the host's rights.
    pub host_process: Setting<bool>,
    /// Mounts.
    pub mounts: Vec<Placed<Mount>>,
    /// Kinds of volumes besides those that Pod Security Standards allow everybody.
    pub volume_kinds: Vec<Placed<String>>,
    /// Hosts that probes and hooks name, to which the node then connects.
    pub probe_hosts: Vec<Placed<String>>,
    /// Whether it is a Windows container, which has no capabilities, filters or user ids.
    pub is_windows: bool,
    /// Devices of the host.
    pub devices: Vec<Placed<String>>,
    /// Memory.
    pub memory_limit: Setting<Limit>,
    /// Processor time, limit or request.
    pub cpu_limit: Setting<Limit>,
    /// Processes.
    pub pids_limit: Setting<Limit>,
    /// Ports on the host.
    pub ports: Vec<Placed<Port>>,
    /// Sysctls.
    pub sysctls: Vec<Placed<Sysctl>>,
    /// Whether paths of `/proc` that engines mask are open.
    pub proc_unmasked: Setting<bool>,
    /// Environment.
    pub env: Vec<Placed<Variable>>,
    /// Labels.
    pub labels: Vec<Placed<Variable>>,
    /// Working folder.
    pub working_dir: Setting<String>,
    /// Volumes that the image declares.
    pub volumes: Vec<Placed<String>>,
    /// Ports that the image declares: `22/tcp`.
    pub exposed: Vec<Placed<String>>,
    /// Whether the image has a health check.
    pub healthcheck: Setting<bool>,
    /// Whether anything asks if it is alive.
    pub liveness: Setting<bool>,
    /// Whether anything asks if it is ready.
    pub readiness: Setting<bool>,
    /// What is known of how its image was built.
    pub build: Option<Build>,
}

impl Container {
    /// A container of which nothing is known.
    pub fn new(platform: Platform, resource: &str, place: Place) -> Self {
        Self {
            platform,
            resource: resource.to_string(),
            name: None,
            role: Role::Main,
            place,
            shared_place: place,
            image: Setting::Unset,
            builds_image: false,
            privileged: Setting::Unset,
            user: Setting::Unset,
            run_as_non_root: Setting::Unset,
            group: Setting::Unset,
            groups: Vec::new(),
            capabilities_added: Vec::new(),
            capabilities_dropped: Vec::new(),
            no_new_privileges: Setting::Unset,
            seccomp: Setting::Unset,
            apparmor: Setting::Unset,
            selinux: Setting::Unset,
            read_only_root: Setting::Unset,
            host_pid: Setting::Unset,
            host_ipc: Setting::Unset,
            host_network: Setting::Unset,
            host_uts: Setting::Unset,
            host_user: Setting::Unset,
            host_cgroup: Setting::Unset,
            host_process: Setting::Unset,
            mounts: Vec::new(),
            volume_kinds: Vec::new(),
            probe_hosts: Vec::new(),
            is_windows: false,
            devices: Vec::new(),
            memory_limit: Setting::Unset,
            cpu_limit: Setting::Unset,
            pids_limit: Setting::Unset,
            ports: Vec::new(),
            sysctls: Vec::new(),
            proc_unmasked: Setting::Unset,
            env: Vec::new(),
            labels: Vec::new(),
            working_dir: Setting::Unset,
            volumes: Vec::new(),
            exposed: Vec::new(),
            healthcheck: Setting::Unset,
            liveness: Setting::Unset,
            readiness: Setting::Unset,
            build: None,
        }
    }

    /// Whether the capability is dropped and not added again.
    pub fn drops(&self, capability: &str) -> bool {
        let has = |list: &[Placed<String>], name: &str| list.iter().any(|c| c.value == name);
        let dropped =
            has(&self.capabilities_dropped, "ALL") || has(&self.capabilities_dropped, capability);
        let added =
            has(&self.capabilities_added, "ALL") || has(&self.capabilities_added, capability);
        dropped && !added
    }

    /// The name by which reports call it.
    pub fn shown(&self) -> String {
        match &self.name {
            Some(name) => format!("{}, container {name}", self.resource),
            None => self.resource.clone(),
        }
    }
}

/// A capability as the other parts name it: upper case, without `CAP_`.
pub fn capability(text: &str) -> String {
    let upper = text.trim().to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_string)
}

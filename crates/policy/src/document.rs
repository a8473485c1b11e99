//! A valid policy, as the rest of the product sees it.
//!
//! These are real types: whoever holds a [`Policy`] need not check it again.

use std::path::PathBuf;

use palisade_base::Digest;
use palisade_model::{Priority, Severity};

use crate::endpoint::Endpoint;

/// A valid policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name, shown in every decision: `restricted`.
    pub name: String,
    /// One sentence for people.
    pub description: String,
    /// Digest of the text it was read from, recorded with every decision.
    pub digest: Digest,
    /// Which images may run.
    pub images: Images,
    /// How containers are confined.
    pub containers: Containers,
    /// What is watched.
    pub runtime: Runtime,
    /// What is done about an alert; the first rule that matches decides.
    pub response: Vec<ResponseRule>,
    /// Where alerts are sent.
    pub sinks: Vec<Sink>,
    /// What a scan looks for beyond what is built in.
    pub scan: crate::scan::Scan,
}

/// Which images may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Whether a signature is demanded.
    pub verify: ImageVerification,
    /// Public keys (PEM files) of which one must have signed; relative to the policy file.
    pub keys: Vec<PathBuf>,
    /// What a scan must not find.
    pub gate: Gate,
}

/// Whether a signature is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageVerification {
    /// An image without a valid signature is refused.
    Required,
    /// It runs, with a warning.
    Warn,
    /// Signatures are not looked at.
    Off,
}

/// What a scan must not find in an image that is to run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    /// Refuse at this severity of a vulnerability and above.
    pub severity: Option<Severity>,
    /// Count only vulnerabilities for which a fixed version exists.
    pub fixed_only: bool,
    /// Refuse any vulnerability that CISA lists as exploited.
    pub known_exploited: bool,
    /// Refuse any secret.
    pub secrets: bool,
    /// Refuse malware.
    pub malware: bool,
    /// Refuse licences that the policy denies.
    pub licences: bool,
    /// Refuse when the advisory database is older than this many days.
    pub database_age_days_max: Option<u32>,
}

/// How containers are confined.
#[derive(Debug, Clone, PartialEq)]
pub struct Containers {
    /// Which user the program runs as.
    pub user: UserMode,
    /// Whether the container has its own range of user ids.
    pub user_namespace: UserNamespace,
    /// Capabilities left, by kernel name without `CAP_`, sorted: `NET_BIND_SERVICE`.
    pub capabilities: Vec<String>,
    /// Whether the root file system is read only.
    pub read_only_root: bool,
    /// Writable temporary file systems.
    pub tmpfs: Vec<Tmpfs>,
    /// Whether `no_new_privs` is set.
    pub no_new_privileges: bool,
    /// System-call filter.
    pub seccomp: Seccomp,
    /// Network.
    pub network: Network,
    /// Resource limits.
    pub limits: Limits,
    /// Whether the paths that the runtime masks by default stay masked.
    pub mask_paths: bool,
}

/// Which user the program runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserMode {
    /// As the image says, root included.
    Image,
    /// As the image says; an image that says root (or nothing) is refused.
    RequireNonRoot,
    /// As the image says; root (or nothing) becomes this id.
    Fallback(u32),
}

/// Whether the container has its own range of user ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserNamespace {
    /// Its own 65,536 ids that no other container has.
    Private,
    /// The host's ids.
    Host,
}

/// A writable temporary file system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tmpfs {
    /// Mount point in the container, absolute.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Whether programs on it may be executed.
    pub exec: bool,
}

/// System-call filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Seccomp {
    /// Palisade's default profile.
    Default,
    /// The default without what only development tools need.
    Strict,
    /// A profile file in OCI or Docker form, relative to the policy file.
    File(PathBuf),
    /// No filter.
    Unconfined,
}

/// Network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// Loopback only.
    None,
    /// The host's network.
    Host,
}

/// Resource limits; `None` means not limited by Palisade.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Limits {
    /// Memory in bytes; swap is not added.
    pub memory_bytes: Option<u64>,
    /// Processor time in thousandths of one processor.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Open files of each process (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Core file size in bytes (`RLIMIT_CORE`).
    pub core_bytes: Option<u64>,
}

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    /// Rule files besides the built-in ones, relative to the policy file.
    pub rules: Vec<PathBuf>,
    /// Whether the built-in rules are loaded.
    pub builtin_rules: bool,
    /// Alerts below this priority are not raised.
    pub priority_min: Priority,
}

/// What is done about an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseRule {
    /// Name, shown in the timeline.
    pub name: String,
    /// Lowest priority that it answers.
    pub priority: Priority,
    /// Rule names that it answers; empty: all.
    pub rules: Vec<String>,
    /// Tags of which the alert must carry one; empty: any.
    pub tags: Vec<String>,
    /// What to do, in this order.
    pub actions: Vec<Action>,
}

/// What can be done about an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Stop every process of the container where it stands.
    Freeze,
    /// Deny all network traffic of the container.
    Isolate,
    /// Collect a signed evidence bundle.
    Evidence,
    /// Kill the container.
    Kill,
}

impl Action {
    /// All actions, in the order in which they are safe.
    pub const ALL: [Self; 4] = [Self::Freeze, Self::Isolate, Self::Evidence, Self::Kill];

    /// The name in policies and timelines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Isolate => "isolate",
            Self::Evidence => "evidence",
            Self::Kill => "kill",
        }
    }
}

/// Where alerts are sent, in which form, and how much may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sink {
    /// Name, under which its place in the journal is kept.
    pub name: String,
    /// Where to.
    pub to: Endpoint,
    /// In which form.
    pub format: SinkFormat,
    /// Lowest priority that is sent.
    pub priority: Priority,
    /// Alerts that may wait; the oldest are dropped first.
    pub queue_max: u32,
    /// Alerts of one HTTP request; above 1 they are an array.
    pub batch_max: u32,
    /// Files of HTTP header lines.
    pub headers: Vec<PathBuf>,
    /// Certificates (PEM files) to trust instead of the system's.
    pub ca: Vec<PathBuf>,
    /// How long one delivery may take, in seconds.
    pub timeout_seconds: u32,
    /// Syslog facility, 0 to 23.
    pub facility: u8,
    /// Size in bytes at which a file is rotated.
    pub rotate_bytes: u64,
    /// Old files that are kept.
    pub n_kept: u32,
}

impl Sink {
    /// A sink with the defaults of the table of keys.
    pub fn new(name: &str, to: Endpoint) -> Self {
        Self {
            name: name.to_string(),
            to,
            format: SinkFormat::Auto,
            priority: Priority::Debug,
            queue_max: 10_000,
            batch_max: 1,
            headers: Vec::new(),
            ca: Vec::new(),
            timeout_seconds: 10,
            facility: 10,
            rotate_bytes: 100 << 20,
            n_kept: 5,
        }
    }

    /// The form in which alerts are sent, with `auto` resolved.
    pub fn resolved_format(&self) -> SinkFormat {
        match (self.format, &self.to) {
            (SinkFormat::Auto, Endpoint::Syslog(_)) => SinkFormat::Falco,
            (SinkFormat::Auto, _) => SinkFormat::Json,
            (chosen, _) => chosen,
        }
    }
}

/// The form of an alert in a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SinkFormat {
    /// Falco's line for syslog, versioned JSON for everything else.
    Auto,
    /// Versioned JSON.
    Json,
    /// Falco's line.
    Falco,
    /// Falco's JSON.
    FalcoJson,
    /// OCSF Detection Finding.
    Ocsf,
    /// ArcSight Common Event Format.
    Cef,
}

impl SinkFormat {
    /// All forms.
    pub const ALL: [Self; 6] =
        [Self::Auto, Self::Json, Self::Falco, Self::FalcoJson, Self::Ocsf, Self::Cef];

    /// The name in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Falco => "falco",
            Self::FalcoJson => "falco-json",
            Self::Ocsf => "ocsf",
            Self::Cef => "cef",
        }
    }

    /// Whether a document of this form is JSON.
    pub const fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::FalcoJson | Self::Ocsf)
    }
}

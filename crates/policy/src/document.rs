//! A valid policy, as the rest of the product sees it.
//!
//! These are real types: whoever holds a [`Policy`] need not check it again.

use std::path::PathBuf;

use palisade_base::{Digest, Timestamp};
use palisade_model::{Container, EnforcementAction, Priority, Severity};

use crate::endpoint::Endpoint;
use crate::limits::Limits;

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
    /// What is done at events themselves.
    pub enforce: Enforce,
    /// How containers of other engines are treated.
    pub engines: crate::engines::Engines,
    /// Where alerts are sent.
    pub sinks: Vec<Sink>,
    /// What the checks of configuration demand.
    pub checks: Checks,
    /// What a scan looks for beyond what is built in.
    pub scan: crate::scan::Scan,
    /// How evidence is kept.
    pub evidence: Evidence,
    /// Ports of bridges that are guarded.
    pub network: crate::network::NetworkGuards,
}

/// How evidence is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// Recipients of age (`age1…`) to whom bundles are encrypted.
    pub recipients: Vec<String>,
    /// The authority of time that stamps bundles.
    pub timestamp: Option<String>,
}

/// What the checks of configuration demand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checks {
    /// Refuse findings of this severity and above.
    pub gate: Option<Severity>,
    /// Checks that are not made, by name or number.
    pub off: Vec<String>,
    /// Registries from which images may come; empty: all.
    pub registries: Vec<String>,
    /// Severities that differ from the catalogue's.
    pub severity: Vec<SeverityChange>,
    /// Findings that are accepted.
    pub except: Vec<CheckException>,
    /// Checks of the user's own.
    pub custom: Vec<CustomCheck>,
}

/// Another severity for the findings of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeverityChange {
    /// The check, by name or number.
    pub check: String,
    /// The severity.
    pub severity: Severity,
}

/// Findings that are accepted for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckException {
    /// The check, by name or number.
    pub check: String,
    /// Pattern of files; empty: all.
    pub path: String,
    /// Pattern of resources; empty: all.
    pub resource: String,
    /// Why.
    pub reason: String,
    /// Until when.
    pub expires: Timestamp,
}

impl Default for CheckException {
    fn default() -> Self {
        Self {
            check: String::new(),
            path: String::new(),
            resource: String::new(),
            reason: String::new(),
            expires: Timestamp::from_nanos(0),
        }
    }
}

/// A check of the user's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomCheck {
    /// Its name.
    pub id: String,
    /// What is wrong.
    pub title: String,
    /// Conditions, as written.
    pub when: Vec<String>,
    /// How bad it is.
    pub severity: Severity,
    /// Why it matters.
    pub why: String,
    /// What to do.
    pub fix: String,
}

/// Which images may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Whether a signature is demanded.
    pub verify: ImageVerification,
    /// Public keys (PEM files) of which one must have signed; relative to the policy file.
    pub keys: Vec<PathBuf>,
    /// Who must have signed which images.
    pub trust: Vec<crate::trust::TrustRule>,
    /// What must be said about which images.
    pub attestations: Vec<crate::trust::RequiredAttestation>,
    /// For how many minutes it is remembered that an image satisfies this; 0: not at all.
    pub remember_minutes: u32,
    /// The logs and authorities that are trusted (`trusted_root.json`), relative to the policy
    /// file; without it those of the machine.
    pub trusted_root: Option<PathBuf>,
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
    /// Leave vulnerabilities out whose vulnerable functions are known not to be in the program.
    pub skip_absent_symbols: bool,
    /// Refuse any vulnerability that CISA lists as exploited.
    pub known_exploited: bool,
    /// Refuse a vulnerability whose probability of exploitation (FIRST's EPSS) is at least
    /// this many parts of a million.
    pub epss_ppm: Option<u32>,
    /// Refuse any secret.
    pub secrets: bool,
    /// Refuse at this severity of any other finding and above.
    pub other_severity: Option<Severity>,
    /// Refuse a distribution or run-time whose maintenance has ended.
    pub end_of_life: bool,
    /// Ends of maintenance that count instead of those that are known without.
    pub end_of_life_dates: Vec<EndOfLife>,
    /// Refuse malware.
    pub malware: bool,
    /// Refuse licences that the policy denies.
    pub licences: bool,
    /// Refuse when the advisory database is older than this many days.
    pub database_age_days_max: Option<u32>,
    /// Warn when the advisory database is older than this many days.
    pub database_age_days_warn: Option<u32>,
    /// Refuse when the key that signed the advisory database is older than this many days.
    pub database_key_age_days_max: Option<u32>,
    /// Ignore files; what their entries name does not count. Relative to the policy file.
    pub ignore: Vec<PathBuf>,
    /// VEX documents; what they set aside does not count. Relative to the policy file.
    pub vex: Vec<PathBuf>,
}

/// When the maintenance of a release ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndOfLife {
    /// Distribution, by the `ID` of its `os-release`, or run-time: `debian`, `nodejs`.
    pub product: String,
    /// Release: `12`, `3.18`.
    pub release: String,
    /// Last day on which it gets fixes, as `2027-01-31`.
    pub date: String,
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
    /// Shared networks that it may be in.
    pub shared_networks: Vec<String>,
    /// Resource limits.
    pub limits: Limits,
    /// Whether the paths that the runtime masks by default stay masked.
    pub mask_paths: bool,
    /// Whether AppArmor confines it too.
    pub security_module: SecurityModule,
    /// SELinux's label.
    pub selinux: Selinux,
    /// Whether programs that are not the image's are refused.
    pub deny_drift: bool,
    /// What holds where an ordinary user runs it.
    pub rootless: Rootless,
}

/// What holds where an ordinary user runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rootless {
    /// Which ids the container has.
    pub ids: RootlessIds,
    /// What becomes of a limit that nothing holds.
    pub limits: RootlessLimits,
}

/// Which ids the container of an ordinary user has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RootlessIds {
    /// 65,536 of those that `/etc/subuid` and `/etc/subgid` give the user.
    #[default]
    Range,
    /// Those where the user has them, and the user's own id alone where not.
    Single,
}

/// What becomes of a limit for which the user was given no control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RootlessLimits {
    /// The container runs without it, and that is said.
    #[default]
    Warn,
    /// The container is not started.
    Require,
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

/// Whether the kernel's security module holds the container's limits too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecurityModule {
    /// Where the machine has one.
    Auto,
    /// A container without it is not started.
    Required,
    /// No profile is made.
    Off,
}

/// Characters of a label of SELinux.
pub(crate) const SELINUX_LABEL_CHARS_MAX: usize = 255;

/// Which label of SELinux a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selinux {
    /// That of containers, with categories of its own, where the machine has it.
    Auto,
    /// None.
    None,
    /// This one, `user:role:type` or `user:role:type:level`; without it nothing is started.
    Label(String),
}

/// A text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no label of SELinux")]
pub struct NoLabel(String);

impl std::str::FromStr for Selinux {
    type Err = NoLabel;

    fn from_str(text: &str) -> Result<Self, NoLabel> {
        let is_plain = |more: &'static str| {
            move |part: &str| {
                !part.is_empty()
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
            }
        };
        let mut parts = text.splitn(4, ':');
        let names = parts.by_ref().take(3).filter(|part| is_plain("_.-")(part)).count();
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ if names == 3
                && text.len() <= SELINUX_LABEL_CHARS_MAX
                && parts.next().is_none_or(is_plain("_.,:-")) =>
            {
                Ok(Self::Label(text.to_string()))
            }
            _ => Err(NoLabel(text.chars().take(80).collect())),
        }
    }
}

/// Network of a container, from the narrowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// Loopback only.
    None,
    /// One of its own, on a bridge of containers that reach the world and not each other.
    Bridge,
    /// The host's network.
    Host,
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

/// What is done at events themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Enforce {
    /// Whether actions are carried out.
    pub mode: EnforceMode,
    /// Actions of rules, in place of what their files say; the first that names a rule.
    pub rules: Vec<EnforceRule>,
    /// Where actions are not carried out.
    pub exceptions: Vec<EnforceException>,
}

/// Whether actions of rules are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EnforceMode {
    /// Rules only raise alerts.
    #[default]
    Off,
    /// Alerts say what would have been done.
    DryRun,
    /// Actions are carried out.
    On,
}

impl EnforceMode {
    /// The name in policies and outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::DryRun => "dry-run",
            Self::On => "on",
        }
    }
}

/// The action of some rules.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnforceRule {
    /// Names of rules.
    pub rules: Vec<String>,
    /// Tags of rules.
    pub tags: Vec<String>,
    /// What to do, the first that the host can do; empty for nothing.
    pub actions: Vec<EnforcementAction>,
}

/// Containers in which actions are not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnforceException {
    /// References of images; `*` stands for any text.
    pub images: Vec<String>,
    /// Names or ids of containers; `*` stands for any text.
    pub containers: Vec<String>,
    /// Names of rules; empty for all.
    pub rules: Vec<String>,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub expires: Timestamp,
}

impl EnforceException {
    /// Whether it holds for `rule` in `container` at `now`.
    pub fn covers(&self, rule: &str, container: &Container, now: Timestamp) -> bool {
        let image = container.image.as_ref().map(|image| image.reference.as_str());
        let is_image = |pattern: &String| image.is_some_and(|image| matches(pattern, image));
        let is_container = |pattern: &String| {
            matches(pattern, &container.name)
                || matches(pattern, &container.id)
                || pattern == container.short_id()
        };
        now <= self.expires
            && (self.rules.is_empty() || self.rules.iter().any(|name| name == rule))
            && (self.images.is_empty() || self.images.iter().any(is_image))
            && (self.containers.is_empty() || self.containers.iter().any(is_container))
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    // The leftmost place of each part leaves the most for those behind it.
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
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

#[cfg(test)]
mod tests {
    use palisade_base::Timestamp;
    use palisade_model::{Container, Engine, ImageIdentity};

    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("aa*aa", "aaa", false),
            ("registry/x:*", "registry/x:1", true),
            ("registry/x:*", "registry/xy:1", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn an_exception_holds_where_all_that_it_names_holds() {
        let container = Container {
            id: "4f2a9c7be01d4f2a9c7b".into(),
            name: "web".into(),
            engine: Engine::Docker,
            image: Some(ImageIdentity { reference: "r/web:1".into(), digest: None }),
            policy: None,
            pod: None,
            cgroup: None,
            init_pid: None,
        };
        let now = Timestamp::from_nanos(1_000);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect();
        let check = |images: &[&str], containers: &[&str], rules: &[&str], expires, expected| {
            let exception = EnforceException {
                images: texts(images),
                containers: texts(containers),
                rules: texts(rules),
                reason: String::new(),
                expires: Timestamp::from_nanos(expires),
            };
            assert_eq!(exception.covers("rule", &container, now), expected, "{exception:?}");
        };
        check(&["r/web:*"], &[], &[], 1_000, true);
        check(&["r/web:*"], &[], &[], 999, false);
        check(&["r/db:*"], &[], &[], 1_000, false);
        check(&["r/web:*"], &["db"], &[], 1_000, false);
        check(&[], &["4f2a9c7be01d"], &["rule"], 1_000, true);
        check(&[], &["w*"], &["other"], 1_000, false);
    }
}

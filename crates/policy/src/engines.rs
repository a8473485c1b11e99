//! The keys of `engines`: what containers of Docker, Podman, containerd and CRI-O may have
//! that Palisade did not start itself, and which of them are excepted.

use std::fmt;
use std::str::FromStr;

use palisade_base::{Severity, Timestamp};

use crate::capability;
use crate::check::note;
use crate::code::Code;
use crate::document::{Policy, matches};
use crate::read::Reader;
use crate::table::{Choice, Default as Fallback, ITEMS_MAX, Key, Kind, TextRule, section};

/// How containers of other engines are treated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Engines {
    /// Whether anything is changed or refused.
    pub mode: EngineMode,
    /// What is done about a privilege that was asked for and is not allowed.
    pub asked: Asked,
    /// How containers that build images are treated.
    pub builds: Builds,
    /// What becomes of a container whose image cannot be known, where signatures are demanded.
    pub unknown_images: UnknownImages,
    /// What of the host's files a container may be given.
    pub host_paths: HostPaths,
    /// At which of the host's ports Docker may publish those of a container.
    pub published_ports: PublishedPorts,
    /// How often Docker may start a container again by itself.
    pub restarts: Restarts,
    /// Patterns of the host's devices that a container may be given.
    pub devices: Vec<String>,
    /// Patterns of kernel settings that a container may set besides the harmless ones.
    pub sysctls: Vec<String>,
    /// Containers that may have more.
    pub exceptions: Vec<EngineException>,
}

/// Whether anything is changed or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EngineMode {
    /// The policy holds.
    #[default]
    Enforce,
    /// What would be changed or refused is recorded, and nothing else.
    Report,
}

/// What is done about a privilege that was asked for and is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Asked {
    /// The container is refused, with every reason.
    #[default]
    Refuse,
    /// It is taken away.
    Remove,
}

/// How containers that build images are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Builds {
    /// Confined by the built-in policy `baseline`.
    #[default]
    Baseline,
    /// As every other container.
    Policy,
    /// They are refused.
    Refuse,
}

/// What becomes of a container of whose image no digest is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UnknownImages {
    /// It is not started.
    #[default]
    Refuse,
    /// It is started, and that is written down.
    Allow,
}

/// What of the host's files a container may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HostPaths {
    /// Whatever is not the host's system, secrets or engines.
    #[default]
    Harmless,
    /// Volumes and files of the engine's own alone.
    Volumes,
}

/// At which of the host's ports Docker may publish those of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PublishedPorts {
    /// At any.
    #[default]
    Any,
    /// At an address that is named, from 1024 on.
    Addressed,
    /// At none.
    None,
}

/// How often Docker may start a container again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Restarts {
    /// As often as is asked for.
    #[default]
    Any,
    /// After a failure, five times at most.
    Bounded,
}

/// Containers that may have more than the policy says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EngineException {
    /// References or digests of images; `*` stands for any text.
    pub images: Vec<String>,
    /// Names or ids of containers; `*` stands for any text.
    pub containers: Vec<String>,
    /// Labels and annotations, `name=value`; `*` stands for any text.
    pub labels: Vec<String>,
    /// What they may have.
    pub allow: Vec<Allowance>,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub expires: Timestamp,
}

/// What is known of a container when an exception is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name, when the engine keeps one.
    pub name: Option<&'a str>,
    /// Reference of its image, when the engine keeps one.
    pub image: Option<&'a str>,
    /// Digests of its image by the engine's records: who may tag images gives them no other.
    pub digests: &'a [String],
    /// Labels and annotations, `name=value`.
    pub labels: &'a [String],
}

impl EngineException {
    /// Whether it is about this container, expired or not: every criterion that it has
    /// must be met.
    pub fn is_about(&self, subject: Subject<'_>) -> bool {
        let any = |patterns: &[String], texts: &[&str]| {
            patterns.is_empty()
                || patterns.iter().any(|pattern| texts.iter().any(|text| matches(pattern, text)))
        };
        let short = subject.id.get(..12).unwrap_or(subject.id);
        let names: Vec<&str> = subject.name.into_iter().chain([subject.id, short]).collect();
        let digests = subject.digests.iter().map(String::as_str);
        let images: Vec<&str> = subject.image.into_iter().chain(digests).collect();
        let labels: Vec<&str> = subject.labels.iter().map(String::as_str).collect();
        any(&self.images, &images) && any(&self.containers, &names) && any(&self.labels, &labels)
    }
}

/// One thing that an exception allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// Everything: the container is started as the engine asks.
    Privileged,
    /// The host's own namespace of this kind, as the OCI runtime specification names it.
    HostNamespace(&'static str),
    /// Root as the program's user.
    Root,
    /// A root file system that can be written to.
    WritableRoot,
    /// Setuid files and file capabilities that have an effect.
    NewPrivileges,
    /// The system-call filter that the engine gives, or none.
    Seccomp,
    /// Paths of `/proc` and `/sys` that the engine does not mask.
    UnmaskedPaths,
    /// The engine's limits of resources, or none.
    Limits,
    /// Mounts that spread to the host.
    Propagation,
    /// An image that does not satisfy `images.keys` and `images.trust`.
    UnsignedImage,
    /// Another confinement by AppArmor or SELinux than the engine's own, or none.
    SecurityModule,
    /// A capability, without `CAP_`.
    Capability(String),
    /// Devices of the host whose path matches.
    Device(String),
    /// Folders and files of the host whose path matches.
    Mount(String),
    /// Kernel settings whose name matches.
    Sysctl(String),
    /// Annotations whose name matches, of those that runtimes obey.
    Annotation(String),
}

/// The words and what they mean; `host-user` is not among them, since an engine's
/// containers are in the host's user namespace unless the engine says otherwise.
pub(crate) const WORDS: [&str; 14] = [
    "privileged",
    "host-network",
    "host-pid",
    "host-ipc",
    "host-uts",
    "host-cgroup",
    "root",
    "writable-root",
    "new-privileges",
    "seccomp",
    "unmasked-paths",
    "limits",
    "propagation",
    "unsigned-image",
];
const LSM: &str = "security-module";
/// Words that are followed by `:` and what exactly is allowed.
pub(crate) const PREFIXES: [&str; 5] = ["annotation", "capability", "device", "mount", "sysctl"];

impl FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "privileged" => Self::Privileged,
            "host-network" => Self::HostNamespace("network"),
            "host-pid" => Self::HostNamespace("pid"),
            "host-ipc" => Self::HostNamespace("ipc"),
            "host-uts" => Self::HostNamespace("uts"),
            "host-cgroup" => Self::HostNamespace("cgroup"),
            "root" => Self::Root,
            "writable-root" => Self::WritableRoot,
            "new-privileges" => Self::NewPrivileges,
            "seccomp" => Self::Seccomp,
            "unmasked-paths" => Self::UnmaskedPaths,
            "limits" => Self::Limits,
            "propagation" => Self::Propagation,
            "unsigned-image" => Self::UnsignedImage,
            LSM => Self::SecurityModule,
            _ => match text.split_once(':') {
                Some(("capability", name)) => capability::canonical(name)
                    .map(|name| Self::Capability(name.to_string()))
                    .ok_or_else(|| format!("`{name}` is not a capability"))?,
                Some(("device", path)) if path.starts_with("/dev/") => Self::Device(path.into()),
                Some(("mount", path)) if path.starts_with('/') => Self::Mount(path.into()),
                Some(("sysctl", name)) if !name.is_empty() => Self::Sysctl(name.into()),
                Some(("annotation", name)) if !name.is_empty() => Self::Annotation(name.into()),
                Some(("device" | "mount", path)) => {
                    return Err(format!("`{path}` is not an absolute path of the right kind"));
                }
                _ => return Err(format!("`{text}` is nothing that can be allowed")),
            },
        })
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Privileged => f.write_str("privileged"),
            Self::HostNamespace(kind) => write!(f, "host-{kind}"),
            Self::Root => f.write_str("root"),
            Self::WritableRoot => f.write_str("writable-root"),
            Self::NewPrivileges => f.write_str("new-privileges"),
            Self::Seccomp => f.write_str("seccomp"),
            Self::UnmaskedPaths => f.write_str("unmasked-paths"),
            Self::Limits => f.write_str("limits"),
            Self::Propagation => f.write_str("propagation"),
            Self::UnsignedImage => f.write_str("unsigned-image"),
            Self::SecurityModule => f.write_str(LSM),
            Self::Capability(name) => write!(f, "capability:{name}"),
            Self::Device(path) => write!(f, "device:{path}"),
            Self::Mount(path) => write!(f, "mount:{path}"),
            Self::Sysctl(name) => write!(f, "sysctl:{name}"),
            Self::Annotation(name) => write!(f, "annotation:{name}"),
        }
    }
}

/// All words, for messages.
pub(crate) fn allowed_words() -> String {
    let prefixes = PREFIXES.map(|prefix| format!("{prefix}:…"));
    let words = WORDS.iter().map(ToString::to_string).chain([LSM.to_string()]);
    words.chain(prefixes).collect::<Vec<_>>().join(", ")
}

/// The word that `text` may have been meant to be.
pub(crate) fn nearest_word(text: &str) -> Option<&'static str> {
    palisade_base::suggest::nearest(text, WORDS.iter().copied().chain([LSM]))
}

fn exception(policy: &mut Policy, set: impl FnOnce(&mut EngineException)) {
    if let Some(item) = policy.engines.exceptions.last_mut() {
        set(item);
    }
}

const MODE: &[Choice] = &[
    Choice {
        name: "enforce",
        meaning: "containers are confined, or refused, by this policy",
        set: |p| p.engines.mode = EngineMode::Enforce,
    },
    Choice {
        name: "report",
        meaning: "what would be changed or refused is recorded, and nothing else",
        set: |p| p.engines.mode = EngineMode::Report,
    },
];

const ASKED: &[Choice] = &[
    Choice {
        name: "refuse",
        meaning: "the container is not started, and the engine's user reads every reason",
        set: |p| p.engines.asked = Asked::Refuse,
    },
    Choice {
        name: "remove",
        meaning: "it is started without it",
        set: |p| p.engines.asked = Asked::Remove,
    },
];

const BUILDS: &[Choice] = &[
    Choice {
        name: "baseline",
        meaning: "confined by the built-in policy `baseline`, whatever this one says",
        set: |p| p.engines.builds = Builds::Baseline,
    },
    Choice {
        name: "policy",
        meaning: "as every other container",
        set: |p| p.engines.builds = Builds::Policy,
    },
    Choice {
        name: "refuse",
        meaning: "images are not built here",
        set: |p| p.engines.builds = Builds::Refuse,
    },
];

const UNKNOWN_IMAGES: &[Choice] = &[
    Choice {
        name: "refuse",
        meaning: "it is not started",
        set: |p| p.engines.unknown_images = UnknownImages::Refuse,
    },
    Choice {
        name: "allow",
        meaning: "it is started, and that is written down",
        set: |p| p.engines.unknown_images = UnknownImages::Allow,
    },
];

const HOST_PATHS: &[Choice] = &[
    Choice {
        name: "harmless",
        meaning: "any folder or file but the host's system, secrets, sockets and engines",
        set: |p| p.engines.host_paths = HostPaths::Harmless,
    },
    Choice {
        name: "volumes",
        meaning: "volumes of the engine alone, as Pod Security Standards demand (no hostPath)",
        set: |p| p.engines.host_paths = HostPaths::Volumes,
    },
];

const PUBLISHED_PORTS: &[Choice] = &[
    Choice {
        name: "any",
        meaning: "any port at any address",
        set: |p| p.engines.published_ports = PublishedPorts::Any,
    },
    Choice {
        name: "addressed",
        meaning: "ports from 1024 on, at an address of the host that is named",
        set: |p| p.engines.published_ports = PublishedPorts::Addressed,
    },
    Choice {
        name: "none",
        meaning: "none",
        set: |p| p.engines.published_ports = PublishedPorts::None,
    },
];

const RESTARTS: &[Choice] = &[
    Choice {
        name: "any",
        meaning: "as often as is asked for",
        set: |p| p.engines.restarts = Restarts::Any,
    },
    Choice {
        name: "bounded",
        meaning: "after a failure, five times at most (`--restart on-failure:5`)",
        set: |p| p.engines.restarts = Restarts::Bounded,
    },
];

/// The keys, in the order in which they are written and explained.
pub(crate) const KEYS: &[Key] = &[
    section(
        "engines",
        "How containers of Docker, Podman, containerd and CRI-O are treated, with \
         `palisade-runtime` as their OCI runtime. They are confined as `containers` says, but \
         for their networks and user ids, which stay the engine's; what they have less than the \
         policy allows is not given back.",
    ),
    Key {
        path: "engines.mode",
        kind: Kind::Choice(MODE),
        default: Fallback::Value("enforce"),
        doc: "Whether anything is changed or refused.",
        example: "report",
    },
    Key {
        path: "engines.asked",
        kind: Kind::Choice(ASKED),
        default: Fallback::Value("refuse"),
        doc: "What is done about a privilege that no engine gives unless it is asked for, and \
              that is not allowed: privileged mode, a capability, a namespace, a device or a \
              sensitive folder of the host.",
        example: "remove",
    },
    Key {
        path: "engines.builds",
        kind: Kind::Choice(BUILDS),
        default: Fallback::Value("baseline"),
        doc: "How containers are treated in which an engine builds images.",
        example: "refuse",
    },
    Key {
        path: "engines.unknown_images",
        kind: Kind::Choice(UNKNOWN_IMAGES),
        default: Fallback::Value("refuse"),
        doc: "What becomes of a container of whose image no digest is known, where \
              `images.verify` is `required` and `images.keys` or `images.trust` name signers.",
        example: "allow",
    },
    Key {
        path: "engines.host_paths",
        kind: Kind::Choice(HOST_PATHS),
        default: Fallback::Value("harmless"),
        doc: "What of the host's files a container may be given by a mount.",
        example: "volumes",
    },
    Key {
        path: "engines.published_ports",
        kind: Kind::Choice(PUBLISHED_PORTS),
        default: Fallback::Value("any"),
        doc: "At which of the host's ports Docker may publish those of a container; judged by \
              `palisade authz`, no exception allows more.",
        example: "addressed",
    },
    Key {
        path: "engines.restarts",
        kind: Kind::Choice(RESTARTS),
        default: Fallback::Value("any"),
        doc: "How often Docker may start a container again by itself; judged by `palisade authz`, \
              no exception allows more.",
        example: "bounded",
    },
    Key {
        path: "engines.devices",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| p.engines.devices = texts,
        },
        default: Fallback::Values(&[]),
        doc: "Devices of the host that a container may be given; `*` stands for any text.",
        example: "[/dev/fuse]",
    },
    Key {
        path: "engines.sysctls",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| p.engines.sysctls = texts,
        },
        default: Fallback::Values(&[]),
        doc: "Kernel settings that a container may set besides those that Kubernetes calls safe; \
              `*` stands for any text.",
        example: "[net.core.somaxconn]",
    },
    Key {
        path: "engines.exceptions",
        kind: Kind::Items {
            n_max: ITEMS_MAX,
            begin: |p| p.engines.exceptions.push(EngineException::default()),
        },
        default: Fallback::Nothing,
        doc: "Containers that may have more. All that an entry names must be true of a \
              container; names and labels are chosen by whoever starts it, so name the image as \
              well, and by its digest where they may tag images.",
        example: "[{images: [\"registry.example/agent:*\"], allow: [host-pid], reason: monitoring \
                  agent, expires: \"2027-06-30\"}]",
    },
    Key {
        path: "engines.exceptions[].images",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| exception(p, |item| item.images = texts),
        },
        default: Fallback::Values(&[]),
        doc: "References of images, or digests by which the engine knows them \
              (`sha256:…`); `*` stands for any text.",
        example: "[\"registry.example/agent:*\"]",
    },
    Key {
        path: "engines.exceptions[].containers",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| exception(p, |item| item.containers = texts),
        },
        default: Fallback::Values(&[]),
        doc: "Names or ids of containers; `*` stands for any text.",
        example: "[agent-*]",
    },
    Key {
        path: "engines.exceptions[].labels",
        kind: Kind::Texts {
            rule: TextRule::Sentence,
            n_max: ITEMS_MAX,
            set: |p, texts| exception(p, |item| item.labels = texts),
        },
        default: Fallback::Values(&[]),
        doc: "Labels or annotations of containers, `name=value`; `*` stands for any text.",
        example: "[\"com.example.role=agent\"]",
    },
    Key {
        path: "engines.exceptions[].allow",
        kind: Kind::Texts {
            rule: TextRule::Allowance,
            n_max: ITEMS_MAX,
            set: |p, texts| {
                exception(p, |item| {
                    item.allow = texts.iter().filter_map(|text| text.parse().ok()).collect();
                });
            },
        },
        default: Fallback::Required,
        doc: "What they may have: `privileged` (anything), `host-network`, `host-pid`, \
              `host-ipc`, `host-uts`, `host-cgroup`, `root`, `writable-root`, `new-privileges`, \
              `seccomp`, `unmasked-paths`, `limits`, `propagation`, `security-module`, \
              `unsigned-image`, \
              `capability:NAME`, `device:PATH`, `mount:PATH`, `sysctl:NAME`, `annotation:NAME` (one \
              that the runtime obeys, `run.oci.*`).",
        example: "[host-pid, \"capability:SYS_PTRACE\"]",
    },
    Key {
        path: "engines.exceptions[].reason",
        kind: Kind::Text(TextRule::Sentence, |p, text| exception(p, |item| item.reason = text)),
        default: Fallback::Required,
        doc: "Why.",
        example: "monitoring agent",
    },
    Key {
        path: "engines.exceptions[].expires",
        kind: Kind::Text(TextRule::Date, |p, text| {
            exception(p, |item| {
                item.expires = format!("{text}T23:59:59.999999999Z").parse().unwrap_or_default();
            });
        }),
        default: Fallback::Required,
        doc: "The last day (UTC) of the exception.",
        example: "\"2027-06-30\"",
    },
];

/// Adds the problems that no single key has.
pub(crate) fn check(reader: &mut Reader) {
    for (i, item) in reader.policy.engines.exceptions.clone().iter().enumerate() {
        let path = format!("engines.exceptions[{i}]");
        let mut conflict = |what: &str, help: &str| {
            note(reader, Code::Conflict, Severity::Error, &path, what, help);
        };
        if item.images.is_empty() && item.containers.is_empty() && item.labels.is_empty() {
            conflict(
                "an exception for every container",
                "name `images`, `containers` or `labels`; what all may have stands in `containers`",
            );
        }
        if item.allow.is_empty() {
            conflict("an exception that allows nothing", "list what is allowed in `allow`");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowances_are_read_as_they_are_written() {
        let prefixed = [
            "capability:SYS_PTRACE",
            "device:/dev/fuse",
            "mount:/etc/*",
            "sysctl:net.*",
            "annotation:run.oci.keep_original_groups",
        ];
        for text in WORDS.into_iter().chain([LSM]).chain(prefixed) {
            assert_eq!(text.parse::<Allowance>().unwrap().to_string(), text);
        }
        let short: Allowance = "capability:cap_net_admin".parse().unwrap();
        assert_eq!(short, Allowance::Capability("NET_ADMIN".into()));
        for text in
            ["", "priviliged", "capability:X", "device:fuse", "mount:etc", "sysctl:", "annotation:"]
        {
            assert!(text.parse::<Allowance>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_criterion_of_an_exception_must_be_met() {
        let labels = ["role=agent".to_string()];
        let digests = ["sha256:0123".to_string()];
        let subject = Subject {
            id: "0123456789abcdef",
            name: Some("agent-1"),
            image: Some("registry.example/agent:2"),
            digests: &digests,
            labels: &labels,
        };
        let check = |images: &[&str], containers: &[&str], wanted: &[&str], expected: bool| {
            let list = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
            let exception = EngineException {
                images: list(images),
                containers: list(containers),
                labels: list(wanted),
                ..EngineException::default()
            };
            assert_eq!(
                exception.is_about(subject),
                expected,
                "{images:?} {containers:?} {wanted:?}"
            );
        };
        check(&["registry.example/agent:*"], &[], &[], true);
        check(&["registry.example/agent:*"], &["agent-*"], &["role=*"], true);
        check(&["registry.example/agent:*"], &["other"], &[], false);
        check(&["other"], &["agent-1"], &["role=agent"], false);
        check(&["sha256:0123"], &[], &[], true);
        check(&["sha256:4567"], &[], &[], false);
        check(&[], &["0123456789ab"], &[], true);
        check(&[], &[], &["role=agents"], false);
    }
}

//! Why enforcement could not be set up.

use std::io;
use std::path::PathBuf;

use palisade_base::Explain;

use super::LEVELS_MAX;
use super::tables::PARAMETER_MAX;

/// Enforcement could not be loaded, filled or extended to a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum EnforceError {
    /// The tables or programs could not be loaded.
    #[error("load enforcement programs")]
    Load {
        /// The end of what libbpf printed.
        log: String,
        /// The reason.
        source: libbpf_rs::Error,
    },
    /// A table could not be filled.
    #[error("fill enforcement table `{map}`")]
    Map {
        /// The map.
        map: &'static str,
        /// The reason.
        source: libbpf_rs::Error,
    },
    /// The ring of decisions could not be mapped into memory or waited for.
    #[error("read decisions of enforcement programs")]
    Ring(#[source] io::Error),
    /// The embedded object lacks a part: it was not built from this version's sources.
    #[error("enforcement object lacks `{part}`")]
    Object {
        /// The map or program.
        part: &'static str,
    },
    /// The rules need more than the tables hold.
    #[error("{n} {what} among the enforced rules, {max} at most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        n: usize,
        /// The bound.
        max: usize,
    },
    /// A selector names an event that no probe can judge.
    #[error("rule {rule}: event `{event}` cannot be judged in the kernel")]
    NotJudged {
        /// The rule's number.
        rule: u32,
        /// The event.
        event: String,
    },
    /// A selector asks for ends of texts that are no paths, or for ends and something else at once.
    #[error("rule {rule}: ends are compared of paths only, and by a question of their own")]
    Ends {
        /// The rule's number.
        rule: u32,
    },
    /// A selector asks for a parameter that the probes do not look at.
    #[error("rule {rule}: parameter {index} is not looked at, only 1 to {PARAMETER_MAX}")]
    Parameter {
        /// The rule's number.
        rule: u32,
        /// The parameter.
        index: u8,
    },
    /// A cgroup could not be opened or placed.
    #[error("open cgroup `{}`", path.display())]
    Open {
        /// The cgroup's folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The folder is not one of cgroup v2.
    #[error("`{}` is not a cgroup of the v2 hierarchy", path.display())]
    NotCgroup2 {
        /// The folder.
        path: PathBuf,
    },
    /// The whole host would be in it.
    #[error("`{}` is the root cgroup", path.display())]
    RootCgroup {
        /// The folder.
        path: PathBuf,
    },
    /// The agent or the host's first process is in it.
    #[error("`{}` holds {whose}", path.display())]
    NotAContainer {
        /// The folder.
        path: PathBuf,
        /// Who is in it.
        whose: &'static str,
    },
    /// The cgroups lie at too many different depths.
    #[error("guarded cgroups lie at more than {LEVELS_MAX} depths of the hierarchy")]
    TooManyLevels,
    /// The kernel runs no BPF programs in its security framework.
    #[error("`bpf` is not among the kernel's security modules")]
    NoLsm,
    /// The kernel's security modules could not be read.
    #[error("read the kernel's security modules at `/sys/kernel/security/lsm`")]
    LsmList(#[source] io::Error),
    /// A program could not be attached.
    #[error("attach `{program}`")]
    Attach {
        /// The program.
        program: &'static str,
        /// The reason.
        source: libbpf_rs::Error,
    },
}

impl Explain for EnforceError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Load { .. } | Self::Attach { .. } => {
                "run as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
            }
            Self::NotCgroup2 { .. } => {
                "name a folder below the v2 mount: /sys/fs/cgroup, or /sys/fs/cgroup/unified on hybrid hosts"
            }
            Self::RootCgroup { .. } | Self::NotAContainer { .. } => {
                "put the container's processes into a cgroup of their own; enforcement concerns containers only"
            }
            Self::TooMany { .. } => "take the action from some rules, or make their lists shorter",
            Self::NoLsm => {
                "start the kernel with `bpf` at the end of its `lsm=` list, if it was built with CONFIG_BPF_LSM"
            }
            Self::LsmList(_) => "mount it: mount -t securityfs securityfs /sys/kernel/security",
            Self::TooManyLevels => "place containers at the same depth of the cgroup hierarchy",
            _ => return None,
        };
        Some(text.into())
    }
}

//! Why probes could not be loaded or read.

use std::path::PathBuf;

use palisade_base::Explain;

use super::CGROUPS_MAX;

/// The probes could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel does not describe its types.
    #[error("kernel has no type information at `{}`", path.display())]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// BPF was refused.
    #[error("kernel refuses to load BPF programs")]
    NoPermission(#[source] libbpf_rs::Error),
    /// Ring buffers came with Linux 5.8.
    #[error("kernel {release} is older than 5.8")]
    KernelTooOld {
        /// As `uname -r` prints it.
        release: String,
    },
    /// The verifier refused a program.
    #[error("kernel's verifier refuses the probes")]
    Verifier {
        /// The end of what libbpf printed, verifier's log included.
        log: String,
        /// The error of the load.
        source: libbpf_rs::Error,
    },
    /// A program is loaded, but its hook could not be taken.
    #[error("attach probe `{program}`")]
    Attach {
        /// The program.
        program: &'static str,
        /// The reason.
        source: libbpf_rs::Error,
    },
    /// A size among the options cannot be that of a ring.
    #[error("ring of {bytes} bytes: not a power of two from one page to 1 GiB")]
    RingSize {
        /// The size asked for.
        bytes: u32,
    },
    /// More cgroups than the kernel-side table holds.
    #[error("{n} cgroups in the filter, {CGROUPS_MAX} at most")]
    TooManyCgroups {
        /// How many were given.
        n: usize,
    },
    /// More targets than a recorder tells apart.
    #[error("target {0} is one too many to be recorded")]
    TooManyTargets(u32),
    /// The embedded object lacks a part: it was not built from this version's sources.
    #[error("probe object lacks `{part}`")]
    Object {
        /// The map or program.
        part: &'static str,
    },
    /// A map could not be set up or filled.
    #[error("set up map `{map}`")]
    Map {
        /// The map.
        map: &'static str,
        /// The reason.
        source: libbpf_rs::Error,
    },
    /// A ring could not be mapped into memory.
    #[error("map ring `{map}` into memory")]
    Ring {
        /// The ring.
        map: &'static str,
        /// The reason.
        source: std::io::Error,
    },
}

impl LoadError {
    /// The one line of the verifier's log that says what it does not like, if there is one: the
    /// last before the count of instructions.
    pub fn verdict(&self) -> Option<&str> {
        let Self::Verifier { log, .. } = self else { return None };
        let mut before = None;
        for line in log.lines() {
            if line.starts_with("processed ") && line.contains(" insns") {
                break;
            }
            // Lines of the listing and of the sources it came from begin otherwise.
            let is_verifiers = !line.starts_with([';', '-']) && !line.starts_with("libbpf: ");
            if is_verifiers && !line.trim().is_empty() {
                before = Some(line);
            }
        }
        before
    }
}

impl Explain for LoadError {
    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoBtf { .. } => {
                "use a kernel built with CONFIG_DEBUG_INFO_BTF=y; those of current distributions are"
            }
            Self::NoPermission(_) => {
                "run as root, or with CAP_BPF and CAP_PERFMON; in a container also allow bpf(2) in its seccomp profile"
            }
            Self::KernelTooOld { .. } => "use Linux 5.8 or later",
            Self::Verifier { .. } => {
                "report this kernel's version with the log (`palisade doctor --verbose`); it is a bug in the probes"
            }
            Self::RingSize { .. } => "use a power of two, such as 8388608",
            Self::TooManyCgroups { .. } => "filter by a parent cgroup, or leave the filter out",
            Self::TooManyTargets(_) => "record fewer containers at once, and merge the records",
            Self::Attach { .. } => {
                "see with `palisade doctor` which program types this kernel lets attach"
            }
            Self::Map { .. } | Self::Ring { .. } => {
                "see whether memory is short; smaller rings need less of it"
            }
            Self::Object { .. } => return None,
        };
        Some(text.into())
    }
}

/// Records could not be waited for.
#[derive(Debug, thiserror::Error)]
#[error("wait for records of the probes")]
pub struct PollError(#[from] std::io::Error);

impl Explain for PollError {}

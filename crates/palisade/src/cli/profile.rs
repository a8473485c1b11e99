//! `profile`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ImageSource;

/// `palisade profile`.
#[derive(Debug, Subcommand)]
pub(crate) enum Profile {
    /// Record what containers, or a command and what it starts, need of the kernel
    Record(ProfileRecord),
    /// Find the calls that a program and its libraries can make, from their code
    Static(ProfileStatic),
    /// Run a workload under a profile, in log mode and then enforcing: what would be missed
    Verify(ProfileVerify),
    /// Merge records: of replicas, of several workloads, of a recording and the programs
    Merge(ProfileMerge),
    /// What one record or seccomp profile has that another has not
    Diff(ProfileDiff),
    /// Write profiles made from a record: seccomp, Kubernetes, OCI, AppArmor, SELinux, a policy
    Export(ProfileExport),
}

/// `palisade profile record`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade profile record shop --for 600              # a running container of any engine\n  \
    palisade profile record web-1 web-2 --output web.record.json   # replicas, merged\n  \
    palisade profile record -- palisade run oci:./shop  # a container from its first call on\n  \
    palisade profile record -- /usr/sbin/nginx -g 'daemon off;'\n\n\
    A recording of containers ends with them, after --for seconds, or at SIGINT or SIGTERM; one of\n\
    a command when the last process that it started has ended. It knows what it has seen: let the\n\
    workload reload, fail and shut down meanwhile.")]
pub(crate) struct ProfileRecord {
    /// Names or ids of running containers
    #[arg(
        required_unless_present = "command",
        conflicts_with = "command",
        value_name = "CONTAINER"
    )]
    pub(crate) containers: Vec<String>,
    /// End after this many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    pub(crate) seconds: Option<u64>,
    /// Where to write the record [default: NAME.record.json]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Name in the record [default: the first container's, or the command's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Folder of an engine's store instead of its usual place, like docker=/srv/docker; may be
    /// repeated
    #[arg(long, value_name = "ENGINE=DIR")]
    pub(crate) store: Vec<String>,
    /// A command to run and record, with its arguments
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// `palisade profile merge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  palisade profile merge web-1.json web-2.json static.json --output web.json"
)]
pub(crate) struct ProfileMerge {
    /// Records
    #[arg(required = true, value_name = "RECORD")]
    pub(crate) records: Vec<PathBuf>,
    /// Name in the merged record [default: the first one's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `palisade profile diff`.
#[derive(Debug, Args)]
#[command(after_help = "Two records, or two seccomp profiles (Docker's form or the OCI runtime \
    specification's).\n\nExamples:\n  \
    palisade profile diff old.record.json new.record.json\n  \
    palisade profile diff /usr/share/containers/seccomp.json shop.seccomp.json\n\n\
    The exit code is 1 when something was added.")]
pub(crate) struct ProfileDiff {
    /// The old one
    pub(crate) old: PathBuf,
    /// The new one
    pub(crate) new: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = super::ListFormat::Table)]
    pub(crate) format: super::ListFormat,
}

/// Forms of profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileFormat {
    /// A seccomp profile for Docker and Podman: `--security-opt seccomp=FILE`.
    Seccomp,
    /// The part of a pod's manifest that uses it.
    Kubernetes,
    /// The parts of an OCI runtime configuration.
    Oci,
    /// An AppArmor profile.
    Apparmor,
    /// An SELinux module in CIL, for udica's templates.
    Selinux,
    /// A policy for `palisade run --policy`, with its seccomp profile beside it.
    Policy,
    /// All of them, as files of the folder --output.
    All,
}

/// `palisade profile export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade profile export shop.record.json --output shop.seccomp.json\n  \
    palisade profile export shop.record.json --format apparmor\n  \
    palisade profile export shop.record.json --format all --output profiles/")]
pub(crate) struct ProfileExport {
    /// The record
    pub(crate) record: PathBuf,
    /// Which form
    #[arg(long, value_enum, default_value_t = ProfileFormat::Seccomp)]
    pub(crate) format: ProfileFormat,
    /// Where to write it: a file, or the folder of --format all and policy [default: standard
    /// output]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// Allow only those operations of ioctl and prctl that were seen
    #[arg(long)]
    pub(crate) strict_operations: bool,
}

/// `palisade profile static`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade profile static oci:./shop --output shop.static.json\n  \
    palisade profile static dir:/srv/root --program /usr/sbin/nginx\n  \
    palisade profile static /usr/bin/cat\n\n\
    What cannot be known is named and stands in the record: libraries that are loaded later, numbers\n\
    that are computed, scripts. The exit code is then 4. x86-64 programs only.")]
pub(crate) struct ProfileStatic {
    /// An image, as `palisade scan` takes it, or a program of this machine by its path
    pub(crate) target: String,
    /// Program of the image [default: its entry point]; may be repeated
    #[arg(long, value_name = "PATH")]
    pub(crate) program: Vec<String>,
    /// Name in the record [default: the program's]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Where to write the record [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade profile verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade profile verify shop.seccomp.json oci:./shop -- --self-test\n  \
    palisade profile verify shop.record.json oci:./shop --policy shop.yaml --exercise ./drive-shop.sh\n\n\
    The program of --exercise runs on this machine while the container does; it finds the container's\n\
    name in PALISADE_CONTAINER, and the container is asked to end when it has ended.\n\
    The exit code is 1 when a call was missed or the workload failed.")]
pub(crate) struct ProfileVerify {
    /// A seccomp profile, or a record
    pub(crate) profile: PathBuf,
    /// The image, as `palisade run` takes it
    #[arg(required_unless_present = "rootfs", conflicts_with = "rootfs")]
    pub(crate) image: Option<String>,
    /// A folder that is the root file system, instead of an image
    #[arg(long, value_name = "DIR")]
    pub(crate) rootfs: Option<PathBuf>,
    /// Arguments instead of the image's command
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
    /// Policy of the container, but for its seccomp profile
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// Program instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// A shell command that drives the workload from outside
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exercise: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = super::ListFormat::Table)]
    pub(crate) format: super::ListFormat,
}

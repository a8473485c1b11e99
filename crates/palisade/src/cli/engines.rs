//! Commands around containers that other engines start.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use palisade_runtime::install::{AUTHZ_SOCKET, Engine};
use palisade_runtime::oci::SETTINGS_PATH;

use super::ListFormat;

/// Be the OCI runtime of an engine.
///
/// Engines call it as they call runC; it confines the container, or refuses it, by the policy
/// that its settings name, and hands over to runC or crun with the same arguments. A copy of
/// or link to the program that is named `palisade-runtime`, `runc` or `crun` is this command.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    after_help = "Settings: /etc/palisade/runtime.json, or the file that \
                  PALISADE_RUNTIME_CONFIG or --palisade-config names:\n  \
                  {\"policy\": \"baseline\", \"runtime\": \"/usr/sbin/runc\"}\n\n\
                  Examples:\n  \
                  dockerd --add-runtime palisade=/usr/bin/palisade-runtime\n  \
                  podman --runtime /usr/bin/palisade-runtime run IMAGE\n  \
                  ctr run --runc-binary /usr/bin/palisade-runtime IMAGE NAME"
)]
pub(crate) struct Runtime {
    /// Settings instead of /etc/palisade/runtime.json; must come first
    #[arg(long, value_name = "FILE")]
    pub(crate) palisade_config: Option<PathBuf>,
    /// The OCI runtime's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) arguments: Vec<OsString>,
}

/// `palisade install` and `palisade uninstall`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade install docker --dry-run          # show what would be changed\n  \
    palisade install docker --policy restricted\n  \
    palisade uninstall docker                  # as it was before, byte for byte\n  \
    palisade install crio --root /mnt/image    # in an image that is being prepared")]
pub(crate) struct Install {
    /// The engine: docker, containerd, podman or crio
    #[arg(value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Policy of the containers: a built-in name or a file [default: what runtime.json says, else
    /// baseline]
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// The program that engines call [default: this one]
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// Leave Docker's authorization plugin out, and the doors open that only it can close
    #[arg(long)]
    pub(crate) no_authz: bool,
    /// Whether units of systemd are written [default: whether it runs here, or the folder of
    /// --root has it]
    #[arg(long, value_name = "BOOL")]
    pub(crate) units: Option<bool>,
    /// A folder that stands for `/`
    #[arg(long, default_value = "/", value_name = "DIR")]
    pub(crate) root: PathBuf,
}

/// `palisade uninstall`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  palisade uninstall docker --dry-run")]
pub(crate) struct Uninstall {
    /// The engine: docker, containerd, podman or crio
    #[arg(value_name = "ENGINE")]
    pub(crate) engine: Engine,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// A folder that stands for `/`
    #[arg(long, default_value = "/", value_name = "DIR")]
    pub(crate) root: PathBuf,
}

/// Answer Docker's questions about calls of its API: its authorization plugin.
///
/// Refuses, by the policy of /etc/palisade/runtime.json, what the OCI runtime cannot see or not
/// in time: other runtimes, volumes that mount the host, plugins, privileged fields. Docker
/// refuses every call while it does not run.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade authz                                   # as `palisade install docker` has it started\n  \
    palisade authz --allow-runtime nvidia\n  \
    dockerd --authorization-plugin palisade")]
pub(crate) struct Authz {
    /// The socket at which Docker asks; its file's name is the plugin's
    #[arg(long, default_value = AUTHZ_SOCKET, value_name = "FILE")]
    pub(crate) socket: PathBuf,
    /// Settings that name the policy
    #[arg(long, default_value = SETTINGS_PATH, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// A runtime that clients may name besides `palisade`; its containers are not confined. May
    /// be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_runtime: Vec<String>,
}

/// `palisade inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade inspect web\n  \
    palisade inspect 0123456789ab --format json | jq '.exposures[].policy'")]
pub(crate) struct Inspect {
    /// Name or id (or its beginning) of a running container, of whichever engine
    pub(crate) container: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = InspectFormat::Text)]
    pub(crate) format: InspectFormat,
    /// Folder of an engine's store instead of its usual place, like docker=/srv/docker; may be
    /// repeated
    #[arg(long, value_name = "ENGINE=DIR")]
    pub(crate) store: Vec<String>,
    /// Settings of `palisade-runtime`, which name where it writes down how it confined
    #[arg(long, default_value = SETTINGS_PATH, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// Forms of what `inspect` finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// For people.
    Text,
    /// JSON.
    Json,
}

/// `palisade harden`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade harden config.json --policy restricted          # every change with its reason\n  \
    palisade harden config.json --diff\n  \
    palisade harden bundle/config.json --in-place            # then: runc run -b bundle NAME\n  \
    palisade harden process.json --exec-in config.json       # a process for `runc exec --process`\n  \
    palisade harden lxc /var/lib/lxc/web/config              # a container of LXC")]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Harden {
    /// Another kind of container.
    #[command(subcommand)]
    pub(crate) kind: Option<HardenKind>,
    /// The container's OCI configuration (config.json)
    #[arg(value_name = "SPEC.json", required = true)]
    pub(crate) spec: Option<PathBuf>,
    /// Policy: a built-in name (audit, baseline, restricted) or a file
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// The file is the process of an exec; this is the configuration of its container
    #[arg(long, value_name = "SPEC.json")]
    pub(crate) exec_in: Option<PathBuf>,
    /// Show the change as a unified diff
    #[arg(long, conflicts_with = "format")]
    pub(crate) diff: bool,
    /// Form of the changes
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    /// Write the hardened configuration here; `-` is stdout, instead of the changes
    #[arg(long, short, value_name = "FILE", conflicts_with = "in_place")]
    pub(crate) output: Option<PathBuf>,
    /// Write the hardened configuration over the file
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Reference of the container's image, for exceptions of the policy
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// The container's name, for exceptions of the policy
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A label of the container, for exceptions of the policy; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
}

/// Containers that are not of the OCI.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum HardenKind {
    /// Audit and harden the configuration of an LXC container
    Lxc(HardenLxc),
}

/// `palisade harden lxc`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade harden lxc /var/lib/lxc/web/config              # what it opens\n  \
    palisade harden lxc /var/lib/lxc/web/config --diff --policy restricted\n  \
    palisade harden lxc /var/lib/lxc/web/config --in-place   # with config.seccomp, .nft, .sysctl, .subids beside it")]
pub(crate) struct HardenLxc {
    /// The container's configuration (lxc.container.conf(5))
    pub(crate) config: PathBuf,
    /// Policy: a built-in name (audit, baseline, restricted) or a file
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// The container's name; the configuration's folder has it
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// First of the 65,536 host ids of a container that has none of its own, instead of the ledger's
    /// next
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..=2_147_352_576))]
    pub(crate) first_id: Option<u32>,
    /// Which users may put interfaces on which bridges
    #[arg(long, default_value = "/etc/lxc/lxc-usernet", value_name = "FILE")]
    pub(crate) usernet: PathBuf,
    /// Write that file anew: without lines that are none, and with at most 100 interfaces a user
    #[arg(long)]
    pub(crate) usernet_in_place: bool,
    /// Show the change as a unified diff
    #[arg(long, conflicts_with = "format")]
    pub(crate) diff: bool,
    /// Form of what was found
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    /// Write the hardened configuration over the file, and what belongs to it beside it
    #[arg(long)]
    pub(crate) in_place: bool,
}

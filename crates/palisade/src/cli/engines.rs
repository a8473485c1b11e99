//! Commands around containers that other engines start.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use palisade_runtime::install::{AUTHZ_SOCKET, Engine};
use palisade_runtime::oci::SETTINGS_PATH;

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

//! Commands around containers that other engines start.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

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

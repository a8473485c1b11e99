//! `ima`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ImageSource, ListFormat};

/// `palisade ima`.
#[derive(Debug, Subcommand)]
pub(crate) enum Ima {
    /// Print a policy for the kernel's integrity measurement: what containers execute is measured
    #[command(after_help = "Examples:\n  \
        palisade ima policy > /etc/ima/ima-policy            # read by systemd at boot\n  \
        palisade ima policy > /run/ima && cp /run/ima /sys/kernel/security/ima/policy\n\n\
        Most kernels take a policy once after each boot.")]
    Policy,
    /// Compare what the kernel measured with an image
    Verify(ImaVerify),
}

/// `palisade ima verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade ima verify oci:./shop\n  \
    palisade ima verify docker:shop:1.2 --measurements node-7.txt --format json\n\n\
    The kernel's list is of the whole host and names no container: a path of the image that was\n\
    measured with another content may be the host's own file, or another container's.\n\
    The exit code is 1 if a file differs or was written while it was measured, 4 if some were\n\
    measured by another algorithm than SHA-256, 3 if nothing of the image was measured.")]
pub(crate) struct ImaVerify {
    /// The image, as `palisade scan` takes it
    pub(crate) image: String,
    /// The list of measurements: the kernel's, or a copy of another host's
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/sys/kernel/security/ima/ascii_runtime_measurements"
    )]
    pub(crate) measurements: PathBuf,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

//! Upgrades of images: `patch`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ImageSource, ListFormat};

/// `palisade patch`.
#[derive(Debug, Subcommand)]
pub(crate) enum Patch {
    /// Say which upgrades of the image's own repositories fix which findings now
    Plan(PatchPlan),
}

/// What both plans and builds are told.
#[derive(Debug, Args)]
pub(crate) struct PatchOptions {
    /// The image
    pub(crate) target: String,
    /// Advisory database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// Fetch what the image has at addresses that begin with FROM at TO (an address, or a folder
    /// as file:///DIR); may be repeated
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) repository_mirror: Vec<String>,
    /// How images of registries are got
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade patch plan`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the plan is whole, 4 a repository of the image could not be used.\n\n\
    Examples:\n  \
    palisade patch plan oci:./shop\n  \
    palisade patch plan --format json --repository-mirror http://deb.debian.org/=file:///mirror/ shop:1.0"
)]
pub(crate) struct PatchPlan {
    #[command(flatten)]
    pub(crate) options: PatchOptions,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    /// An image that may become the base; those that would leave the fewest findings come first;
    /// may be repeated
    #[arg(long, value_name = "TARGET")]
    pub(crate) base: Vec<String>,
}

//! Upgrades of images: `patch`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ImageSource, ListFormat};

/// `palisade patch`.
#[derive(Debug, Subcommand)]
pub(crate) enum Patch {
    /// Say which upgrades of the image's own repositories fix which findings now
    Plan(PatchPlan),
    /// Add one layer with exactly those upgrades, and prove by a second scan what it changes
    Build(PatchBuild),
    /// List running containers whose image is behind its tag, or can be patched
    Stale(PatchStale),
}

/// What plans and builds are told of repositories and findings.
#[derive(Debug, Args)]
pub(crate) struct PatchOptions {
    /// Advisory database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// Fetch what the image has at addresses that begin with FROM at TO (an address, or a folder
    /// as file:///DIR). Where FROM is the id of an RPM repository, ask that one at TO, whatever list
    /// of mirrors the image names; may be repeated
    #[arg(long, value_name = "FROM=TO")]
    pub(crate) repository_mirror: Vec<String>,
    /// Ask the sources of this file (`.list` or `.sources`) instead of the image's own, with the
    /// keyrings of this machine that it names; for images that have none
    #[arg(long, value_name = "FILE")]
    pub(crate) apt_sources: Option<PathBuf>,
    /// File of findings to ignore, each with a reason and an expiry
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    /// VEX document (OpenVEX, CSAF, CycloneDX) that sets findings aside; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) vex: Vec<PathBuf>,
    /// Set aside as well what this policy's `images.gate.ignore` and `images.gate.vex` do
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
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
    palisade patch plan --format json --repository-mirror http://deb.debian.org/=file:///mirror/ shop:1.0\n  \
    palisade patch plan --base debian:12-slim shop:1.0"
)]
pub(crate) struct PatchPlan {
    /// The image
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) options: PatchOptions,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    /// An image that may become the base; those that would leave the fewest findings come first;
    /// may be repeated. `auto` asks for those that the image suggests: its own base as the tag is
    /// now, newer tags of it, and the smaller bases of `scan --minimality`
    #[arg(long, value_name = "TARGET")]
    pub(crate) base: Vec<String>,
}

/// `palisade patch build`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 built and proved, 1 no upgrade can be made, or the proof fails and nothing is written,\n\
    4 built and proved, but a repository of the image could not be used.\n\n\
    Examples:\n  \
    palisade patch build oci:./shop -o ./shop-patched\n  \
    palisade patch build --allow-scripts -o ./shop-patched shop:1.0\n  \
    palisade patch build --skip-scripts --tag 1.0-patched -o shop.tar shop:1.0"
)]
pub(crate) struct PatchBuild {
    /// The image
    pub(crate) target: String,
    /// Where the new image goes: a layout, or an archive when the name ends in .tar
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: PathBuf,
    /// Tag of the new image [default: that of the image]
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Make upgrades that would execute something as well, without executing it; what is left out
    /// is named. Without this flag such upgrades are not made
    #[arg(long)]
    pub(crate) skip_scripts: bool,
    /// Execute maintainer scripts and triggers, in containers of the image without a network; what they change is in the layer, and listed apart. Needs root. A script
    /// that fails refuses the build
    #[arg(long, conflicts_with = "skip_scripts")]
    pub(crate) allow_scripts: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) options: PatchOptions,
}

/// `palisade patch stale`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 every image is that of its tag and nothing can be patched, 1 one is behind or can be\n\
    patched, 4 none is, but one could not be told.\n\n\
    Examples:\n  \
    palisade patch stale\n  \
    palisade patch stale --plan --format json\n  \
    palisade patch stale --offline"
)]
pub(crate) struct PatchStale {
    /// Ask no registry: compare with the stores of this machine alone
    #[arg(long, conflicts_with = "plan")]
    pub(crate) offline: bool,
    /// Plan for each container as `patch plan` does, and tell how many vulnerabilities the image's
    /// repositories fix now
    #[arg(long)]
    pub(crate) plan: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    #[command(flatten)]
    pub(crate) options: PatchOptions,
}

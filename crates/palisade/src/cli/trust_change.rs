//! Changes of whom is trusted: `trust root`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ListFormat;

/// `palisade trust root`.
#[derive(Debug, Subcommand)]
pub(crate) enum TrustRoot {
    /// Begin to trust a repository (TUF) by a root that you brought, and take its trusted root
    Import(TrustRootImport),
    /// Take the repository's newest trusted root
    Update(TrustRootUpdate),
}

/// `palisade trust root import`.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 0: taken over; 1: the repository must not be believed; 5: it \
    cannot be reached.\n\n\
    Examples:\n  \
    palisade trust root import --root root.json --tuf https://tuf.example\n  \
    palisade trust root import --root root.json --tuf ./mirror")]
pub(crate) struct TrustRootImport {
    /// The repository: an address (https:), or a folder that is a copy of one
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) tuf: String,
    /// A root.json of the repository, of any version, got from where you trust
    #[arg(long, value_name = "FILE")]
    pub(crate) root: PathBuf,
    /// Forget what is known of a repository
    #[arg(long)]
    pub(crate) replace: bool,
    /// The file to take
    #[arg(long, value_name = "NAME", default_value = "trusted_root.json")]
    pub(crate) target: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade trust root update`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: taken over, or the same still; 1: the repository must not be \
    believed; 5: it\ncannot be reached. What is known stays in both cases.\n\n\
    Examples:\n  \
    palisade trust root update\n  \
    palisade trust root update --tuf ./mirror      # by hand, where there is no network"
)]
pub(crate) struct TrustRootUpdate {
    /// The repository, or a copy of it, this time [default: the one that was imported]
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) tuf: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

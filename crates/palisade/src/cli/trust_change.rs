//! Changes of whom is trusted: `trust add`, `trust rotate`, `trust root`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ListFormat;

/// `palisade trust add`.
#[derive(Debug, Args)]
#[command(after_help = "The rest of the file stays as it is, comments included.\n\n\
    Examples:\n  \
    palisade trust add --policy shop.yaml --name release --images 'registry.example/shop/*' \\\n      \
    --key ann.pub --key bob.pub --signers-min 2\n  \
    palisade trust add --policy shop.yaml --name pipeline --images 'registry.example/shop/*' \\\n      \
    --subject 'https://git.example/shop/*@refs/tags/*' --issuer https://token.git.example")]
pub(crate) struct TrustAdd {
    /// The policy's file
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// Name of the new rule
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Images that it is about; `*` stands for any text; may be repeated [default: all]
    #[arg(long, value_name = "PATTERN")]
    pub(crate) images: Vec<String>,
    /// Public key whose holder may sign; may be repeated
    #[arg(long, value_name = "FILE", required_unless_present = "subject")]
    pub(crate) key: Vec<PathBuf>,
    /// Whom a signer's certificate must name; `*` stands for any text
    #[arg(long, value_name = "NAME", requires = "issuer")]
    pub(crate) subject: Option<String>,
    /// The OpenID provider that must have vouched for the subject
    #[arg(long, value_name = "URL", requires = "subject")]
    pub(crate) issuer: Option<String>,
    /// How many different signers must have signed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) signers_min: u32,
    /// The first day (UTC) of the rule
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,
    /// The last day (UTC) of the rule
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<String>,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `palisade trust rotate`.
#[derive(Debug, Args)]
#[command(
    after_help = "The old rule gets an end, and a new one with the new key begins before, so \
    that there is no\nday on which neither counts. The rest of the file stays as it is.\n\n\
    Examples:\n  \
    palisade trust rotate --policy shop.yaml --rule release --new 2027.pub\n  \
    palisade trust rotate --policy shop.yaml --rule release --old bob.pub --new bob2.pub \\\n      \
    --from 2027-01-01 --until 2027-01-31 --dry-run"
)]
pub(crate) struct TrustRotate {
    /// The policy's file
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: PathBuf,
    /// The rule whose key is replaced
    #[arg(long, value_name = "NAME")]
    pub(crate) rule: String,
    /// The key that is replaced, where the rule has several
    #[arg(long, value_name = "FILE")]
    pub(crate) old: Option<PathBuf>,
    /// The new public key
    #[arg(long, value_name = "FILE")]
    pub(crate) new: PathBuf,
    /// Name of the rule with the new key [default: that of the rule and the first day]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The first day (UTC) of the new key [default: today]
    #[arg(long, value_name = "DAY")]
    pub(crate) from: Option<String>,
    /// The last day (UTC) of the old key [default: 30 days after the first of the new one]
    #[arg(long, value_name = "DAY")]
    pub(crate) until: Option<String>,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

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

//! Who made an image: `sign`, `verify`.

use std::path::PathBuf;

use clap::Args;

use super::ListFormat;

/// `palisade sign`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade sign --generate-key shop       # writes shop.key (keep it) and shop.pub\n  \
    palisade sign --key shop.key oci:./shop\n\n\
    An encrypted key is opened with the password in PALISADE_KEY_PASSWORD (or COSIGN_PASSWORD).")]
pub(crate) struct Sign {
    /// What to sign: an OCI layout
    #[arg(required_unless_present = "generate_key")]
    pub(crate) target: Option<String>,
    /// Private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Make a key pair instead: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", conflicts_with = "key")]
    pub(crate) generate_key: Option<PathBuf>,
}

/// `palisade verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade verify --key shop.pub oci:./shop\n  \
    palisade verify --policy shop.yaml oci:./shop")]
pub(crate) struct Verify {
    /// What to verify: an OCI layout
    pub(crate) target: String,
    /// Public key that must have signed; several: any of them
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Take the keys from this policy
    #[arg(long, value_name = "POLICY", conflicts_with = "key")]
    pub(crate) policy: Option<String>,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

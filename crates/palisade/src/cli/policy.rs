//! `policy`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `palisade policy`.
#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Check policy files: every problem with its line, column and remedy
    Check(PolicyFiles),
    /// Say what a policy means, key by key
    Explain(PolicyName),
    /// Print the JSON Schema of policy files
    Schema,
    /// Print a built-in policy, to start from
    Show(PolicyName),
    /// List the built-in policies
    List,
}

/// Policy files.
#[derive(Debug, Args)]
pub(crate) struct PolicyFiles {
    /// The files
    #[arg(required = true)]
    pub(crate) files: Vec<PathBuf>,
}

/// A policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyName {
    /// A built-in name (audit, baseline, restricted) or a file
    pub(crate) policy: String,
}

//! Drills: `drill`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Ps;

/// `palisade drill`.
#[derive(Debug, Subcommand)]
pub(crate) enum Drill {
    /// List the scenarios: what is done, which rule must see it
    List(Ps),
    /// Carry scenarios out against a container of the drill's own, and say what was seen
    Run(DrillRun),
}

/// `palisade drill run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade drill run --image oci:shop                       # every scenario, own watch\n  \
    palisade drill run --image oci:shop --policy restricted   # what must be stopped is stopped?\n  \
    palisade drill run crypto-miner --image oci:shop --running  # seen by the watch that runs?\n  \
    palisade drill run --image oci:shop --format junit --output drill.xml\n\n\
    The image needs /bin/sh. The container is made for the drill and removed at its end; nothing\n\
    else is touched.\n\n\
    Exit codes: 0 everything was seen or stopped, 1 something was missed, 3 the drill could not\n\
    be carried out.")]
pub(crate) struct DrillRun {
    /// Scenarios; all of them when none is named
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<String>,
    /// Image that the drill's container is made of
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: String,
    /// Policy by which the container is confined
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// Public key of the image's signer, where the policy asks for a signature
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Ask the watch that runs, instead of one of the drill's own that only looks
    #[arg(long)]
    pub(crate) running: bool,
    /// How long an alert is waited for, in milliseconds
    #[arg(long, default_value_t = 3000, value_name = "MS")]
    pub(crate) patience: u64,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = DrillFormat::Text)]
    pub(crate) format: DrillFormat,
    /// Write the report to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Forms of a drill's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrillFormat {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
    /// For continuous integration.
    Junit,
    /// For people, with colours.
    Html,
}

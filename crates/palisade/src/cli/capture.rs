//! Flags of recording, and `palisade capture`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::ListFormat;

/// Flags of `palisade watch` that record.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(crate) struct Recording {
    /// Record everything into this file, which must not exist; it is rotated into FILE.1 to
    /// FILE.3
    #[arg(long = "record", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Record what was before and after each alert, into a file of its own in this folder
    #[arg(long = "record-on-alert", value_name = "DIR")]
    pub(crate) on_alert: Option<PathBuf>,
    /// Seconds before an alert that are recorded
    #[arg(long = "record-before", value_name = "SECONDS", default_value_t = 30,
          value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) before: u64,
    /// Seconds after an alert that are recorded, unless its rule says otherwise
    /// (`capture_duration`)
    #[arg(long = "record-after", value_name = "SECONDS", default_value_t = 5,
          value_parser = value_parser!(u64).range(0..=900))]
    pub(crate) after: u64,
    /// Which alerts are recorded
    #[arg(long = "record-alerts", value_enum, default_value_t = Recorded::All, value_name = "WHICH")]
    pub(crate) alerts: Recorded,
    /// Size of all files of --record, and of those in the folder of --record-on-alert, in
    /// MiB; the oldest go first
    #[arg(long = "record-size", value_name = "MIB", default_value_t = 1024,
          value_parser = value_parser!(u64).range(16..=1 << 24))]
    pub(crate) size: u64,
    /// Memory for the seconds before an alert, in MiB
    #[arg(long = "record-memory", value_name = "MIB", default_value_t = 32,
          value_parser = value_parser!(u64).range(4..=65_536))]
    pub(crate) memory: u64,
}

/// Which alerts are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recorded {
    /// All.
    All,
    /// Those of rules with `capture: true`.
    Marked,
}

/// `palisade capture`.
#[derive(Debug, Subcommand)]
pub(crate) enum Capture {
    /// Say what a capture holds
    Info(CaptureInfo),
    /// Write a recording as .scap, for Falco and sysdig, or a .scap file as a recording
    Convert(CaptureConvert),
}

/// `palisade capture info`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  palisade capture info night.palcap")]
pub(crate) struct CaptureInfo {
    /// Recording (.palcap) or capture (.scap, compressed or not)
    pub(crate) file: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade capture convert`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade capture convert night.palcap night.scap\n  \
    palisade capture convert incident.scap.gz incident.palcap")]
pub(crate) struct CaptureConvert {
    /// What to convert: a recording (.palcap) or a capture (.scap, compressed or not)
    pub(crate) input: PathBuf,
    /// Where to; must not exist. A recording becomes a capture, a capture a recording
    pub(crate) output: PathBuf,
}

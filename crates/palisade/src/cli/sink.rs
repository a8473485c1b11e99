//! The command line of `palisade sink`.

use clap::{Args, Subcommand, ValueEnum};
use palisade_policy::SinkFormat;

use super::ListFormat;

/// `palisade sink`.
#[derive(Debug, Subcommand)]
pub(crate) enum Sink {
    /// Show how the sinks of `watch` are doing: what waits, was sent, dropped, refused
    List(SinkList),
    /// Send a test alert, and say what became of it
    Test(SinkTest),
}

/// `palisade sink list`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  palisade sink list\n\n\
    The figures are those of <data-dir>/status.json, which a running `watch` renews every 5 seconds.")]
pub(crate) struct SinkList {
    /// Form of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade sink test`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade sink test --policy shop.yaml siem     # a sink of a policy, by its name\n  \
    palisade sink test https://hooks.example/alerts\n  \
    palisade sink test --format ocsf syslog+tcp://siem.example:601\n\n\
    The test alert has the rule `Test of a sink` and the priority Notice. It passes by the queue.")]
pub(crate) struct SinkTest {
    /// The sink: its name in the policy, or where to send
    #[arg(value_name = "NAME|URL")]
    pub(crate) sink: String,
    /// Policy whose sinks are meant: a built-in name or a file
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// Form of the alert, instead of the sink's own
    #[arg(long, value_enum)]
    pub(crate) format: Option<SinkForm>,
    /// Show what is sent
    #[arg(long)]
    pub(crate) show: bool,
}

/// Forms of an alert in a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SinkForm {
    /// Falco's line for syslog, versioned JSON for everything else.
    Auto,
    /// Versioned JSON.
    Json,
    /// Falco's line.
    Falco,
    /// Falco's JSON.
    FalcoJson,
    /// OCSF Detection Finding.
    Ocsf,
    /// Common Event Format.
    Cef,
}

impl From<SinkForm> for SinkFormat {
    fn from(form: SinkForm) -> Self {
        match form {
            SinkForm::Auto => Self::Auto,
            SinkForm::Json => Self::Json,
            SinkForm::Falco => Self::Falco,
            SinkForm::FalcoJson => Self::FalcoJson,
            SinkForm::Ocsf => Self::Ocsf,
            SinkForm::Cef => Self::Cef,
        }
    }
}

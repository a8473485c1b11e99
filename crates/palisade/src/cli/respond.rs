//! Incidents and evidence: `respond`, `evidence`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ListFormat, Ps};

/// `palisade respond`.
#[derive(Debug, Subcommand)]
pub(crate) enum Respond {
    /// List incidents
    List(Ps),
    /// Show an incident: its timeline and what was done
    Show(IncidentArgs),
    /// List alerts
    Alerts(AlertsArgs),
    /// Write the HTML report of an incident
    Report(ReportArgs),
    /// Write an incident with its alerts into one document, for others
    Export(ExportArgs),
    /// Put a note on the timeline of an incident
    Note(NoteArgs),
    /// Close an incident
    Close(CloseArgs),
    /// Freeze every process of a container
    Freeze(ContainerArgs),
    /// Deny all network traffic of a container
    Isolate(ContainerArgs),
    /// Undo freeze and isolate
    Release(ContainerArgs),
    /// Kill every process of a container
    Kill(ContainerArgs),
    /// Collect a signed evidence bundle of a container
    Collect(CollectArgs),
}

/// An incident.
#[derive(Debug, Args)]
pub(crate) struct IncidentArgs {
    /// Its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) incident: String,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade respond export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade respond export latest --output incident.json\n  \
    palisade respond export INC-18ea5066fb4b9e34 --form markdown   # for a ticket")]
pub(crate) struct ExportArgs {
    /// Its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) incident: String,
    /// Form of the document
    #[arg(long, value_enum, default_value_t = ExportForm::Json)]
    pub(crate) form: ExportForm,
    /// Write it to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Forms of an exported incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// The incident and its alerts, whole.
    Json,
    /// For people: score, stages, reach, timeline.
    Markdown,
    /// The timeline, for a spreadsheet.
    Csv,
}

/// `palisade respond note`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  palisade respond note latest 'called the owner of the shop'")]
pub(crate) struct NoteArgs {
    /// Its id, the beginning of it, or `latest`
    pub(crate) incident: String,
    /// The note
    pub(crate) text: String,
}

/// `palisade respond close`.
#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// Its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) incident: String,
    /// Why: what it was, what was done
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// `palisade respond alerts`.
#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    /// Only alerts of this container (name, id or its beginning)
    #[arg(long)]
    pub(crate) container: Option<String>,
    /// Form of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade respond report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  palisade respond report latest --html incident.html --scan report.json"
)]
pub(crate) struct ReportArgs {
    /// Its id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) incident: String,
    /// Where to write the report
    #[arg(long, value_name = "FILE")]
    pub(crate) html: PathBuf,
    /// Scan report (JSON) of the image, to be shown along
    #[arg(long, value_name = "FILE")]
    pub(crate) scan: Option<PathBuf>,
}

/// A container.
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    /// Name or id (or its beginning)
    pub(crate) container: String,
}

/// `palisade respond collect`.
#[derive(Debug, Args)]
pub(crate) struct CollectArgs {
    /// Name or id (or its beginning)
    pub(crate) container: String,
    /// Where to write the bundle
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Private key that signs the bundle [default: <data-dir>/evidence.key, made when absent]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Include process memory, up to this many MiB a process
    #[arg(long, default_value_t = 0, value_name = "MIB")]
    pub(crate) memory: u64,
}

/// `palisade evidence`.
#[derive(Debug, Subcommand)]
pub(crate) enum Evidence {
    /// Verify a bundle: every item, the chain, and the signature
    Verify(EvidenceArgs),
    /// List what a bundle holds, and what could not be captured
    List(EvidenceArgs),
    /// Extract a bundle into a new folder
    Extract(ExtractArgs),
}

/// A bundle.
#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Public key of the signer [default: <data-dir>/evidence.pub]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

/// `palisade evidence extract`.
#[derive(Debug, Args)]
pub(crate) struct ExtractArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// A folder that does not exist yet
    pub(crate) folder: PathBuf,
    /// Public key of the signer [default: <data-dir>/evidence.pub]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

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
    /// Freeze every process of a container, for an hour unless told otherwise
    Freeze(ActionArgs),
    /// Deny all network traffic of a container
    Isolate(ActionArgs),
    /// Undo everything that was ordered by hand for a container, and freeze and isolate
    Release(ContainerArgs),
    /// Kill every process of a container
    Kill(ActionArgs),
    /// Carry out any action of a playbook, once
    Act(ActArgs),
    /// Undo what an order did
    Undo(UndoArgs),
    /// List orders given by hand or by playbooks run by hand
    Orders(Ps),
    /// Print the audit log: who ordered what and why, each step, each undoing
    Audit(AuditArgs),
    /// List what holds: quarantined images, blocked programs, protected containers
    Standing(Ps),
    /// Undo what was held long enough, and complete what was interrupted
    Expire(ExpireArgs),
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

/// Who orders, why, and how long it holds.
#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why; goes into the audit log
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    pub(crate) reason: String,
    /// Who answers for it [default: the user's number]
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Services elsewhere and their credentials, as JSON [default: <data-dir>/remotes.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) remotes: Option<PathBuf>,
}

/// An action on a container.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade respond freeze shop --for 20m --reason 'odd process'\n  \
    palisade respond isolate shop --allow 10.0.0.5 --dry-run")]
pub(crate) struct ActionArgs {
    /// Name or id (or its beginning)
    pub(crate) container: String,
    /// After this time it is undone by itself: 30s, 20m, 2h, ever
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) hold: Option<String>,
    /// Addresses that may still be spoken with (isolate); may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) allow: Vec<std::net::IpAddr>,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

/// `palisade respond act`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade respond act 'block-destination: 203.0.113.7' --container shop\n  \
    palisade respond act '{isolate: [10.0.0.5], for: 10m}' --container shop\n  \
    palisade respond act 'quarantine-image: sha256:4f2a…'\n  \
    palisade respond act 'kill-tree: 4711' --container shop\n  \
    palisade respond act 'cordon: node-7' --dry-run\n\n\
    Actions and their parameters are those of playbooks: docs/guide/playbooks.md.")]
pub(crate) struct ActArgs {
    /// The step, as it would stand in a playbook
    pub(crate) step: String,
    /// Container that it acts upon: name or id (or its beginning)
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) container: Option<String>,
    #[command(flatten)]
    pub(crate) order: OrderArgs,
}

/// `palisade respond undo`.
#[derive(Debug, Args)]
pub(crate) struct UndoArgs {
    /// The order's id, or the beginning of it
    pub(crate) order: String,
    /// Services elsewhere and their credentials, as JSON [default: <data-dir>/remotes.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) remotes: Option<PathBuf>,
}

/// `palisade respond audit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 the chain is whole, 1 a line was changed, taken out or damaged."
)]
pub(crate) struct AuditArgs {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade respond expire`.
#[derive(Debug, Args)]
pub(crate) struct ExpireArgs {
    /// Wait for this order, and then until nothing is held any more
    #[arg(long, value_name = "ORDER")]
    pub(crate) guard: Option<String>,
    /// Services elsewhere and their credentials, as JSON [default: <data-dir>/remotes.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) remotes: Option<PathBuf>,
}

/// `palisade playbook`.
#[derive(Debug, Subcommand)]
pub(crate) enum Playbook {
    /// Check playbooks, and list every problem with its place
    Check(PlaybookFiles),
    /// Run playbooks against a recorded incident, and print what they would do
    Test(PlaybookTest),
    /// Carry a playbook out for an incident of this machine
    Run(PlaybookRun),
    /// Say yes to the question of a run, and carry it on
    Approve(PlaybookAnswer),
    /// Say no to the question of a run
    Refuse(PlaybookAnswer),
}

/// Playbooks.
#[derive(Debug, Args)]
pub(crate) struct PlaybookFiles {
    /// Files, or folders with *.yaml
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// `palisade playbook test`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    palisade respond export latest --output incident.json\n  \
    palisade playbook test playbooks/ --incident incident.json --label tier=front\n\n\
    Nothing is done. Exit codes: 0 a playbook would run, 1 none would, 2 a playbook is wrong.")]
pub(crate) struct PlaybookTest {
    /// Files, or folders with *.yaml
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// The incident, as `palisade respond export` writes it
    #[arg(long, value_name = "FILE")]
    pub(crate) incident: PathBuf,
    /// Label of the container, which no incident records; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Steps that fail in this rehearsal: an id, or an action; may be repeated
    #[arg(long, value_name = "STEP")]
    pub(crate) fail: Vec<String>,
}

/// `palisade playbook run`.
#[derive(Debug, Args)]
pub(crate) struct PlaybookRun {
    /// The playbook
    pub(crate) file: PathBuf,
    /// The incident's id, the beginning of it, or `latest`
    #[arg(default_value = "latest")]
    pub(crate) incident: String,
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Run it although its `on` does not fit
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Services elsewhere and their credentials, as JSON [default: <data-dir>/remotes.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) remotes: Option<PathBuf>,
}

/// An answer to a question.
#[derive(Debug, Args)]
pub(crate) struct PlaybookAnswer {
    /// The order's id, or the beginning of it
    pub(crate) order: String,
    /// The step that asks, for certainty about what is answered
    #[arg(long, value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Who answers [default: the user's number]
    #[arg(long, value_name = "NAME")]
    pub(crate) owner: Option<String>,
    /// Services elsewhere and their credentials, as JSON [default: <data-dir>/remotes.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) remotes: Option<PathBuf>,
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
    /// Encrypt the bundle while it is written, in the format of age [default: those of
    /// <data-dir>/evidence.json]
    #[arg(long, value_name = "age1…")]
    pub(crate) recipient: Vec<String>,
    /// Have an authority of time (RFC 3161) stamp the bundle [default: that of
    /// <data-dir>/evidence.json]
    #[arg(long, value_name = "URL")]
    pub(crate) timestamp: Option<String>,
}

/// `palisade evidence`.
#[derive(Debug, Subcommand)]
pub(crate) enum Evidence {
    /// Verify a bundle: every item, the chain, and the signature
    Verify(VerifyEvidenceArgs),
    /// List what a bundle holds, and what could not be captured
    List(EvidenceArgs),
    /// Extract a bundle into a new folder
    Extract(ExtractArgs),
    /// What happened when, from all that a bundle knows of time
    Timeline(CaseArgs),
    /// Compare two bundles of a container: processes, connections, files
    Diff(DiffArgs),
    /// One HTML file: timeline, process tree, connections, changed files; it prints
    Report(CaseReportArgs),
}

/// `palisade evidence timeline`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade evidence timeline case.tar\n  \
    palisade evidence timeline case.tar --format json | jq '.events[] | select(.kind == \"file\")'")]
pub(crate) struct CaseArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    /// What the bundle is verified and opened with
    #[command(flatten)]
    pub(crate) trust: BundleTrust,
}

/// `palisade evidence diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade evidence diff before.tar after.tar\n  \
    palisade evidence diff before.tar after.tar --format json | jq .files_added\n\n\
    Exit codes: 0 compared, whether they differ or not, 1 one of them is damaged or not signed\n\
    by the key.")]
pub(crate) struct DiffArgs {
    /// The earlier bundle
    pub(crate) before: PathBuf,
    /// The later bundle
    pub(crate) after: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
    /// What the bundle is verified and opened with
    #[command(flatten)]
    pub(crate) trust: BundleTrust,
}

/// `palisade evidence report`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade evidence report case.tar --html case.html")]
pub(crate) struct CaseReportArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// The report; replaced if there
    #[arg(long, value_name = "FILE")]
    pub(crate) html: PathBuf,
    /// What the bundle is verified and opened with
    #[command(flatten)]
    pub(crate) trust: BundleTrust,
}

/// A bundle.
#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// What the bundle is verified and opened with
    #[command(flatten)]
    pub(crate) trust: BundleTrust,
}

/// What a bundle is verified and opened with.
#[derive(Debug, Args)]
pub(crate) struct BundleTrust {
    /// Public key of the signer [default: <data-dir>/evidence.pub]
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Identities of age (`AGE-SECRET-KEY-1…`) that open an encrypted bundle
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Vec<PathBuf>,
}

/// `palisade evidence verify`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade evidence verify case.tar --key evidence.pub\n  \
    palisade evidence verify case.tar --identity key.txt --timestamp-root authority.pem")]
pub(crate) struct VerifyEvidenceArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// What the bundle is verified and opened with
    #[command(flatten)]
    pub(crate) trust: BundleTrust,
    /// Root certificates (PEM) of an authority of time, whose time stamp is then demanded
    #[arg(long, value_name = "FILE")]
    pub(crate) timestamp_root: Option<PathBuf>,
}

/// `palisade evidence extract`.
#[derive(Debug, Args)]
pub(crate) struct ExtractArgs {
    /// The bundle
    pub(crate) bundle: PathBuf,
    /// A folder that does not exist yet
    pub(crate) folder: PathBuf,
    /// What the bundle is verified and opened with
    #[command(flatten)]
    pub(crate) trust: BundleTrust,
}

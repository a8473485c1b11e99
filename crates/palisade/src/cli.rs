//! The command line: every command and flag, with its help.
//!
//! Environment variables and configuration keys are not listed here: `settings` gives
//! one of each to every flag.

mod capture;
mod check;
mod engines;
mod image;
mod report;
mod rules;
mod sink;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use capture::{Capture, CaptureConvert, CaptureInfo, Recorded, Recording};
pub(crate) use check::{Check, FindingsFormat};
pub(crate) use engines::*;
pub(crate) use image::*;
pub(crate) use report::*;
pub(crate) use rules::*;
pub(crate) use sink::*;

/// From image to incident: judge, verify, run, watch, stop and keep the evidence.
#[derive(Debug, Parser)]
#[command(
    name = "palisade",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 clean, 1 refused by a gate or policy, 2 usage or configuration,\n\
                  3 could not complete, 4 partly completed.\n\n\
                  Every flag can be set by PALISADE_<COMMAND>_<FLAG> and in palisade.yaml."
)]
pub(crate) struct Cli {
    /// Flags that every command has.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// When to colour the output
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    pub(crate) color: ColorChoice,
    /// Print results only, no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Lowest level of log messages on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Warn, value_name = "LEVEL")]
    pub(crate) log_level: LogLevel,
    /// Folder for what must survive a restart: layers, ids, incidents, evidence
    #[arg(long, global = true, default_value = "/var/lib/palisade", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Folder for what must not: running containers
    #[arg(long, global = true, default_value = "/run/palisade", value_name = "DIR")]
    pub(crate) run_dir: PathBuf,
}

/// When to colour the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Levels of log messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// An operator must act.
    Error,
    /// Something is not as it should be.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Examine an image: packages, vulnerabilities, secrets, dangerous files
    Scan(Scan),
    /// Check configuration: Dockerfiles, Compose files, Kubernetes manifests and others
    Check(Check),
    /// Write the software bill of materials of an image
    Sbom(Sbom),
    /// Write a scan report or a bill of materials in another form
    Convert(Convert),
    /// Say what a CVE, a check, a detector, a rule or an ATT&CK technique is
    Explain(Explain),
    /// Sign an image
    Sign(Sign),
    /// Verify an image: every byte, and who signed it
    Verify(Verify),
    /// Copy an image to another registry, if the policy lets it pass
    Promote(Promote),
    /// Run a container from an image with the least privilege
    Run(Run),
    /// Be the OCI runtime of Docker, Podman, containerd and CRI-O: confine, then hand over
    Runtime(Runtime),
    /// List containers that Palisade runs
    Ps(Ps),
    /// Run one more command in a container, as confined as the container
    Exec(Exec),
    /// Stop a container and remove it
    Stop(Stop),
    /// Watch containers live and act on alerts
    Watch(Watch),
    /// How the running watch is doing: hooks, rules, losses, queues, memory
    Status(Status),
    /// What the running watch sees, live: events and alerts by container, processes, losses
    Top(Top),
    /// Where alerts are sent
    #[command(subcommand)]
    Sink(Sink),
    /// Incidents and what is done about them
    #[command(subcommand)]
    Respond(Respond),
    /// Evidence bundles
    #[command(subcommand)]
    Evidence(Evidence),
    /// Policies
    #[command(subcommand)]
    Policy(Policy),
    /// Detection rules in Falco's language
    #[command(subcommand)]
    Rules(Rules),
    /// Run rules over a capture file
    Replay(Replay),
    /// Recordings and captures
    #[command(subcommand)]
    Capture(Capture),
    /// What this machine can do for Palisade, and the remedy for what it cannot
    Doctor(Doctor),
    /// The advisory database
    #[command(subcommand)]
    Db(Db),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages into a folder
    Man(Man),
    /// Print the version
    Version(Version),
}

/// `palisade scan`.
#[derive(Debug, Args)]
#[command(after_help = format!("{TARGETS}\n\nExamples:\n  \
    palisade scan nginx:1.27                       # of this machine's stores, else the registry\n  \
    palisade scan --platform linux/arm64 registry:registry.example/team/shop\n  \
    palisade scan --format json --output report.json archive:shop.tar\n  \
    palisade scan --report sarif=scan.sarif --report html=scan.html oci:./shop\n  \
    palisade scan sbom:shop.cdx.json\n  \
    palisade scan --yara rules/ --hashes bad.sha256 dir:/mnt/root\n  \
    palisade scan --policy restricted oci:./shop   # exit code 1 when the gate refuses\n  \
    palisade scan --fail-on high --only-fixed --baseline last.json oci:./shop"))]
pub(crate) struct Scan {
    /// What to examine
    pub(crate) target: String,
    /// Advisory database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// File of findings to ignore, each with a reason and an expiry
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    /// What is looked for besides
    #[command(flatten)]
    pub(crate) look: LookOptions,
    /// Which reports are written
    #[command(flatten)]
    pub(crate) reports: ReportOptions,
    /// What must not be found
    #[command(flatten)]
    pub(crate) gate: GateOptions,
    /// What is more than needed
    #[command(flatten)]
    pub(crate) minimality: MinimalityOptions,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade sbom`.
#[derive(Debug, Args)]
#[command(after_help = format!("{TARGETS}\n\nExample:\n  \
    palisade sbom --format cyclonedx-json --output shop.cdx.json oci:./shop\n  \
    palisade sbom --format spdx-json sbom:shop.cdx.json   # another form"))]
pub(crate) struct Sbom {
    /// What to examine
    pub(crate) target: String,
    /// Form of the document
    #[arg(long, default_value = "cyclonedx-json", value_parser = sbom_format())]
    pub(crate) format: palisade_scan::sbom::Format,
    /// Write the document to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

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

/// Forms of small results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListFormat {
    /// For people.
    Table,
    /// JSON.
    Json,
    /// Tab-separated lines, for scripts.
    Tsv,
}

/// `palisade run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade run --policy restricted oci:./shop\n  \
    palisade run --detach --name shop --policy shop.yaml oci:./shop\n  \
    palisade run oci:./shop -- /bin/sh -c id\n  \
    palisade run --explain --policy restricted oci:./shop   # show every change, run nothing")]
pub(crate) struct Run {
    /// The image: NAME, registry:NAME, docker:NAME, oci:DIR[:TAG], archive:FILE, …
    pub(crate) target: String,
    /// Arguments instead of the image's command
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
    /// Program instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Set a variable in the container; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Policy: a built-in name (audit, baseline, restricted) or a file
    #[arg(long, default_value = "baseline", value_name = "POLICY")]
    pub(crate) policy: String,
    /// Name of the container [default: made from the image and the id]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Public key that must have signed the image, besides those of the policy
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Pass our standard input on to the program
    #[arg(long, short, conflicts_with = "detach")]
    pub(crate) interactive: bool,
    /// Return when the container has started; its output goes to a log
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// Show what the policy changes and why, and run nothing
    #[arg(long)]
    pub(crate) explain: bool,
    /// Advisory database for the policy's gate [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
    /// OCI runtime to hand over to [default: runc, then crun, of the system]
    #[arg(long, value_name = "FILE")]
    pub(crate) runtime: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: ImageSource,
}

/// `palisade ps`.
#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Form of the list
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade exec`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  palisade exec shop -- cat /proc/self/status")]
pub(crate) struct Exec {
    /// Name or id (or its beginning)
    pub(crate) container: String,
    /// Pass our standard input on to the program
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Command and arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// `palisade stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Names or ids (or their beginnings)
    #[arg(required_unless_present = "all")]
    pub(crate) containers: Vec<String>,
    /// Stop every container
    #[arg(long)]
    pub(crate) all: bool,
    /// Seconds between SIGTERM and SIGKILL
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    pub(crate) grace: u64,
}

/// `palisade watch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade watch                                  # built-in rules, alerts only\n  \
    palisade watch --policy shop.yaml --respond on  # carry out the policy's response\n  \
    palisade watch --rules shop.yaml --enforce dry-run  # say what actions of rules would do\n  \
    palisade watch --rules falco_rules.yaml --format falco-json\n  \
    palisade watch --record-on-alert /var/lib/palisade/recordings  # 30 s before, 5 s after\n  \
    palisade watch --record night.palcap --record-size 512\n  \
    palisade watch --sink https://hooks.example/alerts --sink syslog:/dev/log\n  \
    palisade watch reload                           # of the watch that is running\n\n\
    Alerts are written to <data-dir>/alerts.jsonl before they are shown or acted upon.\n\
    Rules, policy and sinks are read again when their files change, on SIGHUP, and on\n\
    `palisade watch reload`; what is wrong is said, and what was goes on.")]
pub(crate) struct Watch {
    /// Speak to the watch that is running instead
    #[command(subcommand)]
    pub(crate) action: Option<WatchAction>,
    /// Policy: a built-in name or a file
    #[arg(long, default_value = "audit", value_name = "POLICY")]
    pub(crate) policy: String,
    /// Rule file in Falco's language; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Vec<PathBuf>,
    /// Do not load the built-in rules
    #[arg(long)]
    pub(crate) no_builtin_rules: bool,
    /// Form of alerts on stdout
    #[arg(long, value_enum, default_value_t = WatchFormat::Text)]
    pub(crate) format: WatchFormat,
    /// Send alerts there as well: https://…, syslog:/dev/log, syslog+tcp://HOST:PORT,
    /// file:/PATH; may be repeated
    #[arg(long, value_name = "URL")]
    pub(crate) sink: Vec<String>,
    /// Form of alerts in the sinks of --sink
    #[arg(long, value_enum, default_value_t = SinkForm::Auto, value_name = "FORMAT")]
    pub(crate) sink_format: SinkForm,
    /// Whether the policy's response is carried out
    #[arg(long, value_enum, default_value_t = RespondMode::Off, value_name = "MODE")]
    pub(crate) respond: RespondMode,
    /// Whether actions of rules (kill, deny) are carried out in containers [default: what the
    /// policy says, else off]
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) enforce: Option<EnforceMode>,
    /// Watch processes of the host as well (the built-in rules concern containers alone)
    #[arg(long)]
    pub(crate) host: bool,
    /// Do not read rules and policy again when their files change
    #[arg(long)]
    pub(crate) no_auto_reload: bool,
    /// Do not start when the kernel refuses a probe, or a rule needs events that nothing delivers
    #[arg(long)]
    pub(crate) strict: bool,
    /// Private key that signs evidence [default: <data-dir>/evidence.key, made when absent]
    #[arg(long, value_name = "FILE")]
    pub(crate) evidence_key: Option<PathBuf>,
    /// Include process memory in evidence, up to this many MiB a process
    #[arg(long, default_value_t = 0, value_name = "MIB")]
    pub(crate) evidence_memory: u64,
    /// Fold equal alerts of one process within this many seconds into one, with a count
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    pub(crate) fold_seconds: u64,
    /// How the reader of events shares the processor: before everybody, so that a fork bomb
    /// cannot starve it, or fairly
    #[arg(long, value_enum, default_value_t = Scheduling::Realtime, value_name = "CLASS")]
    pub(crate) scheduling: Scheduling,
    /// Write this file when the sensor is attached
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Stop after this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) duration: Option<u64>,
    /// Print the sensor's figures on stderr at the end
    #[arg(long)]
    pub(crate) stats: bool,
    #[command(flatten)]
    pub(crate) recording: Recording,
}

/// What a running watch can be told.
#[derive(Debug, Subcommand)]
pub(crate) enum WatchAction {
    /// Read rules, policy and sinks again, and say what came of it
    Reload(WatchReload),
}

/// `palisade watch reload`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes: 0 in force, 1 something is wrong with what was read and the old rules go on,\n\
    3 no watch is running."
)]
pub(crate) struct WatchReload {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub(crate) format: StatusFormat,
}

/// Forms of what a running watch says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusFormat {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
}

/// `palisade status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade status\n  \
    palisade status --format json | jq .losses\n\n\
    Exit codes: 0 healthy, 1 degraded (losses in the last minute, a sink that fails, a refused\n\
    probe, a failed reload), 3 no watch is running.")]
pub(crate) struct Status {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub(crate) format: StatusFormat,
}

/// `palisade top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: up and down (or k, j) choose a container, page up and down scroll its processes,\n\
    s sorts containers by events, alerts or name, p pauses, q quits.\n\n\
    Examples:\n  \
    palisade top\n  \
    palisade top --once --container shop\n  \
    palisade top --format json | jq '.containers[].events_per_second'\n\n\
    Without a terminal it prints once and ends."
)]
pub(crate) struct Top {
    /// Print once and end, after one interval
    #[arg(long)]
    pub(crate) once: bool,
    /// Form of what is printed once; json implies --once
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    pub(crate) format: StatusFormat,
    /// Container whose processes are shown: name, id or its beginning, or `host`
    #[arg(long, value_name = "CONTAINER")]
    pub(crate) container: Option<String>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    pub(crate) interval: f64,
}

/// Forms of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WatchFormat {
    /// A line for people.
    Text,
    /// Versioned JSON, one object a line.
    Json,
    /// Falco's line.
    Falco,
    /// Falco's JSON, one object a line.
    FalcoJson,
    /// OCSF Detection Findings, one object a line.
    Ocsf,
}

/// How the thread that reads events shares the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scheduling {
    /// The lowest real-time priority (SCHED_RR 1): events are made by others, so it sleeps when
    /// they do.
    Realtime,
    /// As every other process.
    Fair,
}

/// Whether a response is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RespondMode {
    /// No.
    Off,
    /// Say what would be done.
    DryRun,
    /// Yes.
    On,
}

/// Whether actions of rules are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnforceMode {
    /// No.
    Off,
    /// Say what would be done.
    DryRun,
    /// Yes.
    On,
}

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
    /// Close an incident
    Close(IncidentArgs),
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

/// `palisade doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

/// `palisade db`.
#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Build the database from feeds on disk
    Build(DbBuild),
    /// Say what the database holds and how old it is
    Status(DbArgs),
    /// List the advisories of a package or of a CVE
    Search(DbSearch),
}

/// `palisade db build`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade db build --debian-changelogs ./debs   # *.deb: what newer versions fixed\n  \
    palisade db build --osv PyPI/all.zip --kev known_exploited_vulnerabilities.json")]
pub(crate) struct DbBuild {
    /// Folder of .deb files whose changelogs name the CVEs that each upload fixed
    #[arg(long, value_name = "DIR")]
    pub(crate) debian_changelogs: Vec<PathBuf>,
    /// Release that the .deb files belong to [default: this machine's]
    #[arg(long, value_name = "ID:VERSION")]
    pub(crate) release: Option<String>,
    /// OSV bulk export (all.zip)
    #[arg(long, value_name = "FILE")]
    pub(crate) osv: Vec<PathBuf>,
    /// Alpine secdb: a file or a folder
    #[arg(long, value_name = "PATH")]
    pub(crate) alpine_secdb: Vec<PathBuf>,
    /// CISA's list of known exploited vulnerabilities (JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) kev: Option<PathBuf>,
    /// FIRST's EPSS scores (CSV, gzip or plain)
    #[arg(long, value_name = "FILE")]
    pub(crate) epss: Option<PathBuf>,
    /// A newer table of when distributions and run-times stop getting fixes
    #[arg(long, value_name = "FILE")]
    pub(crate) lifecycles: Option<PathBuf>,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// The database.
#[derive(Debug, Args)]
pub(crate) struct DbArgs {
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// `palisade db search`.
#[derive(Debug, Args)]
pub(crate) struct DbSearch {
    /// Package name (of the source package, for Debian)
    pub(crate) package: String,
    /// The database [default: <data-dir>/advisories.db]
    #[arg(long, value_name = "FILE")]
    pub(crate) db: Option<PathBuf>,
}

/// `palisade completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// `palisade man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder
    pub(crate) folder: PathBuf,
}

/// `palisade version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
}

//! The sensor: `watch`, `status`, `top`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{Recording, SinkForm};

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
    /// Whether the policy's response, and playbooks, are carried out
    #[arg(long, value_enum, default_value_t = RespondMode::Off, value_name = "MODE")]
    pub(crate) respond: RespondMode,
    /// Playbooks that alerts start: a file, or a folder with *.yaml; may be repeated. They follow
    /// --respond as the policy's response does
    #[arg(long, value_name = "PATH")]
    pub(crate) playbooks: Vec<PathBuf>,
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
    /// Do not look which stored inventories became vulnerable when the advisory database is
    /// replaced
    #[arg(long)]
    pub(crate) no_vulnerability_alerts: bool,
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
    probe, a failed reload, inventories that cannot be looked at), 3 no watch is running.")]
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

//! The command line: every command and flag, with its help.
//!
//! Environment variables and configuration keys are not listed here: `settings` gives
//! one of each to every flag.

mod capture;
mod check;
mod container;
mod db;
mod drill;
mod engines;
mod ima;
mod image;
mod log;
mod network;
mod patch;
mod policy;
mod probe;
mod profile;
mod report;
mod respond;
mod rules;
mod scan;
mod sign;
mod sink;
mod trust;
mod trust_change;
mod watch;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use capture::{Capture, CaptureConvert, CaptureInfo, Recorded, Recording};
pub(crate) use check::{Check, FindingsFormat};
pub(crate) use container::*;
pub(crate) use db::*;
pub(crate) use drill::*;
pub(crate) use engines::*;
pub(crate) use ima::*;
pub(crate) use image::*;
pub(crate) use log::*;
pub(crate) use network::*;
pub(crate) use patch::*;
pub(crate) use policy::*;
pub(crate) use probe::*;
pub(crate) use profile::*;
pub(crate) use report::*;
pub(crate) use respond::*;
pub(crate) use rules::*;
pub(crate) use scan::*;
pub(crate) use sign::*;
pub(crate) use sink::*;
pub(crate) use trust::*;
pub(crate) use trust_change::*;
pub(crate) use watch::*;

/// From image to incident: judge, verify, run, watch, stop and keep the evidence.
#[derive(Debug, Parser)]
#[command(
    name = "palisade",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 clean, 1 refused by a gate or policy, 2 usage or configuration,\n\
                  3 could not complete, 4 partly completed, 5 a signature could not be verified for\n\
                  the network's sake.\n\n\
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

/// Default of `--data-dir`.
pub(crate) const DATA_DIR: &str = "/var/lib/palisade";
/// Default of `--run-dir`.
pub(crate) const RUN_DIR: &str = "/run/palisade";

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
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
    #[arg(long, global = true, default_value = DATA_DIR, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Folder for what must not: running containers
    #[arg(long, global = true, default_value = RUN_DIR, value_name = "DIR")]
    pub(crate) run_dir: PathBuf,
    /// Run a detached container in the foreground for the command that was given, and say in this
    /// file what is to be said
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) supervised: Option<PathBuf>,
    /// Ed25519 public key that must have signed the advisory database
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) db_key: Option<PathBuf>,
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
    /// What an image's own repositories fix now
    #[command(subcommand)]
    Patch(Patch),
    /// Sign an image
    Sign(Sign),
    /// Attach a signed statement to an image: provenance, a bill of materials, a VEX document
    Attest(Attest),
    /// Verify an image: every byte, and who signed it
    Verify(Verify),
    /// Copy an image to another registry, if the policy lets it pass
    Promote(Promote),
    /// Copy an image to another registry as it is, with its signatures and attestations
    Copy(Copy),
    /// Run a container from an image with the least privilege
    Run(Run),
    /// Be the OCI runtime of Docker, Podman, containerd and CRI-O: confine, then hand over
    Runtime(Runtime),
    /// Confine a container's OCI configuration by a policy, change by change
    Harden(Harden),
    /// Profiles made for a workload: recorded, analysed, merged, written, verified
    #[command(subcommand)]
    Profile(Profile),
    /// What the kernel's integrity measurement (IMA) measured, compared with an image
    #[command(subcommand)]
    Ima(Ima),
    /// What a running container of any engine may do, what that exposes, what closes it
    Inspect(Inspect),
    /// Make Palisade the OCI runtime of an engine
    Install(Install),
    /// Set an engine back to what it was before `install`
    Uninstall(Uninstall),
    /// Answer Docker's questions about calls of its API: its authorization plugin
    Authz(Authz),
    /// List containers that Palisade runs
    Ps(Ps),
    /// Print what a container has written
    Logs(Logs),
    /// Run one more command in a container, as confined as the container
    Exec(Exec),
    /// Stop a container and remove it
    Stop(Stop),
    /// Remove a container that has ended, or kill it first
    Rm(Rm),
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
    /// Playbooks: what is done about an incident, step by step
    #[command(subcommand)]
    Playbook(Playbook),
    /// Drills: benign attacks on a container of their own, and what was seen of them
    #[command(subcommand)]
    Drill(Drill),
    /// Test a container before it is used: who listens, weak TLS and logins, malformed input, escapes
    Probe(Probe),
    /// Evidence bundles
    #[command(subcommand)]
    Evidence(Evidence),
    /// The network of containers that are not trusted: their own bridge, guards of its ports
    #[command(subcommand)]
    Network(Network),
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
    /// A transparency log: keep one, verify what is in it
    #[command(subcommand)]
    Log(Log),
    /// Who is trusted to sign
    #[command(subcommand)]
    Trust(Trust),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Write the manual pages into a folder
    Man(Man),
    /// Print the version
    Version(Version),
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

/// `palisade doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Form of the result
    #[arg(long, value_enum, default_value_t = ListFormat::Table)]
    pub(crate) format: ListFormat,
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

//! The command line of `palisade check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use palisade_model::Severity;
use palisade_scan::config::Kind;

/// `palisade check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade check Dockerfile deploy/             # kinds are told by content\n  \
    helm template chart | palisade check -        # what Helm would install\n  \
    docker inspect web | palisade check -         # a running container\n  \
    palisade check --fail-on high .               # exit code 1 for high and critical ones\n  \
    palisade check --fix-diff deploy/ | patch -p1 # mend what has one remedy\n  \
    palisade check --explain writable-root\n\n\
    An exception beside what it excuses: # palisade:ignore RUN-014 it writes its cache")]
pub(crate) struct Check {
    /// Files and folders; `-` is standard input
    #[arg(value_name = "PATH", required_unless_present_any = ["explain", "list"])]
    pub(crate) paths: Vec<PathBuf>,
    /// What the files are, instead of what they look like
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: Option<CheckKind>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = FindingsFormat::Text)]
    pub(crate) format: FindingsFormat,
    /// Write the report to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Do not show findings below this severity; they are counted
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) severity: Option<CheckSeverity>,
    /// End with 1 when a finding is this severe or worse [default: `checks.gate` of the policy]
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub(crate) fail_on: Option<CheckSeverity>,
    /// Policy with exceptions, severities, registries and checks of your own: a built-in name
    /// or a file
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// File of findings to ignore, each with a reason and an expiry
    #[arg(long, value_name = "FILE")]
    pub(crate) ignore: Option<PathBuf>,
    /// Print what mends the findings as a unified diff, instead of the report
    #[arg(long, conflicts_with_all = ["format", "severity", "fail_on", "list", "explain"])]
    pub(crate) fix_diff: bool,
    /// List the checks
    #[arg(long, conflicts_with = "paths")]
    pub(crate) list: bool,
    /// Explain a check, by name or number
    #[arg(long, value_name = "CHECK", conflicts_with_all = ["paths", "list"])]
    pub(crate) explain: Option<String>,
}

/// Forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FindingsFormat {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// JUnit's XML.
    Junit,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckKind {
    /// Dockerfile or Containerfile.
    Dockerfile,
    /// Compose file.
    Compose,
    /// Kubernetes manifest, Helm's output, OpenShift's SCC.
    Kubernetes,
    /// Amazon ECS task definition.
    Ecs,
    /// OCI runtime specification (config.json).
    OciSpec,
    /// What `docker inspect` or `podman inspect` print.
    Engine,
}

impl From<CheckKind> for Kind {
    fn from(kind: CheckKind) -> Self {
        match kind {
            CheckKind::Dockerfile => Self::Dockerfile,
            CheckKind::Compose => Self::Compose,
            CheckKind::Kubernetes => Self::Kubernetes,
            CheckKind::Ecs => Self::Ecs,
            CheckKind::OciSpec => Self::OciSpec,
            CheckKind::Engine => Self::Engine,
        }
    }
}

/// Severities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckSeverity {
    /// All of them.
    Negligible,
    /// Low and above.
    Low,
    /// Medium and above.
    Medium,
    /// High and above.
    High,
    /// Critical alone.
    Critical,
}

impl From<CheckSeverity> for Severity {
    fn from(severity: CheckSeverity) -> Self {
        match severity {
            CheckSeverity::Negligible => Self::Negligible,
            CheckSeverity::Low => Self::Low,
            CheckSeverity::Medium => Self::Medium,
            CheckSeverity::High => Self::High,
            CheckSeverity::Critical => Self::Critical,
        }
    }
}

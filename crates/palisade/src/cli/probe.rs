//! Dynamic test of a container: `probe`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use palisade_model::Severity;

/// `palisade probe`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    palisade probe oci:shop                                  # as restricted, watched, 500 requests\n  \
    palisade probe --fail-on high --format junit --output probe.xml oci:shop\n  \
    palisade probe --openapi api.yaml --env DB=none registry:ghcr.io/org/api:1 -- serve --port 8080\n  \
    palisade probe --openapi /openapi.json --requests 2000 --seed 7 oci:shop\n  \
    palisade probe dir:./root -- /usr/bin/redis-server --save ''\n  \
    palisade probe --yes-probe web web                       # a container that runs: one you may break\n\n\
    An image is started in a container of the probe's own, without a network but its own, and\n\
    removed at the end. A container that runs may lose data or crash: it is probed only when it is\n\
    named twice.\n\n\
    Exit codes: 0 done (and below --fail-on), 1 something at or above --fail-on, 3 the probe could\n\
    not be carried out, or nothing could be looked at.")]
pub(crate) struct Probe {
    /// An image as `run` takes it, dir:ROOT, or a container that runs
    #[arg(value_name = "IMAGE|CONTAINER", required_unless_present = "keep")]
    pub(crate) target: Option<String>,
    /// Arguments instead of the image's command
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
    /// Program instead of the image's entry point
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Set a variable in the container; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Policy by which the container is confined [default: restricted, without its demands on
    /// the image]
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<String>,
    /// Public key of the image's signer, where the policy asks for a signature
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// Probe this container although it is not the probe's own: its name once more
    #[arg(long = "yes-probe", value_name = "CONTAINER")]
    pub(crate) consent: Option<String>,
    /// Description of the API (OpenAPI 3, Swagger 2): a file, or its path on the server
    #[arg(long, value_name = "FILE|PATH")]
    pub(crate) openapi: Option<String>,
    /// A path that is there, to send malformed requests to; may be repeated
    #[arg(long = "path", value_name = "PATH")]
    pub(crate) paths: Vec<String>,
    /// Malformed requests, and described calls, for each HTTP server; 0 sends none
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = value_parser!(u64).range(0..=100_000))]
    pub(crate) requests: u64,
    /// Seed of what is by chance: the same seed sends the same
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Do not try from inside what an attacker would
    #[arg(long)]
    pub(crate) no_attempts: bool,
    /// How long one conversation may take, in milliseconds
    #[arg(long, default_value_t = 3000, value_name = "MS", value_parser = value_parser!(u64).range(100..=60_000))]
    pub(crate) patience: u64,
    /// How long the program may take until it listens, in seconds
    #[arg(long, default_value_t = 20, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=600))]
    pub(crate) settle: u64,
    /// How long the whole probe may take, in seconds
    #[arg(long, default_value_t = 900, value_name = "SECONDS", value_parser = value_parser!(u64).range(1..=86_400))]
    pub(crate) deadline: u64,
    /// End with 1 when a finding is this severe or worse
    #[arg(long, value_name = "SEVERITY", value_parser = severity)]
    pub(crate) fail_on: Option<Severity>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ProbeFormat::Text)]
    pub(crate) format: ProbeFormat,
    /// Write the report to a file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Wait for the end of the input, then remove what the probe of this folder left; for the
    /// probe itself
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub(crate) keep: Option<PathBuf>,
}

impl Probe {
    /// What is probed.
    pub(crate) fn target(&self) -> &str {
        self.target.as_deref().unwrap_or_default()
    }
}

/// Forms of a probe's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProbeFormat {
    /// For people.
    Text,
    /// Versioned JSON.
    Json,
    /// For continuous integration.
    Junit,
    /// For people, in a browser and on paper.
    Html,
}

fn severity(text: &str) -> Result<Severity, String> {
    text.parse::<Severity>().map_err(|error| error.to_string())
}

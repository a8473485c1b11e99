//! `palisade sink`: list, test; and the sinks of `palisade watch`.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use palisade_agent::delivery::render;
use palisade_agent::delivery::status::{SinkState, SinkStatus};
use palisade_base::{Digest, Timestamp};
use palisade_policy::endpoint::ParseEndpointError;
use palisade_policy::{Endpoint, Policy, Sink, SinkFormat};
use palisade_sinks::Item;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal;

/// Schema of `sink list --format json`.
const SCHEMA: &str = "palisade.dev/sinks/v1";
/// A status older than this is of a `watch` that has ended.
const STATUS_AGE_MAX: Duration = Duration::from_secs(20);
/// Largest status file that is read.
const STATUS_BYTES_MAX: u64 = 4 << 20;
/// What helps against a status file that cannot be read.
const STALE: &str = "a running `palisade watch` renews it every 5 seconds";
/// Longest part of an endpoint in the name of a sink that has none.
const NAME_CHARS_MAX: usize = 48;

/// Carries out a `palisade sink` command.
pub(crate) fn sink(context: &Context<'_>, command: &cli::Sink) -> Result<Exit, Failure> {
    match command {
        cli::Sink::List(args) => list(context, args),
        cli::Sink::Test(args) => test(context, args),
    }
}

/// The flags of `watch` that are about sinks.
#[derive(Debug, Clone)]
pub(crate) struct SinkFlags {
    sinks: Vec<String>,
    format: cli::SinkForm,
}

impl SinkFlags {
    pub(crate) fn new(args: &cli::Watch) -> Self {
        Self { sinks: args.sink.clone(), format: args.sink_format }
    }

    /// The sinks of a policy and those of `--sink`.
    pub(crate) fn with(&self, policy: &Policy) -> Result<Vec<Sink>, Failure> {
        let mut sinks = policy.sinks.clone();
        for text in &self.sinks {
            let mut sink = unnamed(text)?;
            sink.format = self.format.into();
            if sinks.iter().all(|other| other.name != sink.name) {
                sinks.push(sink);
            }
        }
        Ok(sinks)
    }
}

/// A sink that only says where it sends. Its name is made from that, so that its queue is
/// found again after a restart.
fn unnamed(text: &str) -> Result<Sink, Failure> {
    let endpoint: Endpoint = text.parse().map_err(|error: ParseEndpointError| {
        Failure::message(Exit::Usage, format!("`{text}` is no sink: {error}")).with_hint(error.help)
    })?;
    let canonical = endpoint.to_string();
    let digest = Digest::of(canonical.as_bytes());
    let bare = canonical.split(['?', '#']).next().unwrap_or_default();
    let words: Vec<&str> = bare
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '.')
        .filter(|w| !w.is_empty())
        .collect();
    let name: String = words.join("-").to_ascii_lowercase().chars().take(NAME_CHARS_MAX).collect();
    Ok(Sink::new(&format!("{name}-{}", &digest.short()[..8]), endpoint))
}

/// An alert as an OCSF document, on one line.
pub(crate) fn ocsf(alert: &palisade_model::Alert) -> String {
    render::document(SinkFormat::Ocsf, Item::Alert(alert), env!("CARGO_PKG_VERSION"))
}

fn test(context: &Context<'_>, args: &cli::SinkTest) -> Result<Exit, Failure> {
    let mut sink = find(context, args)?;
    if let Some(format) = args.format {
        sink.format = format.into();
    }
    let version = env!("CARGO_PKG_VERSION");
    let mut transport = palisade_sinks::open(&sink, version).or_exit(Exit::Usage)?;
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let alert =
        render::test_alert(hostname.trim(), Timestamp::now()).context("make the test alert")?;
    let message = render::message(sink.resolved_format(), Item::Alert(&alert), version);
    if args.show {
        context.terminal.result(&format!("{}\n", message.body))?;
    }
    let began = Instant::now();
    match transport.send(std::slice::from_ref(&message)) {
        Ok(()) => {
            let line = format!(
                "{} took the test alert {} in {:.1} ms\n",
                sink.to.shown(),
                message.id,
                began.elapsed().as_secs_f64() * 1e3
            );
            context.terminal.result(&line)?;
            Ok(Exit::Clean)
        }
        Err(failed) => {
            let is_final = failed.error.is_rejection();
            let error = anyhow::Error::new(failed.error)
                .context(format!("send a test alert to {}", sink.to.shown()));
            let hint = if is_final {
                "the receiver understood and refused: check the form it expects (--format)"
            } else {
                "`watch` would keep the alert and try again; check address, port, headers and certificates"
            };
            Err(Failure::from(error).with_hint(hint))
        }
    }
}

/// The sink that is meant: what looks like an address is one.
fn find(context: &Context<'_>, args: &cli::SinkTest) -> Result<Sink, Failure> {
    let policy = match &args.policy {
        Some(name) => context.load_policy(name)?.policy,
        None if args.sink.contains(':') => return unnamed(&args.sink),
        None => {
            let message = format!("`{}` is a name, and no policy is named", args.sink);
            return Err(Failure::message(Exit::Usage, message)
                .with_hint("say which policy has the sink: --policy FILE"));
        }
    };
    if let Some(sink) = policy.sinks.iter().find(|sink| sink.name == args.sink) {
        return Ok(sink.clone());
    }
    if args.sink.contains(':') {
        return unnamed(&args.sink);
    }
    let names: Vec<&str> = policy.sinks.iter().map(|sink| sink.name.as_str()).collect();
    let hint =
        match (palisade_base::suggest::nearest(&args.sink, names.iter().copied()), names.len()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, 0) => "it has none; see docs/guide/sinks.md".into(),
            (None, _) => format!("its sinks are {}", names.join(", ")),
        };
    let message = format!("policy `{}` has no sink `{}`", policy.name, args.sink);
    Err(Failure::message(Exit::Usage, message).with_hint(hint))
}

/// What is read of the status file.
#[derive(Deserialize)]
struct Status {
    time: Timestamp,
    #[serde(default)]
    sinks: Vec<SinkStatus>,
}

fn list(context: &Context<'_>, args: &cli::SinkList) -> Result<Exit, Failure> {
    let path = context.global.data_dir.join("status.json");
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let message = format!(
                "no `watch` has run with the data folder `{}`",
                context.global.data_dir.display()
            );
            return Err(Failure::message(Exit::Incomplete, message)
                .with_hint("start `palisade watch`, or name its --data-dir"));
        }
        Err(error) => {
            let error = anyhow::Error::new(error).context(format!("read `{}`", path.display()));
            return Err(Failure::from(error).with_hint("`watch` runs as root; so must this"));
        }
    };
    let bytes = palisade_base::read_bounded(file, "status", STATUS_BYTES_MAX)
        .with_context(|| format!("read `{}`", path.display()))
        .map_err(|error| Failure::from(error).with_hint(STALE))?;
    let status: Status = serde_json::from_slice(&bytes)
        .with_context(|| format!("read `{}`", path.display()))
        .map_err(|error| Failure::from(error).with_hint(STALE))?;
    let now = Timestamp::now();
    if now.since(status.time) > STATUS_AGE_MAX {
        context.terminal.error(&format!(
            "warning: no `watch` is running; these are its figures of {}\n",
            status.time
        ));
    }
    let out = match args.format {
        ListFormat::Json => {
            let document = json!({ "schema": SCHEMA, "time": status.time, "sinks": status.sinks });
            format!("{document:#}\n")
        }
        ListFormat::Table => terminal::columns(&HEADER, &rows(&status.sinks, now)),
        ListFormat::Tsv => terminal::tsv(&rows(&status.sinks, now)),
    };
    context.terminal.result(&out)?;
    Ok(Exit::Clean)
}

const HEADER: [&str; 10] = [
    "NAME",
    "STATE",
    "QUEUED",
    "OLDEST",
    "SENT",
    "RETRIED",
    "DROPPED",
    "REFUSED",
    "TO",
    "LAST ERROR",
];

fn rows(sinks: &[SinkStatus], now: Timestamp) -> Vec<Vec<String>> {
    let row = |sink: &SinkStatus| {
        let age = sink
            .oldest
            .map_or_else(|| "-".into(), |oldest| format!("{}s", now.since(oldest).as_secs()));
        let is_past = sink.state != SinkState::Waiting;
        let error = match &sink.last_error {
            None => "-".to_string(),
            Some(failure) if is_past => format!("({}) {}", failure.time, failure.text),
            Some(failure) => failure.text.clone(),
        };
        vec![
            sink.name.clone(),
            sink.state.as_str().into(),
            sink.n_queued.to_string(),
            age,
            sink.n_sent.to_string(),
            sink.n_retried.to_string(),
            sink.n_dropped.to_string(),
            sink.n_rejected.to_string(),
            sink.to.clone(),
            error,
        ]
    };
    sinks.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_without_a_name_gets_one_that_a_policy_could_have() {
        let check = |text: &str, begins: &str| {
            let sink = unnamed(text).ok().unwrap();
            assert!(sink.name.starts_with(begins), "{}", sink.name);
            let policy =
                format!("version: 1\nname: x\nsinks: [{{name: {}, to: \"{text}\"}}]", sink.name);
            assert!(
                palisade_policy::parse(&policy, "x", std::path::Path::new("")).is_ok(),
                "{}",
                sink.name
            );
            assert_eq!(unnamed(text).ok().unwrap().name, sink.name, "always the same");
        };
        check("https://hooks.example/alerts?token=x", "https-hooks.example-alerts-");
        check("syslog:/dev/log", "syslog-dev-log-");
        check("http://[::1]:8080/", "http-1-8080-");
        check(&format!("https://h/{}", "A".repeat(500)), "https-h-aaaa");
        assert_ne!(
            unnamed("https://h/?a").ok().unwrap().name,
            unnamed("https://h/?b").ok().unwrap().name
        );
    }
}

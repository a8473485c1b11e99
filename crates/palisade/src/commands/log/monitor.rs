//! `palisade log monitor`: follows a log, and tells who signs in it.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use palisade_sys::signals::{SignalPipe, wait_readable};
use palisade_tlog::{Entry, Monitor, MonitorError, Source};
use palisade_trust::sigstore::TextMatch;
use serde_json::json;

use super::super::Context;
use super::{options, verifier_key};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Most entries that one look tells; a wider search is better done in parts.
const TOLD_MAX: usize = 100_000;
/// Failures to read the log, one after another, before it is given up.
const FAILURES_MAX: u32 = 10;

/// Whom to tell of.
struct Search<'s> {
    names: Vec<TextMatch>,
    issuer: Option<&'s str>,
    keys: Vec<String>,
}

impl Search<'_> {
    fn new(args: &cli::LogMonitor) -> Result<Search<'_>, Failure> {
        let mut names: Vec<TextMatch> =
            args.identity.iter().map(|name| TextMatch::Exact(name.clone())).collect();
        if let Some(pattern) = &args.identity_regexp {
            names.push(TextMatch::regex(pattern).map_err(|error| {
                let what = format!("`{pattern}` is no regular expression: {error}");
                Failure::message(Exit::Usage, what).with_hint("it must match the whole name")
            })?);
        }
        let keys = args.key_sha256.iter().map(|hex| hex.to_ascii_lowercase()).collect();
        Ok(Search { names, issuer: args.issuer.as_deref(), keys })
    }

    fn is_active(&self) -> bool {
        !self.names.is_empty() || self.issuer.is_some() || !self.keys.is_empty()
    }

    /// What is told of an entry, if anything is.
    fn look(&self, index: u64, entry: &Entry) -> Option<String> {
        let signer = entry.signers.iter().find(|signer| {
            let certificate = signer.certificate.as_ref();
            let issuer = certificate.and_then(|it| it.issuer.as_deref());
            let is_issuer = self.issuer.is_none_or(|wanted| issuer == Some(wanted));
            let is_name = certificate.is_some_and(|it| {
                it.identities.iter().any(|name| self.names.iter().any(|one| one.matches(name)))
            });
            let by_certificate = certificate.is_some()
                && is_issuer
                && (is_name || self.names.is_empty() && self.issuer.is_some());
            by_certificate || self.keys.contains(&signer.key_sha256)
        })?;
        let certificate = signer.certificate.as_ref();
        let line = json!({
            "index": index,
            "kind": entry.kind,
            "digest": entry.digest,
            "identities": certificate.map(|it| &it.identities),
            "issuer": certificate.and_then(|it| it.issuer.as_ref()),
            "keySha256": signer.key_sha256,
        });
        Some(format!("{line}\n"))
    }
}

/// Follows a log until a signal, or looks once.
pub(super) fn monitor(context: &Context<'_>, args: &cli::LogMonitor) -> Result<Exit, Failure> {
    let key = verifier_key(&args.key)?;
    let search = Search::new(args)?;
    let signals = SignalPipe::install().context("catch signals")?;
    let memory = args.data.join("log.json");
    let is_new = memory.symlink_metadata().is_err();
    let mut monitor = Monitor::open(&memory, key).or_exit(Exit::Usage)?;
    let source = Source::open(&args.log, &options(context, &args.log)).or_exit(Exit::Incomplete)?;
    if is_new && args.from_now {
        monitor.start_now(&source).map_err(|error| told(context, &args.data, error))?;
        monitor.keep(&memory).or_exit(Exit::Incomplete)?;
    }
    let (mut n_failures, mut n_told) = (0, 0);
    loop {
        match look(context, args, &mut monitor, &source, &search) {
            Ok(n) => {
                n_failures = 0;
                n_told += n;
                monitor.keep(&memory).or_exit(Exit::Incomplete)?;
            }
            Err(error) if error.is_against_log() || args.once => {
                return Err(told(context, &args.data, error));
            }
            Err(error) => {
                n_failures += 1;
                if n_failures == FAILURES_MAX {
                    return Err(told(context, &args.data, error));
                }
                context.terminal.progress(&format!("{error}; asking again later"));
            }
        }
        if args.once || wait(&signals, Duration::from_secs(args.interval)) {
            break;
        }
    }
    if args.expect_none && n_told > 0 {
        return Err(Failure::message(Exit::Refused, format!("{n_told} entries were not expected"))
            .with_hint("find out who signed: a key or an identity may have been stolen"));
    }
    Ok(Exit::Clean)
}

/// One look; gives how many entries were told of.
fn look(
    context: &Context<'_>,
    args: &cli::LogMonitor,
    monitor: &mut Monitor,
    source: &Source,
    search: &Search<'_>,
) -> Result<usize, MonitorError> {
    let (mut lines, mut n_unknown, mut n_left_out) = (Vec::new(), 0_u64, 0_u64);
    let step = monitor.advance(source, &mut |index, bytes| {
        if !search.is_active() {
            return;
        }
        match Entry::parse(bytes) {
            Err(_) => n_unknown += 1,
            Ok(entry) => {
                let Some(line) = search.look(index, &entry) else { return };
                if lines.len() < TOLD_MAX {
                    lines.push(line);
                } else {
                    n_left_out += 1;
                }
            }
        }
    })?;
    for place in &args.other {
        let other = Source::open(place, &options(context, place))?;
        monitor.compare(source, &other.checkpoint()?)?;
    }
    // Only now is it known that the entries are the log's own.
    if context.terminal.result(&lines.concat()).is_err() {
        context.terminal.error("warning: what was found could not be printed\n");
    }
    let n_new = step.now - step.before;
    let mut parts =
        vec![format!("{} entries, {n_new} of them new; the log has only grown", step.now)];
    if n_unknown > 0 {
        parts.push(format!("{n_unknown} of a form that is not known were not searched"));
    }
    if n_left_out > 0 {
        parts.push(format!("{n_left_out} more were found and are not shown"));
    }
    context.terminal.progress(&parts.join("; "));
    Ok(lines.len() + usize::try_from(n_left_out).unwrap_or(usize::MAX))
}

/// Waits; `true` when a signal came.
fn wait(signals: &SignalPipe, interval: Duration) -> bool {
    let ready = wait_readable(&[signals.as_fd()], Some(interval));
    ready.is_err() || !matches!(signals.take(), Ok(None))
}

/// A failure with its exit code; a proof of a fork is kept first.
fn told(context: &Context<'_>, folder: &Path, error: MonitorError) -> Failure {
    if let MonitorError::Fork { fork, .. } = &error {
        match fork.keep(folder) {
            Ok(path) => context.terminal.error(&format!("the proof is in {}\n", path.display())),
            Err(problem) => {
                context.terminal.error(&format!("warning: the proof cannot be kept: {problem}\n"));
            }
        }
    }
    let exit = if error.is_against_log() { Exit::Refused } else { Exit::Incomplete };
    Failure::from_explained(error, exit)
}

//! `palisade log`: key, serve, submit, verify, monitor, witness.

mod monitor;

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use palisade_http::{ClientOptions, TlsOptions};
use palisade_sys::signals::{SignalPipe, wait_readable};
use palisade_tlog::bundle::LOG_ENTRY_BYTES_MAX;
use palisade_tlog::entry::SUBMISSION_BYTES_MAX;
use palisade_tlog::merkle::{prove_consistency, verify_consistency};
use palisade_tlog::note::NOTE_BYTES_MAX;
use palisade_tlog::server::log_api::LogApi;
use palisade_tlog::server::witness_api::WitnessApi;
use palisade_tlog::server::{Handler, RateLimit, Server, ServerCounts};
use palisade_tlog::source::client;
use palisade_tlog::tile::TiledTree;
use palisade_tlog::witness::{Witness, WitnessAddress, WitnessClient};
use palisade_tlog::{
    Checkpoint, Cosigner, KeyKind, Log, LogEntry, LogOptions, SigningKey, Source, VerifierKey,
    Writer,
};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// How often the wait for a signal looks whether the server has ended by itself.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(200);

/// What a log that contradicts itself leaves to be done.
const CONTRADICTED: &str =
    "keep both checkpoints and read the log elsewhere: signed, they are evidence against it";

/// How long a log may take to answer a submission.
const ANSWER: Duration = Duration::from_mins(1);

/// Carries out a `palisade log` command.
pub(crate) fn log(context: &Context<'_>, command: &cli::Log) -> Result<Exit, Failure> {
    match command {
        cli::Log::Key(args) => key(context, args),
        cli::Log::Serve(args) => serve(context, args),
        cli::Log::Submit(args) => submit(context, args),
        cli::Log::Verify(args) => verify(context, args),
        cli::Log::Monitor(args) => monitor::monitor(context, args),
        cli::Log::Witness(args) => witness(context, args),
    }
}

fn key(context: &Context<'_>, args: &cli::LogKey) -> Result<Exit, Failure> {
    let kind = if args.witness { KeyKind::Cosignature } else { KeyKind::Ed25519 };
    let key = SigningKey::generate(&args.output, &args.origin, kind).or_exit(Exit::Usage)?;
    context.terminal.result(&format!("{}\n", key.public()))?;
    Ok(Exit::Clean)
}

fn serve(context: &Context<'_>, args: &cli::LogServe) -> Result<Exit, Failure> {
    let key = SigningKey::read(&args.key, &args.origin, KeyKind::Ed25519).or_exit(Exit::Usage)?;
    let signals = SignalPipe::install().context("catch signals")?;
    let writer = Writer::open(&args.data, key).or_exit(Exit::Incomplete)?;
    let witnesses = args.witness.iter().map(|text| text.parse::<WitnessAddress>());
    let witnesses = witnesses.collect::<Result<Vec<_>, _>>().or_exit(Exit::Usage)?;
    if args.quorum > witnesses.len() {
        return Err(Failure::message(Exit::Usage, "the quorum is larger than there are witnesses")
            .with_hint("readers would never see a checkpoint; name more by --witness"));
    }
    let cosigner: Option<Box<dyn Cosigner>> = match witnesses.as_slice() {
        [] => None,
        [first, ..] => {
            let options = options(context, &first.url);
            let client = WitnessClient::new(witnesses.clone(), &options).or_exit(Exit::Usage)?;
            Some(Box::new(client))
        }
    };
    let log_options = LogOptions { quorum: args.quorum, ..LogOptions::default() };
    let log = Log::start(writer, log_options, cosigner).or_exit(Exit::Incomplete)?;
    let (log, counts) = (Arc::new(log), Arc::new(ServerCounts::default()));
    let api = LogApi::new(Arc::clone(&log), Arc::clone(&counts), RateLimit::new(args.rate));
    let handler = Arc::new(api);
    let served = answer(
        context,
        handler,
        counts,
        args.listen,
        args.connections,
        args.ready_file.as_deref(),
        &signals,
    );
    // What has been accepted is written before the program ends.
    log.stop();
    served
}

/// Answers requests until a signal.
fn answer(
    context: &Context<'_>,
    handler: Arc<dyn Handler>,
    counts: Arc<ServerCounts>,
    listen: SocketAddr,
    connections: usize,
    ready_file: Option<&Path>,
    signals: &SignalPipe,
) -> Result<Exit, Failure> {
    let server = Server::bind(listen, handler, counts, connections).map_err(|error| {
        Failure::message(Exit::Incomplete, format!("listen at {listen}: {error}"))
            .with_hint("choose another address with --listen; port 0 takes a free one")
    })?;
    let address = server.address().context("ask for the server's address")?;
    context.terminal.result(&format!("http://{address}\n"))?;
    if let Some(file) = ready_file {
        palisade_base::fs::write_atomic(file, format!("http://{address}\n").as_bytes(), 0o644)
            .with_context(|| format!("write `{}`", file.display()))?;
    }
    let stop = server.stopper();
    let served = std::thread::scope(|scope| {
        scope.spawn(|| wait_for_end(signals, &stop));
        let served = server.run();
        // However the server ended, the thread that waits for signals ends too.
        stop.store(true, Ordering::Relaxed);
        served
    });
    served.context("answer requests")?;
    Ok(Exit::Clean)
}

fn witness(context: &Context<'_>, args: &cli::LogWitness) -> Result<Exit, Failure> {
    let key = SigningKey::read(&args.key, &args.name, KeyKind::Cosignature).or_exit(Exit::Usage)?;
    let logs = args.log.iter().map(|text| verifier_key(text)).collect::<Result<Vec<_>, _>>()?;
    let signals = SignalPipe::install().context("catch signals")?;
    let witness = Witness::open(&args.data, key, logs).or_exit(Exit::Incomplete)?;
    let api = Arc::new(WitnessApi::new(witness, RateLimit::new(args.rate)));
    let counts = Arc::new(ServerCounts::default());
    answer(
        context,
        api,
        counts,
        args.listen,
        args.connections,
        args.ready_file.as_deref(),
        &signals,
    )
}

/// Sets `stop` at the first signal.
fn wait_for_end(signals: &SignalPipe, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let ready = wait_readable(&[signals.as_fd()], Some(SIGNAL_INTERVAL));
        if ready.is_err() || !matches!(signals.take(), Ok(None)) {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

fn submit(context: &Context<'_>, args: &cli::LogSubmit) -> Result<Exit, Failure> {
    let key = verifier_key(&args.key)?;
    let request = read(&args.request, "request", SUBMISSION_BYTES_MAX)?;
    let url = format!("{}/api/v2/log/entries", args.log.trim_end_matches('/'));
    let failed = |problem: String| {
        Failure::message(Exit::Incomplete, format!("submit to `{url}`: {problem}"))
            .with_hint("name the log by its URL; an entry that is there already is found again")
    };
    let agent =
        client(&options(context, &url), ANSWER).map_err(|error| failed(error.to_string()))?;
    let mut answer = agent
        .post(&url)
        .header("content-type", "application/json")
        .send(&request[..])
        .map_err(|error| failed(error.to_string()))?;
    let status = answer.status().as_u16();
    let limited = answer.body_mut().with_config().limit(LOG_ENTRY_BYTES_MAX as u64);
    let body = limited.read_to_vec().map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&body);
    if status == 400 {
        let what = format!("the log refuses the entry: {}", message(&text));
        return Err(Failure::message(Exit::Refused, what)
            .with_hint("check the signature, the key and the form of the request"));
    }
    if !matches!(status, 200 | 201) {
        return Err(failed(format!("status {status}: {}", message(&text))));
    }
    let entries = LogEntry::parse_all(&body).or_exit(Exit::Incomplete)?;
    for entry in &entries {
        entry.verify(&key, &[], 0).or_exit(Exit::Refused).map_err(|failure| {
            failure.or_hint("give the key of this log; what it answered proves nothing")
        })?;
    }
    // The proof is of what the log wrote: that must be what was submitted.
    let submitted = palisade_tlog::entry::accept(&request).or_exit(Exit::Refused)?;
    if entries.len() != 1 || entries.iter().any(|entry| entry.body != submitted.body) {
        return Err(Failure::message(Exit::Refused, "the log answered with another entry")
            .with_hint("do not rely on this log; its answer is not what was submitted"));
    }
    context.terminal.result_to(args.output.as_deref(), &format!("{}\n", text.trim_end()))?;
    Ok(Exit::Clean)
}

/// The reason in a log's answer, short and without control characters.
fn message(answer: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(answer).ok();
    let told = parsed.as_ref().and_then(|value| value.get("message")?.as_str()).unwrap_or(answer);
    told.chars().filter(|c| !c.is_control()).take(300).collect()
}

fn verify(context: &Context<'_>, args: &cli::LogVerify) -> Result<Exit, Failure> {
    let key = verifier_key(&args.key)?;
    let mut earlier = Vec::new();
    let mut lines = Vec::new();
    if let Some(path) = &args.entry {
        let document = read(path, "log entry", LOG_ENTRY_BYTES_MAX)?;
        let entries = LogEntry::parse_all(&document).or_exit(Exit::Usage)?;
        if entries.is_empty() {
            return Err(Failure::message(Exit::Usage, "the document holds no log entry")
                .with_hint("give what the log answered, or a Sigstore bundle"));
        }
        for entry in entries {
            let checkpoint =
                entry.verify(&key, &[], 0).or_exit(Exit::Refused).map_err(|failure| {
                    failure.or_hint("keep the document, and ask the log for the entry again")
                })?;
            let (index, size) = (entry.index, checkpoint.size);
            lines.push(format!("entry {index} is in the log, among {size} entries\n"));
            earlier.push(checkpoint);
        }
    }
    if let Some(place) = &args.log {
        lines.extend(follow(context, args, place, &key, earlier)?);
    }
    context.terminal.result(&lines.concat())?;
    Ok(Exit::Clean)
}

/// Checks that the log at `place` holds everything that `earlier` and the kept checkpoint do.
fn follow(
    context: &Context<'_>,
    args: &cli::LogVerify,
    place: &str,
    key: &VerifierKey,
    mut earlier: Vec<Checkpoint>,
) -> Result<Vec<String>, Failure> {
    let source = Source::open(place, &options(context, place)).or_exit(Exit::Incomplete)?;
    let note = source.checkpoint().or_exit(Exit::Incomplete)?;
    let (now, _) = Checkpoint::open(&note, key).or_exit(Exit::Refused)?;
    if let Some(path) = args.keep.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        let kept = read(path, "checkpoint", NOTE_BYTES_MAX)?;
        let (kept, _) = Checkpoint::open(&kept, key)
            .or_exit(Exit::Refused)
            .map_err(|failure| failure.during(format!("read `{}`", path.display())))?;
        earlier.push(kept);
    }
    let mut lines = Vec::new();
    for old in &earlier {
        grown(&source, old, &now)?;
        lines.push(format!("the log has only grown, from {} to {} entries\n", old.size, now.size));
    }
    if let Some(path) = &args.keep {
        palisade_base::fs::write_atomic(path, &note, 0o644)
            .with_context(|| format!("write `{}`", path.display()))?;
    }
    if earlier.is_empty() {
        lines.push(format!("the log has {} entries, and its checkpoint is signed\n", now.size));
    }
    Ok(lines)
}

fn grown(source: &Source, old: &Checkpoint, now: &Checkpoint) -> Result<(), Failure> {
    let mut tree = TiledTree::new(source, now.size);
    let Some(proof) = prove_consistency(&mut tree, old.size, now.size).or_exit(Exit::Incomplete)?
    else {
        let what = format!("the log has {} entries and had {} before", now.size, old.size);
        return Err(Failure::message(Exit::Refused, what).with_hint(CONTRADICTED));
    };
    verify_consistency(old.size, now.size, &proof, &old.root, &now.root)
        .or_exit(Exit::Refused)
        .map_err(|failure| {
            let what = format!("the log does not hold the {} entries it had before", old.size);
            failure.with_hint(CONTRADICTED).during(what)
        })
}

fn options<'c>(context: &Context<'c>, place: &str) -> ClientOptions<'c> {
    let (is_https, host, port) = address(place);
    ClientOptions {
        user_agent: format!("palisade/{}", env!("CARGO_PKG_VERSION")),
        tls: is_https.then(TlsOptions::default),
        proxy: context.environment.proxies.of(is_https, &host, port),
        timeout_total: None,
        timeout_idle: None,
    }
}

/// Whether a URL is https, its host and its port; nothing of a folder.
fn address(place: &str) -> (bool, String, u16) {
    let uri: Option<ureq::http::Uri> = place.parse().ok();
    let is_https = place.starts_with("https://");
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default().to_string();
    let port = uri.and_then(|uri| uri.port_u16()).unwrap_or(if is_https { 443 } else { 80 });
    (is_https, host, port)
}

/// A verifier key as it stands, or the one in a file.
fn verifier_key(text: &str) -> Result<VerifierKey, Failure> {
    let path = Path::new(text);
    if !path.is_file() {
        return VerifierKey::parse(text).or_exit(Exit::Usage);
    }
    let bytes = read(path, "verifier key", NOTE_BYTES_MAX)?;
    VerifierKey::parse(String::from_utf8_lossy(&bytes).trim()).or_exit(Exit::Usage)
}

fn read(path: &Path, what: &'static str, limit: usize) -> Result<Vec<u8>, Failure> {
    File::open(path).and_then(|file| palisade_base::read_bounded(file, what, limit as u64)).map_err(
        |error| {
            Failure::message(Exit::Usage, format!("read `{}`: {error}", path.display()))
                .with_hint("check the path")
        },
    )
}

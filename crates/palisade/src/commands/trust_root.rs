//! `palisade trust root`: the trusted root of a Sigstore instance, kept up to date by The
//! Update Framework from its repository or a copy of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use palisade_base::{Digest, Root, read_bounded};
use palisade_http::{ClientOptions, TlsOptions, client};
use palisade_policy::decisions::FETCHED_ROOT;
use palisade_trust::sigstore::TrustedRoot;
use palisade_trust::tuf::{self, METADATA_BYTES_MAX, Refreshed, Repository, TufError};
use serde_json::json;

use super::{Context, trust};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::tsv;

/// How long one file may take, and how long a silence.
const ANSWER_WAIT: Duration = Duration::from_mins(1);
const IDLE_MAX: Duration = Duration::from_secs(20);
/// What the repository is, and which of its files is taken: beside what is known of it.
const SOURCE: &str = "source.json";
const SOURCE_BYTES_MAX: u64 = 64 << 10;

/// A copy of a repository in a folder.
struct Folder {
    root: Root,
    /// Where metadata is: repositories of some tools keep it apart.
    metadata: &'static str,
}

/// A repository in the network.
struct Web<'c> {
    agent: ureq::Agent,
    base: &'c str,
}

impl Repository for Folder {
    fn get(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let prefix = if path.starts_with("targets/") { "" } else { self.metadata };
        let file = match self.root.open_file(Path::new(&format!("{prefix}{path}"))) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }
}

impl Repository for Web<'_> {
    fn get(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let url = format!("{}/{path}", self.base);
        let mut answer = self.agent.get(&url).call().map_err(io::Error::other)?;
        match answer.status().as_u16() {
            200 => {
                let body = answer.body_mut().with_config().limit(limit.saturating_add(1));
                match body.read_to_vec() {
                    Ok(bytes) => Ok(Some(bytes)),
                    Err(ureq::Error::BodyExceedsLimit(_)) => {
                        Err(io::ErrorKind::FileTooLarge.into())
                    }
                    Err(error) => Err(io::Error::other(error)),
                }
            }
            // Stores of objects say that something is forbidden where there is nothing.
            403 | 404 | 410 => Ok(None),
            status => Err(io::Error::other(format!("`{url}` answers with status {status}"))),
        }
    }
}

/// Begins to trust a repository.
pub(super) fn import(context: &Context<'_>, args: &cli::TrustRootImport) -> Result<Exit, Failure> {
    let root = File::open(&args.root)
        .and_then(|file| read_bounded(file, "root", METADATA_BYTES_MAX))
        .with_context(|| format!("read root `{}`", args.root.display()))
        .map_err(|error| {
            Failure::message(Exit::Usage, format!("{error:#}"))
                .with_hint("name the root.json of the instance that signs")
        })?;
    let kept = folder(context);
    if !args.replace
        && let Some(version) = tuf::held(&kept).map_err(failure)?
    {
        return Err(failure(TufError::RootExists { version }));
    }
    // Beside what is known, which stays until everything was verified.
    std::fs::create_dir_all(&context.global.data_dir)
        .and_then(|()| {
            tempfile::Builder::new().prefix("trusted-root.").tempdir_in(&context.global.data_dir)
        })
        .with_context(|| format!("write into `{}`", context.global.data_dir.display()))
        .map_err(Failure::from)
        .and_then(|new| {
            tuf::begin(new.path(), &root, true).map_err(failure)?;
            let refreshed = refresh(context, new.path(), &args.tuf, &args.target)?;
            let source = json!({"tuf": absolute(&args.tuf), "target": args.target});
            let exchange = || {
                use std::os::unix::fs::PermissionsExt as _;
                let path = new.path().join(SOURCE);
                palisade_base::fs::write_atomic(&path, source.to_string().as_bytes(), 0o644)?;
                std::fs::set_permissions(new.path(), std::fs::Permissions::from_mode(0o755))?;
                if kept.exists() {
                    std::fs::remove_dir_all(&kept)?;
                }
                std::fs::rename(new.path(), &kept)
            };
            exchange().with_context(|| format!("write `{}`", kept.display()))?;
            // It is where it belongs.
            let _ = new.keep();
            told(context, &refreshed, true, args.format)
        })
}

/// Takes the newest trusted root of the repository that is known.
pub(super) fn update(context: &Context<'_>, args: &cli::TrustRootUpdate) -> Result<Exit, Failure> {
    let kept = folder(context);
    if tuf::held(&kept).map_err(failure)?.is_none() {
        return Err(failure(TufError::NoRoot));
    }
    let path = kept.join(SOURCE);
    let source: serde_json::Value = File::open(&path)
        .and_then(|file| read_bounded(file, "source", SOURCE_BYTES_MAX))
        .map_err(anyhow::Error::from)
        .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
        .with_context(|| format!("read `{}`", path.display()))?;
    let text = |key: &str| source.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let tuf = args.tuf.as_deref().unwrap_or(text("tuf"));
    // One update at a time: each goes on where the one before ended.
    let lock = File::create(kept.join("lock")).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.with_context(|| format!("lock `{}`", kept.display()))?;
    let before = std::fs::read(context.global.data_dir.join(FETCHED_ROOT)).ok();
    let refreshed = refresh(context, &kept, tuf, text("target"))?;
    let changed = before.is_none_or(|before| before != refreshed.target);
    told(context, &refreshed, changed, args.format)
}

fn folder(context: &Context<'_>) -> PathBuf {
    let file = context.global.data_dir.join(FETCHED_ROOT);
    file.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn absolute(tuf: &str) -> String {
    if tuf.contains("://") {
        return tuf.to_string();
    }
    std::fs::canonicalize(tuf).map_or_else(|_| tuf.into(), |path| path.display().to_string())
}

/// Brings what is known in `folder` up to date, and puts the trusted root there.
fn refresh(
    context: &Context<'_>,
    folder: &Path,
    tuf: &str,
    target: &str,
) -> Result<Refreshed, Failure> {
    let repository: Box<dyn Repository + '_> = if tuf.contains("://") {
        web(context, tuf.trim_end_matches('/'))?
    } else {
        let root = Root::open(Path::new(tuf)).with_context(|| format!("open folder `{tuf}`"));
        let root = root.map_err(|error| {
            Failure::message(Exit::Usage, format!("{error:#}"))
                .with_hint("name an address (https:), or a folder that is a copy of a repository")
        })?;
        let is_apart = Path::new(tuf).join("metadata/timestamp.json").is_file();
        Box::new(Folder { root, metadata: if is_apart { "metadata/" } else { "" } })
    };
    let refreshed =
        tuf::refresh(folder, repository.as_ref(), target, trust::now()).map_err(failure)?;
    // What nobody could use must not take the place of what is used.
    let parsed = TrustedRoot::parse(&refreshed.target).or_exit(Exit::Refused)?;
    for unused in parsed.unused() {
        context.terminal.progress(&format!("the trusted root's {unused}; it is not used"));
    }
    let name = Path::new(FETCHED_ROOT).file_name().unwrap_or_default();
    let path = folder.join(name);
    palisade_base::fs::write_atomic(&path, &refreshed.target, 0o644)
        .with_context(|| format!("write `{}`", path.display()))?;
    Ok(refreshed)
}

fn web<'c>(context: &Context<'_>, base: &'c str) -> Result<Box<dyn Repository + 'c>, Failure> {
    let uri: Option<ureq::http::Uri> = base.parse().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default().to_string();
    let is_https = base.starts_with("https://");
    let is_here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    if host.is_empty() || !(is_https || base.starts_with("http://") && is_here) {
        return Err(Failure::message(
            Exit::Usage,
            format!("`{base}` is no address of a repository"),
        )
        .with_hint("repositories are spoken to over https://, on this machine also http://"));
    }
    let port = uri.and_then(|uri| uri.port_u16()).unwrap_or(if is_https { 443 } else { 80 });
    let options = ClientOptions {
        user_agent: format!("palisade/{}", env!("CARGO_PKG_VERSION")),
        tls: is_https.then(TlsOptions::default),
        proxy: context.environment.proxies.of(is_https, &host, port),
        timeout_total: Some(ANSWER_WAIT),
        timeout_idle: Some(IDLE_MAX),
    };
    let agent = client(&options).or_exit(Exit::Usage)?;
    Ok(Box::new(Web { agent, base }))
}

fn failure(error: TufError) -> Failure {
    let exit = if error.is_network() {
        Exit::Network
    } else if error.is_refusal() {
        Exit::Refused
    } else if matches!(error, TufError::Local { .. }) {
        Exit::Incomplete
    } else {
        Exit::Usage
    };
    Failure::from_explained(error, exit)
}

fn told(
    context: &Context<'_>,
    refreshed: &Refreshed,
    changed: bool,
    format: ListFormat,
) -> Result<Exit, Failure> {
    let path = context.global.data_dir.join(FETCHED_ROOT).display().to_string();
    let [root, timestamp, snapshot, targets] = refreshed.versions;
    let state = if changed { "changed" } else { "unchanged" };
    let text = match format {
        ListFormat::Json => format!(
            "{:#}\n",
            json!({
                "schema": "palisade.dev/trusted-root/v1",
                "path": path,
                "digest": Digest::of(&refreshed.target),
                "changed": changed,
                "versions": {"root": root, "timestamp": timestamp, "snapshot": snapshot,
                             "targets": targets},
                "expires": refreshed.expires,
            })
        ),
        ListFormat::Tsv => {
            tsv(&[vec![path, state.into(), root.to_string(), refreshed.expires.clone()]])
        }
        ListFormat::Table => format!(
            "trusted root  {path} ({state})\nversions      root {root}, timestamp {timestamp}, \
             snapshot {snapshot}, targets {targets}\nexpires       {}\n",
            refreshed.expires
        ),
    };
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

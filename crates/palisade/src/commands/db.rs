//! `palisade db`: build, update, import, export, status, search.

mod debian_mirror;
mod exchange;
mod fetch;
mod search;
mod update;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_model::{Distribution, Package, PackageKind};
use palisade_scan::db::update::UpdateLock;
use palisade_scan::db::{Database, DatabaseBuilder, ReadDatabaseError, Signature, Signer};
use palisade_scan::feeds::catalogue::{self, Feed, Form, Origin};
use palisade_scan::minimality::lifecycle;
use palisade_scan::{ecosystem, feeds};
use palisade_trust::{Ed25519PrivateKey, Ed25519PublicKey};

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;
pub(super) use fetch::join;

/// Carries out a `palisade db` command.
pub(crate) fn db(context: &Context<'_>, command: &cli::Db) -> Result<Exit, Failure> {
    match command {
        cli::Db::Build(args) => build(context, args),
        cli::Db::Update(args) => update::update(context, args),
        cli::Db::Import(args) => exchange::import(context, args),
        cli::Db::Export(args) => exchange::export(context, args),
        cli::Db::GenerateKey(args) => exchange::generate_key(context, args),
        cli::Db::Status(args) => status(context, args),
        cli::Db::Search(args) => search::search(context, args),
    }
}

fn build(context: &Context<'_>, args: &cli::DbBuild) -> Result<Exit, Failure> {
    let nothing = args.debian_changelogs.is_empty()
        && args.debian_mirror.is_empty()
        && args.osv.is_empty()
        && args.alpine_secdb.is_empty()
        && args.feed.is_empty()
        && args.kev.is_none()
        && args.epss.is_none();
    if nothing {
        return Err(Failure::message(Exit::Usage, "no feed given").with_hint(
            "name at least one: --debian-changelogs, --debian-mirror, --osv, --alpine-secdb, --kev, --epss, --feed",
        ));
    }
    let lock = exchange::prepare(&context.database(args.output.as_ref()))?;
    let mut builder = DatabaseBuilder::new();
    if !args.debian_changelogs.is_empty() {
        let release = release(args.release.as_deref())?;
        for folder in &args.debian_changelogs {
            context.terminal.progress(&format!("reading changelogs in {}", folder.display()));
            feeds::import_whole(&mut builder, folder, |builder| {
                feeds::debian_changelogs::import_folder(builder, folder, &release)
            })
            .or_exit(Exit::Incomplete)?;
        }
    }
    let mut exit = Exit::Clean;
    if !args.debian_mirror.is_empty() {
        exit = debian_mirror::import(context, args, &mut builder)?;
    }
    for file in &args.osv {
        context.terminal.progress(&format!("reading {}", file.display()));
        import_form(&mut builder, Form::Osv, file)?;
    }
    for path in &args.alpine_secdb {
        context.terminal.progress(&format!("reading {}", path.display()));
        import_form(&mut builder, Form::Secdb, path)?;
    }
    if let Some(file) = &args.kev {
        context.terminal.progress(&format!("reading {}", file.display()));
        import_form(&mut builder, Form::Kev, file)?;
    }
    if let Some(file) = &args.epss {
        context.terminal.progress(&format!("reading {}", file.display()));
        import_form(&mut builder, Form::Epss, file)?;
    }
    for text in &args.feed {
        let (name, path) = text.split_once('=').ok_or_else(|| {
            Failure::message(Exit::Usage, format!("`{text}` is not NAME=PATH"))
                .with_hint("for example --feed debian=tracker.json")
        })?;
        let feed = update::feed(name)?;
        context.terminal.progress(&format!("reading {path}"));
        import_feed(&mut builder, feed, Path::new(path))?;
    }
    if let Some(file) = &args.lifecycles {
        let limit = lifecycle::BYTES_MAX as u64;
        let bytes = super::scan::read_bytes(file, "table of lifecycles", limit)?;
        let text = String::from_utf8_lossy(&bytes);
        lifecycle::Lifecycles::parse(&text)
            .or_exit(Exit::Usage)
            .map_err(|failure| failure.during(format!("read `{}`", file.display())))?;
        builder.set_lifecycles(&text);
    }
    finish(context, &builder, &lock, args.sign_key.as_deref())?;
    Ok(exit)
}

/// Imports a feed from a file; its age is that of its newest data, or of the file where it states
/// none. Answers with the ecosystems of which the feed speaks.
fn import_feed(
    builder: &mut DatabaseBuilder,
    feed: &Feed,
    path: &Path,
) -> Result<BTreeSet<String>, Failure> {
    import_form(builder, feed.form, path)
}

fn import_form(
    builder: &mut DatabaseBuilder,
    form: Form,
    path: &Path,
) -> Result<BTreeSet<String>, Failure> {
    let modified = std::fs::metadata(path).and_then(|status| status.modified()).ok();
    let fetched = modified
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|age| u64::try_from(age.as_nanos()).ok())
        .map(Timestamp::from_nanos);
    catalogue::import(builder, form, path, Origin::Copy(fetched)).or_exit(Exit::Incomplete)
}

/// Writes the database in one step, as the only one who does.
fn finish(
    context: &Context<'_>,
    builder: &DatabaseBuilder,
    lock: &UpdateLock,
    sign_key: Option<&Path>,
) -> Result<(), Failure> {
    let output = lock.path();
    let key = sign_key.map(Ed25519PrivateKey::read).transpose().or_exit(Exit::Usage)?;
    let sign = key.as_ref().map(|key| {
        |message: &[u8]| Signature { key: key.public().id(), signature: key.sign(message) }
    });
    let signer = sign.as_ref().map(|sign| sign as Signer<'_>);
    say_what_is_left_out(context, builder);
    let now = Timestamp::now();
    let n_bytes = builder.write_signed(output, now, signer).or_exit(Exit::Incomplete)?;
    context.terminal.progress(&format!(
        "wrote {} advisories, {} KiB, to {}",
        builder.n_records(),
        n_bytes / 1024,
        output.display()
    ));
    Ok(())
}

/// Names what the feeds had and the database has not.
fn say_what_is_left_out(context: &Context<'_>, builder: &DatabaseBuilder) {
    for feed in builder.feeds().filter(|feed| !feed.skipped.is_empty()) {
        let reasons: Vec<String> =
            feed.skipped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
        let text =
            format!("{}: {} records, left out: {}", feed.name, feed.n_records, reasons.join("; "));
        match feed.n_malformed() {
            0 => context.terminal.progress(&text),
            _ => context.terminal.error(&format!("warning: {text}\n")),
        }
    }
    for ecosystem in builder.partial() {
        let why = why_partial(builder.halved(), ecosystem);
        context.terminal.progress(&format!("{ecosystem} is partial: {why}"));
    }
}

/// What a database of changelogs cannot know.
const PARTIAL: &str = "what changelogs of the packages named say was fixed; no unfixed \
                       vulnerabilities, none that Debian does not mean to fix (no-DSA), no \
                       severities";

/// What a database cannot know of which a feed's file could not be had.
const HALVED: &str = "a file of a feed could not be had when it was built, and what that says of \
                      other packages is not known";

/// Why an ecosystem is partial.
fn why_partial(halved: &BTreeSet<String>, ecosystem: &str) -> &'static str {
    if halved.contains(ecosystem) { HALVED } else { PARTIAL }
}

/// Whether a signature is by the key of `--db-key`.
pub(crate) fn trusted_key(context: &Context<'_>) -> Result<Option<Ed25519PublicKey>, Failure> {
    read_key(context.global.db_key.as_deref())
}

fn read_key(path: Option<&Path>) -> Result<Option<Ed25519PublicKey>, Failure> {
    path.map(Ed25519PublicKey::read).transpose().or_exit(Exit::Usage)
}

/// Whether `signature` is the key's over the message.
fn vouches(key: &Ed25519PublicKey, signature: &Signature, message: &[u8]) -> bool {
    signature.key == key.id() && key.verify(message, &signature.signature)
}

/// Opens a database; one that must be signed is.
pub(crate) fn open_trusted(context: &Context<'_>, path: &Path) -> Result<Opened, Failure> {
    open_signed(path, context.global.db_key.as_deref())
}

/// Opens a database that the key in the file `key`, if any, must have signed.
pub(crate) fn open_signed(path: &Path, key: Option<&Path>) -> Result<Opened, Failure> {
    let mut database = match Database::open(path) {
        Err(ReadDatabaseError::Missing(_)) => return Ok(Opened::Missing),
        other => other.or_exit(Exit::Incomplete)?,
    };
    if let Some(key) = read_key(key)? {
        database
            .require_signature(&|signature, message| vouches(&key, signature, message))
            .or_exit(Exit::Refused)?;
        database = database.with_key_created(key.created());
    }
    Ok(Opened::Whole(Box::new(database)))
}

/// The database for the gate of `policy`, opened once: what was checked is what is asked. A policy
/// without a gate asks none.
pub(crate) fn open_for_gate(
    context: &Context<'_>,
    policy: &palisade_policy::Policy,
    flag: Option<&std::path::PathBuf>,
) -> Result<Option<Database>, Failure> {
    if !policy.images.gate.is_active() {
        return Ok(None);
    }
    Ok(open_trusted(context, &context.database(flag))?.database())
}

/// What [`open_trusted`] found.
pub(crate) enum Opened {
    /// A database.
    Whole(Box<Database>),
    /// No file.
    Missing,
}

impl Opened {
    /// The database, if there is one.
    pub(crate) fn database(self) -> Option<Database> {
        match self {
            Self::Whole(database) => Some(*database),
            Self::Missing => None,
        }
    }
}

/// The database's name of a release such as `debian:12`; this machine's by default.
fn release(flag: Option<&str>) -> Result<String, Failure> {
    let hint = "name the release of the .deb files, for example --release debian:12";
    let (id, version_id) = if let Some(text) = flag {
        let (id, version) = text.split_once(':').ok_or_else(|| {
            Failure::message(Exit::Usage, format!("`{text}` is not ID:VERSION")).with_hint(hint)
        })?;
        (id.to_string(), version.to_string())
    } else {
        let text = std::fs::read("/etc/os-release").context("read /etc/os-release")?;
        let found = palisade_packages::os_release::parse(&text)
            .context("/etc/os-release names no distribution")?;
        (found.id, found.version_id)
    };
    let distribution =
        Distribution { id, version_id, codename: String::new(), name: String::new() };
    let any_package = Package::new(PackageKind::Dpkg, "", "", "");
    ecosystem::of_package(&any_package, Some(&distribution)).map_err(|reason| {
        let name = format!("{}:{}", distribution.id, distribution.version_id);
        Failure::message(Exit::Usage, format!("release `{name}`: {reason}")).with_hint(hint)
    })
}

fn open(context: &Context<'_>, flag: Option<&std::path::PathBuf>) -> Result<Database, Failure> {
    let path = context.database(flag);
    match open_trusted(context, &path)?.database() {
        Some(database) => Ok(database),
        None => Err(ReadDatabaseError::Missing(path)).or_exit(Exit::Incomplete),
    }
}

/// `3 days`: an age for people.
fn age(now: Timestamp, time: Timestamp) -> String {
    let seconds = now.since(time).as_secs();
    let plural = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    match seconds {
        0..3_600 => plural(seconds / 60, "minute"),
        3_600..86_400 => plural(seconds / 3_600, "hour"),
        _ => plural(seconds / 86_400, "day"),
    }
}

fn status(context: &Context<'_>, args: &cli::DbStatus) -> Result<Exit, Failure> {
    let database = open(context, args.db.as_ref())?;
    let digest = database.verify().or_exit(Exit::Incomplete)?;
    let info = database.info();
    let metadata = database.metadata();
    let now = Timestamp::now();
    let signed = database.signature().map(|signature| {
        let whole = palisade_base::Digest::from_bytes(signature.key).hex();
        whole.chars().take(16).collect::<String>()
    });
    let is_verified = context.global.db_key.is_some();
    if args.format == ListFormat::Json {
        let document = serde_json::json!({
            "schema": "palisade.dev/advisory-database/v1",
            "path": show_path(database.path()),
            "digest": digest.to_string(),
            "n_records": info.n_records,
            "newest": info.built,
            "age_seconds": now.since(info.built).as_secs(),
            "compiled": metadata.compiled,
            "signed_by": signed,
            "signature_verified": is_verified,
            "key_created": info.key_created,
            "feeds": metadata.feeds,
            "ecosystems": metadata.ecosystems,
            "partial": metadata.partial,
            "halved": metadata.halved,
        });
        context.terminal.result(&format!("{document:#}\n"))?;
        return Ok(Exit::Clean);
    }
    let signed = match (&signed, is_verified) {
        (Some(key), true) => match info.key_created {
            Some(time) => format!("by key {key} of {time} ({} old), verified", age(now, time)),
            None => format!("by key {key}, verified"),
        },
        (Some(key), false) => format!("by key {key}, not verified (--db-key)"),
        (None, _) => "no".to_string(),
    };
    let mut text = format!(
        "database   {}\ndigest     {digest}\nadvisories {}\nnewest     {} ({} old)\ncompiled   {}\nsigned     {signed}\n\n",
        show_path(database.path()),
        info.n_records,
        info.built,
        age(now, info.built),
        metadata.compiled,
    );
    for why in [PARTIAL, HALVED] {
        let partial = metadata.partial.iter().map(String::as_str);
        let names: Vec<&str> =
            partial.filter(|name| why_partial(&metadata.halved, name) == why).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "partial    {}: {why}\n", names.join(", "));
        }
    }
    let rows: Vec<Vec<String>> = metadata
        .feeds
        .iter()
        .map(|feed| {
            let skipped: Vec<String> =
                feed.skipped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
            let known = feed.time();
            vec![
                feed.name.clone(),
                feed.n_records.to_string(),
                feed.newest.map_or_else(|| "unknown".into(), |time| time.to_string()),
                known.map_or_else(|| "unknown".into(), |time| age(now, time)),
                skipped.join("; "),
            ]
        })
        .collect();
    text.push_str(&columns(&["FEED", "RECORDS", "NEWEST", "AGE", "LEFT OUT"], &rows));
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}

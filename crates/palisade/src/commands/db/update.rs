//! `palisade db update`: from feeds, or from a folder with a database that somebody built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use palisade_base::Digest;
use palisade_scan::db::{DATABASE_BYTES_MAX, Database, DatabaseBuilder, delta};
use palisade_scan::feeds::catalogue::{FEEDS, Feed, find, import};

use super::exchange::{INDEX, INDEX_BYTES_MAX, Index, SCHEMA, Step, WHOLE, install, prepare};
use super::fetch::{Fetched, Fetcher};
use super::{Context, finish, import_feed, trusted_key};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Brings the database up to date.
pub(super) fn update(context: &Context<'_>, args: &cli::DbUpdate) -> Result<Exit, Failure> {
    let path = context.database(args.db.as_ref());
    let fetcher = Fetcher::new(context, args.mirror.as_deref(), args.plain_http);
    match &args.from {
        Some(address) => from_mirror(context, args, address, &path, &fetcher),
        None => from_feeds(context, args, &path, &fetcher),
    }
}

/// The feed of that name.
pub(super) fn feed(name: &str) -> Result<&'static Feed, Failure> {
    find(name).ok_or_else(|| {
        let names = FEEDS.iter().map(|feed| feed.name);
        let near = palisade_base::suggest::nearest(name, names.clone());
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known feeds: {}", names.collect::<Vec<_>>().join(", ")),
        };
        Failure::message(Exit::Usage, format!("no feed is called `{name}`")).with_hint(hint)
    })
}

/// A feed and where to have it: files, and addresses to fetch.
struct Wanted {
    feed: &'static Feed,
    files: Vec<PathBuf>,
    addresses: Vec<String>,
}

/// What is asked for, without what is to be left out.
fn wanted(texts: &[String], without: &[String]) -> Result<Vec<Wanted>, Failure> {
    let left_out = without.iter().map(|name| feed(name)).collect::<Result<Vec<_>, _>>()?;
    let mut all = asked(texts)?;
    all.retain(|one| left_out.iter().all(|feed| feed.name != one.feed.name));
    if all.is_empty() {
        return Err(Failure::message(Exit::Usage, "every feed is left out")
            .with_hint("leave one in: a database without feeds calls every image clean"));
    }
    Ok(all)
}

fn asked(texts: &[String]) -> Result<Vec<Wanted>, Failure> {
    let public = |feed: &'static Feed| Wanted {
        feed,
        files: Vec::new(),
        addresses: feed.addresses.iter().map(ToString::to_string).collect(),
    };
    if texts.is_empty() {
        return Ok(FEEDS.iter().filter(|feed| feed.is_default).map(public).collect());
    }
    let mut all = Vec::new();
    for text in texts {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (name, Some(address)),
            None => (text.as_str(), None),
        };
        let feed = feed(name)?;
        let one = match address {
            Some(address) if address.contains("://") && !address.starts_with("file://") => {
                Wanted { feed, files: Vec::new(), addresses: vec![address.to_string()] }
            }
            Some(path) => {
                let path = path.strip_prefix("file://").unwrap_or(path);
                Wanted { feed, files: vec![PathBuf::from(path)], addresses: Vec::new() }
            }
            None if feed.addresses.is_empty() => {
                let message = format!("feed `{name}` has no address of its own");
                return Err(Failure::message(Exit::Usage, message).with_hint(format!(
                    "name a repository's list, a file or a folder: --feed \
                     {name}=https://HOST/PATH/repodata/repomd.xml"
                )));
            }
            None => public(feed),
        };
        all.push(one);
    }
    Ok(all)
}

/// A file that could not be had.
struct Missing {
    feed: &'static Feed,
    address: String,
    failure: Failure,
}

impl Missing {
    /// What is only half known without it.
    fn halves<'a>(&self, had: &'a BTreeSet<String>) -> BTreeSet<&'a str> {
        self.feed.halves(&self.address, had)
    }
}

/// Fetches feeds and builds. A feed that cannot be had now is taken from the last time that it
/// could; one that never could is left out and named, unless the database that is there has it.
/// A feed of which only some files could be had makes its ecosystems partial.
fn from_feeds(
    context: &Context<'_>,
    args: &cli::DbUpdate,
    path: &Path,
    fetcher: &Fetcher<'_>,
) -> Result<Exit, Failure> {
    let wanted = wanted(&args.feed, &args.without)?;
    // Before anything is fetched: a second updater is told at once who is at work.
    let lock = prepare(path)?;
    let is_fetched = wanted.iter().any(|one| !one.addresses.is_empty());
    let _feeds = if is_fetched { Some(fetcher.lock()?) } else { None };
    let mut builder = DatabaseBuilder::new();
    let (mut is_whole, mut n_had) = (true, 0);
    let mut missing: Vec<Missing> = Vec::new();
    // By the feed's name.
    let mut had: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for one in &wanted {
        for file in &one.files {
            context.terminal.progress(&format!("reading {}", file.display()));
            let ecosystems = import_feed(&mut builder, one.feed, file)?;
            had.entry(one.feed.name).or_default().extend(ecosystems);
            n_had += 1;
        }
        for address in &one.addresses {
            context.terminal.progress(&format!("fetching {}", fetcher.shown(address)));
            let Fetched { file, time, is_old } = match fetcher.feed(one.feed, address) {
                Ok(fetched) => fetched,
                Err(failure) => {
                    context.terminal.progress(&failure.brief());
                    missing.push(Missing { feed: one.feed, address: address.clone(), failure });
                    continue;
                }
            };
            is_whole &= !is_old;
            n_had += 1;
            let origin = fetcher.origin(one.feed, address, time);
            let ecosystems =
                import(&mut builder, one.feed.form, &file, origin).or_exit(Exit::Incomplete)?;
            had.entry(one.feed.name).or_default().extend(ecosystems);
        }
    }
    if n_had == 0
        && let Some(one) = missing.pop()
    {
        return Err(one.failure);
    }
    for one in &missing {
        for ecosystem in had.get(one.feed.name).into_iter().flat_map(|had| one.halves(had)) {
            builder.mark_halved(ecosystem);
        }
    }
    let older = Database::open(path).ok();
    if let Some(older) = older.as_ref().filter(|_| !missing.is_empty()) {
        keep_what_would_be_lost(older, &builder, &missing)?;
    }
    for (name, before, now) in shrunk(older.as_ref(), &builder) {
        is_whole = false;
        context.terminal.error(&format!(
            "warning: {name} has {now} records, and had {before}: what it no longer says is \
             not found any more\n"
        ));
    }
    for one in &missing {
        is_whole = false;
        let (name, why) = (one.feed.name, one.failure.brief());
        let text = if had.contains_key(name) {
            format!("warning: a file of {name} is left out: {why}\n")
        } else {
            format!("warning: {name} is left out: {why}\n")
        };
        let hint = format!("hint: --without {name} leaves the feed out for good\n");
        context.terminal.error(&(text + &hint));
    }
    finish(context, &builder, &lock, args.sign_key.as_deref())?;
    Ok(if is_whole { Exit::Clean } else { Exit::Partial })
}

/// Feeds that lost more than half of their records: their names, records before and now.
fn shrunk<'b>(older: Option<&Database>, builder: &'b DatabaseBuilder) -> Vec<(&'b str, u64, u64)> {
    let had = older.map(|older| older.metadata().feeds.as_slice()).unwrap_or_default();
    let each = builder.feeds().filter_map(|new| {
        let old = had.iter().find(|old| old.name == new.name)?;
        let lost = old.n_records.saturating_sub(new.n_records);
        (lost > new.n_records).then_some((new.name.as_str(), old.n_records, new.n_records))
    });
    each.collect()
}

/// A database that has what could not be fetched now is better than one without it.
fn keep_what_would_be_lost(
    older: &Database,
    builder: &DatabaseBuilder,
    missing: &[Missing],
) -> Result<(), Failure> {
    let metadata = older.metadata();
    let had = metadata.feeds.iter().filter(|feed| feed.n_records > 0);
    let is_there = |name: &str| builder.feeds().any(|new| new.name == name && new.n_records > 0);
    let feeds = had.map(|feed| feed.name.as_str()).filter(|name| !is_there(name));
    let ecosystems = builder.ecosystems();
    let gone = metadata.ecosystems.keys().map(String::as_str);
    let gone = gone.filter(|name| !ecosystems.contains(name));
    let halved = builder.halved().iter().map(String::as_str).filter(|name| {
        metadata.ecosystems.contains_key(*name) && !metadata.partial.contains(*name)
    });
    let lost: Vec<&str> = feeds.chain(gone).collect();
    let halved: Vec<&str> = halved.collect();
    let Some(first) = missing.first().filter(|_| !(lost.is_empty() && halved.is_empty())) else {
        return Ok(());
    };
    let mut names: Vec<&str> = missing.iter().map(|one| one.feed.name).collect();
    names.dedup();
    let all_of = halved.iter().map(|name| format!("all of {name}"));
    let lost: Vec<String> = lost.iter().map(ToString::to_string).chain(all_of).collect();
    let message = format!(
        "the database that is there stays: it has {}, which could not be fetched now ({})",
        lost.join(", "),
        first.failure.brief()
    );
    let hint = format!("try again later, or build without it with --without {}", names.join(","));
    Err(Failure::message(Exit::Incomplete, message).with_hint(hint))
}

/// Takes the database of a mirror, by deltas where they lead there for less.
fn from_mirror(
    context: &Context<'_>,
    args: &cli::DbUpdate,
    address: &str,
    path: &Path,
    fetcher: &Fetcher<'_>,
) -> Result<Exit, Failure> {
    let base = address.trim_end_matches('/');
    let key = trusted_key(context)?;
    let lock = prepare(path)?;
    let bytes = fetcher.bytes(&format!("{base}/{INDEX}"), INDEX_BYTES_MAX)?;
    let index: Index = serde_json::from_slice(&bytes).map_err(|error| {
        Failure::message(
            Exit::Incomplete,
            format!("`{base}/{INDEX}` is no list of a mirror: {error}"),
        )
        .with_hint("name the folder that `palisade db export --publish` filled")
    })?;
    if index.schema != SCHEMA {
        return Err(Failure::message(
            Exit::Incomplete,
            format!(
                "`{base}/{INDEX}` has the schema `{}`, this release reads {SCHEMA}",
                index.schema
            ),
        )
        .with_hint("update Palisade, or let the mirror be filled by this release"));
    }
    let older = Database::open(path).ok();
    if older.as_ref().is_some_and(|older| older.digest() == index.digest) {
        context.terminal.progress("the database is the mirror's already");
        return Ok(Exit::Clean);
    }
    if let Some(older) = older
        && let Some(steps) = way(&index, older.digest())
        && apply(context, base, &steps, older, (&lock, key.as_ref(), args.force), fetcher)?
    {
        return Ok(Exit::Clean);
    }
    let address = format!("{base}/{WHOLE}");
    let whole = fetcher.bytes(&address, DATABASE_BYTES_MAX)?;
    install(context, &lock, (&whole, Path::new(&address)), key.as_ref(), args.force)?;
    Ok(Exit::Clean)
}

/// The deltas from `digest` to the newest, if they are smaller than the whole.
fn way(index: &Index, digest: Digest) -> Option<Vec<Step>> {
    let mut at = digest;
    let mut steps = Vec::new();
    let mut n_bytes = 0_u64;
    while at != index.digest {
        let step = index.deltas.iter().find(|step| step.from == at)?;
        n_bytes = n_bytes.checked_add(step.bytes)?;
        if n_bytes >= index.bytes || steps.len() >= index.deltas.len() {
            return None;
        }
        at = step.to;
        steps.push(step.clone());
    }
    Some(steps)
}

/// Applies deltas one after another; false when the whole must be fetched after all.
fn apply(
    context: &Context<'_>,
    base: &str,
    steps: &[Step],
    older: Database,
    (lock, key, force): (
        &palisade_scan::db::update::UpdateLock,
        Option<&palisade_trust::Ed25519PublicKey>,
        bool,
    ),
    fetcher: &Fetcher<'_>,
) -> Result<bool, Failure> {
    let mut at = older;
    let mut holder = None;
    for (index, step) in steps.iter().enumerate() {
        // A name that leads elsewhere is no name of a file beside the list.
        let address = format!("{base}/{}", step.file.replace(['/', '\\'], "_"));
        let bytes = fetcher.bytes(&address, DATABASE_BYTES_MAX)?;
        let whole = match delta::apply(&at, &bytes, Path::new(&address)) {
            Ok(whole) => whole,
            Err(error) => {
                context.terminal.progress(&format!("{error}; fetching the whole database"));
                return Ok(false);
            }
        };
        if index + 1 == steps.len() {
            install(context, lock, (&whole, Path::new(&address)), key, force)?;
            return Ok(true);
        }
        let file = fetcher.scratch(&whole)?;
        at = Database::open(file.path()).or_exit(Exit::Incomplete)?;
        holder = Some(file);
    }
    drop(holder);
    Ok(false)
}

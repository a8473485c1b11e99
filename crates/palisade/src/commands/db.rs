//! `palisade db`: build, status, search.

use std::path::Path;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_model::{Distribution, Package, PackageKind};
use palisade_scan::db::{Database, DatabaseBuilder, RangeEnd};
use palisade_scan::minimality::lifecycle;
use palisade_scan::{ecosystem, feeds};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

/// Carries out a `palisade db` command.
pub(crate) fn db(context: &Context<'_>, command: &cli::Db) -> Result<Exit, Failure> {
    match command {
        cli::Db::Build(args) => build(context, args),
        cli::Db::Status(args) => status(context, args),
        cli::Db::Search(args) => search(context, args),
    }
}

fn build(context: &Context<'_>, args: &cli::DbBuild) -> Result<Exit, Failure> {
    let nothing = args.debian_changelogs.is_empty()
        && args.osv.is_empty()
        && args.alpine_secdb.is_empty()
        && args.kev.is_none()
        && args.epss.is_none();
    if nothing {
        return Err(Failure::message(Exit::Usage, "no feed given").with_hint(
            "name at least one: --debian-changelogs, --osv, --alpine-secdb, --kev, --epss",
        ));
    }
    let mut builder = DatabaseBuilder::new();
    if !args.debian_changelogs.is_empty() {
        let release = release(args.release.as_deref())?;
        for folder in &args.debian_changelogs {
            context.terminal.progress(&format!("reading changelogs in {}", folder.display()));
            feeds::debian_changelogs::import_folder(&mut builder, folder, &release)
                .or_exit(Exit::Incomplete)?;
        }
    }
    for file in &args.osv {
        context.terminal.progress(&format!("reading {}", file.display()));
        feeds::osv::import(&mut builder, file).or_exit(Exit::Incomplete)?;
    }
    for path in &args.alpine_secdb {
        context.terminal.progress(&format!("reading {}", path.display()));
        feeds::alpine::import(&mut builder, path).or_exit(Exit::Incomplete)?;
    }
    if let Some(file) = &args.kev {
        context.terminal.progress(&format!("reading {}", file.display()));
        feeds::kev::import(&mut builder, file).or_exit(Exit::Incomplete)?;
    }
    if let Some(file) = &args.epss {
        context.terminal.progress(&format!("reading {}", file.display()));
        feeds::epss::import(&mut builder, file).or_exit(Exit::Incomplete)?;
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
    let output = context.database(args.output.as_ref());
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("create folder `{}`", folder.display()))?;
    }
    let n_bytes = builder.write(&output, Timestamp::now()).or_exit(Exit::Incomplete)?;
    context.terminal.progress(&format!(
        "wrote {} advisories, {} KiB, to {}",
        builder.n_records(),
        n_bytes / 1024,
        output.display()
    ));
    Ok(Exit::Clean)
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
    Database::open(&context.database(flag)).or_exit(Exit::Incomplete)
}

fn status(context: &Context<'_>, args: &cli::DbArgs) -> Result<Exit, Failure> {
    let database = open(context, args.db.as_ref())?;
    let digest = database.verify().or_exit(Exit::Incomplete)?;
    let info = database.info();
    let metadata = database.metadata();
    let mut text = format!(
        "database   {}\ndigest     {digest}\nadvisories {}\nnewest     {}\ncompiled   {}\n\n",
        show_path(database.path()),
        info.n_records,
        info.built,
        metadata.compiled,
    );
    let rows: Vec<Vec<String>> = metadata
        .feeds
        .iter()
        .map(|feed| {
            let skipped: Vec<String> =
                feed.skipped.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
            vec![
                feed.name.clone(),
                feed.n_records.to_string(),
                feed.newest.map_or_else(|| "unknown".into(), |time| time.to_string()),
                skipped.join("; "),
            ]
        })
        .collect();
    text.push_str(&columns(&["FEED", "RECORDS", "NEWEST", "LEFT OUT"], &rows));
    context.terminal.result(&text)?;
    Ok(Exit::Clean)
}

fn show_path(path: &Path) -> String {
    path.display().to_string()
}

fn search(context: &Context<'_>, args: &cli::DbSearch) -> Result<Exit, Failure> {
    let database = open(context, args.db.as_ref())?;
    let wanted: Vec<(String, String)> = if args.package.contains('-')
        && args.package.chars().any(|c| c.is_ascii_digit())
        && ["cve-", "ghsa-", "dsa-", "dla-", "go-", "rustsec-", "pysec-", "alsa-"]
            .iter()
            .any(|prefix| args.package.to_ascii_lowercase().starts_with(prefix))
    {
        // An identifier: CVE-2024-3094, GHSA-…
        database.packages_of(&args.package.to_uppercase()).or_exit(Exit::Incomplete)?
    } else {
        let known = database.metadata().ecosystems.keys();
        known.map(|ecosystem| (ecosystem.clone(), args.package.clone())).collect()
    };
    let mut rows = Vec::new();
    for (ecosystem, package) in &wanted {
        let name = ecosystem::normalise_name(ecosystem, package);
        for advisory in database.advisories(ecosystem, &name).or_exit(Exit::Incomplete)? {
            let fixed = advisory.ranges.iter().find_map(|range| match &range.end {
                RangeEnd::Fixed(version) => Some(version.clone()),
                _ => None,
            });
            rows.push(vec![
                ecosystem.clone(),
                package.clone(),
                advisory.id,
                advisory.severity.to_string(),
                fixed.unwrap_or_else(|| "-".into()),
                advisory.title,
            ]);
        }
    }
    if rows.is_empty() {
        context.terminal.progress(&format!(
            "no advisory about `{}` (Debian's are filed under source packages: openssl, not libssl3)",
            args.package
        ));
        return Ok(Exit::Clean);
    }
    let header = ["ECOSYSTEM", "PACKAGE", "ID", "SEVERITY", "FIXED IN", "TITLE"];
    context.terminal.result(&columns(&header, &rows))?;
    Ok(Exit::Clean)
}

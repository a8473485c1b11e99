//! `palisade patch`: what an image's repositories fix now.

mod build;
mod capture;
pub(super) mod fetch;
mod plan;
mod sandbox;
mod stale;

use std::collections::BTreeSet;

use palisade_base::Timestamp;
use palisade_image::Image;
use palisade_model::Finding;
use palisade_model::finding::{DatabaseInfo, Vulnerability};
use palisade_model::package::Subject;
use palisade_patch::{Files, Mirror, Plan, Repository};
use palisade_scan::db::{Database, ReadDatabaseError};
use palisade_scan::ignore::{self, Ignore};
use palisade_scan::report::item::advisories;
use palisade_scan::{matching, scan};
use serde::Serialize;

use super::Context;
use super::scan::{exceptions, exceptions_of, warn_days, warn_of_age};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};
use fetch::{Fetcher, Folders};

/// A file of sources, or a keyring.
const SOURCES_BYTES_MAX: u64 = 16 << 20;

/// Carries out a `palisade patch` command.
pub(crate) fn patch(context: &Context<'_>, command: &cli::Patch) -> Result<Exit, Failure> {
    match command {
        cli::Patch::Plan(args) => plan::plan(context, args),
        cli::Patch::Build(args) => build::build(context, args),
        cli::Patch::Stale(args) => stale::stale(context, args),
    }
}

/// What is known of an image, and by which database.
#[derive(Debug, Serialize)]
struct Known {
    #[serde(skip)]
    found: Vec<Vulnerability>,
    /// The advisories, and how old they are.
    database: DatabaseInfo,
    /// Findings that entries of `--ignore` and statements of `--vex` set aside.
    n_set_aside: u64,
    /// Those findings, as [`key`] names them.
    #[serde(skip)]
    set_aside: BTreeSet<String>,
}

/// A finding of a package, whatever the version of it.
fn key(finding: &Vulnerability) -> String {
    format!("{} {}", finding.package, finding.id)
}

impl Known {
    /// How old the advisories are, and how much was set aside, for people.
    fn remark(&self, now: Timestamp) -> String {
        let age = advisories(&self.database, now);
        match self.n_set_aside {
            0 => age,
            n => format!("{age}; {n} findings set aside"),
        }
    }
}

/// An image, what is known of it, and what can be upgraded.
struct Planned {
    image: Image,
    known: Known,
    ignores: Vec<Ignore>,
    now: Timestamp,
    files: Files,
    repository: Repository,
    plan: Plan,
    folders: Folders,
}

/// The database; without one there is nothing to plan for.
fn open_database(context: &Context<'_>, args: &cli::PatchOptions) -> Result<Database, Failure> {
    let path = context.database(args.db.as_ref());
    let opened = super::db::open_trusted(context, &path)?.database();
    opened.ok_or(ReadDatabaseError::Missing(path)).or_exit(Exit::Incomplete)
}

/// What is known of an image, without what `ignores` set aside of `subject`: a patched image is
/// judged as the one that it was made of.
fn vulnerabilities(
    image: &Image,
    database: &Database,
    ignores: &[Ignore],
    subject: &Subject,
    now: Timestamp,
) -> Result<Known, Failure> {
    let inventory = scan::inventory_of(image).or_exit(Exit::Incomplete)?;
    let found = matching::find_vulnerabilities(&inventory, database).or_exit(Exit::Incomplete)?;
    let mut findings: Vec<Finding> =
        found.vulnerabilities.into_iter().map(Finding::Vulnerability).collect();
    let key_of = |finding: &Finding| match finding {
        Finding::Vulnerability(v) => Some(key(v)),
        _ => None,
    };
    let mut set_aside: BTreeSet<String> = findings.iter().filter_map(key_of).collect();
    let applied = ignore::apply(&mut findings, ignores, now, Some(subject));
    let left = findings.into_iter().filter_map(|finding| match finding {
        Finding::Vulnerability(v) => Some(v),
        _ => None,
    });
    let found: Vec<Vulnerability> = left.collect();
    for one in &found {
        set_aside.remove(&key(one));
    }
    let database = database.info_of(&inventory);
    Ok(Known { found, database, n_set_aside: applied.n_ignored, set_aside })
}

/// Reads the image and asks its repositories.
fn prepare(
    context: &Context<'_>,
    target: &str,
    args: &cli::PatchOptions,
    database: &Database,
    now: Timestamp,
) -> Result<Planned, Failure> {
    let mirrors = mirrors(&args.repository_mirror)?;
    let image = super::image::open(context, target, &args.source)?;
    context.terminal.progress(&format!("examining {}", image.target));
    let mut ignores = exceptions(context, args.ignore.as_slice(), &args.vex)?;
    if let Some(policy) = &args.policy {
        ignores.extend(exceptions_of(context, &context.load_policy(policy)?.policy.images.gate)?);
    }
    let known = vulnerabilities(&image, database, &ignores, &image.subject(), now)?;
    warn_of_age(context, Some(&known.database), warn_days(None), now);
    let files = Files::read(&image).or_exit(Exit::Incomplete)?;
    context.terminal.progress("asking the image's repositories");
    // Whose sources these are may have files of this machine read.
    let folders = match args.apt_sources {
        Some(_) => Folders::All,
        None => Folders::of(&mirrors),
    };
    let fetcher = Fetcher::new(context, &folders);
    let with_sources = match &args.apt_sources {
        Some(path) => Some(with_sources(&files, path)?),
        None => None,
    };
    let asked = with_sources.as_ref().unwrap_or(&files);
    let repository =
        Repository::gather(asked, &mirrors, &fetcher, now).or_exit(Exit::Incomplete)?;
    let plan = Plan::new(&files, &known.found, &repository);
    Ok(Planned { image, known, ignores, now, files, repository, plan, folders })
}

/// The image's files with sources, and keyrings, of this machine.
fn with_sources(files: &Files, path: &std::path::Path) -> Result<Files, Failure> {
    use anyhow::Context as _;
    let shown = || format!("read `{}`", path.display());
    let read = |path: &std::path::Path| {
        let file = std::fs::File::open(path)?;
        palisade_base::read_bounded(file, "file of sources or keys", SOURCES_BYTES_MAX)
    };
    let text = read(path).with_context(shown)?;
    let extension = path.extension().and_then(|it| it.to_str());
    if !matches!(extension, Some("list" | "sources")) {
        let message = format!("`{}` ends in neither .list nor .sources", path.display());
        return Err(Failure::message(Exit::Usage, message)
            .with_hint("the ending tells apt's forms of sources apart"));
    }
    let name = format!("own.{}", extension.unwrap_or_default());
    Ok(files.with_sources(&name, &text, &|key| read(std::path::Path::new(key)).ok()))
}

/// `FROM=TO`, where FROM is an address or the id of a repository. Addresses rarely hold `=`, and
/// never before their path.
fn mirrors(texts: &[String]) -> Result<Vec<Mirror>, Failure> {
    let read = |text: &String| match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && to.contains("://") => {
            Ok(Mirror { from: from.to_string(), to: to.to_string() })
        }
        _ => Err(Failure::message(Exit::Usage, format!("`{text}` is not FROM=TO")).with_hint(
            "write --repository-mirror http://deb.debian.org/=file:///srv/mirror/, or \
                 --repository-mirror baseos=https://mirror.example/9/BaseOS/x86_64/os",
        )),
    };
    texts.iter().map(read).collect()
}

/// Whether every repository could be asked.
fn exit_of(context: &Context<'_>, repository: &Repository) -> Exit {
    let mut exit = Exit::Clean;
    for problem in &repository.problems {
        context.terminal.error(&format!("warning: {problem}\n"));
        exit = Exit::Partial;
    }
    for suite in &repository.suites {
        if let Some(problem) = &suite.problem {
            let (address, name) = (&suite.address, &suite.suite);
            context.terminal.error(&format!("warning: {address} {name} is not used: {problem}\n"));
            exit = Exit::Partial;
        } else if let Some(note) = &suite.note {
            let (address, name) = (&suite.address, &suite.suite);
            context.terminal.error(&format!("warning: {address} {name}: {note}\n"));
        }
    }
    if repository.suites.is_empty() {
        context.terminal.error("warning: the image names no repository\n");
        exit = Exit::Partial;
    }
    exit
}

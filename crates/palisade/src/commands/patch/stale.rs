//! `palisade patch stale`.

use anyhow::Context as _;
use palisade_base::{Digest, Timestamp};
use palisade_image::{Image, OpenImageError, OpenOptions, Stores};
use palisade_model::finding::DatabaseInfo;
use palisade_model::{Engine, StoreKind, Target};
use palisade_scan::db::Database;
use palisade_sensor::identity::Facts;
use serde::Serialize;

use super::super::Context;
use super::plan::safe;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure};
use crate::terminal::{columns, tsv};

/// Changes the form in JSON, when it changes.
const VERSION: u32 = 1;

/// How a container's image stands to its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// The tag names the image that runs.
    Current,
    /// The tag names another.
    Behind,
    /// It cannot be told.
    Unknown,
}

/// One running container.
#[derive(Debug, Serialize)]
struct Standing {
    container: String,
    name: String,
    image: String,
    state: State,
    /// Who was asked last: `registry`, `docker`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    /// What the tag names now.
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Digest>,
    /// Why it cannot be told, or why there is no plan.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<String>,
    /// Vulnerabilities that the image's repositories fix now.
    #[serde(skip_serializing_if = "Option::is_none")]
    n_fixable: Option<usize>,
    /// Upgrades that do it.
    #[serde(skip_serializing_if = "Option::is_none")]
    n_upgrades: Option<usize>,
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    time: Timestamp,
    /// The advisories that plans rest on.
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<DatabaseInfo>,
    containers: &'a [Standing],
}

pub(super) fn stale(context: &Context<'_>, args: &cli::PatchStale) -> Result<Exit, Failure> {
    let now = Timestamp::now();
    let stores = super::super::image::named_stores(context, &args.options.source.store)?;
    let database =
        if args.plan { Some(super::open_database(context, &args.options)?) } else { None };
    let mut all = Vec::new();
    for (id, (facts, _)) in super::super::container::running(context, &stores) {
        context.terminal.progress(&format!("asking for {}", safe(&facts.image)));
        let mut standing = compare(context, args, &facts, &stores);
        if let Some(database) = &database {
            plan(context, args, &id, database, now, &mut standing);
        }
        all.push(standing);
    }
    let text = match args.format {
        ListFormat::Json => {
            let database = database.as_ref().map(Database::info);
            let report = Report { version: VERSION, time: now, database, containers: &all };
            serde_json::to_string_pretty(&report).context("write the list")? + "\n"
        }
        ListFormat::Table if all.is_empty() => "no container is running\n".to_string(),
        ListFormat::Table => columns(
            &["CONTAINER", "NAME", "IMAGE", "STATE", "TAG IS NOW", "FIXABLE", "REMARKS"],
            &rows(&all),
        ),
        ListFormat::Tsv => tsv(&rows(&all)),
    };
    context.terminal.result(&text)?;
    Ok(exit_of(&all))
}

fn exit_of(all: &[Standing]) -> Exit {
    let is_stale = |one: &Standing| one.state == State::Behind || one.n_fixable > Some(0);
    let is_open = |one: &Standing| one.state == State::Unknown || !one.problems.is_empty();
    if all.iter().any(is_stale) {
        Exit::Refused
    } else if all.iter().any(is_open) {
        Exit::Partial
    } else {
        Exit::Clean
    }
}

/// Whether the tag names what runs. What the engine knows is an image id (the digest of the
/// configuration; with containerd's store that of a manifest or index), a digest of a manifest
/// or index, or both.
fn state(image_id: &str, image_digest: &str, image: &Image) -> State {
    const HEX_CHARS: usize = 64;
    let digests = [image.config_digest, image.manifest_digest].into_iter().flatten();
    let digests: Vec<Digest> = digests.chain(image.index_digests.iter().copied()).collect();
    let known: Vec<&str> = [image_id, image_digest]
        .into_iter()
        .map(|text| text.trim_start_matches("sha256:"))
        .filter(|text| text.len() == HEX_CHARS)
        .collect();
    if known.is_empty() || digests.is_empty() {
        State::Unknown
    } else if digests.iter().any(|digest| known.contains(&digest.hex().as_str())) {
        State::Current
    } else {
        State::Behind
    }
}

/// The stores that an engine's containers come from. Of ours, any may be; so of those that
/// nobody knows.
fn stores_of(engine: Engine) -> &'static [StoreKind] {
    match engine {
        Engine::Docker => &[StoreKind::Docker],
        Engine::Podman | Engine::Crio => &[StoreKind::Podman],
        Engine::Containerd => &[StoreKind::Containerd],
        _ => &StoreKind::ALL,
    }
}

fn compare(
    context: &Context<'_>,
    args: &cli::PatchStale,
    facts: &Facts,
    stores: &Stores,
) -> Standing {
    let mut standing = Standing {
        container: facts.id.clone(),
        name: facts.container.name.clone(),
        image: facts.image.clone(),
        state: State::Unknown,
        asked: None,
        now: None,
        problems: Vec::new(),
        n_fixable: None,
        n_upgrades: None,
    };
    let Ok(Target::Anywhere(reference)) = facts.image.parse::<Target>() else {
        standing.problems.push("the engine does not say by which name it was started".into());
        return standing;
    };
    let mut note = |asked: &str, image: &Image, outweighs: State| {
        let found = state(&facts.image_id, &facts.image_digest, image);
        let is_first = standing.asked.is_none();
        if is_first || (found != standing.state && found == outweighs) {
            standing.state = found;
            standing.asked = Some(asked.to_string());
            standing.now = image.manifest_digest.or(image.config_digest);
        }
    };
    let options = OpenOptions { stores: stores.clone(), ..OpenOptions::default() };
    let mut problems = Vec::new();
    for kind in stores_of(facts.container.engine) {
        let target = Target::Store { kind: *kind, name: reference.familiar(), namespace: None };
        match Image::open(&target, &options) {
            // Another store than the one that the image came from may have an older one.
            Ok(image) => note(kind.name(), &image, State::Current),
            Err(OpenImageError::NotInStore { .. } | OpenImageError::StoreIo { .. }) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    if !args.offline {
        let target = Target::Registry(reference);
        match super::super::image::open_target(context, &target, &args.options.source) {
            // The registry may be ahead of a store, never older.
            Ok(image) => note("registry", &image, State::Behind),
            Err(failure) => problems.push(first_line(&failure)),
        }
    }
    standing.problems = problems;
    if standing.state == State::Unknown && standing.problems.is_empty() {
        standing
            .problems
            .push("nothing that was asked knows the name, or the engine no digest".into());
    }
    standing
}

fn plan(
    context: &Context<'_>,
    args: &cli::PatchStale,
    id: &str,
    database: &Database,
    now: Timestamp,
    standing: &mut Standing,
) {
    match super::prepare(context, &format!("container:{id}"), &args.options, database, now) {
        Ok(planned) => {
            let fixes = planned.plan.upgrades.iter().map(|upgrade| upgrade.fixes.len());
            standing.n_fixable = Some(fixes.sum());
            standing.n_upgrades = Some(planned.plan.upgrades.len());
            let unused = planned.repository.suites.iter().filter(|suite| suite.problem.is_some());
            let unused: Vec<String> = unused.map(|suite| suite.suite.clone()).collect();
            if !unused.is_empty() {
                standing.problems.push(format!("{} cannot be used", unused.join(", ")));
            }
        }
        Err(failure) => standing.problems.push(format!("no plan: {}", first_line(&failure))),
    }
}

/// The error with its causes, on one line.
fn first_line(failure: &Failure) -> String {
    let text = failure.render();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with("hint:"));
    let lines: Vec<&str> = lines.collect();
    lines.join("; ").trim_start_matches("error: ").to_string()
}

fn rows(all: &[Standing]) -> Vec<Vec<String>> {
    let row = |one: &Standing| {
        let state = match one.state {
            State::Current => "current",
            State::Behind => "behind",
            State::Unknown => "unknown",
        };
        let now = one.now.map(|digest| digest.short()).unwrap_or_default();
        let fixable = match (one.n_fixable, one.n_upgrades) {
            (Some(n), Some(upgrades)) => format!("{n} by {upgrades} upgrades"),
            _ => String::new(),
        };
        vec![
            safe(&one.container),
            safe(&one.name),
            safe(&one.image),
            state.to_string(),
            now,
            fixable,
            safe(&one.problems.join("; ")),
        ]
    };
    all.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(state: State, n_fixable: Option<usize>, problem: &str) -> Standing {
        Standing {
            container: String::new(),
            name: String::new(),
            image: String::new(),
            state,
            asked: None,
            now: None,
            problems: if problem.is_empty() { Vec::new() } else { vec![problem.into()] },
            n_fixable,
            n_upgrades: n_fixable,
        }
    }

    #[test]
    fn one_that_is_behind_outweighs_one_that_is_unknown() {
        let check = |all: &[Standing], expected: Exit| assert_eq!(exit_of(all), expected);
        check(&[], Exit::Clean);
        check(&[standing(State::Current, Some(0), "")], Exit::Clean);
        check(&[standing(State::Current, Some(2), "")], Exit::Refused);
        check(&[standing(State::Current, None, "x")], Exit::Partial);
        let unknown = || standing(State::Unknown, None, "x");
        check(&[unknown()], Exit::Partial);
        check(&[unknown(), standing(State::Behind, None, "")], Exit::Refused);
    }

    #[test]
    fn an_image_is_known_by_its_configuration_or_its_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let new = palisade_image::NewImage {
            tag: None,
            platform: "linux/amd64".parse().unwrap(),
            created: Timestamp::from_nanos(0),
            config: serde_json::json!({}),
            history: Vec::new(),
            layers: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        };
        let path = folder.path().join("layout");
        palisade_image::write_layout(&path, &new).unwrap();
        let target = Target::Layout { folder: path, selector: None };
        let options = OpenOptions { platform: Some(new.platform), ..OpenOptions::default() };
        let image = Image::open(&target, &options).unwrap();
        let config = image.config_digest.unwrap().hex();
        let manifest = image.manifest_digest.unwrap().to_string();
        let other = "0".repeat(64);
        let check = |id: &str, digest: &str, expected: State| {
            assert_eq!(state(id, digest, &image), expected, "{id} {digest}");
        };
        check(&config, "", State::Current);
        check("", &manifest, State::Current);
        check(&manifest, "", State::Current);
        check(&other, &manifest, State::Current);
        check(&other, "", State::Behind);
        check("", &other, State::Behind);
        check("", "", State::Unknown);
        check(&config[..12], "", State::Unknown);
    }
}

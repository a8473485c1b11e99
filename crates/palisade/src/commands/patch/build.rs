//! `palisade patch build`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use palisade_base::{Digest, Timestamp};
use palisade_image::{Amendment, HistoryStep, Image, OpenOptions, WrittenImage};
use palisade_model::Target;
use palisade_patch::{
    Built, Difference, Files, KeptConffile, Plan, Remaining, Scripts, Transaction, Upgraded,
};
use palisade_scan::db::Database;
use serde::Serialize;

use super::super::Context;
use super::fetch::Fetcher;
use super::plan::{safe, staying};
use super::{Known, Planned, key, sandbox, vulnerabilities};
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::columns;

/// Changes the form in JSON, when it changes.
const VERSION: u32 = 1;
/// Characters of the history's line.
const HISTORY_CHARS_MAX: usize = 4_000;

/// What a second scan and a comparison file by file say.
#[derive(Debug, Serialize)]
struct Proof {
    /// Whether everything that was to be fixed is gone, nothing is new, and nothing else changed.
    holds: bool,
    /// Findings that are gone, as `package id`.
    gone: Vec<String>,
    /// Findings that were to be fixed and are there.
    not_gone: Vec<String>,
    /// Findings that the old image did not have.
    new: Vec<String>,
    /// Findings that were set aside in the old image and are not in the new one: what was said is
    /// about the version that was there. They were known, and are no fault of the build.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counts_again: Vec<String>,
    /// Packages besides the upgraded ones whose version is another, or that came or went.
    other_packages: Vec<String>,
    files: Difference,
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    image: String,
    image_digest: Option<Digest>,
    output: &'a Path,
    digest: Digest,
    layer: Digest,
    layer_bytes: u64,
    upgraded: &'a [Upgraded],
    remaining: &'a [Remaining],
    #[serde(flatten)]
    known: &'a Known,
    proof: &'a Proof,
}

pub(super) fn build(context: &Context<'_>, args: &cli::PatchBuild) -> Result<Exit, Failure> {
    let is_archive = args.output.extension().is_some_and(|extension| extension == "tar");
    check_output(&args.output, is_archive)?;
    let now = Timestamp::now();
    let database = super::open_database(context, &args.options)?;
    let planned = super::prepare(context, &args.target, &args.options, &database, now)?;
    if planned.image.is_folder() {
        return Err(Failure::message(Exit::Usage, format!("`{}` is no image", args.target))
            .with_hint("build from NAME, registry:NAME, oci:DIR[:TAG], archive:FILE"));
    }
    // The time of the repositories, not of this moment: the same inputs give the same image.
    let dates = planned.repository.suites.iter().filter_map(|suite| suite.date);
    let time = dates.max().unwrap_or(now);
    let folder = match args.output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let shown = || format!("write below `{}`", folder.display());
    let mut prefix = tempfile::Builder::new();
    let work = prefix.prefix(".palisade-patch-").tempdir_in(folder).with_context(shown)?;
    let mut layer = work.path().join("layer.tar");
    context.terminal.progress("fetching packages and writing the layer");
    let scripts = match (args.skip_scripts, args.allow_scripts) {
        (true, _) => Scripts::Skip,
        (_, true) => Scripts::Run,
        _ => Scripts::Refuse,
    };
    let mut built = write_layer(context, &planned, &planned.files, scripts, time, &layer)?;
    let exit = super::exit_of(context, &planned.repository);
    if built.upgraded.is_empty() {
        context.terminal.result(&staying(&built.plan))?;
        return Err(Failure::message(Exit::Refused, "no upgrade can be made; nothing is written")
            .with_hint("what stays, and why, is in the result; `patch plan` lists it as well"));
    }
    let mut by_scripts = BTreeSet::new();
    if let Some(transaction) = built.transaction.take() {
        (layer, by_scripts) = with_rpm(context, &planned, &mut built, &transaction, work.path())?;
    } else if !built.steps.is_empty() {
        let scripted = with_scripts(context, &planned, &mut built, time, work.path(), &layer)?;
        (layer, by_scripts) = scripted;
    }
    let amendment = Amendment {
        tag: args.tag.clone().or_else(|| planned.image.reference.clone()),
        layer,
        step: step(&built.upgraded, time),
        annotations: annotations(&planned.image),
    };
    let draft = work.path().join("layout");
    let written = planned.image.amend(&draft, &amendment).or_exit(Exit::Incomplete)?;
    context.terminal.progress("proving what changed");
    let proof = prove(&planned, &built, &draft, &written, &database, &by_scripts)?;
    if proof.holds {
        keep(&planned.image, &amendment, &draft, &args.output, is_archive)?;
    }
    let added = written.layers.last();
    let report = Report {
        version: VERSION,
        image: planned.image.target.to_string(),
        image_digest: planned.image.manifest_digest,
        output: &args.output,
        digest: written.manifest.digest,
        layer: added.map_or(written.manifest.digest, |layer| layer.digest),
        layer_bytes: added.map_or(0, |layer| layer.size),
        upgraded: &built.upgraded,
        remaining: &built.plan.remaining,
        known: &planned.known,
        proof: &proof,
    };
    let text = match args.format {
        ListFormat::Json => serde_json::to_string_pretty(&report).context("write it")? + "\n",
        ListFormat::Table => table(&report, &built.plan, now),
        ListFormat::Tsv => tsv(&built.upgraded),
    };
    context.terminal.result(&text)?;
    if !proof.holds {
        return Err(Failure::message(Exit::Refused, "the proof fails; nothing is written")
            .with_hint("the result names what differs; report it with the image's name"));
    }
    Ok(exit)
}

/// Writes the layer of the packages for an image with these files.
fn write_layer(
    context: &Context<'_>,
    planned: &Planned,
    files: &Files,
    scripts: Scripts,
    time: Timestamp,
    layer: &Path,
) -> Result<Built, Failure> {
    let shown = || format!("write `{}`", layer.display());
    let file = std::fs::File::create(layer).with_context(shown)?;
    palisade_patch::build(
        files,
        &planned.known.found,
        &planned.repository,
        &Fetcher::new(context, &planned.folders),
        scripts,
        i64::try_from(time.as_nanos() / 1_000_000_000).unwrap_or(0),
        std::io::BufWriter::new(file),
    )
    .or_exit(Exit::Incomplete)
}

/// Executes the scripts around the packages' files, each part in a container of what there is by
/// then; gives the layer of it all, and the paths that scripts changed.
fn with_scripts(
    context: &Context<'_>,
    planned: &Planned,
    built: &mut Built,
    time: Timestamp,
    work: &Path,
    packages: &Path,
) -> Result<(PathBuf, BTreeSet<String>), Failure> {
    let amend = |image: &Image, name: &str, layer: &Path| draft(planned, image, work, name, layer);
    let (mut layers, mut changed, mut base) = (Vec::new(), BTreeSet::new(), None);
    if !built.steps.before.is_empty() {
        let before = work.join("before.tar");
        let image = copy(planned, work)?;
        let steps = &built.steps.before;
        changed.extend(sandbox::execute(context, image, &planned.files, steps, &before)?);
        if !changed.is_empty() {
            let image = amend(&planned.image, "draft-1", &before)?;
            let files = Files::read(&image).or_exit(Exit::Incomplete)?;
            let again = write_layer(context, planned, &files, Scripts::Run, time, packages)?;
            if again.plan != built.plan {
                let text = "scripts that are executed before the upgrade change what it is";
                return Err(Failure::message(Exit::Refused, text)
                    .with_hint("give --skip-scripts to leave the scripts out"));
            }
            *built = again;
            layers.push(before);
            base = Some(image);
        }
    }
    layers.push(packages.to_path_buf());
    if !built.steps.after.is_empty() {
        let after = work.join("after.tar");
        let image = amend(base.as_ref().unwrap_or(&planned.image), "draft-2", packages)?;
        let files = Files::read(&image).or_exit(Exit::Incomplete)?;
        changed.extend(sandbox::execute(context, image, &files, &built.steps.after, &after)?);
        layers.push(after);
    }
    let merged = work.join("merged.tar");
    let file = std::fs::File::create(&merged).context("write the layer")?;
    let layers: Vec<&Path> = layers.iter().map(PathBuf::as_path).collect();
    palisade_patch::merge_layers(&planned.files, &layers, std::io::BufWriter::new(file))
        .or_exit(Exit::Incomplete)?;
    Ok((merged, changed))
}

/// Has the image's rpm upgrade the packages; gives the layer of what it changed, and the paths that
/// its scripts may have changed.
fn with_rpm(
    context: &Context<'_>,
    planned: &Planned,
    built: &mut Built,
    transaction: &Transaction,
    work: &Path,
) -> Result<(PathBuf, BTreeSet<String>), Failure> {
    let image = copy(planned, work)?;
    let layer = work.join("rpm.tar");
    let changed = sandbox::upgrade(context, image, &planned.files, transaction, &layer)?;
    let kept = KeptConffile::of_rpm(changed.iter().map(String::as_str));
    for one in kept {
        let owner = transaction.configuration.get(&one.path);
        let is_owner = |it: &&mut Upgraded| owner.is_none_or(|owner| it.package == *owner);
        if let Some(upgraded) = built.upgraded.iter_mut().find(is_owner) {
            upgraded.kept.push(one);
        }
    }
    // Nothing but files of packages changes where no script was executed.
    Ok((layer, if transaction.has_scripts { changed } else { BTreeSet::new() }))
}

/// The image with another layer, in a layout of its own.
fn draft(
    planned: &Planned,
    image: &Image,
    work: &Path,
    name: &str,
    layer: &Path,
) -> Result<Image, Failure> {
    let (layer, step) = (layer.to_path_buf(), HistoryStep::default());
    let amendment = Amendment { tag: None, layer, step, annotations: Vec::new() };
    let draft = work.join(name);
    let written = image.amend(&draft, &amendment).or_exit(Exit::Incomplete)?;
    open_draft(planned, &draft, &written)
}

/// The image itself, in a layout of its own.
fn copy(planned: &Planned, work: &Path) -> Result<Image, Failure> {
    let empty = work.join("empty.tar");
    // Two blocks of zeros: an archive of nothing.
    std::fs::write(&empty, [0; 1024]).context("write a layer")?;
    draft(planned, &planned.image, work, "draft-0", &empty)
}

fn open_draft(planned: &Planned, draft: &Path, written: &WrittenImage) -> Result<Image, Failure> {
    let selector = Some(written.manifest.digest.to_string());
    let target = Target::Layout { folder: draft.to_path_buf(), selector };
    let options =
        OpenOptions { platform: planned.image.platform.clone(), ..OpenOptions::default() };
    Image::open(&target, &options).or_exit(Exit::Incomplete)
}

/// Said before anything is fetched.
fn check_output(output: &Path, is_archive: bool) -> Result<(), Failure> {
    let is_free = match std::fs::symlink_metadata(output) {
        Err(_) => true,
        Ok(_) if is_archive => false,
        Ok(meta) => {
            output.join("oci-layout").exists()
                || (meta.is_dir() && output.read_dir().is_ok_and(|mut all| all.next().is_none()))
        }
    };
    if is_free {
        return Ok(());
    }
    Err(Failure::message(Exit::Usage, format!("`{}` is there", output.display()))
        .with_hint("name a layout, an empty or new folder, or a new file that ends in .tar"))
}

fn step(upgraded: &[Upgraded], time: Timestamp) -> HistoryStep {
    let one = |it: &Upgraded| format!("{} {} -> {}", it.package, it.from, it.to);
    let all: Vec<String> = upgraded.iter().map(one).collect();
    let text = format!("palisade patch build: {}", all.join(", "));
    HistoryStep {
        created: Some(time.rfc3339()),
        created_by: Some(text.chars().take(HISTORY_CHARS_MAX).collect()),
        comment: Some(format!("palisade {}", env!("CARGO_PKG_VERSION"))),
        empty_layer: false,
    }
}

/// What the image was built on (image-spec `annotations.md`).
fn annotations(image: &Image) -> Vec<(String, String)> {
    let digest = image.manifest_digest.map(|digest| digest.to_string());
    let pair = |digest| ("org.opencontainers.image.base.digest".to_string(), digest);
    digest.map(pair).into_iter().collect()
}

fn prove(
    planned: &Planned,
    built: &Built,
    draft: &Path,
    written: &WrittenImage,
    database: &Database,
    by_scripts: &BTreeSet<String>,
) -> Result<Proof, Failure> {
    let image = open_draft(planned, draft, written)?;
    let plan = &built.plan;
    let (ignores, subject) = (&planned.ignores, planned.image.subject());
    let again = vulnerabilities(&image, database, ignores, &subject, planned.now)?;
    let before: BTreeSet<String> = planned.known.found.iter().map(key).collect();
    let after: BTreeSet<String> = again.found.iter().map(key).collect();
    let fixed = plan
        .upgrades
        .iter()
        .flat_map(|upgrade| upgrade.fixes.iter().map(|id| format!("{} {id}", upgrade.package)));
    let staying: BTreeSet<String> =
        plan.remaining.iter().map(|one| format!("{} {}", one.package, one.id)).collect();
    let not_gone: Vec<String> =
        fixed.filter(|key| after.contains(key) && !staying.contains(key)).collect();
    let (old, unrecorded) = (&planned.image, &built.unrecorded);
    let files = Difference::with_scripts(old, &image, plan, by_scripts, unrecorded);
    let files = files.or_exit(Exit::Incomplete)?;
    let added = after.difference(&before).cloned();
    let (counts_again, new) = added.partition(|key| planned.known.set_aside.contains(key));
    let mut proof = Proof {
        holds: false,
        gone: before.difference(&after).cloned().collect(),
        not_gone,
        new,
        counts_again,
        other_packages: other_packages(&planned.image, &image, plan)?,
        files,
    };
    proof.holds = proof.not_gone.is_empty()
        && proof.new.is_empty()
        && proof.other_packages.is_empty()
        && proof.files.n_unexpected == 0;
    Ok(proof)
}

fn other_packages(old: &Image, new: &Image, plan: &Plan) -> Result<Vec<String>, Failure> {
    let read = |image: &Image| -> Result<BTreeSet<String>, Failure> {
        let inventory = palisade_scan::inventory_of(image).or_exit(Exit::Incomplete)?;
        let packages = inventory.packages.into_iter();
        Ok(packages.map(|package| format!("{} {}", package.name, package.version)).collect())
    };
    let (old, new) = (read(old)?, read(new)?);
    let expected: BTreeSet<String> = plan
        .upgrades
        .iter()
        .flat_map(|one| [&one.installed, &one.available].map(|v| format!("{} {v}", one.package)))
        .collect();
    let differing = old.symmetric_difference(&new);
    Ok(differing.filter(|one| !expected.contains(*one)).cloned().collect())
}

/// Gives what was proved its place.
fn keep(
    image: &Image,
    amendment: &Amendment,
    draft: &Path,
    output: &Path,
    is_archive: bool,
) -> Result<(), Failure> {
    let shown = || format!("write `{}`", output.display());
    if is_archive {
        let part = draft.with_extension("tar");
        let file = std::fs::File::create(&part).with_context(shown)?;
        let mut tar = tar::Builder::new(std::io::BufWriter::new(file));
        tar.mode(tar::HeaderMode::Deterministic);
        for name in ["oci-layout", "index.json"] {
            tar.append_path_with_name(draft.join(name), name).with_context(shown)?;
        }
        tar.append_dir_all("blobs", draft.join("blobs")).with_context(shown)?;
        let file = tar.into_inner().with_context(shown)?;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).with_context(shown)?;
        std::fs::rename(&part, output).with_context(shown)?;
    } else if output.join("oci-layout").exists() {
        // The same inputs give the same bytes: what is written is what was proved.
        image.amend(output, amendment).or_exit(Exit::Incomplete)?;
    } else {
        std::fs::rename(draft, output).with_context(shown)?;
    }
    Ok(())
}

fn table(report: &Report<'_>, plan: &Plan, now: Timestamp) -> String {
    let row = |one: &Upgraded| {
        let cells = [&one.package, &one.from, &one.to];
        let mut row: Vec<String> = cells.map(|cell| safe(cell)).to_vec();
        row.push(one.n_files.to_string());
        row.push(safe(&one.skipped.join(", ")));
        row
    };
    let rows: Vec<Vec<String>> = report.upgraded.iter().map(row).collect();
    let mut text = columns(&["UPGRADED", "FROM", "TO", "FILES", "NOT EXECUTED"], &rows) + "\n";
    for kept in report.upgraded.iter().flat_map(|one| &one.kept) {
        let line = match (&kept.new_form, &kept.old_form) {
            (_, Some(old)) => format!("{} is replaced; the image's form is {old}", kept.path),
            (Some(new), None) => {
                format!("{} stays as the image has it; the new form is {new}", kept.path)
            }
            (None, None) => format!("{} stays as the image has it", kept.path),
        };
        let _ = writeln!(text, "{}", safe(&line));
    }
    for one in report.upgraded.iter().filter(|one| !one.executed.is_empty()) {
        let _ = writeln!(text, "executed     {}: {}", one.package, safe(&one.executed.join(", ")));
    }
    text += &staying(plan);
    let proof = report.proof;
    let files = &proof.files;
    let _ = writeln!(text, "gone         {} vulnerabilities", proof.gone.len());
    for (name, list) in [
        ("not gone", &proof.not_gone),
        ("new", &proof.new),
        ("counts again", &proof.counts_again),
        ("packages", &proof.other_packages),
        ("by scripts", &files.by_scripts),
        ("unexpected", &files.unexpected),
    ] {
        for one in list {
            let _ = writeln!(text, "{name:<12} {}", safe(one));
        }
    }
    let _ = writeln!(
        text,
        "files        {} the same, {} changed, {} added, {} removed, {} of them unexpected",
        files.n_same, files.n_changed, files.n_added, files.n_removed, files.n_unexpected
    );
    let _ = writeln!(text, "known by     {}", safe(&report.known.remark(now)));
    let verdict = if proof.holds { "holds" } else { "FAILS" };
    let _ = writeln!(text, "proof        {verdict}");
    if proof.holds {
        let _ = writeln!(
            text,
            "image        {} in {} (layer {}, {:.1} MB)",
            report.digest,
            report.output.display(),
            report.layer,
            report.layer_bytes as f64 / 1e6
        );
    }
    text
}

fn tsv(upgraded: &[Upgraded]) -> String {
    let line = |one: &Upgraded| {
        let cells = [&one.package, &one.from, &one.to].map(|cell| safe(cell));
        format!("{}\t{}\n", cells.join("\t"), safe(&one.skipped.join(",")))
    };
    upgraded.iter().map(line).collect()
}

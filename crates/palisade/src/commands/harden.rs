//! `palisade harden`: a container's configuration, confined by a policy, change by change.

mod lxc;

use std::path::Path;

use palisade_base::Timestamp;
use palisade_harden::{Hardened, harden_container, harden_exec};
use palisade_runtime::oci::{
    DOCUMENT_BYTES_MAX, Document, DocumentError, engine_facts, machine_facts,
};
use serde_json::{Value, json};

use super::Context;
use super::run::explanation;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Confines a configuration as `palisade-runtime` would.
pub(crate) fn harden(context: &Context<'_>, args: &cli::Harden) -> Result<Exit, Failure> {
    let spec = match (&args.kind, &args.spec) {
        (Some(cli::HardenKind::Lxc(args)), _) => return lxc::harden(context, args),
        (None, Some(spec)) => spec,
        (None, None) => return Err(Failure::message(Exit::Usage, "no configuration is named")),
    };
    let policy = context.load_policy(&args.policy)?.policy;
    let document = read(spec)?;
    let first = args.exec_in.as_deref().map(read).transpose()?;
    let message = |text: String| {
        let text = text.trim_start_matches("palisade: ").to_string();
        Failure::message(Exit::Incomplete, text).with_hint("see `palisade policy explain`")
    };
    let whole = first.as_ref().map_or(&document.value, |document| &document.value);
    let path = args.exec_in.as_deref().unwrap_or(spec);
    let bundle = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let id = id_of(bundle);
    let mut engine = engine_facts(whole, bundle, &id, Timestamp::now()).map_err(message)?;
    engine.image = args.image.clone().or(engine.image);
    engine.name = args.name.clone().or(engine.name);
    engine.labels.extend(args.label.iter().cloned());
    let mut facts = machine_facts(&policy).map_err(message)?;
    // This shell's limits are not those of whoever will start the container.
    facts.machine.rlimits.clear();
    let hardened = match &first {
        None => harden_container(document.value.clone(), &policy, &facts, &engine),
        Some(first) => {
            let first = first.value.get("process");
            harden_exec(document.value.clone(), first, &policy, &facts, &engine)
        }
    };
    let hardened = hardened.or_exit(Exit::Refused)?;
    for warning in &hardened.warnings {
        context.terminal.error(&format!("warning: {warning}\n"));
    }
    show(context, args, spec, &document.value, &hardened)?;
    if args.in_place && !hardened.changes.is_empty() {
        document.rewrite(&hardened.spec).or_exit(Exit::Incomplete)?;
        context.terminal.progress(&format!("wrote {}", spec.display()));
    }
    Ok(Exit::Clean)
}

/// The container whose bundle this is, as engines name bundles: `ID`, or `ID/userdata`.
fn id_of(bundle: &Path) -> String {
    let real = std::fs::canonicalize(bundle);
    let bundle = real.as_deref().unwrap_or(bundle);
    let is_userdata = bundle.file_name().is_some_and(|name| name == "userdata");
    let folder = bundle.parent().filter(|_| is_userdata).unwrap_or(bundle);
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Reads a configuration that somebody named: no engine has a part in it.
fn read(path: &Path) -> Result<Document, Failure> {
    Document::read(path).map_err(|error| {
        let is_about_file = matches!(error, DocumentError::Io { .. } | DocumentError::NotAFile(_));
        let failure = Failure::from_explained(error, Exit::Incomplete);
        if !is_about_file {
            return failure;
        }
        failure.with_hint(format!(
            "name a bundle's config.json, or the process file of an exec: a regular file of at most \
             {} MiB",
            DOCUMENT_BYTES_MAX >> 20
        ))
    })
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn show(
    context: &Context<'_>,
    args: &cli::Harden,
    spec: &Path,
    before: &Value,
    hardened: &Hardened,
) -> Result<(), Failure> {
    if let Some(path) = &args.output {
        let file = Some(path.as_path()).filter(|path| *path != Path::new("-"));
        return context.terminal.result_to(file, &pretty(&hardened.spec));
    }
    let text = match args.format {
        _ if args.diff => {
            let name = spec.display().to_string();
            palisade_runtime::install::unified_diff(
                &name,
                &format!("{name} (hardened)"),
                &pretty(before),
                &pretty(&hardened.spec),
            )
        }
        ListFormat::Json => {
            let document = json!({
                "schema": "palisade.dev/harden/v1",
                "changes": hardened.changes,
                "warnings": hardened.warnings,
            });
            pretty(&document)
        }
        ListFormat::Tsv => {
            let shown =
                |value: &Option<Value>| value.as_ref().map_or(String::new(), Value::to_string);
            let rows: Vec<Vec<String>> = hardened
                .changes
                .iter()
                .map(|c| vec![c.path.clone(), shown(&c.from), shown(&c.to), c.reason.clone()])
                .collect();
            crate::terminal::tsv(&rows)
        }
        ListFormat::Table => explanation(&hardened.changes),
    };
    context.terminal.result(&text)
}

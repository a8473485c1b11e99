//! `palisade profile merge`, `diff` and `export`.

use std::path::Path;

use palisade_harden::seccomp::from_document;
use palisade_profile::filter::Filter;
use palisade_profile::output;
use palisade_profile::syscalls::Machine;
use palisade_profile::tailor::{Options, Tailored, tailor, with_floor};
use palisade_profile::{Difference, Record, difference};
use serde_json::{Value, json};

use crate::cli::{self, ListFormat, ProfileFormat};
use crate::commands::Context;
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

use super::{read_json, read_record, write};

/// Merges records.
pub(super) fn merge(context: &Context<'_>, args: &cli::ProfileMerge) -> Result<Exit, Failure> {
    let mut merged: Option<Record> = None;
    for path in &args.records {
        let record = read_record(path)?;
        match &mut merged {
            Some(merged) => merged.merge(&record).or_exit(Exit::Usage)?,
            None => merged = Some(record),
        }
    }
    let Some(mut record) = merged else { return Ok(Exit::Clean) };
    if let Some(name) = &args.name {
        record.name.clone_from(name);
    }
    write(context, args.output.as_deref(), &record.to_json())?;
    Ok(Exit::Clean)
}

/// What a file for `diff` is.
enum Document {
    Record(Box<Record>),
    Seccomp(Filter),
}

fn document(path: &Path) -> Result<Document, Failure> {
    let (bytes, value) = read_json(path)?;
    if value.get("schema").is_some() {
        return Record::parse(&bytes)
            .or_exit(Exit::Usage)
            .map(|record| Document::Record(Box::new(record)))
            .map_err(|failure| failure.during(format!("read `{}`", path.display())));
    }
    let section = value.pointer("/linux/seccomp").unwrap_or(&value);
    filter(section)
        .map(Document::Seccomp)
        .map_err(|failure| failure.during(format!("read `{}`", path.display())))
}

/// The filter of a seccomp document for this machine and no capability beyond Docker's.
pub(super) fn filter(document: &Value) -> Result<Filter, Failure> {
    let capabilities: Vec<String> = DOCKERS.map(str::to_string).into();
    let section =
        from_document(document, std::env::consts::ARCH, &capabilities).or_exit(Exit::Usage)?;
    Filter::parse(&section).or_exit(Exit::Usage)
}

/// What Docker leaves a container without `--cap-add`; some rules of its profile ask for them.
const DOCKERS: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Compares two records or two filters.
pub(super) fn diff(context: &Context<'_>, args: &cli::ProfileDiff) -> Result<Exit, Failure> {
    let parts = match (document(&args.old)?, document(&args.new)?) {
        (Document::Record(old), Document::Record(new)) => difference(&old, &new),
        (Document::Seccomp(old), Document::Seccomp(new)) => {
            let machine = super::observe::machine()?;
            let parts = filters(&old, &new, machine);
            let (old, new) = (old.allowed(machine), new.allowed(machine));
            let kept = old.intersection(&new).count();
            let removed = old.len() - kept;
            context.terminal.progress(&format!(
                "{} calls allowed before, {} now; {removed} removed ({:.1} %), {} added",
                old.len(),
                new.len(),
                removed as f64 * 100.0 / old.len().max(1) as f64,
                new.len() - kept,
            ));
            parts
        }
        _ => {
            return Err(Failure::message(
                Exit::Usage,
                "a record and a seccomp profile differ in kind",
            )
            .with_hint("make the profile of the record first: palisade profile export"));
        }
    };
    let rows: Vec<Vec<String>> = parts
        .iter()
        .flat_map(|part| {
            let row = |sign: &str, what: &String| vec![sign.into(), part.what.into(), what.clone()];
            let removed = part.removed.iter().map(move |what| row("-", what));
            removed.chain(part.added.iter().map(move |what| row("+", what)))
        })
        .collect();
    let text = match args.format {
        ListFormat::Json => {
            let parts: Vec<Value> = parts
                .iter()
                .map(|p| json!({"what": p.what, "removed": p.removed, "added": p.added}))
                .collect();
            format!("{:#}\n", json!({"schema": "palisade.dev/profile-diff/v1", "parts": parts}))
        }
        ListFormat::Tsv => tsv(&rows),
        ListFormat::Table => columns(&["", "WHAT", "VALUE"], &rows),
    };
    context.terminal.result(&text)?;
    let added = parts.iter().any(|part| !part.added.is_empty());
    Ok(if added { Exit::Refused } else { Exit::Clean })
}

fn filters(old: &Filter, new: &Filter, machine: Machine) -> Vec<Difference> {
    let part = |what, calls: fn(&Filter, Machine) -> std::collections::BTreeSet<&'static str>| {
        let (old, new) = (calls(old, machine), calls(new, machine));
        let list = |set: std::collections::BTreeSet<&&'static str>| {
            set.into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        Difference {
            what,
            removed: list(old.difference(&new).collect()),
            added: list(new.difference(&old).collect()),
        }
    };
    [part("calls", Filter::allowed), part("calls with any arguments", Filter::allowed_plainly)]
        .into_iter()
        .filter(|part| !part.removed.is_empty() || !part.added.is_empty())
        .collect()
}

/// Writes profiles.
pub(super) fn export(context: &Context<'_>, args: &cli::ProfileExport) -> Result<Exit, Failure> {
    let record = read_record(&args.record)?;
    let (record, tailored) = make(context, &record, args.strict_operations)?;
    let name = output::plain_name(&record.name);
    let folder = |path: &Option<std::path::PathBuf>| -> Result<std::path::PathBuf, Failure> {
        use anyhow::Context as _;
        let path = path.clone().ok_or_else(|| {
            Failure::message(Exit::Usage, "this form has several files")
                .with_hint("name a folder for them: --output DIR")
        })?;
        std::fs::create_dir_all(&path)
            .with_context(|| format!("create folder `{}`", path.display()))?;
        Ok(path)
    };
    let filter_file = format!("{name}.seccomp.json");
    let text = |format| match format {
        ProfileFormat::Seccomp => format!("{:#}\n", tailored.section),
        ProfileFormat::Kubernetes => output::kubernetes(&record),
        ProfileFormat::Oci => format!("{:#}\n", output::oci(&record, &tailored)),
        ProfileFormat::Apparmor => output::apparmor(&record),
        ProfileFormat::Selinux => output::selinux(&record),
        ProfileFormat::Policy | ProfileFormat::All => output::policy(&record, &filter_file),
    };
    let files: Vec<(ProfileFormat, String)> = match args.format {
        ProfileFormat::Policy => vec![
            (ProfileFormat::Seccomp, filter_file.clone()),
            (ProfileFormat::Policy, format!("{name}.policy.yaml")),
        ],
        ProfileFormat::All => vec![
            (ProfileFormat::Seccomp, filter_file.clone()),
            (ProfileFormat::Kubernetes, format!("{name}.pod.yaml")),
            (ProfileFormat::Oci, format!("{name}.oci.json")),
            (ProfileFormat::Apparmor, format!("{name}.apparmor")),
            (ProfileFormat::Selinux, format!("{name}.cil")),
            (ProfileFormat::Policy, format!("{name}.policy.yaml")),
        ],
        format => {
            write(context, args.output.as_deref(), &text(format))?;
            return Ok(Exit::Clean);
        }
    };
    let folder = folder(&args.output)?;
    for (format, name) in files {
        write(context, Some(&folder.join(name)), &text(format))?;
    }
    Ok(Exit::Clean)
}

/// The record with its floor, and its filter; what is to be known is said.
pub(super) fn make(
    context: &Context<'_>,
    record: &Record,
    strict_operations: bool,
) -> Result<(Record, Tailored), Failure> {
    let record = with_floor(record);
    let tailored = tailor(&record, Options { strict_operations }).or_exit(Exit::Incomplete)?;
    for warning in &tailored.warnings {
        context.terminal.error(&format!("warning: {warning}\n"));
    }
    Ok((record, tailored))
}

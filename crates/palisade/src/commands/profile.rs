//! `palisade profile`.

mod analyse;
mod export;
mod hold;
mod observe;
mod place;
mod record;
mod verify;

use std::path::Path;

use palisade_profile::{RECORD_BYTES_MAX, Record};

use super::Context;
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Carries out a command about profiles.
pub(crate) fn profile(context: &Context<'_>, command: &cli::Profile) -> Result<Exit, Failure> {
    match command {
        cli::Profile::Record(args) => record::record(context, args),
        cli::Profile::Static(args) => analyse::analyse(context, args),
        cli::Profile::Verify(args) => verify::verify(context, args),
        cli::Profile::Merge(args) => export::merge(context, args),
        cli::Profile::Diff(args) => export::diff(context, args),
        cli::Profile::Export(args) => export::export(context, args),
    }
}

/// Reads a file of a profile's size.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use anyhow::Context as _;
    let shown = || format!("read `{}`", path.display());
    let hint = "name a record (palisade profile record, static, merge) or a seccomp profile";
    let file = std::fs::File::open(path)
        .with_context(shown)
        .map_err(|error| Failure::from(error).with_hint(hint))?;
    let bytes = palisade_base::read_bounded(file, "profile", RECORD_BYTES_MAX as u64);
    bytes.with_context(shown).map_err(|error| Failure::from(error).with_hint(hint))
}

/// Reads a record or a seccomp profile, and what it says.
fn read_json(path: &Path) -> Result<(Vec<u8>, serde_json::Value), Failure> {
    let bytes = read(path)?;
    let value = serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("read `{}`: it is not JSON: {error}", path.display());
        Failure::message(Exit::Usage, message)
            .with_hint("name a record, or a seccomp profile in Docker's form or the OCI runtime's")
    })?;
    Ok((bytes, value))
}

/// Reads a record.
fn read_record(path: &Path) -> Result<Record, Failure> {
    Record::parse(&read(path)?)
        .or_exit(Exit::Usage)
        .map_err(|failure| failure.during(format!("read `{}`", path.display())))
}

/// Writes a result to a file, or to standard output.
fn write(context: &Context<'_>, path: Option<&Path>, text: &str) -> Result<(), Failure> {
    use anyhow::Context as _;
    let Some(path) = path else { return context.terminal.result(text) };
    palisade_base::fs::write_atomic(path, text.as_bytes(), 0o644)
        .with_context(|| format!("write `{}`", path.display()))?;
    context.terminal.progress(&format!("written: {}", path.display()));
    Ok(())
}

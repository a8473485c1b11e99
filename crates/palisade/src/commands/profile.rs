//! `palisade profile`.

mod analyse;
mod export;
mod observe;
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
    let file = std::fs::File::open(path).with_context(shown)?;
    let bytes = palisade_base::read_bounded(file, "profile", RECORD_BYTES_MAX as u64);
    Ok(bytes.with_context(shown)?)
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

//! `palisade ima`.

use std::collections::{BTreeMap, BTreeSet};

use palisade_base::{Digest, DigestReader};
use palisade_image::{FileKind, Image, Visit};
use palisade_profile::ima::{
    Comparison, LIST_BYTES_MAX, Measurements, compare, parse, policy, written,
};
use serde_json::json;

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::terminal::{columns, tsv};

/// Carries out a command about integrity measurement.
pub(crate) fn ima(context: &Context<'_>, command: &cli::Ima) -> Result<Exit, Failure> {
    match command {
        cli::Ima::Policy => {
            context.terminal.result(&policy())?;
            Ok(Exit::Clean)
        }
        cli::Ima::Verify(args) => verify(context, args),
    }
}

fn verify(context: &Context<'_>, args: &cli::ImaVerify) -> Result<Exit, Failure> {
    let measured = measurements(&args.measurements)?;
    let image = super::image::open(context, &args.image, &args.source)?;
    let wanted: BTreeSet<&str> = measured.files.iter().map(|file| file.path.as_str()).collect();
    let digests = digests(&image, &wanted)?;
    let found = compare(&measured, &digests);
    context.terminal.progress(&format!(
        "{} files measured on this list; {} as in the image, {} with another content, {} written \
         meanwhile, {} by another algorithm; {} not in the image",
        measured.files.len(),
        found.same.len(),
        found.differing.len(),
        found.violations.len(),
        found.unknown.len(),
        found.elsewhere.len(),
    ));
    report(context, args, &found)?;
    let n_found = found.same.len() + found.differing.len() + found.violations.len();
    if n_found + found.unknown.len() == 0 {
        return Err(Failure::message(Exit::Incomplete, "nothing of the image was measured")
            .with_hint("load the policy of `palisade ima policy` before the container starts"));
    }
    Ok(if !found.differing.is_empty() || !found.violations.is_empty() {
        Exit::Refused
    } else if found.unknown.is_empty() {
        Exit::Clean
    } else {
        Exit::Partial
    })
}

fn measurements(path: &std::path::Path) -> Result<Measurements, Failure> {
    use anyhow::Context as _;
    let shown = || format!("read `{}`", path.display());
    let hint = "boot a kernel with CONFIG_IMA and mount securityfs, or name a copy of a list: \
                --measurements FILE";
    let file = std::fs::File::open(path)
        .with_context(shown)
        .map_err(|error| Failure::from(error).with_hint(hint))?;
    let bytes = palisade_base::read_bounded(file, "list of measurements", LIST_BYTES_MAX)
        .with_context(shown)
        .map_err(|error| Failure::from(error).with_hint(hint))?;
    // A path that is no UTF-8 is in no image's list of names either.
    parse(&String::from_utf8_lossy(&bytes))
        .or_exit(Exit::Usage)
        .map_err(|failure| failure.during(shown()))
}

/// Digests of the image's files whose paths were measured.
fn digests(image: &Image, wanted: &BTreeSet<&str>) -> Result<BTreeMap<String, Digest>, Failure> {
    let mut out = BTreeMap::new();
    let mut failed: Option<std::io::Error> = None;
    let walked = image.walk(&mut |entry, content| {
        if entry.kind != FileKind::Regular {
            return Visit::Continue;
        }
        let path = written(&entry.absolute());
        if !wanted.contains(path.as_str()) {
            return Visit::Continue;
        }
        let mut reader = DigestReader::new(content);
        match std::io::copy(&mut reader, &mut std::io::sink()) {
            Ok(_) => {
                out.insert(path, reader.finish().0);
            }
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
        Visit::Continue
    });
    walked.or_exit(Exit::Incomplete)?;
    match failed {
        Some(error) => {
            Err(Failure::from(anyhow::Error::from(error).context("read a file of the image")))
        }
        None => Ok(out),
    }
}

fn report(context: &Context<'_>, args: &cli::ImaVerify, found: &Comparison) -> Result<(), Failure> {
    if args.format == ListFormat::Json {
        let differing: Vec<_> = found
            .differing
            .iter()
            .map(|it| json!({"path": it.path, "measured": it.measured, "image": it.image}))
            .collect();
        let document = json!({
            "schema": "palisade.dev/ima-comparison/v1",
            "same": found.same,
            "differing": differing,
            "violations": found.violations,
            "unknown": found.unknown,
            "elsewhere": found.elsewhere,
        });
        return context.terminal.result(&format!("{document:#}\n"));
    }
    let row = |state: &str, path: &str, measured: &str, image: &str| {
        [state, path, measured, image].map(str::to_string).to_vec()
    };
    let differing =
        found.differing.iter().map(|it| row("differs", &it.path, &it.measured, &it.image));
    let violations = found.violations.iter().map(|path| row("written", path, "-", "-"));
    let unknown = found.unknown.iter().map(|path| row("unknown", path, "-", "-"));
    let same = found.same.iter().map(|path| row("same", path, "-", "-"));
    let rows: Vec<_> = differing.chain(violations).chain(unknown).chain(same).collect();
    context.terminal.result(&match args.format {
        ListFormat::Tsv => tsv(&rows),
        _ if rows.is_empty() => String::new(),
        _ => columns(&["STATE", "PATH", "MEASURED", "IMAGE"], &rows),
    })
}

//! `palisade capture`: what a recording holds, and its way to other tools.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_sensor::capture::compact::{self, Converted, Info, Origin};
use serde_json::json;

use super::Context;
use crate::cli::{self, ListFormat};
use crate::exit::{Exit, Failure, OrExit as _};

/// Event types that the table lists.
const TYPES_SHOWN_MAX: usize = 12;

/// Carries out `palisade capture`.
pub(crate) fn capture(context: &Context<'_>, command: &cli::Capture) -> Result<Exit, Failure> {
    match command {
        cli::Capture::Info(args) => info(context, args),
        cli::Capture::Convert(args) => convert(context, args),
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let opened = File::open(path).with_context(|| format!("open capture `{}`", path.display()));
    opened.map(BufReader::new).map_err(|error| {
        Failure::from(error).with_hint("pass a recording (.palcap) or a capture (.scap)")
    })
}

fn info(context: &Context<'_>, args: &cli::CaptureInfo) -> Result<Exit, Failure> {
    let info = compact::info(open(&args.file)?).or_exit(Exit::Incomplete)?;
    let text = match args.format {
        ListFormat::Table => table(&info),
        ListFormat::Json => document(&info),
        ListFormat::Tsv => tsv(&info),
    };
    context.terminal.result(&text)?;
    if let Some(problem) = &info.problem {
        context.terminal.error(&format!("warning: {}: {problem}\n", args.file.display()));
        return Ok(Exit::Partial);
    }
    Ok(if info.n_malformed > 0 { Exit::Partial } else { Exit::Clean })
}

fn times(first: Option<Timestamp>, last: Option<Timestamp>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => {
            format!("{first} to {last} ({:.3} s)", last.since(first).as_secs_f64())
        }
        _ => "no events".into(),
    }
}

fn by_frequency(info: &Info) -> Vec<(&'static str, u64)> {
    let mut types: Vec<_> = info.n_by_type.iter().map(|(name, n)| (*name, *n)).collect();
    types.sort_by_key(|(name, n)| (std::cmp::Reverse(*n), *name));
    types
}

fn table(info: &Info) -> String {
    let n_records: u64 = info.sections.iter().map(|section| section.n_records).sum();
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10} {value}");
    };
    for section in &info.sections {
        let text = |text: &str| palisade_scan::report::printable(text).into_owned();
        let origin = if section.is_live { "recorded live" } else { "from a capture" };
        line("section", times(section.first, section.last));
        if !section.writer.is_empty() {
            line("  by", text(&section.writer));
        }
        line("  host", text(&section.hostname));
        line(
            "  begins",
            format!(
                "{origin}, {} threads, {} containers, after {} events",
                section.n_threads, section.n_containers, section.n_events_before
            ),
        );
        line("  events", section.n_records.to_string());
    }
    line("events", format!("{n_records}, {} bytes as records", info.n_record_bytes));
    if info.event_bytes.0 > 0 && n_records > 0 {
        line(
            "size",
            format!(
                "events {} bytes ({:.1} an event), states {} bytes, in {} chunks",
                info.event_bytes.0,
                info.event_bytes.0 as f64 / n_records as f64,
                info.state_bytes.0,
                info.n_chunks
            ),
        );
    }
    let types = by_frequency(info);
    let shown: Vec<String> =
        types.iter().take(TYPES_SHOWN_MAX).map(|(name, n)| format!("{name} {n}")).collect();
    let more = types.len().saturating_sub(TYPES_SHOWN_MAX);
    let more = if more > 0 { format!(", {more} more") } else { String::new() };
    line("types", shown.join(", ") + &more);
    for (name, n) in [
        ("not kept", info.n_not_recorded),
        ("malformed", info.n_malformed),
        ("unknown", info.n_unknown),
        ("unusable", info.n_chunks_skipped),
    ] {
        if n > 0 {
            line(name, n.to_string());
        }
    }
    out
}

fn tsv(info: &Info) -> String {
    let mut out = String::new();
    for (name, n) in by_frequency(info) {
        let _ = writeln!(out, "{name}\t{n}");
    }
    out
}

fn document(info: &Info) -> String {
    let sections: Vec<_> = info
        .sections
        .iter()
        .map(|section| {
            json!({
                "writer": section.writer,
                "hostname": section.hostname,
                "live": section.is_live,
                "n_threads": section.n_threads,
                "n_containers": section.n_containers,
                "n_events_before": section.n_events_before,
                "n_records": section.n_records,
                "first": section.first,
                "last": section.last,
            })
        })
        .collect();
    let document = json!({
        "schema": "palisade.dev/capture-info/v1",
        "sections": sections,
        "n_chunks": info.n_chunks,
        "state_bytes": info.state_bytes.0,
        "event_bytes": info.event_bytes.0,
        "n_record_bytes": info.n_record_bytes,
        "n_by_type": info.n_by_type,
        "n_not_recorded": info.n_not_recorded,
        "n_malformed": info.n_malformed,
        "n_unknown": info.n_unknown,
        "n_chunks_skipped": info.n_chunks_skipped,
        "problem": info.problem.as_ref().map(ToString::to_string),
    });
    format!("{document:#}\n")
}

fn convert(context: &Context<'_>, args: &cli::CaptureConvert) -> Result<Exit, Failure> {
    let mut input = open(&args.input)?;
    let start = input
        .fill_buf()
        .with_context(|| format!("read `{}`", args.input.display()))
        .map_err(|error| Failure::from(error).with_hint("pass a file that can be read"))?;
    let is_recording = start.starts_with(&compact::MAGIC);
    let wanted = if is_recording { "scap" } else { compact::SUFFIX };
    if args.output.extension().is_none_or(|suffix| suffix != wanted) {
        let message = format!("`{}` does not end in .{wanted}", args.output.display());
        let what = if is_recording { "a recording becomes" } else { "another's capture becomes" };
        return Err(
            Failure::message(Exit::Usage, message).with_hint(format!("{what} a .{wanted} file"))
        );
    }
    let output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.output)
        .with_context(|| format!("create `{}`", args.output.display()))
        .map_err(|error| {
            Failure::from(error)
                .with_hint("choose a file that does not exist, in a folder that does")
        })?;
    let result = if is_recording {
        compact::to_scap(input, BufWriter::new(output))
    } else {
        let writer = concat!("palisade ", env!("CARGO_PKG_VERSION"));
        compact::from_scap(input, BufWriter::new(output), Origin { writer })
    };
    let converted = match result {
        Ok(converted) => converted,
        Err(error) => {
            // What is there is no capture; it was made by this command.
            let _ = std::fs::remove_file(&args.output);
            return Err(error).or_exit(Exit::Incomplete);
        }
    };
    context.terminal.progress(&format!(
        "wrote {}: {} events",
        args.output.display(),
        converted.n_records
    ));
    Ok(tell_lost(context, &args.input, &converted))
}

/// Says what has no place in the other form.
fn tell_lost(context: &Context<'_>, input: &Path, converted: &Converted) -> Exit {
    if converted.n_trailers > 0 {
        context.terminal.progress(
            "left out: control group, parent and start time beside each event, for which .scap has no place",
        );
    }
    let mut exit = Exit::Clean;
    for (n, what) in [
        (converted.n_malformed, "events could not be decoded"),
        (converted.n_threads, "threads were found without an event, and are not introduced"),
        (converted.n_not_recorded, "events were not kept by the recorder"),
        (converted.n_unknown, "parts of an unknown kind were passed over"),
    ] {
        if n > 0 {
            exit = Exit::Partial;
            context.terminal.error(&format!("warning: {}: {n} {what}\n", input.display()));
        }
    }
    if let Some(problem) = &converted.problem {
        exit = Exit::Partial;
        context.terminal.error(&format!("warning: {}: {problem}\n", input.display()));
    }
    exit
}

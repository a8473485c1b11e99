//! `palisade convert`: a scan report or a bill of materials in another form.

use anyhow::Context as _;
use palisade_base::Timestamp;
use palisade_scan::report::json::ReadReportError;
use palisade_scan::report::{self, Format};
use palisade_scan::sbom::{self, DocumentInfo};

use super::Context;
use super::scan::{UserTemplate, read_bytes, write_reports};
use crate::cli;
use crate::exit::{Exit, Failure, OrExit as _};

/// Carries out `palisade convert`.
pub(crate) fn convert(context: &Context<'_>, args: &cli::Convert) -> Result<Exit, Failure> {
    let template = UserTemplate::read(&args.reports)?;
    let bytes = read_bytes(&args.file, "report", report::json::BYTES_MAX)?;
    let name = args.file.display().to_string();
    match report::json::read(&bytes) {
        Ok(report) => {
            write_reports(context, &report, &args.reports, template.0.as_ref())?;
            Ok(if report.gaps().is_empty() { Exit::Clean } else { Exit::Partial })
        }
        // A document of ours of another kind, or of another version, is no bill of materials.
        Err(ReadReportError::Schema(found)) if found.starts_with("palisade.dev/") => {
            Err(ReadReportError::Schema(found)).or_exit(Exit::Incomplete)
        }
        Err(_) => convert_sbom(context, args, &bytes, &name),
    }
}

fn convert_sbom(
    context: &Context<'_>,
    args: &cli::Convert,
    bytes: &[u8],
    name: &str,
) -> Result<Exit, Failure> {
    let document = sbom::read::read(bytes, name).or_exit(Exit::Incomplete)?;
    let first = (args.reports.format, args.reports.output.as_deref());
    let further = args.reports.report.iter().map(|r| (r.format, Some(r.file.as_path())));
    let wanted: Vec<_> = further.chain([first]).collect();
    let now = Timestamp::now();
    let seed = format!("{}{now}", document.inventory.subject.name);
    let info = DocumentInfo::derived(seed.as_bytes(), now, env!("CARGO_PKG_VERSION"));
    let mut texts = Vec::new();
    for (format, file) in wanted {
        let Format::Sbom(form) = format else {
            let what = format!("`{name}` is a bill of materials, which has nothing for `{format}`");
            return Err(Failure::message(Exit::Usage, what).with_hint(format!(
                "scan it: palisade scan --format {format} sbom:{name}; or choose cyclonedx-json, \
                 cyclonedx-1.7-json, spdx-json or spdx-3.0-json"
            )));
        };
        let text = sbom::render(&document.inventory, form, &info).context("write the document")?;
        texts.push((file, text));
    }
    for (file, text) in texts {
        context.terminal.result_to(file, &text)?;
    }
    for unmatched in &document.unmatched {
        let (n, kind, reason) = (unmatched.n_packages, &unmatched.ecosystem, &unmatched.reason);
        context.terminal.error(&format!("warning: left out: {n} of type {kind}: {reason}\n"));
    }
    let is_whole = document.inventory.gaps.is_empty() && document.unmatched.is_empty();
    Ok(if is_whole { Exit::Clean } else { Exit::Partial })
}
